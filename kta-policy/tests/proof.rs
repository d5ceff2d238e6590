//! What holds for all requests, proved by the solver cvc5; and for each of these properties a
//! mutant of the policy that must yield a request which breaks it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use kta_policy::{CedarPolicy, Property, Prover};

const SCHEMA: &str = include_str!("../policies/schema.cedarschema");
const GRANTS: &str = include_str!("../policies/grants.cedar");
const BARS: &str = include_str!("../policies/bars.cedar");

fn prover() -> Prover {
    Prover::new().expect("cvc5, a package of Debian, is installed; scripts/test does so")
}

fn proved(properties: &[Property]) {
    let policy = CedarPolicy::shipped().unwrap();
    let found = prover().refute(&policy, properties).unwrap();
    assert!(found.is_none(), "{found:#?}");
}

/// The mutant breaks the property, and nothing but the change made it so.
fn refuted(property: Property, mutants: &[(&str, &str)]) {
    for (from, to) in mutants {
        let (grants, bars) = (GRANTS.replace(from, to), BARS.replace(from, to));
        assert!(grants != GRANTS || bars != BARS, "{from} is not there");
        let mutant = CedarPolicy::new(SCHEMA, &grants, &bars).unwrap();
        let found = prover().refute(&mutant, &[property]).unwrap();
        let found = found.unwrap_or_else(|| panic!("{from} may go"));
        assert_eq!(found.property, property);
        assert!(found.request.contains("principal"), "{}", found.request);
    }
}

#[test]
fn nobody_crosses_a_wall() {
    proved(&[Property::Walls]);
}

#[test]
fn no_untrained_person_reads() {
    proved(&[Property::Training]);
}

#[test]
fn nothing_that_is_held_is_erased() {
    proved(&[Property::Holds]);
}

#[test]
fn no_single_role_both_approves_and_executes_a_destruction() {
    proved(&[Property::TwoRoles]);
}

#[test]
fn no_policy_can_error() {
    proved(&[Property::NeverErrors]);
}

#[test]
fn who_is_not_listed_and_who_is_another_party_is_not_admitted() {
    proved(&[Property::Listed, Property::Parties]);
}

#[test]
fn a_policy_whose_wall_has_a_door_is_refuted() {
    refuted(
        Property::Walls,
        &[
            (
                "when { resource has matter && resource.matter.walled.contains(principal) };",
                "when { resource has matter && resource.matter.walled.contains(principal) && context.role != \"attorney\" };",
            ),
            (
                "when { resource has matter && resource.matter.walled.contains(principal) };",
                "when { resource has matter && resource.matter.walled.contains(principal) } unless { context has glass_left };",
            ),
        ],
    );
}

#[test]
fn a_policy_that_lets_the_untrained_read_is_refuted() {
    refuted(
        Property::Training,
        &[
            ("context.untrained <= 30", "context.untrained <= 31"),
            ("context.untrained <= 0", "context.untrained <= 1"),
        ],
    );
}

#[test]
fn a_policy_that_erases_what_is_held_is_refuted() {
    refuted(
        Property::Holds,
        &[(
            "when { resource.held };",
            "when { resource.held && context.purpose != \"disposition\" };",
        )],
    );
}

#[test]
fn a_policy_in_which_one_role_does_both_is_refuted() {
    refuted(
        Property::TwoRoles,
        &[
            (
                "Action::\"destroy\", Action::\"probe\"], resource)\nwhen { context.role == \"service:destroy\" && resource.reach == \"personal\" }",
                "Action::\"approve\", Action::\"destroy\", Action::\"probe\"], resource)\nwhen { context.role == \"service:destroy\" && resource.reach == \"personal\" }",
            ),
            (
                "permit(principal, action in [Action::\"approve\", Action::\"archive\", Action::\"certify\",\n    Action::\"probe\"",
                "permit(principal, action in [Action::\"approve\", Action::\"archive\", Action::\"destroy\",\n    Action::\"probe\"",
            ),
        ],
    );
}

#[test]
fn a_policy_that_can_error_is_refuted() {
    // Validates, and overflows for the largest number of days: Cedar would skip the bar.
    refuted(
        Property::NeverErrors,
        &[
            ("context.untrained <= 30", "context.untrained + 1 <= 31"),
            ("context.glass_left <= 0", "-context.glass_left >= 0"),
        ],
    );
}

#[test]
fn a_policy_that_admits_strangers_is_refuted() {
    refuted(
        Property::Listed,
        &[
            ("principal.revoked || ", ""),
            (
                "principal.revoked || !principal.roles.contains(context.role)",
                "principal.revoked",
            ),
        ],
    );
    refuted(
        Property::Parties,
        &[
            (
                "resource.subject == principal.subject };",
                "(resource.subject == principal.subject || context has basis) };",
            ),
            (
                "resource.matter.petition_side.contains(resource.subject) &&",
                "",
            ),
        ],
    );
}

#[test]
fn a_solver_that_is_not_there_is_a_fault_and_no_proof() {
    assert!(Prover::with("no-such-solver").is_err());
    // One that is there and says nothing is none either.
    let silent = Prover::with("true").unwrap();
    let policy = CedarPolicy::shipped().unwrap();
    assert!(silent.refute(&policy, &[Property::Walls]).is_err());
}
