//! A policy as a small program over the facts of a request.
//!
//! ```text
//!   Cedar text ──parse, validate──► Cedar's own JSON form ──compile──► Program ──run──► matches?
//!                                        │ says more than a Program can
//!                                        ▼
//!                                   Cedar itself decides
//! ```
//!
//! Cedar asks for entities, and builds sets of everybody on a matter to look for one of them. A
//! program asks the matter itself, so that its price does not grow with the people in it. What it
//! means is what Cedar means: evaluation goes from left to right, stops early where Cedar does,
//! and an attribute that is absent or a number that overflows is an error. Tests and the bench
//! hold both against each other.

use super::facts::Facts;
use kta_core::id::{ActorId, MatterId, SubjectId};
use kta_core::pii::{Matter, Party};
use kta_core::policy::{Act, Role};

mod read;

pub(in crate::access) use read::{first_role, scope};

/// One policy, compiled: its scope, and its conditions in their order.
#[derive(Debug)]
pub(super) struct Program {
    acts: u64,
    roles: u32,
    conditions: Vec<(bool, Node)>,
}

/// What is read of the clock besides the day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reads {
    /// The minute of the day.
    pub(super) minute: bool,
    /// How long ago the station was seen.
    pub(super) age: bool,
}

impl Reads {
    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            minute: self.minute || other.minute,
            age: self.age || other.age,
        }
    }
}

