//! Transactions that take effect once, whatever becomes of their connection.
//!
//! Before anything of a transaction's last trip was sent, nothing was done, and it is tried again.
//! After it, COMMIT may have been done or not. Each transaction therefore leaves its number in the
//! table `writer`; who lost the answer locks the firm's row, which waits until the server has
//! ended the lost transaction, and reads whether the number is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use kta_core::id::TenantId;
use kta_core::ports::store::Durability;
use tokio_postgres::Row;

use super::fault::{Broken, Next};
use super::retry::Backoff;
use super::session::{Session, Sessions};
use super::sql::{Id, Sql, column};

/// One writer among all processes on a database.
pub(super) struct Marks {
    sessions: Arc<Sessions>,
    schema: &'static str,
    id: Id,
    number: AtomicI64,
}

/// What became of an attempt.
pub(super) enum Attempt<T> {
    Done(T),
    /// Committed or not: nobody said.
    Open {
        number: i64,
        done: T,
    },
    Undone(Broken),
}

/// Why a transaction was given up.
pub(super) enum Failed<T> {
    /// It had no effect.
    Broken(Broken),
    /// It had this effect or none, and nobody could be asked.
    Doubt(T),
}

impl Marks {
    pub(super) fn of(sessions: Arc<Sessions>, schema: &'static str, id: Id) -> Self {
        Self {
            sessions,
            schema,
            id,
            number: AtomicI64::new(0),
        }
    }

    /// Attempts until it is done, or cannot be, or the patience is spent.
    pub(super) async fn carry_through<T, F: Future<Output = Attempt<T>>>(
        &self,
        tenant: TenantId,
        attempt: impl Fn() -> F,
    ) -> Result<T, Failed<T>> {
        let mut backoff = Backoff::within(self.sessions.patience);
        loop {
            let broken = match attempt().await {
                Attempt::Done(done) => return Ok(done),
                Attempt::Undone(broken) => broken,
                Attempt::Open { number, done } => match self.settle(tenant, number).await {
                    Ok(true) => return Ok(done),
                    Ok(false) => Broken::silent(),
                    Err(_) => return Err(Failed::Doubt(done)),
                },
            };
            if broken.next == Next::Nothing || !backoff.pause().await {
                return Err(Failed::Broken(broken));
            }
        }
    }

    /// Sends the last statements of a transaction that holds the firm's lock, and its COMMIT.
    pub(super) async fn commit<T>(
        &self,
        session: Session,
        tenant: TenantId,
        mut statements: Vec<Sql>,
        done: T,
    ) -> Attempt<T> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        statements.extend(self.mark(tenant, number));
        statements.push(Sql::plain("COMMIT"));
        match session.each(&statements).await {
            Ok(answers) => match ended(answers) {
                Ended::Committed => {
                    session.done();
                    Attempt::Done(done)
                }
                Ended::Open => Attempt::Open { number, done },
                Ended::Undone(broken) => Attempt::Undone(broken),
            },
            Err(broken) if broken.next == Next::Lost => Attempt::Open { number, done },
            Err(broken) => Attempt::Undone(broken),
        }
    }

    /// Enters a firm, in a transaction of its own: a lock needs a row that everybody sees.
    pub(super) async fn enter(&self, tenant: TenantId) -> Result<(), Broken> {
        let schema = self.schema;
        let sql = format!("INSERT INTO {schema}.firm (tenant) VALUES ($1) ON CONFLICT DO NOTHING");
        let trip = [
            self.sessions.begin(tenant, Durability::Durable),
            Sql::new(sql).id(tenant.as_bytes()),
            Sql::plain("COMMIT"),
        ];
        self.sessions.one().await?.only(&trip).await.map(drop)
    }

    /// Leaves the transaction's number, and now and then takes away those of writers that are
    /// long gone.
    fn mark(&self, tenant: TenantId, number: i64) -> Vec<Sql> {
        let schema = self.schema;
        let mark = Sql::new(format!(
            "INSERT INTO {schema}.writer (tenant, id, batch, at) VALUES ($1, $2, $3, now())
             ON CONFLICT (tenant, id) DO UPDATE SET batch = excluded.batch, at = excluded.at"
        ));
        let mut all = vec![mark.id(tenant.as_bytes()).id(&self.id.0).int(number)];
        if number % SWEEP == 0 {
            let sweep = format!(
                "DELETE FROM {schema}.writer WHERE tenant = $1 AND at < now() - interval '1 day'"
            );
            all.push(Sql::new(sweep).id(tenant.as_bytes()));
        }
        all
    }

    /// Whether the transaction with this number took effect.
    async fn settle(&self, tenant: TenantId, number: i64) -> Result<bool, Broken> {
        let schema = self.schema;
        let lock = format!("SELECT 1 FROM {schema}.firm WHERE tenant = $1 FOR UPDATE");
        let mark = format!("SELECT batch FROM {schema}.writer WHERE tenant = $1 AND id = $2");
        let trip = [
            self.sessions.begin(tenant, Durability::Durable),
            Sql::new(lock).id(tenant.as_bytes()),
            Sql::new(mark).id(tenant.as_bytes()).id(&self.id.0),
            Sql::plain("COMMIT"),
        ];
        // Nobody else can find it out, so this is worth more patience than the attempt was.
        let mut backoff = Backoff::within(self.sessions.patience * 2);
        loop {
            let outcome = match self.sessions.one().await {
                Ok(session) => session.only(&trip).await,
                Err(broken) => Err(broken),
            };
            match outcome {
                Ok(rows) => {
                    let last = rows[2].first().map(|row| column::<i64>(row, 0));
                    return Ok(last == Some(Some(number)));
                }
                Err(broken) if broken.next != Next::Nothing && backoff.pause().await => {}
                Err(broken) => return Err(broken),
            }
        }
    }
}

enum Ended {
    Committed,
    Open,
    Undone(Broken),
}

/// What the answers to the statements and to the COMMIT after them say of the transaction.
fn ended(mut answers: Vec<Result<Vec<Row>, Broken>>) -> Ended {
    let commit = answers.pop();
    for answer in answers {
        match answer {
            Ok(_) => {}
            // A pooler may have said this while the server went on.
            Err(broken) if broken.next == Next::Lost => return Ended::Open,
            Err(broken) => return Ended::Undone(broken),
        }
    }
    match commit {
        Some(Ok(_)) => Ended::Committed,
        // A serialisation failure at COMMIT is the server's word that there was none.
        Some(Err(broken)) if broken.next == Next::Again => Ended::Undone(broken),
        _ => Ended::Open,
    }
}

/// Every how many transactions the numbers of writers that are gone are taken away.
const SWEEP: i64 = 4096;
