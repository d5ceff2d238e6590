//! Vault's transit engine, against the emulator.
#![cfg(all(feature = "vault", feature = "emulator"))]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "common/custodian.rs"]
mod custodian;

use std::sync::Arc;

use async_trait::async_trait;
use custodian::{AT, Backstage, CONTEXT, LATE, LATER, TENANT, effect, failures, hasty, secret};
use kta_core::ports::kms::{KekDestruction, KekId, KekState, Kms};
use kta_core::{Code, Error, FaultKind};
use kta_keys::emulator::{Failure, VaultEmulator};
use kta_keys::{OsEntropy, VaultAuth, VaultConfig, VaultTransit};

mod contract {
    kta_core::kms_conformance!(
        #[tokio::test]
        super::fresh
    );
}

#[tokio::test]
async fn it_stands_every_case_of_a_custodian_behind_a_network() {
    let stage = Stage(VaultEmulator::start().await.unwrap());
    assert_eq!(failures(&stage).await, []);
}

#[tokio::test]
async fn destruction_is_immediate_and_the_key_is_not_there_any_more() {
    let vault = VaultEmulator::start().await.unwrap();
    let kms = handle(&vault);
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    assert!(vault.keys().contains(kek.as_str()));
    let evidence = kms.destroy(&kek, LATER).await.unwrap();
    assert_eq!(
        (evidence.method, evidence.copies, evidence.at),
        (KekDestruction::Immediate, 0, LATER)
    );
    assert!(vault.keys().is_empty());
    // Another handle finds the tombstone, and makes no key of that name.
    let other = handle(&vault);
    assert_eq!(other.create(TENANT, effect(1)).await.unwrap(), kek);
    assert_eq!(
        other.state(&kek).await,
        Ok(KekState::Destroyed(evidence.clone()))
    );
    assert_eq!(
        other.wrap(&kek, &secret(), CONTEXT).await,
        Err(Code::CryErased.into())
    );
    assert!(vault.keys().is_empty(), "encrypting made no key");
}

#[tokio::test]
async fn a_key_that_could_be_exported_counts_as_copied() {
    let vault = VaultEmulator::start().await.unwrap();
    let kms = handle(&vault);
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    vault.let_out(kek.as_str());
    assert_eq!(kms.destroy(&kek, AT).await.unwrap().copies, 2);
    assert_eq!(kms.destroy(&kek, LATER).await.unwrap().copies, 2);
}

#[tokio::test]
async fn a_server_that_binds_no_context_is_refused_before_it_wraps_anything() {
    let vault = VaultEmulator::start().await.unwrap();
    vault.ignore_associated_data();
    let error = handle(&vault).create(TENANT, effect(1)).await.unwrap_err();
    assert_eq!(error.fault().unwrap().kind(), FaultKind::Misconfigured);
}

#[tokio::test]
async fn a_key_made_anew_beside_a_destruction_is_not_used_and_goes() {
    let vault = VaultEmulator::start().await.unwrap();
    let kms = handle(&vault);
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    // The encryption arrives after the destruction that overtook it: Vault makes a key for it.
    vault.fail(1, "/transit/encrypt/", Failure::Stall(LATE / 5));
    let secret = secret();
    let (wrapped, destroyed) = tokio::join!(kms.wrap(&kek, &secret, CONTEXT), async {
        tokio::time::sleep(LATE / 15).await;
        handle(&vault).destroy(&kek, AT).await
    });
    assert_eq!(wrapped, Err(Code::CryErased.into()));
    assert_eq!(destroyed.unwrap().method, KekDestruction::Immediate);
    assert!(vault.keys().is_empty());
}

#[tokio::test]
async fn from_a_wrong_engine_a_living_key_is_not_called_destroyed() {
    let vault = VaultEmulator::start().await.unwrap();
    let kms = handle(&vault);
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    let wrapped = kms.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    // The register is the right one, the engine of the keys is another.
    let elsewhere = config(&vault).engines("elsewhere", "secret");
    vault.mount_transit("elsewhere");
    let elsewhere = VaultTransit::new(elsewhere, Arc::new(OsEntropy)).unwrap();
    let outcome = elsewhere.destroy(&kek, AT).await;
    assert_eq!(kind(outcome), FaultKind::NotFound);
    assert_eq!(kms.state(&kek).await, Ok(KekState::Active));
    assert_eq!(kms.unwrap(&kek, &wrapped, CONTEXT).await, Ok(secret()));
}

#[tokio::test]
async fn a_key_that_another_destruction_just_deleted_is_not_called_lost() {
    let vault = VaultEmulator::start().await.unwrap();
    let kms = handle(&vault);
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    // The first has read the register; before it sees the key, the second is through.
    vault.fail(1, "GET /v1/transit/keys/", Failure::Stall(LATE / 5));
    let (first, second) = tokio::join!(kms.destroy(&kek, LATER), async {
        tokio::time::sleep(LATE / 15).await;
        handle(&vault).destroy(&kek, AT).await
    });
    assert_eq!(first.unwrap(), second.unwrap());
}

