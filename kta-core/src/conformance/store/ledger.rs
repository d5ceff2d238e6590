//! The log.

use futures_util::future::join_all;

use super::Firm;
use super::samples::{Samples, at};
use crate::Code;
use crate::audit::{Entry, Label, Log};
use crate::conformance::code;
use crate::ports::store::Durability;

/// Every event becomes one entry, in order, numbered from 0 without gaps.
pub async fn events_become_entries_numbered_without_gaps(port: &dyn Firm) {
    let rows = Samples::of("numbered");
    for set in 0..4_u64 {
        let mut change = rows.set(0);
        change.events = (0..set)
            .map(|n| rows.event(None).with("set", set).with("n", n))
            .collect();
        let done = port.commit(change).await.unwrap();
        assert_eq!(
            (done.first, done.entries),
            (Some(set * set.saturating_sub(1) / 2), set)
        );
    }
    let said: Vec<_> = parsed(port, &rows)
        .await
        .iter()
        .map(|entry| (entry.seq, fact(entry, "set"), fact(entry, "n")))
        .collect();
    let expected = [
        (0, 1, 0),
        (1, 2, 0),
        (2, 2, 1),
        (3, 3, 0),
        (4, 3, 1),
        (5, 3, 2),
    ];
    assert_eq!(
        said,
        expected.map(|(seq, set, n)| (seq, set.to_string(), n.to_string()))
    );
}

/// Concurrent commits leave no gap, and each keeps its events together.
pub async fn concurrent_commits_leave_no_gap(port: &dyn Firm) {
    let rows = Samples::of("no gap");
    let commits = (0..30_u64).map(|number| {
        let event = || rows.event(None).with("set", number);
        port.commit(rows.set(0).event(event()).event(event()).event(event()))
    });
    for done in join_all(commits).await {
        assert_eq!(done.unwrap().entries, 3);
    }
    let entries = parsed(port, &rows).await;
    assert_eq!(entries.len(), 90);
    for (number, entry) in (0_u64..).zip(&entries) {
        assert_eq!(entry.seq, number);
    }
    for three in entries.chunks(3) {
        assert!(
            three
                .iter()
                .all(|entry| fact(entry, "set") == fact(&three[0], "set"))
        );
    }
}

/// Bounded events are in the log for whoever asks, however they are asked for, and stand before
/// everything that is committed after them.
pub async fn bounded_events_stand_in_the_log_in_their_order(port: &dyn Firm) {
    let rows = Samples::of("bounded events");
    let (mut said, mut bounded) = (Vec::new(), 0);
    for number in 0..24_u64 {
        let event = rows.event(Some(1)).with("number", number);
        let mut set = rows.set(i64::try_from(number).unwrap()).event(event);
        if number % 5 != 4 {
            set.durability = Durability::Bounded;
            bounded += 1;
        }
        if number % 7 == 6 {
            set = set.event(rows.event(None).with("number", number));
            said.push(number.to_string());
        }
        said.push(number.to_string());
        let (before, events) = (set.durability, set.events.len() as u64);
        let done = port.commit(set).await.unwrap();
        assert_eq!(done.entries, events);
        let first = said.len() as u64 - events;
        assert!(done.first == Some(first) || done.first.is_none() && before == Durability::Bounded);
        // Asked for now and then only, so that several are on their way at once.
        match number {
            3 => assert_eq!(port.size(rows.tenant).await.unwrap(), said.len() as u64),
            8 => assert_eq!(parsed(port, &rows).await.len(), said.len()),
            15 => {
                let person = rows.subject(1);
                let trail = port.trail(rows.tenant, person, at(0), at(99)).await;
                assert_eq!(trail.unwrap().len(), 16);
            }
            _ => {}
        }
    }
    let entries = parsed(port, &rows).await;
    let found: Vec<_> = entries.iter().map(|entry| fact(entry, "number")).collect();
    assert_eq!((found, bounded), (said, 20));
    let mut log = Log::new("kit.example");
    for entry in &entries {
        log.append(&entry.canonical()).unwrap();
    }
}

/// An entry is never older than the one before it, though the caller's clock was set back.
pub async fn an_entry_is_never_older_than_the_one_before(port: &dyn Firm) {
    let rows = Samples::of("older");
    for milliseconds in [1_000, 500, 2_000, -7_000] {
        port.commit(rows.set(milliseconds).event(rows.event(None)))
            .await
            .unwrap();
    }
    let times: Vec<_> = parsed(port, &rows)
        .await
        .iter()
        .map(|entry| entry.at)
        .collect();
    assert_eq!(times, [at(1_000), at(1_000), at(2_000), at(2_000)]);
}

