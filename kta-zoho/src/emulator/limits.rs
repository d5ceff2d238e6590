//! What one application may do: calls at a time, and credits a day.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::reply::ApiError;

/// A call that is under way; it is over when this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Shared>);

impl UnderWay {
    /// Begins a call, or says that there are too many, or that the day's credits are spent.
    pub(super) fn begin(
        shared: &Arc<Shared>,
        method: &Method,
        path: &str,
    ) -> Result<Self, Response> {
        let under_way = shared.under_way.fetch_add(1, Ordering::SeqCst);
        let begun = Self(Arc::clone(shared));
        if shared
            .options
            .concurrency
            .is_some_and(|most| under_way >= most)
        {
            return Err(too_many("concurrent calls exceed the limit"));
        }
        let price = price(method, path);
        if let Some(credits) = shared.options.credits {
            let spent = shared.spent.fetch_add(price, Ordering::SeqCst);
            if spent + price > credits {
                return Err(too_many("the credits of the day are spent"));
            }
        }
        Ok(begun)
    }

    /// Tells what is left once half are gone, and not before.
    pub(super) fn tell(shared: &Shared, headers: &mut HeaderMap) {
        let Some(credits) = shared.options.credits else {
            return;
        };
        let left = credits.saturating_sub(shared.spent.load(Ordering::SeqCst));
        if left * 2 <= credits {
            headers.insert("x-api-credits-remaining", HeaderValue::from(left));
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// As the vendor prices calls; rows of a write are not counted here.
fn price(method: &Method, path: &str) -> u64 {
    match path {
        "/crm/bulk/v8/read" if method == Method::POST => 50,
        _ if path.ends_with("/deleted") => 2,
        _ => 1,
    }
}

/// Without `Retry-After`, and without a word which limit it was that a program could read.
fn too_many(message: &'static str) -> Response {
    let code = "TOO_MANY_REQUESTS";
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, code, message).into_response()
}
