//! Where the CRM is, as whom we come, and which fields are mapped.

use core::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::TimeDelta;
use kta_core::id::Digest;
use kta_core::{FaultKind, Port, Result};
use kta_http::{Limits, Origin, Roots, SealedFile, TokenCache};
use secrecy::{ExposeSecret as _, SecretString};

use crate::map::FieldMap;
use crate::oauth::{AUTHORIZE, Accounts};
use crate::watch::Watch;

/// How to reach one Zoho organisation. Adapters over clones of one configuration share its
/// token: the vendor gives ten in ten minutes, however many workers there are.
#[derive(Clone)]
pub struct ZohoConfig {
    pub(crate) api: Origin,
    pub(crate) accounts: Origin,
    pub(crate) credentials: Credentials,
    pub(crate) map: FieldMap,
    pub(crate) waits: (Duration, Duration),
    pub(crate) limits: Limits,
    pub(crate) roots: Roots,
    pub(crate) backup_window: TimeDelta,
    pub(crate) credits: u64,
    pub(crate) concurrency: usize,
    /// Shared by every clone, so that all workers of a process live on one token.
    pub(crate) tokens: Arc<OnceLock<TokenCache>>,
    pub(crate) watch: Arc<Watch>,
}

impl ZohoConfig {
    /// The organisation of `credentials` in a data centre.
    ///
    /// # Errors
    /// None for the data centres named here; the type leaves room for the table to be wrong.
    pub fn data_centre(data_centre: DataCentre, credentials: Credentials) -> Result<Self> {
        let (api, accounts) = data_centre.origins();
        Self::at(api, accounts, credentials)
    }

    /// The same at these two addresses: scheme, host and port, no path.
    ///
    /// # Errors
    /// As [`Origin::parse`]: `NET-PLAIN` for `http` to anything but this machine itself,
    /// `Misconfigured` for what is no such address.
    pub fn at(api: &str, accounts: &str, credentials: Credentials) -> Result<Self> {
        Ok(Self {
            api: Origin::parse(api, Port::Crm)?,
            accounts: Origin::parse(accounts, Port::Crm)?,
            credentials,
            map: FieldMap::person(),
            waits: (Duration::from_millis(500), Duration::from_secs(30)),
            limits: Limits::default(),
            roots: Roots::System,
            backup_window: TimeDelta::days(90),
            credits: 50_000,
            concurrency: 5,
            tokens: Arc::default(),
            watch: Arc::default(),
        })
    }

    /// The same with this field map instead of [`FieldMap::person`].
    #[must_use]
    pub fn mapping(mut self, map: FieldMap) -> Self {
        self.map = map;
        self
    }

    /// The same with waits between attempts that begin around `first` and never exceed
    /// `longest`.
    #[must_use]
    pub fn waits(mut self, first: Duration, longest: Duration) -> Self {
        self.waits = (first, longest);
        self
    }

    /// The same with these limits of the transport.
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same, trusting these certificate authorities.
    #[must_use]
    pub fn trusting(mut self, roots: Roots) -> Self {
        self.roots = roots;
        self
    }

    /// The same, spending at most so many of the organisation's API credits in 24 hours: 50 000
    /// unless told, what the smallest paid edition has. An initial load takes some hundred.
    #[must_use]
    pub fn credits(mut self, credits: u64) -> Self {
        self.credits = credits;
        self
    }

    /// The same with at most so many calls at a time (at least one): five unless told, what the
    /// smallest edition admits.
    #[must_use]
    pub fn concurrency(mut self, calls: usize) -> Self {
        self.concurrency = calls.clamp(1, 25);
        self
    }

    /// The same, sharing one token with every process of this machine that is given the same file
    /// and the same credentials: one of them renews it, and the others take it from there. The
    /// vendor's ten in ten minutes are counted over all of them, and over restarts; a
    /// [`Sign`](crate::Sign) that one sees stops all, until one is told to
    /// [resume](crate::ZohoCrm::resume). Other credentials need another file.
    ///
    /// Set the limits of the transport before: they say how long a turn is waited for.
    ///
    /// # Errors
    /// `Misconfigured` for credentials that have to be [exchanged](Self::exchange) first.
    pub fn sharing(self, file: SealedFile) -> Result<Self> {
        let Some(binding) = self.credentials.binding(&self.accounts) else {
            return Err(AUTHORIZE
                .fault(FaultKind::Misconfigured)
                .because("the code has to be exchanged first")
                .into());
        };
        let watch = Watch::sharing(file.bound(binding.as_bytes()), self.limits.total);
        Ok(Self {
            tokens: Arc::default(),
            watch: Arc::new(watch),
            ..self
        })
    }

    /// Exchanges the code of [`Credentials::grant_code`] for a refresh token: gives the
    /// configuration that works with it, and the token itself for the firm's custodian of
    /// secrets. It can be done once.
    ///
    /// # Errors
    /// `Misconfigured` when these credentials are no code, or the accounts server does not take
    /// it; `NET-HOST` when the answer names another API; faults of the transport.
    pub async fn exchange(self) -> Result<(Self, SecretString)> {
        let Grant::Code { .. } = self.credentials.grant else {
            return Err(AUTHORIZE
                .fault(FaultKind::Misconfigured)
                .because("these credentials are no code to exchange")
                .into());
        };
        let token = Accounts::exchange(&self).await?;
        let config = Self {
            credentials: Credentials {
                grant: Grant::Refresh(token.clone()),
                ..self.credentials
            },
            ..self
        };
        Ok((config, token))
    }

