//! `GET /{module}/search`: criteria, e-mail, phone and word, over an index that may lag.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Shared;
use super::clock::{EmulatorClock, parse_instant};
use super::listing::{Window, field_list};
use super::reply::{ApiError, list};
use super::schema::{Kind, ModuleSpec};
use super::world::{Row, World};

/// `GET /{module}/search`
pub(super) async fn search(
    State(shared): State<Arc<Shared>>,
    Path(module): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let work = || {
        let module = shared.module(&module)?;
        let fields = field_list(&query)?;
        let window = Window::parse(&query)?;
        let world = shared.world();
        let found: Vec<Value> = matches(&world, &shared.clock, module, &query)?
            .into_iter()
            .take(MOST_FOUND)
            .map(|row| world.shown_row(row, fields.as_deref(), &shared.clock))
            .collect();
        let (shown, info) = window.cut(found);
        Ok(list("data", shown, info))
    };
    work().unwrap_or_else(|error: ApiError| error.into_response())
}

/// The indexed rows that the search parameters select, newest first.
pub(super) fn matches<'a>(
    world: &'a World,
    clock: &EmulatorClock,
    module: &'static ModuleSpec,
    query: &HashMap<String, String>,
) -> Result<Vec<&'a Row>, ApiError> {
    let now = clock.now();
    let visible = |row: &&Row| row.indexed <= now;
    let of_kind = |row: &Row, kinds: &[Kind], needle: &str| {
        module
            .fields
            .iter()
            .filter(|field| kinds.contains(&field.kind))
            .any(|field| {
                world
                    .value(row, field.api_name, clock)
                    .as_ref()
                    .and_then(Value::as_str)
                    .is_some_and(|held| held.to_lowercase().contains(needle))
            })
    };
    let mut found: Vec<&Row> = if let Some(criteria) = query.get("criteria") {
        let expression = Criteria::parse(criteria)?;
        expression.check(world, module)?;
        world
            .rows_of(module)
            .filter(visible)
            .filter(|r| expression.holds(world, clock, r))
            .collect()
    } else if let Some(email) = query.get("email") {
        let needle = email.to_lowercase();
        world
            .rows_of(module)
            .filter(visible)
            .filter(|r| of_kind(r, &[Kind::Email], &needle))
            .collect()
    } else if let Some(phone) = query.get("phone") {
        let needle = phone.to_lowercase();
        world
            .rows_of(module)
            .filter(visible)
            .filter(|r| of_kind(r, &[Kind::Phone], &needle))
            .collect()
    } else if let Some(word) = query.get("word") {
        if word.chars().count() < 2 {
            return Err(ApiError::bad("INVALID_DATA", "invalid value for search")
                .with(json!({"param_name": "word"})));
        }
        let needle = word.to_lowercase();
        let kinds = [Kind::Text, Kind::TextArea, Kind::Email, Kind::Phone];
        world
            .rows_of(module)
            .filter(visible)
            .filter(|r| of_kind(r, &kinds, &needle))
            .collect()
    } else {
        return Err(ApiError::bad(
            "EXPECTED_PARAM_MISSING",
            "One of the expected parameter is missing",
        )
        .with(json!({"param_names": ["criteria", "email", "phone", "word"]})));
    };
    found.reverse();
    Ok(found)
}

/// Conditions joined by and / or.
#[derive(Debug)]
pub(super) enum Criteria {
    And(Box<Criteria>, Box<Criteria>),
    Or(Box<Criteria>, Box<Criteria>),
    Test {
        field: String,
        operator: Operator,
        values: Vec<String>,
    },
}

/// How a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Between,
    Contains,
    Equals,
    Greater,
    GreaterEqual,
    In,
    IsNotNull,
    IsNull,
    Less,
    LessEqual,
    NotContains,
    NotEqual,
    NotIn,
    StartsWith,
    EndsWith,
}

