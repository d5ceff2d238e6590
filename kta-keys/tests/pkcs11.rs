//! A hardware security module as custodian, against a real SoftHSM2: the contract of `Kms`, and
//! what the contract cannot ask.
#![cfg(all(unix, feature = "pkcs11"))]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "common/custodian.rs"]
mod custodian;
mod softhsm;

use std::sync::Arc;

use async_trait::async_trait;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use kta_core::audit::Label;
use kta_core::crypto::{EraseClaim, Hierarchy, SecretKey};
use kta_core::id::{IdempotencyKey, SubjectId, TenantId};
use kta_core::memory::MemoryKeyTable;
use kta_core::ports::kms::{KekDestruction, KekId, KekState, Kms, WrappedKey};
use kta_core::time::Timestamp;
use kta_core::{Code, Error, FaultKind, Result};
use kta_keys::{OsEntropy, Pkcs11Kms, TokenName};

kta_core::kms_conformance!(
    #[tokio::test]
    softhsm::fresh
);

const TENANT: TenantId = TenantId::from_bytes([7; 16]);

fn effect(number: u8) -> IdempotencyKey {
    IdempotencyKey::derived("test", &[&[number]])
}

fn secret() -> SecretKey {
    SecretKey::from_bytes(*b"CANARY-SECRET-of-32-bytes-exact!")
}

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH + core::time::Duration::from_millis(1_234_567)
}

fn code<T: core::fmt::Debug>(outcome: Result<T>) -> Code {
    match outcome.unwrap_err() {
        Error::Refused(refusal) => refusal.code(),
        error => panic!("{error}"),
    }
}

fn kind<T: core::fmt::Debug>(outcome: Result<T>) -> FaultKind {
    outcome.unwrap_err().fault().unwrap().kind()
}

/// The keys on the token under the KEK's label.
fn keys(session: &Session, kek: &KekId) -> Vec<ObjectHandle> {
    session
        .find_objects(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Label(kek.as_str().into()),
        ])
        .unwrap()
}

/// Puts a key under the KEK's label, past the custodian.
fn plant(session: &Session, kek: &KekId, extractable: bool) {
    let template = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(extractable),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::ValueLen(32.into()),
        Attribute::Label(kek.as_str().into()),
        Attribute::Id(vec![0; 4]),
    ];
    session
        .generate_key(&Mechanism::AesKeyGen, &template)
        .unwrap();
}

#[tokio::test]
async fn it_stands_the_cases_of_a_custodian_that_have_a_meaning_for_a_token() {
    let stage = Stage(softhsm::token());
    assert_eq!(custodian::failures(&stage).await, []);
}

/// One token, and what its security officer can do to it.
struct Stage(String);

#[async_trait]
impl custodian::Backstage for Stage {
    fn kms(&self) -> Box<dyn Kms> {
        Box::new(softhsm::open(&self.0))
    }

    fn without_meaning(&self) -> &'static [(&'static str, &'static str)] {
        const NO_STATE: &str = "a key on a token is there or not: none is switched off";
        const UNNOTED: &str = "a token keeps no list beside its keys: a deleted one is unknown, \
            see `a_key_deleted_past_the_custodian_is_unknown_and_never_called_erased`";
        const NO_NETWORK: &str = "a call into a library: no request that is throttled or lost; \
            what fails instead: `a_token_that_was_taken_away_and_put_back_serves_again`";
        const NO_TOKEN: &str =
            "a PIN does not expire; see `a_pin_that_was_refused_is_not_tried_again`";
        &[
            ("a_disabled_key_unwraps_nothing", NO_STATE),
            ("a_disabled_key_wraps_nothing", NO_STATE),
            ("a_key_deleted_behind_our_back_unwraps_nothing", UNNOTED),
            ("a_key_deleted_behind_our_back_wraps_nothing", UNNOTED),
            (
                "a_key_that_is_gone_is_called_destroyed_only_when_an_administrator_says_so",
                UNNOTED,
            ),
            ("a_short_throttling_is_waited_out", NO_NETWORK),
            ("a_long_throttling_is_told", NO_NETWORK),
            ("an_outage_is_told_as_one", NO_NETWORK),
            ("a_short_outage_is_waited_out", NO_NETWORK),
            ("an_answer_that_comes_late_is_a_fault", NO_NETWORK),
            ("a_cut_connection_is_tried_again", NO_NETWORK),
            (
                "a_destruction_whose_answer_was_lost_is_one_destruction",
                NO_NETWORK,
            ),
            ("a_creation_whose_answer_was_lost_is_one_key", NO_NETWORK),
            ("an_ended_token_is_renewed_or_told", NO_TOKEN),
        ]
    }

    async fn disable(&self, _: &KekId) -> bool {
        false
    }

    async fn delete(&self, kek: &KekId) -> bool {
        let session = softhsm::session(&self.0);
        let found = keys(&session, kek);
        for key in &found {
            session.destroy_object(*key).unwrap();
        }
        !found.is_empty()
    }
}

