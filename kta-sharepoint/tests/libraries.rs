//! A library for each matter behind one door: the kit, and a door that stays shut when something is wrong.
#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/house.rs"]
mod house;
#[path = "support/mod.rs"]
mod support;

use async_trait::async_trait;
use chrono::TimeDelta;
use house::{House, code, config, content, fault, key, permit};
use kta_core::audit::Label;
use kta_core::conformance::Desk;
use kta_core::conformance::documents::LibraryBench;
use kta_core::id::{DocumentId, IdempotencyKey, MatterId, SubjectId};
use kta_core::memory::{ManualClock, SeededEntropy};
use kta_core::pii::{Content, Document, Locator, System};
use kta_core::policy::{Act, Permit, Role, Scope};
use kta_core::ports::{
    Collaboration, Documents, Erase, GrantRequest, Labels, Recipient, SharedRole, StoredDocument,
    Version,
};
use kta_core::{Code, FaultKind, Result};
use kta_sharepoint::emulator::{Emulator, Options};
use kta_sharepoint::{Allowed, Libraries, Roster, SharePoint};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// Who works on which matter, to be changed while the door is open; a matter not named is unknown.
#[derive(Clone, Debug, Default)]
struct List(Arc<Mutex<BTreeMap<MatterId, Allowed>>>);

impl Roster for List {
    fn allowed(&self, matter: MatterId) -> Option<Allowed> {
        self.0.lock().unwrap().get(&matter).cloned()
    }
}

async fn open(house: &House, list: &List) -> Libraries {
    let clock = Arc::new(house.desk.clock().clone());
    let entropy = Arc::new(SeededEntropy::new(5));
    Libraries::connect(
        config(&house.emulator),
        Arc::new(list.clone()),
        clock,
        entropy,
    )
    .await
    .unwrap()
}

/// Makes a matter's library with this team.
async fn found(library: &SharePoint, matter: MatterId, team: &[&str]) -> Locator {
    let desk = Desk::new("founding");
    let session = desk.session(Role::Ciso);
    let permit = session.permit(Act::Manage, Scope::firm()).await.unwrap();
    let member = |name: &&str| {
        (
            Recipient::new((*name).to_owned()).unwrap(),
            SharedRole::Edit,
        )
    };
    let team: Vec<_> = team.iter().map(member).collect();
    library.found(matter, &team, &permit).await.unwrap()
}

/// A house with a library for its desk's matter, ann alone in it.
async fn furnished() -> (House, List, Locator) {
    let house = House::open().await;
    let ann = house.emulator.add_person("ann@firm.example", false);
    let drive = found(&house.library, house.desk.matter(), &["ann@firm.example"]).await;
    let allowed = Allowed {
        people: BTreeSet::from([Locator::new(ann).unwrap()]),
        ..Allowed::default()
    };
    let list = List::default();
    list.0.lock().unwrap().insert(house.desk.matter(), allowed);
    (house, list, drive)
}

