//! Trying again, ever more slowly, until the patience is spent.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// Pauses between attempts.
#[derive(Debug)]
pub(super) struct Backoff {
    until: Instant,
    next: Duration,
}

impl Backoff {
    pub(super) fn within(patience: Duration) -> Self {
        Self {
            until: Instant::now() + patience,
            next: SHORTEST,
        }
    }

    /// Waits before another attempt; `false` at once when the patience is spent.
    pub(super) async fn pause(&mut self) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        // Half of it by chance, so that those who collided do not collide again.
        let half = self.next / 2;
        let chance = RandomState::new().build_hasher().finish() % 1024;
        let pause = half + half.mul_f64(chance as f64 / 1024.0);
        self.next = (self.next * 2).min(LONGEST);
        tokio::time::sleep(pause.min(left)).await;
        true
    }
}

const SHORTEST: Duration = Duration::from_millis(4);
const LONGEST: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn attempts_end_when_the_patience_is_spent() {
        let begin = Instant::now();
        let mut backoff = Backoff::within(Duration::from_millis(60));
        let mut pauses = 0;
        while backoff.pause().await {
            pauses += 1;
        }
        assert!((3..=12).contains(&pauses), "{pauses}");
        assert!(begin.elapsed() >= Duration::from_millis(60));
    }
}
