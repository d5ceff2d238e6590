//! One walk over the library finds what is not as the firm knows it.
#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/house.rs"]
mod house;
#[path = "support/mod.rs"]
mod support;

use house::{House, config, connect, fault, permit};
use kta_core::id::MatterId;
use kta_core::pii::{Document, Locator};
use kta_core::policy::{Act, Role, Scope};
use kta_core::ports::{Documents, StoredDocument};
use kta_core::{Code, FaultKind};
use kta_sharepoint::emulator::{Fault, Options};
use kta_sharepoint::{Allowed, Finding, Known, Reach, Survey};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

struct Scene {
    house: House,
    files: Vec<(Document, StoredDocument)>,
    known: Vec<Known>,
    allowed: BTreeMap<MatterId, Allowed>,
}

impl Scene {
    /// Files of the desk's matter, known as they are, and nobody let in.
    async fn of(count: usize) -> Self {
        Self::with(count, Options::default()).await
    }

    async fn with(count: usize, options: Options) -> Self {
        let house = House::with(options).await;
        let mut files = Vec::new();
        for n in 0..count {
            let bytes = format!("invented paper {n}");
            let document = house.document(&format!("d{n}"), bytes.as_bytes());
            let session = house.worker();
            let permit = permit!(house, session, Store);
            let stored = house
                .put(&document, bytes.as_bytes(), &format!("k{n}"), &permit)
                .await;
            files.push((document, stored.unwrap()));
        }
        let known = files.iter().map(|(document, stored)| Known {
            document: document.id,
            matter: document.matter,
            versions: BTreeSet::from([stored.version.clone()]),
        });
        let known = known.collect();
        let allowed = BTreeMap::from([(house.desk.matter(), Allowed::default())]);
        // The ready-made file is nobody's.
        let ready = format!(
            "/drives/{}/items/{}",
            house.emulator.drive(),
            house.emulator.item()
        );
        support::graph(&house.emulator, "DELETE", &ready, &Value::Null).await;
        Self {
            house,
            files,
            known,
            allowed,
        }
    }

    fn rights(&mut self) -> &mut Allowed {
        self.allowed.entry(self.house.desk.matter()).or_default()
    }

    async fn survey(&self) -> Survey {
        let session = self.house.desk.session(Role::Ciso);
        let permit = session.permit(Act::Review, Scope::firm()).await.unwrap();
        let library = &self.house.library;
        library
            .survey(&self.known, &self.allowed, &permit)
            .await
            .unwrap()
    }

    fn path(&self, file: usize, tail: &str) -> String {
        let (drive, item) = (
            self.house.emulator.drive(),
            self.files[file].1.locator.as_str(),
        );
        format!("/drives/{drive}/items/{item}{tail}")
    }

    async fn graph(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = support::graph(&self.house.emulator, method, path, body).await;
        assert!((200..300).contains(&answer.status), "{answer:?}");
        answer.json()
    }

    async fn invite(&self, file: usize, who: Value) {
        let body = json!({ "recipients": [who], "roles": ["read"], "requireSignIn": true,
            "sendInvitation": false, "retainInheritedPermissions": true });
        self.graph("POST", &self.path(file, "/invite"), &body).await;
    }
}

fn id(text: &str) -> Locator {
    Locator::new(text).unwrap()
}

#[tokio::test]
async fn a_library_as_the_firm_knows_it_has_no_findings() {
    let scene = Scene::of(23).await;
    let survey = scene.survey().await;
    assert_eq!((survey.files, survey.findings), (23, vec![]));
}

