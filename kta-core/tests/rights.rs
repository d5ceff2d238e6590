//! What a person demands of the use of data holds for every record, those that are yet to be
//! written among them, and a change of law leaves it standing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "the tests of the whole road use the rest")]
mod road;

use std::collections::BTreeSet;

use kta_core::audit::Label;
use kta_core::id::SubjectId;
use kta_core::memory::MemoryPorts;
use kta_core::pii::{Category, Record};
use kta_core::pipeline::{House, govern, manage, rights};
use kta_core::policy::{Act, PolicyClass, Purpose, Role, Scope};
use kta_core::ports::store::{RecordBy, RecordQuery};
use kta_core::{Code, FaultKind, Result};

use road::{Cast, ports, session};

#[tokio::test]
async fn an_objection_closes_every_record_of_the_person_and_of_nobody_else() {
    let (ports, cast) = ports(31).await;
    let house = whole(&ports, &cast).await;
    let dpo = session(&house, Role::Dpo, Purpose::Compliance);
    let (person, other) = (cast.people[0], cast.people[1]);
    let many = records(&house, person).await.len() as u64;
    let purpose = Purpose::Representation;

    let moved = rights::object(&house, &dpo, person, purpose).await;
    assert_eq!(moved.unwrap(), many);
    assert_eq!(
        refused(open(&house, &cast, person, purpose).await),
        Code::PrcRestricted
    );
    open(&house, &cast, person, Purpose::Filing).await.unwrap();
    open(&house, &cast, other, purpose).await.unwrap();
    let log = log(&ports, &house).await;
    let noted = |word: &str| {
        let said = |it: &&String| it.contains(word) && it.contains(&person.to_string());
        log.iter().filter(said).count()
    };
    assert_eq!((noted("\"object\""), noted("\"reclass\"")), (1, 1));

    // Again: nothing, and nothing more on the log but the permit.
    let again = rights::object(&house, &dpo, person, purpose).await;
    assert_eq!(again.unwrap(), 0);

    let back = rights::withdraw(&house, &dpo, person, purpose).await;
    assert_eq!(back.unwrap(), many);
    open(&house, &cast, person, purpose).await.unwrap();
}

#[tokio::test]
async fn an_objection_binds_what_is_yet_to_be_written() {
    let (ports, cast) = ports(32).await;
    let house = ports.open().await.unwrap();
    road::found(&house, &cast).await.unwrap();
    let dpo = session(&house, Role::Dpo, Purpose::Compliance);
    let person = cast.people[0];
    let moved = rights::object(&house, &dpo, person, Purpose::Marketing).await;
    assert_eq!(moved.unwrap(), 0, "there is nothing yet");
    road::until_transmitted(&ports, &house, &cast)
        .await
        .unwrap();
    for record in records(&house, person).await {
        let class = house.gate.class(record.class).await.unwrap().unwrap();
        assert_eq!(class.objections, BTreeSet::from([Purpose::Marketing]));
    }
    for record in records(&house, cast.people[1]).await {
        let class = house.gate.class(record.class).await.unwrap().unwrap();
        assert!(class.objections.is_empty());
    }
}

