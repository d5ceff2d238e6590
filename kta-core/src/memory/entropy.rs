//! Bytes that look random and are not.

use core::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

use crate::time::Entropy;

/// **For tests only: everybody who knows the seed knows every key.** An [`Entropy`] that gives
/// the same bytes in the same order for the same seed, so that a failing test can be run again.
///
/// The stream is SHA-256 over a fixed label, the seed and a counter. Two calls never share a
/// block, whoever makes them; which of two concurrent calls gets which block is not fixed.
pub struct SeededEntropy {
    seed: [u8; 8],
    block: AtomicU64,
}

impl SeededEntropy {
    /// The stream of this seed, from its beginning.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed: seed.to_be_bytes(),
            block: AtomicU64::new(0),
        }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(32) {
            let block = self.block.fetch_add(1, Ordering::Relaxed);
            let hash = Sha256::new()
                .chain_update(b"kta/seeded-entropy/for-tests-only")
                .chain_update(self.seed)
                .chain_update(block.to_be_bytes())
                .finalize();
            chunk.copy_from_slice(&hash[..chunk.len()]);
        }
    }
}

impl fmt::Debug for SeededEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeededEntropy(for tests only)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(entropy: &SeededEntropy, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        entropy.fill(&mut bytes);
        bytes
    }

    #[test]
    fn one_seed_gives_one_stream_without_repetition() {
        let (one, same, other) = (
            SeededEntropy::new(1),
            SeededEntropy::new(1),
            SeededEntropy::new(2),
        );
        let first = draw(&one, 100);
        assert_eq!(first, draw(&same, 100));
        assert_ne!(first, draw(&one, 100));
        assert_ne!(first, draw(&other, 100));
    }
}
