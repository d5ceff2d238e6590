//! The accounts server. It fails with HTTP 200 and an `error` key, as the real one does.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Shared;

/// What the accounts server remembers.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// Access token → when it stops being good.
    live: BTreeMap<String, i64>,
    /// When access tokens were handed out, for the limit of ten in ten minutes.
    handed_out: Vec<i64>,
    /// Codes of the first exchange that have been used.
    used_codes: Vec<String>,
    revoked: bool,
    counter: u64,
}

impl Tokens {
    pub(super) fn is_live(&self, token: &str, now: i64) -> bool {
        self.live.get(token).is_some_and(|until| *until > now)
    }

    pub(super) fn forget_all(&mut self) {
        self.live.clear();
    }

    pub(super) fn handed_out(&self) -> u64 {
        self.counter
    }

    pub(super) fn spend(&mut self, now: i64, most: usize) {
        self.handed_out.extend((0..most).map(|_| now));
    }

    /// Lets tokens that are good now live as much longer.
    pub(super) fn prolong(&mut self, by: i64) {
        for until in self.live.values_mut() {
            *until = until.saturating_add(by);
        }
    }

    pub(super) fn revoke(&mut self) {
        self.revoked = true;
        self.live.clear();
    }

    fn hand_out(&mut self, now: i64, lifetime: i64, most: usize) -> Option<String> {
        self.handed_out.retain(|at| now - at < TEN_MINUTES);
        if self.handed_out.len() >= most {
            return None;
        }
        self.handed_out.push(now);
        self.counter += 1;
        let token = format!("1000.emulated{:08x}.{:024x}", self.counter, now);
        self.live.retain(|_, until| *until > now);
        self.live.insert(token.clone(), now + lifetime);
        Some(token)
    }
}

/// `POST /oauth/v2/token`: form body or query parameters, as the vendor takes both.
pub(super) async fn token(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Response {
    let mut form = query;
    form.extend(parse_form(&body));
    let given = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let options = &shared.options;
    if given("client_id") != options.client_id {
        return error("invalid_client");
    }
    if given("client_secret") != options.client_secret {
        return error("invalid_client_secret");
    }
    let now = shared.clock.now();
    let mut world = shared.world();
    let first_exchange = match given("grant_type") {
        "refresh_token" => {
            if world.tokens.revoked || given("refresh_token") != options.refresh_token {
                return error("invalid_code");
            }
            false
        }
        "authorization_code" => {
            let code = given("code").to_owned();
            if code != options.grant_code || world.tokens.used_codes.contains(&code) {
                return error("invalid_code");
            }
            world.tokens.used_codes.push(code);
            world.tokens.revoked = false;
            true
        }
        "client_credentials" => {
            if given("scope").is_empty() {
                return error("invalid_scope");
            }
            if !given("soid").starts_with("ZohoCRM.") {
                return error("invalid_soid");
            }
            false
        }
        _ => return error("unsupported_grant_type"),
    };
    let lifetime = options.token_lifetime.as_secs();
    let seconds = i64::try_from(lifetime).unwrap_or(i64::MAX / 4);
    let handed_out = world
        .tokens
        .hand_out(now, seconds, options.tokens_in_ten_minutes);
    let Some(access_token) = handed_out else {
        return (
            StatusCode::BAD_REQUEST,
            Json(json!({
                "error_description": "You have made too many requests continuously. Please try again after some time.",
                "error": "Access Denied", "status": "failure",
            })),
        )
            .into_response();
    };
    let mut reply = json!({
        "access_token": access_token, "scope": SCOPE, "api_domain": shared.api_domain(),
        "token_type": "Bearer", "expires_in": lifetime,
    });
    if first_exchange {
        reply["refresh_token"] = options.refresh_token.clone().into();
    }
    Json(reply).into_response()
}

/// `POST /oauth/v2/token/revoke`
pub(super) async fn revoke(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Response {
    let mut form = query;
    form.extend(parse_form(&body));
    if form.get("token") != Some(&shared.options.refresh_token) {
        return error("invalid_token");
    }
    let mut world = shared.world();
    world.tokens.revoked = true;
    world.tokens.forget_all();
    Json(json!({"status": "success"})).into_response()
}

fn error(code: &str) -> Response {
    Json(json!({"error": code})).into_response()
}

fn parse_form(body: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(body).into_owned().collect()
}

const SCOPE: &str = "ZohoCRM.modules.ALL ZohoCRM.settings.ALL ZohoCRM.coql.READ ZohoCRM.users.READ ZohoCRM.org.READ";
const TEN_MINUTES: i64 = 600;
