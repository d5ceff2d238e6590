//! Sealed at rest, and destroyable one person at a time.
//!
//! ```text
//! root key      at the custodian (Kms): never leaves it
//!   └─ KEK          one per epoch of a tenant, at the custodian too; destroyed with its epoch
//!        └─ epoch key    wrapped by the KEK
//!             ├─ index keys   of the blind index, one per index epoch
//!             └─ branch keys  a tree of two levels, up to 256 children each
//!                  └─ subject key   256 random bits a person
//!                       └─ record key   HKDF-SHA256(subject key, record)
//!                            ├─ field     AES-256-GCM-SIV, under one key of the record, fresh nonces;
//!                            │            or several fields of one classification in one value
//!                            ├─ header    HMAC-SHA256 over fields, revisions, classifications, tags
//!                            └─ content   STREAM in segments of 64 KiB
//! ```
//!
//! Every arrow down to the subject key is a *wrapped random* key, every one below it a
//! derivation. A derived key cannot be destroyed while its parent lives; a wrapped one can: drop
//! the wrapped bytes, and make what wrapped them unobtainable. [`Hierarchy::erase`] does both,
//! so that neither a backup of the records nor one of the key table brings the person back, and
//! [`KeyErased`] is the evidence.
//!
//! What is written is said on one page, [`mod@format`], with known answers as a file that programs
//! in other languages can check themselves against, so that it cannot drift unseen.
//!
//! # What this does not do
//! It cannot reach keys that were copied out of custodian and table: declare them
//! ([`Hierarchy::declare_copy`]), and the evidence says that it proves nothing. It cannot wipe
//! what the operating system swapped out or dumped. It hides the length of fields, not of
//! content. And a [`SubjectKey`] that somebody holds works until it is dropped.

pub mod aead;
pub mod context;
mod derive;
pub mod envelope;
pub mod format;
pub mod header;
pub mod hierarchy;
pub mod index;
mod keys;
mod reseal;
mod secret;
pub mod segments;
mod shred;
#[cfg(test)]
pub(crate) mod testing;
pub mod together;
pub mod wrap;

pub use context::SealContext;
pub use envelope::Envelope;
pub use header::RecordHeader;
pub use hierarchy::{Hierarchy, KeyHolder};
pub use index::{IndexKey, IndexPlan, IndexTag};
pub use keys::{RecordKey, SubjectKey};
pub use reseal::Resealed;
pub use secret::SecretKey;
pub use shred::{EarlierKek, EraseClaim, GenerationEnded, KeyErased};
