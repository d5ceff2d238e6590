//! What clients send late, twice, again, or what nobody sorted: nothing of it is lost, and no
//! copy of it outlives its quarantine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

#[allow(dead_code, reason = "the tests of the whole road use the rest")]
mod road;

use kta_core::audit::Label;
use kta_core::id::{DeliveryId, SubjectId};
use kta_core::memory::{FaultPlan, Letter, MemoryPorts, Strike};
use kta_core::pii::{MediaType, PlacementState};
use kta_core::pipeline::receive::{self, QUARANTINE, Received, Reception};
use kta_core::pipeline::verify::{self, CaseFile, Desk, Verified};
use kta_core::pipeline::{House, manage};
use kta_core::policy::{Act, Purpose, Role, Scope};
use kta_core::ports::store::{Change, ChangeSet, Expected, PlacementQuery, Register, SheetQuery};
use kta_core::ports::{Ledger as _, Store as _};
use kta_core::{Code, Error, Result};

#[tokio::test]
async fn what_comes_after_the_release_is_refused_and_stays_in_quarantine() {
    let (ports, cast) = road::ports(41).await;
    let house = ports.open().await.unwrap();
    drop(road::until_processed(&ports, &house, &cast).await.unwrap());
    let late = take_in(&ports, &house, letter("a better scan")).await;
    let size = ports.store.size(house.tenant()).await.unwrap();

    let id = late.delivery();
    let refused = release(&house, vec![late], road::case(&cast)).await;
    assert_eq!(code(&refused.unwrap_err()), Code::RevReleased);
    let logged = log_since(&ports, &house, size).await;
    assert!(logged.contains("REV-RELEASED") && !logged.contains("\"destroy\""));

    let late = find(&house, id).await;
    assert_eq!(content(&house, &late).await.unwrap(), b"a better scan");
    assert_eq!(ports.intake.len(), 1);

    // What this release took in is ended again, as after a crash, and that is all.
    let mut released = Vec::new();
    for delivery in &cast.deliveries {
        released.push(find(&house, *delivery).await);
    }
    let again = release(&house, released, road::case(&cast)).await.unwrap();
    assert_eq!(again.documents().len(), 11);
    assert_eq!(content(&house, &late).await.unwrap(), b"a better scan");
}

#[tokio::test]
async fn an_older_receipt_of_a_release_knows_its_deliveries_by_their_documents() {
    let (ports, cast) = road::ports(47).await;
    let house = ports.open().await.unwrap();
    drop(road::until_processed(&ports, &house, &cast).await.unwrap());
    let name = Label::new(format!("verified:{}", cast.matter)).unwrap();
    let named = SheetQuery::named(house.tenant(), Register::Receipts, name);
    let mut sheet = ports.store.sheets(&named).await.unwrap().remove(0);
    let mut body: serde_json::Value = serde_json::from_slice(&sheet.body).unwrap();
    body.as_object_mut().unwrap().remove("deliveries").unwrap();
    sheet.body = serde_json::to_vec(&body).unwrap();
    sheet.revision += 1;
    let (older, expected) = (
        ChangeSet::new(house.tenant(), house.gate.now()),
        Expected::Any,
    );
    let older = older.with(Change::File { sheet, expected });
    ports.store.commit(older).await.unwrap();

    let late = take_in(&ports, &house, letter("a better scan")).await;
    let id = late.delivery();
    let refused = release(&house, vec![late], road::case(&cast)).await;
    assert_eq!(code(&refused.unwrap_err()), Code::RevReleased);
    assert!(content(&house, &find(&house, id).await).await.is_ok());
    let first = find(&house, cast.deliveries[0]).await;
    let again = release(&house, vec![first], road::case(&cast)).await;
    assert_eq!(again.unwrap().documents().len(), 11);
}

