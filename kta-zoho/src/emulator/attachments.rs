//! Attachments: bytes under a record, a store of their own.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Multipart, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Shared;
use super::listing::{Window, field_list};
use super::reply::{ApiError, RowResult, rows};
use super::schema::ModuleSpec;
use super::world::{Attachment, Content, World, display_name};

/// `POST /{module}/{id}/Attachments`, multipart with `file` or `attachmentUrl`.
pub(super) async fn upload(
    State(shared): State<Arc<Shared>>,
    Path((module, id)): Path<(String, String)>,
    mut form: Multipart,
) -> Response {
    let (parent_module, parent) = match shared.live_parent(&module, &id) {
        Ok(parent) => parent,
        Err(error) => return error.into_response(),
    };
    let mut found = None;
    let mut title = None;
    loop {
        let field = match form.next_field().await {
            Ok(Some(field)) => field,
            Ok(None) => break,
            Err(_) => {
                return ApiError::bad("INVALID_DATA", "invalid data provided").into_response();
            }
        };
        let name = field.name().unwrap_or_default().to_owned();
        let file_name = field.file_name().unwrap_or("attachment").to_owned();
        let content_type = field
            .content_type()
            .unwrap_or("application/octet-stream")
            .to_owned();
        let content = match read(field).await {
            Ok(content) => content,
            Err(error) => return error.into_response(),
        };
        let as_text = || String::from_utf8_lossy(&content).into_owned();
        match name.as_str() {
            "file" => found = Some((file_name, content_type, Content::File(content))),
            "attachmentUrl" => {
                let link = as_text();
                found = Some((link.clone(), content_type, Content::Link(link)));
            }
            "title" => title = Some(as_text()),
            _ => {}
        }
    }
    let Some((file_name, content_type, content)) = found else {
        return ApiError::bad("MANDATORY_NOT_FOUND", "required field not found")
            .with(json!({"param_name": "file"}))
            .into_response();
    };
    let name = match &content {
        Content::File(_) => file_name,
        Content::Link(_) => title.unwrap_or(file_name),
    };
    let now = shared.clock.now();
    let mut world = shared.world();
    if world.row(parent_module, parent).is_none() {
        return ApiError::unknown_related_id(1).into_response();
    }
    let id = world.fresh_id();
    world.note_audit(
        "attachment_added",
        parent_module.api_name,
        parent,
        name.clone(),
        now,
    );
    world.attachments.insert(
        id,
        Attachment {
            id,
            parent_module,
            parent,
            name,
            content_type,
            content,
            created: now,
        },
    );
    let by = world.caller().reference();
    let at = shared.clock.text(now);
    let details = json!({
        "Modified_Time": at, "Modified_By": by, "Created_Time": at, "id": id.to_string(),
        "Created_By": by,
    });
    let done = RowResult::done("attachment uploaded successfully", details);
    rows("data", vec![done], StatusCode::OK, StatusCode::OK)
}

