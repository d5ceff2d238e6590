//! Openings on their way: bounded events that stand in a file of this machine until the writer
//! enters them into the server's log.
//!
//! ```text
//!   opening ─► journal of the firm ─┬─ before the firm's next transaction, in it ─► log
//!                                   └─ after the lag, in one of its own
//! ```
//!
//! Each firm has a journal of its own ([`crate::journal`]). What of it a transaction took in
//! stands in the same transaction, so a journal that is read again enters nothing twice: after an
//! answer that was lost, and after the death of its process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use kta_core::Result;
use kta_core::id::TenantId;
use kta_core::ports::store::{ChangeSet, Durability};
use tokio::sync::Notify;

use super::sql::Id;
use crate::journal::{Journal, Leftover, Noted, Payload, Taken, damaged};

/// The journals of this process.
pub(super) struct Openings {
    base: PathBuf,
    open: Mutex<HashMap<TenantId, Arc<Opening>>>,
}

/// One firm's.
struct Opening {
    journal: Journal,
    /// What was taken out and is not certainly in the log.
    taken: Mutex<Option<Taken>>,
    /// The number of the last frame that the server has on its disk.
    on_disk: AtomicU64,
    /// What wakes the task that carries it into the log, while there is one.
    carrier: Mutex<Weak<Notify>>,
}

impl Openings {
    /// With their files at this path, each with an ending of its own.
    pub(super) fn at(base: PathBuf) -> Self {
        let open = Mutex::default();
        Self { base, open }
    }

    /// Writes the events of a bounded change set.
    pub(super) fn note(&self, change: &ChangeSet) -> Noted {
        let mut open = locked(&self.open);
        if open.len() >= MOST && !open.contains_key(&change.tenant) {
            return Noted::Commit;
        }
        let own = open.entry(change.tenant).or_insert_with(|| {
            Arc::new(Opening {
                journal: Journal::beside(self.base.clone()),
                taken: Mutex::default(),
                on_disk: AtomicU64::new(0),
                carrier: Mutex::default(),
            })
        });
        let own = Arc::clone(own);
        drop(open);
        own.journal.note(change)
    }

    /// The number of the last frame of the firm that this process noted.
    pub(super) fn noted(&self, tenant: TenantId) -> u64 {
        self.of(tenant).map_or(0, |own| own.journal.written())
    }

    /// The number of the last one that the log has: on the server's disk, if `durability` is that.
    pub(super) fn settled(&self, tenant: TenantId, durability: Durability) -> u64 {
        self.of(tenant).map_or(0, |own| match durability {
            Durability::Bounded => own.journal.settled(),
            Durability::Durable => own.on_disk.load(Ordering::Acquire),
        })
    }

    /// The server has on its disk what the log has of the firm.
    pub(super) fn keep(&self, tenant: TenantId) {
        if let Some(own) = self.of(tenant) {
            own.on_disk.store(own.journal.settled(), Ordering::Release);
        }
    }

    /// The firms of which the server does not have everything on its disk.
    pub(super) fn waiting(&self) -> Vec<TenantId> {
        let open = locked(&self.open);
        let waiting = open.iter().filter(|(_, own)| !own.is_on_disk());
        waiting.map(|(tenant, _)| *tenant).collect()
    }

    /// With what to begin the task that carries the firm's openings, where there is none; one that
    /// is there is woken if it should look `now`.
    pub(super) fn carrier(&self, tenant: TenantId, now: bool) -> Option<Arc<Notify>> {
        let own = self.of(tenant)?;
        let mut carrier = locked(&own.carrier);
        let there = carrier.upgrade();
        let wake = there.clone().unwrap_or_default();
        if now {
            wake.notify_one();
        }
        *carrier = Arc::downgrade(&wake);
        there.is_none().then_some(wake)
    }

    /// Whether the firm's task may end, because nothing waits; who notes something after that
    /// begins another.
    pub(super) fn rest(&self, tenant: TenantId) -> bool {
        let Some(own) = self.of(tenant) else {
            return true;
        };
        let mut carrier = locked(&own.carrier);
        let rests = own.journal.is_settled();
        if rests {
            *carrier = Weak::new();
        }
        rests
    }

    /// Takes out what is to be entered; dropped, it goes back.
    pub(super) fn take(&self, tenant: TenantId) -> Option<Carried> {
        let own = self.of(tenant)?;
        let kept = locked(&own.taken).take();
        let taken = Some(kept.or_else(|| own.journal.take())?);
        Some(Carried { own, taken })
    }

    fn of(&self, tenant: TenantId) -> Option<Arc<Opening>> {
        locked(&self.open).get(&tenant).cloned()
    }
}

impl Drop for Openings {
    /// A file that the server has on its disk is of no use any more. Others are taken in by
    /// whoever opens the store next.
    fn drop(&mut self) {
        for own in locked(&self.open).values() {
            if own.is_on_disk() {
                own.journal.close();
            }
        }
    }
}

impl Opening {
    fn is_on_disk(&self) -> bool {
        self.on_disk.load(Ordering::Acquire) >= self.journal.written()
    }
}

/// What dead processes left at this path, each with its firm.
pub(super) fn left(base: &Path) -> Result<Vec<(TenantId, Leftover)>> {
    let mut found = Vec::new();
    for leftover in Leftover::all(base)? {
        let first = leftover.frames().next();
        match first.map(|(_, payload)| Payload::read(payload)) {
            None => leftover.remove()?,
            Some(None) => return Err(damaged()),
            Some(Some(payload)) => {
                found.push((TenantId::from_bytes(payload.tenant), leftover));
            }
        }
    }
    Ok(found)
}

/// What a transaction carries into the log.
pub(super) struct Carried {
    own: Arc<Opening>,
    taken: Option<Taken>,
}

impl Carried {
    pub(super) fn frames(&self) -> Option<Frames<'_>> {
        let taken = self.taken.as_ref()?;
        let (id, list) = (Id(taken.id), taken.frames().collect());
        Some(Frames { id, list })
    }

    /// The log has it.
    pub(super) fn settle(mut self) {
        if let Some(taken) = self.taken.take() {
            self.own.journal.settle(taken);
        }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if let Some(taken) = self.taken.take() {
            *locked(&self.own.taken) = Some(taken);
        }
    }
}

/// Frames of one journal: their numbers and payloads, in order.
pub(super) struct Frames<'f> {
    pub(super) id: Id,
    pub(super) list: Vec<(u64, &'f [u8])>,
}

impl<'f> Frames<'f> {
    pub(super) fn of(leftover: &'f Leftover) -> Self {
        let (id, list) = (Id(leftover.id), leftover.frames().collect());
        Self { id, list }
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each lock guards one assignment.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many firms have a journal in one process; the openings of further ones are transactions.
const MOST: usize = 64;
