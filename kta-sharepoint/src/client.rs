//! Talking to Graph and to SharePoint REST: tokens, repetition, addresses that stay on the list.

use crate::config::Config;
use crate::error;
use crate::token::{self, ClientCredentials};
use kta_core::pii::ContentStream;
use kta_core::time::{Clock, Entropy};
use kta_core::{Code, Error, FaultKind, Port, Result};
use kta_http::{Call, HttpClient, Origin, Reply, Request, Retry, TokenCache, TransportPolicy, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;

/// One resource (Graph, or SharePoint REST of one site) with its own token.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: HttpClient,
    origin: Origin,
    /// Path segments every address begins with: `v1.0`, or `sites/x/_api`.
    base: Vec<String>,
    tokens: TokenCache,
    retry: Retry,
}

/// An answer whose body was read: a status that is not to be tried again, and JSON or nothing.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The deepest error code, empty on success.
    pub(crate) code: String,
    pub(crate) value: Value,
}

impl Client {
    /// A client of Graph.
    pub(crate) fn graph(
        config: &Config,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let origins = [config.graph.clone(), config.login.clone()];
        let scope = if is_loopback(&config.graph) {
            // An emulator stands in for the worldwide Graph, whose name is the resource's name.
            "https://graph.microsoft.com/.default".to_owned()
        } else {
            format!("{}/.default", config.graph.as_str())
        };
        let base = vec!["v1.0".to_owned()];
        Self::new(
            config,
            origins,
            config.graph.clone(),
            base,
            scope,
            clock,
            entropy,
        )
    }

    /// The same client, allowed to follow Graph to `other` as well, without the token.
    pub(crate) fn and(mut self, config: &Config, other: Origin) -> Result<Self> {
        self.http = http(config, [config.graph.clone(), other])?;
        Ok(self)
    }

    /// A client of SharePoint REST of the site at `path` on `sharepoint`.
    pub(crate) fn rest(
        config: &Config,
        sharepoint: Origin,
        path: &[String],
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let origins = [sharepoint.clone(), config.login.clone()];
        let scope = format!("{}/.default", sharepoint.as_str());
        let base = path.iter().cloned().chain(["_api".to_owned()]).collect();
        Self::new(config, origins, sharepoint, base, scope, clock, entropy)
    }

    fn new(
        config: &Config,
        origins: impl IntoIterator<Item = Origin>,
        origin: Origin,
        base: Vec<String>,
        scope: String,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let http = http(config, origins)?;
        let source = ClientCredentials::new(http.clone(), config, scope, clock, entropy.clone())?;
        let tokens = TokenCache::new(source, token::CALL);
        Ok(Self {
            http,
            origin,
            base,
            tokens,
            retry: Retry::new(entropy).waits(config.waits.0, config.waits.1),
        })
    }

    /// The address below this resource with these segments, each encoded.
    pub(crate) fn url<S: AsRef<str>>(&self, segments: &[S]) -> Result<Url> {
        let base = self.base.iter().map(String::as_str);
        self.origin
            .url(base.chain(segments.iter().map(AsRef::as_ref)))
    }

    /// An address of this resource that the server gave, such as a next page.
    ///
    /// # Errors
    /// `NET-HOST` when it is another host's: the token would go there.
    pub(crate) fn own_url(&self, call: Call, text: &str) -> Result<Url> {
        let url = self.http.vendor_url(call, text)?;
        let own = url.origin().ascii_serialization() == self.origin.as_str();
        if own {
            Ok(url)
        } else {
            Err(Code::NetHost.into())
        }
    }

    /// An address that carries its own authority, such as an upload session.
    pub(crate) fn presigned_url(&self, call: Call, text: &str) -> Result<Url> {
        self.http.vendor_url(call, text)
    }

    /// Sends what `make` makes until there is an answer worth looking at.
    ///
    /// Throttling, server errors and broken connections are tried again where the request is
    /// repeatable; a body that breaks off counts as a broken connection.
    pub(crate) async fn ask(&self, make: impl Fn() -> Result<Request>) -> Result<Answer> {
        let once = || async {
            let reply = self.http.send_as(make()?, &self.tokens).await?;
            read(reply).await
        };
        self.retry.repeatable(once).await
    }

    /// The same without a token, for addresses that carry their own authority.
    pub(crate) async fn ask_presigned(&self, make: impl Fn() -> Result<Request>) -> Result<Answer> {
        let once = || async { read(self.http.send(make()?.presigned()).await?).await };
        self.retry.repeatable(once).await
    }

    /// The same, made once: the caller knows how to find out what happened.
    pub(crate) async fn try_presigned(&self, request: Request) -> Result<Answer> {
        read(self.http.send(request.presigned()).await?).await
    }

    /// A `GET` of JSON; `None` for what is not there.
    pub(crate) async fn find<T: DeserializeOwned>(
        &self,
        call: Call,
        url: Url,
    ) -> Result<Option<T>> {
        let answer = self.ask(|| Ok(json_get(call, url.clone()))).await?;
        match answer.status {
            200 => answer.parse(call).map(Some),
            404 => Ok(None),
            _ => Err(answer.unexpected(call)),
        }
    }

