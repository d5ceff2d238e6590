//! A firm's rows in memory, as one change set of a batch finds and leaves them.
//!
//! ```text
//!   stored   what was read under the firm's lock
//!   before   what the change sets before this one in the batch left
//!   own      what this one leaves; thrown away when it fails
//! ```
//!
//! So a change set that fails needs no savepoint, and a batch needs two round trips to the
//! server, however many change sets are in it: one that locks and reads, one that writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kta_core::audit::Label;
use kta_core::crypto::IndexTag;
use kta_core::id::{Digest, HoldId, JobId, MatterId, PlacementId, RecordId, SubjectId};
use kta_core::pii::{FieldName, Placement, Record, RecordKey};
use kta_core::ports::store::{Job, Register, Sheet};
use kta_core::retention::Hold;
use kta_core::time::Timestamp;
use kta_core::{Port, Result};

use super::fault::Broken;
use super::openings::Frames;
use super::sql::Id;
use crate::class::Cohort;
use crate::journal::Payload;
use crate::row::write_fields;
use crate::rules::{self, LogEnd, NewEntry, Rows, Stored};

/// A row of the table of classes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Name {
    /// Under which reign it is.
    pub(super) reign: Option<i64>,
    /// The bits of its purposes.
    pub(super) admits: i64,
}

/// A row of the table of classes that govern.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reign {
    pub(super) governing: Digest,
    pub(super) weight: i64,
}

/// Rows by their keys; `None` where one was removed.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    /// The reign of each cohort.
    pub(super) cohorts: BTreeMap<i64, i64>,
    pub(super) entries: Vec<NewEntry>,
    pub(super) erased: BTreeMap<(SubjectId, PlacementId), Timestamp>,
    pub(super) holds: BTreeMap<HoldId, Hold>,
    pub(super) jobs: BTreeMap<JobId, Job>,
    /// Which reigns joined which.
    pub(super) joins: BTreeMap<i64, i64>,
    /// The highest number of a cohort, where one is asked for.
    pub(super) last_cohort: i64,
    /// The highest number of a reign, where one is asked for.
    pub(super) last_reign: i64,
    pub(super) names: BTreeMap<Digest, Name>,
    pub(super) placements: BTreeMap<PlacementId, Placement>,
    pub(super) records: BTreeMap<(SubjectId, RecordId), Option<RecordRow>>,
    pub(super) reigns: BTreeMap<i64, Option<Reign>>,
    pub(super) sheets: BTreeMap<(Register, Label), Option<SheetRow>>,
    /// The number of the latest succession, where one was asked for or entered.
    pub(super) successions: Option<u64>,
    /// A journal, and the number of its last frame in the log.
    pub(super) taken: Option<(Id, u64)>,
}

impl Changes {
    /// Takes over what a change set left.
    pub(super) fn absorb(&mut self, later: Self) {
        self.cohorts.extend(later.cohorts);
        self.entries.extend(later.entries);
        self.erased.extend(later.erased);
        self.holds.extend(later.holds);
        self.jobs.extend(later.jobs);
        self.joins.extend(later.joins);
        self.last_cohort = later.last_cohort.max(self.last_cohort);
        self.last_reign = later.last_reign.max(self.last_reign);
        self.names.extend(later.names);
        self.placements.extend(later.placements);
        self.records.extend(later.records);
        self.reigns.extend(later.reigns);
        self.sheets.extend(later.sheets);
        self.successions = later.successions.or(self.successions);
        self.taken = later.taken.or(self.taken);
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.cohorts.is_empty()
            && self.entries.is_empty()
            && self.erased.is_empty()
            && self.holds.is_empty()
            && self.jobs.is_empty()
            && self.joins.is_empty()
            && self.names.is_empty()
            && self.placements.is_empty()
            && self.records.is_empty()
            && self.reigns.is_empty()
            && self.sheets.is_empty()
            && self.taken.is_none()
    }
}

/// A record's row.
#[derive(Clone, Debug)]
pub(super) struct RecordRow {
    pub(super) revision: u64,
    pub(super) matter: Option<MatterId>,
    pub(super) cohort: Cohort,
    /// Whether only the cohort is to be written.
    pub(super) moved: bool,
    pub(super) tags: BTreeSet<(FieldName, IndexTag)>,
    /// What else is to be written; absent for a row as it is stored.
    pub(super) body: Option<Arc<Body>>,
}

/// The columns of a record that no rule looks at.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) schema: Label,
    pub(super) header: Vec<u8>,
    pub(super) fields: Vec<u8>,
}

impl Stored for RecordRow {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn matter(&self) -> Option<MatterId> {
        self.matter
    }

    fn cohort(&self) -> Cohort {
        self.cohort
    }
}

/// A sheet's row; `sheet` is absent for one as it is stored.
#[derive(Clone, Debug)]
pub(super) struct SheetRow {
    pub(super) revision: u64,
    pub(super) sheet: Option<Sheet>,
}

