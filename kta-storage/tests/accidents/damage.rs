//! Other bytes than those that were written.

use kta_core::audit::Log;
use kta_core::ports::{Ledger as _, Store as _};
use kta_core::{Code, FaultKind};
use kta_storage::{AnchorFile, SqliteStore};

use crate::common;
use crate::tools::{PAGE, clear, code, fault, fill, record, rows};

#[tokio::test]
async fn damage_to_any_page_is_found_at_opening_or_by_the_check() {
    let folder = common::folder("pages");
    let file = folder.join("firm.db");
    let store = SqliteStore::open(&file).unwrap();
    fill(&store, PEOPLE).await;
    store.checkpoint().await.unwrap();
    drop(store);
    let whole = std::fs::read(&file).unwrap();
    let pages = whole.len() / PAGE;
    assert!(pages > 30, "{pages}");
    let damaged = folder.join("damaged.db");
    for page in 0..pages {
        let at = page * PAGE..(page + 1) * PAGE;
        let other = ((page + 5) % pages) * PAGE;
        let ways: [(&str, Vec<u8>); 4] = [
            (
                "garbage",
                (0..PAGE).map(|at| (at * 37 % 251) as u8).collect(),
            ),
            ("zeros", vec![0; PAGE]),
            (
                "its head",
                [&[0xEE; 64], &whole[at.start + 64..at.end]].concat(),
            ),
            ("another page", whole[other..other + PAGE].to_vec()),
        ];
        for (way, bytes) in ways {
            let mut copy = whole.clone();
            if copy[at.clone()] == bytes {
                continue;
            }
            copy[at.clone()].copy_from_slice(&bytes);
            clear(&damaged);
            std::fs::write(&damaged, &copy).unwrap();
            let found = match SqliteStore::open(&damaged) {
                Err(error) => error,
                Ok(store) => match store.check().await {
                    Err(error) => error,
                    // A page of nothing but sealed bytes for another: what sealed them knows.
                    Ok(()) if way == "another page" || way == "zeros" => {
                        only_sealed_bytes_differ(&store).await;
                        continue;
                    }
                    Ok(()) => panic!("page {page} of {pages}: {way} is not found"),
                },
            };
            // The first page also says whose file it is.
            let kind = fault(found).kind();
            let foreign = page == 0 && kind == FaultKind::Misconfigured;
            assert!(
                kind == FaultKind::Corrupt || foreign,
                "page {page}, {way}: {kind}"
            );
        }
    }
    clear(&damaged);
    for length in [whole.len() - PAGE, whole.len() / 2, 100] {
        std::fs::write(&damaged, &whole[..length]).unwrap();
        let error = SqliteStore::open(&damaged).unwrap_err();
        assert_eq!(fault(error).kind(), FaultKind::Corrupt, "cut to {length}");
        clear(&damaged);
    }
}

/// Enough rows for every kind of page.
const PEOPLE: u8 = 9;

/// SQLite keeps no checksums of values: a page in the middle of a long one can be another, and
/// only its bytes tell. Sealed bytes do when they are opened, and the record's header does for the
/// classification beside them; nobody opens anything here, so these are left out.
async fn only_sealed_bytes_differ(store: &SqliteStore) {
    for number in 1..=PEOPLE {
        let expected = self::record(number);
        let mut record = match store.record(&rows().key(1, number)).await {
            Ok(record) => record.unwrap(),
            Err(error) => {
                assert_eq!(fault(error).kind(), FaultKind::Corrupt);
                continue;
            }
        };
        record.header.clone_from(&expected.header);
        for (name, field) in &mut record.fields {
            let expected = &expected.fields[name];
            field.sealed = expected.sealed.clone();
            field.classification = expected.classification;
        }
        assert_eq!(record, expected);
    }
    let mut log = Log::new("pages.example");
    for entry in store.entries(rows().tenant, 0, 99).await.unwrap() {
        log.append(&entry).unwrap();
    }
    assert_eq!(log.size(), u64::from(PEOPLE));
}

