//! The retention vectors of the domain (section 2.3), by the packs that ship.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use kta_core::Code;
use kta_core::audit::Label;
use kta_core::id::HoldId;
use kta_core::retention::{Evaluation, Facts, Outcome, Period, Schedule, evaluate};
use kta_policy::{Pack, SHIPPED, Words, simulate};

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

fn schedules() -> BTreeMap<Label, Schedule> {
    let packs: Vec<_> = SHIPPED
        .iter()
        .map(|(_, text)| Pack::parse(text).unwrap())
        .collect();
    simulate(&packs, day("2026-11-22")).unwrap()
}

fn facts(today: &str, said: &[&str], triggers: &[(&str, &str)]) -> Facts {
    Facts {
        today: day(today),
        triggers: triggers
            .iter()
            .map(|(name, date)| (label(name), day(date)))
            .collect(),
        open: BTreeSet::new(),
        nexus: said.iter().map(|said| label(said)).collect(),
        holds: Vec::new(),
        custodian: true,
    }
}

fn of(class: &str, facts: &Facts) -> Evaluation {
    evaluate(&schedules()[&label(class)], facts).unwrap()
}

const I9: &str = "EMPLOYER_RECORD.I9";

fn i9(hire: &str, end: &str) -> Facts {
    facts(
        "2019-01-01",
        &["US"],
        &[("hire_date", hire), ("employment_end", end)],
    )
}

#[test]
fn vectors_1_to_5_an_i9_is_kept_to_the_later_of_three_years_from_hire_and_one_from_the_end() {
    for (hire, end, until) in [
        ("2020-01-01", "2021-12-31", "2023-01-01"),
        ("2015-01-01", "2021-12-31", "2022-12-31"),
        ("2020-02-29", "2021-02-28", "2023-03-01"),
        ("2024-02-29", "2028-02-29", "2029-03-01"),
        ("2022-06-15", "2024-06-15", "2025-06-15"),
    ] {
        let evaluation = of(I9, &i9(hire, end));
        assert_eq!(
            evaluation.outcome,
            Outcome::Keep { until: day(until) },
            "{hire} {end}"
        );
    }
}

#[test]
fn vector_6_nothing_is_computed_while_employed() {
    let mut facts = facts("2030-01-01", &["US"], &[("hire_date", "2020-01-01")]);
    facts.open.insert(label("employment"));
    let open = label("employment");
    assert_eq!(of(I9, &facts).outcome, Outcome::NotComputable { open });
}

#[test]
fn vector_7_a_perm_file_rounds_up_over_a_missing_leap_day() {
    let facts = facts("2024-03-01", &["US"], &[("filing_date", "2024-02-29")]);
    let until = day("2029-03-01");
    assert_eq!(
        of("EMPLOYER_RECORD.PERM", &facts).outcome,
        Outcome::Keep { until }
    );
}

#[test]
fn vector_8_a_minors_file_is_kept_seven_years_from_majority() {
    let known = [("matter_closed", "2026-01-01"), ("majority", "2033-05-10")];
    let minor = facts("2026-01-02", &["IL", "party.child"], &known);
    let until = day("2040-05-10");
    assert_eq!(of("CASE.FILE", &minor).outcome, Outcome::Keep { until });
    let adult = facts("2026-01-02", &["IL"], &known[..1]);
    let until = day("2033-01-01");
    assert_eq!(of("CASE.FILE", &adult).outcome, Outcome::Keep { until });
}

#[test]
fn a_child_whose_majority_nobody_knows_is_kept_not_taken_for_an_adult() {
    let child = facts(
        "2050-01-01",
        &["IL", "party.child"],
        &[("matter_closed", "2026-01-01")],
    );
    let trigger = label("majority");
    assert_eq!(
        of("CASE.FILE", &child).outcome,
        Outcome::Undetermined { trigger }
    );
}

