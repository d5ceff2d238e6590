//! Scripted faults and the journal of requests.

use std::time::Duration;

/// What goes wrong with a request that a script matches.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The request takes effect, then the connection closes without an answer.
    DropAfterEffect,
    /// The request takes effect; the answer comes in sixteen parts with this long before each.
    Drip(Duration),
    /// The connection closes without an answer and nothing happens.
    DropBeforeEffect,
    /// Nothing happens; the answer is a redirect to this address.
    Redirect(String),
    /// The request is served after this long.
    Stall(Duration),
    /// Nothing happens; the answer has this status, and `Retry-After` seconds where given.
    Status {
        /// The HTTP status: 429, 500, 503, 401 …
        status: u16,
        /// Seconds of `Retry-After`.
        retry_after: Option<u32>,
    },
    /// The request takes effect; the answer breaks off half-way through its body.
    TruncatedBody,
    /// The request takes effect; the answer is an HTML page with the same status.
    WrongType,
}

impl Fault {
    /// 429 with `Retry-After`.
    pub fn throttled(seconds: u32) -> Self {
        Self::Status {
            status: 429,
            retry_after: Some(seconds),
        }
    }

    /// A bare status without `Retry-After`.
    pub fn status(status: u16) -> Self {
        Self::Status {
            status,
            retry_after: None,
        }
    }
}

/// One request as the journal keeps it: addresses without their secrets, no bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// `graph`, `login` or `sharepoint`.
    pub host: &'static str,
    /// HTTP method.
    pub method: String,
    /// Path and query as sent, still percent-encoded; pre-signed parts read `[secret]`.
    pub target: String,
    /// Whether an `Authorization` header came along.
    pub authorized: bool,
    /// The status answered; 0 when the connection was dropped.
    pub status: u16,
}

/// A whole exchange, for holding it against a specification.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// `graph`, `login` or `sharepoint`.
    pub host: &'static str,
    /// The method.
    pub method: String,
    /// Path and query as they came, percent-encoded.
    pub target: String,
    /// The request's headers, in lower case; of `authorization` only that it was there.
    pub headers: Vec<(String, String)>,
    /// The request's body.
    pub body: bytes::Bytes,
    /// The status.
    pub status: u16,
    /// The reply's headers.
    pub reply_headers: Vec<(String, String)>,
    /// The reply's body.
    pub reply: bytes::Bytes,
}

/// The next `left` requests that match get `fault`.
pub(crate) struct Scripted {
    pub(crate) method: String,
    pub(crate) pattern: String,
    pub(crate) left: u32,
    pub(crate) fault: Fault,
}

/// Finds the first script for a request and counts it down.
pub(crate) fn strike(scripts: &mut Vec<Scripted>, method: &str, path: &str) -> Option<Fault> {
    let at = scripts.iter().position(|script| {
        (script.method == "*" || script.method.eq_ignore_ascii_case(method))
            && matches(&script.pattern, path)
    })?;
    let script = &mut scripts[at];
    script.left -= 1;
    let fault = script.fault.clone();
    if script.left == 0 {
        scripts.remove(at);
    }
    Some(fault)
}

/// A prefix in which `*` stands for any run of characters.
fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| path.strip_prefix(first)) else {
        return false;
    };
    let mut rest = rest;
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// Replaces what is a capability in itself: session ids, download tickets, sharing tokens.
pub(crate) fn redact(target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut shown = path.to_owned();
    for prefix in ["/upload/", "/download/"] {
        if path.starts_with(prefix) {
            shown = format!("{prefix}[secret]");
        }
    }
    if let Some(query) = query {
        shown.push('?');
        let each = |part: &str| match part.split_once('=') {
            Some((key @ ("tempauth" | "validationToken"), _)) => format!("{key}=[secret]"),
            _ => part.to_owned(),
        };
        shown.push_str(&query.split('&').map(each).collect::<Vec<_>>().join("&"));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_and_a_pattern_is_a_prefix() {
        assert!(matches("/v1.0/drives", "/v1.0/drives/b!x/root"));
        assert!(matches("*/content", "/v1.0/drives/b!x/items/1/content"));
        assert!(matches(
            "/v1.0/*/versions/*/content",
            "/v1.0/d/items/1/versions/1.0/content"
        ));
        assert!(!matches("/v1.0/*/versions", "/v1.0/drives/b!x/items/1"));
    }

    #[test]
    fn a_script_strikes_as_often_as_it_says() {
        let script = |left| Scripted {
            method: "PUT".to_owned(),
            pattern: "/upload/".to_owned(),
            left,
            fault: Fault::DropBeforeEffect,
        };
        let mut scripts = vec![script(2)];
        assert!(strike(&mut scripts, "GET", "/upload/1").is_none());
        assert!(strike(&mut scripts, "PUT", "/upload/1").is_some());
        assert!(strike(&mut scripts, "PUT", "/upload/1").is_some());
        assert!(strike(&mut scripts, "PUT", "/upload/1").is_none());
    }

    #[test]
    fn the_journal_shows_no_capability() {
        assert_eq!(redact("/upload/abc"), "/upload/[secret]");
        assert_eq!(redact("/x?tempauth=abc&b=1"), "/x?tempauth=[secret]&b=1");
    }
}