/// The rows as one change set sees them.
#[derive(Debug)]
pub(super) struct View<'b> {
    stored: &'b Changes,
    before: &'b Changes,
    pub(super) own: Changes,
    pub(super) end: LogEnd,
}

impl<'b> View<'b> {
    pub(super) fn over(stored: &'b Changes, before: &'b Changes, end: LogEnd) -> Self {
        let own = Changes::default();
        Self {
            stored,
            before,
            own,
            end,
        }
    }

    /// Enters the events of a journal's frames that the log does not have yet; it has those to
    /// `known`.
    pub(super) fn enter(&mut self, frames: &Frames<'_>, known: u64) -> Result<()> {
        for (number, payload) in frames.list.iter().filter(|(number, _)| *number > known) {
            let payload = Payload::read(payload).ok_or_else(unreadable)?;
            let at = Timestamp::from_timestamp_millis(payload.millis).ok_or_else(unreadable)?;
            for event in &payload.events {
                let now = self.end.at.map_or(at, |last| last.max(at));
                let names = event.names.iter().copied().map(SubjectId::from_bytes);
                let entry = rules::noticed(event.body, names.collect(), self.end.size, now)?;
                self.append(entry)?;
            }
            self.own.taken = Some((frames.id, *number));
        }
        Ok(())
    }

    /// Takes a record's tags away and leaves the record; whether there were any.
    pub(super) fn forget_tags(&mut self, key: &RecordKey) -> Result<bool> {
        let Some(mut row) = self.record(key)? else {
            return Ok(false);
        };
        let some = !row.tags.is_empty();
        row.tags.clear();
        self.own
            .records
            .insert((key.subject, key.record), Some(row));
        Ok(some)
    }

    fn name(&self, class: Digest) -> Name {
        let found = self.find(&class, |changes| &changes.names);
        found.copied().unwrap_or_default()
    }

    fn put_under(&mut self, class: Digest, reign: i64) {
        let name = Name {
            reign: Some(reign),
            ..self.name(class)
        };
        self.own.names.insert(class, name);
    }

    /// A reign, or the one that it joined.
    fn reign(&self, mut no: i64) -> Option<(i64, Reign)> {
        while let Some(joined) = self.find(&no, |changes| &changes.joins) {
            no = *joined;
        }
        let reign = self.find(&no, |changes| &changes.reigns)?;
        Some((no, (*reign)?))
    }

    /// Where the class governs.
    fn reign_of(&self, governing: Digest) -> Option<(i64, Reign)> {
        let layers = [&self.own, self.before, self.stored];
        let mut all = layers.into_iter().flat_map(|changes| changes.reigns.keys());
        all.find_map(|no| {
            let found = self.reign(*no);
            found.filter(|(_, reign)| reign.governing == governing)
        })
    }

    /// The number after the highest of a kind.
    fn after(&self, last: impl Fn(&Changes) -> i64) -> i64 {
        let layers = [&self.own, self.before, self.stored];
        layers.into_iter().map(last).max().unwrap_or_default() + 1
    }

    fn find<K: Ord + 'static, V: 'static>(
        &self,
        key: &K,
        table: impl for<'c> Fn(&'c Changes) -> &'c BTreeMap<K, V>,
    ) -> Option<&V> {
        [&self.own, self.before, self.stored]
            .into_iter()
            .find_map(|changes| table(changes).get(key))
    }
}

