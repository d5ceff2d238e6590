//! Loopback servers that misbehave as told.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kta_core::Port;
use kta_http::{HttpClient, Limits, Origin, Roots, TransportPolicy};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A certificate authority that only these tests trust.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn root(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// A server's certificate and key for `name`, valid in these years.
    pub fn issue(&self, name: &str, from: i32, to: i32) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity {
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
        }
    }
}

pub struct Identity {
    pub certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Identity {
    pub fn self_signed(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        Self {
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
        }
    }

    pub fn acceptor(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.clone()));
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Serves every connection with `behave`; gives the port.
pub async fn serve<F>(behave: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(behave(stream));
        }
    });
    port
}

/// Serves every request of every connection over plain HTTP with the answer that `answer` makes
/// of its head and body.
pub async fn serve_answers(answer: impl Fn(&str, &[u8]) -> String + Send + Sync + 'static) -> u16 {
    let answer = Arc::new(answer);
    serve(move |mut stream| {
        let answer = answer.clone();
        async move {
            while let Some((head, body)) = read_request(&mut stream).await {
                let text = answer(&head, &body);
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

/// Serves TLS with this acceptor and says `ok` to everything.
pub async fn serve_tls(acceptor: TlsAcceptor) -> u16 {
    serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                while read_request(&mut stream).await.is_some() {
                    let _ = stream.write_all(ok("ok").as_bytes()).await;
                }
            }
        }
    })
    .await
}

/// Reads a head and the body that its `Content-Length` announces.
pub async fn read_request<S: tokio::io::AsyncRead + Unpin>(
    stream: &mut S,
) -> Option<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut chunk = [0; 4096];
    let head_end = loop {
        if let Some(at) = all.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => all.extend_from_slice(&chunk[..read]),
            _ => return None,
        }
    };
    let head = String::from_utf8_lossy(&all[..head_end]).into_owned();
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")?
                .trim()
                .parse()
                .ok()
        })
        .unwrap_or(0);
    let mut body = all.split_off(head_end);
    while body.len() < length {
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => body.extend_from_slice(&chunk[..read]),
            _ => return None,
        }
    }
    Some((head, body))
}

pub fn ok(body: &str) -> String {
    status(200, "", body)
}

/// An answer with this status and extra header lines (each ending in CRLF).
pub fn status(code: u16, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {code} X\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub fn plain(port: u16) -> Origin {
    Origin::parse(&format!("http://127.0.0.1:{port}"), Port::Crm).unwrap()
}

/// A client to these origins with limits short enough for tests.
pub fn client(origins: impl IntoIterator<Item = Origin>) -> HttpClient {
    HttpClient::new(TransportPolicy::to(origins).within(quick()), Port::Crm).unwrap()
}

pub fn tls_client(port: u16, roots: Vec<Vec<u8>>) -> (HttpClient, Origin) {
    let origin = Origin::parse(&format!("https://localhost:{port}"), Port::Crm).unwrap();
    let policy = TransportPolicy::to([origin.clone()])
        .trusting(Roots::Only(roots))
        .within(quick());
    (HttpClient::new(policy, Port::Crm).unwrap(), origin)
}

pub fn quick() -> Limits {
    Limits {
        connect: Duration::from_secs(5),
        idle: Duration::from_millis(400),
        total: Duration::from_millis(1500),
        document: 1000,
    }
}
