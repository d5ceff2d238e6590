//! Pages of the log: many entries in one row, each told by what it says otherwise than one before
//! it does. An entry is half a kilobyte of canonical JSON; beside its like it takes a tenth.
//!
//! | what | bytes |
//! |---|---|
//! | form | 1: `1`. An entry that has a row of its own begins with `{` and stands there as it is |
//! | number of entries | 1 |
//! | each entry: which one it is told from | 1: `0` is [`PRIMER`], otherwise how many before it |
//! | its steps, up to the one that ends it | variable |
//!
//! What says its number, which is its place, is left out of an entry; the rest is cut into pieces,
//! each up to a comma and with it. A step begins with a byte: its low five bits are how many pieces
//! are taken over from the other, its high three what comes then.
//!
//! | high bits | what comes then | bytes |
//! |---|---|---|
//! | 0 | nothing; there are more pieces to take over than a step can say | |
//! | 1 | the end | |
//! | 2 | the other's next piece, with another identifier for its last | 16 |
//! | 3 | the other's next piece, with another digest for its last | 32 |
//! | 4 | the other's next piece, with another middle: how many bytes before and after it stay, and it | variable |
//! | 5 | a piece that the other does not have | variable |
//! | 6 | the other's next piece is left out | |
//!
//! An identifier is thirty-two lower-case hexadecimal digits, a digest sixty-four, before the last
//! quotation mark. Byte strings stand behind their length; lengths are LEB128.

use std::borrow::Cow;
use std::io::Write as _;

use kta_core::audit::tiles::LONGEST_ENTRY;

use crate::row::{read_bytes, read_number, write_bytes, write_number};

/// A row of the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The number of its first entry.
    pub(crate) first: u64,
    /// How many entries it has.
    pub(crate) many: usize,
    /// Whether another entry would have no room.
    pub(crate) full: bool,
    pub(crate) bytes: Vec<u8>,
}

/// Cuts entries, whose numbers follow each other, into pages of so many bytes at most. `None` when
/// the pages do not say what the entries do, which is then this module's fault: nobody may throw
/// the entries away.
pub(crate) fn pack(first: u64, entries: &[Vec<u8>], most: usize) -> Option<Vec<Page>> {
    let mut pages: Vec<Page> = Vec::new();
    let (mut before, mut place) = (Vec::<Pieces<'_>>::new(), Vec::new());
    for (seq, entry) in (first..).zip(entries) {
        place.clear();
        write_place(&mut place, seq);
        let own = entry.strip_prefix(place.as_slice()).map(Pieces::of);
        let own = own.filter(|_| entry.len() <= LONGEST_ENTRY);
        let in_last = |own: &Pieces<'_>| {
            let page = pages.last_mut().filter(|page| !page.full);
            page.is_some_and(|page| page.add(own, &before[before.len() - page.many..], most))
        };
        if !own.as_ref().is_some_and(in_last) {
            if let Some(last) = pages.last_mut() {
                last.full = true;
            }
            let page = own.as_ref().and_then(|own| Page::of(seq, own, most));
            pages.push(page.unwrap_or_else(|| Page::alone(seq, entry)));
        }
        before.extend(own);
    }
    let mut rest = entries;
    for page in &pages {
        let (own, after) = rest.split_at_checked(page.many)?;
        unpack(page.first, &page.bytes).filter(|told| told == own)?;
        rest = after;
    }
    rest.is_empty().then_some(pages)
}

/// The entries of a row that begins with this one; `None` for anything that [`pack`] does not write.
pub(crate) fn unpack(first: u64, row: &[u8]) -> Option<Vec<Vec<u8>>> {
    if row.first() == Some(&ALONE) {
        return Some(vec![row.to_vec()]);
    }
    let mut rest = row.strip_prefix(&[FORM])?;
    let (&many, after) = rest.split_first()?;
    rest = after;
    let primer = Pieces::of(PRIMER);
    let mut told: Vec<Pieces<'static>> = Vec::with_capacity(many.into());
    for seq in first..first.checked_add(many.into())? {
        let (&back, after) = rest.split_first()?;
        rest = after;
        let from = match usize::from(back) {
            0 => &primer,
            back => told.get(told.len().checked_sub(back)?)?,
        };
        told.push(from.retold(seq, &mut rest)?);
    }
    let whole = |own: Pieces<'_>| own.bytes.into_owned();
    (rest.is_empty() && many > 0).then(|| told.into_iter().map(whole).collect())
}

