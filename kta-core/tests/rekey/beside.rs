//! The house works on while its keys turn.

use std::sync::Arc;

use async_trait::async_trait;
use kta_core::crypto::{EraseClaim, Hierarchy};
use kta_core::id::{Digest, DocumentId, PlacementId, RecordId, SubjectId};
use kta_core::memory::ManualClock;
use kta_core::pii::placement::CopyOf;
use kta_core::pii::{
    Content, ContentStream, FieldName, Fields, MediaType, Pii, Placement, PlacementState, Record,
    RecordKey, Schema,
};
use kta_core::pipeline::House;
use kta_core::pipeline::receive::{Reception, receive};
use kta_core::pipeline::rekey::{Rekeying, Stage, rekey, under_way};
use kta_core::policy::{Act, Permit, Purpose, Role};
use kta_core::ports::store::{
    Change, ChangeSet, Committed, Expected, HoldQuery, PlacementQuery, RecordBy, RecordQuery,
    Sheet, SheetQuery, Store,
};
use kta_core::ports::{BlobId, Blobs};
use kta_core::retention::Hold;
use kta_core::{Code, Fault, FaultKind, Port, Result};

use crate::firm::*;
use crate::road::{self, session};

#[tokio::test]
async fn a_person_erased_meanwhile_stays_erased_and_the_others_go_on() {
    let (ports, cast) = filled(3).await;
    let house = ports.open().await.unwrap();
    kta_core::pipeline::manage::wake(&house).await.unwrap();
    let ciso = session(&house, Role::Ciso, Purpose::Compliance);
    rekey(&house, &ciso, &mut |_| ()).await.unwrap();
    let gone = cast.people[4];
    let evidence = house
        .sealer
        .keys()
        .erase(&[gone], house.gate.now())
        .await
        .unwrap();
    assert!(
        evidence[0].former.is_some(),
        "both of the person's keys went"
    );
    let done = to_the_end(&ports, &house).await;
    assert_eq!((done.stage, done.records), (Stage::Done, 4));
    let error = house.sealer.keys().subject_key(gone).await.unwrap_err();
    assert_eq!(
        error.refusal().map(kta_core::Refusal::code),
        Some(Code::CryErased)
    );
}

#[tokio::test]
async fn what_a_late_writer_sealed_under_a_former_key_is_sealed_anew_before_that_key_ends() {
    let (ports, cast) = filled(5).await;
    let house = ports.open().await.unwrap();
    kta_core::pipeline::manage::wake(&house).await.unwrap();
    let (subject, schema) = (cast.people[0], Schema::person());
    let paralegal = session(&house, Role::Paralegal, Purpose::Representation);
    let scope = || whole(subject, &cast);
    let permit = paralegal.permit(Act::Store, scope()).await.unwrap();
    let mut key = record_key(&house, subject);
    key.record = RecordId::derived(&[b"late"]);
    let late = form(key, 1, &schema, &cast);
    let fields = family_name(&schema);
    let late = house.sealer.seal(late, &fields, &permit).await.unwrap();
    let mut place = place(subject, &cast);
    place.document = DocumentId::derived(&[b"late"]);
    let page = Content::of(PAGE.to_vec(), MediaType::text());
    let page = house
        .sealer
        .seal_content(&place, page, &permit)
        .await
        .unwrap();
    let newcomer = SubjectId::derived(&[b"newcomer"]);

    // Both come when everything has been sealed anew; and somebody else turns a key.
    until(&ports, &house, "draining").await;
    put(&house, late, Expected::Absent).await;
    let mut intended = placed(&house, subject, &cast);
    intended.id = PlacementId::derived(&[b"late"]);
    intended.of = CopyOf::Document(place.document);
    intended.state = PlacementState::Intended;
    let change = Change::PutPlacement(intended);
    let set = ChangeSet::new(house.tenant(), house.gate.now()).with(change);
    house.doors.store.commit(set).await.unwrap();
    let id = BlobId {
        document: place.document,
        ..blob(&house, subject)
    };
    let permit = paralegal.permit(Act::Store, scope()).await.unwrap();
    house.doors.blobs.put(&id, page, &permit).await.unwrap();
    let keys = house.sealer.keys();
    keys.enroll(newcomer).await.unwrap();
    ports.clock.set(house.gate.now() + Hierarchy::HELD);
    keys.rotate_subjects(&[newcomer], house.gate.now())
        .await
        .unwrap();

    let done = to_the_end(&ports, &house).await;
    assert_eq!((done.stage, done.again), (Stage::Done, 1));
    assert_eq!((done.records, done.contents), (6, 6));
    assert_eq!(keys.subject_rotation(subject).await.unwrap(), None);
    assert_eq!(keys.subject_rotation(newcomer).await.unwrap(), None);
    let record = house.doors.store.record(&key).await.unwrap().unwrap();
    assert_eq!(generations(&record), [2]);
    let permit = paralegal.permit(Act::Open, scope()).await.unwrap();
    house.sealer.open(&record, &permit).await.unwrap();
    let sealed = house.doors.blobs.stream(&id, &permit).await.unwrap();
    let expected = (PAGE.len() as u64, Digest::of(PAGE), MediaType::text());
    let page = house
        .sealer
        .open_content(&place, Some(class().id()), expected, sealed, &permit);
    let page = page.await.unwrap().collect(1 << 20, &permit).await.unwrap();
    assert_eq!(page.expose(&permit), PAGE);
    everything_opens(&house, &cast).await;
}

