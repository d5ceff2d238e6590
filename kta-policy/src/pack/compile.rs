//! Packs into schedules: one for each class, every rule with the pack it stands in.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Months, NaiveDate};
use kta_core::audit::Label;
use kta_core::retention::{Applies, Rule, Schedule};
use kta_core::{Code, Refusal};

use super::{Pack, Retention, SignedPack};

/// Compiles signed packs into one schedule for each class: a table that a lawyer can read.
///
/// # Errors
/// [`Code::RetPack`] when two packs have a row of the same id, a pack is not yet in force, or
/// there are more than ten thousand rules over all classes.
pub fn compile(
    packs: &[SignedPack],
    today: NaiveDate,
) -> Result<BTreeMap<Label, Schedule>, Refusal> {
    compile_rows(packs.iter().map(SignedPack::pack), today, true)
}

/// Compiles packs without signatures, to simulate what they would do. Every rule of the result
/// is unverified, so that nothing can be destroyed on it.
///
/// # Errors
/// As [`compile`].
pub fn simulate(packs: &[Pack], today: NaiveDate) -> Result<BTreeMap<Label, Schedule>, Refusal> {
    compile_rows(packs.iter(), today, false)
}

fn compile_rows<'p>(
    packs: impl Iterator<Item = &'p Pack> + Clone,
    today: NaiveDate,
    signed: bool,
) -> Result<BTreeMap<Label, Schedule>, Refusal> {
    let mut ids = BTreeSet::new();
    let mut classes = BTreeSet::new();
    for pack in packs.clone() {
        let about = |what: &'static str| {
            Refusal::new(Code::RetPack)
                .about("pack", pack.reference().id.clone())
                .about("flaw", what)
        };
        if pack.in_force_from() > today {
            return Err(about("not-in-force"));
        }
        for row in pack.rows() {
            if !ids.insert(row.id) {
                return Err(about("row-in-two-packs").about("row", row.id.clone()));
            }
        }
        let named = pack.retention().iter().flat_map(|row| &row.class);
        // What ends in a star is a pattern, and no label.
        classes.extend(named.filter_map(|class| Label::new(class.as_str()).ok()));
    }
    // Counted before anything is copied: each rule goes into every class it speaks of.
    let mut rules = 0_usize;
    for row in packs.clone().flat_map(|pack| pack.retention()) {
        rules += if row.is_wide() {
            classes.len()
        } else {
            row.class.len()
        };
    }
    if rules > MOST_RULES {
        let refusal = Refusal::new(Code::RetPack).about("flaw", "too-many-rules");
        return Err(refusal.about("rules", rules));
    }
    let schedule = |class: Label| {
        let rows = packs
            .clone()
            .flat_map(|pack| pack.retention().iter().map(move |row| (pack, row)));
        let mut rules: Vec<_> = rows
            .filter(|(_, row)| row.covers(&class))
            .map(|(pack, row)| rule(pack, row, signed))
            .collect();
        rules.sort_by(|one, other| one.id.cmp(&other.id));
        (class.clone(), Schedule { class, rules })
    };
    Ok(classes.into_iter().map(schedule).collect())
}

/// More rules than this, over all classes, nobody reads.
const MOST_RULES: usize = 10_000;

fn rule(pack: &Pack, row: &Retention, signed: bool) -> Rule {
    Rule {
        id: row.id.clone(),
        applies: Applies {
            any: row.nexus.clone(),
            all: row.when.clone(),
            none: row.unless.clone(),
            from: row.applies_from,
        },
        holder: row.duty_holder,
        floor: row.floor.clone(),
        ceiling: row.ceiling.clone(),
        while_open: row.while_open.clone(),
        citation: row.citation.clone(),
        source: row.source.clone(),
        reviewed_on: row.reviewed_on,
        verified: row.verified && signed,
        pack: pack.reference().clone(),
    }
}

/// The rules that were last read more than twelve months before `today`.
#[must_use]
pub fn overdue(schedules: &BTreeMap<Label, Schedule>, today: NaiveDate) -> Vec<Label> {
    let stale = |rule: &&Rule| {
        rule.reviewed_on
            .checked_add_months(Months::new(12))
            .is_none_or(|until| until < today)
    };
    let rules = schedules.values().flat_map(|schedule| &schedule.rules);
    let overdue: BTreeSet<_> = rules.filter(stale).map(|rule| &rule.id).collect();
    overdue.into_iter().cloned().collect()
}
