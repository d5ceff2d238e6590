//! Normal forms: what makes two ways to write one thing equal.

use core::fmt;
use core::ops::Deref;

use subtle::ConstantTimeEq as _;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::pii::identifier::is_bidi_control;

/// The normal form of a value that is indexed or searched for. Wiped when dropped; equal in
/// constant time, which is also how a row that was found is checked.
#[derive(Clone)]
pub struct Normal(Zeroizing<String>);

/// Text that has no normal form of that kind. Holds no part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {expected}")]
pub struct NotNormal {
    /// What was expected, for example `an e-mail address`.
    pub expected: &'static str,
}

impl Normal {
    /// An e-mail address: compatibility forms resolved, lower case, no surrounding space and no
    /// final dot. Dots and `+` labels before the `@` stay: whether they matter is the
    /// provider's secret, and merging two people is worse than not finding one.
    ///
    /// # Errors
    /// [`NotNormal`] for anything without exactly one `@` between two parts free of spaces.
    pub fn email(text: &str) -> Result<Self, NotNormal> {
        let wrong = NotNormal {
            expected: "an e-mail address",
        };
        let text = bounded(text, wrong)?;
        let mut folded = Zeroizing::new(String::with_capacity(text.len() * 2));
        folded.extend(composed(text).chars().flat_map(char::to_lowercase));
        let address = folded.trim().trim_end_matches('.');
        let (local, domain) = address.split_once('@').ok_or(wrong)?;
        let plain = |part: &str| {
            !part.is_empty()
                && !part.contains(|c: char| c == '@' || c.is_whitespace() || c.is_control())
        };
        if plain(local) && plain(domain) {
            Ok(Self::of(address))
        } else {
            Err(wrong)
        }
    }

    /// A phone number, about as E.164: `+`, country code, number. `00` counts as `+`; a national
    /// number needs `country`, the code without `+`, and loses one leading 0 (so not for
    /// countries that keep it, such as Italy: ask for the international form there).
    ///
    /// # Errors
    /// [`NotNormal`] for other characters than digits and separators, for fewer than 8 or more
    /// than 15 digits, and for a national number without a country.
    pub fn phone(text: &str, country: Option<&str>) -> Result<Self, NotNormal> {
        let wrong = NotNormal {
            expected: "a phone number",
        };
        let text = bounded(text, wrong)?;
        let mut folded = Zeroizing::new(String::with_capacity(text.len() * 2));
        folded.extend(composed(text).chars().map(latin_digit));
        // `+49 (0)30 …`: the bracketed trunk digit is not dialled from abroad.
        let folded = Zeroizing::new(folded.replace("(0)", ""));
        let mut digits = Zeroizing::new(String::with_capacity(folded.len()));
        for (position, c) in folded.trim().char_indices() {
            match c {
                '0'..='9' => digits.push(c),
                '+' if position == 0 => digits.push(c),
                ' ' | '-' | '.' | '/' | '(' | ')' | '\u{2010}'..='\u{2015}' => {}
                _ => return Err(wrong),
            }
        }
        let number = if let Some(international) = digits.strip_prefix('+') {
            Zeroizing::new(international.to_owned())
        } else if let Some(international) = digits.strip_prefix("00") {
            Zeroizing::new(international.to_owned())
        } else {
            let country = country.filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
            let country = country.filter(|code| !code.is_empty()).ok_or(wrong)?;
            let national = digits.strip_prefix('0').unwrap_or(&digits);
            Zeroizing::new(format!("{country}{national}"))
        };
        if !(8..=15).contains(&number.len()) || number.starts_with('0') {
            return Err(wrong);
        }
        Ok(Self::of(&format!("+{}", *number)))
    }

    /// A passport number: upper case, without spaces, hyphens and the `<` of a machine-readable
    /// zone. Numbers are unique within their country only; what is found is checked.
    ///
    /// # Errors
    /// [`NotNormal`] for fewer than 5 or more than 15 letters and digits, or anything else.
    pub fn passport(text: &str) -> Result<Self, NotNormal> {
        let wrong = NotNormal {
            expected: "a passport number",
        };
        let number = compact(text, wrong)?;
        if (5..=15).contains(&number.len()) {
            Ok(Self(number))
        } else {
            Err(wrong)
        }
    }

