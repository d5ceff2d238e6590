//! The cases that every custodian outside this process must stand, beyond the contract's kit:
//! what an administrator does to a key behind our back, and what a network does to a request.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]

use std::sync::Arc;
#[cfg(any(feature = "aws", feature = "azure", feature = "vault"))]
use std::time::Duration;

use async_trait::async_trait;
use kta_core::crypto::SecretKey;
use kta_core::id::{IdempotencyKey, TenantId};
use kta_core::ports::kms::{KekDestruction, KekId, KekState, Kms};
use kta_core::time::{Clock, Timestamp};
use kta_core::{Code, Error, FaultKind, Result};
#[cfg(any(feature = "aws", feature = "azure", feature = "vault"))]
use kta_http::Limits;
#[cfg(any(feature = "aws", feature = "azure", feature = "vault"))]
use kta_keys::Connection;

/// What a test can do to a custodian from behind. `false`: not to this one.
#[async_trait]
pub trait Backstage: Send + Sync {
    /// The custodian as our adapter sees it, in a namespace of its own.
    fn kms(&self) -> Box<dyn Kms>;

    /// The cases that say nothing of this custodian, each with the reason. They are not run.
    fn without_meaning(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// An administrator switches the key off.
    async fn disable(&self, kek: &KekId) -> bool;

    /// An administrator deletes the key, or schedules that.
    async fn delete(&self, kek: &KekId) -> bool;

    /// An administrator deletes the key, and nothing is left of it.
    async fn remove(&self, _kek: &KekId) -> bool {
        false
    }

    /// An administrator lays the tombstone by hand, dated [`AT`], in the form that the adapter's
    /// documentation tells.
    async fn bury(&self, _kek: &KekId) {}

    /// The next `times` requests of this kind are answered with "slow down", and this many
    /// seconds where the vendor says any.
    fn throttle(&self, _times: u32, _seconds: Option<u32>) -> bool {
        false
    }

    /// The next `times` requests are answered with "not serving".
    fn close(&self, _times: u32) -> bool {
        false
    }

    /// The next `times` requests to use a key are answered late.
    fn stall(&self, _times: u32) -> bool {
        false
    }

    /// The next request loses its connection, after it took effect or before.
    fn cut(&self, _after: bool) -> bool {
        false
    }

    /// Token or credentials end now. Whether the adapter can have others.
    fn expire(&self) -> Option<bool> {
        None
    }
}

/// Runs every case; gives the names of those that failed, with what came instead.
pub async fn failures(stage: &dyn Backstage) -> Vec<(&'static str, String)> {
    let mut failed = Vec::new();
    let mut number = 0;
    let mut without_meaning = stage.without_meaning().to_vec();
    for (case, why) in &without_meaning {
        println!("not run: {case}: {why}");
    }
    macro_rules! run {
        ($($case:ident)*) => {
            $(
                number += 1;
                let listed = without_meaning.len();
                without_meaning.retain(|(case, _)| *case != stringify!($case));
                if without_meaning.len() == listed
                    && let Err(came) = $case(stage, number).await
                {
                    failed.push((stringify!($case), came));
                }
            )*
            // What is written below and not run here would be a warning.
        };
    }
    run! {
        a_disabled_key_unwraps_nothing
        a_disabled_key_wraps_nothing
        a_key_deleted_behind_our_back_unwraps_nothing
        a_key_deleted_behind_our_back_wraps_nothing
        a_key_that_is_gone_is_called_destroyed_only_when_an_administrator_says_so
        another_context_is_refused
        another_key_is_refused
        a_key_of_another_tenant_is_refused
        a_well_formed_name_that_nobody_made_is_unknown
        a_short_throttling_is_waited_out
        a_long_throttling_is_told
        an_outage_is_told_as_one
        a_short_outage_is_waited_out
        an_answer_that_comes_late_is_a_fault
        a_cut_connection_is_tried_again
        a_destruction_whose_answer_was_lost_is_one_destruction
        a_creation_whose_answer_was_lost_is_one_key
        an_ended_token_is_renewed_or_told
        creations_at_once_give_one_key
        destructions_at_once_give_one_evidence
    }
    for (case, _) in without_meaning {
        failed.push((case, "there is no such case".to_owned()));
    }
    failed
}

type Verdict = std::result::Result<(), String>;

async fn a_disabled_key_unwraps_nothing(stage: &dyn Backstage, number: u8) -> Verdict {
    let (kms, kek, wrapped) = wrapped(stage, number).await;
    assert!(stage.disable(&kek).await, "every custodian has a way");
    fault_of(
        kms.unwrap(&kek, &wrapped, CONTEXT).await,
        FaultKind::Misconfigured,
    )
}

async fn a_disabled_key_wraps_nothing(stage: &dyn Backstage, number: u8) -> Verdict {
    let (kms, kek, _) = wrapped(stage, number).await;
    assert!(stage.disable(&kek).await);
    match kms.wrap(&kek, &secret(), CONTEXT).await {
        // Vault has no disabled keys: only old versions are switched off, and a new one wraps.
        Ok(_) if format!("{kms:?}").starts_with("VaultTransit") => Ok(()),
        outcome => fault_of(outcome, FaultKind::Misconfigured),
    }
}

async fn a_key_deleted_behind_our_back_unwraps_nothing(
    stage: &dyn Backstage,
    number: u8,
) -> Verdict {
    let (kms, kek, wrapped) = wrapped(stage, number).await;
    assert!(stage.delete(&kek).await);
    match kms.unwrap(&kek, &wrapped, CONTEXT).await {
        Err(Error::Broken(fault)) if unusable(fault.kind()) => Ok(()),
        outcome => told(outcome),
    }
}

async fn a_key_deleted_behind_our_back_wraps_nothing(stage: &dyn Backstage, number: u8) -> Verdict {
    let (kms, kek, earlier) = wrapped(stage, number).await;
    assert!(stage.delete(&kek).await);
    match kms.wrap(&kek, &secret(), CONTEXT).await {
        Err(Error::Broken(fault)) if unusable(fault.kind()) => {}
        outcome => return told(outcome),
    }
    // And what was wrapped before is not taken for erased: that would be a lie.
    match kms.unwrap(&kek, &earlier, CONTEXT).await {
        Err(Error::Broken(fault)) if unusable(fault.kind()) => Ok(()),
        outcome => told(outcome),
    }
}

async fn a_key_that_is_gone_is_called_destroyed_only_when_an_administrator_says_so(
    stage: &dyn Backstage,
    number: u8,
) -> Verdict {
    let (kms, kek, wrapped) = wrapped(stage, number).await;
    if !stage.remove(&kek).await {
        return Ok(());
    }
    // As at a wrong address, where a key that lives is not to be seen either.
    fault_of(kms.destroy(&kek, LATER).await, FaultKind::NotFound)?;
    match kms.state(&kek).await {
        Ok(KekState::Active) => {}
        outcome => return told(outcome),
    }
    fault_of(
        kms.unwrap(&kek, &wrapped, CONTEXT).await,
        FaultKind::NotFound,
    )?;
    stage.bury(&kek).await;
    let evidence = kms.destroy(&kek, LATER).await.map_err(shown)?;
    if (evidence.at, evidence.method) != (AT, KekDestruction::Immediate) {
        return Err(format!("{evidence:?}"));
    }
    refused(kms.unwrap(&kek, &wrapped, CONTEXT).await, Code::CryErased)
}

async fn another_context_is_refused(stage: &dyn Backstage, number: u8) -> Verdict {
    let (kms, kek, wrapped) = wrapped(stage, number).await;
    refused(kms.unwrap(&kek, &wrapped, b"another").await, Code::CryKey)
}

async fn another_key_is_refused(stage: &dyn Backstage, number: u8) -> Verdict {
    let (kms, _, wrapped) = wrapped(stage, number).await;
    let other = kms.create(TENANT, effect(number + 100)).await.unwrap();
    refused(kms.unwrap(&other, &wrapped, CONTEXT).await, Code::CryKey)
}

async fn a_key_of_another_tenant_is_refused(stage: &dyn Backstage, number: u8) -> Verdict {
    let (kms, kek, wrapped) = wrapped(stage, number).await;
    let other = kms
        .create(TenantId::from_bytes([9; 16]), effect(number))
        .await
        .unwrap();
    assert_ne!(other, kek);
    refused(kms.unwrap(&other, &wrapped, CONTEXT).await, Code::CryKey)
}

async fn a_well_formed_name_that_nobody_made_is_unknown(
    stage: &dyn Backstage,
    number: u8,
) -> Verdict {
    let (kms, kek, wrapped) = wrapped(stage, number).await;
    let name = kek.as_str();
    let zeros = format!("{}{}", &name[..name.len() - 32], "0".repeat(32));
    let unknown = KekId::new(zeros).unwrap();
    refused(kms.unwrap(&unknown, &wrapped, CONTEXT).await, Code::CryKey)?;
    refused(kms.wrap(&unknown, &secret(), CONTEXT).await, Code::CryKey)?;
    refused(kms.state(&unknown).await, Code::CryKey)?;
    refused(kms.destroy(&unknown, AT).await, Code::CryKey)
}

async fn a_short_throttling_is_waited_out(stage: &dyn Backstage, number: u8) -> Verdict {
    let (kms, kek, wrapped) = wrapped(stage, number).await;
    if !stage.throttle(2, Some(0)) {
        return Ok(());
    }
    opened(kms.unwrap(&kek, &wrapped, CONTEXT).await)
}

async fn a_long_throttling_is_told(stage: &dyn Backstage, number: u8) -> Verdict {
    let (kms, kek, wrapped) = wrapped(stage, number).await;
    if !stage.throttle(3, Some(3600)) {
        return Ok(());
    }
    let outcome = kms.unwrap(&kek, &wrapped, CONTEXT).await;
    let throttled = matches!(&outcome, Err(Error::Broken(fault))
        if matches!(fault.kind(), FaultKind::Throttled { .. }) && fault.is_transient());
    drain(stage, &*kms, &kek, &wrapped).await;
    if throttled { Ok(()) } else { told(outcome) }
}

async fn an_outage_is_told_as_one(stage: &dyn Backstage, number: u8) -> Verdict {
    let (kms, kek, wrapped) = wrapped(stage, number).await;
    if !stage.close(3) {
        return Ok(());
    }
    let outcome = kms.unwrap(&kek, &wrapped, CONTEXT).await;
    drain(stage, &*kms, &kek, &wrapped).await;
    fault_of(outcome, FaultKind::Unavailable)
}

async fn a_short_outage_is_waited_out(stage: &dyn Backstage, number: u8) -> Verdict {
    let (kms, kek, wrapped) = wrapped(stage, number).await;
    if !stage.close(1) {
        return Ok(());
    }
    opened(kms.unwrap(&kek, &wrapped, CONTEXT).await)
}

async fn an_answer_that_comes_late_is_a_fault(stage: &dyn Backstage, number: u8) -> Verdict {
    let (kms, kek, wrapped) = wrapped(stage, number).await;
    if !stage.stall(3) {
        return Ok(());
    }
    let outcome = kms.unwrap(&kek, &wrapped, CONTEXT).await;
    match outcome {
        Err(Error::Broken(fault)) if fault.is_transient() => {}
        outcome => return told(outcome),
    }
    opened(kms.unwrap(&kek, &wrapped, CONTEXT).await)
}

async fn a_cut_connection_is_tried_again(stage: &dyn Backstage, number: u8) -> Verdict {
    let (kms, kek, wrapped) = wrapped(stage, number).await;
    if !stage.cut(false) {
        return Ok(());
    }
    opened(kms.unwrap(&kek, &wrapped, CONTEXT).await)
}

async fn a_destruction_whose_answer_was_lost_is_one_destruction(
    stage: &dyn Backstage,
    number: u8,
) -> Verdict {
    let (kms, kek, wrapped) = wrapped(stage, number).await;
    if !stage.cut(true) {
        return Ok(());
    }
    let first = kms.destroy(&kek, AT).await.map_err(shown)?;
    let again = kms.destroy(&kek, LATER).await.map_err(shown)?;
    if (first.at, &first) != (AT, &again) {
        return Err(format!("{first:?} and then {again:?}"));
    }
    refused(kms.unwrap(&kek, &wrapped, CONTEXT).await, Code::CryErased)
}

async fn a_creation_whose_answer_was_lost_is_one_key(stage: &dyn Backstage, number: u8) -> Verdict {
    let kms = stage.kms();
    if !stage.cut(true) {
        return Ok(());
    }
    let kek = kms.create(TENANT, effect(number)).await.map_err(shown)?;
    let wrapped = kms.wrap(&kek, &secret(), CONTEXT).await.map_err(shown)?;
    let again = kms.create(TENANT, effect(number)).await.map_err(shown)?;
    if again != kek {
        return Err("two names".to_owned());
    }
    opened(kms.unwrap(&kek, &wrapped, CONTEXT).await)
}

async fn an_ended_token_is_renewed_or_told(stage: &dyn Backstage, number: u8) -> Verdict {
    let (kms, kek, wrapped) = wrapped(stage, number).await;
    let outcome = match stage.expire() {
        None => return Ok(()),
        Some(renews) => {
            let outcome = kms.unwrap(&kek, &wrapped, CONTEXT).await;
            if renews {
                return opened(outcome);
            }
            outcome
        }
    };
    fault_of(outcome, FaultKind::Misconfigured)
}

async fn creations_at_once_give_one_key(stage: &dyn Backstage, number: u8) -> Verdict {
    let handles = [stage.kms(), stage.kms(), stage.kms()];
    let create = |kms: usize| handles[kms].create(TENANT, effect(number));
    let (one, two, three) = tokio::join!(create(0), create(1), create(2));
    let (one, two, three) = (one.unwrap(), two.unwrap(), three.unwrap());
    if one != two || two != three {
        return Err(format!("{one} {two} {three}"));
    }
    for writer in &handles {
        let wrapped = writer.wrap(&one, &secret(), CONTEXT).await.map_err(shown)?;
        for reader in &handles {
            opened(reader.unwrap(&one, &wrapped, CONTEXT).await)?;
        }
    }
    Ok(())
}

async fn destructions_at_once_give_one_evidence(stage: &dyn Backstage, number: u8) -> Verdict {
    let (kms, kek, wrapped) = wrapped(stage, number).await;
    let other = stage.kms();
    let (one, two) = tokio::join!(kms.destroy(&kek, AT), other.destroy(&kek, LATER));
    // One may be told to come again; the evidence is one all the same.
    let one = again(one, &*kms, &kek).await.map_err(shown)?;
    let two = again(two, &*other, &kek).await.map_err(shown)?;
    if one.at != two.at || one.copies != two.copies {
        return Err(format!("{one:?} and {two:?}"));
    }
    // Nor does any handle use the key, one that had no part in it least of all.
    for handle in [kms, other, stage.kms()] {
        let outcome = handle.unwrap(&kek, &wrapped, CONTEXT).await;
        refused(outcome, Code::CryErased)?;
        let outcome = handle.wrap(&kek, &secret(), CONTEXT).await;
        refused(outcome, Code::CryErased)?;
    }
    Ok(())
}

async fn again(
    outcome: Result<kta_core::ports::kms::KekDestroyed>,
    kms: &dyn Kms,
    kek: &KekId,
) -> Result<kta_core::ports::kms::KekDestroyed> {
    match outcome {
        Err(Error::Broken(fault)) if fault.is_transient() => kms.destroy(kek, LATER).await,
        outcome => outcome,
    }
}

/// Uses up what is left of a script, so that the next case starts clean.
async fn drain(
    _: &dyn Backstage,
    kms: &dyn Kms,
    kek: &KekId,
    wrapped: &kta_core::ports::kms::WrappedKey,
) {
    for _ in 0..4 {
        if kms.unwrap(kek, wrapped, CONTEXT).await.is_ok() {
            return;
        }
    }
    panic!("the custodian does not recover");
}

async fn wrapped(
    stage: &dyn Backstage,
    number: u8,
) -> (Box<dyn Kms>, KekId, kta_core::ports::kms::WrappedKey) {
    let kms = stage.kms();
    let kek = kms.create(TENANT, effect(number)).await.unwrap();
    let wrapped = kms.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    (kms, kek, wrapped)
}

/// Typed, not transient, and neither "erased" nor "unknown".
fn unusable(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::Misconfigured | FaultKind::NotFound)
}

