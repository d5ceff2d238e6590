//! Names: context first, then words that are known as names.

use super::name_hebrew;
use crate::entity::Entity;
use crate::lexicon::{Label, Role};
use crate::page::{Mark, Page};
use crate::token::{Case, Gap, LEADER, Token, TokenKind};
use std::collections::HashSet;

pub(crate) fn find(page: &mut Page) {
    let mut known = HashSet::new();
    let emails = local_parts(page);
    let mut at = 0;
    while at < page.tokens.len() {
        let end = if page.tokens[at].hebrew {
            name_hebrew::read(page, at)
        } else {
            latin(page, at, &emails, &mut known)
        };
        at = end.unwrap_or(at + 1);
    }
    if !known.is_empty() {
        again(page, &known);
    }
}

/// Whether the tokens `first..end` are a name and nothing else, as in a cell under `name`.
pub(crate) fn is_name_alone(page: &Page, first: usize, end: usize) -> bool {
    let mut words = 0;
    for at in first..end {
        let token = &page.tokens[at];
        match token.kind {
            TokenKind::Word => {
                let named = token.word.is(Role::GIVEN) || token.word.is(Role::FAMILY);
                let shaped =
                    token.hebrew || token.case != Case::Lower || token.word.is(Role::PARTICLE);
                if !(named || shaped && !is_blocked(token)) {
                    return false;
                }
                words += 1;
            }
            TokenKind::Sign if matches!(token.sign, b'-' | b'.' | b'\'' | b',') => {}
            _ => return false,
        }
    }
    (1..=6).contains(&words)
}

/// A run of words that may be a name: tokens `first..end`.
#[derive(Clone, Copy)]
struct Run {
    first: usize,
    end: usize,
    words: usize,
    given: usize,
    family: usize,
    /// Words that are also ordinary ones.
    doubtful: usize,
    upper: bool,
}

/// How strongly the surroundings say that a name stands here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hint {
    None,
    /// A string of a data format, a birth date after it.
    Some,
    /// A label, a title, a signature.
    Label,
    /// `Hello`, `Dear`: a first name alone is likely.
    Greeting,
}

fn latin(
    page: &mut Page,
    at: usize,
    emails: &[(usize, String)],
    known: &mut HashSet<u64>,
) -> Option<usize> {
    let run = run(page, at)?;
    let hint = hint(page, &run, emails);
    let dictionary = run.given >= 1
        && run.words >= 2
        && run.given + run.family >= 2 - usize::from(run.doubtful == 0);
    let next_is_organisation = page.token(run.end).is_some_and(|next| {
        next.gap <= Gap::Blank && next.word.is(Role::ORG) && next.case != Case::Lower
    });
    let next_is_plain = page.token(run.end).is_some_and(|next| {
        next.gap == Gap::Blank && next.case == Case::Capital && is_blocked(next)
    });
    let accepted = match hint {
        Hint::Greeting => run.words <= 4 && (!next_is_plain || run.given > 0),
        Hint::Label => run.words <= 5 && (run.words > run.doubtful || run.given + run.family > 0),
        Hint::Some => {
            run.words >= 2
                && run.words <= 4
                && !next_is_organisation
                && (dictionary || run.doubtful == 0 && run.given + run.family > 0)
        }
        Hint::None if run.words == 1 => run.given == 1 && run.doubtful == 0 && acts(page, &run),
        Hint::None => {
            (dictionary
                || run.doubtful == 0
                    && !next_is_plain
                    && !run.upper
                    && run.words == 2
                    && is_spoken_of(page, &run))
                && run.words <= 4
                && !next_is_organisation
                && (!run.upper || run.given >= 1 && run.family >= 1)
        }
    };
    if !accepted {
        return Some(run.end);
    }
    let mut end = run.end;
    if hint != Hint::Greeting
        && let Some(further) = first_name_behind(page, &run, hint)
    {
        end = further;
    }
    let confidence = match hint {
        Hint::Greeting | Hint::Label => 88,
        Hint::Some => 75,
        Hint::None => 62,
    };
    let possessive = usize::from(page.piece(end - 1).ends_with("'s")) * 2;
    let (start, stop) = (
        page.tokens[run.first].start,
        page.tokens[end - 1].end - possessive as u32,
    );
    for token in &page.tokens[run.first..end] {
        let sure = token.word.is(Role::GIVEN)
            || hint == Hint::Greeting
            || run.words >= 2 && (hint == Hint::Label || token.word.is(Role::FAMILY));
        if sure
            && token.kind == TokenKind::Word
            && token.len() >= 3
            && !is_doubtful(token)
            && token.case == Case::Capital
        {
            known.insert(token.key);
        }
    }
    page.take_bytes(run.first, end, start, stop, Entity::Person, confidence);
    Some(end)
}

