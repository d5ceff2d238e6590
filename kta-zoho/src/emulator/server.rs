//! The two listeners: routes, authorisation, journal, scripted failures.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{delete, get, post};
use futures_util::StreamExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::faults::Failure;
use super::journal::{Exchange, SECRET_HEADERS, Taped};
use super::limits::UnderWay;
use super::reply::ApiError;
use super::{
    Shared, attachments, bulk, coql, history, listing, marks, no_such_method, no_such_path, notes,
    oauth, people, records, recycle_bin, search, settings, watch,
};

/// Which server a listener is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Accounts,
    Api,
}

/// Accepts connections until it is aborted; its connections end with it.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, door: Door, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let (shared, router) = (shared.clone(), router.clone());
        connections.spawn(async move {
            let service =
                service_fn(move |request| answer(shared.clone(), door, router.clone(), request));
            // An error here is a connection that broke, often because the script said so.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// The connection is to be closed without a reply.
#[derive(Debug)]
struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is dropped")
    }
}

impl std::error::Error for Dropped {}

async fn answer(
    shared: Arc<Shared>,
    door: Door,
    router: Router,
    request: Request<Incoming>,
) -> Result<Response, Dropped> {
    let (parts, body) = request.into_parts();
    let mut exchange = Exchange {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: open_headers(&parts.headers),
        status: None,
    };
    if door == Door::Accounts {
        // The vendor takes the secrets as query parameters too; they are not for the journal.
        exchange.query.clear();
    }
    let failure = shared.faults.take(&exchange.method, &exchange.path);
    let mut body = Body::new(body);
    let mut sent = Bytes::new();
    if shared.options.tape {
        sent = axum::body::to_bytes(body, LARGEST_BODY)
            .await
            .unwrap_or_default();
        body = Body::from(sent.clone());
    }
    let early = match &failure {
        Some(Failure::Silence) => {
            shared.journal.arrived(exchange);
            // Longer than anybody waits; the connection ends with whoever gives up first.
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            return Err(Dropped);
        }
        Some(Failure::DropBeforeEffect) => {
            shared.journal.arrived(exchange);
            return Err(Dropped);
        }
        Some(failure) => instead(failure),
        None if door == Door::Api => refuse_stranger(&shared, &parts.headers),
        None => None,
    };
    // It is under way until its reply is made.
    let mut under_way = None;
    let early = match early {
        None if door == Door::Api => {
            match UnderWay::begin(&shared, &parts.method, parts.uri.path()) {
                Ok(begun) => {
                    under_way = Some(begun);
                    // Calls of one instant are under way together.
                    if shared.options.concurrency.is_some() {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    None
                }
                Err(refused) => Some(refused),
            }
        }
        early => early,
    };
    let mut response = match early {
        Some(response) => {
            // Taken in before answering, so that the sender sees the reply and not a reset.
            let _ = axum::body::to_bytes(body, LARGEST_BODY).await;
            response
        }
        None => {
            let request = Request::from_parts(parts, body);
            let routed: Result<Response, Infallible> = router.oneshot(request).await;
            match routed {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    };
    drop(under_way);
    UnderWay::tell(&shared, response.headers_mut());
    let count = HeaderValue::from(shared.journal.count() + 1);
    response.headers_mut().insert("x-emulator-requests", count);
    if let Ok(date) = HeaderValue::from_str(&shared.clock.http_date()) {
        response.headers_mut().insert(header::DATE, date);
    }
    match failure {
        Some(Failure::DropAfterEffect) => {
            shared.journal.arrived(exchange);
            Err(Dropped)
        }
        other => {
            exchange.status = Some(response.status().as_u16());
            if shared.options.tape {
                response = tape(&shared, &exchange, sent, response, other.is_some()).await;
            }
            shared.journal.arrived(exchange);
            match other {
                Some(Failure::TruncatedBody) => Ok(cut_off(response).await),
                Some(Failure::Drip) => Ok(drip(response).await),
                _ => Ok(response),
            }
        }
    }
}

/// Keeps the whole exchange and gives the reply back.
async fn tape(
    shared: &Shared,
    exchange: &Exchange,
    sent: Bytes,
    response: Response,
    scripted: bool,
) -> Response {
    let (parts, body) = response.into_parts();
    let replied = axum::body::to_bytes(body, LARGEST_BODY)
        .await
        .unwrap_or_default();
    let media = parts.headers.get(header::CONTENT_TYPE);
    shared.journal.tape(Taped {
        exchange: exchange.clone(),
        sent: sent.to_vec(),
        media: media
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned(),
        replied: replied.to_vec(),
        scripted,
    });
    Response::from_parts(parts, Body::from(replied))
}

/// The reply that a scripted failure puts in place of the real one.
fn instead(failure: &Failure) -> Option<Response> {
    let unauthorised = |code, message| ApiError::new(StatusCode::UNAUTHORIZED, code, message);
    let response = match failure {
        Failure::AuthenticationFailure => {
            unauthorised("AUTHENTICATION_FAILURE", "Authentication failed").into_response()
        }
        Failure::InvalidToken => {
            unauthorised("INVALID_TOKEN", "invalid oauth token").into_response()
        }
        Failure::Redirect(to) => {
            (StatusCode::FOUND, [(header::LOCATION, to.clone())]).into_response()
        }
        Failure::ScopeMismatch => unauthorised(
            "OAUTH_SCOPE_MISMATCH",
            "invalid oauth scope to access this URL",
        )
        .into_response(),
        Failure::ServerError => ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL_ERROR",
            "Internal Server Error",
        )
        .into_response(),
        Failure::TooManyRequests => ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "TOO_MANY_REQUESTS",
            "too many requests in a short time",
        )
        .into_response(),
        Failure::WrongContentType => {
            Html("<html><body>Sign in to continue</body></html>").into_response()
        }
        Failure::DropAfterEffect
        | Failure::DropBeforeEffect
        | Failure::Drip
        | Failure::Silence
        | Failure::TruncatedBody => {
            return None;
        }
    };
    Some(response)
}

/// The API takes `Zoho-oauthtoken`, although the token reply says `Bearer`.
fn refuse_stranger(shared: &Shared, headers: &HeaderMap) -> Option<Response> {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Zoho-oauthtoken "));
    let now = shared.clock.now();
    if token.is_some_and(|token| shared.world().tokens.is_live(token.trim(), now)) {
        return None;
    }
    let error = ApiError::new(
        StatusCode::UNAUTHORIZED,
        "INVALID_TOKEN",
        "invalid oauth token",
    );
    Some(error.into_response())
}

/// The same head with the full length, and half of the body before the connection breaks.
async fn cut_off(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let whole = axum::body::to_bytes(body, LARGEST_BODY)
        .await
        .unwrap_or_default();
    parts
        .headers
        .insert(header::CONTENT_LENGTH, (whole.len() + 1).into());
    let half: Result<Bytes, Dropped> = Ok(whole.slice(..whole.len() / 2));
    let pieces = futures_util::stream::iter([half, Err(Dropped)]).then(|piece| async {
        if piece.is_err() {
            // The first half shall reach the reader before the connection breaks.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        piece
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// The body byte by byte, half a second apart: it is always alive and never done.
async fn drip(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let whole = axum::body::to_bytes(body, LARGEST_BODY)
        .await
        .unwrap_or_default();
    parts
        .headers
        .insert(header::CONTENT_LENGTH, (whole.len() + 1_000).into());
    let piece = move |at: usize| {
        let byte = whole.get(at).copied().unwrap_or(b' ');
        async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok::<Bytes, Dropped>(Bytes::from(vec![byte]))
        }
    };
    let pieces = futures_util::stream::iter(0..).then(piece);
    Response::from_parts(parts, Body::from_stream(pieces))
}

fn open_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter(|(name, _)| !SECRET_HEADERS.contains(&name.as_str()))
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect()
}

pub(super) fn accounts_routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/oauth/v2/token", post(oauth::token))
        .route("/oauth/v2/token/revoke", post(oauth::revoke))
        .fallback(no_such_path)
        .with_state(shared)
}

pub(super) fn api_routes(shared: Arc<Shared>) -> Router {
    let v8 = Router::new()
        .route("/coql", post(coql::query))
        .route("/org", get(settings::org))
        .route("/users", get(people::users))
        .route("/users/{module}", get(people::user))
        .route(
            "/actions/watch",
            get(watch::list)
                .post(watch::enable)
                .put(watch::enable)
                .patch(watch::extend)
                .delete(watch::disable),
        )
        .nest("/settings", settings_routes())
        .route(
            "/{module}",
            get(listing::records)
                .post(records::create)
                .put(records::update)
                .delete(records::delete),
        )
        .route("/{module}/upsert", post(records::upsert))
        .route("/{module}/search", get(search::search))
        .route("/{module}/deleted", get(listing::deleted))
        .route("/{module}/actions/count", get(listing::count))
        .route(
            "/{module}/{id}",
            get(listing::record)
                .put(records::update_one)
                .delete(records::delete_one),
        )
        .route("/{module}/{id}/actions/add_tags", post(marks::add_tags))
        .route(
            "/{module}/{id}/actions/remove_tags",
            post(marks::remove_tags),
        )
        .route("/{module}/{id}/actions/share", get(people::shares))
        .route(
            "/{module}/{id}/Locking_Information__s",
            get(marks::locked).post(marks::lock),
        )
        .route(
            "/{module}/{id}/Locking_Information__s/{lock}",
            delete(marks::unlock),
        )
        .route("/{module}/{id}/__timeline", get(history::timeline))
        .route(
            "/{module}/{id}/Notes",
            get(notes::of_record).post(notes::create),
        )
        .route("/{module}/{id}/Notes/{related}", delete(notes::delete))
        .route(
            "/{module}/{id}/Attachments",
            get(attachments::of_record)
                .post(attachments::upload)
                .layer(DefaultBodyLimit::max(LARGEST_BODY)),
        )
        .route(
            "/{module}/{id}/Attachments/{related}",
            get(attachments::download).delete(attachments::delete),
        );
    Router::new()
        .nest("/crm/v8", v8)
        .route("/crm/bulk/v8/read", post(bulk::start))
        .route("/crm/bulk/v8/read/{job}", get(bulk::state))
        .route("/crm/bulk/v8/read/{job}/result", get(bulk::result))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(LARGEST_JSON))
        .with_state(shared)
}

fn settings_routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/fields", get(settings::fields))
        .route("/modules", get(settings::modules))
        .route("/modules/{module}", get(settings::one_module))
        .route("/related_lists", get(settings::related_lists))
        .route("/roles", get(people::roles))
        .route("/data_sharing", get(people::sharing))
        .route("/profiles", get(people::profiles))
        .route("/profiles/{id}", get(people::profile))
        .route(
            "/recycle_bin",
            get(recycle_bin::all).delete(recycle_bin::delete),
        )
        .route("/recycle_bin/actions/count", get(recycle_bin::count))
        .route("/recycle_bin/actions/restore", post(recycle_bin::restore))
        .route(
            "/recycle_bin/{id}",
            get(recycle_bin::one).delete(recycle_bin::delete_one),
        )
        .route(
            "/recycle_bin/{id}/actions/restore",
            post(recycle_bin::restore_one),
        )
        .route(
            "/audit_log_export",
            get(history::exports).post(history::start_export),
        )
        .route("/audit_log_export/{id}", get(history::export))
        .route("/audit_log_export/{id}/file", get(history::download))
}

/// The vendor's limit for a body with files.
const LARGEST_BODY: usize = 100 * 1024 * 1024;
const LARGEST_JSON: usize = 16 * 1024 * 1024;
