//! The log of a store whose entries moved into pages.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use kta_core::conformance::store::Samples;
use kta_core::memory::MemoryStore;
use kta_core::ports::store::{Durability, Ledger as _, Store as _};
use kta_core::{Fault, FaultKind};
use kta_storage::SqliteStore;
use rusqlite::Connection;

use common::log::{agree, said};

/// How many rows have one entry, and how many are pages of them.
fn rows_of(path: &Path, firm: i64) -> (u64, u64) {
    let db = Connection::open(path).unwrap();
    let sql = "SELECT count(*) FILTER (WHERE substr(bytes, 1, 1) = x'7B'),
        count(*) FILTER (WHERE substr(bytes, 1, 1) = x'01') FROM entry WHERE place >> 40 = ?1";
    let both = db.query_row(sql, [firm], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
    });
    let (loose, pages) = both.unwrap();
    (loose.cast_unsigned(), pages.cast_unsigned())
}

#[tokio::test]
async fn entries_are_what_they_were_whatever_row_they_came_to_stand_in() {
    let folder = common::folder("log");
    let path = folder.join("firm.db");
    // Two firms in one file: what becomes of one's entries leaves the other's alone.
    let (rows, others) = (Samples::of("log"), Samples::of("another firm's log"));
    let (store, model) = (SqliteStore::open(&path).unwrap(), MemoryStore::new());
    let mut now = 0;
    for round in 0..12 {
        for many in [1, 2, 60, 127, 128, 700] {
            now += 10;
            for (rows, many) in [(&rows, many), (&others, many / 2 + 1)] {
                let mut set = said(rows, many, now);
                if many > 100 && round % 2 == 0 {
                    // Through the journal.
                    set.durability = Durability::Bounded;
                }
                model.commit(set.clone()).await.unwrap();
                store.commit(set).await.unwrap();
            }
        }
        agree(&store, &model, &rows).await;
        agree(&store, &model, &others).await;
        let ((loose, pages), size) = (rows_of(&path, 1), model.size(rows.tenant).await.unwrap());
        assert!(loose < 128, "{loose} rows of one");
        assert!(pages * 40 < size, "{pages} pages of {size} entries");
    }
    store.check().await.unwrap();
    drop(store);

    let store = SqliteStore::open(&path).unwrap();
    let copy = folder.join("copy.db");
    store.back_up(&copy).await.unwrap();
    let copy = SqliteStore::open(&copy).unwrap();
    for store in [&store, &copy] {
        agree(store, &model, &rows).await;
        agree(store, &model, &others).await;
        store.check().await.unwrap();
    }
    drop((store, copy));
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_log_that_lost_something_is_found_out() {
    for (damage, found_at_opening) in [
        (
            "DELETE FROM entry WHERE place = (SELECT max(place) FROM entry)",
            true,
        ),
        (
            "DELETE FROM entry WHERE place & 0xFFFF >= (SELECT paged FROM firm)",
            true,
        ),
        (
            "DELETE FROM entry WHERE place = (SELECT min(place) FROM entry WHERE place & 0xFFFF > 0)",
            false,
        ),
        (
            "UPDATE entry SET bytes = substr(bytes, 1, length(bytes) - 1)
            WHERE place & 0xFFFF = 0",
            false,
        ),
        (
            "UPDATE entry SET bytes = CAST(x'01' || bytes AS BLOB) WHERE place & 0xFFFF = 0",
            false,
        ),
        (
            "UPDATE entry SET bytes = x'0100' WHERE place & 0xFFFF = 0",
            false,
        ),
        (
            "UPDATE entry SET bytes = x'' WHERE place = (SELECT max(place) FROM entry)",
            true,
        ),
        (
            "UPDATE entry SET place = place + 1 WHERE place = (SELECT max(place) FROM entry)",
            true,
        ),
    ] {
        let folder = common::folder("log damaged");
        let path = folder.join("firm.db");
        let rows = Samples::of("log damaged");
        let store = SqliteStore::open(&path).unwrap();
        store.commit(said(&rows, 400, 0)).await.unwrap();
        store.commit(said(&rows, 5, 1)).await.unwrap();
        store.check().await.unwrap();
        drop(store);
        let (loose, pages) = rows_of(&path, 1);
        assert!(loose > 5 && pages > 2, "{loose} {pages}");
        let db = Connection::open(&path).unwrap();
        assert!(db.execute(damage, []).unwrap() > 0, "{damage}");
        drop(db);

        let error = match SqliteStore::open(&path) {
            Err(error) => Some(error).filter(|_| found_at_opening),
            Ok(store) => store.check().await.err().filter(|_| !found_at_opening),
        };
        let kind = error
            .as_ref()
            .and_then(kta_core::Error::fault)
            .map(Fault::kind);
        assert_eq!(kind, Some(FaultKind::Corrupt), "{damage}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}

/// A page says what the rows did that it takes the place of: with something missing it would make
/// that look whole.
#[tokio::test]
async fn what_is_lost_is_not_paged_away() {
    for damage in [
        "DELETE FROM entry WHERE place & 0xFFFF = 50",
        "UPDATE entry SET place = place + 4096 WHERE place & 0xFFFF = 50",
        "UPDATE entry SET bytes = x'01' WHERE place & 0xFFFF = 50",
    ] {
        let folder = common::folder("log paged");
        let path = folder.join("firm.db");
        let rows = Samples::of("log paged");
        let store = SqliteStore::open(&path).unwrap();
        store.commit(said(&rows, 100, 0)).await.unwrap();
        // While the store is open: at its opening it would be told.
        let db = Connection::open(&path).unwrap();
        assert_eq!(db.execute(damage, []).unwrap(), 1, "{damage}");
        drop(db);
        let error = store.commit(said(&rows, 100, 1)).await.unwrap_err();
        let kind = error.fault().map(Fault::kind);
        assert_eq!(kind, Some(FaultKind::Corrupt), "{damage}");
        // Nothing was thrown away, and the log is as long as it was.
        let (loose, pages) = rows_of(&path, 1);
        assert!(loose >= 99 && pages <= 1, "{damage}: {loose} {pages}");
        assert_eq!(store.size(rows.tenant).await.unwrap(), 100);
        drop(store);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
