//! That each rule of evaluation gives what the domain's tables say.

use super::*;
use crate::id::Digest;
use crate::retention::{Applies, Bound};

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

fn rule(id: &str, floor: Option<Term>, ceiling: Option<Term>) -> Rule {
    Rule {
        id: label(id),
        applies: Applies::default(),
        holder: Holder::Firm,
        floor,
        ceiling,
        while_open: None,
        citation: "test".into(),
        source: "test".into(),
        reviewed_on: day("2026-11-22"),
        verified: true,
        pack: PackRef {
            id: label("test"),
            version: label("1"),
            digest: Digest::of(b"test"),
        },
    }
}

fn term(op: Combine, of: &[(&str, &str, bool)]) -> Term {
    let bound = |(trigger, add, when_known): &(&str, &str, bool)| Bound {
        trigger: label(trigger),
        add: add.parse().unwrap(),
        when_known: *when_known,
        needed_when: None,
    };
    Term {
        op,
        of: of.iter().map(bound).collect(),
    }
}

fn facts(today: &str, triggers: &[(&str, &str)]) -> Facts {
    Facts {
        today: day(today),
        triggers: triggers
            .iter()
            .map(|(name, date)| (label(name), day(date)))
            .collect(),
        open: BTreeSet::new(),
        nexus: BTreeSet::new(),
        holds: Vec::new(),
        custodian: true,
    }
}

fn i9() -> Schedule {
    let floor = term(
        Combine::Max,
        &[
            ("hire_date", "P3Y", false),
            ("employment_end", "P1Y", false),
        ],
    );
    let mut rule = rule("us.i9", Some(floor), None);
    rule.while_open = Some(label("employment"));
    Schedule {
        class: label("EMPLOYER_RECORD.I9"),
        rules: vec![rule],
    }
}

#[test]
fn i9_vectors_of_the_domain_table() {
    for (hire, end, expected) in [
        ("2020-01-01", "2021-12-31", "2023-01-01"),
        ("2015-01-01", "2021-12-31", "2022-12-31"),
        ("2020-02-29", "2021-02-28", "2023-03-01"),
        ("2024-02-29", "2028-02-29", "2029-03-01"),
        ("2022-06-15", "2024-06-15", "2025-06-15"),
    ] {
        let facts = facts(
            "2019-01-01",
            &[("hire_date", hire), ("employment_end", end)],
        );
        assert_eq!(
            evaluate(&i9(), &facts).unwrap().floor,
            Some(day(expected)),
            "{hire} {end}"
        );
    }
}

#[test]
fn still_employed_is_not_computable() {
    let mut facts = facts("2026-01-01", &[("hire_date", "2020-01-01")]);
    facts.open.insert(label("employment"));
    let outcome = evaluate(&i9(), &facts).unwrap().outcome;
    assert_eq!(
        outcome,
        Outcome::NotComputable {
            open: label("employment")
        }
    );
}

#[test]
fn a_hold_beats_everything() {
    let mut facts = facts(
        "2040-01-01",
        &[
            ("hire_date", "2020-01-01"),
            ("employment_end", "2021-01-01"),
        ],
    );
    let hold = HoldId::derived(&[b"hold"]);
    facts.holds.push(hold);
    let evaluation = evaluate(&i9(), &facts).unwrap();
    assert_eq!(evaluation.outcome, Outcome::Held(vec![hold]));
    assert_eq!(
        evaluation.require_eligible().unwrap_err().code(),
        Code::DstHold
    );
}

#[test]
fn an_unknown_trigger_keeps() {
    let facts = facts("2040-01-01", &[("hire_date", "2020-01-01")]);
    let evaluation = evaluate(&i9(), &facts).unwrap();
    assert_eq!(
        evaluation.outcome,
        Outcome::Undetermined {
            trigger: label("employment_end")
        }
    );
    assert_eq!(
        evaluation.require_eligible().unwrap_err().code(),
        Code::RetNoTrigger
    );
}