/// How many entries a row has, by what it begins with.
pub(crate) fn count(row: &[u8]) -> Option<u64> {
    match *row {
        [ALONE, ..] => Some(1),
        [FORM, many, ..] if many > 0 => Some(many.into()),
        _ => None,
    }
}

/// Writes what an entry begins with: what says its number.
fn write_place(out: &mut Vec<u8>, seq: u64) {
    // Proof: writing to a vector cannot fail.
    let _ = write!(out, "{{\"seq\":{seq},");
}

impl Page {
    /// One that begins with this entry; `None` when it has no room even for that.
    fn of(first: u64, own: &Pieces<'_>, most: usize) -> Option<Self> {
        let mut bytes = Vec::with_capacity(most);
        bytes.extend([FORM, 0]);
        let mut page = Self {
            first,
            many: 0,
            full: false,
            bytes,
        };
        page.add(own, &[], most).then_some(page)
    }

    fn alone(first: u64, entry: &[u8]) -> Self {
        Self {
            first,
            many: 1,
            full: true,
            bytes: entry.to_vec(),
        }
    }

    /// Adds an entry, told from the one of those before it that makes it shortest; `false` when
    /// there is no room.
    fn add(&mut self, own: &Pieces<'_>, before: &[Pieces<'_>], most: usize) -> bool {
        let mut best: Option<Vec<u8>> = None;
        for (back, other) in (1..=NEAR).zip(before.iter().rev()) {
            let told = own.told_from(other, back);
            if best.as_ref().is_none_or(|best| told.len() < best.len()) {
                best = Some(told);
            }
            if best.as_ref().is_some_and(|best| best.len() <= SHORT) {
                break;
            }
        }
        let told = best.unwrap_or_else(|| own.told_from(&Pieces::of(PRIMER), 0));
        if self.bytes.len() + told.len() > most {
            return false;
        }
        self.bytes.extend(told);
        self.many += 1;
        self.bytes[1] += 1;
        self.full = self.many == MANY;
        true
    }
}

/// An entry, cut into pieces behind its number.
struct Pieces<'e> {
    bytes: Cow<'e, [u8]>,
    /// Where the first one begins.
    begin: usize,
    /// Where each piece ends.
    ends: Vec<usize>,
}

impl<'e> Pieces<'e> {
    fn of(bytes: &'e [u8]) -> Self {
        let mut ends = Vec::with_capacity(24);
        ends.extend(memchr::memchr_iter(b',', bytes).map(|comma| comma + 1));
        if ends.last().copied().unwrap_or(0) < bytes.len() {
            ends.push(bytes.len());
        }
        Self {
            bytes: bytes.into(),
            begin: 0,
            ends,
        }
    }

    /// Where a piece begins; where the entry ends for the one after its last.
    fn start(&self, at: usize) -> usize {
        at.checked_sub(1)
            .map_or(self.begin, |before| self.ends[before])
    }

    fn get(&self, at: usize) -> Option<&[u8]> {
        let end = *self.ends.get(at)?;
        Some(&self.bytes[self.start(at)..end])
    }

