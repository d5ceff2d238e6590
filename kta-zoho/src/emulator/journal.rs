//! What was asked of the emulator, so that tests can look for personal values in URLs and
//! headers, and count calls.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// One whole exchange, bodies and all: kept only with [`EmulatorOptions::tape`], for checking
/// it against the vendor's own documents.
///
/// [`EmulatorOptions::tape`]: super::EmulatorOptions::tape
#[derive(Clone)]
pub struct Taped {
    /// The line of the journal.
    pub exchange: Exchange,
    /// The request's body.
    pub sent: Vec<u8>,
    /// The reply's media type; empty when it named none.
    pub media: String,
    /// The reply's body.
    pub replied: Vec<u8>,
    /// Whether a scripted failure had its hand in it.
    pub scripted: bool,
}

impl std::fmt::Debug for Taped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Taped")
            .field("method", &self.exchange.method)
            .field("path", &self.exchange.path)
            .field("status", &self.exchange.status)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
pub(super) struct Journal {
    exchanges: Mutex<Vec<Exchange>>,
    tape: Mutex<Vec<Taped>>,
    arrived: AtomicU64,
}

impl Journal {
    /// Notes the arrival and returns the line's number. After [`LONGEST`] lines the oldest
    /// half is dropped, so that a long run stays small.
    pub(super) fn arrived(&self, exchange: Exchange) {
        self.arrived.fetch_add(1, Ordering::Relaxed);
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

    /// How many requests there were since the start.
    pub(super) fn count(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    pub(super) fn tape(&self, taped: Taped) {
        lock(&self.tape).push(taped);
    }

    pub(super) fn taped(&self) -> Vec<Taped> {
        lock(&self.tape).clone()
    }
}

/// Header names whose values never enter the journal.
pub(super) const SECRET_HEADERS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

const LONGEST: usize = 20_000;
