//! One firm's rows, and what a change set does to them.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::Label;
use crate::audit::tiles::LONGEST_ENTRY;
use crate::crypto::IndexTag;
use crate::error::{Fault, FaultKind, Port, Result};
use crate::id::{Digest, HoldId, JobId, PlacementId, RecordId, SubjectId};
use crate::pii::{FieldName, Placement, Record, RecordKey};
use crate::policy::{PolicyClass, Succession};
use crate::ports::store::{Change, ChangeSet, Committed, Job, Register, Sheet};
use crate::refusal::{Code, Refusal};
use crate::retention::{Hold, Release};
use crate::time::Timestamp;

/// All rows of one firm.
#[derive(Clone, Default)]
pub(super) struct Firm {
    /// By record id first: the order in which queries answer.
    pub(super) records: BTreeMap<(RecordId, SubjectId), RecordRow>,
    pub(super) classes: Classes,
    pub(super) placements: BTreeMap<PlacementId, Placement>,
    pub(super) holds: BTreeMap<HoldId, Hold>,
    pub(super) sheets: BTreeMap<(Register, Label), Sheet>,
    pub(super) jobs: BTreeMap<JobId, Job>,
    pub(super) entries: Vec<EntryRow>,
}

#[derive(Clone)]
pub(super) struct RecordRow {
    pub(super) record: Record,
    /// Its place in [`Classes`], which tells what governs it.
    pub(super) class: usize,
    pub(super) tags: BTreeSet<(FieldName, IndexTag)>,
}

#[derive(Clone)]
pub(super) struct EntryRow {
    pub(super) at: Timestamp,
    pub(super) names: BTreeSet<SubjectId>,
    pub(super) bytes: Vec<u8>,
}

/// Under which class records were written, in places that never move, and what governs each
/// place now.
#[derive(Clone, Default)]
pub(super) struct Classes {
    places: Vec<(Digest, Digest)>,
}

impl Classes {
    /// What governs the records of a place.
    pub(super) fn governing(&self, place: usize) -> Digest {
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
    /// Whether a hold covers a record that is here.
    fn is_held(&self, key: &(RecordId, SubjectId)) -> bool {
        self.records.get(key).is_some_and(|row| {
            let record = &row.record;
            let covers = |hold: &Hold| hold.covers(record.key.subject, record.matter);
            self.holds.values().any(covers)
        })
    }

    /// Takes a record's tags away and leaves the record, with the entry of it.
    pub(super) fn forget_tags(&mut self, key: &RecordKey, entry: ChangeSet) -> Result<Committed> {
        let row = (key.record, key.subject);
        if self.is_held(&row) {
            return Err(Code::DstHold.into());
        }
        let committed = self.commit(entry)?;
        if let Some(row) = self.records.get_mut(&row) {
            row.tags.clear();
        }
        Ok(committed)
    }

    pub(super) fn commit(&mut self, change: ChangeSet) -> Result<Committed> {
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
        for each in change.changes {
            let before = self.apply(each, now, change.at, undo)?;
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

    /// Applies one change, or leaves everything as it was; `now` by the log, `at` by the clock of
    /// whoever makes it, by which leases are given.
    fn apply(
        &mut self,
        change: Change,
        now: Timestamp,
        at: Timestamp,
        undo: &mut Vec<Before>,
    ) -> Result<Before> {
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
                if self.is_held(&key) {
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
                job.settle(lease, outcome, at)?;
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
    pub(super) fn told(&self, row: &RecordRow) -> Record {
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

    pub(super) fn class(&self, id: Digest) -> Option<PolicyClass> {
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
