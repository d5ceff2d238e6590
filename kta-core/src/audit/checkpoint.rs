//! Checkpoints: signed statements of how long a log is and what its root hash is, as C2SP
//! tlog-checkpoint v1.0.0 defines them, with witness cosignatures (tlog-cosignature v1).
//!
//! ```text
//! log.example/firm      origin, the same as the log key's name
//! 20852163              how many entries
//! CsUYapGG…2I=          root hash of the tree over them
//! ```

use core::fmt;
use core::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::defect::Defect;
use super::note::{KeyKind, NoteKey, NoteSignature, SignedNote, Signer};
use crate::id::Digest;
use crate::refusal::{Code, Refusal};
use crate::time::Timestamp;

/// What a log claims to be at one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// The root hash over them.
    pub root: Digest,
}

impl Checkpoint {
    /// The text that is signed. Extension lines are never written.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            STANDARD.encode(self.root.as_bytes())
        )
    }

    /// Reads the text back. Extension lines, which nobody could audit, are refused.
    ///
    /// # Errors
    /// [`Defect::Checkpoint`] with the first line that is not in the one allowed form.
    pub fn parse(text: &str) -> Result<Self, Defect> {
        let malformed = |line| Defect::Checkpoint { line };
        let mut lines = text.split('\n');
        let mut line = |number| lines.next().ok_or(malformed(number));
        let origin = line(1)?.to_owned();
        if origin.is_empty() {
            return Err(malformed(1));
        }
        let size = decimal(line(2)?).ok_or(malformed(2))?;
        let root = hash(line(3)?).ok_or(malformed(3))?;
        let checkpoint = Self { origin, size, root };
        if checkpoint.text() == text {
            Ok(checkpoint)
        } else {
            Err(malformed(4))
        }
    }

    /// The claim without the name of the log.
    #[must_use]
    pub const fn anchor(&self) -> Anchor {
        Anchor {
            size: self.size,
            root: self.root,
        }
    }
}

/// A checkpoint with the log's signature and any cosignatures of witnesses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: SignedNote,
}

impl SignedCheckpoint {
    /// The longest file that is read as a checkpoint, in bytes.
    pub const LONGEST: usize = 64 * 1024;

    /// Signs a checkpoint of the log that has the signer's name.
    ///
    /// # Errors
    /// [`Defect::Origin`] when the signer has another name; [`Defect::Key`] when it is unfit.
    pub fn sign(checkpoint: Checkpoint, signer: &dyn Signer) -> Result<Self, Defect> {
        if checkpoint.origin != signer.name() {
            return Err(Defect::Origin);
        }
        let note = SignedNote::sign(checkpoint.text(), signer)?;
        Ok(Self { checkpoint, note })
    }

    /// Reads a signed checkpoint. Nothing in it may be believed before it is verified.
    ///
    /// # Errors
    /// [`Defect::Note`] or [`Defect::Checkpoint`] with the first malformed line.
    pub fn parse(bytes: &[u8]) -> Result<Self, Defect> {
        if bytes.len() > Self::LONGEST {
            return Err(Defect::Note { line: 1 });
        }
        let note = SignedNote::parse(bytes)?;
        Ok(Self {
            checkpoint: Checkpoint::parse(note.text())?,
            note,
        })
    }

