//! Who is on the list, and what is known of matters: changed by whom it concerns, lost by nobody,
//! and known in every house of the firm that looks again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "the tests of the whole road use the rest")]
mod road;

use kta_core::audit::Label;
use kta_core::id::ActorId;
use kta_core::pii::Matter;
use kta_core::pipeline::{House, manage};
use kta_core::policy::{Act, Actor, Purpose, Role, Scope};
use kta_core::{Code, Result};

use road::{Cast, ports, session};

#[tokio::test]
async fn nobody_but_the_security_officer_lists_anybody_and_nobody_themselves() {
    let (ports, cast) = ports(61).await;
    let house = ports.open().await.unwrap();
    road::found(&house, &cast).await.unwrap();
    let newcomer = |number: u8| Actor::new(ActorId::derived(&[b"new", &[number]]), Role::Ciso);
    for (number, role) in (0..).zip(Role::ALL.iter().copied()) {
        let session = session(&house, role, Purpose::Compliance);
        let listed = manage::list_actor(&house, &session, newcomer(number)).await;
        if role == Role::Ciso {
            listed.unwrap();
        } else {
            assert_eq!(refused(listed), Code::AclDeny, "{role:?}");
        }
        let known = house
            .gate
            .directory(|all| all.actors.contains_key(&newcomer(number).id));
        assert_eq!(known, role == Role::Ciso);
    }
    let ciso = session(&house, Role::Ciso, Purpose::Compliance);
    let mut own = Actor::new(cast.actor(Role::Ciso), Role::Ciso);
    own.roles.insert(Role::Records);
    let listed = manage::list_actor(&house, &ciso, own).await;
    assert_eq!(refused(listed), Code::AclDeny);
    let roles = house
        .gate
        .directory(|all| all.actors[&cast.actor(Role::Ciso)].roles.len());
    assert_eq!(roles, 1);
}

#[tokio::test]
async fn a_matter_that_is_there_is_not_opened_again_with_other_walls() {
    let (ports, cast) = ports(62).await;
    let house = ports.open().await.unwrap();
    road::found(&house, &cast).await.unwrap();
    let attorney = session(&house, Role::Attorney, Purpose::Representation);
    let open = async |matter: Matter| manage::open_matter(&house, &attorney, matter, &[]).await;
    let before = known(&house, &cast);
    wall(&house, &cast).await.unwrap();
    let walled = known(&house, &cast);
    assert_eq!(refused(open(before).await), Code::AclDeny);
    assert_eq!(known(&house, &cast), walled);
    open(walled.clone()).await.unwrap();
    assert_eq!(known(&house, &cast), walled);
    let intake = session(&house, Role::Intake, Purpose::Representation);
    let mut other = walled.clone();
    other.walled.clear();
    let outcome = manage::open_matter(&house, &intake, other, &[]).await;
    assert_eq!(refused(outcome), Code::AclDeny);
    let lifted = manage::amend_matter(&house, &intake, cast.matter, "wall", |matter| {
        matter.walled.clear();
        Ok(())
    });
    assert_eq!(refused(lifted.await), Code::AclDeny);
    // Who starts anew finds the wall.
    let again = ports.open().await.unwrap();
    manage::wake(&again).await.unwrap();
    assert_eq!(known(&again, &cast), walled);
}

#[tokio::test]
async fn a_change_of_a_matter_loses_no_change_of_another_house() {
    let (ports, cast) = ports(63).await;
    let (one, other) = (ports.open().await.unwrap(), ports.open().await.unwrap());
    road::found(&one, &cast).await.unwrap();
    manage::wake(&other).await.unwrap();
    wall(&one, &cast).await.unwrap();
    assert!(known(&other, &cast).walled.is_empty(), "nobody told it");
    let attorney = session(&other, Role::Attorney, Purpose::Representation);
    let deadline = Label::fixed("answer");
    manage::amend_matter(&other, &attorney, cast.matter, "deadline", |matter| {
        matter.open_points.insert(deadline.clone());
        Ok(())
    })
    .await
    .unwrap();
    let now = known(&other, &cast);
    assert!(now.open_points.contains(&deadline));
    assert_eq!(now.walled.len(), 1, "and it learnt of the wall");
    manage::refresh(&one).await.unwrap();
    assert_eq!(known(&one, &cast), now);
}

#[tokio::test]
async fn a_house_that_looks_again_knows_who_was_revoked_and_walled_elsewhere() {
    let (ports, cast) = ports(64).await;
    let (one, other) = (ports.open().await.unwrap(), ports.open().await.unwrap());
    road::found(&one, &cast).await.unwrap();
    manage::wake(&other).await.unwrap();
    let asked = async |house: &House, role| {
        let session = session(house, role, Purpose::Representation);
        let scope = Scope::of(cast.people[0], kta_core::pii::Category::Identity);
        let permit = session
            .permit(Act::Open, scope.in_matter(cast.matter))
            .await;
        permit.map(drop)
    };
    for role in [Role::Paralegal, Role::Attorney] {
        asked(&other, role).await.unwrap();
    }
    let ciso = session(&one, Role::Ciso, Purpose::Compliance);
    let mut gone = one
        .gate
        .directory(|all| all.actors[&cast.actor(Role::Attorney)].clone());
    gone.revoked = true;
    manage::list_actor(&one, &ciso, gone).await.unwrap();
    // The paralegal, by an attorney who is still there to the other house.
    wall(&other, &cast).await.unwrap();
    manage::refresh(&other).await.unwrap();
    manage::refresh(&one).await.unwrap();
    for house in [&one, &other] {
        for role in [Role::Paralegal, Role::Attorney] {
            assert_eq!(refused(asked(house, role).await), Code::AclDeny);
        }
    }
}

async fn wall(house: &House, cast: &Cast) -> Result<Matter> {
    let attorney = session(house, Role::Attorney, Purpose::Representation);
    manage::amend_matter(house, &attorney, cast.matter, "wall", |matter| {
        matter.walled.insert(cast.actor(Role::Paralegal));
        Ok(())
    })
    .await
}

fn known(house: &House, cast: &Cast) -> Matter {
    house
        .gate
        .directory(|all| all.matters[&cast.matter].clone())
}

fn refused<T>(result: Result<T>) -> Code {
    let error = result.err().expect("a refusal");
    error.refusal().expect("a refusal").code()
}