impl Criteria {
    fn parse(text: &str) -> Result<Self, ApiError> {
        let characters: Vec<char> = text.chars().take(MOST_CHARACTERS + 1).collect();
        if characters.len() > MOST_CHARACTERS {
            return Err(invalid_query("the criteria is too long"));
        }
        let mut parser = CriteriaParser {
            text: &characters,
            at: 0,
            conditions: 0,
        };
        let parsed = parser.sequence(0)?;
        if parser.at < characters.len() {
            return Err(invalid_query("something stands after the criteria"));
        }
        if parser.conditions > MOST_CONDITIONS {
            return Err(ApiError::bad(
                "CRITERIA_LIMIT_EXCEEDED",
                "no of criterium that can be given exceed the limit 15",
            ));
        }
        Ok(parsed)
    }

    /// Refuses fields that do not exist or are withheld from the API.
    fn check(&self, world: &World, module: &ModuleSpec) -> Result<(), ApiError> {
        match self {
            Self::And(left, right) | Self::Or(left, right) => {
                left.check(world, module)?;
                right.check(world, module)
            }
            Self::Test { field, .. } if world.is_restricted(module.api_name, field) => Err(
                ApiError::bad("INVALID_QUERY", "the field in restricted in GDPR")
                    .with(json!({"reason": "the field is restricted"})),
            ),
            Self::Test { field, .. } if field != "id" && module.field(field).is_none() => {
                Err(invalid_query("the field is not available for search"))
            }
            Self::Test { .. } => Ok(()),
        }
    }

    pub(super) fn holds(&self, world: &World, clock: &EmulatorClock, row: &Row) -> bool {
        match self {
            Self::And(left, right) => {
                left.holds(world, clock, row) && right.holds(world, clock, row)
            }
            Self::Or(left, right) => {
                left.holds(world, clock, row) || right.holds(world, clock, row)
            }
            Self::Test {
                field,
                operator,
                values,
            } => {
                let held = world.value(row, field, clock).as_ref().and_then(plain_text);
                test(held.as_deref(), *operator, values)
            }
        }
    }

    pub(super) fn fields<'a>(&'a self, into: &mut Vec<&'a str>) {
        match self {
            Self::And(left, right) | Self::Or(left, right) => {
                left.fields(into);
                right.fields(into);
            }
            Self::Test { field, .. } => into.push(field),
        }
    }
}

struct CriteriaParser<'a> {
    text: &'a [char],
    at: usize,
    conditions: usize,
}

impl CriteriaParser<'_> {
    /// Groups joined by `and` / `or`, from left to right.
    fn sequence(&mut self, depth: usize) -> Result<Criteria, ApiError> {
        let mut left = self.group(depth)?;
        loop {
            let and = self.word("and");
            if !and && !self.word("or") {
                return Ok(left);
            }
            let right = self.group(depth)?;
            left = match and {
                true => Criteria::And(Box::new(left), Box::new(right)),
                false => Criteria::Or(Box::new(left), Box::new(right)),
            };
        }
    }

    fn group(&mut self, depth: usize) -> Result<Criteria, ApiError> {
        if depth > DEEPEST {
            return Err(invalid_query("the criteria is nested too deeply"));
        }
        self.expect('(')?;
        let inner = match self.text.get(self.at) {
            Some('(') => self.sequence(depth + 1)?,
            _ => self.condition()?,
        };
        self.expect(')')?;
        Ok(inner)
    }

    fn condition(&mut self) -> Result<Criteria, ApiError> {
        self.conditions += 1;
        let field = self.until(':')?;
        let operator = match self.until(':')?.as_str() {
            "equals" => Operator::Equals,
            "not_equal" => Operator::NotEqual,
            "starts_with" => Operator::StartsWith,
            "contains" => Operator::Contains,
            "greater_than" => Operator::Greater,
            "greater_equal" => Operator::GreaterEqual,
            "less_than" => Operator::Less,
            "less_equal" => Operator::LessEqual,
            "in" => Operator::In,
            "between" => Operator::Between,
            _ => return Err(invalid_query("invalid operator found")),
        };
        let many = matches!(operator, Operator::In | Operator::Between);
        let mut values = vec![String::new()];
        loop {
            match self.text.get(self.at) {
                None => return Err(invalid_query("a bracket is missing")),
                Some(')') => break,
                Some('(') => return Err(invalid_query("a bracket in a value needs a backslash")),
                Some('\\') => {
                    let next = self.text.get(self.at + 1).copied();
                    let next = next.ok_or_else(|| invalid_query("a bracket is missing"))?;
                    push(&mut values, next);
                    self.at += 2;
                }
                Some(',') if many => {
                    values.push(String::new());
                    self.at += 1;
                }
                Some(other) => {
                    push(&mut values, *other);
                    self.at += 1;
                }
            }
        }
        Ok(Criteria::Test {
            field,
            operator,
            values,
        })
    }

    fn until(&mut self, end: char) -> Result<String, ApiError> {
        let mut taken = String::new();
        while let Some(character) = self.text.get(self.at) {
            self.at += 1;
            if *character == end {
                return Ok(taken);
            }
            if matches!(character, '(' | ')') {
                break;
            }
            taken.push(*character);
        }
        Err(invalid_query("a condition needs field, operator and value"))
    }

    fn expect(&mut self, wanted: char) -> Result<(), ApiError> {
        if self.text.get(self.at) == Some(&wanted) {
            self.at += 1;
            return Ok(());
        }
        Err(invalid_query("a bracket is missing"))
    }

    fn word(&mut self, word: &str) -> bool {
        let end = self.at + word.len();
        let found = self
            .text
            .get(self.at..end)
            .is_some_and(|slice| slice.iter().collect::<String>().eq_ignore_ascii_case(word));
        if found {
            self.at = end;
        }
        found
    }
}

