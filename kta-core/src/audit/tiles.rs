//! The log as a finite set of files, in the layout of C2SP tlog-tiles.
//!
//! ```text
//! checkpoint                    the signed tree head
//! tile/entries/000              256 entries, each after its length in two bytes
//! tile/entries/001.p/5          the last 5 so far
//! tile/0/000  tile/0/001.p/5    their leaf hashes
//! tile/1/000.p/1                one hash for each full tile of the level below
//! ```

use std::collections::VecDeque;

use super::defect::{Defect, EntryFlaw};
use super::folder::{self, Folder};
use super::merkle::{self, Nodes};
use crate::id::Digest;

/// Hashes in a full tile, and entries in a full bundle.
pub const WIDTH: u64 = 256;

/// The longest entry that a bundle can hold, in bytes.
pub const LONGEST_ENTRY: usize = u16::MAX as usize;

/// The path of tile `n` at `level`, `width` hashes wide (1 to 256).
#[must_use]
pub fn tile_path(level: u32, n: u64, width: u64) -> String {
    format!("tile/{level}/{}", place(n, width))
}

/// The path of the bundle with the entries from `n * 256`, `width` of them (1 to 256).
#[must_use]
pub fn entries_path(n: u64, width: u64) -> String {
    format!("tile/entries/{}", place(n, width))
}

/// The index in groups of three digits, all but the last marked `x`, and the width when the
/// tile is not full.
fn place(n: u64, width: u64) -> String {
    let mut path = format!("{:03}", n % 1000);
    let mut rest = n / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    if width < WIDTH {
        path = format!("{path}.p/{width}");
    }
    path
}

/// How wide tile `n` at `level` is in a tree of `size` leaves; 0 when it does not exist.
#[must_use]
pub fn tile_width(level: u32, n: u64, size: u64) -> u64 {
    let hashes = size.checked_shr(8 * level).unwrap_or(0);
    hashes.saturating_sub(n.saturating_mul(WIDTH)).min(WIDTH)
}

/// Makes the files of a log out of its entries, in memory bounded by one bundle.
///
/// Each item is a path and its content; a full tile comes as soon as it is full, partial ones
/// at the end. An entry that cannot be stored ends the iteration with its defect.
pub fn tiles<E: AsRef<[u8]>>(
    entries: impl IntoIterator<Item = E>,
) -> impl Iterator<Item = Result<(String, Vec<u8>), Defect>> {
    let mut entries = entries.into_iter();
    let mut writer = Some(TileWriter::new());
    let mut ready = VecDeque::new();
    core::iter::from_fn(move || {
        while ready.is_empty() {
            let open = writer.as_mut()?;
            match entries.next().map(|entry| open.push(entry.as_ref())) {
                Some(Ok(files)) => ready.extend(files),
                Some(Err(defect)) => {
                    writer = None;
                    return Some(Err(defect));
                }
                None => ready.extend(writer.take()?.finish()),
            }
        }
        ready.pop_front().map(Ok)
    })
}

/// The same as [`tiles`] for a caller who has the entries one by one.
#[derive(Debug, Default)]
pub struct TileWriter {
    bundle: Vec<u8>,
    hashes: HashTiles,
}