#[tokio::test]
async fn a_key_deleted_past_the_custodian_is_unknown_and_never_called_erased() {
    let stage = Stage(softhsm::token());
    let hsm = softhsm::open(&stage.0);
    let kek = hsm.create(TENANT, effect(1)).await.unwrap();
    let wrapped = hsm.wrap(&kek, &secret(), b"context").await.unwrap();
    assert!(custodian::Backstage::delete(&stage, &kek).await);
    // "Erased" would be evidence that nobody gave.
    let opened = hsm.unwrap(&kek, &wrapped, b"context").await;
    assert_eq!(code(opened), Code::CryKey);
    assert_eq!(
        code(hsm.wrap(&kek, &secret(), b"context").await),
        Code::CryKey
    );
    assert_eq!(code(hsm.state(&kek).await), Code::CryKey);
    assert_eq!(code(hsm.destroy(&kek, now()).await), Code::CryKey);
}

#[tokio::test]
async fn keys_and_evidence_survive_closing_and_reopening() {
    let label = softhsm::token();
    let hsm = softhsm::open(&label);
    let kek = hsm.create(TENANT, effect(1)).await.unwrap();
    let gone = hsm.create(TENANT, effect(2)).await.unwrap();
    let wrapped = hsm.wrap(&kek, &secret(), b"context").await.unwrap();
    let evidence = hsm.destroy(&gone, now()).await.unwrap();
    assert_eq!(
        (evidence.at, evidence.method, evidence.copies),
        (now(), KekDestruction::Immediate, 0)
    );
    drop(hsm);

    let slot = TokenName::Slot(softhsm::slot(&label).id());
    let hsm = Pkcs11Kms::open(softhsm::module(), slot, softhsm::pin()).unwrap();
    assert_eq!(hsm.create(TENANT, effect(1)).await, Ok(kek.clone()));
    assert_eq!(hsm.unwrap(&kek, &wrapped, b"context").await, Ok(secret()));
    let state = hsm.state(&gone).await;
    assert_eq!(state, Ok(KekState::Destroyed(evidence)));
    assert_eq!(hsm.create(TENANT, effect(2)).await, Ok(gone.clone()));
    assert_eq!(code(hsm.wrap(&gone, &secret(), b"").await), Code::CryErased);
}

#[tokio::test]
async fn a_kek_is_made_on_the_token_and_cannot_be_taken_out() {
    let label = softhsm::token();
    let hsm = softhsm::open(&label);
    let kek = hsm.create(TENANT, effect(1)).await.unwrap();
    let session = softhsm::session(&label);
    let key = keys(&session, &kek)[0];
    let sworn = [
        AttributeType::Token,
        AttributeType::Private,
        AttributeType::Local,
        AttributeType::AlwaysSensitive,
        AttributeType::NeverExtractable,
        AttributeType::Copyable,
        AttributeType::Wrap,
        AttributeType::Derive,
    ];
    let told = session.get_attributes(key, &sworn).unwrap();
    let expected = [true, true, true, true, true, false, false, false];
    for (told, expected) in told.iter().zip(expected) {
        assert!(
            format!("{told:?}").contains(&expected.to_string()),
            "{told:?}"
        );
    }
    assert_eq!(told.len(), expected.len());
    let value = session
        .get_attributes(key, &[AttributeType::Value])
        .unwrap();
    assert!(value.is_empty(), "the token does not give the key's bytes");
    assert!(session.copy_object(key, &[]).is_err());
    assert!(
        session
            .update_attributes(key, &[Attribute::Extractable(true)])
            .is_err()
    );
}

