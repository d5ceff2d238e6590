//! Writing records: create, update, upsert, delete.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::Shared;
use super::clock::{EmulatorClock, parse_instant};
use super::marks::record_locked;
use super::reply::{ApiError, RowResult, rows};
use super::rows::{change, holds_text, insert, number, unknown_id};
use super::schema::ModuleSpec;
use super::world::World;

/// `POST /{module}`
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    Path(module): Path<String>,
    body: Bytes,
) -> Response {
    shared.reply_rows(&module, create_rows(&shared, &module, &body, None))
}

/// The rows of a create; `parent` is the record under which notes are made.
pub(super) fn create_rows(
    shared: &Shared,
    module: &str,
    body: &[u8],
    parent: Option<(&'static ModuleSpec, u64)>,
) -> Result<Response, ApiError> {
    let module = shared.module(module)?;
    let request = WriteRequest::parse(body)?;
    let now = shared.clock.now();
    let mut world = shared.world();
    request.run_automations(module, &mut world);
    let mut results = Vec::new();
    for (index, mut fields) in request.data.into_iter().enumerate() {
        if let Some((parent_module, id)) = parent {
            fields.insert(
                "Parent_Id".into(),
                json!({"id": id.to_string(), "module": {"api_name": parent_module.api_name}}),
            );
        }
        let result = insert(
            &mut world,
            &shared.clock,
            module,
            index,
            fields,
            now,
            shared.lag(),
        );
        results.push(match result {
            Ok(id) => done(&world, &shared.clock, id, "record added", None),
            Err(failed) => failed,
        });
    }
    Ok(rows(
        "data",
        results,
        StatusCode::CREATED,
        StatusCode::ACCEPTED,
    ))
}

/// `PUT /{module}`
pub(super) async fn update(
    State(shared): State<Arc<Shared>>,
    Path(module): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    shared.reply_rows(
        &module,
        update_rows(&shared, &module, None, &headers, &body),
    )
}

/// `PUT /{module}/{id}`
pub(super) async fn update_one(
    State(shared): State<Arc<Shared>>,
    Path((module, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    shared.reply_rows(
        &module,
        update_rows(&shared, &module, Some(&id), &headers, &body),
    )
}

fn update_rows(
    shared: &Shared,
    module: &str,
    path_id: Option<&str>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, ApiError> {
    let module = shared.module(module)?;
    let mut request = WriteRequest::parse(body)?;
    if let Some(id) = path_id {
        request.data.truncate(1);
        for fields in &mut request.data {
            fields.insert("id".into(), id.into());
        }
    }
    let now = shared.clock.now();
    let mut world = shared.world();
    let targets: Vec<Option<u64>> = request
        .data
        .iter()
        .map(|fields| existing(&world, module, fields))
        .collect();
    refuse_when_modified(&world, &shared.clock, headers, targets.iter().flatten())?;
    request.run_automations(module, &mut world);
    let mut results = Vec::new();
    for (index, (fields, target)) in request.data.into_iter().zip(targets).enumerate() {
        let result = match target {
            Some(id) => change(
                &mut world,
                &shared.clock,
                id,
                index,
                fields,
                now,
                shared.lag(),
            )
            .map(|()| id),
            None => Err(unknown_id(&fields, index)),
        };
        results.push(match result {
            Ok(id) => done(&world, &shared.clock, id, "record updated", None),
            Err(failed) => failed,
        });
    }
    Ok(rows("data", results, StatusCode::OK, StatusCode::ACCEPTED))
}

/// `POST /{module}/upsert`
pub(super) async fn upsert(
    State(shared): State<Arc<Shared>>,
    Path(module): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    shared.reply_rows(&module, upsert_rows(&shared, &module, &headers, &body))
}

fn upsert_rows(
    shared: &Shared,
    module: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, ApiError> {
    let module = shared.module(module)?;
    let request = WriteRequest::parse(body)?;
    let checks = duplicate_checks(module, &request.duplicate_check_fields)?;
    let now = shared.clock.now();
    let mut world = shared.world();
    let targets: Vec<Option<(u64, &str)>> = request
        .data
        .iter()
        .map(|fields| duplicate(&world, module, &checks, fields))
        .collect();
    refuse_when_modified(
        &world,
        &shared.clock,
        headers,
        targets.iter().flatten().map(|(id, _)| id),
    )?;
    request.run_automations(module, &mut world);
    let mut results = Vec::new();
    let mut inserted_all = true;
    for (index, fields) in request.data.into_iter().enumerate() {
        // Asked again, because an earlier row of this request may have made it.
        let target = duplicate(&world, module, &checks, &fields);
        let clock = &shared.clock;
        results.push(match target {
            Some((id, field)) => {
                inserted_all = false;
                match change(&mut world, clock, id, index, fields, now, shared.lag()) {
                    Ok(()) => done(
                        &world,
                        clock,
                        id,
                        "record updated",
                        Some(("update", Some(field))),
                    ),
                    Err(failed) => failed,
                }
            }
            None => match insert(&mut world, clock, module, index, fields, now, shared.lag()) {
                Ok(id) => done(&world, clock, id, "record added", Some(("insert", None))),
                Err(failed) => failed,
            },
        });
    }
    let all_done = if inserted_all {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(rows("data", results, all_done, StatusCode::ACCEPTED))
}

/// `DELETE /{module}?ids=`
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Path(module): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let work = || {
        let module = shared.module(&module)?;
        let ids = query.get("ids").ok_or_else(|| {
            ApiError::bad(
                "REQUIRED_PARAM_MISSING",
                "One of the expected parameter is missing",
            )
            .with(json!({"param_name": "ids"}))
        })?;
        let ids: Vec<&str> = ids
            .split(',')
            .map(str::trim)
            .filter(|id| !id.is_empty())
            .collect();
        if ids.is_empty() || ids.len() > MOST_ROWS {
            return Err(
                ApiError::bad("INVALID_DATA", "the ids given seem to be invalid")
                    .with(json!({"param_name": "ids"})),
            );
        }
        let now = shared.clock.now();
        let mut world = shared.world();
        let results = ids
            .into_iter()
            .map(|id| delete_row(&mut world, module, id, now))
            .collect();
        Ok(rows("data", results, StatusCode::OK, StatusCode::ACCEPTED))
    };
    work().unwrap_or_else(IntoResponse::into_response)
}

/// `DELETE /{module}/{id}`
pub(super) async fn delete_one(
    State(shared): State<Arc<Shared>>,
    Path((module, id)): Path<(String, String)>,
) -> Response {
    let work = || {
        let module = shared.module(&module)?;
        match delete_row(&mut shared.world(), module, &id, shared.clock.now()) {
            result @ RowResult::Done(_) => {
                Ok(rows("data", vec![result], StatusCode::OK, StatusCode::OK))
            }
            RowResult::Failed(row) if row["code"] == "RECORD_LOCKED" => {
                Err(ApiError::bad("RECORD_LOCKED", "the record is locked")
                    .with(json!({"id": id}))
                    .in_rows("data"))
            }
            RowResult::Failed(_) => {
                let details = match module.api_name {
                    "Notes" => json!({"resource_path_index": 1}),
                    _ => json!({"id": id}),
                };
                Err(ApiError::bad("INVALID_DATA", "the id given seems to be invalid").with(details))
            }
        }
    };
    work().unwrap_or_else(|error: ApiError| error.into_response())
}

fn delete_row(world: &mut World, module: &ModuleSpec, id: &str, now: i64) -> RowResult {
    let found = id
        .parse()
        .ok()
        .filter(|id: &u64| world.row(module, *id).is_some());
    match found {
        Some(number) if world.locks.contains_key(&number) => record_locked(number),
        Some(number) => {
            world.bin_row(number, now);
            RowResult::done("record deleted", json!({"id": id}))
        }
        None => RowResult::failed(
            "INVALID_DATA",
            "the id given seems to be invalid",
            json!({"id": id}),
        ),
    }
}

/// The body of a write.
struct WriteRequest {
    data: Vec<Map<String, Value>>,
    trigger: Option<Vec<String>>,
    duplicate_check_fields: Vec<String>,
}

impl WriteRequest {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let parsed: Value = serde_json::from_slice(body).map_err(|_| ApiError::not_json())?;
        let Some(data) = parsed.get("data").and_then(Value::as_array) else {
            return Err(
                ApiError::bad("MANDATORY_NOT_FOUND", "required field not found")
                    .with(json!({"api_name": "data", "json_path": "$.data"})),
            );
        };
        if data.is_empty() {
            return Err(ApiError::bad("INVALID_DATA", "invalid data")
                .with(json!({"api_name": "data", "json_path": "$.data"})));
        }
        if data.len() > MOST_ROWS {
            return Err(
                ApiError::bad("LIMIT_EXCEEDED", "the maximum number of records is 100")
                    .with(json!({"api_name": "data", "json_path": "$.data", "limit": MOST_ROWS})),
            );
        }
        let rows: Option<Vec<Map<String, Value>>> =
            data.iter().map(|row| row.as_object().cloned()).collect();
        let rows = rows.ok_or_else(|| {
            ApiError::bad("INVALID_DATA", "invalid data").with(
                json!({"api_name": "data", "json_path": "$.data[0]", "expected_data_type": "jsonobject"}),
            )
        })?;
        let texts = |key: &str| {
            parsed.get(key).and_then(Value::as_array).map(|list| {
                list.iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
        };
        Ok(Self {
            data: rows,
            trigger: texts("trigger"),
            duplicate_check_fields: texts("duplicate_check_fields").unwrap_or_default(),
        })
    }

    /// Without `trigger` every automation runs, with an empty list none does. Of notes the vendor
    /// documents neither a `trigger` nor automations.
    fn run_automations(&self, module: &ModuleSpec, world: &mut World) {
        if module.api_name == "Notes" {
            return;
        }
        if self.trigger.as_ref().is_none_or(|list| !list.is_empty()) {
            world.automations += self.data.len() as u64;
        }
    }
}

/// The fields an upsert compares: those named, or the system's own and then the unique ones.
fn duplicate_checks(
    module: &'static ModuleSpec,
    named: &[String],
) -> Result<Vec<&'static str>, ApiError> {
    if named.is_empty() {
        let unique = module
            .fields
            .iter()
            .filter(|field| field.unique)
            .map(|field| field.api_name);
        return Ok(module
            .system_duplicate_field
            .into_iter()
            .chain(unique)
            .collect());
    }
    named
        .iter()
        .map(|name| {
            let system = module.system_duplicate_field.filter(|field| field == name);
            let unique = module
                .field(name)
                .filter(|field| field.unique)
                .map(|field| field.api_name);
            system.or(unique).ok_or_else(|| {
                ApiError::bad(
                    "INVALID_DATA",
                    "the given field is not a duplicate check field",
                )
                .with(json!({
                    "api_name": "duplicate_check_fields",
                    "json_path": "$.duplicate_check_fields[0]",
                }))
            })
        })
        .collect()
}

fn duplicate<'a>(
    world: &World,
    module: &ModuleSpec,
    checks: &[&'a str],
    fields: &Map<String, Value>,
) -> Option<(u64, &'a str)> {
    if let Some(id) = existing(world, module, fields) {
        return Some((id, "id"));
    }
    checks.iter().find_map(|check| {
        let value = fields.get(*check).and_then(Value::as_str)?;
        world
            .rows_of(module)
            .find(|row| holds_text(row, check, value))
            .map(|row| (row.id, *check))
    })
}

fn existing(world: &World, module: &ModuleSpec, fields: &Map<String, Value>) -> Option<u64> {
    let id = number(fields.get("id")?)?;
    world.row(module, id).map(|row| row.id)
}

fn refuse_when_modified<'a>(
    world: &World,
    clock: &EmulatorClock,
    headers: &HeaderMap,
    targets: impl Iterator<Item = &'a u64>,
) -> Result<(), ApiError> {
    let Some(header) = headers.get("if-unmodified-since") else {
        return Ok(());
    };
    let Some(since) = header.to_str().ok().and_then(parse_instant) else {
        return Err(
            ApiError::bad("INVALID_DATA", "the header given seems to be invalid")
                .with(json!({"api_name": "If-Unmodified-Since"})),
        );
    };
    for row in targets.filter_map(|id| world.rows.get(id)) {
        if row.modified > since {
            let mut error = ApiError::new(
                StatusCode::PRECONDITION_FAILED,
                "ALREADY_MODIFIED",
                "the record has been modified since the given time",
            );
            error = error.with(json!({
                "Modified_Time": clock.text(row.modified), "Created_Time": clock.text(row.created),
                "id": row.id.to_string(), "Modified_By": world.caller().reference(),
                "Created_By": world.caller().reference(),
            }));
            return Err(error.in_rows("data"));
        }
    }
    Ok(())
}

fn done(
    world: &World,
    clock: &EmulatorClock,
    id: u64,
    message: &str,
    action: Option<(&str, Option<&str>)>,
) -> RowResult {
    let Some(row) = world.rows.get(&id) else {
        return RowResult::failed("INTERNAL_ERROR", "the row is gone", json!({}));
    };
    let mut details = json!({
        "Modified_Time": clock.text(row.modified), "Modified_By": world.caller().reference(),
        "Created_Time": clock.text(row.created), "Created_By": world.caller().reference(),
        "id": id.to_string(),
    });
    if row.module.api_name != "Notes" {
        details["$approval_state"] = "approved".into();
    }
    let mut result = RowResult::done(message, details);
    if let (RowResult::Done(value), Some((action, field))) = (&mut result, action) {
        value["action"] = action.into();
        value["duplicate_field"] = field.into();
    }
    result
}

const MOST_ROWS: usize = 100;
