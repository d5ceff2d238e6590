//! The work order: what the person who files does, in ids and kinds only.

use core::fmt::Write as _;

use kta_core::id::IdempotencyKey;

use crate::facts::MatterFacts;
use crate::manifest::{MANIFEST, PARTS, PackageManifest};
use crate::register::{ChannelKind, Register};

/// The work order's text.
pub(super) fn text(
    manifest: &PackageManifest,
    key: IdempotencyKey,
    by: ChannelKind,
    register: &Register,
    facts: &MatterFacts,
) -> String {
    let package = manifest.package();
    let form = register.form(&package.agency, &package.form);
    let title = form.map_or("", |form| form.title.as_str());
    let place = form
        .and_then(|form| form.channel(by))
        .map_or("-", |channel| channel.place.as_str());
    let mut text = format!(
        "WORK ORDER {key}\n\n\
         Agency   {}\nForm     {} {title}\nEdition  {}\nFile by  {} at {place}, on {}\nMatter   {}\nAttorney {}\n\n\
         Hand in exactly these files of the folder `{PARTS}`, in this order:\n\n",
        package.agency,
        package.form,
        package.edition,
        by.as_str(),
        package.on,
        package.matter,
        package.attorney,
    );
    for (name, part) in manifest.files() {
        let party = facts
            .parties
            .get(&part.subject)
            .map_or("-", |party| party.as_str());
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  [ ] {name}  {} of the {party}, {} bytes, sha256 {}",
            part.kind, part.length, part.digest
        );
    }
    let _ = write!(
        text,
        "\nOn another day the package must be prepared and checked anew.\n\
         Nothing else goes in. If the portal asks for more, stop and ask the attorney.\n\
         Afterwards record the receipt number. These files are then overwritten; `{MANIFEST}` stays.\n"
    );
    text
}

pub(super) const NAME: &str = "work-order.txt";
