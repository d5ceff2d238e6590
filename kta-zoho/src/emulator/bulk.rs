//! Bulk read: a job that makes a snapshot, and its result as a ZIP archive with one CSV file.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::{Compression, write::DeflateEncoder};
use serde_json::{Value, json};

use super::Shared;
use super::reply::ApiError;
use super::schema::{ModuleSpec, module};
use super::world::World;

/// A job.
#[derive(Clone, Debug)]
pub(super) struct Job {
    id: u64,
    module: &'static ModuleSpec,
    fields: Vec<String>,
    page: usize,
    created: i64,
    /// How often its state was asked for; the second answer has the result.
    asked: u32,
    snapshot: Option<Snapshot>,
    /// Whether it comes to nothing.
    fails: bool,
    downloads: Vec<i64>,
}

/// What was in the module when the job ran.
#[derive(Clone, Debug)]
struct Snapshot {
    rows: Vec<u64>,
    more: bool,
}

/// `POST /crm/bulk/v8/read`
pub(super) async fn start(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    order(&shared, &body).unwrap_or_else(IntoResponse::into_response)
}

fn order(shared: &Shared, body: &[u8]) -> Result<Response, ApiError> {
    if body.is_empty() {
        return Err(ApiError::bad("REQUEST_BODY_IS_EMPTY", "the body is empty"));
    }
    let not_readable = || ApiError::bad("REQUEST_BODY_NOT_READABLE", "the body is not readable");
    let parsed: Value = serde_json::from_slice(body).map_err(|_| not_readable())?;
    let query = parsed["query"].as_object().ok_or_else(not_readable)?;
    let known = ["module", "fields", "page", "criteria", "cvid"];
    if query.keys().any(|key| !known.contains(&key.as_str())) {
        return Err(ApiError::bad(
            "QUERY_NOT_SUPPORTED",
            "the query is not supported",
        ));
    }
    if query.contains_key("criteria") || query.contains_key("cvid") {
        return Err(ApiError::bad(
            "CRITERIA_NOT_SUPPORTED",
            "the emulator has no criteria",
        ));
    }
    if !matches!(parsed["file_type"].as_str(), None | Some("csv")) {
        return Err(
            ApiError::bad("INVALID_DATA", "the file type is not supported")
                .with(json!({"api_name": "file_type"})),
        );
    }
    let name = query["module"]["api_name"].as_str().unwrap_or_default();
    let module = module(name).ok_or_else(|| {
        ApiError::bad("MODULE_NOT_AVAILABLE", "the module is not available")
            .with(json!({"api_name": name}))
    })?;
    let fields: Vec<String> = match query.get("fields").and_then(Value::as_array) {
        Some(list) => list
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| !name.eq_ignore_ascii_case("id"))
            .map(str::to_owned)
            .collect(),
        None => module
            .fields
            .iter()
            .map(|field| field.api_name.to_owned())
            .collect(),
    };
    if fields.iter().any(|name| module.field(name).is_none()) {
        return Err(ApiError::bad(
            "FIELD_NOT_AVAILABLE",
            "the field is not available",
        ));
    }
    let page = query.get("page").and_then(Value::as_u64).unwrap_or(1);
    let page = usize::try_from(page)
        .ok()
        .filter(|page| (1..=500).contains(page));
    let page = page.ok_or_else(|| {
        ApiError::bad("PAGE_RANGE_EXCEEDED", "the page range is exceeded")
            .with(json!({"max_limit": 500}))
    })?;
    let now = shared.clock.now();
    let mut world = shared.world();
    let id = world.fresh_id();
    let by = world.caller().reference();
    let fails = world.failing_jobs > 0;
    world.failing_jobs = world.failing_jobs.saturating_sub(1);
    world.jobs.push(Job {
        id,
        module,
        fields,
        page,
        created: now,
        asked: 0,
        snapshot: None,
        fails,
        downloads: Vec::new(),
    });
    let details = json!({
        "id": id.to_string(), "operation": "read", "state": "ADDED", "created_by": by,
        "created_time": shared.clock.text(now),
    });
    let row = json!({
        "status": "success", "code": "ADDED_SUCCESSFULLY", "message": "Added successfully.",
        "details": details,
    });
    let body = Json(json!({"data": [row], "info": {}}));
    Ok((StatusCode::CREATED, body).into_response())
}

/// `GET /crm/bulk/v8/read/{job}`
pub(super) async fn state(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let now = shared.clock.now();
    let most = shared.options.bulk_rows.max(1);
    let mut world = shared.world();
    let by = world.caller().reference();
    let Some(position) = find(&world, &id, now) else {
        return unknown().into_response();
    };
    world.jobs[position].asked += 1;
    let ended = world.jobs[position].asked >= 2;
    if ended && !world.jobs[position].fails && world.jobs[position].snapshot.is_none() {
        let (module, page) = (world.jobs[position].module, world.jobs[position].page);
        let mut rows = world
            .rows_of(module)
            .map(|row| row.id)
            .skip((page - 1) * most);
        let taken: Vec<u64> = rows.by_ref().take(most).collect();
        let more = rows.next().is_some();
        drop(rows);
        world.jobs[position].snapshot = Some(Snapshot { rows: taken, more });
    }
    let job = &world.jobs[position];
    let state = match (ended, job.fails) {
        (false, _) => "IN PROGRESS",
        (true, false) => "COMPLETED",
        (true, true) => "FAILURE",
    };
    let mut row = json!({
        "id": id, "operation": "read", "state": state,
        "query": {
            "module": {"api_name": job.module.api_name, "id": job.module.id.to_string()},
            "fields": job.fields, "page": job.page,
        },
        "created_by": by, "created_time": shared.clock.text(job.created), "file_type": "csv",
        "Attachment_Source__s": "document", "File_Id__s": null,
    });
    if let Some(snapshot) = &job.snapshot {
        row["result"] = json!({
            "page": job.page, "count": snapshot.rows.len(), "per_page": most,
            "download_url": format!("/crm/bulk/v8/read/{id}/result"),
            "more_records": snapshot.more,
        });
    }
    Json(json!({"data": [row]})).into_response()
}

