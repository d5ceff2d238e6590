//! The ports' own kits, against the emulator.
#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/house.rs"]
mod house;
#[path = "support/mod.rs"]
mod support;

use async_trait::async_trait;
use chrono::TimeDelta;
use kta_core::audit::Label;
use kta_core::conformance::Desk;
use kta_core::conformance::audit_feed::{AuditFeedBench, Happened};
use kta_core::conformance::collaboration::CollaborationBench;
use kta_core::conformance::documents::LibraryBench;
use kta_core::conformance::erase::{EraseBench, placement};
use kta_core::conformance::inventory::InventoryBench;
use kta_core::conformance::labels::LabelsBench;
use kta_core::id::{Digest, DocumentId, GrantId, SubjectId};
use kta_core::memory::{ManualClock, SeededEntropy};
use kta_core::pii::placement::CopyOf;
use kta_core::pii::{
    Category, Classification, Document, DocumentKind, Locator, MediaType, Placement, PlacementKind,
};
use kta_core::policy::{Act, Role};
use kta_core::ports::{
    AuditFeed, Collaboration, Documents, Erase, GrantRequest, Inventory, Labels, Recipient,
    SharedRole,
};
use kta_core::time::Timestamp;
use kta_sharepoint::emulator::{Emulator, Options};
use kta_sharepoint::{Folder, SYSTEM, SharePoint};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

mod documents {
    use super::fresh;
    kta_core::documents_conformance!(
        #[tokio::test]
        fresh
    );
}

mod collaboration {
    use super::fresh;
    kta_core::collaboration_conformance!(
        #[tokio::test]
        fresh
    );
}

mod labels {
    use super::fresh;
    kta_core::labels_conformance!(
        #[tokio::test]
        fresh
    );
}

mod inventory {
    use super::fresh_in_short_pages;
    kta_core::inventory_conformance!(
        #[tokio::test]
        fresh_in_short_pages
    );
}

mod erase {
    use super::fresh;
    kta_core::erase_conformance!(
        #[tokio::test]
        fresh
    );
}

mod audit_feed {
    use super::fresh;
    kta_core::audit_feed_conformance!(
        #[tokio::test]
        fresh
    );
}

mod erase_under_a_hold {
    use super::fresh_under_a_hold;
    kta_core::erase_conformance!(
        #[tokio::test]
        fresh_under_a_hold
    );
}

/// An empty library of an emulated tenant whose clock is the desks'.
struct Bench {
    emulator: Emulator,
    drive: String,
    made: AtomicU32,
}

async fn fresh() -> Bench {
    with(Options::default()).await
}

async fn fresh_in_short_pages() -> Bench {
    let mut options = Options::default();
    options.page_size = 3;
    with(options).await
}

async fn with(options: Options) -> Bench {
    let emulator = Emulator::start(options).await.unwrap();
    emulator.set_now(Desk::opening_hour());
    let list = json!({ "displayName": "Cases", "list": { "template": "documentLibrary" } });
    let lists = format!("/sites/{}/lists", emulator.site());
    assert_eq!(
        support::graph(&emulator, "POST", &lists, &list)
            .await
            .status,
        201
    );
    let path = format!("{lists}/Cases/drive");
    let drive = support::get(&emulator, &path).await.json();
    let drive = drive["id"].as_str().unwrap().to_owned();
    Bench {
        emulator,
        drive,
        made: AtomicU32::new(0),
    }
}

async fn fresh_under_a_hold() -> Bench {
    let bench = fresh().await;
    bench.emulator.set_hold(true);
    bench
}

impl Bench {
    /// Another process: nothing of an earlier one is in its memory.
    async fn open(&self) -> SharePoint {
        let config = house::config(&self.emulator)
            .library(self.drive.as_str())
            .folder(Folder::new("Matters 2026").unwrap());
        let clock = Arc::new(ManualClock::at(Desk::opening_hour()));
        SharePoint::connect(config, clock, Arc::new(SeededEntropy::new(3)))
            .await
            .unwrap()
    }
}

#[async_trait]
impl LibraryBench for Bench {
    async fn documents(&self) -> Arc<dyn Documents> {
        Arc::new(self.open().await)
    }

    fn label(&self) -> Label {
        kta_core::pipeline::store::SPECIAL_LABEL.clone()
    }

