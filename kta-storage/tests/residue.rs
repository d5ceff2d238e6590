//! What is in the files: no plaintext ever, and no ciphertext of what was erased.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::sync::Arc;

use kta_core::conformance::Desk;
use kta_core::conformance::store::Samples;
use kta_core::crypto::Hierarchy;
use kta_core::id::{DocumentId, IdempotencyKey, RecordId};
use kta_core::memory::{MemoryKms, SeededEntropy};
use kta_core::pii::placement::CopyOf;
use kta_core::pii::{Category, Fields, Placement, PlacementKind, Record, RecordKey, Schema};
use kta_core::policy::{Act, Form, Role, Sealer};
use kta_core::ports::blobs::BlobId;
use kta_core::ports::key_table::{KeyRows, Wanted};
use kta_core::ports::store::{Change, ChangeSet, Expected};
use kta_core::ports::{Blobs as _, Erase, KeyTable as _, Store as _};
use kta_core::retention::Hold;
use kta_core::{Code, FaultKind};
use kta_storage::{DiskBlobs, SqliteKeyTable, SqliteStore};

use common::erasing::{erase, found, placement, probe, put};

const CANARIES: [&str; 4] = [
    "Testa Canaria",
    "XC1234567",
    "testa.canaria@example.org",
    "canary medical note",
];

#[tokio::test]
async fn no_file_ever_holds_a_plaintext_and_no_file_holds_what_was_erased() {
    let folder = common::folder("canary");
    let desk = Desk::new("canary");
    let store = SqliteStore::open(folder.join("firm.db")).unwrap();
    let [record, spouse] = seal(&desk, &folder).await;
    for record in [&record, &spouse] {
        put(&store, &desk, record).await;
    }
    for canary in CANARIES {
        assert!(!common::in_any_file(&folder, canary.as_bytes()));
    }
    let sealed: Vec<_> = record
        .fields
        .values()
        .map(|field| common::ciphertext(&field.sealed))
        .collect();
    assert!(
        sealed
            .iter()
            .all(|bytes| common::in_any_file(&folder, bytes)),
        "the search finds what is there"
    );

    let copy = placement(&desk, PlacementKind::StoreRecord, record.key.record);
    assert_eq!(
        found(&probe(&store, &desk, &copy).await),
        ["index", "record"]
    );
    let erased = erase(&store, &desk, &copy).await.unwrap();
    let steps: Vec<_> = erased.steps.iter().map(|step| step.as_str()).collect();
    assert_eq!(
        steps,
        ["record.delete", "log.empty"],
        "the other person's row is not taken for this one's"
    );
    assert!(
        !sealed
            .iter()
            .any(|bytes| common::in_any_file(&folder, bytes))
    );
    assert!(probe(&store, &desk, &copy).await.is_clean());
    assert_eq!(store.record(&spouse.key).await.unwrap(), Some(spouse));
    // And again: no error, the same kind of answer.
    let again = erase(&store, &desk, &copy).await.unwrap();
    assert_eq!(again.steps[0].as_str(), "record.delete");
    assert!(probe(&store, &desk, &copy).await.is_clean());
}

#[tokio::test]
async fn a_probe_finds_bytes_that_stayed_in_the_log_of_the_file() {
    let folder = common::folder("stayed");
    let desk = Desk::new("stayed");
    let file = folder.join("firm.db");
    let store = SqliteStore::open(&file).unwrap();
    let rows = Samples {
        tenant: desk.tenant(),
    };
    let (record, copy) = (of_beneficiary(&desk, &rows, 1), placement_of(&desk, 1));
    put(&store, &desk, &record).await;
    erase(&store, &desk, &copy).await.unwrap();
    assert!(probe(&store, &desk, &copy).await.is_clean());
    // Somebody put the ciphertext back behind our back: not as a row, only as bytes.
    let bytes = record
        .fields
        .values()
        .next()
        .unwrap()
        .sealed
        .as_bytes()
        .to_vec();
    let other = rusqlite::Connection::open(&file).unwrap();
    other
        .execute_batch("CREATE TABLE hidden (bytes BLOB)")
        .unwrap();
    other
        .execute("INSERT INTO hidden VALUES (?1)", [bytes])
        .unwrap();
    assert_eq!(found(&probe(&store, &desk, &copy).await), ["file.bytes"]);
}

