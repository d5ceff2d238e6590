//! Rules of retention as data: what a pack of law says about one class.

use std::collections::BTreeSet;

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
    /// To which records it applies.
    #[serde(default)]
    pub applies: Applies,
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

impl Rule {
    /// The trigger that says when the files of somebody else's duty went over to that somebody.
    /// From that day on the duty no longer stands against destroying the firm's own copy.
    pub const TRANSFERRED: Label = Label::fixed("transferred");
}

/// To which records a rule applies, by what the firm says of them: a nexus (`IL`, `GDPR`,
/// `US-NY`), a party (`party.child`), a state (`eea_received`). A default applies to all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applies {
    /// At least one of these, where any are named.
    #[serde(default)]
    pub any: BTreeSet<Label>,
    /// Every one of these.
    #[serde(default)]
    pub all: BTreeSet<Label>,
    /// None of these.
    #[serde(default)]
    pub none: BTreeSet<Label>,
    /// Only in evaluations of this day and later.
    #[serde(default)]
    pub from: Option<NaiveDate>,
}

impl Applies {
    /// Whether the rule applies on `today` to a record of which `nexus` is said.
    #[must_use]
    pub fn to(&self, nexus: &BTreeSet<Label>, today: NaiveDate) -> bool {
        let said = |label: &Label| nexus.contains(label);
        (self.any.is_empty() || self.any.iter().any(said))
            && self.all.iter().all(said)
            && !self.none.iter().any(said)
            && self.from.is_none_or(|from| from <= today)
    }
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
    /// What makes its trigger indispensable all the same: a minor's majority may be absent for an
    /// adult, and must be known for a record of which `party.child` is said.
    #[serde(default)]
    pub needed_when: Option<Label>,
}
