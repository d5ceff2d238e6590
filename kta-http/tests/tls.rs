//! Certificates and versions: what is refused, with which code, and what is kept as evidence.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Authority, Identity, serve, serve_tls, tls_client};
use kta_core::id::Digest;
use kta_core::{Code, FaultKind, Port};
use kta_http::{Call, HttpClient, Request, Roots, TlsVersion, TransportPolicy};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const CALL: Call = Call::new(Port::Crm, "fetch");

async fn code_of(port: u16, root: Vec<u8>) -> Option<Code> {
    let (http, origin) = tls_client(port, vec![root]);
    let outcome = http
        .send(Request::get(CALL, origin.url(["x"]).unwrap()))
        .await;
    outcome
        .err()
        .map(|error| error.refusal().unwrap_or_else(|| panic!("{error}")).code())
}

#[tokio::test]
async fn valid_certificates_are_accepted_and_version_and_fingerprint_are_evidence() {
    for (versions, expected) in [(&[&TLS12], TlsVersion::V1_2), (&[&TLS13], TlsVersion::V1_3)] {
        let authority = Authority::new();
        let identity = authority.issue("localhost", 2020, 2090);
        let port = serve_tls(identity.acceptor(versions)).await;
        let (http, origin) = tls_client(port, vec![authority.root()]);
        let reply = http
            .send(Request::get(CALL, origin.url(["x"]).unwrap()))
            .await
            .unwrap();
        assert_eq!(&*reply.bytes(10).await.unwrap(), b"ok");
        let [session] = &http.tls_sessions()[..] else {
            panic!("one session")
        };
        assert_eq!(
            (session.host.as_str(), session.version),
            ("localhost", expected)
        );
        assert_eq!(session.certificate, Digest::of(&identity.certificate));
    }
}

#[tokio::test]
async fn expired_certificates_are_refused() {
    let authority = Authority::new();
    let port = serve_tls(authority.issue("localhost", 2000, 2001).acceptor(&[&TLS13])).await;
    assert_eq!(code_of(port, authority.root()).await, Some(Code::NetCert));
}

#[tokio::test]
async fn certificates_of_the_future_are_refused() {
    let authority = Authority::new();
    let port = serve_tls(authority.issue("localhost", 2089, 2090).acceptor(&[&TLS13])).await;
    assert_eq!(code_of(port, authority.root()).await, Some(Code::NetCert));
}

#[tokio::test]
async fn self_signed_certificates_are_refused() {
    let port = serve_tls(Identity::self_signed("localhost").acceptor(&[&TLS12, &TLS13])).await;
    assert_eq!(
        code_of(port, Authority::new().root()).await,
        Some(Code::NetCert)
    );
}

#[tokio::test]
async fn certificates_for_another_host_are_refused() {
    let authority = Authority::new();
    let port = serve_tls(
        authority
            .issue("other.example", 2020, 2090)
            .acceptor(&[&TLS13]),
    )
    .await;
    assert_eq!(code_of(port, authority.root()).await, Some(Code::NetCert));
}

#[tokio::test]
async fn certificates_of_an_unknown_authority_are_refused() {
    let port = serve_tls(
        Authority::new()
            .issue("localhost", 2020, 2090)
            .acceptor(&[&TLS13]),
    )
    .await;
    assert_eq!(
        code_of(port, Authority::new().root()).await,
        Some(Code::NetCert)
    );
}

#[tokio::test]
async fn a_valid_certificate_that_is_not_pinned_is_refused() {
    let authority = Authority::new();
    let identity = authority.issue("localhost", 2020, 2090);
    let next = authority.issue("localhost", 2020, 2090);
    let port = serve_tls(identity.acceptor(&[&TLS13])).await;
    let (_, origin) = tls_client(port, vec![authority.root()]);
    for (pins, admitted) in [
        (
            vec![
                Digest::of(&identity.certificate),
                Digest::of(&next.certificate),
            ],
            true,
        ),
        (vec![Digest::of(&next.certificate)], false),
    ] {
        let policy = TransportPolicy::to([origin.clone()])
            .trusting(Roots::Only(vec![authority.root()]))
            .pinned(pins);
        let http = HttpClient::new(policy, Port::Crm).unwrap();
        let outcome = http
            .send(Request::get(CALL, origin.url(["x"]).unwrap()))
            .await;
        assert_eq!(outcome.is_ok(), admitted);
        if let Err(error) = outcome {
            assert_eq!(error, Code::NetCert.into());
        }
    }
}

#[tokio::test]
async fn a_server_that_knows_only_tls_1_1_is_refused() {
    // It answers a hello for 1.2 and 1.3 with the alert `protocol_version` in a TLS 1.1 record,
    // as such servers do …
    let alert = serve(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(&[21, 3, 2, 0, 2, 2, 70]).await;
        let _ = stream.read(&mut [0; 64]).await;
    })
    .await;
    assert_eq!(
        code_of(alert, Authority::new().root()).await,
        Some(Code::NetVersion)
    );

    // … or picks 1.1 all the same: record, ServerHello 3.2, random, no session, AES-CBC suite.
    let hello = serve(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let mut body = vec![3, 2];
        body.extend_from_slice(&[7; 32]);
        body.extend_from_slice(&[0, 0xC0, 0x13, 0]);
        let mut record = vec![
            22,
            3,
            2,
            0,
            u8::try_from(body.len() + 4).unwrap(),
            2,
            0,
            0,
            u8::try_from(body.len()).unwrap(),
        ];
        record.extend_from_slice(&body);
        let _ = stream.write_all(&record).await;
        let _ = stream.read(&mut [0; 64]).await;
    })
    .await;
    assert_eq!(
        code_of(hello, Authority::new().root()).await,
        Some(Code::NetVersion)
    );
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_a_protocol_fault() {
    let port = serve(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let (http, origin) = tls_client(port, vec![Authority::new().root()]);
    let error = http
        .send(Request::post(CALL, origin.url(["x"]).unwrap()))
        .await
        .unwrap_err();
    assert_eq!(
        error.fault().map(|fault| fault.kind()),
        Some(FaultKind::Protocol)
    );
}

#[tokio::test]
async fn without_any_root_nothing_is_trusted() {
    let (http, origin) = tls_client(1, Vec::new());
    let error = http
        .send(Request::get(CALL, origin.url(["x"]).unwrap()))
        .await
        .unwrap_err();
    assert_eq!(
        error.fault().map(|fault| fault.kind()),
        Some(FaultKind::Misconfigured)
    );
}
