//! The parts of SharePoint REST that Graph lacks: recycle bins, deletion of versions, library settings.

use super::reply::{Body, Call, Refused, Reply};
use super::state::{Audience, Binned, State};
use super::versions::{Drop, drop_versions};
use super::{clock::stamp, content, upload};
use serde_json::{Value, json};

/// Serves one request to the SharePoint host: pre-signed addresses, upload sessions, `_api`.
pub(crate) fn turn(state: &mut State, call: &Call) -> Result<Reply, Refused> {
    if let Some(word) = call.path.strip_prefix("/download/") {
        return content::download(state, word, call);
    }
    if let Some(id) = call.path.strip_prefix("/upload/") {
        return upload::session(state, id, call);
    }
    let site = format!("{}/_api/", state.site.path);
    let lower = call.path.to_lowercase();
    if !lower.starts_with(&site.to_lowercase()) {
        return Err(Refused::not_found());
    }
    let client = super::login::bearer(state, call, Audience::SharePoint)?;
    let path = &call.path[site.len()..];
    let admitted = super::selected::admit_rest(state, &client, path, call.method == "GET");
    let result = admitted.and_then(|()| api(state, path, call));
    let verbose = call
        .header("accept")
        .is_some_and(|accept| accept.contains("odata=verbose"));
    Ok(match result {
        Ok(reply) if verbose => wrap(reply),
        Ok(reply) => reply,
        Err(refused) => error(&refused, verbose),
    })
}

fn api(state: &mut State, path: &str, call: &Call) -> Result<Reply, Refused> {
    let lower = path.to_lowercase();
    let lower = lower.trim_end_matches('/').trim_end_matches("()");
    let get = call.method == "GET";
    if get
        && !call
            .header("accept")
            .is_some_and(|accept| accept.contains("json"))
    {
        // Without an Accept header SharePoint answers in Atom XML.
        let xml = "<?xml version=\"1.0\" encoding=\"utf-8\"?><feed/>".to_owned();
        return Ok(Reply {
            status: 200,
            headers: Vec::new(),
            body: Body::Text(xml),
        });
    }
    if lower == "contextinfo" && !get {
        return Ok(Reply::json(
            200,
            json!({ "FormDigestValue": "0x00,emulated",
            "FormDigestTimeoutSeconds": 1800, "WebFullUrl":
            format!("{}{}", state.settings.sharepoint, state.site.path) }),
        ));
    }
    if let Some(rest) = lower.strip_prefix("web/recyclebin") {
        return bin(state, Some(1), rest, call);
    }
    if let Some(rest) = lower.strip_prefix("site/recyclebin") {
        return bin(state, None, rest, call);
    }
    if lower == "web/ensureuser" && !get {
        return super::directory::ensure_user(state, call);
    }
    if let Some(rest) = lower.strip_prefix("web/sitegroups/getbyid(") {
        return super::directory::site_group(state, rest);
    }
    if let Some(rest) = lower.strip_prefix("web/getfilebyid(") {
        let (id, rest) = argument(rest)?;
        return file(state, &id, rest, call);
    }
    if let Some(rest) = lower.strip_prefix("web/lists/getbytitle(") {
        let (title, rest) = argument(rest)?;
        return list(state, &title, rest, call);
    }
    Err(Refused::not_found())
}

fn bin(state: &mut State, scope: Option<u8>, rest: &str, call: &Call) -> Result<Reply, Refused> {
    let get = call.method == "GET";
    if rest.is_empty() && get {
        let stage = match call.query("$filter").map(str::trim) {
            None => scope,
            Some("ItemState eq 1") => Some(1),
            Some("ItemState eq 2") => Some(2),
            Some(_) => {
                return Err(Refused::unsupported(
                    "The emulator filters by ItemState only.",
                ));
            }
        };
        let value: Vec<Value> = state
            .bin
            .iter()
            .filter(|entry| stage.is_none_or(|stage| entry.stage == stage))
            .filter(|entry| scope.is_none_or(|stage| entry.stage == stage))
            .map(render)
            .collect();
        return Ok(Reply::json(200, json!({ "value": value })));
    }
    if rest == "/deleteall" && !get {
        state
            .bin
            .retain(|entry| scope.is_some_and(|stage| entry.stage != stage));
        return Ok(Reply::empty(200));
    }
    let rest = rest.strip_prefix('(').ok_or_else(Refused::not_found)?;
    let (id, action) = argument(rest)?;
    let found = |entry: &Binned| entry.id == id && scope.is_none_or(|stage| entry.stage == stage);
    let at = state
        .bin
        .iter()
        .position(found)
        .ok_or_else(Refused::not_found)?;
    match (call.method.as_str(), action) {
        ("GET", "") => Ok(Reply::json(200, render(&state.bin[at]))),
        ("POST", "/movetosecondstage") => {
            state.bin[at].stage = 2;
            Ok(Reply::empty(200))
        }
        ("POST", "/deleteobject") => {
            if state.settings.bin_delete_moves_to_second_stage && state.bin[at].stage == 1 {
                state.bin[at].stage = 2;
            } else {
                state.bin.remove(at);
            }
            Ok(Reply::empty(200))
        }
        ("POST", "/restore") => restore(state, at),
        _ => Err(Refused::not_found()),
    }
}

