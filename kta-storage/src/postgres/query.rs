//! Reading: one statement a question, so that each answer is of one moment.

use kta_core::id::{Digest, JobId, MatterId, RecordId, SubjectId, TenantId};
use kta_core::pii::{Placement, Record, RecordKey};
use kta_core::policy::Purpose;
use kta_core::ports::store::{
    HoldQuery, Job, JobState, PlacementQuery, RecordBy, RecordQuery, Sheet, SheetQuery,
};
use kta_core::retention::Hold;
use kta_core::time::Timestamp;
use kta_core::{Port, Result};
use tokio_postgres::Row;

use super::fault::Broken;
use super::session::Sessions;
use super::sql::{Id, Sql, column, label, maybe, number};
use crate::form::{
    integer, json, limit, micros, millis, millis_from, purpose_bit, state_name, state_of,
};
use crate::log_page::{count, unpack};
use crate::row::read_fields;

/// The columns of a job, in the order of [`job`].
pub(super) const JOB: &str =
    "id, kind, subject, matter, due, attempts, state, lease, leased_until, reason, payload";

/// The columns of a record, in the order of [`record_of`].
const RECORD: &str =
    "r.subject, r.record, r.matter, r.revision, r.schema, g.governing, r.header, r.fields";

/// Records with the class that governs each.
const GOVERNED: &str = "kta.record r
    JOIN kta.cohort c ON c.tenant = r.tenant AND c.no = r.cohort
    JOIN kta.reign g ON g.tenant = c.tenant AND g.no = c.reign";

pub(super) async fn record(db: &Sessions, key: &RecordKey) -> Result<Option<Record>> {
    let sql = format!(
        "SELECT {RECORD} FROM {GOVERNED}
         WHERE r.tenant = $1 AND r.subject = $2 AND r.record = $3"
    );
    let sql = Sql::new(sql)
        .id(key.tenant.as_bytes())
        .id(key.subject.as_bytes())
        .id(key.record.as_bytes());
    let rows = db.read(Port::Store, "record", key.tenant, sql).await?;
    let found = rows.first().map(|row| record_of(key.tenant, row));
    found
        .map(|record| record.ok_or_else(|| unreadable(Port::Store, "record")))
        .transpose()
}

pub(super) async fn records(db: &Sessions, query: &RecordQuery) -> Result<Vec<Record>> {
    let tags = match &query.by {
        RecordBy::Tag(..) => {
            " JOIN kta.tag t ON t.tenant = r.tenant AND t.subject = r.subject AND t.record = r.record"
        }
        _ => "",
    };
    let sql = format!("SELECT {RECORD} FROM {GOVERNED}{tags} WHERE r.tenant = $1");
    let sql = Sql::new(sql).id(query.tenant.as_bytes());
    let mut sql = match &query.by {
        RecordBy::Class(class) => and(sql, "g.governing = ").bytes(class.as_bytes()),
        RecordBy::Purpose(purpose) => admitted(sql, *purpose),
        RecordBy::Matter(matter) => and(sql, "r.matter = ").id(matter.as_bytes()),
        RecordBy::Subject(subject) => and(sql, "r.subject = ").id(subject.as_bytes()),
        RecordBy::Tag(field, tag) => {
            let sql = and(sql, "t.field = ").text(field.as_str());
            and(sql, "t.tag = ").bytes(tag.as_bytes())
        }
    };
    // A purpose that the law gives is admitted by every class.
    if let Some(purpose) = query.purpose.filter(|purpose| !purpose.is_legal()) {
        sql = admitted(sql, purpose);
    }
    if let Some(after) = query.after {
        sql = and(sql, "r.record > ").id(after.as_bytes());
    }
    sql.push(" ORDER BY r.record, r.subject");
    let rows = db
        .read(Port::Store, "records", query.tenant, most(sql, query.limit))
        .await?;
    all(&rows, |row| record_of(query.tenant, row)).ok_or_else(|| unreadable(Port::Store, "records"))
}

