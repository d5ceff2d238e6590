//! The allow-list of file types, recognised by their bytes.

use kta_core::refusal::Code;

use super::archive;
use super::name::extension;

/// A file type that may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the types' own names")]
#[non_exhaustive]
pub enum Kind {
    /// Word document without macros.
    Docx,
    Heic,
    Jpeg,
    Pdf,
    Png,
    /// A detached signature that came with a message (PKCS #7).
    Signature,
    /// Plain text in UTF-8, CSV included.
    Text,
    Tiff,
    /// Excel workbook without macros.
    Xlsx,
    Zip,
}

impl Kind {
    /// The registered media type.
    #[must_use]
    pub const fn media(self) -> &'static str {
        match self {
            Self::Docx => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            Self::Heic => "image/heic",
            Self::Jpeg => "image/jpeg",
            Self::Pdf => "application/pdf",
            Self::Png => "image/png",
            Self::Signature => "application/pkcs7-signature",
            Self::Text => "text/plain",
            Self::Tiff => "image/tiff",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Self::Zip => "application/zip",
        }
    }

    const fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Docx => &["docx"],
            Self::Heic => &["heic", "heif"],
            Self::Jpeg => &["jpg", "jpeg"],
            Self::Pdf => &["pdf"],
            Self::Png => &["png"],
            Self::Signature => &["p7s"],
            Self::Text => &["txt", "csv", "md"],
            Self::Tiff => &["tif", "tiff"],
            Self::Xlsx => &["xlsx"],
            Self::Zip => &["zip"],
        }
    }
}

/// What the bytes are, if that is on the list.
pub(super) fn sniff(bytes: &[u8]) -> Result<Kind, Code> {
    // The magic numbers of `infer`; it reads at most the first few KiB.
    let head = &bytes[..bytes.len().min(HEAD)];
    match infer::get(head).map(|found| found.mime_type()) {
        Some("application/pdf") if head.starts_with(b"%PDF-") => Ok(Kind::Pdf),
        Some("image/jpeg") => Ok(Kind::Jpeg),
        Some("image/png") if head.starts_with(b"\x89PNG\r\n\x1a\n") => Ok(Kind::Png),
        Some("image/tiff") => Ok(Kind::Tiff),
        Some("image/heif" | "image/heic") => Ok(Kind::Heic),
        Some(office) if office.starts_with("application/vnd.openxmlformats-officedocument") => {
            super::office::recognise(bytes)
        }
        Some("application/zip") => super::office::recognise(bytes),
        _ if head.starts_with(OLE) && contains(bytes, &utf16("EncryptedPackage")) => {
            Err(Code::IntOpaque) // a password-protected Office document
        }
        Some(_) => Err(Code::IntType),
        None if is_signature(head) => Ok(Kind::Signature),
        None if is_plain_text(bytes) => Ok(Kind::Text),
        None => Err(Code::IntType),
    }
}

/// Whether the name says what the bytes are. A name without extension says nothing, which is
/// not enough; so is one that hides a program's extension before its last.
pub(super) fn agree(name: &str, kind: Kind) -> Result<(), Code> {
    let last = extension(name).ok_or(Code::IntType)?;
    let inner = name
        .rsplit('.')
        .skip(1)
        .map(str::trim)
        .map(str::to_ascii_lowercase);
    let hidden = inner
        .into_iter()
        .any(|part| PROGRAMS.contains(&part.as_str()));
    if kind.extensions().contains(&last.as_str()) && !hidden {
        Ok(())
    } else {
        Err(Code::IntType)
    }
}

/// A PDF that is nothing else besides, is not encrypted, and starts or carries no other file.
///
/// Scripts inside a PDF are not refused: official fillable forms consist of them. What is
/// hidden in compressed object streams is not seen here; viewers at the firm run without it.
pub(super) fn check_pdf(bytes: &[u8]) -> Result<(), Code> {
    let tail = &bytes[bytes.len().saturating_sub(1024)..];
    let end = find_last(tail, b"%%EOF").ok_or(Code::IntType)?;
    if !tail[end + 5..].iter().all(u8::is_ascii_whitespace) || archive::has_directory(bytes) {
        return Err(Code::IntType);
    }
    for name in names(bytes) {
        match name.as_slice() {
            b"Encrypt" => return Err(Code::IntOpaque),
            b"Launch" | b"EmbeddedFile" | b"EmbeddedFiles" | b"RichMedia" => {
                return Err(Code::IntType);
            }
            _ => {}
        }
    }
    Ok(())
}

