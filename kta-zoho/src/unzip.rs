//! The one file of a ZIP archive as it comes over the wire (APPNOTE 6.3.9, local headers only).
//!
//! The usual libraries want to seek to the directory at the end, and so the whole archive in
//! memory or on disk; an export of the CRM is a register of clients, which belongs on neither.

use flate2::{Decompress, FlushDecompress, Status};
use kta_core::Result;
use kta_http::Call;
use zeroize::Zeroizing;

use crate::error::protocol;

/// Takes pieces of an archive, gives pieces of its only file.
pub(crate) struct Unzip {
    call: Call,
    state: State,
    pending: Zeroizing<Vec<u8>>,
    out: Zeroizing<Vec<u8>>,
    crc: crc32fast::Hasher,
    length: u64,
    /// CRC, packed and unpacked length, where the header has them.
    known: Option<(u32, u64)>,
}

enum State {
    Header,
    Deflated(Box<Decompress>),
    Stored {
        left: u64,
    },
    /// Behind the content: the sums, where the header had none.
    Sums,
    Over,
}

impl Unzip {
    pub(crate) fn new(call: Call) -> Self {
        Self {
            call,
            state: State::Header,
            pending: Zeroizing::default(),
            out: Zeroizing::new(vec![0; PIECE]),
            crc: crc32fast::Hasher::new(),
            length: 0,
            known: None,
        }
    }

    /// Takes a piece of the archive and hands what comes out of it to `sink`.
    pub(crate) fn push(
        &mut self,
        mut piece: &[u8],
        mut sink: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        loop {
            match &mut self.state {
                State::Header => {
                    self.pending.extend_from_slice(piece);
                    let Some(after) = self.header()? else {
                        return Ok(());
                    };
                    let rest = Zeroizing::new(self.pending.split_off(after));
                    self.pending.clear();
                    return self.push(&rest, sink);
                }
                State::Stored { left } => {
                    let take = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(piece.len());
                    let (content, rest) = piece.split_at(take);
                    *left -= take as u64;
                    let is_over = *left == 0;
                    self.crc.update(content);
                    self.length += take as u64;
                    sink(content)?;
                    if !is_over {
                        return Ok(());
                    }
                    piece = rest;
                    self.state = State::Sums;
                }
                State::Deflated(inflater) => {
                    let (before_in, before_out) = (inflater.total_in(), inflater.total_out());
                    let status = inflater
                        .decompress(piece, &mut self.out, FlushDecompress::None)
                        .map_err(|_| protocol(self.call, "the archive is broken"))?;
                    // Both are at most the length of a buffer in memory.
                    let taken = (inflater.total_in() - before_in) as usize;
                    let given = (inflater.total_out() - before_out) as usize;
                    piece = &piece[taken..];
                    self.crc.update(&self.out[..given]);
                    self.length += given as u64;
                    sink(&self.out[..given])?;
                    match status {
                        Status::StreamEnd => self.state = State::Sums,
                        _ if piece.is_empty() && given < PIECE => return Ok(()),
                        _ if taken == 0 && given == 0 => {
                            return Err(protocol(self.call, "the archive is broken"));
                        }
                        _ => {}
                    }
                }
                State::Sums => {
                    self.pending.extend_from_slice(piece);
                    if !self.sums()? {
                        return Ok(());
                    }
                    self.pending.clear();
                    self.state = State::Over;
                    return Ok(());
                }
                // The directory repeats what was checked.
                State::Over => return Ok(()),
            }
        }
    }

    /// Says whether the archive ended where it should.
    pub(crate) fn finish(self) -> Result<()> {
        match self.state {
            State::Over => Ok(()),
            _ => Err(protocol(self.call, "the archive breaks off")),
        }
    }

    /// Reads the local header; gives where the content begins, or `None` while it is not whole.
    fn header(&mut self) -> Result<Option<usize>> {
        let head = &*self.pending;
        if head.len() < 30 {
            return Ok(None);
        }
        if head[..4] != *b"PK\x03\x04" {
            return Err(protocol(self.call, "not an archive"));
        }
        let two = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let four =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let after = 30 + usize::from(two(26)) + usize::from(two(28));
        let (flags, method) = (two(6), two(8));
        if flags & 1 != 0 {
            return Err(protocol(self.call, "the archive is encrypted"));
        }
        if head.len() < after {
            return Ok(None);
        }
        let sums_follow = flags & 8 != 0;
        let (crc, packed, unpacked) = (four(14), four(18), four(22));
        self.known = (!sums_follow).then_some((crc, u64::from(unpacked)));
        self.state = match method {
            0 if !sums_follow && packed != u32::MAX => State::Stored {
                left: u64::from(packed),
            },
            8 => State::Deflated(Box::new(Decompress::new(false))),
            _ => return Err(protocol(self.call, "the archive is of another kind")),
        };
        Ok(Some(after))
    }

