//! The firm's own memory: [`Store`] with its work queue ([`Jobs`]) and audit log ([`Ledger`]).
//!
//! One adapter implements all three, because a stage's effect is one [`ChangeSet`]: there is no
//! moment in which data exists without its audit entry, or a job without its cause.

mod query;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::audit::{Event, Label};
use crate::crypto::IndexTag;
use crate::error::Result;
use crate::id::{ActorId, Digest, HoldId, JobId, MatterId, SubjectId, TenantId};
use crate::pii::{FieldName, Placement, Record, RecordKey};
use crate::policy::PolicyClass;
use crate::refusal::Code;
use crate::retention::Hold;
use crate::time::Timestamp;

pub use query::{HoldQuery, PlacementQuery, RecordBy, RecordQuery, SheetQuery};

/// The firm's records, placements, holds and registers.
///
/// # Behavior
/// - A change set is committed as a whole or not at all.
/// - A change whose expected revision is not the stored one fails the whole set with a
///   [`Conflict`](crate::error::FaultKind::Conflict) fault; of two concurrent creates one wins.
/// - Every event of a change set becomes one entry, in order, numbered from 0 without gaps per
///   tenant; an entry is never older than the one before it.
/// - A durable change set survives a crash of the machine once `commit` has returned; a bounded
///   one survives a killed process, and a crash of the machine after the stated lag.
/// - A bounded change set of events alone may be numbered after it was answered, but before any
///   change set that is committed later; whoever asks the log afterwards finds its entries there.
/// - What was removed is not found, and its index tags find nothing.
/// - A tenant sees nothing of another.
/// - A hold is never altered or dated back: it is placed, and it is released once; the store
///   dates both.
/// - A record that an active hold covers is not removed:
///   [`DST-HOLD`](crate::refusal::Code::DstHold), and nothing of the set happens.
/// - The revision of a sheet grows by one at each change, whatever revision the sheet says; a
///   record never goes back to a lower revision.
/// - A policy class never changes. A record is read with the class that governs it now: the one
///   it was written under or, where that was superseded, its successor, at once and without a
///   record's being written. A class supersedes neither itself nor what supersedes it.
/// - What is written under a superseded class is governed by its successor, until the class is
///   put in force again; that is on the register of successions.
/// - A record stays in its class until it is moved: writing it again under a class that is
///   another is a conflict.
/// - A query that names a purpose gives only records whose governing class admits it; a class
///   that was never interned admits only what the law itself gives.
/// - A cancelled call leaves no half-write.
/// - Errors and `Debug` contain no stored value.
#[async_trait]
pub trait Store: core::fmt::Debug + Send + Sync {
    /// Applies one change set.
    ///
    /// # Errors
    /// - `Protocol`: those of [`ChangeSet::check`];
    /// - `Conflict`: what is stored is not what a change expects, or the job is in other hands;
    ///   read it again;
    /// - `NotFound`: no such hold, job, record or class to change;
    /// - `DST-HOLD` for a record that is held, `AUD-DOWN` for an entry that no log can hold;
    /// - other faults of the store. After `OutcomeUnknown` read whether it happened; after any
    ///   other error nothing of the set did.
    async fn commit(&self, change: ChangeSet) -> Result<Committed>;

    /// The record at `key`.
    ///
    /// # Errors
    /// Faults of the store.
    async fn record(&self, key: &RecordKey) -> Result<Option<Record>>;

    /// Records by person, matter, index tag, governing class or purpose, in the order of their
    /// ids.
    ///
    /// # Errors
    /// Faults of the store.
    async fn records(&self, query: &RecordQuery) -> Result<Vec<Record>>;

    /// Known copies, in the order of their ids.
    ///
    /// # Errors
    /// Faults of the store.
    async fn placements(&self, query: &PlacementQuery) -> Result<Vec<Placement>>;

    /// Legal holds, in the order of their ids.
    ///
    /// # Errors
    /// Faults of the store.
    async fn holds(&self, query: &HoldQuery) -> Result<Vec<Hold>>;

    /// Sheets of a register, in the order of their ids.
    ///
    /// # Errors
    /// Faults of the store.
    async fn sheets(&self, query: &SheetQuery) -> Result<Vec<Sheet>>;
}