    /// What is claimed, not yet verified.
    #[must_use]
    pub const fn unverified(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note that carries it.
    #[must_use]
    pub const fn note(&self) -> &SignedNote {
        &self.note
    }

    /// Checks the log's signature and gives the checkpoint.
    ///
    /// Besides the log's line only lines in the form of a cosignature may stand there; those
    /// of witnesses unknown here say nothing. See [`cosigned_by`](Self::cosigned_by).
    ///
    /// # Errors
    /// [`Defect::Unsigned`], [`Defect::Signature`], [`Defect::UnknownSignature`], or
    /// [`Defect::Origin`] when the origin is not the key's name.
    pub fn verify(&self, key: &NoteKey) -> Result<&Checkpoint, Defect> {
        self.note.verify(key)?;
        let stray = |line: &NoteSignature| {
            !line.is_by(key) && (line.name() == key.name() || line.bytes.len() != COSIGNATURE)
        };
        if let Some(at) = self.note.signatures().iter().position(stray) {
            return Err(Defect::UnknownSignature {
                line: self.note.line_of(at),
            });
        }
        if self.checkpoint.origin != key.name() {
            return Err(Defect::Origin);
        }
        Ok(&self.checkpoint)
    }

    /// Adds the cosignature of a witness.
    ///
    /// A witness signs only what continues the largest checkpoint it has seen: it must have
    /// checked [`verify_consistency`](super::merkle::verify_consistency) before.
    ///
    /// # Errors
    /// [`Defect::Key`] when the witness' name or key is unfit, or `at` is before 1970.
    pub fn cosign(&mut self, witness: &dyn Signer, at: Timestamp) -> Result<(), Defect> {
        let key = NoteKey::cosigner(witness)?;
        let seconds = u64::try_from(at.timestamp()).map_err(|_| Defect::Key)?;
        let signature = witness.sign(&self.cosigned_message(seconds));
        let bytes = [seconds.to_be_bytes().as_slice(), &signature].concat();
        self.note.push(NoteSignature {
            name: key.name().to_owned(),
            id: key.id(),
            bytes,
        });
        Ok(())
    }

    /// When this witness cosigned, or `None` when it did not.
    ///
    /// # Errors
    /// [`Defect::Signature`] when its line does not verify, [`Defect::Note`] when it signed
    /// twice, [`Defect::Key`] when the key is not a cosigner's.
    pub fn cosigned_by(&self, witness: &NoteKey) -> Result<Option<Timestamp>, Defect> {
        if witness.kind() != KeyKind::Cosigner {
            return Err(Defect::Key);
        }
        let lines = self.note.signatures().iter().enumerate();
        let mut lines = lines.filter(|(_, line)| line.is_by(witness));
        let Some((at, line)) = lines.next() else {
            return Ok(None);
        };
        if let Some((again, _)) = lines.next() {
            return Err(Defect::Note {
                line: self.note.line_of(again),
            });
        }
        self.cosignature_time(line, witness)
            .map(Some)
            .ok_or(Defect::Signature {
                line: self.note.line_of(at),
            })
    }

    /// Checks that at least `quorum` of these witnesses cosigned, and gives who and when.
    ///
    /// # Errors
    /// [`Defect::Cosignatures`] when they are too few, and those of
    /// [`cosigned_by`](Self::cosigned_by).
    pub fn witnessed(
        &self,
        witnesses: &[NoteKey],
        quorum: usize,
    ) -> Result<Vec<(String, Timestamp)>, Defect> {
        let mut seen: Vec<&NoteKey> = Vec::new();
        let mut found = Vec::new();
        for witness in witnesses {
            // One key under two names is one witness.
            if seen
                .iter()
                .any(|other| other.public_key() == witness.public_key())
            {
                continue;
            }
            if let Some(at) = self.cosigned_by(witness)? {
                seen.push(witness);
                found.push((witness.name().to_owned(), at));
            }
        }
        if found.len() < quorum {
            return Err(Defect::Cosignatures {
                found: found.len(),
                required: quorum,
            });
        }
        Ok(found)
    }

    fn cosignature_time(&self, line: &NoteSignature, witness: &NoteKey) -> Option<Timestamp> {
        let (seconds, signature) = line.bytes.split_first_chunk::<8>()?;
        let seconds = u64::from_be_bytes(*seconds);
        let signature = <&[u8; 64]>::try_from(signature).ok()?;
        let valid = witness.accepts(&self.cosigned_message(seconds), signature);
        let at = Timestamp::from_timestamp(i64::try_from(seconds).ok()?, 0)?;
        valid.then_some(at)
    }

    fn cosigned_message(&self, seconds: u64) -> Vec<u8> {
        format!("cosignature/v1\ntime {seconds}\n{}", self.note.text()).into_bytes()
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.note, f)
    }
}

