//! Records, placements, holds and sheets: what is written, found, held and removed.

use super::Firm;
use super::samples::{Samples, at};
use super::whole::{by_tag, counts};
use crate::conformance::{code, fault};
use crate::id::{PlacementId, RecordId};
use crate::pii::{Locator, PlacementState};
use crate::ports::store::{
    Change, Expected, HoldQuery, PlacementQuery, RecordBy, RecordQuery, Register, Sheet, SheetQuery,
};
use crate::{Code, FaultKind};

/// A record comes back as it was written, every field and flag of it.
pub async fn a_record_comes_back_as_it_was_written(port: &dyn Firm) {
    let rows = Samples::of("as written");
    for (subject, record) in [(0, 1), (1, 2), (2, 3)] {
        let set = rows
            .set(0)
            .with(rows.put(subject, record, 1, &[record], Expected::Absent));
        port.commit(set).await.unwrap();
        let read = port.record(&rows.key(subject, record)).await.unwrap();
        assert_eq!(read, Some(rows.record(subject, record, 1)));
    }
    assert_eq!(port.record(&rows.key(0, 9)).await.unwrap(), None);
    assert_eq!(port.record(&rows.key(9, 1)).await.unwrap(), None);
}

/// Records are found by person, matter and tag, in the order of their ids.
pub async fn records_are_found_by_person_matter_and_tag_in_order(port: &dyn Firm) {
    let rows = Samples::of("found");
    for (subject, record, tags) in [
        (1, 5, &[1, 2][..]),
        (2, 4, &[2]),
        (1, 3, &[1]),
        (0, 2, &[1]),
        (1, 1, &[]),
    ] {
        let set = rows
            .set(0)
            .with(rows.put(subject, record, 1, tags, Expected::Absent));
        port.commit(set).await.unwrap();
    }
    let (field, tag) = rows.tag(1);
    assert_eq!(
        found(port, &rows, RecordBy::Subject(rows.subject(1))).await,
        [1, 3, 5]
    );
    assert_eq!(
        found(port, &rows, RecordBy::Matter(rows.matter(1))).await,
        [1, 3, 5]
    );
    assert!(
        found(port, &rows, RecordBy::Matter(rows.matter(0)))
            .await
            .is_empty()
    );
    assert_eq!(
        found(port, &rows, RecordBy::Tag(field, tag.clone())).await,
        [2, 3, 5]
    );
    let other = crate::pii::FieldName::fixed("phone");
    assert!(
        found(port, &rows, RecordBy::Tag(other, tag))
            .await
            .is_empty()
    );
}

/// Records come in pages of at most the limit, after the last id of the page before.
pub async fn records_come_in_pages(port: &dyn Firm) {
    let rows = Samples::of("pages");
    for number in 1..=7 {
        let set = rows
            .set(0)
            .with(rows.put(1, number, 1, &[1], Expected::Absent));
        port.commit(set).await.unwrap();
    }
    let (field, tag) = rows.tag(1);
    for by in [
        RecordBy::Subject(rows.subject(1)),
        RecordBy::Matter(rows.matter(1)),
        RecordBy::Tag(field, tag),
    ] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let query = RecordQuery::all(rows.tenant, by.clone()).page(after, 3);
            let page = port.records(&query).await.unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() <= 3);
            after = Some(last.key.record);
            seen.extend(page.iter().map(|record| record.key.record.as_bytes()[0]));
        }
        assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7]);
        let none = RecordQuery::all(rows.tenant, by).page(None, 0);
        assert_eq!(port.records(&none).await.unwrap(), []);
    }
}

