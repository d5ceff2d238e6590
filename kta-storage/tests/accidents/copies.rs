//! Another time, and another file.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use chrono::TimeDelta;
use kta_core::audit::{Entry, Log};
use kta_core::conformance::Desk;
use kta_core::id::IdempotencyKey;
use kta_core::pii::placement::CopyOf;
use kta_core::pii::{Placement, PlacementKind};
use kta_core::policy::{Act, Role};
use kta_core::ports::{Erase as _, Ledger as _, Store as _};
use kta_core::{Code, FaultKind};
use kta_storage::{AnchorFile, SqliteStore};
use rusqlite::Connection;

use crate::common;
use crate::tools::{PAGE, clear, code, fault, fill, names, put, record, rows};

#[tokio::test]
async fn a_clock_that_was_set_back_dates_no_entry_back() {
    let file = common::folder("clock").join("firm.db");
    let rows = rows();
    let mut log = Log::new("clock.example");
    let mut times = Vec::new();
    // Forward, a year back, to the beginning of time, and on from where it was.
    for (number, days) in [0, 30, -365, -20_000, 29, 31].into_iter().enumerate() {
        // Opened anew each time: the machine was restarted, and its clock with it.
        let store = SqliteStore::open(&file).unwrap();
        let mut set = rows
            .set(0)
            .event(rows.event(Some(1)).with("number", number as u64));
        set.at += TimeDelta::days(days);
        store.commit(set).await.unwrap();
        let entries = store.entries(rows.tenant, log.size(), 9).await.unwrap();
        for entry in entries {
            log.append(&entry).unwrap();
            times.push(Entry::parse(&entry).unwrap().at);
        }
    }
    let day = |days| rows.set(0).at + TimeDelta::days(days);
    let dated = [0, 30, 30, 30, 30, 31].map(day);
    assert_eq!(times, dated);
    // A regulator's question between two instants finds what was dated so.
    let store = SqliteStore::open(&file).unwrap();
    let subject = rows.event(Some(1)).subject.unwrap();
    let trail = store
        .trail(rows.tenant, subject, day(30), day(30))
        .await
        .unwrap();
    assert_eq!(trail, [1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_writing_restores_to_a_moment_that_was_and_the_anchor_refuses_it() {
    let folder = common::folder("restore");
    let file = folder.join("firm.db");
    let store = SqliteStore::open(&file).unwrap();
    fill(&store, 10).await;
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        for number in 11..=150 {
            put(&writer, number).await.unwrap();
        }
    });
    let mut copies = Vec::new();
    while !writing.is_finished() && copies.len() < 5 {
        let copy = folder.join(format!("copy-{}.db", copies.len()));
        let before = store.size(rows().tenant).await.unwrap();
        store.back_up(&copy).await.unwrap();
        let after = store.size(rows().tenant).await.unwrap();
        copies.push((copy, before..=after));
    }
    writing.await.unwrap();
    assert!(copies.len() > 1, "backups while it writes");
    let anchor = AnchorFile::at(folder.join("firm.anchor"));
    let tenant = rows().tenant;
    let log = anchor
        .open_log(&store, tenant, "restore.example", None)
        .await
        .unwrap();
    anchor.advance(log.anchor()).unwrap();
    drop(store);

    for (number, (copy, moments)) in copies.iter().enumerate() {
        let mode = std::fs::metadata(copy).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "for its owner only");
        let to = folder.join(format!("restored-{number}.db"));
        let restored = SqliteStore::restore(copy, &to).await.unwrap();
        let size = restored.size(tenant).await.unwrap();
        assert!(moments.contains(&size), "{size} in {moments:?}");
        for number in 1..=u8::try_from(size).unwrap() {
            assert!(
                restored
                    .record(&rows().key(1, number))
                    .await
                    .unwrap()
                    .is_some()
            );
        }
        let older = anchor
            .open_log(&restored, tenant, "restore.example", None)
            .await;
        assert_eq!(code(older.unwrap_err()), Code::AudFork);
    }
}

