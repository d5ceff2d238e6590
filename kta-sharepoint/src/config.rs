//! Which tenant, which site, which library, and as whom.

use crate::names::Folder;
use kta_core::{Port, Result};
use kta_http::{Limits, Origin, Roots};
use secrecy::{SecretBox, SecretString};
use std::fmt;

/// Everything needed to reach one document library.
///
/// ```
/// use kta_sharepoint::{AppCredential, Config, Folder};
/// let config = Config::new(
///     "https://graph.microsoft.com",
///     "https://login.microsoftonline.com",
///     "00000000-0000-0000-0000-000000000000",
///     "11111111-1111-1111-1111-111111111111",
///     AppCredential::secret("not a real one".into()),
///     "contoso.sharepoint.com,2222,3333",
/// )?
/// .folder(Folder::new("Matters 2026")?);
/// # Ok::<(), kta_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) graph: Origin,
    pub(crate) login: Origin,
    pub(crate) tenant: String,
    pub(crate) client_id: String,
    pub(crate) credential: AppCredential,
    pub(crate) site: String,
    pub(crate) library: Option<String>,
    pub(crate) folder: Folder,
    pub(crate) rest: bool,
    pub(crate) roots: Roots,
    pub(crate) limits: Limits,
}

impl Config {
    /// A site's default library, its documents in the library itself, bins and holds seen through
    /// SharePoint REST.
    ///
    /// `graph` and `login` are scheme, host and port, no path; `site` is Graph's id of the site.
    ///
    /// # Errors
    /// What [`Origin::parse`] refuses: `NET-PLAIN`, `NET-TOKEN-LEAK`, or a `Misconfigured` fault.
    pub fn new(
        graph: &str,
        login: &str,
        tenant: impl Into<String>,
        client_id: impl Into<String>,
        credential: AppCredential,
        site: impl Into<String>,
    ) -> Result<Self> {
        Ok(Self {
            graph: Origin::parse(graph, Port::Documents)?,
            login: Origin::parse(login, Port::Documents)?,
            tenant: tenant.into(),
            client_id: client_id.into(),
            credential,
            site: site.into(),
            library: None,
            folder: Folder::root(),
            rest: true,
            roots: Roots::System,
            limits: Limits::default(),
        })
    }

    /// The same with another library of the site, by Graph's id of its drive.
    #[must_use]
    pub fn library(mut self, drive: impl Into<String>) -> Self {
        self.library = Some(drive.into());
        self
    }

    /// The same with the matters' folders inside this folder.
    #[must_use]
    pub fn folder(mut self, folder: Folder) -> Self {
        self.folder = folder;
        self
    }

    /// The same without SharePoint REST, for an application that has only a secret: SharePoint takes
    /// application tokens for REST by certificate alone. Recycle bins, the hold library and the
    /// versioning setting are then not looked at, and every [`Probe`](kta_core::ports::Probe) says so
    /// with `recycle_bin.unasked`.
    #[must_use]
    pub fn without_rest(mut self) -> Self {
        self.rest = false;
        self
    }

    /// The same trusting these certificate authorities.
    #[must_use]
    pub fn trusting(mut self, roots: Roots) -> Self {
        self.roots = roots;
        self
    }

    /// The same with these limits of time and size.
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// How the application proves who it is.
#[derive(Clone)]
pub struct AppCredential(pub(crate) Proof);

#[derive(Clone)]
pub(crate) enum Proof {
    Certificate {
        key: std::sync::Arc<SecretBox<Vec<u8>>>,
        certificate: Vec<u8>,
    },
    Secret(SecretString),
}

impl AppCredential {
    /// A client secret.
    #[must_use]
    pub fn secret(secret: SecretString) -> Self {
        Self(Proof::Secret(secret))
    }

    /// A certificate in DER form and its RSA key in PKCS #8 DER form: what SharePoint REST wants.
    #[must_use]
    pub fn certificate(key: Vec<u8>, certificate: Vec<u8>) -> Self {
        let key = std::sync::Arc::new(SecretBox::new(Box::new(key)));
        Self(Proof::Certificate { key, certificate })
    }
}

impl fmt::Debug for AppCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Proof::Certificate { .. } => "AppCredential(certificate ..)",
            Proof::Secret(_) => "AppCredential(secret ..)",
        })
    }
}
