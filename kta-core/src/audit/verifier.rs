//! Checks an exported log offline, with the public key alone, and names the first fault.

use std::io::{BufReader, Read};

use super::checkpoint::{Anchor, Checkpoint, SignedCheckpoint};
use super::defect::{Defect, EntryFlaw};
use super::event::Entry;
use super::folder::{self, Folder, unreadable};
use super::log::follows;
use super::merkle::{self, Frontier};
use super::note::NoteKey;
use super::tiles::{HashTiles, WIDTH, entries_path, read_tile, tile_width, under};
use crate::id::Digest;
use crate::time::Timestamp;

/// What to hold an exported log against.
///
/// The log's own key finds every alteration of the export. What the holder of the key itself
/// may have done, a fork or a rollback, shows only against what others remember: checkpoints
/// [`known`](Self::knowing) from elsewhere, and [witnesses](Self::witnessed).
#[derive(Clone, Debug)]
pub struct Verifier {
    key: NoteKey,
    witnesses: Vec<NoteKey>,
    quorum: usize,
    known: Vec<Anchor>,
}

/// A log in which nothing was found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedLog {
    /// Its signed head.
    pub checkpoint: Checkpoint,
    /// Time of the first entry.
    pub first_at: Option<Timestamp>,
    /// Time of the last entry.
    pub last_at: Option<Timestamp>,
    /// Which witnesses cosigned the head, and when.
    pub cosigned: Vec<(String, Timestamp)>,
}

impl Verifier {
    /// A verifier of the log with this key.
    #[must_use]
    pub fn new(key: NoteKey) -> Self {
        Self {
            key,
            witnesses: Vec::new(),
            quorum: 0,
            known: Vec::new(),
        }
    }

    /// The log's key.
    #[must_use]
    pub const fn key(&self) -> &NoteKey {
        &self.key
    }

    /// The same, holding the log also against a checkpoint or anchor known from elsewhere.
    #[must_use]
    pub fn knowing(mut self, known: Anchor) -> Self {
        self.known.push(known);
        self
    }

    /// The same, asking for cosignatures of at least `quorum` of these witnesses.
    #[must_use]
    pub fn witnessed(mut self, witnesses: impl Into<Vec<NoteKey>>, quorum: usize) -> Self {
        self.witnesses = witnesses.into();
        self.quorum = quorum;
        self
    }

    /// Checks the log under `log` (its path in the folder, without a slash at the end).
    ///
    /// # Errors
    /// The first [`Defect`]: the head before the entries, entries in their order, each bundle's
    /// own tile with it, tiles above after the entries that fill them, the root last.
    pub fn verify(&self, folder: &dyn Folder, log: &str) -> Result<VerifiedLog, Defect> {
        self.verify_each(folder, log, &mut |_, _| Ok(()))
    }

    /// The same, showing each entry, with its bytes, once it is known to be in its place. The
    /// head's signature is verified by then; the root over all entries only at the end.
    ///
    /// # Errors
    /// The same, and the first that `each` gives.
    pub fn verify_each(
        &self,
        folder: &dyn Folder,
        log: &str,
        each: &mut Each<'_>,
    ) -> Result<VerifiedLog, Defect> {
        let (checkpoint, cosigned) = self.head(folder, log)?;
        let size = checkpoint.size;
        let mut walk = Walk::new(size, &self.known, folder, log);
        walk.compare();
        for n in 0..size.div_ceil(WIDTH) {
            walk.bundle(n, each)?;
        }
        let Walk {
            first_at,
            last_at,
            frontier,
            hashes,
            forked,
            ..
        } = walk;
        for (path, content) in hashes.finish() {
            check_tile(folder, &under(log, &path), &content)?;
        }
        if frontier.root() != checkpoint.root {
            return Err(Defect::Root {
                size: forked.unwrap_or(size),
            });
        }
        if let Some(size) = forked {
            return Err(Defect::Forked { size });
        }
        Ok(VerifiedLog {
            checkpoint,
            first_at,
            last_at,
            cosigned,
        })
    }

    fn head(&self, folder: &dyn Folder, log: &str) -> Result<(Checkpoint, Cosigned), Defect> {
        let path = under(log, "checkpoint");
        let bytes = folder::read(folder, &path, SignedCheckpoint::LONGEST)?;
        let within = |defect: Defect| defect.within(&path);
        let head = SignedCheckpoint::parse(&bytes).map_err(within)?;
        let checkpoint = head.verify(&self.key).map_err(within)?.clone();
        let cosigned = head
            .witnessed(&self.witnesses, self.quorum)
            .map_err(within)?;
        let size = checkpoint.size;
        match self.known.iter().map(|known| known.size).max() {
            Some(known) if known > size => Err(within(Defect::RolledBack { size, known })),
            _ => Ok((checkpoint, cosigned)),
        }
    }
}