    /// All pages of a collection, at most `limit` entries.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        call: Call,
        url: Url,
        limit: usize,
    ) -> Result<Option<Vec<T>>> {
        let mut all = Vec::new();
        let mut next = Some(url);
        while let Some(url) = next.take() {
            let answer = self.ask(|| Ok(json_get(call, url.clone()))).await?;
            if answer.status == 404 && all.is_empty() {
                return Ok(None);
            }
            if answer.status != 200 {
                return Err(answer.unexpected(call));
            }
            let link = ["@odata.nextLink", "odata.nextLink"]
                .iter()
                .find_map(|k| answer.value[*k].as_str());
            next = match link {
                Some(link) => Some(self.own_url(call, link)?),
                None => None,
            };
            let page: Page<T> = answer.parse(call)?;
            all.extend(page.value);
            if all.len() > limit {
                let fault = call.fault(FaultKind::Protocol);
                return Err(fault
                    .because("the collection is longer than it can be")
                    .into());
            }
        }
        Ok(Some(all))
    }

    /// The bytes behind an address of Graph that redirects to a pre-signed one. The token stays with
    /// Graph: the second request carries none, and goes to a listed host or nowhere.
    pub(crate) async fn download(&self, call: Call, url: Url, limit: u64) -> Result<ContentStream> {
        let open = || async {
            let reply = self
                .http
                .send_as(Request::get(call, url.clone()), &self.tokens)
                .await?;
            let reply = match (reply.status(), reply.redirect()) {
                (302 | 301 | 307 | 308, Some(target)) => {
                    self.http
                        .send(Request::get(call, target.clone()).presigned())
                        .await?
                }
                _ => reply,
            };
            match reply.status() {
                200 => Ok(reply),
                status if is_passing(status) => Err(reply.fault().into()),
                status => {
                    let body = reply.bytes(ERROR_LIMIT).await.unwrap_or_default();
                    Err(error::unexpected(call, status, &error::code(&body)))
                }
            }
        };
        let reply = self.retry.repeatable(open).await?;
        reply.stream(limit)
    }
}

impl Client {
    /// A part of the bytes behind such an address.
    pub(crate) async fn download_part(
        &self,
        call: Call,
        url: Url,
        range: std::ops::Range<u64>,
    ) -> Result<ContentStream> {
        let wanted = format!("bytes={}-{}", range.start, range.end - 1);
        let open = || async {
            let first = Request::get(call, url.clone()).header("range", &wanted);
            let reply = self.http.send_as(first, &self.tokens).await?;
            let reply = match (reply.status(), reply.redirect()) {
                (302 | 301 | 307 | 308, Some(target)) => {
                    let second = Request::get(call, target.clone()).header("range", &wanted);
                    self.http.send(second.presigned()).await?
                }
                _ => reply,
            };
            match reply.status() {
                206 => Ok(reply),
                // The whole instead of a part would be taken for the part.
                200 => Err(call
                    .fault(FaultKind::Unsupported)
                    .because("the library gives no parts")
                    .into()),
                status if is_passing(status) => Err(reply.fault().into()),
                status => {
                    let body = reply.bytes(ERROR_LIMIT).await.unwrap_or_default();
                    Err(error::unexpected(call, status, &error::code(&body)))
                }
            }
        };
        let reply = self.retry.repeatable(open).await?;
        reply.stream(range.end - range.start)
    }
}

impl Answer {
    /// The body as `T`.
    pub(crate) fn parse<T: DeserializeOwned>(self, call: Call) -> Result<T> {
        serde_json::from_value(self.value).map_err(|_| {
            call.fault(FaultKind::Protocol)
                .because("the answer is not the JSON expected")
                .into()
        })
    }

    /// The error of a status nobody expected.
    pub(crate) fn unexpected(&self, call: Call) -> Error {
        error::unexpected(call, self.status, &self.code)
    }
}

/// `GET` with an `Accept` that SharePoint REST needs and Graph does not mind.
pub(crate) fn json_get(call: Call, url: Url) -> Request {
    Request::get(call, url).header("accept", "application/json;odata=nometadata")
}

fn http(config: &Config, origins: impl IntoIterator<Item = Origin>) -> Result<HttpClient> {
    let policy = TransportPolicy::to(origins)
        .trusting(config.roots.clone())
        .within(config.limits);
    HttpClient::new(policy, Port::Documents)
}

async fn read(reply: Reply) -> Result<Answer> {
    let status = reply.status();
    if is_passing(status) {
        return Err(reply.fault().into());
    }
    if reply.is_success() {
        let value = match status {
            204 => Value::Null,
            _ if reply
                .header("content-type")
                .is_some_and(|kind| kind.contains("json")) =>
            {
                reply.json().await?
            }
            _ => Value::Null,
        };
        return Ok(Answer {
            status,
            code: String::new(),
            value,
        });
    }
    // Whatever the body of a refusal is, unreadable or cut off, its status stands.
    let body = reply.bytes(ERROR_LIMIT).await.unwrap_or_default();
    Ok(Answer {
        status,
        code: error::code(&body),
        value: Value::Null,
    })
}

/// Statuses that may pass: too many requests, and the server's own troubles.
fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504 | 509)
}

pub(crate) fn is_loopback(origin: &Origin) -> bool {
    origin.as_str().starts_with("http://")
}

#[derive(serde::Deserialize)]
struct Page<T> {
    value: Vec<T>,
}

const ERROR_LIMIT: u64 = 64 * 1024;
