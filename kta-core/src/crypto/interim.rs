//! Interim: replaced by `index` and `shred`.
use serde::{Deserialize, Serialize};
/// An entry of the blind index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IndexTag(pub Vec<u8>);
/// Evidence that a person's key is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyErased {}
