//! To whoever stands before a wall nothing behind it exists: lists, counts, searches, what is
//! handed out, the view of the log, and every refusal are those of a house without it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "the tests of the whole road use the rest")]
mod road;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use chrono::TimeDelta;
use kta_core::audit::Label;
use kta_core::error::Error;
use kta_core::id::{ActorId, HoldId, MatterId, PermitId, SubjectId};
use kta_core::pii::{Category, FieldName, Pii, Schema};
use kta_core::pipeline::look::{self, View};
use kta_core::pipeline::{House, manage, retain, rights};
use kta_core::policy::{Act, Actor, Emergency, GlassFinding, Purpose, Role, Scope, Session};
use kta_core::steward::glass;
use kta_core::{Code, Result};

use road::Cast;

/// Somebody in every role, new in the firm, walled off the matter from the first day.
fn late() -> ActorId {
    ActorId::derived(&[b"late"])
}

async fn behind_a_wall(seed: u64) -> (House, Cast) {
    let (ports, cast) = road::ports(seed).await;
    let house = ports.open().await.unwrap();
    road::until_transmitted(&ports, &house, &cast)
        .await
        .unwrap();
    let ciso = road::session(&house, Role::Ciso, Purpose::Compliance);
    let actor = Actor {
        roles: BTreeSet::from(Role::ALL),
        ..Actor::new(late(), Role::Dpo).trained_until("2099-01-01".parse().unwrap())
    };
    manage::list_actor(&house, &ciso, actor).await.unwrap();
    let attorney = road::session(&house, Role::Attorney, Purpose::Representation);
    let mut other = house
        .gate
        .directory(|all| all.matters[&cast.matter].clone());
    other.id = MatterId::derived(&[b"on this side"]);
    let party = *other.parties.values().next().unwrap();
    other.parties = BTreeMap::from([(SubjectId::derived(&[b"somebody seen"]), party)]);
    manage::open_matter(&house, &attorney, other, &[])
        .await
        .unwrap();
    // Before the wall the actor sees all of it.
    let dpo = house.session(late(), Role::Dpo, Purpose::Compliance);
    assert_eq!(look::matters(&house, &dpo).await.unwrap().len(), 2);
    assert_eq!(look::count(&house, &dpo).await.unwrap().people, 6);
    assert!(found(&house, &dpo, None, "XQ9900001").await.unwrap() > 0);
    let all = look::export(&house, &dpo, cast.people[0], None, &[Category::Identity]);
    let all = all.await.unwrap();
    assert!(!all.records.is_empty() && !all.placements.is_empty());
    let wall = |matter: &mut kta_core::pii::Matter| matter.wall_off(late());
    manage::amend_matter(&house, &attorney, cast.matter, "wall", wall)
        .await
        .unwrap();
    (house, cast)
}

async fn found(
    house: &House,
    session: &Session<'_>,
    within: Option<MatterId>,
    number: &str,
) -> Result<usize> {
    let (schema, field) = (Schema::person(), FieldName::fixed("passport_number"));
    let typed = Pii::new(number.to_owned());
    let hits = look::search(house, session, within, (&schema, &field), &typed).await?;
    Ok(hits.len())
}

/// Every question that may be asked about a matter and a person, and what was said.
async fn said(house: &House, matter: MatterId, person: SubjectId, number: &str) -> Vec<String> {
    fn note(answer: Result<impl Debug>) -> String {
        match answer {
            Ok(answer) => format!("{answer:?}"),
            Err(error) => format!("no: {error}"),
        }
    }
    let in_role = |role| house.session(late(), role, Purpose::Compliance);
    let (dpo, records, counsel) = (
        in_role(Role::Dpo),
        in_role(Role::Records),
        in_role(Role::LegalHold),
    );
    let attorney = house.session(late(), Role::Attorney, Purpose::Representation);
    let retention = house.session(late(), Role::ServiceRetention, Purpose::Retention);
    let nexus = retain::Nexus::default();
    let mut said = Vec::new();
    for session in [&dpo, &records, &attorney] {
        said.push(note(look::matters(house, session).await));
        said.push(note(look::count(house, session).await));
        said.push(note(look::people(house, session, matter).await));
        said.push(note(look::holds(house, session).await));
        said.push(note(found(house, session, None, number).await));
        said.push(note(found(house, session, Some(matter), number).await));
    }
    for within in [None, Some(matter)] {
        for categories in [&[Category::Identity][..], &Category::ALL] {
            let all = look::export(house, &dpo, person, within, categories);
            said.push(note(all.await.map(|all| all.records.len())));
        }
        let scope = Scope::of(person, Category::Identity).in_matter(within);
        let explained = dpo.explain(Act::Open, &scope).await;
        // Outside any matter the policy would let the officer to whoever is not behind a wall.
        said.extend(within.map(|_| note(explained)));
    }
    said.push(note(rights::restrict(house, &dpo, person, true).await));
    said.push(note(
        rights::object(house, &dpo, person, Purpose::Marketing).await,
    ));
    said.push(note(
        rights::withdraw(house, &dpo, person, Purpose::Marketing).await,
    ));
    let alias = SubjectId::derived(&[b"somebody seen"]);
    said.push(note(
        manage::same_person(house, &attorney, person, alias).await,
    ));
    let unhold = HoldId::derived(&[b"no such hold"]);
    said.push(note(manage::release_hold(house, &counsel, unhold).await));
    let closed = manage::close_matter(house, &attorney, matter, "2026-12-31".parse().unwrap());
    said.push(note(closed.await));
    said.push(note(
        retain::reconsider(house, &retention, matter, &nexus).await,
    ));
    said.push(note(
        retain::population(house, &retention, matter, &nexus).await,
    ));
    said
}