fn fault_of<T: std::fmt::Debug>(outcome: Result<T>, kind: FaultKind) -> Verdict {
    match outcome {
        Err(Error::Broken(fault)) if fault.kind() == kind => Ok(()),
        outcome => told(outcome),
    }
}

fn refused<T: std::fmt::Debug>(outcome: Result<T>, code: Code) -> Verdict {
    match outcome {
        Err(Error::Refused(refusal)) if refusal.code() == code => Ok(()),
        outcome => told(outcome),
    }
}

fn opened(outcome: Result<SecretKey>) -> Verdict {
    match outcome {
        Ok(opened) if opened == secret() => Ok(()),
        outcome => told(outcome),
    }
}

fn told<T: std::fmt::Debug>(outcome: Result<T>) -> Verdict {
    Err(format!("{outcome:?}"))
}

fn shown(error: Error) -> String {
    error.to_string()
}

pub fn secret() -> SecretKey {
    SecretKey::from_bytes(*b"CANARYSECRET-of-32-bytes-exactly")
}

pub fn effect(number: u8) -> IdempotencyKey {
    IdempotencyKey::derived("test", &[&[number]])
}

/// Short waits, so that what must fail fails soon.
#[cfg(any(feature = "aws", feature = "azure", feature = "vault"))]
pub fn hasty() -> Connection {
    Connection::default()
        .within(Limits {
            idle: Duration::from_millis(700),
            total: Duration::from_secs(5),
            ..Limits::default()
        })
        .retrying(3, Duration::from_millis(5), Duration::from_millis(50))
}

/// Longer than [`hasty`] waits for a sign of life.
#[cfg(any(feature = "aws", feature = "azure", feature = "vault"))]
pub const LATE: Duration = Duration::from_millis(1500);

#[derive(Debug)]
pub struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        std::time::SystemTime::now().into()
    }
}

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(MachineClock)
}

pub const TENANT: TenantId = TenantId::from_bytes([7; 16]);
pub const CONTEXT: &[u8] = b"CANARY-context";
pub const AT: Timestamp = Timestamp::UNIX_EPOCH;
pub const LATER: Timestamp = match Timestamp::from_timestamp(86_400, 123_456_789) {
    Some(later) => later,
    None => AT,
};
