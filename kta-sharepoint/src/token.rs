//! Client credentials: by secret, or by an assertion signed with the application's certificate.

use crate::config::{AppCredential, Config, Proof};
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kta_core::id::Digest;
use kta_core::time::{Clock, Entropy};
use kta_core::{FaultKind, Port, Result};
use kta_http::{Call, Credential, HttpClient, Request, Token, TokenSource, Url};
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Asks the login host for tokens of one resource.
pub(crate) struct ClientCredentials {
    http: HttpClient,
    url: Url,
    client_id: String,
    credential: AppCredential,
    scope: String,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl ClientCredentials {
    pub(crate) fn new(
        http: HttpClient,
        config: &Config,
        scope: String,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let url = config
            .login
            .url([config.tenant.as_str(), "oauth2", "v2.0", "token"])?;
        let (client_id, credential) = (config.client_id.clone(), config.credential.clone());
        Ok(Self {
            http,
            url,
            client_id,
            credential,
            scope,
            clock,
            entropy,
        })
    }

    /// The signed statement that stands in for a secret (RFC 7523), in the form MSAL gives it.
    fn assertion(&self, key: &[u8], certificate: &[u8]) -> Result<String> {
        let unusable = || {
            CALL.fault(FaultKind::Misconfigured)
                .because("not an RSA key in PKCS #8")
        };
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
        let key = any_supported_type(&key).map_err(|_| unusable())?;
        let signer = key
            .choose_scheme(&[SignatureScheme::RSA_PSS_SHA256])
            .ok_or_else(unusable)?;
        let now = self.clock.now().timestamp();
        let mut unique = [0; 16];
        self.entropy.fill(&mut unique);
        let thumbprint = URL_SAFE_NO_PAD.encode(Digest::of(certificate).as_bytes());
        let header = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint });
        let claims = json!({
            "aud": self.url.as_str(),
            "iss": self.client_id,
            "sub": self.client_id,
            "jti": Digest::of(&unique).to_string(),
            "iat": now,
            "nbf": now,
            "exp": now + ASSERTION_SECONDS,
        });
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = signer.sign(message.as_bytes()).map_err(|_| unusable())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[async_trait]
impl TokenSource for ClientCredentials {
    async fn fetch(&self) -> Result<Token> {
        let mut form = vec![
            ("client_id", self.client_id.as_str()),
            ("grant_type", "client_credentials"),
            ("scope", self.scope.as_str()),
        ];
        let assertion;
        match &self.credential.0 {
            Proof::Secret(secret) => form.push(("client_secret", secret.expose_secret())),
            Proof::Certificate { key, certificate } => {
                assertion = SecretString::from(self.assertion(key.expose_secret(), certificate)?);
                form.push(("client_assertion_type", ASSERTION_TYPE));
                form.push(("client_assertion", assertion.expose_secret()));
            }
        }
        let reply = self
            .http
            .send(Request::post(CALL, self.url.clone()).form(&form).reads())
            .await?;
        let status = reply.status();
        if (400..500).contains(&status) && !matches!(status, 408 | 429) {
            let fault = CALL.fault(FaultKind::Misconfigured).with_status(status);
            return Err(fault
                .because("the login host refuses this application")
                .into());
        }
        let granted: Granted = reply.success()?.json().await?;
        let lives = Duration::from_secs(granted.expires_in.min(LONGEST_SECONDS));
        Ok(Token::new(
            Credential::bearer(granted.access_token.into()),
            lives,
        ))
    }
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

pub(crate) const CALL: Call = Call::new(Port::Documents, "authorize");
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ASSERTION_SECONDS: i64 = 600;
/// No token is believed to live longer than a day.
const LONGEST_SECONDS: u64 = 86_400;
