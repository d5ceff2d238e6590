//! IP and hardware addresses.

use crate::entity::Entity;
use crate::lexicon::Label;
use crate::page::Page;
use crate::token::{Gap, TokenKind};

pub(crate) fn find(page: &mut Page) {
    let mut at = 0;
    while at < page.tokens.len() {
        let starts = page.tokens[at].kind != TokenKind::Sign && page.is_free(at);
        let end = if starts {
            hardware(page, at)
                .or_else(|| version6(page, at))
                .or_else(|| version4(page, at))
        } else {
            None
        };
        at = end.unwrap_or(at + 1);
    }
}

fn hardware(page: &mut Page, at: usize) -> Option<usize> {
    let sign = page
        .token(at + 1)
        .filter(|sign| matches!(sign.sign, b':' | b'-'))?
        .sign;
    let octets = (0..6).all(|octet| {
        let piece = page.piece(at + 2 * octet).as_bytes();
        piece.len() == 2
            && piece.iter().all(u8::is_ascii_hexdigit)
            && (octet == 0
                || page.is_sign(at + 2 * octet - 1, sign)
                    && page.tokens[at + 2 * octet].gap == Gap::None
                    && page.tokens[at + 2 * octet - 1].gap == Gap::None)
    });
    let end = at + 11;
    if !octets
        || page.joined_before(at) == Some(sign)
        || page
            .joined_after(end)
            .is_some_and(|(after, next)| after == sign && next.is_some())
    {
        return None;
    }
    page.take(at, end, Entity::MacAddress, 95);
    Some(end)
}

fn version6(page: &mut Page, at: usize) -> Option<usize> {
    if page.token(at)?.len() > 4 || !page.is_sign(at + 1, b':') {
        return None;
    }
    let start = page.tokens[at].start as usize;
    let rest = &page.bytes()[start..];
    let mut length = rest
        .iter()
        .take(46)
        .take_while(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        .count();
    while length > 0 && matches!(rest[length - 1], b'.' | b':') && !rest[..length].ends_with(b"::")
    {
        length -= 1;
    }
    let text = std::str::from_utf8(&rest[..length]).ok()?;
    let groups = text.split(':').filter(|group| !group.is_empty()).count();
    let plausible =
        groups >= 2 && text.bytes().any(|byte| byte.is_ascii_digit()) && text.len() >= 6;
    let ends = rest
        .get(length)
        .is_none_or(|next| !next.is_ascii_alphanumeric());
    if !plausible || !ends || text.parse::<std::net::Ipv6Addr>().is_err() {
        return None;
    }
    let stop = u32::try_from(start + length).ok()?;
    let mut end = at + 1;
    while page.token(end).is_some_and(|token| token.start < stop) {
        end += 1;
    }
    page.take_bytes(at, end, page.tokens[at].start, stop, Entity::IpAddress, 95);
    Some(end)
}

fn version4(page: &mut Page, at: usize) -> Option<usize> {
    let octets = (0..4).all(|octet| {
        let place = at + 2 * octet;
        let piece = page.piece(place);
        page.token(place).is_some_and(|token| {
            token.kind == TokenKind::Number && (octet == 0 || token.gap == Gap::None)
        }) && (octet == 0
            || page.is_sign(place - 1, b'.') && page.tokens[place - 1].gap == Gap::None)
            && piece.len() <= 3
            && (piece.len() == 1 || !piece.starts_with('0'))
            && piece.parse::<u8>().is_ok()
    });
    let end = at + 7;
    if !octets {
        return None;
    }
    let longer = page.joined_after(end).is_some_and(|(sign, next)| {
        matches!(sign, b'.' | b'-') && next.is_some_and(|next| next.kind == TokenKind::Number)
    });
    let inside = page
        .joined_before(at)
        .is_some_and(|sign| matches!(sign, b'.' | b'-' | b'_'));
    let versioned =
        matches!(page.left(at), Some(left) if left.hit.label == Label::Not && left.words <= 2);
    if longer || inside || versioned {
        page.dull(at, end);
        return Some(end);
    }
    page.take(at, end, Entity::IpAddress, 85);
    Some(end)
}
