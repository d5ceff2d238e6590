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
use kta_core::pipeline::{House, collaborate, govern, manage, retain, rights, store};
use kta_core::policy::{Act, PolicyClass, Purpose, Role, Scope};
use kta_core::ports::store::{RecordBy, RecordQuery};
use kta_core::retention::Outcome;
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
async fn an_objection_closes_the_documents_of_who_has_a_record_and_of_who_has_none() {
    for who in [0, 4] {
        let (ports, cast) = ports(43).await;
        let house = ports.open().await.unwrap();
        let processed = road::until_processed(&ports, &house, &cast).await.unwrap();
        let person = cast.people[who];
        let has_record = !records(&house, person).await.is_empty();
        assert_eq!(has_record, who == 0);
        let dpo = session(&house, Role::Dpo, Purpose::Compliance);
        let purpose = Purpose::Representation;
        rights::object(&house, &dpo, person, purpose).await.unwrap();

        let paralegal = session(&house, Role::Paralegal, purpose);
        let outcome = store::store(&house, &paralegal, processed).await;
        assert_eq!(refused(outcome), Code::PrcRestricted);
        let log = log(&ports, &house).await;
        let said = ["PRC-RESTRICTED", "\"document\"", &person.to_string()];
        let noted = |entry: &&String| said.iter().all(|word| entry.contains(word));
        assert_eq!(log.iter().filter(noted).count(), 1);

        rights::withdraw(&house, &dpo, person, purpose)
            .await
            .unwrap();
        road::until_transmitted(&ports, &house, &cast)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_new_law_governs_the_documents_of_who_has_no_record() {
    let (ports, cast) = ports(44).await;
    let house = ports.open().await.unwrap();
    let processed = road::until_processed(&ports, &house, &cast).await.unwrap();
    let paralegal = session(&house, Role::Paralegal, Purpose::Representation);
    let attorney = session(&house, Role::Attorney, Purpose::Representation);
    let stored = store::store(&house, &paralegal, processed).await.unwrap();
    let mut shared = collaborate::collaborate(&house, stored).await.unwrap();
    let dpo = session(&house, Role::Dpo, Purpose::Compliance);
    let before = reviewed(&house, cast.people[0]).await.class;
    let class = house.gate.class(before).await.unwrap().unwrap();
    let narrow = without(&class, Purpose::Representation);
    let mut wide = (*class).clone();
    wide.sharing.insert(Label::fixed("employer"));
    for (from, to, admitted) in [(before, &narrow, false), (narrow.id(), &wide, true)] {
        govern::supersede(&house, &dpo, from, to.clone())
            .await
            .unwrap();
        let wish = road::letter_to_employer(&shared).unwrap();
        let outcome = collaborate::share(&house, &attorney, &mut shared, wish).await;
        if admitted {
            outcome.unwrap();
        } else {
            assert_eq!(refused(outcome), Code::PrcPurpose);
        }
    }
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
        (without_schedule.clone(), Code::PolSign),
        (with_objection, Code::PrcRestricted),
    ] {
        let outcome = govern::supersede(&house, &dpo, before, to).await;
        assert_eq!(refused(outcome), code);
    }
    let officer = session(&house, Role::Records, Purpose::Compliance);
    let outcome =
        govern::supersede_retention(&house, &dpo, &officer, before, without_schedule).await;
    assert_eq!(refused(outcome), Code::RetUnclassed);
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

#[tokio::test]
async fn whose_file_is_kept_beyond_its_maximum_is_restricted_without_anybody_asking() {
    let (ports, cast) = ports(39).await;
    let mut house = ports.open().await.unwrap();
    let class = Label::fixed("CASE.FILE");
    let schedule = house.schedules.get_mut(&class).unwrap();
    let mut storage = schedule.rules[0].clone();
    storage.id = Label::fixed("memory.storage");
    storage.ceiling = storage.floor.take();
    storage.ceiling.as_mut().unwrap().of.truncate(1);
    storage.ceiling.as_mut().unwrap().of[0].add = "P1Y".parse().unwrap();
    schedule.rules.push(storage);
    let sent = road::until_transmitted(&ports, &house, &cast)
        .await
        .unwrap();
    let second = road::second_matter(&ports, &house, &cast).await;
    let attorney = session(&house, Role::Attorney, Purpose::Representation);
    manage::close_matter(
        &house,
        &attorney,
        cast.matter,
        "2026-12-31".parse().unwrap(),
    )
    .await
    .unwrap();
    let evaluate = async |house: &House, sent| {
        let service = session(house, Role::ServiceRetention, Purpose::Retention);
        let nexus = retain::Nexus::default();
        match sent {
            Some(sent) => retain::retain(house, &service, sent, &nexus).await,
            None => retain::reconsider(house, &service, cast.matter, &nexus).await,
        }
    };
    ports.clock.set("2028-06-01T09:00:00Z".parse().unwrap());
    let kept = evaluate(&house, Some(sent)).await.unwrap();
    let kept = &kept.evaluations()[&cast.people[0]].outcome;
    assert!(matches!(kept, Outcome::KeepRestricted { .. }));
    let restricted = |house: &House| house.gate.directory(|all| all.restricted.clone());
    // The children of the first matter have no other under these ids; the parents have.
    assert_eq!(
        restricted(&house),
        BTreeSet::from([cast.people[2], cast.people[3]])
    );
    let refused = open(&house, &cast, cast.people[2], Purpose::Representation).await;
    assert_eq!(self::refused(refused), Code::PrcRestricted);
    open(&house, &cast, cast.people[0], Purpose::Representation)
        .await
        .unwrap();
    // The last matter on which the firm was at work is closed.
    house.gate.amend_directory(|all| {
        let matter = all.matters.get_mut(&second.matter).unwrap();
        matter.state = kta_core::pii::MatterState::Closed;
    });
    evaluate(&house, None).await.unwrap();
    assert_eq!(restricted(&house).len(), 5);
    // A restart forgets nothing, and a second evaluation says nothing new.
    let again = ports.open().await.unwrap();
    manage::wake(&again).await.unwrap();
    assert_eq!(restricted(&again).len(), 5);
    let noted = async || {
        let log = log(&ports, &house).await;
        log.iter().filter(|it| it.contains("\"restrict\"")).count()
    };
    let before = noted().await;
    evaluate(&house, None).await.unwrap();
    assert_eq!((before, noted().await), (5, 5));
}

#[tokio::test]
async fn another_retention_class_takes_two_people() {
    let (ports, cast) = ports(40).await;
    let mut house = whole(&ports, &cast).await;
    let shorter = Label::fixed("CASE.PROSPECT");
    let schedule = house.schedules[&Label::fixed("CASE.FILE")].clone();
    house.schedules.insert(shorter.clone(), schedule);
    let dpo = session(&house, Role::Dpo, Purpose::Compliance);
    let officer = session(&house, Role::Records, Purpose::Compliance);
    let before = reviewed(&house, cast.people[0]).await.class;
    let class = house.gate.class(before).await.unwrap().unwrap();
    let to = PolicyClass {
        retention: shorter.clone(),
        ..(*class).clone()
    };
    let alone = govern::supersede(&house, &dpo, before, to.clone()).await;
    assert_eq!(refused(alone), Code::PolSign);
    let same = govern::supersede_retention(&house, &dpo, &dpo, before, to.clone()).await;
    assert_eq!(refused(same), Code::DspSelf);
    govern::supersede_retention(&house, &dpo, &officer, before, to.clone())
        .await
        .unwrap();
    assert_eq!(reviewed(&house, cast.people[0]).await.class, to.id());
}

#[tokio::test]
async fn retention_is_judged_by_schedules_that_two_people_put_in_force() {
    let (ports, cast) = ports(41).await;
    let mut house = ports.open().await.unwrap();
    // The first ones come in force by being used.
    road::until_approved(&ports, &house, &cast).await.unwrap();
    let class = Label::fixed("CASE.FILE");
    let days = |house: &mut House| {
        let rule = &mut house.schedules.get_mut(&class).unwrap().rules[0];
        for bound in &mut rule.floor.as_mut().unwrap().of {
            bound.add = "P7D".parse().unwrap();
        }
    };
    days(&mut house);
    let nexus = retain::Nexus::default();
    let judge = async |house: &House| {
        let service = session(house, Role::ServiceRetention, Purpose::Retention);
        retain::reconsider(house, &service, cast.matter, &nexus).await
    };
    assert_eq!(refused(judge(&house).await), Code::RetPack);
    let dpo = session(&house, Role::Dpo, Purpose::Compliance);
    let officer = session(&house, Role::Records, Purpose::Compliance);
    let clerk = session(&house, Role::Paralegal, Purpose::Compliance);
    assert_eq!(
        refused(govern::enact(&house, &dpo, &dpo).await),
        Code::DspSelf
    );
    assert_eq!(
        refused(govern::enact(&house, &clerk, &dpo).await),
        Code::AclDeny
    );
    assert_eq!(refused(judge(&house).await), Code::RetPack);
    let enacted = govern::enact(&house, &dpo, &officer).await.unwrap();
    judge(&house).await.unwrap();
    let log = log(&ports, &house).await;
    let noted = |it: &&String| it.contains("approved_by") && it.contains(&enacted.to_string());
    assert_eq!(log.iter().filter(noted).count(), 1);
    // A house that starts with the old ones again does not judge by them.
    let again = ports.open().await.unwrap();
    manage::wake(&again).await.unwrap();
    assert_eq!(refused(judge(&again).await), Code::RetPack);
}
