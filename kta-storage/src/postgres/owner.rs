//! The role that owns the tables: it makes them, and lets the application's role use them.

use core::fmt;

use kta_core::{Error, Fault, FaultKind, Port, Result};
use tokio_postgres::Row;

use super::fault::{Broken, Next};
use super::options::{PgOptions, misconfigured};
use super::retry::Backoff;
use super::session::Sessions;
use super::sql::{Sql, column};

/// The owner's side of a [`PgStore`](super::PgStore)'s database. Its role needs the right to make
/// a schema in the database (`GRANT CREATE ON DATABASE … TO …`), and no more than that: it is no
/// superuser. Row security binds it as it binds the application.
pub struct PgOwner {
    sessions: Sessions,
}

impl PgOwner {
    /// An owner; nothing is connected yet.
    ///
    /// # Errors
    /// [`Misconfigured`](FaultKind::Misconfigured) when TLS cannot be set up.
    pub fn new(options: &PgOptions) -> Result<Self> {
        Ok(Self {
            sessions: Sessions::of(options)?,
        })
    }

    /// Makes the tables, or brings them to this version, and lets `application`, a role that is
    /// there, use them. Doing it again is no error.
    ///
    /// # Errors
    /// [`Misconfigured`](FaultKind::Misconfigured) for a role that is not there or is this one,
    /// for tables of a newer version, and where the owner's rights do not suffice.
    pub async fn migrate(&self, application: &str) -> Result<()> {
        self.make(&Form::STORE, application).await
    }

    /// As [`migrate`](Self::migrate), for the tables of a [`PgKeyTable`](super::PgKeyTable). Do it
    /// in another database than the store's, with a short-lived backup of its own: a backup of
    /// the records alone then opens nothing.
    ///
    /// # Errors
    /// As [`migrate`](Self::migrate).
    pub async fn migrate_keys(&self, application: &str) -> Result<()> {
        self.make(&Form::KEYS, application).await
    }

    async fn make(&self, form: &Form, application: &str) -> Result<()> {
        let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if application.is_empty() || application.len() > 63 || !application.chars().all(named) {
            return Err(misconfigured("a role's name that is not plain"));
        }
        let mut backoff = Backoff::within(self.sessions.patience);
        loop {
            match self.try_make(form, application).await {
                Ok(()) => return Ok(()),
                // Every step leaves a whole version, so whatever was done may be done again.
                Err(Failed::Broken(broken))
                    if broken.next != Next::Nothing && backoff.pause().await => {}
                Err(Failed::Broken(broken)) => {
                    return Err(broken.in_operation(Port::Store, "migrate"));
                }
                Err(Failed::Told(error)) => return Err(error),
            }
        }
    }

    async fn try_make(&self, form: &Form, application: &str) -> Result<(), Failed> {
        let schema = form.schema;
        let session = self.sessions.one().await?.unhurried();
        // One owner at a time, until the transaction ends.
        let begin = format!(
            "BEGIN; SELECT pg_advisory_xact_lock({LOCK}); CREATE SCHEMA IF NOT EXISTS {schema};
             CREATE TABLE IF NOT EXISTS {schema}.migration
             (version int4 PRIMARY KEY, made_by text NOT NULL)"
        );
        session.run(&[Sql::plain(begin)]).await?;
        let ours =
            format!("SELECT current_user = $1, (SELECT max(version) FROM {schema}.migration)");
        let rows = session.run(&[Sql::new(ours).text(application)]).await?;
        let row = rows[0].first().ok_or(Broken::unreadable())?;
        if column(row, 0) != Some(false) {
            return Err(misconfigured("the owner cannot be the application").into());
        }
        let version = column::<Option<i32>>(row, 1).flatten().unwrap_or(0);
        let version = usize::try_from(version).map_err(|_| Broken::unreadable())?;
        if version > form.migrations.len() {
            return Err(misconfigured("the tables were made by a newer version").into());
        }
        for (number, statements) in (1_i64..).zip(form.migrations).skip(version) {
            let made = format!(
                "INSERT INTO {schema}.migration (version, made_by) VALUES ($1::int8::int4, $2)"
            );
            let made = Sql::new(made)
                .int(number)
                .text(concat!("kta-storage ", env!("CARGO_PKG_VERSION")));
            session.run(&[Sql::plain(*statements), made]).await?;
        }
        let rights = form.rights(application);
        session
            .run(&[Sql::plain(rights), Sql::plain("COMMIT")])
            .await?;
        session.done();
        Ok(())
    }