#[tokio::test]
async fn a_destroyed_kek_is_refused_by_the_module_itself() {
    let label = softhsm::token();
    let hsm = softhsm::open(&label);
    let kek = hsm.create(TENANT, effect(1)).await.unwrap();
    let session = softhsm::session(&label);
    let key = keys(&session, &kek)[0];
    let sealed = session
        .encrypt(&Mechanism::AesCbcPad([1; 16]), key, b"past the custodian")
        .unwrap();
    hsm.destroy(&kek, now()).await.unwrap();
    assert!(keys(&session, &kek).is_empty());
    assert!(
        session
            .decrypt(&Mechanism::AesCbcPad([1; 16]), key, &sealed)
            .is_err(),
        "an old handle opens nothing"
    );
}

#[tokio::test]
async fn every_changed_byte_of_a_wrapped_key_is_found() {
    let hsm = softhsm::fresh().await;
    let kek = hsm.create(TENANT, effect(1)).await.unwrap();
    let wrapped = hsm.wrap(&kek, &secret(), b"context").await.unwrap();
    assert_eq!(wrapped.as_bytes().len(), 2 + 16 + 12 + 32 + 16);
    for position in 0..wrapped.as_bytes().len() {
        let mut changed = wrapped.as_bytes().to_vec();
        changed[position] ^= 0x40;
        let changed = WrappedKey::from_bytes(changed);
        let outcome = hsm.unwrap(&kek, &changed, b"context").await;
        assert_eq!(code(outcome), Code::CryKey, "byte {position}");
    }
    assert_eq!(hsm.unwrap(&kek, &wrapped, b"context").await, Ok(secret()));
}

#[tokio::test]
async fn what_one_process_destroys_every_other_process_refuses() {
    let label = softhsm::token();
    let hsm = softhsm::open(&label);
    let second = softhsm::open(&label);
    let kek = hsm.create(TENANT, effect(1)).await.unwrap();
    let wrapped = hsm.wrap(&kek, &secret(), b"context").await.unwrap();
    softhsm::elsewhere("in_another_process", &label, kek.as_str());
    for handle in [hsm, second] {
        let outcome = handle.unwrap(&kek, &wrapped, b"context").await;
        assert_eq!(code(outcome), Code::CryErased);
        let KekState::Destroyed(evidence) = handle.state(&kek).await.unwrap() else {
            panic!("it was destroyed elsewhere");
        };
        assert_eq!(evidence.at, now());
        // And the other way round: what was made there is found here.
        let made = handle.create(TENANT, effect(9)).await.unwrap();
        assert_eq!(handle.state(&made).await, Ok(KekState::Active));
    }
    let session = softhsm::session(&label);
    let made = softhsm::open(&label)
        .create(TENANT, effect(9))
        .await
        .unwrap();
    assert_eq!(keys(&session, &made).len(), 1);
}

#[tokio::test]
#[ignore = "the other process of the test above"]
async fn in_another_process() {
    let (label, kek) = softhsm::told().expect("started by the test above");
    let hsm = softhsm::open(&label);
    let kek = KekId::new(kek).unwrap();
    assert_eq!(hsm.create(TENANT, effect(1)).await, Ok(kek.clone()));
    hsm.destroy(&kek, now()).await.unwrap();
    hsm.create(TENANT, effect(9)).await.unwrap();
}

#[tokio::test]
async fn what_processes_wrap_while_they_create_the_same_keks_at_once_all_unwraps() {
    let label = softhsm::token();
    let hsm = softhsm::open(&label);
    let files = [1, 2].map(|number| softhsm::folder().join(format!("wrapped-{number}")));
    std::thread::scope(|both| {
        for file in &files {
            let label = &label;
            both.spawn(move || {
                softhsm::elsewhere("in_one_of_two_processes", label, file.to_str().unwrap());
            });
        }
    });
    let session = softhsm::session(&label);
    for file in files {
        let lines = std::fs::read_to_string(file).unwrap();
        assert_eq!(lines.lines().count(), usize::from(SHARED));
        for (number, line) in (0..).zip(lines.lines()) {
            let kek = hsm.create(TENANT, effect(number)).await.unwrap();
            let wrapped: WrappedKey = serde_json::from_str(line).unwrap();
            assert_eq!(hsm.unwrap(&kek, &wrapped, b"context").await, Ok(secret()));
        }
    }
    for number in 0..SHARED {
        let kek = hsm.create(TENANT, effect(number)).await.unwrap();
        hsm.destroy(&kek, now()).await.unwrap();
        assert!(keys(&session, &kek).is_empty());
    }
}

