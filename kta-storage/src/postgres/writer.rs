//! Group commit: what waits for one firm goes into one transaction, under the lock of the firm's
//! row.
//!
//! ```text
//!   commit ─┐              ┌ BEGIN, lock, read what the batch touches ┐
//!   commit ─┼─► one queue ─┤ judge each change set in memory (view.rs) ├─► answers
//!   erase  ─┘   a firm     └ write all that stays, COMMIT             ┘
//! ```
//!
//! A change set that breaks a rule is answered by itself and leaves nothing; the others of its
//! batch are not concerned. A batch with a durable change set in it is committed durably.
//!
//! What happens when the connection goes, see marks.rs.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use kta_core::id::{PlacementId, TenantId};
use kta_core::pii::RecordKey;
use kta_core::ports::store::{Change, ChangeSet, Committed, Durability};
use kta_core::time::Timestamp;
use kta_core::{Error, Fault, FaultKind, Port, Result};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::fault::{Broken, Next};
use super::load::Wanted;
use super::marks::{Attempt, Failed, Marks};
use super::openings::{Carried, Frames, Openings};
use super::save;
use super::session::{Session, Sessions};
use super::sql::{Id, Sql, number};
use super::view::{Changes, View};
use crate::journal::{Leftover, Noted};
use crate::rules;

/// One unit of a batch: a change set, and an erasure before it where there is one.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) change: ChangeSet,
    pub(super) erasure: Option<Erasure>,
}

/// What is erased.
#[derive(Debug)]
pub(super) struct Erasure {
    pub(super) placement: PlacementId,
    pub(super) key: RecordKey,
    /// The record with its tags, or its tags alone.
    pub(super) whole: bool,
    pub(super) at: Timestamp,
}

impl Work {
    fn apply(&self, view: &mut View<'_>) -> Result<Committed> {
        if let Some(erasure) = &self.erasure {
            let found = if erasure.whole {
                rules::remove(view, &erasure.key)?.is_some()
            } else {
                rules::free(view, &erasure.key)?;
                view.forget_tags(&erasure.key)?
            };
            if found {
                let copy = (erasure.key.subject, erasure.placement);
                view.own.erased.insert(copy, erasure.at);
            }
        }
        rules::commit(view, &self.change)
    }

    /// Nothing: its transaction takes along what was noted, and, if it is durable, is on the
    /// server's disk with all before it.
    fn nothing(tenant: TenantId, durability: Durability) -> Self {
        let mut change = ChangeSet::new(tenant, Timestamp::UNIX_EPOCH);
        change.durability = durability;
        let erasure = None;
        Self { change, erasure }
    }

    /// Whether a transaction is asked for, even one that changes nothing.
    fn is_for_the_disk(&self) -> bool {
        let change = &self.change;
        let empty = change.changes.is_empty() && change.events.is_empty();
        empty && self.erasure.is_none() && change.durability == Durability::Durable
    }

    /// About how many bytes go over the wire.
    fn weight(&self) -> usize {
        let changes = self.change.changes.iter().map(|change| match change {
            Change::Enqueue(job) => job.payload.len(),
            Change::File { sheet, .. } => sheet.body.len(),
            Change::PutRecord { record, .. } => record
                .fields
                .values()
                .map(|field| field.sealed.as_bytes().len() + 64)
                .sum(),
            _ => 0,
        });
        changes.map(|bytes| bytes + 512).sum::<usize>() + self.change.events.len() * 1024
    }
}

/// The queues of all firms.
pub(super) struct Writer {
    sessions: Arc<Sessions>,
    marks: Marks,
    /// A firm has a queue here as long as a task writes for it.
    queues: Mutex<HashMap<TenantId, VecDeque<Queued>>>,
    room: Arc<Semaphore>,
    pub(super) openings: Option<Openings>,
}

struct Queued {
    work: Work,
    reply: oneshot::Sender<Result<Committed>>,
    _room: OwnedSemaphorePermit,
}

