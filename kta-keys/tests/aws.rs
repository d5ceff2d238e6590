//! AWS KMS, against the emulator.
#![cfg(all(feature = "aws", feature = "emulator"))]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "common/custodian.rs"]
mod custodian;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use chrono::TimeDelta;
use custodian::{
    AT, Backstage, CONTEXT, LATE, LATER, TENANT, clock, effect, failures, hasty, secret,
};
use kta_core::memory::ManualClock;
use kta_core::ports::kms::{KekDestruction, KekId, KekState, Kms};
use kta_core::time::Clock as _;
use kta_core::{Code, FaultKind, Result};
use kta_keys::emulator::{AwsEmulator, Failure};
use kta_keys::{AwsConfig, AwsCredentials, AwsIdentity, AwsKms, OsEntropy};

mod contract {
    kta_core::kms_conformance!(
        #[tokio::test]
        super::fresh
    );
}

#[tokio::test]
async fn it_stands_every_case_of_a_custodian_behind_a_network() {
    let stage = Stage(AwsEmulator::start().await.unwrap());
    assert_eq!(failures(&stage).await, []);
}

#[tokio::test]
async fn destruction_is_scheduled_and_becomes_immediate_when_its_time_has_come() {
    let aws = AwsEmulator::start().await.unwrap();
    let clock = ManualClock::at(clock().now());
    let kms = AwsKms::new(
        config(&aws).waiting(9),
        Arc::new(clock.clone()),
        Arc::new(OsEntropy),
    )
    .unwrap();
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    let wrapped = kms.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    let first = kms.destroy(&kek, LATER).await.unwrap();
    let KekDestruction::Scheduled { until } = first.method else {
        panic!("{first:?}");
    };
    let days = until - clock.now();
    assert!((days - TimeDelta::days(9)).abs() < TimeDelta::minutes(1));
    assert_eq!(kms.destroy(&kek, AT).await.unwrap(), first);
    let erased = Err(Code::CryErased.into());
    assert_eq!(kms.unwrap(&kek, &wrapped, CONTEXT).await, erased);

    aws.advance(TimeDelta::days(10));
    clock.advance(TimeDelta::days(10));
    assert_eq!(aws.keys(), 0);
    let last = kms.destroy(&kek, AT).await.unwrap();
    assert_eq!((last.method, last.at), (KekDestruction::Immediate, LATER));
    assert_eq!(kms.unwrap(&kek, &wrapped, CONTEXT).await, erased);
    assert_eq!(
        kms.create(TENANT, effect(1)).await.unwrap(),
        kek,
        "AWS has forgotten it; the register has not"
    );
    assert_eq!(aws.keys(), 0);
}

#[tokio::test]
async fn a_deletion_that_an_administrator_took_back_is_not_called_destroyed_and_opens_nothing() {
    let aws = AwsEmulator::start().await.unwrap();
    let kms = handle(&aws);
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    let wrapped = kms.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    let key = aws.key_of(kek.as_str()).unwrap();
    kms.destroy(&kek, AT).await.unwrap();
    aws.schedule(&key, false);
    aws.enable(&key, true);
    assert_eq!(kms.state(&kek).await, Ok(KekState::Active));
    assert_eq!(
        kms.unwrap(&kek, &wrapped, CONTEXT).await,
        Err(Code::CryErased.into())
    );
    let again = kms.destroy(&kek, LATER).await.unwrap();
    assert_eq!(again.at, AT);
    assert!(matches!(again.method, KekDestruction::Scheduled { .. }));
}

#[tokio::test]
async fn replicas_in_other_regions_count_as_copies() {
    let aws = AwsEmulator::start().await.unwrap();
    let kms = handle(&aws);
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    aws.replicate(&aws.key_of(kek.as_str()).unwrap(), 3);
    assert_eq!(kms.destroy(&kek, AT).await.unwrap().copies, 3);
}

#[tokio::test]
async fn a_key_that_lost_a_race_is_scheduled_for_deletion() {
    let aws = AwsEmulator::start().await.unwrap();
    let (one, two) = (handle(&aws), handle(&aws));
    let (one, two) = tokio::join!(one.create(TENANT, effect(1)), two.create(TENANT, effect(1)));
    assert_eq!(one.unwrap(), two.unwrap());
    let made = count(&aws, "TrentService.CreateKey");
    assert_eq!(count(&aws, "TrentService.ScheduleKeyDeletion"), made - 1);
}

