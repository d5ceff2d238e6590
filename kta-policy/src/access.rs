//! Access decisions by Cedar: grants that let in, bars that no grant overrides.

use std::collections::{BTreeMap, HashSet};
use std::str::FromStr as _;

use cedar_policy::{
    Authorizer, Decision as CedarDecision, Effect as CedarEffect, PolicyId, PolicySet, Schema,
    ValidationMode, Validator,
};
use kta_core::audit::Label;
use kta_core::id::Digest;
use kta_core::policy::{AccessRequest, Act, Decision, Obligation, Policy, Reason, Role, Verdict};
use kta_core::time::Timestamp;
use kta_core::{Code, Fault, FaultKind, Port, Result};

mod change;
mod facts;
mod in_force;
mod population;
mod program;
#[cfg(feature = "proof")]
mod proof;
mod words;

use facts::{Facts, Names};
use program::{Broken, Program, Reads};

pub use change::{Analysis, Effect, PolicyChange, Sample};
pub use in_force::{InForce, SignedChange};
#[cfg(feature = "proof")]
pub use proof::{Counterexample, Difference, Idle, Property, Prover, Shift};
pub use words::Explanation;

/// The policy that ships, or one that a firm writes over the same schema.
///
/// What Cedar parsed and validated is compiled into small programs, indexed by role and act: a
/// decision takes a few microseconds and grows with nothing but the policies that concern the role
/// and the act. It says until when the clock cannot change it, so that a gate may give it again.
/// What a program cannot say, Cedar
/// decides itself; exports, destructions and emergency accesses are decided by both, and where
/// they differ the answer is no. Any evaluation error is a no.
#[derive(Debug)]
pub struct CedarPolicy {
    /// The text of the schema, for whoever asks about all that it allows.
    #[cfg(feature = "proof")]
    schema: String,
    digest: Digest,
    grants: Vec<Grant>,
    bars: Vec<Bar>,
    /// Which grants and bars concern a role and an act, at [`slot`].
    index: Vec<Slot>,
    cedar: Cedar,
}

/// One grant, and what it compiled to.
#[derive(Debug)]
struct Grant {
    role: Role,
    /// The acts that its scope names, as a mask.
    acts: u64,
    program: Option<Program>,
    #[cfg(feature = "proof")]
    source: cedar_policy::Policy,
}

/// One bar, and what it compiled to.
#[derive(Debug)]
struct Bar {
    policy: String,
    order: String,
    code: Code,
    reason: Reason,
    hebrew: Option<String>,
    program: Option<Program>,
    #[cfg(feature = "proof")]
    source: cedar_policy::Policy,
}

/// What is to be asked in one role about one act, by their places in the lists.
#[derive(Clone, Debug, Default)]
struct Slot {
    grants: Vec<usize>,
    bars: Vec<usize>,
    /// Whether one of these is for Cedar only.
    by_cedar: bool,
    /// What they read of the clock besides the day.
    reads: Reads,
}

/// What Cedar needs to decide itself.
#[derive(Debug)]
struct Cedar {
    grants: BTreeMap<Role, PolicySet>,
    bars: PolicySet,
    authorizer: Authorizer,
    names: Names,
}

impl CedarPolicy {
    /// The longest text that is read, in bytes.
    pub const LONGEST: usize = 256 << 10;
    /// The deepest brackets that are read; those in strings and comments count too. Over some
    /// thousands of them Cedar's parser takes a minute to say that something is missing.
    pub const DEEPEST: usize = 32;
    /// The most operators that one policy may have, each of which is a step of recursion.
    pub const OPERATORS: usize = 256;

    /// The policy that ships with this crate.
    ///
    /// # Errors
    /// As [`new`](Self::new), for a crate that was changed.
    pub fn shipped() -> Result<Self> {
        Self::new(SCHEMA, GRANTS, BARS)
    }

