//! Time and randomness, both handed in: nothing in this crate reads a wall clock or the
//! operating system's random source.

use core::fmt;

use chrono::{DateTime, Utc};

/// An instant in UTC. Shown to people in the zone of whoever reads it, kept in UTC.
pub type Timestamp = DateTime<Utc>;

/// The source of the present time.
///
/// # Behavior
/// - `now` is the best known UTC time; it may repeat, and it may jump when the machine's clock
///   is set. What must not go back (the audit log) enforces that itself.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// The source of unpredictable bytes.
///
/// # Behavior
/// - Fills the whole buffer with bytes fit for keys. An implementation that cannot must not
///   return: it panics or aborts, because predictable keys are worse than none.
pub trait Entropy: fmt::Debug + Send + Sync {
    /// Fills `buffer` with random bytes.
    fn fill(&self, buffer: &mut [u8]);

    /// Fills `buffer` with random bytes that need not be secret but must not come twice: nonces
    /// and ids. They may have been drawn a little beforehand, for several of them are
    /// cheaper together; how long beforehand is for the implementation to say. Never for keys.
    fn fill_public(&self, buffer: &mut [u8]) {
        self.fill(buffer);
    }
}

/// RFC 3339 in UTC with milliseconds: the one text form of an instant in our files.
#[must_use]
pub fn text(at: Timestamp) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
