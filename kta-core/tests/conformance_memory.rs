//! The in-memory ports keep the contracts of their ports: the first customers of the kits.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use kta_core::Code;
use kta_core::audit::Label;
use kta_core::conformance::Desk;
use kta_core::conformance::access_review::{AccessReviewBench, KnownUser};
use kta_core::conformance::audit_feed::{AuditFeedBench, Happened};
use kta_core::conformance::change_feed::ChangeFeedBench;
use kta_core::conformance::collaboration::CollaborationBench;
use kta_core::conformance::crm::CrmBench;
use kta_core::conformance::discard::DiscardBench;
use kta_core::conformance::documents::LibraryBench;
use kta_core::conformance::erase::{EraseBench, placement};
use kta_core::conformance::intake::{self, IntakeBench};
use kta_core::conformance::inventory::InventoryBench;
use kta_core::conformance::labels::LabelsBench;
use kta_core::conformance::reader::ReaderBench;
use kta_core::id::{Digest, DocumentId, IdempotencyKey, RecordId, SubjectId};
use kta_core::memory::{
    Letter, MemoryCrm, MemoryIntake, MemoryLibrary, MemoryReader, MemoryScanner,
};
use kta_core::pii::placement::CopyOf;
use kta_core::pii::{
    Category, Content, Document, DocumentKind, FieldName, Fields, Locator, MediaType, Pii,
    Placement, PlacementKind,
};
use kta_core::policy::{Act, LawfulBasis, Purpose, Role};
use kta_core::ports::{
    AccessReview, AuditFeed, ChangeFeed, Collaboration, Crm, CrmRecord, CrmUser, Documents, Erase,
    Intake, Inventory, Labels, Reader,
};
use kta_core::time::Timestamp;

struct CrmDesk(MemoryCrm);

#[async_trait]
impl CrmBench for CrmDesk {
    async fn crm(&self) -> Arc<dyn Crm> {
        Arc::new(self.0.clone())
    }

    async fn count(&self) -> usize {
        self.0.len()
    }

    async fn withhold(&self, field: &FieldName) {
        self.0.withhold(field);
    }
}

#[async_trait]
impl EraseBench for CrmDesk {
    async fn eraser(&self) -> Arc<dyn Erase> {
        Arc::new(self.0.clone())
    }

    async fn copy(&self, desk: &Desk, subject: SubjectId, marked: &str) -> Placement {
        let number = self.0.len() as u64;
        let record = RecordId::derived(&[subject.as_bytes(), &number.to_be_bytes()]);
        let name = FieldName::fixed("family_name");
        let fields: Fields = [(name, Pii::new(marked.to_owned()))].into_iter().collect();
        let entry = CrmRecord {
            record,
            subject,
            matter: desk.matter(),
            purpose: Purpose::Representation,
            basis: LawfulBasis::Contract,
            fields,
        };
        let session = desk.session(Role::ServiceSync);
        let permit = session
            .permit(Act::Enter, desk.scope(subject, Category::Identity))
            .await
            .unwrap();
        let key = IdempotencyKey::derived("copy", &[record.as_bytes()]);
        let at = self.0.enter(&entry, key, &permit).await.unwrap();
        self.0
            .note(&at, FieldName::fixed("description"), marked.to_owned());
        let of = (CopyOf::Record(record), Category::Identity);
        placement(
            desk,
            subject,
            (MemoryCrm::SYSTEM, PlacementKind::CrmRecord),
            of,
            at,
        )
    }
}

#[async_trait]
impl DiscardBench for CrmDesk {
    async fn discard(&self, _desk: &Desk, copy: &Placement) {
        self.0.delete(copy.locator.as_ref().unwrap());
    }
}

#[async_trait]
impl ChangeFeedBench for CrmDesk {
    async fn feed(&self) -> Arc<dyn ChangeFeed> {
        Arc::new(self.0.clone())
    }

    async fn crm(&self) -> Arc<dyn Crm> {
        Arc::new(self.0.clone())
    }

    async fn delete(&self, at: &Locator) {
        self.0.delete(at);
    }
}

#[async_trait]
impl AuditFeedBench for CrmDesk {
    async fn feed(&self) -> Arc<dyn AuditFeed> {
        Arc::new(self.0.clone())
    }

