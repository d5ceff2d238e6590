//! Whether the clock may be believed before anything is destroyed on its word.

use core::fmt;
use std::sync::Arc;

use chrono::TimeDelta;

use crate::refusal::{Code, Refusal};
use crate::time::{Clock, Timestamp};

/// What stands between a wrong clock and destruction: other clocks, and the last instant at which
/// the clock was right.
///
/// A clock that was moved forward makes everything look expired. Destruction therefore stops where
/// the house's clock is not where the others are, runs behind an instant that was believed, or is
/// further ahead of it than the house is ever silent. A person who looked then says that it is
/// right ([`confirm_clock`](crate::pipeline::retain::confirm_clock)), or has it set.
#[derive(Clone)]
pub struct Watch {
    /// Clocks that the house's own is compared with: another machine's, a time server's.
    pub others: Vec<Arc<dyn Clock>>,
    /// By how much two clocks that are right may differ.
    pub tolerance: TimeDelta,
    /// How long the house may be without a retention run before somebody must look.
    pub silence: TimeDelta,
}

impl Default for Watch {
    /// No other clocks, five minutes, 35 days: a nightly run may fail for a month.
    fn default() -> Self {
        Self {
            others: Vec::new(),
            tolerance: TimeDelta::minutes(5),
            silence: TimeDelta::days(35),
        }
    }
}

impl Watch {
    /// Whether `now` may be believed, after `last` was.
    ///
    /// # Errors
    /// [`Code::SynSkew`] when it may not.
    pub fn believe(&self, now: Timestamp, last: Timestamp) -> Result<(), Refusal> {
        self.agree(now)?;
        let since = now.signed_duration_since(last);
        if since < -self.tolerance || since > self.silence {
            return Err(Refusal::new(Code::SynSkew)
                .about("now", now)
                .about("last", last));
        }
        Ok(())
    }

    /// Whether the other clocks say the same.
    ///
    /// # Errors
    /// [`Code::SynSkew`] when one does not.
    pub fn agree(&self, now: Timestamp) -> Result<(), Refusal> {
        for other in &self.others {
            let there = other.now();
            if now.signed_duration_since(there).abs() > self.tolerance {
                return Err(Refusal::new(Code::SynSkew)
                    .about("now", now)
                    .about("other", there));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("others", &self.others.len())
            .field("tolerance", &self.tolerance)
            .field("silence", &self.silence)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::ManualClock;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_jump_of_five_years_either_way_is_not_believed() {
        let watch = Watch::default();
        let last = at("2026-11-22T03:00:00Z");
        assert_eq!(watch.believe(at("2026-11-23T03:00:00Z"), last), Ok(()));
        assert_eq!(watch.believe(at("2026-11-22T02:56:00Z"), last), Ok(()));
        for wrong in [
            "2031-11-22T03:00:00Z",
            "2021-11-22T03:00:00Z",
            "2026-11-22T02:54:00Z",
        ] {
            let refused = watch.believe(at(wrong), last).unwrap_err();
            assert_eq!(refused.code(), Code::SynSkew, "{wrong}");
        }
    }

    #[test]
    fn a_clock_that_the_others_contradict_is_not_believed() {
        let other = ManualClock::at(at("2026-11-22T03:00:00Z"));
        let watch = Watch {
            others: vec![Arc::new(other)],
            ..Watch::default()
        };
        let last = at("2026-11-22T03:00:00Z");
        assert_eq!(watch.believe(at("2026-11-22T03:04:00Z"), last), Ok(()));
        let refused = watch.believe(at("2026-11-22T03:06:00Z"), last).unwrap_err();
        assert_eq!(refused.code(), Code::SynSkew);
    }
}
