//! A notification address: whatever is posted to it is answered by a [`Receiver`] and kept.
#![allow(dead_code, reason = "each test file uses its own part")]

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kta_core::pii::Locator;
use kta_sharepoint::{Hint, Receiver};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

pub(crate) struct Listener {
    pub(crate) address: String,
    receiver: Arc<Mutex<Receiver>>,
    posts: tokio::sync::Mutex<mpsc::UnboundedReceiver<(Vec<u8>, Vec<Hint>)>>,
}

impl Listener {
    pub(crate) async fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/notify", socket.local_addr().unwrap());
        let receiver = Arc::new(Mutex::new(Receiver::new()));
        let (told, posts) = mpsc::unbounded_channel();
        let shared = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let (shared, told) = (shared.clone(), told.clone());
                let service =
                    service_fn(move |request| answer(request, shared.clone(), told.clone()));
                tokio::spawn(async move {
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            receiver,
            posts: tokio::sync::Mutex::new(posts),
        }
    }

    pub(crate) fn expect(&self, subscription: &Locator, state: &str) {
        let mut receiver = self.receiver.lock().unwrap();
        receiver.expect(subscription.clone(), state.to_owned().into());
    }

    /// The hint of the next post.
    pub(crate) async fn hint(&self) -> Hint {
        let (_, hints) = self.next().await;
        hints.into_iter().next().expect("a hint")
    }

    /// The body of the next post.
    pub(crate) async fn post(&self) -> Vec<u8> {
        self.next().await.0
    }

    async fn next(&self) -> (Vec<u8>, Vec<Hint>) {
        let mut posts = self.posts.lock().await;
        let next = tokio::time::timeout(Duration::from_secs(20), posts.recv()).await;
        next.expect("a post in time").expect("the listener lives")
    }
}

async fn answer(
    request: Request<Incoming>,
    receiver: Arc<Mutex<Receiver>>,
    told: mpsc::UnboundedSender<(Vec<u8>, Vec<Hint>)>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let now = std::time::SystemTime::UNIX_EPOCH.into();
    let answer = receiver.lock().unwrap().answer(&query, &body, now);
    if answer.status == 202 {
        let _ = told.send((body.to_vec(), answer.hints.into_iter().collect()));
    }
    let response = Response::builder()
        .status(answer.status)
        .header("content-type", "text/plain; charset=utf-8")
        .body(Full::new(Bytes::from(answer.body)));
    Ok(response.unwrap())
}