#[tokio::test]
#[ignore = "one of the other processes of the test above"]
async fn in_one_of_two_processes() {
    let (label, file) = softhsm::told().expect("started by the test above");
    // SoftHSM takes a token that another process is just logging in to for a broken one, and for
    // good: so they start one after the other, and work at once.
    let beside = |name: &str| std::path::Path::new(&file).with_file_name(name);
    let (first, second) = (beside("first is ready"), beside("second is ready"));
    let hsm = if file.ends_with("wrapped-1") {
        let hsm = softhsm::open(&label);
        std::fs::write(first, "").unwrap();
        wait_for(&second);
        hsm
    } else {
        wait_for(&first);
        let hsm = softhsm::open(&label);
        std::fs::write(second, "").unwrap();
        hsm
    };
    let mut lines = String::new();
    for number in 0..SHARED {
        let kek = persistent(async || hsm.create(TENANT, effect(number)).await).await;
        let wrapped = persistent(async || hsm.wrap(&kek, &secret(), b"context").await).await;
        lines += &serde_json::to_string(&wrapped).unwrap();
        lines.push('\n');
    }
    std::fs::write(file, lines).unwrap();
}

fn wait_for(file: &std::path::Path) {
    let begun = std::time::Instant::now();
    while !file.exists() {
        assert!(
            begun.elapsed().as_secs() < 60,
            "the other process did not come"
        );
        std::thread::sleep(core::time::Duration::from_millis(2));
    }
}

/// KEKs that two processes create at once.
const SHARED: u8 = 8;

/// The answer, after as many transient faults as a busy token may give: SoftHSM fails when it
/// reads what the other process is writing.
async fn persistent<T>(call: impl AsyncFn() -> Result<T>) -> T {
    for _ in 0..100 {
        match call().await {
            Err(Error::Broken(fault)) if fault.is_transient() => {
                std::thread::sleep(core::time::Duration::from_millis(5));
            }
            outcome => return outcome.unwrap(),
        }
    }
    panic!("a hundred transient faults");
}

#[tokio::test]
async fn two_keys_that_raced_for_one_label_both_unwrap_and_both_go() {
    let label = softhsm::token();
    let hsm = softhsm::open(&label);
    let kek = hsm.create(TENANT, effect(1)).await.unwrap();
    let early = hsm.wrap(&kek, &secret(), b"context").await.unwrap();
    let session = softhsm::session(&label);
    plant(&session, &kek, false);
    let late = hsm.wrap(&kek, &secret(), b"context").await.unwrap();
    assert_ne!(
        early.as_bytes()[1],
        late.as_bytes()[1],
        "under the other key"
    );
    for wrapped in [&early, &late] {
        assert_eq!(hsm.unwrap(&kek, wrapped, b"context").await, Ok(secret()));
    }
    hsm.destroy(&kek, now()).await.unwrap();
    assert!(keys(&session, &kek).is_empty());
}

#[tokio::test]
async fn a_destruction_that_was_cut_off_is_finished_by_the_next_call() {
    let label = softhsm::token();
    let hsm = softhsm::open(&label);
    let [kek, gone] = [1, 2].map(effect);
    let kek = hsm.create(TENANT, kek).await.unwrap();
    let gone = hsm.create(TENANT, gone).await.unwrap();
    let evidence = hsm.destroy(&gone, now()).await.unwrap();

    // As if cut off between the evidence and the key: the note of one, rewritten for the other.
    let session = softhsm::session(&label);
    let text = serde_json::to_string(&evidence).unwrap();
    let text = text.replace(gone.as_str(), kek.as_str());
    let note = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Application(b"kta-keys tombstone".to_vec()),
        Attribute::Label(kek.as_str().into()),
        Attribute::Value(text.into()),
    ];
    session.create_object(&note).unwrap();
    assert_eq!(keys(&session, &kek).len(), 1);
    let refused = hsm.wrap(&kek, &secret(), b"").await;
    assert_eq!(code(refused), Code::CryErased);
    assert!(keys(&session, &kek).is_empty());
    assert_eq!(hsm.destroy(&kek, now()).await.unwrap().at, now());
}

