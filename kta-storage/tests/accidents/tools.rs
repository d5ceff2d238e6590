//! What the accidents happen to, and how.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use kta_core::conformance::Desk;
use kta_core::conformance::store::Samples;
use kta_core::id::TenantId;
use kta_core::memory::{RulesPolicy, SeededEntropy};
use kta_core::pii::{Record, Sealed};
use kta_core::policy::Gate;
use kta_core::ports::Store as _;
use kta_core::ports::store::{Change, Expected};
use kta_core::{Code, Error, Fault};
use kta_storage::{SqliteStore, SystemClock};

/// Runs an ignored test of these as a process with mounts of its own.
pub(crate) fn apart(test: &str, more: &[(&str, &str)]) {
    let me = Command::new("id").arg("-u").output().unwrap().stdout;
    let spaces: &[_] = if me.trim_ascii() == b"0" {
        &["--mount"]
    } else {
        &["--user", "--map-root-user", "--mount"]
    };
    let output = Command::new("unshare")
        .args(spaces)
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--ignored", "--nocapture"])
        .env(APART, "1")
        .envs(more.iter().copied())
        .output()
        .expect("unshare of util-linux");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

pub(crate) fn is_apart() -> bool {
    std::env::var_os(APART).is_some()
}

pub(crate) fn mount(arguments: &[&str]) {
    let output = Command::new("mount").args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

pub(crate) fn umount(path: &Path) {
    assert!(Command::new("umount").arg(path).status().unwrap().success());
}

pub(crate) fn append(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    options
        .create(true)
        .append(true)
        .open(file)?
        .write_all(bytes)
}

/// The database with what SQLite keeps beside it.
pub(crate) fn clear(file: &Path) {
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", text(file)));
    }
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) async fn fill(store: &SqliteStore, last: u8) {
    for number in 1..=last {
        put(store, number).await.unwrap();
    }
}

/// One record and its entry.
pub(crate) async fn put(store: &SqliteStore, number: u8) -> kta_core::Result<()> {
    let rows = rows();
    let set = rows
        .set(0)
        .with(Change::PutRecord {
            record: record(number),
            index: vec![rows.tag(1)],
            expected: Expected::Absent,
        })
        .event(rows.event(Some(1)).with("number", u64::from(number)));
    store.commit(set).await.map(drop)
}

/// Sealed bytes as they are: each other than any other.
pub(crate) fn record(number: u8) -> Record {
    let mut record = rows().record(1, number, 1);
    let entropy = SeededEntropy::new(u64::from(number));
    let random = |length| {
        let mut bytes = vec![0; length];
        kta_core::time::Entropy::fill(&entropy, &mut bytes);
        bytes
    };
    record.header = random(150);
    for field in record.fields.values_mut() {
        field.sealed = Sealed::from_bytes(random(field.sealed.as_bytes().len()));
    }
    record
}

pub(crate) fn gate(store: &SqliteStore) -> Gate {
    let tenant = rows().tenant;
    let gate = Gate::new(
        tenant,
        Arc::new(RulesPolicy::new()),
        Arc::new(store.clone()),
        Arc::new(SystemClock),
        Arc::new(SeededEntropy::new(1)),
    );
    let directory = Desk::of(tenant).gate().directory(Clone::clone);
    gate.amend_directory(|own| *own = directory);
    gate
}

pub(crate) fn rows() -> Samples {
    Samples {
        tenant: TenantId::derived(&[b"invented firm of accidents"]),
    }
}

pub(crate) fn fault(error: Error) -> Fault {
    match error {
        Error::Broken(fault) => fault,
        other => panic!("expected a fault, got {other}"),
    }
}

pub(crate) fn code(error: Error) -> Code {
    match error {
        Error::Refused(refusal) => refusal.code(),
        other => panic!("expected a refusal, got {other}"),
    }
}

pub(crate) const APART: &str = "KTA_STORAGE_APART";
pub(crate) const FILE: &str = "KTA_STORAGE_LIMITED_FILE";

/// SQLite's pages.
pub(crate) const PAGE: usize = 4096;
