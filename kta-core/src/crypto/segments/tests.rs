use std::convert::Infallible;

use aead_stream::{NewStream as _, StreamBE32, StreamPrimitive as _};
use aes_gcm_siv::Aes256GcmSiv;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::*;
use crate::crypto::context::tests::{other_places, place};
use crate::crypto::keys::tests::subject_key;
use crate::crypto::testing::Counted;

fn record_key() -> RecordKey {
    subject_key().record_key(place().record)
}

fn chunks(bytes: &[u8], size: usize) -> impl futures_core::Stream<Item = Result<Bytes>> + Unpin {
    let chunks: Vec<_> = bytes
        .chunks(size)
        .map(|part| Ok(Bytes::copy_from_slice(part)))
        .collect();
    stream::iter(chunks)
}

async fn sealed(content: &[u8], chunk: usize, seed: u64) -> Vec<u8> {
    let stream = seal(
        &record_key(),
        &place(),
        chunks(content, chunk),
        &Counted::new(seed),
    );
    let parts: Vec<Bytes> = stream.unwrap().try_collect().await.unwrap();
    parts.concat()
}

async fn opened(stored: &[u8], chunk: usize) -> Result<Vec<u8>> {
    let key = record_key();
    let parts: Vec<Bytes> = open(&key, place(), chunks(stored, chunk))?
        .try_collect()
        .await?;
    Ok(parts.concat())
}

fn random_access(stored: &[u8]) -> Result<Segments> {
    Segments::open(
        &record_key(),
        &place(),
        stored.len() as u64,
        fetching(stored),
    )
}

fn fetching(stored: &[u8]) -> impl FnMut(core::ops::Range<u64>) -> Result<Vec<u8>> + '_ {
    |range| {
        Ok(stored
            .get(range.start as usize..range.end as usize)
            .unwrap_or_default()
            .to_vec())
    }
}

fn content(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Counted::new(99).fill(&mut bytes);
    bytes
}

fn lengths() -> [usize; 9] {
    [
        0,
        1,
        100,
        SEGMENT - 1,
        SEGMENT,
        SEGMENT + 1,
        2 * SEGMENT,
        2 * SEGMENT + 1,
        3 * SEGMENT - 7,
    ]
}

#[tokio::test]
async fn content_of_every_length_opens_again_whatever_the_chunks() {
    for length in lengths() {
        let whole = content(length);
        let stored = sealed(&whole, 10_000, 1).await;
        assert_eq!(stored.len() as u64, stored_length(length as u64));
        for chunk in [61, STORED, 1 << 20] {
            assert_eq!(
                sealed(&whole, chunk, 1).await,
                stored,
                "chunks do not matter"
            );
            assert_eq!(opened(&stored, chunk).await.unwrap(), whole);
        }
    }
}

#[tokio::test]
async fn any_part_is_read_without_the_rest() {
    for length in lengths() {
        let whole = content(length);
        let stored = sealed(&whole, 10_000, 2).await;
        let segments = random_access(&stored).unwrap();
        assert_eq!(segments.length(), length as u64);
        for (offset, many) in [
            (0, 10),
            (SEGMENT - 5, 10),
            (length / 2, SEGMENT + 100),
            (length, 1),
        ] {
            let mut buffer = vec![0; many];
            let mut fetched = 0;
            let mut fetch = fetching(&stored);
            let read = segments
                .read_at(offset as u64, &mut buffer, |range| {
                    fetched += range.end - range.start;
                    fetch(range)
                })
                .unwrap();
            let expected = whole
                .get(offset..length.min(offset + many))
                .unwrap_or_default();
            assert_eq!(&buffer[..read], expected);
            assert!(
                fetched <= (many as u64).div_ceil(SEGMENT as u64) * STORED as u64 + STORED as u64
            );
        }
        assert!(
            segments
                .segment(segments.count() as u32, fetching(&stored))
                .is_err()
        );
    }
}

