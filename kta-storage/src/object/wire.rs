//! One HTTP client for one endpoint: what `object_store` sends goes through it, and what it has
//! no call for (versions, unfinished uploads, conditional completion) is sent with it by hand.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderMap, Method, StatusCode};
use kta_core::{Code, Error, Fault, FaultKind, Port, Refusal, Result};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpService,
};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use reqwest::Url;
use rustls::{ClientConfig, RootCertStore};

/// The client. Sends nothing anywhere but to its own endpoint, follows no redirection, and trusts
/// the roots that the operating system trusts.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    client: reqwest::Client,
    endpoint: Url,
}

impl Wire {
    /// A client of `endpoint`: `https://…`, or `http://` to this machine.
    ///
    /// # Errors
    /// [`Code::NetPlain`], [`Code::NetTokenLeak`], a `Misconfigured` fault.
    pub(super) fn to(endpoint: &str) -> Result<Self> {
        let endpoint = admitted(endpoint)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        if endpoint.scheme() == "https" {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(misconfigured("no trusted root certificates"));
            }
        }
        let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
        let tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|_| misconfigured("TLS cannot be set up"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT)
            .read_timeout(IDLE)
            .user_agent(concat!("kta/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|_| misconfigured("the HTTP client cannot be set up"))?;
        Ok(Self { client, endpoint })
    }

    /// How `object_store` is to use this client.
    pub(super) fn connector(&self) -> Connector {
        Connector(self.clone())
    }

    /// The address below the endpoint, with a query.
    pub(super) fn url(&self, path: &[&str], query: &[(&str, &str)]) -> String {
        let mut url = self.endpoint.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty();
            for part in path {
                segments.extend(part.split('/'));
            }
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url.into()
    }

    /// Sends a request that is signed already and gives the whole answer, whatever its status.
    ///
    /// # Errors
    /// [`Code::NetHost`] for another server, [`Code::NetTokenLeak`] for a signature in the
    /// address; `Unavailable` or `Timeout` without an answer, `Protocol` for one that is too long.
    pub(super) async fn send(
        &self,
        operation: &'static str,
        request: HttpRequest,
    ) -> Result<Answer> {
        let lost = |error: HttpError| {
            let kind = match error.kind() {
                HttpErrorKind::Timeout => FaultKind::Timeout,
                _ => FaultKind::Unavailable,
            };
            Error::from(Fault::new(kind, Port::Blobs, operation))
        };
        self.admit(request.uri())?;
        let (parts, body) = self.call(request).await.map_err(lost)?.into_parts();
        let (mut whole, mut chunks) = (BytesMut::new(), body.bytes_stream());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(lost)?;
            if whole.len() + chunk.len() > LONGEST_ANSWER {
                let fault = Fault::new(FaultKind::Protocol, Port::Blobs, operation);
                return Err(fault.because("an answer longer than any we ask for").into());
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(Answer {
            operation,
            status: parts.status,
            headers: parts.headers,
            body: whole.freeze(),
        })
    }

    fn admit(&self, uri: &http::Uri) -> Result<(), Code> {
        let ours = uri.scheme_str() == Some(self.endpoint.scheme())
            && uri.host() == self.endpoint.host_str()
            && uri.port_u16().or(default_port(uri.scheme_str()))
                == self.endpoint.port_or_known_default();
        if !ours {
            return Err(Code::NetHost);
        }
        // A signature in the address would stand in the server's and every proxy's log.
        if uri.query().is_some_and(|query| query.contains("sig=")) {
            return Err(Code::NetTokenLeak);
        }
        Ok(())
    }
}

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let refused = |code| HttpError::new(HttpErrorKind::Unknown, Refusal::new(code));
        self.admit(request.uri()).map_err(refused)?;
        self.client.call(request).await
    }
}

/// Hands the same client to `object_store`.
#[derive(Debug)]
pub(super) struct Connector(Wire);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

