//! The steward's wing.
