//! A change set inside a transaction.

use std::collections::BTreeSet;

use kta_core::audit::Label;
use kta_core::crypto::IndexTag;
use kta_core::id::{Digest, HoldId, JobId, MatterId, PlacementId, SubjectId, TenantId};
use kta_core::pii::{FieldName, Placement, Record, RecordKey};
use kta_core::ports::store::{ChangeSet, Committed, Job, Register, Sheet};
use kta_core::retention::Hold;
use kta_core::time::Timestamp;
use kta_core::{Code, Error, Port, Result};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::fault::{broken, corrupt};
use super::query;
use crate::class::Cohort;
use crate::form::{integer, json, millis, to_json};
use crate::journal::Payload;
use crate::posting::Posting;
use crate::row::{marks_of, read_fields, read_tags, write_fields, write_tags};
use crate::rules::{self, LogEnd, NewEntry, Rows, Stored};

/// One firm's rows, within the writer's transaction.
pub(super) struct Firm<'c> {
    pub(super) db: &'c Connection,
    pub(super) no: i64,
    pub(super) end: LogEnd,
    /// The entries of this transaction.
    pub(super) fresh: Vec<Vec<u8>>,
    /// Up to which number entries stand in pages.
    pub(super) paged: u64,
    /// Whom the entries of this transaction name.
    pub(super) named: Vec<Posting>,
    /// How many postings of the firm's have a row of their own.
    pub(super) young: u64,
    /// The number of the latest succession, once one was entered.
    succession: Option<u64>,
}

/// Applies a checked change set.
pub(super) fn commit(db: &Connection, change: &ChangeSet) -> Result<Committed> {
    let mut firm = Firm::of(db, change.tenant)?;
    let done = rules::commit(&mut firm, change)?;
    if done.entries > 0 {
        firm.keep_log()?;
    }
    Ok(done)
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
    let (mut last, mut current) = (known, None);
    for (number, payload) in frames.filter(|(number, _)| *number > known) {
        let payload = Payload::read(payload).ok_or_else(|| corrupt(Port::Store, "commit"))?;
        let tenant = TenantId::from_bytes(payload.tenant);
        let mut firm = match current.take() {
            Some((of, firm)) if of == tenant => firm,
            other => {
                other.map_or(Ok(()), |(_, mut firm): (_, Firm<'_>)| firm.keep_log())?;
                Firm::of(db, tenant)?
            }
        };
        firm.take_in(&payload)?;
        current = Some((tenant, firm));
        last = number;
    }
    let Some((_, mut firm)) = current else {
        return Ok(());
    };
    firm.keep_log()?;
    let sql = "INSERT INTO journal (id, taken) VALUES (?1, ?2)
        ON CONFLICT (id) DO UPDATE SET taken = excluded.taken";
    firm.execute(sql, params![journal, integer(last)?])
        .map(drop)
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
            no: db.last_insert_rowid(),
            end: LogEnd::default(),
            fresh: Vec::new(),
            paged: 0,
            named: Vec::new(),
            young: 0,
            succession: None,
        })
    }

    /// The firm of this tenant, if it ever wrote anything.
    pub(super) fn known(db: &'c Connection, tenant: TenantId) -> Result<Option<Self>> {
        let find = || -> rusqlite::Result<_> {
            db.prepare_cached("SELECT no, size, last_at, young, paged FROM firm WHERE tenant = ?1")?
                .query_row([tenant.as_bytes()], |row| {
                    Ok((
                        row.get(0)?,
                        row.get::<_, i64>(1)?,
                        row.get::<_, Option<i64>>(2)?,
                        row.get::<_, i64>(3)?.cast_unsigned(),
                        row.get::<_, i64>(4)?.cast_unsigned(),
                    ))
                })
                .optional()
        };
        let Some((no, size, last_at, young, paged)) = find().map_err(told())? else {
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
            no,
            end: LogEnd { size, at: last_at },
            fresh: Vec::new(),
            paged,
            named: Vec::new(),
            young,
            succession: None,
        }))
    }

    /// Enters events of a journal.
    fn take_in(&mut self, payload: &Payload<'_>) -> Result<()> {
        let at = Timestamp::from_timestamp_millis(payload.millis);
        let at = at.ok_or_else(|| corrupt(Port::Store, "commit"))?;
        let now = self.end.at.map_or(at, |last| last.max(at));
        for event in &payload.events {
            let names = event.names.iter().copied().map(SubjectId::from_bytes);
            let entry = rules::noticed(event.body, names.collect(), self.end.size, now)?;
            self.append(entry)?;
        }
        Ok(())
    }

    fn keep_log(&mut self) -> Result<()> {
        self.keep_entries()?;
        self.keep_trail()?;
        let LogEnd { size, at } = self.end;
        let (size, young, paged) = (integer(size)?, integer(self.young)?, integer(self.paged)?);
        self.execute(
            "UPDATE firm SET size = ?2, last_at = ?3, young = ?4, paged = ?5 WHERE no = ?1",
            params![self.no, size, at.map(millis), young, paged],
        )
        .map(drop)
    }

    /// Takes a record's tags away and leaves the record, unless a hold covers it.
    pub(super) fn forget_tags(&self, key: &RecordKey) -> Result<()> {
        let Some(row) = rules::free(self, key)? else {
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
             marks = CAST(mark.marks || excluded.marks AS BLOB)",
            params![self.no, placement.id.as_bytes(), row.no, turned],
        )
        .map(drop)
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

    fn insert_record(
        &self,
        record: &Record,
        cohort: Cohort,
        index: &BTreeSet<(FieldName, IndexTag)>,
    ) -> Result<i64> {
        self.execute(
            "INSERT INTO record (firm, subject, record, matter, revision, schema, cohort, header, fields, tags)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                self.no,
                record.key.subject.as_bytes(),
                record.key.record.as_bytes(),
                record.matter.as_ref().map(|id| id.as_bytes()),
                integer(record.revision)?,
                record.schema.as_str(),
                cohort.no,
                record.header,
                write_fields(&record.fields),
                write_tags(index.iter()),
            ],
        )?;
        Ok(self.db.last_insert_rowid())
    }

    /// Writes over a row, which stays in its cohort, and takes its tags away.
    fn update_record(
        &self,
        row: &RecordRow,
        record: &Record,
        index: &BTreeSet<(FieldName, IndexTag)>,
    ) -> Result<i64> {
        self.drop_tags(row)?;
        let matter = record.matter.map(|id| *id.as_bytes());
        if row.matter != matter {
            // Apart, so that what stays in its matter leaves that index alone.
            let sql = "UPDATE record SET matter = ?2 WHERE no = ?1";
            self.execute(sql, params![row.no, matter])?;
        }
        self.execute(
            "UPDATE record SET revision = ?2, schema = ?3, header = ?4, fields = ?5, tags = ?6
             WHERE no = ?1",
            params![
                row.no,
                integer(record.revision)?,
                record.schema.as_str(),
                record.header,
                write_fields(&record.fields),
                write_tags(index.iter()),
            ],
        )?;
        Ok(row.no)
    }

    fn body(&self, sql: &str, key: impl rusqlite::Params) -> Result<Option<Vec<u8>>> {
        self.first(sql, key, |row| row.get(0))
    }

    pub(super) fn first<T>(
        &self,
        sql: &str,
        key: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        let find = || -> rusqlite::Result<_> {
            self.db.prepare_cached(sql)?.query_row(key, read).optional()
        };
        find().map_err(told())
    }

    pub(super) fn all<T>(
        &self,
        sql: &str,
        key: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let find = || -> rusqlite::Result<_> {
            self.db.prepare_cached(sql)?.query_map(key, read)?.collect()
        };
        find().map_err(told())
    }

    pub(super) fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize> {
        self.db
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .map_err(told())
    }
}