impl TileWriter {
    /// A writer of an empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an entry; gives the files that became complete.
    ///
    /// # Errors
    /// [`EntryFlaw::Long`] over 65,535 bytes; nothing is appended then.
    pub fn push(&mut self, entry: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Defect> {
        let index = self.hashes.size();
        let length = u16::try_from(entry.len()).map_err(|_| Defect::Entry {
            index,
            flaw: EntryFlaw::Long,
        })?;
        self.bundle.extend_from_slice(&length.to_be_bytes());
        self.bundle.extend_from_slice(entry);
        let tiles = self.hashes.push(merkle::leaf_hash(entry));
        let mut files = Vec::new();
        if self.hashes.size().is_multiple_of(WIDTH) {
            files.push((
                entries_path(index / WIDTH, WIDTH),
                core::mem::take(&mut self.bundle),
            ));
        }
        files.extend(tiles);
        Ok(files)
    }

    /// Gives the partial files at the end of the log.
    #[must_use]
    pub fn finish(self) -> Vec<(String, Vec<u8>)> {
        let size = self.hashes.size();
        let mut files = Vec::new();
        if !self.bundle.is_empty() {
            files.push((entries_path(size / WIDTH, size % WIDTH), self.bundle));
        }
        files.extend(self.hashes.finish());
        files
    }
}

/// The tiles of hashes alone, made from leaf hashes.
#[derive(Debug, Default)]
pub(super) struct HashTiles {
    /// By level: how many tiles are complete, and the hashes of the next one.
    levels: Vec<(u64, Vec<Digest>)>,
}

impl HashTiles {
    pub(super) fn size(&self) -> u64 {
        self.levels
            .first()
            .map_or(0, |(full, open)| full * WIDTH + open.len() as u64)
    }

    pub(super) fn push(&mut self, leaf: Digest) -> Vec<(String, Vec<u8>)> {
        let mut complete = Vec::new();
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push((0, Vec::new()));
            }
            let (full, open) = &mut self.levels[level];
            open.push(hash);
            if (open.len() as u64) < WIDTH {
                break;
            }
            complete.push((tile_path(level as u32, *full, WIDTH), concat(open)));
            hash = merkle::root(open.drain(..));
            *full += 1;
        }
        complete
    }

    pub(super) fn finish(self) -> Vec<(String, Vec<u8>)> {
        let levels = self
            .levels
            .iter()
            .enumerate()
            .filter(|(_, (_, open))| !open.is_empty());
        levels
            .map(|(level, (full, open))| {
                (
                    tile_path(level as u32, *full, open.len() as u64),
                    concat(open),
                )
            })
            .collect()
    }
}

fn concat(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// The tiles of a log of known size, as nodes for proofs. It believes the tiles: a proof made
/// from them is right or fails to verify.
pub struct TileTree<'a> {
    folder: &'a dyn Folder,
    log: &'a str,
    size: u64,
}

impl<'a> TileTree<'a> {
    /// The tree of the first `size` entries of the log under `log` (no slash at the end).
    #[must_use]
    pub fn new(folder: &'a dyn Folder, log: &'a str, size: u64) -> Self {
        Self { folder, log, size }
    }
}

impl Nodes for TileTree<'_> {
    fn node(&self, height: u32, index: u64) -> Result<Digest, Defect> {
        let (level, inside) = (height / 8, height % 8);
        let missing = Defect::OutOfRange { index: self.size };
        let first = index
            .checked_mul(1 << inside)
            .ok_or_else(|| missing.clone())?;
        let n = first / WIDTH;
        let width = tile_width(level, n, self.size);
        // A perfect subtree of at most 128 hashes, so it lies inside one tile.
        let start = (first % WIDTH) as usize;
        let end = start + (1 << inside);
        if end as u64 > width {
            return Err(missing);
        }
        let hashes = read_tile(self.folder, self.log, level, n, width)?;
        Ok(merkle::root(hashes[start..end].iter().copied()))
    }
}

impl core::fmt::Debug for TileTree<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TileTree")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// Reads a tile that must be exactly `width` hashes wide.
pub(super) fn read_tile(
    folder: &dyn Folder,
    log: &str,
    level: u32,
    n: u64,
    width: u64,
) -> Result<Vec<Digest>, Defect> {
    let path = under(log, &tile_path(level, n, width));
    let bytes = folder::read(folder, &path, 32 * WIDTH as usize)?;
    let (hashes, odd) = bytes.as_chunks::<32>();
    if !odd.is_empty() || hashes.len() as u64 != width {
        return Err(Defect::Tile { path });
    }
    Ok(hashes.iter().copied().map(Digest::from_bytes).collect())
}

