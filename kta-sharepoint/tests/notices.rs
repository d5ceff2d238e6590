//! Notices sealed for their recipient: a stranger's mail reader (`openssl cms`) opens them with the
//! recipient's key, nobody else does, and nothing goes out in the clear.
#![cfg(all(feature = "emulator", feature = "smime"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/certificate.rs"]
mod certificate;
#[path = "support/house.rs"]
mod house;
#[path = "support/letters.rs"]
mod letters;

use house::{code, config, fault, key};
use kta_core::audit::Label;
use kta_core::conformance::Desk;
use kta_core::id::Digest;
use kta_core::memory::{ManualClock, SeededEntropy};
use kta_core::pii::Pii;
use kta_core::policy::{Act, Role};
use kta_core::ports::Recipient;
use kta_core::{Code, FaultKind, Result};
use kta_sharepoint::emulator::{Emulator, Fault, Options};
use kta_sharepoint::{Mailbox, Notice, Protection, RecipientCertificate};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};
use std::process::Command;
use std::sync::Arc;

const CLIENT: &str = "Invented.Client@client.example";
const TEXT: &str =
    "CANARY: Testa Probst, your interview is on 12 May.\nDitto: \u{e9}\u{4e2d}\n.\nend";

/// A mailbox, a desk, and somebody who writes.
struct Post {
    emulator: Emulator,
    desk: Desk,
    mailbox: Mailbox,
}

async fn post() -> Post {
    let emulator = Emulator::start(Options::default()).await.unwrap();
    let desk = Desk::new("notices");
    emulator.set_now(desk.now());
    let config = config(&emulator);
    let mailbox = Mailbox::open(
        &config,
        emulator.mailbox(),
        Label::fixed("mail"),
        Arc::new(letters::reader()),
        Arc::new(ManualClock::at(emulator.now())),
        Arc::new(SeededEntropy::new(3)),
    );
    let mailbox = mailbox.await.unwrap();
    Post {
        emulator,
        desk,
        mailbox,
    }
}

impl Post {
    async fn send(&self, to: &str, protection: &Protection, name: &str) -> Result<bool> {
        let notice = Notice {
            to: Recipient::new(to.to_owned()).unwrap(),
            subject:
                "Neues zu Ihrem Fall \u{2014} bitte lesen, es eilt ein wenig und dauert nicht lange"
                    .to_owned(),
            body: Pii::new(TEXT.to_owned()),
        };
        let session = self.desk.session(Role::Paralegal);
        let scope = self.desk.whole(self.desk.beneficiary());
        let permit = session.permit(Act::Share, scope).await.unwrap();
        self.mailbox
            .send(&notice, protection, key(name), &permit)
            .await
    }

    fn sent(&self) -> Vec<String> {
        let mime = |json: String| {
            let told: serde_json::Value = serde_json::from_str(&json).unwrap();
            told["mime"].as_str().unwrap().to_owned()
        };
        self.emulator.sent_mail().into_iter().map(mime).collect()
    }
}

fn params(address: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::Rfc822Name(address.try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2035, 1, 1);
    params
}

fn confirmed(der: &[u8]) -> Result<RecipientCertificate> {
    RecipientCertificate::confirmed(der, Digest::of(der))
}

/// What `openssl cms -decrypt` makes of a message with this key.
fn open(message: &str, pkcs8: &[u8], der: &[u8]) -> Option<String> {
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = place.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let output = Command::new("openssl")
        .args([
            "cms", "-decrypt", "-inform", "SMIME", "-keyform", "DER", "-in",
        ])
        .arg(write("message.eml", message.as_bytes()))
        .arg("-recip")
        .arg(write("certificate.der", der))
        .arg("-inkey")
        .arg(write("key.der", pkcs8))
        .output()
        .expect("openssl is installed");
    let opened = output.status.success();
    // What it writes before it finds the tag wrong is noise.
    opened.then(|| String::from_utf8(output.stdout).unwrap())
}

/// The text of the one entity inside.
fn text(entity: &str) -> String {
    use base64::Engine as _;
    let (head, body) = entity.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("text/plain; charset=utf-8"), "{head}");
    let body: String = body.split_whitespace().collect();
    let body = base64::engine::general_purpose::STANDARD.decode(body);
    String::from_utf8(body.unwrap()).unwrap()
}

