//! What a batch of change sets has to know before it can be judged, read under the firm's lock.

use std::collections::BTreeSet;

use kta_core::audit::Label;
use kta_core::id::{HoldId, JobId, PlacementId, RecordId, SubjectId, TenantId};
use kta_core::ports::store::{Change, Register, Sheet};
use kta_core::time::Timestamp;
use tokio_postgres::Row;

use super::fault::Broken;
use super::query;
use super::sql::{Id, Sql, column, label, maybe, number};
use super::view::{Changes, RecordRow, SheetRow};
use super::writer::Work;
use crate::rules::LogEnd;

/// The keys of the rows that the change sets touch.
#[derive(Default)]
pub(super) struct Wanted {
    active_holds: bool,
    holds: BTreeSet<HoldId>,
    jobs: BTreeSet<JobId>,
    placements: BTreeSet<PlacementId>,
    records: BTreeSet<(SubjectId, RecordId)>,
    sheets: BTreeSet<(Register, Label)>,
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
                self.sheets.insert((sheet.register, sheet.id));
            }
            Change::PlaceHold(hold) => drop(self.holds.insert(hold.id)),
            Change::PutPlacement(placement) => drop(self.placements.insert(placement.id)),
            Change::PutRecord { record, .. } => {
                let key = &record.key;
                self.records.insert((key.subject, key.record));
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

    /// The statements that read the rows, in the order in which [`read`](Self::read) expects
    /// what comes back.
    pub(super) fn statements(&self, tenant: TenantId) -> Vec<Sql> {
        let tenant = tenant.as_bytes();
        // The lock first; each statement after it sees what was committed before.
        let mut all = vec![
            Sql::new("SELECT size, last_at FROM kta.firm WHERE tenant = $1 FOR UPDATE").id(tenant),
            Sql::new("SELECT max(seq) FROM kta.entry WHERE tenant = $1").id(tenant),
        ];
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
        let last: Option<i64> = next()
            .first()
            .and_then(|row| column(row, 0))
            .ok_or(Broken::unreadable())?;
        let there = last.map_or(0, |seq| seq.unsigned_abs() + 1);
        if there != end.size {
            return Err(Broken {
                detail: "the log does not end where its firm says",
                ..Broken::unreadable()
            });
        }
        let mut stored = Changes::default();
        if !self.records.is_empty() {
            let (records, tags) = (next(), next());
            for row in records {
                let (key, record) = record_of(row).ok_or(Broken::unreadable())?;
                stored.records.insert(key, Some(record));
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

fn record_of(row: &Row) -> Option<((SubjectId, RecordId), RecordRow)> {
    let (Id(subject), Id(record)) = (column(row, 0)?, column(row, 1)?);
    let key = (SubjectId::from_bytes(subject), RecordId::from_bytes(record));
    let row = RecordRow {
        matter: maybe(row, 2, kta_core::id::MatterId::from_bytes)?,
        revision: number(row, 3)?,
        tags: BTreeSet::new(),
        body: None,
    };
    Some((key, row))
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

const RECORDS: &str = "SELECT r.subject, r.record, r.matter, r.revision
    FROM unnest($2::uuid[], $3::uuid[]) AS k (subject, record)
    JOIN kta.record r ON r.tenant = $1 AND r.subject = k.subject AND r.record = k.record";

const TAGS: &str = "SELECT t.subject, t.record, t.field, t.tag
    FROM unnest($2::uuid[], $3::uuid[]) AS k (subject, record)
    JOIN kta.tag t ON t.tenant = $1 AND t.subject = k.subject AND t.record = k.record";

const SHEETS: &str = "SELECT s.register, s.id, s.revision
    FROM unnest($2::text[], $3::text[]) AS k (register, id)
    JOIN kta.sheet s ON s.tenant = $1 AND s.register = k.register AND s.id = k.id";

const PLACEMENTS: &str = "SELECT body FROM kta.placement WHERE tenant = $1 AND id = ANY($2)";

const HOLDS: &str =
    "SELECT body FROM kta.hold WHERE tenant = $1 AND (id = ANY($2) OR ($3 AND active))";
