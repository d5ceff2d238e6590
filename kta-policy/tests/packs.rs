//! Packs: what is refused, what two people must do, and what the shipped pack says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use ed25519_dalek::SigningKey;
use kta_core::Code;
use kta_core::audit::{Label, LocalSigner, NoteKey, SignedNote};
use kta_core::retention::{Facts, Outcome, evaluate};
use kta_policy::{CORE_PACK, LONGEST_PACK, Pack, compile, simulate};
use proptest::prelude::*;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

fn signer(name: &str, seed: u8) -> LocalSigner {
    LocalSigner::new(name, SigningKey::from_bytes(&[seed; 32])).unwrap()
}

type Signatures = (BTreeMap<Label, SignedNote>, BTreeMap<Label, NoteKey>);

fn signed(pack: &Pack, seeds: [u8; 2]) -> Signatures {
    let (mut notes, mut keys) = (BTreeMap::new(), BTreeMap::new());
    for (role, seed) in ["attorney", "dpo"].into_iter().zip(seeds) {
        let signer = signer(role, seed);
        notes.insert(
            label(role),
            SignedNote::sign(pack.statement(), &signer).unwrap(),
        );
        keys.insert(label(role), NoteKey::of(&signer).unwrap());
    }
    (notes, keys)
}

fn facts(today: &str, triggers: &[(&str, &str)]) -> Facts {
    Facts {
        today: day(today),
        triggers: triggers
            .iter()
            .map(|(name, date)| (label(name), day(date)))
            .collect(),
        open: BTreeSet::new(),
        nexus: BTreeSet::from([label("IL")]),
        holds: Vec::new(),
        custodian: false,
    }
}

#[test]
fn the_shipped_pack_keeps_a_minors_file_until_seven_years_after_majority() {
    let pack = Pack::parse(CORE_PACK).unwrap();
    let (notes, keys) = signed(&pack, [1, 2]);
    let schedules = compile(&[pack.accept(&notes, &keys).unwrap()], day("2026-11-22")).unwrap();
    let schedule = &schedules[&label("CASE.FILE")];
    let facts = facts(
        "2026-11-22",
        &[("matter_closed", "2026-01-01"), ("majority", "2033-05-10")],
    );
    let evaluation = evaluate(schedule, &facts).unwrap();
    assert_eq!(
        evaluation.outcome,
        Outcome::Keep {
            until: day("2040-05-10")
        }
    );
    assert!(evaluation.executable);
}

#[test]
fn a_pack_without_two_different_signatures_is_refused() {
    let pack = Pack::parse(CORE_PACK).unwrap();
    let (notes, keys) = signed(&pack, [1, 1]);
    assert_eq!(
        pack.clone().accept(&notes, &keys).unwrap_err().code(),
        Code::PolSign
    );
    let (mut notes, keys) = signed(&pack, [1, 2]);
    notes.remove(&label("dpo"));
    assert_eq!(
        pack.accept(&notes, &keys).unwrap_err().code(),
        Code::PolSign
    );
}

#[test]
fn a_signature_over_another_pack_is_refused() {
    let pack = Pack::parse(CORE_PACK).unwrap();
    let (notes, keys) = signed(&pack, [1, 2]);
    let shortened = Pack::parse(&CORE_PACK.replacen("P7Y", "P7D", 1)).unwrap();
    assert_eq!(
        shortened.accept(&notes, &keys).unwrap_err().code(),
        Code::PolSign
    );
}

#[test]
fn a_simulated_pack_never_destroys() {
    let pack = Pack::parse(CORE_PACK).unwrap();
    let schedules = simulate(&[pack], day("2026-11-22")).unwrap();
    let facts = facts("2034-01-01", &[("matter_closed", "2026-01-01")]);
    let evaluation = evaluate(&schedules[&label("CASE.FILE")], &facts).unwrap();
    assert_eq!(
        evaluation.require_eligible().unwrap_err().code(),
        Code::RetPack
    );
}

#[test]
fn a_pack_is_not_used_before_it_is_in_force() {
    let pack = Pack::parse(CORE_PACK).unwrap();
    assert_eq!(
        simulate(&[pack], day("2025-12-31")).unwrap_err().code(),
        Code::RetPack
    );
}

#[test]
fn flawed_packs_are_refused() {
    let row = "[[retention]]\nid = \"x\"\nclass = \"X\"\nduty_holder = \"firm\"\nfloor = { op = \"max\", of = [{ trigger = \"t\", add = \"P1Y\" }] }\ncitation = \"c\"\nsource = \"s\"\nread_in = \"source\"\nreviewed_on = 2026-01-01\nverified = true\n";
    let head = CORE_PACK.split("[words]").next().unwrap();
    assert!(Pack::parse(&format!("{head}{row}")).is_ok());
    for (flaw, pack) in [
        ("unknown key in a row", format!("{head}{row}surprise = 1\n")),
        (
            "unknown key in the head",
            format!("{head}surprise = 1\n{row}"),
        ),
        ("two rows of one id", format!("{head}{row}{row}")),
        (
            "no citation",
            format!(
                "{head}{}",
                row.replace("citation = \"c\"", "citation = \" \"")
            ),
        ),
        (
            "no floor and no ceiling",
            format!("{head}{}", row.replace("floor = {", "#")),
        ),
        (
            "an empty term",
            format!(
                "{head}{}",
                row.replace("[{ trigger = \"t\", add = \"P1Y\" }]", "[]")
            ),
        ),
        (
            "a period in hours",
            format!("{head}{}", row.replace("P1Y", "PT72H")),
        ),
        (
            "a wrong date",
            format!(
                "{head}{}",
                row.replace("2026-01-01\nverified", "2026-02-30\nverified")
            ),
        ),
        ("no head", row.to_owned()),
        ("nothing", String::new()),
        (
            "too long",
            format!("{CORE_PACK}#{}", " ".repeat(LONGEST_PACK)),
        ),
    ] {
        assert_eq!(
            Pack::parse(&pack).unwrap_err().code(),
            Code::RetPack,
            "{flaw}"
        );
    }
}

proptest! {
    #[test]
    fn garbage_is_refused_and_never_panics(text in "\\PC{0,400}") {
        prop_assert!(Pack::parse(&text).is_err());
    }

    #[test]
    fn a_changed_byte_breaks_the_signatures_or_the_pack(at in 0..CORE_PACK.len(), with in 0x20u8..0x7f) {
        let pack = Pack::parse(CORE_PACK).unwrap();
        let (notes, keys) = signed(&pack, [1, 2]);
        let mut bytes = CORE_PACK.as_bytes().to_vec();
        prop_assume!(bytes[at] != with);
        bytes[at] = with;
        let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
        if let Ok(changed) = Pack::parse(&text) {
            prop_assert!(changed.accept(&notes, &keys).is_err());
        }
    }
}
