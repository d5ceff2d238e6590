//! The operating system's randomness.

use core::cell::RefCell;
use std::time::{Duration, Instant};

use kta_core::time::Entropy;

/// [`Entropy`] from the operating system.
///
/// Keys are drawn when they are asked for. What need not be secret, nonces and ids, each thread
/// draws 512 bytes at a time: nothing is drawn more than a millisecond before its use, and nothing
/// is used twice. What that leaves: a copy of the running process, as a virtual machine leaves that
/// is suspended and woken twice, finds the same few bytes in both copies, if they are used within
/// that millisecond. Bytes that were drawn and not used yet are in that place with any source.
/// Restoring files, a disk or a database brings nothing of it back.
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

    /// # Panics
    /// As [`fill`](Self::fill).
    fn fill_public(&self, buffer: &mut [u8]) {
        if !POOL.with_borrow_mut(|pool| pool.give(buffer, Instant::now())) {
            self.fill(buffer);
        }
    }
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool::EMPTY) };
}

/// Bytes that were drawn and not given away yet.
struct Pool {
    /// What was given is overwritten, so that nothing is given twice whatever else goes wrong.
    bytes: [u8; DRAWN],
    given: usize,
    drawn: Option<Instant>,
}

impl Pool {
    const EMPTY: Self = Self {
        bytes: [0; DRAWN],
        given: DRAWN,
        drawn: None,
    };

    /// Fills `buffer`, unless it is too long for that.
    fn give(&mut self, buffer: &mut [u8], now: Instant) -> bool {
        if buffer.len() > DRAWN / 2 {
            return false;
        }
        let fresh = self.drawn.is_some_and(|drawn| now - drawn < KEPT);
        if !fresh || DRAWN - self.given < buffer.len() {
            OsEntropy.fill(&mut self.bytes);
            (self.given, self.drawn) = (0, Some(now));
        }
        let part = &mut self.bytes[self.given..][..buffer.len()];
        buffer.copy_from_slice(part);
        part.fill(0);
        self.given += buffer.len();
        true
    }
}

/// Bytes of one draw. The system call costs as much as some 100 bytes of it.
const DRAWN: usize = 512;
/// How long before its use a byte may have been drawn.
const KEPT: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn two_draws_differ_and_every_byte_is_filled() {
        let (mut one, mut other) = ([0; 4096], [0; 4096]);
        OsEntropy.fill(&mut one);
        OsEntropy.fill(&mut other);
        assert_ne!(one, other);
        OsEntropy.fill_public(&mut other);
        assert_ne!(one, other);
        // 64 zero bytes in a row would come by chance once in 2^500 draws.
        for drawn in [one, other] {
            let telling = |part: &[u8]| part.iter().any(|byte| *byte != 0);
            assert!(drawn.windows(64).all(telling));
        }
    }

    #[test]
    fn no_nonce_comes_twice_whoever_draws_it() {
        let drawn = |_| {
            let many = (0..20_000).map(|number| {
                let mut nonce = [0; 12];
                OsEntropy.fill_public(&mut nonce);
                // Draws of other lengths between them, so that they begin anywhere.
                OsEntropy.fill_public(&mut vec![0; number % 70]);
                nonce
            });
            many.collect::<Vec<_>>()
        };
        let each: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(move || drawn(()))).collect();
            let done = threads.into_iter().map(|thread| thread.join().unwrap());
            done.flatten().collect()
        });
        assert_eq!(each.iter().collect::<HashSet<_>>().len(), 80_000);
    }

    #[test]
    fn what_was_drawn_is_used_within_a_millisecond_and_once() {
        let (mut pool, start) = (Pool::EMPTY, Instant::now());
        let mut next = |after: Duration| {
            let mut bytes = [0; 12];
            assert!(pool.give(&mut bytes, start + after));
            (bytes, pool.given, pool.bytes)
        };
        let (_, given, _) = next(Duration::ZERO);
        assert_eq!(given, 12);
        let (one, given, kept) = next(KEPT / 2);
        assert_eq!(given, 24, "of the same draw");
        assert_eq!(kept[..24], [0; 24], "what was given is not there any more");
        let (other, given, after) = next(KEPT);
        assert_eq!(given, 12, "of a new draw");
        assert_ne!(one, other);
        assert_ne!(kept[24..], after[24..], "the rest of the old one is gone");
    }

    #[test]
    fn a_draw_that_does_not_fit_any_more_is_made_anew() {
        let (mut pool, now) = (Pool::EMPTY, Instant::now());
        assert!(pool.give(&mut [0; DRAWN / 2], now));
        assert!(pool.give(&mut [0; DRAWN / 2 - 1], now));
        assert!(pool.give(&mut [0; 2], now));
        assert_eq!(pool.given, 2);
        assert!(!pool.give(&mut [0; DRAWN / 2 + 1], now), "too long");
    }
}
