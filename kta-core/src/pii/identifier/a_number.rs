use super::{Compact, IdentifierFlaw};

/// A USCIS alien registration number: `A` and seven to nine digits, for life.
///
/// Kept as nine digits with leading zeros, so that one person's number compares equal however it
/// was written. There is no check digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ANumber(Compact<10>);

impl ANumber {
    /// Reads `A12345678`, `A-012345678`, `012 345 678`.
    ///
    /// # Errors
    /// [`IdentifierFlaw::Length`] for fewer than seven or more than nine digits,
    /// [`IdentifierFlaw::NeverIssued`] for all zeros.
    pub fn parse(text: &str) -> Result<Self, IdentifierFlaw> {
        let folded = Compact::<10>::fold(text)?;
        let digits = folded.bytes().strip_prefix(b"A").unwrap_or(folded.bytes());
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(IdentifierFlaw::Character);
        }
        if !(7..=9).contains(&digits.len()) {
            return Err(IdentifierFlaw::Length);
        }
        if digits.iter().all(|digit| *digit == b'0') {
            return Err(IdentifierFlaw::NeverIssued);
        }
        let mut whole = Compact {
            bytes: *b"A000000000",
            length: 10,
        };
        whole.bytes[10 - digits.len()..].copy_from_slice(digits);
        Ok(Self(whole))
    }

    /// `A` and nine digits.
    pub fn reveal(&self) -> &str {
        self.0.text()
    }
}
