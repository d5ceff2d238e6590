//! Rules of retention as data: what a pack of law says about one class.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::audit::Label;
use crate::id::Digest;
use crate::retention::Period;

/// Everything that the packs in force say about one retention class, ready to be read by a
/// lawyer and evaluated by [`evaluate`](crate::retention::evaluate()).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The class, for example `CASE.FILE`.
    pub class: Label,
    /// The rules, in the order of their ids.
    pub rules: Vec<Rule>,
}

/// One rule of law or policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The rule's id, for example `il.claims`.
    pub id: Label,
    /// The nexus that must be there for the rule to apply, for example `GDPR`; none for all.
    #[serde(default)]
    pub nexus: Option<Label>,
    /// Whose duty it is.
    pub holder: Holder,
    /// The least time.
    #[serde(default)]
    pub floor: Option<Term>,
    /// The most time.
    #[serde(default)]
    pub ceiling: Option<Term>,
    /// While this is open (for example `employment`) nothing can be computed.
    #[serde(default)]
    pub while_open: Option<Label>,
    /// Where it stands in the law.
    pub citation: String,
    /// The source in which it was read.
    pub source: String,
    /// When it was last read there.
    pub reviewed_on: NaiveDate,
    /// Whether it was verified; an unverified rule may be simulated, never used to destroy.
    pub verified: bool,
    /// The pack it stands in.
    pub pack: PackRef,
}

/// The pack a rule comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackRef {
    /// The pack.
    pub id: Label,
    /// Its version.
    pub version: Label,
    /// SHA-256 of its file.
    pub digest: Digest,
}

/// Whose duty a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// The client's own originals.
    Client,
    /// The employer's or petitioner's.
    Employer,
    /// The firm's.
    Firm,
}

/// A point in time that one or more triggers give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// How the bounds are combined.
    pub op: Combine,
    /// The bounds.
    pub of: Vec<Bound>,
}

/// How bounds are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// The first whose trigger is known.
    First,
    /// The latest.
    Max,
    /// The earliest.
    Min,
}

/// A period from a trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// The trigger, for example `matter_closed`.
    pub trigger: Label,
    /// The period.
    pub add: Period,
    /// Whether the bound counts only when its trigger is known, such as a minor's majority.
    /// Otherwise an unknown trigger leaves the whole undetermined.
    #[serde(default)]
    pub when_known: bool,
}
