#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod anchor;
mod blobs;
mod clock;
mod key_table;
mod sqlite;

pub use anchor::AnchorFile;
pub use blobs::DiskBlobs;
pub use clock::SystemClock;
pub use key_table::SqliteKeyTable;
pub use sqlite::{SqliteOptions, SqliteStore};
