//! It happened: what an audit entry may say, and the transparency log that holds it.
//!
//! ```text
//! Event ─ Log::record ─► Entry (canonical bytes) ─► leaf hash ─► Frontier ─► root
//!                              │                                               │
//!                        store, durable                       Checkpoint, signed, cosigned
//!                              │                                               │
//!                              └───────────► Export: tiles, proofs, manifest ◄─┘
//!                                                     │
//!                              Verifier: the first Defect, with the public key alone
//! ```
//!
//! Everything here works on bytes that are handed in: no files, no clock, no randomness. The
//! formats are those of C2SP (signed-note, tlog-checkpoint, tlog-cosignature, tlog-tiles,
//! tlog-proof), so that tools not written here can check a log too.

mod checkpoint;
mod defect;
mod event;
mod export;
mod folder;
mod log;
mod manifest;
pub mod merkle;
mod note;
mod proof;
pub mod tiles;
mod verifier;

pub use checkpoint::{Anchor, Checkpoint, SignedCheckpoint};
pub use defect::{Defect, EntryFlaw};
pub use event::{BadLabel, Entry, Event, Label, Outcome, Safe};
pub use export::{Export, Verified, key_in, verify_export};
pub use folder::{Folder, is_path};
pub use log::Log;
pub use manifest::{Listed, Manifest};
pub use note::{KeyKind, LocalSigner, NoteKey, NoteSignature, SignedNote, Signer, key_id};
pub use proof::Proof;
pub use verifier::{VerifiedLog, Verifier};

#[cfg(test)]
mod testing;
