//! The bodies of Key Vault's calls.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
pub(super) struct Said {
    pub(super) error: Problem,
}

#[derive(Deserialize)]
pub(super) struct Problem {
    pub(super) code: String,
    #[serde(alias = "innererror")]
    #[serde(rename = "innerError")]
    pub(super) inner: Option<Box<Problem>>,
}

impl Problem {
    pub(super) fn innermost(self) -> String {
        self.inner.map_or(self.code, |inner| inner.innermost())
    }
}

#[derive(Serialize)]
pub(super) struct NewKey<'a> {
    pub(super) kty: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_size: Option<u32>,
    pub(super) key_ops: &'a [&'a str],
    pub(super) attributes: NewAttributes,
    pub(super) tags: BTreeMap<&'a str, String>,
}

#[derive(Serialize)]
pub(super) struct NewAttributes {
    pub(super) enabled: bool,
}

#[derive(Deserialize)]
pub(super) struct Bundle {
    pub(super) key: KeyName,
    pub(super) attributes: Attributes,
}

impl Bundle {
    pub(super) fn version(&self) -> Option<&str> {
        let version = self.key.kid.rsplit('/').next()?;
        super::wrapped::is_version(version).then_some(version)
    }
}

#[derive(Deserialize)]
pub(super) struct KeyName {
    pub(super) kid: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Attributes {
    pub(super) enabled: bool,
    #[serde(default)]
    pub(super) created: i64,
    #[serde(default)]
    pub(super) exportable: bool,
    #[serde(default)]
    pub(super) recovery_level: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Deleted {
    pub(super) scheduled_purge_date: i64,
    pub(super) attributes: Attributes,
}

#[derive(Deserialize)]
pub(super) struct Listed {
    #[serde(default)]
    pub(super) value: Vec<Item>,
}

#[derive(Deserialize)]
pub(super) struct Item {
    pub(super) kid: String,
    pub(super) attributes: Attributes,
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
}

#[derive(Serialize)]
pub(super) struct Wrapping<'a> {
    pub(super) alg: &'a str,
    pub(super) value: &'a str,
}

#[derive(Deserialize)]
pub(super) struct Sealed {
    pub(super) value: String,
}

#[derive(Deserialize)]
pub(super) struct Opened<'a> {
    pub(super) value: &'a str,
}
