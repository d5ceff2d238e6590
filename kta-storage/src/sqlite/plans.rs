//! That SQLite finds by index what grows with the firm.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use kta_core::conformance::store::Samples;
use kta_core::policy::Purpose;
use kta_core::ports::store::{PlacementQuery, RecordBy, RecordQuery};
use rusqlite::Connection;

use super::{FORM, lease, query};

#[test]
fn a_lease_reads_the_jobs_in_their_order() {
    let plan = plan(lease::DUE);
    assert!(
        plan.contains("USING INDEX job_by_due (firm=? AND due<?)"),
        "{plan}"
    );
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
}

#[test]
fn a_late_page_of_records_begins_where_the_one_before_it_ended() {
    let rows = Samples::of("plans");
    // An index that has what the ids begin with is bounded by that.
    let (head, id) = ("AND <expr>>?)", "AND record>?)");
    for (by, bound) in [
        (RecordBy::Class(rows.class().id()), head),
        (RecordBy::Matter(rows.matter(1)), head),
        (RecordBy::Purpose(Purpose::Filing), head),
        (RecordBy::Subject(rows.subject(1)), id),
    ] {
        let first = RecordQuery::all(rows.tenant, by).page(None, 100);
        let late = first.clone().page(Some(rows.key(1, 1).record), 100);
        let plan = [&first, &late].map(|query| plan(&query::records_sql(query)));
        assert!(!plan[0].contains(bound), "{}", plan[0]);
        assert!(plan[1].contains(bound), "{}", plan[1]);
    }
}

#[test]
fn all_that_a_class_has_is_read_once() {
    let rows = Samples::of("plans");
    for by in [
        RecordBy::Class(rows.class().id()),
        RecordBy::Purpose(Purpose::Filing),
    ] {
        let plan = plan(&query::records_sql(&RecordQuery::all(rows.tenant, by)));
        assert_eq!(plan.matches("SEARCH r ").count(), 1, "{plan}");
        assert!(
            plan.contains("INDEX record_by_cohort (firm=? AND cohort=?)"),
            "{plan}"
        );
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[test]
fn a_late_page_of_copies_begins_where_the_one_before_it_ended() {
    let rows = Samples::of("plans");
    let copy = rows.placement(1, 1, "kta-store");
    let whole = PlacementQuery {
        subject: None,
        ..PlacementQuery::of(rows.tenant, copy.subject)
    };
    for first in [
        PlacementQuery::of(rows.tenant, copy.subject),
        PlacementQuery::in_matter(rows.tenant, rows.matter(1)),
        whole.clone(),
        PlacementQuery {
            system: Some(copy.system),
            ..whole
        },
    ] {
        let late = PlacementQuery {
            after: Some(copy.id),
            ..first.clone()
        };
        let plan = [&first, &late].map(|query| plan(&query::placements_sql(query)));
        assert!(!plan[0].contains("id>?"), "{}", plan[0]);
        assert!(plan[1].contains("id>?"), "{}", plan[1]);
        assert!(!plan[1].contains("TEMP B-TREE"), "{}", plan[1]);
    }
}

/// How SQLite would go about a statement on a new file.
fn plan(sql: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let db: Connection = FORM.open(&folder.path().join("firm.db"), None).unwrap();
    let mut explained = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    // Planned without values: it asks for none.
    let steps = explained.raw_query().mapped(|row| row.get::<_, String>(3));
    steps.collect::<Result<Vec<_>, _>>().unwrap().join("; ")
}
