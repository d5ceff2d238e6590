//! Filling the store, what it takes on disk, and finding one person among few and many.

use std::cell::RefCell;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use kta_core::id::RecordId;
use kta_core::policy::{Act, Grain};
use kta_core::ports::Store as _;
use kta_core::ports::store::{Change, Expected};

use crate::figures::{Figures, Race, median, sized, target};
use crate::firm::Firm;
use crate::people::{IN_MATTER, key};
use crate::plain::Plain;
use crate::values::{at_random, of};

/// A thousand records a transaction, durable, in turn; then the files.
pub(crate) fn fill(figures: &mut Figures, grain: Grain) {
    let people = sized(40_000, 6_000);
    let folder = tempfile::tempdir_in(target()).unwrap();
    let runtime = crate::runtime();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("plain.db"));
    let plain = Plain::create(&theirs, "FULL", 64 << 10);
    let open = |path: &Path| runtime.block_on(Firm::open(path, people, grain));
    let (firm, ahead) = (open(&ours), open(&folder.path().join("ahead")));
    let (session, ahead_session) = (firm.session(), ahead.session());
    let asked = |range| runtime.block_on(firm.permits(&session, Act::Store, range, people));
    let asked_ahead =
        |range| runtime.block_on(ahead.permits(&ahead_session, Act::Store, range, people));
    let mut rounds = Rounds::default();
    // What is committed next, sealed while the thousand before it was committed.
    let mut next = runtime.block_on(ahead.sealed_set(0..1000, &asked_ahead(0..1000)));
    for first in (0..people).step_by(1000) {
        let range = first..first + 1000;
        let start = Instant::now();
        let permits = asked(range.clone());
        rounds.asked.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        runtime.block_on(firm.put(range.clone(), &permits));
        rounds.ours.push(start.elapsed().as_secs_f64());

        let after = range.end % people..range.end % people + 1000;
        let permits = asked_ahead(after.clone());
        let start = Instant::now();
        let ((), sealed) = runtime.block_on(async {
            let commit = ahead.commit(std::mem::replace(&mut next, ahead.set()));
            futures_util::future::join(commit, ahead.sealed_set(after, &permits)).await
        });
        rounds.ahead.push(start.elapsed().as_secs_f64());
        next = sealed;

        let start = Instant::now();
        plain.put(range);
        rounds.plain.push(start.elapsed().as_secs_f64());
    }
    rounds.tell(figures, firm.sealed());
    runtime.block_on(firm.store.checkpoint()).unwrap();
    plain.settle();
    // With the entries of the permits; the peer has nobody to ask.
    let bytes = |path: &Path| std::fs::metadata(path).unwrap().len() as f64 / people as f64;
    figures.at_most(
        &format!(
            "{}: bytes a record with indexes and audit, ours ÷ plain SQLite",
            firm.sealed()
        ),
        bytes(&ours.join("firm.db")) / bytes(&theirs),
        "times",
        1.1,
    );
    figures.remark(format!(
        "{:.0} bytes a record, plain SQLite {:.0}; of ours {} are padding that hides the lengths of the ten values, {} nonces and tags; the key table has {:.0} more a person, its write-ahead log included",
        bytes(&ours.join("firm.db")),
        bytes(&theirs),
        padding(grain),
        if grain == Grain::Field { 280 } else { 28 },
        bytes(&ours.join("keys.db")) + bytes(&ours.join("keys.db-wal")),
    ));
}

/// Seconds of each round: a thousand records each.
#[derive(Default)]
struct Rounds {
    /// Asking for the permits.
    asked: Vec<f64>,
    /// Sealing, then committing.
    ours: Vec<f64>,
    /// Committing, and sealing what is committed next meanwhile.
    ahead: Vec<f64>,
    plain: Vec<f64>,
}

impl Rounds {
    fn tell(self, figures: &mut Figures, sealed: &str) {
        let ratio = |ours: &[f64]| {
            let each = self.plain.iter().zip(ours).map(|(peer, own)| peer / own);
            median(each.collect())
        };
        for (how, own) in [
            ("", &self.ours),
            (", the next thousand sealed meanwhile", &self.ahead),
        ] {
            figures.at_least(
                &format!("{sealed}: bulk ingest with indexes and audit{how}, ours ÷ plain SQLite"),
                ratio(own),
                "of its throughput",
                0.7,
            );
        }
        let with_permits: Vec<_> = self
            .ours
            .iter()
            .zip(&self.asked)
            .map(|(a, b)| a + b)
            .collect();
        let with_permits = ratio(&with_permits);
        let each = |seconds| median(seconds) * 1e3;
        figures.remark(format!(
            "a record takes {:.1} µs to seal, index, log and keep, one after the other on two cores of which one waits; {:.1} µs where both work, as whoever moves a firm in will have it; in plain SQLite {:.1} µs, on one core. Counting the permits of its matters of {IN_MATTER}, each decided person by person and on disk, one after the other, ours has {with_permits:.2} of the peer's throughput",
            each(self.ours), each(self.ahead), each(self.plain),
        ));
    }
}

