//! The one thread that writes: it takes what is waiting into one transaction and answers when
//! that is where it must be.
//!
//! ```text
//!   commit ─┐                       ┌ change set 1 ┐
//!   commit ─┼─► queue ─► BEGIN ─────┼ change set 2 ├─► COMMIT ─► sync? ─► answers
//!   lease  ─┘   (≤ 1024)            └ lease        ┘
//! ```
//!
//! Whoever was answered together tends to come back together, but not at one instant. Behind a
//! durable batch of several the thread waits until as many are there again, for a quarter at the
//! most of what that batch took: otherwise the first to come would go alone, and each round of
//! callers would wait for two synchronisations. Who writes alone never waits.
//!
//! A change set that fails takes the transaction back. Those that it had company in are done once
//! more, now each behind a savepoint, for which SQLite copies every page that it touches first:
//! then it goes back alone. A batch that holds a durable one is synchronised to disk before anybody
//! in it is answered; one of bounded ones only is answered when it is in the operating system's
//! hands, and carried to disk by the next durable batch or after [`LAG`], whatever comes first.
//!
//! Bounded events alone do not come this way: they are answered when they stand in the
//! [journal](crate::journal), and every transaction first enters what stands there.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kta_core::ports::store::{ChangeSet, Durability};
use kta_core::{Error, Fault, FaultKind, Port, Result};
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::change;
use super::fault::broken;
use crate::journal::{Journal, Noted, Taken};

/// After how long a bounded commit is on disk at the latest, as long as the machine runs.
pub(super) const LAG: Duration = Duration::from_secs(1);

/// The way to the writing thread.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<Sender<Queued>>,
    journal: Arc<Journal>,
    room: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread on its connection.
    pub(super) fn start(db: Connection, journal: Journal) -> Result<Self> {
        let (queue, waiting) = channel();
        let journal = Arc::new(journal);
        let own = Arc::clone(&journal);
        let thread = std::thread::Builder::new()
            .name("kta-store".into())
            .spawn(move || {
                Thread {
                    db,
                    waiting,
                    unsynced: None,
                    sync: Sync::Full,
                    pace: Pace::default(),
                    failed: false,
                    journal: own,
                    taken: None,
                    company: Company::default(),
                }
                .run()
            })
            .map_err(|_| down("open", "the writing thread does not start"))?;
        let room = Arc::new(Semaphore::new(ROOM));
        Ok(Self {
            queue: Some(queue),
            journal,
            room,
            thread: Some(thread),
        })
    }

    /// Runs `work` in a transaction, together with others. Whether it is answered or not, it
    /// takes effect wholly or not at all.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        durability: Durability,
        work: impl FnMut(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let task = Box::new(Task {
            work,
            outcome: None,
            reply: Some(reply),
        });
        self.queue(Work::Inside { durability, task }, operation)
            .await?;
        // The thread answers everybody; silence means that it died on the way.
        answer.await.map_err(|_| lost(operation))?
    }

    /// Writes bounded events into the journal; `false` when they must be committed instead.
    pub(super) fn note(&self, change: &ChangeSet) -> bool {
        match self.journal.note(change) {
            Noted::Commit => false,
            Noted::Written => true,
            Noted::Tell { now } => {
                // A thread that is not there any more leaves them to whoever opens the store next.
                if let Some(queue) = &self.queue {
                    let work = Work::Look { now };
                    drop(queue.send(Queued { work, _room: None }));
                }
                true
            }
        }
    }

    /// Waits until the log has all that was noted before.
    pub(super) async fn settle(&self, operation: &'static str) -> Result<()> {
        if self.journal.is_settled() {
            return Ok(());
        }
        self.write(operation, Durability::Bounded, |_| Ok(())).await
    }

    /// Runs `work` between transactions, on the writer's connection.
    pub(super) async fn between<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let task = Box::new(move |db: &Connection| drop(reply.send(work(db))));
        self.queue(Work::Between(task), operation).await?;
        answer.await.map_err(|_| lost(operation))?
    }

    async fn queue(&self, work: Work, operation: &'static str) -> Result<()> {
        let closed = || down(operation, "the store is closed");
        let room = Arc::clone(&self.room)
            .acquire_owned()
            .await
            .map_err(|_| closed())?;
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        queue
            .send(Queued {
                work,
                _room: Some(room),
            })
            .map_err(|_| closed())
    }
}

