//! Postcodes with their towns, by which the end of an address is known.

use crate::lexicon::Role;
use crate::page::Page;
use crate::token::{Case, Gap, TokenKind};

/// The token after a postcode (with its town where that follows) that begins at token `at`.
pub(super) fn read(page: &Page, at: usize) -> Option<usize> {
    american(page, at)
        .or_else(|| british(page, at))
        .or_else(|| continental(page, at))
        .or_else(|| israeli(page, at))
        .or_else(|| trailing(page, at))
}

/// `NY 10001`, `NY 10001-1234`.
fn american(page: &Page, at: usize) -> Option<usize> {
    let state = page.token(at)?;
    let code = page.token(at + 1)?;
    let fits = state.kind == TokenKind::Word
        && state.case == Case::Upper
        && state.len() == 2
        && state.word.is(Role::STATE)
        && code.kind == TokenKind::Number
        && code.len() == 5
        && code.gap <= Gap::Wide;
    if !fits || !page.is_free(at + 1) {
        return None;
    }
    let more = page.is_sign(at + 2, b'-')
        && page.tokens[at + 2].gap == Gap::None
        && page
            .token(at + 3)
            .is_some_and(|token| token.kind == TokenKind::Number && token.len() == 4);
    Some(at + if more { 4 } else { 2 })
}

/// `SW1A 2AA`.
fn british(page: &Page, at: usize) -> Option<usize> {
    let outward = page.token(at)?;
    let inward = page.token(at + 1)?;
    if outward.kind != TokenKind::Mixed
        || inward.kind != TokenKind::Mixed
        || inward.gap != Gap::Blank
        || inward.len() != 3
    {
        return None;
    }
    let head = page.piece(at).as_bytes();
    let tail = page.piece(at + 1).as_bytes();
    let letters = head
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase())
        .count();
    let fits = (1..=2).contains(&letters)
        && (2..=4).contains(&head.len())
        && head[letters].is_ascii_digit()
        && head[letters + 1..]
            .iter()
            .all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
        && tail[0].is_ascii_digit()
        && tail[1..].iter().all(u8::is_ascii_uppercase);
    fits.then_some(at + 2)
}

/// `10115 Berlin`, `75002 Paris`, behind a comma or at the beginning of a line.
fn continental(page: &Page, at: usize) -> Option<usize> {
    let code = page.token(at)?;
    let parted = code.gap >= Gap::Line || at > 0 && page.is_sign(at - 1, b',');
    if code.kind != TokenKind::Number || code.len() != 5 || !parted {
        return None;
    }
    // Italy sets a comma between code and town.
    let comma = usize::from(page.is_sign(at + 1, b',') && parted);
    let is_town = |place: usize| {
        page.token(place).is_some_and(|token| {
            token.kind == TokenKind::Word
                && token.gap == Gap::Blank
                && matches!(token.case, Case::Capital)
                && !token.hebrew
        }) && page.label_at(place).is_none()
    };
    if !is_town(at + 1 + comma) {
        return None;
    }
    let mut end = at + 2 + comma;
    for _ in 0..4 {
        let hyphen = (page.is_sign(end, b'-') || page.is_sign(end, b'\''))
            && page.tokens[end].gap == Gap::None;
        let small = page
            .token(end)
            .is_some_and(|token| token.gap == Gap::Blank && token.case == Case::Lower)
            && is_small(page, end)
            && is_town(end + 1);
        if is_town(end) {
            end += 1;
        } else if small
            || hyphen
                && page
                    .token(end + 1)
                    .is_some_and(|token| token.kind == TokenKind::Word && token.gap == Gap::None)
        {
            end += 2;
        } else {
            break;
        }
    }
    // The province of an Italian town: `84024 Contursi (SA)`.
    let province = page.is_sign(end, b'(')
        && page.is_sign(end + 2, b')')
        && page
            .token(end + 1)
            .is_some_and(|token| token.case == Case::Upper && token.len() == 2);
    Some(if province { end + 3 } else { end })
}

/// `Toledo, 39680` where nothing but the end follows.
fn trailing(page: &Page, at: usize) -> Option<usize> {
    let town = page
        .token(at)
        .filter(|token| token.kind == TokenKind::Word && token.case == Case::Capital)?;
    let code = page
        .token(at + 2)
        .filter(|token| token.kind == TokenKind::Number && token.len() == 5)?;
    let ends = page
        .token(at + 3)
        .is_none_or(|next| next.gap >= Gap::Line || next.kind == TokenKind::Sign);
    (page.is_sign(at + 1, b',')
        && code.gap == Gap::Blank
        && ends
        && page.is_free(at + 2)
        && town.gap <= Gap::Line)
        .then_some(at + 3)
}

/// `Haifa 3303211`, `Haifa 3303211, Israel`: seven digits behind a town.
fn israeli(page: &Page, at: usize) -> Option<usize> {
    let town = page.token(at)?;
    let code = page.token(at + 1)?;
    let fits = town.kind == TokenKind::Word
        && (town.case == Case::Capital || town.hebrew)
        && code.kind == TokenKind::Number
        && code.len() == 7
        && code.gap == Gap::Blank
        && page.label_at(at).is_none();
    let place = town.word.is(Role::PLACE)
        || page.is_sign(at + 2, b',')
            && page
                .token(at + 3)
                .is_some_and(|next| next.word.is(Role::PLACE));
    (fits && place).then_some(at + 2)
}

/// The country behind a postcode belongs to the address.
pub(super) fn with_country(page: &Page, end: usize) -> usize {
    let country = page.is_sign(end, b',')
        && page.token(end + 1).is_some_and(|token| {
            token.gap == Gap::Blank && token.word.is(Role::PLACE) && token.case == Case::Capital
        });
    if country { end + 2 } else { end }
}

/// Small words within names of streets and towns.
pub(super) fn is_small(page: &Page, at: usize) -> bool {
    matches!(
        page.piece(at),
        "of" | "the"
            | "de"
            | "la"
            | "le"
            | "les"
            | "du"
            | "des"
            | "del"
            | "della"
            | "di"
            | "da"
            | "do"
            | "dos"
            | "am"
            | "an"
            | "der"
            | "den"
            | "im"
            | "in"
            | "bei"
            | "auf"
            | "ob"
            | "van"
            | "von"
            | "vor"
            | "sur"
            | "sous"
            | "et"
            | "y"
            | "on"
            | "upon"
            | "und"
            | "el"
            | "los"
            | "las"
    )
}
