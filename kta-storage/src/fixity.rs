//! Whether a stored blob is what the register says.

use futures_util::TryStreamExt as _;
use kta_core::id::Digest;
use kta_core::policy::Permit;
use kta_core::ports::blobs::{BlobId, Blobs};
use kta_core::{FaultKind, Result};
use sha2::{Digest as _, Sha256};

/// What a fixity check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixity {
    /// As long as it should be, and other bytes.
    Altered {
        /// SHA-256 of the bytes that are there.
        found: Digest,
    },
    /// More bytes than there should be. Reading stops there.
    Longer,
    /// Not there.
    Missing,
    /// Fewer bytes than there should be.
    Shorter {
        /// How many there are.
        length: u64,
    },
    /// The length and the digest that the register says.
    Sound,
}

impl Fixity {
    /// Whether all is well.
    #[must_use]
    pub fn is_sound(self) -> bool {
        self == Self::Sound
    }

    /// Reads a blob back, piece by piece, and compares it with the length and digest that
    /// [`Blobs::put`] gave when it was stored.
    ///
    /// ```no_run
    /// # use kta_core::{Result, id::Digest, policy::Permit, ports::blobs::{BlobId, Blobs}};
    /// # use kta_storage::Fixity;
    /// # async fn audit(blobs: &dyn Blobs, id: &BlobId, put: (u64, Digest), permit: &Permit<'_>)
    /// # -> Result<()> {
    /// match Fixity::check(blobs, id, put, permit).await? {
    ///     Fixity::Sound => {}
    ///     finding => panic!("{finding:?}: restore it from the other copy"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Refusals and faults of [`Blobs::stream`], but for a blob that is not there.
    pub async fn check(
        blobs: &dyn Blobs,
        id: &BlobId,
        (length, digest): (u64, Digest),
        permit: &Permit<'_>,
    ) -> Result<Self> {
        let mut stream = match blobs.stream(id, permit).await {
            Ok(stream) => stream,
            Err(error) => {
                return match error.fault().map(kta_core::Fault::kind) {
                    Some(FaultKind::NotFound) => Ok(Self::Missing),
                    _ => Err(error),
                };
            }
        };
        let (mut hash, mut read) = (Sha256::new(), 0_u64);
        while let Some(chunk) = stream.try_next().await? {
            read = read.saturating_add(chunk.len() as u64);
            if read > length {
                return Ok(Self::Longer);
            }
            hash.update(&chunk);
        }
        let found = Digest::from_bytes(hash.finalize().into());
        Ok(if read < length {
            Self::Shorter { length: read }
        } else if found == digest {
            Self::Sound
        } else {
            Self::Altered { found }
        })
    }
}
