//! Connections, and the one way in which statements go over them.
//!
//! Nothing is kept in a session, so a pooler may give each transaction another one: settings are
//! `SET LOCAL`, statements are unnamed (unless the options allow names). Statements that need not
//! wait for each other's rows are sent together, so that a read is one round trip:
//!
//! ```text
//!   ─► BEGIN, tenant │ SELECT … │ COMMIT      ◄─ rows
//! ```

use std::time::Duration;

use deadpool_postgres::{Client, Pool};
use futures_util::future::join_all;
use kta_core::id::TenantId;
use kta_core::ports::store::Durability;
use kta_core::{Port, Result};
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::fault::Broken;
use super::fault::Next;
use super::options::PgOptions;
use super::retry::Backoff;
use super::sql::Sql;

/// The pool and the manners of its connections.
pub(super) struct Sessions {
    pool: Pool,
    named: bool,
    pub(super) patience: Duration,
}

impl Sessions {
    pub(super) fn of(options: &PgOptions) -> Result<Self> {
        Ok(Self {
            pool: options.pool()?,
            named: options.is_named(),
            patience: options.patience_of(),
        })
    }

    pub(super) async fn one(&self) -> Result<Session, Broken> {
        let client = self.pool.get().await?;
        Ok(Session {
            client: Some(client),
            named: self.named,
            patience: self.patience,
        })
    }

    /// The rows of one statement, as a tenant sees them; tried again while the server is away.
    pub(super) async fn read(
        &self,
        port: Port,
        operation: &'static str,
        tenant: TenantId,
        sql: Sql,
    ) -> Result<Vec<Row>> {
        let trip = [self.begin_reading(tenant), sql, Sql::plain("COMMIT")];
        let mut backoff = Backoff::within(self.patience);
        loop {
            let outcome = match self.one().await {
                Ok(session) => session.only(&trip).await,
                Err(broken) => Err(broken),
            };
            match outcome {
                Ok(mut rows) => return Ok(rows.swap_remove(1)),
                Err(broken) if broken.next != Next::Nothing && backoff.pause().await => {}
                Err(broken) => return Err(broken.in_operation(port, operation)),
            }
        }
    }

    /// Begins a transaction that writes for a tenant. What a client that is gone left open ends
    /// after our patience, and so do its locks.
    pub(super) fn begin(&self, tenant: TenantId, durability: Durability) -> Sql {
        let sync = match durability {
            Durability::Bounded => "off",
            Durability::Durable => "on",
        };
        let patience = self.milliseconds();
        // A lock that does not come is tried for again before the statement's own time is up.
        let lock = patience.div_ceil(2);
        Sql::plain(format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT {}, \
             set_config('synchronous_commit', '{sync}', true), \
             set_config('lock_timeout', '{lock}', true), \
             set_config('idle_in_transaction_session_timeout', '{patience}', true)",
            self.settings(tenant),
        ))
    }

    /// Begins a transaction that reads for a tenant and sees one moment throughout.
    pub(super) fn begin_looking(&self, tenant: TenantId) -> Sql {
        Sql::plain(format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT {}",
            self.settings(tenant)
        ))
    }

    fn begin_reading(&self, tenant: TenantId) -> Sql {
        Sql::plain(format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SELECT {}",
            self.settings(tenant)
        ))
    }

    fn settings(&self, tenant: TenantId) -> String {
        let tenant = u128::from_be_bytes(*tenant.as_bytes());
        let patience = self.milliseconds();
        format!(
            "set_config('kta.tenant', '{tenant:032x}', true), \
             set_config('statement_timeout', '{patience}', true)"
        )
    }

    fn milliseconds(&self) -> u128 {
        self.patience.as_millis().clamp(1, i32::MAX as u128)
    }
}

/// A connection in our hands. It goes back into the pool by [`done`](Self::done) only; one that is
/// dropped, with whatever a cancelled call left on it, is closed.
pub(super) struct Session {
    client: Option<Client>,
    named: bool,
    patience: Duration,
}

impl Session {
    /// Sends all the statements, then awaits all their rows; the first error of any of them.
    pub(super) async fn run(&self, statements: &[Sql]) -> Result<Vec<Vec<Row>>, Broken> {
        let outcomes = self.each(statements).await?;
        outcomes.into_iter().collect()
    }

    /// As [`run`](Self::run), for statements after which the connection is free again.
    pub(super) async fn only(self, statements: &[Sql]) -> Result<Vec<Vec<Row>>, Broken> {
        let rows = self.run(statements).await?;
        self.done();
        Ok(rows)
    }

    /// Sends all the statements, then awaits what becomes of each.
    pub(super) async fn each(
        &self,
        statements: &[Sql],
    ) -> Result<Vec<Result<Vec<Row>, Broken>>, Broken> {
        let Some(client) = &self.client else {
            return Err(Broken::silent());
        };
        // Futures up to this number are polled for the first time, and so sent, in their order.
        debug_assert!(statements.len() <= 30);
        let all = async {
            // A statement is prepared before anything is sent that might overtake it.
            if self.named {
                for sql in statements.iter().filter(|sql| !sql.plain) {
                    client.prepare_typed_cached(&sql.text, &sql.types()).await?;
                }
            }
            let sent = statements.iter().map(|sql| self.send(client, sql));
            Ok(join_all(sent).await)
        };
        timeout(self.patience, all)
            .await
            .map_err(|_| Broken::silent())?
    }

    async fn send(&self, client: &Client, sql: &Sql) -> Result<Vec<Row>, Broken> {
        let rows = if sql.plain {
            client.batch_execute(&sql.text).await.map(|()| Vec::new())
        } else if self.named {
            let statement = client.prepare_typed_cached(&sql.text, &sql.types()).await?;
            let values: Vec<_> = sql
                .values
                .iter()
                .map(|(value, _)| value as &(dyn ToSql + Sync))
                .collect();
            client.query(&statement, &values).await
        } else {
            let values: Vec<_> = sql
                .values
                .iter()
                .map(|(value, of)| (value as &(dyn ToSql + Sync), of.clone()))
                .collect();
            client.query_typed(&sql.text, &values).await
        };
        Ok(rows?)
    }

    /// Gives the connection back.
    pub(super) fn done(mut self) {
        drop(self.client.take());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Client::take(client));
        }
    }
}
