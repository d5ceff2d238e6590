//! The vendor's log chained into ours: nothing may be missing between two exports, nothing may
//! leave an interval that was sealed, nothing may come into it unseen.
//!
//! ```text
//!  exports      |---------- a ----------|
//!                                  |---------- b ----------|       overlap: rows told twice
//!                                                              |--- c ---|   AUD-GAP (b.to, c.from)
//!  head   H(0) ─► H(1 = H(0) · a.from · a.to · root(rows of a)) ─► H(2) …
//! ```

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use kta_core::audit::{Event, Outcome, merkle};
use kta_core::id::Digest;
use kta_core::policy::{Act, Permit};
use kta_core::ports::AuditFeed as _;
use kta_core::ports::crm::AuditRow;
use kta_core::time::Timestamp;
use kta_core::{Code, FaultKind, Port, Refusal, Result};
use kta_http::Call;
use serde::{Deserialize, Serialize};

use crate::ZohoCrm;

/// What was sealed of the vendor's log so far. It holds instants and digests, and is kept by the
/// caller; its head goes into our own log with every import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditChain {
    from: Timestamp,
    to: Timestamp,
    head: Digest,
    windows: u64,
    /// The rows of the remembered end of the chain, with how often each was told at once.
    rows: BTreeMap<Timestamp, BTreeMap<Digest, u32>>,
}

/// What an import brought.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The rows that are new to us, oldest first.
    pub new: Vec<AuditRow>,
    /// `AUD-GAP` with the exact bounds of what is missing, `AUD-LATE` for rows that came into an
    /// interval that was sealed: they are taken, and told.
    pub findings: Vec<Refusal>,
    /// The head of the chain behind this import.
    pub head: Digest,
}

impl AuditChain {
    /// A chain that begins at `from`, with nothing sealed.
    #[must_use]
    pub fn begin(from: Timestamp) -> Self {
        Self {
            from,
            to: from,
            head: Digest::of(b"kta vendor audit chain 1"),
            windows: 0,
            rows: BTreeMap::new(),
        }
    }

    /// Until when the vendor's log is sealed.
    #[must_use]
    pub fn sealed_until(&self) -> Timestamp {
        self.to
    }

    /// The head: it commits to every window and row so far.
    #[must_use]
    pub fn head(&self) -> Digest {
        self.head
    }

    /// Takes the rows of an export of the interval from `from` to `to`. The same export again
    /// changes nothing.
    ///
    /// # Errors
    /// A `Misconfigured` fault when the interval ends before it begins, or before the chain does.
    pub fn import(
        &mut self,
        from: Timestamp,
        to: Timestamp,
        rows: &[AuditRow],
    ) -> Result<Imported> {
        if to < from || to < self.from {
            let fault = CHAIN.fault(FaultKind::Misconfigured);
            return Err(fault.because("not an interval of this chain").into());
        }
        let mut findings = Vec::new();
        if from > self.to {
            findings.push(gap(self.to, from));
        }
        findings.extend(self.missing(from, to, rows));
        let sealed = self.to;
        let (mut new, mut late) = (Vec::new(), None);
        let mut told: BTreeMap<(Timestamp, Digest), u32> = BTreeMap::new();
        for row in rows {
            let times = told.entry((row.at, row.digest)).or_default();
            *times += 1;
            let held = self.rows.entry(row.at).or_default();
            let known = held.entry(row.digest).or_default();
            if *known >= *times {
                continue;
            }
            *known = *times;
            // What happened in the last second of a window may have been written after it.
            if self.windows > 0 && row.at < sealed - TimeDelta::seconds(1) {
                let (count, first) = late.unwrap_or((0_usize, row.at));
                late = Some((count + 1, first.min(row.at)));
            }
            new.push(row.clone());
        }
        if let Some((count, first)) = late {
            let refusal = Refusal::new(Code::AudLate);
            findings.push(refusal.about("rows", count).about("first", first));
        }
        new.sort_by_key(|row| (row.at, row.digest));
        if !new.is_empty() || to > self.to {
            self.seal(from, to, &new);
        }
        Ok(Imported {
            new,
            findings,
            head: self.head,
        })
    }

    /// Forgets the rows of before `until`: exports that overlap less are held against what is
    /// left. The head stays.
    pub fn forget(&mut self, until: Timestamp) {
        self.rows = self.rows.split_off(&until);
        self.from = self.from.max(until);
    }

    /// The event with which an import goes into our own log.
    #[must_use]
    pub fn event(&self, imported: &Imported, permit: &Permit<'_>) -> Event {
        permit
            .event(Act::Review, Outcome::Done)
            .with("vendor_log", self.head)
            .with("until", self.to)
            .with("rows", imported.new.len())
            .with("findings", imported.findings.len())
    }

    /// Rows of sealed intervals that the vendor does not have any more, as gaps: each run of
    /// missing rows from its first to its last.
    fn missing(&self, from: Timestamp, to: Timestamp, rows: &[AuditRow]) -> Vec<Refusal> {
        let told: BTreeSet<(Timestamp, Digest)> =
            rows.iter().map(|row| (row.at, row.digest)).collect();
        // The bounds are the vendor's affair to the second: what lies on them proves nothing.
        let blur = TimeDelta::seconds(1);
        let until = to.min(self.to);
        let (mut gaps, mut open): (Vec<Refusal>, Option<(Timestamp, Timestamp)>) =
            (Vec::new(), None);
        for (at, held) in self
            .rows
            .iter()
            .filter(|(at, _)| **at > from + blur && **at < until - blur)
        {
            for digest in held.keys() {
                match (told.contains(&(*at, *digest)), open) {
                    (false, None) => open = Some((*at, *at)),
                    (false, Some((first, _))) => open = Some((first, *at)),
                    (true, Some((first, last))) => {
                        gaps.push(gap(first, last));
                        open = None;
                    }
                    (true, None) => {}
                }
            }
        }
        gaps.extend(open.map(|(first, last)| gap(first, last)));
        gaps
    }

