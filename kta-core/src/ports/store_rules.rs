//! The rules of a change set that need no look at what is stored: one place for every adapter.

use std::collections::BTreeSet;

use chrono::SubsecRound as _;

use super::store::{Change, ChangeSet, Expected, Job, JobState, Register, Settled, Sheet};
use crate::audit::{Event, Label, Safe};
use crate::error::{Fault, FaultKind, Port, Result};
use crate::id::{MatterId, SubjectId};
use crate::pii::Placement;
use crate::policy::{PolicyClass, Succession};
use crate::retention::Hold;
use crate::time::Timestamp;

impl ChangeSet {
    /// The longest body of a sheet and payload of a job, in bytes.
    pub const LONGEST: usize = 4 << 20;

    /// Checks what can be checked before the store is asked; every adapter calls it first.
    ///
    /// # Errors
    /// A [`Protocol`](FaultKind::Protocol) fault, because the mistake is the caller's:
    /// - a row or event of another tenant;
    /// - a revision that does not follow the expected one, or a field sealed after its record;
    /// - a body that is no JSON, or a body or payload longer than [`LONGEST`](Self::LONGEST);
    /// - a new job that is not waiting or was leased already;
    /// - a hold that covers nothing or is released already;
    /// - a sheet of the registers that only the store writes: classes and successions.
    pub fn check(&self) -> Result<()> {
        if self.events.iter().any(|event| event.tenant != self.tenant) {
            return Err(wrong("an event of another tenant"));
        }
        self.changes
            .iter()
            .try_for_each(|change| self.check_one(change))
    }

    fn check_one(&self, change: &Change) -> Result<()> {
        let ours = |tenant| {
            if tenant == self.tenant {
                Ok(())
            } else {
                Err(wrong("a row of another tenant"))
            }
        };
        match change {
            Change::Enqueue(job) => {
                if !job.is_new() {
                    return Err(wrong("a new job that was worked on already"));
                }
                short(&job.payload)
            }
            Change::File { sheet, expected } => {
                kept_by_callers(sheet.register)?;
                if expected.next().is_some_and(|next| sheet.revision != next) {
                    return Err(wrong("a revision that does not follow the expected one"));
                }
                json(&sheet.body)
            }
            Change::PlaceHold(hold) => {
                ours(hold.tenant)?;
                if hold.subjects.is_empty() && hold.matters.is_empty() {
                    return Err(wrong("a hold that covers nothing"));
                }
                if hold.released.is_some() {
                    return Err(wrong("a new hold that is released already"));
                }
                Ok(())
            }
            Change::PutPlacement(placement) => ours(placement.tenant),
            Change::PutRecord {
                record, expected, ..
            } => {
                ours(record.key.tenant)?;
                if expected.next().is_some_and(|next| record.revision != next) {
                    return Err(wrong("a revision that does not follow the expected one"));
                }
                if record.revision > i64::MAX.cast_unsigned() {
                    return Err(wrong("a revision that no database can count to"));
                }
                if record
                    .fields
                    .values()
                    .any(|field| field.revision > record.revision)
                {
                    return Err(wrong("a field sealed after its record"));
                }
                Ok(())
            }
            Change::Reclass { key, .. } | Change::RemoveRecord(key) => ours(key.tenant),
            Change::RemoveSheet(register, _) => kept_by_callers(*register),
            Change::Intern(_)
            | Change::Reinstate(_)
            | Change::ReleaseHold { .. }
            | Change::Settle { .. }
            | Change::Supersede { .. } => Ok(()),
        }
    }
}

impl Expected {
    /// The revision of what is written under this expectation, where that is fixed beforehand.
    #[must_use]
    pub const fn next(self) -> Option<u64> {
        match self {
            Self::Absent => Some(1),
            Self::Any => None,
            Self::Revision(revision) => Some(revision.saturating_add(1)),
        }
    }

    /// The revision of what is written over `stored`.
    ///
    /// # Errors
    /// A [`Conflict`](FaultKind::Conflict) when this is not what was expected.
    pub fn over(self, stored: Option<u64>) -> Result<u64> {
        let met = match self {
            Self::Absent => stored.is_none(),
            Self::Any => true,
            Self::Revision(revision) => stored == Some(revision),
        };
        if met {
            Ok(stored.unwrap_or(0).saturating_add(1))
        } else {
            Err(conflict("another revision is stored"))
        }
    }
}

