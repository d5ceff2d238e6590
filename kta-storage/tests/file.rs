//! The file itself: whose it is, whether it is whole, what happens when there is no room, and
//! when commits reach the disk.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::time::Duration;

use kta_core::audit::Anchor;
use kta_core::conformance::store::{Samples, marks};
use kta_core::id::{Digest, TenantId};
use kta_core::ports::store::{Change, Durability, Expected, RecordBy, RecordQuery, Settled};
use kta_core::ports::{Ledger as _, Store as _};
use kta_core::time::Clock as _;
use kta_core::{Code, Error, Fault, FaultKind};
use kta_storage::{AnchorFile, SqliteKeyTable, SqliteOptions, SqliteStore, SystemClock};
use rusqlite::Connection;

#[test]
fn the_file_of_another_program_is_refused_and_left_alone() {
    let file = common::folder("foreign").join("other.db");
    let other = Connection::open(&file).unwrap();
    other
        .execute_batch("CREATE TABLE theirs (what TEXT); INSERT INTO theirs VALUES ('kept')")
        .unwrap();
    drop(other);
    let before = std::fs::read(&file).unwrap();
    assert_eq!(kind(SqliteStore::open(&file)), FaultKind::Misconfigured);
    assert_eq!(kind(SqliteKeyTable::open(&file)), FaultKind::Misconfigured);
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn a_key_table_is_no_store_and_a_store_no_key_table() {
    let folder = common::folder("mixed");
    drop(SqliteStore::open(folder.join("firm.db")).unwrap());
    drop(SqliteKeyTable::open(folder.join("keys.db")).unwrap());
    assert_eq!(
        kind(SqliteStore::open(folder.join("keys.db"))),
        FaultKind::Misconfigured
    );
    assert_eq!(
        kind(SqliteKeyTable::open(folder.join("firm.db"))),
        FaultKind::Misconfigured
    );
}

#[test]
fn the_file_of_a_newer_version_is_refused() {
    let file = common::folder("newer").join("firm.db");
    drop(SqliteStore::open(&file).unwrap());
    Connection::open(&file)
        .unwrap()
        .pragma_update(None, "user_version", 1000)
        .unwrap();
    assert_eq!(kind(SqliteStore::open(&file)), FaultKind::Misconfigured);
}

#[test]
fn what_is_no_database_is_corrupt_and_what_is_no_file_is_misconfigured() {
    let folder = common::folder("garbage");
    let file = folder.join("firm.db");
    std::fs::write(&file, "Testa Garbage ".repeat(1000)).unwrap();
    assert_eq!(kind(SqliteStore::open(&file)), FaultKind::Corrupt);
    assert_eq!(kind(SqliteStore::open(&folder)), FaultKind::Misconfigured);
    assert_eq!(
        kind(SqliteStore::open(folder.join("no").join("folder.db"))),
        FaultKind::Misconfigured
    );
}

#[tokio::test]
async fn a_damaged_page_is_found_when_the_file_is_opened() {
    let file = common::folder("damaged").join("firm.db");
    let store = SqliteStore::open(&file).unwrap();
    let rows = rows();
    for number in 1..=40 {
        store
            .commit(
                rows.set(0)
                    .with(rows.put(1, number, 1, &[], Expected::Absent)),
            )
            .await
            .unwrap();
    }
    store.checkpoint().await.unwrap();
    drop(store);
    let mut bytes = std::fs::read(&file).unwrap();
    // The first bytes of a page say what kind it is; these say nothing that SQLite knows.
    for page in bytes.chunks_mut(4096).skip(12).step_by(7) {
        page[..64].fill(0xEE);
    }
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(kind(SqliteStore::open(&file)), FaultKind::Corrupt);
}

#[tokio::test]
async fn a_log_that_lost_its_end_is_found_when_the_file_is_opened() {
    let file = common::folder("lost-end").join("firm.db");
    fill(&file, 5).await;
    let thief = Connection::open(&file).unwrap();
    thief
        .execute(
            "DELETE FROM entry WHERE place = (SELECT max(place) FROM entry)",
            [],
        )
        .unwrap();
    drop(thief);
    assert_eq!(kind(SqliteStore::open(&file)), FaultKind::Corrupt);
}

#[tokio::test]
async fn a_full_store_refuses_whole_sets_and_stays_usable() {
    let file = common::folder("full").join("firm.db");
    let store = SqliteStore::open_with(&file, &SqliteOptions::default().quota(512 * 1024)).unwrap();
    let rows = rows();
    let mut kept = 0;
    let full = loop {
        let set = rows
            .set(0)
            .with(rows.put(1, kept + 1, 1, &[1], Expected::Absent))
            .event(rows.event(None));
        match store.commit(set).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 200, "the quota does not bind");
    };
    let fault = full.fault().unwrap();
    assert_eq!(
        (fault.kind(), fault.detail()),
        (FaultKind::Unavailable, Some("the disk is full"))
    );
    assert!(fault.is_transient());
    assert_eq!(store.size(rows.tenant).await.unwrap(), u64::from(kept));
    assert!(
        store
            .record(&rows.key(1, kept + 1))
            .await
            .unwrap()
            .is_none()
    );
    store.check().await.unwrap();
    // Room again: it goes on.
    let remove = kta_core::ports::Change::RemoveRecord(rows.key(1, 1));
    store.commit(rows.set(0).with(remove)).await.unwrap();
    store
        .commit(rows.set(0).with(rows.put(1, 1, 1, &[], Expected::Absent)))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_bounded_commit_is_carried_to_disk_within_the_stated_lag() {
    let file = common::folder("lag").join("firm.db");
    let store = SqliteStore::open(&file).unwrap();
    let ticks = || ticks(&file);
    let rows = rows();
    let bounded = || {
        let mut set = rows.set(0).event(rows.event(None));
        set.durability = Durability::Bounded;
        set
    };
    store.commit(bounded()).await.unwrap();
    assert_eq!(ticks(), 0);
    tokio::time::sleep(SqliteStore::LAG + Duration::from_millis(400)).await;
    assert_eq!(ticks(), 1);
    // A durable commit takes earlier bounded ones along: nothing is left to carry.
    store.commit(bounded()).await.unwrap();
    store
        .commit(rows.set(0).event(rows.event(None)))
        .await
        .unwrap();
    tokio::time::sleep(SqliteStore::LAG + Duration::from_millis(400)).await;
    assert_eq!(ticks(), 1);
}

/// A commit that finds everything done already changes nothing, and SQLite synchronises nothing.
#[tokio::test]
async fn a_durable_commit_that_changes_nothing_still_goes_to_disk_with_what_it_found() {
    let file = common::folder("nothing-new").join("firm.db");
    let store = SqliteStore::open(&file).unwrap();
    let another = SqliteStore::open(&file).unwrap();
    let rows = rows();
    let enqueue = |number, durability| {
        let mut set = rows.set(0).with(Change::Enqueue(rows.job(number, 0)));
        set.durability = durability;
        set
    };
    let intern = || rows.set(0).with(Change::Intern(rows.class()));
    let refused = || {
        let unknown = Change::Settle {
            job: rows.job(200, 0).id,
            lease: None,
            outcome: Settled::Done,
        };
        let set = rows.set(0).with(Change::Enqueue(rows.job(99, 0)));
        set.with(unknown)
    };
    store.commit(intern()).await.unwrap();
    assert_eq!(ticks(&file), 0);

    // The same job bounded, then durable; here, and where another process says it again.
    for (number, second) in [(1, &store), (2, &another)] {
        store
            .commit(enqueue(number, Durability::Bounded))
            .await
            .unwrap();
        let before = ticks(&file);
        second
            .commit(enqueue(number, Durability::Durable))
            .await
            .unwrap();
        assert_eq!(ticks(&file), before + 1, "job {number}");
    }
    // A class that is interned, in a batch with a set that is given back after it wrote.
    let before = ticks(&file);
    for _ in 0..50 {
        let sets = [refused(), intern(), refused()];
        let done = futures_util::future::join_all(sets.map(|set| store.commit(set))).await;
        assert!(done[0].is_err() && done[1].is_ok() && done[2].is_err());
    }
    assert_eq!(ticks(&file), before + 50);
}

/// How often something was written only to have it synchronised.
fn ticks(file: &Path) -> i64 {
    let other = Connection::open(file).unwrap();
    other
        .query_row("SELECT count FROM tick", [], |row| row.get(0))
        .unwrap()
}

#[tokio::test]
async fn two_processes_worth_of_handles_number_one_log() {
    let file = common::folder("shared").join("firm.db");
    let stores = [
        SqliteStore::open(&file).unwrap(),
        SqliteStore::open(&file).unwrap(),
    ];
    let rows = rows();
    let commits =
        (0..60).map(|number| stores[number % 2].commit(rows.set(0).event(rows.event(None))));
    for done in futures_util::future::join_all(commits).await {
        done.unwrap();
    }
    for store in &stores {
        let entries = store.entries(rows.tenant, 0, usize::MAX).await.unwrap();
        let mut log = kta_core::audit::Log::new("shared.example");
        for entry in &entries {
            log.append(entry).unwrap();
        }
        assert_eq!(log.size(), 60);
    }
}

#[tokio::test]
async fn a_backup_opens_and_holds_the_same_log() {
    let folder = common::folder("backup");
    let store = SqliteStore::open(folder.join("firm.db")).unwrap();
    let rows = rows();
    store
        .commit(
            rows.set(0)
                .with(rows.put(1, 1, 1, &[1], Expected::Absent))
                .event(rows.event(None)),
        )
        .await
        .unwrap();
    store.back_up(folder.join("copy.db")).await.unwrap();
    assert_eq!(
        fault(store.back_up(folder.join("copy.db")).await).kind(),
        FaultKind::Misconfigured
    );
    let copy = SqliteStore::open(folder.join("copy.db")).unwrap();
    assert_eq!(
        copy.record(&rows.key(1, 1)).await.unwrap(),
        Some(rows.record(1, 1, 1))
    );
    let all = |store: SqliteStore| async move { store.entries(rows.tenant, 0, 9).await.unwrap() };
    assert_eq!(all(copy).await, all(store).await);
}

#[tokio::test]
async fn an_older_copy_of_the_store_put_back_is_a_fork() {
    let folder = common::folder("older");
    let (file, old) = (folder.join("firm.db"), folder.join("older.db"));
    let anchor = AnchorFile::at(folder.join("firm.anchor"));
    fill(&file, 5).await;
    std::fs::copy(&file, &old).unwrap();
    fill(&file, 3).await;
    let open = async |file: &Path| {
        let store = SqliteStore::open(file).unwrap();
        anchor
            .open_log(&store, rows().tenant, "firm.example", None)
            .await
    };
    anchor.advance(open(&file).await.unwrap().anchor()).unwrap();
    assert_eq!(open(&file).await.unwrap().size(), 8);
    assert_eq!(code(open(&old).await), Code::AudFork);
    // The old copy, written on until it is as long: another story of the same length.
    fill(&old, 4).await;
    assert_eq!(code(open(&old).await), Code::AudFork);
    // What grew since is no fork.
    fill(&file, 1).await;
    assert_eq!(open(&file).await.unwrap().size(), 9);
}

#[tokio::test]
async fn a_log_is_resumed_where_the_anchor_was_kept_and_an_older_copy_is_a_fork_there_too() {
    let folder = common::folder("resumed");
    let (file, old) = (folder.join("firm.db"), folder.join("older.db"));
    let anchor = AnchorFile::at(folder.join("firm.anchor"));
    let tenant = rows().tenant;
    fill(&file, 5).await;
    std::fs::copy(&file, &old).unwrap();
    fill(&file, 3).await;
    let resume = async |file: &Path| {
        let store = Counting(SqliteStore::open(file).unwrap(), 0.into());
        let log = anchor
            .resume_log(&store, tenant, "firm.example", None)
            .await;
        log.map(|log| (log, store.1.into_inner()))
    };
    // Nothing kept: the whole log.
    let (log, read) = resume(&file).await.unwrap();
    assert_eq!((log.size(), read), (8, 8));
    let last = SqliteStore::open(&file)
        .unwrap()
        .entries(tenant, 7, 1)
        .await
        .unwrap();
    anchor.keep(&log, &last[0]).unwrap();
    assert_eq!(anchor.known().unwrap(), Some(log.anchor()));
    // Kept: what came since, and the entry before.
    fill(&file, 2).await;
    let (longer, read) = resume(&file).await.unwrap();
    assert_eq!((longer.size(), read), (10, 3));
    let store = SqliteStore::open(&file).unwrap();
    let whole = anchor.open_log(&store, tenant, "firm.example", None).await;
    assert_eq!(whole.unwrap(), longer);
    drop(store);
    // An older copy, and one that was written on beyond it.
    assert_eq!(code(resume(&old).await), Code::AudFork);
    fill(&old, 9).await;
    assert_eq!(code(resume(&old).await), Code::AudFork);
    // Nor does it go back, or believe a state of another length.
    let mut five = kta_core::audit::Log::new("firm.example");
    let entries = SqliteStore::open(&file)
        .unwrap()
        .entries(tenant, 0, 5)
        .await
        .unwrap();
    for entry in &entries {
        five.append(entry).unwrap();
    }
    assert_eq!(code(anchor.keep(&five, &entries[4])), Code::AudFork);
    let text = std::fs::read_to_string(folder.join("firm.anchor")).unwrap();
    let (line, state) = text.split_once('\n').unwrap();
    for bad in [
        format!("{line}\n{}\n", &state[2..]),
        format!("{line}\nzz {state}\n"),
    ] {
        std::fs::write(folder.join("firm.anchor"), bad).unwrap();
        assert_eq!(kind(resume(&file).await), FaultKind::Corrupt);
    }
    std::fs::write(folder.join("firm.anchor"), text).unwrap();
    // Without the state it is an anchor still.
    anchor.advance(longer.anchor()).unwrap();
    assert_eq!(resume(&file).await.unwrap().1, 10);
}

/// Counts the entries that are read.
#[derive(Debug)]
struct Counting(SqliteStore, std::sync::atomic::AtomicUsize);

#[async_trait::async_trait]
impl kta_core::ports::Ledger for Counting {
    async fn size(&self, tenant: TenantId) -> kta_core::Result<u64> {
        self.0.size(tenant).await
    }

    async fn entries(
        &self,
        tenant: TenantId,
        from: u64,
        limit: usize,
    ) -> kta_core::Result<Vec<Vec<u8>>> {
        let entries = self.0.entries(tenant, from, limit).await?;
        self.1
            .fetch_add(entries.len(), std::sync::atomic::Ordering::SeqCst);
        Ok(entries)
    }

    async fn trail(
        &self,
        tenant: TenantId,
        subject: kta_core::id::SubjectId,
        from: kta_core::time::Timestamp,
        to: kta_core::time::Timestamp,
    ) -> kta_core::Result<Vec<u64>> {
        self.0.trail(tenant, subject, from, to).await
    }
}

#[test]
fn an_anchor_never_goes_back_and_a_damaged_one_is_not_believed() {
    let file = common::folder("anchor").join("firm.anchor");
    let anchor = AnchorFile::at(&file);
    assert_eq!(anchor.known().unwrap(), None);
    let (five, six) = (
        Anchor {
            size: 5,
            root: Digest::of(b"five"),
        },
        Anchor {
            size: 6,
            root: Digest::of(b"six"),
        },
    );
    anchor.advance(five).unwrap();
    anchor.advance(six).unwrap();
    anchor.advance(six).unwrap();
    assert_eq!(code(anchor.advance(five)), Code::AudFork);
    let other = Anchor {
        root: Digest::of(b"other"),
        ..six
    };
    assert_eq!(code(anchor.advance(other)), Code::AudFork);
    assert_eq!(AnchorFile::at(&file).known().unwrap(), Some(six));
    std::fs::write(&file, "6 zz\n").unwrap();
    assert_eq!(kind(anchor.known()), FaultKind::Corrupt);
    assert_eq!(kind(anchor.advance(six)), FaultKind::Corrupt);
}

#[tokio::test]
async fn a_key_table_of_the_first_version_opens() {
    use kta_core::conformance::key_table as kit;
    let file = common::folder("first-version").join("keys.db");
    let first = rusqlite::Connection::open(&file).unwrap();
    first
        .execute_batch(include_str!("../src/key_table.sql"))
        .unwrap();
    first
        .execute("INSERT INTO migration VALUES (1, 'kta-storage 0.1.0')", [])
        .unwrap();
    first
        .pragma_update(None, "application_id", i32::from_be_bytes(*b"KTAk"))
        .unwrap();
    first.pragma_update(None, "user_version", 1).unwrap();
    drop(first);
    let table = SqliteKeyTable::open(&file).unwrap();
    kit::a_former_key_is_kept_then_dropped_and_goes_with_the_person(&table).await;
}

#[cfg(unix)]
#[test]
fn files_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = common::folder("mode");
    drop(SqliteStore::open(folder.join("firm.db")).unwrap());
    drop(SqliteKeyTable::open(folder.join("keys.db")).unwrap());
    for file in ["firm.db", "keys.db"] {
        assert_eq!(
            std::fs::metadata(folder.join(file))
                .unwrap()
                .permissions()
                .mode()
                & 0o077,
            0
        );
    }
}

