//! Policy classes: what governs a record, by what it is found, and how that changes without the
//! record's being touched.

use super::Firm;
use super::rows::found;
use super::samples::{Samples, at};
use crate::FaultKind;
use crate::audit::Label;
use crate::conformance::fault;
use crate::id::Digest;
use crate::pii::Record;
use crate::policy::{PolicyClass, Purpose, Succession};
use crate::ports::store::{
    Change, ChangeSet, Expected, RecordBy, RecordQuery, Register, SheetQuery,
};

/// What a superseded class governed is governed by its successor at once, down a chain of them,
/// and no record is written.
pub async fn a_superseded_class_hands_its_records_to_its_successor(port: &dyn Firm) {
    let rows = Samples::of("supersede");
    let [a, b, c] = [0, 1, 2].map(|number| rows.class_of(number));
    put(port, &rows, 1, 1, &a).await;
    put(port, &rows, 1, 2, &b).await;
    supersede(port, &rows, &a, &b).await;
    assert_eq!(governs(port, &rows, 1, 1).await, b.id());
    assert!(found(port, &rows, RecordBy::Class(a.id())).await.is_empty());
    assert_eq!(found(port, &rows, RecordBy::Class(b.id())).await, [1, 2]);
    supersede(port, &rows, &b, &c).await;
    assert_eq!(found(port, &rows, RecordBy::Class(c.id())).await, [1, 2]);
    let expected = Record {
        class: c.id(),
        ..rows.record(1, 1, 1)
    };
    let read = port.record(&rows.key(1, 1)).await.unwrap();
    assert_eq!(read, Some(expected.clone()));
    let by = RecordBy::Subject(rows.subject(1));
    let query = RecordQuery::all(rows.tenant, by).page(None, 1);
    assert_eq!(port.records(&query).await.unwrap(), [expected]);
}

/// What is written under a superseded class, by somebody who has not heard, is governed by its
/// successor.
pub async fn what_is_written_under_a_superseded_class_is_governed_by_its_successor(
    port: &dyn Firm,
) {
    let rows = Samples::of("written under");
    let [a, b] = [0, 1].map(|number| rows.class_of(number));
    put(port, &rows, 1, 1, &a).await;
    supersede(port, &rows, &a, &b).await;
    put(port, &rows, 1, 2, &a).await;
    let again = rows.put_under(&a, 1, 1, 2, Expected::Revision(1));
    port.commit(rows.set(0).with(again)).await.unwrap();
    assert_eq!(found(port, &rows, RecordBy::Class(b.id())).await, [1, 2]);
    let read = port.record(&rows.key(1, 1)).await.unwrap().unwrap();
    assert_eq!((read.revision, read.class), (2, b.id()));
}

/// A class supersedes neither itself nor, through others, what supersedes it.
pub async fn a_class_never_supersedes_itself(port: &dyn Firm) {
    let rows = Samples::of("cycle");
    let [a, b, c] = [0, 1, 2].map(|number| rows.class_of(number));
    put(port, &rows, 1, 1, &a).await;
    let attempt = |from: &PolicyClass, to: &PolicyClass| {
        let set = rows.set(0).event(rows.event(None));
        port.commit(set.with(superseding(from, to)))
    };
    assert_eq!(fault(attempt(&a, &a).await), FaultKind::Conflict);
    supersede(port, &rows, &a, &b).await;
    assert_eq!(fault(attempt(&b, &a).await), FaultKind::Conflict);
    supersede(port, &rows, &b, &c).await;
    assert_eq!(fault(attempt(&c, &a).await), FaultKind::Conflict);
    assert_eq!(fault(attempt(&c, &b).await), FaultKind::Conflict);
    assert_eq!(governs(port, &rows, 1, 1).await, c.id());
    assert_eq!(port.size(rows.tenant).await.unwrap(), 0);
}

/// A class is superseded once: the same again is nothing, by another a conflict, and of an
/// unknown class there is nothing to supersede.
pub async fn a_class_is_superseded_once(port: &dyn Firm) {
    let rows = Samples::of("once");
    let [a, b, c] = [0, 1, 2].map(|number| rows.class_of(number));
    let attempt = |to: &PolicyClass| port.commit(rows.set(0).with(superseding(&a, to)));
    assert_eq!(fault(attempt(&b).await), FaultKind::NotFound);
    intern(port, &rows, &a).await;
    attempt(&b).await.unwrap();
    attempt(&b).await.unwrap();
    assert_eq!(fault(attempt(&c).await), FaultKind::Conflict);
    assert_eq!(successions(port, &rows).await.len(), 1);
}

