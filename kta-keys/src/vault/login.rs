//! As whom the adapter speaks to Vault: a token, or a role that logs in for one.

use core::fmt;
use std::time::Duration;

use async_trait::async_trait;
use kta_core::{FaultKind, Port, Result};
use kta_http::{
    Call, Credential, HttpClient, Origin, Request, Token, TokenCache, TokenSource, Url,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::remote::{self, Answer};

/// How the adapter proves who it is.
#[derive(Clone)]
pub struct VaultAuth(Proof);

#[derive(Clone)]
enum Proof {
    AppRole {
        mount: String,
        role: String,
        secret: SecretString,
    },
    Token(SecretString),
}

impl VaultAuth {
    /// A token that somebody else keeps alive (an agent). When it ends, so does the custodian.
    #[must_use]
    pub fn token(token: SecretString) -> Self {
        Self(Proof::Token(token))
    }

    /// A role of the AppRole method mounted at `approle`, which logs in anew before its token
    /// ends and when it is refused.
    #[must_use]
    pub fn app_role(role: impl Into<String>, secret: SecretString) -> Self {
        let (mount, role) = ("approle".to_owned(), role.into());
        Self(Proof::AppRole {
            mount,
            role,
            secret,
        })
    }

    /// Whether there is another token to be had.
    pub(super) const fn renews(&self) -> bool {
        matches!(self.0, Proof::AppRole { .. })
    }
}

impl fmt::Debug for VaultAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Proof::AppRole { .. } => "VaultAuth(role ..)",
            Proof::Token(_) => "VaultAuth(token ..)",
        })
    }
}

pub(super) fn tokens(
    auth: &VaultAuth,
    http: &HttpClient,
    address: &Origin,
    namespace: &Option<String>,
) -> Result<TokenCache> {
    Ok(match &auth.0 {
        Proof::Token(token) => TokenCache::new(Given(token.clone()), CALL),
        Proof::AppRole {
            mount,
            role,
            secret,
        } => TokenCache::new(
            AppRole {
                http: http.clone(),
                url: address.url(["v1", "auth", mount, "login"])?,
                namespace: namespace.clone(),
                role: role.clone(),
                secret: secret.clone(),
            },
            CALL,
        ),
    })
}

struct Given(SecretString);

#[async_trait]
impl TokenSource for Given {
    async fn fetch(&self) -> Result<Token> {
        let credential = Credential::bearer(self.0.clone());
        Ok(Token::new(credential, LONGEST))
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given(..)")
    }
}

struct AppRole {
    http: HttpClient,
    url: Url,
    namespace: Option<String>,
    role: String,
    secret: SecretString,
}

#[async_trait]
impl TokenSource for AppRole {
    async fn fetch(&self) -> Result<Token> {
        let body = remote::body(&Login {
            role_id: &self.role,
            secret_id: self.secret.expose_secret(),
        });
        let mut request = Request::post(CALL, self.url.clone())
            .header("x-vault-request", "true")
            .bytes(body.to_vec(), "application/json")
            .repeatable();
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        let reply = self.http.send(request).await?;
        let status = reply.status();
        if matches!(status, 400 | 403 | 404) {
            let fault = CALL.fault(FaultKind::Misconfigured).with_status(status);
            return Err(fault.because("the vault does not admit this role").into());
        }
        let answer = Answer::of(CALL, reply.success()?).await?;
        let granted: Granted = answer.json()?;
        let lives = Duration::from_secs(granted.auth.lease_duration).min(LONGEST);
        let credential = Credential::bearer(granted.auth.client_token.into());
        Ok(Token::new(credential, lives))
    }
}

impl fmt::Debug for AppRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppRole(..)")
    }
}

#[derive(Serialize)]
struct Login<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

#[derive(Deserialize)]
struct Granted {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: String,
    lease_duration: u64,
}

const CALL: Call = Call::new(Port::Kms, "authorize");
/// No token is believed to live longer than a day.
const LONGEST: Duration = Duration::from_secs(86_400);
