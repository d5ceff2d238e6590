//! Stateful loopback servers that speak the custodians' protocols, for tests and demonstrations.
//!
//! Written from the vendors' public documents, and strict where a test must be: a disabled, a
//! deleted and a waiting key refuse, a signature is computed again, check-and-set checks. Where
//! a vendor is surprisingly lenient, so is its emulator: Vault makes a missing key anew when it
//! is asked to encrypt, and Azure lets a disabled key wrap.
//!
//! What they are not: keys here are 32 bytes in memory and no RSA is computed, so what the
//! Azure emulator wraps has the form of `RSA-OAEP-256` and is opened by itself only.

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
mod faults;
mod serve;
#[cfg(feature = "vault")]
mod vault;

#[cfg(feature = "aws")]
pub use aws::AwsEmulator;
#[cfg(feature = "azure")]
pub use azure::{AzureEmulator, AzureOptions};
pub use faults::{Exchange, Failure};
#[cfg(feature = "vault")]
pub use vault::VaultEmulator;

use std::time::SystemTime;

use chrono::TimeDelta;
use kta_core::crypto::SecretKey;
use kta_core::crypto::aead::{Aead as _, AesGcmSiv256};
use kta_core::time::{Entropy as _, Timestamp};

use crate::OsEntropy;

/// The emulated vendor's time: the machine's, moved by as much as a test says.
#[derive(Clone, Copy, Debug, Default)]
struct Clock(TimeDelta);

impl Clock {
    fn now(self) -> Timestamp {
        Timestamp::from(SystemTime::now()) + self.0
    }
}

/// Key material of an emulated key.
struct Material(SecretKey);

impl Material {
    fn fresh() -> Self {
        Self(SecretKey::random(&OsEntropy))
    }

    /// Nonce, ciphertext and tag.
    fn seal(&self, plain: &[u8], associated: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE];
        OsEntropy.fill(&mut nonce);
        let mut sealed = plain.to_vec();
        let tag = AesGcmSiv256
            .keyed(self.0.expose())
            .seal_in_place(&nonce, associated, &mut sealed)
            .ok()?;
        Some([&nonce[..], &sealed, &tag].concat())
    }

    fn open(&self, sealed: &[u8], associated: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>()?;
        let (plain, tag) = rest.split_last_chunk::<16>()?;
        let mut plain = plain.to_vec();
        let opened = AesGcmSiv256
            .keyed(self.0.expose())
            .open_in_place(nonce, associated, &mut plain, tag);
        opened.is_ok().then_some(plain)
    }
}

/// So many random hexadecimal digits (an even number, 64 at most).
fn hex(digits: usize) -> String {
    let mut bytes = [0; 32];
    OsEntropy.fill(&mut bytes);
    bytes[..digits / 2]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

const NONCE: usize = 12;
