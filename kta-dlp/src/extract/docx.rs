//! Word documents: text, tables, headers, footers, notes, comments, deleted text, properties, where
//! links lead, and what the attributes of all these say, such as who wrote a comment.

use super::{Extracted, html};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use std::io::{Cursor, Read as _};

/// The text of a package that is a Word document. Another package, an encrypted or broken one,
/// or one beyond the limits is opaque; so is what is embedded in a document.
pub(super) fn read(bytes: &[u8]) -> Extracted {
    document(bytes).unwrap_or_else(Extracted::opaque)
}

fn document(bytes: &[u8]) -> Option<Extracted> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).ok()?;
    if archive.len() > ENTRIES {
        return None;
    }
    let mut names = Vec::new();
    let mut opaque = false;
    let mut is_word = false;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).ok()?;
        let name = entry.name().ok()?.into_owned();
        if entry.encrypted() {
            return None;
        }
        is_word |= name == "word/document.xml";
        if is_text(&name) {
            names.push(name);
        } else if !(is_furniture(&name) || entry.is_dir()) {
            opaque = true;
        }
    }
    if !is_word {
        return None;
    }
    let mut left = UNPACKED;
    let mut text = String::new();
    for name in names {
        let entry = archive.by_name(&name).ok()?;
        let mut xml = String::new();
        // One byte more than is left tells a part that is too large.
        entry.take(left + 1).read_to_string(&mut xml).ok()?;
        left = left.checked_sub(xml.len() as u64)?;
        let mut hidden = String::new();
        paragraphs(&xml, &mut text, &mut hidden)?;
        text.push('\n');
        text.push_str(&hidden);
    }
    Some(Extracted { text, opaque })
}

/// Appends the text of one part, and to `hidden` what its attributes say.
fn paragraphs(xml: &str, text: &mut String, hidden: &mut String) -> Option<()> {
    let mut reader = Reader::from_str(xml);
    let mut depth = 0u32;
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) => {
                depth += 1;
                if depth > DEPTH {
                    return None;
                }
                attributes(&tag, hidden)?;
                if tag.local_name().as_ref() == "tc" {
                    text.push('\t');
                }
            }
            Event::End(tag) => {
                depth = depth.saturating_sub(1);
                match tag.local_name().as_ref() {
                    "p" | "tr" => text.push('\n'),
                    // Properties: one a line.
                    name if depth == 1 && !matches!(name, "body") => text.push('\n'),
                    _ => {}
                }
            }
            Event::Empty(tag) => {
                attributes(&tag, hidden)?;
                match tag.local_name().as_ref() {
                    "tab" => text.push('\t'),
                    "br" | "cr" => text.push('\n'),
                    "noBreakHyphen" => text.push('-'),
                    _ => {}
                }
            }
            Event::Text(piece) => text.push_str(&piece.xml10_content()),
            Event::CData(piece) => text.push_str(&piece.xml10_content()),
            Event::GeneralRef(name) => {
                if let Some(letter) = html::reference(&name) {
                    text.push(letter);
                }
            }
            Event::Eof => return Some(()),
            _ => {}
        }
    }
}

/// Appends the values of an element's attributes, one a line, the attribute's name before it; but
/// for namespaces, and for the numbers by which Word knows its own revisions and paragraphs.
fn attributes(tag: &BytesStart<'_>, hidden: &mut String) -> Option<()> {
    if tag.local_name().as_ref().starts_with("rsid") {
        return Some(());
    }
    for attribute in tag.attributes() {
        let attribute = attribute.ok()?;
        let name = attribute.key.local_name();
        let name: &str = name.as_ref();
        let own = attribute.key.as_namespace_binding().is_some()
            || name.starts_with("rsid")
            || matches!(
                name,
                "paraId" | "textId" | "anchorId" | "editId" | "durableId"
            );
        if !own {
            hidden.push_str(name);
            hidden.push_str(": ");
            hidden.push_str(&attribute.normalized_value(XmlVersion::default()).ok()?);
            hidden.push('\n');
        }
    }
    Some(())
}

fn is_text(name: &str) -> bool {
    let word = name.strip_prefix("word/").is_some_and(|part| {
        [
            "document",
            "header",
            "footer",
            "footnotes",
            "endnotes",
            "comments",
            "people",
            "settings",
            "glossary/document",
        ]
        .iter()
        .any(|begin| part.starts_with(begin))
            && part.ends_with(".xml")
    });
    let other = name
        .strip_prefix("docProps/")
        .or_else(|| name.strip_prefix("customXml/"));
    word || name.ends_with(".rels") || other.is_some_and(|part| part.ends_with(".xml"))
}

