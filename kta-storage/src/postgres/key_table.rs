//! The table of wrapped keys on a PostgreSQL server.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use kta_core::id::{Digest, SubjectId, TenantId};
use kta_core::ports::key_table::{
    KeyChange, KeyCopy, KeyHead, KeyRows, KeyTable, NodeId, NodeRow, SubjectRow, Tombstone, Wanted,
};
use kta_core::ports::kms::WrappedKey;
use kta_core::ports::store::Durability;
use kta_core::{Code, Error, Fault, FaultKind, Port, Result};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::fault::{Broken, Next};
use super::marks::{Attempt, Failed, Marks};
use super::options::PgOptions;
use super::owner::{self, Form};
use super::query::bodies;
use super::retry::Backoff;
use super::session::{Session, Sessions};
use super::sql::{Id, Sql, column, number};
use crate::form::{integer, to_json};
use crate::key_table::{former_body, former_key};

/// A [`KeyTable`] on a PostgreSQL server, in tables of its own: give it another database than the
/// [`PgStore`](super::PgStore)'s, so that their backups are apart. Clones are handles to one pool
/// of connections.
///
/// What is said of the store's roles, walls and lost connections holds here too; every commit is
/// durable. A tombstone is never removed, which the role's rights see to.
///
/// # What a server keeps
/// Unlike [`SqliteKeyTable`](crate::SqliteKeyTable) it cannot look into the server's files:
/// wrapped keys that were removed stay in dead rows, in the write-ahead log and in backups for a
/// time. They are wrapped under branch and epoch keys that were replaced with the same commit, and
/// open no more once the custodian has destroyed the key of that epoch; that destruction, and not
/// the removal, is what erases. [`PgOwner::rewrite_keys`](super::PgOwner::rewrite_keys) frees the
/// tables' own files of them.
#[derive(Clone)]
pub struct PgKeyTable {
    inner: Arc<Inner>,
}

struct Inner {
    sessions: Arc<Sessions>,
    marks: Marks,
}

impl PgKeyTable {
    /// Opens the table with the role of the application; it was made by
    /// [`PgOwner::migrate_keys`](super::PgOwner::migrate_keys).
    ///
    /// # Errors
    /// As [`PgStore::open`](super::PgStore::open).
    pub async fn open(options: &PgOptions) -> Result<Self> {
        let sessions = Arc::new(Sessions::of(options)?);
        let checked = owner::check(&sessions, &Form::KEYS).await?;
        let marks = Marks::of(Arc::clone(&sessions), "kta_keys", checked.id);
        Ok(Self {
            inner: Arc::new(Inner { sessions, marks }),
        })
    }
}

#[async_trait]
impl KeyTable for PgKeyTable {
    async fn read(&self, tenant: TenantId, wanted: &[Wanted]) -> Result<KeyRows> {
        let sessions = &self.inner.sessions;
        let mut backoff = Backoff::within(sessions.patience);
        loop {
            match self.inner.read(tenant, wanted).await {
                Ok(rows) => return Ok(rows),
                Err(broken) if broken.next != Next::Nothing && backoff.pause().await => {}
                Err(broken) => return Err(broken.in_operation(Port::KeyTable, "read")),
            }
        }
    }

    async fn commit(&self, change: KeyChange) -> Result<u64> {
        // A task of its own, so that a caller that goes away leaves no question open.
        let inner = Arc::clone(&self.inner);
        let carried = tokio::spawn(async move {
            let attempt = || inner.attempt(&change);
            match inner.marks.carry_through(change.tenant, attempt).await {
                Ok(outcome) => outcome,
                Err(Failed::Broken(broken)) => Err(broken.in_operation(Port::KeyTable, "commit")),
                Err(Failed::Doubt(outcome)) => outcome.and(Err(lost())),
            }
        });
        carried.await.map_err(|_| lost())?
    }

    async fn copies(&self, tenant: TenantId) -> Result<Vec<KeyCopy>> {
        let sql = "SELECT body FROM kta_keys.copy WHERE tenant = $1 ORDER BY revision, place";
        let sql = Sql::new(sql).id(tenant.as_bytes());
        let rows = self
            .inner
            .sessions
            .read(Port::KeyTable, "copies", tenant, sql);
        bodies(&rows.await?).map_err(|broken| broken.in_operation(Port::KeyTable, "copies"))
    }
}

impl fmt::Debug for PgKeyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PgKeyTable")
    }
}