/// Only what a class governs that admits the purpose.
fn admitted(mut sql: Sql, purpose: Purpose) -> Sql {
    let at = sql.next();
    sql.push(&format!(
        " AND EXISTS (SELECT FROM kta.class k
           WHERE k.tenant = $1 AND k.id = g.governing AND k.admits & ${at} <> 0)"
    ));
    sql.int(purpose_bit(purpose))
}

pub(super) async fn placements(db: &Sessions, query: &PlacementQuery) -> Result<Vec<Placement>> {
    let sql = "SELECT body FROM kta.placement WHERE tenant = $1";
    let mut sql = Sql::new(sql).id(query.tenant.as_bytes());
    if let Some(subject) = query.subject {
        sql = and(sql, "subject = ").id(subject.as_bytes());
    }
    if let Some(matter) = query.matter {
        sql = and(sql, "matter = ").id(matter.as_bytes());
    }
    if let Some(system) = &query.system {
        sql = and(sql, "system = ").text(system.as_str());
    }
    if let Some(after) = query.after {
        sql = and(sql, "id > ").id(after.as_bytes());
    }
    sql.push(" ORDER BY id");
    let sql = most(sql, query.limit);
    let rows = db
        .read(Port::Store, "placements", query.tenant, sql)
        .await?;
    bodies(&rows).map_err(|broken| broken.in_operation(Port::Store, "placements"))
}

pub(super) async fn holds(db: &Sessions, query: &HoldQuery) -> Result<Vec<Hold>> {
    let active = if query.active { " AND active" } else { "" };
    let sql = format!("SELECT body FROM kta.hold WHERE tenant = $1{active} ORDER BY id");
    let sql = Sql::new(sql).id(query.tenant.as_bytes());
    let rows = db.read(Port::Store, "holds", query.tenant, sql).await?;
    let mut found: Vec<Hold> =
        bodies(&rows).map_err(|broken| broken.in_operation(Port::Store, "holds"))?;
    found.retain(|hold| query.matches(hold));
    Ok(found)
}

pub(super) async fn sheets(db: &Sessions, query: &SheetQuery) -> Result<Vec<Sheet>> {
    let sql = "SELECT id, subject, matter, revision, body FROM kta.sheet WHERE tenant = $1";
    let sql = Sql::new(sql).id(query.tenant.as_bytes());
    let mut sql = and(sql, "register = ").text(query.register.as_str());
    if let Some(id) = &query.id {
        sql = and(sql, "id = ").text(id.as_str());
    }
    if let Some(after) = &query.after {
        sql = and(sql, "id > ").text(after.as_str());
    }
    if let Some(subject) = query.subject {
        sql = and(sql, "subject = ").id(subject.as_bytes());
    }
    if let Some(matter) = query.matter {
        sql = and(sql, "matter = ").id(matter.as_bytes());
    }
    sql.push(" ORDER BY id");
    let rows = db
        .read(Port::Store, "sheets", query.tenant, most(sql, query.limit))
        .await?;
    let sheet = |row: &Row| {
        Some(Sheet {
            register: query.register,
            id: label(row, 0)?,
            subject: maybe(row, 1, SubjectId::from_bytes)?,
            matter: maybe(row, 2, MatterId::from_bytes)?,
            revision: number(row, 3)?,
            body: column(row, 4)?,
        })
    };
    all(&rows, sheet).ok_or_else(|| unreadable(Port::Store, "sheets"))
}

pub(super) async fn jobs(
    db: &Sessions,
    tenant: TenantId,
    state: Option<JobState>,
) -> Result<Vec<Job>> {
    let sql = format!("SELECT {JOB} FROM kta.job WHERE tenant = $1");
    let mut sql = Sql::new(sql).id(tenant.as_bytes());
    if let Some(state) = state {
        sql = and(sql, "state = ").text(state_name(state));
    }
    sql.push(" ORDER BY id");
    let rows = db.read(Port::Jobs, "jobs", tenant, sql).await?;
    all(&rows, job).ok_or_else(|| unreadable(Port::Jobs, "jobs"))
}

