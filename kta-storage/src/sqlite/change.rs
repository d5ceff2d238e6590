//! A change set inside a transaction.

use chrono::SubsecRound as _;
use kta_core::audit::tiles::LONGEST_ENTRY;
use kta_core::audit::{Entry, Event, Label};
use kta_core::crypto::IndexTag;
use kta_core::id::{HoldId, MatterId, TenantId};
use kta_core::pii::{FieldName, Placement, Record, RecordKey};
use kta_core::ports::store::{Change, ChangeSet, Committed, Expected, Job, Register, Sheet};
use kta_core::retention::{Hold, Release};
use kta_core::time::Timestamp;
use kta_core::{Code, Error, Fault, FaultKind, Port, Refusal, Result};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::fault::{broken, corrupt};
use super::journal::Payload;
use super::query::{self, micros, millis};
use super::row::{marks_of, read_fields, read_tags, write_fields, write_tags};

/// One firm's rows, within the writer's transaction.
pub(super) struct Firm<'c> {
    db: &'c Connection,
    tenant: TenantId,
    no: i64,
    size: u64,
    last_at: Option<Timestamp>,
}

/// Applies a checked change set.
pub(super) fn commit(db: &Connection, change: &ChangeSet) -> Result<Committed> {
    let mut firm = Firm::of(db, change.tenant)?;
    let now = firm.last_at.map_or(change.at, |last| last.max(change.at));
    for change in &change.changes {
        firm.apply(change, now)?;
    }
    let first = firm.size;
    for event in &change.events {
        firm.record(event, now)?;
    }
    let entries = firm.size - first;
    if entries > 0 {
        firm.keep_log()?;
    }
    Ok(Committed {
        first: Some(first),
        entries,
    })
}

