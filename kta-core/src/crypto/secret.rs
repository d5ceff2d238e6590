//! Key bytes in memory: on the heap, wiped when dropped, compared in constant time, never shown.

use core::fmt;

use secrecy::{ExposeSecret as _, SecretBox};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

use crate::time::Entropy;

/// A 256-bit key.
///
/// Its bytes live in one heap allocation that is wiped on drop; moving the key moves a pointer
/// and leaves no copy behind. It has no `Clone`, no serialised form and no telling `Debug`.
///
/// What wiping cannot reach: registers and stack slots that the compiler used on the way, pages
/// that the operating system swapped out or wrote to a core dump. Turn both off where this runs.
///
/// ```
/// use kta_core::crypto::SecretKey;
/// let key = SecretKey::from_bytes([7; 32]);
/// assert_eq!(format!("{key:?}"), "SecretKey(..)");
/// ```
pub struct SecretKey(SecretBox<[u8; Self::LENGTH]>);

impl SecretKey {
    /// Length in bytes.
    pub const LENGTH: usize = 32;

    /// Draws a fresh key.
    #[must_use]
    pub fn random(entropy: &dyn Entropy) -> Self {
        Self(SecretBox::init_with_mut(
            |bytes: &mut [u8; Self::LENGTH]| entropy.fill(bytes),
        ))
    }

    /// The key with these bytes; this function wipes its own copy of them.
    #[must_use]
    pub fn from_bytes(mut bytes: [u8; Self::LENGTH]) -> Self {
        let key = Self::copied(&bytes);
        bytes.zeroize();
        key
    }

    /// The key in `bytes`, when there are exactly [`LENGTH`](Self::LENGTH) of them. The caller
    /// wipes the slice.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::copied)
    }

    /// The bytes, for a custodian that wraps them or a cipher that uses them.
    #[must_use]
    pub fn expose(&self) -> &[u8; Self::LENGTH] {
        self.0.expose_secret()
    }

    fn copied(bytes: &[u8; Self::LENGTH]) -> Self {
        Self(SecretBox::init_with_mut(
            |target: &mut [u8; Self::LENGTH]| {
                target.copy_from_slice(bytes);
            },
        ))
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for SecretKey {}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::testing::{Counted, memory_at};

    #[test]
    fn a_key_is_equal_to_itself_only() {
        let entropy = Counted::new(1);
        let (one, other) = (SecretKey::random(&entropy), SecretKey::random(&entropy));
        assert_ne!(one, other);
        assert_eq!(one, SecretKey::from_bytes(*one.expose()));
        assert!(SecretKey::from_slice(&[0; 31]).is_none());
    }

    #[test]
    fn debug_says_nothing_about_the_bytes() {
        let shown = format!("{:?}", SecretKey::from_bytes([0xA5; 32]));
        assert!(!shown.contains("165") && !shown.to_lowercase().contains("a5"));
    }

    #[test]
    fn a_dropped_key_is_gone_from_memory() {
        let key = SecretKey::random(&Counted::new(2));
        let bytes = *key.expose();
        let address = key.expose().as_ptr() as usize;
        let Some(before) = memory_at(address, 32) else {
            println!("skipped: this system does not let a process read its own memory as a file");
            return;
        };
        assert_eq!(before, bytes, "the key stands where it is said to stand");
        drop(key);
        // The allocation was returned, so its first words may now be the allocator's own; no
        // eight bytes of the key may be left anywhere in it.
        if let Some(after) = memory_at(address, 32) {
            assert!(
                !bytes
                    .windows(8)
                    .any(|part| after.windows(8).any(|left| left == part))
            );
        }
    }
}
