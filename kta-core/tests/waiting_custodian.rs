//! A custodian that deletes keys at the end of a waiting period: no certificate is final before.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod custodian;
#[allow(dead_code, reason = "the tests of the whole road use the rest")]
mod road;

use std::sync::atomic::Ordering;

use chrono::TimeDelta;
use kta_core::Code;
use kta_core::crypto::EraseClaim;
use kta_core::pipeline::House;
use kta_core::pipeline::dispose::{Disposed, disposed};
use kta_core::ports::Ledger as _;
use kta_core::retention::CertificateState;
use kta_core::time::Clock as _;

use custodian::waiting;
use road::Cast;

#[tokio::test]
async fn a_certificate_is_interim_until_the_custodian_has_deleted_the_key() {
    let (ports, cast, house, custodian) = waiting(31).await;
    let disposed = road::drive(&ports, &house, &cast).await.unwrap();
    let until = ports.clock.now() + TimeDelta::days(30);
    assert_eq!(disposed.interim_until(), Some(until));
    for issued in disposed.certificates() {
        let interim = CertificateState::Interim { until };
        assert_eq!(issued.certificate.state, interim);
        let [key] = &issued.certificate.keys[..] else {
            panic!("one key of each person");
        };
        assert_eq!(key.claim(), EraseClaim::EffectiveFrom(until));
    }
    ports.clock.advance(TimeDelta::days(29));
    let before = ports.store.size(house.tenant()).await.unwrap();
    refused(&house, disposed, Code::DstResidue).await;
    let after = ports.store.size(house.tenant()).await.unwrap();
    assert_eq!(after - before, 1, "the refusal is on the log");
    assert_eq!(custodian.asked(), 0);

    ports.clock.advance(TimeDelta::days(2));
    let ended = road::finalise(&house, again(&house, &cast).await).await;
    let ended = ended.unwrap();
    assert_eq!(custodian.asked(), 5, "once for each person");
    assert_eq!(ended.interim_until(), None);
    for issued in ended.certificates() {
        assert_eq!(issued.certificate.state, CertificateState::Final);
        assert_eq!(issued.certificate.keys.len(), 1);
    }
    // What is filed is what was answered.
    assert_eq!(again(&house, &cast).await.interim_until(), None);
}

#[tokio::test]
async fn a_final_certificate_holds_what_the_custodian_said_last() {
    let (ports, cast, house, custodian) = waiting(32).await;
    let disposed = road::drive(&ports, &house, &cast).await.unwrap();
    ports.clock.advance(TimeDelta::days(31));
    custodian.deleted.store(true, Ordering::Relaxed);
    let ended = road::finalise(&house, disposed).await.unwrap();
    for issued in ended.certificates() {
        let [key] = &issued.certificate.keys[..] else {
            panic!("one key of each person");
        };
        assert_eq!(key.claim(), EraseClaim::Effective);
    }
}

#[tokio::test]
async fn a_cancelled_deletion_gives_no_final_certificate() {
    let (ports, cast, house, custodian) = waiting(33).await;
    let disposed = road::drive(&ports, &house, &cast).await.unwrap();
    custodian.cancelled.store(true, Ordering::Relaxed);
    ports.clock.advance(TimeDelta::days(31));
    refused(&house, disposed, Code::DstCeInvalid).await;
    let still = again(&house, &cast).await;
    assert!(still.interim_until().is_some());
    assert_eq!(still.certificates().len(), 5);
}

#[tokio::test]
async fn a_deletion_that_was_scheduled_anew_gives_no_final_certificate_before_its_time() {
    let (ports, cast, house, custodian) = waiting(34).await;
    let disposed = road::drive(&ports, &house, &cast).await.unwrap();
    custodian.days.store(60, Ordering::Relaxed);
    ports.clock.advance(TimeDelta::days(31));
    refused(&house, disposed, Code::DstResidue).await;
    ports.clock.advance(TimeDelta::days(30));
    let ended = road::finalise(&house, again(&house, &cast).await).await;
    assert_eq!(ended.unwrap().interim_until(), None);
}

#[tokio::test]
async fn a_certificate_that_is_final_already_is_not_given_again() {
    let (ports, cast, house, _) = waiting(35).await;
    road::second_matter(&ports, &house, &cast).await;
    let disposed = road::drive(&ports, &house, &cast).await.unwrap();
    // Whose key stays waits for nothing.
    let now = |disposed: &Disposed| -> Vec<String> {
        let issued = disposed.certificates().iter();
        let ended = issued.filter(|one| one.certificate.state == CertificateState::Final);
        ended.map(|one| one.note.clone()).collect()
    };
    let first = now(&disposed);
    assert_eq!(first.len(), 3);
    ports.clock.advance(TimeDelta::days(31));
    let ended = road::finalise(&house, disposed).await.unwrap();
    assert_eq!(now(&ended).len(), 5);
    assert!(first.iter().all(|note| now(&ended).contains(note)));
    let mut filed = now(&again(&house, &cast).await);
    let mut ended = now(&ended);
    filed.sort();
    ended.sort();
    assert_eq!(filed, ended);
}

async fn refused(house: &House, disposed: Disposed, expected: Code) {
    let refused = road::finalise(house, disposed).await.unwrap_err();
    assert_eq!(refused.refusal().expect("a refusal").code(), expected);
}

async fn again(house: &House, cast: &Cast) -> Disposed {
    disposed(house, cast.matter).await.unwrap().unwrap()
}
