//! driveItems: read, list, create, rename, move, delete; their JSON; conditional requests.

use super::address::{Place, check_name};
use super::clock::stamp;
use super::reply::{Call, Refused, Reply};
use super::state::{Binned, Conflict, Drive, Item, State};
use serde_json::{Map, Value, json};

/// Everything under an item's address.
pub(crate) fn item(state: &mut State, place: &Place, call: &Call) -> Result<Reply, Refused> {
    let tail: Vec<&str> = place.tail.iter().map(String::as_str).collect();
    match (call.method.as_str(), tail.as_slice()) {
        ("GET", []) => read(state, &place.item(state)?, call),
        ("PATCH", []) => amend(state, &place.item(state)?, call),
        ("PUT", []) => super::upload::commit(state, place, call),
        ("DELETE", []) => delete(state, &place.item(state)?, call),
        ("GET", ["children"]) => children(state, &place.item(state)?, call),
        ("POST", ["children"]) => create_folder(state, &place.item(state)?, call),
        ("POST", ["checkout" | "checkin" | "discardCheckout"]) => {
            checkout(state, &place.item(state)?, tail[0], call)
        }
        ("POST", ["permanentDelete"]) => permanent_delete(state, &place.item(state)?, call),
        ("GET" | "PUT", ["content"]) => super::content::content(state, place, call),
        ("POST", ["createUploadSession"]) => super::upload::create(state, place, call),
        (_, ["versions", rest @ ..]) => {
            super::versions::versions(state, &place.item(state)?, rest, call)
        }
        (_, ["permissions" | "createLink" | "invite", ..]) => {
            super::permissions::permissions(state, &place.item(state)?, &tail, call)
        }
        (_, ["retentionLabel"]) => super::labels::label(state, &place.item(state)?, call),
        (_, ["listItem", rest @ ..]) => {
            super::lists::list_item(state, &place.item(state)?, rest, call)
        }
        ("GET", [delta]) if delta.starts_with("delta") => {
            super::delta::delta(state, &place.item(state)?, delta, call)
        }
        (_, ["content" | "children" | "delta" | "permanentDelete" | "createUploadSession"]) => Err(
            Refused::new(405, "notAllowed", "The method is not allowed here."),
        ),
        _ => Err(Refused::unsupported(
            "The emulator does not know this operation.",
        )),
    }
}

fn read(state: &State, id: &str, call: &Call) -> Result<Reply, Refused> {
    let item = state.item(id)?;
    if let Some(known) = call.header("if-none-match")
        && matches_tag(known, item)
    {
        return Ok(Reply::empty(304));
    }
    let value = select(render(state, item, call), call);
    Ok(Reply::json(200, value).with("etag", item.etag()))
}

fn amend(state: &mut State, id: &str, call: &Call) -> Result<Reply, Refused> {
    precondition(state.item(id)?, call)?;
    let body = call.object()?;
    let item = state.item(id)?;
    let name = match body.get("name") {
        Some(Value::String(name)) => {
            check_name(name)?;
            name.clone()
        }
        Some(_) => return Err(Refused::bad("name is not a string")),
        None => item.name.clone(),
    };
    let parent = match body.get("parentReference").and_then(|p| p.get("id")) {
        Some(Value::String(parent)) => Some(parent.clone()),
        Some(_) => return Err(Refused::bad("parentReference.id is not a string")),
        None => item.parent.clone(),
    };
    if let Some(parent) = &parent {
        let folder = state.item(parent)?;
        if !folder.is_folder() || folder.drive != item.drive {
            return Err(Refused::bad("the new parent is not a folder of this drive"));
        }
        if parent == id || state.ancestors(parent).iter().any(|each| each == id) {
            return Err(Refused::bad("a folder cannot move into itself"));
        }
        if state
            .child(parent, &name)
            .is_some_and(|other| other.id != id)
        {
            return Err(Refused::conflict());
        }
    } else if name != item.name {
        return Err(Refused::bad("the root cannot be renamed"));
    }
    let item = state.item_mut(id)?;
    item.name = name;
    item.parent = parent;
    state.touch(id);
    state.log("FileMoved", id);
    let item = state.item(id)?;
    Ok(Reply::json(200, render(state, item, call)))
}

