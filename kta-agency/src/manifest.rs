//! The manifest: a package in words that still verify when nobody has this program any more.
//!
//! It is a C2SP signed note over plain lines, one field or part each. `sha256sum` checks the
//! parts, any signed-note tool checks the signature.

use core::fmt::Write as _;
use std::fs;
use std::path::Path;

use kta_core::audit::{NoteKey, SignedNote, Signer};
use kta_core::id::Digest;
use kta_core::pii::{Category, DocumentKind, MediaType};
use kta_core::ports::channel::{Package, Part};
use kta_core::{Fault, FaultKind, Port, Result};
use sha2::{Digest as _, Sha256};

/// A package's manifest.
///
/// ```text
/// kta-package/1
/// digest <sha-256 of the package>
/// matter mat_…
/// agency us.uscis
/// form i-129
/// edition 2025-01-20
/// on 2026-01-15
/// authority <sha-256 of the signed authority, or ->
/// attorney act_…
/// part 001.pdf doc_… sub_… passport IDENTITY application/pdf 36271 <sha-256>
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageManifest {
    package: Package,
}

impl PackageManifest {
    /// The manifest of a package.
    #[must_use]
    pub const fn of(package: Package) -> Self {
        Self { package }
    }

    /// The package.
    #[must_use]
    pub const fn package(&self) -> &Package {
        &self.package
    }

    /// The one text form: the same package gives the same bytes.
    #[must_use]
    pub fn text(&self) -> String {
        let package = &self.package;
        let authority = package
            .authority
            .map_or_else(|| "-".to_owned(), |digest| digest.to_string());
        let mut text = format!(
            "{FORMAT}\ndigest {}\nmatter {}\nagency {}\nform {}\nedition {}\non {}\nauthority {authority}\nattorney {}\n",
            package.digest(),
            package.matter,
            package.agency,
            package.form,
            package.edition,
            package.on,
            package.attorney,
        );
        for (number, part) in (1..).zip(&package.parts) {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "part {} {} {} {} {} {} {} {}",
                file_name(number, &part.media),
                part.document,
                part.subject,
                part.kind,
                part.category,
                part.media.as_str(),
                part.length,
                part.digest,
            );
        }
        text
    }

    /// Reads the text form, and nothing else: a text that would not be written again byte for
    /// byte, or whose digest is not that of the package, is refused.
    ///
    /// # Errors
    /// A `Corrupt` fault.
    pub fn parse(text: &str) -> Result<Self> {
        let manifest = read(text)
            .map(Self::of)
            .ok_or_else(|| corrupt("not a package manifest"))?;
        if manifest.text() == text {
            Ok(manifest)
        } else {
            Err(corrupt("not a package manifest").into())
        }
    }

    /// The manifest, signed.
    ///
    /// # Errors
    /// A `Misconfigured` fault when the signer's name is none for a signed note.
    pub fn sign(&self, signer: &dyn Signer) -> Result<SignedNote> {
        SignedNote::sign(self.text(), signer).map_err(|_| {
            Fault::new(FaultKind::Misconfigured, Port::Channel, "sign manifest").into()
        })
    }

    /// Reads a signed manifest.
    ///
    /// # Errors
    /// A `Corrupt` fault for what is no manifest or not signed by `key`.
    pub fn verify(note: &[u8], key: &NoteKey) -> Result<Self> {
        let note = SignedNote::parse(note).map_err(|_| corrupt("not a signed manifest"))?;
        note.verify(key)
            .map_err(|_| corrupt("the manifest is not signed by this key"))?;
        Self::parse(note.text())
    }

    /// The parts' file names, in order.
    pub fn files(&self) -> impl Iterator<Item = (String, &Part)> {
        (1..)
            .zip(&self.package.parts)
            .map(|(number, part)| (file_name(number, &part.media), part))
    }
}