#[tokio::test]
async fn a_key_whose_registration_was_told_twice_is_not_scheduled_for_deletion() {
    let aws = AwsEmulator::start().await.unwrap();
    let kms = handle(&aws);
    // It is registered, the answer is lost, and the repetition hears that it exists already.
    aws.fail(1, "PutParameter", Failure::DropAfterEffect);
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    assert_eq!(count(&aws, "AmazonSSM.PutParameter"), 2);
    assert_eq!(count(&aws, "TrentService.ScheduleKeyDeletion"), 0);
    let wrapped = kms.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    assert_eq!(kms.unwrap(&kek, &wrapped, CONTEXT).await, Ok(secret()));
    assert_eq!(kms.state(&kek).await, Ok(KekState::Active));
}

#[tokio::test]
async fn an_account_without_room_is_told_so_and_keeps_no_key_of_the_attempt() {
    let aws = AwsEmulator::start().await.unwrap();
    let kms = handle(&aws);
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    aws.fill(false, true);
    for attempt in 1..=2 {
        let error = kms.create(TENANT, effect(2)).await.unwrap_err();
        assert_eq!(error.fault().unwrap().kind(), FaultKind::Misconfigured);
        assert!(error.to_string().contains("no room"), "{error}");
        assert_eq!(count(&aws, "TrentService.CreateKey"), 1 + attempt);
        assert_eq!(count(&aws, "TrentService.ScheduleKeyDeletion"), attempt);
    }
    // Nor is a KEK called destroyed whose tombstone has no room.
    let error = kms.destroy(&kek, AT).await.unwrap_err();
    assert!(error.to_string().contains("no room"), "{error}");
    assert_eq!(kms.state(&kek).await, Ok(KekState::Active));

    aws.fill(true, false);
    let error = kms.create(TENANT, effect(2)).await.unwrap_err();
    assert_eq!(error.fault().unwrap().kind(), FaultKind::Misconfigured);
    assert!(error.to_string().contains("another key"), "{error}");

    aws.fill(false, false);
    let other = kms.create(TENANT, effect(2)).await.unwrap();
    let wrapped = kms.wrap(&other, &secret(), CONTEXT).await.unwrap();
    assert_eq!(kms.unwrap(&other, &wrapped, CONTEXT).await, Ok(secret()));
    kms.destroy(&kek, AT).await.unwrap();
    for exchange in aws.journal() {
        let body = String::from_utf8_lossy(&exchange.body);
        if exchange.operation == "AmazonSSM.PutParameter" {
            assert!(body.contains("\"Tier\":\"Intelligent-Tiering\""), "{body}");
        }
    }
}

#[tokio::test]
async fn a_key_that_does_not_show_is_scheduled_for_deletion_all_the_same() {
    let aws = AwsEmulator::start().await.unwrap();
    let kms = handle(&aws);
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    // Cut off between tombstone and deletion.
    aws.fail(3, "ScheduleKeyDeletion", Failure::Unavailable);
    kms.destroy(&kek, AT).await.unwrap_err();
    assert_eq!(kms.state(&kek).await, Ok(KekState::Active));
    aws.hide(&aws.key_of(kek.as_str()).unwrap(), 1);
    let evidence = kms.destroy(&kek, LATER).await.unwrap();
    assert_eq!(evidence.at, AT);
    assert!(matches!(evidence.method, KekDestruction::Scheduled { .. }));
}

#[tokio::test]
async fn a_wrong_secret_and_a_wrong_clock_are_told_apart_from_an_outage() {
    let aws = AwsEmulator::start().await.unwrap();
    let wrong = AwsCredentials::new(aws.access_key().0, "CANARY-wrong".into());
    let config = AwsConfig::new(aws.region(), Arc::new(wrong)).unwrap();
    let config = config.endpoints(&aws.url(), &aws.url()).unwrap();
    let kms = AwsKms::new(config.over(hasty()), clock(), Arc::new(OsEntropy)).unwrap();
    let error = kms.create(TENANT, effect(1)).await.unwrap_err();
    assert_eq!(error.fault().unwrap().kind(), FaultKind::Misconfigured);
    assert!(!format!("{kms:?} {error:?} {error}").contains("CANARY"));

    let late = ManualClock::at(clock().now() - TimeDelta::minutes(6));
    let config = self::config(&aws);
    let kms = AwsKms::new(config, Arc::new(late), Arc::new(OsEntropy)).unwrap();
    let error = kms.create(TENANT, effect(1)).await.unwrap_err();
    assert!(error.to_string().contains("clock"), "{error}");
}