fn delete(state: &mut State, id: &str, call: &Call) -> Result<Reply, Refused> {
    deletable(state, id, call)?;
    let directory = state.directory(id);
    let items = state.take(id);
    let (entry, at) = (state.ids.guid(), state.now());
    state.bin.push(Binned {
        id: entry,
        stage: 1,
        items,
        directory,
        at,
    });
    Ok(Reply::empty(204))
}

/// Check-out keeps the versions as they were; whoever holds it, here the one application there is, may write.
fn checkout(state: &mut State, id: &str, action: &str, call: &Call) -> Result<Reply, Refused> {
    let item = state.item(id)?;
    if item.locked {
        return Err(locked());
    }
    let Some(versions) = item.versions.clone() else {
        return Err(Refused::bad("a folder is not checked out"));
    };
    match (action, item.checked_out.is_some()) {
        ("checkout", _) => {
            let item = state.item_mut(id)?;
            item.checked_out.get_or_insert(versions);
        }
        ("checkin", true) => {
            let body = call.object()?;
            let kind = body.get("checkInAs").and_then(Value::as_str);
            if !matches!(kind, None | Some("published" | "unspecified" | "")) {
                return Err(Refused::bad("checkInAs is not known"));
            }
            state.item_mut(id)?.checked_out = None;
        }
        // Checked in already: the same call a second time.
        ("checkin" | "discardCheckout", false) => {}
        _ => {
            let item = state.item_mut(id)?;
            item.versions = item.checked_out.take();
        }
    }
    state.touch(id);
    Ok(Reply::empty(204))
}

fn permanent_delete(state: &mut State, id: &str, call: &Call) -> Result<Reply, Refused> {
    deletable(state, id, call)?;
    state.take(id);
    Ok(Reply::empty(204))
}

fn deletable(state: &State, id: &str, call: &Call) -> Result<(), Refused> {
    let top = state.item(id)?;
    precondition(top, call)?;
    if top.parent.is_none() {
        return Err(Refused::denied("The root cannot be deleted."));
    }
    for each in state.subtree(id) {
        let item = state.item(&each)?;
        if item.locked {
            return Err(locked());
        }
        if super::labels::forbids_delete(state, item) {
            return Err(Refused::denied(
                "The retention label does not allow deletion.",
            ));
        }
    }
    Ok(())
}

fn children(state: &State, id: &str, call: &Call) -> Result<Reply, Refused> {
    if !state.item(id)?.is_folder() {
        return Err(Refused::bad("the item is not a folder"));
    }
    let skip: usize = match call.query("$skiptoken") {
        Some(token) => token
            .parse()
            .map_err(|_| Refused::bad("malformed skip token"))?,
        None => 0,
    };
    let top = page(state, call)?;
    let all = state.children(id);
    let value: Vec<Value> = all
        .iter()
        .skip(skip)
        .take(top)
        .map(|item| select(render(state, item, call), call))
        .collect();
    let mut body = json!({ "value": value });
    if skip + top < all.len() {
        let item = state.item(id)?;
        body["@odata.nextLink"] = json!(format!(
            "{}/v1.0/drives/{}/items/{id}/children?$top={top}&$skiptoken={}",
            state.settings.graph,
            item.drive,
            skip + top
        ));
    }
    Ok(Reply::json(200, body))
}

