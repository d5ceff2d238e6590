//! Large content passes through, sealed and opened again, in a few megabytes whatever its length.
//!
//! The peak of the process's memory is the kernel's own figure. This file holds one test, so that
//! nothing else in the process counts.

#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "a measurement says what it measured")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use kta_core::crypto::{SealContext, SecretKey, SubjectKey, segments};
use kta_core::id::{RecordId, SubjectId, TenantId};
use kta_core::memory::SeededEntropy;

const MIB: u64 = 1024 * 1024;

#[tokio::test]
async fn two_gibibytes_pass_through_in_the_memory_of_two_mebibytes() {
    let short = pass(2 * MIB).await;
    let long = pass(2048 * MIB).await;
    println!(
        "peak {} KiB after 2 MiB, {} KiB after 2 GiB",
        short / 1024,
        long / 1024
    );
    assert!(long - short < MIB, "{short} bytes, then {long}");
    assert!(long < 64 * MIB, "{long} bytes");
}

/// Seals and opens content of this length, and answers the peak of this process's memory.
async fn pass(length: u64) -> u64 {
    let (tenant, subject) = (
        TenantId::from_bytes([1; 16]),
        SubjectId::from_bytes([2; 16]),
    );
    let record = RecordId::from_bytes([3; 16]);
    let key = SubjectKey::new(tenant, subject, 1, &SecretKey::from_bytes([7; 32]));
    let key = key.record_key(record);
    let place = SealContext {
        tenant,
        subject,
        matter: None,
        record,
        field: "content",
        revision: 1,
    };
    // Chunks of an awkward size, each an allocation of its own and telling its place.
    const CHUNK: u64 = 100_003;
    let chunk = |number: u64| {
        let many = CHUNK.min(length - number * CHUNK) as usize;
        let mut bytes = vec![number as u8; many];
        let tail = number.to_be_bytes();
        let start = many.saturating_sub(8);
        bytes[start..].copy_from_slice(&tail[8 - (many - start)..]);
        bytes
    };
    let source =
        stream::iter(0..length.div_ceil(CHUNK)).map(|number| Ok(Bytes::from(chunk(number))));
    let sealed = segments::seal(&key, &place, source, &SeededEntropy::new(1)).unwrap();
    let mut opened = segments::open(&key, place, sealed).unwrap();
    let (mut total, mut waiting) = (0, Vec::new());
    let mut number = 0;
    while let Some(part) = opened.next().await {
        let part = part.unwrap();
        total += part.len() as u64;
        waiting.extend_from_slice(&part);
        while number * CHUNK < length && waiting.len() as u64 >= CHUNK.min(length - number * CHUNK)
        {
            let expected = chunk(number);
            assert_eq!(waiting[..expected.len()], expected, "chunk {number}");
            waiting.drain(..expected.len());
            number += 1;
        }
    }
    assert_eq!((total, waiting.len()), (length, 0));
    peak()
}

fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() * 1024
}