    /// A USCIS A-number: `A` and nine digits, shorter ones filled with zeros.
    ///
    /// # Errors
    /// [`NotNormal`] for anything but an optional `A` and 7 to 9 digits.
    pub fn a_number(text: &str) -> Result<Self, NotNormal> {
        let wrong = NotNormal {
            expected: "an A-number",
        };
        let number = compact(text, wrong)?;
        let digits = number.strip_prefix('A').unwrap_or(&number);
        if !(7..=9).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong);
        }
        Ok(Self(Zeroizing::new(format!("A{digits:0>9}"))))
    }

    /// A form of a name: lower case, without accents and vowel points, words in alphabetical
    /// order, so that `GARCÍA LÓPEZ, Testa` is `Testa Garcia Lopez`. Apostrophes, quotation marks
    /// (כ״ץ) and signs without width join a word, every other sign parts two.
    ///
    /// This is the form of one spelling. To find a name however it was transliterated, index its
    /// [`NameForms`](super::NameForms).
    ///
    /// # Errors
    /// [`NotNormal`] for text without a letter, and for one with characters that turn the
    /// direction of writing: what is seen would not be what is compared.
    pub fn name(text: &str) -> Result<Self, NotNormal> {
        let wrong = NotNormal { expected: "a name" };
        let text = bounded(text, wrong)?;
        let mut folded = Zeroizing::new(String::with_capacity(text.len() * 2));
        for c in decomposed(text).chars().filter(|c| !is_accent(*c)) {
            match c {
                '\'' | '\u{2018}' | '\u{2019}' | '\u{02BC}' | '`' | '\u{05F3}' => {}
                '"' | '\u{201C}' | '\u{201D}' | '\u{201E}' | '\u{05F4}' => {}
                '\u{00AD}' | '\u{200B}'..='\u{200F}' | '\u{061C}' | '\u{FEFF}' => {}
                c if is_bidi_control(c) => return Err(wrong),
                c if c.is_alphanumeric() || unicode_normalization::char::is_combining_mark(c) => {
                    c.to_lowercase().for_each(|c| fold_letter(c, &mut folded));
                }
                _ => folded.push(' '),
            }
        }
        // Lower-casing may leave a mark behind (the Turkish dotted capital I does).
        let mut plain = Zeroizing::new(String::with_capacity(folded.len()));
        plain.extend(composed(&folded).chars().filter(|c| !is_accent(*c)));
        let mut words: Vec<&str> = plain.split_whitespace().collect();
        words.sort_unstable();
        if !plain.contains(char::is_alphabetic) {
            return Err(wrong);
        }
        Ok(Self(Zeroizing::new(words.join(" "))))
    }

    /// The normal form itself.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// The normal form itself, to be hashed.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub(super) fn of(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

impl PartialEq for Normal {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl Eq for Normal {}

impl fmt::Debug for Normal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Normal(..)")
    }
}

/// Text of a length that a name or number can have.
fn bounded(text: &str, wrong: NotNormal) -> Result<&str, NotNormal> {
    if text.len() <= LONGEST {
        Ok(text)
    } else {
        Err(wrong)
    }
}

/// Text in a Unicode normal form: as it was given where that is one already.
enum Form<'t> {
    AsGiven(&'t str),
    Made(Zeroizing<String>),
}

impl Deref for Form<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::AsGiven(text) => text,
            Self::Made(text) => text,
        }
    }
}

/// NFKC. Text in ASCII is in every normal form (UAX #15, section 1.3) and most text is ASCII.
fn composed(text: &str) -> Form<'_> {
    if text.is_ascii() {
        return Form::AsGiven(text);
    }
    Form::Made(Zeroizing::new(text.nfkc().collect()))
}

/// NFKD.
fn decomposed(text: &str) -> Form<'_> {
    if text.is_ascii() {
        return Form::AsGiven(text);
    }
    Form::Made(Zeroizing::new(text.nfkd().collect()))
}

/// Upper-case ASCII letters and digits, with the usual separators left out.
pub(super) fn compact(text: &str, wrong: NotNormal) -> Result<Zeroizing<String>, NotNormal> {
    let text = bounded(text, wrong)?;
    let mut compacted = Zeroizing::new(String::with_capacity(text.len()));
    for c in composed(text).chars().map(latin_digit) {
        match c {
            '0'..='9' | 'A'..='Z' => compacted.push(c),
            'a'..='z' => compacted.push(c.to_ascii_uppercase()),
            '<' | '-' | '.' | '/' | '\u{2010}'..='\u{2015}' => {}
            c if c.is_whitespace() => {}
            _ => {
                compacted.zeroize();
                return Err(wrong);
            }
        }
    }
    Ok(compacted)
}

/// Arabic-Indic and Persian digits as Latin ones.
fn latin_digit(c: char) -> char {
    let digit = match c {
        '\u{0660}'..='\u{0669}' => c as u32 - 0x0660,
        '\u{06F0}'..='\u{06F9}' => c as u32 - 0x06F0,
        _ => return c,
    };
    char::from_digit(digit, 10).unwrap_or(c)
}

