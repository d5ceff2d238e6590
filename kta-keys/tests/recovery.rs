//! Recovery of a keyring by shares: what they open, what they never bring back, and what a
//! wrong one is told.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::{create, open, passphrase, path};
use kta_core::audit::{Label, Signer as _};
use kta_core::crypto::{Hierarchy, SecretKey};
use kta_core::id::{IdempotencyKey, SubjectId, TenantId};
use kta_core::memory::MemoryKeyTable;
use kta_core::ports::kms::{KekState, Kms as _};
use kta_core::time::{Entropy as _, Timestamp};
use kta_core::{Code, FaultKind, Result};
use kta_keys::{Cost, LocalKeyring, OsEntropy, Share, Unlock};
use proptest::prelude::*;
use secrecy::ExposeSecret as _;

const TENANT: TenantId = TenantId::from_bytes([7; 16]);

fn effect(number: u8) -> IdempotencyKey {
    IdempotencyKey::derived("test", &[&[number]])
}

fn secret() -> SecretKey {
    SecretKey::from_bytes([9; 32])
}

fn another() -> Unlock {
    Unlock::passphrase("CANARY second".to_owned().into()).at_cost(Cost::FOR_TESTS_ONLY)
}

fn kind<T: core::fmt::Debug>(outcome: Result<T>) -> FaultKind {
    outcome.unwrap_err().fault().unwrap().kind()
}

fn recover(path: &Path, shares: &[Share]) -> Result<LocalKeyring> {
    LocalKeyring::recover(path, shares, &another(), Arc::new(OsEntropy))
}

/// These of the shares, in this order, as read from paper.
fn chosen(shares: &[Share], numbers: &[usize]) -> Vec<Share> {
    let text = |number: &usize| shares[number - 1].text();
    let texts: Vec<_> = numbers.iter().map(text).collect();
    let read = texts.iter().map(|text| Share::read(text.expose_secret()));
    read.collect::<Result<_>>().unwrap()
}

#[tokio::test]
async fn the_shares_open_a_keyring_whose_passphrase_is_lost() {
    let path = path();
    let keyring = create(&path);
    let kek = keyring.create(TENANT, effect(1)).await.unwrap();
    let gone = keyring.create(TENANT, effect(2)).await.unwrap();
    let wrapped = keyring.wrap(&kek, &secret(), b"context").await.unwrap();
    let public = keyring.signer("firm.example/audit").unwrap().public_key();
    let shares = keyring.escrow(3, 5).unwrap();
    assert_eq!(keyring.recovery(), Some(shares[0].set()));
    let at = Timestamp::from_timestamp_millis(1_234).unwrap();
    let evidence = keyring.destroy(&gone, at).await.unwrap();
    assert_eq!(evidence.copies, 0, "no copy of the file was declared");
    let revision = keyring.revision();
    drop(keyring);

    let too_few = recover(&path, &chosen(&shares, &[1, 5]));
    assert_eq!(kind(too_few), FaultKind::Misconfigured);
    let keyring = recover(&path, &chosen(&shares, &[5, 2, 3])).unwrap();
    assert_eq!(keyring.revision(), revision + 1);
    assert_eq!(
        keyring.unwrap(&kek, &wrapped, b"context").await,
        Ok(secret())
    );
    assert_eq!(
        keyring.signer("firm.example/audit").unwrap().public_key(),
        public
    );
    // A recovery brings back the keyring, not what was destroyed in it.
    assert_eq!(
        keyring.state(&gone).await,
        Ok(KekState::Destroyed(evidence))
    );
    assert_eq!(
        keyring.wrap(&gone, &secret(), b"").await,
        Err(Code::CryErased.into())
    );
    drop(keyring);

    // The lock is another one now, and the shares are spent.
    assert_eq!(kind(open(&path)), FaultKind::Misconfigured);
    let spent = recover(&path, &chosen(&shares, &[1, 2, 3]));
    assert_eq!(kind(spent), FaultKind::Misconfigured);
    let keyring = LocalKeyring::open(&path, &another(), Arc::new(OsEntropy)).unwrap();
    assert_eq!(keyring.recovery(), None);
    assert_eq!(
        keyring.shares(),
        [shares[0].set()],
        "they still open older copies"
    );
}