    /// A policy from its three texts. Every policy is validated strictly against the schema.
    ///
    /// # Errors
    /// [`FaultKind::Misconfigured`] for texts that are longer than [`LONGEST`](Self::LONGEST), nested
    /// deeper than [`DEEPEST`](Self::DEEPEST), with more than [`OPERATORS`](Self::OPERATORS) or that
    /// do not parse, policies that do not validate, a grant whose first condition does not bind it
    /// to the role of its `@role`, a bar without `@id`, `@order`, `@code` and `@text`, two bars of
    /// one id, a grant among the bars or a bar among the grants.
    pub fn new(schema: &str, grants: &str, bars: &str) -> Result<Self> {
        [schema, grants, bars]
            .into_iter()
            .try_for_each(within_bounds)?;
        let digest = [schema, grants, bars]
            .map(|text| Digest::of(text.as_bytes()).to_string())
            .join("\n");
        let validator = Validator::new(parsed_schema(schema)?);
        let valid = |text: &str| -> Result<PolicySet> {
            let set = PolicySet::from_str(text).map_err(|_| wrong("a policy does not parse"))?;
            let checked = validator.validate(&set, ValidationMode::Strict);
            if checked.validation_passed() {
                Ok(set)
            } else {
                Err(wrong("a policy does not validate"))
            }
        };
        let mut cedar = Cedar::new()?;
        let mut granted = Vec::new();
        for policy in valid(grants)?.policies() {
            if policy.effect() != CedarEffect::Permit {
                return Err(wrong("a bar among the grants"));
            }
            let grant = Grant::read(policy)?;
            let set = cedar.grants.entry(grant.role).or_default();
            set.add(policy.clone())
                .map_err(|_| wrong("two grants of one id"))?;
            granted.push(grant);
        }
        let mut barred = Vec::new();
        for policy in valid(bars)?.policies() {
            if policy.effect() != CedarEffect::Forbid {
                return Err(wrong("a grant among the bars"));
            }
            barred.push(Bar::read(policy)?);
            cedar
                .bars
                .add(policy.clone())
                .map_err(|_| wrong("two bars of one id"))?;
        }
        barred.sort_by(|one, other| one.order.cmp(&other.order));
        let ids: HashSet<_> = barred.iter().map(|bar| bar.reason.rule.as_str()).collect();
        if ids.len() < barred.len() {
            return Err(wrong("two bars of one id"));
        }
        Ok(Self {
            #[cfg(feature = "proof")]
            schema: schema.to_owned(),
            digest: Digest::of(digest.as_bytes()),
            index: index(&granted, &barred),
            grants: granted,
            bars: barred,
            cedar,
        })
    }

    /// The policy's identity: every decision and audit entry cites it.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// How many grants and bars say more than a program can: whatever they concern, Cedar decides,
    /// far slower. None of the house's are among them.
    #[must_use]
    pub fn left_to_cedar(&self) -> usize {
        let grants = self.grants.iter().map(|grant| &grant.program);
        let bars = self.bars.iter().map(|bar| &bar.program);
        grants
            .chain(bars)
            .filter(|program| program.is_none())
            .count()
    }

    /// The same decision by Cedar's own evaluator, over entities made for this request: the second
    /// opinion, far slower.
    #[must_use]
    pub fn decide_by_cedar(&self, request: &AccessRequest<'_>) -> Decision {
        self.by_cedar(&Facts::of(request))
            .unwrap_or_else(|_| self.cannot())
    }

    /// The first role that is granted, under whatever conditions, to approve a destruction and to
    /// execute one.
    fn approves_and_executes(&self) -> Option<Role> {
        let granted = |role, act: Act| {
            let mut grants = self.grants.iter();
            grants.any(|grant| grant.role == role && grant.acts & (1 << act as u32) != 0)
        };
        let both = |role: &Role| granted(*role, Act::Approve) && granted(*role, Act::Destroy);
        Role::ALL.into_iter().find(both)
    }

    fn try_decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Broken> {
        let facts = Facts::of(request);
        let slot = &self.index[slot(request.role, request.act)];
        if slot.by_cedar {
            return self.by_cedar(&facts);
        }
        let decision = self.by_program(slot, &facts)?;
        let grave = request.context.break_glass.is_some()
            || matches!(request.act, Act::Destroy | Act::Export);
        if grave && self.by_cedar(&facts)? != decision {
            return Err(Broken);
        }
        Ok(decision)
    }

    /// When the clock alone could change the answer at the earliest. Facts of time are days, and
    /// minutes and the age of a station's report where a rule that is asked reads them.
    fn until(&self, request: &AccessRequest<'_>) -> Option<Timestamp> {
        let slot = &self.index[slot(request.role, request.act)];
        let context = &request.context;
        let ages = slot.reads.age && context.station.is_some();
        if ages || slot.by_cedar || context.break_glass.is_some() {
            return None;
        }
        let step = if slot.reads.minute { MINUTE } else { DAY };
        let next = context.now.timestamp_millis().div_euclid(step) + 1;
        Timestamp::from_timestamp_millis(next * step)
    }

    fn by_program(&self, slot: &Slot, facts: &Facts<'_>) -> Result<Decision, Broken> {
        let matches = |program: &Option<Program>| match program {
            Some(program) => program.matches(facts),
            None => Err(Broken),
        };
        let mut broken = Vec::new();
        for bar in slot.bars.iter().map(|at| &self.bars[*at]) {
            if matches(&bar.program)? {
                broken.push(bar);
            }
        }
        let mut granted = false;
        for grant in slot.grants.iter().map(|at| &self.grants[*at]) {
            granted |= matches(&grant.program)?;
        }
        Ok(self.answer(facts, granted, &broken))
    }

