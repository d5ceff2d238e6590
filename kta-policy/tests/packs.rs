//! Packs: what is refused, what two people must do, and what the shipped pack says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use ed25519_dalek::SigningKey;
use kta_core::Code;
use kta_core::audit::{Label, LocalSigner, NoteKey, SignedNote};
use kta_core::retention::{Facts, Outcome, evaluate};
use kta_policy::{
    CORE_PACK, Clock, Due, LONGEST_PACK, Pack, ReadIn, SHIPPED, compile, overdue, simulate, table,
};
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

fn shipped() -> Vec<Pack> {
    let parse = |(_, text): &(&str, &str)| Pack::parse(text).unwrap();
    SHIPPED.iter().map(parse).collect()
}

/// The rows of the domain's tables: retention and duties (2.2), rights (2.5), sending (2.6),
/// breach clocks (2.7).
const ROWS: [&str; 69] = [
    "eu.storage",
    "eu.claims",
    "eu.ropa",
    "eu.breach_register",
    "eu.consent",
    "eu.dsr",
    "il.eea.minimise",
    "il.eea.scope",
    "il.eea.notice",
    "il.excess",
    "il.seclog",
    "il.claims",
    "il.bar",
    "il.books",
    "il.aml",
    "uk.storage",
    "uk.rtw",
    "uk.sponsor",
    "uk.adviser",
    "uk.complaint",
    "us.i9",
    "us.i9.produce",
    "us.i9.elec",
    "us.paf",
    "us.paf.hold",
    "us.paf.open",
    "us.h1b.payroll",
    "us.h2a",
    "us.perm",
    "us.bar.property",
    "us.bar.file",
    "us.bar.conf",
    "us.originals",
    "us.irs",
    "us.disposal",
    "firm.minor",
    "firm.status",
    "firm.misdirected",
    "firm.prospect",
    "eu.sa",
    "eu.subject",
    "eu.proc",
    "uk.ico",
    "il.ppa",
    "il.subject",
    "us.ca",
    "us.ny",
    "us.tx",
    "us.vt",
    "us.pr",
    "us.co",
    "us.fl",
    "us.wa",
    "us.de",
    "us.ma",
    "us.other",
    "aba.483",
    "contract",
    "insurer",
    "third.perm",
    "rights.gdpr",
    "rights.uk",
    "rights.il",
    "rights.us-states",
    "flow.eea-israel",
    "flow.agencies",
    "flow.israel-abroad",
    "flow.processors",
    "flow.gdpr-reach",
];

#[test]
fn every_row_of_the_domains_tables_is_in_a_pack_once() {
    let packs = shipped();
    let rows: Vec<_> = packs
        .iter()
        .flat_map(Pack::rows)
        .map(|row| row.id.as_str())
        .collect();
    for id in ROWS {
        assert_eq!(rows.iter().filter(|row| **row == id).count(), 1, "{id}");
    }
    // Besides them only what one row of the table says of several states.
    let more: Vec<_> = rows.into_iter().filter(|row| !ROWS.contains(row)).collect();
    assert_eq!(more, ["us.bar.property.six", "us.bar.property.seven"]);
    for (pack, (name, _)) in packs.iter().zip(SHIPPED) {
        assert_eq!(pack.reference().id.as_str(), name);
    }
}

#[test]
fn no_row_says_verified_that_nobody_read_in_its_source() {
    let packs = shipped();
    let rows: Vec<_> = packs.iter().flat_map(Pack::rows).collect();
    for row in &rows {
        assert!(!row.verified || row.read_in == ReadIn::Source, "{}", row.id);
        assert!(
            !row.citation.is_empty() && !row.source.is_empty(),
            "{}",
            row.id
        );
    }
    assert_eq!(rows.iter().filter(|row| row.verified).count(), 15);
    let claim = CORE_PACK.replacen(
        "read_in = \"secondary\"\nreviewed_on = 2026-11-22\nverified = false",
        "read_in = \"secondary\"\nreviewed_on = 2026-11-22\nverified = true",
        1,
    );
    assert_ne!(claim, CORE_PACK);
    assert_eq!(Pack::parse(&claim).unwrap_err().code(), Code::RetPack);
}

#[test]
fn an_unknown_key_in_any_row_of_any_pack_is_refused() {
    for (name, text) in SHIPPED {
        let mut tried = 0;
        for (at, _) in text.match_indices("\nid = \"") {
            let changed = format!("{}\nsurprise = 1{}", &text[..at], &text[at..]);
            assert_eq!(
                Pack::parse(&changed).unwrap_err().code(),
                Code::RetPack,
                "{name}"
            );
            tried += 1;
        }
        assert!(tried > 3, "{name}");
    }
}

