//! Libraries as lists: columns, list items, field values.

use super::items::{render_drive, select};
use super::reply::{Call, Refused, Reply};
use super::state::{Drive, Item, State};
use super::{clock::stamp, items::page};
use serde_json::{Map, Value, json};

/// `GET` and `POST /sites/{site}/lists`.
pub(crate) fn lists(state: &mut State, call: &Call) -> Result<Reply, Refused> {
    match call.method.as_str() {
        "GET" => {
            let value: Vec<Value> = state
                .drives
                .values()
                .map(|drive| select(render(state, drive, call), call))
                .collect();
            Ok(Reply::json(200, json!({ "value": value })))
        }
        "POST" => create(state, call),
        _ => Err(Refused::new(
            405,
            "notAllowed",
            "The method is not allowed here.",
        )),
    }
}

/// Everything under `/lists/{list}`.
pub(crate) fn list(
    state: &mut State,
    drive: &str,
    tail: &[String],
    call: &Call,
) -> Result<Reply, Refused> {
    let tail: Vec<&str> = tail.iter().map(String::as_str).collect();
    match (call.method.as_str(), tail.as_slice()) {
        ("GET", []) => {
            let drive = state.drive(drive)?;
            Ok(Reply::json(200, select(render(state, drive, call), call)))
        }
        ("GET", ["columns"]) => Ok(Reply::json(
            200,
            json!({ "value": state.drive(drive)?.columns }),
        )),
        ("POST", ["columns"]) => {
            let column = column(&Value::Object(call.object()?), state.ids.guid())?;
            let known = state.drives.get_mut(drive).ok_or_else(Refused::not_found)?;
            if known
                .columns
                .iter()
                .any(|each| each["name"] == column["name"])
            {
                return Err(Refused::conflict());
            }
            known.columns.push(column.clone());
            Ok(Reply::json(201, column))
        }
        ("GET", ["items"]) => items(state, drive, call),
        (_, ["items", number, rest @ ..]) => {
            let found = state.items.values().find(|item| {
                item.drive == drive
                    && item.list_item.to_string() == *number
                    && item.parent.is_some()
            });
            let id = found
                .map(|item| item.id.clone())
                .ok_or_else(Refused::not_found)?;
            list_item(state, &id, rest, call)
        }
        _ => Err(Refused::unsupported(
            "The emulator does not know this operation.",
        )),
    }
}

/// `…/listItem` and `…/listItem/fields`.
pub(crate) fn list_item(
    state: &mut State,
    id: &str,
    tail: &[&str],
    call: &Call,
) -> Result<Reply, Refused> {
    match (call.method.as_str(), tail) {
        ("GET", []) => Ok(Reply::json(200, render_list_item(state, state.item(id)?))),
        ("GET", ["fields"]) => Ok(Reply::json(200, fields(state.item(id)?))),
        ("PATCH", ["fields"]) => {
            super::items::precondition(state.item(id)?, call)?;
            let body = call.object()?;
            let drive = state.drive(&state.item(id)?.drive)?;
            for name in body.keys() {
                let known = drive
                    .columns
                    .iter()
                    .any(|column| column["name"].as_str() == Some(name));
                if !known {
                    return Err(Refused::bad("a field is not recognized").inner("invalidField"));
                }
            }
            state.item_mut(id)?.fields.extend(body);
            state.touch(id);
            Ok(Reply::json(200, fields(state.item(id)?)))
        }
        _ => Err(Refused::new(
            405,
            "notAllowed",
            "The method is not allowed here.",
        )),
    }
}

/// A listItem with its fields.
pub(crate) fn render_list_item(state: &State, item: &Item) -> Value {
    json!({
        "id": item.list_item.to_string(),
        "eTag": item.etag(),
        "createdDateTime": stamp(item.created),
        "lastModifiedDateTime": stamp(item.modified),
        "contentType": { "name": if item.is_folder() { "Folder" } else { "Document" } },
        "parentReference": { "siteId": state.site.id },
        "fields": fields(item),
    })
}

fn fields(item: &Item) -> Value {
    let mut fields = item.fields.clone();
    fields.insert("id".to_owned(), json!(item.list_item.to_string()));
    fields.insert("FileLeafRef".to_owned(), json!(item.name));
    fields.insert("@odata.etag".to_owned(), json!(item.etag()));
    Value::Object(fields)
}

