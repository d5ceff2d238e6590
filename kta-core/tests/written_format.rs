//! The known answers of the written formats: this crate makes them, reads them, and refuses what
//! is to be refused; a second program, written from the page alone, makes the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use futures_util::{TryStreamExt as _, stream};
use kta_core::crypto::index::Normal;
use kta_core::crypto::{
    Envelope, IndexKey, IndexPlan, RecordHeader, RecordKey, SealContext, SecretKey, SubjectKey,
    segments, together, wrap,
};
use kta_core::id::{Digest, MatterId, RecordId, SubjectId, TenantId};
use kta_core::pii::FieldGroup;
use kta_core::ports::kms::WrappedKey;
use kta_core::time::Entropy;
use serde_json::Value;

const KNOWN: &str = include_str!("../vectors/sealing.json");

#[tokio::test]
async fn every_known_answer_is_made_and_read_and_every_flaw_refused() {
    let document: Value = serde_json::from_str(KNOWN).unwrap();
    let mut counts = BTreeMap::<String, u32>::new();
    for case in document["cases"].as_array().unwrap() {
        let case = Case(case);
        let name = format!("{}: {}", case.text("format"), case.text("name"));
        if case.0.get("refused").is_some() {
            case.is_refused(&name);
            *counts.entry("refused".to_owned()).or_default() += 1;
            continue;
        }
        match case.text("format") {
            "content" => case.content(&name).await,
            "envelope" => case.envelope(&name),
            "fingerprint" => {
                let made = case.subject_key().fingerprint();
                case.is(made.as_bytes(), &name);
            }
            "group" => case.group(&name),
            "header" => case.header(&name),
            "index" => case.index(&name),
            "mark" => {
                let mark = case.index_key(1).mark(case.text("field"), &case.normal());
                case.is(mark.as_bytes(), &name);
            }
            "wrapped" => case.wrapped(&name),
            other => panic!("{name}: unknown format {other}"),
        }
        *counts.entry(case.text("format").to_owned()).or_default() += 1;
    }
    let formats: Vec<_> = counts.keys().map(String::as_str).collect();
    let expected = [
        "content",
        "envelope",
        "fingerprint",
        "group",
        "header",
        "index",
        "mark",
        "refused",
        "wrapped",
    ];
    assert_eq!(formats, expected);
    assert!(
        counts["refused"] >= 21 && counts["envelope"] >= 9,
        "{counts:?}"
    );
}

#[test]
fn a_second_program_makes_the_same_answers() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/check.py");
    let run = Command::new("python3").arg(script).output();
    let run = run.expect("python3 is there: scripts/test asks for it");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

/// The next draw is this, and there is one.
#[derive(Debug)]
struct Drawn(Vec<u8>);

impl Entropy for Drawn {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0);
    }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

struct Case<'a>(&'a Value);

