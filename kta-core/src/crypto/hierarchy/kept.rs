//! People's keys that are kept for the next value, for as long as the table stays as it was.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::super::index::IndexKey;
use super::super::keys::SubjectKey;
use super::Hierarchy;
use crate::error::Result;
use crate::id::SubjectId;

/// Keys of people as the table had them at one revision.
///
/// ```text
///   key of a person? ── revision of the table (one row) ── the same ──► kept key
///                                                       └─ another ──► all are wiped, then
///                                                          read, unwrapped and kept anew
/// ```
///
/// What is kept never outlives a change of the table for anybody who asks: an erasure, a rotation
/// or another process's enrolment raise the revision. One's own enrolment changes nobody else's
/// key, so that it adds to what is kept. A process that asks no more holds what it held until
/// [`Hierarchy::forget`].
#[derive(Default)]
pub(super) struct Kept(RwLock<OfRevision>);

#[derive(Default)]
struct OfRevision {
    revision: Option<u64>,
    keys: HashMap<SubjectId, Arc<SubjectKey>>,
    index: Option<Arc<IndexKey>>,
}

impl Kept {
    fn find(&self, revision: u64, subject: SubjectId) -> Option<Arc<SubjectKey>> {
        // A change is one step under the lock, so a poisoned one is whole.
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let current = kept.revision == Some(revision);
        current.then(|| kept.keys.get(&subject).cloned()).flatten()
    }

    /// Keeps a key that was read at this revision.
    fn keep(&self, revision: u64, key: &Arc<SubjectKey>) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kept.follow(revision);
        // What was read before the last change may be what that change removed.
        if kept.revision == Some(revision) {
            kept.insert(Arc::clone(key));
        }
    }

    /// Keeps the keys of people who were added by the one commit that led from `before` to
    /// `after`, beside those that were there at `before`.
    pub(super) fn grow(&self, before: u64, after: u64, keys: Vec<Arc<SubjectKey>>) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if kept.revision == Some(before) {
            kept.revision = Some(after);
        }
        kept.follow(after);
        if kept.revision == Some(after) {
            for key in keys {
                kept.insert(key);
            }
        }
    }

    fn find_index(&self, revision: u64) -> Option<Arc<IndexKey>> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let current = kept.revision == Some(revision);
        current.then(|| kept.index.clone()).flatten()
    }

    /// Keeps the newest index key as it was read at this revision.
    fn keep_index(&self, revision: u64, key: &Arc<IndexKey>) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kept.follow(revision);
        if kept.revision == Some(revision) {
            kept.index = Some(Arc::clone(key));
        }
    }

    /// Wipes what is of an earlier revision.
    pub(super) fn only(&self, revision: u64) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kept.follow(revision);
    }

    pub(super) fn forget(&self) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // The revision stays: what a call under way read before it is not kept again.
        *kept = OfRevision {
            revision: kept.revision,
            ..OfRevision::default()
        };
    }
}

impl OfRevision {
    fn insert(&mut self, key: Arc<SubjectKey>) {
        if self.keys.len() >= KEPT {
            self.keys.clear();
        }
        self.keys.insert(key.subject(), key);
    }

    fn follow(&mut self, revision: u64) {
        if self.revision < Some(revision) {
            *self = Self {
                revision: Some(revision),
                ..Self::default()
            };
        }
    }
}

impl Hierarchy {
    /// The newest index key, kept for the next time while the table does not change.
    ///
    /// # Errors
    /// As [`index_key`](Self::index_key).
    pub(crate) async fn kept_index_key(&self) -> Result<Arc<IndexKey>> {
        if let Some(revision) = self.table.revision(self.tenant).await? {
            if let Some(key) = self.kept.find_index(revision) {
                return Ok(key);
            }
            self.kept.only(revision);
        }
        let (revision, key) = self.read_index_key().await?;
        let key = Arc::new(key);
        self.kept.keep_index(revision, &key);
        Ok(key)
    }

    /// The person's key, kept for the next time while the table does not change.
    ///
    /// # Errors
    /// As [`subject_key`](Self::subject_key).
    pub(crate) async fn kept_key(&self, subject: SubjectId) -> Result<Arc<SubjectKey>> {
        if let Some(revision) = self.table.revision(self.tenant).await? {
            if let Some(key) = self.kept.find(revision, subject) {
                return Ok(key);
            }
            self.kept.only(revision);
        }
        let (revision, key) = self.read_key(subject).await?;
        let key = Arc::new(key);
        self.kept.keep(revision, &key);
        Ok(key)
    }
}

/// Of how many people keys are kept: some forty megabytes of them.
const KEPT: usize = 1 << 17;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SecretKey;
    use crate::id::TenantId;

    fn key(of: u8) -> Arc<SubjectKey> {
        let (tenant, subject) = (
            TenantId::from_bytes([1; 16]),
            SubjectId::from_bytes([of; 16]),
        );
        Arc::new(SubjectKey::new(
            tenant,
            subject,
            1,
            &SecretKey::from_bytes([of; 32]),
        ))
    }

    #[test]
    fn a_key_is_found_at_the_revision_at_which_it_was_read_and_at_no_other() {
        let kept = Kept::default();
        kept.keep(5, &key(1));
        assert!(kept.find(5, key(1).subject()).is_some());
        assert!(kept.find(4, key(1).subject()).is_none());
        assert!(kept.find(6, key(1).subject()).is_none());
        assert!(kept.find(5, key(2).subject()).is_none());
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let kept = Kept::default();
        kept.keep(6, &key(2));
        kept.keep(5, &key(1));
        assert!(kept.find(5, key(1).subject()).is_none());
        assert!(kept.find(6, key(1).subject()).is_none());
        kept.keep(7, &key(3));
        assert!(kept.find(7, key(2).subject()).is_none());
    }

    #[test]
    fn an_enrolment_of_ones_own_adds_and_one_after_another_change_wipes() {
        let kept = Kept::default();
        kept.keep(5, &key(1));
        kept.grow(5, 6, vec![key(2)]);
        for of in [1, 2] {
            assert!(kept.find(6, key(of).subject()).is_some());
            assert!(kept.find(5, key(of).subject()).is_none());
        }
        // Somebody else's commit came between.
        kept.grow(7, 8, vec![key(3)]);
        assert!(kept.find(8, key(1).subject()).is_none());
        assert!(kept.find(8, key(3).subject()).is_some());
        // What was known of a later revision is not set back.
        kept.grow(6, 7, vec![key(4)]);
        assert!(kept.find(7, key(4).subject()).is_none());
        assert!(kept.find(8, key(3).subject()).is_some());
    }

    #[test]
    fn a_change_of_the_table_wipes_every_key_that_was_kept() {
        let kept = Kept::default();
        let (one, other) = (key(1), key(2));
        kept.keep(5, &one);
        kept.keep(5, &other);
        kept.only(5);
        assert_eq!((Arc::strong_count(&one), Arc::strong_count(&other)), (2, 2));
        kept.only(6);
        assert_eq!((Arc::strong_count(&one), Arc::strong_count(&other)), (1, 1));
        kept.keep(6, &one);
        kept.forget();
        assert_eq!(Arc::strong_count(&one), 1);
        // A call that read it before the change comes late.
        kept.keep(5, &one);
        assert_eq!(Arc::strong_count(&one), 1);
    }
}
