//! The network fails, the server fails: nothing acknowledged is lost, nothing is done twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kta_core::FaultKind;
use kta_core::audit::{Entry, Label, Log};
use kta_core::conformance::store::Samples;
use kta_core::id::{RecordId, TenantId};
use kta_core::ports::key_table::{EpochRow, KeyChange, KeyHead, KeyTable as _};
use kta_core::ports::kms::{KekId, WrappedKey};
use kta_core::ports::store::{Change, ChangeSet, Durability, Expected, RecordBy, RecordQuery};
use kta_core::ports::{Jobs as _, Ledger as _, Store as _};
use kta_storage::{PgKeyTable, PgOptions, PgStore};
use secrecy::SecretString;

use crate::common::cluster::Cluster;
use crate::proxy::{After, Proxy, Trouble, Weather};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_every_commit_takes_effect_exactly_once() {
    let (proxy, options) = behind_a_proxy().await;
    let store = PgStore::open(&options.connections(8)).await.unwrap();
    proxy.set(Weather::Storm(25));
    let firms: Vec<_> = (0..4)
        .map(|firm| Samples::of(&format!("storm {firm}")))
        .collect();
    let mut tasks = Vec::new();
    for rows in &firms {
        for worker in 0..4_u64 {
            let (store, rows) = (store.clone(), *rows);
            tasks.push(tokio::spawn(async move {
                for turn in 0..30 {
                    // Whatever the network does, the answer is that it was done, once.
                    let done = store
                        .commit(set(&rows, worker * 1000 + turn))
                        .await
                        .unwrap();
                    assert_eq!(done.entries, 1);
                }
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    proxy.set(Weather::Calm);
    for rows in &firms {
        let expected: BTreeSet<_> = (0..4)
            .flat_map(|worker| (0..30).map(move |turn| worker * 1000 + turn))
            .collect();
        assert_eq!(logged(&store, rows).await, expected);
        assert_eq!(recorded(&store, rows).await, 120);
        assert_eq!(store.jobs(rows.tenant, None).await.unwrap().len(), 120);
    }
    let troubles = proxy.troubles();
    let all: u32 = troubles.iter().map(|(_, count)| count).sum();
    assert!(all >= 20, "hardly a storm: {troubles:?}");
}

#[tokio::test]
async fn in_a_storm_every_change_of_keys_takes_effect_exactly_once() {
    let (proxy, options) = behind_a_proxy().await;
    let table = PgKeyTable::open(&options).await.unwrap();
    let firm = TenantId::derived(&[&std::process::id().to_be_bytes(), b"keys in a storm"]);
    let kek = KekId::new("invented-kek").unwrap();
    let head = KeyHead {
        revision: 0,
        fan_out: 4,
        next_slot: 0,
        epoch: EpochRow {
            number: 1,
            kek: kek.clone(),
            wrapped: WrappedKey::from_bytes(vec![1]),
        },
        index: Vec::new(),
        retired: Vec::new(),
        waiting: Vec::new(),
    };
    proxy.set(Weather::Storm(60));
    for revision in 0..40_u64 {
        let expected = (revision > 0).then_some(revision);
        // The same head each time: only the table itself can tell one commit from another.
        let change = KeyChange::of(firm, expected, head.clone());
        assert_eq!(table.commit(change).await.unwrap(), revision + 1);
    }
    proxy.set(Weather::Calm);
    let rows = table.read(firm, &[]).await.unwrap();
    assert_eq!(rows.head.unwrap().revision, 40);
    let all: u32 = proxy.troubles().iter().map(|(_, count)| count).sum();
    assert!(all >= 10, "hardly a storm: {all}");
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_asked_after() {
    let (proxy, options) = behind_a_proxy().await;
    let store = PgStore::open(&options).await.unwrap();
    for trouble in [
        Trouble::LostAfter,
        Trouble::LostBefore,
        Trouble::Late,
        Trouble::GivesUp("40001"),
        Trouble::GivesUpEarly("40P01"),
    ] {
        let rows = Samples::of("answer lost");
        store.commit(set(&rows, 0)).await.unwrap();
        proxy.set(Weather::Next(trouble, After::Calm));
        let done = store.commit(set(&rows, 1)).await.unwrap();
        assert_eq!((done.first, done.entries), (Some(1), 1), "{trouble:?}");
        assert_eq!(logged(&store, &rows).await, [0, 1].into(), "{trouble:?}");
    }
}

#[tokio::test]
async fn a_commit_after_which_nobody_can_be_asked_has_an_unknown_outcome() {
    for (trouble, happened) in [(Trouble::LostAfter, true), (Trouble::LostBefore, false)] {
        let (proxy, options) = behind_a_proxy().await;
        let impatient = options.patience(Duration::from_millis(400));
        let store = PgStore::open(&impatient).await.unwrap();
        let rows = Samples::of("unknown");
        store.commit(set(&rows, 0)).await.unwrap();
        proxy.set(Weather::Next(trouble, After::Down));
        let error = store.commit(set(&rows, 1)).await.unwrap_err();
        let fault = error.fault().unwrap();
        assert_eq!(fault.kind(), FaultKind::OutcomeUnknown);
        assert!(!fault.is_transient());
        proxy.set(Weather::Calm);
        assert_eq!(logged(&store, &rows).await.contains(&1), happened);
        // And what comes then finds the store as it is.
        let done = store.commit(set(&rows, 2)).await.unwrap();
        assert_eq!(done.first, Some(1 + u64::from(happened)));
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_a_transient_fault_in_bounded_time() {
    let (proxy, options) = behind_a_proxy().await;
    let impatient = options.patience(Duration::from_millis(300));
    let store = PgStore::open(&impatient).await.unwrap();
    let rows = Samples::of("away");
    store.commit(set(&rows, 0)).await.unwrap();
    for weather in [Weather::Down, Weather::Silent] {
        proxy.set(weather);
        let begin = Instant::now();
        for error in [
            store.record(&rows.key(1, 1)).await.unwrap_err(),
            store
                .lease(rows.tenant, rows.set(0).at, rows.set(9).at, 1)
                .await
                .unwrap_err(),
            PgStore::open(&impatient).await.unwrap_err(),
        ] {
            let fault = error.fault().unwrap();
            let kinds = [FaultKind::Unavailable, FaultKind::Timeout];
            assert!(kinds.contains(&fault.kind()), "{fault}");
        }
        // Four patiences a call at the very most: one before, one in the last attempt, and a
        // connection that is made in between.
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{:?}",
            begin.elapsed()
        );
        proxy.set(Weather::Calm);
        assert_eq!(logged(&store, &rows).await, [0].into());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_load_loses_nothing_acknowledged() {
    let cluster = Cluster::own("killed");
    let options = cluster
        .options("kta_app", "kta")
        .patience(Duration::from_secs(30));
    let store = PgStore::open(&options).await.unwrap();
    let (durable, bounded) = (Samples::of("durable"), Samples::of("bounded"));
    let ended = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for (rows, durability) in [
        (durable, Durability::Durable),
        (bounded, Durability::Bounded),
    ] {
        for worker in 0..4_u64 {
            let (store, ended) = (store.clone(), Arc::clone(&ended));
            tasks.push(tokio::spawn(async move {
                let mut told = Vec::new();
                for turn in 0.. {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    let number = worker * 1_000_000 + turn;
                    let mut set = set(&rows, number);
                    set.durability = durability;
                    store.commit(set).await.unwrap();
                    told.push((number, Instant::now()));
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                (durability, told)
            }));
        }
    }
    let mut crashes = Vec::new();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let begin = Instant::now();
        tokio::task::block_in_place(|| cluster.crash());
        crashes.push((begin, Instant::now()));
        tokio::task::block_in_place(|| cluster.start());
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    ended.store(true, Ordering::Relaxed);
    let mut told = Vec::new();
    for task in tasks {
        told.push(task.await.unwrap());
    }
    let (in_durable, in_bounded) = (
        logged(&store, &durable).await,
        logged(&store, &bounded).await,
    );
    let (mut kept, mut late) = (0, 0);
    for (durability, told) in told {
        for (number, at) in told {
            if durability == Durability::Durable {
                assert!(in_durable.contains(&number), "lost {number}");
                kept += 1;
                continue;
            }
            let crashed_within_lag = crashes
                .iter()
                .any(|(begin, end)| at <= *end && at + store.lag() > *begin);
            let present = in_bounded.contains(&number);
            assert!(present || crashed_within_lag, "lost {number}");
            late += usize::from(!present);
        }
    }
    assert!(kept > 100, "hardly any load: {kept}");
    println!("{kept} durable commits kept over 2 crashes, {late} bounded ones lost within the lag");
    let (log, records) = (
        logged(&store, &durable).await,
        recorded(&store, &durable).await,
    );
    assert_eq!(
        log.len(),
        records,
        "an entry without its record, or the other way round"
    );
}

async fn behind_a_proxy() -> (Proxy, PgOptions) {
    let cluster = Cluster::shared();
    let proxy = Proxy::before(cluster.port()).await;
    let url = cluster.url_at(proxy.port, "kta_app", "kta");
    let options = PgOptions::new(&SecretString::from(url)).unwrap();
    (proxy, options.patience(Duration::from_secs(20)))
}

/// A record, a job and an entry that carry a number.
pub(crate) fn set(rows: &Samples, number: u64) -> ChangeSet {
    let mut record = rows.record(1, 1, 1);
    record.fields.remove("address");
    record.key.record = RecordId::derived(&[&number.to_be_bytes()]);
    let mut job = rows.job(1, 0);
    job.id = kta_core::id::JobId::derived(&[&number.to_be_bytes()]);
    rows.set(0)
        .with(Change::PutRecord {
            record,
            index: vec![rows.tag((number % 200) as u8)],
            expected: Expected::Absent,
        })
        .with(Change::Enqueue(job))
        .event(rows.event(Some(1)).with("number", number))
}

/// The numbers on the log, which has no gap and no number twice.
pub(crate) async fn logged(store: &PgStore, rows: &Samples) -> BTreeSet<u64> {
    let mut log = Log::new("faults.example");
    let mut numbers = BTreeSet::new();
    for bytes in store.entries(rows.tenant, 0, usize::MAX).await.unwrap() {
        // `append` refuses a gap, a repetition and a step back in time.
        log.append(&bytes).unwrap();
        let entry = Entry::parse(&bytes).unwrap();
        if let Some(number) = entry.event.facts.get(&Label::fixed("number")) {
            assert!(numbers.insert(number.to_string().parse().unwrap()), "twice");
        }
    }
    assert_eq!(log.size(), store.size(rows.tenant).await.unwrap());
    numbers
}

async fn recorded(store: &PgStore, rows: &Samples) -> usize {
    let query = RecordQuery::all(rows.tenant, RecordBy::Subject(rows.subject(1)));
    store.records(&query).await.unwrap().len()
}
