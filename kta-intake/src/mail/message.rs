//! A message taken apart: sender, subject, text and attachments.
//!
//! Headers are read by `mail-parser`; the tree of parts is walked here, because only a walk of
//! our own can stop at a depth or a count before memory is spent, and can refuse a message that
//! two readers would take apart differently.

use core::ops::Range;

use kta_core::refusal::Code;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::html::html_to_text;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{
    Address, ContentType, HeaderName, HeaderValue, Message, MessageParser, MimeHeaders as _,
};

use super::trace::{self, Gateway};
use crate::limits::Limits;
use crate::safety::has_active_element;
use crate::verdict::{Envelope, MailFacts};

/// A message, taken apart. Personal from end to end, so without `Debug`.
pub struct Letter {
    /// The address in `From`, in lower case.
    pub sender: String,
    /// The addresses the message was delivered for: `Delivered-To` above the gateway's own
    /// line, or else `To` and `Cc`.
    pub recipients: Vec<String>,
    /// The decoded subject.
    pub subject: String,
    /// The text: the first that the message shows, plain or taken from HTML. Of alternatives it
    /// is the plain one, unless that is blank.
    pub body: String,
    /// Attachments in order, those of attached messages included. Every further text that the
    /// message shows is one without a name; only the other form of an alternative is left out.
    pub attachments: Vec<Attachment>,
    /// When the gateway took it in, in seconds since 1970; from its own `Received` line.
    pub received: Option<i64>,
}

/// One attachment as it was decoded.
pub struct Attachment {
    /// The declared file name.
    pub name: Option<String>,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Takes a message apart.
///
/// # Errors
/// `INT-SIZE`, `INT-BOMB` for too many or too deeply nested parts, `INT-OPAQUE` for content
/// encrypted end to end, `INT-TYPE` for a body that acts, and `INT-MALFORMED` for whatever two
/// readers might read differently: no or several senders, a header twice that may stand once, a
/// multipart without end, an encoding that does not decode.
pub fn read(raw: &[u8], gateway: &Gateway, limits: &Limits) -> Result<Letter, Code> {
    if raw.len() > limits.message {
        return Err(Code::IntSize);
    }
    let (head, body) = split(raw, 0..raw.len(), limits)?;
    let headers = headers(&raw[head.clone()])?;
    let top = &headers;

    let sender = one_address(top)?;
    let mut walk = Walk {
        raw,
        limits,
        parts: 0,
        text: None,
        attachments: Vec::new(),
    };
    walk.entity(top, body, 0, None)?;
    Ok(Letter {
        sender,
        recipients: recipients(top),
        subject: top.subject().unwrap_or_default().to_owned(),
        body: walk.text.unwrap_or_default(),
        attachments: walk.attachments,
        received: trace::received_at(top, gateway),
    })
}

/// What a message's headers prove about its way, whether or not its body can be read.
///
/// # Errors
/// As [`read`], for the header block alone.
pub fn way(raw: &[u8], gateway: &Gateway, limits: &Limits) -> Result<MailFacts, Code> {
    let (head, _) = split(raw, 0..raw.len(), limits)?;
    let headers = headers(&raw[head])?;
    let mut facts = trace::facts(&headers, gateway);
    let content_type = headers.root_part().content_type();
    let (kind, subkind) = essence(content_type)?;
    let sealed = content_type.and_then(|ct| ct.attribute("smime-type"));
    facts.envelope = match (kind.as_str(), subkind.as_str()) {
        ("application", "pkcs7-mime" | "x-pkcs7-mime")
            if sealed.is_none_or(|t| t.to_ascii_lowercase().ends_with("enveloped-data")) =>
        {
            Envelope::Smime
        }
        ("application", "x-microsoft-rpmsg-message") => Envelope::Purview,
        _ => Envelope::None,
    };
    Ok(facts)
}

struct Walk<'r> {
    raw: &'r [u8],
    limits: &'r Limits,
    parts: usize,
    text: Option<String>,
    attachments: Vec<Attachment>,
}

/// The texts directly in one `multipart/alternative`, or at the root of a related part in it.
#[derive(Default)]
struct Alternative {
    /// Whether one of them is plain and not blank.
    plain: bool,
    /// The HTML ones, as text.
    html: Vec<String>,
}