impl Inner {
    /// Two trips in one snapshot: the second asks for what the first found.
    async fn read(&self, tenant: TenantId, wanted: &[Wanted]) -> Result<KeyRows, Broken> {
        let people = wanted.iter().filter_map(|wanted| match wanted {
            Wanted::Subject(subject) => Some(Id(*subject.as_bytes())),
            _ => None,
        });
        let people: Vec<_> = people.collect();
        let id = tenant.as_bytes();
        let session = self.sessions.one().await?;
        let first = session
            .run(&[
                self.sessions.begin_looking(tenant),
                Sql::new(HEAD).id(id),
                Sql::new(PEOPLE).id(id).ids(people.clone()),
                Sql::new(TOMBSTONES).id(id).ids(people),
            ])
            .await?;
        let head = bodies::<KeyHead>(&first[1])?.pop();
        let Some(head) = head else {
            session.only(&[Sql::plain("COMMIT")]).await?;
            return Ok(KeyRows::default());
        };
        let mut found = KeyRows::default();
        for row in &first[2] {
            let row = subject_row(row).ok_or(Broken::unreadable())?;
            found.subjects.insert(row.subject, row);
        }
        for tombstone in bodies::<Tombstone>(&first[3])? {
            found.erased.insert(tombstone.subject, tombstone);
        }
        let fan_out = head.fan_out;
        let mut single: BTreeSet<NodeId> = found
            .subjects
            .values()
            .flat_map(|row| NodeId::above(row.slot, fan_out))
            .collect();
        let (mut branches, mut lowest) = (Vec::new(), Vec::new());
        for wanted in wanted {
            match wanted {
                Wanted::Children(node) => {
                    let (first, last) = node.children(fan_out);
                    if node.level < NodeId::LOWEST {
                        branches.push((node.level + 1, first, last));
                    } else {
                        lowest.push((0, first, last));
                    }
                }
                Wanted::Node(node) => drop(single.insert(*node)),
                Wanted::Subject(_) => {}
            }
        }
        branches.extend(
            single
                .iter()
                .map(|node| (node.level, node.index, node.index)),
        );
        let mut second = vec![ranges(Sql::new(NODES).id(id), &branches, true)];
        // Most ask for people only, and an empty join is not planned as one.
        if !lowest.is_empty() {
            second.push(ranges(Sql::new(CHILDREN).id(id), &lowest, false));
        }
        second.push(Sql::plain("COMMIT"));
        let second = session.only(&second).await?;
        for row in &second[0] {
            let row = node_row(row).ok_or(Broken::unreadable())?;
            found.nodes.insert(row.node, row);
        }
        let below = second.get(1).filter(|_| !lowest.is_empty());
        for row in below.into_iter().flatten() {
            let row = subject_row(row).ok_or(Broken::unreadable())?;
            found.subjects.insert(row.subject, row);
        }
        found.head = Some(head);
        Ok(found)
    }

    async fn attempt(&self, change: &KeyChange) -> Attempt<Result<u64>> {
        match self.judge(change).await {
            Ok((session, Ok((revision, statements)))) => {
                self.marks
                    .commit(session, change.tenant, statements, Ok(revision))
                    .await
            }
            Ok((session, Err(error))) => {
                if session.run(&[Sql::plain("ROLLBACK")]).await.is_ok() {
                    session.done();
                }
                Attempt::Done(Err(error))
            }
            Err(broken) => Attempt::Undone(broken),
        }
    }

    /// Locks the firm's keys and finds what is to be written, or why nothing is.
    #[allow(clippy::type_complexity, reason = "one use")]
    async fn judge(
        &self,
        change: &KeyChange,
    ) -> Result<(Session, Result<(u64, Vec<Sql>)>), Broken> {
        let id = change.tenant.as_bytes();
        let people = change
            .subjects
            .iter()
            .map(|row| row.subject)
            .chain(change.erased.iter().map(|tombstone| tombstone.subject));
        let keks = change.destroyed.iter().map(|it| it.kek.as_str().to_owned());
        let mut trip = vec![
            self.sessions.begin(change.tenant, Durability::Durable),
            Sql::new("SELECT 1 FROM kta_keys.firm WHERE tenant = $1 FOR UPDATE").id(id),
            Sql::new(HEAD).id(id),
            Sql::new(TOMBSTONES)
                .id(id)
                .ids(people.map(|subject| Id(*subject.as_bytes())).collect()),
        ];
        if !change.destroyed.is_empty() {
            let sql = "SELECT body FROM kta_keys.tombstone WHERE tenant = $1 AND kek = ANY($2)";
            trip.push(Sql::new(sql).id(id).texts(keks.collect()));
        }
        loop {
            let session = self.sessions.one().await?;
            let rows = session.run(&trip).await?;
            if rows[1].is_empty() {
                session.run(&[Sql::plain("ROLLBACK")]).await?;
                session.done();
                self.marks.enter(change.tenant).await?;
                continue;
            }
            let head = bodies::<KeyHead>(&rows[2])?.pop();
            let mut tombstones = BTreeMap::new();
            for rows in &rows[3..] {
                let found = bodies::<Tombstone>(rows)?;
                tombstones.extend(found.into_iter().map(|it| (it.subject, it)));
            }
            return Ok((session, changed(change, head, tombstones)));
        }
    }
}

