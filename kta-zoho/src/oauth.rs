//! The accounts server: tokens, and the signs that somebody else holds ours too.

use core::fmt;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kta_core::{Code, Error, FaultKind, Port, Result};
use kta_http::{
    Call, Credential, HttpClient, Origin, Request, Token, TokenSource, TransportPolicy, Url,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::config::{Credentials, Grant, ZohoConfig};
use crate::error::from_status;

/// Why somebody else seems to hold our credentials. The first sign stops every call of this
/// adapter until [`ZohoCrm::resume`](crate::ZohoCrm::resume): whoever sees one opens an incident
/// and has the refresh token revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sign {
    /// The accounts server names an API that is not ours: a token would go to a stranger.
    OtherDomain,
    /// Three access tokens in an hour were refused long before their time: the vendor keeps some
    /// thirty for one refresh token, and somebody pushes ours out, or revokes them.
    PushedOut,
    /// The refresh token was good, and is not any more: revoked, or pushed out by a twenty-first.
    Revoked,
    /// The ten tokens in ten minutes are spent, and not by us.
    SpentElsewhere,
}

impl Sign {
    /// The sign as a label, for the incident and the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OtherDomain => "other_domain",
            Self::PushedOut => "pushed_out",
            Self::Revoked => "revoked",
            Self::SpentElsewhere => "spent_elsewhere",
        }
    }
}

/// What was seen of our tokens so far.
#[derive(Debug, Default)]
pub(crate) struct Watch(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// How many tokens we were given: the first says that the refresh token was good.
    granted: u64,
    /// The last of them that was refused.
    last_refused: u64,
    /// When we asked for tokens, the last ten minutes.
    asked: VecDeque<Instant>,
    /// When tokens were refused before their time, the last hour.
    refused: VecDeque<Instant>,
    alarm: Option<Sign>,
}

impl Watch {
    pub(crate) fn alarm(&self) -> Option<Sign> {
        self.seen().alarm
    }

    pub(crate) fn raise(&self, sign: Sign) {
        self.seen().alarm.get_or_insert(sign);
    }

    /// Forgets everything but that the token was good.
    pub(crate) fn clear(&self) {
        let mut seen = self.seen();
        *seen = Seen {
            granted: seen.granted,
            last_refused: seen.last_refused,
            ..Seen::default()
        };
    }

    /// Nothing is sent while an alarm stands.
    pub(crate) fn admit(&self, call: Call) -> Result<()> {
        match self.alarm() {
            None => Ok(()),
            Some(sign) => Err(stands_still(call, sign)),
        }
    }

    /// The number of the token that is in use.
    pub(crate) fn token(&self) -> u64 {
        self.seen().granted
    }

    /// A token that should have been good was refused: to however many calls, it is one.
    pub(crate) fn refused_early(&self, token: u64) {
        let mut seen = self.seen();
        if token <= seen.last_refused {
            return;
        }
        seen.last_refused = token;
        seen.refused.push_back(Instant::now());
        while seen.refused.front().is_some_and(|at| at.elapsed() > HOUR) {
            seen.refused.pop_front();
        }
        if seen.refused.len() >= MOST_REFUSED {
            seen.alarm.get_or_insert(Sign::PushedOut);
        }
    }

    fn asked(&self) {
        let mut seen = self.seen();
        seen.asked.push_back(Instant::now());
        while seen.asked.front().is_some_and(|at| at.elapsed() > WINDOW) {
            seen.asked.pop_front();
        }
    }

    fn granted(&self) {
        self.seen().granted += 1;
    }

