//! `POST /coql`: the part of the query language that reads columns of one module.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Shared;
use super::reply::ApiError;
use super::schema::{ModuleSpec, module};
use super::search::{Criteria, Operator};
use super::world::Row;

/// `POST /coql`
pub(super) async fn query(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    answer(&shared, &body).unwrap_or_else(IntoResponse::into_response)
}

fn answer(shared: &Shared, body: &[u8]) -> Result<Response, ApiError> {
    let parsed: Value = serde_json::from_slice(body).map_err(|_| ApiError::not_json())?;
    let text = parsed
        .get("select_query")
        .and_then(Value::as_str)
        .ok_or_else(|| {
            ApiError::bad("MANDATORY_NOT_FOUND", "required field not found")
                .with(json!({"api_name": "select_query"}))
        })?;
    let query = Query::parse(text)?;
    let world = shared.world();
    let known = |name: &str| {
        if name != "id" && query.module.field(name).is_none() {
            return Err(
                ApiError::bad("INVALID_QUERY", "column given seems to be invalid")
                    .with(json!({"column_name": name})),
            );
        }
        Ok(())
    };
    for column in &query.columns {
        known(column)?;
    }
    let mut filtered = Vec::new();
    query.criteria.fields(&mut filtered);
    for column in filtered {
        known(column)?;
        if world.is_restricted(query.module.api_name, column) {
            return Err(ApiError::bad("INVALID_QUERY", "the column is restricted")
                .with(json!({"column_name": column, "clause": "where"})));
        }
    }
    let mut rows: Vec<&Row> = world
        .rows_of(query.module)
        .filter(|row| query.criteria.holds(&world, &shared.clock, row))
        .collect();
    for (column, descending) in query.order.iter().rev() {
        known(column)?;
        rows.sort_by_cached_key(|row| {
            world
                .value(row, column, &shared.clock)
                .map(|value| value.to_string())
        });
        if *descending {
            rows.reverse();
        }
    }
    let more = rows.len() > query.offset.saturating_add(query.limit);
    let shown: Vec<Value> = rows
        .into_iter()
        .skip(query.offset)
        .take(query.limit)
        .map(|row| world.shown_row(row, Some(&query.columns), &shared.clock))
        .collect();
    if shown.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let info = json!({"count": shown.len(), "more_records": more});
    Ok(Json(json!({"data": shown, "info": info})).into_response())
}

#[derive(Debug)]
struct Query {
    columns: Vec<String>,
    module: &'static ModuleSpec,
    criteria: Criteria,
    order: Vec<(String, bool)>,
    offset: usize,
    limit: usize,
}

