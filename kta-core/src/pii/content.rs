//! Large content on its way: a stream of bytes with the length and digest it must turn out to
//! have, never held in memory as a whole.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Fault, FaultKind, Port, Result};
use crate::id::Digest;
use crate::policy::Permit;

/// A stream of chunks.
pub type ContentStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// Content that somebody wants stored, sent or scanned.
///
/// Reading it wants a [`Permit`]; the stream ends with a fault when length or digest turn out
/// to differ from what was promised, so a receiver that saw the end saw the right bytes.
pub struct Content {
    length: u64,
    digest: Digest,
    media: MediaType,
    stream: ContentStream,
}

impl Content {
    /// Content of a stream that promises `length` bytes with this digest.
    #[must_use]
    pub fn new(length: u64, digest: Digest, media: MediaType, stream: ContentStream) -> Self {
        Self {
            length,
            digest,
            media,
            stream,
        }
    }

    /// Content held in memory, for what is small.
    #[must_use]
    pub fn of(bytes: impl Into<Bytes>, media: MediaType) -> Self {
        let bytes = bytes.into();
        let (length, digest) = (bytes.len() as u64, Digest::of(&bytes));
        let once = futures_util::stream::iter([Ok(bytes)]);
        Self::new(length, digest, media, Box::pin(once))
    }

    /// Promised length in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Promised SHA-256.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// What the bytes are.
    #[must_use]
    pub const fn media(&self) -> &MediaType {
        &self.media
    }

    /// The bytes, checked against the promise as they pass.
    #[must_use]
    pub fn into_stream(self, _permit: &Permit<'_>) -> ContentStream {
        self.checked()
    }

    /// The bytes in memory, when there are at most `limit` of them.
    ///
    /// # Errors
    /// [`Code::IntSize`](crate::refusal::Code::IntSize) when the promise is larger, a fault when the stream breaks or breaks its
    /// promise.
    pub async fn collect(
        self,
        limit: u64,
        permit: &Permit<'_>,
    ) -> Result<crate::pii::Pii<Vec<u8>>> {
        if self.length > limit {
            return Err(crate::refusal::Code::IntSize.into());
        }
        let mut all = Vec::with_capacity(usize::try_from(self.length).unwrap_or(0));
        let mut stream = self.into_stream(permit);
        while let Some(chunk) = core::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            all.extend_from_slice(&chunk?);
        }
        Ok(crate::pii::Pii::new(all))
    }

    pub(crate) fn checked(self) -> ContentStream {
        Box::pin(Checked {
            left: self.length,
            digest: self.digest,
            hash: Some(Sha256::new()),
            stream: self.stream,
        })
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("length", &self.length)
            .field("digest", &self.digest)
            .field("media", &self.media)
            .finish_non_exhaustive()
    }
}

/// A media type (RFC 6838) in lower case without parameters, for example `application/pdf`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct MediaType(String);

impl MediaType {
    /// PDF.
    #[must_use]
    pub fn pdf() -> Self {
        Self("application/pdf".into())
    }

    /// Bytes of no known type.
    #[must_use]
    pub fn octets() -> Self {
        Self("application/octet-stream".into())
    }

    /// Plain text in UTF-8.
    #[must_use]
    pub fn text() -> Self {
        Self("text/plain".into())
    }

    /// A media type from outside; anything malformed becomes [`octets`](Self::octets), which
    /// no allow-list contains.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let essence = text
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let part = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        match essence.split_once('/') {
            Some((kind, sub)) if essence.len() <= 127 && part(kind) && part(sub) => Self(essence),
            _ => Self::octets(),
        }
    }

    /// The type's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::parse(&String::deserialize(deserializer)?))
    }
}

struct Checked {
    left: u64,
    digest: Digest,
    hash: Option<Sha256>,
    stream: ContentStream,
}

impl Stream for Checked {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(hash) = this.hash.as_mut() else {
            return Poll::Ready(None);
        };
        let broken = |this: &mut Self| {
            this.hash = None;
            let fault = Fault::new(FaultKind::Corrupt, Port::Blobs, "read content");
            Poll::Ready(Some(Err(Error::from(
                fault.because("length or digest differ from the promise"),
            ))))
        };
        match this.stream.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(chunk))) => match this.left.checked_sub(chunk.len() as u64) {
                Some(left) => {
                    this.left = left;
                    hash.update(&chunk);
                    Poll::Ready(Some(Ok(chunk)))
                }
                None => broken(this),
            },
            Poll::Ready(Some(Err(error))) => {
                this.hash = None;
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                let whole = this.hash.take().is_some_and(|hash| {
                    this.left == 0 && Digest::from_bytes(hash.finalize().into()) == this.digest
                });
                if whole {
                    Poll::Ready(None)
                } else {
                    broken(this)
                }
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