impl Walk<'_> {
    fn entity(
        &mut self,
        headers: &Message<'_>,
        body: Range<usize>,
        depth: usize,
        mut among: Option<&mut Alternative>,
    ) -> Result<(), Code> {
        self.parts += 1;
        if depth > self.limits.nesting || self.parts > self.limits.parts {
            return Err(Code::IntBomb);
        }
        for name in [
            "Content-Type",
            "Content-Transfer-Encoding",
            "Content-Disposition",
        ] {
            if count(headers, name) > 1 {
                return Err(Code::IntMalformed);
            }
        }
        let part = headers.root_part();
        let content_type = part.content_type();
        let (kind, subkind) = essence(content_type)?;
        match (kind.as_str(), subkind.as_str()) {
            ("multipart", "encrypted") => Err(Code::IntOpaque),
            ("multipart", form) => {
                let boundary = content_type
                    .and_then(|ct| ct.attribute("boundary"))
                    .filter(|b| !b.is_empty() && b.len() <= 70)
                    .ok_or(Code::IntMalformed)?
                    .to_owned();
                if encoding(headers)? != Encoding::Plain {
                    return Err(Code::IntMalformed); // RFC 2045 §6.4
                }
                let mut forms = (form == "alternative").then(Alternative::default);
                for (index, piece) in self.pieces(&boundary, body)?.into_iter().enumerate() {
                    let (head, body) = split(self.raw, piece, self.limits)?;
                    let headers = self::headers(&self.raw[head])?;
                    let among = match form {
                        "related" if index == 0 => among.as_deref_mut(),
                        _ => forms.as_mut(),
                    };
                    self.entity(&headers, body, depth + 1, among)?;
                }
                for text in forms
                    .filter(|forms| !forms.plain)
                    .into_iter()
                    .flat_map(|f| f.html)
                {
                    self.show(text);
                }
                Ok(())
            }
            ("message", "rfc822" | "global") => {
                if encoding(headers)? != Encoding::Plain {
                    return Err(Code::IntMalformed); // RFC 2046 §5.2.1
                }
                let (head, body) = split(self.raw, body, self.limits)?;
                let headers = self::headers(&self.raw[head])?;
                self.entity(&headers, body, depth + 1, None)
            }
            ("message", "partial" | "external-body") => Err(Code::IntOpaque),
            ("application", "pkcs7-mime" | "x-pkcs7-mime" | "x-microsoft-rpmsg-message") => {
                Err(Code::IntOpaque)
            }
            _ => {
                let body = &self.raw[body];
                self.leaf(headers, content_type, (&kind, &subkind), body, among)
            }
        }
    }

    fn leaf(
        &mut self,
        headers: &Message<'_>,
        content_type: Option<&ContentType<'_>>,
        (kind, subkind): (&str, &str),
        body: &[u8],
        among: Option<&mut Alternative>,
    ) -> Result<(), Code> {
        let part = headers.root_part();
        let bytes = match encoding(headers)? {
            Encoding::Plain => body.to_vec(),
            Encoding::Base64 => base64_decode(body).ok_or(Code::IntMalformed)?,
            Encoding::QuotedPrintable => quoted_printable_decode(body).ok_or(Code::IntMalformed)?,
        };
        let attached = part
            .content_disposition()
            .is_some_and(ContentType::is_attachment);
        let name = part.attachment_name().map(str::to_owned);
        if kind == "text" && !attached && name.is_none() {
            let text = decoded(&bytes, content_type);
            if subkind == "html" {
                if has_active_element(&text) {
                    return Err(Code::IntType);
                }
                let text = html_to_text(&text);
                match among {
                    Some(forms) => forms.html.push(text),
                    None => self.show(text),
                }
                return Ok(());
            }
            if subkind == "plain" {
                if let Some(forms) = among {
                    forms.plain |= !text.trim().is_empty();
                }
                if self.has_no_text() {
                    self.text = Some(text);
                    return Ok(());
                }
            }
        }
        self.attachments.push(Attachment { name, bytes });
        Ok(())
    }

    /// Takes in a text that was HTML: it is the message's own, or a part. Programs that write mail
    /// end it with an HTML part in which nothing stands.
    fn show(&mut self, text: String) {
        if text.trim().is_empty() {
            return;
        }
        if self.has_no_text() {
            self.text = Some(text);
        } else {
            let (name, bytes) = (None, text.into_bytes());
            self.attachments.push(Attachment { name, bytes });
        }
    }

    fn has_no_text(&self) -> bool {
        self.text.as_ref().is_none_or(|text| text.trim().is_empty())
    }

    /// The pieces between the delimiter lines of a multipart.
    fn pieces(&self, boundary: &str, body: Range<usize>) -> Result<Vec<Range<usize>>, Code> {
        let mut pieces = Vec::new();
        let mut open: Option<usize> = None;
        let mut at = body.start;
        while at < body.end {
            let line_end = self.raw[at..body.end].iter().position(|b| *b == b'\n');
            let next = line_end.map_or(body.end, |n| at + n + 1);
            let line = &self.raw[at..next];
            if let Some(delimiter) = delimiter(line, boundary) {
                if let Some(start) = open.take() {
                    if pieces.len() >= self.limits.parts {
                        return Err(Code::IntBomb);
                    }
                    pieces.push(start..before_break(self.raw, start, at));
                }
                if delimiter == Delimiter::Close {
                    return Ok(pieces);
                }
                open = Some(next);
            }
            at = next;
        }
        Err(Code::IntMalformed) // cut off: the closing delimiter is missing
    }
}

#[derive(PartialEq, Eq)]
enum Delimiter {
    Close,
    Open,
}

/// RFC 2046 §5.1.1: `--boundary`, perhaps `--`, then only white space.
fn delimiter(line: &[u8], boundary: &str) -> Option<Delimiter> {
    let rest = line
        .strip_prefix(b"--")?
        .strip_prefix(boundary.as_bytes())?;
    let (rest, kind) = match rest.strip_prefix(b"--") {
        Some(rest) => (rest, Delimiter::Close),
        None => (rest, Delimiter::Open),
    };
    rest.iter().all(u8::is_ascii_whitespace).then_some(kind)
}

