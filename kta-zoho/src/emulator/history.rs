//! What cannot be erased through the API: the timeline of a record and the audit log.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Shared;
use super::clock::parse_instant;
use super::listing::Window;
use super::reply::ApiError;

/// One change of a record.
#[derive(Clone, Debug)]
pub(super) struct TimelineEntry {
    pub(super) id: u64,
    pub(super) record: u64,
    pub(super) module: &'static str,
    pub(super) action: &'static str,
    /// Field, old value, new value.
    pub(super) changes: Vec<(String, Value, Value)>,
    pub(super) at: i64,
}

/// One line of the organisation's audit log.
#[derive(Clone, Debug)]
pub(super) struct AuditRow {
    pub(super) at: i64,
    pub(super) action: &'static str,
    pub(super) module: &'static str,
    pub(super) record: u64,
    pub(super) record_name: String,
}

/// A job that exports the audit log.
#[derive(Clone, Debug)]
pub(super) struct Export {
    id: u64,
    criteria: Value,
    started: i64,
    /// How often its state was asked for; the second answer has the links.
    asked: u32,
    rows: Vec<AuditRow>,
}

/// `GET /{module}/{id}/__timeline`. It answers for live records and for those in the recycle
/// bin, and no more after they are deleted for good, although the entries are kept.
pub(super) async fn timeline(
    State(shared): State<Arc<Shared>>,
    Path((module, id)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let work = || {
        let module = shared.module(&module)?;
        let window = Window::parse(&query)?;
        let world = shared.world();
        let known = id.parse().ok().filter(|id| {
            world.row(module, *id).is_some()
                || world
                    .bin
                    .get(id)
                    .is_some_and(|one| one.what.module_name() == module.api_name)
        });
        let record: u64 = known.ok_or_else(|| ApiError::unknown_related_id(1))?;
        let by = world.caller();
        let lines: Vec<Value> = world
            .timeline
            .iter()
            .rev()
            .filter(|entry| entry.record == record)
            .map(|entry| {
                let history: Vec<Value> = entry
                    .changes
                    .iter()
                    .map(|(field, old, new)| {
                        json!({
                            "api_name": field, "field_label": field.replace('_', " "),
                            "data_type": module.field(field).map_or("text", |f| f.kind.data_type()),
                            "id": entry.id.to_string(), "enable_colour_code": false,
                            "pick_list_values": [],
                            "_value": {"new": new.as_str(), "old": old.as_str()},
                        })
                    })
                    .collect();
                let history = if history.is_empty() {
                    Value::Null
                } else {
                    history.into()
                };
                json!({
                    "audited_time": shared.clock.text(entry.at), "action": entry.action,
                    "id": entry.id.to_string(), "source": "crm_api", "extension": null,
                    "done_by": {"name": by.reference()["name"], "id": by.id.to_string()},
                    "related_record": null, "automation_details": null,
                    "record": {
                        "name": null, "id": id,
                        "module": {"api_name": module.api_name, "id": module.id.to_string()},
                    },
                    "field_history": history,
                })
            })
            .collect();
        let (shown, mut info) = window.cut(lines);
        info["next_page_token"] = Value::Null;
        info["previous_page_token"] = Value::Null;
        Ok(super::reply::list("__timeline", shown, info))
    };
    work().unwrap_or_else(|error: ApiError| error.into_response())
}

/// `POST /settings/audit_log_export`
pub(super) async fn start_export(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let parsed: Value = match serde_json::from_slice(&body) {
        Ok(parsed) => parsed,
        Err(_) => return ApiError::not_json().into_response(),
    };
    let Some(criteria) = parsed["audit_log_export"][0].get("criteria").cloned() else {
        return ApiError::bad("MANDATORY_NOT_FOUND", "required field not found")
            .with(json!({"api_name": "audit_log_export"}))
            .into_response();
    };
    let (from, to) = period(&criteria);
    let mut world = shared.world();
    let rows: Vec<AuditRow> = world
        .audit
        .iter()
        .filter(|row| from.is_none_or(|from| row.at >= from) && to.is_none_or(|to| row.at <= to))
        .cloned()
        .collect();
    let id = world.fresh_id();
    let started = shared.clock.now();
    world.exports.push(Export {
        id,
        criteria,
        started,
        asked: 0,
        rows,
    });
    Json(json!({"audit_log_export": [{
        "code": "SCHEDULED", "details": {"id": id.to_string()},
        "message": "the export has been scheduled", "status": "success",
    }]}))
    .into_response()
}

/// `GET /settings/audit_log_export`
pub(super) async fn exports(State(shared): State<Arc<Shared>>) -> Response {
    let world = shared.world();
    if world.exports.is_empty() {
        return StatusCode::NO_CONTENT.into_response();
    }
    let rows: Vec<Value> = world
        .exports
        .iter()
        .map(|export| shown(&shared, export))
        .collect();
    Json(json!({"audit_log_export": rows})).into_response()
}

/// `GET /settings/audit_log_export/{id}`
pub(super) async fn export(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let mut world = shared.world();
    match world
        .exports
        .iter_mut()
        .find(|export| export.id.to_string() == id)
    {
        Some(export) => {
            export.asked += 1;
            Json(json!({"audit_log_export": [shown(&shared, export)]})).into_response()
        }
        None => ApiError::bad("INVALID_DATA", "the id given seems to be invalid")
            .with(json!({"resource_path_index": 2}))
            .into_response(),
    }
}

/// The file behind a download link, as CSV. The vendor's column names are not published; these
/// are ours.
pub(super) async fn download(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Response {
    let world = shared.world();
    let Some(export) = world
        .exports
        .iter()
        .find(|export| export.id.to_string() == id)
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut csv = String::from("Audited Time,Done By,Action,Module,Record Id,Record Name\r\n");
    let by = world.caller().id;
    for row in &export.rows {
        let at = shared.clock.text(row.at);
        let name = row.record_name.replace('"', "\"\"");
        // Writing to a string cannot fail.
        let _ = write!(
            csv,
            "{at},{by},{},{},{},\"{name}\"\r\n",
            row.action, row.module, row.record
        );
    }
    ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], csv).into_response()
}

fn shown(shared: &Shared, export: &Export) -> Value {
    let world_domain = shared.api_domain();
    let finished = export.asked >= 2;
    let links = match finished {
        true => vec![format!(
            "{world_domain}/crm/v8/settings/audit_log_export/{}/file",
            export.id
        )],
        false => Vec::new(),
    };
    let mut row = json!({
        "criteria": export.criteria, "id": export.id.to_string(),
        "status": if finished { "finished" } else { "in_progress" },
        "download_links": links, "job_start_time": shared.clock.text(export.started),
    });
    if finished {
        row["job_end_time"] = shared.clock.text(export.started).into();
        row["expiry_date"] = shared.clock.text(export.started + WEEK).into();
    }
    row
}

/// A criteria `audited_time between [from, to]`, alone or in a group.
fn period(criteria: &Value) -> (Option<i64>, Option<i64>) {
    let groups = criteria["group"].as_array().cloned().unwrap_or_default();
    for one in groups.iter().chain([criteria]) {
        if one["field"]["api_name"] == "audited_time" {
            let bound = |n: usize| one["value"][n].as_str().and_then(parse_instant);
            return (bound(0), bound(1));
        }
    }
    (None, None)
}

const WEEK: i64 = 7 * 86_400;