#[tokio::test]
async fn a_kek_that_could_ever_be_taken_out_makes_the_erase_prove_nothing() {
    let label = softhsm::token();
    let hsm = softhsm::open(&label);
    // The name of the KEK that the hierarchy will ask for, found out on another token.
    let table = Arc::new(MemoryKeyTable::new());
    let other = softhsm::token();
    let elsewhere: Arc<Pkcs11Kms> = Arc::new(softhsm::open(&other));
    let entropy = Arc::new(OsEntropy);
    Hierarchy::open(TENANT, elsewhere, table, entropy.clone(), now())
        .await
        .unwrap();
    let kek = name_of_the_only_key(&softhsm::session(&other));
    plant(&softhsm::session(&label), &kek, true);

    let table = Arc::new(MemoryKeyTable::new());
    let keys = Hierarchy::open(TENANT, Arc::new(hsm), table, entropy, now())
        .await
        .unwrap();
    let subject = SubjectId::from_bytes([1; 16]);
    keys.enroll(subject).await.unwrap();
    let evidence = keys.erase(&[subject], now()).await.unwrap();
    assert_eq!(evidence[0].kek.copies, 1);
    assert_eq!(evidence[0].proven(), Err(Code::DstCeInvalid));
}

fn name_of_the_only_key(session: &Session) -> KekId {
    let all = session
        .find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY)])
        .unwrap();
    assert_eq!(all.len(), 1);
    let told = session
        .get_attributes(all[0], &[AttributeType::Label])
        .unwrap();
    let Attribute::Label(label) = &told[0] else {
        panic!("{told:?}");
    };
    KekId::new(String::from_utf8(label.clone()).unwrap()).unwrap()
}

#[tokio::test]
async fn a_declared_backup_of_the_token_stands_in_the_evidence() {
    let label = softhsm::token();
    let hsm = softhsm::open(&label);
    let mut keks = Vec::new();
    for number in 1..=3 {
        keks.push(hsm.create(TENANT, effect(number)).await.unwrap());
    }
    let (vault, offsite) = (Label::fixed("vault"), Label::fixed("offsite"));
    hsm.declare_copy(vault.clone()).await.unwrap();
    hsm.declare_copy(vault.clone()).await.unwrap();
    hsm.declare_copy(offsite.clone()).await.unwrap();
    let later = hsm.create(TENANT, effect(4)).await.unwrap();
    let hsm = softhsm::open(&label);
    assert_eq!(hsm.destroy(&keks[0], now()).await.unwrap().copies, 2);
    hsm.copy_destroyed(&offsite).await.unwrap();
    assert_eq!(hsm.destroy(&keks[1], now()).await.unwrap().copies, 1);
    assert_eq!(hsm.destroy(&later, now()).await.unwrap().copies, 0);
    hsm.copy_destroyed(&vault).await.unwrap();
    assert_eq!(hsm.destroy(&keks[2], now()).await.unwrap().copies, 0);
    let again = hsm.destroy(&keks[0], now()).await.unwrap();
    assert_eq!(again.copies, 2, "evidence does not change");
}

/// The promise of the house, with the module as custodian: neither the key table as it was
/// before nor a new handle brings an erased person back, and everybody else opens.
#[tokio::test]
async fn an_erased_person_stays_erased_and_everybody_else_opens() {
    let label = softhsm::token();
    let (table, entropy) = (Arc::new(MemoryKeyTable::new()), Arc::new(OsEntropy));
    let on = |table: Arc<MemoryKeyTable>| {
        let hsm = Arc::new(softhsm::open(&label));
        Hierarchy::open(TENANT, hsm, table, entropy.clone(), now())
    };
    let people: Vec<_> = (1..=5).map(|n| SubjectId::from_bytes([n; 16])).collect();
    let keys = on(table.clone()).await.unwrap();
    keys.enroll_all(&people).await.unwrap();
    let mut before = Vec::new();
    for person in &people {
        before.push(keys.subject_key(*person).await.unwrap().fingerprint());
    }
    let backup = Arc::new(table.copied());

    let evidence = keys.erase(&people[2..3], now()).await.unwrap();
    assert_eq!(evidence[0].claim(), EraseClaim::Effective);
    assert_eq!(evidence[0].key, before[2]);

    for keys in [keys, on(table).await.unwrap()] {
        for (person, key) in people.iter().zip(&before) {
            let outcome = keys.subject_key(*person).await;
            if *person == people[2] {
                assert_eq!(code(outcome), Code::CryErased);
            } else {
                assert_eq!(outcome.unwrap().fingerprint(), *key);
            }
        }
    }
    assert_eq!(kind(on(backup).await), FaultKind::Corrupt);
}

