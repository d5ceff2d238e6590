//! One request: where to, what with, and what may be done when no answer comes.

use core::fmt;
use std::time::Duration;

use bytes::Bytes;
use kta_core::pii::{ContentStream, MediaType};
use kta_core::{Code, Error, FaultKind};
use reqwest::Method;
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use url::Url;
use zeroize::Zeroizing;

use crate::call::Call;
use crate::token::Credential;

/// What may be done when a request left and no usable answer came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It has an effect, and a second one would be another effect: the answer is
    /// [`OutcomeUnknown`](FaultKind::OutcomeUnknown). The default of `POST` and `PATCH`.
    Never,
    /// It only reads. The default of `GET` and `HEAD`.
    Reads,
    /// It has an effect, and doing it again is the same effect. The default of `PUT` and
    /// `DELETE`.
    Same,
}

/// A request to be sent by [`HttpClient::send`](crate::HttpClient::send).
///
/// What is wrong with it is remembered and refused when it is sent, before anything leaves.
pub struct Request {
    pub(crate) call: Call,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) repeat: Repeat,
    pub(crate) credential: Option<Credential>,
    pub(crate) presigned: bool,
    pub(crate) total: Option<Duration>,
    pub(crate) flaw: Option<Error>,
}

pub(crate) enum Body {
    Bytes(Bytes),
    Empty,
    Multipart {
        field: &'static str,
        file_name: String,
        media: MediaType,
        stream: ContentStream,
        length: u64,
    },
    Stream {
        stream: ContentStream,
        length: u64,
    },
}

impl Request {
    /// A request with this method.
    #[must_use]
    pub fn new(call: Call, method: Method, url: Url) -> Self {
        let repeat = match method {
            Method::GET | Method::HEAD | Method::OPTIONS => Repeat::Reads,
            Method::PUT | Method::DELETE => Repeat::Same,
            _ => Repeat::Never,
        };
        Self {
            call,
            method,
            url,
            headers: HeaderMap::new(),
            body: Body::Empty,
            repeat,
            credential: None,
            presigned: false,
            total: None,
            flaw: None,
        }
    }

    /// A `GET`.
    #[must_use]
    pub fn get(call: Call, url: Url) -> Self {
        Self::new(call, Method::GET, url)
    }

    /// A `POST`.
    #[must_use]
    pub fn post(call: Call, url: Url) -> Self {
        Self::new(call, Method::POST, url)
    }

    /// A `PUT`.
    #[must_use]
    pub fn put(call: Call, url: Url) -> Self {
        Self::new(call, Method::PUT, url)
    }

    /// A `PATCH`.
    #[must_use]
    pub fn patch(call: Call, url: Url) -> Self {
        Self::new(call, Method::PATCH, url)
    }

    /// A `DELETE`.
    #[must_use]
    pub fn delete(call: Call, url: Url) -> Self {
        Self::new(call, Method::DELETE, url)
    }

