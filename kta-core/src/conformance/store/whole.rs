//! Whole or not at all, one tenant apart from another, nothing told.

use futures_util::future::join_all;

use super::Firm;
use super::samples::{Samples, at, marks};
use crate::conformance::{cancelled, fault};
use crate::ports::store::{
    Change, ChangeSet, Durability, Expected, HoldQuery, PlacementQuery, RecordBy, RecordQuery,
    Register, SheetQuery,
};
use crate::{Error, FaultKind};

/// A change set is committed as a whole or not at all.
pub async fn a_change_set_is_committed_whole_or_not_at_all(port: &dyn Firm) {
    let rows = Samples::of("whole");
    let everything = |set: ChangeSet| {
        set.with(rows.put(1, 1, 1, &[1], Expected::Absent))
            .with(Change::PutPlacement(rows.placement(1, 1, "kta-store")))
            .with(Change::PlaceHold(rows.hold(1, Some(2), None)))
            .with(Change::File {
                sheet: rows.sheet(Register::Matters, 1, 1),
                expected: Expected::Absent,
            })
            .with(Change::Intern(rows.class()))
            .with(Change::Enqueue(rows.job(1, 0)))
            .event(rows.event(Some(1)))
    };
    let stale = rows.put(1, 2, 8, &[], Expected::Revision(7));
    let failed = port.commit(everything(rows.set(0)).with(stale)).await;
    assert_eq!(fault(failed), FaultKind::Conflict);
    assert_eq!(counts(port, &rows).await, [0; 7]);

    let done = port.commit(everything(rows.set(0))).await.unwrap();
    assert_eq!((done.first, done.entries), (Some(0), 1));
    assert_eq!(counts(port, &rows).await, [1; 7]);

    // A failing set leaves untouched what it would have replaced and removed.
    let failed = rows
        .set(1)
        .with(Change::RemoveRecord(rows.key(1, 1)))
        .with(Change::RemoveSheet(
            Register::Matters,
            rows.sheet(Register::Matters, 1, 1).id,
        ))
        .with(Change::ReleaseHold {
            hold: rows.hold(1, None, None).id,
            by: rows.actor(),
        })
        .with(Change::PlaceHold(rows.hold(1, Some(2), None)));
    assert_eq!(fault(port.commit(failed).await), FaultKind::Conflict);
    assert_eq!(counts(port, &rows).await, [1; 7]);
}

/// A change whose expected revision is not the stored one fails the whole set as a conflict.
pub async fn a_change_whose_expected_revision_is_not_stored_is_a_conflict(port: &dyn Firm) {
    let rows = Samples::of("expected");
    let file = |number, revision, expected| {
        rows.set(0).with(Change::File {
            sheet: rows.sheet(Register::Matters, number, revision),
            expected,
        })
    };
    let put = |revision, expected| rows.set(0).with(rows.put(1, 1, revision, &[], expected));
    for set in [
        put(2, Expected::Revision(1)),
        file(1, 2, Expected::Revision(1)),
    ] {
        assert_eq!(fault(port.commit(set).await), FaultKind::Conflict);
    }
    for set in [put(1, Expected::Absent), file(1, 1, Expected::Absent)] {
        port.commit(set).await.unwrap();
    }
    for set in [
        put(1, Expected::Absent),
        put(3, Expected::Revision(2)),
        file(1, 1, Expected::Absent),
        file(1, 3, Expected::Revision(2)),
    ] {
        assert_eq!(fault(port.commit(set).await), FaultKind::Conflict);
    }
    for set in [
        put(2, Expected::Revision(1)),
        file(1, 2, Expected::Revision(1)),
    ] {
        port.commit(set).await.unwrap();
    }
    assert_eq!(
        port.record(&rows.key(1, 1))
            .await
            .unwrap()
            .unwrap()
            .revision,
        2
    );
}

/// A revision that does not follow the expected one is the caller's mistake, whatever is stored.
pub async fn a_revision_that_does_not_follow_the_expected_one_is_refused(port: &dyn Firm) {
    let rows = Samples::of("revision");
    for set in [
        rows.set(0).with(rows.put(1, 1, 2, &[], Expected::Absent)),
        rows.set(0)
            .with(rows.put(1, 1, 5, &[], Expected::Revision(3))),
        rows.set(0).with(Change::File {
            sheet: rows.sheet(Register::Matters, 1, 9),
            expected: Expected::Absent,
        }),
    ] {
        assert_eq!(fault(port.commit(set).await), FaultKind::Protocol);
    }
    assert_eq!(counts(port, &rows).await, [0; 7]);
}

