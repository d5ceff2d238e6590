//! Sealed bytes on a local disk.

use core::fmt;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{TryStreamExt as _, stream};
use kta_core::audit::Label;
use kta_core::id::{Digest, IdempotencyKey};
use kta_core::pii::{ContentStream, Placement, System};
use kta_core::policy::{Act, Permit};
use kta_core::ports::blobs::{BlobId, Blobs};
use kta_core::ports::erase::{Erase, Erased, Method, Probe, Residue};
use kta_core::{Error, Fault, FaultKind, Port, Result};
use sha2::{Digest as _, Sha256};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// [`Blobs`] and their [`Erase`] as files in one folder. Clones are handles to one folder.
///
/// ```text
/// root/<tenant>/<2 digits of the subject>/<subject>/<document>     ids in hexadecimal
/// root/incoming/<process>-<number>                                  what is being written
/// root/lock                                                         see below
/// ```
///
/// A blob is written beside, synchronised, and renamed into its place; then the folder is
/// synchronised: it is there whole, durably, or not at all. A removed blob is overwritten with
/// zeros, synchronised and unlinked. On copy-on-write file systems and solid-state disks the
/// overwriting may reach other cells than those it is meant for: there, and in what a second put
/// replaced, only the destruction of the person's key reaches.
///
/// A blob is removed, and replaced where it is, under an exclusive lock of the file `lock`: what
/// one process erases, another that seals it anew cannot bring back.
///
/// Names and lengths can be seen by whoever sees the folder; they tell no more than the ids do.
/// Needs a tokio runtime.
#[derive(Clone)]
pub struct DiskBlobs {
    root: Arc<PathBuf>,
}

impl DiskBlobs {
    /// The blobs in `root`, which is made if it is not there. What an earlier process left
    /// half-written a day ago is cleared away.
    ///
    /// # Errors
    /// [`Misconfigured`](FaultKind::Misconfigured) when the folder cannot be made or read.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref().to_path_buf();
        let unusable = |_| {
            let fault = Fault::new(FaultKind::Misconfigured, Port::Blobs, "open");
            Error::from(fault.because("the folder cannot be used"))
        };
        make_folder(&root.join(INCOMING), &mut sync).map_err(unusable)?;
        for left in std::fs::read_dir(root.join(INCOMING))
            .map_err(unusable)?
            .flatten()
        {
            let modified = left.metadata().and_then(|data| data.modified());
            let age = modified
                .ok()
                .and_then(|at| SystemTime::now().duration_since(at).ok());
            if age.is_some_and(|age| age > STALE) {
                // What cannot be cleared away now is tried again at the next start.
                drop(std::fs::remove_file(left.path()));
            }
        }
        Ok(Self {
            root: Arc::new(root),
        })
    }

    fn path(&self, id: &BlobId) -> PathBuf {
        let subject = hex(id.subject.as_bytes());
        let mut path = self.root.join(hex(id.tenant.as_bytes()));
        path.push(&subject[..2]);
        path.push(subject);
        path.push(hex(id.document.as_bytes()));
        path
    }

    /// Writes the stream into a new file beside; gives it with length and digest.
    async fn take_in(&self, mut sealed: ContentStream) -> Result<(Incoming, u64, Digest)> {
        let incoming = Incoming::in_folder(&self.root.join(INCOMING));
        let told = |error| broken("put", &error);
        let mut file = create(&incoming.path).await.map_err(told)?;
        let (mut hash, mut length) = (Sha256::new(), 0);
        while let Some(chunk) = sealed.try_next().await? {
            hash.update(&chunk);
            length += chunk.len() as u64;
            file.write_all(&chunk).await.map_err(told)?;
        }
        file.flush().await.map_err(told)?;
        file.sync_all().await.map_err(told)?;
        Ok((incoming, length, Digest::from_bytes(hash.finalize().into())))
    }

    async fn erase_file(&self, id: &BlobId) -> Result<()> {
        let path = self.path(id);
        self.locked("remove", move || erase_file(&path)).await
    }

    /// Does this while no other process, or task, removes or replaces a blob. It is done to the
    /// end even when nobody waits for it any more.
    async fn locked<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let lock = self.root.join(LOCK);
        let locked = move || {
            let file = open_lock(&lock)?;
            file.lock()?;
            // The lock ends with the file.
            work()
        };
        let done = tokio::task::spawn_blocking(locked).await;
        done.map_err(|_| Error::from(Fault::new(FaultKind::Unavailable, Port::Blobs, operation)))?
            .map_err(|error| broken(operation, &error))
    }
}