#[tokio::test]
async fn one_walk_finds_misfile_wall_breach_anonymous_link_trimmed_version_and_deletion_by_hand() {
    let mut scene = Scene::of(6).await;
    let emulator = &scene.house.emulator;
    // A walled person in a group within a group.
    let ann = emulator.add_person("ann@firm.example", false);
    let wally = emulator.add_person("wally@firm.example", false);
    let inner = emulator.add_group("inner", &[&wally]);
    let outer = emulator.add_group("outer", &[&ann, &inner]);
    emulator.join_group(&inner, &outer); // a circle, as directories have them
    scene.invite(0, json!({ "objectId": outer })).await;
    let link = json!({ "type": "view", "scope": "anonymous" });
    scene
        .graph("POST", &scene.path(1, "/createLink"), &link)
        .await;
    // Into the folder of another client.
    let other = MatterId::derived(&[b"another"]);
    let root = format!(
        "/drives/{}/items/root/children",
        scene.house.emulator.drive()
    );
    let folder = json!({ "name": other.to_string(), "folder": {} });
    let folder = scene.graph("POST", &root, &folder).await;
    let moved = json!({ "parentReference": { "id": folder["id"] } });
    scene.graph("PATCH", &scene.path(2, ""), &moved).await;
    // A second version, known; then the first one taken away by SharePoint's own means.
    let session = scene.house.worker();
    let permit = permit!(scene.house, session, Store);
    let again = scene.house.document("d3", b"another content");
    let second = scene
        .house
        .put(&again, b"another content", "k3b", &permit)
        .await
        .unwrap();
    scene.known[3].versions.insert(second.version.clone());
    drop(permit);
    let select = scene.path(3, "?$select=sharepointIds");
    let unique = scene.graph("GET", &select, &Value::Null).await;
    let unique = unique["sharepointIds"]["listItemUniqueId"]
        .as_str()
        .unwrap()
        .to_owned();
    let token = support::rest_token(&scene.house.emulator).await;
    let path = format!("web/GetFileById('{unique}')/versions/DeleteByID(512)");
    let gone = support::rest(&scene.house.emulator, &token, "POST", &path).await;
    assert_eq!(gone.status, 200);
    // Deleted by hand, and a version that nobody here made.
    scene
        .graph("DELETE", &scene.path(4, ""), &Value::Null)
        .await;
    support::put(
        &scene.house.emulator,
        &file_path(&scene.files[5].0),
        b"by hand",
    )
    .await;
    scene.rights().people.insert(id(&ann));
    scene.rights().walled.insert(id(&wally));

    let survey = scene.survey().await;
    let (ids, at) = (
        |n: usize| scene.files[n].0.id,
        |n: usize| scene.files[n].1.locator.clone(),
    );
    let mut codes = Vec::new();
    let mut rest = Vec::new();
    for finding in survey.findings {
        match finding {
            Finding::Access(access) => {
                codes.push((access.code, access.item, access.through, access.who))
            }
            other => rest.push(other),
        }
    }
    assert_eq!(
        codes,
        [
            (Code::ShpAnonLink, at(1), vec![], None),
            (
                Code::ShpWallBreach,
                at(0),
                vec![id(&outer), id(&inner)],
                Some(id(&wally))
            ),
        ]
    );
    let version = |n: usize| scene.files[n].1.version.clone();
    let by_hand = kta_core::audit::Label::new("2.0").unwrap();
    let mut expected = vec![
        Finding::Deleted {
            document: ids(4),
            recoverable: true,
        },
        Finding::Misfiled {
            document: ids(2),
            item: at(2),
            found_in: Some(other),
        },
        Finding::Trimmed {
            document: ids(3),
            versions: BTreeSet::from([version(3)]),
        },
        Finding::Unexplained {
            document: ids(5),
            versions: BTreeSet::from([by_hand]),
        },
    ];
    expected.sort();
    assert_eq!(rest, expected);

    let session = scene.house.worker();
    let permit = permit!(scene.house, session, Store);
    assert!(scene.house.library.recover(ids(4), &permit).await.unwrap());
    assert!(!scene.house.library.recover(ids(4), &permit).await.unwrap());
    let left = scene.survey().await.findings;
    assert!(
        !left
            .iter()
            .any(|finding| matches!(finding, Finding::Deleted { .. }))
    );
}

fn file_path(document: &Document) -> String {
    format!("{}/{}.bin", document.matter, document.id)
}