/// Writing a record replaces all its earlier index tags.
pub async fn writing_a_record_again_replaces_its_tags(port: &dyn Firm) {
    let rows = Samples::of("tags");
    port.commit(
        rows.set(0)
            .with(rows.put(1, 1, 1, &[1, 2, 2], Expected::Absent)),
    )
    .await
    .unwrap();
    assert_eq!(
        [by_tag(port, &rows, 1).await, by_tag(port, &rows, 2).await],
        [1, 1]
    );
    port.commit(
        rows.set(0)
            .with(rows.put(1, 1, 2, &[2, 3], Expected::Revision(1))),
    )
    .await
    .unwrap();
    let tagged = [
        by_tag(port, &rows, 1).await,
        by_tag(port, &rows, 2).await,
        by_tag(port, &rows, 3).await,
    ];
    assert_eq!(tagged, [0, 1, 1]);
    assert_eq!(
        port.record(&rows.key(1, 1)).await.unwrap(),
        Some(rows.record(1, 1, 2))
    );
}

/// What was removed is not found, and its index tags find nothing; others stay.
pub async fn what_was_removed_is_not_found_and_its_tags_find_nothing(port: &dyn Firm) {
    let rows = Samples::of("removed");
    for number in [1, 2] {
        let set = rows
            .set(0)
            .with(rows.put(1, number, 1, &[1], Expected::Absent));
        port.commit(set).await.unwrap();
    }
    port.commit(rows.set(1).with(Change::RemoveRecord(rows.key(1, 1))))
        .await
        .unwrap();
    assert_eq!(port.record(&rows.key(1, 1)).await.unwrap(), None);
    assert_eq!(by_tag(port, &rows, 1).await, 1);
    assert_eq!(
        found(port, &rows, RecordBy::Subject(rows.subject(1))).await,
        [2]
    );
    assert_eq!(
        found(port, &rows, RecordBy::Matter(rows.matter(1))).await,
        [2]
    );
    // And may be created again, as if it had never been.
    port.commit(rows.set(2).with(rows.put(1, 1, 1, &[], Expected::Absent)))
        .await
        .unwrap();
    assert_eq!(by_tag(port, &rows, 1).await, 1);
}

/// Removing what is not there is no error.
pub async fn removing_what_is_not_there_is_no_error(port: &dyn Firm) {
    let rows = Samples::of("nothing there");
    let sheet = rows.sheet(Register::Matters, 1, 1);
    for _ in 0..2 {
        let set = rows
            .set(0)
            .with(Change::RemoveRecord(rows.key(1, 1)))
            .with(Change::RemoveSheet(Register::Matters, sheet.id.clone()));
        port.commit(set).await.unwrap();
    }
}

/// Placements are found by person, matter and system, in the order of their ids.
pub async fn placements_are_found_by_person_matter_and_system(port: &dyn Firm) {
    let rows = Samples::of("placements");
    let made = [
        (1, 4, "zoho-crm"),
        (1, 2, "sharepoint"),
        (2, 3, "zoho-crm"),
        (1, 1, "zoho-crm"),
    ];
    for (subject, number, system) in made {
        let placement = rows.placement(subject, number, system);
        port.commit(rows.set(0).with(Change::PutPlacement(placement)))
            .await
            .unwrap();
    }
    let of = PlacementQuery::of(rows.tenant, rows.subject(1));
    let in_matter = PlacementQuery::in_matter(rows.tenant, rows.matter(2));
    let system = Some(crate::audit::Label::fixed("zoho-crm"));
    let in_system = PlacementQuery {
        system,
        subject: None,
        ..of.clone()
    };
    let both = PlacementQuery {
        subject: Some(rows.subject(1)),
        ..in_system.clone()
    };
    let page = PlacementQuery {
        after: Some(PlacementId::from_bytes([1; 16])),
        limit: 1,
        ..of.clone()
    };
    let neither = PlacementQuery {
        matter: Some(rows.matter(2)),
        ..of.clone()
    };
    for (query, expected) in [
        (of, &[1, 2, 4][..]),
        (in_matter, &[3]),
        (in_system, &[1, 3, 4]),
        (both, &[1, 4]),
        (page, &[2]),
        (neither, &[]),
    ] {
        let found = port.placements(&query).await.unwrap();
        let numbers: Vec<u8> = found
            .iter()
            .map(|placement| placement.id.as_bytes()[0])
            .collect();
        assert_eq!(numbers, expected);
    }
}

