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
//! | 0 | `KTA open`, form (1), the journal's id (16), which start of the machine this is (16) |
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
//!
//! A killed process leaves frames without a gap, and at most a torn one at their end. A machine
//! that crashed may leave some pages and not others: whatever frame is whole is taken in then.
//! Where the machine still runs, a frame that is not whole before whole ones was damaged: nothing
//! is taken in, and the file stays.

mod frame;
mod head;
mod leftover;

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kta_core::ports::store::ChangeSet;

use frame::{Frames, finish, frame_of};
use leftover::{is_at, path_of};

pub(crate) use frame::Payload;
pub(crate) use leftover::{Leftover, damaged};

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
        finish(&mut frame, open.next);
        if open.frames.len() + frame.len() > HALF {
            return Noted::Commit;
        }
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
        self.settled() >= self.written()
    }

    /// The number of the last frame that was written.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// The number of the last frame that the log has.
    pub(crate) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
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
        write_at(&file, &head::of(&id), 0)?;
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

/// Where the first half begins.
const HEAD: u64 = 4096;

/// Bytes of frames in a half; whoever finds it full waits for the writing thread.
const HALF: usize = 16 << 20;

/// Bytes of frames at which the writing thread is told to look.
const MUCH: usize = 1 << 20;

#[cfg(test)]
mod tests;