impl<'a> Case<'a> {
    fn text(&self, name: &str) -> &'a str {
        self.0[name]
            .as_str()
            .unwrap_or_else(|| panic!("{name} is text"))
    }

    fn number(&self, name: &str) -> u64 {
        self.0[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name} is a number"))
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        bytes_of(self.text(name))
    }

    fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap()
    }

    fn value(&self) -> Vec<u8> {
        let times = self.0.get("times").and_then(Value::as_u64).unwrap_or(1);
        self.bytes("value").repeat(times as usize)
    }

    fn drawn(&self, name: &str) -> Drawn {
        Drawn(self.bytes(name))
    }

    fn subject_key(&self) -> SubjectKey {
        SubjectKey::new(
            TenantId::from_bytes(self.array("tenant")),
            SubjectId::from_bytes(self.array("subject")),
            self.number("generation") as u32,
            &SecretKey::from_bytes(self.array("subject_key")),
        )
    }

    fn record_key(&self) -> RecordKey {
        self.subject_key()
            .record_key(RecordId::from_bytes(self.array("record")))
    }

    fn place(&self) -> SealContext<'a> {
        let matter = self.0["matter"].as_str().is_some();
        SealContext {
            tenant: TenantId::from_bytes(self.array("tenant")),
            subject: SubjectId::from_bytes(self.array("subject")),
            matter: matter.then(|| MatterId::from_bytes(self.array("matter"))),
            record: RecordId::from_bytes(self.array("record")),
            field: self.text("field"),
            revision: self.number("revision"),
        }
    }

    /// These bytes are the ones that are written down.
    fn is(&self, made: &[u8], name: &str) {
        if self.0.get("written").is_some() {
            assert_eq!(made, self.bytes("written"), "{name}");
        } else {
            assert_eq!(made.len() as u64, self.number("written_length"), "{name}");
            let digest = Digest::from_bytes(self.array("written_sha256"));
            assert_eq!(Digest::of(made), digest, "{name}");
        }
    }

    fn envelope(&self, name: &str) {
        let (key, value) = (self.record_key(), self.value());
        let made = key
            .seal(&self.place(), &value, &self.drawn("nonce"))
            .unwrap();
        self.is(made.as_bytes(), name);
        let read = Envelope::parse(made.into_bytes()).unwrap();
        assert_eq!(**key.open(&self.place(), &read).unwrap(), value, "{name}");
    }

    fn values(&self) -> Vec<Vec<u8>> {
        let values = self.0["values"].as_array().unwrap();
        values
            .iter()
            .map(|text| bytes_of(text.as_str().unwrap()))
            .collect()
    }

    fn group(&self, name: &str) {
        let values = self.values();
        let slices: Vec<_> = values.iter().map(Vec::as_slice).collect();
        let group = FieldGroup::parse(self.text("field")).unwrap();
        assert_eq!(group.names().len(), values.len(), "{name}");
        let (key, value) = (self.record_key(), together::joined(&slices));
        let made = key
            .seal(&self.place(), &value, &self.drawn("nonce"))
            .unwrap();
        self.is(made.as_bytes(), name);
        let read = Envelope::parse(made.into_bytes()).unwrap();
        let opened = key.open(&self.place(), &read).unwrap();
        let parted = together::parted(&opened, values.len()).unwrap();
        assert_eq!(parted, slices, "{name}");
    }

    fn is_refused(&self, name: &str) {
        let opened = Envelope::parse(self.bytes("written"))
            .and_then(|sealed| self.record_key().open(&self.place(), &sealed));
        let refused = match self.text("format") {
            "envelope" => opened.unwrap_err(),
            "group" => {
                let parted = opened.and_then(|value| {
                    together::parted(&value, self.values().len())?;
                    Ok(())
                });
                parted.unwrap_err()
            }
            other => panic!("{name}: nothing of {other} is refused here"),
        };
        let code = refused.refusal().unwrap().code();
        assert_eq!(code.as_str(), self.text("refused"), "{name}");
    }

    fn header(&self, name: &str) {
        let (key, revision) = (self.record_key(), self.number("record_revision"));
        let fields: Vec<_> = self.0["fields"]
            .as_array()
            .unwrap()
            .iter()
            .map(Case)
            .collect();
        // Of a sealed value the header knows its tag.
        let sealed: Vec<_> = fields
            .iter()
            .map(|field| {
                let mut bytes = vec![0; Envelope::OVERHEAD];
                (bytes[0], bytes[1]) = (1, 1);
                bytes[Envelope::OVERHEAD - 16..].copy_from_slice(&field.bytes("tag"));
                Envelope::parse(bytes).unwrap()
            })
            .collect();
        let listed = fields.iter().zip(&sealed);
        let listed = listed.map(|(field, sealed)| {
            let class = u16::try_from(field.number("classification")).unwrap();
            (field.text("field"), field.number("revision"), class, sealed)
        });
        let made = RecordHeader::seal(&key, revision, listed.clone()).unwrap();
        self.is(made.as_bytes(), name);
        made.check(&key, revision, listed).unwrap();
    }

    async fn content(&self, name: &str) {
        let (key, value) = (self.record_key(), self.value());
        let once = |bytes: Vec<u8>| stream::iter([Ok(Bytes::from(bytes))]);
        let made = segments::seal(
            &key,
            &self.place(),
            once(value.clone()),
            &self.drawn("salt"),
        )
        .unwrap();
        let made: Vec<Bytes> = made.try_collect().await.unwrap();
        self.is(&made.concat(), name);
        let read = segments::open(&key, self.place(), once(made.concat())).unwrap();
        let read: Vec<Bytes> = read.try_collect().await.unwrap();
        assert_eq!(read.concat(), value, "{name}");
    }

    fn wrapped(&self, name: &str) {
        let (key, secret) = (self.array("key"), self.array("secret"));
        let (key, secret) = (SecretKey::from_bytes(key), SecretKey::from_bytes(secret));
        let context = self.bytes("context");
        let made = wrap::wrap(&key, &secret, &context, &self.drawn("nonce")).unwrap();
        self.is(made.as_bytes(), name);
        let read = WrappedKey::from_bytes(made.as_bytes().to_vec());
        assert_eq!(wrap::unwrap(&key, &read, &context), Ok(secret), "{name}");
    }

    fn index_key(&self, epoch: u32) -> IndexKey {
        let tenant = TenantId::from_bytes(self.array("tenant"));
        IndexKey::new(tenant, epoch, &SecretKey::from_bytes(self.array("key")))
    }

    fn normal(&self) -> Normal {
        Normal::email(self.text("normal")).unwrap()
    }

    fn index(&self, name: &str) {
        let bits = self.number("bits") as u8;
        let plan = IndexPlan::new(self.text("field"), u64::MAX, u64::MAX).unwrap();
        let key = self.index_key(self.number("epoch") as u32);
        let tag = key.tag(&plan.shortened(bits).unwrap(), &self.normal());
        self.is(tag.as_bytes(), name);
    }
}
