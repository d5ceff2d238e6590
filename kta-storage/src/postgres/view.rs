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
use kta_core::policy::Purpose;
use kta_core::ports::store::{Job, Register, Sheet};
use kta_core::retention::Hold;
use kta_core::time::Timestamp;
use kta_core::{Port, Result};

use super::fault::Broken;
use super::openings::Frames;
use super::sql::Id;
use crate::class::Place;
use crate::journal::Payload;
use crate::row::write_fields;
use crate::rules::{self, LogEnd, NewEntry, Rows, Stored};

/// A row of the table of classes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClassRow {
    pub(super) id: Digest,
    pub(super) governing: Digest,
}

/// Rows by their keys; `None` where one was removed.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    pub(super) admits: BTreeSet<(&'static str, Digest)>,
    pub(super) classes: BTreeMap<i64, ClassRow>,
    pub(super) entries: Vec<NewEntry>,
    pub(super) erased: BTreeMap<(SubjectId, PlacementId), Timestamp>,
    pub(super) holds: BTreeMap<HoldId, Hold>,
    pub(super) jobs: BTreeMap<JobId, Job>,
    pub(super) placements: BTreeMap<PlacementId, Placement>,
    pub(super) records: BTreeMap<(SubjectId, RecordId), Option<RecordRow>>,
    pub(super) sheets: BTreeMap<(Register, Label), Option<SheetRow>>,
    /// The number of the latest succession, where one was asked for or entered.
    pub(super) successions: Option<u64>,
    /// A journal, and the number of its last frame in the log.
    pub(super) taken: Option<(Id, u64)>,
}

impl Changes {
    /// Takes over what a change set left.
    pub(super) fn absorb(&mut self, later: Self) {
        self.admits.extend(later.admits);
        self.classes.extend(later.classes);
        self.entries.extend(later.entries);
        self.erased.extend(later.erased);
        self.holds.extend(later.holds);
        self.jobs.extend(later.jobs);
        self.placements.extend(later.placements);
        self.records.extend(later.records);
        self.sheets.extend(later.sheets);
        self.successions = later.successions.or(self.successions);
        self.taken = later.taken.or(self.taken);
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.admits.is_empty()
            && self.classes.is_empty()
            && self.entries.is_empty()
            && self.erased.is_empty()
            && self.holds.is_empty()
            && self.jobs.is_empty()
            && self.placements.is_empty()
            && self.records.is_empty()
            && self.sheets.is_empty()
            && self.taken.is_none()
    }
}

/// A record's row.
#[derive(Clone, Debug)]
pub(super) struct RecordRow {
    pub(super) revision: u64,
    pub(super) matter: Option<MatterId>,
    pub(super) class: Place,
    /// Whether only the class is to be written.
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

    fn class(&self) -> Place {
        self.class
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
            let unreadable = || Broken::unreadable().in_operation(Port::Store, "commit");
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

    /// All classes, as this change set sees them.
    fn classes(&self) -> BTreeMap<i64, ClassRow> {
        let mut all = self.stored.classes.clone();
        all.extend(&self.before.classes);
        all.extend(&self.own.classes);
        all
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

    fn place(&self, class: Digest) -> Result<Option<Place>> {
        let layers = [&self.own, self.before, self.stored];
        let all = layers.into_iter().flat_map(|changes| &changes.classes);
        let last = all
            .filter(|(_, row)| row.id == class)
            .map(|(no, _)| *no)
            .max();
        let row = last.and_then(|no| self.find(&no, |changes| &changes.classes));
        Ok(last.zip(row).map(|(no, row)| Place {
            no,
            governing: row.governing,
        }))
    }

    fn make_place(&mut self, class: Digest) -> Result<Place> {
        let last = self.classes().into_keys().next_back();
        let no = last.unwrap_or(0) + 1;
        let (id, governing) = (class, class);
        self.own.classes.insert(no, ClassRow { id, governing });
        Ok(Place { no, governing })
    }

    fn succeed(&mut self, from: Digest, by: Digest) -> Result<()> {
        for (no, row) in self.classes() {
            if row.governing == from {
                let governing = by;
                self.own.classes.insert(no, ClassRow { governing, ..row });
            }
        }
        Ok(())
    }

    fn admit(&mut self, class: Digest, purpose: Purpose) -> Result<()> {
        self.own.admits.insert((purpose.as_str(), class));
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
        if let Some(row) = &mut row
            && let Some(class) = self.find(&row.class.no, |changes| &changes.classes)
        {
            row.class.governing = class.governing;
        }
        Ok(row)
    }

    fn put_record(
        &mut self,
        _: Option<RecordRow>,
        record: &Record,
        class: Place,
        index: &BTreeSet<(FieldName, IndexTag)>,
    ) -> Result<()> {
        let row = RecordRow {
            class,
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

    fn move_record(&mut self, key: &RecordKey, stored: RecordRow, to: Place) -> Result<()> {
        let row = RecordRow {
            class: to,
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
