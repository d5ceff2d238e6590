//! From Graph's statuses and codes to refusals and faults.

use kta_core::{Error, FaultKind};
use kta_http::Call;
use serde_json::Value;

/// The deepest code of an error body: `innerError` nests, in either spelling, and only codes count,
/// never messages. Bodies that are no JSON have none.
pub(crate) fn code(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let mut at = &value["error"];
    let mut found = "";
    for _ in 0..8 {
        if let Some(code) = at["code"].as_str() {
            found = code;
        }
        at = match (at.get("innerError"), at.get("innererror")) {
            (Some(inner), _) | (None, Some(inner)) => inner,
            (None, None) => break,
        };
    }
    found.to_owned()
}

/// What an answer means that no caller has a better word for.
pub(crate) fn unexpected(call: Call, status: u16, code: &str) -> Error {
    let because = |kind, text| Error::from(call.fault(kind).with_status(status).because(text));
    match (status, code) {
        (401 | 403, _) => because(
            FaultKind::Misconfigured,
            "Graph does not admit this application",
        ),
        (404 | 410, _) => call.fault(FaultKind::NotFound).with_status(status).into(),
        (409 | 412, _) => because(FaultKind::Conflict, "somebody changed it first"),
        (423, _) => because(FaultKind::Conflict, "it is checked out or locked"),
        (507, _) => because(FaultKind::Misconfigured, "the quota is exhausted"),
        (_, "malwareDetected") => because(FaultKind::Protocol, "the library takes it for malware"),
        _ => call.fault(FaultKind::Protocol).with_status(status).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_code_is_taken_whatever_the_spelling() {
        let nested = br#"{"error":{"code":"invalidRequest","message":"x","innererror":
            {"code":"invalidRange","innerError":{"code":"fragmentOverlap"}}}}"#;
        assert_eq!(code(nested), "fragmentOverlap");
        assert_eq!(code(b"<html>busy</html>"), "");
        assert_eq!(code(b""), "");
        assert_eq!(code(br#"{"error":"invalid_client"}"#), "");
    }
}
