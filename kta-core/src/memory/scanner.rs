//! A scanner that knows four kinds of identifier.

use core::ops::Range;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use zeroize::Zeroizing;

use crate::audit::Label;
use crate::error::Result;
use crate::pii::identifier::{ANumber, Mrz, ReceiptNumber};
use crate::pii::{Content, FieldKind, Pii};
use crate::policy::{Act, Permit};
use crate::ports::scanner::{Finding, FindingKind, Inspection, Scanner};
use crate::refusal::Code;

/// A [`Scanner`] that finds machine readable zones (`MRZ`), A-numbers (`US_A_NUMBER`), USCIS
/// receipt numbers (`USCIS_RECEIPT`) and e-mail addresses (`EMAIL`) in UTF-8 text, each by the
/// checks of [`identifier`](crate::pii::identifier). What is not text is opaque to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryScanner;

impl MemoryScanner {
    /// The longest content that is looked at as a whole, in bytes; longer content is opaque.
    pub const LONGEST: usize = 16 << 20;

    /// A scanner.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Scanner for MemoryScanner {
    async fn inspect(&self, content: Content, permit: &Permit<'_>) -> Result<Inspection> {
        permit.require_act(Act::ON_CONTENT)?;
        let is_text = content.media().as_str().starts_with("text/");
        let mut bytes = Zeroizing::new(Vec::new());
        let mut stream = content.into_stream(permit);
        let mut opaque = !is_text;
        while let Some(chunk) = stream.try_next().await? {
            if bytes.len() + chunk.len() > Self::LONGEST {
                opaque = true;
                break;
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(match core::str::from_utf8(&bytes) {
            Ok(text) => Inspection {
                findings: findings(text),
                opaque: opaque || text.contains('\0'),
            },
            Err(_) => Inspection {
                findings: Vec::new(),
                opaque: true,
            },
        })
    }

    async fn redact(
        &self,
        text: &Pii<String>,
        kinds: &[FindingKind],
        permit: &Permit<'_>,
    ) -> Result<Pii<String>> {
        permit.require_act(Act::ON_CONTENT)?;
        let mut text = text.expose(permit).clone();
        // Taking one thing out may bring to light another that stood against it.
        for _ in 0..MOST_ROUNDS {
            let mut found = findings(&text);
            found.retain(|finding| kinds.is_empty() || kinds.contains(&finding.kind));
            if found.is_empty() {
                return Ok(Pii::new(text));
            }
            for finding in found.iter().rev() {
                text.replace_range(place(finding), &format!("[{}]", finding.kind));
            }
        }
        drop(Pii::new(text));
        Err(Code::DlpResidue.into())
    }
}

/// Every finding in order of place, none within another.
fn findings(text: &str) -> Vec<Finding> {
    let mut found: Vec<(Range<usize>, Label, u8)> = Vec::new();
    let mut add = |places: Vec<Range<usize>>, kind: Label, confidence| {
        found.extend(
            places
                .into_iter()
                .map(|place| (place, kind.clone(), confidence)),
        );
    };
    add(zones(text), MRZ, 100);
    add(addresses(text), EMAIL, 95);
    let alien = |prefix: &[u8]| matches!(prefix, b"A" | b"a");
    add(
        numbers(text, alien, 7..=9, |text| ANumber::parse(text).is_ok()),
        A_NUMBER,
        85,
    );
    add(receipts(text), RECEIPT, 90);
    // The widest first, so that what stands within it comes after it.
    found.sort_by_key(|(place, ..)| (place.start, usize::MAX - place.end));
    let mut end = 0;
    found.retain(|(place, ..)| {
        let apart = place.start >= end;
        end = end.max(place.end);
        apart
    });
    let finding = |(place, kind, confidence): (Range<usize>, Label, u8)| Finding {
        kind,
        start: place.start as u64,
        end: place.end as u64,
        confidence,
    };
    found.into_iter().map(finding).collect()
}

fn place(finding: &Finding) -> Range<usize> {
    // Both came from the length of a text in memory.
    finding.start as usize..finding.end as usize
}

/// Two lines of 44 or 36 characters or three of 30, or the same in one run, with check digits
/// that fit.
fn zones(text: &str) -> Vec<Range<usize>> {
    let in_zone = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'<';
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut start = None;
    for (at, byte) in text.bytes().chain([0]).enumerate() {
        match (in_zone(byte), start) {
            (true, None) => start = Some(at),
            (false, Some(begun)) => {
                runs.push(begun..at);
                start = None;
            }
            _ => {}
        }
    }
    let together = |runs: &[Range<usize>]| {
        runs.windows(2)
            .all(|pair| text[pair[0].end..pair[1].start].trim().is_empty())
    };
    let mut zones = Vec::new();
    for first in 0..runs.len() {
        for lines in 1..=3 {
            let Some(run) = runs.get(first..first + lines) else {
                continue;
            };
            let length: usize = run.iter().map(Range::len).sum();
            if ![72, 88, 90].contains(&length) || !together(run) {
                continue;
            }
            let place = run[0].start..run[lines - 1].end;
            if Mrz::parse(&text[place.clone()]).is_ok() {
                zones.push(place);
            }
        }
    }
    zones
}

/// `local@domain` as far as the characters of an address go to both sides.
fn addresses(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let local = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~.-".contains(byte);
    let domain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
    let mut places = Vec::new();
    for (at, _) in text.match_indices('@') {
        let left = bytes[..at]
            .iter()
            .rev()
            .take(64)
            .take_while(|byte| local(byte))
            .count();
        let right = bytes[at + 1..]
            .iter()
            .take(253)
            .take_while(|byte| domain(byte))
            .count();
        let written = &text[at - left..at + 1 + right];
        // Punctuation around an address is the sentence's.
        let begun = written.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        let trimmed = begun.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        if FieldKind::Email.accepts(trimmed) {
            let start = at - left + (written.len() - begun.len());
            places.push(start..start + trimmed.len());
        }
    }
    places
}

/// Three letters of an office and ten digits. Letters of no known office count only where the
/// thirteen characters stand together in capitals, as the agency prints them.
fn receipts(text: &str) -> Vec<Range<usize>> {
    let parses = |text: &str| {
        let printed = text.len() == 13 && !text.bytes().any(|byte| byte.is_ascii_lowercase());
        ReceiptNumber::parse(text).is_ok_and(|number| printed || number.has_known_office())
    };
    numbers(text, |prefix| prefix.len() == 3, 10..=10, parses)
}

/// A prefix at the beginning of a word, then digits with single blanks or hyphens between, which
/// end with the word.
fn numbers(
    text: &str,
    begins: fn(&[u8]) -> bool,
    digits: core::ops::RangeInclusive<usize>,
    parses: fn(&str) -> bool,
) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut places = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let rest = &bytes[start..];
        let word = rest
            .iter()
            .take_while(|byte| byte.is_ascii_alphabetic())
            .count();
        if word == 0 || !begins(&rest[..word]) {
            // On to the next word.
            start += rest
                .iter()
                .take_while(|byte| byte.is_ascii_alphanumeric())
                .count()
                .max(1);
            continue;
        }
        let (mut at, mut count) = (word, 0);
        while count < *digits.end() {
            let separated = rest.get(at).is_some_and(|byte| b" -".contains(byte));
            let next = at + usize::from(separated);
            if !rest.get(next).is_some_and(u8::is_ascii_digit) {
                break;
            }
            (at, count) = (next + 1, count + 1);
        }
        let ends = !rest.get(at).is_some_and(u8::is_ascii_alphanumeric);
        if digits.contains(&count) && ends && parses(&text[start..start + at]) {
            places.push(start..start + at);
            start += at;
        } else {
            start += rest
                .iter()
                .take_while(|byte| byte.is_ascii_alphanumeric())
                .count()
                .max(1);
        }
    }
    places
}