    /// The steps from another entry to this one, behind the byte that says which that is.
    fn told_from(&self, other: &Pieces<'_>, back: u8) -> Vec<u8> {
        let mut steps = Steps {
            out: vec![back],
            kept: 0,
        };
        let mut at = 0;
        for piece in (0..).map_while(|own| self.get(own)) {
            // Most are, so before anything is looked for.
            if other.get(at) == Some(piece) {
                steps.keep();
                at += 1;
                continue;
            }
            let found = (at..other.ends.len()).find(|there| {
                let there = other.get(*there).unwrap_or_default();
                name(there) == name(piece)
            });
            let Some(there) = found else {
                steps.push(NEW);
                write_bytes(&mut steps.out, piece);
                continue;
            };
            (at..there).for_each(|_| steps.push(WITHOUT));
            at = there + 1;
            let other = other.get(there).unwrap_or_default();
            if other == piece {
                steps.keep();
            } else {
                steps.change(other, piece);
            }
        }
        steps.push(END);
        steps.out
    }

    /// The entry of this number to which the steps lead from this one.
    fn retold(&self, seq: u64, rest: &mut &[u8]) -> Option<Pieces<'static>> {
        let mut bytes = Vec::with_capacity(self.bytes.len() + 32);
        write_place(&mut bytes, seq);
        let begin = bytes.len();
        let mut ends = Vec::with_capacity(self.ends.len() + 2);
        let mut at = 0;
        loop {
            let (&step, after) = rest.split_first()?;
            *rest = after;
            let kept = at + usize::from(step & MOST_KEPT);
            let over = self.ends.get(at..kept)?;
            let (from, to) = (self.start(at), bytes.len());
            ends.extend(over.iter().map(|end| end - from + to));
            bytes.extend_from_slice(self.bytes.get(from..self.start(kept))?);
            at = kept;
            match step & !MOST_KEPT {
                ON => continue,
                END => break,
                WITHOUT => {
                    self.get(at)?;
                    at += 1;
                    continue;
                }
                NEW => bytes.extend_from_slice(read_bytes(rest)?),
                kind @ (ID | DIGEST) => {
                    let (before, after) = around(self.get(at)?, digits(kind))?;
                    let (own, left) = rest.split_at_checked(digits(kind) / 2)?;
                    *rest = left;
                    bytes.extend_from_slice(before);
                    let mut text = [0; 64];
                    for (pair, byte) in text.chunks_exact_mut(2).zip(own) {
                        pair.copy_from_slice(&hexadecimal(*byte));
                    }
                    bytes.extend_from_slice(&text[..digits(kind)]);
                    bytes.extend_from_slice(after);
                    at += 1;
                }
                PART => {
                    let piece = self.get(at)?;
                    let before = usize::try_from(read_number(rest)?).ok()?;
                    let after = usize::try_from(read_number(rest)?).ok()?;
                    let middle = read_bytes(rest)?;
                    bytes.extend_from_slice(piece.get(..before)?);
                    bytes.extend_from_slice(middle);
                    bytes.extend_from_slice(piece.get(piece.len().checked_sub(after)?..)?);
                    at += 1;
                }
                _ => return None,
            }
            ends.push(bytes.len());
            if bytes.len() > LONGEST_ENTRY {
                return None;
            }
        }
        (bytes.len() <= LONGEST_ENTRY).then(|| Pieces {
            bytes: bytes.into(),
            begin,
            ends,
        })
    }
}

/// Steps as they are written.
struct Steps {
    out: Vec<u8>,
    /// Pieces taken over that no step says yet.
    kept: u8,
}

impl Steps {
    fn keep(&mut self) {
        if self.kept == MOST_KEPT {
            self.push(ON);
        }
        self.kept += 1;
    }

    fn push(&mut self, kind: u8) {
        self.out.push(kind | self.kept);
        self.kept = 0;
    }

