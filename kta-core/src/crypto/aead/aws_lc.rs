//! The cipher a second time: AWS-LC, through `aws-lc-rs`.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;

use super::{Aead, SUITE};
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

    fn seal_in_place(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 12],
        associated: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; 16]> {
        let sealed = keyed(key).and_then(|key| {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            key.seal_in_place_separate_tag(nonce, Aad::from(associated), buffer)
        });
        let tag = sealed.ok().and_then(|tag| tag.as_ref().try_into().ok());
        tag.ok_or_else(|| {
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
        let opened = keyed(key).and_then(|key| {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            key.open_in_place_separate_tag(nonce, Aad::from(associated), tag, buffer)
                .map(|_| ())
        });
        opened.map_err(|_| {
            // It does so itself; that is not part of what `aws-lc-rs` promises.
            buffer.fill(0);
            Code::CrySwap.into()
        })
    }
}

fn keyed(key: &[u8; 32]) -> Result<LessSafeKey, Unspecified> {
    UnboundKey::new(&AES_256_GCM_SIV, key).map(LessSafeKey::new)
}
