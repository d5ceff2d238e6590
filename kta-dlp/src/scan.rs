//! The scan itself, in stretches that the content alone decides.
//!
//! ```text
//!   ……│ lead │        core         │ trail │……
//!     └ seen, so that labels and long values are whole ┘   findings count where they begin: core
//! ```
//!
//! A core ends after the first line feed beyond [`CORE`] bytes, so the same content gives the
//! same stretches whatever the pieces in which it arrives. What a table header says is carried
//! from one stretch to the next.

use crate::detect::{self, Table};
use crate::entity::{Entity, Finding};
use crate::fold::Folded;
use crate::lexicon::Lexicon;
use crate::page::{Found, Page};
use std::io::Read;
use zeroize::Zeroize as _;

/// Looks for personal values. Cheap to make; memory is bounded and used again.
#[derive(Default)]
pub struct Scan {
    folded: Folded,
    page: Page,
    kept: Vec<Found>,
    sizes: Sizes,
}

impl Scan {
    /// A scan for every kind of [`Entity`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The findings in `text`, in order of place; none overlaps another.
    pub fn text(&mut self, text: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut progress = Progress::default();
        loop {
            let rest = &text[progress.window..];
            let limit = self.sizes.window();
            let more = rest.len() > limit;
            let Some(window) = progress.next(&rest[..boundary(rest, limit)], more, &self.sizes)
            else {
                break;
            };
            self.stretch(
                &text[window.start..window.end],
                &window,
                &mut progress,
                &mut findings,
            );
        }
        findings
    }

    /// The findings in what `reader` gives, the same as [`Scan::text`] of all of it.
    ///
    /// Bytes that are no UTF-8 count as one unknown character each, so offsets stay those of the
    /// input. Holds less than a hundred kilobytes of it at a time.
    ///
    /// # Errors
    /// Those of the reader; what was found before is lost.
    pub fn reader(&mut self, mut reader: impl Read) -> std::io::Result<Vec<Finding>> {
        let mut findings = Vec::new();
        self.reader_each(&mut reader, |finding| findings.push(finding))?;
        Ok(findings)
    }

    /// As [`Scan::reader`], handing over each finding as soon as it is sure.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn reader_each(
        &mut self,
        mut reader: impl Read,
        mut each: impl FnMut(Finding),
    ) -> std::io::Result<()> {
        let mut pushed = Pushed::default();
        let mut piece = vec![0; 64 * 1024];
        loop {
            let length = match reader.read(&mut piece) {
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if length == 0 {
                break;
            }
            self.push(&mut pushed, &piece[..length], &mut each);
        }
        self.finish(&mut pushed, &mut each);
        Ok(())
    }

    /// Takes in the next bytes of a stream.
    pub(crate) fn push(
        &mut self,
        pushed: &mut Pushed,
        bytes: &[u8],
        each: &mut impl FnMut(Finding),
    ) {
        pushed.utf8.extend_from_slice(bytes);
        pushed.decode(false);
        while pushed.text.len() > self.sizes.window() {
            self.step(pushed, true, each);
        }
    }

    /// Ends a stream.
    pub(crate) fn finish(&mut self, pushed: &mut Pushed, each: &mut impl FnMut(Finding)) {
        pushed.decode(true);
        while self.step(pushed, pushed.text.len() > self.sizes.window(), each) {}
    }

    fn step(&mut self, pushed: &mut Pushed, more: bool, each: &mut impl FnMut(Finding)) -> bool {
        let limit = boundary(&pushed.text, self.sizes.window());
        let base = pushed.progress.window;
        let Some(window) = pushed
            .progress
            .next(&pushed.text[..limit], more, &self.sizes)
        else {
            return false;
        };
        let mut findings = Vec::new();
        let text = std::mem::take(&mut pushed.text);
        self.stretch(
            &text[window.start - base..window.end - base],
            &window,
            &mut pushed.progress,
            &mut findings,
        );
        pushed.text = text;
        findings.into_iter().for_each(each);
        pushed.text.drain(..pushed.progress.window - base);
        true
    }

    fn stretch(
        &mut self,
        text: &str,
        window: &Window,
        progress: &mut Progress,
        findings: &mut Vec<Finding>,
    ) {
        self.folded.read(text);
        let core = self.folded.folded(window.core.start - window.start)
            ..self.folded.folded(window.core.end - window.start);
        self.page.open(self.folded.text(), Lexicon::shipped());
        detect::run(&mut self.page, &mut progress.table, core);
        resolve(&mut self.page.found, &mut self.kept);
        for found in &self.kept {
            let (start, end) = self
                .folded
                .original(found.start as usize, found.stop as usize);
            let (start, end) = (start + window.start, end + window.start);
            if window.core.contains(&start) && start >= progress.reached {
                progress.reached = end;
                findings.push(Finding {
                    start: start as u64,
                    end: end as u64,
                    kind: found.kind,
                    confidence: found.confidence,
                });
            }
        }
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        self.folded.wipe();
        self.page.text.zeroize();
    }
}