/// What the server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) operation: &'static str,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// Itself when it says that all went well.
    pub(super) fn ok(self) -> Result<Self> {
        // S3 may begin an answer with 200 and end it with an error.
        if self.status.is_success() && !self.body.windows(7).any(|text| text == b"<Error>") {
            Ok(self)
        } else {
            Err(self.fault())
        }
    }

    /// The fault that its status is.
    pub(super) fn fault(&self) -> Error {
        let kind = match self.status.as_u16() {
            401 | 403 => FaultKind::Misconfigured,
            404 => FaultKind::NotFound,
            409 | 412 => FaultKind::Conflict,
            429 | 503 => FaultKind::Throttled {
                retry_after: self
                    .header("retry-after")
                    .and_then(|text| text.parse().ok().map(Duration::from_secs)),
            },
            501 => FaultKind::Unsupported,
            500..=599 => FaultKind::Unavailable,
            // The error that came after 200: S3 asks to try again.
            200..=299 => FaultKind::Unavailable,
            _ => FaultKind::Protocol,
        };
        Fault::new(kind, Port::Blobs, self.operation)
            .with_status(self.status.as_u16())
            .into()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Sends what may be sent twice again, signed anew, while the server is out of reach or asks to
/// wait: three times, and then it is the caller's turn.
pub(super) async fn patiently<F: Future<Output = Result<Answer>>>(
    send: impl Fn() -> F,
) -> Result<Answer> {
    for pause in PAUSES {
        let wait = match send().await {
            Ok(answer) => match answer.fault() {
                Error::Broken(fault) if answer.status.as_u16() >= 429 && answer.status != 501 => {
                    match fault.kind() {
                        FaultKind::Throttled { retry_after } => retry_after.unwrap_or(pause),
                        _ => pause,
                    }
                }
                _ => return Ok(answer),
            },
            Err(Error::Broken(fault)) if fault.is_transient() => pause,
            Err(error) => return Err(error),
        };
        tokio::time::sleep(wait.min(LONGEST_PAUSE)).await;
    }
    send().await
}

/// A request to be signed.
///
/// # Errors
/// `Misconfigured` when a name or a value is none of HTTP.
pub(super) fn request(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<HttpRequestBody>,
) -> Result<HttpRequest> {
    let mut request = http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
        .body(body.into())
        .map_err(|_| misconfigured("not a request of HTTP"))
}

/// What `object_store` says, in the house's words; never its text, which holds addresses.
pub(super) fn told(operation: &'static str, error: &object_store::Error) -> Error {
    use object_store::Error as Theirs;
    let (kind, detail) = match error {
        Theirs::NotFound { .. } => (FaultKind::NotFound, None),
        Theirs::AlreadyExists { .. } | Theirs::NotModified { .. } | Theirs::Precondition { .. } => {
            (FaultKind::Conflict, None)
        }
        Theirs::PermissionDenied { .. } | Theirs::Unauthenticated { .. } => (
            FaultKind::Misconfigured,
            Some("the server refuses these credentials"),
        ),
        Theirs::NotImplemented { .. } | Theirs::NotSupported { .. } => (
            FaultKind::Unsupported,
            Some("the server does not know this call"),
        ),
        // Its retries are spent, or the answer broke off.
        Theirs::Generic { .. } => (FaultKind::Unavailable, None),
        _ => (FaultKind::Protocol, None),
    };
    let fault = Fault::new(kind, Port::Blobs, operation);
    detail.map_or(fault, |detail| fault.because(detail)).into()
}

pub(super) fn misconfigured(why: &'static str) -> Error {
    Fault::new(FaultKind::Misconfigured, Port::Blobs, "configure")
        .because(why)
        .into()
}

/// How often `object_store` tries again: jobs do it beyond that, and say so.
pub(super) fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 3,
        retry_timeout: Duration::from_secs(30),
    }
}

fn admitted(endpoint: &str) -> Result<Url> {
    let url = Url::parse(endpoint).map_err(|_| misconfigured("the endpoint is no address"))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(Code::NetTokenLeak.into());
    }
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    match url.scheme() {
        "https" if !host.is_empty() => Ok(url),
        "http" if address.is_ok_and(|address| address.is_loopback()) => Ok(url),
        _ => Err(Code::NetPlain.into()),
    }
}

fn default_port(scheme: Option<&str>) -> Option<u16> {
    match scheme {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    }
}

/// Between the attempts of what may be sent twice.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1600),
];
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

const CONNECT: Duration = Duration::from_secs(10);

/// How long nothing may come.
const IDLE: Duration = Duration::from_secs(60);

/// Lists of a thousand entries; content is streamed and does not come here.
const LONGEST_ANSWER: usize = 8 * 1024 * 1024;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_reached_unencrypted() {
        for good in [
            "https://s3.example",
            "http://127.0.0.1:9000",
            "http://[::1]:1",
        ] {
            assert!(admitted(good).is_ok(), "{good}");
        }
        for plain in [
            "http://s3.example",
            "http://127.0.0.1.example",
            "ftp://127.0.0.1",
            "http://localhost.example",
        ] {
            let refused = admitted(plain).unwrap_err();
            assert_eq!(refused.refusal().unwrap().code(), Code::NetPlain, "{plain}");
        }
        for leak in [
            "https://u:CANARY@s3.example",
            "https://s3.example/?sig=CANARY",
        ] {
            let refused = admitted(leak).unwrap_err();
            assert_eq!(refused.refusal().unwrap().code(), Code::NetTokenLeak);
            assert!(!format!("{refused} {refused:?}").contains("CANARY"));
        }
    }

    #[tokio::test]
    async fn nothing_is_sent_to_another_host_or_with_a_signature_in_the_address() {
        let wire = Wire::to("http://127.0.0.1:9").unwrap();
        for (url, code) in [
            ("http://127.0.0.1:10/x", "NET-HOST"),
            ("https://127.0.0.1:9/x", "NET-HOST"),
            ("http://127.0.0.1:9/x?sv=1&sig=CANARY", "NET-TOKEN-LEAK"),
        ] {
            let request = request(Method::GET, url, &[], HttpRequestBody::empty()).unwrap();
            let refused = wire.call(request).await.unwrap_err().to_string();
            assert!(
                refused.contains(code) && !refused.contains("CANARY"),
                "{refused}"
            );
        }
    }
}
