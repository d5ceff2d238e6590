//! The lifecycle example's input, read as the intake reads it and held against its manifest.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use kta_core::Code;
use kta_core::id::Digest;
use kta_core::pii::identifier::Mrz;
use kta_core::pii::{Fields, Schema};
use kta_core::time::Timestamp;
use kta_intake::form::{self, FormKey, Head};
use kta_intake::mail::{self, Gateway};
use kta_intake::safety::{self, Kind};
use kta_intake::verdict::Token;
use kta_intake::{COOKIE, Limits, Verdict, judge_mail, machine_readable_zones};
use toml::{Table, Value};

fn family() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/family")
}

fn manifest() -> Table {
    std::fs::read_to_string(family().join("manifest.toml"))
        .unwrap()
        .parse()
        .unwrap()
}

fn list<'t>(table: &'t Table, key: &str) -> impl Iterator<Item = &'t Table> {
    table
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|v| v.as_table().unwrap())
}

fn text<'t>(table: &'t Table, key: &str) -> &'t str {
    table[key].as_str().unwrap()
}

fn person(manifest: &Table, id: &str) -> Table {
    let all = list(manifest, "person").chain(list(manifest, "stranger"));
    all.into_iter()
        .find(|person| text(person, "id") == id)
        .unwrap()
        .clone()
}

/// Name and bytes of every attachment of a delivery.
async fn attachments(delivery: &Table) -> Vec<(String, Vec<u8>)> {
    let raw = std::fs::read(family().join(text(delivery, "file"))).unwrap();
    let files = if text(delivery, "channel") == "mail" {
        mail::read(&raw, &Gateway::named("mx.kta.example"), &Limits::default())
            .unwrap()
            .attachments
    } else {
        let head = Head::parse(&raw, 64 << 10).unwrap();
        let body = std::fs::read(family().join(text(delivery, "body"))).unwrap();
        let content_type = head.header("content-type").unwrap();
        form::read(content_type, body.into(), &Limits::default())
            .await
            .unwrap()
            .files
    };
    files
        .into_iter()
        .map(|file| (file.name.unwrap(), file.bytes))
        .collect()
}

#[tokio::test]
async fn every_attachment_arrives_byte_for_byte_under_its_own_name_and_is_harmless() {
    let manifest = manifest();
    let mut count = 0;
    for delivery in list(&manifest, "delivery") {
        let files = attachments(delivery).await;
        let expected: Vec<_> = list(delivery, "part").collect();
        assert_eq!(files.len(), expected.len(), "{}", text(delivery, "id"));
        for ((name, bytes), part) in files.iter().zip(expected) {
            assert_eq!(name, text(part, "name"));
            assert_eq!(Digest::of(bytes).to_string(), text(part, "sha256"));
            let kind = safety::check(Some(name), bytes, &Limits::default());
            let docx = name.ends_with(".docx");
            assert_eq!(
                kind,
                Ok(if docx { Kind::Docx } else { Kind::Pdf }),
                "{name}"
            );
            count += 1;
        }
    }
    assert_eq!(count, 14);
}

#[tokio::test]
async fn the_zone_of_every_passport_page_is_that_of_the_person_it_belongs_to() {
    let manifest = manifest();
    let mut pages = 0;
    for delivery in list(&manifest, "delivery") {
        for ((_, bytes), part) in attachments(delivery)
            .await
            .iter()
            .zip(list(delivery, "part"))
        {
            let zones = machine_readable_zones(bytes, Kind::Pdf);
            if text(part, "document") != "passport" {
                assert!(zones.is_empty());
                continue;
            }
            let [zone]: [Mrz; 1] = zones.try_into().map_err(|_| "one zone a page").unwrap();
            let of = person(&manifest, text(part, "of"));
            assert_eq!(zone.number(), text(&of, "passport_number"));
            assert_eq!(
                zone.surname(),
                text(&of, "family_name").to_uppercase().replace('-', " ")
            );
            assert_eq!(zone.given_names(), text(&of, "given_names").to_uppercase());
            assert_eq!(zone.nationality(), text(&of, "nationality"));
            assert_eq!(
                zone.optional().trim_end_matches('<'),
                text(&of, "national_id")
            );
            let matches = text(part, "of") == text(part, "for");
            let declared = person(&manifest, text(part, "for"));
            assert_eq!(zone.number() == text(&declared, "passport_number"), matches);
            pages += 1;
        }
    }
    assert_eq!(pages, 7);
}