/// Entries come back byte for byte, however they are asked for: a log over them opens.
pub async fn entries_come_back_byte_for_byte(port: &dyn Firm) {
    let rows = Samples::of("bytes");
    let mut log = Log::new("kit.example");
    let mut hashed = Vec::new();
    for number in 0..12_u8 {
        let event = rows.event(Some(number)).with("number", u64::from(number));
        hashed.push(log.record(event.clone(), at(i64::from(number))).unwrap());
        port.commit(rows.set(i64::from(number)).event(event))
            .await
            .unwrap();
    }
    assert_eq!(
        port.entries(rows.tenant, 0, usize::MAX).await.unwrap(),
        hashed
    );
    assert_eq!(port.entries(rows.tenant, 5, 3).await.unwrap(), hashed[5..8]);
    assert_eq!(
        port.entries(rows.tenant, 10, 9).await.unwrap(),
        hashed[10..]
    );
    assert_eq!(
        port.entries(rows.tenant, 3, 0).await.unwrap(),
        Vec::<Vec<u8>>::new()
    );
}

/// Entries past the end are none, not an error.
pub async fn entries_past_the_end_are_empty(port: &dyn Firm) {
    let rows = Samples::of("past the end");
    for from in [0, 1, u64::MAX] {
        assert_eq!(
            port.entries(rows.tenant, from, 5).await.unwrap(),
            Vec::<Vec<u8>>::new()
        );
    }
    assert_eq!(port.size(rows.tenant).await.unwrap(), 0);
    port.commit(rows.set(0).event(rows.event(None)))
        .await
        .unwrap();
    for from in [1, 2, u64::MAX] {
        assert_eq!(
            port.entries(rows.tenant, from, 5).await.unwrap(),
            Vec::<Vec<u8>>::new()
        );
    }
    assert_eq!(port.size(rows.tenant).await.unwrap(), 1);
}

/// An entry that no log can hold is refused with its whole change set: `AUD-DOWN`.
pub async fn an_entry_too_long_for_the_log_is_refused_whole(port: &dyn Firm) {
    let rows = Samples::of("too long");
    let mut long = rows.event(None);
    let name = "x".repeat(Label::LONGEST);
    long.reasons = vec![Label::new(name).unwrap(); 700];
    let set = rows
        .set(0)
        .with(rows.put(1, 1, 1, &[], crate::ports::store::Expected::Absent));
    assert_eq!(
        code(port.commit(set.event(rows.event(None)).event(long)).await),
        Code::AudDown
    );
    assert_eq!(port.size(rows.tenant).await.unwrap(), 0);
    assert_eq!(port.record(&rows.key(1, 1)).await.unwrap(), None);
}

/// The trail of a person lists every entry that names the person, as its subject or among its
/// facts, in log order.
pub async fn the_trail_lists_every_entry_that_names_the_person(port: &dyn Firm) {
    let rows = Samples::of("trail");
    let events = [
        rows.event(Some(1)),
        rows.event(Some(2)),
        rows.event(None),
        rows.event(Some(2)).with("guardian", rows.subject(1)),
        rows.event(Some(1)).with("again", rows.subject(1)),
    ];
    for event in events {
        port.commit(rows.set(0).event(event)).await.unwrap();
    }
    for (subject, expected) in [(1, &[0, 3, 4][..]), (2, &[1, 3]), (3, &[])] {
        let trail = port
            .trail(rows.tenant, rows.subject(subject), at(0), at(0))
            .await
            .unwrap();
        assert_eq!(trail, expected);
    }
}

/// A trail holds the entries from the first instant to the last, both included.
pub async fn the_trail_ends_where_it_is_told(port: &dyn Firm) {
    let rows = Samples::of("trail between");
    for milliseconds in [0, 10, 20, 30] {
        port.commit(rows.set(milliseconds).event(rows.event(Some(1))))
            .await
            .unwrap();
    }
    for (from, to, expected) in [
        (0, 30, &[0, 1, 2, 3][..]),
        (10, 20, &[1, 2]),
        (11, 19, &[]),
        (31, 99, &[]),
        (20, 10, &[]),
    ] {
        let trail = port
            .trail(rows.tenant, rows.subject(1), at(from), at(to))
            .await
            .unwrap();
        assert_eq!(trail, expected);
    }
    let sliver = chrono::TimeDelta::nanoseconds(1);
    let trail = port
        .trail(
            rows.tenant,
            rows.subject(1),
            at(10) + sliver,
            at(30) - sliver,
        )
        .await
        .unwrap();
    assert_eq!(trail, [2]);
}

async fn parsed(port: &dyn Firm, rows: &Samples) -> Vec<Entry> {
    let entries = port.entries(rows.tenant, 0, usize::MAX).await.unwrap();
    entries
        .iter()
        .map(|bytes| Entry::parse(bytes).unwrap())
        .collect()
}

fn fact(entry: &Entry, name: &'static str) -> String {
    entry
        .event
        .facts
        .get(&Label::fixed(name))
        .map(ToString::to_string)
        .unwrap_or_default()
}
