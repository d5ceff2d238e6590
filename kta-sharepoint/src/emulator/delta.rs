//! The delta feed: every item once, then what changed since a token; old tokens are answered 410.

use super::items::{page, render};
use super::reply::{Call, Refused, Reply};
use super::state::State;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// `GET …/delta`, `delta()`, `delta(token='…')`, `delta?token=…`.
///
/// Changes are numbered; a token is the last number seen. A page ends at a number, so an item that
/// changes while a scan runs simply comes again, later, as the vendor says it may. What was deleted
/// before a full enumeration began is not told in it.
pub(crate) fn delta(state: &State, id: &str, segment: &str, call: &Call) -> Result<Reply, Refused> {
    let item = state.item(id)?;
    let token = call
        .query("token")
        .or_else(|| call.query("$skiptoken"))
        .map(str::to_owned);
    let token = token.or_else(|| argument(segment));
    let now = state.visible();
    let (since, buried_since) = match token.as_deref() {
        None | Some("") => (0, now),
        Some("latest") => {
            return Ok(Reply::json(
                200,
                json!({
            "value": [], "@odata.deltaLink": link(state, &item.drive, id, [now, now]) }),
            ));
        }
        Some(token) => match read_token(token) {
            Some([era, since, buried]) if era == state.delta_era && since <= now => {
                (since, since.max(buried))
            }
            _ => return Err(gone(state, &item.drive, id)),
        },
    };
    let scope: BTreeSet<String> = state.subtree(id).into_iter().collect();
    let whole = item.parent.is_none();
    let mut changes: Vec<(u64, &str)> = state
        .items
        .values()
        .filter(|each| scope.contains(&each.id) && each.sequence > since && each.sequence <= now)
        .map(|each| (each.sequence, each.id.as_str()))
        .collect();
    changes.extend(
        state
            .graves
            .iter()
            .filter(|(_, grave)| {
                whole
                    && grave.drive == item.drive
                    && grave.sequence > buried_since
                    && grave.sequence <= now
            })
            .map(|(id, grave)| (grave.sequence, id.as_str())),
    );
    changes.sort_unstable();
    let top = page(state, call)?;
    let more = changes.len() > top;
    changes.truncate(top);
    let last = changes.last().map_or(now, |(sequence, _)| *sequence);
    let without_parents = call
        .header("prefer")
        .is_some_and(|value| value.contains("deltaExcludeParent"))
        || call.header("deltaExcludeParent").is_some();
    let mut value = Vec::new();
    let mut told = BTreeSet::new();
    for (_, id) in &changes {
        if !without_parents {
            for parent in state
                .ancestors(id)
                .into_iter()
                .filter(|each| scope.contains(each))
            {
                if told.insert(parent.clone())
                    && let Some(item) = state.items.get(&parent)
                {
                    value.push(render(state, item, call));
                }
            }
        }
        if let Some(item) = state.items.get(*id) {
            if told.insert((*id).to_owned()) {
                value.push(render(state, item, call));
            }
        } else if let Some(grave) = state.graves.get(*id) {
            value.push(buried(state, id, grave));
        }
    }
    let mut body = json!({ "value": value });
    if more {
        body["@odata.nextLink"] = json!(link(state, &item.drive, &item.id, [last, buried_since]));
    } else {
        body["@odata.deltaLink"] = json!(link(state, &item.drive, &item.id, [now, now]));
    }
    Ok(Reply::json(200, body))
}

fn buried(state: &State, id: &str, grave: &super::state::Grave) -> Value {
    let binned = state
        .bin
        .iter()
        .any(|entry| entry.items.iter().any(|item| item.id == id));
    json!({
        "id": id,
        "deleted": { "state": if binned { "softdeleted" } else { "deleted" } },
        "parentReference": { "driveId": grave.drive, "id": grave.parent },
    })
}

fn gone(state: &State, drive: &str, id: &str) -> Refused {
    let mut refused = Refused::new(410, "resyncRequired", "The token is too old.")
        .inner("resyncChangesApplyDifferences");
    refused.location = Some(base(state, drive, id));
    refused
}

fn base(state: &State, drive: &str, id: &str) -> String {
    let drive = utf8_percent_encode(drive, NON_ALPHANUMERIC);
    let root = state
        .items
        .get(id)
        .is_some_and(|item| item.parent.is_none());
    if root {
        return format!("{}/v1.0/drives/{drive}/root/delta", state.settings.graph);
    }
    format!(
        "{}/v1.0/drives/{drive}/items/{id}/delta",
        state.settings.graph
    )
}

fn link(state: &State, drive: &str, id: &str, [since, buried]: [u64; 2]) -> String {
    format!(
        "{}?token={}.{since}.{buried}",
        base(state, drive, id),
        state.delta_era
    )
}

/// `era.since.buried`.
fn read_token(token: &str) -> Option<[u64; 3]> {
    let mut parts = token.split('.').map(|part| part.parse().ok());
    let read = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(read)
}

/// `delta(token='x')` → `x`.
fn argument(segment: &str) -> Option<String> {
    let inside = segment.strip_prefix("delta(")?.strip_suffix(')')?;
    let value = inside
        .strip_prefix("token=")
        .unwrap_or(inside)
        .trim_matches('\'');
    (!value.is_empty()).then(|| value.to_owned())
}