/// `path` below the folder of a log.
pub(super) fn under(log: &str, path: &str) -> String {
    if log.is_empty() {
        path.to_owned()
    } else {
        format!("{log}/{path}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn entry(number: u64) -> Vec<u8> {
        format!("entry {number}").into_bytes()
    }

    fn files(size: u64) -> BTreeMap<String, Vec<u8>> {
        tiles((0..size).map(entry))
            .map(|file| file.unwrap())
            .collect()
    }

    #[test]
    fn paths_are_those_of_the_specification() {
        assert_eq!(tile_path(2, 1_234_067, WIDTH), "tile/2/x001/x234/067");
        assert_eq!(tile_path(0, 273, 112), "tile/0/273.p/112");
        assert_eq!(entries_path(1067, WIDTH), "tile/entries/x001/067");
        assert_eq!(entries_path(0, 1), "tile/entries/000.p/1");
        assert_eq!(entries_path(1000, WIDTH), "tile/entries/x001/000");
    }

    #[test]
    fn a_tree_of_70000_has_the_tiles_of_the_specification() {
        let files = files(70_000);
        let of_level = |level: u32| {
            let start = format!("tile/{level}/");
            files.keys().filter(|path| path.starts_with(&start)).count()
        };
        assert_eq!(
            (of_level(0), of_level(1), of_level(2), of_level(3)),
            (274, 2, 1, 0)
        );
        for partial in ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"] {
            assert!(files.contains_key(partial), "{partial}");
        }
        assert!(files.contains_key("tile/entries/273.p/112"));
    }

    #[test]
    fn a_full_tile_is_hashed_into_the_level_above() {
        let files = files(256);
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["tile/0/000", "tile/1/000.p/1", "tile/entries/000"]);
        let leaves = (0..256).map(|number| merkle::leaf_hash(&entry(number)));
        assert_eq!(files["tile/1/000.p/1"], merkle::root(leaves).as_bytes());
        assert_eq!(tile_width(1, 0, 256), 1);
        assert_eq!(tile_width(0, 1, 256), 0);
        assert_eq!(tile_width(9, 0, u64::MAX), 0);
    }

    #[test]
    fn an_entry_too_long_for_its_prefix_is_refused() {
        let mut long = tiles([vec![0; LONGEST_ENTRY], vec![0; LONGEST_ENTRY + 1]]);
        let defect = Defect::Entry {
            index: 1,
            flaw: EntryFlaw::Long,
        };
        assert_eq!(long.next(), Some(Err(defect)));
        assert_eq!(long.next(), None);
        assert_eq!(tiles([vec![0; LONGEST_ENTRY]]).count(), 2);
        assert_eq!(tiles(Vec::<Vec<u8>>::new()).count(), 0);
    }

    #[test]
    fn proofs_from_tiles_are_those_from_leaves() {
        let size = 66_100; // three levels
        let leaves: Vec<Digest> = (0..size).map(|n| merkle::leaf_hash(&entry(n))).collect();
        let files = files(size);
        let tree = TileTree::new(&files, "", size);
        for index in [0, 1, 255, 256, 65_535, 65_536, size - 1] {
            assert_eq!(
                merkle::inclusion_proof(&tree, index, size),
                merkle::inclusion_proof(&leaves[..], index, size)
            );
        }
        for first in [1, 2, 255, 256, 257, 65_536, 66_000, size] {
            assert_eq!(
                merkle::consistency_proof(&tree, first, size),
                merkle::consistency_proof(&leaves[..], first, size)
            );
        }
        assert!(merkle::inclusion_proof(&tree, size, size).is_err());
        assert!(tree.node(8, 10_000).is_err());
        assert!(tree.node(255, u64::MAX).is_err());
    }

    proptest! {
        #[test]
        fn bundles_hold_the_entries_in_order(
            entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..600),
        ) {
            let mut read = Vec::new();
            for (path, content) in tiles(&entries).map(|file| file.unwrap()) {
                let mut rest = content.as_slice();
                while path.starts_with("tile/entries") && !rest.is_empty() {
                    let (length, after) = rest.split_first_chunk::<2>().unwrap();
                    let (entry, after) = after.split_at(u16::from_be_bytes(*length).into());
                    read.push(entry.to_vec());
                    rest = after;
                }
            }
            prop_assert_eq!(read, entries);
        }
    }
}
