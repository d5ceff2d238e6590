//! Law as data: from the packs to a table that a lawyer reads, and a picture of what a change of
//! the rules would do before anybody may make it.
//!
//! ```text
//! cargo run --release --example retention -- --out DIR
//! ```
//!
//! Writes `schedule.html` and `forecast.svg` into DIR (`target/retention` where none is given). The
//! people who sign are invented, and so are all records; nothing in them tells of anybody.

#![allow(clippy::print_stdout, reason = "an example that tells what it does")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::{env, fs};

use chrono::{Days, NaiveDate};
use ed25519_dalek::SigningKey;
use kta_core::audit::{Label, LocalSigner, NoteKey, SignedNote};
use kta_core::id::{ActorId, HoldId};
use kta_core::retention::{Facts, evaluate};
use kta_policy::{
    Case, Limits, Pack, Revision, SHIPPED, Schedules, SignedPack, Words, compile, forecast,
    picture, table,
};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let out = folder();
    fs::create_dir_all(&out)?;
    let today = NaiveDate::from_ymd_opt(2026, 11, 22).ok_or("no such day")?;

    // 1. Read the packs; privacy officer and attorney sign each.
    let texts: Vec<_> = SHIPPED.iter().map(|(_, text)| (*text).to_owned()).collect();
    let packs = signed(&texts)?;
    let rows: usize = packs.iter().map(|pack| pack.pack().rows().count()).sum();
    println!(
        "read {} packs with {rows} rows, each signed by two",
        packs.len()
    );

    // 2. Compile them, and print the table.
    let in_force = compile(&packs, today)?;
    let plain: Vec<_> = packs.iter().map(SignedPack::pack).collect();
    let path = out.join("schedule.html");
    fs::write(&path, table(&plain, &in_force, today))?;
    println!(
        "wrote the table of {} classes to {}",
        in_force.len(),
        path.display()
    );

    // 3. One decision, explained.
    let words = Words::of(&plain);
    let class = Label::new("CASE.FILE")?;
    let schedule = &in_force[&class];
    let evaluation = evaluate(schedule, &a_childs_file(today)?)?;
    println!("\na child's file of a closed case, kept beside data from Europe:");
    for line in words.explain(schedule, &evaluation) {
        println!("  {line}");
    }

    // 4. Somebody wants other rules: simulate them over everything first.
    let wished = texts.iter().map(|text| {
        text.replace(
            "add = \"P12M\" }] }\ncitation = \"ABA Model Rule 1.18\"",
            "add = \"P6M\" }] }\ncitation = \"ABA Model Rule 1.18\"",
        )
        .replace(
            "add = \"P7Y\" }] }\ncitation = \"ABA Model Rule 1.16(d)",
            "add = \"P10Y\" }] }\ncitation = \"ABA Model Rule 1.16(d)",
        )
    });
    let wished = compile(&signed(&wished.collect::<Vec<_>>())?, today)?;
    let told = |done: u64| {
        println!("  simulated {done} of {RECORDS}");
        ControlFlow::Continue(())
    };
    println!("\nwish: enquiries for six months instead of twelve, American files for ten years");
    let forecast = forecast(&in_force, &wished, today, population(today), told)
        .ok_or("nobody stopped the simulation")?;
    let total = forecast.total();
    println!(
        "  {} records earlier, {} later, {} eligible today that are not now",
        total.earlier, total.later, total.newly_eligible
    );
    let path = out.join("forecast.svg");
    fs::write(&path, picture(&forecast, &words, 96))?;
    println!("  drew the forecast to {}", path.display());

    // 5. What shortens needs a second person and time, and may not empty a class at once.
    activate(&in_force, wished, forecast, today)
}

/// Every step that a revision which shortens has to take, and how each is refused before its time.
fn activate(
    in_force: &Schedules,
    wished: Schedules,
    forecast: kta_policy::Forecast,
    today: NaiveDate,
) -> Result<(), Failure> {
    let limits = Limits::default();
    let [author, second] =
        ["the author", "the second"].map(|who| ActorId::derived(&[who.as_bytes()]));
    let mut revision = Revision::propose(in_force, wished, forecast, author, today)?;
    let refused = |what: Result<Schedules, kta_core::Refusal>| match what {
        Ok(_) => Err(Failure::from("put in force too early")),
        Err(refusal) => {
            println!("  refused: {refusal}");
            Ok(())
        }
    };
    println!("\nit shortens {} class(es):", revision.shortens().len());
    let signers = [
        (
            author,
            LocalSigner::new("author", SigningKey::from_bytes(&[1; 32]))?,
        ),
        (
            second,
            LocalSigner::new("second", SigningKey::from_bytes(&[2; 32]))?,
        ),
    ];
    let mut keys = BTreeMap::new();
    for (who, signer) in &signers {
        refused(revision.activate(in_force, today, &limits, &keys))?;
        keys.insert(*who, NoteKey::of(signer)?);
        let note = SignedNote::sign(revision.statement(today), signer)?;
        revision.sign(*who, today, &note, &keys[who])?;
    }
    refused(revision.activate(in_force, today, &limits, &keys))?;
    let later = revision.from(&limits).ok_or("agreed")?;
    let strict = Limits {
        most_eligible_in_thousand: 10,
        ..limits
    };
    refused(revision.activate(in_force, later, &strict, &keys))?;
    revision.activate(in_force, later, &limits, &keys)?;
    println!("  in force on {later}");
    Ok(())
}

