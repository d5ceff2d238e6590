//! A small file that is replaced as a whole, whose former content is overwritten, and that one
//! process writes at a time.
//!
//! ```text
//!  write ring.new, fsync ─► link ring to ring.old ─► rename ring.new to ring, fsync folder
//!                                                          ─► overwrite ring.old, fsync, unlink
//! ```
//!
//! Cut at any step, the file is the old or the new one, and the next opening finishes the rest.
//! Overwriting reaches the same blocks on a plain file system; a copy-on-write file system, a
//! snapshot or the wear levelling of a flash disk can keep older ones. What they keep is still
//! sealed under the root key.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self as std_io, Read as _, Seek as _, SeekFrom, Write as _};
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

    /// Replaces the content.
    pub(crate) fn write(&self, bytes: &[u8], entropy: &dyn Entropy) -> Result<()> {
        if bytes.len() as u64 > LARGEST {
            return Err(fault(FaultKind::Misconfigured)
                .because("the keyring is full")
                .into());
        }
        self.sweep(entropy)?;
        let new = beside(&self.path, ".new");
        let mut file = private(OpenOptions::new().write(true).create_new(true))
            .open(&new)
            .map_err(io)?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(io)?;
        drop(file);
        if self.exists() {
            fs::hard_link(&self.path, beside(&self.path, ".old")).map_err(io)?;
        }
        fs::rename(&new, &self.path).map_err(io)?;
        sync_folder(&self.path)?;
        self.sweep(entropy)
    }

    /// Overwrites and removes what a replacement left behind.
    fn sweep(&self, entropy: &dyn Entropy) -> Result<()> {
        for leftover in [beside(&self.path, ".new"), beside(&self.path, ".old")] {
            if leftover.symlink_metadata().is_err() {
                continue;
            }
            // Before the rename `.old` is the present file under a second name: only unlink it.
            if !same_file(&leftover, &self.path)? {
                overwrite(&leftover, entropy).map_err(io)?;
            }
            fs::remove_file(&leftover).map_err(io)?;
            sync_folder(&self.path)?;
        }
        Ok(())
    }
}

/// A fault of the custodian's file.
pub(crate) const fn fault(kind: FaultKind) -> Fault {
    Fault::new(kind, Port::Kms, "keyring file")
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
fn same_file(one: &Path, other: &Path) -> Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(other) = other.symlink_metadata() else {
        return Ok(false);
    };
    let one = one.symlink_metadata().map_err(io)?;
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Without file identities nothing is overwritten, only removed.
#[cfg(not(unix))]
fn same_file(_one: &Path, _other: &Path) -> Result<bool> {
    Ok(true)
}

fn overwrite(path: &Path, entropy: &dyn Entropy) -> std_io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let mut left = file.metadata()?.len();
    file.seek(SeekFrom::Start(0))?;
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