#[test]
fn the_clock_is_that_of_this_century() {
    assert!(SystemClock.now() > rows().set(0).at - chrono::TimeDelta::days(400));
}

#[tokio::test]
async fn faults_of_the_file_tell_no_value() {
    let file = common::folder("telling").join("firm.db");
    let store = SqliteStore::open(&file).unwrap();
    let rows = rows();
    store
        .commit(rows.set(0).with(rows.put(1, 1, 1, &[1], Expected::Absent)))
        .await
        .unwrap();
    Connection::open(&file)
        .unwrap()
        .execute("UPDATE record SET fields = x'0102'", [])
        .unwrap();
    let error = store.record(&rows.key(1, 1)).await.unwrap_err();
    assert_eq!(error.fault().map(Fault::kind), Some(FaultKind::Corrupt));
    let told = format!("{error} {error:?} {store:?}");
    assert!(marks().iter().all(|mark| !told.contains(mark)));
}

async fn fill(file: &Path, entries: u8) {
    let store = SqliteStore::open(file).unwrap();
    let rows = rows();
    for _ in 0..entries {
        let size = store.size(rows.tenant).await.unwrap();
        // The length of the file's name tells two files' stories apart.
        let event = rows
            .event(None)
            .with("number", size)
            .with("file", file.as_os_str().len());
        store.commit(rows.set(0).event(event)).await.unwrap();
    }
}

