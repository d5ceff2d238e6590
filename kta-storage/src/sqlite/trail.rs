//! The trail: which entries name a person, found without reading the log, and kept so that what
//! is entered does not go to a page of its own each time.
//!
//! ```text
//!   a few names ──► new ones, as they come ──┐ 2,048 of a firm's
//!   many at once ────────────────────────────┴──► run ──┐ a tier that has enough for the next one
//!                          tier 0   < 2,048 postings ◄──┘ becomes one run, of the next tier
//!                          tier 1   < 16,384
//!                          tier 2   < 131,072
//!                          tier 3   stays as it is
//! ```
//!
//! A run is sorted by person, cut into pages (see posting.rs) and never changed. A log-structured
//! merge tree in the manner of O'Neil and others (1996), tiered: each posting is written four
//! times at most, always beside others, where an index of rows touches a page for each. A question
//! about a person looks into every run that has entries of the time it asks about: twenty-one at
//! most, and one more for each 131,072 postings or more of the firm; and it reads the new ones
//! through, sixty-four kilobytes at most.
//!
//! What was lost of a run, or of the newest, is found out by whoever merges it, and not forgotten
//! with it.

use kta_core::id::{SubjectId, TenantId};
use kta_core::time::Timestamp;
use kta_core::{Port, Result};
use rusqlite::types::{FromSqlError, ValueRef};
use rusqlite::{Connection, Row, params};

use super::FORM;
use super::change::Firm;
use super::fault::{broken, corrupt};
use super::query::{LAST_PLACE, place, unreadable};
use crate::form::{integer, limit, millis, millis_from};
use crate::posting::{Base, Posting, read_page, write_pages};

impl Firm<'_> {
    /// Keeps whom the entries of this transaction name.
    pub(super) fn keep_trail(&mut self) -> Result<()> {
        let mut fresh = std::mem::take(&mut self.named);
        if fresh.len() < FEW {
            self.keep_young(&fresh)?;
            if self.young < MANY {
                return Ok(());
            }
            fresh = self.take_young()?;
        }
        fresh.sort_unstable();
        self.write_run(&fresh)?;
        for tier in 0..LAST {
            self.merge(tier)?;
        }
        Ok(())
    }

    /// Puts postings behind the newest: all pages but the last are full.
    fn keep_young(&mut self, mut fresh: &[Posting]) -> Result<()> {
        while !fresh.is_empty() {
            let (page, before) = (self.young / IN_PAGE, self.young % IN_PAGE);
            let room = fresh.len().min((IN_PAGE - before) as usize);
            let (here, rest) = fresh.split_at(room);
            let bytes: Vec<u8> = here.iter().flat_map(Posting::plain).collect();
            self.execute(KEEP, params![self.young_page(page)?, bytes])?;
            self.young += room as u64;
            fresh = rest;
        }
        Ok(())
    }

    /// Takes the last pages of the newest.
    fn take_young(&mut self) -> Result<Vec<Posting>> {
        // A file of an earlier version may hold all there ever were.
        let from = self.young.div_ceil(IN_PAGE).saturating_sub(AT_ONCE);
        let pages = params![self.young_page(from)?, place(self.no, LAST_PLACE)];
        let read = |row: &Row<'_>| young(row, 0)?.map(Ok).collect::<rusqlite::Result<Vec<_>>>();
        let taken = self.all(YOUNG, pages, read)?.concat();
        self.execute(TAKEN, pages)?;
        let left = from * IN_PAGE;
        if taken.len() as u64 != self.young - left {
            return Err(damaged());
        }
        self.young = left;
        Ok(taken)
    }

    fn young_page(&self, number: u64) -> Result<i64> {
        Ok(place(self.no, integer(number)?))
    }

    fn write_run(&self, postings: &[Posting]) -> Result<()> {
        let Some(base) = Base::of(postings) else {
            return Ok(());
        };
        let last_at = postings.iter().map(|posting| posting.at).max();
        let many = postings.len() as u64;
        let (tier, seq) = (tier_of(many), integer(base.seq)?);
        let run = params![self.no, tier, integer(many)?, seq, base.at, last_at];
        self.execute(RUN, run)?;
        let no = self.db.last_insert_rowid();
        let pages = write_pages(postings, base).ok_or_else(damaged)?;
        for (Posting { subject, seq, .. }, bytes) in pages {
            self.execute(PAGE, params![self.no, no, subject, integer(seq)?, bytes])?;
        }
        Ok(())
    }

    /// Makes one run of those of a tier, once it is one of the next.
    fn merge(&self, tier: u32) -> Result<()> {
        let of_tier = params![self.no, tier];
        let many = self.first(IN_TIER, of_tier, |row| row.get::<_, i64>(0))?;
        let many = many.unwrap_or_default().cast_unsigned();
        if tier_of(many) <= tier {
            return Ok(());
        }
        let pages = self.all(PAGES, of_tier, |row| Ok((base_of(row)?, row.get(2)?)))?;
        let mut postings = Vec::new();
        for (base, page) in pages {
            let page: Vec<u8> = page;
            postings.extend(read_page(&page, base).ok_or_else(damaged)?);
        }
        if postings.len() as u64 != many {
            return Err(damaged());
        }
        // Sorted piece by piece as they are: this puts the pieces together.
        postings.sort();
        self.execute(DROP_PAGES, of_tier)?;
        self.execute(DROP_RUNS, of_tier)?;
        self.write_run(&postings)
    }
}

