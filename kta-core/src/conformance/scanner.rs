//! The kit of [`Scanner`].

use core::ops::Range;

use bytes::Bytes;
use futures_util::stream;

use super::Desk;
use super::marks::{MARK, assert_unmarked, ended_permits_are_refused, ordinary};
use crate::audit::Label;
use crate::error::{Fault, FaultKind, Port, Result};
use crate::id::Digest;
use crate::pii::identifier::{Mrz, MrzDate, MrzFields, MrzFormat, MrzSex};
use crate::pii::{Content, MediaType, Pii};
use crate::policy::{Act, Role};
use crate::ports::scanner::{FindingKind, Inspection, Scanner};

conformance_cases! {$
    /// The contract of [`Scanner`](crate::ports::Scanner) as tests; `fresh` gives a scanner. See
    /// [`conformance`](crate::conformance).
    scanner_conformance = scanner:
    a_finding_says_where_and_what_kind,
    a_finding_never_says_the_value,
    the_same_content_gives_the_same_findings_in_order_of_place,
    text_without_identifiers_has_no_finding,
    content_that_cannot_be_read_is_opaque_and_never_clean,
    a_stream_that_breaks_off_is_never_clean,
    redacted_text_has_no_finding_of_the_redacted_kinds,
    redaction_leaves_the_rest_as_it_is,
    scanning_answers_any_bytes,
    only_a_permit_over_content_scans,
}

/// A finding says where it is, in bytes of the text, and what kind it is.
pub async fn a_finding_says_where_and_what_kind(port: &dyn Scanner) {
    let (text, planted) = planted();
    let seen = inspect(port, text.as_bytes()).await.unwrap();
    assert!(!seen.opaque);
    for (kind, place) in planted {
        let found = seen.findings.iter().find(|finding| {
            let (start, end) = (finding.start as usize, finding.end as usize);
            finding.kind == kind
                && start <= place.start + SLACK
                && place.end <= end + SLACK
                && start < end
        });
        let found = found.unwrap_or_else(|| panic!("{kind} at {place:?} was not found: {seen:?}"));
        assert!(
            (found.end - found.start) as usize <= place.len() + 2 * SLACK,
            "{kind} is too wide"
        );
        assert!(found.confidence <= 100);
    }
}

/// A finding, an error and `Debug` never say the value.
pub async fn a_finding_never_says_the_value(port: &dyn Scanner) {
    let (text, _) = planted();
    let seen = inspect(port, text.as_bytes()).await.unwrap();
    let redacted = redact(port, &text, &[]).await.unwrap();
    let shown = format!("{port:?} {seen:?} {redacted:?}");
    assert_unmarked(&shown);
    for value in ["012345678", "IOE0123456789", "L898902C"] {
        assert!(!shown.contains(value), "a value is shown");
    }
}

/// The same content gives the same findings, in order of place, however it is cut into pieces.
pub async fn the_same_content_gives_the_same_findings_in_order_of_place(port: &dyn Scanner) {
    let (text, _) = planted();
    let first = inspect(port, text.as_bytes()).await.unwrap();
    assert!(
        first
            .findings
            .windows(2)
            .all(|pair| pair[0].start <= pair[1].start)
    );
    assert_eq!(inspect(port, text.as_bytes()).await.unwrap(), first);
    for piece in [1, 7, 64] {
        let pieces: Vec<_> = text
            .as_bytes()
            .chunks(piece)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        let bytes = text.as_bytes();
        let content = Content::new(
            bytes.len() as u64,
            Digest::of(bytes),
            MediaType::text(),
            Box::pin(stream::iter(pieces)),
        );
        assert_eq!(
            scan(port, content).await.unwrap(),
            first,
            "in pieces of {piece}"
        );
    }
}

