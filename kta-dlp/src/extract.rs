//! Text out of files: plain text, CSV, JSON, XML, HTML and DOCX. Anything else is opaque and says so.

mod docx;
mod html;

/// What could be read of a file.
#[derive(Default)]
pub struct Extracted {
    /// The text; findings count its bytes.
    pub text: String,
    /// Whether some part of the file could not be read.
    pub opaque: bool,
}

impl Extracted {
    fn opaque() -> Self {
        Self {
            text: String::new(),
            opaque: true,
        }
    }

    fn clear(text: String) -> Self {
        Self {
            text,
            opaque: false,
        }
    }
}

impl std::fmt::Debug for Extracted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extracted")
            .field("length", &self.text.len())
            .field("opaque", &self.opaque)
            .finish()
    }
}

impl Drop for Extracted {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.text);
    }
}

/// Reads a whole file. The bytes decide over the media type, which only says how to read what is
/// text: a PDF called `text/plain` is a PDF.
#[must_use]
pub fn extract(bytes: &[u8], media: &str) -> Extracted {
    if bytes.starts_with(b"PK\x03\x04") {
        return docx::read(bytes);
    }
    if is_binary(bytes) {
        return Extracted::opaque();
    }
    let Some(text) = decode(bytes) else {
        return Extracted::opaque();
    };
    if matches!(media, "text/html" | "application/xhtml+xml") || looks_like_html(&text) {
        return Extracted::clear(html::strip(&text));
    }
    Extracted::clear(text)
}

/// Whether a media type promises text that can be scanned as it is, in a stream.
pub(crate) fn is_plain(media: &str) -> bool {
    matches!(
        media,
        "text/plain"
            | "text/csv"
            | "text/tab-separated-values"
            | "text/markdown"
            | "application/json"
            | "application/x-ndjson"
    )
}

/// UTF-8, or UTF-16 with its mark.
fn decode(bytes: &[u8]) -> Option<String> {
    let utf16 = |read: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes[2..].as_chunks::<2>();
        let text =
            char::decode_utf16(pairs.iter().map(|pair| read(*pair))).collect::<Result<String, _>>();
        text.ok().filter(|_| rest.is_empty())
    };
    match bytes {
        [0xFF, 0xFE, ..] => utf16(u16::from_le_bytes),
        [0xFE, 0xFF, ..] => utf16(u16::from_be_bytes),
        _ => std::str::from_utf8(bytes).ok().map(str::to_owned),
    }
}

/// Known signatures of files that are not text, and control characters that text does not have.
pub(crate) fn is_binary(bytes: &[u8]) -> bool {
    let signed = [
        b"%PDF-".as_slice(),
        b"\x89PNG",
        b"\xFF\xD8\xFF",
        b"GIF8",
        b"\xD0\xCF\x11\xE0",
        b"Rar!",
        b"7z\xBC\xAF",
        b"\x1F\x8B",
        b"PK\x05\x06",
        b"PK\x07\x08",
        b"{\\rtf",
        b"BM",
        b"II*\0",
        b"MM\0*",
    ]
    .iter()
    .any(|signature| {
        bytes.starts_with(signature)
            && (signature.len() > 2 || bytes.iter().take(64).any(|byte| *byte == 0))
    });
    let wide = matches!(bytes, [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..]);
    let head = &bytes[..bytes.len().min(4096)];
    signed
        || !wide
            && head
                .iter()
                .any(|byte| matches!(byte, 0..=8 | 14..=26 | 28..=31))
}

fn looks_like_html(text: &str) -> bool {
    let start = text.trim_start_matches('\u{FEFF}').trim_start().as_bytes();
    let begins = |prefix: &[u8]| {
        start
            .get(..prefix.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(prefix))
    };
    begins(b"<!doctype html") || begins(b"<html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_text_is_opaque_whatever_it_is_called() {
        for bytes in [
            b"%PDF-1.7 text".as_slice(),
            b"\x89PNG\r\n",
            b"\xFF\xD8\xFF\xE0",
            b"a\0b",
            b"\xC3\x28",
            b"PK\x03\x04junk",
        ] {
            assert!(extract(bytes, "text/plain").opaque);
        }
    }

    #[test]
    fn utf16_with_its_mark_is_read() {
        let bytes: Vec<u8> = "\u{FEFF}ssn שלום"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let read = extract(&bytes, "text/plain");
        assert_eq!((read.text.as_str(), read.opaque), ("ssn שלום", false));
    }

    #[test]
    fn debug_of_extracted_text_is_redacted() {
        assert!(!format!("{:?}", extract(b"canary", "text/plain")).contains("canary"));
    }
}
