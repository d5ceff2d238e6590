//! Every request the adapter sends and every reply of the emulator, against the vendor's specification.
//!
//! The specification stays out of this repository: `KTA_API_SPECS` names the folder that has
//! `graph-v1.json`. Without it this says that it is skipped.
#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/house.rs"]
mod house;
#[path = "support/letters.rs"]
mod letters;
#[path = "support/listener.rs"]
mod listener;
#[path = "support/specification.rs"]
mod specification;
#[path = "support/mod.rs"]
mod support;

use chrono::TimeDelta;
use futures_util::TryStreamExt as _;
use house::{House, bytes, key, permit};
use kta_core::audit::Label;
use kta_core::id::{GrantId, MatterId};
use kta_core::memory::SeededEntropy;
use kta_core::pii::Pii;
use kta_core::policy::{Act, Role, Scope};
use kta_core::ports::{
    AuditFeed, Collaboration, Documents, GrantRequest, Intake, Inventory, Labels, Recipient,
    SharedRole,
};
use kta_sharepoint::emulator::Options;
use kta_sharepoint::{Allowed, Earlier, Known, Mailbox, Notice, Protection, WatchRequest};
use serde_json::{Value, json};
use specification::Specification;
use std::collections::BTreeMap;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_and_every_reply_is_as_the_specification_has_it() {
    let Some(specification) = Specification::named_by_environment() else {
        println!("skipped: KTA_API_SPECS names no folder with graph-v1.json");
        return;
    };
    let mut options = Options::default();
    options.record = true;
    options.page_size = 5;
    let house = House::with(options).await;
    library(&house).await;
    sharing(&house).await;
    firm(&house).await;
    mail(&house).await;
    by_hand(&house).await;

    let report = specification.hold(&house.emulator.recorded());
    let flaws = report.flaws.join("\n");
    assert!(
        report.flaws.is_empty(),
        "{} flaws:\n{flaws}",
        report.flaws.len()
    );
    // What the specification has nothing about is known and counted, not overlooked.
    let outside: Vec<&String> = report
        .outside
        .iter()
        .filter(|target| !OUTSIDE.iter().any(|known| target.contains(known)))
        .collect();
    assert!(outside.is_empty(), "not in the specification: {outside:?}");
    println!(
        "{} exchanges, {} operations",
        report.held,
        report.operations.len()
    );
    assert!(report.held > 100, "{}", report.held);
    // The same exchanges, each reply without what it must have and each body with what it may not.
    let mut changed = house.emulator.recorded();
    for exchange in &mut changed {
        exchange.reply = b"{\"id\":7,\"value\":7,\"error\":7}".as_slice().into();
    }
    let replies = specification.hold(&changed).flaws.len();
    assert!(replies > report.held / 2, "{replies} wrong replies found");
    for exchange in &mut changed {
        exchange.headers.retain(|(name, _)| name != "authorization");
    }
    assert!(
        specification.hold(&changed).flaws.len() > replies,
        "missing tokens are found"
    );
    for wanted in OPERATIONS {
        let seen = report.operations.iter().any(|seen| seen.contains(wanted));
        assert!(seen, "never sent: {wanted}");
    }
}

/// Parts of Graph that the subset leaves out: mail folders and messages, the directory, people for a link.
const OUTSIDE: [&str; 5] = [
    "/mailFolders",
    "/messages",
    "/groups/",
    "/users/",
    "/shares/",
];

