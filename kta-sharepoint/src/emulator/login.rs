//! Microsoft identity: client credentials by secret or by certificate, and what MSAL looks up first.

use super::clock::stamp;
use super::reply::{Call, Refused, Reply};
use super::state::{Audience, State, Token};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use serde_json::{Value, json};

/// Serves one request to the login host.
pub(crate) fn turn(state: &mut State, call: &Call) -> Result<Reply, Refused> {
    let parts: Vec<&str> = call
        .path
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    match (call.method.as_str(), parts.as_slice()) {
        ("GET", ["common", "discovery", "instance"]) => Ok(instance(state, call)),
        ("GET", [tenant, "v2.0", ".well-known", "openid-configuration"]) => {
            if *tenant != state.settings.tenant {
                return Ok(oauth(
                    state,
                    400,
                    "invalid_tenant",
                    90_002,
                    "Tenant not found.",
                ));
            }
            Ok(configuration(state, call))
        }
        ("GET", [_, "discovery", "v2.0", "keys"]) => {
            Ok(Reply::json(200, super::rich::key_set(state)))
        }
        ("POST", [tenant, "oauth2", "v2.0", "token"]) => Ok(token(state, tenant, call)),
        _ => Err(Refused::not_found()),
    }
}

/// The caller's own view of this host. MSAL refuses any authority that is not https; the login port
/// answers TLS as well as plain http, so the https addresses given here are true.
fn base(call: &Call) -> String {
    format!("https://{}", call.header("host").unwrap_or("localhost"))
}

fn configuration(state: &State, call: &Call) -> Reply {
    let (base, tenant) = (base(call), &state.settings.tenant);
    Reply::json(
        200,
        json!({
            "issuer": format!("{base}/{tenant}/v2.0"),
            "authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/authorize"),
            "token_endpoint": format!("{base}/{tenant}/oauth2/v2.0/token"),
            "jwks_uri": format!("{base}/{tenant}/discovery/v2.0/keys"),
            "token_endpoint_auth_methods_supported":
                ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "tenant_region_scope": "EU",
            "cloud_instance_name": "microsoftonline.com",
        }),
    )
}

fn instance(state: &State, call: &Call) -> Reply {
    let host = call.header("host").unwrap_or("localhost");
    Reply::json(
        200,
        json!({
            "tenant_discovery_endpoint": format!(
                "{}/{}/v2.0/.well-known/openid-configuration", base(call), state.settings.tenant),
            "api-version": "1.1",
            "metadata": [{
                "preferred_network": host, "preferred_cache": host, "aliases": [host],
            }],
        }),
    )
}

fn token(state: &mut State, tenant: &str, call: &Call) -> Reply {
    let form = super::serve::form(&String::from_utf8_lossy(&call.body));
    let field = |name: &str| {
        form.iter()
            .find(|(key, _)| key == name)
            .map(|(_, v)| v.as_str())
    };
    if tenant != state.settings.tenant {
        return oauth(state, 400, "invalid_request", 90_002, "Tenant not found.");
    }
    if field("grant_type") != Some("client_credentials") {
        return oauth(
            state,
            400,
            "unsupported_grant_type",
            70_003,
            "Grant type not supported.",
        );
    }
    let known = |id: &str| id == state.settings.client_id || state.applications.contains(id);
    if !field("client_id").is_some_and(known) {
        return oauth(
            state,
            400,
            "unauthorized_client",
            700_016,
            "Application not found.",
        );
    }
    let by_certificate = match (field("client_assertion"), field("client_secret")) {
        (Some(assertion), _) => {
            let kind = field("client_assertion_type");
            if kind != Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
                || !assertion_holds(state, tenant, assertion)
            {
                return oauth(
                    state,
                    401,
                    "invalid_client",
                    700_027,
                    "The assertion is not valid.",
                );
            }
            true
        }
        (None, Some(secret)) if secret == state.settings.client_secret => false,
        (None, Some(_)) => {
            return oauth(
                state,
                401,
                "invalid_client",
                7_000_215,
                "Invalid client secret.",
            );
        }
        (None, None) => {
            return oauth(
                state,
                401,
                "invalid_client",
                7_000_216,
                "A credential is required.",
            );
        }
    };
    let Some(audience) = field("scope").and_then(|scope| audience(state, scope)) else {
        return oauth(
            state,
            400,
            "invalid_scope",
            70_011,
            "The scope is not valid.",
        );
    };
    let seconds = state.settings.token_seconds;
    let client = field("client_id").unwrap_or_default();
    let word = issue(state, audience, client, by_certificate);
    Reply::json(
        200,
        json!({
            "token_type": "Bearer",
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": word,
        }),
    )
}

