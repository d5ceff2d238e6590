#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

pub mod audit;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod crypto;
pub mod error;
pub mod guidance;
pub mod id;
pub mod memory;
#[cfg(feature = "mocks")]
pub mod mocks;
pub mod pii;
pub mod pipeline;
pub mod policy;
pub mod ports;
pub mod refusal;
pub mod retention;
pub mod steward;
mod text;
pub mod time;

pub use error::{Error, Fault, FaultKind, Port, Result};
pub use refusal::{Code, Refusal};
