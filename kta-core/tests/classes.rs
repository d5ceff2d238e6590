//! What governs a record is asked whenever it is opened and whenever its retention is judged.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "the tests of the whole road use the rest")]
mod road;

use std::collections::BTreeSet;

use kta_core::audit::Label;
use kta_core::id::{Digest, SubjectId};
use kta_core::memory::MemoryPorts;
use kta_core::pii::{Category, FieldGroup, Record};
use kta_core::pipeline::{House, retain};
use kta_core::policy::{Act, PolicyClass, Purpose, Role, Scope};
use kta_core::ports::store::{Change, ChangeSet, RecordBy, RecordQuery};
use kta_core::{Code, Result};

use road::{Cast, ports, session};

#[tokio::test]
async fn a_record_is_opened_for_what_its_class_admits_and_a_no_is_logged() {
    let (ports, cast) = ports(21).await;
    let house = ports.open().await.unwrap();
    road::until_transmitted(&ports, &house, &cast)
        .await
        .unwrap();
    let (class, id) = class_of(&house, cast.people[0]).await;
    open(&house, &cast, Purpose::Representation).await.unwrap();

    let mut objected = class.clone();
    objected.objections = BTreeSet::from([Purpose::Representation, Purpose::Compliance]);
    supersede(&house, id, &objected).await;
    assert_eq!(
        refused(open(&house, &cast, Purpose::Representation).await),
        Code::PrcRestricted
    );
    open(&house, &cast, Purpose::Filing).await.unwrap();

    let mut without = class.clone();
    without.purposes.remove(&Purpose::Representation);
    supersede(&house, objected.id(), &without).await;
    assert_eq!(
        refused(open(&house, &cast, Purpose::Representation).await),
        Code::PrcPurpose
    );
    open(&house, &cast, Purpose::Compliance).await.unwrap();

    let log = log(&ports, &house).await;
    for (code, class) in [
        (Code::PrcRestricted, objected.id()),
        (Code::PrcPurpose, without.id()),
    ] {
        let said =
            |entry: &&String| entry.contains(code.as_str()) && entry.contains(&class.to_string());
        let entry = log.iter().find(said).unwrap();
        assert!(entry.contains(&cast.people[0].to_string()), "{entry}");
    }
}

#[tokio::test]
async fn a_record_of_an_unknown_class_opens_for_what_the_law_gives_only() {
    let (ports, cast) = ports(22).await;
    let house = ports.open().await.unwrap();
    road::until_transmitted(&ports, &house, &cast)
        .await
        .unwrap();
    let mut record = reviewed(&house, cast.people[0]).await;
    record.class = Digest::of(b"a class that nobody interned");
    let open = async |purpose| {
        let session = session(&house, Role::Paralegal, purpose);
        let permit = session.permit(Act::Open, scope(&cast)).await.unwrap();
        house.sealer.open(&record, &permit).await.map(drop)
    };
    assert_eq!(
        refused(open(Purpose::Representation).await),
        Code::PrcPurpose
    );
    open(Purpose::Retention).await.unwrap();
}

