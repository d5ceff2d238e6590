//! The keyring's file: what is in it, what is refused, what is left after a cut or a failure.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{create, open, passphrase, path};
use kta_core::audit::{Label, Signer as _};
use kta_core::crypto::SecretKey;
use kta_core::id::{IdempotencyKey, TenantId};
use kta_core::ports::kms::{KekState, Kms as _};
use kta_core::time::{Entropy, Timestamp};
use kta_core::{Code, Fault, FaultKind, Result};
use kta_keys::{Cost, LocalKeyring, OsEntropy, Unlock};

const TENANT: TenantId = TenantId::from_bytes([7; 16]);

fn effect(number: u8) -> IdempotencyKey {
    IdempotencyKey::derived("test", &[&[number]])
}

fn secret() -> SecretKey {
    SecretKey::from_bytes([9; 32])
}

fn kind<T: core::fmt::Debug>(outcome: Result<T>) -> FaultKind {
    fault(outcome).kind()
}

fn fault<T: core::fmt::Debug>(outcome: Result<T>) -> Fault {
    *outcome.unwrap_err().fault().unwrap()
}

/// Another passphrase, as cheap to try.
fn another() -> Unlock {
    Unlock::passphrase("CANARY another".to_owned().into()).at_cost(Cost::FOR_TESTS_ONLY)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", path.display()))
}

const NEW: &str = ".kta-new";
const FORMER: &str = ".kta-former";

#[tokio::test]
async fn keys_survive_closing_and_opening() {
    let path = path();
    let keyring = create(&path);
    let kek = keyring.create(TENANT, effect(1)).await.unwrap();
    let gone = keyring.create(TENANT, effect(2)).await.unwrap();
    let wrapped = keyring.wrap(&kek, &secret(), b"context").await.unwrap();
    let evidence = keyring.destroy(&gone, Timestamp::UNIX_EPOCH).await.unwrap();
    let public = keyring.signer("firm.example/audit").unwrap().public_key();
    let revision = keyring.revision();
    drop(keyring);

    let keyring = open(&path).unwrap();
    assert_eq!(
        keyring.unwrap(&kek, &wrapped, b"context").await,
        Ok(secret())
    );
    assert_eq!(
        keyring.state(&gone).await,
        Ok(KekState::Destroyed(evidence))
    );
    assert_eq!(
        keyring.unwrap(&gone, &wrapped, b"context").await,
        Err(Code::CryErased.into())
    );
    assert_eq!(
        keyring.signer("firm.example/audit").unwrap().public_key(),
        public
    );
    assert_ne!(
        keyring
            .signer("firm.example/certificates")
            .unwrap()
            .public_key(),
        public
    );
    assert_eq!(
        keyring.revision(),
        revision + 1,
        "only the second signer was new"
    );
}

#[tokio::test]
async fn a_destroyed_kek_is_gone_from_the_file_and_its_former_content_overwritten() {
    let path = path();
    let keyring = create(&path);
    let kek = keyring.create(TENANT, effect(1)).await.unwrap();
    let before = fs::read_to_string(&path).unwrap();
    let at = before.find("\"wrapped\": \"").unwrap() + 12;
    let wrapped = before[at..].split('"').next().unwrap().to_owned();
    assert!(wrapped.len() > 100);

    // A second name for the old blocks shows what became of them.
    let trace = path.with_extension("trace");
    fs::hard_link(&path, &trace).unwrap();
    keyring.destroy(&kek, Timestamp::UNIX_EPOCH).await.unwrap();

    let old = fs::read(&trace).unwrap();
    assert_eq!(old.len(), before.len());
    assert!(
        !old.windows(16)
            .any(|part| before.as_bytes().windows(16).any(|was| was == part))
    );
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(&wrapped));
    }
}

#[test]
fn only_the_owner_can_read_the_file() {
    let path = path();
    drop(create(&path));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(kind(open(&path)), FaultKind::Misconfigured);
}

#[test]
fn a_second_opening_is_refused_while_the_first_lives() {
    let path = path();
    let first = create(&path);
    let clone = first.clone();
    assert_eq!(kind(open(&path)), FaultKind::Unavailable);
    drop(first);
    assert_eq!(
        kind(open(&path)),
        FaultKind::Unavailable,
        "the clone still lives"
    );
    drop(clone);
    assert!(open(&path).is_ok());
}

