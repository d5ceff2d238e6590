//! A folder that can be handed over and checked without us: the log, the certificates with
//! their proofs, the public key, and a signed manifest over all of it.
//!
//! ```text
//! manifest                         signed; lists every other file
//! audit.vkey                       the public key, as text
//! log/checkpoint  log/tile/…       the whole log, see `tiles`
//! certificates/NAME.json           what was certified
//! certificates/NAME.tlog-proof     that the log recorded exactly this file
//! …                                anything else, listed too
//! ```

use std::collections::BTreeMap;

use super::checkpoint::SignedCheckpoint;
use super::defect::Defect;
use super::event::{Entry, Safe};
use super::folder::{self, Folder};
use super::manifest::Manifest;
use super::merkle::{self, Frontier};
use super::note::{NoteKey, Signer};
use super::proof::Proof;
use super::tiles::{TileWriter, under};
use super::verifier::{VerifiedLog, Verifier};
use crate::error::Result;
use crate::id::Digest;

/// Writes an export folder, file by file, through the caller's own way of writing.
pub struct Export<'a> {
    signer: &'a dyn Signer,
    write: &'a mut (dyn FnMut(&str, &[u8]) -> Result<()> + Send + 'a),
    manifest: Manifest,
    tiles: TileWriter,
    frontier: Frontier,
}

impl<'a> Export<'a> {
    /// The public key's path.
    pub const KEY: &'static str = "audit.vkey";
    /// The folder of the log.
    pub const LOG: &'static str = "log";
    /// The folder of certificates and their proofs.
    pub const CERTIFICATES: &'static str = "certificates";

    /// Begins an export; `write` stores a file's content under its path.
    ///
    /// # Errors
    /// What `write` gives, or a refusal when the signer's key is unfit.
    pub fn new(
        signer: &'a dyn Signer,
        write: &'a mut (dyn FnMut(&str, &[u8]) -> Result<()> + Send + 'a),
    ) -> Result<Self> {
        let key = NoteKey::of(signer)?;
        let mut export = Self {
            signer,
            write,
            manifest: Manifest::new(signer.name()),
            tiles: TileWriter::new(),
            frontier: Frontier::new(),
        };
        export.add(Self::KEY, format!("{key}\n").as_bytes())?;
        Ok(export)
    }

    /// Adds a file.
    ///
    /// # Errors
    /// What `write` gives, or a refusal when the path is not allowed or was used already.
    pub fn add(&mut self, path: &str, content: &[u8]) -> Result<()> {
        self.manifest.add(path, content)?;
        (self.write)(path, content)
    }

    /// Adds the log's next entry, from number 0.
    ///
    /// # Errors
    /// What `write` gives, or a refusal when the entry is too long.
    pub fn entry(&mut self, entry: &[u8]) -> Result<()> {
        let files = self.tiles.push(entry)?;
        self.frontier.append(merkle::leaf_hash(entry));
        self.add_log(files)
    }

    /// Ends the log with the checkpoint over exactly the entries added.
    ///
    /// # Errors
    /// What `write` gives, or a refusal when the checkpoint is over other entries.
    pub fn checkpoint(&mut self, checkpoint: &SignedCheckpoint) -> Result<()> {
        let head = checkpoint.unverified();
        let size = self.frontier.size();
        if head.size != size {
            return Err(Defect::Truncated {
                index: size.min(head.size),
                size: head.size,
            }
            .into());
        }
        if head.root != self.frontier.root() {
            return Err(Defect::Root { size }.into());
        }
        let files = core::mem::take(&mut self.tiles).finish();
        self.add_log(files)?;
        self.add(
            &under(Self::LOG, "checkpoint"),
            checkpoint.to_string().as_bytes(),
        )
    }

    fn add_log(&mut self, files: Vec<(String, Vec<u8>)>) -> Result<()> {
        files
            .iter()
            .try_for_each(|(path, content)| self.add(&under(Self::LOG, path), content))
    }

    /// Adds a certificate, as `certificates/name`, with the proof of the entry that recorded
    /// it: one of the entry's facts must be the file's SHA-256.
    ///
    /// # Errors
    /// What `write` gives, or a refusal when the proof is of another entry or not by this key.
    pub fn certificate(&mut self, name: &str, content: &[u8], proof: &Proof) -> Result<()> {
        let path = under(Self::CERTIFICATES, name);
        let (entry, _) = proof.verify(&NoteKey::of(self.signer)?)?;
        if !records(&entry, &Digest::of(content)) {
            return Err(Defect::Unanchored { path }.into());
        }
        self.add(&path, content)?;
        self.add(&proof_path(&path), proof.to_string().as_bytes())
    }

    /// Signs the manifest and writes it; the folder is complete.
    ///
    /// # Errors
    /// What `write` gives.
    pub fn finish(self) -> Result<()> {
        let note = self.manifest.sign(self.signer)?;
        (self.write)(Manifest::PATH, note.to_string().as_bytes())
    }
}