#[tokio::test]
async fn guests_strangers_and_what_the_site_lets_in_are_found_and_the_register_excuses_its_own() {
    let mut scene = Scene::of(3).await;
    let emulator = &scene.house.emulator;
    let bob = emulator.add_person("bob@firm.example", false);
    let team = emulator.add_group("whole firm", &[&bob]);
    emulator.join_site_group("Matters Members", &format!("c:0t.c|tenant|{team}"));
    scene
        .invite(0, json!({ "email": "invented.guest@client.example" }))
        .await;
    scene.invite(1, json!({ "objectId": bob })).await;
    let codes = |survey: Survey| -> Vec<(Code, Locator)> {
        let access = survey
            .findings
            .into_iter()
            .filter_map(|finding| match finding {
                Finding::Access(access) => Some((access.code, access.item)),
                _ => None,
            });
        access.collect()
    };
    let mut expected: Vec<(Code, Locator)> = (0..3)
        .map(|n| (Code::ShpBroadGroup, scene.files[n].1.locator.clone()))
        .collect();
    expected.push((Code::AccUnlisted, scene.files[1].1.locator.clone()));
    expected.push((Code::ShpGuest, scene.files[0].1.locator.clone()));
    expected.sort();
    let mut found = codes(scene.survey().await);
    found.sort();
    assert_eq!(found, expected);

    // Bob joins the matter, and the guest's grant is in the register.
    let session = scene.house.desk.session(Role::Ciso);
    let permit = session.permit(Act::Review, Scope::firm()).await.unwrap();
    let ways = scene
        .house
        .library
        .ways(&scene.files[0].1.locator, &permit)
        .await
        .unwrap();
    let guest = ways
        .iter()
        .find(|way| matches!(way.who, Reach::Guest(_)))
        .unwrap();
    assert!(!guest.inherited && guest.through.is_empty());
    let (grant, bob) = (guest.grant.clone(), id(&bob));
    drop(permit);
    scene.rights().people.insert(bob);
    scene.rights().grants.insert(grant.clone());
    assert_eq!(codes(scene.survey().await), []);

    // A grant of the register that is gone is told too.
    let path = scene.path(0, &format!("/permissions/{}", grant.as_str()));
    scene.graph("DELETE", &path, &Value::Null).await;
    assert_eq!(scene.survey().await.findings, [Finding::GrantGone(grant)]);

    // Everyone in the firm, by SharePoint's own name for them.
    let everyone = "c:0-.f|rolemanager|spo-grid-all-users/0f";
    scene
        .house
        .emulator
        .join_site_group("Matters Owners", everyone);
    assert!(
        codes(scene.survey().await)
            .iter()
            .all(|(code, _)| *code == Code::ShpBroadGroup)
    );
}

#[tokio::test]
async fn a_group_that_cannot_be_looked_into_counts_as_too_broad() {
    let scene = Scene::of(1).await;
    let team = scene.house.emulator.add_group("hidden", &[]);
    scene.invite(0, json!({ "objectId": team })).await;
    let path = format!("/v1.0/groups/{team}/members");
    scene
        .house
        .emulator
        .fail(1, "GET", &path, Fault::status(404));
    let findings = scene.survey().await.findings;
    assert!(matches!(&findings[..], [Finding::Access(one)] if one.code == Code::ShpBroadGroup));
    // Without SharePoint REST the site's own groups cannot be looked into.
    let without = config(&scene.house.emulator).without_rest();
    let library = connect(&scene.house.emulator, &scene.house.desk, without)
        .await
        .unwrap();
    let session = scene.house.desk.session(Role::Ciso);
    let permit = session.permit(Act::Review, Scope::firm()).await.unwrap();
    let ways = library
        .ways(&scene.files[0].1.locator, &permit)
        .await
        .unwrap();
    assert!(
        ways.iter()
            .any(|way| way.who == Reach::Unresolved && way.inherited)
    );
}