impl Drop for Writer {
    /// Waits until what was queued is written and on disk.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing more to say; its callers were told.
            drop(thread.join());
        }
    }
}

struct Queued {
    work: Work,
    _room: Option<OwnedSemaphorePermit>,
}

enum Work {
    Between(Box<dyn FnOnce(&Connection) + Send>),
    Inside {
        durability: Durability,
        task: Box<dyn Step>,
    },
    /// There is something in the journal.
    Look {
        now: bool,
    },
}

/// What waits for one transaction, and its room in the queue.
type Waiting = (Durability, Box<dyn Step>, Option<OwnedSemaphorePermit>);

/// One step inside a transaction.
trait Step: Send {
    /// Does it; whether it may stay. Done again after its transaction was taken back, it is as if
    /// for the first time.
    fn run(&mut self, db: &Connection) -> bool;
    /// Answers whoever waits: with the step's own outcome, or with what became of its
    /// transaction.
    fn answer(&mut self, transaction: Result<(), Error>);
}

struct Task<F, T> {
    work: F,
    outcome: Option<Result<T>>,
    reply: Option<oneshot::Sender<Result<T>>>,
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

struct Thread {
    db: Connection,
    waiting: Receiver<Queued>,
    /// Since when something is committed that is not certainly on disk.
    unsynced: Option<Instant>,
    sync: Sync,
    pace: Pace,
    /// Whether the disk failed under a commit: nothing is written any more.
    failed: bool,
    journal: Arc<Journal>,
    /// What was taken from the journal and is not committed yet.
    taken: Option<Taken>,
    company: Company,
}

/// The last batch, as far as it tells what to wait for.
#[derive(Default)]
struct Company {
    size: usize,
    took: Duration,
}

/// How long the write-ahead log becomes before it is written home.
///
/// While a file grows, the disk is waited for longer than in a file that is written over: who
/// waits for it fares best with a short log. Who does not, and above all who writes much, writes
/// most pages again and again, and with a longer log each goes home once for many commits.
#[derive(Default)]
struct Pace {
    /// When somebody waited for the disk last.
    awaited: Option<Instant>,
    /// When much was written last.
    much: Option<Instant>,
    /// What SQLite was told, in pages.
    home_at: u32,
}

impl Pace {
    /// Tells SQLite what a transaction that changes so many rows, and the next ones, ask for.
    fn keep(&mut self, db: &Connection, rows: u64) -> rusqlite::Result<()> {
        if rows >= MUCH {
            self.much = Some(Instant::now());
        }
        let within = |time, last: Option<Instant>| last.is_some_and(|last| last.elapsed() < time);
        let home_at = match (within(LAG, self.much), within(BRIEF, self.awaited)) {
            (true, _) => LONG,
            (false, true) => SHORT,
            (false, false) => USUAL,
        };
        if self.home_at != home_at {
            db.pragma_update(None, "wal_autocheckpoint", home_at)?;
            self.home_at = home_at;
        }
        Ok(())
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sync {
    Full,
    Normal,
}

impl Thread {
    fn run(mut self) {
        while let Some(first) = self.next() {
            let mut batch = Vec::new();
            let mut queued = Some(first);
            let (mut between, mut look) = (None, false);
            let until = Instant::now() + self.company.took / 4;
            while let Some(Queued { work, _room }) = queued.take() {
                match work {
                    Work::Inside { durability, task } => batch.push((durability, task, _room)),
                    Work::Between(task) => {
                        between = Some(task);
                        break;
                    }
                    Work::Look { now } => look |= self.looked(now),
                }
                if batch.len() < self.company.size {
                    let left = until.saturating_duration_since(Instant::now());
                    queued = self.waiting.recv_timeout(left).ok();
                } else if batch.len() < BATCH {
                    queued = self.waiting.try_recv().ok();
                }
            }
            if look && batch.is_empty() {
                self.carry();
            }
            self.write(batch);
            if let Some(task) = between {
                task(&self.db);
            }
        }
        self.tick();
        // Where the disk did not answer, the next to open the file takes the journal in.
        if self.taken.is_none() && self.unsynced.is_none() {
            self.journal.close();
        }
    }

    /// Notes that the journal is not empty; whether to look at once.
    fn looked(&mut self, now: bool) -> bool {
        self.unsynced.get_or_insert_with(Instant::now);
        now
    }

    /// Waits for work, and carries bounded commits to disk when none comes for too long.
    fn next(&mut self) -> Option<Queued> {
        loop {
            let Some(since) = self.unsynced else {
                return self.waiting.recv().ok();
            };
            let left = LAG.saturating_sub(since.elapsed());
            if left.is_zero() {
                self.tick();
                continue;
            }
            match self.waiting.recv_timeout(left) {
                Ok(queued) => return Some(queued),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn write(&mut self, mut batch: Vec<Waiting>) {
        if batch.is_empty() {
            return;
        }
        let durable = batch
            .iter()
            .any(|(durability, ..)| *durability == Durability::Durable);
        let (size, began) = (batch.len(), Instant::now());
        let sync = if durable { Sync::Full } else { Sync::Normal };
        if durable {
            self.pace.awaited = Some(began);
        }
        let outcome = match &mut batch[..] {
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
        // Only a disk that is waited for is worth waiting for company.
        self.company = Company {
            size: if durable && size > 1 { size } else { 0 },
            took: began.elapsed().min(PATIENCE),
        };
        for (_, step, _) in &mut batch {
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
        if self.sync != sync {
            let mode = if sync == Sync::Full { "FULL" } else { "NORMAL" };
            self.db
                .pragma_update(None, "synchronous", mode)
                .map_err(&told)?;
            self.sync = sync;
        }
        self.db.execute_batch("BEGIN IMMEDIATE").map_err(&told)?;
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
        let paced = synced.and_then(|()| self.pace.keep(&self.db, rows));
        if let Err(error) = paced.and_then(|()| self.db.execute_batch("COMMIT")) {
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

    fn roll_back(&self) {
        if !self.db.is_autocommit() {
            // What cannot be rolled back is, when the connection or the process ends.
            drop(self.db.execute_batch("ROLLBACK"));
        }
    }

    /// Enters what is in the journal, without waiting for the disk.
    fn carry(&mut self) {
        // Failing, it is tried again with the next transaction, at the latest after the lag.
        drop(self.transact(Sync::Normal, |_| Ok(Steps::Nothing)));
    }

    /// Carries bounded commits to disk: a synchronised commit takes all before it along.
    fn tick(&mut self) {
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

fn down(operation: &'static str, detail: &'static str) -> Error {
    Fault::new(FaultKind::Unavailable, Port::Store, operation)
        .because(detail)
        .into()
}

fn lost(operation: &'static str) -> Error {
    Fault::new(FaultKind::OutcomeUnknown, Port::Store, operation).into()
}

/// Rows that are much for one transaction.
const MUCH: u64 = 1024;

/// How long after somebody waited for the disk somebody else may be about to.
const BRIEF: Duration = Duration::from_millis(100);

/// Pages of a short write-ahead log, 4 MiB, of a usual one, 32 MiB, and of a long one, 128 MiB.
const SHORT: u32 = 1024;
const USUAL: u32 = 8192;
const LONG: u32 = 32 << 10;

/// How many may wait; the next caller waits outside.
const ROOM: usize = 1024;

/// Of a batch that took longer, only so much counts when it is waited for company.
const PATIENCE: Duration = Duration::from_millis(20);

/// How many are committed together at most.
const BATCH: usize = 256;
