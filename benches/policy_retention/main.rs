//! Retention at the size of a large firm: how many records a second are judged, and how long a
//! change of the rules is simulated over all of them.
//!
//! ```text
//! cargo bench --bench policy_retention
//! KTA_BENCH=short cargo bench --bench policy_retention      under half a minute
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    dead_code,
    reason = "a bench that cannot go on stops, and it speaks; it uses a part of the figures"
)]

#[path = "../figures/mod.rs"]
#[allow(dead_code, reason = "other benches use the rest")]
mod figures;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use chrono::{Days, NaiveDate};
use figures::{Figures, Race, median, sized};
use kta_core::audit::Label;
use kta_core::id::HoldId;
use kta_core::retention::{Facts, Outcome, evaluate, judge};
use kta_policy::{Case, Pack, SHIPPED, Schedules, forecast, simulate};

fn main() -> std::io::Result<()> {
    let mut figures = Figures::new("policy_retention");
    figures.remark(
        "all nine packs, 18 classes; every evaluation gives the whole proof, not a yes or no",
    );
    figures.remark("the facts are at hand: reading a million records from a store, or opening birth dates, is not in these figures");
    let (before, after) = (schedules("P7Y"), schedules("P10Y"));
    evaluation(&mut figures, &before);
    throughput(&mut figures, &before);
    simulation(&mut figures, &before, &after);
    figures.write()
}

/// One evaluation, beside the least that any implementation has to do: one date and one
/// comparison.
fn evaluation(figures: &mut Figures, schedules: &Schedules) {
    let case = cases(1).next().unwrap();
    let schedule = &schedules[&Label::fixed("CASE.FILE")];
    let closed = case.facts.triggers[&Label::fixed("matter_closed")];
    let seven = "P7Y".parse::<kta_core::retention::Period>().unwrap();
    let race = Race::run(
        sized(51, 11),
        [
            &mut || drop(black_box(evaluate(schedule, black_box(&case.facts)))),
            &mut || {
                black_box(seven.floor_from(black_box(closed)));
            },
        ],
    );
    figures.at_most(
        "one explained evaluation of a case file",
        race.seconds(0) * 1e9,
        "ns",
        1000.0,
    );
    figures.remark(format!(
        "a single date of that calendar takes {:.0} ns: the proof is {:.0} times that",
        race.seconds(1) * 1e9,
        race.ratio(0, 1)
    ));
}

/// A million records in memory, judged by two threads.
fn throughput(figures: &mut Figures, schedules: &Schedules) {
    let records = sized(1_000_000, 200_000);
    let population: Vec<_> = cases(records).collect();
    let halves = population.chunks(population.len().div_ceil(2));
    let rate = |outcome: &(dyn Fn(&Case) -> Outcome + Sync)| {
        let start = Instant::now();
        let kept: usize = thread::scope(|scope| {
            let count = move |part: &[Case]| {
                let kept = part
                    .iter()
                    .filter(|case| !matches!(outcome(case), Outcome::Eligible { .. }));
                kept.count()
            };
            let threads: Vec<_> = halves
                .clone()
                .map(|part| scope.spawn(move || count(part)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert!(kept > 0 && kept < population.len());
        population.len() as f64 / start.elapsed().as_secs_f64() / 1e6
    };
    let of = |case: &Case| &schedules[&case.class];
    let (mut judged, mut explained) = (Vec::new(), Vec::new());
    for _ in 0..sized(7, 3) {
        judged.push(rate(&|case| judge(of(case), &case.facts).unwrap().outcome));
        explained.push(rate(&|case| {
            evaluate(of(case), &case.facts).unwrap().outcome
        }));
    }
    figures.at_least(
        "evaluations on two threads",
        median(judged),
        "million a second",
        1.0,
    );
    figures.remark(format!(
        "by the same algorithm with the whole proof written down: {:.3} million a second",
        median(explained)
    ));
}

/// The same number streamed through a simulation of other rules, with progress.
fn simulation(figures: &mut Figures, before: &Schedules, after: &Schedules) {
    let records = sized(1_000_000, 200_000);
    let (mut heard, mut longest) = (Vec::new(), Vec::new());
    let seconds = (0..sized(5, 3)).map(|_| {
        let (start, mut told) = (Instant::now(), Vec::new());
        let done = forecast(before, after, today(), cases(records), |_| {
            told.push(start.elapsed());
            ControlFlow::Continue(())
        });
        let took = start.elapsed().as_secs_f64();
        assert_eq!(done.unwrap().records(), records);
        let gaps = told.windows(2).map(|pair| pair[1] - pair[0]);
        longest.push(gaps.max().unwrap_or(Duration::ZERO).as_secs_f64());
        heard.push(told.len() as f64);
        took * 1e6 / records as f64
    });
    let seconds: Vec<_> = seconds.collect();
    let took = median(seconds);
    figures.at_most(
        "simulation of a change over a million records",
        took,
        "s",
        5.0,
    );
    figures.at_most(
        "longest silence between two words of progress",
        median(longest) * 1e3,
        "ms",
        250.0,
    );
    figures.remark(format!(
        "the simulation judges twice where the rules differ and makes its invented records as it goes, one at a time; {} words of progress; a short run simulates a fifth and multiplies",
        median(heard)
    ));
}

fn schedules(claims: &str) -> Schedules {
    let parse = |(_, text): &(&str, &str)| {
        let closed = "trigger = \"matter_closed\", add = ";
        Pack::parse(&text.replace(
            &format!("{closed}\"P7Y\""),
            &format!("{closed}\"{claims}\""),
        ))
        .unwrap()
    };
    let packs: Vec<_> = SHIPPED.iter().map(parse).collect();
    simulate(&packs, today()).unwrap()
}

fn today() -> NaiveDate {
    "2026-11-22".parse().unwrap()
}

/// Invented records: nine in ten are case files, by the rules of two countries.
fn cases(records: u64) -> impl Iterator<Item = Case> {
    let today = today();
    let labels = |words: &[&'static str]| -> BTreeSet<Label> {
        words.iter().map(|word| Label::fixed(word)).collect()
    };
    let (home, europe) = (labels(&["IL", "US"]), labels(&["IL", "US", "GDPR"]));
    let mut state = 7_u64;
    (0..records).map(move |number| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let closed = today - Days::new((state >> 33) % 5000);
        let (class, trigger) = if number % 10 == 9 {
            (
                Label::fixed("EMPLOYER_RECORD.PERM"),
                Label::fixed("filing_date"),
            )
        } else {
            (Label::fixed("CASE.FILE"), Label::fixed("matter_closed"))
        };
        let mut triggers = std::collections::BTreeMap::from([(trigger, closed)]);
        if number % 4 == 0 {
            triggers.insert(Label::fixed("purpose_end"), closed);
        }
        if number % 5 == 0 {
            triggers.insert(Label::fixed("majority"), closed + Days::new(2000));
        }
        Case {
            class,
            facts: Facts {
                today,
                triggers,
                open: BTreeSet::new(),
                nexus: if number % 4 == 0 {
                    europe.clone()
                } else {
                    home.clone()
                },
                holds: if number % 100 == 50 {
                    vec![HoldId::derived(&[b"hold"])]
                } else {
                    Vec::new()
                },
                custodian: true,
            },
        }
    })
}
