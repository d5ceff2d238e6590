//! A working process is killed at random moments: what it was told is kept, what is half is not
//! there, no copy is unknown, and no permit was given without its entry.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kta_core::audit::{Entry, Label, Log};
use kta_core::conformance::Desk;
use kta_core::conformance::store::Samples;
use kta_core::id::{PlacementId, RecordId, TenantId};
use kta_core::memory::{RulesPolicy, SeededEntropy};
use kta_core::pii::{Category, Placement, RecordKey};
use kta_core::policy::{Act, Gate, Purpose, Role};
use kta_core::ports::store::{
    Change, ChangeSet, Durability, Expected, PlacementQuery, RecordBy, RecordQuery,
};
use kta_core::ports::{Ledger as _, Store as _};
use kta_storage::{SqliteStore, SystemClock};

/// How often a process is killed on each file.
const ROUNDS: u64 = 64;
const FILES: u64 = 8;
const FILE: &str = "KTA_STORAGE_CRASH_FILE";

#[tokio::test]
async fn a_killed_process_loses_nothing_it_was_told_and_leaves_no_half_commit() {
    // Files of their own, so that none grows long: each is read whole at each opening.
    let (mut rounds, mut commits, mut permits) = (0, 0, 0);
    for _ in 0..FILES {
        let file = common::folder("crash").join("firm.db");
        let told = killed_again_and_again(&file).await;
        rounds += told.rounds;
        commits += told.commits.len();
        permits += told.permits.len();
        std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }
    println!("{rounds} rounds at work, {commits} commits, {permits} permits");
    assert!(
        rounds > FILES * ROUNDS / 3 && permits > 50,
        "killed before it did anything: {rounds} rounds, {commits} commits, {permits} permits"
    );
}

async fn killed_again_and_again(file: &Path) -> Told {
    let (mut told, mut seen) = (Told::default(), Seen::new());
    for round in 0..ROUNDS {
        let before = told.commits.len() + told.permits.len();
        run_and_kill(file, round, &mut told);
        let busy = told.commits.len() + told.permits.len() > before;
        let store = SqliteStore::open(file).unwrap();
        seen.look(&store).await;
        let lost: Vec<_> = told.commits.difference(&seen.commits).collect();
        assert!(lost.is_empty(), "round {round} lost {lost:?}");
        let unknown: Vec<_> = told.permits.difference(&seen.permits).collect();
        assert!(
            unknown.is_empty(),
            "round {round}: no entry for {unknown:?}"
        );
        // Every row, every page: often enough, and at the end.
        if round % 25 == 24 || round + 1 == ROUNDS {
            store.check().await.unwrap();
            seen.nothing_else(&store).await;
        }
        told.rounds += u64::from(busy);
    }
    let mut afresh = Seen::new();
    afresh.look(&SqliteStore::open(file).unwrap()).await;
    assert_eq!(afresh.log.root(), seen.log.root(), "nothing was rewritten");
    told
}

/// What the process was answered before it died.
#[derive(Default)]
struct Told {
    commits: BTreeSet<u64>,
    permits: BTreeSet<String>,
    /// Rounds in which it was answered anything.
    rounds: u64,
}

/// What the file holds, read on from where the last look ended.
struct Seen {
    log: Log,
    commits: BTreeSet<u64>,
    permits: BTreeSet<String>,
}

impl Seen {
    fn new() -> Self {
        Self {
            log: Log::new("crash.example"),
            commits: BTreeSet::new(),
            permits: BTreeSet::new(),
        }
    }

    /// Reads the new entries; each new commit has its record and its placement.
    async fn look(&mut self, store: &SqliteStore) {
        let tenant = rows().tenant;
        assert!(store.size(tenant).await.unwrap() >= self.log.size());
        let entries = store.entries(tenant, self.log.size(), usize::MAX).await;
        for bytes in entries.unwrap() {
            // `append` refuses a gap, a repetition and a step back in time.
            self.log.append(&bytes).unwrap();
            let event = Entry::parse(&bytes).unwrap().event;
            if let Some(number) = event.facts.get(&Label::fixed("number")) {
                let number = number.to_string().parse().unwrap();
                assert!(self.commits.insert(number), "one commit, one entry");
                let record = store.record(&key(number)).await.unwrap();
                assert!(record.is_some(), "an entry without its record");
            }
            self.permits.extend(event.permit.map(|id| id.to_string()));
        }
        assert_eq!(self.log.size(), store.size(tenant).await.unwrap());
    }