/// The outbox: units of work that outlive the process that enqueued them.
///
/// # Behavior
/// - Jobs are enqueued and settled through a [`ChangeSet`], with their cause and their effect.
/// - The same job id enqueued twice is one job.
/// - A leased job is not leased again before its lease ends; then it is.
/// - A job is leased only when it is due, oldest due time first.
/// - Settling under a lease that has ended and been given to somebody else is a conflict.
#[async_trait]
pub trait Jobs: core::fmt::Debug + Send + Sync {
    /// Leases at most `limit` due jobs until `until`.
    ///
    /// # Errors
    /// `Protocol` for a lease that ends before it begins; faults of the store. A job that was
    /// leased though the answer was lost is leased again after `until`.
    async fn lease(
        &self,
        tenant: TenantId,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Job>>;

    /// Jobs by state, in the order of their ids, for operators and tests.
    ///
    /// # Errors
    /// Faults of the store.
    async fn jobs(&self, tenant: TenantId, state: Option<JobState>) -> Result<Vec<Job>>;
}

/// The audit log as the store keeps it: canonical entries in order.
///
/// # Behavior
/// - Entries come back byte for byte as they were hashed.
/// - `entries` past the end is empty, not an error.
/// - The trail of a person lists every entry that names the person, in log order.
#[async_trait]
pub trait Ledger: core::fmt::Debug + Send + Sync {
    /// How many entries the log has.
    ///
    /// # Errors
    /// Faults of the store.
    async fn size(&self, tenant: TenantId) -> Result<u64>;

    /// At most `limit` canonical entries from number `from` on.
    ///
    /// # Errors
    /// Faults of the store.
    async fn entries(&self, tenant: TenantId, from: u64, limit: usize) -> Result<Vec<Vec<u8>>>;

    /// Who did what with this person's data between two instants (a regulator's query): numbers
    /// of the entries.
    ///
    /// # Errors
    /// Faults of the store.
    async fn trail(
        &self,
        tenant: TenantId,
        subject: SubjectId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<u64>>;
}

/// What one stage changes, together.
#[derive(Clone, Debug)]
pub struct ChangeSet {
    /// The firm.
    pub tenant: TenantId,
    /// When, as the caller's clock has it; entries are never older than their predecessor.
    pub at: Timestamp,
    /// The changes of data.
    pub changes: Vec<Change>,
    /// What happened, for the audit log.
    pub events: Vec<Event>,
    /// How durable the commit must be.
    pub durability: Durability,
}

impl ChangeSet {
    /// An empty, durable change set.
    #[must_use]
    pub const fn new(tenant: TenantId, at: Timestamp) -> Self {
        Self {
            tenant,
            at,
            changes: Vec::new(),
            events: Vec::new(),
            durability: Durability::Durable,
        }
    }

    /// The same with one more change.
    #[must_use]
    pub fn with(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }

    /// The same with one more event.
    #[must_use]
    pub fn event(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }
}

/// One change of data.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[allow(
    clippy::large_enum_variant,
    reason = "change sets are short-lived and small"
)]
pub enum Change {
    /// Puts a job into the outbox; nothing when it is there already.
    Enqueue(Job),
    /// Writes a sheet of a register.
    File {
        /// The sheet.
        sheet: Sheet,
        /// The revision it replaces.
        expected: Expected,
    },
    /// Interns a policy class; nothing when it is there already.
    Intern(PolicyClass),
    /// Places a legal hold.
    PlaceHold(Hold),
    /// Registers a copy, or changes what is known of it.
    PutPlacement(Placement),
    /// Writes a record with its index tags, which replace all earlier ones.
    PutRecord {
        /// The record.
        record: Record,
        /// Its entries in the blind index.
        index: Vec<(FieldName, IndexTag)>,
        /// The revision it replaces.
        expected: Expected,
    },
    /// Moves a record from the class that governs it to another, which must be interned: an
    /// objection, a new consent, a correction. Nothing sealed is rewritten and the record keeps
    /// its revision, which its seals bind; so the class itself is what is expected.
    Reclass {
        /// The record.
        key: RecordKey,
        /// The class that governs it.
        from: Digest,
        /// The class that is to govern it; when that was superseded, its successor.
        to: Digest,
    },
    /// Puts a superseded class in force again for what is written or moved from now on; what it
    /// governed before stays with its successor. Nothing when it is in force.
    Reinstate(Digest),
    /// Releases a legal hold.
    ReleaseHold {
        /// The hold.
        hold: HoldId,
        /// Who released it.
        by: ActorId,
    },
    /// Removes a record and its index tags; nothing when it is not there.
    RemoveRecord(RecordKey),
    /// Removes a sheet; nothing when it is not there.
    RemoveSheet(Register, Label),
    /// Ends a job's lease.
    Settle {
        /// The job.
        job: JobId,
        /// The lease under which it was worked, as [`Job::lease`] gave it; absent settles a job
        /// that its own stage works without leasing it.
        lease: Option<u64>,
        /// How it ended.
        outcome: Settled,
    },
    /// Interns a class and lets it govern everything that another governs, from now on and for
    /// what is yet to be written under that other: a change of law or purpose. Touches classes
    /// only. Nothing when it has happened already.
    Supersede {
        /// The class in force until now.
        from: Digest,
        /// Its successor; when that was superseded itself, what supersedes it.
        to: PolicyClass,
    },
}

