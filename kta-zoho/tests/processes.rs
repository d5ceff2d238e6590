//! Several processes that share one token in a sealed file: real ones, each this binary again.

// A failing unwrap is a failing test.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::{Office, configuration};
use kta_core::conformance::Desk;
use kta_core::crypto::SecretKey;
use kta_core::memory::SeededEntropy;
use kta_core::policy::{Act, Role, Scope};
use kta_core::ports::AccessReview as _;
use kta_http::{Roots, SealedFile};
use kta_zoho::emulator::{Emulator, EmulatorOptions, Failure};
use kta_zoho::{Credentials, Sign, ZohoConfig, ZohoCrm};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_together_make_one_refresh_and_renew_it_once() {
    let office = Office::open().await;
    let folder = tempfile::tempdir().unwrap();
    let mut workers: Vec<Worker> = (0..4)
        .map(|number| Worker::start(&office.emulator, folder.path(), number))
        .collect();
    assert_eq!(together(&mut workers), ["good none"; 4]);
    assert_eq!(office.emulator.inspect().tokens_handed_out(), 1);
    // Pushed out by somebody: each finds its token refused, and it is one new token for all.
    office.emulator.inspect().revoke_access_tokens();
    assert_eq!(together(&mut workers), ["good none"; 4]);
    assert_eq!(office.emulator.inspect().tokens_handed_out(), 2);
    // One that comes later asks for none, and nothing on the disk shows the token.
    let mut late = Worker::start(&office.emulator, folder.path(), 9);
    assert_eq!(late.call(), "good none");
    assert_eq!(office.emulator.inspect().tokens_handed_out(), 2);
    let secrets = [
        "1000.",
        office.emulator.refresh_token(),
        office.emulator.client_secret(),
    ];
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(secrets.iter().all(|secret| !text.contains(secret)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_tokens_in_ten_minutes_are_all_that_all_processes_ask_for_and_no_sign_of_theft() {
    let office = Office::with(EmulatorOptions {
        tokens_in_ten_minutes: 1_000,
        token_lifetime: Duration::ZERO,
        ..EmulatorOptions::default()
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let mut workers: Vec<Worker> = (0..3)
        .map(|number| Worker::start(&office.emulator, folder.path(), number))
        .collect();
    for _ in 0..3 {
        together(&mut workers);
    }
    // One that is started anew has not forgotten.
    let mut anew = Worker::start(&office.emulator, folder.path(), 9);
    let last: Vec<String> = (0..3).map(|_| anew.call()).collect();
    assert_eq!(last[2], "throttled none", "{last:?}");
    assert_eq!(office.emulator.inspect().tokens_handed_out(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_while_it_renews_keeps_nobody_waiting() {
    let office = Office::open().await;
    let folder = tempfile::tempdir().unwrap();
    let silence = Failure::Silence;
    office.emulator.faults().next(1, "POST", "/oauth", silence);
    let mut dying = Worker::start(&office.emulator, folder.path(), 1);
    dying.ask();
    while office.emulator.faults().pending() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut waiting = Worker::start(&office.emulator, folder.path(), 2);
    waiting.ask();
    tokio::time::sleep(Duration::from_millis(150)).await;
    // The other one waits for its turn, and asks for no second token.
    assert_eq!(office.emulator.inspect().tokens_handed_out(), 0);
    dying.child.kill().unwrap();
    assert_eq!(waiting.answer(), "good none");
    assert_eq!(office.emulator.inspect().tokens_handed_out(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_that_one_process_sees_stops_all_until_one_is_told_to_go_on() {
    let office = Office::open().await;
    let folder = tempfile::tempdir().unwrap();
    let mut workers: Vec<Worker> = (0..2)
        .map(|number| Worker::start(&office.emulator, folder.path(), number))
        .collect();
    assert_eq!(together(&mut workers), ["good none"; 2]);
    office.emulator.inspect().revoke_access_tokens();
    office.emulator.inspect().spend_tokens_elsewhere();
    assert_eq!(workers[0].call(), "misconfigured spent_elsewhere");
    let before = office.emulator.requests();
    assert_eq!(workers[1].call(), "misconfigured spent_elsewhere");
    let mut anew = Worker::start(&office.emulator, folder.path(), 9);
    assert_eq!(anew.call(), "misconfigured spent_elsewhere");
    assert_eq!(
        office.emulator.requests(),
        before,
        "nothing is sent any more"
    );

    let crm = ZohoCrm::new(
        configuration(&office.emulator, office.emulator.refresh_token())
            .sharing(file(folder.path(), 77))
            .unwrap(),
        Arc::new(SeededEntropy::new(77)),
    )
    .unwrap();
    assert_eq!(crm.alarm(), Some(Sign::SpentElsewhere));
    let managing = office.firm_permit(Act::Manage).await;
    crm.resume(&managing).await.unwrap();
    office.emulator.clock().advance(Duration::from_secs(601));
    assert_eq!(together(&mut workers), ["good none"; 2]);
    assert_eq!(anew.call(), "good none");
}

#[tokio::test]
async fn a_file_of_other_credentials_or_one_open_to_others_stops_and_is_not_replaced() {
    let office = Office::open().await;
    let folder = tempfile::tempdir().unwrap();
    let permit = office.firm_permit(Act::Review).await;
    let adapter = |token: &str| {
        let config = configuration(&office.emulator, token);
        let config = config.sharing(file(folder.path(), 1)).unwrap();
        ZohoCrm::new(config, Arc::new(SeededEntropy::new(1))).unwrap()
    };
    let crm = adapter(office.emulator.refresh_token());
    crm.users(&permit).await.unwrap();
    let path = folder.path().join("token");
    let before = std::fs::read(&path).unwrap();
    let refused = adapter("another-token").users(&permit).await.unwrap_err();
    assert!(!refused.fault().unwrap().is_transient());
    assert_eq!(std::fs::read(&path).unwrap(), before);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&path, open).unwrap();
        let requests = office.emulator.requests();
        let crm = adapter(office.emulator.refresh_token());
        assert!(crm.users(&permit).await.is_err());
        assert_eq!(office.emulator.requests(), requests);
    }
    // A code is good once: there is nothing to share.
    let credentials = Credentials::grant_code(
        "id".to_owned(),
        "secret".to_owned().into(),
        "code".to_owned().into(),
        None,
    );
    let config = ZohoConfig::at("http://127.0.0.1:1", "http://127.0.0.1:2", credentials).unwrap();
    assert!(config.sharing(file(folder.path(), 1)).is_err());
}

/// A worker of this binary: for each line on its input one call of the API, and what came of it.
#[test]
#[ignore = "started by the tests above as a process of its own"]
fn worker() {
    let of = |name: &str| std::env::var(name).unwrap();
    let number: u64 = of("KTA_NUMBER").parse().unwrap();
    let credentials = Credentials::new(
        of("KTA_CLIENT"),
        of("KTA_SECRET").into(),
        of("KTA_REFRESH").into(),
    );
    let config = ZohoConfig::at(&of("KTA_API"), &of("KTA_ACCOUNTS"), credentials)
        .unwrap()
        .waits(Duration::from_millis(1), Duration::from_millis(5))
        .trusting(Roots::Only(Vec::new()))
        .sharing(file(Path::new(&of("KTA_FOLDER")), number))
        .unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let crm = ZohoCrm::new(config, Arc::new(SeededEntropy::new(number))).unwrap();
    let desk = Desk::new("worker");
    let session = desk.session(Role::Auditor);
    let permit = runtime
        .block_on(session.permit(Act::Review, Scope::firm()))
        .unwrap();
    tell("ready");
    for line in std::io::stdin().lines() {
        line.unwrap();
        let outcome = match runtime.block_on(crm.users(&permit)) {
            Ok(_) => "good".to_owned(),
            Err(error) => {
                let kind = format!("{:?}", error.fault().unwrap().kind());
                kind.split(' ').next().unwrap().to_lowercase()
            }
        };
        tell(&format!(
            "{outcome} {}",
            crm.alarm().map_or("none", Sign::as_str)
        ));
    }
}

struct Worker {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    fn start(emulator: &Emulator, folder: &Path, number: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["worker", "--exact", "--ignored", "--nocapture"])
            .env("KTA_API", emulator.api_url())
            .env("KTA_ACCOUNTS", emulator.accounts_url())
            .env("KTA_CLIENT", emulator.client_id())
            .env("KTA_SECRET", emulator.client_secret())
            .env("KTA_REFRESH", emulator.refresh_token())
            .env("KTA_FOLDER", folder)
            .env("KTA_NUMBER", number.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut worker = Self {
            child,
            input,
            output,
        };
        assert_eq!(worker.answer(), "ready");
        worker
    }

    fn ask(&mut self) {
        writeln!(self.input, "call").unwrap();
    }

    fn answer(&mut self) -> String {
        let told = |line: String| Some(line.split_once("told: ")?.1.to_owned());
        let mut lines = self.output.by_ref().map_while(Result::ok);
        lines.find_map(told).unwrap()
    }

    fn call(&mut self) -> String {
        self.ask();
        self.answer()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All are asked before the first one answers.
fn together(workers: &mut [Worker]) -> Vec<String> {
    workers.iter_mut().for_each(Worker::ask);
    workers.iter_mut().map(Worker::answer).collect()
}

fn file(folder: &Path, number: u64) -> SealedFile {
    let entropy = Arc::new(SeededEntropy::new(number));
    SealedFile::new(
        folder.join("token"),
        &SecretKey::from_bytes([9; 32]),
        entropy,
    )
}

fn tell(what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "told: {what}").unwrap();
    out.flush().unwrap();
}