/// What the story must have led to, so that nothing is held against nothing.
const OPERATIONS: [&str; 26] = [
    "put /v1.0/drives/{drive-id}/root:/{path}:/content",
    "/createUploadSession",
    "put /upload/{session}",
    "/content",
    "/versions",
    "/restoreVersion",
    "/checkout",
    "/checkin",
    "/discardCheckout",
    "/permanentDelete",
    "patch /v1.0/drives/{drive-id}/items/{item-id}/retentionLabel",
    "delete /v1.0/drives/{drive-id}/items/{item-id}/retentionLabel",
    "/invite",
    "/permissions",
    "delete /v1.0/drives/{drive-id}/items/{item-id}/permissions/{perm-id}",
    "/delta",
    "/listItem/fields",
    "post /v1.0/sites/{site-id}/lists",
    "/v1.0/sites/{site-id}/permissions",
    "post /v1.0/subscriptions",
    "patch /v1.0/subscriptions/{id}",
    "/reauthorize",
    "/v1.0/security/auditLog/queries/{id}/records",
    "post /v1.0/users/{user}/sendMail",
    "post /v1.0/$batch",
    "post /{tenant}/oauth2/v2.0/token",
];

async fn library(house: &House) {
    let (library, subject) = (&house.library, house.desk.beneficiary());
    let session = house.worker();
    let store = permit!(house, session, Store);
    let small = house.document("small", b"one");
    let file = house.put(&small, b"one", "k1", &store).await.unwrap();
    let other = house.document("small", b"two");
    house.put(&other, b"two", "k2", &store).await.unwrap();
    for (name, length) in [("large", 6_000_000), ("large", 11_000_000)] {
        let content = bytes(length);
        let large = house.document(name, &content);
        house
            .put(&large, &content, &format!("{length}"), &store)
            .await
            .unwrap();
    }
    let at = &file.locator;
    let content = library.content(&other, at, &store).await.unwrap();
    let _: Vec<_> = content.into_stream(&store).try_collect().await.unwrap();
    let part = library.range(&other, at, 0..2, &store).await.unwrap();
    let _: Vec<_> = part.try_collect().await.unwrap();
    let old = library
        .version_content(&small, at, &file.version, &store)
        .await
        .unwrap();
    let _: Vec<_> = old.into_stream(&store).try_collect().await.unwrap();
    library
        .restore_version(subject, at, &file.version, &store)
        .await
        .unwrap();
    library
        .remove_versions(subject, at, &Earlier::All, &store)
        .await
        .unwrap();
    library.check_out(subject, at, &store).await.unwrap();
    library
        .check_in(subject, at, &Label::new("done").unwrap(), &store)
        .await
        .unwrap();
    library.check_out(subject, at, &store).await.unwrap();
    library
        .discard_check_out(subject, at, &store)
        .await
        .unwrap();
    let columns = BTreeMap::from([(Label::new("Title").unwrap(), Label::new("x").unwrap())]);
    library
        .describe(subject, at, &columns, &store)
        .await
        .unwrap();
    library.described(subject, at, &store).await.unwrap();
    let label = Label::new("Working_paper").unwrap();
    library
        .label(subject, at, Some(&label), &store)
        .await
        .unwrap();
    library.labelled(subject, at, &store).await.unwrap();
    library.label(subject, at, None, &store).await.unwrap();
    library
        .locate(small.matter, small.id, &store)
        .await
        .unwrap()
        .unwrap();
    let absent = house.document("absent", b"x");
    assert!(
        library
            .locate(absent.matter, absent.id, &store)
            .await
            .unwrap()
            .is_none()
    );
    let mut cursor = None;
    loop {
        let page = library.inventory(cursor.as_ref(), &store).await.unwrap();
        cursor = Some(page.next);
        if !page.more {
            break;
        }
    }
    house.emulator.expire_delta_tokens();
    library.inventory(cursor.as_ref(), &store).await.unwrap();
    let gone = house.document("gone", b"gone");
    let removed = house.put(&gone, b"gone", "kg", &store).await.unwrap();
    library
        .remove(subject, &removed.locator, &store)
        .await
        .unwrap();
    drop(store);
    let placement = house.placement(&other, Some(at));
    house.probe(&placement).await;
    house.erase(&placement).await.unwrap();
    assert!(house.probe(&placement).await.is_clean());
}