    async fn names(&self) -> Vec<String> {
        self.emulator.paths(&self.drive)
    }
}

#[async_trait]
impl AuditFeedBench for Bench {
    async fn feed(&self) -> Arc<dyn AuditFeed> {
        Arc::new(self.open().await)
    }

    async fn happen(&self, marked: &str) -> Happened {
        let from = self.emulator.now();
        for n in 0..4 {
            let name = format!("{marked}-{n}.txt");
            let made = support::put(&self.emulator, &name, marked.as_bytes()).await;
            let item = format!(
                "/drives/{}/items/{}",
                self.emulator.drive(),
                made["id"].as_str().unwrap()
            );
            self.emulator.advance(TimeDelta::seconds(2));
            let gone = support::graph(&self.emulator, "DELETE", &item, &json!(null)).await;
            assert_eq!(gone.status, 204);
        }
        let to = self.emulator.now() + TimeDelta::seconds(1);
        self.emulator.advance(TimeDelta::seconds(5));
        Happened { from, to, rows: 8 }
    }
}

#[async_trait]
impl CollaborationBench for Bench {
    async fn collaboration(&self) -> Arc<dyn Collaboration> {
        Arc::new(self.open().await)
    }

    fn now(&self) -> Timestamp {
        self.emulator.now()
    }

    async fn link(&self, document: &Locator) {
        let path = format!(
            "/drives/{}/items/{}/createLink",
            self.drive,
            document.as_str()
        );
        let link = json!({ "type": "view", "scope": "anonymous" });
        assert_eq!(
            support::graph(&self.emulator, "POST", &path, &link)
                .await
                .status,
            201
        );
    }
}

#[async_trait]
impl LabelsBench for Bench {
    async fn labels(&self) -> Arc<dyn Labels> {
        Arc::new(self.open().await)
    }
}

#[async_trait]
impl InventoryBench for Bench {
    async fn inventory(&self) -> Arc<dyn Inventory> {
        Arc::new(self.open().await)
    }

    async fn forget_cursors(&self) {
        self.emulator.expire_delta_tokens();
    }
}

#[async_trait]
impl EraseBench for Bench {
    async fn eraser(&self) -> Arc<dyn Erase> {
        Arc::new(self.open().await)
    }

    /// Two versions and a share; an earlier file of the same name lies in the recycle bin.
    async fn copy(&self, desk: &Desk, subject: SubjectId, marked: &str) -> Placement {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let id = DocumentId::derived(&[subject.as_bytes(), &number.to_be_bytes()]);
        let library = self.open().await;
        let session = desk.session(Role::Paralegal);
        let scope = || desk.scope(subject, Category::Identity);
        let storing = session.permit(Act::Store, scope()).await.unwrap();
        let mut locator = None;
        for version in ["binned", "old", "new"] {
            let bytes = format!("{marked} {number} {version}").into_bytes();
            let document = Document {
                tenant: desk.tenant(),
                id,
                subject,
                matter: desk.matter(),
                kind: DocumentKind::Passport,
                classification: Classification::of(Category::Identity),
                digest: Digest::of(&bytes),
                length: bytes.len() as u64,
                media: MediaType::pdf(),
                derived_from: Vec::new(),
            };
            let key = house::key(&format!("{id}{version}"));
            let content = house::content(&bytes);
            let stored = library
                .put(&document, None, content, key, &storing)
                .await
                .unwrap();
            if version == "binned" {
                library
                    .remove(subject, &stored.locator, &storing)
                    .await
                    .unwrap();
            }
            locator = Some(stored.locator);
        }
        let locator = locator.unwrap();
        let sharing = session.permit(Act::Share, scope()).await.unwrap();
        let wish = GrantRequest {
            id: GrantId::derived(&[id.as_bytes()]),
            subject,
            document: locator.clone(),
            recipient: Recipient::new(format!("{marked}@partner.example")).unwrap(),
            role: SharedRole::View,
            expires: desk.now() + TimeDelta::days(10),
        };
        library
            .grant(&wish, house::key(&id.to_string()), &sharing)
            .await
            .unwrap();
        let what = (CopyOf::Document(id), Category::Identity);
        placement(
            desk,
            subject,
            (SYSTEM, PlacementKind::LibraryFile),
            what,
            locator,
        )
    }
}
