//! One shared mailbox: folders, messages as MIME, moves, delta, permanent deletion, and what was sent.

use super::clock::stamp;
use super::reply::{Call, Refused, Reply};
use super::state::State;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The tenant's one mailbox.
pub(crate) struct Mailbox {
    pub(crate) address: String,
    /// Folder names by id; the well-known ones have their names as ids.
    folders: BTreeMap<String, String>,
    pub(crate) messages: BTreeMap<String, Message>,
    /// Messages that left a folder: id, folder, number of the change.
    left: Vec<(String, String, u64)>,
    /// What single-item recovery still holds, and since when.
    pub(crate) purged: Vec<(Message, DateTime<Utc>)>,
    changes: u64,
    /// Delta tokens of another era are answered with 410.
    pub(crate) era: u64,
}

#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) folder: String,
    pub(crate) received: DateTime<Utc>,
    pub(crate) mime: Bytes,
    /// What a sent message was sent as; empty for what was received.
    pub(crate) sent: Value,
    change: u64,
}

impl Mailbox {
    pub(crate) fn new(address: &str) -> Self {
        let known = ["inbox", "sentitems", "deleteditems", "drafts"];
        Self {
            address: address.to_owned(),
            folders: known.map(|id| (id.to_owned(), id.to_owned())).into(),
            messages: BTreeMap::new(),
            left: Vec::new(),
            purged: Vec::new(),
            changes: 0,
            era: 0,
        }
    }

    /// Forgets what single-item recovery no longer keeps.
    pub(crate) fn sweep(&mut self, now: DateTime<Utc>) {
        self.purged
            .retain(|(_, at)| now - *at < TimeDelta::days(RECOVERY_DAYS));
    }

    fn folder(&self, named: &str) -> Result<String, Refused> {
        let quoted = named
            .strip_prefix("mailFolders('")
            .and_then(|rest| rest.strip_suffix("')"));
        let named = quoted.unwrap_or(named);
        let lower = named.to_lowercase();
        let found = [named, lower.as_str()]
            .into_iter()
            .find(|id| self.folders.contains_key(*id));
        found.map(str::to_owned).ok_or_else(missing)
    }

    fn message(&self, id: &str) -> Result<&Message, Refused> {
        self.messages.get(id).ok_or_else(missing)
    }

    fn leave(&mut self, id: &str) -> Result<Message, Refused> {
        let message = self.messages.remove(id).ok_or_else(missing)?;
        self.changes += 1;
        self.left
            .push((id.to_owned(), message.folder.clone(), self.changes));
        Ok(message)
    }
}

/// A message arrives in the inbox; whoever watches it is told.
pub(crate) fn arrive(state: &mut State, mime: Bytes) -> String {
    let (now, id) = (state.now(), state.ids.secret("AAkALg"));
    let mail = &mut state.mail;
    mail.changes += 1;
    let message = Message {
        id: id.clone(),
        folder: INBOX.to_owned(),
        received: now,
        mime,
        sent: Value::Null,
        change: mail.changes,
    };
    let told = render(&message);
    mail.messages.insert(id.clone(), message);
    super::subscriptions::tell_mail(state, &id, &told);
    id
}