/// As an entry that is repeated after a restored mailbox, or a matter that is opened again, would.
#[tokio::test]
async fn what_was_written_again_is_erased_again_and_both_are_looked_for() {
    let folder = common::folder("again");
    let desk = Desk::new("again");
    let file = folder.join("firm.db");
    let store = SqliteStore::open(&file).unwrap();
    let rows = Samples {
        tenant: desk.tenant(),
    };
    let copy = placement_of(&desk, 1);
    let first = of_beneficiary(&desk, &rows, 1);
    let mut second = of_beneficiary(&desk, &rows, 2);
    second.key = first.key;
    for record in [&first, &second] {
        put(&store, &desk, record).await;
        erase(&store, &desk, &copy).await.unwrap();
        assert!(probe(&store, &desk, &copy).await.is_clean());
    }
    for record in [first, second] {
        let sealed = &record.fields.values().next().unwrap().sealed;
        let other = rusqlite::Connection::open(&file).unwrap();
        other
            .execute_batch("CREATE TABLE hidden (bytes BLOB)")
            .unwrap();
        let bytes = sealed.as_bytes();
        other
            .execute("INSERT INTO hidden VALUES (?1)", [bytes])
            .unwrap();
        assert_eq!(found(&probe(&store, &desk, &copy).await), ["file.bytes"]);
        other
            .execute_batch("PRAGMA secure_delete = 1; DROP TABLE hidden")
            .unwrap();
        drop(other);
        store.checkpoint().await.unwrap();
        assert!(probe(&store, &desk, &copy).await.is_clean());
    }
}

#[tokio::test]
async fn many_records_of_all_lengths_leave_no_ciphertext_behind() {
    let folder = common::folder("churn");
    let desk = Desk::new("churn");
    let store = SqliteStore::open(folder.join("firm.db")).unwrap();
    let rows = Samples {
        tenant: desk.tenant(),
    };
    let all: Vec<_> = (1..=120)
        .map(|number| of_beneficiary(&desk, &rows, number))
        .collect();
    for record in &all {
        put(&store, &desk, record).await;
    }
    for number in (1..=120_u8).filter(|number| number % 3 != 0) {
        erase(&store, &desk, &placement_of(&desk, number))
            .await
            .unwrap();
    }
    store.check().await.unwrap();
    let mut windows = std::collections::HashSet::new();
    for entry in std::fs::read_dir(&folder).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap();
        windows.extend(
            bytes
                .windows(16)
                .map(|window| <[u8; 16]>::try_from(window).unwrap()),
        );
    }
    for (number, record) in (1_u8..).zip(&all) {
        let sealed = record.fields.values().map(|field| field.sealed.as_bytes());
        let pieces = sealed.flat_map(|bytes| bytes.as_chunks::<16>().0);
        let left = pieces.filter(|piece| windows.contains(*piece)).count();
        assert_eq!(left > 0, number % 3 == 0, "record {number}: {left}");
    }
}

#[tokio::test]
async fn an_index_entry_is_erased_without_its_record() {
    let desk = Desk::new("index");
    let store = SqliteStore::open(common::folder("index").join("firm.db")).unwrap();
    let rows = Samples {
        tenant: desk.tenant(),
    };
    put(&store, &desk, &of_beneficiary(&desk, &rows, 1)).await;
    let copy = Placement {
        kind: PlacementKind::IndexEntry,
        ..placement_of(&desk, 1)
    };
    assert_eq!(found(&probe(&store, &desk, &copy).await), ["index"]);
    erase(&store, &desk, &copy).await.unwrap();
    assert!(probe(&store, &desk, &copy).await.is_clean());
    let key = of_beneficiary(&desk, &rows, 1).key;
    assert!(store.record(&key).await.unwrap().is_some());
    assert_eq!(
        found(&probe(&store, &desk, &placement_of(&desk, 1)).await),
        ["record"]
    );
}