    async fn happen(&self, marked: &str) -> Happened {
        let desk = Desk::new("audited");
        let copy = self.copy(&desk, desk.beneficiary(), marked).await;
        self.0.delete(&copy.locator.unwrap());
        let from = desk.now();
        Happened {
            from,
            to: from + TimeDelta::seconds(1),
            rows: 3,
        }
    }
}

#[async_trait]
impl AccessReviewBench for CrmDesk {
    async fn review(&self) -> Arc<dyn AccessReview> {
        for user in users().into_iter().filter(|user| user.active) {
            self.0.let_in(CrmUser {
                locator: user.locator,
                profile: Some(Label::fixed("Standard")),
                administrator: user.administrator,
                second_factor: user.second_factor,
                integration: user.integration,
            });
        }
        Arc::new(self.0.clone())
    }

    async fn known(&self) -> Vec<KnownUser> {
        users()
    }
}

fn users() -> Vec<KnownUser> {
    let user = |id: &str, second_factor| KnownUser {
        locator: Locator::new(id).unwrap(),
        active: true,
        administrator: false,
        integration: false,
        second_factor,
    };
    vec![
        KnownUser {
            administrator: true,
            ..user("user-1", Some(true))
        },
        user("user-2", Some(false)),
        KnownUser {
            integration: true,
            ..user("user-3", None)
        },
        KnownUser {
            active: false,
            ..user("user-4", None)
        },
    ]
}

async fn crm_desk() -> CrmDesk {
    CrmDesk(MemoryCrm::new())
}

mod change_feed {
    kta_core::change_feed_conformance!(
        #[tokio::test]
        super::crm_desk
    );
}

mod access_review {
    kta_core::access_review_conformance!(
        #[tokio::test]
        super::crm_desk
    );
}

mod audit_feed {
    kta_core::audit_feed_conformance!(
        #[tokio::test]
        super::crm_desk
    );
}

mod crm {
    kta_core::crm_conformance!(
        #[tokio::test]
        super::crm_desk
    );
}

mod erase_crm {
    kta_core::erase_conformance!(
        #[tokio::test]
        super::crm_desk
    );
}

mod discard_crm {
    kta_core::discard_conformance!(
        #[tokio::test]
        super::crm_desk
    );
}

mod erase_crm_whose_provider_keeps_backups {
    use super::*;

    async fn fresh() -> CrmDesk {
        CrmDesk(MemoryCrm::new().keeping(TimeDelta::days(30)))
    }

    kta_core::erase_conformance!(
        #[tokio::test]
        fresh
    );
}

struct Library(MemoryLibrary);

impl Library {
    async fn put(&self, desk: &Desk, document: &Document, bytes: &str) -> Locator {
        let session = desk.session(Role::ServiceSync);
        let scope = desk.scope(document.subject, document.classification.category);
        let permit = session.permit(Act::Store, scope).await.unwrap();
        let key = IdempotencyKey::derived("put", &[document.digest.as_bytes()]);
        let content = Content::of(bytes.to_owned(), document.media.clone());
        self.0
            .put(document, None, content, key, &permit)
            .await
            .unwrap()
            .locator
    }
}

#[async_trait]
impl LibraryBench for Library {
    async fn documents(&self) -> Arc<dyn Documents> {
        Arc::new(self.0.clone())
    }

    fn label(&self) -> Label {
        Label::fixed("KTA-Special")
    }

    async fn names(&self) -> Vec<String> {
        self.0.names()
    }
}

#[async_trait]
impl CollaborationBench for Library {
    async fn collaboration(&self) -> Arc<dyn Collaboration> {
        Arc::new(self.0.clone())
    }

    fn now(&self) -> Timestamp {
        Desk::opening_hour()
    }

    async fn link(&self, document: &Locator) {
        self.0.link(document).unwrap();
    }
}

#[async_trait]
impl LabelsBench for Library {
    async fn labels(&self) -> Arc<dyn Labels> {
        Arc::new(self.0.clone())
    }
}

#[async_trait]
impl InventoryBench for Library {
    async fn inventory(&self) -> Arc<dyn Inventory> {
        Arc::new(self.0.clone())
    }

    async fn forget_cursors(&self) {
        self.0.forget_cursors();
    }
}

