//! The written format of a sealed value.
//!
//! | offset | bytes | what |
//! | ---: | ---: | --- |
//! | 0 | 1 | format version, `1` |
//! | 1 | 1 | suite: `1` is AES-256-GCM-SIV with HKDF-SHA256 |
//! | 2 | 4 | generation of the person's key, big-endian; 0 in a wrapped key |
//! | 6 | 12 | nonce, random for each sealing |
//! | 18 | 32 | key commitment |
//! | 50 | n | padded value, encrypted |
//! | 50 + n | 16 | tag |
//!
//! All values of a record are sealed under one key that derives from the record key:
//!
//! ```text
//! key        = HKDF-Expand(record key, "kta1 field key",        32)
//! commitment = HKDF-Expand(record key, "kta1 field commitment", 32)
//! ```
//!
//! Each sealing draws its nonce from the entropy source ([`Entropy::fill_public`]), which says for
//! how long it may have drawn it before. No counter is kept anywhere, and none can be set back:
//! restoring a snapshot and writing on repeats nothing, as far as 96 random bits do not. That far
//! GCM-SIV was built to go (RFC 8452 section 9): an attacker's advantage stays below
//! 2^-32 for 2^61 values of up to 16 KiB under one key, and one key is one record's; a nonce that
//! did repeat would tell that one value was sealed twice at one place and revision, and nothing
//! else. A key for each value would cost two more derivations, more than the cipher itself.
//!
//! AES-GCM-SIV alone lets one ciphertext open under two keys that somebody chose for it. The
//! commitment, compared in constant time before anything is decrypted, rules that out.
//!
//! The associated data are the canonical bytes of the [`SealContext`] and the generation. Values
//! are padded inside the encryption with `0x80` and zeros (ISO/IEC 7816-4) to 48, 96, 160, 256,
//! 384, 512, 640, 768, 896, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 3584 or 4096 bytes, longer
//! ones to a multiple of 4096. From the length of a name or passport number that is sealed alone
//! nothing can be read; from that of a long text, or of fields that are sealed
//! [together](super::together), their size to within a quarter (a third to 384 bytes, a half below).
//!
//! Two outcomes of opening are told apart, and no more: version, suite or generation unknown
//! (`CRY-KEY`: bring the right key or program), and everything else (`CRY-SWAP`).

use core::fmt;

use zeroize::Zeroizing;

use super::aead::{SUITE, VERSION};
use super::context::SealContext;
use super::derive::{Sealing, same};
use super::keys::RecordKey;
use crate::error::Result;
use crate::refusal::Code;
use crate::time::Entropy;

/// A sealed value in the written format.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope(Vec<u8>);

impl Envelope {
    /// Bytes added to the padded value.
    pub const OVERHEAD: usize = HEAD + TAG;

    /// Sealed bytes as they were stored.
    ///
    /// # Errors
    /// [`Code::CryKey`] for a version or suite that is not known here, [`Code::CrySwap`] for
    /// bytes that are too short to be a sealed value.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self> {
        let bytes = bytes.into();
        Head::<NONCE>::read(&bytes, SUITE)?;
        Ok(Self(bytes))
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes to store, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Which of the person's keys sealed it.
    #[must_use]
    pub fn generation(&self) -> u32 {
        u32::from_be_bytes([self.0[2], self.0[3], self.0[4], self.0[5]])
    }

    /// The tag: 16 bytes that no other sealing has.
    #[must_use]
    pub fn tag(&self) -> [u8; 16] {
        // Proof: every envelope was made by `seal` or passed `Head::read`, so it is longer.
        *self.0.last_chunk().expect("an envelope ends with a tag")
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope({} bytes)", self.0.len())
    }
}