/// `GET /crm/bulk/v8/read/{job}/result`
pub(super) async fn result(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let now = shared.clock.now();
    let mut world = shared.world();
    let Some(position) = find(&world, &id, now) else {
        return unknown().into_response();
    };
    let job = &mut world.jobs[position];
    let Some(snapshot) = job.snapshot.clone() else {
        return unknown().into_response();
    };
    job.downloads.retain(|at| now - at < 60);
    if job.downloads.len() >= DOWNLOADS {
        let code = "TOO_MANY_REQUESTS";
        return ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            code,
            "ten downloads in a minute",
        )
        .into_response();
    }
    job.downloads.push(now);
    let (fields, module) = (job.fields.clone(), job.module);
    let archive = archive(&shared, &world, &id, module, &fields, &snapshot.rows);
    let headers = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment;filename={id}.zip"),
        ),
    ];
    (headers, archive).into_response()
}

/// Results are kept for a day.
fn find(world: &World, id: &str, now: i64) -> Option<usize> {
    let fits = |job: &Job| job.id.to_string() == id && now - job.created < DAY;
    world.jobs.iter().position(fits)
}

fn unknown() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "RESOURCE_NOT_FOUND",
        "The requested resource does not exist.",
    )
    .with(json!({"resource": "/crm/bulk/v8/read"}))
}

/// An archive as streaming writers make them: its sums follow the content.
fn archive(
    shared: &Shared,
    world: &World,
    id: &str,
    module: &ModuleSpec,
    fields: &[String],
    rows: &[u64],
) -> Vec<u8> {
    let name = format!("{id}.csv");
    let mut whole = b"PK\x03\x04\x14\x00\x08\x08\x08\x00\x00\x00\x00\x00".to_vec();
    whole.extend([0; 12]);
    whole.extend(u16::try_from(name.len()).unwrap_or_default().to_le_bytes());
    whole.extend([0; 2]);
    whole.extend(name.as_bytes());
    let head = whole.len();
    let mut crc = crc32fast::Hasher::new();
    let mut length = 0_u32;
    let mut encoder = DeflateEncoder::new(whole, Compression::fast());
    let mut put = |text: &str| {
        crc.update(text.as_bytes());
        length = length.wrapping_add(u32::try_from(text.len()).unwrap_or_default());
        // Writing to memory cannot fail.
        let _ = encoder.write_all(text.as_bytes());
    };
    put(&format!("Id,{}\r\n", fields.join(",")));
    let mut line = String::new();
    for id in rows {
        // A record that is gone by now was in the snapshot, and the emulator kept no copy of it.
        let row = world.rows.get(id).filter(|row| row.module.id == module.id);
        line.clear();
        // Writing to a string cannot fail.
        let _ = write!(line, "{id}");
        for field in fields {
            line.push(',');
            let value = row.and_then(|row| world.value(row, field, &shared.clock));
            cell(&mut line, &value.unwrap_or(Value::Null));
        }
        line.push_str("\r\n");
        put(&line);
    }
    let mut whole = encoder.finish().unwrap_or_default();
    let packed = u32::try_from(whole.len() - head).unwrap_or(u32::MAX);
    let sums: Vec<u8> = [crc.finalize(), packed, length]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect();
    whole.extend(b"PK\x07\x08");
    whole.extend(&sums);
    // The directory: one file, at the beginning.
    let directory = whole.len();
    whole.extend(b"PK\x01\x02\x14\x00\x14\x00\x08\x08\x08\x00\x00\x00\x00\x00");
    whole.extend(&sums);
    whole.extend(u16::try_from(name.len()).unwrap_or_default().to_le_bytes());
    whole.extend([0; 16]);
    whole.extend(name.as_bytes());
    let size = whole.len() - directory;
    whole.extend(b"PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00");
    for number in [size, directory] {
        whole.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    }
    whole.extend([0; 2]);
    whole
}

fn cell(line: &mut String, value: &Value) {
    let text = match value {
        Value::Null => return,
        Value::String(text) => text.as_str(),
        Value::Object(link) => link.get("id").and_then(Value::as_str).unwrap_or_default(),
        Value::Array(list) => {
            let words: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            return quoted(line, &words.join(";"));
        }
        other => {
            // Writing to a string cannot fail.
            let _ = write!(line, "{other}");
            return;
        }
    };
    match text.contains(['"', ',', '\r', '\n']) {
        true => quoted(line, text),
        false => line.push_str(text),
    }
}

fn quoted(line: &mut String, text: &str) {
    line.push('"');
    line.push_str(&text.replace('"', "\"\""));
    line.push('"');
}

const DAY: i64 = 86_400;
const DOWNLOADS: usize = 10;
