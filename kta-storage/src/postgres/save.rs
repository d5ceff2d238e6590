//! The statements that write what a batch left: one a table, whatever the number of rows.

use std::collections::BTreeSet;

use kta_core::crypto::IndexTag;
use kta_core::id::{MatterId, RecordId, SubjectId, TenantId};
use kta_core::pii::FieldName;
use kta_core::ports::store::Job;
use kta_core::{Code, Port, Result};
use tokio_postgres::types::Type;

use super::sql::{Id, Sql};
use super::view::{Changes, RecordRow};
use crate::form::{corrupt, integer, micros, millis, state_name, to_json};
use crate::log_page::pack;
use crate::rules::LogEnd;

/// All statements of a batch but the last.
pub(super) fn statements(
    tenant: TenantId,
    stored: &Changes,
    left: &Changes,
    end: LogEnd,
) -> Result<Vec<Sql>> {
    let mut all = Vec::new();
    classes(&mut all, tenant, left);
    records(&mut all, tenant, stored, left)?;
    joins(&mut all, tenant, left);
    sheets(&mut all, tenant, left)?;
    placements(&mut all, tenant, left)?;
    holds(&mut all, tenant, left)?;
    if !left.jobs.is_empty() {
        all.push(jobs(tenant, left.jobs.values())?);
    }
    entries(&mut all, tenant, left, end)?;
    erased(&mut all, tenant, left);
    if let Some((Id(journal), taken)) = left.taken {
        let sql = Sql::new(TAKEN).id(tenant.as_bytes()).id(&journal);
        all.push(sql.int(integer(taken)?));
    }
    Ok(all)
}

/// Writes jobs, new ones and ones that are there.
pub(super) fn jobs<'j>(
    tenant: TenantId,
    jobs: impl Iterator<Item = &'j Job> + Clone,
) -> Result<Sql> {
    let leases = jobs.clone().map(|job| integer(job.lease));
    let reasons = jobs
        .clone()
        .map(|job| job.reason.map(|code| code.as_str().to_owned()));
    Ok(Sql::new(JOBS)
        .id(tenant.as_bytes())
        .ids(jobs.clone().map(|job| Id(*job.id.as_bytes())).collect())
        .texts(jobs.clone().map(|job| job.kind.to_string()).collect())
        .maybe_ids(jobs.clone().map(|job| subject_id(job.subject)).collect())
        .maybe_ids(jobs.clone().map(|job| matter_id(job.matter)).collect())
        .ints(jobs.clone().map(|job| micros(job.due)).collect())
        .maybe_ints(jobs.clone().map(|job| job.ready().map(micros)).collect())
        .ints(jobs.clone().map(|job| job.attempts.into()).collect())
        .texts(
            jobs.clone()
                .map(|job| state_name(job.state).to_owned())
                .collect(),
        )
        .ints(leases.collect::<Result<_>>()?)
        .maybe_ints(
            jobs.clone()
                .map(|job| job.leased_until.map(micros))
                .collect(),
        )
        .with(reasons.collect::<Vec<_>>(), Type::TEXT_ARRAY)
        .many_bytes(jobs.map(|job| job.payload.clone()).collect()))
}

/// What governs what, but for what joined, which waits until the records are written.
fn classes(all: &mut Vec<Sql>, tenant: TenantId, left: &Changes) {
    let tenant = tenant.as_bytes();
    let gone = left.reigns.iter().filter(|(_, reign)| reign.is_none());
    let gone: Vec<_> = gone.map(|(no, _)| *no).collect();
    if !gone.is_empty() {
        all.push(Sql::new(DELETE_REIGNS).id(tenant).ints(gone));
    }
    let reigns = || {
        left.reigns
            .iter()
            .filter_map(|(no, it)| Some((*no, (*it)?)))
    };
    if reigns().next().is_some() {
        let governing = reigns().map(|(_, reign)| reign.governing.as_bytes().to_vec());
        all.push(
            Sql::new(REIGNS)
                .id(tenant)
                .ints(reigns().map(|(no, _)| no).collect())
                .many_bytes(governing.collect())
                .ints(reigns().map(|(_, reign)| reign.weight).collect()),
        );
    }
    if !left.names.is_empty() {
        let ids = left.names.keys().map(|id| id.as_bytes().to_vec());
        all.push(
            Sql::new(CLASSES)
                .id(tenant)
                .many_bytes(ids.collect())
                .maybe_ints(left.names.values().map(|name| name.reign).collect())
                .ints(left.names.values().map(|name| name.admits).collect()),
        );
    }
    if !left.cohorts.is_empty() {
        all.push(
            Sql::new(COHORTS)
                .id(tenant)
                .ints(left.cohorts.keys().copied().collect())
                .ints(left.cohorts.values().copied().collect()),
        );
    }
}

