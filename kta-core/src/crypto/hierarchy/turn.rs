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
use super::super::shred::{EarlierKek, KeyErased};
use super::tree::{open_former, open_index, open_leaf, open_node};
use super::{Hierarchy, Turned, conflict, corrupt};
use crate::audit::Label;
use crate::error::{Error, FaultKind, Result};
use crate::id::SubjectId;
use crate::ports::key_table::{
    CopiedKey, FormerDropped, FormerState, KekWaiting, KeyChange, KeyCopy, KeyHead, KeyRows,
    NodeId, SubjectRow, Tombstone, Wanted,
};
use crate::ports::kms::{KekDestroyed, KekDestruction, KekId};
use crate::refusal::{Code, Refusal};
use crate::time::Timestamp;

impl Hierarchy {
    /// The holder of those copies of a KEK that its custodian told of when it destroyed it.
    ///
    /// They reach, with an older backup of the table, whoever was there in that KEK's epoch, and
    /// so stand against later erasures too, until
    /// [`copies_destroyed`](Self::copies_destroyed) says that they are gone.
    pub const CUSTODIAN: Label = Label::fixed("custodian");

    /// Destroys the keys of these people and answers the evidence, in their order. From when on
    /// everything sealed under them is unreadable, in whatever copy, is what each
    /// [claim](KeyErased::claim) says: at once, after a custodian's waiting period, or not as long
    /// as a declared copy of a key stands.
    ///
    /// The people share one turn of the epoch: erase many together. The cost is three times the
    /// fan-out for one person, and does not depend on how many others there are. Erasing again
    /// answers the same evidence. Of somebody whose key is being rotated both keys go.
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
            let gone = Dropped {
                people: rows.subjects,
                ..Dropped::default()
            };
            if !gone.people.is_empty() {
                self.turn(head, gone, now).await?;
            }
            Ok(())
        })?;
        self.settle(now).await?;
        self.evidence(subjects, &wanted).await
    }

    /// Destroys the KEKs that are owed and records the custodian's answers: in the tombstones
    /// that wait for them, and, because an epoch's KEK reaches everybody who was there, what of
    /// it outlives the epoch: copies that stand, and waiting periods. Nothing happens when no KEK
    /// is owed.
    ///
    /// # Errors
    /// Faults of the ports; what is still owed stays owed.
    pub async fn settle(&self, now: Timestamp) -> Result<()> {
        match self.settle_some(now).await? {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }

    /// Settles up to the first KEK that the custodian does not destroy, and gives its reason.
    pub(super) async fn settle_some(&self, now: Timestamp) -> Result<Option<Error>> {
        retried!({
            let mut head = self.head().await?;
            // Whoever turned the epoch, here or elsewhere.
            self.forget_before(&head);
            // One a turn, and the oldest are settled first: they are the last epochs.
            let oldest = head.epoch.number.saturating_sub(head.retired.len() as u64);
            let (mut destroyed, mut copies) = (Vec::new(), Vec::new());
            let mut failed = None;
            for (epoch, kek) in (oldest..).zip(head.retired.clone()) {
                let answer = match self.kms.destroy(&kek, now).await {
                    Ok(answer) => answer,
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                };
                outlast(&mut head.waiting, epoch, &answer);
                if answer.copies > 0 {
                    copies.push(KeyCopy {
                        of: CopiedKey::Epoch(kek),
                        epoch: Some(epoch),
                        holder: Self::CUSTODIAN,
                        since: answer.at,
                        destroyed: None,
                    });
                }
                destroyed.push(answer);
            }
            if !destroyed.is_empty() {
                head.retired.drain(..destroyed.len());
                let mut change = KeyChange::of(self.tenant, Some(head.revision), head);
                (change.destroyed, change.copies) = (destroyed, copies);
                self.table.commit(change).await?;
            }
            Ok(failed)
        })
    }

    /// One commit that drops what is `gone`, and gives everything above it, and the epoch, fresh
    /// keys.
    pub(super) async fn turn(
        &self,
        head: KeyHead,
        gone: Dropped,
        now: Timestamp,
    ) -> Result<Turned> {
        let renewed: BTreeSet<NodeId> = gone
            .people
            .values()
            .chain(gone.formers.values())
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
            .filter(|row| Some(row.epoch) != gone.index)
        {
            let secret = open_index(self.tenant, &old, row)?;
            next.index
                .push(self.wrap_index(&new, (row.epoch, row.rows), &secret)?);
        }
        next.retired.push(retired.clone());

        let mut change = KeyChange::of(self.tenant, Some(head.revision), next);
        let root = Renewed {
            old: Prk::clone(&old),
            new,
        };
        let moment = Moment {
            epoch_before: head.epoch.number,
            epoch_after: number,
            at: now,
            kek: retired.clone(),
        };
        self.rewrap(&head, &rows, root, &renewed, &gone, &moment, &mut change)?;
        change.erased = gone
            .people
            .into_values()
            .map(|row| Tombstone {
                subject: row.subject,
                key: row.key,
                former: row.kept().map(|(former, _)| former.key),
                branch: NodeId::above(row.slot, head.fan_out)[1],
                epoch_before: head.epoch.number,
                epoch_after: number,
                at: now,
                kek: retired.clone(),
                kek_destroyed: None,
            })
            .collect();
        let rewrapped = change.nodes.len() + change.subjects.len() + change.head.index.len();
        self.table.commit(change).await?;
        self.forget();
        Ok(Turned {
            epoch: number,
            rewrapped,
        })
    }

    /// Re-wraps every child of a renewed node; a renewed child gets a fresh key first.
    #[expect(
        clippy::too_many_arguments,
        reason = "one step of `turn`, apart to be read"
    )]
    fn rewrap(
        &self,
        head: &KeyHead,
        rows: &KeyRows,
        root: Renewed,
        renewed: &BTreeSet<NodeId>,
        gone: &Dropped,
        moment: &Moment,
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
                let keys = Renewed {
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
            .filter(|row| !gone.people.contains_key(&row.subject))
        {
            let [_, low] = NodeId::above(row.slot, head.fan_out);
            let parent = turned.get(&low).ok_or_else(|| corrupt("turn"))?;
            let secret = open_leaf(self.tenant, &parent.old, row)?;
            let mut written = row.clone();
            if gone.formers.contains_key(&row.subject) {
                if let Some(former) = &mut written.former {
                    former.state = FormerState::Dropped(FormerDropped {
                        branch: low,
                        epoch_before: moment.epoch_before,
                        epoch_after: moment.epoch_after,
                        at: moment.at,
                        kek: moment.kek.clone(),
                    });
                }
            } else if let Some((former, secret)) = open_former(self.tenant, &parent.old, row)? {
                written.former = Some(self.wrap_former(&parent.new, row, &former, &secret)?);
            }
            change
                .subjects
                .push(self.wrap_leaf(&parent.new, written, &secret)?);
        }
        Ok(())
    }

    pub(super) async fn evidence(
        &self,
        subjects: &[SubjectId],
        wanted: &[Wanted],
    ) -> Result<Vec<KeyErased>> {
        let (head, rows) = self.rows(wanted).await?;
        let copies = self.copies().await?;
        subjects
            .iter()
            .map(|subject| {
                let tombstone = rows.erased.get(subject).ok_or_else(|| corrupt("erase"))?;
                let last = tombstone.epoch_before;
                let declared = declared_gone(&copies, &tombstone.kek);
                let copies = standing(&copies, *subject, last);
                let evidence = KeyErased::of(self.tenant, tombstone, earlier(&head, last), copies);
                let mut evidence = evidence.ok_or_else(|| corrupt("erase"))?;
                if declared {
                    // They are counted among `copies` as long as they stand.
                    evidence.kek.copies = 0;
                }
                Ok(evidence)
            })
            .collect()
    }
}

