//! The store on a PostgreSQL server: the contracts of its ports, what only a server has, and what
//! happens when it, the network or a client goes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod conformance;
mod crash;
mod faults;
mod log;
mod migration;
mod openings;
mod proxy;
mod residue;
mod shard;
mod walls;