/// What was under reigns that joined others. Cohorts in which nobody is are not kept.
fn joins(all: &mut Vec<Sql>, tenant: TenantId, left: &Changes) {
    let end = |mut no: i64| {
        while let Some(joined) = left.joins.get(&no) {
            no = *joined;
        }
        no
    };
    let leave = || left.joins.keys().copied().collect::<Vec<_>>();
    if !left.joins.is_empty() {
        all.push(Sql::new(DELETE_COHORTS).id(tenant.as_bytes()).ints(leave()));
        for sql in [JOIN_COHORTS, JOIN_CLASSES] {
            let stay = left.joins.values().map(|no| end(*no)).collect();
            let sql = Sql::new(sql).id(tenant.as_bytes());
            all.push(sql.ints(leave()).ints(stay));
        }
    }
}

fn records(all: &mut Vec<Sql>, tenant: TenantId, stored: &Changes, left: &Changes) -> Result<()> {
    type Key = (SubjectId, RecordId);
    let none = BTreeSet::new();
    let (mut gone, mut lost_tags, mut new_tags) = (Vec::new(), Vec::new(), Vec::new());
    let mut written: Vec<(&Key, &RecordRow)> = Vec::new();
    let mut moved: Vec<(&Key, &RecordRow)> = Vec::new();
    for (key, row) in &left.records {
        let before = stored.records.get(key).and_then(Option::as_ref);
        let had = before.map_or(&none, |row| &row.tags);
        let has = row.as_ref().map_or(&none, |row| &row.tags);
        lost_tags.extend(had.difference(has).map(|tag| (key, tag)));
        new_tags.extend(has.difference(had).map(|tag| (key, tag)));
        match row {
            Some(row) if row.body.is_some() => written.push((key, row)),
            Some(row) if row.moved => moved.push((key, row)),
            None if before.is_some() => gone.push(key),
            _ => {}
        }
    }
    let (subject, record) = (
        |(subject, _): &Key| Id(*subject.as_bytes()),
        |(_, record): &Key| Id(*record.as_bytes()),
    );
    let tagged = |sql: &'static str, tags: Vec<(&Key, &(FieldName, IndexTag))>| {
        let fields = tags.iter().map(|(_, (field, _))| field.as_str().to_owned());
        let bytes = tags.iter().map(|(_, (_, tag))| tag.as_bytes().to_vec());
        Sql::new(sql)
            .id(tenant.as_bytes())
            .texts(fields.collect())
            .many_bytes(bytes.collect())
            .ids(tags.iter().map(|(key, _)| subject(key)).collect())
            .ids(tags.iter().map(|(key, _)| record(key)).collect())
    };
    if !lost_tags.is_empty() {
        all.push(tagged(DELETE_TAGS, lost_tags));
    }
    if !gone.is_empty() {
        all.push(
            Sql::new(DELETE_RECORDS)
                .id(tenant.as_bytes())
                .ids(gone.iter().map(|key| subject(key)).collect())
                .ids(gone.iter().map(|key| record(key)).collect()),
        );
    }
    if !written.is_empty() {
        let revisions = written.iter().map(|(_, row)| integer(row.revision));
        let bodies = || written.iter().filter_map(|(_, row)| row.body.as_ref());
        all.push(
            Sql::new(RECORDS)
                .id(tenant.as_bytes())
                .ids(written.iter().map(|(key, _)| subject(key)).collect())
                .ids(written.iter().map(|(key, _)| record(key)).collect())
                .maybe_ids(
                    written
                        .iter()
                        .map(|(_, row)| matter_id(row.matter))
                        .collect(),
                )
                .ints(revisions.collect::<Result<_>>()?)
                .texts(bodies().map(|body| body.schema.to_string()).collect())
                .ints(written.iter().map(|(_, row)| row.cohort.no).collect())
                .many_bytes(bodies().map(|body| body.header.clone()).collect())
                .many_bytes(bodies().map(|body| body.fields.clone()).collect()),
        );
    }
    if !moved.is_empty() {
        all.push(
            Sql::new(MOVES)
                .id(tenant.as_bytes())
                .ids(moved.iter().map(|(key, _)| subject(key)).collect())
                .ids(moved.iter().map(|(key, _)| record(key)).collect())
                .ints(moved.iter().map(|(_, row)| row.cohort.no).collect()),
        );
    }
    if !new_tags.is_empty() {
        all.push(tagged(TAGS, new_tags));
    }
    Ok(())
}

