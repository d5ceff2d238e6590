//! Requests, replies and refusals inside the emulator.

use super::clock::stamp;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use hyper::header::HeaderMap;
use serde_json::{Map, Value, json};

/// One request as the handlers see it: path decoded, query split, body whole.
pub(crate) struct Call {
    pub(crate) method: String,
    /// Percent-decoded path, without the host.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as a JSON object; an empty body is an empty object.
    pub(crate) fn object(&self) -> Result<Map<String, Value>, Refused> {
        if self.body.is_empty() {
            return Ok(Map::new());
        }
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(object)) => Ok(object),
            _ => Err(Refused::bad("request body is not a JSON object")),
        }
    }
}

/// What goes back.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    Bytes(Bytes),
    Empty,
    Json(Value),
    Text(String),
}

impl Reply {
    pub(crate) fn json(status: u16, value: Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Json(value),
        }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Empty,
        }
    }

    pub(crate) fn bytes(bytes: Bytes) -> Self {
        let headers = vec![("content-type", "application/octet-stream".to_owned())];
        Self {
            status: 200,
            headers,
            body: Body::Bytes(bytes),
        }
    }

    pub(crate) fn found(location: String) -> Self {
        Self {
            status: 302,
            headers: vec![("location", location)],
            body: Body::Empty,
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The content type and the bytes.
    pub(crate) fn into_bytes(self) -> (u16, Vec<(&'static str, String)>, Bytes) {
        let mut headers = self.headers;
        let body = match self.body {
            Body::Bytes(bytes) => bytes,
            Body::Empty => Bytes::new(),
            Body::Json(value) => {
                headers.push(("content-type", GRAPH_JSON.to_owned()));
                Bytes::from(value.to_string())
            }
            Body::Text(text) => {
                headers.push(("content-type", "text/html; charset=utf-8".to_owned()));
                Bytes::from(text)
            }
        };
        (self.status, headers, body)
    }
}

/// A refusal in Graph's form.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) inner: Option<&'static str>,
    pub(crate) location: Option<String>,
}

impl Refused {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            inner: None,
            location: None,
        }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(400, "invalidRequest", message)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(404, "itemNotFound", "The resource could not be found.")
    }

    pub(crate) fn conflict() -> Self {
        Self::new(
            409,
            "nameAlreadyExists",
            "An item with the same name already exists.",
        )
    }

    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new(403, "accessDenied", message)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(501, "notSupported", message)
    }

    pub(crate) fn inner(mut self, code: &'static str) -> Self {
        self.inner = Some(code);
        self
    }

    pub(crate) fn reply(self, now: DateTime<Utc>, request: &str, client: Option<&str>) -> Reply {
        let mut inner = json!({
            "date": stamp(now).trim_end_matches('Z'),
            "request-id": request,
            "client-request-id": client.unwrap_or(request),
        });
        if let Some(code) = self.inner {
            inner["code"] = json!(code);
        }
        let body = json!({
            "error": { "code": self.code, "message": self.message, "innerError": inner }
        });
        let reply = Reply::json(self.status, body);
        match self.location {
            Some(location) => reply.with("location", location),
            None => reply,
        }
    }
}

const GRAPH_JSON: &str = "application/json;odata.metadata=minimal;odata.streaming=true;\
                          IEEE754Compatible=false;charset=utf-8";
