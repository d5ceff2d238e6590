//! Where the server is and how to speak with it.

use core::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kta_core::id::Digest;
use kta_core::{Error, Fault, FaultKind, Port, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::sql::Id;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts};

/// How to reach a PostgreSQL server, for [`PgStore`](super::PgStore) and
/// [`PgOwner`](super::PgOwner). Its `Debug` says nothing: there is a password in it.
///
/// Plain text is spoken only over a Unix socket and to this machine itself (`localhost`,
/// `127.0.0.0/8`, `::1`). To everybody else it is TLS, with the server's name checked against the
/// machine's trusted roots or [those given](Self::roots); a connection string that forbids TLS to
/// another machine is refused.
#[derive(Clone)]
pub struct PgOptions {
    config: Config,
    roots: Option<Vec<CertificateDer<'static>>>,
    connections: usize,
    patience: Duration,
    named: bool,
    history: Duration,
    journal: Option<PathBuf>,
}

impl PgOptions {
    /// Options from a connection string, as libpq has it (`postgresql://role:password@host/base`
    /// or `host=… user=…`). `sslmode=require` demands TLS to this machine too; in this house TLS
    /// always checks the certificate.
    ///
    /// # Errors
    /// [`Misconfigured`](FaultKind::Misconfigured) for text that is no connection string, names
    /// no host, or forbids TLS to another machine.
    pub fn new(connection: &SecretString) -> Result<Self> {
        let mut config: Config = connection
            .expose_secret()
            .parse()
            .map_err(|_| misconfigured("the connection string cannot be read"))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(misconfigured("the connection string names no host"));
        }
        match (config.get_ssl_mode(), stays_here(&config)) {
            (SslMode::Disable | SslMode::Prefer, true) => config.ssl_mode(SslMode::Disable),
            (SslMode::Disable, false) => {
                return Err(misconfigured("plain text to another machine"));
            }
            _ => config.ssl_mode(SslMode::Require),
        };
        if config.get_application_name().is_none() {
            config.application_name("kta");
        }
        Ok(Self {
            config,
            roots: None,
            connections: 8,
            patience: Duration::from_secs(10),
            named: false,
            history: Duration::from_secs(30 * 24 * 60 * 60),
            journal: None,
        })
    }

    /// The same, trusting these certificates (PEM) and no others to vouch for the server.
    ///
    /// # Errors
    /// [`Misconfigured`](FaultKind::Misconfigured) when there is no certificate in it.
    pub fn roots(mut self, pem: &[u8]) -> Result<Self> {
        let roots: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<core::result::Result<_, _>>()
            .map_err(|_| misconfigured("the roots cannot be read"))?;
        if roots.is_empty() {
            return Err(misconfigured("no certificate among the roots"));
        }
        self.roots = Some(roots);
        Ok(self)
    }

    /// The same with at most so many connections, at least 2; 8 if not said.
    #[must_use]
    pub const fn connections(mut self, most: usize) -> Self {
        self.connections = if most < 2 { 2 } else { most };
        self
    }

    /// The same with so long a patience: how long a call tries again while the server is away,
    /// and how long it waits for an answer. 10 seconds if not said.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The same with named statements, which the server need not plan each time: only for
    /// connections that lead straight to the server, or through a pooler that knows them
    /// (PgBouncer from 1.21 on).
    #[must_use]
    pub const fn named_statements(mut self) -> Self {
        self.named = true;
        self
    }

    /// The same with the time after which what was removed is in none of the server's history
    /// any more: dead rows, write-ahead log, standbys, archives and backups. The firm's backup
    /// policy says it; 30 days if not said. Erasures announce it, and probes report it as a
    /// residue until then.
    #[must_use]
    pub const fn history(mut self, history: Duration) -> Self {
        self.history = history;
        self
    }

    /// The same with a folder of this machine for the openings of ordinary reading: bounded events
    /// alone are answered when they stand in a file there, and entered into the log many at a time
    /// (see [`PgStore`](super::PgStore)). The folder is there, on a local disk, stays when the
    /// process ends, and may be shared by processes and databases. Without one each of them is a
    /// transaction.
    ///
    /// A journal is found again however the server is reached, because its file has the name that
    /// [`PgOwner::migrate`](super::PgOwner::migrate) gave the store in its database. A copy of the
    /// database has that name too: use it with another folder.
    #[must_use]
    pub fn journal(mut self, folder: impl Into<PathBuf>) -> Self {
        self.journal = Some(folder.into());
        self
    }

    /// Where the journals are, under the name that the store has in its database.
    pub(super) fn journals(&self, store: Id) -> Option<PathBuf> {
        let name = format!("kta-{:032x}", u128::from_be_bytes(store.0));
        Some(self.journal.as_ref()?.join(name))
    }

    /// Where they were: until version 4 of the tables, the name said how the server was reached.
    pub(super) fn former_journals(&self) -> Option<PathBuf> {
        let folder = self.journal.as_ref()?;
        let hosts = self.config.get_hosts().iter();
        let hosts = hosts.map(|host| format!("{host:?}"));
        let ports = self.config.get_ports().iter().map(u16::to_string);
        let base = self.config.get_dbname().map(str::to_owned);
        let words: Vec<_> = hosts.chain(ports).chain(base).collect();
        let name = Digest::of(words.join("\0").as_bytes()).to_string();
        Some(folder.join(format!("kta-{}", name.get(..16)?)))
    }

    pub(super) const fn patience_of(&self) -> Duration {
        self.patience
    }

    pub(super) const fn is_named(&self) -> bool {
        self.named
    }

    pub(super) const fn history_of(&self) -> Duration {
        self.history
    }

    /// A pool of connections; none is made yet.
    pub(super) fn pool(&self) -> Result<Pool> {
        let manner = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let mut config = self.config.clone();
        config
            .connect_timeout(self.patience)
            .keepalives_idle(Duration::from_secs(30))
            .tcp_user_timeout(self.patience);
        let manager = match config.get_ssl_mode() {
            SslMode::Disable => Manager::from_config(config, NoTls, manner),
            _ => Manager::from_config(config, MakeRustlsConnect::new(self.tls()?), manner),
        };
        Pool::builder(manager)
            .max_size(self.connections)
            .timeouts(Timeouts {
                wait: Some(self.patience),
                create: Some(self.patience),
                recycle: Some(self.patience),
            })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_| misconfigured("the pool cannot be made"))
    }

    fn tls(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        match &self.roots {
            Some(given) => {
                for root in given {
                    let added = roots.add(root.clone());
                    added.map_err(|_| misconfigured("a root cannot be read"))?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
            }
        }
        if roots.is_empty() {
            return Err(misconfigured("no trusted roots on this machine"));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| misconfigured("TLS cannot be set up"))?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }
}