#[test]
fn a_keyring_is_never_made_over_a_file() {
    let path = path();
    fs::write(&path, "somebody's notes").unwrap();
    let made = LocalKeyring::create(&path, &passphrase(), Arc::new(OsEntropy));
    assert_eq!(kind(made), FaultKind::Misconfigured);
    assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's notes");
}

#[test]
fn a_missing_file_a_wrong_passphrase_and_a_foreign_file_are_told_apart() {
    let path = path();
    assert_eq!(kind(open(&path)), FaultKind::NotFound);
    drop(create(&path));
    let wrong = Unlock::passphrase("guess".to_owned().into()).at_cost(Cost::FOR_TESTS_ONLY);
    assert_eq!(
        kind(LocalKeyring::open(&path, &wrong, Arc::new(OsEntropy))),
        FaultKind::Misconfigured
    );
    let key_file = Unlock::key_file(path.with_extension("key"));
    assert_eq!(
        kind(LocalKeyring::open(&path, &key_file, Arc::new(OsEntropy))),
        FaultKind::Misconfigured
    );
    for foreign in [&b""[..], b"{}", b"\xff\x00", b"[[[[[[[[", &[b'['; 100_000]] {
        fs::write(&path, foreign).unwrap();
        assert_eq!(kind(open(&path)), FaultKind::Corrupt);
    }
}

#[test]
fn a_keyring_stretched_too_little_does_not_open_by_default() {
    let path = path();
    drop(create(&path));
    let strict = Unlock::passphrase("CANARY passphrase".to_owned().into());
    assert_eq!(
        kind(LocalKeyring::open(&path, &strict, Arc::new(OsEntropy))),
        FaultKind::Misconfigured
    );
}

#[tokio::test]
async fn every_changed_byte_is_found() {
    let path = path();
    let keyring = create(&path);
    keyring.create(TENANT, effect(1)).await.unwrap();
    let gone = keyring.create(TENANT, effect(2)).await.unwrap();
    keyring.destroy(&gone, Timestamp::UNIX_EPOCH).await.unwrap();
    keyring.signer("firm.example/audit").unwrap();
    assert!(
        !fs::read_to_string(&path).unwrap().contains("recovery"),
        "as before there was any"
    );
    keyring.escrow(2, 3).unwrap();
    keyring.declare_copy(Label::fixed("backup-1")).unwrap();
    drop(keyring);
    let whole = fs::read(&path).unwrap();
    for position in 0..whole.len() {
        let mut changed = whole.clone();
        changed[position] ^= if position % 2 == 0 { 1 } else { 0x20 };
        fs::write(&path, &changed).unwrap();
        let outcome = open(&path);
        let found = matches!(
            outcome
                .as_ref()
                .unwrap_err()
                .fault()
                .map(|fault| fault.kind()),
            Some(FaultKind::Corrupt | FaultKind::Misconfigured)
        );
        assert!(found, "byte {position}: {outcome:?}");
    }
    for length in (0..whole.len()).step_by(11) {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(kind(open(&path)), FaultKind::Corrupt, "cut at {length}");
    }
    fs::write(&path, &whole).unwrap();
    assert!(open(&path).is_ok());
}

#[tokio::test]
async fn what_a_cut_left_behind_is_finished_at_the_next_opening() {
    let path = path();
    let keyring = create(&path);
    let kek = keyring.create(TENANT, effect(1)).await.unwrap();
    drop(keyring);
    let (new, former) = (beside(&path, NEW), beside(&path, FORMER));
    let intact = fs::read(&path).unwrap();

    // Cut while the new file was being written.
    fs::write(&new, b"half a keyr").unwrap();
    // Cut after the link and before the rename: the second name is the present file.
    fs::hard_link(&path, &former).unwrap();
    assert_eq!(open(&path).unwrap().state(&kek).await, Ok(KekState::Active));
    assert_eq!(
        fs::read(&path).unwrap(),
        intact,
        "the present file is not overwritten"
    );
    assert!(!new.exists() && !former.exists());

    // Cut after the rename: the second name is the former file.
    fs::write(&former, b"a former content").unwrap();
    let trace = path.with_extension("trace");
    fs::hard_link(&former, &trace).unwrap();
    drop(open(&path).unwrap());
    assert!(!former.exists());
    assert_ne!(fs::read(&trace).unwrap(), b"a former content");

    // Cut while the first file of all was being written.
    let path = self::path();
    fs::write(beside(&path, NEW), b"half a keyr").unwrap();
    drop(create(&path));
    assert!(open(&path).is_ok() && !beside(&path, NEW).exists());
}

