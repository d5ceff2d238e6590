//! Sealed bytes in an object store.

mod azure;
mod cloud;
mod config;
mod s3;
mod upload;
mod wire;
mod xml;

use core::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{TimeDelta, Utc};
use futures_util::TryStreamExt as _;
use kta_core::audit::Label;
use kta_core::id::{Digest, IdempotencyKey};
use kta_core::pii::{ContentStream, Placement, System};
use kta_core::policy::{Act, Permit};
use kta_core::ports::blobs::{BlobId, Blobs};
use kta_core::ports::erase::{Erase, Erased, Method, Probe, Residue};
use kta_core::time::Timestamp;
use kta_core::{Code, Error, Fault, FaultKind, Port, Refusal, Result};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use crate::blobs::hex;
use cloud::{Cloud, Kept, Lock};
use wire::told;

pub use config::{AzureConfig, S3Config};

/// [`Blobs`] and their [`Erase`] in one bucket or container. Clones are handles to one.
///
/// ```text
/// <tenant>/<2 digits of the subject>/<subject>/<document>     ids in hexadecimal
/// ```
///
/// A blob up to the length of one part goes in one request, a longer one in parts of which one is
/// in memory at a time. A put that was cut leaves its parts; the next put of the same sealed bytes
/// compares each piece with the part that is there and sends only what is missing, from whichever
/// machine: the server keeps the journal. Parts that nobody wants for a day are dropped at the
/// next connecting (Azure drops them itself, after a week); erasing drops those of its blob, and
/// a probe counts them. Of two that write one blob at once one stands, whole; the other may be
/// told [`Conflict`](kta_core::FaultKind::Conflict).
///
/// [`replace`](Blobs::replace) writes over the object that it saw at its beginning, by its entity
/// tag, and over no other. Connecting tries whether the server keeps that condition, and refuses
/// a server that does not; one that keeps it for whole objects only (there are such) cannot
/// replace blobs longer than a part, which is then
/// [`Unsupported`](kta_core::FaultKind::Unsupported).
///
/// Where the bucket keeps versions, what was written over stays as one until the blob is erased.
/// Erasing removes every version, snapshot and mark of deletion. What the bucket's retention or
/// the account's soft delete keeps is told with its time, a legal hold on it is
/// [`Code::DstHold`].
///
/// On S3 it needs to get, put, delete and list objects, their versions and uploads, and to see
/// retention and legal hold; without the last two what is locked counts as left without a reason.
///
/// Needs a tokio runtime.
#[derive(Clone)]
pub struct ObjectBlobs {
    cloud: Arc<dyn Cloud>,
    part: usize,
}

impl ObjectBlobs {
    /// The blobs in a bucket of S3.
    ///
    /// # Errors
    /// `Misconfigured` when there is no such bucket, the credentials are refused, or the server
    /// ignores conditions; [`Code::NetPlain`] for `http` to another machine,
    /// [`Code::NetTokenLeak`] for credentials in the address.
    pub async fn s3(config: &S3Config) -> Result<Self> {
        Self::over(Arc::new(s3::S3::connect(config).await?), config.part).await
    }

    /// The blobs in a container of Azure.
    ///
    /// # Errors
    /// As [`s3`](Self::s3).
    pub async fn azure(config: &AzureConfig) -> Result<Self> {
        Self::over(Arc::new(azure::Azure::connect(config).await?), config.part).await
    }

    async fn over(cloud: Arc<dyn Cloud>, part: usize) -> Result<Self> {
        let blobs = Self { cloud, part };
        blobs.drop_unfinished(Utc::now() - STALE).await?;
        Ok(blobs)
    }

