use super::{Compact, IdentifierFlaw, number};

/// A United States social security number: area, group, serial.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ssn(Compact<9>);

impl Ssn {
    /// Reads nine digits with or without separators.
    ///
    /// # Errors
    /// [`IdentifierFlaw::NeverIssued`] for area 000, 666 or 900–999, group 00, serial 0000.
    pub fn parse(text: &str) -> Result<Self, IdentifierFlaw> {
        let folded = Compact::<9>::fold_digits(text)?;
        if folded.length != 9 {
            return Err(IdentifierFlaw::Length);
        }
        let (area, rest) = folded.bytes().split_at(3);
        let (group, serial) = rest.split_at(2);
        if matches!(number(area), 0 | 666 | 900..) || number(group) == 0 || number(serial) == 0 {
            return Err(IdentifierFlaw::NeverIssued);
        }
        Ok(Self(folded))
    }

    /// Nine digits.
    pub fn reveal(&self) -> &str {
        self.0.text()
    }
}