#[tokio::test]
async fn a_document_lies_in_its_matters_library_and_is_found_shared_labelled_and_ended_there() {
    let (house, list, drive) = furnished().await;
    let door = open(&house, &list).await;
    let worker = house.worker();
    let store = permit!(house, worker, Store);
    let share = permit!(house, worker, Share);
    let document = house.document("d", b"one");
    let (subject, matter) = (document.subject, document.matter);
    let put = door.put(&document, None, content(b"one"), key("k"), &store);
    let stored = put.await.unwrap();
    assert!(stored.locator.as_str().starts_with(&matter.to_string()));
    assert_eq!(house.emulator.files(drive.as_str()).len(), 1);
    assert!(house.files().is_empty(), "none in the site's own library");
    let there = door.locate(matter, document.id, &store).await.unwrap();
    assert_eq!(there.as_ref(), Some(&stored));
    let label = Label::new("7_years").unwrap();
    let at = &stored.locator;
    door.label(subject, at, Some(&label), &store).await.unwrap();
    assert_eq!(
        door.labelled(subject, at, &store).await.unwrap(),
        Some(label)
    );
    door.label(subject, at, None, &store).await.unwrap();
    let wish = GrantRequest {
        id: kta_core::id::GrantId::derived(&[b"g"]),
        subject,
        document: at.clone(),
        recipient: Recipient::new("counsel@partner.example".to_owned()).unwrap(),
        role: SharedRole::View,
        expires: house.desk.now() + TimeDelta::days(3),
    };
    let grant = door.grant(&wish, key("g"), &share).await.unwrap();
    let own = async || {
        let grants = door.grants(subject, at, &share).await.unwrap();
        grants.iter().filter(|each| !each.inherited).count()
    };
    assert_eq!(own().await, 1);
    door.revoke(subject, at, &grant.locator, &share)
        .await
        .unwrap();
    assert_eq!(own().await, 0);

    let placement = house.placement(&document, Some(at));
    let destroyer = house.destroyer();
    let (destroy, probe) = (
        permit!(house, destroyer, Destroy),
        permit!(house, destroyer, Probe),
    );
    let before = door.probe(&placement, &probe).await.unwrap();
    assert_eq!(before.residues.len(), 1);
    door.erase(&placement, key("e"), &destroy).await.unwrap();
    assert!(door.probe(&placement, &probe).await.unwrap().is_clean());
    assert!(house.emulator.files(drive.as_str()).is_empty());

    // A placement that says another matter than its locator is nobody's.
    let mut mixed = placement.clone();
    mixed.matter = Some(MatterId::derived(&[b"another"]));
    let refused = door.erase(&mixed, key("e"), &destroy).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn a_matter_without_a_library_or_that_nobody_works_on_has_none_and_nothing_is_made() {
    let house = House::open().await;
    let list = List::default();
    let door = open(&house, &list).await;
    let worker = house.worker();
    let store = permit!(house, worker, Store);
    let document = house.document("d", b"one");
    let put = || door.put(&document, None, content(b"one"), key("k"), &store);
    assert_eq!(fault(put().await), FaultKind::NotFound);
    list.0
        .lock()
        .unwrap()
        .insert(house.desk.matter(), Allowed::default());
    assert_eq!(
        fault(put().await),
        FaultKind::NotFound,
        "the site's own is no substitute"
    );
    assert!(house.files().is_empty());

    list.0.lock().unwrap().clear();
    let drive = found(&house.library, house.desk.matter(), &[]).await;
    assert_eq!(
        code(put().await),
        Code::AclDeny,
        "nobody is known to work on it"
    );
    assert!(house.emulator.files(drive.as_str()).is_empty());
    for foreign in ["x", "mat_1/x", &format!("{}/a/b", house.desk.matter())] {
        let locator = Locator::new(foreign).unwrap();
        let refused = door.versions(document.subject, &locator, &store).await;
        assert_eq!(fault(refused), FaultKind::Protocol, "{foreign}");
    }
}

#[tokio::test]
async fn a_library_that_lets_in_somebody_else_is_not_used_until_that_is_put_right() {
    let (house, list, drive) = furnished().await;
    let door = open(&house, &list).await;
    let worker = house.worker();
    let store = permit!(house, worker, Store);
    let document = house.document("d", b"one");
    let put = door.put(&document, None, content(b"one"), key("k"), &store);
    let stored = put.await.unwrap();

    // Somebody gives a stranger access to the whole library, by hand.
    house.emulator.add_person("eve@firm.example", false);
    let team = ["ann@firm.example", "eve@firm.example"];
    found(&house.library, house.desk.matter(), &team).await;
    let read = || door.content(&document, &stored.locator, &store);
    assert!(
        read().await.is_ok(),
        "an answer is good for a quarter of an hour"
    );
    house.desk.clock().advance(TimeDelta::minutes(16));
    house.emulator.advance(TimeDelta::minutes(16));
    let store = permit!(house, worker, Store);
    let read = || door.content(&document, &stored.locator, &store);
    assert_eq!(code(read().await), Code::AccUnlisted);
    let again = door.put(&document, None, content(b"one"), key("k2"), &store);
    assert_eq!(code(again.await), Code::AccUnlisted);
    // Another process sees it at once.
    let fresh = open(&house, &list).await;
    let refused = fresh.content(&document, &stored.locator, &store).await;
    assert_eq!(code(refused), Code::AccUnlisted);

    // The end of a document does not wait for that.
    let placement = house.placement(&document, Some(&stored.locator));
    let destroyer = house.destroyer();
    let destroy = permit!(house, destroyer, Destroy);
    fresh.erase(&placement, key("e"), &destroy).await.unwrap();
    assert!(house.emulator.files(drive.as_str()).is_empty());

    // Without versions it is no library of ours either.
    house.emulator.set_versioning(drive.as_str(), false);
    let fresh = open(&house, &list).await;
    let refused = fresh.put(&document, None, content(b"one"), key("k3"), &store);
    assert_eq!(code(refused.await), Code::DocNover);
}

/// The kit's desks have matters of their own: a library is made for each before its first document.
struct Bench {
    emulator: Emulator,
}

#[derive(Debug)]
struct Founding {
    door: Libraries,
    site: SharePoint,
    list: List,
}

impl Founding {
    async fn of(&self, matter: MatterId) {
        if self.list.allowed(matter).is_none() {
            found(&self.site, matter, &[]).await;
            self.list
                .0
                .lock()
                .unwrap()
                .insert(matter, Allowed::default());
        }
    }
}

#[async_trait]
impl Documents for Founding {
    fn system(&self) -> System {
        Documents::system(&self.door)
    }
    async fn put(
        &self,
        document: &Document,
        label: Option<&Label>,
        content: Content,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<StoredDocument> {
        self.of(document.matter).await;
        self.door.put(document, label, content, key, permit).await
    }
    async fn locate(
        &self,
        matter: MatterId,
        document: DocumentId,
        permit: &Permit<'_>,
    ) -> Result<Option<StoredDocument>> {
        self.of(matter).await;
        self.door.locate(matter, document, permit).await
    }
    async fn content(
        &self,
        document: &Document,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Content> {
        self.of(document.matter).await;
        self.door.content(document, locator, permit).await
    }
    async fn versions(
        &self,
        subject: SubjectId,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Vec<Version>> {
        let matter = locator.as_str().split('/').next().unwrap();
        self.of(matter.parse().unwrap()).await;
        self.door.versions(subject, locator, permit).await
    }
    async fn remove(
        &self,
        subject: SubjectId,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<()> {
        let matter = locator.as_str().split('/').next().unwrap();
        self.of(matter.parse().unwrap()).await;
        self.door.remove(subject, locator, permit).await
    }
}

#[async_trait]
impl LibraryBench for Bench {
    async fn documents(&self) -> Arc<dyn Documents> {
        let clock = Arc::new(ManualClock::at(Desk::opening_hour()));
        let entropy = Arc::new(SeededEntropy::new(3));
        let config = config(&self.emulator);
        let list = List::default();
        let roster = Arc::new(list.clone());
        let site = SharePoint::connect(config.clone(), clock.clone(), entropy.clone());
        let site = site.await.unwrap();
        let door = Libraries::connect(config, roster, clock, entropy);
        let door = door.await.unwrap();
        Arc::new(Founding { door, site, list })
    }

    fn label(&self) -> Label {
        kta_core::pipeline::store::SPECIAL_LABEL.clone()
    }

    async fn names(&self) -> Vec<String> {
        let drives = format!("/sites/{}/drives", self.emulator.site());
        let drives = support::get(&self.emulator, &drives).await.json();
        let drives = drives["value"].as_array().unwrap().clone();
        let paths = |drive: &serde_json::Value| self.emulator.paths(drive["id"].as_str().unwrap());
        let ready_made = |path: &String| path.ends_with("/ready.txt");
        drives
            .iter()
            .flat_map(paths)
            .filter(|path| !ready_made(path))
            .collect()
    }
}

async fn fresh() -> Bench {
    let emulator = Emulator::start(Options::default()).await.unwrap();
    emulator.set_now(Desk::opening_hour());
    Bench { emulator }
}

mod documents {
    use super::fresh;
    kta_core::documents_conformance!(
        #[tokio::test]
        fresh
    );
}
