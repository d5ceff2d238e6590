//! What was asked of the emulator, so that tests can look for personal values in URLs and
//! headers, and count calls.

use std::sync::Mutex;

use super::lock;

/// One request as it arrived. Secrets are left out: the `authorization` header, and the
/// bodies altogether (they are only measured).
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The method, in capitals.
    pub method: String,
    /// The path as sent, still percent-encoded.
    pub path: String,
    /// The query string as sent, still percent-encoded; empty when there was none.
    pub query: String,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The status of the reply, or `None` when the connection was dropped.
    pub status: Option<u16>,
}

#[derive(Debug, Default)]
pub(super) struct Journal {
    exchanges: Mutex<Vec<Exchange>>,
}

impl Journal {
    /// Notes the arrival and returns the line's number. After [`LONGEST`] lines the oldest
    /// half is dropped, so that a long run stays small.
    pub(super) fn arrived(&self, exchange: Exchange) {
        let mut exchanges = lock(&self.exchanges);
        if exchanges.len() >= LONGEST {
            exchanges.drain(..LONGEST / 2);
        }
        exchanges.push(exchange);
    }

    pub(super) fn all(&self) -> Vec<Exchange> {
        lock(&self.exchanges).clone()
    }

    pub(super) fn clear(&self) {
        lock(&self.exchanges).clear();
    }
}

/// Header names whose values never enter the journal.
pub(super) const SECRET_HEADERS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

const LONGEST: usize = 20_000;
