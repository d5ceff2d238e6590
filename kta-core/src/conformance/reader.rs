//! The kit of [`Reader`].

use std::sync::Arc;

use super::Desk;
use super::marks::{MARK, assert_unmarked, ended_permits_are_refused, ordinary};
use super::papers::content;
use crate::error::{Error, Result};
use crate::pii::{MediaType, Pii};
use crate::policy::{Act, Role};
use crate::ports::Reader;

conformance_cases! {$
    /// The contract of [`Reader`](crate::ports::Reader) as tests; `fresh` gives a
    /// [`ReaderBench`](crate::conformance::reader::ReaderBench). See
    /// [`conformance`](crate::conformance).
    reader_conformance = reader:
    the_text_that_stands_in_a_file_is_given_in_reading_order,
    the_same_file_gives_the_same_text,
    a_file_without_text_gives_none,
    a_type_that_is_not_read_gives_none,
    noise_is_refused_or_gives_none_and_never_a_guess,
    a_damaged_file_is_answered_and_breaks_nothing,
    a_file_beyond_measure_is_refused_or_cut,
    what_is_read_is_not_shown,
    only_a_permit_over_content_reads,
}

/// A reader, and files of the formats that it reads.
pub trait ReaderBench: Send + Sync {
    /// The port.
    fn reader(&self) -> Arc<dyn Reader>;

    /// One file of every format that the port reads, `text/plain` among them if it does, each
    /// carrying these lines in this order. The lines are printable ASCII without parentheses.
    fn files(&self, lines: &[&str]) -> Vec<(MediaType, Vec<u8>)>;

    /// Whole files of such formats that carry no text.
    fn textless(&self) -> Vec<(MediaType, Vec<u8>)>;
}

/// The text that stands in a file is given, in reading order.
pub async fn the_text_that_stands_in_a_file_is_given_in_reading_order(bench: &dyn ReaderBench) {
    let files = bench.files(&lines());
    assert!(!files.is_empty(), "a reader reads something");
    for (media, bytes) in files {
        let text = read(bench, &media, &bytes).await.unwrap();
        let text = text.unwrap_or_else(|| panic!("{} has text", media.as_str()));
        let text: Vec<_> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        assert_eq!(text, lines(), "{}", media.as_str());
    }
}

/// The same file gives the same text.
pub async fn the_same_file_gives_the_same_text(bench: &dyn ReaderBench) {
    for (media, bytes) in bench.files(&lines()) {
        let first = read(bench, &media, &bytes).await.unwrap();
        assert_eq!(read(bench, &media, &bytes).await.unwrap(), first);
    }
}

/// A file without text gives none: not the empty text, and no refusal.
pub async fn a_file_without_text_gives_none(bench: &dyn ReaderBench) {
    let mut files = bench.textless();
    let plain = MediaType::text();
    if bench
        .files(&lines())
        .iter()
        .any(|(media, _)| *media == plain)
    {
        files.extend([&b""[..], b" ", b"\n\t \r\n"].map(|blank| (plain.clone(), blank.to_vec())));
    }
    for (media, bytes) in files {
        let text = read(bench, &media, &bytes).await;
        assert_eq!(text, Ok(None), "{}", media.as_str());
    }
}

/// A type that is not read gives none.
pub async fn a_type_that_is_not_read_gives_none(bench: &dyn ReaderBench) {
    for media in ["image/jpeg", "application/x-unheard-of"] {
        let text = read(bench, &MediaType::parse(media), &picture()).await;
        assert_eq!(text, Ok(None), "{media}");
    }
}

/// Noise that says it is a file which is read is refused or gives none, and never a guess.
pub async fn noise_is_refused_or_gives_none_and_never_a_guess(bench: &dyn ReaderBench) {
    let plain = MediaType::text();
    for (media, _) in bench.files(&lines()) {
        for noise in [
            content(64, 1),
            content(5_000, 2),
            content(300_000, 3),
            picture(),
        ] {
            let outcome = read(bench, &media, &noise).await;
            let refused = matches!(outcome, Err(Error::Refused(_)));
            assert!(
                refused || (outcome == Ok(None) && media != plain),
                "{} bytes of noise as {}: {}",
                noise.len(),
                media.as_str(),
                if outcome.is_ok() { "read" } else { "a fault" },
            );
        }
    }
}