/// What the walled actor sees of the log, without the random ids of permits.
async fn seen(house: &House, role: Role, view: &View) -> Result<Vec<String>> {
    let session = house.session(late(), role, Purpose::Compliance);
    let view = look::log(house, &session, view).await?;
    let text = |(_, mut event): (_, kta_core::audit::Event)| {
        event.permit = None;
        serde_json::to_string(&event).unwrap()
    };
    Ok(view.into_iter().map(text).collect())
}

#[tokio::test]
async fn nothing_behind_a_wall_is_told_from_what_does_not_exist() {
    let (house, cast) = behind_a_wall(41).await;
    let nowhere = MatterId::derived(&[b"no such matter"]);
    let nobody = SubjectId::derived(&[b"nobody"]);
    let as_one = |text: &String| {
        text.replace(&cast.matter.to_string(), "M")
            .replace(&nowhere.to_string(), "M")
            .replace(&cast.people[0].to_string(), "P")
            .replace(&nobody.to_string(), "P")
    };
    let from = house.gate.now();
    let walled = said(&house, cast.matter, cast.people[0], "XQ9900001").await;
    let middle = house.gate.now();
    let absent = said(&house, nowhere, nobody, "XQ9911111").await;
    let names: Vec<_> = walled.iter().map(as_one).collect();
    for (number, (one, other)) in names.iter().zip(absent.iter().map(as_one)).enumerate() {
        assert_eq!(*one, other, "question {number}");
    }
    assert!(middle >= from);
    // And nothing happened to the person.
    assert!(
        !house
            .gate
            .directory(|all| all.restricted.contains(&cast.people[0]))
    );

    // The log as the walled actor sees it: the same of both, entry by entry.
    let ever = View {
        matter: None,
        subject: None,
        from: "2020-01-01T00:00:00Z".parse().unwrap(),
        to: "2999-01-01T00:00:00Z".parse().unwrap(),
        limit: usize::MAX,
    };
    let all = seen(&house, Role::Auditor, &ever).await.unwrap();
    let own = |text: &&String| text.contains(&late().to_string());
    let about = |id: &str| {
        let mine = all.iter().filter(own).filter(|text| text.contains(id));
        mine.map(as_one).collect::<Vec<_>>()
    };
    let matter = about(&cast.matter.to_string());
    assert_eq!(matter, about(&nowhere.to_string()));
    assert!(!matter.is_empty());
    // Of what others did in the matter there is nothing, and of what they did elsewhere all.
    for id in [cast.matter.to_string(), cast.people[1].to_string()] {
        let others = all.iter().filter(|text| !own(text));
        assert_eq!(others.filter(|text| text.contains(&id)).count(), 0);
    }
    let free = road::session(&house, Role::Auditor, Purpose::Compliance);
    let truth = look::log(&house, &free, &ever).await.unwrap();
    assert!(truth.len() > all.len());
    let wall = |event: &kta_core::audit::Event| {
        let mut reasons = event.reasons.iter();
        event.matter == Some(cast.matter) && reasons.any(|rule| rule.as_str() == "acl.wall")
    };
    assert!(
        truth.iter().any(|(_, event)| wall(event)),
        "the log says the truth"
    );

    for role in [Role::Auditor, Role::Dpo, Role::Paralegal] {
        let of = async |matter, subject| {
            let view = View {
                matter,
                subject,
                ..ever
            };
            match seen(&house, role, &view).await {
                Ok(seen) => seen.len().to_string(),
                Err(error) => error.to_string(),
            }
        };
        assert_eq!(
            of(Some(cast.matter), None).await,
            of(Some(nowhere), None).await
        );
        let others = of(None, Some(cast.people[1])).await;
        let never = SubjectId::derived(&[b"never asked about"]);
        assert_eq!(others, of(None, Some(never)).await);
    }
}