#[tokio::test]
async fn a_hold_placed_after_the_permit_stops_the_erasure_in_the_store_itself() {
    let desk = Desk::new("late hold");
    let store = SqliteStore::open(common::folder("late-hold").join("firm.db")).unwrap();
    let rows = Samples {
        tenant: desk.tenant(),
    };
    put(&store, &desk, &of_beneficiary(&desk, &rows, 1)).await;
    let hold = Hold {
        subjects: [desk.beneficiary()].into(),
        ..rows.hold(1, Some(1), None)
    };
    let set = ChangeSet::new(desk.tenant(), desk.now()).with(Change::PlaceHold(hold));
    // The desk's gate asks its own store, which knows nothing of this hold: it gives the permit.
    store.commit(set).await.unwrap();
    for kind in [PlacementKind::StoreRecord, PlacementKind::IndexEntry] {
        let copy = Placement {
            kind,
            ..placement_of(&desk, 1)
        };
        let refused = erase(&store, &desk, &copy).await.unwrap_err();
        let code = refused.refusal().map(kta_core::Refusal::code);
        assert_eq!(code, Some(Code::DstHold), "{kind:?}");
    }
    assert_eq!(
        found(&probe(&store, &desk, &placement_of(&desk, 1)).await),
        ["index", "record"]
    );
}

/// The blind index is read whole by a probe, and by nobody in the runtime's own threads.
#[test]
fn the_blind_index_is_read_aside_and_not_to_erase() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let folder = common::folder("aside");
        let desk = Desk::new("aside");
        let store = SqliteStore::open(folder.join("firm.db")).unwrap();
        let rows = Samples {
            tenant: desk.tenant(),
        };
        let put = Change::PutRecord {
            record: of_beneficiary(&desk, &rows, 1),
            index: Vec::new(),
            expected: Expected::Absent,
        };
        let set = ChangeSet::new(desk.tenant(), desk.now()).with(put);
        store.commit(set).await.unwrap();
        // Whoever reads the index now fails.
        let thief = rusqlite::Connection::open(folder.join("firm.db")).unwrap();
        thief
            .execute_batch("ALTER TABLE tag RENAME TO away")
            .unwrap();
        let copy = placement_of(&desk, 1);
        erase(&store, &desk, &copy).await.unwrap();

        let session = desk.session(Role::ServiceDestroy);
        let scope = desk.scope(desk.beneficiary(), Category::Case);
        let permit = session.permit(Act::Probe, scope).await.unwrap();
        let (go, wait) = std::sync::mpsc::channel();
        let busy = tokio::task::spawn_blocking(move || wait.recv());
        let mut looking = store.probe(&copy, &permit);
        let first = futures_util::poll!(&mut looking);
        assert!(first.is_pending(), "read here: {first:?}");
        go.send(()).unwrap();
        busy.await.unwrap().unwrap();
        assert!(looking.await.is_err());
        thief
            .execute_batch("ALTER TABLE away RENAME TO tag")
            .unwrap();
        assert!(store.probe(&copy, &permit).await.unwrap().is_clean());
    });
}

#[tokio::test]
async fn erasing_wants_its_own_act_person_and_system() {
    let desk = Desk::new("permits");
    let folder = common::folder("permits");
    let store = SqliteStore::open(folder.join("firm.db")).unwrap();
    let blobs = DiskBlobs::open(folder.join("blobs")).unwrap();
    let (record, blob) = (placement_of(&desk, 1), blob_placement(&desk, 1));
    let session = desk.session(Role::ServiceDestroy);
    let scope = || desk.scope(desk.beneficiary(), Category::Case);
    let destroy = session.permit(Act::Destroy, scope()).await.unwrap();
    let probing = session.permit(Act::Probe, scope()).await.unwrap();
    let key = IdempotencyKey::derived("test", &[]);
    for (eraser, mine, other) in [
        (&store as &dyn Erase, &record, &blob),
        (&blobs, &blob, &record),
    ] {
        let denied = |error: kta_core::Error| {
            error.refusal().map(kta_core::Refusal::code) == Some(Code::AclDeny)
        };
        assert!(denied(eraser.erase(mine, key, &probing).await.unwrap_err()));
        assert!(denied(eraser.probe(mine, &destroy).await.unwrap_err()));
        let stranger = Placement {
            subject: desk.stranger(),
            ..mine.clone()
        };
        assert!(denied(
            eraser.erase(&stranger, key, &destroy).await.unwrap_err()
        ));
        let elsewhere = eraser.erase(other, key, &destroy).await.unwrap_err();
        assert_eq!(
            elsewhere.fault().map(kta_core::Fault::kind),
            Some(FaultKind::Protocol)
        );
    }
}

