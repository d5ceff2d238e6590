//! A stream of any length into an object: whole, or in parts that are there or are sent.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use kta_core::id::Digest;
use kta_core::pii::ContentStream;
use kta_core::{Error, Fault, FaultKind, Port, Result};
use object_store::path::Path;
use object_store::{PutMode, PutOptions, UpdateVersion};
use sha2::{Digest as _, Sha256};

use super::cloud::{Part, Upload};
use super::wire::told;
use super::{ObjectBlobs, kind};

impl ObjectBlobs {
    /// Stores the stream at `path`; with `over` only in the place of the object with this tag.
    ///
    /// # Errors
    /// `Conflict` when another object, or none, is there, or when another writer was faster.
    pub(super) async fn upload(
        &self,
        path: &str,
        sealed: ContentStream,
        over: Option<&str>,
    ) -> Result<(u64, Digest)> {
        let mut pieces = Pieces::of(sealed, self.part);
        let first = pieces.next().await?;
        if first.len() < self.part {
            self.put_whole(path, first, over).await?;
            return Ok(pieces.told());
        }
        if over.is_some() && !self.cloud.completes_conditionally() {
            let fault = Fault::new(FaultKind::Unsupported, Port::Blobs, "replace");
            return Err(fault
                .because("this server cannot replace a long blob without risking to bring it back")
                .into());
        }
        let (upload, there) = self.resumed(path, &first).await?;
        let parts = self.send(&upload, &there, first, &mut pieces).await?;
        let completed = self.cloud.complete(&upload, &parts, over).await;
        completed.map_err(ended)?;
        Ok(pieces.told())
    }

    async fn put_whole(&self, path: &str, bytes: Bytes, over: Option<&str>) -> Result<()> {
        let mode = over.map_or(PutMode::Overwrite, |tag| {
            PutMode::Update(UpdateVersion {
                e_tag: Some(tag.to_owned()),
                version: None,
            })
        });
        let path = Path::from(path);
        let put = self
            .cloud
            .store()
            .put_opts(&path, bytes.into(), PutOptions::from(mode));
        match put.await {
            Ok(_) => Ok(()),
            Err(error) => Err(ended(told("put", &error))),
        }
    }

    /// The unfinished upload that begins with these bytes, with the parts it has; or a new one.
    async fn resumed(&self, path: &str, first: &Bytes) -> Result<(Upload, BTreeMap<usize, Part>)> {
        let begins = Part {
            name: self.cloud.name(0, first),
            length: first.len() as u64,
        };
        for upload in self
            .cloud
            .unfinished(Some(path))
            .await?
            .into_iter()
            .take(LOOKED_AT)
        {
            match self.cloud.parts(&upload).await {
                Ok(there) if there.get(&0) == Some(&begins) => return Ok((upload, there)),
                // It was completed or dropped meanwhile.
                Err(error) if kind(&error) != Some(FaultKind::NotFound) => return Err(error),
                _ => {}
            }
        }
        Ok((self.cloud.begin(path).await?, BTreeMap::new()))
    }

    /// Sends every piece that is not there already.
    async fn send(
        &self,
        upload: &Upload,
        there: &BTreeMap<usize, Part>,
        first: Bytes,
        pieces: &mut Pieces,
    ) -> Result<Vec<Part>> {
        let (mut parts, mut piece) = (Vec::new(), first);
        while !piece.is_empty() {
            let number = parts.len();
            if number == MOST_PARTS {
                let fault = Fault::new(FaultKind::Misconfigured, Port::Blobs, "put");
                return Err(fault.because("more than ten thousand parts").into());
            }
            let wanted = there.get(&number).filter(|part| {
                part.length == piece.len() as u64 && part.name == self.cloud.name(number, &piece)
            });
            parts.push(match wanted {
                Some(part) => part.clone(),
                None => {
                    let sent = self.cloud.put_part(upload, number, piece).await;
                    sent.map_err(ended)?
                }
            });
            piece = pieces.next().await?;
        }
        Ok(parts)
    }
}

/// A stream cut into pieces of one length; the last one is shorter, or empty.
struct Pieces {
    sealed: ContentStream,
    buffer: BytesMut,
    part: usize,
    hash: Sha256,
    length: u64,
}

impl Pieces {
    fn of(sealed: ContentStream, part: usize) -> Self {
        Self {
            sealed,
            buffer: BytesMut::new(),
            part,
            hash: Sha256::new(),
            length: 0,
        }
    }

    async fn next(&mut self) -> Result<Bytes> {
        while self.buffer.len() < self.part {
            let Some(chunk) = self.sealed.try_next().await? else {
                break;
            };
            self.buffer.extend_from_slice(&chunk);
        }
        let piece = self
            .buffer
            .split_to(self.part.min(self.buffer.len()))
            .freeze();
        self.hash.update(&piece);
        self.length += piece.len() as u64;
        Ok(piece)
    }

    /// Length and digest of what went through.
    fn told(self) -> (u64, Digest) {
        (self.length, Digest::from_bytes(self.hash.finalize().into()))
    }
}

/// An upload or an object that is not there while it is written to: another writer, or an
/// erasure, was faster. The caller may try again.
fn ended(error: Error) -> Error {
    match kind(&error) {
        Some(FaultKind::NotFound) => Fault::new(FaultKind::Conflict, Port::Blobs, "put").into(),
        _ => error,
    }
}

/// Unfinished uploads of one blob that are looked at for one to go on with.
const LOOKED_AT: usize = 16;

/// No object of S3 has more.
const MOST_PARTS: usize = 10_000;
