//! An agency's channel in memory.

use core::fmt;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt as _;

use crate::audit::Label;
use crate::error::{Fault, FaultKind, Port, Result};
use crate::id::{Digest, DocumentId, IdempotencyKey};
use crate::pii::{Content, CopyOf, Placement, System};
use crate::policy::{Act, Permit};
use crate::ports::channel::{Channel, Package, Submission, SubmissionState};
use crate::ports::erase::{Erase, Erased, Method, Probe, Residue};

/// A [`Channel`] in memory, for tests and examples: it takes a package only when every part is
/// exactly what the manifest says, and keeps the parts, so that they can be erased and probed
/// for. Clones are handles to one channel.
#[derive(Clone, Default)]
pub struct MemoryChannel {
    filed: Arc<Mutex<BTreeMap<IdempotencyKey, Filed>>>,
}

struct Filed {
    package: Package,
    parts: BTreeMap<DocumentId, Bytes>,
    submission: Submission,
}

impl MemoryChannel {
    /// The name under which placements know this channel.
    pub const SYSTEM: System = Label::fixed("memory-channel");

    /// A channel to which nothing was submitted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every submission and what it carries, for tests.
    #[must_use]
    pub fn submissions(&self) -> Vec<(Submission, Package)> {
        self.locked()
            .values()
            .map(|filed| (filed.submission.clone(), filed.package.clone()))
            .collect()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<IdempotencyKey, Filed>> {
        // One insertion or removal is the whole change, so a poisoned map is whole.
        self.filed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The parts that are a copy of this document of this person.
    fn copies(&self, placement: &Placement) -> Vec<IdempotencyKey> {
        let CopyOf::Document(document) = placement.of else {
            return Vec::new();
        };
        let holds = |filed: &Filed| {
            let named = |part: &crate::ports::channel::Part| {
                part.document == document && part.subject == placement.subject
            };
            filed.parts.contains_key(&document) && filed.package.parts.iter().any(named)
        };
        self.locked()
            .iter()
            .filter(|(_, filed)| holds(filed))
            .map(|(key, _)| *key)
            .collect()
    }
}

#[async_trait]
impl Channel for MemoryChannel {
    fn name(&self) -> Label {
        Self::SYSTEM
    }

    async fn submit(
        &self,
        package: &Package,
        parts: Vec<Content>,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Submission> {
        package.admit(permit)?;
        if let Some(filed) = self.locked().get(&key) {
            let same = filed.package.matter == package.matter;
            let conflict = Fault::new(FaultKind::Conflict, Port::Channel, "submit");
            return if same {
                Ok(filed.submission.clone())
            } else {
                Err(conflict.into())
            };
        }
        let corrupt = Fault::new(FaultKind::Corrupt, Port::Channel, "submit");
        if parts.len() != package.parts.len() {
            return Err(corrupt
                .because("parts and manifest differ in number")
                .into());
        }
        let mut kept = BTreeMap::new();
        for (part, content) in package.parts.iter().zip(parts) {
            if !part.promises(&content) {
                return Err(corrupt
                    .because("a part is not what the manifest says")
                    .into());
            }
            let chunks: Vec<Bytes> = content.into_stream(permit).try_collect().await?;
            kept.insert(part.document, Bytes::from(chunks.concat()));
        }
        let submission = Submission {
            key: key.to_string(),
            package: package.digest(),
            state: SubmissionState::Sent { at: permit.now() },
        };
        let filed = Filed {
            package: package.clone(),
            parts: kept,
            submission,
        };
        Ok(self.locked().entry(key).or_insert(filed).submission.clone())
    }

    async fn find(&self, key: IdempotencyKey, permit: &Permit<'_>) -> Result<Option<Submission>> {
        permit.require_act(&[Act::Transmit])?;
        let filed = self.locked();
        let found = filed
            .get(&key)
            .filter(|filed| permit.matter() == Some(filed.package.matter));
        Ok(found.map(|filed| filed.submission.clone()))
    }
}

/// Erases the copies of documents that were handed in.
#[async_trait]
impl Erase for MemoryChannel {
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
        let copies = self.copies(placement);
        let mut filed = self.locked();
        for key in copies {
            if let (Some(filed), CopyOf::Document(document)) = (filed.get_mut(&key), placement.of) {
                filed.parts.remove(&document);
            }
        }
        Ok(Erased {
            method: Method::Overwrite,
            steps: vec![Label::fixed("part.remove")],
            window: None,
        })
    }

    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> Result<Probe> {
        placement.admit(&Self::SYSTEM, Act::Probe, permit)?;
        let copies = self.copies(placement);
        let residue = |_: &IdempotencyKey| Residue {
            what: Label::fixed("part"),
            until: None,
            content: true,
        };
        let names: Vec<String> = copies.iter().map(ToString::to_string).collect();
        Ok(Probe {
            at: permit.now(),
            asked: vec![Label::fixed("parts.list")],
            evidence: Digest::of(names.join("\n").as_bytes()),
            residues: copies.iter().map(residue).collect(),
        })
    }
}

impl fmt::Debug for MemoryChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryChannel({} submissions)", self.locked().len())
    }
}