    fn by_cedar(&self, facts: &Facts<'_>) -> Result<Decision, Broken> {
        let cedar = &self.cedar;
        let (request, entities) = cedar.names.ask(facts).ok_or(Broken)?;
        let ask = |policies| {
            let answer = cedar
                .authorizer
                .is_authorized(&request, policies, &entities);
            // An erroring policy is skipped by Cedar, and a skipped bar would be a hole.
            if answer.diagnostics().errors().next().is_some() {
                return Err(Broken);
            }
            Ok(answer)
        };
        let barred = ask(&cedar.bars)?;
        let ids: HashSet<&str> = barred
            .diagnostics()
            .reason()
            .map(AsRef::<str>::as_ref)
            .collect();
        let broken: Vec<_> = self
            .bars
            .iter()
            .filter(|bar| ids.contains(bar.policy.as_str()))
            .collect();
        if (barred.decision() == CedarDecision::Allow) != broken.is_empty() {
            return Err(Broken);
        }
        let granted = match cedar.grants.get(&facts.request.role) {
            Some(grants) => ask(grants)?.decision() == CedarDecision::Allow,
            None => false,
        };
        Ok(self.answer(facts, granted, &broken))
    }

    fn answer(&self, facts: &Facts<'_>, granted: bool, broken: &[&Bar]) -> Decision {
        let request = facts.request;
        let decision = |verdict, reasons, obligations| Decision {
            verdict,
            reasons,
            obligations,
            policy: self.digest,
        };
        if granted && broken.is_empty() {
            let glass = request.context.break_glass.is_some();
            let mut obligations = Vec::new();
            if glass || facts.reach == "special" || request.act == Act::Export {
                obligations.push(Obligation::DurableOpening);
            }
            if glass {
                obligations.push(Obligation::Review);
            }
            let reason = Reason {
                rule: Label::fixed("acl.role"),
                text: [request.role.as_str(), " may ", request.act.as_str()].concat(),
            };
            return decision(Verdict::Permit, vec![reason], obligations);
        }
        let mut reasons: Vec<_> = broken.iter().map(|bar| bar.reason.clone()).collect();
        let mut code = broken.first().map(|bar| bar.code);
        if !granted {
            let place = broken.partition_point(|bar| bar.order.as_str() <= NO_GRANT);
            let reason = Reason {
                rule: Label::fixed("acl.role"),
                text: "the role does not include this act".to_owned(),
            };
            reasons.insert(place, reason);
            if place == 0 {
                code = Some(Code::AclDeny);
            }
        }
        let code = code.unwrap_or(Code::AclDeny);
        decision(Verdict::Deny(code), reasons, Vec::new())
    }

    fn cannot(&self) -> Decision {
        Decision {
            verdict: Verdict::Deny(Code::AclDeny),
            reasons: vec![Reason {
                rule: Label::fixed("engine.error"),
                text: "the policy could not be evaluated, which is a no".to_owned(),
            }],
            obligations: Vec::new(),
            policy: self.digest,
        }
    }
}

impl Policy for CedarPolicy {
    fn decide(&self, request: &AccessRequest<'_>) -> Decision {
        self.try_decide(request).unwrap_or_else(|_| self.cannot())
    }

    fn version(&self) -> Option<Digest> {
        Some(self.digest)
    }

    fn decide_until(&self, request: &AccessRequest<'_>) -> (Decision, Option<Timestamp>) {
        (self.decide(request), self.until(request))
    }
}

impl Cedar {
    fn new() -> Result<Self> {
        let everything = cedar_policy::Policy::from_str("permit(principal, action, resource);");
        let everything = everything.map_err(|_| wrong("a policy does not parse"))?;
        let mut bars = PolicySet::new();
        bars.add(everything.new_id(PolicyId::new(NOT_BARRED)))
            .map_err(|_| wrong("two bars of one id"))?;
        Ok(Self {
            grants: BTreeMap::new(),
            bars,
            authorizer: Authorizer::new(),
            names: Names::new()?,
        })
    }
}

impl Grant {
    /// A grant is bound to one role by what it says, not only by its note: Cedar over the whole
    /// text, by which policies are proved, knows no notes.
    fn read(policy: &cedar_policy::Policy) -> Result<Self> {
        let note = policy
            .annotation("role")
            .ok_or_else(|| wrong("a grant without a role"))?;
        let role = Role::ALL.into_iter().find(|role| role.as_str() == note);
        let role = role.ok_or_else(|| wrong("a grant to a role that is none"))?;
        let json = policy
            .to_json()
            .map_err(|_| wrong("a policy does not parse"))?;
        let program = Program::compile(&json);
        let bound = match &program {
            Some(program) => program.is_bound_to(role),
            None => program::first_role(&json) == Some(role),
        };
        if bound {
            Ok(Self {
                role,
                acts: program::scope(&json).unwrap_or(u64::MAX),
                program,
                #[cfg(feature = "proof")]
                source: policy.clone(),
            })
        } else {
            Err(wrong(
                "a grant whose first condition does not bind it to its role",
            ))
        }
    }
}

