//! Identifiers of the field: parsed once, right from then on.
//!
//! Each type is made only by its `parse` (or `compose`), so a value of the type is a value that
//! passed. All of them are personal data: `Debug` says the type and nothing else, there is no
//! `Display`, and an [`IdentifierFlaw`] never holds what was read. Asking for the text is one
//! visible word, `reveal`.
//!
//! A check digit is a filter and no proof: two numbers that differ by ten in one weighted place
//! carry the same digit. Comparing with the form stays necessary.
//!
//! ```text
//!  "ＩＯＥ-01 2345 6789"  ──fold──►  "IOE0123456789"  ──shape, ranges, check digits──►  ReceiptNumber
//!      as typed                  ASCII, upper case,                                   cannot be wrong
//!                                no separators
//! ```

mod a_number;
mod ds160;
mod fein;
mod i94;
mod israeli_id;
mod itin;
mod lca;
mod mrz;
mod mrz_date;
mod mrz_format;
mod name;
mod receipt;
mod sevis;
mod ssn;

pub use a_number::ANumber;
pub use ds160::Ds160Confirmation;
pub use fein::Fein;
pub use i94::I94Number;
pub use israeli_id::IsraeliId;
pub use itin::Itin;
pub use lca::{CaseProgram, LabourCaseNumber};
pub use mrz::{Mrz, MrzField, MrzFields, MrzSex, mrz_check_digit};
pub use mrz_date::MrzDate;
pub use mrz_format::MrzFormat;
pub use name::{PersonName, is_bidi_control};
pub use receipt::ReceiptNumber;
pub use sevis::SevisId;
pub use ssn::Ssn;

/// Why a text is not the identifier it was offered as. Never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum IdentifierFlaw {
    /// A bidirectional control (U+202A–202E, U+2066–2069) that could make the text look like another.
    #[error("holds a bidirectional control character")]
    Bidi,
    /// A character that this identifier cannot contain.
    #[error("holds a character that does not belong there")]
    Character,
    /// The check digit of the identifier does not fit.
    #[error("check digit does not fit")]
    CheckDigit,
    /// No such day in the calendar.
    #[error("holds a date that does not exist")]
    Date,
    /// Too short or too long.
    #[error("has the wrong length")]
    Length,
    /// The check digit of one field of a machine readable zone does not fit.
    #[error("check digit of the machine readable zone does not fit: {0}")]
    MrzCheckDigit(MrzField),
    /// Rightly written, but the issuer never gives out such a number.
    #[error("lies in a range that is never issued")]
    NeverIssued,
    /// The leading letters or digits name no known kind of this identifier.
    #[error("begins with an unknown prefix")]
    Prefix,
    /// Letters in a script that has no rule for machine readable zones.
    #[error("holds letters that cannot be written in a machine readable zone")]
    Script,
    /// The right characters in the wrong places.
    #[error("does not have the form of this identifier")]
    Shape,
}

/// At most `N` ASCII letters, digits or `<`, without separators; `Debug` is redacted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Compact<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Compact<N> {
    /// Folds full-width and other decimal digits to ASCII, letters to upper case, and leaves out
    /// single blanks and hyphens between characters.
    fn fold(text: &str) -> Result<Self, IdentifierFlaw> {
        let mut folded = Self {
            bytes: [0; N],
            length: 0,
        };
        let mut after_separator = false;
        for character in text.trim().chars() {
            if is_bidi_control(character) {
                return Err(IdentifierFlaw::Bidi);
            }
            if is_separator(character) {
                if after_separator || folded.length == 0 {
                    return Err(IdentifierFlaw::Shape);
                }
                after_separator = true;
                continue;
            }
            after_separator = false;
            folded.push(fold_alphanumeric(character).ok_or(IdentifierFlaw::Character)?)?;
        }
        if after_separator || folded.length == 0 {
            return Err(IdentifierFlaw::Shape);
        }
        Ok(folded)
    }

    /// As [`Compact::fold`], and digits only.
    fn fold_digits(text: &str) -> Result<Self, IdentifierFlaw> {
        let folded = Self::fold(text)?;
        if folded.bytes().iter().all(u8::is_ascii_digit) {
            Ok(folded)
        } else {
            Err(IdentifierFlaw::Character)
        }
    }

    fn push(&mut self, byte: u8) -> Result<(), IdentifierFlaw> {
        *self
            .bytes
            .get_mut(self.length)
            .ok_or(IdentifierFlaw::Length)? = byte;
        self.length += 1;
        Ok(())
    }

    /// Leading zeros up to `N` characters.
    fn zero_padded(&self) -> Self {
        let mut padded = Self {
            bytes: [b'0'; N],
            length: N,
        };
        padded.bytes[N - self.length..].copy_from_slice(self.bytes());
        padded
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn text(&self) -> &str {
        // Only ASCII is ever pushed, so this is never the empty fallback.
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }
}

impl<const N: usize> std::fmt::Debug for Compact<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("redacted")
    }
}

/// The ASCII form of a letter or digit: full-width forms and the Arabic-Indic digits included.
fn fold_alphanumeric(character: char) -> Option<u8> {
    let code = u32::from(character);
    let ascii = match code {
        0x0660..=0x0669 => code - 0x0660 + 0x30,
        0x06F0..=0x06F9 => code - 0x06F0 + 0x30,
        0x0966..=0x096F => code - 0x0966 + 0x30,
        0xFF10..=0xFF19 | 0xFF21..=0xFF3A | 0xFF41..=0xFF5A => code - 0xFEE0,
        _ => code,
    };
    let byte = u8::try_from(ascii).ok()?;
    byte.is_ascii_alphanumeric()
        .then(|| byte.to_ascii_uppercase())
}

fn is_separator(character: char) -> bool {
    matches!(
        character,
        ' ' | '-' | '\u{A0}' | '\u{2010}'..='\u{2015}' | '\u{202F}' | '\u{2212}' | '\u{FF0D}'
    )
}

/// The number that a short run of ASCII digits spells.
fn number(digits: &[u8]) -> u32 {
    digits
        .iter()
        .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'))
}

#[cfg(test)]
mod tests;