async fn sharing(house: &House) {
    let (library, subject) = (&house.library, house.desk.beneficiary());
    let session = house.worker();
    let store = permit!(house, session, Store);
    let document = house.document("shared", b"shared");
    let file = house.put(&document, b"shared", "ks", &store).await.unwrap();
    drop(store);
    let share = permit!(house, session, Share);
    let request = GrantRequest {
        id: GrantId::derived(&[b"grant"]),
        subject,
        document: file.locator.clone(),
        recipient: Recipient::new("invented.reader@example.test".into()).unwrap(),
        role: SharedRole::View,
        expires: house.desk.now() + TimeDelta::days(3),
    };
    let grant = library.grant(&request, key("g"), &share).await.unwrap();
    library
        .grants(subject, &file.locator, &share)
        .await
        .unwrap();
    library
        .revoke(subject, &file.locator, &grant.locator, &share)
        .await
        .unwrap();
    library
        .revoke(subject, &file.locator, &grant.locator, &share)
        .await
        .unwrap();
}

async fn firm(house: &House) {
    let library = &house.library;
    house.emulator.add_person("ann@firm.example", false);
    let session = house.desk.session(Role::Ciso);
    let manage = session.permit(Act::Manage, Scope::firm()).await.unwrap();
    let team = [(
        Recipient::new("ann@firm.example".into()).unwrap(),
        SharedRole::Edit,
    )];
    let matter = MatterId::derived(&[b"founded"]);
    library.found(matter, &team, &manage).await.unwrap();
    let app = json!({ "roles": ["write"],
        "grantedToIdentities": [{ "application": { "id": "app", "displayName": "app" } }] });
    let path = format!("/sites/{}/permissions", house.emulator.site());
    support::graph(&house.emulator, "POST", &path, &app).await;
    let strays = library
        .stray_applications(&Allowed::default(), &manage)
        .await
        .unwrap();
    assert_eq!(strays.len(), 1);
    let known = [Known {
        document: house.document("shared", b"shared").id,
        matter: house.desk.matter(),
        versions: [Label::new("1.0").unwrap()].into(),
    }];
    library
        .survey(&known, &BTreeMap::new(), &manage)
        .await
        .unwrap();
    let (from, to) = (house.desk.now() - TimeDelta::hours(1), house.emulator.now());
    drop(manage);
    let review = session.permit(Act::Review, Scope::firm()).await.unwrap();
    assert!(!library.rows(from, to, &review).await.unwrap().is_empty());
    drop(review);
    let manage = session.permit(Act::Manage, Scope::firm()).await.unwrap();
    let listener = listener::Listener::start().await;
    let request = watch_request(&listener.address);
    library.watch(&request, &manage).await.unwrap();
    let watch = library.watch(&request, &manage).await.unwrap();
    library.keep(&watch, &request, &manage).await.unwrap();
    let longer = WatchRequest {
        lasts: request.lasts * 10,
        ..watch_request(&listener.address)
    };
    library.keep(&watch, &longer, &manage).await.unwrap();
    library.reauthorize(&watch, &manage).await.unwrap();
    library.unwatch(&watch, &manage).await.unwrap();
    library.unwatch(&watch, &manage).await.unwrap();
}

fn watch_request(address: &str) -> WatchRequest {
    WatchRequest {
        notify: address.to_owned(),
        lifecycle: address.to_owned(),
        client_state: "invented secret".to_owned().into(),
        lasts: TimeDelta::minutes(1_000),
        content_for: None,
    }
}

