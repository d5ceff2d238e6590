//! Reading: one statement a question, so that each answer is of one moment.

use kta_core::audit::Label;
use kta_core::id::{Digest, JobId, MatterId, RecordId, SubjectId, TenantId};
use kta_core::pii::{Placement, Record, RecordKey};
use kta_core::ports::store::{
    HoldQuery, Job, JobState, PlacementQuery, RecordBy, RecordQuery, Sheet, SheetQuery,
};
use kta_core::retention::Hold;
use kta_core::time::Timestamp;
use kta_core::{Port, Result};
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, named_params, params};

use super::fault::broken;
use crate::form::{json, limit, purpose_bit, state_name, state_of};
use crate::row::read_fields;

pub(super) fn record(db: &Connection, key: &RecordKey) -> Result<Option<Record>> {
    let sql = "SELECT r.subject, r.record, r.matter, r.revision, r.schema, g.governing, r.header, r.fields
        FROM record r JOIN cohort c ON c.no = r.cohort JOIN reign g ON g.no = c.reign
        WHERE r.firm = (SELECT no FROM firm WHERE tenant = ?1) AND r.subject = ?2 AND r.record = ?3";
    let find = || {
        let key_of = params![
            key.tenant.as_bytes(),
            key.subject.as_bytes(),
            key.record.as_bytes()
        ];
        db.prepare_cached(sql)?
            .query_row(key_of, |row| record_of(key.tenant, row))
            .optional()
    };
    find().map_err(broken(Port::Store, "record"))
}

pub(super) fn records(db: &Connection, query: &RecordQuery) -> Result<Vec<Record>> {
    let sql = records_sql(query);
    let (name, by): (Option<&str>, Option<&[u8]>) = match &query.by {
        RecordBy::Class(class) => (None, Some(class.as_bytes())),
        RecordBy::Matter(matter) => (None, Some(matter.as_bytes())),
        RecordBy::Purpose(_) => (None, None),
        RecordBy::Subject(subject) => (None, Some(subject.as_bytes())),
        RecordBy::Tag(field, tag) => (Some(field.as_str()), Some(tag.as_bytes())),
    };
    let of = match &query.by {
        RecordBy::Purpose(purpose) => Some(purpose_bit(*purpose)),
        _ => None,
    };
    let after = query.after.as_ref().map(|id| id.as_bytes());
    let (purpose, most) = (query.purpose.map(purpose_bit), limit(query.limit));
    let values = named(
        &sql,
        &[
            (":tenant", query.tenant.as_bytes()),
            (":name", &name),
            (":by", &by),
            (":of", &of),
            (":purpose", &purpose),
            (":after", &after),
            (":limit", &most),
        ],
    );
    let find = || -> rusqlite::Result<Vec<Record>> {
        let mut statement = db.prepare_cached(&sql)?;
        let rows = statement.query_map(&values[..], |row| record_of(query.tenant, row))?;
        let mut found: Vec<Record> = rows.collect::<rusqlite::Result<_>>()?;
        if is_whole(query) {
            found.sort_unstable_by_key(|it| (it.key.record, it.key.subject));
        }
        Ok(found)
    };
    find().map_err(broken(Port::Store, "records"))
}

/// Whether all that a class or a purpose has is asked for: nothing is gained then from finding
/// out first what belongs to a page.
const fn is_whole(query: &RecordQuery) -> bool {
    let many = matches!(query.by, RecordBy::Class(_) | RecordBy::Purpose(_));
    many && query.after.is_none() && query.limit == usize::MAX
}

