//! Numbers with separators: `123-45-6789`, `EAC 1382⏎964879`, read as one.

use crate::check;
use crate::entity::Entity;
use crate::page::Page;
use crate::token::{Gap, TokenKind};
use kta_core::pii::identifier::{ANumber, IsraeliId, Itin, ReceiptNumber, Ssn};

/// Letters and digits from a token on, upper case, and the places where they may end.
pub(crate) struct Run {
    symbols: [u8; LONGEST],
    length: usize,
    ends: [End; GROUPS],
    groups: usize,
}

/// The end of a group of symbols.
#[derive(Clone, Copy, Default)]
struct End {
    /// Symbols up to here.
    symbols: usize,
    /// First token after.
    token: usize,
    /// What stood before the group.
    separator: u8,
    /// Whether a line broke before or within.
    broken: bool,
}

/// How much the context has already said.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trust {
    /// Nothing: the shape must speak for itself.
    Shape,
    /// A label that can mean other things too.
    Weak,
    /// A label of this kind.
    Label,
}

impl Run {
    /// Reads from token `at`; `None` when it is no letter or digit of ASCII.
    pub(crate) fn read(page: &Page, at: usize) -> Option<Self> {
        let mut run = Self {
            symbols: [0; LONGEST],
            length: 0,
            ends: [End::default(); GROUPS],
            groups: 0,
        };
        let mut place = at;
        let mut separator = 0;
        let mut broken = false;
        while run.groups < GROUPS {
            let piece = page.piece(place).as_bytes();
            if piece.is_empty()
                || run.length + piece.len() > LONGEST
                || !piece.iter().all(u8::is_ascii_alphanumeric)
            {
                break;
            }
            if !page.is_free(place) {
                break;
            }
            for byte in piece {
                run.symbols[run.length] = byte.to_ascii_uppercase();
                run.length += 1;
            }
            place += 1;
            run.ends[run.groups] = End {
                symbols: run.length,
                token: place,
                separator,
                broken,
            };
            run.groups += 1;
            let Some(next) = page.token(place) else { break };
            separator = match (next.kind, next.gap) {
                (TokenKind::Sign, Gap::None) if matches!(next.sign, b'-' | b'.') => {
                    place += 1;
                    match page.token(place).map(|token| token.gap) {
                        Some(Gap::None) => next.sign,
                        Some(Gap::Line) if next.sign == b'-' && !broken => {
                            broken = true;
                            next.sign
                        }
                        _ => break,
                    }
                }
                (TokenKind::Sign, _) => break,
                (_, Gap::Blank) => b' ',
                (_, Gap::Line) if !broken => {
                    broken = true;
                    b'\n'
                }
                _ => break,
            };
        }
        (run.groups > 0).then_some(run)
    }

    /// Whether the first symbols allow a kind at all, when nothing but the shape speaks for it.
    pub(crate) fn may_be(&self, kind: Entity) -> bool {
        let lettered = self.symbols[0].is_ascii_uppercase();
        let second = self.symbols[..self.length]
            .get(1)
            .is_some_and(u8::is_ascii_uppercase);
        match kind {
            Entity::CreditCard => !lettered && self.length >= 13,
            Entity::UsSsn | Entity::UsItin => {
                !lettered && self.length >= 9 && self.ends[0].symbols == 3
            }
            Entity::UsI94 => !lettered && self.ends[0].symbols == 11,
            Entity::UsSevisId => self.symbols[0] == b'N' && self.length >= 11,
            Entity::UsANumber | Entity::UsDs160 => self.symbols[0] == b'A' && self.length >= 9,
            Entity::Iban | Entity::UkNino => lettered && second && self.length >= 9,
            Entity::UscisReceipt => lettered && second && self.length >= 13,
            _ => true,
        }
    }

    /// The groups that may end the number, shortest first, those without a line break before others.
    fn prefixes(&self) -> impl Iterator<Item = (&[u8], usize, &[End])> {
        let of = |broken: bool| {
            (0..self.groups)
                .filter(move |group| self.ends[*group].broken == broken)
                .map(|group| {
                    (
                        &self.symbols[..self.ends[group].symbols],
                        self.ends[group].token,
                        &self.ends[..=group],
                    )
                })
        };
        of(false).chain(of(true))
    }