#[tokio::test]
async fn expired_credentials_are_asked_for_anew_once() {
    let aws = AwsEmulator::start().await.unwrap();
    let identity = Arc::new(Renewing {
        credentials: credentials(&aws),
        asked_anew: AtomicU32::new(0),
    });
    let config = AwsConfig::new(aws.region(), identity.clone()).unwrap();
    let config = config.endpoints(&aws.url(), &aws.url()).unwrap();
    let kms = AwsKms::new(config.over(hasty()), clock(), Arc::new(OsEntropy)).unwrap();
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    aws.fail(1, "Encrypt", Failure::ExpiredToken);
    kms.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    assert_eq!(identity.asked_anew.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn no_context_reaches_the_trail_and_the_key_is_always_named() {
    let aws = AwsEmulator::start().await.unwrap();
    let kms = handle(&aws);
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    let wrapped = kms.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    kms.unwrap(&kek, &wrapped, CONTEXT).await.unwrap();
    kms.destroy(&kek, AT).await.unwrap();
    let journal = aws.journal();
    for exchange in &journal {
        let body = String::from_utf8_lossy(&exchange.body);
        assert!(!body.contains("CANARY") && !body.contains("Q0FOQVJZLWNvbnRleHQ"));
        if exchange.operation == "TrentService.Decrypt" {
            assert!(
                body.contains("\"KeyId\":\"") && body.contains("\"EncryptionContext\":{\"kta\"")
            );
        }
    }
    assert!(
        journal
            .iter()
            .any(|each| each.operation == "TrentService.Decrypt")
    );
}

/// How many requests had this target.
fn count(aws: &AwsEmulator, target: &str) -> usize {
    let journal = aws.journal();
    let of_target = journal.iter().filter(|each| each.operation == target);
    of_target.count()
}

struct Stage(AwsEmulator);

#[async_trait]
impl Backstage for Stage {
    fn kms(&self) -> Box<dyn Kms> {
        Box::new(handle(&self.0))
    }

    async fn disable(&self, kek: &KekId) -> bool {
        let key = self.0.key_of(kek.as_str()).unwrap();
        self.0.enable(&key, false);
        true
    }

    async fn delete(&self, kek: &KekId) -> bool {
        let key = self.0.key_of(kek.as_str()).unwrap();
        self.0.schedule(&key, true);
        true
    }

    async fn remove(&self, kek: &KekId) -> bool {
        self.0.remove_key(&self.0.key_of(kek.as_str()).unwrap());
        true
    }

    async fn bury(&self, kek: &KekId) {
        let tombstone = r#"{"at":"1970-01-01T00:00:00Z","copies":0}"#;
        self.0.enter(&format!("/kta/{kek}/destroyed"), tombstone);
    }

    fn throttle(&self, times: u32, seconds: Option<u32>) -> bool {
        self.0.fail(times, "Decrypt", Failure::Throttled(seconds));
        true
    }

    fn close(&self, times: u32) -> bool {
        self.0.fail(times, "Decrypt", Failure::Unavailable);
        true
    }

    fn stall(&self, times: u32) -> bool {
        self.0.fail(times, "Decrypt", Failure::Stall(LATE));
        true
    }

    fn cut(&self, after: bool) -> bool {
        let failure = if after {
            Failure::DropAfterEffect
        } else {
            Failure::DropBeforeEffect
        };
        self.0.fail(1, "TrentService", failure);
        true
    }

    fn expire(&self) -> Option<bool> {
        // Once for the first attempt and once for the one with "new" credentials.
        self.0.fail(2, "Decrypt", Failure::ExpiredToken);
        Some(false)
    }
}

#[derive(Debug)]
struct Renewing {
    credentials: AwsCredentials,
    asked_anew: AtomicU32,
}

#[async_trait]
impl AwsIdentity for Renewing {
    async fn credentials(&self, refused: bool) -> Result<AwsCredentials> {
        self.asked_anew
            .fetch_add(u32::from(refused), Ordering::SeqCst);
        Ok(self.credentials.clone())
    }
}

fn credentials(aws: &AwsEmulator) -> AwsCredentials {
    let (id, secret) = aws.access_key();
    AwsCredentials::new(id, secret.into())
}

fn config(aws: &AwsEmulator) -> AwsConfig {
    AwsConfig::new(aws.region(), Arc::new(credentials(aws)))
        .unwrap()
        .endpoints(&aws.url(), &aws.url())
        .unwrap()
        .over(hasty())
}

fn handle(aws: &AwsEmulator) -> AwsKms {
    AwsKms::new(config(aws), clock(), Arc::new(OsEntropy)).unwrap()
}

/// The emulator lives as long as the test's process.
async fn fresh() -> AwsKms {
    let aws = AwsEmulator::start().await.unwrap();
    let kms = handle(&aws);
    std::mem::forget(aws);
    kms
}
