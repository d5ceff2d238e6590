//! The log: the newest entries have a row each; once they are many enough they stand in pages.
//!
//! ```text
//!   few entries ──► a row each ──┐ 128 of a firm's
//!   many at once ────────────────┴──► pages, full ones only; what is left has a row each again
//! ```
//!
//! So what is entered touches the end of one table, and what stays takes little (see log_page.rs).
//! An entry is written twice at the most, and the second time beside a hundred others.

use kta_core::id::TenantId;
use kta_core::{Port, Result};
use rusqlite::types::FromSqlError;
use rusqlite::{Connection, Row, named_params, params};

use super::FORM;
use super::change::Firm;
use super::fault::{broken, corrupt};
use super::query::{LAST_PLACE, firm, place, unreadable};
use crate::form::integer;
use crate::log_page::{count, pack, unpack};

impl Firm<'_> {
    /// Keeps the entries of this transaction.
    pub(super) fn keep_entries(&mut self) -> Result<()> {
        let fresh = std::mem::take(&mut self.fresh);
        let before = self.end.size - fresh.len() as u64;
        let loose = before.checked_sub(self.paged).ok_or_else(damaged)?;
        if loose + (fresh.len() as u64) < MANY {
            return self.keep_loose(before, &fresh);
        }
        // A file of an earlier version may have all there ever were in rows of their own.
        if loose > AT_ONCE {
            self.keep_loose(before, &fresh)?;
            return self.keep_pages(AT_ONCE, Vec::new());
        }
        self.keep_pages(loose, fresh)
    }

    /// Puts so many loose entries, and these behind them, into pages.
    fn keep_pages(&mut self, loose: u64, fresh: Vec<Vec<u8>>) -> Result<()> {
        let first = self.paged;
        let mut entries = self.take(first, loose)?;
        entries.extend(fresh);
        let pages = pack(first, &entries, PAGE).ok_or_else(damaged)?;
        let mut rest = entries.as_slice();
        for page in pages.iter().filter(|page| page.full) {
            self.insert(page.first, &page.bytes)?;
            rest = &rest[page.many..];
            self.paged += page.many as u64;
        }
        self.keep_loose(self.paged, rest)
    }

    /// Takes so many entries out, from this one on.
    fn take(&self, first: u64, many: u64) -> Result<Vec<Vec<u8>>> {
        if many == 0 {
            return Ok(Vec::new());
        }
        let rows = params![self.place_of(first)?, self.place_of(first + many - 1)?];
        let taken = self.all(TAKE, rows, |row| told(row).map(|(_, entries)| entries))?;
        let taken = taken.concat();
        self.execute(TAKEN, rows)?;
        if taken.len() as u64 == many {
            Ok(taken)
        } else {
            Err(damaged())
        }
    }

    fn keep_loose(&self, first: u64, entries: &[Vec<u8>]) -> Result<()> {
        let mut numbered = (first..).zip(entries);
        numbered.try_for_each(|(seq, bytes)| self.insert(seq, bytes))
    }

    fn insert(&self, first: u64, bytes: &[u8]) -> Result<()> {
        self.execute(INSERT, params![self.place_of(first)?, bytes])
            .map(drop)
    }

    fn place_of(&self, seq: u64) -> Result<i64> {
        Ok(place(self.no, integer(seq)?))
    }
}

/// At most so many entries, from this one on.
pub(super) fn entries(
    db: &Connection,
    tenant: TenantId,
    from: u64,
    most: usize,
) -> Result<Vec<Vec<u8>>> {
    let find = || -> rusqlite::Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        let (Some(firm), Ok(wanted)) = (firm(db, tenant)?, i64::try_from(from)) else {
            return Ok(found);
        };
        let (first, last) = (place(firm, 0), place(firm, LAST_PLACE));
        let from_row = place(firm, wanted.min(LAST_PLACE));
        let mut rows = db.prepare_cached(FROM)?;
        let mut rows =
            rows.query(named_params! { ":first": first, ":from": from_row, ":last": last })?;
        while found.len() < most {
            let Some(row) = rows.next()? else {
                break;
            };
            let (seq, entries) = told(row)?;
            let before = usize::try_from(from.saturating_sub(seq)).unwrap_or(usize::MAX);
            let room = most - found.len();
            found.extend(entries.into_iter().skip(before).take(room));
        }
        Ok(found)
    };
    find().map_err(broken(Port::Ledger, "entries"))
}

/// Whether each firm's log ends where its firm says.
pub(super) fn ends(db: &Connection) -> Result<()> {
    let agree = || -> rusqlite::Result<bool> {
        let mut firms = db.prepare(ENDS)?;
        let mut firms = firms.query(params![LAST_PLACE])?;
        while let Some(firm) = firms.next()? {
            let size: i64 = firm.get(0)?;
            let end = match (
                firm.get::<_, Option<i64>>(1)?,
                firm.get_ref(2)?.as_blob_or_null()?,
            ) {
                (Some(last), Some(row)) => count(row).map(|many| last + many.cast_signed()),
                _ => Some(0),
            };
            if end != Some(size) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    if agree().map_err(broken(Port::Store, "open"))? {
        Ok(())
    } else {
        Err(FORM.corrupt("a log does not end where its firm says"))
    }
}

/// The entries of a row and the number of the first.
fn told(row: &Row<'_>) -> rusqlite::Result<(u64, Vec<Vec<u8>>)> {
    let first = (row.get::<_, i64>(0)? & LAST_PLACE).cast_unsigned();
    let entries = unpack(first, row.get_ref(1)?.as_blob()?);
    let entries = entries.ok_or_else(|| unreadable(1, FromSqlError::InvalidType))?;
    Ok((first, entries))
}

fn damaged() -> kta_core::Error {
    corrupt(Port::Store, "commit")
}

/// How many entries of a firm's in rows of their own become pages.
const MANY: u64 = 128;

/// How many become pages in one transaction at most.
const AT_ONCE: u64 = 512;

/// Bytes of a page at most: with the rest of its row it fills a page of SQLite's and no second.
const PAGE: usize = 4056;

const INSERT: &str = "INSERT INTO entry (place, bytes) VALUES (?1, ?2)";

const TAKE: &str = "SELECT place, bytes FROM entry WHERE place BETWEEN ?1 AND ?2 ORDER BY place";

const TAKEN: &str = "DELETE FROM entry WHERE place BETWEEN ?1 AND ?2";

/// The row that has an entry is the last that begins with it or before it.
const FROM: &str = "SELECT place, bytes FROM entry
    WHERE place >= coalesce((SELECT max(place) FROM entry WHERE place BETWEEN :first AND :from), :from)
    AND place <= :last ORDER BY place";

const ENDS: &str = "SELECT f.size, e.place - (f.no << 40), substr(e.bytes, 1, 2) FROM firm f
    LEFT JOIN entry e ON e.place = (SELECT max(place) FROM entry
        WHERE place BETWEEN f.no << 40 AND (f.no << 40) + ?1)";