#[tokio::test]
async fn a_destruction_cut_off_at_any_request_is_not_called_done_and_can_be_finished() {
    // Requests of one destruction; each is lost once, before its effect and after it.
    for after in [false, true] {
        for step in ["GET /v1/secret", "POST /v1/secret", "/config", "DELETE"] {
            let vault = VaultEmulator::start().await.unwrap();
            let kms = handle(&vault);
            let kek = kms.create(TENANT, effect(1)).await.unwrap();
            vault.fail(3, step, failure(after));
            let outcome = kms.destroy(&kek, AT).await;
            let there = vault.keys().contains(kek.as_str());
            let state = handle(&vault).state(&kek).await.unwrap();
            assert_eq!(state == KekState::Active, there, "{step} {after}");
            match outcome {
                Ok(evidence) => assert_eq!((evidence.at, there), (AT, false)),
                Err(error) => assert!(error.fault().is_some(), "{step} {after}"),
            }
            let evidence = handle(&vault).destroy(&kek, AT).await.unwrap();
            assert_eq!(evidence.method, KekDestruction::Immediate);
            assert!(vault.keys().is_empty());
        }
    }
}

#[tokio::test]
async fn a_sealed_vault_is_unavailable_and_a_missing_engine_misconfigured() {
    let vault = VaultEmulator::start().await.unwrap();
    let kms = handle(&vault);
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    vault.seal(true);
    assert_eq!(kind(kms.state(&kek).await), FaultKind::Unavailable);
    vault.seal(false);
    let elsewhere = config(&vault).engines("transit", "kv");
    let elsewhere = VaultTransit::new(elsewhere, Arc::new(OsEntropy)).unwrap();
    assert_eq!(kind(elsewhere.state(&kek).await), FaultKind::Misconfigured);
    let wrong = VaultAuth::token("CANARY-wrong-token".into());
    let wrong = VaultConfig::new(&vault.url(), wrong).unwrap().over(hasty());
    let wrong = VaultTransit::new(wrong, Arc::new(OsEntropy)).unwrap();
    let error = wrong.state(&kek).await.unwrap_err();
    assert_eq!(error.fault().unwrap().status(), Some(403));
    assert!(!format!("{wrong:?} {error:?} {error}").contains("CANARY"));
}

#[tokio::test]
async fn no_context_and_no_secret_in_the_clear_reaches_the_wire_beyond_the_plaintext() {
    let vault = VaultEmulator::start().await.unwrap();
    let kms = handle(&vault);
    let kek = kms.create(TENANT, effect(1)).await.unwrap();
    let wrapped = kms.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    kms.unwrap(&kek, &wrapped, CONTEXT).await.unwrap();
    kms.destroy(&kek, AT).await.unwrap();
    let journal = vault.journal();
    assert!(journal.len() > 10);
    for exchange in journal {
        let shown = format!(
            "{} {}",
            exchange.operation,
            String::from_utf8_lossy(&exchange.body)
        );
        assert!(!shown.contains("CANARY"), "{shown}");
        // base64 of "CANARY-context"
        assert!(!shown.contains("Q0FOQVJZLWNvbnRleHQ"), "{shown}");
    }
}

struct Stage(VaultEmulator);

#[async_trait]
impl Backstage for Stage {
    fn kms(&self) -> Box<dyn Kms> {
        let (role, secret) = self.0.role();
        let auth = VaultAuth::app_role(role, secret.into());
        let config = VaultConfig::new(&self.0.url(), auth).unwrap().over(hasty());
        Box::new(VaultTransit::new(config, Arc::new(OsEntropy)).unwrap())
    }

    /// Vault's way to switch a key off: a new version, and the old one disallowed.
    async fn disable(&self, kek: &KekId) -> bool {
        self.0.retire(kek.as_str());
        true
    }

    async fn delete(&self, kek: &KekId) -> bool {
        self.0.remove_key(kek.as_str());
        true
    }

    async fn remove(&self, kek: &KekId) -> bool {
        self.delete(kek).await
    }

    async fn bury(&self, kek: &KekId) {
        let tombstone = r#"{"kek":"destroyed","at":"1970-01-01T00:00:00Z","copies":0}"#;
        self.0.enter(kek.as_str(), tombstone);
    }

    fn throttle(&self, times: u32, seconds: Option<u32>) -> bool {
        self.0.fail(times, "/transit/", Failure::Throttled(seconds));
        true
    }

    fn close(&self, times: u32) -> bool {
        self.0.fail(times, "/transit/", Failure::Unavailable);
        true
    }

    fn stall(&self, times: u32) -> bool {
        self.0
            .fail(times, "/transit/decrypt/", Failure::Stall(LATE));
        true
    }

    fn cut(&self, after: bool) -> bool {
        self.0.fail(1, "/transit/", failure(after));
        true
    }

    fn expire(&self) -> Option<bool> {
        self.0.end_tokens();
        Some(true)
    }
}

fn failure(after: bool) -> Failure {
    if after {
        Failure::DropAfterEffect
    } else {
        Failure::DropBeforeEffect
    }
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, Error>) -> FaultKind {
    outcome.unwrap_err().fault().unwrap().kind()
}

fn config(vault: &VaultEmulator) -> VaultConfig {
    let auth = VaultAuth::token(vault.root_token().into());
    VaultConfig::new(&vault.url(), auth).unwrap().over(hasty())
}

fn handle(vault: &VaultEmulator) -> VaultTransit {
    VaultTransit::new(config(vault), Arc::new(OsEntropy)).unwrap()
}

/// The emulator lives as long as the test's process.
async fn fresh() -> VaultTransit {
    let vault = VaultEmulator::start().await.unwrap();
    let kms = handle(&vault);
    std::mem::forget(vault);
    kms
}