#[tokio::test]
async fn what_cannot_be_restored_leaves_no_file_and_harms_none() {
    let folder = common::folder("unrestored");
    let file = folder.join("firm.db");
    let store = SqliteStore::open(&file).unwrap();
    fill(&store, 40).await;
    let copy = folder.join("copy.db");
    store.back_up(&copy).await.unwrap();
    let kind = async |from: &Path, to: &Path| {
        fault(SqliteStore::restore(from, to).await.unwrap_err()).kind()
    };
    // Over a store that is there, or under the log of one that was.
    assert_eq!(kind(&copy, &file).await, FaultKind::Misconfigured);
    let to = folder.join("new.db");
    for left in ["new.db-wal", "new.db-journal", "new.db-opened-1"] {
        std::fs::write(folder.join(left), b"of another").unwrap();
        assert_eq!(kind(&copy, &to).await, FaultKind::Misconfigured);
        std::fs::remove_file(folder.join(left)).unwrap();
    }
    assert_eq!(
        kind(&folder.join("none.db"), &to).await,
        FaultKind::Misconfigured
    );
    let whole = std::fs::read(&copy).unwrap();
    let bad = folder.join("bad.db");
    let mut changed = whole.clone();
    for page in changed.chunks_mut(PAGE).skip(9).step_by(3) {
        page[..32].fill(0xEE);
    }
    for bytes in [
        &b""[..],
        b"no database",
        &whole[..whole.len() / 2],
        &changed,
    ] {
        std::fs::write(&bad, bytes).unwrap();
        assert_eq!(kind(&bad, &to).await, FaultKind::Corrupt);
        assert_eq!(
            std::fs::read(&bad).unwrap(),
            bytes,
            "the backup is only read"
        );
    }
    drop(
        Connection::open(&to)
            .unwrap()
            .execute_batch("CREATE TABLE theirs (x)"),
    );
    assert_eq!(
        kind(&to, &folder.join("foreign.db")).await,
        FaultKind::Misconfigured
    );
    let names = names(&folder);
    let stray: Vec<_> = names.iter().filter(|name| name.contains("part")).collect();
    assert!(stray.is_empty(), "{stray:?}");
    put(&store, 41).await.unwrap();
}

#[tokio::test]
async fn what_is_erased_in_a_restored_store_is_in_none_of_its_files() {
    let folder = common::folder("restored-erasure");
    let store = SqliteStore::open(folder.join("firm.db")).unwrap();
    fill(&store, 30).await;
    let backup = common::folder("restored-erasure-backup").join("copy.db");
    store.back_up(&backup).await.unwrap();
    drop(store);
    clear(&folder.join("firm.db"));
    let store = SqliteStore::restore(&backup, folder.join("firm.db"))
        .await
        .unwrap();
    let record = record(7);
    // The pages of a long value are not side by side; this one is in one piece.
    let sealed = record
        .fields
        .values()
        .find(|field| field.sealed.as_bytes().len() == 126);
    let sealed = common::ciphertext(&sealed.unwrap().sealed);
    assert!(common::in_any_file(&folder, sealed));
    let desk = Desk::of(rows().tenant);
    let placement = Placement {
        kind: PlacementKind::StoreRecord,
        of: CopyOf::Record(record.key.record),
        subject: record.key.subject,
        ..rows().placement(1, 7, "kta-store")
    };
    let session = desk.session(Role::ServiceDestroy);
    let scope = kta_core::policy::Scope::of(placement.subject, placement.category);
    let destroy = session.permit(Act::Destroy, scope.clone()).await;
    let key = IdempotencyKey::derived("erase", &[placement.id.as_bytes()]);
    store
        .erase(&placement, key, &destroy.unwrap())
        .await
        .unwrap();
    let probe = session.permit(Act::Probe, scope).await.unwrap();
    let seen = store.probe(&placement, &probe).await.unwrap();
    assert!(seen.is_clean(), "{seen:?}");
    assert!(!common::in_any_file(&folder, sealed));
    assert!(names(&folder).iter().all(|name| !name.contains("part")));
}

/// `schema_1.sql` is the first version as it was released, and stays so.
#[tokio::test]
async fn a_store_of_the_first_version_opens_and_goes_on() {
    let file = common::folder("first-store").join("firm.db");
    let first = Connection::open(&file).unwrap();
    first
        .execute_batch(include_str!("../schema_1.sql"))
        .unwrap();
    first
        .execute("INSERT INTO migration VALUES (1, 'kta-storage 0.1.0')", [])
        .unwrap();
    first
        .pragma_update(None, "application_id", i32::from_be_bytes(*b"KTAs"))
        .unwrap();
    first.pragma_update(None, "user_version", 1).unwrap();
    drop(first);
    let store = SqliteStore::open(&file).unwrap();
    fill(&store, 3).await;
    assert_eq!(
        store.record(&rows().key(1, 2)).await.unwrap(),
        Some(record(2))
    );
    store.check().await.unwrap();
    drop(store);
    let migrated = Connection::open(&file).unwrap();
    let fresh = common::folder("fresh-store").join("firm.db");
    drop(SqliteStore::open(&fresh).unwrap());
    let fresh = Connection::open(&fresh).unwrap();
    let version = |db: &Connection| -> (u32, u32) {
        let version = db.pragma_query_value(None, "user_version", |row| row.get(0));
        let steps = db.query_row("SELECT count(*) FROM migration", [], |row| row.get(0));
        (version.unwrap(), steps.unwrap())
    };
    assert_eq!(version(&migrated), version(&fresh));
    // What was migrated and what is made new have the same tables.
    let tables = |db: &Connection| -> Vec<String> {
        let sql = "SELECT type || name FROM sqlite_schema ORDER BY 1";
        let mut all = db.prepare(sql).unwrap();
        let all = all.query_map([], |row| row.get(0)).unwrap();
        all.map(Result::unwrap).collect()
    };
    assert_eq!(tables(&migrated), tables(&fresh));
}