fn sheets(all: &mut Vec<Sql>, tenant: TenantId, left: &Changes) -> Result<()> {
    let gone = || left.sheets.iter().filter(|(_, row)| row.is_none());
    if gone().next().is_some() {
        let registers = gone().map(|((register, _), _)| register.as_str().to_owned());
        let ids = gone().map(|((_, id), _)| id.to_string());
        all.push(
            Sql::new(DELETE_SHEETS)
                .id(tenant.as_bytes())
                .texts(registers.collect())
                .texts(ids.collect()),
        );
    }
    let rows = left.sheets.values().flatten();
    let rows: Vec<_> = rows
        .filter_map(|row| Some((row.sheet.as_ref()?, row.revision)))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let revisions = rows.iter().map(|(_, revision)| integer(*revision));
    let sheets = || rows.iter().map(|(sheet, _)| *sheet);
    all.push(
        Sql::new(SHEETS)
            .id(tenant.as_bytes())
            .texts(sheets().map(|it| it.register.as_str().to_owned()).collect())
            .texts(sheets().map(|sheet| sheet.id.to_string()).collect())
            .maybe_ids(sheets().map(|sheet| subject_id(sheet.subject)).collect())
            .maybe_ids(sheets().map(|sheet| matter_id(sheet.matter)).collect())
            .ints(revisions.collect::<Result<_>>()?)
            .many_bytes(sheets().map(|sheet| sheet.body.clone()).collect()),
    );
    Ok(())
}

fn placements(all: &mut Vec<Sql>, tenant: TenantId, left: &Changes) -> Result<()> {
    if left.placements.is_empty() {
        return Ok(());
    }
    let rows = || left.placements.values();
    let bodies = rows().map(to_json).collect::<Result<_>>()?;
    all.push(
        Sql::new(PLACEMENTS)
            .id(tenant.as_bytes())
            .ids(rows().map(|row| Id(*row.subject.as_bytes())).collect())
            .ids(rows().map(|row| Id(*row.id.as_bytes())).collect())
            .maybe_ids(rows().map(|row| matter_id(row.matter)).collect())
            .texts(rows().map(|row| row.system.to_string()).collect())
            .many_bytes(bodies),
    );
    Ok(())
}

fn holds(all: &mut Vec<Sql>, tenant: TenantId, left: &Changes) -> Result<()> {
    if left.holds.is_empty() {
        return Ok(());
    }
    let rows = || left.holds.values();
    let active: Vec<_> = rows().map(|hold| hold.released.is_none()).collect();
    let bodies = rows().map(to_json).collect::<Result<_>>()?;
    all.push(
        Sql::new(HOLDS)
            .id(tenant.as_bytes())
            .ids(rows().map(|hold| Id(*hold.id.as_bytes())).collect())
            .with(active, Type::BOOL_ARRAY)
            .many_bytes(bodies),
    );
    Ok(())
}

