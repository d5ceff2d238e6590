#![doc = include_str!("../README.md")]

mod access;
mod pack;

pub use access::{
    Analysis, CedarPolicy, Effect, Explanation, InForce, PolicyChange, Sample, SignedChange,
};
#[cfg(feature = "proof")]
pub use access::{Counterexample, Difference, Idle, Property, Prover, Shift};
pub use pack::{LONGEST_PACK, Pack, SignedPack, compile, overdue, simulate};

/// The text of the retention pack that ships. It becomes usable by two signatures; see
/// [`Pack::accept`].
pub const CORE_PACK: &str = include_str!("../packs/firm-core.toml");