    /// Drops uploads that began before then and were not finished; says how many. Connecting does
    /// it for those of yesterday; a house that runs for long does it daily.
    ///
    /// # Errors
    /// Faults of the server.
    pub async fn drop_unfinished(&self, before: Timestamp) -> Result<u64> {
        let mut dropped = 0;
        for upload in self.cloud.unfinished(None).await? {
            if upload.begun.is_some_and(|begun| begun < before) {
                self.cloud.abandon(&upload).await?;
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    /// The tag of the object that is there.
    async fn tag(&self, path: &str, operation: &'static str) -> Result<String> {
        let head = self.cloud.store().head(&Path::from(path)).await;
        let head = head.map_err(|error| told(operation, &error))?;
        head.e_tag.ok_or_else(|| {
            let fault = Fault::new(FaultKind::Protocol, Port::Blobs, operation);
            fault.because("the server gives no entity tag").into()
        })
    }

    async fn is_there(&self, path: &str) -> Result<bool> {
        match self.tag(path, "contains").await {
            Ok(_) => Ok(true),
            Err(error) if kind(&error) == Some(FaultKind::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes everything of this object; gives until when the provider keeps something still.
    async fn remove_all(&self, path: &str) -> Result<Option<Timestamp>> {
        for _ in 0..ROUNDS {
            let all = self.cloud.kept(path).await?;
            let (markers, versions): (Vec<_>, Vec<_>) = all
                .iter()
                .partition(|kept| !kept.content && kept.id.is_some());
            let (mut removed, mut window, mut locked) = (0, None, 0);
            for kept in versions {
                match self.remove_one(path, kept).await? {
                    None => removed += 1,
                    Some(until) => {
                        window = window.max(Some(until));
                        locked += u32::from(kept.until.is_none());
                    }
                }
            }
            if locked > 0 {
                if self.is_there(path).await? {
                    self.cloud.hide(path).await?;
                }
            } else {
                for marker in &markers {
                    self.remove_one(path, marker).await?;
                    removed += 1;
                }
            }
            let unfinished = self.cloud.unfinished(Some(path)).await?;
            for upload in &unfinished {
                self.cloud.abandon(upload).await?;
            }
            if removed == 0 && unfinished.is_empty() {
                return Ok(window);
            }
        }
        // Somebody writes it anew again and again.
        Err(Fault::new(FaultKind::Conflict, Port::Blobs, "remove").into())
    }

    /// Removes one copy, or says until when it is locked.
    async fn remove_one(&self, path: &str, kept: &Kept) -> Result<Option<Timestamp>> {
        if kept.until.is_some() {
            return Ok(kept.until);
        }
        let Err(error) = self.cloud.remove(path, kept).await else {
            return Ok(None);
        };
        let refused = matches!(
            kind(&error),
            Some(FaultKind::Misconfigured | FaultKind::Conflict)
        );
        match self.cloud.lock(path, kept).await {
            Ok(Some(Lock::Until(until))) if refused => Ok(Some(until)),
            Ok(Some(Lock::Held)) if refused => {
                let refusal = Refusal::new(Code::DstHold);
                Err(refusal.about("what", Label::fixed("object-lock")).into())
            }
            _ => Err(error),
        }
    }
}

#[async_trait]
impl Blobs for ObjectBlobs {
    async fn put(
        &self,
        id: &BlobId,
        sealed: ContentStream,
        permit: &Permit<'_>,
    ) -> Result<(u64, Digest)> {
        id.admit(BlobId::HANDLING, permit)?;
        self.upload(&path(id), sealed, None).await
    }

    async fn replace(
        &self,
        id: &BlobId,
        sealed: ContentStream,
        permit: &Permit<'_>,
    ) -> Result<(u64, Digest)> {
        id.admit(BlobId::REPLACING, permit)?;
        let path = path(id);
        let tag = self.tag(&path, "replace").await?;
        let outcome = self.upload(&path, sealed, Some(&tag)).await;
        if let Err(Error::Broken(fault)) = &outcome
            && fault.is_transient()
            && !self.is_there(&path).await?
        {
            // What lost against an erasure leaves nothing.
            for upload in self.cloud.unfinished(Some(&path)).await? {
                self.cloud.abandon(&upload).await?;
            }
            return Err(Fault::new(FaultKind::NotFound, Port::Blobs, "replace").into());
        }
        outcome
    }

    async fn stream(&self, id: &BlobId, permit: &Permit<'_>) -> Result<ContentStream> {
        id.admit(BlobId::READING, permit)?;
        let found = self.cloud.store().get(&Path::from(path(id))).await;
        let found = found.map_err(|error| told("stream", &error))?;
        let content = found.into_stream();
        Ok(Box::pin(content.map_err(|error| told("stream", &error))))
    }

    async fn remove(&self, id: &BlobId, permit: &Permit<'_>) -> Result<()> {
        id.admit(BlobId::REMOVING, permit)?;
        match self.remove_all(&path(id)).await? {
            None => Ok(()),
            Some(until) => Err(Refusal::new(Code::DstResidue).about("until", until).into()),
        }
    }

    async fn contains(&self, id: &BlobId) -> Result<bool> {
        self.is_there(&path(id)).await
    }
}

/// Removes the object with its versions and unfinished uploads; probes by asking for it and by
/// listing what is kept of it.
#[async_trait]
impl Erase for ObjectBlobs {
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
        let window = self.remove_all(&path(&placement.stored_blob()?)).await?;
        let steps = ["object.delete", "version.delete", "upload.abort"];
        Ok(Erased {
            method: Method::ProviderDeletion,
            steps: steps.map(Label::fixed).to_vec(),
            window,
        })
    }

    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> Result<Probe> {
        placement.admit(&self.system(), Act::Probe, permit)?;
        let path = path(&placement.stored_blob()?);
        let at = permit.now();
        let kept = self.cloud.kept(&path).await?;
        let unfinished = self.cloud.unfinished(Some(&path)).await?;
        let there = self.is_there(&path).await?;
        let mut residues = Vec::new();
        for kept in &kept {
            let until = match self.cloud.lock(&path, kept).await? {
                Some(Lock::Until(until)) if until > at => Some(until),
                _ => None,
            };
            residues.push(Residue {
                what: kept.what.clone(),
                until,
                content: kept.content || kept.what.as_str() == "blob",
            });
        }
        let residue = |what| Residue {
            what: Label::fixed(what),
            until: None,
            content: true,
        };
        if there && residues.is_empty() {
            residues.push(residue("blob"));
        }
        residues.extend(unfinished.iter().map(|_| residue("upload")));
        let seen = format!("head={there};kept={kept:?};unfinished={}", unfinished.len());
        Ok(Probe {
            at,
            asked: ["object.head", "versions.list", "uploads.list"]
                .map(Label::fixed)
                .to_vec(),
            evidence: Digest::of(seen.as_bytes()),
            residues,
        })
    }
}

impl fmt::Debug for ObjectBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectBlobs({:?})", self.cloud)
    }
}

fn path(id: &BlobId) -> String {
    let subject = hex(id.subject.as_bytes());
    let (tenant, document) = (hex(id.tenant.as_bytes()), hex(id.document.as_bytes()));
    format!("{tenant}/{}/{subject}/{document}", &subject[..2])
}

fn kind(error: &Error) -> Option<FaultKind> {
    error.fault().map(Fault::kind)
}

/// How old an unfinished upload must be before it is nobody's.
const STALE: TimeDelta = TimeDelta::days(1);

/// How often it is looked again whether anything is left.
const ROUNDS: u32 = 64;