/// What is known of a copy may change; what it is a copy of, and where, may not.
pub async fn a_placement_stays_the_copy_that_it_is(port: &dyn Firm) {
    let rows = Samples::of("same copy");
    let placement = rows.placement(1, 1, "zoho-crm");
    port.commit(rows.set(0).with(Change::PutPlacement(placement.clone())))
        .await
        .unwrap();
    let mut known = placement.clone();
    known.state = PlacementState::Absent { at: at(5) };
    known.locator = Some(Locator::new("4150868000000376009").unwrap());
    known.matter = None;
    port.commit(rows.set(0).with(Change::PutPlacement(known.clone())))
        .await
        .unwrap();
    let query = PlacementQuery::of(rows.tenant, rows.subject(1));
    assert_eq!(port.placements(&query).await.unwrap(), [known.clone()]);
    for changed in [
        crate::pii::Placement {
            subject: rows.subject(2),
            ..known.clone()
        },
        crate::pii::Placement {
            system: crate::audit::Label::fixed("sharepoint"),
            ..known.clone()
        },
    ] {
        let outcome = port
            .commit(rows.set(0).with(Change::PutPlacement(changed)))
            .await;
        assert_eq!(fault(outcome), FaultKind::Conflict);
    }
    assert_eq!(port.placements(&query).await.unwrap(), [known]);
}

/// A hold is placed once and released once.
pub async fn a_hold_is_placed_and_released_once(port: &dyn Firm) {
    let rows = Samples::of("hold");
    let hold = rows.hold(1, Some(1), None);
    let place = || rows.set(0).with(Change::PlaceHold(hold.clone()));
    let release = || {
        rows.set(7).with(Change::ReleaseHold {
            hold: hold.id,
            by: rows.actor(),
        })
    };
    assert_eq!(fault(port.commit(release()).await), FaultKind::NotFound);
    port.commit(place()).await.unwrap();
    assert_eq!(fault(port.commit(place()).await), FaultKind::Conflict);
    port.commit(release()).await.unwrap();
    assert_eq!(fault(port.commit(release()).await), FaultKind::Conflict);
    assert_eq!(fault(port.commit(place()).await), FaultKind::Conflict);
    let all = HoldQuery {
        tenant: rows.tenant,
        subject: None,
        matter: None,
        active: false,
    };
    let [kept] = &port.holds(&all).await.unwrap()[..] else {
        panic!("not one hold")
    };
    assert_eq!(
        kept.released.map(|release| (release.by, release.at)),
        Some((rows.actor(), at(7)))
    );
    assert_eq!(
        port.holds(&HoldQuery {
            active: true,
            ..all
        })
        .await
        .unwrap(),
        []
    );
    let mut over = rows.hold(2, Some(1), None);
    over.released = kept.released;
    for wrong in [over, rows.hold(3, None, None)] {
        let outcome = port
            .commit(rows.set(0).with(Change::PlaceHold(wrong)))
            .await;
        assert_eq!(fault(outcome), FaultKind::Protocol);
    }
}

/// The store dates a hold and its release: neither is dated back, whatever the caller says.
pub async fn a_hold_is_dated_by_the_store(port: &dyn Firm) {
    let rows = Samples::of("dated");
    port.commit(rows.set(500).event(rows.event(None)))
        .await
        .unwrap();
    let mut hold = rows.hold(1, Some(1), None);
    hold.placed_at = at(-1_000_000);
    port.commit(rows.set(-9_000).with(Change::PlaceHold(hold.clone())))
        .await
        .unwrap();
    let release = Change::ReleaseHold {
        hold: hold.id,
        by: rows.actor(),
    };
    port.commit(rows.set(-9_000).with(release)).await.unwrap();
    let all = HoldQuery {
        tenant: rows.tenant,
        subject: None,
        matter: None,
        active: false,
    };
    let [kept] = &port.holds(&all).await.unwrap()[..] else {
        panic!("not one hold")
    };
    assert_eq!(kept.placed_at, at(500));
    assert_eq!(kept.released.map(|release| release.at), Some(at(500)));
}

