//! Erasure in the firm's own store.

use async_trait::async_trait;
use kta_core::audit::Label;
use kta_core::id::{Digest, IdempotencyKey};
use kta_core::pii::{Placement, PlacementKind, System};
use kta_core::policy::{Act, Permit};
use kta_core::ports::erase::{Erase, Erased, Method, Probe, Residue};
use kta_core::ports::store::{ChangeSet, Durability};
use kta_core::{Port, Result};

use super::readers::aside;
use super::{SqliteStore, change, query, scrub};
use crate::rules;

/// Erases records with their index entries, or index entries alone, and the bytes they stood in.
///
/// `erase` removes the rows and writes the entry of it in one transaction, which refuses with
/// `DST-HOLD` what a hold covers at that instant. Then it empties the write-ahead log, looks for
/// the erased ciphertext in the files and, should a page still hold a stale copy, writes the
/// whole file anew. `probe` asks for rows, counts index entries and reads the files' own bytes.
#[async_trait]
impl Erase for SqliteStore {
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
        let mut change =
            ChangeSet::new(placement.tenant, permit.now()).event(placement.erased(permit));
        change.durability = Durability::Durable;
        let whole = placement.kind != PlacementKind::IndexEntry;
        let copy = placement.clone();
        self.inner
            .writer
            .write("erase", Durability::Durable, move |db| {
                let mut firm = change::Firm::of(db, copy.tenant)?;
                if whole {
                    if let Some(row) = rules::remove(&mut firm, &key)? {
                        firm.keep_marks(&copy, &row)?;
                    }
                } else {
                    firm.forget_tags(&key)?;
                }
                change::commit(db, &change)
            })
            .await?;
        let mut steps = vec![Label::fixed(if whole {
            "record.delete"
        } else {
            "index.delete"
        })];
        self.checkpoint().await?;
        steps.push(Label::fixed("log.empty"));
        let own = self.clone();
        let copy = placement.clone();
        let left = move || {
            let marks = own.read_here(|db| query::marks(db, &copy))?;
            scrub::residues(own.path(), &marks)
        };
        if aside(Port::Erase, "erase", left).await? > 0 {
            self.inner.writer.between("erase", scrub::rewrite).await?;
            steps.push(Label::fixed("file.rewrite"));
        }
        Ok(Erased {
            method: Method::Overwrite,
            steps,
            window: None,
        })
    }

    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> Result<Probe> {
        placement.admit(&self.system(), Act::Probe, permit)?;
        let key = placement.stored_record()?;
        let own = self.clone();
        let copy = placement.clone();
        let look = move || {
            let found = own.read_here(|db| query::traces(db, &copy, &key))?;
            let marks = own.read_here(|db| query::marks(db, &copy))?;
            Ok((found, scrub::residues(own.path(), &marks)?))
        };
        let (found, bytes) = aside(Port::Erase, "probe", look).await?;
        let whole = placement.kind != PlacementKind::IndexEntry;
        let residue = |what| Residue {
            what: Label::fixed(what),
            until: None,
            content: true,
        };
        let mut residues = Vec::new();
        if found.record && whole {
            residues.push(residue("record"));
        }
        if found.tags > 0 {
            residues.push(residue("index"));
        }
        if bytes > 0 && whole {
            residues.push(residue("file.bytes"));
        }
        let answers = format!("record={};index={};bytes={bytes}", found.record, found.tags);
        Ok(Probe {
            at: permit.now(),
            asked: ["record.get", "index.count", "file.scan"]
                .map(Label::fixed)
                .to_vec(),
            evidence: Digest::of(answers.as_bytes()),
            residues,
        })
    }
}
