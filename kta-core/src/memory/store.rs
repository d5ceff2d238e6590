//! The firm's own memory, in memory.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::audit::Label;
use crate::audit::tiles::LONGEST_ENTRY;
use crate::crypto::IndexTag;
use crate::error::{Fault, FaultKind, Port, Result};
use crate::id::{Digest, HoldId, JobId, PlacementId, RecordId, SubjectId, TenantId};
use crate::pii::{FieldName, Placement, Record, RecordKey};
use crate::policy::{PolicyClass, Succession};
use crate::ports::store::{
    Change, ChangeSet, Committed, HoldQuery, Job, JobState, Jobs, Ledger, PlacementQuery, RecordBy,
    RecordQuery, Register, Sheet, SheetQuery, Store,
};
use crate::refusal::{Code, Refusal};
use crate::retention::{Hold, Release};
use crate::time::Timestamp;

/// A [`Store`] with its [`Jobs`] and [`Ledger`] in memory, for tests, examples and the quick
/// start: it keeps every rule of the contract and nothing on disk. Clones are handles to one
/// store; [`copied`](Self::copied) is a backup or a thief's copy.
///
/// Queries walk over all rows of the firm: it is not made for many.
#[derive(Clone, Default)]
pub struct MemoryStore {
    firms: Arc<Mutex<BTreeMap<TenantId, Firm>>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A store of its own with the same rows, as they are now.
    #[must_use]
    pub fn copied(&self) -> Self {
        Self {
            firms: Arc::new(Mutex::new(self.locked().clone())),
        }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<TenantId, Firm>> {
        // A change set that fails is undone before the lock is given back, and nothing panics
        // between two changes, so a poisoned map is whole.
        self.firms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<R: Default>(&self, tenant: TenantId, read: impl FnOnce(&Firm) -> R) -> R {
        self.locked().get(&tenant).map(read).unwrap_or_default()
    }

    /// Takes away the index tags of a record and leaves the record, for
    /// [`Erase`](crate::ports::Erase) of an index entry.
    pub(super) fn drop_tags(&self, key: &RecordKey) {
        if let Some(firm) = self.locked().get_mut(&key.tenant)
            && let Some(row) = firm.records.get_mut(&(key.record, key.subject))
        {
            row.tags.clear();
        }
    }

    /// Whether a record is there, and how many index tags lead to it.
    pub(super) fn traces(&self, key: &RecordKey) -> (bool, usize) {
        self.read(key.tenant, |firm| {
            firm.records
                .get(&(key.record, key.subject))
                .map_or((false, 0), |row| (true, row.tags.len()))
        })
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, change: ChangeSet) -> Result<Committed> {
        change.check()?;
        let mut firms = self.locked();
        firms.entry(change.tenant).or_default().commit(change)
    }

    async fn record(&self, key: &RecordKey) -> Result<Option<Record>> {
        Ok(self.read(key.tenant, |firm| {
            firm.records
                .get(&(key.record, key.subject))
                .map(|row| firm.told(row))
        }))
    }

    async fn records(&self, query: &RecordQuery) -> Result<Vec<Record>> {
        let found = |firm: &Firm, row: &RecordRow| match &query.by {
            RecordBy::Class(class) => firm.classes.governing(row.class) == *class,
            RecordBy::Matter(matter) => row.record.matter == Some(*matter),
            RecordBy::Purpose(purpose) => firm
                .class(firm.classes.governing(row.class))
                .is_some_and(|class| class.admitted().any(|admitted| admitted == *purpose)),
            RecordBy::Subject(subject) => row.record.key.subject == *subject,
            RecordBy::Tag(field, tag) => row.tags.contains(&(field.clone(), tag.clone())),
        };
        let admitted = |firm: &Firm, row: &RecordRow| {
            query.purpose.is_none_or(|purpose| {
                purpose.is_legal()
                    || firm
                        .class(firm.classes.governing(row.class))
                        .is_some_and(|class| class.admits(purpose).is_ok())
            })
        };
        Ok(self.read(query.tenant, |firm| {
            let rows = firm
                .records
                .iter()
                .filter(|((id, _), _)| Some(*id) > query.after);
            let rows = rows.map(|(_, row)| row);
            rows.filter(|row| found(firm, row) && admitted(firm, row))
                .take(query.limit)
                .map(|row| firm.told(row))
                .collect()
        }))
    }

    async fn placements(&self, query: &PlacementQuery) -> Result<Vec<Placement>> {
        let found = |placement: &&Placement| {
            query
                .subject
                .is_none_or(|subject| placement.subject == subject)
                && query
                    .matter
                    .is_none_or(|matter| placement.matter == Some(matter))
                && query
                    .system
                    .as_ref()
                    .is_none_or(|system| placement.system == *system)
                && Some(placement.id) > query.after
        };
        Ok(self.read(query.tenant, |firm| {
            firm.placements
                .values()
                .filter(found)
                .take(query.limit)
                .cloned()
                .collect()
        }))
    }

    async fn holds(&self, query: &HoldQuery) -> Result<Vec<Hold>> {
        Ok(self.read(query.tenant, |firm| {
            firm.holds
                .values()
                .filter(|hold| query.matches(hold))
                .cloned()
                .collect()
        }))
    }

    async fn sheets(&self, query: &SheetQuery) -> Result<Vec<Sheet>> {
        let found = |sheet: &&Sheet| {
            sheet.register == query.register
                && query.id.as_ref().is_none_or(|id| sheet.id == *id)
                && query
                    .subject
                    .is_none_or(|subject| sheet.subject == Some(subject))
                && query
                    .matter
                    .is_none_or(|matter| sheet.matter == Some(matter))
                && query.after.as_ref().is_none_or(|after| sheet.id > *after)
        };
        Ok(self.read(query.tenant, |firm| {
            firm.sheets
                .values()
                .filter(found)
                .take(query.limit)
                .cloned()
                .collect()
        }))
    }
}

#[async_trait]
impl Jobs for MemoryStore {
    async fn lease(
        &self,
        tenant: TenantId,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Job>> {
        if until <= now {
            let fault = Fault::new(FaultKind::Protocol, Port::Jobs, "lease");
            return Err(fault.because("a lease that ends before it begins").into());
        }
        let mut firms = self.locked();
        let Some(firm) = firms.get_mut(&tenant) else {
            return Ok(Vec::new());
        };
        let mut ready: Vec<(Timestamp, JobId)> = firm
            .jobs
            .values()
            .filter(|job| job.ready().is_some_and(|ready| ready <= now))
            .map(|job| (job.due, job.id))
            .collect();
        ready.sort_unstable();
        ready.truncate(limit);
        let mut leased = Vec::with_capacity(ready.len());
        for (_, id) in ready {
            if let Some(job) = firm.jobs.get_mut(&id) {
                job.lease_until(until);
                leased.push(job.clone());
            }
        }
        Ok(leased)
    }

    async fn jobs(&self, tenant: TenantId, state: Option<JobState>) -> Result<Vec<Job>> {
        let found = |job: &&Job| state.is_none_or(|state| job.state == state);
        Ok(self.read(tenant, |firm| {
            firm.jobs.values().filter(found).cloned().collect()
        }))
    }
}

#[async_trait]
impl Ledger for MemoryStore {
    async fn size(&self, tenant: TenantId) -> Result<u64> {
        Ok(self.read(tenant, |firm| firm.entries.len() as u64))
    }

    async fn entries(&self, tenant: TenantId, from: u64, limit: usize) -> Result<Vec<Vec<u8>>> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        Ok(self.read(tenant, |firm| {
            firm.entries
                .iter()
                .skip(from)
                .take(limit)
                .map(|entry| entry.bytes.clone())
                .collect()
        }))
    }

    async fn trail(
        &self,
        tenant: TenantId,
        subject: SubjectId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<u64>> {
        Ok(self.read(tenant, |firm| {
            let numbered = (0_u64..).zip(&firm.entries);
            numbered
                .filter(|(_, entry)| entry.at >= from && entry.at <= to)
                .filter(|(_, entry)| entry.names.contains(&subject))
                .map(|(number, _)| number)
                .collect()
        }))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStore({} firms)", self.locked().len())
    }
}

/// All rows of one firm.
#[derive(Clone, Default)]
struct Firm {
    /// By record id first: the order in which queries answer.
    records: BTreeMap<(RecordId, SubjectId), RecordRow>,
    classes: Classes,
    placements: BTreeMap<PlacementId, Placement>,
    holds: BTreeMap<HoldId, Hold>,
    sheets: BTreeMap<(Register, Label), Sheet>,
    jobs: BTreeMap<JobId, Job>,
    entries: Vec<EntryRow>,
}

#[derive(Clone)]
struct RecordRow {
    record: Record,
    /// Its place in [`Classes`], which tells what governs it.
    class: usize,
    tags: BTreeSet<(FieldName, IndexTag)>,
}

#[derive(Clone)]
struct EntryRow {
    at: Timestamp,
    names: BTreeSet<SubjectId>,
    bytes: Vec<u8>,
}

/// Under which class records were written, in places that never move, and what governs each
/// place now.
#[derive(Clone, Default)]
struct Classes {
    places: Vec<(Digest, Digest)>,
}

impl Classes {
    /// What governs the records of a place.
    fn governing(&self, place: usize) -> Digest {
        self.places[place].1
    }

    /// The place for what is written under `class` now, if there is one.
    fn known(&self, class: Digest) -> Option<usize> {
        self.places.iter().rposition(|(name, _)| *name == class)
    }

    /// The same, made if there is none.
    fn place(&mut self, class: Digest) -> usize {
        self.known(class).unwrap_or_else(|| self.make(class))
    }

    fn make(&mut self, class: Digest) -> usize {
        self.places.push((class, class));
        self.places.len() - 1
    }

    fn supersede(&mut self, from: Digest, to: Digest) {
        let governed = self.places.iter_mut().filter(|(_, now)| *now == from);
        governed.for_each(|(_, now)| *now = to);
    }
}

/// What stood in a row before it was changed.
enum Before {
    All(Vec<Self>),
    Classes(Classes),
    Hold(HoldId, Option<Hold>),
    Job(JobId, Option<Job>),
    Placement(PlacementId, Option<Placement>),
    Record((RecordId, SubjectId), Option<RecordRow>),
    Sheet((Register, Label), Option<Sheet>),
}

impl Firm {
    fn commit(&mut self, change: ChangeSet) -> Result<Committed> {
        let first = self.entries.len();
        let mut undo = Vec::new();
        let result = self.try_commit(change, &mut undo);
        if result.is_err() {
            self.entries.truncate(first);
            undo.into_iter()
                .rev()
                .for_each(|before| self.restore(before));
        }
        result
    }

    fn try_commit(&mut self, change: ChangeSet, undo: &mut Vec<Before>) -> Result<Committed> {
        // The instant of the whole set: a clock that was set back meanwhile does not count.
        let now = self
            .entries
            .last()
            .map_or(change.at, |last| last.at.max(change.at));
        for change in change.changes {
            let before = self.apply(change, now, undo)?;
            undo.push(before);
        }
        let first = self.entries.len() as u64;
        for event in change.events {
            let names = event.names();
            let entry = event.into_entry(self.entries.len() as u64, now);
            let bytes = entry.canonical();
            if bytes.is_empty() || bytes.len() > LONGEST_ENTRY {
                return Err(Refusal::new(Code::AudDown)
                    .about("length", bytes.len())
                    .into());
            }
            self.entries.push(EntryRow {
                at: entry.at,
                names,
                bytes,
            });
        }
        Ok(Committed {
            first: Some(first),
            entries: self.entries.len() as u64 - first,
        })
    }

    /// Applies one change, or leaves everything as it was.
    fn apply(&mut self, change: Change, now: Timestamp, undo: &mut Vec<Before>) -> Result<Before> {
        Ok(match change {
            Change::Enqueue(job) => {
                let (id, known) = (job.id, self.jobs.get(&job.id).cloned());
                self.jobs.entry(id).or_insert_with(|| job.kept());
                Before::Job(id, known)
            }
            Change::File {
                mut sheet,
                expected,
            } => {
                let key = (sheet.register, sheet.id.clone());
                sheet.revision =
                    expected.over(self.sheets.get(&key).map(|sheet| sheet.revision))?;
                let known = self.sheets.insert(key.clone(), sheet);
                Before::Sheet(key, known)
            }
            Change::Intern(class) => self.intern(&class),
            Change::PlaceHold(mut hold) => {
                if self.holds.contains_key(&hold.id) {
                    return Err(conflict("a hold of this id was placed already"));
                }
                hold.placed_at = now;
                let id = hold.id;
                Before::Hold(id, self.holds.insert(id, hold))
            }
            Change::PutPlacement(placement) => {
                let id = placement.id;
                self.placements
                    .get(&id)
                    .map_or(Ok(()), |known| known.may_become(&placement))?;
                Before::Placement(id, self.placements.insert(id, placement))
            }
            Change::PutRecord {
                record,
                index,
                expected,
            } => {
                let key = (record.key.record, record.key.subject);
                let row = self.records.get(&key);
                let stored = row.map(|row| row.record.revision);
                expected.over(stored)?;
                if Some(record.revision) < stored {
                    return Err(conflict("a later revision is stored"));
                }
                let governs = row.map(|row| (row.class, self.classes.governing(row.class)));
                let class = match governs {
                    Some((class, governs)) if governs == self.means(record.class) => class,
                    Some(_) => return Err(conflict("another class governs the record")),
                    None => {
                        undo.push(self.before_place(record.class));
                        self.classes.place(record.class)
                    }
                };
                let row = RecordRow {
                    record,
                    class,
                    tags: index.into_iter().collect(),
                };
                Before::Record(key, self.records.insert(key, row))
            }
            Change::Reclass { key, from, to } => {
                let key = (key.record, key.subject);
                let known = self.records.get(&key).cloned();
                let mut row = known
                    .clone()
                    .ok_or_else(|| missing("no record of this key"))?;
                if self.class(to).is_none() {
                    return Err(missing("no class of this name is interned"));
                }
                if self.classes.governing(row.class) != from {
                    return Err(conflict("another class governs the record"));
                }
                if self.means(to) != from {
                    undo.push(self.before_place(to));
                    row.class = self.classes.place(to);
                }
                self.records.insert(key, row);
                Before::Record(key, known)
            }
            Change::Reinstate(class) => {
                let before = Before::Classes(self.classes.clone());
                self.in_use(class)?;
                if self.means(class) == class {
                    return Ok(before);
                }
                self.classes.make(class);
                Before::All(vec![before, self.note(class, None, now)])
            }
            Change::ReleaseHold { hold: id, by } => {
                let hold = self
                    .holds
                    .get_mut(&id)
                    .ok_or_else(|| missing("no hold of this id"))?;
                let known = Some(hold.clone());
                if hold.released.is_some() {
                    return Err(conflict("the hold was released already"));
                }
                hold.released = Some(Release { by, at: now });
                Before::Hold(id, known)
            }
            Change::RemoveRecord(key) => {
                let key = (key.record, key.subject);
                if let Some(RecordRow { record, .. }) = self.records.get(&key)
                    && self
                        .holds
                        .values()
                        .any(|hold| hold.covers(record.key.subject, record.matter))
                {
                    return Err(Code::DstHold.into());
                }
                Before::Record(key, self.records.remove(&key))
            }
            Change::RemoveSheet(register, id) => {
                let key = (register, id);
                let known = self.sheets.remove(&key);
                Before::Sheet(key, known)
            }
            Change::Settle {
                job: id,
                lease,
                outcome,
            } => {
                let job = self
                    .jobs
                    .get_mut(&id)
                    .ok_or_else(|| missing("no job of this id"))?;
                let known = Some(job.clone());
                job.settle(lease, outcome, now)?;
                Before::Job(id, known)
            }
            Change::Supersede { from, to } => {
                let classes = self.classes.clone();
                self.in_use(from)?;
                let by = self.means(to.id());
                let now_governs = self.means(from);
                if by == from {
                    return Err(conflict("a class cannot supersede itself"));
                }
                if now_governs == by {
                    return Ok(Before::All(Vec::new()));
                }
                if now_governs != from {
                    return Err(conflict("the class was superseded by another"));
                }
                let interned = self.intern(&to);
                self.classes.place(from);
                self.classes.place(by);
                self.classes.supersede(from, by);
                let noted = self.note(from, Some(by), now);
                Before::All(vec![Before::Classes(classes), interned, noted])
            }
        })
    }

    /// A record as it is read: with the class that governs it now.
    fn told(&self, row: &RecordRow) -> Record {
        Record {
            class: self.classes.governing(row.class),
            ..row.record.clone()
        }
    }

    /// What governs what is written under `class` now.
    fn means(&self, class: Digest) -> Digest {
        let place = self.classes.known(class);
        place.map_or(class, |place| self.classes.governing(place))
    }

    fn before_place(&self, class: Digest) -> Before {
        match self.classes.known(class) {
            Some(_) => Before::All(Vec::new()),
            None => Before::Classes(self.classes.clone()),
        }
    }

    fn class(&self, id: Digest) -> Option<PolicyClass> {
        let name = Label::new(id.to_string()).ok()?;
        let sheet = self.sheets.get(&(Register::Classes, name))?;
        serde_json::from_slice(&sheet.body).ok()
    }

    /// Refuses a class that is neither interned nor written under.
    fn in_use(&self, class: Digest) -> Result<()> {
        if self.classes.known(class).is_some() || self.class(class).is_some() {
            Ok(())
        } else {
            Err(missing("no class of this name"))
        }
    }

    fn intern(&mut self, class: &PolicyClass) -> Before {
        let sheet = Sheet::of_class(class);
        let key = (sheet.register, sheet.id.clone());
        let known = self.sheets.get(&key).cloned();
        self.sheets.entry(key.clone()).or_insert(sheet);
        Before::Sheet(key, known)
    }

    /// Enters a succession into its register.
    fn note(&mut self, class: Digest, by: Option<Digest>, at: Timestamp) -> Before {
        let earlier = self
            .sheets
            .keys()
            .filter(|(register, _)| *register == Register::Successions)
            .count();
        let sheet = Sheet::of_succession(earlier as u64 + 1, &Succession { class, by, at });
        let key = (sheet.register, sheet.id.clone());
        Before::Sheet(key.clone(), self.sheets.insert(key, sheet))
    }

    fn restore(&mut self, before: Before) {
        fn put<K: Ord, V>(rows: &mut BTreeMap<K, V>, key: K, row: Option<V>) {
            match row {
                Some(row) => drop(rows.insert(key, row)),
                None => drop(rows.remove(&key)),
            }
        }
        match before {
            Before::All(all) => all
                .into_iter()
                .rev()
                .for_each(|before| self.restore(before)),
            Before::Classes(classes) => self.classes = classes,
            Before::Hold(key, row) => put(&mut self.holds, key, row),
            Before::Job(key, row) => put(&mut self.jobs, key, row),
            Before::Placement(key, row) => put(&mut self.placements, key, row),
            Before::Record(key, row) => put(&mut self.records, key, row),
            Before::Sheet(key, row) => put(&mut self.sheets, key, row),
        }
    }
}

fn conflict(detail: &'static str) -> crate::error::Error {
    Fault::new(FaultKind::Conflict, Port::Store, "commit")
        .because(detail)
        .into()
}

fn missing(detail: &'static str) -> crate::error::Error {
    Fault::new(FaultKind::NotFound, Port::Store, "commit")
        .because(detail)
        .into()
}
