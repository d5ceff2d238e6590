//! The kit of [`AuditFeed`].

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;

use super::Desk;
use super::marks::{MARK, assert_unmarked, ended_permits_are_refused};
use crate::error::Result;
use crate::policy::{Act, Role, Scope};
use crate::ports::crm::{AuditFeed, AuditRow};
use crate::time::Timestamp;

conformance_cases! {$
    /// The contract of [`AuditFeed`](crate::ports::AuditFeed) as tests; `fresh` gives an
    /// [`AuditFeedBench`](crate::conformance::audit_feed::AuditFeedBench). See
    /// [`conformance`](crate::conformance).
    audit_feed_conformance = audit_feed:
    rows_come_oldest_first_within_their_interval,
    what_happened_is_told_and_each_row_can_be_proved,
    what_is_personal_in_a_row_stays_behind,
    asking_for_the_same_interval_twice_gives_the_same_rows,
    an_interval_in_which_nothing_happened_is_empty,
    only_a_permit_to_review_reads_the_log,
}

/// A system that logs what happens in it.
#[async_trait]
pub trait AuditFeedBench: Send + Sync {
    /// The port.
    async fn feed(&self) -> Arc<dyn AuditFeed>;

    /// Makes several different things happen that the vendor logs, to records and users whose
    /// names hold `marked`, and says within which of the vendor's time.
    async fn happen(&self, marked: &str) -> Happened;
}

/// What a bench made happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happened {
    /// The vendor's time before the first.
    pub from: Timestamp,
    /// The vendor's time after the last.
    pub to: Timestamp,
    /// How many rows the vendor must have at least.
    pub rows: usize,
}

/// Rows come oldest first, each with the vendor's time, within a second of the interval.
pub async fn rows_come_oldest_first_within_their_interval(bench: &dyn AuditFeedBench) {
    let happened = bench.happen(MARK).await;
    let rows = rows(bench, happened.from, happened.to).await.unwrap();
    assert!(rows.windows(2).all(|pair| pair[0].at <= pair[1].at));
    let blur = TimeDelta::seconds(1);
    assert!(
        rows.iter()
            .all(|row| row.at >= happened.from - blur && row.at <= happened.to + blur)
    );
}

/// What happened is told, and each row is a row of its own that can be proved by its digest.
pub async fn what_happened_is_told_and_each_row_can_be_proved(bench: &dyn AuditFeedBench) {
    let happened = bench.happen(MARK).await;
    assert!(
        happened.rows > 1,
        "the bench must make several things happen"
    );
    let rows = rows(bench, happened.from, happened.to).await.unwrap();
    assert!(
        rows.len() >= happened.rows,
        "{} of {} rows",
        rows.len(),
        happened.rows
    );
    let digests: BTreeSet<_> = rows.iter().map(|row| row.digest).collect();
    assert_eq!(digests.len(), rows.len());
}

/// What is personal in a row stays behind.
pub async fn what_is_personal_in_a_row_stays_behind(bench: &dyn AuditFeedBench) {
    let happened = bench.happen(MARK).await;
    let port = bench.feed().await;
    let rows = rows(bench, happened.from, happened.to).await.unwrap();
    let shown = format!("{port:?} {rows:?}");
    assert_unmarked(&shown);
    assert!(!shown.contains('@'), "an address is shown");
}

/// Asking for the same interval twice gives the same rows, whatever happens afterwards.
pub async fn asking_for_the_same_interval_twice_gives_the_same_rows(bench: &dyn AuditFeedBench) {
    let happened = bench.happen(MARK).await;
    let first = rows(bench, happened.from, happened.to).await.unwrap();
    assert!(!first.is_empty());
    assert_eq!(
        rows(bench, happened.from, happened.to).await.unwrap(),
        first
    );
}

/// An interval in which nothing happened is empty.
pub async fn an_interval_in_which_nothing_happened_is_empty(bench: &dyn AuditFeedBench) {
    let happened = bench.happen(MARK).await;
    let (from, to) = (
        happened.from - TimeDelta::days(3),
        happened.from - TimeDelta::days(2),
    );
    assert_eq!(rows(bench, from, to).await.unwrap(), []);
}

/// Only a permit to review reads the vendor's log, and only while it lasts.
pub async fn only_a_permit_to_review_reads_the_log(bench: &dyn AuditFeedBench) {
    let desk = Desk::new("audit feed");
    let happened = bench.happen(MARK).await;
    let port = bench.feed().await;
    let (review, open) = ((Role::Ciso, Act::Review), (Role::Ciso, Act::Open));
    ended_permits_are_refused(&desk, Scope::firm(), review, open, async |permit| {
        port.rows(happened.from, happened.to, permit).await
    })
    .await;
}

async fn rows(bench: &dyn AuditFeedBench, from: Timestamp, to: Timestamp) -> Result<Vec<AuditRow>> {
    let desk = Desk::new("audit feed");
    let session = desk.session(Role::Ciso);
    let permit = session.permit(Act::Review, Scope::firm()).await?;
    bench.feed().await.rows(from, to, &permit).await
}
