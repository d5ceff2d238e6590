//! The directory: people, groups within groups; and the site's own groups.

use super::reply::{Call, Refused, Reply};
use super::state::State;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Who is who.
#[derive(Default)]
pub(crate) struct Directory {
    /// Sign-in name and whether it is a guest, by object id.
    pub(crate) people: BTreeMap<String, (String, bool)>,
    /// Name and members' object ids, by object id.
    pub(crate) groups: BTreeMap<String, (String, Vec<String>)>,
    /// Sign-in names of those in the site's groups, by the groups' numbers.
    pub(crate) site_groups: BTreeMap<u32, Vec<String>>,
    /// Sign-in names that SharePoint has numbered.
    numbered: Vec<String>,
}

/// `/groups/{id}/members` and `/groups/{id}/transitiveMembers`.
pub(crate) fn group(state: &State, tail: &[String], call: &Call) -> Result<Reply, Refused> {
    let tail: Vec<&str> = tail.iter().map(String::as_str).collect();
    match (call.method.as_str(), tail.as_slice()) {
        ("GET", [id]) => {
            let known = state.directory.groups.get(*id).ok_or_else(missing)?;
            let value = json!({ "id": id, "displayName": known.0 });
            Ok(Reply::json(200, super::items::select(value, call)))
        }
        ("GET", [id, "members"]) => {
            let (_, members) = state.directory.groups.get(*id).ok_or_else(missing)?;
            let value: Vec<Value> = members.iter().map(|id| member(state, id)).collect();
            Ok(Reply::json(200, json!({ "value": value })))
        }
        ("GET", [id, "transitiveMembers"]) => {
            if !state.directory.groups.contains_key(*id) {
                return Err(missing());
            }
            let mut open = vec![(*id).to_owned()];
            let mut seen = BTreeSet::new();
            while let Some(group) = open.pop() {
                let members = state.directory.groups.get(&group);
                for member in members.into_iter().flat_map(|(_, members)| members) {
                    if seen.insert(member.clone()) {
                        open.push(member.clone());
                    }
                }
            }
            let value: Vec<Value> = seen.iter().map(|id| member(state, id)).collect();
            Ok(Reply::json(200, json!({ "value": value })))
        }
        _ => Err(Refused::unsupported(
            "The emulator does not know this operation.",
        )),
    }
}

/// `/users/{id}`, by object id or sign-in name; `None` when the directory knows nobody of that name.
pub(crate) fn person(state: &State, named: &str) -> Option<Value> {
    let known = state
        .directory
        .people
        .iter()
        .find(|(id, (name, _))| id.as_str() == named || name.eq_ignore_ascii_case(named));
    known.map(|(id, _)| member(state, id))
}

fn member(state: &State, id: &str) -> Value {
    if let Some((name, guest)) = state.directory.people.get(id) {
        return json!({
            "@odata.type": "#microsoft.graph.user",
            "id": id,
            "userPrincipalName": name,
            "userType": if *guest { "Guest" } else { "Member" },
        });
    }
    let group = state.directory.groups.get(id);
    json!({
        "@odata.type": "#microsoft.graph.group",
        "id": id,
        "displayName": group.map(|(name, _)| name.clone()),
    })
}

/// The number of a group of the site.
pub(crate) fn site_group_number(name: &str) -> u32 {
    match name {
        "Matters Owners" => 3,
        "Matters Visitors" => 4,
        "Matters Members" => 5,
        other => 100 + other.bytes().map(u32::from).sum::<u32>(),
    }
}

/// `sitegroups/getbyid(5)/users` of SharePoint REST.
pub(crate) fn site_group(state: &State, rest: &str) -> Result<Reply, Refused> {
    let (number, rest) = rest.split_once(')').ok_or_else(Refused::not_found)?;
    let number: u32 = number.parse().map_err(|_| Refused::not_found())?;
    if rest != "/users" {
        return Err(Refused::not_found());
    }
    let logins = state.directory.site_groups.get(&number);
    let value: Vec<Value> = logins
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(n, login)| {
            let group = login.starts_with("c:");
            json!({ "Id": n + 10, "LoginName": login, "PrincipalType": if group { 4 } else { 1 } })
        })
        .collect();
    Ok(Reply::json(200, json!({ "value": value })))
}

/// `web/ensureuser`: the number of somebody the directory knows.
pub(crate) fn ensure_user(state: &mut State, call: &Call) -> Result<Reply, Refused> {
    let body = call.object()?;
    let login = body.get("logonName").and_then(Value::as_str);
    let login = login.ok_or_else(|| Refused::bad("logonName is missing"))?;
    let name = login.rsplit('|').next().unwrap_or_default().to_owned();
    if person(state, &name).is_none() {
        return Err(Refused::not_found());
    }
    let numbered = &mut state.directory.numbered;
    let at = numbered.iter().position(|known| *known == name);
    let at = at.unwrap_or_else(|| {
        numbered.push(name);
        numbered.len() - 1
    });
    Ok(Reply::json(
        200,
        json!({ "Id": at + 10, "LoginName": login }),
    ))
}

/// `…/breakroleinheritance(…)` and `…/roleassignments/addroleassignment(…)` of a library.
pub(crate) fn roles(state: &mut State, root: &str, rest: &str) -> Result<Reply, Refused> {
    if let Some(arguments) = rest.strip_prefix("/breakroleinheritance(") {
        let keeps = arguments.contains("copyroleassignments=true");
        let root = state.item_mut(root)?;
        root.inherits = false;
        if !keeps {
            let of_site = |each: &super::state::Permission| {
                matches!(each.people.first(), Some(super::state::Identity::Group(_)))
            };
            root.permissions.retain(|each| !of_site(each));
        }
        return Ok(Reply::empty(200));
    }
    let arguments = rest
        .strip_prefix("/roleassignments/addroleassignment(principalid=")
        .and_then(|rest| rest.trim_end_matches(')').split_once(",roledefid="));
    let (principal, role) = arguments.ok_or_else(Refused::not_found)?;
    let name = principal.parse::<usize>().ok().and_then(|number| {
        state
            .directory
            .numbered
            .get(number.checked_sub(10)?)
            .cloned()
    });
    let name = name.ok_or_else(Refused::not_found)?;
    let role = match role {
        "1073741826" => "read",
        "1073741827" => "write",
        "1073741829" => "owner",
        _ => return Err(Refused::not_found()),
    };
    let id = state
        .people
        .get(&name)
        .cloned()
        .ok_or_else(Refused::not_found)?;
    let person = super::state::Identity::User { id, email: name };
    let permission = super::state::Permission {
        id: state.ids.guid(),
        roles: vec![role.to_owned()],
        link: None,
        people: vec![person.clone()],
        invited: None,
        expires: None,
    };
    let root = state.item_mut(root)?;
    match root
        .permissions
        .iter_mut()
        .find(|each| each.people.first() == Some(&person))
    {
        Some(known) => known.roles = permission.roles,
        None => root.permissions.push(permission),
    }
    Ok(Reply::empty(200))
}

fn missing() -> Refused {
    Refused::new(
        404,
        "Request_ResourceNotFound",
        "Resource does not exist or one of its queried reference-property objects are not present.",
    )
}
