//! Both channels behind their port, on real files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;

use common::{clock, family, gate, instant, maildir, session, web_form, web_form_at};
use kta_core::audit::Label;
use kta_core::id::{DeliveryId, IdempotencyKey, PlacementId, SubjectId, TenantId};
use kta_core::memory::ManualClock;
use kta_core::pii::placement::CopyOf;
use kta_core::pii::{Category, Locator, MediaType, Pii, Placement, PlacementKind, PlacementState};
use kta_core::policy::{Act, Scope};
use kta_core::ports::{Erase, Intake, Reader};
use kta_core::{Code, Error};
use kta_intake::{Limits, TextLayer};

const CANARY: &str = "Canary-Testa-7719";

fn letter(sender: &str, subject: &str) -> Vec<u8> {
    format!("Delivered-To: intake@kta.example\nReceived: from x (x [192.0.2.1]) by mx.kta.example with ESMTP id 1; Mon, 2 Mar 2026 08:05:04 +0000\nFrom: {sender}\nSubject: {subject}\n\n{CANARY}\n").into_bytes()
}

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> Code {
    result.unwrap_err().refusal().unwrap().code()
}

#[tokio::test]
async fn the_familys_mail_comes_in_oldest_first_and_stays_until_acknowledged() {
    let (folder, gate) = (tempfile::tempdir().unwrap(), gate());
    let (session, mailbox) = (session(&gate), maildir(folder.path()));
    let files = [
        "06-other-client",
        "01-beneficiary",
        "05-children-swapped",
        "03-employer",
        "04-forged-sender",
    ];
    let times = ["11:30", "08:05", "11:00", "09:40", "10:15"];
    for (file, time) in files.iter().zip(times) {
        let at = instant(&format!("2026-03-02T{time}:00Z"));
        mailbox
            .import(at, "test1", &family(&format!("mail/{file}.eml")))
            .unwrap();
    }
    let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
    let mut seen = Vec::new();
    while let Some(delivery) = mailbox.oldest(&permit).await.unwrap() {
        let again = mailbox.oldest(&permit).await.unwrap().unwrap();
        assert_eq!((again.id, &again.locator), (delivery.id, &delivery.locator));
        assert!(delivery.refused.is_none());
        assert!(delivery.parts.iter().all(|part| part.content.is_ok()));
        let vouched = delivery.facts.sender_vouched;
        seen.push((
            delivery.parts.len(),
            vouched,
            delivery.facts.encrypted_in_transit,
        ));
        mailbox.acknowledge(delivery.id, &permit).await.unwrap();
        mailbox.acknowledge(delivery.id, &permit).await.unwrap();
    }
    let good = Some(true);
    let expected = [
        (6, good, true),
        (2, good, true),
        (0, Some(false), false),
        (2, good, true),
        (1, good, true),
    ];
    assert_eq!(seen, expected);
    assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 0);
    let kept = fs::read_dir(folder.path().join("cur"))
        .unwrap()
        .map(|f| f.unwrap().file_name());
    assert!(
        kept.into_iter()
            .all(|name| name.to_str().unwrap().ends_with(":2,S"))
    );
}

#[tokio::test]
async fn the_familys_form_comes_in_secure_with_its_fields_and_files() {
    let (folder, gate, clock) = (tempfile::tempdir().unwrap(), gate(), clock());
    let (session, form) = (session(&gate), web_form(folder.path(), &clock));
    let id = form
        .submit(
            &family("form/02-spouse.head"),
            family("form/02-spouse.body"),
        )
        .await
        .unwrap();
    let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
    let delivery = form.oldest(&permit).await.unwrap().unwrap();
    assert_eq!(delivery.id, id);
    assert_eq!(delivery.at, instant("2026-03-02T08:20:00Z"));
    assert_eq!(
        delivery.sender.expose(&permit),
        "dana.testa-levi@example.org"
    );
    assert!(delivery.facts.encrypted_in_transit && delivery.facts.remarks.is_empty());
    assert_eq!(delivery.facts.sender_vouched, Some(true));
    let field = |name: &str| {
        delivery
            .fields
            .get(name)
            .map(|value| value.expose(&permit).as_str())
    };
    assert_eq!(field("child2.passport_number"), Some("KT0000041"));
    assert_eq!(field("child2.passport_page"), Some("passport Ofir.pdf"));
    assert_eq!(
        field("csrf_token"),
        None,
        "our own secret is none of the client's data"
    );
    assert_eq!(delivery.parts.len(), 3);
    assert!(
        delivery
            .parts
            .iter()
            .all(|part| part.media == MediaType::pdf() && part.content.is_ok())
    );

    // The passport page has a text layer; a picture of it has none to read.
    let content = delivery.parts[0].content.as_ref().unwrap();
    let text = TextLayer
        .text(&MediaType::pdf(), content, &permit)
        .unwrap()
        .unwrap();
    assert!(text.expose(&permit).contains("\nKT0000041"));
    assert!(
        TextLayer
            .text(&MediaType::parse("image/jpeg"), content, &permit)
            .unwrap()
            .is_none()
    );
    let noise = Pii::new(b"MZ\0\0".to_vec());
    assert_eq!(
        code(TextLayer.text(&MediaType::pdf(), &noise, &permit)),
        Code::IntType
    );

    form.acknowledge(id, &permit).await.unwrap();
    assert!(form.oldest(&permit).await.unwrap().is_none());
}

