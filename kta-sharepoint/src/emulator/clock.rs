//! The emulated tenant's time: the machine's, moved by as much as a test says.

use chrono::{DateTime, TimeDelta, Utc};
use std::time::SystemTime;

/// A running clock with an offset.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    offset: TimeDelta,
}

impl Clock {
    pub(crate) fn now(&self) -> DateTime<Utc> {
        DateTime::<Utc>::from(SystemTime::now()) + self.offset
    }

    pub(crate) fn set(&mut self, now: DateTime<Utc>) {
        self.offset = now - DateTime::<Utc>::from(SystemTime::now());
    }

    pub(crate) fn advance(&mut self, by: TimeDelta) {
        self.offset += by;
    }
}

/// As Graph writes an instant.
pub(crate) fn stamp(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
