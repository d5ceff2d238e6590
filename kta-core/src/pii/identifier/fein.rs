use super::{Compact, IdentifierFlaw};

/// A federal employer identification number: two digits of the campus, seven of the employer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fein(Compact<9>);

impl Fein {
    /// Reads `NN-NNNNNNN`, or nine digits without the hyphen.
    ///
    /// # Errors
    /// [`IdentifierFlaw::Shape`] for a separator anywhere but after the second digit (that is how
    /// a social security number is told apart), [`IdentifierFlaw::NeverIssued`] for prefix 00.
    pub fn parse(text: &str) -> Result<Self, IdentifierFlaw> {
        let folded = Compact::<9>::fold_digits(text)?;
        if folded.length != 9 {
            return Err(IdentifierFlaw::Length);
        }
        if text
            .trim()
            .chars()
            .enumerate()
            .any(|(place, character)| super::is_separator(character) && place != 2)
        {
            return Err(IdentifierFlaw::Shape);
        }
        if folded.bytes().starts_with(b"00") {
            Err(IdentifierFlaw::NeverIssued)
        } else {
            Ok(Self(folded))
        }
    }

    /// Nine digits.
    pub fn reveal(&self) -> &str {
        self.0.text()
    }
}
