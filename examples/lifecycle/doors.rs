//! Opens the house on real parts: SQLite, a local keyring, real adapters over HTTP, and, where no
//! outside service was named, the emulators.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kta_agency::{FactSheets, PortalDesk, Register};
use kta_core::audit::Label;
use kta_core::crypto::Hierarchy;
use kta_core::id::TenantId;
use kta_core::memory::ManualClock;
use kta_core::pipeline::profile::Profile;
use kta_core::pipeline::{Doors, House};
use kta_core::policy::Sealer;
use kta_core::ports::Erase;
use kta_core::time::{Clock as _, Entropy, Timestamp};
use kta_dlp::DlpScanner;
use kta_http::Roots;
use kta_intake::{FormKey, Maildir, Site, TextLayer, WebForm};
use kta_keys::{LocalKeyring, OsEntropy, Unlock};
use kta_policy::CedarPolicy;
use kta_sharepoint::{AppCredential, Config, Folder, SharePoint};
use kta_storage::{DiskBlobs, SqliteKeyTable, SqliteStore};
use kta_zoho::{Credentials, ZohoConfig, ZohoCrm};

use crate::cast::{Failure, Manifest};
use crate::options::Options;

/// The house and the handles that the story needs besides its ports.
pub(crate) struct Opened {
    pub(crate) house: House,
    pub(crate) clock: ManualClock,
    pub(crate) mailbox: Arc<Maildir>,
    pub(crate) form: Arc<WebForm>,
    pub(crate) desk: Arc<PortalDesk>,
    pub(crate) crm: Arc<ZohoCrm>,
    pub(crate) facts: Arc<FactSheets>,
    pub(crate) store: SqliteStore,
    pub(crate) keyring: LocalKeyring,
    pub(crate) system: PathBuf,
    zoho: Option<kta_zoho::emulator::Emulator>,
    graph: Option<kta_sharepoint::emulator::Emulator>,
}

impl Opened {
    /// Lets time pass, for us and for the emulated services.
    pub(crate) fn pass_until(&self, at: Timestamp) {
        self.clock.set(at);
        if let Some(zoho) = &self.zoho {
            zoho.pass_until(at.timestamp());
        }
        if let Some(graph) = &self.graph {
            graph.set_now(at);
        }
    }

    /// Whether the CRM is somebody else's and not our emulator.
    pub(crate) const fn has_outside_crm(&self) -> bool {
        self.zoho.is_none()
    }

    /// Somebody gives a stranger access to the emulated CRM, behind the back of the list.
    pub(crate) fn slip_a_user_into_the_crm(&self) {
        if let Some(zoho) = &self.zoho {
            zoho.inspect().add_user(kta_zoho::emulator::EmulatedUser {
                id: 5_000_000_000_001,
                first_name: "Una".to_owned(),
                last_name: "Unlisted".to_owned(),
                email: "una@firm.example.com".to_owned(),
                active: true,
                confirmed: true,
                profile: 1,
                role: 1,
            });
        }
    }

    /// Every URL that went over the wire to the emulators, for the leak check.
    pub(crate) fn urls(&self) -> Vec<String> {
        let zoho = self.zoho.iter().flat_map(|emulator| emulator.journal());
        let graph = self.graph.iter().flat_map(|emulator| emulator.journal());
        zoho.map(|exchange| format!("{exchange:?}"))
            .chain(graph.map(|exchange| exchange.target))
            .collect()
    }
}