/// Everything under `/users/{user}`.
pub(crate) fn user(
    state: &mut State,
    user: &str,
    tail: &[String],
    call: &Call,
) -> Result<Reply, Refused> {
    if call.method == "GET" && tail.is_empty() {
        let person = super::directory::person(state, user).ok_or_else(|| {
            Refused::new(404, "Request_ResourceNotFound", "Resource does not exist.")
        })?;
        return Ok(Reply::json(200, super::items::select(person, call)));
    }
    if !user.eq_ignore_ascii_case(&state.mail.address) {
        return Err(Refused::new(
            404,
            "ErrorInvalidUser",
            "The requested user is invalid.",
        ));
    }
    let tail: Vec<&str> = tail.iter().map(String::as_str).collect();
    // `mailFolders('inbox')` is `mailFolders/inbox`.
    let tail: Vec<&str> = tail
        .iter()
        .flat_map(|part| match part.strip_prefix("mailFolders('") {
            Some(rest) => vec!["mailFolders", rest.trim_end_matches("')")],
            None => vec![*part],
        })
        .collect();
    match (call.method.as_str(), tail.as_slice()) {
        ("GET", ["mailFolders"]) => Ok(folders(state, call)),
        ("POST", ["mailFolders"]) => make_folder(state, call),
        ("GET", ["mailFolders", folder]) => {
            let id = state.mail.folder(folder)?;
            Ok(Reply::json(200, render_folder(&state.mail, &id)))
        }
        ("GET", ["mailFolders", folder, "messages"]) => {
            let folder = state.mail.folder(folder)?;
            list(state, Some(&folder), call)
        }
        ("GET", ["mailFolders", folder, "messages", delta]) if delta.starts_with("delta") => {
            let folder = state.mail.folder(folder)?;
            changes(state, &folder, call)
        }
        ("GET", ["messages"]) => list(state, None, call),
        ("GET", ["messages", id]) => {
            let found = render(state.mail.message(id)?);
            Ok(Reply::json(200, super::items::select(found, call)))
        }
        ("GET", ["messages", id, "$value"]) => {
            let mime = state.mail.message(id)?.mime.clone();
            let mut reply = Reply::bytes(mime);
            reply.headers = vec![("content-type", "text/plain".to_owned())];
            Ok(reply)
        }
        ("POST", ["messages", id, "move"]) => relocate(state, id, call),
        ("DELETE", ["messages", id]) => {
            let mut message = state.mail.leave(id)?;
            DELETED.clone_into(&mut message.folder);
            message.change = state.mail.changes;
            state.mail.messages.insert(message.id.clone(), message);
            Ok(Reply::empty(204))
        }
        ("POST", ["messages", id, "permanentDelete"]) => {
            let at = state.now();
            let message = state.mail.leave(id)?;
            state.mail.purged.push((message, at));
            Ok(Reply::empty(204))
        }
        ("POST", ["sendMail"]) => send(state, call),
        _ => Err(Refused::unsupported(
            "The emulator does not know this operation.",
        )),
    }
}

fn folders(state: &State, call: &Call) -> Reply {
    let wanted = call
        .query("$filter")
        .and_then(|filter| filter.strip_prefix("displayName eq '"))
        .and_then(|filter| filter.strip_suffix('\''));
    let value: Vec<Value> = state
        .mail
        .folders
        .iter()
        .filter(|(_, name)| wanted.is_none_or(|wanted| name.as_str() == wanted))
        .map(|(id, _)| render_folder(&state.mail, id))
        .collect();
    Reply::json(200, json!({ "value": value }))
}

fn make_folder(state: &mut State, call: &Call) -> Result<Reply, Refused> {
    let body = call.object()?;
    let name = body.get("displayName").and_then(Value::as_str);
    let name = name.ok_or_else(|| Refused::bad("displayName is missing"))?;
    if state.mail.folders.values().any(|known| known == name) {
        return Err(Refused::new(
            409,
            "ErrorFolderExists",
            "A folder with the specified name already exists.",
        ));
    }
    let id = state.ids.secret("AAMkAD");
    state.mail.folders.insert(id.clone(), name.to_owned());
    Ok(Reply::json(201, render_folder(&state.mail, &id)))
}