impl Drop for Pushed {
    fn drop(&mut self) {
        self.text.zeroize();
        self.utf8.zeroize();
    }
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scan")
    }
}

/// What a stream has left behind so far.
#[derive(Default)]
pub(crate) struct Pushed {
    progress: Progress,
    /// Text from `progress.window` on.
    text: String,
    /// Bytes not decoded yet, fewer than one character.
    utf8: Vec<u8>,
    /// Whether some byte was no UTF-8.
    pub(crate) broken: bool,
}

impl Pushed {
    fn decode(&mut self, all: bool) {
        let mut at = 0;
        while at < self.utf8.len() {
            match std::str::from_utf8(&self.utf8[at..]) {
                Ok(text) => {
                    self.text.push_str(text);
                    at = self.utf8.len();
                }
                Err(error) => {
                    let valid = at + error.valid_up_to();
                    self.text
                        .push_str(std::str::from_utf8(&self.utf8[at..valid]).unwrap_or_default());
                    let Some(wrong) = error.error_len().or(all.then_some(self.utf8.len() - valid))
                    else {
                        at = valid;
                        break;
                    };
                    // As many ASCII bytes as were wrong, so that offsets hold.
                    self.text.extend(std::iter::repeat_n('\u{1A}', wrong));
                    self.broken = true;
                    at = valid + wrong;
                }
            }
        }
        self.utf8.drain(..at);
    }
}

/// How far a scan has come, in bytes of the whole content.
#[derive(Default)]
struct Progress {
    /// Where the next window begins.
    window: usize,
    /// Where the next core begins.
    core: usize,
    /// The end of the last finding.
    reached: usize,
    table: Option<Table>,
}

struct Window {
    start: usize,
    end: usize,
    core: std::ops::Range<usize>,
}

impl Progress {
    /// The next stretch of `text`, which begins at `self.window`; `more` follows it.
    fn next(&mut self, text: &str, more: bool, sizes: &Sizes) -> Option<Window> {
        let base = self.window;
        let from = self.core - base;
        if from >= text.len() {
            return None;
        }
        let core_end = if more {
            let least = boundary(text, from + sizes.core);
            let most = boundary(text, from + sizes.core + sizes.slack);
            text.as_bytes()[least..most]
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(most, |line| least + line + 1)
        } else {
            text.len()
        };
        let end = if more {
            boundary(text, core_end + sizes.trail)
        } else {
            text.len()
        };
        let window = Window {
            start: base,
            end: base + end,
            core: self.core..base + core_end,
        };
        self.core = base + core_end;
        // The next window begins with a whole line where there is one.
        let lead = boundary(text, core_end.saturating_sub(sizes.lead));
        let line = text.as_bytes()[lead..core_end]
            .iter()
            .position(|byte| *byte == b'\n');
        self.window = base + line.map_or(lead, |line| lead + line + 1);
        Some(window)
    }
}

