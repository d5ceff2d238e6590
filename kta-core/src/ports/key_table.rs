//! The table of wrapped keys: its own file or database, apart from the records.

use core::fmt;
use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::kms::{KekDestroyed, KekId, WrappedKey};
use crate::audit::Label;
use crate::crypto::IndexPlan;
use crate::error::Result;
use crate::id::{Digest, SubjectId, TenantId};
use crate::time::Timestamp;

/// Keeps the wrapped keys of every tenant: the epoch key, the branch keys below it, the subject
/// keys below those, and a tombstone for each person whose key was destroyed.
///
/// It is stored apart from the records and backed up apart from them, for a short time: a
/// backup of the records alone opens nothing, and one of the table alone holds nothing. After an
/// erasure older backups of the table are of no use to anybody, so take a new one then.
///
/// The table knows nothing of cryptography: it stores rows and answers for their atomicity. What
/// residue of removed bytes its medium keeps, and until when, each adapter states.
///
/// # Behavior
/// - `read` answers all that was wanted from one moment: no commit shows in half of it.
/// - `revision` answers that of the last commit that was answered, whoever made it.
/// - An unknown tenant reads as no head and no rows; one tenant's rows never show in another's.
/// - `Wanted::Subject` gives the person's row with every branch above it, or the tombstone.
/// - `Wanted::Children` gives exactly the rows whose parent is the node: branches, or, below
///   the lowest branches, subjects.
/// - `commit` takes effect wholly or not at all, and is durable when it returns.
/// - `commit` with an expected revision that is not the present one is a `Conflict` without
///   effect; so is `expected: None` for a tenant that exists, and of two concurrent commits
///   that expect the same revision exactly one succeeds.
/// - A commit raises the revision by one, whatever it changes.
/// - A tombstone removes the person's row from the table.
/// - A row keeps the person's former key beside the present one, until a commit drops it.
/// - A tombstone is never removed, and a row for a person who has one is refused with
///   [`Code::CryErased`](crate::refusal::Code::CryErased), without effect.
/// - `destroyed` evidence is added to every tombstone that names its KEK.
/// - Instants are kept to the millisecond.
/// - `copies` lists every declared copy; declaring one again (same thing, same holder) updates
///   it.
#[async_trait]
pub trait KeyTable: fmt::Debug + Send + Sync {
    /// Reads rows of one tenant, all from one moment.
    ///
    /// # Errors
    /// Faults of the store.
    async fn read(&self, tenant: TenantId, wanted: &[Wanted]) -> Result<KeyRows>;

    /// The revision of one tenant's rows, `None` for an unknown tenant: for whoever keeps what was
    /// read and asks before each use whether it is still so. An adapter that can answer without
    /// reading the head does.
    ///
    /// # Errors
    /// Faults of the store.
    async fn revision(&self, tenant: TenantId) -> Result<Option<u64>> {
        let rows = self.read(tenant, &[]).await?;
        Ok(rows.head.map(|head| head.revision))
    }

    /// Changes rows of one tenant and answers the new revision.
    ///
    /// # Errors
    /// `Conflict` when the expected revision is not the present one, `CRY-ERASED` for a row of
    /// an erased person; faults of the store.
    async fn commit(&self, change: KeyChange) -> Result<u64>;

    /// The declared copies of keys, destroyed or not.
    ///
    /// # Errors
    /// Faults of the store.
    async fn copies(&self, tenant: TenantId) -> Result<Vec<KeyCopy>>;
}

/// A place in the tree of branch keys.
///
/// The root is the epoch key. Node `(level, index)` has the children `(level + 1, index × F)`
/// to `(level + 1, index × F + F − 1)`, where `F` is the tenant's [fan-out](KeyHead::fan_out);
/// the children of the lowest branches are subjects, by their [slot](SubjectRow::slot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId {
    /// 0 for the root, up to [`NodeId::LOWEST`].
    pub level: u8,
    /// Position among the nodes of its level, counted from the left.
    pub index: u32,
}

impl NodeId {
    /// The level of the branches whose children are subjects.
    pub const LOWEST: u8 = 2;
    /// The place of the epoch key.
    pub const ROOT: Self = Self { level: 0, index: 0 };

    /// The branches above the subject at `slot`, from the top down, without the root.
    #[must_use]
    pub fn above(slot: u32, fan_out: u16) -> [Self; Self::LOWEST as usize] {
        let fan_out = u32::from(fan_out.max(2));
        let low = slot / fan_out;
        [
            Self {
                level: 1,
                index: low / fan_out,
            },
            Self {
                level: 2,
                index: low,
            },
        ]
    }

