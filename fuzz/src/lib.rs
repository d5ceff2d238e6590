//! What every parser of the house owes to garbage: an answer, in bounded memory and time.
//!
//! One function a parser. Each gives back whether the input was taken for good, and panics when
//! the parser broke its word: output out of proportion to the input, a text that is read but is
//! not its own written form, a signature or seal accepted over bytes that nobody signed or sealed.
//! `fuzz_targets` calls them under libFuzzer, `tests/fuzz.rs` of the house on the stable toolchain.
#![forbid(unsafe_code)]
#![allow(
    unreachable_pub,
    reason = "a crate of its own under libFuzzer, a module in the house's test"
)]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use kta_agency::Register;
use kta_core::audit::{Entry, Manifest, NoteKey, Proof, SignedCheckpoint, SignedNote};
use kta_core::crypto::{Envelope, RecordKey, SealContext, SecretKey, SubjectKey};
use kta_core::id::{ActorId, MatterId, RecordId, SubjectId, TenantId};
use kta_core::pii::Category;
use kta_core::pii::identifier::Mrz;
use kta_core::policy::{
    AccessContext, AccessRequest, Act, Actor, Object, Policy as _, Purpose, Role,
};
use kta_core::retention::Certificate;
use kta_core::{Error, FaultKind, Port};
use kta_dlp::Scan;
use kta_http::Origin;
use kta_intake::form::{self, Head};
use kta_intake::mail::{self, Gateway};
use kta_intake::safety::{self, Kind};
use kta_intake::{Limits, judge_mail, text_layer};
use kta_policy::{CedarPolicy, Pack, simulate};

/// A message, and whatever is attached to it.
pub fn mime(data: &[u8]) -> bool {
    let (data, gateway, limits) = (
        cut(data, LONG),
        Gateway::named("mx.kta.example"),
        Limits::default(),
    );
    if let Ok(facts) = mail::way(data, &gateway, &limits) {
        assert_eq!(judge_mail(&facts), judge_mail(&facts));
    }
    let Ok(letter) = mail::read(data, &gateway, &limits) else {
        return false;
    };
    let texts = letter.sender.len() + letter.subject.len() + letter.body.len();
    let recipients: usize = letter.recipients.iter().map(String::len).sum();
    let attached: usize = letter.attachments.iter().map(|one| one.bytes.len()).sum();
    // A charset of one byte a letter becomes three of UTF-8.
    in_proportion(texts + recipients + attached, data, 4);
    for one in &letter.attachments {
        attachment(one.name.as_deref(), &one.bytes, &limits);
    }
    true
}

/// A web-form post: head, empty line, body.
pub fn form(data: &[u8]) -> bool {
    let (data, limits) = (cut(data, LONG), Limits::default());
    let split = data.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = data.split_at(split.map_or(data.len(), |at| at + 4));
    let Ok(head) = Head::parse(head, limits.header) else {
        return false;
    };
    let content_type = head.only("content-type").unwrap_or_default();
    let Ok(post) = at_once(form::read(content_type, body.to_vec().into(), &limits)) else {
        return false;
    };
    let texts: usize = post
        .fields
        .iter()
        .map(|(name, text)| name.len() + text.len())
        .sum();
    let files: usize = post.files.iter().map(|file| file.bytes.len()).sum();
    in_proportion(texts + files, data, 4);
    for file in &post.files {
        attachment(file.name.as_deref(), &file.bytes, &limits);
    }
    !post.fields.is_empty()
}

fn attachment(name: Option<&str>, bytes: &[u8], limits: &Limits) {
    if let Ok(kind @ (Kind::Pdf | Kind::Docx | Kind::Text)) = safety::check(name, bytes, limits) {
        let _ = text_layer(bytes, kind);
        let zones = kta_intake::machine_readable_zones(bytes, kind);
        assert!(zones.iter().all(|zone| mrz(zone.reveal().as_bytes())));
    }
}

/// The machine readable zone of a passport, visa or card.
pub fn mrz(data: &[u8]) -> bool {
    let Ok(zone) = Mrz::parse(&text(data, SHORT)) else {
        return false;
    };
    let written = zone.reveal();
    assert!(written.len() <= 92, "no zone is longer than three lines");
    assert!(
        Mrz::parse(&written) == Ok(zone),
        "a zone is not its own text"
    );
    true
}

/// Cedar texts: as grants, as bars and as a schema. What loads must also decide.
pub fn policy(data: &[u8]) -> bool {
    let text = text(data, 16 << 10);
    let tries = [(SCHEMA, &*text, ""), (SCHEMA, "", &*text), (&*text, "", "")];
    let mut loaded = false;
    for (schema, grants, bars) in tries {
        match CedarPolicy::new(schema, grants, bars) {
            Ok(policy) => {
                loaded = true;
                let twice = [decide(&policy), decide(&policy)];
                assert_eq!(twice[0], twice[1]);
            }
            Err(error) => assert_eq!(fault(&error), Some(FaultKind::Misconfigured)),
        }
    }
    loaded
}

