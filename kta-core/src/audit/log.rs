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
        Self {
            origin: origin.into(),
            frontier: Frontier::new(),
            last_at: None,
        }
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
            return Err(Defect::Truncated {
                index: size,
                size: own.size,
            }
            .into());
        }
        if let Some(known) = anchor.filter(|known| known.size > size) {
            return Err(Defect::RolledBack {
                size,
                known: known.size,
            }
            .into());
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
        let entry = Entry::parse(bytes).map_err(|_| Defect::Entry {
            index,
            flaw: EntryFlaw::Canonical,
        })?;
        follows(&entry, index, self.last_at)?;
        self.take(&entry, bytes)?;
        Ok(index)
    }

    fn take(&mut self, entry: &Entry, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() || bytes.len() > LONGEST_ENTRY {
            return Err(Refusal::new(Code::AudDown)
                .about("length", bytes.len())
                .into());
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
        Anchor {
            size: self.size(),
            root: self.root(),
        }
    }

    /// Signs the log as it stands.
    ///
    /// # Errors
    /// [`Code::AudChain`] when the signer's name is not the origin or its key is unfit.
    pub fn checkpoint(&self, signer: &dyn Signer) -> Result<SignedCheckpoint> {
        let Anchor { size, root } = self.anchor();
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size,
            root,
        };
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
        Ok(Self {
            origin: origin.into(),
            frontier,
            last_at,
        })
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::testing::{self, event, noon};
    use crate::error::Error;
    use crate::id::Digest;

    fn reopened(log: &Log, anchor: Anchor, entries: &[Vec<u8>]) -> core::result::Result<Log, Code> {
        let checkpoint = log.checkpoint(&testing::signer()).unwrap();
        let entries = entries.iter().cloned().map(Ok);
        let empty = Log::new(testing::ORIGIN);
        Log::open(empty, Some(checkpoint.unverified()), Some(anchor), entries)
            .map_err(|error| error.refusal().unwrap().code())
    }

    #[test]
    fn a_log_opens_as_it_was_closed() {
        let (log, entries) = testing::log(9);
        let older = testing::log(5).0;
        assert_eq!(reopened(&log, log.anchor(), &entries), Ok(log.clone()));
        assert_eq!(reopened(&older, older.anchor(), &entries), Ok(log.clone()));
        let fresh = Log::open(
            Log::new(testing::ORIGIN),
            None,
            None,
            entries.into_iter().map(Ok),
        );
        assert_eq!(fresh, Ok(log));
    }

    #[test]
    fn a_cut_tail_is_truncation_and_names_the_first_missing_entry() {
        let (log, entries) = testing::log(9);
        assert_eq!(
            reopened(&log, log.anchor(), &entries[..7]),
            Err(Code::AudTrunc)
        );
        let refusal = Refusal::from(Defect::Truncated { index: 7, size: 9 });
        let checkpoint = log.checkpoint(&testing::signer()).unwrap();
        let kept = entries[..7].iter().cloned().map(Ok);
        let opened = Log::open(
            Log::new(testing::ORIGIN),
            Some(checkpoint.unverified()),
            None,
            kept,
        );
        assert_eq!(opened, Err(Error::Refused(refusal)));
    }

    #[test]
    fn an_older_copy_of_the_whole_store_is_a_fork() {
        let (log, _) = testing::log(9);
        let (older, entries) = testing::log(5);
        assert_eq!(reopened(&older, log.anchor(), &entries), Err(Code::AudFork));
        // Grown again since: as long as before, but with another history.
        let mut grown = older;
        let mut entries = entries;
        for number in 20..24 {
            entries.push(
                grown
                    .record(event(number), noon() + chrono::Days::new(1))
                    .unwrap(),
            );
        }
        assert_eq!(grown.size(), log.size());
        assert_eq!(reopened(&grown, log.anchor(), &entries), Err(Code::AudFork));
    }

    #[test]
    fn altered_entries_and_foreign_checkpoints_do_not_open() {
        let (log, mut entries) = testing::log(9);
        entries.swap(1, 2);
        assert_eq!(reopened(&log, log.anchor(), &entries), Err(Code::AudChain));
        entries.swap(1, 2);
        let text = String::from_utf8(entries[3].clone()).unwrap();
        entries[3] = text.replace("\"number\":3", "\"number\":4").into();
        assert_eq!(reopened(&log, log.anchor(), &entries), Err(Code::AudChain));
        let foreign = Checkpoint {
            origin: "other".into(),
            size: 0,
            root: Digest::of(b""),
        };
        let opened = Log::open(Log::new(testing::ORIGIN), Some(&foreign), None, []);
        assert_eq!(opened, Err(Code::AudChain.into()));
    }

    #[test]
    fn a_kept_state_saves_reading_the_beginning_but_proves_nothing() {
        let (log, entries) = testing::log(9);
        let (early, _) = testing::log(4);
        let checkpoint = log.checkpoint(&testing::signer()).unwrap();
        let open = |state: &[u8]| {
            let state = Log::from_bytes(testing::ORIGIN, state).unwrap();
            let rest = entries[4..].iter().cloned().map(Ok);
            Log::open(
                state,
                Some(checkpoint.unverified()),
                Some(log.anchor()),
                rest,
            )
        };
        assert_eq!(open(&early.to_bytes()), Ok(log.clone()));
        let mut forged = early.to_bytes();
        forged[20] ^= 1;
        assert_eq!(open(&forged), Err(Code::AudChain.into()));
        // From beyond what is known, nothing can be checked.
        let beyond = Log::open(log.clone(), None, Some(early.anchor()), []);
        assert_eq!(beyond, Err(Code::AudChain.into()));
    }

    #[test]
    fn time_never_goes_back_even_when_the_clock_does() {
        let mut log = Log::new(testing::ORIGIN);
        log.record(event(0), noon()).unwrap();
        let bytes = log.record(event(1), noon() - chrono::Days::new(1)).unwrap();
        assert_eq!(Entry::parse(&bytes).unwrap().at, noon());
        let early = event(2)
            .into_entry(2, noon() - chrono::Days::new(1))
            .canonical();
        let defect = Defect::Entry {
            index: 2,
            flaw: EntryFlaw::Time,
        };
        let before = log.clone();
        assert_eq!(log.append(&early), Err(defect.into()));
        assert_eq!(log, before);
    }

    #[test]
    fn an_entry_too_long_for_a_log_is_not_written() {
        let mut long = event(0);
        for number in 0..2000 {
            let name = crate::audit::Label::new(format!("fact-{number}")).unwrap();
            long.facts
                .insert(name, "a-word-of-some-length-for-this-test".into());
        }
        let mut log = Log::new(testing::ORIGIN);
        let error = log.record(long, noon()).unwrap_err();
        assert_eq!(error.refusal().unwrap().code(), Code::AudDown);
        assert_eq!(log.size(), 0);
    }

    proptest! {
        #[test]
        fn garbage_is_answered_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            prop_assert!(Log::new(testing::ORIGIN).append(&bytes).is_err());
            if let Ok(log) = Log::from_bytes(testing::ORIGIN, &bytes) {
                prop_assert_eq!(log.to_bytes(), bytes);
            }
        }
    }
}
