//! A firm's own policies and roles: data that two people sign after they saw what it changes.
//!
//! ```text
//!   file ──parse──► PolicyChange ──analyse──► Analysis ──proof, two signatures──► SignedChange ──► InForce
//!                        │                       │ a wall weakens, one role does both
//!                        ▼                       ▼
//!                   fault: not a change       refused, whoever signed
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use chrono::NaiveDate;
use kta_core::audit::{Label, NoteKey, SignedNote};
use kta_core::id::{ActorId, Digest, MatterId};
use kta_core::pii::Category;
use kta_core::policy::{Act, Directory, Purpose, Role};
use kta_core::time::Timestamp;
use kta_core::{Code, Refusal, Result};
use serde::Deserialize;

use super::in_force::SignedChange;
use super::population::Population;
use super::{BARS, CedarPolicy, GRANTS, SCHEMA, wrong};
#[cfg(feature = "proof")]
use super::{Difference, Idle, Property, Prover};

/// What a firm adds to the policy that ships: a file whose form is right. It is the whole of what
/// the firm adds; a later one takes its place.
///
/// Grants and bars are Cedar over the schema of the house; their ids begin with `firm.`, and the
/// bars come after those of the house (`@order` from `50`), so that none can lend a refusal
/// another code than the house's. A role of the firm is a title within one role of the house and
/// narrows it to some acts; grants may widen what the title does.
///
/// ```toml
/// [change]
/// id = "invented-firm"
/// version = "2026-11"
/// review_by = 2027-11-30
/// approved_by = ["attorney", "ciso"]
/// text = "case clerks; exports from managed devices only"
///
/// [[role]]
/// title = "case-clerk"
/// acts_as = "paralegal"
/// acts = ["open", "search"]
/// reach = ["personal"]
/// text = "case clerks look, and change nothing"
///
/// [cedar]
/// bars = '''
/// @id("firm.export.device") @order("50") @code("ACL-DENY")
/// @text("exports need a managed device")
/// forbid(principal, action == Action::"export", resource)
/// unless { context has device && context.device == "managed" };
/// '''
/// ```
#[derive(Clone, Debug)]
pub struct PolicyChange {
    head: Head,
    rules: BTreeSet<Label>,
    grants: String,
    bars: String,
    digest: Digest,
}

/// What a change does to the policy that it would replace. Signatures are over this: nobody can
/// sign a change without there being an analysis, nor activate it over another policy.
#[derive(Debug)]
pub struct Analysis {
    head: Head,
    file: Digest,
    rules: BTreeSet<Label>,
    before: Digest,
    after: CedarPolicy,
    effects: Vec<Effect>,
    weakened: Vec<(ActorId, MatterId)>,
    looked_at: (usize, usize),
    one_role: Option<Role>,
    #[cfg(feature = "proof")]
    proof: Option<Proved>,
}

/// What one person could do that the change takes, or would be able to do that it gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Who.
    pub actor: ActorId,
    /// In which role.
    pub role: Role,
    /// What.
    pub act: Act,
    /// Whether it is admitted after the change; otherwise it was before.
    pub gains: bool,
    /// In how many of the cases that were looked at.
    pub cases: usize,
    /// One of these.
    pub sample: Sample,
}

/// A case that is decided otherwise after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// In which matter.
    pub matter: Option<MatterId>,
    /// Of which category.
    pub category: Category,
    /// For which purpose.
    pub purpose: Purpose,
}