fn entries(all: &mut Vec<Sql>, tenant: TenantId, left: &Changes, end: LogEnd) -> Result<()> {
    if left.entries.is_empty() {
        return Ok(());
    }
    let size = integer(end.size).map_err(|_| Code::AudDown)?;
    let tenant = tenant.as_bytes();
    let rows = || left.entries.iter();
    let first = left.entries.first().map_or(0, |entry| entry.seq);
    let bytes: Vec<_> = rows().map(|entry| entry.bytes.clone()).collect();
    let pages = pack(first, &bytes, PAGE).ok_or_else(|| corrupt(Port::Store, "commit"))?;
    let seqs = pages.iter().map(|page| integer(page.first));
    all.push(
        Sql::new(ENTRIES)
            .id(tenant)
            .ints(seqs.collect::<Result<_>>()?)
            .many_bytes(pages.into_iter().map(|page| page.bytes).collect()),
    );
    let (mut subjects, mut seqs, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for entry in rows() {
        for subject in &entry.names {
            subjects.push(Id(*subject.as_bytes()));
            seqs.push(integer(entry.seq)?);
            times.push(millis(entry.at));
        }
    }
    if !subjects.is_empty() {
        let sql = Sql::new(TRAIL).id(tenant);
        all.push(sql.ids(subjects).ints(times).ints(seqs));
    }
    all.push(
        Sql::new("UPDATE kta.firm SET size = $2, last_at = $3 WHERE tenant = $1")
            .id(tenant)
            .int(size)
            .with(end.at.map(millis), Type::INT8),
    );
    Ok(())
}

fn erased(all: &mut Vec<Sql>, tenant: TenantId, left: &Changes) {
    if left.erased.is_empty() {
        return;
    }
    let copies = || left.erased.keys();
    all.push(
        Sql::new(ERASED)
            .id(tenant.as_bytes())
            .ids(
                copies()
                    .map(|(subject, _)| Id(*subject.as_bytes()))
                    .collect(),
            )
            .ids(copies().map(|(_, copy)| Id(*copy.as_bytes())).collect())
            .ints(left.erased.values().map(|at| micros(*at)).collect()),
    );
}

fn subject_id(id: Option<SubjectId>) -> Option<Id> {
    id.map(|id| Id(*id.as_bytes()))
}

fn matter_id(id: Option<MatterId>) -> Option<Id> {
    id.map(|id| Id(*id.as_bytes()))
}

const TAKEN: &str = "INSERT INTO kta.journal (tenant, id, taken) VALUES ($1, $2, $3)
    ON CONFLICT (tenant, id) DO UPDATE SET taken = excluded.taken";

const DELETE_TAGS: &str = "DELETE FROM kta.tag t
    USING unnest($2::text[], $3::bytea[], $4::uuid[], $5::uuid[]) AS k (field, tag, subject, record)
    WHERE t.tenant = $1 AND t.field = k.field AND t.tag = k.tag AND t.subject = k.subject
    AND t.record = k.record";

const DELETE_RECORDS: &str = "DELETE FROM kta.record r
    USING unnest($2::uuid[], $3::uuid[]) AS k (subject, record)
    WHERE r.tenant = $1 AND r.subject = k.subject AND r.record = k.record";

const RECORDS: &str = "INSERT INTO kta.record
    (tenant, subject, record, matter, revision, schema, cohort, header, fields)
    SELECT $1, k.* FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::int8[], $6::text[],
    $7::int8[], $8::bytea[], $9::bytea[]) AS k
    ON CONFLICT (tenant, subject, record) DO UPDATE SET matter = excluded.matter,
    revision = excluded.revision, schema = excluded.schema, cohort = excluded.cohort,
    header = excluded.header, fields = excluded.fields";

const MOVES: &str = "UPDATE kta.record r SET cohort = k.cohort
    FROM unnest($2::uuid[], $3::uuid[], $4::int8[]) AS k (subject, record, cohort)
    WHERE r.tenant = $1 AND r.subject = k.subject AND r.record = k.record";

const DELETE_REIGNS: &str = "DELETE FROM kta.reign WHERE tenant = $1 AND no = ANY($2)";

const REIGNS: &str = "INSERT INTO kta.reign (tenant, no, governing, weight)
    SELECT $1, k.* FROM unnest($2::int8[], $3::bytea[], $4::int8[]) AS k
    ON CONFLICT (tenant, no) DO UPDATE SET governing = excluded.governing, weight = excluded.weight";