/// A record never goes back to a lower revision, even when anything is expected.
pub async fn a_record_never_goes_back_to_a_lower_revision(port: &dyn Firm) {
    let rows = Samples::of("lower");
    for (revision, goes) in [(3, true), (2, false), (3, true), (4, true), (1, false)] {
        let set = rows
            .set(0)
            .with(rows.put(1, 1, revision, &[], Expected::Any));
        let outcome = port.commit(set).await;
        if goes {
            outcome.unwrap();
        } else {
            assert_eq!(fault(outcome), FaultKind::Conflict);
        }
    }
    assert_eq!(
        port.record(&rows.key(1, 1))
            .await
            .unwrap()
            .unwrap()
            .revision,
        4
    );
}

/// Of concurrent creates one wins, and only its events are on the log.
pub async fn of_concurrent_creates_one_wins(port: &dyn Firm) {
    let rows = Samples::of("creates");
    let creates = (0..8).map(|number| {
        let event = rows.event(Some(1)).with("number", u64::from(number));
        let set = rows
            .set(0)
            .with(rows.put(1, 1, 1, &[number], Expected::Absent))
            .event(event);
        port.commit(set)
    });
    let outcomes = join_all(creates).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for lost in outcomes.into_iter().filter(Result::is_err) {
        assert_eq!(fault(lost), FaultKind::Conflict);
    }
    assert_eq!(port.size(rows.tenant).await.unwrap(), 1);
}

/// A cancelled commit leaves no half-write.
pub async fn a_cancelled_commit_is_whole_or_nothing(port: &dyn Firm) {
    let rows = Samples::of("cancelled");
    for number in 1..=10 {
        let set = rows
            .set(0)
            .with(rows.put(1, number, 1, &[number], Expected::Absent))
            .with(Change::Enqueue(rows.job(number, 0)))
            .event(rows.event(Some(1)));
        cancelled(port.commit(set));
    }
    // What comes after comes after: no cancelled commit is still under way once this one is done.
    port.commit(rows.set(0).event(rows.event(None)))
        .await
        .unwrap();
    let [records, _, _, _, _, jobs, entries] = counts(port, &rows).await;
    assert_eq!((records, records), (jobs, entries - 1));
    for number in 1..=10 {
        let tagged = by_tag(port, &rows, number).await;
        let there = port.record(&rows.key(1, number)).await.unwrap().is_some();
        assert_eq!(tagged, usize::from(there));
    }
}

/// A bounded commit is seen at once by everybody who asks the store.
pub async fn a_bounded_commit_is_read_back_at_once(port: &dyn Firm) {
    let rows = Samples::of("bounded");
    let mut set = rows
        .set(0)
        .with(rows.put(1, 1, 1, &[], Expected::Absent))
        .event(rows.event(None));
    set.durability = Durability::Bounded;
    assert_eq!(port.commit(set).await.unwrap().first, Some(0));
    assert_eq!(counts(port, &rows).await, [1, 0, 0, 0, 0, 0, 1]);
}

/// Rows and events of another tenant are refused, with the whole set.
pub async fn rows_and_events_of_another_tenant_are_refused(port: &dyn Firm) {
    let (rows, other) = (Samples::of("ours"), Samples::of("theirs"));
    for change in [
        other.put(1, 1, 1, &[], Expected::Absent),
        Change::PutPlacement(other.placement(1, 1, "kta-store")),
        Change::PlaceHold(other.hold(1, Some(1), None)),
        Change::RemoveRecord(other.key(1, 1)),
    ] {
        let set = rows.set(0).event(rows.event(None)).with(change);
        assert_eq!(fault(port.commit(set).await), FaultKind::Protocol);
    }
    let set = rows.set(0).event(other.event(None));
    assert_eq!(fault(port.commit(set).await), FaultKind::Protocol);
    assert_eq!(counts(port, &rows).await, [0; 7]);
    assert_eq!(counts(port, &other).await, [0; 7]);
}

