//! Lists in XML, as far as they are read here: elements and the texts of their leaves.

use kta_core::{Error, Fault, FaultKind, Port, Result};
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

/// One element of a list: its own name, and name and text of each leaf below it.
#[derive(Debug, Default)]
pub(super) struct Item {
    pub(super) name: String,
    leaves: Vec<(String, String)>,
}

impl Item {
    /// The text of the first leaf of this name.
    pub(super) fn text(&self, leaf: &str) -> Option<&str> {
        let mut leaves = self.leaves.iter();
        leaves
            .find(|(name, _)| name == leaf)
            .map(|(_, text)| text.as_str())
    }
}

/// Every element of one of these names, wherever it stands.
///
/// # Errors
/// `Protocol` when it is no XML.
pub(super) fn items(xml: &[u8], names: &[&str]) -> Result<Vec<Item>> {
    let malformed = || {
        let fault = Fault::new(FaultKind::Protocol, Port::Blobs, "list");
        Error::from(fault.because("the server's list cannot be read"))
    };
    let mut reader = Reader::from_reader(xml);
    let (mut items, mut item): (Vec<Item>, Option<(usize, Item)>) = (Vec::new(), None);
    let (mut depth, mut text) = (0_usize, String::new());
    loop {
        match reader.read_event().map_err(|_| malformed())? {
            Event::Start(tag) => {
                depth += 1;
                text.clear();
                let name = tag.local_name();
                let name: &str = name.as_ref();
                if item.is_none() && names.contains(&name) {
                    let name = name.to_owned();
                    item = Some((
                        depth,
                        Item {
                            name,
                            leaves: Vec::new(),
                        },
                    ));
                }
            }
            Event::Text(more) => text.push_str(&more),
            Event::GeneralRef(name) => match resolve_predefined_entity(&name) {
                Some(entity) => text.push_str(entity),
                None => {
                    let character = name.resolve_char_ref().map_err(|_| malformed())?;
                    text.push(character.ok_or_else(malformed)?);
                }
            },
            Event::End(tag) => {
                if let Some((from, inside)) = item.as_mut() {
                    if *from == depth {
                        items.extend(item.take().map(|(_, item)| item));
                    } else {
                        let name = tag.local_name();
                        let name: &str = name.as_ref();
                        inside
                            .leaves
                            .push((name.to_owned(), text.trim().to_owned()));
                    }
                }
                text.clear();
                depth = depth.saturating_sub(1);
            }
            Event::Eof => break,
            _ => {}
        }
    }
    if depth == 0 {
        Ok(items)
    } else {
        Err(malformed())
    }
}

/// The text of the first leaf of this name in the whole document.
pub(super) fn leaf(xml: &[u8], name: &str) -> Option<String> {
    // An element without children is an item without leaves, so its text is looked for by hand.
    let text = core::str::from_utf8(xml).ok()?;
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let from = text.find(&open)? + open.len();
    let to = text[from..].find(&close)? + from;
    Some(text[from..to].to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn leaves_of_nested_elements_are_read_with_their_entities() {
        let xml = br#"<?xml version="1.0"?><R xmlns="x"><Version><Key>a/b</Key>
            <ETag>&quot;9&#x41;&quot;</ETag><Owner><ID>o</ID></Owner></Version>
            <DeleteMarker><Key>c</Key></DeleteMarker><IsTruncated>false</IsTruncated></R>"#;
        let items = items(xml, &["Version", "DeleteMarker"]).unwrap();
        assert_eq!(items.len(), 2);
        assert_eq!(items[0].text("ETag"), Some("\"9A\""));
        assert_eq!(items[0].text("ID"), Some("o"));
        assert_eq!(
            (items[1].name.as_str(), items[1].text("Key")),
            ("DeleteMarker", Some("c"))
        );
        assert_eq!(leaf(xml, "IsTruncated").unwrap(), "false");
    }

    #[test]
    fn what_is_no_list_is_a_fault() {
        for bad in [&b"<a><b></a>"[..], b"<a>", b"<a>&unheard;</a>"] {
            assert!(items(bad, &["a"]).is_err());
        }
        assert!(items(b"", &["a"]).unwrap().is_empty());
    }
}