/// Holds are found by the person or the matter that they cover.
pub async fn holds_are_found_by_person_and_matter(port: &dyn Firm) {
    let rows = Samples::of("covering");
    for (number, subject, matter) in [
        (3, Some(1), None),
        (1, None, Some(1)),
        (2, Some(2), Some(2)),
    ] {
        let set = rows
            .set(0)
            .with(Change::PlaceHold(rows.hold(number, subject, matter)));
        port.commit(set).await.unwrap();
    }
    for (subject, matter, expected) in [
        (1, None, &[3][..]),
        (1, Some(1), &[1, 3]),
        (2, None, &[2]),
        (5, Some(2), &[2]),
        (5, None, &[]),
    ] {
        let matter = matter.map(|number| rows.matter(number));
        let query = HoldQuery::covering(rows.tenant, rows.subject(subject), matter);
        let found = port.holds(&query).await.unwrap();
        let numbers: Vec<u8> = found.iter().map(|hold| hold.id.as_bytes()[0]).collect();
        assert_eq!(numbers, expected);
    }
}

/// A record that an active hold covers is not removed, and nothing of the set happens.
pub async fn a_record_under_an_active_hold_is_not_removed(port: &dyn Firm) {
    let rows = Samples::of("held");
    for (number, subject, matter) in [(1, Some(1), None), (2, None, Some(2))] {
        let set = rows
            .set(0)
            .with(rows.put(number, number, 1, &[], Expected::Absent))
            .with(Change::PlaceHold(rows.hold(number, subject, matter)));
        port.commit(set).await.unwrap();
    }
    for number in [1, 2] {
        let remove = || {
            rows.set(1)
                .event(rows.event(None))
                .with(Change::RemoveRecord(rows.key(number, number)))
        };
        assert_eq!(code(port.commit(remove()).await), Code::DstHold);
        assert!(
            port.record(&rows.key(number, number))
                .await
                .unwrap()
                .is_some()
        );
        let hold = rows.hold(number, None, None).id;
        let release = Change::ReleaseHold {
            hold,
            by: rows.actor(),
        };
        port.commit(rows.set(2).with(release)).await.unwrap();
        port.commit(remove()).await.unwrap();
    }
    assert_eq!(counts(port, &rows).await, [0, 0, 0, 0, 0, 0, 2]);
}

/// The revision of a sheet grows by one at each change, whatever revision the sheet says.
pub async fn a_sheet_grows_by_one_revision_at_each_change(port: &dyn Firm) {
    let rows = Samples::of("sheet");
    for (said, stored) in [(1, 1), (1, 2), (9, 3)] {
        let sheet = rows.sheet(Register::Receipts, 1, said);
        let set = rows.set(0).with(Change::File {
            sheet: sheet.clone(),
            expected: Expected::Any,
        });
        port.commit(set).await.unwrap();
        let query = SheetQuery::named(rows.tenant, Register::Receipts, sheet.id.clone());
        let read = port.sheets(&query).await.unwrap();
        assert_eq!(
            read,
            [Sheet {
                revision: stored,
                ..sheet
            }]
        );
    }
}

