//! The machine readable zone of ICAO 9303 parts 3 to 7: parsed with every check digit, or composed.

use super::mrz_date::MrzDate;
use super::mrz_format::MrzFormat;
use super::{IdentifierFlaw, fold_alphanumeric, is_bidi_control};

/// A machine readable zone whose check digits all fit.
///
/// The names of a TD3 stand in a line without a check digit: compare them with the form.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Mrz {
    format: MrzFormat,
    text: String,
    number: String,
    optional: String,
    birth: MrzDate,
    expiry: MrzDate,
    surname: String,
    given_names: String,
}

/// A field with a check digit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MrzField {
    /// Date of birth.
    Birth,
    /// The digit over all the other checked fields.
    Composite,
    /// Date of expiry.
    Expiry,
    /// Document number.
    Number,
    /// Optional data of a TD3, often the personal number.
    Optional,
}

/// Sex as the zone writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MrzSex {
    /// `F`
    Female,
    /// `M`
    Male,
    /// `<`
    Unspecified,
}

/// What [`Mrz::compose`] writes a zone from. Letters in either case; blanks become `<`.
#[derive(Clone, Copy)]
pub struct MrzFields<'a> {
    /// The size of the document.
    pub format: MrzFormat,
    /// One or two letters: `P`, `ID`, `V`.
    pub document_code: &'a str,
    /// Issuing state, one to three letters.
    pub issuer: &'a str,
    /// Family name in Latin letters as for the zone ([`super::PersonName::to_mrz`]).
    pub surname: &'a str,
    /// Given names, blank between them.
    pub given_names: &'a str,
    /// Document number, at most nine characters.
    pub number: &'a str,
    /// Nationality, one to three letters.
    pub nationality: &'a str,
    /// Date of birth.
    pub birth: MrzDate,
    /// Sex.
    pub sex: MrzSex,
    /// Date of expiry.
    pub expiry: MrzDate,
    /// Optional data, for instance a personal number.
    pub optional: &'a str,
}

impl Mrz {
    /// Reads a zone, with or without line breaks; blanks are dropped, lower case and full-width
    /// forms are folded.
    ///
    /// # Errors
    /// [`IdentifierFlaw::Length`] when the characters fill no known format,
    /// [`IdentifierFlaw::MrzCheckDigit`] with the field whose digit does not fit,
    /// [`IdentifierFlaw::Date`] for an impossible day, [`IdentifierFlaw::Character`] and
    /// [`IdentifierFlaw::Shape`] for letters and digits out of place.
    pub fn parse(text: &str) -> Result<Self, IdentifierFlaw> {
        Self::read(fold(text)?)
    }

    /// Writes a zone with all its check digits.
    ///
    /// A name too long for the document is cut, as ICAO 9303 allows.
    ///
    /// # Errors
    /// [`IdentifierFlaw::Length`] when another field is too long, and whatever [`Mrz::parse`]
    /// finds in the result.
    pub fn compose(fields: &MrzFields<'_>) -> Result<Self, IdentifierFlaw> {
        let MrzFields { format, .. } = *fields;
        let code = field(fields.document_code, 2)?;
        let issuer = field(fields.issuer, 3)?;
        let nationality = field(fields.nationality, 3)?;
        let number = checked(field(fields.number, 9)?);
        let birth = checked(fields.birth.written());
        let expiry = checked(fields.expiry.written());
        let sex = fields.sex.letter();
        let optional = field(fields.optional, format.optional_length())?;
        let names = names_field(fields, format)?;
        let mut text = match format {
            MrzFormat::Td1 => {
                let (first, second) = optional.split_at(15);
                format!(
                    "{code}{issuer}{number}{first}{birth}{sex}{expiry}{nationality}{second}?{names}"
                )
            }
            MrzFormat::Td3 => {
                let optional = if fields.optional.is_empty() {
                    optional + "<"
                } else {
                    checked(optional)
                };
                format!("{code}{issuer}{names}{number}{nationality}{birth}{sex}{expiry}{optional}?")
            }
            MrzFormat::Td2 => {
                format!("{code}{issuer}{names}{number}{nationality}{birth}{sex}{expiry}{optional}?")
            }
            MrzFormat::MrvA | MrzFormat::MrvB => {
                format!("{code}{issuer}{names}{number}{nationality}{birth}{sex}{expiry}{optional}")
            }
        };
        if text.contains('?') {
            let composite = composite_digit(format, text.as_bytes());
            text = text.replace('?', char::from(composite).encode_utf8(&mut [0; 4]));
        }
        Self::read(text)
    }

    /// The size of the document.
    pub fn format(&self) -> MrzFormat {
        self.format
    }

    /// One or two letters: `P`, `ID`, `V`; the filler is left out.
    pub fn document_code(&self) -> &str {
        self.text[..2].trim_end_matches('<')
    }

