//! The one error shape of Zoho CRM, at the three places where it may stand.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// An error reply to a whole request.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
    details: Option<Value>,
    rows_key: Option<&'static str>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self {
            status,
            code,
            message,
            details: Some(json!({})),
            rows_key: None,
        }
    }

    pub(super) fn bad(code: &'static str, message: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn with(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// Puts the error in a list under `key`, as the published schemas of record calls do.
    pub(super) fn in_rows(mut self, key: &'static str) -> Self {
        self.rows_key = Some(key);
        self
    }

    pub(super) fn invalid_module() -> Self {
        Self::bad(
            "INVALID_MODULE",
            "the module name given seems to be invalid",
        )
        .with(json!({"resource_path_index": 0}))
    }

    pub(super) fn unknown_related_id(path_index: u8) -> Self {
        Self::bad("INVALID_DATA", "the related id given seems to be invalid")
            .with(json!({"resource_path_index": path_index}))
    }

    pub(super) fn missing_param(name: &'static str) -> Self {
        Self::bad(
            "REQUIRED_PARAM_MISSING",
            "One of the expected parameter is missing",
        )
        .with(json!({"param_name": name, "resource_path_index": 0}))
    }

    pub(super) fn not_json() -> Self {
        Self::bad("INVALID_DATA", "the request body is not proper json")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut row = Map::new();
        row.insert("code".into(), self.code.into());
        if let Some(details) = self.details {
            row.insert("details".into(), details);
        }
        row.insert("message".into(), self.message.into());
        row.insert("status".into(), "error".into());
        let body = match self.rows_key {
            Some(key) => json!({key: [row]}),
            None => Value::Object(row),
        };
        (self.status, Json(body)).into_response()
    }
}

/// One row of a reply to a write of several rows.
#[derive(Debug)]
pub(super) enum RowResult {
    Done(Value),
    Failed(Value),
}

impl RowResult {
    pub(super) fn done(message: &str, details: Value) -> Self {
        Self::Done(json!({
            "code": "SUCCESS", "details": details, "message": message, "status": "success",
        }))
    }

    pub(super) fn failed(code: &str, message: &str, details: Value) -> Self {
        Self::Failed(json!({
            "code": code, "details": details, "message": message, "status": "error",
        }))
    }
}

/// The reply to a write of several rows: `all_done` when every row went through, 207 when some
/// did, `none_done` when no row did.
pub(super) fn rows(
    key: &str,
    results: Vec<RowResult>,
    all_done: StatusCode,
    none_done: StatusCode,
) -> Response {
    let failed = results
        .iter()
        .filter(|row| matches!(row, RowResult::Failed(_)))
        .count();
    let status = match failed {
        0 => all_done,
        n if n == results.len() => none_done,
        _ => StatusCode::MULTI_STATUS,
    };
    let list: Vec<Value> = results
        .into_iter()
        .map(|row| match row {
            RowResult::Done(value) | RowResult::Failed(value) => value,
        })
        .collect();
    (status, Json(json!({key: list}))).into_response()
}

/// The reply to a read: 200, or 204 without a body when there is nothing.
pub(super) fn list(key: &str, rows: Vec<Value>, info: Value) -> Response {
    if rows.is_empty() {
        return StatusCode::NO_CONTENT.into_response();
    }
    (StatusCode::OK, Json(json!({key: rows, "info": info}))).into_response()
}