#[tokio::test]
async fn a_sealed_notice_is_opened_by_its_recipient_with_openssl_and_by_nobody_else() {
    let post = post().await;
    let (key, der) = certificate::of(params(&CLIENT.to_lowercase()));
    let (strangers, strange) = certificate::of(params(&CLIENT.to_lowercase()));
    let protection = Protection::sealed(confirmed(&der).unwrap());
    post.emulator
        .fail(1, "POST", "*/sendMail", Fault::DropAfterEffect);
    let lost = post.send(CLIENT, &protection, "n").await;
    assert_eq!(fault(lost), FaultKind::OutcomeUnknown);
    assert!(
        !post.send(CLIENT, &protection, "n").await.unwrap(),
        "it was sent"
    );

    let sent = post.sent();
    assert_eq!(sent.len(), 1);
    let message = &sent[0];
    for telling in ["CANARY", "Testa", "Q0FOQVJZ", "text/plain"] {
        assert!(!message.contains(telling), "{telling} in the clear");
    }
    assert!(message.lines().all(|line| line.len() <= 100), "{message}");
    assert_eq!(text(&open(message, &key, &der).unwrap()), TEXT);
    assert_eq!(open(message, &strangers, &strange), None);
    assert_eq!(open(message, &strangers, &der), None);

    // Two messages to one person share nothing that could be compared.
    assert!(post.send(CLIENT, &protection, "m").await.unwrap());
    assert_ne!(
        sent[0].rsplit("\r\n\r\n").next(),
        post.sent()[1].rsplit("\r\n\r\n").next()
    );
    assert!(!format!("{protection:?}").to_lowercase().contains("client"));
}

#[tokio::test]
async fn a_sealed_notice_that_was_altered_on_its_way_is_not_opened() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let post = post().await;
    let (key, der) = certificate::of(params(&CLIENT.to_lowercase()));
    let protection = Protection::sealed(confirmed(&der).unwrap());
    post.send(CLIENT, &protection, "n").await.unwrap();
    let message = &post.sent()[0];
    let (head, body) = message.split_once("\r\n\r\n").unwrap();
    let body: String = body.split_whitespace().collect();
    let body = STANDARD.decode(body).unwrap();
    assert!(open(message, &key, &der).is_some());
    // The last bytes are the tag, those before it the content.
    for from_the_end in [1, 16, 40, 100] {
        let mut altered = body.clone();
        let at = altered.len() - from_the_end;
        altered[at] ^= 1;
        let altered = format!("{head}\r\n\r\n{}\r\n", STANDARD.encode(altered));
        assert_eq!(open(&altered, &key, &der), None, "{from_the_end}");
    }
}

#[tokio::test]
async fn without_a_certificate_that_is_valid_and_theirs_nothing_goes_out() {
    let post = post().await;
    let ended = {
        let mut params = params(&CLIENT.to_lowercase());
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        certificate::of(params).1
    };
    let early = {
        let mut params = params(&CLIENT.to_lowercase());
        params.not_before = rcgen::date_time_ymd(2034, 1, 1);
        certificate::of(params).1
    };
    let (_, anothers) = certificate::of(params("another@client.example"));
    for der in [&ended, &early, &anothers] {
        let protection = Protection::sealed(confirmed(der).unwrap());
        assert_eq!(
            code(post.send(CLIENT, &protection, "n").await),
            Code::NetCert
        );
    }
    assert_eq!(post.emulator.sent_mail().len(), 0);
    let another = RecipientCertificate::confirmed(&anothers, Digest::of(&ended));
    assert_eq!(
        code(another),
        Code::NetCert,
        "not the one that was confirmed"
    );
}

#[test]
fn what_mail_cannot_be_encrypted_for_is_no_recipients_certificate() {
    let signing = {
        let mut params = params("a@client.example");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        certificate::of(params).1
    };
    let serving = {
        let mut params = params("a@client.example");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        certificate::of(params).1
    };
    let nameless = certificate::certificate().1;
    let curve = rcgen::KeyPair::generate().unwrap();
    let curve = params("a@client.example").self_signed(&curve).unwrap();
    for der in [&signing, &serving, &nameless, &curve.der().to_vec()] {
        assert_eq!(fault(confirmed(der)), FaultKind::Misconfigured);
    }
    let (_, good) = certificate::of(params("a@client.example"));
    assert!(confirmed(&good).is_ok());
    for length in 0..good.len() {
        assert_eq!(fault(confirmed(&good[..length])), FaultKind::Misconfigured);
    }
}