#[cfg(feature = "proof")]
#[derive(Debug)]
struct Proved {
    refuted: Option<super::Counterexample>,
    difference: Difference,
    idle: Idle,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    change: Head,
    #[serde(default)]
    role: Vec<Title>,
    #[serde(default)]
    cedar: Cedar,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    id: Label,
    version: Label,
    #[serde(deserialize_with = "day")]
    review_by: NaiveDate,
    approved_by: BTreeSet<Label>,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Title {
    title: Label,
    acts_as: Role,
    acts: BTreeSet<Act>,
    reach: BTreeSet<Reach>,
    text: String,
    #[serde(default)]
    text_he: Option<String>,
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
enum Reach {
    Firm,
    Personal,
    Special,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cedar {
    #[serde(default)]
    grants: String,
    #[serde(default)]
    bars: String,
}

impl PolicyChange {
    /// Reads a change. What it says is validated against the schema of the house.
    ///
    /// # Errors
    /// [`FaultKind::Misconfigured`](kta_core::FaultKind::Misconfigured) for anything but a
    /// well-formed change: unknown keys and roles, a rule whose id does not begin with `firm.` or
    /// is used twice, a bar before the house's, fewer than two approvers, and as
    /// [`CedarPolicy::new`].
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > CedarPolicy::LONGEST {
            return Err(wrong("a text is too long"));
        }
        let file: File = toml::from_str(text).map_err(|_| wrong("not a policy change"))?;
        if file.change.approved_by.len() < 2 {
            return Err(wrong("a change that fewer than two approve"));
        }
        let mut bars = String::new();
        for title in &file.role {
            title.write(&mut bars);
        }
        let titles = bars.clone();
        bars.push_str(&file.cedar.bars);
        let mut rules = BTreeSet::new();
        for (text, written) in [
            (&file.cedar.grants, false),
            (&titles, true),
            (&file.cedar.bars, false),
        ] {
            super::within_bounds(text)?;
            let set: cedar_policy::PolicySet =
                text.parse().map_err(|_| wrong("a policy does not parse"))?;
            for policy in set.policies() {
                let id = policy.annotation("id").unwrap_or_default();
                if !id.starts_with("firm.") || (!written && id.starts_with(TITLE)) {
                    return Err(wrong("a rule whose id is not the firm's"));
                }
                let late = policy
                    .annotation("order")
                    .is_none_or(|order| order >= FIRST);
                let id = Label::new(id).map_err(|_| wrong("a rule's id is no label"))?;
                if !rules.insert(id) || !late {
                    return Err(wrong("an id used twice, or a bar before the house's"));
                }
            }
        }
        let change = Self {
            head: file.change,
            rules,
            grants: file.cedar.grants,
            bars,
            digest: Digest::of(text.as_bytes()),
        };
        change.policy()?;
        Ok(change)
    }

    /// What the change does, over the people and matters of this directory: who gains, who loses,
    /// and whether a wall weakens. With the feature `proof` [`Analysis::prove`] says it for all
    /// requests.
    ///
    /// # Errors
    /// As [`CedarPolicy::new`].
    pub fn analyse(
        &self,
        before: &CedarPolicy,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<Analysis> {
        let after = self.policy()?;
        let population = Population { directory, now };
        let looked_at = (
            directory.actors.len().min(Analysis::PEOPLE),
            directory.actors.len(),
        );
        Ok(Analysis {
            head: self.head.clone(),
            file: self.digest,
            rules: self.rules.clone(),
            before: before.digest(),
            effects: population.effects(before, &after),
            weakened: population.weakened(&after),
            looked_at,
            one_role: after.approves_and_executes(),
            after,
            #[cfg(feature = "proof")]
            proof: None,
        })
    }

    fn policy(&self) -> Result<CedarPolicy> {
        let with = |house: &str, own: &str| format!("{house}\n{own}");
        CedarPolicy::new(SCHEMA, &with(GRANTS, &self.grants), &with(BARS, &self.bars))
    }
}

impl Analysis {
    /// The most people whose access is compared one by one, in the order of their ids.
    pub const PEOPLE: usize = 500;

    /// Who gains and who loses what.
    #[must_use]
    pub fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// Proves for all requests what must hold of every policy, and what the change makes wider
    /// and narrower.
    ///
    /// # Errors
    /// As [`Prover::difference`]; and for a `before` that is not the one which was analysed.
    #[cfg(feature = "proof")]
    pub fn prove(&mut self, prover: &Prover, before: &CedarPolicy) -> Result<()> {
        if before.digest() != self.before {
            return Err(wrong("another policy than the one that was analysed"));
        }
        self.proof = Some(Proved {
            refuted: prover.refute(&self.after, &Property::ALL)?,
            difference: prover.difference(before, &self.after)?,
            idle: prover.idle(&self.after, &self.rules)?,
        });
        Ok(())
    }

    /// What the change makes wider and narrower over all requests, once that was proved.
    #[cfg(feature = "proof")]
    #[must_use]
    pub fn difference(&self) -> Option<&Difference> {
        self.proof.as_ref().map(|proof| &proof.difference)
    }

    /// The rules of the change that do nothing, once that was proved.
    #[cfg(feature = "proof")]
    #[must_use]
    pub fn idle(&self) -> Option<&Idle> {
        self.proof.as_ref().map(|proof| &proof.idle)
    }

    /// What no signature cures: a wall that weakens, one role that both approves and executes a
    /// destruction, a property that is refuted.
    #[must_use]
    pub fn flaw(&self) -> Option<&'static str> {
        if !self.weakened.is_empty() {
            return Some("wall-weakened");
        }
        if self.one_role.is_some() {
            return Some("one-role-approves-and-destroys");
        }
        #[cfg(feature = "proof")]
        if self
            .proof
            .as_ref()
            .is_some_and(|proof| proof.refuted.is_some())
        {
            return Some("property-refuted");
        }
        None
    }

    /// The analysis in words, for whoever signs it. Ids and codes only.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = String::new();
        let (looked, all) = self.looked_at;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "policy change {} {}", self.head.id, self.head.version);
        let _ = writeln!(text, "{}", self.head.text);
        let _ = writeln!(text, "rules: {}", self.rules.len());
        let _ = writeln!(text, "people looked at: {looked} of {all}");
        for effect in &self.effects {
            let verb = if effect.gains { "gains" } else { "loses" };
            let _ = writeln!(
                text,
                "{} {verb} {} as {} in {} cases, such as {} for {}",
                effect.actor,
                effect.act,
                effect.role.as_str(),
                effect.cases,
                effect.sample.category.as_str(),
                effect.sample.purpose.as_str(),
            );
        }
        for (actor, matter) in &self.weakened {
            let _ = writeln!(text, "wall weakened: {actor} from {matter}");
        }
        if let Some(role) = self.one_role {
            let _ = writeln!(text, "{} would approve and destroy", role.as_str());
        }
        #[cfg(feature = "proof")]
        if let Some(proof) = &self.proof {
            proof.write(&mut text);
            return text;
        }
        text.push_str("for all requests: not proved\n");
        text
    }