impl Query {
    fn parse(text: &str) -> Result<Self, ApiError> {
        let tokens = tokens(text)?;
        let mut parser = Parser {
            tokens,
            at: 0,
            conditions: 0,
        };
        parser.keyword("select", "select")?;
        let mut columns = vec![parser.name("select")?];
        while parser.symbol(",") {
            columns.push(parser.name("select")?);
        }
        if columns.len() > MOST_COLUMNS {
            return Err(limit("columns"));
        }
        parser.keyword("from", "from")?;
        let name = parser.name("from")?;
        let module = module(&name).ok_or_else(|| {
            ApiError::bad("INVALID_QUERY", "module given seems to be invalid")
                .with(json!({"module": name}))
        })?;
        parser.keyword("where", "where")?;
        let criteria = parser.expression(0)?;
        if parser.conditions > MOST_CONDITIONS {
            return Err(limit("criteria"));
        }
        let mut order = Vec::new();
        if parser.is_keyword("order") {
            parser.keyword("by", "order by")?;
            loop {
                let column = parser.name("order by")?;
                let descending = parser.is_keyword("desc");
                if !descending {
                    parser.is_keyword("asc");
                }
                order.push((column, descending));
                if !parser.symbol(",") {
                    break;
                }
            }
        }
        let (mut offset, mut most) = (0, DEFAULT_ROWS);
        if parser.is_keyword("limit") {
            most = parser.number("limit")?;
            if parser.symbol(",") {
                offset = most;
                most = parser.number("limit")?;
            } else if parser.is_keyword("offset") {
                offset = parser.number("offset")?;
            }
        }
        if parser.at < parser.tokens.len() {
            return Err(syntax("the end of the query"));
        }
        if most > MOST_ROWS || offset.saturating_add(most) > MOST_REACH {
            return Err(limit("limit"));
        }
        Ok(Self {
            columns,
            module,
            criteria,
            order,
            offset,
            limit: most,
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(String),
    Symbol(&'static str),
    Text(String),
    Word(String),
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    conditions: usize,
}

impl Parser {
    /// One condition, or exactly two joined by and / or: more need brackets.
    fn expression(&mut self, depth: usize) -> Result<Criteria, ApiError> {
        let left = self.term(depth)?;
        let and = self.is_keyword("and");
        if !and && !self.is_keyword("or") {
            return Ok(left);
        }
        let right = self.term(depth)?;
        if self.is_keyword("and") || self.is_keyword("or") {
            return Err(syntax("where: more than two conditions need brackets"));
        }
        Ok(match and {
            true => Criteria::And(Box::new(left), Box::new(right)),
            false => Criteria::Or(Box::new(left), Box::new(right)),
        })
    }

    fn term(&mut self, depth: usize) -> Result<Criteria, ApiError> {
        if depth > DEEPEST {
            return Err(syntax("where: nested too deeply"));
        }
        if self.symbol("(") {
            let inner = self.expression(depth + 1)?;
            if !self.symbol(")") {
                return Err(syntax("where: a bracket is missing"));
            }
            return Ok(inner);
        }
        self.condition()
    }

    fn condition(&mut self) -> Result<Criteria, ApiError> {
        self.conditions += 1;
        let name = self.name("where")?;
        let field = name.strip_suffix(".id").unwrap_or(&name).to_owned();
        let test = |operator, values| Criteria::Test {
            field: field.clone(),
            operator,
            values,
        };
        if self.is_keyword("is") {
            let not = self.is_keyword("not");
            self.keyword("null", "where")?;
            let operator = if not {
                Operator::IsNotNull
            } else {
                Operator::IsNull
            };
            return Ok(test(operator, Vec::new()));
        }
        let not = self.is_keyword("not");
        if self.is_keyword("in") {
            let values = self.value_list()?;
            return Ok(test(
                if not { Operator::NotIn } else { Operator::In },
                values,
            ));
        }
        if self.is_keyword("like") {
            return Ok(like(field.clone(), self.value()?, not));
        }
        if self.is_keyword("between") {
            let low = self.value()?;
            self.keyword("and", "where")?;
            let high = self.value()?;
            return Ok(test(Operator::Between, vec![low, high]));
        }
        let operator = match self.tokens.get(self.at) {
            Some(Token::Symbol("=")) => Operator::Equals,
            Some(Token::Symbol("!=")) => Operator::NotEqual,
            Some(Token::Symbol(">")) => Operator::Greater,
            Some(Token::Symbol(">=")) => Operator::GreaterEqual,
            Some(Token::Symbol("<")) => Operator::Less,
            Some(Token::Symbol("<=")) => Operator::LessEqual,
            _ => return Err(syntax("where: an operator is missing")),
        };
        self.at += 1;
        let value = self.value()?;
        Ok(test(operator, vec![value]))
    }

    fn value_list(&mut self) -> Result<Vec<String>, ApiError> {
        if !self.symbol("(") {
            return Err(syntax("where: a list is missing"));
        }
        let mut values = vec![self.value()?];
        while self.symbol(",") {
            values.push(self.value()?);
        }
        if !self.symbol(")") {
            return Err(syntax("where: a bracket is missing"));
        }
        if values.len() > MOST_LISTED {
            return Err(limit("in"));
        }
        Ok(values)
    }

    fn value(&mut self) -> Result<String, ApiError> {
        let value = match self.tokens.get(self.at) {
            Some(Token::Number(text) | Token::Text(text)) => text.clone(),
            Some(Token::Word(word)) if matches!(word.as_str(), "true" | "false") => word.clone(),
            _ => return Err(syntax("where: a value is missing")),
        };
        self.at += 1;
        Ok(value)
    }

    fn name(&mut self, clause: &'static str) -> Result<String, ApiError> {
        match self.tokens.get(self.at) {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(word.clone())
            }
            _ => Err(syntax(clause)),
        }
    }

    fn number(&mut self, clause: &'static str) -> Result<usize, ApiError> {
        match self.tokens.get(self.at) {
            Some(Token::Number(text)) => {
                self.at += 1;
                text.parse().map_err(|_| syntax(clause))
            }
            _ => Err(syntax(clause)),
        }
    }

    fn keyword(&mut self, word: &str, clause: &'static str) -> Result<(), ApiError> {
        if self.is_keyword(word) {
            Ok(())
        } else {
            Err(syntax(clause))
        }
    }

    fn is_keyword(&mut self, wanted: &str) -> bool {
        let found = matches!(
            self.tokens.get(self.at), Some(Token::Word(word)) if word.eq_ignore_ascii_case(wanted)
        );
        self.at += usize::from(found);
        found
    }

    fn symbol(&mut self, wanted: &str) -> bool {
        let found =
            matches!(self.tokens.get(self.at), Some(Token::Symbol(symbol)) if *symbol == wanted);
        self.at += usize::from(found);
        found
    }
}

fn like(field: String, pattern: String, not: bool) -> Criteria {
    let starts = pattern.ends_with('%');
    let ends = pattern.starts_with('%');
    let needle = pattern.trim_matches('%').to_owned();
    let operator = match (not, starts, ends) {
        (true, ..) => Operator::NotContains,
        (false, true, false) => Operator::StartsWith,
        (false, false, true) => Operator::EndsWith,
        (false, true, true) => Operator::Contains,
        (false, false, false) => Operator::Equals,
    };
    Criteria::Test {
        field,
        operator,
        values: vec![needle],
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, ApiError> {
    let characters: Vec<char> = text.chars().take(LONGEST_QUERY + 1).collect();
    if characters.len() > LONGEST_QUERY {
        return Err(limit("query"));
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(character) = characters.get(at).copied() {
        if character.is_whitespace() {
            at += 1;
        } else if character == '\'' {
            let (value, end) = quoted(&characters, at + 1)?;
            tokens.push(Token::Text(value));
            at = end;
        } else if character.is_ascii_digit() {
            let end = run(&characters, at, |c| c.is_ascii_digit() || c == '.');
            tokens.push(Token::Number(characters[at..end].iter().collect()));
            at = end;
        } else if character.is_ascii_alphabetic() || character == '_' || character == '$' {
            let end = run(&characters, at, |c| {
                c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$')
            });
            tokens.push(Token::Word(characters[at..end].iter().collect()));
            at = end;
        } else {
            let pair: String = characters[at..characters.len().min(at + 2)]
                .iter()
                .collect();
            let symbol = SYMBOLS.iter().find(|symbol| pair.starts_with(**symbol));
            let symbol = symbol.ok_or_else(|| syntax("a character that has no place here"))?;
            tokens.push(Token::Symbol(symbol));
            at += symbol.len();
        }
    }
    Ok(tokens)
}

fn quoted(characters: &[char], mut at: usize) -> Result<(String, usize), ApiError> {
    let mut value = String::new();
    while let Some(character) = characters.get(at).copied() {
        match character {
            '\'' => return Ok((value, at + 1)),
            '\\' => {
                let next = characters
                    .get(at + 1)
                    .ok_or_else(|| syntax("an open quote"))?;
                value.push(*next);
                at += 2;
            }
            other => {
                value.push(other);
                at += 1;
            }
        }
    }
    Err(syntax("an open quote"))
}

fn run(characters: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    characters[from..]
        .iter()
        .position(|c| !wanted(*c))
        .map_or(characters.len(), |n| from + n)
}

fn syntax(clause: &'static str) -> ApiError {
    ApiError::bad("SYNTAX_ERROR", "error occurred while parsing the query")
        .with(json!({"clause": clause}))
}

fn limit(what: &'static str) -> ApiError {
    ApiError::bad("LIMIT_EXCEEDED", "the query is beyond a limit").with(json!({"limit": what}))
}

const DEEPEST: usize = 30;
const DEFAULT_ROWS: usize = 200;
const LONGEST_QUERY: usize = 20_000;
const MOST_COLUMNS: usize = 50;
const MOST_CONDITIONS: usize = 25;
const MOST_LISTED: usize = 50;
const MOST_REACH: usize = 100_000;
const MOST_ROWS: usize = 2_000;
/// The longer ones first.
const SYMBOLS: [&str; 9] = ["!=", ">=", "<=", "=", ">", "<", ",", "(", ")"];