/// Makes an access token.
pub(crate) fn issue(
    state: &mut State,
    audience: Audience,
    client: &str,
    by_certificate: bool,
) -> String {
    let word = state.ids.secret("emulated.");
    let expires = state.now() + TimeDelta::seconds(state.settings.token_seconds);
    state.tokens.insert(
        word.clone(),
        Token {
            audience,
            client: client.to_owned(),
            expires,
            by_certificate,
        },
    );
    word
}

/// Checks the bearer token of a request for one of the two resources.
/// Gives the application that asks.
pub(crate) fn bearer(state: &State, call: &Call, audience: Audience) -> Result<String, Refused> {
    let refuse = |message: &str| Refused::new(401, "InvalidAuthenticationToken", message);
    let Some(header) = call.header("authorization") else {
        return Err(refuse("Access token is empty."));
    };
    let word = header
        .strip_prefix("Bearer ")
        .ok_or_else(|| refuse("Not a bearer token."))?;
    let token = state
        .tokens
        .get(word)
        .ok_or_else(|| refuse("Access token validation failure."))?;
    if token.expires <= state.now() {
        return Err(refuse("Lifetime validation failed, the token is expired."));
    }
    if token.audience != audience {
        return Err(refuse("Access token validation failure. Invalid audience."));
    }
    if audience == Audience::SharePoint
        && state.settings.certificate_only_rest
        && !token.by_certificate
    {
        return Err(refuse("Unsupported app only token."));
    }
    Ok(token.client.clone())
}

/// `https://{resource}/.default`. A loopback host without a port means Graph: the SDK drops ports.
fn audience(state: &State, scope: &str) -> Option<Audience> {
    let mut scopes = scope
        .split(' ')
        .filter(|s| !matches!(*s, "openid" | "profile" | "offline_access"));
    let resource = scopes
        .next()?
        .strip_suffix("/.default")?
        .trim_end_matches('/');
    let host = resource
        .split_once("://")
        .map_or(resource, |(_, host)| host);
    let host_of = |url: &str| {
        url.split_once("://")
            .map_or(String::new(), |(_, h)| h.to_owned())
    };
    if host == host_of(&state.settings.sharepoint) || host.ends_with(".sharepoint.com") {
        return Some(Audience::SharePoint);
    }
    let graph = host == host_of(&state.settings.graph)
        || host.starts_with("graph.microsoft.")
        || matches!(host, "127.0.0.1" | "localhost")
        || host == "00000003-0000-0000-c000-000000000000";
    graph.then_some(Audience::Graph)
}

/// The form of a client assertion: algorithm, thumbprint, audience, issuer, lifetime.
///
/// The signature is verified once a certificate is registered; before that any is taken.
fn assertion_holds(state: &State, tenant: &str, assertion: &str) -> bool {
    let parts: Vec<&str> = assertion.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else {
        return false;
    };
    let read = |part: &str| -> Option<Value> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
    };
    let (Some(header), Some(claims)) = (read(header), read(claims)) else {
        return false;
    };
    let signed = URL_SAFE_NO_PAD
        .decode(signature)
        .is_ok_and(|bytes| bytes.len() >= 256);
    let algorithm = matches!(header["alg"].as_str(), Some("RS256" | "PS256"));
    let thumbprint = header["x5t#S256"].is_string() || header["x5t"].is_string();
    let id = claims["iss"].as_str().unwrap_or_default();
    let known = id == state.settings.client_id || state.applications.contains(id);
    let party = known && claims["iss"].as_str() == Some(id) && claims["sub"].as_str() == Some(id);
    let ending = format!("/{tenant}/oauth2/v2.0/token");
    let audience = claims["aud"]
        .as_str()
        .is_some_and(|aud| aud.ends_with(&ending));
    let now = state.now().timestamp() as f64;
    let alive = claims["exp"]
        .as_f64()
        .is_some_and(|exp| exp > now && exp < now + 86_400.0);
    let unique = claims["jti"].as_str().is_some_and(|jti| !jti.is_empty());
    let verified = state.certificates.is_empty()
        || super::rich::signed_by(&state.certificates, assertion, header["alg"].as_str());
    verified && signed && algorithm && thumbprint && party && audience && alive && unique
}

fn oauth(state: &State, status: u16, error: &str, code: u32, message: &str) -> Reply {
    Reply::json(
        status,
        json!({
            "error": error,
            "error_description": format!("AADSTS{code}: {message}"),
            "error_codes": [code],
            "timestamp": stamp(state.now()),
            "trace_id": "00000000-0000-0000-0000-000000000000",
            "correlation_id": "00000000-0000-0000-0000-000000000000",
        }),
    )
}
