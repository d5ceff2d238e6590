//! Scripted failures, and the journal of requests.

use std::time::Duration;

/// What goes wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The request takes effect, then the connection closes without an answer.
    DropAfterEffect,
    /// The connection closes without an answer and nothing happens.
    DropBeforeEffect,
    /// Nothing happens; the vendor says that token or credentials have ended.
    ExpiredToken,
    /// The request is served after this long.
    Stall(Duration),
    /// Nothing happens; the vendor asks to slow down, with `Retry-After` seconds where given
    /// and where the vendor sends any.
    Throttled(Option<u32>),
    /// Nothing happens; the vendor's form of 503.
    Unavailable,
}

/// One request as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Method and path, or the vendor's name of the action.
    pub operation: String,
    /// The request's body.
    pub body: Vec<u8>,
    /// The status answered; 0 when the connection was closed without.
    pub status: u16,
}

/// The next `left` requests whose operation contains `part` fail like this.
pub(super) struct Line {
    pub(super) part: String,
    pub(super) left: u32,
    pub(super) failure: Failure,
}

/// Finds the first line for an operation and counts it down.
pub(super) fn strike(script: &mut Vec<Line>, operation: &str) -> Option<Failure> {
    let at = script
        .iter()
        .position(|line| line.left > 0 && operation.contains(&line.part))?;
    script[at].left -= 1;
    let failure = script[at].failure.clone();
    script.retain(|line| line.left > 0);
    Some(failure)
}
