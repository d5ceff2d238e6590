//! What is remembered of the log outside the store, so that an older copy is noticed.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use kta_core::audit::{Anchor, Checkpoint, Log};
use kta_core::id::TenantId;
use kta_core::ports::Ledger;
use kta_core::{Code, Error, Fault, FaultKind, Port, Refusal, Result};

/// A small file with one [`Anchor`]: how long the log was known to be, and its root hash.
///
/// Keep it where whoever holds the store's file cannot write: on another machine, under another
/// account, on a medium that only grows. It goes forward only; what would go back is refused
/// with `AUD-FORK`.
///
/// One process at a time keeps an anchor file.
#[derive(Clone, Debug)]
pub struct AnchorFile {
    path: PathBuf,
}

impl AnchorFile {
    /// The anchor at `path`, which need not exist yet.
    #[must_use]
    pub fn at(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_path_buf(),
        }
    }

    /// What is remembered, if anything is.
    ///
    /// # Errors
    /// [`Corrupt`](FaultKind::Corrupt) when the file holds something else; a fault when it
    /// cannot be read.
    pub fn known(&self) -> Result<Option<Anchor>> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(_) => return Err(fault(FaultKind::Misconfigured, "the anchor cannot be read")),
        };
        let anchor = text.strip_suffix('\n').and_then(|line| line.parse().ok());
        anchor
            .map(Some)
            .ok_or_else(|| fault(FaultKind::Corrupt, "the anchor is damaged"))
    }

    /// Remembers `next`, on disk when this returns.
    ///
    /// # Errors
    /// [`Code::AudFork`] when `next` is shorter than what is known, or of the same length with
    /// another root; a fault when the file cannot be written.
    pub fn advance(&self, next: Anchor) -> Result<()> {
        if let Some(known) = self.known()?
            && known.advance(next)? == known
        {
            return Ok(());
        }
        self.write(next)
            .map_err(|_| fault(FaultKind::Unavailable, "the anchor cannot be written"))
    }

    /// Reads a firm's log from `ledger` and refuses it if it is not the whole story: shorter
    /// than its own `checkpoint` or than what is remembered here, or with another beginning.
    ///
    /// `checkpoint` is the newest one in the store, its signature verified. Memory does not grow
    /// with the log.
    ///
    /// # Errors
    /// [`Code::AudFork`] for an older copy of the store or another beginning than the known one,
    /// [`Code::AudTrunc`] and [`Code::AudChain`] as [`Log::open`]; faults of the ledger.
    pub async fn open_log(
        &self,
        ledger: &dyn Ledger,
        tenant: TenantId,
        origin: &str,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Log> {
        if checkpoint.is_some_and(|checkpoint| checkpoint.origin != origin) {
            return Err(Code::AudChain.into());
        }
        let checkpoint = checkpoint.map(Checkpoint::anchor);
        let known = self.known()?;
        let mut log = Log::new(origin);
        compare(&log, checkpoint, known)?;
        loop {
            let entries = ledger.entries(tenant, log.size(), PAGE).await?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                log.append(&entry)?;
                compare(&log, checkpoint, known)?;
            }
        }
        if checkpoint.is_some_and(|own| own.size > log.size()) {
            return Err(Refusal::new(Code::AudTrunc)
                .about("entries", log.size())
                .into());
        }
        if known.is_some_and(|known| known.size > log.size()) {
            return Err(Refusal::new(Code::AudFork)
                .about("entries", log.size())
                .into());
        }
        Ok(log)
    }

    /// Writes beside and renames, so that there is always one whole anchor.
    fn write(&self, anchor: Anchor) -> std::io::Result<()> {
        let mut beside = self.path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&beside)?;
        file.write_all(format!("{anchor}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }
}

/// Compares the log's root with what is known of this very size.
fn compare(log: &Log, checkpoint: Option<Anchor>, known: Option<Anchor>) -> Result<()> {
    let differs = |anchor: Option<Anchor>| {
        anchor.is_some_and(|anchor| anchor.size == log.size() && anchor.root != log.root())
    };
    if differs(known) {
        return Err(Refusal::new(Code::AudFork)
            .about("entries", log.size())
            .into());
    }
    if differs(checkpoint) {
        return Err(Refusal::new(Code::AudChain)
            .about("entries", log.size())
            .into());
    }
    Ok(())
}

fn fault(kind: FaultKind, detail: &'static str) -> Error {
    Fault::new(kind, Port::Ledger, "anchor")
        .because(detail)
        .into()
}

/// Entries read at once.
const PAGE: usize = 4096;
