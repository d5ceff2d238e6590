//! Fresh keys for everybody: nothing lost, nothing left, whatever dies when.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "the tests of the whole road use the rest")]
mod road;

use std::sync::Arc;

use async_trait::async_trait;
use kta_core::audit::Label;
use kta_core::crypto::{Envelope, EraseClaim, Hierarchy};
use kta_core::id::{Digest, DocumentId, PlacementId, RecordId, SubjectId};
use kta_core::memory::{FaultPlan, ManualClock, MemoryPorts, Strike};
use kta_core::pii::placement::CopyOf;
use kta_core::pii::{
    Category, Content, ContentStream, FieldName, Fields, MediaType, Pii, Placement, PlacementKind,
    PlacementState, Record, RecordKey, Schema,
};
use kta_core::pipeline::House;
use kta_core::pipeline::rekey::{Rekeying, Stage, Why, rekey, under_way};
use kta_core::policy::{Act, ContentPlace, Form, Permit, PolicyClass, Purpose, Role, Scope};
use kta_core::ports::store::{
    Change, ChangeSet, Committed, Expected, HoldQuery, PlacementQuery, RecordBy, RecordQuery,
    Sheet, SheetQuery, Store,
};
use kta_core::ports::{BlobId, Blobs};
use kta_core::retention::Hold;
use kta_core::{Code, Result};

use road::{Cast, ports, session};

#[tokio::test]
async fn everything_is_sealed_anew_and_the_former_keys_end() {
    let (ports, cast) = filled(1).await;
    let house = ports.open().await.unwrap();
    kta_core::pipeline::manage::wake(&house).await.unwrap();
    let before = sealed(&house, &cast).await;

    let mut told = Vec::new();
    let ciso = session(&house, Role::Ciso, Purpose::Compliance);
    let waiting = rekey(&house, &ciso, &mut |step| told.push(step.clone()))
        .await
        .unwrap();
    let Stage::Waiting { until } = waiting.stage else {
        panic!("{waiting:?}");
    };
    assert_eq!(until, house.gate.now() + Hierarchy::HELD);
    assert_eq!(waiting.people, cast.people.len() as u64);
    // Waiting or not, everybody reads, and a record is found by either index key.
    everything_opens(&house, &cast).await;
    assert_eq!(rekey(&house, &ciso, &mut |_| ()).await.unwrap(), waiting);

    ports.clock.set(until);
    let draining = rekey(&house, &ciso, &mut |step| told.push(step.clone()))
        .await
        .unwrap();
    let Stage::Draining { until } = draining.stage else {
        panic!("{draining:?}");
    };
    // Who read a record before it was sealed anew, opens it.
    let paralegal = session(&house, Role::Paralegal, Purpose::Representation);
    for old in &before {
        let scope = whole(old.key.subject, &cast);
        let permit = paralegal.permit(Act::Open, scope).await.unwrap();
        house.sealer.open(old, &permit).await.unwrap();
    }
    ports.clock.set(until);
    let done = rekey(&house, &ciso, &mut |step| told.push(step.clone()))
        .await
        .unwrap();
    assert_eq!((done.again, done.claim), (0, Some(EraseClaim::Effective)));
    let log = log(&house).await;
    for fact in [
        "\"kek\"",
        "\"ended\"",
        "\"method\":\"immediate\"",
        "\"resealed\"",
    ] {
        assert!(log.contains(fact), "{fact}");
    }
    assert_eq!(done.stage, Stage::Done);
    assert_eq!((done.records, done.contents), (5, 5));
    assert!(
        told.windows(2)
            .all(|pair| pair[0].records <= pair[1].records)
    );
    assert_eq!(under_way(&house).await.unwrap(), None);

    everything_opens(&house, &cast).await;
    assert_eq!(house.sealer.keys().index_epochs().await.unwrap(), [2]);
    let after = sealed(&house, &cast).await;
    for (old, new) in before.iter().zip(&after) {
        assert_eq!(generations(new), [2]);
        assert_eq!(new.revision, old.revision + 1);
        // What a backup of the records still has, opens no more.
        let permit = session(&house, Role::Paralegal, Purpose::Representation);
        let permit = permit
            .permit(Act::Open, whole(old.key.subject, &cast))
            .await
            .unwrap();
        let refused = house.sealer.open(old, &permit).await.unwrap_err();
        assert_eq!(
            refused.refusal().map(kta_core::Refusal::code),
            Some(Code::CryKey)
        );
    }
    // And once more, with other keys.
    let next = to_the_end(&ports, &house).await;
    assert_eq!((next.number, next.index.as_slice()), (2, &[2][..]));
    everything_opens(&house, &cast).await;
}

