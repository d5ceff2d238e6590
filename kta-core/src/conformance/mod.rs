//! The kits.
