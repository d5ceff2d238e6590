//! `actions/watch`: subscriptions that end by themselves. Nothing is delivered: the vendor's
//! own delivery is best-effort, and a sound client polls.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Shared;
use super::clock::parse_instant;
use super::reply::{ApiError, RowResult, rows};
use super::schema::module;

/// A subscription.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    id: String,
    events: Vec<String>,
    notify_url: String,
    token: Option<String>,
    expires: i64,
}

impl Channel {
    pub(super) fn is_live(&self, id: &str, now: i64) -> bool {
        self.id == id && self.expires > now
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }
}

/// `POST /actions/watch` and `PUT /actions/watch`
pub(super) async fn enable(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let parsed: Value = match serde_json::from_slice(&body) {
        Ok(parsed) => parsed,
        Err(_) => return ApiError::not_json().into_response(),
    };
    let Some(wanted) = parsed["watch"].as_array().filter(|list| !list.is_empty()) else {
        return ApiError::bad("MANDATORY_NOT_FOUND", "required field not found")
            .with(json!({"api_name": "watch", "json_path": "$.watch"}))
            .into_response();
    };
    let now = shared.clock.now();
    let mut world = shared.world();
    let results = wanted
        .iter()
        .map(|one| {
            let channel = match read(one, now) {
                Ok(channel) => channel,
                Err(api_name) => {
                    return RowResult::failed(
                        "INVALID_DATA",
                        "invalid data",
                        json!({"api_name": api_name, "json_path": format!("$.watch[0].{api_name}")}),
                    );
                }
            };
            let events: Vec<Value> = channel
                .events
                .iter()
                .map(|event| {
                    let (name, uri, id) = resource(&shared, event);
                    json!({
                        "channel_expiry": shared.clock.text(channel.expires), "resource_uri": uri,
                        "resource_id": id, "resource_name": name, "channel_id": channel.id,
                    })
                })
                .collect();
            world.channels.retain(|known| known.id != channel.id);
            world.channels.push(channel);
            RowResult::done("Successfully subscribed for actions-watch of the given module", json!({"events": events}))
        })
        .collect();
    rows(
        "watch",
        results,
        StatusCode::CREATED,
        StatusCode::BAD_REQUEST,
    )
}

/// `GET /actions/watch`
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let now = shared.clock.now();
    let world = shared.world();
    let lines: Vec<Value> = world
        .channels
        .iter()
        .filter(|channel| channel.expires > now)
        .filter(|channel| query.get("channel_id").is_none_or(|id| *id == channel.id))
        .filter(|channel| {
            query.get("module").is_none_or(|wanted| {
                channel
                    .events
                    .iter()
                    .any(|event| event.split('.').next() == Some(wanted))
            })
        })
        .flat_map(|channel| {
            channel.events.iter().map(|event| {
                let (name, uri, id) = resource(&shared, event);
                json!({
                    "notify_on_related_action": false, "return_affected_field_values": false,
                    "channel_expiry": shared.clock.text(channel.expires), "resource_uri": uri,
                    "resource_id": id, "notify_url": channel.notify_url, "resource_name": name,
                    "channel_id": channel.id, "events": [event], "token": channel.token,
                    "fields": null, "notification_condition": null,
                })
            })
        })
        .collect();
    let info = json!({"per_page": 200, "count": lines.len(), "page": 1, "more_records": false});
    // The documents have no 204 here: no subscription is an empty list.
    Json(json!({"watch": lines, "info": info})).into_response()
}

/// `DELETE /actions/watch?channel_ids=`
pub(super) async fn disable(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let Some(ids) = query.get("channel_ids") else {
        return ApiError::missing_param("channel_ids").into_response();
    };
    let mut world = shared.world();
    let results = ids
        .split(',')
        .map(|id| {
            let Some(position) = world.channels.iter().position(|one| one.id == id) else {
                return RowResult::failed("NOT_SUBSCRIBED", "not subscribed", json!({}));
            };
            let channel = world.channels.remove(position);
            let event = channel
                .events
                .first()
                .map(String::as_str)
                .unwrap_or_default();
            let (_, uri, resource_id) = resource(&shared, event);
            RowResult::done(
                "Successfully un-subscribed for actions-watch of the given module",
                json!({"resource_uri": uri, "resource_id": resource_id, "channel_id": id}),
            )
        })
        .collect();
    rows("watch", results, StatusCode::OK, StatusCode::BAD_REQUEST)
}

/// `PATCH /actions/watch`: changes the end of a subscription.
pub(super) async fn extend(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let Ok(parsed) = serde_json::from_slice::<Value>(&body) else {
        return ApiError::not_json().into_response();
    };
    let now = shared.clock.now();
    let mut world = shared.world();
    let wanted = parsed["watch"].as_array().cloned().unwrap_or_default();
    let results: Vec<RowResult> = wanted
        .iter()
        .map(|one| {
            let id = channel_id(one).unwrap_or_default();
            let Some(channel) = world.channels.iter_mut().find(|channel| channel.id == id) else {
                return RowResult::failed("NOT_SUBSCRIBED", "not subscribed", json!({}));
            };
            channel.expires = expiry(one, now);
            let text = shared.clock.text(channel.expires);
            RowResult::done(
                "Successfully updated",
                json!({"events": [{"channel_expiry": text, "channel_id": id}]}),
            )
        })
        .collect();
    rows("watch", results, StatusCode::OK, StatusCode::BAD_REQUEST)
}

fn read(one: &Value, now: i64) -> Result<Channel, &'static str> {
    let id = channel_id(one).ok_or("channel_id")?;
    let notify_url = one["notify_url"]
        .as_str()
        .filter(|url| url.starts_with("https://"));
    let events: Vec<String> = one["events"]
        .as_array()
        .map(|list| {
            list.iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default();
    let known = |event: &String| {
        event
            .split('.')
            .next()
            .is_some_and(|name| module(name).is_some())
    };
    if events.is_empty() || !events.iter().all(known) {
        return Err("events");
    }
    let token = one["token"].as_str().map(str::to_owned);
    if token
        .as_ref()
        .is_some_and(|token| token.len() > LONGEST_TOKEN)
    {
        return Err("token");
    }
    Ok(Channel {
        id,
        events,
        notify_url: notify_url.ok_or("notify_url")?.to_owned(),
        token,
        expires: expiry(one, now),
    })
}

fn channel_id(one: &Value) -> Option<String> {
    let id = match &one["channel_id"] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())).then_some(id)
}

/// One hour unless asked otherwise, at most a week.
fn expiry(one: &Value, now: i64) -> i64 {
    let wanted = one["channel_expiry"].as_str().and_then(parse_instant);
    wanted.unwrap_or(now + HOUR).min(now + WEEK)
}

fn resource(shared: &Shared, event: &str) -> (String, String, String) {
    let name = event.split('.').next().unwrap_or_default().to_owned();
    let uri = format!("{}/crm/v8/{name}", shared.api_domain());
    let id = module(&name).map_or(0, |module| module.id).to_string();
    (name, uri, id)
}

const HOUR: i64 = 3_600;
const LONGEST_TOKEN: usize = 50;
const WEEK: i64 = 7 * 86_400;