fn rows() -> Samples {
    Samples {
        tenant: TenantId::derived(&[b"invented firm of one file"]),
    }
}

fn fault<T>(outcome: Result<T, Error>) -> Fault {
    match outcome {
        Err(Error::Broken(fault)) => fault,
        Err(other) => panic!("expected a fault, got {other}"),
        Ok(_) => panic!("expected a fault"),
    }
}

fn kind<T>(outcome: Result<T, Error>) -> FaultKind {
    fault(outcome).kind()
}

fn code<T>(outcome: Result<T, Error>) -> Code {
    match outcome {
        Err(Error::Refused(refusal)) => refusal.code(),
        Err(other) => panic!("expected a refusal, got {other}"),
        Ok(_) => panic!("expected a refusal"),
    }
}

/// More than are read where the caller is, in several pages, and under two classes.
#[tokio::test]
async fn whoever_has_many_records_is_read_whole_and_in_order() {
    let file = common::folder("many").join("firm.db");
    let store = SqliteStore::open(&file).unwrap();
    let rows = rows();
    let mut set = rows.set(0);
    for number in (0..=200).rev() {
        let class = rows.class_of(1 + number % 2);
        set = set.with(rows.put_under(&class, 1, number, 1, Expected::Absent));
    }
    store.commit(set).await.unwrap();
    let classes = [1, 2].map(|number| RecordBy::Class(rows.class_of(number).id()));
    let mine = RecordBy::Subject(rows.subject(1));
    let (all, odd): (Vec<u8>, Vec<u8>) = (
        (0..=200).collect(),
        (0..=200).filter(|it| it % 2 == 1).collect(),
    );
    let even = (0..=200).filter(|it| it % 2 == 0).collect();
    let [first, second] = classes;
    for (by, expected) in [(mine, all), (second, odd), (first, even)] {
        let query = RecordQuery::all(rows.tenant, by);
        let numbers = async |query: &RecordQuery| -> Vec<u8> {
            let found = store.records(query).await.unwrap();
            found.iter().map(|it| it.key.record.as_bytes()[0]).collect()
        };
        assert_eq!(numbers(&query).await, expected);
        for limit in [1, 63, 64, 65, 100, 500] {
            let page = query.clone().page(None, limit);
            assert_eq!(numbers(&page).await, expected[..limit.min(expected.len())]);
            let after = rows.key(1, expected[9]).record;
            let page = query.clone().page(Some(after), limit);
            let last = expected.len().min(10 + limit);
            assert_eq!(numbers(&page).await, expected[10..last]);
        }
    }
}
