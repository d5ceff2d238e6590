//! Archives, looked into before anything is unpacked.
//!
//! Two passes. The first reads only the directory: how many entries, what they are called, how
//! large they say they are, whether they lie over each other, whether they are encrypted. Only
//! what passes is then unpacked, each entry no further than it said it would go.

use std::collections::BTreeSet;
use std::io::{Cursor, Read as _};

use kta_core::refusal::Code;

use super::name::check_path;
use crate::limits::Limits;

/// What may still be spent on one delivery's archives, nested ones included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    entries: usize,
    bytes: u64,
    ratio: u64,
    /// How many more archives may open inside this one.
    pub(crate) depth: usize,
}

impl Budget {
    pub(crate) fn of(limits: &Limits) -> Self {
        Self {
            entries: limits.entries,
            bytes: limits.expanded,
            ratio: limits.ratio,
            depth: limits.archives,
        }
    }
}

/// One entry of the directory.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) path: String,
    is_directory: bool,
    packed: u64,
    size: u64,
    offset: u64,
    method: u16,
}

/// A ZIP archive whose directory was found harmless.
pub(crate) struct Archive<'a> {
    reader: zip::ZipArchive<Cursor<&'a [u8]>>,
    pub(crate) entries: Vec<Entry>,
}

impl<'a> Archive<'a> {
    /// Reads the directory and charges what the entries say they need to `budget`.
    ///
    /// # Errors
    /// `INT-BOMB`, `INT-OPAQUE`, `INT-PATH`, `INT-TYPE` for an archive with something in front of
    /// or behind it, `INT-MALFORMED` when directory and entries contradict each other.
    pub(crate) fn inspect(bytes: &'a [u8], budget: &mut Budget) -> Result<Self, Code> {
        let end = End::find(bytes)?;
        if end.count > budget.entries {
            return Err(Code::IntBomb);
        }
        budget.entries -= end.count;

        let mut entries = Vec::with_capacity(end.count);
        let mut names = BTreeSet::new();
        let mut at = end.directory;
        for _ in 0..end.count {
            let (entry, next) = entry(bytes, at, &end)?;
            check_path(&entry.path)?;
            if !names.insert(entry.path.trim_end_matches('/').to_lowercase()) {
                return Err(Code::IntPath);
            }
            if entry.size > SMALL && entry.size / entry.packed.max(1) > budget.ratio {
                return Err(Code::IntBomb);
            }
            budget.bytes = budget.bytes.checked_sub(entry.size).ok_or(Code::IntBomb)?;
            entries.push(entry);
            at = next;
        }
        if at != end.at {
            return Err(Code::IntMalformed);
        }
        apart(&entries, end.directory as u64)?;
        let reader = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|_| Code::IntMalformed)?;
        Ok(Self { reader, entries })
    }

    /// The bytes of an entry, never more than it declared.
    ///
    /// # Errors
    /// `INT-BOMB` or `INT-MALFORMED` when it does not unpack to what it declared.
    pub(crate) fn unpack(&mut self, entry: &Entry) -> Result<Vec<u8>, Code> {
        let file = self
            .reader
            .by_name(&entry.path)
            .map_err(|_| Code::IntMalformed)?;
        let mut out = Vec::new();
        file.take(entry.size + 1)
            .read_to_end(&mut out)
            .map_err(|_| Code::IntMalformed)?;
        if out.len() as u64 == entry.size {
            Ok(out)
        } else {
            Err(Code::IntBomb)
        }
    }

    /// The files of the archive, without its directories.
    pub(crate) fn files(&self) -> Vec<Entry> {
        self.entries
            .iter()
            .filter(|entry| !entry.is_directory)
            .cloned()
            .collect()
    }
}

/// Whether the bytes end in a ZIP directory, as the second face of a polyglot does.
pub(crate) fn has_directory(bytes: &[u8]) -> bool {
    let tail = &bytes[bytes.len().saturating_sub(END_SIZE + 0xffff)..];
    tail.windows(4).enumerate().any(|(at, four)| {
        four == END
            && u16_at(tail, at + 20).is_some_and(|len| at + END_SIZE + len as usize <= tail.len())
    })
}

/// The end of central directory record.
struct End {
    at: usize,
    directory: usize,
    count: usize,
}

