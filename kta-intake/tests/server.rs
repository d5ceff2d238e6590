//! The form's HTTP side, over real sockets on loopback.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use kta_core::audit::Label;
use kta_core::memory::{ManualClock, SeededEntropy};
use kta_core::time::Timestamp;
use kta_intake::{FormKey, Limits, Site, WebForm, server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const CANARY: &str = "Canary-Testa-7719";

struct Served {
    address: String,
    clock: ManualClock,
    _spool: tempfile::TempDir,
    spool: std::path::PathBuf,
}

async fn served() -> Served {
    let directory = tempfile::tempdir().unwrap();
    let spool = directory.path().join("spool");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let clock = ManualClock::at("2026-03-02T08:20:00Z".parse::<Timestamp>().unwrap());
    let site = Site {
        origin: format!("http://{address}"),
        path: "/forms/h1b".into(),
        edition: "test-1".into(),
        hsts: true,
        tls_header: "x-tls-version".into(),
    };
    let (key, entropy) = (FormKey::new([7; 32]), Arc::new(SeededEntropy::new(1)));
    let form = WebForm::open(
        &spool,
        Label::fixed("web-form"),
        site,
        key,
        Arc::new(clock.clone()),
        entropy,
    );
    let form = form.unwrap().with_limits(Limits {
        message: 100_000,
        ..Limits::default()
    });
    tokio::spawn(server::serve(
        Arc::new(form),
        listener,
        std::future::pending(),
    ));
    Served {
        address,
        clock,
        _spool: directory,
        spool,
    }
}

impl Served {
    /// One request over a connection of its own; the whole answer.
    async fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        // The server may answer and hang up before it has read all of a request it refuses.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    /// Token and cookie of a freshly loaded page.
    async fn page(&self) -> (String, String) {
        let request = format!(
            "GET /forms/h1b HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        );
        let answer = self.ask(&request).await;
        assert!(answer.contains("strict-transport-security: max-age=63072000"));
        assert!(answer.contains("content-security-policy: default-src 'none'"));
        let between = |from: &str, to: char| {
            let rest = answer.split(from).nth(1).unwrap();
            rest.split(to).next().unwrap().to_owned()
        };
        let cookie = between("set-cookie: __Host-kta-form=", ';');
        assert!(answer.contains("; Path=/; Secure; HttpOnly; SameSite=Strict"));
        (between("name=\"csrf_token\" value=\"", '"'), cookie)
    }

    async fn post(&self, token: &str, cookie: &str, origin: &str, extra: &str) -> String {
        let field = |name: &str, value: &str| {
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let body = field("csrf_token", token)
            + &field("form_version", "test-1")
            + &field("submitter", "a@example.org")
            + &field("beneficiary.surname", CANARY)
            + extra
            + "--b--\r\n";
        let head = format!(
            "POST /forms/h1b HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nX-Tls-Version: TLSv1.3\r\nOrigin: {origin}\r\nCookie: __Host-kta-form={cookie}\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        self.ask(&(head + &body)).await
    }

    fn waiting(&self) -> usize {
        std::fs::read_dir(self.spool.join("new")).unwrap().count()
    }
}

#[tokio::test]
async fn a_post_with_its_pages_token_is_on_disk_when_it_is_answered() {
    let served = served().await;
    let (token, cookie) = served.page().await;
    let own = format!("http://{}", served.address);
    let answer = served.post(&token, &cookie, &own, "").await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(answer.contains("\r\ndlv_") || answer.contains("\ndlv_"));
    assert_eq!(served.waiting(), 1);
    assert!(!answer.contains(CANARY));
    for name in std::fs::read_dir(served.spool.join("new")).unwrap() {
        let name = name.unwrap().file_name().into_string().unwrap();
        assert!(!name.to_lowercase().contains("canary") && !name.contains("example.org"));
    }
}

#[tokio::test]
async fn a_post_that_is_not_from_our_page_is_forbidden_and_not_kept() {
    let served = served().await;
    let (token, cookie) = served.page().await;
    let own = format!("http://{}", served.address);
    for (what, token, cookie, origin) in [
        ("no token", "", cookie.as_str(), own.as_str()),
        ("another token", "1.2.3", &cookie, &own),
        (
            "another browser's cookie",
            &token,
            "00000000000000000000000000000000",
            &own,
        ),
        ("another site", &token, &cookie, "https://attacker.test"),
    ] {
        let answer = served.post(token, cookie, origin, "").await;
        assert!(
            answer.starts_with("HTTP/1.1 403") && answer.contains("INT-SPOOF"),
            "{what}: {answer}"
        );
    }
    assert_eq!(served.waiting(), 0);
}

#[tokio::test]
async fn a_token_that_ran_out_is_a_reservation_not_a_refusal() {
    let served = served().await;
    let (token, cookie) = served.page().await;
    served.clock.advance(chrono::TimeDelta::hours(3));
    let own = format!("http://{}", served.address);
    let answer = served.post(&token, &cookie, &own, "").await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let file = std::fs::read_dir(served.spool.join("new"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let cover = std::fs::read_to_string(file.path()).unwrap();
    assert!(cover.lines().next().unwrap().contains("token-expired"));
}

#[tokio::test]
async fn too_much_elsewhere_and_nonsense_are_refused_with_their_codes() {
    let served = served().await;
    let (token, cookie) = served.page().await;
    let own = format!("http://{}", served.address);
    let large = format!(
        "--b\r\nContent-Disposition: form-data; name=\"x\"; filename=\"x.txt\"\r\n\r\n{}\r\n",
        "x".repeat(100_000)
    );
    let answer = served.post(&token, &cookie, &own, &large).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let answer = served.post(&token, &cookie, &own, "--b\r\nnonsense").await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("INT-MALFORMED"),
        "{answer}"
    );
    let other = "POST /forms/h1b HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let answer = served.ask(other).await;
    assert!(
        answer.starts_with("HTTP/1.1 404") && answer.contains("INT-CHANNEL"),
        "{answer}"
    );
    assert_eq!(served.waiting(), 0);
}

#[tokio::test]
async fn it_does_not_listen_beyond_loopback() {
    let directory = tempfile::tempdir().unwrap();
    let site = Site {
        origin: "https://x.example".into(),
        path: "/f".into(),
        edition: "1".into(),
        hsts: true,
        tls_header: "x".into(),
    };
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let entropy = Arc::new(SeededEntropy::new(1));
    let form = WebForm::open(
        directory.path(),
        Label::fixed("f"),
        site,
        FormKey::new([0; 32]),
        clock,
        entropy,
    );
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    assert!(
        server::serve(Arc::new(form.unwrap()), listener, async {})
            .await
            .is_err()
    );
}
