//! Files of earlier versions are carried over to the present one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use kta_core::conformance::store::Samples;
use kta_core::policy::Purpose;
use kta_core::ports::store::{
    Change, Expected, Jobs as _, Ledger as _, RecordBy, RecordQuery, Register, Sheet, SheetQuery,
    Store as _,
};
use kta_storage::SqliteStore;
use rusqlite::{Connection, params};

#[tokio::test]
async fn a_file_of_version_1_keeps_its_records_under_the_classes_they_had() {
    let folder = common::folder("version 1");
    let path = folder.join("firm.db");
    let rows = Samples::of("version 1");
    let (interned, unknown) = (rows.class_of(1), rows.class_of(2));
    version_1(&path, &rows);

    let store = SqliteStore::open(&path).unwrap();
    store.check().await.unwrap();
    let found = async |query: RecordQuery| {
        let records = store.records(&query).await.unwrap();
        let ids = records.iter().map(|record| record.key.record.as_bytes()[0]);
        ids.collect::<Vec<u8>>()
    };
    let by = |by| RecordQuery::all(rows.tenant, by);
    assert_eq!(found(by(RecordBy::Class(interned.id()))).await, [1, 2]);
    assert_eq!(found(by(RecordBy::Class(unknown.id()))).await, [3]);
    assert_eq!(found(by(RecordBy::Purpose(Purpose::Filing))).await, [1, 2]);
    assert_eq!(found(by(RecordBy::Matter(rows.matter(1)))).await, [1, 2, 3]);
    let (field, tag) = rows.tag(1);
    assert_eq!(found(by(RecordBy::Tag(field, tag))).await, [2]);
    let person = by(RecordBy::Subject(rows.subject(1)));
    assert_eq!(found(person.for_purpose(Purpose::Filing)).await, [1, 2]);
    let record = store.record(&rows.key(1, 2)).await.unwrap().unwrap();
    assert_eq!((record.class, record.revision), (interned.id(), 7));
    assert_eq!(record.header, b"header 2");
    assert_eq!(store.size(rows.tenant).await.unwrap(), 1);

    let superseding = Change::Supersede {
        from: interned.id(),
        to: rows.class(),
    };
    let again = rows.put_under(&interned, 1, 2, 8, Expected::Revision(7));
    let set = rows.set(0).with(superseding).with(again);
    store.commit(set).await.unwrap();
    assert_eq!(found(by(RecordBy::Class(rows.class().id()))).await, [1, 2]);
    assert!(
        found(by(RecordBy::Purpose(Purpose::Filing)))
            .await
            .is_empty()
    );
    let (field, tag) = rows.tag(1);
    assert!(found(by(RecordBy::Tag(field, tag))).await.is_empty());
    let classes = SheetQuery::all(rows.tenant, Register::Classes);
    assert_eq!(store.sheets(&classes).await.unwrap().len(), 2);
    drop(store);

    let store = SqliteStore::open(&path).unwrap();
    let record = store.record(&rows.key(1, 1)).await.unwrap().unwrap();
    assert_eq!(record.class, rows.class().id());
    store.check().await.unwrap();
    drop(store);
    std::fs::remove_dir_all(folder).unwrap();
}

/// Version 3 had a row of its class for each time that one was in force, and in each row what
/// governs it.
#[tokio::test]
async fn a_file_of_version_3_keeps_what_governs_its_records() {
    let folder = common::folder("version 3");
    let path = folder.join("firm.db");
    let rows = Samples::of("version 3");
    let db = as_of(3, &path, &rows);
    let [first, second, other] = [1, 2, 3].map(|number| rows.class_of(number).id());
    // The second class took over from the first, and from another under which nothing was ever
    // written; then the first was put in force again, and the third record written under it.
    let governing = "UPDATE class SET governing = ?1 WHERE id = ?2";
    db.execute(governing, [second, first].map(|id| *id.as_bytes()))
        .unwrap();
    let class = "INSERT INTO class (firm, id, governing) VALUES (3, ?1, ?2)";
    db.execute(class, [other, second].map(|id| *id.as_bytes()))
        .unwrap();
    db.execute(class, [first, first].map(|id| *id.as_bytes()))
        .unwrap();
    let moved = "UPDATE record SET class = (SELECT max(no) FROM class) WHERE no = 43";
    assert_eq!(db.execute(moved, []).unwrap(), 1);
    drop(db);

    let store = SqliteStore::open(&path).unwrap();
    store.check().await.unwrap();
    common::classes::are_as_they_were(&store, &rows).await;
    store.check().await.unwrap();
    drop(store);
    std::fs::remove_dir_all(folder).unwrap();
}

