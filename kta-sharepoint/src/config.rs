//! Which tenant, which site, which library, and as whom.

use crate::names::Folder;
use kta_core::{Code, Port, Result};
use kta_http::{Limits, Origin, Roots};
use secrecy::{SecretBox, SecretString};
use std::fmt;
use std::time::Duration;

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
    pub(crate) destroyer: Destroyer,
    pub(crate) site: String,
    pub(crate) library: Option<String>,
    pub(crate) folder: Folder,
    pub(crate) rest: bool,
    pub(crate) roots: Roots,
    pub(crate) limits: Limits,
    /// Waits before repetitions: around the first, never above the second.
    pub(crate) waits: (Duration, Duration),
}

impl Config {
    /// A site's default library, its documents in the library itself, bins and holds seen through
    /// SharePoint REST.
    ///
    /// `graph` and `login` are scheme, host and port, no path; `site` is Graph's id of the site.
    ///
    /// # Errors
    /// What [`Origin::parse`] refuses: `NET-PLAIN`, `NET-TOKEN-LEAK`, or a `Misconfigured` fault; and
    /// `NET-HOST` for hosts that are no cloud of Microsoft's, or not of one and the same (two hosts of plain
    /// `http` on this machine are an emulator's).
    pub fn new(
        graph: &str,
        login: &str,
        tenant: impl Into<String>,
        client_id: impl Into<String>,
        credential: AppCredential,
        site: impl Into<String>,
    ) -> Result<Self> {
        let graph = Origin::parse(graph, Port::Documents)?;
        let login = Origin::parse(login, Port::Documents)?;
        // A token of one cloud means nothing in another, and to a stranger's host it means everything.
        let emulated = [&graph, &login]
            .iter()
            .all(|host| host.as_str().starts_with("http://"));
        if !emulated && Cloud::of(&graph, &login).is_none() {
            return Err(Code::NetHost.into());
        }
        Ok(Self {
            graph,
            login,
            tenant: tenant.into(),
            client_id: client_id.into(),
            credential,
            destroyer: Destroyer::Off,
            site: site.into(),
            library: None,
            folder: Folder::root(),
            rest: true,
            roots: Roots::System,
            limits: Limits::default(),
            waits: (Duration::from_millis(500), Duration::from_secs(30)),
        })
    }

    /// The same as [`new`](Self::new) with the hosts of this cloud.
    ///
    /// # Errors
    /// None in practice: the hosts are well formed.
    pub fn cloud(
        cloud: Cloud,
        tenant: impl Into<String>,
        client_id: impl Into<String>,
        credential: AppCredential,
        site: impl Into<String>,
    ) -> Result<Self> {
        let (graph, login, _) = cloud.hosts();
        Self::new(graph, login, tenant, client_id, credential, site)
    }

    /// The same destroying by an application of its own. Unless this or
    /// [`destroying_as_itself`](Self::destroying_as_itself) is said, nothing is destroyed: `erase` is
    /// `Unsupported` before anything is sent, while probes work as ever.
    ///
    /// The working application then needs no right to end anything: Graph's least permission to delete for
    /// good reaches every site of the tenant. An application that is the working one is refused by
    /// [`connect`](crate::SharePoint::connect): `Misconfigured`.
    #[must_use]
    pub fn destroying_as(
        mut self,
        client_id: impl Into<String>,
        credential: AppCredential,
    ) -> Self {
        self.destroyer = Destroyer::Own(client_id.into(), credential);
        self
    }

    /// The same destroying by the working application, for a firm that has registered one alone. Whoever
    /// takes over that application can then end what it keeps.
    #[must_use]
    pub fn destroying_as_itself(mut self) -> Self {
        self.destroyer = Destroyer::Same;
        self
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

    /// The same waiting around `first` before a call is repeated, twice that before the next, and never
    /// above `longest`: half a second and half a minute unless said. A vendor that asks for a longer wait
    /// ends the attempts; its `Throttled` fault tells the caller for how long.
    #[must_use]
    pub fn waiting(mut self, first: Duration, longest: Duration) -> Self {
        self.waits = (first, longest);
        self
    }

    /// The same with these limits of time and size.
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// As whom destruction is done.
#[derive(Clone, Debug)]
pub(crate) enum Destroyer {
    Off,
    Own(String, AppCredential),
    Same,
}

/// Microsoft's clouds. A tenant is in one; tokens, hosts and domains of another are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    /// Operated by 21Vianet.
    China,
    /// US Government, DoD (L5).
    UsDod,
    /// US Government, GCC High (L4).
    UsHigh,
    /// Everywhere else, US Government GCC among it.
    Worldwide,
}

impl Cloud {
    const ALL: [Self; 4] = [Self::China, Self::UsDod, Self::UsHigh, Self::Worldwide];

    /// Graph's host, the login host, and the domains of SharePoint.
    pub(crate) const fn hosts(self) -> (&'static str, &'static str, &'static [&'static str]) {
        match self {
            Self::China => (
                "https://microsoftgraph.chinacloudapi.cn",
                "https://login.chinacloudapi.cn",
                &[".sharepoint.cn"],
            ),
            Self::UsDod => (
                "https://dod-graph.microsoft.us",
                "https://login.microsoftonline.us",
                &[".dps.mil", ".sharepoint-mil.us"],
            ),
            Self::UsHigh => (
                "https://graph.microsoft.us",
                "https://login.microsoftonline.us",
                &[".sharepoint.us"],
            ),
            Self::Worldwide => (
                "https://graph.microsoft.com",
                "https://login.microsoftonline.com",
                &[".sharepoint.com"],
            ),
        }
    }

    /// The cloud these two hosts are of.
    pub(crate) fn of(graph: &Origin, login: &Origin) -> Option<Self> {
        Self::ALL.into_iter().find(|cloud| {
            let (graphs, logins, _) = cloud.hosts();
            graph.as_str() == graphs && login.as_str() == logins
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(graph: &str, login: &str) -> Result<Config> {
        let credential = AppCredential::secret("invented".into());
        Config::new(graph, login, "tenant", "client", credential, "site")
    }

    #[test]
    fn hosts_of_two_clouds_and_of_strangers_are_refused() {
        for cloud in Cloud::ALL {
            let (graph, login, _) = cloud.hosts();
            let made = config(graph, login).unwrap();
            assert_eq!(Cloud::of(&made.graph, &made.login), Some(cloud));
        }
        for (graph, login) in [
            (
                "https://graph.microsoft.us",
                "https://login.microsoftonline.com",
            ),
            ("https://graph.microsoft.com", "https://login.example"),
            (
                "https://graph.microsoft.com.example",
                "https://login.microsoftonline.com",
            ),
            ("https://graph.microsoft.com", "http://127.0.0.1:9"),
            (
                "https://graph.microsoft.com:8443",
                "https://login.microsoftonline.com",
            ),
        ] {
            let refused = config(graph, login).unwrap_err();
            assert_eq!(
                refused.refusal().unwrap().code(),
                Code::NetHost,
                "{graph} {login}"
            );
        }
    }
}