impl Rows for View<'_> {
    type Stored = RecordRow;

    fn log_end(&self) -> LogEnd {
        self.end
    }

    fn append(&mut self, entry: NewEntry) -> Result<()> {
        self.end = LogEnd {
            size: entry.seq + 1,
            at: Some(entry.at),
        };
        self.own.entries.push(entry);
        Ok(())
    }

    fn job(&self, id: JobId) -> Result<Option<Job>> {
        Ok(self.find(&id, |changes| &changes.jobs).cloned())
    }

    fn put_job(&mut self, job: Job) -> Result<()> {
        self.own.jobs.insert(job.id, job);
        Ok(())
    }

    fn sheet_revision(&self, register: Register, id: &Label) -> Result<Option<u64>> {
        let row = self.find(&(register, id.clone()), |changes| &changes.sheets);
        Ok(row.and_then(Option::as_ref).map(|row| row.revision))
    }

    fn put_sheet(&mut self, sheet: &Sheet, revision: u64) -> Result<()> {
        let row = SheetRow {
            revision,
            sheet: Some(sheet.clone()),
        };
        let key = (sheet.register, sheet.id.clone());
        if sheet.register == Register::Successions {
            self.own.successions = Some(self.successions()? + 1);
        }
        self.own.sheets.insert(key, Some(row));
        Ok(())
    }

    fn remove_sheet(&mut self, register: Register, id: &Label) -> Result<()> {
        self.own.sheets.insert((register, id.clone()), None);
        Ok(())
    }

    fn hold(&self, id: HoldId) -> Result<Option<Hold>> {
        Ok(self.find(&id, |changes| &changes.holds).cloned())
    }

    fn active_holds(&self) -> Result<Vec<Hold>> {
        let mut holds = BTreeMap::new();
        for changes in [self.stored, self.before, &self.own] {
            holds.extend(&changes.holds);
        }
        let active = holds
            .into_values()
            .filter(|hold| hold.released.is_none())
            .cloned();
        Ok(active.collect())
    }

    fn put_hold(&mut self, hold: Hold) -> Result<()> {
        self.own.holds.insert(hold.id, hold);
        Ok(())
    }

    fn governs(&self, class: Digest) -> Result<Option<Digest>> {
        let Some(no) = self.name(class).reign else {
            return Ok(None);
        };
        let (_, reign) = self.reign(no).ok_or_else(unreadable)?;
        Ok(Some(reign.governing))
    }

    fn enthrone(&mut self, class: Digest) -> Result<()> {
        let no = self.after(|changes| changes.last_reign);
        let reign = Reign {
            governing: class,
            weight: 1,
        };
        self.own.last_reign = no;
        self.own.reigns.insert(no, Some(reign));
        self.put_under(class, no);
        Ok(())
    }

    fn succeed(&mut self, from: Digest, by: Digest) -> Result<()> {
        let (old, of) = self.reign_of(from).ok_or_else(unreadable)?;
        let (stays, weight) = match self.reign_of(by) {
            None => {
                self.put_under(by, old);
                (old, of.weight + 1)
            }
            Some((new, to)) => {
                // The lighter joins the heavier, so that a row joins seldom, however often.
                let (leaves, stays) = match of.weight <= to.weight {
                    true => (old, new),
                    false => (new, old),
                };
                self.own.joins.insert(leaves, stays);
                self.own.reigns.insert(leaves, None);
                (stays, of.weight + to.weight)
            }
        };
        let governing = by;
        let reign = Reign { governing, weight };
        self.own.reigns.insert(stays, Some(reign));
        Ok(())
    }

    fn cohort(&mut self, governing: Digest) -> Result<Cohort> {
        let (of, _) = self.reign_of(governing).ok_or_else(unreadable)?;
        let is_of = |reign: &i64| self.reign(*reign).is_some_and(|(no, _)| no == of);
        for changes in [&self.own, self.before, self.stored] {
            if let Some((no, _)) = changes.cohorts.iter().find(|(_, reign)| is_of(reign)) {
                return Ok(Cohort { no: *no, governing });
            }
        }
        let no = self.after(|changes| changes.last_cohort);
        self.own.last_cohort = no;
        self.own.cohorts.insert(no, of);
        Ok(Cohort { no, governing })
    }

    fn admit(&mut self, class: Digest, purposes: i64) -> Result<()> {
        let name = Name {
            admits: purposes,
            ..self.name(class)
        };
        self.own.names.insert(class, name);
        Ok(())
    }

    fn successions(&self) -> Result<u64> {
        let all = [&self.own, self.before, self.stored];
        let known = all.into_iter().find_map(|changes| changes.successions);
        Ok(known.unwrap_or(0))
    }

    fn placement(&self, id: PlacementId) -> Result<Option<Placement>> {
        Ok(self.find(&id, |changes| &changes.placements).cloned())
    }

    fn put_placement(&mut self, placement: &Placement) -> Result<()> {
        self.own.placements.insert(placement.id, placement.clone());
        Ok(())
    }

    fn record(&self, key: &RecordKey) -> Result<Option<RecordRow>> {
        let row = self.find(&(key.subject, key.record), |changes| &changes.records);
        let mut row = row.and_then(Clone::clone);
        // A change set before this one may have changed what governs it.
        if let Some(row) = &mut row {
            let reign = self.find(&row.cohort.no, |changes| &changes.cohorts);
            let reign = reign
                .and_then(|no| self.reign(*no))
                .ok_or_else(unreadable)?;
            row.cohort.governing = reign.1.governing;
        }
        Ok(row)
    }

    fn put_record(
        &mut self,
        _: Option<RecordRow>,
        record: &Record,
        cohort: Cohort,
        index: &BTreeSet<(FieldName, IndexTag)>,
    ) -> Result<()> {
        let row = RecordRow {
            cohort,
            moved: false,
            revision: record.revision,
            matter: record.matter,
            tags: index.clone(),
            body: Some(Arc::new(Body {
                schema: record.schema.clone(),
                header: record.header.clone(),
                fields: write_fields(&record.fields),
            })),
        };
        let key = (record.key.subject, record.key.record);
        self.own.records.insert(key, Some(row));
        Ok(())
    }

    fn move_record(&mut self, key: &RecordKey, stored: RecordRow, to: Cohort) -> Result<()> {
        let row = RecordRow {
            cohort: to,
            moved: true,
            ..stored
        };
        let key = (key.subject, key.record);
        self.own.records.insert(key, Some(row));
        Ok(())
    }

    fn remove_record(&mut self, key: &RecordKey, _: &RecordRow) -> Result<()> {
        self.own.records.insert((key.subject, key.record), None);
        Ok(())
    }
}

fn unreadable() -> kta_core::Error {
    Broken::unreadable().in_operation(Port::Store, "commit")
}