/// A class that is put in force again governs what is written from then on; what it governed
/// before stays with its successor, until that one is superseded.
pub async fn a_reinstated_class_governs_what_is_written_from_then_on(port: &dyn Firm) {
    let rows = Samples::of("reinstate");
    let [a, b] = [0, 1].map(|number| rows.class_of(number));
    let reinstate = |class: &PolicyClass| {
        let class = class.id();
        port.commit(rows.set(0).with(Change::Reinstate(class)))
    };
    assert_eq!(fault(reinstate(&a).await), FaultKind::NotFound);
    put(port, &rows, 1, 1, &a).await;
    supersede(port, &rows, &a, &b).await;
    for _ in 0..2 {
        reinstate(&a).await.unwrap();
    }
    assert_eq!(successions(port, &rows).await.len(), 2);
    put(port, &rows, 1, 2, &a).await;
    assert_eq!(found(port, &rows, RecordBy::Class(a.id())).await, [2]);
    assert_eq!(found(port, &rows, RecordBy::Class(b.id())).await, [1]);
    supersede(port, &rows, &b, &a).await;
    assert_eq!(found(port, &rows, RecordBy::Class(a.id())).await, [1, 2]);
    put(port, &rows, 1, 3, &b).await;
    assert_eq!(found(port, &rows, RecordBy::Class(a.id())).await, [1, 2, 3]);
}

/// A record is moved to another class as it is: nothing sealed is rewritten and no revision
/// grows.
pub async fn a_record_is_moved_to_another_class_as_it_is(port: &dyn Firm) {
    let rows = Samples::of("reclass");
    let [a, b, c] = [0, 1, 2].map(|number| rows.class_of(number));
    put(port, &rows, 1, 1, &a).await;
    put(port, &rows, 1, 2, &a).await;
    let reclass = |record, from: &PolicyClass, to: &PolicyClass| {
        let key = rows.key(1, record);
        let (from, to) = (from.id(), to.id());
        port.commit(rows.set(0).with(Change::Reclass { key, from, to }))
    };
    assert_eq!(fault(reclass(1, &a, &b).await), FaultKind::NotFound);
    intern(port, &rows, &b).await;
    assert_eq!(fault(reclass(9, &a, &b).await), FaultKind::NotFound);
    assert_eq!(fault(reclass(1, &b, &a).await), FaultKind::NotFound);
    intern(port, &rows, &a).await;
    assert_eq!(fault(reclass(1, &b, &a).await), FaultKind::Conflict);
    reclass(1, &a, &b).await.unwrap();
    let expected = Record {
        class: b.id(),
        ..rows.record(1, 1, 1)
    };
    let read = port.record(&rows.key(1, 1)).await.unwrap();
    assert_eq!(read, Some(expected));
    assert_eq!(found(port, &rows, RecordBy::Class(a.id())).await, [2]);
    supersede(port, &rows, &b, &c).await;
    reclass(2, &a, &b).await.unwrap();
    assert_eq!(found(port, &rows, RecordBy::Class(c.id())).await, [1, 2]);
}

/// Writing a record again does not take it out of its class: somebody who read it before it was
/// moved is told of the conflict.
pub async fn writing_a_record_under_another_class_is_a_conflict(port: &dyn Firm) {
    let rows = Samples::of("another class");
    let [a, b] = [0, 1].map(|number| rows.class_of(number));
    put(port, &rows, 1, 1, &a).await;
    for expected in [Expected::Any, Expected::Revision(1)] {
        let again = rows.put_under(&b, 1, 1, 2, expected);
        let failed = port.commit(rows.set(0).with(again)).await;
        assert_eq!(fault(failed), FaultKind::Conflict);
    }
    assert_eq!(governs(port, &rows, 1, 1).await, a.id());
    let removed = Change::RemoveRecord(rows.key(1, 1));
    port.commit(rows.set(0).with(removed)).await.unwrap();
    put(port, &rows, 1, 1, &b).await;
    assert_eq!(governs(port, &rows, 1, 1).await, b.id());
}