/// Opens everything below `out`, at the hour of the first delivery.
pub(crate) async fn open(
    options: &Options,
    manifest: &Manifest,
    tenant: TenantId,
    now: Timestamp,
) -> Result<Opened, Failure> {
    let system = options.out.join("system");
    std::fs::create_dir_all(&system)?;
    let clock = ManualClock::at(now);
    let (time, entropy): (Arc<ManualClock>, Arc<dyn Entropy>) =
        (Arc::new(clock.clone()), Arc::new(OsEntropy));

    let (zoho_config, zoho) = zoho(options).await?;
    let crm = ZohoCrm::new(zoho_config, Arc::clone(&entropy))?;
    let (graph_config, graph) = graph(options).await?;
    if let Some(emulator) = &zoho {
        emulator.clock().freeze_at(now.timestamp());
    }
    if let Some(emulator) = &graph {
        emulator.set_now(now);
    }
    let library = Arc::new(
        SharePoint::connect(graph_config, Arc::clone(&time) as _, Arc::clone(&entropy)).await?,
    );

    let store = SqliteStore::open(system.join("store.db"))?;
    let table = Arc::new(SqliteKeyTable::open(system.join("keys.db"))?);
    let blobs = Arc::new(DiskBlobs::open(system.join("blobs"))?);
    // A demonstration has nobody to type a passphrase; a firm does, or has an HSM.
    let passphrase = random_passphrase(&*entropy);
    let unlock = Unlock::passphrase(passphrase.into());
    let keyring = LocalKeyring::create(&system.join("keyring"), &unlock, Arc::clone(&entropy))?;
    let signer = Arc::new(keyring.signer("kta.example/audit")?);
    let keys = Hierarchy::open(
        tenant,
        Arc::new(keyring.clone()),
        table,
        Arc::clone(&entropy),
        clock.now(),
    )
    .await?;

    let gateway = kta_intake::mail::Gateway::named(&manifest.firm.gateway);
    let addresses = [manifest.firm.intake.clone()];
    let mailbox = Maildir::open(
        system.join("mailbox"),
        Label::fixed("mail"),
        gateway,
        addresses,
        Arc::clone(&time) as _,
    )?;
    let mailbox = Arc::new(mailbox);
    let form = WebForm::open(
        system.join("form"),
        Label::fixed("web-form"),
        Site {
            origin: format!("https://{}", manifest.firm.form_host),
            path: form_path(manifest),
            edition: manifest.firm.form_version.clone(),
            hsts: true,
            tls_header: TLS_HEADER.to_owned(),
        },
        form_key(&manifest.firm.form_key)?,
        Arc::clone(&time) as _,
        Arc::clone(&entropy),
    )?;
    let form = Arc::new(form);
    let facts = Arc::new(FactSheets::new());
    let desk = PortalDesk::open(
        &system.join("desk"),
        Register::shipped()?,
        Arc::clone(&facts) as _,
        Arc::clone(&signer) as _,
        &*entropy,
    )?;
    let desk = Arc::new(desk);
    let (shared_store, shared_crm) = (Arc::new(store.clone()), Arc::new(crm));
    let doors = Doors {
        store: Arc::clone(&shared_store) as _,
        jobs: Arc::clone(&shared_store) as _,
        ledger: Arc::clone(&shared_store) as _,
        blobs: Arc::clone(&blobs) as _,
        crm: Arc::clone(&shared_crm) as _,
        documents: Arc::clone(&library) as _,
        collaboration: Arc::clone(&library) as _,
        channel: Arc::clone(&desk) as _,
        scanner: Arc::new(DlpScanner::new()),
        reader: Arc::new(TextLayer),
        policy: Arc::new(CedarPolicy::shipped()?),
        clock: time,
        entropy: Arc::clone(&entropy),
        signer,
        erasers: vec![
            shared_store as Arc<dyn Erase>,
            blobs as _,
            Arc::clone(&shared_crm) as _,
            library as _,
            Arc::clone(&desk) as _,
            Arc::clone(&mailbox) as _,
            Arc::clone(&form) as _,
        ],
    };
    let mut house = House::new(tenant, doors, Sealer::new(Arc::new(keys), entropy));
    house
        .profiles
        .insert(Label::fixed("us.h1b"), Profile::h1b());
    house.verified_domains.push("example.com".to_owned());
    Ok(Opened {
        house,
        clock,
        mailbox,
        form,
        desk,
        crm: shared_crm,
        facts,
        store,
        keyring,
        system,
        zoho,
        graph,
    })
}

