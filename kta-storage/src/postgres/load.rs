//! What a batch of change sets has to know before it can be judged, read under the firm's lock.

use std::collections::BTreeSet;

use kta_core::audit::Label;
use kta_core::id::{Digest, HoldId, JobId, PlacementId, RecordId, SubjectId, TenantId};
use kta_core::ports::store::{Change, Register, Sheet};
use kta_core::time::Timestamp;
use tokio_postgres::Row;

use super::fault::Broken;
use super::query;
use super::sql::{Id, Sql, column, label, maybe, number};
use super::view::{Changes, Name, RecordRow, Reign, SheetRow};
use super::writer::Work;
use crate::class::{Cohort, sheet_of};
use crate::log_page::count;
use crate::rules::LogEnd;

/// The keys of the rows that the change sets touch.
#[derive(Default)]
pub(super) struct Wanted {
    active_holds: bool,
    classes: BTreeSet<Digest>,
    holds: BTreeSet<HoldId>,
    jobs: BTreeSet<JobId>,
    placements: BTreeSet<PlacementId>,
    records: BTreeSet<(SubjectId, RecordId)>,
    sheets: BTreeSet<(Register, Label)>,
    successions: bool,
}

impl Wanted {
    pub(super) fn by<'w>(works: impl IntoIterator<Item = &'w Work>) -> Self {
        let mut wanted = Self::default();
        for work in works {
            if let Some(erasure) = &work.erasure {
                wanted.active_holds = true;
                let key = &erasure.key;
                wanted.records.insert((key.subject, key.record));
            }
            for change in &work.change.changes {
                wanted.add(change);
            }
        }
        wanted
    }

    fn add(&mut self, change: &Change) {
        match change {
            Change::Enqueue(job) => drop(self.jobs.insert(job.id)),
            Change::File { sheet, .. } => {
                self.sheets.insert((sheet.register, sheet.id.clone()));
            }
            Change::Intern(class) => {
                let sheet = Sheet::of_class(class);
                self.classes.insert(class.id());
                self.sheets.insert((sheet.register, sheet.id));
            }
            Change::PlaceHold(hold) => drop(self.holds.insert(hold.id)),
            Change::PutPlacement(placement) => drop(self.placements.insert(placement.id)),
            Change::PutRecord { record, .. } => {
                let key = &record.key;
                self.classes.insert(record.class);
                self.records.insert((key.subject, key.record));
            }
            Change::Reclass { key, to, .. } => {
                self.class(*to);
                self.records.insert((key.subject, key.record));
            }
            Change::Reinstate(class) => {
                self.successions = true;
                self.class(*class);
            }
            Change::Supersede { from, to } => {
                self.successions = true;
                self.class(*from);
                self.class(to.id());
            }
            Change::ReleaseHold { hold, .. } => drop(self.holds.insert(*hold)),
            Change::RemoveRecord(key) => {
                self.active_holds = true;
                self.records.insert((key.subject, key.record));
            }
            Change::Settle { job, .. } => drop(self.jobs.insert(*job)),
            // A removal asks nothing; what is new in the contract is refused by the rules.
            _ => {}
        }
    }

    fn class(&mut self, class: Digest) {
        self.classes.insert(class);
        // The name of a digest is a label; without one the rules refuse it.
        self.sheets.extend(sheet_of(class).ok());
    }

    /// The statements that read the rows, in the order in which [`read`](Self::read) expects
    /// what comes back.
    pub(super) fn statements(&self, tenant: TenantId) -> Vec<Sql> {
        let tenant = tenant.as_bytes();
        // The lock first; each statement after it sees what was committed before.
        let mut all = vec![
            Sql::new("SELECT size, last_at FROM kta.firm WHERE tenant = $1 FOR UPDATE").id(tenant),
            Sql::new(LAST_ROW).id(tenant),
        ];
        if !self.classes.is_empty() {
            let ids = self.classes.iter().map(|id| id.as_bytes().to_vec());
            all.push(Sql::new(LAST).id(tenant));
            all.push(Sql::new(CLASSES).id(tenant).many_bytes(ids.collect()));
        }
        if self.successions {
            let text = "SELECT max(id) FROM kta.sheet WHERE tenant = $1 AND register = $2";
            let register = Register::Successions.as_str();
            all.push(Sql::new(text).id(tenant).text(register));
        }
        if !self.records.is_empty() {
            let subjects: Vec<_> = self
                .records
                .iter()
                .map(|(s, _)| Id(*s.as_bytes()))
                .collect();
            let records: Vec<_> = self
                .records
                .iter()
                .map(|(_, r)| Id(*r.as_bytes()))
                .collect();
            for text in [RECORDS, TAGS] {
                all.push(
                    Sql::new(text)
                        .id(tenant)
                        .ids(subjects.clone())
                        .ids(records.clone()),
                );
            }
        }
        if !self.sheets.is_empty() {
            let registers = self.sheets.iter().map(|(it, _)| it.as_str().to_owned());
            let ids = self.sheets.iter().map(|(_, id)| id.as_str().to_owned());
            let sql = Sql::new(SHEETS).id(tenant);
            all.push(sql.texts(registers.collect()).texts(ids.collect()));
        }
        if !self.placements.is_empty() {
            let ids = self.placements.iter().map(|id| Id(*id.as_bytes()));
            all.push(Sql::new(PLACEMENTS).id(tenant).ids(ids.collect()));
        }
        if !self.holds.is_empty() || self.active_holds {
            let ids = self.holds.iter().map(|id| Id(*id.as_bytes())).collect();
            let sql = Sql::new(HOLDS).id(tenant).ids(ids);
            all.push(sql.with(self.active_holds, tokio_postgres::types::Type::BOOL));
        }
        if !self.jobs.is_empty() {
            let ids = self.jobs.iter().map(|id| Id(*id.as_bytes())).collect();
            let text = format!(
                "SELECT {} FROM kta.job WHERE tenant = $1 AND id = ANY($2) ORDER BY id FOR UPDATE",
                query::JOB
            );
            all.push(Sql::new(text).id(tenant).ids(ids));
        }
        all
    }

    /// Reads what came back: the rows, and where the log ends. `None` for a firm that is not
    /// entered.
    pub(super) fn read(&self, rows: &[Vec<Row>]) -> Result<Option<(Changes, LogEnd)>, Broken> {
        let mut rows = rows.iter();
        let mut next = || rows.next().map(Vec::as_slice).unwrap_or_default();
        let Some(firm) = next().first() else {
            return Ok(None);
        };
        let end = log_end(firm).ok_or(Broken::unreadable())?;
        let there = match next().first() {
            None => Some(0),
            Some(row) => number(row, 0)
                .zip(column(row, 1).and_then(count))
                .map(|(first, many)| first + many),
        };
        if there != Some(end.size) {
            return Err(Broken {
                detail: "the log does not end where its firm says",
                ..Broken::unreadable()
            });
        }
        let mut stored = Changes::default();
        if !self.classes.is_empty() {
            let last = next().first().and_then(|row| {
                let last = |at| column::<Option<i64>>(row, at).map(Option::unwrap_or_default);
                Some((last(0)?, last(1)?))
            });
            (stored.last_reign, stored.last_cohort) = last.ok_or(Broken::unreadable())?;
            for row in next() {
                class_of(row, &mut stored).ok_or(Broken::unreadable())?;
            }
        }
        if self.successions {
            let last: Option<String> = next().first().and_then(|row| column(row, 0)).flatten();
            let last = last.map(|id| id.parse()).transpose();
            stored.successions = Some(last.map_err(|_| Broken::unreadable())?.unwrap_or(0));
        }
        if !self.records.is_empty() {
            let (records, tags) = (next(), next());
            for row in records {
                record_of(row, &mut stored).ok_or(Broken::unreadable())?;
            }
            for row in tags {
                tag_of(row, &mut stored).ok_or(Broken::unreadable())?;
            }
        }
        if !self.sheets.is_empty() {
            for row in next() {
                let (id, revision) = label(row, 1)
                    .zip(number(row, 2))
                    .ok_or(Broken::unreadable())?;
                let register = column::<&str>(row, 0).unwrap_or_default();
                let key = self
                    .sheets
                    .iter()
                    .find(|(it, name)| it.as_str() == register && *name == id);
                let key = key.ok_or(Broken::unreadable())?.clone();
                let sheet = None;
                stored
                    .sheets
                    .insert(key, Some(SheetRow { revision, sheet }));
            }
        }
        if !self.placements.is_empty() {
            for placement in query::bodies::<kta_core::pii::Placement>(next())? {
                stored.placements.insert(placement.id, placement);
            }
        }
        if !self.holds.is_empty() || self.active_holds {
            for hold in query::bodies::<kta_core::retention::Hold>(next())? {
                stored.holds.insert(hold.id, hold);
            }
        }
        if !self.jobs.is_empty() {
            for row in next() {
                let job = query::job(row).ok_or(Broken::unreadable())?;
                stored.jobs.insert(job.id, job);
            }
        }
        Ok(Some((stored, end)))
    }
}

