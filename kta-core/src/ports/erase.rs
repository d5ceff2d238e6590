//! What every system that holds copies implements: erase one placement, then probe for residue.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::audit::Label;
use crate::error::Result;
use crate::id::{Digest, IdempotencyKey};
use crate::pii::{Placement, System};
use crate::policy::Permit;
use crate::time::Timestamp;

/// Erasure of one copy in one system.
///
/// # Behavior
/// - `erase` takes away the one placement it is given, with everything the system keeps beneath
///   it (versions, notes, attachments, recycle bins, links), and nothing of anybody else.
/// - Erasing twice is no error and gives the same kind of answer.
/// - `probe` asks the system afresh, by another way than `erase` used where there is one; before
///   an erase it finds the copy, afterwards it reports every residue it can see.
/// - A residue that the provider keeps for a time is reported with that time.
/// - Erasing and probing want permits for [`Act::Destroy`](crate::policy::Act::Destroy) and
///   [`Act::Probe`](crate::policy::Act::Probe) over the person; anything else is refused.
#[async_trait]
pub trait Erase: core::fmt::Debug + Send + Sync {
    /// The name under which placements know this system.
    fn system(&self) -> System;

    /// Erases the copy.
    async fn erase(&self, placement: &Placement, key: IdempotencyKey, permit: &Permit<'_>) -> Result<Erased>;

    /// Looks for what is left of the copy.
    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> Result<Probe>;
}

/// What an erasure did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erased {
    /// How, in the terms of NIST SP 800-88r2 and the provider.
    pub method: Method,
    /// The steps that were taken, for example `record.delete`, `recycle_bin.delete`.
    pub steps: Vec<Label>,
    /// Until when the provider may keep something all the same.
    pub window: Option<Timestamp>,
}

/// How a copy was made to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Purge by destroying the keys (NIST SP 800-88r2, cryptographic erase).
    CryptographicErase,
    /// Logical removal in the firm's own storage, overwritten (clear).
    Overwrite,
    /// Physical destruction of paper or media.
    Physical,
    /// The provider's own deletion, which we can only observe.
    ProviderDeletion,
    /// Nothing to erase: it was handed to somebody else, who was told.
    RecipientNotified,
}

/// What a probe saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// When.
    pub at: Timestamp,
    /// By which questions, for example `record.get:204`, `recycle_bin.list`.
    pub asked: Vec<Label>,
    /// Digest of the system's answers, for the certificate.
    pub evidence: Digest,
    /// What is left.
    pub residues: Vec<Residue>,
}

impl Probe {
    /// Whether nothing was seen.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.residues.is_empty()
    }
}

/// Something that is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Residue {
    /// What, for example `recycle_bin`, `timeline`, `hold_library`.
    pub what: Label,
    /// Until when the provider keeps it, if that is known.
    pub until: Option<Timestamp>,
    /// Whether it holds content of the person (otherwise traces such as ids).
    pub content: bool,
}