/// `GET /{module}/{id}/Attachments`
pub(super) async fn of_record(
    State(shared): State<Arc<Shared>>,
    Path((module, id)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let work = || {
        let (parent_module, parent) = shared.live_parent(&module, &id)?;
        let fields = field_list(&query)?.ok_or_else(|| {
            ApiError::bad(
                "REQUIRED_PARAM_MISSING",
                "One of the expected parameter is missing",
            )
            .with(json!({"param_name": "fields"}))
        })?;
        let window = Window::parse(&query)?;
        let world = shared.world();
        let lines: Vec<Value> = world
            .attachments
            .values()
            .rev()
            .filter(|one| one.parent == parent && same_module(one.parent_module, parent_module))
            .map(|one| shown(&world, &shared, one, &fields))
            .collect();
        let (shown, mut info) = window.cut(lines);
        for key in [
            "next_page_token",
            "previous_page_token",
            "page_token_expiry",
        ] {
            info[key] = Value::Null;
        }
        // The documents have no 204 here: an empty list is a list.
        Ok(Json(json!({"data": shown, "info": info})).into_response())
    };
    work().unwrap_or_else(|error: ApiError| error.into_response())
}

/// `GET /{module}/{id}/Attachments/{attachment}`: the bytes.
pub(super) async fn download(
    State(shared): State<Arc<Shared>>,
    Path((module, id, attachment)): Path<(String, String, String)>,
) -> Response {
    let work = || {
        let (_, parent) = shared.live_parent(&module, &id)?;
        let world = shared.world();
        let found =
            find(&world, parent, &attachment).ok_or_else(|| ApiError::unknown_related_id(3))?;
        let Content::File(content) = &found.content else {
            return Err(ApiError::bad(
                "DOWNLOAD_NOT_ALLOWED",
                "As it is a linked attachment, you can not download it",
            )
            .with(json!({"param_name": "id"})));
        };
        let disposition = format!(
            "attachment;filename*=UTF-8''{}",
            percent_encoded(&found.name)
        );
        let headers = [
            (header::CONTENT_TYPE, found.content_type.clone()),
            (header::CONTENT_DISPOSITION, disposition),
        ];
        Ok((headers, content.clone()).into_response())
    };
    work().unwrap_or_else(|error: ApiError| error.into_response())
}

/// `DELETE /{module}/{id}/Attachments/{attachment}`
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Path((module, id, attachment)): Path<(String, String, String)>,
) -> Response {
    let work = || {
        let (_, parent) = shared.live_parent(&module, &id)?;
        let mut world = shared.world();
        let number = find(&world, parent, &attachment)
            .map(|one| one.id)
            .ok_or_else(|| ApiError::unknown_related_id(3))?;
        world.bin_attachment(number, shared.clock.now());
        let done = RowResult::done("record deleted", json!({"id": attachment}));
        Ok(rows("data", vec![done], StatusCode::OK, StatusCode::OK))
    };
    work().unwrap_or_else(|error: ApiError| error.into_response())
}

fn find<'a>(world: &'a World, parent: u64, id: &str) -> Option<&'a Attachment> {
    let id: u64 = id.parse().ok()?;
    world
        .attachments
        .get(&id)
        .filter(|one| one.parent == parent)
}

fn shown(world: &World, shared: &Shared, one: &Attachment, fields: &[String]) -> Value {
    let by = world.caller().reference();
    let at = shared.clock.text(one.created);
    let mut row = json!({
        "id": one.id.to_string(), "Created_Time": at, "Created_By": by, "Modified_Time": at,
        "Modified_By": by,
    });
    let size = match &one.content {
        Content::File(content) => content.len(),
        Content::Link(_) => 0,
    };
    for field in fields {
        let value: Value = match field.as_str() {
            "File_Name" => one.name.clone().into(),
            "Size" => size.to_string().into(),
            "Owner" => world.caller().owner(),
            "Parent_Id" => {
                let name = world
                    .rows
                    .get(&one.parent)
                    .map(display_name)
                    .unwrap_or_default();
                json!({"name": name, "id": one.parent.to_string()})
            }
            "$se_module" => one.parent_module.api_name.into(),
            "$type" => match &one.content {
                Content::File(_) => "Attachment".into(),
                Content::Link(_) => "Link URL".into(),
            },
            "$link_url" => match &one.content {
                Content::File(_) => Value::Null,
                Content::Link(link) => link.clone().into(),
            },
            _ => continue,
        };
        row[field.as_str()] = value;
    }
    row
}

/// Takes the part chunk by chunk and stops at the limit.
async fn read(mut field: axum::extract::multipart::Field<'_>) -> Result<Bytes, ApiError> {
    let mut content = Vec::new();
    loop {
        match field.chunk().await {
            Ok(Some(chunk)) => {
                if content.len() + chunk.len() > LARGEST_FILE {
                    return Err(ApiError::new(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        "FILE_SIZE_MORE_THAN_ALLOWED_SIZE",
                        "Please check if the size of the file is in the correct range",
                    ));
                }
                content.extend_from_slice(&chunk);
            }
            Ok(None) => return Ok(content.into()),
            Err(_) => return Err(ApiError::bad("INVALID_DATA", "invalid data provided")),
        }
    }
}

fn percent_encoded(name: &str) -> String {
    url::form_urlencoded::byte_serialize(name.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

fn same_module(left: &ModuleSpec, right: &ModuleSpec) -> bool {
    left.api_name == right.api_name
}

/// 20 MiB, the vendor's limit for one file.
const LARGEST_FILE: usize = 20 * 1024 * 1024;
