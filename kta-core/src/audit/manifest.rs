//! The signed list of every file in an export folder.
//!
//! ```text
//! log.example/firm                        the key's name
//! files 2                                 how many lines follow
//! 9f86d0…0a08  81  audit.vkey             SHA-256, size in bytes, path; in order of paths
//! 2c26b4…266e  412  log/checkpoint
//!
//! — log.example/firm Az3grl…
//! ```

use std::collections::BTreeMap;
use std::io::Read;

use sha2::{Digest as _, Sha256};

use super::checkpoint::decimal;
use super::defect::Defect;
use super::folder::{self, Folder, is_path, unreadable};
use super::note::{NoteKey, SignedNote, Signer};
use crate::id::Digest;

/// The files of a folder, each with size and digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    origin: String,
    files: BTreeMap<String, Listed>,
}

/// What the manifest says of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// SHA-256 over the content.
    pub digest: Digest,
    /// The content's length in bytes.
    pub size: u64,
}

impl Manifest {
    /// The manifest's own path; it alone is not listed in it.
    pub const PATH: &str = "manifest";

    /// The longest manifest that is read, in bytes.
    pub const LONGEST: usize = 64 * 1024 * 1024;

    /// An empty manifest that will be signed by the key of this name.
    #[must_use]
    pub fn new(origin: impl Into<String>) -> Self {
        Self {
            origin: origin.into(),
            files: BTreeMap::new(),
        }
    }

    /// Lists a file.
    ///
    /// # Errors
    /// [`Defect::FileExtra`] when the path is not allowed ([`is_path`]), is the manifest's own,
    /// or is listed already.
    pub fn add(&mut self, path: &str, content: &[u8]) -> Result<(), Defect> {
        self.list(
            path,
            Listed {
                digest: Digest::of(content),
                size: content.len() as u64,
            },
        )
    }

    /// Lists a file whose digest and size are known already.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn list(&mut self, path: &str, listed: Listed) -> Result<(), Defect> {
        if !is_path(path) || path == Self::PATH || self.files.contains_key(path) {
            return Err(Defect::FileExtra { path: shown(path) });
        }
        self.files.insert(path.to_owned(), listed);
        Ok(())
    }

    /// Which log's key signs.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The listed files in the order of their paths.
    #[must_use]
    pub const fn files(&self) -> &BTreeMap<String, Listed> {
        &self.files
    }

    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\nfiles {}\n", self.origin, self.files.len());
        for (path, Listed { digest, size }) in &self.files {
            text += &format!("{digest}  {size}  {path}\n");
        }
        text
    }

    /// Signs the manifest.
    ///
    /// # Errors
    /// [`Defect::Origin`] when the signer's name is not the origin, [`Defect::Key`] when its
    /// key is unfit.
    pub fn sign(&self, signer: &dyn Signer) -> Result<SignedNote, Defect> {
        if self.origin != signer.name() {
            return Err(Defect::Origin);
        }
        SignedNote::sign(self.text(), signer)
    }

    /// Reads a signed manifest, by this key and nobody else.
    ///
    /// # Errors
    /// The first malformed line, or what is wrong with the signature.
    pub fn open(bytes: &[u8], key: &NoteKey) -> Result<Self, Defect> {
        let note = SignedNote::parse(bytes)?;
        note.verify_only(key)?;
        let manifest = Self::parse(note.text())?;
        if manifest.origin == key.name() {
            Ok(manifest)
        } else {
            Err(Defect::Origin)
        }
    }

    fn parse(text: &str) -> Result<Self, Defect> {
        let malformed = |line| Defect::Manifest { line };
        let mut lines = text.split_terminator('\n');
        let mut manifest = Self::new(lines.next().ok_or(malformed(1))?);
        lines.next().ok_or(malformed(2))?;
        let mut last = "";
        for (offset, line) in lines.enumerate() {
            let malformed = malformed(3 + offset);
            let (path, listed) = parse_line(line).ok_or(malformed.clone())?;
            if path <= last {
                return Err(malformed);
            }
            manifest.list(path, listed).map_err(|_| malformed)?;
            last = path;
        }
        // The count and anything looser than what `text` writes.
        if manifest.text() == text {
            Ok(manifest)
        } else {
            Err(malformed(2))
        }
    }

    /// Checks that the folder holds exactly the listed files. Memory does not grow with their
    /// size.
    ///
    /// # Errors
    /// The first file, in the order of paths, that is changed, missing or not listed.
    pub fn verify(&self, folder: &dyn Folder) -> Result<(), Defect> {
        let there = folder.list().map_err(|error| unreadable(&error, "."))?;
        let extra = there
            .iter()
            .map(String::as_str)
            .filter(|path| *path != Self::PATH && !self.files.contains_key(*path))
            .min();
        for (path, listed) in &self.files {
            if extra.is_some_and(|extra| extra < path.as_str()) {
                break;
            }
            check_file(folder, path, listed)?;
        }
        match extra {
            Some(path) => Err(Defect::FileExtra { path: shown(path) }),
            None => Ok(()),
        }
    }
}

