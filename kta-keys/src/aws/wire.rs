//! The bodies of AWS's calls.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
pub(super) struct Said {
    #[serde(rename = "__type")]
    pub(super) code: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateKey<'a> {
    pub(super) description: &'a str,
    pub(super) key_spec: &'a str,
    pub(super) key_usage: &'a str,
    pub(super) origin: &'a str,
    pub(super) multi_region: bool,
    pub(super) tags: [Tag<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag<'a> {
    pub(super) tag_key: &'a str,
    pub(super) tag_value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OneKey<'a> {
    pub(super) key_id: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Described {
    pub(super) key_metadata: KeyMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct KeyMetadata {
    pub(super) key_id: String,
    pub(super) key_state: String,
    pub(super) deletion_date: Option<f64>,
    pub(super) origin: Option<String>,
    pub(super) multi_region_configuration: Option<MultiRegion>,
}

impl KeyMetadata {
    /// Replicas in other regions, and the outside from which key material came.
    pub(super) fn copies(&self) -> u32 {
        let replicas = self
            .multi_region_configuration
            .as_ref()
            .map_or(0, |region| {
                let others = u32::try_from(region.replica_keys.len()).unwrap_or(u32::MAX);
                let primary = u32::from(region.multi_region_key_type == "REPLICA");
                others.saturating_add(primary)
            });
        let outside = self
            .origin
            .as_deref()
            .is_some_and(|origin| origin != "AWS_KMS");
        replicas.saturating_add(u32::from(outside))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MultiRegion {
    pub(super) multi_region_key_type: String,
    #[serde(default)]
    pub(super) replica_keys: Vec<serde::de::IgnoredAny>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ScheduleKeyDeletion<'a> {
    pub(super) key_id: &'a str,
    pub(super) pending_window_in_days: u8,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Encrypt<'a> {
    pub(super) key_id: &'a str,
    pub(super) plaintext: &'a str,
    pub(super) encryption_context: BTreeMap<&'static str, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Encrypted {
    pub(super) ciphertext_blob: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Decrypt<'a> {
    pub(super) key_id: &'a str,
    pub(super) ciphertext_blob: String,
    pub(super) encryption_context: BTreeMap<&'static str, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Decrypted<'a> {
    pub(super) key_id: &'a str,
    pub(super) plaintext: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutParameter {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) r#type: &'static str,
    pub(super) tier: &'static str,
    pub(super) overwrite: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetParameters<'a> {
    pub(super) names: [&'a str; 2],
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Parameters {
    pub(super) parameters: Vec<Parameter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) value: String,
}