    /// The same with this time for which the vendor's backups are taken to hold what was
    /// deleted. 90 days unless told: the vendor's published retention text says about three
    /// months.
    #[must_use]
    pub fn backup_window(mut self, window: TimeDelta) -> Self {
        self.backup_window = window;
        self
    }
}

impl fmt::Debug for ZohoConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZohoConfig")
            .field("api", &self.api.as_str())
            .field("accounts", &self.accounts.as_str())
            .finish_non_exhaustive()
    }
}

/// The OAuth client, and by which grant it gets its tokens.
#[derive(Clone)]
pub struct Credentials {
    pub(crate) client_id: String,
    pub(crate) client_secret: SecretString,
    pub(crate) grant: Grant,
}

#[derive(Clone)]
pub(crate) enum Grant {
    Client {
        scope: String,
        organisation: String,
    },
    Code {
        code: SecretString,
        redirect: Option<String>,
    },
    Refresh(SecretString),
}

impl Credentials {
    /// A client with its refresh token: the usual form of a service.
    #[must_use]
    pub fn new(
        client_id: String,
        client_secret: SecretString,
        refresh_token: SecretString,
    ) -> Self {
        Self {
            client_id,
            client_secret,
            grant: Grant::Refresh(refresh_token),
        }
    }

    /// A client with the code that the vendor's console gives a "Self Client", or that came back
    /// to `redirect`. It is good once: see [`ZohoConfig::exchange`].
    #[must_use]
    pub fn grant_code(
        client_id: String,
        client_secret: SecretString,
        code: SecretString,
        redirect: Option<String>,
    ) -> Self {
        Self {
            client_id,
            client_secret,
            grant: Grant::Code { code, redirect },
        }
    }

    /// A client that gets tokens for itself, where the vendor offers that, with these scopes for
    /// this organisation (`ZohoCRM.` and its number).
    #[must_use]
    pub fn client(
        client_id: String,
        client_secret: SecretString,
        scopes: &[&str],
        organisation: String,
    ) -> Self {
        Self {
            client_id,
            client_secret,
            grant: Grant::Client {
                scope: scopes.join(","),
                organisation,
            },
        }
    }
}

impl Credentials {
    /// What tokens of these credentials are bound to; `None` for a code, which is good once.
    fn binding(&self, accounts: &Origin) -> Option<Digest> {
        let (grant, more) = match &self.grant {
            Grant::Client {
                scope,
                organisation,
            } => (scope.as_str(), organisation.as_str()),
            Grant::Refresh(token) => (token.expose_secret(), ""),
            Grant::Code { .. } => return None,
        };
        let mut bytes = zeroize::Zeroizing::new(Vec::new());
        for part in [accounts.as_str(), &self.client_id, grant, more] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        Some(Digest::of(&bytes))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// A data centre of the vendor. An organisation lives in exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DataCentre {
    /// Australia.
    Australia,
    /// Canada.
    Canada,
    /// China.
    China,
    /// European Union.
    Europe,
    /// India.
    India,
    /// Japan.
    Japan,
    /// Saudi Arabia.
    SaudiArabia,
    /// United Kingdom. In none of the vendor's documents at hand; from its help pages.
    UnitedKingdom,
    /// United States.
    UnitedStates,
}

impl DataCentre {
    /// API and accounts server.
    const fn origins(self) -> (&'static str, &'static str) {
        match self {
            Self::Australia => (
                "https://www.zohoapis.com.au",
                "https://accounts.zoho.com.au",
            ),
            Self::Canada => ("https://www.zohoapis.ca", "https://accounts.zohocloud.ca"),
            Self::China => (
                "https://www.zohoapis.com.cn",
                "https://accounts.zoho.com.cn",
            ),
            Self::Europe => ("https://www.zohoapis.eu", "https://accounts.zoho.eu"),
            Self::India => ("https://www.zohoapis.in", "https://accounts.zoho.in"),
            Self::Japan => ("https://www.zohoapis.jp", "https://accounts.zoho.jp"),
            Self::SaudiArabia => ("https://www.zohoapis.sa", "https://accounts.zoho.sa"),
            Self::UnitedKingdom => ("https://www.zohoapis.uk", "https://accounts.zoho.uk"),
            Self::UnitedStates => ("https://www.zohoapis.com", "https://accounts.zoho.com"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials::new("id".into(), "canary-secret".into(), "canary-refresh".into())
    }

    #[test]
    fn every_data_centre_has_two_encrypted_addresses() {
        use DataCentre::*;
        for centre in [
            Australia,
            Canada,
            China,
            Europe,
            India,
            Japan,
            SaudiArabia,
            UnitedKingdom,
            UnitedStates,
        ] {
            let config = ZohoConfig::data_centre(centre, credentials()).unwrap();
            assert!(config.api.as_str().starts_with("https://www.zohoapis."));
            assert!(
                config
                    .accounts
                    .as_str()
                    .starts_with("https://accounts.zoho")
            );
        }
    }

    #[test]
    fn plain_http_is_refused_except_to_this_machine_and_no_secret_is_shown() {
        assert!(
            ZohoConfig::at(
                "http://api.example.com",
                "https://a.example.com",
                credentials()
            )
            .is_err()
        );
        assert!(
            ZohoConfig::at(
                "https://api.example.com",
                "http://a.example.com",
                credentials()
            )
            .is_err()
        );
        let local =
            ZohoConfig::at("http://127.0.0.1:1", "http://localhost:2", credentials()).unwrap();
        assert!(!format!("{local:?} {:?}", local.credentials).contains("canary"));
    }
}
