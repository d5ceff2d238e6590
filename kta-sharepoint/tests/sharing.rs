//! Shares: bound to a person, ended by the library, read back.
#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/house.rs"]
mod house;
#[path = "support/mod.rs"]
mod support;

use chrono::TimeDelta;
use house::{House, code, fault, key, permit};
use kta_core::audit::Label;
use kta_core::id::GrantId;
use kta_core::pii::{Document, Locator};
use kta_core::policy::Act;
use kta_core::ports::{Collaboration, Documents, GrantRequest, Labels, Recipient, SharedRole};
use kta_core::time::Timestamp;
use kta_core::{Code, FaultKind};
use kta_sharepoint::emulator::Fault;
use serde_json::json;
use support::{get, graph};

const READER: &str = "Canary.Reader@partner.example";

fn request(
    document: &Document,
    at: &Locator,
    role: SharedRole,
    expires: Timestamp,
) -> GrantRequest {
    GrantRequest {
        id: GrantId::derived(&[b"grant"]),
        subject: document.subject,
        document: at.clone(),
        recipient: Recipient::new(READER.to_owned()).unwrap(),
        role,
        expires,
    }
}

async fn stored(house: &House) -> (Document, Locator) {
    let worker = house.worker();
    let permit = permit!(house, worker, Store);
    let document = house.document("shared", b"bytes");
    let put = house.put(&document, b"bytes", "put", &permit).await;
    (document, put.unwrap().locator)
}

#[tokio::test]
async fn a_grant_is_bound_to_its_recipient_ends_at_its_expiry_and_is_one_however_often_asked() {
    let house = House::open().await;
    let (document, at) = stored(&house).await;
    let worker = house.worker();
    let permit = permit!(house, worker, Share);
    let expires = house.desk.now() + TimeDelta::days(14);
    let wish = request(&document, &at, SharedRole::View, expires);
    let first = house.library.grant(&wish, key("g"), &permit).await.unwrap();
    let again = house.library.grant(&wish, key("g"), &permit).await.unwrap();
    assert_eq!(first, again);
    assert!(!first.anonymous && !first.inherited);
    assert_eq!(
        (first.expires, first.role),
        (Some(expires), SharedRole::View)
    );
    let shares = house.emulator.holdings(at.as_str()).shares;
    assert_eq!(shares.len(), 1);
    assert_eq!(shares[0].people, [READER.to_lowercase()]);
    assert_eq!(
        house
            .library
            .grants(document.subject, &at, &permit)
            .await
            .unwrap(),
        [first]
    );
    house.assert_unseen("Canary");
    house.assert_unseen("canary");
    assert!(!format!("{wish:?}").to_lowercase().contains("canary"));
}

#[tokio::test]
async fn a_share_never_cuts_what_the_folder_grants() {
    let house = House::open().await;
    let (document, at) = stored(&house).await;
    let worker = house.worker();
    let permit = permit!(house, worker, Share);
    let expires = house.desk.now() + TimeDelta::days(1);
    let wish = request(&document, &at, SharedRole::Edit, expires);
    house.library.grant(&wish, key("g"), &permit).await.unwrap();
    let path = format!(
        "/drives/{}/items/{}/permissions",
        house.emulator.drive(),
        at.as_str()
    );
    let all = get(&house.emulator, &path).await.json();
    let inherited = all["value"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|p| p["inheritedFrom"].is_object());
    assert_eq!(inherited.count(), 2);
}

#[tokio::test]
async fn every_effective_way_in_is_listed_and_ended_ones_are_not() {
    let house = House::open().await;
    let (document, at) = stored(&house).await;
    let worker = house.worker();
    let permit = permit!(house, worker, Share);
    let expires = house.desk.now() + TimeDelta::days(1);
    let wish = request(&document, &at, SharedRole::View, expires);
    house.library.grant(&wish, key("g"), &permit).await.unwrap();
    let path = format!(
        "/drives/{}/items/{}/createLink",
        house.emulator.drive(),
        at.as_str()
    );
    let link = json!({ "type": "edit", "scope": "anonymous" });
    assert_eq!(
        graph(&house.emulator, "POST", &path, &link).await.status,
        201
    );
    let grants = house
        .library
        .grants(document.subject, &at, &permit)
        .await
        .unwrap();
    assert_eq!(grants.len(), 2);
    let anonymous = grants.iter().find(|grant| grant.anonymous).unwrap();
    assert_eq!(
        (anonymous.expires, anonymous.role),
        (None, SharedRole::Edit)
    );
    house.desk.clock().advance(TimeDelta::days(2));
    let permit = permit!(house, worker, Share);
    let grants = house
        .library
        .grants(document.subject, &at, &permit)
        .await
        .unwrap();
    assert!(grants.len() == 1 && grants[0].anonymous);
}

