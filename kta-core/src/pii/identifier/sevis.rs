use super::{Compact, IdentifierFlaw};

/// A SEVIS identification of a student or exchange visitor: `N` and ten digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SevisId(Compact<11>);

impl SevisId {
    /// Reads `N0012345678`.
    ///
    /// # Errors
    /// [`IdentifierFlaw::Length`] for other than eleven characters, [`IdentifierFlaw::Shape`]
    /// when it is not `N` and digits.
    pub fn parse(text: &str) -> Result<Self, IdentifierFlaw> {
        let folded = Compact::<11>::fold(text)?;
        if folded.length != 11 {
            return Err(IdentifierFlaw::Length);
        }
        match folded.bytes() {
            [b'N', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => Ok(Self(folded)),
            _ => Err(IdentifierFlaw::Shape),
        }
    }

    /// `N` and ten digits.
    pub fn reveal(&self) -> &str {
        self.0.text()
    }
}
