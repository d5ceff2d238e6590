//! Writing processes are killed at random moments, five hundred times and more: what they were
//! told is kept, what is half is not there, and no permit is without its entry.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use kta_core::audit::{Entry, Label, Log};
use kta_core::conformance::Desk;
use kta_core::conformance::store::Samples;
use kta_core::id::{JobId, PermitId, RecordId, TenantId};
use kta_core::memory::{RulesPolicy, SeededEntropy};
use kta_core::pii::Category;
use kta_core::policy::{Act, Directory, Gate, Purpose, Role};
use kta_core::ports::store::Durability;
use kta_core::ports::{Jobs as _, Ledger as _, Store as _};
use kta_storage::{PgOptions, PgStore};
use secrecy::SecretString;

use crate::common::cluster::Cluster;
use crate::common::killed::{run_and_kill, tell};
use crate::faults::set;

/// How often a process is killed, between two looks.
const KILLS: usize = 56;
const LOOKS: usize = 9;
/// How many run at a time.
const AT_A_TIME: usize = 8;
/// Among how many firms; several processes write for each.
const FIRMS: usize = 4;
const CHILD: &str = "crash::the_process_that_is_killed";
const SERVER: &str = "KTA_STORAGE_CRASH_SERVER";
const FIRM: &str = "KTA_STORAGE_CRASH_FIRM";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_processes_lose_nothing_they_were_told_and_leave_no_half_commit() {
    let cluster = Cluster::shared();
    let options = cluster.options("kta_app", "kta");
    let store = PgStore::open(&options).await.unwrap();
    let mut firms: Vec<_> = (0..FIRMS).map(Firm::new).collect();
    for _ in 0..LOOKS {
        let url = cluster.url("kta_app", "kta");
        let runners: Vec<_> = (0..AT_A_TIME)
            .map(|runner| {
                let (url, tenant) = (url.clone(), firms[runner % FIRMS].rows.tenant);
                std::thread::spawn(move || {
                    (0..KILLS / AT_A_TIME)
                        .flat_map(|_| killed(&url, tenant))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        for (number, runner) in runners.into_iter().enumerate() {
            let told = tokio::task::block_in_place(|| runner.join().unwrap());
            firms[number % FIRMS].told.extend(told);
        }
        for firm in &mut firms {
            firm.look(&store).await;
            whole(&cluster, &store, firm.rows.tenant, &firm.numbers).await;
        }
    }
    let told = firms.iter().flat_map(|firm| &firm.told);
    let (given, told): (Vec<_>, Vec<_>) = told.partition(|it| it.starts_with(PermitId::PREFIX));
    let kills = LOOKS * KILLS;
    println!(
        "{kills} kills, {} commits told, {} permits",
        told.len(),
        given.len()
    );
    assert!(kills >= 500);
    assert!(
        told.len() > kills,
        "killed before they did anything: {}",
        told.len()
    );
    assert!(given.len() > kills / 4, "hardly a permit: {}", given.len());
}

/// What the processes of a firm were told, and what its log says.
struct Firm {
    rows: Samples,
    told: BTreeSet<String>,
    log: Log,
    numbers: BTreeSet<String>,
    permits: BTreeSet<String>,
}

impl Firm {
    fn new(number: usize) -> Self {
        Self {
            rows: Samples::of(&format!("crash {number}")),
            told: BTreeSet::new(),
            log: Log::new("crash.example"),
            numbers: BTreeSet::new(),
            permits: BTreeSet::new(),
        }
    }

    /// Reads the log on, and looks for everything that was told.
    async fn look(&mut self, store: &PgStore) {
        let rows = self.rows;
        // Whoever held the firm's lock when its process died has ended once we get it.
        let set = rows.set(0).event(rows.event(None));
        store.commit(set).await.unwrap();
        let from = self.log.size();
        for bytes in store.entries(rows.tenant, from, usize::MAX).await.unwrap() {
            // `append` refuses a gap, a repetition and a step back in time.
            self.log.append(&bytes).unwrap();
            let event = Entry::parse(&bytes).unwrap().event;
            if let Some(number) = event.facts.get(&Label::fixed("number")) {
                assert!(
                    self.numbers.insert(number.to_string()),
                    "one commit, one entry"
                );
            }
            self.permits
                .extend(event.permit.map(|permit| permit.to_string()));
        }
        assert_eq!(self.log.size(), store.size(rows.tenant).await.unwrap());
        let missing = |it: &&String| !self.numbers.contains(*it) && !self.permits.contains(*it);
        let lost: Vec<_> = self.told.iter().filter(missing).collect();
        assert!(lost.is_empty(), "lost {lost:?}");
    }
}

/// Every entry has its record and its job, and they have it.
async fn whole(cluster: &Cluster, store: &PgStore, tenant: TenantId, numbers: &BTreeSet<String>) {
    let admin = cluster.admin("kta").await;
    let tenant_id = u128::from_be_bytes(*tenant.as_bytes());
    let sql = format!("SELECT uuid_send(record) FROM kta.record WHERE tenant = '{tenant_id:032x}'");
    let records: BTreeSet<[u8; 16]> = admin
        .query(&sql, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get::<_, Vec<u8>>(0).try_into().unwrap())
        .collect();
    let number = |it: &String| it.parse::<u64>().unwrap().to_be_bytes();
    let expected: BTreeSet<_> = numbers
        .iter()
        .map(|it| *RecordId::derived(&[&number(it)]).as_bytes())
        .collect();
    assert_eq!(records, expected, "records and entries");
    let jobs = store.jobs(tenant, None).await.unwrap();
    let jobs: BTreeSet<_> = jobs.iter().map(|job| job.id).collect();
    let expected: BTreeSet<_> = numbers
        .iter()
        .map(|it| JobId::derived(&[&number(it)]))
        .collect();
    assert_eq!(jobs, expected, "jobs and entries");
}

fn killed(url: &str, tenant: TenantId) -> Vec<String> {
    let environment = [(SERVER, url), (FIRM, &tenant.to_string())];
    run_and_kill(CHILD, &environment, Duration::from_millis(40))
}

#[test]
#[ignore = "the other test runs it as a process of its own and kills it"]
fn the_process_that_is_killed() {
    let (Ok(server), Ok(firm)) = (std::env::var(SERVER), std::env::var(FIRM)) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let tenant: TenantId = firm.parse().unwrap();
        let options = PgOptions::new(&SecretString::from(server)).unwrap();
        let store = PgStore::open(&options.connections(2)).await.unwrap();
        // Numbers that no other process uses.
        let salt = RandomState::new().build_hasher().finish() >> 16;
        let rows = Samples { tenant };
        for worker in 0..3_u64 {
            let store = store.clone();
            tokio::spawn(async move {
                for turn in 0.. {
                    let number = salt + turn * 3 + worker;
                    let mut set = set(&rows, number);
                    if number.is_multiple_of(3) {
                        set.durability = Durability::Bounded;
                    }
                    store.commit(set).await.unwrap();
                    tell(number);
                }
            });
        }
        let desk = Desk::of(tenant);
        let mut directory = Directory::default();
        desk.gate().amend_directory(|it| directory = it.clone());
        let gate = Gate::new(
            tenant,
            Arc::new(RulesPolicy::new()),
            Arc::new(store),
            Arc::new(desk.clock().clone()),
            Arc::new(SeededEntropy::new(salt)),
        );
        gate.amend_directory(|it| *it = directory);
        let session = gate
            .session(
                desk.actor(Role::Paralegal),
                Role::Paralegal,
                Purpose::Representation,
            )
            .through(Label::fixed("crash"));
        loop {
            let scope = desk.scope(desk.beneficiary(), Category::Identity);
            let permit = session.permit(Act::Open, scope).await.unwrap();
            tell(permit.id());
        }
    });
}
