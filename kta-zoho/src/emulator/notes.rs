//! Notes under a record. `/Notes` itself is served like any module.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Shared;
use super::listing::page_of;
use super::records::create_rows;
use super::reply::{ApiError, RowResult, rows};
use super::world::Row;

/// `GET /{module}/{id}/Notes`
pub(super) async fn of_record(
    State(shared): State<Arc<Shared>>,
    Path((module, id)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let work = || {
        shared.live_parent(&module, &id)?;
        page_of(&shared, "Notes", &query, &headers, &|row| {
            parent_of(row) == Some(id.as_str())
        })
    };
    work().unwrap_or_else(IntoResponse::into_response)
}

/// `POST /{module}/{id}/Notes`
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    Path((module, id)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let work = || {
        let parent = shared.live_parent(&module, &id)?;
        create_rows(&shared, "Notes", &body, Some(parent))
    };
    work().unwrap_or_else(IntoResponse::into_response)
}

/// `DELETE /{module}/{id}/Notes/{note}`
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Path((module, id, note)): Path<(String, String, String)>,
) -> Response {
    let work = || {
        shared.live_parent(&module, &id)?;
        let mut world = shared.world();
        let found = note.parse().ok().filter(|number: &u64| {
            world.rows.get(number).is_some_and(|row| {
                row.module.api_name == "Notes" && parent_of(row) == Some(id.as_str())
            })
        });
        let number = found.ok_or_else(|| ApiError::unknown_related_id(3))?;
        world.bin_row(number, shared.clock.now());
        let done = RowResult::done("record deleted", json!({"id": note}));
        Ok(rows("data", vec![done], StatusCode::OK, StatusCode::OK))
    };
    work().unwrap_or_else(|error: ApiError| error.into_response())
}

/// The id of the record a note stands under.
pub(super) fn parent_of(note: &Row) -> Option<&str> {
    note.fields.get("Parent_Id")?.get("id")?.as_str()
}