/// Enters the frames of a journal that the log has not taken yet.
pub(super) fn enter<'f>(
    db: &Connection,
    journal: &[u8; 16],
    frames: impl Iterator<Item = (u64, &'f [u8])>,
) -> Result<()> {
    let known = || -> rusqlite::Result<Option<i64>> {
        db.prepare_cached("SELECT taken FROM journal WHERE id = ?1")?
            .query_row([journal], |row| row.get(0))
            .optional()
    };
    let known = known().map_err(told())?.map_or(0, i64::cast_unsigned);
    let (mut last, mut firm) = (known, None::<Firm<'_>>);
    let mut trail = Vec::new();
    for (number, payload) in frames.filter(|(number, _)| *number > known) {
        let payload = Payload::read(payload).ok_or_else(|| corrupt(Port::Store, "commit"))?;
        let tenant = TenantId::from_bytes(payload.tenant);
        if firm.as_ref().is_none_or(|firm| firm.tenant != tenant) {
            firm.map_or(Ok(()), |firm| firm.keep_log())?;
            firm = Some(Firm::of(db, tenant)?);
        }
        if let Some(firm) = &mut firm {
            firm.take_in(&payload, &mut trail)?;
        }
        last = number;
    }
    if last == known {
        return Ok(());
    }
    firm.map_or(Ok(()), |firm| firm.keep_log())?;
    // In the order of the index: neighbours stand on one page.
    trail.sort_unstable();
    for (firm, subject, seq, at) in trail {
        name_in_trail(db, firm, &subject, seq, at)?;
    }
    let sql = "INSERT INTO journal (id, taken) VALUES (?1, ?2)
        ON CONFLICT (id) DO UPDATE SET taken = excluded.taken";
    db.prepare_cached(sql)
        .and_then(|mut statement| statement.execute(params![journal, integer(last).unwrap_or(0)]))
        .map(drop)
        .map_err(told())
}

/// A row of the trail: firm, person, number and time of the entry.
type TrailRow = (i64, [u8; 16], i64, i64);

fn name_in_trail(db: &Connection, firm: i64, subject: &[u8; 16], seq: i64, at: i64) -> Result<()> {
    let sql = "INSERT INTO trail (firm, subject, seq, at) VALUES (?1, ?2, ?3, ?4)";
    db.prepare_cached(sql)
        .and_then(|mut statement| statement.execute(params![firm, subject, seq, at]))
        .map(drop)
        .map_err(told())
}

impl<'c> Firm<'c> {
    /// The firm of this tenant, entered if it is new.
    pub(super) fn of(db: &'c Connection, tenant: TenantId) -> Result<Self> {
        if let Some(firm) = Self::known(db, tenant)? {
            return Ok(firm);
        }
        db.execute(
            "INSERT INTO firm (tenant, size) VALUES (?1, 0)",
            [tenant.as_bytes()],
        )
        .map_err(told())?;
        Ok(Self {
            db,
            tenant,
            no: db.last_insert_rowid(),
            size: 0,
            last_at: None,
        })
    }

    /// The firm of this tenant, if it ever wrote anything.
    pub(super) fn known(db: &'c Connection, tenant: TenantId) -> Result<Option<Self>> {
        let find = || -> rusqlite::Result<_> {
            db.prepare_cached("SELECT no, size, last_at FROM firm WHERE tenant = ?1")?
                .query_row([tenant.as_bytes()], |row| {
                    Ok((
                        row.get(0)?,
                        row.get::<_, i64>(1)?,
                        row.get::<_, Option<i64>>(2)?,
                    ))
                })
                .optional()
        };
        let Some((no, size, last_at)) = find().map_err(told())? else {
            return Ok(None);
        };
        let unreadable = || corrupt(Port::Store, "commit");
        let last_at = match last_at {
            None => None,
            Some(at) => Some(Timestamp::from_timestamp_millis(at).ok_or_else(unreadable)?),
        };
        let size = u64::try_from(size).map_err(|_| unreadable())?;
        Ok(Some(Self {
            db,
            tenant,
            no,
            size,
            last_at,
        }))
    }

    fn apply(&self, change: &Change, now: Timestamp) -> Result<()> {
        match change {
            Change::Enqueue(job) => match self.job(job.id.as_bytes())? {
                Some(_) => Ok(()),
                None => self.put_job(&job.clone().kept()),
            },
            Change::File { sheet, expected } => self.file(sheet, *expected),
            Change::Intern(class) => {
                let sheet = Sheet::of_class(class);
                match self.sheet_revision(sheet.register, &sheet.id)? {
                    Some(_) => Ok(()),
                    None => self.file(&sheet, Expected::Absent),
                }
            }
            Change::PlaceHold(hold) => {
                if self.hold(hold.id)?.is_some() {
                    return Err(conflict("a hold of this id was placed already"));
                }
                self.put_hold(&Hold {
                    placed_at: now,
                    ..hold.clone()
                })
            }
            Change::PutPlacement(placement) => self.put_placement(placement),
            Change::PutRecord {
                record,
                index,
                expected,
            } => self.put_record(record, index, *expected),
            Change::ReleaseHold { hold, by } => {
                let mut hold = self
                    .hold(*hold)?
                    .ok_or_else(|| missing("no hold of this id"))?;
                if hold.released.is_some() {
                    return Err(conflict("the hold was released already"));
                }
                hold.released = Some(Release { by: *by, at: now });
                self.put_hold(&hold)
            }
            Change::RemoveRecord(key) => self.remove_record(key).map(drop),
            Change::RemoveSheet(register, id) => self
                .execute(
                    "DELETE FROM sheet WHERE firm = ?1 AND register = ?2 AND id = ?3",
                    params![self.no, register.as_str(), id.as_str()],
                )
                .map(drop),
            Change::Settle {
                job,
                lease,
                outcome,
            } => {
                let mut job = self
                    .job(job.as_bytes())?
                    .ok_or_else(|| missing("no job of this id"))?;
                job.settle(*lease, *outcome, now)?;
                self.put_job(&job)
            }
            // The contract grew and this adapter did not: nothing half-done.
            _ => Err(Fault::new(FaultKind::Unsupported, Port::Store, "commit").into()),
        }
    }

    fn record(&mut self, event: &Event, now: Timestamp) -> Result<()> {
        let seq = self.append(&event.body(), now)?;
        for subject in event.names() {
            name_in_trail(self.db, self.no, subject.as_bytes(), seq, millis(now))?;
        }
        Ok(())
    }

    /// Enters events of a journal, and notes whom they name.
    fn take_in(&mut self, payload: &Payload<'_>, trail: &mut Vec<TrailRow>) -> Result<()> {
        let at = Timestamp::from_timestamp_millis(payload.millis);
        let at = at.ok_or_else(|| corrupt(Port::Store, "commit"))?;
        let now = self.last_at.map_or(at, |last| last.max(at));
        for event in &payload.events {
            let seq = self.append(event.body, now)?;
            let named = event.names.iter();
            trail.extend(named.map(|subject| (self.no, *subject, seq, millis(now))));
        }
        Ok(())
    }

    /// Appends an entry over this body; gives its number.
    fn append(&mut self, body: &[u8], now: Timestamp) -> Result<i64> {
        // As the entry has it: to the millisecond.
        let now = now.trunc_subsecs(3);
        let bytes = Entry::assembled(self.size, now, body);
        if body.is_empty() || bytes.len() > LONGEST_ENTRY {
            return Err(Refusal::new(Code::AudDown)
                .about("length", bytes.len())
                .into());
        }
        let seq = integer(self.size)?;
        if seq > query::LAST_PLACE {
            return Err(Code::AudDown.into());
        }
        let place = query::place(self.no, seq);
        self.execute(
            "INSERT INTO entry (place, bytes) VALUES (?1, ?2)",
            params![place, bytes],
        )?;
        self.size += 1;
        self.last_at = Some(now);
        Ok(seq)
    }

    fn keep_log(&self) -> Result<()> {
        let last_at = self.last_at.map(millis);
        self.execute(
            "UPDATE firm SET size = ?2, last_at = ?3 WHERE no = ?1",
            params![self.no, integer(self.size)?, last_at],
        )
        .map(drop)
    }

    fn put_record(
        &self,
        record: &Record,
        index: &[(FieldName, IndexTag)],
        expected: Expected,
    ) -> Result<()> {
        let stored = self.record_row(&record.key)?;
        let revision = stored.as_ref().map(|row| row.revision);
        expected.over(revision)?;
        if Some(record.revision) < revision {
            return Err(conflict("a later revision is stored"));
        }
        if let Some(row) = &stored {
            self.drop_tags(row)?;
        }
        let index: std::collections::BTreeSet<_> = index.iter().cloned().collect();
        self.execute(
            "INSERT INTO record (firm, subject, record, matter, revision, schema, class, header, fields, tags)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT (firm, subject, record) DO UPDATE SET matter = excluded.matter,
             revision = excluded.revision, schema = excluded.schema, class = excluded.class,
             header = excluded.header, fields = excluded.fields, tags = excluded.tags",
            params![
                self.no,
                record.key.subject.as_bytes(),
                record.key.record.as_bytes(),
                record.matter.as_ref().map(|id| id.as_bytes()),
                integer(record.revision)?,
                record.schema.as_str(),
                record.class.as_bytes(),
                record.header,
                write_fields(&record.fields),
                write_tags(index.iter()),
            ],
        )?;
        let no = stored.map_or_else(|| self.db.last_insert_rowid(), |row| row.no);
        for (field, tag) in &index {
            self.execute(
                "INSERT INTO tag (firm, field, tag, record) VALUES (?1, ?2, ?3, ?4)",
                params![self.no, field.as_str(), tag.as_bytes(), no],
            )?;
        }
        Ok(())
    }

    /// Removes a record with its tags; gives what stood there.
    pub(super) fn remove_record(&self, key: &RecordKey) -> Result<Option<RecordRow>> {
        let Some(row) = self.record_row(key)? else {
            return Ok(None);
        };
        let matter = row.matter.map(MatterId::from_bytes);
        if self
            .active_holds()?
            .iter()
            .any(|hold| hold.covers(key.subject, matter))
        {
            return Err(Code::DstHold.into());
        }
        self.drop_tags(&row)?;
        self.execute("DELETE FROM record WHERE no = ?1", params![row.no])?;
        Ok(Some(row))
    }

    /// Takes a record's tags away and leaves the record.
    pub(super) fn forget_tags(&self, key: &RecordKey) -> Result<()> {
        let Some(row) = self.record_row(key)? else {
            return Ok(());
        };
        self.drop_tags(&row)?;
        let none = write_tags([].iter());
        self.execute(
            "UPDATE record SET tags = ?2 WHERE no = ?1",
            params![row.no, none],
        )
        .map(drop)
    }

    /// Keeps by what a probe would recognise a removed row, for a placement.
    pub(super) fn keep_marks(&self, placement: &Placement, row: &RecordRow) -> Result<()> {
        let fields = read_fields(&row.fields).ok_or_else(|| corrupt(Port::Erase, "erase"))?;
        let marks = marks_of(&fields, &row.header);
        let turned: Vec<u8> = marks
            .iter()
            .flat_map(|mark| (!mark).to_be_bytes())
            .collect();
        self.execute(
            "INSERT INTO mark (firm, placement, record, marks) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (firm, placement) DO UPDATE SET record = excluded.record,
             marks = mark.marks || excluded.marks",
            params![self.no, placement.id.as_bytes(), row.no, turned],
        )
        .map(drop)
    }

    /// Leases due jobs.
    pub(super) fn lease(&self, now: Timestamp, until: Timestamp, limit: usize) -> Result<Vec<Job>> {
        let due = || -> rusqlite::Result<Vec<Job>> {
            let sql = "SELECT id, kind, subject, matter, due, attempts, state, lease, leased_until,
                reason, payload FROM job WHERE firm = ?1 AND ready <= ?2 ORDER BY due, id LIMIT ?3";
            let mut statement = self.db.prepare_cached(sql)?;
            let rows = statement.query_map(
                params![self.no, micros(now), query::limit(limit)],
                query::job,
            )?;
            rows.collect()
        };
        let mut jobs = due().map_err(broken(Port::Jobs, "lease"))?;
        for job in &mut jobs {
            job.lease_until(until);
            self.put_job(job)?;
        }
        Ok(jobs)
    }

    fn drop_tags(&self, row: &RecordRow) -> Result<()> {
        let tags = read_tags(&row.tags).ok_or_else(|| corrupt(Port::Store, "commit"))?;
        for (field, tag) in tags {
            self.execute(
                "DELETE FROM tag WHERE firm = ?1 AND field = ?2 AND tag = ?3 AND record = ?4",
                params![self.no, field.as_str(), tag.as_bytes(), row.no],
            )?;
        }
        Ok(())
    }

    fn record_row(&self, key: &RecordKey) -> Result<Option<RecordRow>> {
        let find = || -> rusqlite::Result<_> {
            let sql = "SELECT no, matter, revision, header, fields, tags FROM record
                WHERE firm = ?1 AND subject = ?2 AND record = ?3";
            let key = params![self.no, key.subject.as_bytes(), key.record.as_bytes()];
            self.db
                .prepare_cached(sql)?
                .query_row(key, |row| {
                    Ok(RecordRow {
                        no: row.get(0)?,
                        matter: row.get::<_, Option<[u8; 16]>>(1)?,
                        revision: row.get::<_, i64>(2)?.cast_unsigned(),
                        header: row.get(3)?,
                        fields: row.get(4)?,
                        tags: row.get(5)?,
                    })
                })
                .optional()
        };
        find().map_err(told())
    }

    fn put_placement(&self, placement: &Placement) -> Result<()> {
        let known: Option<Vec<u8>> = self.body(
            "SELECT body FROM placement WHERE firm = ?1 AND id = ?2",
            params![self.no, placement.id.as_bytes()],
        )?;
        if let Some(known) = known {
            query::json::<Placement>(&known)?.may_become(placement)?;
        }
        self.execute(
            "INSERT INTO placement (firm, subject, id, matter, system, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (firm, id) DO UPDATE SET matter = excluded.matter, body = excluded.body",
            params![
                self.no,
                placement.subject.as_bytes(),
                placement.id.as_bytes(),
                placement.matter.as_ref().map(|id| id.as_bytes()),
                placement.system.as_str(),
                to_json(placement)?,
            ],
        )
        .map(drop)
    }

    fn hold(&self, id: HoldId) -> Result<Option<Hold>> {
        let sql = "SELECT body FROM hold WHERE firm = ?1 AND id = ?2";
        let body = self.body(sql, params![self.no, id.as_bytes()])?;
        body.map(|body| query::json(&body)).transpose()
    }

    fn put_hold(&self, hold: &Hold) -> Result<()> {
        self.execute(
            "INSERT INTO hold (firm, id, active, body) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (firm, id) DO UPDATE SET active = excluded.active, body = excluded.body",
            params![
                self.no,
                hold.id.as_bytes(),
                hold.released.is_none(),
                to_json(hold)?
            ],
        )
        .map(drop)
    }

    fn active_holds(&self) -> Result<Vec<Hold>> {
        query::holds(self.db, self.no, true)
            .map_err(told())?
            .iter()
            .map(|body| query::json(body))
            .collect()
    }

    fn sheet_revision(&self, register: Register, id: &Label) -> Result<Option<u64>> {
        let find = || -> rusqlite::Result<Option<i64>> {
            self.db
                .prepare_cached(
                    "SELECT revision FROM sheet WHERE firm = ?1 AND register = ?2 AND id = ?3",
                )?
                .query_row(params![self.no, register.as_str(), id.as_str()], |row| {
                    row.get(0)
                })
                .optional()
        };
        Ok(find().map_err(told())?.map(i64::cast_unsigned))
    }

    fn file(&self, sheet: &Sheet, expected: Expected) -> Result<()> {
        let revision = expected.over(self.sheet_revision(sheet.register, &sheet.id)?)?;
        self.execute(
            "INSERT INTO sheet (firm, register, id, subject, matter, revision, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (firm, register, id) DO UPDATE SET subject = excluded.subject,
             matter = excluded.matter, revision = excluded.revision, body = excluded.body",
            params![
                self.no,
                sheet.register.as_str(),
                sheet.id.as_str(),
                sheet.subject.as_ref().map(|id| id.as_bytes()),
                sheet.matter.as_ref().map(|id| id.as_bytes()),
                integer(revision)?,
                sheet.body,
            ],
        )
        .map(drop)
    }

    fn job(&self, id: &[u8; 16]) -> Result<Option<Job>> {
        let find = || -> rusqlite::Result<_> {
            let sql = "SELECT id, kind, subject, matter, due, attempts, state, lease, leased_until,
                reason, payload FROM job WHERE firm = ?1 AND id = ?2";
            self.db
                .prepare_cached(sql)?
                .query_row(params![self.no, id], query::job)
                .optional()
        };
        find().map_err(told())
    }

    fn put_job(&self, job: &Job) -> Result<()> {
        self.execute(
            "INSERT INTO job (firm, id, kind, subject, matter, due, ready, attempts, state, lease,
             leased_until, reason, payload)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
             ON CONFLICT (firm, id) DO UPDATE SET due = excluded.due, ready = excluded.ready,
             attempts = excluded.attempts, state = excluded.state, lease = excluded.lease,
             leased_until = excluded.leased_until, reason = excluded.reason",
            params![
                self.no,
                job.id.as_bytes(),
                job.kind.as_str(),
                job.subject.as_ref().map(|id| id.as_bytes()),
                job.matter.as_ref().map(|id| id.as_bytes()),
                micros(job.due),
                job.ready().map(micros),
                job.attempts,
                query::state_name(job.state),
                integer(job.lease)?,
                job.leased_until.map(micros),
                job.reason.map(Code::as_str),
                job.payload,
            ],
        )
        .map(drop)
    }

    fn body(&self, sql: &str, key: impl rusqlite::Params) -> Result<Option<Vec<u8>>> {
        let find = || -> rusqlite::Result<_> {
            self.db
                .prepare_cached(sql)?
                .query_row(key, |row| row.get(0))
                .optional()
        };
        find().map_err(told())
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize> {
        self.db
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .map_err(told())
    }
}

/// A record's row as far as changing it goes.
pub(super) struct RecordRow {
    no: i64,
    matter: Option<[u8; 16]>,
    revision: u64,
    header: Vec<u8>,
    fields: Vec<u8>,
    tags: Vec<u8>,
}

fn to_json<T: serde::Serialize>(what: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(what).map_err(|_| corrupt(Port::Store, "commit"))
}

/// A number as SQLite counts: to 2^63 - 1.
fn integer(number: u64) -> Result<i64> {
    let too_large =
        Fault::new(FaultKind::Protocol, Port::Store, "commit").because("a number is too large");
    i64::try_from(number).map_err(|_| too_large.into())
}

fn told() -> impl Fn(rusqlite::Error) -> Error {
    broken(Port::Store, "commit")
}

fn conflict(detail: &'static str) -> Error {
    Fault::new(FaultKind::Conflict, Port::Store, "commit")
        .because(detail)
        .into()
}

fn missing(detail: &'static str) -> Error {
    Fault::new(FaultKind::NotFound, Port::Store, "commit")
        .because(detail)
        .into()
}
