//! The port, with permits from an ordinary gate.

use kta_core::audit::Label;
use kta_core::conformance::Desk;
use kta_core::pii::{Category, Content, MediaType, Pii};
use kta_core::policy::{Act, Role};
use kta_core::ports::Scanner as _;
use kta_dlp::DlpScanner;

#[tokio::test]
async fn findings_tell_place_and_kind_and_no_value() {
    let desk = Desk::new("dlp");
    let session = desk.session(Role::Paralegal);
    let permit = session
        .permit(
            Act::Open,
            desk.scope(desk.beneficiary(), Category::Identity),
        )
        .await
        .unwrap();
    let text = "Applicant: Testa Canary, SSN 123-45-6789";
    let seen = DlpScanner::new()
        .inspect(Content::of(text, MediaType::text()), &permit)
        .await
        .unwrap();
    let kinds: Vec<&str> = seen
        .findings
        .iter()
        .map(|finding| finding.kind.as_str())
        .collect();
    assert_eq!((kinds, seen.opaque), (vec!["PERSON", "US_SSN"], false));
    assert_eq!(
        &text[seen.findings[1].start as usize..seen.findings[1].end as usize],
        "123-45-6789"
    );
    assert!(!format!("{seen:?}").contains("Canary"));
}

#[tokio::test]
async fn what_cannot_be_read_is_opaque_and_never_clean() {
    let desk = Desk::new("dlp");
    let session = desk.session(Role::Paralegal);
    let permit = session
        .permit(
            Act::Open,
            desk.scope(desk.beneficiary(), Category::Identity),
        )
        .await
        .unwrap();
    for bytes in [
        b"%PDF-1.7".as_slice(),
        b"\x89PNG\r\n\x1a\n",
        b"PK\x03\x04",
        b"text \xFF\xFE text",
        b"\0\0\0",
    ] {
        for media in [MediaType::text(), MediaType::pdf(), MediaType::octets()] {
            let seen = DlpScanner::new()
                .inspect(Content::of(bytes, media), &permit)
                .await
                .unwrap();
            assert!(seen.opaque);
        }
    }
    let page = Content::of(
        "<p>SSN 123-<b>45</b>-6789</p>",
        MediaType::parse("text/html"),
    );
    let seen = DlpScanner::new().inspect(page, &permit).await.unwrap();
    assert_eq!((seen.findings.len(), seen.opaque), (1, false));
}

#[tokio::test]
async fn redaction_takes_the_named_kinds_and_leaves_none() {
    let desk = Desk::new("dlp");
    let session = desk.session(Role::Paralegal);
    let permit = session
        .permit(
            Act::Open,
            desk.scope(desk.beneficiary(), Category::Identity),
        )
        .await
        .unwrap();
    let text = Pii::new(String::from("SSN 123-45-6789, mail testa@example.com"));
    let scanner = DlpScanner::new();
    let redacted = scanner
        .redact(&text, &[Label::fixed("US_SSN")], &permit)
        .await
        .unwrap();
    assert_eq!(
        redacted.expose(&permit),
        "SSN ⟦US_SSN⟧, mail testa@example.com"
    );
    let all = scanner.redact(&text, &[], &permit).await.unwrap();
    let again = Content::of(all.expose(&permit).clone(), MediaType::text());
    assert!(
        scanner
            .inspect(again, &permit)
            .await
            .unwrap()
            .findings
            .is_empty()
    );
    let unknown = scanner
        .redact(&text, &[Label::fixed("NO_SUCH_KIND")], &permit)
        .await
        .unwrap_err();
    assert!(unknown.fault().is_some());
}