#[tokio::test]
async fn a_revoked_grant_is_gone_and_revoking_again_is_no_error() {
    let house = House::open().await;
    let (document, at) = stored(&house).await;
    let worker = house.worker();
    let sharing = permit!(house, worker, Share);
    let expires = house.desk.now() + TimeDelta::days(1);
    let wish = request(&document, &at, SharedRole::View, expires);
    let grant = house
        .library
        .grant(&wish, key("g"), &sharing)
        .await
        .unwrap();
    let revoking = permit!(house, worker, Revoke);
    for _ in 0..2 {
        house
            .library
            .revoke(document.subject, &at, &grant.locator, &revoking)
            .await
            .unwrap();
    }
    assert!(
        house
            .library
            .grants(document.subject, &at, &revoking)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(house.emulator.holdings(at.as_str()).shares.is_empty());
}

#[tokio::test]
async fn an_end_in_the_past_is_refused_and_a_foreign_permit_too() {
    let house = House::open().await;
    let (document, at) = stored(&house).await;
    let worker = house.worker();
    let permit = permit!(house, worker, Share);
    let past = request(&document, &at, SharedRole::View, house.desk.now());
    assert_eq!(
        code(house.library.grant(&past, key("g"), &permit).await),
        Code::ShrExpiry
    );
    let other = worker
        .permit(Act::Share, house.desk.whole(house.desk.spouse()))
        .await
        .unwrap();
    let later = house.desk.now() + TimeDelta::days(1);
    let wish = request(&document, &at, SharedRole::View, later);
    assert_eq!(
        code(house.library.grant(&wish, key("g"), &other).await),
        Code::AclDeny
    );
    assert_eq!(
        code(house.library.grants(document.subject, &at, &other).await),
        Code::AclDeny
    );
    assert!(house.emulator.holdings(at.as_str()).shares.is_empty());
}

#[tokio::test]
async fn an_answer_lost_after_the_invitation_makes_no_second_grant() {
    let house = House::open().await;
    let (document, at) = stored(&house).await;
    let worker = house.worker();
    let permit = permit!(house, worker, Share);
    house
        .emulator
        .fail(1, "POST", "/v1.0/*/invite", Fault::DropAfterEffect);
    let expires = house.desk.now() + TimeDelta::days(1);
    let wish = request(&document, &at, SharedRole::View, expires);
    house.library.grant(&wish, key("g"), &permit).await.unwrap();
    assert_eq!(house.emulator.holdings(at.as_str()).shares.len(), 1);
}

#[tokio::test]
async fn a_file_that_is_not_there_cannot_be_shared() {
    let house = House::open().await;
    let (document, _) = stored(&house).await;
    let worker = house.worker();
    let permit = permit!(house, worker, Share);
    let nowhere = Locator::new("01NOSUCHITEM").unwrap();
    let expires = house.desk.now() + TimeDelta::days(1);
    let wish = request(&document, &nowhere, SharedRole::View, expires);
    assert_eq!(
        fault(house.library.grant(&wish, key("g"), &permit).await),
        FaultKind::NotFound
    );
}

#[tokio::test]
async fn a_permit_for_one_matter_reaches_no_file_of_another_by_its_id() {
    let house = House::open().await;
    let (document, at) = stored(&house).await;
    let bytes = house.emulator.holdings(at.as_str()).current;
    let worker = house.worker();
    let other = house.desk.stranger();
    let scope = || house.desk.whole(other);
    let storing = worker.permit(Act::Store, scope()).await.unwrap();
    let sharing = worker.permit(Act::Share, scope()).await.unwrap();
    let library = &house.library;
    // Theirs as they say it: nothing but the id of the file is true.
    let claimed = Document {
        subject: other,
        matter: house.desk.other_matter(),
        ..document.clone()
    };
    let before = house.emulator.journal().len();
    let found = library.locate(document.matter, document.id, &storing).await;
    assert_eq!(code(found), Code::AclDeny);
    assert_eq!(house.emulator.journal().len(), before, "nothing was asked");

    let label = Label::new("invented").unwrap();
    let until = house.desk.now() + TimeDelta::days(3);
    let wish = request(&claimed, &at, SharedRole::View, until);
    let grant = Locator::new("p").unwrap();
    for refused in [
        library.content(&claimed, &at, &storing).await.map(drop),
        library.versions(other, &at, &storing).await.map(drop),
        library.remove(other, &at, &storing).await,
        library.label(other, &at, Some(&label), &storing).await,
        library.labelled(other, &at, &storing).await.map(drop),
        library.grant(&wish, key("g"), &sharing).await.map(drop),
        library.grants(other, &at, &sharing).await.map(drop),
        library.revoke(other, &at, &grant, &sharing).await,
    ] {
        assert_eq!(code(refused), Code::AclDeny);
    }
    let asked = &house.emulator.journal()[before..];
    assert!(asked.iter().all(|each| each.method == "GET"));
    assert!(!asked.iter().any(|each| each.target.contains("/content")));
    let held = house.emulator.holdings(at.as_str());
    assert_eq!((held.current, held.shares.len()), (bytes, 0));
}

#[tokio::test]
async fn no_byte_comes_of_a_file_that_is_not_the_documents() {
    let house = House::open().await;
    let (document, at) = stored(&house).await;
    let worker = house.worker();
    let permit = permit!(house, worker, Store);
    let beside = house.document("beside", b"another of the matter");
    let another = house.library.content(&beside, &at, &permit).await;
    assert_eq!(code(another), Code::AclDeny);
    let path = format!("/drives/{}/items/{}", house.emulator.drive(), at.as_str());
    let renamed = json!({ "name": "renamed.bin" });
    let answer = graph(&house.emulator, "PATCH", &path, &renamed).await;
    assert_eq!(answer.status, 200);
    let renamed = house.library.content(&document, &at, &permit).await;
    assert_eq!(fault(renamed), FaultKind::Protocol);
    let nowhere = Locator::new("nowhere").unwrap();
    let gone = house.library.content(&document, &nowhere, &permit).await;
    assert_eq!(fault(gone), FaultKind::NotFound);
    let asked = |each: &kta_sharepoint::emulator::Exchange| {
        each.method == "GET" && each.target.contains("/content")
    };
    assert!(!house.emulator.journal().iter().any(asked));
}
