//! Which vault, and as whom.

use core::fmt;
use std::time::Duration;

use kta_core::{Port, Result};
use kta_http::Origin;
use secrecy::SecretString;

use crate::remote::{Connection, Prefix};

/// Which vault, and as whom.
///
/// Key permissions needed: `create`, `get`, `list`, `delete`, `wrapKey`, `unwrapKey`, and
/// `purge` where the adapter shall. Give it no `backup`, `recover` or `import`.
#[derive(Clone)]
pub struct AzureConfig {
    pub(super) vault: Origin,
    pub(super) login: Origin,
    pub(super) tenant: String,
    pub(super) client_id: String,
    pub(super) secret: SecretString,
    pub(super) scope: String,
    pub(super) kty: &'static str,
    pub(super) purge: bool,
    pub(super) settle: Duration,
    pub(super) prefix: Prefix,
    pub(super) connection: Connection,
}

impl AzureConfig {
    /// The vault at `vault` (`https://firm.vault.azure.net`), an application of `tenant` with a
    /// client secret, software keys, no purging, keys named `kta-…`.
    ///
    /// # Errors
    /// What [`Origin::parse`] refuses.
    pub fn new(
        vault: &str,
        tenant: impl Into<String>,
        client_id: impl Into<String>,
        secret: SecretString,
    ) -> Result<Self> {
        Ok(Self {
            vault: Origin::parse(vault, Port::Kms)?,
            login: Origin::parse("https://login.microsoftonline.com", Port::Kms)?,
            tenant: tenant.into(),
            client_id: client_id.into(),
            secret,
            scope: "https://vault.azure.net/.default".to_owned(),
            kty: "RSA",
            purge: false,
            settle: Duration::from_secs(1),
            prefix: Prefix::new("kta")?,
            connection: Connection::default(),
        })
    }

    /// The same with this login host and this scope (sovereign clouds have their own).
    ///
    /// # Errors
    /// What [`Origin::parse`] refuses.
    pub fn login(mut self, host: &str, scope: impl Into<String>) -> Result<Self> {
        self.login = Origin::parse(host, Port::Kms)?;
        self.scope = scope.into();
        Ok(self)
    }

    /// The same with keys in the vault's hardware modules (`RSA-HSM`, premium vaults).
    #[must_use]
    pub fn in_hardware(mut self) -> Self {
        self.kty = "RSA-HSM";
        self
    }

    /// The same purging what it deleted, where the vault's protection allows it.
    #[must_use]
    pub fn purging(mut self) -> Self {
        self.purge = true;
        self
    }

    /// The same looking this often whether a deletion or purge went through: every second
    /// unless told, ten times at most. Less than half a second is for tests: two destructions
    /// of one KEK at once might then tell different times.
    #[must_use]
    pub fn settling(mut self, every: Duration) -> Self {
        self.settle = every;
        self
    }

    /// The same with keys whose names begin like this.
    ///
    /// # Errors
    /// `Misconfigured` for anything but 1 to 40 lower-case letters, digits and inner hyphens.
    pub fn prefix(mut self, prefix: &str) -> Result<Self> {
        self.prefix = Prefix::new(prefix)?;
        Ok(self)
    }

    /// The same reached like this.
    #[must_use]
    pub fn over(mut self, connection: Connection) -> Self {
        self.connection = connection;
        self
    }
}

impl fmt::Debug for AzureConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureConfig")
            .field("vault", &self.vault)
            .field("purge", &self.purge)
            .finish_non_exhaustive()
    }
}