#[tokio::test]
async fn a_form_elsewhere_in_the_clear_or_stale_is_told_apart() {
    let (folder, gate, clock) = (tempfile::tempdir().unwrap(), gate(), clock());
    let (session, form) = (session(&gate), web_form(folder.path(), &clock));
    let head = String::from_utf8(family("form/02-spouse.head")).unwrap();
    let body = family("form/02-spouse.body");
    for (from, to, expected) in [
        ("Host: intake", "Host: other", Code::IntChannel),
        ("POST /forms/h1b", "POST /forms/h1c", Code::IntChannel),
        ("POST", "PUT", Code::IntChannel),
        (
            "Origin: https://intake.kta.example",
            "Origin: https://intake.kta.example.attacker.test",
            Code::IntSpoof,
        ),
        ("__Host-kta-form=6", "__Host-kta-form=7", Code::IntSpoof),
        ("Content-Length: ", "Content-Length: 1", Code::IntMalformed),
        ("multipart/form-data", "text/plain", Code::IntMalformed),
    ] {
        let head = head.replacen(from, to, 1);
        assert_eq!(
            code(form.submit(head.as_bytes(), body.clone()).await),
            expected,
            "{to}"
        );
    }
    assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 0);

    // The firm's end point saw no TLS, and the page had been open too long: in, with its facts.
    let plain = head.replace("X-Tls-Version: TLSv1.3\r\n", "");
    clock.advance(chrono::TimeDelta::hours(5));
    form.submit(plain.as_bytes(), body.clone()).await.unwrap();
    let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
    let delivery = form.oldest(&permit).await.unwrap().unwrap();
    let remarks: Vec<&str> = delivery
        .facts
        .remarks
        .iter()
        .map(|label| label.as_str())
        .collect();
    assert!(!delivery.facts.encrypted_in_transit);
    assert_eq!(
        (delivery.facts.sender_vouched, remarks),
        (None, vec!["plain-arrival", "token-expired"])
    );

    let small = web_form(
        folder.path(),
        &ManualClock::at(instant("2026-03-02T08:20:00Z")),
    );
    let small = small.with_limits(Limits {
        message: 1_000,
        ..Limits::default()
    });
    assert_eq!(
        code(small.submit(head.as_bytes(), body).await),
        Code::IntSize
    );
}

