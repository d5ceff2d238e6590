//! One row: what it accepts, making it, changing it.

use chrono::NaiveDate;
use serde_json::{Map, Value, json};

use super::clock::{EmulatorClock, parse_instant};
use super::marks::record_locked;
use super::reply::RowResult;
use super::schema::{FieldSpec, Kind, ModuleSpec};
use super::world::{Row, World, display_name};

/// Makes a row; gives its id.
pub(super) fn insert(
    world: &mut World,
    clock: &EmulatorClock,
    module: &'static ModuleSpec,
    index: usize,
    given: Map<String, Value>,
    now: i64,
    lag: i64,
) -> Result<u64, RowResult> {
    for field in module.fields.iter().filter(|field| field.mandatory) {
        if given.get(field.api_name).is_none_or(Value::is_null) {
            return Err(RowResult::failed(
                "MANDATORY_NOT_FOUND",
                "required field not found",
                json!({"api_name": field.api_name, "json_path": path(index, field.api_name)}),
            ));
        }
    }
    let mut fields = accept(world, module, index, given)?;
    number_rows(world, module, None, &mut fields);
    refuse_duplicate(world, clock, module, index, &fields, None)?;
    let id = world.fresh_id();
    let row = Row {
        id,
        module,
        fields,
        created: now,
        modified: now,
        indexed: now + lag,
        owner: 0,
        stopped: false,
    };
    world.note_audit("added", module.api_name, id, display_name(&row), now);
    world.note_timeline(id, module.api_name, "added", Vec::new(), now);
    world.rows.insert(id, row);
    Ok(id)
}

/// Changes a live row.
pub(super) fn change(
    world: &mut World,
    clock: &EmulatorClock,
    id: u64,
    index: usize,
    given: Map<String, Value>,
    now: i64,
    lag: i64,
) -> Result<(), RowResult> {
    let Some(module) = world.rows.get(&id).map(|row| row.module) else {
        return Err(unknown_id(&given, index));
    };
    if world.locks.contains_key(&id) {
        return Err(record_locked(id));
    }
    let mut accepted = accept(world, module, index, given)?;
    for field in module.fields.iter().filter(|field| field.mandatory) {
        if accepted.get(field.api_name).is_some_and(Value::is_null) {
            return Err(invalid(field, index));
        }
    }
    refuse_duplicate(world, clock, module, index, &accepted, Some(id))?;
    let held = world.rows.get(&id).map(|row| row.fields.clone());
    number_rows(world, module, held.as_ref(), &mut accepted);
    let Some(row) = world.rows.get_mut(&id) else {
        return Err(unknown_id(&accepted, index));
    };
    let mut changes = Vec::new();
    for (name, new) in accepted {
        let old = row.fields.get(&name).cloned().unwrap_or(Value::Null);
        if old != new {
            changes.push((name.clone(), old, new.clone()));
            row.fields.insert(name, new);
        }
    }
    row.modified = now;
    row.indexed = now + lag;
    let name = display_name(row);
    world.note_audit("updated", module.api_name, id, name, now);
    if !changes.is_empty() {
        world.note_timeline(id, module.api_name, "updated", changes, now);
    }
    Ok(())
}

/// Checks and keeps what the module has a field for; anything else is silently ignored.
fn accept(
    world: &World,
    module: &ModuleSpec,
    index: usize,
    given: Map<String, Value>,
) -> Result<Map<String, Value>, RowResult> {
    let mut accepted = Map::new();
    for (name, value) in given {
        let Some(field) = module.field(&name) else {
            continue;
        };
        if field.read_only || field.kind == Kind::Owner {
            continue;
        }
        if !fits(world, field, &value) {
            return Err(invalid(field, index));
        }
        accepted.insert(
            name,
            if value.is_null() {
                value
            } else {
                stored(field, value)
            },
        );
    }
    Ok(accepted)
}

fn fits(world: &World, field: &FieldSpec, value: &Value) -> bool {
    if value.is_null() {
        return true;
    }
    match field.kind {
        Kind::Boolean => value.is_boolean(),
        Kind::Choices => value.as_array().is_some_and(|list| {
            let fits = |text: &str| !text.is_empty() && text.chars().count() <= field.length;
            list.iter().all(|choice| choice.as_str().is_some_and(fits))
        }),
        Kind::Rows(rows) => value.as_array().is_some_and(|list| {
            let row = |row: &Map<String, Value>| {
                row.iter().all(|(name, value)| match name.as_str() {
                    "id" => number(value).is_some(),
                    "_delete" => value.is_null(),
                    name => super::schema::module(rows)
                        .and_then(|module| module.field(name))
                        .is_some_and(|field| fits(world, field, value)),
                })
            };
            list.len() <= MOST_SUBFORM_ROWS
                && list.iter().all(|one| one.as_object().is_some_and(row))
        }),
        Kind::Date => value
            .as_str()
            .is_some_and(|text| NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()),
        Kind::DateTime => value
            .as_str()
            .is_some_and(|text| parse_instant(text).is_some()),
        Kind::Email => value.as_str().is_some_and(|text| {
            text.chars().count() <= field.length
                && text.split_once('@').is_some_and(|(local, domain)| {
                    !local.is_empty() && domain.contains('.') && !text.contains(char::is_whitespace)
                })
        }),
        Kind::Lookup(_) => linked(value).is_some_and(|id| world.rows.contains_key(&id)),
        Kind::Owner => true,
        Kind::Phone | Kind::Picklist | Kind::Text | Kind::TextArea => value
            .as_str()
            .is_some_and(|text| text.chars().count() <= field.length),
    }
}

