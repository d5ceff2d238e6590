//! Signed notes with Ed25519, as C2SP signed-note v1.0.0 defines them.
//!
//! ```text
//! any text,
//! its last line ends in a newline
//!                                          ← one empty line
//! — key.name base64(key id ‖ signature)    ← one line a signature
//! ```
//!
//! Reading is strict: a note that would not be written again byte for byte is refused, so
//! there is exactly one file for one signed statement.

use core::fmt;
use core::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use super::defect::Defect;

/// Something that signs with an Ed25519 key: a key in memory, in a module, in a service.
///
/// # Behavior
/// - `sign` is RFC 8032 Ed25519 over exactly the bytes given, by the key of `public_key`.
pub trait Signer: fmt::Debug + Send + Sync {
    /// The key's name; for a log it is the origin of its checkpoints.
    fn name(&self) -> &str;

    /// The public key, 32 bytes as RFC 8032 encodes it.
    fn public_key(&self) -> [u8; 32];

    /// The signature over `message`.
    fn sign(&self, message: &[u8]) -> [u8; 64];

    /// The id under which this key signs notes; see [`key_id`].
    fn key_id(&self) -> u32 {
        key_id(self.name(), KeyKind::Signer, &self.public_key())
    }
}

/// A [`Signer`] whose key is in this process' memory; the key is wiped on drop.
pub struct LocalSigner {
    name: String,
    key: SigningKey,
}

impl LocalSigner {
    /// A signer under this name.
    ///
    /// # Errors
    /// [`Defect::Key`] when the name is empty or holds a space, a control character or a `+`.
    pub fn new(name: impl Into<String>, key: SigningKey) -> Result<Self, Defect> {
        let name = name.into();
        if is_key_name(&name) {
            Ok(Self { name, key })
        } else {
            Err(Defect::Key)
        }
    }
}

impl Signer for LocalSigner {
    fn name(&self) -> &str {
        &self.name
    }

    fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for LocalSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSigner")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a key signs; the byte goes into its id, so that one signature cannot pass for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum KeyKind {
    /// Timestamped cosignatures over checkpoints (C2SP tlog-cosignature), `0x04`.
    Cosigner = 4,
    /// The text of notes, `0x01`.
    Signer = 1,
}

/// A public key under a name, in text `name+id+base64`.
///
/// ```
/// # use kta_core::audit::NoteKey;
/// let text = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
/// let key: NoteKey = text.parse()?;
/// assert_eq!(key.id(), 0x033d_e0ae);
/// assert_eq!(key.to_string(), text);
/// # Ok::<(), kta_core::audit::Defect>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    kind: KeyKind,
    key: VerifyingKey,
}

impl NoteKey {
    /// A key from its parts.
    ///
    /// # Errors
    /// [`Defect::Key`] when the name is no key name or the bytes are no key fit for use (not a
    /// point, not its canonical encoding, or of small order).
    pub fn new(name: impl Into<String>, kind: KeyKind, public: &[u8; 32]) -> Result<Self, Defect> {
        let name = name.into();
        let key = VerifyingKey::from_bytes(public).map_err(|_| Defect::Key)?;
        let canonical = key.to_edwards().compress().to_bytes() == *public;
        if !is_key_name(&name) || key.is_weak() || !canonical {
            return Err(Defect::Key);
        }
        Ok(Self { name, kind, key })
    }

    /// The key with which `signer` signs notes.
    ///
    /// # Errors
    /// [`Defect::Key`] as for [`new`](Self::new).
    pub fn of(signer: &dyn Signer) -> Result<Self, Defect> {
        Self::new(signer.name(), KeyKind::Signer, &signer.public_key())
    }

    /// The key with which `witness` cosigns checkpoints.
    ///
    /// # Errors
    /// [`Defect::Key`] as for [`new`](Self::new).
    pub fn cosigner(witness: &dyn Signer) -> Result<Self, Defect> {
        Self::new(witness.name(), KeyKind::Cosigner, &witness.public_key())
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the key signs.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The id that signature lines carry.
    #[must_use]
    pub fn id(&self) -> u32 {
        key_id(&self.name, self.kind, self.key.as_bytes())
    }

    /// The key itself, 32 bytes as RFC 8032 encodes it.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    pub(super) fn accepts(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key
            .verify_strict(message, &Signature::from_bytes(signature))
            .is_ok()
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut material = vec![self.kind as u8];
        material.extend_from_slice(self.key.as_bytes());
        write!(
            f,
            "{}+{:08x}+{}",
            self.name,
            self.id(),
            STANDARD.encode(material)
        )
    }
}