/// The numbers of the entries that name a person, of some time, in order.
pub(super) fn find(
    db: &Connection,
    tenant: TenantId,
    subject: SubjectId,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<u64>> {
    let (from, to) = (millis_from(from), millis(to));
    let wanted = |posting: &Posting| {
        posting.subject == *subject.as_bytes() && (from..=to).contains(&posting.at)
    };
    let search = || -> rusqlite::Result<Vec<u64>> {
        let mut found = Vec::new();
        let mut statement = db.prepare_cached(FIND)?;
        let firm = (tenant.as_bytes(), subject.as_bytes());
        let mut rows = statement.query(params![firm.0, firm.1, from, to, LAST_PLACE])?;
        while let Some(row) = rows.next()? {
            if row.get_ref(0)? == ValueRef::Null {
                found.extend(young(row, 2)?.filter(wanted).map(|posting| posting.seq));
                continue;
            }
            let page = read_page(row.get_ref(2)?.as_blob()?, base_of(row)?)
                .ok_or_else(|| unreadable(2, FromSqlError::InvalidType))?;
            found.extend(page.iter().filter(|it| wanted(it)).map(|it| it.seq));
        }
        found.sort_unstable();
        Ok(found)
    };
    search().map_err(broken(Port::Ledger, "trail"))
}

/// Whether each run holds as many postings as it says, in order, and each firm as many new ones.
pub(super) fn check(db: &Connection) -> Result<()> {
    let told = broken(Port::Store, "check");
    let agree = || -> rusqlite::Result<bool> {
        let mut firms = db.prepare("SELECT no, young FROM firm")?;
        let mut firms = firms.query([])?;
        while let Some(firm) = firms.next()? {
            let (no, young): (i64, i64) = (firm.get(0)?, firm.get(1)?);
            if !pages_hold(db, no, young.cast_unsigned())? {
                return Ok(false);
            }
        }
        let mut runs = db.prepare("SELECT seq, at, no, firm, postings FROM trail_run")?;
        let mut runs = runs.query([])?;
        while let Some(run) = runs.next()? {
            let base = base_of(run)?;
            let (no, firm, said): (i64, i64, i64) = (run.get(2)?, run.get(3)?, run.get(4)?);
            let mut pages = db.prepare_cached(PAGES_OF)?;
            let mut pages = pages.query([firm, no])?;
            let (mut many, mut last) = (0, None);
            while let Some(row) = pages.next()? {
                let Some(page) = read_page(row.get_ref(0)?.as_blob()?, base) else {
                    return Ok(false);
                };
                many += page.len();
                if last.is_some() && last >= page.first().copied() {
                    return Ok(false);
                }
                last = page.last().copied();
            }
            if limit(many) != said {
                return Ok(false);
            }
        }
        Ok(true)
    };
    if agree().map_err(told)? {
        Ok(())
    } else {
        Err(FORM.corrupt("the trail is damaged"))
    }
}

/// Whether all pages of a firm's newest but the last are full, and together hold so many.
fn pages_hold(db: &Connection, firm: i64, young: u64) -> rusqlite::Result<bool> {
    let sql = "SELECT place, length(bytes) FROM trail_young WHERE place BETWEEN ?1 AND ?2
        ORDER BY place";
    let mut pages = db.prepare_cached(sql)?;
    let pages = pages.query_map([place(firm, 0), place(firm, LAST_PLACE)], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    let pages: Vec<(i64, i64)> = pages.collect::<rusqlite::Result<_>>()?;
    let expected = (0..young.div_ceil(IN_PAGE)).map(|number| {
        let here = IN_PAGE.min(young - number * IN_PAGE);
        (place(firm, number.cast_signed()), 32 * here.cast_signed())
    });
    Ok(expected.eq(pages))
}

/// The postings of a page of the newest, in the order of the log.
fn young<'r>(
    row: &'r Row<'_>,
    column: usize,
) -> rusqlite::Result<impl Iterator<Item = Posting> + 'r> {
    let (postings, cut) = row.get_ref(column)?.as_blob()?.as_chunks();
    if !cut.is_empty() {
        return Err(unreadable(column, FromSqlError::InvalidType));
    }
    Ok(postings.iter().map(Posting::of_plain))
}

