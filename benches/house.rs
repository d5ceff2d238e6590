//! What the ground floor and the whole road cost: sealing, admission, the log, retention, and a
//! family's life in memory. Single measurements, by criterion; what is compared with anything
//! else is in the benches of its own name.
//!
//! Not in these numbers: a network, an outside system, a second core.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench that cannot go on stops, and it speaks; criterion's macros make items without docs"
)]

#[path = "figures/mod.rs"]
#[allow(dead_code, reason = "the comparing benches use the rest")]
mod figures;
#[path = "../kta-core/tests/road/mod.rs"]
#[allow(dead_code, reason = "the tests of the road use the rest")]
mod road;

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use kta_core::audit::{Event, Label, LocalSigner, Log, NoteKey, Outcome, Proof, merkle};
use kta_core::crypto::{RecordHeader, SealContext, SecretKey, SubjectKey, segments};
use kta_core::id::{ActorId, RecordId, SubjectId, TenantId};
use kta_core::memory::{MemoryPorts, SeededEntropy};
use kta_core::pii::Category;
use kta_core::pipeline::{Doors, House};
use kta_core::policy::{Act, Policy, Purpose, Role, Scope};
use kta_core::retention::{Facts, evaluate};
use kta_core::time::{Entropy as _, Timestamp};
use kta_keys::OsEntropy;
use kta_policy::{CORE_PACK, CedarPolicy, Pack, simulate};
use kta_storage::SqliteStore;

criterion_group! {
    name = house;
    config = Criterion::default()
        .sample_size(figures::sized(50, 10))
        .measurement_time(Duration::from_millis(figures::sized(5_000, 800)))
        .warm_up_time(Duration::from_millis(figures::sized(1_000, 200)));
    targets = record, content, admission, log, retention, lives
}
criterion_main!(house);

/// Ten fields of a record, one kilobyte together, sealed and opened with the header that shows a
/// missing one.
fn record(criterion: &mut Criterion) {
    let key = subject_key().record_key(record_id());
    let names: Vec<_> = (0..10).map(|number| format!("field_{number}")).collect();
    let value = [b'x'; 100];
    let seal = || {
        let sealed = names.iter().map(|name| {
            let envelope = key.seal(&context(name), &value, &OsEntropy).unwrap();
            (name.as_str(), 1, envelope)
        });
        let sealed: Vec<_> = sealed.collect();
        let fields = sealed
            .iter()
            .map(|(name, revision, envelope)| (*name, *revision, 0, envelope));
        let header = RecordHeader::seal(&key, 1, fields).unwrap();
        (sealed, header)
    };
    let (sealed, header) = seal();
    let mut group = criterion.benchmark_group("record of ten fields, 1 KB");
    group.throughput(Throughput::Elements(1));
    group.bench_function("seal", |bench| bench.iter(seal));
    group.bench_function("open", |bench| {
        bench.iter(|| {
            let fields = sealed
                .iter()
                .map(|(name, revision, envelope)| (*name, *revision, 0, envelope));
            header.check(&key, 1, fields).unwrap();
            for (name, _, envelope) in &sealed {
                black_box(key.open(&context(name), envelope).unwrap());
            }
        });
    });
    group.finish();
}

/// One mebibyte of content in segments, as a stream.
fn content(criterion: &mut Criterion) {
    let key = subject_key().record_key(record_id());
    let mut plain = vec![0; 1 << 20];
    SeededEntropy::new(2).fill(&mut plain);
    let plain = bytes::Bytes::from(plain);
    let runtime = runtime();
    let place = context("content");
    let seal = || {
        let source = futures_util::stream::iter([Ok(plain.clone())]);
        let sealed = segments::seal(&key, &place, source, &OsEntropy).unwrap();
        runtime
            .block_on(futures_util::TryStreamExt::try_collect::<Vec<_>>(sealed))
            .unwrap()
    };
    let stored = seal();
    let mut group = criterion.benchmark_group("content of 1 MiB");
    group.throughput(Throughput::Bytes(1 << 20));
    group.bench_function("seal", |bench| bench.iter(seal));
    group.bench_function("open", |bench| {
        bench.iter(|| {
            let source = futures_util::stream::iter(stored.iter().cloned().map(Ok));
            let opened = segments::open(&key, place, source).unwrap();
            let opened = futures_util::TryStreamExt::try_collect::<Vec<_>>(opened);
            assert!(!black_box(runtime.block_on(opened).unwrap()).is_empty());
        });
    });
    group.finish();
}

/// A decision whose admitting entry is durable before the permit is given: on SQLite with
/// `synchronous=FULL`, so the disk's own flush is in it, and in memory, so that it is not.
fn admission(criterion: &mut Criterion) {
    let runtime = runtime();
    let folder = tempfile::tempdir_in(figures::target()).unwrap();
    let mut group = criterion.benchmark_group("gate: decision with its entry");
    let engines: [(&str, Option<Arc<dyn Policy>>); 2] = [
        ("plain rules", None),
        ("Cedar", Some(Arc::new(CedarPolicy::shipped().unwrap()))),
    ];
    for (engine, policy) in engines {
        for store in ["memory", "SQLite, on disk"] {
            let path = (store != "memory").then(|| folder.path().join(format!("{engine}.db")));
            let (house, cast) = runtime.block_on(async {
                let (ports, cast) = road::ports(1).await;
                let house = over(&ports, policy.clone(), path.as_deref()).await;
                road::found(&house, &cast).await.unwrap();
                (house, cast)
            });
            let session = road::session(&house, Role::Attorney, Purpose::Representation);
            let scope = || Scope::of(cast.people[0], Category::Identity).in_matter(cast.matter);
            group.bench_function(format!("{engine}, {store}"), |bench| {
                bench.iter(|| {
                    let permit = runtime.block_on(session.permit(Act::Open, scope()));
                    drop(black_box(permit.unwrap()));
                });
            });
        }
    }
    group.finish();
}