impl fmt::Debug for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteKey({self})")
    }
}

impl FromStr for NoteKey {
    type Err = Defect;
    fn from_str(text: &str) -> Result<Self, Defect> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_id), Some(material)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(Defect::Key);
        };
        let material = STANDARD.decode(material).map_err(|_| Defect::Key)?;
        let (kind, public) = material.split_first().ok_or(Defect::Key)?;
        let kind = match kind {
            1 => KeyKind::Signer,
            4 => KeyKind::Cosigner,
            _ => return Err(Defect::Key),
        };
        let key = Self::new(name, kind, public.try_into().map_err(|_| Defect::Key)?)?;
        // One key has one text: this checks the id and any looseness of the encodings at once.
        if key.to_string() == text {
            Ok(key)
        } else {
            Err(Defect::Key)
        }
    }
}

/// The id of a key: the first four bytes of SHA-256 over name, newline, kind and key.
#[must_use]
pub fn key_id(name: &str, kind: KeyKind, public: &[u8; 32]) -> u32 {
    let hash = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', kind as u8])
        .chain_update(public)
        .finalize();
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
}

/// A text and the signatures under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    pub(super) name: String,
    pub(super) id: u32,
    pub(super) bytes: Vec<u8>,
}

impl NoteSignature {
    /// The name of the key that claims to have signed.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of the key that claims to have signed.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn is_by(&self, key: &NoteKey) -> bool {
        self.name == key.name && self.id == key.id()
    }
}

impl SignedNote {
    /// The most signature lines that are read.
    pub const MOST_SIGNATURES: usize = 32;

    /// Signs a text.
    ///
    /// # Errors
    /// [`Defect::Note`] when the text is empty, does not end in a newline or holds a control
    /// character; [`Defect::Key`] when the signer's name or key is unfit.
    pub fn sign(text: impl Into<String>, signer: &dyn Signer) -> Result<Self, Defect> {
        let text = text.into();
        check_text(&text)?;
        let key = NoteKey::of(signer)?;
        let bytes = signer.sign(text.as_bytes()).to_vec();
        let signature = NoteSignature {
            name: key.name.clone(),
            id: key.id(),
            bytes,
        };
        Ok(Self {
            text,
            signatures: vec![signature],
        })
    }

    /// Reads a note. Nothing in it may be believed before a signature is verified.
    ///
    /// # Errors
    /// [`Defect::Note`] with the first line that is not in the one allowed form.
    pub fn parse(bytes: &[u8]) -> Result<Self, Defect> {
        let file = core::str::from_utf8(bytes).map_err(|error| {
            let good = &bytes[..error.valid_up_to()];
            Defect::Note {
                line: line_after(good),
            }
        })?;
        check_text(file)?;
        let lines = file.matches('\n').count();
        let cut = file.rfind("\n\n").ok_or(Defect::Note { line: lines })?;
        let (text, signed) = (&file[..=cut], &file[cut + 2..]);
        let first = line_after(text.as_bytes()) + 1;
        let mut signatures = Vec::new();
        for (offset, line) in signed.split_terminator('\n').enumerate() {
            let malformed = Defect::Note {
                line: first + offset,
            };
            if signatures.len() == Self::MOST_SIGNATURES {
                return Err(malformed);
            }
            signatures.push(parse_signature(line).ok_or(malformed)?);
        }
        let note = Self {
            text: text.to_owned(),
            signatures,
        };
        if note.signatures.is_empty() || note.to_string() != file {
            return Err(Defect::Note { line: first });
        }
        Ok(note)
    }

