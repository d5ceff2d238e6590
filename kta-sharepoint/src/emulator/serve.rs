//! Sockets: three hosts on three ports, each answering plain http and TLS on the same port.

use super::faults::{Exchange, Fault, Recorded, redact, strike};
use super::reply::{Body, Call, Refused, Reply};
use super::state::State;
use super::{finish, graph, login, rest, subscriptions};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Which of the three services a port is.
#[derive(Clone, Copy)]
pub(crate) enum Host {
    Graph,
    Login,
    SharePoint,
}

/// What every connection shares.
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    pub(crate) tls: TlsAcceptor,
}

impl Shared {
    /// The tenant. A handler that panicked left it as it was between two statements; tests go on.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts until told to stop.
pub(crate) async fn listen(
    listener: TcpListener,
    host: Host,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        let Ok((stream, _)) = stream else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let (shared, mut stop) = (shared.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = connection(stream, host, shared) => {}
                _ = stop.changed() => {}
            }
        });
    }
}

async fn connection(stream: TcpStream, host: Host, shared: Arc<Shared>) {
    let mut first = [0u8; 1];
    let waited = tokio::time::timeout(Duration::from_secs(60), stream.peek(&mut first)).await;
    if !matches!(waited, Ok(Ok(1))) {
        return;
    }
    const TLS_HANDSHAKE: u8 = 0x16;
    if first[0] == TLS_HANDSHAKE {
        if let Ok(stream) = shared.tls.accept(stream).await {
            speak(TokioIo::new(stream), host, shared).await;
        }
    } else {
        speak(TokioIo::new(stream), host, shared).await;
    }
}

async fn speak<I>(io: I, host: Host, shared: Arc<Shared>)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(move |request| exchange(request, host, shared.clone()));
    // A connection that a fault or a client cut is no event of its own.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(io, service)
        .await;
}

async fn exchange(
    request: Request<Incoming>,
    host: Host,
    shared: Arc<Shared>,
) -> Result<Response<Payload>, Cut> {
    let (parts, body) = request.into_parts();
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |pq| pq.as_str())
        .to_owned();
    let (path, query) = split(&target);
    let Ok(body) = Limited::new(body, BODY_LIMIT).collect().await else {
        return Err(Cut);
    };
    let call = Call {
        method: parts.method.as_str().to_owned(),
        path,
        query,
        headers: parts.headers,
        body: body.to_bytes(),
    };
    let fault = strike(&mut shared.state().faults, &call.method, &call.path);
    if let Some(Fault::Stall(time)) = &fault {
        tokio::time::sleep(*time).await;
    }
    let reply = match &fault {
        Some(Fault::DropBeforeEffect) => None,
        Some(Fault::Status {
            status,
            retry_after,
        }) => Some(broken(*status, *retry_after)),
        Some(Fault::Redirect(url)) => Some(Reply::found(url.clone())),
        _ => Some(turn(host, &call, &shared).await),
    };
    let reply = reply.filter(|_| fault != Some(Fault::DropAfterEffect));
    shared.state().record(Exchange {
        host: host.name(),
        method: call.method.clone(),
        target: redact(&target),
        authorized: call.headers.contains_key("authorization"),
        status: reply.as_ref().map_or(0, |reply| reply.status),
    });
    let (status, mut headers, mut bytes) = reply.ok_or(Cut)?.into_bytes();
    if fault == Some(Fault::WrongType) && !bytes.is_empty() {
        headers.retain(|(name, _)| *name != "content-type");
        headers.push(("content-type", "text/html; charset=utf-8".to_owned()));
        bytes = Bytes::from_static(b"<html><body>Sign in</body></html>");
    }
    if shared.state().settings.record {
        let recorded = recorded(host, &call, &target, (status, &headers, &bytes));
        shared.state().recorded.push(recorded);
    }
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    let payload = Payload::new(bytes, fault.as_ref());
    response.body(payload).map_err(|_| Cut)
}

