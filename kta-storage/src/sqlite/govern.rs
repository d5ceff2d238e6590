//! What governs records: the rows of classes, reigns and cohorts (`cohorts.sql`).

use kta_core::id::Digest;
use kta_core::{Port, Result};
use rusqlite::params;

use super::change::Firm;
use crate::class::Cohort;
use crate::form::corrupt;

impl Firm<'_> {
    /// What governs what is written under this class now.
    pub(super) fn governing(&self, class: Digest) -> Result<Option<Digest>> {
        let sql = "SELECT g.governing FROM class c JOIN reign g ON g.no = c.reign
            WHERE c.firm = ?1 AND c.id = ?2";
        let key = params![self.no, class.as_bytes()];
        let found = self.first(sql, key, |row| row.get(0))?;
        Ok(found.map(Digest::from_bytes))
    }

    /// Lets a class govern what is written under it from now on.
    pub(super) fn make_reign(&self, class: Digest) -> Result<()> {
        let sql = "INSERT INTO reign (firm, governing, weight) VALUES (?1, ?2, 1)";
        self.execute(sql, params![self.no, class.as_bytes()])?;
        self.name(class, self.db.last_insert_rowid())
    }

    /// Lets `by` govern wherever `from` does.
    pub(super) fn hand_over(&self, from: Digest, by: Digest) -> Result<()> {
        let Some(old) = self.reign(from)? else {
            return Err(corrupt(Port::Store, "commit"));
        };
        let (stays, weight) = match self.reign(by)? {
            None => {
                self.name(by, old.no)?;
                (old.no, old.weight + 1)
            }
            Some(new) => {
                // The lighter joins the heavier, so that a row joins seldom, however often.
                let (leaves, stays) = match old.weight <= new.weight {
                    true => (old.no, new.no),
                    false => (new.no, old.no),
                };
                self.join(leaves, stays)?;
                (stays, old.weight + new.weight)
            }
        };
        let sql = "UPDATE reign SET governing = ?2, weight = ?3 WHERE no = ?1";
        self.execute(sql, params![stays, by.as_bytes(), weight])
            .map(drop)
    }

    /// A row for records that this class is to govern.
    pub(super) fn cohort_under(&self, governing: Digest) -> Result<Cohort> {
        let Some(reign) = self.reign(governing)? else {
            return Err(corrupt(Port::Store, "commit"));
        };
        // One that is there, or one that nobody is in, or a new one.
        for of in [Some(reign.no), None] {
            let sql = "SELECT no FROM cohort WHERE firm = ?1 AND reign IS ?2 LIMIT 1";
            if let Some(no) = self.first(sql, params![self.no, of], |row| row.get(0))? {
                if of.is_none() {
                    let sql = "UPDATE cohort SET reign = ?2 WHERE no = ?1";
                    self.execute(sql, params![no, reign.no])?;
                }
                return Ok(Cohort { no, governing });
            }
        }
        let sql = "INSERT INTO cohort (firm, reign) VALUES (?1, ?2)";
        self.execute(sql, params![self.no, reign.no])?;
        let no = self.db.last_insert_rowid();
        Ok(Cohort { no, governing })
    }

    /// Sets by which purposes the records are found that a class governs.
    pub(super) fn set_purposes(&self, class: Digest, purposes: i64) -> Result<()> {
        self.execute(
            "INSERT INTO class (firm, id, admits) VALUES (?1, ?2, ?3)
             ON CONFLICT (firm, id) DO UPDATE SET admits = excluded.admits",
            params![self.no, class.as_bytes(), purposes],
        )
        .map(drop)
    }

    /// Lets what is written under a class be governed as that reign is.
    fn name(&self, class: Digest, reign: i64) -> Result<()> {
        let sql = "INSERT INTO class (firm, id, reign, admits) VALUES (?1, ?2, ?3, 0)
            ON CONFLICT (firm, id) DO UPDATE SET reign = excluded.reign";
        self.execute(sql, params![self.no, class.as_bytes(), reign])
            .map(drop)
    }

    /// Where the class governs.
    fn reign(&self, class: Digest) -> Result<Option<Reign>> {
        let sql = "SELECT no, weight FROM reign WHERE firm = ?1 AND governing = ?2";
        self.first(sql, params![self.no, class.as_bytes()], |row| {
            Ok(Reign {
                no: row.get(0)?,
                weight: row.get(1)?,
            })
        })
    }

    /// Lets all of one reign join another. Cohorts in which nobody is stay behind, for others.
    /// The indexes are named because the planner takes a firm for small, and would read all of it.
    fn join(&self, leaves: i64, stays: i64) -> Result<()> {
        for sql in [
            "UPDATE class INDEXED BY class_by_reign SET reign = ?3 WHERE firm = ?1 AND reign = ?2",
            "UPDATE cohort INDEXED BY cohort_by_reign SET reign = iif(
                 EXISTS (SELECT 1 FROM record r WHERE r.firm = ?1 AND r.cohort = cohort.no), ?3, NULL)
             WHERE firm = ?1 AND reign = ?2",
        ] {
            self.execute(sql, params![self.no, leaves, stays])?;
        }
        self.execute("DELETE FROM reign WHERE no = ?1", params![leaves])
            .map(drop)
    }
}

/// A row of the table of classes that govern.
struct Reign {
    no: i64,
    weight: i64,
}
