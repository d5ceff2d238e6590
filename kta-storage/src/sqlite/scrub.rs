//! Making what was removed go from the files, and looking whether it went.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Result as IoResult, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use kta_core::{Fault, FaultKind, Port, Result};
use rusqlite::Connection;

use super::fault::broken;

/// Writes the log home and cuts it to nothing, so that no earlier state of a page is left in it.
pub(crate) fn empty_log(db: &Connection) -> Result<()> {
    let busy: bool = db
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .map_err(broken(Port::Store, "checkpoint"))?;
    if busy {
        let fault = Fault::new(FaultKind::Unavailable, Port::Store, "checkpoint");
        return Err(fault
            .because("readers of a past state stand in the way")
            .into());
    }
    Ok(())
}

/// Writes the whole file anew, without what was ever removed.
pub(crate) fn rewrite(db: &Connection) -> Result<()> {
    db.execute_batch("VACUUM")
        .map_err(broken(Port::Store, "rewrite"))?;
    empty_log(db)
}

/// How many of the marks are in the bytes of a database's files: its own and its log's.
pub(crate) fn residues(database: &Path, marks: &[u128]) -> Result<usize> {
    look(database, marks, |own, marks, found| {
        marks.find(Whole { file: own, at: 0 }, found)
    })
}

fn look(
    database: &Path,
    marks: &[u128],
    in_own: impl FnOnce(&File, &Marks, &mut HashSet<u128>) -> IoResult<()>,
) -> Result<usize> {
    if marks.is_empty() {
        return Ok(0);
    }
    let unreadable = |_| {
        let fault = Fault::new(FaultKind::Unavailable, Port::Erase, "probe");
        kta_core::Error::from(fault.because("a file cannot be read"))
    };
    let marks = Marks::of(marks);
    let mut found = HashSet::new();
    let own = own_bytes(database).map_err(unreadable)?;
    in_own(&own, &marks, &mut found).map_err(unreadable)?;
    match File::open(beside(database, "-wal")) {
        Ok(log) => marks.find(log, &mut found).map_err(unreadable)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(unreadable(error)),
    }
    Ok(found.len())
}

/// The pages whose bytes stand in the write-ahead log, and how long a page is. The log is a
/// header of 32 bytes and frames of 24 bytes and a page each; both begin what they say with
/// big-endian words (SQLite file format, section 4.1).
pub(crate) fn written(database: &Path) -> Result<Written> {
    let unreadable = || {
        let fault = Fault::new(FaultKind::Unavailable, Port::Erase, "probe");
        kta_core::Error::from(fault.because("the log cannot be read"))
    };
    let mut log = match File::open(beside(database, "-wal")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Written::default()),
        log => log.map_err(|_| unreadable())?,
    };
    let length = log.metadata().map_err(|_| unreadable())?.len();
    if length == 0 {
        return Ok(Written::default());
    }
    let mut word_at = |at: u64| -> IoResult<u32> {
        let mut word = [0; 4];
        log.seek(SeekFrom::Start(at))?;
        log.read_exact(&mut word)?;
        Ok(u32::from_be_bytes(word))
    };
    let mut read = || -> IoResult<Written> {
        let size = u64::from(word_at(8)?.max(512));
        let frames = length.saturating_sub(32) / (24 + size);
        let pages = (0..frames).map(|frame| word_at(32 + frame * (24 + size)));
        Ok(Written {
            size,
            pages: pages.collect::<IoResult<_>>()?,
        })
    };
    read().map_err(|_| unreadable())
}

/// Pages, counted from 1.
#[derive(Default)]
pub(crate) struct Written {
    size: u64,
    pages: BTreeSet<u32>,
}

/// How many of the marks are in these pages of a database's file, or in its log.
pub(crate) fn residues_in(database: &Path, written: &Written, marks: &[u128]) -> Result<usize> {
    look(database, marks, |own, marks, found| {
        written.pages.iter().try_for_each(|page| {
            let at = u64::from(page.saturating_sub(1)) * written.size;
            let page = Whole { file: own, at };
            marks.find(page.take(written.size), found)
        })
    })
}

/// What is looked for: 16 bytes each.
struct Marks {
    all: HashSet<u128>,
    ends: Vec<bool>,
}

impl Marks {
    fn of(marks: &[u128]) -> Self {
        let mut ends = vec![false; 1 << 16];
        marks
            .iter()
            .for_each(|mark| ends[(mark & 0xFFFF) as usize] = true);
        Self {
            all: marks.iter().copied().collect(),
            ends,
        }
    }

    /// Reads to the end in constant memory.
    fn find(&self, mut bytes: impl Read, found: &mut HashSet<u128>) -> IoResult<()> {
        let mut buffer = vec![0; 256 * 1024];
        let mut window = 0_u128;
        loop {
            let length = match bytes.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            for byte in &buffer[..length] {
                window = window << 8 | u128::from(*byte);
                if self.ends[(window & 0xFFFF) as usize] && self.all.contains(&window) {
                    found.insert(window);
                }
            }
        }
    }
}

/// The database's own file, opened once in the life of this process and never closed: on POSIX
/// systems, closing any handle to a file gives up all locks that the process has on it, and so
/// those by which SQLite keeps other processes away.
fn own_bytes(path: &Path) -> IoResult<Arc<File>> {
    static OPENED: Mutex<Option<HashMap<PathBuf, Vec<Arc<File>>>>> = Mutex::new(None);
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let files = opened
        .get_or_insert_default()
        .entry(path.to_path_buf())
        .or_default();
    let present = std::fs::metadata(path)?;
    for file in files.iter() {
        if same_file(&file.metadata()?, &present) {
            return Ok(Arc::clone(file));
        }
    }
    let file = Arc::new(File::open(path)?);
    files.push(Arc::clone(&file));
    Ok(file)
}

#[cfg(unix)]
fn same_file(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn same_file(_: &std::fs::Metadata, _: &std::fs::Metadata) -> bool {
    true
}

/// Reads a shared file from its beginning, whoever else reads it.
struct Whole<'f> {
    file: &'f File,
    at: u64,
}

impl Read for Whole<'_> {
    #[cfg(unix)]
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        let length = std::os::unix::fs::FileExt::read_at(self.file, buffer, self.at)?;
        self.at += length as u64;
        Ok(length)
    }

    #[cfg(windows)]
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        let length = std::os::windows::fs::FileExt::seek_read(self.file, buffer, self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_wherever_it_stands() {
        let mark = u128::from_be_bytes(*b"sixteen bytes ok");
        let marks = Marks::of(&[mark, 7]);
        for at in [0, 1, 262_143 - 8, 262_144, 500_000] {
            let mut bytes = vec![b's'; 600_000];
            bytes[at..at + 16].copy_from_slice(&mark.to_be_bytes());
            let mut found = HashSet::new();
            marks.find(&bytes[..], &mut found).unwrap();
            assert_eq!(found, HashSet::from([mark]));
        }
        let mut found = HashSet::new();
        marks.find(&b"sixteen bytes o"[..], &mut found).unwrap();
        assert!(found.is_empty());
    }
}
