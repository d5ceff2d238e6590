//! A budget of calls in a sliding window.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// At most so many calls in any window of such a length. Clones share the budget.
#[derive(Clone, Debug)]
pub struct RateBudget {
    count: usize,
    per: Duration,
    spent: Arc<Mutex<VecDeque<Instant>>>,
}

impl RateBudget {
    /// A budget of `count` calls (at least one) in any window of `per`.
    #[must_use]
    pub fn new(count: usize, per: Duration) -> Self {
        Self {
            count: count.max(1),
            per,
            spent: Arc::default(),
        }
    }

    /// Takes one call from the budget.
    ///
    /// # Errors
    /// How long to wait until there is one again.
    pub fn try_spend(&self) -> Result<(), Duration> {
        let now = Instant::now();
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        while spent
            .front()
            .is_some_and(|first| now.duration_since(*first) >= self.per)
        {
            spent.pop_front();
        }
        match spent.front() {
            Some(first) if spent.len() >= self.count => Err(*first + self.per - now),
            _ => {
                spent.push_back(now);
                Ok(())
            }
        }
    }

    /// Takes one call, waiting for it where needed.
    pub async fn spend(&self) {
        while let Err(wait) = self.try_spend() {
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_window_of_the_length_ever_holds_more_than_the_count() {
        let budget = RateBudget::new(3, Duration::from_secs(10));
        let mut at = Vec::new();
        let start = Instant::now();
        for _ in 0..10 {
            budget.spend().await;
            at.push(start.elapsed());
        }
        assert!(
            at.windows(4)
                .all(|four| four[3] - four[0] >= Duration::from_secs(10)),
            "{at:?}"
        );
        assert!(at[9] <= Duration::from_secs(31));
    }
}
