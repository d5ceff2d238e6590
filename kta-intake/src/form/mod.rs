//! The web form: its request, its fields and files, and the token that ties it to our page.

pub mod request;
pub mod token;

use bytes::Bytes;
use kta_core::refusal::Code;
use multer::{Constraints, Multipart, SizeLimit};

pub use request::Head;
pub use token::FormKey;

use crate::limits::Limits;
use crate::mail::Attachment;

/// A posted form, taken apart. Personal from end to end, so without `Debug`.
pub struct Post {
    /// Text fields by name, in order; a file's field holds the file's declared name.
    pub fields: Vec<(String, String)>,
    /// The files, in order.
    pub files: Vec<Attachment>,
}

impl Post {
    /// The value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Takes a `multipart/form-data` body (RFC 7578) apart.
///
/// # Errors
/// `INT-SIZE` for a body, text field or file beyond its limit; `INT-BOMB` for too many fields;
/// `INT-MALFORMED` for another content type, a body cut off, a nameless or doubled field, or
/// text that is not UTF-8.
pub async fn read(content_type: &str, body: Bytes, limits: &Limits) -> Result<Post, Code> {
    if body.len() > limits.message {
        return Err(Code::IntSize);
    }
    let boundary = multer::parse_boundary(content_type).map_err(|_| Code::IntMalformed)?;
    if boundary.is_empty() || boundary.len() > 70 {
        return Err(Code::IntMalformed);
    }
    let whole = limits.message as u64;
    let sizes = SizeLimit::new().whole_stream(whole).per_field(whole);
    let chunks = futures_util::stream::iter([Ok::<_, core::convert::Infallible>(body)]);
    let mut multipart =
        Multipart::with_constraints(chunks, boundary, Constraints::new().size_limit(sizes));

    let mut post = Post {
        fields: Vec::new(),
        files: Vec::new(),
    };
    while let Some(mut field) = multipart.next_field().await.map_err(code)? {
        if post.fields.len() >= limits.parts {
            return Err(Code::IntBomb);
        }
        let name = field
            .name()
            .filter(|name| is_field_name(name))
            .map(str::to_owned);
        let name = name.ok_or(Code::IntMalformed)?;
        if post.field(&name).is_some() {
            return Err(Code::IntMalformed);
        }
        let file = field.file_name().map(str::to_owned);
        let limit = if file.is_some() {
            limits.message
        } else {
            limits.field
        };
        let mut bytes = Vec::new();
        while let Some(chunk) = field.chunk().await.map_err(code)? {
            if bytes.len() + chunk.len() > limit {
                return Err(Code::IntSize);
            }
            bytes.extend_from_slice(&chunk);
        }
        match file {
            // A file field that was left empty.
            Some(file) if file.is_empty() && bytes.is_empty() => {}
            Some(file) => {
                post.fields.push((name, file.clone()));
                post.files.push(Attachment {
                    name: Some(file),
                    bytes,
                });
            }
            None => {
                let text = String::from_utf8(bytes).map_err(|_| Code::IntMalformed)?;
                post.fields.push((name, text));
            }
        }
    }
    Ok(post)
}

fn code(error: multer::Error) -> Code {
    match error {
        multer::Error::FieldSizeExceeded { .. } | multer::Error::StreamSizeExceeded { .. } => {
            Code::IntSize
        }
        _ => Code::IntMalformed,
    }
}

/// Our own forms name their fields in these characters; whatever else comes is not our form.
fn is_field_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}
