//! The steward's wing: incidents, training, reviews, improvement. It reads the audit log and
//! the registers, and feeds the policy.

pub mod glass;
pub mod improvement;
pub mod incident;
pub mod review;
mod shelf;
pub mod training;

pub use improvement::{Change, Measure};
pub use incident::{Incident, IncidentKind};
pub use review::{Approved, Certification};
pub use training::Completion;

#[cfg(test)]
mod testing;
