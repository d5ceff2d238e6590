//! A clock that a test sets.

use core::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;

use crate::time::{self, Clock, Timestamp};

/// A [`Clock`] that stands still until it is [set](Self::set) or [advanced](Self::advance).
/// Clones are handles to one clock.
#[derive(Clone)]
pub struct ManualClock(Arc<Mutex<Timestamp>>);

impl ManualClock {
    /// A clock that stands at `at`.
    #[must_use]
    pub fn at(at: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(at)))
    }

    /// Sets the clock, forward or back.
    pub fn set(&self, at: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Moves the clock; a negative `by` sets it back. It stays where it is rather than leave the
    /// years that an instant can have.
    pub fn advance(&self, by: TimeDelta) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.checked_add_signed(by).unwrap_or(*now);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManualClock({})", time::text(self.now()))
    }
}
