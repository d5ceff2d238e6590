//! How much is taken in at once. Checked before memory is spent, not after.

use serde::{Deserialize, Serialize};

/// Upper bounds on one delivery and on what is inside it.
///
/// The defaults fit a family's documents with room to spare; a firm may lower them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a whole message or form post.
    pub message: usize,
    /// Parts of a message, or fields and files of a form.
    pub parts: usize,
    /// Bytes of the header block of a message or part.
    pub header: usize,
    /// Bytes of one text field of a form.
    pub field: usize,
    /// How deep multiparts and attached messages may nest.
    pub nesting: usize,
    /// Entries of an archive, those of archives inside it included.
    pub entries: usize,
    /// Bytes an archive may expand to, archives inside it included.
    pub expanded: u64,
    /// How many times its packed size an entry larger than 64 KiB may expand to.
    pub ratio: u64,
    /// How deep archives may nest: 1 means no archive inside an archive.
    pub archives: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: 25 << 20,
            parts: 200,
            header: 64 << 10,
            field: 64 << 10,
            nesting: 6,
            entries: 1_000,
            expanded: 200 << 20,
            ratio: 100,
            archives: 2,
        }
    }
}
