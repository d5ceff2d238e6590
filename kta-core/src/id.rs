//! Identifiers: random 128-bit newtypes that carry no meaning, and therefore nothing personal.
//!
//! An id is drawn from an [`Entropy`] source that the caller hands in, or
//! derived from bytes with a domain label when the same input must give the same id (for
//! example the receipt of a delivery that arrives twice).

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::time::Entropy;

/// Text that is not an identifier of the expected kind. Holds no part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a `{expected}` identifier")]
pub struct BadId {
    /// The prefix that was expected, for example `sub`.
    pub expected: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// Its text form is a prefix, `_` and 32 lower-case hexadecimal digits.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The prefix of the text form.
            pub const PREFIX: &'static str = $prefix;

            /// Draws a fresh id.
            pub fn random(entropy: &dyn Entropy) -> Self {
                let mut bytes = [0; 16];
                entropy.fill_public(&mut bytes);
                Self(bytes)
            }

            /// The id that `parts` always give: SHA-256 over length-prefixed parts under this
            /// id's prefix, truncated to 128 bits. Use it only for parts that are themselves
            /// random or content digests: a hash of a guessable value is still that value.
            #[must_use]
            pub fn derived(parts: &[&[u8]]) -> Self {
                let mut hash = Sha256::new();
                hash.update(concat!("kta/id/", $prefix).as_bytes());
                for part in parts {
                    hash.update((part.len() as u64).to_be_bytes());
                    hash.update(part);
                }
                let digest = hash.finalize();
                let mut bytes = [0; 16];
                bytes.copy_from_slice(&digest[..16]);
                Self(bytes)
            }

            /// The id with these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The id's bytes, as they stand in keys and associated data.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str("_")?;
                hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                parse(text, $prefix).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// Somebody who acts: a person of the firm, an outside party or a service identity.
    ActorId = "act";
    /// A certificate of destruction.
    CertificateId = "crt";
    /// One message or web-form submission as it arrived.
    DeliveryId = "dlv";
    /// A document: one file in its succession of versions.
    DocumentId = "doc";
    /// A share of a document with somebody.
    GrantId = "grt";
    /// A legal hold.
    HoldId = "hld";
    /// An incident, a report of one, or a near miss.
    IncidentId = "inc";
    /// A unit of work in the outbox.
    JobId = "job";
    /// A matter: the firm's unit of work for its clients.
    MatterId = "mat";
    /// One admission by the gate.
    PermitId = "pmt";
    /// A known copy of personal data in some system.
    PlacementId = "plc";
    /// A record of sealed, classified fields about one data subject.
    RecordId = "rec";
    /// A data subject: one natural person.
    SubjectId = "sub";
    /// The firm itself; every key and row begins with it.
    TenantId = "ten";
    /// An ethical wall.
    WallId = "wal";
}

/// The caller's name for one repeatable effect: the same key twice is one effect.
///
/// Derived from ids and digests only, so that it may appear in a vendor's field or header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey([u8; 16]);

impl IdempotencyKey {
    /// The key of the step called `step` on the thing named by `parts`.
    #[must_use]
    pub fn derived(step: &str, parts: &[&[u8]]) -> Self {
        let mut all = Vec::with_capacity(parts.len() + 1);
        all.push(step.as_bytes());
        all.extend_from_slice(parts);
        Self(*JobId::derived(&all).as_bytes())
    }

    /// The key's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The job that carries the effect of this key.
    #[must_use]
    pub const fn job(&self) -> JobId {
        JobId(self.0)
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("idk_")?;
        hex(&self.0, f)
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A SHA-256 digest of content (FIPS 180-4), shown as 64 hexadecimal digits.
///
/// A digest of a whole file identifies it without telling what is in it; a digest of a short
/// personal value would be guessable and must be a keyed commitment instead.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `content`.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    /// A digest computed elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        unhex(text).map(Self).ok_or(BadId {
            expected: "sha-256",
        })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn parse(text: &str, prefix: &'static str) -> Result<[u8; 16], BadId> {
    text.strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('_'))
        .and_then(unhex)
        .ok_or(BadId { expected: prefix })
}

/// Writes bytes in lower-case hexadecimal. Ids stand in every audit entry and every sheet, so it
/// does not go through the formatter byte by byte.
fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let digits = b"0123456789abcdef";
    debug_assert!(bytes.len() <= 32, "longer than any id");
    let mut text = [0; 64];
    let mut filled = 0;
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = digits[usize::from(byte >> 4)];
        pair[1] = digits[usize::from(byte & 15)];
        filled += 2;
    }
    f.write_str(core::str::from_utf8(&text[..filled]).map_err(|_| fmt::Error)?)
}

/// Lower-case hexadecimal of exactly `N` bytes; upper case is refused, so that one id has one
/// text form.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_other_kinds_are_refused() {
        let subject = SubjectId::derived(&[b"invented"]);
        assert_eq!(subject.to_string().parse::<SubjectId>(), Ok(subject));
        assert_eq!(
            subject.to_string().parse::<MatterId>(),
            Err(BadId { expected: "mat" })
        );
        assert!(
            subject
                .to_string()
                .to_uppercase()
                .parse::<SubjectId>()
                .is_err()
        );
    }

    #[test]
    fn derived_ids_separate_their_parts() {
        assert_ne!(
            RecordId::derived(&[b"ab", b"c"]),
            RecordId::derived(&[b"a", b"bc"])
        );
        assert_ne!(
            RecordId::derived(&[b"ab"]).as_bytes(),
            DocumentId::derived(&[b"ab"]).as_bytes()
        );
    }
}
