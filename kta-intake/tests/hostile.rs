//! Whatever arrives, the parsers answer with a code: no panic, no unbounded memory or time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use kta_core::Code;
use kta_intake::form::{self, Head};
use kta_intake::mail::{self, Gateway};
use kta_intake::safety::{self, Kind};
use kta_intake::{Limits, judge_mail, machine_readable_zones, mail_facts, text_layer};
use proptest::prelude::*;

fn gateway() -> Gateway {
    Gateway::named("mx.kta.example")
}

fn read(message: &str) -> Result<mail::Letter, Code> {
    mail::read(message.as_bytes(), &gateway(), &Limits::default())
}

fn multipart(parts: &str) -> String {
    format!("From: a@example.org\nContent-Type: multipart/mixed; boundary=b\n\n{parts}")
}

#[test]
fn what_two_readers_would_read_differently_is_refused() {
    for (what, message) in [
        ("no sender", "Subject: x\n\nx".to_owned()),
        ("two From", "From: a@example.org\nFrom: b@example.org\n\nx".to_owned()),
        ("two addresses", "From: a@example.org, b@example.org\n\nx".to_owned()),
        ("an address that is none", "From: a b c\n\nx".to_owned()),
        ("two Content-Type", "From: a@example.org\nContent-Type: text/plain\nContent-Type: text/html\n\nx".to_owned()),
        ("an unknown encoding", "From: a@example.org\nContent-Transfer-Encoding: uuencode\n\nx".to_owned()),
        ("no boundary", "From: a@example.org\nContent-Type: multipart/mixed\n\nx".to_owned()),
        ("no closing delimiter", multipart("--b\n\nx\n--b\n\ny\n")),
        ("no delimiter at all", multipart("hello")),
        ("an encoded multipart", "From: a@example.org\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\n--b--\n".to_owned()),
        ("an encoded message", multipart("--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nRnJvbTog\n--b--\n")),
        ("nothing", String::new()),
    ] {
        assert_eq!(read(&message).err(), Some(Code::IntMalformed), "{what}");
    }
}

#[test]
fn content_that_cannot_be_looked_into_is_opaque() {
    for kind in [
        "multipart/encrypted; boundary=b",
        "application/pkcs7-mime; smime-type=enveloped-data",
        "application/x-microsoft-rpmsg-message",
        "message/partial; id=x",
        "message/external-body",
    ] {
        let message = format!("From: a@example.org\nContent-Type: {kind}\n\nx\n");
        assert_eq!(read(&message).err(), Some(Code::IntOpaque), "{kind}");
    }
}

#[test]
fn nesting_and_counting_stop_at_their_limits() {
    let mut deep = String::from("From: a@example.org\n");
    for n in 0..200_000 {
        deep.push_str(if n % 2 == 0 {
            "Content-Type: message/rfc822\n\n"
        } else {
            "Content-type:message/global\n\n"
        });
    }
    assert_eq!(read(&deep).err(), Some(Code::IntBomb));

    let mut nested = String::from("From: a@example.org\n");
    for n in 0..1_000 {
        nested.push_str(&format!(
            "Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n"
        ));
    }
    for n in (0..1_000).rev() {
        nested.push_str(&format!("\n--b{n}--\n"));
    }
    assert_eq!(read(&nested).err(), Some(Code::IntBomb));

    let many = multipart(&("--b\n\nx\n".repeat(100_000) + "--b--\n"));
    assert_eq!(read(&many).err(), Some(Code::IntBomb));

    let headers = "X: y\n".repeat(100_000) + "From: a@example.org\n\nx";
    assert_eq!(read(&headers).err(), Some(Code::IntSize));
    let part_headers = multipart(&format!("--b\n{}\nx\n--b--\n", "X: y\n".repeat(100_000)));
    assert_eq!(read(&part_headers).err(), Some(Code::IntSize));

    let limits = Limits {
        message: 100,
        ..Limits::default()
    };
    assert_eq!(
        mail::read(&[b'x'; 101], &gateway(), &limits).err(),
        Some(Code::IntSize)
    );
}