fn log_end(row: &Row) -> Option<LogEnd> {
    let at = match column::<Option<i64>>(row, 1)? {
        None => None,
        Some(at) => Some(Timestamp::from_timestamp_millis(at)?),
    };
    let size = number(row, 0)?;
    Some(LogEnd { size, at })
}

/// A class, with the reign that it is under, if it is under one, and a cohort of that.
fn class_of(row: &Row, stored: &mut Changes) -> Option<()> {
    let name = Name {
        admits: column(row, 1)?,
        reign: column(row, 2)?,
    };
    stored.names.insert(digest(row, 0)?, name);
    if let Some(reign) = name.reign {
        reign_of(row, 2, stored)?;
        let cohort: Option<i64> = column(row, 5)?;
        stored.cohorts.extend(cohort.map(|no| (no, reign)));
    }
    Some(())
}

/// The number of a reign, whose row stands in three columns.
fn reign_of(row: &Row, at: usize, stored: &mut Changes) -> Option<i64> {
    let no = column(row, at)?;
    let reign = Reign {
        governing: digest(row, at + 1)?,
        weight: column(row, at + 2)?,
    };
    stored.reigns.insert(no, Some(reign));
    Some(no)
}

fn digest(row: &Row, at: usize) -> Option<Digest> {
    let bytes: &[u8] = column(row, at)?;
    Some(Digest::from_bytes(bytes.try_into().ok()?))
}