/// By the e-mail address, in a store of few and in one of many.
pub(crate) fn search(figures: &mut Figures, grain: Grain) {
    let (few, many) = sized((10_000, 1_000_000), (2_000, 40_000));
    let folder = tempfile::tempdir_in(target()).unwrap();
    let runtime = crate::runtime();
    let real = 1_000;
    println!("  filling stores of {few} and {many} records");
    let open = |name: &str, records: usize| {
        runtime.block_on(async {
            let firm = Firm::open(&folder.path().join(name), real, grain).await;
            // Before it moves in, as a firm of that size would; nothing is entered under the first.
            let epoch = firm.sealer.keys().plan_index(records as u64).await.unwrap();
            assert_eq!(epoch, 2);
            let now = firm.gate.now();
            firm.sealer.keys().retire_index(1, now).await.unwrap();
            firm.fill(real).await;
            crowd(&firm, records - real).await;
            firm
        })
    };
    let (small, large) = (open("few", few), open("many", many));
    let next = RefCell::new(at_random(real, 5));
    let (here, there) = (small.session(), large.session());
    let small_permits = runtime.block_on(small.permits(&here, Act::Open, 0..real, real));
    let large_permits = runtime.block_on(large.permits(&there, Act::Open, 0..real, real));
    let find = |firm: &Firm, permits: &[kta_core::policy::Permit<'_>]| {
        runtime.block_on(async {
            for _ in 0..16 {
                let who = next.borrow_mut()();
                let email = of(who)[6].clone();
                black_box(firm.find(email, &permits[who / IN_MATTER]).await);
            }
        });
    };
    let race = Race::run(
        sized(31, 9),
        [&mut || find(&large, &large_permits), &mut || {
            find(&small, &small_permits)
        }],
    );
    figures.at_most(
        &format!("exact e-mail look-up, {many} records ÷ {few}"),
        race.ratio(0, 1),
        "times",
        1.5,
    );
    figures.remark(format!(
        "a look-up takes {:.0} µs among {many} records: keyed tag, index, record, opening and its entry; the crowd around the {real} people who are looked for has records of one field with tags of their own, under one person's key",
        race.seconds(0) / 16.0 * 1e6,
    ));
}

/// Many more records, each with its own e-mail address in the index.
async fn crowd(firm: &Firm, many: usize) {
    let session = firm.session();
    let permits = firm
        .permits(&session, Act::Store, 0..IN_MATTER, 1_000)
        .await;
    let (pattern, _) = firm.with_email(0, of(0)[6].clone(), &permits[0]).await;
    for first in (0..many).step_by(5_000) {
        let mut set = firm.set();
        for number in first..(first + 5_000).min(many) {
            let mut record = pattern.clone();
            record.key.subject = key(firm.tenant(), number + 1_000_000_000).subject;
            record.key.record = RecordId::derived(&[b"crowd", &number.to_be_bytes()]);
            let index = firm
                .email_tags(format!("crowd.{number}@invented.example"))
                .await;
            set = set.with(Change::PutRecord {
                record,
                index,
                expected: Expected::Absent,
            });
        }
        firm.store.commit(set).await.unwrap();
    }
    firm.store.checkpoint().await.unwrap();
}

/// Bytes of padding in a record of ours.
fn padding(grain: Grain) -> usize {
    const STEPS: [usize; 10] = [48, 96, 160, 256, 384, 512, 640, 768, 896, 1024];
    let padded = |length: usize| {
        STEPS
            .into_iter()
            .find(|step| *step > length)
            .unwrap_or(length)
    };
    let lengths = of(1).map(|value| value.len());
    let rest = |length: usize| padded(length) - length;
    match grain {
        Grain::Field => lengths.into_iter().map(rest).sum(),
        // Each value stands behind its length, a long one behind two bytes of it.
        Grain::Classification => rest(
            lengths
                .into_iter()
                .map(|length| length + 1 + usize::from(length > 127))
                .sum(),
        ),
    }
}