/// The statements of a change, and the revision to which it leads.
fn changed(
    change: &KeyChange,
    head: Option<KeyHead>,
    mut tombstones: BTreeMap<SubjectId, Tombstone>,
) -> Result<(u64, Vec<Sql>)> {
    if head.map(|head| head.revision) != change.expected {
        return Err(Fault::new(FaultKind::Conflict, Port::KeyTable, "commit").into());
    }
    let revision = change.expected.unwrap_or(0) + 1;
    let head = KeyHead {
        revision,
        ..change.head.clone()
    };
    for tombstone in &change.erased {
        // The first one stays.
        tombstones
            .entry(tombstone.subject)
            .or_insert_with(|| tombstone.clone());
    }
    if change
        .subjects
        .iter()
        .any(|row| tombstones.contains_key(&row.subject))
    {
        return Err(Code::CryErased.into());
    }
    for evidence in &change.destroyed {
        for tombstone in tombstones.values_mut().filter(|it| it.kek == evidence.kek) {
            tombstone.kek_destroyed = Some(evidence.clone());
        }
    }
    let id = change.tenant.as_bytes();
    let mut all = vec![
        Sql::new(
            "INSERT INTO kta_keys.head (tenant, body) VALUES ($1, $2)
             ON CONFLICT (tenant) DO UPDATE SET body = excluded.body",
        )
        .id(id)
        .bytes(&to_json(&head)?),
    ];
    // A place that is written twice has what was written last.
    let nodes: BTreeMap<_, _> = change.nodes.iter().map(|row| (row.node, row)).collect();
    if !nodes.is_empty() {
        let versions = nodes.values().map(|row| integer(row.version));
        all.push(
            Sql::new(PUT_NODES)
                .id(id)
                .ints(nodes.keys().map(|node| node.level.into()).collect())
                .ints(nodes.keys().map(|node| node.index.into()).collect())
                .ints(versions.collect::<Result<_>>()?)
                .many_bytes(
                    nodes
                        .values()
                        .map(|it| it.wrapped.as_bytes().to_vec())
                        .collect(),
                ),
        );
    }
    if !change.erased.is_empty() {
        let people = change.erased.iter().map(|it| Id(*it.subject.as_bytes()));
        let sql = "DELETE FROM kta_keys.subject WHERE tenant = $1 AND subject = ANY($2)";
        all.push(Sql::new(sql).id(id).ids(people.collect()));
    }
    if !tombstones.is_empty() {
        let bodies = tombstones.values().map(to_json);
        let keks = tombstones.values().map(|it| it.kek.as_str().to_owned());
        all.push(
            Sql::new(PUT_TOMBSTONES)
                .id(id)
                .ids(tombstones.keys().map(|it| Id(*it.as_bytes())).collect())
                .texts(keks.collect())
                .many_bytes(bodies.collect::<Result<_>>()?),
        );
    }
    let people: BTreeMap<_, _> = change
        .subjects
        .iter()
        .map(|row| (row.subject, row))
        .collect();
    if !people.is_empty() {
        let rows = || people.values();
        let former = rows().map(|row| row.former.as_ref().map(former_body).transpose());
        let kept = rows().map(|row| row.kept().map(|(_, it)| it.as_bytes().to_vec()));
        all.push(
            Sql::new(PUT_PEOPLE)
                .id(id)
                .ids(people.keys().map(|it| Id(*it.as_bytes())).collect())
                .ints(rows().map(|row| row.slot.into()).collect())
                .ints(rows().map(|row| row.generation.into()).collect())
                .many_bytes(rows().map(|row| row.key.as_bytes().to_vec()).collect())
                .many_bytes(rows().map(|row| row.wrapped.as_bytes().to_vec()).collect())
                .with(former.collect::<Result<Vec<_>>>()?, Type::BYTEA_ARRAY)
                .with(kept.collect::<Vec<_>>(), Type::BYTEA_ARRAY),
        );
    }
    let mut copies = BTreeMap::new();
    for (place, copy) in (0_i64..).zip(&change.copies) {
        copies.insert((to_json(&copy.of)?, copy.holder.to_string()), (place, copy));
    }
    if !copies.is_empty() {
        let bodies = copies.values().map(|(_, copy)| to_json(copy));
        all.push(
            Sql::new(PUT_COPIES)
                .id(id)
                .int(integer(revision)?)
                .many_bytes(copies.keys().map(|(of, _)| of.clone()).collect())
                .texts(copies.keys().map(|(_, holder)| holder.clone()).collect())
                .ints(copies.values().map(|(place, _)| *place).collect())
                .many_bytes(bodies.collect::<Result<_>>()?),
        );
    }
    Ok((revision, all))
}