/// Parts that hold no text of the writer.
fn is_furniture(name: &str) -> bool {
    name == "[Content_Types].xml"
        || [
            "word/styles",
            "word/stylesWithEffects",
            "word/fontTable",
            "word/webSettings",
            "word/numbering",
            "word/theme/",
        ]
        .iter()
        .any(|begin| name.starts_with(begin))
}

/// Parts in a package, at most.
const ENTRIES: usize = 4_000;
/// Bytes of text parts unpacked, at most.
const UNPACKED: u64 = 64 * 1024 * 1024;
/// Nesting of elements, at most.
const DEPTH: u32 = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn package(parts: &[(&str, &str)]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in parts {
            writer
                .start_file(*name, zip::write::SimpleFileOptions::default())
                .unwrap();
            writer.write_all(content.as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn runs_of_a_paragraph_join_and_every_part_is_read() {
        let bytes = package(&[
            ("[Content_Types].xml", "<Types/>"),
            (
                "word/document.xml",
                "<w:document><w:body><w:p><w:r><w:t>SSN 123-</w:t></w:r><w:r><w:t>45-6789 &amp; more</w:t></w:r></w:p></w:body></w:document>",
            ),
            (
                "word/footer1.xml",
                "<w:ftr><w:p><w:r><w:t>footer text</w:t></w:r></w:p></w:ftr>",
            ),
            (
                "docProps/core.xml",
                "<p><dc:creator>Testa Canary</dc:creator></p>",
            ),
        ]);
        let read = read(&bytes);
        assert!(!read.opaque);
        for expected in ["SSN 123-45-6789 & more", "footer text", "Testa Canary"] {
            assert!(read.text.contains(expected), "{expected}");
        }
    }

    #[test]
    fn links_authors_defaults_and_variables_are_not_overlooked() {
        let bytes = package(&[
            (
                "word/document.xml",
                "<w:document xmlns:w=\"http://w\"><w:p w:rsidR=\"00A77427\"><w:ins w:author=\"Testa Canary\"/>\
                 <w:default w:val=\"123-45-6789\"/><w:instrText w:x=\"a &amp; b\"/></w:p></w:document>",
            ),
            (
                "word/_rels/document.xml.rels",
                "<Relationships><Relationship Id=\"rId4\" Target=\"mailto:testa@example.com\" TargetMode=\"External\"/></Relationships>",
            ),
            (
                "word/people.xml",
                "<w15:people><w15:person w15:author=\"Anna Canary\"/></w15:people>",
            ),
            (
                "word/settings.xml",
                "<w:settings><w:rsids><w:rsid w:val=\"00B88538\"/></w:rsids><w:docVar w:name=\"passport\" w:val=\"XC1234567\"/></w:settings>",
            ),
        ]);
        let read = read(&bytes);
        assert!(!read.opaque);
        for expected in [
            "author: Testa Canary\n",
            "val: 123-45-6789\n",
            "x: a & b\n",
            "Target: mailto:testa@example.com\n",
            "author: Anna Canary\n",
            "val: XC1234567\n",
        ] {
            assert!(read.text.contains(expected), "{expected} in {}", read.text);
        }
        for own in ["00A77427", "00B88538", "http://w"] {
            assert!(!read.text.contains(own), "{own}");
        }
    }

    #[test]
    fn embedded_pictures_make_a_document_partly_opaque() {
        let bytes = package(&[
            ("word/document.xml", "<w:document/>"),
            ("word/media/image1.png", "x"),
        ]);
        assert!(read(&bytes).opaque);
    }

    #[test]
    fn other_packages_and_broken_ones_are_opaque() {
        assert!(read(&package(&[("xl/workbook.xml", "<x/>")])).opaque);
        assert!(read(b"PK\x03\x04 not a package").opaque);
        assert!(
            read(&package(&[("word/document.xml", "<w:document><w:p>")]))
                .text
                .trim()
                .is_empty()
        );
    }

    #[test]
    fn a_document_that_unpacks_too_large_is_opaque() {
        let huge = format!("<w:document>{}</w:document>", " ".repeat(65 * 1024 * 1024));
        let read = read(&package(&[("word/document.xml", &huge)]));
        assert!(read.opaque && read.text.is_empty());
    }
}
