//! The firm's own memory in one SQLite file.

mod backup;
mod change;
mod check;
mod desk;
mod erase;
pub(crate) mod fault;
mod govern;
mod lease;
mod log;
pub(crate) mod open;
#[cfg(test)]
mod plans;
mod query;
pub(crate) mod readers;
pub(crate) mod scrub;
mod shard;
mod trail;
mod writer;

use core::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kta_core::id::{SubjectId, TenantId};
use kta_core::pii::{Placement, Record, RecordKey};
use kta_core::ports::store::{
    ChangeSet, Committed, Durability, HoldQuery, Job, JobState, Jobs, Ledger, PlacementQuery,
    RecordBy, RecordQuery, Sheet, SheetQuery, Store,
};
use kta_core::retention::Hold;
use kta_core::time::Timestamp;
use kta_core::{Fault, FaultKind, Port, Result};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::journal::{Journal, Leftover};
use fault::broken;
use open::Form;
use readers::{Readers, aside};
use writer::Writer;

/// A [`Store`] with its [`Jobs`], [`Ledger`] and [`Erase`](kta_core::ports::Erase) in one SQLite
/// file with a write-ahead log beside it. Clones are handles to one store; the last one dropped
/// waits until all is on disk.
///
/// # Durability
/// One thread writes and takes what waits into one transaction (group commit).
/// - A [durable](Durability::Durable) commit is answered after SQLite has synchronised the
///   write-ahead log (`synchronous=FULL`): it survives a crash of the machine, as far as the disk
///   keeps what it acknowledged.
/// - A [bounded](Durability::Bounded) commit is answered when its transaction is in the
///   write-ahead log and so in the operating system's hands (`synchronous=NORMAL`): it survives a
///   killed process. It is on disk with the next durable commit, at the latest after
///   [`LAG`](Self::LAG).
/// - A bounded commit of events alone, such as the entry of an opening, is answered when it stands
///   in a journal of this process beside the file (`FILE-opened-…`, at most 32 MiB), in the
///   operating system's hands too. The next transaction enters it into the log, at the latest
///   after the same lag; what a killed process left in its journal, whoever opens the store next.
///
/// # Erasure
/// `secure_delete` overwrites what is removed, and [`Erase`](kta_core::ports::Erase) empties the
/// write-ahead log and then looks for the erased ciphertext in the files' own bytes. Below the
/// file (journals of the file system, spare blocks of a solid-state disk, backups) only the
/// destruction of the person's key reaches.
///
/// # Others on the file
/// Several processes may have the file open; each waits some seconds for the others' commits.
/// Put it on a local disk: network file systems do not keep SQLite's locks.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    writer: Writer,
    readers: Readers,
}

/// How to open a [`SqliteStore`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// The most bytes that the file may take; what does not fit is a transient fault and no
    /// half-write. Absent: as much as the disk has.
    pub quota: Option<u64>,
    /// The most bytes of pages that each reading connection keeps in memory; there is one for each
    /// read at a time. Absent: 16 MiB.
    pub cache: Option<u64>,
}

impl SqliteOptions {
    /// The same with a cache of this many bytes for each reading connection.
    #[must_use]
    pub const fn cache(mut self, bytes: u64) -> Self {
        self.cache = Some(bytes);
        self
    }

    /// The same with a quota in bytes.
    #[must_use]
    pub const fn quota(mut self, bytes: u64) -> Self {
        self.quota = Some(bytes);
        self
    }
}

impl SqliteStore {
    /// After how long a bounded commit is on disk at the latest, while the machine runs.
    pub const LAG: Duration = writer::LAG;