pub(super) fn records_sql(query: &RecordQuery) -> String {
    let columns = "SELECT r.subject, r.record, r.matter, r.revision, r.schema, g.governing,
        r.header, r.fields";
    let governed = "JOIN cohort c ON c.no = r.cohort JOIN reign g ON g.no = c.reign";
    let firm = "(SELECT no FROM firm WHERE tenant = :tenant)";
    let admits = |purpose: &str| {
        format!(
            "(SELECT k.admits & {purpose} FROM class k WHERE k.firm = g.firm AND k.id = g.governing)"
        )
    };
    // A purpose that the law gives is admitted by every class.
    let purpose = query.purpose.filter(|purpose| !purpose.is_legal());
    let admitted = purpose.map_or_else(|| "true".to_owned(), |_| admits(":purpose"));
    // Only where there is one: a condition that could also be none bounds no index.
    let after = |condition: &'static str| query.after.map_or("", |_| condition);
    let of_ids = after("AND r.record > :after");
    let by_id = "ORDER BY r.record, r.subject LIMIT :limit";
    // These indexes have what the ids begin with: that leads to the page, and the ids say the rest.
    let of_heads =
        after("AND substr(r.record, 1, 4) >= substr(:after, 1, 4) AND r.record > :after");
    let by_head = "ORDER BY substr(r.record, 1, 4), r.record, r.subject LIMIT :limit";
    // Several cohorts may be under one reign: of each the first rows of the page, from the index,
    // and of these the page.
    let of_reigns = |reigns: &str| {
        let of_firm = format!("g.firm = {firm} AND {reigns} AND {admitted}");
        if is_whole(query) {
            return format!(
                "{columns} FROM reign g CROSS JOIN cohort c ON c.firm = g.firm AND c.reign = g.no
                 CROSS JOIN record r ON r.firm = c.firm AND r.cohort = c.no WHERE {of_firm}"
            );
        }
        format!(
            "WITH page AS MATERIALIZED (SELECT r.no AS no, g.governing AS governing FROM reign g
                 CROSS JOIN cohort c ON c.firm = g.firm AND c.reign = g.no
                 CROSS JOIN record r ON r.no IN (SELECT r.no FROM record r
                     WHERE r.firm = c.firm AND r.cohort = c.no {of_heads} {by_head})
             WHERE {of_firm} {by_id})
             {columns} FROM page g JOIN record r ON r.no = g.no ORDER BY r.record, r.subject"
        )
    };
    let of_rows = |rows: &str, which: &str, page: &str| {
        format!("{columns} FROM {rows} {governed} WHERE {which} AND {admitted} {page}")
    };
    let (ids, heads) = (format!("{of_ids} {by_id}"), format!("{of_heads} {by_head}"));
    match &query.by {
        RecordBy::Class(_) => of_reigns("g.governing = :by"),
        RecordBy::Matter(_) => {
            let which = format!("r.firm = {firm} AND r.matter = :by");
            of_rows("record r", &which, &heads)
        }
        RecordBy::Purpose(_) => of_reigns(&admits(":of")),
        RecordBy::Subject(_) => {
            let which = format!("r.firm = {firm} AND r.subject = :by");
            of_rows("record r", &which, &ids)
        }
        RecordBy::Tag(..) => of_rows(
            "tag t JOIN record r ON r.no = t.record",
            &format!("t.firm = {firm} AND t.field = :name AND t.tag = :by"),
            &ids,
        ),
    }
}

pub(super) fn placements(db: &Connection, query: &PlacementQuery) -> Result<Vec<Placement>> {
    let sql = placements_sql(query);
    let (subject, matter) = (
        query.subject.map(|id| *id.as_bytes()),
        query.matter.map(|id| *id.as_bytes()),
    );
    let system = query.system.as_ref().map(Label::as_str);
    let after = query.after.map(|id| *id.as_bytes());
    let most = limit(query.limit);
    let values = named(
        &sql,
        &[
            (":tenant", query.tenant.as_bytes()),
            (":subject", &subject),
            (":matter", &matter),
            (":system", &system),
            (":after", &after),
            (":limit", &most),
        ],
    );
    bodies(db, &sql, &values)
        .map_err(broken(Port::Store, "placements"))?
        .iter()
        .map(|body| json(body))
        .collect()
}

pub(super) fn placements_sql(query: &PlacementQuery) -> String {
    let mut sql = String::from(
        "SELECT body FROM placement WHERE firm = (SELECT no FROM firm WHERE tenant = :tenant)",
    );
    for (asked, condition) in [
        (query.subject.is_some(), " AND subject = :subject"),
        (query.matter.is_some(), " AND matter = :matter"),
        (query.system.is_some(), " AND system = :system"),
        (query.after.is_some(), " AND id > :after"),
    ] {
        if asked {
            sql.push_str(condition);
        }
    }
    sql.push_str(" ORDER BY id LIMIT :limit");
    sql
}

/// The values that a statement names.
fn named<'v>(
    sql: &str,
    values: &[(&'static str, &'v dyn ToSql)],
) -> Vec<(&'static str, &'v dyn ToSql)> {
    let in_it = |(name, _): &&(&'static str, &'v dyn ToSql)| sql.contains(name);
    values.iter().filter(in_it).copied().collect()
}

/// The bodies of a firm's holds, in the order of their ids.
pub(super) fn holds(db: &Connection, firm: i64, active: bool) -> rusqlite::Result<Vec<Vec<u8>>> {
    let sql = "SELECT body FROM hold WHERE firm = :firm AND active >= :active ORDER BY id";
    bodies(db, sql, named_params! { ":firm": firm, ":active": active })
}

pub(super) fn held(db: &Connection, query: &HoldQuery) -> Result<Vec<Hold>> {
    let find = || -> rusqlite::Result<_> {
        match firm(db, query.tenant)? {
            Some(firm) => holds(db, firm, query.active),
            None => Ok(Vec::new()),
        }
    };
    let bodies = find().map_err(broken(Port::Store, "holds"))?;
    let mut found: Vec<Hold> = bodies
        .iter()
        .map(|body| json(body))
        .collect::<Result<_>>()?;
    found.retain(|hold| query.matches(hold));
    Ok(found)
}

