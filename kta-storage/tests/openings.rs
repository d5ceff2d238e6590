//! A process that logs bounded openings is killed at random moments: every one that it was told
//! of is in the log, once, before what was committed after it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kta_core::audit::{Entry, Label, Log};
use kta_core::conformance::store::Samples;
use kta_core::id::TenantId;
use kta_core::ports::store::{Change, ChangeSet, Durability};
use kta_core::ports::{Jobs as _, Ledger as _, Store as _};
use kta_core::{Fault, FaultKind};
use kta_storage::SqliteStore;

use common::killed::{run_and_kill, tell};

/// How often the process is killed.
const ROUNDS: u64 = 110;
const CHILD: &str = "the_process_that_is_killed";
const FILE: &str = "KTA_STORAGE_OPENINGS_FILE";

/// Threads of the process; each logs its own numbers in order.
const WORKERS: u64 = 3;

#[tokio::test]
async fn a_killed_process_loses_no_opening_that_it_was_told_is_logged() {
    let folder = common::folder("openings");
    let file = folder.join("firm.db");
    let mut log = Log::new("openings.example");
    let (mut told, mut adopted) = (0, 0);
    for round in 0..ROUNDS {
        let environment = [(FILE, file.to_str().unwrap())];
        let answers = run_and_kill(CHILD, &environment, Duration::from_millis(12));
        let answered: BTreeSet<u64> = answers.iter().map(|it| it.parse().unwrap()).collect();
        adopted += u64::from(journals(&folder) > 0);
        let store = SqliteStore::open(&file).unwrap();
        assert_eq!(
            journals(&folder),
            0,
            "a dead process's journal is taken in and removed"
        );
        let mut last = BTreeMap::new();
        let mut written = BTreeSet::new();
        let entries = store
            .entries(rows().tenant, log.size(), usize::MAX)
            .await
            .unwrap();
        for entry in entries {
            // `append` refuses a gap, a repetition and a step back in time.
            log.append(&entry).unwrap();
            let number = number_in(&Entry::parse(&entry).unwrap());
            assert!(
                written.insert(number),
                "round {round}: {number} stands there twice"
            );
            let before = last.insert(number % WORKERS, number);
            assert!(
                before < Some(number),
                "round {round}: {number} after {before:?}"
            );
        }
        let lost: Vec<_> = answered.difference(&written).collect();
        assert!(lost.is_empty(), "round {round} lost {lost:?}");
        told += answered.len();
        let trail = store
            .trail(rows().tenant, rows().subject(1), at(0), at(9))
            .await;
        assert_eq!(trail.unwrap().len() as u64, log.size());
        if round % 20 == 0 {
            store.check().await.unwrap();
        }
    }
    assert!(told > 1_000, "killed before it did anything: {told}");
    assert!(
        adopted > ROUNDS / 2,
        "nothing was left in a journal: {adopted}"
    );
}