impl Job {
    /// Whether nobody has worked on it yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.state == JobState::Waiting
            && self.attempts == 0
            && self.lease == 0
            && self.leased_until.is_none()
            && self.reason.is_none()
    }

    /// The job as a store keeps it: instants to the microsecond.
    #[must_use]
    pub fn kept(mut self) -> Self {
        self.due = kept(self.due);
        self
    }

    /// From when on the job may be leased; `None` when never again.
    #[must_use]
    pub fn ready(&self) -> Option<Timestamp> {
        match self.state {
            JobState::Waiting => Some(self.due),
            JobState::Leased => self.leased_until,
            JobState::Dead | JobState::Done => None,
        }
    }

    /// Takes the job until then.
    pub fn lease_until(&mut self, until: Timestamp) {
        self.state = JobState::Leased;
        self.attempts = self.attempts.saturating_add(1);
        self.lease = self.lease.saturating_add(1);
        self.leased_until = Some(kept(until));
    }

    /// Settles the job, at `now` by the clock of whoever settles it; settling it again in the same
    /// way under the same lease changes nothing. A worker whose ended lease somebody without one
    /// settled over has lost it, and what it did late is not committed beside.
    ///
    /// # Errors
    /// A [`Conflict`](FaultKind::Conflict) when the lease is no longer the present one or,
    /// without a lease, when a worker has the job or it was done.
    pub fn settle(&mut self, lease: Option<u64>, outcome: Settled, now: Timestamp) -> Result<()> {
        let ended = match outcome {
            Settled::Dead(code) => self.state == JobState::Dead && self.reason == code,
            Settled::Done => self.state == JobState::Done,
            Settled::Retry(_) => false,
        };
        if ended && lease.is_none_or(|lease| lease == self.lease) {
            return Ok(());
        }
        let free = match lease {
            Some(lease) => self.state == JobState::Leased && self.lease == lease,
            None => match self.state {
                JobState::Dead | JobState::Waiting => true,
                JobState::Leased => self.leased_until.is_none_or(|until| until <= now),
                JobState::Done => false,
            },
        };
        if !free {
            return Err(conflict("the job is in other hands"));
        }
        if lease.is_none() && self.lease > 0 {
            self.lease = self.lease.saturating_add(1);
        }
        self.leased_until = None;
        self.reason = None;
        match outcome {
            Settled::Dead(code) => {
                self.state = JobState::Dead;
                self.reason = code;
            }
            Settled::Done => self.state = JobState::Done,
            Settled::Retry(due) => {
                self.state = JobState::Waiting;
                self.due = kept(due);
            }
        }
        Ok(())
    }
}

impl Sheet {
    /// The sheet under which a policy class is interned in [`Register::Classes`].
    #[must_use]
    pub fn of_class(class: &PolicyClass) -> Self {
        Self {
            register: Register::Classes,
            // 64 hexadecimal digits are a label; the alternative only keeps this total.
            id: Label::new(class.id().to_string()).unwrap_or(const { Label::fixed("-") }),
            subject: None,
            matter: None,
            revision: 1,
            // Serialising a struct of strings and maps with string keys cannot fail.
            body: serde_json::to_vec(class).unwrap_or_default(),
        }
    }

    /// The sheet of the firm's succession of this number, the first of which is 1, in
    /// [`Register::Successions`].
    #[must_use]
    pub fn of_succession(number: u64, succession: &Succession) -> Self {
        let succession = Succession {
            at: kept(succession.at),
            ..*succession
        };
        Self {
            register: Register::Successions,
            // Digits are a label; the alternative only keeps this total.
            id: Label::new(format!("{number:012}")).unwrap_or(const { Label::fixed("-") }),
            subject: None,
            matter: None,
            revision: 1,
            // Serialising a struct of strings cannot fail.
            body: serde_json::to_vec(&succession).unwrap_or_default(),
        }
    }
}

impl Event {
    /// The persons whom the event names: its subject, and those among its facts.
    #[must_use]
    pub fn names(&self) -> BTreeSet<SubjectId> {
        let facts = self.facts.values().filter_map(|fact| match fact {
            Safe::Word(word) => word.as_str().parse().ok(),
            _ => None,
        });
        self.subject.into_iter().chain(facts).collect()
    }
}

impl Placement {
    /// Checks that `next` says something new of this same copy.
    ///
    /// # Errors
    /// A [`Conflict`](FaultKind::Conflict) when it is a copy of something else, or elsewhere.
    pub fn may_become(&self, next: &Self) -> Result<()> {
        let same = self.tenant == next.tenant
            && self.subject == next.subject
            && self.system == next.system
            && self.kind == next.kind
            && self.of == next.of;
        if same {
            Ok(())
        } else {
            Err(conflict("a placement of another copy has this id"))
        }
    }
}

impl Hold {
    /// Whether it stands over what is kept of this person in this matter.
    #[must_use]
    pub fn covers(&self, subject: SubjectId, matter: Option<MatterId>) -> bool {
        self.released.is_none()
            && (self.subjects.contains(&subject)
                || matter.is_some_and(|matter| self.matters.contains(&matter)))
    }
}

/// An instant as jobs keep it: to the microsecond, which every database has.
fn kept(at: Timestamp) -> Timestamp {
    at.trunc_subsecs(6)
}

/// A class is what its name says, and what governed when is not rewritten.
fn kept_by_callers(register: Register) -> Result<()> {
    match register {
        Register::Classes | Register::Successions => {
            Err(wrong("a register that only the store writes"))
        }
        _ => Ok(()),
    }
}

fn short(bytes: &[u8]) -> Result<()> {
    if bytes.len() > ChangeSet::LONGEST {
        Err(wrong("a body that is too long"))
    } else {
        Ok(())
    }
}

fn json(bytes: &[u8]) -> Result<()> {
    short(bytes)?;
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes)
        .map(drop)
        .map_err(|_| wrong("a body that is no JSON"))
}

fn wrong(detail: &'static str) -> crate::error::Error {
    Fault::new(FaultKind::Protocol, Port::Store, "commit")
        .because(detail)
        .into()
}

fn conflict(detail: &'static str) -> crate::error::Error {
    Fault::new(FaultKind::Conflict, Port::Store, "commit")
        .because(detail)
        .into()
}
