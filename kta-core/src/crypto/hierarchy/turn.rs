//! Turning the epoch: what an erasure, a rotation and the end of an index key are made of.
//!
//! ```text
//!            epoch 7 ── KEK 7                       epoch 8 ── KEK 8   (KEK 7 destroyed last)
//!           /   |   \                              /   |   \
//!          A    B    C        erase p2            A    B'   C          A, C: same keys, re-wrapped
//!              / \                                    / \
//!            B1   B2                                B1   B2'           B1: same key, re-wrapped
//!                / | \                                  /   \
//!              p1  p2  p3                             p1     p3        p1, p3: re-wrapped
//! ```
//!
//! The order makes it safe to die at any point: the new KEK is created under a name that the
//! next attempt finds again; the table changes in one commit that also records the old KEK as
//! owed; the old KEK is destroyed only then; last, the custodian's answer is recorded. Whoever
//! opens the hierarchy next, or erases next, does what is owed.

use std::collections::{BTreeMap, BTreeSet};

use super::super::derive::Prk;
use super::super::secret::SecretKey;
use super::super::shred::KeyErased;
use super::tree::{open_index, open_leaf, open_node};
use super::{Hierarchy, MARKS, conflict, corrupt};
use crate::error::{Error, Fault, FaultKind, Port, Result};
use crate::id::SubjectId;
use crate::ports::key_table::{
    CopiedKey, KeyChange, KeyHead, KeyRows, NodeId, SubjectRow, Tombstone, Wanted,
};
use crate::refusal::{Code, Refusal};
use crate::time::Timestamp;

impl Hierarchy {
    /// Destroys the keys of these people and answers the evidence, in their order. Everything
    /// sealed under them, in whatever copy, is unreadable when this returns.
    ///
    /// The people share one turn of the epoch: erase many together. The cost is three times the
    /// fan-out for one person, and does not depend on how many others there are. Erasing again
    /// answers the same evidence.
    ///
    /// # Errors
    /// [`Code::CryKey`] for a person who never had a key, without effect. Faults of the ports:
    /// then some or all of it may have happened, and calling again finishes it.
    pub async fn erase(&self, subjects: &[SubjectId], now: Timestamp) -> Result<Vec<KeyErased>> {
        let wanted: Vec<_> = subjects.iter().copied().map(Wanted::Subject).collect();
        reread!(self, &wanted, |head, rows| {
            for subject in subjects {
                if !rows.subjects.contains_key(subject) && !rows.erased.contains_key(subject) {
                    return Err(Refusal::new(Code::CryKey).about("subject", *subject).into());
                }
            }
            let gone = rows.subjects;
            if gone.is_empty() {
                Ok(())
            } else {
                self.turn(head, gone, None, now).await
            }
        })?;
        self.settle(now).await?;
        self.evidence(subjects, &wanted).await
    }

    /// Gives the tenant a new epoch and destroys the key-encryption key of the present one.
    ///
    /// # Errors
    /// Faults of the ports; calling again finishes what was begun.
    pub async fn rotate(&self, now: Timestamp) -> Result<()> {
        reread!(self, &[], |head, _rows| self
            .turn(head, BTreeMap::new(), None, now)
            .await)?;
        self.settle(now).await
    }

    /// Gives the tenant a new index key beside the present ones and answers its index epoch.
    /// Entries written from now on are of that epoch; older ones are found with older keys.
    ///
    /// # Errors
    /// Faults of the ports.
    pub async fn rotate_index(&self) -> Result<u32> {
        reread!(self, &[], |head, _rows| {
            let mut head = head;
            let newest = head.index.last().ok_or_else(|| corrupt("rotate"))?.epoch;
            let next = newest.checked_add(1).ok_or_else(|| corrupt("rotate"))?;
            let above = self.epoch_key(&head.epoch).await?;
            let secret = SecretKey::random(&*self.entropy);
            head.index.push(self.wrap_index(&above, next, &secret)?);
            self.table
                .commit(KeyChange::of(self.tenant, Some(head.revision), head))
                .await?;
            Ok(next)
        })
    }

    /// Destroys an older index key, with a turn of the epoch so that no copy of the table keeps
    /// it. Do this when no entry of that index epoch is left.
    ///
    /// # Errors
    /// [`Code::CryKey`] when there is no such key, `Unsupported` for the newest. Faults of the
    /// ports; calling again finishes what was begun.
    pub async fn retire_index(&self, epoch: u32, now: Timestamp) -> Result<()> {
        reread!(self, &[], |head, _rows| {
            if epoch == MARKS || !head.index.iter().any(|row| row.epoch == epoch) {
                return Err(Code::CryKey.into());
            }
            if head
                .index
                .last()
                .is_some_and(|newest| newest.epoch == epoch)
            {
                let fault = Fault::new(FaultKind::Unsupported, Port::KeyTable, "retire");
                return Err(fault.because("the newest index key is in use").into());
            }
            self.turn(head, BTreeMap::new(), Some(epoch), now).await
        })?;
        self.settle(now).await
    }

    /// Destroys the KEKs that are owed and records the custodian's answers. Nothing happens when
    /// none is.
    ///
    /// # Errors
    /// Faults of the ports; what is still owed stays owed.
    pub async fn settle(&self, now: Timestamp) -> Result<()> {
        retried!({
            let mut head = self.head().await?;
            if head.retired.is_empty() {
                return Ok(());
            }
            let mut destroyed = Vec::with_capacity(head.retired.len());
            for kek in core::mem::take(&mut head.retired) {
                destroyed.push(self.kms.destroy(&kek, now).await?);
            }
            let mut change = KeyChange::of(self.tenant, Some(head.revision), head);
            change.destroyed = destroyed;
            self.table.commit(change).await.map(|_| ())
        })
    }

