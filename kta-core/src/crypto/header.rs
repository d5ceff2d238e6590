//! The record header: shows a field that is missing, added or put back.
//!
//! Sealing each field alone shows a changed or moved field; it cannot show one that is simply
//! not there any more, nor one that was replaced, together with its revision, by an older one.
//! The header is a MAC over the list of the fields with their revisions, classifications and tags;
//! fields that are sealed [together](super::together) are listed as one.
//!
//! | bytes | what |
//! | ---: | --- |
//! | 1 | format version, `1` |
//! | 1 | suite, `2`: HMAC-SHA256 under HKDF-SHA256 |
//! | 4 | generation of the person's key, big-endian |
//! | 32 | MAC over the length-prefixed tenant, subject and record, the bytes above, and the list |
//!
//! The list is not written, as whoever has the record can make it:
//!
//! | bytes | what |
//! | ---: | --- |
//! | 8 | revision of the record |
//! | 4 | number of fields |
//! | … | for each field, sorted by name: 2 bytes length, the name, 8 bytes revision, 2 bytes [classification](crate::pii::Classification::code), 16 bytes tag of the sealed value |
//!
//! So a field cannot be made out to be less sensitive than it was sealed as, either: what somebody
//! may see is decided by the category that is stored beside the value.
//!
//! An old record that is put back *whole*, header and all, is authentic; only its revision
//! tells. Whoever keeps the records states the revision it expects.

use core::fmt;

use super::aead::VERSION;
use super::derive::{hmac, push, same};
use super::envelope::Envelope;
use super::keys::RecordKey;
use crate::error::Result;
use crate::refusal::Code;

/// The authenticated list of a record's fields.
#[derive(Clone, PartialEq, Eq)]
pub struct RecordHeader(Vec<u8>);

/// A field as the header sees it: its name, its revision, the
/// [code](crate::pii::Classification::code) of its classification, and its sealed value.
pub type HeaderField<'a> = (&'a str, u64, u16, &'a Envelope);

impl RecordHeader {
    /// The header of a record that has exactly these fields, in any order.
    ///
    /// # Errors
    /// [`Code::CrySwap`] when a field is named twice or a name is longer than 65,535 bytes.
    pub fn seal<'a>(
        key: &RecordKey,
        revision: u64,
        fields: impl IntoIterator<Item = HeaderField<'a>>,
    ) -> Result<Self> {
        let mac = mac(key, &list(revision, fields)?);
        Ok(Self([&start(key)[..], &mac].concat()))
    }

    /// Header bytes as they were stored. [`check`](Self::check) tells whether they are right.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Which of the person's keys it was made with; `None` for bytes that are too short to say.
    #[must_use]
    pub fn generation(&self) -> Option<u32> {
        let bytes = self.0.get(2..6)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }

    /// Checks that the record has exactly these fields at these revisions.
    ///
    /// # Errors
    /// [`Code::CryKey`] for an unknown version, suite or generation, [`Code::CrySwap`] when a
    /// field is missing, added, exchanged, of another revision or classified otherwise, when the
    /// record's revision is not `revision`, or when the header is of another record or was changed.
    pub fn check<'a>(
        &self,
        key: &RecordKey,
        revision: u64,
        fields: impl IntoIterator<Item = HeaderField<'a>>,
    ) -> Result<()> {
        let key = match self.generation() {
            Some(generation) => key.of_generation(generation)?,
            None => key,
        };
        if self.0.get(..6).is_some_and(|written| written != start(key)) {
            return Err(Code::CryKey.into());
        }
        let expected = mac(key, &list(revision, fields)?);
        match self.0.get(6..) {
            Some(written) if same(&expected, written) => Ok(()),
            _ => Err(Code::CrySwap.into()),
        }
    }
}

impl fmt::Debug for RecordHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordHeader({} bytes)", self.0.len())
    }
}

fn start(key: &RecordKey) -> [u8; 6] {
    let mut start = [VERSION, SUITE, 0, 0, 0, 0];
    start[2..].copy_from_slice(&key.generation().to_be_bytes());
    start
}

fn list<'a>(revision: u64, fields: impl IntoIterator<Item = HeaderField<'a>>) -> Result<Vec<u8>> {
    let fields = fields.into_iter();
    let fields =
        fields.map(|(name, revision, class, sealed)| (name, revision, class, sealed.tag()));
    let mut sorted: Vec<_> = fields.collect();
    // They nearly always come in order.
    sorted.sort_by_key(|(name, ..)| *name);
    if sorted.windows(2).any(|two| two[0].0 == two[1].0) {
        return Err(Code::CrySwap.into());
    }
    let many = u32::try_from(sorted.len()).map_err(|_| Code::CrySwap)?;
    let mut bytes = Vec::with_capacity(64 + sorted.len() * 64);
    bytes.extend_from_slice(&revision.to_be_bytes());
    bytes.extend_from_slice(&many.to_be_bytes());
    for (name, revision, class, tag) in sorted {
        let length = u16::try_from(name.len()).map_err(|_| Code::CrySwap)?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&revision.to_be_bytes());
        bytes.extend_from_slice(&class.to_be_bytes());
        bytes.extend_from_slice(&tag);
    }
    Ok(bytes)
}

