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
            let longest = match state.subscriptions.get(*id) {
                Some(found) if found.drive == MAIL => 10_080,
                _ => LONGEST_MINUTES,
            };
            let expires = expiry(state, &call.object()?, longest)?;
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
    if text("clientState").is_some_and(|secret| secret.len() > 128) {
        return Err(Refused::bad("clientState is longer than 128"));
    }
    let resource = resource.trim_start_matches("/v1.0");
    let kinds = text("changeType").unwrap_or_default();
    let with_content = body.get("includeResourceData") == Some(&Value::Bool(true));
    let path = resource.split('?').next().unwrap_or_default();
    let drive = match super::address::route(state, path)? {
        super::address::Route::User { user, tail }
            if user.eq_ignore_ascii_case(&state.mail.address) && is_messages(&tail) =>
        {
            if !kinds
                .split(',')
                .all(|kind| ["created", "updated", "deleted"].contains(&kind))
            {
                return Err(Refused::bad("unknown changeType"));
            }
            if with_content {
                if text("encryptionCertificate").is_none() || !resource.contains("$select=") {
                    return Err(Refused::bad("resource data need a certificate and $select"));
                }
                if super::rich::public_key(text("encryptionCertificate").unwrap_or_default())
                    .is_none()
                {
                    return Err(Refused::bad(
                        "encryptionCertificate is not a certificate of RSA",
                    ));
                }
                if text("encryptionCertificateId").is_none_or(|id| id.is_empty() || id.len() > 128)
                {
                    return Err(Refused::bad(
                        "encryptionCertificateId is missing or too long",
                    ));
                }
            }
            MAIL.to_owned()
        }
        _ if with_content => {
            return Err(Refused::bad("this resource brings no resource data"));
        }
        _ if kinds != "updated" => {
            return Err(Refused::bad(
                "a drive root supports changeType updated only",
            ));
        }
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
    let longest = match (drive.as_str(), with_content) {
        (MAIL, true) => 1_440,
        (MAIL, false) => 10_080,
        _ => LONGEST_MINUTES,
    };
    let expires = expiry(state, &body, longest)?;
    let same = |key: &str, each: &Subscription| each.body.get(key) == body.get(key);
    let taken = |each: &Subscription| same("resource", each) && same("changeType", each);
    if state.one_subscription_each && state.subscriptions.values().any(taken) {
        return Err(Refused::conflict());
    }
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

fn expiry(
    state: &State,
    body: &Map<String, Value>,
    longest: i64,
) -> Result<DateTime<Utc>, Refused> {
    let at = body.get("expirationDateTime").and_then(Value::as_str);
    let at = at.and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    let at = at.ok_or_else(|| Refused::bad("expirationDateTime is missing or malformed"))?;
    let at = at.with_timezone(&Utc);
    let now = state.now();
    if at <= now || at > now + TimeDelta::minutes(longest) {
        return Err(Refused::bad("expirationDateTime is out of range"));
    }
    Ok(at)
}

/// Tells whoever watches the inbox of a message; with its properties sealed where that was asked for.
pub(crate) fn tell_mail(state: &mut State, id: &str, message: &Value) {
    let (now, tenant) = (state.now(), state.settings.tenant.clone());
    let watching: Vec<Subscription> = state
        .subscriptions
        .values()
        .filter(|each| each.drive == MAIL && each.expires > now)
        .cloned()
        .collect();
    for subscription in watching {
        let mut body = subscription.notification(&tenant);
        let address = &state.mail.address;
        let resource = format!("Users/{address}/Messages/{id}");
        body["value"][0]["resource"] = json!(resource);
        body["value"][0]["changeType"] = json!("created");
        body["value"][0]["resourceData"] =
            json!({ "@odata.type": "#Microsoft.Graph.Message", "@odata.id": resource, "id": id });
        let text = |key: &str| subscription.body.get(key).and_then(Value::as_str);
        if let (Some(certificate), Some(name)) = (
            text("encryptionCertificate"),
            text("encryptionCertificateId"),
        ) && let Some(sealed) = super::rich::seal(certificate, name, message)
        {
            body["value"][0]["encryptedContent"] = sealed;
            body["validationTokens"] = json!([super::rich::token(state)]);
        }
        state.outbox.push((subscription.url, body));
    }
}

/// Tells every subscriber what happens to the subscription itself.
pub(crate) fn tell_lifecycle(state: &mut State, event: &str) {
    let tenant = state.settings.tenant.clone();
    let all: Vec<Subscription> = state.subscriptions.values().cloned().collect();
    for subscription in all {
        let url = subscription
            .body
            .get("lifecycleNotificationUrl")
            .and_then(Value::as_str);
        let Some(url) = url.map(str::to_owned) else {
            continue;
        };
        let mut body = subscription.notification(&tenant);
        if let Some(one) = body["value"][0].as_object_mut() {
            one.remove("changeType");
            one.insert("lifecycleEvent".to_owned(), json!(event));
        }
        state.outbox.push((url, body));
        if event == "subscriptionRemoved" {
            state.subscriptions.remove(&subscription.id);
        }
    }
}

fn is_messages(tail: &[String]) -> bool {
    match tail
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["messages"] | ["mailFolders('inbox')" | "mailFolders('Inbox')", "messages"] => true,
        ["mailFolders", folder, "messages"] => folder.eq_ignore_ascii_case("inbox"),
        _ => false,
    }
}

/// What subscriptions to the mailbox are kept under, where others have their drive.
const MAIL: &str = "mail";

impl Subscription {
    fn render(&self) -> Value {
        let mut body = self.body.clone();
        body.remove("clientState");
        body.remove("encryptionCertificate");
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