fn items(state: &State, drive: &str, call: &Call) -> Result<Reply, Refused> {
    if call.query("$filter").is_some() {
        return Err(Refused::unsupported(
            "The emulator does not filter list items.",
        ));
    }
    let skip: usize = match call.query("$skiptoken") {
        Some(token) => token
            .parse()
            .map_err(|_| Refused::bad("malformed skip token"))?,
        None => 0,
    };
    let top = page(state, call)?;
    let mut all: Vec<&Item> = state
        .items
        .values()
        .filter(|item| item.drive == drive && item.parent.is_some())
        .collect();
    all.sort_by_key(|item| item.list_item);
    let value: Vec<Value> = all
        .iter()
        .skip(skip)
        .take(top)
        .map(|item| render_list_item(state, item))
        .collect();
    let mut body = json!({ "value": value });
    if skip + top < all.len() {
        body["@odata.nextLink"] = json!(format!(
            "{}/v1.0/sites/{}/lists/{}/items?$top={top}&$skiptoken={}",
            state.settings.graph,
            state.site.id,
            state.drive(drive)?.list,
            skip + top
        ));
    }
    Ok(Reply::json(200, body))
}

fn create(state: &mut State, call: &Call) -> Result<Reply, Refused> {
    let body = call.object()?;
    let title = body.get("displayName").and_then(Value::as_str);
    let title = title
        .ok_or_else(|| Refused::bad("displayName is missing"))?
        .to_owned();
    super::address::check_name(&title)?;
    let template = body
        .get("list")
        .and_then(|list| list.get("template"))
        .and_then(Value::as_str);
    if template != Some("documentLibrary") {
        return Err(Refused::unsupported(
            "The emulator makes document libraries only.",
        ));
    }
    if state
        .drives
        .values()
        .any(|drive| drive.title.eq_ignore_ascii_case(&title))
    {
        return Err(Refused::conflict());
    }
    let mut columns = Vec::new();
    for each in body
        .get("columns")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        columns.push(column(each, state.ids.guid())?);
    }
    let id = add_drive(state, &title);
    let drive = state.drives.get_mut(&id).ok_or_else(Refused::not_found)?;
    drive.columns.extend(columns);
    Ok(Reply::json(201, render(state, state.drive(&id)?, call)))
}

/// Makes a library with the columns every library has.
pub(crate) fn add_drive(state: &mut State, title: &str) -> String {
    let id = state.ids.drive();
    let (list, created) = (state.ids.guid(), state.now());
    let number = state.drives.len();
    let title_column = json!({ "id": state.ids.guid(), "name": "Title", "displayName": "Title",
        "text": {}, "indexed": false, "hidden": false, "required": false });
    state.drives.insert(
        id.clone(),
        Drive {
            id: id.clone(),
            list,
            title: title.to_owned(),
            root: String::new(),
            created,
            number,
            columns: vec![title_column],
            versioning: true,
            personal: false,
            version_limit: 500,
            next_list_item: 0,
        },
    );
    let root = state.add(&id, None, "root", None);
    if let Some(drive) = state.drives.get_mut(&id) {
        drive.root.clone_from(&root);
        drive.next_list_item = 0;
    }
    for (group, role) in [("Matters Owners", "owner"), ("Matters Members", "write")] {
        let permission = super::state::Permission {
            id: state.ids.guid(),
            roles: vec![role.to_owned()],
            link: None,
            people: vec![super::state::Identity::Group(group.to_owned())],
            invited: None,
            expires: None,
        };
        if let Some(root) = state.items.get_mut(&root) {
            root.permissions.push(permission);
        }
    }
    id
}

fn column(body: &Value, id: String) -> Result<Value, Refused> {
    let Value::Object(body) = body else {
        return Err(Refused::bad("a column is not an object"));
    };
    let name = body
        .get("name")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Refused::bad("a column has no name"))?;
    let mut column: Map<String, Value> = body.clone();
    column.insert("id".to_owned(), json!(id));
    column.entry("displayName").or_insert_with(|| json!(name));
    for flag in ["indexed", "hidden", "required", "enforceUniqueValues"] {
        column.entry(flag).or_insert(json!(false));
    }
    Ok(Value::Object(column))
}

fn render(state: &State, drive: &Drive, call: &Call) -> Value {
    let mut value = json!({
        "id": drive.list,
        "name": drive.title,
        "displayName": drive.title,
        "createdDateTime": stamp(drive.created),
        "webUrl": format!("{}{}/{}", state.settings.sharepoint, state.site.path,
            drive.title.replace(' ', "%20")),
        "list": { "template": "documentLibrary", "contentTypesEnabled": false, "hidden": false },
    });
    let expand = call.query("$expand").unwrap_or_default();
    if expand.contains("drive") {
        value["drive"] = render_drive(state, drive);
    }
    if expand.contains("columns") {
        value["columns"] = json!(drive.columns);
    }
    value
}
