//! Who writes at the desk: callers with few bounded changes, and the thread for all others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kta_core::conformance::store::Samples;
use kta_core::ports::store::{Change, ChangeSet, Durability, Expected};
use kta_core::ports::{Ledger as _, Store as _};
use kta_storage::SqliteStore;
use rusqlite::Connection;

/// A record put with its entry, not waited for by the disk.
fn bounded(rows: &Samples, person: u8, number: u8) -> ChangeSet {
    let mut set = rows
        .set(0)
        .with(rows.put(person, number, 1, &[], Expected::Absent))
        .event(rows.event(Some(person)));
    set.durability = Durability::Bounded;
    set
}

fn ticks(path: &Path) -> i64 {
    let db = Connection::open(path).unwrap();
    db.query_row("SELECT count FROM tick", [], |row| row.get(0))
        .unwrap()
}

#[tokio::test]
async fn what_a_caller_wrote_is_carried_to_disk_within_the_stated_lag() {
    let file = common::folder("desk-lag").join("firm.db");
    let store = SqliteStore::open(&file).unwrap();
    let rows = Samples::of("desk lag");
    for number in 1..4 {
        store.commit(bounded(&rows, 1, number)).await.unwrap();
        assert_eq!(ticks(&file), i64::from(number) - 1);
        tokio::time::sleep(SqliteStore::LAG + Duration::from_millis(400)).await;
        assert_eq!(ticks(&file), i64::from(number));
    }
}

/// On one thread, which must go on while another process has the file.
#[tokio::test]
async fn nobody_is_held_up_where_another_process_writes() {
    let file = common::folder("desk-busy").join("firm.db");
    let store = Arc::new(SqliteStore::open(&file).unwrap());
    let rows = Samples::of("desk busy");
    let another = Connection::open(&file).unwrap();
    another.execute_batch("BEGIN IMMEDIATE").unwrap();
    let set = bounded(&rows, 1, 1);
    let commit = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.commit(set).await }
    });
    let start = Instant::now();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(start.elapsed() < Duration::from_secs(2), "held up");
    assert!(!commit.is_finished());
    another.execute_batch("ROLLBACK").unwrap();
    assert_eq!(commit.await.unwrap().unwrap().entries, 1);
    assert!(store.record(&rows.key(1, 1)).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_writes_once_wherever_it_is_done() {
    let file = common::folder("desk-crowd").join("firm.db");
    let store = Arc::new(SqliteStore::open(&file).unwrap());
    let rows = Arc::new(Samples::of("desk crowd"));
    let people = (0..8).map(|person| {
        let (store, rows) = (Arc::clone(&store), Arc::clone(&rows));
        tokio::spawn(async move {
            for number in 0..100 {
                let mut set = bounded(&rows, person, number);
                if number % 8 == person {
                    set.durability = Durability::Durable;
                }
                let committed = store.commit(set).await.unwrap();
                assert_eq!(committed.entries, 1);
                // An opening between, and one's own record read back.
                let mut noted = rows.set(0).event(rows.event(Some(person)));
                noted.durability = Durability::Bounded;
                store.commit(noted).await.unwrap();
                let key = rows.key(person, number);
                assert!(store.record(&key).await.unwrap().is_some());
                // The same again is refused, and leaves nothing.
                let again = store.commit(bounded(&rows, person, number)).await;
                again.unwrap_err();
            }
        })
    });
    for person in people.collect::<Vec<_>>() {
        person.await.unwrap();
    }
    assert_eq!(store.size(rows.tenant).await.unwrap(), 1_600);
    store.check().await.unwrap();
}

#[tokio::test]
async fn the_write_ahead_log_goes_home_while_the_store_is_at_work() {
    let file = common::folder("desk-home").join("firm.db");
    let store = SqliteStore::open(&file).unwrap();
    let rows = Samples::of("desk home");
    let log = file.with_file_name("firm.db-wal");
    let mib = || std::fs::metadata(&log).unwrap().len() >> 20;
    for number in 0..900_u16 {
        let [person, record] = [number / 250, number % 250].map(|it| it as u8);
        let mut set = bounded(&rows, person, record);
        set.durability = Durability::Durable;
        store.commit(set).await.unwrap();
    }
    // 4 MiB while the disk is waited for, and what the last commit put behind.
    assert!((3..=5).contains(&mib()), "{} MiB", mib());

    // Where nobody waits for the disk it is 32 MiB.
    tokio::time::sleep(Duration::from_millis(200)).await;
    for number in 0..4_000_u16 {
        let job = Change::Enqueue(rows.job((number % 250) as u8, 0));
        let mut set = rows.set(0).event(rows.event(None)).with(job);
        set.durability = Durability::Bounded;
        for event in 0..20 {
            set = set.event(rows.event(Some(event)));
        }
        store.commit(set).await.unwrap();
    }
    assert!((6..=40).contains(&mib()), "{} MiB", mib());
    store.check().await.unwrap();
}