/// How many declared copies reach a person's key, which was there up to the epoch `last`, and
/// were not destroyed.
pub(super) fn standing(copies: &[KeyCopy], subject: SubjectId, last: u64) -> u32 {
    let reaches = |copy: &KeyCopy| match &copy.of {
        // Also somebody who came later, below a branch that had been there: only whoever was
        // gone before is out of reach. An epoch that is not recorded may be any.
        CopiedKey::Epoch(_) => copy.epoch.is_none_or(|epoch| epoch <= last),
        CopiedKey::Subject(copied) => *copied == subject,
    };
    let many = copies
        .iter()
        .filter(|copy| copy.destroyed.is_none() && reaches(copy));
    u32::try_from(many.count()).unwrap_or(u32::MAX)
}

/// Whether the copies that the custodian told of when it destroyed this KEK were declared destroyed
/// since.
pub(super) fn declared_gone(copies: &[KeyCopy], kek: &KekId) -> bool {
    let told = copies.iter().find(|copy| {
        copy.holder == Hierarchy::CUSTODIAN && copy.of == CopiedKey::Epoch(kek.clone())
    });
    told.is_some_and(|copy| copy.destroyed.is_some())
}

/// The KEK of an epoch before `last` that is deleted later than that of `last`, if there is one.
pub(super) fn earlier(head: &KeyHead, last: u64) -> Option<EarlierKek> {
    let outliving = |it: &&KekWaiting| it.epoch < last && last <= it.through;
    let longest = head
        .waiting
        .iter()
        .filter(outliving)
        .max_by_key(|it| it.until)?;
    Some(EarlierKek {
        kek: longest.kek.clone(),
        until: longest.until,
    })
}

/// Notes a KEK's end among those that wait. Kept are the ends that outlive a later epoch's, which
/// is rare (a waiting period was shortened), and the last one, which may yet: so the list does
/// not grow with the epochs.
fn outlast(waiting: &mut Vec<KekWaiting>, epoch: u64, answer: &KekDestroyed) {
    let end = match answer.method {
        KekDestruction::Immediate => answer.at,
        KekDestruction::Scheduled { until } => until,
    };
    if let Some(last) = waiting.last_mut() {
        if last.until > end {
            last.through = epoch;
            return;
        }
        if last.through == last.epoch {
            waiting.pop();
        }
    }
    if let KekDestruction::Scheduled { until } = answer.method {
        waiting.push(KekWaiting {
            kek: answer.kek.clone(),
            epoch,
            through: epoch,
            until,
        });
    }
}

/// What a turn of the epoch drops.
#[derive(Default)]
pub(super) struct Dropped {
    /// People with all their keys.
    pub(super) people: BTreeMap<SubjectId, SubjectRow>,
    /// Former keys of these people.
    pub(super) formers: BTreeMap<SubjectId, SubjectRow>,
    /// An index key.
    pub(super) index: Option<u32>,
}

/// When a turn happened: what evidence says of it.
struct Moment {
    epoch_before: u64,
    epoch_after: u64,
    at: Timestamp,
    kek: KekId,
}

/// The key of a renewed node before and after.
struct Renewed {
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