#[test]
fn vector_9_a_public_access_file_runs_from_the_last_worker_else_from_the_applications_end() {
    for (triggers, until) in [
        (vec![("lca_end", "2025-06-30")], "2026-06-30"),
        (
            vec![
                ("lca_end", "2025-06-30"),
                ("last_h1b_employment", "2025-09-15"),
            ],
            "2026-09-15",
        ),
    ] {
        let facts = facts("2025-10-01", &["US"], &triggers);
        let until = day(until);
        assert_eq!(
            of("PUBLIC_FILE.LCA", &facts).outcome,
            Outcome::Keep { until }
        );
    }
}

#[test]
fn vector_10_a_hold_beats_every_vector_above() {
    let hold = HoldId::derived(&[b"a hold"]);
    let cases = [
        (I9, i9("2020-01-01", "2021-12-31")),
        (I9, facts("2099-01-01", &["US"], &[])),
        (
            "EMPLOYER_RECORD.PERM",
            facts("2099-01-01", &["US"], &[("filing_date", "2024-02-29")]),
        ),
        (
            "CASE.FILE",
            facts("2099-01-01", &["IL"], &[("matter_closed", "2026-01-01")]),
        ),
        (
            "PUBLIC_FILE.LCA",
            facts("2099-01-01", &["US"], &[("lca_end", "2025-06-30")]),
        ),
    ];
    for (class, mut facts) in cases {
        facts.holds.push(hold);
        let evaluation = of(class, &facts);
        assert_eq!(evaluation.outcome, Outcome::Held(vec![hold]), "{class}");
        assert_eq!(
            evaluation.require_eligible().unwrap_err().code(),
            Code::DstHold
        );
    }
}

#[test]
fn vector_11_a_floor_past_the_ceiling_keeps_restricted_and_records_the_conflict() {
    let known = [
        ("matter_closed", "2026-01-01"),
        ("purpose_end", "2026-01-01"),
    ];
    let facts = facts("2026-11-22", &["IL", "GDPR"], &known);
    let evaluation = of("CASE.FILE", &facts);
    let expected = Outcome::KeepRestricted {
        until: day("2033-01-01"),
        ceiling: day("2026-01-01"),
    };
    assert_eq!(evaluation.outcome, expected);
    assert_eq!(
        evaluation.require_eligible().unwrap_err().code(),
        Code::RetConflict
    );
    let proof: BTreeSet<_> = evaluation
        .steps
        .iter()
        .map(|step| step.rule.to_string())
        .collect();
    assert!(proof.contains("il.claims") && proof.contains("eu.storage"));
}

#[test]
fn vector_12_the_hold_library_and_the_second_bin_end_130_days_later() {
    let [library, bin]: [Period; 2] = ["P37D", "P93D"].map(|text| text.parse().unwrap());
    let cleaned = library.floor_from(day("2026-01-01")).unwrap();
    assert_eq!(bin.floor_from(cleaned), Some(day("2026-05-11")));
}

#[test]
fn vector_13_the_recycle_bin_and_three_months_of_backups_end_150_days_later() {
    let [bin, backups]: [Period; 2] = ["P60D", "P90D"].map(|text| text.parse().unwrap());
    let emptied = bin.floor_from(day("2026-01-01")).unwrap();
    assert_eq!(backups.floor_from(emptied), Some(day("2026-05-31")));
}

#[test]
fn a_duty_of_the_employer_is_offered_first_and_free_once_the_files_went_over() {
    let mut facts = i9("2020-01-01", "2021-12-31");
    facts.today = day("2026-01-01");
    facts.custodian = false;
    let evaluation = of(I9, &facts);
    assert_eq!(evaluation.outcome, Outcome::OfferTransfer);
    assert_eq!(
        evaluation.require_eligible().unwrap_err().code(),
        Code::DspOriginal
    );
    facts
        .triggers
        .insert(label("transferred"), day("2025-03-01"));
    let since = day("2025-03-01");
    assert_eq!(
        of(I9, &facts).outcome,
        Outcome::Eligible {
            since,
            act_by: None
        }
    );
}

#[test]
fn an_original_of_the_client_is_returned_whoever_is_custodian_and_whatever_the_purpose() {
    for custodian in [false, true] {
        let mut facts = facts(
            "2090-01-01",
            &["US", "IL", "GDPR"],
            &[("purpose_end", "2026-01-01")],
        );
        facts.custodian = custodian;
        assert_eq!(
            of("CLIENT.ORIGINAL", &facts).outcome,
            Outcome::OfferTransfer
        );
    }
}