/// What shares can do, and the evidence must tell: together with an older copy of the file they
/// bring a destroyed KEK back, whatever became of the passphrase.
#[tokio::test]
async fn shares_and_an_older_copy_of_the_file_bring_a_kek_back_and_the_evidence_says_so() {
    let path = path();
    let keyring = create(&path);
    let [first, second, third] = [1, 2, 3].map(effect);
    let first = keyring.create(TENANT, first).await.unwrap();
    let wrapped = keyring.wrap(&first, &secret(), b"context").await.unwrap();
    let vault = Label::fixed("vault");
    keyring.declare_copy(vault.clone()).unwrap();
    let shares = keyring.escrow(2, 3).unwrap();
    let second = keyring.create(TENANT, second).await.unwrap();
    let unshared = keyring
        .destroy(&second, Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    assert_eq!(unshared.copies, 0, "no copy of the file has it");

    let backup = path.with_extension("backup");
    fs::copy(&path, &backup).unwrap();
    keyring.declare_copy(vault.clone()).unwrap();
    keyring.relock(&another()).unwrap();
    let third = keyring.create(TENANT, third).await.unwrap();
    let evidence = keyring
        .destroy(&first, Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    assert_eq!(evidence.copies, 2, "the copy, and the shares that open it");
    let evidence = keyring
        .destroy(&third, Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    assert_eq!(evidence.copies, 0, "made after the copy");

    // It is true: nobody needs a passphrase.
    let old = recover(&backup, &chosen(&shares, &[3, 1])).unwrap();
    assert_eq!(old.unwrap(&first, &wrapped, b"context").await, Ok(secret()));
    assert_eq!(
        old.wrap(&second, &secret(), b"").await,
        Err(Code::CryErased.into()),
        "not even there"
    );
}

#[tokio::test]
async fn copies_and_shares_that_are_declared_destroyed_no_longer_count() {
    let keyring = create(&path());
    let keks = [1, 2, 3].map(effect);
    let mut made = Vec::new();
    for effect in keks {
        made.push(keyring.create(TENANT, effect).await.unwrap());
    }
    let set = keyring.escrow(2, 2).unwrap()[0].set();
    let (vault, offsite) = (Label::fixed("vault"), Label::fixed("offsite"));
    keyring.declare_copy(vault.clone()).unwrap();
    keyring.declare_copy(offsite.clone()).unwrap();
    let at = Timestamp::UNIX_EPOCH;
    assert_eq!(keyring.destroy(&made[0], at).await.unwrap().copies, 3);
    keyring.copy_destroyed(&vault).unwrap();
    keyring.shares_destroyed(set).unwrap();
    assert_eq!((keyring.recovery(), keyring.shares()), (None, vec![]));
    assert_eq!(keyring.destroy(&made[1], at).await.unwrap().copies, 1);
    keyring.copy_destroyed(&offsite).unwrap();
    assert_eq!(keyring.destroy(&made[2], at).await.unwrap().copies, 0);
}

#[tokio::test]
async fn a_person_erased_while_a_copy_and_its_shares_stand_is_not_proven_erased() {
    let path = path();
    let keyring = Arc::new(create(&path));
    let table = Arc::new(MemoryKeyTable::new());
    let at = Timestamp::UNIX_EPOCH;
    let entropy = Arc::new(OsEntropy);
    let keys = Hierarchy::open(TENANT, keyring.clone(), table.clone(), entropy.clone(), at)
        .await
        .unwrap();
    let people: Vec<_> = (1..=3).map(|n| SubjectId::from_bytes([n; 16])).collect();
    keys.enroll_all(&people).await.unwrap();
    let set = keyring.escrow(2, 3).unwrap()[0].set();
    let vault = Label::fixed("vault");
    keyring.declare_copy(vault.clone()).unwrap();
    let backup = path.with_extension("backup");
    fs::copy(&path, &backup).unwrap();
    let older = Arc::new(table.copied());
    let evidence = keys.erase(&people[..1], at).await.unwrap();
    assert_eq!(evidence[0].kek.copies, 2);
    assert_eq!(evidence[0].proven(), Err(Code::DstCeInvalid));

    // The KEK of the next epoch is in no copy. But that of the epoch before is.
    let evidence = keys.erase(&people[1..2], at).await.unwrap();
    assert_eq!(evidence[0].kek.copies, 0);
    assert_eq!(evidence[0].proven(), Err(Code::DstCeInvalid));
    let old = Arc::new(open(&backup).unwrap());
    let old = Hierarchy::open(TENANT, old, older, entropy, at).await;
    let key = old.unwrap().subject_key(people[1]).await.unwrap();
    assert_eq!(key.fingerprint(), evidence[0].key, "it is true");

    // Copy and shares are gone, and both who count them are told.
    keyring.copy_destroyed(&vault).unwrap();
    keyring.shares_destroyed(set).unwrap();
    let told = keys.erase(&people[1..2], at).await.unwrap();
    assert_eq!(told[0].proven(), Err(Code::DstCeInvalid));
    let custodian = Hierarchy::CUSTODIAN;
    assert_eq!(keys.copies_destroyed(&custodian, at).await, Ok(1));
    for told in keys.erase(&people, at).await.unwrap() {
        assert_eq!(told.proven(), Ok(()));
    }
    for told in keys.evidence_now(&people).await.unwrap() {
        assert_eq!(told.proven(), Ok(()));
    }
}

#[tokio::test]
async fn a_relocked_keyring_opens_by_the_new_lock_only_and_by_no_share() {
    let path = path();
    let keyring = create(&path);
    let kek = keyring.create(TENANT, effect(1)).await.unwrap();
    let wrapped = keyring.wrap(&kek, &secret(), b"context").await.unwrap();
    let shares = keyring.escrow(2, 2).unwrap();
    let before = fs::read_to_string(&path).unwrap();
    keyring.relock(&another()).unwrap();
    let made = keyring.create(TENANT, effect(2)).await.unwrap();
    drop(keyring);
    assert_eq!(kind(open(&path)), FaultKind::Misconfigured);
    assert_eq!(kind(recover(&path, &shares)), FaultKind::Misconfigured);
    let keyring = LocalKeyring::open(&path, &another(), Arc::new(OsEntropy)).unwrap();
    assert_eq!(
        keyring.unwrap(&kek, &wrapped, b"context").await,
        Ok(secret())
    );
    assert_eq!(keyring.state(&made).await, Ok(KekState::Active));
    // Every key in it is wrapped afresh.
    let after = fs::read_to_string(&path).unwrap();
    let wrapped_in = |text: &str| -> Vec<String> {
        let parts = text.split('"').filter(|part| part.len() > 100);
        parts.map(str::to_owned).collect()
    };
    assert!(wrapped_in(&before).len() >= 4);
    for part in wrapped_in(&before) {
        assert!(!after.contains(&part));
    }
}

#[test]
fn shares_of_another_keyring_and_a_keyring_without_recovery_are_refused() {
    let (path, other) = (path(), path());
    drop(create(&path));
    let keyring = create(&other);
    let shares = keyring.escrow(2, 3).unwrap();
    let replaced = keyring.escrow(2, 3).unwrap();
    assert_eq!(keyring.shares().len(), 2);
    drop(keyring);
    assert_eq!(kind(recover(&path, &shares)), FaultKind::Misconfigured);
    assert_eq!(kind(recover(&other, &shares)), FaultKind::Misconfigured);
    assert!(recover(&other, &replaced[1..]).is_ok());
}

#[test]
fn thresholds_that_protect_nothing_are_refused() {
    let keyring = create(&path());
    for (threshold, shares) in [(0, 3), (1, 3), (4, 3), (2, 1), (0, 0)] {
        assert_eq!(
            kind(keyring.escrow(threshold, shares)),
            FaultKind::Misconfigured
        );
    }
    assert_eq!(keyring.recovery(), None);
    assert_eq!(keyring.escrow(2, 255).unwrap().len(), 255);
}

#[test]
fn nothing_secret_is_shown() {
    let keyring = create(&path());
    let shares = keyring.escrow(2, 3).unwrap();
    let text = shares[0].text();
    let shown = format!(
        "{:?} {:?} {:?} {text:?}",
        shares[0],
        shares[0].set(),
        keyring
    );
    let paper = text.expose_secret();
    let groups: Vec<_> = paper.split(['-', ' ']).skip(10).collect();
    for group in groups {
        assert!(!shown.contains(group), "{shown}");
    }
    for wrong in [paper.replace('-', "?"), paper[..40].to_owned()] {
        let error = Share::read(&wrong).unwrap_err();
        assert!(!format!("{error:?} {error}").contains(&paper[30..34]));
    }
}

fn split() -> impl Strategy<Value = (u8, u8)> {
    (2u8..=8).prop_flat_map(|threshold| (Just(threshold), threshold..=12))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any threshold of the shares, in any order, and any more.
    #[test]
    fn any_threshold_of_the_shares_recovers(
        key: [u8; 32],
        (threshold, shares) in split(),
        order in any::<[u8; 12]>(),
        more in 0usize..4,
    ) {
        let key = SecretKey::from_bytes(key);
        let mut all = Share::split(&key, threshold, shares, &OsEntropy).unwrap();
        all.sort_by_key(|share| order[usize::from(share.number()) - 1]);
        all.truncate(usize::from(threshold) + more);
        prop_assert!(Share::combine(&all).unwrap() == key);
    }

    /// One share less is refused. That it also *tells* nothing cannot be seen in a sample: a
    /// unit test beside the arithmetic counts it out for two and three, and Shamir proved the
    /// rest. Here: who gives out a share twice, or lies about the threshold, gets no key either.
    #[test]
    fn one_share_less_than_the_threshold_recovers_nothing(
        key: [u8; 32],
        (threshold, shares) in split(),
        lie: bool,
    ) {
        let key = SecretKey::from_bytes(key);
        let mut few = Share::split(&key, threshold, shares, &OsEntropy).unwrap();
        few.truncate(usize::from(threshold) - 1);
        prop_assert_eq!(kind(Share::combine(&few)), FaultKind::Misconfigured);
        if threshold > 2 && lie {
            let lower = |share: &Share| relabelled(share, threshold - 1);
            let lowered: Vec<_> = few.iter().map(lower).collect();
            prop_assert_eq!(kind(Share::combine(&lowered)), FaultKind::Corrupt);
        }
        let double = Share::read(few[0].text().expose_secret()).unwrap();
        few.push(double);
        prop_assert_eq!(kind(Share::combine(&few)), FaultKind::Misconfigured);
    }

    /// Any other character on the paper is found by the check; two characters that a person
    /// would mix up are the same one.
    #[test]
    fn a_misread_character_is_found(key: [u8; 32], at in 0usize..88, by in 1usize..32) {
        let shares = Share::split(&SecretKey::from_bytes(key), 2, 2, &OsEntropy).unwrap();
        let text = shares[0].text();
        let mut digits = digits_of(text.expose_secret());
        digits[at] = (digits[at] + by) % 32;
        prop_assert_eq!(kind(Share::read(&text_of(&digits))), FaultKind::Corrupt);
    }

    /// Somebody who changes a share and mends its check is found when the key is put together.
    #[test]
    fn a_changed_share_with_a_mended_check_is_found(key: [u8; 32], at in 0usize..32, by in 1u8..) {
        let mut shares = Share::split(&SecretKey::from_bytes(key), 2, 3, &OsEntropy).unwrap();
        let mut bytes = bytes_of(&shares[1]);
        bytes[19 + at] ^= by;
        shares[1] = mended(bytes);
        prop_assert_eq!(kind(Share::combine(&shares[..2])), FaultKind::Corrupt);
        prop_assert_eq!(kind(Share::combine(&shares)), FaultKind::Corrupt);
    }

    #[test]
    fn no_text_makes_the_reader_fail(text in ".{0,600}", digits in "[0-9A-Z -]{0,200}") {
        let _ = Share::read(&text);
        let text = format!("kta-share/1 {digits}");
        prop_assert!(Share::read(&text).is_err());
    }
}

#[test]
fn shares_of_two_recovery_keys_do_not_mix() {
    let keyring = create(&path());
    let mut one = keyring.escrow(2, 3).unwrap();
    let other = keyring.escrow(2, 3).unwrap();
    one.truncate(1);
    one.extend(other.into_iter().skip(1));
    assert_eq!(kind(Share::combine(&one)), FaultKind::Misconfigured);
    assert_eq!(kind(Share::combine(&[])), FaultKind::Misconfigured);
}

#[test]
fn a_link_is_no_keyring() {
    let path = path();
    drop(create(&path));
    let link = path.with_extension("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(kind(open(&link)), FaultKind::Misconfigured);
    let made = LocalKeyring::open_or_create(&link, &passphrase(), Arc::new(OsEntropy));
    assert_eq!(kind(made), FaultKind::Misconfigured);
    assert!(open(&path).is_ok());
}

const DIGITS: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

fn digits_of(text: &str) -> Vec<usize> {
    let digits = text["kta-share/1".len()..].chars();
    digits.filter_map(|digit| DIGITS.find(digit)).collect()
}

fn text_of(digits: &[usize]) -> String {
    let digits = digits.iter().map(|digit| &DIGITS[*digit..=*digit]);
    format!("kta-share/1 {}", digits.collect::<String>())
}

/// The bytes of a share without its check, read here by other code than the crate's.
fn bytes_of(share: &Share) -> Vec<u8> {
    let digits = digits_of(share.text().expose_secret());
    let bits: String = digits.iter().map(|digit| format!("{digit:05b}")).collect();
    let bytes = (0..55).map(|at| u8::from_str_radix(&bits[8 * at..8 * at + 8], 2).unwrap());
    bytes.take(51).collect()
}

fn mended(mut bytes: Vec<u8>) -> Share {
    let mut all = b"kta-share/1 check".to_vec();
    all.extend_from_slice(&bytes);
    let check = kta_core::id::Digest::of(&all);
    bytes.extend_from_slice(&check.as_bytes()[..4]);
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let digits = (0..88).map(|at| usize::from_str_radix(&bits[5 * at..5 * at + 5], 2).unwrap());
    Share::read(&text_of(&digits.collect::<Vec<_>>())).unwrap()
}

fn relabelled(share: &Share, threshold: u8) -> Share {
    let mut bytes = bytes_of(share);
    bytes[1] = threshold;
    mended(bytes)
}

#[test]
fn what_is_read_here_by_hand_is_what_was_split() {
    let mut noise = [0; 32];
    OsEntropy.fill(&mut noise);
    let shares = Share::split(&SecretKey::from_bytes(noise), 2, 2, &OsEntropy).unwrap();
    assert_eq!(mended(bytes_of(&shares[0])), shares[0]);
    assert_eq!(bytes_of(&shares[1])[..3], [1, 2, 2]);
}
