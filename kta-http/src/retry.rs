//! Trying again: only what the caller declares repeatable, only what may get better.

use core::fmt;
use std::sync::Arc;
use std::time::Duration;

use kta_core::time::Entropy;
use kta_core::{Error, FaultKind, Result};

/// Repeats a call with exponential back-off and full jitter.
///
/// Calling [`repeatable`](Retry::repeatable) is the declaration that doing the call twice is
/// harmless; nothing here can know that. An unknown outcome is never repeated: it is not
/// transient.
#[derive(Clone)]
pub struct Retry {
    entropy: Arc<dyn Entropy>,
    attempts: u32,
    first: Duration,
    longest: Duration,
}

impl Retry {
    /// Five attempts, waits around half a second and doubling, none above 30 seconds.
    #[must_use]
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self {
            entropy,
            attempts: 5,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
        }
    }

    /// The same with this many attempts (at least one).
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// The same with waits that begin around `first` and never exceed `longest`. A server that
    /// asks for a longer wait ends the attempts: its fault goes to the caller, who has a job
    /// queue for that.
    #[must_use]
    pub fn waits(mut self, first: Duration, longest: Duration) -> Self {
        self.first = first;
        self.longest = longest;
        self
    }

    /// Makes the call until it succeeds, fails for good, or attempts run out.
    ///
    /// # Errors
    /// The last attempt's error.
    pub async fn repeatable<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut made = 1;
        loop {
            match call().await {
                Err(error) if made < self.attempts => match self.wait(&error, made) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(error),
                },
                outcome => return outcome,
            }
            made += 1;
        }
    }

    fn wait(&self, error: &Error, made: u32) -> Option<Duration> {
        let fault = error.fault().filter(|fault| fault.is_transient())?;
        let ceiling = self
            .first
            .saturating_mul(1 << (made - 1).min(20))
            .min(self.longest);
        let asked = match fault.kind() {
            FaultKind::Throttled { retry_after } => retry_after.unwrap_or(ceiling),
            _ => Duration::ZERO,
        };
        (asked <= self.longest).then(|| asked + self.jitter(ceiling))
    }

    /// Anything from nothing to `ceiling`, so that those who failed together return apart.
    fn jitter(&self, ceiling: Duration) -> Duration {
        let mut bytes = [0; 4];
        self.entropy.fill(&mut bytes);
        ceiling.mul_f64(f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX))
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use kta_core::{Code, Port};
    use tokio::time::Instant;

    use super::*;
    use crate::Call;

    #[derive(Debug)]
    struct Always(u8);

    impl Entropy for Always {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }

    /// How many calls are made when each fails like this, and how long it takes.
    async fn calls(retry: &Retry, error: impl Into<Error>) -> (u32, Duration) {
        let (error, mut count, start) = (error.into(), 0, Instant::now());
        let outcome: Result<()> = retry
            .repeatable(|| {
                count += 1;
                core::future::ready(Err(error.clone()))
            })
            .await;
        assert_eq!(outcome, Err(error.clone()));
        (count, start.elapsed())
    }

    fn fault(kind: FaultKind) -> kta_core::Fault {
        Call::new(Port::Crm, "fetch").fault(kind)
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_get_better_is_tried_again() {
        let retry = Retry::new(Arc::new(Always(0)));
        assert_eq!(calls(&retry, fault(FaultKind::Unavailable)).await.0, 5);
        assert_eq!(calls(&retry, fault(FaultKind::OutcomeUnknown)).await.0, 1);
        assert_eq!(calls(&retry, fault(FaultKind::Protocol)).await.0, 1);
        assert_eq!(calls(&retry, Code::NetCert).await.0, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn waits_double_under_full_jitter() {
        let longest =
            Retry::new(Arc::new(Always(255))).waits(Duration::from_secs(1), Duration::from_secs(3));
        let (_, waited) = calls(&longest, fault(FaultKind::Timeout)).await;
        assert_eq!(waited.as_secs(), 1 + 2 + 3 + 3);
        let (_, waited) = calls(&Retry::new(Arc::new(Always(0))), fault(FaultKind::Timeout)).await;
        assert_eq!(waited, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_servers_wish_to_wait_is_obeyed_or_handed_on() {
        let retry = Retry::new(Arc::new(Always(0))).attempts(2);
        let asks = |seconds| {
            fault(FaultKind::Throttled {
                retry_after: Some(Duration::from_secs(seconds)),
            })
        };
        let (count, waited) = calls(&retry, asks(20)).await;
        assert_eq!((count, waited.as_secs()), (2, 20));
        let (count, waited) = calls(&retry, asks(3600)).await;
        assert_eq!(
            (count, waited),
            (1, Duration::ZERO),
            "an hour belongs to the job queue"
        );
    }
}
