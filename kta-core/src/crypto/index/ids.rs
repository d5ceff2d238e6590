//! Normal forms of numbers that an authority gave out.

use zeroize::Zeroizing;

use super::normal::{Normal, NotNormal, compact};
use crate::pii::identifier::{IdentifierFlaw, IsraeliId, Itin, ReceiptNumber, SevisId, Ssn};

/// Numbers of an authority. Most have check digits or ranges that are never issued: a text that
/// is no such number has no normal form, is not indexed, and is no search.
impl Normal {
    /// An Israeli identity number (teudat zehut): nine digits, leading zeros put back, with a
    /// check digit that fits.
    ///
    /// # Errors
    /// [`NotNormal`] for other than 5 to 9 digits, a check digit that does not fit, all zeros.
    pub fn israeli_id(text: &str) -> Result<Self, NotNormal> {
        let wrong = "an Israeli identity number";
        Self::parsed(text, wrong, IsraeliId::parse, IsraeliId::reveal)
    }

    /// A US individual taxpayer identification number.
    ///
    /// # Errors
    /// [`NotNormal`] for other than nine digits, or outside the ranges that are issued.
    pub fn itin(text: &str) -> Result<Self, NotNormal> {
        Self::parsed(text, "an ITIN", Itin::parse, Itin::reveal)
    }

    /// A British national insurance number: two letters and six digits. The letter after them
    /// says nothing of the person and is left out, whether it was written or not.
    ///
    /// # Errors
    /// [`NotNormal`] for another shape, and for prefixes that are never given out.
    pub fn nino(text: &str) -> Result<Self, NotNormal> {
        let wrong = NotNormal {
            expected: "a national insurance number",
        };
        let number = compact(text, wrong)?;
        let (body, suffix) = number.split_at_checked(8).ok_or(wrong)?;
        let (prefix, digits) = body.split_at_checked(2).ok_or(wrong)?;
        let right = prefix.bytes().all(|byte| byte.is_ascii_uppercase())
            && !prefix.contains(['D', 'F', 'I', 'Q', 'U', 'V'])
            && !prefix.ends_with('O')
            && !["BG", "GB", "KN", "NK", "NT", "TN", "ZZ"].contains(&prefix)
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && ["", "A", "B", "C", "D"].contains(&suffix);
        if right {
            Ok(Self::of(body))
        } else {
            Err(wrong)
        }
    }

    /// A USCIS receipt number: three letters and ten digits.
    ///
    /// # Errors
    /// [`NotNormal`] for another shape.
    pub fn receipt(text: &str) -> Result<Self, NotNormal> {
        let wrong = "a receipt number";
        Self::parsed(text, wrong, ReceiptNumber::parse, ReceiptNumber::reveal)
    }

    /// A SEVIS number: `N` and ten digits.
    ///
    /// # Errors
    /// [`NotNormal`] for another shape.
    pub fn sevis(text: &str) -> Result<Self, NotNormal> {
        Self::parsed(text, "a SEVIS number", SevisId::parse, SevisId::reveal)
    }

    /// A US social security number.
    ///
    /// # Errors
    /// [`NotNormal`] for other than nine digits, and for numbers that are never issued.
    pub fn ssn(text: &str) -> Result<Self, NotNormal> {
        let wrong = "a social security number";
        Self::parsed(text, wrong, Ssn::parse, Ssn::reveal)
    }

    fn parsed<T>(
        text: &str,
        expected: &'static str,
        parse: fn(&str) -> Result<T, IdentifierFlaw>,
        reveal: fn(&T) -> &str,
    ) -> Result<Self, NotNormal> {
        let parsed = parse(text).map_err(|_| NotNormal { expected })?;
        Ok(Self::of(&Zeroizing::new(reveal(&parsed).to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(normal: Result<Normal, NotNormal>) -> String {
        normal.map_or_else(
            |wrong| wrong.to_string(),
            |normal| String::from_utf8(normal.as_bytes().to_vec()).unwrap(),
        )
    }

    #[test]
    fn one_number_has_one_form_and_a_wrong_one_none() {
        type Form = fn(&str) -> Result<Normal, NotNormal>;
        let forms: [(Form, &str, &[&str], &[&str]); 6] = [
            (
                Normal::israeli_id,
                "012345674",
                &["12345674", "0-1234567-4", "012345674"],
                &[
                    "123456789",
                    "000000000",
                    "1234",
                    "1234567890",
                    "A2345674",
                    "",
                ],
            ),
            (
                Normal::itin,
                "912707890",
                &["912-70-7890", "912707890"],
                &["912-93-7890", "912-66-7890", "812-70-7890", "912-70-789"],
            ),
            (
                Normal::nino,
                "AB123456",
                &["AB 12 34 56 C", "ab123456", "AB-12-34-56-D"],
                &[
                    "DB123456C",
                    "AO123456C",
                    "GB123456A",
                    "ZZ123456A",
                    "AB123456E",
                    "AB12345",
                    "AB1234567",
                    "A1123456",
                    "ÄB123456",
                ],
            ),
            (
                Normal::receipt,
                "EAC2212345678",
                &["EAC-22-123-45678", "eac2212345678"],
                &["EAC221234567", "EA12212345678", "EAC22123456789"],
            ),
            (
                Normal::sevis,
                "N0123456789",
                &["n0123456789"],
                &["A0123456789", "N012345678"],
            ),
            (
                Normal::ssn,
                "123456789",
                &["123-45-6789", "123 45 6789"],
                &[
                    "000-45-6789",
                    "666-45-6789",
                    "912-45-6789",
                    "123-00-6789",
                    "123-45-0000",
                ],
            ),
        ];
        for (form, expected, right, wrong) in forms {
            for written in right {
                assert_eq!(text(form(written)), expected, "{written}");
            }
            for written in wrong {
                assert!(text(form(written)).starts_with("not a"), "{written}");
            }
        }
    }
}
