//! Whether anything was committed since, without asking the database.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
#[cfg(unix)]
use std::{path::PathBuf, sync::Mutex};

use kta_core::id::TenantId;

/// The beginning of the index of the write-ahead log, which is the same as long as nobody, in any
/// process, commits anything.
///
/// SQLite shares that index among all connections through the file `-shm`. Its first 48 bytes are
/// counted on, numbered and summed anew with every commit ([the format], section 2); they lie in
/// the memory that the processes share, and reading them takes a tenth of what a statement takes.
/// Where they cannot be read, the database is asked.
///
/// [the format]: https://www.sqlite.org/walformat.html
#[derive(Debug)]
pub(super) struct Stamp {
    index: Option<Arc<File>>,
    known: RwLock<HashMap<TenantId, (Bytes, u64)>>,
}

type Bytes = [u8; 48];

impl Stamp {
    /// For a database that is open in this process, and stays so while this is used.
    pub(super) fn of(database: &Path) -> Self {
        Self {
            index: index_of(database),
            known: RwLock::default(),
        }
    }

    /// As it is now. Read it before what it is to vouch for.
    pub(super) fn now(&self) -> Option<Bytes> {
        let mut bytes = [0; 48];
        read_start(self.index.as_deref()?, &mut bytes)?;
        // Not begun: nothing was committed since the log was made.
        (bytes != [0; 48]).then_some(bytes)
    }

    /// The revision that was kept under this very stamp.
    pub(super) fn known(&self, tenant: TenantId, stamp: Option<Bytes>) -> Option<u64> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let (of, revision) = known.get(&tenant)?;
        (Some(*of) == stamp).then_some(*revision)
    }

    /// Keeps a revision that was read after the stamp.
    pub(super) fn keep(&self, tenant: TenantId, stamp: Option<Bytes>, revision: u64) {
        if let Some(stamp) = stamp {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            known.insert(tenant, (stamp, revision));
        }
    }
}

/// The index's file, opened once in the life of this process for as long as it is the same and not
/// closed before: on POSIX systems, closing any handle to a file gives up all locks that the
/// process has on it. One that was removed since has none.
#[cfg(unix)]
fn index_of(database: &Path) -> Option<Arc<File>> {
    use std::os::unix::fs::MetadataExt as _;
    static OPENED: Mutex<Vec<(PathBuf, Arc<File>)>> = Mutex::new(Vec::new());
    let mut name = database.as_os_str().to_owned();
    name.push("-shm");
    let path = PathBuf::from(name);
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let present = std::fs::metadata(&path).ok()?;
    let same = |file: &File| {
        let identity = |of: &std::fs::Metadata| (of.dev(), of.ino());
        file.metadata()
            .is_ok_and(|of| identity(&of) == identity(&present))
    };
    if let Some((_, file)) = opened.iter().find(|(at, file)| *at == path && same(file)) {
        return Some(Arc::clone(file));
    }
    let file = Arc::new(File::open(&path).ok()?);
    opened.retain(|(at, _)| *at != path);
    opened.push((path, Arc::clone(&file)));
    same(&file).then_some(file)
}

/// Elsewhere the file is locked against others.
#[cfg(not(unix))]
fn index_of(_: &Path) -> Option<Arc<File>> {
    None
}

#[cfg(unix)]
fn read_start(file: &File, bytes: &mut Bytes) -> Option<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, 0).ok()
}

#[cfg(not(unix))]
fn read_start(_: &File, _: &mut Bytes) -> Option<()> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn the_stamp_changes_with_every_commit_of_any_connection_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.db");
        let open = || {
            let db = Connection::open(&path).unwrap();
            db.pragma_update(None, "journal_mode", "WAL").unwrap();
            db
        };
        let (here, there) = (open(), open());
        here.execute_batch("CREATE TABLE one (number INTEGER)")
            .unwrap();
        let stamp = Stamp::of(&path);
        let mut seen = vec![stamp.now().unwrap()];
        for round in 0..200 {
            let db = if round % 3 == 0 { &here } else { &there };
            db.execute("INSERT INTO one VALUES (?1)", [round]).unwrap();
            if round % 17 == 0 {
                db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                    .unwrap();
            }
            let now = stamp.now();
            let many: i64 = there
                .query_row("SELECT count(*) FROM one", [], |row| row.get(0))
                .unwrap();
            assert_eq!(many, round + 1);
            assert_eq!(stamp.now(), now, "reading is no commit");
            seen.extend(now);
        }
        assert!(seen.len() > 150);
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all, "no two states have one stamp");
    }

    #[test]
    fn a_revision_is_known_under_its_own_stamp_only() {
        let (one, other) = (TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
        let stamp = Stamp {
            index: None,
            known: RwLock::default(),
        };
        assert_eq!(stamp.now(), None);
        stamp.keep(one, Some([1; 48]), 7);
        assert_eq!(stamp.known(one, Some([1; 48])), Some(7));
        assert_eq!(stamp.known(one, Some([2; 48])), None);
        assert_eq!(stamp.known(other, Some([1; 48])), None);
        stamp.keep(one, None, 8);
        assert_eq!(stamp.known(one, None), None);
    }
}
