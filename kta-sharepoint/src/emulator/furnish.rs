//! The tenant as it is before anything has happened, and the certificate of its ports.

use super::ids::Ids;
use super::state::{Hold, LabelRule, Settings, Site, State};
use super::{MAILBOX, audit, directory, labels, mail, rich};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, ServerConfig, pki_types::PrivatePkcs8KeyDer};

/// A tenant with a site, labels, a mailbox and two applications.
pub(super) fn tenant(settings: Settings, mut ids: Ids) -> State {
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
        one_subscription_each: false,
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
pub(super) fn tls() -> io::Result<(TlsAcceptor, String)> {
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