impl RecordKey {
    /// Seals a value at its place.
    ///
    /// # Errors
    /// [`Code::CrySwap`] when the place is not in this key's record; a fault for values longer
    /// than 2^36 bytes.
    pub fn seal(
        &self,
        context: &SealContext<'_>,
        value: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Envelope> {
        let mut nonce = [0; NONCE];
        entropy.fill_public(&mut nonce);
        self.seal_under(context, value, &nonce)
    }

    /// Seals several values, each at its place; their nonces are one draw, so that a record costs
    /// one call to the operating system.
    ///
    /// # Errors
    /// As [`seal`](Self::seal), for the first that cannot be sealed.
    pub fn seal_all<'a>(
        &self,
        values: &[(SealContext<'a>, &'a [u8])],
        entropy: &dyn Entropy,
    ) -> Result<Vec<Envelope>> {
        let mut nonces = vec![0; NONCE * values.len()];
        entropy.fill_public(&mut nonces);
        let (nonces, _) = nonces.as_chunks::<NONCE>();
        let each = values.iter().zip(nonces);
        each.map(|((context, value), nonce)| self.seal_under(context, value, nonce))
            .collect()
    }

    fn seal_under(
        &self,
        context: &SealContext<'_>,
        value: &[u8],
        nonce: &[u8; NONCE],
    ) -> Result<Envelope> {
        self.admits(context)?;
        let padded = Some(padded_length(value.len()));
        let (generation, associated) = (self.generation(), context.to_bytes());
        seal(&self.field, generation, associated, value, padded, nonce).map(Envelope)
    }

    /// Opens a value at its place.
    ///
    /// # Errors
    /// [`Code::CryKey`] when a key of the person sealed it that is not there any more,
    /// [`Code::CrySwap`] when it does not belong at this place or was changed.
    pub fn open(
        &self,
        context: &SealContext<'_>,
        envelope: &Envelope,
    ) -> Result<Zeroizing<Vec<u8>>> {
        self.admits(context)?;
        let key = self.of_generation(envelope.generation())?;
        let generation = key.generation();
        let mut value = open(&key.field, generation, context.to_bytes(), &envelope.0)?;
        let length = unpadded_length(&value).ok_or(Code::CrySwap)?;
        value.truncate(length);
        Ok(value)
    }
}

/// Seals `value`, padded to `padded` bytes if that is given, in the written format.
pub(super) fn seal(
    sealing: &Sealing,
    generation: u32,
    mut associated: Vec<u8>,
    value: &[u8],
    padded: Option<usize>,
    nonce: &[u8; NONCE],
) -> Result<Vec<u8>> {
    let body = padded.unwrap_or(value.len());
    let mut bytes = Vec::with_capacity(HEAD + body + TAG);
    write_head(&mut bytes, SUITE, generation, nonce, &sealing.commitment);
    bytes.extend_from_slice(value);
    if padded.is_some() {
        bytes.push(PAD_MARK);
        bytes.resize(HEAD + body, 0);
    }
    associated.extend_from_slice(&generation.to_be_bytes());
    let cipher = &sealing.cipher;
    let tag = cipher.seal_in_place(nonce, &associated, &mut bytes[HEAD..])?;
    bytes.extend_from_slice(&tag);
    Ok(bytes)
}

/// Opens what [`seal`] made, with its padding still on.
pub(super) fn open(
    sealing: &Sealing,
    generation: u32,
    mut associated: Vec<u8>,
    bytes: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    let head = Head::<NONCE>::read(bytes, SUITE)?;
    if head.generation != generation {
        return Err(Code::CryKey.into());
    }
    if !same(&*sealing.commitment, head.commitment) {
        return Err(Code::CrySwap.into());
    }
    let (body, tag) = bytes[HEAD..]
        .split_last_chunk::<TAG>()
        .ok_or(Code::CrySwap)?;
    let mut value = Zeroizing::new(body.to_vec());
    associated.extend_from_slice(&generation.to_be_bytes());
    let cipher = &sealing.cipher;
    cipher.open_in_place(head.drawn, &associated, &mut value, tag)?;
    Ok(value)
}