    /// The token after the first prefix that `fits`.
    fn first(&self, fits: impl Fn(&[u8], &[End]) -> bool) -> Option<usize> {
        let joined = |groups: usize| {
            groups < self.groups && matches!(self.ends[groups].separator, b'-' | b'.')
        };
        self.prefixes()
            .find(|(symbols, _, ends)| !joined(ends.len()) && fits(symbols, ends))
            .map(|(_, token, _)| token)
    }

    fn first_group(&self) -> &[u8] {
        &self.symbols[..self.ends[0].symbols]
    }
}

/// Group sizes, smallest separators alike: `3-2-4`.
fn sizes(ends: &[End], pattern: &[usize]) -> bool {
    let mut before = 0;
    ends.len() == pattern.len()
        && ends.iter().zip(pattern).all(|(end, size)| {
            let fits = end.symbols - before == *size;
            before = end.symbols;
            fits
        })
        && ends[1..]
            .windows(2)
            .all(|pair| pair[0].separator == pair[1].separator)
}

fn separated_by(ends: &[End], separators: &[u8]) -> bool {
    ends[1..]
        .iter()
        .all(|end| separators.contains(&end.separator))
}

fn digits(symbols: &[u8]) -> bool {
    symbols.iter().all(u8::is_ascii_digit)
}

fn text(symbols: &[u8]) -> &str {
    std::str::from_utf8(symbols).unwrap_or_default()
}

pub(crate) fn ssn(run: &Run, trust: Trust) -> Option<usize> {
    three_two_four(run, trust, |symbols| Ssn::parse(text(symbols)).is_ok())
}

pub(crate) fn itin(run: &Run, trust: Trust) -> Option<usize> {
    three_two_four(run, trust, |symbols| Itin::parse(text(symbols)).is_ok())
}

fn three_two_four(run: &Run, trust: Trust, valid: impl Fn(&[u8]) -> bool) -> Option<usize> {
    run.first(|symbols, ends| {
        symbols.len() == 9
            && digits(symbols)
            && (trust == Trust::Label || sizes(ends, &[3, 2, 4]) && separated_by(ends, b"-"))
            && valid(symbols)
    })
}

pub(crate) fn a_number(run: &Run, trust: Trust) -> Option<usize> {
    run.first(|symbols, ends| {
        let lettered = symbols[0] == b'A';
        let number = if lettered { &symbols[1..] } else { symbols };
        let least = if trust == Trust::Shape || !lettered {
            8
        } else {
            7
        };
        let grouped = match *ends {
            [_] => true,
            [first, second] => {
                lettered && first.symbols == 1 || second.symbols - first.symbols <= 6
            }
            _ => {
                separated_by(ends, b"- \n") && {
                    let last = &ends[ends.len() - 2..];
                    last[1].symbols - last[0].symbols == 3 || trust == Trust::Label
                }
            }
        };
        (lettered || trust != Trust::Shape)
            && (least..=9).contains(&number.len())
            && digits(number)
            && grouped
            && ANumber::parse(text(symbols)).is_ok()
    })
}

pub(crate) fn receipt(run: &Run, trust: Trust) -> Option<usize> {
    run.first(|symbols, ends| {
        symbols.len() == 13
            && separated_by(ends, b"- \n")
            && ReceiptNumber::parse(text(symbols))
                .is_ok_and(|receipt| trust == Trust::Label || receipt.has_known_office())
    })
}

pub(crate) fn i94(run: &Run, trust: Trust) -> Option<usize> {
    run.first(|symbols, ends| {
        symbols.len() == 11
            && digits(&symbols[..9])
            && symbols[10].is_ascii_digit()
            && (trust == Trust::Label || ends.len() == 1 && symbols[9].is_ascii_uppercase())
    })
}

pub(crate) fn sevis(run: &Run, trust: Trust) -> Option<usize> {
    run.first(|symbols, _| {
        symbols.len() == 11
            && symbols[0] == b'N'
            && digits(&symbols[1..])
            && (trust == Trust::Label || symbols.starts_with(b"N00"))
    })
}

pub(crate) fn ds160(run: &Run, trust: Trust) -> Option<usize> {
    run.first(|symbols, ends| {
        symbols.len() == 10
            && symbols.starts_with(if trust == Trust::Label {
                b"AA"
            } else {
                b"AA00"
            })
            && symbols[2..].iter().any(u8::is_ascii_digit)
            && (trust == Trust::Label || ends.len() == 1)
    })
}