#[tokio::test]
async fn an_attachment_that_nobody_named_stops_the_release() {
    let (ports, cast) = road::ports(42).await;
    let house = ports.open().await.unwrap();
    road::found(&house, &cast).await.unwrap();
    let extra = ports.intake.push(letter("nobody said what this is")).0;
    let all = [cast.deliveries[0], cast.deliveries[1], extra];
    for _ in all {
        receive(&ports, &house).await.unwrap();
    }
    let mut received = Vec::new();
    for delivery in all {
        received.push(find(&house, delivery).await);
    }
    let refused = release(&house, received, road::case(&cast)).await;
    assert_eq!(code(&refused.unwrap_err()), Code::RevUnsorted);
    assert_eq!(ports.intake.len(), 3);
    let kept = find(&house, extra).await;
    assert!(content(&house, &kept).await.is_ok());

    // Set aside on purpose, it ends with the others.
    let mut case = road::case(&cast);
    case.set_aside.insert((extra, 0));
    let mut received = Vec::new();
    for delivery in all {
        received.push(find(&house, delivery).await);
    }
    release(&house, received, case).await.unwrap();
    assert!(ports.intake.is_empty());
    assert!(content(&house, &kept).await.is_err());
}

#[tokio::test]
async fn every_copy_of_what_was_sent_twice_goes_with_the_quarantine() {
    let (ports, house) = firm(43).await;
    let first = take_in(&ports, &house, letter("once")).await;
    let size = ports.store.size(house.tenant()).await.unwrap();
    let second = take_in(&ports, &house, letter("once")).await;
    assert_eq!(first.delivery(), second.delivery());
    assert_eq!(ports.intake.len(), 2);
    let logged = log_since(&ports, &house, size).await;
    assert!(logged.contains("another-copy"));
    discard(&house, first.delivery()).await.unwrap();
    assert!(ports.intake.is_empty(), "a copy outlived its quarantine");
    all_absent(&ports, &house).await;
}

#[tokio::test]
async fn what_arrives_again_after_its_quarantine_ended_has_a_receipt_of_its_own() {
    let (ports, house) = firm(44).await;
    let mut seen: Vec<DeliveryId> = Vec::new();
    for _ in 0..3 {
        let received = take_in(&ports, &house, letter("again")).await;
        assert!(!seen.contains(&received.delivery()));
        assert_eq!(content(&house, &received).await.unwrap(), b"again");
        // A second copy of this one is found under this receipt.
        let twice = take_in(&ports, &house, letter("again")).await;
        assert_eq!(twice.delivery(), received.delivery());
        discard(&house, received.delivery()).await.unwrap();
        assert!(ports.intake.is_empty());
        seen.push(received.delivery());
    }
    all_absent(&ports, &house).await;
}

#[tokio::test]
async fn what_was_refused_is_a_placement_and_can_be_discarded() {
    let (ports, house) = firm(45).await;
    for _ in 0..2 {
        ports
            .intake
            .push(letter("sealed").unreadable(Code::IntOpaque));
    }
    let size = ports.store.size(house.tenant()).await.unwrap();
    let mut refused = Vec::new();
    for _ in 0..2 {
        match receive(&ports, &house).await.unwrap() {
            Reception::Refused { delivery, refusal } => {
                assert_eq!(refusal.code(), Code::IntOpaque);
                refused.push(delivery);
            }
            other => panic!("taken in: {other:?}"),
        }
    }
    let logged = log_since(&ports, &house, size).await;
    assert!(logged.contains("INT-OPAQUE"));
    let incidents = SheetQuery::all(house.tenant(), Register::Incidents);
    assert!(ports.store.sheets(&incidents).await.unwrap().is_empty());
    assert_eq!(refused[0], refused[1]);
    discard(&house, refused[0]).await.unwrap();
    assert!(ports.intake.is_empty(), "a refused letter stays for ever");
    all_absent(&ports, &house).await;
}

#[tokio::test]
async fn killed_at_any_step_of_twice_discarded_and_again_nothing_is_lost_or_left() {
    for strike in [
        Strike::DeadBefore,
        Strike::DeadAfter,
        Strike::Before,
        Strike::After,
    ] {
        for call in 0.. {
            let (ports, _) = firm(46).await;
            let plan = FaultPlan::at(call, strike);
            ports.intake.push(letter("once"));
            let (id, _) = ports.intake.push(letter("once"));
            let dying = ports.open_under(&plan).await;
            if let Ok(dying) = dying
                && manage::wake(&dying).await.is_ok()
            {
                drop(walk(&ports, &dying, id).await);
            }
            let struck = plan.struck().is_some();
            plan.heal();
            let risen = ports.open().await.unwrap();
            manage::wake(&risen).await.unwrap();
            walk(&ports, &risen, id).await.unwrap();
            assert!(ports.intake.is_empty(), "call {call} {strike:?}");
            all_absent(&ports, &risen).await;
            let again = take_in(&ports, &risen, letter("once")).await;
            assert_ne!(again.delivery(), id, "call {call} {strike:?}");
            assert_eq!(content(&risen, &again).await.unwrap(), b"once");
            if !struck {
                assert!(call > 20, "{call} calls");
                break;
            }
        }
    }
}

