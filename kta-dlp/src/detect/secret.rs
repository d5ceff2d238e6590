//! Credentials, wallets; and hashes and links, which are nothing but look like something.

use crate::check;
use crate::entity::Entity;
use crate::page::Page;
use crate::token::{Gap, LEADER, TokenKind};

pub(crate) fn find(page: &mut Page) {
    let mut at = 0;
    while at < page.tokens.len() {
        at = private_key(page, at)
            .or_else(|| link(page, at))
            .or_else(|| credential(page, at))
            .or_else(|| wallet(page, at))
            .or_else(|| hash(page, at))
            .unwrap_or(at + 1);
    }
}

/// `-----BEGIN … PRIVATE KEY-----` to its end.
fn private_key(page: &mut Page, at: usize) -> Option<usize> {
    let token = page.token(at).filter(|token| token.is_sign(LEADER))?;
    let rest = &page.text[token.start as usize..];
    if !rest.starts_with("-----BEGIN ") {
        return None;
    }
    let head = position(&rest.as_bytes()[..rest.len().min(80)], b"PRIVATE KEY")?;
    let body = &rest.as_bytes()[head..rest.len().min(head + LONGEST_KEY)];
    let tail = head + position(body, b"-----END ")?;
    let close = tail
        + 9
        + position(
            &rest.as_bytes()[tail + 9..rest.len().min(tail + 90)],
            b"-----",
        )?
        + 5;
    let start = token.start;
    let stop = start + u32::try_from(close).ok()?;
    Some(take_until(page, at, start, stop, Entity::ApiKey, 99))
}

fn credential(page: &mut Page, at: usize) -> Option<usize> {
    let token = *page.token(at)?;
    if token.kind == TokenKind::Sign
        || page
            .joined_before(at)
            .is_some_and(|sign| matches!(sign, b'_' | b'-' | b'+' | b'/'))
    {
        return None;
    }
    let bytes = &page.bytes()[token.start as usize..];
    if !matches!(bytes[0], b'A' | b'g' | b'x' | b's' | b'r' | b'e') {
        return None;
    }
    let run = |also: &[u8]| {
        bytes
            .iter()
            .take(4096)
            .take_while(|byte| byte.is_ascii_alphanumeric() || also.contains(byte))
            .count()
    };
    let length = if bytes.starts_with(b"AKIA") || bytes.starts_with(b"ASIA") {
        Some(20).filter(|length| {
            run(b"") == *length
                && bytes[..20]
                    .iter()
                    .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        })
    } else if bytes.starts_with(b"AIza") {
        Some(39).filter(|length| (*length..=*length).contains(&run(b"-_").min(39)))
    } else if bytes.starts_with(b"gh") && bytes.get(3) == Some(&b'_') {
        let body = bytes.get(4..40)?;
        Some(40).filter(|length| {
            run(b"_") == *length
                && b"pousr".contains(&bytes[2])
                && check::is_github(&body[..30], &body[30..])
        })
    } else if bytes.starts_with(b"xox") && bytes.get(4) == Some(&b'-') {
        Some(run(b"-")).filter(|length| *length >= 24)
    } else if [
        b"sk_live_".as_slice(),
        b"rk_live_",
        b"sk_test_",
        b"rk_test_",
    ]
    .iter()
    .any(|prefix| bytes.starts_with(prefix))
    {
        Some(run(b"_")).filter(|length| *length >= 24)
    } else if bytes.starts_with(b"sk-") {
        Some(run(b"-_"))
            .filter(|length| *length >= 32 && bytes[..*length].iter().any(u8::is_ascii_digit))
    } else if bytes.starts_with(b"eyJ") {
        let length = run(b"-_.=");
        let mut parts = bytes[..length].split(|byte| *byte == b'.');
        let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
        (header.len() >= 12 && claims.len() >= 6 && signature.len() >= 16)
            .then_some(header.len() + claims.len() + signature.len() + 2)
    } else {
        None
    }?;
    let stop = token.start + u32::try_from(length).ok()?;
    Some(take_until(page, at, token.start, stop, Entity::ApiKey, 97))
}

fn wallet(page: &mut Page, at: usize) -> Option<usize> {
    let token = page
        .token(at)
        .filter(|token| token.kind == TokenKind::Mixed)?;
    let piece = page.piece(at).as_bytes();
    let bitcoin = matches!(piece[0], b'1' | b'3') && check::is_base58check(piece);
    let ethereum = token.len() == 42
        && piece.starts_with(b"0x")
        && piece[2..].iter().all(u8::is_ascii_hexdigit);
    if !bitcoin && !ethereum {
        return None;
    }
    page.take(
        at,
        at + 1,
        Entity::CryptoWallet,
        if bitcoin { 98 } else { 90 },
    );
    Some(at + 1)
}

/// A digest or a UUID.
fn hash(page: &mut Page, at: usize) -> Option<usize> {
    let is_hex = |at: usize, length: usize| {
        let piece = page.piece(at).as_bytes();
        piece.len() == length && piece.iter().all(u8::is_ascii_hexdigit)
    };
    let length = page
        .token(at)
        .filter(|token| token.kind != TokenKind::Sign)?
        .len();
    if length >= 24 && is_hex(at, length) {
        page.dull(at, at + 1);
        return Some(at + 1);
    }
    let uuid = length == 8
        && is_hex(at, 8)
        && [4, 4, 4, 12].iter().enumerate().all(|(group, length)| {
            page.is_sign(at + 1 + 2 * group, b'-') && is_hex(at + 2 + 2 * group, *length)
        });
    if uuid {
        page.dull(at, at + 9);
        return Some(at + 9);
    }
    None
}

/// The path of a link is no place to look for names and numbers; what it asks with is, and an
/// address before `@`.
fn link(page: &mut Page, at: usize) -> Option<usize> {
    if !matches!(page.piece(at), "http" | "https" | "ftp")
        || !page.is_sign(at + 1, b':')
        || !page.is_sign(at + 2, b'/')
    {
        return None;
    }
    let mut end = at + 3;
    while page.token(end).is_some_and(|token| {
        token.gap == Gap::None && !matches!(token.sign, b'"' | b'>' | b')' | b'?')
    }) {
        end += 1;
    }
    page.dull(at, end);
    Some(end)
}

fn take_until(
    page: &mut Page,
    first: usize,
    start: u32,
    stop: u32,
    kind: Entity,
    confidence: u8,
) -> usize {
    let mut end = first + 1;
    while page.token(end).is_some_and(|token| token.start < stop) {
        end += 1;
    }
    page.take_bytes(first, end, start, stop, kind, confidence);
    end
}

fn position(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}

/// Bytes of a private key block that are looked through for its end.
const LONGEST_KEY: usize = 8 * 1024;
