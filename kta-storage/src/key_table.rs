//! The table of wrapped keys in a SQLite file of its own.

mod cell;
mod gone;
mod stamp;

use core::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use kta_core::id::{Digest, SubjectId, TenantId};
use kta_core::ports::key_table::{
    FormerKey, FormerState, KeyChange, KeyCopy, KeyHead, KeyRows, KeyTable, NodeId, NodeRow,
    SubjectRow, Tombstone, Wanted,
};
use kta_core::ports::kms::WrappedKey;
use kta_core::{Code, Error, Fault, FaultKind, Port, Result};
use rusqlite::Error::FromSqlConversionFailure;
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sqlite::fault::{broken, corrupt};
use crate::sqlite::open::Form;
use crate::sqlite::readers::{Readers, aside};
use cell::Cell;
use gone::{Gone, Owed};
use stamp::Stamp;

/// A [`KeyTable`] in one SQLite file, apart from the records. Clones are handles to one table.
///
/// Every commit is synchronised to disk before it is answered. A commit with tombstones, or one
/// that drops a former key, also empties the write-ahead log and looks in the files' own bytes for
/// the wrapped keys that it removed or replaced; should a page still hold one, the file is written
/// anew. It writes down with the commit itself that this is owed: when the process dies before it
/// is done, or a reader of a past state stands in the way, the next opening does it, and no later
/// commit is answered without it.
///
/// Wrapped keys stand in the file where they were first put, so a commit leaves stale bytes
/// nowhere else, and looks in the pages it wrote; what it costs does not grow with the number of
/// people. An opening that finds something owed looks through the whole file.
///
/// Back it up apart from the store, keep such a backup for a short time, and take a new one
/// after each erasure.
#[derive(Clone)]
pub struct SqliteKeyTable {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    db: Mutex<Connection>,
    readers: Readers,
    stamp: Stamp,
}

impl SqliteKeyTable {
    /// Opens the table at `path`, making it if there is no file.
    ///
    /// # Errors
    /// As [`SqliteStore::open`](crate::SqliteStore::open); `Unavailable` when bytes that a killed
    /// process removed cannot be made to go from the files now.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let db = FORM.open(&path, None)?;
        if let Some(owed) = Owed::of(&db)? {
            owed.clean(&db, &path).map_err(|_| {
                Fault::new(FaultKind::Unavailable, Port::KeyTable, "open")
                    .because("removed bytes may still be in the file")
            })?;
        }
        let db = Mutex::new(db);
        Ok(Self {
            inner: Arc::new(Inner {
                readers: Readers::of(&FORM, path.clone(), None),
                stamp: Stamp::of(&path),
                path,
                db,
            }),
        })
    }

    async fn with<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut Connection, &Path) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        aside(Port::KeyTable, operation, move || {
            // A transaction that a panic interrupted was rolled back when it was dropped.
            let mut db = inner.db.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut db, &inner.path)
        })
        .await
    }
}

#[async_trait]
impl KeyTable for SqliteKeyTable {
    async fn read(&self, tenant: TenantId, wanted: &[Wanted]) -> Result<KeyRows> {
        let rows = |wanted: &Wanted| !matches!(wanted, Wanted::Children(_));
        if wanted.len() <= FEW && wanted.iter().all(rows) {
            // Nearly always in memory: going to another thread would take longer.
            return self.inner.readers.read(|db| read(db, tenant, wanted));
        }
        let (inner, wanted) = (Arc::clone(&self.inner), wanted.to_vec());
        aside(Port::KeyTable, "read", move || {
            inner.readers.read(|db| read(db, tenant, &wanted))
        })
        .await
    }

