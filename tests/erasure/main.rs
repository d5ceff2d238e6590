//! A person made unreadable, against somebody who has every file of the system as it was before
//! and after, the backups taken before, and whatever the custodian still does for its callers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod system;
mod thief;

use std::collections::BTreeMap;
use std::path::Path;

use kta_core::audit::Label;
use kta_core::crypto::EraseClaim;
use kta_core::{Code, FaultKind};

use system::{CANARY, PlainKms, System, copy_folder};
use thief::Thief;

#[tokio::test]
async fn no_file_before_or_after_opens_the_person_and_everybody_else_opens() {
    let (folder, system) = System::with_keyring().await;
    let leaver = system.desk.beneficiary();
    let loot = folder.path().join("loot");
    system.back_up(&loot.join("backup")).await;
    copy_folder(&system.folder, &loot.join("before"));
    let sealed = system.record(leaver).await.unwrap();

    let evidence = system.erase(leaver).await;
    assert_eq!(evidence.claim(), EraseClaim::Effective);

    copy_folder(&system.folder, &loot.join("after"));
    let mut thief = Thief::with_every_file_of(&loot);
    assert!(thief.candidates() > 10_000, "{}", thief.candidates());
    assert!(
        !thief.has_seen(CANARY.as_bytes()),
        "a plaintext lies in a file"
    );
    assert!(
        !thief.opens_as_person(&sealed),
        "the person's key lies in a file"
    );
    for table in ["before", "backup"] {
        let table = loot.join(table).join("keys.db");
        assert!(
            !thief.opens_with_a_found_kek(&table, &sealed).await,
            "the key of an epoch lies in a file"
        );
        assert!(
            !thief
                .opens_with_custodian(&table, system.kms.clone(), &sealed)
                .await,
            "the custodian unwraps what it destroyed"
        );
    }

    // The rows and the content are gone as well, and in what is left nothing of them stands.
    assert!(system.record(leaver).await.is_none());
    let after = Thief::with_every_file_of(&loot.join("after"));
    for field in sealed.fields.values() {
        // Its beginning, which all values of the record share, is not kept with each of them.
        let piece = &field.sealed.as_bytes()[50..];
        assert!(thief.has_seen(piece), "the search finds what is there");
        assert!(!after.has_seen(piece), "ciphertext of the person is left");
    }

    for other in system.others() {
        assert_eq!(system.open(other).await, Ok(CANARY.to_owned()));
    }
    // A restored backup of the records: the others open, the person does not.
    let restored = system.over_records_of(&loot.join("backup")).await;
    for other in restored.others() {
        assert_eq!(restored.open(other).await, Ok(CANARY.to_owned()));
    }
    assert!(restored.record(leaver).await.is_some(), "the row is back");
    assert_eq!(restored.open(leaver).await, Err(Code::CryErased));
}

#[tokio::test]
async fn the_thief_finds_keys_where_they_lie_about() {
    // The same attack on a custodian that keeps its keys in plain files and destroys nothing.
    let (folder, system) =
        System::with(|folder| std::sync::Arc::new(PlainKms::at(&folder.join("plain-keks")))).await;
    let leaver = system.desk.beneficiary();
    let loot = folder.path().join("loot");
    copy_folder(&system.folder, &loot.join("before"));
    let sealed = system.record(leaver).await.unwrap();
    system.erase(leaver).await;
    copy_folder(&system.folder, &loot.join("after"));
    let mut thief = Thief::with_every_file_of(&loot);
    let table = loot.join("before").join("keys.db");
    assert!(thief.opens_with_a_found_kek(&table, &sealed).await);
    assert!(
        thief
            .opens_with_custodian(&table, system.kms.clone(), &sealed)
            .await
    );
}

#[tokio::test]
async fn an_older_key_table_put_back_is_refused() {
    let (folder, system) = System::with_keyring().await;
    let old = folder.path().join("old");
    copy_folder(&system.folder, &old);
    system.erase(system.desk.beneficiary()).await;
    let error = system.keys_over(&old.join("keys.db")).await.unwrap_err();
    assert_eq!(
        error.fault().map(kta_core::Fault::kind),
        Some(FaultKind::Corrupt)
    );
}

#[tokio::test]
async fn a_copy_of_keyring_and_passphrase_opens_old_backups_and_the_evidence_says_so() {
    // What no sealed file can prevent: an older copy of it together with the secret that opens
    // it. So such copies are declared, and the claim is invalid while one stands.
    let (folder, system) = System::with_keyring().await;
    let (leaver, old) = (system.desk.beneficiary(), folder.path().join("old"));
    let ring = system.keyring.clone().unwrap();
    copy_folder(&system.folder, &old);
    ring.declare_copy(Label::fixed("vault-of-the-firm"))
        .unwrap();
    let sealed = system.record(leaver).await.unwrap();
    let evidence = system.erase(leaver).await;
    assert_eq!(evidence.claim(), EraseClaim::Invalid);
    assert_eq!(evidence.proven(), Err(Code::DstCeInvalid));

    let kms = system::keyring(&old.join("keyring"));
    let mut thief = Thief::with_every_file_of(&old);
    let table = old.join("keys.db");
    assert!(
        thief
            .opens_with_custodian(&table, std::sync::Arc::new(kms), &sealed)
            .await
    );
}

#[tokio::test]
async fn erasing_many_turns_the_epoch_once() {
    let (_folder, system) = System::with_keyring().await;
    let all: Vec<_> = system.others().into_iter().take(3).collect();
    let evidence = system.keys.erase(&all, system.desk.now()).await.unwrap();
    let epochs: BTreeMap<_, _> = evidence
        .iter()
        .map(|person| (person.epoch_after, person.kek.kek.clone()))
        .collect();
    assert_eq!((evidence.len(), epochs.len()), (3, 1));
}

/// Every file below a folder, with its bytes.
fn files(folder: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(std::fs::read(path).unwrap());
        }
    }
    found
}