fn list(state: &State, folder: Option<&str>, call: &Call) -> Result<Reply, Refused> {
    let number = |name: &str, default: usize| match call.query(name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| Refused::bad("not a number")),
    };
    let (top, skip) = (number("$top", 10)?.clamp(1, 1000), number("$skip", 0)?);
    let by_internet_id = match call.query("$filter") {
        None => None,
        Some(filter) => Some(
            filter
                .strip_prefix("internetMessageId eq '")
                .and_then(|rest| rest.strip_suffix('\''))
                .ok_or_else(|| Refused::unsupported("The emulator does not know this filter."))?,
        ),
    };
    let mut all: Vec<&Message> = state
        .mail
        .messages
        .values()
        .filter(|message| folder.is_none_or(|folder| message.folder == folder))
        .filter(|message| by_internet_id.is_none_or(|id| internet_id(message) == id))
        .collect();
    match call.query("$orderby") {
        Some("receivedDateTime") | Some("receivedDateTime asc") => {
            all.sort_by(|a, b| (a.received, &a.id).cmp(&(b.received, &b.id)));
        }
        // Newest first is the vendor's own order.
        _ => all.sort_by(|a, b| (b.received, &b.id).cmp(&(a.received, &a.id))),
    }
    let value: Vec<Value> = all
        .iter()
        .skip(skip)
        .take(top)
        .map(|message| super::items::select(render(message), call))
        .collect();
    let mut body = json!({ "value": value });
    if skip + top < all.len() {
        let mut query = format!("$top={top}&$skip={}", skip + top);
        for kept in ["$orderby", "$select"] {
            if let Some(value) = call.query(kept) {
                query.push_str(&format!("&{kept}={}", value.replace(' ', "%20")));
            }
        }
        body["@odata.nextLink"] = json!(format!("{}{}?{query}", state.settings.graph, call.path));
    }
    Ok(Reply::json(200, body))
}

/// The folder's changes since a `$deltatoken`: arrivals whole, departures as `@removed`.
fn changes(state: &State, folder: &str, call: &Call) -> Result<Reply, Refused> {
    let mail = &state.mail;
    let token = call
        .query("$deltatoken")
        .or_else(|| call.query("$skiptoken"));
    let (since, fresh) = match token {
        None => (0, true),
        Some(token) => {
            let parts = token.split_once('.');
            let read = parts
                .and_then(|(era, since)| Some((era.parse::<u64>().ok()?, since.parse().ok()?)));
            match read {
                Some((era, since)) if era == mail.era => (since, false),
                _ => {
                    return Err(Refused::new(
                        410,
                        "SyncStateNotFound",
                        "The sync state generation is not found.",
                    ));
                }
            }
        }
    };
    let mut found: Vec<(u64, Value)> = mail
        .messages
        .values()
        .filter(|message| message.folder == folder && message.change > since)
        .map(|message| (message.change, super::items::select(render(message), call)))
        .collect();
    let gone = mail.left.iter().filter(|(id, from, change)| {
        let back = mail
            .messages
            .get(id)
            .is_some_and(|message| message.folder == folder);
        !fresh && from == folder && *change > since && !back
    });
    found.extend(gone.map(|(id, _, change)| {
        let removed = json!({ "id": id, "@removed": { "reason": "deleted" } });
        (*change, removed)
    }));
    found.sort_by_key(|(change, _)| *change);
    let more = found.len() > DELTA_PAGE;
    found.truncate(DELTA_PAGE);
    let last = match found.last() {
        Some((change, _)) if more => *change,
        _ => mail.changes,
    };
    let (key, name) = if more {
        ("@odata.nextLink", "$skiptoken")
    } else {
        ("@odata.deltaLink", "$deltatoken")
    };
    let link = format!(
        "{}{}?{name}={}.{last}",
        state.settings.graph, call.path, mail.era
    );
    let value: Vec<Value> = found.into_iter().map(|(_, value)| value).collect();
    Ok(Reply::json(200, json!({ "value": value, key: link })))
}

fn relocate(state: &mut State, id: &str, call: &Call) -> Result<Reply, Refused> {
    let body = call.object()?;
    let to = named(&body, "destinationId");
    let to = to.and_then(Value::as_str);
    let to = to.ok_or_else(|| Refused::bad("destinationId is missing"))?;
    let to = state.mail.folder(to)?;
    // Without immutable ids a move gives the message another id, and old ids are lost.
    let immutable = call
        .header("prefer")
        .is_some_and(|prefer| prefer.contains("ImmutableId"));
    let fresh = state.ids.secret("AAkALg");
    let mut message = state.mail.leave(id)?;
    message.folder = to;
    message.change = state.mail.changes;
    if !immutable {
        message.id = fresh;
    }
    let value = render(&message);
    state.mail.messages.insert(message.id.clone(), message);
    Ok(Reply::json(201, value))
}

