//! What a server keeps of what was erased, and when it does not any more.

use kta_core::conformance::Desk;
use kta_core::conformance::store::Samples;
use kta_core::pii::placement::CopyOf;
use kta_core::pii::{Placement, PlacementKind, Record, Sealed};
use kta_core::ports::Store as _;
use kta_core::ports::store::Change;
use kta_core::retention::Hold;
use kta_core::{Code, FaultKind};
use kta_storage::{PgOwner, PgStore};

use crate::common::cluster::Cluster;
use crate::common::erasing::{erase, found, placement, probe, put};
use crate::common::in_any_file;

const SEALED: &[u8] = b"CANARY-ciphertext-of-one-person";
const OTHER: &[u8] = b"CANARY-ciphertext-of-another-one";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_files_hold_nothing_of_the_erased_once_the_owner_wrote_them_anew() {
    let cluster = Cluster::own("residue");
    let store = PgStore::open(&cluster.options("kta_app", "kta"))
        .await
        .unwrap();
    let desk = Desk::new("residue");
    let rows = Samples {
        tenant: desk.tenant(),
    };
    for (number, bytes) in [(1, SEALED), (2, OTHER)] {
        put(&store, &desk, &record(&desk, &rows, number, bytes)).await;
    }
    let admin = cluster.admin("kta").await;
    admin.batch_execute("CHECKPOINT").await.unwrap();
    let tables = cluster.data().join("base");
    assert!(
        in_any_file(&tables, SEALED) && in_any_file(&tables, OTHER),
        "the search finds what is there"
    );

    let copy = placement(&desk, PlacementKind::StoreRecord, rows.key(1, 1).record);
    assert_eq!(
        found(&probe(&store, &desk, &copy).await),
        ["index", "record"]
    );
    let erased = erase(&store, &desk, &copy).await.unwrap();
    let seen = probe(&store, &desk, &copy).await;
    assert_eq!(found(&seen), ["server.history"]);
    assert_eq!(seen.residues[0].until, erased.window);
    admin.batch_execute("CHECKPOINT").await.unwrap();
    assert!(
        in_any_file(&tables, SEALED),
        "so the residue that the probe reports is true"
    );

    let owner = PgOwner::new(&cluster.options("kta_owner", "kta")).unwrap();
    owner.rewrite().await.unwrap();
    admin.batch_execute("CHECKPOINT").await.unwrap();
    assert!(!in_any_file(&tables, SEALED));
    assert!(
        in_any_file(&tables, OTHER),
        "the other person's row is where it was"
    );
    let log = cluster.data().join("pg_wal");
    assert!(
        in_any_file(&log, SEALED),
        "the write-ahead log is beyond the owner: hence the window"
    );
    assert_eq!(
        found(&probe(&store, &desk, &copy).await),
        ["server.history"]
    );
}

#[tokio::test]
async fn a_residue_ends_with_the_history_that_the_operator_declared() {
    let cluster = Cluster::shared();
    let day = core::time::Duration::from_secs(86_400);
    let options = cluster.options("kta_app", "kta").history(day);
    let store = PgStore::open(&options).await.unwrap();
    let desk = Desk::new("history");
    let rows = Samples {
        tenant: desk.tenant(),
    };
    put(&store, &desk, &record(&desk, &rows, 1, SEALED)).await;
    let copy = placement(&desk, PlacementKind::StoreRecord, rows.key(1, 1).record);
    erase(&store, &desk, &copy).await.unwrap();
    desk.clock().advance(chrono::TimeDelta::hours(1));
    // Again: no error, the same kind of answer, and the first removal's time.
    erase(&store, &desk, &copy).await.unwrap();
    desk.clock().advance(chrono::TimeDelta::hours(22));
    assert_eq!(
        found(&probe(&store, &desk, &copy).await),
        ["server.history"]
    );
    desk.clock().advance(chrono::TimeDelta::hours(2));
    assert!(probe(&store, &desk, &copy).await.is_clean());
}

#[tokio::test]
async fn an_index_entry_is_erased_without_its_record_and_a_held_record_is_not_erased() {
    let cluster = Cluster::shared();
    let store = PgStore::open(&cluster.options("kta_app", "kta"))
        .await
        .unwrap();
    let desk = Desk::new("index entry");
    let rows = Samples {
        tenant: desk.tenant(),
    };
    let one = record(&desk, &rows, 1, SEALED);
    put(&store, &desk, &one).await;
    let entry = placement(&desk, PlacementKind::IndexEntry, rows.key(1, 1).record);
    assert_eq!(found(&probe(&store, &desk, &entry).await), ["index"]);
    let erased = erase(&store, &desk, &entry).await.unwrap();
    assert_eq!(erased.steps[0].as_str(), "index.delete");
    assert_eq!(
        found(&probe(&store, &desk, &entry).await),
        ["server.history"]
    );
    assert_eq!(store.record(&one.key).await.unwrap(), Some(one.clone()));

    let hold = Hold {
        subjects: [desk.beneficiary()].into(),
        ..rows.hold(1, None, Some(200))
    };
    let set = rows.set(0).with(Change::PlaceHold(hold));
    store.commit(set).await.unwrap();
    let copy = placement(&desk, PlacementKind::StoreRecord, rows.key(1, 1).record);
    for held in [&copy, &entry] {
        let error = erase(&store, &desk, held).await.unwrap_err();
        assert_eq!(error.refusal().unwrap().code(), Code::DstHold);
    }
    assert!(store.record(&one.key).await.unwrap().is_some());
    // A document is not here.
    let document = Placement {
        of: CopyOf::Document(kta_core::id::DocumentId::from_bytes([1; 16])),
        ..copy
    };
    let error = erase(&store, &desk, &document).await.unwrap_err();
    assert_eq!(error.fault().unwrap().kind(), FaultKind::Protocol);
}

fn record(desk: &Desk, rows: &Samples, number: u8, sealed: &[u8]) -> Record {
    let mut record = rows.record(1, number, 1);
    record.key.subject = desk.beneficiary();
    record.matter = Some(desk.matter());
    for field in record.fields.values_mut() {
        field.sealed = Sealed::from_bytes(sealed.to_vec());
    }
    record
}
