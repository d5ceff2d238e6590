//! Postings: that an entry names a person; and how a page of a sorted run holds them.
//!
//! | what | bytes |
//! |---|---|
//! | each posting: twice the number of the entry, and one more if the person is the one before | variable |
//! | unless it is: the person | 16 |
//! | the time of the entry, in milliseconds | variable |
//!
//! Numbers and times are told as what they are more than those of the posting before, if that is
//! of the same person, and than the first ones of the whole run otherwise: later entries are never
//! of an earlier time. All are LEB128.
//!
//! What is in no run yet stands in plain form, thirty-two bytes a posting: the person, the number,
//! the time, both big-endian.

use crate::row::{read_number, write_number};

/// That an entry names a person. In the order of the trail: by person, then by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Posting {
    pub(crate) subject: [u8; 16],
    pub(crate) seq: u64,
    /// Milliseconds since 1970.
    pub(crate) at: i64,
}

impl Posting {
    /// The plain form.
    pub(crate) fn plain(&self) -> [u8; 32] {
        let mut plain = [0; 32];
        plain[..16].copy_from_slice(&self.subject);
        plain[16..24].copy_from_slice(&self.seq.to_be_bytes());
        plain[24..].copy_from_slice(&self.at.to_be_bytes());
        plain
    }

    /// What is written in plain form.
    pub(crate) fn of_plain(plain: &[u8; 32]) -> Self {
        fn part<const N: usize>(plain: &[u8; 32], from: usize) -> [u8; N] {
            core::array::from_fn(|at| plain[from + at])
        }
        Self {
            subject: part(plain, 0),
            seq: u64::from_be_bytes(part(plain, 16)),
            at: i64::from_be_bytes(part(plain, 24)),
        }
    }
}

/// The first number and the first time among the postings of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) seq: u64,
    pub(crate) at: i64,
}

impl Base {
    /// That of these postings; `None` when there are none.
    pub(crate) fn of(postings: &[Posting]) -> Option<Self> {
        Some(Self {
            seq: postings.iter().map(|posting| posting.seq).min()?,
            at: postings.iter().map(|posting| posting.at).min()?,
        })
    }
}

/// Cuts sorted postings into pages, each with its first posting. `None` for a number or a time that
/// is less than what it is told from.
pub(crate) fn write_pages(postings: &[Posting], base: Base) -> Option<Vec<(Posting, Vec<u8>)>> {
    let mut pages: Vec<(Posting, Vec<u8>)> = Vec::new();
    let mut before: Option<Posting> = None;
    for posting in postings {
        let room = |(_, page): &&mut (Posting, Vec<u8>)| page.len() <= PAGE - LONGEST;
        let page = if let Some((_, page)) = pages.last_mut().filter(room) {
            page
        } else {
            before = None;
            let page = Vec::with_capacity(PAGE);
            &mut pages.push_mut((*posting, page)).1
        };
        let same = before.filter(|before| before.subject == posting.subject);
        let from = same.map_or(base, |Posting { seq, at, .. }| Base { seq, at });
        let number = posting.seq.checked_sub(from.seq)?.checked_mul(2)?;
        write_number(page, number + u64::from(same.is_some()));
        if same.is_none() {
            page.extend_from_slice(&posting.subject);
        }
        write_number(page, u64::try_from(posting.at.checked_sub(from.at)?).ok()?);
        before = Some(*posting);
    }
    Some(pages)
}

/// Reads a page; `None` for one that is cut short, or whose postings are out of order.
pub(crate) fn read_page(mut rest: &[u8], base: Base) -> Option<Vec<Posting>> {
    let mut postings: Vec<Posting> = Vec::with_capacity(rest.len() / 20);
    while !rest.is_empty() {
        let number = read_number(&mut rest)?;
        let (subject, from) = if number % 2 == 1 {
            let Posting { subject, seq, at } = *postings.last()?;
            (subject, Base { seq, at })
        } else {
            let (subject, after) = rest.split_first_chunk()?;
            rest = after;
            (*subject, base)
        };
        let later = i64::try_from(read_number(&mut rest)?).ok()?;
        postings.push(Posting {
            subject,
            seq: from.seq.checked_add(number / 2)?,
            at: from.at.checked_add(later)?,
        });
    }
    postings.is_sorted().then_some(postings)
}

