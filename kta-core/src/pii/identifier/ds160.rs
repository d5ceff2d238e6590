use super::{Compact, IdentifierFlaw};

/// The confirmation number of a DS-160 or DS-260: `AA` and eight letters or digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ds160Confirmation(Compact<10>);

impl Ds160Confirmation {
    /// Reads `AA00` and six characters, in either case.
    ///
    /// # Errors
    /// [`IdentifierFlaw::Length`] for other than ten characters, [`IdentifierFlaw::Prefix`] when
    /// it does not begin with `AA`.
    pub fn parse(text: &str) -> Result<Self, IdentifierFlaw> {
        let folded = Compact::<10>::fold(text)?;
        if folded.length != 10 {
            return Err(IdentifierFlaw::Length);
        }
        if folded.bytes().starts_with(b"AA") {
            Ok(Self(folded))
        } else {
            Err(IdentifierFlaw::Prefix)
        }
    }

    /// Ten characters.
    pub fn reveal(&self) -> &str {
        self.0.text()
    }
}
