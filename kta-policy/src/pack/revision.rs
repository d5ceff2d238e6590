//! A change of the schedules in force: simulated first, and slow where it shortens.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Days, NaiveDate};
use kta_core::audit::{Label, NoteKey, SignedNote};
use kta_core::id::{ActorId, Digest};
use kta_core::retention::{Combine, Period, Rule, Schedule, Term};
use kta_core::{Code, Refusal};
use serde::{Deserialize, Serialize};

use super::forecast::{Forecast, Schedules, digest};

/// A change of the schedules, from its proposal until it is in force.
///
/// ```text
///   forecast over the population ─► propose ─► signed by two people ─► wait ─► activate
///                                              └──── only where it shortens ──┘
/// ```
///
/// It shortens when it takes away or weakens anything that keeps, in any class, or when a single
/// record of the population would become eligible on an earlier day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    schedules: Schedules,
    forecast: Forecast,
    shortens: BTreeSet<Label>,
    proposed: (ActorId, NaiveDate),
    signed: BTreeMap<ActorId, (NaiveDate, String)>,
}

/// What a firm demands of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many days a revision that shortens waits after two people agreed.
    pub waiting_days: u32,
    /// How many records in a thousand, of any class and of all, may become eligible at once.
    pub most_eligible_in_thousand: u32,
}

impl Default for Limits {
    /// Two weeks, and five in a hundred.
    fn default() -> Self {
        Self {
            waiting_days: 14,
            most_eligible_in_thousand: 50,
        }
    }
}

impl Revision {
    /// Proposes to put `after` in force instead of `before`.
    ///
    /// # Errors
    /// [`Code::RetPack`] when `forecast` is one of other schedules or simulated no record.
    pub fn propose(
        before: &Schedules,
        after: Schedules,
        forecast: Forecast,
        by: ActorId,
        on: NaiveDate,
    ) -> Result<Self, Refusal> {
        if forecast.before != digest(before) || forecast.after != digest(&after) {
            return Err(Refusal::new(Code::RetPack).about("flaw", "forecast-of-others"));
        }
        if forecast.records() == 0 {
            return Err(Refusal::new(Code::RetPack).about("flaw", "nothing-simulated"));
        }
        let mut shortens = shortened(before, &after);
        let earlier = forecast
            .classes
            .iter()
            .filter(|(_, tally)| tally.earlier > 0);
        shortens.extend(earlier.map(|(class, _)| class.clone()));
        Ok(Self {
            schedules: after,
            forecast,
            shortens,
            proposed: (by, on),
            signed: BTreeMap::new(),
        })
    }

    /// The classes in which it keeps less, or for a shorter time.
    #[must_use]
    pub const fn shortens(&self) -> &BTreeSet<Label> {
        &self.shortens
    }

    /// What it would do.
    #[must_use]
    pub const fn forecast(&self) -> &Forecast {
        &self.forecast
    }

    /// What somebody signs who agrees to it on this day, the proposer among them.
    #[must_use]
    pub fn statement(&self, on: NaiveDate) -> String {
        // Structs of strings, lists and maps with string keys always serialise.
        let forecast = serde_json::to_vec(&self.forecast).unwrap_or_default();
        format!(
            "kta schedule revision\n{}\n{}\n{}\nby {} {}\nagreed {on}\n",
            self.forecast.before,
            self.forecast.after,
            Digest::of(&forecast),
            self.proposed.0,
            self.proposed.1,
        )
    }

    /// Takes somebody's signature under the [`statement`](Self::statement) of a day. Agreeing again
    /// changes nothing.
    ///
    /// # Errors
    /// [`Code::PolSign`] for a signature that is not that key's over that statement;
    /// [`Code::RetWait`] before the day of the proposal.
    pub fn sign(
        &mut self,
        by: ActorId,
        on: NaiveDate,
        note: &SignedNote,
        key: &NoteKey,
    ) -> Result<(), Refusal> {
        if on < self.proposed.1 {
            return Err(Refusal::new(Code::RetWait).about("from", self.proposed.1));
        }
        if note.text() != self.statement(on) || note.verify(key).is_err() {
            return Err(Refusal::new(Code::PolSign).about("actor", by));
        }
        self.signed
            .entry(by)
            .or_insert_with(|| (on, note.to_string()));
        Ok(())
    }

    /// Since when two people agree, the proposer and somebody else.
    fn agreed(&self) -> Option<NaiveDate> {
        let (own, _) = self.signed.get(&self.proposed.0)?;
        let others = self.signed.iter().filter(|(by, _)| **by != self.proposed.0);
        let other = others.map(|(_, (on, _))| *on).min()?;
        Some(other.max(*own))
    }

    /// Whether the signatures are those of these people's keys, no key twice: what was read from
    /// a file is believed in nothing.
    fn verify(&self, keys: &BTreeMap<ActorId, NoteKey>) -> Result<(), Refusal> {
        let mut used = BTreeSet::new();
        for (by, (on, note)) in &self.signed {
            let right = keys.get(by).is_some_and(|key| {
                let note = SignedNote::parse(note.as_bytes());
                note.is_ok_and(|note| {
                    note.text() == self.statement(*on)
                        && note.verify(key).is_ok()
                        && used.insert(key.public_key())
                })
            });
            if !right || *on < self.proposed.1 {
                return Err(Refusal::new(Code::PolSign).about("actor", *by));
            }
        }
        Ok(())
    }

