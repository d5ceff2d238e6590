//! The document library.

use async_trait::async_trait;

use crate::audit::Label;
use crate::error::Result;
use crate::id::{Digest, DocumentId, IdempotencyKey, MatterId, SubjectId};
use crate::pii::{Content, Document, Locator, System};
use crate::policy::Permit;
use crate::ports::crm::Cursor;
use crate::time::Timestamp;

/// The firm's document library.
///
/// # Behavior
/// - What was put comes back byte for byte, whatever its size.
/// - The same idempotency key twice is one file with one version.
/// - Another content under the same document id is a new version; the old one stays listed.
/// - A content stream that breaks off leaves no half file and no new version.
/// - The name in the library tells nothing about the person.
/// - Special categories without a label are refused with `DOC-LABEL`.
/// - What was removed is not found; removing it again is no error.
/// - A person of whom anything is held loses no file.
/// - A permit that does not cover the person is refused.
#[async_trait]
pub trait Documents: core::fmt::Debug + Send + Sync {
    /// The name under which placements know this system.
    fn system(&self) -> System;

    /// Stores a document's content, as a new file or a new version.
    ///
    /// # Errors
    /// `ACL-DENY` when the permit does not cover the person and the category, is for another act
    /// or has ended; `DOC-LABEL`; `Corrupt` for content that is not the document's; the error of a
    /// stream that breaks off; other faults of the library. The same call again makes no second
    /// version.
    async fn put(
        &self,
        document: &Document,
        label: Option<&Label>,
        content: Content,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<StoredDocument>;

    /// Where the document is, if the library has it.
    ///
    /// # Errors
    /// `ACL-DENY` for a permit that is for another act or has ended; faults of the library.
    async fn locate(
        &self,
        matter: MatterId,
        document: DocumentId,
        permit: &Permit<'_>,
    ) -> Result<Option<StoredDocument>>;

    /// The current content, or [`NotFound`](crate::error::FaultKind::NotFound).
    ///
    /// # Errors
    /// `ACL-DENY` as for [`put`](Self::put), `NotFound`; other faults of the library. In the
    /// stream: those, and `Corrupt` when the bytes are not the document's.
    async fn content(
        &self,
        document: &Document,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Content>;

    /// The versions, newest first.
    ///
    /// # Errors
    /// `ACL-DENY` when the permit does not cover the person, is for another act or has ended;
    /// `NotFound`; other faults of the library.
    async fn versions(
        &self,
        subject: SubjectId,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Vec<Version>>;

    /// Takes the file out of the working library the ordinary way (for the end of its life
    /// there is [`Erase`](crate::ports::Erase)). A person of whom anything is held loses no file:
    /// [`DST-HOLD`](crate::refusal::Code::DstHold).
    ///
    /// # Errors
    /// `ACL-DENY` as for [`versions`](Self::versions), `DST-HOLD`; faults of the library. It may
    /// be called again after any fault.
    async fn remove(
        &self,
        subject: SubjectId,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<()>;
}

/// A document in the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDocument {
    /// The library's id.
    pub locator: Locator,
    /// Its present version.
    pub version: Label,
    /// Length in bytes as the library says.
    pub length: u64,
}

/// One version of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The library's name for it.
    pub id: Label,
    /// When it was made.
    pub at: Timestamp,
    /// Length in bytes.
    pub length: u64,
}

/// Retention labels of the library.
///
/// # Behavior
/// - A label that was set is read back.
/// - Clearing a label leaves none.
#[async_trait]
pub trait Labels: core::fmt::Debug + Send + Sync {
    /// Sets or clears the label.
    ///
    /// # Errors
    /// `ACL-DENY` when the permit does not cover the person, is for another act or has ended;
    /// `DOC-LABEL` or `DST-HOLD` where a label may not be cleared; `NotFound` when there is no
    /// file to set it on; other faults of the library.
    async fn label(
        &self,
        subject: SubjectId,
        locator: &Locator,
        label: Option<&Label>,
        permit: &Permit<'_>,
    ) -> Result<()>;

    /// The label, if there is one.
    ///
    /// # Errors
    /// `ACL-DENY` as for [`label`](Self::label); faults of the library. A file that is not there
    /// is `NotFound`, or has none.
    async fn labelled(
        &self,
        subject: SubjectId,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Option<Label>>;
}

/// What is in the library, in steps.
///
/// # Behavior
/// - From no cursor on, every file is seen.
/// - Later pages show what was added, changed and deleted since.
/// - A cursor that the library no longer knows starts over from the beginning and says so.
#[async_trait]
pub trait Inventory: core::fmt::Debug + Send + Sync {
    /// The next page after `cursor`.
    ///
    /// # Errors
    /// `ACL-DENY` for a permit that is for another act or has ended; faults of the library.
    async fn inventory(
        &self,
        cursor: Option<&Cursor>,
        permit: &Permit<'_>,
    ) -> Result<InventoryPage>;
}

/// A page of an inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryPage {
    /// The items.
    pub items: Vec<InventoryItem>,
    /// Where to go on.
    pub next: Cursor,
    /// Whether there is more now.
    pub more: bool,
    /// Whether the library made us start over: what is not seen again is gone.
    pub restarted: bool,
}

/// One item of an inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryItem {
    /// The library's id.
    pub locator: Locator,
    /// Our id, if the name is one of ours.
    pub document: Option<DocumentId>,
    /// Length in bytes; absent for deleted items.
    pub length: Option<u64>,
    /// The library's own hash, as far as it gives one.
    pub hash: Option<Digest>,
    /// Whether it was deleted.
    pub deleted: bool,
}
