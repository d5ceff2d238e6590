//! Erasing a file with its versions and shares, live or in the recycle bin.

use async_trait::async_trait;

use super::{File, MemoryLibrary, State, denied, fault};
use crate::audit::Label;
use crate::error::{FaultKind, Result};
use crate::id::{Digest, DocumentId, IdempotencyKey};
use crate::memory::provider::residue;
use crate::pii::placement::CopyOf;
use crate::pii::{Locator, Placement, System};
use crate::policy::{Act, Permit};
use crate::ports::{Erase, Erased, Method, Probe};

#[async_trait]
impl Erase for MemoryLibrary {
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
        let document = placed(placement)?;
        let mut state = self.locked();
        if state
            .copies(placement, document)
            .any(|(_, file)| file.subject != placement.subject)
        {
            return Err(denied(permit));
        }
        let found: Vec<Locator> = state
            .copies(placement, document)
            .map(|(at, _)| at.clone())
            .collect();
        let mut steps = Vec::new();
        for at in found {
            if state.files.remove(&at).is_some() {
                state.log.push(at.clone());
                steps.extend(["shares.revoke", "versions.delete", "file.delete"].map(Label::fixed));
            }
            if state.bin.remove(&at).is_some() {
                steps.push(Label::fixed("recycle_bin.delete"));
            }
            state.backups.keep(document, permit.now());
        }
        if steps.is_empty() {
            steps.push(Label::fixed("file.absent"));
        }
        state.keys.retain(|_, (used, _)| *used != document);
        let window = state.backups.until(document);
        Ok(Erased {
            method: Method::ProviderDeletion,
            steps,
            window,
        })
    }

    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> Result<Probe> {
        placement.admit(&Self::SYSTEM, Act::Probe, permit)?;
        let document = placed(placement)?;
        let state = self.locked();
        let live = state.files.values().any(|file| file.document == document);
        let binned = state
            .bin
            .values()
            .filter(|(file, _)| file.document == document);
        let binned = binned
            .map(|(_, until)| *until)
            .filter(|until| *until > permit.now())
            .max();
        let kept = state.backups.left(document, permit.now());
        let is_kept = kept.is_some();
        let mut residues = Vec::new();
        residues.extend(live.then(|| residue("file", None)));
        residues.extend(binned.map(|until| residue("recycle_bin", Some(until))));
        residues.extend(kept);
        let evidence = format!("file={live};bin={};kept={is_kept}", binned.is_some());
        Ok(Probe {
            at: permit.now(),
            asked: vec![Label::fixed("files.list"), Label::fixed("recycle_bin.list")],
            evidence: Digest::of(evidence.as_bytes()),
            residues,
        })
    }
}

impl State {
    /// Where the document is, live or binned.
    fn copies<'s>(
        &'s self,
        placement: &'s Placement,
        document: DocumentId,
    ) -> impl Iterator<Item = (&'s Locator, &'s File)> {
        let binned = self.bin.iter().map(|(at, (file, _))| (at, file));
        self.files.iter().chain(binned).filter(move |(at, file)| {
            file.document == document || placement.locator.as_ref() == Some(*at)
        })
    }
}

fn placed(placement: &Placement) -> Result<DocumentId> {
    match placement.of {
        CopyOf::Document(document) => Ok(document),
        CopyOf::Record(_) => Err(fault(
            FaultKind::Protocol,
            "erase",
            "a library holds documents",
        )),
    }
}
