//! Many requests to Graph in few: reads, and writes that made twice are made once.

use crate::client::{Answer, Client};
use crate::error;
use kta_core::{FaultKind, Result};
use kta_http::{Call, Request};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// One of them.
pub(crate) struct Part {
    method: &'static str,
    path: Vec<String>,
    body: Option<Value>,
}

impl Part {
    /// A read of this path (below `v1.0`, as segments).
    pub(crate) fn read(path: Vec<String>) -> Self {
        Self {
            method: "GET",
            path,
            body: None,
        }
    }

    /// A setting of values, which leaves the same however often it is done.
    pub(crate) fn patch(path: Vec<String>, body: Value) -> Self {
        Self {
            method: "PATCH",
            path,
            body: Some(body),
        }
    }
}

/// Asks all of these, twenty to a request, and gives the answers in their order. The outer answer is always 200; each inner one has its own status, comes in any
/// order, and is asked again where it was throttled or the server had trouble.
///
/// SharePoint counts every inner request against its limits: a batch saves round trips, not cost.
pub(crate) async fn batch(graph: &Client, call: Call, parts: &[Part]) -> Result<Vec<Answer>> {
    let mut answers: Vec<Option<Answer>> = parts.iter().map(|_| None).collect();
    let mut open: Vec<usize> = (0..parts.len()).collect();
    let url = graph.url(&["$batch"])?;
    for _ in 0..ATTEMPTS {
        let (mut again, mut wait) = (Vec::new(), Duration::ZERO);
        for some in open.chunks(TWENTY) {
            let mut requests = Vec::new();
            for &at in some {
                let part = &parts[at];
                let path = graph.url(&part.path)?;
                let relative = path.path().trim_start_matches("/v1.0");
                let mut request =
                    json!({ "id": at.to_string(), "method": part.method, "url": relative });
                if let Some(body) = &part.body {
                    request["body"] = body.clone();
                    request["headers"] = json!({ "content-type": "application/json" });
                }
                requests.push(request);
            }
            let body = json!({ "requests": requests });
            let make = || Ok(Request::post(call, url.clone()).json(&body).repeatable());
            let answer = graph.ask(make).await?;
            if answer.status != 200 {
                return Err(answer.unexpected(call));
            }
            let replies: Replies = answer.parse(call)?;
            let mut missing = some.to_vec();
            for reply in replies.responses {
                let at = reply.id.parse().ok().filter(|at| missing.contains(at));
                let Some(at) = at else {
                    let fault = call.fault(FaultKind::Protocol);
                    return Err(fault
                        .because("an answer to a request that was not made")
                        .into());
                };
                missing.retain(|each| *each != at);
                if matches!(reply.status, 408 | 429 | 500 | 502 | 503 | 504 | 509) {
                    wait = wait.max(reply.retry_after());
                    again.push(at);
                    continue;
                }
                let success = (200..300).contains(&reply.status);
                answers[at] = Some(Answer {
                    status: reply.status,
                    code: error::code(reply.body.to_string().as_bytes()),
                    value: if success { reply.body } else { Value::Null },
                });
            }
            again.extend(missing);
        }
        if again.is_empty() {
            break;
        }
        if wait > LONGEST_WAIT {
            let retry_after = Some(wait);
            return Err(call.fault(FaultKind::Throttled { retry_after }).into());
        }
        tokio::time::sleep(wait).await;
        open = again;
    }
    let all: Option<Vec<Answer>> = answers.into_iter().collect();
    Ok(all.ok_or_else(|| {
        call.fault(FaultKind::Unavailable)
            .because("a request of a batch was never answered")
    })?)
}

#[derive(Deserialize)]
struct Replies {
    responses: Vec<Reply>,
}

#[derive(Deserialize)]
struct Reply {
    id: String,
    status: u16,
    #[serde(default)]
    headers: Value,
    #[serde(default)]
    body: Value,
}

impl Reply {
    fn retry_after(&self) -> Duration {
        let given = self.headers.as_object().into_iter().flatten();
        let seconds = given
            .filter(|(name, _)| name.eq_ignore_ascii_case("retry-after"))
            .find_map(|(_, value)| value.as_str()?.parse().ok());
        Duration::from_secs(seconds.unwrap_or(0)).max(SHORTEST_WAIT)
    }
}

const TWENTY: usize = 20;
const ATTEMPTS: usize = 6;
const SHORTEST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
