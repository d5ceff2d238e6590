//! What is indexed is found by what people type, through the sealer's own entries.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use kta_core::crypto::Hierarchy;
use kta_core::id::TenantId;
use kta_core::memory::{MemoryKeyTable, MemoryKms, SeededEntropy};
use kta_core::pii::{FieldName, Fields, Pii, Schema};
use kta_core::policy::Sealer;
use kta_core::time::{Entropy, Timestamp};
use kta_core::{FaultKind, Result};

async fn sealer() -> Sealer {
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(1));
    let kms = Arc::new(MemoryKms::new(entropy.clone()));
    let (tenant, table) = (TenantId::derived(&[b"invented"]), MemoryKeyTable::new());
    let now = Timestamp::UNIX_EPOCH;
    let keys = Hierarchy::open(tenant, kms, Arc::new(table), entropy.clone(), now);
    Sealer::new(Arc::new(keys.await.unwrap()), entropy)
}

async fn found(sealer: &Sealer, stored: (&str, &str), typed: &str) -> Result<bool> {
    let schema = Schema::person();
    let mut fields = Fields::new();
    fields.set(&schema, stored.0, stored.1.to_owned()).unwrap();
    let entries = sealer.tags(&schema, &fields).await.unwrap();
    let name = FieldName::new(stored.0).unwrap();
    let typed = Pii::new(typed.to_owned());
    let wanted = sealer.search_tags(&schema, &name, &typed).await?;
    assert!(entries.iter().all(|(field, _)| *field == name));
    Ok(wanted
        .iter()
        .any(|tag| entries.iter().any(|(_, entry)| entry == tag)))
}

#[tokio::test]
async fn a_name_is_found_by_another_spelling_and_a_number_by_its_own_only() {
    let sealer = sealer().await;
    for (stored, typed, expected) in [
        (("family_name", "כהן"), "Kohn", true),
        (("family_name", "Cohen"), "כהן", true),
        (("family_name", "Cohen"), "Cohen", true),
        (("family_name", "Cohen"), "Levi", false),
        (("passport_number", "L898902C3"), "l898902c3", true),
        (("passport_number", "L898902C3"), "L898902C4", false),
        (("email", "testa@example.org"), "Testa@Example.org", true),
    ] {
        let outcome = found(&sealer, stored, typed).await.unwrap();
        assert_eq!(outcome, expected, "{stored:?} by {typed}");
    }
}

#[tokio::test]
async fn what_was_entered_under_another_plan_is_found_still() {
    let sealer = sealer().await;
    let schema = Schema::person();
    let mut fields = Fields::new();
    let address = "testa@example.org";
    fields.set(&schema, "email", address.to_owned()).unwrap();
    let mut entries = Vec::new();
    for rows in [100_000, 4_000_000, 500] {
        sealer.keys().plan_index(rows).await.unwrap();
        entries.extend(sealer.tags(&schema, &fields).await.unwrap());
    }
    let name = FieldName::fixed("email");
    let typed = Pii::new(address.to_owned());
    let wanted = sealer.search_tags(&schema, &name, &typed).await.unwrap();
    assert_eq!(wanted.len(), 3);
    let lengths: Vec<_> = wanted.iter().map(|tag| tag.as_bytes()[4]).collect();
    assert_eq!(lengths, [15, 20, 7]);
    for (_, entry) in entries {
        assert!(wanted.contains(&entry));
    }
}

#[tokio::test]
async fn a_search_that_no_index_serves_is_refused() {
    let sealer = sealer().await;
    for (stored, typed) in [
        (("medical_note", "invented"), "invented"),
        (("family_name", "Cohen"), "12"),
    ] {
        let refused = found(&sealer, stored, typed).await.unwrap_err();
        assert_eq!(refused.fault().unwrap().kind(), FaultKind::Unsupported);
    }
}
