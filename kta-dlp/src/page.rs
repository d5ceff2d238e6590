//! One stretch of folded text under inspection: its tokens, its labels, what was found so far.

use crate::entity::Entity;
use crate::lexicon::{Label, Lexicon, Role};
use crate::token::{Case, Gap, Token, TokenKind, split};

/// Buffers that are used again for the next stretch.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
    pub(crate) labels: Vec<LabelHit>,
    /// For each token, 1 + the label that it ends, or 0.
    label_end: Vec<u32>,
    /// For each token, 1 + the label that covers it, or 0.
    label_at: Vec<u32>,
    marks: Vec<Mark>,
    pub(crate) found: Vec<Found>,
    pub(crate) has_hebrew: bool,
}

/// A label in the text: tokens `first..end`.
#[derive(Clone, Copy)]
pub(crate) struct LabelHit {
    pub(crate) first: usize,
    pub(crate) end: usize,
    pub(crate) label: Label,
}

/// A finding in folded offsets, with its tokens `first..end`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) start: u32,
    pub(crate) stop: u32,
    pub(crate) kind: Entity,
    pub(crate) confidence: u8,
}

/// What is already known of a token.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Mark {
    #[default]
    Free,
    /// Part of a finding.
    Taken(Entity),
    /// Part of something that holds no other value: a hash, a link, a table cell of no interest.
    Dull,
}

/// The label to the left of a value.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    pub(crate) hit: LabelHit,
    /// Words between that say nothing by themselves are not counted.
    pub(crate) words: usize,
}

impl Page {
    /// Takes in a new text.
    pub(crate) fn open(&mut self, text: &str, lexicon: &Lexicon) {
        self.text.clear();
        self.text.push_str(text);
        split(&self.text, lexicon, &mut self.tokens);
        self.found.clear();
        self.marks.clear();
        self.marks.resize(self.tokens.len(), Mark::Free);
        self.has_hebrew = self.tokens.iter().any(|token| token.hebrew);
        self.find_labels(lexicon);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    pub(crate) fn token(&self, at: usize) -> Option<&Token> {
        self.tokens.get(at)
    }

    pub(crate) fn piece(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| {
            &self.text[token.start as usize..token.end as usize]
        })
    }

    pub(crate) fn mark(&self, at: usize) -> Mark {
        self.marks.get(at).copied().unwrap_or_default()
    }

    pub(crate) fn is_free(&self, at: usize) -> bool {
        self.mark(at) == Mark::Free
    }

    pub(crate) fn is_sign(&self, at: usize, sign: u8) -> bool {
        self.token(at).is_some_and(|token| token.is_sign(sign))
    }

    /// The sign before token `at`, if nothing stands between them.
    pub(crate) fn joined_before(&self, at: usize) -> Option<u8> {
        let token = self.token(at)?;
        let before = self.token(at.checked_sub(1)?)?;
        (token.gap == Gap::None && before.kind == TokenKind::Sign).then_some(before.sign)
    }

    /// The sign after the tokens up to `end`, if nothing stands between, and what follows it.
    pub(crate) fn joined_after(&self, end: usize) -> Option<(u8, Option<&Token>)> {
        let after = self.token(end)?;
        (after.gap == Gap::None && after.kind == TokenKind::Sign).then(|| {
            let next = self.token(end + 1).filter(|next| next.gap == Gap::None);
            (after.sign, next)
        })
    }

    pub(crate) fn dull(&mut self, first: usize, end: usize) {
        for mark in &mut self.marks[first..end] {
            if *mark == Mark::Free {
                *mark = Mark::Dull;
            }
        }
    }

    /// Notes that tokens `first..end` are a `kind`.
    pub(crate) fn take(&mut self, first: usize, end: usize, kind: Entity, confidence: u8) {
        self.take_bytes(
            first,
            end,
            self.tokens[first].start,
            self.tokens[end - 1].end,
            kind,
            confidence,
        );
    }

    /// The same where the finding does not begin or end with its tokens.
    pub(crate) fn take_bytes(
        &mut self,
        first: usize,
        end: usize,
        start: u32,
        stop: u32,
        kind: Entity,
        confidence: u8,
    ) {
        self.marks[first..end].fill(Mark::Taken(kind));
        self.found.push(Found {
            start,
            stop,
            kind,
            confidence,
        });
    }

