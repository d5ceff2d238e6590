//! A permit for every read and a durable put: what waits for the disk, alone and in company.

use std::sync::Arc;
use std::time::Instant;

use kta_core::policy::{Act, Grain};
use kta_storage::SqliteStore;
use rusqlite::{Connection, params};

use crate::figures::{Figures, median, sized, target};
use crate::firm::Firm;
use crate::people::IN_MATTER;
use crate::plain::Plain;

/// Every contestant writes to one disk in turn, round after round.
pub(crate) fn measure(figures: &mut Figures, grain: Grain) {
    let people = sized(8_000, 2_000);
    let rounds = sized(9, 5);
    let folder = tempfile::tempdir_in(target()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let firm = runtime.block_on(Firm::open(&folder.path().join("ours"), people, grain));
    let firm = Arc::new(firm);
    let stored = people / 2 / IN_MATTER * IN_MATTER;
    runtime.block_on(firm.fill_some(stored, people));
    let plain = Plain::create(&folder.path().join("plain.db"), "FULL", 256 << 10);
    plain.put(0..stored);
    let bare = Bare::create(&folder.path().join("bare.db"));

    let reads = sized(320, 96);
    let warm = || {
        // Filling let the write-ahead log grow, and a file that grows is waited for longer.
        let start = Instant::now();
        while start.elapsed() < 2 * SqliteStore::LAG {
            in_company(&runtime, &firm, reads, stored);
            bare.commit(reads);
        }
    };
    let (mut one, mut many, mut group) = (Vec::new(), Vec::new(), Vec::new());
    warm();
    for _ in 0..rounds {
        one.push(per_second(reads / 8, || {
            runtime.block_on(async {
                for who in 0..reads / 8 {
                    assert_eq!(firm.get_admitted(who * 7 % stored).await, 10);
                }
            });
        }));
        many.push(per_second(reads, || {
            in_company(&runtime, &firm, reads, stored)
        }));
        group.push(per_second(reads, || bare.commit(reads)));
    }
    figures.at_least(
        &format!(
            "{}: a durable permit for every read: 16 readers ÷ one",
            firm.sealed()
        ),
        ratio(&many, &one),
        "times",
        6.0,
    );
    figures.at_least(
        &format!(
            "{}: a durable permit for every read: 16 readers ÷ bare SQLite committing the entries of 16 reads at a time",
            firm.sealed()
        ),
        ratio(&many, &group),
        "of its throughput",
        0.8,
    );
    figures.remark(format!(
        "with a permit for each: one reader {:.0}/s, sixteen {:.0}/s; bare SQLite keeps the entries of {:.0}/s, with the trail's index, and decides and opens nothing",
        median(one), median(many), median(group),
    ));

    let puts = sized(256, 64);
    let session = firm.session();
    let rest = stored..people;
    let permits = runtime.block_on(firm.permits(&session, Act::Store, rest.clone(), people));
    warm();
    let mut next = rest.clone();
    let mut next_plain = rest;
    let (mut alone, mut company, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    let rounds = rounds.min((people - stored) / (puts + puts / 4));
    for _ in 0..rounds {
        let few: Vec<_> = next.by_ref().take(puts / 4).collect();
        alone.push(per_second(few.len(), || {
            runtime.block_on(async {
                for who in few {
                    let permit = &permits[(who - stored) / IN_MATTER];
                    firm.put_one(who, permit).await;
                }
            });
        }));
        let all: Vec<_> = next.by_ref().take(puts).collect();
        company.push(per_second(all.len(), || {
            let writers = all.chunks(puts / 16).map(|some| {
                let (firm, permits, runtime) = (&firm, &permits, &runtime);
                move || {
                    runtime.block_on(async {
                        for who in some {
                            firm.put_one(*who, &permits[(who - stored) / IN_MATTER])
                                .await;
                        }
                    });
                }
            });
            std::thread::scope(|scope| writers.for_each(|writer| drop(scope.spawn(writer))));
        }));
        let few: Vec<_> = next_plain.by_ref().take(puts / 4).collect();
        peer.push(per_second(few.len(), || {
            few.into_iter().for_each(|who| plain.put(who..who + 1))
        }));
    }
    figures.at_least(
        &format!(
            "{}: durable put, one writer, ours ÷ plain SQLite with synchronous=FULL",
            firm.sealed()
        ),
        ratio(&alone, &peer),
        "of its throughput",
        0.95,
    );
    figures.at_least(
        &format!(
            "{}: durable put, ours: 16 writers with group commit ÷ one by one",
            firm.sealed()
        ),
        ratio(&company, &alone),
        "times",
        6.0,
    );
    figures.remark(format!(
        "durable puts: one writer {:.0}/s, sixteen {:.0}/s, plain SQLite {:.0}/s",
        median(alone),
        median(company),
        median(peer),
    ));
}

fn in_company(runtime: &tokio::runtime::Runtime, firm: &Arc<Firm>, reads: usize, stored: usize) {
    runtime.block_on(async {
        let each = (0..16).map(|reader| {
            let firm = Arc::clone(firm);
            tokio::spawn(async move {
                for read in 0..reads / 16 {
                    let who = (reader * 131 + read * 7) % stored;
                    assert_eq!(firm.get_admitted(who).await, 10);
                }
            })
        });
        for reader in each.collect::<Vec<_>>() {
            reader.await.unwrap();
        }
    });
}

/// Entries as long as ours, with the index that a regulator's query needs, sixteen a commit.
struct Bare(Connection);

impl Bare {
    fn create(path: &std::path::Path) -> Self {
        let db = Connection::open(path).unwrap();
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE entry (place INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
             CREATE TABLE trail (firm INTEGER NOT NULL, subject BLOB NOT NULL, seq INTEGER NOT NULL,
                 at INTEGER NOT NULL, PRIMARY KEY (firm, subject, seq)) WITHOUT ROWID;",
        )
        .unwrap();
        Self(db)
    }

    /// Both entries of each read: the admission and the opening, as long as ours are.
    fn commit(&self, reads: usize) {
        for _ in 0..reads / 16 {
            self.0.execute_batch("BEGIN IMMEDIATE").unwrap();
            for length in [560, 430].repeat(16) {
                let sql = "INSERT INTO entry (bytes) VALUES (?1)";
                let mut entry = self.0.prepare_cached(sql).unwrap();
                entry.execute([vec![b'x'; length]]).unwrap();
                let seq = self.0.last_insert_rowid();
                let subject = crate::values::key(seq as usize);
                let sql = "INSERT INTO trail VALUES (1, ?1, ?2, 0)";
                let mut trail = self.0.prepare_cached(sql).unwrap();
                trail.execute(params![subject, seq]).unwrap();
            }
            self.0.execute_batch("COMMIT").unwrap();
        }
    }
}

fn per_second(many: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    many as f64 / start.elapsed().as_secs_f64()
}

/// The median over the rounds.
fn ratio(this: &[f64], that: &[f64]) -> f64 {
    median(
        this.iter()
            .zip(that)
            .map(|(this, that)| this / that)
            .collect(),
    )
}
