//! The kit of [`Kms`].

use super::code;
use crate::Code;
use crate::crypto::SecretKey;
use crate::id::{IdempotencyKey, TenantId};
use crate::ports::kms::{KekDestruction, KekId, KekState, Kms, WrappedKey};
use crate::time::Timestamp;

conformance_cases! {$
    /// The contract of [`Kms`](crate::ports::kms::Kms) as tests: see
    /// [`conformance`](crate::conformance).
    kms_conformance = kms:
    create_is_repeatable_by_its_key,
    a_secret_unwraps_with_its_kek_and_context_only,
    wrapping_one_secret_twice_gives_two_results,
    changed_bytes_are_refused,
    an_unknown_kek_is_refused_by_every_operation,
    a_destroyed_kek_wraps_and_unwraps_nothing,
    a_destroyed_kek_is_not_created_anew,
    destroying_again_answers_the_first_evidence,
    destroying_one_kek_leaves_the_others,
    state_says_what_destroy_did,
    errors_and_debug_hold_no_secret,
}

/// `create` with the same idempotency key gives the same KEK, another key or tenant another.
pub async fn create_is_repeatable_by_its_key(port: &dyn Kms) {
    let kek = port.create(TENANT, effect(1)).await.unwrap();
    assert_eq!(port.create(TENANT, effect(1)).await.unwrap(), kek);
    let other = port.create(TENANT, effect(2)).await.unwrap();
    assert_ne!(other, kek);
    let elsewhere = port.create(OTHER_TENANT, effect(1)).await.unwrap();
    assert!(elsewhere != kek && elsewhere != other);
    let wrapped = port.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    assert_eq!(
        port.unwrap(&kek, &wrapped, CONTEXT).await.unwrap(),
        secret(),
        "still the same key"
    );
}

/// `unwrap` gives back what `wrap` took, for the same KEK and context only.
pub async fn a_secret_unwraps_with_its_kek_and_context_only(port: &dyn Kms) {
    let kek = port.create(TENANT, effect(1)).await.unwrap();
    let other = port.create(TENANT, effect(2)).await.unwrap();
    let wrapped = port.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    assert_eq!(
        port.unwrap(&kek, &wrapped, CONTEXT).await.unwrap(),
        secret()
    );
    for context in [
        &b""[..],
        b"marked-contex",
        b"marked-context-",
        b"MARKED-CONTEXT",
    ] {
        assert_eq!(
            code(port.unwrap(&kek, &wrapped, context).await),
            Code::CryKey
        );
    }
    assert_eq!(
        code(port.unwrap(&other, &wrapped, CONTEXT).await),
        Code::CryKey
    );
    let bare = port.wrap(&kek, &secret(), b"").await.unwrap();
    assert_eq!(port.unwrap(&kek, &bare, b"").await.unwrap(), secret());
    assert_eq!(code(port.unwrap(&kek, &bare, CONTEXT).await), Code::CryKey);
}

/// Wrapping one secret twice gives two different results, and both unwrap.
pub async fn wrapping_one_secret_twice_gives_two_results(port: &dyn Kms) {
    let kek = port.create(TENANT, effect(1)).await.unwrap();
    let one = port.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    let two = port.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    assert_ne!(one, two);
    for wrapped in [one, two] {
        assert_eq!(
            port.unwrap(&kek, &wrapped, CONTEXT).await.unwrap(),
            secret()
        );
    }
}

/// Wrapped bytes that were changed, cut or made up are refused.
pub async fn changed_bytes_are_refused(port: &dyn Kms) {
    let kek = port.create(TENANT, effect(1)).await.unwrap();
    let wrapped = port.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    let bytes = wrapped.as_bytes();
    for position in [bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
        let mut changed = bytes.to_vec();
        changed[position] ^= 1;
        let answer = port
            .unwrap(&kek, &WrappedKey::from_bytes(changed), CONTEXT)
            .await;
        assert_eq!(code(answer), Code::CryKey, "byte {position}");
    }
    for cut in [0, 1, bytes.len() - 1] {
        let cut = WrappedKey::from_bytes(bytes[..cut].to_vec());
        assert_eq!(code(port.unwrap(&kek, &cut, CONTEXT).await), Code::CryKey);
    }
}

/// A KEK that was never created is refused with `CRY-KEY` by every operation.
pub async fn an_unknown_kek_is_refused_by_every_operation(port: &dyn Kms) {
    let kek = port.create(TENANT, effect(1)).await.unwrap();
    let wrapped = port.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    let unknown = KekId::new("kek-that-was-never-created").unwrap();
    assert_eq!(
        code(port.wrap(&unknown, &secret(), CONTEXT).await),
        Code::CryKey
    );
    assert_eq!(
        code(port.unwrap(&unknown, &wrapped, CONTEXT).await),
        Code::CryKey
    );
    assert_eq!(code(port.destroy(&unknown, at(1)).await), Code::CryKey);
    assert_eq!(code(port.state(&unknown).await), Code::CryKey);
}

