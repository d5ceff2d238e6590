//! The growing log: a pure state machine that whoever stores the entries drives.

use super::checkpoint::{Anchor, Checkpoint, SignedCheckpoint};
use super::defect::{Defect, EntryFlaw};
use super::event::{Entry, Event};
use super::merkle::{self, Frontier};
use super::note::Signer;
use super::tiles::LONGEST_ENTRY;
use crate::error::Result;
use crate::refusal::{Code, Refusal};
use crate::time::Timestamp;

/// How far a log has come: enough to append, to number and date, and to sign.
///
/// It holds no entries; they are the store's. An append is made on a clone, and the clone takes
/// the place of the old state only when the store has committed the entry: the state is small
/// (at most 64 hashes), and what was not committed never happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    origin: String,
    frontier: Frontier,
    last_at: Option<Timestamp>,
}

impl Log {
    /// An empty log with this origin, which is also the name of the key that signs it.
    #[must_use]
    pub fn new(origin: impl Into<String>) -> Self {
        Self { origin: origin.into(), frontier: Frontier::new(), last_at: None }
    }

    /// Brings a log up from what the store holds, and refuses it if it is not the whole story.
    ///
    /// `state` is where to begin: [`Log::new`], or a kept [`to_bytes`](Self::to_bytes) not
    /// beyond the anchor. `entries` are the canonical entries from there to the end.
    /// `checkpoint` is the newest one in the store, its signature verified; `anchor` is what was
    /// remembered outside the store.
    ///
    /// # Errors
    /// - [`Code::AudTrunc`]: entries are missing that the store's own checkpoint counts.
    /// - [`Code::AudFork`]: an older copy of the store was put back (the anchor is ahead of it),
    ///   or its beginning is not the one that the anchor saw.
    /// - [`Code::AudChain`]: an entry or the store's checkpoint does not fit the others.
    pub fn open(
        state: Self,
        checkpoint: Option<&Checkpoint>,
        anchor: Option<Anchor>,
        entries: impl IntoIterator<Item = Result<Vec<u8>>>,
    ) -> Result<Self> {
        if checkpoint.is_some_and(|checkpoint| checkpoint.origin != state.origin) {
            return Err(Defect::Origin.into());
        }
        let checkpoint = checkpoint.map(Checkpoint::anchor);
        let mut log = state;
        // A state from beyond what is known cannot be checked against it.
        for known in checkpoint.into_iter().chain(anchor) {
            if known.size < log.size() {
                return Err(Code::AudChain.into());
            }
        }
        log.compare(checkpoint, anchor)?;
        for entry in entries {
            log.append(&entry?)?;
            log.compare(checkpoint, anchor)?;
        }
        let size = log.size();
        if let Some(own) = checkpoint.filter(|own| own.size > size) {
            return Err(Defect::Truncated { index: size, size: own.size }.into());
        }
        if let Some(known) = anchor.filter(|known| known.size > size) {
            return Err(Defect::RolledBack { size, known: known.size }.into());
        }
        Ok(log)
    }

    fn compare(&self, checkpoint: Option<Anchor>, anchor: Option<Anchor>) -> Result<(), Refusal> {
        let differs = |known: &Anchor| known.size == self.size() && known.root != self.root();
        if checkpoint.is_some_and(|own| differs(&own)) {
            return Err(Defect::Root { size: self.size() }.into());
        }
        if anchor.is_some_and(|known| differs(&known)) {
            return Err(Defect::Forked { size: self.size() }.into());
        }
        Ok(())
    }

    /// Gives an event its number and time, appends it and returns its canonical bytes.
    ///
    /// The time is `now`, or that of the entry above when a clock was set back meanwhile.
    ///
    /// # Errors
    /// [`Code::AudDown`] when the entry is longer than a log can hold.
    pub fn record(&mut self, event: Event, now: Timestamp) -> Result<Vec<u8>> {
        let at = self.last_at.map_or(now, |last| last.max(now));
        let entry = event.into_entry(self.size(), at);
        let bytes = entry.canonical();
        self.take(&entry, &bytes)?;
        Ok(bytes)
    }

    /// Appends an entry in its canonical bytes and gives its index.
    ///
    /// # Errors
    /// [`Code::AudChain`] when the bytes are not one canonical entry with the next number and
    /// a time not before the last; [`Code::AudDown`] when they are too many.
    pub fn append(&mut self, bytes: &[u8]) -> Result<u64> {
        let index = self.size();
        let entry = Entry::parse(bytes)
            .map_err(|_| Defect::Entry { index, flaw: EntryFlaw::Canonical })?;
        follows(&entry, index, self.last_at)?;
        self.take(&entry, bytes)?;
        Ok(index)
    }

    fn take(&mut self, entry: &Entry, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() || bytes.len() > LONGEST_ENTRY {
            return Err(Refusal::new(Code::AudDown).about("length", bytes.len()).into());
        }
        self.frontier.append(merkle::leaf_hash(bytes));
        self.last_at = Some(entry.at);
        Ok(())
    }

    /// Which log this is.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How many entries there are; the number of the next one.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The root hash over the entries.
    #[must_use]
    pub fn root(&self) -> crate::id::Digest {
        self.frontier.root()
    }

    /// The time of the last entry.
    #[must_use]
    pub const fn last_at(&self) -> Option<Timestamp> {
        self.last_at
    }

    /// Size and root, to be remembered outside the store once a checkpoint over them is kept.
    #[must_use]
    pub fn anchor(&self) -> Anchor {
        Anchor { size: self.size(), root: self.root() }
    }

    /// Signs the log as it stands.
    ///
    /// # Errors
    /// [`Code::AudChain`] when the signer's name is not the origin or its key is unfit.
    pub fn checkpoint(&self, signer: &dyn Signer) -> Result<SignedCheckpoint> {
        let Anchor { size, root } = self.anchor();
        let checkpoint = Checkpoint { origin: self.origin.clone(), size, root };
        Ok(SignedCheckpoint::sign(checkpoint, signer)?)
    }

    /// The compact state: time of the last entry in milliseconds (8 bytes, big-endian; all ones
    /// for none), then that of the [`Frontier`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let millis = self.last_at.map_or(-1, |at| at.timestamp_millis());
        let mut bytes = millis.to_be_bytes().to_vec();
        bytes.extend(self.frontier.to_bytes());
        bytes
    }

    /// Reads the compact state back. Believe it only through [`open`](Self::open).
    ///
    /// # Errors
    /// [`Defect::Frontier`] when the bytes are not such a state.
    pub fn from_bytes(origin: impl Into<String>, bytes: &[u8]) -> Result<Self, Defect> {
        let (millis, rest) = bytes.split_first_chunk::<8>().ok_or(Defect::Frontier)?;
        let frontier = Frontier::from_bytes(rest)?;
        let last_at = match i64::from_be_bytes(*millis) {
            -1 => None,
            millis => Some(Timestamp::from_timestamp_millis(millis).ok_or(Defect::Frontier)?),
        };
        if last_at.is_some() != (frontier.size() > 0) {
            return Err(Defect::Frontier);
        }
        Ok(Self { origin: origin.into(), frontier, last_at })
    }
}

/// Checks that an entry carries its place's number and is not dated before the one above.
pub(super) fn follows(entry: &Entry, index: u64, last_at: Option<Timestamp>) -> Result<(), Defect> {
    let flaw = if entry.seq != index {
        EntryFlaw::Sequence { found: entry.seq }
    } else if last_at.is_some_and(|last| entry.at < last) {
        EntryFlaw::Time
    } else {
        return Ok(());
    };
    Err(Defect::Entry { index, flaw })
}