fn push(values: &mut [String], character: char) {
    if let Some(last) = values.last_mut() {
        last.push(character);
    }
}

fn test(held: Option<&str>, operator: Operator, values: &[String]) -> bool {
    let first = values.first().map(String::as_str).unwrap_or_default();
    let lower = held.unwrap_or_default().to_lowercase();
    let is = |value: &str| held.is_some() && order(&lower, &value.to_lowercase()).is_eq();
    let compared = || held.map(|_| order(&lower, &first.to_lowercase()));
    match operator {
        Operator::Between => values.get(1).is_some_and(|second| {
            held.is_some()
                && order(&lower, &first.to_lowercase()).is_ge()
                && order(&lower, &second.to_lowercase()).is_le()
        }),
        Operator::Contains => held.is_some() && lower.contains(&first.to_lowercase()),
        Operator::EndsWith => held.is_some() && lower.ends_with(&first.to_lowercase()),
        Operator::Equals => is(first),
        Operator::Greater => compared().is_some_and(Ordering::is_gt),
        Operator::GreaterEqual => compared().is_some_and(Ordering::is_ge),
        Operator::In => values.iter().any(|value| is(value)),
        Operator::IsNotNull => held.is_some(),
        Operator::IsNull => held.is_none(),
        Operator::Less => compared().is_some_and(Ordering::is_lt),
        Operator::LessEqual => compared().is_some_and(Ordering::is_le),
        Operator::NotContains => !lower.contains(&first.to_lowercase()),
        Operator::NotEqual => !is(first),
        Operator::NotIn => !values.iter().any(|value| is(value)),
        Operator::StartsWith => held.is_some() && lower.starts_with(&first.to_lowercase()),
    }
}

/// Instants as instants, whole numbers as numbers, everything else as text without case.
fn order(left: &str, right: &str) -> Ordering {
    if let (Some(left), Some(right)) = (
        parse_instant(&left.to_uppercase()),
        parse_instant(&right.to_uppercase()),
    ) {
        return left.cmp(&right);
    }
    if let (Ok(left), Ok(right)) = (left.parse::<u64>(), right.parse::<u64>()) {
        return left.cmp(&right);
    }
    left.cmp(right)
}

fn plain_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(yes) => Some(yes.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Object(object) => object.get("id").and_then(Value::as_str).map(str::to_owned),
        Value::Null | Value::Array(_) => None,
    }
}

fn invalid_query(reason: &'static str) -> ApiError {
    ApiError::bad("INVALID_QUERY", "Invalid query formed").with(json!({"reason": reason}))
}

const DEEPEST: usize = 20;
const MOST_CHARACTERS: usize = 3_000;
const MOST_CONDITIONS: usize = 15;
const MOST_FOUND: usize = 2_000;