impl Rows for Firm<'_> {
    type Stored = RecordRow;

    fn log_end(&self) -> LogEnd {
        self.end
    }

    fn append(&mut self, entry: NewEntry) -> Result<()> {
        if integer(entry.seq)? > query::LAST_PLACE {
            return Err(Code::AudDown.into());
        }
        self.fresh.push(entry.bytes);
        self.named.extend(entry.names.iter().map(|subject| Posting {
            subject: *subject.as_bytes(),
            seq: entry.seq,
            at: millis(entry.at),
        }));
        self.end = LogEnd {
            size: entry.seq + 1,
            at: Some(entry.at),
        };
        Ok(())
    }

    fn job(&self, id: JobId) -> Result<Option<Job>> {
        let find = || -> rusqlite::Result<_> {
            let sql = "SELECT id, kind, subject, matter, due, attempts, state, lease, leased_until,
                reason, payload FROM job WHERE firm = ?1 AND id = ?2";
            self.db
                .prepare_cached(sql)?
                .query_row(params![self.no, id.as_bytes()], query::job)
                .optional()
        };
        find().map_err(told())
    }

    fn put_job(&mut self, job: Job) -> Result<()> {
        self.write_job(&job)
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

    fn put_sheet(&mut self, sheet: &Sheet, revision: u64) -> Result<()> {
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
        )?;
        if sheet.register == Register::Successions {
            self.succession = sheet.id.as_str().parse().ok();
        }
        Ok(())
    }

    fn remove_sheet(&mut self, register: Register, id: &Label) -> Result<()> {
        self.execute(
            "DELETE FROM sheet WHERE firm = ?1 AND register = ?2 AND id = ?3",
            params![self.no, register.as_str(), id.as_str()],
        )
        .map(drop)
    }

    fn hold(&self, id: HoldId) -> Result<Option<Hold>> {
        let sql = "SELECT body FROM hold WHERE firm = ?1 AND id = ?2";
        let body = self.body(sql, params![self.no, id.as_bytes()])?;
        body.map(|body| json(&body)).transpose()
    }

    fn active_holds(&self) -> Result<Vec<Hold>> {
        query::holds(self.db, self.no, true)
            .map_err(told())?
            .iter()
            .map(|body| json(body))
            .collect()
    }

    fn put_hold(&mut self, hold: Hold) -> Result<()> {
        self.execute(
            "INSERT INTO hold (firm, id, active, body) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (firm, id) DO UPDATE SET active = excluded.active, body = excluded.body",
            params![
                self.no,
                hold.id.as_bytes(),
                hold.released.is_none(),
                to_json(&hold)?
            ],
        )
        .map(drop)
    }

    fn governs(&self, class: Digest) -> Result<Option<Digest>> {
        self.governing(class)
    }

    fn enthrone(&mut self, class: Digest) -> Result<()> {
        self.make_reign(class)
    }

    fn succeed(&mut self, from: Digest, by: Digest) -> Result<()> {
        self.hand_over(from, by)
    }

    fn cohort(&mut self, governing: Digest) -> Result<Cohort> {
        self.cohort_under(governing)
    }

    fn admit(&mut self, class: Digest, purposes: i64) -> Result<()> {
        self.set_purposes(class, purposes)
    }

    fn successions(&self) -> Result<u64> {
        if let Some(number) = self.succession {
            return Ok(number);
        }
        let find = || -> rusqlite::Result<Option<String>> {
            let sql = "SELECT max(id) FROM sheet WHERE firm = ?1 AND register = ?2";
            let key = params![self.no, Register::Successions.as_str()];
            self.db
                .prepare_cached(sql)?
                .query_row(key, |row| row.get(0))
        };
        let last = find().map_err(told())?.map(|id| id.parse());
        let last = last.transpose();
        Ok(last
            .map_err(|_| corrupt(Port::Store, "commit"))?
            .unwrap_or(0))
    }

    fn placement(&self, id: PlacementId) -> Result<Option<Placement>> {
        let sql = "SELECT body FROM placement WHERE firm = ?1 AND id = ?2";
        let body = self.body(sql, params![self.no, id.as_bytes()])?;
        body.map(|body| json(&body)).transpose()
    }

    fn put_placement(&mut self, placement: &Placement) -> Result<()> {
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

    fn record(&self, key: &RecordKey) -> Result<Option<RecordRow>> {
        let find = || -> rusqlite::Result<_> {
            let sql =
                "SELECT r.no, r.matter, r.revision, r.header, r.fields, r.tags, c.no, g.governing
                FROM record r JOIN cohort c ON c.no = r.cohort JOIN reign g ON g.no = c.reign
                WHERE r.firm = ?1 AND r.subject = ?2 AND r.record = ?3";
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
                        cohort: cohort(row, 6)?,
                    })
                })
                .optional()
        };
        find().map_err(told())
    }

    fn put_record(
        &mut self,
        over: Option<RecordRow>,
        record: &Record,
        cohort: Cohort,
        index: &BTreeSet<(FieldName, IndexTag)>,
    ) -> Result<()> {
        let no = match over {
            None => self.insert_record(record, cohort, index)?,
            Some(row) => self.update_record(&row, record, index)?,
        };
        for (field, tag) in index {
            self.execute(
                "INSERT INTO tag (firm, field, tag, record) VALUES (?1, ?2, ?3, ?4)",
                params![self.no, field.as_str(), tag.as_bytes(), no],
            )?;
        }
        Ok(())
    }

    fn move_record(&mut self, _: &RecordKey, stored: RecordRow, to: Cohort) -> Result<()> {
        let values = params![stored.no, to.no];
        self.execute("UPDATE record SET cohort = ?2 WHERE no = ?1", values)
            .map(drop)
    }

    fn remove_record(&mut self, _: &RecordKey, stored: &RecordRow) -> Result<()> {
        self.drop_tags(stored)?;
        self.execute("DELETE FROM record WHERE no = ?1", params![stored.no])
            .map(drop)
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
    cohort: Cohort,
}

impl Stored for RecordRow {
    fn cohort(&self) -> Cohort {
        self.cohort
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn matter(&self) -> Option<MatterId> {
        self.matter.map(MatterId::from_bytes)
    }
}

fn cohort(row: &Row<'_>, at: usize) -> rusqlite::Result<Cohort> {
    Ok(Cohort {
        no: row.get(at)?,
        governing: Digest::from_bytes(row.get(at + 1)?),
    })
}

fn told() -> impl Fn(rusqlite::Error) -> Error {
    broken(Port::Store, "commit")
}