/// What is shown every entry and its bytes.
type Each<'a> = dyn FnMut(&Entry, &[u8]) -> Result<(), Defect> + 'a;

type Cosigned = Vec<(String, Timestamp)>;

/// The state of one pass over the entries: one bundle's reader and the right edge of the tree.
struct Walk<'a> {
    folder: &'a dyn Folder,
    log: &'a str,
    size: u64,
    known: &'a [Anchor],
    /// The first known size at which the entries are not the known ones.
    forked: Option<u64>,
    frontier: Frontier,
    hashes: HashTiles,
    first_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
}

impl<'a> Walk<'a> {
    fn new(size: u64, known: &'a [Anchor], folder: &'a dyn Folder, log: &'a str) -> Self {
        Self {
            folder,
            log,
            size,
            known,
            forked: None,
            frontier: Frontier::new(),
            hashes: HashTiles::default(),
            first_at: None,
            last_at: None,
        }
    }

    fn bundle(&mut self, n: u64, each: &mut Each<'_>) -> Result<(), Defect> {
        let size = self.size;
        let width = tile_width(0, n, size);
        let path = under(self.log, &entries_path(n, width));
        let missing = Defect::Truncated {
            index: self.frontier.size(),
            size,
        };
        let file = folder::open(self.folder, &path).map_err(|defect| match defect {
            Defect::FileMissing { .. } => missing,
            other => other,
        })?;
        let leaves = read_tile(self.folder, self.log, 0, n, width)?;
        let mut bundle = Bundle {
            file: BufReader::new(file),
            path: &path,
            entry: Vec::new(),
        };
        for leaf in leaves {
            let index = self.frontier.size();
            if !bundle.next(index)? {
                return Err(Defect::Truncated { index, size });
            }
            let entry = Entry::parse(&bundle.entry).map_err(|_| Defect::Entry {
                index,
                flaw: EntryFlaw::Canonical,
            })?;
            follows(&entry, index, self.last_at)?;
            if merkle::leaf_hash(&bundle.entry) != leaf {
                return Err(Defect::Entry {
                    index,
                    flaw: EntryFlaw::Edited,
                });
            }
            each(&entry, &bundle.entry)?;
            self.first_at.get_or_insert(entry.at);
            self.last_at = Some(entry.at);
            self.append(leaf)?;
        }
        let index = self.frontier.size();
        match bundle.next(index) {
            Ok(false) => Ok(()),
            Ok(true) | Err(Defect::Entry { .. }) => Err(Defect::Appended { index }),
            Err(unreadable) => Err(unreadable),
        }
    }

    fn append(&mut self, leaf: Digest) -> Result<(), Defect> {
        self.frontier.append(leaf);
        for (path, content) in self.hashes.push(leaf) {
            check_tile(self.folder, &under(self.log, &path), &content)?;
        }
        self.compare();
        Ok(())
    }

    /// Compares the tree so far with what is known of this size. Whether a difference is a fork,
    /// signed by the log, or an alteration by somebody else, only the end of the log tells.
    fn compare(&mut self) {
        let size = self.frontier.size();
        let mut known = self
            .known
            .iter()
            .filter(|known| known.size == size)
            .peekable();
        if self.forked.is_none() && known.peek().is_some() {
            let root = self.frontier.root();
            self.forked = known.any(|known| known.root != root).then_some(size);
        }
    }
}

/// One bundle of entries, read one by one.
struct Bundle<'a, R> {
    file: R,
    path: &'a str,
    entry: Vec<u8>,
}

impl<R: Read> Bundle<'_, R> {
    /// Reads the next entry into `entry`; `false` at the end of the bundle.
    fn next(&mut self, index: u64) -> Result<bool, Defect> {
        let cut = Defect::Entry {
            index,
            flaw: EntryFlaw::Framing,
        };
        let mut prefix = Vec::with_capacity(2);
        self.read(&mut prefix, 2)?;
        let [high, low] = match prefix[..] {
            [] => return Ok(false),
            [high, low] => [high, low],
            _ => return Err(cut),
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let mut entry = core::mem::take(&mut self.entry);
        entry.clear();
        self.read(&mut entry, length)?;
        self.entry = entry;
        if self.entry.len() == length {
            Ok(true)
        } else {
            Err(cut)
        }
    }

    fn read(&mut self, into: &mut Vec<u8>, limit: usize) -> Result<(), Defect> {
        self.file
            .by_ref()
            .take(limit as u64)
            .read_to_end(into)
            .map(|_| ())
            .map_err(|error| unreadable(&error, self.path))
    }
}

fn check_tile(folder: &dyn Folder, path: &str, expected: &[u8]) -> Result<(), Defect> {
    let found = folder::read(folder, path, 32 * WIDTH as usize)?;
    if found == expected {
        Ok(())
    } else {
        Err(Defect::Tile {
            path: path.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