#[tokio::test]
async fn damage_under_an_open_store_is_a_fault_of_the_reading_and_no_wrong_answer() {
    let file = common::folder("under").join("firm.db");
    let store = SqliteStore::open(&file).unwrap();
    fill(&store, 60).await;
    store.checkpoint().await.unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[PAGE..].fill(0xA5);
    std::fs::write(&file, bytes).unwrap();
    let mut faults = 0;
    for number in 1..=60 {
        match store.record(&rows().key(1, number)).await {
            // From a page that was in memory.
            Ok(found) => assert_eq!(found, Some(record(number))),
            Err(error) => {
                assert_eq!(fault(error).kind(), FaultKind::Corrupt);
                faults += 1;
            }
        }
    }
    assert!(faults > 0);
    let error = store.check().await.unwrap_err();
    assert_eq!(fault(error).kind(), FaultKind::Corrupt);
}

#[tokio::test]
async fn a_changed_bit_in_an_entry_is_found_by_the_check_or_by_the_anchor() {
    let folder = common::folder("bit");
    let file = folder.join("firm.db");
    let store = SqliteStore::open(&file).unwrap();
    fill(&store, 5).await;
    store.checkpoint().await.unwrap();
    let tenant = rows().tenant;
    let anchor = AnchorFile::at(folder.join("firm.anchor"));
    let open =
        async |store: &SqliteStore| anchor.open_log(store, tenant, "bit.example", None).await;
    anchor
        .advance(open(&store).await.unwrap().anchor())
        .unwrap();
    let entry = store.entries(tenant, 2, 1).await.unwrap().remove(0);
    drop(store);
    let whole = std::fs::read(&file).unwrap();
    let at = whole.windows(entry.len()).position(|bytes| bytes == entry);
    let at = at.unwrap();
    let damaged = folder.join("damaged.db");
    let (mut by_check, mut by_anchor) = (0, 0);
    for (step, byte) in (at..at + entry.len()).step_by(5).enumerate() {
        let mut bytes = whole.clone();
        bytes[byte] ^= 1 << (step % 7);
        clear(&damaged);
        std::fs::write(&damaged, &bytes).unwrap();
        let store = SqliteStore::open(&damaged).unwrap();
        if let Err(error) = store.check().await {
            assert_eq!(fault(error).kind(), FaultKind::Corrupt);
            by_check += 1;
        } else {
            assert_eq!(code(open(&store).await.unwrap_err()), Code::AudFork);
            by_anchor += 1;
        }
    }
    assert!(by_check > 0 && by_anchor > 0, "{by_check} {by_anchor}");
}

/// SQLite takes the write-ahead log as far as it is whole: what was behind the damage is gone
/// without a word, as if it had never been committed. Only what remembers the log elsewhere knows.
#[tokio::test]
async fn a_damaged_write_ahead_log_is_a_shorter_story_and_the_anchor_tells() {
    let folder = common::folder("wal");
    let (file, wal) = (folder.join("firm.db"), folder.join("firm.db-wal"));
    let store = SqliteStore::open(&file).unwrap();
    fill(&store, 30).await;
    let anchor = AnchorFile::at(folder.join("firm.anchor"));
    let tenant = rows().tenant;
    let log = anchor
        .open_log(&store, tenant, "wal.example", None)
        .await
        .unwrap();
    anchor.advance(log.anchor()).unwrap();
    let (db, log) = (std::fs::read(&file).unwrap(), std::fs::read(&wal).unwrap());
    let after = folder.join("after.db");
    for (at, length) in [
        (0, 8),
        (20, 8),
        (log.len() / 3, 1),
        (log.len() / 2, 4096),
        (log.len() - 9, 1),
    ] {
        clear(&after);
        std::fs::write(&after, &db).unwrap();
        let mut log = log.clone();
        for byte in &mut log[at..at + length] {
            *byte ^= 0x55;
        }
        std::fs::write(folder.join("after.db-wal"), log).unwrap();
        let shorter = match SqliteStore::open(&after) {
            Ok(store) => store,
            Err(error) => {
                assert_eq!(fault(error).kind(), FaultKind::Corrupt);
                continue;
            }
        };
        shorter.check().await.unwrap();
        let size = shorter.size(tenant).await.unwrap();
        assert!(size < 30, "{at}: {size}");
        let mut story = Log::new("wal.example");
        for entry in shorter.entries(tenant, 0, usize::MAX).await.unwrap() {
            story.append(&entry).unwrap();
        }
        assert_eq!(story.size(), size, "whole commits only");
        let known = anchor.open_log(&shorter, tenant, "wal.example", None).await;
        assert_eq!(code(known.unwrap_err()), Code::AudFork);
    }
}
