//! The trail: which entries name a person, found without reading the log, and kept so that what
//! is entered does not go to a page of its own each time.
//!
//! ```text
//!   a few names ──► trail, by person ──┐ 4,096 of a firm's
//!   many at once ──────────────────────┴──► run ──┐ a tier that has enough for the next one
//!                    tier 0   < 2,048 postings ◄──┘ becomes one run, of the next tier
//!                    tier 1   < 16,384
//!                    tier 2   < 131,072
//!                    tier 3   stays as it is
//! ```
//!
//! A run is sorted by person, cut into pages (see posting.rs) and never changed. A log-structured
//! merge tree in the manner of O'Neil and others (1996), tiered: each posting is written four
//! times at most, always beside others, where an index of rows touches a page for each. A question
//! about a person looks into every run that has entries of the time it asks about: twenty-one at
//! most, and one more for each 131,072 postings or more of the firm.
//!
//! What was lost of a run, or of the newest, is found out by whoever merges it, and not forgotten
//! with it.

use kta_core::id::{SubjectId, TenantId};
use kta_core::time::Timestamp;
use kta_core::{Port, Result};
use rusqlite::{Connection, Row, params};

use super::FORM;
use super::change::Firm;
use super::fault::{broken, corrupt};
use super::query::unreadable;
use crate::form::{integer, limit, millis, millis_from};
use crate::posting::{Base, Posting, read_page, write_pages};

impl Firm<'_> {
    /// Keeps whom the entries of this transaction name.
    pub(super) fn keep_trail(&mut self) -> Result<()> {
        let mut fresh = std::mem::take(&mut self.named);
        fresh.sort_unstable();
        if fresh.len() < FEW {
            for Posting { subject, seq, at } in &fresh {
                self.execute(KEEP, params![self.no, subject, integer(*seq)?, at])?;
            }
            self.young += fresh.len() as u64;
            if self.young < MANY {
                return Ok(());
            }
            fresh = self.take_young()?;
        }
        self.write_run(&fresh)?;
        for tier in 0..LAST {
            self.merge(tier)?;
        }
        Ok(())
    }

    /// Takes postings out of the table of the newest, in order.
    fn take_young(&mut self) -> Result<Vec<Posting>> {
        let read = |row: &Row<'_>| {
            Ok(Posting {
                subject: row.get(0)?,
                seq: row.get::<_, i64>(1)?.cast_unsigned(),
                at: row.get(2)?,
            })
        };
        // A file of an earlier version may hold all there ever were.
        let many = self.young.min(MOST);
        let taken: Vec<Posting> = self.all(YOUNG, params![self.no, integer(many)?], read)?;
        if taken.len() as u64 != many {
            return Err(damaged());
        }
        if let Some(Posting { subject, seq, .. }) = taken.last() {
            self.execute(TAKEN, params![self.no, subject, integer(*seq)?])?;
        }
        self.young -= many;
        Ok(taken)
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
        let mut rows = statement.query(params![tenant.as_bytes(), subject.as_bytes(), from, to])?;
        while let Some(row) = rows.next()? {
            let base = base_of(row)?;
            let page = row.get_ref(2)?.as_blob_or_null();
            match page.map_err(|error| unreadable(2, error))? {
                None => found.push(base.seq),
                Some(page) => {
                    let page = read_page(page, base)
                        .ok_or_else(|| unreadable(2, rusqlite::types::FromSqlError::InvalidType))?;
                    found.extend(page.iter().filter(|it| wanted(it)).map(|it| it.seq));
                }
            }
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
        let young: bool = db.query_row(COUNTED, [], |row| row.get(0))?;
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
        Ok(young)
    };
    if agree().map_err(told)? {
        Ok(())
    } else {
        Err(FORM.corrupt("the trail is damaged"))
    }
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

/// How many new postings of a firm become a run, and how many at most.
const MANY: u64 = 4096;
const MOST: u64 = 1 << 16;

const KEEP: &str = "INSERT INTO trail (firm, subject, seq, at) VALUES (?1, ?2, ?3, ?4)";

const YOUNG: &str = "SELECT subject, seq, at FROM trail WHERE firm = ?1
    ORDER BY subject, seq LIMIT ?2";

const TAKEN: &str = "DELETE FROM trail WHERE firm = ?1 AND (subject, seq) <= (?2, ?3)";

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

const COUNTED: &str = "SELECT NOT EXISTS (SELECT 1 FROM firm
    WHERE young <> (SELECT count(*) FROM trail WHERE trail.firm = firm.no))";

/// A person's postings in a run begin in the last page that begins before the person, or in one
/// that begins with the person.
const FIND: &str = "SELECT seq, at, NULL FROM trail
    WHERE firm = (SELECT no FROM firm WHERE tenant = ?1) AND subject = ?2 AND at BETWEEN ?3 AND ?4
    UNION ALL
    SELECT r.seq, r.at, p.bytes FROM trail_run r
    CROSS JOIN trail_page p ON p.firm = r.firm AND p.run = r.no AND p.subject <= ?2
        AND p.subject >= coalesce((SELECT before.subject FROM trail_page before
            WHERE before.firm = r.firm AND before.run = r.no AND before.subject < ?2
            ORDER BY before.subject DESC LIMIT 1), ?2)
    WHERE r.firm = (SELECT no FROM firm WHERE tenant = ?1) AND r.last_at >= ?3 AND r.at <= ?4";