async fn mail(house: &House) {
    let mailbox = Mailbox::open(
        &house::config(&house.emulator),
        house.emulator.mailbox(),
        Label::fixed("mail"),
        Arc::new(letters::reader()),
        Arc::new(house.desk.clock().clone()),
        Arc::new(SeededEntropy::new(3)),
    )
    .await
    .unwrap();
    let letter = letters::mime("a@client.example", "enclosed", ("p.txt", b"x\n"));
    house.emulator.deliver(letter);
    let session = house.desk.session(Role::Intake);
    let receive = session.permit(Act::Receive, Scope::firm()).await.unwrap();
    let given = mailbox.oldest(&receive).await.unwrap().unwrap();
    mailbox.acknowledge(given.id, &receive).await.unwrap();
    mailbox.changes(None, &receive).await.unwrap();
    let listener = listener::Listener::start().await;
    let request = watch_request(&listener.address);
    let watch = mailbox.watch(&request, &receive).await.unwrap();
    mailbox.unwatch(&watch, &receive).await.unwrap();
    drop(receive);
    let session = house.worker();
    let share = permit!(house, session, Share);
    let notice = Notice {
        to: Recipient::new("invented.client@client.example".into()).unwrap(),
        subject: "News".to_owned(),
        body: Pii::new("Look into the portal.".to_owned()),
    };
    let seen = Protection::seen(share.now());
    assert!(
        mailbox
            .send(&notice, &seen, key("n"), &share)
            .await
            .unwrap()
    );
}

/// What the adapter does not send, but others do: refusals, and replies of their own.
async fn by_hand(house: &House) {
    let emulator = &house.emulator;
    let (drive, site) = (emulator.drive(), emulator.site());
    let made = support::put(emulator, "hand/a%20%231%2050%25.txt", b"by hand").await;
    let item = format!("/drives/{drive}/items/{}", made["id"].as_str().unwrap());
    let folder = json!({ "name": "hand", "folder": {},
        "@microsoft.graph.conflictBehavior": "fail" });
    let children = format!("/drives/{drive}/items/root/children");
    let link = json!({ "type": "view", "scope": "anonymous", "retainInheritedPermissions": true });
    let bad = json!({ "type": "view", "scope": "nobody" });
    for (method, path, body, status) in [
        ("GET", format!("/sites/{site}"), Value::Null, 200),
        ("GET", format!("/sites/{site}/drives"), Value::Null, 200),
        ("GET", format!("/sites/{site}/lists"), Value::Null, 200),
        (
            "GET",
            format!("/sites/{site}/lists/Matters/columns"),
            Value::Null,
            200,
        ),
        (
            "GET",
            format!("/sites/{site}/lists/Matters/items"),
            Value::Null,
            200,
        ),
        ("GET", format!("/drives/{drive}"), Value::Null, 200),
        ("GET", children.clone(), Value::Null, 200),
        ("POST", children, folder, 409),
        ("PATCH", item.clone(), json!({ "name": "renamed.txt" }), 200),
        ("PATCH", item.clone(), json!({ "name": "a:b" }), 400),
        ("POST", format!("{item}/createLink"), link.clone(), 201),
        ("POST", format!("{item}/createLink"), link, 200),
        ("POST", format!("{item}/createLink"), bad, 400),
        ("GET", format!("{item}/permissions"), Value::Null, 200),
        (
            "GET",
            format!("{item}?$expand=listItem,permissions"),
            Value::Null,
            200,
        ),
        ("GET", format!("{item}/versions/9.0"), Value::Null, 404),
        ("GET", "/subscriptions".to_owned(), Value::Null, 200),
        ("GET", "/drives/nowhere".to_owned(), Value::Null, 404),
        ("DELETE", item, Value::Null, 204),
    ] {
        let answer = support::graph(emulator, method, &path, &body).await;
        if status == 400 {
            // What we sent on purpose is not what the specification allows; the reply has to be.
            assert_eq!(answer.status, 400, "{path}");
            assert!(answer.json()["error"]["code"].is_string());
            continue;
        }
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
    let url = format!("{}/v1.0/subscriptions", emulator.graph_url());
    let refused = support::send("GET", &url, &[("authorization", "Bearer no")], "").await;
    assert_eq!(refused.unwrap().status, 401);
}