/// Bytes of a page at most: with the rest of its row it fills a page of SQLite's and no second.
const PAGE: usize = 4000;

/// Bytes of a posting at most.
const LONGEST: usize = 10 + 16 + 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn posting(subject: u8, seq: u64, at: i64) -> Posting {
        let subject = [subject; 16];
        Posting { subject, seq, at }
    }

    #[test]
    fn a_page_is_what_its_account_says() {
        let base = Base { seq: 100, at: -5 };
        let postings = [
            posting(1, 100, -5),
            posting(1, 103, 0),
            posting(2, 164, 295),
        ];
        let pages = write_pages(&postings, base).unwrap();
        let mut expected = vec![0];
        expected.extend([1; 16]);
        expected.extend([0, 7, 5, 0x80, 0x01]);
        expected.extend([2; 16]);
        expected.extend([0xAC, 0x02]);
        assert_eq!(pages, [(postings[0], expected)]);
    }

    #[test]
    fn what_no_run_holds_is_not_written() {
        let base = Base { seq: 10, at: 10 };
        assert_eq!(write_pages(&[posting(1, 9, 10)], base), None);
        assert_eq!(write_pages(&[posting(1, 10, 9)], base), None);
        let turned = [posting(1, 12, 12), posting(1, 11, 11)];
        assert_eq!(write_pages(&turned, base), None);
    }

    #[test]
    fn the_plain_form_is_what_its_account_says() {
        let named = posting(1, 0x0102, -2);
        let plain = named.plain();
        assert_eq!(plain[..16], [1; 16]);
        assert_eq!(plain[16..24], [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(plain[24..], [255, 255, 255, 255, 255, 255, 255, 254]);
        assert_eq!(Posting::of_plain(&plain), named);
    }

    proptest! {
        #[test]
        fn postings_come_back_page_by_page(
            entries in prop::collection::btree_map(0_u64..1 << 40, (0_u8..40, 0_u64..1 << 33), 1..900),
            first in -1_i64 << 40..1 << 40,
        ) {
            let mut at = first;
            let mut postings: Vec<Posting> = entries.iter().map(|(seq, (subject, later))| {
                at += i64::try_from(*later).unwrap();
                posting(*subject, *seq, at)
            }).collect();
            postings.sort_unstable();
            let base = Base::of(&postings).unwrap();
            let pages = write_pages(&postings, base).unwrap();
            let mut read = Vec::new();
            for (first, page) in &pages {
                prop_assert!(page.len() <= PAGE);
                let page = read_page(page, base).unwrap();
                prop_assert_eq!(page.first(), Some(first));
                read.extend(page);
            }
            prop_assert_eq!(read, postings);
            let fullest = pages.iter().rev().skip(1).all(|(_, page)| page.len() > PAGE - LONGEST);
            prop_assert!(fullest);
        }

        #[test]
        fn what_is_cut_or_turned_is_never_read_as_it_was(
            seqs in prop::collection::btree_set(0_u64..1 << 20, 2..60),
            at in 0_usize..4000,
            bit in 0_u8..8,
        ) {
            let named = |seq: &u64| posting((*seq % 3) as u8, *seq, 0);
            let mut postings: Vec<Posting> = seqs.iter().map(named).collect();
            postings.sort_unstable();
            let base = Base::of(&postings).unwrap();
            let (_, page) = write_pages(&postings, base).unwrap().remove(0);
            let at = at % page.len();
            let mut flipped = page.clone();
            flipped[at] ^= 1 << bit;
            prop_assert_ne!(read_page(&flipped, base), Some(postings.clone()));
            prop_assert_ne!(read_page(&page[..at], base), Some(postings));
        }
    }
}