/// Records are found by class and by purpose, whichever class they were written under, in pages
/// in the order of their ids.
pub async fn records_are_found_by_class_and_purpose_in_pages(port: &dyn Firm) {
    let rows = Samples::of("class pages");
    let [other, a, b] = [0, 1, 2].map(|number| rows.class_of(number));
    for record in [5, 1, 3, 7] {
        put(port, &rows, 1, record, &a).await;
    }
    for record in [2, 6, 4] {
        put(port, &rows, 2, record, &b).await;
    }
    put(port, &rows, 2, 8, &other).await;
    for class in [&a, &b, &other] {
        intern(port, &rows, class).await;
    }
    supersede(port, &rows, &a, &b).await;
    for by in [RecordBy::Class(b.id()), RecordBy::Purpose(Purpose::Filing)] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let query = RecordQuery::all(rows.tenant, by.clone()).page(after, 3);
            let page = port.records(&query).await.unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() <= 3);
            assert!(page.iter().all(|record| record.class == b.id()));
            after = Some(last.key.record);
            seen.extend(page.iter().map(|record| record.key.record.as_bytes()[0]));
        }
        assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7]);
    }
    let purpose = RecordBy::Purpose(Purpose::Representation);
    let all: Vec<u8> = (1..=8).collect();
    assert_eq!(found(port, &rows, purpose).await, all);
    let purpose = RecordBy::Purpose(Purpose::Marketing);
    assert!(found(port, &rows, purpose).await.is_empty());
}

/// A query for a purpose gives only records whose governing class has it and has no objection to
/// it; a purpose that the law gives is not kept from any.
pub async fn a_query_for_a_purpose_gives_only_what_its_class_admits(port: &dyn Firm) {
    let rows = Samples::of("admits");
    let [a, filing] = [0, 1].map(|number| rows.class_of(number));
    let mut objected = filing.clone();
    objected.objections.insert(Purpose::Filing);
    for class in [&a, &filing] {
        intern(port, &rows, class).await;
    }
    put(port, &rows, 1, 1, &a).await;
    put(port, &rows, 1, 2, &filing).await;
    put(port, &rows, 1, 3, &filing).await;
    put(port, &rows, 1, 4, &rows.class_of(2)).await; // never interned
    let asked = async |by, purpose| {
        let query = RecordQuery::all(rows.tenant, by).for_purpose(purpose);
        let records = port.records(&query).await.unwrap();
        let ids = records.iter().map(|record| record.key.record.as_bytes()[0]);
        ids.collect::<Vec<u8>>()
    };
    let person = || RecordBy::Subject(rows.subject(1));
    assert_eq!(asked(person(), Purpose::Filing).await, [2, 3]);
    assert_eq!(asked(person(), Purpose::Representation).await, [1, 2, 3]);
    assert!(asked(person(), Purpose::Marketing).await.is_empty());
    assert_eq!(asked(person(), Purpose::Retention).await, [1, 2, 3, 4]);
    let class = RecordBy::Class(a.id());
    assert!(asked(class, Purpose::Filing).await.is_empty());
    let matter = RecordBy::Matter(rows.matter(1));
    assert_eq!(asked(matter, Purpose::Filing).await, [2, 3]);

    let set = rows.set(0).with(Change::Intern(objected.clone()));
    let moved = Change::Reclass {
        key: rows.key(1, 3),
        from: filing.id(),
        to: objected.id(),
    };
    port.commit(set.with(moved)).await.unwrap();
    assert_eq!(asked(person(), Purpose::Filing).await, [2]);
    assert_eq!(asked(person(), Purpose::Representation).await, [1, 2, 3]);
    let purpose = RecordBy::Purpose(Purpose::Filing);
    assert_eq!(found(port, &rows, purpose).await, [2]);
    supersede(port, &rows, &filing, &objected).await;
    assert!(asked(person(), Purpose::Filing).await.is_empty());
}

/// Which class superseded which, and when, is on the register of successions in order; nobody
/// but the store writes there or among the classes.
pub async fn successions_are_registered_in_order(port: &dyn Firm) {
    let rows = Samples::of("successions");
    let [a, b, c] = [0, 1, 2].map(|number| rows.class_of(number));
    intern(port, &rows, &a).await;
    for (time, change) in [
        (10, superseding(&a, &b)),
        (20, Change::Reinstate(a.id())),
        (30, superseding(&b, &c)),
    ] {
        port.commit(rows.set(time).with(change)).await.unwrap();
    }
    let noted = |class: &PolicyClass, by: Option<&PolicyClass>, time| Succession {
        class: class.id(),
        by: by.map(PolicyClass::id),
        at: at(time),
    };
    let expected = [
        noted(&a, Some(&b), 10),
        noted(&a, None, 20),
        noted(&b, Some(&c), 30),
    ];
    let all = successions(port, &rows).await;
    assert_eq!(all, expected);
    for (time, class) in [(5, &a), (15, &b), (25, &b), (35, &c)] {
        let governed = Succession::governing(&all, a.id(), at(0), at(time));
        assert_eq!(governed, class.id());
    }
    for register in [Register::Classes, Register::Successions] {
        let sheet = rows.sheet(register, 1, 1);
        let removed = Change::RemoveSheet(register, sheet.id.clone());
        let expected = Expected::Any;
        for change in [Change::File { sheet, expected }, removed] {
            let failed = port.commit(rows.set(40).with(change)).await;
            assert_eq!(fault(failed), FaultKind::Protocol);
        }
    }
}

