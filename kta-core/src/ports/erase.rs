//! What every system that holds copies implements: erase one placement, then probe for residue.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::audit::{Event, Label, Outcome};
use crate::error::{Error, Fault, FaultKind, Port, Result};
use crate::id::{Digest, IdempotencyKey};
use crate::pii::placement::CopyOf;
use crate::pii::{Placement, RecordKey, System};
use crate::policy::{Act, Permit};
use crate::ports::blobs::BlobId;
use crate::refusal::{Code, Refusal};
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
/// - What a legal hold covers is not erased, under whatever permit.
/// - Erasing and probing want permits for [`Act::Destroy`] and [`Act::Probe`] over the person;
///   anything else is refused.
#[async_trait]
pub trait Erase: core::fmt::Debug + Send + Sync {
    /// The name under which placements know this system.
    fn system(&self) -> System;

    /// Erases the copy.
    ///
    /// # Errors
    /// Those of [`Placement::admit`]: `ACL-DENY`, [`DST-HOLD`](Code::DstHold), a `Protocol` fault
    /// for a copy that this system does not hold; `DST-UNMAPPED` where only a locator tells the
    /// copy and there is none; faults of the system. What was cut short the next call carries to
    /// its end.
    async fn erase(
        &self,
        placement: &Placement,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Erased>;

    /// Looks for what is left of the copy.
    ///
    /// # Errors
    /// `ACL-DENY`, `Protocol` and `DST-UNMAPPED` as for [`erase`](Self::erase); faults of the
    /// system.
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

/// What every eraser of the firm's own systems asks of a placement.
impl Placement {
    /// The name under which placements know the firm's own store.
    pub const STORE: System = Label::fixed("kta-store");
    /// The name under which placements know the firm's own sealed blobs.
    pub const BLOBS: System = Label::fixed("kta-blobs");

    /// Checks that this copy is in `system` and that `permit` is for `act` on it.
    ///
    /// # Errors
    /// [`Code::AclDeny`] when the permit is for something else or within another matter,
    /// [`Code::DstHold`] when the copy was held meanwhile, a fault for another system.
    pub fn admit(&self, system: &System, act: Act, permit: &Permit<'_>) -> Result<()> {
        if permit.tenant() != self.tenant {
            return Err(Refusal::new(Code::AclDeny)
                .about("permit", permit.id())
                .into());
        }
        permit.require(&[act], self.subject, self.category)?;
        // Within one matter nothing of another is destroyed: holds were looked for in the first.
        if act == Act::Destroy
            && let (Some(admitted), Some(its)) = (permit.matter(), self.matter)
            && admitted != its
        {
            return Err(Refusal::new(Code::AclDeny)
                .about("permit", permit.id())
                .into());
        }
        if self.system == *system {
            Ok(())
        } else {
            Err(elsewhere())
        }
    }

    /// The key of the record that this is a copy of.
    ///
    /// # Errors
    /// A fault when it is a copy of a document.
    pub fn stored_record(&self) -> Result<RecordKey> {
        match self.of {
            CopyOf::Record(record) => Ok(RecordKey {
                tenant: self.tenant,
                subject: self.subject,
                record,
            }),
            CopyOf::Document(_) => Err(elsewhere()),
        }
    }

    /// The id of the blob that this is a copy of.
    ///
    /// # Errors
    /// A fault when it is a copy of a record.
    pub fn stored_blob(&self) -> Result<BlobId> {
        match self.of {
            CopyOf::Document(document) => Ok(BlobId {
                tenant: self.tenant,
                subject: self.subject,
                document,
            }),
            CopyOf::Record(_) => Err(elsewhere()),
        }
    }

    /// The entry of its erasure.
    #[must_use]
    pub fn erased(&self, permit: &Permit<'_>) -> Event {
        permit
            .event(Act::Destroy, Outcome::Done)
            .of_subject(self.subject)
            .with("placement", self.id)
            .with("system", self.system.clone())
    }
}

fn elsewhere() -> Error {
    let fault = Fault::new(FaultKind::Protocol, Port::Erase, "erase");
    fault
        .because("a placement that this system does not hold")
        .into()
}
