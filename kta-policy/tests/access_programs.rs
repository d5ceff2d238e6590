//! What a policy compiles to means what Cedar means: random policies over random requests, those
//! that are an error among them, and those that only Cedar can evaluate.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod requests;

use std::fmt::Write as _;

use kta_core::Code;
use kta_core::policy::{Act, Policy, Role, Verdict};
use kta_policy::CedarPolicy;
use requests::{Case, Dice};

const SCHEMA: &str = include_str!("../policies/schema.cedarschema");
const GRANTS: &str = include_str!("../policies/grants.cedar");
const BARS: &str = include_str!("../policies/bars.cedar");

#[test]
fn random_policies_answer_random_requests_as_cedar_does() {
    let mut dice = Dice::new(23);
    let (mut loaded, mut admitted, mut errors, mut barred) = (0, 0, 0, 0);
    while loaded < 150 {
        let (grants, bars) = texts(&mut dice);
        // Some of what is drawn compares what can never be equal, and does not validate.
        let Ok(policy) = CedarPolicy::new(SCHEMA, &grants, &bars) else {
            continue;
        };
        assert_eq!(policy.left_to_cedar(), 0, "{bars}\n{grants}");
        loaded += 1;
        for _ in 0..24 {
            let case = Case::draw(&mut dice);
            let request = case.request();
            let (ours, cedar) = (policy.decide(&request), policy.decide_by_cedar(&request));
            assert_eq!(ours, cedar, "{bars}\n{grants}\n{request:?}");
            match ours.reasons.first().map(|reason| reason.rule.as_str()) {
                Some("engine.error") => {
                    assert_eq!(ours.verdict, Verdict::Deny(Code::AclDeny));
                    errors += 1;
                }
                _ if ours.verdict == Verdict::Permit => admitted += 1,
                _ => barred += 1,
            }
        }
    }
    // The draw must reach every answer, or the agreement says little.
    assert!(
        admitted > 100 && errors > 100 && barred > 100,
        "{admitted} {errors} {barred}"
    );
}

#[test]
fn a_bar_that_errors_bars_and_so_does_a_grant_that_errors() {
    // Cedar skips both, and would let everything through that another grant admits.
    let overflow = "context.today * 9223372036854775807 > 0";
    let bars = format!(
        "@id(\"x\")@order(\"50\")@code(\"DST-HOLD\")@text(\"x\")forbid(principal, action, resource) when {{ {overflow} }};"
    );
    let grants = format!(
        "@role(\"attorney\")permit(principal, action, resource) when {{ context.role == \"attorney\" && {overflow} }};"
    );
    let house = CedarPolicy::new(SCHEMA, GRANTS, BARS).unwrap();
    let barred = CedarPolicy::new(SCHEMA, GRANTS, &bars).unwrap();
    let granted = CedarPolicy::new(SCHEMA, &format!("{GRANTS}{grants}"), BARS).unwrap();
    let mut dice = Dice::new(5);
    let mut tried = 0;
    while tried < 20 {
        let mut case = Case::draw(&mut dice);
        (case.role, case.act) = (Role::Attorney, Act::Open);
        if house.decide(&case.request()).verdict != Verdict::Permit {
            continue;
        }
        tried += 1;
        for policy in [&barred, &granted] {
            for decision in [
                policy.decide(&case.request()),
                policy.decide_by_cedar(&case.request()),
            ] {
                assert_eq!(decision.verdict, Verdict::Deny(Code::AclDeny));
                assert_eq!(decision.reasons[0].rule.as_str(), "engine.error");
            }
        }
    }
}

#[test]
fn what_a_program_cannot_say_cedar_decides() {
    // Sets that are compared as wholes are beyond a program.
    let bar = "@id(\"x\")@order(\"50\")@code(\"ACL-DENY\")@text(\"x\")forbid(principal, action, resource) when { principal.roles == [\"attorney\"] };";
    let policy = CedarPolicy::new(SCHEMA, GRANTS, &format!("{BARS}{bar}")).unwrap();
    assert_eq!(policy.left_to_cedar(), 1);
    let mut dice = Dice::new(6);
    let mut barred = 0;
    for _ in 0..2_000 {
        let case = Case::draw(&mut dice);
        let decision = policy.decide(&case.request());
        assert_eq!(decision, policy.decide_by_cedar(&case.request()));
        let alone = case.actor.roles.len() == 1 && case.actor.roles.contains(&Role::Attorney);
        let says = decision
            .reasons
            .iter()
            .any(|reason| reason.rule.as_str() == "x");
        assert_eq!(says, alone);
        barred += usize::from(says);
    }
    assert!(barred > 20, "{barred}");
}