/// Verifies a prepared package's folder with the public key alone, and gives the package.
///
/// # Errors
/// `Corrupt` for a manifest that is changed or not signed by `key`, a part that is not the one
/// it names, and a file it does not name; `NotFound` for a missing manifest or part.
pub fn verify_folder(folder: &Path, key: &NoteKey) -> Result<Package> {
    let manifest = PackageManifest::verify(&read_small(&folder.join(MANIFEST))?, key)?;
    let parts = folder.join(PARTS);
    for (name, part) in manifest.files() {
        let (length, digest) = digest_of(&parts.join(name))?;
        if (length, digest) != (part.length, part.digest) {
            return Err(corrupt("a part is not the one that the manifest names").into());
        }
    }
    let there = fs::read_dir(&parts).map_err(missing)?.count();
    if there != manifest.package.parts.len() {
        return Err(corrupt("there is a file that the manifest does not name").into());
    }
    Ok(manifest.package)
}

/// Length and SHA-256 of a file, in constant memory.
pub(crate) fn digest_of(path: &Path) -> Result<(u64, Digest)> {
    let mut file = fs::File::open(path).map_err(missing)?;
    let mut hash = Sha256::new();
    let length = std::io::copy(&mut file, &mut Hashing(&mut hash)).map_err(missing)?;
    Ok((length, Digest::from_bytes(hash.finalize().into())))
}

fn read(text: &str) -> Option<Package> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    if lines.next()? != FORMAT {
        return None;
    }
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let digest: Digest = field("digest")?.parse().ok()?;
    let package = Package {
        matter: field("matter")?.parse().ok()?,
        agency: field("agency")?.parse().ok()?,
        form: field("form")?.parse().ok()?,
        edition: field("edition")?.parse().ok()?,
        on: field("on")?.parse().ok()?,
        authority: match field("authority")? {
            "-" => None,
            digest => Some(digest.parse().ok()?),
        },
        attorney: field("attorney")?.parse().ok()?,
        parts: lines.map(read_part).collect::<Option<_>>()?,
    };
    (package.digest() == digest).then_some(package)
}

fn read_part(line: &str) -> Option<Part> {
    let mut words = line.strip_prefix("part ")?.split(' ');
    let _name = words.next()?;
    let part = Part {
        document: words.next()?.parse().ok()?,
        subject: words.next()?.parse().ok()?,
        kind: words.next().and_then(|word| {
            DocumentKind::ALL
                .into_iter()
                .find(|kind| kind.as_str() == word)
        })?,
        category: words.next().and_then(|word| {
            Category::ALL
                .into_iter()
                .find(|known| known.as_str() == word)
        })?,
        media: MediaType::parse(words.next()?),
        length: words.next()?.parse().ok()?,
        digest: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(part)
}

/// A part's file name: a number and the type's usual ending, so that it tells nothing.
fn file_name(number: usize, media: &MediaType) -> String {
    let ending = match media.as_str() {
        "application/pdf" => "pdf",
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/tiff" => "tif",
        "text/plain" => "txt",
        _ => "bin",
    };
    format!("{number:03}.{ending}")
}

fn read_small(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)
        .map_err(missing)?
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(missing)?;
    if bytes.len() as u64 > LARGEST {
        Err(corrupt("not a signed manifest").into())
    } else {
        Ok(bytes)
    }
}

fn missing(error: std::io::Error) -> Fault {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => FaultKind::NotFound,
        _ => FaultKind::Unavailable,
    };
    Fault::new(kind, Port::Channel, "verify package")
}

fn corrupt(why: &'static str) -> Fault {
    Fault::new(FaultKind::Corrupt, Port::Channel, "verify package").because(why)
}

struct Hashing<'h>(&'h mut Sha256);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) const MANIFEST: &str = "manifest.txt";
pub(crate) const PARTS: &str = "parts";
const FORMAT: &str = "kta-package/1";
const LARGEST: u64 = 4 << 20;