/// Version 4 had a row for each posting of the trail; they move into runs as the log grows.
/// Version 5 had one for each of the newest.
#[tokio::test]
async fn a_file_of_version_4_keeps_its_trail() {
    let folder = common::folder("version 4");
    let path = folder.join("firm.db");
    let rows = Samples::of("version 4");
    let db = as_of(4, &path, &rows);
    // More than are moved at once; who is named stands behind the entry's number.
    let (people, many) = ([4, 5, 6].map(|number| rows.subject(number)), 70_000_u64);
    db.execute("DELETE FROM trail", []).unwrap();
    db.execute_batch("BEGIN").unwrap();
    for seq in 0..many {
        let subject = people[(seq % 3) as usize];
        db.prepare_cached("INSERT INTO trail SELECT no, ?1, ?2, ?3 FROM firm")
            .unwrap()
            .execute(params![
                subject.as_bytes(),
                seq as i64,
                rows.set(0).at.timestamp_millis()
            ])
            .unwrap();
    }
    db.execute_batch("COMMIT").unwrap();
    drop(db);

    let store = SqliteStore::open(&path).unwrap();
    let trail = async |number: u8| {
        let (subject, day) = (rows.subject(number), chrono::TimeDelta::days(1));
        let (from, to) = (rows.set(0).at, rows.set(0).at + day);
        store.trail(rows.tenant, subject, from, to).await.unwrap()
    };
    let before: Vec<u64> = (0..many).filter(|seq| seq % 3 == 1).collect();
    assert_eq!(trail(5).await, before);
    for left in [49 * 125_i64, 0] {
        store
            .commit(rows.set(0).event(rows.event(Some(9))))
            .await
            .unwrap();
        assert_eq!(trail(5).await, before);
        let db = Connection::open(&path).unwrap();
        let sql = "SELECT coalesce(sum(length(bytes)), 0) / 32 FROM trail_young";
        let young = db.query_row(sql, [], |row| row.get::<_, i64>(0));
        assert_eq!(young.unwrap(), left);
        store.check().await.unwrap();
    }
    assert_eq!(trail(9).await, [1, 2]);
    drop(store);
    std::fs::remove_dir_all(folder).unwrap();
}

/// Version 5 had an index of jobs by which all that were due had to be read.
#[tokio::test]
async fn a_file_of_version_5_leases_its_jobs_in_order() {
    let folder = common::folder("version 5");
    let path = folder.join("firm.db");
    let rows = Samples::of("version 5");
    let db = as_of(5, &path, &rows);
    let sql = "INSERT INTO job (firm, id, kind, due, ready, attempts, state, lease, payload)
        VALUES (3, ?1, 'crm.enter', ?2, ?3, 0, ?4, 0, x'7B7D')";
    let due = |seconds| rows.job(1, seconds).due.timestamp_micros();
    for (number, since, ready, state) in [
        (1_u8, 30, Some(30), "waiting"),
        (2, 10, Some(10), "waiting"),
        (3, 5, None, "done"),
        (4, 20, Some(40), "leased"),
        (5, 60, Some(60), "waiting"),
    ] {
        let ready = ready.map(due);
        db.execute(sql, params![[number; 16], due(since), ready, state])
            .unwrap();
    }
    drop(db);

    let store = SqliteStore::open(&path).unwrap();
    let lease = async |seconds, limit| {
        let now = rows.job(1, seconds).due;
        let until = now + chrono::TimeDelta::minutes(1);
        let jobs = store.lease(rows.tenant, now, until, limit).await.unwrap();
        let ids = jobs.iter().map(|job| job.id.as_bytes()[0]);
        ids.collect::<Vec<u8>>()
    };
    assert_eq!(lease(30, 1).await, [2]);
    assert_eq!(lease(39, 9).await, [1]);
    assert_eq!(lease(60, 9).await, [4, 5]);
    store.check().await.unwrap();
    drop(store);
    let db = Connection::open(&path).unwrap();
    let sql =
        "SELECT group_concat(name) FROM sqlite_master WHERE type = 'index' AND tbl_name = 'job'
        AND sql IS NOT NULL";
    let indexes: String = db.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(indexes, "job_by_due");
    std::fs::remove_dir_all(folder).unwrap();
}