impl core::fmt::Debug for Export<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Export")
            .field("signer", &self.signer)
            .finish_non_exhaustive()
    }
}

/// An export folder in which nothing was found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// How many files the manifest lists.
    pub files: usize,
    /// The log.
    pub log: VerifiedLog,
    /// The certificates, by path, with the number of the entry that recorded each.
    pub certificates: BTreeMap<String, u64>,
}

/// Checks a whole export folder with nothing but the verifier's key.
///
/// In this order: the manifest's signature, every file's digest, that the folder's key is the
/// verifier's, each certificate's proof and entry, the log from its head to its root, and that
/// the log continues the checkpoint of every proof.
///
/// # Errors
/// The first [`Defect`].
pub fn verify_export(folder: &dyn Folder, verifier: &Verifier) -> Result<Verified, Defect> {
    let key = verifier.key();
    let bytes = folder::read(folder, Manifest::PATH, Manifest::LONGEST)?;
    let manifest = Manifest::open(&bytes, key).map_err(|defect| defect.within(Manifest::PATH))?;
    manifest.verify(folder)?;
    if key_in(folder)? != *key {
        return Err(Defect::Key.within(Export::KEY));
    }
    let mut verifier = verifier.clone();
    let mut certificates = BTreeMap::new();
    let mut proofs = BTreeMap::new();
    for (path, listed) in manifest.files() {
        if !path
            .strip_prefix(Export::CERTIFICATES)
            .is_some_and(|rest| rest.starts_with('/'))
        {
            continue;
        }
        let beside = proof_path(path);
        let proved = proofs.entry(beside.clone()).or_insert(false);
        if beside == *path {
            continue;
        }
        let proof = folder::read(folder, &beside, Proof::LONGEST)?;
        let within = |defect: Defect| defect.within(&beside);
        let proof = Proof::parse(&proof).map_err(within)?;
        let (entry, checkpoint) = proof.verify(key).map_err(within)?;
        if !records(&entry, &listed.digest) {
            return Err(Defect::Unanchored { path: path.clone() });
        }
        *proved = true;
        verifier = verifier.knowing(checkpoint.anchor());
        certificates.insert(path.clone(), entry.seq);
    }
    if let Some((path, _)) = proofs.into_iter().find(|(_, proved)| !proved) {
        return Err(Defect::Unanchored { path });
    }
    let log = verifier.verify(folder, Export::LOG)?;
    Ok(Verified {
        files: manifest.files().len(),
        log,
        certificates,
    })
}

/// The public key in an export folder. It proves that the folder is whole, not whose it is:
/// compare it with one that came another way.
///
/// # Errors
/// [`Defect::Key`] when it is malformed, or what is wrong with the file.
pub fn key_in(folder: &dyn Folder) -> Result<NoteKey, Defect> {
    let malformed = || Defect::Key.within(Export::KEY);
    let bytes = folder::read(folder, Export::KEY, LONGEST_KEY)?;
    let text = core::str::from_utf8(&bytes).map_err(|_| malformed())?;
    text.strip_suffix('\n')
        .ok_or_else(malformed)?
        .parse()
        .map_err(|_| malformed())
}

/// Whether an entry names this digest among its facts.
fn records(entry: &Entry, digest: &Digest) -> bool {
    let digest = Safe::from(*digest);
    entry.event.facts.values().any(|fact| *fact == digest)
}

/// The path of the proof that stands beside a certificate's file.
fn proof_path(path: &str) -> String {
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    let stem = path[name..].rfind('.').map_or(path.len(), |dot| name + dot);
    format!("{}.tlog-proof", &path[..stem])
}

