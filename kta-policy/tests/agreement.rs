//! The shipped policy and the plain-Rust reference answer every request alike.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod requests;

use std::collections::BTreeSet;

use kta_core::memory::RulesPolicy;
use kta_core::policy::{Policy, Verdict};
use kta_policy::CedarPolicy;
use requests::{Case, Dice, person_actor};

const REQUESTS: usize = 100_000;

#[test]
fn a_hundred_thousand_random_requests_are_answered_alike() {
    let cedar = CedarPolicy::shipped().unwrap();
    let rules = RulesPolicy::new();
    let mut dice = Dice::new(7);
    let mut admitted = 0;
    let mut codes = BTreeSet::new();
    for number in 0..REQUESTS {
        let case = Case::draw(&mut dice);
        let request = case.request();
        let (ours, reference) = (cedar.decide(&request), rules.decide(&request));
        // Cedar's own evaluator is asked one time in five: it takes most of this test.
        if number % 5 == 0 {
            assert_eq!(ours, cedar.decide_by_cedar(&request), "request {number}");
        }
        assert_eq!(
            ours.verdict, reference.verdict,
            "request {number}: {request:?}"
        );
        assert_eq!(ours.obligations, reference.obligations, "request {number}");
        let ids = |decision: &kta_core::policy::Decision| {
            decision
                .reasons
                .iter()
                .map(|reason| reason.rule.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&ours), ids(&reference), "request {number}");
        match ours.verdict {
            Verdict::Permit => admitted += 1,
            Verdict::Deny(code) => drop(codes.insert(code)),
        }
    }
    // The draw must reach both answers and every code, or the agreement says little.
    assert!(admitted > REQUESTS / 200, "{admitted} admitted");
    assert_eq!(codes.len(), 8, "{codes:?}");
}

#[test]
fn adding_a_wall_never_increases_anybodys_access() {
    let cedar = CedarPolicy::shipped().unwrap();
    let mut dice = Dice::new(11);
    for _ in 0..5_000 {
        let mut case = Case::draw(&mut dice);
        let before = cedar.decide(&case.request()).verdict;
        if let Some(matter) = &mut case.matter {
            matter.walled.insert(person_actor(dice.below(6)));
        }
        let after = cedar.decide(&case.request()).verdict;
        assert!(before == Verdict::Permit || after != Verdict::Permit);
    }
}

#[test]
fn a_policy_that_does_not_validate_is_not_loaded() {
    let schema = include_str!("../policies/schema.cedarschema");
    let grants = include_str!("../policies/grants.cedar");
    let bars = include_str!("../policies/bars.cedar");
    assert!(CedarPolicy::new(schema, grants, bars).is_ok());
    for (schema, grants, bars) in [
        ("garbage", grants, bars),
        (schema, "garbage", bars),
        (
            schema,
            grants,
            "forbid(principal, action, resource) when { principal.unknown };",
        ),
        (schema, grants, "forbid(principal, action, resource);"),
        (schema, bars, bars),
        (schema, grants, grants),
        // An attribute that may be absent, asked for without `has`: an error at run time.
        (
            schema,
            grants,
            "@id(\"x\")@order(\"1\")@code(\"ACL-DENY\")@text(\"x\")forbid(principal, action, resource) when { principal.trained_until < 1 };",
        ),
    ] {
        let fault = CedarPolicy::new(schema, grants, bars).unwrap_err();
        assert!(fault.fault().is_some(), "{fault}");
    }
}