fn decide(policy: &CedarPolicy) -> String {
    let actor = Actor::new(ActorId::derived(&[b"nobody"]), Role::Paralegal);
    let now = NOON.parse().expect("a fixed instant");
    let decision = policy.decide(&AccessRequest {
        actor: &actor,
        role: Role::Paralegal,
        act: Act::Open,
        object: Object {
            matter: None,
            subject: None,
            category: Category::Identity,
            restricted: false,
            held: false,
        },
        purpose: Purpose::Representation,
        basis: None,
        context: AccessContext::at(now),
    });
    format!("{decision:?}")
}

/// A retention pack.
pub fn pack(data: &[u8]) -> bool {
    let text = text(data, LONG);
    let Ok(pack) = Pack::parse(&text) else {
        return false;
    };
    let today = NOON[..10].parse().expect("a fixed day");
    if let Ok(schedules) = simulate(&[pack], today) {
        let rules: Vec<_> = schedules
            .values()
            .flat_map(|schedule| &schedule.rules)
            .collect();
        assert!(rules.iter().all(|rule| !rule.verified), "nobody signed it");
        // A class costs four bytes of text at least, and so does each further place of a row.
        // A row on every class stands in each for nothing; eight may.
        let (classes, bytes) = (schedules.len(), text.as_bytes());
        in_proportion(classes * 4, bytes, 1);
        in_proportion(rules.len().saturating_sub(classes * 8) * 4, bytes, 1);
    }
    true
}

/// A sealed value. True when it opens, which only bytes that were sealed may.
pub fn envelope(data: &[u8]) -> bool {
    let data = cut(data, SHORT);
    let Ok(envelope) = Envelope::parse(data) else {
        return false;
    };
    assert!(envelope.as_bytes() == data && !format!("{envelope:?}").contains("Testa"));
    let (key, place) = (record_key(), place());
    let elsewhere = SealContext {
        revision: place.revision + 1,
        ..place
    };
    assert!(key.open(&elsewhere, &envelope).is_err());
    let Ok(value) = key.open(&place, &envelope) else {
        return false;
    };
    let known: [&[u8]; 5] = [b"", b"L898902C3", &[0x5A; 100], &[0x5A; 300], &[0x80, 0]];
    assert!(known.contains(&value.as_slice()), "a forged value opened");
    true
}

fn record_key() -> RecordKey {
    let SealContext {
        tenant,
        subject,
        record,
        ..
    } = place();
    SubjectKey::new(tenant, subject, 1, &SecretKey::from_bytes([0x42; 32])).record_key(record)
}

/// The place at which the known envelopes of `kta-core/vectors` were sealed.
fn place() -> SealContext<'static> {
    SealContext {
        tenant: TenantId::from_bytes([1; 16]),
        subject: SubjectId::from_bytes([2; 16]),
        matter: Some(MatterId::from_bytes([3; 16])),
        record: RecordId::from_bytes([4; 16]),
        field: "passport.number",
        revision: 5,
    }
}

/// A certificate of destruction: its JSON, or the signed note around it.
pub fn certificate(data: &[u8]) -> bool {
    let data = cut(data, LONG);
    let signed = SignedNote::parse(data);
    let body = signed.as_ref().map_or(data, |note| note.text().as_bytes());
    if let Ok(note) = &signed
        && note.verify_only(&key()).is_ok()
    {
        assert_eq!(note.text(), CERTIFICATE, "a forged certificate verified");
    }
    let Ok(certificate) = serde_json::from_slice::<Certificate>(body) else {
        return false;
    };
    let written = certificate.text();
    in_proportion(written.len(), body, 2);
    let again: Certificate = serde_json::from_str(&written).expect("what was written is read");
    assert_eq!(again, certificate);
    assert_eq!(again.digest(), certificate.digest());
    true
}

/// An entry of the audit log, which has one written form.
pub fn log_entry(data: &[u8]) -> bool {
    let data = cut(data, LONG);
    let Ok(entry) = Entry::parse(data) else {
        return false;
    };
    assert_eq!(entry.canonical(), data);
    true
}

/// What is signed about the log: checkpoint, proof, list of files, and the key itself. True when
/// it verifies, which only what was signed may.
pub fn checkpoint_note(data: &[u8]) -> bool {
    let (data, key) = (cut(data, LONG), key());
    let mut verified = false;
    if let Ok(checkpoint) = SignedCheckpoint::parse(data) {
        assert_eq!(SignedNote::parse(data).as_ref(), Ok(checkpoint.note()));
        if checkpoint.verify(&key).is_ok() {
            let text = checkpoint.note().text();
            assert!(CHECKPOINT.starts_with(text), "a forged checkpoint verified");
            verified = true;
        }
    }
    if let Ok(proof) = Proof::parse(data) {
        assert_eq!(
            proof.to_string().as_bytes(),
            data,
            "a proof has one written form"
        );
        if let Ok((entry, _)) = proof.verify(&key) {
            let proved = Proof::parse(PROOF.as_bytes()).expect("the specimen is a proof");
            assert_eq!(
                entry.canonical(),
                proved.entry(),
                "a forged entry was proved"
            );
            verified = true;
        }
    }
    if let Ok(manifest) = Manifest::open(data, &key) {
        assert!(
            MANIFEST.starts_with(&manifest.text()),
            "a forged list verified"
        );
        verified = true;
    }
    if let Ok(text) = core::str::from_utf8(data)
        && let Ok(key) = text.trim_end().parse::<NoteKey>()
    {
        assert_eq!(key.to_string(), text.trim_end());
        verified = true;
    }
    verified
}

