//! Tables: the header says what a column is, and rows far below still belong to it.

use super::number::Trust;
use super::{person, value};
use crate::entity::Entity;
use crate::lexicon::Label;
use crate::page::Page;
use crate::token::{Gap, TokenKind};
use std::ops::Range;

/// A header that was read; it stays in force until a line that is no row.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    delimiter: Delimiter,
    columns: Vec<Option<Label>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Delimiter {
    Sign(u8),
    /// Two blanks or more.
    Wide,
}

/// Reads the lines that begin within `core`.
pub(crate) fn find(page: &mut Page, table: &mut Option<Table>, core: Range<usize>) {
    statements(page);
    let mut first = 0;
    while first < page.tokens.len() {
        let mut end = first + 1;
        while page.token(end).is_some_and(|token| token.gap < Gap::Line) {
            end += 1;
        }
        // A quoted cell may run over lines.
        let open = |end: usize| (first..end).filter(|at| page.is_sign(*at, b'"')).count() % 2 == 1;
        if table.is_some() && open(end) {
            let mut further = end;
            for _ in 0..LINES_IN_CELL {
                while page
                    .token(further)
                    .is_some_and(|token| further == end || token.gap < Gap::Line)
                {
                    further += 1;
                }
                if !open(further) {
                    end = further;
                    break;
                }
                further += 1;
            }
        }
        let start = page.tokens[first].start as usize;
        if start >= core.end {
            return;
        }
        if start >= core.start {
            if page.tokens[first].gap == Gap::Paragraph {
                *table = None;
            }
            line(page, table, first..end);
        }
        first = end;
    }
}

/// `INSERT INTO t (name, dob) VALUES ('…', '…'), (…)`.
fn statements(page: &mut Page) {
    let mut at = 2;
    while at < page.tokens.len() {
        if page.piece(at).eq_ignore_ascii_case("values")
            && page.is_sign(at - 1, b')')
            && page.is_sign(at + 1, b'(')
        {
            let open = (0..at)
                .rev()
                .take(200)
                .find(|open| page.is_sign(*open, b'('));
            let table =
                open.and_then(|open| header_by(page, &(open + 1..at - 1), Delimiter::Sign(b',')));
            while let Some(table) = &table
                && page.is_sign(at + 1, b'(')
            {
                let limit = page.tokens.len().min(at + LONGEST_TUPLE);
                let end = cell_end(page, at + 2, &(at + 2..limit), Delimiter::Sign(b')'));
                row(page, table, at + 2..end);
                at = if page.is_sign(end + 1, b',') {
                    end + 1
                } else {
                    end
                };
            }
        }
        at += 1;
    }
}

fn line(page: &mut Page, table: &mut Option<Table>, tokens: Range<usize>) {
    if let Some(current) = table {
        let only_signs = tokens
            .clone()
            .all(|at| page.tokens[at].kind == TokenKind::Sign);
        if only_signs {
            return;
        }
        let delimiters = tokens
            .clone()
            .filter(|at| delimits(page, *at, tokens.start, current.delimiter))
            .count();
        if delimiters + 1 >= current.columns.len() {
            row(page, current, tokens);
            return;
        }
    }
    *table = header(page, &tokens);
}

fn delimits(page: &Page, at: usize, first: usize, delimiter: Delimiter) -> bool {
    match delimiter {
        Delimiter::Sign(sign) => page.is_sign(at, sign),
        Delimiter::Wide => at > first && page.tokens[at].gap == Gap::Wide,
    }
}

fn header(page: &Page, tokens: &Range<usize>) -> Option<Table> {
    if tokens.len() < 3
        || tokens.len() > 120
        || !tokens.clone().any(|at| page.label_at(at).is_some())
    {
        return None;
    }
    [
        Delimiter::Sign(b'|'),
        Delimiter::Sign(b'\t'),
        Delimiter::Sign(b';'),
        Delimiter::Sign(b','),
        Delimiter::Wide,
    ]
    .into_iter()
    .find_map(|delimiter| header_by(page, tokens, delimiter))
}

