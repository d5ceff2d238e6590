//! The emulator's own clock, so that tests can let tokens, page tokens and channels expire.

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, FixedOffset, SecondsFormat};

use super::lock;

/// The time the emulator believes in: the machine's time until a test says otherwise.
///
/// Whole seconds, as Zoho's own times are.
#[derive(Debug)]
pub struct EmulatorClock {
    state: Mutex<State>,
    zone: FixedOffset,
}

impl EmulatorClock {
    pub(super) fn new(zone_minutes: i32) -> Self {
        let zone = FixedOffset::east_opt(zone_minutes.clamp(-1_439, 1_439) * 60)
            // A clamped offset is below 24 hours, which is all `east_opt` asks for.
            .expect("an offset below 24 hours");
        Self {
            state: Mutex::new(State {
                shift: 0,
                frozen: None,
            }),
            zone,
        }
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn now(&self) -> i64 {
        let state = lock(&self.state);
        state
            .frozen
            .unwrap_or_else(|| machine_seconds() + state.shift)
    }

    /// Stops the clock at `seconds` since 1970-01-01T00:00:00Z.
    pub fn freeze_at(&self, seconds: i64) {
        lock(&self.state).frozen = Some(seconds);
    }

    /// Moves the clock forward, whether it is frozen or running. Parts of a second are dropped.
    pub fn advance(&self, by: Duration) {
        let seconds = i64::try_from(by.as_secs()).unwrap_or(i64::MAX / 4);
        let mut state = lock(&self.state);
        match &mut state.frozen {
            Some(at) => *at = at.saturating_add(seconds),
            None => state.shift = state.shift.saturating_add(seconds),
        }
    }

    /// `seconds` in Zoho's form: ISO 8601 with the organisation's offset, no fraction.
    pub(super) fn text(&self, seconds: i64) -> String {
        DateTime::from_timestamp(seconds, 0)
            .unwrap_or(DateTime::UNIX_EPOCH)
            .with_timezone(&self.zone)
            .to_rfc3339_opts(SecondsFormat::Secs, false)
    }

    /// The present instant as an HTTP date (RFC 9110).
    pub(super) fn http_date(&self) -> String {
        let now = DateTime::from_timestamp(self.now(), 0).unwrap_or(DateTime::UNIX_EPOCH);
        now.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }
}

/// Reads an ISO 8601 instant with offset, the only form Zoho takes in its date headers.
pub(super) fn parse_instant(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text.trim())
        .ok()
        .map(|at| at.timestamp())
}

#[derive(Debug)]
struct State {
    shift: i64,
    frozen: Option<i64>,
}

fn machine_seconds() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
}
