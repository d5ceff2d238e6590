//! Calls to the vendor: token, request, retry, and what the answer means.

use core::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use kta_core::time::{Entropy, Timestamp};
use kta_core::{Code, Error, FaultKind, Port, Result};
use kta_http::{
    Call, Credential, HttpClient, Method, Origin, Reply, Request, Retry, Token, TokenCache,
    TokenSource, TransportPolicy, Url,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::config::{Credentials, ZohoConfig};
use crate::error::{Complaint, from_status, protocol};

/// The one way to the vendor's API.
pub(crate) struct Client {
    http: HttpClient,
    tokens: TokenCache,
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
        let policy = TransportPolicy::to([config.api.clone(), config.accounts.clone()])
            .within(config.limits)
            .trusting(config.roots.clone());
        let http = HttpClient::new(policy, Port::Crm)?;
        let accounts = Accounts {
            http: http.clone(),
            url: config.accounts.url(["oauth", "v2", "token"])?,
            credentials: config.credentials.clone(),
            api: config.api.clone(),
        };
        // Ten access tokens for one refresh token in ten minutes, says the vendor.
        let tokens = TokenCache::new(accounts, AUTHORIZE).limited(10, Duration::from_secs(600));
        let (first, longest) = config.waits;
        let retry = Retry::new(entropy).attempts(4).waits(first, longest);
        Ok(Self {
            http,
            tokens,
            api: config.api.clone(),
            retry,
        })
    }

    /// A request below `/crm/v8`.
    pub(crate) fn request(&self, call: Call, method: Method, path: &[&str]) -> Result<Request> {
        let segments = ["crm", "v8"].into_iter().chain(path.iter().copied());
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
        self.retry.repeatable(|| self.once(call, &build)).await
    }

    /// The same for an answer that is not JSON, at most `limit` bytes of it.
    pub(crate) async fn bytes(
        &self,
        call: Call,
        limit: u64,
        build: impl Fn() -> Result<Request> + Send + Sync,
    ) -> Result<Vec<u8>> {
        let fetch = || async {
            let lease = self.tokens.token().await?;
            let reply = self
                .http
                .send(build()?.credential(lease.credential()))
                .await?;
            if !reply.is_success() {
                if reply.status() == 401 {
                    self.tokens.refused(&lease).await;
                }
                return Err(from_status(call, reply.status()));
            }
            Ok(reply.bytes(limit).await?.to_vec())
        };
        self.retry.repeatable(fetch).await
    }

    async fn once(
        &self,
        call: Call,
        build: &(impl Fn() -> Result<Request> + Sync),
    ) -> Result<Answer> {
        let lease = self.tokens.token().await?;
        let reply = self
            .http
            .send(build()?.credential(lease.credential()))
            .await?;
        let unauthorised = reply.status() == 401;
        let first = read(call, reply).await;
        let complaint = match first {
            Ok(answer) => return Ok(answer),
            Err(Failed::Otherwise(error)) => return Err(error),
            Err(Failed::Complained(complaint, status)) => {
                // Other reasons for 401, such as a missing scope, no new token mends.
                let stale = matches!(
                    complaint.code.as_str(),
                    "INVALID_TOKEN" | "AUTHENTICATION_FAILURE"
                );
                if !(unauthorised && stale) {
                    return Err(complaint.into_error(call, status));
                }
                complaint
            }
        };
        drop(complaint);
        self.tokens.refused(&lease).await;
        let lease = self.tokens.token().await?;
        let reply = self
            .http
            .send(build()?.credential(lease.credential()))
            .await?;
        read(call, reply).await.map_err(|failed| match failed {
            Failed::Complained(complaint, status) => complaint.into_error(call, status),
            Failed::Otherwise(error) => error,
        })
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

    /// Whether the vendor says that there are more pages.
    pub(crate) fn has_more(&self) -> bool {
        self.body["info"]["more_records"].as_bool().unwrap_or(false)
    }
}

enum Failed {
    Complained(Complaint, u16),
    Otherwise(Error),
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

/// The accounts server. It fails with status 200 too, so only the presence of a token counts.
struct Accounts {
    http: HttpClient,
    url: Url,
    credentials: Credentials,
    api: Origin,
}

#[async_trait]
impl TokenSource for Accounts {
    async fn fetch(&self) -> Result<Token> {
        let request = Request::post(AUTHORIZE, self.url.clone())
            .repeatable()
            .form(&[
                ("grant_type", "refresh_token"),
                ("client_id", &self.credentials.client_id),
                (
                    "client_secret",
                    self.credentials.client_secret.expose_secret(),
                ),
                (
                    "refresh_token",
                    self.credentials.refresh_token.expose_secret(),
                ),
            ]);
        let reply = self.http.send(request).await?;
        let status = reply.status();
        let mut body: Value = match reply.json().await {
            Ok(body) => body,
            Err(_) if status >= 400 => return Err(from_status(AUTHORIZE, status)),
            Err(error) => return Err(error),
        };
        let Some(Value::String(token)) = body.get_mut("access_token").map(Value::take) else {
            return Err(no_token(&body, status));
        };
        let token = SecretString::from(token);
        self.admit_domain(&body)?;
        // Very old accounts servers give milliseconds in `expires_in` and seconds beside it.
        let seconds = body
            .get("expires_in_sec")
            .or_else(|| body.get("expires_in"));
        let lives = seconds.and_then(Value::as_u64).unwrap_or(3_600).min(86_400);
        Ok(Token::new(
            Credential::zoho(token),
            Duration::from_secs(lives),
        ))
    }
}

impl Accounts {
    /// A token is for one API. An answer that names another one does not move us there.
    fn admit_domain(&self, body: &Value) -> Result<()> {
        let Some(domain) = body.get("api_domain").and_then(Value::as_str) else {
            return Ok(());
        };
        let off_list = || Error::from(Code::NetHost);
        let named = Origin::parse(domain, Port::Crm).map_err(|_| off_list())?;
        if named == self.api || same_machine(named.as_str(), self.api.as_str()) {
            return Ok(());
        }
        Err(off_list())
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts")
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

fn no_token(body: &Value, status: u16) -> Error {
    let fault = match body.get("error").and_then(Value::as_str) {
        Some("Access Denied") => AUTHORIZE
            .fault(FaultKind::Throttled { retry_after: None })
            .because("too many tokens"),
        Some("invalid_client" | "invalid_client_secret") => AUTHORIZE
            .fault(FaultKind::Misconfigured)
            .because("the OAuth client is not known"),
        Some(_) => AUTHORIZE
            .fault(FaultKind::Misconfigured)
            .because("the refresh token is not good"),
        None => return from_status(AUTHORIZE, status),
    };
    fault.with_status(status).into()
}

/// Two names of this machine with one port: `localhost` and the loopback addresses. Both were
/// parsed as origins, so plain `http` already means this machine.
fn same_machine(left: &str, right: &str) -> bool {
    let port = |text: &str| {
        let url = Url::parse(text).ok()?;
        if url.scheme() == "http" {
            url.port_or_known_default()
        } else {
            None
        }
    };
    port(left).is_some() && port(left) == port(right)
}

const AUTHORIZE: Call = Call::new(Port::Crm, "authorize");
