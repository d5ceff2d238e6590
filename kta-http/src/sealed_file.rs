//! A small secret that several processes of one machine share: sealed, replaced whole, and
//! changed by one of them at a time.

use core::fmt;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kta_core::crypto::SecretKey;
use kta_core::crypto::aead::{Keyed, Provider};
use kta_core::time::Entropy;
use kta_core::{Error, FaultKind, Result};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::call::Call;

/// A sealed file and the lock beside it.
///
/// ```text
///  path.lock   held by whoever has the turn; the operating system lets it go with its process
///  path        form ‖ nonce ‖ tag ‖ AES-256-GCM-SIV(content), associated with form and binding
///  path.new    the next content, until it takes the place of the present one
/// ```
///
/// # Behavior
/// - One process has the turn; it is over when the [`Turn`] is dropped, or its process dies.
/// - Whoever reads sees a whole content, the last or the one before, without waiting for a turn.
/// - A file that others may read or write, that stands in a folder others may write into, or that
///   does not open under key and binding, is a fault and never taken for an empty one.
/// - Nothing of the content stands outside the sealed bytes.
///
/// Permissions are checked where there are Unix ones; elsewhere only the sealing protects the
/// content. Who may write as the same user can put an earlier file back: sealing does not show it.
/// The lock is this machine's: a folder on a network file system does not do.
pub struct SealedFile {
    path: PathBuf,
    cipher: Box<dyn Keyed>,
    binding: Vec<u8>,
    entropy: Arc<dyn Entropy>,
}

/// The turn to change a [`SealedFile`].
#[derive(Debug)]
pub struct Turn<'a> {
    file: &'a SealedFile,
    /// Closing it lets the next one in.
    _lock: File,
    call: Call,
}

/// Which content a file has, without reading it: another mark is another content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMark {
    length: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl SealedFile {
    /// The file at `path`, sealed under `key`. Nothing is read or written yet; its folder must
    /// exist. `entropy` makes nonces.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, key: &SecretKey, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            path: path.into(),
            cipher: Provider::current().cipher().keyed(key.expose()),
            binding: Vec::new(),
            entropy,
        }
    }

    /// The same, and its content opens for this binding only.
    #[must_use]
    pub fn bound(mut self, binding: &[u8]) -> Self {
        self.binding = binding.to_vec();
        self
    }

    /// Waits for the turn, at most this long.
    ///
    /// # Errors
    /// `Timeout` when another process does not end its turn; `Misconfigured` when folder or file
    /// are open to others or cannot be opened.
    pub async fn turn(&self, call: Call, patience: Duration) -> Result<Turn<'_>> {
        self.check_folder(call)?;
        let path = self.beside("lock");
        let open = private().create(true).open(&path);
        let lock = open.map_err(|_| unfit(call, "the lock of a shared file cannot be opened"))?;
        let until = Instant::now() + patience;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < until => {}
                Err(TryLockError::WouldBlock) => {
                    let fault = call.fault(FaultKind::Timeout);
                    return Err(fault.because("another process keeps a shared file").into());
                }
                Err(TryLockError::Error(_)) => {
                    return Err(unfit(call, "a shared file cannot be locked"));
                }
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        Ok(Turn {
            file: self,
            _lock: lock,
            call,
        })
    }

    /// The content; `None` when there is no file.
    ///
    /// # Errors
    /// `Misconfigured` when the file is open to others, cannot be read, or does not open.
    pub fn read(&self, call: Call) -> Result<Option<Zeroizing<Vec<u8>>>> {
        match fs::symlink_metadata(&self.path) {
            Ok(metadata) if !metadata.is_file() || is_open_to_others(&metadata, 0o077) => {
                return Err(unfit(call, "a shared file is open to others, or no file"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(_) => return Err(unfit(call, "a shared file cannot be read")),
        }
        let mut bytes = Vec::new();
        let read =
            File::open(&self.path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
        read.map_err(|_| unfit(call, "a shared file cannot be read"))?;
        self.unseal(&bytes).map(Some).ok_or_else(|| {
            unfit(
                call,
                "a shared file does not open: it is not ours, or changed",
            )
        })
    }

    /// The mark of the present content; `None` when there is no file. It reads no content, so
    /// that it can be asked before every call.
    #[must_use]
    pub fn mark(&self) -> Option<FileMark> {
        let metadata = fs::symlink_metadata(&self.path).ok()?;
        Some(FileMark {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            inode: inode(&metadata),
        })
    }

    fn seal(&self, content: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0; NONCE];
        self.entropy.fill(&mut nonce);
        let mut sealed = Zeroizing::new(content.to_vec());
        let tag = self
            .cipher
            .seal_in_place(&nonce, &self.associated(), &mut sealed)?;
        Ok([FORM, &nonce, &tag, &sealed].concat())
    }

    fn unseal(&self, bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, rest) = bytes.strip_prefix(FORM)?.split_first_chunk::<NONCE>()?;
        let (tag, sealed) = rest.split_first_chunk::<TAG>()?;
        let mut content = Zeroizing::new(sealed.to_vec());
        self.cipher
            .open_in_place(nonce, &self.associated(), &mut content, tag)
            .ok()?;
        Some(content)
    }

    fn associated(&self) -> Vec<u8> {
        [FORM, self.binding.as_slice()].concat()
    }

    fn check_folder(&self, call: Call) -> Result<()> {
        let is_closed = fs::metadata(self.folder())
            .is_ok_and(|metadata| metadata.is_dir() && !is_open_to_others(&metadata, 0o022));
        is_closed
            .then_some(())
            .ok_or_else(|| unfit(call, "others may write where a shared file stands"))
    }

    fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".");
        path.push(ending);
        path.into()
    }
}