    fn change(&mut self, other: &[u8], piece: &[u8]) {
        for kind in [ID, DIGEST] {
            let own = around(piece, digits(kind));
            if let Some((before, after)) =
                own.filter(|own| Some(*own) == around(other, digits(kind)))
            {
                let value = &piece[before.len()..piece.len() - after.len()];
                self.push(kind);
                let (pairs, _) = value.as_chunks();
                let byte = |[high, low]: &[u8; 2]| digit(*high) << 4 | digit(*low);
                return self.out.extend(pairs.iter().map(byte));
            }
        }
        let shorter = other.len().min(piece.len());
        let alike = |(one, two): &(&u8, &u8)| one == two;
        let before = other.iter().zip(piece).take_while(alike).count();
        let after = other.iter().rev().zip(piece.iter().rev());
        let after = after.take(shorter - before).take_while(alike).count();
        self.push(PART);
        write_number(&mut self.out, before as u64);
        write_number(&mut self.out, after as u64);
        write_bytes(&mut self.out, &piece[before..piece.len() - after]);
    }
}

/// A piece's name: what stands before its first colon; all of it, if there is none.
fn name(piece: &[u8]) -> &[u8] {
    let colon = piece.iter().position(|byte| *byte == b':');
    &piece[..colon.unwrap_or(piece.len())]
}

/// What stands before and after the last so many digits of a piece.
fn around(piece: &[u8], digits: usize) -> Option<(&[u8], &[u8])> {
    let end = piece.iter().rposition(|byte| *byte == b'"')?;
    let (before, value) = piece[..end].split_at_checked(end.checked_sub(digits)?)?;
    let longer = before.last().is_some_and(|byte| is_digit(*byte));
    let all = value.iter().all(|byte| is_digit(*byte));
    (all && !longer).then_some((before, &piece[end..]))
}

const fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// What a hexadecimal digit counts.
const fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => byte.wrapping_sub(b'a' - 10) & 0xF,
    }
}

fn hexadecimal(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [byte >> 4, byte & 0xF].map(|digit| DIGITS[usize::from(digit)])
}

const fn digits(kind: u8) -> usize {
    if kind == ID { 32 } else { 64 }
}

/// What an entry that stands alone begins with, as canonical JSON does.
const ALONE: u8 = b'{';

const FORM: u8 = 1;

const ON: u8 = 0 << 5;
const END: u8 = 1 << 5;
const ID: u8 = 2 << 5;
const DIGEST: u8 = 3 << 5;
const PART: u8 = 4 << 5;
const NEW: u8 = 5 << 5;
const WITHOUT: u8 = 6 << 5;

/// How many pieces a step takes over at most; the bits that say it.
const MOST_KEPT: u8 = 0x1F;

/// How many entries a page has at most, so that one of them is found soon.
const MANY: usize = 128;

/// How far back an entry is looked for that another is told from.
const NEAR: u8 = 4;

/// Bytes with which an entry is told well enough to look no further.
const SHORT: usize = 80;