/// `sendMail`: a JSON message, or MIME in base64 as `text/plain`.
fn send(state: &mut State, call: &Call) -> Result<Reply, Refused> {
    let plain = call
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("text/plain"));
    let (mime, sent, keep) = if plain {
        let mime = STANDARD.decode(call.body.trim_ascii());
        let mime = mime.map_err(|_| Refused::bad("the MIME content is not base64"))?;
        let header = |name: &str| {
            let text = String::from_utf8_lossy(&mime);
            let head = text.split("\r\n\r\n").next().unwrap_or_default().to_owned();
            head.split("\r\n").find_map(|line| {
                let (known, value) = line.split_once(':')?;
                known
                    .eq_ignore_ascii_case(name)
                    .then(|| value.trim().to_owned())
            })
        };
        if header("to").is_none_or(|to| !to.contains('@')) {
            return Err(Refused::new(
                400,
                "ErrorInvalidRecipients",
                "At least one recipient isn't valid.",
            ));
        }
        let told = json!({
            "internetMessageId": header("message-id"),
            "mime": String::from_utf8_lossy(&mime),
        });
        (Bytes::from(mime), told, true)
    } else {
        let body = call.object()?;
        let message = named(&body, "message").filter(|message| message.is_object());
        let message = message.ok_or_else(|| Refused::bad("message is missing"))?;
        let to = message["toRecipients"].as_array().is_some_and(|list| {
            let address = |each: &Value| each["emailAddress"]["address"].as_str().is_some();
            !list.is_empty() && list.iter().all(address)
        });
        if !to {
            return Err(Refused::new(
                400,
                "ErrorInvalidRecipients",
                "At least one recipient isn't valid.",
            ));
        }
        for header in message["internetMessageHeaders"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let name = header["name"].as_str().unwrap_or_default();
            if !name.to_lowercase().starts_with("x-") {
                return Err(Refused::new(
                    400,
                    "InvalidInternetMessageHeader",
                    "The internet message header name should start with 'x-'.",
                ));
            }
        }
        let keep = named(&body, "saveToSentItems").and_then(Value::as_bool);
        (Bytes::new(), message.clone(), keep.unwrap_or(true))
    };
    let (now, id) = (state.now(), state.ids.secret("AAkALg"));
    state.mail.changes += 1;
    let message = Message {
        id: id.clone(),
        folder: SENT.to_owned(),
        received: now,
        mime,
        sent: sent.clone(),
        change: state.mail.changes,
    };
    state.sent.push(sent);
    if keep {
        state.mail.messages.insert(id, message);
    }
    Ok(Reply::empty(202))
}

/// An action's parameter: their names are compared without case, and Microsoft's own client begins them
/// with a capital.
fn named<'b>(body: &'b Map<String, Value>, wanted: &str) -> Option<&'b Value> {
    body.iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(wanted))
        .map(|(_, value)| value)
}

fn render(message: &Message) -> Value {
    json!({
        "id": message.id,
        "receivedDateTime": stamp(message.received),
        "createdDateTime": stamp(message.received),
        "parentFolderId": message.folder,
        "internetMessageId": internet_id(message),
        "isDraft": false,
        "isRead": false,
        "hasAttachments": true,
    })
}

fn internet_id(message: &Message) -> String {
    let given = message.sent["internetMessageId"].as_str();
    given.map_or_else(|| format!("<{}@kta.invalid>", message.id), str::to_owned)
}

fn render_folder(mail: &Mailbox, id: &str) -> Value {
    let inside = mail
        .messages
        .values()
        .filter(|message| message.folder == id);
    json!({
        "id": id,
        "displayName": mail.folders.get(id),
        "totalItemCount": inside.count(),
        "childFolderCount": 0,
    })
}

fn missing() -> Refused {
    Refused::new(
        404,
        "ErrorItemNotFound",
        "The specified object was not found in the store.",
    )
}

const INBOX: &str = "inbox";
const SENT: &str = "sentitems";
const DELETED: &str = "deleteditems";
const DELTA_PAGE: usize = 10;
/// Single-item recovery keeps a purged message this long, unless set up to 30.
pub(crate) const RECOVERY_DAYS: i64 = 14;