/// The line break before a delimiter belongs to the delimiter.
fn before_break(raw: &[u8], start: usize, at: usize) -> usize {
    let piece = &raw[start..at];
    let piece = piece.strip_suffix(b"\n").unwrap_or(piece);
    start + piece.strip_suffix(b"\r").unwrap_or(piece).len()
}

/// Header block (with its empty line) and body of an entity.
fn split(
    raw: &[u8],
    entity: Range<usize>,
    limits: &Limits,
) -> Result<(Range<usize>, Range<usize>), Code> {
    let bytes = &raw[entity.clone()];
    let window = &bytes[..bytes.len().min(limits.header + 4)];
    let mut line = 0;
    while let Some(length) = window[line..].iter().position(|b| *b == b'\n') {
        let next = line + length + 1;
        if matches!(&window[line..next], b"\n" | b"\r\n") {
            let cut = entity.start + next;
            return Ok((entity.start..cut, cut..entity.end));
        }
        line = next;
    }
    if bytes.len() > limits.header {
        return Err(Code::IntSize);
    }
    Ok((entity.clone(), entity.end..entity.end)) // headers only
}

fn headers(block: &[u8]) -> Result<Message<'static>, Code> {
    // A body part may have no headers at all; a blank line of its own ends the block in any case.
    let mut owned = block.to_vec();
    if block.trim_ascii().is_empty() {
        owned = b"X-None: 1\r\n".to_vec();
    }
    owned.extend_from_slice(b"\r\n\r\n");
    let message = MessageParser::new()
        .parse_headers(&owned)
        .ok_or(Code::IntMalformed)?;
    Ok(message.into_owned())
}

fn essence(content_type: Option<&ContentType<'_>>) -> Result<(String, String), Code> {
    let Some(content_type) = content_type else {
        return Ok(("text".into(), "plain".into()));
    };
    let subkind = content_type.subtype().ok_or(Code::IntMalformed)?;
    Ok((
        content_type.ctype().to_ascii_lowercase(),
        subkind.to_ascii_lowercase(),
    ))
}

#[derive(PartialEq, Eq)]
enum Encoding {
    Base64,
    Plain,
    QuotedPrintable,
}

fn encoding(headers: &Message<'_>) -> Result<Encoding, Code> {
    let Some(text) = headers.root_part().content_transfer_encoding() else {
        return Ok(Encoding::Plain);
    };
    match text.trim().to_ascii_lowercase().as_str() {
        "7bit" | "8bit" | "binary" => Ok(Encoding::Plain),
        "base64" => Ok(Encoding::Base64),
        "quoted-printable" => Ok(Encoding::QuotedPrintable),
        _ => Err(Code::IntMalformed),
    }
}

fn decoded(bytes: &[u8], content_type: Option<&ContentType<'_>>) -> String {
    let charset = content_type.and_then(|ct| ct.attribute("charset"));
    match charset.and_then(|name| charset_decoder(name.as_bytes())) {
        Some(decode) => decode(bytes),
        None => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn count(headers: &Message<'_>, name: &str) -> usize {
    headers
        .headers()
        .iter()
        .filter(|h| h.name.as_str().eq_ignore_ascii_case(name))
        .count()
}

/// Exactly one `From` with exactly one address: with two, every reader shows another one.
fn one_address(headers: &Message<'_>) -> Result<String, Code> {
    if count(headers, "From") != 1 {
        return Err(Code::IntMalformed);
    }
    let Some(HeaderValue::Address(from)) = headers.header(HeaderName::From) else {
        return Err(Code::IntMalformed);
    };
    let mut addresses = from
        .iter()
        .map(|a| a.address.as_deref().unwrap_or_default().trim());
    match (addresses.next(), addresses.next()) {
        (Some(address), None) if is_address(address) => Ok(address.to_lowercase()),
        _ => Err(Code::IntMalformed),
    }
}

/// Short, with one `@` between two parts and nothing that could end a line or hide.
pub(crate) fn is_address(text: &str) -> bool {
    let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | ',' | ';');
    let (local, domain) = text.rsplit_once('@').unwrap_or_default();
    text.len() <= 320
        && !local.is_empty()
        && !local.contains('@')
        && !domain.is_empty()
        && !text.contains(odd)
}

fn recipients(headers: &Message<'_>) -> Vec<String> {
    let delivered: Vec<String> = headers
        .headers()
        .iter()
        .take_while(|h| h.name != HeaderName::Received)
        .filter(|h| h.name.as_str().eq_ignore_ascii_case("Delivered-To"))
        .filter_map(|h| h.value.as_text())
        .map(|text| text.trim().to_lowercase())
        .collect();
    if !delivered.is_empty() {
        return delivered;
    }
    let to = [headers.to(), headers.cc()];
    let addresses = to.into_iter().flatten().flat_map(Address::iter);
    addresses
        .filter_map(|a| a.address.as_deref())
        .map(str::to_lowercase)
        .collect()
}
