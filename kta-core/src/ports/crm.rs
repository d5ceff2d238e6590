//! The CRM in which the firm keeps its clients, seen from this side.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::audit::Label;
use crate::error::Result;
use crate::id::{IdempotencyKey, MatterId, RecordId, SubjectId};
use crate::pii::{Category, Fields, Locator, System};
use crate::policy::{LawfulBasis, Permit, Purpose};
use crate::time::Timestamp;

/// A client's record in the CRM.
#[derive(Debug)]
pub struct CrmRecord {
    /// Our own key for it, which the CRM keeps in a unique field.
    pub record: RecordId,
    /// Whose data it is.
    pub subject: SubjectId,
    /// The matter it is kept for.
    pub matter: MatterId,
    /// What it is kept for, and on which basis; the CRM must show both.
    pub purpose: Purpose,
    /// The lawful basis.
    pub basis: LawfulBasis,
    /// The mapped fields.
    pub fields: Fields,
}

/// A client's record as the CRM returned it.
#[derive(Debug)]
pub struct Fetched {
    /// The CRM's own id.
    pub locator: Locator,
    /// When it was last changed, as the CRM says: the revision for [`Crm::amend`].
    pub modified: Timestamp,
    /// The lawful basis that the CRM shows, if it shows one.
    pub basis: Option<LawfulBasis>,
    /// Whether the CRM says that processing is stopped.
    pub stopped: bool,
    /// The mapped fields that are not empty.
    pub fields: Fields,
    /// Unmapped free-text fields that hold something, for the leak check: field and content.
    pub unmapped: Fields,
}

/// Enter, fetch and amend clients' records. Erasing is [`Erase`](crate::ports::Erase)'s.
///
/// # Behavior
/// - The same idempotency key twice is one record; so is the same `record` under two keys.
/// - What was entered is what is fetched, field by field, in any script.
/// - `locate` finds by our own key, never by name or e-mail, and finds nothing for a stranger.
/// - `amend` names the `modified` it expects; if somebody was faster it is a
///   [`Conflict`](crate::error::FaultKind::Conflict).
/// - A field that is not on the map is refused with `SYN-UNMAPPED` before anything is sent.
/// - A field that the CRM withholds is refused with `CRM-FIELD-RESTRICTED`, never read as empty.
/// - A permit that does not cover the person is refused.
#[async_trait]
pub trait Crm: core::fmt::Debug + Send + Sync {
    /// The name under which placements know this system.
    fn system(&self) -> System;

    /// Enters a record, or finds that it is entered.
    ///
    /// # Errors
    /// `ACL-DENY` when the permit does not cover the person and every category, is of another
    /// matter or act, or has ended; `SYN-UNMAPPED`, `CRM-FIELD-RESTRICTED`; `SYN-REPARENT` when
    /// the record stands there for another person or matter; faults of the CRM. The same call
    /// again makes no second record.
    async fn enter(
        &self,
        record: &CrmRecord,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Locator>;

    /// The CRM's id of our record, if it has it.
    ///
    /// # Errors
    /// `ACL-DENY` for a permit that is for another act or has ended; faults of the CRM.
    async fn locate(&self, record: RecordId, permit: &Permit<'_>) -> Result<Option<Locator>>;

    /// The record, or [`NotFound`](crate::error::FaultKind::NotFound).
    ///
    /// # Errors
    /// `ACL-DENY` when the permit does not cover the person, is for another act or has ended, or
    /// the record is somebody else's; `SYN-REPARENT` when it is of another matter than the permit;
    /// `CRM-FIELD-RESTRICTED`; `NotFound`; other faults of the CRM.
    async fn fetch(
        &self,
        subject: SubjectId,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Fetched>;

    /// Changes fields of a record that nobody changed since `expected`; gives its new instant.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch), and `SYN-UNMAPPED`; `Conflict` when it was changed since
    /// `expected`: fetch it again.
    async fn amend(
        &self,
        subject: SubjectId,
        locator: &Locator,
        expected: Timestamp,
        fields: &Fields,
        permit: &Permit<'_>,
    ) -> Result<Timestamp>;
}

/// What changed in the CRM since a cursor.
///
/// # Behavior
/// - From no cursor on, every record is seen at least once.
/// - A change made after a page was cut is seen in a later page.
/// - A deletion is reported as such.
/// - The same cursor again gives the same or more.
#[async_trait]
pub trait ChangeFeed: core::fmt::Debug + Send + Sync {
    /// At most about `limit` changes after `cursor`, oldest first.
    ///
    /// # Errors
    /// `ACL-DENY` for a permit that is for another act or has ended; `Misconfigured` for what is
    /// no cursor of this feed; other faults of the CRM.
    async fn changes(
        &self,
        cursor: Option<&Cursor>,
        limit: usize,
        permit: &Permit<'_>,
    ) -> Result<ChangePage>;
}

/// A page of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangePage {
    /// The changes.
    pub changes: Vec<Change>,
    /// Where to go on.
    pub next: Cursor,
    /// Whether there is more now.
    pub more: bool,
}

/// One change in the CRM; the content is fetched under a permit of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The CRM's id.
    pub locator: Locator,
    /// Our key in it, if it has one.
    pub record: Option<RecordId>,
    /// When.
    pub at: Timestamp,
    /// Whether the record was deleted.
    pub deleted: bool,
}

/// A place in a change feed; opaque, written by the adapter that reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub String);

/// Who has access to the CRM.
///
/// # Behavior
/// - Lists every active user with role, profile and second-factor state as far as the system
///   tells; unknown is `None`, never assumed.
#[async_trait]
pub trait AccessReview: core::fmt::Debug + Send + Sync {
    /// The active users.
    ///
    /// # Errors
    /// `ACL-DENY` for a permit that is for another act or has ended; faults of the CRM.
    async fn users(&self, permit: &Permit<'_>) -> Result<Vec<CrmUser>>;
}

/// One user of the CRM, by ids and flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrmUser {
    /// The CRM's id.
    pub locator: Locator,
    /// The profile's name, as far as it is a label.
    pub profile: Option<Label>,
    /// Whether the profile administers the CRM.
    pub administrator: bool,
    /// Whether a second factor is switched on.
    pub second_factor: Option<bool>,
    /// Whether it is an identity of an integration, not of a person.
    pub integration: bool,
}

/// The vendor's own audit log.
///
/// # Behavior
/// - Rows come oldest first, each with the vendor's time; what is personal in them stays behind.
/// - Asking for the same interval twice gives the same rows.
#[async_trait]
pub trait AuditFeed: core::fmt::Debug + Send + Sync {
    /// The vendor's rows of an interval.
    ///
    /// # Errors
    /// `ACL-DENY` for a permit that is for another act or has ended; faults of the vendor,
    /// `Throttled` while the rows are not ready.
    async fn rows(
        &self,
        from: Timestamp,
        to: Timestamp,
        permit: &Permit<'_>,
    ) -> Result<Vec<AuditRow>>;
}

/// One row of a vendor's log, reduced to what may stand in ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// When, as the vendor says.
    pub at: Timestamp,
    /// What, as a label.
    pub action: Label,
    /// On which of the vendor's records.
    pub on: Option<Locator>,
    /// SHA-256 of the vendor's whole row, so that it can be proved later.
    pub digest: crate::id::Digest,
    /// The most guarded category it may concern.
    pub category: Category,
}
