//! The peer: plain SQLite, the same values in ten columns, nobody asked and nothing logged.

use std::path::Path;

use rusqlite::Connection;

use crate::values::{COLUMNS, PURPOSES, key, of};

/// A database of people in plain columns, with a unique index on the e-mail address and one on
/// the purpose.
pub(crate) struct Plain {
    db: Connection,
    select: String,
}

impl Plain {
    /// Makes it; `synchronous` as SQLite writes it, `cache` in kibibytes.
    pub(crate) fn create(path: &Path, synchronous: &str, cache: i64) -> Self {
        let db = Self::open(path, cache);
        db.pragma_update(None, "journal_mode", "WAL").unwrap();
        db.pragma_update(None, "synchronous", synchronous).unwrap();
        let columns = COLUMNS.replace(',', " TEXT NOT NULL,");
        db.execute_batch(&format!(
            "CREATE TABLE person (id BLOB PRIMARY KEY, purpose INTEGER NOT NULL, {columns} TEXT NOT NULL);
             CREATE UNIQUE INDEX person_by_email ON person (email);
             CREATE INDEX person_by_purpose ON person (purpose);"
        ))
        .unwrap();
        let select = format!("SELECT {COLUMNS} FROM person WHERE id = ?1");
        Self { db, select }
    }

    fn open(path: &Path, cache: i64) -> Connection {
        let db = Connection::open(path).unwrap();
        db.pragma_update(None, "cache_size", -cache).unwrap();
        db.set_prepared_statement_cache_capacity(64);
        db
    }

    /// Puts people, as one transaction.
    pub(crate) fn put(&self, people: impl Iterator<Item = usize>) {
        self.db.execute_batch("BEGIN IMMEDIATE").unwrap();
        {
            let sql =
                "INSERT INTO person VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
            let mut insert = self.db.prepare_cached(sql).unwrap();
            for number in people {
                insert.raw_bind_parameter(1, key(number)).unwrap();
                insert
                    .raw_bind_parameter(2, (number % PURPOSES) as i64)
                    .unwrap();
                for (at, value) in of(number).iter().enumerate() {
                    insert.raw_bind_parameter(at + 3, value).unwrap();
                }
                insert.raw_execute().unwrap();
            }
        }
        self.db.execute_batch("COMMIT").unwrap();
    }

    /// Writes the log home, so that reading finds the pages in the file.
    pub(crate) fn settle(&self) {
        let busy: bool = self
            .db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .unwrap();
        assert!(!busy);
    }

    /// A person's ten values by the row's key.
    pub(crate) fn get(&self, number: usize) -> [String; 10] {
        let mut statement = self.db.prepare_cached(&self.select).unwrap();
        statement
            .query_row([key(number)], |row| {
                let mut all: [String; 10] = Default::default();
                for (at, value) in all.iter_mut().enumerate() {
                    *value = row.get(at)?;
                }
                Ok(all)
            })
            .unwrap()
    }
}