/// How far a log is known to reach, remembered where whoever holds the store cannot reach.
///
/// Set it to each new checkpoint, in a place of its own: it is what tells a restored older
/// copy of the store from the present one. It only ever grows. In text: size, space, root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// How many entries the log had.
    pub size: u64,
    /// The root hash over them.
    pub root: Digest,
}

impl Anchor {
    /// The anchor at `next`. That `next` continues this one was checked by whoever calls.
    ///
    /// # Errors
    /// [`Code::AudFork`] when `next` is shorter, or as long with another root.
    pub fn advance(self, next: Self) -> Result<Self, Refusal> {
        if next.size > self.size || next == self {
            Ok(next)
        } else {
            Err(Refusal::new(Code::AudFork)
                .about("known", self.size)
                .about("found", next.size))
        }
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.size, self.root)
    }
}

impl FromStr for Anchor {
    type Err = Defect;
    fn from_str(text: &str) -> Result<Self, Defect> {
        let (size, root) = text.split_once(' ').ok_or(Defect::Frontier)?;
        let size = decimal(size).ok_or(Defect::Frontier)?;
        Ok(Self {
            size,
            root: root.parse().map_err(|_| Defect::Frontier)?,
        })
    }
}

/// A decimal number without sign or leading zeros.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let shortest = text == "0" || !text.starts_with('0');
    if plain && shortest {
        text.parse().ok()
    } else {
        None
    }
}

/// A hash in standard base64, in its one form.
pub(super) fn hash(text: &str) -> Option<Digest> {
    let bytes = STANDARD.decode(text).ok()?;
    Some(Digest::from_bytes(bytes.try_into().ok()?))
}