#[tokio::test]
async fn a_death_at_any_step_loses_nothing_and_the_next_call_goes_on() {
    let (ports, _) = filled(2).await;
    let plan = FaultPlan::none();
    let house = ports.open_under(&plan).await.unwrap();
    kta_core::pipeline::manage::wake(&house).await.unwrap();
    to_the_end(&ports, &house).await;
    let calls = plan.calls();
    assert!(calls > 50, "{calls}");
    for strike in [Strike::DeadBefore, Strike::DeadAfter] {
        for call in 0..calls {
            let (ports, cast) = filled(2).await;
            let plan = FaultPlan::at(call, strike);
            if let Ok(house) = ports.open_under(&plan).await
                && kta_core::pipeline::manage::wake(&house).await.is_ok()
            {
                let ciso = session(&house, Role::Ciso, Purpose::Compliance);
                for _ in 0..3 {
                    if rekey(&house, &ciso, &mut |_| ()).await.is_err() {
                        break;
                    }
                    ports.clock.set(house.gate.now() + Hierarchy::HELD);
                }
            }
            plan.heal();
            let house = ports.open().await.unwrap();
            kta_core::pipeline::manage::wake(&house).await.unwrap();
            everything_opens(&house, &cast).await;
            let done = to_the_end(&ports, &house).await;
            assert_eq!(done.stage, Stage::Done, "call {call} {strike:?}");
            everything_opens(&house, &cast).await;
            assert_eq!(house.sealer.keys().index_epochs().await.unwrap().len(), 1);
        }
    }
}

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
async fn only_the_security_officer_rekeys_and_sees_nothing_by_it() {
    let (ports, cast) = filled(4).await;
    let house = ports.open().await.unwrap();
    kta_core::pipeline::manage::wake(&house).await.unwrap();
    for role in [
        Role::Attorney,
        Role::Sysadmin,
        Role::Records,
        Role::ServiceRetention,
    ] {
        let session = session(&house, role, Purpose::Compliance);
        let refused = rekey(&house, &session, &mut |_| ()).await.unwrap_err();
        assert!(refused.refusal().is_some(), "{role:?}");
    }
    let ciso = session(&house, Role::Ciso, Purpose::Compliance);
    let permit = ciso.permit(Act::Rekey, Scope::firm()).await.unwrap();
    for record in sealed(&house, &cast).await {
        let refused = house.sealer.open(&record, &permit).await.unwrap_err();
        assert_eq!(
            refused.refusal().map(kta_core::Refusal::code),
            Some(Code::AclDeny)
        );
    }
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
    let page = house.sealer.open_content(&place, expected, sealed, &permit);
    let page = page.await.unwrap().collect(1 << 20, &permit).await.unwrap();
    assert_eq!(page.expose(&permit), PAGE);
    everything_opens(&house, &cast).await;
}