/// Takes everything in and discards it.
async fn walk(ports: &MemoryPorts, house: &House, id: DeliveryId) -> Result<()> {
    while let Reception::Received(_) = receive(ports, house).await? {}
    discard(house, id).await
}

async fn firm(seed: u64) -> (MemoryPorts, House) {
    let (ports, cast) = road::ports(seed).await;
    let house = ports.open().await.unwrap();
    road::found(&house, &cast).await.unwrap();
    // The family's own letters are not what these tests are about.
    while let Reception::Received(one) = receive(&ports, &house).await.unwrap() {
        discard(&house, one.delivery()).await.unwrap();
    }
    (ports, house)
}

fn letter(text: &str) -> Letter {
    let at = "2026-11-22T09:30:00Z".parse().unwrap();
    Letter::new(at, "noa@qzx-canary.example").attach("paper.txt", MediaType::text(), text)
}

async fn receive(ports: &MemoryPorts, house: &House) -> Result<Reception> {
    let clerk = road::session(house, Role::Intake, Purpose::Representation);
    receive::receive(house, &clerk, &*ports.intake).await
}

async fn take_in(ports: &MemoryPorts, house: &House, letter: Letter) -> Received {
    ports.intake.push(letter);
    match receive(ports, house).await.unwrap() {
        Reception::Received(received) => received,
        other => panic!("not taken in: {other:?}"),
    }
}

async fn find(house: &House, delivery: DeliveryId) -> Received {
    let clerk = road::session(house, Role::Intake, Purpose::Representation);
    let found = receive::received(house, &clerk, delivery).await.unwrap();
    found.expect("it was taken in")
}

async fn discard(house: &House, delivery: DeliveryId) -> Result<()> {
    let destroyer = road::session(house, Role::ServiceDestroy, Purpose::Disposition);
    receive::discard(house, &destroyer, delivery).await
}

async fn release(house: &House, received: Vec<Received>, case: CaseFile) -> Result<Verified> {
    let clerk = road::session(house, Role::Intake, Purpose::Representation);
    let paralegal = road::session(house, Role::Paralegal, Purpose::Representation);
    let destroyer = road::session(house, Role::ServiceDestroy, Purpose::Disposition);
    let desk = Desk {
        clerk: &clerk,
        reviewer: &paralegal,
        destroyer: &destroyer,
    };
    verify::verify(house, desk, received, case).await
}

/// The first attachment, as the clerk opens it.
async fn content(house: &House, received: &Received) -> Result<Vec<u8>> {
    let clerk = road::session(house, Role::Intake, Purpose::Representation);
    let person = SubjectId::derived(&[b"quarantine", received.delivery().as_bytes()]);
    let permit = clerk
        .permit(Act::Release, Scope::of(person, QUARANTINE))
        .await?;
    let content = received.content(house, 0, &permit).await?;
    let bytes = content.collect(1 << 20, &permit).await?;
    Ok(bytes.expose(&permit).clone())
}

/// Nothing that stood at the channel is registered as present.
async fn all_absent(ports: &MemoryPorts, house: &House) {
    let receipts = SheetQuery::all(house.tenant(), Register::Receipts);
    for sheet in ports.store.sheets(&receipts).await.unwrap() {
        let query = PlacementQuery::of(house.tenant(), sheet.subject.unwrap());
        let placements = ports.store.placements(&query).await.unwrap();
        assert!(!placements.is_empty());
        for placement in placements {
            let gone = matches!(placement.state, PlacementState::Absent { .. });
            assert!(gone, "{placement:?}");
        }
    }
}

async fn log_since(ports: &MemoryPorts, house: &House, from: u64) -> String {
    let entries = ports.store.entries(house.tenant(), from, 10_000).await;
    let entries = entries.unwrap().into_iter();
    entries
        .map(|entry| String::from_utf8(entry).unwrap())
        .collect()
}

fn code(error: &Error) -> Code {
    error.refusal().expect("a refusal").code()
}