/// The bytes before the ciphertext, of a version and suite that are known; `N` of them were
/// drawn for this sealing.
pub(super) struct Head<'a, const N: usize> {
    pub(super) generation: u32,
    pub(super) drawn: &'a [u8; N],
    pub(super) commitment: &'a [u8; 32],
}

impl<'a, const N: usize> Head<'a, N> {
    /// Reads the head of bytes that are long enough to have a tag, too.
    pub(super) fn read(bytes: &'a [u8], suite: u8) -> Result<Self> {
        let (Some(&version), Some(&written)) = (bytes.first(), bytes.get(1)) else {
            return Err(Code::CrySwap.into());
        };
        if (version, written) != (VERSION, suite) {
            return Err(Code::CryKey.into());
        }
        let parts = bytes.get(2..).and_then(|rest| {
            let (generation, rest) = rest.split_first_chunk::<4>()?;
            let (drawn, rest) = rest.split_first_chunk::<N>()?;
            let (commitment, rest) = rest.split_first_chunk::<32>()?;
            (rest.len() >= TAG).then_some((generation, drawn, commitment))
        });
        let (generation, drawn, commitment) = parts.ok_or(Code::CrySwap)?;
        Ok(Self {
            generation: u32::from_be_bytes(*generation),
            drawn,
            commitment,
        })
    }
}

/// Writes the bytes before the ciphertext.
pub(super) fn write_head(
    bytes: &mut Vec<u8>,
    suite: u8,
    generation: u32,
    drawn: &[u8],
    commitment: &[u8; 32],
) {
    bytes.extend_from_slice(&[VERSION, suite]);
    bytes.extend_from_slice(&generation.to_be_bytes());
    bytes.extend_from_slice(drawn);
    bytes.extend_from_slice(commitment);
}

/// The length to which a value of `length` bytes is padded; always at least one byte more.
fn padded_length(length: usize) -> usize {
    BUCKETS
        .into_iter()
        .find(|bucket| *bucket > length)
        .unwrap_or_else(|| (length + 1).next_multiple_of(LAST_BUCKET))
}

/// The length before padding.
fn unpadded_length(padded: &[u8]) -> Option<usize> {
    let mark = padded.iter().rposition(|byte| *byte != 0)?;
    (padded[mark] == PAD_MARK).then_some(mark)
}