fn folder() -> PathBuf {
    let mut words = env::args().skip(1);
    match (words.next().as_deref(), words.next()) {
        (Some("--out"), Some(folder)) => folder.into(),
        _ => PathBuf::from("target/retention"),
    }
}

fn signed(texts: &[String]) -> Result<Vec<SignedPack>, Failure> {
    let people = [("attorney", 1), ("dpo", 2)];
    let sign = |text: &String| {
        let pack = Pack::parse(text)?;
        let (mut notes, mut keys) = (BTreeMap::new(), BTreeMap::new());
        for (role, seed) in people {
            let signer = LocalSigner::new(role, SigningKey::from_bytes(&[seed; 32]))?;
            notes.insert(
                Label::new(role)?,
                SignedNote::sign(pack.statement(), &signer)?,
            );
            keys.insert(Label::new(role)?, NoteKey::of(&signer)?);
        }
        Ok(pack.accept(&notes, &keys)?)
    };
    texts.iter().map(sign).collect()
}

fn a_childs_file(today: NaiveDate) -> Result<Facts, Failure> {
    Ok(Facts {
        today,
        triggers: [
            ("matter_closed", "2026-01-01"),
            ("purpose_end", "2026-03-01"),
            ("majority", "2033-05-10"),
        ]
        .into_iter()
        .map(|(trigger, day)| Ok((Label::new(trigger)?, day.parse()?)))
        .collect::<Result<_, Failure>>()?,
        open: BTreeSet::new(),
        nexus: labels(&["IL", "eea_commingled", "party.child"]),
        holds: Vec::new(),
        custodian: false,
    })
}

/// Some thousand records of a firm that is twelve years old.
fn population(today: NaiveDate) -> impl Iterator<Item = Case> {
    let mut chance = Chance(20_261_122);
    (0..RECORDS).map(move |_| {
        let (class, mut triggers, mut nexus, mut open) = (
            chance.of(&CLASSES),
            Vec::new(),
            labels(&["IL", "US"]),
            BTreeSet::new(),
        );
        let began = today - Days::new(chance.below(12 * 365));
        let ended = began + Days::new(60 + chance.below(900));
        match class {
            "CASE.FILE" => {
                triggers.push(("matter_closed", ended));
                if chance.below(4) == 0 {
                    nexus.extend(labels(&["GDPR"]));
                    triggers.push(("purpose_end", ended));
                }
                if chance.below(5) == 0 {
                    nexus.extend(labels(&["party.child"]));
                    triggers.push(("majority", began + Days::new(chance.below(18 * 365))));
                }
            }
            "CASE.PROSPECT" => triggers.push(("last_contact", began)),
            "EMPLOYER_RECORD.I9" => {
                triggers.push(("hire_date", began));
                if chance.below(4) == 0 {
                    open.extend(labels(&["employment"]));
                } else {
                    triggers.push(("employment_end", ended));
                }
            }
            "PUBLIC_FILE.LCA" => triggers.push(("last_h1b_employment", ended)),
            "EMPLOYER_RECORD.PERM" => triggers.push(("filing_date", began)),
            "FIRM_RECORD.TRUST" => triggers.push(("representation_end", ended)),
            _ => triggers.push(("event_date", began)),
        }
        // Of some records nobody wrote down when their time began.
        if chance.below(40) == 0 {
            triggers.clear();
        }
        let holds = if chance.below(60) == 0 {
            vec![HoldId::derived(&[b"a lawsuit"])]
        } else {
            Vec::new()
        };
        Case {
            class: Label::new(class).unwrap_or(const { Label::fixed("none") }),
            facts: Facts {
                today,
                triggers: triggers
                    .into_iter()
                    .filter_map(|(what, day)| Some((Label::new(what).ok()?, day)))
                    .collect(),
                open,
                nexus,
                holds,
                custodian: true,
            },
        }
    })
}

fn labels(words: &[&str]) -> BTreeSet<Label> {
    words
        .iter()
        .filter_map(|word| Label::new(*word).ok())
        .collect()
}

/// A small generator: the same records in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn of(&mut self, words: &[(&'static str, u64)]) -> &'static str {
        let all = words.iter().map(|(_, weight)| weight).sum();
        let mut at = self.below(all);
        for (word, weight) in words {
            if at < *weight {
                return word;
            }
            at -= weight;
        }
        "none"
    }
}

const RECORDS: u64 = 12_000;

const CLASSES: [(&str, u64); 7] = [
    ("CASE.FILE", 40),
    ("CASE.PROSPECT", 4),
    ("EMPLOYER_RECORD.I9", 14),
    ("EMPLOYER_RECORD.PERM", 6),
    ("FIRM_RECORD.ACCESS_LOG", 12),
    ("FIRM_RECORD.TRUST", 14),
    ("PUBLIC_FILE.LCA", 10),
];
