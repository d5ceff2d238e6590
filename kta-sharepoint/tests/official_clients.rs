//! Microsoft's own clients, `msal` and `msgraph-sdk`, and the much used `office365-rest-python-client`, from
//! their package registry, work against the emulator as they come.
#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use kta_sharepoint::emulator::{Emulator, Options};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn microsofts_own_clients_work_against_the_emulator_unpatched() {
    let python = tokio::task::spawn_blocking(python).await.expect("no panic");
    let python = python.unwrap_or_else(|reason| panic!("the clients cannot be had: {reason}"));
    let emulator = Emulator::start(Options::default()).await.unwrap();
    let person = emulator.add_person("invented.person@firm.example", false);
    let inner = emulator.add_group("inner", &[&person]);
    let group = emulator.add_group("outer", &[&inner]);
    let certificate = Path::new(env!("CARGO_TARGET_TMPDIR")).join("graph-emulator.pem");
    std::fs::write(&certificate, emulator.certificate_pem()).unwrap();
    let place = serde_json::json!({
        "graph_url": emulator.graph_url(),
        "login_url": emulator.login_url(),
        "tenant": emulator.tenant(),
        "client_id": emulator.client_id(),
        "client_secret": emulator.client_secret(),
        "site": emulator.site(),
        "drive": emulator.drive(),
        "item": emulator.item(),
        "sharepoint_url": emulator.sharepoint_url(),
        "mailbox": emulator.mailbox(),
        "message": emulator.deliver("From: invented@client.example\r\n\r\nhello\r\n"),
        "person": person,
        "inner": inner,
        "group": group,
        "scratch": Path::new(env!("CARGO_TARGET_TMPDIR")).join("office.bin"),
        "certificate": certificate,
    });
    let place = place.to_string();
    let both = ["drive.py", "office.py"].map(|script| {
        let (python, place) = (python.clone(), place.clone());
        tokio::task::spawn_blocking(move || drive(&python, script, &place))
    });
    for output in both {
        let (passed, told) = output.await.expect("no panic");
        println!("{told}");
        assert!(passed, "{told}");
        assert!(told.contains("every step passed"), "{told}");
    }

    let journal = emulator.journal();
    let stray = journal
        .iter()
        .filter(|each| each.host == "sharepoint" && each.authorized)
        // SharePoint REST wants a token, and gets one of its own.
        .filter(|each| !each.target.contains("/_api/"));
    assert_eq!(stray.count(), 0, "a token reached a pre-signed address");
    assert!(
        journal
            .iter()
            .any(|each| each.target.starts_with("/upload/"))
    );
    assert!(
        journal
            .iter()
            .any(|each| each.target.starts_with("/download/"))
    );
}

fn drive(python: &Path, script: &str, place: &str) -> (bool, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/official_clients")
        .join(script);
    let mut child = Command::new(python)
        .arg(script)
        .env("NO_PROXY", "127.0.0.1,localhost")
        // These would outrank the certificate that the script hands to MSAL.
        .env_remove("REQUESTS_CA_BUNDLE")
        .env_remove("CURL_CA_BUNDLE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the interpreter was found");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(place.as_bytes())
        .expect("it reads its input");
    let output = child.wait_with_output().expect("it ends");
    let told = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&told).into_owned(),
    )
}

/// An environment with the two clients, made once under the target directory.
fn python() -> Result<PathBuf, String> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("official-clients");
    let python = place.join("bin/python");
    let works = |python: &Path| {
        let check = Command::new(python)
            .args(["-c", "import msal, msgraph, office365"])
            .output();
        check.is_ok_and(|output| output.status.success())
    };
    if works(&python) {
        return Ok(python);
    }
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&place))?;
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        // Few of the many thousand files are ever imported.
        "--no-compile",
        "--disable-pip-version-check",
    ];
    run(Command::new(&python).args(install).args(CLIENTS))?;
    if works(&python) {
        Ok(python)
    } else {
        Err("the clients do not import".to_owned())
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("no python3: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(told
        .lines()
        .last()
        .unwrap_or("the command failed")
        .to_owned())
}

/// The clients and the versions the emulator was last held against.
const CLIENTS: [&str; 3] = [
    "msgraph-sdk==1.65.0",
    "msal==1.39.0",
    "office365-rest-python-client==3.3.0",
];
