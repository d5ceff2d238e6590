//! E-mail addresses, also those that are spelled out to hide them.

use crate::entity::Entity;
use crate::page::Page;
use crate::token::{Gap, TokenKind};

pub(crate) fn find(page: &mut Page) {
    let mut at = 0;
    while at < page.tokens.len() {
        let end = if page.tokens[at].is_sign(b'@') {
            plain(page, at)
        } else {
            spelled(page, at)
        };
        at = end.unwrap_or(at + 1);
    }
}

fn plain(page: &mut Page, at: usize) -> Option<usize> {
    let first = local(page, at, Gap::None)?;
    let end = domain(page, at + 1, Dots::SIGN)?;
    page.take(first, end, Entity::Email, 97);
    Some(end)
}

/// `x [at] y [dot] z`, `x at y dot z`.
fn spelled(page: &mut Page, at: usize) -> Option<usize> {
    let (word, after) = bracketed(page, at)?;
    if !word.eq_ignore_ascii_case("at") {
        return None;
    }
    let bare = after == at + 1;
    let first = local(page, at, Gap::Blank)?;
    let end = domain(
        page,
        after,
        if bare {
            Dots::WORD
        } else {
            Dots::WORD.or_sign()
        },
    )?;
    page.take(first, end, Entity::Email, 88);
    Some(end)
}

/// A word, bare or in brackets, and the token after it.
fn bracketed(page: &Page, at: usize) -> Option<(&str, usize)> {
    let token = page.token(at)?;
    match token.kind {
        TokenKind::Word if token.gap == Gap::Blank => Some((page.piece(at), at + 1)),
        TokenKind::Sign if matches!(token.sign, b'[' | b'(' | b'{' | b'<') => {
            let closed = page
                .token(at + 2)
                .is_some_and(|close| matches!(close.sign, b']' | b')' | b'}' | b'>'));
            (closed && page.token(at + 1)?.kind == TokenKind::Word)
                .then(|| (page.piece(at + 1), at + 3))
        }
        _ => None,
    }
}

/// The first token of what stands before the `@` at token `at`.
fn local(page: &Page, at: usize, gap: Gap) -> Option<usize> {
    if page.token(at)?.gap > gap {
        return None;
    }
    let mut first = at;
    while let Some(before) = first.checked_sub(1) {
        let token = &page.tokens[before];
        let fits =
            token.kind != TokenKind::Sign || matches!(token.sign, b'.' | b'_' | b'-' | b'+' | b'%');
        if !fits || first != at && page.tokens[first].gap > Gap::None || !page.is_free(before) {
            break;
        }
        first = before;
    }
    // `john dot doe at …`, `john [dot] doe [at] …`
    loop {
        let word = |back: usize| {
            first
                .checked_sub(back)
                .map_or("", |place| page.piece(place))
        };
        let back = if word(1).eq_ignore_ascii_case("dot") {
            2
        } else if word(2).eq_ignore_ascii_case("dot") && matches!(word(3), "[" | "(" | "{") {
            4
        } else {
            break;
        };
        match first.checked_sub(back) {
            Some(place) if page.tokens[place].kind != TokenKind::Sign && gap > Gap::None => {
                first = place
            }
            _ => break,
        }
    }
    while first < at && page.tokens[first].kind == TokenKind::Sign {
        first += 1;
    }
    (first < at && (page.tokens[at].start - page.tokens[first].start) <= 80).then_some(first)
}

#[derive(Clone, Copy)]
struct Dots {
    sign: bool,
    word: bool,
}

impl Dots {
    const SIGN: Self = Self {
        sign: true,
        word: false,
    };
    const WORD: Self = Self {
        sign: false,
        word: true,
    };

    fn or_sign(self) -> Self {
        Self { sign: true, ..self }
    }
}

/// The token after a domain with at least two labels that begins at token `at`.
fn domain(page: &Page, at: usize, dots: Dots) -> Option<usize> {
    let mut place = label(page, at, if dots.word { Gap::Blank } else { Gap::None })?;
    let mut end = None;
    for _ in 0..8 {
        let after_dot = match page.token(place) {
            Some(token) if dots.sign && token.is_sign(b'.') && token.gap == Gap::None => {
                (place + 1, Gap::None)
            }
            Some(_) if dots.word => match bracketed(page, place) {
                Some((word, after)) if word.eq_ignore_ascii_case("dot") => (after, Gap::Blank),
                _ => break,
            },
            _ => break,
        };
        let Some(next) = label(page, after_dot.0, after_dot.1) else {
            break;
        };
        place = next;
        let last = page.piece(place - 1);
        let top =
            (2..=24).contains(&last.len()) && last.bytes().all(|byte| byte.is_ascii_alphabetic());
        if top && page.joined_before(place - 1) != Some(b'-') {
            end = Some(place);
        }
    }
    end
}

/// One label of a domain: letters, digits and hyphens within.
fn label(page: &Page, at: usize, gap: Gap) -> Option<usize> {
    page.token(at)
        .filter(|token| token.kind != TokenKind::Sign && token.gap <= gap)?;
    let mut end = at + 1;
    while page.is_sign(end, b'-')
        && page.tokens[end].gap == Gap::None
        && page
            .token(end + 1)
            .is_some_and(|next| next.kind != TokenKind::Sign && next.gap == Gap::None)
    {
        end += 2;
    }
    Some(end)
}
