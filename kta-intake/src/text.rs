//! The text that a file carries besides its looks: enough for the machine readable zone of a
//! scanned passport page, and for looking through letters.
//!
//! This is no recognition of characters. A scanner that makes "searchable" PDFs writes what it
//! read as invisible text over the picture; that layer is what is read here. PDF text is found
//! in page streams that are plain or deflated, in fonts whose codes are ASCII; a PDF that maps
//! its codes otherwise, or keeps its pages in object streams of another filter, gives less or
//! nothing.

use std::io::Read as _;

use kta_core::pii::identifier::Mrz;
use kta_core::pii::{MediaType, Pii};
use kta_core::policy::{Act, Permit};
use kta_core::ports::Reader;
use kta_core::{Code, Result};

use crate::limits::Limits;
use crate::safety::{self, Archive, Budget, Kind};

/// Reads what [`text_layer`] reads, behind the port `Reader`.
#[derive(Clone, Copy, Debug, Default)]
pub struct TextLayer;

impl Reader for TextLayer {
    /// # Errors
    /// `INT-TYPE` when the bytes are not what `media` says, and whatever else
    /// [`safety::check`] finds wrong with them.
    fn text(
        &self,
        media: &MediaType,
        bytes: &Pii<Vec<u8>>,
        permit: &Permit<'_>,
    ) -> Result<Option<Pii<String>>> {
        permit.require_act(Act::ON_CONTENT)?;
        let Some(said) = READ.into_iter().find(|kind| kind.media() == media.as_str()) else {
            return Ok(None);
        };
        let bytes = bytes.expose(permit);
        if safety::check(None, bytes, &Limits::default())? != said {
            return Err(Code::IntType.into());
        }
        Ok(text_layer(bytes, said))
    }
}

/// The text of a file of this kind, if it has any; at most 1 MiB of it.
#[must_use]
pub fn text_layer(bytes: &[u8], kind: Kind) -> Option<Pii<String>> {
    text(bytes, kind).map(Pii::new)
}

/// The machine readable zones in a file's text: two or three neighbouring lines that parse as
/// one, check digits and all. Line 1 of a passport has no check digit: compare names elsewhere.
#[must_use]
pub fn machine_readable_zones(bytes: &[u8], kind: Kind) -> Vec<Mrz> {
    text(bytes, kind)
        .map(|text| zones(&text))
        .unwrap_or_default()
}

fn text(bytes: &[u8], kind: Kind) -> Option<String> {
    let text = match kind {
        Kind::Pdf => pdf(bytes),
        Kind::Docx => docx(bytes)?,
        Kind::Text => String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]).into_owned(),
        _ => return None,
    };
    (!text.trim().is_empty()).then_some(text)
}

fn zones(text: &str) -> Vec<Mrz> {
    let zone = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '<';
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<String>())
        .filter(|line| matches!(line.len(), 30 | 36 | 44) && line.chars().all(zone))
        .collect();
    let pairs = lines
        .windows(2)
        .filter(|two| two[0].len() > 30)
        .map(|two| two.join("\n"));
    let triples = lines
        .windows(3)
        .filter(|three| three[0].len() == 30)
        .map(|three| three.join("\n"));
    pairs
        .chain(triples)
        .filter_map(|text| Mrz::parse(&text).ok())
        .collect()
}

/// The text shown by the content streams of a PDF, one line an operator that shows it.
fn pdf(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut budget = MOST_UNPACKED;
    let mut at = 0;
    for _ in 0..MOST_STREAMS {
        let Some(start) = find(&bytes[at..], b"stream").map(|found| at + found) else {
            break;
        };
        let body = start + b"stream".len();
        if bytes[..start].ends_with(b"end") {
            at = body;
            continue;
        }
        let skip = match bytes.get(body..) {
            Some([b'\r', b'\n', ..]) => 2,
            Some([b'\n' | b'\r', ..]) => 1,
            _ => {
                at = body;
                continue;
            }
        };
        let body = body + skip;
        let Some(length) = find(&bytes[body..], b"endstream") else {
            break;
        };
        let raw = &bytes[body..body + length];
        at = body + length + b"endstream".len();

        let dictionary = &bytes[start.saturating_sub(2048)..start];
        let dictionary = &dictionary[rfind(dictionary, b"obj").unwrap_or(0)..];
        let says = |word: &[u8]| find(dictionary, word).is_some();
        if says(b"/Image") || says(b"/FontFile") || says(b"/Length1") || says(b"/XRef") {
            continue;
        }
        if says(b"/FlateDecode") && !says(b"/ASCII85Decode") {
            let mut plain = Vec::new();
            let limit = budget.min(MOST as u64);
            let mut inflater = flate2::read::ZlibDecoder::new(raw).take(limit);
            // What was unpacked before an error is still text.
            let _ = inflater.read_to_end(&mut plain);
            budget -= plain.len() as u64;
            shown(&plain, &mut out);
        } else if !says(b"/Filter") {
            shown(raw, &mut out);
        }
        if out.len() >= MOST || budget == 0 {
            break;
        }
    }
    truncate(&mut out);
    out
}