const MRZ: Label = Label::fixed("MRZ");
const EMAIL: Label = Label::fixed("EMAIL");
const A_NUMBER: Label = Label::fixed("US_A_NUMBER");
const RECEIPT: Label = Label::fixed("USCIS_RECEIPT");
const MOST_ROUNDS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<(String, String)> {
        let found = findings(text);
        found
            .iter()
            .map(|finding| (finding.kind.to_string(), text[place(finding)].to_owned()))
            .collect()
    }

    #[test]
    fn numbers_are_found_as_people_write_them() {
        for written in ["A012345678", "A-012345678", "A 012-345-678", "a1234567"] {
            assert_eq!(
                kinds(&format!("({written})")),
                [("US_A_NUMBER".into(), written.into())]
            );
        }
        for written in ["IOE0123456789", "EAC-22-123-45678", "lin 2212345678"] {
            assert_eq!(
                kinds(&format!("<{written}>")),
                [("USCIS_RECEIPT".into(), written.into())]
            );
        }
    }

    #[test]
    fn what_only_looks_like_a_number_is_left_alone() {
        for written in [
            "A000000000",
            "A123456",
            "A1234567890",
            "XA12345678",
            "IOE012345678",
            "IOE01234567890",
            "the 1234567890",
        ] {
            assert_eq!(kinds(written), [], "{written}");
        }
        assert_eq!(kinds("@ a@b a@.b.c @@ x@y"), []);
    }

    #[test]
    fn an_address_ends_where_the_sentence_begins() {
        assert_eq!(
            kinds("to <testa.example@kta.example>. Or (x+y@a-b.example)!"),
            [
                ("EMAIL".into(), "testa.example@kta.example".into()),
                ("EMAIL".into(), "x+y@a-b.example".into())
            ]
        );
    }

    #[test]
    fn a_zone_with_a_wrong_digit_is_no_zone() {
        let zone = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10";
        assert_eq!(
            kinds(&format!("x\n{zone}\ny")),
            [("MRZ".into(), zone.into())]
        );
        assert_eq!(kinds(&zone.replace('\n', "")).len(), 1);
        assert_eq!(kinds(&zone.replace("7408122", "7408123")), []);
    }
}
