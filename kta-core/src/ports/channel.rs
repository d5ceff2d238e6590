//! The way to a government agency.

use async_trait::async_trait;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::audit::Label;
use crate::error::Result;
use crate::id::{ActorId, Digest, DocumentId, IdempotencyKey, MatterId, SubjectId};
use crate::pii::{Category, Content, DocumentKind, MediaType};
use crate::policy::{Act, Permit};
use crate::refusal::{Code, Refusal};
use crate::time::Timestamp;

/// A channel to an agency: an interface, encrypted mail, or a person at a portal.
///
/// # Behavior
/// - The same idempotency key twice is one submission.
/// - `find` tells whether a submission under a key exists, and never makes one.
/// - After an unknown outcome, `find` gives the truth.
/// - A package whose parts do not match their digests is refused and leaves nothing behind.
/// - A permit that does not cover every person in the package is refused.
#[async_trait]
pub trait Channel: core::fmt::Debug + Send + Sync {
    /// The channel's name in the agency register.
    fn name(&self) -> Label;

    /// Hands the package over, or prepares the human act by which it will be.
    ///
    /// # Errors
    /// `ACL-DENY` when the permit does not cover every person and category of the package, is of
    /// another matter or act, or has ended; what the channel's own register refuses; a lasting
    /// error such as `Corrupt` when the parts are not what the manifest says; `Conflict` for the
    /// key of another matter's submission; faults of the channel. After `OutcomeUnknown` ask
    /// [`find`](Self::find) first.
    async fn submit(
        &self,
        package: &Package,
        parts: Vec<Content>,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Submission>;

    /// The submission under this key, if there is one.
    ///
    /// # Errors
    /// `ACL-DENY` for a permit that is for another act or has ended; faults of the channel. A
    /// submission of another matter is `None`.
    async fn find(&self, key: IdempotencyKey, permit: &Permit<'_>) -> Result<Option<Submission>>;
}

/// What is filed: a manifest of exactly these parts, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The matter.
    pub matter: MatterId,
    /// The agency, for example `us.uscis`.
    pub agency: Label,
    /// The form, for example `i-129`.
    pub form: Label,
    /// The form's edition date.
    pub edition: NaiveDate,
    /// The day of filing.
    pub on: NaiveDate,
    /// Digest of the signed authority to act (G-28).
    pub authority: Option<Digest>,
    /// The filing attorney.
    pub attorney: ActorId,
    /// The parts.
    pub parts: Vec<Part>,
}

/// One part of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The document.
    pub document: DocumentId,
    /// Whose data it holds.
    pub subject: SubjectId,
    /// What it is.
    pub kind: DocumentKind,
    /// How guarded it is.
    pub category: Category,
    /// What the bytes are.
    pub media: MediaType,
    /// Length in bytes.
    pub length: u64,
    /// SHA-256 of the content: the same as at arrival.
    pub digest: Digest,
}

impl Package {
    /// Digest of the manifest's canonical form: the package's identity.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Serialising a struct of strings, numbers and dates cannot fail.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Checks that `permit` is for handing this package over: in its matter, and for every
    /// person and category in it. Every channel asks this first.
    ///
    /// # Errors
    /// [`Code::AclDeny`] when it is not, or has ended.
    pub fn admit(&self, permit: &Permit<'_>) -> Result<()> {
        if permit.matter() != Some(self.matter) {
            return Err(Refusal::new(Code::AclDeny)
                .about("permit", permit.id())
                .into());
        }
        permit.require_act(&[Act::Transmit])?;
        for part in &self.parts {
            permit.require(&[Act::Transmit], part.subject, part.category)?;
        }
        Ok(())
    }
}

impl Part {
    /// Whether this content promises to be this part: same length, digest and type. Whether it
    /// keeps the promise shows at the end of its stream.
    #[must_use]
    pub fn promises(&self, content: &Content) -> bool {
        (content.length(), content.digest(), content.media())
            == (self.length, self.digest, &self.media)
    }
}

/// A submission as the channel knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// The key it was made under, as text.
    pub key: String,
    /// The package it carries.
    pub package: Digest,
    /// How far it is.
    pub state: SubmissionState,
}

/// How far a submission is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubmissionState {
    /// The agency gave a receipt.
    Acknowledged {
        /// The receipt's number: a case reference, kept sealed elsewhere; here its digest under
        /// the package.
        receipt: Digest,
        /// When.
        at: Timestamp,
    },
    /// Everything is ready for the person who files at the portal.
    Prepared,
    /// Sent; no receipt yet.
    Sent {
        /// When.
        at: Timestamp,
    },
}