    /// Compares the sums; `false` while they are not whole.
    fn sums(&mut self) -> Result<bool> {
        let crc = self.crc.clone().finalize();
        if let Some((wanted, length)) = self.known {
            // 64-bit lengths stand elsewhere; the sum covers them.
            let fits = u64::from(u32::MAX) == length || length == self.length;
            return match fits && wanted == crc {
                true => Ok(true),
                false => Err(protocol(self.call, "the archive does not match its sum")),
            };
        }
        let tail = &*self.pending;
        let Some(first) = tail.get(..4) else {
            return Ok(false);
        };
        // The signature before the sums is optional.
        let sum = match first == b"PK\x07\x08" {
            true => tail.get(4..8),
            false => Some(first),
        };
        match sum {
            None => Ok(false),
            Some(sum) if sum == crc.to_le_bytes() => Ok(true),
            Some(_) => Err(protocol(self.call, "the archive does not match its sum")),
        }
    }
}

const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::DeflateEncoder};
    use kta_core::Port;
    use std::io::Write as _;

    const TEXT: &[u8] = b"Id,KTA_Key\r\n5843104000000413002,abc\r\n";

    fn archive(deflated: bool, sums_follow: bool) -> Vec<u8> {
        let crc = crc32fast::hash(TEXT);
        let content = match deflated {
            true => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(TEXT).unwrap();
                encoder.finish().unwrap()
            }
            false => TEXT.to_vec(),
        };
        let mut whole = b"PK\x03\x04\x14\x00".to_vec();
        whole.extend(u16::to_le_bytes(if sums_follow { 8 } else { 0 }));
        whole.extend(u16::to_le_bytes(if deflated { 8 } else { 0 }));
        whole.extend([0; 4]);
        let sums: Vec<u8> = [crc, content.len() as u32, TEXT.len() as u32]
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .collect();
        whole.extend(if sums_follow {
            vec![0; 12]
        } else {
            sums.clone()
        });
        whole.extend(u16::to_le_bytes(5));
        whole.extend(u16::to_le_bytes(0));
        whole.extend(b"a.csv");
        whole.extend(content);
        if sums_follow {
            whole.extend(b"PK\x07\x08");
            whole.extend(sums);
        }
        whole.extend(b"PK\x01\x02 and so on");
        whole
    }

    fn unzip(bytes: &[u8], piece: usize) -> Result<Vec<u8>> {
        let mut unzip = Unzip::new(Call::new(Port::Crm, "load"));
        let mut out = Vec::new();
        for piece in bytes.chunks(piece) {
            unzip.push(piece, |content| {
                out.extend_from_slice(content);
                Ok(())
            })?;
        }
        unzip.finish().map(|()| out)
    }

    #[test]
    fn the_file_comes_out_whole_however_the_archive_is_cut() {
        for (deflated, sums_follow) in [(true, true), (true, false), (false, false)] {
            let bytes = archive(deflated, sums_follow);
            for piece in 1..bytes.len() {
                assert_eq!(unzip(&bytes, piece).unwrap(), TEXT, "{piece}");
            }
        }
    }

    #[test]
    fn an_archive_cut_short_or_changed_anywhere_in_its_content_is_refused() {
        let bytes = archive(true, true);
        let end = bytes.len() - 16;
        for cut in 0..end - 13 {
            assert!(unzip(&bytes[..cut], 7).is_err(), "{cut}");
        }
        let content = 35..end - 16;
        for at in content {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            if let Ok(out) = unzip(&changed, 1 << 10) {
                assert_eq!(out, TEXT, "{at}");
            }
        }
        for bad in [&b"<html>"[..], b"PK\x05\x06", &[0; 64]] {
            assert!(unzip(bad, 8).is_err());
        }
    }
}
