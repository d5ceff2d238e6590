//! Comma-separated values (RFC 4180) as they come, a line at a time: what is held is one line.

use csv_core::{ReadRecordResult, Reader};
use kta_core::Result;
use kta_http::Call;
use zeroize::Zeroizing;

use crate::error::protocol;

/// Reads lines from pieces of any size. Its buffers are wiped.
pub(crate) struct Lines {
    call: Call,
    reader: Reader,
    cells: Zeroizing<Vec<u8>>,
    ends: Vec<usize>,
    written: usize,
    ended: usize,
}

/// One line: its cells, wiped when dropped.
#[derive(Default)]
pub(crate) struct Line {
    text: Zeroizing<Vec<u8>>,
    ends: Vec<usize>,
}

impl Lines {
    pub(crate) fn new(call: Call) -> Self {
        Self {
            call,
            reader: Reader::new(),
            cells: Zeroizing::new(vec![0; FIRST]),
            ends: vec![0; 64],
            written: 0,
            ended: 0,
        }
    }

    /// Takes a piece of the file and hands each whole line to `line`. An empty piece is the end.
    pub(crate) fn push(
        &mut self,
        mut piece: &[u8],
        mut line: impl FnMut(&Line) -> Result<()>,
    ) -> Result<()> {
        let last = piece.is_empty();
        loop {
            let (result, taken, written, ended) = self.reader.read_record(
                piece,
                &mut self.cells[self.written..],
                &mut self.ends[self.ended..],
            );
            piece = &piece[taken..];
            self.written += written;
            self.ended += ended;
            match result {
                ReadRecordResult::InputEmpty if last => {}
                ReadRecordResult::InputEmpty => return Ok(()),
                ReadRecordResult::OutputFull => self.grow()?,
                ReadRecordResult::OutputEndsFull => {
                    let length = self.ends.len() * 2;
                    if length > MOST_CELLS {
                        return Err(protocol(self.call, "a line has too many cells"));
                    }
                    self.ends.resize(length, 0);
                }
                ReadRecordResult::Record => {
                    let whole = Line {
                        text: Zeroizing::new(self.cells[..self.written].to_vec()),
                        ends: self.ends[..self.ended].to_vec(),
                    };
                    (self.written, self.ended) = (0, 0);
                    if whole.ends.len() > 1 || whole.ends.first().is_some_and(|end| *end > 0) {
                        line(&whole)?;
                    }
                }
                ReadRecordResult::End => return Ok(()),
            }
        }
    }

    fn grow(&mut self) -> Result<()> {
        let length = self.cells.len() * 2;
        if length > LONGEST {
            return Err(protocol(self.call, "a line is too long"));
        }
        let mut wider = Zeroizing::new(vec![0; length]);
        wider[..self.written].copy_from_slice(&self.cells[..self.written]);
        self.cells = wider;
        Ok(())
    }
}

impl Line {
    /// How many cells it has.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// A cell; empty where there is none, or where it is no text.
    pub(crate) fn cell(&self, position: usize) -> &str {
        let Some(end) = self.ends.get(position).copied() else {
            return "";
        };
        let start = position
            .checked_sub(1)
            .map_or(0, |before| self.ends[before]);
        core::str::from_utf8(&self.text[start..end]).unwrap_or_default()
    }

    /// Whether every cell is text.
    pub(crate) fn is_text(&self) -> bool {
        core::str::from_utf8(&self.text).is_ok()
    }

    /// The cells in order.
    pub(crate) fn cells(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|position| self.cell(position))
    }
}

const FIRST: usize = 4 << 10;
/// A field of the CRM holds at most 32 000 characters; a line of several still fits.
const LONGEST: usize = 4 << 20;
const MOST_CELLS: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use kta_core::Port;

    fn read(text: &[u8], piece: usize) -> Result<Vec<Vec<String>>> {
        let mut lines = Lines::new(Call::new(Port::Crm, "load"));
        let mut whole = Vec::new();
        let mut take = |line: &Line| {
            whole.push(line.cells().map(str::to_owned).collect());
            Ok(())
        };
        for piece in text.chunks(piece) {
            lines.push(piece, &mut take)?;
        }
        lines.push(&[], &mut take)?;
        Ok(whole)
    }

    #[test]
    fn quoted_cells_keep_their_commas_quotes_and_line_ends_however_the_file_is_cut() {
        let text = "a,\"b, \"\"c\"\"\r\nd\",e\r\n\r\nדוגמה,,\n".as_bytes();
        for piece in 1..text.len() {
            let lines = read(text, piece).unwrap();
            assert_eq!(
                lines,
                [vec!["a", "b, \"c\"\r\nd", "e"], vec!["דוגמה", "", ""]],
                "{piece}"
            );
        }
        assert!(read(b"", 1).unwrap().is_empty());
    }

    #[test]
    fn a_line_without_end_is_refused_and_not_kept() {
        let endless = vec![b'x'; LONGEST + 1];
        assert!(read(&endless, 1 << 16).is_err());
        let cells = vec![b','; MOST_CELLS + 1];
        assert!(read(&cells, 1 << 16).is_err());
    }
}