fn header_by(page: &Page, tokens: &Range<usize>, delimiter: Delimiter) -> Option<Table> {
    let mut columns = Vec::new();
    let (mut known, mut filled) = (0, 0);
    let mut at = tokens.start;
    loop {
        let end = cell_end(page, at, tokens, delimiter);
        let (first, last) = unquoted(page, at, end);
        let mut label = None;
        if first < last {
            filled += 1;
            if last - first > 8 || (first..last).any(|at| !belongs_in_header(page, at)) {
                return None;
            }
            label = page
                .label_at(first)
                .filter(|hit| hit.first == first && hit.end == last)
                .map(|hit| hit.label);
            // `Passport (number)`, `Applicant DOB`: the last label of the cell decides.
            if label.is_none() {
                label = (first..last)
                    .rev()
                    .find_map(|at| page.label_at(at))
                    .map(|hit| hit.label);
            } else {
                known += 1;
            }
        }
        columns.push(label);
        if end >= tokens.end {
            break;
        }
        at = if delimiter == Delimiter::Wide {
            end
        } else {
            end + 1
        };
    }
    (filled >= 2 && known >= 2 && 2 * known >= filled).then_some(Table { delimiter, columns })
}

fn belongs_in_header(page: &Page, at: usize) -> bool {
    let token = page.tokens[at];
    match token.kind {
        TokenKind::Word => true,
        TokenKind::Mixed | TokenKind::Number => page.label_at(at).is_some() || token.len() <= 2,
        TokenKind::Sign => matches!(
            token.sign,
            b'_' | b'-' | b'.' | b'/' | b'#' | b'(' | b')' | b'*' | b'\'' | b'"'
        ),
    }
}

fn row(page: &mut Page, table: &Table, tokens: Range<usize>) {
    let mut at = tokens.start;
    for label in &table.columns {
        if at >= tokens.end {
            return;
        }
        let mut end = cell_end(page, at, &tokens, table.delimiter);
        let (first, last) = unquoted(page, at, end);
        if first < last && page.is_free(first) {
            match label {
                Some(Label::Is(kind) | Label::May(kind)) => {
                    let trust = if matches!(label, Some(Label::Is(_))) {
                        Trust::Label
                    } else {
                        Trust::Weak
                    };
                    if let Some(stop) = cell(page, first, last, *kind, trust) {
                        // A date may hold the comma that parts the cells: `May 2, 2015`.
                        while end < stop {
                            end = cell_end(page, stop, &tokens, table.delimiter);
                        }
                    }
                }
                Some(Label::Not) => page.dull(first, last),
                Some(Label::Silent) | None => {}
            }
        }
        at = if table.delimiter == Delimiter::Wide {
            end
        } else {
            end + 1
        };
    }
}

/// Takes the value of a cell; the token after it.
fn cell(page: &mut Page, first: usize, last: usize, kind: Entity, trust: Trust) -> Option<usize> {
    match kind {
        Entity::Person => {
            if person::is_name_alone(page, first, last) {
                page.take(first, last, Entity::Person, 88);
                return Some(last);
            }
            None
        }
        Entity::Address => {
            let words = (first..last)
                .filter(|at| page.tokens[*at].kind == TokenKind::Word)
                .count();
            let numbered = (first..last).any(|at| page.tokens[at].is_value());
            if words >= 2 && numbered {
                page.take(first, last, Entity::Address, 85);
                return Some(last);
            }
            None
        }
        _ => {
            let (stop, confidence) = value::read(page, first, kind, trust)?;
            page.take(first, stop, kind, confidence);
            Some(stop)
        }
    }
}

/// The token that ends the cell beginning at `at`: the delimiter, or the end of the line.
fn cell_end(page: &Page, at: usize, tokens: &Range<usize>, delimiter: Delimiter) -> usize {
    let quote = page.token(at).map_or(0, |token| token.sign);
    let quoted = matches!(quote, b'"' | b'\'');
    let mut inside = false;
    for place in at..tokens.end {
        if quoted && page.is_sign(place, quote) {
            inside = !inside;
        }
        if !inside
            && delimits(
                page,
                place,
                if delimiter == Delimiter::Wide {
                    at
                } else {
                    usize::MAX
                },
                delimiter,
            )
        {
            return place;
        }
    }
    tokens.end
}

/// Tokens of one tuple of a statement, at most.
const LONGEST_TUPLE: usize = 2_000;

/// How many more lines a quoted cell may have.
const LINES_IN_CELL: usize = 5;

fn unquoted(page: &Page, mut first: usize, mut last: usize) -> (usize, usize) {
    let quote = |at: usize| {
        page.token(at)
            .is_some_and(|token| matches!(token.sign, b'"' | b'\'' | b'`' | b'*'))
    };
    while first < last && quote(first) {
        first += 1;
    }
    while first < last && quote(last - 1) {
        last -= 1;
    }
    (first, last)
}
