//! A [`mockall`] double of each port, for unit tests of code that stands on one.
//!
//! The [in-memory ports](crate::memory) keep their contracts, and with
//! [`Flaky`](crate::memory::Flaky) they fail before or after an effect; that is what most tests
//! want. A double keeps no contract: it answers what a test told it to, and says when it was
//! called otherwise. It is for the unit seam: *was this asked at all, how often, in which order,
//! with what*, and for answers that a strict port never gives.
//!
//! Each double is named for its port: [`MockStore`] is a [`Store`], with `expect_commit` for
//! [`commit`](Store::commit). A call without an expectation panics, and so does dropping a double
//! whose expectations were not met. What an expectation prints of its arguments is their `Debug`,
//! which shows nothing personal. [`Sequence`] orders calls, over several doubles too;
//! [`predicate`] has ready-made conditions on arguments.
//!
//! ```
//! use kta_core::id::TenantId;
//! use kta_core::mocks::MockLedger;
//! use kta_core::ports::Ledger;
//! use kta_core::{Fault, FaultKind, Port, Result};
//!
//! /// The code under test: whether the log has grown since it was last seen.
//! async fn has_grown(log: &dyn Ledger, tenant: TenantId, seen: u64) -> Result<bool> {
//!     Ok(log.size(tenant).await? > seen)
//! }
//!
//! # fn block<F: Future>(f: F) -> F::Output {
//! #     let mut f = std::pin::pin!(f);
//! #     let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
//! #     loop { if let std::task::Poll::Ready(out) = f.as_mut().poll(&mut cx) { return out; } }
//! # }
//! # block(async {
//! let tenant = TenantId::derived(&[b"example"]);
//! let mut log = MockLedger::new();
//! log.expect_size().withf(move |asked| *asked == tenant).times(1).returning(|_| Ok(8));
//! assert_eq!(has_grown(&log, tenant, 7).await, Ok(true));
//!
//! log.expect_size().times(1).returning(|_| {
//!     Err(Fault::new(FaultKind::Unavailable, Port::Store, "size").into())
//! });
//! assert!(has_grown(&log, tenant, 7).await.is_err());
//! # });
//! ```
//!
//! Why the lifetimes below have names: a double keeps its arguments' types, and the macro cannot
//! write `Permit<'_>` into them. They stand in the order of the arguments, as the traits' own do.

use async_trait::async_trait;
use mockall::mock;

pub use mockall::{Sequence, predicate};

use crate::audit::Label;
use crate::crypto::SecretKey;
use crate::error::Result;
use crate::id::{
    DeliveryId, Digest, DocumentId, IdempotencyKey, MatterId, RecordId, SubjectId, TenantId,
};
use crate::pii::Record;
use crate::pii::{
    Content, ContentStream, Document, Fields, Locator, MediaType, Pii, Placement, RecordKey, System,
};
use crate::policy::{AccessRequest, Decision, Permit, Policy};
use crate::ports::crm::{AuditRow, Fetched};
use crate::ports::key_table::{KeyChange, KeyCopy, KeyRows, Wanted};
use crate::ports::kms::{KekDestroyed, KekId, KekState, WrappedKey};
use crate::ports::store::{
    HoldQuery, Job, JobState, PlacementQuery, RecordQuery, Sheet, SheetQuery,
};
use crate::ports::{
    AccessReview, AuditFeed, BlobId, Blobs, ChangeFeed, ChangePage, ChangeSet, Channel,
    Collaboration, Committed, Crm, CrmRecord, CrmUser, Cursor, Delivery, Documents, Erase, Erased,
    FindingKind, Grant, GrantRequest, Inspection, Intake, Inventory, InventoryPage, Jobs, KeyTable,
    Kms, Labels, Ledger, Package, Probe, Reader, Scanner, Store, StoredDocument, Submission,
    Version,
};
use crate::retention::Hold;
use crate::time::{Clock, Entropy, Timestamp};

mock! {
    /// A double of [`AccessReview`].
    #[derive(Debug)]
    pub AccessReview {}

    #[async_trait]
    impl AccessReview for AccessReview {
        async fn users<'s, 'p, 'q>(&'s self, permit: &'p Permit<'q>) -> Result<Vec<CrmUser>>;
    }
}

