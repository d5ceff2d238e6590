//! Scripted failures: "the next n requests that match fail like this".

use std::sync::Mutex;

use super::lock;

/// What goes wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The request is carried out, then the connection closes with no reply at all.
    DropAfterEffect,
    /// The connection closes before anything is carried out.
    DropBeforeEffect,
    /// The request is carried out and the reply comes byte by byte, half a second apart.
    Drip,
    /// 401 `INVALID_TOKEN`, although the token is good.
    InvalidToken,
    /// 401 `AUTHENTICATION_FAILURE`: the other name some replies give the same cause.
    AuthenticationFailure,
    /// 302 to this address.
    Redirect(String),
    /// 401 `OAUTH_SCOPE_MISMATCH`: a fresh token will not help.
    ScopeMismatch,
    /// 500 `INTERNAL_ERROR`.
    ServerError,
    /// Nothing is carried out, and nothing is ever answered.
    Silence,
    /// 429 `TOO_MANY_REQUESTS` without `Retry-After`, as CRM v8 answers.
    TooManyRequests,
    /// The request is carried out and the reply is cut off half-way through its body.
    TruncatedBody,
    /// Nothing is carried out; 200 with an HTML page, as a captive portal answers.
    WrongContentType,
}

/// The script of failures to come. Clones share one script.
#[derive(Debug, Default)]
pub struct Faults {
    script: Mutex<Vec<Line>>,
}

impl Faults {
    /// The next `times` requests with this method whose path begins with `path_prefix` fail
    /// like `failure`. `"*"` as method matches every method. Lines are used in the order given;
    /// a request uses up the first line that matches it.
    pub fn next(&self, times: u32, method: &str, path_prefix: &str, failure: Failure) {
        self.after(0, times, method, path_prefix, failure);
    }

    /// The same, after `spared` matching requests that go through.
    pub fn after(
        &self,
        spared: u32,
        times: u32,
        method: &str,
        path_prefix: &str,
        failure: Failure,
    ) {
        lock(&self.script).push(Line {
            spared,
            left: times,
            method: method.to_ascii_uppercase(),
            path_prefix: path_prefix.to_owned(),
            failure,
        });
    }

    /// Forgets every line that has not been used up.
    pub fn clear(&self) {
        lock(&self.script).clear();
    }

    /// How many scripted failures have not happened yet.
    #[must_use]
    pub fn pending(&self) -> u32 {
        lock(&self.script).iter().map(|line| line.left).sum()
    }

    pub(super) fn take(&self, method: &str, path: &str) -> Option<Failure> {
        let mut script = lock(&self.script);
        let position = script.iter().position(|line| {
            line.left > 0
                && (line.method == "*" || line.method == method)
                && path.starts_with(&line.path_prefix)
        })?;
        let line = &mut script[position];
        if line.spared > 0 {
            line.spared -= 1;
            return None;
        }
        line.left -= 1;
        let failure = line.failure.clone();
        if line.left == 0 {
            script.remove(position);
        }
        Some(failure)
    }
}

#[derive(Debug)]
struct Line {
    spared: u32,
    left: u32,
    method: String,
    path_prefix: String,
    failure: Failure,
}
