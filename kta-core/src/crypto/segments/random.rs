//! Any part of stored content.

use core::fmt;
use core::ops::Range;

use zeroize::Zeroizing;

use super::{Cipher, HEADER, SEGMENT, STORED, TAG};
use crate::crypto::{RecordKey, SealContext};
use crate::error::Result;
use crate::refusal::Code;

/// Stored content, open for reading at any position.
///
/// It does no reading of its own: it says which stored bytes it wants and opens what it is
/// given, so that one type serves files, object stores and remote ranges. `fetch` gets a range
/// of stored bytes and answers exactly those.
///
/// Opening it authenticates the last segment, and with it the length: content that was cut off
/// anywhere is refused before a byte is given out.
pub struct Segments {
    cipher: Cipher,
    length: u64,
    last: u32,
}

impl Segments {
    /// Opens content of which `stored` bytes are in store.
    ///
    /// # Errors
    /// [`Code::CryKey`] for an unknown version, suite or generation; [`Code::CrySwap`] for
    /// content of another place, and when it was cut off or its last segment changed; the
    /// errors of `fetch`.
    pub fn open(
        key: &RecordKey,
        context: &SealContext<'_>,
        stored: u64,
        mut fetch: impl FnMut(Range<u64>) -> Result<Vec<u8>>,
    ) -> Result<Self> {
        let (last, length) = layout(stored).ok_or(Code::CrySwap)?;
        let header = fetch(Self::header_range())?;
        let header = header.as_slice().try_into().map_err(|_| Code::CrySwap)?;
        let opened = Self {
            cipher: Cipher::named(key, context, header)?,
            length,
            last,
        };
        opened.segment(last, fetch)?;
        Ok(opened)
    }

    /// Length of the content in bytes, authenticated.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Number of segments, at least one.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.last as u64 + 1
    }

    /// The stored bytes of the header.
    #[must_use]
    pub const fn header_range() -> Range<u64> {
        0..HEADER as u64
    }

    /// The stored bytes of a segment, counted from 0; empty when there is no such segment.
    #[must_use]
    pub fn range(&self, number: u32) -> Range<u64> {
        if number > self.last {
            return 0..0;
        }
        let start = HEADER as u64 + u64::from(number) * STORED as u64;
        let content = (self.length - u64::from(number) * SEGMENT as u64).min(SEGMENT as u64);
        start..start + content + TAG as u64
    }

    /// Opens a segment from its stored bytes, for callers that fetch asynchronously.
    ///
    /// # Errors
    /// [`Code::CrySwap`] when they are not the bytes of this segment.
    pub fn open_segment(&self, number: u32, stored: Vec<u8>) -> Result<Zeroizing<Vec<u8>>> {
        let range = self.range(number);
        if range.is_empty() || stored.len() as u64 != range.end - range.start {
            return Err(Code::CrySwap.into());
        }
        self.cipher.open(number, number == self.last, stored)
    }

    /// Fetches and opens a segment.
    ///
    /// # Errors
    /// [`Code::CrySwap`] when the segment does not exist or does not belong here; the errors of
    /// `fetch`.
    pub fn segment(
        &self,
        number: u32,
        mut fetch: impl FnMut(Range<u64>) -> Result<Vec<u8>>,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let range = self.range(number);
        if range.is_empty() {
            return Err(Code::CrySwap.into());
        }
        self.open_segment(number, fetch(range)?)
    }

    /// Fills `buffer` from `offset` of the content on and answers how many bytes there were:
    /// fewer than asked for at the end, none behind it.
    ///
    /// # Errors
    /// As [`segment`](Self::segment); the buffer's content is then unspecified.
    pub fn read_at(
        &self,
        offset: u64,
        buffer: &mut [u8],
        mut fetch: impl FnMut(Range<u64>) -> Result<Vec<u8>>,
    ) -> Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            let position = offset.saturating_add(read as u64);
            if position >= self.length {
                break;
            }
            // Proof: position is inside the content, whose segments are counted in 32 bits.
            let number = (position / SEGMENT as u64) as u32;
            let skip = (position % SEGMENT as u64) as usize;
            let content = self.segment(number, &mut fetch)?;
            let part = content.get(skip..).unwrap_or_default();
            let many = part.len().min(buffer.len() - read);
            buffer[read..read + many].copy_from_slice(&part[..many]);
            read += many;
        }
        Ok(read)
    }
}

impl fmt::Debug for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segments({} bytes)", self.length)
    }
}

/// Number of the last segment and length of the content for a stored length that is possible.
fn layout(stored: u64) -> Option<(u32, u64)> {
    let segments = stored.checked_sub(HEADER as u64)?;
    let count = segments.div_ceil(STORED as u64).max(1);
    let last = u32::try_from(count - 1).ok()?;
    let length = segments.checked_sub(count * TAG as u64)?;
    let in_last = length.checked_sub(u64::from(last) * SEGMENT as u64)?;
    (last == 0 || in_last > 0).then_some((last, length))
}
