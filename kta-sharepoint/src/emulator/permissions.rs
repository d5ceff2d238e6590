//! Sharing: permissions of an item, links, invitations, inheritance.

use super::clock::stamp;
use super::items::precondition;
use super::reply::{Call, Refused, Reply};
use super::state::{Identity, Item, Link, Permission, State};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

/// `…/permissions…`, `…/createLink`, `…/invite`.
pub(crate) fn permissions(
    state: &mut State,
    id: &str,
    tail: &[&str],
    call: &Call,
) -> Result<Reply, Refused> {
    match (call.method.as_str(), tail) {
        ("GET", ["permissions"]) => Ok(Reply::json(
            200,
            json!({ "value": effective(state, state.item(id)?) }),
        )),
        ("GET", ["permissions", permission]) => {
            let all = effective(state, state.item(id)?);
            let found = all
                .into_iter()
                .find(|each| each["id"].as_str() == Some(permission));
            Ok(Reply::json(200, found.ok_or_else(Refused::not_found)?))
        }
        ("PATCH", ["permissions", permission]) => amend(state, id, permission, call),
        ("DELETE", ["permissions", permission]) => revoke(state, id, permission, call),
        ("POST", ["createLink"]) => create_link(state, id, call),
        ("POST", ["invite"]) => invite(state, id, call),
        _ => Err(Refused::new(
            405,
            "notAllowed",
            "The method is not allowed here.",
        )),
    }
}

/// `POST /shares/{token}/permission/grant`: more people for an existing link.
pub(crate) fn grant(state: &mut State, token: &str, call: &Call) -> Result<Reply, Refused> {
    let url = token
        .strip_prefix("u!")
        .and_then(|word| URL_SAFE_NO_PAD.decode(word).ok())
        .and_then(|raw| String::from_utf8(raw).ok())
        .ok_or_else(Refused::not_found)?;
    let people = recipients(state, &call.object()?)?;
    let holder = state.items.values().find_map(|item| {
        let of_link = |p: &&Permission| p.link.as_ref().is_some_and(|link| link.url == url);
        item.permissions
            .iter()
            .find(of_link)
            .map(|p| (item.id.clone(), p.id.clone()))
    });
    let (id, permission) = holder.ok_or_else(Refused::not_found)?;
    let item = state.item_mut(&id)?;
    if let Some(permission) = item
        .permissions
        .iter_mut()
        .find(|each| each.id == permission)
    {
        add_people(&mut permission.people, people);
    }
    state.touch(&id);
    let value = effective(state, state.item(&id)?);
    let value: Vec<Value> = value
        .into_iter()
        .filter(|each| each["id"] == permission)
        .collect();
    Ok(Reply::json(200, json!({ "value": value })))
}

/// The item's own permissions and, unless inheritance is broken, those above it.
pub(crate) fn effective(state: &State, item: &Item) -> Vec<Value> {
    let mut found: Vec<Value> = item.permissions.iter().map(|p| render(p, None)).collect();
    let mut inherits = item.inherits;
    let mut next = item.parent.clone();
    while let Some(parent) = next
        .filter(|_| inherits)
        .and_then(|id| state.items.get(&id))
    {
        let from = json!({ "driveId": parent.drive, "id": parent.id, "name": parent.name });
        found.extend(parent.permissions.iter().map(|p| render(p, Some(&from))));
        inherits = parent.inherits;
        next = parent.parent.clone();
    }
    found
}

fn create_link(state: &mut State, id: &str, call: &Call) -> Result<Reply, Refused> {
    precondition(state.item(id)?, call)?;
    let body = call.object()?;
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let kind = text("type").unwrap_or("view").to_owned();
    let scope = text("scope").unwrap_or("organization").to_owned();
    let role = match kind.as_str() {
        "view" | "blocksDownload" | "embed" => "read",
        "edit" | "review" => "write",
        _ => return Err(Refused::bad("unknown link type")),
    };
    match scope.as_str() {
        "anonymous" if !state.settings.anonymous_links => {
            return Err(Refused::denied(
                "Anonymous links are turned off for this site.",
            ));
        }
        "anonymous" | "organization" | "users" => {}
        _ => return Err(Refused::bad("unknown link scope")),
    }
    if text("password").is_some_and(|word| !word.is_empty()) {
        return Err(Refused::bad("passwords are for personal drives").inner("invalidPassword"));
    }
    let expires = expiry(state, &body)?;
    let people = match body.get("recipients") {
        None | Some(Value::Null) => Vec::new(),
        Some(_) => recipients(state, &body)?,
    };
    let existing = state.item(id)?.permissions.iter().find(|each| {
        each.link
            .as_ref()
            .is_some_and(|link| link.kind == kind && link.scope == scope)
    });
    if let Some(permission) = existing.map(|each| each.id.clone()) {
        let item = state.item_mut(id)?;
        let found = item
            .permissions
            .iter_mut()
            .find(|each| each.id == permission);
        let found = found.ok_or_else(Refused::not_found)?;
        add_people(&mut found.people, people);
        return Ok(Reply::json(200, render(found, None)));
    }
    let word = state.ids.secret("E");
    let link = Link {
        prevents_download: kind == "blocksDownload",
        url: format!(
            "{}/:b:/s/{}/{word}",
            state.settings.sharepoint, state.site.name
        ),
        kind,
        scope,
    };
    let permission = Permission {
        id: state.ids.guid(),
        roles: vec![role.to_owned()],
        link: Some(link),
        people,
        invited: None,
        expires,
    };
    let value = render(&permission, None);
    share(state, id, vec![permission], &body)?;
    Ok(Reply::json(201, value))
}