/// Appending to a log, and proving and checking one of 100,000 entries.
fn log(criterion: &mut Criterion) {
    let (tenant, now) = (tenant(), now());
    let event = || {
        Event::new(
            tenant,
            ActorId::derived(&[b"somebody"]),
            Label::fixed("bench"),
            Act::Open,
            Outcome::Admitted,
        )
        .of_subject(subject())
    };
    let mut log = Log::new("bench.example/log");
    let entries: Vec<_> = (0..figures::sized(100_000, 20_000))
        .map(|_| log.record(event(), now).unwrap())
        .collect();
    let leaves: Vec<_> = entries
        .iter()
        .map(|entry| merkle::leaf_hash(entry))
        .collect();
    let signer = LocalSigner::new("bench.example/log", signing_key()).unwrap();
    let checkpoint = log.checkpoint(&signer).unwrap();
    let key = NoteKey::of(&signer).unwrap();
    let middle = entries.len() / 3;
    let prove = || {
        let (entry, nodes) = (&entries[middle], &leaves[..]);
        Proof::create(entry, middle as u64, nodes, checkpoint.clone()).unwrap()
    };
    let proof = prove();

    let mut group = criterion.benchmark_group("audit log");
    group.bench_function("append an entry", |bench| {
        bench.iter_batched(
            event,
            |event| log.record(event, now).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("sign a checkpoint", |bench| {
        bench.iter(|| log.checkpoint(&signer).unwrap());
    });
    group.bench_function("prove an entry from its leaves", |bench| bench.iter(prove));
    group.bench_function("check a proof", |bench| {
        bench.iter(|| proof.verify(&key).unwrap())
    });
    group.finish();
}

/// One explained decision by the shipped pack.
fn retention(criterion: &mut Criterion) {
    let today = "2034-01-02".parse().unwrap();
    let schedules = simulate(&[Pack::parse(CORE_PACK).unwrap()], today).unwrap();
    let schedule = &schedules[&Label::fixed("CASE.FILE")];
    let facts = Facts {
        today,
        triggers: BTreeMap::from([
            (Label::fixed("matter_closed"), "2026-12-31".parse().unwrap()),
            (Label::fixed("majority"), "2030-05-01".parse().unwrap()),
        ]),
        open: BTreeSet::new(),
        nexus: BTreeSet::from([Label::fixed("IL")]),
        holds: Vec::new(),
        custodian: false,
    };
    criterion.bench_function("retention: one explained evaluation", |bench| {
        bench.iter(|| evaluate(schedule, black_box(&facts)).unwrap());
    });
}

/// Five people's data from receipt to final certificates, every port in memory. The time is that
/// of the whole family; a person's is a fifth of it.
fn lives(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("lifecycle in memory");
    group.throughput(Throughput::Elements(5));
    group.sample_size(10);
    group.bench_function("five people of one matter", |bench| {
        bench.iter(|| {
            runtime.block_on(async {
                let (ports, cast) = road::ports(1).await;
                let house = ports.open().await.unwrap();
                let disposed = road::drive(&ports, &house, &cast).await.unwrap();
                assert_eq!(disposed.certificates().len(), cast.people.len());
            });
        });
    });
    group.finish();
}

/// A house in memory but for its policy and its store.
async fn over(
    ports: &MemoryPorts,
    policy: Option<Arc<dyn Policy>>,
    path: Option<&std::path::Path>,
) -> House {
    let house = ports.open().await.unwrap();
    let (tenant, sealer, mut doors) = (house.tenant(), house.sealer, house.doors);
    if let Some(policy) = policy {
        doors.policy = policy;
    }
    if let Some(path) = path {
        let store = Arc::new(SqliteStore::open(path).unwrap());
        doors = Doors {
            jobs: Arc::clone(&store) as _,
            ledger: Arc::clone(&store) as _,
            store,
            ..doors
        };
    }
    House::new(tenant, doors, sealer)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

fn context(field: &str) -> SealContext<'_> {
    SealContext {
        tenant: tenant(),
        subject: subject(),
        matter: None,
        record: record_id(),
        field,
        revision: 1,
    }
}

fn subject_key() -> SubjectKey {
    SubjectKey::new(
        tenant(),
        subject(),
        1,
        &SecretKey::random(&SeededEntropy::new(1)),
    )
}

fn signing_key() -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[7; 32])
}

fn tenant() -> TenantId {
    TenantId::from_bytes([1; 16])
}

fn subject() -> SubjectId {
    SubjectId::from_bytes([2; 16])
}

fn record_id() -> RecordId {
    RecordId::from_bytes([3; 16])
}

fn now() -> Timestamp {
    "2026-11-22T09:00:00Z".parse().unwrap()
}