#[tokio::test]
async fn truncation_is_refused_wherever_it_falls() {
    let stored = sealed(&content(2 * SEGMENT + 500), 10_000, 3).await;
    let ends = [
        0,
        1,
        HEADER - 1,
        HEADER,
        HEADER + 15,
        HEADER + 16,
        HEADER + 17,
        HEADER + SEGMENT,
    ];
    let borders = [
        HEADER + STORED,
        HEADER + STORED + TAG,
        HEADER + 2 * STORED,
        stored.len() - 1,
    ];
    for end in ends.into_iter().chain(borders) {
        let cut = &stored[..end];
        assert_eq!(
            opened(cut, 4096).await,
            Err(Code::CrySwap.into()),
            "cut at {end}"
        );
        assert_eq!(
            random_access(cut).err(),
            Some(Code::CrySwap.into()),
            "cut at {end}"
        );
    }
}

#[tokio::test]
async fn reordered_repeated_and_spliced_segments_are_refused() {
    let whole = content(3 * SEGMENT + 500);
    let stored = sealed(&whole, 10_000, 4).await;
    let other = sealed(&whole, 10_000, 5).await;
    let segment = |from: &[u8], number: usize| {
        from[HEADER + number * STORED..from.len().min(HEADER + (number + 1) * STORED)].to_vec()
    };
    let parts = |list: &[(&[u8], usize)]| {
        let mut all = stored[..HEADER].to_vec();
        list.iter()
            .for_each(|(from, number)| all.extend(segment(from, *number)));
        all
    };
    let (a, b) = (&stored[..], &other[..]);
    let flaws = [
        ("reordered", parts(&[(a, 1), (a, 0), (a, 2), (a, 3)])),
        ("repeated", parts(&[(a, 0), (a, 0), (a, 1), (a, 2), (a, 3)])),
        ("dropped", parts(&[(a, 0), (a, 2), (a, 3)])),
        ("spliced", parts(&[(a, 0), (b, 1), (a, 2), (a, 3)])),
        ("last spliced", parts(&[(a, 0), (a, 1), (a, 2), (b, 3)])),
        ("extended", parts(&[(a, 0), (a, 1), (a, 2), (a, 3), (b, 3)])),
        ("last first", parts(&[(a, 3)])),
    ];
    assert_eq!(
        opened(&parts(&[(a, 0), (a, 1), (a, 2), (a, 3)]), 4096)
            .await
            .unwrap(),
        whole
    );
    for (flaw, bytes) in flaws {
        assert_eq!(
            opened(&bytes, 4096).await,
            Err(Code::CrySwap.into()),
            "{flaw}"
        );
        let read = random_access(&bytes).and_then(|segments| {
            let mut all = vec![0; whole.len()];
            segments.read_at(0, &mut all, fetching(&bytes))
        });
        assert_eq!(read, Err(Code::CrySwap.into()), "{flaw}");
    }
}

#[tokio::test]
async fn every_changed_byte_of_header_and_borders_is_refused() {
    let stored = sealed(&content(SEGMENT + 40), 10_000, 6).await;
    let tags = HEADER + SEGMENT..HEADER + STORED + 2;
    for position in (0..HEADER + 2).chain(tags).chain([stored.len() - 1]) {
        let mut changed = stored.clone();
        changed[position] ^= 1;
        let expected = if position < 6 {
            Code::CryKey
        } else {
            Code::CrySwap
        };
        assert_eq!(
            opened(&changed, 4096).await,
            Err(expected.into()),
            "byte {position}"
        );
    }
}

#[tokio::test]
async fn an_empty_last_segment_after_others_is_refused() {
    let (cipher, header) =
        Cipher::fresh(&record_key(), &place(), &Counted::new(7)).expect("the place is right");
    let mut first = content(SEGMENT);
    cipher.seal(0, false, &mut first).unwrap();
    let mut last = Vec::new();
    cipher.seal(1, true, &mut last).unwrap();
    let stored = [&header[..], &first, &last].concat();
    assert_eq!(opened(&stored, 4096).await, Err(Code::CrySwap.into()));
    assert!(random_access(&stored).is_err());
}

