//! The steward's wing: incidents, training, reviews, improvement. It reads the audit log and
//! the registers, and feeds the policy.

pub mod incident;

pub use incident::{Incident, IncidentKind};
