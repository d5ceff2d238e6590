//! The recycle bin: list, look, delete for good, restore.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Shared;
use super::clock::EmulatorClock;
use super::listing::Window;
use super::reply::{ApiError, RowResult, list, rows};
use super::rows::refuse_duplicate;
use super::world::{Binned, Held, World};

/// `GET /settings/recycle_bin`
pub(super) async fn all(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let work = || {
        let window = Window::parse(&query)?;
        let module = query
            .get("filters")
            .map(|text| filtered_module(text))
            .transpose()?;
        let ids: Option<Vec<&str>> = query.get("ids").map(|ids| ids.split(',').collect());
        let world = shared.world();
        let lines: Vec<Value> = world
            .bin
            .iter()
            .rev()
            .filter(|(_, one)| {
                module
                    .as_deref()
                    .is_none_or(|name| name == one.what.module_name())
            })
            .filter(|(id, _)| {
                ids.as_ref()
                    .is_none_or(|ids| ids.contains(&id.to_string().as_str()))
            })
            .map(|(id, one)| shown(&world, &shared, *id, one, false))
            .collect();
        let (shown, info) = window.cut(lines);
        Ok(list("recycle_bin", shown, info))
    };
    work().unwrap_or_else(|error: ApiError| error.into_response())
}

/// `GET /settings/recycle_bin/{id}`
pub(super) async fn one(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let world = shared.world();
    match id
        .parse()
        .ok()
        .and_then(|id: u64| world.bin.get(&id).map(|one| (id, one)))
    {
        Some((id, one)) => {
            let line = shown(&world, &shared, id, one, true);
            let info = json!({"per_page": 1, "count": 1, "page": 1, "more_records": false});
            Json(json!({"recycle_bin": [line], "info": info})).into_response()
        }
        None => unknown(&id),
    }
}

/// `GET /settings/recycle_bin/actions/count`
pub(super) async fn count(State(shared): State<Arc<Shared>>) -> Response {
    Json(json!({"count": shared.world().bin.len()})).into_response()
}

/// `DELETE /settings/recycle_bin/{id}`: for good.
pub(super) async fn delete_one(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Response {
    match delete_row(&mut shared.world(), &id, shared.clock.now()) {
        done @ RowResult::Done(_) => {
            rows("recycle_bin", vec![done], StatusCode::OK, StatusCode::OK)
        }
        RowResult::Failed(_) => unknown(&id),
    }
}

/// `DELETE /settings/recycle_bin?ids=`: for good. Deleting by filter is not offered: nothing
/// here should ever use it.
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let Some(ids) = query.get("ids") else {
        return ApiError::missing_param("ids").into_response();
    };
    let ids: Vec<&str> = ids
        .split(',')
        .map(str::trim)
        .filter(|id| !id.is_empty())
        .collect();
    if ids.is_empty() || ids.len() > MOST_IDS {
        return ApiError::bad("LIMIT_EXCEEDED", "at most 100 ids")
            .with(json!({"param_name": "ids"}))
            .into_response();
    }
    let mut world = shared.world();
    let now = shared.clock.now();
    let mut results: Vec<RowResult> = ids
        .iter()
        .map(|id| delete_row(&mut world, id, now))
        .collect();
    name_mixed(&mut results, &ids);
    rows("recycle_bin", results, StatusCode::OK, StatusCode::OK)
}

