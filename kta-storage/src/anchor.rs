//! What is remembered of the log outside the store, so that an older copy is noticed.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use kta_core::audit::{Anchor, Checkpoint, Log};
use kta_core::id::{Digest, TenantId};
use kta_core::ports::Ledger;
use kta_core::{Code, Error, Fault, FaultKind, Port, Refusal, Result};

/// A small file with one [`Anchor`]: how long the log was known to be, and its root hash.
///
/// ```text
/// <entries> <root hash>
/// <state of the log> <hash of its last entry>      when it was kept with `keep`
/// ```
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
        let anchor = text.ends_with('\n').then(|| text.lines().next());
        let anchor = anchor.flatten().and_then(|line| line.parse().ok());
        anchor.map(Some).ok_or_else(damaged)
    }

    /// Remembers `next`, on disk when this returns.
    ///
    /// # Errors
    /// [`Code::AudFork`] when `next` is shorter than what is known, or of the same length with
    /// another root; a fault when the file cannot be written.
    pub fn advance(&self, next: Anchor) -> Result<()> {
        let known = self.known()?;
        let remembered = match known {
            Some(known) => known.advance(next)? == known,
            None => false,
        };
        let written = if remembered {
            // By whoever was killed before it was on disk, perhaps.
            self.sync_folder()
        } else {
            self.write(&format!("{next}\n"))
        };
        written.map_err(|_| fault(FaultKind::Unavailable, "the anchor cannot be written"))
    }

    /// As [`advance`](Self::advance), with the log's state beside it, so that
    /// [`resume_log`](Self::resume_log) begins here. `last` is the log's last entry.
    ///
    /// # Errors
    /// As [`advance`](Self::advance); [`Code::AudFork`] also when `log` is another one of the
    /// same length.
    pub fn keep(&self, log: &Log, last: &[u8]) -> Result<()> {
        let next = log.anchor();
        if let Some(known) = self.known()? {
            known.advance(next)?;
        }
        let (state, last) = (hex(&log.to_bytes()), hex(Digest::of(last).as_bytes()));
        self.write(&format!("{next}\n{state} {last}\n"))
            .map_err(|_| fault(FaultKind::Unavailable, "the anchor cannot be written"))
    }

    /// As [`open_log`](Self::open_log), but reads only what came since [`keep`](Self::keep), and
    /// the entry before that: enough against an older copy that was put back and written on, which
    /// is how it happens. It does not read again what lies further back; whoever altered that is
    /// found by `open_log`, by the verifier, and by whoever holds a checkpoint.
    ///
    /// Where nothing was kept, or the `checkpoint` is older than it, this is `open_log`.
    ///
    /// # Errors
    /// As [`open_log`](Self::open_log); [`Corrupt`](FaultKind::Corrupt) for a state that does not
    /// fit its anchor.
    pub async fn resume_log(
        &self,
        ledger: &dyn Ledger,
        tenant: TenantId,
        origin: &str,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Log> {
        let kept = self.kept(origin)?;
        let Some((log, last)) = kept.filter(|(log, _)| {
            log.size() > 0 && checkpoint.is_none_or(|own| own.size >= log.size())
        }) else {
            return self.open_log(ledger, tenant, origin, checkpoint).await;
        };
        let entry = ledger.entries(tenant, log.size() - 1, 1).await?;
        if entry.first().map(|entry| Digest::of(entry)) != Some(last) {
            return Err(Refusal::new(Code::AudFork)
                .about("entries", ledger.size(tenant).await?)
                .into());
        }
        self.read_on(log, ledger, tenant, checkpoint).await
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
        self.read_on(Log::new(origin), ledger, tenant, checkpoint)
            .await
    }

    async fn read_on(
        &self,
        mut log: Log,
        ledger: &dyn Ledger,
        tenant: TenantId,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Log> {
        if checkpoint.is_some_and(|checkpoint| checkpoint.origin != log.origin()) {
            return Err(Code::AudChain.into());
        }
        let checkpoint = checkpoint.map(Checkpoint::anchor);
        let known = self.known()?;
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

    /// The state that was kept, as long as its anchor, and the hash of its last entry.
    fn kept(&self, origin: &str) -> Result<Option<(Log, Digest)>> {
        let Some(known) = self.known()? else {
            return Ok(None);
        };
        let text = fs::read_to_string(&self.path).map_err(|_| damaged())?;
        let Some(line) = text.lines().nth(1) else {
            return Ok(None);
        };
        let (state, last) = line.split_once(' ').ok_or_else(damaged)?;
        let state = unhex(state).ok_or_else(damaged)?;
        let log = Log::from_bytes(origin, &state).map_err(|_| damaged())?;
        let last = unhex(last).and_then(|bytes| bytes.try_into().ok());
        let last = Digest::from_bytes(last.ok_or_else(damaged)?);
        if log.anchor() == known {
            Ok(Some((log, last)))
        } else {
            Err(damaged())
        }
    }

    /// Writes beside and renames, so that there is always one whole anchor.
    fn write(&self, text: &str) -> std::io::Result<()> {
        let mut beside = self.path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        self.sync_folder()
    }

    fn sync_folder(&self) -> std::io::Result<()> {
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |at: u8| char::from(at).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    pairs.map(byte).collect()
}

fn damaged() -> Error {
    fault(FaultKind::Corrupt, "the anchor is damaged")
}

fn fault(kind: FaultKind, detail: &'static str) -> Error {
    Fault::new(kind, Port::Ledger, "anchor")
        .because(detail)
        .into()
}

/// Entries read at once.
const PAGE: usize = 4096;