fn base_of(row: &Row<'_>) -> rusqlite::Result<Base> {
    let seq = row.get::<_, i64>(0)?.cast_unsigned();
    Ok(Base {
        seq,
        at: row.get(1)?,
    })
}

fn damaged() -> kta_core::Error {
    corrupt(Port::Store, "commit")
}

/// The tier of a run of so many postings.
fn tier_of(postings: u64) -> u32 {
    (0..LAST)
        .find(|tier| postings < SMALL << (3 * tier))
        .unwrap_or(LAST)
}

/// Postings below which a run is of tier 0; each tier after it begins at eight times as many.
const SMALL: u64 = 2048;

/// The tier in which a run stays.
const LAST: u32 = 3;

/// From how many names in one transaction these are a run of their own.
const FEW: usize = 256;

/// How many new postings of a firm become a run.
const MANY: u64 = 2048;

/// How many stand on a page of the newest, which fills a page of SQLite's and no second.
const IN_PAGE: u64 = 125;

/// How many pages of the newest become a run at most.
const AT_ONCE: u64 = 512;

const KEEP: &str = "INSERT INTO trail_young (place, bytes) VALUES (?1, ?2)
    ON CONFLICT (place) DO UPDATE SET bytes = CAST(bytes || excluded.bytes AS BLOB)";

const YOUNG: &str = "SELECT bytes FROM trail_young WHERE place BETWEEN ?1 AND ?2 ORDER BY place";

const TAKEN: &str = "DELETE FROM trail_young WHERE place BETWEEN ?1 AND ?2";

const RUN: &str = "INSERT INTO trail_run (firm, tier, postings, seq, at, last_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

const PAGE: &str = "INSERT INTO trail_page (firm, run, subject, seq, bytes)
    VALUES (?1, ?2, ?3, ?4, ?5)";

const IN_TIER: &str = "SELECT coalesce(sum(postings), 0) FROM trail_run
    WHERE firm = ?1 AND tier = ?2";

const PAGES: &str = "SELECT r.seq, r.at, p.bytes
    FROM trail_run r CROSS JOIN trail_page p ON p.firm = r.firm AND p.run = r.no
    WHERE r.firm = ?1 AND r.tier = ?2 ORDER BY p.run, p.subject, p.seq";

const DROP_PAGES: &str = "DELETE FROM trail_page WHERE firm = ?1
    AND run IN (SELECT no FROM trail_run WHERE firm = ?1 AND tier = ?2)";

const DROP_RUNS: &str = "DELETE FROM trail_run WHERE firm = ?1 AND tier = ?2";

const PAGES_OF: &str = "SELECT bytes FROM trail_page WHERE firm = ?1 AND run = ?2
    ORDER BY subject, seq";

/// A person's postings in a run begin in the last page that begins before the person, or in one
/// that begins with the person.
const FIND: &str = "SELECT NULL, NULL, y.bytes FROM firm f CROSS JOIN trail_young y
    ON y.place BETWEEN f.no << 40 AND (f.no << 40) + ?5 WHERE f.tenant = ?1
    UNION ALL
    SELECT r.seq, r.at, p.bytes FROM trail_run r
    CROSS JOIN trail_page p ON p.firm = r.firm AND p.run = r.no AND p.subject <= ?2
        AND p.subject >= coalesce((SELECT before.subject FROM trail_page before
            WHERE before.firm = r.firm AND before.run = r.no AND before.subject < ?2
            ORDER BY before.subject DESC LIMIT 1), ?2)
    WHERE r.firm = (SELECT no FROM firm WHERE tenant = ?1) AND r.last_at >= ?3 AND r.at <= ?4";
