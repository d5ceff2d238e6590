//! Versions through Graph: list, read, restore. Graph deletes none; SharePoint REST does.

use super::clock::stamp;
use super::items::{locked, precondition};
use super::reply::{Call, Refused, Reply};
use super::state::{Binned, Held, Hold, State, Version};
use serde_json::{Value, json};

/// `…/versions…`.
pub(crate) fn versions(
    state: &mut State,
    id: &str,
    tail: &[&str],
    call: &Call,
) -> Result<Reply, Refused> {
    let item = state.item(id)?;
    let Some(all) = item.versions.as_ref() else {
        return Err(Refused::bad("a folder has no versions"));
    };
    match (call.method.as_str(), tail) {
        ("GET", []) => {
            let value: Vec<Value> = all.iter().rev().map(|v| render(state, v)).collect();
            Ok(Reply::json(200, json!({ "value": value })))
        }
        ("GET", [version]) => {
            let version = find(all, version).ok_or_else(Refused::not_found)?;
            Ok(Reply::json(200, render(state, version)))
        }
        ("GET", [version, "content"]) => {
            let version = find(all, version).ok_or_else(Refused::not_found)?;
            if all.last().is_some_and(|last| last.major == version.major) {
                return Err(Refused::bad(
                    "You cannot get the content of the current version.",
                ));
            }
            Ok(Reply::found(super::content::presigned(
                state,
                item,
                version.major,
            )))
        }
        ("POST", [version, "restoreVersion"]) => {
            precondition(item, call)?;
            let bytes = find(all, version)
                .ok_or_else(Refused::not_found)?
                .bytes
                .clone();
            state.overwrite(id, bytes)?;
            Ok(Reply::empty(204))
        }
        _ => Err(Refused::new(
            405,
            "notAllowed",
            "The method is not allowed here.",
        )),
    }
}

fn find<'a>(all: &'a [Version], id: &str) -> Option<&'a Version> {
    all.iter()
        .find(|version| format!("{}.0", version.major) == id)
}

fn render(state: &State, version: &Version) -> Value {
    json!({
        "id": format!("{}.0", version.major),
        "size": version.bytes.len(),
        "lastModifiedDateTime": stamp(version.at),
        "lastModifiedBy": { "application": { "id": state.settings.client_id } },
        "publication": { "level": "published", "versionId": format!("{}.0", version.major) },
    })
}

/// What SharePoint REST does with earlier versions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drop {
    All,
    One(u32),
    RecycleAll,
}

/// Deletes earlier versions, never the current one; a hold keeps its copies.
pub(crate) fn drop_versions(state: &mut State, id: &str, which: Drop) -> Result<(), Refused> {
    let item = state.item(id)?;
    if item.locked || super::labels::forbids_delete(state, item) {
        return Err(locked());
    }
    let directory = state.directory(id);
    let holding = matches!(state.hold, Hold::On);
    let item = state.item_mut(id)?;
    let Some(all) = item.versions.as_mut() else {
        return Err(Refused::not_found());
    };
    let current = all.last().map(|version| version.major);
    let chosen = |version: &Version| {
        Some(version.major) != current
            && match which {
                Drop::One(major) => version.major == major,
                Drop::All | Drop::RecycleAll => true,
            }
    };
    if let Drop::One(major) = which
        && (current == Some(major) || !all.iter().any(|version| version.major == major))
    {
        return Err(Refused::bad("no earlier version has this id"));
    }
    let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(all).into_iter().partition(chosen);
    *all = kept;
    let copy = item.clone();
    for version in gone {
        if holding {
            let (item, name) = (copy.id.clone(), copy.name.clone());
            state.held.push(Held {
                item,
                name,
                version: version.clone(),
            });
        }
        if which == Drop::RecycleAll {
            let mut item = copy.clone();
            item.versions = Some(vec![version]);
            let (id, at) = (state.ids.guid(), state.now());
            let directory = directory.clone();
            state.bin.push(Binned {
                id,
                stage: 1,
                items: vec![item],
                directory,
                at,
            });
        }
    }
    state.touch(id);
    Ok(())
}