/// A file that was cut short or changed is refused, or gives what can still be read.
pub async fn a_damaged_file_is_answered_and_breaks_nothing(bench: &dyn ReaderBench) {
    for (media, bytes) in bench.files(&lines()) {
        let cut = (0..PLACES).map(|nth| bytes[..bytes.len() * nth / PLACES].to_vec());
        let changed = (0..PLACES).map(|nth| {
            let mut bytes = bytes.clone();
            let at = nth * (bytes.len() - 1) / PLACES;
            bytes[at] ^= 1 << (nth % 8);
            bytes
        });
        for damaged in cut.chain(changed) {
            let outcome = read(bench, &media, &damaged).await;
            let answered = matches!(outcome, Ok(_) | Err(Error::Refused(_)));
            assert!(answered, "a fault from damaged {}", media.as_str());
        }
    }
}

/// A file that is longer than anything whose text is wanted is refused, or its text is cut.
pub async fn a_file_beyond_measure_is_refused_or_cut(bench: &dyn ReaderBench) {
    let long = lines()
        .join("\n")
        .repeat(1 + BEYOND_MEASURE / lines().join("\n").len());
    for (media, bytes) in bench.files(&[&long]) {
        let outcome = read(bench, &media, &bytes).await;
        let bounded = match &outcome {
            Ok(text) => text
                .as_ref()
                .is_none_or(|text| text.len() <= BEYOND_MEASURE / 2),
            Err(error) => matches!(error, Error::Refused(_)),
        };
        assert!(bounded, "{}", media.as_str());
    }
}

/// What is read is not shown: by the port, by what it gives, by its errors.
pub async fn what_is_read_is_not_shown(bench: &dyn ReaderBench) {
    let desk = Desk::new("reader");
    let session = desk.session(Role::ServiceDlp);
    let scope = ordinary(&desk, desk.beneficiary());
    let permit = session.permit(Act::Scan, scope).await.unwrap();
    let port = bench.reader();
    for (media, mut bytes) in bench.files(&lines()) {
        let whole = port.text(&media, &Pii::new(bytes.clone()), &permit);
        let end = bytes.len() - 1;
        bytes[end] = 0xFF;
        let damaged = port.text(&media, &Pii::new(bytes), &permit);
        assert_unmarked(&format!("{port:?} {whole:?} {damaged:?}"));
        if let Err(error) = damaged {
            assert_unmarked(&error.to_string());
        }
    }
}

/// Only a permit for an act on content reads, and only while it lasts.
pub async fn only_a_permit_over_content_reads(bench: &dyn ReaderBench) {
    let desk = Desk::new("reader");
    let scope = ordinary(&desk, desk.beneficiary());
    let (scan, destroy) = (
        (Role::ServiceDlp, Act::Scan),
        (Role::ServiceDestroy, Act::Destroy),
    );
    let port = bench.reader();
    for (media, bytes) in bench.files(&lines()) {
        let bytes = Pii::new(bytes);
        ended_permits_are_refused(&desk, scope.clone(), scan, destroy, async |permit| {
            port.text(&media, &bytes, permit)
        })
        .await;
    }
}

async fn read(bench: &dyn ReaderBench, media: &MediaType, bytes: &[u8]) -> Result<Option<String>> {
    let desk = Desk::new("reader");
    let session = desk.session(Role::ServiceDlp);
    let permit = session
        .permit(Act::Scan, ordinary(&desk, desk.beneficiary()))
        .await?;
    let text = bench
        .reader()
        .text(media, &Pii::new(bytes.to_vec()), &permit)?;
    Ok(text.map(|text| text.bare().clone()))
}

/// What a scanned passport page and a letter have; the zone's second line has right digits.
fn lines() -> [&'static str; 4] {
    assert!(LETTER.contains(MARK), "the kit looks for the mark");
    [
        "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<",
        "L898902C36UTO7408122F1204159ZE184226B<<<<<10",
        LETTER,
        "and, below it, one more line.",
    ]
}

/// The head of a JPEG picture, then noise.
fn picture() -> Vec<u8> {
    [
        &b"\xFF\xD8\xFF\xE0\x00\x10JFIF\x00\x01"[..],
        &content(2_000, 4),
    ]
    .concat()
}

/// A line with the mark in it.
const LETTER: &str = "Dear Sir, Qzxmark encloses the page.";
/// How many places of a file are cut and changed.
const PLACES: usize = 48;
/// Longer than anything whose text is wanted, in bytes.
const BEYOND_MEASURE: usize = 20 << 20;