#[test]
#[ignore = "the other test runs it as a process of its own and kills it"]
fn the_process_that_is_killed() {
    let Ok(file) = std::env::var(FILE) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(file).unwrap();
        // Numbers that no earlier process used: it wrote at most `begin` entries.
        let begin = (store.size(rows().tenant).await.unwrap() + 1) * 1_000_000 * WORKERS;
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let store = store.clone();
                tokio::spawn(async move {
                    for turn in 0_u64.. {
                        let number = begin + turn * WORKERS + worker;
                        let mut set = opening(number);
                        // Now and then something durable, and somebody who asks the log.
                        if turn % 23 == 22 {
                            set.durability = Durability::Durable;
                        }
                        store.commit(set).await.unwrap();
                        tell(number);
                        if turn % 37 == 36 {
                            store.size(rows().tenant).await.unwrap();
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
    });
}

#[tokio::test]
async fn two_stores_on_one_file_each_keep_a_journal_and_close_it() {
    let folder = common::folder("openings");
    let file = folder.join("firm.db");
    let (here, there) = (
        SqliteStore::open(&file).unwrap(),
        SqliteStore::open(&file).unwrap(),
    );
    for number in 0..10 {
        let store = if number % 2 == 0 { &here } else { &there };
        assert_eq!(store.commit(opening(number)).await.unwrap().first, None);
    }
    assert_eq!(journals(&folder), 2);
    // Who opens the store meanwhile leaves the journals of the living alone.
    drop(SqliteStore::open(&file).unwrap());
    assert_eq!(journals(&folder), 2);
    assert_eq!(
        here.size(rows().tenant).await.unwrap(),
        5,
        "its own, at once"
    );
    drop(there);
    assert_eq!(journals(&folder), 1);
    let entries = here.entries(rows().tenant, 0, usize::MAX).await.unwrap();
    let numbers = entries
        .iter()
        .map(|entry| number_in(&Entry::parse(entry).unwrap()));
    assert_eq!(numbers.collect::<Vec<_>>(), [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]);
    drop(here);
    assert_eq!(journals(&folder), 0);
}

#[tokio::test]
async fn bounded_openings_are_in_the_log_after_the_lag_without_anybody_asking() {
    let folder = common::folder("openings");
    let file = folder.join("firm.db");
    let (here, there) = (
        SqliteStore::open(&file).unwrap(),
        SqliteStore::open(&file).unwrap(),
    );
    here.commit(opening(1)).await.unwrap();
    let begin = std::time::Instant::now();
    while there.size(rows().tenant).await.unwrap() == 0 {
        assert!(begin.elapsed() < SqliteStore::LAG * 20, "never entered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_change_set_that_fails_alone_takes_itself_back_and_no_opening_with_it() {
    let folder = common::folder("openings");
    let store = SqliteStore::open(folder.join("firm.db")).unwrap();
    let job = rows().job(1, 0);
    let half = || {
        let unknown = Change::ReleaseHold {
            hold: rows().hold(1, None, None).id,
            by: rows().actor(),
        };
        let set = rows().set(0).with(Change::Enqueue(job.clone()));
        set.with(unknown).event(rows().event(Some(1)))
    };
    for number in 0..3 {
        store.commit(opening(number)).await.unwrap();
        let error = store.commit(half()).await.unwrap_err();
        assert_eq!(error.fault().map(Fault::kind), Some(FaultKind::NotFound));
    }
    assert_eq!(store.jobs(rows().tenant, None).await.unwrap(), []);
    let entries = store.entries(rows().tenant, 0, usize::MAX).await.unwrap();
    let numbers = entries
        .iter()
        .map(|entry| number_in(&Entry::parse(entry).unwrap()));
    assert_eq!(numbers.collect::<Vec<_>>(), [0, 1, 2]);
}

#[tokio::test]
async fn a_journal_that_comes_back_after_it_was_taken_in_is_entered_once() {
    let folder = common::folder("openings");
    let file = folder.join("firm.db");
    let store = SqliteStore::open(&file).unwrap();
    for number in 0..20 {
        store.commit(opening(number)).await.unwrap();
    }
    let path = journal(&folder);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(store.size(rows().tenant).await.unwrap(), 20);
    for number in 20..30 {
        store.commit(opening(number)).await.unwrap();
    }
    let later = std::fs::read(&path).unwrap();
    let copy = |bytes: &[u8], firm: &std::path::Path| {
        let name = path.file_name().unwrap();
        std::fs::write(firm.join(name), bytes).unwrap();
    };
    // As after a kill: the files are copied while the store is open, and it never ends in order.
    let killed = common::folder("openings");
    for name in ["firm.db", "firm.db-wal"] {
        std::fs::copy(folder.join(name), killed.join(name)).unwrap();
    }
    for bytes in [&bytes, &later] {
        copy(bytes, &killed);
        let store = SqliteStore::open(killed.join("firm.db")).unwrap();
        let size = store.size(rows().tenant).await.unwrap();
        assert_eq!(size, if bytes == &later { 30 } else { 20 });
    }
    // A torn tail: what stands before it counts.
    let torn = common::folder("openings");
    for name in ["firm.db", "firm.db-wal"] {
        std::fs::copy(folder.join(name), torn.join(name)).unwrap();
    }
    copy(&later[..later.len() - 5], &torn);
    let store = SqliteStore::open(torn.join("firm.db")).unwrap();
    assert_eq!(store.size(rows().tenant).await.unwrap(), 29);
    assert_eq!(journals(&torn), 0);
}

#[tokio::test]
async fn a_journal_that_cannot_be_believed_is_refused_and_stays() {
    let folder = common::folder("openings");
    let file = folder.join("firm.db");
    let store = SqliteStore::open(&file).unwrap();
    for number in 0..3 {
        store.commit(opening(number)).await.unwrap();
    }
    let path = journal(&folder);
    let whole = std::fs::read(&path).unwrap();
    let name = path.file_name().unwrap();
    // Beside a log that has nothing of it: a bit in the form, and one in the first frame.
    for (at, kind) in [
        (8, FaultKind::Misconfigured),
        (4096 + 40, FaultKind::Corrupt),
    ] {
        let other = common::folder("openings");
        drop(SqliteStore::open(other.join("firm.db")).unwrap());
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(other.join(name), &bytes).unwrap();
        let error = SqliteStore::open(other.join("firm.db")).unwrap_err();
        assert_eq!(error.fault().map(Fault::kind), Some(kind));
        assert_eq!(std::fs::read(other.join(name)).unwrap(), bytes);
        // What was written comes back: nothing is lost.
        std::fs::write(other.join(name), &whole).unwrap();
        let store = SqliteStore::open(other.join("firm.db")).unwrap();
        assert_eq!(store.size(rows().tenant).await.unwrap(), 3);
    }
}

fn opening(number: u64) -> ChangeSet {
    let mut set = rows()
        .set(0)
        .event(rows().event(Some(1)).with("number", number));
    set.durability = Durability::Bounded;
    set
}

fn number_in(entry: &Entry) -> u64 {
    let number = &entry.event.facts[&Label::fixed("number")];
    number.to_string().parse().unwrap()
}

fn journals(folder: &std::path::Path) -> usize {
    let names = std::fs::read_dir(folder).unwrap().flatten();
    names
        .filter(|entry| entry.file_name().to_string_lossy().contains("-opened-"))
        .count()
}

fn journal(folder: &std::path::Path) -> std::path::PathBuf {
    let mut paths = std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    paths
        .find(|path| path.to_string_lossy().contains("-opened-"))
        .unwrap()
}

fn rows() -> Samples {
    Samples {
        tenant: TenantId::derived(&[b"invented firm that reads"]),
    }
}

fn at(milliseconds: i64) -> kta_core::time::Timestamp {
    rows().set(milliseconds).at
}