    /// One commit that drops `gone` and an index key, and gives everything above them, and the
    /// epoch, fresh keys.
    async fn turn(
        &self,
        head: KeyHead,
        gone: BTreeMap<SubjectId, SubjectRow>,
        dropped_index: Option<u32>,
        now: Timestamp,
    ) -> Result<()> {
        let renewed: BTreeSet<NodeId> = gone
            .values()
            .flat_map(|row| NodeId::above(row.slot, head.fan_out))
            .collect();
        let parents = [NodeId::ROOT].into_iter().chain(renewed.iter().copied());
        let wanted: Vec<_> = parents.map(Wanted::Children).collect();
        let rows = self.table.read(self.tenant, &wanted).await?;
        if rows.head.as_ref().map(|now| now.revision) != Some(head.revision) {
            return Err(conflict("turn"));
        }

        let number = head.epoch.number + 1;
        let old = self.epoch_key(&head.epoch).await?;
        let (epoch, new) = self.fresh_epoch(number).await?;
        let retired = head.epoch.kek.clone();
        let mut next = KeyHead {
            epoch,
            ..head.clone()
        };
        next.index.clear();
        for row in head
            .index
            .iter()
            .filter(|row| Some(row.epoch) != dropped_index)
        {
            let secret = open_index(self.tenant, &old, row)?;
            next.index.push(self.wrap_index(&new, row.epoch, &secret)?);
        }
        next.retired.push(retired.clone());

        let mut change = KeyChange::of(self.tenant, Some(head.revision), next);
        let root = Turned {
            old: Prk::clone(&old),
            new,
        };
        self.rewrap(&head, &rows, root, &renewed, &gone, &mut change)?;
        change.erased = gone
            .into_values()
            .map(|row| Tombstone {
                subject: row.subject,
                key: row.key,
                branch: NodeId::above(row.slot, head.fan_out)[1],
                epoch_before: head.epoch.number,
                epoch_after: number,
                at: now,
                kek: retired.clone(),
                kek_destroyed: None,
            })
            .collect();
        self.table.commit(change).await?;
        self.forget();
        Ok(())
    }

    /// Re-wraps every child of a renewed node; a renewed child gets a fresh key first.
    fn rewrap(
        &self,
        head: &KeyHead,
        rows: &KeyRows,
        root: Turned,
        renewed: &BTreeSet<NodeId>,
        gone: &BTreeMap<SubjectId, SubjectRow>,
        change: &mut KeyChange,
    ) -> Result<()> {
        let version = change.head.epoch.number;
        let mut turned = BTreeMap::from([(NodeId::ROOT, root)]);
        // Rows come sorted by level, so parents are turned before their children.
        for row in rows.nodes.values() {
            let parent = parent_of(row.node, head.fan_out);
            let parent = turned.get(&parent).ok_or_else(|| corrupt("turn"))?;
            let present = open_node(self.tenant, &parent.old, row)?;
            let written = if renewed.contains(&row.node) {
                let fresh = SecretKey::random(&*self.entropy);
                let written = self.wrap_node(&parent.new, row.node, version, &fresh)?;
                let keys = Turned {
                    old: Prk::extract(&present),
                    new: Prk::extract(&fresh),
                };
                turned.insert(row.node, keys);
                written
            } else {
                self.wrap_node(&parent.new, row.node, row.version, &present)?
            };
            change.nodes.push(written);
        }
        for row in rows
            .subjects
            .values()
            .filter(|row| !gone.contains_key(&row.subject))
        {
            let [_, low] = NodeId::above(row.slot, head.fan_out);
            let parent = turned.get(&low).ok_or_else(|| corrupt("turn"))?;
            let secret = open_leaf(self.tenant, &parent.old, row)?;
            change
                .subjects
                .push(self.wrap_leaf(&parent.new, row.clone(), &secret)?);
        }
        Ok(())
    }

    async fn evidence(&self, subjects: &[SubjectId], wanted: &[Wanted]) -> Result<Vec<KeyErased>> {
        let rows = self.table.read(self.tenant, wanted).await?;
        let copies = self.table.copies(self.tenant).await?;
        let standing = |subject: &SubjectId| {
            let reaches = |of: &CopiedKey| match of {
                // A copy of any epoch's key counts: which people it reaches is not recorded.
                CopiedKey::Epoch(_) => true,
                CopiedKey::Subject(copied) => copied == subject,
            };
            let many = copies
                .iter()
                .filter(|copy| copy.destroyed.is_none() && reaches(&copy.of));
            u32::try_from(many.count()).unwrap_or(u32::MAX)
        };
        subjects
            .iter()
            .map(|subject| {
                let tombstone = rows.erased.get(subject).ok_or_else(|| corrupt("erase"))?;
                KeyErased::of(self.tenant, tombstone, standing(subject))
                    .ok_or_else(|| corrupt("erase"))
            })
            .collect()
    }
}

/// The key of a renewed node before and after.
struct Turned {
    old: Prk,
    new: Prk,
}

fn parent_of(node: NodeId, fan_out: u16) -> NodeId {
    if node.level <= 1 {
        return NodeId::ROOT;
    }
    NodeId {
        level: node.level - 1,
        index: node.index / u32::from(fan_out.max(2)),
    }
}