#[async_trait]
impl Blobs for DiskBlobs {
    async fn put(
        &self,
        id: &BlobId,
        sealed: ContentStream,
        permit: &Permit<'_>,
    ) -> Result<(u64, Digest)> {
        id.admit(BlobId::HANDLING, permit)?;
        let (incoming, length, digest) = self.take_in(sealed).await?;
        let path = self.path(id);
        let told = |error| broken("put", &error);
        if let Some(folder) = path.parent().map(Path::to_path_buf) {
            let made = tokio::task::spawn_blocking(move || make_folder(&folder, &mut sync)).await;
            made.unwrap_or_else(|died| Err(died.into())).map_err(told)?;
        }
        incoming.rename(&path).await.map_err(told)?;
        sync_folder(&path).await.map_err(told)?;
        Ok((length, digest))
    }

    async fn replace(
        &self,
        id: &BlobId,
        sealed: ContentStream,
        permit: &Permit<'_>,
    ) -> Result<(u64, Digest)> {
        id.admit(BlobId::REPLACING, permit)?;
        let (mut incoming, length, digest) = self.take_in(sealed).await?;
        let path = self.path(id);
        let synced = path.clone();
        let there = move || {
            let there = std::fs::exists(&path)?;
            if there {
                std::fs::rename(&incoming.path, &path)?;
                incoming.in_place = true;
            }
            Ok(there)
        };
        if !self.locked("replace", there).await? {
            return Err(Fault::new(FaultKind::NotFound, Port::Blobs, "replace").into());
        }
        let told = |error| broken("replace", &error);
        sync_folder(&synced).await.map_err(told)?;
        Ok((length, digest))
    }

    async fn stream(&self, id: &BlobId, permit: &Permit<'_>) -> Result<ContentStream> {
        id.admit(BlobId::READING, permit)?;
        let file = match File::open(self.path(id)).await {
            Ok(file) => file,
            Err(error) if is_absent(&error) => {
                return Err(Fault::new(FaultKind::NotFound, Port::Blobs, "stream").into());
            }
            Err(error) => return Err(broken("stream", &error)),
        };
        Ok(Box::pin(stream::try_unfold(file, async |mut file| {
            let mut piece = vec![0; PIECE];
            let length = file
                .read(&mut piece)
                .await
                .map_err(|error| broken("stream", &error))?;
            piece.truncate(length);
            Ok((length > 0).then(|| (Bytes::from(piece), file)))
        })))
    }

    async fn remove(&self, id: &BlobId, permit: &Permit<'_>) -> Result<()> {
        id.admit(BlobId::REMOVING, permit)?;
        self.erase_file(id).await
    }

    async fn contains(&self, id: &BlobId) -> Result<bool> {
        fs::try_exists(self.path(id))
            .await
            .map_err(|error| broken("contains", &error))
    }
}

/// Overwrites and unlinks the file; probes by asking for it and by reading its folder.
#[async_trait]
impl Erase for DiskBlobs {
    fn system(&self) -> System {
        Placement::BLOBS
    }

    async fn erase(
        &self,
        placement: &Placement,
        _key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Erased> {
        placement.admit(&self.system(), Act::Destroy, permit)?;
        self.erase_file(&placement.stored_blob()?).await?;
        let steps = ["file.overwrite", "file.unlink"].map(Label::fixed).to_vec();
        Ok(Erased {
            method: Method::Overwrite,
            steps,
            window: None,
        })
    }

    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> Result<Probe> {
        placement.admit(&self.system(), Act::Probe, permit)?;
        let path = self.path(&placement.stored_blob()?);
        let told = |error: std::io::Error| {
            let fault = Fault::new(FaultKind::Unavailable, Port::Erase, "probe");
            Error::from(fault.because(detail(&error)))
        };
        let mut listed = 0_u32;
        match fs::read_dir(path.parent().unwrap_or(&self.root)).await {
            Ok(mut folder) => {
                while let Some(entry) = folder.next_entry().await.map_err(told)? {
                    listed += u32::from(entry.path() == path);
                }
            }
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(told(error)),
        }
        let there = fs::try_exists(&path).await.map_err(told)?;
        let residue = Residue {
            what: Label::fixed("blob"),
            until: None,
            content: true,
        };
        Ok(Probe {
            at: permit.now(),
            asked: ["file.stat", "folder.list"].map(Label::fixed).to_vec(),
            evidence: Digest::of(format!("stat={there};listed={listed}").as_bytes()),
            residues: (there || listed > 0)
                .then_some(residue)
                .into_iter()
                .collect(),
        })
    }
}

impl fmt::Debug for DiskBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiskBlobs")
    }
}

