//! The desk on disk.
//!
//! ```text
//! desk/  lock  desk.key
//!        staging/idk_…/                being written; nobody's until it is renamed
//!        matters/mat_…/idk_…/          record.json  manifest.txt  work-order.txt  parts/
//!        receipts/<keyed digest>       the matter that a receipt number belongs to
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use kta_core::id::{ActorId, Digest, IdempotencyKey, MatterId};
use kta_core::ports::channel::{Package, Submission, SubmissionState};
use kta_core::time::{Entropy, Timestamp};
use kta_core::{Error, Fault, FaultKind, Port, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::manifest::PARTS;

/// A submission as the desk keeps it: ids, digests, instants.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filed {
    pub(super) submission: Submission,
    pub(super) package: Package,
    pub(super) prepared_at: Timestamp,
    pub(super) prepared_by: ActorId,
    pub(super) act: Option<HumanAct>,
}

/// What a person did outside.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HumanAct {
    pub(super) actor: ActorId,
    pub(super) filed_at: Timestamp,
    pub(super) recorded_at: Timestamp,
}

/// The desk's folder, held by this process alone.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// Locked as long as this lives; the system lets go of it when the process dies.
    _lock: File,
}

impl Folder {
    pub(super) fn open(root: &Path) -> Result<Self> {
        make_folder(root)?;
        check_private(root)?;
        let lock = private(OpenOptions::new().write(true).create(true).truncate(false))
            .open(root.join("lock"))
            .map_err(broken)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(fault(FaultKind::Unavailable)
                    .because("another process has the desk")
                    .into());
            }
            Err(fs::TryLockError::Error(error)) => return Err(broken(error)),
        }
        let folder = Self {
            root: root.to_owned(),
            _lock: lock,
        };
        for part in [STAGING, MATTERS, RECEIPTS] {
            make_folder(&folder.root.join(part))?;
        }
        folder.sweep()?;
        Ok(folder)
    }

    /// The key of the desk's digests, drawn when the desk is set up.
    pub(super) fn key(&self, entropy: &dyn Entropy) -> Result<Zeroizing<[u8; 32]>> {
        let path = self.root.join("desk.key");
        let mut key = Zeroizing::new([0; 32]);
        if !path.exists() {
            entropy.fill(&mut *key);
            write_whole(&path, &*key)?;
            return Ok(key);
        }
        let bytes = Zeroizing::new(read_small(&path)?);
        *key = bytes
            .as_slice()
            .try_into()
            .map_err(|_| fault(FaultKind::Corrupt).because("not a desk"))?;
        Ok(key)
    }

    /// The submission under a key, in this matter or in any.
    pub(super) fn find(
        &self,
        key: IdempotencyKey,
        matter: Option<MatterId>,
    ) -> Result<Option<(PathBuf, Filed)>> {
        let matters = match matter {
            Some(matter) => vec![self.root.join(MATTERS).join(matter.to_string())],
            None => entries(&self.root.join(MATTERS))?,
        };
        let mut places = matters
            .into_iter()
            .map(|folder| folder.join(key.to_string()));
        match places.find(|place| place.exists()) {
            Some(place) => Ok(Some((place.clone(), read_record(&place.join(RECORD))?))),
            None => Ok(None),
        }
    }

    /// Every submission of this matter, or of all.
    pub(super) fn all(&self, matter: Option<MatterId>) -> Result<Vec<(PathBuf, Filed)>> {
        let matters = match matter {
            Some(matter) => vec![self.root.join(MATTERS).join(matter.to_string())],
            None => entries(&self.root.join(MATTERS))?,
        };
        let mut all = Vec::new();
        for place in matters
            .iter()
            .map(|folder| entries(folder))
            .collect::<Result<Vec<_>>>()?
            .concat()
        {
            let filed = read_record(&place.join(RECORD))?;
            all.push((place, filed));
        }
        Ok(all)
    }

    /// Room for a package that is being written.
    pub(super) fn stage(&self, key: IdempotencyKey) -> Result<Staged> {
        let place = self.root.join(STAGING).join(key.to_string());
        remove_folder(&place)?;
        let staged = Staged {
            place,
            matters: self.root.join(MATTERS),
            key,
        };
        make_folder(&staged.place)?;
        make_folder(&staged.place.join(PARTS))?;
        Ok(staged)
    }

    /// Replaces a submission's record.
    pub(super) fn put_record(&self, place: &Path, filed: &Filed) -> Result<()> {
        write_whole(&place.join(RECORD), &record(filed)?)
    }

    /// Binds a receipt to a matter, unless it is bound already; gives the matter it is bound to.
    pub(super) fn bind(&self, receipt: &Digest, matter: MatterId) -> Result<MatterId> {
        let path = self.root.join(RECEIPTS).join(receipt.to_string());
        if !path.exists() {
            write_whole(&path, matter.to_string().as_bytes())?;
            return Ok(matter);
        }
        let bound = String::from_utf8(read_small(&path)?)
            .ok()
            .and_then(|text| text.parse().ok());
        bound.ok_or_else(|| {
            fault(FaultKind::Corrupt)
                .because("a receipt's matter is unreadable")
                .into()
        })
    }

    /// Overwrites and removes every part of a package.
    pub(super) fn clear_parts(&self, place: &Path) -> Result<()> {
        for part in entries(&place.join(PARTS))? {
            shred(&part)?;
        }
        sync(&place.join(PARTS))
    }

    /// Files that belong to nobody, being written when a process was cut off.
    pub(super) fn staged(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for place in entries(&self.root.join(STAGING))? {
            files.append(&mut entries(&place.join(PARTS))?);
        }
        Ok(files)
    }

    /// Finishes what was cut off: half-written packages, and parts of packages already filed.
    fn sweep(&self) -> Result<()> {
        for place in entries(&self.root.join(STAGING))? {
            remove_folder(&place)?;
        }
        for (place, filed) in self.all(None)? {
            if matches!(filed.submission.state, SubmissionState::Acknowledged { .. }) {
                self.clear_parts(&place)?;
            }
        }
        Ok(())
    }
}

