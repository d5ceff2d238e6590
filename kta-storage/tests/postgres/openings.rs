//! Openings that stand on this machine before the server's log has them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kta_core::audit::{Entry, Label, Log};
use kta_core::conformance::store::Samples;
use kta_core::id::Digest;
use kta_core::ports::store::{ChangeSet, Durability};
use kta_core::ports::{Ledger as _, Store as _};
use kta_core::{Fault, FaultKind};
use kta_storage::{PgOptions, PgStore};
use secrecy::SecretString;

use crate::common::cluster::{Cluster, PASSWORD};
use crate::common::folder;
use crate::common::killed::{run_and_kill, tell};
use crate::faults::set;

const ROUNDS: u64 = 60;
/// So long after its first answer a process is killed at the most.
const LONGEST: Duration = Duration::from_millis(25);
const WORKERS: u64 = 3;
const CHILD: &str = "openings::the_process_that_is_killed";
const SERVER: &str = "KTA_STORAGE_OPENINGS_SERVER";
const FOLDER: &str = "KTA_STORAGE_OPENINGS_FOLDER";
const FIRM: &str = "KTA_STORAGE_OPENINGS_FIRM";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_no_opening_that_it_was_told_is_noted() {
    let cluster = Cluster::shared();
    let folder = folder("pg-openings");
    let rows = Samples::of("pg openings killed");
    let url = cluster.url("kta_app", "kta");
    let mut log = Log::new("openings.example");
    let (mut told, mut adopted) = (0, 0);
    for round in 0..ROUNDS {
        let environment = [
            (SERVER, url.as_str()),
            (FOLDER, folder.to_str().unwrap()),
            (FIRM, &rows.tenant.to_string()),
        ];
        let answers = tokio::task::block_in_place(|| run_and_kill(CHILD, &environment, LONGEST));
        adopted += u64::from(journals(&folder) > 0);
        let store = open(&url, &folder).await;
        assert_eq!(journals(&folder), 0, "what the dead left is taken in");
        let mut last = BTreeMap::new();
        let mut written = BTreeSet::new();
        for entry in entries(&store, &rows, log.size()).await {
            // `append` refuses a gap, a repetition and a step back in time.
            log.append(&entry).unwrap();
            let number = number_in(&entry);
            assert!(written.insert(number), "round {round}: {number} twice");
            let before = last.insert(number % WORKERS, number);
            assert!(
                before < Some(number),
                "round {round}: {number} after {before:?}"
            );
        }
        let answered: BTreeSet<u64> = answers.iter().map(|it| it.parse().unwrap()).collect();
        let lost: Vec<_> = answered.difference(&written).collect();
        assert!(lost.is_empty(), "round {round} lost {lost:?}");
        told += answered.len();
    }
    let trail = open(&url, &folder).await;
    let trail = trail
        .trail(rows.tenant, rows.subject(1), at(0), at(9))
        .await;
    assert_eq!(trail.unwrap().len() as u64, log.size());
    assert!(told > 1_000, "killed before it did anything: {told}");
    assert!(adopted > ROUNDS / 2, "nothing was left: {adopted}");
}