#[tokio::test]
async fn the_same_bytes_from_the_same_sender_have_the_same_id() {
    let gate = gate();
    let session = session(&gate);
    let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
    let mut ids: Vec<DeliveryId> = Vec::new();
    for (sender, subject) in [
        ("a@example.org", "x"),
        ("A@Example.org", "x"),
        ("b@example.org", "x"),
        ("a@example.org", "y"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mailbox = maildir(folder.path());
        mailbox
            .import(
                instant("2026-03-02T08:00:00Z"),
                "1",
                &letter(sender, subject),
            )
            .unwrap();
        ids.push(mailbox.oldest(&permit).await.unwrap().unwrap().id);
    }
    assert_eq!(ids[0], ids[1]);
    assert!(ids[0] != ids[2] && ids[0] != ids[3] && ids[2] != ids[3]);
}

#[tokio::test]
async fn a_second_copy_is_given_again_and_acknowledged_for_itself() {
    let (folder, gate) = (tempfile::tempdir().unwrap(), gate());
    let (session, mailbox) = (session(&gate), maildir(folder.path()));
    for (second, unique) in [(1, "a"), (2, "b")] {
        let at = instant(&format!("2026-03-02T08:00:0{second}Z"));
        mailbox
            .import(at, unique, &letter("a@example.org", "x"))
            .unwrap();
    }
    let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
    let first = mailbox.oldest(&permit).await.unwrap().unwrap();
    mailbox.acknowledge(first.id, &permit).await.unwrap();
    let second = mailbox.oldest(&permit).await.unwrap().unwrap();
    assert_eq!(first.id, second.id);
    assert_ne!(first.locator, second.locator);
    // Another worker's acknowledgement of the first, late: the second was registered by nobody.
    let late = maildir(folder.path());
    late.oldest(&permit).await.unwrap();
    late.acknowledge(second.id, &permit).await.unwrap();
    mailbox
        .import(
            instant("2026-03-02T08:00:03Z"),
            "c",
            &letter("a@example.org", "x"),
        )
        .unwrap();
    mailbox.acknowledge(second.id, &permit).await.unwrap();
    let second = mailbox.oldest(&permit).await.unwrap().unwrap();
    mailbox.acknowledge(second.id, &permit).await.unwrap();
    assert!(mailbox.oldest(&permit).await.unwrap().is_none());
}

#[tokio::test]
async fn what_cannot_be_taken_in_is_refused_and_does_not_stop_what_stands_behind_it() {
    let (folder, gate) = (tempfile::tempdir().unwrap(), gate());
    let session = session(&gate);
    let mailbox = maildir(folder.path()).with_limits(Limits {
        message: 10_000,
        ..Limits::default()
    });
    let other = String::from_utf8(letter("a@example.org", "x"))
        .unwrap()
        .replace("intake@kta", "else@kta");
    let sealed = letter(
        "a@example.org",
        "x\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data",
    );
    let cases: [(&[u8], Option<Code>); 6] = [
        (b"\xff\xfe\0garbage", Some(Code::IntMalformed)),
        (b"", Some(Code::IntMalformed)),
        (&[b'x'; 20_000], Some(Code::IntSize)),
        (other.as_bytes(), Some(Code::IntChannel)),
        (&sealed, Some(Code::IntOpaque)),
        (&letter("a@example.org", "x"), None),
    ];
    for (second, (bytes, _)) in cases.iter().enumerate() {
        mailbox
            .import(instant(&format!("2026-03-02T08:00:0{second}Z")), "1", bytes)
            .unwrap();
    }
    let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
    for (_, expected) in cases {
        let delivery = mailbox.oldest(&permit).await.unwrap().unwrap();
        assert_eq!(
            delivery.refused.as_ref().map(|refusal| refusal.code()),
            expected
        );
        assert!(!format!("{delivery:?}").contains(CANARY));
        mailbox.acknowledge(delivery.id, &permit).await.unwrap();
    }
    assert!(mailbox.oldest(&permit).await.unwrap().is_none());
}

#[tokio::test]
async fn a_dangerous_attachment_is_refused_alone() {
    let (folder, gate) = (tempfile::tempdir().unwrap(), gate());
    let (session, mailbox) = (session(&gate), maildir(folder.path()));
    let part = |name: &str, bytes: &str| {
        format!("--b\nContent-Disposition: attachment; filename=\"{name}\"\n\n{bytes}\n")
    };
    let parts =
        part("a.pdf", "MZ") + &part("b.txt", "hello") + &part("../c.txt", CANARY) + "--b--\n";
    let head = String::from_utf8(letter(
        "a@example.org",
        "x\nContent-Type: multipart/mixed; boundary=b",
    ))
    .unwrap();
    let message = head.replace(CANARY, "") + &parts;
    mailbox
        .import(instant("2026-03-02T08:00:00Z"), "1", message.as_bytes())
        .unwrap();
    let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
    let delivery = mailbox.oldest(&permit).await.unwrap().unwrap();
    let fates: Vec<_> = delivery
        .parts
        .iter()
        .map(|p| p.content.as_ref().err().map(|r| r.code()))
        .collect();
    assert_eq!(fates, [Some(Code::IntType), None, Some(Code::IntPath)]);
    assert_eq!(
        delivery.parts[1].content.as_ref().unwrap().expose(&permit),
        b"hello"
    );
    let shown = format!("{delivery:?} {mailbox:?}");
    assert!(!shown.contains(CANARY) && !shown.contains("example.org") && !shown.contains("c.txt"));
}

#[tokio::test]
async fn nothing_is_lost_when_the_process_dies_at_any_point() {
    let (folder, gate, clock) = (tempfile::tempdir().unwrap(), gate(), clock());
    let session = session(&gate);
    let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
    maildir(folder.path())
        .import(
            instant("2026-03-02T08:00:00Z"),
            "1",
            &letter("a@example.org", "x"),
        )
        .unwrap();
    // Died while the gateway wrote: what is in tmp/ is not a message yet.
    fs::write(folder.path().join("tmp/1772438700.M1P1.mx"), b"half").unwrap();
    let id = maildir(folder.path())
        .oldest(&permit)
        .await
        .unwrap()
        .unwrap()
        .id;
    // Died between oldest and acknowledge: another process acknowledges without having asked.
    assert_eq!(
        maildir(folder.path())
            .oldest(&permit)
            .await
            .unwrap()
            .unwrap()
            .id,
        id
    );
    maildir(folder.path())
        .acknowledge(id, &permit)
        .await
        .unwrap();
    maildir(folder.path())
        .acknowledge(id, &permit)
        .await
        .unwrap();
    assert!(
        maildir(folder.path())
            .oldest(&permit)
            .await
            .unwrap()
            .is_none()
    );

    let spool = tempfile::tempdir().unwrap();
    let id = web_form(spool.path(), &clock)
        .submit(
            &family("form/02-spouse.head"),
            family("form/02-spouse.body"),
        )
        .await
        .unwrap();
    let later = web_form(spool.path(), &clock)
        .oldest(&permit)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(later.id, id);
    assert!(
        later.facts.remarks.is_empty(),
        "the facts are those of the arrival"
    );
    web_form(spool.path(), &clock)
        .acknowledge(id, &permit)
        .await
        .unwrap();
    assert!(
        web_form(spool.path(), &clock)
            .oldest(&permit)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_spooled_post_that_was_altered_is_refused() {
    let (folder, gate, clock) = (tempfile::tempdir().unwrap(), gate(), clock());
    let (session, form) = (session(&gate), web_form(folder.path(), &clock));
    form.submit(
        &family("form/02-spouse.head"),
        family("form/02-spouse.body"),
    )
    .await
    .unwrap();
    let file = fs::read_dir(folder.path().join("new"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let bytes = fs::read(&file).unwrap();
    let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
    for cut in [0, 1, 50, 400, 1_000, bytes.len() - 10] {
        fs::write(&file, &bytes[..cut]).unwrap();
        let delivery = form.oldest(&permit).await.unwrap().unwrap();
        assert_eq!(
            delivery.refused.unwrap().code(),
            Code::IntMalformed,
            "cut at {cut}"
        );
    }
}

#[tokio::test]
async fn a_post_that_was_taken_in_stays_so_under_another_site_and_lower_limits() {
    let (folder, gate, clock) = (tempfile::tempdir().unwrap(), gate(), clock());
    let (session, form) = (session(&gate), web_form(folder.path(), &clock));
    let (head, body) = (family("form/02-spouse.head"), family("form/02-spouse.body"));
    let id = form.submit(&head, body.clone()).await.unwrap();
    drop(form);
    let low = Limits {
        message: 100,
        parts: 1,
        header: 50,
        field: 1,
        expanded: 1,
        ..Limits::default()
    };
    let moved = web_form_at(
        "https://new.kta.example",
        "/forms/o1",
        folder.path(),
        &clock,
    );
    let moved = moved.with_limits(low);
    let refused = moved.submit(&head, body).await;
    assert!(refused.is_err(), "the door itself is another one");
    let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
    let delivery = moved.oldest(&permit).await.unwrap().unwrap();
    assert!(delivery.refused.is_none(), "{:?}", delivery.refused);
    assert_eq!(delivery.id, id);
    assert_eq!(delivery.facts.sender_vouched, Some(true));
    assert!(delivery.parts.len() == 3 && delivery.parts.iter().all(|p| p.content.is_ok()));
    moved.acknowledge(id, &permit).await.unwrap();
    assert!(moved.oldest(&permit).await.unwrap().is_none());
}

#[tokio::test]
async fn what_a_killed_process_left_half_written_is_erased_after_36_hours() {
    let folder = tempfile::tempdir().unwrap();
    let tmp = folder.path().join("tmp");
    drop(maildir(folder.path()));
    let own = [
        "1772439600.M000000Q000000Rtest1.import",
        "1772439600.M000012Q000003R0123456789abcdef.form",
    ];
    let others = ["1772439600.M1P2.mx", "1772439600.M1Q2R3.mx", "notes"];
    for name in own.iter().chain(&others) {
        fs::write(tmp.join(name), CANARY).unwrap();
    }
    // A second link shows what becomes of the bytes.
    let witness = folder.path().join("witness");
    fs::hard_link(tmp.join(own[0]), &witness).unwrap();
    let left = || fs::read_dir(&tmp).unwrap().count();
    let written = fs::metadata(&witness).unwrap().modified().unwrap();
    let written = kta_core::time::Timestamp::from(written);
    let young = ManualClock::at(written + chrono::TimeDelta::hours(35));
    drop(web_form(folder.path(), &young));
    assert_eq!(left(), 5, "another process may still be writing");
    let old = ManualClock::at(written + chrono::TimeDelta::hours(37));
    drop(web_form(folder.path(), &old));
    assert_eq!(left(), others.len());
    assert!(others.iter().all(|name| tmp.join(name).exists()));
    assert_eq!(fs::read(&witness).unwrap(), vec![0; CANARY.len()]);
}

#[tokio::test]
async fn what_others_leave_in_the_folder_is_left_alone() {
    let (folder, gate) = (tempfile::tempdir().unwrap(), gate());
    let (session, mailbox) = (session(&gate), maildir(folder.path()));
    fs::write(folder.path().join("new/.hidden"), b"x").unwrap();
    fs::create_dir(folder.path().join("new/1.directory")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("new/1.link")).unwrap();
    let permit = session.permit(Act::Receive, Scope::firm()).await.unwrap();
    assert!(mailbox.oldest(&permit).await.unwrap().is_none());
}

#[tokio::test]
async fn a_permit_for_something_else_opens_nothing() {
    let (folder, gate, clock) = (tempfile::tempdir().unwrap(), gate(), clock());
    let session = session(&gate);
    let permit = session.permit(Act::Review, Scope::firm()).await.unwrap();
    let id = DeliveryId::from_bytes([0; 16]);
    let (mailbox, form) = (maildir(folder.path()), web_form(folder.path(), &clock));
    assert_eq!(code(mailbox.oldest(&permit).await), Code::AclDeny);
    assert_eq!(code(mailbox.acknowledge(id, &permit).await), Code::AclDeny);
    assert_eq!(code(form.oldest(&permit).await), Code::AclDeny);
    assert_eq!(code(form.acknowledge(id, &permit).await), Code::AclDeny);
}

#[tokio::test]
async fn an_erased_message_is_nowhere_and_the_others_stay() {
    let (folder, gate) = (tempfile::tempdir().unwrap(), gate());
    let (session, mailbox) = (session(&gate), maildir(folder.path()));
    mailbox
        .import(
            instant("2026-03-02T08:00:00Z"),
            "1",
            &letter("a@example.org", "x"),
        )
        .unwrap();
    mailbox
        .import(
            instant("2026-03-02T08:00:01Z"),
            "1",
            &letter("b@example.org", "x"),
        )
        .unwrap();
    let receiving = session.permit(Act::Receive, Scope::firm()).await.unwrap();
    let delivery = mailbox.oldest(&receiving).await.unwrap().unwrap();
    mailbox.acknowledge(delivery.id, &receiving).await.unwrap();

    let subject = SubjectId::from_bytes([3; 16]);
    let mut placement = Placement {
        tenant: TenantId::from_bytes([1; 16]),
        id: PlacementId::from_bytes([4; 16]),
        subject,
        matter: None,
        system: Label::fixed("mail"),
        kind: PlacementKind::MailboxItem,
        of: CopyOf::Document(kta_core::id::DocumentId::from_bytes([5; 16])),
        category: Category::Case,
        locator: Some(delivery.locator.clone()),
        state: PlacementState::Present,
        since: delivery.at,
    };
    let scope = || Scope::of(subject, Category::Case);
    let destroying = session.permit(Act::Destroy, scope()).await.unwrap();
    let probing = session.permit(Act::Probe, scope()).await.unwrap();
    let key = IdempotencyKey::derived("erase", &[b"1"]);

    assert_eq!(
        mailbox
            .probe(&placement, &probing)
            .await
            .unwrap()
            .residues
            .len(),
        1
    );
    assert_eq!(
        code(mailbox.erase(&placement, key, &probing).await),
        Code::AclDeny
    );
    assert_eq!(
        code(mailbox.probe(&placement, &destroying).await),
        Code::AclDeny
    );
    let first = mailbox.erase(&placement, key, &destroying).await.unwrap();
    assert_eq!(
        mailbox.erase(&placement, key, &destroying).await.unwrap(),
        first
    );
    assert!(
        mailbox
            .probe(&placement, &probing)
            .await
            .unwrap()
            .is_clean()
    );
    assert!(
        mailbox.oldest(&receiving).await.unwrap().is_some(),
        "the other message stays"
    );

    for locator in ["..", "../new", "x"] {
        placement.locator = Some(Locator::new(locator).unwrap());
        mailbox.erase(&placement, key, &destroying).await.unwrap();
    }
    assert!(mailbox.oldest(&receiving).await.unwrap().is_some());
    placement.locator = None;
    assert_eq!(
        code(mailbox.erase(&placement, key, &destroying).await),
        Code::DstUnmapped
    );
}
