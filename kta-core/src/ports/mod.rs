//! The doors of the house: one small trait a file, contract first.
//!
//! Every port is object-safe, `Debug + Send + Sync`, async where the call leaves the process,
//! and takes the [`Permit`](crate::policy::Permit) last. [`Store`], [`Jobs`], [`Ledger`], [`Kms`],
//! [`KeyTable`] and [`Blobs::contains`] take none: they keep keys, sealed values, ids and dates,
//! and the log itself, in which every permit stands. Before them stand the
//! [`Gate`](crate::policy::Gate) and the [`Sealer`](crate::policy::Sealer).
//!
//! Repeatable writes take an [`IdempotencyKey`](crate::id::IdempotencyKey): the same key twice is
//! one effect. What not every system can do is a trait of its own. Each contract's `# Behavior`
//! bullets are the cases of its [conformance kit](crate::conformance).
//!
//! Under `# Errors`, `ACL-DENY` and its like are [`Code`](crate::refusal::Code)s of refusals;
//! `Conflict` and its like are [`FaultKind`](crate::error::FaultKind)s, which say what the caller
//! may do next.

pub mod blobs;
pub mod channel;
pub mod collaboration;
pub mod crm;
pub mod documents;
pub mod erase;
pub mod intake;
pub mod key_table;
pub mod kms;
pub mod reader;
pub mod scanner;
pub mod store;
mod store_rules;

pub use blobs::{BlobId, Blobs};
pub use channel::{Channel, Package, Part, Submission, SubmissionState};
pub use collaboration::{Collaboration, Grant, GrantRequest, Recipient, SharedRole};
pub use crm::{
    AccessReview, AuditFeed, Change as CrmChange, ChangeFeed, ChangePage, Crm, CrmRecord, CrmUser,
    Cursor,
};
pub use documents::{
    Documents, Inventory, InventoryItem, InventoryPage, Labels, StoredDocument, Version,
};
pub use erase::{Erase, Erased, Method, Probe, Residue};
pub use intake::{ChannelFacts, Delivery, DeliveryPart, Intake, IntakeChannel};
pub use key_table::KeyTable;
pub use kms::Kms;
pub use reader::Reader;
pub use scanner::{Finding, FindingKind, Inspection, Scanner};
pub use store::{Change, ChangeSet, Committed, Durability, Jobs, Ledger, Store};