    /// The label that covers token `at`.
    pub(crate) fn label_at(&self, at: usize) -> Option<LabelHit> {
        let index = *self.label_at.get(at)?;
        index
            .checked_sub(1)
            .map(|index| self.labels[index as usize])
    }

    /// The nearest label before the value at token `at`.
    pub(crate) fn left(&self, at: usize) -> Option<Left> {
        let mut words = 0;
        let mut crossed_line = false;
        let mut behind_value = None;
        let mut gap = self.tokens.get(at)?.gap;
        let mut place = at;
        for _ in 0..14 {
            if gap >= Gap::Line {
                if crossed_line || gap == Gap::Paragraph {
                    return None;
                }
                crossed_line = true;
            }
            place = place.checked_sub(1)?;
            let token = &self.tokens[place];
            if let Some(index) = self.label_end[place].checked_sub(1) {
                let hit = self.labels[index as usize];
                let listed = behind_value.is_none_or(|kind| matches!(hit.label, Label::Is(label) | Label::May(label) if label == kind));
                let near = !crossed_line || words == 0;
                return (listed && near).then_some(Left { hit, words });
            }
            match (self.marks[place], token.kind) {
                (Mark::Taken(kind), _) => {
                    if behind_value.is_some_and(|before| before != kind) {
                        return None;
                    }
                    behind_value = Some(kind);
                }
                (_, TokenKind::Sign) => match token.sign {
                    b';' | b'!' | b'?' | b'|' | b'\t' | b'}' | b'{' => return None,
                    b',' if behind_value.is_none()
                        && !self.is_listing(place)
                        && !self.is_apposition(place) =>
                    {
                        return None;
                    }
                    b'.' if gap > Gap::None && !self.is_abbreviation(place) => return None,
                    _ => {}
                },
                (_, TokenKind::Number | TokenKind::Mixed) => {
                    // A number of another kind stands between.
                    if behind_value.is_none() && !crossed_line {
                        words += 2;
                    } else if crossed_line {
                        return None;
                    }
                }
                (_, TokenKind::Word) => {
                    // `the passport of Anna Muster (X1234567)`
                    let named = token.case == Case::Capital
                        && (token.word.is_unknown()
                            || token.word.is(Role::GIVEN)
                            || token.word.is(Role::FAMILY));
                    if !token.word.is(Role::CONNECTOR) && !token.word.is(Role::PARTICLE) && !named {
                        words += 1;
                    }
                }
            }
            if words > 5 {
                return None;
            }
            gap = token.gap;
        }
        None
    }

    /// A label behind the value that ends before token `end`, when it can only belong to it:
    /// `123-45-6789 (SSN)`, `123-45-6789 is my SSN`.
    pub(crate) fn right(&self, end: usize) -> Option<Label> {
        let mut belongs = false;
        for at in end..end + 6 {
            let token = self.token(at)?;
            if token.gap >= Gap::Line {
                return None;
            }
            if let Some(hit) = self.label_at(at).filter(|hit| hit.first == at) {
                if matches!(hit.label, Label::May(_)) {
                    return None;
                }
                let after = self.token(hit.end);
                let closes = after.is_none_or(|after| {
                    after.gap >= Gap::Line
                        || matches!(after.sign, b')' | b']' | b'.' | b',' | b';' | b'!' | b'?')
                });
                let leads_on = after
                    .is_some_and(|after| matches!(after.sign, b':' | b'=') || after.is_value());
                return ((belongs && !leads_on)
                    || (closes && at > end && self.is_sign(at - 1, b'(')))
                .then_some(hit.label);
            }
            match token.kind {
                TokenKind::Sign if matches!(token.sign, b'(' | b'[' | b'-') => {}
                TokenKind::Word if token.word.is(Role::CONNECTOR) => belongs = true,
                _ => return None,
            }
        }
        None
    }

    /// A comma between values of one list: `A1234567, B7654321`.
    fn is_listing(&self, comma: usize) -> bool {
        comma > 0 && matches!(self.marks[comma - 1], Mark::Taken(_))
    }

    /// The comma of `the beneficiary, Anna Muster, …`.
    fn is_apposition(&self, comma: usize) -> bool {
        comma
            .checked_sub(1)
            .and_then(|before| self.label_end[before].checked_sub(1))
            .is_some_and(|index| self.labels[index as usize].label == Label::Is(Entity::Person))
    }

