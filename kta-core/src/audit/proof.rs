//! One entry with all that is needed to know, offline and for good, that it is in the log: the
//! form of C2SP tlog-proof.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra eyJzZXEiOj…          the entry itself, base64
//! index 7
//! gSKyXoYZUg…                inclusion proof, from the leaf's sibling up
//!
//! log.example/firm           the signed checkpoint, as it is
//! …
//! ```
//!
//! Whoever holds a certificate of destruction holds such a proof of the entry that recorded it;
//! the entry names the certificate's digest among its facts.

use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::checkpoint::{Checkpoint, SignedCheckpoint, decimal, hash};
use super::defect::{Defect, EntryFlaw};
use super::event::Entry;
use super::merkle::{self, Nodes};
use super::note::NoteKey;
use super::tiles::LONGEST_ENTRY;
use crate::id::Digest;

/// An entry, its place, its inclusion proof and the checkpoint it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    entry: Vec<u8>,
    index: u64,
    path: Vec<Digest>,
    checkpoint: SignedCheckpoint,
}

impl Proof {
    /// The longest proof that is read, in bytes.
    pub const LONGEST: usize = 256 * 1024;

    /// Proves that `entry` stands at `index` in the log of this checkpoint.
    ///
    /// # Errors
    /// [`Defect::OutOfRange`] when the checkpoint does not reach that far,
    /// [`Defect::Inclusion`] when another entry stands there, and what reading the nodes may
    /// bring.
    pub fn create(
        entry: &[u8],
        index: u64,
        nodes: &(impl Nodes + ?Sized),
        checkpoint: SignedCheckpoint,
    ) -> Result<Self, Defect> {
        let Checkpoint { size, root, .. } = checkpoint.unverified();
        let path = merkle::inclusion_proof(nodes, index, *size)?;
        merkle::verify_inclusion(&merkle::leaf_hash(entry), index, *size, &path, root)?;
        Ok(Self {
            entry: entry.to_vec(),
            index,
            path,
            checkpoint,
        })
    }

    /// Reads a proof. Nothing in it may be believed before it is verified.
    ///
    /// # Errors
    /// [`Defect::Proof`], [`Defect::Note`] or [`Defect::Checkpoint`] with the first malformed
    /// line; the lines of the last two are counted from the checkpoint's first.
    pub fn parse(bytes: &[u8]) -> Result<Self, Defect> {
        let malformed = |line| Defect::Proof { line };
        if bytes.len() > Self::LONGEST {
            return Err(malformed(1));
        }
        let file = core::str::from_utf8(bytes).map_err(|_| malformed(1))?;
        let (head, checkpoint) = file.split_once("\n\n").ok_or(malformed(1))?;
        let mut lines = head.split('\n');
        let mut line = |number| lines.next().ok_or(malformed(number));
        if line(1)? != HEADER {
            return Err(malformed(1));
        }
        let extra = line(2)?.strip_prefix("extra ").ok_or(malformed(2))?;
        let entry = STANDARD.decode(extra).map_err(|_| malformed(2))?;
        let index = line(3)?
            .strip_prefix("index ")
            .and_then(decimal)
            .ok_or(malformed(3))?;
        let path = (4..)
            .zip(lines)
            .map(|(number, line)| hash(line).ok_or(malformed(number)))
            .take(MOST_HASHES + 1)
            .collect::<Result<Vec<_>, _>>()?;
        if entry.len() > LONGEST_ENTRY || path.len() > MOST_HASHES {
            return Err(malformed(2));
        }
        let checkpoint = SignedCheckpoint::parse(checkpoint.as_bytes())?;
        let proof = Self {
            entry,
            index,
            path,
            checkpoint,
        };
        if proof.to_string() == file {
            Ok(proof)
        } else {
            Err(malformed(1))
        }
    }

