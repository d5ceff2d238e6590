//! Reading records: one, many in pages, how many, and what was deleted.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Shared;
use super::clock::parse_instant;
use super::reply::{ApiError, list};
use super::search;
use super::world::Row;

/// Where a page token goes on, for whom and until when.
#[derive(Debug)]
pub(super) struct PageToken {
    bound_to: String,
    offset: usize,
    until: i64,
}

/// `GET /{module}`
pub(super) async fn records(
    State(shared): State<Arc<Shared>>,
    Path(module): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let all = |_: &Row| true;
    shared.reply_rows(&module, page_of(&shared, &module, &query, &headers, &all))
}

/// A page of the rows of a module for which `keep` holds.
pub(super) fn page_of(
    shared: &Shared,
    module: &str,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
    keep: &dyn Fn(&Row) -> bool,
) -> Result<Response, ApiError> {
    let module = shared.module(module)?;
    let fields = field_list(query)?.ok_or_else(|| ApiError::missing_param("fields"))?;
    let window = Window::parse(query)?;
    let since = modified_since(headers)?;
    let ids: Option<BTreeSet<u64>> = query
        .get("ids")
        .map(|ids| ids.split(',').filter_map(|id| id.parse().ok()).collect());
    let mut world = shared.world();
    let candidates: Vec<&Row> = match &ids {
        Some(ids) => ids.iter().filter_map(|id| world.row(module, *id)).collect(),
        None => world.rows_of(module).collect(),
    };
    let mut rows: Vec<&Row> = candidates
        .into_iter()
        .filter(|row| keep(row))
        .filter(|row| since.is_none_or(|since| row.modified > since))
        .collect();
    if rows.is_empty() && since.is_some() {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    let sort_by = query.get("sort_by").map_or("id", String::as_str);
    rows.sort_by_key(|row| match sort_by {
        "Created_Time" => (row.created, row.id),
        "Modified_Time" => (row.modified, row.id),
        _ => (0, row.id),
    });
    let ascending = query.get("sort_order").is_some_and(|order| order == "asc");
    if !ascending {
        rows.reverse();
    }
    let bound_to = binding(module.api_name, query, since);
    let now = shared.clock.now();
    let offset = match query.get("page_token") {
        Some(token) => {
            if query.contains_key("page") {
                return Err(ApiError::bad(
                    "AMBIGUITY_DURING_PROCESSING",
                    "ambiguity while processing the request",
                )
                .with(json!({
                    "resource_path_index": 0,
                    "ambiguity_due_to": [{"param_name": "page"}, {"param_name": "page_token"}],
                })));
            }
            let known = world.page_tokens.get(token).ok_or_else(|| {
                ApiError::bad("INVALID_DATA", "the page token given is invalid")
                    .with(json!({"resource_path_index": 0, "param_name": "page_token"}))
            })?;
            if known.until <= now {
                return Err(ApiError::bad("EXPIRED_VALUE", "the page token has expired")
                    .with(json!({"resource_path_index": 0, "param_name": "page_token"})));
            }
            if known.bound_to != bound_to {
                return Err(ApiError::bad(
                    "TOKEN_BOUND_DATA_MISMATCH",
                    "the page token belongs to other parameters",
                )
                .with(json!({"resource_path_index": 0, "param_name": "page_token"})));
            }
            known.offset
        }
        None => {
            if window.end() > PAGES_REACH {
                return Err(ApiError::bad(
                    "DISCRETE_PAGINATION_LIMIT_EXCEEDED",
                    "use page_token beyond 2000 records",
                )
                .with(json!({"resource_path_index": 0, "limit": PAGES_REACH})));
            }
            window.start()
        }
    };
    let total = rows.len();
    let shown: Vec<Value> = rows
        .iter()
        .skip(offset)
        .take(window.per_page)
        .map(|row| world.shown_row(row, Some(&fields), &shared.clock))
        .collect();
    let end = offset + shown.len();
    let more = end < total;
    let mut info = json!({
        "per_page": window.per_page, "count": shown.len(), "page": offset / window.per_page + 1,
        "more_records": more,
    });
    if module.api_name != "Notes" {
        info["sort_by"] = sort_by.into();
        info["sort_order"] = if ascending { "asc" } else { "desc" }.into();
    }
    if more {
        let token = format!("{:032x}", world.fresh_id());
        info["next_page_token"] = token.clone().into();
        info["page_token_expiry"] = shared.clock.text(now + DAY).into();
        world.page_tokens.insert(
            token,
            PageToken {
                bound_to,
                offset: end,
                until: now + DAY,
            },
        );
        while world.page_tokens.len() > MOST_PAGE_TOKENS {
            world.page_tokens.pop_first();
        }
    }
    Ok(list("data", shown, info))
}

/// `GET /{module}/{id}`
pub(super) async fn record(
    State(shared): State<Arc<Shared>>,
    Path((module, id)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let name = module.clone();
    let work = || {
        let module = shared.module(&module)?;
        let fields = field_list(&query)?;
        let since = modified_since(&headers)?;
        let world = shared.world();
        let Some(row) = id.parse().ok().and_then(|id| world.row(module, id)) else {
            return Ok(StatusCode::NO_CONTENT.into_response());
        };
        if since.is_some_and(|since| row.modified <= since) {
            return Ok(StatusCode::NOT_MODIFIED.into_response());
        }
        let shown = world.shown_row(row, fields.as_deref(), &shared.clock);
        Ok(Json(json!({"data": [shown]})).into_response())
    };
    shared.reply_rows(&name, work())
}

/// `GET /{module}/actions/count`
pub(super) async fn count(
    State(shared): State<Arc<Shared>>,
    Path(module): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let work = || {
        let module = shared.module(&module)?;
        let world = shared.world();
        let count = if ["criteria", "email", "phone", "word"]
            .iter()
            .any(|p| query.contains_key(*p))
        {
            search::matches(&world, &shared.clock, module, &query)?.len()
        } else {
            world.rows_of(module).count()
        };
        Ok(Json(json!({"count": count})).into_response())
    };
    work().unwrap_or_else(|error: ApiError| error.into_response())
}

/// `GET /{module}/deleted`
pub(super) async fn deleted(
    State(shared): State<Arc<Shared>>,
    Path(module): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let work = || {
        let module = shared.module(&module)?;
        let window = Window::parse(&query)?;
        let since = modified_since(&headers)?;
        let wanted = query.get("type").map_or("all", String::as_str);
        let world = shared.world();
        let by = world.caller().reference();
        let lines: Vec<Value> = world
            .deleted
            .iter()
            .rev()
            .filter(|line| line.module == module.api_name)
            .filter(|line| since.is_none_or(|since| line.deleted_time > since))
            .filter(|line| match wanted {
                "permanent" => line.permanent,
                "recycle" => !line.permanent,
                _ => true,
            })
            .map(|line| {
                json!({
                    "id": line.id.to_string(), "display_name": line.display_name,
                    "type": if line.permanent { "permanent" } else { "recycle" },
                    "deleted_time": shared.clock.text(line.deleted_time),
                    "deleted_by": by, "created_by": by,
                })
            })
            .collect();
        if lines.is_empty() && since.is_some() {
            return Ok(StatusCode::NOT_MODIFIED.into_response());
        }
        let (shown, info) = window.cut(lines);
        Ok(list("data", shown, info))
    };
    work().unwrap_or_else(|error: ApiError| error.into_response())
}

/// The `fields` parameter, at most fifty names.
pub(super) fn field_list(query: &HashMap<String, String>) -> Result<Option<Vec<String>>, ApiError> {
    let Some(text) = query.get("fields") else {
        return Ok(None);
    };
    let names: Vec<String> = text
        .split(',')
        .map(str::trim)
        .filter(|n| !n.is_empty())
        .map(str::to_owned)
        .collect();
    if names.len() > MOST_FIELDS {
        return Err(ApiError::bad("LIMIT_EXCEEDED", "at most 50 fields")
            .with(json!({"resource_path_index": 0, "limit": MOST_FIELDS})));
    }
    Ok(Some(names).filter(|names| !names.is_empty()))
}

/// `page` and `per_page`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    page: usize,
    per_page: usize,
}

impl Window {
    pub(super) fn parse(query: &HashMap<String, String>) -> Result<Self, ApiError> {
        let number = |name: &'static str, otherwise: usize, most: usize| match query.get(name) {
            None => Ok(otherwise),
            Some(text) => text
                .parse()
                .ok()
                .filter(|n| (1..=most).contains(n))
                .ok_or_else(|| {
                    ApiError::bad("INVALID_DATA", "the parameter given seems to be invalid")
                        .with(json!({"param_name": name, "resource_path_index": 0}))
                }),
        };
        Ok(Self {
            page: number("page", 1, 1_000_000)?,
            per_page: number("per_page", 200, 200)?,
        })
    }

    fn start(self) -> usize {
        (self.page - 1) * self.per_page
    }

    fn end(self) -> usize {
        self.page * self.per_page
    }

    /// The page of `rows` and the `info` object about it.
    pub(super) fn cut(self, rows: Vec<Value>) -> (Vec<Value>, Value) {
        let more = rows.len() > self.end();
        let shown: Vec<Value> = rows
            .into_iter()
            .skip(self.start())
            .take(self.per_page)
            .collect();
        let info = json!({
            "per_page": self.per_page, "count": shown.len(), "page": self.page,
            "more_records": more,
        });
        (shown, info)
    }
}

pub(super) fn modified_since(headers: &HeaderMap) -> Result<Option<i64>, ApiError> {
    let Some(header) = headers.get("if-modified-since") else {
        return Ok(None);
    };
    header
        .to_str()
        .ok()
        .and_then(parse_instant)
        .map(Some)
        .ok_or_else(|| {
            ApiError::bad("INVALID_DATA", "the header given seems to be invalid")
                .with(json!({"resource_path_index": 0, "api_name": "If-Modified-Since"}))
        })
}

fn binding(module: &str, query: &HashMap<String, String>, since: Option<i64>) -> String {
    let mut parts: Vec<String> = query
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "page" | "page_token"))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    parts.sort();
    format!("{module}?{}#{since:?}", parts.join("&"))
}

const DAY: i64 = 86_400;
const MOST_FIELDS: usize = 50;
const MOST_PAGE_TOKENS: usize = 1_000;
const PAGES_REACH: usize = 2_000;