mock! {
    /// A double of [`AuditFeed`].
    #[derive(Debug)]
    pub AuditFeed {}

    #[async_trait]
    impl AuditFeed for AuditFeed {
        async fn rows<'s, 'p, 'q>(
            &'s self,
            from: Timestamp,
            to: Timestamp,
            permit: &'p Permit<'q>,
        ) -> Result<Vec<AuditRow>>;
    }
}

mock! {
    /// A double of [`Blobs`].
    #[derive(Debug)]
    pub Blobs {}

    #[async_trait]
    impl Blobs for Blobs {
        async fn put<'s, 'i, 'p, 'q>(
            &'s self,
            id: &'i BlobId,
            sealed: ContentStream,
            permit: &'p Permit<'q>,
        ) -> Result<(u64, Digest)>;
        async fn replace<'s, 'i, 'p, 'q>(
            &'s self,
            id: &'i BlobId,
            sealed: ContentStream,
            permit: &'p Permit<'q>,
        ) -> Result<(u64, Digest)>;
        async fn stream<'s, 'i, 'p, 'q>(
            &'s self,
            id: &'i BlobId,
            permit: &'p Permit<'q>,
        ) -> Result<ContentStream>;
        async fn remove<'s, 'i, 'p, 'q>(
            &'s self,
            id: &'i BlobId,
            permit: &'p Permit<'q>,
        ) -> Result<()>;
        async fn contains(&self, id: &BlobId) -> Result<bool>;
    }
}

mock! {
    /// A double of [`ChangeFeed`].
    #[derive(Debug)]
    pub ChangeFeed {}

    #[async_trait]
    impl ChangeFeed for ChangeFeed {
        async fn changes<'s, 'c, 'p, 'q>(
            &'s self,
            cursor: Option<&'c Cursor>,
            limit: usize,
            permit: &'p Permit<'q>,
        ) -> Result<ChangePage>;
    }
}

mock! {
    /// A double of [`Channel`].
    #[derive(Debug)]
    pub Channel {}

    #[async_trait]
    impl Channel for Channel {
        fn name(&self) -> Label;
        async fn submit<'s, 'pa, 'p, 'q>(
            &'s self,
            package: &'pa Package,
            parts: Vec<Content>,
            key: IdempotencyKey,
            permit: &'p Permit<'q>,
        ) -> Result<Submission>;
        async fn find<'s, 'p, 'q>(
            &'s self,
            key: IdempotencyKey,
            permit: &'p Permit<'q>,
        ) -> Result<Option<Submission>>;
    }
}

mock! {
    /// A double of [`Clock`].
    #[derive(Debug)]
    pub Clock {}

    impl Clock for Clock {
        fn now(&self) -> Timestamp;
    }
}

mock! {
    /// A double of [`Collaboration`].
    #[derive(Debug)]
    pub Collaboration {}

    #[async_trait]
    impl Collaboration for Collaboration {
        async fn grant<'s, 'r, 'p, 'q>(
            &'s self,
            request: &'r GrantRequest,
            key: IdempotencyKey,
            permit: &'p Permit<'q>,
        ) -> Result<Grant>;
        async fn grants<'s, 'l, 'p, 'q>(
            &'s self,
            subject: SubjectId,
            locator: &'l Locator,
            permit: &'p Permit<'q>,
        ) -> Result<Vec<Grant>>;
        async fn revoke<'s, 'l, 'g, 'p, 'q>(
            &'s self,
            subject: SubjectId,
            locator: &'l Locator,
            grant: &'g Locator,
            permit: &'p Permit<'q>,
        ) -> Result<()>;
    }
}

