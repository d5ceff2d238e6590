use super::IdentifierFlaw;
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// A person's name in its own script, safe to show beside other text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PersonName(String);

impl PersonName {
    /// Folds compatibility forms (full-width letters, ligatures; NFKC) and runs of blanks.
    ///
    /// # Errors
    /// [`IdentifierFlaw::Bidi`] for U+202A–202E and U+2066–2069, which make one name look like
    /// another; [`IdentifierFlaw::Character`] for other control characters and for characters that
    /// take no room (U+200B–200F, U+2060, U+FEFF); [`IdentifierFlaw::Length`] when nothing is left
    /// or more than [`PersonName::LONGEST`] characters are.
    pub fn parse(text: &str) -> Result<Self, IdentifierFlaw> {
        let mut name = String::new();
        let mut length = 0;
        // Refused before folding, since folding may drop what hides.
        for character in text.chars() {
            length += 1;
            if length > 4 * Self::LONGEST {
                return Err(IdentifierFlaw::Length);
            }
            refuse_invisible(character)?;
        }
        for (count, word) in text.split_whitespace().enumerate() {
            if count > 0 {
                name.push(' ');
            }
            name.extend(word.nfkc());
        }
        if name.is_empty() || name.chars().count() > Self::LONGEST {
            return Err(IdentifierFlaw::Length);
        }
        Ok(Self(name))
    }

    /// The name as folded.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The name in the letters of a machine readable zone: `A`–`Z` and `<` between words.
    ///
    /// Latin letters follow the recommended transliterations of ICAO 9303 part 3 §6 (`Ä` → `AE`,
    /// `ß` → `SS`, others lose their mark); apostrophes vanish, hyphens and blanks become `<`.
    ///
    /// # Errors
    /// [`IdentifierFlaw::Script`] for letters of another script: how they are written in Latin is
    /// the issuing state's decision and must come from the document.
    pub fn to_mrz(&self) -> Result<String, IdentifierFlaw> {
        let mut written = String::with_capacity(self.0.len());
        for character in self.0.chars().flat_map(char::to_uppercase) {
            match character {
                'A'..='Z' => written.push(character),
                '\'' | '\u{2019}' | '\u{2BC}' | '.' => {}
                ' ' | '-' | '\u{2010}'..='\u{2015}' | ',' => written.push('<'),
                'Ä' | 'Æ' => written.push_str("AE"),
                'Å' => written.push_str("AA"),
                'Ö' | 'Ø' | 'Œ' => written.push_str("OE"),
                'Ü' => written.push_str("UE"),
                'ẞ' => written.push_str("SS"),
                'Þ' => written.push_str("TH"),
                'Ð' | 'Đ' => written.push('D'),
                'Ł' => written.push('L'),
                'Ħ' => written.push('H'),
                'İ' | 'ı' => written.push('I'),
                mark if is_combining_mark(mark) => {}
                other => {
                    let base = std::iter::once(other)
                        .nfd()
                        .next()
                        .filter(char::is_ascii_uppercase);
                    written.push(base.ok_or(IdentifierFlaw::Script)?);
                }
            }
        }
        Ok(written)
    }

    /// The longest name taken, in characters.
    pub const LONGEST: usize = 200;
}

impl std::fmt::Debug for PersonName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PersonName(redacted)")
    }
}

/// Whether a character steers the direction of the text around it: U+202A–202E, U+2066–2069.
pub fn is_bidi_control(character: char) -> bool {
    matches!(character, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

fn refuse_invisible(character: char) -> Result<(), IdentifierFlaw> {
    if is_bidi_control(character) {
        Err(IdentifierFlaw::Bidi)
    } else if (character.is_control() && !character.is_whitespace())
        || matches!(
            character,
            '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{2060}' | '\u{FEFF}'
        )
    {
        Err(IdentifierFlaw::Character)
    } else {
        Ok(())
    }
}