/// A link for anyone, made in the browser.
pub(crate) fn link_anyone(state: &mut State, id: &str) -> Option<String> {
    let (permission, word) = (state.ids.guid(), state.ids.secret("E"));
    let url = format!(
        "{}/:b:/s/{}/{word}",
        state.settings.sharepoint, state.site.name
    );
    let made = Permission {
        id: permission.clone(),
        roles: vec!["read".to_owned()],
        link: Some(Link {
            kind: "view".to_owned(),
            scope: "anonymous".to_owned(),
            url,
            prevents_download: false,
        }),
        people: Vec::new(),
        invited: None,
        expires: None,
    };
    state.items.get_mut(id)?.permissions.push(made);
    state.touch(id);
    state.log("AnonymousLinkCreated", id);
    Some(permission)
}

fn invite(state: &mut State, id: &str, call: &Call) -> Result<Reply, Refused> {
    precondition(state.item(id)?, call)?;
    let body = call.object()?;
    let flag = |key: &str| body.get(key).and_then(Value::as_bool).unwrap_or(false);
    if !flag("requireSignIn") && !flag("sendInvitation") {
        return Err(Refused::bad(
            "one of requireSignIn and sendInvitation must be true",
        ));
    }
    let roles: Vec<String> = body
        .get("roles")
        .and_then(Value::as_array)
        .map(|roles| {
            roles
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default();
    check_roles(&roles)?;
    let expires = expiry(state, &body)?;
    let people = recipients(state, &body)?;
    let mut values = Vec::new();
    let mut fresh = Vec::new();
    for person in people {
        let item = state.item_mut(id)?;
        let existing = item
            .permissions
            .iter_mut()
            .find(|each| each.link.is_none() && each.people.first() == Some(&person));
        if let Some(existing) = existing {
            existing.roles.clone_from(&roles);
            existing.expires = expires.or(existing.expires);
            values.push(render(existing, None));
            continue;
        }
        let guest = person
            .email()
            .filter(|email| !email.ends_with(TENANT_DOMAIN));
        let permission = Permission {
            id: state.ids.guid(),
            roles: roles.clone(),
            link: None,
            invited: guest.map(str::to_owned),
            people: vec![person],
            expires,
        };
        values.push(render(&permission, None));
        fresh.push(permission);
    }
    share(state, id, fresh, &body)?;
    Ok(Reply::json(200, json!({ "value": values })))
}

/// Adds permissions; without `retainInheritedPermissions` the first share cuts inheritance.
fn share(
    state: &mut State,
    id: &str,
    permissions: Vec<Permission>,
    body: &Map<String, Value>,
) -> Result<(), Refused> {
    let retain = body
        .get("retainInheritedPermissions")
        .and_then(Value::as_bool);
    let item = state.item_mut(id)?;
    if retain == Some(false) && item.permissions.is_empty() && item.parent.is_some() {
        item.inherits = false;
    }
    item.permissions.extend(permissions);
    state.touch(id);
    state.log("SharingSet", id);
    Ok(())
}

fn amend(state: &mut State, id: &str, permission: &str, call: &Call) -> Result<Reply, Refused> {
    let body = call.object()?;
    let roles = match body.get("roles") {
        Some(Value::Array(roles)) => {
            let roles: Vec<String> = roles
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            check_roles(&roles)?;
            Some(roles)
        }
        Some(_) => return Err(Refused::bad("roles is not a list")),
        None => None,
    };
    let expires = match body.get("expirationDateTime") {
        Some(Value::Null) => Some(None),
        Some(_) => Some(expiry(state, &body)?),
        None => None,
    };
    own(state, id, permission)?;
    let item = state.item_mut(id)?;
    let found = item
        .permissions
        .iter_mut()
        .find(|each| each.id == permission);
    let found = found.ok_or_else(Refused::not_found)?;
    if let Some(roles) = roles {
        found.roles = roles;
    }
    if let Some(expires) = expires {
        found.expires = expires;
    }
    let value = render(found, None);
    state.touch(id);
    Ok(Reply::json(200, value))
}

fn revoke(state: &mut State, id: &str, permission: &str, call: &Call) -> Result<Reply, Refused> {
    precondition(state.item(id)?, call)?;
    own(state, id, permission)?;
    state
        .item_mut(id)?
        .permissions
        .retain(|each| each.id != permission);
    state.touch(id);
    state.log("SharingRevoked", id);
    Ok(Reply::empty(204))
}

/// An inherited permission is changed where it is set, not on the child.
fn own(state: &State, id: &str, permission: &str) -> Result<(), Refused> {
    let item = state.item(id)?;
    if item.permissions.iter().any(|each| each.id == permission) {
        return Ok(());
    }
    let inherited = effective(state, item)
        .iter()
        .any(|each| each["id"].as_str() == Some(permission));
    if inherited {
        return Err(Refused::new(
            403,
            "notAllowed",
            "The permission is inherited.",
        ));
    }
    Err(Refused::not_found())
}

fn check_roles(roles: &[String]) -> Result<(), Refused> {
    let known = ["read", "write", "owner", "sp.full control"];
    if roles.is_empty() || roles.iter().any(|role| !known.contains(&role.as_str())) {
        return Err(Refused::bad("roles are read, write or owner"));
    }
    Ok(())
}

fn expiry(state: &State, body: &Map<String, Value>) -> Result<Option<DateTime<Utc>>, Refused> {
    let at = match body.get("expirationDateTime") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(at)) if at.is_empty() => return Ok(None),
        Some(Value::String(at)) => DateTime::parse_from_rfc3339(at)
            .map_err(|_| Refused::bad("expirationDateTime is not a date"))?
            .with_timezone(&Utc),
        Some(_) => return Err(Refused::bad("expirationDateTime is not a date")),
    };
    if at <= state.now() {
        return Err(Refused::bad("expirationDateTime is in the past"));
    }
    Ok(Some(at))
}

