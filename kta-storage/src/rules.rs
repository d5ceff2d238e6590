//! The rules by which a change set meets what is stored: one place for every database.

use std::collections::BTreeSet;

use chrono::SubsecRound as _;
use kta_core::audit::tiles::LONGEST_ENTRY;
use kta_core::audit::{Entry, Event, Label};
use kta_core::crypto::IndexTag;
use kta_core::id::{Digest, HoldId, JobId, MatterId, PlacementId, SubjectId};
use kta_core::pii::{FieldName, Placement, Record, RecordKey};
use kta_core::ports::store::{Change, ChangeSet, Committed, Expected, Job, Register, Sheet};
use kta_core::retention::{Hold, Release};
use kta_core::time::Timestamp;
use kta_core::{Code, Error, Fault, FaultKind, Port, Refusal, Result};

use crate::class::{self, Cohort};

/// One firm's rows as a change set finds and leaves them: what a database has to offer the rules.
pub(crate) trait Rows {
    /// A stored record, as far as changing it goes.
    type Stored: Stored;

    fn log_end(&self) -> LogEnd;
    /// Appends an entry at the end of the log, which moves on.
    fn append(&mut self, entry: NewEntry) -> Result<()>;

    fn job(&self, id: JobId) -> Result<Option<Job>>;
    fn put_job(&mut self, job: Job) -> Result<()>;

    fn sheet_revision(&self, register: Register, id: &Label) -> Result<Option<u64>>;
    fn put_sheet(&mut self, sheet: &Sheet, revision: u64) -> Result<()>;
    fn remove_sheet(&mut self, register: Register, id: &Label) -> Result<()>;

    fn hold(&self, id: HoldId) -> Result<Option<Hold>>;
    fn active_holds(&self) -> Result<Vec<Hold>>;
    fn put_hold(&mut self, hold: Hold) -> Result<()>;

    /// What governs what is written under this class now; nothing did yet when there is none.
    fn governs(&self, class: Digest) -> Result<Option<Digest>>;
    /// Lets a class that governs nowhere govern what is written under it from now on.
    fn enthrone(&mut self, class: Digest) -> Result<()>;
    /// Lets `by` govern wherever `from` does.
    fn succeed(&mut self, from: Digest, by: Digest) -> Result<()>;
    /// A row for records that this class, which governs somewhere, is to govern.
    fn cohort(&mut self, governing: Digest) -> Result<Cohort>;
    /// Lets records that the class governs be found by these purposes, whose
    /// [bits](crate::form::purpose_bit) are set.
    fn admit(&mut self, class: Digest, purposes: i64) -> Result<()>;
    /// The number of the latest succession; 0 when there is none.
    fn successions(&self) -> Result<u64>;

    fn placement(&self, id: PlacementId) -> Result<Option<Placement>>;
    fn put_placement(&mut self, placement: &Placement) -> Result<()>;

    fn record(&self, key: &RecordKey) -> Result<Option<Self::Stored>>;
    /// Writes a record and its tags over what stands there, which keeps its class.
    fn put_record(
        &mut self,
        over: Option<Self::Stored>,
        record: &Record,
        cohort: Cohort,
        index: &BTreeSet<(FieldName, IndexTag)>,
    ) -> Result<()>;
    /// Lets a record be governed as another cohort is.
    fn move_record(&mut self, key: &RecordKey, stored: Self::Stored, to: Cohort) -> Result<()>;
    /// Removes a record and its tags.
    fn remove_record(&mut self, key: &RecordKey, stored: &Self::Stored) -> Result<()>;
}

/// What the rules ask of a stored record.
pub(crate) trait Stored {
    fn revision(&self) -> u64;
    fn matter(&self) -> Option<MatterId>;
    fn cohort(&self) -> Cohort;
}

/// How far a firm's log has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogEnd {
    /// How many entries there are.
    pub(crate) size: u64,
    /// When the last one was.
    pub(crate) at: Option<Timestamp>,
}

/// An entry that is to be appended.
#[derive(Clone, Debug)]
pub(crate) struct NewEntry {
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    /// Its canonical bytes.
    pub(crate) bytes: Vec<u8>,
    /// The persons whom it names.
    pub(crate) names: BTreeSet<SubjectId>,
}

/// Applies a checked change set. After an error the rows are to be given up.
pub(crate) fn commit(rows: &mut impl Rows, change: &ChangeSet) -> Result<Committed> {
    let LogEnd { size: first, at } = rows.log_end();
    let now = at.map_or(change.at, |last| last.max(change.at));
    for each in &change.changes {
        apply(rows, each, now, change.at)?;
    }
    for event in &change.events {
        let entry = entry(event, rows.log_end().size, now)?;
        rows.append(entry)?;
    }
    Ok(Committed {
        first: Some(first),
        entries: rows.log_end().size - first,
    })
}

