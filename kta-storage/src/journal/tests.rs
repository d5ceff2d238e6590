use kta_core::audit::{Event, Label, Outcome};
use kta_core::id::{ActorId, SubjectId, TenantId};
use kta_core::policy::Act;
use kta_core::ports::store::Durability;

use super::leftover::{files, in_both_halves};
use super::*;

fn set(number: u64) -> ChangeSet {
    of_events(number, 1, 0)
}

/// So many events, and so many bytes more than without any.
fn of_events(number: u64, events: usize, more: usize) -> ChangeSet {
    let tenant = TenantId::from_bytes([1; 16]);
    let actor = ActorId::from_bytes([2; 16]);
    let mut set = ChangeSet::new(tenant, "2026-11-22T09:00:00Z".parse().unwrap());
    for at in 0..events {
        let label = Label::fixed("test");
        let mut event = Event::new(tenant, actor, label, Act::Open, Outcome::Done)
            .of_subject(SubjectId::from_bytes([3; 16]))
            .with("number", number);
        let mut more = if at == 0 { more } else { 0 };
        for name in ["p1", "p2", "p3", "p4"] {
            let word = more.min(Label::LONGEST - 1);
            more -= word;
            event = event.with(name, Label::new("x".repeat(word + 1)).unwrap());
        }
        assert_eq!(more, 0, "no room for so much");
        set = set.event(event);
    }
    set.durability = Durability::Bounded;
    set
}

/// Bytes of this set's frame, its checksum too.
fn length(set: &ChangeSet) -> usize {
    frame_of(set).unwrap().len() + 4
}

/// Fills a half until the next frame is larger than what is left of it by `over` bytes, and tries
/// that one; how many frames stand there, and whether it does.
fn fill(journal: &Journal, over: isize) -> (u64, bool) {
    let mut left = HALF.checked_add_signed(over).unwrap();
    let mut count = 0;
    for events in [100, 1] {
        let set = of_events(0, events, 0);
        let least = length(&of_events(0, 1, 0));
        while left >= length(&set) + least {
            assert_ne!(journal.note(&set), Noted::Commit);
            left -= length(&set);
            count += 1;
        }
    }
    let last = of_events(0, 1, left - length(&of_events(0, 1, 0)));
    assert_eq!(length(&last), left);
    let fits = journal.note(&last) != Noted::Commit;
    (count + u64::from(fits), fits)
}

fn number_of(payload: &[u8]) -> u64 {
    let payload = Payload::read(payload).unwrap();
    assert_eq!(payload.tenant, [1; 16]);
    let event = &payload.events[0];
    assert_eq!(event.names, [[3; 16]]);
    let body: serde_json::Value = serde_json::from_slice(event.body).unwrap();
    body["facts"]["number"].as_u64().unwrap()
}

fn fresh() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("firm.db");
    (folder, database)
}

fn numbers(frames: impl Iterator<Item = (u64, impl AsRef<[u8]>)>) -> Vec<(u64, u64)> {
    frames
        .map(|(number, payload)| (number, number_of(payload.as_ref())))
        .collect()
}

/// The journal's bytes as a killed process leaves them.
fn left(database: &Path) -> Vec<u8> {
    let path = files(database).unwrap().remove(0);
    std::fs::read(path).unwrap()
}

#[test]
fn what_was_noted_is_taken_once_and_in_order() {
    let (_folder, database) = fresh();
    let journal = Journal::beside(database.clone());
    assert!(journal.is_settled() && journal.take().is_none());
    assert!(
        files(&database).unwrap().is_empty(),
        "no file before it is needed"
    );
    assert_eq!(journal.note(&set(10)), Noted::Tell { now: false });
    assert_eq!(journal.note(&set(11)), Noted::Written);
    assert!(!journal.is_settled());
    let first = journal.take().unwrap();
    assert_eq!(numbers(first.frames()), [(1, 10), (2, 11)]);
    assert_eq!(journal.note(&set(12)), Noted::Tell { now: false });
    assert!(journal.take().is_none(), "the first is not settled yet");
    assert!(!journal.is_settled());
    journal.settle(first);
    let second = journal.take().unwrap();
    assert_eq!(numbers(second.frames()), [(3, 12)]);
    journal.settle(second);
    assert!(journal.is_settled() && journal.take().is_none());
    journal.close();
    assert!(
        files(&database).unwrap().is_empty(),
        "nothing is left of it"
    );
    assert_eq!(journal.note(&set(13)), Noted::Commit);
}

