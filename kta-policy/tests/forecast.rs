//! A change of the schedules: what it would do, and what stands before it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cases;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use ed25519_dalek::SigningKey;
use kta_core::audit::{LocalSigner, NoteKey, SignedNote};
use kta_core::id::{ActorId, HoldId};
use kta_core::retention::{Facts, Outcome, evaluate};
use kta_core::{Code, Refusal};
use kta_policy::{
    CORE_PACK, Case, Forecast, Limits, Pack, Revision, SHIPPED, Schedules, Words, forecast,
    picture, simulate,
};

use cases::{Chance, day, label};

const TODAY: &str = "2026-11-22";

fn signer(who: &str) -> LocalSigner {
    let mut seed = [7; 32];
    seed[..who.len()].copy_from_slice(who.as_bytes());
    LocalSigner::new(who, SigningKey::from_bytes(&seed)).unwrap()
}

fn keys() -> BTreeMap<ActorId, NoteKey> {
    let all = ["author", "second", "third"];
    all.map(|who| (person(who), NoteKey::of(&signer(who)).unwrap()))
        .into()
}

fn note(revision: &Revision, who: &str, on: &str) -> SignedNote {
    SignedNote::sign(revision.statement(day(on)), &signer(who)).unwrap()
}

fn sign(revision: &mut Revision, who: &str, on: &str) -> Result<(), Refusal> {
    let note = note(revision, who, on);
    revision.sign(person(who), day(on), &note, &keys()[&person(who)])
}

fn compiled(change: impl Fn(&str) -> String) -> Schedules {
    let packs: Vec<_> = SHIPPED
        .iter()
        .map(|(_, text)| Pack::parse(&change(text)).unwrap())
        .collect();
    simulate(&packs, day(TODAY)).unwrap()
}

fn in_force() -> Schedules {
    compiled(str::to_owned)
}

/// The claims of clients live seven days instead of seven years: threat T21.
fn seven_days() -> Schedules {
    compiled(|text| text.replace("\"P7Y\"", "\"P7D\""))
}

fn ten_years() -> Schedules {
    compiled(|text| {
        text.replace(
            "trigger = \"matter_closed\", add = \"P7Y\"",
            "trigger = \"matter_closed\", add = \"P10Y\"",
        )
    })
}

/// Case files, one closed on each day of so many; every tenth belongs to a European's case, every
/// twentieth is held.
fn files(days: u64) -> impl Iterator<Item = Case> {
    (0..days).map(|ago| {
        let closed = day(TODAY) - chrono::Days::new(ago);
        let mut nexus = BTreeSet::from([label("IL")]);
        if ago % 10 == 0 {
            nexus.insert(label("GDPR"));
        }
        Case {
            class: label("CASE.FILE"),
            facts: Facts {
                today: day(TODAY),
                triggers: [
                    (label("matter_closed"), closed),
                    (label("purpose_end"), closed),
                ]
                .into(),
                open: BTreeSet::new(),
                nexus,
                holds: if ago % 20 == 5 {
                    vec![HoldId::derived(&[b"hold"])]
                } else {
                    Vec::new()
                },
                custodian: false,
            },
        }
    })
}