#[test]
fn a_text_that_would_recurse_without_end_is_not_read() {
    let bar = |condition: &str| {
        format!(
            "@id(\"x\")@order(\"50\")@code(\"ACL-DENY\")@text(\"x\")forbid(principal, action, resource) when {{ {condition} }};"
        )
    };
    let many = |operator: &str, count: usize| vec!["resource.held"; count].join(operator);
    assert!(CedarPolicy::new(SCHEMA, GRANTS, &bar(&many(" || ", CedarPolicy::OPERATORS))).is_ok());
    for condition in [
        many(" || ", CedarPolicy::OPERATORS + 2),
        many(" && ", 10_000),
        format!("{}true", "if resource.held then false else ".repeat(5_000)),
        format!("{} > 0", ["context.today"; 5_000].join(" + ")),
        format!("{}resource.held", "!".repeat(5_000)),
        // Semicolons that end no policy.
        vec![r#"context.role == ";""#; 5_000].join(" || "),
        vec![r#"context.role == "\\\";""#; 5_000].join(" || "),
        vec!["resource.held // ;\n"; 5_000].join(" || "),
        format!("{}resource.held{}", "(".repeat(500), ")".repeat(500)),
    ] {
        assert!(CedarPolicy::new(SCHEMA, GRANTS, &bar(&condition)).is_err());
    }
}

/// A few grants and bars of conditions drawn at random; half of the time over the house's.
fn texts(dice: &mut Dice) -> (String, String) {
    let house = dice.one_in(2);
    let (mut grants, mut bars) = (String::new(), String::new());
    if house {
        grants.push_str(GRANTS);
        bars.push_str(BARS);
    }
    for number in 0..1 + dice.below(3) {
        let condition = truth(dice, 3);
        let scope = scope(dice);
        let word = ["when", "unless"][dice.below(2)];
        writeln!(
            bars,
            "@id(\"x{number}\")@order(\"5{number}\")@code(\"ACL-DENY\")@text(\"x\")forbid(principal, {scope}, resource) {word} {{ {condition} }};"
        )
        .unwrap();
    }
    for _ in 0..dice.below(3) {
        for role in Role::ALL {
            let (scope, condition) = (scope(dice), truth(dice, 3));
            let role = role.as_str();
            writeln!(
                grants,
                "@role(\"{role}\")permit(principal, {scope}, resource) when {{ context.role == \"{role}\" && ({condition}) }};"
            )
            .unwrap();
        }
    }
    (grants, bars)
}

fn scope(dice: &mut Dice) -> String {
    let act = dice.pick(Act::ALL);
    match dice.below(4) {
        0 => format!("action == Action::\"{act}\""),
        1 => format!(
            "action in [Action::\"{act}\", Action::\"{}\"]",
            dice.pick(Act::ALL)
        ),
        _ => "action".to_owned(),
    }
}

fn truth(dice: &mut Dice, depth: usize) -> String {
    if depth > 0 && !dice.one_in(3) {
        let mut below = || truth(dice, depth - 1);
        let (one, other, third) = (below(), below(), below());
        return match dice.below(5) {
            0 => format!("({one} && {other})"),
            1 => format!("({one} || {other})"),
            2 => format!("!({one})"),
            3 => format!("(if {one} then {other} else {third})"),
            _ => format!("(({one}) == ({other}))"),
        };
    }
    let number = number(dice, 2);
    let word = word(dice);
    match dice.below(16) {
        0 => "principal.revoked".to_owned(),
        1 => "resource.held".to_owned(),
        2 => "(resource has matter && resource.matter.ground)".to_owned(),
        3 => "(resource has matter && resource.matter.walled.contains(principal))".to_owned(),
        4 => "(resource has matter && resource has subject && resource.matter.parties.contains(resource.subject))".to_owned(),
        5 => "(resource has matter && resource.matter.paralegals.contains(principal) && !resource.matter.attorneys.isEmpty())".to_owned(),
        6 => "(context has other_than && context.other_than == principal)".to_owned(),
        7 => format!("{word} == \"{}\"", dice.pick(&WORDS)),
        8 => format!("[\"{}\", \"{}\"].contains({word})", dice.pick(&WORDS), dice.pick(&WORDS)),
        9 => format!("{word} like \"{}\"", dice.pick(&["*a*", "service:*", "*al", "p*a*l", "*", "*e*", "SPECIAL*_*"])),
        10 => format!("principal.roles.containsAny([\"{}\", \"{}\"])", dice.pick(&WORDS), dice.pick(&WORDS)),
        11 => format!("principal.roles.containsAll([\"{}\"])", dice.pick(&WORDS)),
        12 => format!("action in [Action::\"{}\", Action::\"{}\"]", dice.pick(Act::ALL), dice.pick(Act::ALL)),
        13 => format!("action == Action::\"{}\"", dice.pick(Act::ALL)),
        14 => format!("principal == Actor::\"{}\"", requests::person_actor(dice.below(6))),
        _ => {
            let sign = dice.pick(&["<", "<=", ">", ">=", "==", "!="]);
            format!("{number} {sign} {}", self::number(dice, 1))
        }
    }
}

fn number(dice: &mut Dice, depth: usize) -> String {
    if depth > 0 && dice.one_in(2) {
        let (one, other) = (number(dice, depth - 1), number(dice, depth - 1));
        return match dice.below(4) {
            0 => format!("({one} + {other})"),
            1 => format!("({one} - {other})"),
            2 => format!("({one} * {other})"),
            _ => format!("(-{one})"),
        };
    }
    match dice.below(7) {
        0 => "context.today".to_owned(),
        1 => "context.minute".to_owned(),
        2 => "context.weekday".to_owned(),
        3 => "(if context has untrained then context.untrained else 7)".to_owned(),
        4 => "(if context has seen_ago then context.seen_ago else 60000)".to_owned(),
        5 => dice.below(100).to_string(),
        _ => i64::MAX.to_string(),
    }
}

fn word(dice: &mut Dice) -> &'static str {
    dice.pick(&[
        "context.role",
        "context.purpose",
        "resource.category",
        "resource.reach",
        "(if context has basis then context.basis else \"none\")",
        "(if principal has party then principal.party else \"none\")",
        "(if context has device then context.device else \"none\")",
    ])
}

const WORDS: [&str; 10] = [
    "attorney",
    "paralegal",
    "service:dlp",
    "special",
    "personal",
    "SPECIAL_PROTECTED",
    "representation",
    "contract",
    "managed",
    "none",
];
