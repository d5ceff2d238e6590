use super::{Compact, IdentifierFlaw};

/// A USCIS receipt number: three letters of the office and ten digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReceiptNumber(Compact<13>);

impl ReceiptNumber {
    /// Reads `IOE0123456789` or `EAC-22-123-45678`, in either case.
    ///
    /// An unknown office is no flaw, since USCIS opens new ones: ask
    /// [`ReceiptNumber::has_known_office`] and warn.
    ///
    /// # Errors
    /// [`IdentifierFlaw::Length`] for other than thirteen characters, [`IdentifierFlaw::Shape`]
    /// where letters and digits are misplaced.
    pub fn parse(text: &str) -> Result<Self, IdentifierFlaw> {
        let folded = Compact::<13>::fold(text)?;
        let bytes = folded.bytes();
        if bytes.len() != 13 {
            return Err(IdentifierFlaw::Length);
        }
        if bytes[..3].iter().all(u8::is_ascii_uppercase)
            && bytes[3..].iter().all(u8::is_ascii_digit)
        {
            Ok(Self(folded))
        } else {
            Err(IdentifierFlaw::Shape)
        }
    }

    /// Whether the three letters are an office known when [`ReceiptNumber::OFFICES`] was written.
    pub fn has_known_office(&self) -> bool {
        Self::OFFICES.contains(&&self.reveal()[..3])
    }

    /// Thirteen characters without separators.
    pub fn reveal(&self) -> &str {
        self.0.text()
    }

    /// Service centres and the electronic system. Data, not a rule: a new one is added here.
    pub const OFFICES: [&'static str; 10] = [
        "EAC", "IOE", "LIN", "MCT", "MSC", "NBC", "NSC", "SRC", "WAC", "YSC",
    ];
}