#[tokio::test]
async fn two_workers_take_turns_and_lose_nothing() {
    let (ports, cast) = filled(6).await;
    let (mut one, mut other) = (ports.open().await.unwrap(), ports.open().await.unwrap());
    for house in [&mut one, &mut other] {
        house.doors.store = Arc::new(Yielding(Arc::clone(&house.doors.store)));
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
async fn what_cannot_be_read_keeps_its_key_and_stops_nobody_else() {
    let (ports, cast) = filled(7).await;
    let house = ports.open().await.unwrap();
    kta_core::pipeline::manage::wake(&house).await.unwrap();
    let [altered, lost, unmapped, erased, sound] = cast.people;
    let records = sealed(&house, &cast).await;
    let mut broken = records[0].clone();
    broken.header[20] ^= 1;
    put(&house, broken, Expected::Any).await;
    let mut strange = records[2].clone();
    strange.schema = Label::fixed("strange");
    put(&house, strange, Expected::Any).await;
    let destroyer = session(&house, Role::ServiceDestroy, Purpose::Retention);
    let mut bytes = None;
    for subject in [lost, erased] {
        let id = blob(&house, subject);
        let kept = ports
            .blobs
            .stored()
            .into_iter()
            .find(|(kept, _)| *kept == id);
        bytes = bytes.or(kept.map(|(_, bytes)| bytes));
        let permit = destroyer.permit(Act::Destroy, whole(subject, &cast)).await;
        house
            .doors
            .blobs
            .remove(&id, &permit.unwrap())
            .await
            .unwrap();
    }
    let mut gone = placed(&house, erased, &cast);
    gone.state = PlacementState::Absent {
        at: house.gate.now(),
    };
    let change = Change::PutPlacement(gone);
    let set = ChangeSet::new(house.tenant(), house.gate.now()).with(change);
    house.doors.store.commit(set).await.unwrap();

    let done = to_the_end(&ports, &house).await;
    let mut noted: Vec<_> = done.exceptions.iter().map(|e| (e.subject, e.why)).collect();
    noted.sort_unstable_by_key(|(subject, _)| *subject);
    let mut expected = [
        (altered, Why::Altered),
        (lost, Why::Lost),
        (unmapped, Why::Unmapped),
    ];
    expected.sort_unstable_by_key(|(subject, _)| *subject);
    assert_eq!(noted, expected);
    let keys = house.sealer.keys();
    for subject in cast.people {
        let kept = keys.subject_rotation(subject).await.unwrap().is_some();
        assert_eq!(kept, subject != erased && subject != sound);
    }
    assert_eq!(keys.index_epochs().await.unwrap(), [1, 2]);
    assert!(log(&house).await.contains("\"exception\":\"lost\""));
    assert!(
        !house
            .doors
            .blobs
            .contains(&blob(&house, erased))
            .await
            .unwrap()
    );

    // What comes back opens, and the next rotation seals it anew.
    let paralegal = session(&house, Role::Paralegal, Purpose::Representation);
    let permit = paralegal
        .permit(Act::Store, whole(lost, &cast))
        .await
        .unwrap();
    let back = Box::pin(futures_util::stream::iter([Ok(bytes.unwrap())]));
    house
        .doors
        .blobs
        .put(&blob(&house, lost), back, &permit)
        .await
        .unwrap();
    let next = to_the_end(&ports, &house).await;
    assert!(next.exceptions.iter().all(|noted| noted.subject != lost));
    assert_eq!(keys.subject_rotation(lost).await.unwrap(), None);
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
async fn many_records_and_many_branches_are_all_met() {
    let (ports, cast) = filled_over(9, 4).await;
    let house = ports.open().await.unwrap();
    kta_core::pipeline::manage::wake(&house).await.unwrap();
    let (subject, schema) = (cast.people[1], Schema::person());
    let paralegal = session(&house, Role::Paralegal, Purpose::Representation);
    let permit = paralegal
        .permit(Act::Store, whole(subject, &cast))
        .await
        .unwrap();
    for number in 0..300_u64 {
        let mut key = record_key(&house, subject);
        key.record = RecordId::derived(&[b"many", &number.to_be_bytes()]);
        let form = form(key, 1, &schema, &cast);
        let record = house
            .sealer
            .seal(form, &family_name(&schema), &permit)
            .await;
        put(&house, record.unwrap(), Expected::Absent).await;
    }
    let others: Vec<_> = (0..40_u8)
        .map(|who| SubjectId::derived(&[b"other", &[who]]))
        .collect();
    let keys = house.sealer.keys();
    keys.enroll_all(&others).await.unwrap();
    let epoch = keys.epoch().await.unwrap();
    let done = to_the_end(&ports, &house).await;
    assert_eq!((done.records, done.people), (305, 45));
    // Two turns for twelve branches, and one for the index key.
    assert_eq!(keys.epoch().await.unwrap(), epoch + 3);
    for number in 0..300_u64 {
        let mut key = record_key(&house, subject);
        key.record = RecordId::derived(&[b"many", &number.to_be_bytes()]);
        let record = house.doors.store.record(&key).await.unwrap().unwrap();
        assert_eq!((generations(&record), record.revision), (vec![2], 2));
    }
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

/// A house with a record and a document of each of five people.
async fn filled(seed: u64) -> (MemoryPorts, Cast) {
    filled_over(seed, 2).await
}

/// The same, with so many children of each branch of the key tree.
async fn filled_over(seed: u64, fan_out: u16) -> (MemoryPorts, Cast) {
    let (mut ports, cast) = ports(seed).await;
    ports.fan_out = fan_out;
    let house = ports.open().await.unwrap();
    road::found(&house, &cast).await.unwrap();
    let session = session(&house, Role::Paralegal, Purpose::Representation);
    let schema = Schema::person();
    for (number, subject) in cast.people.into_iter().enumerate() {
        let permit = session
            .permit(Act::Store, whole(subject, &cast))
            .await
            .unwrap();
        let mut fields = Fields::new();
        for (name, value) in [("family_name", "Qzxcanary"), ("email", &email(number))] {
            fields.set(&schema, name, value.to_owned()).unwrap();
        }
        let form = Form {
            key: record_key(&house, subject),
            matter: Some(cast.matter),
            schema: &schema,
            class: class().id(),
            revision: 1,
            minor: false,
        };
        let put = Change::PutRecord {
            record: house.sealer.seal(form, &fields, &permit).await.unwrap(),
            index: house.sealer.tags(&schema, &fields).await.unwrap(),
            expected: Expected::Absent,
        };
        let place = place(subject, &cast);
        let page = Content::of(PAGE.to_vec(), MediaType::text());
        let sealed = house
            .sealer
            .seal_content(&place, page, &permit)
            .await
            .unwrap();
        let id = blob(&house, subject);
        house.doors.blobs.put(&id, sealed, &permit).await.unwrap();
        let placed = placed(&house, subject, &cast);
        let change = ChangeSet::new(house.tenant(), house.gate.now());
        let change = change.with(Change::Intern(class()));
        let change = change.with(put).with(Change::PutPlacement(placed));
        ports.store.commit(change).await.unwrap();
    }
    (ports, cast)
}

async fn to_the_end(ports: &MemoryPorts, house: &House) -> Rekeying {
    let ciso = session(house, Role::Ciso, Purpose::Compliance);
    for _ in 0..10 {
        let rekeying = rekey(house, &ciso, &mut |_| ()).await.unwrap();
        if rekeying.stage == Stage::Done {
            return rekeying;
        }
        ports.clock.set(house.gate.now() + Hierarchy::HELD);
    }
    panic!("it never ends");
}

/// Goes on until this stage, which is waited at.
async fn until(ports: &MemoryPorts, house: &House, stage: &str) {
    let ciso = session(house, Role::Ciso, Purpose::Compliance);
    loop {
        let rekeying = rekey(house, &ciso, &mut |_| ()).await.unwrap();
        if rekeying.stage.word() == stage {
            return;
        }
        assert_ne!(rekeying.stage, Stage::Done);
        ports.clock.set(house.gate.now() + Hierarchy::HELD);
    }
}

async fn log(house: &House) -> String {
    let ledger = &house.doors.ledger;
    let entries = ledger.entries(house.tenant(), 0, usize::MAX).await;
    let lines = entries.unwrap().into_iter();
    lines.map(|line| String::from_utf8(line).unwrap()).collect()
}

async fn put(house: &House, record: Record, expected: Expected) {
    let index = Vec::new();
    let change = Change::PutRecord {
        record,
        index,
        expected,
    };
    let set = ChangeSet::new(house.tenant(), house.gate.now()).with(change);
    house.doors.store.commit(set).await.unwrap();
}

fn form<'s>(key: RecordKey, revision: u64, schema: &'s Schema, cast: &Cast) -> Form<'s> {
    Form {
        key,
        matter: Some(cast.matter),
        schema,
        class: class().id(),
        revision,
        minor: false,
    }
}

fn class() -> PolicyClass {
    let text =
        r#"{"purposes":{"representation":"contract"},"origin":"direct","retention":"CASE.FILE"}"#;
    serde_json::from_str(text).unwrap()
}

fn family_name(schema: &Schema) -> Fields {
    let mut fields = Fields::new();
    let value = "Qzxcanary".to_owned();
    fields.set(schema, "family_name", value).unwrap();
    fields
}

/// A store that lets somebody else go on at each call.
#[derive(Debug)]
struct Yielding(Arc<dyn Store>);

#[async_trait]
impl Store for Yielding {
    async fn commit(&self, change: ChangeSet) -> Result<Committed> {
        tokio::task::yield_now().await;
        self.0.commit(change).await
    }
    async fn record(&self, key: &RecordKey) -> Result<Option<Record>> {
        tokio::task::yield_now().await;
        self.0.record(key).await
    }
    async fn records(&self, query: &RecordQuery) -> Result<Vec<Record>> {
        tokio::task::yield_now().await;
        self.0.records(query).await
    }
    async fn placements(&self, query: &PlacementQuery) -> Result<Vec<Placement>> {
        tokio::task::yield_now().await;
        self.0.placements(query).await
    }
    async fn holds(&self, query: &HoldQuery) -> Result<Vec<Hold>> {
        self.0.holds(query).await
    }
    async fn sheets(&self, query: &SheetQuery) -> Result<Vec<Sheet>> {
        tokio::task::yield_now().await;
        self.0.sheets(query).await
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

async fn everything_opens(house: &House, cast: &Cast) {
    let schema = Schema::person();
    let paralegal = session(house, Role::Paralegal, Purpose::Representation);
    for (number, subject) in cast.people.into_iter().enumerate() {
        let permit = paralegal
            .permit(Act::Open, whole(subject, cast))
            .await
            .unwrap();
        let name = FieldName::fixed("email");
        let value = Pii::new(email(number));
        let mut found = Vec::new();
        for tag in house
            .sealer
            .search_tags(&schema, &name, &value)
            .await
            .unwrap()
        {
            let query =
                RecordQuery::all(house.tenant(), RecordBy::Tag(name.clone(), tag)).page(None, 10);
            found.extend(house.doors.store.records(&query).await.unwrap());
        }
        assert_eq!(found.len(), 1, "person {number} is found once");
        assert_eq!(found[0].key.subject, subject);
        let fields = house.sealer.open(&found[0], &permit).await.unwrap();
        assert_eq!(
            fields.field("family_name").unwrap().expose(&permit),
            "Qzxcanary"
        );
        let sealed = house
            .doors
            .blobs
            .stream(&blob(house, subject), &permit)
            .await
            .unwrap();
        let expected = (PAGE.len() as u64, Digest::of(PAGE), MediaType::text());
        let place = place(subject, cast);
        let page = house
            .sealer
            .open_content(&place, expected, sealed, &permit)
            .await
            .unwrap();
        let page = page.collect(1 << 20, &permit).await.unwrap();
        assert_eq!(page.expose(&permit), PAGE);
    }
}

async fn sealed(house: &House, cast: &Cast) -> Vec<Record> {
    let mut records = Vec::new();
    for subject in cast.people {
        let key = record_key(house, subject);
        records.push(house.doors.store.record(&key).await.unwrap().unwrap());
    }
    records
}

fn generations(record: &Record) -> Vec<u32> {
    let sealed = record.fields.values().map(|field| field.sealed.as_bytes());
    let mut all: Vec<_> = sealed
        .map(|bytes| Envelope::parse(bytes).unwrap().generation())
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn whole(subject: SubjectId, cast: &Cast) -> Scope {
    Scope::over([subject], [Category::Identity, Category::Case]).in_matter(cast.matter)
}

fn record_key(house: &House, subject: SubjectId) -> RecordKey {
    RecordKey {
        tenant: house.tenant(),
        subject,
        record: RecordId::derived(&[b"record", subject.as_bytes()]),
    }
}

fn place(subject: SubjectId, cast: &Cast) -> ContentPlace {
    ContentPlace {
        subject,
        matter: Some(cast.matter),
        document: DocumentId::derived(&[subject.as_bytes()]),
        category: Category::Case,
    }
}

fn placed(house: &House, subject: SubjectId, cast: &Cast) -> Placement {
    let place = place(subject, cast);
    Placement {
        tenant: house.tenant(),
        id: PlacementId::derived(&[subject.as_bytes()]),
        subject,
        matter: place.matter,
        system: Placement::BLOBS,
        kind: PlacementKind::Blob,
        of: CopyOf::Document(place.document),
        category: place.category,
        locator: None,
        state: PlacementState::Present,
        since: house.gate.now(),
    }
}

fn blob(house: &House, subject: SubjectId) -> BlobId {
    BlobId {
        tenant: house.tenant(),
        subject,
        document: DocumentId::derived(&[subject.as_bytes()]),
    }
}

fn email(number: usize) -> String {
    format!("person{number}@qzx-canary.example")
}

const PAGE: &[u8] = b"a page about somebody, invented, Qzxcanary";
