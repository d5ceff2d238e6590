//! Numbers and dates: what the label says, else what the shape says, unless a label denies it.

use super::number::{self, Run, Trust};
use super::{date, phone};
use crate::entity::Entity;
use crate::lexicon::Label;
use crate::page::{Left, Page};
use crate::token::{Case, Gap, TokenKind};
use kta_core::pii::identifier::ReceiptNumber;

pub(crate) fn find(page: &mut Page) {
    let mut at = 0;
    while at < page.tokens.len() {
        at = value(page, at).unwrap_or(at + 1);
    }
}

/// What stands at token `at` if it is a `kind`: the token after, and how sure.
pub(crate) fn read(page: &Page, at: usize, kind: Entity, trust: Trust) -> Option<(usize, u8)> {
    if kind == Entity::DateOfBirth {
        return date::read(page, at).map(|end| (end, 90));
    }
    if kind == Entity::Phone {
        return phone::read(page, at, trust)
            .map(|end| (end, if trust == Trust::Shape { 65 } else { 90 }));
    }
    let run = Run::read(page, at)?;
    read_run(page, at, &run, kind, trust)
}

fn read_run(page: &Page, at: usize, run: &Run, kind: Entity, trust: Trust) -> Option<(usize, u8)> {
    let sure = |labelled, alone| {
        if trust == Trust::Shape {
            alone
        } else {
            labelled
        }
    };
    let (end, confidence) = match kind {
        Entity::CreditCard => (number::card(run)?, sure(97, 85)),
        Entity::Iban => (number::iban(run)?, sure(99, 97)),
        Entity::IlTeudatZehut => (number::israeli_id(run, trust)?, sure(95, 50)),
        Entity::Passport => (number::passport(run, trust)?, sure(85, 40)),
        Entity::UkNhs => (number::nhs(run)?, sure(95, 50)),
        Entity::UkNino => (number::nino(run, trust)?, sure(97, 80)),
        Entity::UsANumber => (number::a_number(run, trust)?, sure(93, 75)),
        Entity::UsBankAccount => (number::bank_account(run)?, sure(85, 30)),
        Entity::UscisReceipt => (number::receipt(run, trust)?, sure(98, 95)),
        Entity::UsDriverLicense => (number::driver_license(run)?, sure(82, 30)),
        Entity::UsDs160 => (number::ds160(run, trust)?, sure(95, 80)),
        Entity::UsI94 => (number::i94(run, trust)?, sure(92, 70)),
        Entity::UsItin => (number::itin(run, trust)?, sure(96, 75)),
        Entity::UsRouting => (number::routing(run)?, sure(93, 40)),
        Entity::UsSevisId => (number::sevis(run, trust)?, sure(96, 80)),
        Entity::UsSsn => (number::ssn(run, trust)?, sure(96, 75)),
        _ => return None,
    };
    let dated = matches!(
        kind,
        Entity::Passport | Entity::UsBankAccount | Entity::UsDriverLicense
    ) && end > at + 1
        && date::read(page, at).is_some();
    (!dated && ends_well(page, end, trust)).then_some((end, confidence))
}

fn value(page: &mut Page, at: usize) -> Option<usize> {
    if !page.is_free(at)
        || !may_begin(page, at)
        || page.label_at(at).is_some() && !is_lettered(page, at)
    {
        return None;
    }
    let inside = continues_another(page, at);
    let left = page.left(at);
    let label = left.map(|left| left.hit.label);
    if inside && !matches!(label, Some(Label::Is(_))) {
        return None;
    }
    if let (Some(left), Some(Label::Is(kind))) = (left, label)
        && left.words <= reach(kind)
        && let Some((end, confidence)) = read(page, at, kind, Trust::Label)
    {
        return Some(take(page, at, end, kind, confidence));
    }
    if inside {
        return None;
    }
    if let Some((end, kind, confidence)) = named_behind(page, at) {
        return Some(take(page, at, end, kind, confidence));
    }
    if let (Some(left), Some(Label::May(kind))) = (left, label)
        && left.words == 0
        && let Some((end, confidence)) = read(page, at, kind, Trust::Weak)
    {
        return Some(take(page, at, end, kind, confidence.saturating_sub(20)));
    }
    let denied = matches!(left, Some(Left { hit, words }) if hit.label == Label::Not && words <= 2);
    let shapes: &[Entity] = if denied { &SELF_EVIDENT } else { &SHAPES };
    // `NHS no. 943 476 5918` fails its check digit; that makes it no telephone number.
    let numbered = matches!((left, label), (Some(left), Some(Label::Is(kind))) if left.words == 0 && is_numeric(kind));
    if let Some(run) = Run::read(page, at) {
        for kind in shapes.iter().filter(|kind| run.may_be(**kind)) {
            if let Some((end, confidence)) = read_run(page, at, &run, *kind, Trust::Shape) {
                return Some(take(page, at, end, *kind, confidence));
            }
        }
    }
    if !denied
        && !numbered
        && let Some((end, confidence)) = read(page, at, Entity::Phone, Trust::Shape)
    {
        return Some(take(page, at, end, Entity::Phone, confidence));
    }
    // A date that is nobody's: its parts are no numbers of their own.
    (page.tokens[at].kind == TokenKind::Number)
        .then(|| date::read(page, at))
        .flatten()
}