#[test]
fn attached_messages_are_looked_into_and_html_alone_is_read() {
    let inner = "From: b@example.org\nContent-Type: multipart/mixed; boundary=c\n\n--c\nContent-Type: application/pdf; name=x.pdf\nContent-Transfer-Encoding: base64\n\nJVBERi0=\n--c--\n";
    let message = multipart(&format!(
        "--b\nContent-Type: message/rfc822\n\n{inner}\n--b--\n"
    ));
    let letter = read(&message).unwrap();
    assert_eq!(letter.attachments[0].name.as_deref(), Some("x.pdf"));
    assert_eq!(letter.attachments[0].bytes, b"%PDF-");
    assert_eq!(letter.sender, "a@example.org");

    let html = "From: a@example.org\nContent-Type: text/html\n\n<p>Hello <b>you</b></p>";
    assert!(read(html).unwrap().body.contains("Hello you"));
    let active = "From: a@example.org\nContent-Type: text/html\n\n<p onclick=x()>Hello</p>";
    assert_eq!(read(active).err(), Some(Code::IntType));
    let attached = "From: a@example.org\nContent-Type: text/html; name=x.html\nContent-Disposition: attachment\n\n<p>Hello";
    assert_eq!(read(attached).unwrap().attachments.len(), 1);
}

#[test]
fn every_text_that_a_message_shows_is_its_body_or_a_part() {
    const PLAIN: &str = "--b\nContent-Type: text/plain\n\nHi\n";
    const HTML: &str = "--b\nContent-Type: text/html\n\n<p>passport X1234567</p>\n";
    const PDF: &str = "--b\nContent-Type: application/pdf; name=x.pdf\n\n%PDF-\n";
    const MORE: &str = "--b\nContent-Type: text/html\n\n<p>and one more</p>\n";
    const BLANK: &str = "--b\nContent-Type: text/html\n\n<html><body><br></body></html>\n";
    const EMPTY: &str = "--b\nContent-Type: text/plain\n\n\n";
    let related = "--b\nContent-Type: multipart/related; boundary=r\n\n--r\nContent-Type: text/html\n\n<p>Hi</p>\n--r\nContent-Type: image/png\n\nimage\n--r--\n";
    let shown = |kind: &str, parts: &[&str]| {
        let message = multipart(&format!("{}--b--\n", parts.concat()));
        let letter = read(&message.replace("multipart/mixed", kind)).unwrap();
        let mut texts = vec![letter.body.trim().to_owned()];
        for attachment in letter.attachments {
            texts.push(
                String::from_utf8(attachment.bytes)
                    .unwrap()
                    .trim()
                    .to_owned(),
            );
        }
        texts
    };
    let (passport, more) = ("passport X1234567", "and one more");
    let (mixed, choice) = ("multipart/mixed", "multipart/alternative");
    assert_eq!(shown(mixed, &[HTML, PDF, MORE]), [passport, "%PDF-", more]);
    assert_eq!(shown(mixed, &[PLAIN, HTML]), ["Hi", passport]);
    assert_eq!(shown(mixed, &[HTML, PLAIN]), [passport, "Hi"]);
    assert_eq!(shown(mixed, &[HTML, PDF, BLANK]), [passport, "%PDF-"]);
    assert_eq!(shown(mixed, &[PLAIN, related]), ["Hi", "Hi", "image"]);
    // Only the other form of the same text is left out.
    assert_eq!(shown(choice, &[PLAIN, HTML]), ["Hi"]);
    assert_eq!(shown(choice, &[HTML, PLAIN]), ["Hi"]);
    assert_eq!(shown(choice, &[PLAIN, related]), ["Hi", "image"]);
    assert_eq!(shown(choice, &[EMPTY, HTML]), [passport]);
    assert_eq!(shown(choice, &[HTML, MORE]), [passport, more]);
}

