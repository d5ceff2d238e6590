//! The audit log: what happened to files, and the queries that read it in their own time.

use super::clock::stamp;
use super::reply::{Call, Refused, Reply};
use super::state::State;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The log and its queries.
pub(crate) struct AuditLog {
    records: Vec<Record>,
    queries: BTreeMap<String, Query>,
    /// How often a query is looked at before it has succeeded.
    pub(crate) looks: u32,
}

impl Default for AuditLog {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            queries: BTreeMap::new(),
            looks: 2,
        }
    }
}

struct Record {
    id: String,
    at: DateTime<Utc>,
    operation: &'static str,
    unique_id: String,
    name: String,
}

struct Query {
    body: Map<String, Value>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    looked: u32,
}

impl State {
    /// Writes that something happened to an item.
    pub(crate) fn log(&mut self, operation: &'static str, item: &str) {
        let Some(item) = self.items.get(item) else {
            return;
        };
        let (unique_id, name) = (item.unique_id.clone(), item.name.clone());
        let record = Record {
            id: self.ids.guid(),
            at: self.now(),
            operation,
            unique_id,
            name,
        };
        self.audit.records.push(record);
    }

    /// Forgets what the vendor no longer keeps.
    pub(crate) fn sweep_audit(&mut self) {
        let oldest = self.now() - TimeDelta::days(KEPT_DAYS);
        self.audit.records.retain(|record| record.at >= oldest);
    }
}

/// `/security/auditLog/queries…`.
pub(crate) fn queries(state: &mut State, tail: &[String], call: &Call) -> Result<Reply, Refused> {
    let tail: Vec<&str> = tail.iter().map(String::as_str).collect();
    match (call.method.as_str(), tail.as_slice()) {
        ("GET", ["auditLog", "queries"]) => {
            let value: Vec<Value> = state
                .audit
                .queries
                .iter()
                .map(|(id, query)| render(id, query, state.audit.looks))
                .collect();
            Ok(Reply::json(200, json!({ "value": value })))
        }
        ("POST", ["auditLog", "queries"]) => create(state, call),
        ("GET", ["auditLog", "queries", id]) => {
            let looks = state.audit.looks;
            let query = state.audit.queries.get_mut(*id);
            let query = query.ok_or_else(Refused::not_found)?;
            query.looked += 1;
            Ok(Reply::json(200, render(id, query, looks)))
        }
        ("GET", ["auditLog", "queries", id, "records"]) => records(state, id, call),
        _ => Err(Refused::unsupported(
            "The emulator does not know this operation.",
        )),
    }
}

fn create(state: &mut State, call: &Call) -> Result<Reply, Refused> {
    let body = call.object()?;
    let instant = |key: &str| {
        let at = body.get(key).and_then(Value::as_str);
        let at = at.and_then(|at| DateTime::parse_from_rfc3339(at).ok());
        at.map(|at| at.with_timezone(&Utc))
            .ok_or_else(|| Refused::bad("the interval is missing or malformed"))
    };
    let query = Query {
        from: instant("filterStartDateTime")?,
        to: instant("filterEndDateTime")?,
        body,
        looked: 0,
    };
    let id = state.ids.guid();
    let value = render(&id, &query, state.audit.looks);
    state.audit.queries.insert(id, query);
    Ok(Reply::json(201, value))
}

fn records(state: &State, id: &str, call: &Call) -> Result<Reply, Refused> {
    let query = state.audit.queries.get(id).ok_or_else(Refused::not_found)?;
    if query.looked < state.audit.looks {
        return Err(Refused::bad("the query has not succeeded"));
    }
    let skip: usize = match call.query("$skiptoken") {
        Some(token) => token
            .parse()
            .map_err(|_| Refused::bad("malformed skip token"))?,
        None => 0,
    };
    let all: Vec<&Record> = state
        .audit
        .records
        .iter()
        .rev() // the vendor promises no order
        .filter(|record| record.at >= query.from && record.at < query.to)
        .collect();
    let site = format!("{}{}", state.settings.sharepoint, state.site.path);
    let value: Vec<Value> = all
        .iter()
        .skip(skip)
        .take(PAGE)
        .map(|record| {
            json!({
                "id": record.id,
                "createdDateTime": stamp(record.at),
                "auditLogRecordType": "SharePointFileOperation",
                "operation": record.operation,
                "service": "SharePoint",
                "objectId": format!("{site}/{}", record.name),
                "userPrincipalName": "invented.user@firm.example",
                "userType": "Regular",
                "clientIp": "192.0.2.7",
                "auditData": { "dynamicProperties": {
                    "ListItemUniqueId": record.unique_id, "SourceFileName": record.name } },
            })
        })
        .collect();
    let mut body = json!({ "value": value });
    if skip + PAGE < all.len() {
        body["@odata.nextLink"] = json!(format!(
            "{}/v1.0/security/auditLog/queries/{id}/records?$skiptoken={}",
            state.settings.graph,
            skip + PAGE
        ));
    }
    Ok(Reply::json(200, body))
}

fn render(id: &str, query: &Query, looks: u32) -> Value {
    let mut body = query.body.clone();
    let status = match query.looked {
        0 => "notStarted",
        n if n < looks => "running",
        _ => "succeeded",
    };
    body.insert("id".to_owned(), json!(id));
    body.insert("status".to_owned(), json!(status));
    Value::Object(body)
}

const PAGE: usize = 5;
const KEPT_DAYS: i64 = 180;