/// The policy could not be evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl Program {
    /// Whether the policy can match a request for this act in this role at all. Where it cannot,
    /// its scope or its very first condition says no, before anything could be an error.
    pub(super) const fn concerns(&self, role: Role, act: Act) -> bool {
        self.acts & (1 << act as u32) != 0 && self.roles & (1 << role as u32) != 0
    }

    /// What it reads of the clock besides the day.
    pub(super) fn reads(&self) -> Reads {
        let reads = |wanted| self.conditions.iter().any(|(_, node)| node.reads(wanted));
        Reads {
            minute: reads(Fact::Minute),
            age: reads(Fact::SeenAgo),
        }
    }

    /// Whether the policy is bound to this one role from its first condition on.
    pub(super) const fn is_bound_to(&self, role: Role) -> bool {
        self.roles == 1 << role as u32
    }

    /// Whether the policy matches.
    pub(super) fn matches(&self, facts: &Facts<'_>) -> Result<bool, Broken> {
        if self.acts & (1 << facts.request.act as u32) == 0 {
            return Ok(false);
        }
        for (expected, condition) in &self.conditions {
            if condition.truth(facts)? != *expected {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[derive(Debug)]
enum Node {
    Constant(Constant),
    Fact(Fact),
    Has(Fact),
    Acts(u64),
    Not(Box<Node>),
    And(Box<(Node, Node)>),
    Or(Box<(Node, Node)>),
    If(Box<(Node, Node, Node)>),
    Equal(Box<(Node, Node)>),
    Less(Box<(Node, Node)>),
    LessOrEqual(Box<(Node, Node)>),
    Sum(Sum, Box<(Node, Node)>),
    Negative(Box<Node>),
    Like(Box<Node>, Vec<Option<String>>),
    Member(Set, Box<Node>),
    Any(Set, Vec<Constant>),
    All(Set, Vec<Constant>),
    Empty(Set),
}

#[derive(Clone, Copy, Debug)]
enum Sum {
    Plus,
    Minus,
    Times,
}

#[derive(Debug, PartialEq, Eq)]
enum Constant {
    Bool(bool),
    Long(i64),
    Text(String),
    Actor(ActorId),
    Person(SubjectId),
    Matter(MatterId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'r> {
    Bool(bool),
    Long(i64),
    Text(&'r str),
    Actor(ActorId),
    Person(SubjectId),
    Matter(MatterId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    Basis,
    Category,
    Country,
    Device,
    GlassLeft,
    GlassReason,
    Ground,
    Held,
    Matter,
    Minute,
    OtherThan,
    OwnSubject,
    Party,
    Principal,
    Purpose,
    Reach,
    Restricted,
    Revoked,
    Role,
    SeenAgo,
    Subject,
    Today,
    Untrained,
    Weekday,
}

#[derive(Debug)]
enum Set {
    Attorneys,
    Constants(Vec<Constant>),
    Paralegals,
    Parties,
    PetitionSide,
    Petitioners,
    Roles,
    Titles,
    Walled,
}

impl Node {
    fn value<'r>(&'r self, facts: &'r Facts<'r>) -> Result<Value<'r>, Broken> {
        Ok(match self {
            Self::Constant(constant) => constant.value(),
            Self::Fact(fact) => fact.value(facts)?.ok_or(Broken)?,
            Self::Sum(sum, pair) => {
                let (one, other) = (pair.0.number(facts)?, pair.1.number(facts)?);
                let sum = match sum {
                    Sum::Plus => one.checked_add(other),
                    Sum::Minus => one.checked_sub(other),
                    Sum::Times => one.checked_mul(other),
                };
                Value::Long(sum.ok_or(Broken)?)
            }
            Self::Negative(arg) => Value::Long(arg.number(facts)?.checked_neg().ok_or(Broken)?),
            Self::If(branches) => {
                let branch = if branches.0.truth(facts)? {
                    &branches.1
                } else {
                    &branches.2
                };
                branch.value(facts)?
            }
            _ => Value::Bool(self.truth(facts)?),
        })
    }

    fn truth(&self, facts: &Facts<'_>) -> Result<bool, Broken> {
        Ok(match self {
            Self::Acts(acts) => acts & (1 << facts.request.act as u32) != 0,
            Self::Has(fact) => fact.value(facts)?.is_some(),
            Self::Not(arg) => !arg.truth(facts)?,
            Self::And(pair) => pair.0.truth(facts)? && pair.1.truth(facts)?,
            Self::Or(pair) => pair.0.truth(facts)? || pair.1.truth(facts)?,
            Self::Equal(pair) => pair.0.value(facts)? == pair.1.value(facts)?,
            Self::Less(pair) => pair.0.number(facts)? < pair.1.number(facts)?,
            Self::LessOrEqual(pair) => pair.0.number(facts)? <= pair.1.number(facts)?,
            Self::Like(arg, pattern) => match arg.value(facts)? {
                Value::Text(text) => is_like(text, pattern),
                _ => return Err(Broken),
            },
            Self::Member(set, arg) => set.contains(arg.value(facts)?, facts)?,
            Self::Any(set, all) => {
                let mut any = false;
                for one in all {
                    any |= set.contains(one.value(), facts)?;
                }
                any
            }
            Self::All(set, all) => {
                let mut every = true;
                for one in all {
                    every &= set.contains(one.value(), facts)?;
                }
                every
            }
            Self::Empty(set) => set.is_empty(facts)?,
            Self::Constant(_) | Self::Fact(_) | Self::If(_) | Self::Sum(..) | Self::Negative(_) => {
                match self.value(facts)? {
                    Value::Bool(truth) => truth,
                    _ => return Err(Broken),
                }
            }
        })
    }

    /// Whether it asks for this fact anywhere.
    fn reads(&self, wanted: Fact) -> bool {
        match self {
            Self::Constant(_) | Self::Acts(_) | Self::Any(..) | Self::All(..) | Self::Empty(_) => {
                false
            }
            Self::Fact(fact) | Self::Has(fact) => *fact == wanted,
            Self::Not(arg) | Self::Negative(arg) | Self::Like(arg, _) | Self::Member(_, arg) => {
                arg.reads(wanted)
            }
            Self::And(pair)
            | Self::Or(pair)
            | Self::Equal(pair)
            | Self::Less(pair)
            | Self::LessOrEqual(pair)
            | Self::Sum(_, pair) => pair.0.reads(wanted) || pair.1.reads(wanted),
            Self::If(branches) => {
                branches.0.reads(wanted) || branches.1.reads(wanted) || branches.2.reads(wanted)
            }
        }
    }

    fn number(&self, facts: &Facts<'_>) -> Result<i64, Broken> {
        match self.value(facts)? {
            Value::Long(number) => Ok(number),
            _ => Err(Broken),
        }
    }
}

impl Constant {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Long(number) => Value::Long(*number),
            Self::Text(text) => Value::Text(text),
            Self::Actor(actor) => Value::Actor(*actor),
            Self::Person(person) => Value::Person(*person),
            Self::Matter(matter) => Value::Matter(*matter),
        }
    }
}

impl Fact {
    /// The fact, or nothing where it is absent; an error where what it would be a fact of is
    /// absent.
    fn value<'r>(self, facts: &'r Facts<'r>) -> Result<Option<Value<'r>>, Broken> {
        let request = facts.request;
        let context = &request.context;
        Ok(match self {
            Self::Basis => request.basis.map(|basis| Value::Text(basis.as_str())),
            Self::Category => Some(Value::Text(request.object.category.as_str())),
            Self::Country => facts.country().map(Value::Text),
            Self::Device => context
                .station
                .map(|station| Value::Text(station.device.as_str())),
            Self::GlassLeft => facts.glass_left.map(Value::Long),
            Self::GlassReason => context
                .break_glass
                .map(|glass| Value::Text(glass.reason.as_str())),
            Self::Ground => Some(Value::Bool(matter(facts)?.ground.is_some())),
            Self::Held => Some(Value::Bool(request.object.held)),
            Self::Matter => request.object.matter.map(|matter| Value::Matter(matter.id)),
            Self::Minute => Some(Value::Long(facts.minute)),
            Self::OtherThan => context.other_than.map(Value::Actor),
            Self::OwnSubject => request.actor.subject.map(Value::Person),
            Self::Party => request.actor.party.map(|party| Value::Text(party.as_str())),
            Self::Principal => Some(Value::Actor(request.actor.id)),
            Self::Purpose => Some(Value::Text(request.purpose.as_str())),
            Self::Reach => Some(Value::Text(facts.reach)),
            Self::Restricted => Some(Value::Bool(request.object.restricted)),
            Self::Revoked => Some(Value::Bool(request.actor.revoked)),
            Self::Role => Some(Value::Text(request.role.as_str())),
            Self::SeenAgo => facts.seen_ago.map(Value::Long),
            Self::Subject => request.object.subject.map(Value::Person),
            Self::Today => Some(Value::Long(facts.today)),
            Self::Untrained => facts.untrained.map(Value::Long),
            Self::Weekday => Some(Value::Long(facts.weekday)),
        })
    }
}

impl Set {
    fn contains(&self, value: Value<'_>, facts: &Facts<'_>) -> Result<bool, Broken> {
        let on_team = |role| -> Result<bool, Broken> {
            let team = &matter(facts)?.team;
            Ok(matches!(value, Value::Actor(actor) if team.get(&actor) == Some(&role)))
        };
        Ok(match self {
            Self::Attorneys => on_team(Role::Attorney)?,
            Self::Constants(all) => all.iter().any(|one| one.value() == value),
            Self::Paralegals => on_team(Role::Paralegal)?,
            Self::Parties => {
                let parties = &matter(facts)?.parties;
                matches!(value, Value::Person(person) if parties.contains_key(&person))
            }
            Self::PetitionSide => {
                let parties = &matter(facts)?.parties;
                matches!(value, Value::Person(person) if parties.get(&person) == Some(&Party::Petitioner))
            }
            Self::Petitioners => on_team(Role::Petitioner)?,
            Self::Roles => {
                let mut roles = facts.request.actor.roles.iter();
                matches!(value, Value::Text(word) if roles.any(|role| role.as_str() == word))
            }
            Self::Titles => {
                let mut titles = facts.request.actor.titles.iter();
                matches!(value, Value::Text(word) if titles.any(|title| title.as_str() == word))
            }
            Self::Walled => {
                let walled = &matter(facts)?.walled;
                matches!(value, Value::Actor(actor) if walled.contains(&actor))
            }
        })
    }

    fn is_empty(&self, facts: &Facts<'_>) -> Result<bool, Broken> {
        let no_one_as = |role| -> Result<bool, Broken> {
            Ok(!matter(facts)?.team.values().any(|member| *member == role))
        };
        Ok(match self {
            Self::Attorneys => no_one_as(Role::Attorney)?,
            Self::Constants(all) => all.is_empty(),
            Self::Paralegals => no_one_as(Role::Paralegal)?,
            Self::Parties => matter(facts)?.parties.is_empty(),
            Self::PetitionSide => {
                let mut parties = matter(facts)?.parties.values();
                !parties.any(|party| *party == Party::Petitioner)
            }
            Self::Petitioners => no_one_as(Role::Petitioner)?,
            Self::Roles => facts.request.actor.roles.is_empty(),
            Self::Titles => facts.request.actor.titles.is_empty(),
            Self::Walled => matter(facts)?.walled.is_empty(),
        })
    }
}

fn matter<'r>(facts: &Facts<'r>) -> Result<&'r Matter, Broken> {
    facts.request.object.matter.ok_or(Broken)
}

/// Whether the text matches; `None` in the pattern is any text.
fn is_like(text: &str, pattern: &[Option<String>]) -> bool {
    let (mut at, mut rest) = (pattern, text);
    // Where to try again, one character further, when what follows the last wildcard fails.
    let mut again: Option<(&[Option<String>], &str)> = None;
    loop {
        match at {
            [] if rest.is_empty() => return true,
            [None, after @ ..] => {
                (at, again) = (after, Some((after, rest)));
                continue;
            }
            [Some(literal), after @ ..] => {
                if let Some(left) = rest.strip_prefix(literal.as_str()) {
                    (at, rest) = (after, left);
                    continue;
                }
            }
            [] => {}
        }
        let Some((after, from)) = again else {
            return false;
        };
        let mut letters = from.chars();
        if letters.next().is_none() {
            return false;
        }
        (at, rest, again) = (after, letters.as_str(), Some((after, letters.as_str())));
    }
}

const _: () = assert!(Act::ALL.len() <= 64 && Role::ALL.len() <= 32);