    /// Opens the store at `path`, making it if there is no file.
    ///
    /// # Errors
    /// [`Misconfigured`](FaultKind::Misconfigured) for the file of another program or of a newer
    /// version of this one, and for a place that cannot be written; [`Corrupt`](FaultKind::Corrupt)
    /// for a damaged file or journal, or a log with a gap at its end.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &SqliteOptions::default())
    }

    /// Opens the store with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, options: &SqliteOptions) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let db = FORM.open(&path, options.quota)?;
        adopt(&db, &path)?;
        log::ends(&db)?;
        let writer = Writer::start(db, Journal::beside(path.clone()))?;
        let readers = Readers::of(&FORM, path.clone(), options.cache);
        Ok(Self {
            inner: Arc::new(Inner {
                path,
                writer,
                readers,
            }),
        })
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Writes everything home into the one file, on disk, and empties the write-ahead log.
    ///
    /// # Errors
    /// [`Unavailable`](FaultKind::Unavailable) when readers of a past state stand in the way for
    /// seconds; faults of the disk.
    pub async fn checkpoint(&self) -> Result<()> {
        self.inner.writer.settle("checkpoint").await?;
        self.inner
            .writer
            .between("checkpoint", scrub::empty_log)
            .await
    }

    /// Reads the whole file and checks it: page by page, index by index, entry by entry of the
    /// logs. Whether an entry is the one that was written, only an anchor or a checkpoint tells;
    /// whether a sealed value is, whoever opens it.
    ///
    /// # Errors
    /// [`Corrupt`](FaultKind::Corrupt) when something is wrong.
    pub async fn check(&self) -> Result<()> {
        self.read_aside("check", check::whole).await
    }

    /// Reads a few rows at once: they are nearly always in memory, and going to another thread
    /// would take longer than reading them.
    fn read_here<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.inner.readers.read(read)
    }

    /// Reads what may be many rows.
    async fn read_aside<T: Send + 'static>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        aside(Port::Store, operation, move || inner.readers.read(read)).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, change: ChangeSet) -> Result<Committed> {
        change.check()?;
        let durability = change.durability;
        let alone = change.changes.is_empty() && !change.events.is_empty();
        if alone && durability == Durability::Bounded && self.inner.writer.note(&change) {
            let entries = change.events.len() as u64;
            return Ok(Committed {
                first: None,
                entries,
            });
        }
        let few = change.changes.len() + change.events.len() <= FEW;
        let commit = move |db: &Connection| change::commit(db, &change);
        let writer = &self.inner.writer;
        if few && durability == Durability::Bounded {
            writer.write_short("commit", commit).await
        } else {
            writer.write("commit", durability, commit).await
        }
    }

    async fn record(&self, key: &RecordKey) -> Result<Option<Record>> {
        self.read_here(|db| query::record(db, key))
    }

    async fn records(&self, query: &RecordQuery) -> Result<Vec<Record>> {
        // A person or a matter hardly ever has many: those that have are read once more, from the
        // start.
        let many = matches!(query.by, RecordBy::Class(_) | RecordBy::Purpose(_));
        if query.limit <= FEW || !many {
            let few = query.clone().page(query.after, query.limit.min(FEW));
            let found = self.read_here(|db| query::records(db, &few))?;
            if found.len() < FEW || query.limit <= FEW {
                return Ok(found);
            }
        }
        let query = query.clone();
        self.read_aside("records", move |db| query::records(db, &query))
            .await
    }

    async fn placements(&self, query: &PlacementQuery) -> Result<Vec<Placement>> {
        // Hardly anybody has many copies: those who have are read once more, from the start.
        let few = PlacementQuery {
            limit: query.limit.min(FEW),
            ..query.clone()
        };
        let found = self.read_here(|db| query::placements(db, &few))?;
        if found.len() < FEW || query.limit <= FEW {
            return Ok(found);
        }
        let query = query.clone();
        self.read_aside("placements", move |db| query::placements(db, &query))
            .await
    }

    async fn holds(&self, query: &HoldQuery) -> Result<Vec<Hold>> {
        self.read_here(|db| query::held(db, query))
    }

    async fn sheets(&self, query: &SheetQuery) -> Result<Vec<Sheet>> {
        if query.id.is_some() {
            return self.read_here(|db| query::sheets(db, query));
        }
        let query = query.clone();
        self.read_aside("sheets", move |db| query::sheets(db, &query))
            .await
    }
}

#[async_trait]
impl Jobs for SqliteStore {
    async fn lease(
        &self,
        tenant: TenantId,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Job>> {
        if until <= now {
            let fault = Fault::new(FaultKind::Protocol, Port::Jobs, "lease");
            return Err(fault.because("a lease that ends before it begins").into());
        }
        // A lease that a crash of the machine forgets was held by nobody who is still there.
        self.inner
            .writer
            .write(
                "lease",
                Durability::Bounded,
                move |db| match change::Firm::known(db, tenant)? {
                    Some(firm) => firm.lease(now, until, limit),
                    None => Ok(Vec::new()),
                },
            )
            .await
    }

    async fn jobs(&self, tenant: TenantId, state: Option<JobState>) -> Result<Vec<Job>> {
        self.read_aside("jobs", move |db| query::jobs(db, tenant, state))
            .await
    }
}

#[async_trait]
impl Ledger for SqliteStore {
    async fn size(&self, tenant: TenantId) -> Result<u64> {
        self.inner.writer.settle("size").await?;
        self.read_here(|db| query::size(db, tenant))
    }

    async fn entries(&self, tenant: TenantId, from: u64, limit: usize) -> Result<Vec<Vec<u8>>> {
        self.inner.writer.settle("entries").await?;
        if limit <= FEW {
            return self.read_here(|db| log::entries(db, tenant, from, limit));
        }
        self.read_aside("entries", move |db| log::entries(db, tenant, from, limit))
            .await
    }

    async fn trail(
        &self,
        tenant: TenantId,
        subject: SubjectId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<u64>> {
        self.inner.writer.settle("trail").await?;
        self.read_aside("trail", move |db| {
            trail::find(db, tenant, subject, from, to)
        })
        .await
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SqliteStore")
    }
}

/// Enters what processes that were killed left in their journals.
fn adopt(db: &Connection, path: &Path) -> Result<()> {
    let told = broken(Port::Store, "open");
    for leftover in Leftover::all(path)? {
        let step = Transaction::new_unchecked(db, TransactionBehavior::Immediate).map_err(&told)?;
        change::enter(&step, &leftover.id, leftover.frames())?;
        // There may be nothing to enter, because the dead process did, without waiting for the disk.
        step.execute("UPDATE tick SET count = count + 1 WHERE one = 1", [])
            .map_err(&told)?;
        step.commit().map_err(&told)?;
        leftover.remove()?;
    }
    Ok(())
}

/// So many rows are read, or written without waiting for the disk, where the caller is: it takes
/// less than going to another thread does.
const FEW: usize = 64;

static FORM: Form = Form {
    application: i32::from_be_bytes(*b"KTAs"),
    migrations: &[
        include_str!("schema.sql"),
        include_str!("journal.sql"),
        include_str!("classes.sql"),
        include_str!("cohorts.sql"),
        include_str!("trail.sql"),
        include_str!("leasing.sql"),
        include_str!("young.sql"),
        include_str!("paged.sql"),
    ],
    port: Port::Store,
};