/// Bytes of the file of a public key.
const LONGEST_KEY: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{self, Files};
    use crate::audit::{Log, SignedNote};

    fn verify(files: &Files) -> Result<Verified, Defect> {
        verify_export(files, &Verifier::new(testing::key()))
    }

    /// Signs the folder anew, as only the holder of the key can.
    fn resigned(mut files: Files) -> Files {
        files.remove(Manifest::PATH);
        let mut manifest = Manifest::new(testing::ORIGIN);
        files
            .iter()
            .for_each(|(path, content)| manifest.add(path, content).unwrap());
        let note = manifest.sign(&testing::signer()).unwrap();
        files.insert(Manifest::PATH.into(), note.to_string().into());
        files
    }

    #[test]
    fn a_whole_export_verifies_with_the_key_in_it() {
        let files = testing::export(5);
        let key = key_in(&files).unwrap();
        let verified = verify_export(&files, &Verifier::new(key)).unwrap();
        assert_eq!(verified.log.checkpoint.size, 5);
        assert_eq!(verified.files, files.len() - 1);
        let certificates: Vec<_> = verified.certificates.into_iter().collect();
        assert_eq!(certificates, [("certificates/invented.json".to_owned(), 4)]);
    }

    #[test]
    fn every_flipped_byte_of_an_export_is_refused() {
        let good = testing::export(3);
        for (path, content) in &good {
            for at in 0..content.len() {
                let mut files = good.clone();
                files.get_mut(path).unwrap()[at] ^= 1;
                assert!(verify(&files).is_err(), "{path} byte {at}");
            }
        }
    }

    #[test]
    fn every_missing_emptied_renamed_or_added_file_is_refused() {
        let good = testing::export(3);
        for path in good.keys() {
            let mut gone = good.clone();
            let content = gone.remove(path).unwrap();
            assert!(verify(&gone).is_err(), "{path}");
            let mut emptied = good.clone();
            emptied.insert(path.clone(), Vec::new());
            assert!(verify(&emptied).is_err(), "{path}");
            gone.insert(format!("{path}.old"), content);
            assert!(verify(&gone).is_err(), "{path}");
        }
        let mut added = good;
        added.insert("note.txt".into(), Vec::new());
        let defect = Defect::FileExtra {
            path: "note.txt".into(),
        };
        assert_eq!(verify(&added), Err(defect));
    }

    #[test]
    fn a_certificate_must_be_the_one_that_the_log_recorded() {
        let good = testing::export(5);
        let unanchored = |path: &str| {
            Err(Defect::Unanchored {
                path: format!("certificates/{path}"),
            })
        };
        let mut other = good.clone();
        other.insert(
            "certificates/invented.json".into(),
            b"another person".to_vec(),
        );
        assert_eq!(verify(&resigned(other)), unanchored("invented.json"));
        let mut bare = good.clone();
        bare.remove("certificates/invented.json");
        assert_eq!(verify(&resigned(bare)), unanchored("invented.tlog-proof"));
        let mut unproved = good.clone();
        unproved.insert("certificates/second.json".into(), b"{}".to_vec());
        assert_eq!(
            verify(&resigned(unproved)),
            Err(Defect::FileMissing {
                path: "certificates/second.tlog-proof".into()
            })
        );
        let signer = testing::signer();
        let mut keep = |_: &str, _: &[u8]| Ok(());
        let mut export = Export::new(&signer, &mut keep).unwrap();
        let proof = Proof::parse(&good["certificates/invented.tlog-proof"]).unwrap();
        assert!(
            export
                .certificate("invented.json", b"another person", &proof)
                .is_err()
        );
    }

    #[test]
    fn a_proof_from_another_history_is_refused() {
        let mut files = testing::export(5);
        // The log that the export shows has one other entry than the log of the proof.
        let mut log = Log::new(testing::ORIGIN);
        let entries: Vec<Vec<u8>> = (0..6)
            .map(|number| {
                log.record(testing::event(number + 10), testing::noon())
                    .unwrap()
            })
            .collect();
        files.retain(|path, _| !path.starts_with("log/"));
        for file in crate::audit::tiles::tiles(&entries) {
            let (path, content) = file.unwrap();
            files.insert(format!("log/{path}"), content);
        }
        let head = log.checkpoint(&testing::signer()).unwrap();
        files.insert("log/checkpoint".into(), head.to_string().into());
        assert_eq!(verify(&resigned(files)), Err(Defect::Forked { size: 5 }));
    }

    #[test]
    fn a_signed_manifest_cannot_pass_for_a_checkpoint() {
        let manifest = Manifest::new(testing::ORIGIN)
            .sign(&testing::signer())
            .unwrap();
        assert!(SignedCheckpoint::parse(manifest.to_string().as_bytes()).is_err());
        let checkpoint = testing::log(3).0.checkpoint(&testing::signer()).unwrap();
        let note: &SignedNote = checkpoint.note();
        assert!(Manifest::open(note.to_string().as_bytes(), &testing::key()).is_err());
    }

    #[test]
    fn a_log_is_exported_only_under_the_head_over_it() {
        let signer = testing::signer();
        let (log, entries) = testing::log(5);
        let head = log.checkpoint(&signer).unwrap();
        let mut keep = |_: &str, _: &[u8]| Ok(());
        let mut export = Export::new(&signer, &mut keep).unwrap();
        entries[..4]
            .iter()
            .for_each(|entry| export.entry(entry).unwrap());
        assert!(export.checkpoint(&head).is_err());
        export.entry(&entries[3]).unwrap();
        assert!(export.checkpoint(&head).is_err());
    }
}
