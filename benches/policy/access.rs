//! How long a decision takes, and whether it is the same.

use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use kta_core::policy::{Policy as _, Verdict};
use kta_policy::CedarPolicy;

use crate::figures::{Figures, Race, quantile, short, sized};
use crate::firm::{Case, Firm, SCHEMA, texts};
use crate::plain::Plain;

/// Against plain Cedar, in a middling firm; then alone, in a large one.
pub(crate) fn measure(figures: &mut Figures) {
    figures.remark("ours is compiled from the Cedar texts and looks every fact up in the directory in each decision, as the gate does; plain Cedar finds its entities resident and its request ready, so only is_authorized over the whole set is timed");
    figures.remark("what is called uncached is asked of the policy itself; a gate keeps decisions for as long as policy and directory are what they were and the clock cannot change them; the permit's entry in the log, which costs far more, is not part of these figures (bench store)");
    against_plain(figures);
    large(figures);
}

fn against_plain(figures: &mut Figures) {
    let firm = Firm::new(4_000, 6_000);
    let (grants, bars) = texts(100);
    let ours = CedarPolicy::new(SCHEMA, &grants, &bars).unwrap();
    let plain = Plain::new(SCHEMA, &grants, &bars, &firm.directory);
    assert_eq!(
        (plain.policies(), plain.entities(), ours.left_to_cedar()),
        (100, 10_000, 0)
    );

    let cases: Vec<_> = firm
        .cases(500, 11)
        .into_iter()
        .filter(|case| !case.is_grave())
        .collect();
    let asked: Vec<_> = cases
        .iter()
        .map(|case| plain.ask(&firm.request(case), true))
        .collect();
    let (mut one, mut other, mut third) = (
        cases.iter().cycle(),
        asked.iter().cycle(),
        cases.iter().cycle(),
    );
    let mut decide = || {
        black_box(ours.decide(&firm.request(one.next().unwrap())));
    };
    let mut whole = || {
        black_box(plain.decide(other.next().unwrap()));
    };
    let mut second = || {
        black_box(ours.decide_by_cedar(&firm.request(third.next().unwrap())));
    };
    let race = Race::run(sized(31, 7), [&mut decide, &mut whole, &mut second]);
    figures.remark(format!(
        "100 policies, 10,000 entities: a decision of ours {:.2} µs, plain Cedar on the whole set {:.1} µs, Cedar with what we index and slice for it {:.1} µs",
        race.seconds(0) * 1e6,
        race.seconds(1) * 1e6,
        race.seconds(2) * 1e6,
    ));
    figures.at_least(
        "100 policies, 10,000 entities: plain Cedar on the whole set ÷ ours",
        race.ratio(1, 0),
        "times as fast",
        4.0,
    );
    drop(asked);
    differing(figures, &firm, &ours, &plain);
}

/// Every decision by both, on both cores.
fn differing(figures: &mut Figures, firm: &Firm, ours: &CedarPolicy, plain: &Plain) {
    let count = sized(1_000_000, 40_000);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (differ, admitted): (usize, usize) = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..cores)
            .map(|part| {
                scope.spawn(move || {
                    let (mut differ, mut admitted) = (0, 0);
                    for case in firm.cases(count / cores, 101 + part as u64) {
                        let request = firm.request(&case);
                        let mine = ours.decide(&request).verdict == Verdict::Permit;
                        differ += usize::from(mine != plain.decide(&plain.ask(&request, false)));
                        admitted += usize::from(mine);
                    }
                    (differ, admitted)
                })
            })
            .collect();
        parts
            .into_iter()
            .map(|part| part.join().unwrap())
            .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    });
    figures.remark(format!("{count} requests by both: {admitted} admitted"));
    figures.at_most(
        &format!("decisions that differ from plain Cedar, of {count}"),
        differ as f64,
        "decisions",
        0.0,
    );
}

fn large(figures: &mut Figures) {
    let (grants, bars) = texts(1_000);
    let policy = Arc::new(CedarPolicy::new(SCHEMA, &grants, &bars).unwrap());
    assert_eq!(policy.left_to_cedar(), 0);
    let small = Firm::new(10_000, 1_000);
    let large = Firm::new(10_000, sized(100_000, 20_000));
    let matters = large.directory.matters.len();
    let ordinary = |firm: &Firm| -> Vec<Case> {
        let cases = firm.cases(60_000, 21).into_iter();
        cases.filter(|case| !case.is_grave()).collect()
    };
    let mut times = times(&large, &policy, &ordinary(&large));
    figures.at_most(
        &format!("10,000 staff, {matters} matters, 1,000 policies: a decision, uncached, p50"),
        quantile(&mut times, 0.5) * 1e6,
        "µs",
        25.0,
    );
    figures.remark(format!(
        "the same, p99: {:.2} µs, with two readings of the clock in it",
        quantile(&mut times, 0.99) * 1e6
    ));

    let (few, many) = (ordinary(&small), ordinary(&large));
    let (mut one, mut other) = (few.iter().cycle(), many.iter().cycle());
    let mut in_small = || {
        black_box(policy.decide(&small.request(one.next().unwrap())));
    };
    let mut in_large = || {
        black_box(policy.decide(&large.request(other.next().unwrap())));
    };
    // One case that is asked again and again, as when somebody reads one matter, of the policy
    // and of a gate that keeps decisions.
    let again = *many
        .iter()
        .find(|case| policy.decide(&large.request(case)).verdict == Verdict::Permit)
        .unwrap();
    let mut repeated = || {
        black_box(policy.decide(&large.request(&again)));
    };
    let gate = large.gate(Arc::clone(&policy) as _);
    let (session, act, scope) = large.question(&gate, &again);
    let mut kept = || {
        let mut asked = pin!(session.explain(act, &scope));
        let answer = asked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        match black_box(answer) {
            Poll::Ready(Ok(all)) => assert!(all[0].verdict == Verdict::Permit),
            _ => panic!("no hold is read for this act"),
        }
    };
    let race = Race::run(
        sized(31, 7),
        [&mut in_small, &mut in_large, &mut repeated, &mut kept],
    );
    figures.at_most(
        &format!("a decision among {matters} matters ÷ among 1,000, directory look-up in it"),
        race.ratio(1, 0),
        "times as long",
        2.0,
    );
    figures.at_most(
        "a decision that a gate gives again, by its session, admitted",
        race.seconds(3) * 1e6,
        "µs",
        1.0,
    );
    figures.remark(format!(
        "the same asked of the policy again, which keeps nothing: {:.2} µs; exports, destructions and emergencies are never kept",
        race.seconds(2) * 1e6
    ));

    let graves: Vec<_> = large
        .cases(4_000, 31)
        .into_iter()
        .filter(Case::is_grave)
        .collect();
    let mut graves = self::times(&large, &policy, &graves);
    figures.at_most(
        "exports, destructions and emergencies, decided by both engines, p50",
        quantile(&mut graves, 0.5) * 1e6,
        "µs",
        1_000.0,
    );
    if short() {
        figures.remark("the large firm has a fifth of its matters in a short run");
    }
}

/// Seconds of each decision.
fn times(firm: &Firm, policy: &CedarPolicy, cases: &[Case]) -> Vec<f64> {
    let one = |case: &Case| {
        let start = Instant::now();
        black_box(policy.decide(&firm.request(case)));
        start.elapsed().as_secs_f64()
    };
    cases.iter().map(one).collect()
}
