//! Machine readable zones, in one line, in their lines, wrapped or spaced.

use crate::entity::Entity;
use crate::page::Page;
use crate::token::Gap;
use kta_core::pii::identifier::{IdentifierFlaw, Mrz};

pub(crate) fn find(page: &mut Page) {
    let mut at = 0;
    while at < page.tokens.len() {
        // Only a filler behind letters or digits can be within a first line.
        if page.is_sign(at, b'<') && page.tokens[at].gap == Gap::None && at > 0 {
            if let Some(end) = (1..=4)
                .filter_map(|back| at.checked_sub(back))
                .find_map(|first| zone(page, first))
            {
                at = end;
                continue;
            }
            while page.is_sign(at, b'<') {
                at += 1;
            }
            continue;
        }
        at += 1;
    }
}

/// Tries a zone from token `first`; the token after it.
fn zone(page: &mut Page, first: usize) -> Option<usize> {
    let token = page.token(first).filter(|_| page.is_free(first))?;
    let start = token.start as usize;
    let bytes = page.bytes();
    if !matches!(
        bytes[start].to_ascii_uppercase(),
        b'P' | b'V' | b'I' | b'A' | b'C'
    ) || start > 0 && (bytes[start - 1].is_ascii_alphanumeric() || bytes[start - 1] == b'<')
    {
        return None;
    }
    let mut symbols = [0u8; 90];
    let mut length = 0;
    let mut checked = None;
    let mut shaped = None;
    let mut lines = 0;
    for (offset, byte) in bytes[start..].iter().enumerate().take(220) {
        match byte {
            b'\n' => lines += 1,
            b' ' | b'\r' | b'\t' => {}
            b'<' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' if length < 90 => {
                symbols[length] = byte.to_ascii_uppercase();
                length += 1;
                let next = bytes.get(start + offset + 1).copied().unwrap_or(b' ');
                if !matches!(length, 72 | 88 | 90) || next == b'<' || next.is_ascii_alphanumeric() {
                    continue;
                }
                let text = std::str::from_utf8(&symbols[..length]).unwrap_or_default();
                match Mrz::parse(text) {
                    Ok(_) => checked = Some(start + offset + 1),
                    // A misread digit is still a zone when all else is in its place.
                    Err(IdentifierFlaw::MrzCheckDigit(_)) if lines > 0 && text.contains("<<") => {
                        shaped = Some(start + offset + 1);
                    }
                    Err(_) => {}
                }
                if checked.is_some() {
                    break;
                }
            }
            _ => break,
        }
        if lines > 8 {
            break;
        }
    }
    let (stop, confidence) = checked
        .map(|stop| (stop, 99))
        .or(shaped.map(|stop| (stop, 70)))?;
    let (start, stop) = (u32::try_from(start).ok()?, u32::try_from(stop).ok()?);
    let mut end = first + 1;
    while page.token(end).is_some_and(|token| token.start < stop) {
        end += 1;
    }
    page.take_bytes(first, end, start, stop, Entity::Mrz, confidence);
    Some(end)
}
