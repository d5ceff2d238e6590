//! Microsoft identity: client credentials for Key Vault.

use core::fmt;
use std::time::Duration;

use async_trait::async_trait;
use kta_core::{FaultKind, Port, Result};
use kta_http::{Call, Credential, HttpClient, Request, Token, TokenSource, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::remote::Answer;

/// Asks the login host for tokens of Key Vault.
pub(super) struct ClientCredentials {
    pub(super) http: HttpClient,
    pub(super) url: Url,
    pub(super) client_id: String,
    pub(super) secret: SecretString,
    pub(super) scope: String,
}

#[async_trait]
impl TokenSource for ClientCredentials {
    async fn fetch(&self) -> Result<Token> {
        let form = [
            ("client_id", self.client_id.as_str()),
            ("grant_type", "client_credentials"),
            ("scope", self.scope.as_str()),
            ("client_secret", self.secret.expose_secret()),
        ];
        let request = Request::post(CALL, self.url.clone())
            .form(&form)
            .repeatable();
        let reply = self.http.send(request).await?;
        let status = reply.status();
        if (400..500).contains(&status) && !matches!(status, 408 | 429) {
            let fault = CALL.fault(FaultKind::Misconfigured).with_status(status);
            return Err(fault
                .because("the login host refuses this application")
                .into());
        }
        let answer = Answer::of(CALL, reply.success()?).await?;
        let granted: Granted = answer.json()?;
        let lives = Duration::from_secs(granted.expires_in.min(LONGEST_SECONDS));
        let credential = Credential::bearer(granted.access_token.into());
        Ok(Token::new(credential, lives))
    }
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCredentials(..)")
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

pub(super) const CALL: Call = Call::new(Port::Kms, "authorize");
/// No token is believed to live longer than a day.
const LONGEST_SECONDS: u64 = 86_400;