fn recorded(
    host: Host,
    call: &Call,
    target: &str,
    (status, headers, bytes): (u16, &[(&'static str, String)], &Bytes),
) -> Recorded {
    let of_request = call.headers.iter().map(|(name, value)| {
        let secret = *name == hyper::header::AUTHORIZATION;
        let value = value.to_str().unwrap_or_default();
        (
            name.to_string(),
            if secret { "set" } else { value }.to_owned(),
        )
    });
    Recorded {
        host: host.name(),
        method: call.method.clone(),
        target: target.to_owned(),
        headers: of_request.collect(),
        body: call.body.clone(),
        status,
        reply_headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
        reply: bytes.clone(),
    }
}

async fn turn(host: Host, call: &Call, shared: &Arc<Shared>) -> Reply {
    let refused = match subscriptions::to_validate(call) {
        Some(url) if !validated(&url).await => {
            Some(Refused::bad("Subscription validation request failed."))
        }
        _ => None,
    };
    let mut state = shared.state();
    state.sweep();
    let result = match (refused, host) {
        (Some(refused), _) => Err(refused),
        (None, Host::Graph) => graph::turn(&mut state, call),
        (None, Host::Login) => login::turn(&mut state, call),
        (None, Host::SharePoint) => rest::turn(&mut state, call),
    };
    let reply = finish(&mut state, result, call.header("client-request-id"));
    post_outbox(&mut state);
    reply
}

/// Sends what is to be told to subscribers. Must be called inside a tokio runtime if there is any.
pub(crate) fn post_outbox(state: &mut State) {
    for (url, body) in std::mem::take(&mut state.outbox) {
        // One attempt each: the vendor repeats for hours, a test has no hours.
        tokio::spawn(async move { post(&url, "application/json", body.to_string()).await });
    }
}

/// The challenge that proves a notification address: echo the token within ten seconds.
async fn validated(url: &str) -> bool {
    let token = format!(
        "Validation: Testing client application reachability {}",
        url.len()
    );
    let encoded = percent_encoding::utf8_percent_encode(&token, percent_encoding::NON_ALPHANUMERIC);
    let glue = if url.contains('?') { '&' } else { '?' };
    let challenge = format!("{url}{glue}validationToken={encoded}");
    let answer = post(&challenge, "text/plain; charset=utf-8", String::new());
    match tokio::time::timeout(Duration::from_secs(10), answer).await {
        Ok(Some((200, kind, body))) => kind.starts_with("text/plain") && body == token.as_bytes(),
        _ => false,
    }
}

async fn post(url: &str, kind: &str, body: String) -> Option<(u16, String, Bytes)> {
    let (host, path) = subscriptions::loopback(url)?;
    let stream = TcpStream::connect(&host).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    tokio::spawn(connection);
    let request = Request::post(path)
        .header("host", host)
        .header("content-type", kind)
        .body(Full::new(Bytes::from(body)))
        .ok()?;
    let response = sender.send_request(request).await.ok()?;
    let kind = response
        .headers()
        .get("content-type")
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_owned();
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), 65_536)
        .collect()
        .await
        .ok()?
        .to_bytes();
    Some((status, kind, body))
}

/// A scripted status. Server errors come as HTML, as they sometimes do.
pub(crate) fn broken(status: u16, retry_after: Option<u32>) -> Reply {
    let mut reply = if status >= 500 {
        let body = Body::Text("<html><body>Service unavailable</body></html>".to_owned());
        Reply {
            status,
            headers: Vec::new(),
            body,
        }
    } else {
        let code = match status {
            401 => "InvalidAuthenticationToken",
            429 => "activityLimitReached",
            _ => "generalException",
        };
        let body = serde_json::json!({ "error": { "code": code, "message": "scripted" } });
        Reply::json(status, body)
    };
    if let Some(seconds) = retry_after {
        reply = reply.with("retry-after", seconds.to_string());
    }
    reply
}

/// Splits a request target into decoded path and decoded query.
pub(crate) fn split(target: &str) -> (String, Vec<(String, String)>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (
        percent_decode_str(path).decode_utf8_lossy().into_owned(),
        form(query),
    )
}

/// Reads `a=b&c=d`, with `+` for a space.
pub(crate) fn form(text: &str) -> Vec<(String, String)> {
    let decode = |part: &str| {
        percent_decode_str(&part.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

impl Host {
    fn name(self) -> &'static str {
        match self {
            Self::Graph => "graph",
            Self::Login => "login",
            Self::SharePoint => "sharepoint",
        }
    }
}

/// A connection that ends without an answer.
#[derive(Debug)]
pub(crate) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("connection cut on purpose")
    }
}

impl std::error::Error for Cut {}

/// A body in one frame; or half of one and then a broken connection; or drop by drop.
pub(crate) struct Payload {
    bytes: Bytes,
    left: u64,
    step: usize,
    cut: bool,
    pause: Option<Duration>,
    waiting: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Payload {
    fn new(bytes: Bytes, fault: Option<&Fault>) -> Self {
        let (left, cut) = (bytes.len() as u64, fault == Some(&Fault::TruncatedBody));
        let bytes = if cut {
            bytes.slice(..bytes.len() / 2)
        } else {
            bytes
        };
        let pause = match fault {
            Some(Fault::Drip(pause)) => Some(*pause),
            _ => None,
        };
        let step = match pause {
            Some(_) => bytes.len().div_ceil(16).max(1),
            None => usize::MAX,
        };
        Self {
            bytes,
            left,
            step,
            cut,
            pause,
            waiting: None,
        }
    }
}

impl hyper::body::Body for Payload {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(self.cut.then_some(Err(Cut)));
        }
        if let Some(pause) = self.pause {
            let waiting = self
                .waiting
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            if waiting.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.waiting = None;
        }
        let some = self.step.min(self.bytes.len());
        let some = self.bytes.split_to(some);
        self.left -= some.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(some))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty() && !self.cut
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Above the largest body any operation takes.
const BODY_LIMIT: usize = 252 * 1024 * 1024;
