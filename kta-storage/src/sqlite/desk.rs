//! The desk at which transactions are written: the one connection that writes, and whoever sits
//! there. That is the writing thread, or a caller with a bounded commit who finds it free: to go to
//! the thread and back takes longer than the commit does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kta_core::ports::store::Durability;
use kta_core::{Error, Fault, FaultKind, Port, Result};
use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::change;
use super::fault::broken;
use super::open::PATIENCE;
use super::writer::LAG;
use crate::journal::{Journal, Taken};

/// The connection that writes, and what is not on disk yet.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) db: Connection,
    /// Since when something is committed that is not certainly on disk.
    pub(super) unsynced: Option<Instant>,
    sync: Sync,
    pace: Pace,
    /// How long the write-ahead log was after the last commit, in pages.
    length: Arc<AtomicU32>,
    /// Whether the disk failed under a commit: nothing is written any more.
    failed: bool,
    journal: Arc<Journal>,
    /// What was taken from the journal and is not committed yet.
    taken: Option<Taken>,
}

/// What waits for one transaction, and its room in the queue.
pub(super) type Waiting = (Durability, Box<dyn Step>, Option<OwnedSemaphorePermit>);

/// One step inside a transaction.
pub(super) trait Step: Send {
    /// Does it; whether it may stay. Done again after its transaction was taken back, it is as if
    /// for the first time.
    fn run(&mut self, db: &Connection) -> bool;
    /// Answers whoever waits: with the step's own outcome, or with what became of its
    /// transaction.
    fn answer(&mut self, transaction: Result<(), Error>);
}

pub(super) struct Task<F, T> {
    work: F,
    outcome: Option<Result<T>>,
    reply: Option<oneshot::Sender<Result<T>>>,
}

impl<F, T> Task<F, T> {
    /// Work, and who waits for its outcome.
    pub(super) const fn new(work: F, reply: oneshot::Sender<Result<T>>) -> Self {
        Self {
            work,
            outcome: None,
            reply: Some(reply),
        }
    }
}

impl<F, T> Step for Task<F, T>
where
    F: FnMut(&Connection) -> Result<T> + Send,
    T: Send,
{
    fn run(&mut self, db: &Connection) -> bool {
        let outcome = self.outcome.insert((self.work)(db));
        outcome.is_ok()
    }

    fn answer(&mut self, transaction: Result<(), Error>) {
        let outcome = match (self.outcome.take(), transaction) {
            // A step that failed by itself had no part in the transaction.
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(lost("commit")),
        };
        if let Some(reply) = self.reply.take() {
            // Whoever waited may have gone; what was done stays done.
            drop(reply.send(outcome));
        }
    }
}

/// How long the write-ahead log becomes before it is written home.
///
/// While a file grows, the disk is waited for longer than in a file that is written over: who
/// waits for it fares best with a short log. Who does not, and above all who writes much, writes
/// most pages again and again, and with a longer log each goes home once for many commits.
#[derive(Debug, Default)]
struct Pace {
    /// When somebody waited for the disk last.
    awaited: Option<Instant>,
    /// When much was written last.
    much: Option<Instant>,
}

impl Pace {
    /// Notes a transaction that changes so many rows.
    fn keep(&mut self, rows: u64) {
        if rows >= MUCH {
            self.much = Some(Instant::now());
        }
    }

    /// At how many pages the log is written home.
    fn home_at(&self) -> u32 {
        let within = |time, last: Option<Instant>| last.is_some_and(|last| last.elapsed() < time);
        match (within(LAG, self.much), within(BRIEF, self.awaited)) {
            (true, _) => LONG,
            (false, true) => SHORT,
            (false, false) => USUAL,
        }
    }
}

/// What the steps of a transaction leave behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Steps {
    /// Something to keep.
    Keep,
    /// Something to keep, beside what was given back: the rows counted may all be of that.
    Part,
    /// Nothing; what was entered from the journal may be kept.
    Nothing,
    /// Half of something: all of the transaction must go.
    Forget,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sync {
    Full,
    Normal,
}