impl Writer {
    pub(super) fn of(sessions: Arc<Sessions>, id: Id, openings: Option<Openings>) -> Self {
        Self {
            openings,
            marks: Marks::of(Arc::clone(&sessions), "kta", id),
            sessions,
            queues: Mutex::default(),
            room: Arc::new(Semaphore::new(ROOM)),
        }
    }

    /// Does `work`, together with others. Whether it is answered or not, it takes effect wholly
    /// or not at all, and before what is queued for the same firm after it.
    pub(super) async fn write(
        self: &Arc<Self>,
        operation: &'static str,
        work: Work,
    ) -> Result<Committed> {
        let tenant = work.change.tenant;
        let runtime = Handle::try_current().map_err(|_| {
            Fault::new(FaultKind::Misconfigured, Port::Store, operation)
                .because("no runtime to write on")
        })?;
        let closed = |_| Fault::new(FaultKind::Unavailable, Port::Store, operation);
        let room = Arc::clone(&self.room)
            .acquire_owned()
            .await
            .map_err(closed)?;
        let (reply, answer) = oneshot::channel();
        let queued = Queued {
            work,
            reply,
            _room: room,
        };
        let mut begin = false;
        self.queues()
            .entry(tenant)
            .or_insert_with(|| {
                begin = true;
                VecDeque::new()
            })
            .push_back(queued);
        if begin {
            let writer = Arc::clone(self);
            runtime.spawn(async move { Turn::of(writer, tenant).run().await });
        }
        // The task answers everybody; silence means that its runtime ended on the way.
        answer.await.map_err(|_| lost(operation))?
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<TenantId, VecDeque<Queued>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes bounded events on this machine, and sees to it that the log has them after the lag;
    /// `false` when they must be committed instead.
    pub(super) fn note(self: &Arc<Self>, change: &ChangeSet) -> bool {
        let (Some(openings), Ok(runtime)) = (&self.openings, Handle::try_current()) else {
            return false;
        };
        match openings.note(change) {
            Noted::Commit => return false,
            Noted::Written => {}
            Noted::Tell { now } => {
                let (own, tenant) = (Arc::downgrade(self), change.tenant);
                if let Some(wake) = openings.carrier(tenant, now) {
                    runtime.spawn(carry(own, tenant, wake));
                }
            }
        }
        true
    }

    /// Waits until the log has all that was noted of the firm before, in the server's memory or
    /// on its disk. What is noted meanwhile is not waited for.
    pub(super) async fn settle(
        self: &Arc<Self>,
        operation: &'static str,
        tenant: TenantId,
        durability: Durability,
    ) -> Result<()> {
        let Some(openings) = &self.openings else {
            return Ok(());
        };
        let noted = openings.noted(tenant);
        while openings.settled(tenant, durability) < noted {
            self.write(operation, Work::nothing(tenant, durability))
                .await?;
        }
        Ok(())
    }

    /// Enters what a dead process left, durably: then the file is of no use any more. Nor may it
    /// go before that when there is nothing to enter, because the dead process may not have
    /// waited for the disk.
    pub(super) async fn adopt(&self, tenant: TenantId, leftover: Leftover) -> Result<()> {
        let frames = Frames::of(&leftover);
        let work = [Work::nothing(tenant, Durability::Durable)];
        let attempt = || self.attempt(tenant, &work, Some(&frames));
        match self.marks.carry_through(tenant, attempt).await {
            Ok(written) => written.carried?,
            Err(Failed::Doubt(_)) => return Err(lost("open")),
            Err(Failed::Broken(broken)) => return Err(broken.in_operation(Port::Store, "open")),
        }
        leftover.remove()
    }

    /// Writes a batch, and before it what was noted; what became of each.
    async fn transact(&self, tenant: TenantId, works: &[Work]) -> Vec<Result<Committed>> {
        let carried = self.openings.as_ref().and_then(|all| all.take(tenant));
        let frames = carried.as_ref().and_then(Carried::frames);
        let attempt = || self.attempt(tenant, works, frames.as_ref());
        let outcome = self.marks.carry_through(tenant, attempt).await;
        drop(frames);
        match outcome {
            Ok(Written {
                outcomes,
                carried: Ok(()),
                on_disk,
            }) => {
                if let Some(carried) = carried {
                    carried.settle();
                }
                if let Some(openings) = self.openings.as_ref().filter(|_| on_disk) {
                    openings.keep(tenant);
                }
                outcomes
            }
            Ok(Written {
                carried: Err(error),
                ..
            }) => works.iter().map(|_| Err(error.clone())).collect(),
            Err(Failed::Doubt(Written { outcomes, .. })) => outcomes
                .into_iter()
                .map(|outcome| outcome.and(Err(lost("commit"))))
                .collect(),
            Err(Failed::Broken(broken)) if broken.next == Next::Nothing && works.len() > 1 => {
                // One of them cannot be written: each by itself, so that the others are.
                drop(carried);
                let mut outcomes = Vec::new();
                for work in works {
                    let alone = Box::pin(self.transact(tenant, core::slice::from_ref(work)));
                    outcomes.append(&mut alone.await);
                }
                outcomes
            }
            Err(Failed::Broken(broken)) => {
                let error = broken.in_operation(Port::Store, "commit");
                works.iter().map(|_| Err(error.clone())).collect()
            }
        }
    }

    async fn attempt(
        &self,
        tenant: TenantId,
        works: &[Work],
        frames: Option<&Frames<'_>>,
    ) -> Attempt<Written> {
        let (session, judged) = match self.judge(tenant, works, frames).await {
            Ok(judged) => judged,
            Err(broken) => return Attempt::Undone(broken),
        };
        let Judged {
            stored,
            left,
            end,
            mut written,
        } = judged;
        let nothing = left.is_empty() && !works.iter().any(Work::is_for_the_disk);
        if nothing || written.carried.is_err() {
            written.on_disk = false;
            if session.run(&[Sql::plain("ROLLBACK")]).await.is_ok() {
                session.done();
            }
            return Attempt::Done(written);
        }
        let statements = match save::statements(tenant, &stored, &left, end) {
            Ok(statements) => statements,
            // A number beyond the database's: nothing was sent.
            Err(_) if works.len() > 1 => return Attempt::Undone(Broken::unreadable()),
            Err(error) => {
                return Attempt::Done(Written {
                    outcomes: Vec::new(),
                    carried: Err(error),
                    on_disk: false,
                });
            }
        };
        self.marks
            .commit(session, tenant, statements, written)
            .await
    }

    /// Locks the firm, reads what the batch touches, and applies the rules.
    async fn judge(
        &self,
        tenant: TenantId,
        works: &[Work],
        frames: Option<&Frames<'_>>,
    ) -> Result<(Session, Judged), Broken> {
        let durable = works
            .iter()
            .any(|work| work.change.durability == Durability::Durable);
        let durability = if durable {
            Durability::Durable
        } else {
            Durability::Bounded
        };
        let wanted = Wanted::by(works);
        let mut statements = vec![self.sessions.begin(tenant, durability)];
        statements.append(&mut wanted.statements(tenant));
        if let Some(frames) = frames {
            let known = "SELECT taken FROM kta.journal WHERE tenant = $1 AND id = $2";
            statements.push(Sql::new(known).id(tenant.as_bytes()).id(&frames.id.0));
        }
        let mut entered = false;
        loop {
            let session = self.sessions.one().await?;
            let rows = session.run(&statements).await?;
            let Some((stored, end)) = wanted.read(&rows[1..])? else {
                if core::mem::replace(&mut entered, true) {
                    return Err(Broken::unreadable());
                }
                session.run(&[Sql::plain("ROLLBACK")]).await?;
                session.done();
                self.marks.enter(tenant).await?;
                continue;
            };
            let mut judged = Judged {
                stored,
                left: Changes::default(),
                end,
                written: Written {
                    outcomes: Vec::with_capacity(works.len()),
                    carried: Ok(()),
                    on_disk: durable,
                },
            };
            if let Some(frames) = frames {
                // What was answered before comes before, in the log too.
                let row = rows.last().and_then(|known| known.first());
                let known = row.map(|row| number(row, 0).ok_or(Broken::unreadable()));
                let known = known.transpose()?.unwrap_or(0);
                let mut view = View::over(&judged.stored, &judged.left, judged.end);
                judged.written.carried = view.enter(frames, known);
                let View { own, end, .. } = view;
                judged.end = end;
                judged.left.absorb(own);
            }
            for work in works {
                let mut view = View::over(&judged.stored, &judged.left, judged.end);
                let outcome = work.apply(&mut view);
                if outcome.is_ok() {
                    let View { own, end, .. } = view;
                    judged.end = end;
                    judged.left.absorb(own);
                }
                judged.written.outcomes.push(outcome);
            }
            return Ok((session, judged));
        }
    }
}

/// A task that writes for one firm until nothing waits.
struct Turn {
    writer: Arc<Writer>,
    tenant: TenantId,
    /// Whether the queue was found empty and taken away; another one is then somebody else's.
    over: bool,
}

impl Turn {
    const fn of(writer: Arc<Writer>, tenant: TenantId) -> Self {
        Self {
            writer,
            tenant,
            over: false,
        }
    }

