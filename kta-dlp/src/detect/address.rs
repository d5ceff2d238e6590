//! Postal addresses: behind a label, or around a postcode.

use crate::entity::Entity;
use crate::lexicon::{Label, Role};
use crate::page::Page;
use crate::token::{Case, Gap, LEADER, TokenKind};

use super::postcode::{self, is_small};

pub(crate) fn find(page: &mut Page) {
    let labels: Vec<usize> = page
        .labels
        .iter()
        .filter(|hit| hit.label == Label::Is(Entity::Address))
        .map(|hit| hit.end)
        .collect();
    for end in labels {
        labelled(page, end);
    }
    let mut at = 0;
    while at < page.tokens.len() {
        at = around_postcode(page, at)
            .or_else(|| by_street(page, at))
            .or_else(|| hebrew_street(page, at))
            .unwrap_or(at + 1);
    }
}

/// The address behind a label that ends before token `at`.
fn labelled(page: &mut Page, at: usize) -> Option<usize> {
    let mut first = at;
    for _ in 0..5 {
        let token = page.token(first)?;
        let passes = match token.kind {
            TokenKind::Sign => matches!(
                token.sign,
                b':' | b'=' | b'"' | b'\'' | b'-' | b'>' | b'|' | LEADER
            ),
            TokenKind::Word => {
                token.case == Case::Lower && token.word.is(Role::CONNECTOR) && !token.hebrew
            }
            _ => false,
        };
        if !passes {
            break;
        }
        first += 1;
    }
    let token = *page.token(first)?;
    if token.gap == Gap::Paragraph
        || !page.is_free(first)
        || token.kind == TokenKind::Sign
        || page
            .label_at(first)
            .is_some_and(|hit| hit.label != Label::Is(Entity::Address))
    {
        return None;
    }
    let (end, coded) = extent(page, first);
    let words = (first..end)
        .filter(|at| page.tokens[*at].kind == TokenKind::Word)
        .count();
    let numbered = (first..end).any(|at| page.tokens[at].is_value());
    let parted = (first..end).any(|at| page.is_sign(at, b','));
    let street = (first..end).any(|at| is_street_word(page, at));
    let begins = token.is_value()
        || token.hebrew
        || token.case != Case::Lower
        || is_street_word(page, first);
    if !begins
        || words < 2 && !(words == 1 && coded)
        || !numbered
        || !(coded || parted || street || token.hebrew)
    {
        return None;
    }
    // `מתגורר ב…`: the preposition is written on the street.
    let resides = page.tokens[at - 1].hebrew
        && page.piece(at - 1).contains("ור")
        && page.piece(first).starts_with('ב')
        || page.piece(at - 1).starts_with("גר") && page.piece(first).starts_with('ב');
    let start = token.start + if resides { 2 } else { 0 };
    let stop = page.tokens[end - 1].end;
    page.take_bytes(
        first,
        end,
        start,
        stop,
        Entity::Address,
        if coded { 92 } else { 80 },
    );
    Some(end)
}

/// How far an address reaches from token `first`, and whether it has a postcode.
fn extent(page: &Page, first: usize) -> (usize, bool) {
    let mut at = first;
    let mut end = first;
    let mut lines = 0;
    while at < first + 30 {
        let Some(token) = page.token(at) else { break };
        if at > first && token.gap >= Gap::Line {
            let goes_on = token.gap == Gap::Line && lines < 4 && continues_on_line(page, at);
            if !goes_on {
                break;
            }
            lines += 1;
        }
        if !page.is_free(at) {
            break;
        }
        if let Some(stop) = postcode::read(page, at) {
            return (postcode::with_country(page, stop), true);
        }
        match token.kind {
            TokenKind::Sign => match token.sign {
                b',' | b'-' | b'/' | b'#' | b'\'' => {}
                b'"' if token.gap == Gap::None
                    && page
                        .token(at + 1)
                        .is_some_and(|next| next.gap == Gap::Blank && next.hebrew) => {}
                b'(' | b')' => match aside(page, at) {
                    Some(after) => {
                        at = after;
                        end = after;
                        continue;
                    }
                    None => break,
                },
                b'.' => {
                    let next_gap = page.token(at + 1).map_or(Gap::Line, |next| next.gap);
                    if next_gap > Gap::None && !abbreviates(page, at) {
                        break;
                    }
                }
                _ => break,
            },
            TokenKind::Word => {
                let other_label = page.label_at(at).is_some_and(|hit| {
                    hit.first == at
                        && at > first
                        && !matches!(hit.label, Label::Is(Entity::Address) | Label::May(_))
                        && (page.is_sign(at - 1, b',')
                            && (hit.label != Label::Not || token.case == Case::Lower)
                            || page.is_sign(hit.end, b':')
                            || token.gap >= Gap::Line)
                });
                let prose = token.case == Case::Lower
                    && !token.hebrew
                    && !is_small(page, at)
                    && at > first + 1
                    && page.is_sign(at - 1, b',');
                if other_label || prose {
                    break;
                }
                end = at + 1;
            }
            TokenKind::Number | TokenKind::Mixed => end = at + 1,
        }
        at += 1;
    }
    (end, false)
}

