#![doc = include_str!("../README.md")]

mod budget;
mod call;
mod classify;
mod client;
mod policy;
mod reply;
mod request;
mod retry;
mod sealed_file;
mod tls;
mod token;

pub use budget::RateBudget;
pub use call::Call;
pub use client::HttpClient;
pub use policy::{Limits, Origin, TransportPolicy};
pub use reply::Reply;
pub use request::{Repeat, Request};
pub use reqwest::Method;
pub use retry::Retry;
pub use sealed_file::{FileMark, SealedFile, Turn};
pub use tls::{Roots, TlsSession, TlsVersion};
pub use token::{Credential, Lease, Token, TokenCache, TokenSource};
pub use url::Url;