/// Text without identifiers has no finding and is not opaque.
pub async fn text_without_identifiers_has_no_finding(port: &dyn Scanner) {
    let text = "the meeting about the office plants is moved to the larger room\n";
    for text in [text, ""] {
        let seen = inspect(port, text.as_bytes()).await.unwrap();
        assert_eq!(seen, Inspection::default());
    }
}

/// Content that cannot be read is `opaque`, never "clean".
pub async fn content_that_cannot_be_read_is_opaque_and_never_clean(port: &dyn Scanner) {
    for length in [64, 5_000, 300_000] {
        let noise = super::papers::content(length, 9);
        let content = Content::of(noise, MediaType::octets());
        assert!(
            scan(port, content).await.unwrap().opaque,
            "{length} bytes of noise"
        );
    }
}

/// A stream that breaks off, or is not what it promised, is an error or opaque, never clean.
pub async fn a_stream_that_breaks_off_is_never_clean(port: &dyn Scanner) {
    let whole = "nothing to be found here, and then ".repeat(100);
    let half = Bytes::copy_from_slice(&whole.as_bytes()[..1_000]);
    let fault = Fault::new(FaultKind::Unavailable, Port::Blobs, "stream");
    for pieces in [vec![Ok(half.clone()), Err(fault.into())], vec![Ok(half)]] {
        let (length, digest) = (whole.len() as u64, Digest::of(whole.as_bytes()));
        let stream = Box::pin(stream::iter(pieces));
        let seen = scan(
            port,
            Content::new(length, digest, MediaType::text(), stream),
        )
        .await;
        assert!(seen.is_err() || seen.is_ok_and(|seen| seen.opaque));
    }
}

/// Redacted text, scanned again, has no finding of the redacted kinds.
pub async fn redacted_text_has_no_finding_of_the_redacted_kinds(port: &dyn Scanner) {
    let (text, planted) = planted();
    let clean = redact(port, &text, &[]).await.unwrap();
    let seen = inspect(port, clean.bare().as_bytes()).await.unwrap();
    assert_eq!(seen.findings, []);
    for (_, place) in &planted {
        assert!(
            !clean.bare().contains(&text[place.clone()]),
            "a value is still there"
        );
    }
    for (kind, _) in planted {
        let less = redact(port, &text, core::slice::from_ref(&kind))
            .await
            .unwrap();
        let seen = inspect(port, less.bare().as_bytes()).await.unwrap();
        assert!(
            seen.findings.iter().all(|finding| finding.kind != kind),
            "{kind} is left"
        );
    }
}

/// Redaction takes out what was asked for and leaves the rest as it is.
pub async fn redaction_leaves_the_rest_as_it_is(port: &dyn Scanner) {
    let (text, planted) = planted();
    let email = Label::fixed("EMAIL");
    let less = redact(port, &text, core::slice::from_ref(&email))
        .await
        .unwrap();
    for (kind, place) in planted {
        let kept = less.bare().contains(&text[place]);
        assert_eq!(kept, kind != email, "{kind}");
    }
    for word in ["דוגמה", "the file of", "Grüße"] {
        assert!(less.bare().contains(word), "the rest of the text is gone");
    }
    let plain = "nothing to be found here\n";
    assert_eq!(redact(port, plain, &[]).await.unwrap().bare(), plain);
}