fn post(body: &str) -> Result<form::Post, Code> {
    let body = body.replace('\n', "\r\n").into_bytes().into();
    let limits = Limits {
        field: 1_000,
        parts: 50,
        ..Limits::default()
    };
    runtime().block_on(form::read("multipart/form-data; boundary=b", body, &limits))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

#[test]
fn a_form_that_is_not_ours_is_refused() {
    let field = |name: &str, value: &str| {
        format!("--b\nContent-Disposition: form-data; name=\"{name}\"\n\n{value}\n")
    };
    let ok = post(&(field("a", "1") + &field("b", "שלום") + "--b--\n")).unwrap();
    assert_eq!((ok.field("a"), ok.field("b")), (Some("1"), Some("שלום")));
    let twice = field("a", "1") + &field("a", "2") + "--b--\n";
    assert_eq!(post(&twice).err(), Some(Code::IntMalformed));
    assert_eq!(
        post(&(field("a b", "1") + "--b--\n")).err(),
        Some(Code::IntMalformed)
    );
    assert_eq!(
        post(&(field("", "1") + "--b--\n")).err(),
        Some(Code::IntMalformed)
    );
    assert_eq!(
        post(&field("a", "1")).err(),
        Some(Code::IntMalformed),
        "cut off"
    );
    assert_eq!(
        post("--b\nContent-Disposition: form-data\n\nx\n--b--\n").err(),
        Some(Code::IntMalformed)
    );
    assert_eq!(
        post(&(field("a", &"x".repeat(1_001)) + "--b--\n")).err(),
        Some(Code::IntSize)
    );
    let many: String = (0..51).map(|n| field(&format!("f{n}"), "x")).collect();
    assert_eq!(post(&(many + "--b--\n")).err(), Some(Code::IntBomb));
    let other = runtime().block_on(form::read("text/plain", "x".into(), &Limits::default()));
    assert_eq!(other.err(), Some(Code::IntMalformed));
}

#[test]
fn a_request_head_is_read_strictly() {
    let parse = |text: &str| Head::parse(text.as_bytes(), 64 << 10);
    let good = parse(
        "POST /f?x=1 HTTP/1.1\r\nHost: h\r\nCookie: a=1; b=2; b=3\r\nX-T: 1\r\nX-T: 2\r\n\r\n",
    )
    .unwrap();
    assert_eq!(
        (
            good.method(),
            good.path(),
            good.cookie("a"),
            good.cookie("b")
        ),
        ("POST", "/f", Some("1"), None)
    );
    assert_eq!((good.header("x-t"), good.only("x-t")), (Some("1"), None));
    for bad in [
        "",
        "POST / HTTP/1.1\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\n\r\nbody",
        "hello\r\n\r\n",
    ] {
        assert_eq!(parse(bad).err(), Some(Code::IntMalformed), "{bad:?}");
    }
    let many = "X: y\r\n".repeat(97);
    assert_eq!(
        parse(&format!("POST / HTTP/1.1\r\n{many}\r\n")).err(),
        Some(Code::IntMalformed)
    );
    assert_eq!(Head::parse(&[b'x'; 200], 100).err(), Some(Code::IntSize));
}

/// Bytes, or bytes that begin like something.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let starts: &[&[u8]] = &[
        b"",
        b"%PDF-1.4\n1 0 obj <</Filter/FlateDecode>> stream\n",
        b"%PDF-1.4\n<<>>stream\nBT (P<UTO",
        b"PK\x03\x04\x14\x00\x00\x00\x08\x00",
        b"PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00",
        b"\xff\xd8\xff\xe0",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        b"From: a@example.org\nContent-Type: multipart/mixed; boundary=b\n\n--b\n",
        b"Authentication-Results: mx.kta.example; dmarc=(",
        b"Received: from x by mx.kta.example with ESMTPS (using TLSv1.",
        b"POST / HTTP/1.1\r\nCookie: ",
        b"--b\r\nContent-Disposition: form-data; name=\"",
    ];
    (
        proptest::sample::select(starts),
        proptest::collection::vec(any::<u8>(), 0..2_000),
    )
        .prop_map(|(start, rest)| [start, &rest].concat())
}

