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

fn missing() -> Refused {
    Refused::new(
        404,
        "Request_ResourceNotFound",
        "Resource does not exist or one of its queried reference-property objects are not present.",
    )
}
