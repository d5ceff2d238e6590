//! Erasing a record, live or in the recycle bin.

use async_trait::async_trait;

use super::{MemoryCrm, State};
use crate::audit::Label;
use crate::error::Result;
use crate::id::{Digest, IdempotencyKey, RecordId};
use crate::memory::provider::residue;
use crate::pii::{Locator, Placement, System};
use crate::policy::{Act, Permit};
use crate::ports::{Erase, Erased, Method, Probe};
use crate::refusal::Code;

#[async_trait]
impl Erase for MemoryCrm {
    fn system(&self) -> System {
        Self::SYSTEM
    }

    async fn erase(
        &self,
        placement: &Placement,
        _key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Erased> {
        placement.admit(&Self::SYSTEM, Act::Destroy, permit)?;
        let record = placement.stored_record()?.record;
        let mut state = self.locked();
        state.theirs(placement, record)?;
        let found: Vec<Locator> = state.copies(placement, record);
        let mut steps = Vec::new();
        for at in found {
            if state.rows.remove(&at).is_some() {
                state.touch(&at, "delete", Some(permit.now()));
                steps.push(Label::fixed("record.delete"));
            }
            if state.bin.remove(&at).is_some() {
                steps.push(Label::fixed("recycle_bin.delete"));
            }
            state.backups.keep(record, permit.now());
        }
        if steps.is_empty() {
            steps.push(Label::fixed("record.absent"));
        }
        state.keys.retain(|_, used| *used != record);
        let window = state.backups.until(record);
        Ok(Erased {
            method: Method::ProviderDeletion,
            steps,
            window,
        })
    }

    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> Result<Probe> {
        placement.admit(&Self::SYSTEM, Act::Probe, permit)?;
        let record = placement.stored_record()?.record;
        let state = self.locked();
        let live = state.rows.values().any(|row| row.record == record);
        let binned = state.bin.values().any(|row| row.record == record);
        let kept = state.backups.left(record, permit.now());
        let is_kept = kept.is_some();
        let mut residues = Vec::new();
        residues.extend(live.then(|| residue("record", None)));
        residues.extend(binned.then(|| residue("recycle_bin", None)));
        residues.extend(kept);
        let evidence = format!("record={live};bin={binned};kept={is_kept}");
        Ok(Probe {
            at: permit.now(),
            asked: vec![
                Label::fixed("record.list"),
                Label::fixed("recycle_bin.list"),
            ],
            evidence: Digest::of(evidence.as_bytes()),
            residues,
        })
    }
}

impl State {
    /// Where the record is, live or binned.
    fn copies(&self, placement: &Placement, record: RecordId) -> Vec<Locator> {
        let mut all = self.rows.iter().chain(&self.bin);
        let mut found: Vec<Locator> = all
            .by_ref()
            .filter(|(at, row)| row.record == record || placement.locator.as_ref() == Some(*at))
            .map(|(at, _)| at.clone())
            .collect();
        found.dedup();
        found
    }

    /// Refuses to touch a record that is somebody else's.
    fn theirs(&self, placement: &Placement, record: RecordId) -> Result<()> {
        let foreign = |at: &Locator| {
            let row = self.rows.get(at).or_else(|| self.bin.get(at));
            row.is_some_and(|row| row.subject != placement.subject)
        };
        if self.copies(placement, record).iter().any(foreign) {
            Err(Code::AclDeny.into())
        } else {
            Ok(())
        }
    }
}
