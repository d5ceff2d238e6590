//! The journal: where bounded events stand between the answer and the log.
//!
//! A change set of events alone, bounded, is written with one `write` into a file beside the
//! store (on PostgreSQL: into a folder of this machine) and answered: it is in the operating
//! system's hands, and a killed process does not take it along. Who writes to the store carries what stands there into the log, many at a time: before
//! anything else that it commits, when there is much, when somebody asks the log, and at the
//! latest after the lag.
//!
//! ```text
//!   opening ──► frame ──► active half ─┐ the halves change places          ┌► entries, trail
//!   opening ──► frame ──► (≤ 16 MiB)   ├────────────────────────► writer ──┤  taken = number
//!                         other half ──┘ free again once committed         └► one transaction
//! ```
//!
//! | offset | what |
//! |---|---|
//! | 0 | `KTA open`, form (1), the journal's id (16) |
//! | 4,096 | first half: frames, one after the other |
//! | 4,096 + 16 MiB | second half |
//!
//! A frame is its payload's length (4), its number (8), the payload, and CRC-32 of number and
//! payload (4), big-endian. Numbers grow by one from frame to frame and never begin anew, so what
//! is left of earlier frames behind the last one is told by its number. The store keeps, in the
//! transaction that takes frames in, the number of the last one: a journal that is read again
//! enters nothing twice.
//!
//! Every open store has a journal of its own and holds a lock on it. Whoever opens a store takes
//! in the journals whose lock nobody holds: their processes are dead. A payload is ids and codes,
//! as the log has them.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kta_core::audit::Entry;
use kta_core::audit::tiles::LONGEST_ENTRY;
use kta_core::ports::store::ChangeSet;

/// The journal of one open store.
#[derive(Debug)]
pub(crate) struct Journal {
    side: Mutex<Side>,
    /// Number of the last frame that was written, and of the last that the log has.
    written: AtomicU64,
    settled: AtomicU64,
}

#[derive(Debug)]
enum Side {
    /// Nothing was written yet; this is the database's path.
    New(PathBuf),
    /// There can be none here.
    Off,
    Open(Open),
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    id: [u8; 16],
    next: u64,
    /// Which half is written, how far, and what stands there.
    half: u64,
    frames: Vec<u8>,
    /// Whether the other half may be written over.
    free: bool,
    spare: Vec<u8>,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// It stands there, and the writing thread knows of others before it.
    Written,
    /// It stands there, and the writing thread must be told: the first since it looked, or many.
    Tell {
        /// Whether it should look now.
        now: bool,
    },
    /// There is no room, or no journal: commit it.
    Commit,
}

/// Frames that were taken out to be entered.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) id: [u8; 16],
    frames: Vec<u8>,
    last: u64,
}

impl Taken {
    /// Numbers and payloads in order.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (u64, &[u8])> {
        Frames(&self.frames)
    }
}

impl Journal {
    /// The journal of the store at this path; its file is made when something is written.
    pub(crate) const fn beside(database: PathBuf) -> Self {
        Self {
            side: Mutex::new(Side::New(database)),
            written: AtomicU64::new(0),
            settled: AtomicU64::new(0),
        }
    }

    /// Writes the events of a bounded change set.
    pub(crate) fn note(&self, change: &ChangeSet) -> Noted {
        let Some(mut frame) = frame_of(change) else {
            return Noted::Commit;
        };
        let mut side = self.locked();
        if let Side::New(database) = &*side {
            *side = Open::create(database).map_or(Side::Off, Side::Open);
        }
        let Side::Open(open) = &mut *side else {
            return Noted::Commit;
        };
        if open.frames.len() + frame.len() > HALF {
            return Noted::Commit;
        }
        finish(&mut frame, open.next);
        let place = HEAD + open.half * HALF as u64 + open.frames.len() as u64;
        if write_at(&open.file, &frame, place).is_err() {
            // The next frame is written over what there is of this one.
            return Noted::Commit;
        }
        let before = open.frames.len();
        open.frames.extend_from_slice(&frame);
        self.written.store(open.next, Ordering::Release);
        open.next += 1;
        let much = |length| length / MUCH;
        if before == 0 || much(before) != much(open.frames.len()) {
            return Noted::Tell { now: before != 0 };
        }
        Noted::Written
    }