    /// The same with one more query parameter. Ids, dates and words only: addresses end up in
    /// other people's logs, so personal values belong into a body.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// The same with this header. Credentials have a way of their own
    /// ([`credential`](Self::credential)); giving one here is refused with `NET-TOKEN-LEAK`.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        match (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(value),
        ) {
            (Ok(name), Ok(_)) if [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(&name) => {
                self.flaw = Some(Code::NetTokenLeak.into());
            }
            (Ok(name), Ok(value)) => {
                self.headers.insert(name, value);
            }
            _ => self.malformed("not a header"),
        }
        self
    }

    /// The same with a secret in a header of the vendor's own (a session token of AWS), marked so
    /// that no library shows it.
    #[must_use]
    pub fn secret_header(mut self, name: &'static str, secret: &SecretString) -> Self {
        self = self.header(name, secret.expose_secret());
        if let Some(value) = self.headers.get_mut(name) {
            value.set_sensitive(true);
        }
        self
    }

    /// The same with this credential in its `Authorization` header.
    #[must_use]
    pub fn credential(mut self, credential: &Credential) -> Self {
        self.credential = Some(credential.clone());
        self
    }

    /// The same to an address that the vendor made and that carries its own, short-lived
    /// credential (an upload session, a download link): no `Authorization` goes with it.
    #[must_use]
    pub fn presigned(mut self) -> Self {
        self.presigned = true;
        self
    }

    /// The same with a JSON body. It is wiped from memory after sending.
    #[must_use]
    pub fn json(mut self, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(bytes) => self.body = Body::Bytes(wiped(bytes)),
            Err(_) => self.malformed("the body has no JSON form"),
        }
        self.content_type("application/json")
    }

    /// The same with a form body (`application/x-www-form-urlencoded`). It is wiped from memory
    /// after sending, so it may hold secrets.
    #[must_use]
    pub fn form(mut self, pairs: &[(&str, &str)]) -> Self {
        // Every byte may become three; room for all, so that growing leaves no copy behind.
        let room = pairs
            .iter()
            .map(|(name, value)| 3 * (name.len() + value.len()) + 2)
            .sum();
        let mut form = url::form_urlencoded::Serializer::new(String::with_capacity(room));
        form.extend_pairs(pairs);
        self.body = Body::Bytes(wiped(form.finish().into_bytes()));
        self.content_type("application/x-www-form-urlencoded")
    }

    /// The same with these bytes as its body. They are wiped from memory after sending.
    #[must_use]
    pub fn bytes(mut self, bytes: Vec<u8>, media: &str) -> Self {
        self.body = Body::Bytes(wiped(bytes));
        self.content_type(media)
    }

    /// The same with a streamed body of this length: what
    /// [`Content::into_stream`](kta_core::pii::Content::into_stream) gives.
    ///
    /// An error of the stream ends the request and is what `send` returns.
    #[must_use]
    pub fn stream(mut self, stream: ContentStream, length: u64, media: &MediaType) -> Self {
        self.body = Body::Stream { stream, length };
        self.content_type(media.as_str())
    }

    /// The same with one streamed file as `multipart/form-data` in `field`. The file name is
    /// seen by the vendor: an id, never a title.
    #[must_use]
    pub fn file(
        mut self,
        field: &'static str,
        file_name: &str,
        stream: ContentStream,
        length: u64,
        media: &MediaType,
    ) -> Self {
        let file_name = file_name.to_owned();
        self.body = Body::Multipart {
            field,
            file_name,
            media: media.clone(),
            stream,
            length,
        };
        self
    }

    /// The same, declared to only read although its method does not say so (a search by `POST`).
    #[must_use]
    pub fn reads(mut self) -> Self {
        self.repeat = Repeat::Reads;
        self
    }

    /// The same, declared to have one effect however often it is made (an upsert).
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.repeat = Repeat::Same;
        self
    }

    /// The same, declared to have another effect each time although its method does not say so.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.repeat = Repeat::Never;
        self
    }

    /// The same with this much time for the whole exchange, instead of the policy's.
    #[must_use]
    pub fn total(mut self, total: Duration) -> Self {
        self.total = Some(total);
        self
    }

    /// The request again, unless its body is a stream.
    pub(crate) fn again(&self) -> Option<Self> {
        let body = match &self.body {
            Body::Bytes(bytes) => Body::Bytes(bytes.clone()),
            Body::Empty => Body::Empty,
            Body::Multipart { .. } | Body::Stream { .. } => return None,
        };
        Some(Self {
            call: self.call,
            method: self.method.clone(),
            url: self.url.clone(),
            headers: self.headers.clone(),
            body,
            repeat: self.repeat,
            credential: self.credential.clone(),
            presigned: self.presigned,
            total: self.total,
            flaw: self.flaw.clone(),
        })
    }

    /// Whether a credential stands in the address.
    pub(crate) fn leaks(&self) -> bool {
        if self.presigned {
            return self.credential.is_some();
        }
        let named = self.url.query_pairs().any(|(name, value)| {
            let name = name.to_ascii_lowercase();
            let value = value.trim_start().to_ascii_lowercase();
            CREDENTIAL_PARAMETERS.contains(&name.as_str())
                || value.starts_with("bearer ")
                || value.starts_with("zoho-oauthtoken ")
        });
        named
            || self
                .credential
                .as_ref()
                .is_some_and(|credential| credential.stands_in(&self.url))
    }

    fn content_type(mut self, media: &str) -> Self {
        match HeaderValue::from_str(media) {
            Ok(media) => {
                self.headers.insert(CONTENT_TYPE, media);
            }
            Err(_) => self.malformed("not a media type"),
        }
        self
    }

    fn malformed(&mut self, why: &'static str) {
        self.flaw = Some(
            self.call
                .fault(FaultKind::Misconfigured)
                .because(why)
                .into(),
        );
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("call", &self.call)
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .field("repeat", &self.repeat)
            .finish_non_exhaustive()
    }
}

fn wiped(bytes: Vec<u8>) -> Bytes {
    Bytes::from_owner(Zeroizing::new(bytes))
}

/// Names under which vendors take credentials in an address, in lower case.
const CREDENTIAL_PARAMETERS: [&str; 17] = [
    "access_token",
    "api_key",
    "apikey",
    "assertion",
    "auth",
    "authorization",
    "authtoken",
    "bearer",
    "client_assertion",
    "client_secret",
    "code",
    "id_token",
    "passwd",
    "password",
    "refresh_token",
    "sig",
    "token",
];