fn take(page: &mut Page, at: usize, end: usize, kind: Entity, confidence: u8) -> usize {
    page.take(at, end, kind, confidence);
    end
}

/// `123-45-6789 (SSN)`, `123-45-6789 is my SSN`.
fn named_behind(page: &Page, at: usize) -> Option<(usize, Entity, u8)> {
    for end in at + 1..at + 11 {
        if let Some(Label::Is(kind)) = page.right(end) {
            let (stop, confidence) = read(page, at, kind, Trust::Label)?;
            return (stop == end).then_some((end, kind, confidence.saturating_sub(5)));
        }
        let token = page.token(end)?;
        if token.gap >= Gap::Wide
            || token.kind == TokenKind::Word && token.word.month().is_none() && token.len() > 2
        {
            return None;
        }
    }
    None
}

fn may_begin(page: &Page, at: usize) -> bool {
    let token = page.tokens[at];
    let before_number = |page: &Page| page.token(at + 1).is_some_and(|next| next.is_value());
    match token.kind {
        TokenKind::Number | TokenKind::Mixed => true,
        TokenKind::Sign => {
            matches!(token.sign, b'+' | b'(') && before_number(page)
                || token.sign == b'+' && page.is_sign(at + 1, b'(')
        }
        TokenKind::Word if token.word.month().is_some() => {
            before_number(page) || page.is_sign(at + 1, b'.')
        }
        TokenKind::Word => {
            let office = || {
                ReceiptNumber::OFFICES
                    .iter()
                    .any(|office| page.piece(at).eq_ignore_ascii_case(office))
            };
            token.len() <= 3
                && (matches!(token.case, Case::Upper | Case::Initial) || office())
                && (before_number(page)
                    || page
                        .token(at + 1)
                        .is_some_and(|next| next.is_sign(b'-') && next.gap == Gap::None)
                        && page.token(at + 2).is_some_and(|next| next.is_value()))
        }
    }
}

/// Two capitals joined to a number, which are no label: `HW-38-45-55-B`.
fn is_lettered(page: &Page, at: usize) -> bool {
    let token = page.tokens[at];
    let joined = page
        .joined_after(at + 1)
        .is_some_and(|(sign, next)| sign == b'-' && next.is_some_and(|next| next.is_value()));
    let labelled = || {
        page.left(at)
            .is_some_and(|left| left.words == 0 && matches!(left.hit.label, Label::Is(_)))
    };
    let spaced = page
        .token(at + 1)
        .is_some_and(|next| next.kind == TokenKind::Number && next.gap == Gap::Blank);
    token.kind == TokenKind::Word
        && token.case == Case::Upper
        && token.len() == 2
        && (joined || spaced && labelled())
}

/// Whether the token is the later part of something longer: `12-345`, `1.2.3`, `$100`, `a/123`.
fn continues_another(page: &Page, at: usize) -> bool {
    let Some(sign) = page.joined_before(at) else {
        return false;
    };
    let joined_further = page.tokens[at - 1].gap == Gap::None;
    let before = at.checked_sub(2).and_then(|before| page.token(before));
    match sign {
        b'$' | b'%' | b'_' => true,
        b'-' | b'.' | b'/' => {
            joined_further && before.is_some_and(|before| before.kind != TokenKind::Sign)
        }
        b'+' => true,
        b':' => joined_further && before.is_some_and(|before| before.kind == TokenKind::Number),
        b',' => {
            joined_further
                && before
                    .is_some_and(|before| before.kind == TokenKind::Number && before.len() <= 3)
                && page.tokens[at].len() == 3
        }
        _ => false,
    }
}

fn ends_well(page: &Page, end: usize, trust: Trust) -> bool {
    match page.joined_after(end) {
        Some((b'-' | b'_' | b'@' | b'.' | b':', Some(next))) => {
            next.kind == TokenKind::Word && trust == Trust::Label
        }
        Some((b'/', Some(next))) => !next.is_value() || trust == Trust::Label,
        Some((b'%', _)) => false,
        Some((b',', Some(next))) => {
            trust == Trust::Label || next.kind != TokenKind::Number || next.len() != 3
        }
        _ => true,
    }
}

/// How many words that say nothing may stand between a label and its value.
fn reach(kind: Entity) -> usize {
    match kind {
        Entity::Passport | Entity::UsBankAccount | Entity::UsDriverLicense => 1,
        Entity::Phone => 3,
        _ => 5,
    }
}

/// Whether values of a kind are numbers that look like telephone numbers when they are wrong.
fn is_numeric(kind: Entity) -> bool {
    !matches!(
        kind,
        Entity::Address | Entity::DateOfBirth | Entity::Email | Entity::Person | Entity::Phone
    )
}

/// Proven by prefix or checksum whatever stands before.
const SELF_EVIDENT: [Entity; 2] = [Entity::UscisReceipt, Entity::Iban];

/// Shapes that need no label, the surest first.
const SHAPES: [Entity; 10] = [
    Entity::UscisReceipt,
    Entity::Iban,
    Entity::UsSevisId,
    Entity::UsDs160,
    Entity::UsI94,
    Entity::UsANumber,
    Entity::UkNino,
    Entity::CreditCard,
    Entity::UsSsn,
    Entity::UsItin,
];
