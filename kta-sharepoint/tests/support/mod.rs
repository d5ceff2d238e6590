//! A bare HTTP client for tests: no redirects, no retries, nothing hidden.
#![allow(dead_code, reason = "each test file uses its own part")]

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use kta_sharepoint::emulator::Emulator;
use serde_json::Value;
use std::collections::BTreeMap;
use tokio::net::TcpStream;

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) fn inner(&self) -> String {
        self.json()["error"]["innerError"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// Sends one request on its own connection; `None` when the connection broke.
pub(crate) async fn send(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Option<Answer> {
    let rest = url.strip_prefix("http://").expect("plain http");
    let (host, target) = match rest.find('/') {
        Some(at) => (&rest[..at], &rest[at..]),
        None => (rest, "/"),
    };
    let stream = TcpStream::connect(host)
        .await
        .expect("the emulator listens");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(body.into()))
        .expect("a valid request");
    let response = sender.send_request(request).await.ok()?;
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                value.to_str().unwrap_or_default().to_owned(),
            )
        })
        .collect();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    Some(Answer {
        status,
        headers,
        body,
    })
}

/// A request to Graph with the emulator's own token.
pub(crate) async fn graph(emulator: &Emulator, method: &str, path: &str, body: &Value) -> Answer {
    graph_with(emulator, method, path, &[], body).await
}

/// What Graph has at a path.
pub(crate) async fn get(emulator: &Emulator, path: &str) -> Answer {
    graph(emulator, "GET", path, &Value::Null).await
}

/// The same with more headers.
pub(crate) async fn graph_with(
    emulator: &Emulator,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Answer {
    let bearer = format!("Bearer {}", emulator.token());
    let mut all = vec![
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    all.extend_from_slice(headers);
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let url = format!("{}/v1.0{path}", emulator.graph_url());
    send(method, &url, &all, body).await.expect("an answer")
}

/// Puts bytes at a path of the ready-made drive and gives the item's id.
pub(crate) async fn put(emulator: &Emulator, path: &str, bytes: &[u8]) -> Value {
    let bearer = format!("Bearer {}", emulator.token());
    let url = format!(
        "{}/v1.0/drives/{}/root:/{path}:/content",
        emulator.graph_url(),
        emulator.drive()
    );
    let answer = send(
        "PUT",
        &url,
        &[("authorization", bearer.as_str())],
        bytes.to_vec(),
    )
    .await
    .unwrap();
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    answer.json()
}

/// A token for SharePoint REST.
pub(crate) async fn rest_token(emulator: &Emulator) -> String {
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&scope={}%2F.default",
        emulator.client_id(),
        emulator.client_secret(),
        emulator
            .sharepoint_url()
            .replace(':', "%3A")
            .replace('/', "%2F"),
    );
    let url = format!(
        "{}/{}/oauth2/v2.0/token",
        emulator.login_url(),
        emulator.tenant()
    );
    let answer = send("POST", &url, &[], form).await.unwrap();
    answer.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned()
}

/// A request to SharePoint REST of the ready-made site.
pub(crate) async fn rest(emulator: &Emulator, token: &str, method: &str, path: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("accept", "application/json;odata=nometadata"),
    ];
    let url = format!("{}/sites/Matters/_api/{path}", emulator.sharepoint_url());
    send(method, &url, &headers, "").await.expect("an answer")
}