/// After `destroy` every `wrap` and `unwrap` under the KEK is refused with `CRY-ERASED`.
pub async fn a_destroyed_kek_wraps_and_unwraps_nothing(port: &dyn Kms) {
    let kek = port.create(TENANT, effect(1)).await.unwrap();
    let wrapped = port.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    port.destroy(&kek, at(1)).await.unwrap();
    assert_eq!(
        code(port.wrap(&kek, &secret(), CONTEXT).await),
        Code::CryErased
    );
    assert_eq!(
        code(port.unwrap(&kek, &wrapped, CONTEXT).await),
        Code::CryErased
    );
}

/// `create` with the idempotency key of a destroyed KEK answers that KEK, still destroyed.
pub async fn a_destroyed_kek_is_not_created_anew(port: &dyn Kms) {
    let kek = port.create(TENANT, effect(1)).await.unwrap();
    port.destroy(&kek, at(1)).await.unwrap();
    assert_eq!(port.create(TENANT, effect(1)).await.unwrap(), kek);
    assert_eq!(
        code(port.wrap(&kek, &secret(), CONTEXT).await),
        Code::CryErased
    );
}

/// `destroy` is repeatable and answers the evidence of the first time.
pub async fn destroying_again_answers_the_first_evidence(port: &dyn Kms) {
    let kek = port.create(TENANT, effect(1)).await.unwrap();
    let first = port.destroy(&kek, at(1)).await.unwrap();
    assert_eq!(first.kek, kek);
    let again = port.destroy(&kek, at(2)).await.unwrap();
    assert_eq!(
        (&again.kek, again.at, again.copies),
        (&first.kek, first.at, first.copies)
    );
    match again.method {
        // A scheduled destruction may have been carried out meanwhile, but never moves.
        KekDestruction::Immediate => {}
        scheduled @ KekDestruction::Scheduled { .. } => assert_eq!(scheduled, first.method),
    }
}

/// Destroying one KEK leaves every other usable.
pub async fn destroying_one_kek_leaves_the_others(port: &dyn Kms) {
    let kek = port.create(TENANT, effect(1)).await.unwrap();
    let other = port.create(TENANT, effect(2)).await.unwrap();
    let wrapped = port.wrap(&other, &secret(), CONTEXT).await.unwrap();
    port.destroy(&kek, at(1)).await.unwrap();
    assert_eq!(
        port.unwrap(&other, &wrapped, CONTEXT).await.unwrap(),
        secret()
    );
    assert_eq!(port.state(&other).await.unwrap(), KekState::Active);
}

/// `state` is active until `destroy`, and then tells what `destroy` answered.
pub async fn state_says_what_destroy_did(port: &dyn Kms) {
    let kek = port.create(TENANT, effect(1)).await.unwrap();
    assert_eq!(port.state(&kek).await.unwrap(), KekState::Active);
    let evidence = port.destroy(&kek, at(1)).await.unwrap();
    match port.state(&kek).await.unwrap() {
        KekState::Destroyed(told) => assert_eq!((told.kek, told.at), (evidence.kek, evidence.at)),
        KekState::Active => panic!("a destroyed key is not active"),
    }
}

/// Neither errors nor `Debug` contain a secret or a context.
pub async fn errors_and_debug_hold_no_secret(port: &dyn Kms) {
    let kek = port.create(TENANT, effect(1)).await.unwrap();
    let wrapped = port.wrap(&kek, &secret(), CONTEXT).await.unwrap();
    let error = port
        .unwrap(&kek, &wrapped, b"marked-other")
        .await
        .unwrap_err();
    let key = port.unwrap(&kek, &wrapped, CONTEXT).await.unwrap();
    let shown = format!("{port:?} {error:?} {error} {wrapped:?} {key:?}");
    for marked in ["marked", "MARKEDSECRET", "4d41524b", "77, 65, 82, 75"] {
        assert!(!shown.contains(marked), "{marked} is shown");
    }
}

fn secret() -> SecretKey {
    SecretKey::from_bytes(*b"MARKEDSECRET-of-32-bytes-exactly")
}

fn effect(number: u8) -> IdempotencyKey {
    IdempotencyKey::derived("conformance", &[&[number]])
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + chrono::TimeDelta::seconds(seconds)
}

const TENANT: TenantId = TenantId::from_bytes([0xC0; 16]);
const OTHER_TENANT: TenantId = TenantId::from_bytes([0xC1; 16]);
const CONTEXT: &[u8] = b"marked-context";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::crypto::testing::Counted;
    use crate::memory::MemoryKms;

    async fn fresh() -> MemoryKms {
        MemoryKms::new(Arc::new(Counted::new(1)))
    }

    kms_conformance!(
        #[tokio::test]
        fresh
    );
}
