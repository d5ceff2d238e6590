//! The loopback listener that all emulators share.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::faults::{Exchange, Failure, Line, strike};

/// One vendor's state and rules.
pub(super) trait World: Send + 'static {
    /// What a request asks for, for scripts and the journal.
    fn operation(&self, call: &Call) -> String;

    /// Serves a request.
    fn turn(&mut self, call: &Call) -> Reply;

    /// The vendor's form of a scripted failure that is an answer.
    fn failed(&self, failure: &Failure) -> Reply;
}

/// A request in memory.
pub(super) struct Call {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Call {
    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }

    /// The body as JSON; `null` for anything else.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// An answer in memory.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
}

impl Reply {
    pub(super) fn json(status: u16, body: Value) -> Self {
        let (headers, body) = (Vec::new(), Some(body));
        Self {
            status,
            headers,
            body,
        }
    }

    pub(super) fn empty(status: u16) -> Self {
        let (headers, body) = (Vec::new(), None);
        Self {
            status,
            headers,
            body,
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// A running server. It stops when dropped.
pub(super) struct Server<W> {
    shared: Arc<Shared<W>>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

struct Shared<W> {
    world: Mutex<W>,
    script: Mutex<Vec<Line>>,
    journal: Mutex<Vec<Exchange>>,
}

impl<W: World> Server<W> {
    pub(super) async fn start(world: impl FnOnce(SocketAddr) -> W) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            world: Mutex::new(world(address)),
            script: Mutex::default(),
            journal: Mutex::default(),
        });
        let task = tokio::spawn(serve(listener, shared.clone()));
        Ok(Self {
            shared,
            address,
            task,
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn world(&self) -> MutexGuard<'_, W> {
        lock(&self.shared.world)
    }

    pub(super) fn fail(&self, times: u32, part: &str, failure: Failure) {
        lock(&self.shared.script).push(Line {
            part: part.to_owned(),
            left: times,
            failure,
        });
    }

    pub(super) fn journal(&self) -> Vec<Exchange> {
        lock(&self.shared.journal).clone()
    }
}

impl<W> Drop for Server<W> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<W> fmt::Debug for Server<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.address)
    }
}

async fn serve<W: World>(listener: TcpListener, shared: Arc<Shared<W>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(shared.clone(), request));
            // An error here is a connection that broke, often because the script said so.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer<W: World>(
    shared: Arc<Shared<W>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Closed> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(Body::new(body), LARGEST)
        .await
        .map_err(|_| Closed)?;
    let call = Call {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: body.to_vec(),
    };
    let operation = lock(&shared.world).operation(&call);
    let failure = strike(&mut lock(&shared.script), &operation);
    let reply = match &failure {
        Some(Failure::DropBeforeEffect) => None,
        Some(Failure::DropAfterEffect) => {
            lock(&shared.world).turn(&call);
            None
        }
        Some(Failure::Stall(time)) => {
            tokio::time::sleep(*time).await;
            Some(lock(&shared.world).turn(&call))
        }
        Some(failure) => Some(lock(&shared.world).failed(failure)),
        None => Some(lock(&shared.world).turn(&call)),
    };
    let mut journal = lock(&shared.journal);
    if journal.len() < JOURNAL {
        journal.push(Exchange {
            operation,
            body: call.body,
            status: reply.as_ref().map_or(0, |reply| reply.status),
        });
    }
    drop(journal);
    let reply = reply.ok_or(Closed)?;
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    let body = match reply.body {
        Some(body) => {
            response = response.header("content-type", "application/json");
            Body::from(body.to_string())
        }
        None => Body::empty(),
    };
    response.body(body).map_err(|_| Closed)
}

/// The connection is to be closed without an answer.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is closed on purpose")
    }
}

impl std::error::Error for Closed {}

/// A turn that panicked leaves a world that is still worth serving.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const LARGEST: usize = 1 << 20;
const JOURNAL: usize = 20_000;