    fn seal(&mut self, from: Timestamp, to: Timestamp, new: &[AuditRow]) {
        let leaves = new.iter().map(|row| {
            let mut leaf = row.at.timestamp_millis().to_be_bytes().to_vec();
            leaf.extend_from_slice(row.digest.as_bytes());
            merkle::leaf_hash(&leaf)
        });
        let mut link = self.head.as_bytes().to_vec();
        for at in [from, to] {
            link.extend_from_slice(&at.timestamp_millis().to_be_bytes());
        }
        link.extend_from_slice(merkle::root(leaves).as_bytes());
        self.head = Digest::of(&link);
        self.to = self.to.max(to);
        self.windows += 1;
    }
}

impl ZohoCrm {
    /// Exports the vendor's log from a little before the chain's end until `to`, and takes it.
    ///
    /// # Errors
    /// As [`rows`](kta_core::ports::AuditFeed::rows) and [`AuditChain::import`].
    pub async fn continue_audit(
        &self,
        chain: &mut AuditChain,
        to: Timestamp,
        overlap: TimeDelta,
        permit: &Permit<'_>,
    ) -> Result<Imported> {
        let from = (chain.to - overlap.max(TimeDelta::zero())).max(chain.from);
        let rows = self.rows(from, to, permit).await?;
        chain.import(from, to, &rows)
    }
}

fn gap(from: Timestamp, until: Timestamp) -> Refusal {
    Refusal::new(Code::AudGap)
        .about("from", from)
        .about("until", until)
}

const CHAIN: Call = Call::new(Port::Crm, "audit chain");

#[cfg(test)]
mod tests {
    use super::*;
    use kta_core::audit::Label;
    use kta_core::pii::Category;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000 + hours * 3_600, 0).unwrap()
    }

    fn row(hours: i64) -> AuditRow {
        AuditRow {
            at: at(hours),
            action: Label::fixed("updated"),
            on: None,
            digest: Digest::of(&hours.to_be_bytes()),
            category: Category::FirmRecord,
        }
    }

    fn rows(hours: impl IntoIterator<Item = i64>) -> Vec<AuditRow> {
        hours.into_iter().map(row).collect()
    }

    fn codes(imported: &Imported) -> Vec<Code> {
        imported.findings.iter().map(Refusal::code).collect()
    }

    #[test]
    fn one_deleted_day_of_the_vendors_log_is_a_gap_with_its_exact_bounds() {
        let mut chain = AuditChain::begin(at(0));
        let first = chain.import(at(0), at(72), &rows(1..72)).unwrap();
        assert_eq!((first.new.len(), codes(&first)), (71, vec![]));
        let kept = (1..24).chain(48..72);
        let again = chain.import(at(0), at(72), &rows(kept)).unwrap();
        assert_eq!(codes(&again), [Code::AudGap]);
        let facts = again.findings[0].facts();
        assert_eq!(facts[0].1, at(24).into());
        assert_eq!(facts[1].1, at(47).into());
    }

    #[test]
    fn an_interval_that_nobody_exported_is_a_gap_and_the_same_export_twice_is_none() {
        let mut chain = AuditChain::begin(at(0));
        chain.import(at(0), at(10), &rows(1..10)).unwrap();
        let head = chain.head();
        let again = chain.import(at(0), at(10), &rows(1..10)).unwrap();
        assert!(again.new.is_empty() && again.findings.is_empty());
        assert_eq!(chain.head(), head);
        let later = chain.import(at(12), at(20), &rows(13..20)).unwrap();
        assert_eq!(codes(&later), [Code::AudGap]);
        assert_eq!(later.findings[0].facts()[0].1, at(10).into());
        assert_eq!(later.findings[0].facts()[1].1, at(12).into());
        assert_ne!(chain.head(), head);
        assert!(chain.import(at(3), at(2), &[]).is_err());
    }

    #[test]
    fn a_row_that_comes_into_a_sealed_interval_is_taken_and_told() {
        let mut chain = AuditChain::begin(at(0));
        chain.import(at(0), at(10), &rows([1, 2, 4])).unwrap();
        let late = chain.import(at(0), at(11), &rows([1, 2, 3, 4])).unwrap();
        assert_eq!((late.new.len(), codes(&late)), (1, vec![Code::AudLate]));
        // Two rows of one second and content are two.
        let twice = chain
            .import(at(0), at(12), &rows([1, 2, 3, 4, 11, 11]))
            .unwrap();
        assert_eq!((twice.new.len(), codes(&twice)), (2, vec![]));
    }

    #[test]
    fn a_chain_comes_back_as_itself_and_forgets_rows_but_not_its_head() {
        let mut chain = AuditChain::begin(at(0));
        chain.import(at(0), at(10), &rows(1..10)).unwrap();
        let text = serde_json::to_string(&chain).unwrap();
        assert_eq!(serde_json::from_str::<AuditChain>(&text).unwrap(), chain);
        let head = chain.head();
        chain.forget(at(8));
        assert_eq!(chain.head(), head);
        let next = chain.import(at(8), at(12), &rows(8..12)).unwrap();
        assert_eq!((next.new.len(), codes(&next)), (2, vec![]));
    }
}