mock! {
    /// A double of [`Crm`].
    #[derive(Debug)]
    pub Crm {}

    #[async_trait]
    impl Crm for Crm {
        fn system(&self) -> System;
        async fn enter<'s, 'r, 'p, 'q>(
            &'s self,
            record: &'r CrmRecord,
            key: IdempotencyKey,
            permit: &'p Permit<'q>,
        ) -> Result<Locator>;
        async fn locate<'s, 'p, 'q>(
            &'s self,
            record: RecordId,
            permit: &'p Permit<'q>,
        ) -> Result<Option<Locator>>;
        async fn fetch<'s, 'l, 'p, 'q>(
            &'s self,
            subject: SubjectId,
            locator: &'l Locator,
            permit: &'p Permit<'q>,
        ) -> Result<Fetched>;
        async fn amend<'s, 'l, 'f, 'p, 'q>(
            &'s self,
            subject: SubjectId,
            locator: &'l Locator,
            expected: Timestamp,
            fields: &'f Fields,
            permit: &'p Permit<'q>,
        ) -> Result<Timestamp>;
    }
}

mock! {
    /// A double of [`Documents`].
    #[derive(Debug)]
    pub Documents {}

    #[async_trait]
    impl Documents for Documents {
        fn system(&self) -> System;
        async fn put<'s, 'd, 'l, 'p, 'q>(
            &'s self,
            document: &'d Document,
            label: Option<&'l Label>,
            content: Content,
            key: IdempotencyKey,
            permit: &'p Permit<'q>,
        ) -> Result<StoredDocument>;
        async fn locate<'s, 'p, 'q>(
            &'s self,
            matter: MatterId,
            document: DocumentId,
            permit: &'p Permit<'q>,
        ) -> Result<Option<StoredDocument>>;
        async fn content<'s, 'd, 'l, 'p, 'q>(
            &'s self,
            document: &'d Document,
            locator: &'l Locator,
            permit: &'p Permit<'q>,
        ) -> Result<Content>;
        async fn versions<'s, 'l, 'p, 'q>(
            &'s self,
            subject: SubjectId,
            locator: &'l Locator,
            permit: &'p Permit<'q>,
        ) -> Result<Vec<Version>>;
        async fn remove<'s, 'l, 'p, 'q>(
            &'s self,
            subject: SubjectId,
            locator: &'l Locator,
            permit: &'p Permit<'q>,
        ) -> Result<()>;
    }
}

mock! {
    /// A double of [`Entropy`].
    #[derive(Debug)]
    pub Entropy {}

    impl Entropy for Entropy {
        fn fill(&self, buffer: &mut [u8]);
    }
}

mock! {
    /// A double of [`Erase`].
    #[derive(Debug)]
    pub Erase {}

    #[async_trait]
    impl Erase for Erase {
        fn system(&self) -> System;
        async fn erase<'s, 'pl, 'p, 'q>(
            &'s self,
            placement: &'pl Placement,
            key: IdempotencyKey,
            permit: &'p Permit<'q>,
        ) -> Result<Erased>;
        async fn probe<'s, 'pl, 'p, 'q>(
            &'s self,
            placement: &'pl Placement,
            permit: &'p Permit<'q>,
        ) -> Result<Probe>;
    }
}

mock! {
    /// A double of [`Intake`].
    #[derive(Debug)]
    pub Intake {}

    #[async_trait]
    impl Intake for Intake {
        fn channel(&self) -> Label;
        async fn oldest<'s, 'p, 'q>(&'s self, permit: &'p Permit<'q>) -> Result<Option<Delivery>>;
        async fn acknowledge<'s, 'p, 'q>(
            &'s self,
            delivery: DeliveryId,
            permit: &'p Permit<'q>,
        ) -> Result<()>;
    }
}

mock! {
    /// A double of [`Inventory`].
    #[derive(Debug)]
    pub Inventory {}

    #[async_trait]
    impl Inventory for Inventory {
        async fn inventory<'s, 'c, 'p, 'q>(
            &'s self,
            cursor: Option<&'c Cursor>,
            permit: &'p Permit<'q>,
        ) -> Result<InventoryPage>;
    }
}

mock! {
    /// A double of [`Jobs`].
    #[derive(Debug)]
    pub Jobs {}

    #[async_trait]
    impl Jobs for Jobs {
        async fn lease(
            &self,
            tenant: TenantId,
            now: Timestamp,
            until: Timestamp,
            limit: usize,
        ) -> Result<Vec<Job>>;
        async fn jobs(&self, tenant: TenantId, state: Option<JobState>) -> Result<Vec<Job>>;
    }
}

