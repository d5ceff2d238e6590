//! Fresh keys for everybody, with a reader at work.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kta_core::crypto::index::{IndexPlan, Normal};
use kta_core::crypto::{Envelope, Hierarchy, IndexKey, RecordHeader, SealContext, SubjectKey};
use kta_core::id::{ActorId, Digest, RecordId, SubjectId, TenantId};
use kta_core::memory::MemoryPorts;
use kta_core::pii::{FieldName, Record, RecordKey, Schema, Sealed, SealedField};
use kta_core::pipeline::rekey::{Rekeying, Stage, rekey};
use kta_core::pipeline::{Doors, House, manage};
use kta_core::policy::{Actor, Purpose, Role, Sealer};
use kta_core::ports::Store as _;
use kta_core::ports::store::{Change, ChangeSet, Durability, Expected};
use kta_core::time::{Clock as _, Entropy, Timestamp};
use kta_keys::{LocalKeyring, OsEntropy, Unlock};
use kta_storage::{SqliteKeyTable, SqliteStore};

use crate::erase::restrict;
use crate::figures::{Figures, quantile, sized, target};

/// Three records a person, four fields each, three of them indexed; SQLite and key table on disk,
/// the local keyring as custodian. The clock of the house is moved over the hour in which
/// somebody might still hold a former key. The reader takes records at random, checks and opens
/// every field, all the time.
pub(crate) fn measure(figures: &mut Figures) {
    let people = sized(100_000, 4_000);
    let folder = tempfile::tempdir_in(target()).unwrap();
    let runtime = crate::runtime();
    let ports = MemoryPorts::new(1, "2026-11-22T09:00:00Z".parse().unwrap());
    let system = runtime.block_on(System::open(&ports, folder.path()));
    let records = people * RECORDS;
    println!("  filling the store with {records} records");
    runtime.block_on(system.fill(people));

    let mut quiet = system.read_for(people, Duration::from_secs(sized(5, 2)), None);
    println!("  rotating");
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (system, done) = (system.clone(), Arc::clone(&done));
        std::thread::spawn(move || system.read_for(people, Duration::from_secs(3600), Some(&done)))
    };
    let mut stages = BTreeMap::<_, f64>::new();
    let start = Instant::now();
    let rekeyed = runtime.block_on(async {
        let session = system
            .house
            .session(officer(), Role::Ciso, Purpose::Compliance);
        let mut branches = 0;
        let mut last = Instant::now();
        let mut told = |rekeying: &Rekeying| {
            branches += 1;
            *stages.entry(rekeying.stage.word()).or_default() += last.elapsed().as_secs_f64();
            last = Instant::now();
        };
        rekey(&system.house, &session, &mut told).await.unwrap();
        ports.clock.set(ports.clock.now() + Hierarchy::HELD);
        rekey(&system.house, &session, &mut told).await.unwrap();
        ports.clock.set(ports.clock.now() + Hierarchy::HELD);
        let rekeyed = rekey(&system.house, &session, &mut told).await.unwrap();
        println!("  {branches} steps, each of which may be the last of a process");
        rekeyed
    });
    let seconds = start.elapsed().as_secs_f64();
    done.store(true, Ordering::Relaxed);
    let mut busy = reader.join().unwrap();
    assert_eq!(
        (rekeyed.stage, rekeyed.records),
        (Stage::Done, records as u64)
    );

    figures.at_most(
        &format!("rotation of data and index keys, {records} records, as for 300,000"),
        seconds * 300_000.0 / records as f64,
        "s",
        60.0,
    );
    figures.at_most(
        "reader's p99 during the rotation ÷ before it",
        quantile(&mut busy, 0.99) / quantile(&mut quiet, 0.99),
        "times",
        2.0,
    );
    figures.remark(format!(
        "seconds up to each telling of a stage: {stages:.1?}"
    ));
    figures.remark(format!(
        "{} reads before, {} during; median {:.0} µs and {:.0} µs, p99 {:.0} µs and {:.0} µs",
        quiet.len(),
        busy.len(),
        quantile(&mut quiet, 0.5) * 1e6,
        quantile(&mut busy, 0.5) * 1e6,
        quantile(&mut quiet, 0.99) * 1e6,
        quantile(&mut busy, 0.99) * 1e6,
    ));
}

/// A house whose store, key table and custodian are on disk.
#[derive(Clone)]
struct System {
    house: Arc<House>,
    store: SqliteStore,
    keys: Arc<Hierarchy>,
}

impl System {
    async fn open(ports: &MemoryPorts, folder: &std::path::Path) -> Self {
        let house = ports.open().await.unwrap();
        let tenant = house.tenant();
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        let key_file = folder.join("unlock");
        std::fs::write(&key_file, [7; 32]).unwrap();
        restrict(&key_file);
        let unlock = Unlock::key_file(&key_file);
        let ring = LocalKeyring::create(&folder.join("keyring"), &unlock, entropy.clone()).unwrap();
        let table = Arc::new(SqliteKeyTable::open(folder.join("keys.db")).unwrap());
        let now = ports.clock.now();
        let keys = Hierarchy::open(tenant, Arc::new(ring), table, entropy.clone(), now).await;
        let keys = Arc::new(keys.unwrap());
        let store = SqliteStore::open(folder.join("store.db")).unwrap();
        let shared = Arc::new(store.clone());
        let doors = Doors {
            store: Arc::clone(&shared) as _,
            jobs: Arc::clone(&shared) as _,
            ledger: shared,
            ..house.doors
        };
        let house = House::new(tenant, doors, Sealer::new(keys.clone(), entropy));
        let trained: Timestamp = "2099-01-01T00:00:00Z".parse().unwrap();
        let actor = Actor::new(officer(), Role::Ciso).trained_until(trained.date_naive());
        manage::found(&house, officer(), vec![actor]).await.unwrap();
        Self {
            house: Arc::new(house),
            store,
            keys,
        }
    }

