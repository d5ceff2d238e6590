//! A desk, and the facts of a conformance desk's family.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use kta_agency::{
    Authority, FactSource, KnownDocument, MatterFacts, PortalDesk, Register, Signature,
};
use kta_core::Result;
use kta_core::audit::{Label, LocalSigner};
use kta_core::memory::SeededEntropy;
use kta_core::pii::{DocumentKind, Party};
use kta_core::policy::Permit;
use kta_core::ports::channel::Package;

/// Believes whatever the package says of itself: for tests of the desk, not of the check.
#[derive(Debug)]
pub struct Believing;

#[async_trait]
impl FactSource for Believing {
    async fn facts(&self, package: &Package, _permit: &Permit<'_>) -> Result<Option<MatterFacts>> {
        Ok(Some(believed(package)))
    }
}

pub fn believed(package: &Package) -> MatterFacts {
    let party = |kind| match kind {
        DocumentKind::FormI129
        | DocumentKind::G28
        | DocumentKind::Lca
        | DocumentKind::EmployerLetter => Party::Petitioner,
        _ => Party::Beneficiary,
    };
    let known = |part: &kta_core::ports::channel::Part| KnownDocument {
        matter: package.matter,
        subject: part.subject,
        digest: part.digest,
        category: part.category,
        signature: Signature::Wet,
        language: Label::fixed("en"),
        translates: None,
    };
    MatterFacts {
        matter: package.matter,
        parties: package
            .parts
            .iter()
            .map(|part| (part.subject, party(part.kind)))
            .collect(),
        documents: package
            .parts
            .iter()
            .map(|part| (part.document, known(part)))
            .collect(),
        authority: package.authority.map(|digest| Authority {
            digest,
            attorney: package.attorney,
            from: package.on,
            until: None,
        }),
    }
}

pub fn signer() -> LocalSigner {
    LocalSigner::new(
        "firm.example/filings",
        ed25519_dalek::SigningKey::from_bytes(&[5; 32]),
    )
    .unwrap()
}

/// A new place below the build's own folder for tests; the desk makes its folder there.
pub fn place() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("desk-{}-{number}", std::process::id());
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&place);
    place
}

pub fn desk_at(place: &Path, facts: Arc<dyn FactSource>) -> Result<PortalDesk> {
    let register = Register::shipped().unwrap();
    PortalDesk::open(
        place,
        register,
        facts,
        Arc::new(signer()),
        &SeededEntropy::new(7),
    )
}

pub async fn fresh() -> PortalDesk {
    desk_at(&place(), Arc::new(Believing)).unwrap()
}