    /// The signed text, with its last newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines, in their order.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Checks that `key` signed the text, once. Lines by other keys are ignored, as the
    /// specification asks; [`verify_only`](Self::verify_only) refuses them.
    ///
    /// # Errors
    /// [`Defect::Unsigned`] or [`Defect::Signature`]; [`Defect::Key`] when the key is a
    /// cosigner's.
    pub fn verify(&self, key: &NoteKey) -> Result<(), Defect> {
        if key.kind != KeyKind::Signer {
            return Err(Defect::Key);
        }
        let mut lines = self
            .signatures
            .iter()
            .enumerate()
            .filter(|(_, line)| line.is_by(key));
        let (at, signature) = lines.next().ok_or(Defect::Unsigned)?;
        if let Some((again, _)) = lines.next() {
            return Err(Defect::Note {
                line: self.line_of(again),
            });
        }
        let valid = <&[u8; 64]>::try_from(signature.bytes.as_slice())
            .is_ok_and(|signature| key.accepts(self.text.as_bytes(), signature));
        if valid {
            Ok(())
        } else {
            Err(Defect::Signature {
                line: self.line_of(at),
            })
        }
    }

    /// Checks that `key` signed the text and that nobody else did.
    ///
    /// # Errors
    /// As [`verify`](Self::verify), and [`Defect::UnknownSignature`].
    pub fn verify_only(&self, key: &NoteKey) -> Result<(), Defect> {
        self.verify(key)?;
        match self.signatures.iter().position(|line| !line.is_by(key)) {
            Some(at) => Err(Defect::UnknownSignature {
                line: self.line_of(at),
            }),
            None => Ok(()),
        }
    }

    /// The line of the file that the signature at this place stands on, from 1.
    pub(super) fn line_of(&self, signature: usize) -> usize {
        line_after(self.text.as_bytes()) + 1 + signature
    }

    pub(super) fn push(&mut self, signature: NoteSignature) {
        self.signatures.push(signature);
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures
            .iter()
            .try_for_each(|NoteSignature { name, id, bytes }| {
                let id_and_bytes = [id.to_be_bytes().as_slice(), bytes].concat();
                writeln!(f, "— {name} {}", STANDARD.encode(id_and_bytes))
            })
    }
}

fn parse_signature(line: &str) -> Option<NoteSignature> {
    let (name, encoded) = line.strip_prefix("— ")?.split_once(' ')?;
    if !is_key_name(name) || encoded.len() > LONGEST_SIGNATURE {
        return None;
    }
    let decoded = STANDARD.decode(encoded).ok()?;
    let (id, bytes) = decoded.split_first_chunk::<4>()?;
    let signature = NoteSignature {
        name: name.to_owned(),
        id: u32::from_be_bytes(*id),
        bytes: bytes.to_vec(),
    };
    (!bytes.is_empty()).then_some(signature)
}

/// A text may hold no control characters but newlines, and must end in one.
fn check_text(text: &str) -> Result<(), Defect> {
    let control = text.bytes().position(|byte| byte < b' ' && byte != b'\n');
    match control {
        Some(at) => Err(Defect::Note {
            line: line_after(&text.as_bytes()[..at]),
        }),
        None if text.ends_with('\n') => Ok(()),
        None => Err(Defect::Note {
            line: line_after(text.as_bytes()),
        }),
    }
}

/// The number, from 1, of the line that begins or goes on after these bytes.
fn line_after(bytes: &[u8]) -> usize {
    1 + bytes.iter().filter(|byte| **byte == b'\n').count()
}

fn is_key_name(name: &str) -> bool {
    let unfit = |char: char| char.is_whitespace() || char.is_control() || char == '+';
    !name.is_empty() && name.len() <= LONGEST_NAME && !name.contains(unfit)
}

/// Characters of base64 in a signature line: room for post-quantum signatures of others.
const LONGEST_SIGNATURE: usize = 8192;