    async fn fill(&self, people: usize) {
        let index = self.keys.index_key().await.unwrap();
        let all: Vec<_> = (0..people).collect();
        for some in all.chunks(1024) {
            let subjects: Vec<_> = some.iter().map(|number| subject(*number)).collect();
            self.keys.enroll_all(&subjects).await.unwrap();
            let mut change = ChangeSet::new(self.house.tenant(), self.house.gate.now());
            change.durability = Durability::Bounded;
            for (number, subject) in some.iter().zip(&subjects) {
                let person = self.keys.subject_key(*subject).await.unwrap();
                for record in 0..RECORDS {
                    change =
                        change.with(put(self.house.tenant(), &person, &index, *number, record));
                }
            }
            self.store.commit(change).await.unwrap();
        }
    }

    /// Seconds of each read, for so long or until told.
    fn read_for(&self, people: usize, most: Duration, done: Option<&AtomicBool>) -> Vec<f64> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let (start, mut times, mut at) = (Instant::now(), Vec::new(), 1_usize);
        while start.elapsed() < most && !done.is_some_and(|done| done.load(Ordering::Relaxed)) {
            at = at
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let (number, record) = ((at >> 33) % people, (at >> 20) % RECORDS);
            let read = Instant::now();
            runtime.block_on(self.read(number, record));
            times.push(read.elapsed().as_secs_f64());
        }
        times
    }

    async fn read(&self, number: usize, record: usize) {
        let key = record_key(self.house.tenant(), subject(number), number, record);
        let found = self.store.record(&key).await.unwrap().unwrap();
        let person = self.keys.subject_key(key.subject).await.unwrap();
        let key = person.record_key(found.key.record);
        for (name, field) in &found.fields {
            let sealed = Envelope::parse(field.sealed.as_bytes()).unwrap();
            let place = context(&found, name.as_str(), field.revision);
            black_box(key.open(&place, &sealed).unwrap());
        }
    }
}

fn put(
    tenant: TenantId,
    person: &SubjectKey,
    index: &IndexKey,
    number: usize,
    which: usize,
) -> Change {
    let schema = Schema::person();
    let mut record = Record {
        key: record_key(tenant, person.subject(), number, which),
        matter: None,
        schema: schema.name.clone(),
        class: Digest::of(b"invented class"),
        revision: 1,
        fields: std::collections::BTreeMap::new(),
        header: Vec::new(),
    };
    let key = person.record_key(record.key.record);
    let (mut tags, mut sealed) = (Vec::new(), Vec::new());
    for (name, value) in [
        ("family_name", format!("Invented{}", name_of(number))),
        ("email", format!("person{number}.{which}@example.org")),
        ("passport_number", format!("X{number:08}")),
        ("address", format!("{number} Invented Street, Nowhere")),
    ] {
        let name = FieldName::fixed(name);
        let normal = match name.as_str() {
            "family_name" => Normal::name(&value).ok(),
            "email" => Normal::email(&value).ok(),
            "passport_number" => Normal::passport(&value).ok(),
            _ => None,
        };
        if let Some(normal) = normal {
            let plan = IndexPlan::new(name.as_str(), 1 << 24, 100_000).unwrap();
            tags.push((name.clone(), index.tag(&plan, &normal)));
        }
        let envelope = key.seal(
            &context(&record, name.as_str(), 1),
            value.as_bytes(),
            &OsEntropy,
        );
        sealed.push((name, envelope.unwrap()));
    }
    let listed = sealed.iter().map(|(name, envelope)| {
        let class = schema.field(name).unwrap().classification.code();
        (name.as_str(), 1, class, envelope)
    });
    record.header = RecordHeader::seal(&key, 1, listed)
        .unwrap()
        .as_bytes()
        .to_vec();
    for (name, envelope) in sealed {
        let field = SealedField {
            classification: schema.field(&name).unwrap().classification,
            revision: 1,
            sealed: Sealed::from_bytes(envelope.into_bytes()),
        };
        record.fields.insert(name.into(), field);
    }
    Change::PutRecord {
        record,
        index: tags,
        expected: Expected::Absent,
    }
}

fn context<'a>(record: &Record, field: &'a str, revision: u64) -> SealContext<'a> {
    SealContext {
        tenant: record.key.tenant,
        subject: record.key.subject,
        matter: record.matter,
        record: record.key.record,
        field,
        revision,
    }
}

fn record_key(tenant: TenantId, subject: SubjectId, number: usize, record: usize) -> RecordKey {
    RecordKey {
        tenant,
        subject,
        record: RecordId::derived(&[&number.to_be_bytes(), &record.to_be_bytes()]),
    }
}

fn subject(number: usize) -> SubjectId {
    SubjectId::derived(&[b"person of the rotation", &number.to_be_bytes()])
}

/// Letters, as names have them.
fn name_of(mut number: usize) -> String {
    let mut name = String::new();
    while number > 0 {
        name.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    name
}

fn officer() -> ActorId {
    ActorId::derived(&[b"the security officer"])
}

/// Records a person.
const RECORDS: usize = 3;
