//! What an offline check can find wrong, named so that an auditor knows where to look.

use crate::refusal::{Code, Refusal};

/// The first fault that a check found.
///
/// It speaks of places only: indexes of entries, lines of files, sizes of trees and paths that
/// the house itself chose. No content of an entry or file ever stands in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Defect {
    /// The log holds more entries than its checkpoint counts.
    #[error("entry {index} stands after the end that the checkpoint states")]
    Appended {
        /// The first entry too many.
        index: u64,
    },
    /// A line of the text of a checkpoint is not in the form of C2SP tlog-checkpoint.
    #[error("line {line} of the checkpoint is malformed")]
    Checkpoint {
        /// The line, from 1.
        line: usize,
    },
    /// A checkpoint does not have enough valid cosignatures.
    #[error("{found} of {required} required cosignatures")]
    Cosignatures {
        /// How many different witnesses signed.
        found: usize,
        /// How many must.
        required: usize,
    },
    /// Two trees of one log are not one the beginning of the other.
    #[error("the tree of size {second} does not continue the tree of size {first}")]
    Consistency {
        /// The size of the older tree.
        first: u64,
        /// The size of the newer tree.
        second: u64,
    },
    /// An entry is not what was written.
    #[error("entry {index} {flaw}")]
    Entry {
        /// Its place in the log, from 0.
        index: u64,
        /// What is wrong with it.
        flaw: EntryFlaw,
    },
    /// A file is not the one that the manifest lists.
    #[error("file {path} was changed")]
    FileChanged {
        /// The file, relative to the folder.
        path: String,
    },
    /// A file that the manifest does not list.
    #[error("file {path} is not listed in the manifest")]
    FileExtra {
        /// The file, relative to the folder; `?` for a name that no manifest may list.
        path: String,
    },
    /// A file that must be there is not.
    #[error("file {path} is missing")]
    FileMissing {
        /// The file, relative to the folder.
        path: String,
    },
    /// A file is there but larger than its kind can be.
    #[error("file {path} is too long")]
    FileTooLong {
        /// The file, relative to the folder.
        path: String,
    },
    /// A file is there but could not be read.
    #[error("file {path} cannot be read")]
    FileUnreadable {
        /// The file, relative to the folder.
        path: String,
    },
    /// The log and a checkpoint known from elsewhere tell two stories.
    #[error("the first {size} entries are not those of the known checkpoint of that size")]
    Forked {
        /// The size of the known checkpoint.
        size: u64,
    },
    /// The stored compact state of a tree is not one.
    #[error("the stored state of the tree is malformed")]
    Frontier,
    /// Something is wrong inside one file.
    #[error("{path}: {defect}")]
    In {
        /// The file, relative to the folder.
        path: String,
        /// What is wrong in it.
        defect: Box<Defect>,
    },
    /// An inclusion proof does not lead from the entry to the root.
    #[error("entry {index} is not proved to be in the log")]
    Inclusion {
        /// The place that the proof claims, from 0.
        index: u64,
    },
    /// The text of a verifier key is not in the form `name+id+key`.
    #[error("the verifier key is malformed")]
    Key,
    /// A line of a manifest is malformed or out of order.
    #[error("line {line} of the manifest is malformed or out of order")]
    Manifest {
        /// The line, from 1.
        line: usize,
    },
    /// A line of a signed note is not in the form of C2SP signed-note.
    #[error("line {line} of the signed note is malformed")]
    Note {
        /// The line, from 1.
        line: usize,
    },
    /// The signed text speaks of another log.
    #[error("the origin is that of another log")]
    Origin,
    /// A place was asked for that the tree does not have.
    #[error("the tree has no entry {index}")]
    OutOfRange {
        /// The place asked for, from 0.
        index: u64,
    },
    /// A line of an inclusion bundle is not in the form of C2SP tlog-proof.
    #[error("line {line} of the proof is malformed")]
    Proof {
        /// The line, from 1.
        line: usize,
    },
    /// The log is older than a checkpoint known from elsewhere.
    #[error("the log ends at entry {size}, but a checkpoint over {known} entries is known")]
    RolledBack {
        /// How many entries the log has.
        size: u64,
        /// How many it is known to have had.
        known: u64,
    },
    /// The entries are well formed, but their root is not the signed one: some entry below
    /// `size` was replaced together with its tiles.
    #[error("the root over {size} entries is not the signed one")]
    Root {
        /// How many entries were hashed.
        size: u64,
    },
    /// A signature by the expected key does not verify.
    #[error("the signature on line {line} is not valid")]
    Signature {
        /// The line of the note, from 1.
        line: usize,
    },
    /// A tile of hashes is not the one that the entries make.
    #[error("tile {path} does not match the entries")]
    Tile {
        /// The tile's path.
        path: String,
    },
    /// The log has fewer entries than its checkpoint counts.
    #[error("entry {index} is missing, though the checkpoint counts {size}")]
    Truncated {
        /// The first missing entry, from 0.
        index: u64,
        /// How many entries the checkpoint counts.
        size: u64,
    },
    /// A certificate's file and the log entry of its proof are not about each other.
    #[error("certificate {path} is not the one that the log recorded")]
    Unanchored {
        /// The certificate's file.
        path: String,
    },
    /// A signature line that is neither the log's nor a witness's.
    #[error("line {line} of the signed note is by an unknown key")]
    UnknownSignature {
        /// The line, from 1.
        line: usize,
    },
    /// The expected key did not sign.
    #[error("not signed by the expected key")]
    Unsigned,
}