/// Bytes of a cosignature after the key id: the time and an Ed25519 signature.
const COSIGNATURE: usize = 8 + 64;

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::audit::note::LocalSigner;

    fn signer(name: &str, seed: u8) -> LocalSigner {
        LocalSigner::new(name, SigningKey::from_bytes(&[seed; 32])).unwrap()
    }

    fn signed() -> SignedCheckpoint {
        let checkpoint = Checkpoint {
            origin: "log.example".into(),
            size: 5,
            root: Digest::of(b"root"),
        };
        SignedCheckpoint::sign(checkpoint, &signer("log.example", 1)).unwrap()
    }

    fn noon() -> Timestamp {
        Timestamp::from_timestamp(1_700_000_000, 0).unwrap()
    }

    #[test]
    fn the_text_has_exactly_three_lines() {
        let text = signed().unverified().text();
        assert_eq!(Checkpoint::parse(&text).unwrap(), *signed().unverified());
        let line = |text: &str| match Checkpoint::parse(text) {
            Err(Defect::Checkpoint { line }) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(line(&format!("{text}extension\n")), 4);
        assert_eq!(line(text.trim_end()), 4);
        assert_eq!(line(&text.replacen("\n5\n", "\n05\n", 1)), 2);
        assert_eq!(line(&text.replacen("\n5\n", "\n+5\n", 1)), 2);
        assert_eq!(
            line(&text.replacen("\n5\n", "\n18446744073709551616\n", 1)),
            2
        );
        assert_eq!(line(&text.replacen("=\n", "\n", 1)), 3);
        assert_eq!(line(&text.replacen("log.example", "", 1)), 1);
        assert_eq!(line("one line"), 2);
    }

    #[test]
    fn only_the_key_of_its_own_name_signs_a_log() {
        let key = NoteKey::of(&signer("log.example", 1)).unwrap();
        let read = SignedCheckpoint::parse(signed().to_string().as_bytes()).unwrap();
        assert_eq!(read.verify(&key).unwrap().size, 5);
        let same_name = NoteKey::of(&signer("log.example", 2)).unwrap();
        assert_eq!(read.verify(&same_name), Err(Defect::Unsigned));
        let checkpoint = signed().unverified().clone();
        let foreign = SignedCheckpoint::sign(checkpoint.clone(), &signer("other.example", 1));
        assert_eq!(foreign, Err(Defect::Origin));
        // Signed all the same, by going round `sign`.
        let note = SignedNote::sign(checkpoint.text(), &signer("other.example", 1)).unwrap();
        let forged = SignedCheckpoint::parse(note.to_string().as_bytes()).unwrap();
        let key = NoteKey::of(&signer("other.example", 1)).unwrap();
        assert_eq!(forged.verify(&key), Err(Defect::Origin));
    }

    #[test]
    fn cosignatures_say_who_and_when() {
        let (first, second) = (signer("w.example/1", 3), signer("w.example/2", 4));
        let keys = [
            NoteKey::cosigner(&first).unwrap(),
            NoteKey::cosigner(&second).unwrap(),
        ];
        let mut signed = signed();
        signed.cosign(&first, noon()).unwrap();
        let read = SignedCheckpoint::parse(signed.to_string().as_bytes()).unwrap();
        read.verify(&NoteKey::of(&signer("log.example", 1)).unwrap())
            .unwrap();
        assert_eq!(read.cosigned_by(&keys[0]), Ok(Some(noon())));
        assert_eq!(read.cosigned_by(&keys[1]), Ok(None));
        assert_eq!(
            read.witnessed(&keys, 1).unwrap(),
            [("w.example/1".to_owned(), noon())]
        );
        assert_eq!(
            read.witnessed(&keys, 2),
            Err(Defect::Cosignatures {
                found: 1,
                required: 2
            })
        );
        // A note signature by the same key is no cosignature.
        assert_eq!(
            read.cosigned_by(&NoteKey::of(&first).unwrap()),
            Err(Defect::Key)
        );
    }

    #[test]
    fn a_cosignature_moved_in_time_or_to_another_checkpoint_fails() {
        let witness = signer("w.example", 3);
        let key = NoteKey::cosigner(&witness).unwrap();
        let mut good = signed();
        good.cosign(&witness, noon()).unwrap();
        let line = good.note.signatures()[1].clone();
        let mut later = signed();
        let mut bytes = line.bytes.clone();
        bytes[7] ^= 1;
        later.note.push(NoteSignature {
            bytes,
            ..line.clone()
        });
        assert_eq!(later.cosigned_by(&key), Err(Defect::Signature { line: 6 }));
        let other = Checkpoint {
            size: 6,
            ..signed().unverified().clone()
        };
        let mut other = SignedCheckpoint::sign(other, &signer("log.example", 1)).unwrap();
        other.note.push(line.clone());
        assert_eq!(other.cosigned_by(&key), Err(Defect::Signature { line: 6 }));
        good.note.push(line);
        assert_eq!(good.cosigned_by(&key), Err(Defect::Note { line: 7 }));
    }

    #[test]
    fn stray_signature_lines_are_refused() {
        let key = NoteKey::of(&signer("log.example", 1)).unwrap();
        let mut stray = signed();
        stray.note.push(NoteSignature {
            name: "w".into(),
            id: 1,
            bytes: vec![0; 64],
        });
        assert_eq!(
            stray.verify(&key),
            Err(Defect::UnknownSignature { line: 6 })
        );
    }

    #[test]
    fn an_anchor_never_goes_back() {
        let anchor = Anchor {
            size: 5,
            root: Digest::of(b"five"),
        };
        let later = Anchor {
            size: 6,
            root: Digest::of(b"six"),
        };
        assert_eq!(anchor.advance(later), Ok(later));
        assert_eq!(later.advance(later), Ok(later));
        assert_eq!(later.advance(anchor).unwrap_err().code(), Code::AudFork);
        let split = Anchor {
            root: Digest::of(b"other"),
            ..anchor
        };
        assert_eq!(anchor.advance(split).unwrap_err().code(), Code::AudFork);
        assert_eq!(anchor.to_string().parse(), Ok(anchor));
        assert!("05 00".parse::<Anchor>().is_err());
    }
}
