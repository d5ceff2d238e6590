//! quickXorHash: the one content hash SharePoint promises for a business drive.
//!
//! A 160-bit register into which byte `i` is XORed at bit `11·i mod 160`, wrapping, with the length
//! XORed over its last eight bytes. It finds damage in transit; it does not resist an adversary, which
//! is why the SHA-256 of a document lives in our own records and never comes from SharePoint.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A running quickXorHash.
///
/// ```
/// use kta_sharepoint::QuickXor;
/// let mut hash = QuickXor::default();
/// hash.update(b"\xb5");
/// hash.update(b"\xb4");
/// assert_eq!(hash.finish(), "taAFAAAAAAAAAAAAAgAAAAAAAAA=");
/// ```
#[derive(Clone)]
pub struct QuickXor {
    /// Bytes whose bit position is the same fold together, and `11·i mod 160` repeats every 160 bytes.
    columns: [u8; PERIOD],
    length: u64,
}

impl QuickXor {
    /// Takes the next bytes of the content.
    pub fn update(&mut self, bytes: &[u8]) {
        let start = (self.length % PERIOD as u64) as usize;
        let (head, rest) = bytes.split_at(bytes.len().min(PERIOD - start));
        fold(&mut self.columns[start..], head);
        for chunk in rest.chunks(PERIOD) {
            fold(&mut self.columns, chunk);
        }
        self.length = self.length.wrapping_add(bytes.len() as u64);
    }

    /// The hash as Graph writes it: standard base64 of twenty bytes.
    pub fn finish(&self) -> String {
        let mut register = [0u8; REGISTER];
        for (column, byte) in self.columns.iter().enumerate() {
            let bit = column * SHIFT % (REGISTER * 8);
            let wide = u16::from(*byte) << (bit % 8);
            register[bit / 8] ^= wide as u8;
            register[(bit / 8 + 1) % REGISTER] ^= (wide >> 8) as u8;
        }
        for (place, byte) in register[REGISTER - 8..]
            .iter_mut()
            .zip(self.length.to_le_bytes())
        {
            *place ^= byte;
        }
        STANDARD.encode(register)
    }

    /// The hash of content held in one piece.
    pub fn of(bytes: &[u8]) -> String {
        let mut hash = Self::default();
        hash.update(bytes);
        hash.finish()
    }
}

impl Default for QuickXor {
    fn default() -> Self {
        Self {
            columns: [0; PERIOD],
            length: 0,
        }
    }
}

impl std::fmt::Debug for QuickXor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuickXor")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

fn fold(columns: &mut [u8], bytes: &[u8]) {
    let length = columns.len().min(bytes.len());
    let (words, columns) = columns[..length].as_chunks_mut::<8>();
    let (more, bytes) = bytes[..length].as_chunks::<8>();
    for (word, more) in words.iter_mut().zip(more) {
        *word = (u64::from_ne_bytes(*word) ^ u64::from_ne_bytes(*more)).to_ne_bytes();
    }
    for (column, byte) in columns.iter_mut().zip(bytes) {
        *column ^= byte;
    }
}

const REGISTER: usize = 20;
const SHIFT: usize = 11;
const PERIOD: usize = REGISTER * 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_contents_have_the_hashes_worked_out_by_hand() {
        assert_eq!(QuickXor::of(b""), "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        assert_eq!(QuickXor::of(b"\x4a"), "SgAAAAAAAAAAAAAAAQAAAAAAAAA=");
        assert_eq!(
            QuickXor::of(b"\xd2\x96\x4f"),
            "0rDEEwAAAAAAAAAAAwAAAAAAAAA="
        );
    }

    #[test]
    fn pieces_and_the_whole_agree_with_a_bit_by_bit_reference() {
        let content: Vec<u8> = (0..5000u32).map(|n| (n * 7 + n / 3) as u8).collect();
        for cut in [0, 1, 159, 160, 161, 320, 4999] {
            let mut pieces = QuickXor::default();
            pieces.update(&content[..cut]);
            pieces.update(&content[cut..]);
            assert_eq!(pieces.finish(), bit_by_bit(&content));
        }
    }

    #[test]
    fn one_changed_bit_changes_the_hash() {
        let content = vec![7u8; 700];
        for at in [0, 1, 160, 699] {
            let mut other = content.clone();
            other[at] ^= 1;
            assert_ne!(QuickXor::of(&content), QuickXor::of(&other));
        }
    }

    fn bit_by_bit(content: &[u8]) -> String {
        let mut bits = [false; 160];
        for (i, byte) in content.iter().enumerate() {
            for b in 0..8 {
                bits[(i * 11 + b) % 160] ^= byte >> b & 1 == 1;
            }
        }
        let mut register = [0u8; 20];
        for (n, bit) in bits.iter().enumerate() {
            register[n / 8] |= u8::from(*bit) << (n % 8);
        }
        for (n, byte) in (content.len() as u64).to_le_bytes().iter().enumerate() {
            register[12 + n] ^= byte;
        }
        STANDARD.encode(register)
    }
}
