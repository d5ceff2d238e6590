//! A stateful loopback server that speaks Zoho CRM v8 closely enough that the vendor's own
//! Python client works against it unpatched.
//!
//! Two listeners, as with the vendor: one for the API, one for the accounts server. State is
//! kept in memory: records, notes, attachments, the recycle bin, the list of what was deleted,
//! the timeline, the audit log, tokens and subscriptions. [`Emulator::faults`] scripts failures,
//! [`Emulator::clock`] sets the time, [`Emulator::inspect`] looks behind the API.
//!
//! Where the vendor's documents are silent the emulator takes the harsher reading: notes and
//! attachments outlive the record they hang on, the deleted list and the audit log keep names
//! for ever, text compares without case, a restricted field reads as empty.

mod attachments;
mod bulk;
mod clock;
mod coql;
mod faults;
mod history;
mod inspect;
mod journal;
mod limits;
mod listing;
mod marks;
mod notes;
mod oauth;
mod people;
mod records;
mod recycle_bin;
mod reply;
mod rows;
mod schema;
mod search;
mod server;
mod settings;
mod watch;
mod world;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use clock::EmulatorClock;
pub use faults::{Failure, Faults};
pub use inspect::{Holdings, Inspector};
pub use journal::{Exchange, Taped};
pub use people::EmulatedUser;

use journal::Journal;
use reply::ApiError;
use schema::ModuleSpec;
use world::World;

/// A running emulator. It stops when dropped.
pub struct Emulator {
    shared: Arc<Shared>,
    api: SocketAddr,
    accounts: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

impl Emulator {
    /// Starts on the loopback interface.
    ///
    /// # Errors
    /// What the operating system says when a port cannot be opened.
    pub async fn start(options: EmulatorOptions) -> std::io::Result<Self> {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let api_listener = TcpListener::bind(loopback(options.api_port)).await?;
        let accounts_listener = TcpListener::bind(loopback(0)).await?;
        let (api, accounts) = (api_listener.local_addr()?, accounts_listener.local_addr()?);
        let clock = EmulatorClock::new(options.zone_minutes);
        let shared = Arc::new(Shared {
            world: Mutex::new(World::new(clock.now())),
            faults: Faults::default(),
            journal: Journal::default(),
            api_domain: OnceLock::from(
                options
                    .api_domain
                    .clone()
                    .unwrap_or_else(|| format!("http://{api}")),
            ),
            clock,
            under_way: AtomicUsize::new(0),
            spent: AtomicU64::new(0),
            options,
        });
        let tasks = [
            tokio::spawn(server::serve(
                api_listener,
                shared.clone(),
                server::Door::Api,
                server::api_routes(shared.clone()),
            )),
            tokio::spawn(server::serve(
                accounts_listener,
                shared.clone(),
                server::Door::Accounts,
                server::accounts_routes(shared.clone()),
            )),
        ];
        Ok(Self {
            shared,
            api,
            accounts,
            tasks,
        })
    }

    /// The API's address: scheme, host and port, no path.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// The accounts server's address: scheme, host and port, no path.
    #[must_use]
    pub fn accounts_url(&self) -> String {
        format!("http://{}", self.accounts)
    }

    /// The client id that the accounts server knows.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.shared.options.client_id
    }

    /// The client secret that goes with it.
    #[must_use]
    pub fn client_secret(&self) -> &str {
        &self.shared.options.client_secret
    }

    /// A refresh token that is good from the start.
    #[must_use]
    pub fn refresh_token(&self) -> &str {
        &self.shared.options.refresh_token
    }

    /// A code that can be exchanged once for tokens.
    #[must_use]
    pub fn grant_code(&self) -> &str {
        &self.shared.options.grant_code
    }

    /// The script of failures to come.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// The emulator's clock.
    #[must_use]
    pub fn clock(&self) -> &EmulatorClock {
        &self.shared.clock
    }

    /// Lets time pass at once, up to `seconds` since 1970, where the clock then stands. Access
    /// tokens are as good as before, as if their holders had renewed them on the way; whoever
    /// wants to see them expire moves the [clock](Self::clock).
    pub fn pass_until(&self, seconds: i64) {
        let by = seconds.saturating_sub(self.shared.clock.now());
        lock(&self.shared.world).tokens.prolong(by);
        self.shared.clock.freeze_at(seconds);
    }

    /// What is held behind the API, and what people do in the vendor's own user interface.
    #[must_use]
    pub fn inspect(&self) -> Inspector<'_> {
        Inspector::new(&self.shared)
    }

    /// Every request so far, oldest first; at most the last 20 000.
    #[must_use]
    pub fn journal(&self) -> Vec<Exchange> {
        self.shared.journal.all()
    }

    /// How many requests there were since the start, on both doors.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.journal.count()
    }

    /// Every exchange so far with its bodies, oldest first; empty without
    /// [`EmulatorOptions::tape`].
    #[must_use]
    pub fn taped(&self) -> Vec<Taped> {
        self.shared.journal.taped()
    }

    /// Empties the journal.
    pub fn clear_journal(&self) {
        self.shared.journal.clear();
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator")
            .field("api", &self.api)
            .field("accounts", &self.accounts)
            .finish_non_exhaustive()
    }
}