#[test]
fn every_message_has_the_verdict_its_manifest_expects() {
    let manifest = manifest();
    let gateway = Gateway::named(text(manifest["firm"].as_table().unwrap(), "gateway"));
    for delivery in list(&manifest, "delivery").filter(|d| text(d, "channel") == "mail") {
        let raw = std::fs::read(family().join(text(delivery, "file"))).unwrap();
        let facts = mail::way(&raw, &gateway, &Limits::default()).unwrap();
        let verdict = judge_mail(&facts);
        assert_eq!(
            verdict.as_str(),
            text(delivery, "verdict"),
            "{}",
            text(delivery, "id")
        );
        let letter = mail::read(&raw, &gateway, &Limits::default()).unwrap();
        let at = Timestamp::from_timestamp(letter.received.unwrap(), 0).unwrap();
        let said = delivery["received"].as_datetime().unwrap().to_string();
        let said = chrono::DateTime::parse_from_rfc3339(&said).unwrap();
        assert!((at.signed_duration_since(said)).num_seconds().abs() < 60);
        assert_eq!(letter.recipients, ["intake@kta.example"]);
        if text(delivery, "id") == "04-forged-sender" {
            assert!(facts.foreign_results && matches!(verdict, Verdict::Insecure(_)));
            assert_eq!(letter.sender, text(&person(&manifest, "noam"), "mail"));
            // Were the forger's own host our gateway, its header would count: trust is the id.
            let his = Gateway {
                authserv_id: "mail.example.net".into(),
                host: "mx.kta.example".into(),
            };
            let facts = mail::way(&raw, &his, &Limits::default()).unwrap();
            assert_eq!(
                facts.dmarc, None,
                "below our Received it does not count even then"
            );
        }
    }
}

#[test]
fn the_hebrew_of_a_message_arrives() {
    let raw = std::fs::read(family().join("mail/01-beneficiary.eml")).unwrap();
    let letter = mail::read(&raw, &Gateway::named("mx.kta.example"), &Limits::default()).unwrap();
    assert!(letter.body.contains("תודה רבה"));
    assert!(
        letter
            .attachments
            .iter()
            .any(|a| a.name.as_deref() == Some("תעודת לידה עלמה.pdf"))
    );
    assert_eq!(letter.subject, "Our documents for KTA-2026-0001");
}

#[tokio::test]
async fn the_form_says_what_the_manifest_says_and_its_token_is_ours() {
    let manifest = manifest();
    let firm = manifest["firm"].as_table().unwrap();
    let raw = std::fs::read(family().join("form/02-spouse.head")).unwrap();
    let head = Head::parse(&raw, 64 << 10).unwrap();
    let body = std::fs::read(family().join("form/02-spouse.body")).unwrap();
    let content_type = head.header("content-type").unwrap();
    let post = form::read(content_type, body.into(), &Limits::default())
        .await
        .unwrap();
    for person in list(&manifest, "person") {
        let role = text(person, "role");
        for key in [
            "family_name",
            "given_names",
            "native_name",
            "sex",
            "nationality",
            "passport_number",
            "national_id",
        ] {
            assert_eq!(
                post.field(&format!("{role}.{key}")),
                Some(text(person, key))
            );
        }
        for key in ["birth_date", "passport_expiry"] {
            let date = person[key].as_datetime().unwrap().to_string();
            assert_eq!(post.field(&format!("{role}.{key}")), Some(date.as_str()));
        }
    }
    // What the firm's own schema has a place for, fits into it.
    let schema = Schema::person();
    for person in list(&manifest, "person") {
        let mut fields = Fields::new();
        let role = text(person, "role");
        for spec in &schema.fields {
            let name = spec.name.label().as_str();
            if let Some(value) = post.field(&format!("{role}.{name}")) {
                fields.set(&schema, name, value.to_owned()).unwrap();
            }
        }
        assert!(fields.iter().count() >= 7, "{role}");
    }
    assert_eq!(
        post.field("child2.passport_page"),
        Some("passport Ofir.pdf")
    );

    let hex = text(firm, "form_key");
    let mut key = [0; 32];
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
    }
    let (key, token) = (FormKey::new(key), post.field("csrf_token").unwrap());
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let edition = text(firm, "form_version");
    let cookie = head.cookie(COOKIE);
    let check = |edition, token, cookie, now| key.check(edition, token, cookie, at(now));
    assert_eq!(
        check(edition, token, cookie, "2026-03-02T08:20:30Z"),
        Token::Valid
    );
    assert_eq!(
        check(edition, token, cookie, "2026-03-02T11:00:00Z"),
        Token::Expired
    );
    assert_eq!(
        check(edition, token, Some("0"), "2026-03-02T08:20:30Z"),
        Token::Wrong
    );
    assert_eq!(
        check(edition, token, None, "2026-03-02T08:20:30Z"),
        Token::Wrong
    );
    assert_eq!(
        check("another-form", token, cookie, "2026-03-02T08:20:30Z"),
        Token::Wrong
    );
    let later = token.replacen("17", "27", 1);
    assert_eq!(
        check(edition, &later, cookie, "2026-03-02T08:20:30Z"),
        Token::Wrong
    );
}

#[test]
fn a_message_cut_off_anywhere_is_refused_or_read_but_never_half_delivered() {
    let raw = std::fs::read(family().join("mail/03-employer.eml")).unwrap();
    let gateway = Gateway::named("mx.kta.example");
    for cut in (0..raw.len() - 80).step_by(997) {
        let result = mail::read(&raw[..cut], &gateway, &Limits::default()).map(|_| ());
        assert!(
            matches!(result, Err(Code::IntMalformed)),
            "cut at {cut}: {result:?}"
        );
    }
}
