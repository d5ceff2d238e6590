//! Azure Key Vault, against the emulator.
#![cfg(all(feature = "azure", feature = "emulator"))]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "common/custodian.rs"]
mod custodian;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use custodian::{AT, Backstage, CONTEXT, LATE, LATER, TENANT, effect, failures, hasty, secret};
use kta_core::ports::kms::{KekDestruction, KekId, KekState, Kms, WrappedKey};
use kta_core::{Code, FaultKind};
use kta_keys::emulator::{AzureEmulator, AzureOptions, Failure};
use kta_keys::{AzureConfig, AzureKeyVault, OsEntropy};

mod contract {
    kta_core::kms_conformance!(
        #[tokio::test]
        super::fresh
    );
}

mod contract_with_purging {
    kta_core::kms_conformance!(
        #[tokio::test]
        super::fresh_and_purging
    );
}

#[tokio::test]
async fn it_stands_every_case_of_a_custodian_behind_a_network() {
    let stage = Stage(AzureEmulator::start(AzureOptions::default()).await.unwrap());
    assert_eq!(failures(&stage).await, []);
}

#[tokio::test]
async fn without_purging_destruction_is_scheduled_for_the_end_of_retention() {
    let options = AzureOptions {
        retention_days: 30,
        ..AzureOptions::default()
    };
    let azure = AzureEmulator::start(options).await.unwrap();
    let kms = handle(&azure);
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    let wrapped = kms.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    let first = kms.destroy(&kek, LATER).await.unwrap();
    let KekDestruction::Scheduled { until } = first.method else {
        panic!("{first:?}");
    };
    let days = until - chrono::DateTime::from(std::time::SystemTime::now());
    assert!((days - TimeDelta::days(30)).abs() < TimeDelta::minutes(1));
    assert_eq!(kms.destroy(&kek, AT).await.unwrap(), first);

    azure.advance(TimeDelta::days(31));
    azure.end_tokens();
    let last = kms.destroy(&kek, AT).await.unwrap();
    assert_eq!((last.method, last.at), (KekDestruction::Immediate, LATER));
    let erased = Err(Code::CryErased.into());
    assert_eq!(kms.unwrap(&kek, &wrapped, CONTEXT).await, erased);
    assert_eq!(kms.create(TENANT, effect(1)).await.unwrap(), kek);
}

#[tokio::test]
async fn with_purging_destruction_is_immediate_unless_the_vault_is_protected() {
    for (protected, immediate) in [(false, true), (true, false)] {
        let options = AzureOptions {
            purge_protection: protected,
            lag: 2,
            ..AzureOptions::default()
        };
        let azure = AzureEmulator::start(options).await.unwrap();
        let kms = AzureKeyVault::new(config(&azure).purging(), Arc::new(OsEntropy)).unwrap();
        let kek = kms.create(TENANT, effect(1)).await.unwrap();
        let evidence = kms.destroy(&kek, AT).await.unwrap();
        assert_eq!(
            evidence.method == KekDestruction::Immediate,
            immediate,
            "{evidence:?}"
        );
        assert_eq!(kms.destroy(&kek, LATER).await.unwrap(), evidence);
    }
}

#[tokio::test]
async fn a_deleted_key_that_was_brought_back_is_not_called_destroyed_and_opens_nothing() {
    let azure = AzureEmulator::start(AzureOptions::default()).await.unwrap();
    let kms = handle(&azure);
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    let wrapped = kms.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    kms.destroy(&kek, AT).await.unwrap();
    azure.delete(kek.as_str(), false);
    assert_eq!(kms.state(&kek).await, Ok(KekState::Active));
    assert_eq!(
        kms.unwrap(&kek, &wrapped, CONTEXT).await,
        Err(Code::CryErased.into())
    );
    assert_eq!(kms.destroy(&kek, LATER).await.unwrap().at, AT);
    assert!(matches!(
        kms.state(&kek).await,
        Ok(KekState::Destroyed(evidence)) if evidence.at == AT
    ));
}

#[tokio::test]
async fn a_name_that_a_deleted_key_has_is_for_an_administrator_and_not_for_another_attempt() {
    let azure = AzureEmulator::start(AzureOptions::default()).await.unwrap();
    let kms = handle(&azure);
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    azure.delete(&format!("{kek}-entry"), true);
    let error = kms.create(TENANT, effect(1)).await.unwrap_err();
    assert_eq!(error.fault().unwrap().kind(), FaultKind::Misconfigured);
    assert!(error.to_string().contains("deleted key"), "{error}");
}

#[tokio::test]
async fn an_exportable_key_counts_as_copied() {
    let azure = AzureEmulator::start(AzureOptions::default()).await.unwrap();
    let kms = handle(&azure);
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    azure.let_out(kek.as_str());
    assert_eq!(kms.destroy(&kek, AT).await.unwrap().copies, 1);
}