impl End {
    fn find(bytes: &[u8]) -> Result<Self, Code> {
        // Something in front of the first entry is a second file type or a self-extractor.
        if !bytes.starts_with(LOCAL) && !bytes.starts_with(END) {
            return Err(Code::IntType);
        }
        let floor = bytes.len().saturating_sub(END_SIZE + 0xffff);
        let at = (floor..bytes.len().saturating_sub(END_SIZE - 1))
            .rev()
            .find(|&at| bytes[at..].starts_with(END))
            .ok_or(Code::IntMalformed)?;
        let comment = u16_at(bytes, at + 20).ok_or(Code::IntMalformed)?;
        if at + END_SIZE + comment as usize != bytes.len() {
            return Err(Code::IntType);
        }
        let word = |offset| u16_at(bytes, at + offset).ok_or(Code::IntMalformed);
        let long = |offset| u32_at(bytes, at + offset).ok_or(Code::IntMalformed);
        let (count, size, directory) = (word(10)?, long(12)? as usize, long(16)? as usize);
        // Split archives and ZIP64: nothing that fits into a message needs either.
        if word(4)? != 0 || word(6)? != 0 || word(8)? != count {
            return Err(Code::IntOpaque);
        }
        if count == u16::MAX || size == u32::MAX as usize || directory == u32::MAX as usize {
            return Err(Code::IntBomb);
        }
        if directory.checked_add(size) != Some(at) {
            return Err(Code::IntMalformed);
        }
        Ok(Self {
            at,
            directory,
            count: count.into(),
        })
    }
}

/// The directory entry at `at`, held against its local header, and where the next one starts.
fn entry(bytes: &[u8], at: usize, end: &End) -> Result<(Entry, usize), Code> {
    let word = |offset: usize| u16_at(bytes, at + offset).ok_or(Code::IntMalformed);
    let long = |offset: usize| u32_at(bytes, at + offset).ok_or(Code::IntMalformed);
    if !bytes[at..end.at].starts_with(CENTRAL) {
        return Err(Code::IntMalformed);
    }
    let (flags, method) = (word(8)?, word(10)?);
    let (packed, size, offset) = (long(20)?, long(24)?, long(42)?);
    let (name, extra, comment) = (word(28)? as usize, word(30)? as usize, word(32)? as usize);
    let start = at + 46;
    let next = start + name + extra + comment;
    let raw = bytes
        .get(start..start + name)
        .filter(|_| next <= end.at)
        .ok_or(Code::IntMalformed)?;

    const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
    if flags & ENCRYPTED != 0 || !matches!(method, STORED | DEFLATED) {
        return Err(Code::IntOpaque);
    }
    if [packed, size, offset].contains(&u32::MAX) {
        return Err(Code::IntBomb);
    }
    // The two copies of the name must agree, or two readers will see two files.
    let local = offset as usize;
    let local_name = u16_at(bytes, local + 26).ok_or(Code::IntMalformed)? as usize;
    let twin = bytes.get(local + 30..local + 30 + local_name);
    if local >= end.directory || !bytes[local..].starts_with(LOCAL) || twin != Some(raw) {
        return Err(Code::IntMalformed);
    }
    if u16_at(bytes, local + 6).is_none_or(|flags| flags & ENCRYPTED != 0) {
        return Err(Code::IntOpaque);
    }
    // Only UTF-8 names: what another code page makes of the bytes is anybody's guess.
    let path = core::str::from_utf8(raw)
        .map_err(|_| Code::IntPath)?
        .to_owned();
    let mode = long(38)? >> 16;
    if mode & 0o170_000 != 0 && !matches!(mode & 0o170_000, 0o100_000 | 0o040_000) {
        return Err(Code::IntPath); // a symbolic link, device or pipe
    }
    let is_directory = path.ends_with('/');
    if is_directory && size != 0 {
        return Err(Code::IntMalformed);
    }
    let entry = Entry {
        path,
        is_directory,
        packed: packed.into(),
        size: size.into(),
        offset: offset.into(),
        method,
    };
    Ok((entry, next))
}

/// Entries that share bytes are how a small archive expands without end and without nesting.
fn apart(entries: &[Entry], directory: u64) -> Result<(), Code> {
    let mut spans: Vec<(u64, u64)> = entries
        .iter()
        .map(|e| (e.offset, e.offset + 30 + e.path.len() as u64 + e.packed))
        .collect();
    spans.sort_unstable();
    let crossed = spans.windows(2).any(|pair| pair[0].1 > pair[1].0);
    let beyond = spans.last().is_some_and(|last| last.1 > directory);
    let lying = entries
        .iter()
        .any(|e| e.method == STORED && e.packed != e.size);
    if crossed || beyond || lying {
        Err(Code::IntBomb)
    } else {
        Ok(())
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes([two[0], two[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
}

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_SIZE: usize = 22;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// Below this an entry's ratio does not matter: 64 KiB cost nothing.
const SMALL: u64 = 64 << 10;