/// What a write expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// Anything or nothing.
    Any,
    /// Exactly this revision.
    Revision(u64),
}

/// How durable a commit must be when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Survives a killed process; on disk within the store's stated lag.
    Bounded,
    /// On disk.
    Durable,
}

/// What a commit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Number of the first entry it wrote, and of the next entry when it wrote none. Absent for
    /// a bounded change set of events alone that the store numbers later.
    pub first: Option<u64>,
    /// How many entries it wrote.
    pub entries: u64,
}

/// The firm's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Register {
    /// The access list.
    Actors,
    /// Approvals and proposals.
    Approvals,
    /// Certificates of destruction.
    Certificates,
    /// Signed checkpoints of the audit log.
    Checkpoints,
    /// Interned policy classes.
    Classes,
    /// What was disclosed to whom.
    Disclosures,
    /// Journals of destructions under way.
    Dispositions,
    /// Documents.
    Documents,
    /// Findings of reviews and reconciliations.
    Findings,
    /// Shares.
    Grants,
    /// Improvements.
    Improvements,
    /// Incidents.
    Incidents,
    /// Matters.
    Matters,
    /// Receipts of the pipeline's stages.
    Receipts,
    /// Rotations of keys.
    Rotations,
    /// Data subjects.
    Subjects,
    /// Which policy class superseded which, when.
    Successions,
    /// Keyed marks of the erased, so that they do not come back.
    Suppressions,
    /// Training records.
    Training,
}

impl Register {
    /// Every register, in the order of their names.
    pub const ALL: [Self; 19] = [
        Self::Actors,
        Self::Approvals,
        Self::Certificates,
        Self::Checkpoints,
        Self::Classes,
        Self::Disclosures,
        Self::Dispositions,
        Self::Documents,
        Self::Findings,
        Self::Grants,
        Self::Improvements,
        Self::Incidents,
        Self::Matters,
        Self::Receipts,
        Self::Rotations,
        Self::Subjects,
        Self::Successions,
        Self::Suppressions,
        Self::Training,
    ];

    /// The register's name in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Actors => "actors",
            Self::Approvals => "approvals",
            Self::Certificates => "certificates",
            Self::Checkpoints => "checkpoints",
            Self::Classes => "classes",
            Self::Disclosures => "disclosures",
            Self::Dispositions => "dispositions",
            Self::Documents => "documents",
            Self::Findings => "findings",
            Self::Grants => "grants",
            Self::Improvements => "improvements",
            Self::Incidents => "incidents",
            Self::Matters => "matters",
            Self::Receipts => "receipts",
            Self::Rotations => "rotations",
            Self::Subjects => "subjects",
            Self::Successions => "successions",
            Self::Suppressions => "suppressions",
            Self::Training => "training",
        }
    }
}

/// One sheet of a register: ids, codes and dates, nothing personal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// Which register.
    pub register: Register,
    /// Its name within the register.
    pub id: Label,
    /// The person it concerns.
    pub subject: Option<SubjectId>,
    /// The matter it concerns.
    pub matter: Option<MatterId>,
    /// Grows by one at each change; 1 for a new sheet.
    pub revision: u64,
    /// The JSON of what the register keeps.
    pub body: Vec<u8>,
}

/// A unit of work in the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The job; its idempotency key has the same bytes.
    pub id: JobId,
    /// What is to be done, for example `crm.enter`.
    pub kind: Label,
    /// The person concerned.
    pub subject: Option<SubjectId>,
    /// The matter concerned.
    pub matter: Option<MatterId>,
    /// Not before.
    pub due: Timestamp,
    /// How often it has been leased.
    pub attempts: u32,
    /// Where it stands.
    pub state: JobState,
    /// The number of the present lease; each lease has a higher one.
    pub lease: u64,
    /// Until when the present lease lasts.
    pub leased_until: Option<Timestamp>,
    /// Why it is dead, if it is.
    pub reason: Option<Code>,
    /// What the worker needs: JSON of ids and codes.
    pub payload: Vec<u8>,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Given up; a person must look at it.
    Dead,
    /// Done.
    Done,
    /// A worker has it.
    Leased,
    /// Waiting for its time.
    Waiting,
}

/// How work on a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Given up.
    Dead(Option<Code>),
    /// Done.
    Done,
    /// To be tried again, not before.
    Retry(Timestamp),
}

#[cfg(test)]
mod tests {
    use super::Register;

    /// Whoever reads a register that is none is told of every one there is.
    #[test]
    fn every_register_is_among_all() {
        let none = serde_json::from_str::<Register>("\"none\"").err();
        let told = none.map(|error| error.to_string()).unwrap_or_default();
        let named: Vec<_> = told.split('`').skip(3).step_by(2).collect();
        assert_eq!(named, Register::ALL.map(Register::as_str));
    }
}
