//! Bytes: the small PUT, and downloads by way of a pre-signed address on the SharePoint host.

use super::address::Place;
use super::items::{CONFLICT, conflict, free_name, precondition, render};
use super::reply::{Body, Call, Refused, Reply};
use super::state::{Conflict, Item, State};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

/// `GET` and `PUT …/content`.
pub(crate) fn content(state: &mut State, place: &Place, call: &Call) -> Result<Reply, Refused> {
    if call.method == "PUT" {
        return put(state, place, call);
    }
    let item = state.item(&place.item(state)?)?;
    let Some(current) = item.current() else {
        return Err(Refused::bad("a folder has no content"));
    };
    if call
        .header("if-none-match")
        .is_some_and(|tag| tag == item.etag() || tag == item.ctag())
    {
        return Ok(Reply::empty(304));
    }
    let (id, found) = (item.id.clone(), presigned(state, item, current.major));
    state.log("FileAccessed", &id);
    Ok(Reply::found(found))
}

fn put(state: &mut State, place: &Place, call: &Call) -> Result<Reply, Refused> {
    if call.body.len() > SMALL_LIMIT {
        return Err(Refused::new(
            413,
            "invalidRequest",
            "Use an upload session.",
        ));
    }
    let behaviour = conflict(call.query(CONFLICT), Conflict::Replace)?;
    let bytes = call.body.clone();
    if place.path.is_empty() {
        let id = place.item(state)?;
        precondition(state.item(&id)?, call)?;
        return store(state, Slot::Existing(id), bytes, call);
    }
    let (parent, name) = place.slot(state)?;
    let existing = state.child(&parent, &name).map(|item| item.id.clone());
    if let Some(id) = &existing {
        precondition(state.item(id)?, call)?;
    } else if call.header("if-match").is_some() {
        return Err(
            Refused::new(412, "resourceModified", "The resource has changed.")
                .inner("entityTagDoesNotMatch"),
        );
    }
    let slot = slot(state, &place.drive, parent, name, behaviour)?;
    store(state, slot, bytes, call)
}

/// Where content goes.
pub(crate) enum Slot {
    Existing(String),
    New {
        drive: String,
        parent: String,
        name: String,
    },
}

/// Settles a name conflict.
pub(crate) fn slot(
    state: &State,
    drive: &str,
    parent: String,
    name: String,
    behaviour: Conflict,
) -> Result<Slot, Refused> {
    let drive = drive.to_owned();
    let Some(existing) = state.child(&parent, &name) else {
        return Ok(Slot::New {
            drive,
            parent,
            name,
        });
    };
    match behaviour {
        Conflict::Fail => Err(Refused::conflict()),
        Conflict::Rename => {
            let name = free_name(state, &parent, &name);
            Ok(Slot::New {
                drive,
                parent,
                name,
            })
        }
        Conflict::Replace if existing.is_folder() => Err(Refused::conflict()),
        Conflict::Replace => Ok(Slot::Existing(existing.id.clone())),
    }
}

/// Stores content, quota permitting: 201 for a new file, 200 for a new version.
pub(crate) fn store(
    state: &mut State,
    slot: Slot,
    bytes: Bytes,
    call: &Call,
) -> Result<Reply, Refused> {
    if state.stored() + bytes.len() as u64 > state.settings.quota {
        return Err(Refused::new(
            507,
            "quotaLimitReached",
            "The quota is exceeded.",
        ));
    }
    let (status, id) = match slot {
        Slot::Existing(id) => {
            let item = state.item(&id)?;
            if item.locked || item.label.as_ref().is_some_and(|label| label.locked) {
                return Err(super::items::locked());
            }
            state.overwrite(&id, bytes)?;
            (200, id)
        }
        Slot::New {
            drive,
            parent,
            name,
        } => (201, state.add(&drive, Some(parent), &name, Some(bytes))),
    };
    Ok(Reply::json(status, render(state, state.item(&id)?, call)))
}

/// A short-lived address that needs no token: version, expiry and a check value in one word.
pub(crate) fn presigned(state: &State, item: &Item, major: u32) -> String {
    let expires = state.now().timestamp() + PRESIGNED_SECONDS;
    let ticket = format!("{}|{major}|{expires}", item.id);
    let word = URL_SAFE_NO_PAD.encode(format!("{ticket}|{:016x}", seal(&ticket)));
    format!("{}/download/{word}", state.settings.sharepoint)
}

/// Serves a pre-signed address. A token sent along is refused: it must not leave the Graph host.
pub(crate) fn download(state: &State, word: &str, call: &Call) -> Result<Reply, Refused> {
    if call.header("authorization").is_some() {
        return Err(Refused::new(
            401,
            "unauthenticated",
            "Send no Authorization here.",
        ));
    }
    let ticket = URL_SAFE_NO_PAD
        .decode(word)
        .ok()
        .and_then(|raw| String::from_utf8(raw).ok());
    let ticket = ticket.ok_or_else(Refused::not_found)?;
    let Some((ticket, check)) = ticket.rsplit_once('|') else {
        return Err(Refused::not_found());
    };
    if check != format!("{:016x}", seal(ticket)) {
        return Err(Refused::new(
            401,
            "unauthenticated",
            "The address is not valid.",
        ));
    }
    let parts: Vec<&str> = ticket.split('|').collect();
    let [id, major, expires] = parts.as_slice() else {
        return Err(Refused::not_found());
    };
    let expired = expires
        .parse()
        .ok()
        .and_then(|at| DateTime::<Utc>::from_timestamp(at, 0));
    if expired.is_none_or(|at| at <= state.now()) {
        return Err(Refused::new(
            401,
            "unauthenticated",
            "The address has expired.",
        ));
    }
    let item = state.item(id)?;
    let version = item
        .versions
        .iter()
        .flatten()
        .find(|v| v.major.to_string() == *major);
    let bytes = version.ok_or_else(Refused::not_found)?.bytes.clone();
    match call.header("range") {
        None => Ok(Reply::bytes(bytes).with("etag", item.etag())),
        Some(range) => ranged(&bytes, range),
    }
}

fn ranged(bytes: &Bytes, range: &str) -> Result<Reply, Refused> {
    let wrong = || Refused::new(416, "invalidRange", "The range is not satisfiable.");
    let (from, to) = range
        .strip_prefix("bytes=")
        .and_then(|r| r.split_once('-'))
        .ok_or_else(wrong)?;
    let from: usize = from.parse().map_err(|_| wrong())?;
    let to: usize = match to {
        "" => bytes.len().saturating_sub(1),
        to => to
            .parse::<usize>()
            .map_err(|_| wrong())?
            .min(bytes.len().saturating_sub(1)),
    };
    if from > to || from >= bytes.len() {
        return Err(wrong());
    }
    let total = bytes.len();
    let mut reply = Reply::bytes(Bytes::new());
    reply.status = 206;
    reply.body = Body::Bytes(bytes.slice(from..=to));
    Ok(reply.with("content-range", format!("bytes {from}-{to}/{total}")))
}

fn seal(ticket: &str) -> u64 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    KEY.get_or_init(RandomState::new).hash_one(ticket)
}

/// Today's documented limit of a single PUT.
const SMALL_LIMIT: usize = 250 * 1024 * 1024;
const PRESIGNED_SECONDS: i64 = 3600;
