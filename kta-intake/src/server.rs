//! The form's HTTP side: a page with a fresh token, and the post that brings it back.
//!
//! It listens where the firm's TLS end point forwards to, on loopback, and nowhere else: the
//! end point's word about TLS is only as good as nobody else being able to speak here.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use kta_core::{Code, Error};

use crate::web_form::{COOKIE, WebForm};

/// The routes of one form.
pub fn router(form: Arc<WebForm>) -> Router {
    let (path, limit) = (form.site().path.clone(), form.limits().message);
    Router::new()
        .route(&path, get(page).post(submit))
        .layer(DefaultBodyLimit::max(limit))
        .with_state(form)
}

/// Serves the form on a loopback listener until `stop` is ready.
///
/// # Errors
/// When the listener is not on loopback, or breaks.
pub async fn serve(
    form: Arc<WebForm>,
    listener: tokio::net::TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    if !listener.local_addr()?.ip().is_loopback() {
        let why = "the form listens on loopback only, behind the TLS end point";
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, why));
    }
    axum::serve(listener, router(form))
        .with_graceful_shutdown(stop)
        .await
}

async fn page(State(form): State<Arc<WebForm>>) -> Response {
    let (token, nonce) = form.token();
    // Both values are hexadecimal digits and dots; the edition is our own configuration.
    let html = PAGE
        .replace("{token}", &token)
        .replace("{edition}", &form.site().edition);
    let cookie = format!("{COOKIE}={nonce}; Path=/; Secure; HttpOnly; SameSite=Strict");
    (guard(&form), [(header::SET_COOKIE, cookie)], Html(html)).into_response()
}

async fn submit(State(form): State<Arc<WebForm>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut head = format!("{} {} HTTP/1.1\r\n", parts.method, parts.uri.path()).into_bytes();
    for (name, value) in &parts.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let limit = form.limits().message;
    let body: Bytes = match axum::body::to_bytes(body, limit).await {
        Ok(body) => body,
        Err(_) => return answer(&form, StatusCode::PAYLOAD_TOO_LARGE, Code::IntSize.as_str()),
    };
    match form.submit(&head, body).await {
        Ok(delivery) => answer(&form, StatusCode::ACCEPTED, &delivery.to_string()),
        Err(Error::Refused(refusal)) => {
            answer(&form, status(refusal.code()), refusal.code().as_str())
        }
        Err(_) => answer(&form, StatusCode::SERVICE_UNAVAILABLE, "try again later"),
    }
}

/// Plain text and never more than an id or a code.
fn answer(form: &WebForm, status: StatusCode, text: &str) -> Response {
    (status, guard(form), format!("{text}\n")).into_response()
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::IntChannel => StatusCode::NOT_FOUND,
        Code::IntSize | Code::IntBomb => StatusCode::PAYLOAD_TOO_LARGE,
        Code::IntSpoof => StatusCode::FORBIDDEN,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// The headers of every answer: no frame, no sniffing, no cache, nothing loaded from elsewhere.
fn guard(form: &WebForm) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let fixed = [
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in fixed {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    if form.site().hsts {
        let value = header::HeaderValue::from_static("max-age=63072000; includeSubDomains");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
    headers
}

const PAGE: &str = r#"<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Documents for your matter</title>
<h1>Documents for your matter</h1>
<form method="post" enctype="multipart/form-data">
<input type="hidden" name="csrf_token" value="{token}">
<input type="hidden" name="form_version" value="{edition}">
<p><label>Matter <input name="matter" required></label>
<p><label>Your e-mail address <input name="submitter" type="email" required></label>
<p><label>Passport page <input name="beneficiary.passport_page" type="file" accept="application/pdf,image/jpeg,image/png"></label>
<p><button>Send</button>
</form>
</html>
"#;
