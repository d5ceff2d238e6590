//! A small file that is replaced as a whole, whose former content is overwritten, and that one
//! process writes at a time.
//!
//! ```text
//!  write ring.kta-new, fsync ─► link ring to ring.kta-former ─► rename ring.kta-new to ring
//!              ─► fsync folder ─► overwrite ring.kta-former, fsync, unlink ─► fsync folder
//! ```
//!
//! Cut at any step, the file is the old or the new one, and the next opening finishes the rest.
//! The rename decides which: what fails after it leaves the new file, and is told as such.
//!
//! Only what a replacement leaves is ever removed. The endings are none that a person would give
//! a backup; at their names nothing but a plain file is touched; and a former content whose file
//! is missing, which no cut leaves, is left alone, since it may be the only copy.
//!
//! Overwriting reaches the same blocks on a plain file system; a copy-on-write file system, a
//! snapshot or the wear levelling of a flash disk can keep older ones. What they keep is still
//! sealed under the root key.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self as std_io, Read as _, Write as _};
use std::path::{Path, PathBuf};

use kta_core::time::Entropy;
use kta_core::{Error, Fault, FaultKind, Port, Result};

/// The file, held by this process alone.
#[derive(Debug)]
pub(crate) struct Replaceable {
    path: PathBuf,
    /// Locked as long as this lives; the system lets go of it when the process dies.
    _lock: File,
}

impl Replaceable {
    /// Takes the file at `path`, which need not be there yet, and finishes what an earlier
    /// process was cut off from.
    pub(crate) fn take(path: &Path, entropy: &dyn Entropy) -> Result<Self> {
        // Renaming would replace a link and leave what it points to, keys and all.
        if path.symlink_metadata().is_ok_and(|about| !about.is_file()) {
            return Err(fault(FaultKind::Misconfigured)
                .because("not a plain file")
                .into());
        }
        let lock = private(OpenOptions::new().write(true).create(true).truncate(false))
            .open(beside(path, ".lock"))
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(fault(FaultKind::Unavailable)
                    .because("another process holds the keyring")
                    .into());
            }
            Err(fs::TryLockError::Error(error)) => return Err(io(error)),
        }
        let file = Self {
            path: path.to_owned(),
            _lock: lock,
        };
        file.sweep(entropy)?;
        Ok(file)
    }

    /// Whether the file is there.
    pub(crate) fn exists(&self) -> bool {
        self.path.symlink_metadata().is_ok()
    }

    /// The content.
    pub(crate) fn read(&self) -> Result<Vec<u8>> {
        let file = File::open(&self.path).map_err(io)?;
        check_private(&file)?;
        let mut bytes = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > LARGEST {
            return Err(fault(FaultKind::Corrupt)
                .because("not a keyring of this house")
                .into());
        }
        Ok(bytes)
    }

    /// Replaces the content. The outer error means that the file is as it was; the inner one,
    /// that it is the new one, but that former content may be left.
    pub(crate) fn write(&self, bytes: &[u8], entropy: &dyn Entropy) -> Result<Result<()>> {
        if bytes.len() as u64 > LARGEST {
            return Err(fault(FaultKind::Misconfigured)
                .because("the keyring is full")
                .into());
        }
        self.sweep(entropy)?;
        let new = beside(&self.path, NEW);
        let mut file = private(OpenOptions::new().write(true).create_new(true))
            .open(&new)
            .map_err(io)?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(io)?;
        drop(file);
        if self.exists() {
            fs::hard_link(&self.path, beside(&self.path, FORMER)).map_err(io)?;
        }
        fs::rename(&new, &self.path).map_err(io)?;
        let finished = sync_folder(&self.path).and_then(|()| self.sweep(entropy));
        Ok(finished.map_err(|_| {
            fault(FaultKind::OutcomeUnknown)
                .because("written, but former content may be left")
                .into()
        }))
    }

    /// Overwrites and removes what a replacement left behind.
    pub(crate) fn sweep(&self, entropy: &dyn Entropy) -> Result<()> {
        let present = self.path.symlink_metadata().ok();
        let mut leftovers = Vec::new();
        for ending in [NEW, FORMER] {
            let leftover = beside(&self.path, ending);
            let about = match leftover.symlink_metadata() {
                Err(error) if error.kind() == std_io::ErrorKind::NotFound => continue,
                about => about.map_err(io)?,
            };
            if !about.is_file() {
                return Err(foreign().into());
            }
            if ending == FORMER && present.is_none() {
                return Err(fault(FaultKind::Misconfigured)
                    .because("the file is missing, and its former content may be the only copy")
                    .into());
            }
            leftovers.push((leftover, about));
        }
        if leftovers.is_empty() {
            return Ok(());
        }
        // Were the rename undone by a cut of the power, what is overwritten would be the file.
        sync_folder(&self.path)?;
        for (leftover, about) in leftovers {
            // Before the rename it is the present file under a second name: only unlink it.
            if !present.as_ref().is_some_and(|file| same_file(file, &about)) {
                overwrite(&leftover, &about, entropy)?;
            }
            fs::remove_file(&leftover).map_err(io)?;
        }
        sync_folder(&self.path)
    }
}

/// A fault of the custodian's file.
pub(crate) const fn fault(kind: FaultKind) -> Fault {
    Fault::new(kind, Port::Kms, "keyring file")
}

const fn foreign() -> Fault {
    fault(FaultKind::Misconfigured).because("what has the name of a leftover is no plain file")
}

/// What an error of the file system means. The error names paths, so it is not kept.
pub(crate) fn io(error: std_io::Error) -> Error {
    let kind = match error.kind() {
        std_io::ErrorKind::NotFound => FaultKind::NotFound,
        std_io::ErrorKind::PermissionDenied | std_io::ErrorKind::AlreadyExists => {
            FaultKind::Misconfigured
        }
        _ => FaultKind::Unavailable,
    };
    fault(kind).into()
}

/// A file that only its owner can read, from its first moment on.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Refuses a file that others than its owner can read or write, or that is no plain file.
pub(crate) fn check_private(file: &File) -> Result<()> {
    let about = file.metadata().map_err(io)?;
    #[cfg(unix)]
    let open_to_others = std::os::unix::fs::MetadataExt::mode(&about) & 0o077 != 0;
    #[cfg(not(unix))]
    let open_to_others = false;
    if open_to_others || !about.is_file() {
        return Err(fault(FaultKind::Misconfigured)
            .because("others can read the key's file")
            .into());
    }
    Ok(())
}

/// Makes a change of names in the file's folder durable.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .map_err(io)?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

#[cfg(unix)]
fn same_file(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Without file identities nothing is overwritten that has a file beside it, only removed.
#[cfg(not(unix))]
fn same_file(_one: &Metadata, _other: &Metadata) -> bool {
    true
}

/// Overwrites the file that was looked at, and none that a link put in its place leads to.
fn overwrite(path: &Path, looked_at: &Metadata, entropy: &dyn Entropy) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    if !same_file(&about, looked_at) {
        return Err(foreign().into());
    }
    fill(file, about.len(), entropy).map_err(io)
}

fn fill(mut file: File, mut left: u64, entropy: &dyn Entropy) -> std_io::Result<()> {
    let mut noise = [0; 4096];
    while left > 0 {
        entropy.fill(&mut noise);
        let now = usize::try_from(left)
            .unwrap_or(noise.len())
            .min(noise.len());
        file.write_all(&noise[..now])?;
        left -= now as u64;
    }
    file.sync_all()
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

const LARGEST: u64 = 64 << 20;
const NEW: &str = ".kta-new";
const FORMER: &str = ".kta-former";