fn run(page: &Page, first: usize) -> Option<Run> {
    let mut run = Run {
        first,
        end: first,
        words: 0,
        given: 0,
        family: 0,
        doubtful: 0,
        upper: true,
    };
    let mut at = first;
    while let Some(token) = page.token(at) {
        let joined = at > first && page.is_sign(at - 1, b'-');
        let near = at == first || token.gap == Gap::Blank || joined && token.gap == Gap::None;
        if !near || token.kind != TokenKind::Word || !page.is_free(at) || token.hebrew {
            break;
        }
        if token.case == Case::Lower {
            let opens = at == first
                && at.checked_sub(1).is_some_and(|before| {
                    page.tokens[before].kind == TokenKind::Sign
                        && !matches!(page.tokens[before].sign, b'.' | b',' | b'/' | b'-')
                });
            let particle =
                (at > first || opens) && token.word.is(Role::PARTICLE) && token.len() <= 4;
            let small = |at: usize| {
                page.token(at).is_some_and(|next| {
                    next.gap == Gap::Blank
                        && next.case == Case::Lower
                        && next.word.is(Role::PARTICLE)
                })
            };
            let next = at + 1 + usize::from(small(at + 1));
            let leads = page.token(next).is_some_and(|token| {
                token.gap == Gap::Blank && is_part(page, next) && token.case != Case::Lower
            });
            if !(particle && leads) {
                break;
            }
            at += 1;
            continue;
        }
        // `Jack London`: a place may be a family name, never a first one.
        // A word that is a label elsewhere may be one too: `Danielle Holder`.
        let place = run.given == 1
            && run.words == 1
            && (token.word.is(Role::PLACE) || token.case == Case::Capital && is_label_only(token));
        let particle = run.words > 0 && token.word.is(Role::PARTICLE) && is_part(page, at + 1);
        if !is_part(page, at) && !place && !particle {
            break;
        }
        // `Best regards`, `From Anna`: the first word of a line may be a plain one with a capital.
        run.words += 1;
        run.given += usize::from(token.word.is(Role::GIVEN));
        run.family += usize::from(token.word.is(Role::FAMILY) && !token.word.is(Role::GIVEN));
        run.doubtful += usize::from(is_doubtful(token));
        run.upper &= token.case == Case::Upper || token.case == Case::Initial;
        at += 1;
        run.end = at;
        if token.case == Case::Initial && page.is_sign(at, b'.') && page.tokens[at].gap == Gap::None
        {
            at += 1;
            if !page
                .token(at)
                .is_some_and(|next| next.kind == TokenKind::Word && next.gap == Gap::Blank)
            {
                break;
            }
        }
        if page.is_sign(at, b'-') && page.tokens[at].gap == Gap::None {
            at += 1;
        }
        if run.words == 6 {
            break;
        }
    }
    (run.words > 0 && !(run.words == 1 && page.tokens[first].len() < 2)).then_some(run)
}

fn is_part(page: &Page, at: usize) -> bool {
    let Some(token) = page.token(at) else {
        return false;
    };
    let named = token.word.is(Role::GIVEN) || token.word.is(Role::FAMILY);
    token.kind == TokenKind::Word
        && !is_blocked(token)
        && (token.case != Case::Initial || token.len() == 1 || named)
        && (named || !is_camel(page.piece(at)))
        && (named || page.label_at(at).is_none() || token.word.is(Role::PARTICLE))
}

/// `MockServer`, but not `McAllister` or `DiCaprio`.
fn is_camel(piece: &str) -> bool {
    let upper_inside = piece
        .bytes()
        .zip(piece.bytes().skip(1))
        .any(|(before, after)| before.is_ascii_lowercase() && after.is_ascii_uppercase());
    upper_inside
        && ![
            "Mc", "Mac", "De", "Di", "Du", "La", "Le", "Van", "Fitz", "San",
        ]
        .iter()
        .any(|head| piece.starts_with(head))
}

/// Words that are no part of a name.
pub(super) fn is_blocked(token: &Token) -> bool {
    let word = token.word;
    let named = word.is(Role::GIVEN) || word.is(Role::FAMILY);
    let plain = word.is(Role::COMMON)
        || word.is(Role::ORG)
        || word.is(Role::PLACE)
        || word.month().is_some();
    let framing = word.is(Role::GREET) || word.is(Role::CLOSING) || word.is(Role::TITLE);
    framing && !word.is(Role::FAMILY) || plain && !named
}

