//! The firm's own memory on a PostgreSQL server.

mod erase;
mod fault;
mod key_table;
mod load;
mod marks;
mod openings;
mod options;
mod owner;
mod query;
mod retry;
mod save;
mod session;
mod shard;
mod sql;
mod view;
mod writer;

use core::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kta_core::id::{SubjectId, TenantId};
use kta_core::pii::{Placement, Record, RecordKey};
use kta_core::ports::store::{
    ChangeSet, Committed, Durability, HoldQuery, Job, JobState, Jobs, Ledger, PlacementQuery,
    RecordQuery, Sheet, SheetQuery, Store,
};
use kta_core::retention::Hold;
use kta_core::time::Timestamp;
use kta_core::{Fault, FaultKind, Port, Result};

use fault::{Broken, Next};
use openings::Openings;
use owner::Form;
use retry::Backoff;
use session::Sessions;
use sql::Sql;
use writer::{Work, Writer};

pub use key_table::PgKeyTable;
pub use options::PgOptions;
pub use owner::PgOwner;

/// A [`Store`] with its [`Jobs`], [`Ledger`] and [`Erase`](kta_core::ports::Erase) on a PostgreSQL
/// server (13 or newer), for any number of processes and firms. Clones are handles to one pool of
/// connections. It lives on the tokio runtime on which it was opened.
///
/// # Firms apart
/// Each row names its firm first, and row security shows a transaction the rows of the one firm
/// it is for, even where a statement forgets to ask. [`open`](Self::open) refuses a role that
/// could see more, or could change the log.
///
/// # Durability
/// What waits for one firm is committed together, under the lock of that firm's row, so that the
/// log has no gap whoever writes.
/// - A [durable](Durability::Durable) commit is answered after the server has synchronised its
///   write-ahead log, and after its synchronous standbys have, where it has any
///   (`synchronous_commit = on`): it survives a crash of the machine.
/// - A [bounded](Durability::Bounded) commit is answered when the server has it
///   (`synchronous_commit = off`): it survives a killed process of ours. It survives a crash of
///   the server after [`lag`](Self::lag).
/// - With a [journal](PgOptions::journal), a bounded commit of events alone, such as the entry of
///   an opening, is answered when it stands in a file of this machine: it survives a killed
///   process of ours and a server that is away. The firm's next transaction takes it along, at the
///   latest one of its own after a second; what a killed process left, or one that ended without
///   [`settle`](Self::settle), whoever opens the store with that folder next. Until then other
///   machines do not see it in the log.
///
/// # When the server is away
/// Transactions that the server gives up (serialisation, deadlock) and calls that lost their
/// connection are tried again until the patience of the options is spent. A commit whose answer
/// was lost is asked after, so that nothing is done twice; only when nobody can be asked in time
/// is its outcome [unknown](FaultKind::OutcomeUnknown).
///
/// # Jobs
/// Leases are taken with `FOR UPDATE SKIP LOCKED`, so workers do not wait for each other. Why not
/// a ready-made runner such as apalis: a job here is enqueued, and settled, in the transaction of
/// its cause and its effect, through one port that SQLite serves too, and a lease is part of a
/// change set; a runner brings its own tables, its own connection and its own transactions.
#[derive(Clone)]
pub struct PgStore {
    inner: Arc<Inner>,
}

struct Inner {
    sessions: Arc<Sessions>,
    writer: Arc<Writer>,
    lag: Duration,
    history: Duration,
}

impl PgStore {
    /// Opens the store with the role of the application; its tables were made by
    /// [`PgOwner::migrate`].
    ///
    /// # Errors
    /// [`Misconfigured`](FaultKind::Misconfigured) for a role that is refused, passes over row
    /// security, owns the tables or can change the log, for tables that are not there or of
    /// another version, for a server that does not synchronise its files, and for a certificate
    /// that is not accepted; [`Unavailable`](FaultKind::Unavailable) and
    /// [`Timeout`](FaultKind::Timeout) when the server does not answer;
    /// [`Corrupt`](FaultKind::Corrupt) for a damaged journal, which stays where it is.
    pub async fn open(options: &PgOptions) -> Result<Self> {
        let sessions = Arc::new(Sessions::of(options)?);
        let checked = owner::check(&sessions, &Form::STORE).await?;
        let base = options.journals(checked.store);
        let mut left = Vec::new();
        for base in base.iter().chain(&options.former_journals()) {
            left.append(&mut openings::left(base)?);
        }
        let openings = base.map(Openings::at);
        // As the server's manual has it: at most three times the delay.
        let mut lag = Duration::from_millis(checked.delay.saturating_mul(3));
        if openings.is_some() {
            lag += writer::LAG;
        }
        let writer = Arc::new(Writer::of(Arc::clone(&sessions), checked.id, openings));
        for (tenant, leftover) in left {
            writer.adopt(tenant, leftover).await?;
        }
        Ok(Self {
            inner: Arc::new(Inner {
                sessions,
                writer,
                lag,
                history: options.history_of(),
            }),
        })
    }

