//! SQLCipher as a peer of the bench `store`, driven through its standard input: the loop is in
//! here, so that what is timed is SQLCipher.
//!
//! `kta-sqlcipher-peer FILE RECORDS CACHE_KIB` fills the file, or opens it if it is there, prints
//! `ready VERSION`, and answers every line `N` with N reads by id and a line `done`.

use std::hint::black_box;
use std::io::{BufRead as _, Write as _};

use rusqlite::Connection;

#[path = "../../store/values.rs"]
mod values;

use values::{COLUMNS, PURPOSES, at_random, key, of};

type Result<T> = core::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let [file, records, cache] = &words[..] else {
        return Err("FILE RECORDS CACHE_KIB".into());
    };
    let (records, cache): (usize, i64) = (records.parse()?, cache.parse()?);
    let there = std::path::Path::new(file).exists();
    let db = Connection::open(file)?;
    // A raw key: nothing is stretched.
    db.execute_batch(&format!("PRAGMA key = \"x'{}'\";", "2a".repeat(32)))?;
    let version: String = db.query_row("PRAGMA cipher_version", [], |row| row.get(0))?;
    db.pragma_update(None, "cache_size", -cache)?;
    db.set_prepared_statement_cache_capacity(64);
    if !there {
        fill(&db, records)?;
    }
    println!("ready {version}");
    let mut next = at_random(records, 7);
    let sql = format!("SELECT {COLUMNS} FROM person WHERE id = ?1");
    for line in std::io::stdin().lock().lines() {
        for _ in 0..line?.trim().parse::<u32>()? {
            let mut statement = db.prepare_cached(&sql)?;
            let found: [String; 10] = statement.query_row([key(next())], |row| {
                let mut all: [String; 10] = Default::default();
                for (at, value) in all.iter_mut().enumerate() {
                    *value = row.get(at)?;
                }
                Ok(all)
            })?;
            black_box(found);
        }
        println!("done");
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn fill(db: &Connection, records: usize) -> Result<()> {
    let columns = COLUMNS.replace(',', " TEXT NOT NULL,");
    db.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
         CREATE TABLE person (id BLOB PRIMARY KEY, purpose INTEGER NOT NULL, {columns} TEXT NOT NULL);
         CREATE UNIQUE INDEX person_by_email ON person (email);
         CREATE INDEX person_by_purpose ON person (purpose);"
    ))?;
    for first in (0..records).step_by(1000) {
        db.execute_batch("BEGIN")?;
        let sql = "INSERT INTO person VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
        let mut insert = db.prepare_cached(sql)?;
        for number in first..(first + 1000).min(records) {
            insert.raw_bind_parameter(1, key(number))?;
            insert.raw_bind_parameter(2, (number % PURPOSES) as i64)?;
            for (at, value) in of(number).iter().enumerate() {
                insert.raw_bind_parameter(at + 3, value)?;
            }
            insert.raw_execute()?;
        }
        drop(insert);
        db.execute_batch("COMMIT")?;
    }
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}
