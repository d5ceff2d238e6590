//! What a commit removes, and making it go from the files, also when the process dies between.
//!
//! ```text
//! one transaction: rows go, their marks stand in `scrub` ─ files made clean ─ marks go
//!                                                        ↑
//!                         killed here: whoever opens the file, or commits next, goes on
//! ```

use std::path::Path;

use kta_core::{Port, Result};
use rusqlite::Connection;

use super::cell::Cell;
use super::told;
use crate::sqlite::fault::corrupt;
use crate::sqlite::scrub;

/// What a commit removes or replaces.
#[derive(Default)]
pub(super) struct Gone {
    /// By what to recognise wrapped bytes: their last 16.
    marks: Vec<u128>,
    /// Whether a key went for good, so that the files must be clean of those bytes.
    pub(super) for_good: bool,
}

impl Gone {
    /// Notes what of the stored cell is not in the next one. A present key that becomes the
    /// former one stays as it is.
    pub(super) fn mark(&mut self, stored: &Cell, next: &Cell) {
        self.for_good |= stored.former.is_some() && next.former.is_none();
        let of = |cell: &'_ Cell| [Some(cell.present.clone()), cell.former.clone()];
        let kept = of(next);
        let replaced = of(stored)
            .into_iter()
            .filter(|wrapped| !kept.contains(wrapped));
        let ends = replaced.flatten();
        let ends = ends.filter_map(|wrapped| wrapped.last_chunk::<16>().copied());
        self.marks.extend(ends.map(u128::from_be_bytes));
    }

    /// Whether nothing is owed but what this commit removes.
    pub(super) fn only(&self, owed: &Owed) -> bool {
        self.for_good && owed.marks == self.marks
    }

    /// Writes down, in the transaction that removes them, what the files must be clean of.
    pub(super) fn note(&self, db: &Connection) -> Result<()> {
        if self.for_good {
            let inverted = self.marks.iter().map(|mark| (!mark).to_be_bytes());
            let marks = inverted.collect::<Vec<_>>().concat();
            db.execute("INSERT INTO scrub (marks) VALUES (?1)", [marks])
                .map_err(told("commit"))?;
        }
        Ok(())
    }
}

/// What was noted and is not known to be gone.
pub(super) struct Owed {
    last: i64,
    marks: Vec<u128>,
}

impl Owed {
    /// All that is noted in the file; `None` when it is clean.
    pub(super) fn of(db: &Connection) -> Result<Option<Self>> {
        let find = || -> rusqlite::Result<Vec<(i64, Vec<u8>)>> {
            db.prepare_cached("SELECT no, marks FROM scrub ORDER BY no")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        };
        let mut owed: Option<Self> = None;
        for (no, noted) in find().map_err(told("read"))? {
            let (marks, []) = noted.as_chunks::<16>() else {
                return Err(corrupt(Port::KeyTable, "read"));
            };
            let marks = marks.iter().map(|mark| !u128::from_be_bytes(*mark));
            let all = owed.get_or_insert(Self {
                last: no,
                marks: Vec::new(),
            });
            all.last = no;
            all.marks.extend(marks);
        }
        Ok(owed)
    }

    /// Makes the files clean, and then strikes out what was noted: looks through all of them.
    pub(super) fn clean(self, db: &Connection, path: &Path) -> Result<()> {
        scrub::empty_log(db)?;
        if scrub::residues(path, &self.marks)? > 0 {
            scrub::rewrite(db)?;
        }
        self.strike(db)
    }

    /// The same for what the last commit removed: looks in the pages that stand in the log, which
    /// are all that it wrote, and perhaps some that others wrote before. Wrapped keys do not move,
    /// so that no other page ever held them.
    pub(super) fn clean_written(self, db: &Connection, path: &Path) -> Result<()> {
        let written = scrub::written(path)?;
        scrub::empty_log(db)?;
        if scrub::residues_in(path, &written, &self.marks)? > 0 {
            scrub::rewrite(db)?;
        }
        self.strike(db)
    }