#[tokio::test]
async fn an_erased_persons_wrapped_key_is_in_no_file() {
    let folder = common::folder("keys");
    let table = SqliteKeyTable::open(folder.join("keys.db")).unwrap();
    let entropy = Arc::new(SeededEntropy::new(1));
    let kms = Arc::new(MemoryKms::new(entropy.clone()));
    let rows = Samples::of("wrapped keys");
    let now = rows.set(0).at;
    let keys = Hierarchy::open(rows.tenant, kms, Arc::new(table.clone()), entropy, now)
        .await
        .unwrap();
    let people: Vec<_> = (1..=60).map(|number| rows.subject(number)).collect();
    keys.enroll_all(&people).await.unwrap();
    let wanted: Vec<_> = people
        .iter()
        .map(|subject| Wanted::Subject(*subject))
        .collect();
    let before = table.read(rows.tenant, &wanted).await.unwrap();
    let held = |wrapped: &[u8]| common::in_any_file(&folder, wrapped);
    assert!(
        before
            .subjects
            .values()
            .all(|row| held(row.wrapped.as_bytes()))
    );
    keys.erase(&people[..20], now).await.unwrap();
    for subject in &people[..20] {
        assert!(!held(before.subjects[subject].wrapped.as_bytes()));
    }
    let after = table.read(rows.tenant, &wanted).await.unwrap();
    assert_eq!((after.subjects.len(), after.erased.len()), (40, 20));
    // Nor what the branch keys above them were wrapped as before.
    for (node, row) in &before.nodes {
        if after.nodes[node].version != row.version {
            assert!(!held(row.wrapped.as_bytes()));
        }
    }
}

#[tokio::test]
async fn an_ended_generations_wrapped_key_is_in_no_file() {
    let folder = common::folder("generation");
    let table = SqliteKeyTable::open(folder.join("keys.db")).unwrap();
    let entropy = Arc::new(SeededEntropy::new(1));
    let kms = Arc::new(MemoryKms::new(entropy.clone()));
    let rows = Samples::of("wrapped keys");
    let now = rows.set(0).at;
    let keys = Hierarchy::open(rows.tenant, kms, Arc::new(table.clone()), entropy, now)
        .await
        .unwrap();
    let people: Vec<_> = (1..=40).map(|number| rows.subject(number)).collect();
    keys.enroll_all(&people).await.unwrap();
    let wanted: Vec<_> = people.iter().copied().map(Wanted::Subject).collect();
    let first = table.read(rows.tenant, &wanted).await.unwrap();
    keys.rotate_subjects(&people, now).await.unwrap();
    let held = |wrapped: &[u8]| common::in_any_file(&folder, wrapped);
    let of =
        |rows: &KeyRows, number: usize| rows.subjects[&people[number]].wrapped.as_bytes().to_vec();
    assert!((0..40).all(|number| held(&of(&first, number))));
    let later = now + Hierarchy::HELD;
    keys.finish_subjects(&people[..10], 0, later).await.unwrap();
    keys.erase(&people[10..20], later).await.unwrap();
    for number in 0..20 {
        assert!(!held(&of(&first, number)), "person {number}");
    }
    let after = table.read(rows.tenant, &wanted).await.unwrap();
    assert_eq!((after.subjects.len(), after.erased.len()), (30, 10));
    assert!(
        after
            .erased
            .values()
            .all(|tombstone| tombstone.former.is_some())
    );
    for (number, subject) in people.iter().enumerate() {
        let kept = keys.subject_rotation(*subject).await;
        assert_eq!(
            kept.is_ok_and(|one| one.is_some()),
            number >= 20,
            "person {number}"
        );
    }
}

