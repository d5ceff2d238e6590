//! Frames: what stands in a journal, one after the other.

use kta_core::audit::Entry;
use kta_core::audit::tiles::LONGEST_ENTRY;
use kta_core::ports::store::ChangeSet;

/// A frame without its number and checksum; `None` for an event that no log can hold.
///
/// The payload is the tenant (16), the instant in milliseconds (8), and for each event the number
/// of persons it names (2) with their ids (16 each) and its body behind its length (4).
pub(super) fn frame_of(change: &ChangeSet) -> Option<Vec<u8>> {
    let mut frame = Vec::with_capacity(640);
    frame.extend_from_slice(&[0; START]);
    frame.extend_from_slice(change.tenant.as_bytes());
    frame.extend_from_slice(&change.at.timestamp_millis().to_be_bytes());
    for event in &change.events {
        let names = event.names();
        frame.extend_from_slice(&u16::try_from(names.len()).ok()?.to_be_bytes());
        names
            .iter()
            .for_each(|name| frame.extend_from_slice(name.as_bytes()));
        let body = event.body();
        if body.is_empty() || body.len() > LONGEST_ENTRY - Entry::PLACE {
            return None;
        }
        frame.extend_from_slice(&u32::try_from(body.len()).ok()?.to_be_bytes());
        frame.extend_from_slice(&body);
    }
    let length = u32::try_from(frame.len() - START).ok()?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Some(frame)
}

pub(super) fn finish(frame: &mut Vec<u8>, number: u64) {
    frame[4..START].copy_from_slice(&number.to_be_bytes());
    let checksum = crc32fast::hash(&frame[4..]);
    frame.extend_from_slice(&checksum.to_be_bytes());
}

/// Events as they stand in a payload.
pub(crate) struct Payload<'p> {
    pub(crate) tenant: [u8; 16],
    pub(crate) millis: i64,
    pub(crate) events: Vec<Noticed<'p>>,
}

/// One event: whom it names, and its body.
pub(crate) struct Noticed<'p> {
    pub(crate) names: &'p [[u8; 16]],
    pub(crate) body: &'p [u8],
}

impl<'p> Payload<'p> {
    /// Reads what [`frame_of`] wrote.
    pub(crate) fn read(bytes: &'p [u8]) -> Option<Self> {
        let (tenant, rest) = bytes.split_first_chunk::<16>()?;
        let (millis, mut rest) = rest.split_first_chunk::<8>()?;
        let mut events = Vec::with_capacity(1);
        while !rest.is_empty() {
            let (many, after) = rest.split_first_chunk::<2>()?;
            let (names, after) =
                after.split_at_checked(16 * usize::from(u16::from_be_bytes(*many)))?;
            let (length, after) = after.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            let (body, after) = after.split_at_checked(length)?;
            let (names, _) = names.as_chunks();
            events.push(Noticed { names, body });
            rest = after;
        }
        Some(Self {
            tenant: *tenant,
            millis: i64::from_be_bytes(*millis),
            events,
        })
    }
}

/// Frames as they stand one after the other; ends before the first that is not whole.
pub(super) struct Frames<'f>(pub(super) &'f [u8]);

impl<'f> Iterator for Frames<'f> {
    type Item = (u64, &'f [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (checked, rest) = rest.split_at_checked(length.checked_add(8)?)?;
        let (checksum, rest) = rest.split_first_chunk::<4>()?;
        if length == 0 || crc32fast::hash(checked) != u32::from_be_bytes(*checksum) {
            return None;
        }
        let (number, payload) = checked.split_first_chunk::<8>()?;
        self.0 = rest;
        Some((u64::from_be_bytes(*number), payload))
    }
}

/// Whole frames that stand anywhere in these bytes: place, number and payload.
pub(super) fn anywhere(bytes: &[u8]) -> Vec<(usize, u64, &[u8])> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(some) = bytes[at..].iter().position(|byte| *byte != 0) {
        // A frame's length has four bytes and is not zero.
        at += some.saturating_sub(3);
        let mut frames = Frames(&bytes[at..]);
        // No number grows so large: most bytes need no checksum to be known for none.
        let numbered = number_in(frames.0).is_some_and(|number| number >> 40 == 0);
        if let Some((number, payload)) = numbered.then(|| frames.next()).flatten() {
            found.push((at, number, payload));
            at = bytes.len() - frames.0.len();
        } else {
            at += 1;
        }
    }
    found
}

/// The number in a frame's head, whether it is whole or not.
pub(super) fn number_in(bytes: &[u8]) -> Option<u64> {
    let number = bytes.get(4..START)?.first_chunk()?;
    Some(u64::from_be_bytes(*number))
}

/// Length and number before a payload.
const START: usize = 12;

/// Bytes of a frame that are not its payload.
pub(super) const AROUND: usize = START + 4;