/// A label, and no ordinary word besides.
fn is_label_only(token: &Token) -> bool {
    let word = token.word;
    word.begins_label()
        && !word.is(Role::COMMON)
        && !word.is(Role::ORG)
        && !word.is(Role::UNIT)
        && !word.is(Role::STREET)
        && word.month().is_none()
        && !word.is(Role::TITLE)
        && !word.is(Role::GREET)
        && !word.is(Role::CLOSING)
}

fn is_doubtful(token: &Token) -> bool {
    let word = token.word;
    word.is(Role::COMMON)
        || word.is(Role::ORG)
        || word.is(Role::PLACE)
        || word.is(Role::STREET)
        || word.month().is_some()
        || word.is(Role::CONNECTOR)
}

fn hint(page: &Page, run: &Run, emails: &[(usize, String)]) -> Hint {
    let before = run
        .first
        .checked_sub(1)
        .and_then(|before| page.token(before))
        .copied();
    let gap = page.tokens[run.first].gap;
    if let Some(before) = before {
        if before.word.is(Role::GREET) && gap <= Gap::Blank {
            return Hint::Greeting;
        }
        let titled = before.word.is(Role::TITLE)
            || before.is_sign(b'.')
                && run.first >= 2
                && page.tokens[run.first - 2].word.is(Role::TITLE);
        if titled && gap <= Gap::Blank {
            return Hint::Label;
        }
        if matches!(before.sign, b',' | b'-' | b'!') || before.word.is(Role::CLOSING) {
            let mut back = run.first - 1;
            while back > 0 && page.tokens[back].kind == TokenKind::Sign {
                back -= 1;
            }
            if page.tokens[back].word.is(Role::CLOSING) && run.first - back <= 3 {
                return Hint::Label;
            }
        }
    }
    if let Some(left) = page.left(run.first)
        && left.words == 0
        && let Label::Is(Entity::Person) | Label::May(Entity::Person) = left.hit.label
    {
        let led = (left.hit.end..run.first)
            .any(|at| matches!(page.tokens[at].sign, b':' | b'=' | LEADER));
        let weak = matches!(left.hit.label, Label::May(_));
        let known = run.given + run.family > 0;
        let beside = left.hit.end == run.first && gap == Gap::Blank;
        let capital = page.tokens[run.first].case == Case::Capital;
        let bare = !weak
            && (run.words >= 2 && (known || beside)
                || run.words == 1 && run.doubtful == 0 && (known || beside && capital)
                || first_name_behind(page, run, Hint::None).is_some());
        if led && (known || run.words >= 2 || !weak && capital) || bare {
            return Hint::Label;
        }
    }
    if beside_email(page, run, emails) {
        return Hint::Label;
    }
    let quoted = |at: usize| page.is_sign(at, b'"');
    let stringed = run.first > 0 && quoted(run.first - 1) && quoted(run.end);
    let born = (run.end..run.end + 3)
        .filter_map(|at| page.label_at(at))
        .any(|hit| matches!(hit.label, Label::Is(Entity::DateOfBirth)));
    if stringed || born {
        Hint::Some
    } else {
        Hint::None
    }
}

/// Two words of which one is known as a name behind `for`, `of`, `with`, or both before what only
/// people do.
fn is_spoken_of(page: &Page, run: &Run) -> bool {
    let known = run.given + run.family > 0;
    let introduced = run.first.checked_sub(1).is_some_and(|before| {
        page.tokens[run.first].gap == Gap::Blank && INTRODUCTIONS.contains(&page.piece(before))
    });
    known && introduced
        || acts(page, run)
        || known && page.mark(run.first.wrapping_sub(2)) == Mark::Taken(Entity::Person)
}

/// A first name alone before what only people do: `Anna said`, `Anna will`.
fn acts(page: &Page, run: &Run) -> bool {
    let verb = page
        .token(run.end)
        .is_some_and(|next| next.gap == Gap::Blank && next.case == Case::Lower)
        && VERBS.contains(&page.piece(run.end));
    let capital_before = run.first.checked_sub(1).is_some_and(|before| {
        page.tokens[run.first].gap == Gap::Blank && page.tokens[before].case == Case::Capital
    });
    let asked = run.first.checked_sub(1).is_some_and(|before| {
        [
            "Call", "Contact", "Ask", "Tell", "Email", "Text", "Meet", "Thank", "call", "ask",
            "tell", "thank",
        ]
        .contains(&page.piece(before))
            && page.tokens[run.first].gap == Gap::Blank
    });
    (verb && !capital_before || asked) && page.tokens[run.first].case == Case::Capital
}