    async fn revision(&self, tenant: TenantId) -> Result<Option<u64>> {
        let stamp = self.inner.stamp.now();
        if let Some(revision) = self.inner.stamp.known(tenant, stamp) {
            return Ok(Some(revision));
        }
        let revision = self.inner.readers.read(|db| {
            let find = || -> rusqlite::Result<Option<i64>> {
                db.prepare_cached("SELECT revision FROM head WHERE tenant = ?1")?
                    .query_row([tenant.as_bytes()], |row| row.get(0))
                    .optional()
            };
            let found = find().map_err(told("revision"))?;
            Ok(found.map(i64::cast_unsigned))
        })?;
        if let Some(revision) = revision {
            self.inner.stamp.keep(tenant, stamp, revision);
        }
        Ok(revision)
    }

    async fn commit(&self, change: KeyChange) -> Result<u64> {
        self.with("commit", move |db, path| {
            let mut gone = Gone::default();
            let transaction =
                Transaction::new(db, TransactionBehavior::Immediate).map_err(told("commit"))?;
            let revision = apply(&transaction, &change, &mut gone)?;
            gone.note(&transaction)?;
            let owed = Owed::of(&transaction)?;
            transaction.commit().map_err(told("commit"))?;
            if let Some(owed) = owed {
                let cleaned = match gone.only(&owed) {
                    true => owed.clean_written(db, path),
                    false => owed.clean(db, path),
                };
                cleaned.map_err(|_| unclean())?;
            }
            Ok(revision)
        })
        .await
    }

    async fn copies(&self, tenant: TenantId) -> Result<Vec<KeyCopy>> {
        self.with("copies", move |db, _| {
            let find = || -> rusqlite::Result<Vec<Vec<u8>>> {
                let sql = "SELECT body FROM copy
                    WHERE firm = (SELECT no FROM head WHERE tenant = ?1) ORDER BY no";
                db.prepare_cached(sql)?
                    .query_map([tenant.as_bytes()], |row| row.get(0))?
                    .collect()
            };
            find()
                .map_err(told("copies"))?
                .iter()
                .map(|body| json(body))
                .collect()
        })
        .await
    }
}

impl fmt::Debug for SqliteKeyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SqliteKeyTable")
    }
}

/// All that is wanted, from one moment.
fn read(db: &Connection, tenant: TenantId, wanted: &[Wanted]) -> Result<KeyRows> {
    let moment = db.unchecked_transaction().map_err(told("read"))?;
    let Some(firm) = Firm::of(&moment, tenant)? else {
        return Ok(KeyRows::default());
    };
    let mut found = KeyRows {
        head: Some(firm.head.clone()),
        ..KeyRows::default()
    };
    for wanted in wanted {
        match *wanted {
            Wanted::Children(node) => firm.children(node, &mut found)?,
            Wanted::Node(node) => firm.node(node, &mut found)?,
            Wanted::Subject(subject) => firm.subject(subject, &mut found)?,
        }
    }
    Ok(found)
}

/// How many rows are read without going to another thread.
const FEW: usize = 8;

