//! Where wrapped keys stand in the file: each in a cell that never moves.
//!
//! SQLite moves rows about: a page that splits leaves behind, in its unused space, bytes of what
//! went to the other page, and neither `secure_delete` nor anything short of writing the whole
//! file anew reaches them. So an erasure among a million people would have to read the whole file
//! to know that a key is gone.
//!
//! Cells are kept as to leave nothing behind. They are numbered in the order in which they come,
//! so that each is appended at the end of its table, where SQLite begins a page instead of
//! splitting one; none is ever removed, so that no two pages are put together; and all bytes of a
//! cell are written over where they stand, because what replaces them has the same length. What
//! does not fit gets a cell of its own at the end, and zeros take its former place. A person who
//! is erased leaves a cell of zeros: 256 bytes, for good.
//!
//! That SQLite does so is no part of its promises, and the tests look at the file.

use kta_core::{Port, Result};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::told;
use crate::sqlite::fault::corrupt;

/// Two wrapped keys: a person's present and former one, or a branch's and nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) present: Vec<u8>,
    pub(super) former: Option<Vec<u8>>,
}

impl Cell {
    /// The cell of this number.
    pub(super) fn read(db: &Connection, number: i64) -> Result<Self> {
        let find = || -> rusqlite::Result<Option<Vec<u8>>> {
            db.prepare_cached("SELECT bytes FROM cell WHERE no = ?1")?
                .query_row([number], |row| row.get(0))
                .optional()
        };
        let bytes = find().map_err(told("read"))?;
        bytes
            .and_then(|bytes| Self::parse(&bytes))
            .ok_or_else(|| corrupt(Port::KeyTable, "read"))
    }

    /// What the bytes of a cell say.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(2 * HALF) {
            return None;
        }
        let (one, other) = bytes.split_at(bytes.len() / 2);
        let part = |half: &[u8]| {
            let (length, rest) = half.split_first_chunk::<2>()?;
            Some(
                rest.get(..usize::from(u16::from_be_bytes(*length)))?
                    .to_vec(),
            )
        };
        Some(Self {
            present: part(one)?,
            former: part(other).map(|former| (!former.is_empty()).then_some(former))?,
        })
    }

    /// Writes the cell over the one of `number`, where it fits, or at the end of all; answers
    /// where it stands.
    pub(super) fn write(&self, db: &Connection, number: Option<i64>) -> Result<i64> {
        let bytes = self.to_bytes()?;
        let write = || -> rusqlite::Result<i64> {
            if let Some(number) = number {
                let mut overwrite = db.prepare_cached(OVERWRITE)?;
                if overwrite.execute(params![number, bytes])? == 1 {
                    return Ok(number);
                }
                clear(db, number)?;
            }
            db.prepare_cached("INSERT INTO cell (bytes) VALUES (?1)")?
                .insert([bytes])
        };
        write().map_err(told("commit"))
    }

    /// Writes zeros over the cell.
    pub(super) fn clear(db: &Connection, number: i64) -> Result<()> {
        clear(db, number).map_err(told("commit"))
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let former = self.former.as_deref().unwrap_or_default();
        let longest = self.present.len().max(former.len());
        let half = (longest + 2).next_multiple_of(HALF);
        let mut bytes = vec![0; 2 * half];
        for (half, wrapped) in bytes
            .chunks_exact_mut(half)
            .zip([&self.present[..], former])
        {
            let length = u16::try_from(wrapped.len());
            let length = length.map_err(|_| corrupt(Port::KeyTable, "commit"))?;
            half[..2].copy_from_slice(&length.to_be_bytes());
            half[2..2 + wrapped.len()].copy_from_slice(wrapped);
        }
        Ok(bytes)
    }
}

fn clear(db: &Connection, number: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE cell SET bytes = zeroblob(length(bytes)) WHERE no = ?1";
    db.prepare_cached(sql)?.execute([number]).map(drop)
}

/// Only what is as long as what stands there is written over it.
const OVERWRITE: &str = "UPDATE cell SET bytes = ?2 WHERE no = ?1 AND length(bytes) = length(?2)";

/// The bytes of half a cell are a multiple of this: our own wrapped keys take 98, and two for
/// their length.
const HALF: usize = 128;

#[cfg(test)]
mod tests {
    use super::super::FORM;
    use super::*;

    fn cell(present: usize, former: usize) -> Cell {
        Cell {
            present: vec![7; present],
            former: (former > 0).then(|| vec![9; former]),
        }
    }

    #[test]
    fn a_cell_reads_back_as_it_was_written() {
        for (present, former) in [(0, 0), (98, 0), (98, 98), (126, 126), (127, 1), (40_000, 3)] {
            let cell = cell(present, former);
            let bytes = cell.to_bytes().unwrap();
            assert_eq!(bytes.len() % (2 * HALF), 0);
            assert_eq!(Cell::parse(&bytes), Some(cell));
        }
        assert!(cell(70_000, 0).to_bytes().is_err());
        for broken in [&[][..], &[0; 255], &[0xFF; 256], &[0; 128]] {
            assert_eq!(Cell::parse(broken), None, "{} bytes", broken.len());
        }
    }

    #[test]
    fn a_cell_stays_where_it_is_until_it_grows() {
        let folder = tempfile::tempdir().unwrap();
        let db = FORM.open(&folder.path().join("keys.db"), None).unwrap();
        let first = cell(98, 0).write(&db, None).unwrap();
        let second = cell(98, 98).write(&db, None).unwrap();
        assert_eq!(cell(98, 98).write(&db, Some(first)).unwrap(), first);
        assert_eq!(cell(1, 0).write(&db, Some(first)).unwrap(), first);
        let grown = cell(200, 0).write(&db, Some(first)).unwrap();
        assert!(grown > second);
        assert_eq!(Cell::read(&db, grown).unwrap(), cell(200, 0));
        assert_eq!(Cell::read(&db, first).unwrap(), Cell::default(), "zeros");
        assert!(Cell::read(&db, 99).is_err());
    }
}