/// The PDF names in the bytes that are as long as those we look for, `#xx` undone.
fn names(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let starts = bytes
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'/')
        .map(|(at, _)| at + 1);
    starts.map(|start| {
        let mut name = Vec::with_capacity(16);
        let mut rest = &bytes[start..];
        while let Some((&byte, after)) = rest.split_first() {
            if name.len() > 16 || !(byte.is_ascii_alphanumeric() || byte == b'#') {
                break;
            }
            rest = after;
            if byte == b'#' {
                let hex = after.get(..2).and_then(|h| core::str::from_utf8(h).ok());
                let Some(byte) = hex.and_then(|h| u8::from_str_radix(h, 16).ok()) else {
                    break;
                };
                name.push(byte);
                rest = &after[2..];
            } else {
                name.push(byte);
            }
        }
        name
    })
}

/// DER of a PKCS #7 `signedData`: SEQUENCE, then the object identifier 1.2.840.113549.1.7.2.
fn is_signature(head: &[u8]) -> bool {
    const SIGNED_DATA: &[u8] = &[
        0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02,
    ];
    head.first() == Some(&0x30) && contains(&head[..head.len().min(24)], SIGNED_DATA)
}

/// UTF-8 text without control characters that does not begin like markup or a script. An empty
/// file is text too.
fn is_plain_text(bytes: &[u8]) -> bool {
    let Ok(text) = core::str::from_utf8(bytes) else {
        return false;
    };
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let odd = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{c}');
    !text.starts_with("#!") && !is_active_markup(text) && !text.chars().any(odd)
}

/// Whether text begins as what a browser would run.
fn is_active_markup(text: &str) -> bool {
    let start: String = text
        .chars()
        .take(16)
        .collect::<String>()
        .to_ascii_lowercase();
    [
        "<!doctype",
        "<html",
        "<head",
        "<body",
        "<svg",
        "<script",
        "<?xml",
        "<?php",
    ]
    .iter()
    .any(|tag| start.starts_with(tag))
}

/// Whether an HTML body, which mail programs send beside the plain one, does more than look
/// like something: mail has no use for any of these.
pub(crate) fn has_active_element(html: &str) -> bool {
    const ACTIVE: [&str; 8] = [
        "script", "iframe", "object", "embed", "applet", "form", "svg", "base",
    ];
    html.to_ascii_lowercase().split('<').skip(1).any(|tag| {
        let tag = tag.split('>').next().unwrap_or_default();
        let element = tag
            .split(|c: char| !c.is_ascii_alphanumeric())
            .next()
            .unwrap_or_default();
        let compact: String = tag
            .chars()
            .filter(|c| !c.is_whitespace() && !c.is_control())
            .collect();
        ACTIVE.contains(&element)
            || compact.contains("javascript:")
            || compact.contains("vbscript:")
            || (element == "meta" && compact.contains("http-equiv")) && compact.contains("refresh")
            || has_handler(tag)
    })
}

/// An `on…=` attribute.
fn has_handler(tag: &str) -> bool {
    let tag = tag.replace('=', " = ");
    let words = tag.split(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '"' | '\''));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.windows(2).any(|pair| {
        let event = pair[0].strip_prefix("on").unwrap_or_default();
        pair[1] == "=" && event.len() >= 3 && event.bytes().all(|b| b.is_ascii_lowercase())
    })
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

fn find_last(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .rposition(|window| window == needle)
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

const HEAD: usize = 8 << 10;
const OLE: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";

/// Extensions that start something when opened on a desk somewhere.
const PROGRAMS: [&str; 34] = [
    "app", "bat", "chm", "cmd", "com", "cpl", "dll", "dmg", "docm", "exe", "gadget", "hta", "htm",
    "html", "iso", "jar", "js", "jse", "lnk", "msi", "msp", "ps1", "reg", "scf", "scr", "sh",
    "svg", "url", "vbe", "vbs", "wsf", "wsh", "xlsm", "xll",
];
