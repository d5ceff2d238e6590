//! What words mean: labels beside values, names, months, streets. Data in the files beside this one.

use crate::entity::Entity;
use std::sync::LazyLock;

/// Words and phrases by a key that ignores case, accents and quotes.
pub(crate) struct Lexicon {
    slots: Vec<(u64, Word)>,
    phrases: Vec<Phrase>,
}

/// What is known of one word.
#[derive(Clone, Copy, Default)]
pub(crate) struct Word {
    roles: u32,
    first_phrase: u32,
    phrases: u16,
}

/// A label, without its first word.
pub(crate) struct Phrase {
    pub(crate) rest: Vec<u64>,
    /// Counts only when a colon or an equals sign follows.
    pub(crate) led: bool,
    pub(crate) label: Label,
}

/// What a label says about the value beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Label {
    /// It is this.
    Is(Entity),
    /// It may be this, if it looks like it.
    May(Entity),
    /// It is something that is nobody's.
    Not,
    /// No label at all, though its first words are one.
    Silent,
}

/// A role a word can play, one bit each.
#[derive(Clone, Copy)]
pub(crate) struct Role(u32);

impl Role {
    pub(crate) const GIVEN: Self = Self(1 << 4);
    pub(crate) const FAMILY: Self = Self(1 << 5);
    pub(crate) const COMMON: Self = Self(1 << 6);
    pub(crate) const STREET: Self = Self(1 << 7);
    pub(crate) const UNIT: Self = Self(1 << 8);
    pub(crate) const STATE: Self = Self(1 << 9);
    pub(crate) const TITLE: Self = Self(1 << 10);
    pub(crate) const GREET: Self = Self(1 << 11);
    pub(crate) const CLOSING: Self = Self(1 << 12);
    pub(crate) const CONNECTOR: Self = Self(1 << 13);
    pub(crate) const PARTICLE: Self = Self(1 << 14);
    pub(crate) const ORG: Self = Self(1 << 15);
    pub(crate) const PLACE: Self = Self(1 << 16);
    /// Begins at least one label.
    const LABEL: u32 = 1 << 17;
    const MONTH: u32 = 0xF;
}

impl Word {
    pub(crate) fn is(self, role: Role) -> bool {
        self.roles & role.0 != 0
    }

    /// 1 to 12 when it names a month.
    pub(crate) fn month(self) -> Option<u32> {
        Some(self.roles & Role::MONTH).filter(|month| *month > 0)
    }

    pub(crate) fn begins_label(self) -> bool {
        self.roles & Role::LABEL != 0
    }

    pub(crate) fn is_unknown(self) -> bool {
        self.roles & !Role::LABEL == 0
    }
}

impl Lexicon {
    /// The one that ships, read on first use.
    pub(crate) fn shipped() -> &'static Self {
        static SHIPPED: LazyLock<Lexicon> = LazyLock::new(Lexicon::read);
        &SHIPPED
    }

    pub(crate) fn word(&self, key: u64) -> Word {
        let mask = self.slots.len() - 1;
        let mut at = key as usize & mask;
        loop {
            let (found, word) = self.slots[at];
            if found == key {
                return word;
            }
            if found == 0 {
                return Word::default();
            }
            at = (at + 1) & mask;
        }
    }

    pub(crate) fn phrases(&self, word: Word) -> &[Phrase] {
        &self.phrases[word.first_phrase as usize..][..usize::from(word.phrases)]
    }

    fn read() -> Self {
        let mut roles: std::collections::HashMap<u64, u32> = std::collections::HashMap::new();
        for (category, words) in lines(WORDS).chain(lines(NAMES)) {
            let role = role(category);
            for word in words.split_whitespace() {
                *roles.entry(Key::of(word)).or_default() |= role;
            }
        }
        let mut phrases: Vec<(u64, Phrase)> = Vec::new();
        for (category, list) in lines(LABELS) {
            for phrase in list.split('|').map(str::trim) {
                let (weak, phrase) = phrase
                    .strip_prefix('~')
                    .map_or((false, phrase), |rest| (true, rest));
                let (led, phrase) = phrase
                    .strip_prefix('^')
                    .map_or((false, phrase), |rest| (true, rest));
                let label = match (Entity::named(category), weak) {
                    (Some(entity), true) => Label::May(entity),
                    (Some(entity), false) => Label::Is(entity),
                    (None, _) if category == "." => Label::Silent,
                    (None, _) => Label::Not,
                };
                let mut keys = phrase.split_whitespace().map(Key::of);
                let Some(first) = keys.next() else { continue };
                let rest: Vec<u64> = keys.collect();
                if !rest.is_empty() {
                    let together: String = phrase.split_whitespace().collect();
                    if together.chars().count() > 3 {
                        phrases.push((
                            Key::of(&together),
                            Phrase {
                                rest: Vec::new(),
                                led,
                                label,
                            },
                        ));
                    }
                }
                phrases.push((first, Phrase { rest, led, label }));
            }
        }
        // Longest first, so that the first match is the best.
        phrases.sort_by_key(|(first, phrase)| (*first, std::cmp::Reverse(phrase.rest.len())));
        let size = (2 * (roles.len() + phrases.len())).next_power_of_two();
        let mut lexicon = Self {
            slots: vec![(0, Word::default()); size],
            phrases: Vec::new(),
        };
        for (key, roles) in roles {
            lexicon.slot(key).roles |= roles;
        }
        for (first, phrase) in phrases {
            let next = u32::try_from(lexicon.phrases.len()).unwrap_or(u32::MAX);
            let word = lexicon.slot(first);
            if word.phrases == 0 {
                word.first_phrase = next;
            }
            word.phrases += 1;
            word.roles |= Role::LABEL;
            lexicon.phrases.push(phrase);
        }
        lexicon
    }

    fn slot(&mut self, key: u64) -> &mut Word {
        let mask = self.slots.len() - 1;
        let mut at = key as usize & mask;
        while self.slots[at].0 != 0 && self.slots[at].0 != key {
            at = (at + 1) & mask;
        }
        self.slots[at].0 = key;
        &mut self.slots[at].1
    }
}

