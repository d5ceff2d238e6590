//! Office Open XML: a ZIP archive with rules of its own.

use kta_core::refusal::Code;

use super::Kind;
use super::archive::{Archive, Budget};

/// Which kind of archive starts here: an Office document says so in its first entries.
pub(super) fn recognise(bytes: &[u8]) -> Result<Kind, Code> {
    // The directory's names stand uncompressed; reading them needs no unpacking.
    let named = |name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
    match (
        named(b"[Content_Types].xml"),
        named(b"word/document.xml"),
        named(b"xl/workbook.xml"),
    ) {
        (true, true, false) => Ok(Kind::Docx),
        (true, false, true) => Ok(Kind::Xlsx),
        (true, ..) => Err(Code::IntType), // presentations, drawings, both at once
        (false, ..) => Ok(Kind::Zip),
    }
}

/// No macros, no embedded programs, nothing fetched on opening, no XML that grows.
pub(super) fn check(bytes: &[u8], kind: Kind, budget: &mut Budget) -> Result<(), Code> {
    let mut archive = Archive::inspect(bytes, budget)?;
    let main = if kind == Kind::Docx {
        "word/document.xml"
    } else {
        "xl/workbook.xml"
    };
    let has = |path: &str| archive.entries.iter().any(|entry| entry.path == path);
    if !has(main) || !has("[Content_Types].xml") {
        return Err(Code::IntType);
    }
    for entry in archive.files() {
        let path = entry.path.to_ascii_lowercase();
        if ACTIVE_PATHS.iter().any(|mark| path.contains(mark)) {
            return Err(Code::IntType);
        }
        let is_xml = path.ends_with(".xml") || path.ends_with(".rels");
        let printer = path.starts_with("xl/printersettings/");
        if !is_xml && !printer && !MEDIA.iter().any(|end| path.ends_with(end)) {
            return Err(Code::IntType);
        }
        let content = archive.unpack(&entry)?;
        if is_xml {
            check_xml(&content, path.ends_with(".rels"))?;
        }
    }
    Ok(())
}

/// Markup of a document type never has one: entities are how XML grows without end.
fn check_xml(content: &[u8], relations: bool) -> Result<(), Code> {
    // In UTF-8 only: in another encoding the marks below would not be seen.
    let text = core::str::from_utf8(content).map_err(|_| Code::IntType)?;
    let lower = text.to_ascii_lowercase();
    if lower.contains("<!doctype") || lower.contains("<!entity") {
        return Err(Code::IntBomb);
    }
    if lower.contains("macroenabled") || lower.contains("vbaproject") {
        return Err(Code::IntType);
    }
    let fetched = [
        "/attachedtemplate\"",
        "/oleobject\"",
        "/frame\"",
        "/externallinkpath\"",
        "/subdocument\"",
    ];
    if relations && fetched.iter().any(|kind| lower.contains(kind)) {
        return Err(Code::IntType);
    }
    Ok(())
}

const ACTIVE_PATHS: [&str; 6] = [
    "vbaproject",
    "vbadata",
    "activex/",
    "embeddings/",
    "macrosheets/",
    "externallinks/",
];

/// What besides XML an innocent document holds.
const MEDIA: [&str; 9] = [
    ".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".emf", ".wmf", ".odttf",
];
