//! Reading by id under matter permits: every opening checked and logged, in bounded durability.

use std::cell::RefCell;
use std::hint::black_box;

use kta_core::crypto::aead::Provider;
use kta_core::policy::Act;

use crate::figures::{Figures, Race, sized, target};
use crate::firm::Firm;
use crate::people::{FIELDS, IN_MATTER, at_random};
use crate::plain::Plain;

/// Ours against plain SQLite, both with a page cache that holds everything.
pub(crate) fn measure(figures: &mut Figures) {
    let people = sized(100_000, 10_000);
    let folder = tempfile::tempdir_in(target()).unwrap();
    let runtime = crate::runtime();
    println!("  filling both with {people} records");
    let plain = Plain::create(&folder.path().join("plain.db"), "NORMAL", CACHE);
    let firm = runtime.block_on(Firm::open(&folder.path().join("ours"), people));
    for first in (0..people).step_by(1000) {
        let end = (first + 1000).min(people);
        plain.put(first..end);
        runtime.block_on(firm.put(first..end, people));
    }
    plain.settle();
    runtime.block_on(firm.store.checkpoint()).unwrap();
    println!("  asking for {} permits", people / IN_MATTER);
    let session = firm.session();
    let permits: Vec<_> = runtime.block_on(async {
        let mut permits = Vec::new();
        for first in (0..people).step_by(IN_MATTER) {
            permits.push(firm.matter_permit(&session, Act::Open, first, people).await);
        }
        permits
    });
    for provider in Provider::ALL {
        provider.choose();
        let next = RefCell::new(at_random(people, 7));
        let mut ours = || {
            runtime.block_on(async {
                for _ in 0..BATCH {
                    let who = next.borrow_mut()();
                    let fields = firm.get(who, &permits[who / IN_MATTER]).await;
                    assert_eq!(black_box(fields).len(), FIELDS.len());
                }
            });
        };
        let mut peer = || {
            for _ in 0..BATCH {
                black_box(plain.get(next.borrow_mut()()));
            }
        };
        let race = Race::run(sized(31, 7), [&mut ours, &mut peer]);
        figures.at_least(
            &format!("{provider}: get by id, bounded, ours ÷ plain SQLite, equal cache"),
            1.0 / race.ratio(0, 1),
            "of its throughput",
            0.6,
        );
        figures.remark(format!(
            "{provider}: a read takes {:.2} µs, in plain SQLite {:.2} µs",
            race.seconds(0) / f64::from(BATCH) * 1e6,
            race.seconds(1) / f64::from(BATCH) * 1e6,
        ));
    }
    Provider::default().choose();
}

/// Kibibytes: everything stays in memory.
const CACHE: i64 = 256 << 10;

/// Reads in one go of the runtime.
const BATCH: u32 = 64;
