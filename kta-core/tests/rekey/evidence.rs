//! What may be claimed of former keys that ended.

use kta_core::audit::Label;
use kta_core::crypto::EraseClaim;
use kta_core::pipeline::rekey::Stage;
use kta_core::ports::key_table::{CopiedKey, KeyCopy};

use crate::custodian::waiting;
use crate::firm::*;
use crate::road;

#[tokio::test]
async fn a_copy_of_one_key_that_stands_makes_the_whole_claim_invalid() {
    let (ports, cast) = filled(11).await;
    let house = ports.open().await.unwrap();
    kta_core::pipeline::manage::wake(&house).await.unwrap();
    let keys = house.sealer.keys();
    let holder = Label::fixed("escrow");
    let copy = KeyCopy {
        of: CopiedKey::Subject(cast.people[3]),
        epoch: None,
        holder: holder.clone(),
        since: house.gate.now(),
        destroyed: None,
    };
    keys.declare_copy(copy).await.unwrap();
    let done = to_the_end(&ports, &house).await;
    assert_eq!(done.stage, Stage::Done);
    assert_eq!(done.claim, Some(EraseClaim::Invalid));

    // The copy was of the key before: once it is gone too, the next keys end with proof.
    let at = house.gate.now();
    assert_eq!(keys.copies_destroyed(&holder, at).await.unwrap(), 1);
    let done = to_the_end(&ports, &house).await;
    assert_eq!(done.claim, Some(EraseClaim::Effective));
    everything_opens(&house, &cast).await;
}

#[tokio::test]
async fn a_custodian_that_waits_makes_the_claim_one_from_the_end_of_its_waiting() {
    let (ports, cast, house, custodian) = waiting(36).await;
    road::found(&house, &cast).await.unwrap();
    let done = to_the_end(&ports, &house).await;
    assert_eq!(done.people, cast.people.len() as u64);
    let until = house.gate.now() + chrono::TimeDelta::days(30);
    assert_eq!(done.claim, Some(EraseClaim::EffectiveFrom(until)));
    assert!(log(&house).await.contains("\"method\":\"scheduled\""));

    // Should the waiting be lengthened, the later rotation claims no earlier than that.
    custodian
        .days
        .store(60, std::sync::atomic::Ordering::Relaxed);
    let next = to_the_end(&ports, &house).await;
    let until = house.gate.now() + chrono::TimeDelta::days(60);
    assert_eq!(next.claim, Some(EraseClaim::EffectiveFrom(until)));
}
