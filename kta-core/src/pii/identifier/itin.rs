use super::{Compact, IdentifierFlaw, number};

/// An individual taxpayer identification number: `9`, and a group in the ranges the IRS uses.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Itin(Compact<9>);

impl Itin {
    /// Reads nine digits with or without separators.
    ///
    /// # Errors
    /// [`IdentifierFlaw::Prefix`] when the first digit is not 9, [`IdentifierFlaw::NeverIssued`]
    /// when the group (digits four and five) is outside 50–65, 70–88, 90–92, 94–99.
    pub fn parse(text: &str) -> Result<Self, IdentifierFlaw> {
        let folded = Compact::<9>::fold_digits(text)?;
        if folded.length != 9 {
            return Err(IdentifierFlaw::Length);
        }
        if folded.bytes()[0] != b'9' {
            return Err(IdentifierFlaw::Prefix);
        }
        match number(&folded.bytes()[3..5]) {
            50..=65 | 70..=88 | 90..=92 | 94..=99 => Ok(Self(folded)),
            _ => Err(IdentifierFlaw::NeverIssued),
        }
    }

    /// Nine digits.
    pub fn reveal(&self) -> &str {
        self.0.text()
    }
}
