//! Legal holds: while one stands, nothing it covers may be destroyed, by anybody, anywhere.
//!
//! ```text
//!   asked before ──► gate: no permit to propose, approve or destroy what is held
//!   asked again  ──► permit: none of those given out is good for what was held meanwhile
//!   asked last   ──► store: a record that is held is not removed, in the same transaction
//! ```
//!
//! A hold names persons and matters. A person is held under every id that the firm knows
//! ([`same_person`](crate::pipeline::manage::same_person)), also one that it learns of later.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::audit::Label;
use crate::id::{ActorId, HoldId, MatterId, SubjectId, TenantId};
use crate::time::Timestamp;

/// A legal hold. It is placed, and it is released once; nothing else ever changes in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// The firm.
    pub tenant: TenantId,
    /// The hold.
    pub id: HoldId,
    /// The persons it covers, under every id they have.
    pub subjects: BTreeSet<SubjectId>,
    /// The matters it covers.
    pub matters: BTreeSet<MatterId>,
    /// Why, as a code of the legal team, for example `litigation.2026-04`.
    pub reason: Label,
    /// Who placed it.
    pub placed_by: ActorId,
    /// When.
    pub placed_at: Timestamp,
    /// Its release, if it has been released.
    pub released: Option<Release>,
}

/// The end of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Who released it.
    pub by: ActorId,
    /// When.
    pub at: Timestamp,
}