/// Levels, where they are asked for, first and last places.
fn ranges(sql: Sql, all: &[(u8, u32, u32)], levels: bool) -> Sql {
    let sql = if levels {
        sql.ints(all.iter().map(|(level, ..)| (*level).into()).collect())
    } else {
        sql
    };
    sql.ints(all.iter().map(|(_, first, _)| (*first).into()).collect())
        .ints(all.iter().map(|(.., last)| (*last).into()).collect())
}

fn node_row(row: &Row) -> Option<NodeRow> {
    Some(NodeRow {
        node: NodeId {
            level: number(row, 0)?.try_into().ok()?,
            index: number(row, 1)?.try_into().ok()?,
        },
        version: number(row, 2)?,
        wrapped: WrappedKey::from_bytes(column(row, 3)?),
    })
}

fn subject_row(row: &Row) -> Option<SubjectRow> {
    let Id(subject) = column(row, 0)?;
    let former: Option<&[u8]> = column(row, 5)?;
    let wrapped: Option<Vec<u8>> = column(row, 6)?;
    let former = former.map(|body| former_key(body, wrapped)).transpose();
    let key: &[u8] = column(row, 3)?;
    Some(SubjectRow {
        subject: SubjectId::from_bytes(subject),
        slot: number(row, 1)?.try_into().ok()?,
        generation: number(row, 2)?.try_into().ok()?,
        key: Digest::from_bytes(key.try_into().ok()?),
        wrapped: WrappedKey::from_bytes(column(row, 4)?),
        former: former.ok()?,
    })
}

fn lost() -> Error {
    Fault::new(FaultKind::OutcomeUnknown, Port::KeyTable, "commit").into()
}

const HEAD: &str = "SELECT body FROM kta_keys.head WHERE tenant = $1";

const PEOPLE: &str =
    "SELECT subject, slot, generation, fingerprint, wrapped, former, former_wrapped
    FROM kta_keys.subject WHERE tenant = $1 AND subject = ANY($2)";

const TOMBSTONES: &str =
    "SELECT body FROM kta_keys.tombstone WHERE tenant = $1 AND subject = ANY($2)";

const NODES: &str = "SELECT DISTINCT n.level, n.place, n.version, n.wrapped
    FROM unnest($2::int8[], $3::int8[], $4::int8[]) AS k (level, first, last)
    JOIN kta_keys.node n ON n.tenant = $1 AND n.level = k.level
    AND n.place BETWEEN k.first AND k.last";

const CHILDREN: &str = "SELECT s.subject, s.slot, s.generation, s.fingerprint, s.wrapped, s.former,
    s.former_wrapped FROM unnest($2::int8[], $3::int8[]) AS k (first, last)
    JOIN kta_keys.subject s ON s.tenant = $1 AND s.slot BETWEEN k.first AND k.last";

const PUT_NODES: &str = "INSERT INTO kta_keys.node (tenant, level, place, version, wrapped)
    SELECT $1, k.* FROM unnest($2::int8[], $3::int8[], $4::int8[], $5::bytea[]) AS k
    ON CONFLICT (tenant, level, place) DO UPDATE SET version = excluded.version,
    wrapped = excluded.wrapped";

const PUT_TOMBSTONES: &str = "INSERT INTO kta_keys.tombstone (tenant, subject, kek, body)
    SELECT $1, k.* FROM unnest($2::uuid[], $3::text[], $4::bytea[]) AS k
    ON CONFLICT (tenant, subject) DO UPDATE SET body = excluded.body";

const PUT_PEOPLE: &str = "INSERT INTO kta_keys.subject
    (tenant, subject, slot, generation, fingerprint, wrapped, former, former_wrapped)
    SELECT $1, k.* FROM unnest($2::uuid[], $3::int8[], $4::int8[], $5::bytea[], $6::bytea[],
    $7::bytea[], $8::bytea[]) AS k
    ON CONFLICT (tenant, subject) DO UPDATE SET slot = excluded.slot,
    generation = excluded.generation, fingerprint = excluded.fingerprint,
    wrapped = excluded.wrapped, former = excluded.former,
    former_wrapped = excluded.former_wrapped";

const PUT_COPIES: &str = "INSERT INTO kta_keys.copy (tenant, revision, of, holder, place, body)
    SELECT $1, $2, k.* FROM unnest($3::bytea[], $4::text[], $5::int8[], $6::bytea[]) AS k
    ON CONFLICT (tenant, of, holder) DO UPDATE SET revision = excluded.revision,
    place = excluded.place, body = excluded.body";