#[tokio::test]
async fn a_former_content_whose_file_is_missing_may_be_the_only_copy_and_is_not_touched() {
    let path = path();
    let keyring = create(&path);
    let kek = keyring.create(TENANT, effect(1)).await.unwrap();
    let shares = keyring.escrow(2, 2).unwrap();
    drop(keyring);
    let (new, former) = (beside(&path, NEW), beside(&path, FORMER));
    fs::rename(&path, &former).unwrap();
    fs::write(&new, "perhaps of use, too").unwrap();
    let intact = fs::read(&former).unwrap();
    let entropy = || Arc::new(OsEntropy);
    for outcome in [
        open(&path),
        LocalKeyring::create(&path, &passphrase(), entropy()),
        LocalKeyring::open_or_create(&path, &passphrase(), entropy()),
        LocalKeyring::recover(&path, &shares, &passphrase(), entropy()),
    ] {
        let fault = fault(outcome);
        assert_eq!(fault.kind(), FaultKind::Misconfigured);
        assert!(fault.to_string().contains("only copy"), "{fault}");
    }
    assert_eq!(fs::read(&former).unwrap(), intact);
    assert!(new.exists() && !path.exists());
    fs::rename(&former, &path).unwrap();
    assert_eq!(open(&path).unwrap().state(&kek).await, Ok(KekState::Active));
}

#[tokio::test]
async fn what_a_person_put_beside_the_file_is_never_removed_nor_followed() {
    let path = path();
    let keyring = create(&path);
    let backups = [".old", ".new", ".bak", "~"].map(|ending| beside(&path, ending));
    for backup in &backups {
        fs::copy(&path, backup).unwrap();
    }
    let kek = keyring.create(TENANT, effect(1)).await.unwrap();
    keyring.destroy(&kek, Timestamp::UNIX_EPOCH).await.unwrap();
    drop(keyring);
    for backup in &backups {
        fs::copy(backup, beside(backup, ".look")).unwrap();
        assert!(open(&beside(backup, ".look")).is_ok());
    }

    let notes = path.with_extension("notes");
    fs::write(&notes, "somebody's notes").unwrap();
    for name in [NEW, FORMER].map(|ending| beside(&path, ending)) {
        symlink(&notes, &name).unwrap();
        assert_eq!(kind(open(&path)), FaultKind::Misconfigured);
        assert_eq!(fs::read_to_string(&notes).unwrap(), "somebody's notes");
        assert_eq!(fs::read_link(&name).unwrap(), notes);
        fs::remove_file(&name).unwrap();

        fs::create_dir(&name).unwrap();
        assert_eq!(kind(open(&path)), FaultKind::Misconfigured);
        fs::remove_dir(&name).unwrap();
        assert!(open(&path).is_ok());
    }
}

/// The system's randomness. Where it is told to, it lets the next removal of former content fail:
/// while that is being overwritten, the content comes back under another file, and a folder
/// stands in its place.
#[derive(Debug)]
struct Obstacle {
    former: PathBuf,
    saved: PathBuf,
    armed: AtomicBool,
}

impl Obstacle {
    fn to(path: &Path) -> Arc<Self> {
        Arc::new(Self {
            former: beside(path, FORMER),
            saved: path.with_extension("saved"),
            armed: AtomicBool::new(false),
        })
    }

    fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    /// The folder goes; the former content is left. Gives a second name for it, which shows what
    /// becomes of it.
    fn clear(&self) -> PathBuf {
        fs::remove_dir(&self.former).unwrap();
        fs::hard_link(&self.saved, &self.former).unwrap();
        self.saved.clone()
    }
}

impl Entropy for Obstacle {
    fn fill(&self, bytes: &mut [u8]) {
        if self.former.exists() && self.armed.swap(false, Ordering::SeqCst) {
            fs::copy(&self.former, &self.saved).unwrap();
            fs::remove_file(&self.former).unwrap();
            fs::create_dir(&self.former).unwrap();
        }
        OsEntropy.fill(bytes);
    }
}

