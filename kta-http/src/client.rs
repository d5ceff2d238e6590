//! The client: it sends what the policy admits and says what became of it.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_core::Stream;
use kta_core::pii::ContentStream;
use kta_core::{Code, Error, FaultKind, Port, Result};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderValue, LOCATION};
use reqwest::multipart;
use tokio::time::Instant;
use url::Url;

use crate::call::Call;
use crate::classify;
use crate::policy::TransportPolicy;
use crate::reply::Reply;
use crate::request::{Body, Request};
use crate::tls::{self, Sessions, TlsSession};
use crate::token::TokenCache;

/// Sends requests under a [`TransportPolicy`]. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    policy: Arc<TransportPolicy>,
    sessions: Sessions,
    trusts_any: bool,
}

impl HttpClient {
    /// A client for the adapter of `port`.
    ///
    /// It uses no proxy of the environment, follows no redirect, unpacks no compressed answer,
    /// keeps no cookie and sends no referrer.
    ///
    /// # Errors
    /// A `Misconfigured` fault when a given root is no certificate.
    pub fn new(policy: TransportPolicy, port: Port) -> Result<Self> {
        let misconfigured = || Call::new(port, "configure").fault(FaultKind::Misconfigured);
        let sessions = Sessions::default();
        let (config, trusts_any) =
            tls::client_config(&policy.roots, policy.pins.clone(), sessions.clone())
                .map_err(|_| misconfigured().because("not a root certificate"))?;
        let loopback = [
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
        ];
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(policy.limits.connect)
            .resolve_to_addrs("localhost", &loopback)
            .user_agent(concat!("kta/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|_| misconfigured())?;
        Ok(Self {
            client,
            policy: Arc::new(policy),
            sessions,
            trusts_any,
        })
    }

    /// The policy it keeps.
    #[must_use]
    pub fn policy(&self) -> &TransportPolicy {
        &self.policy
    }

    /// Evidence of the TLS sessions so far: the last full handshake for each certificate.
    #[must_use]
    pub fn tls_sessions(&self) -> Vec<TlsSession> {
        self.sessions.list()
    }

    /// An address that a server gave in its answer (a next page, an upload session, a status
    /// monitor), when requests may go there.
    ///
    /// # Errors
    /// A `Protocol` fault for what is no address, and what [`TransportPolicy::admit`] refuses.
    pub fn vendor_url(&self, call: Call, text: &str) -> Result<Url> {
        let url = Url::parse(text).map_err(|_| {
            call.fault(FaultKind::Protocol)
                .because("the server gave no address")
        })?;
        self.policy.admit(&url)?;
        Ok(url)
    }

    /// Sends a request once and gives the answer, whatever its status.
    ///
    /// # Errors
    /// - `NET-PLAIN`, `NET-HOST`, `NET-TOKEN-LEAK` before anything is sent;
    /// - `NET-CERT`, `NET-VERSION` when the handshake fails for these reasons;
    /// - `NET-REDIRECT` when the answer points off the list;
    /// - `Timeout` or `Unavailable` when nothing was sent, or what was sent only reads;
    /// - `Unavailable` when it was sent and repeating it is the same effect;
    /// - `OutcomeUnknown` when it was sent and repeating it would be another effect;
    /// - the error of the body's stream, when that broke.
    pub async fn send(&self, request: Request) -> Result<Reply> {
        let Request { call, repeat, .. } = request;
        if let Some(flaw) = request.flaw {
            return Err(flaw);
        }
        self.policy.admit(&request.url)?;
        if request.leaks() {
            return Err(Code::NetTokenLeak.into());
        }
        if request.url.scheme() == "https" && !self.trusts_any {
            return Err(call
                .fault(FaultKind::Misconfigured)
                .because("no trusted root certificates")
                .into());
        }

        let limits = self.policy.limits;
        let deadline = Instant::now() + request.total.unwrap_or(limits.total);
        let url = request.url.clone();
        let progress = Arc::new(Progress::new());
        let tracked = !matches!(request.body, Body::Empty);
        let exchange = self.client.execute(self.build(request, &progress)?);
        let mut exchange = core::pin::pin!(exchange);
        let sent = |progress: &Progress| !tracked || progress.state().begun;
        let outcome = loop {
            let until = deadline.min(progress.state().last + limits.idle);
            tokio::select! {
                outcome = &mut exchange => break outcome,
                () = tokio::time::sleep_until(until) => {
                    if until >= deadline.min(progress.state().last + limits.idle) {
                        return Err(classify::timed_out(call, repeat, sent(&progress)));
                    }
                }
            }
        };
        let response = outcome.map_err(|error| {
            let broken = progress.state().broken.take();
            broken.unwrap_or_else(|| classify::failed(&error, call, repeat, sent(&progress)))
        })?;

        let redirect = match response.headers().get(LOCATION) {
            Some(location) if response.status().is_redirection() => {
                let location = location.to_str().map_err(|_| Code::NetRedirect)?;
                Some(self.policy.redirect(&url, location)?)
            }
            _ => None,
        };
        Ok(Reply::new(
            call, repeat, response, redirect, limits, deadline,
        ))
    }

    /// Sends a request with a token of `tokens`. When the server refuses the token (401), it is
    /// dropped, a new one fetched, and the request sent once more.
    ///
    /// # Errors
    /// As [`send`](Self::send) and [`TokenCache::token`]. A streamed body cannot be sent twice:
    /// there the refused token is dropped and the fault is `Unavailable` without any effect, so
    /// that the caller comes back with the content opened afresh.
    pub async fn send_as(&self, request: Request, tokens: &TokenCache) -> Result<Reply> {
        let token = tokens.token().await?;
        let again = request.again();
        let call = request.call;
        let reply = self.send(request.credential(token.credential())).await?;
        if reply.status() != 401 {
            return Ok(reply);
        }
        let Some(again) = again else {
            tokens.refused(&token).await;
            return Err(call
                .fault(FaultKind::Unavailable)
                .because("the token was refused")
                .with_status(401)
                .into());
        };
        drop(reply);
        tokens.refused(&token).await;
        let token = tokens.token().await?;
        self.send(again.credential(token.credential())).await
    }

    fn build(&self, request: Request, progress: &Arc<Progress>) -> Result<reqwest::Request> {
        let Request {
            call,
            method,
            url,
            headers,
            body,
            credential,
            ..
        } = request;
        let misconfigured = || Error::from(call.fault(FaultKind::Misconfigured));
        let mut builder = self.client.request(method, url).headers(headers);
        if let Some(credential) = credential {
            let value = credential.header().ok_or_else(misconfigured)?;
            builder = builder.header(AUTHORIZATION, value);
        }
        let tracked = |stream: ContentStream| {
            reqwest::Body::wrap_stream(Tracked {
                stream,
                progress: progress.clone(),
            })
        };
        builder = match body {
            Body::Empty => builder,
            Body::Bytes(bytes) => {
                let length = bytes.len();
                let once: ContentStream = Box::pin(futures_util::stream::iter([Ok(bytes)]));
                builder
                    .header(CONTENT_LENGTH, HeaderValue::from(length))
                    .body(tracked(once))
            }
            Body::Stream { stream, length } => builder
                .header(CONTENT_LENGTH, HeaderValue::from(length))
                .body(tracked(stream)),
            Body::Multipart {
                field,
                file_name,
                media,
                stream,
                length,
            } => {
                let part = multipart::Part::stream_with_length(tracked(stream), length)
                    .file_name(file_name)
                    .mime_str(media.as_str())
                    .map_err(|_| misconfigured())?;
                builder.multipart(multipart::Form::new().part(field, part))
            }
        };
        builder.build().map_err(|_| misconfigured())
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// How far the upload is: whether it began, when it last moved, and why it broke.
struct Progress(Mutex<State>);

struct State {
    begun: bool,
    last: Instant,
    broken: Option<Error>,
}

impl Progress {
    fn new() -> Self {
        Self(Mutex::new(State {
            begun: false,
            last: Instant::now(),
            broken: None,
        }))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An upload's stream that tells of its progress.
struct Tracked {
    stream: ContentStream,
    progress: Arc<Progress>,
}

impl Stream for Tracked {
    type Item = Result<Bytes, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.progress.state().begun = true;
        let item = core::task::ready!(self.stream.as_mut().poll_next(cx));
        let mut state = self.progress.state();
        state.last = Instant::now();
        Poll::Ready(item.map(|chunk| {
            chunk.map_err(|error| {
                state.broken = Some(error);
                Broken
            })
        }))
    }
}

/// Stands for the stream's own error inside the network library.
#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the content's stream broke")
    }
}

impl std::error::Error for Broken {}