#[tokio::test]
async fn what_was_wrapped_before_a_rotation_still_unwraps() {
    let azure = AzureEmulator::start(AzureOptions::default()).await.unwrap();
    let kms = handle(&azure);
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    let before = kms.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    azure.rotate(kek.as_str());
    let after = kms.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    let version = |wrapped: &WrappedKey| wrapped.as_bytes()[8..40].to_vec();
    assert_ne!(version(&before), version(&after));
    for wrapped in [before, after] {
        assert_eq!(kms.unwrap(&kek, &wrapped, CONTEXT).await.unwrap(), secret());
    }
}

#[tokio::test]
async fn every_changed_byte_is_refused_and_nothing_of_the_secret_goes_to_azure() {
    let azure = AzureEmulator::start(AzureOptions::default()).await.unwrap();
    let kms = handle(&azure);
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    let wrapped = kms.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    for position in (0..wrapped.as_bytes().len()).step_by(7) {
        let mut changed = wrapped.as_bytes().to_vec();
        changed[position] ^= 1;
        let changed = WrappedKey::from_bytes(changed);
        let outcome = kms.unwrap(&kek, &changed, CONTEXT).await;
        assert_eq!(outcome, Err(Code::CryKey.into()), "byte {position}");
    }
    assert_eq!(kms.unwrap(&kek, &wrapped, CONTEXT).await.unwrap(), secret());
    for exchange in azure.journal() {
        let body = String::from_utf8_lossy(&exchange.body);
        // base64 of "CANARY", with which both secret and context begin
        assert!(
            !body.contains("CANARY") && !body.contains("Q0FOQVJZ"),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_wrong_client_secret_is_misconfigured_and_not_shown() {
    let azure = AzureEmulator::start(AzureOptions::default()).await.unwrap();
    let (tenant, client, _) = azure.application();
    let config = AzureConfig::new(&azure.url(), tenant, client, "CANARY-wrong".into())
        .unwrap()
        .login(&azure.url(), azure.scope())
        .unwrap()
        .over(hasty());
    let kms = AzureKeyVault::new(config, Arc::new(OsEntropy)).unwrap();
    let error = kms.create(TENANT, effect(1)).await.unwrap_err();
    assert_eq!(error.fault().unwrap().kind(), FaultKind::Misconfigured);
    assert!(!format!("{kms:?} {error:?} {error}").contains("CANARY"));
}

struct Stage(AzureEmulator);

#[async_trait]
impl Backstage for Stage {
    /// Waiting as long as the case of two destructions at once needs.
    fn kms(&self) -> Box<dyn Kms> {
        let config = config(&self.0).settling(Duration::from_millis(550));
        Box::new(AzureKeyVault::new(config, Arc::new(OsEntropy)).unwrap())
    }

    async fn disable(&self, kek: &KekId) -> bool {
        self.0.enable(kek.as_str(), false);
        true
    }

    async fn delete(&self, kek: &KekId) -> bool {
        self.0.delete(kek.as_str(), true);
        true
    }

    async fn remove(&self, kek: &KekId) -> bool {
        self.0.remove(kek.as_str());
        true
    }

    async fn bury(&self, kek: &KekId) {
        let tags = [("kta-at", "1970-01-01T00:00:00Z"), ("kta-copies", "0")];
        self.0.enter(&format!("{kek}-entry"), &tags);
    }

    fn throttle(&self, times: u32, seconds: Option<u32>) -> bool {
        self.0
            .fail(times, "/unwrapkey", Failure::Throttled(seconds));
        true
    }

    fn close(&self, times: u32) -> bool {
        self.0.fail(times, "/unwrapkey", Failure::Unavailable);
        true
    }

    fn stall(&self, times: u32) -> bool {
        self.0.fail(times, "/unwrapkey", Failure::Stall(LATE));
        true
    }

    fn cut(&self, after: bool) -> bool {
        let failure = if after {
            Failure::DropAfterEffect
        } else {
            Failure::DropBeforeEffect
        };
        self.0.fail(1, "/keys/", failure);
        true
    }

    fn expire(&self) -> Option<bool> {
        self.0.end_tokens();
        Some(true)
    }
}

fn config(azure: &AzureEmulator) -> AzureConfig {
    let (tenant, client, secret) = azure.application();
    AzureConfig::new(&azure.url(), tenant, client, secret.into())
        .unwrap()
        .login(&azure.url(), azure.scope())
        .unwrap()
        .settling(Duration::from_millis(10))
        .over(hasty())
}

fn handle(azure: &AzureEmulator) -> AzureKeyVault {
    AzureKeyVault::new(config(azure), Arc::new(OsEntropy)).unwrap()
}

/// The emulator lives as long as the test's process.
async fn fresh() -> AzureKeyVault {
    let azure = AzureEmulator::start(AzureOptions::default()).await.unwrap();
    let kms = handle(&azure);
    std::mem::forget(azure);
    kms
}

async fn fresh_and_purging() -> AzureKeyVault {
    let azure = AzureEmulator::start(AzureOptions::default()).await.unwrap();
    let kms = AzureKeyVault::new(config(&azure).purging(), Arc::new(OsEntropy)).unwrap();
    std::mem::forget(azure);
    kms
}