/// The statement that takes due jobs, oldest first, and passes over those that somebody else is
/// taking. Whatever is ready is due, so the index ends where nothing is.
pub(super) fn due(tenant: TenantId, now: Timestamp, limit: usize) -> Sql {
    let sql = format!(
        "SELECT {JOB} FROM kta.job WHERE tenant = $1 AND ready <= $2 AND due <= $2
         ORDER BY due, id"
    );
    let sql = Sql::new(sql).id(tenant.as_bytes()).int(micros(now));
    let mut sql = most(sql, limit);
    sql.push(" FOR UPDATE SKIP LOCKED");
    sql
}

pub(super) async fn size(db: &Sessions, tenant: TenantId) -> Result<u64> {
    let sql = Sql::new("SELECT size FROM kta.firm WHERE tenant = $1").id(tenant.as_bytes());
    let rows = db.read(Port::Ledger, "size", tenant, sql).await?;
    let size = rows.first().map(|row| number(row, 0));
    size.map_or(Ok(0), |size| {
        size.ok_or_else(|| unreadable(Port::Ledger, "size"))
    })
}

pub(super) async fn entries(
    db: &Sessions,
    tenant: TenantId,
    from: u64,
    limit: usize,
) -> Result<Vec<Vec<u8>>> {
    // Before they are read, as the log grows: so far they must be there.
    let size = size(db, tenant).await?;
    let last = from.saturating_add(limit as u64);
    let sql = Sql::new(ENTRIES)
        .id(tenant.as_bytes())
        .int(integer(from).unwrap_or(i64::MAX))
        .int(integer(last).unwrap_or(i64::MAX));
    let rows = db.read(Port::Ledger, "entries", tenant, sql).await?;
    let entries = told(&rows, from)
        .filter(|entries| from.saturating_add(entries.len() as u64) >= last.min(size))
        .ok_or_else(|| unreadable(Port::Ledger, "entries"))?;
    Ok(entries.into_iter().take(limit).collect())
}

/// The entries of rows that follow each other, from this one on.
///
/// The application may add rows. One that it added amid a page must not be read in its place, so
/// the rows before, as far back as a page may begin, have to end where the next begins.
fn told(rows: &[Row], from: u64) -> Option<Vec<Vec<u8>>> {
    let (mut entries, mut next) = (Vec::new(), None);
    for row in rows {
        let (first, bytes) = (number(row, 0)?, column::<&[u8]>(row, 1)?);
        if next.is_some_and(|next| next != first) {
            return None;
        }
        let end = first.checked_add(count(bytes)?)?;
        next = Some(end);
        if end > from {
            if entries.is_empty() && first > from {
                return None;
            }
            let before = usize::try_from(from.saturating_sub(first)).ok()?;
            entries.extend(unpack(first, bytes)?.into_iter().skip(before));
        }
    }
    Some(entries)
}