/// A change set that fails leaves every class as it was.
pub async fn a_failed_set_leaves_the_classes_as_they_were(port: &dyn Firm) {
    let rows = Samples::of("failed set");
    let [a, b, c] = [0, 1, 2].map(|number| rows.class_of(number));
    intern(port, &rows, &a).await;
    put(port, &rows, 1, 1, &a).await;
    let conflict = || rows.put_under(&a, 1, 1, 5, Expected::Revision(4));
    let sets: [ChangeSet; 3] = [
        rows.set(0).with(superseding(&a, &b)).with(conflict()),
        rows.set(0)
            .with(superseding(&a, &b))
            .with(Change::Reinstate(a.id()))
            .with(conflict()),
        rows.set(0)
            .with(rows.put_under(&c, 1, 2, 1, Expected::Absent))
            .with(conflict()),
    ];
    for set in sets {
        assert_eq!(fault(port.commit(set).await), FaultKind::Conflict);
        assert_eq!(governs(port, &rows, 1, 1).await, a.id());
        assert!(successions(port, &rows).await.is_empty());
        let classes = SheetQuery::all(rows.tenant, Register::Classes);
        assert_eq!(port.sheets(&classes).await.unwrap().len(), 1);
    }
    let unknown = port
        .commit(rows.set(0).with(Change::Reinstate(c.id())))
        .await;
    assert_eq!(fault(unknown), FaultKind::NotFound);
}

/// A tenant's change of a class changes nothing of another's.
pub async fn a_class_is_superseded_for_one_tenant_only(port: &dyn Firm) {
    let [ours, theirs] = ["our class", "their class"].map(Samples::of);
    let [a, b] = [0, 1].map(|number| ours.class_of(number));
    for rows in [&ours, &theirs] {
        intern(port, rows, &a).await;
        put(port, rows, 1, 1, &a).await;
    }
    supersede(port, &ours, &a, &b).await;
    assert_eq!(governs(port, &ours, 1, 1).await, b.id());
    assert_eq!(governs(port, &theirs, 1, 1).await, a.id());
    assert!(successions(port, &theirs).await.is_empty());
    let filing = RecordBy::Purpose(Purpose::Filing);
    assert_eq!(found(port, &ours, filing.clone()).await, [1]);
    assert!(found(port, &theirs, filing).await.is_empty());
}

async fn intern(port: &dyn Firm, rows: &Samples, class: &PolicyClass) {
    let set = rows.set(0).with(Change::Intern(class.clone()));
    port.commit(set).await.unwrap();
}

async fn put(port: &dyn Firm, rows: &Samples, subject: u8, record: u8, class: &PolicyClass) {
    let put = rows.put_under(class, subject, record, 1, Expected::Absent);
    port.commit(rows.set(0).with(put)).await.unwrap();
}

async fn supersede(port: &dyn Firm, rows: &Samples, from: &PolicyClass, to: &PolicyClass) {
    let set = rows.set(0).with(superseding(from, to));
    port.commit(set).await.unwrap();
}

fn superseding(from: &PolicyClass, to: &PolicyClass) -> Change {
    Change::Supersede {
        from: from.id(),
        to: to.clone(),
    }
}

async fn governs(port: &dyn Firm, rows: &Samples, subject: u8, record: u8) -> Digest {
    let read = port.record(&rows.key(subject, record)).await.unwrap();
    read.unwrap().class
}

async fn successions(port: &dyn Firm, rows: &Samples) -> Vec<Succession> {
    let query = SheetQuery::all(rows.tenant, Register::Successions);
    let sheets = port.sheets(&query).await.unwrap();
    let ids: Vec<&Label> = sheets.iter().map(|sheet| &sheet.id).collect();
    assert!(ids.is_sorted());
    sheets
        .iter()
        .map(|sheet| serde_json::from_slice(&sheet.body).unwrap())
        .collect()
}
