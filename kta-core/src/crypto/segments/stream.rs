//! One stream of chunks into another.

use core::borrow::Borrow;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use zeroize::{Zeroize as _, Zeroizing};

use super::{Cipher, HEADER, SEGMENT, STORED, after};
use crate::crypto::{RecordKey, SealContext};
use crate::error::Result;
use crate::refusal::Code;
use crate::time::Entropy;

/// Seals a stream of content. What comes out is to be stored byte after byte.
///
/// # Errors
/// [`Code::CrySwap`] when the place is not in this key's record. The stream ends with the first
/// error of the content; what came out before it is incomplete and will not open.
pub fn seal<S>(
    key: &RecordKey,
    context: &SealContext<'_>,
    content: S,
    entropy: &dyn Entropy,
) -> Result<SealStream<S>>
where
    S: Stream<Item = Result<Bytes>> + Unpin,
{
    let (cipher, header) = Cipher::fresh(key, context, entropy)?;
    Ok(SealStream {
        content,
        cipher,
        header: Some(header),
        waiting: Zeroizing::new(Vec::with_capacity(STORED)),
        rest: Bytes::new(),
        number: 0,
        ended: false,
        done: false,
    })
}

/// Opens a stream of stored bytes. Each chunk of content that comes out is authentic; that the
/// content is complete is certain when the stream has ended without an error, not before.
///
/// The stream gives, instead of content: [`Code::CryKey`] for an unknown version, suite or
/// generation, [`Code::CrySwap`] for content of another place, and for a segment that is
/// changed, cut off, swapped, repeated or not of this content; then it ends.
///
/// # Errors
/// [`Code::CrySwap`] when the place is not in this key's record.
pub fn open<K, S>(key: K, context: SealContext<'_>, stored: S) -> Result<OpenStream<'_, K, S>>
where
    K: Borrow<RecordKey>,
    S: Stream<Item = Result<Bytes>> + Unpin,
{
    key.borrow().admits(&context)?;
    Ok(OpenStream {
        stored,
        key,
        context,
        cipher: None,
        waiting: Vec::with_capacity(STORED),
        rest: Bytes::new(),
        number: 0,
        ended: false,
        done: false,
    })
}

/// The stored bytes of content that is being sealed; see [`seal`].
pub struct SealStream<S> {
    content: S,
    cipher: Cipher,
    header: Option<Vec<u8>>,
    waiting: Zeroizing<Vec<u8>>,
    rest: Bytes,
    number: u32,
    ended: bool,
    done: bool,
}

impl<S> Stream for SealStream<S>
where
    S: Stream<Item = Result<Bytes>> + Unpin,
{
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(header) = this.header.take() {
            return Poll::Ready(Some(Ok(Bytes::from(header))));
        }
        if this.done {
            return Poll::Ready(None);
        }
        // A full segment is sealed only once it is known whether another byte follows.
        loop {
            fill(&mut this.waiting, &mut this.rest, SEGMENT);
            let full = this.waiting.len() == SEGMENT && !this.rest.is_empty();
            if full || this.ended {
                let last = !full;
                this.done = last;
                // Encrypted where it stands, so no plaintext is left to wipe.
                let mut segment =
                    core::mem::replace(&mut *this.waiting, Vec::with_capacity(STORED));
                let sealed = this.cipher.seal(this.number, last, &mut segment);
                let sealed = sealed.and_then(|()| {
                    if !last {
                        this.number = after(this.number)?;
                    }
                    Ok(Bytes::from(segment))
                });
                this.done |= sealed.is_err();
                return Poll::Ready(Some(sealed));
            }
            match ready!(Pin::new(&mut this.content).poll_next(task)) {
                Some(Ok(chunk)) => this.rest = chunk,
                Some(Err(error)) => {
                    this.done = true;
                    this.waiting.zeroize();
                    return Poll::Ready(Some(Err(error)));
                }
                None => this.ended = true,
            }
        }
    }
}

#[cfg(test)]
impl<S> SealStream<S> {
    /// Bytes of memory held between two chunks.
    pub(super) fn held(&self) -> usize {
        self.waiting.capacity() + self.rest.len()
    }
}

impl<S> fmt::Debug for SealStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealStream(at segment {})", self.number)
    }
}

/// The content of stored bytes that are being opened; see [`open`].
pub struct OpenStream<'a, K, S> {
    stored: S,
    key: K,
    context: SealContext<'a>,
    cipher: Option<Cipher>,
    waiting: Vec<u8>,
    rest: Bytes,
    number: u32,
    ended: bool,
    done: bool,
}

impl<K: Borrow<RecordKey>, S> OpenStream<'_, K, S> {
    /// The next chunk, when what waits suffices for one; `None` asks for more stored bytes.
    fn step(&mut self) -> Result<Option<Bytes>> {
        if self.cipher.is_none() {
            fill(&mut self.waiting, &mut self.rest, HEADER);
            let Some(header) = self.waiting.first_chunk() else {
                return if self.ended {
                    Err(Code::CrySwap.into())
                } else {
                    Ok(None)
                };
            };
            self.cipher = Some(Cipher::named(self.key.borrow(), &self.context, header)?);
            self.waiting.clear();
        }
        let Some(cipher) = &self.cipher else {
            return Ok(None);
        };
        fill(&mut self.waiting, &mut self.rest, STORED);
        let full = self.waiting.len() == STORED && !self.rest.is_empty();
        if !full && !self.ended {
            return Ok(None);
        }
        let segment = core::mem::replace(&mut self.waiting, Vec::with_capacity(STORED));
        let mut content = cipher.open(self.number, !full, segment)?;
        if full {
            self.number = after(self.number)?;
        } else {
            self.done = true;
        }
        Ok(Some(Bytes::from_owner(Wiped(core::mem::take(
            &mut *content,
        )))))
    }
}

impl<K, S> Stream for OpenStream<'_, K, S>
where
    K: Borrow<RecordKey> + Unpin,
    S: Stream<Item = Result<Bytes>> + Unpin,
{
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if this.done {
                return Poll::Ready(None);
            }
            match this.step() {
                Ok(Some(content)) if content.is_empty() => {}
                Ok(Some(content)) => return Poll::Ready(Some(Ok(content))),
                Ok(None) => match ready!(Pin::new(&mut this.stored).poll_next(task)) {
                    Some(Ok(chunk)) => this.rest = chunk,
                    Some(Err(error)) => {
                        this.done = true;
                        return Poll::Ready(Some(Err(error)));
                    }
                    None => this.ended = true,
                },
                Err(error) => {
                    this.done = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

#[cfg(test)]
impl<K, S> OpenStream<'_, K, S> {
    /// Bytes of memory held between two chunks, and what gives the stored bytes.
    pub(super) fn held(&self) -> (usize, &S) {
        (self.waiting.capacity() + self.rest.len(), &self.stored)
    }
}

impl<K, S> fmt::Debug for OpenStream<'_, K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenStream(at segment {})", self.number)
    }
}

/// Content whose memory is wiped when the last handle to it is dropped.
struct Wiped(Vec<u8>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        // `Zeroize` writes one byte at a time, which for a segment takes as long as decrypting
        // it. This is one `memset`, and what the black box might look at is not left out.
        self.0.fill(0);
        core::hint::black_box(&mut self.0);
    }
}

/// Moves bytes from `rest` until `waiting` holds `length`.
fn fill(waiting: &mut Vec<u8>, rest: &mut Bytes, length: usize) {
    let wanted = length.saturating_sub(waiting.len()).min(rest.len());
    waiting.extend_from_slice(&rest.split_to(wanted));
}