#[tokio::test]
async fn an_erased_blob_leaves_no_file_and_no_bytes() {
    let desk = Desk::new("blob");
    let folder = common::folder("blob");
    let blobs = DiskBlobs::open(&folder).unwrap();
    let document = DocumentId::from_bytes([1; 16]);
    let id = BlobId {
        tenant: desk.tenant(),
        subject: desk.beneficiary(),
        document,
    };
    let sealed = b"MARKED-CIPHERTEXT of a blob".repeat(5_000);
    let session = desk.session(Role::Paralegal);
    let permit = session
        .permit(Act::Store, desk.scope(id.subject, Category::Case))
        .await
        .unwrap();
    let stream = futures_util::stream::iter([Ok(sealed.clone().into())]);
    blobs.put(&id, Box::pin(stream), &permit).await.unwrap();
    assert!(common::in_any_file(&folder, b"MARKED-CIPHERTEXT"));
    let copy = blob_placement(&desk, 1);
    assert_eq!(found(&probe(&blobs, &desk, &copy).await), ["blob"]);
    // A second name for the same bytes shows whether they were overwritten before the unlinking.
    let file = find_file(&folder);
    let second = folder.join("second-name");
    std::fs::hard_link(&file, &second).unwrap();
    for _ in 0..2 {
        erase(&blobs, &desk, &copy).await.unwrap();
        assert!(probe(&blobs, &desk, &copy).await.is_clean());
    }
    assert!(!file.exists());
    assert_eq!(std::fs::read(&second).unwrap(), vec![0; sealed.len()]);
}

/// The records of two invented people with the same values, really sealed.
async fn seal(desk: &Desk, folder: &Path) -> [Record; 2] {
    let entropy = Arc::new(SeededEntropy::new(7));
    let table = Arc::new(SqliteKeyTable::open(folder.join("keys.db")).unwrap());
    let kms = Arc::new(MemoryKms::new(entropy.clone()));
    let keys = Hierarchy::open(desk.tenant(), kms, table, entropy.clone(), desk.now())
        .await
        .unwrap();
    keys.enroll_all(&[desk.beneficiary(), desk.spouse()])
        .await
        .unwrap();
    let sealer = Sealer::new(Arc::new(keys), entropy);
    let schema = Schema::person();
    let mut fields = Fields::new();
    for (name, value) in ["family_name", "passport_number", "email", "medical_note"]
        .iter()
        .zip(CANARIES)
    {
        fields.set(&schema, name, value.to_owned()).unwrap();
    }
    let session = desk.session(Role::Paralegal);
    let mut sealed = Vec::new();
    for (number, subject) in (1..).zip([desk.beneficiary(), desk.spouse()]) {
        let permit = session
            .permit(Act::Store, desk.whole(subject))
            .await
            .unwrap();
        let key = RecordKey {
            tenant: desk.tenant(),
            subject,
            record: RecordId::from_bytes([number; 16]),
        };
        let class = kta_core::id::Digest::of(b"invented class");
        let matter = Some(desk.matter());
        let form = Form {
            key,
            matter,
            schema: &schema,
            class,
            revision: 1,
            minor: false,
        };
        sealed.push(sealer.seal(form, &fields, &permit).await.unwrap());
    }
    sealed.try_into().unwrap()
}

/// A record of the beneficiary with ciphertext that looks random and has every length.
fn of_beneficiary(desk: &Desk, rows: &Samples, number: u8) -> Record {
    let mut record = rows.record(1, number, 1);
    record.key.subject = desk.beneficiary();
    record.matter = Some(desk.matter());
    let entropy = SeededEntropy::new(u64::from(number));
    for (at, field) in (0_usize..).zip(record.fields.values_mut()) {
        let mut bytes = vec![0; 126 + usize::from(number) * (at * at * 17 + 1)];
        kta_core::time::Entropy::fill(&entropy, &mut bytes);
        field.sealed = kta_core::pii::Sealed::from_bytes(bytes);
    }
    record.header = vec![0; 150];
    kta_core::time::Entropy::fill(&entropy, &mut record.header);
    record
}

fn placement_of(desk: &Desk, number: u8) -> Placement {
    placement(
        desk,
        PlacementKind::StoreRecord,
        RecordId::from_bytes([number; 16]),
    )
}

fn blob_placement(desk: &Desk, number: u8) -> Placement {
    Placement {
        system: Placement::BLOBS,
        kind: PlacementKind::Blob,
        of: CopyOf::Document(DocumentId::from_bytes([number; 16])),
        ..placement_of(desk, number)
    }
}

fn find_file(folder: &Path) -> std::path::PathBuf {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_file() {
                return entry.path();
            }
            folders.push(entry.path());
        }
    }
    panic!("no file")
}