#[test]
#[ignore = "the other test runs it as a process of its own and kills it"]
fn the_process_that_is_killed() {
    let said = [SERVER, FOLDER, FIRM].map(std::env::var);
    let [Ok(server), Ok(folder), Ok(firm)] = said else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let tenant = firm.parse().unwrap();
        let rows = Samples { tenant };
        let store = open(&server, Path::new(&folder)).await;
        let begin = (store.size(rows.tenant).await.unwrap() + 1) * 1_000_000 * WORKERS;
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let store = store.clone();
                tokio::spawn(async move {
                    for turn in 0_u64.. {
                        let number = begin + turn * WORKERS + worker;
                        let mut set = opening(&rows, number);
                        // Now and then something durable, and somebody who asks the log.
                        if turn % 23 == 22 {
                            set.durability = Durability::Durable;
                        }
                        store.commit(set).await.unwrap();
                        tell(number);
                        if turn % 37 == 36 {
                            store.size(rows.tenant).await.unwrap();
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
async fn openings_are_in_the_log_after_the_lag_without_anybody_asking() {
    let cluster = Cluster::shared();
    let folder = folder("pg-openings");
    let rows = Samples::of("pg openings lag");
    let url = cluster.url("kta_app", "kta");
    let here = open(&url, &folder).await;
    let there = PgStore::open(&cluster.options("kta_app", "kta"))
        .await
        .unwrap();
    assert!(here.lag() > there.lag());
    here.commit(opening(&rows, 1)).await.unwrap();
    assert_eq!(there.size(rows.tenant).await.unwrap(), 0);
    assert_eq!(here.size(rows.tenant).await.unwrap(), 1, "its own, at once");
    here.commit(opening(&rows, 2)).await.unwrap();
    let begin = std::time::Instant::now();
    while there.size(rows.tenant).await.unwrap() < 2 {
        assert!(begin.elapsed() < here.lag() * 20, "never entered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_was_noted_before_a_commit_stands_before_it() {
    let cluster = Cluster::shared();
    let folder = folder("pg-openings");
    let rows = Samples::of("pg openings order");
    let url = cluster.url("kta_app", "kta");
    let store = open(&url, &folder).await;
    for number in [1, 2] {
        let noted = store.commit(opening(&rows, number)).await.unwrap();
        assert_eq!((noted.first, noted.entries), (None, 1));
    }
    let done = store.commit(set(&rows, 3)).await.unwrap();
    assert_eq!((done.first, done.entries), (Some(2), 1));
    // One that is refused takes them along, too.
    store.commit(opening(&rows, 4)).await.unwrap();
    store.commit(set(&rows, 3)).await.unwrap_err();
    let there = PgStore::open(&cluster.options("kta_app", "kta"))
        .await
        .unwrap();
    assert_eq!(numbers(&there, &rows).await, [1, 2, 3, 4]);
    store.commit(opening(&rows, 5)).await.unwrap();
    store.settle().await.unwrap();
    assert_eq!(numbers(&there, &rows).await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_journal_that_is_read_again_enters_nothing_twice() {
    let cluster = Cluster::shared();
    let folder = folder("pg-openings");
    let rows = Samples::of("pg openings again");
    let url = cluster.url("kta_app", "kta");
    let store = open(&url, &folder).await;
    for number in 0..20 {
        store.commit(opening(&rows, number)).await.unwrap();
    }
    let path = files(&folder).remove(0);
    let bytes = std::fs::read(&path).unwrap();
    store.settle().await.unwrap();
    drop(store);
    assert_eq!(journals(&folder), 0, "of no use any more");
    std::fs::write(&path, bytes).unwrap();
    let store = open(&url, &folder).await;
    assert_eq!(journals(&folder), 0);
    assert_eq!(numbers(&store, &rows).await, (0..20).collect::<Vec<_>>());
    // A journal that was cut on the way has what is whole in it; what was damaged is refused.
    store.commit(opening(&rows, 20)).await.unwrap();
    store.commit(opening(&rows, 21)).await.unwrap();
    let path = files(&folder).remove(0);
    drop(store);
    let bytes = std::fs::read(&path).unwrap();
    for (at, kind) in [
        (8, FaultKind::Misconfigured),
        (4096 + 40, FaultKind::Corrupt),
    ] {
        let mut turned = bytes.clone();
        turned[at] ^= 1;
        std::fs::write(&path, turned).unwrap();
        let options = PgOptions::new(&SecretString::from(url.as_str())).unwrap();
        let error = PgStore::open(&options.journal(&folder)).await.unwrap_err();
        assert_eq!(error.fault().map(Fault::kind), Some(kind));
        assert_eq!(files(&folder), [path.as_path()]);
    }
    std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let store = open(&url, &folder).await;
    assert_eq!(numbers(&store, &rows).await, (0..21).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_server_that_is_away_stops_no_opening_from_being_noted() {
    let cluster = Cluster::own("away");
    let folder = folder("pg-openings");
    let rows = Samples::of("pg openings away");
    let url = cluster.url("kta_app", "kta");
    let store = open(&url, &folder).await;
    store.commit(set(&rows, 1)).await.unwrap();
    cluster.crash();
    for number in 2..10 {
        store.commit(opening(&rows, number)).await.unwrap();
    }
    cluster.start();
    assert_eq!(numbers(&store, &rows).await, (1..10).collect::<Vec<_>>());
}

/// Who asks the log waits for what was noted before, and not for what is noted meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_asks_the_log_is_answered_while_openings_go_on() {
    let cluster = Cluster::shared();
    let folder = folder("pg-openings");
    let rows = Samples::of("pg openings steady");
    let store = open(&cluster.url("kta_app", "kta"), &folder).await;
    let there = PgStore::open(&cluster.options("kta_app", "kta"))
        .await
        .unwrap();
    let (reader, noted) = (store.clone(), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&noted);
    let reading = tokio::spawn(async move {
        for number in 0.. {
            reader.commit(opening(&rows, number)).await.unwrap();
            count.store(number + 1, Ordering::Release);
            tokio::task::yield_now().await;
        }
    });
    let asking = async {
        for _ in 0..3 {
            let before = noted.load(Ordering::Acquire);
            assert!(store.size(rows.tenant).await.unwrap() >= before);
            let before = noted.load(Ordering::Acquire);
            store.settle().await.unwrap();
            let there = there.size(rows.tenant).await.unwrap();
            assert!(there >= before);
            let last = store.entries(rows.tenant, there - 1, 1).await.unwrap();
            assert_eq!(number_in(&last[0]), there - 1);
            let before = noted.load(Ordering::Acquire);
            let trail = store.trail(rows.tenant, rows.subject(1), at(0), at(9));
            assert!(trail.await.unwrap().len() as u64 >= before);
        }
    };
    let asked = tokio::time::timeout(Duration::from_secs(30), asking).await;
    assert!(!reading.is_finished());
    reading.abort();
    assert!(asked.is_ok(), "it waits for what is noted meanwhile");
}

/// A journal belongs to a database, and not to a way to its server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_left_is_found_however_the_server_is_reached() {
    let cluster = Cluster::shared();
    let folder = folder("pg-openings");
    let url = cluster.url("kta_app", "kta");
    let other = format!("elsewhere_{}", std::process::id());
    cluster.database(&other);
    let localhost = url.replace("127.0.0.1", "localhost");
    let localhost = PgOptions::new(&SecretString::from(localhost)).unwrap();
    let port = cluster.port();
    let bare =
        format!("hostaddr=127.0.0.1 port={port} user=kta_app password={PASSWORD} dbname=kta");
    let bare = PgOptions::new(&SecretString::from(bare)).unwrap();
    let ways = [
        localhost,
        cluster.by_socket("kta_app", "kta"),
        cluster.pooled("kta_app", "kta"),
        bare,
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let rows = Samples::of(&format!("pg openings reached {number}"));
        let environment = [
            (SERVER, url.as_str()),
            (FOLDER, folder.to_str().unwrap()),
            (FIRM, &rows.tenant.to_string()),
        ];
        let answers = tokio::task::block_in_place(|| {
            // Killed before it wrote anything, or when all was in the log, it says nothing here.
            std::iter::repeat_with(|| run_and_kill(CHILD, &environment, LONGEST))
                .find(|_| journals(&folder) > 0)
                .unwrap()
        });
        let elsewhere = cluster.options("kta_app", &other).journal(&folder);
        drop(PgStore::open(&elsewhere).await.unwrap());
        assert!(journals(&folder) > 0, "another database took it");
        let store = PgStore::open(&way.journal(&folder)).await.unwrap();
        assert_eq!(journals(&folder), 0);
        let found: BTreeSet<_> = numbers(&store, &rows).await.into_iter().collect();
        let answered: BTreeSet<u64> = answers.iter().map(|it| it.parse().unwrap()).collect();
        assert!(found.is_superset(&answered), "way {number}");
    }
}

/// Earlier versions named a journal after the way to the server.
#[tokio::test]
async fn a_journal_with_its_former_name_is_taken_in() {
    let cluster = Cluster::shared();
    let folder = folder("pg-openings");
    let rows = Samples::of("pg openings former");
    let url = cluster.url("kta_app", "kta");
    let store = open(&url, &folder).await;
    for number in 0..5 {
        store.commit(opening(&rows, number)).await.unwrap();
    }
    drop(store);
    let path = files(&folder).remove(0);
    let words = format!("Tcp(\"127.0.0.1\")\0{}\0kta", cluster.port());
    let digest = Digest::of(words.as_bytes()).to_string();
    let name = path.file_name().unwrap().to_str().unwrap();
    let (_, id) = name.split_once("-opened-").unwrap();
    let former = folder.join(format!("kta-{}-opened-{id}", &digest[..16]));
    std::fs::rename(&path, former).unwrap();
    let store = open(&url, &folder).await;
    assert_eq!(journals(&folder), 0);
    assert_eq!(numbers(&store, &rows).await, [0, 1, 2, 3, 4]);
}

/// One task for each firm carries what is noted, however much that is.
#[tokio::test]
async fn one_task_carries_the_openings_of_a_firm() {
    let cluster = Cluster::shared();
    let folder = folder("pg-openings");
    let rows = Samples::of("pg openings one task");
    let store = open(&cluster.url("kta_app", "kta"), &folder).await;
    store.settle().await.unwrap();
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    // Some mebibytes, and no task that is begun runs meanwhile.
    for number in 0..20_000 {
        store.commit(opening(&rows, number)).await.unwrap();
    }
    assert_eq!(tasks(), before + 1);
    assert_eq!(store.size(rows.tenant).await.unwrap(), 20_000);
    while tasks() > before {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.commit(opening(&rows, 0)).await.unwrap();
    assert_eq!(tasks(), before + 1);
}

/// A journal goes when the server has it on its disk, and not before.
#[tokio::test]
async fn no_journal_goes_before_the_server_has_it_on_its_disk() {
    let cluster = Cluster::own("disk");
    let folder = folder("pg-openings");
    let url = cluster.url("kta_app", "kta");
    // What is not asked for is not on its disk for long.
    let admin = cluster.admin("kta").await;
    for set in [
        "ALTER SYSTEM SET wal_writer_delay = '10s'",
        "SELECT pg_reload_conf()",
    ] {
        admin.batch_execute(set).await.unwrap();
    }
    drop(admin);
    for (case, name) in ["settled", "adopted", "closed", "known"].iter().enumerate() {
        let rows = Samples::of(&format!("pg openings {name}"));
        let store = open(&url, &folder).await;
        // Its row in the database is not what this is about.
        store.commit(set(&rows, 0)).await.unwrap();
        for number in 1..20 {
            store.commit(opening(&rows, number)).await.unwrap();
        }
        match case {
            // Everything is on the disk: nothing is left.
            0 => store.settle().await.unwrap(),
            // Nothing is in the log: who opens the store next enters it.
            1 => assert!(!files(&folder).is_empty()),
            // All is in the log, and perhaps not on the disk.
            _ => assert_eq!(store.size(rows.tenant).await.unwrap(), 20),
        }
        drop(store);
        if matches!(case, 1 | 3) {
            drop(open(&url, &folder).await);
        }
        if case != 2 {
            assert_eq!(journals(&folder), 0, "{name}");
        }
        cluster.crash();
        cluster.start();
        let store = open(&url, &folder).await;
        let found = numbers(&store, &rows).await;
        assert_eq!(found, (0..20).collect::<Vec<_>>(), "{name}");
    }
}

async fn open(url: &str, folder: &Path) -> PgStore {
    let options = PgOptions::new(&SecretString::from(url)).unwrap();
    let options = options.patience(Duration::from_secs(20)).journal(folder);
    PgStore::open(&options).await.unwrap()
}

fn opening(rows: &Samples, number: u64) -> ChangeSet {
    let event = rows.event(Some(1)).with("number", number);
    let mut set = ChangeSet::new(rows.tenant, at(0)).event(event);
    set.durability = Durability::Bounded;
    set
}

fn at(hour: u8) -> kta_core::time::Timestamp {
    format!("2026-11-22T1{hour}:00:00Z").parse().unwrap()
}

async fn entries(store: &PgStore, rows: &Samples, from: u64) -> Vec<Vec<u8>> {
    store.entries(rows.tenant, from, usize::MAX).await.unwrap()
}

async fn numbers(store: &PgStore, rows: &Samples) -> Vec<u64> {
    entries(store, rows, 0)
        .await
        .iter()
        .map(|it| number_in(it))
        .collect()
}

fn number_in(entry: &[u8]) -> u64 {
    let entry = Entry::parse(entry).unwrap();
    let number = &entry.event.facts[&Label::fixed("number")];
    number.to_string().parse().unwrap()
}

fn journals(folder: &Path) -> usize {
    files(folder).len()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder).unwrap();
    all.map(|entry| entry.unwrap().path()).collect()
}
