//! The trail of a store whose postings moved through every kind of run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use kta_core::FaultKind;
use kta_core::conformance::store::Samples;
use kta_core::ports::store::{Durability, Ledger as _, Store as _};
use kta_core::time::Timestamp;
use kta_storage::SqliteStore;
use rusqlite::Connection;

/// Who is named by which entry, and when that was.
type Model = BTreeMap<u8, Vec<(u64, i64)>>;

const PEOPLE: u8 = 60;

/// Commits so many events, one of them in ten naming two people; many of them at once go through
/// the journal.
async fn name(store: &SqliteStore, rows: &Samples, model: &mut Model, many: u64, now: i64) {
    let first = store.size(rows.tenant).await.unwrap();
    let mut set = rows.set(now);
    if many >= 700 {
        set.durability = Durability::Bounded;
    }
    for seq in first..first + many {
        // One person in many entries, others in few.
        let spread = (seq.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8 % PEOPLE;
        let person = if seq % 3 == 0 { 0 } else { spread };
        let mut event = rows.event(Some(person));
        model.entry(person).or_default().push((seq, now));
        if seq % 10 == 0 && person != 1 {
            event = event.with("guardian", rows.subject(1));
            model.entry(1).or_default().push((seq, now));
        }
        set = set.event(event);
    }
    store.commit(set).await.unwrap();
}

async fn agrees(store: &SqliteStore, rows: &Samples, model: &Model, from: i64, to: i64) {
    for person in (0..8).chain(PEOPLE - 2..=PEOPLE) {
        let (first, last) = (at(rows, from), at(rows, to));
        let subject = rows.subject(person);
        let trail = store.trail(rows.tenant, subject, first, last).await;
        let known = model.get(&person).into_iter().flatten();
        let expected = known.filter(|(_, at)| (from..=to).contains(at));
        let expected: Vec<u64> = expected.map(|(seq, _)| *seq).collect();
        assert_eq!(trail.unwrap(), expected, "{person} from {from} to {to}");
    }
}

fn at(rows: &Samples, milliseconds: i64) -> Timestamp {
    rows.set(milliseconds).at
}

/// What a firm's trail has of each kind: new postings, and runs of each tier.
fn kinds(path: &Path, firm: i64) -> (i64, Vec<(i64, i64)>) {
    let db = Connection::open(path).unwrap();
    let sql = "SELECT coalesce(sum(length(bytes)), 0) / 32 FROM trail_young WHERE place >> 40 = ?1";
    let young = db.query_row(sql, [firm], |row| row.get(0));
    let sql = "SELECT tier, count(*) FROM trail_run WHERE firm = ?1 GROUP BY tier ORDER BY tier";
    let mut tiers = db.prepare(sql).unwrap();
    let tiers = tiers.query_map([firm], |row| Ok((row.get(0)?, row.get(1)?)));
    (
        young.unwrap(),
        tiers.unwrap().collect::<Result<_, _>>().unwrap(),
    )
}

#[tokio::test]
async fn every_entry_that_names_a_person_is_found_whatever_became_of_its_posting() {
    let folder = common::folder("trail");
    let path = folder.join("firm.db");
    // Two firms in one file: what becomes of one's postings leaves the other's alone.
    let (rows, others) = (Samples::of("trail"), Samples::of("another firm's trail"));
    let store = SqliteStore::open(&path).unwrap();
    let (mut model, mut theirs, mut now) = (Model::new(), Model::new(), 0);
    let mut seen = Vec::new();
    for round in 0..30 {
        // Alone, a few, just enough for a run, many.
        for many in [1, 200, 256, 700] {
            now += 10;
            name(&store, &rows, &mut model, many, now).await;
            name(&store, &others, &mut theirs, many / 2, now).await;
        }
        // Whoever asks for the size waits for the journal.
        let size = store.size(rows.tenant).await.unwrap();
        assert_eq!(size, 1157 * (round + 1));
        let (young, tiers) = kinds(&path, 1);
        assert!(young < 2048, "{young} new ones");
        assert!(
            tiers.iter().all(|(_, runs)| *runs <= 7),
            "{round}: {tiers:?}"
        );
        seen.extend(tiers.iter().map(|(tier, _)| *tier));
        if round % 6 == 5 {
            agrees(&store, &rows, &model, 0, now).await;
            agrees(&store, &rows, &model, now / 3, now / 2).await;
            agrees(&store, &rows, &model, now, now).await;
            agrees(&store, &rows, &model, now + 1, now + 9).await;
            agrees(&store, &others, &theirs, 0, now).await;
            store.check().await.unwrap();
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [0, 1, 2]);
    drop(store);

    let store = SqliteStore::open(&path).unwrap();
    agrees(&store, &rows, &model, 0, now).await;
    let copy = folder.join("copy.db");
    store.back_up(&copy).await.unwrap();
    let copy = SqliteStore::open(&copy).unwrap();
    agrees(&copy, &rows, &model, 0, now).await;
    agrees(&copy, &others, &theirs, 0, now).await;
    copy.check().await.unwrap();
    drop((store, copy));
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_trail_that_lost_something_is_found_out() {
    for (damage, answered) in [
        ("UPDATE trail_page SET bytes = x'0101'", false),
        ("UPDATE trail_run SET postings = postings + 1", true),
        ("UPDATE firm SET young = young + 1", true),
        ("DELETE FROM trail_page WHERE no = 1", true),
        ("DELETE FROM trail_young", true),
        ("UPDATE trail_young SET bytes = substr(bytes, 33)", true),
        ("UPDATE trail_young SET bytes = substr(bytes, 2)", false),
        ("UPDATE trail_young SET place = place + 1", true),
    ] {
        let folder = common::folder("trail damaged");
        let path = folder.join("firm.db");
        let rows = Samples::of("trail damaged");
        let store = SqliteStore::open(&path).unwrap();
        let mut model = Model::new();
        name(&store, &rows, &mut model, 500, 10).await;
        name(&store, &rows, &mut model, 5, 20).await;
        store.check().await.unwrap();
        drop(store);
        let db = Connection::open(&path).unwrap();
        assert!(db.execute(damage, []).unwrap() > 0, "{damage}");
        drop(db);

        let store = SqliteStore::open(&path).unwrap();
        let error = store.check().await.unwrap_err();
        let kind = error.fault().map(kta_core::Fault::kind);
        assert_eq!(kind, Some(FaultKind::Corrupt), "{damage}");
        let everybody = store.trail(rows.tenant, rows.subject(0), at(&rows, 0), at(&rows, 99));
        assert_eq!(everybody.await.is_ok(), answered, "{damage}");
        drop(store);
        std::fs::remove_dir_all(folder).unwrap();
    }
}

/// A merge writes what it read: with something missing it would make that look whole.
#[tokio::test]
async fn what_is_lost_is_not_merged_away() {
    for (damage, many) in [
        ("DELETE FROM trail_page WHERE no = 1", 1_000),
        ("UPDATE trail_young SET bytes = substr(bytes, 33)", 250),
        ("DELETE FROM trail_young", 250),
    ] {
        let folder = common::folder("trail merged");
        let path = folder.join("firm.db");
        let rows = Samples::of("trail merged");
        let store = SqliteStore::open(&path).unwrap();
        let mut model = Model::new();
        name(&store, &rows, &mut model, 500, 0).await;
        name(&store, &rows, &mut model, 5, 0).await;
        drop(store);
        let db = Connection::open(&path).unwrap();
        assert_eq!(db.execute(damage, []).unwrap(), 1, "{damage}");
        drop(db);

        let store = SqliteStore::open(&path).unwrap();
        let mut outcome = Ok(());
        for _ in 0..20 {
            let named = (0..many).map(|_| rows.event(Some(0)));
            let set = named.fold(rows.set(0), kta_core::ports::store::ChangeSet::event);
            outcome = store.commit(set).await.map(drop);
            if outcome.is_err() {
                break;
            }
        }
        let error = outcome.unwrap_err();
        let kind = error.fault().map(kta_core::Fault::kind);
        assert_eq!(kind, Some(FaultKind::Corrupt), "{damage}");
        assert!(store.check().await.is_err(), "{damage}");
        drop(store);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
