//! The cipher a second time: AWS-LC, through `aws-lc-rs`.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};

use core::fmt;

use super::{Aead, Keyed, SUITE};
use crate::error::{Fault, FaultKind, Port, Result};
use crate::refusal::Code;

/// AES-256-GCM-SIV by AWS-LC. Its key lives in one allocation of AWS-LC's own, which wipes what
/// it frees.
///
/// GCM-SIV is no mode that NIST approved, so no build of this is a FIPS-validated one.
#[derive(Clone, Copy, Debug, Default)]
pub struct AwsLcGcmSiv256;

impl Aead for AwsLcGcmSiv256 {
    fn suite(&self) -> u8 {
        SUITE
    }

    fn keyed(&self, key: &[u8; 32]) -> Box<dyn Keyed> {
        // Proof: the only errors are a key of another length, and memory that cannot be had.
        let key = UnboundKey::new(&AES_256_GCM_SIV, key).expect("32 bytes are a key");
        Box::new(Expanded(LessSafeKey::new(key)))
    }
}

struct Expanded(LessSafeKey);

impl Keyed for Expanded {
    fn seal_in_place(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; 16]> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(associated);
        let sealed = self.0.seal_in_place_separate_tag(nonce, aad, buffer);
        let tag = sealed.ok().and_then(|tag| tag.as_ref().try_into().ok());
        tag.ok_or_else(|| {
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
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(associated);
        let opened = self.0.open_in_place_separate_tag(nonce, aad, tag, buffer);
        opened.map(drop).map_err(|_| {
            // It does so itself; that is not part of what `aws-lc-rs` promises.
            buffer.fill(0);
            Code::CrySwap.into()
        })
    }
}

impl fmt::Debug for Expanded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyed(..)")
    }
}