#[tokio::test]
async fn an_objection_stands_when_the_law_changes_and_in_a_second_matter() {
    let (ports, cast) = ports(33).await;
    let house = whole(&ports, &cast).await;
    let dpo = session(&house, Role::Dpo, Purpose::Compliance);
    let (person, other) = (cast.people[0], cast.people[1]);
    let purpose = Purpose::Representation;
    let before = reviewed(&house, other).await.class;
    rights::object(&house, &dpo, person, purpose).await.unwrap();

    let class = house.gate.class(before).await.unwrap().unwrap();
    let mut to = (*class).clone();
    to.sharing.insert(Label::fixed("agency"));
    let superseded = govern::supersede(&house, &dpo, before, to.clone()).await;
    assert_eq!(
        superseded.unwrap(),
        2,
        "the class, and the one of who objected"
    );
    assert_eq!(reviewed(&house, other).await.class, to.id());
    let objected = PolicyClass {
        objections: BTreeSet::from([purpose]),
        ..to.clone()
    };
    assert_eq!(reviewed(&house, person).await.class, objected.id());
    assert_eq!(
        refused(open(&house, &cast, person, purpose).await),
        Code::PrcRestricted
    );
    // What is put under the old class now is under the new law too.
    assert_eq!(govern::governing(&house, &class).await.unwrap(), to);
    let again = govern::supersede(&house, &dpo, before, to.clone()).await;
    assert_eq!(again.unwrap(), 2);

    rights::restrict(&house, &dpo, person, true).await.unwrap();
    road::second_matter(&ports, &house, &cast).await;
    let woken = ports.open().await.unwrap();
    manage::wake(&woken).await.unwrap();
    assert!(woken.gate.directory(|it| it.restricted.contains(&person)));
    rights::object(
        &woken,
        &session(&woken, Role::Dpo, Purpose::Compliance),
        person,
        purpose,
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn who_is_restricted_is_processed_for_the_laws_purposes_only_until_it_is_lifted() {
    let (ports, cast) = ports(34).await;
    let house = whole(&ports, &cast).await;
    let dpo = session(&house, Role::Dpo, Purpose::Compliance);
    let (person, purpose) = (cast.people[0], Purpose::Representation);
    rights::restrict(&house, &dpo, person, true).await.unwrap();
    rights::restrict(&house, &dpo, person, true).await.unwrap();
    assert_eq!(
        refused(open(&house, &cast, person, purpose).await),
        Code::PrcRestricted
    );
    open(&house, &cast, cast.people[1], purpose).await.unwrap();
    rights::restrict(&house, &dpo, person, false).await.unwrap();
    open(&house, &cast, person, purpose).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_demanded_or_governed_is_refused() {
    let (ports, cast) = ports(35).await;
    let house = whole(&ports, &cast).await;
    let dpo = session(&house, Role::Dpo, Purpose::Compliance);
    let person = cast.people[0];
    for purpose in Purpose::LEGAL {
        let refusal = rights::object(&house, &dpo, person, *purpose).await;
        assert_eq!(refused(refusal), Code::PrcPurpose);
    }
    let nobody = SubjectId::derived(&[b"nobody"]);
    let unknown = rights::object(&house, &dpo, nobody, Purpose::Marketing).await;
    assert_eq!(refused(unknown), Code::AclDeny);
    let paralegal = session(&house, Role::Paralegal, Purpose::Representation);
    let denied = rights::restrict(&house, &paralegal, person, true).await;
    assert_eq!(refused(denied), Code::AclDeny);

    let before = reviewed(&house, person).await.class;
    let class = house.gate.class(before).await.unwrap().unwrap();
    let other = |amend: fn(&mut PolicyClass)| {
        let mut to = (*class).clone();
        amend(&mut to);
        to
    };
    let without_schedule = other(|it| it.retention = Label::fixed("NO.SCHEDULE"));
    let with_objection = other(|it| it.objections.extend([Purpose::Marketing]));
    for (to, code) in [
        (without_schedule, Code::RetUnclassed),
        (with_objection, Code::PrcRestricted),
    ] {
        let outcome = govern::supersede(&house, &dpo, before, to).await;
        assert_eq!(refused(outcome), code);
    }
    let unknown = without(&class, Purpose::Filing).id();
    let outcome = govern::supersede(&house, &dpo, unknown, (*class).clone()).await;
    assert_eq!(refused(outcome), Code::RetUnclassed);
    // Superseded already, by another.
    let first = without(&class, Purpose::Filing);
    govern::supersede(&house, &dpo, before, first)
        .await
        .unwrap();
    let second = other(|it| it.sharing.extend([Label::fixed("agency")]));
    let outcome = govern::supersede(&house, &dpo, before, second).await;
    let fault = outcome.unwrap_err();
    assert_eq!(fault.fault().unwrap().kind(), FaultKind::Conflict);
}

fn without(class: &PolicyClass, purpose: Purpose) -> PolicyClass {
    let mut to = class.clone();
    to.purposes.remove(&purpose);
    to
}

async fn whole(ports: &MemoryPorts, cast: &Cast) -> House {
    let house = ports.open().await.unwrap();
    road::until_transmitted(ports, &house, cast).await.unwrap();
    house
}

async fn open(house: &House, cast: &Cast, person: SubjectId, purpose: Purpose) -> Result<()> {
    let session = session(house, Role::Paralegal, purpose);
    let scope = Scope::over([person], [Category::Identity, Category::Case]).in_matter(cast.matter);
    let permit = session.permit(Act::Open, scope).await?;
    let record = reviewed(house, person).await;
    house.sealer.open(&record, &permit).await.map(drop)
}

async fn records(house: &House, person: SubjectId) -> Vec<Record> {
    let query = RecordQuery::all(house.tenant(), RecordBy::Subject(person));
    house.doors.store.records(&query).await.unwrap()
}

/// The person's reviewed record: one that belongs to a matter.
async fn reviewed(house: &House, person: SubjectId) -> Record {
    let mut records = records(house, person).await.into_iter();
    records.find(|record| record.matter.is_some()).unwrap()
}

async fn log(ports: &MemoryPorts, house: &House) -> Vec<String> {
    use kta_core::ports::store::Ledger as _;
    let entries = ports.store.entries(house.tenant(), 0, usize::MAX).await;
    let entries = entries.unwrap().into_iter();
    entries
        .map(|entry| String::from_utf8(entry).unwrap())
        .collect()
}

fn refused<T>(result: Result<T>) -> Code {
    let error = result.err().expect("a refusal");
    error.refusal().expect("a refusal").code()
}