/// A package being written. Unless it is committed, it goes when this is dropped.
pub(super) struct Staged {
    place: PathBuf,
    matters: PathBuf,
    key: IdempotencyKey,
}

impl Staged {
    /// A new file.
    pub(super) fn file(&self, path: &[&str]) -> Result<NewFile> {
        let path = path
            .iter()
            .fold(self.place.clone(), |path, part| path.join(part));
        private(OpenOptions::new().write(true).create_new(true))
            .open(path)
            .map(NewFile)
            .map_err(broken)
    }

    /// A small new file.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut file = self.file(&[name])?;
        file.append(bytes)?;
        file.finish()
    }

    /// Makes the package be there, by one rename.
    pub(super) fn commit(self, filed: &Filed) -> Result<()> {
        self.put(RECORD, &record(filed)?)?;
        sync(&self.place.join(PARTS))?;
        sync(&self.place)?;
        let matter = self.matters.join(filed.package.matter.to_string());
        make_folder(&matter)?;
        fs::rename(&self.place, matter.join(self.key.to_string())).map_err(broken)?;
        sync(&matter)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After the rename there is nothing here. What cannot be removed now goes when the desk
        // is opened the next time.
        let _ = remove_folder(&self.place);
    }
}

/// A file being written, for its owner only.
pub(super) struct NewFile(File);

impl NewFile {
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes).map_err(broken)
    }

    pub(super) fn finish(self) -> Result<()> {
        self.0.sync_all().map_err(broken)
    }
}

/// A fault of the desk.
pub(super) const fn fault(kind: FaultKind) -> Fault {
    Fault::new(kind, Port::Channel, "portal desk")
}

/// Overwrites a file with zeros and removes it. A copy-on-write file system, a snapshot or a
/// flash disk may keep the old blocks all the same.
pub(super) fn shred(path: &Path) -> Result<()> {
    let overwrite = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let length = file.metadata()?.len();
        io::copy(&mut io::repeat(0).take(length), &mut file)?;
        file.sync_all()
    };
    overwrite()
        .and_then(|()| fs::remove_file(path))
        .map_err(broken)
}

/// What is in a folder, in order; nothing, when it is not there.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = match fs::read_dir(folder) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(broken(error)),
    };
    let mut all: Vec<_> = read
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()
        .map_err(broken)?;
    all.sort();
    Ok(all)
}

/// Makes removals and renames in a folder durable.
pub(super) fn sync(folder: &Path) -> Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if cfg!(unix) => Err(broken(error)),
        _ => Ok(()),
    }
}

fn record(filed: &Filed) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(filed).map_err(|_| fault(FaultKind::Corrupt).into())
}

fn read_record<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let unreadable = || fault(FaultKind::Corrupt).because("a submission's record is unreadable");
    serde_json::from_slice(&read_small(path)?).map_err(|_| unreadable().into())
}

fn read_small(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(broken)?
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(broken)?;
    if bytes.len() as u64 > LARGEST {
        Err(fault(FaultKind::Corrupt).into())
    } else {
        Ok(bytes)
    }
}

/// Writes beside, syncs, renames.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    let mut file = private(OpenOptions::new().write(true).create(true).truncate(true))
        .open(&beside)
        .map_err(broken)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(broken)?;
    fs::rename(&beside, path).map_err(broken)?;
    path.parent().map_or(Ok(()), sync)
}

fn make_folder(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome.map_err(broken),
    }
}

/// Overwrites and removes a folder's files, then the folder.
fn remove_folder(path: &Path) -> Result<()> {
    for entry in entries(path)? {
        if entry.is_dir() {
            remove_folder(&entry)?
        } else {
            shred(&entry)?
        }
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(broken(error)),
        _ => Ok(()),
    }
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn check_private(folder: &Path) -> Result<()> {
    let about = folder.metadata().map_err(broken)?;
    #[cfg(unix)]
    let open_to_others = std::os::unix::fs::MetadataExt::mode(&about) & 0o077 != 0;
    #[cfg(not(unix))]
    let open_to_others = false;
    if open_to_others || !about.is_dir() {
        return Err(fault(FaultKind::Misconfigured)
            .because("others can read the desk")
            .into());
    }
    Ok(())
}

/// What an error of the file system means. The error names paths, so it is not kept.
fn broken(error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => FaultKind::NotFound,
        io::ErrorKind::PermissionDenied => FaultKind::Misconfigured,
        _ => FaultKind::Unavailable,
    };
    fault(kind).into()
}

const STAGING: &str = "staging";
const MATTERS: &str = "matters";
const RECEIPTS: &str = "receipts";
const RECORD: &str = "record.json";
const LARGEST: u64 = 4 << 20;