fn restore(state: &mut State, at: usize) -> Result<Reply, Refused> {
    let entry = state.bin[at].clone();
    let Some(top) = entry.items.first() else {
        return Err(Refused::not_found());
    };
    let parent = top
        .parent
        .clone()
        .filter(|parent| state.items.contains_key(parent));
    let parent = parent.ok_or_else(|| Refused::bad("the folder it was in is gone"))?;
    if state.child(&parent, &top.name).is_some() {
        return Err(Refused::conflict());
    }
    state.bin.remove(at);
    for mut item in entry.items {
        state.count();
        item.sequence = state.sequence;
        state.graves.remove(&item.id);
        state.items.insert(item.id.clone(), item);
    }
    Ok(Reply::empty(200))
}

fn file(state: &mut State, unique: &str, rest: &str, call: &Call) -> Result<Reply, Refused> {
    let found = state
        .items
        .values()
        .find(|item| item.unique_id == unique && !item.is_folder());
    let id = found
        .map(|item| item.id.clone())
        .ok_or_else(Refused::not_found)?;
    let rest = rest
        .strip_prefix("/versions")
        .ok_or_else(Refused::not_found)?;
    match (call.method.as_str(), rest) {
        ("GET", "") => {
            let item = state.item(&id)?;
            let all = item.versions.as_deref().unwrap_or_default();
            let earlier = &all[..all.len().saturating_sub(1)];
            let value: Vec<Value> = earlier
                .iter()
                .map(|version| {
                    json!({
                        "ID": version.major * VERSION_STEP,
                        "VersionLabel": format!("{}.0", version.major),
                        "IsCurrentVersion": false,
                        "Size": version.bytes.len(),
                        "Created": stamp(version.at),
                    })
                })
                .collect();
            Ok(Reply::json(200, json!({ "value": value })))
        }
        ("POST", "/deleteall") => drop_versions(state, &id, Drop::All).map(|()| Reply::empty(200)),
        ("POST", "/recycleall") => {
            drop_versions(state, &id, Drop::RecycleAll).map(|()| Reply::empty(200))
        }
        ("POST", action) => {
            let number = action
                .strip_prefix("/deletebyid(")
                .map(|rest| rest.trim_end_matches(')').trim_start_matches("vid="))
                .and_then(|number| number.parse::<u32>().ok())
                .filter(|number| number % VERSION_STEP == 0)
                .ok_or_else(Refused::not_found)?;
            drop_versions(state, &id, Drop::One(number / VERSION_STEP)).map(|()| Reply::empty(200))
        }
        _ => Err(Refused::not_found()),
    }
}

fn list(state: &mut State, title: &str, rest: &str, call: &Call) -> Result<Reply, Refused> {
    if title == HOLD_LIBRARY {
        return hold_library(state, rest, call);
    }
    let drive = state
        .drives
        .values_mut()
        .find(|drive| drive.title.to_lowercase() == title);
    let drive = drive.ok_or_else(Refused::not_found)?;
    if call.method == "POST" && !rest.is_empty() {
        let root = drive.root.clone();
        return super::directory::roles(state, &root, rest);
    }
    let merges = call
        .header("x-http-method")
        .is_some_and(|m| m.eq_ignore_ascii_case("MERGE"));
    match (call.method.as_str(), rest) {
        ("GET", "") => Ok(Reply::json(
            200,
            json!({
            "Id": drive.list, "Title": drive.title, "EnableVersioning": drive.versioning,
            "EnableMinorVersions": false, "MajorVersionLimit": drive.version_limit }),
        )),
        ("POST" | "MERGE" | "PATCH", "") if merges || call.method != "POST" => {
            let body = call.object()?;
            if let Some(on) = body.get("EnableVersioning").and_then(Value::as_bool) {
                drive.versioning = on;
            }
            if let Some(limit) = body.get("MajorVersionLimit").and_then(Value::as_u64) {
                drive.version_limit = limit.clamp(1, 50_000) as usize;
            }
            Ok(Reply::empty(204))
        }
        _ => Err(Refused::not_found()),
    }
}

