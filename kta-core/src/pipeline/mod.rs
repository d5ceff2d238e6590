//! The road: one stage a file, in order.
//!
//! ```text
//! receive → verify → enter → transfer → process → store → collaborate → transmit → retain → dispose
//! ```
//!
//! Each stage takes the receipt of the stage before, by value, and only that stage can make its
//! own: a [`Stored`](store::Stored) in hand proves that storing happened. Every stage may be
//! called again after a crash with the same input: what was done is found on the registers and
//! not done twice, and what was begun is finished.

mod effect;
mod house;
mod passport;
mod receipt;
mod suppress;

pub mod collaborate;
pub mod dispose;
pub mod enter;
pub mod govern;
pub mod look;
pub mod manage;
pub mod process;
pub mod profile;
pub mod receive;
pub mod rekey;
pub mod retain;
pub mod rights;
pub mod store;
pub mod transfer;
pub mod transmit;
pub mod verify;

pub use house::{Doors, House};
pub use receipt::Receipt;