pub(super) fn sheets(db: &Connection, query: &SheetQuery) -> Result<Vec<Sheet>> {
    let mut sql = String::from(
        "SELECT id, subject, matter, revision, body FROM sheet
         WHERE firm = (SELECT no FROM firm WHERE tenant = :tenant) AND register = :register",
    );
    let register = query.register.as_str();
    let (subject, matter) = (
        query.subject.map(|id| *id.as_bytes()),
        query.matter.map(|id| *id.as_bytes()),
    );
    let (id, after) = (
        query.id.as_ref().map(Label::as_str),
        query.after.as_ref().map(Label::as_str),
    );
    let most = limit(query.limit);
    let mut values: Vec<(&str, &dyn ToSql)> = vec![
        (":tenant", query.tenant.as_bytes()),
        (":register", &register),
        (":limit", &most),
    ];
    let mut narrow = |condition: &str, name: &'static str, value| {
        sql.push_str(condition);
        values.push((name, value));
    };
    if id.is_some() {
        narrow(" AND id = :id", ":id", &id);
    }
    if after.is_some() {
        narrow(" AND id > :after", ":after", &after);
    }
    if subject.is_some() {
        narrow(" AND subject = :subject", ":subject", &subject);
    }
    if matter.is_some() {
        narrow(" AND matter = :matter", ":matter", &matter);
    }
    sql.push_str(" ORDER BY id LIMIT :limit");
    let find = || -> rusqlite::Result<Vec<Sheet>> {
        let mut statement = db.prepare_cached(&sql)?;
        let rows = statement.query_map(&values[..], |row| {
            Ok(Sheet {
                register: query.register,
                id: label(row, 0)?,
                subject: row
                    .get::<_, Option<[u8; 16]>>(1)?
                    .map(SubjectId::from_bytes),
                matter: row.get::<_, Option<[u8; 16]>>(2)?.map(MatterId::from_bytes),
                revision: row.get::<_, i64>(3)?.cast_unsigned(),
                body: row.get(4)?,
            })
        })?;
        rows.collect()
    };
    find().map_err(broken(Port::Store, "sheets"))
}

pub(super) fn jobs(db: &Connection, tenant: TenantId, state: Option<JobState>) -> Result<Vec<Job>> {
    let sql = "SELECT id, kind, subject, matter, due, attempts, state, lease, leased_until, reason,
        payload FROM job WHERE firm = (SELECT no FROM firm WHERE tenant = ?1)
        AND (?2 IS NULL OR state = ?2) ORDER BY id";
    let find = || -> rusqlite::Result<Vec<Job>> {
        let mut statement = db.prepare_cached(sql)?;
        statement
            .query_map(params![tenant.as_bytes(), state.map(state_name)], job)?
            .collect()
    };
    find().map_err(broken(Port::Jobs, "jobs"))
}

pub(super) fn size(db: &Connection, tenant: TenantId) -> Result<u64> {
    let find = || -> rusqlite::Result<Option<i64>> {
        let sql = "SELECT size FROM firm WHERE tenant = ?1";
        db.prepare_cached(sql)?
            .query_row([tenant.as_bytes()], |row| row.get(0))
            .optional()
    };
    Ok(find()
        .map_err(broken(Port::Ledger, "size"))?
        .map_or(0, i64::cast_unsigned))
}

/// Whether a record is there and how many index entries lead to it or, when it was removed for
/// this placement, still lead to where it was.
///
/// It reads all of the blind index, which is ordered by tag: whoever calls it does so aside. A
/// record's own word on its tags would be found at once, but that is what is to be proved; after
/// an erasure it says that there are none. To keep the tags with the marks would be to keep what
/// must be gone. A second index, by record, would be as large as the first, to spare reading a
/// part of the file to a probe that reads all of it.
pub(super) fn traces(db: &Connection, placement: &Placement, key: &RecordKey) -> Result<Traces> {
    let find = || -> rusqlite::Result<Traces> {
        let row = db
            .query_row(
                "SELECT no FROM record WHERE firm = (SELECT no FROM firm WHERE tenant = ?1)
                 AND subject = ?2 AND record = ?3",
                params![
                    key.tenant.as_bytes(),
                    key.subject.as_bytes(),
                    key.record.as_bytes()
                ],
                |row| row.get::<_, i64>(0),
            )
            .optional()?;
        // The row's number may have gone to another record since; then the tags are its own.
        let gone = db
            .query_row(
                "SELECT record FROM mark WHERE firm = (SELECT no FROM firm WHERE tenant = ?1)
                 AND placement = ?2 AND record NOT IN (SELECT no FROM record)",
                params![placement.tenant.as_bytes(), placement.id.as_bytes()],
                |row| row.get::<_, i64>(0),
            )
            .optional()?;
        let tags = db.query_row(
            "SELECT count(*) FROM tag WHERE record IN (?1, ?2)",
            [row, gone],
            |row| row.get(0),
        )?;
        Ok(Traces {
            record: row.is_some(),
            tags,
        })
    };
    find().map_err(broken(Port::Erase, "probe"))
}

