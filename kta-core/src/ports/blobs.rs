//! Sealed bytes by id: quarantine, archives, the firm's own copies of documents.

use async_trait::async_trait;

use crate::error::Result;
use crate::id::{Digest, DocumentId, SubjectId, TenantId};
use crate::pii::{Category, ContentStream};
use crate::policy::{Act, Permit};
use crate::refusal::{Code, Refusal};

/// Where a blob lives: tenant first, then data subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId {
    /// The firm.
    pub tenant: TenantId,
    /// Whose data it is.
    pub subject: SubjectId,
    /// The document whose sealed bytes it holds.
    pub document: DocumentId,
}

impl BlobId {
    /// The acts under which blobs are put.
    pub const HANDLING: &'static [Act] = Act::ON_CONTENT;

    /// The acts under which blobs are read: those, and sealing anew.
    pub const READING: &'static [Act] = &{
        let mut all = [Act::Rekey; Act::ON_CONTENT.len() + 1];
        let mut at = 0;
        while at < Act::ON_CONTENT.len() {
            all[at] = Act::ON_CONTENT[at];
            at += 1;
        }
        all
    };

    /// The acts under which blobs are removed.
    pub const REMOVING: &'static [Act] = &[Act::Destroy];

    /// The act under which blobs are replaced where they are.
    pub const REPLACING: &'static [Act] = &[Act::Rekey];

    /// Checks that `permit` is for one of `acts` and covers the blob's person. A blob is
    /// ciphertext and tells no category; opening it checks that. Sealing anew is for everybody,
    /// so that where it is among `acts` a permit for it covers whom it does not name.
    ///
    /// # Errors
    /// [`Code::AclDeny`] when it does not; [`Code::DstHold`] for the removal of what is held.
    pub fn admit(&self, acts: &[Act], permit: &Permit<'_>) -> Result<(), Refusal> {
        if acts == Self::REMOVING {
            // Its id does not tell the matter, so that a hold on any of the person's counts.
            permit.require_unheld(self.subject)?;
        }
        let covers = |category: &Category| permit.require(acts, self.subject, *category).is_ok();
        let rekeys = acts.contains(&Act::Rekey) && permit.require_act(&[Act::Rekey]).is_ok();
        if permit.tenant() == self.tenant && (rekeys || Category::ALL.iter().any(covers)) {
            Ok(())
        } else {
            Err(Refusal::new(Code::AclDeny).about("permit", permit.id()))
        }
    }
}

/// Storage of sealed bytes. What comes in is ciphertext already; the adapter never sees more.
///
/// # Behavior
/// - What was put comes back byte for byte; a second put of the same id replaces the first
///   whole or not at all.
/// - A stream that breaks off leaves what was there before.
/// - What was removed is not found; removing it again is no error.
/// - Replacing a blob that is not there, or that is removed before the new bytes take its place,
///   is [`NotFound`](crate::error::FaultKind::NotFound) and brings nothing back.
/// - Memory does not grow with the size of a blob.
/// - A permit that does not cover the person, or is for another act, is refused.
#[async_trait]
pub trait Blobs: core::fmt::Debug + Send + Sync {
    /// Stores a stream of sealed bytes; gives its length and digest as stored.
    ///
    /// # Errors
    /// `ACL-DENY` when the permit does not cover the person, is for another act, of another firm
    /// or has ended; the error of a stream that breaks off; faults of the storage. It may be put
    /// again after any fault.
    async fn put(
        &self,
        id: &BlobId,
        sealed: ContentStream,
        permit: &Permit<'_>,
    ) -> Result<(u64, Digest)>;

    /// As [`put`](Self::put), only where there is a blob still when the new bytes take its place;
    /// for sealing anew ([`Act::Rekey`]), which may not bring back what was erased meanwhile.
    ///
    /// # Errors
    /// As [`put`](Self::put); [`NotFound`](crate::error::FaultKind::NotFound) when there is no
    /// blob any more, `Conflict` where the storage saw another writer in between, `Unsupported`
    /// where it cannot replace a blob of this length without bringing one back.
    async fn replace(
        &self,
        id: &BlobId,
        sealed: ContentStream,
        permit: &Permit<'_>,
    ) -> Result<(u64, Digest)>;

    /// The sealed bytes, or [`NotFound`](crate::error::FaultKind::NotFound).
    ///
    /// # Errors
    /// `ACL-DENY` as for [`put`](Self::put), `NotFound`; faults of the storage, in the stream too.
    async fn stream(&self, id: &BlobId, permit: &Permit<'_>) -> Result<ContentStream>;

    /// Removes the blob.
    ///
    /// # Errors
    /// `ACL-DENY` as for [`put`](Self::put), `DST-HOLD` when anything of the person is held,
    /// `DST-RESIDUE` where the storage keeps a copy locked; faults of the storage. It may be
    /// called again after any fault.
    async fn remove(&self, id: &BlobId, permit: &Permit<'_>) -> Result<()>;

    /// Whether the blob is there.
    ///
    /// # Errors
    /// Faults of the storage.
    async fn contains(&self, id: &BlobId) -> Result<bool>;
}