    /// Checks that the log of this key holds the entry in this place, and gives both.
    ///
    /// # Errors
    /// What is wrong with the checkpoint's signature, [`Defect::Inclusion`], or
    /// [`Defect::Entry`] when what was proved is not an entry of this number.
    pub fn verify(&self, key: &NoteKey) -> Result<(Entry, &Checkpoint), Defect> {
        let checkpoint = self.checkpoint.verify(key)?;
        let index = self.index;
        let leaf = merkle::leaf_hash(&self.entry);
        merkle::verify_inclusion(&leaf, index, checkpoint.size, &self.path, &checkpoint.root)?;
        let flawed = |flaw| Defect::Entry { index, flaw };
        let entry = Entry::parse(&self.entry).map_err(|_| flawed(EntryFlaw::Canonical))?;
        if entry.seq != index {
            return Err(flawed(EntryFlaw::Sequence { found: entry.seq }));
        }
        Ok((entry, checkpoint))
    }

    /// The entry's bytes, not yet verified.
    #[must_use]
    pub fn entry(&self) -> &[u8] {
        &self.entry
    }

    /// The place claimed, from 0.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The checkpoint that the proof leads to.
    #[must_use]
    pub const fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extra = STANDARD.encode(&self.entry);
        write!(f, "{HEADER}\nextra {extra}\nindex {}\n", self.index)?;
        for hash in &self.path {
            writeln!(f, "{}", STANDARD.encode(hash.as_bytes()))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Hashes in a proof of the largest tree.
const MOST_HASHES: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::testing;

    fn proof(index: u64) -> Proof {
        let (log, entries) = testing::log(7);
        let leaves: Vec<Digest> = entries
            .iter()
            .map(|entry| merkle::leaf_hash(entry))
            .collect();
        let checkpoint = log.checkpoint(&testing::signer()).unwrap();
        Proof::create(&entries[index as usize], index, &leaves[..], checkpoint).unwrap()
    }

    #[test]
    fn a_proof_stands_by_itself() {
        for index in 0..7 {
            let text = proof(index).to_string();
            let read = Proof::parse(text.as_bytes()).unwrap();
            let (entry, checkpoint) = read.verify(&testing::key()).unwrap();
            assert_eq!((entry.seq, checkpoint.size), (index, 7));
        }
    }

    #[test]
    fn every_flipped_byte_of_a_proof_is_refused() {
        let good = proof(6).to_string().into_bytes();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            let key = testing::key();
            let found = Proof::parse(&bytes).and_then(|proof| proof.verify(&key).map(|_| ()));
            assert!(found.is_err(), "byte {at}");
        }
    }

    #[test]
    fn an_entry_is_not_proved_for_another_place() {
        let (log, entries) = testing::log(7);
        let leaves: Vec<Digest> = entries
            .iter()
            .map(|entry| merkle::leaf_hash(entry))
            .collect();
        let checkpoint = log.checkpoint(&testing::signer()).unwrap();
        let moved = Proof::create(&entries[2], 3, &leaves[..], checkpoint.clone());
        assert_eq!(moved, Err(Defect::Inclusion { index: 3 }));
        let beyond = Proof::create(&entries[2], 7, &leaves[..], checkpoint);
        assert_eq!(beyond, Err(Defect::OutOfRange { index: 7 }));
    }

    #[test]
    fn malformed_proofs_are_refused_with_their_line() {
        let text = proof(6).to_string();
        let line = |text: String| match Proof::parse(text.as_bytes()) {
            Err(Defect::Proof { line }) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(line(String::new()), 1);
        assert_eq!(line(text.replacen("v1", "v2", 1)), 1);
        assert_eq!(line(text.replacen("extra ", "other ", 1)), 2);
        assert_eq!(line(text.replacen("index 6", "index 06", 1)), 3);
        assert_eq!(line(text.replacen("\n\n", "\nAAAA\n\n", 1)), 6);
    }

    proptest! {
        #[test]
        fn garbage_is_answered_without_panic(
            cut in any::<prop::sample::Index>(), insert in "[a-zA-Z0-9=\n ]{0,20}",
        ) {
            let mut text = proof(3).to_string();
            let mut at = cut.index(text.len());
            while !text.is_char_boundary(at) { at -= 1 }
            text.insert_str(at, &insert);
            if let Ok(read) = Proof::parse(text.as_bytes()) {
                prop_assert!(insert.is_empty() || read.verify(&testing::key()).is_err());
            }
        }
    }
}