mock! {
    /// A double of [`KeyTable`].
    #[derive(Debug)]
    pub KeyTable {}

    #[async_trait]
    impl KeyTable for KeyTable {
        async fn read(&self, tenant: TenantId, wanted: &[Wanted]) -> Result<KeyRows>;
        async fn commit(&self, change: KeyChange) -> Result<u64>;
        async fn copies(&self, tenant: TenantId) -> Result<Vec<KeyCopy>>;
    }
}

mock! {
    /// A double of [`Kms`].
    #[derive(Debug)]
    pub Kms {}

    #[async_trait]
    impl Kms for Kms {
        async fn create(&self, tenant: TenantId, key: IdempotencyKey) -> Result<KekId>;
        async fn wrap(&self, kek: &KekId, secret: &SecretKey, context: &[u8]) -> Result<WrappedKey>;
        async fn unwrap(
            &self,
            kek: &KekId,
            wrapped: &WrappedKey,
            context: &[u8],
        ) -> Result<SecretKey>;
        async fn destroy(&self, kek: &KekId, at: Timestamp) -> Result<KekDestroyed>;
        async fn state(&self, kek: &KekId) -> Result<KekState>;
    }
}

mock! {
    /// A double of [`Labels`].
    #[derive(Debug)]
    pub Labels {}

    #[async_trait]
    impl Labels for Labels {
        async fn label<'s, 'l, 'la, 'p, 'q>(
            &'s self,
            subject: SubjectId,
            locator: &'l Locator,
            label: Option<&'la Label>,
            permit: &'p Permit<'q>,
        ) -> Result<()>;
        async fn labelled<'s, 'l, 'p, 'q>(
            &'s self,
            subject: SubjectId,
            locator: &'l Locator,
            permit: &'p Permit<'q>,
        ) -> Result<Option<Label>>;
    }
}

mock! {
    /// A double of [`Ledger`].
    #[derive(Debug)]
    pub Ledger {}

    #[async_trait]
    impl Ledger for Ledger {
        async fn size(&self, tenant: TenantId) -> Result<u64>;
        async fn entries(&self, tenant: TenantId, from: u64, limit: usize) -> Result<Vec<Vec<u8>>>;
        async fn trail(
            &self,
            tenant: TenantId,
            subject: SubjectId,
            from: Timestamp,
            to: Timestamp,
        ) -> Result<Vec<u64>>;
    }
}

mock! {
    /// A double of [`Policy`].
    #[derive(Debug)]
    pub Policy {}

    impl Policy for Policy {
        fn decide<'p>(&self, request: &AccessRequest<'p>) -> Decision;
    }
}

mock! {
    /// A double of [`Reader`].
    #[derive(Debug)]
    pub Reader {}

    impl Reader for Reader {
        fn text<'p>(
            &self,
            media: &MediaType,
            bytes: &Pii<Vec<u8>>,
            permit: &Permit<'p>,
        ) -> Result<Option<Pii<String>>>;
    }
}

mock! {
    /// A double of [`Scanner`].
    #[derive(Debug)]
    pub Scanner {}

    #[async_trait]
    impl Scanner for Scanner {
        async fn inspect<'s, 'p, 'q>(
            &'s self,
            content: Content,
            permit: &'p Permit<'q>,
        ) -> Result<Inspection>;
        async fn redact<'s, 't, 'k, 'p, 'q>(
            &'s self,
            text: &'t Pii<String>,
            kinds: &'k [FindingKind],
            permit: &'p Permit<'q>,
        ) -> Result<Pii<String>>;
    }
}

mock! {
    /// A double of [`Store`].
    #[derive(Debug)]
    pub Store {}

    #[async_trait]
    impl Store for Store {
        async fn commit(&self, change: ChangeSet) -> Result<Committed>;
        async fn record(&self, key: &RecordKey) -> Result<Option<Record>>;
        async fn records(&self, query: &RecordQuery) -> Result<Vec<Record>>;
        async fn placements(&self, query: &PlacementQuery) -> Result<Vec<Placement>>;
        async fn holds(&self, query: &HoldQuery) -> Result<Vec<Hold>>;
        async fn sheets(&self, query: &SheetQuery) -> Result<Vec<Sheet>>;
    }
}