/// A Hebrew remark in brackets, whichever way they are turned: the token after it.
fn aside(page: &Page, at: usize) -> Option<usize> {
    let words = (at + 1..at + 4)
        .take_while(|place| {
            page.token(*place)
                .is_some_and(|token| token.hebrew && token.gap <= Gap::Blank)
        })
        .count();
    let close = page.token(at + 1 + words)?;
    (words > 0 && matches!(close.sign, b'(' | b')') && !close.is_sign(page.tokens[at].sign))
        .then_some(at + 2 + words)
}

/// Whether the line at `at` carries an address on: it holds a postcode soon, or the line before
/// ended in a comma.
fn continues_on_line(page: &Page, at: usize) -> bool {
    let line = (at..at + 12).take_while(|place| {
        *place == at
            || page
                .token(*place)
                .is_some_and(|token| token.gap < Gap::Paragraph)
                && !page.is_sign(*place, b':')
    });
    let starts = page
        .token(at)
        .is_some_and(|token| token.is_value() || token.case != Case::Lower);
    let coded = { line }.any(|place| postcode::read(page, place).is_some());
    let labelled = page
        .label_at(at)
        .is_some_and(|hit| page.is_sign(hit.end, b':') || page.is_sign(hit.end, b'='));
    starts && !labelled && (coded || page.is_sign(at - 1, b','))
}

/// A full stop of `Apt.`, `St.`, `Str.`, `No.`, `J.`
fn abbreviates(page: &Page, stop: usize) -> bool {
    let Some(before) = stop.checked_sub(1).and_then(|before| page.token(before)) else {
        return false;
    };
    let short = before.len() <= 4 && before.kind == TokenKind::Word && before.case != Case::Upper;
    short
        && (before.word.is(Role::UNIT)
            || before.word.is(Role::STREET)
            || before.len() <= 3 && !before.hebrew)
}

/// Walks from a postcode back to the house number or the street.
fn around_postcode(page: &mut Page, at: usize) -> Option<usize> {
    if !page.is_free(at) {
        return None;
    }
    let end = postcode::read(page, at)?;
    let mut first = None;
    let mut back = at;
    let mut lines = 0;
    for _ in 0..20 {
        if page.tokens[back].gap >= Gap::Line {
            lines += 1;
            if lines > 2 || page.tokens[back].gap == Gap::Paragraph {
                break;
            }
        }
        let Some(before) = back.checked_sub(1) else {
            break;
        };
        let token = page.tokens[before];
        let fits = page.is_free(before)
            && match token.kind {
                TokenKind::Sign => {
                    matches!(token.sign, b',' | b'#' | b'-' | b'/' | b'\'')
                        || token.sign == b'.' && abbreviates(page, before)
                }
                TokenKind::Word => {
                    token.case != Case::Lower
                        || is_small(page, before)
                        || is_street_word(page, before)
                }
                _ => token.len() <= 6,
            };
        if !fits {
            break;
        }
        back = before;
        let next = page.tokens[back + 1];
        let leads_street = token.is_value()
            && back + 1 < at
            && (next.kind == TokenKind::Word
                && next.gap == Gap::Blank
                && (next.case == Case::Capital || is_street_word(page, back + 1))
                || page.is_sign(back + 1, b',')
                    && (is_street_word(page, back + 2)
                        || back > 0 && page.tokens[back - 1].word.is(Role::UNIT)));
        if leads_street {
            first = Some(back);
            break;
        }
    }
    let first = first.or_else(|| street_then_number(page, at));
    let mut first = first?;
    if let Some(street) = street_before_comma(page, first) {
        first = street;
    }
    while first > 0
        && page.tokens[first].gap <= Gap::Blank
        && page.is_free(first - 1)
        && page.tokens[first - 1].word.is(Role::UNIT)
        && page.tokens[first - 1].case == Case::Capital
    {
        first -= 1;
    }
    let end = postcode::with_country(page, end);
    page.take(first, end, Entity::Address, 85);
    Some(end)
}

