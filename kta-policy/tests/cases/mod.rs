//! Random schedules and facts, the same for the same seed.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Days, NaiveDate};
use kta_core::audit::Label;
use kta_core::id::{Digest, HoldId};
use kta_core::retention::{Applies, Bound, Combine, Facts, Holder, PackRef, Rule, Schedule, Term};

pub(crate) fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

pub(crate) fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

/// A small generator of its own: the same cases on every machine.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    pub(crate) fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    pub(crate) fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }

    /// Any day, and the ends of months more often than others.
    pub(crate) fn day(&mut self) -> NaiveDate {
        match self.below(8) {
            0 => day("2020-02-29"),
            1 => day("2024-02-29"),
            2 => day("2022-01-31"),
            3 => day("2021-02-28"),
            _ => day("2016-01-01") + Days::new(self.below(9000)),
        }
    }

    fn some(&mut self, all: &'static [Label], one_in: u64) -> BTreeSet<Label> {
        all.iter()
            .filter(|_| self.one_in(one_in))
            .cloned()
            .collect()
    }

    fn term(&mut self) -> Term {
        let of = (0..=self.below(3)).map(|_| Bound {
            trigger: self.of(&TRIGGERS[1..]),
            add: self.of(&PERIODS).parse().unwrap(),
            when_known: self.one_in(4),
            needed_when: self.one_in(6).then(|| self.of(&SAID)),
        });
        let of = of.collect();
        Term {
            op: self.of(&[Combine::Max, Combine::Max, Combine::Min, Combine::First]),
            of,
        }
    }

    pub(crate) fn rule(&mut self, number: u64) -> Rule {
        let holders = [
            Holder::Firm,
            Holder::Firm,
            Holder::Firm,
            Holder::Employer,
            Holder::Client,
        ];
        let floor = (!self.one_in(3)).then(|| self.term());
        let ceiling = self.one_in(2).then(|| self.term());
        Rule {
            id: label(&format!("rule.{number}")),
            applies: Applies {
                any: self.some(&SAID, 6),
                all: self.some(&SAID, 12),
                none: self.some(&SAID, 12),
                from: self.one_in(6).then(|| self.day()),
            },
            holder: self.of(&holders),
            floor,
            ceiling,
            while_open: self.one_in(8).then(|| self.of(&OPEN)),
            citation: "invented".into(),
            source: "invented".into(),
            reviewed_on: self.day(),
            verified: !self.one_in(5),
            pack: PackRef {
                id: Label::fixed("test"),
                version: Label::fixed("1"),
                digest: Digest::of(b"test"),
            },
        }
    }

    pub(crate) fn schedule(&mut self) -> Schedule {
        let rules = (0..self.below(5)).map(|number| self.rule(number)).collect();
        Schedule {
            class: Label::fixed("TEST"),
            rules,
        }
    }

    pub(crate) fn facts(&mut self) -> Facts {
        let mut triggers = BTreeMap::new();
        for trigger in &TRIGGERS[1..] {
            if !self.one_in(5) {
                triggers.insert(trigger.clone(), self.day());
            }
        }
        if self.one_in(10) {
            triggers.insert(Rule::TRANSFERRED, self.day());
        }
        Facts {
            today: self.day(),
            triggers,
            open: self.some(&OPEN, 10),
            nexus: self.some(&SAID, 2),
            holds: if self.one_in(20) {
                vec![HoldId::derived(&[b"hold"])]
            } else {
                Vec::new()
            },
            custodian: self.one_in(2),
        }
    }
}

/// The first is [`Rule::TRANSFERRED`], which no rule counts from.
static TRIGGERS: [Label; 5] = [
    Label::fixed("transferred"),
    Label::fixed("closed"),
    Label::fixed("ended"),
    Label::fixed("of_age"),
    Label::fixed("purpose"),
];
static SAID: [Label; 3] = [
    Label::fixed("IL"),
    Label::fixed("GDPR"),
    Label::fixed("party.child"),
];
static OPEN: [Label; 2] = [Label::fixed("employment"), Label::fixed("appeal")];
static PERIODS: [&str; 12] = [
    "P0D", "P1D", "P13D", "P30D", "P1M", "P6M", "P12M", "P1Y6M", "P18M", "P3Y", "P7Y", "P2Y3M4D",
];
