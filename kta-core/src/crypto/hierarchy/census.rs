//! Who has a key.

use super::rotate::{SubjectRotation, rotation};
use super::{Hierarchy, Wanted};
use crate::error::Result;
use crate::id::SubjectId;
use crate::ports::key_table::{FormerState, NodeId};
use crate::time::Timestamp;

/// Somebody who has a key, and how far its rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHolder {
    /// The person.
    pub subject: SubjectId,
    /// The rotation under way, if one is.
    pub rotation: Option<SubjectRotation>,
    /// When the person's latest former key ended, if that is how the latest rotation ended.
    pub ended: Option<Timestamp>,
}

impl Hierarchy {
    /// The people below one of the lowest branches, counted from 0 on the left: at most as many
    /// as a branch has children. `None` when the tree ends before that branch. From 0 on until
    /// `None`, everybody who has a key is met, and nobody twice.
    ///
    /// # Errors
    /// Faults of the ports.
    pub async fn holders_below(&self, branch: u32) -> Result<Option<Vec<KeyHolder>>> {
        let node = NodeId {
            level: NodeId::LOWEST,
            index: branch,
        };
        let (head, rows) = self.rows(&[Wanted::Children(node)]).await?;
        if node.children(head.fan_out).0 >= head.next_slot {
            return Ok(None);
        }
        let holders = rows.subjects.values().map(|row| KeyHolder {
            subject: row.subject,
            rotation: rotation(&rows, row.subject),
            ended: row.former.as_ref().and_then(|former| match &former.state {
                FormerState::Dropped(dropped) => Some(dropped.at),
                FormerState::Kept(_) => None,
            }),
        });
        Ok(Some(holders.collect()))
    }
}
