//! The one thread that writes: it takes what is waiting into one transaction and answers when
//! that is where it must be. A few bounded changes do not wait for it, if nobody else does: their
//! caller makes them at the [desk](super::desk).
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

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kta_core::Result;
use kta_core::ports::store::{ChangeSet, Durability};
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::desk::{Desk, Step, Task, Waiting, down, lost};
use crate::journal::{Journal, Noted};

/// After how long a bounded commit is on disk at the latest, as long as the machine runs.
pub(super) const LAG: Duration = Duration::from_secs(1);

/// The way to the writing thread.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<Sender<Queued>>,
    desk: Arc<Mutex<Desk>>,
    journal: Arc<Journal>,
    room: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread on its connection.
    pub(super) fn start(db: Connection, journal: Journal) -> Result<Self> {
        let (queue, waiting) = channel();
        let journal = Arc::new(journal);
        let desk = Arc::new(Mutex::new(Desk::new(db, Arc::clone(&journal))?));
        let thread = Thread {
            waiting,
            desk: Arc::clone(&desk),
            journal: Arc::clone(&journal),
            company: Company::default(),
        };
        let thread = std::thread::Builder::new()
            .name("kta-store".into())
            .spawn(move || {
                // Whoever it cannot answer any more is told by its silence.
                let _: Option<()> = thread.run();
            })
            .map_err(|_| down("open", "the writing thread does not start"))?;
        let room = Arc::new(Semaphore::new(ROOM));
        Ok(Self {
            queue: Some(queue),
            desk,
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
        let task = Box::new(Task::new(work, reply));
        self.queue(Work::Inside { durability, task }, operation)
            .await?;
        // The thread answers everybody; silence means that it died on the way.
        answer.await.map_err(|_| lost(operation))?
    }

    /// As [`write`](Self::write), for bounded work that takes about as long as going to the thread
    /// and back: it is done where the caller is, if nobody else writes or waits.
    pub(super) async fn write_short<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnMut(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        if let Some(task) = self.at_once(Box::new(Task::new(work, reply))) {
            let durability = Durability::Bounded;
            self.queue(Work::Inside { durability, task }, operation)
                .await?;
        }
        answer.await.map_err(|_| lost(operation))?
    }

    /// Does what is asked, or gives it back.
    fn at_once(&self, task: Box<dyn Step>) -> Option<Box<dyn Step>> {
        if self.room.available_permits() < ROOM {
            return Some(task);
        }
        let Ok(mut desk) = self.desk.try_lock() else {
            return Some(task);
        };
        if !desk.begin_at_once() {
            return Some(task);
        }
        let waits = desk.unsynced.is_some();
        desk.write(&mut [(Durability::Bounded, task, None)]);
        let begins = !waits && desk.unsynced.is_some();
        drop(desk);
        if begins {
            self.look(false);
        }
        None
    }

    /// Tells the thread that something is not on disk; or in the log, if it is to look at once.
    fn look(&self, now: bool) {
        // A thread that is not there any more leaves it to whoever opens the store next.
        if let Some(queue) = &self.queue {
            let work = Work::Look { now };
            drop(queue.send(Queued { work, _room: None }));
        }
    }

    /// Writes bounded events into the journal; `false` when they must be committed instead.
    pub(super) fn note(&self, change: &ChangeSet) -> bool {
        match self.journal.note(change) {
            Noted::Commit => false,
            Noted::Written => true,
            Noted::Tell { now } => {
                self.look(now);
                true
            }
        }
    }

    /// Waits until the log has all that was noted before.
    pub(super) async fn settle(&self, operation: &'static str) -> Result<()> {
        if self.journal.is_settled() {
            return Ok(());
        }
        self.write_short(operation, |_| Ok(())).await
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

struct Thread {
    waiting: Receiver<Queued>,
    desk: Arc<Mutex<Desk>>,
    journal: Arc<Journal>,
    company: Company,
}

/// The last batch, as far as it tells what to wait for.
#[derive(Default)]
struct Company {
    size: usize,
    took: Duration,
}

impl Thread {
    /// Works until the store is closed; `None` when a caller panicked at the desk, and nobody knows
    /// how far it came.
    fn run(mut self) -> Option<()> {
        while let Some(first) = self.next()? {
            let mut batch: Vec<Waiting> = Vec::new();
            let mut queued = Some(first);
            let (mut between, mut noted, mut now) = (None, false, false);
            let until = Instant::now() + self.company.took / 4;
            while let Some(Queued { work, _room }) = queued.take() {
                match work {
                    Work::Inside { durability, task } => batch.push((durability, task, _room)),
                    Work::Between(task) => {
                        between = Some(task);
                        break;
                    }
                    Work::Look { now: at_once } => (noted, now) = (true, now | at_once),
                }
                if batch.len() < self.company.size {
                    let left = until.saturating_duration_since(Instant::now());
                    queued = self.waiting.recv_timeout(left).ok();
                } else if batch.len() < BATCH {
                    queued = self.waiting.try_recv().ok();
                }
            }
            let desk = Arc::clone(&self.desk);
            let mut desk = desk.lock().ok()?;
            if noted {
                desk.unsynced.get_or_insert_with(Instant::now);
            }
            if !batch.is_empty() {
                self.write(&mut desk, &mut batch);
            } else if now {
                desk.carry();
            }
            drop(batch);
            if let Some(task) = between {
                task(&desk.db);
            }
            desk.write_home();
        }
        let mut desk = self.desk.lock().ok()?;
        desk.tick();
        // Where the disk did not answer, the next to open the file takes the journal in.
        if desk.is_settled() {
            self.journal.close();
        }
        Some(())
    }

    fn write(&mut self, desk: &mut Desk, batch: &mut [Waiting]) {
        let began = Instant::now();
        desk.write(batch);
        // Only a disk that is waited for is worth waiting for company.
        let durable = |(durability, ..): &Waiting| *durability == Durability::Durable;
        let several = batch.len() > 1 && batch.iter().any(durable);
        self.company = Company {
            size: if several { batch.len() } else { 0 },
            took: began.elapsed().min(PATIENCE),
        };
    }

    /// Waits for work, and carries bounded commits to disk when none comes for too long.
    fn next(&self) -> Option<Option<Queued>> {
        loop {
            let unsynced = self.desk.lock().ok()?.unsynced;
            let Some(since) = unsynced else {
                return Some(self.waiting.recv().ok());
            };
            let left = LAG.saturating_sub(since.elapsed());
            if left.is_zero() {
                let mut desk = self.desk.lock().ok()?;
                desk.tick();
                desk.write_home();
                continue;
            }
            match self.waiting.recv_timeout(left) {
                Ok(queued) => return Some(Some(queued)),
                Err(RecvTimeoutError::Disconnected) => return Some(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// How many may wait; the next caller waits outside.
const ROOM: usize = 1024;

/// Of a batch that took longer, only so much counts when it is waited for company.
const PATIENCE: Duration = Duration::from_millis(20);

/// How many are committed together at most.
const BATCH: usize = 256;
