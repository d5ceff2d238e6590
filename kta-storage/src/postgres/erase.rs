//! Erasure in the firm's own store, on a server.

use async_trait::async_trait;
use chrono::TimeDelta;
use kta_core::Result;
use kta_core::audit::Label;
use kta_core::id::{Digest, IdempotencyKey};
use kta_core::pii::{Placement, PlacementKind, System};
use kta_core::policy::{Act, Permit};
use kta_core::ports::erase::{Erase, Erased, Method, Probe, Residue};
use kta_core::ports::store::{ChangeSet, Durability};
use kta_core::time::Timestamp;

use super::writer::{Erasure, Work};
use super::{PgStore, query};

/// Erases records with their index entries, or index entries alone.
///
/// `erase` removes the rows and writes the entry of it in one transaction, which refuses with
/// `DST-HOLD` what a hold covers at that instant. `probe` counts rows and index entries.
///
/// A server keeps what was removed in places that no statement reaches or sees: dead rows until
/// they are swept and overwritten, the write-ahead log, standbys, archives and backups. So the
/// method is the provider's own deletion, the answer announces a window, and the probe reports
/// the residue `server.history` until the window of the options has ended. What lies there is
/// ciphertext, and opens no more once the person's key is destroyed.
#[async_trait]
impl Erase for PgStore {
    fn system(&self) -> System {
        Placement::STORE
    }

    async fn erase(
        &self,
        placement: &Placement,
        _key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Erased> {
        placement.admit(&self.system(), Act::Destroy, permit)?;
        let key = placement.stored_record()?;
        let whole = placement.kind != PlacementKind::IndexEntry;
        let mut change =
            ChangeSet::new(placement.tenant, permit.now()).event(placement.erased(permit));
        change.durability = Durability::Durable;
        let erasure = Erasure {
            placement: placement.id,
            key,
            whole,
            at: permit.now(),
        };
        let work = Work {
            change,
            erasure: Some(erasure),
        };
        self.inner.writer.write("erase", work).await?;
        Ok(Erased {
            method: Method::ProviderDeletion,
            steps: vec![Label::fixed(if whole {
                "record.delete"
            } else {
                "index.delete"
            })],
            window: self.history_ends(permit.now()),
        })
    }

    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> Result<Probe> {
        placement.admit(&self.system(), Act::Probe, permit)?;
        let key = placement.stored_record()?;
        let found = query::traces(&self.inner.sessions, placement, &key).await?;
        let residue = |what, until| Residue {
            what: Label::fixed(what),
            until,
            content: true,
        };
        let mut residues = Vec::new();
        if found.records > 0 && placement.kind != PlacementKind::IndexEntry {
            residues.push(residue("record", None));
        }
        if found.tags > 0 {
            residues.push(residue("index", None));
        }
        let until = found.erased.and_then(|at| self.history_ends(at));
        let until = until.filter(|until| *until > permit.now());
        if until.is_some() {
            residues.push(residue("server.history", until));
        }
        let answers = format!(
            "record={};index={};history={}",
            found.records,
            found.tags,
            until.is_some()
        );
        Ok(Probe {
            at: permit.now(),
            asked: ["record.count", "index.count"].map(Label::fixed).to_vec(),
            evidence: Digest::of(answers.as_bytes()),
            residues,
        })
    }
}

impl PgStore {
    /// When what was removed at an instant is in none of the server's history any more; `None`
    /// when the options say that there is none.
    fn history_ends(&self, removed: Timestamp) -> Option<Timestamp> {
        let history = self.inner.history;
        if history.is_zero() {
            return None;
        }
        let length = TimeDelta::from_std(history).unwrap_or(TimeDelta::MAX);
        Some(
            removed
                .checked_add_signed(length)
                .unwrap_or(Timestamp::MAX_UTC),
        )
    }
}