#[tokio::test]
async fn a_missing_module_a_missing_token_and_a_wrong_pin_are_told_apart() {
    let label = softhsm::token();
    let open = |module: &str| {
        let token = TokenName::Label(label.clone());
        Pkcs11Kms::open(module, token, softhsm::pin())
    };
    assert_eq!(
        kind(open("/nonexistent/module.so")),
        FaultKind::Misconfigured
    );
    let no_library = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    assert_eq!(kind(open(no_library)), FaultKind::Misconfigured);
    assert_eq!(kind(open("libc.so.6")), FaultKind::Misconfigured);
    assert_eq!(
        kind(softhsm::try_open("no such token", softhsm::PIN)),
        FaultKind::NotFound
    );
    for pin in ["CANARY-0000", "", &"9".repeat(5_000)] {
        let refused = softhsm::try_open(&label, pin);
        assert_eq!(kind(refused.clone()), FaultKind::Misconfigured);
        let shown = format!("{refused:?} {}", refused.clone().unwrap_err());
        assert!(!shown.contains("CANARY"), "{shown}");
    }
    let hsm = softhsm::open(&label);
    assert!(!format!("{hsm:?}").contains("CANARY"));
}

#[test]
fn a_token_that_was_taken_away_and_put_back_serves_again() {
    if !softhsm::alone("a_token_that_was_taken_away_and_put_back_serves_again") {
        return;
    }
    let label = softhsm::token();
    let hsm = softhsm::open(&label);
    block_on(async {
        let kek = hsm.create(TENANT, effect(1)).await.unwrap();
        let wrapped = hsm.wrap(&kek, &secret(), b"context").await.unwrap();

        // Every session of the process is gone: nobody notices.
        softhsm::pkcs11().clone().finalize().unwrap();
        assert_eq!(hsm.unwrap(&kek, &wrapped, b"context").await, Ok(secret()));

        let (tokens, away) = (
            softhsm::folder().join("tokens"),
            softhsm::folder().join("away"),
        );
        softhsm::pkcs11().clone().finalize().unwrap();
        std::fs::rename(&tokens, &away).unwrap();
        std::fs::create_dir(&tokens).unwrap();
        for _ in 0..2 {
            let outcome = hsm.unwrap(&kek, &wrapped, b"context").await;
            let fault = *outcome.unwrap_err().fault().unwrap();
            assert!(fault.is_transient(), "{fault}");
        }
        softhsm::pkcs11().clone().finalize().unwrap();
        std::fs::remove_dir(&tokens).unwrap();
        std::fs::rename(&away, &tokens).unwrap();
        assert_eq!(hsm.unwrap(&kek, &wrapped, b"context").await, Ok(secret()));
    });
}

#[test]
fn a_pin_that_was_refused_is_not_tried_again() {
    if !softhsm::alone("a_pin_that_was_refused_is_not_tried_again") {
        return;
    }
    let label = softhsm::token();
    let hsm = softhsm::open(&label);
    block_on(async {
        let kek = hsm.create(TENANT, effect(1)).await.unwrap();
        let set_pin = |from: &str, to: &str| {
            let session = softhsm::pkcs11()
                .open_rw_session(softhsm::slot(&label))
                .unwrap();
            session
                .set_pin(&from.to_owned().into(), &to.to_owned().into())
                .unwrap();
        };
        set_pin(softhsm::PIN, "another pin");
        softhsm::pkcs11().clone().finalize().unwrap();
        assert_eq!(kind(hsm.state(&kek).await), FaultKind::Misconfigured);
        // Even with the old PIN back it stays refused: nothing was sent.
        set_pin("another pin", softhsm::PIN);
        assert_eq!(kind(hsm.state(&kek).await), FaultKind::Misconfigured);
        assert_eq!(
            softhsm::open(&label).state(&kek).await,
            Ok(KekState::Active)
        );
    });
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(work)
}