#[test]
fn a_minors_file_is_kept_seven_years_from_majority() {
    let floor = term(
        Combine::Max,
        &[("matter_closed", "P7Y", false), ("majority", "P7Y", true)],
    );
    let schedule = Schedule {
        class: label("CASE.FILE"),
        rules: vec![rule("il.claims", Some(floor), None)],
    };
    let minor = facts(
        "2026-01-02",
        &[("matter_closed", "2026-01-01"), ("majority", "2033-05-10")],
    );
    assert_eq!(
        evaluate(&schedule, &minor).unwrap().outcome,
        Outcome::Keep {
            until: day("2040-05-10")
        }
    );
    let adult = facts("2026-01-02", &[("matter_closed", "2026-01-01")]);
    assert_eq!(
        evaluate(&schedule, &adult).unwrap().outcome,
        Outcome::Keep {
            until: day("2033-01-01")
        }
    );
}

#[test]
fn the_first_known_trigger_counts_where_the_law_says_so() {
    let floor = term(
        Combine::First,
        &[
            ("last_h1b_employment", "P1Y", false),
            ("lca_end", "P1Y", false),
        ],
    );
    let schedule = Schedule {
        class: label("PAF"),
        rules: vec![rule("us.paf", Some(floor), None)],
    };
    let never = facts("2020-01-01", &[("lca_end", "2025-06-30")]);
    assert_eq!(
        evaluate(&schedule, &never).unwrap().floor,
        Some(day("2026-06-30"))
    );
    let worked = facts(
        "2020-01-01",
        &[
            ("lca_end", "2025-06-30"),
            ("last_h1b_employment", "2025-09-15"),
        ],
    );
    assert_eq!(
        evaluate(&schedule, &worked).unwrap().floor,
        Some(day("2026-09-15"))
    );
}

#[test]
fn a_floor_past_the_ceiling_restricts_instead_of_destroying() {
    let floor = rule(
        "il.claims",
        Some(term(Combine::Max, &[("matter_closed", "P7Y", false)])),
        None,
    );
    let ceiling = rule(
        "eu.storage",
        None,
        Some(term(Combine::Min, &[("matter_closed", "P0D", false)])),
    );
    let schedule = Schedule {
        class: label("CASE.FILE"),
        rules: vec![ceiling, floor],
    };
    let evaluation = evaluate(
        &schedule,
        &facts("2027-01-01", &[("matter_closed", "2026-01-01")]),
    )
    .unwrap();
    let expected = Outcome::KeepRestricted {
        until: day("2033-01-01"),
        ceiling: day("2026-01-01"),
    };
    assert_eq!(evaluation.outcome, expected);
    assert_eq!(
        evaluation.require_eligible().unwrap_err().code(),
        Code::RetConflict
    );
}

#[test]
fn an_unverified_or_stale_rule_never_destroys() {
    let term = || Some(term(Combine::Max, &[("matter_closed", "P7Y", false)]));
    let late = facts("2034-01-01", &[("matter_closed", "2026-01-01")]);
    let mut unverified = rule("x", term(), None);
    unverified.verified = false;
    unverified.reviewed_on = day("2033-12-01");
    let schedule = Schedule {
        class: label("CASE.FILE"),
        rules: vec![unverified],
    };
    assert_eq!(
        evaluate(&schedule, &late)
            .unwrap()
            .require_eligible()
            .unwrap_err()
            .code(),
        Code::RetPack
    );
    let stale = Schedule {
        class: label("CASE.FILE"),
        rules: vec![rule("x", term(), None)],
    };
    assert_eq!(
        evaluate(&stale, &late)
            .unwrap()
            .require_eligible()
            .unwrap_err()
            .code(),
        Code::RetPack
    );
}

#[test]
fn no_rule_is_no_permission() {
    let schedule = Schedule {
        class: label("X"),
        rules: Vec::new(),
    };
    assert_eq!(
        evaluate(&schedule, &facts("2034-01-01", &[]))
            .unwrap_err()
            .code(),
        Code::RetUnclassed
    );
}
