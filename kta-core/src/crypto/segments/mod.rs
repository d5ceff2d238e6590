//! Large content, sealed in segments: constant memory, random access.
//!
//! | offset | bytes | what |
//! | ---: | ---: | --- |
//! | 0 | 1 | format version, `1` |
//! | 1 | 1 | suite: `2` is STREAM over AES-256-GCM-SIV in segments of 64 KiB |
//! | 2 | 4 | generation of the person's key, big-endian |
//! | 6 | 24 | salt, random for each sealing |
//! | 30 | 32 | key commitment |
//! | 62 | … | segments: 65,536 bytes of content encrypted, then 16 bytes of tag; the last one shorter |
//!
//! Key and commitment derive from the record key as in the [envelope](super::envelope), under
//! labels of their own and with the salt behind them, so that each content has a key of its own. Each segment is sealed under the
//! nonce of the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015): the last seven
//! bytes of the salt, the segment's number in four bytes, and whether it is the last. So a
//! segment opens only at its place in its own content: cut off, swapped, repeated or spliced
//! from elsewhere it is refused. The last segment is empty only when the content is.
//!
//! Each segment's associated data are the canonical bytes of the content's
//! [`SealContext`] and the generation. The length of content is not hidden: it is that of the
//! stored bytes less 62 and 16 a segment. One content holds at most 2^32 segments, 256 TiB.
//!
//! [`seal`] and [`open`] turn one stream of chunks into another and hold about two segments.
//! [`Segments`] opens any part of stored content, and knows the true length before it starts.

mod random;
mod stream;

pub use random::Segments;
pub use stream::{OpenStream, SealStream, open, seal};

use zeroize::Zeroizing;

use super::aead::Keyed;
use super::context::SealContext;
use super::derive::{Sealing, Use, same};
use super::envelope::{Head, TAG, write_head};
use super::keys::RecordKey;
use crate::error::{Fault, FaultKind, Port, Result};
use crate::refusal::Code;
use crate::time::Entropy;

/// Bytes of content in a segment.
pub const SEGMENT: usize = 64 * 1024;
/// Bytes of a stored segment that is full.
const STORED: usize = SEGMENT + TAG;
/// Bytes before the first segment.
pub const HEADER: usize = 62;
/// Bytes of salt.
const SALT: usize = 24;

/// The length in store of content of `length` bytes.
#[must_use]
pub const fn stored_length(length: u64) -> u64 {
    let segments = length.div_ceil(SEGMENT as u64);
    let segments = if segments == 0 { 1 } else { segments };
    length
        .saturating_add(HEADER as u64)
        .saturating_add(segments.saturating_mul(TAG as u64))
}

/// The keyed cipher of one content.
struct Cipher {
    cipher: Box<dyn Keyed>,
    prefix: [u8; 7],
    associated: Vec<u8>,
}

impl Cipher {
    /// A fresh one with the header to write before its segments.
    fn fresh(
        key: &RecordKey,
        context: &SealContext<'_>,
        entropy: &dyn Entropy,
    ) -> Result<(Self, Vec<u8>)> {
        key.admits(context)?;
        let mut salt = [0; SALT];
        entropy.fill(&mut salt);
        let sealing = Sealing::derive(&key.prk, &CONTENT, &salt);
        let mut header = Vec::with_capacity(HEADER);
        write_head(
            &mut header,
            SUITE,
            key.generation(),
            &salt,
            &sealing.commitment,
        );
        Ok((Self::keyed(key, context, sealing, &salt), header))
    }

    /// The one that a header names.
    fn named(key: &RecordKey, context: &SealContext<'_>, header: &[u8; HEADER]) -> Result<Self> {
        key.admits(context)?;
        let mut padded = [0; HEADER + TAG];
        padded[..HEADER].copy_from_slice(header);
        let head = Head::<SALT>::read(&padded, SUITE)?;
        let key = key.of_generation(head.generation)?;
        let sealing = Sealing::derive(&key.prk, &CONTENT, head.drawn);
        if !same(&*sealing.commitment, head.commitment) {
            return Err(Code::CrySwap.into());
        }
        Ok(Self::keyed(key, context, sealing, head.drawn))
    }

    fn keyed(
        key: &RecordKey,
        context: &SealContext<'_>,
        sealing: Sealing,
        salt: &[u8; SALT],
    ) -> Self {
        let mut prefix = [0; 7];
        prefix.copy_from_slice(&salt[SALT - 7..]);
        let mut associated = context.to_bytes();
        associated.extend_from_slice(&key.generation().to_be_bytes());
        Self {
            cipher: sealing.cipher,
            prefix,
            associated,
        }
    }

    /// The nonce of the STREAM construction.
    fn nonce(&self, number: u32, last: bool) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..7].copy_from_slice(&self.prefix);
        nonce[7..11].copy_from_slice(&number.to_be_bytes());
        nonce[11] = u8::from(last);
        nonce
    }

    /// Encrypts one segment where it stands and appends its tag.
    fn seal(&self, number: u32, last: bool, segment: &mut Vec<u8>) -> Result<()> {
        let nonce = self.nonce(number, last);
        let tag = self
            .cipher
            .seal_in_place(&nonce, &self.associated, segment)?;
        segment.extend_from_slice(&tag);
        Ok(())
    }

    /// Decrypts one segment where it stands and removes its tag.
    fn open(&self, number: u32, last: bool, mut segment: Vec<u8>) -> Result<Zeroizing<Vec<u8>>> {
        let (body, tag) = segment.split_last_chunk_mut::<TAG>().ok_or(Code::CrySwap)?;
        let nonce = self.nonce(number, last);
        self.cipher
            .open_in_place(&nonce, &self.associated, body, tag)?;
        let content = body.len();
        segment.truncate(content);
        if last && number > 0 && segment.is_empty() {
            return Err(Code::CrySwap.into());
        }
        Ok(Zeroizing::new(segment))
    }
}

/// The number of the segment after `number`.
fn after(number: u32) -> Result<u32> {
    number.checked_add(1).ok_or_else(|| {
        Fault::new(FaultKind::Unsupported, Port::Blobs, "seal")
            .because("content of more than 2^32 segments")
            .into()
    })
}

const CONTENT: Use = Use {
    key: b"kta1 content key",
    commitment: b"kta1 content commitment",
};
const SUITE: u8 = 2;

#[cfg(test)]
mod tests;