    /// Whether the log has all that was written.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire) >= self.written.load(Ordering::Acquire)
    }

    /// Takes out what was written since the last time, once that is settled.
    pub(crate) fn take(&self) -> Option<Taken> {
        let mut side = self.locked();
        let Side::Open(open) = &mut *side else {
            return None;
        };
        if open.frames.is_empty() || !open.free {
            return None;
        }
        open.half ^= 1;
        open.free = false;
        let spare = std::mem::take(&mut open.spare);
        Some(Taken {
            id: open.id,
            frames: std::mem::replace(&mut open.frames, spare),
            last: open.next - 1,
        })
    }

    /// The log has what was taken out: its half may be written over.
    pub(crate) fn settle(&self, taken: Taken) {
        if let Side::Open(open) = &mut *self.locked() {
            open.free = true;
            open.spare = taken.frames;
            open.spare.clear();
        }
        self.settled.store(taken.last, Ordering::Release);
    }

    /// Removes the file, if the log has all that is in it.
    pub(crate) fn close(&self) {
        let mut side = self.locked();
        if let Side::Open(open) = &*side
            && self.is_settled()
        {
            // One that stays is taken in, and nothing of it, by whoever opens the store next.
            drop(std::fs::remove_file(&open.path));
        }
        *side = Side::Off;
    }

    fn locked(&self) -> MutexGuard<'_, Side> {
        // Nothing panics between the write and the note of it.
        self.side.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn create(database: &Path) -> std::io::Result<Self> {
        let id = fresh_id();
        let path = path_of(database, &id);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        // Whoever opens the store in this instant may take the new file for a dead process's.
        file.try_lock()?;
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&id);
        write_at(&file, &head, 0)?;
        if !is_at(&file, &path) {
            return Err(std::io::ErrorKind::NotFound.into());
        }
        Ok(Self {
            file,
            path,
            id,
            next: 1,
            half: 0,
            frames: Vec::new(),
            free: true,
            spare: Vec::new(),
        })
    }
}

/// A dead process's journal, locked.
#[derive(Debug)]
pub(crate) struct Leftover {
    pub(crate) id: [u8; 16],
    path: PathBuf,
    frames: Vec<(u64, Vec<u8>)>,
    _locked: File,
}

impl Leftover {
    /// The journals beside a database that no process holds.
    pub(crate) fn all(database: &Path) -> std::io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for path in files(database)? {
            found.extend(Self::lock(path)?);
        }
        Ok(found)
    }

    fn lock(path: PathBuf) -> std::io::Result<Option<Self>> {
        let mut file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            // Its owner removed it just now.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
        if !is_at(&file, &path) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let most = HEAD + 2 * HALF as u64;
        (&mut file).take(most).read_to_end(&mut bytes)?;
        let id = bytes
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.first_chunk())
            .copied();
        let frames = id.map_or_else(Vec::new, |_| in_both_halves(&bytes));
        Ok(Some(Self {
            id: id.unwrap_or_default(),
            path,
            frames,
            _locked: file,
        }))
    }

    /// Numbers and payloads in order.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let each = self.frames.iter();
        each.map(|(number, payload)| (*number, &payload[..]))
    }

    /// The log has it all, on disk.
    pub(crate) fn remove(self) -> std::io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

fn folder_of(database: &Path) -> &Path {
    match database.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn files(database: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let start = path_start(database);
    for entry in std::fs::read_dir(folder_of(database))? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy());
        let id = name.as_deref().and_then(|name| name.strip_prefix(&start));
        let digit = |byte: u8| byte.is_ascii_hexdigit();
        if id.is_some_and(|id| id.len() == 32 && id.bytes().all(digit)) {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn path_start(database: &Path) -> String {
    let name = database.file_name().unwrap_or_default();
    format!("{}-opened-", name.to_string_lossy())
}

fn path_of(database: &Path, id: &[u8; 16]) -> PathBuf {
    let name = format!("{}{:032x}", path_start(database), u128::from_be_bytes(*id));
    folder_of(database).join(name)
}

/// Not secret, only not used before.
fn fresh_id() -> [u8; 16] {
    let half = || {
        let mut random = RandomState::new().build_hasher();
        random.write_u32(std::process::id());
        if let Ok(since) = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            random.write_u128(since.as_nanos());
        }
        u128::from(random.finish())
    };
    (half() << 64 | half()).to_be_bytes()
}

/// Whether this is the file at the path, and not one that was removed from there.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let same = |one: std::fs::Metadata, other: std::fs::Metadata| {
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    };
    let both = file
        .metadata()
        .and_then(|one| Ok((one, std::fs::metadata(path)?)));
    both.is_ok_and(|(one, other)| same(one, other))
}

/// Where a file that is open cannot be removed.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(windows)]
fn write_at(file: &File, mut bytes: &[u8], mut at: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, at)?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        (bytes, at) = (&bytes[written..], at + written as u64);
    }
    Ok(())
}

