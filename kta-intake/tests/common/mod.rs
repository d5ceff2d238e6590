//! What the channel tests share: a gate that lets everybody in, and the family's input.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kta_core::audit::Label;
use kta_core::id::{ActorId, Digest, TenantId};
use kta_core::memory::{ManualClock, MemoryStore, SeededEntropy};
use kta_core::policy::{
    AccessRequest, Decision, Gate, Policy, Purpose, Reason, Role, Session, Verdict,
};
use kta_core::time::Timestamp;
use kta_intake::mail::Gateway;
use kta_intake::{FormKey, Maildir, Site, WebForm};

#[derive(Debug)]
struct Open;

impl Policy for Open {
    fn decide(&self, _: &AccessRequest<'_>) -> Decision {
        let reason = Reason {
            rule: Label::fixed("test.open"),
            text: "everybody may".into(),
        };
        let policy = Digest::of(b"open");
        Decision {
            verdict: Verdict::Permit,
            reasons: vec![reason],
            obligations: Vec::new(),
            policy,
        }
    }
}

pub(crate) fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn clock() -> ManualClock {
    ManualClock::at(instant("2026-03-02T08:20:00Z"))
}

pub(crate) fn gate() -> Gate {
    let (policy, store) = (Arc::new(Open), Arc::new(MemoryStore::new()));
    let entropy = Arc::new(SeededEntropy::new(1));
    Gate::new(
        TenantId::from_bytes([1; 16]),
        policy,
        store,
        Arc::new(clock()),
        entropy,
    )
}

pub(crate) fn session(gate: &Gate) -> Session<'_> {
    gate.session(
        ActorId::from_bytes([2; 16]),
        Role::Intake,
        Purpose::Representation,
    )
}

pub(crate) fn maildir(root: &Path) -> Maildir {
    let gateway = Gateway::named("mx.kta.example");
    Maildir::open(
        root,
        Label::fixed("mail"),
        gateway,
        ["intake@kta.example"],
        Arc::new(clock()),
    )
    .unwrap()
}

pub(crate) fn web_form(root: &Path, clock: &ManualClock) -> WebForm {
    web_form_at("https://intake.kta.example", "/forms/h1b", root, clock)
}

pub(crate) fn web_form_at(origin: &str, path: &str, root: &Path, clock: &ManualClock) -> WebForm {
    let site = Site {
        origin: origin.into(),
        path: path.into(),
        edition: "h1b-family-2026-02".into(),
        hsts: true,
        tls_header: "x-tls-version".into(),
    };
    let hex = "5045434d454e2d6e6f742d612d7365637265742d5350454349454e2d6b657921";
    let mut key = [0; 32];
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
    }
    let entropy = Arc::new(SeededEntropy::new(3));
    let clock = Arc::new(clock.clone());
    WebForm::open(
        root,
        Label::fixed("web-form"),
        site,
        FormKey::new(key),
        clock,
        entropy,
    )
    .unwrap()
}

pub(crate) fn family(file: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/family");
    std::fs::read(folder.join(file)).unwrap()
}