pub(crate) fn passport(run: &Run, trust: Trust) -> Option<usize> {
    let shape = |symbols: &[u8]| {
        let count = symbols.iter().filter(|byte| byte.is_ascii_digit()).count();
        // Germany leaves out letters that look like others or spell words.
        let german = symbols.len() == 9
            && count > 0
            && symbols
                .iter()
                .all(|byte| b"CFGHJKLMNPRTVWXYZ0123456789".contains(byte));
        german
            || (6..=10).contains(&symbols.len())
                && count >= if symbols[0].is_ascii_digit() { 5 } else { 3 }
                && (trust != Trust::Weak || symbols.len() >= 7)
    };
    run.first(|symbols, ends| match ends {
        [_] => shape(symbols),
        [first, second] => {
            (first.symbols <= 3 || second.broken)
                && first.symbols < 7
                && separated_by(ends, b" -\n")
                && shape(symbols)
                && symbols[first.symbols..].iter().any(u8::is_ascii_digit)
        }
        [_, _, _] => {
            trust == Trust::Label
                && digits(&symbols[1..])
                && separated_by(ends, b" -")
                && shape(symbols)
        }
        _ => false,
    })
}

pub(crate) fn israeli_id(run: &Run, trust: Trust) -> Option<usize> {
    run.first(|symbols, ends| {
        let length = symbols.len();
        digits(symbols)
            && (length == 9 || trust == Trust::Label && (length == 8 && ends.len() == 1))
            && (trust == Trust::Label || ends.len() == 1 || sizes(ends, &[8, 1]))
            && IsraeliId::parse(text(symbols)).is_ok()
    })
}

pub(crate) fn nino(run: &Run, trust: Trust) -> Option<usize> {
    run.first(|symbols, ends| {
        symbols.len() == 9
            && check::is_nino(symbols)
            && (trust == Trust::Label
                || sizes(ends, &[9])
                || sizes(ends, &[2, 2, 2, 2, 1])
                || sizes(ends, &[2, 6, 1])
                || sizes(ends, &[2, 6 + 1]))
    })
}

pub(crate) fn nhs(run: &Run) -> Option<usize> {
    run.first(|symbols, _| digits(symbols) && check::is_nhs(symbols))
}

pub(crate) fn iban(run: &Run) -> Option<usize> {
    let length = check::iban_length(&run.symbols[..2.min(run.length)])?;
    run.first(|symbols, ends| {
        symbols.len() == length
            && ends
                .iter()
                .enumerate()
                .all(|(place, end)| place == 0 || end.separator != b'.')
            && check::is_iban(symbols)
    })
}

pub(crate) fn card(run: &Run) -> Option<usize> {
    run.first(|symbols, ends| {
        let separator = |place: usize| ends[place].separator;
        (13..=19).contains(&symbols.len())
            && digits(symbols)
            && ends.len() <= 6
            && (1..ends.len())
                .filter(|place| separator(*place) != b'\n')
                .all(|place| {
                    separator(place)
                        == (1..ends.len())
                            .map(separator)
                            .find(|other| *other != b'\n')
                            .unwrap_or(b' ')
                })
            && check::is_card(symbols)
    })
}

pub(crate) fn routing(run: &Run) -> Option<usize> {
    run.first(|symbols, _| digits(symbols) && check::is_routing(symbols))
}

pub(crate) fn bank_account(run: &Run) -> Option<usize> {
    run.first(|symbols, ends| {
        digits(symbols)
            && (if ends.len() == 1 { 7..=17 } else { 8..=14 }).contains(&symbols.len())
            && separated_by(ends, b"- ")
            && (ends.len() == 1 || run.first_group().len() < 7)
    })
}

pub(crate) fn driver_license(run: &Run) -> Option<usize> {
    run.first(|symbols, ends| {
        let count = symbols.iter().filter(|byte| byte.is_ascii_digit()).count();
        (6..=14).contains(&symbols.len())
            && count >= 5
            && separated_by(ends, b"- ")
            && (ends.len() == 1
                || ends[1..].iter().all(|end| end.separator == b'-')
                || ends[0].symbols <= 4)
    })
}

const LONGEST: usize = 40;
const GROUPS: usize = 12;
