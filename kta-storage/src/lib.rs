#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod anchor;
mod blobs;
mod class;
mod clock;
mod fixity;
mod form;
mod journal;
mod key_table;
mod log_page;
#[cfg(feature = "object-store")]
mod object;
#[cfg(feature = "postgres")]
mod postgres;
mod posting;
mod router;
mod row;
mod rules;
mod sqlite;

pub use anchor::AnchorFile;
pub use blobs::DiskBlobs;
pub use clock::SystemClock;
pub use fixity::Fixity;
pub use key_table::SqliteKeyTable;
#[cfg(feature = "object-store")]
pub use object::{AzureConfig, ObjectBlobs, S3Config};
#[cfg(feature = "postgres")]
pub use postgres::{PgKeyTable, PgOptions, PgOwner, PgStore};
pub use router::{Agreed, Router, Shard, ShardMap};
pub use sqlite::{SqliteOptions, SqliteStore};
