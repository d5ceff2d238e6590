//! One reading of a text however it was typed, with a way back to the original bytes.
//!
//! ```text
//!  original   ４ ５ ‑ 6 [U+200B] 7        full-width digits, non-breaking hyphen, zero-width space
//!  folded     4 5 - 6 7
//!  runs       (0→0, 3 bytes each) (3→9, 1 byte each) (4→13, 1 byte each)
//! ```
//!
//! What an address on the web writes as percent signs and hexadecimal digits (RFC 3986 section
//! 2.1) is read as what it stands for, three bytes for each byte.

/// A text in plain form: ASCII digits, hyphens, blanks and quotes, nothing invisible.
#[derive(Default)]
pub(crate) struct Folded {
    text: String,
    runs: Vec<Run>,
}

/// From `folded` on, one folded byte stands for `width` original bytes beginning at `original`.
#[derive(Clone, Copy)]
struct Run {
    folded: usize,
    original: usize,
    width: usize,
}

enum Form {
    Gone,
    Same,
    Turned(u8),
}

impl Folded {
    /// Reads `original` anew, keeping the memory of the last reading.
    pub(crate) fn read(&mut self, original: &str) {
        self.text.clear();
        self.runs.clear();
        self.runs.push(Run {
            folded: 0,
            original: 0,
            width: 1,
        });
        let bytes = original.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let plain = plain_length(&bytes[at..]);
            if plain > 0 {
                self.keep(at, &original[at..at + plain]);
                at += plain;
                continue;
            }
            if let Some(character) = escaped(&bytes[at..]) {
                self.expect(at, 3);
                self.text.push(character);
                at += 3 * character.len_utf8();
                continue;
            }
            // `at` is a boundary: all steps are whole characters.
            let Some(character) = original[at..].chars().next() else {
                break;
            };
            let length = character.len_utf8();
            match form(character) {
                Form::Gone => {}
                Form::Same => self.keep(at, &original[at..at + length]),
                Form::Turned(byte) => {
                    self.expect(at, length);
                    self.text.push(char::from(byte));
                }
            }
            at += length;
        }
    }

    pub(crate) fn wipe(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.text);
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The original range of a folded one that is not empty.
    pub(crate) fn original(&self, start: usize, end: usize) -> (usize, usize) {
        (
            self.back(start),
            self.back(end.saturating_sub(1)) + self.run(end.saturating_sub(1)).width,
        )
    }

    /// The first folded byte that comes from `original` or later.
    pub(crate) fn folded(&self, original: usize) -> usize {
        let after = self.runs.partition_point(|run| run.original <= original);
        let run = self.runs[after.saturating_sub(1)];
        let place = run.folded + original.saturating_sub(run.original).div_ceil(run.width);
        let limit = self
            .runs
            .get(after)
            .map_or(self.text.len(), |next| next.folded);
        place.min(limit)
    }

    fn keep(&mut self, at: usize, piece: &str) {
        self.expect(at, 1);
        self.text.push_str(piece);
    }

    /// Opens a new run unless the last one already leads to `original` with this width.
    fn expect(&mut self, original: usize, width: usize) {
        let last = self.runs[self.runs.len() - 1];
        let here = self.text.len();
        if last.width != width || last.original + (here - last.folded) * width != original {
            if last.folded == here {
                self.runs.pop();
            }
            self.runs.push(Run {
                folded: here,
                original,
                width,
            });
        }
    }

    fn run(&self, folded: usize) -> Run {
        let after = self.runs.partition_point(|run| run.folded <= folded);
        self.runs[after.saturating_sub(1)]
    }

    fn back(&self, folded: usize) -> usize {
        let run = self.run(folded);
        run.original + (folded - run.folded) * run.width
    }
}

/// The character that stands here as percent signs and hexadecimal digits; none for a control
/// character, which would make lines where there are none.
fn escaped(bytes: &[u8]) -> Option<char> {
    let mut utf8 = [0; 4];
    for length in 0..utf8.len() {
        let [b'%', high, low] = bytes.get(3 * length..)?.first_chunk::<3>()? else {
            return None;
        };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        utf8[length] = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
        if let Ok(text) = core::str::from_utf8(&utf8[..=length]) {
            return text.chars().next().filter(|read| !read.is_control());
        }
    }
    None
}