#[tokio::test]
async fn two_workers_take_turns_and_lose_nothing() {
    let (ports, cast) = filled(6).await;
    let (mut one, mut other) = (ports.open().await.unwrap(), ports.open().await.unwrap());
    for house in [&mut one, &mut other] {
        house.doors.store = Yielding::over(house, usize::MAX, usize::MAX);
        kta_core::pipeline::manage::wake(house).await.unwrap();
    }
    for _ in 0..10 {
        let first = session(&one, Role::Ciso, Purpose::Compliance);
        let second = session(&other, Role::Ciso, Purpose::Compliance);
        let (mut quiet, mut silent) = (|_: &Rekeying| (), |_: &Rekeying| ());
        let both = futures_util::future::join(
            rekey(&one, &first, &mut quiet),
            rekey(&other, &second, &mut silent),
        );
        let (first, second) = both.await;
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!((first.number, second.number), (1, 1));
        everything_opens(&one, &cast).await;
        if first.stage == Stage::Done {
            assert_eq!(second, first);
            assert_eq!((first.records, first.contents, first.again), (5, 5, 0));
            assert_eq!(first.exceptions, []);
            return;
        }
        ports.clock.set(one.gate.now() + Hierarchy::HELD);
    }
    panic!("they never end");
}

#[tokio::test]
async fn a_branch_may_take_longer_than_a_permit_lasts() {
    let (ports, cast) = filled_over(8, 256).await;
    let mut house = ports.open().await.unwrap();
    let slow = Slow(Arc::clone(&house.doors.blobs), ports.clock.clone());
    house.doors.blobs = Arc::new(slow);
    kta_core::pipeline::manage::wake(&house).await.unwrap();
    let done = to_the_end(&ports, &house).await;
    assert_eq!((done.records, done.contents), (5, 5));
    assert_eq!(done.exceptions, []);
    drop(house);
    let house = ports.open().await.unwrap();
    kta_core::pipeline::manage::wake(&house).await.unwrap();
    everything_opens(&house, &cast).await;
}

#[tokio::test]
async fn where_somebody_keeps_writing_less_is_written_together_and_it_ends() {
    let (ports, cast) = filled_over(14, 8).await;
    let mut house = ports.open().await.unwrap();
    kta_core::pipeline::manage::wake(&house).await.unwrap();
    fill(&house, &cast, 300).await;
    house.doors.store = Yielding::over(&house, 128, usize::MAX);
    let done = to_the_end(&ports, &house).await;
    assert_eq!((done.records, done.exceptions.len()), (305, 0));
    everything_opens(&house, &cast).await;
}

#[tokio::test]
async fn large_records_are_not_written_together_without_bound() {
    let (ports, cast) = filled_over(15, 8).await;
    let mut house = ports.open().await.unwrap();
    kta_core::pipeline::manage::wake(&house).await.unwrap();
    let large = 1 << 20;
    let mut fields = Fields::new();
    let address = FieldName::fixed("address");
    fields.insert(address, Pii::new("x".repeat(large)));
    fill_with(&house, &cast, 40, &fields).await;
    // What is much, and the record that makes it so.
    house.doors.store = Yielding::over(&house, usize::MAX, (16 << 20) + 2 * large);
    let done = to_the_end(&ports, &house).await;
    assert_eq!((done.records, done.exceptions.len()), (45, 0));
    everything_opens(&house, &cast).await;
}

#[tokio::test]
async fn a_search_that_sealing_anew_overtakes_finds_the_record() {
    let (ports, cast) = filled(10).await;
    let house = ports.open().await.unwrap();
    kta_core::pipeline::manage::wake(&house).await.unwrap();
    until(&ports, &house, "waiting").await;
    let name = FieldName::fixed("email");
    let value = Pii::new(email(2));
    let tags = house
        .sealer
        .search_tags(&Schema::person(), &name, &value)
        .await;
    let mut found = Vec::new();
    for tag in tags.unwrap() {
        let query =
            RecordQuery::all(house.tenant(), RecordBy::Tag(name.clone(), tag)).page(None, 10);
        found.extend(house.doors.store.records(&query).await.unwrap());
        if under_way(&house).await.unwrap().unwrap().records == 0 {
            ports.clock.set(house.gate.now() + Hierarchy::HELD);
            until(&ports, &house, "draining").await;
        }
    }
    assert!(!found.is_empty());
    assert!(
        found
            .iter()
            .all(|found| found.key.subject == cast.people[2])
    );
}