/// A file that is not in its place yet; it goes when whoever wrote it goes.
struct Incoming {
    path: PathBuf,
    in_place: bool,
}

impl Incoming {
    fn in_folder(folder: &Path) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Two machines on one folder may share a process number, so the instant is in it too.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanos = since.map_or(0, |since| since.as_nanos());
        let name = format!("{}-{number}-{nanos}", std::process::id());
        Self {
            path: folder.join(name),
            in_place: false,
        }
    }

    async fn rename(mut self, to: &Path) -> std::io::Result<()> {
        fs::rename(&self.path, to).await?;
        self.in_place = true;
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.in_place {
            // What stays is cleared away by a later start.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Overwrites the file with zeros and unlinks it; nothing when it is not there.
fn erase_file(path: &Path) -> std::io::Result<()> {
    let mut file = match std::fs::OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        // Unlinked by whoever was killed before that was on disk, perhaps.
        Err(error) if is_absent(&error) => {
            return match path.parent().map_or(Ok(()), sync) {
                Err(error) if is_absent(&error) => Ok(()),
                outcome => outcome,
            };
        }
        Err(error) => return Err(error),
    };
    let mut left = file.metadata()?.len();
    let zeros = vec![0; PIECE];
    while left > 0 {
        let length = zeros.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.write_all(&zeros[..length])?;
        left -= length as u64;
    }
    file.sync_all()?;
    match std::fs::remove_file(path) {
        Err(error) if !is_absent(&error) => return Err(error),
        _ => {}
    }
    path.parent().map_or(Ok(()), sync)
}

fn open_lock(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

async fn create(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    options.open(path).await
}

/// Makes a folder and those above it that are missing, from the top: each is on disk in the folder
/// above it before anything is made in it. The last one is synchronised there also where somebody
/// else made it, who may not have come that far.
fn make_folder(
    folder: &Path,
    sync: &mut impl FnMut(&Path) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let above = match folder.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => return Ok(()),
    };
    let mut made = std::fs::create_dir(folder);
    if made.as_ref().is_err_and(is_absent) {
        make_folder(above, sync)?;
        made = std::fs::create_dir(folder);
    }
    match made {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync(above),
    }
}

fn sync(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Synchronises the folder of `path`, so that what was renamed or unlinked in it stays so.
async fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) if cfg!(unix) => match File::open(folder).await {
            Ok(folder) => folder.sync_all().await,
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(error),
        },
        _ => Ok(()),
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

fn broken(operation: &'static str, error: &std::io::Error) -> Error {
    let kind = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory => {
            FaultKind::Misconfigured
        }
        _ => FaultKind::Unavailable,
    };
    Fault::new(kind, Port::Blobs, operation)
        .because(detail(error))
        .into()
}

fn detail(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "the disk is full",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "the folder cannot be written"
        }
        _ => "the disk failed",
    }
}

pub(crate) fn hex(bytes: &[u8; 16]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(32), |mut text, byte| {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
            text
        })
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";
const INCOMING: &str = "incoming";
const LOCK: &str = "lock";

/// Bytes read or overwritten at once.
const PIECE: usize = 64 * 1024;

/// How old a half-written file must be before it is nobody's.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn each_folder_is_on_disk_in_the_one_above_it_before_anything_is_made_in_it() {
        let root = tempfile::tempdir().unwrap();
        let [firm, two, person] =
            ["firm", "firm/ab", "firm/ab/person"].map(|name| root.path().join(name));
        let mut synced = Vec::new();
        let mut note = |above: &Path| {
            let there = [&firm, &two, &person].map(|folder| folder.exists());
            synced.push((above.to_path_buf(), there));
            Ok(())
        };
        make_folder(&person, &mut note).unwrap();
        // Again, as another task that finds the folder there.
        make_folder(&person, &mut note).unwrap();
        let all = [true; 3];
        assert_eq!(
            synced,
            [
                (root.path().to_path_buf(), [true, false, false]),
                (firm, [true, true, false]),
                (two.clone(), all),
                (two, all),
            ]
        );
    }
}
