//! The accounts server: tokens by three grants, one for all who share them.

use core::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kta_core::{Code, Error, FaultKind, Port, Result};
use kta_http::{Call, HttpClient, Origin, Request, Token, TokenSource, TransportPolicy, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::config::{Credentials, Grant, ZohoConfig};
use crate::error::from_status;
use crate::watch::{NoToken, Sign, Turn, WINDOW, Watch};

/// The accounts server. It fails with status 200 too, so only the presence of a token counts.
pub(crate) struct Accounts {
    http: HttpClient,
    accounts: Origin,
    credentials: Credentials,
    api: Origin,
    watch: Arc<Watch>,
}

impl Accounts {
    pub(crate) fn new(config: &ZohoConfig, http: HttpClient, watch: Arc<Watch>) -> Self {
        Self {
            http,
            accounts: config.accounts.clone(),
            credentials: config.credentials.clone(),
            api: config.api.clone(),
            watch,
        }
    }

    /// Exchanges the code of a Self Client, once, for a refresh token.
    pub(crate) async fn exchange(config: &ZohoConfig) -> Result<SecretString> {
        let http = client_of(config)?;
        let accounts = Self::new(config, http, Arc::default());
        let mut body = accounts.ask(&mut accounts.watch.turn().await?).await?;
        match body.get_mut("refresh_token").map(Value::take) {
            Some(Value::String(token)) => Ok(token.into()),
            _ => Err(AUTHORIZE
                .fault(FaultKind::Misconfigured)
                .because("the code gives no refresh token: ask for offline access")
                .into()),
        }
    }

    /// Makes the refresh token and every token from it worthless.
    pub(crate) async fn revoke(&self) -> Result<()> {
        let Grant::Refresh(token) = &self.credentials.grant else {
            return Err(REVOKE
                .fault(FaultKind::Unsupported)
                .because("there is no refresh token to revoke")
                .into());
        };
        let url = self.url(&["oauth", "v2", "token", "revoke"])?;
        let request = Request::post(REVOKE, url)
            .repeatable()
            .form(&[("token", token.expose_secret())]);
        let reply = self.http.send(request).await?;
        let status = reply.status();
        let body: Value = match reply.json().await {
            Ok(body) => body,
            Err(_) if status >= 400 => return Err(from_status(REVOKE, status)),
            Err(error) => return Err(error),
        };
        // Revoking what is revoked already is no failure; the vendor calls it an invalid token.
        let done = body["status"] == "success"
            || body["error"].as_str().is_some_and(|error| {
                matches!(error, "invalid_token" | "invalid_code" | "already_revoked")
            });
        done.then_some(())
            .ok_or_else(|| from_status(REVOKE, status))
    }

    /// One answer with an access token in it; what is no such answer is an error.
    async fn ask(&self, turn: &mut Turn<'_>) -> Result<Value> {
        let url = self.url(&["oauth", "v2", "token"])?;
        turn.ask()?;
        let request = Request::post(AUTHORIZE, url).repeatable();
        let reply = self.http.send(self.form(request)?).await?;
        let status = reply.status();
        let body: Value = match reply.json().await {
            Ok(body) => body,
            Err(_) if status >= 400 => return Err(from_status(AUTHORIZE, status)),
            Err(error) => return Err(error),
        };
        if !body["access_token"].is_string() {
            let Some(answer) = NoToken::read(&body) else {
                return Err(from_status(AUTHORIZE, status));
            };
            return Err(match turn.judge(answer)? {
                Some(sign) => sign.stops(AUTHORIZE),
                None => answer.into_error(status),
            });
        }
        self.admit_domain(&body, turn)?;
        Ok(body)
    }

    fn form(&self, request: Request) -> Result<Request> {
        let credentials = &self.credentials;
        let secret = credentials.client_secret.expose_secret();
        let client = [
            ("client_id", credentials.client_id.as_str()),
            ("client_secret", secret),
        ];
        let mut pairs = client.to_vec();
        match &credentials.grant {
            Grant::Refresh(token) => {
                pairs.push(("grant_type", "refresh_token"));
                pairs.push(("refresh_token", token.expose_secret()));
            }
            Grant::Client {
                scope,
                organisation,
            } => {
                pairs.push(("grant_type", "client_credentials"));
                pairs.push(("scope", scope));
                pairs.push(("soid", organisation));
            }
            Grant::Code { code, redirect } => {
                pairs.push(("grant_type", "authorization_code"));
                pairs.push(("code", code.expose_secret()));
                if let Some(redirect) = redirect {
                    pairs.push(("redirect_uri", redirect));
                }
            }
        }
        Ok(request.form(&pairs))
    }

    /// A token is for one API. An answer that names another one does not move us there.
    fn admit_domain(&self, body: &Value, turn: &mut Turn<'_>) -> Result<()> {
        let Some(domain) = body.get("api_domain").and_then(Value::as_str) else {
            return Ok(());
        };
        let is_ours = Origin::parse(domain, Port::Crm).is_ok_and(|named| {
            named == self.api || same_machine(named.as_str(), self.api.as_str())
        });
        if is_ours {
            return Ok(());
        }
        turn.raise(Sign::OtherDomain)?;
        Err(Code::NetHost.into())
    }

    fn url(&self, path: &[&str]) -> Result<Url> {
        self.accounts.url(path)
    }
}

#[async_trait]
impl TokenSource for Accounts {
    async fn fetch(&self) -> Result<Token> {
        let mut turn = self.watch.turn().await?;
        // While we waited for the turn another process may have got one.
        if let Some(token) = turn.token()? {
            return Ok(token);
        }
        let mut body = self.ask(&mut turn).await?;
        // Very old accounts servers give milliseconds in `expires_in` and seconds beside it.
        let seconds = body
            .get("expires_in_sec")
            .or_else(|| body.get("expires_in"));
        let lives = seconds.and_then(Value::as_u64).unwrap_or(3_600).min(86_400);
        let secret = match body["access_token"].take() {
            Value::String(token) => Zeroizing::new(token),
            _ => Zeroizing::default(),
        };
        let secret = SecretString::from(secret.as_str());
        turn.granted(&secret, Duration::from_secs(lives))
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts")
            .field("host", &self.accounts.as_str())
            .finish_non_exhaustive()
    }
}

/// The transport to the two hosts of a configuration.
pub(crate) fn client_of(config: &ZohoConfig) -> Result<HttpClient> {
    let policy = TransportPolicy::to([config.api.clone(), config.accounts.clone()])
        .within(config.limits)
        .trusting(config.roots.clone());
    HttpClient::new(policy, Port::Crm)
}

impl NoToken {
    fn read(body: &Value) -> Option<Self> {
        match body.get("error").and_then(Value::as_str)? {
            "Access Denied" | "access_denied" => Some(Self::TooMany),
            "invalid_client" | "invalid_client_secret" => Some(Self::BadClient),
            _ => Some(Self::BadGrant),
        }
    }

    fn into_error(self, status: u16) -> Error {
        let fault = match self {
            Self::TooMany => AUTHORIZE
                .fault(FaultKind::Throttled {
                    retry_after: Some(WINDOW),
                })
                .because("too many tokens"),
            Self::BadClient => AUTHORIZE
                .fault(FaultKind::Misconfigured)
                .because("the OAuth client is not known"),
            Self::BadGrant => AUTHORIZE
                .fault(FaultKind::Misconfigured)
                .because("the refresh token is not good"),
        };
        fault.with_status(status).into()
    }
}

/// Two names of this machine with one port: `localhost` and the loopback addresses. Both were
/// parsed as origins, so plain `http` already means this machine.
fn same_machine(left: &str, right: &str) -> bool {
    let port = |text: &str| {
        let url = Url::parse(text).ok()?;
        if url.scheme() == "http" {
            url.port_or_known_default()
        } else {
            None
        }
    };
    port(left).is_some() && port(left) == port(right)
}

/// What token requests are made for.
pub(crate) const AUTHORIZE: Call = Call::new(Port::Crm, "authorize");
const REVOKE: Call = Call::new(Port::Crm, "revoke");