pub(super) async fn trail(
    db: &Sessions,
    tenant: TenantId,
    subject: SubjectId,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<u64>> {
    let sql = Sql::new(TRAIL)
        .id(tenant.as_bytes())
        .id(subject.as_bytes())
        .int(millis_from(from))
        .int(millis(to));
    let rows = db.read(Port::Ledger, "trail", tenant, sql).await?;
    all(&rows, |row| number(row, 0)).ok_or_else(|| unreadable(Port::Ledger, "trail"))
}

/// Whether a record is there, how many index entries lead to it, and when it was erased for a
/// placement.
pub(super) async fn traces(
    db: &Sessions,
    placement: &Placement,
    key: &RecordKey,
) -> Result<Traces> {
    let sql = "SELECT
        (SELECT count(*) FROM kta.record WHERE tenant = $1 AND subject = $2 AND record = $3),
        (SELECT count(*) FROM kta.tag WHERE tenant = $1 AND subject = $2 AND record = $3),
        (SELECT at FROM kta.erased WHERE tenant = $1 AND subject = $2 AND placement = $4)";
    let sql = Sql::new(sql)
        .id(key.tenant.as_bytes())
        .id(key.subject.as_bytes())
        .id(key.record.as_bytes())
        .id(placement.id.as_bytes());
    let rows = db.read(Port::Erase, "probe", key.tenant, sql).await?;
    let read = |row: &Row| {
        let erased = match column::<Option<i64>>(row, 2)? {
            None => None,
            Some(at) => Some(Timestamp::from_timestamp_micros(at)?),
        };
        Some(Traces {
            records: number(row, 0)?,
            tags: number(row, 1)?,
            erased,
        })
    };
    rows.first()
        .and_then(read)
        .ok_or_else(|| unreadable(Port::Erase, "probe"))
}

/// What is left of a record.
pub(super) struct Traces {
    pub(super) records: u64,
    pub(super) tags: u64,
    pub(super) erased: Option<Timestamp>,
}

/// What stands in the one column of each row as JSON.
pub(super) fn bodies<T: serde::de::DeserializeOwned>(rows: &[Row]) -> Result<Vec<T>, Broken> {
    all(rows, |row| json(column::<&[u8]>(row, 0)?).ok()).ok_or(Broken::unreadable())
}

pub(super) fn job(row: &Row) -> Option<Job> {
    let Id(id) = column(row, 0)?;
    let leased_until = match column::<Option<i64>>(row, 8)? {
        None => None,
        Some(at) => Some(Timestamp::from_timestamp_micros(at)?),
    };
    let reason = match column::<Option<&str>>(row, 9)? {
        None => None,
        Some(code) => Some(code.parse().ok()?),
    };
    Some(Job {
        id: JobId::from_bytes(id),
        kind: label(row, 1)?,
        subject: maybe(row, 2, SubjectId::from_bytes)?,
        matter: maybe(row, 3, MatterId::from_bytes)?,
        due: Timestamp::from_timestamp_micros(column(row, 4)?)?,
        attempts: number(row, 5)?.try_into().ok()?,
        state: state_of(column(row, 6)?)?,
        lease: number(row, 7)?,
        leased_until,
        reason,
        payload: column(row, 10)?,
    })
}

fn record_of(tenant: TenantId, row: &Row) -> Option<Record> {
    let (Id(subject), Id(record)) = (column(row, 0)?, column(row, 1)?);
    let class: &[u8] = column(row, 5)?;
    Some(Record {
        key: RecordKey {
            tenant,
            subject: SubjectId::from_bytes(subject),
            record: RecordId::from_bytes(record),
        },
        matter: maybe(row, 2, MatterId::from_bytes)?,
        revision: number(row, 3)?,
        schema: label(row, 4)?,
        class: Digest::from_bytes(class.try_into().ok()?),
        header: column(row, 6)?,
        fields: read_fields(column(row, 7)?)?,
    })
}

fn all<T>(rows: &[Row], read: impl Fn(&Row) -> Option<T>) -> Option<Vec<T>> {
    rows.iter().map(read).collect()
}

/// Adds a condition whose value comes next.
fn and(mut sql: Sql, condition: &str) -> Sql {
    let place = sql.next();
    sql.push(&format!(" AND {condition}${place}"));
    sql
}

fn most(mut sql: Sql, most: usize) -> Sql {
    let place = sql.next();
    sql.push(&format!(" LIMIT ${place}"));
    sql.int(limit(most))
}

fn unreadable(port: Port, operation: &'static str) -> kta_core::Error {
    Broken::unreadable().in_operation(port, operation)
}

/// The row that has an entry is the last that begins with it or before it; of the rows before that
/// one, how many entries they have.
const ENTRIES: &str = "WITH start AS (SELECT max(seq) AS seq FROM kta.entry
        WHERE tenant = $1 AND seq <= $2)
    SELECT e.seq, CASE WHEN e.seq < start.seq THEN substr(e.bytes, 1, 2) ELSE e.bytes END
    FROM kta.entry e, start WHERE e.tenant = $1 AND e.seq > $2 - 256 AND e.seq < $3
    ORDER BY e.seq";

/// Who did what with a person's data between two instants. The index has the order of the log.
pub(super) const TRAIL: &str = "SELECT seq FROM kta.trail
    WHERE tenant = $1 AND subject = $2 AND at >= $3 AND at <= $4 ORDER BY at, seq";