fn mac(key: &RecordKey, bytes: &[u8]) -> [u8; 32] {
    let mut place = Vec::with_capacity(72);
    push(&mut place, key.tenant().as_bytes());
    push(&mut place, key.subject().as_bytes());
    push(&mut place, key.record().as_bytes());
    let header_key = key.prk.expand(&[b"kta1 header"]);
    hmac(&*header_key, &[&place, &start(key), bytes])
}

/// A MAC over a list that is not written.
const SUITE: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::context::SealContext;
    use crate::crypto::context::tests::place;
    use crate::crypto::keys::tests::subject_key;
    use crate::crypto::testing::Counted;
    use crate::id::RecordId;

    fn sealed(key: &RecordKey, field: &str, revision: u64, value: &[u8]) -> Envelope {
        let context = SealContext {
            field,
            revision,
            ..place()
        };
        // A seed of its own for each value, so that two sealings never share a nonce.
        let seed = value.iter().map(|byte| u64::from(*byte)).sum::<u64>() + revision;
        key.seal(&context, value, &Counted::new(seed)).unwrap()
    }

    #[test]
    fn a_missing_added_exchanged_or_older_field_is_found() {
        let key = subject_key().record_key(place().record);
        let (name, born) = (
            sealed(&key, "name", 1, b"Testa"),
            sealed(&key, "born", 2, b"1978"),
        );
        let older = sealed(&key, "born", 1, b"1977");
        let header =
            RecordHeader::seal(&key, 7, [("name", 1, 7, &name), ("born", 2, 7, &born)]).unwrap();
        let refused = Err(Code::CrySwap.into());

        assert_eq!(
            header.check(&key, 7, [("born", 2, 7, &born), ("name", 1, 7, &name)]),
            Ok(())
        );
        assert_eq!(
            header.check(&key, 7, [("name", 1, 7, &name)]),
            refused,
            "missing"
        );
        let added = [
            ("born", 2, 7, &born),
            ("name", 1, 7, &name),
            ("sex", 1, 7, &older),
        ];
        assert_eq!(header.check(&key, 7, added), refused, "added");
        let exchanged = [("born", 1, 7, &older), ("name", 1, 7, &name)];
        assert_eq!(header.check(&key, 7, exchanged), refused, "older");
        let renumbered = [("born", 2, 7, &older), ("name", 1, 7, &name)];
        assert_eq!(header.check(&key, 7, renumbered), refused, "older as newer");
        let all = [("born", 2, 7, &born), ("name", 1, 7, &name)];
        assert_eq!(header.check(&key, 8, all), refused, "whole record put back");
        let lowered = [("born", 2, 7, &born), ("name", 1, 6, &name)];
        assert_eq!(
            header.check(&key, 7, lowered),
            refused,
            "classified otherwise"
        );
        let twice = [("born", 2, 7, &born), ("born", 2, 7, &born)];
        assert_eq!(header.check(&key, 7, twice), refused, "twice");
    }

    #[test]
    fn a_header_of_another_record_and_a_changed_header_are_found() {
        let subject = subject_key();
        let key = subject.record_key(place().record);
        let name = sealed(&key, "name", 1, b"Testa");
        let header = RecordHeader::seal(&key, 1, [("name", 1, 7, &name)]).unwrap();
        let other = subject.record_key(RecordId::from_bytes([5; 16]));
        assert!(header.check(&other, 1, [("name", 1, 7, &name)]).is_err());
        for position in 0..header.as_bytes().len() {
            let mut changed = header.as_bytes().to_vec();
            changed[position] ^= 1;
            let outcome = RecordHeader::from_bytes(changed).check(&key, 1, [("name", 1, 7, &name)]);
            let expected = if position < 6 {
                Code::CryKey
            } else {
                Code::CrySwap
            };
            assert_eq!(outcome, Err(expected.into()), "byte {position}");
            let short = RecordHeader::from_bytes(header.as_bytes()[..position].to_vec());
            assert!(short.check(&key, 1, [("name", 1, 7, &name)]).is_err());
        }
    }

    #[test]
    fn names_and_neighbours_cannot_be_confused() {
        let key = subject_key().record_key(place().record);
        let value = sealed(&key, "name", 1, b"Testa");
        let header =
            RecordHeader::seal(&key, 1, [("ab", 1, 7, &value), ("c", 1, 7, &value)]).unwrap();
        assert!(
            header
                .check(&key, 1, [("a", 1, 7, &value), ("bc", 1, 7, &value)])
                .is_err()
        );
    }
}
