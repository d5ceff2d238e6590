//! Reading by id under matter permits: every opening checked and logged, in bounded durability.

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kta_core::crypto::aead::Provider;
use kta_core::policy::{Act, Grain, Permit};
use kta_core::ports::Store;

use crate::figures::{Figures, Race, median, sized, target};
use crate::firm::Firm;
use crate::people::{FIELDS, IN_MATTER, key};
use crate::plain::Plain;
use crate::values::at_random;
use crate::{cipher, postgres, served};

/// Ours against plain SQLite with equal caches, SQLCipher with its own, PostgreSQL with pgcrypto;
/// then four readers against one.
pub(crate) fn measure(figures: &mut Figures, grain: Grain) {
    let people = sized(100_000, 4_000);
    let folder = tempfile::tempdir_in(target()).unwrap();
    let runtime = crate::runtime();
    println!("  filling both with {people} records");
    let plain = Plain::create(&folder.path().join("plain.db"), "NORMAL", CACHE);
    for first in (0..people).step_by(1000) {
        plain.put(first..(first + 1000).min(people));
    }
    plain.settle();
    let firm = runtime.block_on(Firm::open(&folder.path().join("ours"), people, grain));
    runtime.block_on(firm.fill(people));
    let session = firm.session();
    let start = Instant::now();
    let permits = runtime.block_on(firm.permits(&session, Act::Open, 0..people, people));
    figures.remark(format!(
        "a permit over a matter of {IN_MATTER} people, decided by Cedar person by person and durable, takes {:.0} µs; it is asked for before the reading that is timed, and each opening is checked against it",
        start.elapsed().as_secs_f64() / permits.len() as f64 * 1e6,
    ));
    against_plain(figures, &runtime, &firm, &permits, &plain, people);
    cipher::measure(figures, &runtime, &firm, &permits, people);
    postgres::measure(figures, &runtime, &firm, &permits, people);
    served::measure(figures, grain);
    readers(figures, &firm, &permits, people);
}

fn against_plain(
    figures: &mut Figures,
    runtime: &tokio::runtime::Runtime,
    firm: &Firm,
    permits: &[Permit<'_>],
    plain: &Plain,
    people: usize,
) {
    for provider in Provider::ALL {
        provider.choose();
        let next = RefCell::new(at_random(people, 7));
        let mut ours = || read(runtime, firm, permits, BATCH, &mut *next.borrow_mut());
        let mut peer = || {
            for _ in 0..BATCH {
                black_box(plain.get(next.borrow_mut()()));
            }
        };
        let mut sealed = || {
            runtime.block_on(async {
                for _ in 0..BATCH {
                    let key = key(firm.tenant(), next.borrow_mut()());
                    black_box(firm.store.record(&key).await.unwrap());
                }
            });
        };
        let race = Race::run(sized(31, 7), [&mut ours, &mut peer, &mut sealed]);
        figures.at_least(
            &format!(
                "{}, {provider}: get by id, bounded, ours ÷ plain SQLite, equal cache",
                firm.sealed()
            ),
            1.0 / race.ratio(0, 1),
            "of its throughput",
            0.6,
        );
        let each = |contestant| race.seconds(contestant) / f64::from(BATCH) * 1e6;
        figures.remark(format!(
            "{}, {provider}: a read takes {:.1} µs, of which {:.1} µs until the sealed record is there; in plain SQLite {:.1} µs",
            firm.sealed(),
            each(0),
            each(2),
            each(1),
        ));
    }
    Provider::default().choose();
    figures.remark("all ten fields are opened, of one category, so that an opening is one entry; the peers check nothing and log nothing");
}

/// Reads people at random.
pub(crate) fn read<S: Store + 'static>(
    runtime: &tokio::runtime::Runtime,
    firm: &Firm<S>,
    permits: &[Permit<'_>],
    many: u32,
    mut next: impl FnMut() -> usize,
) {
    runtime.block_on(async {
        for _ in 0..many {
            let who = next();
            let fields = firm.get(who, &permits[who / IN_MATTER]).await;
            assert_eq!(black_box(fields).len(), FIELDS.len());
        }
    });
}

/// Threads of one process on one store, for a while, in turn.
fn readers(figures: &mut Figures, firm: &Firm, permits: &[Permit<'_>], people: usize) {
    let length = Duration::from_millis(sized(2_000, 400));
    let run = |threads: u64| {
        let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
        let start = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (done, reads) = (&done, &reads);
                scope.spawn(move || {
                    let runtime = crate::runtime();
                    let mut next = at_random(people, 11 + thread);
                    while !done.load(Ordering::Relaxed) {
                        read(&runtime, firm, permits, BATCH, &mut next);
                        reads.fetch_add(u64::from(BATCH), Ordering::Relaxed);
                    }
                });
            }
            std::thread::sleep(length);
            done.store(true, Ordering::Relaxed);
        });
        reads.into_inner() as f64 / start.elapsed().as_secs_f64()
    };
    let rounds = (0..sized(7, 3)).map(|_| run(4) / run(1)).collect();
    figures.at_least(
        &format!(
            "{}: four readers ÷ one, all cores of this machine",
            firm.sealed()
        ),
        median(rounds),
        "times",
        1.8,
    );
    figures.remark("one reader has the other core for the thread that carries its entries into the log; four have to share both with it");
}

/// Kibibytes: everything stays in memory.
const CACHE: i64 = 256 << 10;

/// Reads in one go of the runtime.
const BATCH: u32 = 64;
