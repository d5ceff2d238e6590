//! A second opinion on retention: the conflict algorithm written down once more from the domain's
//! text, plainly and slowly, with a calendar of its own that counts day by day. It shares nothing
//! with the evaluation but the form of the input.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cases;

use std::collections::BTreeSet;

use chrono::{Datelike as _, NaiveDate};
use kta_core::Code;
use kta_core::retention::{
    Combine, Evaluation, Facts, Holder, Outcome, Rule, Schedule, Term, evaluate,
};

use cases::Chance;

const CASES: u64 = 100_000;

#[test]
fn a_hundred_thousand_random_cases_agree_with_the_naive_reference() {
    let mut seen = BTreeSet::new();
    for seed in 0..CASES {
        let mut chance = Chance(seed << 20);
        let (schedule, facts) = (chance.schedule(), chance.facts());
        let ours = match evaluate(&schedule, &facts) {
            Ok(evaluation) => told(&evaluation),
            Err(refusal) => {
                assert_eq!(refusal.code(), Code::RetUnclassed);
                "unclassed".to_owned()
            }
        };
        let theirs = naive(&schedule, &facts);
        assert_eq!(ours, theirs, "seed {seed}\n{schedule:#?}\n{facts:#?}");
        seen.insert(theirs.split(' ').next().unwrap().to_owned());
    }
    // The cases reach every answer there is.
    let all = [
        "eligible",
        "held",
        "keep",
        "offer",
        "open",
        "restricted",
        "unclassed",
        "undetermined",
    ];
    assert_eq!(seen, all.map(str::to_owned).into());
}

/// Our answer, as a line.
fn told(evaluation: &Evaluation) -> String {
    let word = match &evaluation.outcome {
        Outcome::Eligible { since, act_by } => format!("eligible {since} {act_by:?}"),
        Outcome::Held(holds) => format!("held {}", holds.len()),
        Outcome::Keep { until } => format!("keep {until}"),
        Outcome::KeepRestricted { until, ceiling } => format!("restricted {until} {ceiling}"),
        Outcome::NotComputable { open } => format!("open {open}"),
        Outcome::OfferTransfer => "offer".to_owned(),
        Outcome::Undetermined { .. } => "undetermined".to_owned(),
        _ => "new".to_owned(),
    };
    let (floor, ceiling) = (evaluation.floor, evaluation.ceiling);
    format!(
        "{word} floor {floor:?} ceiling {ceiling:?} executable {}",
        evaluation.executable
    )
}

/// Section 2.1 of the domain, step by step.
fn naive(schedule: &Schedule, facts: &Facts) -> String {
    // 1. Collect every rule whose predicate matches.
    let mut matching = Vec::new();
    for rule in &schedule.rules {
        let mut matches = rule.applies.any.is_empty();
        for one in &rule.applies.any {
            if facts.nexus.contains(one) {
                matches = true;
            }
        }
        for one in &rule.applies.all {
            if !facts.nexus.contains(one) {
                matches = false;
            }
        }
        for one in &rule.applies.none {
            if facts.nexus.contains(one) {
                matches = false;
            }
        }
        if let Some(from) = rule.applies.from
            && facts.today < from
        {
            matches = false;
        }
        if matches {
            matching.push(rule);
        }
    }
    if matching.is_empty() {
        return "unclassed".to_owned();
    }
    // 4. Which of them bind the firm; whose files went over already.
    let mut floors = Vec::new();
    let mut ceilings = Vec::new();
    let mut open = None;
    let mut unknown = false;
    let mut offer = false;
    for rule in &matching {
        let firms =
            rule.holder == Holder::Firm || (rule.holder == Holder::Employer && facts.custodian);
        if !firms && facts.triggers.contains_key(&Rule::TRANSFERRED) {
            floors.push(facts.triggers[&Rule::TRANSFERRED]);
            continue;
        }
        if let Some(goes_on) = &rule.while_open
            && facts.open.contains(goes_on)
        {
            if open.is_none() {
                open = Some(goes_on.clone());
            }
            continue;
        }
        if !firms {
            offer = true;
        }
        // 3. An unknown trigger of a floor is never "no rule".
        if let Some(floor) = &rule.floor {
            match date_of(floor, facts, true) {
                None => unknown = true,
                Some(date) if firms => floors.push(date),
                Some(_) => {}
            }
        }
        // 5.
        if let Some(ceiling) = &rule.ceiling
            && let Some(date) = date_of(ceiling, facts, false)
        {
            ceilings.push(date);
        }
    }
    let floor = floors.iter().max().copied();
    let ceiling = ceilings.iter().min().copied();
    // 2. holds first; then what is open; then what is unknown; 6. then floor against ceiling.
    let word = if !facts.holds.is_empty() {
        format!("held {}", facts.holds.len())
    } else if let Some(open) = open {
        format!("open {open}")
    } else if unknown {
        "undetermined".to_owned()
    } else if floor.is_some_and(|floor| facts.today < floor) {
        let floor = floor.unwrap();
        match ceiling {
            Some(ceiling) if ceiling < floor => format!("restricted {floor} {ceiling}"),
            _ => format!("keep {floor}"),
        }
    } else if offer {
        "offer".to_owned()
    } else {
        match (floor, ceiling) {
            (Some(floor), _) => format!("eligible {floor} {ceiling:?}"),
            (None, Some(ceiling)) if facts.today < ceiling => format!("keep {ceiling}"),
            (None, Some(_)) => format!("eligible {} {ceiling:?}", ceiling.unwrap()),
            (None, None) => "undetermined".to_owned(),
        }
    };
    let mut executable = true;
    for rule in &matching {
        let fresh = later(rule.reviewed_on, 18, 0, false);
        if !rule.verified || facts.today > fresh {
            executable = false;
        }
    }
    format!("{word} floor {floor:?} ceiling {ceiling:?} executable {executable}")
}

/// The day that a term gives; none where a day that it needs is unknown.
fn date_of(term: &Term, facts: &Facts, up: bool) -> Option<NaiveDate> {
    let mut dates = Vec::new();
    for bound in &term.of {
        let known = facts.triggers.get(&bound.trigger);
        let must = bound
            .needed_when
            .as_ref()
            .is_some_and(|said| facts.nexus.contains(said));
        match known {
            Some(from) => {
                let (months, days) = parts(&bound.add.to_string());
                dates.push(later(*from, months, days, up));
                if term.op == Combine::First {
                    return dates.pop();
                }
            }
            None if must => return None,
            None if term.op == Combine::First || bound.when_known => {}
            None => return None,
        }
    }
    match term.op {
        Combine::Max => dates.into_iter().max(),
        Combine::Min => dates.into_iter().min(),
        Combine::First => None,
    }
}

/// Months and days of an ISO 8601 period, read letter by letter.
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

/// A calendar of its own: months are counted one by one, and so are days.
fn later(from: NaiveDate, months: u32, days: u32, up: bool) -> NaiveDate {
    let (mut year, mut month, mut day) = (from.year(), from.month(), from.day());
    for _ in 0..months {
        month += 1;
        if month > 12 {
            (year, month) = (year + 1, 1);
        }
    }
    if day > length(year, month) {
        if up {
            day = 1;
            month += 1;
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        } else {
            day = length(year, month);
        }
    }
    for _ in 0..days {
        day += 1;
        if day > length(year, month) {
            day = 1;
            month += 1;
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }
    NaiveDate::from_ymd_opt(year, month, day).unwrap()
}

fn length(year: i32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 => 29,
        2 => 28,
        _ => 31,
    }
}