#[test]
fn commingled_data_is_covered_since_2025_whoever_gave_it() {
    let known = [
        ("matter_closed", "2010-01-01"),
        ("purpose_end", "2024-06-30"),
    ];
    let ceiling = |today, said: &[&str]| of("CASE.FILE", &facts(today, said, &known)).ceiling;
    let ended = Some(day("2024-06-30"));
    assert_eq!(ceiling("2024-12-31", &["IL", "eea_commingled"]), None);
    assert_eq!(ceiling("2025-01-01", &["IL", "eea_commingled"]), ended);
    assert_eq!(
        ceiling("2025-01-01", &["IL", "eea_commingled", "given_by_subject"]),
        ended
    );
    assert_eq!(ceiling("2024-12-31", &["IL", "eea_received"]), ended);
    assert_eq!(
        ceiling("2025-01-01", &["IL", "eea_received", "given_by_subject"]),
        None
    );
}

#[test]
fn a_statutory_hold_keeps_until_the_proceeding_is_completed() {
    let mut facts = facts(
        "2026-11-22",
        &["US", "enforcement_action"],
        &[("lca_end", "2020-01-01")],
    );
    facts.open.insert(label("enforcement"));
    let open = label("enforcement");
    assert_eq!(
        of("PUBLIC_FILE.LCA", &facts).outcome,
        Outcome::NotComputable { open }
    );
    facts.open.clear();
    let trigger = label("enforcement_closed");
    assert_eq!(
        of("PUBLIC_FILE.LCA", &facts).outcome,
        Outcome::Undetermined { trigger }
    );
    facts
        .triggers
        .insert(label("enforcement_closed"), day("2026-10-01"));
    let since = day("2026-10-01");
    assert_eq!(
        of("PUBLIC_FILE.LCA", &facts).outcome,
        Outcome::Eligible {
            since,
            act_by: None
        }
    );
}

#[test]
fn trust_records_follow_the_state_that_keeps_longest() {
    let known = [("representation_end", "2026-01-01")];
    for (said, until) in [
        (vec!["US"], "2031-01-01"),
        (vec!["US", "US-FL"], "2032-01-01"),
        (vec!["US", "US-FL", "US-NV"], "2033-01-01"),
    ] {
        let until = day(until);
        let facts = facts("2026-02-01", &said, &known);
        assert_eq!(
            of("FIRM_RECORD.TRUST", &facts).outcome,
            Outcome::Keep { until }
        );
    }
}

#[test]
fn a_maximum_alone_keeps_to_its_day_and_no_longer() {
    let known = [("last_contact", "2026-01-31")];
    let outcome = |today| of("CASE.PROSPECT", &facts(today, &[], &known)).outcome;
    let until = day("2027-01-31");
    assert_eq!(outcome("2027-01-30"), Outcome::Keep { until });
    assert_eq!(
        outcome("2027-01-31"),
        Outcome::Eligible {
            since: until,
            act_by: Some(until)
        }
    );
}

#[test]
fn a_decision_is_explained_in_words_with_every_rule_that_made_it() {
    let packs: Vec<_> = SHIPPED
        .iter()
        .map(|(_, text)| Pack::parse(text).unwrap())
        .collect();
    let words = Words::of(&packs.iter().collect::<Vec<_>>());
    let known = [
        ("matter_closed", "2026-01-01"),
        ("purpose_end", "2026-01-01"),
    ];
    let schedule = &schedules()[&label("CASE.FILE")];
    let evaluation = evaluate(schedule, &facts("2026-11-22", &["IL", "GDPR"], &known)).unwrap();
    let said = words.explain(schedule, &evaluation);
    assert_eq!(
        said.last().unwrap(),
        "Kept until 2033-01-01, sealed from ordinary use since 2026-01-01; the privacy officer signs off."
    );
    for step in &evaluation.steps {
        assert!(
            said.iter().any(|line| line.starts_with(step.rule.as_str())),
            "{}",
            step.rule
        );
    }
    assert!(said.iter().all(|line| line.ends_with('.')), "{said:#?}");
}
