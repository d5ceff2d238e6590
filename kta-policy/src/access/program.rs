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

use kta_core::id::{ActorId, MatterId, SubjectId};
use kta_core::pii::{Matter, Party};
use kta_core::policy::{Act, Role};
use serde_json::Value as Json;

use super::facts::Facts;

/// One policy, compiled: its scope, and its conditions in their order.
#[derive(Debug)]
pub(super) struct Program {
    acts: u64,
    roles: u32,
    conditions: Vec<(bool, Node)>,
}

/// The policy could not be evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl Program {
    /// Compiles what Cedar writes of a policy; `None` when it says more than a program can.
    pub(super) fn compile(policy: &Json) -> Option<Self> {
        if policy["principal"]["op"] != "All" || policy["resource"]["op"] != "All" {
            return None;
        }
        let acts = scope(policy)?;
        let conditions = policy["conditions"].as_array()?.iter();
        let conditions = conditions
            .map(|condition| {
                let expected = match condition["kind"].as_str()? {
                    "when" => true,
                    "unless" => false,
                    _ => return None,
                };
                Some((expected, Node::compile(&condition["body"])?))
            })
            .collect::<Option<Vec<_>>>()?;
        let roles = match conditions.first() {
            Some((true, first)) => first.leading_roles(),
            _ => u32::MAX,
        };
        Some(Self {
            acts,
            roles,
            conditions,
        })
    }

    /// Whether the policy can match a request for this act in this role at all. Where it cannot,
    /// its scope or its very first condition says no, before anything could be an error.
    pub(super) const fn concerns(&self, role: Role, act: Act) -> bool {
        self.acts & (1 << act as u32) != 0 && self.roles & (1 << role as u32) != 0
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

/// By what path a policy names a fact, and which sets of a matter and an actor there are.
const FACTS: &[(&[&str], Fact)] = &[
    (&["context", "basis"], Fact::Basis),
    (&["context", "country"], Fact::Country),
    (&["context", "device"], Fact::Device),
    (&["context", "glass_left"], Fact::GlassLeft),
    (&["context", "glass_reason"], Fact::GlassReason),
    (&["context", "minute"], Fact::Minute),
    (&["context", "other_than"], Fact::OtherThan),
    (&["context", "purpose"], Fact::Purpose),
    (&["context", "role"], Fact::Role),
    (&["context", "seen_ago"], Fact::SeenAgo),
    (&["context", "today"], Fact::Today),
    (&["context", "untrained"], Fact::Untrained),
    (&["context", "weekday"], Fact::Weekday),
    (&["principal"], Fact::Principal),
    (&["principal", "party"], Fact::Party),
    (&["principal", "revoked"], Fact::Revoked),
    (&["principal", "subject"], Fact::OwnSubject),
    (&["resource", "category"], Fact::Category),
    (&["resource", "held"], Fact::Held),
    (&["resource", "matter"], Fact::Matter),
    (&["resource", "matter", "ground"], Fact::Ground),
    (&["resource", "reach"], Fact::Reach),
    (&["resource", "restricted"], Fact::Restricted),
    (&["resource", "subject"], Fact::Subject),
];

impl Node {
    fn compile(json: &Json) -> Option<Self> {
        if let Some(fact) = fact(json) {
            return Some(Self::Fact(fact));
        }
        let (name, body) = only(json)?;
        let arg = || Some(Box::new(Self::compile(&body["arg"])?));
        let pair = |left: &str, right: &str| {
            Some(Box::new((
                Self::compile(&body[left])?,
                Self::compile(&body[right])?,
            )))
        };
        let both = || pair("left", "right");
        Some(match name {
            "Value" => Self::Constant(Constant::read(body)?),
            "!" => Self::Not(arg()?),
            "neg" => Self::Negative(arg()?),
            "&&" => Self::And(both()?),
            "||" => Self::Or(both()?),
            "==" => match is_action(&body["left"]).then(|| acts(&body["right"])) {
                Some(acts) => Self::Acts(acts?),
                None => Self::Equal(both()?),
            },
            "!=" => Self::Not(Box::new(Self::Equal(both()?))),
            "<" => Self::Less(both()?),
            "<=" => Self::LessOrEqual(both()?),
            // The other way round: if both sides are an error, it is the same one.
            ">" => Self::Less(pair("right", "left")?),
            ">=" => Self::LessOrEqual(pair("right", "left")?),
            "+" => Self::Sum(Sum::Plus, both()?),
            "-" => Self::Sum(Sum::Minus, both()?),
            "*" => Self::Sum(Sum::Times, both()?),
            "in" if is_action(&body["left"]) => Self::Acts(acts(&body["right"])?),
            "if-then-else" => Self::If(Box::new((
                Self::compile(&body["if"])?,
                Self::compile(&body["then"])?,
                Self::compile(&body["else"])?,
            ))),
            "has" => {
                let mut path = path(&body["left"])?;
                path.push(body["attr"].as_str()?);
                Self::Has(named(&path)?)
            }
            "like" => {
                let elements = body["pattern"].as_array()?.iter();
                let pattern = elements
                    .map(|element| match element.as_str() {
                        Some("Wildcard") => Some(None),
                        Some(_) => None,
                        None => Some(Some(element["Literal"].as_str()?.to_owned())),
                    })
                    .collect::<Option<Vec<_>>>()?;
                Self::Like(Box::new(Self::compile(&body["left"])?), pattern)
            }
            "contains" => Self::Member(
                Set::compile(&body["left"])?,
                Box::new(Self::compile(&body["right"])?),
            ),
            "containsAny" => Self::Any(Set::compile(&body["left"])?, constants(&body["right"])?),
            "containsAll" => Self::All(Set::compile(&body["left"])?, constants(&body["right"])?),
            "isEmpty" => Self::Empty(Set::compile(&body["arg"])?),
            _ => return None,
        })
    }

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

    fn number(&self, facts: &Facts<'_>) -> Result<i64, Broken> {
        match self.value(facts)? {
            Value::Long(number) => Ok(number),
            _ => Err(Broken),
        }
    }

    /// The roles that the first thing this condition asks lets through.
    fn leading_roles(&self) -> u32 {
        match self {
            Self::And(pair) => pair.0.leading_roles(),
            Self::Equal(pair) => match &**pair {
                (Self::Fact(Fact::Role), Self::Constant(Constant::Text(word)))
                | (Self::Constant(Constant::Text(word)), Self::Fact(Fact::Role)) => {
                    role(word).unwrap_or(0)
                }
                _ => u32::MAX,
            },
            Self::Member(Set::Constants(all), arg) if matches!(**arg, Self::Fact(Fact::Role)) => {
                let words = all.iter().map(|constant| match constant {
                    Constant::Text(word) => role(word).unwrap_or(0),
                    _ => 0,
                });
                words.fold(0, |all, one| all | one)
            }
            _ => u32::MAX,
        }
    }
}

impl Constant {
    fn read(json: &Json) -> Option<Self> {
        if let Some(truth) = json.as_bool() {
            return Some(Self::Bool(truth));
        }
        if let Some(text) = json.as_str() {
            return Some(Self::Text(text.to_owned()));
        }
        if let Some(number) = json.as_i64() {
            return Some(Self::Long(number));
        }
        // An id is compared by its text: what is written otherwise than we write it is another.
        let entity = json.get("__entity")?;
        let id = entity["id"].as_str()?;
        match entity["type"].as_str()? {
            "Actor" => own(id).map(Self::Actor),
            "Person" => own(id).map(Self::Person),
            "Matter" => own(id).map(Self::Matter),
            _ => None,
        }
    }

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
    fn compile(json: &Json) -> Option<Self> {
        if let Some(path) = path(json) {
            return Some(match &*path {
                ["principal", "roles"] => Self::Roles,
                ["principal", "titles"] => Self::Titles,
                ["resource", "matter", "attorneys"] => Self::Attorneys,
                ["resource", "matter", "paralegals"] => Self::Paralegals,
                ["resource", "matter", "parties"] => Self::Parties,
                ["resource", "matter", "petition_side"] => Self::PetitionSide,
                ["resource", "matter", "petitioners"] => Self::Petitioners,
                ["resource", "matter", "walled"] => Self::Walled,
                _ => return None,
            });
        }
        constants(json).map(Self::Constants)
    }

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

/// Which acts a policy's scope names, as a mask.
pub(super) fn scope(policy: &Json) -> Option<u64> {
    let action = &policy["action"];
    match action["op"].as_str()? {
        "All" => Some(u64::MAX),
        "==" => act(&action["entity"]),
        "in" => match action["entities"].as_array() {
            Some(entities) => mask(entities, act),
            None => act(&action["entity"]),
        },
        _ => None,
    }
}

/// The role that a policy is bound to by the first thing its first condition asks, where the rest
/// of it is more than a program can say.
pub(super) fn first_role(policy: &Json) -> Option<Role> {
    let condition = policy["conditions"].get(0)?;
    let mut body = condition
        .get("body")
        .filter(|_| condition["kind"] == "when")?;
    while let Some(both) = body.get("&&") {
        body = &both["left"];
    }
    let roles = Node::compile(body)?.leading_roles();
    Role::ALL
        .into_iter()
        .find(|role| roles == 1 << *role as u32)
}

fn matter<'r>(facts: &Facts<'r>) -> Result<&'r Matter, Broken> {
    facts.request.object.matter.ok_or(Broken)
}