/// Removes a record with its tags; gives what stood there.
pub(crate) fn remove<R: Rows>(rows: &mut R, key: &RecordKey) -> Result<Option<R::Stored>> {
    let Some(stored) = free(rows, key)? else {
        return Ok(None);
    };
    rows.remove_record(key, &stored)?;
    Ok(Some(stored))
}

/// The record of which something is to be taken away; [`DST-HOLD`](Code::DstHold) when an active
/// hold covers it.
pub(crate) fn free<R: Rows>(rows: &R, key: &RecordKey) -> Result<Option<R::Stored>> {
    let Some(stored) = rows.record(key)? else {
        return Ok(None);
    };
    let holds = rows.active_holds()?;
    if holds
        .iter()
        .any(|hold| hold.covers(key.subject, stored.matter()))
    {
        return Err(Code::DstHold.into());
    }
    Ok(Some(stored))
}

/// Applies a change, `now` by the log and `at` by the clock of whoever makes it. A lease was given
/// by such a clock: an entry of a machine whose clock is ahead ends none.
fn apply(rows: &mut impl Rows, change: &Change, now: Timestamp, at: Timestamp) -> Result<()> {
    match change {
        Change::Enqueue(job) => match rows.job(job.id)? {
            Some(_) => Ok(()),
            None => rows.put_job(job.clone().kept()),
        },
        Change::File { sheet, expected } => file(rows, sheet, *expected),
        Change::Intern(class) => class::intern(rows, class),
        Change::PlaceHold(hold) => {
            if rows.hold(hold.id)?.is_some() {
                return Err(conflict("a hold of this id was placed already"));
            }
            rows.put_hold(Hold {
                placed_at: now,
                ..hold.clone()
            })
        }
        Change::PutPlacement(placement) => {
            if let Some(known) = rows.placement(placement.id)? {
                known.may_become(placement)?;
            }
            rows.put_placement(placement)
        }
        Change::PutRecord {
            record,
            index,
            expected,
        } => {
            let stored = rows.record(&record.key)?;
            let revision = stored.as_ref().map(Stored::revision);
            expected.over(revision)?;
            if Some(record.revision) < revision {
                return Err(conflict("a later revision is stored"));
            }
            let cohort = class::cohort_of(rows, record.class, stored.as_ref())?;
            rows.put_record(stored, record, cohort, &index.iter().cloned().collect())
        }
        Change::Reclass { key, from, to } => class::reclass(rows, key, *from, *to),
        Change::Reinstate(class) => class::reinstate(rows, *class, now),
        Change::ReleaseHold { hold, by } => {
            let mut hold = rows
                .hold(*hold)?
                .ok_or_else(|| missing("no hold of this id"))?;
            if hold.released.is_some() {
                return Err(conflict("the hold was released already"));
            }
            hold.released = Some(Release { by: *by, at: now });
            rows.put_hold(hold)
        }
        Change::RemoveRecord(key) => remove(rows, key).map(drop),
        Change::RemoveSheet(register, id) => rows.remove_sheet(*register, id),
        Change::Settle {
            job,
            lease,
            outcome,
        } => {
            let mut job = rows
                .job(*job)?
                .ok_or_else(|| missing("no job of this id"))?;
            job.settle(*lease, *outcome, at)?;
            rows.put_job(job)
        }
        Change::Supersede { from, to } => class::supersede(rows, *from, to, now),
        // The contract grew and this crate did not: nothing half-done.
        _ => Err(Fault::new(FaultKind::Unsupported, Port::Store, "commit").into()),
    }
}

pub(crate) fn file(rows: &mut impl Rows, sheet: &Sheet, expected: Expected) -> Result<()> {
    let revision = expected.over(rows.sheet_revision(sheet.register, &sheet.id)?)?;
    rows.put_sheet(sheet, revision)
}

fn entry(event: &Event, seq: u64, now: Timestamp) -> Result<NewEntry> {
    noticed(&event.body(), event.names(), seq, now)
}

/// The entry over an event's body, which names these persons.
pub(crate) fn noticed(
    body: &[u8],
    names: BTreeSet<SubjectId>,
    seq: u64,
    now: Timestamp,
) -> Result<NewEntry> {
    // As the entry has it: to the millisecond.
    let at = now.trunc_subsecs(3);
    let bytes = Entry::assembled(seq, at, body);
    if body.is_empty() || bytes.len() > LONGEST_ENTRY {
        return Err(Refusal::new(Code::AudDown)
            .about("length", bytes.len())
            .into());
    }
    Ok(NewEntry {
        seq,
        at,
        bytes,
        names,
    })
}

pub(crate) fn conflict(detail: &'static str) -> Error {
    Fault::new(FaultKind::Conflict, Port::Store, "commit")
        .because(detail)
        .into()
}

pub(crate) fn missing(detail: &'static str) -> Error {
    Fault::new(FaultKind::NotFound, Port::Store, "commit")
        .because(detail)
        .into()
}