/// How many bytes from here are ASCII or Hebrew letters, which stay as they are.
fn plain_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    while length < bytes.len() {
        if bytes[length] == b'%' && escaped(&bytes[length..]).is_some() {
            break;
        } else if bytes[length] < 0x80 {
            length += 1;
        } else if bytes[length] == 0xD7
            && bytes
                .get(length + 1)
                .is_some_and(|byte| (0x90..=0xAA).contains(byte))
        {
            length += 2;
        } else {
            break;
        }
    }
    length
}

fn form(character: char) -> Form {
    let code = u32::from(character);
    let digit =
        |zero: u32| Form::Turned(u8::try_from(code - zero).map_or(b'0', |value| value + b'0'));
    match code {
        0x00AD
        | 0x034F
        | 0x061C
        | 0x180E
        | 0x200B..=0x200F
        | 0x202A..=0x202E
        | 0x2060..=0x2064
        | 0x2066..=0x206F
        | 0xFE00..=0xFE0F
        | 0xFEFF => Form::Gone,
        // Hebrew points and accents.
        0x0591..=0x05BD | 0x05BF | 0x05C1 | 0x05C2 | 0x05C4 | 0x05C5 | 0x05C7 => Form::Gone,
        0x00A0 | 0x1680 | 0x2000..=0x200A | 0x202F | 0x205F | 0x3000 => Form::Turned(b' '),
        0x2028 | 0x2029 | 0x0085 => Form::Turned(b'\n'),
        0x05BE | 0x2010..=0x2015 | 0x2043 | 0x2212 | 0xFE58 | 0xFE63 => Form::Turned(b'-'),
        0x2018..=0x201B | 0x02BC | 0x05F3 | 0x00B4 | 0x2032 => Form::Turned(b'\''),
        0x201C..=0x201F | 0x05F4 | 0x2033 => Form::Turned(b'"'),
        0x2024 | 0x3002 => Form::Turned(b'.'),
        0x2044 | 0x2215 => Form::Turned(b'/'),
        0x0660..=0x0669 => digit(0x0660),
        0x06F0..=0x06F9 => digit(0x06F0),
        0x07C0..=0x07C9 => digit(0x07C0),
        0x0966..=0x096F => digit(0x0966),
        0x09E6..=0x09EF => digit(0x09E6),
        0x0BE6..=0x0BEF => digit(0x0BE6),
        0x0E50..=0x0E59 => digit(0x0E50),
        0xFF01..=0xFF5E => Form::Turned(u8::try_from(code - 0xFEE0).unwrap_or(b' ')),
        0x1D7CE..=0x1D7FF => Form::Turned(b'0' + u8::try_from((code - 0x1D7CE) % 10).unwrap_or(0)),
        _ => Form::Same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folded_byte_leads_back_to_its_own_character() {
        let mut folded = Folded::default();
        let original = "a\u{200B}４５‑6\u{200B}7 é\u{A0}שָׁלוֹם٣";
        folded.read(original);
        assert_eq!(folded.text(), "a45-67 é שלום3");
        let place = folded.text().find("45-67").unwrap();
        let (start, end) = folded.original(place, place + 5);
        assert_eq!(&original[start..end], "４５‑6\u{200B}7");
        let (start, end) = folded.original(folded.text().len() - 1, folded.text().len());
        assert_eq!(&original[start..end], "٣");
    }

    #[test]
    fn what_an_address_escapes_is_read_and_leads_back() {
        let mut folded = Folded::default();
        let original = "q=noa%40x.example&n=%D7%A0%D7%95%D7%A2%D7%94%20%E2%82%AC&p=%2b1";
        folded.read(original);
        assert_eq!(folded.text(), "q=noa@x.example&n=נועה €&p=+1");
        let place = folded.text().find("noa@x.example").unwrap();
        let (start, end) = folded.original(place, place + 13);
        assert_eq!(&original[start..end], "noa%40x.example");
        let place = folded.text().find("נועה").unwrap();
        let (start, end) = folded.original(place, place + "נועה".len());
        assert_eq!(&original[start..end], "%D7%A0%D7%95%D7%A2%D7%94");
        for as_it_is in [
            "100%", "5 % of", "%", "%4", "%zz", "%0A", "%00", "%0A%D7", "%FF%FE",
        ] {
            folded.read(as_it_is);
            assert_eq!(folded.text(), as_it_is);
        }
        folded.read("%D7%41");
        assert_eq!(folded.text(), "%D7A");
    }

    #[test]
    fn the_way_forth_undoes_the_way_back() {
        let mut folded = Folded::default();
        folded.read("\u{FEFF}x４５\u{200B}y");
        for place in 0..folded.text().len() {
            assert_eq!(folded.folded(folded.original(place, place + 1).0), place);
        }
    }
}
