//! The kit of [`ChangeFeed`].

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;

use super::crm::of;
use super::marks::{assert_unmarked, effect, ended_permits_are_refused, ordinary};
use super::{Desk, fault};
use crate::FaultKind;
use crate::error::Result;
use crate::pii::{FieldName, Fields, Locator, Pii};
use crate::policy::{Act, Role, Scope};
use crate::ports::crm::{Change, ChangeFeed, ChangePage, Crm, CrmRecord, Cursor};

conformance_cases! {$
    /// The contract of [`ChangeFeed`](crate::ports::ChangeFeed) as tests; `fresh` gives a
    /// [`ChangeFeedBench`](crate::conformance::change_feed::ChangeFeedBench). See
    /// [`conformance`](crate::conformance).
    change_feed_conformance = change_feed:
    an_empty_crm_has_no_changes,
    from_no_cursor_on_every_record_is_seen,
    a_change_made_after_a_page_was_cut_is_seen_in_a_later_page,
    a_deletion_is_reported_as_such,
    the_same_cursor_again_gives_the_same_or_more,
    changes_come_oldest_first,
    what_is_no_cursor_of_this_feed_is_refused,
    only_a_permit_to_look_opens_the_feed,
    a_page_holds_no_value,
}

/// An empty CRM with its feed.
#[async_trait]
pub trait ChangeFeedBench: Send + Sync {
    /// The port, opened anew each time where the adapter keeps anything in memory.
    async fn feed(&self) -> Arc<dyn ChangeFeed>;

    /// The CRM beside it.
    async fn crm(&self) -> Arc<dyn Crm>;

    /// Deletes a record by hand, as somebody at the CRM would.
    async fn delete(&self, at: &Locator);
}

/// A CRM without records has no changes.
pub async fn an_empty_crm_has_no_changes(bench: &dyn ChangeFeedBench) {
    let desk = Desk::new("change feed");
    let page = page(bench, &desk, None, 10).await.unwrap();
    assert_eq!((page.changes, page.more), (Vec::new(), false));
}

/// From no cursor on, every record is seen at least once, in pages of whatever size.
pub async fn from_no_cursor_on_every_record_is_seen(bench: &dyn ChangeFeedBench) {
    let desk = Desk::new("change feed");
    let mut entered = BTreeSet::new();
    for number in 1..=7 {
        let (entry, at) = entered_record(bench, &desk, number).await;
        entered.insert((at, Some(entry.record)));
    }
    for limit in [1, 3, 100] {
        let (changes, _) = read(bench, &desk, None, limit).await;
        let seen: BTreeSet<_> = changes
            .into_iter()
            .map(|change| (change.locator, change.record))
            .collect();
        assert_eq!(seen, entered, "in pages of {limit}");
    }
}

/// A change made after a page was cut is seen in a later page.
pub async fn a_change_made_after_a_page_was_cut_is_seen_in_a_later_page(
    bench: &dyn ChangeFeedBench,
) {
    let desk = Desk::new("change feed");
    let (first, at) = entered_record(bench, &desk, 1).await;
    entered_record(bench, &desk, 2).await;
    let cut = page(bench, &desk, None, 1).await.unwrap();
    let (late, late_at) = entered_record(bench, &desk, 3).await;
    let (changes, cursor) = read(bench, &desk, Some(cut.next), 10).await;
    assert!(
        changes
            .iter()
            .any(|change| change.locator == late_at && change.record == Some(late.record))
    );
    amend(bench, &desk, &first, &at).await;
    let (changes, _) = read(bench, &desk, Some(cursor), 10).await;
    assert!(
        changes
            .iter()
            .any(|change| change.locator == at && !change.deleted),
        "the amended record"
    );
}

/// A deletion is reported as such.
pub async fn a_deletion_is_reported_as_such(bench: &dyn ChangeFeedBench) {
    let desk = Desk::new("change feed");
    let (_, gone) = entered_record(bench, &desk, 1).await;
    let (_, stays) = entered_record(bench, &desk, 2).await;
    let (_, cursor) = read(bench, &desk, None, 10).await;
    bench.delete(&gone).await;
    for from in [Some(cursor), None] {
        let (changes, _) = read(bench, &desk, from, 10).await;
        assert!(
            changes
                .iter()
                .any(|change| change.locator == gone && change.deleted)
        );
        assert!(
            !changes
                .iter()
                .any(|change| change.locator == stays && change.deleted)
        );
    }
}

/// The same cursor again gives the same or more.
pub async fn the_same_cursor_again_gives_the_same_or_more(bench: &dyn ChangeFeedBench) {
    let desk = Desk::new("change feed");
    for number in 1..=3 {
        entered_record(bench, &desk, number).await;
    }
    let start = page(bench, &desk, None, 1).await.unwrap().next;
    let (before, _) = read(bench, &desk, Some(start.clone()), 2).await;
    let (again, _) = read(bench, &desk, Some(start.clone()), 2).await;
    assert_eq!(set(&again), set(&before));
    entered_record(bench, &desk, 4).await;
    let (later, _) = read(bench, &desk, Some(start), 2).await;
    assert!(set(&later).is_superset(&set(&before)));
    assert!(set(&later).len() > set(&before).len());
}