impl Turn<'_> {
    /// The content; `None` when there is no file.
    ///
    /// # Errors
    /// As [`SealedFile::read`].
    pub fn read(&self) -> Result<Option<Zeroizing<Vec<u8>>>> {
        self.file.read(self.call)
    }

    /// Replaces the content, whole and durably.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be written; then the content is what it was.
    pub fn write(&mut self, content: &[u8]) -> Result<()> {
        let sealed = self.file.seal(content)?;
        let next = self.file.beside("new");
        let replace = || {
            // What a process left that died here.
            match fs::remove_file(&next) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = private().create_new(true).open(&next)?;
            file.write_all(&sealed)?;
            file.sync_all()?;
            fs::rename(&next, &self.file.path)?;
            // Not every system lets a folder be opened; the file itself is safe by now.
            if let Ok(folder) = File::open(self.file.folder()) {
                let _ = folder.sync_all();
            }
            Ok(())
        };
        replace().map_err(|_| {
            let fault = self.call.fault(FaultKind::Unavailable);
            fault.because("a shared file cannot be written").into()
        })
    }
}

impl fmt::Debug for SealedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedFile(..)")
    }
}

fn unfit(call: Call, why: &'static str) -> Error {
    call.fault(FaultKind::Misconfigured).because(why).into()
}

/// To write, for nobody but this user.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(unix)]
fn is_open_to_others(metadata: &Metadata, bits: u32) -> bool {
    std::os::unix::fs::MetadataExt::mode(metadata) & bits != 0
}

#[cfg(not(unix))]
fn is_open_to_others(_: &Metadata, _: u32) -> bool {
    false
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

const FORM: &[u8] = b"kta-sealed-file-1\n";
const NONCE: usize = 12;
const TAG: usize = 16;
const MOST_BYTES: u64 = 1 << 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use kta_core::Port;
    use kta_core::memory::SeededEntropy;

    use super::*;

    const CALL: Call = Call::new(Port::Crm, "authorize");
    const PATIENCE: Duration = Duration::from_secs(5);

    fn file(folder: &Path, key: u8, binding: &[u8]) -> SealedFile {
        let key = SecretKey::from_bytes([key; 32]);
        SealedFile::new(folder.join("token"), &key, Arc::new(SeededEntropy::new(1))).bound(binding)
    }

    fn kind(error: Error) -> FaultKind {
        error.fault().unwrap().kind()
    }

    #[tokio::test]
    async fn what_one_writes_the_other_reads_and_the_disk_never_shows() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (file(folder.path(), 7, b"a"), file(folder.path(), 7, b"a"));
        assert_eq!((one.mark(), one.read(CALL).unwrap()), (None, None));
        let mut turn = one.turn(CALL, PATIENCE).await.unwrap();
        turn.write(b"ZZCANARY").unwrap();
        let mark = other.mark();
        assert_eq!(other.read(CALL).unwrap().unwrap().as_slice(), b"ZZCANARY");
        turn.write(b"ZZCANARY").unwrap();
        assert_ne!(other.mark(), mark);
        for entry in fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            let bytes = fs::read(entry.path()).unwrap();
            assert!(!bytes.windows(4).any(|four| four == b"ZZCA"));
            assert!(!is_open_to_others(&entry.metadata().unwrap(), 0o077));
        }
        for stranger in [file(folder.path(), 8, b"a"), file(folder.path(), 7, b"b")] {
            assert_eq!(
                kind(stranger.read(CALL).unwrap_err()),
                FaultKind::Misconfigured
            );
        }
    }

    #[tokio::test]
    async fn a_file_that_was_changed_by_one_bit_or_cut_off_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let shared = file(folder.path(), 7, b"a");
        let write = async |content: &[u8]| {
            shared
                .turn(CALL, PATIENCE)
                .await
                .unwrap()
                .write(content)
                .unwrap();
        };
        write(b"content").await;
        let path = folder.path().join("token");
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, changed).unwrap();
            assert!(shared.read(CALL).is_err(), "{at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(shared.read(CALL).is_err(), "{at}");
        }
        fs::write(&path, &whole).unwrap();
        assert!(shared.read(CALL).unwrap().is_some());
        // What a process left that died in the middle of a change is no obstacle.
        fs::write(folder.path().join("token.new"), b"half").unwrap();
        write(b"next").await;
        assert_eq!(shared.read(CALL).unwrap().unwrap().as_slice(), b"next");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_file_or_folder_open_to_others_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let allow = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let folder = tempfile::tempdir().unwrap();
        let shared = file(folder.path(), 7, b"a");
        let turn = shared.turn(CALL, PATIENCE).await;
        turn.unwrap().write(b"content").unwrap();
        let path = folder.path().join("token");
        for mode in [0o640, 0o604, 0o660] {
            allow(&path, mode);
            assert_eq!(
                kind(shared.read(CALL).unwrap_err()),
                FaultKind::Misconfigured
            );
        }
        allow(&path, 0o600);
        assert!(shared.read(CALL).is_ok());
        allow(folder.path(), 0o777);
        let refused = shared.turn(CALL, PATIENCE).await.unwrap_err();
        assert_eq!(kind(refused), FaultKind::Misconfigured);
        allow(folder.path(), 0o700);
        // A link leads to somebody else's file.
        fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(shared.read(CALL).is_err());
    }

    #[tokio::test]
    async fn one_has_the_turn_and_the_others_wait_for_it_and_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (file(folder.path(), 7, b"a"), file(folder.path(), 7, b"a"));
        let turn = one.turn(CALL, PATIENCE).await.unwrap();
        let waited = other.turn(CALL, Duration::from_millis(60)).await;
        assert_eq!(kind(waited.unwrap_err()), FaultKind::Timeout);
        drop(turn);
        other.turn(CALL, PATIENCE).await.unwrap();
    }
}
