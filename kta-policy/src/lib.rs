#![doc = include_str!("../README.md")]

mod access;
mod pack;

pub use access::{
    Analysis, CedarPolicy, Effect, Explanation, InForce, PolicyChange, Sample, SignedChange,
};
#[cfg(feature = "proof")]
pub use access::{Counterexample, Difference, Idle, Property, Prover, Shift};
pub use pack::{
    Authority, Case, Clock, Due, Duty, DutyKind, Flow, Forecast, LONGEST_PACK, Limit, Limits,
    Month, Pack, ReadIn, Retention, Revision, Rights, SHIPPED, Schedules, SignedPack, Standing,
    Tally, Words, compile, forecast, overdue, picture, simulate, table,
};

/// The text of the pack of the firm's home, Israel: enough for a case file. It becomes usable by
/// two signatures; see [`Pack::accept`]. [`SHIPPED`] has the others.
pub const CORE_PACK: &str = include_str!("../packs/il.toml");
