//! What the firm itself knows about a matter: against this, not against what the package says
//! about itself, a package is checked.

use core::fmt;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use chrono::NaiveDate;
use kta_core::Result;
use kta_core::audit::Label;
use kta_core::id::{ActorId, Digest, DocumentId, MatterId, SubjectId};
use kta_core::pii::{Category, Party};
use kta_core::policy::Permit;
use kta_core::ports::channel::Package;
use serde::Deserialize;

/// A matter, as far as a filing must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatterFacts {
    /// The matter.
    pub matter: MatterId,
    /// Who takes part, and on which side.
    pub parties: BTreeMap<SubjectId, Party>,
    /// The firm's documents, by id; also those of other matters, if the firm knows them.
    pub documents: BTreeMap<DocumentId, KnownDocument>,
    /// The signed authority to act (G-28), if there is one.
    pub authority: Option<Authority>,
}

/// A document as the firm took it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownDocument {
    /// Of which matter.
    pub matter: MatterId,
    /// Whose.
    pub subject: SubjectId,
    /// SHA-256 of its content.
    pub digest: Digest,
    /// How guarded it is.
    pub category: Category,
    /// The signature it bears.
    pub signature: Signature,
    /// The language it is in (BCP 47), for example `en` or `he`; `zxx` for none.
    pub language: Label,
    /// For a translation: the document that it translates, completely and certified.
    pub translates: Option<DocumentId>,
}

/// A signed authority to act for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// SHA-256 of the signed document.
    pub digest: Digest,
    /// Who may act.
    pub attorney: ActorId,
    /// The day it was signed.
    pub from: NaiveDate,
    /// Its last day, if it ends.
    pub until: Option<NaiveDate>,
}

/// A signature on a document, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signature {
    /// None.
    #[default]
    None,
    /// Electronic.
    Electronic,
    /// By hand, in ink.
    Wet,
}

/// Where a channel learns the facts of a matter.
///
/// # Behavior
/// - What it answers comes from the firm's own records, never from the package.
#[async_trait]
pub trait FactSource: fmt::Debug + Send + Sync {
    /// The facts of the package's matter, if the firm has such a matter.
    async fn facts(&self, package: &Package, permit: &Permit<'_>) -> Result<Option<MatterFacts>>;
}

/// Facts that somebody filed beforehand.
#[derive(Debug, Default)]
pub struct FactSheets(Mutex<BTreeMap<MatterId, MatterFacts>>);

impl FactSheets {
    /// No facts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Files the facts of a matter, instead of what was filed before.
    pub fn file(&self, facts: MatterFacts) {
        // One insertion is the whole change, so a poisoned map is whole.
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(facts.matter, facts);
    }
}

#[async_trait]
impl FactSource for FactSheets {
    async fn facts(&self, package: &Package, _permit: &Permit<'_>) -> Result<Option<MatterFacts>> {
        Ok(self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&package.matter)
            .cloned())
    }
}
