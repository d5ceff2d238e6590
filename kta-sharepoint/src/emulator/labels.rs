//! Retention labels of an item.

use super::clock::stamp;
use super::reply::{Call, Refused, Reply};
use super::state::{Item, Label, State};
use serde_json::{Value, json};

/// `GET`, `PATCH` and `DELETE …/retentionLabel`.
pub(crate) fn label(state: &mut State, id: &str, call: &Call) -> Result<Reply, Refused> {
    match call.method.as_str() {
        "GET" => {
            let item = state.item(id)?;
            match &item.label {
                Some(label) => Ok(Reply::json(200, render(state, label))),
                None => Err(Refused::not_found()),
            }
        }
        "PATCH" => apply(state, id, call),
        "DELETE" => {
            let label = state
                .item(id)?
                .label
                .clone()
                .ok_or_else(Refused::not_found)?;
            if state
                .labels
                .get(&label.name)
                .is_some_and(|rule| rule.behavior == RECORD)
            {
                return Err(Refused::denied(
                    "A record label is not removed by an application.",
                ));
            }
            state.item_mut(id)?.label = None;
            state.touch(id);
            Ok(Reply::empty(204))
        }
        _ => Err(Refused::new(
            405,
            "notAllowed",
            "The method is not allowed here.",
        )),
    }
}

/// Whether the item's label stands in the way of deletion.
pub(crate) fn forbids_delete(state: &State, item: &Item) -> bool {
    item.label.as_ref().is_some_and(|label| {
        label.locked
            || state
                .labels
                .get(&label.name)
                .is_some_and(|rule| !rule.delete_allowed)
    })
}

fn apply(state: &mut State, id: &str, call: &Call) -> Result<Reply, Refused> {
    let body = call.object()?;
    let name = body.get("name").and_then(Value::as_str);
    let lock = body
        .get("retentionSettings")
        .and_then(|settings| settings.get("isRecordLocked"))
        .and_then(Value::as_bool);
    let now = state.now();
    let before = state.item(id)?.label.clone();
    let first = before.is_none();
    let label = match (name, before) {
        (Some(name), before) => {
            let rule = state.labels.get(name);
            let rule = rule.ok_or_else(|| Refused::bad("no such retention label"))?;
            if let Some(before) = &before
                && state
                    .labels
                    .get(&before.name)
                    .is_some_and(|old| old.behavior == RECORD)
                && before.name != name
            {
                return Err(Refused::denied(
                    "A record label is not changed by an application.",
                ));
            }
            let locked = lock.unwrap_or(rule.behavior == RECORD);
            Label {
                name: name.to_owned(),
                at: now,
                locked,
            }
        }
        (None, Some(before)) => Label {
            locked: lock.unwrap_or(before.locked),
            ..before
        },
        (None, None) => return Err(Refused::bad("name is missing")),
    };
    let value = render(state, &label);
    state.item_mut(id)?.label = Some(label);
    state.touch(id);
    Ok(Reply::json(if first { 201 } else { 200 }, value))
}

fn render(state: &State, label: &Label) -> Value {
    let rule = state.labels.get(&label.name);
    json!({
        "name": label.name,
        "isLabelAppliedExplicitly": true,
        "labelAppliedDateTime": stamp(label.at),
        "labelAppliedBy": { "application": { "id": state.settings.client_id } },
        "retentionSettings": {
            "behaviorDuringRetentionPeriod": rule.map_or("doNotRetain", |rule| &rule.behavior),
            "isDeleteAllowed": !label.locked && rule.is_none_or(|rule| rule.delete_allowed),
            "isRecordLocked": label.locked,
            "isMetadataUpdateAllowed": true,
            "isContentUpdateAllowed": !label.locked,
            "isLabelUpdateAllowed": rule.is_none_or(|rule| rule.behavior != RECORD),
        },
    })
}

/// The behaviour of a label that declares a record.
pub(crate) const RECORD: &str = "retainAsRecord";