/// Sheets are found by name, person and matter, within one register.
pub async fn sheets_are_found_by_name_person_and_matter(port: &dyn Firm) {
    let rows = Samples::of("sheets");
    for number in [5, 3, 1, 2, 4] {
        for register in [Register::Matters, Register::Grants] {
            let sheet = rows.sheet(register, number, 1);
            let set = rows.set(0).with(Change::File {
                sheet,
                expected: Expected::Absent,
            });
            port.commit(set).await.unwrap();
        }
    }
    let name = rows.sheet(Register::Grants, 3, 1).id;
    let remove = Change::RemoveSheet(Register::Grants, name.clone());
    port.commit(rows.set(1).with(remove)).await.unwrap();
    let all = SheetQuery::all(rows.tenant, Register::Grants);
    let odd = SheetQuery {
        subject: Some(rows.subject(1)),
        ..all.clone()
    };
    let third = SheetQuery {
        matter: Some(rows.matter(1)),
        ..all.clone()
    };
    let both = SheetQuery {
        matter: Some(rows.matter(1)),
        ..odd.clone()
    };
    let gone = SheetQuery::named(rows.tenant, Register::Grants, name.clone());
    let there = SheetQuery::named(rows.tenant, Register::Matters, name);
    for (query, expected) in [
        (all, &[1, 2, 4, 5][..]),
        (odd, &[1, 5]),
        (third, &[1, 4]),
        (both, &[1]),
        (gone, &[]),
        (there, &[3]),
    ] {
        let found = port.sheets(&query).await.unwrap();
        let expected: Vec<_> = expected
            .iter()
            .map(|number| rows.sheet(query.register, *number, 1))
            .collect();
        assert_eq!(found, expected);
    }
}

/// Sheets come in pages of at most the limit, after the last name of the page before.
pub async fn sheets_come_in_pages(port: &dyn Firm) {
    let rows = Samples::of("sheet pages");
    for number in 1..=7 {
        let sheet = rows.sheet(Register::Findings, number, 1);
        let set = rows.set(0).with(Change::File {
            sheet,
            expected: Expected::Absent,
        });
        port.commit(set).await.unwrap();
    }
    let (mut seen, mut after) = (0, None);
    loop {
        let query = SheetQuery {
            after,
            limit: 3,
            ..SheetQuery::all(rows.tenant, Register::Findings)
        };
        let page = port.sheets(&query).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 3);
        seen += page.len();
        after = Some(last.id.clone());
    }
    assert_eq!(seen, 7);
}

/// A sheet that is no JSON, or far too long, is refused.
pub async fn a_sheet_that_is_no_json_is_refused(port: &dyn Firm) {
    let rows = Samples::of("no json");
    let long = format!("\"{}\"", "x".repeat(crate::ports::ChangeSet::LONGEST));
    for body in [&b"Testa"[..], b"", b"{} {}", long.as_bytes()] {
        let sheet = Sheet {
            body: body.to_vec(),
            ..rows.sheet(Register::Matters, 1, 1)
        };
        let set = rows.set(0).with(Change::File {
            sheet,
            expected: Expected::Any,
        });
        assert_eq!(fault(port.commit(set).await), FaultKind::Protocol);
    }
}

/// A policy class is one sheet of its register, however often it is interned.
pub async fn a_policy_class_is_interned_once(port: &dyn Firm) {
    let rows = Samples::of("class");
    for _ in 0..2 {
        port.commit(rows.set(0).with(Change::Intern(rows.class())))
            .await
            .unwrap();
    }
    let query = SheetQuery::all(rows.tenant, Register::Classes);
    let [sheet] = &port.sheets(&query).await.unwrap()[..] else {
        panic!("not one class")
    };
    assert_eq!(sheet.id.as_str(), rows.class().id().to_string());
    assert_eq!(sheet.revision, 1);
    let read: crate::policy::PolicyClass = serde_json::from_slice(&sheet.body).unwrap();
    assert_eq!(read, rows.class());
}

/// The first byte of each found record's id, which is the same as the others in these samples.
pub(super) async fn found(port: &dyn Firm, rows: &Samples, by: RecordBy) -> Vec<u8> {
    let query = RecordQuery::all(rows.tenant, by);
    let records = port.records(&query).await.unwrap();
    records
        .iter()
        .map(|record| record.key.record)
        .map(|id: RecordId| id.as_bytes()[0])
        .collect()
}