/// Bytes of a key name.
const LONGEST_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signer() -> LocalSigner {
        LocalSigner::new("log.example/test", SigningKey::from_bytes(&[7; 32])).unwrap()
    }

    /// The example of the Go package that the format comes from: a published vector.
    const PUBLISHED_KEY: &str =
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const PUBLISHED: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\
        \n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_published_note_verifies_with_its_published_key() {
        let key: NoteKey = PUBLISHED_KEY.parse().unwrap();
        let note = SignedNote::parse(PUBLISHED.as_bytes()).unwrap();
        note.verify_only(&key).unwrap();
        assert_eq!(key.id(), 0xc74f_20a3);
    }

    #[test]
    fn a_key_has_one_text() {
        let key = NoteKey::of(&signer()).unwrap();
        let text = key.to_string();
        assert_eq!(text.parse::<NoteKey>().unwrap(), key);
        for at in 0..text.len() {
            for bit in 0..7 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let changed = String::from_utf8(bytes).unwrap();
                assert!(changed.parse::<NoteKey>().is_err(), "{changed}");
            }
        }
        assert!(format!("{text} ").parse::<NoteKey>().is_err());
        // The neutral element: everything would verify under it.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert_eq!(
            NoteKey::new("weak", KeyKind::Signer, &neutral),
            Err(Defect::Key)
        );
    }

    #[test]
    fn every_flipped_bit_of_a_note_is_refused() {
        let key = NoteKey::of(&signer()).unwrap();
        let good = SignedNote::sign("origin\n\nbody ü\n", &signer())
            .unwrap()
            .to_string();
        SignedNote::parse(good.as_bytes())
            .unwrap()
            .verify_only(&key)
            .unwrap();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bytes = good.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let read = SignedNote::parse(&bytes).and_then(|note| note.verify_only(&key));
                assert!(read.is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn malformed_notes_are_refused_with_their_line() {
        let line = |text: &str| match SignedNote::parse(text.as_bytes()) {
            Err(Defect::Note { line }) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(line(""), 1);
        assert_eq!(line("no signature\n"), 1);
        assert_eq!(line("text\n\n"), 3);
        assert_eq!(line("text\n\n— name AAAAAAA=\n— na+me AAAAAAA=\n"), 4);
        assert_eq!(line("text\n\n— name AAAAAAA\n"), 3); // padding missing
        assert_eq!(line("text\n\n— name AAAAAAB=\n"), 3); // stray bits
        assert_eq!(line("text\n\n— name AAAAAA==\n"), 3); // an id only
        assert_eq!(line("text\n\n—  AAAAAAA=\n"), 3); // no name
        assert_eq!(line("text\n\n- name AAAAAAA=\n"), 3); // a hyphen
        assert_eq!(line("te\txt\n\n— name AAAAAAA=\n"), 1);
        assert_eq!(line("text\n\n— name AAAAAAA="), 3);
        let many = "— name AAAAAAA=\n".repeat(SignedNote::MOST_SIGNATURES + 1);
        assert_eq!(
            line(&format!("text\n\n{many}")),
            3 + SignedNote::MOST_SIGNATURES
        );
    }

    #[test]
    fn lines_by_unknown_keys_are_ignored_or_refused_as_asked() {
        let key = NoteKey::of(&signer()).unwrap();
        let mut note = SignedNote::sign("text\n", &signer()).unwrap();
        let own = note.signatures[0].clone();
        note.push(NoteSignature {
            name: "other".into(),
            id: own.id,
            bytes: vec![0; 64],
        });
        note.verify(&key).unwrap();
        assert_eq!(
            note.verify_only(&key),
            Err(Defect::UnknownSignature { line: 4 })
        );
        note.push(own);
        assert_eq!(note.verify(&key), Err(Defect::Note { line: 5 }));
        let stranger: NoteKey = PUBLISHED_KEY.parse().unwrap();
        assert_eq!(note.verify(&stranger), Err(Defect::Unsigned));
    }

    #[test]
    fn a_signer_never_shows_its_key() {
        let shown = format!("{:?}", signer());
        assert_eq!(shown, "LocalSigner { name: \"log.example/test\", .. }");
        assert!(LocalSigner::new("two words", SigningKey::from_bytes(&[7; 32])).is_err());
    }

    proptest! {
        #[test]
        fn what_parses_is_written_again_byte_for_byte(
            text in "([a-z ü\n\t—+=/]|\n\n— [a-z]{1,3} (AAAA){1,3}){0,40}\n?",
        ) {
            if let Ok(note) = SignedNote::parse(text.as_bytes()) {
                prop_assert_eq!(note.to_string(), text);
            }
        }

        #[test]
        fn garbage_is_answered_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = SignedNote::parse(&bytes);
            let _ = String::from_utf8_lossy(&bytes).parse::<NoteKey>();
        }
    }
}
