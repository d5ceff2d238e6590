//! What dead processes left, and where the files are.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::frame::Frames;
use super::{HALF, HEAD, MAGIC};

/// A dead process's journal, locked.
#[derive(Debug)]
pub(crate) struct Leftover {
    pub(crate) id: [u8; 16],
    path: PathBuf,
    frames: Vec<(u64, Vec<u8>)>,
    _locked: File,
}

impl Leftover {
    /// The journals beside a database that no process holds.
    pub(crate) fn all(database: &Path) -> std::io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for path in files(database)? {
            found.extend(Self::lock(path)?);
        }
        Ok(found)
    }

    fn lock(path: PathBuf) -> std::io::Result<Option<Self>> {
        let mut file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            // Its owner removed it just now.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
        if !is_at(&file, &path) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let most = HEAD + 2 * HALF as u64;
        (&mut file).take(most).read_to_end(&mut bytes)?;
        let id = bytes
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.first_chunk())
            .copied();
        let frames = id.map_or_else(Vec::new, |_| in_both_halves(&bytes));
        Ok(Some(Self {
            id: id.unwrap_or_default(),
            path,
            frames,
            _locked: file,
        }))
    }

    /// Numbers and payloads in order.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let each = self.frames.iter();
        each.map(|(number, payload)| (*number, &payload[..]))
    }

    /// The log has it all, on disk.
    pub(crate) fn remove(self) -> std::io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

fn folder_of(database: &Path) -> &Path {
    match database.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

pub(super) fn files(database: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let start = path_start(database);
    for entry in std::fs::read_dir(folder_of(database))? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy());
        let id = name.as_deref().and_then(|name| name.strip_prefix(&start));
        let digit = |byte: u8| byte.is_ascii_hexdigit();
        if id.is_some_and(|id| id.len() == 32 && id.bytes().all(digit)) {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn path_start(database: &Path) -> String {
    let name = database.file_name().unwrap_or_default();
    format!("{}-opened-", name.to_string_lossy())
}

pub(super) fn path_of(database: &Path, id: &[u8; 16]) -> PathBuf {
    let name = format!("{}{:032x}", path_start(database), u128::from_be_bytes(*id));
    folder_of(database).join(name)
}

/// Whether this is the file at the path, and not one that was removed from there.
#[cfg(unix)]
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let same = |one: std::fs::Metadata, other: std::fs::Metadata| {
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    };
    let both = file
        .metadata()
        .and_then(|one| Ok((one, std::fs::metadata(path)?)));
    both.is_ok_and(|(one, other)| same(one, other))
}

/// Where a file that is open cannot be removed.
#[cfg(not(unix))]
pub(super) fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// What a journal's file holds, in the order of the numbers.
pub(super) fn in_both_halves(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    for half in 0..2 {
        let start = HEAD as usize + half * HALF;
        let bytes = bytes.get(start..).unwrap_or_default();
        let bytes = &bytes[..bytes.len().min(HALF)];
        let mut expected = None;
        for (number, payload) in Frames(bytes) {
            // Behind the last frame stands what is left of earlier ones.
            if expected.is_some_and(|expected| expected != number) {
                break;
            }
            expected = Some(number + 1);
            found.push((number, payload.to_vec()));
        }
    }
    found.sort_by_key(|(number, _)| *number);
    found
}
