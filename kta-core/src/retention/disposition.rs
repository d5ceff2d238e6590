//! The certificate of destruction: what was observed, by which probe, when; never "does not
//! exist".

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::audit::Label;
use crate::crypto::KeyErased;
use crate::id::{ActorId, CertificateId, Digest, MatterId, PlacementId, SubjectId, TenantId};
use crate::pii::{Locator, PlacementKind, System};
use crate::ports::erase::{Erased, Probe};
use crate::retention::evaluate::Evaluation;
use crate::time::Timestamp;

/// What a certificate of destruction says. The signed form is a C2SP signed note over its
/// canonical JSON; see [`SignedNote`](crate::audit::SignedNote).
///
/// The field list follows NIST SP 800-88r2 section 4.6 and the sample form of revision 1,
/// appendix G, as far as they concern logical media.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The certificate's serial.
    pub id: CertificateId,
    /// The firm.
    pub tenant: TenantId,
    /// The data subject, as the pseudonym the log uses.
    pub subject: SubjectId,
    /// The matter.
    pub matter: MatterId,
    /// Interim or final.
    pub state: CertificateState,
    /// When it was made.
    #[serde(with = "crate::text::instant")]
    pub at: Timestamp,
    /// The standard it speaks of.
    pub standard: String,
    /// The tool and its version.
    pub tool: String,
    /// On which evaluation of which rules of which packs.
    pub authority: Evaluation,
    /// Digest of the frozen set that was approved.
    pub set: Digest,
    /// Who proposed and who approved, with the day of each.
    pub approvals: BTreeMap<Label, (ActorId, NaiveDate)>,
    /// Every known copy.
    pub copies: Vec<CopyOutcome>,
    /// The keys that were destroyed. Without one the certificate claims that the copies were
    /// erased, and no cryptographic erase.
    pub keys: Vec<KeyErased>,
    /// Why the person's key was not destroyed, if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_kept: Option<KeyKept>,
    /// What remains to be said: residues that hold no content, copies given to others.
    pub exceptions: Vec<Label>,
    /// Origin of the audit log that anchors this certificate: an entry of the act `certify`
    /// there holds its id and [`digest`](Self::digest).
    pub log: String,
}

impl Certificate {
    /// The canonical text that is signed: JSON on one line and a line break.
    #[must_use]
    pub fn text(&self) -> String {
        // Serialising a struct of strings, numbers and maps with string keys cannot fail.
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The digest that the anchoring entry holds.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.text().as_bytes())
    }
}

/// That a person's key stays, because it still opens what the firm must keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyKept {
    /// Why, as a code; so far always [`OTHER_MATTERS`](Self::OTHER_MATTERS).
    pub reason: Label,
    /// How many other matters of the person need the key. Which ones, whoever receives the
    /// certificate of this matter need not know.
    pub matters: u32,
    /// When that was seen, immediately before the keys of the matter were destroyed.
    #[serde(with = "crate::text::instant")]
    pub at: Timestamp,
}

impl KeyKept {
    /// The person has another matter: the key goes with the last one.
    pub const OTHER_MATTERS: Label = Label::fixed("other-matters");
}

/// How far a destruction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateState {
    /// Every copy was observed absent, and no window of a provider or of the keys' custodian runs
    /// any more.
    Final,
    /// Erased, but a provider's window, or the waiting period of the keys' custodian, runs until
    /// then; a final one replaces it.
    Interim {
        /// The earliest day of a final certificate.
        until: Timestamp,
    },
}

/// What became of one copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyOutcome {
    /// The placement.
    pub placement: PlacementId,
    /// The system.
    pub system: System,
    /// What it was there.
    pub kind: PlacementKind,
    /// The system's id of it.
    pub locator: Option<Locator>,
    /// What was done.
    pub erased: Erased,
    /// What was seen afterwards.
    pub probe: Probe,
}
