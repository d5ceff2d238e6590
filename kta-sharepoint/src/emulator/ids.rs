//! Identifiers.

/// Identifiers that look like the vendor's and repeat nowhere.
pub(crate) struct Ids {
    state: u64,
}

impl Ids {
    /// Starts from the process's own hash seed: different in every run, and no secret.
    pub(crate) fn new() -> Self {
        use std::hash::{BuildHasher, Hasher, RandomState};
        Self {
            state: RandomState::new().build_hasher().finish(),
        }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn guid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        )
    }

    pub(crate) fn item(&mut self) -> String {
        format!(
            "01{}",
            self.letters(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 32)
        )
    }

    pub(crate) fn drive(&mut self) -> String {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        format!("b!{}", self.letters(letters, 64))
    }

    pub(crate) fn secret(&mut self, prefix: &str) -> String {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        format!("{prefix}{}", self.letters(letters, 43))
    }

    fn letters(&mut self, alphabet: &[u8], count: usize) -> String {
        let each = |n: u64| alphabet[(n % alphabet.len() as u64) as usize] as char;
        (0..count).map(|_| each(self.next())).collect()
    }
}
