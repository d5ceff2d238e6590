//! Policy classes within a change set: which governs which, without a record's being touched.

use kta_core::audit::Label;
use kta_core::id::Digest;
use kta_core::pii::RecordKey;
use kta_core::policy::{PolicyClass, Succession};
use kta_core::ports::store::{Register, Sheet};
use kta_core::time::Timestamp;
use kta_core::{Port, Result};
use rusqlite::{OptionalExtension as _, params};

use super::change::{Firm, conflict, missing, told};
use super::fault::corrupt;

/// A row of the table of classes.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// By which number records name it.
    pub(super) no: i64,
    /// The class that governs them.
    pub(super) governing: Digest,
}

impl Firm<'_> {
    /// Interns a class, with the purposes by which its records are found.
    pub(super) fn intern(&self, class: &PolicyClass) -> Result<()> {
        let sheet = Sheet::of_class(class);
        if self.sheet_revision(sheet.register, &sheet.id)?.is_some() {
            return Ok(());
        }
        self.insert(&sheet)?;
        let id = class.id();
        for purpose in class.admitted() {
            self.execute(
                "INSERT INTO admits (firm, purpose, class) VALUES (?1, ?2, ?3)",
                params![self.no, purpose.as_str(), id.as_bytes()],
            )?;
        }
        Ok(())
    }

    /// The row for what is written under `class` now, made if there is none.
    pub(super) fn place(&self, class: Digest) -> Result<Place> {
        match self.known_place(class)? {
            Some(place) => Ok(place),
            None => self.make_place(class),
        }
    }

    /// What governs what is written under `class` now.
    pub(super) fn means(&self, class: Digest) -> Result<Digest> {
        let place = self.known_place(class)?;
        Ok(place.map_or(class, |place| place.governing))
    }

    pub(super) fn reclass(&self, key: &RecordKey, from: Digest, to: Digest) -> Result<()> {
        let row = self
            .record_row(key)?
            .ok_or_else(|| missing("no record of this key"))?;
        if !self.is_interned(to)? {
            return Err(missing("no class of this name is interned"));
        }
        if row.class.governing != from {
            return Err(conflict("another class governs the record"));
        }
        if self.means(to)? == from {
            return Ok(());
        }
        self.execute(
            "UPDATE record SET class = ?2 WHERE no = ?1",
            params![row.no, self.place(to)?.no],
        )
        .map(drop)
    }

    pub(super) fn reinstate(&self, class: Digest, now: Timestamp) -> Result<()> {
        self.in_use(class)?;
        if self.means(class)? == class {
            return Ok(());
        }
        self.make_place(class)?;
        self.note(class, None, now)
    }

    pub(super) fn supersede(&self, from: Digest, to: &PolicyClass, now: Timestamp) -> Result<()> {
        let known = self.known_place(from)?;
        if known.is_none() && !self.is_interned(from)? {
            return Err(missing("no class of this name"));
        }
        let id = to.id();
        let successor = self.known_place(id)?;
        let governs = known.map_or(from, |place| place.governing);
        let by = successor.map_or(id, |place| place.governing);
        if by == from {
            return Err(conflict("a class cannot supersede itself"));
        }
        if governs == by {
            return Ok(());
        }
        if governs != from {
            return Err(conflict("the class was superseded by another"));
        }
        self.intern(to)?;
        if known.is_none() {
            self.make_place(from)?;
        }
        if successor.is_none() {
            self.make_place(id)?;
        }
        self.execute(
            "UPDATE class SET governing = ?3 WHERE firm = ?1 AND governing = ?2",
            params![self.no, from.as_bytes(), by.as_bytes()],
        )?;
        self.note(from, Some(by), now)
    }

    fn known_place(&self, class: Digest) -> Result<Option<Place>> {
        let sql =
            "SELECT no, governing FROM class WHERE firm = ?1 AND id = ?2 ORDER BY no DESC LIMIT 1";
        let find = || -> rusqlite::Result<_> {
            self.db
                .prepare_cached(sql)?
                .query_row(params![self.no, class.as_bytes()], |row| {
                    Ok(Place {
                        no: row.get(0)?,
                        governing: Digest::from_bytes(row.get(1)?),
                    })
                })
                .optional()
        };
        find().map_err(told())
    }

    fn make_place(&self, class: Digest) -> Result<Place> {
        self.execute(
            "INSERT INTO class (firm, id, governing) VALUES (?1, ?2, ?2)",
            params![self.no, class.as_bytes()],
        )?;
        Ok(Place {
            no: self.db.last_insert_rowid(),
            governing: class,
        })
    }

    fn is_interned(&self, class: Digest) -> Result<bool> {
        let name = Label::new(class.to_string()).map_err(|_| corrupt(Port::Store, "commit"))?;
        Ok(self.sheet_revision(Register::Classes, &name)?.is_some())
    }

    /// Refuses a class that is neither interned nor written under.
    fn in_use(&self, class: Digest) -> Result<()> {
        if self.known_place(class)?.is_some() || self.is_interned(class)? {
            Ok(())
        } else {
            Err(missing("no class of this name"))
        }
    }

    /// Enters a succession into its register.
    fn note(&self, class: Digest, by: Option<Digest>, at: Timestamp) -> Result<()> {
        let last = || -> rusqlite::Result<Option<String>> {
            let sql = "SELECT max(id) FROM sheet WHERE firm = ?1 AND register = ?2";
            let key = params![self.no, Register::Successions.as_str()];
            self.db
                .prepare_cached(sql)?
                .query_row(key, |row| row.get(0))
        };
        let last = match last().map_err(told())? {
            None => 0,
            Some(id) => id
                .parse::<u64>()
                .map_err(|_| corrupt(Port::Store, "commit"))?,
        };
        self.insert(&Sheet::of_succession(
            last + 1,
            &Succession { class, by, at },
        ))
    }

    /// Writes a sheet that is known not to be there.
    fn insert(&self, sheet: &Sheet) -> Result<()> {
        self.execute(
            "INSERT INTO sheet (firm, register, id, revision, body) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                self.no,
                sheet.register.as_str(),
                sheet.id.as_str(),
                1,
                sheet.body
            ],
        )
        .map(drop)
    }
}