impl Desk {
    pub(super) fn new(mut db: Connection, journal: Arc<Journal>) -> Result<Self> {
        let length = Arc::new(AtomicU32::new(0));
        let told = Arc::clone(&length);
        // In the place of SQLite's own, which writes the log home within the commit that makes it
        // long, while somebody waits.
        db.wal_hook(Some(move |_: &mut Wal, pages: i32| {
            told.store(pages.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))
        .map_err(broken(Port::Store, "open"))?;
        Ok(Self {
            db,
            unsynced: None,
            sync: Sync::Full,
            pace: Pace::default(),
            length,
            failed: false,
            journal,
            taken: None,
        })
    }

    /// Writes the write-ahead log home once it is long.
    pub(super) fn write_home(&self) {
        // What a failed disk did not take may look written: nothing more goes there.
        if !self.failed && self.is_long() {
            self.length.store(0, Ordering::Relaxed);
            // Failing, it is tried again after the next commit.
            let home = "PRAGMA wal_checkpoint(PASSIVE)";
            drop(self.db.query_row(home, [], |_| Ok(())));
        }
    }

    /// Whether the write-ahead log is to be written home.
    pub(super) fn is_long(&self) -> bool {
        self.length.load(Ordering::Relaxed) >= self.pace.home_at()
    }

    /// Whether everything that was answered is on disk or in the log.
    pub(super) const fn is_settled(&self) -> bool {
        self.taken.is_none() && self.unsynced.is_none()
    }

    /// One transaction for all of these; each is answered.
    pub(super) fn write(&mut self, batch: &mut [Waiting]) {
        let durable = batch
            .iter()
            .any(|(durability, ..)| *durability == Durability::Durable);
        let sync = if durable { Sync::Full } else { Sync::Normal };
        if durable {
            self.pace.awaited = Some(Instant::now());
        }
        let outcome = match &mut *batch {
            // Alone it needs no savepoint, and SQLite no copies of the pages before it.
            [(_, step, _)] => self.transact(sync, |db| {
                let stays = step.run(db);
                Ok(if stays { Steps::Keep } else { Steps::Forget })
            }),
            several => {
                let mut all = true;
                let together = self.transact(sync, |db| {
                    all = all_of(several, db)?;
                    Ok(if all { Steps::Keep } else { Steps::Forget })
                });
                match together {
                    // Whoever fails must not take the others back. What was taken from the journal
                    // stands before all of them still, so it needs no transaction of its own.
                    Ok(()) if !all => self.attempt(sync, |db| each_of(several, db)),
                    outcome => outcome,
                }
            }
        };
        for (_, step, _) in batch {
            step.answer(outcome.clone());
        }
    }

    /// One transaction, committed if `steps` says so. What one before it took from the journal and
    /// gave up goes first, in one of its own, so that what was noted since can be taken now.
    fn transact(
        &mut self,
        sync: Sync,
        steps: impl FnOnce(&Connection) -> rusqlite::Result<Steps>,
    ) -> Result<(), Error> {
        if self.taken.is_some() {
            self.attempt(sync, |_| Ok(Steps::Nothing))?;
        }
        self.attempt(sync, steps)
    }

    fn attempt(
        &mut self,
        sync: Sync,
        steps: impl FnOnce(&Connection) -> rusqlite::Result<Steps>,
    ) -> Result<(), Error> {
        if self.failed {
            return Err(down("commit", "the disk failed; open the store again"));
        }
        let told = broken(Port::Store, "commit");
        if self.db.is_autocommit() {
            self.begin(sync).map_err(&told)?;
        }
        let rows = self.db.total_changes();
        // What was answered before comes before, in the log too.
        self.taken = self.taken.take().or_else(|| self.journal.take());
        let mut entered = false;
        if let Some(taken) = &self.taken {
            if let Err(error) = change::enter(&self.db, &taken.id, taken.frames()) {
                self.roll_back();
                return Err(error);
            }
            entered = true;
        }
        let counted = match steps(&self.db) {
            Ok(Steps::Keep) => true,
            Ok(Steps::Part) => false,
            Ok(Steps::Nothing) if entered => false,
            Ok(_) => {
                // What was taken from the journal is entered by the next transaction.
                self.roll_back();
                return Ok(());
            }
            Err(error) => {
                self.roll_back();
                return Err(told(error));
            }
        };
        let rows = self.db.total_changes() - rows;
        // SQLite synchronises what it writes, and a commit that changes nothing writes nothing:
        // what that one found may be bounded, here or in another process, and not on disk yet.
        let synced = match sync {
            Sync::Full if rows == 0 || !counted => touch(&self.db).map(drop),
            _ => Ok(()),
        };
        self.pace.keep(rows);
        if let Err(error) = synced.and_then(|()| self.db.execute_batch("COMMIT")) {
            self.roll_back();
            if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) {
                // Written perhaps, synchronised perhaps: only reading the file again tells.
                self.failed = true;
                return Err(lost("commit"));
            }
            return Err(told(error));
        }
        if let Some(taken) = self.taken.take() {
            self.journal.settle(taken);
        }
        match sync {
            Sync::Full if self.journal.is_settled() => self.unsynced = None,
            // What was noted meanwhile waits from now on.
            Sync::Full => self.unsynced = Some(Instant::now()),
            Sync::Normal => drop(self.unsynced.get_or_insert_with(Instant::now)),
        }
        Ok(())
    }

    fn begin(&mut self, sync: Sync) -> rusqlite::Result<()> {
        if self.sync != sync {
            let mode = if sync == Sync::Full { "FULL" } else { "NORMAL" };
            self.db.pragma_update(None, "synchronous", mode)?;
            self.sync = sync;
        }
        self.db.execute_batch("BEGIN IMMEDIATE")
    }

    /// Whether a short transaction can be begun without waiting for anybody, which then is begun.
    pub(super) fn begin_at_once(&mut self) -> bool {
        let noted = self
            .journal
            .written()
            .saturating_sub(self.journal.settled());
        if self.failed || self.taken.is_some() || self.is_long() || noted > FEW {
            return false;
        }
        let mut at_once = || -> rusqlite::Result<()> {
            self.db.busy_timeout(Duration::ZERO)?;
            let begun = self.begin(Sync::Normal);
            self.db.busy_timeout(PATIENCE)?;
            begun
        };
        let begun = at_once().is_ok();
        if !begun {
            self.roll_back();
        }
        begun
    }

    fn roll_back(&self) {
        if !self.db.is_autocommit() {
            // What cannot be rolled back is, when the connection or the process ends.
            drop(self.db.execute_batch("ROLLBACK"));
        }
    }

    /// Enters what is in the journal, without waiting for the disk.
    pub(super) fn carry(&mut self) {
        // Failing, it is tried again with the next transaction, at the latest after the lag.
        drop(self.transact(Sync::Normal, |_| Ok(Steps::Nothing)));
    }

    /// Carries bounded commits to disk: a synchronised commit takes all before it along.
    pub(super) fn tick(&mut self) {
        if self.unsynced.is_some() {
            let outcome = self.transact(Sync::Full, |db| touch(db).map(|_| Steps::Keep));
            if outcome.is_err() {
                // Tried again after another lag, or by the next durable commit.
                self.unsynced = Some(Instant::now());
            }
        }
    }
}

/// Runs steps in a transaction, until one fails; whether none did.
fn all_of(steps: &mut [Waiting], db: &Connection) -> rusqlite::Result<bool> {
    for (_, step, _) in steps {
        let stays = step.run(db);
        not_given_up(db)?;
        if !stays {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Runs steps in a transaction, each with a way back to what was before it.
fn each_of(steps: &mut [Waiting], db: &Connection) -> rusqlite::Result<Steps> {
    let (mut kept, mut given_back) = (false, false);
    for (_, step, _) in steps {
        db.execute_batch("SAVEPOINT step")?;
        let stays = step.run(db);
        not_given_up(db)?;
        kept |= stays;
        given_back |= !stays;
        db.execute_batch(if stays {
            "RELEASE step"
        } else {
            "ROLLBACK TO step; RELEASE step"
        })?;
    }
    Ok(match (kept, given_back) {
        (true, false) => Steps::Keep,
        (true, true) => Steps::Part,
        (false, _) => Steps::Nothing,
    })
}

/// Whether the transaction is there still: SQLite gives the whole of it up when the disk is full.
fn not_given_up(db: &Connection) -> rusqlite::Result<()> {
    if db.is_autocommit() {
        let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
        return Err(rusqlite::Error::SqliteFailure(full, None));
    }
    Ok(())
}

/// Writes a row that is there for this, so that a commit has something to synchronise.
fn touch(db: &Connection) -> rusqlite::Result<usize> {
    db.execute("UPDATE tick SET count = count + 1 WHERE one = 1", [])
}

pub(super) fn down(operation: &'static str, detail: &'static str) -> Error {
    Fault::new(FaultKind::Unavailable, Port::Store, operation)
        .because(detail)
        .into()
}

pub(super) fn lost(operation: &'static str) -> Error {
    Fault::new(FaultKind::OutcomeUnknown, Port::Store, operation).into()
}

/// Frames of the journal that are entered soon.
const FEW: u64 = 64;

/// Rows that are much for one transaction.
const MUCH: u64 = 1024;

/// How long after somebody waited for the disk somebody else may be about to.
const BRIEF: Duration = Duration::from_millis(100);

/// Pages of a short write-ahead log, 4 MiB, of a usual one, 32 MiB, and of a long one, 128 MiB.
const SHORT: u32 = 1024;
const USUAL: u32 = 8192;
const LONG: u32 = 32 << 10;