#[test]
fn a_killed_process_leaves_every_frame_of_both_halves() {
    let (_folder, database) = fresh();
    let journal = Journal::beside(database.clone());
    for number in 0..5 {
        journal.note(&set(number));
    }
    journal.settle(journal.take().unwrap());
    for number in 5..8 {
        journal.note(&set(number));
    }
    let taken = journal.take().unwrap();
    journal.note(&set(8));
    // The first half has one new frame over five old ones, the second half three.
    let found = in_both_halves(&left(&database));
    let found = numbers(found.into_iter());
    assert_eq!(found, [(6, 5), (7, 6), (8, 7), (9, 8)]);
    drop(taken);
}

#[test]
fn a_torn_tail_and_a_turned_bit_end_what_is_believed() {
    let (_folder, database) = fresh();
    let journal = Journal::beside(database.clone());
    let frame = frame_of(&set(0)).unwrap().len() + 4;
    for number in 0..3 {
        journal.note(&set(number));
    }
    let whole = left(&database);
    for cut in 1..=frame {
        let found = in_both_halves(&whole[..whole.len() - cut]);
        assert_eq!(found.len(), 2, "cut by {cut}");
    }
    let second = HEAD as usize + frame;
    for at in second..second + frame {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        assert_eq!(in_both_halves(&bytes).len(), 1, "turned at {at}");
    }
    assert_eq!(in_both_halves(&whole[..20]), []);
    assert_eq!(in_both_halves(&[]), []);
}

#[test]
fn a_living_process_keeps_its_journal_and_a_dead_one_gives_it_up() {
    let (_folder, database) = fresh();
    let journal = Journal::beside(database.clone());
    journal.note(&set(1));
    assert!(Leftover::all(&database).unwrap().is_empty());
    assert_eq!(files(&database).unwrap().len(), 1);
    drop(journal);
    let mut found = Leftover::all(&database).unwrap();
    assert!(
        Leftover::all(&database).unwrap().is_empty(),
        "one adopts it"
    );
    let leftover = found.remove(0);
    assert_eq!(numbers(leftover.frames()), [(1, 1)]);
    leftover.remove().unwrap();
    assert!(Leftover::all(&database).unwrap().is_empty());
}

#[test]
fn a_full_half_is_committed_instead_and_a_foreign_file_is_left_alone() {
    let (folder, database) = fresh();
    std::fs::write(folder.path().join("firm.db-opened-by-somebody"), b"x").unwrap();
    assert!(files(&database).unwrap().is_empty());
    let journal = Journal::beside(database);
    let mut told = 0;
    let mut written = 0;
    loop {
        match journal.note(&set(1)) {
            Noted::Commit => break,
            Noted::Tell { now } => told += u32::from(now),
            Noted::Written => {}
        }
        written += 1;
    }
    assert_eq!(told, 15, "at each further mebibyte");
    let taken = journal.take().unwrap();
    assert_eq!(taken.frames().count(), written);
    assert_eq!(journal.note(&set(2)), Noted::Tell { now: false });
}

/// A frame ends where its half ends, or is not written.
#[test]
fn no_frame_reaches_beyond_its_half() {
    for over in -1..=5 {
        let (_folder, database) = fresh();
        let journal = Journal::beside(database.clone());
        let whole = |numbers: core::ops::RangeInclusive<u64>| {
            let found = in_both_halves(&left(&database));
            let found: Vec<_> = found.into_iter().map(|(number, _)| number).collect();
            assert!(found == numbers.collect::<Vec<_>>(), "by {over}");
        };
        let (first, _) = fill(&journal, over);
        let taken = journal.take().unwrap();
        let (second, fits) = fill(&journal, over);
        whole(1..=first + second);
        journal.settle(taken);
        let _taken = journal.take().unwrap();
        let (third, _) = fill(&journal, over);
        whole(first + 1..=first + second + third);
        assert_eq!(fits, over <= 0, "by {over}");
    }
}
