//! Upload sessions: fragments in order, each a multiple of 320 KiB but the last.

use super::address::Place;
use super::clock::stamp;
use super::content::{Slot, slot, store};
use super::items::{CONFLICT, conflict, precondition, render};
use super::reply::{Call, Refused, Reply};
use super::state::{Conflict, State, Upload};
use bytes::Bytes;
use chrono::TimeDelta;
use serde_json::{Value, json};

/// `POST …/createUploadSession`.
pub(crate) fn create(state: &mut State, place: &Place, call: &Call) -> Result<Reply, Refused> {
    let body = call.object()?;
    let item = body
        .get("item")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let behaviour = item
        .get(CONFLICT)
        .and_then(Value::as_str)
        .or_else(|| call.query(CONFLICT));
    let behaviour = conflict(behaviour, Conflict::Replace)?;
    let (parent, name, target) = if place.path.is_empty() {
        let existing = state.item(&place.item(state)?)?;
        let parent = existing
            .parent
            .clone()
            .ok_or_else(|| Refused::bad("the root has no content"))?;
        if existing.is_folder() {
            return Err(Refused::bad("a folder has no content"));
        }
        (parent, existing.name.clone(), Some(existing.id.clone()))
    } else {
        let (parent, name) = place.slot(state)?;
        let name = item
            .get("name")
            .and_then(Value::as_str)
            .map(str::to_owned)
            .unwrap_or(name);
        super::address::check_name(&name)?;
        let existing = state.child(&parent, &name).map(|item| item.id.clone());
        if existing.is_some() && behaviour == Conflict::Fail {
            return Err(Refused::conflict());
        }
        (parent, name, existing)
    };
    match &target {
        Some(id) => {
            let existing = state.item(id)?;
            precondition(existing, call)?;
            if call.header("if-none-match").is_some() {
                return Err(Refused::new(
                    412,
                    "resourceModified",
                    "The resource exists.",
                ));
            }
        }
        None if call.header("if-match").is_some() => {
            return Err(Refused::new(
                412,
                "resourceModified",
                "The resource has changed.",
            ));
        }
        None => {}
    }
    let declared = item.get("fileSize").and_then(Value::as_u64);
    if declared.is_some_and(|size| state.stored() + size > state.settings.quota) {
        return Err(Refused::new(
            507,
            "quotaLimitReached",
            "The quota is exceeded.",
        ));
    }
    let id = state.ids.secret("");
    let expires = state.now() + TimeDelta::minutes(SESSION_MINUTES);
    let deferred = body
        .get("deferCommit")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let by_id = place.path.is_empty();
    let upload = Upload {
        drive: place.drive.clone(),
        parent,
        name,
        target: target.filter(|_| by_id),
        conflict: behaviour,
        received: Vec::new(),
        total: None,
        expires,
        deferred,
        done: None,
    };
    state.uploads.insert(id.clone(), upload);
    Ok(Reply::json(
        200,
        json!({
            "uploadUrl": format!("{}/upload/{id}", state.settings.sharepoint),
            "expirationDateTime": stamp(expires),
            "nextExpectedRanges": ["0-"],
        }),
    ))
}

/// Requests to the session's own address, which is its own authority: a token sent along is refused.
pub(crate) fn session(state: &mut State, id: &str, call: &Call) -> Result<Reply, Refused> {
    if call.header("authorization").is_some() {
        return Err(Refused::new(
            401,
            "unauthenticated",
            "Send no Authorization here.",
        ));
    }
    let gone = || Refused::new(404, "itemNotFound", "No session.").inner("uploadSessionNotFound");
    let upload = state.uploads.get(id).ok_or_else(gone)?;
    match call.method.as_str() {
        "DELETE" => {
            state.uploads.remove(id);
            Ok(Reply::empty(204))
        }
        "GET" => Ok(status(upload, 200)),
        "POST" if upload.deferred && upload.is_whole() => finish(state, id, call),
        "POST" => Err(Refused::bad("the upload is not complete")),
        "PUT" => fragment(state, id, call),
        _ => Err(Refused::new(
            405,
            "notAllowed",
            "The method is not allowed here.",
        )),
    }
}

