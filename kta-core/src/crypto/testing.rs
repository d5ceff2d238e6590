//! What the tests of this room share.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Mutex;

use sha2::{Digest as _, Sha256};

use crate::time::Entropy;

/// Repeatable bytes: SHA-256 over a seed and a counter. Only for tests, as anybody can guess it.
#[derive(Debug)]
pub(crate) struct Counted {
    seed: u64,
    drawn: Mutex<u64>,
}

impl Counted {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            drawn: Mutex::new(0),
        }
    }
}

impl Entropy for Counted {
    fn fill(&self, buffer: &mut [u8]) {
        let mut drawn = self.drawn.lock().expect("no test panics while drawing");
        for chunk in buffer.chunks_mut(32) {
            let block = Sha256::new()
                .chain_update(self.seed.to_be_bytes())
                .chain_update(drawn.to_be_bytes())
                .finalize();
            chunk.copy_from_slice(&block[..chunk.len()]);
            *drawn += 1;
        }
    }
}

/// The bytes of this very process at `address`, read as a file: a look into one's own memory
/// that needs no unsafe code. `None` where the system has no such file.
pub(crate) fn memory_at(address: usize, length: usize) -> Option<Vec<u8>> {
    let mut memory = std::fs::File::open("/proc/self/mem").ok()?;
    memory.seek(SeekFrom::Start(address as u64)).ok()?;
    let mut bytes = vec![0; length];
    memory.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes to look for, kept in a form in which the search does not find itself.
pub(crate) struct Masked([u8; 32]);

impl Masked {
    pub(crate) fn of(bytes: &[u8; 32]) -> Self {
        Self(bytes.map(|byte| byte ^ MASK))
    }

    /// How often the first or the second half stands in what this process can write: heap,
    /// stacks and statics. `None` where the system does not let a process look.
    ///
    /// What this cannot show: registers, memory already given back to the system, pages that it
    /// swapped out, core dumps, and copies that stand there in another form, such as a key
    /// schedule.
    pub(crate) fn found(&self) -> Option<usize> {
        let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
        let mut memory = std::fs::File::open("/proc/self/mem").ok()?;
        let mut found = 0;
        let mut window = vec![0; 256 * 1024];
        for line in maps.lines().filter(|line| line.contains(" rw")) {
            let (from, to) = line.split_once(' ')?.0.split_once('-')?;
            let mut from = u64::from_str_radix(from, 16).ok()?;
            let to = u64::from_str_radix(to, 16).ok()?;
            while from < to {
                let many = window.len().min((to - from) as usize);
                // Where the map changed meanwhile there is nothing to see any more.
                memory.seek(SeekFrom::Start(from)).ok()?;
                if memory.read_exact(&mut window[..many]).is_ok() {
                    found += self.halves_in(&window[..many]);
                }
                // The window is memory of this process too.
                window.fill(0);
                if many < window.len() {
                    break;
                }
                from += (many - 15) as u64;
            }
        }
        Some(found)
    }

    fn halves_in(&self, bytes: &[u8]) -> usize {
        let halves = self.0.chunks(16).map(|half| {
            let first = half[0] ^ MASK;
            let same = |part: &[u8]| {
                part.iter()
                    .zip(half)
                    .all(|(byte, kept)| byte ^ MASK == *kept)
            };
            let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == first);
            starts
                .filter(|(at, _)| bytes.get(*at..at + 16).is_some_and(same))
                .count()
        });
        halves.sum()
    }
}

const MASK: u8 = 0xA5;