    /// What a refusal of the accounts server says about our credentials.
    fn judge(&self, answer: &NoToken) -> Option<Sign> {
        let mut seen = self.seen();
        let sign = match answer {
            NoToken::BadGrant if seen.granted > 0 => Sign::Revoked,
            // Ours included, ten are allowed; the one that was just refused is one more.
            NoToken::TooMany if seen.granted > 0 && seen.asked.len() <= TOKENS => {
                Sign::SpentElsewhere
            }
            _ => return None,
        };
        Some(*seen.alarm.get_or_insert(sign))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
        let mut body = accounts.ask().await?;
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
    async fn ask(&self) -> Result<Value> {
        let url = self.url(&["oauth", "v2", "token"])?;
        self.watch.asked();
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
            return Err(match self.watch.judge(&answer) {
                Some(sign) => stands_still(AUTHORIZE, sign),
                None => answer.into_error(status),
            });
        }
        self.admit_domain(&body)?;
        self.watch.granted();
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
    fn admit_domain(&self, body: &Value) -> Result<()> {
        let Some(domain) = body.get("api_domain").and_then(Value::as_str) else {
            return Ok(());
        };
        let off_list = || {
            self.watch.raise(Sign::OtherDomain);
            Error::from(Code::NetHost)
        };
        let named = Origin::parse(domain, Port::Crm).map_err(|_| off_list())?;
        if named == self.api || same_machine(named.as_str(), self.api.as_str()) {
            return Ok(());
        }
        Err(off_list())
    }

    fn url(&self, path: &[&str]) -> Result<Url> {
        self.accounts.url(path)
    }
}

#[async_trait]
impl TokenSource for Accounts {
    async fn fetch(&self) -> Result<Token> {
        self.watch.admit(AUTHORIZE)?;
        let mut body = self.ask().await?;
        // Very old accounts servers give milliseconds in `expires_in` and seconds beside it.
        let seconds = body
            .get("expires_in_sec")
            .or_else(|| body.get("expires_in"));
        let lives = seconds.and_then(Value::as_u64).unwrap_or(3_600).min(86_400);
        let token = match body["access_token"].take() {
            Value::String(token) => Zeroizing::new(token),
            _ => Zeroizing::default(),
        };
        Ok(Token::new(
            Credential::zoho(SecretString::from(token.as_str())),
            Duration::from_secs(lives),
        ))
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

/// The accounts server's ways to say no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoToken {
    BadClient,
    BadGrant,
    TooMany,
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

fn stands_still(call: Call, sign: Sign) -> Error {
    let why = match sign {
        Sign::OtherDomain => "stopped: the accounts server names another host",
        Sign::PushedOut => "stopped: access tokens end before their time",
        Sign::Revoked => "stopped: the refresh token was revoked",
        Sign::SpentElsewhere => "stopped: somebody else uses the refresh token",
    };
    call.fault(FaultKind::Misconfigured).because(why).into()
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

/// Ten access tokens for one refresh token in ten minutes, says the vendor.
pub(crate) const TOKENS: usize = 10;
pub(crate) const WINDOW: Duration = Duration::from_secs(600);
const HOUR: Duration = Duration::from_secs(3_600);
const MOST_REFUSED: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_never_was_good_is_a_misconfiguration_and_no_alarm() {
        let watch = Watch::default();
        watch.asked();
        assert_eq!(watch.judge(&NoToken::BadGrant), None);
        assert_eq!(watch.judge(&NoToken::TooMany), None);
        watch.granted();
        assert_eq!(watch.judge(&NoToken::BadClient), None);
        assert_eq!(watch.judge(&NoToken::BadGrant), Some(Sign::Revoked));
        // The first sign is the one that stands.
        assert_eq!(watch.judge(&NoToken::TooMany), Some(Sign::Revoked));
        assert!(watch.admit(AUTHORIZE).is_err());
        watch.clear();
        assert!(watch.admit(AUTHORIZE).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_that_we_spent_ourselves_are_no_alarm_and_others_are() {
        let watch = Watch::default();
        watch.granted();
        for _ in 0..=TOKENS {
            watch.asked();
        }
        assert_eq!(watch.judge(&NoToken::TooMany), None);
        tokio::time::advance(WINDOW + Duration::from_secs(1)).await;
        watch.asked();
        assert_eq!(watch.judge(&NoToken::TooMany), Some(Sign::SpentElsewhere));
    }

    #[tokio::test(start_paused = true)]
    async fn three_tokens_refused_in_an_hour_are_an_alarm_and_one_a_day_is_none() {
        let watch = Watch::default();
        for token in 1..=5 {
            watch.refused_early(token);
            tokio::time::advance(HOUR + Duration::from_secs(1)).await;
        }
        assert_eq!(watch.alarm(), None);
        for token in 6..8 {
            // Refused to forty calls at once it is one token.
            (0..40).for_each(|_| watch.refused_early(token));
        }
        assert_eq!(watch.alarm(), None);
        watch.refused_early(8);
        assert_eq!(watch.alarm(), Some(Sign::PushedOut));
    }
}