    /// First and last index (or slot) of this node's children, both included.
    #[must_use]
    pub fn children(self, fan_out: u16) -> (u32, u32) {
        let fan_out = u32::from(fan_out.max(2));
        let first = self.index.saturating_mul(fan_out);
        (first, first.saturating_add(fan_out - 1))
    }
}

/// One thing to read from a [`KeyTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All rows directly below a node.
    Children(NodeId),
    /// One branch.
    Node(NodeId),
    /// A person's row and the branches above it, or the person's tombstone.
    Subject(SubjectId),
}

/// What a [`KeyTable`] held at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRows {
    /// The tenant's head; `None` when the tenant has no keys yet.
    pub head: Option<KeyHead>,
    /// Branches that were wanted and exist.
    pub nodes: BTreeMap<NodeId, NodeRow>,
    /// People who were wanted and have a key.
    pub subjects: BTreeMap<SubjectId, SubjectRow>,
    /// People who were wanted and whose key was destroyed.
    pub erased: BTreeMap<SubjectId, Tombstone>,
}

/// The one row a tenant: its active epoch and what the tree needs to grow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyHead {
    /// Grows by one with each commit; set by the table, ignored in a change.
    pub revision: u64,
    /// Children a branch may have, 2 to 256; never changes.
    pub fan_out: u16,
    /// The slot of the next person; slots are not used twice.
    pub next_slot: u32,
    /// The active epoch.
    pub epoch: EpochRow,
    /// The index keys, oldest first.
    pub index: Vec<IndexKeyRow>,
    /// KEKs of past epochs whose destruction is still owed: of the epochs just before the active
    /// one, oldest first.
    pub retired: Vec<KekId>,
    /// KEKs of past epochs that the custodian only scheduled for deletion and that outlive, or
    /// may yet outlive, those of epochs after them. Oldest first, each later than the one before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<KekWaiting>,
}

/// A KEK whose waiting period at the custodian ends later than those of the epochs after it.
///
/// A turn of the epoch re-wraps people's keys and does not change them: so the KEK of any epoch
/// since a person came, with the table of then, opens the person, and the last of them to go
/// decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KekWaiting {
    /// The KEK.
    pub kek: KekId,
    /// Its epoch.
    pub epoch: u64,
    /// The last epoch whose KEK was gone, or will be, before this one; its own when there is
    /// none yet.
    pub through: u64,
    /// When the custodian deletes it.
    #[serde(with = "crate::text::instant")]
    pub until: Timestamp,
}

/// An epoch: one key-encryption key at the custodian and the epoch key wrapped under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRow {
    /// Counted from 1.
    pub number: u64,
    /// The custodian's key.
    pub kek: KekId,
    /// The epoch key, wrapped by the custodian.
    pub wrapped: WrappedKey,
}

/// The key of the blind index of one index epoch, wrapped under the epoch key. Index epoch 0 is
/// that of the marks of the suppression ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexKeyRow {
    /// Counted from 1; stands in every index entry. 0 for the key of marks.
    pub epoch: u32,
    /// For how many rows its entries are planned ([`IndexPlan`]).
    #[serde(default = "usual_rows", skip_serializing_if = "is_usual")]
    pub rows: u64,
    /// The index key, wrapped.
    pub wrapped: WrappedKey,
}

fn usual_rows() -> u64 {
    IndexPlan::USUAL_ROWS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_usual(rows: &u64) -> bool {
    *rows == IndexPlan::USUAL_ROWS
}

/// A branch key, wrapped under the key of the node above it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRow {
    /// Where it stands.
    pub node: NodeId,
    /// The number of the epoch in which this key was drawn.
    pub version: u64,
    /// The branch key, wrapped.
    pub wrapped: WrappedKey,
}

/// A person's key, wrapped under the branch above it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectRow {
    /// Whose key.
    pub subject: SubjectId,
    /// The person's place below the lowest branches.
    pub slot: u32,
    /// Counts the person's keys from 1; stands in every sealed value.
    pub generation: u32,
    /// A fingerprint of the key that tells nothing about it; names the key in evidence.
    pub key: Digest,
    /// The subject key, wrapped.
    pub wrapped: WrappedKey,
    /// The person's key before this one, kept or what is known of its end; `None` for somebody
    /// whose key was never rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<FormerKey>,
}

/// A person's key of the generation before the present one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerKey {
    /// Its generation.
    pub generation: u32,
    /// Its fingerprint.
    pub key: Digest,
    /// When the present key took its place.
    #[serde(with = "crate::text::instant")]
    pub since: Timestamp,
    /// Whether it is still there.
    pub state: FormerState,
}