fn fragment(state: &mut State, id: &str, call: &Call) -> Result<Reply, Refused> {
    let gone = || Refused::new(404, "itemNotFound", "No session.").inner("uploadSessionNotFound");
    let quota = state.settings.quota.saturating_sub(state.stored());
    let now = state.now();
    let Some(range) = call.header("content-range").and_then(Range::parse) else {
        return Err(Refused::bad("Content-Range is missing or malformed").inner("invalidRange"));
    };
    let upload = state.uploads.get_mut(id).ok_or_else(gone)?;
    if let Some((item, status)) = upload.done.clone() {
        // Microsoft's own upload task sends the last fragment a second time.
        return match state.items.get(&item) {
            Some(item) if range.to + 1 == range.total => {
                Ok(Reply::json(status, render(state, item, call)))
            }
            _ => Err(out_of_range("The upload is complete.")),
        };
    }
    if range.to - range.from + 1 != call.body.len() as u64 {
        return Err(Refused::bad("the body and its range differ in length"));
    }
    if call.body.len() > FRAGMENT_LIMIT {
        return Err(Refused::new(
            413,
            "invalidRequest",
            "A fragment is below 60 MiB.",
        ));
    }
    if upload.total.is_some_and(|total| total != range.total) {
        return Err(Refused::bad("the total length changed").inner("fragmentLengthMismatch"));
    }
    let next = upload.received.len() as u64;
    if range.from < next {
        return Err(out_of_range("The fragment was already received.").inner("fragmentOverlap"));
    }
    if range.from > next {
        return Err(out_of_range("A fragment is missing.").inner("fragmentOutOfOrder"));
    }
    let last = range.to + 1 == range.total;
    if !last && !call.body.len().is_multiple_of(FRAGMENT_UNIT) {
        return Err(Refused::bad("a fragment is a multiple of 327680 bytes").inner("invalidRange"));
    }
    if call.body.len() as u64 > quota {
        return Err(Refused::new(
            507,
            "quotaLimitReached",
            "The quota is exceeded.",
        ));
    }
    upload.total = Some(range.total);
    upload.expires = upload
        .expires
        .max(now + TimeDelta::minutes(SESSION_MINUTES));
    upload.received.extend_from_slice(&call.body);
    if last && !upload.deferred {
        finish(state, id, call)
    } else {
        Ok(status(upload, 202))
    }
}

fn finish(state: &mut State, id: &str, call: &Call) -> Result<Reply, Refused> {
    let upload = state.uploads.get(id).ok_or_else(Refused::not_found)?;
    let (drive, parent, name) = (
        upload.drive.clone(),
        upload.parent.clone(),
        upload.name.clone(),
    );
    let (target, behaviour) = (upload.target.clone(), upload.conflict);
    let slot = match target {
        Some(id) if state.items.contains_key(&id) => Slot::Existing(id),
        Some(_) => return Err(Refused::not_found()),
        None => slot(state, &drive, parent, name, behaviour)?,
    };
    let received = state
        .uploads
        .get_mut(id)
        .map(|upload| std::mem::take(&mut upload.received));
    let bytes = Bytes::from(received.unwrap_or_default());
    match store(state, slot, bytes.clone(), call) {
        Ok(reply) => {
            if let super::reply::Body::Json(value) = &reply.body
                && let Some(item) = value["id"].as_str()
                && let Some(upload) = state.uploads.get_mut(id)
            {
                upload.done = Some((item.to_owned(), reply.status));
            }
            Ok(reply)
        }
        Err(refused) => {
            if let Some(upload) = state.uploads.get_mut(id) {
                upload.received = bytes.to_vec();
            }
            Err(refused)
        }
    }
}

/// `PUT item` with `@microsoft.graph.sourceUrl`: commits a finished session that met a name conflict.
pub(crate) fn commit(state: &mut State, place: &Place, call: &Call) -> Result<Reply, Refused> {
    let body = call.object()?;
    let Some(source) = body
        .get("@microsoft.graph.sourceUrl")
        .and_then(Value::as_str)
    else {
        return Err(Refused::unsupported(
            "PUT of metadata needs a source address.",
        ));
    };
    let prefix = format!("{}/upload/", state.settings.sharepoint);
    let id = source
        .strip_prefix(&prefix)
        .ok_or_else(Refused::not_found)?
        .to_owned();
    let (parent, name) = place.slot(state)?;
    let name = body
        .get("name")
        .and_then(Value::as_str)
        .map(str::to_owned)
        .unwrap_or(name);
    super::address::check_name(&name)?;
    let behaviour = conflict(body.get(CONFLICT).and_then(Value::as_str), Conflict::Fail)?;
    let upload = state.uploads.get_mut(&id).ok_or_else(Refused::not_found)?;
    if !upload.is_whole() || upload.done.is_some() {
        return Err(Refused::bad("the session has nothing to commit"));
    }
    upload.parent = parent;
    upload.name = name;
    upload.conflict = behaviour;
    finish(state, &id, call)
}

impl Upload {
    fn is_whole(&self) -> bool {
        self.total == Some(self.received.len() as u64)
    }
}

fn status(upload: &Upload, code: u16) -> Reply {
    let next = match (&upload.done, upload.total) {
        (None, None) => vec!["0-".to_owned()],
        (None, Some(total)) if !upload.is_whole() => {
            vec![format!("{}-{}", upload.received.len(), total - 1)]
        }
        _ => Vec::new(),
    };
    let body = json!({
        "expirationDateTime": stamp(upload.expires),
        "nextExpectedRanges": next,
    });
    Reply::json(code, body)
}

fn out_of_range(message: &str) -> Refused {
    Refused::new(416, "invalidRange", message)
}

/// `bytes a-b/total`, with `a ≤ b < total`.
struct Range {
    from: u64,
    to: u64,
    total: u64,
}

impl Range {
    fn parse(header: &str) -> Option<Self> {
        let (range, total) = header.strip_prefix("bytes ")?.split_once('/')?;
        let (from, to) = range.split_once('-')?;
        let range = Self {
            from: from.parse().ok()?,
            to: to.parse().ok()?,
            total: total.parse().ok()?,
        };
        (range.from <= range.to && range.to < range.total).then_some(range)
    }
}

const FRAGMENT_UNIT: usize = 327_680;
const FRAGMENT_LIMIT: usize = 60 * 1024 * 1024 - 1;
const SESSION_MINUTES: i64 = 60;
