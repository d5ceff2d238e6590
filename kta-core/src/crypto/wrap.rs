//! A key wrapped under another, in the written format of the [envelope](super::envelope).
//!
//! The 32 bytes are sealed without padding and with generation 0, under labels of their own:
//! 98 bytes in all. The context says what the wrapped key is and where it stands in the tree.

use super::derive::{Prk, Sealing, WRAP};
use super::envelope::{NONCE, open, seal};
use super::secret::SecretKey;
use crate::error::Result;
use crate::ports::kms::WrappedKey;
use crate::refusal::Code;
use crate::time::Entropy;

/// Wraps `secret` under `key`, bound to `context`: for custodians that hold their root keys as
/// bytes (the local keyring, the one in memory).
///
/// # Errors
/// A fault for a context longer than 2^36 bytes.
pub fn wrap(
    key: &SecretKey,
    secret: &SecretKey,
    context: &[u8],
    entropy: &dyn Entropy,
) -> Result<WrappedKey> {
    wrap_under(&Prk::extract(key), secret, context.to_vec(), entropy)
}

/// Unwraps what [`wrap`] made under the same key and context.
///
/// # Errors
/// [`Code::CrySwap`] when they do not belong together, [`Code::CryKey`] for a format that is not
/// known here.
pub fn unwrap(key: &SecretKey, wrapped: &WrappedKey, context: &[u8]) -> Result<SecretKey> {
    unwrap_under(&Prk::extract(key), wrapped, context.to_vec())
}

pub(super) fn wrap_under(
    key: &Prk,
    secret: &SecretKey,
    context: Vec<u8>,
    entropy: &dyn Entropy,
) -> Result<WrappedKey> {
    let mut nonce = [0; NONCE];
    entropy.fill_public(&mut nonce);
    let sealing = Sealing::derive(key, &WRAP, &[]);
    seal(&sealing, 0, context, secret.expose(), None, &nonce).map(WrappedKey::from_bytes)
}

pub(super) fn unwrap_under(key: &Prk, wrapped: &WrappedKey, context: Vec<u8>) -> Result<SecretKey> {
    let sealing = Sealing::derive(key, &WRAP, &[]);
    let opened = open(&sealing, 0, context, wrapped.as_bytes())?;
    SecretKey::from_slice(&opened).ok_or_else(|| Code::CrySwap.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::testing::Counted;

    #[test]
    fn a_key_unwraps_under_its_key_and_context_only() {
        let entropy = Counted::new(1);
        let (kek, secret) = (SecretKey::random(&entropy), SecretKey::random(&entropy));
        let wrapped = wrap(&kek, &secret, b"branch 7", &entropy).unwrap();
        assert_eq!(unwrap(&kek, &wrapped, b"branch 7"), Ok(secret));
        let refused = Err(Code::CrySwap.into());
        assert_eq!(unwrap(&kek, &wrapped, b"branch 8"), refused);
        assert_eq!(
            unwrap(&SecretKey::random(&entropy), &wrapped, b"branch 7"),
            refused
        );
        for position in 6..wrapped.as_bytes().len() {
            let mut changed = wrapped.as_bytes().to_vec();
            changed[position] ^= 1;
            assert_eq!(
                unwrap(&kek, &WrappedKey::from_bytes(changed), b"branch 7"),
                refused
            );
        }
        let short = WrappedKey::from_bytes(wrapped.as_bytes()[..97].to_vec());
        assert_eq!(unwrap(&kek, &short, b"branch 7"), refused);
    }
}