    /// After how long a bounded commit is on the server's disk at the latest, while the server
    /// runs: three times its `wal_writer_delay`, as it was when the store was opened, and a second
    /// more where openings are noted on this machine first.
    #[must_use]
    pub fn lag(&self) -> Duration {
        self.inner.lag
    }

    /// Waits until the log has every opening that was noted on this machine before, on the server's
    /// disk: before a process ends, so that nobody has to open the store again for them.
    ///
    /// # Errors
    /// Those of [`commit`](Store::commit).
    pub async fn settle(&self) -> Result<()> {
        let writer = &self.inner.writer;
        let waiting = writer.openings.as_ref().map(Openings::waiting);
        for tenant in waiting.into_iter().flatten() {
            writer.settle("settle", tenant, Durability::Durable).await?;
        }
        Ok(())
    }

    async fn settled(&self, operation: &'static str, tenant: TenantId) -> Result<()> {
        let writer = &self.inner.writer;
        writer.settle(operation, tenant, Durability::Bounded).await
    }

    async fn try_lease(
        &self,
        tenant: TenantId,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Job>, Broken> {
        let sessions = &self.inner.sessions;
        let session = sessions.one().await?;
        // A lease that a crash of the server forgets was held by nobody who is still there.
        let begin = sessions.begin(tenant, Durability::Bounded);
        let rows = session
            .run(&[begin, query::due(tenant, now, limit)])
            .await?;
        let jobs: Option<Vec<Job>> = rows[1].iter().map(query::job).collect();
        let mut jobs = jobs.ok_or(Broken::unreadable())?;
        for job in &mut jobs {
            job.lease_until(until);
        }
        let mut end = Vec::new();
        if !jobs.is_empty() {
            end.push(save::jobs(tenant, jobs.iter()).map_err(|_| Broken::unreadable())?);
        }
        end.push(Sql::plain("COMMIT"));
        session.only(&end).await?;
        Ok(jobs)
    }
}

#[async_trait]
impl Store for PgStore {
    async fn commit(&self, change: ChangeSet) -> Result<Committed> {
        change.check()?;
        let alone = change.changes.is_empty() && !change.events.is_empty();
        let bounded = change.durability == Durability::Bounded;
        if alone && bounded && self.inner.writer.note(&change) {
            let entries = change.events.len() as u64;
            return Ok(Committed {
                first: None,
                entries,
            });
        }
        let erasure = None;
        self.inner
            .writer
            .write("commit", Work { change, erasure })
            .await
    }

    async fn record(&self, key: &RecordKey) -> Result<Option<Record>> {
        query::record(&self.inner.sessions, key).await
    }

    async fn records(&self, query: &RecordQuery) -> Result<Vec<Record>> {
        query::records(&self.inner.sessions, query).await
    }

    async fn placements(&self, query: &PlacementQuery) -> Result<Vec<Placement>> {
        query::placements(&self.inner.sessions, query).await
    }

    async fn holds(&self, query: &HoldQuery) -> Result<Vec<Hold>> {
        query::holds(&self.inner.sessions, query).await
    }

    async fn sheets(&self, query: &SheetQuery) -> Result<Vec<Sheet>> {
        query::sheets(&self.inner.sessions, query).await
    }
}

#[async_trait]
impl Jobs for PgStore {
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
        let mut backoff = Backoff::within(self.inner.sessions.patience);
        loop {
            match self.try_lease(tenant, now, until, limit).await {
                Ok(jobs) => return Ok(jobs),
                // Jobs that were leased and whose answer was lost are leased again when that
                // lease has ended, as if their worker had died.
                Err(broken) if broken.next != Next::Nothing && backoff.pause().await => {}
                Err(broken) => return Err(broken.in_operation(Port::Jobs, "lease")),
            }
        }
    }

    async fn jobs(&self, tenant: TenantId, state: Option<JobState>) -> Result<Vec<Job>> {
        query::jobs(&self.inner.sessions, tenant, state).await
    }
}

#[async_trait]
impl Ledger for PgStore {
    async fn size(&self, tenant: TenantId) -> Result<u64> {
        self.settled("size", tenant).await?;
        query::size(&self.inner.sessions, tenant).await
    }

    async fn entries(&self, tenant: TenantId, from: u64, limit: usize) -> Result<Vec<Vec<u8>>> {
        self.settled("entries", tenant).await?;
        query::entries(&self.inner.sessions, tenant, from, limit).await
    }

    async fn trail(
        &self,
        tenant: TenantId,
        subject: SubjectId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<u64>> {
        self.settled("trail", tenant).await?;
        query::trail(&self.inner.sessions, tenant, subject, from, to).await
    }
}

impl fmt::Debug for PgStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PgStore")
    }
}
