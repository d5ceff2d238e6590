//! Other people's software on the other end: moto, the most real server of AWS KMS to be had
//! without an account, and the vendors' own Python clients against our emulators.
//!
//! moto proves the wire format, not the rules of key state: what it does otherwise than AWS is
//! listed in [`DEVIATIONS`]. A deviation that does not occur any more fails the test, so that
//! the list stays true.
#![cfg(all(feature = "aws", feature = "vault", feature = "emulator"))]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "common/custodian.rs"]
mod custodian;

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use custodian::{Backstage, clock, failures};
use kta_core::conformance::kms as kit;
use kta_core::ports::kms::{KekId, Kms};
use kta_keys::emulator::{AwsEmulator, VaultEmulator};
use kta_keys::{AwsConfig, AwsCredentials, AwsKms, Connection, OsEntropy};

/// Cases that AWS stands and moto 5.2.5 does not, and what moto does instead.
const DEVIATIONS: [(&str, &str); 4] = [
    ("a_disabled_key_unwraps_nothing", "a disabled key decrypts"),
    ("a_disabled_key_wraps_nothing", "a disabled key encrypts"),
    (
        "a_key_deleted_behind_our_back_unwraps_nothing",
        "a key pending deletion decrypts",
    ),
    (
        "a_key_deleted_behind_our_back_wraps_nothing",
        "a key pending deletion encrypts",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_adapter_keeps_the_contract_on_moto_but_for_the_listed_deviations() {
    let moto = tokio::task::spawn_blocking(Moto::start).await.unwrap();
    kit::create_is_repeatable_by_its_key(&moto.fresh()).await;
    kit::a_secret_unwraps_with_its_kek_and_context_only(&moto.fresh()).await;
    kit::wrapping_one_secret_twice_gives_two_results(&moto.fresh()).await;
    kit::changed_bytes_are_refused(&moto.fresh()).await;
    kit::an_unknown_kek_is_refused_by_every_operation(&moto.fresh()).await;
    kit::a_destroyed_kek_wraps_and_unwraps_nothing(&moto.fresh()).await;
    kit::a_destroyed_kek_is_not_created_anew(&moto.fresh()).await;
    kit::destroying_again_answers_the_first_evidence(&moto.fresh()).await;
    kit::destroying_one_kek_leaves_the_others(&moto.fresh()).await;
    kit::state_says_what_destroy_did(&moto.fresh()).await;
    kit::errors_and_debug_hold_no_secret(&moto.fresh()).await;

    let failed = failures(&moto).await;
    let names: Vec<_> = failed.iter().map(|(name, _)| *name).collect();
    let listed: Vec<_> = DEVIATIONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, listed, "{failed:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vendors_own_clients_work_against_the_emulators() {
    let python = tokio::task::spawn_blocking(python).await.unwrap();
    let (aws, vault) = (
        AwsEmulator::start().await.unwrap(),
        VaultEmulator::start().await.unwrap(),
    );
    let (id, secret) = aws.access_key();
    let place = serde_json::json!({
        "aws": { "url": aws.url(), "region": aws.region(), "id": id, "secret": secret },
        "vault": { "url": vault.url(), "token": vault.root_token(),
            "role": vault.role().0, "secret": vault.role().1 },
    });
    let output = tokio::task::spawn_blocking(move || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kms_peers/clients.py");
        Command::new(python)
            .arg(script)
            .arg(place.to_string())
            .env("NO_PROXY", "127.0.0.1,localhost")
            .output()
    });
    let output = output.await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.trim_end().ends_with("every step passed"),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A moto server of its own, ended when dropped.
struct Moto {
    server: Child,
    url: String,
    number: AtomicU32,
    prefix: String,
}

impl Moto {
    fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kms_peers/moto_server.py");
        let mut server = Command::new(python())
            .arg(script)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let output = server.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut url).unwrap();
        assert!(url.starts_with("http://127.0.0.1:"), "moto did not start");
        Self {
            server,
            url: url.trim().to_owned(),
            number: AtomicU32::new(0),
            prefix: "cases".to_owned(),
        }
    }

    fn handle(&self, prefix: &str) -> AwsKms {
        let credentials = AwsCredentials::new("AKIAMOTO", "any".to_owned().into());
        let config = AwsConfig::new("us-east-1", Arc::new(credentials))
            .unwrap()
            .endpoints(&self.url, &self.url)
            .unwrap()
            .prefix(prefix)
            .unwrap()
            // moto loads each service at its first call, which takes it seconds.
            .over(Connection::default());
        AwsKms::new(config, clock(), Arc::new(OsEntropy)).unwrap()
    }

    fn fresh(&self) -> AwsKms {
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        self.handle(&format!("kit-{number}"))
    }

    /// One call by moto's own companion, boto3: an administrator.
    fn administrator(&self, act: &str, kek: &KekId) -> bool {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kms_peers/administrator.py");
        let output = Command::new(python())
            .arg(script)
            .args([&self.url, act, &self.prefix, kek.as_str()])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        true
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[async_trait]
impl Backstage for Moto {
    fn kms(&self) -> Box<dyn Kms> {
        Box::new(self.handle(&self.prefix))
    }

    fn without_meaning(&self) -> &'static [(&'static str, &'static str)] {
        &[(
            "a_key_that_is_gone_is_called_destroyed_only_when_an_administrator_says_so",
            "moto deletes no key before its waiting period is over",
        )]
    }

    async fn disable(&self, kek: &KekId) -> bool {
        self.administrator("disable", kek)
    }

    async fn delete(&self, kek: &KekId) -> bool {
        self.administrator("delete", kek)
    }
}

/// The interpreter of an environment with what is needed, made once under the target directory.
///
/// # Panics
/// When it cannot be made: a test that did not run has not passed.
fn python() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    // Tests are processes of their own and may come here at once.
    let lock = File::create(folder.join("kms-peers.lock")).unwrap();
    lock.lock().unwrap();
    let place = folder.join("kms-peers");
    let python = place.join("bin/python");
    let made = place.join("made");
    let wanted = PACKAGES.join("\n");
    if std::fs::read_to_string(&made).is_ok_and(|made| made == wanted) {
        return python;
    }
    let mut venv = Command::new("python3");
    run(venv.args(["-m", "venv", "--clear"]).arg(&place));
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--no-compile"])
        .arg("--disable-pip-version-check")
        .args(PACKAGES));
    std::fs::write(made, wanted).unwrap();
    python
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "python3 with venv and pip: {told}");
}

/// moto with what its server needs for KMS and parameters (its own extra `server` brings twice
/// as much), and the official clients.
const PACKAGES: [&str; 6] = [
    "moto==5.2.5",
    "flask==3.1.3",
    "flask-cors==6.0.5",
    "pyyaml==6.0.3",
    "boto3==1.44.5",
    "hvac==2.4.0",
];