impl fmt::Debug for PgOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PgOptions")
    }
}

/// Whether no byte leaves this machine. An address given beside a name is what is connected to.
fn stays_here(config: &Config) -> bool {
    let addresses = config.get_hostaddrs();
    if !addresses.is_empty() {
        return addresses.iter().all(IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            name == "localhost"
                || name
                    .trim_matches(['[', ']'])
                    .parse::<IpAddr>()
                    .is_ok_and(|address| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    })
}

pub(super) fn misconfigured(detail: &'static str) -> Error {
    Fault::new(FaultKind::Misconfigured, Port::Store, "open")
        .because(detail)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(connection: &str) -> Result<SslMode, Option<&'static str>> {
        PgOptions::new(&SecretString::from(connection))
            .map(|options| options.config.get_ssl_mode())
            .map_err(|error| error.fault().unwrap().detail())
    }

    #[test]
    fn plain_text_stays_on_this_machine() {
        for here in [
            "postgresql://a:b@localhost/kta",
            "postgresql://a:b@127.0.0.2:6432/kta?sslmode=disable",
            "host=/run/postgresql user=a dbname=kta",
            "host=db.example hostaddr=::1 user=a",
        ] {
            assert_eq!(of(here), Ok(SslMode::Disable), "{here}");
        }
        for elsewhere in [
            "postgresql://a:b@db.example/kta",
            "postgresql://a:b@192.0.2.7/kta",
            "host=localhost,db.example user=a",
            "host=localhost hostaddr=192.0.2.7 user=a",
            "host=localhost user=a sslmode=require",
        ] {
            assert_eq!(of(elsewhere), Ok(SslMode::Require), "{elsewhere}");
        }
        assert_eq!(
            of("postgresql://a:b@db.example/kta?sslmode=disable"),
            Err(Some("plain text to another machine"))
        );
    }

    #[test]
    fn neither_options_nor_errors_say_the_password() {
        let secret = SecretString::from("postgresql://a:CANARY@localhost/kta");
        assert_eq!(
            format!("{:?}", PgOptions::new(&secret).unwrap()),
            "PgOptions"
        );
        let wrong = SecretString::from("postgresql://a:CANARY@localhost:port/kta");
        let error = PgOptions::new(&wrong).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("CANARY"));
        assert_eq!(
            of("user=a"),
            Err(Some("the connection string names no host"))
        );
    }
}
