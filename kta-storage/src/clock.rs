//! The machine's clock.

use std::time::SystemTime;

use kta_core::time::{Clock, Timestamp};

/// The [`Clock`] of the machine. Keep it right from outside (NTP, or better NTS): the audit log
/// refuses to go back, but it believes what it is told forward.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}