/// A tenant sees nothing of another, and numbers its entries by itself.
pub async fn a_tenant_sees_nothing_of_another(port: &dyn Firm) {
    let (rows, other) = (Samples::of("seen"), Samples::of("unseen"));
    for rows in [&rows, &other] {
        let set = rows
            .set(0)
            .with(rows.put(1, 1, 1, &[1], Expected::Absent))
            .with(Change::PutPlacement(rows.placement(1, 1, "kta-store")))
            .with(Change::PlaceHold(rows.hold(1, Some(2), None)))
            .with(Change::File {
                sheet: rows.sheet(Register::Matters, 1, 1),
                expected: Expected::Absent,
            })
            .with(Change::Enqueue(rows.job(1, 0)))
            .event(rows.event(Some(1)));
        assert_eq!(port.commit(set).await.unwrap().first, Some(0));
    }
    assert_eq!(counts(port, &rows).await, [1, 1, 1, 1, 0, 1, 1]);
    assert_eq!(by_tag(port, &rows, 1).await, 1);
    assert_eq!(
        port.lease(rows.tenant, at(0), at(9), 9)
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        port.lease(other.tenant, at(0), at(9), 9)
            .await
            .unwrap()
            .len(),
        1
    );
    let set = rows.set(1).with(Change::RemoveRecord(rows.key(1, 1)));
    port.commit(set).await.unwrap();
    assert_eq!(by_tag(port, &rows, 1).await, 0);
    assert_eq!(by_tag(port, &other, 1).await, 1);
    let trail = port
        .trail(other.tenant, other.subject(1), at(0), at(9))
        .await
        .unwrap();
    assert_eq!(trail, [0]);
}

/// Errors and `Debug` contain no stored value.
pub async fn errors_and_debug_hold_no_stored_value(port: &dyn Firm) {
    let rows = Samples::of("told");
    let create = || {
        rows.set(0)
            .with(Change::Enqueue(rows.job(1, 0)))
            .with(Change::File {
                sheet: rows.sheet(Register::Matters, 1, 1),
                expected: Expected::Absent,
            })
            .with(rows.put(1, 1, 1, &[1], Expected::Absent))
    };
    port.commit(create()).await.unwrap();
    let mut sheet = rows.sheet(Register::Matters, 2, 1);
    sheet.body = marks()[1].as_bytes().to_vec();
    let mut errors: Vec<Error> = Vec::new();
    for set in [
        create(),
        rows.set(0).with(Change::File {
            sheet,
            expected: Expected::Any,
        }),
        rows.set(0).with(rows.put(1, 1, 9, &[], Expected::Absent)),
    ] {
        errors.push(port.commit(set).await.unwrap_err());
    }
    let told = format!(
        "{port:?} {errors:?} {}",
        errors.iter().map(ToString::to_string).collect::<String>()
    );
    assert!(
        !told.is_empty() && marks().iter().all(|mark| !told.contains(mark)),
        "{told}"
    );
}

/// Records, placements, holds, matters, classes, jobs and entries of a tenant.
pub(super) async fn counts(port: &dyn Firm, rows: &Samples) -> [usize; 7] {
    let tenant = rows.tenant;
    let mut records = 0;
    for number in 0..=10 {
        let by = RecordBy::Subject(rows.subject(number));
        let query = RecordQuery::all(tenant, by);
        records += port.records(&query).await.unwrap().len();
    }
    let placements = PlacementQuery {
        subject: None,
        ..PlacementQuery::of(tenant, rows.subject(0))
    };
    let holds = HoldQuery {
        tenant,
        subject: None,
        matter: None,
        active: true,
    };
    [
        records,
        port.placements(&placements).await.unwrap().len(),
        port.holds(&holds).await.unwrap().len(),
        port.sheets(&SheetQuery::all(tenant, Register::Matters))
            .await
            .unwrap()
            .len(),
        port.sheets(&SheetQuery::all(tenant, Register::Classes))
            .await
            .unwrap()
            .len(),
        port.jobs(tenant, None).await.unwrap().len(),
        usize::try_from(port.size(tenant).await.unwrap()).unwrap(),
    ]
}

/// How many records an index tag finds.
pub(super) async fn by_tag(port: &dyn Firm, rows: &Samples, number: u8) -> usize {
    let (field, tag) = rows.tag(number);
    let by = RecordBy::Tag(field, tag);
    let query = RecordQuery::all(rows.tenant, by);
    port.records(&query).await.unwrap().len()
}