fn create_folder(state: &mut State, parent: &str, call: &Call) -> Result<Reply, Refused> {
    let folder = state.item(parent)?;
    if !folder.is_folder() {
        return Err(Refused::bad("the item is not a folder"));
    }
    let drive = folder.drive.clone();
    let body = call.object()?;
    if !body.get("folder").is_some_and(Value::is_object) {
        return Err(Refused::bad("only folders are created through children"));
    }
    let Some(name) = body.get("name").and_then(Value::as_str) else {
        return Err(Refused::bad("name is missing"));
    };
    check_name(name)?;
    let conflict = conflict(body.get(CONFLICT).and_then(Value::as_str), Conflict::Fail)?;
    let existing = state
        .child(parent, name)
        .map(|item| (item.id.clone(), item.is_folder()));
    let (status, id) = match (existing, conflict) {
        (None, _) => (201, state.add(&drive, Some(parent.to_owned()), name, None)),
        (Some(_), Conflict::Rename) => {
            let name = free_name(state, parent, name);
            (201, state.add(&drive, Some(parent.to_owned()), &name, None))
        }
        (Some((id, true)), Conflict::Replace) => (200, id),
        (Some(_), _) => return Err(Refused::conflict()),
    };
    Ok(Reply::json(status, render(state, state.item(&id)?, call)))
}

/// The item as Graph writes it.
pub(crate) fn render(state: &State, item: &Item, call: &Call) -> Value {
    let drive = state.drives.get(&item.drive);
    let by = json!({ "application": {
        "id": state.settings.client_id, "displayName": "KTA emulator client" } });
    let mut value = json!({
        "id": item.id,
        "name": item.name,
        "eTag": item.etag(),
        "cTag": item.ctag(),
        "size": item.size(),
        "createdDateTime": stamp(item.created),
        "lastModifiedDateTime": stamp(item.modified),
        "createdBy": by,
        "lastModifiedBy": by,
        "webUrl": web_url(state, item),
        "parentReference": parent_reference(state, item),
        "fileSystemInfo": {
            "createdDateTime": stamp(item.created),
            "lastModifiedDateTime": stamp(item.modified),
        },
    });
    match item.current() {
        Some(current) => {
            value["file"] = json!({
                "mimeType": item.mime,
                "hashes": { "quickXorHash": current.hash },
            });
            value["@microsoft.graph.downloadUrl"] =
                json!(super::content::presigned(state, item, current.major));
        }
        None => value["folder"] = json!({ "childCount": state.children(&item.id).len() }),
    }
    if item.parent.is_none() {
        value["root"] = json!({});
    }
    if !item.permissions.is_empty() {
        value["shared"] = json!({ "scope": "users" });
    }
    let asked = |option: &str, field: &str| {
        call.query(option)
            .is_some_and(|list| list.split([',', '(']).any(|name| name.trim() == field))
    };
    if asked("$select", "sharepointIds") {
        value["sharepointIds"] = json!({
            "listId": drive.map(|drive| drive.list.clone()),
            "listItemId": item.list_item.to_string(),
            "listItemUniqueId": item.unique_id,
            "siteUrl": format!("{}{}", state.settings.sharepoint, state.site.path),
            "tenantId": state.settings.tenant,
        });
    }
    if asked("$expand", "listItem") {
        value["listItem"] = super::lists::render_list_item(state, item);
    }
    if asked("$expand", "permissions") || asked("$select", "permissions") {
        value["permissions"] = json!(super::permissions::effective(state, item));
    }
    if asked("$expand", "children") {
        let children = state.children(&item.id);
        value["children"] = children
            .into_iter()
            .map(|child| render(state, child, call))
            .collect();
    }
    value
}

fn parent_reference(state: &State, item: &Item) -> Value {
    let mut reference = json!({
        "driveId": item.drive,
        "driveType": "documentLibrary",
        "siteId": state.site.id,
    });
    if let Some(parent) = item
        .parent
        .as_ref()
        .and_then(|parent| state.items.get(parent))
    {
        let mut path = format!("/drives/{}/root:", item.drive);
        for each in state.ancestors(&item.id).iter().skip(1) {
            if let Some(folder) = state.items.get(each) {
                path.push('/');
                path.push_str(&folder.name);
            }
        }
        reference["id"] = json!(parent.id);
        reference["name"] = json!(parent.name);
        reference["path"] = json!(path);
    }
    reference
}

