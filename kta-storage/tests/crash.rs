//! A writing process is killed at random moments: what it was told is kept, what is half is not
//! there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use kta_core::audit::{Entry, Label, Log};
use kta_core::conformance::store::Samples;
use kta_core::id::{RecordId, TenantId};
use kta_core::pii::RecordKey;
use kta_core::ports::store::{Change, ChangeSet, Durability, Expected};
use kta_core::ports::{Ledger as _, Store as _};
use kta_storage::SqliteStore;

/// How often the process is killed.
const ROUNDS: u64 = 25;
const FILE: &str = "KTA_STORAGE_CRASH_FILE";

#[tokio::test]
async fn a_killed_process_loses_nothing_it_was_told_and_leaves_no_half_commit() {
    let file = common::folder("crash").join("firm.db");
    let mut told = BTreeSet::new();
    for round in 0..ROUNDS {
        told.append(&mut run_and_kill(&file, round));
        let store = SqliteStore::open(&file).unwrap();
        store.check().await.unwrap();
        let mut log = Log::new("crash.example");
        let mut written = BTreeSet::new();
        for entry in store.entries(rows().tenant, 0, usize::MAX).await.unwrap() {
            // `append` refuses a gap, a repetition and a step back in time.
            log.append(&entry).unwrap();
            let entry = Entry::parse(&entry).unwrap();
            let number = entry.event.facts[&Label::fixed("number")]
                .to_string()
                .parse()
                .unwrap();
            assert!(written.insert(number), "one commit, one entry");
        }
        assert_eq!(log.size(), store.size(rows().tenant).await.unwrap());
        let lost: Vec<_> = told.difference(&written).collect();
        assert!(lost.is_empty(), "round {round} lost {lost:?}");
        for number in &written {
            assert!(
                store.record(&key(*number)).await.unwrap().is_some(),
                "an entry without its record"
            );
        }
        assert_eq!(
            records(&store).await,
            written.len(),
            "a record without its entry"
        );
    }
    assert!(
        told.len() > 100,
        "the process was killed before it did anything: {}",
        told.len()
    );
}

/// Runs the child until a random moment; gives the numbers of the commits it was answered.
fn run_and_kill(file: &std::path::Path, round: u64) -> BTreeSet<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "the_process_that_is_killed",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // From the first answer on, up to a quarter of a second.
    let first = lines.by_ref().map_while(Result::ok).find_map(number_of);
    let killer = std::thread::spawn(move || {
        let mut random = RandomState::new().build_hasher();
        random.write_u64(round);
        std::thread::sleep(Duration::from_micros(random.finish() % 250_000));
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let told = first
        .into_iter()
        .chain(lines.map_while(Result::ok).filter_map(number_of))
        .collect();
    killer.join().unwrap();
    told
}

fn number_of(line: impl AsRef<str>) -> Option<u64> {
    // The last line may have been cut: it counts only with its end.
    line.as_ref()
        .split_once("told ")?
        .1
        .strip_suffix(" .")?
        .parse()
        .ok()
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
        let begin = store.size(rows().tenant).await.unwrap();
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                let store = store.clone();
                tokio::spawn(async move {
                    for turn in 0.. {
                        // Numbers that no earlier process used: it wrote at most `begin` entries.
                        let number = (begin + 1) * 1_000_000 + turn * 8 + worker;
                        store.commit(set(number)).await.unwrap();
                        writeln!(std::io::stdout().lock(), "told {number} .").unwrap();
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
    });
}

fn set(number: u64) -> ChangeSet {
    let rows = rows();
    let mut record = rows.record(1, 1, 1);
    record.key = key(number);
    let mut set = rows
        .set(0)
        .with(Change::PutRecord {
            record,
            index: vec![rows.tag(1)],
            expected: Expected::Absent,
        })
        .event(rows.event(Some(1)).with("number", number));
    if number.is_multiple_of(3) {
        set.durability = Durability::Bounded;
    }
    set
}

async fn records(store: &SqliteStore) -> usize {
    use kta_core::ports::store::{RecordBy, RecordQuery};
    let by = RecordBy::Subject(rows().subject(1));
    let query = RecordQuery::all(rows().tenant, by);
    store.records(&query).await.unwrap().len()
}

fn rows() -> Samples {
    Samples {
        tenant: TenantId::derived(&[b"invented firm that crashes"]),
    }
}

fn key(number: u64) -> RecordKey {
    let record = RecordId::derived(&[&number.to_be_bytes()]);
    RecordKey {
        record,
        ..rows().key(1, 1)
    }
}
