//! A day of a firm in Microsoft 365, against the emulator: a client's mail comes in, a matter gets a library, a
//! document is stored, somebody shares it with anyone, and the evening's survey and audit log tell.
//!
//! `cargo run --release --example graph_day`

use futures_util::StreamExt as _;
use kta_core::audit::Label;
use kta_core::conformance::Desk;
use kta_core::id::{Digest, DocumentId, IdempotencyKey};
use kta_core::memory::SeededEntropy;
use kta_core::pii::{Category, Classification, Content, Document, DocumentKind, MediaType};
use kta_core::policy::{Act, Role, Scope};
use kta_core::ports::{
    AuditFeed as _, Delivery, Documents as _, Intake as _, Recipient, SharedRole,
};
use kta_http::Roots;
use kta_intake::MailOpener;
use kta_intake::mail::Gateway;
use kta_sharepoint::emulator::{Emulator, Options};
use kta_sharepoint::{
    Allowed, AppCredential, AuditPlan, Baseline, Config, Known, Mailbox, Opener, RawMessage,
    Settings, SharePoint,
};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let emulator = Emulator::start(Options::default()).await?;
    let desk = Desk::new("graph day");
    emulator.set_now(desk.now());
    let config = config(&emulator)?;

    // The mailbox: one message, taken in and put away.
    emulator.deliver(LETTER);
    let mailbox = Mailbox::open(
        &config,
        emulator.mailbox(),
        Label::fixed("mail"),
        Arc::new(Letters(MailOpener::new(
            Gateway::named("mx.kta.example"),
            [emulator.mailbox()],
        ))),
        Arc::new(desk.clock().clone()),
        Arc::new(SeededEntropy::new(1)), // a demonstration's; in earnest, the system's
    )
    .await?;
    let intake = desk.session(Role::Intake);
    let receive = intake.permit(Act::Receive, Scope::firm()).await?;
    let delivery = mailbox.oldest(&receive).await?.ok_or("no mail")?;
    mailbox.acknowledge(delivery.id, &receive).await?;
    let waits = mailbox.oldest(&receive).await?.is_some();
    say(&format!("mail: taken in, put away, more waiting: {waits}"))?;

    // A library for the matter, and a document in it.
    let ann = emulator.add_person("ann@firm.example", false);
    let site = connect(config.clone(), &desk).await?;
    let ciso = desk.session(Role::Ciso);
    let manage = ciso.permit(Act::Manage, Scope::firm()).await?;
    let team = [(Recipient::new("ann@firm.example".into())?, SharedRole::Edit)];
    let drive = site.found(desk.matter(), &team, &manage).await?;
    let library = connect(config.library(drive.as_str()), &desk).await?;
    let worker = desk.session(Role::Paralegal);
    let scope = desk.whole(desk.beneficiary());
    let store = worker.permit(Act::Store, scope).await?;
    let (document, content) = paper(&desk);
    let key = IdempotencyKey::derived("graph day", &[document.id.as_bytes()]);
    let stored = library.put(&document, None, content, key, &store).await?;
    let mut back = library
        .content(&document, &stored.locator, &store)
        .await?
        .into_stream(&store);
    while let Some(chunk) = back.next().await {
        chunk?; // the digest is checked as it passes
    }
    say(&format!(
        "library: one document, version {}",
        stored.version
    ))?;
    drop((store, manage));

    // Somebody shares it with whoever has the link; the evening's survey finds it.
    emulator.link_anyone(stored.locator.as_str());
    let review = ciso.permit(Act::Review, Scope::firm()).await?;
    let known = [Known {
        document: document.id,
        matter: document.matter,
        versions: BTreeSet::from([stored.version]),
    }];
    let allowed = Allowed {
        people: BTreeSet::from([kta_core::pii::Locator::new(ann)?]),
        ..Allowed::default()
    };
    let allowed = BTreeMap::from([(desk.matter(), allowed)]);
    let survey = library.survey(&known, &allowed, &review).await?;
    say(&format!(
        "survey: {} file, findings {:?}",
        survey.files, survey.findings
    ))?;

    // The vendor's own log of it, and whether the tenant is set as the firm wants.
    let (from, to) = (desk.now(), emulator.now());
    let rows = library.rows(from, to, &review).await?;
    let plan = AuditPlan::of(&[], desk.now() - chrono::TimeDelta::days(60), desk.now());
    let due = plan.due.len();
    say(&format!(
        "audit: {} rows, {due} older intervals due",
        rows.len()
    ))?;
    let settings = Settings::parse(EXPORT.as_bytes())?;
    let drift = Baseline::shipped()?.drift(&settings, desk.now())?;
    say(&format!(
        "tenant: {} settings differ or are missing",
        drift.len()
    ))?;
    Ok(())
}

fn config(emulator: &Emulator) -> Result<Config, kta_core::Error> {
    let config = Config::new(
        emulator.graph_url(),
        emulator.login_url(),
        emulator.tenant(),
        emulator.client_id(),
        AppCredential::secret(emulator.client_secret().to_owned().into()),
        emulator.site(),
    )?;
    // Nothing here speaks TLS.
    Ok(config.trusting(Roots::Only(Vec::new())))
}

async fn connect(config: Config, desk: &Desk) -> Result<SharePoint, kta_core::Error> {
    let clock = Arc::new(desk.clock().clone());
    SharePoint::connect(config, clock, Arc::new(SeededEntropy::new(2))).await
}

fn paper(desk: &Desk) -> (Document, Content) {
    let bytes = bytes::Bytes::from_static(b"an invented paper\n");
    let (digest, length) = (Digest::of(&bytes), bytes.len() as u64);
    let document = Document {
        tenant: desk.tenant(),
        id: DocumentId::derived(&[b"graph day"]),
        subject: desk.beneficiary(),
        matter: desk.matter(),
        kind: DocumentKind::Passport,
        classification: Classification::of(Category::Identity),
        digest,
        length,
        media: MediaType::text(),
        derived_from: Vec::new(),
    };
    let stream = Box::pin(futures_util::stream::iter([Ok(bytes)]));
    let content = Content::new(length, digest, MediaType::text(), stream);
    (document, content)
}

/// The reader of `kta-intake`, for the mailbox.
#[derive(Debug)]
struct Letters(MailOpener);

impl Opener for Letters {
    fn open(&self, message: RawMessage<'_>) -> Delivery {
        self.0.open(message.locator, message.at, message.mime)
    }
}

fn say(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}

const LETTER: &[u8] = b"Authentication-Results: mx.kta.example; dmarc=pass\r\n\
Received: from mail.client.example by mx.kta.example with ESMTPS; Mon, 2 Mar 2026 08:05:04 +0000\r\n\
From: testa@client.example\r\nTo: intake@firm.example\r\nSubject: my papers\r\n\r\nhello\r\n";

/// What an administrator exported, cut short.
const EXPORT: &str = r#"{"taken": "2026-01-15T08:00:00Z",
    "settings": {"SharingCapability": "ExternalUserAndGuestSharing", "LegacyAuthProtocolsEnabled": false}}"#;