fn web_url(state: &State, item: &Item) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let mut url = state.settings.sharepoint.clone();
    let directory = state.directory(&item.id);
    let leaf = item.parent.is_some().then_some(item.name.as_str());
    for part in directory.split('/').chain(leaf) {
        url.push('/');
        url.push_str(&utf8_percent_encode(part, NON_ALPHANUMERIC).to_string());
    }
    url
}

/// A drive as Graph writes it.
pub(crate) fn render_drive(state: &State, drive: &Drive) -> Value {
    json!({
        "id": drive.id,
        "name": drive.title,
        "driveType": if drive.personal { "business" } else { "documentLibrary" },
        "createdDateTime": stamp(drive.created),
        "webUrl": format!("{}{}/{}", state.settings.sharepoint, state.site.path,
            drive.title.replace(' ', "%20")),
        "quota": {
            "total": state.settings.quota,
            "used": state.stored(),
            "remaining": state.settings.quota.saturating_sub(state.stored()),
            "state": "normal",
        },
    })
}

/// Keeps what `$select` names, and the id.
pub(crate) fn select(value: Value, call: &Call) -> Value {
    let Some(list) = call.query("$select") else {
        return value;
    };
    let wanted: Vec<&str> = list.split(',').map(str::trim).collect();
    match value {
        Value::Object(object) => object
            .into_iter()
            .filter(|(key, _)| key == "id" || wanted.contains(&key.as_str()))
            .collect::<Map<_, _>>()
            .into(),
        other => other,
    }
}

/// `If-Match` against eTag and cTag; a record lock or check-out answers 423.
pub(crate) fn precondition(item: &Item, call: &Call) -> Result<(), Refused> {
    if let Some(wanted) = call.header("if-match") {
        let quoted = wanted == "*" || (wanted.starts_with('"') && wanted.ends_with('"'));
        if !quoted {
            return Err(Refused::bad("entity tags are quoted").inner("malformedEntityTag"));
        }
        if !matches_tag(wanted, item) {
            return Err(
                Refused::new(412, "resourceModified", "The resource has changed.")
                    .inner("entityTagDoesNotMatch"),
            );
        }
    }
    if item.locked { Err(locked()) } else { Ok(()) }
}

fn matches_tag(wanted: &str, item: &Item) -> bool {
    wanted == "*" || wanted == item.etag() || wanted == item.ctag()
}

pub(crate) fn locked() -> Refused {
    Refused::new(423, "resourceLocked", "The resource is locked.")
}

/// `@microsoft.graph.conflictBehavior`, from body or query.
pub(crate) fn conflict(value: Option<&str>, default: Conflict) -> Result<Conflict, Refused> {
    match value {
        None => Ok(default),
        Some("fail") => Ok(Conflict::Fail),
        Some("rename") => Ok(Conflict::Rename),
        Some("replace") => Ok(Conflict::Replace),
        Some(_) => Err(Refused::bad("unknown conflict behaviour")),
    }
}

/// `name 1.pdf`, `name 2.pdf` … whichever is free.
pub(crate) fn free_name(state: &State, parent: &str, name: &str) -> String {
    let taken = state.taken_names(parent);
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, format!(".{extension}")),
        _ => (name, String::new()),
    };
    (1u32..)
        .map(|n| format!("{stem} {n}{extension}"))
        .find(|name| !taken.contains(&name.to_lowercase()))
        .unwrap_or_else(|| name.to_owned())
}

/// `$top`, within 1 and 1000.
pub(crate) fn page(state: &State, call: &Call) -> Result<usize, Refused> {
    match call.query("$top") {
        None => Ok(state.settings.page_size),
        Some(top) => match top.parse() {
            Ok(top @ 1..=1000) => Ok(top),
            _ => Err(Refused::bad("$top is out of range")),
        },
    }
}

pub(crate) const CONFLICT: &str = "@microsoft.graph.conflictBehavior";