    /// Issuing state.
    pub fn issuer(&self) -> &str {
        self.text[2..5].trim_end_matches('<')
    }

    /// Document number without filler; longer than nine characters where a card carries on in its
    /// optional data.
    pub fn number(&self) -> &str {
        &self.number
    }

    /// Nationality of the holder.
    pub fn nationality(&self) -> &str {
        self.text[self.format.nationality()..][..3].trim_end_matches('<')
    }

    /// Date of birth.
    pub fn birth(&self) -> MrzDate {
        self.birth
    }

    /// Sex.
    pub fn sex(&self) -> MrzSex {
        MrzSex::of(self.text.as_bytes()[self.format.sex()]).unwrap_or(MrzSex::Unspecified)
    }

    /// Date of expiry.
    pub fn expiry(&self) -> MrzDate {
        self.expiry
    }

    /// Family name, a blank where the zone has `<`.
    pub fn surname(&self) -> &str {
        &self.surname
    }

    /// Given names, blanks between; empty for a holder with one name.
    pub fn given_names(&self) -> &str {
        &self.given_names
    }

    /// Whether the names fill their field to its end, so that some of the name may be missing.
    pub fn names_may_be_cut(&self) -> bool {
        let (from, to) = self.format.names();
        !self.text[from..to].ends_with('<')
    }

    /// Optional data without trailing filler.
    pub fn optional(&self) -> &str {
        &self.optional
    }

    /// The zone in its lines, separated by a line feed.
    pub fn reveal(&self) -> String {
        let lines = self.text.as_bytes().chunks(self.format.line_length());
        lines
            .map(|line| std::str::from_utf8(line).unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn read(text: String) -> Result<Self, IdentifierFlaw> {
        let bytes = text.as_bytes();
        let format = MrzFormat::of(bytes)?;
        let slice = |from: usize, length: usize| &text[from..from + length];
        let letters = |part: &str| {
            part.bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'<')
        };
        let (names_from, names_to) = format.names();
        if !letters(slice(0, 1))
            || !letters(slice(2, 3))
            || !letters(slice(format.nationality(), 3))
            || !letters(&text[names_from..names_to])
        {
            return Err(IdentifierFlaw::Shape);
        }
        MrzSex::of(bytes[format.sex()]).ok_or(IdentifierFlaw::Shape)?;

        let (number, optional) = number_and_optional(format, &text)?;
        let birth = date(slice(format.birth(), 7), MrzField::Birth)?;
        let expiry = date(slice(format.expiry(), 7), MrzField::Expiry)?;
        if format == MrzFormat::Td3 {
            let empty = slice(72, 14).bytes().all(|byte| byte == b'<');
            if !(fits(slice(72, 15)) || empty && bytes[86] == b'<') {
                return Err(IdentifierFlaw::MrzCheckDigit(MrzField::Optional));
            }
        }
        if let Some(place) = format.composite()
            && composite_digit(format, bytes) != bytes[place]
        {
            return Err(IdentifierFlaw::MrzCheckDigit(MrzField::Composite));
        }
        let mut names = text[names_from..names_to]
            .trim_end_matches('<')
            .splitn(2, "<<");
        let mut spoken = || {
            names
                .next()
                .unwrap_or_default()
                .replace('<', " ")
                .trim()
                .to_owned()
        };
        let (surname, given_names) = (spoken(), spoken());
        if surname.is_empty() {
            return Err(IdentifierFlaw::Shape);
        }
        Ok(Self {
            format,
            number,
            optional,
            birth,
            expiry,
            surname,
            given_names,
            text,
        })
    }
}

impl std::fmt::Debug for Mrz {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mrz")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for MrzFields<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MrzFields")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Display for MrzField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Birth => "date of birth",
            Self::Composite => "composite",
            Self::Expiry => "date of expiry",
            Self::Number => "document number",
            Self::Optional => "optional data",
        })
    }
}

impl MrzSex {
    fn of(letter: u8) -> Option<Self> {
        match letter {
            b'F' => Some(Self::Female),
            b'M' => Some(Self::Male),
            b'<' | b'X' => Some(Self::Unspecified),
            _ => None,
        }
    }

    fn letter(self) -> char {
        match self {
            Self::Female => 'F',
            Self::Male => 'M',
            Self::Unspecified => '<',
        }
    }
}

/// The check digit of ICAO 9303 part 3 §4.9: weights 7, 3, 1, letters from A = 10, `<` = 0, sum
/// modulo ten. `None` when a character belongs to no zone.
pub fn mrz_check_digit(field: &[u8]) -> Option<u8> {
    let mut sum = 0u32;
    for (place, byte) in field.iter().enumerate() {
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            b'<' => 0,
            _ => return None,
        };
        sum = (sum + u32::from(value) * [7, 3, 1][place % 3]) % 10;
    }
    u8::try_from(sum).ok().map(|digit| digit + b'0')
}

