//! Reading what Cedar writes of a policy into a program.

use kta_core::policy::{Act, Role};
use serde_json::Value as Json;

use super::{Constant, Fact, Node, Program, Set, Sum};

impl Program {
    /// Compiles what Cedar writes of a policy; `None` when it says more than a program can.
    pub(in crate::access) fn compile(policy: &Json) -> Option<Self> {
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
}

/// Which acts a policy's scope names, as a mask.
pub(in crate::access) fn scope(policy: &Json) -> Option<u64> {
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
pub(in crate::access) fn first_role(policy: &Json) -> Option<Role> {
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
