//! What governs a record, as one interned class: a change of law or purpose touches a few
//! classes, not millions of rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::audit::Label;
use crate::id::Digest;
use crate::policy::purpose::{LawfulBasis, Purpose, SpecialGround};

/// The rules that a record lives under. Records point to it by [`id`](Self::id).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyClass {
    /// Purposes and the basis of each.
    pub purposes: BTreeMap<Purpose, LawfulBasis>,
    /// The ground for special categories, if recorded.
    #[serde(default)]
    pub ground: Option<SpecialGround>,
    /// Where the data came from.
    pub origin: Origin,
    /// The retention class, for example `CASE.FILE`.
    pub retention: Label,
}

impl PolicyClass {
    /// The class's identity: the digest of its canonical form.
    #[must_use]
    pub fn id(&self) -> Digest {
        // Serialising a struct of strings and maps with string keys cannot fail.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

/// Where data came from, as far as a law asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// From the person.
    Direct,
    /// Received from the European Economic Area (Israeli regulations 5783-2023).
    Eea,
    /// From the petitioner or another third party.
    ThirdParty,
}
