//! The documents that the kits put into libraries.

use bytes::Bytes;
use futures_util::stream;

use super::Desk;
use super::marks::MARK;
use crate::error::{Fault, FaultKind, Port};
use crate::id::{Digest, DocumentId, SubjectId};
use crate::pii::{Classification, Content, ContentStream, Document, DocumentKind, MediaType};
use crate::policy::Scope;

/// The beneficiary's passport with this content.
pub(crate) fn document(desk: &Desk, number: u8, bytes: &[u8]) -> Document {
    let subject: SubjectId = desk.beneficiary();
    Document {
        tenant: desk.tenant(),
        id: DocumentId::derived(&[subject.as_bytes(), &[number]]),
        subject,
        matter: desk.matter(),
        kind: DocumentKind::Passport,
        classification: DocumentKind::Passport.classification(),
        digest: Digest::of(bytes),
        length: bytes.len() as u64,
        media: MediaType::pdf(),
        derived_from: Vec::new(),
    }
}

/// Marked bytes, no two stretches of them alike.
pub(crate) fn content(length: usize, seed: u8) -> Vec<u8> {
    let mut state = 0x9E37_79B9_u32 ^ u32::from(seed);
    let noise = core::iter::from_fn(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((state >> 24) as u8)
    });
    let mut bytes: Vec<u8> = noise.take(length).collect();
    let mark = MARK.as_bytes();
    if length > 100 {
        bytes[50..50 + mark.len()].copy_from_slice(mark);
    }
    bytes
}

pub(crate) fn special() -> (DocumentKind, Classification) {
    let kind = DocumentKind::PoliceCertificate;
    (kind, kind.classification())
}

pub(crate) fn scope(desk: &Desk, document: &Document) -> Scope {
    desk.scope(document.subject, document.classification.category)
}

pub(crate) fn whole_content(bytes: &[u8]) -> Content {
    Content::of(bytes.to_vec(), MediaType::pdf())
}

pub(crate) fn whole(bytes: &[u8]) -> ContentStream {
    // In uneven pieces, as a network gives them.
    let pieces: Vec<_> = bytes
        .chunks(65_521)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    Box::pin(stream::iter(pieces))
}

/// The first half, then a fault.
pub(crate) fn broken_off(bytes: &[u8]) -> ContentStream {
    let half = Bytes::copy_from_slice(&bytes[..bytes.len() / 2]);
    let fault = Fault::new(FaultKind::Unavailable, Port::Blobs, "stream");
    Box::pin(stream::iter([Ok(half), Err(fault.into())]))
}