/// `Anna Muster <…>`, or an address nearby that is made of the name.
fn beside_email(page: &Page, run: &Run, emails: &[(usize, String)]) -> bool {
    let opened = page.token(run.end).is_some_and(|next| {
        matches!(next.sign, b'<' | b'(' | b'/' | b'"') && next.gap <= Gap::Blank
    }) && (run.end + 1..run.end + 3)
        .any(|at| page.mark(at) == Mark::Taken(Entity::Email));
    if opened && run.words >= 2 {
        return true;
    }
    let start = page.tokens[run.first].start as usize;
    let from = emails.partition_point(|(place, _)| *place + NEAR < start);
    emails[from..]
        .iter()
        .take_while(|(place, _)| *place < start + NEAR)
        .any(|(_, local)| {
            let mut letters = String::new();
            (run.first..run.end)
                .filter(|at| {
                    page.tokens[*at].kind == TokenKind::Word && page.tokens[*at].len() >= 3
                })
                .any(|at| {
                    letters.clear();
                    letters.extend(
                        page.piece(at)
                            .chars()
                            .filter(char::is_ascii_alphabetic)
                            .map(|letter| letter.to_ascii_lowercase()),
                    );
                    letters.len() >= 3 && run.words >= 2 && local.contains(letters.as_str())
                })
        })
}

fn local_parts(page: &Page) -> Vec<(usize, String)> {
    page.found
        .iter()
        .filter(|found| found.kind == Entity::Email)
        .map(|found| {
            let address = &page.text[found.start as usize..found.stop as usize];
            let local = address
                .split(['@', '[', '(', ' '])
                .next()
                .unwrap_or_default();
            (found.start as usize, local.to_ascii_lowercase())
        })
        .collect()
}

/// `Last, First`: the token after the first name.
fn first_name_behind(page: &Page, run: &Run, hint: Hint) -> Option<usize> {
    if run.words > 2 || !page.is_sign(run.end, b',') || page.tokens[run.end].gap != Gap::None {
        return None;
    }
    let behind =
        self::run(page, run.end + 1).filter(|_| page.tokens[run.end + 1].gap == Gap::Blank)?;
    let closed = page.token(behind.end).is_none_or(|next| {
        next.gap >= Gap::Line
            || next.kind == TokenKind::Sign && !next.is_sign(b'@')
            || page.label_at(behind.end).is_some()
    });
    let fits = if hint == Hint::Label {
        behind.doubtful == 0 && run.given <= run.words || behind.given > 0
    } else {
        behind.given > 0 && run.family > 0
    };
    (closed && fits && behind.words <= 3 && run.words + behind.words <= 4).then_some(behind.end)
}

/// Names found once are found again where they stand without a hint.
fn again(page: &mut Page, known: &HashSet<u64>) {
    let mut at = 0;
    while at < page.tokens.len() {
        let is_known = |at: usize| {
            page.token(at)
                .is_some_and(|token| token.case == Case::Capital && known.contains(&token.key))
                && page.is_free(at)
        };
        if !is_known(at) {
            at += 1;
            continue;
        }
        let mut end = at + 1;
        while is_known(end) && page.tokens[end].gap == Gap::Blank {
            end += 1;
        }
        let followed = page.token(end).is_some_and(|next| {
            next.gap == Gap::Blank
                && (next.word.is(Role::ORG) || next.word.is(Role::STREET))
                && next.case == Case::Capital
        });
        if !followed {
            page.take(at, end, Entity::Person, 60);
        }
        at = end;
    }
}

/// Small words before somebody.
const INTRODUCTIONS: [&str; 14] = [
    "for", "of", "with", "and", "from", "by", "that", "between", "to", "met", "told", "asked",
    "called", "named",
];

/// What a person does, not a thing.
const VERBS: [&str; 40] = [
    "said",
    "says",
    "will",
    "has",
    "had",
    "is",
    "was",
    "called",
    "calls",
    "asked",
    "asks",
    "told",
    "tells",
    "wants",
    "wanted",
    "needs",
    "works",
    "worked",
    "lives",
    "lived",
    "wrote",
    "writes",
    "signed",
    "arrived",
    "came",
    "went",
    "can",
    "cannot",
    "would",
    "should",
    "could",
    "did",
    "does",
    "sent",
    "sends",
    "agreed",
    "confirmed",
    "explained",
    "entered",
    "moved",
];

/// Bytes between a name and an e-mail address that belong together.
const NEAR: usize = 200;
