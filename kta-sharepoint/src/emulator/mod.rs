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
//! Looser than life: by default SharePoint REST also accepts tokens got with a client secret, see
//! [`Options::certificate_only_rest`].

mod address;
mod audit;
mod clock;
mod content;
mod delta;
mod directory;
mod faults;
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
use chrono::{DateTime, TimeDelta, Utc};
use faults::Scripted;
use ids::Ids;
use reply::{Refused, Reply};
use serve::{Host, Shared, listen};
use state::{Audience, Hold, LabelRule, Settings, Site, State};
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, ServerConfig, pki_types::PrivatePkcs8KeyDer};

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
        let (tls, certificate) = tls()?;
        let mut state = furnish(settings.clone(), ids);
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

    /// The tenant's present moment.
    pub fn now(&self) -> DateTime<Utc> {
        self.shared.state().now()
    }

    /// Sets the tenant's clock, which then runs on from there.
    pub fn set_now(&self, now: DateTime<Utc>) {
        let mut state = self.shared.state();
        state.clock.set(now);
        state.sweep();
    }

    /// Moves the tenant's clock.
    pub fn advance(&self, by: TimeDelta) {
        let mut state = self.shared.state();
        state.clock.advance(by);
        state.sweep();
    }

    /// Scripts a fault: the next `times` requests with this method (`*` for any) whose decoded path
    /// starts with `path` (in which `*` stands for any run of characters) get it. Paths are host-less:
    /// `/v1.0/…`, `/upload/…`, `/download/…`, `/sites/Matters/_api/…`, `/{tenant}/oauth2/…`.
    pub fn fail(&self, times: u32, method: &str, path: &str, fault: Fault) {
        if times > 0 {
            self.shared.state().faults.push(Scripted {
                method: method.to_owned(),
                pattern: path.to_owned(),
                left: times,
                fault,
            });
        }
    }

    /// Forgets scripts that have not struck.
    pub fn heal(&self) {
        self.shared.state().faults.clear();
    }

    /// Puts the site under a retention hold, or releases it. After release the kept copies stay for
    /// 37 days, then 93 more in the second-stage bin.
    pub fn set_hold(&self, on: bool) {
        let mut state = self.shared.state();
        state.hold = match (on, &state.hold) {
            (true, _) => Hold::On,
            (false, Hold::On) => Hold::Released(state.now()),
            (false, _) => Hold::Off,
        };
    }

    /// Defines a retention label; `behavior` is `doNotRetain`, `retain`, `retainAsRecord` …
    pub fn define_label(&self, name: &str, behavior: &str, delete_allowed: bool) {
        let rule = LabelRule {
            behavior: behavior.to_owned(),
            delete_allowed,
        };
        self.shared.state().labels.insert(name.to_owned(), rule);
    }

    /// Locks an item as co-authoring or a check-out does: writes are answered 423.
    pub fn set_locked(&self, item: &str, locked: bool) {
        if let Some(item) = self.shared.state().items.get_mut(item) {
            item.locked = locked;
        }
    }

    /// Switches versioning of a library on or off.
    pub fn set_versioning(&self, drive: &str, on: bool) {
        if let Some(drive) = self.shared.state().drives.get_mut(drive) {
            drive.versioning = on;
        }
    }

    /// Makes every delta token given out so far answer 410.
    pub fn expire_delta_tokens(&self) {
        self.shared.state().delta_era += 1;
    }

    /// Ends every access token given out so far.
    pub fn expire_tokens(&self) {
        self.shared.state().tokens.clear();
    }

    /// Everything the tenant still holds of an item.
    pub fn holdings(&self, item: &str) -> Holdings {
        inspect::holdings(&self.shared.state(), item)
    }

    /// Every place that still contains these bytes, in words; empty when there is none.
    pub fn places_of(&self, needle: &[u8]) -> Vec<String> {
        inspect::places_of(&self.shared.state(), needle)
    }

    /// Ids of the live files of a library.
    pub fn files(&self, drive: &str) -> Vec<String> {
        let state = self.shared.state();
        let files = state
            .items
            .values()
            .filter(|item| item.drive == drive && !item.is_folder());
        files.map(|item| item.id.clone()).collect()
    }

    /// Paths of the live files of a library, as its visitors see them.
    pub fn paths(&self, drive: &str) -> Vec<String> {
        let state = self.shared.state();
        let files = state
            .items
            .values()
            .filter(|item| item.drive == drive && !item.is_folder());
        files
            .map(|item| format!("{}/{}", state.directory(&item.id), item.name))
            .collect()
    }

    /// The address of the ready-made shared mailbox.
    pub fn mailbox(&self) -> &str {
        MAILBOX
    }

    /// Delivers a message, as MIME, to the inbox of the ready-made mailbox; gives its immutable id.
    pub fn deliver(&self, mime: impl Into<Bytes>) -> String {
        let mut state = self.shared.state();
        let id = mail::arrive(&mut state, mime.into());
        serve::post_outbox(&mut state);
        id
    }

    /// Posts an event of its life to every subscription: `missed`, `reauthorizationRequired`, or
    /// `subscriptionRemoved`, which also ends it.
    pub fn tell_lifecycle(&self, event: &str) {
        let mut state = self.shared.state();
        subscriptions::tell_lifecycle(&mut state, event);
        serve::post_outbox(&mut state);
    }

    /// Ends every subscription without telling anybody.
    pub fn drop_subscriptions(&self) {
        self.shared.state().subscriptions.clear();
    }

    /// Enters somebody into the directory and gives the object id.
    pub fn add_person(&self, sign_in_name: &str, guest: bool) -> String {
        let mut state = self.shared.state();
        let name = sign_in_name.to_lowercase();
        let known = state.people.get(&name).cloned();
        let id = known.unwrap_or_else(|| state.ids.guid());
        state.people.insert(name.clone(), id.clone());
        state.directory.people.insert(id.clone(), (name, guest));
        id
    }

    /// Makes a group of the directory with these members, people or groups, and gives its object id.
    pub fn add_group(&self, name: &str, members: &[&str]) -> String {
        let mut state = self.shared.state();
        let id = state.ids.guid();
        let members = members.iter().map(|id| (*id).to_owned()).collect();
        let group = (name.to_owned(), members);
        state.directory.groups.insert(id.clone(), group);
        id
    }

    /// Puts a person or group of the directory into a group of the directory.
    pub fn join_group(&self, group: &str, member: &str) {
        if let Some((_, members)) = self.shared.state().directory.groups.get_mut(group) {
            members.push(member.to_owned());
        }
    }

    /// Puts a sign-in name, as SharePoint writes it, into a group of the site, such as
    /// `Matters Members`.
    pub fn join_site_group(&self, name: &str, login: &str) {
        let number = directory::site_group_number(name);
        let mut state = self.shared.state();
        let logins = state.directory.site_groups.entry(number).or_default();
        logins.push(login.to_owned());
    }

    /// Puts a link for anyone on an item, as somebody does in the browser; gives the permission's id.
    pub fn link_anyone(&self, item: &str) -> Option<String> {
        permissions::link_anyone(&mut self.shared.state(), item)
    }

    /// Takes every permission off an item's own list, and lets it inherit or not.
    pub fn strip_permissions(&self, item: &str, inherits: bool) {
        if let Some(item) = self.shared.state().items.get_mut(item) {
            item.permissions.clear();
            item.inherits = inherits;
        }
    }

    /// Makes a library look like somebody's personal OneDrive.
    pub fn set_personal(&self, drive: &str) {
        if let Some(drive) = self.shared.state().drives.get_mut(drive) {
            drive.personal = true;
        }
    }

    /// How often an audit query is looked at before it has succeeded; two unless set.
    pub fn set_audit_looks(&self, looks: u32) {
        self.shared.state().audit.looks = looks;
    }

    /// Registers a certificate, in DER, as the applications': from now on an assertion must be signed by a
    /// registered one's key.
    pub fn register_certificate(&self, der: &[u8]) {
        self.shared.state().certificates.push(der.to_vec());
    }

    /// Registers another application, with the first one's secret.
    pub fn add_application(&self, client_id: &str) {
        let mut state = self.shared.state();
        state.applications.insert(client_id.to_owned());
    }

    /// Takes from an application every right over sites but `Sites.Selected`: it reaches the site by what
    /// [`grant_site`](Self::grant_site) gives it, or `POST /sites/{id}/permissions`.
    pub fn select_sites(&self, client_id: &str) {
        let mut state = self.shared.state();
        state.selected.insert(client_id.to_owned());
    }

    /// Grants an application the ready-made site: `read`, `write`, `owner` or `fullcontrol`.
    pub fn grant_site(&self, client_id: &str, role: &str) {
        selected::grant(&mut self.shared.state(), client_id, role);
    }

    /// Where a message of the mailbox lies: a folder's id, `purges` while single-item recovery keeps
    /// it, `None` when it is gone.
    pub fn message_folder(&self, id: &str) -> Option<String> {
        let state = self.shared.state();
        let purged = state
            .mail
            .purged
            .iter()
            .any(|(message, _)| message.id == id);
        let live = state.mail.messages.get(id);
        live.map(|message| message.folder.clone())
            .or_else(|| purged.then(|| "purges".to_owned()))
    }

    /// Every message handed to `sendMail`, oldest first, as JSON text; one that came as MIME has it in
    /// `mime`.
    pub fn sent_mail(&self) -> Vec<String> {
        let state = self.shared.state();
        state.sent.iter().map(ToString::to_string).collect()
    }

    /// Makes every mail delta token given out so far answer 410.
    pub fn expire_mail_delta(&self) {
        self.shared.state().mail.era += 1;
    }

    /// Whole exchanges so far, oldest first; empty unless [`Options::record`] is set.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.shared.state().recorded.clone()
    }

    /// The requests served so far, oldest first; at most the last 100 000.
    pub fn journal(&self) -> Vec<Exchange> {
        self.shared.state().journal.clone()
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

fn furnish(settings: Settings, mut ids: Ids) -> State {
    let hostname = "kta-emulator.sharepoint.com".to_owned();
    let site = Site {
        id: format!("{hostname},{},{}", ids.guid(), ids.guid()),
        hostname,
        path: "/sites/Matters".to_owned(),
        name: "Matters".to_owned(),
        permissions: Vec::new(),
    };
    let destroyer = settings.destroyer_id.clone();
    let label = |behavior: &str, delete_allowed| LabelRule {
        behavior: behavior.to_owned(),
        delete_allowed,
    };
    let labels = BTreeMap::from([
        ("7 years".to_owned(), label("retain", true)),
        ("Client record".to_owned(), label(labels::RECORD, false)),
        ("KTA-Special".to_owned(), label("doNotRetain", true)),
        ("Working paper".to_owned(), label("doNotRetain", true)),
    ]);
    State {
        clock: Default::default(),
        ids,
        settings,
        site,
        drives: BTreeMap::new(),
        items: BTreeMap::new(),
        graves: BTreeMap::new(),
        bin: Vec::new(),
        held: Vec::new(),
        hold: Hold::Off,
        uploads: BTreeMap::new(),
        tokens: BTreeMap::new(),
        labels,
        subscriptions: BTreeMap::new(),
        people: BTreeMap::new(),
        mail: mail::Mailbox::new(MAILBOX),
        sent: Vec::new(),
        certificates: Vec::new(),
        applications: [destroyer].into(),
        selected: std::collections::BTreeSet::new(),
        recorded: Vec::new(),
        directory: directory::Directory::default(),
        audit: audit::AuditLog::default(),
        signer: rich::Signer::default(),
        outbox: Vec::new(),
        faults: Vec::new(),
        journal: Vec::new(),
        sequence: 0,
        changed: Vec::new(),
        delta_era: 0,
    }
}

/// A certificate for the loopback names, made for this process.
fn tls() -> io::Result<(TlsAcceptor, String)> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .map_err(io::Error::other)?;
    Ok((TlsAcceptor::from(Arc::new(config)), made.cert.pem()))
}

/// The ready-made shared mailbox.
const MAILBOX: &str = "intake@firm.example";
const JOURNAL_LIMIT: usize = 100_000;
