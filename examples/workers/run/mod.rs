//! The run itself, apart from its command line, so that a test may run it too.

#![allow(unreachable_pub, reason = "used by the example and by a test")]

mod count;
mod custodian;
mod task;
mod watch;
mod worker;

pub use task::{Task, role_in};
pub use watch::{Plan, watch};
pub use worker::work;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;
