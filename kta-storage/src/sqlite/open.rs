//! Opening a store's file: ours, whole, of a version we know, and set up as the contract wants.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::Duration;

use kta_core::{Error, Fault, FaultKind, Port, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::fault::broken;

/// What a file of this crate is: who wrote it, and how its tables came to be.
pub(crate) struct Form {
    /// The number by which files of this kind are told from those of other programs.
    pub(crate) application: i32,
    /// The statements that lead from each version to the next; the first makes the tables.
    pub(crate) migrations: &'static [&'static str],
    /// The port that the file serves, for faults.
    pub(crate) port: Port,
}

impl Form {
    /// Opens the file for writing, making it if it is not there.
    pub(crate) fn open(&self, path: &Path, quota: Option<u64>) -> Result<Connection> {
        touch(path).map_err(|_| self.misconfigured("the file cannot be opened"))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut db = Connection::open_with_flags(path, flags).map_err(self.broken())?;
        self.set_up(&mut db, quota).map_err(self.broken())??;
        Ok(db)
    }

    /// Opens the file for reading only.
    pub(crate) fn open_reader(&self, path: &Path, cache: Option<u64>) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags).map_err(self.broken())?;
        let set_up = || {
            db.busy_timeout(PATIENCE)?;
            keep_plans(&db)?;
            db.pragma_update(None, "query_only", true)?;
            let cache = cache.map(|bytes| -i64::try_from(bytes >> 10).unwrap_or(i64::MAX));
            db.pragma_update(None, "cache_size", cache.unwrap_or(READER_CACHE))?;
            db.pragma_update(None, "temp_store", "MEMORY")?;
            db.set_prepared_statement_cache_capacity(64);
            Ok(())
        };
        set_up().map_err(self.broken())?;
        Ok(db)
    }

    /// Reads the whole file: each page, each index.
    pub(crate) fn check(&self, db: &Connection) -> Result<()> {
        let sql = "PRAGMA integrity_check(1)";
        let verdict: String = db
            .query_row(sql, [], |row| row.get(0))
            .map_err(broken(self.port, "check"))?;
        if verdict == "ok" {
            Ok(())
        } else {
            Err(self.corrupt("the file is damaged"))
        }
    }

    fn set_up(&self, db: &mut Connection, quota: Option<u64>) -> rusqlite::Result<Result<()>> {
        db.busy_timeout(PATIENCE)?;
        keep_plans(db)?;
        // Otherwise SQLite would read, and fail at the first commit.
        if db.is_readonly("main")? {
            return Ok(Err(self.misconfigured("the file cannot be written")));
        }
        // Read before anything is written: a foreign file stays as it was.
        if let Err(error) = self.recognise(db)? {
            return Ok(Err(error));
        }
        db.pragma_update(None, "secure_delete", true)?;
        db.pragma_update(None, "foreign_keys", true)?;
        db.pragma_update(None, "temp_store", "MEMORY")?;
        db.pragma_update(None, "trusted_schema", false)?;
        db.pragma_update(None, "cell_size_check", true)?;
        db.pragma_update(None, "cache_size", WRITER_CACHE)?;
        db.pragma_update(None, "journal_size_limit", JOURNAL_LIMIT)?;
        db.pragma_update(None, "wal_autocheckpoint", HOME_AT)?;
        db.pragma_update(None, "fullfsync", true)?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.set_prepared_statement_cache_capacity(128);
        let mode: String =
            db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        if mode != "wal" {
            return Ok(Err(
                self.misconfigured("the file system cannot hold a write-ahead log")
            ));
        }
        if let Some(quota) = quota {
            let page: i64 = db.pragma_query_value(None, "page_size", |row| row.get(0))?;
            let pages = i64::try_from(quota).unwrap_or(i64::MAX) / page;
            let _: i64 =
                db.pragma_update_and_check(None, "max_page_count", pages, |row| row.get(0))?;
        }
        self.migrate(db)?;
        let verdict: String = db.pragma_query_value(None, "quick_check", |row| row.get(0))?;
        Ok(if verdict == "ok" {
            Ok(())
        } else {
            Err(self.corrupt("the file is damaged"))
        })
    }

    /// Whether the file is empty or ours, and of a version that we know.
    fn recognise(&self, db: &Connection) -> rusqlite::Result<Result<()>> {
        let application: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let tables: i64 =
            db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let empty = application == 0 && version == 0 && tables == 0;
        Ok(if !empty && application != self.application {
            Err(self.misconfigured("the file belongs to another program"))
        } else if version as usize > self.migrations.len() {
            Err(self.misconfigured("the file was written by a newer version"))
        } else {
            Ok(())
        })
    }

    fn migrate(&self, db: &mut Connection) -> rusqlite::Result<()> {
        loop {
            // The lock first, then the look: another process may be making the file too.
            let step = Transaction::new(db, TransactionBehavior::Immediate)?;
            let version: u32 = step.pragma_query_value(None, "user_version", |row| row.get(0))?;
            let Some(statements) = self.migrations.get(version as usize) else {
                return Ok(());
            };
            step.execute_batch(statements)?;
            let made_by = concat!("kta-storage ", env!("CARGO_PKG_VERSION"));
            let row = (version + 1, made_by);
            step.execute(
                "INSERT INTO migration (version, made_by) VALUES (?1, ?2)",
                row,
            )?;
            step.pragma_update(None, "application_id", self.application)?;
            step.pragma_update(None, "user_version", version + 1)?;
            step.commit()?;
        }
    }

    fn broken(&self) -> impl Fn(rusqlite::Error) -> Error {
        broken(self.port, "open")
    }

    fn misconfigured(&self, detail: &'static str) -> Error {
        Fault::new(FaultKind::Misconfigured, self.port, "open")
            .because(detail)
            .into()
    }

    pub(crate) fn corrupt(&self, detail: &'static str) -> Error {
        Fault::new(FaultKind::Corrupt, self.port, "open")
            .because(detail)
            .into()
    }
}