/// A hash of the letters of a word in lower case, without accents and quotes; never 0.
pub(crate) struct Key(u64);

impl Default for Key {
    fn default() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }
}

impl Key {
    pub(crate) fn of(word: &str) -> u64 {
        let mut key = Self::default();
        for character in word.chars() {
            match character {
                '\'' | '"' => {}
                ascii if ascii.is_ascii() => key.add(ascii.to_ascii_lowercase() as u8),
                other => key.add_character(other),
            }
        }
        key.finish()
    }

    pub(crate) fn add(&mut self, byte: u8) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x517C_C1B7_2722_0A95);
    }

    /// A character that is not ASCII.
    pub(crate) fn add_character(&mut self, character: char) {
        let code = u32::from(character) as usize;
        if (0xC0..0x180).contains(&code) {
            self.add(PLAIN[code - 0xC0]);
            return;
        }
        if (0x0300..0x0370).contains(&code) {
            return;
        }
        let mut buffer = [0; 4];
        for lower in character.to_lowercase() {
            for byte in lower.encode_utf8(&mut buffer).bytes() {
                self.add(byte);
            }
        }
    }

    pub(crate) fn finish(self) -> u64 {
        // The low bits choose the slot, so the high ones are mixed in.
        (self.0 ^ (self.0 >> 29)).max(1)
    }
}

fn lines(data: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    data.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(':'))
}

fn role(category: &str) -> u32 {
    if let Some(month) = category.strip_prefix("month") {
        return month.parse().unwrap_or(0);
    }
    let roles = [
        ("given", Role::GIVEN),
        ("family", Role::FAMILY),
        ("common", Role::COMMON),
        ("street", Role::STREET),
        ("unit", Role::UNIT),
        ("state", Role::STATE),
        ("title", Role::TITLE),
        ("greet", Role::GREET),
        ("closing", Role::CLOSING),
        ("connector", Role::CONNECTOR),
        ("particle", Role::PARTICLE),
        ("org", Role::ORG),
        ("place", Role::PLACE),
    ];
    roles
        .iter()
        .find(|(name, _)| *name == category)
        .map_or(0, |(_, role)| role.0)
}

const LABELS: &str = include_str!("labels.txt");
const NAMES: &str = include_str!("names.txt");
const WORDS: &str = include_str!("words.txt");

/// Plain letters for U+00C0 to U+017F.
const PLAIN: &[u8; 192] = b"aaaaaaaceeeeiiiidnooooo*ouuuuytsaaaaaaaceeeeiiiidnooooo/ouuuuyty\
aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiiiiijjkkkllllllllllnnnnnnnnnoooooooorrrrrrsssssssstttttt\
uuuuuuuuuuuuwwyyyzzzzzzs";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accents_case_and_quotes_make_no_difference() {
        assert_eq!(Key::of("Né"), Key::of("ne"));
        assert_eq!(Key::of("Driver's"), Key::of("drivers"));
        assert_eq!(Key::of("ת\"ז"), Key::of("תז"));
        assert_ne!(Key::of("ssn"), Key::of("ssm"));
    }

    #[test]
    fn every_label_of_the_data_is_a_kind_or_none() {
        for (category, _) in lines(LABELS) {
            assert!(
                matches!(category, "-" | ".") || Entity::named(category).is_some(),
                "{category}"
            );
        }
        for (category, _) in lines(WORDS).chain(lines(NAMES)) {
            assert_ne!(role(category), 0, "{category}");
        }
    }
}