fn key() -> NoteKey {
    KEY.trim_end().parse().expect("the specimen is a key")
}

/// A form of the agency register.
pub fn agency_register(data: &[u8]) -> bool {
    let text = text(data, LONG);
    match Register::read([&*text]) {
        Ok(register) => {
            assert_eq!(register.forms().count(), 1);
            let twice = Register::read([&*text, &*text]);
            assert!(twice.is_err(), "one form stood there twice");
            true
        }
        Err(error) => {
            assert_eq!(fault(&error), Some(FaultKind::Misconfigured));
            false
        }
    }
}

/// Configured addresses, one a line: every one must be encrypted or this machine itself.
pub fn config(data: &[u8]) -> bool {
    let text = text(data, SHORT);
    let mut good = false;
    for line in text.lines() {
        let Ok(origin) = Origin::parse(line, Port::Crm) else {
            continue;
        };
        let url = origin.url(["a", "b"]).expect("two plain segments");
        let here = ["localhost", "127.0.0.1", "[::1]"];
        let host = url.host_str().unwrap_or_default();
        let encrypted = url.scheme() == "https";
        let loopback = here.contains(&host) || host.starts_with("127.");
        assert!(encrypted || loopback, "plain http would leave this machine");
        assert!(url.username().is_empty() && url.path() == "/a/b");
        good = true;
    }
    good
}

/// Text in which personal values are looked for.
pub fn dlp_text(data: &[u8]) -> bool {
    let text = text(data, 8 << 10);
    let findings = Scan::new().text(&text);
    let mut last = 0;
    for finding in &findings {
        let (start, end) = (finding.start as usize, finding.end as usize);
        assert!(
            last <= start && start < end,
            "findings overlap or are out of order"
        );
        assert!(text.get(start..end).is_some(), "not on borders of letters");
        last = end;
    }
    let streamed = Scan::new()
        .reader(text.as_bytes())
        .expect("a slice is read");
    assert_eq!(streamed, findings, "a stream is not the whole");
    if let Ok(redacted) = kta_dlp::redact(&text, &[]) {
        // The longest mark stands for the shortest value.
        in_proportion(redacted.len(), text.as_bytes(), 16);
        assert!(Scan::new().text(&redacted).is_empty(), "something was left");
    }
    !findings.is_empty()
}

/// A target: whether the input was taken for good. Panics when its parser broke its word.
pub type Target = fn(&[u8]) -> bool;

/// Every parser, by the name of its target.
pub const TARGETS: [(&str, Target); 12] = [
    ("agency_register", agency_register),
    ("certificate", certificate),
    ("checkpoint_note", checkpoint_note),
    ("config", config),
    ("dlp_text", dlp_text),
    ("envelope", envelope),
    ("form", form),
    ("log_entry", log_entry),
    ("mime", mime),
    ("mrz", mrz),
    ("pack", pack),
    ("policy", policy),
];

fn cut(data: &[u8], most: usize) -> &[u8] {
    &data[..data.len().min(most)]
}

fn text(data: &[u8], most: usize) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(cut(data, most))
}

fn in_proportion(out: usize, data: &[u8], times: usize) {
    let most = data.len() * times + 1024;
    assert!(out <= most, "{out} bytes out of {}", data.len());
}

fn fault(error: &Error) -> Option<FaultKind> {
    error.fault().map(kta_core::Fault::kind)
}

/// The result of a future that waits for nothing outside.
fn at_once<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
    panic!("reading from memory does not end");
}

/// Bytes of the largest input: more than any message of the family.
const LONG: usize = 256 << 10;
/// Bytes of the largest input where a good one has a few dozen.
const SHORT: usize = 64 << 10;

const NOON: &str = "2026-11-22T12:00:00Z";
const SCHEMA: &str = include_str!("../../kta-policy/policies/schema.cedarschema");
const KEY: &str = include_str!("../seeds/audit.vkey");
const CERTIFICATE: &str = include_str!("../seeds/certificate.json");
const CHECKPOINT: &str = include_str!("../seeds/checkpoint");
const MANIFEST: &str = include_str!("../seeds/manifest");
const PROOF: &str = include_str!("../seeds/entry.tlog-proof");