/// Reads the document number, which a card with more than nine characters carries on in its
/// optional data: then the place of the check digit holds a filler (ICAO 9303 part 5 §4.2.2).
fn number_and_optional(format: MrzFormat, text: &str) -> Result<(String, String), IdentifierFlaw> {
    let flaw = IdentifierFlaw::MrzCheckDigit(MrzField::Number);
    let start = format.number();
    let (optional, more) = match format {
        MrzFormat::Td1 => (&text[15..30], &text[48..59]),
        MrzFormat::Td2 => (&text[64..71], ""),
        MrzFormat::Td3 => (&text[72..86], ""),
        MrzFormat::MrvA => (&text[72..88], ""),
        MrzFormat::MrvB => (&text[64..72], ""),
    };
    let trimmed = |rest: &str| format!("{rest}{more}").trim_end_matches('<').to_owned();
    let short = &text[start..start + 10];
    if !(short.ends_with('<') && matches!(format, MrzFormat::Td1 | MrzFormat::Td2)) {
        let number = short[..9].trim_end_matches('<');
        if !fits(short) || number.is_empty() {
            return Err(flaw);
        }
        return Ok((number.to_owned(), trimmed(optional)));
    }
    let end = optional.find('<').unwrap_or(optional.len());
    let long = format!("{}{}", &short[..9], &optional[..end]);
    if end < 2 || !fits(&long) {
        return Err(flaw);
    }
    Ok((
        long[..long.len() - 1].to_owned(),
        trimmed(&optional[end..]).trim_start_matches('<').to_owned(),
    ))
}

fn composite_digit(format: MrzFormat, text: &[u8]) -> u8 {
    let parts: &[std::ops::Range<usize>] = match format {
        MrzFormat::Td1 => &[5..30, 30..37, 38..45, 48..59],
        MrzFormat::Td2 => &[36..46, 49..56, 57..71],
        MrzFormat::Td3 => &[44..54, 57..64, 65..87],
        MrzFormat::MrvA | MrzFormat::MrvB => &[],
    };
    let covered: Vec<u8> = parts
        .iter()
        .flat_map(|part| &text[part.clone()])
        .copied()
        .collect();
    mrz_check_digit(&covered).unwrap_or(b'?')
}

/// Whether the last character is the check digit of those before it.
fn fits(text: &str) -> bool {
    text.as_bytes()
        .split_last()
        .is_some_and(|(digit, rest)| mrz_check_digit(rest) == Some(*digit))
}

fn date(text: &str, which: MrzField) -> Result<MrzDate, IdentifierFlaw> {
    if fits(text) {
        MrzDate::read(&text[..6])
    } else {
        Err(IdentifierFlaw::MrzCheckDigit(which))
    }
}

fn checked(mut text: String) -> String {
    // Every field that comes here was folded, so the digit exists.
    text.push(char::from(mrz_check_digit(text.as_bytes()).unwrap_or(b'?')));
    text
}

fn field(text: &str, length: usize) -> Result<String, IdentifierFlaw> {
    let mut folded = String::with_capacity(length);
    for character in text.chars() {
        folded.push(match character {
            '<' | ' ' | '-' => '<',
            other => char::from(fold_alphanumeric(other).ok_or(IdentifierFlaw::Character)?),
        });
        if folded.len() > length {
            return Err(IdentifierFlaw::Length);
        }
    }
    while folded.len() < length {
        folded.push('<');
    }
    Ok(folded)
}

fn names_field(fields: &MrzFields<'_>, format: MrzFormat) -> Result<String, IdentifierFlaw> {
    let (from, to) = format.names();
    let joined = if fields.given_names.is_empty() {
        fields.surname.to_owned()
    } else {
        format!("{}<<{}", fields.surname, fields.given_names)
    };
    let cut: String = joined.chars().take(to - from).collect();
    field(&cut, to - from)
}

fn fold(text: &str) -> Result<String, IdentifierFlaw> {
    let mut folded = String::with_capacity(LONGEST);
    for character in text.chars() {
        match character {
            '<' | '\u{FF1C}' => folded.push('<'),
            blank if blank.is_whitespace() => continue,
            control if is_bidi_control(control) => return Err(IdentifierFlaw::Bidi),
            other => folded.push(char::from(
                fold_alphanumeric(other).ok_or(IdentifierFlaw::Character)?,
            )),
        }
        if folded.len() > LONGEST {
            return Err(IdentifierFlaw::Length);
        }
    }
    Ok(folded)
}

/// Three lines of thirty.
const LONGEST: usize = 90;
