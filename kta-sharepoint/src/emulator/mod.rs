//! A stateful loopback server of Microsoft identity, Graph v1.0 and the SharePoint REST that Graph lacks.
//!
//! Microsoft's own clients work against it unpatched (`tests/official_clients.rs`). Three hosts stand on
//! three loopback ports: Graph and login on `127.0.0.1`, SharePoint (downloads, upload sessions, `_api`)
//! on `localhost`, so that a token sent to the wrong host is seen. Each port answers plain http and,
//! recognised by the first byte, TLS with a certificate made at start: MSAL refuses an authority that is
//! not https.
//!
//! ```text
//!   socket ── serve ──┬── login   tokens, discovery
//!                     ├── graph ── address ── items · content · upload · versions · permissions
//!                     │                       labels · delta · lists · subscriptions · $batch
//!                     └── rest    recycle bins, versions, library settings, hold library
//!                          one lock, one turn a request, one State
//! ```
//!
//! Not emulated: copy, thumbnails, search, sensitivity labels, calendars, mail flow; a
//! client assertion's signature before a certificate is registered; throttling that nobody scripted; delay elsewhere than in the delta feed.
//! Rights are enforced where they are [`select_sites`](Emulator::select_sites) alone; other applications may do
//! everything. Looser than life: by default SharePoint REST also accepts tokens got with a client secret, see
//! [`Options::certificate_only_rest`].

mod address;
mod audit;
mod backstage;
mod clock;
mod content;
mod delta;
mod directory;
mod faults;
mod furnish;
mod graph;
mod ids;
mod inspect;
mod items;
mod labels;
mod lists;
mod login;
mod mail;
mod model;
mod permissions;
mod reply;
mod rest;
mod rich;
mod selected;
mod serve;
mod state;
mod subscriptions;
mod upload;
mod versions;

pub use faults::{Exchange, Fault, Recorded};
pub use inspect::{Holdings, Share};

use bytes::Bytes;
use chrono::TimeDelta;
use ids::Ids;
use reply::{Refused, Reply};
use serve::{Host, Shared, listen};
use state::{Audience, Settings, State};
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How the emulated tenant behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Port of the Graph host; 0 lets the system choose. The other two hosts always take free ports.
    pub port: u16,
    /// Seconds an access token lives.
    pub token_seconds: u32,
    /// Whether SharePoint REST refuses tokens got with a client secret, as the real one does.
    pub certificate_only_rest: bool,
    /// Whether links for anyone may be made.
    pub anonymous_links: bool,
    /// Entries on a page of children, list items and delta when `$top` is not given.
    pub page_size: usize,
    /// Bytes the tenant stores in all; beyond it writes are answered 507.
    pub quota: u64,
    /// How long a change takes until the delta feed shows it.
    pub lag: TimeDelta,
    /// Whether whole exchanges are kept for [`Emulator::recorded`]; bodies hold what a test puts in.
    pub record: bool,
    /// Whether deleting an entry of the first recycle bin moves it to the second instead of ending it.
    pub bin_delete_moves_to_second_stage: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            token_seconds: 3599,
            certificate_only_rest: false,
            anonymous_links: true,
            page_size: 200,
            quota: 2 << 30,
            record: false,
            lag: TimeDelta::zero(),
            bin_delete_moves_to_second_stage: false,
        }
    }
}

/// A running emulator. Dropping it closes its ports.
///
/// ```
/// use kta_sharepoint::emulator::{Emulator, Options};
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let emulator = Emulator::start(Options::default()).await?;
/// assert!(emulator.graph_url().starts_with("http://127.0.0.1:"));
/// assert!(emulator.holdings(emulator.item()).current.is_some());
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct Emulator {
    shared: Arc<Shared>,
    settings: Settings,
    site: String,
    drive: String,
    item: String,
    token: String,
    certificate: String,
    stop: watch::Sender<bool>,
}

