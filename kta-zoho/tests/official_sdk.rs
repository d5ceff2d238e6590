//! The vendor's own Python client works, unpatched, against the emulator.

// A failing unwrap is a failing test.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kta_zoho::emulator::{Emulator, EmulatorOptions};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn official_python_client_works_unpatched_against_the_emulator() {
    // What the test needs is installed by the test script; without it this is no test.
    let python = client_python().expect("python3, or the vendor's client from PyPI, is missing");
    let emulator = Emulator::start(EmulatorOptions {
        tape: true,
        ..EmulatorOptions::default()
    })
    .await
    .unwrap();
    let target = serde_json::json!({
        "api_url": emulator.api_url(), "accounts_url": emulator.accounts_url(),
        "client_id": emulator.client_id(), "client_secret": emulator.client_secret(),
        "refresh_token": emulator.refresh_token(),
    });
    let directory = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official_sdk/drive.py");
    let (place, argument) = (directory.path().to_owned(), target.to_string());
    let output = tokio::task::spawn_blocking(move || {
        run(Command::new(python)
            .arg(script)
            .arg(argument)
            .current_dir(place))
    })
    .await
    .unwrap()
    .expect("python3 was found a moment ago");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(
        output.status.success() && said.trim_end().ends_with("all worked"),
        "the client failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    if let Some(spec) = common::spec::Spec::named() {
        // What the vendor's own client asks is the vendor's affair; what we answer is ours.
        let replies = spec.reply_flaws(&emulator.taped());
        assert!(replies.is_empty(), "{replies:#?}");
    }
    assert_eq!(emulator.inspect().tokens_handed_out(), 1);
    assert_eq!(emulator.inspect().automations_run(), 0);
}

/// The interpreter of an environment with the client in it, made once under `target/`.
fn client_python() -> Option<PathBuf> {
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("zoho-official-client");
    let python = environment.join("bin/python");
    let has_client =
        |python: &Path| succeeds(Command::new(python).args(["-c", "import zohocrmsdk"]));
    if has_client(&python) {
        return Some(python);
    }
    let made =
        succeeds(
            Command::new("python3")
                .args(["-m", "venv"])
                .arg(&environment),
        ) && succeeds(Command::new(&python).args(["-m", "pip", "install", "--quiet", PACKAGE]));
    (made && has_client(&python)).then_some(python)
}

fn succeeds(command: &mut Command) -> bool {
    run(command).is_some_and(|output| output.status.success())
}

fn run(command: &mut Command) -> Option<Output> {
    command.output().ok()
}

const PACKAGE: &str = "zohocrmsdk8-0==7.0.0";
