//! Nothing secret or personal leaves by a log line, an error or `Debug`, whatever goes wrong.
//! One test in a process of its own: it listens to every log record at the finest level.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fmt::Write as _;
use std::sync::Mutex;

use common::{Authority, client, ok, plain, serve_answers, serve_tls, status, tls_client};
use kta_core::Port;
use kta_http::{Call, Credential, HttpClient, Origin, Request};

const CALL: Call = Call::new(Port::Crm, "fetch");
/// Where a canary may stand: a token, a form's secret, a query, a path, a body, an answer.
const CANARIES: [&str; 6] = [
    "CANARYTOKEN",
    "CANARYFORM",
    "CANARYQUERY",
    "CANARYPATH",
    "CANARYBODY",
    "CANARYANSWER",
];

static HEARD: Mutex<String> = Mutex::new(String::new());

struct Ear;

impl log::Log for Ear {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let _ = writeln!(
            HEARD.lock().unwrap(),
            "{} {}",
            record.target(),
            record.args()
        );
    }
    fn flush(&self) {}
}

impl tracing::Subscriber for Ear {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut Writer);
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut Writer);
    }
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Writer);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

struct Writer;

impl tracing::field::Visit for Writer {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let _ = writeln!(HEARD.lock().unwrap(), "{field} {value:?}");
    }
}

async fn exchange(http: &HttpClient, origin: &Origin) {
    let token = Credential::bearer("CANARYTOKEN".to_owned().into());
    let url = origin.url(["CANARYPATH"]).unwrap();
    for request in [
        Request::get(CALL, url.clone())
            .query("q", "CANARYQUERY")
            .credential(&token),
        Request::post(CALL, url.clone())
            .form(&[("secret", "CANARYFORM")])
            .credential(&token),
        Request::post(CALL, url.clone())
            .json(&["CANARYBODY"])
            .credential(&token),
        Request::get(CALL, url)
            .query("q", "CANARYTOKEN")
            .credential(&token),
    ] {
        let mut shown = format!("{request:?} {token:?} {http:?}");
        match http.send(request).await {
            Err(error) => write!(shown, "{error} {error:?}").unwrap(),
            Ok(reply) => {
                write!(shown, "{reply:?} {}", reply.fault()).unwrap();
                if let Err(error) = reply.json::<u64>().await {
                    write!(shown, "{error} {error:?}").unwrap();
                }
            }
        }
        let _ = writeln!(HEARD.lock().unwrap(), "{shown}");
    }
}

#[tokio::test]
async fn no_token_address_or_body_is_heard_anywhere() {
    log::set_logger(&Ear).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    tracing::subscriber::set_global_default(Ear).unwrap();

    let good = plain(serve_answers(|_, _| ok("\"CANARYANSWER\"")).await);
    let bad =
        plain(serve_answers(|_, _| status(500, "X-Echo: CANARYANSWER\r\n", "CANARYANSWER")).await);
    let garbage = plain(serve_answers(|_, _| "CANARYANSWER\r\n\r\n".into()).await);
    let astray = plain(
        serve_answers(|_, _| status(302, "Location: https://CANARYANSWER.example/\r\n", "")).await,
    );
    let closed = plain(1);
    let origins = [good, bad, garbage, astray, closed];
    let http = client(origins.clone());
    for origin in &origins {
        exchange(&http, origin).await;
    }
    let authority = Authority::new();
    let acceptor = authority
        .issue("localhost", 2020, 2090)
        .acceptor(&[&rustls::version::TLS13]);
    let port = serve_tls(acceptor).await;
    for root in [authority.root(), Authority::new().root()] {
        let (http, origin) = tls_client(port, vec![root]);
        exchange(&http, &origin).await;
    }

    let heard = HEARD.lock().unwrap();
    assert!(
        heard.contains("127.0.0.1"),
        "the libraries' own records are heard"
    );
    for canary in CANARIES {
        let found = heard
            .to_uppercase()
            .lines()
            .find(|line| line.contains(canary))
            .map(str::to_owned);
        assert_eq!(found, None, "{canary}");
    }
}