    /// There is no record without its entry, and none of which the register knows no copy.
    async fn nothing_else(&self, store: &SqliteStore) {
        let query = RecordQuery {
            tenant: rows().tenant,
            by: RecordBy::Subject(rows().subject(1)),
            after: None,
            limit: usize::MAX,
        };
        let records = store.records(&query).await.unwrap();
        assert_eq!(
            records.len(),
            self.commits.len(),
            "a record without its entry"
        );
        let query = PlacementQuery::of(rows().tenant, rows().subject(1));
        let known: BTreeMap<_, _> = store
            .placements(&query)
            .await
            .unwrap()
            .into_iter()
            .map(|placement| (placement.id, placement))
            .collect();
        assert_eq!(
            known.len(),
            self.commits.len(),
            "a placement without its entry"
        );
        for number in &self.commits {
            assert!(known.contains_key(&copy(*number).id), "a copy nobody knows");
        }
    }
}

/// Runs the child until a random moment, and takes down what it was answered.
fn run_and_kill(file: &Path, round: u64, told: &mut Told) {
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
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut take = |line: String| {
        if let Some(number) = told_in(&line, "told ") {
            told.commits.insert(number.parse().unwrap());
        } else if let Some(permit) = told_in(&line, "permit ") {
            told.permits.insert(permit.to_owned());
        }
    };
    let mut random = RandomState::new().build_hasher();
    random.write_u64(round);
    // Most are killed at work; every fourth perhaps while it opens the file, which it does again
    // and again after others that were killed.
    let most = if round % 4 == 3 {
        20_000
    } else {
        let first = lines.by_ref().find(|line| line.contains("told "));
        first.into_iter().for_each(&mut take);
        8_000
    };
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_micros(random.finish() % most));
        child.kill().unwrap();
        child.wait().unwrap();
    });
    lines.for_each(take);
    killer.join().unwrap();
}

/// The last line may have been cut: it counts only with its end.
fn told_in<'l>(line: &'l str, what: &str) -> Option<&'l str> {
    line.split_once(what)?.1.strip_suffix(" .")
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
        let gate = Arc::new(gate(&store));
        let mut workers: Vec<_> = (0..8)
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
        workers.extend((0..2).map(|_| {
            let gate = gate.clone();
            tokio::spawn(async move {
                let desk = Desk::of(rows().tenant);
                loop {
                    let actor = desk.actor(Role::Paralegal);
                    let session = gate.session(actor, Role::Paralegal, Purpose::Representation);
                    let scope = desk.scope(desk.beneficiary(), Category::Identity);
                    let permit = session.permit(Act::Open, scope).await.unwrap();
                    writeln!(std::io::stdout().lock(), "permit {} .", permit.id()).unwrap();
                }
            })
        }));
        for worker in workers {
            worker.await.unwrap();
        }
    });
}

/// A firm's ordinary gate over the store.
fn gate(store: &SqliteStore) -> Gate {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = u64::try_from(since.unwrap().as_nanos() % u128::from(u64::MAX)).unwrap();
    let gate = Gate::new(
        rows().tenant,
        Arc::new(RulesPolicy::new()),
        Arc::new(store.clone()),
        Arc::new(SystemClock),
        Arc::new(SeededEntropy::new(seed)),
    );
    let desk = Desk::of(rows().tenant);
    let directory = desk.gate().directory(Clone::clone);
    gate.amend_directory(|own| *own = directory);
    gate
}

/// A record, its placement and its entry.
fn set(number: u64) -> ChangeSet {
    let rows = rows();
    let mut record = rows.record(1, 1, 1);
    record.key = key(number);
    // Short rows: the file is read whole at each opening.
    record
        .fields
        .retain(|_, field| field.sealed.as_bytes().len() < 1_000);
    let mut set = rows
        .set(0)
        .with(Change::PutPlacement(copy(number)))
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

fn copy(number: u64) -> Placement {
    Placement {
        id: PlacementId::derived(&[&number.to_be_bytes()]),
        ..rows().placement(1, 1, "kta-store")
    }
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