    /// A full stop that belongs to a short word: `no.`, `tel.`, `D.O.B.`
    fn is_abbreviation(&self, stop: usize) -> bool {
        let Some(before) = stop.checked_sub(1).map(|place| &self.tokens[place]) else {
            return false;
        };
        self.tokens[stop].gap == Gap::None
            && before.kind == TokenKind::Word
            && (self.label_end[stop - 1] != 0
                || before.word.is(Role::CONNECTOR)
                || before.len() <= 3 && before.word.is_unknown())
    }

    fn find_labels(&mut self, lexicon: &Lexicon) {
        self.labels.clear();
        self.label_end.clear();
        self.label_end.resize(self.tokens.len(), 0);
        self.label_at.clear();
        self.label_at.resize(self.tokens.len(), 0);
        let mut at = 0;
        while at < self.tokens.len() {
            let Some(hit) = self.label_from(at, lexicon) else {
                at += 1;
                continue;
            };
            if hit.label == Label::Silent {
                at = hit.end;
                continue;
            }
            self.labels.push(hit);
            let index = u32::try_from(self.labels.len()).unwrap_or(0);
            self.label_end[hit.end - 1] = index;
            self.label_at[hit.first..hit.end].fill(index);
            at = hit.end;
        }
    }

    fn label_from(&self, first: usize, lexicon: &Lexicon) -> Option<LabelHit> {
        let token = &self.tokens[first];
        let word = match token.kind {
            TokenKind::Word if token.word.begins_label() => token.word,
            TokenKind::Word => {
                let word = lexicon.word(self.without_affix(first)?);
                Some(word).filter(|word| word.begins_label())?
            }
            TokenKind::Mixed => Some(lexicon.word(token.key)).filter(|word| word.begins_label())?,
            _ => return None,
        };
        // A Hebrew label of two letters is as often the beginning of a name.
        let short = token.hebrew && token.len() <= 4;
        let leads_on = self.token(first + 1).is_some_and(|next| {
            let tight = self
                .token(first + 2)
                .is_some_and(|after| after.gap == Gap::None);
            next.is_value()
                || next.gap >= Gap::Line
                || matches!(
                    next.sign,
                    b':' | b'.' | b'=' | b'+' | b'(' | b'|' | b';' | b'\t' | b'"'
                )
                || next.sign == b',' && tight
        });
        lexicon
            .phrases(word)
            .iter()
            .filter(|phrase| !short || leads_on || !phrase.rest.is_empty())
            .find_map(|phrase| {
                let mut at = first + 1;
                for key in &phrase.rest {
                    if self.token(at).is_some_and(|sign| {
                        matches!(sign.sign, b'_' | b'-' | b'.' | b'/') && sign.gap == Gap::None
                    }) {
                        at += 1;
                    }
                    let token = self.token(at).filter(|token| token.gap <= Gap::Line)?;
                    let key_here = if token.kind == TokenKind::Sign {
                        sign_key(token.sign)
                    } else {
                        token.key
                    };
                    if key_here != *key
                        && !(token.kind == TokenKind::Word && self.without_affix(at) == Some(*key))
                    {
                        return None;
                    }
                    at += 1;
                }
                let after = if self.is_sign(at, b'"') { at + 1 } else { at };
                let led = !phrase.led || self.is_sign(after, b':') || self.is_sign(after, b'=');
                led.then_some(LabelHit {
                    first,
                    end: at,
                    label: phrase.label,
                })
            })
    }

    /// The key of a word without plural s, or without a Hebrew one-letter prefix.
    fn without_affix(&self, at: usize) -> Option<u64> {
        let piece = self.piece(at);
        if self.tokens[at].hebrew {
            let mut letters = piece.chars();
            let prefix = letters.next()?;
            return (matches!(prefix, 'ו' | 'ה' | 'ב' | 'ל' | 'ש' | 'מ' | 'כ') && piece.len() >= 6)
                .then(|| crate::lexicon::Key::of(letters.as_str()));
        }
        let stem = piece.strip_suffix(['s', 'S'])?;
        (stem.len() >= 2).then(|| crate::lexicon::Key::of(stem.trim_end_matches('\'')))
    }
}

fn sign_key(sign: u8) -> u64 {
    let mut key = crate::lexicon::Key::default();
    key.add(sign);
    key.finish()
}