    /// Writes the tables of records anew, without the dead rows of what was removed, and gives
    /// the old files back to the operating system. Nobody reads or writes meanwhile. The
    /// write-ahead log, standbys and backups still hold what they hold.
    ///
    /// # Errors
    /// Faults of the server.
    pub async fn rewrite(&self) -> Result<()> {
        self.vacuum(&["kta.record", "kta.tag"]).await
    }

    /// As [`rewrite`](Self::rewrite), for the tables of a [`PgKeyTable`](super::PgKeyTable).
    ///
    /// # Errors
    /// Faults of the server.
    pub async fn rewrite_keys(&self) -> Result<()> {
        self.vacuum(&["kta_keys.head", "kta_keys.node", "kta_keys.subject"])
            .await
    }

    async fn vacuum(&self, tables: &[&str]) -> Result<()> {
        for table in tables {
            // Not in a transaction, as the server wants it.
            let sql = Sql::plain(format!("VACUUM (FULL) {table}"));
            let outcome = async { self.sessions.one().await?.unhurried().only(&[sql]).await }.await;
            outcome.map_err(|broken: Broken| broken.in_operation(Port::Store, "rewrite"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for PgOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PgOwner")
    }
}

/// What a store finds out before it does anything.
pub(super) struct Checked {
    /// A number that nobody else has.
    pub(super) id: super::sql::Id,
    /// `wal_writer_delay`, in milliseconds.
    pub(super) delay: u64,
    /// What the database calls the store, however it is reached; zeros for a set of tables that
    /// has no name.
    pub(super) store: super::sql::Id,
}

/// Checks that the tables are there, of this version and walled off, and that the role can
/// neither pass over row security nor change what may not be changed.
pub(super) async fn check(sessions: &Sessions, form: &Form) -> Result<Checked> {
    let ask = async |sql: String| {
        let sql = [Sql::new(sql)];
        let mut backoff = Backoff::within(sessions.patience);
        loop {
            let outcome = match sessions.one().await {
                Ok(session) => session.only(&sql).await,
                Err(broken) => Err(broken),
            };
            match outcome {
                Ok(mut rows) => return Ok(rows.swap_remove(0)),
                Err(broken) if broken.next != Next::Nothing && backoff.pause().await => {}
                Err(broken) => return Err(broken.in_operation(form.port, "open")),
            }
        }
    };
    let schema = form.schema;
    let version = ask(format!("SELECT max(version)::int8 FROM {schema}.migration")).await?;
    let version = version.first().and_then(|row| column::<i64>(row, 0));
    if version != i64::try_from(form.migrations.len()).ok() {
        return Err(misconfigured("the tables are of another version"));
    }
    let rows = ask(form.question()).await?;
    let row = rows.first().ok_or_else(unreadable)?;
    let said = |at| column::<bool>(row, at).ok_or_else(unreadable);
    for (at, detail) in [
        (
            0,
            "the server does not synchronise its files (fsync is off)",
        ),
        (1, "the role passes over row security"),
        (2, "the role owns the tables"),
        (3, form.detail),
        (4, "a table has no row security"),
    ] {
        if said(at)? {
            return Err(misconfigured(detail));
        }
    }
    Ok(Checked {
        id: column(row, 5).ok_or_else(unreadable)?,
        delay: number_of(row)?,
        store: column(row, 7).ok_or_else(unreadable)?,
    })
}

fn number_of(row: &Row) -> Result<u64> {
    super::sql::number(row, 6).ok_or_else(unreadable)
}

fn unreadable() -> Error {
    Fault::new(FaultKind::Protocol, Port::Store, "open").into()
}

enum Failed {
    Broken(Broken),
    Told(Error),
}

impl From<Broken> for Failed {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

/// What a set of tables is, and what the application may do with them.
pub(super) struct Form {
    schema: &'static str,
    port: Port,
    /// The statements that lead from each version to the next.
    migrations: &'static [&'static str],
    /// Asks what they are called.
    name: &'static str,
    /// Each table with the rights of the application.
    tables: &'static [(&'static str, &'static str)],
    /// What the application must never have, by table.
    forbidden: &'static [(&'static str, &'static str)],
    /// What is wrong with a role that has it.
    detail: &'static str,
}

impl Form {
    /// The table of keys. A tombstone is never removed.
    pub(super) const KEYS: Self = Self {
        schema: "kta_keys",
        port: Port::KeyTable,
        migrations: &[include_str!("key_table.sql")],
        name: "'00000000-0000-0000-0000-000000000000'::uuid",
        tables: &[
            ("firm", "SELECT, INSERT, UPDATE"),
            ("writer", "SELECT, INSERT, UPDATE, DELETE"),
            ("head", "SELECT, INSERT, UPDATE"),
            ("node", "SELECT, INSERT, UPDATE"),
            ("subject", "SELECT, INSERT, UPDATE, DELETE"),
            ("tombstone", "SELECT, INSERT, UPDATE"),
            ("copy", "SELECT, INSERT, UPDATE"),
        ],
        forbidden: &[("tombstone", "DELETE, TRUNCATE")],
        detail: "the role can remove tombstones",
    };

    /// The store. Nobody but the owner changes or removes an entry.
    pub(super) const STORE: Self = Self {
        schema: "kta",
        port: Port::Store,
        migrations: &[
            include_str!("schema.sql"),
            include_str!("journal.sql"),
            include_str!("cohorts.sql"),
            include_str!("store.sql"),
            include_str!("paged.sql"),
        ],
        name: "(SELECT store FROM kta.migration WHERE version = 1)",
        tables: &[
            ("firm", "SELECT, INSERT, UPDATE (size, last_at)"),
            ("journal", "SELECT, INSERT, UPDATE (taken)"),
            ("writer", "SELECT, INSERT, UPDATE, DELETE"),
            ("entry", "SELECT, INSERT"),
            ("trail", "SELECT, INSERT"),
            ("class", "SELECT, INSERT, UPDATE (reign, admits)"),
            ("cohort", "SELECT, INSERT, UPDATE (reign), DELETE"),
            (
                "reign",
                "SELECT, INSERT, UPDATE (governing, weight), DELETE",
            ),
            ("record", "SELECT, INSERT, UPDATE, DELETE"),
            ("tag", "SELECT, INSERT, DELETE"),
            ("placement", "SELECT, INSERT, UPDATE"),
            ("hold", "SELECT, INSERT, UPDATE"),
            ("sheet", "SELECT, INSERT, UPDATE, DELETE"),
            ("job", "SELECT, INSERT, UPDATE"),
            ("erased", "SELECT, INSERT, UPDATE"),
        ],
        forbidden: &[
            ("entry", "UPDATE, DELETE, TRUNCATE"),
            ("trail", "UPDATE, DELETE, TRUNCATE"),
        ],
        detail: "the role can change the log",
    };

    /// Walls between tenants in every table, for its owner too: without a tenant set in the
    /// transaction nothing is seen and nothing can be written. And what the application may do.
    fn rights(&self, application: &str) -> String {
        let schema = self.schema;
        let tenant = "tenant = nullif(current_setting('kta.tenant', true), '')::uuid";
        let mut all = format!(
            "REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM \"{application}\";
             GRANT USAGE ON SCHEMA {schema} TO \"{application}\";
             GRANT SELECT ON {schema}.migration TO \"{application}\";"
        );
        for (table, rights) in self.tables {
            let table = format!("{schema}.{table}");
            all += &format!(
                "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
                 ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
                 DROP POLICY IF EXISTS tenant_alone ON {table};
                 CREATE POLICY tenant_alone ON {table} USING ({tenant}) WITH CHECK ({tenant});
                 GRANT {rights} ON {table} TO \"{application}\";"
            );
        }
        all
    }

    /// Asks what is true of the server and of the role that asks: what must not be, then who it
    /// is.
    fn question(&self) -> String {
        let schema = self.schema;
        let forbidden = self.forbidden.iter().map(|(table, rights)| {
            format!("has_table_privilege(current_user, '{schema}.{table}', '{rights}')")
        });
        let forbidden = forbidden.collect::<Vec<_>>().join(" OR ");
        let name = self.name;
        format!(
            "SELECT current_setting('fsync') = 'off',
             (SELECT rolsuper OR rolbypassrls FROM pg_catalog.pg_roles
                WHERE rolname = current_user),
             (SELECT bool_or(pg_has_role(current_user, relowner, 'MEMBER'))
                FROM pg_catalog.pg_class
                WHERE relnamespace = '{schema}'::regnamespace AND relkind = 'r'),
             {forbidden},
             (SELECT NOT bool_and(relrowsecurity AND relforcerowsecurity)
                FROM pg_catalog.pg_class WHERE relnamespace = '{schema}'::regnamespace
                AND relkind = 'r' AND relname <> 'migration'),
             gen_random_uuid(),
             (SELECT setting::int8 FROM pg_catalog.pg_settings WHERE name = 'wal_writer_delay'),
             {name}"
        )
    }
}

/// The number under which owners of this house take turns.
const LOCK: i64 = i64::from_be_bytes(*b"kta-owns");