    fn strike(self, db: &Connection) -> Result<()> {
        // What another process noted since is not ours to strike out.
        db.execute("DELETE FROM scrub WHERE no <= ?1", [self.last])
            .map_err(told("commit"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use kta_core::FaultKind;
    use kta_core::crypto::Hierarchy;
    use kta_core::id::{SubjectId, TenantId};
    use kta_core::memory::{MemoryKms, SeededEntropy};
    use kta_core::ports::key_table::{KeyTable as _, Wanted};
    use kta_core::time::Timestamp;

    use super::super::{FORM, SqliteKeyTable};
    use super::*;

    const TENANT: TenantId = TenantId::from_bytes([7; 16]);
    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    /// A commit that erased two people, and whose files could not be made clean: a reader of a
    /// past state held the log.
    struct Cut {
        folder: tempfile::TempDir,
        keys: Hierarchy,
        reader: Connection,
        erased: Vec<Vec<u8>>,
    }

    impl Cut {
        async fn off() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("keys.db");
            let table = SqliteKeyTable::open(&file).unwrap();
            let entropy = Arc::new(SeededEntropy::new(3));
            let kms = Arc::new(MemoryKms::new(entropy.clone()));
            let keys = Hierarchy::open(TENANT, kms, Arc::new(table.clone()), entropy, NOW);
            let keys = keys.await.unwrap();
            let people: Vec<_> = (1..=20).map(|n| SubjectId::from_bytes([n; 16])).collect();
            keys.enroll_all(&people).await.unwrap();
            let wanted: Vec<_> = people.iter().copied().map(Wanted::Subject).collect();
            let rows = table.read(TENANT, &wanted).await.unwrap();
            let wrapped = |subject| rows.subjects[subject].wrapped.as_bytes().to_vec();
            let erased: Vec<_> = people[..2].iter().map(wrapped).collect();

            let reader = Connection::open(&file).unwrap();
            reader.execute_batch("BEGIN").unwrap();
            assert_eq!(count(&reader, "person"), 20);
            let impatient = Duration::from_millis(20);
            table
                .inner
                .db
                .lock()
                .unwrap()
                .busy_timeout(impatient)
                .unwrap();
            let outcome = keys.erase(&people[..2], NOW).await.unwrap_err();
            let fault = outcome.fault().unwrap();
            assert_eq!(fault.kind(), FaultKind::OutcomeUnknown, "{outcome}");
            let cut = Self {
                folder,
                keys,
                reader,
                erased,
            };
            assert!(cut.left(cut.folder.path()), "the bytes are still there");
            cut
        }

        /// Whether bytes of the erased people's keys are in any file.
        fn left(&self, folder: &Path) -> bool {
            std::fs::read_dir(folder).unwrap().flatten().any(|entry| {
                let bytes = std::fs::read(entry.path()).unwrap();
                let holds = |part: &&[u8]| bytes.windows(part.len()).any(|there| there == *part);
                self.erased
                    .iter()
                    .flat_map(|wrapped| wrapped.chunks_exact(16))
                    .any(|part| holds(&part))
            })
        }
    }

    fn count(db: &Connection, table: &str) -> i64 {
        db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
            row.get(0)
        })
        .unwrap()
    }

    #[tokio::test]
    async fn a_process_killed_before_the_files_were_clean_leaves_that_to_the_next_opening() {
        let cut = Cut::off().await;
        // What a kill leaves: the files as they are. (Closing would write the log home.)
        let there = tempfile::tempdir().unwrap();
        for name in ["keys.db", "keys.db-wal"] {
            std::fs::copy(cut.folder.path().join(name), there.path().join(name)).unwrap();
        }
        assert!(cut.left(there.path()));
        let file = there.path().join("keys.db");
        let table = SqliteKeyTable::open(&file).unwrap();
        assert!(!cut.left(there.path()));
        let subject = SubjectId::from_bytes([1; 16]);
        let rows = table.read(TENANT, &[Wanted::Subject(subject)]).await;
        assert_eq!(rows.unwrap().erased.len(), 1, "the erasure itself stands");
        let db = Connection::open(&file).unwrap();
        assert_eq!((count(&db, "scrub"), count(&db, "person")), (0, 18));
    }

    #[tokio::test]
    async fn an_opening_that_cannot_clean_the_files_fails() {
        let cut = Cut::off().await;
        let file = cut.folder.path().join("keys.db");
        let error = SqliteKeyTable::open(&file).unwrap_err();
        assert_eq!(error.fault().unwrap().kind(), FaultKind::Unavailable);
        cut.reader.execute_batch("COMMIT").unwrap();
        SqliteKeyTable::open(&file).unwrap();
        assert!(!cut.left(cut.folder.path()));
    }

    #[tokio::test]
    async fn files_that_could_not_be_made_clean_are_so_before_the_next_commit_answers() {
        let cut = Cut::off().await;
        // A commit that removes nobody, and cannot clean up either, says so.
        let outcome = cut.keys.rotate_index().await.unwrap_err();
        assert_eq!(outcome.fault().unwrap().kind(), FaultKind::OutcomeUnknown);
        cut.reader.execute_batch("COMMIT").unwrap();
        cut.keys.rotate_index().await.unwrap();
        assert!(!cut.left(cut.folder.path()));
        assert_eq!(count(&cut.reader, "scrub"), 0);
    }

    #[test]
    fn what_is_noted_is_read_back_and_is_no_residue_itself() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.db");
        let db = FORM.open(&file, None).unwrap();
        assert!(Owed::of(&db).unwrap().is_none());
        let wrapped = [b"a wrapped key of somebody, invented".to_vec()];
        for for_good in [true, false, true] {
            let mut gone = Gone::default();
            let cell = Cell {
                present: wrapped[0].clone(),
                former: None,
            };
            gone.mark(&cell, &Cell::default());
            gone.for_good = for_good;
            gone.note(&db).unwrap();
        }
        let owed = Owed::of(&db).unwrap().unwrap();
        let mark = u128::from_be_bytes(*wrapped[0].last_chunk::<16>().unwrap());
        assert_eq!((owed.last, &owed.marks[..]), (2, &[mark; 2][..]));
        assert_eq!(scrub::residues(&file, &owed.marks).unwrap(), 0);
        owed.clean(&db, &file).unwrap();
        assert!(Owed::of(&db).unwrap().is_none());
        db.execute("INSERT INTO scrub (marks) VALUES (x'00')", [])
            .unwrap();
        assert!(Owed::of(&db).is_err(), "not of ours");
    }
}
