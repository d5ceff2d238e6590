//! What must hold for every schedule: more law never ends anything earlier.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cases;

use chrono::{Days, NaiveDate};
use kta_core::id::HoldId;
use kta_core::retention::{Applies, Combine, Facts, Holder, Outcome, Schedule, evaluate};
use proptest::prelude::*;

use cases::Chance;

/// Since when it is eligible, if it is.
fn since(schedule: &Schedule, facts: &Facts) -> Option<NaiveDate> {
    match evaluate(schedule, facts).ok()?.outcome {
        Outcome::Eligible { since, .. } => Some(since),
        _ => None,
    }
}

fn not_earlier(before: Option<NaiveDate>, after: Option<NaiveDate>) -> bool {
    match (before, after) {
        (_, None) => true,
        (Some(before), Some(after)) => after >= before,
        (None, Some(_)) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_hold_never_permits_destruction(seed: u64) {
        let mut chance = Chance(seed);
        let (schedule, mut facts) = (chance.schedule(), chance.facts());
        facts.holds.push(HoldId::derived(&[b"another"]));
        if let Ok(evaluation) = evaluate(&schedule, &facts) {
            prop_assert!(matches!(evaluation.outcome, Outcome::Held(_)));
            prop_assert!(evaluation.require_eligible().is_err());
        }
    }

    #[test]
    fn one_more_minimum_never_ends_anything_earlier(seed: u64) {
        let mut chance = Chance(seed);
        let (mut schedule, facts) = (chance.schedule(), chance.facts());
        let before = evaluate(&schedule, &facts);
        // Where there was no minimum at all, the maximum alone said when.
        if !before.is_ok_and(|before| before.floor.is_some()) {
            return Ok(());
        }
        let before = since(&schedule, &facts);
        let mut more = chance.rule(99);
        more.ceiling = None;
        schedule.rules.push(more);
        prop_assert!(not_earlier(before, since(&schedule, &facts)));
    }

    #[test]
    fn a_longer_minimum_never_ends_anything_earlier(seed: u64, days in 1_u32..4000) {
        let mut chance = Chance(seed);
        let (mut schedule, facts) = (chance.schedule(), chance.facts());
        let before = since(&schedule, &facts);
        let floors = schedule.rules.iter_mut().filter_map(|rule| rule.floor.as_mut());
        for bound in floors.flat_map(|floor| floor.of.iter_mut()) {
            let (months, own) = parts(&bound.add.to_string());
            bound.add = format!("P{months}M{}D", own + days).parse().unwrap();
        }
        prop_assert!(not_earlier(before, since(&schedule, &facts)));
    }

    #[test]
    fn what_is_eligible_stays_eligible_and_what_is_kept_is_kept_until_its_day(seed: u64, days in 0_u64..3000) {
        let mut chance = Chance(seed);
        let (mut schedule, facts) = (chance.schedule(), chance.facts());
        for rule in &mut schedule.rules {
            // A rule that begins to apply is a change of law, not of time.
            rule.applies.from = None;
        }
        let later = Facts { today: facts.today + Days::new(days), ..facts.clone() };
        let Ok(now) = evaluate(&schedule, &facts) else { return Ok(()) };
        let then = evaluate(&schedule, &later).unwrap();
        match now.outcome {
            Outcome::Eligible { .. } | Outcome::Held(_) | Outcome::OfferTransfer
            | Outcome::NotComputable { .. } | Outcome::Undetermined { .. } => {
                prop_assert_eq!(now.outcome, then.outcome);
            }
            Outcome::Keep { until } | Outcome::KeepRestricted { until, .. } => {
                let kept = matches!(then.outcome, Outcome::Keep { .. } | Outcome::KeepRestricted { .. });
                prop_assert_eq!(kept, later.today < until);
            }
            _ => prop_assert!(false, "an outcome that this test does not know"),
        }
    }

    #[test]
    fn a_day_that_nobody_knows_keeps(seed: u64) {
        let mut chance = Chance(seed);
        let (mut schedule, mut facts) = (chance.schedule(), chance.facts());
        let mut rule = chance.rule(0);
        rule.holder = Holder::Firm;
        rule.applies = Applies::default();
        let Some(floor) = &mut rule.floor else { return Ok(()) };
        floor.op = Combine::Max;
        floor.of[0].when_known = false;
        facts.triggers.remove(&floor.of[0].trigger);
        schedule.rules.push(rule);
        prop_assert_eq!(since(&schedule, &facts), None);
    }

    #[test]
    fn an_unverified_rule_that_applies_never_destroys(seed: u64) {
        let mut chance = Chance(seed);
        let (mut schedule, facts) = (chance.schedule(), chance.facts());
        let mut rule = chance.rule(99);
        rule.applies = Applies::default();
        rule.verified = false;
        schedule.rules.push(rule);
        prop_assert!(evaluate(&schedule, &facts).unwrap().require_eligible().is_err());
    }
}

fn parts(text: &str) -> (u32, u32) {
    let (mut months, mut days, mut count) = (0, 0, 0);
    for letter in text.chars().skip(1) {
        match letter {
            'Y' => months += 12 * core::mem::take(&mut count),
            'M' => months += core::mem::take(&mut count),
            'D' => days += core::mem::take(&mut count),
            digit => count = count * 10 + digit.to_digit(10).unwrap(),
        }
    }
    (months, days)
}