#[async_trait]
impl EraseBench for Library {
    async fn eraser(&self) -> Arc<dyn Erase> {
        Arc::new(self.0.clone())
    }

    async fn copy(&self, desk: &Desk, subject: SubjectId, marked: &str) -> Placement {
        let number = self.0.names().len() as u64;
        let id = DocumentId::derived(&[subject.as_bytes(), &number.to_be_bytes()]);
        let kind = DocumentKind::Passport;
        let mut document = Document {
            tenant: desk.tenant(),
            id,
            subject,
            matter: desk.matter(),
            kind,
            classification: kind.classification(),
            digest: Digest::of(b""),
            length: 0,
            media: MediaType::text(),
            derived_from: Vec::new(),
        };
        let mut at = None;
        for version in ["first", "second"] {
            let bytes = format!("{version} {marked} {id}");
            (document.digest, document.length) = (Digest::of(bytes.as_bytes()), bytes.len() as u64);
            at = Some(self.put(desk, &document, &bytes).await);
        }
        let at = at.unwrap();
        self.0.link(&at).unwrap();
        let of = (CopyOf::Document(id), Category::Identity);
        placement(
            desk,
            subject,
            (MemoryLibrary::SYSTEM, PlacementKind::LibraryFile),
            of,
            at,
        )
    }
}

#[async_trait]
impl DiscardBench for Library {
    async fn discard(&self, desk: &Desk, copy: &Placement) {
        let session = desk.session(Role::Paralegal);
        let permit = session
            .permit(Act::Process, desk.scope(copy.subject, copy.category))
            .await
            .unwrap();
        self.0
            .remove(copy.subject, copy.locator.as_ref().unwrap(), &permit)
            .await
            .unwrap();
    }
}

async fn library() -> Library {
    Library(MemoryLibrary::new())
}

mod documents {
    kta_core::documents_conformance!(
        #[tokio::test]
        super::library
    );
}

mod collaboration {
    kta_core::collaboration_conformance!(
        #[tokio::test]
        super::library
    );
}

mod labels {
    kta_core::labels_conformance!(
        #[tokio::test]
        super::library
    );
}

mod inventory {
    kta_core::inventory_conformance!(
        #[tokio::test]
        super::library
    );
}

mod erase_library {
    kta_core::erase_conformance!(
        #[tokio::test]
        super::library
    );
}

mod discard_library {
    kta_core::discard_conformance!(
        #[tokio::test]
        super::library
    );
}

mod erase_library_whose_provider_keeps_backups {
    use super::*;

    async fn fresh() -> Library {
        Library(MemoryLibrary::new().keeping(TimeDelta::days(14)))
    }

    kta_core::erase_conformance!(
        #[tokio::test]
        fresh
    );
}

/// A channel and the minute of its next letter.
struct Letterbox(MemoryIntake);

impl Letterbox {
    fn minute(&self) -> Timestamp {
        Desk::opening_hour() + TimeDelta::minutes(self.0.len() as i64)
    }
}

#[async_trait]
impl IntakeBench for Letterbox {
    async fn intake(&self) -> Arc<dyn Intake> {
        Arc::new(self.0.clone())
    }

    async fn send(&self, letter: &intake::Letter) {
        let (name, bytes) = letter.attachment.clone();
        let sent =
            Letter::new(self.minute(), letter.sender.clone()).with("body", letter.text.clone());
        self.0.push(sent.attach(name, MediaType::text(), bytes));
    }

    async fn send_unreadable(&self) {
        self.0
            .push(Letter::new(self.minute(), "").unreadable(Code::IntMalformed));
    }
}

#[async_trait]
impl EraseBench for Letterbox {
    async fn eraser(&self) -> Arc<dyn Erase> {
        Arc::new(self.0.clone())
    }

    async fn copy(&self, desk: &Desk, subject: SubjectId, marked: &str) -> Placement {
        let number = self.0.len() as u64;
        let record = RecordId::derived(&[subject.as_bytes(), &number.to_be_bytes()]);
        let (_, at) = self
            .0
            .push(Letter::new(self.minute(), marked).with("body", marked));
        let of = (CopyOf::Record(record), Category::Case);
        placement(
            desk,
            subject,
            (self.0.channel(), PlacementKind::MailboxItem),
            of,
            at,
        )
    }
}

