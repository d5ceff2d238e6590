//! The answer: its status, its headers, and its body within limits.

use core::fmt;
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use kta_core::pii::ContentStream;
use kta_core::{Error, Fault, FaultKind, Result};
use reqwest::header::{CONTENT_ENCODING, DATE, HeaderMap, RETRY_AFTER};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use crate::call::Call;
use crate::policy::Limits;
use crate::request::Repeat;

/// A server's answer. Reading its body is bounded in size and time.
pub struct Reply {
    call: Call,
    repeat: Repeat,
    response: reqwest::Response,
    redirect: Option<Url>,
    limits: Limits,
    deadline: Instant,
}

impl Reply {
    pub(crate) fn new(
        call: Call,
        repeat: Repeat,
        response: reqwest::Response,
        redirect: Option<Url>,
        limits: Limits,
        deadline: Instant,
    ) -> Self {
        Self {
            call,
            repeat,
            response,
            redirect,
            limits,
            deadline,
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Whether the status says success (200 to 299).
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.response.status().is_success()
    }

    /// A header's text, when there is one and it is printable ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Where the server points to, already found on the list. Nothing follows it by itself; a
    /// [`Request`](crate::Request) made for it is best [`presigned`](crate::Request::presigned),
    /// so that no credential goes to another host.
    #[must_use]
    pub const fn redirect(&self) -> Option<&Url> {
        self.redirect.as_ref()
    }

    /// How long the server asks us to wait, in seconds or as a date (then measured from the
    /// server's own `Date`, so that differing clocks do not matter).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(self.response.headers())
    }

    /// This answer if it says success.
    ///
    /// # Errors
    /// [`fault`](Self::fault) otherwise.
    pub fn success(self) -> Result<Self> {
        if self.is_success() {
            Ok(self)
        } else {
            Err(self.fault().into())
        }
    }

    /// What an unsuccessful status means, where the adapter knows nothing better: 401, 403
    /// `Misconfigured` · 404, 410 `NotFound` · 408 `Timeout` · 409, 412, 423 `Conflict` · 429,
    /// and 503 with `Retry-After`, `Throttled` · 500, 502, 504 `OutcomeUnknown` if repeating
    /// would be another effect, else `Unavailable` · other 5xx `Unavailable` · else `Protocol`.
    #[must_use]
    pub fn fault(&self) -> Fault {
        let retry_after = self.retry_after();
        let kind = match self.status() {
            401 | 403 => FaultKind::Misconfigured,
            404 | 410 => FaultKind::NotFound,
            408 => FaultKind::Timeout,
            409 | 412 | 423 => FaultKind::Conflict,
            429 => FaultKind::Throttled { retry_after },
            503 if retry_after.is_some() => FaultKind::Throttled { retry_after },
            500 | 502 | 504 if self.repeat == Repeat::Never => FaultKind::OutcomeUnknown,
            500..=599 => FaultKind::Unavailable,
            _ => FaultKind::Protocol,
        };
        self.call.fault(kind).with_status(self.status())
    }

