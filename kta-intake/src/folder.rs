//! A folder in Maildir layout: `tmp/` being written, `new/` waiting, `cur/` acknowledged.
//!
//! Every change is one `rename` within one file system, preceded and followed by `fsync`, so that
//! a message is wholly in one of the three at every instant, and a killed process loses nothing.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use kta_core::id::Digest;
use kta_core::pii::Locator;
use kta_core::time::Timestamp;

#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder at `root`, made if need be, without what a process that was killed before
    /// `now` left half written.
    pub(crate) fn open(root: impl Into<PathBuf>, now: Timestamp) -> io::Result<Self> {
        let folder = Self { root: root.into() };
        for part in [TMP, NEW, CUR] {
            fs::create_dir_all(folder.root.join(part))?;
        }
        folder.sweep(now)?;
        Ok(folder)
    }

    /// Overwrites and removes from `tmp/` what was written here and then abandoned. What others
    /// write there is theirs, and what is younger may still be written by another process.
    fn sweep(&self, now: Timestamp) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(TMP))? {
            let entry = entry?;
            let own = entry.file_name().to_str().is_some_and(Name::is_own);
            if !own || !entry.file_type()?.is_file() {
                continue;
            }
            let swept = entry.metadata().and_then(|metadata| {
                if now - Timestamp::from(metadata.modified()?) > ABANDONED {
                    overwrite(&entry.path())?;
                    fs::remove_file(entry.path())?;
                }
                Ok(())
            });
            match swept {
                // Another process finished it or swept it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        self.sync(TMP)
    }

    /// The names waiting, oldest first. Hidden files and names that cannot be locators are left
    /// alone: no mail software writes such.
    pub(crate) fn waiting(&self) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(NEW))? {
            let entry = entry?;
            if !entry.file_type()?.is_file() {
                continue; // also what a symbolic link points to is not ours
            }
            names.extend(entry.file_name().to_str().and_then(Name::new));
        }
        names.sort();
        Ok(names)
    }

    /// Whether the name is in `new/`.
    pub(crate) fn is_waiting(&self, name: &Name) -> io::Result<bool> {
        self.root.join(NEW).join(&name.text).try_exists()
    }

    /// The first bytes of a waiting message, at most `count`.
    pub(crate) fn beginning(&self, name: &Name, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = File::open(self.root.join(NEW).join(&name.text))?;
        file.take(count as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The bytes of a waiting message, or only their digest when there are more than `limit`.
    pub(crate) fn read(&self, name: &Name, limit: usize) -> io::Result<Waiting> {
        let file = File::open(self.root.join(NEW).join(&name.text))?;
        let length = file.metadata()?.len();
        if length <= limit as u64 {
            let mut bytes = Vec::with_capacity(length as usize);
            file.take((limit as u64).saturating_add(1))
                .read_to_end(&mut bytes)?;
            if bytes.len() <= limit {
                return Ok(Waiting::Whole(bytes));
            }
            return Ok(Waiting::TooLarge(Digest::of(&bytes)));
        }
        Ok(Waiting::TooLarge(digest(file)?))
    }

    /// Writes a message that will be waiting under `name` once this returns.
    pub(crate) fn deliver(&self, name: &Name, chunks: &[&[u8]]) -> io::Result<()> {
        let tmp = self.root.join(TMP).join(&name.text);
        let mut file = File::options().write(true).create_new(true).open(&tmp)?;
        let written = chunks.iter().try_for_each(|chunk| file.write_all(chunk));
        if let Err(error) = written.and_then(|()| file.sync_all()) {
            let _ = fs::remove_file(&tmp);
            return Err(error);
        }
        fs::rename(&tmp, self.root.join(NEW).join(&name.text))?;
        self.sync(NEW)
    }

    /// Moves a waiting message to `cur/`, marked as seen. Done already is done.
    pub(crate) fn acknowledge(&self, name: &Name) -> io::Result<()> {
        let to = self.root.join(CUR).join(format!("{}{SEEN}", name.text));
        match fs::rename(self.root.join(NEW).join(&name.text), to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        self.sync(CUR)?;
        self.sync(NEW)
    }

    /// Removes a message wherever it is, overwriting its bytes first.
    pub(crate) fn remove(&self, locator: &Locator) -> io::Result<()> {
        // Somebody may be moving or removing it meanwhile; so look until it is nowhere.
        for _ in 0..TRIES {
            let found = self.find(locator)?;
            if found.is_empty() {
                return [TMP, NEW, CUR]
                    .into_iter()
                    .try_for_each(|part| self.sync(part));
            }
            for path in found {
                match overwrite(&path).and_then(|()| fs::remove_file(&path)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => other?,
                }
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// Every file that is this message, whatever flags its name has grown.
    pub(crate) fn find(&self, locator: &Locator) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for part in [TMP, NEW, CUR] {
            for entry in fs::read_dir(self.root.join(part))? {
                let entry = entry?;
                let name = entry.file_name();
                let unique = name.to_str().map(|n| n.split(':').next().unwrap_or(n));
                if unique == Some(locator.as_str()) {
                    found.push(entry.path());
                }
            }
        }
        Ok(found)
    }

    fn sync(&self, part: &str) -> io::Result<()> {
        sync_directory(&self.root.join(part))
    }
}

pub(crate) enum Waiting {
    Whole(Vec<u8>),
    TooLarge(Digest),
}

/// A Maildir name: seconds since 1970, a dot, whatever makes it unique, a dot, the host.
/// Ordered by time of arrival as the name tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    seconds: i64,
    micros: u32,
    text: String,
}

impl Name {
    /// A name as mail software writes it; `None` for hidden files and what is no name.
    pub(crate) fn new(text: &str) -> Option<Self> {
        if text.starts_with('.') || Locator::new(text).is_err() || text.contains(['/', ':']) {
            return None;
        }
        let mut pieces = text.split('.');
        let seconds = pieces.next().and_then(|s| s.parse().ok()).unwrap_or(0);
        let unique = pieces.next().unwrap_or_default();
        // `M` and the microseconds, among other pairs of letter and number (Courier, Dovecot, Postfix)
        let micros = unique.rsplit_once('M').map_or("", |(_, rest)| rest);
        let micros = micros
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap_or_default();
        Some(Self {
            seconds,
            micros: micros.parse().unwrap_or(0),
            text: text.to_owned(),
        })
    }

    /// The name of what arrives `at` as the `count`-th of this process, under a `token` that
    /// makes it unique among processes.
    pub(crate) fn fresh(at: Timestamp, count: u64, token: &str, host: &str) -> Option<Self> {
        let (seconds, micros) = (at.timestamp(), at.timestamp_subsec_micros());
        Self::new(&format!("{seconds}.M{micros:06}Q{count:06}R{token}.{host}"))
    }

    /// Whether [`fresh`](Self::fresh) makes such names.
    fn is_own(text: &str) -> bool {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let Some((seconds, rest)) = text.split_once(".M") else {
            return false;
        };
        let unique = rest.split_once('Q').and_then(|(micros, rest)| {
            let (count, token) = rest.split_once('R')?;
            Some((micros, count, token.split_once('.')?.1))
        });
        digits(seconds.strip_prefix('-').unwrap_or(seconds))
            && unique.is_some_and(|(micros, count, host)| {
                digits(micros) && digits(count) && HOSTS.contains(&host)
            })
    }

    pub(crate) fn locator(&self) -> Option<Locator> {
        Locator::new(self.text.clone()).ok()
    }

    /// The instant that the name tells, if it tells one.
    pub(crate) fn at(&self) -> Timestamp {
        Timestamp::from_timestamp(self.seconds, self.micros.min(999_999) * 1000)
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// Overwrites a file in place. A link is left as it is: what it points to is not ours.
fn overwrite(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() {
        return Ok(());
    }
    let mut file = File::options().write(true).open(path)?;
    io::copy(&mut io::repeat(0).take(metadata.len()), &mut file)?;
    file.sync_all()
}

fn digest(mut file: File) -> io::Result<Digest> {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(hash.finalize().into())),
            length => hash.update(&buffer[..length]),
        }
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// How often a message that keeps moving is looked for.
const TRIES: usize = 8;
/// Maildir's own rule: what has lain in `tmp/` for 36 hours is nobody's.
const ABANDONED: chrono::TimeDelta = chrono::TimeDelta::hours(36);
/// What stands for the host in names that are made here.
pub(crate) const IMPORT: &str = "import";
pub(crate) const FORM: &str = "form";
const HOSTS: [&str; 2] = [IMPORT, FORM];
const TMP: &str = "tmp";
const NEW: &str = "new";
const CUR: &str = "cur";
/// Version-2 flags of Maildir: seen.
const SEEN: &str = ":2,S";
