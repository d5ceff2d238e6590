//! What dead processes left, and where the files are.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use kta_core::{Error, Fault, FaultKind, Port, Result};

use super::frame::{AROUND, anywhere, number_in};
use super::head::Head;
use super::{HALF, HEAD};

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
    ///
    /// # Errors
    /// [`Misconfigured`](FaultKind::Misconfigured) for one of another version,
    /// [`Corrupt`](FaultKind::Corrupt) for a damaged one; both stay where they are.
    pub(crate) fn all(database: &Path) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        for path in files(database).map_err(unreadable)? {
            if let Some((file, bytes)) = lock(&path).map_err(unreadable)? {
                found.push(Self::of(path, file, &bytes)?);
            }
        }
        Ok(found)
    }

    fn of(path: PathBuf, file: File, bytes: &[u8]) -> Result<Self> {
        let Some(head) = Head::read(bytes) else {
            let detail = "a journal of openings is of another version";
            return Err(fault(FaultKind::Misconfigured, detail));
        };
        let Found { frames, gap } = in_both_halves(bytes);
        if gap && head.same_start {
            return Err(damaged());
        }
        Ok(Self {
            id: head.id.or_else(|| id_in(&path)).unwrap_or_default(),
            path,
            frames,
            _locked: file,
        })
    }

    /// Numbers and payloads in order.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let each = self.frames.iter();
        each.map(|(number, payload)| (*number, &payload[..]))
    }

    /// The log has it all, on disk.
    pub(crate) fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(unreadable)
    }
}

/// A journal that no process holds, locked, and its bytes.
fn lock(path: &Path) -> std::io::Result<Option<(File, Vec<u8>)>> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
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
    if !is_at(&file, path) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let most = HEAD + 2 * HALF as u64;
    (&mut file).take(most).read_to_end(&mut bytes)?;
    Ok(Some((file, bytes)))
}

/// A journal whose bytes are not what was written.
pub(crate) fn damaged() -> Error {
    fault(FaultKind::Corrupt, "a journal of openings is damaged")
}

fn unreadable(_: std::io::Error) -> Error {
    fault(
        FaultKind::Unavailable,
        "a journal of openings cannot be read",
    )
}

fn fault(kind: FaultKind, detail: &'static str) -> Error {
    Fault::new(kind, Port::Store, "open").because(detail).into()
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

/// The id in a journal's name.
fn id_in(path: &Path) -> Option<[u8; 16]> {
    let name = path.file_name()?.to_str()?;
    let id = u128::from_str_radix(name.get(name.len().checked_sub(32)?..)?, 16);
    id.ok().map(u128::to_be_bytes)
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

/// What a journal's file holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Numbers and payloads of all whole frames, in order: the latest, and what they were written
    /// over before.
    pub(super) frames: Vec<(u64, Vec<u8>)>,
    /// Whether there are whole ones behind one that is not, though it was written before them.
    pub(super) gap: bool,
}

pub(super) fn in_both_halves(bytes: &[u8]) -> Found {
    let halves = [0, 1].map(|half| {
        let bytes = bytes.get(HEAD as usize + half * HALF..).unwrap_or_default();
        let bytes = &bytes[..bytes.len().min(HALF)];
        (number_in(bytes), anywhere(bytes))
    });
    let runs = [0, 1].map(|half| run(&halves[half].1));
    let mut found = Found::default();
    for (half, (begin, frames)) in halves.into_iter().enumerate() {
        let (count, last) = runs[half];
        let before = last.or(runs[1 - half].1).unwrap_or(0);
        let beyond = &frames[count..];
        // A half is written from its begin: behind the frame that was torn stand older ones only.
        found.gap |= beyond.iter().any(|(_, number, _)| *number > before);
        // Where it is the half's first, its number came next.
        found.gap |= count == 0 && !beyond.is_empty() && begin != Some(before + 1);
        let frames = frames.into_iter();
        let owned = frames.map(|(_, number, payload)| (number, payload.to_vec()));
        found.frames.extend(owned);
    }
    found.frames.sort_by_key(|(number, _)| *number);
    found
}

/// How many frames stand at the begin of a half, one after the other, and the last one's number.
fn run(frames: &[(usize, u64, &[u8])]) -> (usize, Option<u64>) {
    let (mut count, mut last, mut end) = (0, None, 0);
    for (at, number, payload) in frames {
        if *at != end || last.is_some_and(|last: u64| last + 1 != *number) {
            break;
        }
        (count, last, end) = (count + 1, Some(*number), at + AROUND + payload.len());
    }
    (count, last)
}