/// The name and body of an expression.
fn only(json: &Json) -> Option<(&str, &Json)> {
    let object = json.as_object()?;
    let (name, body) = object.iter().next()?;
    (object.len() == 1).then_some((name, body))
}

/// `principal.party` as `["principal", "party"]`.
fn path(json: &Json) -> Option<Vec<&str>> {
    let (name, body) = only(json)?;
    match name {
        "Var" => Some(vec![body.as_str()?]),
        "." => {
            let mut path = path(&body["left"])?;
            path.push(body["attr"].as_str()?);
            Some(path)
        }
        _ => None,
    }
}

fn fact(json: &Json) -> Option<Fact> {
    named(&path(json)?)
}

fn named(path: &[&str]) -> Option<Fact> {
    FACTS
        .iter()
        .find(|(known, _)| *known == path)
        .map(|(_, fact)| *fact)
}

fn is_action(json: &Json) -> bool {
    json["Var"] == "action"
}

/// The acts of one action or of a set of them, where a condition names them.
fn acts(json: &Json) -> Option<u64> {
    match only(json)? {
        ("Value", value) => act(&value["__entity"]),
        ("Set", all) => mask(all.as_array()?, |one| act(&one["Value"]["__entity"])),
        _ => None,
    }
}

fn act(entity: &Json) -> Option<u64> {
    let id = entity["id"]
        .as_str()
        .filter(|_| entity["type"] == "Action")?;
    let act = Act::ALL.iter().find(|act| act.as_str() == id)?;
    Some(1 << *act as u32)
}

fn mask(entities: &[Json], act: impl Fn(&Json) -> Option<u64>) -> Option<u64> {
    entities
        .iter()
        .try_fold(0, |all, entity| Some(all | act(entity)?))
}

fn role(word: &str) -> Option<u32> {
    let role = Role::ALL.into_iter().find(|role| role.as_str() == word)?;
    Some(1 << role as u32)
}

fn constants(json: &Json) -> Option<Vec<Constant>> {
    let (name, body) = only(json)?;
    let all = body.as_array().filter(|_| name == "Set")?.iter();
    all.map(|one| match only(one)? {
        ("Value", value) => Constant::read(value),
        _ => None,
    })
    .collect()
}

fn own<T: core::str::FromStr + core::fmt::Display>(id: &str) -> Option<T> {
    let parsed: T = id.parse().ok()?;
    (parsed.to_string() == id).then_some(parsed)
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