/// How the emulated organisation is set up.
#[derive(Clone)]
pub struct EmulatorOptions {
    /// The API's port; 0 picks a free one. The accounts server always picks its own.
    pub api_port: u16,
    /// What token replies name as `api_domain`; by default the API's own address.
    pub api_domain: Option<String>,
    /// Whether errors of record calls come bare, as real servers answer, and not in a list
    /// under `data`, as the published schemas say.
    pub bare_errors: bool,
    /// How many records one bulk read job gives: 200 000, as the vendor says.
    pub bulk_rows: usize,
    /// How many calls of one application may be under way: 429 beyond. As many as come unless
    /// told.
    pub concurrency: Option<usize>,
    /// The credits of a day: the remaining ones are told once half are gone, and 429 is the
    /// answer when they are spent. As many as are asked for unless told.
    pub credits: Option<u64>,
    /// The OAuth client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The code of the first exchange.
    pub grant_code: String,
    /// The refresh token.
    pub refresh_token: String,
    /// How long after a write the search index learns of it. COQL and reads by id see it at
    /// once.
    pub search_lag: Duration,
    /// Whether whole exchanges are kept, bodies and all. Off unless asked for: it grows without
    /// bound and holds what people are called.
    pub tape: bool,
    /// How long an access token is good.
    pub token_lifetime: Duration,
    /// How many access tokens the accounts server gives in ten minutes: ten, as the vendor says.
    pub tokens_in_ten_minutes: usize,
    /// The organisation's offset from UTC in minutes; all times are shown in it.
    pub zone_minutes: i32,
}

impl Default for EmulatorOptions {
    fn default() -> Self {
        Self {
            api_port: 0,
            api_domain: None,
            bare_errors: false,
            bulk_rows: 200_000,
            concurrency: None,
            credits: None,
            client_id: "1000.EMULATEDCLIENT".to_owned(),
            client_secret: "emulated-client-secret".to_owned(),
            grant_code: "1000.emulated-grant-code".to_owned(),
            refresh_token: "1000.emulated-refresh-token".to_owned(),
            search_lag: Duration::ZERO,
            tape: false,
            token_lifetime: Duration::from_secs(3_600),
            tokens_in_ten_minutes: 10,
            zone_minutes: 120,
        }
    }
}

impl fmt::Debug for EmulatorOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmulatorOptions")
            .field("api_port", &self.api_port)
            .field("api_domain", &self.api_domain)
            .field("bare_errors", &self.bare_errors)
            .field("search_lag", &self.search_lag)
            .field("token_lifetime", &self.token_lifetime)
            .finish_non_exhaustive()
    }
}

/// What all handlers share.
struct Shared {
    world: Mutex<World>,
    faults: Faults,
    journal: Journal,
    api_domain: OnceLock<String>,
    clock: EmulatorClock,
    /// Calls under way, and credits spent.
    under_way: AtomicUsize,
    spent: AtomicU64,
    options: EmulatorOptions,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    fn api_domain(&self) -> &str {
        self.api_domain.get().map_or("", String::as_str)
    }

    /// The search lag in seconds.
    fn lag(&self) -> i64 {
        i64::try_from(self.options.search_lag.as_secs()).unwrap_or(i64::MAX / 4)
    }

    fn module(&self, api_name: &str) -> Result<&'static ModuleSpec, ApiError> {
        schema::module(api_name).ok_or_else(ApiError::invalid_module)
    }

    /// The live record that a path like `/{module}/{id}/…` names.
    fn live_parent(&self, module: &str, id: &str) -> Result<(&'static ModuleSpec, u64), ApiError> {
        let module = self.module(module)?;
        let known = id
            .parse()
            .ok()
            .filter(|id| self.world().row(module, *id).is_some());
        known
            .map(|id| (module, id))
            .ok_or_else(|| ApiError::unknown_related_id(1))
    }

    /// The reply to a record call, with its error in a list under `data` unless asked otherwise.
    /// Calls about notes always answer bare.
    fn reply_rows(&self, module: &str, result: Result<Response, ApiError>) -> Response {
        match result {
            Ok(response) => response,
            Err(error) if self.options.bare_errors || module == "Notes" => error.into_response(),
            Err(error) => error.in_rows("data").into_response(),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// A handler that panicked under the lock leaves a world that is still worth serving.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn no_such_path() -> Response {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "INVALID_URL_PATTERN",
        "Please check if the URL trying to access is a correct one",
    )
    .into_response()
}

async fn no_such_method() -> Response {
    ApiError::bad(
        "INVALID_REQUEST_METHOD",
        "The http request method type is not a valid one",
    )
    .into_response()
}