#[tokio::test]
async fn a_delivery_in_quarantine_is_sealed_anew_and_verified_afterwards() {
    let (ports, cast) = road::ports(12).await;
    let house = ports.open().await.unwrap();
    road::found(&house, &cast).await.unwrap();
    let clerk = session(&house, Role::Intake, Purpose::Representation);
    while let Reception::Received(_) = receive(&house, &clerk, &*ports.intake).await.unwrap() {}
    let waiting = ports.blobs.stored();
    assert!(!waiting.is_empty());
    let done = to_the_end(&ports, &house).await;
    assert_eq!(done.contents, waiting.len() as u64);
    assert_eq!(done.exceptions, []);
    for (id, sealed) in waiting {
        let now = ports
            .blobs
            .stored()
            .into_iter()
            .find(|(kept, _)| *kept == id);
        assert_ne!(now.unwrap().1, sealed);
    }
    // Every later stage reads what was received before the keys turned.
    road::until_transmitted(&ports, &house, &cast)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_disposal_beside_a_rotation_ends_with_proof_and_so_does_the_rotation() {
    for stage in ["waiting", "draining"] {
        let (ports, cast) = road::ports(13).await;
        let house = ports.open().await.unwrap();
        let approved = road::until_approved(&ports, &house, &cast).await.unwrap();
        until(&ports, &house, stage).await;
        let disposed = road::execute(&house, &cast, approved).await.unwrap();
        assert_eq!(disposed.certificates().len(), cast.people.len());
        for issued in disposed.certificates() {
            let [key] = &issued.certificate.keys[..] else {
                panic!("one key of each person");
            };
            assert!(key.former.is_some(), "both keys of the person went");
            assert_eq!(key.claim(), EraseClaim::Effective);
        }
        let done = to_the_end(&ports, &house).await;
        assert_eq!(done.exceptions, [], "{stage}");
        for person in cast.people {
            let error = house.sealer.keys().subject_key(person).await.unwrap_err();
            let code = error.refusal().map(kta_core::Refusal::code);
            assert_eq!(code, Some(Code::CryErased), "{stage}");
        }
    }
}

/// A store that lets somebody else go on at each call, and in which somebody else writes one of
/// them whenever more than so many records are written together.
#[derive(Debug)]
struct Yielding {
    store: Arc<dyn Store>,
    records: usize,
    bytes: usize,
}

impl Yielding {
    /// The house's store, which takes no more records nor sealed bytes than these together.
    fn over(house: &House, records: usize, bytes: usize) -> Arc<Self> {
        let store = Arc::clone(&house.doors.store);
        Arc::new(Self {
            store,
            records,
            bytes,
        })
    }
}

#[async_trait]
impl Store for Yielding {
    async fn commit(&self, change: ChangeSet) -> Result<Committed> {
        tokio::task::yield_now().await;
        let changes = change.changes.iter();
        let sealed = changes.filter_map(|change| match change {
            Change::PutRecord { record, .. } => Some(record.fields.values()),
            _ => None,
        });
        let sizes = sealed.map(|all| all.map(|it| it.sealed.as_bytes().len()).sum::<usize>());
        let sizes: Vec<_> = sizes.collect();
        if sizes.len() > self.records || sizes.iter().sum::<usize>() > self.bytes {
            return Err(Fault::new(FaultKind::Conflict, Port::Store, "commit").into());
        }
        self.store.commit(change).await
    }
    async fn record(&self, key: &RecordKey) -> Result<Option<Record>> {
        tokio::task::yield_now().await;
        self.store.record(key).await
    }
    async fn records(&self, query: &RecordQuery) -> Result<Vec<Record>> {
        tokio::task::yield_now().await;
        self.store.records(query).await
    }
    async fn placements(&self, query: &PlacementQuery) -> Result<Vec<Placement>> {
        tokio::task::yield_now().await;
        self.store.placements(query).await
    }
    async fn holds(&self, query: &HoldQuery) -> Result<Vec<Hold>> {
        self.store.holds(query).await
    }
    async fn sheets(&self, query: &SheetQuery) -> Result<Vec<Sheet>> {
        tokio::task::yield_now().await;
        self.store.sheets(query).await
    }
}

/// Blobs of which each reading takes its time.
#[derive(Debug)]
struct Slow(Arc<dyn Blobs>, ManualClock);

#[async_trait]
impl Blobs for Slow {
    async fn put(
        &self,
        id: &BlobId,
        sealed: ContentStream,
        permit: &Permit<'_>,
    ) -> Result<(u64, Digest)> {
        self.0.put(id, sealed, permit).await
    }
    async fn replace(
        &self,
        id: &BlobId,
        sealed: ContentStream,
        permit: &Permit<'_>,
    ) -> Result<(u64, Digest)> {
        self.0.replace(id, sealed, permit).await
    }
    async fn stream(&self, id: &BlobId, permit: &Permit<'_>) -> Result<ContentStream> {
        let stream = self.0.stream(id, permit).await;
        self.1.advance(chrono::TimeDelta::minutes(4));
        stream
    }
    async fn remove(&self, id: &BlobId, permit: &Permit<'_>) -> Result<()> {
        self.0.remove(id, permit).await
    }
    async fn contains(&self, id: &BlobId) -> Result<bool> {
        self.0.contains(id).await
    }
}