    /// The body as JSON, at most [`Limits::document`] bytes of it.
    ///
    /// # Errors
    /// A `Protocol` fault for a larger body or other text, faults of the connection; each is
    /// `OutcomeUnknown` when the status said success and repeating would be another effect.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T> {
        let (call, repeat, status, limit) =
            (self.call, self.repeat, self.status(), self.limits.document);
        let body = self.bytes(limit).await?;
        serde_json::from_slice(&body).map_err(|_| {
            unread(call, repeat, status, FaultKind::Protocol)
                .because("the answer is not the JSON expected")
                .into()
        })
    }

    /// The body in memory, at most `limit` bytes of it; wiped when dropped.
    ///
    /// # Errors
    /// As [`json`](Self::json).
    pub async fn bytes(self, limit: u64) -> Result<Zeroizing<Vec<u8>>> {
        let announced = self.response.content_length().unwrap_or(0).min(limit);
        let mut body = Zeroizing::new(Vec::with_capacity(usize::try_from(announced).unwrap_or(0)));
        let mut reader = Reader::open(self, limit)?;
        while let Some(chunk) = reader.next().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The body as a stream of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`json`](Self::json), at once or as the stream's last item.
    pub fn stream(self, limit: u64) -> Result<ContentStream> {
        let reader = Reader::open(self, limit)?;
        Ok(Box::pin(futures_util::stream::unfold(
            Some(reader),
            |reader| async {
                let mut reader = reader?;
                match reader.next().await {
                    Ok(Some(chunk)) => Some((Ok(chunk), Some(reader))),
                    Ok(None) => None,
                    Err(error) => Some((Err(error), None)),
                }
            },
        )))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("call", &self.call)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

struct Reader {
    reply: Reply,
    left: u64,
}

impl Reader {
    fn open(reply: Reply, limit: u64) -> Result<Self> {
        let encoded = reply.response.headers().get(CONTENT_ENCODING);
        if encoded.is_some_and(|encoding| encoding.as_bytes() != b"identity") {
            return Err(reply
                .unread(FaultKind::Protocol)
                .because("the body is compressed")
                .into());
        }
        if reply
            .response
            .content_length()
            .is_some_and(|length| length > limit)
        {
            return Err(reply
                .unread(FaultKind::Protocol)
                .because("the body is too large")
                .into());
        }
        Ok(Self { reply, left: limit })
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        let reply = &mut self.reply;
        let until = reply.deadline.min(Instant::now() + reply.limits.idle);
        let chunk = match tokio::time::timeout_at(until, reply.response.chunk()).await {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(_)) => {
                return Err(reply
                    .unread(FaultKind::Unavailable)
                    .because("the connection broke")
                    .into());
            }
            Err(_) => {
                return Err(reply
                    .unread(FaultKind::Timeout)
                    .because("the body stopped")
                    .into());
            }
        };
        let Some(chunk) = chunk else { return Ok(None) };
        self.left = self.left.checked_sub(chunk.len() as u64).ok_or_else(|| {
            Error::from(
                reply
                    .unread(FaultKind::Protocol)
                    .because("the body is too large"),
            )
        })?;
        Ok(Some(chunk))
    }
}

impl Reply {
    fn unread(&self, kind: FaultKind) -> Fault {
        unread(self.call, self.repeat, self.status(), kind)
    }
}

/// The fault of an answer that arrived but cannot be read. If it said success, the effect is
/// there: then "timeout: no effect" would be untrue, and a repetition another effect.
fn unread(call: Call, repeat: Repeat, status: u16, kind: FaultKind) -> Fault {
    let happened = (200..300).contains(&status);
    let kind = match (repeat, kind) {
        (Repeat::Never, _) if happened => FaultKind::OutcomeUnknown,
        (Repeat::Same, FaultKind::Timeout) => FaultKind::Unavailable,
        _ => kind,
    };
    call.fault(kind).with_status(status)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let until = DateTime::parse_from_rfc2822(text).ok()?;
    let now = DateTime::parse_from_rfc2822(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some((until - now).to_std().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(pairs: &[(reqwest::header::HeaderName, &'static str)]) -> Option<Duration> {
        let headers = pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()));
        retry_after(&headers.collect())
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_against_the_servers_own_date() {
        assert_eq!(wait(&[(RETRY_AFTER, "7")]), Some(Duration::from_secs(7)));
        let (at, date) = (
            "Wed, 01 Jul 2026 10:00:30 GMT",
            "Wed, 01 Jul 2026 10:00:00 GMT",
        );
        assert_eq!(
            wait(&[(RETRY_AFTER, at), (DATE, date)]),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            wait(&[(RETRY_AFTER, date), (DATE, at)]),
            Some(Duration::ZERO)
        );
        for nonsense in ["-1", "soon", "1e9", "99999999999999999999", ""] {
            assert_eq!(wait(&[(RETRY_AFTER, nonsense)]), None, "{nonsense}");
        }
        assert_eq!(wait(&[(RETRY_AFTER, at)]), None, "no date to measure from");
    }

    #[test]
    fn an_unreadable_success_of_an_unrepeatable_request_is_an_unknown_outcome() {
        let call = Call::new(kta_core::Port::Channel, "submit");
        let kind = |repeat, status, kind| unread(call, repeat, status, kind).kind();
        assert_eq!(
            kind(Repeat::Never, 201, FaultKind::Protocol),
            FaultKind::OutcomeUnknown
        );
        assert_eq!(
            kind(Repeat::Never, 400, FaultKind::Protocol),
            FaultKind::Protocol
        );
        assert_eq!(
            kind(Repeat::Reads, 200, FaultKind::Timeout),
            FaultKind::Timeout
        );
        assert_eq!(
            kind(Repeat::Same, 200, FaultKind::Timeout),
            FaultKind::Unavailable
        );
    }
}