/// Keeps the surest of findings that overlap, in order of place.
fn resolve(found: &mut [Found], kept: &mut Vec<Found>) {
    found.sort_by_key(|found| {
        (
            found.start,
            std::cmp::Reverse(found.confidence),
            std::cmp::Reverse(found.stop),
            found.kind,
        )
    });
    kept.clear();
    for candidate in found.iter() {
        match kept.last() {
            Some(last) if last.stop > candidate.start => {
                let better =
                    candidate.confidence > last.confidence && candidate.kind != Entity::Person;
                if better {
                    kept.pop();
                    kept.push(*candidate);
                }
            }
            _ => kept.push(*candidate),
        }
    }
}

/// The nearest character boundary at or before `at`.
fn boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// How a content is cut, in bytes.
struct Sizes {
    /// In which findings count, at least.
    core: usize,
    /// How far beyond it the end of a line is looked for.
    slack: usize,
    /// Seen before the core.
    lead: usize,
    /// Seen after it.
    trail: usize,
}

impl Sizes {
    /// No window is longer.
    fn window(&self) -> usize {
        self.lead + self.core + self.slack + self.trail
    }
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            core: 64 * 1024,
            slack: 16 * 1024,
            lead: 1024,
            trail: 4 * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn small() -> Scan {
        let mut scan = Scan::default();
        scan.sizes = Sizes {
            core: 64,
            slack: 64,
            lead: 24,
            trail: 48,
        };
        scan
    }

    fn pieces(bytes: &[u8], lengths: &[usize]) -> Vec<Finding> {
        let (mut scan, mut pushed, mut findings) = (small(), Pushed::default(), Vec::new());
        let mut rest = bytes;
        for length in lengths.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*length).clamp(1, rest.len()));
            scan.push(&mut pushed, piece, &mut |finding| findings.push(finding));
            rest = after;
        }
        scan.finish(&mut pushed, &mut |finding| findings.push(finding));
        findings
    }

    fn crumbs() -> impl Strategy<Value = String> {
        let crumb = prop_oneof![
            Just("name,dob,ssn\n"),
            Just("Anna Muster,1988-05-11,123-45-6789\n"),
            Just("SSN 123-45-6789 "),
            Just("ת.ז. 123456782, "),
            Just("passport no. X1234567; "),
            Just("anna.muster@example.com "),
            Just("４１１１ １１１１ １１１１ １１１１\n"),
            Just("born\u{200B} 11 May 1988.\n\n"),
            Just(
                "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10\n"
            ),
            Just("plain words and 42 things "),
        ];
        proptest::collection::vec(crumb, 0..40).prop_map(|crumbs| crumbs.concat())
    }

    proptest! {
        #[test]
        fn however_the_content_arrives_the_findings_are_the_same(
            text in crumbs(),
            lengths in proptest::collection::vec(1usize..200, 1..6),
        ) {
            prop_assert_eq!(pieces(text.as_bytes(), &lengths), small().text(&text));
        }

        #[test]
        fn broken_utf8_gives_the_same_findings_however_it_arrives(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            lengths in proptest::collection::vec(1usize..50, 1..6),
        ) {
            prop_assert_eq!(pieces(&bytes, &lengths), pieces(&bytes, &[usize::MAX]));
        }

        #[test]
        fn findings_are_ordered_apart_and_on_character_boundaries(text in crumbs(), noise in "\\PC{0,80}") {
            let text = text + &noise;
            let mut reached = 0;
            for finding in small().text(&text) {
                let (start, end) = (finding.start as usize, finding.end as usize);
                prop_assert!(reached <= start && start < end && end <= text.len());
                prop_assert!(text.is_char_boundary(start) && text.is_char_boundary(end));
                reached = end;
            }
        }
    }

    #[test]
    fn a_table_header_reaches_over_many_stretches() {
        let mut text = String::from("name|dob|passport\n");
        for row in 0..50 {
            text.push_str(&format!("Anna Muster|1988-05-11|X{row:07}\n"));
        }
        let passports = small()
            .text(&text)
            .iter()
            .filter(|found| found.kind == Entity::Passport)
            .count();
        assert_eq!(passports, 50);
    }
}