#[tokio::test]
async fn an_application_with_a_grant_over_the_whole_site_is_found() {
    let scene = Scene::of(0).await;
    let path = format!("/sites/{}/permissions", scene.house.emulator.site());
    for app in ["own", "stranger"] {
        let body = json!({ "roles": ["write"],
            "grantedToIdentities": [{ "application": { "id": app, "displayName": app } }] });
        scene.graph("POST", &path, &body).await;
    }
    let session = scene.house.desk.session(Role::Ciso);
    let permit = session.permit(Act::Review, Scope::firm()).await.unwrap();
    let allowed = Allowed {
        applications: [id("own")].into(),
        ..Allowed::default()
    };
    let found = scene
        .house
        .library
        .stray_applications(&allowed, &permit)
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].code, found[0].who.clone()),
        (Code::AccOverpriv, Some(id("stranger")))
    );
}

#[tokio::test]
async fn a_throttled_part_of_a_batch_is_asked_again_and_no_half_survey_is_given() {
    let scene = Scene::of(12).await;
    let inner = "/v1.0/drives/*/versions";
    scene
        .house
        .emulator
        .fail(5, "GET", inner, Fault::throttled(1));
    assert_eq!(scene.survey().await.findings, []);
    scene
        .house
        .emulator
        .fail(1, "GET", inner, Fault::status(403));
    let session = scene.house.desk.session(Role::Ciso);
    let permit = session.permit(Act::Review, Scope::firm()).await.unwrap();
    let half = scene
        .house
        .library
        .survey(&scene.known, &scene.allowed, &permit)
        .await;
    assert_eq!(fault(half), FaultKind::Misconfigured);
}

#[tokio::test]
async fn what_the_feed_does_not_show_yet_is_not_called_deleted() {
    let mut options = Options::default();
    options.lag = chrono::TimeDelta::minutes(5);
    let mut scene = Scene::with(2, options).await;
    let early = scene.survey().await;
    assert_eq!((early.files, early.findings), (0, vec![]));
    scene.house.emulator.advance(chrono::TimeDelta::minutes(6));
    assert_eq!(scene.survey().await.files, 2);
    // And what the feed still shows although it is gone is not called trimmed.
    scene
        .graph("DELETE", &scene.path(0, ""), &Value::Null)
        .await;
    let document = scene.files[0].0.id;
    let recoverable = true;
    assert_eq!(
        scene.survey().await.findings,
        [Finding::Deleted {
            document,
            recoverable
        }]
    );
    scene.known.clear();
    scene.house.emulator.advance(chrono::TimeDelta::minutes(6));
    assert_eq!(scene.survey().await.files, 1);
}

#[tokio::test]
async fn of_two_deletions_the_later_is_brought_back() {
    let house = House::with(Options::default()).await;
    let session = house.worker();
    let permit = permit!(house, session, Store);
    let (earlier, later) = (&b"invented, the first"[..], &b"invented, the second"[..]);
    for content in [earlier, later] {
        let document = house.document("twice", content);
        let name = format!("k{}", content.len());
        let stored = house.put(&document, content, &name, &permit).await;
        let at = stored.unwrap().locator;
        let removed = house.library.remove(document.subject, &at, &permit).await;
        removed.unwrap();
        house.emulator.advance(chrono::TimeDelta::minutes(1));
    }
    let document = house.document("twice", later);
    assert!(house.library.recover(document.id, &permit).await.unwrap());
    let found = house
        .library
        .locate(document.matter, document.id, &permit)
        .await;
    let at = found.unwrap().unwrap().locator;
    let held = house.emulator.holdings(at.as_str()).current.unwrap();
    assert_eq!(&held[..], later);
}

#[tokio::test]
async fn a_persons_own_drive_is_no_place_for_case_data() {
    let house = House::with(Options::default()).await;
    house.emulator.set_personal(house.emulator.drive());
    let refused = connect(&house.emulator, &house.desk, config(&house.emulator)).await;
    assert_eq!(house::code(refused), Code::ShrLocation);
}
