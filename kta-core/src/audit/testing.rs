//! A small invented log for the tests of this room.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;

use super::event::{Event, Label, Outcome};
use super::export::Export;
use super::log::Log;
use super::merkle;
use super::note::{LocalSigner, NoteKey};
use super::proof::Proof;
use crate::id::{ActorId, Digest, TenantId};
use crate::policy::Act;
use crate::time::Timestamp;

pub(super) type Files = BTreeMap<String, Vec<u8>>;

pub(super) const ORIGIN: &str = "log.example/invented";

pub(super) fn named(name: &str, seed: u8) -> LocalSigner {
    LocalSigner::new(name, SigningKey::from_bytes(&[seed; 32])).unwrap()
}

pub(super) fn signer() -> LocalSigner {
    named(ORIGIN, 1)
}

pub(super) fn key() -> NoteKey {
    NoteKey::of(&signer()).unwrap()
}

/// Noon of an invented day in 2031.
pub(super) fn noon() -> Timestamp {
    Timestamp::from_timestamp(1_930_000_000, 0).unwrap()
}

pub(super) fn event(number: u64) -> Event {
    Event::new(
        TenantId::derived(&[b"firm"]),
        ActorId::derived(&[b"clerk"]),
        Label::fixed("test"),
        Act::ALL[0],
        Outcome::Done,
    )
    .with("number", number)
}

/// A log of `size` entries, one a second.
pub(super) fn log(size: u64) -> (Log, Vec<Vec<u8>>) {
    let mut log = Log::new(ORIGIN);
    let entries = (0..size)
        .map(|number| {
            let at = noon() + core::time::Duration::from_secs(number);
            log.record(event(number), at).unwrap()
        })
        .collect();
    (log, entries)
}

/// An export of `size` entries, the last of which records a certificate.
pub(super) fn export(size: u64) -> Files {
    let (mut log, mut entries) = log(size - 1);
    let certificate = b"{\"invented\":true}";
    let recorded = event(size - 1).with("certificate", Digest::of(certificate));
    let later = noon() + core::time::Duration::from_secs(size);
    entries.push(log.record(recorded, later).unwrap());
    let signer = signer();
    let head = log.checkpoint(&signer).unwrap();
    let leaves: Vec<Digest> = entries
        .iter()
        .map(|entry| merkle::leaf_hash(entry))
        .collect();
    let last = &entries[entries.len() - 1];
    let proof = Proof::create(last, size - 1, &leaves[..], head.clone()).unwrap();
    let mut files = Files::new();
    let mut write = |path: &str, content: &[u8]| {
        files.insert(path.to_owned(), content.to_vec());
        Ok(())
    };
    let mut export = Export::new(&signer, &mut write).unwrap();
    entries
        .iter()
        .for_each(|entry| export.entry(entry).unwrap());
    export.checkpoint(&head).unwrap();
    export
        .certificate("invented.json", certificate, &proof)
        .unwrap();
    export.finish().unwrap();
    files
}