/// Whether a former key is still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FormerState {
    /// It was dropped.
    Dropped(FormerDropped),
    /// It is wrapped under the branch that wraps the present key, and opens what has not been
    /// sealed anew yet.
    Kept(WrappedKey),
}

/// How a former key ended: what a [`Tombstone`] says of a person, of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerDropped {
    /// The lowest branch that held it; that branch's key was replaced.
    pub branch: NodeId,
    /// The epoch up to which the key existed.
    pub epoch_before: u64,
    /// The epoch from which it did not.
    pub epoch_after: u64,
    /// When it was dropped.
    #[serde(with = "crate::text::instant")]
    pub at: Timestamp,
    /// The KEK of the epoch before. What became of it, the custodian tells.
    pub kek: KekId,
}

impl SubjectRow {
    /// The wrapped former key, while it is kept.
    #[must_use]
    pub fn kept(&self) -> Option<(&FormerKey, &WrappedKey)> {
        let former = self.former.as_ref()?;
        match &former.state {
            FormerState::Dropped(_) => None,
            FormerState::Kept(wrapped) => Some((former, wrapped)),
        }
    }
}

/// What remains of a person's key after its destruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Whose key it was.
    pub subject: SubjectId,
    /// The fingerprint of the destroyed key.
    pub key: Digest,
    /// The fingerprint of the former key that was destroyed with it, when the person's key was
    /// being rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Digest>,
    /// The lowest branch that held it; that branch's key was replaced.
    pub branch: NodeId,
    /// The epoch up to which the key existed.
    pub epoch_before: u64,
    /// The epoch from which it did not.
    pub epoch_after: u64,
    /// When the key was dropped.
    #[serde(with = "crate::text::instant")]
    pub at: Timestamp,
    /// The KEK of the epoch before: as long as it exists, a copy of the table made before opens.
    pub kek: KekId,
    /// The custodian's answer to its destruction; `None` while that is owed. Filled by the table.
    pub kek_destroyed: Option<KekDestroyed>,
}

/// A copy of a key outside custodian and table: an export, an escrow, a recovery share.
///
/// While one stands, destroying the key proves nothing about whoever holds the copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCopy {
    /// What was copied.
    pub of: CopiedKey,
    /// The epoch of a copied KEK, where it is known: whoever was erased before it is not reached
    /// by the copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Who or what holds the copy.
    pub holder: Label,
    /// Since when.
    #[serde(with = "crate::text::instant")]
    pub since: Timestamp,
    /// When the copy was destroyed, if it was.
    pub destroyed: Option<Timestamp>,
}

/// What a [`KeyCopy`] is a copy of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopiedKey {
    /// A key-encryption key or the epoch key under it: with the tables of then and later it
    /// reaches everybody of that epoch and of the epochs after it.
    Epoch(KekId),
    /// One person's key.
    Subject(SubjectId),
}

/// A change of one tenant's keys, applied as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// Whose keys.
    pub tenant: TenantId,
    /// The revision this change was made for; `None` when the tenant must not exist yet.
    pub expected: Option<u64>,
    /// The head as it shall be; the table sets its revision.
    pub head: KeyHead,
    /// Branches to write, replacing those of the same place.
    pub nodes: Vec<NodeRow>,
    /// People to write, replacing rows of the same person.
    pub subjects: Vec<SubjectRow>,
    /// Tombstones to write; the rows of these people are removed.
    pub erased: Vec<Tombstone>,
    /// Custodians' answers to add to the tombstones that wait for them.
    pub destroyed: Vec<KekDestroyed>,
    /// Copies to declare or update.
    pub copies: Vec<KeyCopy>,
}

impl KeyChange {
    /// A change that sets the head and nothing else.
    #[must_use]
    pub fn of(tenant: TenantId, expected: Option<u64>, head: KeyHead) -> Self {
        Self {
            tenant,
            expected,
            head,
            nodes: Vec::new(),
            subjects: Vec::new(),
            erased: Vec::new(),
            destroyed: Vec::new(),
            copies: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_a_child_of_the_branches_above_it() {
        for fan_out in [2, 3, 256] {
            for slot in (0..4000).chain([16_777_215]) {
                let [top, low] = NodeId::above(slot, fan_out);
                let (first, last) = low.children(fan_out);
                assert!((first..=last).contains(&slot));
                let (first, last) = top.children(fan_out);
                assert!((first..=last).contains(&low.index));
            }
        }
    }
}