/// Header-like text: what reaches deeper than noise does.
fn headers() -> impl Strategy<Value = String> {
    let words = [
        "From:",
        "Received:",
        "from",
        "by",
        "mx.kta.example",
        "with",
        "ESMTPS",
        "(using TLSv1.3",
        ")",
        "(",
        ";",
        "\"",
        "\\",
        "=",
        "dkim",
        "dmarc",
        "pass",
        "fail",
        "Authentication-Results:",
        "Content-Type:",
        "multipart/mixed",
        "message/rfc822",
        "boundary=b",
        "--b",
        "--b--",
        "\n",
        "\n\n",
        "\r\n",
        "\n\t",
        "=?utf-8?B?",
        "?=",
        "<a@b>",
        "Mon, 2 Mar 2026 08:05:04 +0000",
        "Content-Transfer-Encoding: base64",
        "é",
        "\u{202e}",
        "%41",
        "*0*=",
        " ",
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..120)
        .prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_bytes_get_an_answer(bytes in bytes()) {
        let limits = Limits::default();
        let _ = mail::read(&bytes, &gateway(), &limits);
        if let Ok(facts) = mail::way(&bytes, &gateway(), &limits) {
            let _ = mail_facts(&facts);
        }
        let _ = safety::check(Some("x.zip"), &bytes, &limits);
        let _ = safety::check(None, &bytes, &limits);
        let _ = Head::parse(&bytes, 64 << 10);
        let _ = runtime().block_on(form::read("multipart/form-data; boundary=b", bytes.clone().into(), &limits));
        for kind in [Kind::Pdf, Kind::Docx, Kind::Text, Kind::Jpeg] {
            let _ = text_layer(&bytes, kind);
            let _ = machine_readable_zones(&bytes, kind);
        }
    }

    #[test]
    fn any_headers_get_the_same_verdict_twice(text in headers()) {
        let judge = || mail::way(text.as_bytes(), &gateway(), &Limits::default()).map(|facts| judge_mail(&facts));
        prop_assert_eq!(judge(), judge());
        let _ = mail::read(text.as_bytes(), &gateway(), &Limits::default());
    }

    #[test]
    fn nothing_below_the_gateways_line_moves_the_verdict(text in headers()) {
        let ours = "Authentication-Results: mx.kta.example; spf=pass; dkim=pass; dmarc=fail\nReceived: from x (x [192.0.2.1]) (using TLSv1.3 with cipher X) by mx.kta.example with ESMTPS id 1; Mon, 2 Mar 2026 08:05:04 +0000\n";
        let message = format!("{ours}{text}");
        if let Ok(facts) = mail::way(message.as_bytes(), &gateway(), &Limits::default()) {
            let vouched = mail_facts(&facts).sender_vouched;
            // A first line that folds onto ours can spoil our line, never improve on it.
            let folded = text.starts_with([' ', '\t']);
            prop_assert!(vouched == Some(false) || folded && vouched.is_none());
        }
    }

    #[test]
    fn a_zip_with_any_byte_changed_gets_an_answer(at in 0_usize..400, to in any::<u8>()) {
        let mut bytes = include_bytes!("data/two-entries.zip").to_vec();
        let at = at % bytes.len();
        bytes[at] = to;
        let _ = safety::check(Some("x.zip"), &bytes, &Limits::default());
    }
}

#[test]
fn the_archive_that_the_changes_start_from_is_accepted() {
    let bytes = include_bytes!("data/two-entries.zip");
    assert_eq!(
        safety::check(Some("x.zip"), bytes, &Limits::default()),
        Ok(Kind::Zip)
    );
}
