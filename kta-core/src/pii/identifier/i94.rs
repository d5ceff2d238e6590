use super::{Compact, IdentifierFlaw};

/// An I-94 admission number: eleven digits, or since 2019 nine digits, a letter and a digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct I94Number(Compact<11>);

impl I94Number {
    /// Reads eleven characters with or without separators.
    ///
    /// # Errors
    /// [`IdentifierFlaw::Length`] for other than eleven characters, [`IdentifierFlaw::Shape`] for
    /// a letter anywhere but in the tenth place.
    pub fn parse(text: &str) -> Result<Self, IdentifierFlaw> {
        let folded = Compact::<11>::fold(text)?;
        if folded.length != 11 {
            return Err(IdentifierFlaw::Length);
        }
        if folded
            .bytes()
            .iter()
            .enumerate()
            .all(|(place, byte)| place == 9 || byte.is_ascii_digit())
        {
            Ok(Self(folded))
        } else {
            Err(IdentifierFlaw::Shape)
        }
    }

    /// Eleven characters.
    pub fn reveal(&self) -> &str {
        self.0.text()
    }
}
