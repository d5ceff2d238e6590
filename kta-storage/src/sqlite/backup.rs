//! A copy of the store in another file, and a store from such a copy.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use kta_core::{Error, Fault, FaultKind, Port, Result};

use super::fault::broken;
use super::open::touch;
use super::readers::aside;
use super::{FORM, SqliteStore, check};

impl SqliteStore {
    /// Writes a copy of the store, as of one moment and without what was removed, into a new
    /// file that only its owner reads. Others go on reading meanwhile; who writes, waits. The file
    /// is there whole and on disk, or not at all. Keep it apart from the key table's: it opens
    /// nothing by itself.
    ///
    /// # Errors
    /// A fault when the file is there already or cannot be written.
    pub async fn back_up(&self, to: impl AsRef<Path>) -> Result<()> {
        let to = to.as_ref().to_path_buf();
        if to.exists() {
            return Err(misconfigured(BACK_UP, "the file is there already"));
        }
        let write = move |db: &rusqlite::Connection| {
            let part = Part::of(&to, BACK_UP)?;
            let name = part.path.to_str();
            let name = name.ok_or_else(|| misconfigured(BACK_UP, "the path is not in UTF-8"))?;
            db.execute("VACUUM INTO ?1", [name])
                .map_err(broken(Port::Store, BACK_UP))?;
            part.put_in_place(&to, BACK_UP)
        };
        self.inner.writer.settle(BACK_UP).await?;
        self.inner.writer.between(BACK_UP, write).await
    }

    /// Makes a store at `to` from a [backup](Self::back_up), and opens it. The backup is read only;
    /// its copy is checked page by page and log by log before it takes its place.
    ///
    /// What happened since the backup is not in it: an [`AnchorFile`](crate::AnchorFile) refuses
    /// its log with `AUD-FORK` until somebody answers for what is lost and begins a new anchor;
    /// who was erased since then comes back as ciphertext to which there is no key, and is to be
    /// erased again (the ledger of suppressions tells whom).
    ///
    /// # Errors
    /// [`Misconfigured`](FaultKind::Misconfigured) when there is no backup, or when a store is at
    /// `to`, or a write-ahead log or journal of one: it would be written into the restored file.
    /// [`Corrupt`](FaultKind::Corrupt) for a damaged backup; faults of the disk.
    pub async fn restore(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Self> {
        let (from, to) = (from.as_ref().to_path_buf(), to.as_ref().to_path_buf());
        aside(Port::Store, RESTORE, move || {
            if is_taken(&to).map_err(|error| disk(RESTORE, &error))? {
                return Err(misconfigured(
                    RESTORE,
                    "a store, or what it left, is there already",
                ));
            }
            let backup = File::open(&from);
            let mut backup =
                backup.map_err(|_| misconfigured(RESTORE, "there is no such backup"))?;
            // SQLite would take an empty file for a new store.
            if backup.metadata().map_or(0, |about| about.len()) == 0 {
                return Err(FORM.corrupt("the backup is empty"));
            }
            let part = Part::of(&to, RESTORE)?;
            let mut copy = fs::OpenOptions::new()
                .write(true)
                .open(&part.path)
                .map_err(|error| disk(RESTORE, &error))?;
            std::io::copy(&mut backup.by_ref(), &mut copy)
                .map_err(|error| disk(RESTORE, &error))?;
            drop(copy);
            let db = FORM.open(&part.path, None)?;
            check::whole(&db)?;
            // Closing writes its log home and takes it away.
            db.close()
                .map_err(|(_, error)| broken(Port::Store, RESTORE)(error))?;
            part.put_in_place(&to, RESTORE)?;
            Self::open(&to)
        })
        .await
    }
}

/// A file that is being written beside its place; it goes when it does not get there.
struct Part {
    path: PathBuf,
}

impl Part {
    /// An empty one, for its owner only. What an earlier attempt left goes.
    fn of(to: &Path, operation: &'static str) -> Result<Self> {
        let part = Self {
            path: beside(to, ".part"),
        };
        part.clear();
        match touch(&part.path) {
            Ok(()) => Ok(part),
            Err(error) => Err(disk(operation, &error)),
        }
    }

    /// On disk, then under its own name.
    fn put_in_place(self, to: &Path, operation: &'static str) -> Result<()> {
        let put = || {
            File::open(&self.path)?.sync_all()?;
            fs::rename(&self.path, to)?;
            File::open(folder_of(to))?.sync_all()
        };
        put().map_err(|error| disk(operation, &error))
    }

    fn clear(&self) {
        for path in ["", "-wal", "-shm", "-journal"].map(|end| beside(&self.path, end)) {
            // What cannot be cleared away is in the way of the next attempt, which says so.
            drop(fs::remove_file(path));
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Whether the file is there, or one that a store keeps beside it: those are named after it.
fn is_taken(to: &Path) -> std::io::Result<bool> {
    let name = to
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    for entry in fs::read_dir(folder_of(to))? {
        let other = entry?.file_name().to_string_lossy().into_owned();
        let rest = other.strip_prefix(&name);
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-')) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn folder_of(path: &Path) -> &Path {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or_else(|| Path::new("."))
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

fn misconfigured(operation: &'static str, detail: &'static str) -> Error {
    Fault::new(FaultKind::Misconfigured, Port::Store, operation)
        .because(detail)
        .into()
}

fn disk(operation: &'static str, error: &std::io::Error) -> Error {
    use std::io::ErrorKind as Kind;
    let (kind, detail) = match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded => (FaultKind::Unavailable, "the disk is full"),
        Kind::NotFound | Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
            (FaultKind::Misconfigured, "the file cannot be written")
        }
        _ => (FaultKind::Unavailable, "the disk failed"),
    };
    Fault::new(kind, Port::Store, operation)
        .because(detail)
        .into()
}

const BACK_UP: &str = "back up";
const RESTORE: &str = "restore";