/// Bytes before the ciphertext.
const HEAD: usize = 50;
/// Bytes of nonce.
pub(super) const NONCE: usize = 12;
/// Bytes of tag.
pub(super) const TAG: usize = 16;
const PAD_MARK: u8 = 0x80;
const LAST_BUCKET: usize = 4096;
const BUCKETS: [usize; 18] = [
    48,
    96,
    160,
    256,
    384,
    512,
    640,
    768,
    896,
    1024,
    1280,
    1536,
    1792,
    2048,
    2560,
    3072,
    3584,
    LAST_BUCKET,
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::crypto::SecretKey;
    use crate::crypto::context::tests::{other_places, place};
    use crate::crypto::keys::SubjectKey;
    use crate::crypto::keys::tests::subject_key;
    use crate::crypto::testing::Counted;

    fn refusal<T: fmt::Debug>(outcome: Result<T>) -> Code {
        outcome.unwrap_err().refusal().expect("a refusal").code()
    }

    #[test]
    fn a_value_opens_where_it_was_sealed() {
        let key = subject_key().record_key(place().record);
        let entropy = Counted::new(1);
        for length in [0, 1, 31, 32, 47, 48, 95, 96, 511, 4095, 4096, 4097, 100_000] {
            // Values that end like padding, too.
            for filler in [0x00, 0x80, 0xFF] {
                let value = vec![filler; length];
                let sealed = key.seal(&place(), &value, &entropy).unwrap();
                let stored = Envelope::parse(sealed.into_bytes()).unwrap();
                assert_eq!(
                    **key.open(&place(), &stored).unwrap(),
                    value,
                    "{length} bytes"
                );
            }
        }
    }

    #[test]
    fn a_value_opens_nowhere_else_and_the_refusal_tells_nothing() {
        let subject = subject_key();
        let entropy = Counted::new(2);
        let sealed = subject
            .record_key(place().record)
            .seal(&place(), b"X123", &entropy)
            .unwrap();
        let expected: crate::Error = Code::CrySwap.into();
        for other in other_places() {
            let secret = SecretKey::from_bytes([0x42; 32]);
            let theirs = SubjectKey::new(other.tenant, other.subject, 1, &secret);
            let key = theirs.record_key(other.record);
            assert_eq!(
                key.open(&other, &sealed).unwrap_err(),
                expected,
                "{other:?}"
            );
        }
        let key = subject.record_key(crate::id::RecordId::from_bytes([8; 16]));
        assert_eq!(key.open(&place(), &sealed).unwrap_err(), expected);
        assert_eq!(key.seal(&place(), b"X123", &entropy).unwrap_err(), expected);
    }

    #[test]
    fn every_changed_or_missing_byte_is_refused() {
        let key = subject_key().record_key(place().record);
        let sealed = key
            .seal(&place(), b"X123", &Counted::new(3))
            .unwrap()
            .into_bytes();
        for position in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 1;
            let opened = Envelope::parse(changed).and_then(|other| key.open(&place(), &other));
            let expected = if position < 6 {
                Code::CryKey
            } else {
                Code::CrySwap
            };
            assert_eq!(refusal(opened), expected, "byte {position}");
            let short = sealed[..position].to_vec();
            let opened = Envelope::parse(short).and_then(|other| key.open(&place(), &other));
            assert_eq!(refusal(opened), Code::CrySwap, "cut at {position}");
        }
        let mut long = sealed.clone();
        long.push(0);
        let opened = Envelope::parse(long).and_then(|other| key.open(&place(), &other));
        assert_eq!(refusal(opened), Code::CrySwap);
    }

    #[test]
    fn another_persons_or_an_older_key_opens_nothing() {
        let sealed = subject_key()
            .record_key(place().record)
            .seal(&place(), b"X123", &Counted::new(4))
            .unwrap();
        let same_name = |generation, byte| {
            let secret = SecretKey::from_bytes([byte; 32]);
            let key = SubjectKey::new(place().tenant, place().subject, generation, &secret);
            refusal(key.record_key(place().record).open(&place(), &sealed))
        };
        assert_eq!(same_name(1, 0x43), Code::CrySwap);
        assert_eq!(same_name(2, 0x42), Code::CryKey);
    }

    /// The worst that can be restored is the random source itself, as a suspended virtual machine
    /// does that is woken twice. Then nonces repeat, and the cipher shows which values were equal,
    /// but nothing of values that were not.
    #[test]
    fn a_random_source_that_repeats_itself_shows_equality_and_nothing_else() {
        let key = subject_key().record_key(place().record);
        let sealed = |value: &[u8]| {
            let sealed = key.seal(&place(), value, &Counted::new(5)).unwrap();
            sealed.into_bytes()
        };
        let (one, other) = (sealed(b"L898902C3"), sealed(b"L898902C4"));
        assert_eq!(one, sealed(b"L898902C3"));
        assert_eq!(one[..HEAD], other[..HEAD], "the same key and nonce");
        let differing = one[HEAD..].iter().zip(&other[HEAD..]);
        let differing = differing.filter(|(one, other)| one != other).count();
        // A stream cipher would differ in the one byte in which the values do.
        assert!(differing > 40, "{differing} of 64 bytes differ");
    }

    #[test]
    fn short_values_cannot_be_told_apart_by_length() {
        let key = subject_key().record_key(place().record);
        let entropy = Counted::new(6);
        let sealed_length = |length: usize| {
            key.seal(&place(), &vec![b'x'; length], &entropy)
                .unwrap()
                .as_bytes()
                .len()
        };
        assert_eq!(sealed_length(0), sealed_length(47));
        assert_eq!(sealed_length(4096), sealed_length(8191));
        let distinct: HashSet<_> = (0..4096).map(padded_length).collect();
        assert_eq!(distinct.len(), BUCKETS.len());
    }

    /// Whole envelopes: derivation, padding, associated data and all.
    #[test]
    #[cfg(feature = "aws-lc")]
    fn both_providers_write_identical_bytes_for_ten_thousand_random_envelopes() {
        use crate::crypto::aead::Provider;
        use crate::crypto::derive::{FIELD, Prk, WRAP};
        let draws = Counted::new(10);
        for number in 0..10_000_u64 {
            let mut drawn = [0; 64];
            draws.fill(&mut drawn);
            let prk = Prk::derived(drawn.first_chunk().unwrap());
            let generation = u32::from_be_bytes([drawn[32], drawn[33], drawn[34], drawn[35]]);
            // Every hundredth is long; all lengths are uneven enough to meet every last block.
            let most = if number % 100 == 0 { 20_000 } else { 200 };
            let length = usize::from(u16::from_be_bytes([drawn[36], drawn[37]])) % most;
            let mut value = vec![0; length];
            draws.fill(&mut value);
            let place = vec![drawn[38]; usize::from(drawn[39])];
            let (padded, use_) = match number % 2 {
                0 => (Some(padded_length(length)), &FIELD),
                _ => (None, &WRAP),
            };
            let keyed = |provider: Provider| Sealing::by(provider.cipher(), &prk, use_, &[]);
            let mut nonce = [0; NONCE];
            draws.fill(&mut nonce);
            let by = |provider: Provider| {
                let (sealing, place) = (keyed(provider), place.clone());
                seal(&sealing, generation, place, &value, padded, &nonce).unwrap()
            };
            let (one, other) = (by(Provider::RustCrypto), by(Provider::AwsLc));
            assert_eq!(one, other, "envelope {number}, {length} bytes");
            for provider in [Provider::AwsLc, Provider::RustCrypto] {
                let sealing = keyed(provider);
                let opened = open(&sealing, generation, place.clone(), &one);
                assert_eq!(opened.unwrap()[..length], value, "envelope {number}");
                let mut changed = one.clone();
                let at = HEAD + usize::from(drawn[40]) % (changed.len() - HEAD);
                changed[at] ^= 1 << (drawn[41] % 8);
                let opened = open(&sealing, generation, place.clone(), &changed);
                assert_eq!(
                    refusal(opened),
                    Code::CrySwap,
                    "envelope {number}, byte {at}"
                );
            }
        }
    }

    /// The choice is one for the process; whoever else tests meanwhile must not notice.
    #[test]
    fn what_one_provider_sealed_the_other_opens() {
        use crate::crypto::aead::Provider;
        let key = subject_key().record_key(place().record);
        let before = Provider::current();
        for sealing in Provider::ALL {
            sealing.choose();
            assert_eq!(Provider::current(), *sealing);
            let sealed = key.seal(&place(), b"X123", &Counted::new(11)).unwrap();
            for opening in Provider::ALL {
                opening.choose();
                assert_eq!(**key.open(&place(), &sealed).unwrap(), *b"X123");
            }
        }
        before.choose();
    }

    #[test]
    fn errors_and_debug_hold_no_value() {
        let key = subject_key().record_key(place().record);
        let sealed = key
            .seal(&place(), b"CANARY-Testa", &Counted::new(8))
            .unwrap();
        let other = SealContext {
            revision: 6,
            ..place()
        };
        let error = key.open(&other, &sealed).unwrap_err();
        let shown = format!("{sealed:?} {error:?} {error}");
        assert!(!shown.contains("CANARY") && !shown.contains("Testa"));
    }
}