fn recipients(state: &mut State, body: &Map<String, Value>) -> Result<Vec<Identity>, Refused> {
    let list = body.get("recipients").and_then(Value::as_array);
    let list = list.filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| Refused::bad("recipients are missing"))?;
    let mut people = Vec::new();
    for each in list {
        let text = |key: &str| {
            each.get(key)
                .and_then(Value::as_str)
                .filter(|v| !v.is_empty())
        };
        let person = match (text("email"), text("objectId"), text("alias")) {
            (Some(email), ..) if email.contains('@') => {
                let email = email.to_lowercase();
                let known = state.people.get(&email).cloned();
                let id = known.unwrap_or_else(|| state.ids.guid());
                state.people.insert(email.clone(), id.clone());
                Identity::User { id, email }
            }
            (None, Some(id), _) if state.directory.groups.contains_key(id) => {
                Identity::Directory(id.to_owned())
            }
            (None, Some(id), _) => {
                let known = state.people.iter().find(|(_, known)| known.as_str() == id);
                let email = known.map(|(email, _)| email.clone()).unwrap_or_default();
                Identity::User {
                    id: id.to_owned(),
                    email,
                }
            }
            (None, None, Some(alias)) => Identity::Group(alias.to_owned()),
            _ => return Err(Refused::bad("a recipient is malformed").inner("invalidRecipient")),
        };
        people.push(person);
    }
    Ok(people)
}

fn add_people(people: &mut Vec<Identity>, more: Vec<Identity>) {
    for person in more {
        if !people.contains(&person) {
            people.push(person);
        }
    }
}

fn render(permission: &Permission, inherited: Option<&Value>) -> Value {
    let mut value = json!({ "id": permission.id, "roles": permission.roles });
    if let Some(link) = &permission.link {
        value["link"] = json!({
            "type": link.kind,
            "scope": link.scope,
            "webUrl": link.url,
            "preventsDownload": link.prevents_download,
        });
        value["hasPassword"] = json!(false);
        value["shareId"] = json!(format!("u!{}", URL_SAFE_NO_PAD.encode(&link.url)));
        let people: Vec<Value> = permission.people.iter().map(identity).collect();
        value["grantedToIdentitiesV2"] = json!(people);
    } else if let Some(person) = permission.people.first() {
        value["grantedToV2"] = identity(person);
    }
    if let Some(email) = &permission.invited {
        value["invitation"] = json!({ "email": email, "signInRequired": true });
    }
    if let Some(expires) = permission.expires {
        value["expirationDateTime"] = json!(stamp(expires));
    }
    if let Some(from) = inherited {
        value["inheritedFrom"] = from.clone();
    }
    value
}

fn identity(person: &Identity) -> Value {
    match person {
        Identity::Directory(id) => json!({ "group": { "id": id, "displayName": "group" } }),
        Identity::Group(name) => json!({ "siteGroup": {
            "id": super::directory::site_group_number(name).to_string(), "displayName": name } }),
        Identity::User { id, email } => json!({
            "user": { "id": id, "displayName": email, "email": email },
            "siteUser": { "id": id, "displayName": email, "email": email,
                "loginName": format!("i:0#.f|membership|{email}") },
        }),
    }
}

/// Addresses at this domain belong to the tenant; others are guests.
pub(crate) const TENANT_DOMAIN: &str = "@firm.example";
