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