fn told(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn over(before: &Schedules, after: &Schedules, days: u64) -> Forecast {
    forecast(before, after, day(TODAY), files(days), told).unwrap()
}

fn code<T>(result: Result<T, Refusal>) -> Code {
    result.err().expect("a refusal").code()
}

fn person(name: &str) -> ActorId {
    ActorId::derived(&[name.as_bytes()])
}

#[test]
fn the_forecast_counts_what_becomes_eligible_restricted_and_released_and_when() {
    let forecast = over(&in_force(), &seven_days(), 3000);
    let tally = &forecast.classes[&label("CASE.FILE")];
    assert_eq!(tally.records, 3000);
    assert_eq!(tally.before.held, 150);
    assert_eq!(tally.after.held, 150);
    // Seven years are 2557 days here: from that age on a file is free today.
    let free = |days: u64| {
        (0..3000_u64)
            .filter(|ago| ago % 20 != 5 && *ago >= days)
            .count() as u64
    };
    assert_eq!(tally.before.eligible, free(2557));
    assert_eq!(tally.after.eligible, free(7));
    assert_eq!(tally.newly_eligible, free(7) - free(2557));
    assert_eq!((tally.before.restricted, tally.after.restricted), (256, 1));
    assert_eq!((tally.released, tally.newly_restricted), (255, 0));
    assert_eq!((tally.earlier, tally.later), (2850, 0));
    let months: u64 = tally.months.values().map(|month| month.before).sum();
    assert_eq!(months, 2850);
    // One closed on each day of November 2024 becomes eligible in November 2031, but for the held.
    assert_eq!(tally.months[&day("2031-11-01")].before, 28);
}

#[test]
fn the_forecast_agrees_with_one_evaluation_at_a_time() {
    let mut chance = Chance(7);
    let (before, after) = (chance.schedule(), chance.schedule());
    let class = before.class.clone();
    let cases: Vec<_> = (0..20_000).map(|_| chance.facts()).collect();
    let counted = cases.iter().filter(|facts| {
        let eligible = |schedule| {
            evaluate(schedule, facts).is_ok_and(|e| matches!(e.outcome, Outcome::Eligible { .. }))
        };
        eligible(&after) && !eligible(&before)
    });
    let counted = counted.count() as u64;
    let population = cases.iter().map(|facts| Case {
        class: class.clone(),
        facts: facts.clone(),
    });
    let [before, after] = [before, after].map(|one| Schedules::from([(class.clone(), one)]));
    let forecast = forecast(&before, &after, day(TODAY), population, told).unwrap();
    let tally = &forecast.classes[&class];
    assert_eq!((tally.records, tally.newly_eligible), (20_000, counted));
}

#[test]
fn a_population_is_streamed_with_progress_and_may_be_stopped() {
    let made = AtomicUsize::new(0);
    let population = || {
        files(100_000).inspect(|_| {
            made.fetch_add(1, Ordering::Relaxed);
        })
    };
    let mut heard = Vec::new();
    let whole = forecast(&in_force(), &in_force(), day(TODAY), population(), |done| {
        // What was made and not handed out is less than one batch.
        assert!(made.load(Ordering::Relaxed) as u64 - done < 4096);
        heard.push(done);
        ControlFlow::Continue(())
    });
    assert_eq!(whole.unwrap().records(), 100_000);
    assert!(heard.len() > 20 && heard.is_sorted() && heard.last() == Some(&100_000));
    made.store(0, Ordering::Relaxed);
    let stopped = forecast(&in_force(), &in_force(), day(TODAY), population(), |done| {
        if done < 10_000 {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    assert_eq!(stopped, None);
    assert!(made.load(Ordering::Relaxed) < 20_000);
}

#[test]
fn a_revision_that_shortens_needs_two_people_and_waits() {
    let (old, new) = (
        in_force(),
        compiled(|text| {
            text.replace(
                "add = \"P12M\" }] }\ncitation = \"ABA Model Rule 1.18\"",
                "add = \"P11M\" }] }\ncitation = \"ABA Model Rule 1.18\"",
            )
        }),
    );
    let mut revision = Revision::propose(
        &old,
        new.clone(),
        over(&old, &new, 50),
        person("author"),
        day("2026-11-22"),
    )
    .unwrap();
    assert_eq!(
        revision.shortens(),
        &BTreeSet::from([label("CASE.PROSPECT")])
    );
    let limits = Limits::default();
    let early = code(revision.activate(&old, day("2027-06-01"), &limits, &keys()));
    assert_eq!(early, Code::PolSign);
    sign(&mut revision, "author", "2026-11-22").unwrap();
    let alone = code(revision.activate(&old, day("2027-06-01"), &limits, &keys()));
    assert_eq!(alone, Code::PolSign, "one person is not two");
    assert_eq!(
        code(sign(&mut revision, "second", "2026-11-21")),
        Code::RetWait
    );
    // The signature of one day does not do for another, nor that of somebody else's key.
    let note = note(&revision, "second", "2026-11-22");
    let day_later = day("2026-11-23");
    let key = &keys()[&person("second")];
    assert_eq!(
        code(revision.sign(person("second"), day_later, &note, key)),
        Code::PolSign
    );
    let key = &keys()[&person("third")];
    assert_eq!(
        code(revision.sign(person("second"), day("2026-11-22"), &note, key)),
        Code::PolSign
    );
    sign(&mut revision, "second", "2026-11-23").unwrap();
    // A later agreement does not begin the waiting anew, nor does an earlier clock end it.
    sign(&mut revision, "third", "2026-12-31").unwrap();
    assert_eq!(
        code(revision.activate(&old, day("2026-12-06"), &limits, &keys())),
        Code::RetWait
    );
    assert_eq!(
        code(revision.activate(&old, day("2020-01-01"), &limits, &keys())),
        Code::RetWait
    );
    // It waits through a restart.
    let kept = serde_json::to_string(&revision).unwrap();
    let read: Revision = serde_json::from_str(&kept).unwrap();
    assert_eq!(
        read.activate(&old, day("2026-12-07"), &limits, &keys())
            .unwrap(),
        new
    );
    assert_eq!(
        code(read.activate(&new, day("2026-12-07"), &limits, &keys())),
        Code::RetPack
    );
    // What is on disk may be written by anybody: an agreement that is dated back is none.
    let forged = kept.replace("2026-11-23", "2026-11-22");
    assert_ne!(forged, kept);
    let forged: Revision = serde_json::from_str(&forged).unwrap();
    assert_eq!(
        code(forged.activate(&old, day("2026-12-31"), &limits, &keys())),
        Code::PolSign
    );
    // Two names and one key are one person.
    let mut one = keys();
    let same = one[&person("author")].clone();
    one.insert(person("second"), same);
    assert_eq!(
        code(read.activate(&old, day("2026-12-31"), &limits, &one)),
        Code::PolSign
    );
}

#[test]
fn a_revision_that_only_lengthens_does_not_wait() {
    let (old, new) = (in_force(), ten_years());
    let forecast = over(&old, &new, 4000);
    // The maximum of the European row moves with its minimum.
    let revision =
        Revision::propose(&old, new.clone(), forecast, person("author"), day(TODAY)).unwrap();
    assert_eq!(revision.shortens(), &BTreeSet::new());
    assert_eq!(
        revision.activate(&old, day(TODAY), &Limits::default(), &keys()),
        Ok(new)
    );
}

#[test]
fn a_pack_that_would_empty_a_class_is_stopped_however_many_agree() {
    let (old, new) = (in_force(), seven_days());
    let mut revision = Revision::propose(
        &old,
        new.clone(),
        over(&old, &new, 2000),
        person("author"),
        day(TODAY),
    )
    .unwrap();
    sign(&mut revision, "author", TODAY).unwrap();
    sign(&mut revision, "second", TODAY).unwrap();
    let late = day("2027-11-22");
    assert_eq!(
        code(revision.activate(&old, late, &Limits::default(), &keys())),
        Code::RetBrake
    );
    let lax = Limits {
        most_eligible_in_thousand: 1000,
        ..Limits::default()
    };
    assert_eq!(revision.activate(&old, late, &lax, &keys()), Ok(new));
}

#[test]
fn a_forecast_of_other_schedules_or_of_nothing_is_no_forecast() {
    let (old, new) = (in_force(), ten_years());
    let propose =
        |forecast| Revision::propose(&old, new.clone(), forecast, person("author"), day(TODAY));
    assert_eq!(code(propose(over(&old, &old, 10))), Code::RetPack);
    assert_eq!(code(propose(over(&old, &new, 0))), Code::RetPack);
}

#[test]
fn what_weakens_a_rule_is_a_shortening_even_where_no_record_shows_it() {
    let il = |change: &dyn Fn(&str) -> String| {
        let changed = change(CORE_PACK);
        assert_ne!(changed, CORE_PACK, "the change found its place");
        compiled(|text| {
            if text == CORE_PACK {
                changed.clone()
            } else {
                text.to_owned()
            }
        })
    };
    let old = in_force();
    for (what, new) in [
        (
            "a rule less",
            il(&|text| {
                text.replacen(
                    "id = \"il.books\"\nclass = \"FIRM_RECORD.BOOKS\"",
                    "id = \"il.books\"\nclass = \"FIRM_RECORD.OTHER\"",
                    1,
                )
            }),
        ),
        (
            "a nexus more to ask for",
            il(&|text| {
                text.replacen(
                    "when = [\"eea_received\"]",
                    "when = [\"eea_received\", \"x\"]",
                    1,
                )
            }),
        ),
        (
            "a bound that may be unknown",
            il(&|text| {
                text.replacen(
                    "trigger = \"event_date\", add = \"P24M\"",
                    "trigger = \"event_date\", add = \"P24M\", when_known = true",
                    1,
                )
            }),
        ),
        ("fewer days", il(&|text| text.replacen("P24M", "P729D", 1))),
        (
            "another's duty",
            il(&|text| {
                text.replacen(
                    "class = \"FIRM_RECORD.AML_ID\"\nnexus = [\"IL\"]\nduty_holder = \"firm\"",
                    "class = \"FIRM_RECORD.AML_ID\"\nnexus = [\"IL\"]\nduty_holder = \"employer\"",
                    1,
                )
            }),
        ),
        (
            "a new maximum",
            il(&|text| {
                text.replacen("citation = \"Prohibition", "ceiling = { op = \"min\", of = [{ trigger = \"act_date\", add = \"P6Y\" }] }\ncitation = \"Prohibition", 1)
            }),
        ),
    ] {
        let revision = Revision::propose(
            &old,
            new.clone(),
            over(&old, &new, 5),
            person("author"),
            day(TODAY),
        )
        .unwrap();
        assert!(!revision.shortens().is_empty(), "{what}");
    }
}

#[test]
fn the_picture_is_one_well_formed_file_with_every_class_and_no_script() {
    let packs: Vec<_> = SHIPPED
        .iter()
        .map(|(_, text)| Pack::parse(text).unwrap())
        .collect();
    let words = Words::of(&packs.iter().collect::<Vec<_>>());
    let svg = picture(&over(&in_force(), &ten_years(), 3000), &words, 96);
    let opened = svg.matches("<g>").count();
    assert!(opened > 60 && opened == svg.matches("</g>").count());
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert!(svg.contains("The case file of a client (") && svg.contains("if nothing is changed"));
    for never in ["<script", "href", "NaN", "inf\"", "url("] {
        assert!(!svg.contains(never), "{never}");
    }
    // Nothing to draw is drawn, too.
    let nothing = picture(&over(&in_force(), &in_force(), 0), &words, 0);
    assert!(nothing.ends_with("</svg>\n") && !nothing.contains("NaN"));
}
