//! The operating system's randomness.

use kta_core::time::Entropy;

/// [`Entropy`] from the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    /// # Panics
    /// When the operating system gives none: predictable keys are worse than no keys.
    fn fill(&self, buffer: &mut [u8]) {
        if getrandom::fill(buffer).is_err() {
            panic!("the operating system gives no randomness");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ_and_every_byte_is_filled() {
        let (mut one, mut other) = ([0; 4096], [0; 4096]);
        OsEntropy.fill(&mut one);
        OsEntropy.fill(&mut other);
        assert_ne!(one, other);
        // 64 zero bytes in a row would come by chance once in 2^500 draws.
        assert!(
            one.windows(64)
                .all(|part| part.iter().any(|byte| *byte != 0))
        );
    }
}
