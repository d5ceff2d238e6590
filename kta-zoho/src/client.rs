//! Calls to the vendor: token, request, retry, and what the answer means.

use core::fmt;
use std::sync::Arc;

use chrono::DateTime;
use kta_core::pii::ContentStream;
use kta_core::time::{Entropy, Timestamp};
use kta_core::{Error, FaultKind, Result};
use kta_http::{Call, HttpClient, Lease, Method, Origin, Reply, Request, Retry, TokenCache};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::config::{Grant, ZohoConfig};
use crate::credits::{Credits, Ledger};
use crate::error::{Complaint, from_status, protocol};
use crate::oauth::{AUTHORIZE, Accounts, client_of};
use crate::surface::{self, Door};
use crate::watch::Watch;

/// The one way to the vendor's API.
pub(crate) struct Client {
    http: HttpClient,
    tokens: TokenCache,
    accounts: Accounts,
    watch: Arc<Watch>,
    ledger: Ledger,
    turns: Semaphore,
    api: Origin,
    retry: Retry,
}

/// An answer that says success: 2xx or 304.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The JSON body; null where there is none (204, 304).
    pub(crate) body: Value,
    /// The server's own time, from its `Date`.
    pub(crate) server_time: Option<Timestamp>,
}

impl Client {
    pub(crate) fn new(config: &ZohoConfig, entropy: Arc<dyn Entropy>) -> Result<Self> {
        if let Grant::Code { .. } = config.credentials.grant {
            return Err(AUTHORIZE
                .fault(FaultKind::Misconfigured)
                .because("the code has to be exchanged first")
                .into());
        }
        let http = client_of(config)?;
        let accounts = || Accounts::new(config, http.clone(), config.watch.clone());
        let cache = || TokenCache::new(accounts(), AUTHORIZE);
        let tokens = config.tokens.get_or_init(cache).clone();
        let (first, longest) = config.waits;
        let retry = Retry::new(entropy).attempts(4).waits(first, longest);
        Ok(Self {
            accounts: accounts(),
            http,
            tokens,
            watch: config.watch.clone(),
            ledger: Ledger::new(config.credits),
            turns: Semaphore::new(config.concurrency),
            api: config.api.clone(),
            retry,
        })
    }

    /// Whether something says that somebody else holds our credentials.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The accounts server.
    pub(crate) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    pub(crate) fn credits(&self) -> Credits {
        self.ledger.read()
    }

    /// A request below `/crm/v8`.
    pub(crate) fn request(&self, call: Call, method: Method, path: &[&str]) -> Result<Request> {
        self.below(&["crm", "v8"], Door::Api, call, method, path)
    }

    /// A request below `/crm/bulk/v8`.
    pub(crate) fn bulk(&self, call: Call, method: Method, path: &[&str]) -> Result<Request> {
        self.below(&["crm", "bulk", "v8"], Door::Bulk, call, method, path)
    }

    /// The one way to a request: what is not on the list of the [surface](crate::surface) is none.
    fn below(
        &self,
        root: &[&str],
        door: Door,
        call: Call,
        method: Method,
        path: &[&str],
    ) -> Result<Request> {
        if !surface::admits(door, &method, path) {
            let fault = call.fault(FaultKind::NotFound);
            return Err(fault.because("no call of this adapter").into());
        }
        let segments = root.iter().chain(path).copied();
        Ok(Request::new(call, method, self.api.url(segments)?))
    }

    /// A request to an address that the vendor gave; only our own two hosts are admitted.
    pub(crate) fn request_to(&self, call: Call, address: &str) -> Result<Request> {
        Ok(Request::get(call, self.http.vendor_url(call, address)?))
    }

    /// Sends what `build` makes, again where that is harmless, and gives the answer.
    ///
    /// Every request made here reads, deletes, updates by id or upserts by our key, so that
    /// doing it twice is doing it once; `build` must say so of each `POST`.
    pub(crate) async fn answer(
        &self,
        call: Call,
        build: impl Fn() -> Result<Request> + Send + Sync,
    ) -> Result<Answer> {
        self.answer_for(ORDINARY, call, build).await
    }

    /// The same for a call that costs `price` credits.
    pub(crate) async fn answer_for(
        &self,
        price: u64,
        call: Call,
        build: impl Fn() -> Result<Request> + Send + Sync,
    ) -> Result<Answer> {
        self.retry
            .repeatable(|| self.once(price, call, &build))
            .await
    }

    /// Sends once what cannot be built again, such as an upload. A refused token is replaced for
    /// the next attempt, which is the caller's.
    pub(crate) async fn answer_once(&self, call: Call, request: Request) -> Result<Answer> {
        let (lease, reply) = self.send(ORDINARY, call, request).await?;
        let answer = read(call, reply).await;
        if answer.as_ref().is_err_and(Failed::is_about_the_token) {
            self.refused(&lease).await?;
        }
        answer.map_err(|failed| failed.into_error(call))
    }

    /// The body as it comes, at most `limit` bytes of it, or `None` where there is none (204).
    pub(crate) async fn stream(
        &self,
        call: Call,
        limit: u64,
        build: impl Fn() -> Result<Request> + Send + Sync,
    ) -> Result<Option<ContentStream>> {
        let fetch = || async {
            let (lease, reply) = self.send(ORDINARY, call, build()?).await?;
            if reply.status() == 204 {
                return Ok(None);
            }
            // What is no file is the vendor's complaint, or a page of somebody else's.
            let media = reply.header("content-type").unwrap_or_default();
            let is_file = !(media.starts_with("text/html") || media.contains("json"));
            if reply.is_success() && is_file {
                return reply.stream(limit).map(Some);
            }
            match read(call, reply).await {
                Ok(_) => Err(protocol(call, "not a file")),
                Err(failed) if failed.is_about_the_token() => {
                    self.refused(&lease).await?;
                    Err(call.fault(FaultKind::Unavailable).with_status(401).into())
                }
                Err(failed) => Err(failed.into_error(call)),
            }
        };
        self.retry.repeatable(fetch).await
    }

