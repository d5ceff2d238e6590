use kta_core::FaultKind;
use kta_core::audit::{Event, Label, Outcome};
use kta_core::id::{ActorId, SubjectId, TenantId};
use kta_core::policy::Act;
use kta_core::ports::store::Durability;

use super::leftover::{Found, files, in_both_halves};
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

fn left_or_nothing(database: &Path) -> Vec<u8> {
    let path = files(database).unwrap().pop();
    path.map_or_else(Vec::new, |path| std::fs::read(path).unwrap())
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
    // The first half has one new frame over the first of five old ones, the second half three.
    let Found { frames, gap } = in_both_halves(&left(&database));
    let found = numbers(frames.into_iter());
    let expected: Vec<_> = (2..=9).map(|number| (number, number - 1)).collect();
    assert!(!gap && found == expected, "{found:?}");
    drop(taken);
}

/// As a process leaves a journal that is killed while it writes a frame, of which some bytes are
/// there: over nothing, over an older frame, and as a half's first.
#[test]
fn what_a_killed_process_leaves_has_no_gap() {
    let (_folder, database) = fresh();
    let journal = Journal::beside(database.clone());
    for (turn, many) in [3, 2, 1, 4, 1, 1, 5].into_iter().enumerate() {
        for number in 0..many {
            let before = left_or_nothing(&database);
            // Of several lengths, so that older frames are cut at any place.
            let set = of_events(number, 1, (turn * 31 + number as usize * 57) % 200);
            let place = place_of_next(&journal);
            journal.note(&set);
            let after = left(&database);
            // Of a half's first frame, the head is written in one piece.
            for bytes in [12, length(&set) / 2, length(&set) - 1] {
                let mut killed = before.clone();
                killed.resize(killed.len().max(place + bytes), 0);
                killed[place..place + bytes].copy_from_slice(&after[place..place + bytes]);
                assert!(!in_both_halves(&killed).gap, "turn {turn}, {bytes} bytes");
            }
        }
        journal.settle(journal.take().unwrap());
    }
}

fn place_of_next(journal: &Journal) -> usize {
    match &*journal.locked() {
        Side::Open(open) => HEAD as usize + open.half as usize * HALF + open.frames.len(),
        _ => HEAD as usize,
    }
}

#[test]
fn a_torn_tail_is_no_frame_and_a_turned_bit_before_others_is_a_gap() {
    let (_folder, database) = fresh();
    let journal = Journal::beside(database.clone());
    let frame = length(&set(0));
    for number in 0..3 {
        journal.note(&set(number));
    }
    let whole = left(&database);
    for cut in 1..=frame {
        let found = in_both_halves(&whole[..whole.len() - cut]);
        assert_eq!((found.frames.len(), found.gap), (2, false), "cut by {cut}");
    }
    for (which, gap) in [(0, true), (1, true), (2, false)] {
        let start = HEAD as usize + which * frame;
        for at in start..start + frame {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            let found = in_both_halves(&bytes);
            assert_eq!((found.frames.len(), found.gap), (2, gap), "turned at {at}");
        }
    }
    for short in [&whole[..20], &[]] {
        let found = in_both_halves(short);
        assert!(found.frames.is_empty() && !found.gap);
    }
}

/// Nothing is adopted of a damaged journal, or of one that is not understood, and it stays; a
/// machine that crashed explains a gap.
#[test]
fn a_journal_that_cannot_be_believed_stays() {
    let (_folder, database) = fresh();
    let journal = Journal::beside(database.clone());
    for number in 0..3 {
        journal.note(&set(number));
    }
    let path = files(&database).unwrap().remove(0);
    drop(journal);
    let whole = std::fs::read(&path).unwrap();
    let turned = |places: &[usize]| {
        let mut bytes = whole.clone();
        places.iter().for_each(|at| bytes[*at] ^= 1);
        std::fs::write(&path, bytes).unwrap();
        let all = Leftover::all(&database);
        assert!(path.exists());
        all.map(|all| (all[0].id, numbers(all[0].frames())))
            .map_err(|error| error.fault().unwrap().kind())
    };
    let second = HEAD as usize + length(&set(0)) + 40;
    let (id, all) = turned(&[]).unwrap();
    assert_eq!(all, [(1, 0), (2, 1), (3, 2)]);
    assert_eq!(turned(&[0]), Err(FaultKind::Misconfigured), "of another");
    assert_eq!(turned(&[8]), Err(FaultKind::Misconfigured), "another form");
    let known = cfg!(target_os = "linux");
    let rest = vec![(1, 0), (3, 2)];
    let expected = if known {
        Err(FaultKind::Corrupt)
    } else {
        Ok((id, rest.clone()))
    };
    assert_eq!(turned(&[second]), expected);
    // Written before the machine's last start.
    assert_eq!(turned(&[30, second]), Ok((id, rest)));
    // The first page never came to the disk; the name has the id.
    let mut bytes = whole.clone();
    bytes[..HEAD as usize].fill(0);
    std::fs::write(&path, bytes).unwrap();
    let found = Leftover::all(&database).unwrap();
    assert_eq!((found[0].id, found[0].frames().count()), (id, 3));
    drop(found);
    // Killed before it wrote anything.
    for length in [0, 5, 20] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let found = Leftover::all(&database).unwrap().remove(0);
        assert_eq!((found.id, found.frames().count()), (id, 0));
    }
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
            let Found { frames, gap } = in_both_halves(&left(&database));
            let found: Vec<_> = frames.into_iter().map(|(number, _)| number).collect();
            assert!(!gap && found == numbers.collect::<Vec<_>>(), "by {over}");
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