/// `Via Muster, 12`: the street before the comma before a house number at `at`.
fn street_before_comma(page: &Page, at: usize) -> Option<usize> {
    let comma = at
        .checked_sub(1)
        .filter(|comma| page.is_sign(*comma, b',') && page.tokens[at].gap <= Gap::Blank)?;
    let mut first = comma;
    while first > 0 && comma - first < 6 {
        let token = page.tokens[first - 1];
        let word = token.kind == TokenKind::Word
            && (token.case == Case::Capital || is_small(page, first - 1) && first - 1 > 0);
        if !(word && page.is_free(first - 1) && page.tokens[first].gap <= Gap::Blank) {
            break;
        }
        first -= 1;
        if token.gap >= Gap::Line {
            break;
        }
    }
    while first < comma && page.tokens[first].case == Case::Lower && !is_street_word(page, first) {
        first += 1;
    }
    let opens = page.tokens[first].gap >= Gap::Line || first > 0 && page.is_sign(first - 1, b':');
    (first < comma && (is_street_word(page, first) || opens)).then_some(first)
}

/// `Musterweg 12, 12345 Stadt`: the street before the number, back from a postcode at `at`.
fn street_then_number(page: &Page, at: usize) -> Option<usize> {
    let mut place = at.checked_sub(1)?;
    if page.is_sign(place, b',') {
        place = place.checked_sub(1)?;
    } else if page.tokens[at].gap < Gap::Line {
        return None;
    }
    let mut numbered = false;
    while page.tokens[place].is_value()
        || numbered && matches!(page.tokens[place].sign, b'-' | b'/')
    {
        numbered = true;
        place = place.checked_sub(1)?;
    }
    let mut first = None;
    let mut street = false;
    while numbered && page.is_free(place) {
        let token = page.tokens[place];
        let fits = token.kind == TokenKind::Word
            && (token.case != Case::Lower || is_small(page, place))
            || matches!(token.sign, b'-' | b'.') && token.gap == Gap::None;
        if !fits {
            break;
        }
        street |= is_street_word(page, place);
        if token.kind == TokenKind::Word
            && (token.case != Case::Lower || is_street_word(page, place))
        {
            first = Some(place);
        }
        if token.gap >= Gap::Line || place == 0 {
            break;
        }
        place -= 1;
    }
    first.filter(|_| street)
}

/// `742 Muster Terrace`, `12 rue Muster`, with what follows in the same breath.
fn by_street(page: &mut Page, at: usize) -> Option<usize> {
    let token = *page.token(at)?;
    if !token.is_value()
        || token.len() > 6
        || !page.is_free(at)
        || page
            .joined_before(at)
            .is_some_and(|sign| sign != b'"' && sign != b'(')
    {
        return None;
    }
    let mut place = at + 1;
    let mut street = None;
    while place < at + 6 {
        let next = page.token(place)?;
        if next.kind != TokenKind::Word
            || next.gap != Gap::Blank
            || next.case == Case::Lower && !is_street_word(page, place) && !is_small(page, place)
            || !page.is_free(place)
        {
            break;
        }
        let leading = place == at + 1;
        if is_street_word(page, place) && (!leading || next.case == Case::Lower || next.len() > 4) {
            street = Some(place);
        }
        place += 1;
    }
    let street = street?;
    if street == at + 1 && place <= at + 2 {
        return None;
    }
    // Without a town behind it this is as likely a date or a count.
    let (end, coded) = extent(page, at);
    let parted = (street..end).any(|at| page.is_sign(at, b','));
    if !parted && !coded || end <= street {
        return None;
    }
    page.take(at, end, Entity::Address, 65);
    Some(end)
}

/// `רחוב הדוגמה 12, חיפה`.
fn hebrew_street(page: &mut Page, at: usize) -> Option<usize> {
    let token = page
        .token(at)
        .filter(|token| token.hebrew && token.word.is(Role::STREET))?;
    if !page.is_free(at) || token.kind != TokenKind::Word {
        return None;
    }
    let numbered = (at + 1..at + 6).any(|place| {
        page.token(place)
            .is_some_and(|token| token.kind == TokenKind::Number)
    });
    if !numbered {
        return None;
    }
    let (end, _) = extent(page, at);
    if end < at + 3 {
        return None;
    }
    page.take(at, end, Entity::Address, 75);
    Some(end)
}

fn is_street_word(page: &Page, at: usize) -> bool {
    let Some(token) = page.token(at).filter(|token| token.kind == TokenKind::Word) else {
        return false;
    };
    let piece = page.piece(at);
    token.word.is(Role::STREET)
        || [
            "straße", "strasse", "str", "weg", "platz", "allee", "gasse", "ring", "damm", "ufer",
            "stieg", "straat", "laan",
        ]
        .iter()
        .any(|suffix| {
            piece.len() > suffix.len() + 2 && piece.ends_with(suffix) && token.case == Case::Capital
        })
}