    /// One exchange under the alarm, the budget and the limit of calls at a time.
    async fn send(&self, price: u64, call: Call, request: Request) -> Result<(Lease, Reply)> {
        self.watch.admit(call)?;
        self.ledger.spend(call, price)?;
        let lease = self.tokens.token().await?;
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await.ok();
        let reply = self
            .http
            .send(request.credential(lease.credential()))
            .await?;
        self.ledger.told(reply.header("x-api-credits-remaining"));
        Ok((lease, reply))
    }

    /// Drops a token that was refused before its time.
    async fn refused(&self, lease: &Lease) -> Result<()> {
        self.tokens.refused(lease).await;
        self.watch.refused_early(lease.number()).await
    }

    async fn once(
        &self,
        price: u64,
        call: Call,
        build: &(impl Fn() -> Result<Request> + Sync),
    ) -> Result<Answer> {
        let (lease, reply) = self.send(price, call, build()?).await?;
        match read(call, reply).await {
            Ok(answer) => return Ok(answer),
            // Other reasons for 401, such as a missing scope, no new token mends.
            Err(failed) if !failed.is_about_the_token() => return Err(failed.into_error(call)),
            Err(_) => {}
        }
        self.refused(&lease).await?;
        let (lease, reply) = self.send(price, call, build()?).await?;
        let again = read(call, reply).await;
        if again.as_ref().is_err_and(Failed::is_about_the_token) {
            self.refused(&lease).await?;
        }
        again.map_err(|failed| failed.into_error(call))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("api", &self.api.as_str())
            .finish_non_exhaustive()
    }
}

impl Answer {
    /// The rows under `key`; none where there is no body.
    pub(crate) fn into_list(mut self, call: Call, key: &str) -> Result<Vec<Value>> {
        if self.body.is_null() {
            return Ok(Vec::new());
        }
        match self.body.get_mut(key).map(Value::take) {
            Some(Value::Array(rows)) => Ok(rows),
            _ => Err(protocol(call, "the list expected is not there")),
        }
    }

    /// The details of the one row that a write of one row answers with.
    pub(crate) fn into_details(self, call: Call, key: &str) -> Result<Value> {
        let status = self.status;
        let mut rows = self.into_list(call, key)?;
        let (Some(mut row), true) = (rows.pop(), rows.is_empty()) else {
            return Err(protocol(call, "one row was written and not one answered"));
        };
        if let Some(complaint) = Complaint::in_row(&row) {
            return Err(complaint.into_error(call, status));
        }
        if row.get("status").and_then(Value::as_str) != Some("success") {
            return Err(protocol(call, "a row says neither success nor error"));
        }
        Ok(row
            .get_mut("details")
            .map(Value::take)
            .unwrap_or(Value::Null))
    }

    /// What was said of each of `sent` rows, in their order: its details, or its error.
    pub(crate) fn into_rows(
        self,
        call: Call,
        key: &str,
        sent: usize,
    ) -> Result<Vec<Result<Value>>> {
        let status = self.status;
        let rows = self.into_list(call, key)?;
        if rows.len() != sent {
            return Err(protocol(
                call,
                "the rows that answer are not those that were sent",
            ));
        }
        let verdict = |mut row: Value| match Complaint::in_row(&row) {
            Some(complaint) => Err(complaint.into_error(call, status)),
            None if row["status"] == "success" => Ok(row["details"].take()),
            None => Err(protocol(call, "a row says neither success nor error")),
        };
        Ok(rows.into_iter().map(verdict).collect())
    }

    /// Whether the vendor says that there are more pages.
    pub(crate) fn has_more(&self) -> bool {
        self.body["info"]["more_records"].as_bool().unwrap_or(false)
    }
}

enum Failed {
    Complained(Complaint, u16),
    Otherwise(Error),
}

impl Failed {
    /// Whether a new token would help.
    fn is_about_the_token(&self) -> bool {
        match self {
            Self::Complained(complaint, status) => *status == 401 && complaint.is_about_the_token(),
            Self::Otherwise(_) => false,
        }
    }

    fn into_error(self, call: Call) -> Error {
        match self {
            Self::Complained(complaint, status) => complaint.into_error(call, status),
            Self::Otherwise(error) => error,
        }
    }
}

async fn read(call: Call, reply: Reply) -> Result<Answer, Failed> {
    let status = reply.status();
    let server_time = reply
        .header("date")
        .and_then(|text| DateTime::parse_from_rfc2822(text).ok())
        .map(|at| at.to_utc());
    if matches!(status, 204 | 304) {
        return Ok(Answer {
            status,
            body: Value::Null,
            server_time,
        });
    }
    if reply.is_success() {
        let body = reply.json().await.map_err(Failed::Otherwise)?;
        return Ok(Answer {
            status,
            body,
            server_time,
        });
    }
    let otherwise = Failed::Otherwise(from_status(call, status));
    // An error without a readable body is judged by its status alone.
    let Ok(body) = reply.json::<Value>().await else {
        return Err(otherwise);
    };
    match Complaint::in_body(&body) {
        Some(complaint) => Err(Failed::Complained(complaint, status)),
        None => Err(otherwise),
    }
}

/// What an ordinary call costs.
const ORDINARY: u64 = 1;
