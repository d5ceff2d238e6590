//! What happens to a disk: it fills up, it becomes read-only, bytes on it change, the clock beside
//! it goes back, an older copy is put in the file's place. Each ends in a clear fault, nothing
//! half-written, and a store that works again when the cause is gone.
//!
//! Full and read-only disks are real ones: small file systems in memory, in a namespace of a
//! process of its own (`unshare`, of util-linux), so that root and others can have them.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#[path = "../common/mod.rs"]
mod common;

mod copies;
mod damage;
mod room;
mod tools;