#[tokio::test]
async fn content_opens_at_its_own_place_only() {
    let stored = sealed(b"a scan", 10, 8).await;
    let key = record_key();
    for other in other_places() {
        let outcome = match open(&key, other, chunks(&stored, 10)) {
            Ok(stream) => stream.try_collect::<Vec<_>>().await.map(|_| ()),
            Err(error) => Err(error),
        };
        assert_eq!(outcome, Err(Code::CrySwap.into()), "{other:?}");
    }
    // A sealed field is not content, and content is not a sealed field.
    let field = key.seal(&place(), b"a scan", &Counted::new(9)).unwrap();
    assert_eq!(opened(field.as_bytes(), 10).await, Err(Code::CryKey.into()));
    assert!(crate::crypto::Envelope::parse(stored).is_err());
}

#[tokio::test]
async fn an_error_of_the_source_ends_the_stream() {
    let fault = Fault::new(FaultKind::Unavailable, Port::Blobs, "get");
    let broken = || stream::iter([Ok(Bytes::from_static(b"start")), Err(fault.into())]);
    let key = record_key();
    let mut sealing = seal(&key, &place(), broken(), &Counted::new(10)).unwrap();
    assert!(sealing.next().await.unwrap().is_ok(), "the header");
    assert_eq!(sealing.next().await, Some(Err(fault.into())));
    assert_eq!(sealing.next().await, None);
    let mut opening = open(&key, place(), broken()).unwrap();
    assert_eq!(opening.next().await, Some(Err(fault.into())));
    assert_eq!(opening.next().await, None);
}

/// A second way to the same bytes: the STREAM construction as another crate has it.
#[tokio::test]
async fn a_segment_is_what_the_stream_construction_says() {
    let whole = content(SEGMENT + 3);
    let stored = sealed(&whole, 10_000, 11).await;
    let salt: [u8; SALT] = stored[6..30].try_into().unwrap();
    let key = record_key().prk.expand(&[CONTENT.key, &salt]);
    let prefix: [u8; 7] = salt[SALT - 7..].try_into().unwrap();
    let associated = [&place().to_bytes()[..], &1_u32.to_be_bytes()].concat();
    let mut at = HEADER;
    for (number, part) in whole.chunks(SEGMENT).enumerate() {
        let stream = StreamBE32::<Aes256GcmSiv>::new((&*key).into(), &prefix.into());
        let mut buffer = part.to_vec();
        let last = part.len() < SEGMENT;
        stream
            .encrypt_in_place(number as u32, last, &associated[..], &mut buffer)
            .unwrap();
        assert_eq!(stored[at..at + buffer.len()], buffer);
        at += buffer.len();
    }
    assert_eq!(at, stored.len());
}

/// 4 MiB pass through both directions while nothing but the passing segments is held.
#[tokio::test]
async fn what_is_held_does_not_grow_with_the_content() {
    const CHUNKS: u64 = 64;
    let key = record_key();
    let chunk = Bytes::from(content(SEGMENT));
    let source = stream::iter((0..CHUNKS).map(|_| Ok::<_, Infallible>(chunk.clone())))
        .map(|part| Ok(part.expect("infallible")));
    let sealing = seal(&key, &place(), source, &Counted::new(13)).unwrap();
    let mut opening = open(&key, place(), sealing).unwrap();
    let mut length = 0;
    while let Some(part) = opening.next().await {
        let part = part.unwrap();
        assert!(part.len() <= SEGMENT);
        length += part.len() as u64;
        let (held, sealing) = opening.held();
        assert!(held + sealing.held() <= 4 * STORED);
    }
    assert_eq!(length, CHUNKS * SEGMENT as u64);
}