    async fn run(mut self) {
        while let Some((works, replies)) = self.next() {
            let outcomes = self.writer.transact(self.tenant, &works).await;
            for ((reply, _room), outcome) in replies.into_iter().zip(outcomes) {
                // Whoever waited may have gone; what was done stays done.
                drop(reply.send(outcome));
            }
        }
    }

    #[allow(clippy::type_complexity, reason = "one use")]
    fn next(
        &mut self,
    ) -> Option<(
        Vec<Work>,
        Vec<(oneshot::Sender<Result<Committed>>, OwnedSemaphorePermit)>,
    )> {
        let mut queues = self.writer.queues();
        let queue = queues.get_mut(&self.tenant)?;
        let (mut works, mut replies, mut weight) = (Vec::new(), Vec::new(), 0);
        while works.len() < BATCH && weight < HEAVY {
            let Some(Queued { work, reply, _room }) = queue.pop_front() else {
                break;
            };
            weight += work.weight();
            works.push(work);
            replies.push((reply, _room));
        }
        if works.is_empty() {
            queues.remove(&self.tenant);
            self.over = true;
            return None;
        }
        Some((works, replies))
    }
}

impl Drop for Turn {
    /// Should the task end on the way, with its runtime, the next caller begins another.
    fn drop(&mut self) {
        if !self.over {
            self.writer.queues().remove(&self.tenant);
        }
    }
}

/// A batch after the rules.
struct Judged {
    stored: Changes,
    left: Changes,
    end: rules::LogEnd,
    written: Written,
}

/// What became of a batch.
struct Written {
    /// Of each of its change sets.
    outcomes: Vec<Result<Committed>>,
    /// Of what was to be entered before them; without it nothing is written.
    carried: Result<()>,
    /// Whether the server has it on its disk, with all before it.
    on_disk: bool,
}

/// Sees to it that what was noted of a firm is in the log: after the lag, or when it is woken.
async fn carry(writer: Weak<Writer>, tenant: TenantId, wake: Arc<Notify>) {
    loop {
        drop(timeout(LAG, wake.notified()).await);
        // Whoever opens the store next takes it from there.
        let Some(writer) = writer.upgrade() else {
            return;
        };
        // Failing, it is tried again after another lag.
        drop(writer.settle("carry", tenant, Durability::Bounded).await);
        if writer.openings.as_ref().is_none_or(|all| all.rest(tenant)) {
            return;
        }
    }
}

fn lost(operation: &'static str) -> Error {
    Fault::new(FaultKind::OutcomeUnknown, Port::Store, operation).into()
}

/// After how long the log has what was noted, as long as the server answers.
pub(super) const LAG: Duration = Duration::from_secs(1);

/// How many may wait; the next caller waits outside.
const ROOM: usize = 1024;

/// How many change sets are committed together at most.
const BATCH: usize = 256;

/// At how many bytes a batch takes no further change set.
const HEAVY: usize = 8 << 20;