#[test]
fn all_packs_compile_together_and_a_row_in_two_packs_is_refused() {
    let mut packs = shipped();
    let schedules = simulate(&packs, day("2026-11-22")).unwrap();
    assert_eq!(schedules.len(), 18);
    // A row on everything is in every class, with the pack it stands in.
    for schedule in schedules.values() {
        let storage = schedule
            .rules
            .iter()
            .find(|rule| rule.id.as_str() == "eu.storage");
        assert_eq!(storage.unwrap().pack.id.as_str(), "kta.eu");
    }
    packs.push(packs[0].clone());
    assert_eq!(
        simulate(&packs, day("2026-11-22")).unwrap_err().code(),
        Code::RetPack
    );
}

#[test]
fn a_pack_that_would_grow_beyond_reading_is_refused_before_it_grows() {
    let row = "[[retention]]\nid = \"x\"\nclass = [CLASSES]\nduty_holder = \"firm\"\nfloor = { op = \"max\", of = [{ trigger = \"t\", add = \"P1Y\" }] }\ncitation = \"c\"\nsource = \"s\"\nread_in = \"source\"\nreviewed_on = 2026-01-01\nverified = true\n";
    let head = CORE_PACK.split("[words]").next().unwrap();
    let classes: Vec<_> = (0..20_000).map(|number| format!("\"C{number}\"")).collect();
    let wide = row.replace("\"x\"", "\"y\"").replace("CLASSES", "\"*\"");
    let text = format!("{head}{}{wide}", row.replace("CLASSES", &classes.join(",")));
    let refused = simulate(&[Pack::parse(&text).unwrap()], day("2026-11-22")).unwrap_err();
    assert_eq!(refused.code(), Code::RetPack);
}

#[test]
fn rows_are_overdue_after_a_year() {
    let schedules = simulate(&shipped(), day("2026-11-22")).unwrap();
    assert_eq!(overdue(&schedules, day("2027-11-22")), []);
    assert_eq!(overdue(&schedules, day("2027-11-23")).len(), 29);
}

fn clock(id: &str) -> Clock {
    let packs = shipped();
    let mut clocks = packs.iter().flat_map(|pack| pack.clocks());
    clocks
        .find(|clock| clock.id.as_str() == id)
        .unwrap()
        .clone()
}

#[test]
fn the_clock_of_the_breach_vector_runs_over_the_change_of_clocks() {
    let aware = "2026-03-27T21:00:00Z".parse().unwrap();
    let due = clock("eu.sa").due(aware, &BTreeSet::new()).unwrap();
    assert_eq!(due, Due::At("2026-03-30T21:00:00Z".parse().unwrap()));
    assert_eq!(
        clock("il.ppa").due(aware, &BTreeSet::new()),
        Some(Due::Unmeasured)
    );
    assert_eq!(
        clock("us.tx").due(aware, &BTreeSet::new()),
        Some(Due::By(day("2026-05-26")))
    );
    let notice = "2026-11-25T15:00:00Z".parse().unwrap();
    let thanksgiving = BTreeSet::from([day("2026-11-26")]);
    assert_eq!(
        clock("us.i9.produce").due(notice, &thanksgiving),
        Some(Due::By(day("2026-12-01")))
    );
}

#[test]
fn the_table_names_every_row_and_shows_markup_as_text() {
    let mut packs = shipped();
    let hostile = CORE_PACK
        .replace("kta.il", "kta.hostile")
        .replace("\"il.", "\"hostile.")
        .replace(
            "\"Prescription Law",
            "\"<script>alert('x')</script>&\\\" Prescription Law",
        );
    packs.push(Pack::parse(&hostile).unwrap());
    let schedules = simulate(&packs, day("2026-11-22")).unwrap();
    let html = table(
        &packs.iter().collect::<Vec<_>>(),
        &schedules,
        day("2026-11-22"),
    );
    for id in ROWS {
        assert!(html.contains(&format!("<code>{id}</code>")), "{id}");
    }
    assert!(
        html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot; Prescription")
    );
    assert!(!html.contains("<script"), "a page without a script");
    assert!(
        !html.contains("http:") && !html.contains("https:"),
        "a page that fetches nothing"
    );
    assert!(html.contains("A simulation."), "unsigned packs say so");
    assert!(html.contains(&packs[0].reference().digest.to_string()));
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
        (
            "nine rows on classes they do not name",
            (0..9).fold(head.to_owned(), |text, number| {
                let wide = row.replace("class = \"X\"", "class = \"*\"");
                text + &wide.replace("id = \"x\"", &format!("id = \"x{number}\""))
            }),
        ),
        (
            "a citation of two thousand letters",
            format!(
                "{head}{}",
                row.replace("\"c\"", &format!("\"{}\"", "c".repeat(2000)))
            ),
        ),
        (
            "a verified row that nobody read",
            format!(
                "{head}{}",
                row.replace("read_in = \"source\"", "read_in = \"memory\"")
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
