//! Names in the library: made from ids alone, so that they tell nothing about anybody.
//!
//! ```text
//!   [configured folder] / mat_<32 hex> / doc_<32 hex>.bin
//! ```
//!
//! The extension is neutral on purpose: SharePoint rewrites Office files on upload, and a file whose
//! hash changes on the way can no longer be proven to be what arrived.

use kta_core::id::{DocumentId, MatterId};
use kta_core::refusal::Code;

/// A folder of the library under which every matter's folder lies; may be the library itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Folder(Vec<String>);

impl Folder {
    /// The library itself.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// A folder written `a/b`.
    ///
    /// # Errors
    /// [`Code::DocPath`] for a name SharePoint does not take; [`Code::DocPiiName`] for one that looks
    /// as if it named a person: an address, or a run of digits as long as an identity number.
    pub fn new(path: &str) -> Result<Self, Code> {
        let names: Vec<String> = path
            .split('/')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        for name in &names {
            check(name)?;
        }
        let longest = names
            .iter()
            .map(|name| name.encode_utf16().count() + 1)
            .sum::<usize>();
        if longest > LONGEST_FOLDER {
            return Err(Code::DocPath);
        }
        Ok(Self(names))
    }

    /// The folder's names, outermost first.
    pub(crate) fn names(&self) -> &[String] {
        &self.0
    }
}

/// The file name of a document.
pub(crate) fn file(document: DocumentId) -> String {
    format!("{document}{EXTENSION}")
}

/// The folder name of a matter.
pub(crate) fn folder(matter: MatterId) -> String {
    matter.to_string()
}

/// The document a file name stands for, if it is one of ours.
pub(crate) fn document(name: &str) -> Option<DocumentId> {
    name.strip_suffix(EXTENSION)?.parse().ok()
}

/// The matter a folder name stands for, if it is one of ours.
pub(crate) fn matter(name: &str) -> Option<MatterId> {
    name.parse().ok()
}

/// What SharePoint and discretion allow as one name.
fn check(name: &str) -> Result<(), Code> {
    let stem = name
        .split('.')
        .next()
        .unwrap_or_default()
        .to_ascii_uppercase();
    let numbered = |device: &str| {
        stem.strip_prefix(device)
            .is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    let reserved = ["CON", "PRN", "AUX", "NUL"].contains(&stem.as_str())
        || numbered("COM")
        || numbered("LPT")
        || [".LOCK", "DESKTOP.INI", ".", "..", "FORMS"]
            .contains(&name.to_ascii_uppercase().as_str());
    let illegal = name
        .chars()
        .any(|c| c.is_control() || "\"*:<>?/\\|#%".contains(c))
        || name.starts_with([' ', '~'])
        || name.ends_with([' ', '.'])
        || name.to_ascii_lowercase().contains("_vti_")
        || name.encode_utf16().count() > LONGEST_NAME;
    if reserved || illegal {
        return Err(Code::DocPath);
    }
    let digits = name
        .split(|c: char| !c.is_ascii_digit())
        .map(str::len)
        .max()
        .unwrap_or(0);
    if name.contains('@') || digits >= IDENTITY_DIGITS {
        return Err(Code::DocPiiName);
    }
    Ok(())
}

/// No program rewrites a file of this kind.
const EXTENSION: &str = ".bin";
/// Passport, identity and A-numbers have seven digits and more; a year has four.
const IDENTITY_DIGITS: usize = 7;
const LONGEST_NAME: usize = 255;
/// The path limit is 400 characters; matter and document take 78 of them.
const LONGEST_FOLDER: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_documents_id_and_is_read_back() {
        let id = DocumentId::derived(&[b"invented"]);
        assert_eq!(document(&file(id)), Some(id));
        assert_eq!(document("passport of somebody.pdf"), None);
        assert_eq!(document(&format!("{id}.pdf")), None);
    }

    #[test]
    fn names_sharepoint_forbids_are_refused_as_paths() {
        for name in [
            "a*b", "a:b", "con", "Lpt1.x", "~$x", " a", "a.", "_vti_bin", "100%", "x\u{7}",
        ] {
            assert_eq!(Folder::new(name), Err(Code::DocPath), "{name}");
        }
        assert_eq!(Folder::new(&"long/".repeat(80)), Err(Code::DocPath));
    }

    #[test]
    fn names_that_look_like_a_person_are_refused() {
        for name in ["testa@example.test", "matters/X1234567", "A-012345678"] {
            assert_eq!(Folder::new(name), Err(Code::DocPiiName), "{name}");
        }
        assert!(Folder::new("Matters 2026/open").is_ok());
        assert_eq!(Folder::new(""), Ok(Folder::root()));
    }
}