/// What the first entry of a page is told from: part of the form, and never changed.
const PRIMER: &[u8] = br#""at":"2026-01-01T00:00:00.000Z","tenant":"ten_00000000000000000000000000000000","actor":"act_00000000000000000000000000000000","role":"attorney","component":"house","act":"open","outcome":"done","subject":"sub_00000000000000000000000000000000","matter":"mat_00000000000000000000000000000000","purpose":"representation","basis":"contract","permit":"pmt_00000000000000000000000000000000","policy":"0000000000000000000000000000000000000000000000000000000000000000","reasons":["acl.role"],"facts":{"categories":"IDENTITY","set":"0000000000000000000000000000000000000000000000000000000000000000","subjects":1}}"#;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use kta_core::audit::{Event, Label, Outcome};
    use kta_core::id::{ActorId, Digest, MatterId, PermitId, RecordId, SubjectId, TenantId};
    use kta_core::policy::{Act, Purpose, Role};
    use kta_core::time::Timestamp;
    use proptest::prelude::*;

    use super::*;

    const PAGE: usize = 4056;

    /// An entry of one of three kinds, about one of a few people, in some second.
    fn entry(seq: u64, kind: u8, person: u8, second: i64) -> Vec<u8> {
        let tenant = TenantId::derived(&[b"a firm"]);
        let actor = ActorId::derived(&[&[person % 2]]);
        let label = Label::fixed;
        let mut event = Event::new(tenant, actor, label("house"), Act::Store, Outcome::Done);
        event.role = Some(Role::Attorney);
        if kind > 0 {
            event = event.of_subject(SubjectId::derived(&[&[person]]));
            event.permit = Some(PermitId::derived(&[&[person / 3]]));
            event = event.with("record", RecordId::derived(&[&[person]]));
        }
        if kind > 1 {
            event = event.in_matter(MatterId::derived(&[&[person / 3]]));
            event.purpose = Some(Purpose::Filing);
            event.reasons = (0..kind).map(|_| label("acl.role")).collect();
            event = event.with("set", Digest::of(&[person]));
            event = event.with("subjects", u64::from(person));
        }
        let at = Timestamp::from_timestamp_millis(second * 1000 + i64::from(person)).unwrap();
        event.into_entry(seq, at).canonical()
    }

    fn entries(first: u64, kinds: &[(u8, u8, i64)]) -> Vec<Vec<u8>> {
        (first..)
            .zip(kinds)
            .map(|(seq, (kind, person, second))| entry(seq, *kind, *person, *second))
            .collect()
    }

    fn read(pages: &[Page]) -> Option<Vec<Vec<u8>>> {
        let read = pages.iter().map(|page| unpack(page.first, &page.bytes));
        Some(read.collect::<Option<Vec<_>>>()?.concat())
    }

    #[test]
    fn a_page_is_what_its_account_says() {
        let text = |rest: &str| format!("{{\"seq\":{rest}").into_bytes();
        let one = text("9,\"id\":\"x_0123456789abcdef0123456789abcdef\",\"at\":\"10:00\"}");
        let two = text("10,\"id\":\"x_ffffffffffffffffffffffffffffff00\",\"at\":\"10:30\"}");
        let three = text("11,\"new\":1,\"at\":\"10:30\"}");
        let pages = pack(9, &[one.clone(), two, three], PAGE).unwrap();
        let [page] = &pages[..] else {
            panic!("{} pages", pages.len());
        };
        let mut expected = vec![1, 3];
        // From the primer: a piece of its own; then what says the time, which begins as there.
        let (id, at) = (&one[9..51], &one[51..]);
        expected.extend([0, NEW, 42]);
        expected.extend(id);
        expected.extend([PART, 6, 0, at.len() as u8 - 6]);
        expected.extend(&at[6..]);
        expected.extend([END]);
        expected.extend([1, ID]);
        expected.extend([0xFF; 15]);
        expected.extend([0, PART, 9, 3, 1, b'3', END]);
        expected.extend([1, NEW, 8]);
        expected.extend(b"\"new\":1,");
        expected.extend([WITHOUT, END | 1]);
        assert_eq!(page.bytes, expected);
        assert_eq!((page.first, page.many, page.full), (9, 3, false));
        assert_eq!(count(&page.bytes), Some(3));
    }

    #[test]
    fn what_stays_in_its_place_takes_little() {
        let alike: Vec<_> = (0..60).map(|number| (2, number, 0)).collect();
        let all = entries(1000, &alike);
        let pages = pack(1000, &all, PAGE).unwrap();
        let (before, after) = (all.concat().len(), read(&pages).unwrap());
        assert_eq!(after, all);
        let length: usize = pages.iter().map(|page| page.bytes.len()).sum();
        assert!(length * 4 < before, "{length} of {before}");
    }

    #[test]
    fn what_finds_no_room_in_a_page_stands_alone() {
        let long = |seq: u64, length| format!("{{\"seq\":{seq},\"x\":\"{}\"}}", "é".repeat(length));
        let lengths = [10, 3_000, 5, 2_600, 2_600, 1, 40_000];
        let all = (7..)
            .zip(lengths)
            .map(|(seq, length)| long(seq, length).into_bytes());
        let all: Vec<_> = all.collect();
        let pages = pack(7, &all, PAGE).unwrap();
        assert_eq!(read(&pages).unwrap(), all);
        let firsts: Vec<_> = pages.iter().map(|page| (page.first, page.many)).collect();
        assert_eq!(
            firsts,
            [(7, 1), (8, 1), (9, 1), (10, 1), (11, 1), (12, 1), (13, 1)]
        );
        let alone = pages
            .iter()
            .filter(|page| page.bytes.first() == Some(&ALONE));
        assert_eq!(
            alone.map(|page| page.first).collect::<Vec<_>>(),
            [8, 10, 11, 13]
        );
        // Nor is there a page for what has another's number.
        let strayed = entries(5, &[(1, 1, 1)]);
        assert_eq!(pack(6, &strayed, PAGE).unwrap()[0].bytes, strayed[0]);
    }

    #[test]
    fn no_page_makes_an_entry_longer_than_any() {
        let row = |many: u8, step: &[u8]| {
            let mut row = vec![FORM, many];
            (0..many).for_each(|_| row.extend([&[0][..], step, &[END]].concat()));
            row
        };
        let long = |length: usize| {
            let mut step = vec![NEW];
            write_bytes(&mut step, &vec![b'x'; length]);
            step
        };
        let most = LONGEST_ENTRY - "{\"seq\":0,".len();
        assert!(unpack(0, &row(1, &long(most))).is_some());
        assert_eq!(unpack(0, &row(1, &long(most + 1))), None);
        let twice = [long(LONGEST_ENTRY / 2 + 1), long(LONGEST_ENTRY / 2 + 1)].concat();
        assert_eq!(unpack(0, &row(1, &twice)), None);
        // Taken over from one that is as long as can be.
        let mut grown = row(1, &long(most));
        grown[1] = 2;
        grown.extend([1, NEW, 1, b'y', END | 1]);
        assert_eq!(unpack(0, &grown), None);
        assert_eq!(unpack(0, &[FORM, 0]), None);
        assert_eq!(count(&[FORM, 0]), None);
        assert_eq!(count(&[]), None);
    }

    proptest! {
        #[test]
        fn entries_come_back_as_they_were(
            first in 0_u64..1 << 40,
            kinds in prop::collection::vec((0_u8..4, 0_u8..30, 0_i64..3), 1..400),
        ) {
            let all = entries(first, &kinds);
            let pages = pack(first, &all, PAGE).unwrap();
            prop_assert_eq!(read(&pages), Some(all));
            let mut next = first;
            for (at, page) in pages.iter().enumerate() {
                prop_assert_eq!(page.first, next);
                prop_assert_eq!(count(&page.bytes), Some(page.many as u64));
                prop_assert!(page.bytes.len() <= PAGE && page.many <= MANY);
                prop_assert!(page.full || at + 1 == pages.len());
                next += page.many as u64;
            }
        }

        #[test]
        fn so_does_whatever_else_begins_as_an_entry_does(
            first in 0_u64..1000,
            texts in prop::collection::vec("[a-c0-2\",:{}_é]{0,90}", 1..60),
        ) {
            let all: Vec<_> = (first..).zip(&texts)
                .map(|(seq, text)| format!("{{\"seq\":{seq},{text}").into_bytes())
                .collect();
            prop_assert_eq!(read(&pack(first, &all, PAGE).unwrap()), Some(all));
        }

        #[test]
        fn no_cut_page_is_read_and_no_turned_one_is_too_much(
            kinds in prop::collection::vec((0_u8..4, 0_u8..30, 0_i64..3), 2..40),
            at in 0_usize..4096,
            bit in 0_u8..8,
        ) {
            let page = pack(50, &entries(50, &kinds), PAGE).unwrap().remove(0);
            let at = at % page.bytes.len();
            prop_assert_eq!(unpack(50, &page.bytes[..at]), None);
            let mut turned = page.bytes;
            turned[at] ^= 1 << bit;
            // It may say something else; that is for whoever knows the log's root to find.
            let read = unpack(50, &turned).unwrap_or_default();
            prop_assert!(read.iter().all(|entry| entry.len() <= LONGEST_ENTRY));
        }
    }
}