async fn letterbox() -> Letterbox {
    Letterbox(MemoryIntake::new(Label::fixed("memory-form")))
}

mod intake_channel {
    kta_core::intake_conformance!(
        #[tokio::test]
        super::letterbox
    );
}

mod erase_intake {
    kta_core::erase_conformance!(
        #[tokio::test]
        super::letterbox
    );
}

mod scanner {
    use super::*;

    async fn fresh() -> MemoryScanner {
        MemoryScanner::new()
    }

    kta_core::scanner_conformance!(
        #[tokio::test]
        fresh
    );
}

struct Desktop(MemoryReader);

impl ReaderBench for Desktop {
    fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(self.0)
    }

    fn files(&self, lines: &[&str]) -> Vec<(MediaType, Vec<u8>)> {
        let text = lines.join("\n").into_bytes();
        let headed = [&text[..], b"\n\x00\xFF and what is no text"].concat();
        vec![(MediaType::text(), text), (MediaType::octets(), headed)]
    }

    fn textless(&self) -> Vec<(MediaType, Vec<u8>)> {
        let signature = b"%PDF-1.7\n\xE2\xE3\xCF\xD3".to_vec();
        vec![
            (MediaType::pdf(), signature),
            (MediaType::octets(), vec![b' '; 100]),
        ]
    }
}

mod reader {
    use super::*;

    async fn fresh() -> Desktop {
        Desktop(MemoryReader::new())
    }

    kta_core::reader_conformance!(
        #[tokio::test]
        fresh
    );
}

/// What the in-memory ports want beyond their contracts, so that a caller's slip shows early.
mod stricter_than_life {
    use super::*;
    use kta_core::{Error, FaultKind};

    fn kind<T: core::fmt::Debug>(outcome: Result<T, Error>) -> FaultKind {
        match outcome {
            Err(Error::Broken(fault)) => fault.kind(),
            other => panic!("expected a fault, got {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_key_of_one_document_is_refused_for_another() {
        let (desk, library) = (Desk::new("strict"), library().await);
        let session = desk.session(Role::ServiceSync);
        let scope = desk.scope(desk.beneficiary(), Category::Identity);
        let permit = session.permit(Act::Store, scope).await.unwrap();
        let key = IdempotencyKey::derived("put", &[b"one key"]);
        let put = async |number: u8| {
            let document = Document {
                tenant: desk.tenant(),
                id: DocumentId::derived(&[&[number]]),
                subject: desk.beneficiary(),
                matter: desk.matter(),
                kind: DocumentKind::Passport,
                classification: DocumentKind::Passport.classification(),
                digest: Digest::of(&[number]),
                length: 1,
                media: MediaType::text(),
                derived_from: Vec::new(),
            };
            library
                .0
                .put(
                    &document,
                    None,
                    Content::of(vec![number], MediaType::text()),
                    key,
                    &permit,
                )
                .await
        };
        put(1).await.unwrap();
        assert_eq!(kind(put(2).await), FaultKind::Protocol);
        assert_eq!(library.0.names().len(), 1);
    }

    #[tokio::test]
    async fn what_the_provider_keeps_goes_when_its_window_ends() {
        let window = TimeDelta::days(14);
        let (desk, library) = (
            Desk::new("window"),
            Library(MemoryLibrary::new().keeping(window)),
        );
        let copy = library.copy(&desk, desk.beneficiary(), "marked").await;
        let session = desk.session(Role::ServiceDestroy);
        let scope = || desk.scope(copy.subject, copy.category);
        let permit = session.permit(Act::Destroy, scope()).await.unwrap();
        let key = IdempotencyKey::derived("erase", &[]);
        let erased = library.0.erase(&copy, key, &permit).await.unwrap();
        assert_eq!(erased.window, Some(desk.now() + window));
        let probing = session.permit(Act::Probe, scope()).await.unwrap();
        assert!(!library.0.probe(&copy, &probing).await.unwrap().is_clean());
        desk.clock().advance(window + TimeDelta::seconds(1));
        let probing = session.permit(Act::Probe, scope()).await.unwrap();
        assert!(library.0.probe(&copy, &probing).await.unwrap().is_clean());
    }
}