/// The header in which the firm's TLS end point tells the form which version was spoken.
pub(crate) const TLS_HEADER: &str = "x-tls-version";

fn form_path(_: &Manifest) -> String {
    "/forms/h1b".to_owned()
}

async fn zoho(
    options: &Options,
) -> Result<(ZohoConfig, Option<kta_zoho::emulator::Emulator>), Failure> {
    if let Some(zoho) = &options.zoho {
        let credentials = Credentials::new(
            zoho.client_id.clone(),
            zoho.client_secret.clone().into(),
            zoho.refresh_token.clone().into(),
        );
        return Ok((
            ZohoConfig::at(&zoho.api, &zoho.accounts, credentials)?,
            None,
        ));
    }
    let emulator =
        kta_zoho::emulator::Emulator::start(kta_zoho::emulator::EmulatorOptions::default()).await?;
    let credentials = Credentials::new(
        emulator.client_id().to_owned(),
        emulator.client_secret().to_owned().into(),
        emulator.refresh_token().to_owned().into(),
    );
    let config = ZohoConfig::at(&emulator.api_url(), &emulator.accounts_url(), credentials)?;
    Ok((config, Some(emulator)))
}

async fn graph(
    options: &Options,
) -> Result<(Config, Option<kta_sharepoint::emulator::Emulator>), Failure> {
    let folder = Folder::new("Matters").map_err(kta_core::Error::from)?;
    if let Some(graph) = &options.graph {
        let secret = AppCredential::secret(graph.client_secret.clone().into());
        let config = Config::new(
            &graph.graph,
            &graph.login,
            graph.tenant.clone(),
            graph.client_id.clone(),
            secret,
            graph.site.clone(),
        )?;
        // Destruction is off unless said; a tenant that was given one application alone has it do both.
        let config = match &graph.destroyer {
            Some((id, secret)) => {
                config.destroying_as(id, AppCredential::secret(secret.clone().into()))
            }
            None => config.destroying_as_itself(),
        };
        // With a secret SharePoint takes no application token for REST; probes say so.
        return Ok((config.without_rest().folder(folder), None));
    }
    let emulator =
        kta_sharepoint::emulator::Emulator::start(kta_sharepoint::emulator::Options::default())
            .await?;
    let secret = || AppCredential::secret(emulator.client_secret().to_owned().into());
    let config = Config::new(
        emulator.graph_url(),
        emulator.login_url(),
        emulator.tenant(),
        emulator.client_id(),
        secret(),
        emulator.site(),
    )?
    .destroying_as(emulator.destroyer_id(), secret());
    Ok((
        config.folder(folder).trusting(Roots::Only(Vec::new())),
        Some(emulator),
    ))
}

fn form_key(hex: &str) -> Result<FormKey, Failure> {
    let mut bytes = [0; 32];
    let digits = hex.as_bytes();
    if digits.len() != 64 {
        return Err("the form key of the manifest is not 32 bytes".into());
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair)?, 16)?;
    }
    Ok(FormKey::new(bytes))
}

fn random_passphrase(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 24];
    entropy.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A fresh place to work in: what an earlier run left there is removed, anything else is not
/// touched and stops us.
pub(crate) fn clear(out: &Path) -> Result<(), Failure> {
    if !out.exists() {
        return Ok(std::fs::create_dir_all(out)?);
    }
    let ours = |name: &str| {
        [
            "audit.vkey",
            "certificates",
            "disclosures.jsonl",
            "log",
            "manifest",
            "measures.jsonl",
            "receipts",
            "refusals.jsonl",
            "story.md",
            "system",
        ]
        .contains(&name)
    };
    for entry in std::fs::read_dir(out)? {
        if !entry?.file_name().to_str().is_some_and(ours) {
            return Err("the output folder holds files of somebody else".into());
        }
    }
    std::fs::remove_dir_all(out)?;
    Ok(std::fs::create_dir_all(out)?)
}
