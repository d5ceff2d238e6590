//! A reader of what is text already.

use crate::error::Result;
use crate::pii::{MediaType, Pii};
use crate::policy::{Act, Permit};
use crate::ports::Reader;
use crate::refusal::Code;

/// A [`Reader`] of plain text, and of readable text at the head of any other file. It
/// understands no format: where a file begins with anything else, it has no text to give.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryReader;

impl MemoryReader {
    /// The longest file that is read, in bytes.
    pub const LONGEST: usize = 16 << 20;

    /// A reader.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Reader for MemoryReader {
    fn text(
        &self,
        media: &MediaType,
        bytes: &Pii<Vec<u8>>,
        permit: &Permit<'_>,
    ) -> Result<Option<Pii<String>>> {
        permit.require_act(Act::ON_CONTENT)?;
        let bytes = bytes.expose(permit);
        if bytes.len() > Self::LONGEST {
            return Err(Code::IntSize.into());
        }
        if *media == MediaType::text() {
            let text = core::str::from_utf8(bytes).map_err(|_| Code::IntMalformed)?;
            if text.chars().any(is_unreadable) {
                return Err(Code::IntMalformed.into());
            }
            return Ok((!text.trim().is_empty()).then(|| Pii::new(text.to_owned())));
        }
        let head = bytes
            .utf8_chunks()
            .next()
            .map(|chunk| chunk.valid())
            .unwrap_or_default();
        let end = head.find(is_unreadable).unwrap_or(head.len());
        let text = &head[..end];
        Ok((text.trim().len() >= SHORTEST).then(|| Pii::new(text.to_owned())))
    }
}

fn is_unreadable(character: char) -> bool {
    character.is_control() && !matches!(character, '\n' | '\r' | '\t')
}

/// A head shorter than this is a format's signature, not a text. In bytes.
const SHORTEST: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Desk;
    use crate::policy::{Role, Scope};

    async fn read(media: MediaType, bytes: &[u8]) -> Result<Option<String>> {
        let desk = Desk::new("reader");
        let session = desk.session(Role::Intake);
        let permit = session.permit(Act::Receive, Scope::firm()).await?;
        let text = MemoryReader::new().text(&media, &Pii::new(bytes.to_vec()), &permit)?;
        Ok(text.map(|text| text.bare().clone()))
    }

    #[tokio::test]
    async fn text_is_read_and_a_signature_is_not_taken_for_text() {
        let text = "an invented letter, in two lines,\nwith דוגמה";
        assert_eq!(
            read(MediaType::text(), text.as_bytes()).await,
            Ok(Some(text.to_owned()))
        );
        assert_eq!(
            read(MediaType::octets(), text.as_bytes()).await,
            Ok(Some(text.to_owned()))
        );
        let headed = [text.as_bytes(), b"\xFF\x00rest"].concat();
        assert_eq!(
            read(MediaType::pdf(), &headed).await,
            Ok(Some(text.to_owned()))
        );
        assert_eq!(
            read(MediaType::pdf(), b"%PDF-1.7\n\xE2\xE3\xCF\xD3").await,
            Ok(None)
        );
        assert_eq!(read(MediaType::text(), b"").await, Ok(None));
    }

    #[tokio::test]
    async fn garbage_that_says_it_is_text_is_refused() {
        for garbage in [&b"\xFF\xFE\x00"[..], b"a\0b", b"a\x1Bb"] {
            assert_eq!(
                read(MediaType::text(), garbage).await,
                Err(Code::IntMalformed.into())
            );
        }
        let long = vec![b' '; MemoryReader::LONGEST + 1];
        assert_eq!(
            read(MediaType::text(), &long).await,
            Err(Code::IntSize.into())
        );
    }
}
