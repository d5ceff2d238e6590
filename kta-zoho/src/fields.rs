//! Field metadata: which fields exist, which are free text, which the CRM withholds; and their
//! shape, so that a change of it is seen.

use std::collections::BTreeMap;

use kta_core::audit::Label;
use kta_core::policy::{Act, Permit};
use kta_core::{Code, Port, Refusal, Result};
use kta_http::{Call, Method};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ZohoCrm;
use crate::client::Client;
use crate::error::about_field;
use crate::map::{FieldMap, KEY, OWN_FIELDS};
use crate::records::MODULE;

/// The fields of the clients' module as they are at one time, for comparing them later. It
/// holds no data of anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(BTreeMap<String, FieldShape>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldShape {
    kind: String,
    length: u64,
    unique: bool,
    mandatory: bool,
    restricted: bool,
    encrypted: bool,
}

impl ZohoCrm {
    /// The shape of the fields as it is now.
    ///
    /// # Errors
    /// `ACL-DENY` when the permit is for another act; faults of the transport.
    pub async fn shape(&self, permit: &Permit<'_>) -> Result<Shape> {
        permit.require_act(&SHAPING)?;
        let call = Call::new(Port::Crm, "shape");
        let rows = rows(&self.client, call, MODULE).await?;
        let shape = rows.iter().filter_map(|row| {
            let name = row.get("api_name")?.as_str()?.to_owned();
            Some((name, FieldShape::read(row)))
        });
        Ok(Shape(shape.collect()))
    }
}

impl Shape {
    /// What makes these fields unfit for the map, whatever they were before.
    pub(crate) fn flaws(&self, map: &FieldMap) -> Vec<Refusal> {
        let mut flaws = Vec::new();
        for name in names(map) {
            match self.0.get(name) {
                None => flaws.push(about(Code::SynSchema, name)),
                Some(field) if field.restricted => {
                    flaws.push(about(Code::CrmFieldRestricted, name));
                }
                // An upsert on a key that is not unique, or that cannot be searched, doubles.
                Some(field) if name == KEY && (!field.unique || field.encrypted) => {
                    flaws.push(about(Code::SynSchema, name));
                }
                Some(_) => {}
            }
        }
        flaws
    }

    /// Which fields that matter are not what they were: those of the map, and those that have
    /// become mandatory. What is gone altogether is among the flaws.
    pub(crate) fn drift(&self, before: &Self, map: &FieldMap) -> Vec<Refusal> {
        let changed = |name: &&str| match (self.0.get(*name), before.0.get(*name)) {
            (Some(now), Some(before)) => {
                (&now.kind, now.length, now.unique, now.encrypted)
                    != (&before.kind, before.length, before.unique, before.encrypted)
            }
            _ => false,
        };
        let asked = self.0.iter().filter(|(name, field)| {
            let was = before.0.get(*name).is_some_and(|field| field.mandatory);
            field.mandatory && !was && !map.holds(name)
        });
        names(map)
            .filter(changed)
            .chain(asked.map(|(name, _)| name.as_str()))
            .map(|name| about(Code::SynSchema, name))
            .collect()
    }
}

impl FieldShape {
    fn read(row: &Value) -> Self {
        let flag = |value: &Value| value.as_bool().unwrap_or(false);
        let filled = |value: &Value| match value {
            Value::Object(object) => !object.is_empty(),
            Value::Bool(flag) => *flag,
            _ => false,
        };
        Self {
            kind: row["data_type"].as_str().unwrap_or_default().to_owned(),
            length: row["length"].as_u64().unwrap_or_default(),
            unique: filled(&row["unique"]),
            mandatory: flag(&row["system_mandatory"]),
            restricted: Field::read(row).restricted,
            encrypted: filled(&row["crypt"]) || flag(&row["encryption"]),
        }
    }
}

fn names(map: &FieldMap) -> impl Iterator<Item = &str> {
    let mapped = map.fields().iter().map(|one| one.api_name.as_str());
    mapped.chain(OWN_FIELDS)
}

fn about(code: Code, api_name: &str) -> Refusal {
    match Label::new(api_name) {
        Ok(name) => Refusal::new(code).about("field", name),
        Err(_) => code.into(),
    }
}

async fn rows(client: &Client, call: Call, module: &str) -> Result<Vec<Value>> {
    let request = || {
        let request = client.request(call, Method::GET, &["settings", "fields"])?;
        Ok(request.query("module", module))
    };
    client
        .answer(call, request)
        .await?
        .into_list(call, "fields")
}

const SHAPING: [Act; 5] = [
    Act::Manage,
    Act::Process,
    Act::Retain,
    Act::Review,
    Act::Transfer,
];

/// What the CRM says of the fields of one module.
#[derive(Clone, Debug)]
pub(crate) struct FieldMetadata {
    fields: BTreeMap<String, Field>,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    restricted: bool,
    free_text: bool,
}

impl FieldMetadata {
    /// Asks the CRM.
    pub(crate) async fn load(client: &Client, call: Call, module: &str) -> Result<Self> {
        let rows = rows(client, call, module).await?;
        let fields = rows.iter().filter_map(|row| {
            let name = row.get("api_name")?.as_str()?.to_owned();
            Some((name, Field::read(row)))
        });
        Ok(Self {
            fields: fields.collect(),
        })
    }

    /// Refuses a map that the CRM cannot serve: a mapped field that is gone (`SYN-SCHEMA`) or
    /// withheld (`CRM-FIELD-RESTRICTED`), or one of our own keys that does not exist.
    pub(crate) fn admit(&self, map: &FieldMap) -> Result<()> {
        let mapped = map.fields().iter().map(|one| one.api_name.as_str());
        for name in mapped.chain(OWN_FIELDS) {
            match self.fields.get(name) {
                None => return Err(about_field(Code::SynSchema, Some(name))),
                Some(field) if field.restricted => {
                    return Err(about_field(Code::CrmFieldRestricted, Some(name)));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The fields into which people can write anything.
    pub(crate) fn free_texts(&self) -> impl Iterator<Item = &str> {
        let free = self.fields.iter().filter(|(_, field)| field.free_text);
        free.map(|(name, _)| name.as_str())
    }

    /// Whether people can write anything they like into this field.
    pub(crate) fn is_free_text(&self, api_name: &str) -> bool {
        self.fields
            .get(api_name)
            .is_some_and(|field| field.free_text)
    }
}

impl Field {
    fn read(row: &Value) -> Self {
        let said = |object: &str, key: &str| row[object][key].as_bool().unwrap_or(false);
        let restricted = said("private", "restricted") || said("hipaa_compliance", "restricted");
        let read_only = row["read_only"].as_bool().unwrap_or(false)
            || row["field_read_only"].as_bool().unwrap_or(false);
        let text = matches!(row["data_type"].as_str(), Some("text" | "textarea"));
        Self {
            restricted,
            free_text: text && !read_only,
        }
    }
}
