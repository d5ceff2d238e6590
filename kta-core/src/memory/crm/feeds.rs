//! What a CRM tells of itself: changes, users and its own log.

use async_trait::async_trait;

use super::{MemoryCrm, fault};
use crate::error::{FaultKind, Result};
use crate::policy::{Act, Permit};
use crate::ports::crm::{AuditRow, Change};
use crate::ports::{AccessReview, AuditFeed, ChangeFeed, ChangePage, CrmUser, Cursor};
use crate::time::Timestamp;

#[async_trait]
impl ChangeFeed for MemoryCrm {
    async fn changes(
        &self,
        cursor: Option<&Cursor>,
        limit: usize,
        permit: &Permit<'_>,
    ) -> Result<ChangePage> {
        permit.require_act(FEEDING)?;
        let state = self.locked();
        let begin = match cursor {
            None => 0,
            Some(cursor) => read_cursor(cursor)
                .filter(|begin| *begin <= state.changes.len())
                .ok_or_else(|| {
                    fault(
                        FaultKind::Misconfigured,
                        "changes",
                        "not a cursor of this feed",
                    )
                })?,
        };
        let changes: Vec<Change> = state
            .changes
            .iter()
            .skip(begin)
            .take(limit.max(1))
            .cloned()
            .collect();
        let end = begin + changes.len();
        Ok(ChangePage {
            changes,
            next: Cursor(format!("{CURSOR}{end}")),
            more: end < state.changes.len(),
        })
    }
}

#[async_trait]
impl AccessReview for MemoryCrm {
    async fn users(&self, permit: &Permit<'_>) -> Result<Vec<CrmUser>> {
        permit.require_act(&[Act::Manage, Act::Review])?;
        Ok(self.locked().users.clone())
    }
}

#[async_trait]
impl AuditFeed for MemoryCrm {
    async fn rows(
        &self,
        from: Timestamp,
        to: Timestamp,
        permit: &Permit<'_>,
    ) -> Result<Vec<AuditRow>> {
        permit.require_act(&[Act::Manage, Act::Report, Act::Review])?;
        let within = |row: &&AuditRow| row.at >= from && row.at <= to;
        Ok(self.locked().audit.iter().filter(within).cloned().collect())
    }
}

fn read_cursor(cursor: &Cursor) -> Option<usize> {
    cursor.0.strip_prefix(CURSOR)?.parse().ok()
}

const CURSOR: &str = "m1/";
const FEEDING: &[Act] = &[
    Act::Process,
    Act::Retain,
    Act::Review,
    Act::Search,
    Act::Transfer,
];