fn record_of(row: &Row, stored: &mut Changes) -> Option<()> {
    let (Id(subject), Id(record)) = (column(row, 0)?, column(row, 1)?);
    let key = (SubjectId::from_bytes(subject), RecordId::from_bytes(record));
    let cohort = Cohort {
        no: column(row, 4)?,
        governing: digest(row, 6)?,
    };
    let reign = reign_of(row, 5, stored)?;
    stored.cohorts.insert(cohort.no, reign);
    let row = RecordRow {
        matter: maybe(row, 2, kta_core::id::MatterId::from_bytes)?,
        revision: number(row, 3)?,
        cohort,
        moved: false,
        tags: BTreeSet::new(),
        body: None,
    };
    stored.records.insert(key, Some(row));
    Some(())
}

fn tag_of(row: &Row, stored: &mut Changes) -> Option<()> {
    let (Id(subject), Id(record)) = (column(row, 0)?, column(row, 1)?);
    let key = (SubjectId::from_bytes(subject), RecordId::from_bytes(record));
    let field = kta_core::pii::FieldName::new(column::<&str>(row, 2)?).ok()?;
    let tag = kta_core::crypto::IndexTag::from_bytes(column(row, 3)?);
    let record = stored.records.get_mut(&key)?.as_mut()?;
    record.tags.insert((field, tag));
    Some(())
}

const LAST_ROW: &str = "SELECT seq, substr(bytes, 1, 2) FROM kta.entry WHERE tenant = $1
    ORDER BY seq DESC LIMIT 1";

const LAST: &str = "SELECT (SELECT max(no) FROM kta.reign WHERE tenant = $1),
    (SELECT max(no) FROM kta.cohort WHERE tenant = $1)";

const CLASSES: &str = "SELECT c.id, c.admits, g.no, g.governing, g.weight,
    (SELECT max(h.no) FROM kta.cohort h WHERE h.tenant = $1 AND h.reign = g.no)
    FROM kta.class c LEFT JOIN kta.reign g ON g.tenant = c.tenant AND g.no = c.reign
    WHERE c.tenant = $1 AND c.id = ANY($2)";

const RECORDS: &str = "SELECT r.subject, r.record, r.matter, r.revision, c.no,
    g.no, g.governing, g.weight
    FROM unnest($2::uuid[], $3::uuid[]) AS k (subject, record)
    JOIN kta.record r ON r.tenant = $1 AND r.subject = k.subject AND r.record = k.record
    LEFT JOIN kta.cohort c ON c.tenant = r.tenant AND c.no = r.cohort
    LEFT JOIN kta.reign g ON g.tenant = c.tenant AND g.no = c.reign";

const TAGS: &str = "SELECT t.subject, t.record, t.field, t.tag
    FROM unnest($2::uuid[], $3::uuid[]) AS k (subject, record)
    JOIN kta.tag t ON t.tenant = $1 AND t.subject = k.subject AND t.record = k.record";

const SHEETS: &str = "SELECT s.register, s.id, s.revision
    FROM unnest($2::text[], $3::text[]) AS k (register, id)
    JOIN kta.sheet s ON s.tenant = $1 AND s.register = k.register AND s.id = k.id";

const PLACEMENTS: &str = "SELECT body FROM kta.placement WHERE tenant = $1 AND id = ANY($2)";

const HOLDS: &str =
    "SELECT body FROM kta.hold WHERE tenant = $1 AND (id = ANY($2) OR ($3 AND active))";
