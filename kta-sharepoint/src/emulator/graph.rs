//! One turn of the Graph host: authority, scripts, routing, batches.

use super::address::{Route, route};
use super::faults::{Fault, strike};
use super::items::{render_drive, select};
use super::reply::{Call, Refused, Reply};
use super::state::{Audience, State};
use super::{lists, permissions, subscriptions};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Serves one request to the Graph host.
pub(crate) fn turn(state: &mut State, call: &Call) -> Result<Reply, Refused> {
    let client = super::login::bearer(state, call, Audience::Graph)?;
    serve(state, call, &client)
}

fn serve(state: &mut State, call: &Call, client: &str) -> Result<Reply, Refused> {
    let path = call
        .path
        .strip_prefix("/v1.0")
        .or_else(|| call.path.strip_prefix("/beta"));
    let path = path.ok_or_else(|| Refused::new(400, "BadRequest", "Unknown version."))?;
    let method = call.method.as_str();
    let route = route(state, path)?;
    super::selected::admit(state, client, &route, call)?;
    match route {
        Route::Batch if method == "POST" => batch(state, call, client),
        Route::Item(place) => super::items::item(state, &place, call),
        Route::Drive { drive } if method == "GET" => {
            let drive = state.drive(&drive)?;
            Ok(Reply::json(200, select(render_drive(state, drive), call)))
        }
        Route::Drives if method == "GET" => {
            let mut drives: Vec<_> = state.drives.values().collect();
            drives.sort_by_key(|drive| drive.number);
            let value: Vec<Value> = drives
                .into_iter()
                .map(|drive| select(render_drive(state, drive), call))
                .collect();
            Ok(Reply::json(200, json!({ "value": value })))
        }
        Route::List { drive, tail } => lists::list(state, &drive, &tail, call),
        Route::Lists => lists::lists(state, call),
        Route::Shares { token, tail } if method == "POST" && tail == ["permission", "grant"] => {
            permissions::grant(state, &token, call)
        }
        Route::Site if method == "GET" => Ok(Reply::json(200, select(site(state), call))),
        Route::SitePermissions if method == "GET" => {
            Ok(Reply::json(200, json!({ "value": state.site.permissions })))
        }
        Route::SitePermissions if method == "POST" => site_grant(state, call),
        Route::Sites if method == "GET" => Ok(Reply::json(200, json!({ "value": [site(state)] }))),
        Route::Group { tail } => super::directory::group(state, &tail, call),
        Route::Security { tail } => super::audit::queries(state, &tail, call),
        Route::User { user, tail } => super::mail::user(state, &user, &tail, call),
        Route::Subscriptions { tail } => subscriptions::subscriptions(state, &tail, call),
        _ => Err(Refused::new(
            405,
            "notAllowed",
            "The method is not allowed here.",
        )),
    }
}

fn site(state: &State) -> Value {
    json!({
        "id": state.site.id,
        "name": state.site.name,
        "displayName": state.site.name,
        "webUrl": format!("{}{}", state.settings.sharepoint, state.site.path),
        "siteCollection": { "hostname": state.site.hostname },
    })
}

/// The per-site grant behind `Sites.Selected`.
fn site_grant(state: &mut State, call: &Call) -> Result<Reply, Refused> {
    let mut body = call.object()?;
    let roles = body
        .get("roles")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let known = ["read", "write", "owner", "fullcontrol"];
    if roles.is_empty()
        || !roles
            .iter()
            .all(|r| r.as_str().is_some_and(|r| known.contains(&r)))
    {
        return Err(Refused::bad("roles are read, write, owner or fullcontrol"));
    }
    body.insert("id".to_owned(), json!(state.ids.guid()));
    let permission = Value::Object(body);
    state.site.permissions.push(permission.clone());
    Ok(Reply::json(201, permission))
}

/// `POST /$batch`: at most twenty, each its own answer, in no promised order (here: the reverse).
fn batch(state: &mut State, call: &Call, client: &str) -> Result<Reply, Refused> {
    let body = call.object()?;
    let requests = body.get("requests").and_then(Value::as_array);
    let requests = requests.ok_or_else(|| Refused::bad("requests are missing"))?;
    if requests.is_empty() || requests.len() > 20 {
        return Err(Refused::bad("a batch has 1 to 20 requests"));
    }
    let mut statuses: BTreeMap<String, u16> = BTreeMap::new();
    let mut responses = Vec::new();
    for request in requests {
        let Some(id) = request.get("id").and_then(Value::as_str).map(str::to_owned) else {
            return Err(Refused::bad("a request of a batch has no id"));
        };
        if statuses.contains_key(&id) {
            return Err(Refused::bad("two requests of a batch have one id"));
        }
        let waits = request
            .get("dependsOn")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let blocked = waits.iter().any(|each| {
            each.as_str()
                .and_then(|id| statuses.get(id))
                .is_none_or(|status| *status >= 400)
        });
        let (status, headers, body) = if blocked {
            let refused =
                Refused::new(424, "FailedDependency", "A request before this one failed.");
            super::finish(state, Err(refused), None).into_bytes()
        } else {
            inner(state, request, client)?.into_bytes()
        };
        statuses.insert(id.clone(), status);
        let headers: BTreeMap<&str, String> = headers.into_iter().collect();
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| json!(STANDARD.encode(&body)));
        responses.push(json!({ "id": id, "status": status, "headers": headers, "body": body }));
    }
    responses.reverse();
    Ok(Reply::json(200, json!({ "responses": responses })))
}

fn inner(state: &mut State, request: &Value, client: &str) -> Result<Reply, Refused> {
    let method = request
        .get("method")
        .and_then(Value::as_str)
        .unwrap_or("GET")
        .to_uppercase();
    let url = request.get("url").and_then(Value::as_str);
    let url = url.ok_or_else(|| Refused::bad("a request of a batch has no url"))?;
    let mut headers = HeaderMap::new();
    for (name, value) in request
        .get("headers")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        if let (Ok(name), Some(Ok(value))) = (
            name.parse::<HeaderName>(),
            value.as_str().map(HeaderValue::from_str),
        ) {
            headers.insert(name, value);
        }
    }
    let body = match request.get("body") {
        None | Some(Value::Null) => Bytes::new(),
        Some(Value::String(text)) => STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|_| Refused::bad("a binary body of a batch is base64"))?,
        Some(value) => Bytes::from(value.to_string()),
    };
    let (path, query) = super::serve::split(&format!("/v1.0/{}", url.trim_start_matches('/')));
    let call = Call {
        method,
        path,
        query,
        headers,
        body,
    };
    if call.path.ends_with("/$batch") {
        return Err(Refused::bad("a batch holds no batch"));
    }
    let result = match strike(&mut state.faults, &call.method, &call.path) {
        Some(Fault::Status {
            status,
            retry_after,
        }) => Ok(super::serve::broken(status, retry_after)),
        _ => serve(state, &call, client),
    };
    Ok(super::finish(state, result, None))
}