/// Rows of a subform get ids of their own. Rows that are there and not named stay, rows named
/// with `_delete` go.
fn number_rows(
    world: &mut World,
    module: &ModuleSpec,
    held: Option<&Map<String, Value>>,
    fields: &mut Map<String, Value>,
) {
    for (name, value) in fields {
        let is_rows = module
            .field(name)
            .is_some_and(|field| matches!(field.kind, Kind::Rows(_)));
        let Some(sent) = value.as_array().filter(|_| is_rows).cloned() else {
            continue;
        };
        let mut kept: Vec<Value> = held
            .and_then(|held| held.get(name)?.as_array().cloned())
            .unwrap_or_default();
        for mut row in sent {
            match row["id"].as_str().map(str::to_owned) {
                Some(id) => {
                    let known = |held: &Value| held["id"] == id.as_str();
                    if row.get("_delete").is_some() {
                        kept.retain(|held| !known(held));
                    } else if let Some(held) = kept.iter_mut().find(|held| known(held)) {
                        *held = row;
                    }
                }
                None => {
                    row["id"] = world.fresh_id().to_string().into();
                    kept.push(row);
                }
            }
        }
        *value = kept.into();
    }
}

/// A link is kept as an object with its id as text, however it was sent.
fn stored(field: &FieldSpec, value: Value) -> Value {
    match (field.kind, linked(&value)) {
        (Kind::Lookup(_), Some(id)) => {
            let mut link = json!({"id": id.to_string()});
            if let Some(module) = value.get("module") {
                link["module"] = module.clone();
            }
            link
        }
        _ => value,
    }
}

/// The id in a link: alone or in an object.
fn linked(value: &Value) -> Option<u64> {
    number(value.get("id").unwrap_or(value))
}

/// An id; the official client sends some of them as numbers.
pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

pub(super) fn refuse_duplicate(
    world: &World,
    clock: &EmulatorClock,
    module: &ModuleSpec,
    index: usize,
    fields: &Map<String, Value>,
    own: Option<u64>,
) -> Result<(), RowResult> {
    for field in module.fields.iter().filter(|field| field.unique) {
        let Some(value) = fields.get(field.api_name).and_then(Value::as_str) else {
            continue;
        };
        let taken = world
            .rows_of(module)
            .find(|row| Some(row.id) != own && holds_text(row, field.api_name, value));
        if let Some(row) = taken {
            let owner = world.value(row, "Owner", clock).unwrap_or(Value::Null);
            return Err(RowResult::failed(
                "DUPLICATE_DATA",
                "duplicate data",
                json!({
                    "api_name": field.api_name, "json_path": path(index, field.api_name),
                    "duplicate_record": {
                        "id": row.id.to_string(), "Owner": owner,
                        "module": {"api_name": module.api_name, "id": module.id.to_string()},
                    },
                }),
            ));
        }
    }
    Ok(())
}

/// Whether a row holds this text in this field; letter case does not matter.
pub(super) fn holds_text(row: &Row, field: &str, value: &str) -> bool {
    !value.is_empty()
        && row
            .fields
            .get(field)
            .and_then(Value::as_str)
            .is_some_and(|held| held.to_lowercase() == value.to_lowercase())
}

pub(super) fn unknown_id(fields: &Map<String, Value>, index: usize) -> RowResult {
    let id = fields.get("id").cloned().unwrap_or(Value::Null);
    RowResult::failed(
        "INVALID_DATA",
        "the id given seems to be invalid",
        json!({"id": id, "api_name": "id", "json_path": path(index, "id")}),
    )
}

fn invalid(field: &FieldSpec, index: usize) -> RowResult {
    RowResult::failed(
        "INVALID_DATA",
        "invalid data",
        json!({
            "expected_data_type": field.kind.data_type(), "maximum_length": field.length,
            "api_name": field.api_name, "json_path": path(index, field.api_name),
        }),
    )
}

const MOST_SUBFORM_ROWS: usize = 200;

fn path(index: usize, field: &str) -> String {
    format!("$.data[{index}].{field}")
}