#[tokio::test]
async fn a_relocking_whose_former_content_may_be_left_holds_and_is_not_taken_back() {
    let path = path();
    let obstacle = Obstacle::to(&path);
    let keyring = LocalKeyring::create(&path, &passphrase(), obstacle.clone()).unwrap();
    let kek = keyring.create(TENANT, effect(1)).await.unwrap();
    obstacle.arm();
    let fault = fault(keyring.relock(&another()));
    assert_eq!(fault.kind(), FaultKind::OutcomeUnknown);
    assert!(fault.to_string().contains("former content"), "{fault}");
    let copy = path.with_extension("copy");
    fs::copy(&path, &copy).unwrap();
    assert!(LocalKeyring::open(&copy, &another(), Arc::new(OsEntropy)).is_ok());
    // Nothing is written as long as the former content cannot be removed.
    let revision = keyring.revision();
    assert_eq!(
        kind(keyring.create(TENANT, effect(2)).await),
        FaultKind::Misconfigured
    );
    assert_eq!(keyring.revision(), revision);

    let former = obstacle.clear();
    let before = fs::read(&former).unwrap();
    let made = keyring.create(TENANT, effect(2)).await.unwrap();
    assert!(!beside(&path, FORMER).exists());
    assert_ne!(fs::read(&former).unwrap(), before);
    drop(keyring);
    assert_eq!(kind(open(&path)), FaultKind::Misconfigured);
    let keyring = LocalKeyring::open(&path, &another(), Arc::new(OsEntropy)).unwrap();
    for kek in [kek, made] {
        assert_eq!(keyring.state(&kek).await, Ok(KekState::Active));
    }
}

#[tokio::test]
async fn no_evidence_of_a_destruction_is_given_while_former_content_may_be_left() {
    let path = path();
    let obstacle = Obstacle::to(&path);
    let keyring = LocalKeyring::create(&path, &passphrase(), obstacle.clone()).unwrap();
    let kek = keyring.create(TENANT, effect(1)).await.unwrap();
    let wrapped = keyring.wrap(&kek, &secret(), b"context").await.unwrap();
    let at = Timestamp::UNIX_EPOCH;
    obstacle.arm();
    let outcome = keyring.destroy(&kek, at).await;
    assert_eq!(kind(outcome), FaultKind::OutcomeUnknown);
    let erased = Code::CryErased;
    let outcome = keyring.unwrap(&kek, &wrapped, b"context").await;
    assert_eq!(outcome, Err(erased.into()));
    let outcome = keyring.wrap(&kek, &secret(), b"context").await;
    assert_eq!(outcome, Err(erased.into()));
    let later = at + core::time::Duration::from_secs(1);
    assert_eq!(
        kind(keyring.destroy(&kek, later).await),
        FaultKind::Misconfigured
    );
    assert_eq!(kind(keyring.state(&kek).await), FaultKind::Misconfigured);

    let former = obstacle.clear();
    let before = fs::read(&former).unwrap();
    let evidence = keyring.destroy(&kek, later).await.unwrap();
    assert_eq!((evidence.at, evidence.copies), (at, 0));
    assert!(!beside(&path, FORMER).exists());
    assert_ne!(fs::read(&former).unwrap(), before);
    let destroyed = Ok(KekState::Destroyed(evidence));
    assert_eq!(keyring.state(&kek).await, destroyed);
    drop(keyring);
    assert_eq!(open(&path).unwrap().state(&kek).await, destroyed);
}