/// Appends the strings that `Tj`, `TJ`, `'` and `"` show between `BT` and `ET`.
fn shown(content: &[u8], out: &mut String) {
    let mut rest = content;
    let (mut inside, mut pending) = (false, String::new());
    while let Some((&byte, after)) = rest.split_first() {
        if out.len() >= MOST {
            return;
        }
        match byte {
            b'(' => rest = literal(after, &mut pending),
            b'<' if after.first() != Some(&b'<') => rest = hexadecimal(after, &mut pending),
            b'%' => {
                let end = after.iter().position(|b| matches!(b, b'\n' | b'\r'));
                rest = &after[end.unwrap_or(after.len())..];
            }
            b if b.is_ascii_alphabetic() || matches!(b, b'\'' | b'"' | b'*') => {
                let end = rest
                    .iter()
                    .position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'\'' | b'"' | b'*')));
                let (word, next) = rest.split_at(end.unwrap_or(rest.len()));
                rest = next;
                match word {
                    b"BT" => inside = true,
                    b"ET" => {
                        inside = false;
                        newline(out);
                    }
                    b"Td" | b"TD" | b"T*" | b"Tm" => newline(out),
                    b"'" | b"\"" => {
                        newline(out);
                        out.push_str(&pending);
                    }
                    b"Tj" | b"TJ" if inside => out.push_str(&pending),
                    _ => {}
                }
                pending.clear();
            }
            _ => rest = after,
        }
    }
    newline(out);
}

fn newline(out: &mut String) {
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
}

/// A literal string up to its closing parenthesis; returns what follows it.
fn literal<'c>(mut rest: &'c [u8], text: &mut String) -> &'c [u8] {
    let mut depth = 1_u32;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'(' => depth += 1,
            b')' => {
                depth -= 1;
                if depth == 0 {
                    return rest;
                }
            }
            b'\\' => {
                let Some((&escaped, after)) = rest.split_first() else {
                    return rest;
                };
                rest = after;
                match escaped {
                    b'n' | b'r' | b't' => push(text, b' '),
                    b'0'..=b'7' => {
                        let mut value = u32::from(escaped - b'0');
                        for _ in 0..2 {
                            match rest.first() {
                                Some(digit @ b'0'..=b'7') => {
                                    value = value * 8 + u32::from(digit - b'0');
                                    rest = &rest[1..];
                                }
                                _ => break,
                            }
                        }
                        push(text, (value & 0xff) as u8);
                    }
                    b'\n' | b'\r' => {}
                    other => push(text, other),
                }
                continue;
            }
            _ => {}
        }
        push(text, byte);
    }
    rest
}

/// A hexadecimal string up to `>`; returns what follows it.
fn hexadecimal<'c>(rest: &'c [u8], text: &mut String) -> &'c [u8] {
    let end = rest.iter().position(|b| *b == b'>').unwrap_or(rest.len());
    let digits: Vec<u8> = rest[..end]
        .iter()
        .filter_map(|b| char::from(*b).to_digit(16))
        .map(|d| d as u8)
        .collect();
    for pair in digits.chunks(2) {
        push(text, pair[0] << 4 | pair.get(1).copied().unwrap_or(0));
    }
    &rest[(end + 1).min(rest.len())..]
}

/// Codes that are not printable ASCII belong to an encoding we do not know.
fn push(text: &mut String, byte: u8) {
    if (b' '..=b'~').contains(&byte) && text.len() < MOST {
        text.push(char::from(byte));
    }
}

/// The runs of text of a Word document, a line a paragraph.
fn docx(bytes: &[u8]) -> Option<String> {
    use quick_xml::events::Event;
    let mut archive = Archive::inspect(bytes, &mut Budget::of(&Limits::default())).ok()?;
    let entry = archive
        .files()
        .into_iter()
        .find(|file| file.path == "word/document.xml")?;
    let xml = archive.unpack(&entry).ok()?;
    let mut reader = quick_xml::Reader::from_reader(xml.as_slice());
    let (mut out, mut in_text) = (String::new(), false);
    while out.len() < MOST {
        match reader.read_event().ok()? {
            Event::Start(tag) if tag.local_name().as_ref() == "t" => in_text = true,
            Event::End(tag) if tag.local_name().as_ref() == "t" => in_text = false,
            Event::End(tag) if tag.local_name().as_ref() == "p" => newline(&mut out),
            Event::Text(text) if in_text => out.push_str(&text),
            Event::GeneralRef(name) if in_text => {
                out.push_str(quick_xml::escape::resolve_predefined_entity(&name).unwrap_or(" "));
            }
            Event::Eof => break,
            _ => {}
        }
    }
    truncate(&mut out);
    Some(out)
}

fn truncate(text: &mut String) {
    let mut end = text.len().min(MOST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn rfind(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .rposition(|window| window == needle)
}

/// The kinds that carry text this crate reads.
const READ: [Kind; 3] = [Kind::Docx, Kind::Pdf, Kind::Text];
/// Bytes of text given at most.
const MOST: usize = 1 << 20;
/// Bytes unpacked for one file at most.
const MOST_UNPACKED: u64 = 16 << 20;
/// Streams looked at in one file at most.
const MOST_STREAMS: usize = 4_096;