/// Scanning answers any bytes in bounded memory.
pub async fn scanning_answers_any_bytes(port: &dyn Scanner) {
    let nested = "(".repeat(100_000);
    let zone = "P<UTO".to_owned() + &"<".repeat(500_000);
    let digits = "0123456789".repeat(100_000);
    let at = "a@".repeat(200_000);
    for text in [
        nested,
        zone,
        digits,
        at,
        "\u{202E}\u{2066}\0\u{FEFF}".repeat(10_000),
    ] {
        inspect(port, text.as_bytes()).await.unwrap();
    }
    for bytes in [
        b"\xC3\x28\xA0\xA1".repeat(1_000),
        b"PK\x03\x04\0\0".to_vec(),
        b"%PDF-1.7\n\xE2\xE3".to_vec(),
    ] {
        for media in [MediaType::text(), MediaType::pdf(), MediaType::octets()] {
            let seen = scan(port, Content::of(bytes.clone(), media)).await.unwrap();
            assert!(seen.opaque, "what is not text cannot have been read");
        }
    }
    // A promise that no memory could keep is no reason to reserve that memory.
    let pieces = stream::iter((0..64).map(|_| Ok(Bytes::from_static(&[b'x'; 65_536]))));
    let content = Content::new(
        u64::MAX,
        Digest::of(b""),
        MediaType::text(),
        Box::pin(pieces),
    );
    let seen = scan(port, content).await;
    assert!(seen.is_err() || seen.is_ok_and(|seen| seen.opaque));
}

/// Only a permit for an act on content scans, and only while it lasts.
pub async fn only_a_permit_over_content_scans(port: &dyn Scanner) {
    let desk = Desk::new("scanner");
    let scope = || ordinary(&desk, desk.beneficiary());
    let (scan, destroy) = (
        (Role::ServiceDlp, Act::Scan),
        (Role::ServiceDestroy, Act::Destroy),
    );
    ended_permits_are_refused(&desk, scope(), scan, destroy, async |permit| {
        port.inspect(Content::of("text", MediaType::text()), permit)
            .await
    })
    .await;
    let text = Pii::new(planted().0);
    ended_permits_are_refused(&desk, scope(), scan, destroy, async |permit| {
        port.redact(&text, &[], permit).await
    })
    .await;
}

async fn inspect(port: &dyn Scanner, text: &[u8]) -> Result<Inspection> {
    scan(port, Content::of(text.to_vec(), MediaType::text())).await
}

async fn scan(port: &dyn Scanner, content: Content) -> Result<Inspection> {
    let desk = Desk::new("scanner");
    let session = desk.session(Role::ServiceDlp);
    let permit = session
        .permit(Act::Scan, ordinary(&desk, desk.beneficiary()))
        .await?;
    port.inspect(content, &permit).await
}

async fn redact(port: &dyn Scanner, text: &str, kinds: &[FindingKind]) -> Result<Pii<String>> {
    let desk = Desk::new("scanner");
    let session = desk.session(Role::ServiceDlp);
    let permit = session
        .permit(Act::Scan, ordinary(&desk, desk.beneficiary()))
        .await?;
    port.redact(&Pii::new(text.to_owned()), kinds, &permit)
        .await
}

/// A text with one identifier of each kind that every scanner must know, and where each stands.
fn planted() -> (String, Vec<(FindingKind, Range<usize>)>) {
    let date = |year, month, day| MrzDate::new(year, month, day).unwrap();
    let zone = Mrz::compose(&MrzFields {
        format: MrzFormat::Td3,
        document_code: "P",
        issuer: "UTO",
        surname: "ERIKSSON",
        given_names: "ANNA MARIA",
        number: "L898902C3",
        nationality: "UTO",
        birth: date(1974, 8, 12),
        sex: MrzSex::Female,
        expiry: date(2012, 4, 15),
        optional: "",
    });
    let mut text = String::new();
    let mut places = Vec::new();
    for (before, kind, value) in [
        (
            "דוגמה: the file of A-number ",
            "US_A_NUMBER",
            "A-012345678".to_owned(),
        ),
        (
            ", receipt number ",
            "USCIS_RECEIPT",
            "IOE0123456789".to_owned(),
        ),
        (". Grüße to ", "EMAIL", format!("{MARK}@client.example")),
        (" with the passport\n", "MRZ", zone.unwrap().reveal()),
    ] {
        text.push_str(before);
        let start = text.len();
        text.push_str(&value);
        places.push((Label::fixed(kind), start..text.len()));
    }
    text.push('\n');
    (text, places)
}

/// Scanners may count a prefix or a line break in or out.
const SLACK: usize = 2;
