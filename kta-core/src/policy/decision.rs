//! The answer, with its reasons.

use serde::{Deserialize, Serialize};

use crate::audit::Label;
use crate::id::Digest;
use crate::refusal::Code;

/// The answer to an access request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Yes or no.
    pub verdict: Verdict,
    /// Why, deciding rule first; never empty for a yes.
    pub reasons: Vec<Reason>,
    /// What whoever is admitted must also do.
    pub obligations: Vec<Obligation>,
    /// SHA-256 of the policy set that decided.
    pub policy: Digest,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No, with the code of the refusal.
    Deny(Code),
    /// Yes.
    Permit,
}

/// One rule that took part in a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// The rule's id in the policy set.
    pub rule: Label,
    /// What the rule says, in words written by whoever wrote the rule.
    pub text: String,
}

/// What a yes is tied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Obligation {
    /// Each opening must be on disk in the log before the value is seen.
    DurableOpening,
    /// Somebody else must review the access afterwards.
    Review,
}