    /// The text that each approver signs: the change, the policy before and after, and the
    /// digest of the [`report`](Self::report).
    #[must_use]
    pub fn statement(&self) -> String {
        let report = Digest::of(self.report().as_bytes());
        format!(
            "kta policy change\n{}\n{}\n{}\n{}\n{}\n{report}\n",
            self.head.id,
            self.head.version,
            self.file,
            self.before,
            self.after.digest()
        )
    }

    /// The policy as the change would make it, to be tried.
    #[must_use]
    pub const fn policy(&self) -> &CedarPolicy {
        &self.after
    }

    #[cfg(feature = "proof")]
    const fn is_proved(&self) -> bool {
        self.proof.is_some()
    }

    /// Without the feature there is no proof.
    #[cfg(not(feature = "proof"))]
    const fn is_proved(&self) -> bool {
        false
    }

    /// Accepts the change when it was proved and every role it names has signed the
    /// statement, with keys of different people. It takes the feature `proof`, and the solver
    /// where a change is accepted; where it is only decided by, neither.
    ///
    /// # Errors
    /// [`Code::PolSign`] when a signature is missing, wrong, or of one key for two roles, for
    /// a [`flaw`](Self::flaw), and for what was not proved; [`Code::PolExpired`] past the day of review.
    pub fn accept(
        self,
        signatures: &BTreeMap<Label, SignedNote>,
        keys: &BTreeMap<Label, NoteKey>,
        today: NaiveDate,
    ) -> core::result::Result<SignedChange, Refusal> {
        let about = |code| Refusal::new(code).about("change", self.head.id.clone());
        if let Some(flaw) = self.flaw() {
            return Err(about(Code::PolSign).about("flaw", flaw));
        }
        if self.head.review_by < today {
            return Err(about(Code::PolExpired));
        }
        let statement = self.statement();
        let mut used = BTreeSet::new();
        for role in &self.head.approved_by {
            let right = signatures
                .get(role)
                .zip(keys.get(role))
                .is_some_and(|(note, key)| {
                    // The key's own bytes: the same key under two names is one signer.
                    note.text() == statement
                        && note.verify(key).is_ok()
                        && used.insert(key.public_key())
                });
            if !right {
                return Err(about(Code::PolSign).about("role", role.clone()));
            }
        }
        if !self.is_proved() {
            return Err(about(Code::PolSign).about("flaw", "not-proved"));
        }
        Ok(SignedChange::new(self.before, self.after))
    }
}