impl Bar {
    fn read(policy: &cedar_policy::Policy) -> Result<Self> {
        let note = |name| {
            policy
                .annotation(name)
                .ok_or_else(|| wrong("a bar without its annotations"))
        };
        let rule = Label::new(note("id")?).map_err(|_| wrong("a bar's id is no label"))?;
        let json = policy
            .to_json()
            .map_err(|_| wrong("a policy does not parse"))?;
        Ok(Self {
            policy: policy.id().to_string(),
            order: note("order")?.to_owned(),
            code: note("code")?
                .parse()
                .map_err(|_| wrong("a bar's code is unknown"))?,
            reason: Reason {
                rule,
                text: note("text")?.to_owned(),
            },
            hebrew: policy.annotation("text_he").map(str::to_owned),
            program: Program::compile(&json),
            #[cfg(feature = "proof")]
            source: policy.clone(),
        })
    }
}

/// Which grants and bars concern each role and act. What only Cedar can evaluate concerns all.
fn index(grants: &[Grant], bars: &[Bar]) -> Vec<Slot> {
    let mut slots = vec![Slot::default(); Role::ALL.len() * Act::ALL.len()];
    for role in Role::ALL {
        for act in Act::ALL.iter().copied() {
            let slot = &mut slots[slot(role, act)];
            let concerns = |program: &Option<Program>| {
                program
                    .as_ref()
                    .is_none_or(|program| program.concerns(role, act))
            };
            let chosen = grants.iter().enumerate();
            let chosen = chosen
                .filter(|(_, grant)| grant.role == role && grant.acts & (1 << act as u32) != 0);
            slot.grants = chosen.map(|(at, _)| at).collect();
            let chosen = bars.iter().enumerate();
            let chosen = chosen.filter(|(_, bar)| concerns(&bar.program));
            slot.bars = chosen.map(|(at, _)| at).collect();
            let grants_here = slot.grants.iter().map(|at| &grants[*at].program);
            let bars_here = slot.bars.iter().map(|at| &bars[*at].program);
            slot.reads = grants_here
                .chain(bars_here)
                .flatten()
                .fold(Reads::default(), |all, program| all.and(program.reads()));
            slot.by_cedar = slot.grants.iter().any(|at| grants[*at].program.is_none())
                || slot.bars.iter().any(|at| bars[*at].program.is_none());
        }
    }
    slots
}

const fn slot(role: Role, act: Act) -> usize {
    role as usize * Act::ALL.len() + act as usize
}

fn parsed_schema(text: &str) -> Result<Schema> {
    let (schema, _) =
        Schema::from_cedarschema_str(text).map_err(|_| wrong("the schema does not parse"))?;
    Ok(schema)
}

fn within_bounds(text: &str) -> Result<()> {
    if text.len() > CedarPolicy::LONGEST {
        return Err(wrong("a text is too long"));
    }
    let (mut depth, mut operators, mut before) = (0_usize, 0_usize, b' ');
    let (mut quoted, mut comment) = (false, false);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        // A semicolon in a string or a comment ends no policy.
        match byte {
            b'\n' if comment => comment = false,
            _ if comment => {}
            b'\\' if quoted && before == b'\\' => {
                before = b' ';
                continue;
            }
            b'"' if !(quoted && before == b'\\') => quoted = !quoted,
            _ if quoted => {}
            b'/' if before == b'/' => comment = true,
            b'+' | b'-' | b'*' | b'!' => operators += 1,
            b'&' | b'|' if before == byte => operators += 1,
            b'f' if before == b'i' => operators += 1,
            b';' => operators = 0,
            _ => {}
        }
        before = byte;
        if depth > CedarPolicy::DEEPEST {
            return Err(wrong("a text is too deeply nested"));
        }
        if operators > CedarPolicy::OPERATORS {
            return Err(wrong("a policy has too many operators"));
        }
    }
    Ok(())
}

fn wrong(why: &'static str) -> kta_core::Error {
    Fault::new(FaultKind::Misconfigured, Port::Policy, "load the policy")
        .because(why)
        .into()
}

const SCHEMA: &str = include_str!("../policies/schema.cedarschema");
const GRANTS: &str = include_str!("../policies/grants.cedar");
const BARS: &str = include_str!("../policies/bars.cedar");

/// The id of what lets everything through that no bar stops.
const NOT_BARRED: &str = "not-barred";

/// Where the absence of a grant stands in the order of the bars.
const NO_GRANT: &str = "04";

/// In milliseconds.
const MINUTE: i64 = 60 * 1000;
/// In milliseconds.
const DAY: i64 = 24 * 60 * MINUTE;