impl Defect {
    /// The same defect, said of the file at `path`.
    #[must_use]
    pub fn within(self, path: &str) -> Self {
        match self {
            // These name their file already.
            named @ (Self::FileChanged { .. }
            | Self::FileExtra { .. }
            | Self::FileMissing { .. }
            | Self::FileTooLong { .. }
            | Self::FileUnreadable { .. }
            | Self::In { .. }
            | Self::Tile { .. }
            | Self::Unanchored { .. }) => named,
            other => Self::In {
                path: path.to_owned(),
                defect: Box::new(other),
            },
        }
    }

    /// The stable code under which the house refuses to go on.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::In { defect, .. } => defect.code(),
            Self::Truncated { .. } => Code::AudTrunc,
            Self::Consistency { .. } | Self::Forked { .. } | Self::RolledBack { .. } => {
                Code::AudFork
            }
            _ => Code::AudChain,
        }
    }

    /// The place in the log that the defect points at, if it points at one.
    #[must_use]
    pub fn index(&self) -> Option<u64> {
        match self {
            Self::Appended { index }
            | Self::Entry { index, .. }
            | Self::Inclusion { index }
            | Self::OutOfRange { index }
            | Self::Truncated { index, .. } => Some(*index),
            Self::In { defect, .. } => defect.index(),
            _ => None,
        }
    }
}

impl From<Defect> for Refusal {
    fn from(defect: Defect) -> Self {
        let refusal = Self::new(defect.code());
        match defect.index() {
            Some(index) => refusal.about("entry", index),
            None => refusal,
        }
    }
}

impl From<Defect> for crate::error::Error {
    fn from(defect: Defect) -> Self {
        Self::Refused(defect.into())
    }
}

/// What is wrong with one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryFlaw {
    /// Its bytes are not the canonical form of an entry.
    #[error("is not one canonical entry")]
    Canonical,
    /// Its bytes do not hash to the leaf in the tile beside it.
    #[error("was edited: its hash is not the one in the tree")]
    Edited,
    /// Its length prefix points past the end of its bundle.
    #[error("is cut off")]
    Framing,
    /// It is longer than a bundle can hold (65,535 bytes).
    #[error("is longer than 65535 bytes")]
    Long,
    /// It carries the number of another place: entries were dropped, swapped or repeated.
    #[error("carries sequence number {found}: entries were dropped, swapped or repeated")]
    Sequence {
        /// The number it carries.
        found: u64,
    },
    /// Its time is before that of the entry above.
    #[error("is dated before the entry above it")]
    Time,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_names_its_place_and_its_code() {
        let cut = Defect::Truncated { index: 7, size: 9 }.within("log/checkpoint");
        assert_eq!(
            cut.to_string(),
            "log/checkpoint: entry 7 is missing, though the checkpoint counts 9"
        );
        assert_eq!(cut.code(), Code::AudTrunc);
        let refusal = Refusal::from(cut);
        assert_eq!(
            refusal.to_string(),
            "AUD-TRUNC: the audit log is shorter than its checkpoint (entry 7)"
        );
        assert_eq!(
            Defect::RolledBack { size: 1, known: 2 }.code(),
            Code::AudFork
        );
        assert_eq!(Defect::Root { size: 1 }.code(), Code::AudChain);
    }
}
