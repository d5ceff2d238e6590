//! Erasure in the in-memory store and blobs.

use async_trait::async_trait;

use super::blobs::MemoryBlobs;
use super::provider::residue;
use super::store::MemoryStore;
use crate::audit::Label;
use crate::error::Result;
use crate::id::{Digest, IdempotencyKey};
use crate::pii::{Placement, PlacementKind, System};
use crate::policy::{Act, Permit};
use crate::ports::erase::{Erase, Erased, Method, Probe};
use crate::ports::store::{Change, ChangeSet, Store as _};

/// Erases records and their index entries.
#[async_trait]
impl Erase for MemoryStore {
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
        let entry = ChangeSet::new(placement.tenant, permit.now()).event(placement.erased(permit));
        let step = if placement.kind == PlacementKind::IndexEntry {
            self.drop_tags(&key, entry)?;
            "index.delete"
        } else {
            self.commit(entry.with(Change::RemoveRecord(key))).await?;
            "record.delete"
        };
        Ok(Erased {
            method: Method::Overwrite,
            steps: vec![Label::fixed(step)],
            window: None,
        })
    }

    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> Result<Probe> {
        placement.admit(&self.system(), Act::Probe, permit)?;
        let (record, tags) = self.traces(&placement.stored_record()?);
        let mut residues = Vec::new();
        if record && placement.kind != PlacementKind::IndexEntry {
            residues.push(residue("record", None));
        }
        if tags > 0 {
            residues.push(residue("index", None));
        }
        Ok(Probe {
            at: permit.now(),
            asked: vec![Label::fixed("record.get"), Label::fixed("index.count")],
            evidence: Digest::of(format!("record={record};index={tags}").as_bytes()),
            residues,
        })
    }
}

/// Erases blobs.
#[async_trait]
impl Erase for MemoryBlobs {
    fn system(&self) -> System {
        Placement::BLOBS
    }

    async fn erase(
        &self,
        placement: &Placement,
        _key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Erased> {
        placement.admit(&self.system(), Act::Destroy, permit)?;
        self.take(&placement.stored_blob()?);
        let steps = vec![Label::fixed("blob.delete")];
        Ok(Erased {
            method: Method::Overwrite,
            steps,
            window: None,
        })
    }

    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> Result<Probe> {
        placement.admit(&self.system(), Act::Probe, permit)?;
        let id = placement.stored_blob()?;
        let there = self.stored().iter().any(|(stored, _)| *stored == id);
        let residue = residue("blob", None);
        Ok(Probe {
            at: permit.now(),
            asked: vec![Label::fixed("blob.list")],
            evidence: Digest::of(format!("blob={there}").as_bytes()),
            residues: there.then_some(residue).into_iter().collect(),
        })
    }
}