    /// From which day on it may be put in force, as far as waiting goes; none while one of
    /// two people has to sign.
    #[must_use]
    pub fn from(&self, limits: &Limits) -> Option<NaiveDate> {
        if self.shortens.is_empty() {
            return Some(self.proposed.1);
        }
        let on = self.agreed()?;
        on.checked_add_days(Days::new(limits.waiting_days.into()))
    }

    /// The schedules, to be put in force on this day instead of `in_force`.
    ///
    /// # Errors
    /// - [`Code::RetPack`] when others are in force than were simulated;
    /// - [`Code::PolSign`] when it shortens and two people did not sign it, or a signature is none;
    /// - [`Code::RetWait`] when it shortens and the waiting period runs;
    /// - [`Code::RetBrake`] when too large a share of a class, or of all records, would become
    ///   eligible at once: nobody can agree to that, split the revision or find the mistake.
    pub fn activate(
        &self,
        in_force: &Schedules,
        on: NaiveDate,
        limits: &Limits,
        keys: &BTreeMap<ActorId, NoteKey>,
    ) -> Result<Schedules, Refusal> {
        let now: Digest = digest(in_force);
        if now != self.forecast.before {
            return Err(Refusal::new(Code::RetPack).about("flaw", "others-in-force"));
        }
        if digest(&self.schedules) != self.forecast.after {
            return Err(Refusal::new(Code::RetPack).about("flaw", "forecast-of-others"));
        }
        let from = self
            .from(limits)
            .ok_or_else(|| Refusal::new(Code::PolSign).about("shortens", self.shortens.len()))?;
        if on < from {
            return Err(Refusal::new(Code::RetWait).about("from", from));
        }
        self.verify(keys)?;
        self.brake(limits)?;
        Ok(self.schedules.clone())
    }

    fn brake(&self, limits: &Limits) -> Result<(), Refusal> {
        let total = self.forecast.total();
        let all = Label::fixed("all");
        let parts = self.forecast.classes.iter().chain([(&all, &total)]);
        for (class, tally) in parts {
            let newly = tally.newly_eligible.max(tally.newly_destroyable);
            let most = u128::from(tally.records) * u128::from(limits.most_eligible_in_thousand);
            if u128::from(newly) * 1000 > most {
                return Err(Refusal::new(Code::RetBrake)
                    .about("class", class.clone())
                    .about("newly_eligible", newly)
                    .about("of", tally.records));
            }
        }
        Ok(())
    }
}

/// The classes of which it cannot be shown, rule by rule, that `after` keeps at least as long.
fn shortened(before: &Schedules, after: &Schedules) -> BTreeSet<Label> {
    let kept = |class: &Label, old: &Schedule| {
        after.get(class).is_some_and(|new| {
            let weaker = old.rules.iter().any(|rule| {
                let now = new.rules.iter().find(|now| now.id == rule.id);
                !now.is_some_and(|now| keeps_as_long(rule, now))
            });
            let more = new
                .rules
                .iter()
                .filter(|now| old.rules.iter().all(|rule| rule.id != now.id));
            // A new maximum ends something; where there was no minimum, a new one does, too.
            let had_floor = old.rules.iter().any(|rule| rule.floor.is_some());
            !weaker
                && more
                    .into_iter()
                    .all(|now| now.ceiling.is_none() && had_floor)
        })
    };
    let mut found: BTreeSet<_> = before
        .iter()
        .filter(|(class, old)| !kept(class, old))
        .map(|(class, _)| class.clone())
        .collect();
    // A class without a schedule was never destroyed.
    found.extend(
        after
            .keys()
            .filter(|class| !before.contains_key(*class))
            .cloned(),
    );
    found
}

fn keeps_as_long(old: &Rule, new: &Rule) -> bool {
    let floor = match (&old.floor, &new.floor) {
        (None, None) => true,
        (Some(old), Some(new)) => at_least(old, new),
        (None, Some(_)) | (Some(_), None) => false,
    };
    let ceiling = match (&old.ceiling, &new.ceiling) {
        (_, None) => old.floor.is_some() || old.ceiling.is_none(),
        (Some(old), Some(new)) => at_least(old, new),
        (None, Some(_)) => false,
    };
    floor
        && ceiling
        && old.applies == new.applies
        && old.holder == new.holder
        && (old.while_open.is_none() || old.while_open == new.while_open)
        // What nobody may destroy by today would become destroyable.
        && (old.verified || !new.verified)
}

/// Whether every bound of `old` is in `new`, and none shorter.
fn at_least(old: &Term, new: &Term) -> bool {
    let pairs = || old.of.iter().zip(&new.of);
    let same = pairs().all(|(old, new)| {
        old.trigger == new.trigger
            && old.needed_when == new.needed_when
            && old.when_known == new.when_known
            && not_shorter(old.add, new.add)
    });
    let more = match old.op {
        Combine::Max => new.of.len() >= old.of.len(),
        Combine::First | Combine::Min => new.of.len() == old.of.len(),
    };
    old.op == new.op && same && more
}

/// Whether a period is never shorter than another, from whatever day.
fn not_shorter(old: Period, new: Period) -> bool {
    // Four years from each month of one leap cycle see every length a month can have.
    let days = (2023..2027).flat_map(|year| {
        (1..=12).flat_map(move |month| {
            [1, 28, 29, 30, 31]
                .into_iter()
                .filter_map(move |day| NaiveDate::from_ymd_opt(year, month, day))
        })
    });
    days.into_iter().all(|from| {
        match (old.floor_from(from), new.floor_from(from)) {
            (Some(old), Some(new)) => new >= old,
            // Past the end of the calendar is later than everything.
            (_, None) => true,
            (None, Some(_)) => false,
        }
    })
}