fn apply(db: &Connection, change: &KeyChange, gone: &mut Gone) -> Result<u64> {
    let known = Firm::of(db, change.tenant)?;
    if known.as_ref().map(|firm| firm.head.revision) != change.expected {
        return Err(Fault::new(FaultKind::Conflict, Port::KeyTable, "commit").into());
    }
    let head = KeyHead {
        revision: change.expected.unwrap_or(0) + 1,
        ..change.head.clone()
    };
    let no = match known {
        Some(firm) => firm.no,
        None => {
            let row = params![change.tenant.as_bytes(), Vec::<u8>::new()];
            execute(
                db,
                "INSERT INTO head (tenant, revision, body) VALUES (?1, 0, ?2)",
                row,
            )?;
            db.last_insert_rowid()
        }
    };
    execute(
        db,
        "UPDATE head SET revision = ?2, body = ?3 WHERE no = ?1",
        params![no, integer(head.revision)?, to_json(&head)?],
    )?;
    let firm = Firm { db, no, head };
    let people = change.erased.iter().map(|tombstone| tombstone.subject);
    let people: std::collections::BTreeSet<_> = people.collect();
    for row in &change.subjects {
        if people.contains(&row.subject) || firm.tombstone(row.subject)?.is_some() {
            return Err(Code::CryErased.into());
        }
    }
    for row in &change.nodes {
        firm.put_node(row, gone)?;
    }
    for tombstone in &change.erased {
        firm.bury(tombstone, gone)?;
    }
    for row in &change.subjects {
        firm.put_subject(row, gone)?;
    }
    for evidence in &change.destroyed {
        let waiting = bodies(
            db,
            "SELECT body FROM tombstone WHERE firm = ?1 AND kek = ?2",
            params![no, evidence.kek.as_str()],
        )?;
        for body in waiting {
            let mut tombstone: Tombstone = json(&body)?;
            tombstone.kek_destroyed = Some(evidence.clone());
            firm.put_tombstone(&tombstone)?;
        }
    }
    for copy in &change.copies {
        let of = to_json(&copy.of)?;
        let holder = copy.holder.as_str();
        execute(
            db,
            "DELETE FROM copy WHERE firm = ?1 AND of = ?2 AND holder = ?3",
            params![no, of, holder],
        )?;
        execute(
            db,
            "INSERT INTO copy (firm, of, holder, body) VALUES (?1, ?2, ?3, ?4)",
            params![no, of, holder, to_json(copy)?],
        )?;
    }
    Ok(firm.head.revision)
}

/// One tenant's rows.
struct Firm<'c> {
    db: &'c Connection,
    no: i64,
    head: KeyHead,
}

