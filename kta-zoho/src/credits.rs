//! The organisation's API credits: counted before they are spent.

use core::fmt;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kta_core::{FaultKind, Result};
use kta_http::Call;
use tokio::time::Instant;

/// What this adapter has spent of the organisation's credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credits {
    /// Spent in the last 24 hours, by this process, as the vendor prices the calls.
    pub spent: u64,
    /// How many may be spent in 24 hours.
    pub budget: u64,
    /// What the vendor said is left for the whole organisation: it says so once half is gone.
    pub left: Option<u64>,
}

/// Keeps the rolling day, in hours.
pub(crate) struct Ledger {
    budget: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    hours: VecDeque<(Instant, u64)>,
    left: Option<u64>,
}

impl Ledger {
    pub(crate) fn new(budget: u64) -> Self {
        Self {
            budget,
            state: Mutex::default(),
        }
    }

    /// Takes the price of a call, or says how long to wait for it.
    pub(crate) fn spend(&self, call: Call, price: u64) -> Result<()> {
        let mut state = self.state();
        let now = Instant::now();
        state.forget(now);
        let spent: u64 = state.hours.iter().map(|(_, spent)| spent).sum();
        if spent.saturating_add(price) > self.budget {
            let wait = state
                .hours
                .front()
                .map_or(HOUR, |(since, _)| (*since + DAY).duration_since(now));
            let fault = call.fault(FaultKind::Throttled {
                retry_after: Some(wait),
            });
            return Err(fault.because("the day's credits are spent").into());
        }
        match state.hours.back_mut() {
            Some((since, spent)) if now.duration_since(*since) < HOUR => *spent += price,
            _ => state.hours.push_back((now, price)),
        }
        Ok(())
    }

    /// Notes what the vendor says is left.
    pub(crate) fn told(&self, left: Option<&str>) {
        if let Some(left) = left.and_then(|text| text.trim().parse().ok()) {
            self.state().left = Some(left);
        }
    }

    pub(crate) fn read(&self) -> Credits {
        let mut state = self.state();
        state.forget(Instant::now());
        Credits {
            spent: state.hours.iter().map(|(_, spent)| spent).sum(),
            budget: self.budget,
            left: state.left,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self, now: Instant) {
        while self
            .hours
            .front()
            .is_some_and(|(since, _)| now.duration_since(*since) >= DAY)
        {
            self.hours.pop_front();
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;
    use kta_core::Port;

    #[tokio::test(start_paused = true)]
    async fn no_rolling_day_costs_more_than_its_budget() {
        let call = Call::new(Port::Crm, "changes");
        let ledger = Ledger::new(100);
        ledger.spend(call, 60).unwrap();
        tokio::time::advance(DAY / 2).await;
        ledger.spend(call, 40).unwrap();
        let refused = ledger.spend(call, 1).unwrap_err();
        let kind = refused.fault().unwrap().kind();
        assert!(
            matches!(kind, FaultKind::Throttled { retry_after: Some(wait) } if wait == DAY / 2),
            "{kind:?}"
        );
        tokio::time::advance(DAY / 2).await;
        ledger.spend(call, 60).unwrap();
        assert_eq!(ledger.read().spent, 100);
        ledger.told(Some("4711"));
        ledger.told(Some("rubbish"));
        assert_eq!(ledger.read().left, Some(4_711));
    }
}
