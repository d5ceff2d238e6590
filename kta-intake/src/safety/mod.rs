//! Attachment safety: what a file is, is decided from its bytes and an allow-list, never from
//! its name; the name must then agree.
//!
//! Everything is bounded before memory is spent ([`Limits`]); nothing is ever executed,
//! rendered or written to a path that the sender chose.

mod archive;
mod kind;
mod name;
mod office;

use kta_core::pii::MediaType;
use kta_core::refusal::Code;

use crate::limits::Limits;
pub(crate) use archive::{Archive, Budget};
pub use kind::Kind;
pub(crate) use kind::has_active_element;
pub use name::{check_name, check_path};

/// Looks at one attachment: its name, what its bytes are, and whether that may come in.
///
/// # Errors
/// The code of the first thing wrong: `INT-PATH` for the name; `INT-TYPE` for a type off the
/// allow-list, bytes that are not what the name says, a second file type behind the first,
/// macros or programs; `INT-OPAQUE` for what is encrypted; `INT-BOMB` and `INT-SIZE` for what is
/// too much; `INT-MALFORMED` for an archive that contradicts itself.
pub fn check(name: Option<&str>, bytes: &[u8], limits: &Limits) -> Result<Kind, Code> {
    check_within(name, bytes, limits, &mut Budget::of(limits))
}

pub(crate) fn check_within(
    name: Option<&str>,
    bytes: &[u8],
    limits: &Limits,
    budget: &mut Budget,
) -> Result<Kind, Code> {
    if let Some(name) = name {
        check_name(name)?;
    }
    if bytes.len() > limits.message {
        return Err(Code::IntSize);
    }
    let kind = kind::sniff(bytes)?;
    if let Some(name) = name {
        kind::agree(name, kind)?;
    }
    match kind {
        Kind::Zip => inside(bytes, limits, budget)?,
        Kind::Docx | Kind::Xlsx => office::check(bytes, kind, budget)?,
        Kind::Pdf => kind::check_pdf(bytes)?,
        _ if archive::has_directory(bytes) => return Err(Code::IntType),
        _ => {}
    }
    Ok(kind)
}

/// Every entry of an archive meets the same rules as an attachment.
fn inside(bytes: &[u8], limits: &Limits, budget: &mut Budget) -> Result<(), Code> {
    budget.depth = budget.depth.checked_sub(1).ok_or(Code::IntBomb)?;
    let mut archive = Archive::inspect(bytes, budget)?;
    for entry in archive.files() {
        let leaf = entry.path.rsplit(['/', '\\']).next();
        let content = archive.unpack(&entry)?;
        check_within(leaf, &content, limits, budget)?;
    }
    budget.depth += 1;
    Ok(())
}

/// The media type under which a kind of file goes on.
impl From<Kind> for MediaType {
    fn from(kind: Kind) -> Self {
        Self::parse(kind.media())
    }
}

#[cfg(test)]
mod tests;