/// Lets a prepared statement keep its plan (the query planner stability guarantee). Without it
/// SQLite plans anew whatever has a bound `LIMIT`, each time that it runs.
fn keep_plans(db: &Connection) -> rusqlite::Result<()> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map(drop)
}

/// Makes the file if it is not there, readable for its owner only.
pub(super) fn touch(path: &Path) -> std::io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// How long to wait for another process that holds the file.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Kibibytes of cache, as SQLite wants them: negative.
const WRITER_CACHE: i64 = -8 * 1024;
const READER_CACHE: i64 = -16 * 1024;

/// At how many pages the write-ahead log is written home: each page then goes home once for many
/// commits, and the disk is waited for that much less often. The store's writing thread sets its
/// own pace.
const HOME_AT: u32 = 8192;

/// To how many bytes the write-ahead log is cut back once it is written home.
const JOURNAL_LIMIT: i64 = 128 << 20;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const FIRST: &str = "CREATE TABLE migration (version INTEGER PRIMARY KEY, made_by TEXT);
        CREATE TABLE kept (what TEXT)";

    fn form(migrations: &'static [&'static str]) -> Form {
        Form {
            application: 7,
            migrations,
            port: Port::Store,
        }
    }

    #[test]
    fn a_migration_that_breaks_off_leaves_the_version_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("firm.db");
        let db = form(&[FIRST]).open(&file, None).unwrap();
        db.execute("INSERT INTO kept VALUES ('one')", []).unwrap();
        drop(db);
        let broken = form(&[
            FIRST,
            "ALTER TABLE kept ADD COLUMN more TEXT; CREATE TABLE kept (x)",
        ]);
        assert!(broken.open(&file, None).is_err());
        let told = |db: &Connection| -> (u32, i64, String) {
            let version = db.pragma_query_value(None, "user_version", |row| row.get(0));
            let columns = "SELECT count(*) FROM pragma_table_info('kept')";
            let columns = db.query_row(columns, [], |row| row.get(0));
            let what = db.query_row("SELECT what FROM kept", [], |row| row.get(0));
            (version.unwrap(), columns.unwrap(), what.unwrap())
        };
        let db = form(&[FIRST]).open(&file, None).unwrap();
        assert_eq!(told(&db), (1, 1, "one".to_owned()));
        drop(db);
        let mended = form(&[FIRST, "ALTER TABLE kept ADD COLUMN more TEXT"]);
        let db = mended.open(&file, None).unwrap();
        assert_eq!(told(&db), (2, 2, "one".to_owned()));
    }
}
