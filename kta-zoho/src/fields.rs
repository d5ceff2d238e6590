//! Field metadata: which fields exist, which are free text, which the CRM withholds.

use std::collections::BTreeMap;

use kta_core::{Code, Result};
use kta_http::{Call, Method};
use serde_json::Value;

use crate::client::Client;
use crate::error::about_field;
use crate::map::{FieldMap, OWN_FIELDS};

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
        let request = || {
            let request = client.request(call, Method::GET, &["settings", "fields"])?;
            Ok(request.query("module", module))
        };
        let rows = client
            .answer(call, request)
            .await?
            .into_list(call, "fields")?;
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
