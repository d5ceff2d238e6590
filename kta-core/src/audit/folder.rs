//! Where exported files are read from.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::defect::Defect;

/// A folder of exported files: a directory, an archive, a map in memory.
///
/// # Behavior
/// - Paths are relative, with forward slashes, in the form that [`is_path`] accepts.
/// - `list` names every file below the folder, in any order; a name that is not text comes as
///   `?`. Links are not followed: they are files that `open` refuses.
/// - `open` gives the whole content, or `ErrorKind::NotFound` when there is no such file.
///
/// A directory, for callers with a file system:
///
/// ```
/// use std::{fs, io, path::{Path, PathBuf}};
///
/// use kta_core::audit::Folder;
///
/// struct Directory(PathBuf);
///
/// impl Folder for Directory {
///     fn list(&self) -> io::Result<Vec<String>> {
///         fn below(place: &Path, prefix: &str, paths: &mut Vec<String>) -> io::Result<()> {
///             for entry in fs::read_dir(place)? {
///                 let entry = entry?;
///                 let name = entry.file_name().into_string();
///                 let path = format!("{prefix}{}", name.unwrap_or_else(|_| "?".into()));
///                 if entry.file_type()?.is_dir() {
///                     below(&entry.path(), &format!("{path}/"), paths)?;
///                 } else {
///                     paths.push(path);
///                 }
///             }
///             Ok(())
///         }
///         let mut paths = Vec::new();
///         below(&self.0, "", &mut paths)?;
///         Ok(paths)
///     }
///
///     fn open(&self, path: &str) -> io::Result<Box<dyn io::Read + '_>> {
///         let path = self.0.join(path);
///         if fs::symlink_metadata(&path)?.is_file() {
///             Ok(Box::new(fs::File::open(path)?))
///         } else {
///             Err(io::ErrorKind::InvalidInput.into())
///         }
///     }
/// }
/// # let folder = Directory(PathBuf::from(env!("CARGO_MANIFEST_DIR")));
/// # assert!(folder.list()?.contains(&"Cargo.toml".to_owned()));
/// # assert!(folder.open("src").is_err());
/// # assert_eq!(folder.open("none").err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
/// # Ok::<(), io::Error>(())
/// ```
pub trait Folder {
    /// The paths of all files.
    ///
    /// # Errors
    /// What the storage says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// The content of one file.
    ///
    /// # Errors
    /// `ErrorKind::NotFound` when it is not there, else what the storage says.
    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>>;
}

impl Folder for BTreeMap<String, Vec<u8>> {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.keys().cloned().collect())
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Read + '_>> {
        let content = self.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(content.as_slice()))
    }
}

/// Whether a path may stand in an export: 1 to 8 parts of `A–Z a–z 0–9 . _ -` with slashes
/// between, none empty, none beginning with a dot, 240 characters at most.
///
/// So it means the same on every system, leads nowhere outside, and has no room for a name.
#[must_use]
pub fn is_path(path: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    path.len() <= 240
        && path.split('/').count() <= 8
        && path.split('/').all(|part| {
            !part.is_empty() && !part.starts_with(['.', '-']) && part.bytes().all(allowed)
        })
}

/// Opens a file that must be there.
pub(super) fn open<'a>(folder: &'a dyn Folder, path: &str) -> Result<Box<dyn Read + 'a>, Defect> {
    folder.open(path).map_err(|error| unreadable(&error, path))
}

/// Reads a file that must be there and hold no more than `limit` bytes.
pub(super) fn read(folder: &dyn Folder, path: &str, limit: usize) -> Result<Vec<u8>, Defect> {
    let mut content = Vec::new();
    open(folder, path)?
        .take(limit as u64 + 1)
        .read_to_end(&mut content)
        .map_err(|error| unreadable(&error, path))?;
    if content.len() > limit {
        return Err(Defect::FileTooLong {
            path: path.to_owned(),
        });
    }
    Ok(content)
}

/// The defect that a failed reading amounts to.
pub(super) fn unreadable(error: &io::Error, path: &str) -> Defect {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => Defect::FileMissing { path },
        _ => Defect::FileUnreadable { path },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_nowhere_outside() {
        for good in ["manifest", "log/tile/entries/x001/067.p/5", "a/b-c_d.json"] {
            assert!(is_path(good), "{good}");
        }
        let long = "a".repeat(241);
        let deep = "a/".repeat(8) + "a";
        for bad in [
            "", "/a", "a/", "a//b", ".", "..", "a/../b", ".hidden", "a\\b", "c:a", "a b", "ä",
            "a\0", "a\n", "-rf", &long, &deep,
        ] {
            assert!(!is_path(bad), "{bad}");
        }
    }

    #[test]
    fn reading_stops_at_the_limit() {
        let folder = BTreeMap::from([("a".to_owned(), vec![0; 10])]);
        assert_eq!(read(&folder, "a", 10).unwrap().len(), 10);
        assert_eq!(
            read(&folder, "a", 9),
            Err(Defect::FileTooLong { path: "a".into() })
        );
        assert_eq!(
            read(&folder, "b", 9),
            Err(Defect::FileMissing { path: "b".into() })
        );
    }
}
