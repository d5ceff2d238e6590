//! What clients send late, or what nobody sorted: nothing of it is lost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

#[allow(dead_code, reason = "the tests of the whole road use the rest")]
mod road;

use kta_core::id::{DeliveryId, SubjectId};
use kta_core::memory::{Letter, MemoryPorts};
use kta_core::pii::MediaType;
use kta_core::pipeline::House;
use kta_core::pipeline::receive::{self, QUARANTINE, Received, Reception};
use kta_core::pipeline::verify::{self, CaseFile, Desk, Verified};
use kta_core::policy::{Act, Purpose, Role, Scope};
use kta_core::ports::Ledger as _;
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