/// What is left of a record.
pub(super) struct Traces {
    pub(super) record: bool,
    pub(super) tags: u32,
}

/// By what to recognise the bytes of what was removed for a placement.
pub(super) fn marks(db: &Connection, placement: &Placement) -> Result<Vec<u128>> {
    let find = || -> rusqlite::Result<Option<Vec<u8>>> {
        db.query_row(
            "SELECT marks FROM mark WHERE firm = (SELECT no FROM firm WHERE tenant = ?1)
             AND placement = ?2",
            params![placement.tenant.as_bytes(), placement.id.as_bytes()],
            |row| row.get(0),
        )
        .optional()
    };
    let marks = find().map_err(broken(Port::Erase, "probe"))?;
    let marks = marks.unwrap_or_default();
    let (marks, _) = marks.as_chunks::<16>();
    let turned = marks.iter().map(|mark| !u128::from_be_bytes(*mark));
    Ok(turned.collect())
}

/// The number under which a tenant's rows stand.
pub(super) fn firm(db: &Connection, tenant: TenantId) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT no FROM firm WHERE tenant = ?1";
    db.prepare_cached(sql)?
        .query_row([tenant.as_bytes()], |row| row.get(0))
        .optional()
}

fn bodies(
    db: &Connection,
    sql: &str,
    values: &[(&str, &dyn ToSql)],
) -> rusqlite::Result<Vec<Vec<u8>>> {
    let mut statement = db.prepare_cached(sql)?;
    statement.query_map(values, |row| row.get(0))?.collect()
}

fn record_of(tenant: TenantId, row: &Row<'_>) -> rusqlite::Result<Record> {
    let key = RecordKey {
        tenant,
        subject: SubjectId::from_bytes(row.get(0)?),
        record: RecordId::from_bytes(row.get(1)?),
    };
    let fields = row
        .get_ref(7)?
        .as_blob()
        .map_err(|error| unreadable(7, error))?;
    Ok(Record {
        key,
        matter: row.get::<_, Option<[u8; 16]>>(2)?.map(MatterId::from_bytes),
        revision: row.get::<_, i64>(3)?.cast_unsigned(),
        schema: label(row, 4)?,
        class: Digest::from_bytes(row.get(5)?),
        header: row.get(6)?,
        fields: read_fields(fields).ok_or_else(|| unreadable(7, FromSqlError::InvalidType))?,
    })
}

pub(super) fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    let at = |column| -> rusqlite::Result<Option<Timestamp>> {
        let Some(micros) = row.get::<_, Option<i64>>(column)? else {
            return Ok(None);
        };
        let at = Timestamp::from_timestamp_micros(micros);
        at.map(Some)
            .ok_or_else(|| unreadable(column, FromSqlError::OutOfRange(micros)))
    };
    let state = row.get_ref(6)?.as_str().ok().and_then(state_of);
    let reason = row.get::<_, Option<String>>(9)?.map(|code| code.parse());
    Ok(Job {
        id: JobId::from_bytes(row.get(0)?),
        kind: label(row, 1)?,
        subject: row
            .get::<_, Option<[u8; 16]>>(2)?
            .map(SubjectId::from_bytes),
        matter: row.get::<_, Option<[u8; 16]>>(3)?.map(MatterId::from_bytes),
        due: at(4)?.ok_or_else(|| unreadable(4, FromSqlError::InvalidType))?,
        attempts: row.get(5)?,
        state: state.ok_or_else(|| unreadable(6, FromSqlError::InvalidType))?,
        lease: row.get::<_, i64>(7)?.cast_unsigned(),
        leased_until: at(8)?,
        reason: reason
            .transpose()
            .map_err(|_| unreadable(9, FromSqlError::InvalidType))?,
        payload: row.get(10)?,
    })
}

fn label(row: &Row<'_>, column: usize) -> rusqlite::Result<Label> {
    Label::new(row.get::<_, String>(column)?)
        .map_err(|_| unreadable(column, FromSqlError::InvalidType))
}

pub(super) fn unreadable(column: usize, error: FromSqlError) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error))
}

/// Where an entry stands in the table of all firms' logs.
pub(super) const fn place(firm: i64, seq: i64) -> i64 {
    firm << 40 | seq
}

/// The highest sequence number that a place can hold: a million million entries.
pub(super) const LAST_PLACE: i64 = (1 << 40) - 1;