impl<'c> Firm<'c> {
    fn of(db: &'c Connection, tenant: TenantId) -> Result<Option<Self>> {
        let find = || -> rusqlite::Result<Option<(i64, Vec<u8>)>> {
            db.prepare_cached("SELECT no, body FROM head WHERE tenant = ?1")?
                .query_row([tenant.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        };
        let found = find().map_err(told("read"))?;
        found
            .map(|(no, body)| {
                Ok(Self {
                    db,
                    no,
                    head: json(&body)?,
                })
            })
            .transpose()
    }

    fn node(&self, node: NodeId, found: &mut KeyRows) -> Result<()> {
        let sql = "SELECT level, place, version, bytes FROM branch JOIN cell ON no = cell
            WHERE firm = ?1 AND level = ?2 AND place = ?3";
        let rows = self.rows(sql, params![self.no, node.level, node.index], node_row)?;
        found
            .nodes
            .extend(rows.into_iter().map(|row| (row.node, row)));
        Ok(())
    }

    fn subject(&self, subject: SubjectId, found: &mut KeyRows) -> Result<()> {
        if let Some(tombstone) = self.tombstone(subject)? {
            found.erased.insert(subject, tombstone);
        }
        let sql = "SELECT subject, slot, generation, fingerprint, former, bytes
            FROM person JOIN cell ON no = cell WHERE firm = ?1 AND subject = ?2";
        for row in self.rows(sql, params![self.no, subject.as_bytes()], subject_row)? {
            for node in NodeId::above(row.slot, self.head.fan_out) {
                self.node(node, found)?;
            }
            found.subjects.insert(row.subject, row);
        }
        Ok(())
    }

    fn children(&self, parent: NodeId, found: &mut KeyRows) -> Result<()> {
        let (first, last) = parent.children(self.head.fan_out);
        if parent.level < NodeId::LOWEST {
            let sql = "SELECT level, place, version, bytes FROM branch JOIN cell ON no = cell
                WHERE firm = ?1 AND level = ?2 AND place BETWEEN ?3 AND ?4";
            let rows = self.rows(
                sql,
                params![self.no, parent.level + 1, first, last],
                node_row,
            )?;
            found
                .nodes
                .extend(rows.into_iter().map(|row| (row.node, row)));
        } else {
            let sql = "SELECT subject, slot, generation, fingerprint, former, bytes
                FROM person JOIN cell ON no = cell WHERE firm = ?1 AND slot BETWEEN ?2 AND ?3";
            let rows = self.rows(sql, params![self.no, first, last], subject_row)?;
            found
                .subjects
                .extend(rows.into_iter().map(|row| (row.subject, row)));
        }
        Ok(())
    }

    fn tombstone(&self, subject: SubjectId) -> Result<Option<Tombstone>> {
        let sql = "SELECT body FROM tombstone WHERE firm = ?1 AND subject = ?2";
        let found = bodies(self.db, sql, params![self.no, subject.as_bytes()])?;
        found.first().map(|body| json(body)).transpose()
    }

    fn put_node(&self, row: &NodeRow, gone: &mut Gone) -> Result<()> {
        let place = params![self.no, row.node.level, row.node.index];
        let sql = "SELECT cell FROM branch WHERE firm = ?1 AND level = ?2 AND place = ?3";
        let next = Cell {
            present: row.wrapped.as_bytes().to_vec(),
            former: None,
        };
        let cell = self.put_cell(sql, place, &next, gone)?;
        execute(
            self.db,
            "INSERT INTO branch (firm, level, place, version, cell) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (firm, level, place) DO UPDATE SET version = excluded.version,
             cell = excluded.cell",
            params![
                self.no,
                row.node.level,
                row.node.index,
                integer(row.version)?,
                cell
            ],
        )
    }

    fn put_subject(&self, row: &SubjectRow, gone: &mut Gone) -> Result<()> {
        let person = params![self.no, row.subject.as_bytes()];
        let next = Cell {
            present: row.wrapped.as_bytes().to_vec(),
            former: row.kept().map(|(_, wrapped)| wrapped.as_bytes().to_vec()),
        };
        let cell = self.put_cell(CELL, person, &next, gone)?;
        execute(
            self.db,
            "INSERT INTO person (firm, subject, slot, generation, fingerprint, former, cell)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (firm, subject) DO UPDATE SET slot = excluded.slot,
             generation = excluded.generation, fingerprint = excluded.fingerprint,
             former = excluded.former, cell = excluded.cell",
            params![
                self.no,
                row.subject.as_bytes(),
                row.slot,
                row.generation,
                row.key.as_bytes(),
                row.former.as_ref().map(former_body).transpose()?,
                cell
            ],
        )
    }

    /// Writes the cell that `sql` finds, or a fresh one, and notes what goes by that.
    fn put_cell(
        &self,
        sql: &str,
        of: impl rusqlite::Params,
        next: &Cell,
        gone: &mut Gone,
    ) -> Result<i64> {
        let number = self.rows(sql, of, |row| row.get(0))?.first().copied();
        if let Some(number) = number {
            gone.mark(&Cell::read(self.db, number)?, next);
        }
        next.write(self.db, number)
    }

    /// Removes a person's row and puts the tombstone there; the first one stays.
    fn bury(&self, tombstone: &Tombstone, gone: &mut Gone) -> Result<()> {
        let person = params![self.no, tombstone.subject.as_bytes()];
        for number in self.rows(CELL, person, |row| row.get(0))? {
            gone.mark(&Cell::read(self.db, number)?, &Cell::default());
            Cell::clear(self.db, number)?;
        }
        gone.for_good = true;
        execute(
            self.db,
            "DELETE FROM person WHERE firm = ?1 AND subject = ?2",
            person,
        )?;
        if self.tombstone(tombstone.subject)?.is_none() {
            self.put_tombstone(tombstone)?;
        }
        Ok(())
    }

    fn put_tombstone(&self, tombstone: &Tombstone) -> Result<()> {
        execute(
            self.db,
            "INSERT INTO tombstone (firm, subject, kek, body) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (firm, subject) DO UPDATE SET body = excluded.body",
            params![
                self.no,
                tombstone.subject.as_bytes(),
                tombstone.kek.as_str(),
                to_json(tombstone)?
            ],
        )
    }

    fn rows<T>(
        &self,
        sql: &str,
        wanted: impl rusqlite::Params,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let find = || -> rusqlite::Result<Vec<T>> {
            self.db
                .prepare_cached(sql)?
                .query_map(wanted, read)?
                .collect()
        };
        find().map_err(told("read"))
    }
}

fn node_row(row: &Row<'_>) -> rusqlite::Result<NodeRow> {
    Ok(NodeRow {
        node: NodeId {
            level: row.get(0)?,
            index: row.get(1)?,
        },
        version: row.get::<_, i64>(2)?.cast_unsigned(),
        wrapped: WrappedKey::from_bytes(cell_of(row, 3)?.present),
    })
}

fn subject_row(row: &Row<'_>) -> rusqlite::Result<SubjectRow> {
    let former: Option<Vec<u8>> = row.get(4)?;
    let cell = cell_of(row, 5)?;
    let former = former
        .map(|body| former_key(&body, cell.former))
        .transpose();
    Ok(SubjectRow {
        subject: SubjectId::from_bytes(row.get(0)?),
        slot: row.get(1)?,
        generation: row.get(2)?,
        key: Digest::from_bytes(row.get(3)?),
        wrapped: WrappedKey::from_bytes(cell.present),
        former: former.map_err(|broken| FromSqlConversionFailure(4, Type::Blob, broken.into()))?,
    })
}

fn cell_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Cell> {
    let unreadable = |error| FromSqlConversionFailure(column, Type::Blob, Box::new(error));
    let bytes = row.get_ref(column)?.as_blob().map_err(unreadable)?;
    Cell::parse(bytes).ok_or_else(|| unreadable(FromSqlError::InvalidType))
}

/// A former key as it stands in its column: without the wrapped bytes, which have their own.
pub(crate) fn former_body(former: &FormerKey) -> Result<Vec<u8>> {
    match former.state {
        FormerState::Dropped(_) => to_json(former),
        FormerState::Kept(_) => to_json(&FormerKey {
            state: FormerState::Kept(WrappedKey::from_bytes(Vec::new())),
            ..former.clone()
        }),
    }
}

pub(crate) fn former_key(body: &[u8], wrapped: Option<Vec<u8>>) -> serde_json::Result<FormerKey> {
    let mut former: FormerKey = serde_json::from_slice(body)?;
    if let (FormerState::Kept(empty), Some(bytes)) = (&mut former.state, wrapped) {
        *empty = WrappedKey::from_bytes(bytes);
    }
    Ok(former)
}

fn bodies(db: &Connection, sql: &str, wanted: impl rusqlite::Params) -> Result<Vec<Vec<u8>>> {
    let find = || -> rusqlite::Result<Vec<Vec<u8>>> {
        db.prepare_cached(sql)?
            .query_map(wanted, |row| row.get(0))?
            .collect()
    };
    find().map_err(told("read"))
}

fn execute(db: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<()> {
    let run = || db.prepare_cached(sql)?.execute(values);
    run().map(drop).map_err(told("commit"))
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|_| corrupt(Port::KeyTable, "read"))
}

fn to_json<T: Serialize>(what: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(what).map_err(|_| corrupt(Port::KeyTable, "commit"))
}

fn integer(number: u64) -> Result<i64> {
    let too_large = Fault::new(FaultKind::Protocol, Port::KeyTable, "commit");
    i64::try_from(number).map_err(|_| too_large.because("a number is too large").into())
}

fn told(operation: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    broken(Port::KeyTable, operation)
}

/// Committed, but the removed bytes may still be in the file.
fn unclean() -> Error {
    let fault = Fault::new(FaultKind::OutcomeUnknown, Port::KeyTable, "commit");
    fault
        .because("committed, but removed bytes may still be in the file")
        .into()
}

const CELL: &str = "SELECT cell FROM person WHERE firm = ?1 AND subject = ?2";

static FORM: Form = Form {
    application: i32::from_be_bytes(*b"KTAk"),
    migrations: &[
        include_str!("key_table.sql"),
        include_str!("key_table_former.sql"),
        include_str!("key_table_scrub.sql"),
        include_str!("key_table_cells.sql"),
    ],
    port: Port::KeyTable,
};