/// The Preservation Hold library shows itself once a hold has kept something.
fn hold_library(state: &State, rest: &str, call: &Call) -> Result<Reply, Refused> {
    if state.held.is_empty() || call.method != "GET" {
        return Err(Refused::not_found());
    }
    match rest {
        "" => Ok(Reply::json(
            200,
            json!({ "Title": "Preservation Hold Library",
            "ItemCount": state.held.len() }),
        )),
        "/items" => {
            let prefix = match call.query("$filter") {
                None => "",
                Some(filter) => filter
                    .strip_prefix("startswith(FileLeafRef,'")
                    .and_then(|rest| rest.strip_suffix("')"))
                    .ok_or_else(|| Refused::unsupported("The emulator knows startswith only."))?,
            };
            let value: Vec<Value> = state
                .held
                .iter()
                .enumerate()
                .map(|(n, copy)| json!({ "Id": n + 1, "FileLeafRef": held_name(copy) }))
                .filter(|item| {
                    item["FileLeafRef"]
                        .as_str()
                        .is_some_and(|n| n.starts_with(prefix))
                })
                .collect();
            Ok(Reply::json(200, json!({ "value": value })))
        }
        _ => Err(Refused::not_found()),
    }
}

/// A kept copy is named after the file, its item and the moment.
fn held_name(copy: &super::state::Held) -> String {
    let at = copy.version.at.format("%Y-%m-%dT%H-%M-%S");
    let (stem, extension) = match copy.name.rsplit_once('.') {
        Some((stem, extension)) => (stem, format!(".{extension}")),
        None => (copy.name.as_str(), String::new()),
    };
    format!("{stem}_{}{at}{extension}", copy.item)
}

fn render(entry: &Binned) -> Value {
    let top = entry.items.first();
    json!({
        "Id": entry.id,
        "Title": top.map(|item| item.name.clone()),
        "LeafName": top.map(|item| item.name.clone()),
        "DirName": entry.directory,
        "ItemState": entry.stage,
        "ItemType": if top.is_some_and(super::state::Item::is_folder) { 5 } else { 1 },
        "Size": entry.items.iter().map(super::state::Item::size).sum::<u64>().to_string(),
        "DeletedDate": stamp(entry.at),
    })
}

/// `'x')/rest` → `x`, `/rest`.
fn argument(text: &str) -> Result<(String, &str), Refused> {
    let text = text.strip_prefix("guid").unwrap_or(text);
    let inside = text
        .strip_prefix('\'')
        .and_then(|text| text.split_once("')"));
    let (value, rest) = inside.ok_or_else(Refused::not_found)?;
    Ok((value.to_owned(), rest))
}

/// The older envelope: `{"d": …}`, collections under `results`.
fn wrap(mut reply: Reply) -> Reply {
    if let Body::Json(value) = &mut reply.body {
        let inner = match value.get("value") {
            Some(list) => json!({ "results": list }),
            None => value.clone(),
        };
        *value = json!({ "d": inner });
    }
    reply
}

fn error(refused: &Refused, verbose: bool) -> Reply {
    let code = match refused.status {
        401 | 403 => "-2147024891, System.UnauthorizedAccessException",
        404 => "-2147024894, System.IO.FileNotFoundException",
        _ => "-1, Microsoft.SharePoint.Client.InvalidClientQueryException",
    };
    let body = json!({ "code": code, "message": { "lang": "en-US", "value": refused.message } });
    let key = if verbose { "error" } else { "odata.error" };
    Reply::json(refused.status, json!({ key: body }))
}

/// SharePoint numbers major version n as 512·n.
const VERSION_STEP: u32 = 512;
const HOLD_LIBRARY: &str = "preservation hold library";