/// A frame without its number and checksum; `None` for an event that no log can hold.
///
/// The payload is the tenant (16), the instant in milliseconds (8), and for each event the number
/// of persons it names (2) with their ids (16 each) and its body behind its length (4).
fn frame_of(change: &ChangeSet) -> Option<Vec<u8>> {
    let mut frame = Vec::with_capacity(640);
    frame.extend_from_slice(&[0; START]);
    frame.extend_from_slice(change.tenant.as_bytes());
    frame.extend_from_slice(&change.at.timestamp_millis().to_be_bytes());
    for event in &change.events {
        let names = event.names();
        frame.extend_from_slice(&u16::try_from(names.len()).ok()?.to_be_bytes());
        names
            .iter()
            .for_each(|name| frame.extend_from_slice(name.as_bytes()));
        let body = event.body();
        if body.is_empty() || body.len() > LONGEST_ENTRY - Entry::PLACE {
            return None;
        }
        frame.extend_from_slice(&u32::try_from(body.len()).ok()?.to_be_bytes());
        frame.extend_from_slice(&body);
    }
    let length = u32::try_from(frame.len() - START).ok()?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Some(frame)
}

fn finish(frame: &mut Vec<u8>, number: u64) {
    frame[4..START].copy_from_slice(&number.to_be_bytes());
    let checksum = crc32fast::hash(&frame[4..]);
    frame.extend_from_slice(&checksum.to_be_bytes());
}

/// Events as they stand in a payload.
pub(crate) struct Payload<'p> {
    pub(crate) tenant: [u8; 16],
    pub(crate) millis: i64,
    pub(crate) events: Vec<Noticed<'p>>,
}

/// One event: whom it names, and its body.
pub(crate) struct Noticed<'p> {
    pub(crate) names: &'p [[u8; 16]],
    pub(crate) body: &'p [u8],
}

impl<'p> Payload<'p> {
    /// Reads what [`frame_of`] wrote.
    pub(crate) fn read(bytes: &'p [u8]) -> Option<Self> {
        let (tenant, rest) = bytes.split_first_chunk::<16>()?;
        let (millis, mut rest) = rest.split_first_chunk::<8>()?;
        let mut events = Vec::with_capacity(1);
        while !rest.is_empty() {
            let (many, after) = rest.split_first_chunk::<2>()?;
            let (names, after) =
                after.split_at_checked(16 * usize::from(u16::from_be_bytes(*many)))?;
            let (length, after) = after.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            let (body, after) = after.split_at_checked(length)?;
            let (names, _) = names.as_chunks();
            events.push(Noticed { names, body });
            rest = after;
        }
        Some(Self {
            tenant: *tenant,
            millis: i64::from_be_bytes(*millis),
            events,
        })
    }
}

/// Frames as they stand one after the other; ends before the first that is not whole.
struct Frames<'f>(&'f [u8]);

impl<'f> Iterator for Frames<'f> {
    type Item = (u64, &'f [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (checked, rest) = rest.split_at_checked(length.checked_add(8)?)?;
        let (checksum, rest) = rest.split_first_chunk::<4>()?;
        if length == 0 || crc32fast::hash(checked) != u32::from_be_bytes(*checksum) {
            return None;
        }
        let (number, payload) = checked.split_first_chunk::<8>()?;
        self.0 = rest;
        Some((u64::from_be_bytes(*number), payload))
    }
}

/// What a journal's file holds, in the order of the numbers.
fn in_both_halves(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    for half in 0..2 {
        let start = HEAD as usize + half * HALF;
        let bytes = bytes.get(start..).unwrap_or_default();
        let bytes = &bytes[..bytes.len().min(HALF)];
        let mut expected = None;
        for (number, payload) in Frames(bytes) {
            // Behind the last frame stands what is left of earlier ones.
            if expected.is_some_and(|expected| expected != number) {
                break;
            }
            expected = Some(number + 1);
            found.push((number, payload.to_vec()));
        }
    }
    found.sort_by_key(|(number, _)| *number);
    found
}

const MAGIC: &[u8; 9] = b"KTA open\x01";

/// Length and number before a payload.
const START: usize = 12;

/// Where the first half begins.
const HEAD: u64 = 4096;

/// Bytes of frames in a half; whoever finds it full waits for the writing thread.
const HALF: usize = 16 << 20;

/// Bytes of frames at which the writing thread is told to look.
const MUCH: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use kta_core::audit::{Event, Label, Outcome};
    use kta_core::id::{ActorId, SubjectId, TenantId};
    use kta_core::policy::Act;
    use kta_core::ports::store::Durability;

    use super::*;

    fn set(number: u64) -> ChangeSet {
        let tenant = TenantId::from_bytes([1; 16]);
        let actor = ActorId::from_bytes([2; 16]);
        let event = Event::new(
            tenant,
            actor,
            Label::fixed("test"),
            Act::Open,
            Outcome::Done,
        )
        .of_subject(SubjectId::from_bytes([3; 16]))
        .with("number", number);
        let mut set = ChangeSet::new(tenant, "2026-11-22T09:00:00Z".parse().unwrap()).event(event);
        set.durability = Durability::Bounded;
        set
    }

    fn number_of(payload: &[u8]) -> u64 {
        let payload = Payload::read(payload).unwrap();
        assert_eq!(payload.tenant, [1; 16]);
        let [event] = &payload.events[..] else {
            panic!("one event")
        };
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
}
