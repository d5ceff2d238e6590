//! Tokens of a real SoftHSM2, made by this test binary for itself.
//!
//! SoftHSM learns its folder from the environment alone, and that belongs to the whole process:
//! so there is one folder a process and one token a test. What breaks the module for everybody
//! (a token taken away, the module finalised) runs in a process of its own: see [`alone`].
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use kta_keys::{Pkcs11Kms, TokenName};

/// A PIN with a marked value in it.
pub const PIN: &str = "CANARY-4711";

/// The module; without one the tests fail.
pub fn module() -> PathBuf {
    let own = std::env::var_os("SOFTHSM2_MODULE").map(PathBuf::from);
    let usual = [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib64/softhsm/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
        "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    ];
    own.into_iter()
        .chain(usual.map(PathBuf::from))
        .find(|path| path.exists())
        .expect("SoftHSM2 is missing: install the package softhsm2, or set SOFTHSM2_MODULE")
}

/// The folder of this process's tokens.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("softhsm-{}", std::process::id()))
}

/// The module, in use by this process.
pub fn pkcs11() -> &'static Pkcs11 {
    static READY: OnceLock<Pkcs11> = OnceLock::new();
    READY.get_or_init(|| {
        if std::env::var_os(TOKEN).is_none() {
            settle();
        }
        let pkcs11 = Pkcs11::new(module()).unwrap();
        initialize(&pkcs11);
        pkcs11
    })
}

pub fn initialize(pkcs11: &Pkcs11) {
    match pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// A new token; gives its label.
pub fn token() -> String {
    static TURN: Mutex<u32> = Mutex::new(0);
    let pkcs11 = pkcs11();
    let mut number = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    *number += 1;
    let label = format!("token {number}");
    let so = AuthPin::from("0000-security-officer".to_owned());
    let free = pkcs11
        .get_slots_with_token()
        .unwrap()
        .into_iter()
        .find(|slot| !pkcs11.get_token_info(*slot).unwrap().token_initialized())
        .expect("SoftHSM always has one slot more");
    pkcs11.init_token(free, &so, &label).unwrap();
    let session = pkcs11.open_rw_session(slot(&label)).unwrap();
    session.login(UserType::So, Some(&so)).unwrap();
    session.init_pin(&pin()).unwrap();
    label
}

pub fn slot(label: &str) -> cryptoki::slot::Slot {
    let pkcs11 = pkcs11();
    pkcs11
        .get_slots_with_token()
        .unwrap()
        .into_iter()
        .find(|slot| pkcs11.get_token_info(*slot).unwrap().label() == label)
        .unwrap()
}

/// A session past the custodian.
pub fn session(label: &str) -> Session {
    let session = pkcs11().open_rw_session(slot(label)).unwrap();
    match session.login(UserType::User, Some(&pin())) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => session,
        Err(error) => panic!("{error}"),
    }
}

pub fn pin() -> AuthPin {
    PIN.to_owned().into()
}

pub fn open(label: &str) -> Pkcs11Kms {
    try_open(label, PIN).unwrap()
}

pub fn try_open(label: &str, pin: &str) -> kta_core::Result<Pkcs11Kms> {
    let label = TokenName::Label(label.to_owned());
    Pkcs11Kms::open(module(), label, pin.to_owned().into())
}

pub async fn fresh() -> Pkcs11Kms {
    open(&token())
}

/// Whether this is the process in which this test runs alone. If not, such a process is
/// started, and must succeed.
pub fn alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    again(test, &[(ALONE, "1")]);
    false
}

/// Runs one test of this binary in another process, on the tokens of this one.
pub fn elsewhere(test: &str, label: &str, about: &str) {
    let conf = folder().join("softhsm2.conf");
    let conf = conf.to_str().unwrap();
    again(test, &[(CONF, conf), (TOKEN, label), ("KTA_ABOUT", about)]);
}

/// What the process that called [`elsewhere`] says: the token and something more.
pub fn told() -> Option<(String, String)> {
    Some((std::env::var(TOKEN).ok()?, std::env::var("KTA_ABOUT").ok()?))
}

fn again(test: &str, with: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--include-ignored", "--nocapture"]);
    let output = command.envs(with.iter().copied()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let erred = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{erred}");
    assert!(said.contains("1 passed"), "no test {test}: {said}");
}

/// Makes the folder and tells the environment.
fn settle() {
    let folder = folder();
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("tokens")).unwrap();
    let conf = folder.join("softhsm2.conf");
    let tokens = folder.join("tokens");
    let text = format!(
        "directories.tokendir = {}\nlog.level = ERROR\n",
        tokens.display()
    );
    fs::write(&conf, text).unwrap();
    let env = folder.join("env");
    fs::write(&env, format!("{CONF}='{}'\n", conf.display())).unwrap();
    dotenvy::from_path_override(&env).unwrap();
}

const CONF: &str = "SOFTHSM2_CONF";
const TOKEN: &str = "KTA_TOKEN";
const ALONE: &str = "KTA_ALONE";
