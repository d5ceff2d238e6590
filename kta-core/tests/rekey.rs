//! Fresh keys for everybody: nothing lost, nothing left, whatever dies when.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "the tests of the whole road use the rest")]
mod road;

use kta_core::Code;
use kta_core::crypto::{Envelope, Hierarchy};
use kta_core::id::{Digest, DocumentId, RecordId, SubjectId};
use kta_core::memory::{FaultPlan, MemoryPorts, Strike};
use kta_core::pii::{
    Category, Content, FieldName, Fields, MediaType, Pii, Record, RecordKey, Schema,
};
use kta_core::pipeline::House;
use kta_core::pipeline::rekey::{Rekeying, Stage, rekey, under_way};
use kta_core::policy::{Act, ContentPlace, Form, Purpose, Role, Scope};
use kta_core::ports::BlobId;
use kta_core::ports::store::{Change, ChangeSet, Expected, RecordBy, RecordQuery, Store as _};

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
    let done = rekey(&house, &ciso, &mut |step| told.push(step.clone()))
        .await
        .unwrap();
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
                for _ in 0..2 {
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

/// A house with a record and a document of each of five people.
async fn filled(seed: u64) -> (MemoryPorts, Cast) {
    let (ports, cast) = ports(seed).await;
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
            class: Digest::of(b"invented class"),
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
        let placed = kta_core::pii::Placement {
            tenant: house.tenant(),
            id: kta_core::id::PlacementId::derived(&[subject.as_bytes()]),
            subject,
            matter: Some(cast.matter),
            system: kta_core::pii::Placement::BLOBS,
            kind: kta_core::pii::PlacementKind::Blob,
            of: kta_core::pii::placement::CopyOf::Document(place.document),
            category: place.category,
            locator: None,
            state: kta_core::pii::PlacementState::Present,
            since: house.gate.now(),
        };
        let change = ChangeSet::new(house.tenant(), house.gate.now());
        let change = change.with(put).with(Change::PutPlacement(placed));
        ports.store.commit(change).await.unwrap();
    }
    (ports, cast)
}

async fn to_the_end(ports: &MemoryPorts, house: &House) -> Rekeying {
    let ciso = session(house, Role::Ciso, Purpose::Compliance);
    let first = rekey(house, &ciso, &mut |_| ()).await.unwrap();
    if first.stage == Stage::Done {
        return first;
    }
    ports.clock.set(house.gate.now() + Hierarchy::HELD);
    rekey(house, &ciso, &mut |_| ()).await.unwrap()
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
            let query = RecordQuery {
                tenant: house.tenant(),
                by: RecordBy::Tag(name.clone(), tag),
                after: None,
                limit: 10,
            };
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