impl Emulator {
    /// Binds the three ports and fills the tenant: a site, a library, a file, a valid token.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When a port cannot be bound or the TLS certificate cannot be made.
    pub async fn start(options: Options) -> io::Result<Self> {
        let graph = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let login = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let sharepoint = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let mut ids = Ids::new();
        let settings = Settings {
            graph: format!("http://127.0.0.1:{}", graph.local_addr()?.port()),
            login: format!("http://127.0.0.1:{}", login.local_addr()?.port()),
            sharepoint: format!("http://localhost:{}", sharepoint.local_addr()?.port()),
            tenant: ids.guid(),
            client_id: ids.guid(),
            client_secret: ids.secret("emulator~"),
            destroyer_id: ids.guid(),
            token_seconds: i64::from(options.token_seconds),
            certificate_only_rest: options.certificate_only_rest,
            anonymous_links: options.anonymous_links,
            page_size: options.page_size.clamp(1, 1000),
            quota: options.quota,
            record: options.record,
            lag: options.lag,
            bin_delete_moves_to_second_stage: options.bin_delete_moves_to_second_stage,
        };
        let (tls, certificate) = furnish::tls()?;
        let mut state = furnish::tenant(settings.clone(), ids);
        let token = login::issue(&mut state, Audience::Graph, &settings.client_id, false);
        let site = state.site.id.clone();
        let drive = lists::add_drive(&mut state, "Matters");
        let root = state.drives.get(&drive).map(|drive| drive.root.clone());
        let content = Some(Bytes::from_static(b"A ready-made file of the emulator.\n"));
        let item = state.add(&drive, root, "ready.txt", content);
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            tls,
        });
        let (stop, stopped) = watch::channel(false);
        for (listener, host) in [
            (graph, Host::Graph),
            (login, Host::Login),
            (sharepoint, Host::SharePoint),
        ] {
            tokio::spawn(listen(listener, host, shared.clone(), stopped.clone()));
        }
        Ok(Self {
            shared,
            settings,
            site,
            drive,
            item,
            token,
            certificate,
            stop,
        })
    }

    /// Scheme, host and port of the Graph host; paths begin with `/v1.0`.
    pub fn graph_url(&self) -> &str {
        &self.settings.graph
    }

    /// Scheme, host and port of the login host. The same port also answers `https`.
    pub fn login_url(&self) -> &str {
        &self.settings.login
    }

    /// Scheme, host and port of the SharePoint host.
    pub fn sharepoint_url(&self) -> &str {
        &self.settings.sharepoint
    }

    /// The certificate of every port, in PEM, for clients that insist on TLS.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// The tenant's id.
    pub fn tenant(&self) -> &str {
        &self.settings.tenant
    }

    /// The registered application's id.
    pub fn client_id(&self) -> &str {
        &self.settings.client_id
    }

    /// The registered application's secret: worth nothing outside this process.
    pub fn client_secret(&self) -> &str {
        &self.settings.client_secret
    }

    /// Another registered application, with the same secret: the one that destroys.
    pub fn destroyer_id(&self) -> &str {
        &self.settings.destroyer_id
    }

    /// An access token for Graph, valid at once.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The ready-made site.
    pub fn site(&self) -> &str {
        &self.site
    }

    /// The ready-made library of that site.
    pub fn drive(&self) -> &str {
        &self.drive
    }

    /// The ready-made file in that library.
    pub fn item(&self) -> &str {
        &self.item
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // Nobody listening any more is as good.
        let _ = self.stop.send(true);
    }
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulator")
            .field("graph", &self.settings.graph)
            .finish_non_exhaustive()
    }
}

impl State {
    /// Writes one request into the journal, dropping the oldest at the limit.
    fn record(&mut self, exchange: Exchange) {
        if self.journal.len() >= JOURNAL_LIMIT {
            self.journal.drain(..JOURNAL_LIMIT / 10);
        }
        self.journal.push(exchange);
    }
}

/// Turns a refusal into its reply and adds the headers every reply has.
fn finish(state: &mut State, result: Result<Reply, Refused>, client: Option<&str>) -> Reply {
    let request = state.ids.guid();
    let now = state.now();
    let reply = match result {
        Ok(reply) => reply,
        Err(refused) => refused.reply(now, &request, client),
    };
    reply
        .with("request-id", request.clone())
        .with("client-request-id", client.unwrap_or(&request))
}

/// The ready-made shared mailbox.
const MAILBOX: &str = "intake@firm.example";
const JOURNAL_LIMIT: usize = 100_000;