impl Title {
    /// The title as a bar: within its role, nothing but its acts and its reach.
    fn write(&self, bars: &mut String) {
        let acts: Vec<_> = self
            .acts
            .iter()
            .map(|act| format!("Action::\"{act}\""))
            .collect();
        let reach: Vec<_> = self.reach.iter().map(Reach::as_str).collect();
        let hebrew = self.text_he.as_ref();
        let hebrew = hebrew.map_or_else(String::new, |text| format!("@text_he({text:?})\n"));
        // Writing to a string cannot fail.
        let _ = write!(
            bars,
            "@id(\"{TITLE}{title}\") @order(\"{FIRST}\") @code(\"ACL-DENY\")\n@text({text:?})\n{hebrew}\
             forbid(principal, action, resource)\n\
             when {{ context.role == \"{role}\" && principal.titles.contains(\"{title}\") }}\n\
             unless {{ action in [{acts}] && {reach:?}.contains(resource.reach) }};\n",
            title = self.title,
            text = self.text,
            role = self.acts_as.as_str(),
            acts = acts.join(", "),
        );
    }
}

impl Reach {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Firm => "firm",
            Self::Personal => "personal",
            Self::Special => "special",
        }
    }
}

#[cfg(feature = "proof")]
impl Proved {
    fn write(&self, text: &mut String) {
        match &self.refuted {
            None => text.push_str("for all requests: every property of the house is proved\n"),
            Some(found) => {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "for all requests: {:?} is refuted", found.property);
            }
        }
        let sides = [
            ("wider", &self.difference.wider),
            ("narrower", &self.difference.narrower),
        ];
        for (word, shifts) in sides {
            for shift in shifts {
                let _ = writeln!(text, "{word}: {} may {}", shift.role.as_str(), shift.act);
            }
        }
        for rule in &self.idle.impossible {
            let _ = writeln!(text, "impossible: {rule} matches no request");
        }
        for rule in &self.idle.shadowed {
            let _ = writeln!(text, "shadowed: {rule} changes no answer");
        }
    }
}

/// A local date of TOML: a day without time or zone.
fn day<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> core::result::Result<NaiveDate, D::Error> {
    let at = toml::value::Datetime::deserialize(deserializer)?;
    let day = at.date.filter(|_| at.time.is_none() && at.offset.is_none());
    day.and_then(|day| NaiveDate::from_ymd_opt(day.year.into(), day.month.into(), day.day.into()))
        .ok_or_else(|| serde::de::Error::custom("not a day"))
}

/// How the ids of titles begin.
const TITLE: &str = "firm.title:";

/// The first place in the order of bars that is the firm's.
const FIRST: &str = "50";
