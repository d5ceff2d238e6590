//! Hebrew names, which no capital gives away.

use super::person::is_blocked;
use crate::entity::Entity;
use crate::lexicon::{Key, Label, Lexicon, Role};
use crate::page::Page;
use crate::token::{Gap, TokenKind};

pub(super) fn read(page: &mut Page, at: usize) -> Option<usize> {
    if !page.is_free(at) {
        return None;
    }
    let greets = page.tokens[at].word.is(Role::GREET) && page.tokens[at].gap >= Gap::Line;
    if greets
        && (at + 1..at + 4)
            .find_map(|place| {
                page.token(place)
                    .filter(|token| token.kind == TokenKind::Sign)
            })
            .is_some_and(|token| token.is_sign(b','))
    {
        return None;
    }
    let mut end = at;
    while end < at + 6 {
        let Some(token) = page.token(end) else { break };
        let hyphen = token.is_sign(b'-')
            && token.gap == Gap::None
            && page
                .token(end + 1)
                .is_some_and(|next| next.hebrew && next.gap == Gap::None);
        if end > at && hyphen {
            end += 1;
            continue;
        }
        let near = end == at || token.gap == Gap::Blank || page.is_sign(end - 1, b'-');
        if !near
            || !token.hebrew
            || token.kind != TokenKind::Word
            || !page.is_free(end)
            || !is_hebrew_part(page, end)
        {
            break;
        }
        end += 1;
    }
    let words = (at..end)
        .filter(|at| page.tokens[*at].kind == TokenKind::Word)
        .count();
    if words == 0 {
        return None;
    }
    let before = at.checked_sub(1).map(|before| page.tokens[before]);
    let greeted = before
        .is_some_and(|before| before.word.is(Role::GREET) && page.tokens[at].gap <= Gap::Blank);
    let closed = page
        .token(end)
        .is_none_or(|next| next.gap >= Gap::Line || next.kind == TokenKind::Sign);
    let titled = before.is_some_and(|before| before.word.is(Role::TITLE))
        && page.tokens[at].gap <= Gap::Blank;
    let labelled = page
        .left(at)
        .is_some_and(|left| left.words == 0 && left.hit.label == Label::Is(Entity::Person));
    let role = |at: usize, role: Role| page.tokens[at].word.is(role);
    let own_line = page.tokens[at].gap >= Gap::Line
        && page.token(end).is_none_or(|next| next.gap >= Gap::Line);
    let signs_off = own_line
        && before
            .is_some_and(|before| before.word.is(Role::CLOSING) || before.kind == TokenKind::Sign)
        && (words == 2 || words == 3)
        && (page.token(end).is_none()
            || (at..end).any(|at| role(at, Role::GIVEN) || role(at, Role::FAMILY)));
    let says = (2..=4).contains(&words)
        && page
            .left(at)
            .is_some_and(|left| left.words == 0 && left.hit.label == Label::May(Entity::Person))
        && (role(at, Role::GIVEN) || role(end - 1, Role::FAMILY));
    // Before a verb or another word only two are the name.
    let mut second = at + 2 + usize::from(end > at + 1 && role(at + 1, Role::PARTICLE));
    while second < end && page.is_sign(second, b'-') {
        second += 2;
    }
    let end = if closed { end } else { end.min(second) };
    if (greeted && closed) || says || titled || labelled && (closed || words >= 2) || signs_off {
        page.take(at, end, Entity::Person, if signs_off { 75 } else { 85 });
        return Some(end);
    }
    // A known first and family name, perhaps with a prefix letter on the first.
    if words >= 2 && role(at + 1, Role::FAMILY) {
        let piece = page.piece(at);
        let mut start = page.tokens[at].start;
        let mut given = role(at, Role::GIVEN);
        if !given && let Some(bare) = piece.strip_prefix(['ל', 'ו', 'ש', 'מ', 'ב', 'ה', 'כ'])
        {
            given = Lexicon::shipped().word(Key::of(bare)).is(Role::GIVEN);
            start += 2;
        }
        if given {
            let longer = role(at + 1, Role::PARTICLE) && words >= 3;
            let end = at + 2 + usize::from(longer);
            let stop = page.tokens[end - 1].end;
            page.take_bytes(at, end, start, stop, Entity::Person, 68);
            return Some(end);
        }
    }
    Some(at + 1)
}

fn is_hebrew_part(page: &Page, at: usize) -> bool {
    let token = &page.tokens[at];
    let named = token.word.is(Role::GIVEN) || token.word.is(Role::FAMILY);
    (named || token.word.is(Role::PARTICLE) || !is_blocked(token))
        && page
            .label_at(at)
            .is_none_or(|hit| named && hit.end == hit.first + 1)
}
