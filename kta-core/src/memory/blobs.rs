//! Sealed bytes in memory.

use core::fmt;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt as _;

use crate::error::{Fault, FaultKind, Port, Result};
use crate::id::Digest;
use crate::pii::ContentStream;
use crate::policy::Permit;
use crate::ports::blobs::{BlobId, Blobs};

/// [`Blobs`] in memory, for tests and examples. Clones are handles to one place.
#[derive(Clone, Default)]
pub struct MemoryBlobs {
    blobs: Arc<Mutex<BTreeMap<BlobId, Bytes>>>,
}

impl MemoryBlobs {
    /// No blobs yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every blob as it is stored, for tests that look for what must not be there.
    #[must_use]
    pub fn stored(&self) -> Vec<(BlobId, Bytes)> {
        self.locked()
            .iter()
            .map(|(id, bytes)| (*id, bytes.clone()))
            .collect()
    }

    pub(super) fn take(&self, id: &BlobId) -> Option<Bytes> {
        self.locked().remove(id)
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<BlobId, Bytes>> {
        // One insertion or removal is the whole change, so a poisoned map is whole.
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Blobs for MemoryBlobs {
    async fn put(
        &self,
        id: &BlobId,
        sealed: ContentStream,
        permit: &Permit<'_>,
    ) -> Result<(u64, Digest)> {
        id.admit(BlobId::HANDLING, permit)?;
        let all = whole(sealed).await?;
        let stored = (all.len() as u64, Digest::of(&all));
        self.locked().insert(*id, all);
        Ok(stored)
    }

    async fn replace(
        &self,
        id: &BlobId,
        sealed: ContentStream,
        permit: &Permit<'_>,
    ) -> Result<(u64, Digest)> {
        id.admit(BlobId::REPLACING, permit)?;
        let all = whole(sealed).await?;
        let stored = (all.len() as u64, Digest::of(&all));
        let absent = Fault::new(FaultKind::NotFound, Port::Blobs, "replace");
        *self.locked().get_mut(id).ok_or(absent)? = all;
        Ok(stored)
    }

    async fn stream(&self, id: &BlobId, permit: &Permit<'_>) -> Result<ContentStream> {
        id.admit(BlobId::READING, permit)?;
        let bytes = self.locked().get(id).cloned();
        let mut rest = bytes.ok_or(Fault::new(FaultKind::NotFound, Port::Blobs, "stream"))?;
        // In pieces, so that whoever reads must be able to go on after the first.
        let pieces = core::iter::from_fn(move || {
            (!rest.is_empty()).then(|| Ok(rest.split_to(rest.len().min(PIECE))))
        });
        Ok(Box::pin(futures_util::stream::iter(pieces)))
    }

    async fn remove(&self, id: &BlobId, permit: &Permit<'_>) -> Result<()> {
        id.admit(BlobId::REMOVING, permit)?;
        self.take(id);
        Ok(())
    }

    async fn contains(&self, id: &BlobId) -> Result<bool> {
        Ok(self.locked().contains_key(id))
    }
}

async fn whole(mut sealed: ContentStream) -> Result<Bytes> {
    let mut all = Vec::new();
    while let Some(chunk) = sealed.try_next().await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all.into())
}

impl fmt::Debug for MemoryBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryBlobs({} blobs)", self.locked().len())
    }
}

/// Length of a piece in bytes; odd, so that nobody can rely on it.
const PIECE: usize = 40_001;