/// Version 7 had a row for each entry; they move into pages as the log grows.
#[tokio::test]
async fn a_file_of_version_7_keeps_its_log() {
    let folder = common::folder("version 7");
    let path = folder.join("firm.db");
    let rows = Samples::of("version 7");
    let db = as_of(7, &path, &rows);
    let canonical = |seq: u64| {
        let event = rows.event(Some(seq as u8 % 7));
        event.into_entry(seq, rows.set(0).at).canonical()
    };
    let many = 2_000;
    let mut expected: Vec<_> = (0..many).map(canonical).collect();
    db.execute("DELETE FROM entry", []).unwrap();
    for (seq, entry) in (0..).zip(&expected) {
        let sql = "INSERT INTO entry (place, bytes) VALUES ((3 << 40) + ?1, ?2)";
        db.execute(sql, params![seq, entry]).unwrap();
    }
    db.execute("UPDATE firm SET size = ?1", [many as i64])
        .unwrap();
    drop(db);

    let store = SqliteStore::open(&path).unwrap();
    let log = async || store.entries(rows.tenant, 0, usize::MAX).await.unwrap();
    assert_eq!(log().await, expected);
    for left in [1_488, 976, 464, 0] {
        expected.push(canonical(expected.len() as u64));
        let event = rows.event(Some((expected.len() - 1) as u8 % 7));
        store.commit(rows.set(0).event(event)).await.unwrap();
        assert_eq!(log().await, expected);
        store.check().await.unwrap();
        let db = Connection::open(&path).unwrap();
        let sql = "SELECT count(*) FROM entry WHERE substr(bytes, 1, 1) = x'7B'";
        let loose: i64 = db.query_row(sql, [], |row| row.get(0)).unwrap();
        // And less than a page of what could not fill one.
        assert!((left..left + 128).contains(&loose), "{loose} for {left}");
    }
    let in_matter = RecordQuery::all(rows.tenant, RecordBy::Matter(rows.matter(1)));
    let all = store.records(&in_matter).await.unwrap();
    assert_eq!(all.len(), 3);
    let page = in_matter.page(Some(all[0].key.record), 1);
    assert_eq!(store.records(&page).await.unwrap(), all[1..2]);
    drop(store);
    std::fs::remove_dir_all(folder).unwrap();
}

/// The file that [`version_1`] makes, as a later version carried it over.
fn as_of(last: u32, path: &std::path::Path, rows: &Samples) -> Connection {
    version_1(path, rows);
    let db = Connection::open(path).unwrap();
    let made = [
        include_str!("../src/sqlite/journal.sql"),
        include_str!("../src/sqlite/classes.sql"),
        include_str!("../src/sqlite/cohorts.sql"),
        include_str!("../src/sqlite/trail.sql"),
        include_str!("../src/sqlite/leasing.sql"),
        include_str!("../src/sqlite/young.sql"),
    ];
    for (version, made) in (2..=last).zip(made) {
        db.execute_batch(made).unwrap();
        db.pragma_update(None, "user_version", version).unwrap();
    }
    db
}

/// A file as version 1 wrote it: three records of a person, two under an interned class.
fn version_1(path: &std::path::Path, rows: &Samples) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(include_str!("../src/sqlite/schema.sql"))
        .unwrap();
    db.execute(
        "INSERT INTO migration (version, made_by) VALUES (1, 'a test')",
        [],
    )
    .unwrap();
    db.pragma_update(None, "application_id", i32::from_be_bytes(*b"KTAs"))
        .unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    db.execute(
        "INSERT INTO firm (no, tenant, size, last_at) VALUES (3, ?1, 1, ?2)",
        params![rows.tenant.as_bytes(), rows.set(0).at.timestamp_millis()],
    )
    .unwrap();
    let entry = rows.event(None).into_entry(0, rows.set(0).at).canonical();
    db.execute(
        "INSERT INTO entry (place, bytes) VALUES (3 << 40, ?1)",
        [entry],
    )
    .unwrap();
    let sheet = Sheet::of_class(&rows.class_of(1));
    db.execute(
        "INSERT INTO sheet (firm, register, id, revision, body) VALUES (3, 'classes', ?1, 1, ?2)",
        params![sheet.id.as_str(), sheet.body],
    )
    .unwrap();
    for (record, class) in [(1_u8, 1), (2, 1), (3, 2)] {
        let tags: &[u8] = if record == 2 {
            &[
                1, 1, 5, b'e', b'm', b'a', b'i', b'l', 7, 0, 0, 0, 1, 16, 1, 1,
            ]
        } else {
            &[1, 0]
        };
        db.execute(
            "INSERT INTO record (no, firm, subject, record, matter, revision, schema, class, header, fields, tags)
             VALUES (?1, 3, ?2, ?3, ?4, 7, 'person.v1', ?5, ?6, x'0100', ?7)",
            params![
                i64::from(record) + 40,
                rows.subject(1).as_bytes(),
                rows.key(1, record).record.as_bytes(),
                rows.matter(1).as_bytes(),
                rows.class_of(class).id().as_bytes(),
                format!("header {record}").into_bytes(),
                tags,
            ],
        )
        .unwrap();
    }
    let (field, tag) = rows.tag(1);
    db.execute(
        "INSERT INTO tag (firm, field, tag, record) VALUES (3, ?1, ?2, 42)",
        params![field.as_str(), tag.as_bytes()],
    )
    .unwrap();
}