#[tokio::test]
async fn what_is_made_or_recovered_while_former_content_may_be_left_is_there() {
    let path = path();
    let obstacle = Obstacle::to(&path);
    let keyring = LocalKeyring::create(&path, &passphrase(), obstacle.clone()).unwrap();
    obstacle.arm();
    let outcome = keyring.create(TENANT, effect(1)).await;
    assert_eq!(kind(outcome), FaultKind::OutcomeUnknown);
    obstacle.clear();
    let kek = keyring.create(TENANT, effect(1)).await.unwrap();
    let wrapped = keyring.wrap(&kek, &secret(), b"context").await.unwrap();
    let shares = keyring.escrow(2, 2).unwrap();
    drop(keyring);

    obstacle.arm();
    let outcome = LocalKeyring::recover(&path, &shares, &another(), obstacle.clone());
    assert_eq!(kind(outcome), FaultKind::OutcomeUnknown);
    obstacle.clear();
    assert_eq!(kind(open(&path)), FaultKind::Misconfigured);
    let keyring = LocalKeyring::open(&path, &another(), Arc::new(OsEntropy)).unwrap();
    let outcome = keyring.unwrap(&kek, &wrapped, b"context").await;
    assert_eq!(outcome, Ok(secret()));
    assert!(!beside(&path, FORMER).exists());
}

#[tokio::test]
async fn declared_copies_stand_in_the_evidence() {
    let keyring = create(&path());
    let effects = [1, 2, 3, 4].map(effect);
    let first = keyring.create(TENANT, effects[0]).await.unwrap();
    let second = keyring.create(TENANT, effects[1]).await.unwrap();
    keyring.declare_copy(Label::fixed("backup-1")).unwrap();
    keyring.declare_copy(Label::fixed("backup-2")).unwrap();
    let later = keyring.create(TENANT, effects[2]).await.unwrap();
    let at = Timestamp::UNIX_EPOCH;
    assert_eq!(keyring.destroy(&first, at).await.unwrap().copies, 2);
    assert_eq!(
        keyring.destroy(&later, at).await.unwrap().copies,
        0,
        "made after the copies"
    );
    keyring.copy_destroyed(&Label::fixed("backup-1")).unwrap();
    assert_eq!(keyring.destroy(&second, at).await.unwrap().copies, 1);
}

#[tokio::test]
async fn the_evidence_is_the_same_before_and_after_reopening() {
    let path = path();
    let keyring = create(&path);
    let kek = keyring.create(TENANT, effect(1)).await.unwrap();
    let at = Timestamp::UNIX_EPOCH + core::time::Duration::from_nanos(1_234_567_891);
    let evidence = keyring.destroy(&kek, at).await.unwrap();
    drop(keyring);
    let again = open(&path).unwrap().destroy(&kek, at).await;
    assert_eq!(again, Ok(evidence));
}

#[tokio::test]
async fn a_key_file_opens_only_its_own_keyring_and_must_be_private() {
    let (path, other) = (path(), path());
    let key = path.with_extension("key");
    let unlock = Unlock::key_file(&key);
    drop(LocalKeyring::create(&path, &unlock, Arc::new(OsEntropy)).unwrap());
    assert_eq!(fs::metadata(&key).unwrap().len(), 32);
    let open = |unlock: &Unlock| LocalKeyring::open(&path, unlock, Arc::new(OsEntropy));
    assert!(open(&unlock).is_ok());

    let elsewhere = Unlock::key_file(other.with_extension("key"));
    drop(LocalKeyring::create(&other, &elsewhere, Arc::new(OsEntropy)).unwrap());
    assert_eq!(kind(open(&elsewhere)), FaultKind::Misconfigured);
    fs::write(&key, [1; 31]).unwrap();
    assert_eq!(kind(open(&unlock)), FaultKind::Misconfigured);
    fs::remove_file(&key).unwrap();
    assert_eq!(kind(open(&unlock)), FaultKind::NotFound);
    fs::write(&key, [1; 32]).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(kind(open(&unlock)), FaultKind::Misconfigured);
}

#[tokio::test]
async fn nothing_secret_is_shown_or_written_in_the_clear() {
    let path = path();
    let keyring = create(&path);
    let kek = keyring.create(TENANT, effect(1)).await.unwrap();
    let signer = keyring.signer("firm.example/audit").unwrap();
    let wrong = Unlock::passphrase("CANARY wrong".to_owned().into());
    let refused = LocalKeyring::open(&path, &wrong, Arc::new(OsEntropy)).unwrap_err();
    let shown = format!("{keyring:?} {kek:?} {signer:?} {wrong:?} {refused:?} {refused}");
    let file = fs::read_to_string(&path).unwrap();
    for text in [&shown, &file] {
        assert!(!text.contains("CANARY"), "{text}");
    }
    assert!(
        !refused.to_string().contains("keyring-"),
        "no path in an error"
    );
}