fn parse_line(line: &str) -> Option<(&str, Listed)> {
    let (digest, rest) = line.split_once("  ")?;
    let (size, path) = rest.split_once("  ")?;
    Some((
        path,
        Listed {
            digest: digest.parse().ok()?,
            size: decimal(size)?,
        },
    ))
}

fn check_file(folder: &dyn Folder, path: &str, listed: &Listed) -> Result<(), Defect> {
    let changed = Err(Defect::FileChanged {
        path: path.to_owned(),
    });
    // One byte more than listed is enough to know.
    let mut file = folder::open(folder, path)?.take(listed.size.saturating_add(1));
    let mut hash = Sha256::new();
    let mut size = 0_u64;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                hash.update(&buffer[..read]);
                size += read as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(&error, path)),
        }
    }
    let digest = Digest::from_bytes(hash.finalize().into());
    if (Listed { digest, size }) == *listed {
        Ok(())
    } else {
        changed
    }
}

/// A path that may be shown: a name that no manifest may list could say anything.
fn shown(path: &str) -> String {
    if is_path(path) {
        path.to_owned()
    } else {
        "?".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::testing;

    type Files = BTreeMap<String, Vec<u8>>;

    fn folder() -> (Files, Manifest) {
        let files: Files = ["a", "b/c", "d"]
            .map(|path| (path.into(), path.into()))
            .into();
        let mut manifest = Manifest::new(testing::ORIGIN);
        files
            .iter()
            .for_each(|(path, content)| manifest.add(path, content).unwrap());
        (files, manifest)
    }

    #[test]
    fn changed_missing_and_extra_files_are_named_first_in_order_of_paths() {
        let (good, manifest) = folder();
        manifest.verify(&good).unwrap();
        let found = |change: &dyn Fn(&mut Files)| {
            let mut files = good.clone();
            change(&mut files);
            manifest.verify(&files).unwrap_err().to_string()
        };
        assert_eq!(
            found(&|files| files.get_mut("d").unwrap()[0] ^= 1),
            "file d was changed"
        );
        assert_eq!(
            found(&|files| files.get_mut("d").unwrap().push(1)),
            "file d was changed"
        );
        assert_eq!(
            found(&|files| files.get_mut("d").unwrap().clear()),
            "file d was changed"
        );
        assert_eq!(
            found(&|files| drop(files.remove("b/c"))),
            "file b/c is missing"
        );
        let extra = found(&|files| {
            files.insert("c".into(), vec![]);
            files.remove("d");
        });
        assert_eq!(extra, "file c is not listed in the manifest");
        let named = found(&|files| drop(files.insert("Invented Person.pdf".into(), vec![])));
        assert_eq!(named, "file ? is not listed in the manifest");
    }

    #[test]
    fn a_manifest_is_read_only_in_its_own_form() {
        let (_, manifest) = folder();
        let (signer, key) = (testing::signer(), testing::key());
        let open = |text: String| {
            let note = SignedNote::sign(text, &signer).unwrap();
            Manifest::open(note.to_string().as_bytes(), &key)
        };
        let text = manifest.text();
        assert_eq!(open(text.clone()).as_ref(), Ok(&manifest));
        let line = |text: String| match open(text) {
            Err(Defect::Manifest { line }) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(line(text.replace("files 3", "files 2")), 2);
        assert_eq!(line(text.replace("files 3", "files 03")), 2);
        assert_eq!(line(text.replace("  a\n", "  ../a\n")), 3);
        assert_eq!(line(text.replace("  b/c\n", "  a\n")), 4);
        assert_eq!(line(text.replace("  b/c\n", "  z\n")), 5);
        assert_eq!(line(text.replace("  3  b/c", "  03  b/c")), 4);
        assert_eq!(line(text.replace("  3  b/c", " 3  b/c")), 4);
        assert_eq!(line(text.replace("  d\n", "  manifest\n")), 5);
        assert_eq!(
            open(text.replacen(testing::ORIGIN, "other", 1)),
            Err(Defect::Origin)
        );
        assert_eq!(Manifest::new("other").sign(&signer), Err(Defect::Origin));
        let mut twice = manifest;
        assert!(twice.add("a", b"").is_err());
        assert!(twice.add("/etc/passwd", b"").is_err());
    }

    proptest! {
        #[test]
        fn garbage_is_answered_without_panic(text in "(([0-9a-f]{64}|[a-z]{0,3})  [0-9]{0,22}  [a-z./]{0,9}\n){0,5}") {
            let text = format!("o\nfiles 1\n{text}");
            if let Ok(manifest) = Manifest::parse(&text) {
                prop_assert_eq!(manifest.text(), text);
            }
        }
    }
}
