//! Tags and locks.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Shared;
use super::reply::{ApiError, RowResult, rows};
use super::world::display_name;

/// A lock on a record.
#[derive(Clone, Debug)]
pub(super) struct Lock {
    pub(super) id: u64,
    reason: String,
    at: i64,
}

/// `POST /{module}/{id}/actions/add_tags`
pub(super) async fn add_tags(
    State(shared): State<Arc<Shared>>,
    Path((module, id)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    tags(&shared, &module, &id, &body, true).unwrap_or_else(IntoResponse::into_response)
}

/// `POST /{module}/{id}/actions/remove_tags`
pub(super) async fn remove_tags(
    State(shared): State<Arc<Shared>>,
    Path((module, id)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    tags(&shared, &module, &id, &body, false).unwrap_or_else(IntoResponse::into_response)
}

fn tags(
    shared: &Shared,
    module: &str,
    id: &str,
    body: &[u8],
    add: bool,
) -> Result<Response, ApiError> {
    let (_, record) = shared.live_parent(module, id)?;
    let parsed: Value = serde_json::from_slice(body).map_err(|_| ApiError::not_json())?;
    let list = parsed["tags"].as_array().ok_or_else(|| {
        ApiError::bad("MANDATORY_NOT_FOUND", "required field not found")
            .with(json!({"api_name": "tags", "json_path": "$.tags"}))
    })?;
    let names: Option<Vec<String>> = list
        .iter()
        .map(|tag| {
            tag["name"]
                .as_str()
                .filter(|name| !name.is_empty() && name.len() <= 25)
        })
        .map(|name| name.map(str::to_owned))
        .collect();
    let names = names.ok_or_else(|| {
        ApiError::bad("INVALID_DATA", "invalid data")
            .with(json!({"api_name": "name", "json_path": "$.tags[0].name"}))
    })?;
    let now = shared.clock.now();
    let mut world = shared.world();
    let held = world.tags.entry(record).or_default();
    match add {
        true => held.extend(names),
        false => held.retain(|name| !names.contains(name)),
    }
    if held.len() > MOST_TAGS {
        return Err(ApiError::bad("LIMIT_EXCEEDED", "at most 10 tags"));
    }
    let shown = shown_tags(held.iter());
    if let Some(row) = world.rows.get_mut(&record) {
        row.modified = now;
    }
    let message = if add {
        "tags updated successfully"
    } else {
        "tags removed successfully"
    };
    let done = RowResult::done(message, json!({"id": id, "tags": shown}));
    Ok(rows("data", vec![done], StatusCode::OK, StatusCode::OK))
}

/// Tags as rows show them. The emulator numbers them by their names.
pub(super) fn shown_tags<'a>(names: impl Iterator<Item = &'a String>) -> Value {
    let id = |name: &str| {
        name.bytes().fold(7_u64, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(byte)) % 1_000_000_007
        })
    };
    names
        .map(|name| json!({"name": name, "id": id(name).to_string(), "color_code": null}))
        .collect()
}

/// `POST /{module}/{id}/Locking_Information__s`
pub(super) async fn lock(
    State(shared): State<Arc<Shared>>,
    Path((module, id)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let work = || {
        let (_, record) = shared.live_parent(&module, &id)?;
        let parsed: Value = serde_json::from_slice(&body).map_err(|_| ApiError::not_json())?;
        let list = parsed["data"].as_array().filter(|list| list.len() == 1);
        let reason = list.and_then(|list| list[0]["Locked_Reason__s"].as_str());
        let reason = reason.ok_or_else(|| {
            ApiError::bad("MANDATORY_NOT_FOUND", "required field not found")
                .with(json!({"api_name": "Locked_Reason__s", "json_path": "$.data[0].Locked_Reason__s"}))
                .in_rows("data")
        })?;
        let now = shared.clock.now();
        let mut world = shared.world();
        if world.locks.contains_key(&record) {
            return Err(ApiError::bad("NOT_ALLOWED", "the record is locked already")
                .with(json!({"resource_path_index": 1})));
        }
        let lock = Lock {
            id: world.fresh_id(),
            reason: reason.to_owned(),
            at: now,
        };
        let (by, at) = (world.caller().reference(), shared.clock.text(now));
        let details = json!({
            "id": lock.id.to_string(), "Created_Time": at, "Modified_Time": at,
            "Modified_By": by, "Created_By": by,
        });
        world.locks.insert(record, lock);
        let done = RowResult::done("record locked", details);
        Ok(rows(
            "data",
            vec![done],
            StatusCode::CREATED,
            StatusCode::BAD_REQUEST,
        ))
    };
    work().unwrap_or_else(|error: ApiError| error.into_response())
}

/// `GET /{module}/{id}/Locking_Information__s`
pub(super) async fn locked(
    State(shared): State<Arc<Shared>>,
    Path((module, id)): Path<(String, String)>,
) -> Response {
    let work = || {
        let (module, record) = shared.live_parent(&module, &id)?;
        let world = shared.world();
        let Some(lock) = world.locks.get(&record) else {
            return Ok(StatusCode::NO_CONTENT.into_response());
        };
        let caller = world.caller();
        let name = world
            .rows
            .get(&record)
            .map(display_name)
            .unwrap_or_default();
        let row = json!({
            "id": lock.id.to_string(), "Locked_Reason__s": lock.reason,
            "Locked_Time__s": shared.clock.text(lock.at), "Lock_Source__s": "Manual",
            "Locked_By__s": {
                "name": caller.reference()["name"], "id": caller.id.to_string(), "module": "Users",
            },
            "Locked_For__s": {
                "module": {"api_name": module.api_name, "id": module.id.to_string()},
                "name": name, "id": id,
            },
        });
        let info = json!({"per_page": 200, "count": 1, "page": 1, "more_records": false});
        Ok(Json(json!({"data": [row], "info": info})).into_response())
    };
    work().unwrap_or_else(|error: ApiError| error.into_response())
}

/// `DELETE /{module}/{id}/Locking_Information__s/{lock}`
pub(super) async fn unlock(
    State(shared): State<Arc<Shared>>,
    Path((module, id, lock)): Path<(String, String, String)>,
) -> Response {
    let work = || {
        let (_, record) = shared.live_parent(&module, &id)?;
        let mut world = shared.world();
        let fits = world
            .locks
            .get(&record)
            .is_some_and(|held| held.id.to_string() == lock);
        if !fits {
            return Err(ApiError::bad("INVALID_DATA", "relation not found")
                .with(json!({"resource_path_index": 3})));
        }
        world.locks.remove(&record);
        let done = RowResult::done("record unlocked", json!({"id": lock}));
        Ok(rows(
            "data",
            vec![done],
            StatusCode::OK,
            StatusCode::BAD_REQUEST,
        ))
    };
    work().unwrap_or_else(|error: ApiError| error.into_response())
}

/// What a write to a locked record is answered with.
pub(super) fn record_locked(id: u64) -> RowResult {
    RowResult::failed(
        "RECORD_LOCKED",
        "the record is locked",
        json!({"id": id.to_string(), "api_name": "id"}),
    )
}

const MOST_TAGS: usize = 10;
