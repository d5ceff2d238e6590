use super::{Compact, IdentifierFlaw};

/// An Israeli identity number (teudat zehut): nine digits, the last one a check digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IsraeliId(Compact<9>);

impl IsraeliId {
    /// Reads five to nine digits; leading zeros that were left out are put back.
    ///
    /// # Errors
    /// [`IdentifierFlaw::CheckDigit`] when the weighted sum (1, 2, 1, 2 …, digits of a product
    /// added) is no multiple of ten; [`IdentifierFlaw::NeverIssued`] for all zeros, which passes
    /// the sum and is nobody's.
    pub fn parse(text: &str) -> Result<Self, IdentifierFlaw> {
        let folded = Compact::<9>::fold_digits(text)?;
        if folded.length < 5 {
            return Err(IdentifierFlaw::Length);
        }
        let whole = folded.zero_padded();
        if whole.bytes().iter().all(|digit| *digit == b'0') {
            return Err(IdentifierFlaw::NeverIssued);
        }
        let sum: u32 = whole
            .bytes()
            .iter()
            .enumerate()
            .map(|(place, digit)| {
                let product = u32::from(digit - b'0') * if place % 2 == 0 { 1 } else { 2 };
                product / 10 + product % 10
            })
            .sum();
        if sum.is_multiple_of(10) {
            Ok(Self(whole))
        } else {
            Err(IdentifierFlaw::CheckDigit)
        }
    }

    /// Nine digits.
    pub fn reveal(&self) -> &str {
        self.0.text()
    }
}
