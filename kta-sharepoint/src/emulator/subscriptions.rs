//! Change notifications: create after validation, renew, delete, deliver.

use super::clock::stamp;
use super::reply::{Call, Refused, Reply};
use super::state::{State, Subscription};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

/// `/subscriptions…`. The validation call to `notificationUrl` was made before this turn.
pub(crate) fn subscriptions(
    state: &mut State,
    tail: &[String],
    call: &Call,
) -> Result<Reply, Refused> {
    let tail: Vec<&str> = tail.iter().map(String::as_str).collect();
    match (call.method.as_str(), tail.as_slice()) {
        ("GET", []) => {
            let value: Vec<Value> = state
                .subscriptions
                .values()
                .map(Subscription::render)
                .collect();
            Ok(Reply::json(200, json!({ "value": value })))
        }
        ("POST", []) => create(state, call),
        ("GET", [id]) => {
            let found = state
                .subscriptions
                .get(*id)
                .ok_or_else(Refused::not_found)?;
            Ok(Reply::json(200, found.render()))
        }
        ("PATCH", [id]) => {
            let expires = expiry(state, &call.object()?)?;
            let found = state
                .subscriptions
                .get_mut(*id)
                .ok_or_else(Refused::not_found)?;
            found.expires = expires;
            Ok(Reply::json(200, found.render()))
        }
        ("DELETE", [id]) => {
            state
                .subscriptions
                .remove(*id)
                .ok_or_else(Refused::not_found)?;
            Ok(Reply::empty(204))
        }
        ("POST", [id, "reauthorize"]) if state.subscriptions.contains_key(*id) => {
            Ok(Reply::empty(204))
        }
        _ => Err(Refused::not_found()),
    }
}

/// The address to validate, when this request would create a subscription.
pub(crate) fn to_validate(call: &Call) -> Option<String> {
    let creates = call.method == "POST" && call.path.trim_end_matches('/') == "/v1.0/subscriptions";
    let body = creates.then(|| call.object().ok()).flatten()?;
    body.get("notificationUrl")
        .and_then(Value::as_str)
        .map(str::to_owned)
}

/// Graph posts to https only; the emulator also to plain http on this machine.
pub(crate) fn loopback(url: &str) -> Option<(String, String)> {
    let rest = url.strip_prefix("http://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "127.0.0.1" | "localhost" | "[::1]")
        .then(|| (host.to_owned(), format!("/{path}")))
}

fn create(state: &mut State, call: &Call) -> Result<Reply, Refused> {
    let body = call.object()?;
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let resource = text("resource").ok_or_else(|| Refused::bad("resource is missing"))?;
    let url = text("notificationUrl").ok_or_else(|| Refused::bad("notificationUrl is missing"))?;
    if text("changeType") != Some("updated") {
        return Err(Refused::bad(
            "a drive root supports changeType updated only",
        ));
    }
    if text("clientState").is_some_and(|secret| secret.len() > 128) {
        return Err(Refused::bad("clientState is longer than 128"));
    }
    let resource = resource.trim_start_matches("/v1.0");
    let drive = match super::address::route(state, resource)? {
        super::address::Route::Item(place) if place.tail.is_empty() && place.path.is_empty() => {
            let root = state.drive(&place.drive)?.root.clone();
            if place.item(state)? != root {
                return Err(Refused::bad("only the root of a drive can be watched"));
            }
            place.drive
        }
        super::address::Route::List { drive, tail } if tail.is_empty() => drive,
        _ => return Err(Refused::bad("this resource cannot be watched")),
    };
    let expires = expiry(state, &body)?;
    let id = state.ids.guid();
    let subscription = Subscription {
        id: id.clone(),
        url: url.to_owned(),
        drive,
        expires,
        body,
    };
    let value = subscription.render();
    state.subscriptions.insert(id, subscription);
    Ok(Reply::json(201, value))
}

fn expiry(state: &State, body: &Map<String, Value>) -> Result<DateTime<Utc>, Refused> {
    let at = body.get("expirationDateTime").and_then(Value::as_str);
    let at = at.and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    let at = at.ok_or_else(|| Refused::bad("expirationDateTime is missing or malformed"))?;
    let at = at.with_timezone(&Utc);
    let now = state.now();
    if at <= now || at > now + TimeDelta::minutes(LONGEST_MINUTES) {
        return Err(Refused::bad("expirationDateTime is out of range"));
    }
    Ok(at)
}

impl Subscription {
    fn render(&self) -> Value {
        let mut body = self.body.clone();
        body.remove("clientState");
        body.insert("id".to_owned(), json!(self.id));
        body.insert("expirationDateTime".to_owned(), json!(stamp(self.expires)));
        Value::Object(body)
    }

    /// What is posted when the library changes: that it did, not what.
    pub(crate) fn notification(&self, tenant: &str) -> Value {
        json!({ "value": [{
            "subscriptionId": self.id,
            "clientState": self.body.get("clientState"),
            "changeType": "updated",
            "resource": self.body.get("resource"),
            "subscriptionExpirationDateTime": stamp(self.expires),
            "tenantId": tenant,
        }]})
    }
}

/// The longest a subscription to a drive lives.
const LONGEST_MINUTES: i64 = 42_300;
