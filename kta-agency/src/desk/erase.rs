//! Erasing what lies on the desk, and looking for what is left.

use std::collections::BTreeSet;

use async_trait::async_trait;
use kta_core::Result;
use kta_core::audit::Label;
use kta_core::id::{Digest, DocumentId, IdempotencyKey};
use kta_core::pii::{CopyOf, Placement, System};
use kta_core::policy::{Act, Permit};
use kta_core::ports::erase::{Erase, Erased, Method, Probe, Residue};

use super::PortalDesk;
use super::folder::{entries, shred, sync};
use crate::manifest::{PARTS, PackageManifest, digest_of};

/// Erases a document's files wherever they lie on the desk. The agency keeps what it was given;
/// the manifest, the work order and the record stay, in ids and digests.
#[async_trait]
impl Erase for PortalDesk {
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
        let _turn = self.turn.lock().await;
        let mut steps = vec![Label::fixed("part.absent")];
        for (place, filed) in self.folder.all(placement.matter)? {
            let manifest = PackageManifest::of(filed.package);
            for (name, part) in manifest.files() {
                let file = place.join(PARTS).join(name);
                let copied = placement.of == CopyOf::Document(part.document)
                    && part.subject == placement.subject;
                if copied && file.exists() {
                    shred(&file)?;
                    sync(&place.join(PARTS))?;
                    steps = vec![Label::fixed("part.overwrite"), Label::fixed("part.remove")];
                }
            }
        }
        Ok(Erased {
            method: Method::Overwrite,
            steps,
            window: None,
        })
    }

    /// Does not trust the names by which `erase` went: it reads every file of every package of
    /// the matter, and of those being written, and compares its digest.
    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> Result<Probe> {
        placement.admit(&Self::SYSTEM, Act::Probe, permit)?;
        let _turn = self.turn.lock().await;
        let (mut wanted, mut files, mut traces) = (BTreeSet::new(), self.folder.staged()?, 0_u32);
        for (place, filed) in self.folder.all(placement.matter)? {
            let copies = filed
                .package
                .parts
                .iter()
                .filter(|part| is_copy(part.document, placement));
            let digests: Vec<Digest> = copies.map(|part| part.digest).collect();
            traces += u32::from(!digests.is_empty());
            wanted.extend(digests);
            files.append(&mut entries(&place.join(PARTS))?);
        }
        let mut residues = Vec::new();
        let mut seen = Vec::new();
        for file in files {
            let (_, digest) = digest_of(&file)?;
            seen.extend_from_slice(digest.as_bytes());
            if wanted.contains(&digest) {
                residues.push(Residue {
                    what: Label::fixed("part"),
                    until: None,
                    content: true,
                });
            }
        }
        if traces > 0 {
            residues.push(Residue {
                what: Label::fixed("manifest"),
                until: None,
                content: false,
            });
        }
        Ok(Probe {
            at: permit.now(),
            asked: vec![
                Label::fixed("parts.list"),
                Label::fixed("parts.digest"),
                Label::fixed("staging.list"),
            ],
            evidence: Digest::of(&seen),
            residues,
        })
    }
}

fn is_copy(document: DocumentId, placement: &Placement) -> bool {
    placement.of == CopyOf::Document(document)
}
