//! Dates in the ways that people and forms write them.

use crate::check::number;
use crate::page::Page;
use crate::token::{Gap, TokenKind};

/// The token after the date that begins at token `at`, if a person can have been born on it.
pub(crate) fn read(page: &Page, at: usize) -> Option<usize> {
    numeric(page, at)
        .or_else(|| day_month_year(page, at))
        .or_else(|| month_day_year(page, at))
        .or_else(|| compact(page, at))
}

/// `1988-05-11`, `11/5/88`, `11.05.1988`, `11 05 1988`.
fn numeric(page: &Page, at: usize) -> Option<usize> {
    let (first, place) = numeral(page, at)?;
    let separator = page.token(place)?;
    let step = match (separator.kind, separator.gap) {
        (TokenKind::Sign, Gap::None) if matches!(separator.sign, b'/' | b'.' | b'-') => 1,
        (TokenKind::Sign, Gap::Blank) if matches!(separator.sign, b'/' | b'.' | b'-') => 1,
        (TokenKind::Number, Gap::Blank) => 0,
        _ => return None,
    };
    let (second, place) = numeral(page, place + step)?;
    if step == 1 && !page.is_sign(place, separator.sign) {
        return None;
    }
    let (third, end) = numeral(page, place + step)?;
    let exists = match (first.len(), third.len()) {
        (4, 1 | 2) => is_day(number(first), number(second), number(third)),
        (1 | 2, 2 | 4) if step == 1 || third.len() == 4 => {
            let year = full_year(third);
            is_day(year, number(second), number(first))
                || is_day(year, number(first), number(second))
        }
        _ => false,
    };
    exists.then_some(end)
}

/// `11 May 1988`, `11-May-88`, `2nd of May, 1988`, `11 de mayo de 1988`, `11 במאי 1988`.
fn day_month_year(page: &Page, at: usize) -> Option<usize> {
    let day = ordinal(page, at)?;
    let place = skip(page, at + 1);
    let month = month(page, place)?;
    let place = skip(page, place + 1);
    let (year, end) = numeral(page, place)?;
    (matches!(year.len(), 2 | 4) && is_day(full_year(year), month, day)).then_some(end)
}

/// `May 11, 1988`, `May 11th 1988`.
fn month_day_year(page: &Page, at: usize) -> Option<usize> {
    let month = month(page, at)?;
    let place = skip(page, at + 1);
    let day = ordinal(page, place)?;
    let place = skip(page, place + 1);
    let (year, end) = numeral(page, place)?;
    (year.len() == 4 && is_day(full_year(year), month, day)).then_some(end)
}

/// `19880511`.
fn compact(page: &Page, at: usize) -> Option<usize> {
    let (digits, end) = numeral(page, at)?;
    let exists = digits.len() == 8
        && is_day(
            number(&digits[..4]),
            number(&digits[4..6]),
            number(&digits[6..]),
        );
    exists.then_some(end)
}

fn numeral(page: &Page, at: usize) -> Option<(&[u8], usize)> {
    let token = page.token(at)?;
    (token.kind == TokenKind::Number && page.is_free(at))
        .then(|| (page.piece(at).as_bytes(), at + 1))
}

fn ordinal(page: &Page, at: usize) -> Option<u32> {
    let token = page.token(at)?;
    let piece = page.piece(at).as_bytes();
    let digits = match token.kind {
        TokenKind::Number => piece,
        TokenKind::Mixed => {
            let length = piece
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            let suffix = piece[length..].to_ascii_lowercase();
            [b"st".as_slice(), b"nd", b"rd", b"th", b"er"]
                .contains(&suffix.as_slice())
                .then_some(&piece[..length])?
        }
        _ => return None,
    };
    (matches!(digits.len(), 1 | 2) && (1..=31).contains(&number(digits))).then(|| number(digits))
}

fn month(page: &Page, at: usize) -> Option<u32> {
    let token = page.token(at)?;
    if token.kind != TokenKind::Word {
        return None;
    }
    if token.hebrew && token.word.month().is_none() {
        let bare = page.piece(at).strip_prefix('ב')?;
        return crate::lexicon::Lexicon::shipped()
            .word(crate::lexicon::Key::of(bare))
            .month();
    }
    token.word.month()
}

/// Past a comma, full stop, hyphen or slash, and small words like `of` and `de`.
fn skip(page: &Page, mut at: usize) -> usize {
    for _ in 0..2 {
        let Some(token) = page.token(at) else { break };
        let passes = match token.kind {
            TokenKind::Sign => {
                token.gap == Gap::None && matches!(token.sign, b',' | b'.' | b'-' | b'/')
            }
            TokenKind::Word => matches!(page.piece(at), "of" | "de" | "del" | "ב" | "di"),
            _ => false,
        };
        if !passes {
            break;
        }
        at += 1;
    }
    at
}

/// Two digits are taken as the last century unless they are those of recent years; only the
/// calendar needs it.
fn full_year(digits: &[u8]) -> u32 {
    match (digits.len(), number(digits)) {
        (2, short @ 0..=29) => 2000 + short,
        (2, short) => 1900 + short,
        (_, year) => year,
    }
}

fn is_day(year: u32, month: u32, day: u32) -> bool {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1900..=2035).contains(&year) && (1..=last).contains(&day)
}