/// Within a page changes come oldest first.
pub async fn changes_come_oldest_first(bench: &dyn ChangeFeedBench) {
    let desk = Desk::new("change feed");
    for number in 1..=4 {
        entered_record(bench, &desk, number).await;
    }
    let page = page(bench, &desk, None, 100).await.unwrap();
    assert!(page.changes.windows(2).all(|pair| pair[0].at <= pair[1].at));
}

/// A text that is no cursor of this feed is refused; it is never read as the beginning or end.
pub async fn what_is_no_cursor_of_this_feed_is_refused(bench: &dyn ChangeFeedBench) {
    let desk = Desk::new("change feed");
    for text in ["", "nonsense", "' or 1=1 --"] {
        let outcome = page(bench, &desk, Some(&Cursor(text.to_owned())), 10).await;
        assert_eq!(fault(outcome), FaultKind::Misconfigured, "{text}");
    }
}

/// Only a permit to look opens the feed, and only while it lasts.
pub async fn only_a_permit_to_look_opens_the_feed(bench: &dyn ChangeFeedBench) {
    let desk = Desk::new("change feed");
    let feed = bench.feed().await;
    let (look, enter) = (
        (Role::ServiceSync, Act::Transfer),
        (Role::ServiceSync, Act::Enter),
    );
    ended_permits_are_refused(&desk, Scope::firm(), look, enter, async |permit| {
        feed.changes(None, 10, permit).await
    })
    .await;
}

/// A page tells ids and instants, and no value.
pub async fn a_page_holds_no_value(bench: &dyn ChangeFeedBench) {
    let desk = Desk::new("change feed");
    let (_, at) = entered_record(bench, &desk, 1).await;
    bench.delete(&at).await;
    let feed = bench.feed().await;
    let (changes, cursor) = read(bench, &desk, None, 10).await;
    assert!(!changes.is_empty());
    assert_unmarked(&format!("{feed:?} {changes:?} {cursor:?}"));
}

async fn page(
    bench: &dyn ChangeFeedBench,
    desk: &Desk,
    cursor: Option<&Cursor>,
    limit: usize,
) -> Result<ChangePage> {
    let session = desk.session(Role::ServiceSync);
    let permit = session.permit(Act::Transfer, Scope::firm()).await?;
    bench.feed().await.changes(cursor, limit, &permit).await
}

/// Every change from a cursor on until there is no more now, and the cursor at the end.
async fn read(
    bench: &dyn ChangeFeedBench,
    desk: &Desk,
    mut cursor: Option<Cursor>,
    limit: usize,
) -> (Vec<Change>, Cursor) {
    let mut changes = Vec::new();
    for _ in 0..MOST_PAGES {
        let page = page(bench, desk, cursor.as_ref(), limit).await.unwrap();
        changes.extend(page.changes);
        if !page.more {
            return (changes, page.next);
        }
        cursor = Some(page.next);
    }
    panic!("the pages do not end");
}

async fn entered_record(
    bench: &dyn ChangeFeedBench,
    desk: &Desk,
    number: u8,
) -> (CrmRecord, Locator) {
    let entry = of(desk, desk.beneficiary(), number);
    let session = desk.session(Role::ServiceSync);
    let permit = session
        .permit(Act::Enter, ordinary(desk, entry.subject))
        .await
        .unwrap();
    let at = bench
        .crm()
        .await
        .enter(&entry, effect(desk, number), &permit)
        .await
        .unwrap();
    (entry, at)
}

async fn amend(bench: &dyn ChangeFeedBench, desk: &Desk, entry: &CrmRecord, at: &Locator) {
    let session = desk.session(Role::Paralegal);
    let scope = || ordinary(desk, entry.subject);
    let reading = session.permit(Act::Open, scope()).await.unwrap();
    let crm = bench.crm().await;
    let expected = crm
        .fetch(entry.subject, at, &reading)
        .await
        .unwrap()
        .modified;
    let fields: Fields = [(
        FieldName::fixed("occupation"),
        Pii::new("another one".to_owned()),
    )]
    .into_iter()
    .collect();
    let permit = session.permit(Act::Amend, scope()).await.unwrap();
    crm.amend(entry.subject, at, expected, &fields, &permit)
        .await
        .unwrap();
}

fn set(changes: &[Change]) -> BTreeSet<(Locator, bool)> {
    changes
        .iter()
        .map(|change| (change.locator.clone(), change.deleted))
        .collect()
}

const MOST_PAGES: usize = 200;