#[tokio::test]
async fn a_hold_that_covers_what_is_behind_a_wall_is_neither_seen_nor_released() {
    let (house, cast) = behind_a_wall(42).await;
    let reason = Label::fixed("litigation.test");
    let counsel = road::session(&house, Role::LegalHold, Purpose::Compliance);
    let seen = SubjectId::derived(&[b"somebody seen"]);
    let place = async |people: &[SubjectId], matter| {
        let placed = manage::place_hold(&house, &counsel, people, matter, reason.clone());
        placed.await.unwrap().id
    };
    let behind = [
        place(&[], Some(cast.matter)).await,
        place(&[cast.people[0]], None).await,
        place(&[cast.people[0], seen], None).await,
    ];
    let here = place(&[seen], None).await;
    let walled = house.session(late(), Role::LegalHold, Purpose::Compliance);
    let list = look::holds(&house, &walled).await.unwrap();
    let list: BTreeMap<_, _> = list
        .into_iter()
        .map(|hold| (hold.id, hold.subjects))
        .collect();
    let only = BTreeSet::from([seen]);
    assert_eq!(
        list,
        BTreeMap::from([(behind[2], only.clone()), (here, only)])
    );
    for hold in behind {
        let refused = manage::release_hold(&house, &walled, hold).await;
        assert_eq!(code(&refused.unwrap_err()), Code::AclDeny);
    }
    manage::release_hold(&house, &walled, here).await.unwrap();
    assert_eq!(look::holds(&house, &counsel).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_person_behind_a_wall_is_behind_it_under_every_id() {
    let (house, cast) = behind_a_wall(43).await;
    let attorney = road::session(&house, Role::Attorney, Purpose::Representation);
    let seen = SubjectId::derived(&[b"somebody seen"]);
    let dpo = house.session(late(), Role::Dpo, Purpose::Compliance);
    rights::restrict(&house, &dpo, seen, false).await.unwrap();
    manage::same_person(&house, &attorney, cast.people[0], seen)
        .await
        .unwrap();
    let refused = rights::restrict(&house, &dpo, seen, true)
        .await
        .unwrap_err();
    assert_eq!(code(&refused), Code::AclDeny);
    let scope = Scope::of(seen, Category::Identity);
    assert!(dpo.permit(Act::Open, scope).await.is_err());
    // In the matter on this side the person is seen on this side.
    let here = MatterId::derived(&[b"on this side"]);
    assert_eq!(look::people(&house, &dpo, here).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_emergency_owes_a_review_which_somebody_else_gives_once() {
    let (ports, cast) = road::ports(44).await;
    let house = ports.open().await.unwrap();
    road::found(&house, &cast).await.unwrap();
    let ciso = road::session(&house, Role::Ciso, Purpose::Compliance);
    let hero = Actor {
        roles: BTreeSet::from([Role::Attorney, Role::Dpo]),
        ..Actor::new(late(), Role::Attorney).trained_until("2099-01-01".parse().unwrap())
    };
    manage::list_actor(&house, &ciso, hero).await.unwrap();
    assert_eq!(glass::broken(&house, &ciso).await.unwrap(), []);
    let until = house.gate.now() + TimeDelta::hours(1);
    let session = house.session(late(), Role::Attorney, Purpose::Representation);
    let session = session.break_glass(until, Emergency::Detention);
    let scope = Scope::of(cast.people[0], Category::Identity).in_matter(cast.matter);
    let permit = session.permit(Act::Open, scope).await.unwrap().id();
    let owed = glass::broken(&house, &ciso).await.unwrap().remove(0);
    assert_eq!(
        (owed.permit, owed.actor, owed.act),
        (permit, late(), Act::Open)
    );
    assert_eq!(
        (owed.matter, owed.subject),
        (Some(cast.matter), Some(cast.people[0]))
    );
    assert_eq!((owed.until, owed.review), (until, None));
    assert!(!owed.is_overdue(house.gate.now()));
    ports.clock.advance(TimeDelta::days(4));
    assert!(owed.is_overdue(house.gate.now()));
    // Nobody reviews an own emergency, also not as another officer; others have no business here.
    let just = GlassFinding::Justified;
    let own = house.session(late(), Role::Dpo, Purpose::Compliance);
    let refused = glass::review(&house, &own, permit, just).await.unwrap_err();
    assert_eq!(code(&refused), Code::RevSelf);
    let own = house.session(late(), Role::Attorney, Purpose::Representation);
    assert!(glass::review(&house, &own, permit, just).await.is_err());
    let clerk = road::session(&house, Role::Paralegal, Purpose::Compliance);
    assert!(glass::broken(&house, &clerk).await.is_err());
    let refused = glass::review(&house, &clerk, permit, just)
        .await
        .unwrap_err();
    assert_eq!(code(&refused), Code::AclDeny);
    // It outlives the process, and is reviewed once.
    let house = ports.open().await.unwrap();
    manage::wake(&house).await.unwrap();
    let ciso = road::session(&house, Role::Ciso, Purpose::Compliance);
    let reviewed = glass::review(&house, &ciso, permit, just).await.unwrap();
    let review = reviewed.review.unwrap();
    assert_eq!((review.by, review.finding), (ciso.actor(), just));
    assert_eq!(
        glass::broken(&house, &ciso).await.unwrap(),
        std::slice::from_ref(&reviewed)
    );
    assert!(!reviewed.is_overdue(house.gate.now()));
    for again in [permit, PermitId::derived(&[b"none"])] {
        let refused = glass::review(&house, &ciso, again, GlassFinding::Unjustified).await;
        assert_eq!(code(&refused.unwrap_err()), Code::AclDeny);
    }
}

fn code(error: &Error) -> Code {
    error.refusal().unwrap().code()
}
