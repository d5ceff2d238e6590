//! A filing is accounted for as what was submitted, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "the tests of the whole road use the rest")]
mod road;

use chrono::TimeDelta;
use kta_core::audit::Label;
use kta_core::id::{Digest, DocumentId};
use kta_core::memory::{FaultPlan, MemoryPorts, Strike};
use kta_core::pii::{DocumentKind, MatterState};
use kta_core::pipeline::collaborate::Shared;
use kta_core::pipeline::transmit::{Disclosure, Filing, Transmitted, submission_key, transmit};
use kta_core::pipeline::{House, collaborate, manage, store};
use kta_core::policy::{Purpose, Role};
use kta_core::ports::store::Register;
use kta_core::{Code, Port, Result};

use road::{Cast, ports, session};

async fn shared(ports: &MemoryPorts, house: &House, cast: &Cast) -> Shared {
    let processed = road::until_processed(ports, house, cast).await.unwrap();
    let paralegal = session(house, Role::Paralegal, Purpose::Representation);
    let stored = store::store(house, &paralegal, processed).await.unwrap();
    collaborate::collaborate(house, stored).await.unwrap()
}

fn filing(shared: &Shared, kinds: &[DocumentKind]) -> Filing {
    let wanted = shared.stored().documents();
    let wanted = wanted.filter(|document| kinds.contains(&document.kind));
    Filing {
        agency: Label::fixed("us.uscis"),
        form: Label::fixed("i-129"),
        edition: "2025-01-20".parse().unwrap(),
        documents: wanted.map(|document| document.id).collect(),
        authority: Some(Digest::of(b"G-28, signed")),
    }
}

async fn file(
    ports: &MemoryPorts,
    house: &House,
    cast: &Cast,
    kinds: &[DocumentKind],
) -> Result<Transmitted> {
    let shared = shared(ports, house, cast).await;
    let filing = filing(&shared, kinds);
    let filer = session(house, Role::Attorney, Purpose::Filing);
    transmit(house, &filer, shared, filing).await
}

/// Which documents were disclosed, and in which packages.
async fn disclosed(house: &House, cast: &Cast) -> Vec<(DocumentId, Digest)> {
    let all: Vec<Disclosure> = house
        .filed_in(Register::Disclosures, cast.matter)
        .await
        .unwrap();
    let mut all: Vec<_> = all.iter().map(|one| (one.document, one.package)).collect();
    all.sort();
    all
}

fn of(filed: &Transmitted) -> Vec<(DocumentId, Digest)> {
    let package = filed.package();
    assert_eq!(package.digest(), filed.submission().package);
    package
        .parts
        .iter()
        .map(|part| (part.document, package.digest()))
        .collect()
}

fn refused(outcome: Result<Transmitted>) -> Code {
    outcome.unwrap_err().refusal().unwrap().code()
}

const FIRST: &[DocumentKind] = &[DocumentKind::Passport, DocumentKind::Lca];
const OTHER: &[DocumentKind] = &[DocumentKind::Passport, DocumentKind::Degree];

#[tokio::test]
async fn what_was_submitted_is_accounted_for_whoever_finds_it() {
    let counted = FaultPlan::none();
    let (first, cast) = ports(71).await;
    let house = first.open_under(&counted).await.unwrap();
    shared(&first, &house, &cast).await;
    let (ports, cast, plan) = 'died: {
        for call in counted.calls().. {
            let (ports, cast) = ports(71).await;
            let plan = FaultPlan::at(call, Strike::DeadAfter);
            let house = ports.open_under(&plan).await.unwrap();
            assert!(file(&ports, &house, &cast, FIRST).await.is_err());
            if plan.struck() == Some((Port::Channel, "submit")) {
                break 'died (ports, cast, plan);
            }
        }
        unreachable!("it submits");
    };
    plan.heal();
    let house = ports.open().await.unwrap();
    manage::wake(&house).await.unwrap();
    let another = file(&ports, &house, &cast, OTHER).await;
    assert_eq!(refused(another), Code::AgyFiled);
    assert_eq!(disclosed(&house, &cast).await, []);
    // The same filing, on another day.
    ports.clock.advance(TimeDelta::days(1));
    let filed = file(&ports, &house, &cast, FIRST).await.unwrap();
    let mut expected = of(&filed);
    expected.sort();
    assert!(expected.len() >= 2);
    assert_eq!(disclosed(&house, &cast).await, expected);
    assert_eq!(
        filed.key(),
        submission_key(cast.matter, &Label::fixed("i-129"))
    );
}

#[tokio::test]
async fn more_is_filed_when_the_agency_asks_for_more() {
    let (ports, cast) = ports(72).await;
    let house = ports.open().await.unwrap();
    let first = file(&ports, &house, &cast, FIRST).await.unwrap();
    let early = file(&ports, &house, &cast, OTHER).await;
    assert_eq!(refused(early), Code::AgyFiled);

    let attorney = session(&house, Role::Attorney, Purpose::Filing);
    manage::amend_matter(&house, &attorney, cast.matter, "rfe", |matter| {
        matter.advance(MatterState::Rfe)
    })
    .await
    .unwrap();
    let second = file(&ports, &house, &cast, OTHER).await.unwrap();
    assert_ne!(second.key(), first.key());
    assert_ne!(second.submission().package, first.submission().package);
    let mut expected = [of(&first), of(&second)].concat();
    expected.sort();
    assert_eq!(disclosed(&house, &cast).await, expected);
    // Each of them again is the one that was made.
    for (kinds, made) in [(FIRST, &first), (OTHER, &second)] {
        let again = file(&ports, &house, &cast, kinds).await.unwrap();
        assert_eq!(again.submission(), made.submission());
    }
    assert_eq!(disclosed(&house, &cast).await, expected);
}