#[tokio::test]
async fn a_set_is_opened_whole_with_one_entry_or_not_at_all() {
    let (ports, cast) = ports(23).await;
    let house = ports.open().await.unwrap();
    road::until_transmitted(&ports, &house, &cast)
        .await
        .unwrap();
    let paralegal = session(&house, Role::Paralegal, Purpose::Representation);
    let people = [cast.people[0], cast.people[1]];
    let scope = Scope::over(people, [Category::Identity, Category::Case]).in_matter(cast.matter);
    let permit = paralegal.permit(Act::Open, scope).await.unwrap();
    let set = [
        reviewed(&house, people[0]).await,
        reviewed(&house, people[1]).await,
    ];

    let before = log(&ports, &house).await.len();
    let opened = house.sealer.open_all(&set, &permit).await.unwrap();
    for (record, fields) in set.iter().zip(&opened) {
        let names = record.fields.keys().flat_map(FieldGroup::names);
        assert!(fields.iter().map(|(name, _)| name).eq(names));
        assert_eq!(
            fields.field("family_name").unwrap().expose(&permit),
            "Qzxcanary"
        );
    }
    let entries = log(&ports, &house).await.split_off(before);
    let [entry] = &entries[..] else {
        panic!("not one entry")
    };
    let bytes: Vec<u8> = set
        .iter()
        .flat_map(|record| {
            let revision = record.revision.to_be_bytes();
            [&record.key.record.as_bytes()[..], &revision].concat()
        })
        .collect();
    assert!(entry.contains(&Digest::of(&bytes).to_string()), "{entry}");
    assert!(!entry.contains(&people[0].to_string()), "{entry}");

    let one = house.sealer.open_all(&set[..1], &permit).await.unwrap();
    assert_eq!(one.len(), 1);
    let last = log(&ports, &house).await.pop().unwrap();
    assert!(last.contains(&people[0].to_string()), "{last}");

    let mut bad = set.clone();
    bad[1].class = Digest::of(b"a class that nobody interned");
    let before = log(&ports, &house).await.len();
    assert_eq!(
        refused(house.sealer.open_all(&bad, &permit).await),
        Code::PrcPurpose
    );
    let entries = log(&ports, &house).await.split_off(before);
    assert!(entries.iter().all(|entry| entry.contains("PRC-PURPOSE")));
    let other = Scope::of(people[0], Category::Identity).in_matter(cast.matter);
    let narrow = paralegal.permit(Act::Open, other).await.unwrap();
    assert_eq!(
        refused(house.sealer.open_all(&set, &narrow).await),
        Code::AclDeny
    );
}

#[tokio::test]
async fn retention_is_judged_by_the_class_that_governs_now() {
    let (ports, cast) = ports(24).await;
    let house = ports.open().await.unwrap();
    road::until_approved(&ports, &house, &cast).await.unwrap();
    let service = session(&house, Role::ServiceRetention, Purpose::Retention);
    let nexus = retain::Nexus::default();
    let judged = retain::reconsider(&house, &service, cast.matter, &nexus)
        .await
        .unwrap();
    let class = |retained: &retain::Retained| retained.evaluations()[&cast.people[0]].class.clone();
    assert_eq!(class(&judged), Label::fixed("CASE.FILE"));

    let (governing, id) = class_of(&house, cast.people[0]).await;
    let successor = PolicyClass {
        retention: Label::fixed("NO.SCHEDULE"),
        ..governing
    };
    supersede(&house, id, &successor).await;
    let judged = retain::reconsider(&house, &service, cast.matter, &nexus).await;
    assert_eq!(refused(judged), Code::RetUnclassed);
}

async fn open(house: &House, cast: &Cast, purpose: Purpose) -> Result<()> {
    let session = session(house, Role::Paralegal, purpose);
    let permit = session.permit(Act::Open, scope(cast)).await?;
    let record = reviewed(house, cast.people[0]).await;
    house.sealer.open(&record, &permit).await.map(drop)
}

fn scope(cast: &Cast) -> Scope {
    Scope::over([cast.people[0]], [Category::Identity, Category::Case]).in_matter(cast.matter)
}

async fn supersede(house: &House, from: Digest, to: &PolicyClass) {
    let change = Change::Supersede {
        from,
        to: to.clone(),
    };
    let set = ChangeSet::new(house.tenant(), house.gate.now()).with(change);
    house.doors.store.commit(set).await.unwrap();
}

async fn class_of(house: &House, person: SubjectId) -> (PolicyClass, Digest) {
    let id = reviewed(house, person).await.class;
    let class = house.gate.class(id).await.unwrap().unwrap();
    ((*class).clone(), id)
}

/// The person's reviewed record: the one that belongs to a matter.
async fn reviewed(house: &House, person: SubjectId) -> Record {
    let query = RecordQuery::all(house.tenant(), RecordBy::Subject(person));
    let records = house.doors.store.records(&query).await.unwrap();
    records
        .into_iter()
        .find(|record| record.matter.is_some())
        .unwrap()
}

async fn log(ports: &MemoryPorts, house: &House) -> Vec<String> {
    use kta_core::ports::store::Ledger as _;
    let entries = ports
        .store
        .entries(house.tenant(), 0, usize::MAX)
        .await
        .unwrap();
    entries
        .into_iter()
        .map(|entry| String::from_utf8(entry).unwrap())
        .collect()
}

fn refused<T>(result: Result<T>) -> Code {
    let error = result.err().expect("a refusal");
    error.refusal().expect("a refusal").code()
}
