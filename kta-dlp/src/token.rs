//! Words, numbers and signs, with what stands between them.

use crate::lexicon::{Lexicon, Word};

/// A run of letters and digits, or one sign.
#[derive(Clone, Copy)]
pub(crate) struct Token {
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) kind: TokenKind,
    /// What stands before it.
    pub(crate) gap: Gap,
    pub(crate) case: Case,
    /// The sign itself, else 0.
    pub(crate) sign: u8,
    pub(crate) hebrew: bool,
    pub(crate) word: Word,
    /// Of the folded letters; compares words without case and accents.
    pub(crate) key: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TokenKind {
    /// Letters only.
    Word,
    /// ASCII digits only.
    Number,
    /// Letters and digits.
    Mixed,
    Sign,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Gap {
    None,
    Blank,
    /// Two blanks or more.
    Wide,
    Line,
    /// At least one empty line.
    Paragraph,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Case {
    /// No letter has case, or the first is lower.
    Lower,
    /// First letter upper, another lower.
    Capital,
    /// All letters upper, two at least.
    Upper,
    /// One upper-case letter.
    Initial,
}

impl Token {
    pub(crate) fn is_sign(&self, sign: u8) -> bool {
        self.sign == sign
    }

    pub(crate) fn is_value(&self) -> bool {
        matches!(self.kind, TokenKind::Number | TokenKind::Mixed)
    }

    pub(crate) fn len(&self) -> usize {
        (self.end - self.start) as usize
    }
}

/// Splits `text`, which must be shorter than 4 GiB, into `tokens`.
pub(crate) fn split(text: &str, lexicon: &Lexicon, tokens: &mut Vec<Token>) {
    tokens.clear();
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut gap = Gap::Line;
    while at < bytes.len() {
        let byte = bytes[at];
        match CLASS[byte as usize] {
            BLANK => {
                gap = gap.max(if gap == Gap::Blank {
                    Gap::Wide
                } else {
                    Gap::Blank
                });
                at += 1;
            }
            LINE => {
                let carriage = byte == b'\n' && at > 0 && bytes[at - 1] == b'\r';
                if !carriage {
                    gap = if gap >= Gap::Line {
                        Gap::Paragraph
                    } else {
                        Gap::Line
                    };
                }
                at += 1;
            }
            SIGN => {
                let length = leader_length(&bytes[at..]);
                if length > 0 {
                    tokens.push(sign(at, at + length, gap, LEADER));
                    at += length;
                } else {
                    tokens.push(sign(at, at + 1, gap, byte));
                    at += 1;
                }
                gap = Gap::None;
            }
            _ => {
                let token = word(text, at, gap, lexicon);
                at = token.end as usize;
                tokens.push(token);
                gap = Gap::None;
            }
        }
    }
}

/// A mark like `⟦US_SSN⟧`, which is nothing to look into; anything else in such brackets is.
fn redaction_length(text: &str) -> Option<usize> {
    let name = text.strip_prefix('⟦')?;
    let end = name
        .bytes()
        .take(24)
        .position(|byte| !(byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_'))?;
    (name[end..].starts_with('⟧') && crate::entity::Entity::named(&name[..end]).is_some())
        .then_some('⟦'.len_utf8() + end + '⟧'.len_utf8())
}

/// A row of three or more of the same sign, as between a label and its value on a form.
fn leader_length(bytes: &[u8]) -> usize {
    if !matches!(bytes[0], b'.' | b'_' | b'-' | b'=' | b'*' | b'~') {
        return 0;
    }
    let length = bytes.iter().take_while(|byte| **byte == bytes[0]).count();
    if length >= 3 { length } else { 0 }
}

fn sign(start: usize, end: usize, gap: Gap, sign: u8) -> Token {
    Token {
        start: start as u32,
        end: end as u32,
        kind: TokenKind::Sign,
        gap,
        case: Case::Lower,
        sign,
        hebrew: false,
        word: Word::default(),
        key: 0,
    }
}

fn word(text: &str, start: usize, gap: Gap, lexicon: &Lexicon) -> Token {
    let bytes = text.as_bytes();
    let (mut digits, mut upper, mut lower, mut letters) = (0u32, 0u32, 0u32, 0u32);
    let mut hebrew = false;
    let mut first_upper = false;
    let mut key = crate::lexicon::Key::default();
    let mut at = start;
    while at < bytes.len() {
        let byte = bytes[at];
        match CLASS[byte as usize] {
            DIGIT => digits += 1,
            UPPER => {
                first_upper |= letters == 0;
                letters += 1;
                upper += 1;
            }
            LOWER => {
                letters += 1;
                lower += 1;
            }
            WIDE => {
                if byte == 0xD7 {
                    hebrew = true;
                    letters += 1;
                    key.add(byte);
                    at += 1;
                } else {
                    // Tokens begin and end on character boundaries.
                    let Some(character) = text[at..].chars().next() else {
                        break;
                    };
                    if !character.is_alphanumeric() && !is_mark(character) {
                        if at == start {
                            if let Some(length) = redaction_length(&text[at..]) {
                                return sign(at, at + length, gap, OTHER_SIGN);
                            }
                            return sign(at, at + character.len_utf8(), gap, OTHER_SIGN);
                        }
                        break;
                    }
                    first_upper |= letters == 0 && character.is_uppercase();
                    letters += 1;
                    upper += u32::from(character.is_uppercase());
                    lower += u32::from(character.is_lowercase());
                    key.add_character(character);
                    at += character.len_utf8();
                    continue;
                }
            }
            _ => {
                let joins = byte == b'\'' || (byte == b'"' && hebrew);
                let next = bytes.get(at + 1).map_or(SIGN, |next| CLASS[*next as usize]);
                if joins && letters > 0 && digits == 0 && matches!(next, UPPER | LOWER | WIDE) {
                    let after = bytes
                        .get(at + 2)
                        .map_or(SIGN, |after| CLASS[*after as usize]);
                    if matches!(bytes[at + 1], b's' | b'S')
                        && !matches!(after, UPPER | LOWER | WIDE | DIGIT)
                    {
                        // The possessive is part of the token but not of the word.
                        at += 2;
                        break;
                    }
                    at += 1;
                    continue;
                }
                break;
            }
        }
        key.add(bytes[at].to_ascii_lowercase());
        at += 1;
    }
    let kind = match (digits, letters) {
        (_, 0) => TokenKind::Number,
        (0, _) => TokenKind::Word,
        _ => TokenKind::Mixed,
    };
    let case = match (first_upper, upper, lower) {
        (true, 1, 0) => Case::Initial,
        (true, _, 0) => Case::Upper,
        (true, ..) => Case::Capital,
        _ => Case::Lower,
    };
    let key = key.finish();
    let word = if kind == TokenKind::Word {
        lexicon.word(key)
    } else {
        Word::default()
    };
    Token {
        start: start as u32,
        end: at as u32,
        kind,
        gap,
        case,
        sign: 0,
        hebrew,
        word,
        key,
    }
}

fn is_mark(character: char) -> bool {
    matches!(u32::from(character), 0x0300..=0x036F | 0x064B..=0x065F | 0x093E..=0x094D)
}

/// A sign that is no ASCII character.
pub(crate) const OTHER_SIGN: u8 = 0xFF;
/// A row of dots, dashes or underscores.
pub(crate) const LEADER: u8 = 0xFE;

const BLANK: u8 = 0;
const LINE: u8 = 1;
const LOWER: u8 = 2;
const UPPER: u8 = 3;
const DIGIT: u8 = 4;
const WIDE: u8 = 5;
const SIGN: u8 = 6;

const CLASS: [u8; 256] = {
    let mut table = [SIGN; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b' ' | 0x0B | 0x0C | 0 => BLANK,
            b'\n' | b'\r' => LINE,
            b'a'..=b'z' => LOWER,
            b'A'..=b'Z' => UPPER,
            b'0'..=b'9' => DIGIT,
            0x80..=0xFF => WIDE,
            _ => SIGN,
        };
        byte += 1;
    }
    table
};