/// Accents of Latin, Greek and Cyrillic, Hebrew points, Arabic vowel signs. Marks of other
/// scripts are letters in their own right and stay.
fn is_accent(c: char) -> bool {
    matches!(
        c,
        '\u{0300}'..='\u{036F}'
            | '\u{0591}'..='\u{05BD}'
            | '\u{05BF}'
            | '\u{05C1}'..='\u{05C2}'
            | '\u{05C4}'..='\u{05C5}'
            | '\u{05C7}'
            | '\u{064B}'..='\u{0652}'
            | '\u{0670}'
            | '\u{1AB0}'..='\u{1AFF}'
            | '\u{1DC0}'..='\u{1DFF}'
            | '\u{20D0}'..='\u{20FF}'
            | '\u{FE20}'..='\u{FE2F}'
    )
}

/// Letters that decomposition leaves whole.
fn fold_letter(c: char, folded: &mut String) {
    match c {
        'ß' => folded.push_str("ss"),
        'æ' => folded.push_str("ae"),
        'œ' => folded.push_str("oe"),
        'ø' => folded.push('o'),
        'ł' => folded.push('l'),
        'đ' | 'ð' => folded.push('d'),
        'þ' => folded.push_str("th"),
        'ħ' => folded.push('h'),
        'ı' => folded.push('i'),
        'ς' => folded.push('σ'),
        _ => folded.push(c),
    }
}

/// The longest text that is looked at, in bytes.
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(normal: Result<Normal, NotNormal>) -> String {
        normal.map_or_else(|wrong| wrong.to_string(), |normal| normal.0.to_string())
    }

    #[test]
    fn one_address_has_one_form() {
        for written in [
            "testa@example.org",
            " Testa@EXAMPLE.org. ",
            "ｔesta@example.org",
        ] {
            assert_eq!(text(Normal::email(written)), "testa@example.org");
        }
        for wrong in [
            "",
            "testa",
            "@example.org",
            "testa@",
            "a@b@c",
            "te sta@example.org",
        ] {
            assert_eq!(
                text(Normal::email(wrong)),
                "not an e-mail address",
                "{wrong}"
            );
        }
        assert_ne!(
            Normal::email("te.sta@example.org"),
            Normal::email("testa@example.org")
        );
    }

    #[test]
    fn one_number_has_one_form() {
        for written in [
            "+49 (0)30 / 901 820-0",
            "0049 30 9018200",
            "030 9018200",
            "٠٣٠ ٩٠١٨٢٠٠",
        ] {
            assert_eq!(
                text(Normal::phone(written, Some("49"))),
                "+49309018200",
                "{written}"
            );
        }
        for wrong in [
            "030 9018200",
            "+49 30 CALL",
            "+12",
            "+1234567890123456",
            "",
            "1+2345678",
        ] {
            assert_eq!(
                text(Normal::phone(wrong, None)),
                "not a phone number",
                "{wrong}"
            );
        }
        let mobile = Normal::phone("050-123 4567", Some("972"));
        assert_eq!(text(mobile), "+972501234567");
        assert_eq!(
            text(Normal::phone("0309018200", Some("4x"))),
            "not a phone number"
        );
    }

    #[test]
    fn one_passport_and_one_a_number_have_one_form() {
        for written in ["L898902C3", "l898902c3", "L898902C3<<<", "L 898-902 C3"] {
            assert_eq!(text(Normal::passport(written)), "L898902C3");
        }
        assert_eq!(text(Normal::passport("L89_8902")), "not a passport number");
        for written in ["A012345678", "a12345678", "A-012-345-678", "12345678"] {
            assert_eq!(text(Normal::a_number(written)), "A012345678");
        }
        for wrong in ["A123456", "B12345678", "A0123456789", ""] {
            assert_eq!(text(Normal::a_number(wrong)), "not an A-number");
        }
    }

    #[test]
    fn one_name_has_one_form() {
        let forms: [(&[&str], &str); 7] = [
            (
                &["GARCÍA LÓPEZ, Testa", "Testa Garci\u{301}a Lopez"],
                "garcia lopez testa",
            ),
            (&["Testa O'Brien", "o’brien  TESTA"], "obrien testa"),
            (&["Weiß-Øster", "WEISS ØSTER"], "oster weiss"),
            (&["İpek Yılmaz", "ipek yilmaz"], "ipek yilmaz"),
            (&["שָׁלוֹם", "שלום"], "שלום"),
            (&["Παππάς", "ΠΑΠΠΑΣ"], "παππασ"),
            (&["Łukasz Đoković"], "dokovic lukasz"),
        ];
        for (written, expected) in forms {
            for written in written {
                assert_eq!(text(Normal::name(written)), expected, "{written}");
            }
        }
        assert_eq!(text(Normal::name("כ״ץ")), "כץ");
        assert_eq!(text(Normal::name("כ\"ץ\u{200F}")), "כץ");
        assert_eq!(text(Normal::name("Testa\u{202E}atseT")), "not a name");
        assert_eq!(text(Normal::name(" -- 12")), "not a name");
        assert_eq!(text(Normal::name(&"a".repeat(2000))), "not a name");
    }
}
