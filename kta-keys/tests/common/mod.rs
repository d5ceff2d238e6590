//! Keyrings in folders of their own.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use kta_keys::{Cost, LocalKeyring, OsEntropy, Unlock};

/// A passphrase with a marked value in it, cheap to try.
pub fn passphrase() -> Unlock {
    Unlock::passphrase("CANARY passphrase".to_owned().into()).at_cost(Cost::FOR_TESTS_ONLY)
}

/// A path in a new folder below the build's own folder for tests.
pub fn path() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("keyring-{}-{number}", std::process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder.join("firm.keyring")
}

pub fn open(path: &Path) -> kta_core::Result<LocalKeyring> {
    LocalKeyring::open(path, &passphrase(), Arc::new(OsEntropy))
}

pub fn create(path: &Path) -> LocalKeyring {
    LocalKeyring::create(path, &passphrase(), Arc::new(OsEntropy)).unwrap()
}

pub async fn fresh() -> LocalKeyring {
    let path = path();
    drop(create(&path));
    open(&path).unwrap()
}