const CLASSES: &str = "INSERT INTO kta.class (tenant, id, reign, admits)
    SELECT $1, k.* FROM unnest($2::bytea[], $3::int8[], $4::int8[]) AS k
    ON CONFLICT (tenant, id) DO UPDATE SET reign = excluded.reign, admits = excluded.admits";

const COHORTS: &str = "INSERT INTO kta.cohort (tenant, no, reign)
    SELECT $1, k.* FROM unnest($2::int8[], $3::int8[]) AS k";

const DELETE_COHORTS: &str = "DELETE FROM kta.cohort c
    WHERE c.tenant = $1 AND c.reign = ANY($2)
    AND NOT EXISTS (SELECT FROM kta.record r WHERE r.tenant = $1 AND r.cohort = c.no)";

const JOIN_COHORTS: &str = "UPDATE kta.cohort c SET reign = k.stays
    FROM unnest($2::int8[], $3::int8[]) AS k (leaves, stays)
    WHERE c.tenant = $1 AND c.reign = k.leaves";

const JOIN_CLASSES: &str = "UPDATE kta.class c SET reign = k.stays
    FROM unnest($2::int8[], $3::int8[]) AS k (leaves, stays)
    WHERE c.tenant = $1 AND c.reign = k.leaves";

const TAGS: &str = "INSERT INTO kta.tag (tenant, field, tag, subject, record)
    SELECT $1, k.* FROM unnest($2::text[], $3::bytea[], $4::uuid[], $5::uuid[]) AS k";

const DELETE_SHEETS: &str = "DELETE FROM kta.sheet s
    USING unnest($2::text[], $3::text[]) AS k (register, id)
    WHERE s.tenant = $1 AND s.register = k.register AND s.id = k.id";

const SHEETS: &str = "INSERT INTO kta.sheet
    (tenant, register, id, subject, matter, revision, body)
    SELECT $1, k.* FROM unnest($2::text[], $3::text[], $4::uuid[], $5::uuid[], $6::int8[],
    $7::bytea[]) AS k
    ON CONFLICT (tenant, register, id) DO UPDATE SET subject = excluded.subject,
    matter = excluded.matter, revision = excluded.revision, body = excluded.body";

const PLACEMENTS: &str = "INSERT INTO kta.placement (tenant, subject, id, matter, system, body)
    SELECT $1, k.* FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::bytea[]) AS k
    ON CONFLICT (tenant, id) DO UPDATE SET matter = excluded.matter, body = excluded.body";

const HOLDS: &str = "INSERT INTO kta.hold (tenant, id, active, body)
    SELECT $1, k.* FROM unnest($2::uuid[], $3::bool[], $4::bytea[]) AS k
    ON CONFLICT (tenant, id) DO UPDATE SET active = excluded.active, body = excluded.body";

const JOBS: &str = "INSERT INTO kta.job (tenant, id, kind, subject, matter, due, ready, attempts,
    state, lease, leased_until, reason, payload)
    SELECT $1, k.* FROM unnest($2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::int8[],
    $7::int8[], $8::int8[], $9::text[], $10::int8[], $11::int8[], $12::text[], $13::bytea[]) AS k
    ON CONFLICT (tenant, id) DO UPDATE SET due = excluded.due, ready = excluded.ready,
    attempts = excluded.attempts, state = excluded.state, lease = excluded.lease,
    leased_until = excluded.leased_until, reason = excluded.reason";

/// Bytes of a page of entries at most: the server puts longer values aside, in pieces.
const PAGE: usize = 1900;

const ENTRIES: &str = "INSERT INTO kta.entry (tenant, seq, bytes)
    SELECT $1, k.* FROM unnest($2::int8[], $3::bytea[]) AS k";

const TRAIL: &str = "INSERT INTO kta.trail (tenant, subject, at, seq)
    SELECT $1, k.* FROM unnest($2::uuid[], $3::int8[], $4::int8[]) AS k";

const ERASED: &str = "INSERT INTO kta.erased (tenant, subject, placement, at)
    SELECT $1, k.* FROM unnest($2::uuid[], $3::uuid[], $4::int8[]) AS k
    ON CONFLICT (tenant, subject, placement) DO UPDATE SET at = excluded.at";
