//! Telephone numbers by the numbering plans of the countries that clients call from.

use super::number::Trust;
use crate::check::number;
use crate::page::Page;
use crate::token::{Gap, TokenKind};

/// The token after the number that begins at token `at`, which may be `+` or `(`.
pub(crate) fn read(page: &Page, at: usize, trust: Trust) -> Option<usize> {
    let mut digits = [0u8; 16];
    let mut length = 0;
    let mut shape = Shape {
        plus: page.is_sign(at, b'+'),
        ..Shape::default()
    };
    let mut place = at + usize::from(shape.plus);
    if !shape.plus && page.piece(place) == "00" {
        // An international prefix as it is dialled.
        return None;
    }
    let mut best = None;
    loop {
        if page.is_sign(place, b'(')
            && page.is_sign(place + 2, b')')
            && page.piece(place + 1).len() <= 4
        {
            shape.parenthesis = true;
            place += 1;
        }
        let token = page.token(place)?;
        if token.kind != TokenKind::Number || !page.is_free(place) {
            break;
        }
        let piece = page.piece(place).as_bytes();
        if length + piece.len() > 15 {
            break;
        }
        digits[length..length + piece.len()].copy_from_slice(piece);
        length += piece.len();
        if shape.groups < shape.sizes.len() {
            shape.sizes[shape.groups] = piece.len();
        }
        shape.groups += 1;
        place += 1;
        if page.is_sign(place, b')') && shape.parenthesis && page.is_sign(place - 2, b'(') {
            place += 1;
        }
        if is_number(&digits[..length], &shape, trust) && ends_here(page, place) {
            best = Some(place);
        }
        let Some(next) = page.token(place) else { break };
        match (next.kind, next.gap) {
            (TokenKind::Number, Gap::None | Gap::Blank) => {
                shape.blanks += usize::from(next.gap == Gap::Blank)
            }
            (TokenKind::Sign, Gap::None | Gap::Blank) if next.sign == b'(' => {}
            (TokenKind::Sign, Gap::None) if matches!(next.sign, b'-' | b'.') => {
                if page
                    .token(place + 1)
                    .is_none_or(|after| after.gap > Gap::None)
                {
                    break;
                }
                shape.marks += 1;
                place += 1;
            }
            (TokenKind::Sign, Gap::Blank)
                if next.sign == b'-'
                    && page
                        .token(place + 1)
                        .is_some_and(|after| after.gap == Gap::Blank) =>
            {
                shape.marks += 1;
                place += 1;
            }
            _ => break,
        }
    }
    best
}

#[derive(Default)]
struct Shape {
    plus: bool,
    parenthesis: bool,
    groups: usize,
    sizes: [usize; 6],
    marks: usize,
    blanks: usize,
}

fn is_number(digits: &[u8], shape: &Shape, trust: Trust) -> bool {
    if shape.plus {
        return international(digits) || trust == Trust::Label && (8..=15).contains(&digits.len());
    }
    let sizes = &shape.sizes[..shape.groups.min(shape.sizes.len())];
    let american = match digits {
        [b'1', rest @ ..] if rest.len() == 10 => is_american(rest) && sizes.first() == Some(&1),
        rest => rest.len() == 10 && is_american(rest) && matches!(sizes, [3, 3, 4] | [3, 7] | [10]),
    };
    let israeli = is_israeli(digits) && matches!(sizes, [9 | 10] | [2 | 3, ..]);
    let british = is_british(digits) && matches!(sizes, [11 | 12] | [3..=6, ..]);
    match trust {
        Trust::Shape => {
            american && sizes.len() > 1
                || israeli && (sizes.len() > 1 || digits.starts_with(b"05"))
                || british && (sizes.len() > 1 || digits.starts_with(b"07"))
        }
        Trust::Weak | Trust::Label => {
            american
                || israeli
                || british
                || digits.len() == 10 && digits[0] != b'0'
                || digits[0] == b'0' && (9..=12).contains(&digits.len())
                || (7..=13).contains(&digits.len()) && sizes.iter().all(|size| *size <= 8)
        }
    }
}

fn ends_here(page: &Page, end: usize) -> bool {
    match page.joined_after(end) {
        Some((b'-' | b'.' | b'/' | b':', Some(next))) => !next.is_value(),
        Some((b'%' | b'@' | b'_', _)) => false,
        _ => page
            .token(end)
            .is_none_or(|next| next.gap > Gap::None || next.kind == TokenKind::Sign),
    }
}

fn is_american(digits: &[u8]) -> bool {
    digits[0] >= b'2' && digits[3] >= b'2' && !(digits[1] == b'1' && digits[2] == b'1')
}

fn is_israeli(digits: &[u8]) -> bool {
    match digits {
        [b'0', b'5' | b'7', ..] => digits.len() == 10,
        [b'0', b'2' | b'3' | b'4' | b'8' | b'9', ..] => digits.len() == 9,
        _ => false,
    }
}

fn is_british(digits: &[u8]) -> bool {
    matches!(digits, [b'0', b'1' | b'2' | b'3' | b'7', ..]) && matches!(digits.len(), 11 | 12)
}

fn international(digits: &[u8]) -> bool {
    let lengths = (1..=3).rev().find_map(|length| {
        let code = number(digits.get(..length)?);
        PLANS
            .iter()
            .find(|(known, ..)| *known == code)
            .map(|(_, least, most)| (*least, *most))
    });
    let (least, most) = lengths.unwrap_or((9, 15));
    (least..=most).contains(&digits.len())
}

/// Country code, and the least and most digits including it.
const PLANS: [(u32, usize, usize); 40] = [
    (1, 11, 11),
    (7, 11, 11),
    (20, 11, 12),
    (27, 11, 11),
    (30, 12, 12),
    (31, 11, 11),
    (32, 10, 11),
    (33, 11, 11),
    (34, 11, 11),
    (36, 10, 11),
    (39, 10, 13),
    (40, 11, 11),
    (41, 11, 11),
    (43, 10, 13),
    (44, 12, 13),
    (45, 10, 10),
    (46, 10, 12),
    (47, 10, 10),
    (48, 11, 11),
    (49, 9, 14),
    (52, 12, 13),
    (54, 12, 13),
    (55, 12, 13),
    (56, 11, 11),
    (57, 11, 12),
    (58, 12, 12),
    (60, 11, 12),
    (61, 11, 11),
    (62, 10, 14),
    (63, 12, 12),
    (65, 10, 10),
    (66, 10, 11),
    (81, 11, 12),
    (82, 10, 12),
    (84, 11, 12),
    (86, 12, 13),
    (90, 12, 12),
    (91, 12, 12),
    (380, 12, 12),
    (972, 11, 12),
];