/// `POST /settings/recycle_bin/{id}/actions/restore`
pub(super) async fn restore_one(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Response {
    if id
        .parse()
        .map_or(true, |id: u64| !shared.world().bin.contains_key(&id))
    {
        return unknown(&id);
    }
    let result = restore_row(&mut shared.world(), &shared.clock, &id);
    rows(
        "recycle_bin",
        vec![result],
        StatusCode::OK,
        StatusCode::BAD_REQUEST,
    )
}

/// `POST /settings/recycle_bin/actions/restore` with `{"ids": […]}`
pub(super) async fn restore(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let parsed: Value = match serde_json::from_slice(&body) {
        Ok(parsed) => parsed,
        Err(_) => return ApiError::not_json().into_response(),
    };
    let ids: Vec<&str> = parsed
        .get("ids")
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    if ids.is_empty() || ids.len() > MOST_IDS {
        return ApiError::bad("INVALID_DATA", "the ids given seem to be invalid")
            .with(json!({"api_name": "ids", "json_path": "$.ids"}))
            .into_response();
    }
    let mut world = shared.world();
    let results = ids
        .into_iter()
        .map(|id| restore_row(&mut world, &shared.clock, id))
        .collect();
    rows("recycle_bin", results, StatusCode::OK, StatusCode::OK)
}

fn delete_row(world: &mut World, id: &str, now: i64) -> RowResult {
    if id.parse().is_ok_and(|number| world.purge(number, now)) {
        return RowResult::done("record deleted successfully", json!({"id": id}));
    }
    RowResult::failed(
        "INVALID_DATA",
        "the id given seems to be invalid",
        json!({"id": id}),
    )
}

/// A mixed reply names the id of each row once more beside its code.
fn name_mixed(results: &mut [RowResult], ids: &[&str]) {
    let failed = results
        .iter()
        .filter(|row| matches!(row, RowResult::Failed(_)))
        .count();
    if failed == 0 || failed == results.len() {
        return;
    }
    for (row, id) in results.iter_mut().zip(ids) {
        match row {
            RowResult::Done(value) | RowResult::Failed(value) => value["id"] = (*id).into(),
        }
    }
}

fn restore_row(world: &mut World, clock: &EmulatorClock, id: &str) -> RowResult {
    let Ok(number) = id.parse::<u64>() else {
        return RowResult::failed(
            "INVALID_DATA",
            "the id given seems to be invalid",
            json!({"id": id}),
        );
    };
    let orphan = world.bin.get(&number).is_some_and(|one| match &one.what {
        Held::Attachment(attachment) => !world.rows.contains_key(&attachment.parent),
        Held::Row(_) => false,
    });
    if orphan {
        return RowResult::failed(
            "CANNOT_RESTORE_WITHOUT_PARENT",
            "restore the parent record first",
            json!({"id": id}),
        );
    }
    // What is unique is so among the live ones: the vendor does not say that a restored one is spared.
    if let Some(Held::Row(row)) = world.bin.get(&number).map(|one| &one.what)
        && let Err(taken) = refuse_duplicate(world, clock, row.module, 0, &row.fields, None)
    {
        return taken;
    }
    if world.restore(number, clock.now()) {
        return RowResult::done("record restored successfully", json!({"id": id}));
    }
    RowResult::failed(
        "INVALID_DATA",
        "the id given seems to be invalid",
        json!({"id": id}),
    )
}

fn shown(world: &World, shared: &Shared, id: u64, one: &Binned, alone: bool) -> Value {
    let by = world.caller().reference();
    // The list names the module, the single entry gives it as an object.
    let module = match alone {
        true => {
            json!({"api_name": one.what.module_name(), "id": one.what.module_id().to_string()})
        }
        false => one.what.module_name().into(),
    };
    json!({
        "display_name": world.display_name(&one.what), "owner": by, "module": module,
        "deleted_time": shared.clock.text(one.deleted_time), "deleted_by": by,
        "id": id.to_string(),
    })
}

/// `{"field":{"api_name":"module"},"comparator":"equal","value":"Contacts"}`, the one filter
/// understood here.
fn filtered_module(text: &str) -> Result<String, ApiError> {
    let invalid = || {
        ApiError::bad("INVALID_DATA", "the filter given seems to be invalid")
            .with(json!({"param_name": "filters"}))
    };
    let filter: Value = serde_json::from_str(text).map_err(|_| invalid())?;
    match (
        filter["field"]["api_name"].as_str(),
        filter["value"].as_str(),
    ) {
        (Some("module"), Some(module)) => Ok(module.to_owned()),
        _ => Err(invalid()),
    }
}

fn unknown(id: &str) -> Response {
    ApiError::bad("INVALID_DATA", "the id given seems to be invalid")
        .with(json!({"id": id, "resource_path_index": 2}))
        .into_response()
}

const MOST_IDS: usize = 100;
