//! A wrapped key stands in the key table's file once, and nowhere after it was replaced: the file
//! is looked at, byte for byte, however the table came to be what it is.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use kta_core::crypto::Hierarchy;
use kta_core::id::{SubjectId, TenantId};
use kta_core::memory::{MemoryKms, SeededEntropy};
use kta_core::ports::KeyTable as _;
use kta_core::ports::key_table::{KeyRows, NodeId, Wanted};
use kta_core::time::{Entropy, Timestamp};
use kta_storage::SqliteKeyTable;
use rusqlite::{Connection, params};

/// Two firms in one file, so that the rows of the first do not come at the end of any index.
struct Town {
    table: SqliteKeyTable,
    firms: Vec<(TenantId, Hierarchy)>,
    living: Vec<(usize, SubjectId)>,
    born: u64,
    dice: SeededEntropy,
    now: Timestamp,
}

impl Town {
    async fn at(file: &Path) -> Self {
        let table = SqliteKeyTable::open(file).unwrap();
        let entropy = Arc::new(SeededEntropy::new(5));
        let kms = Arc::new(MemoryKms::new(entropy.clone()));
        let now: Timestamp = "2026-11-22T09:00:00Z".parse().unwrap();
        let mut firms = Vec::new();
        for name in [b"first", b"other"] {
            let tenant = TenantId::derived(&[b"an invented firm", name]);
            let keys = Hierarchy::open_with_fan_out(
                tenant,
                kms.clone(),
                Arc::new(table.clone()),
                entropy.clone(),
                now,
                16,
            );
            firms.push((tenant, keys.await.unwrap()));
        }
        Self {
            table,
            firms,
            living: Vec::new(),
            born: 0,
            dice: SeededEntropy::new(6),
            now,
        }
    }

    fn roll(&self, below: usize) -> usize {
        let mut bytes = [0; 8];
        self.dice.fill(&mut bytes);
        (u64::from_be_bytes(bytes) % below as u64) as usize
    }

    async fn enroll(&mut self, many: usize) {
        let firm = self.roll(self.firms.len());
        let people: Vec<_> = (0..many as u64)
            .map(|one| SubjectId::derived(&[b"invented", &(self.born + one).to_be_bytes()]))
            .collect();
        self.born += many as u64;
        self.firms[firm].1.enroll_all(&people).await.unwrap();
        self.living
            .extend(people.into_iter().map(|one| (firm, one)));
    }

    fn some(&mut self, many: usize, take: bool) -> (usize, Vec<SubjectId>) {
        let firm = self.roll(self.firms.len());
        let mut some = Vec::new();
        for _ in 0..many {
            let at = self.roll(self.living.len());
            if self.living[at].0 == firm && !some.contains(&self.living[at].1) {
                some.push(self.living[at].1);
                if take {
                    self.living.swap_remove(at);
                }
            }
        }
        (firm, some)
    }

    /// The last 16 bytes of every wrapped key that the table has.
    async fn wrapped(&self) -> HashSet<[u8; 16]> {
        let mut all = HashSet::new();
        for rows in self.rows().await.into_values() {
            let people = rows.subjects.values();
            all.extend(people.clone().map(|row| tail(row.wrapped.as_bytes())));
            all.extend(
                people
                    .filter_map(|row| row.kept())
                    .map(|(_, one)| tail(one.as_bytes())),
            );
            all.extend(rows.nodes.values().map(|row| tail(row.wrapped.as_bytes())));
        }
        all
    }

    async fn rows(&self) -> BTreeMap<TenantId, KeyRows> {
        let mut all = BTreeMap::new();
        for (at, (tenant, _)) in self.firms.iter().enumerate() {
            let mut wanted = vec![Wanted::Children(NodeId::ROOT)];
            let people = self.living.iter().filter(|(firm, _)| *firm == at);
            wanted.extend(people.map(|(_, subject)| Wanted::Subject(*subject)));
            all.insert(*tenant, self.table.read(*tenant, &wanted).await.unwrap());
        }
        all
    }
}

#[tokio::test]
async fn a_wrapped_key_stands_in_the_file_once_and_a_replaced_one_nowhere() {
    let folder = common::folder("cells");
    let file = folder.join("keys.db");
    let mut town = Town::at(&file).await;
    let mut ever = HashSet::new();
    let mut looks = 0;
    for round in 0..45 {
        let many = 1 + town.roll(70);
        town.enroll(many).await;
        ever.extend(town.wrapped().await);
        if round % 4 == 1 {
            let many = 1 + town.roll(9);
            let (firm, some) = town.some(many, false);
            town.firms[firm]
                .1
                .rotate_subjects(&some, town.now)
                .await
                .unwrap();
            ever.extend(town.wrapped().await);
            if round % 8 == 1 {
                town.now += Hierarchy::HELD;
                town.firms[firm]
                    .1
                    .finish_subjects(&some, 0, town.now)
                    .await
                    .unwrap();
            }
        }
        if round % 3 == 2 {
            let many = 1 + town.roll(6);
            let (firm, some) = town.some(many, true);
            if some.is_empty() {
                continue;
            }
            town.firms[firm].1.erase(&some, town.now).await.unwrap();
            let present = town.wrapped().await;
            ever.extend(&present);
            let counted = count(&folder, &ever);
            for one in &ever {
                let times = counted.get(one).copied().unwrap_or(0);
                assert_eq!(times, usize::from(present.contains(one)), "round {round}");
            }
            looks += 1;
        }
    }
    assert!(
        looks > 8 && ever.len() > 1_500,
        "{looks} looks, {} keys",
        ever.len()
    );
}

#[tokio::test]
async fn a_file_of_rows_becomes_one_of_cells_and_keeps_every_key() {
    let folder = common::folder("rows");
    let mut town = Town::at(&folder.join("new.db")).await;
    for _ in 0..4 {
        town.enroll(30).await;
    }
    let (firm, some) = town.some(20, false);
    town.firms[firm]
        .1
        .rotate_subjects(&some, town.now)
        .await
        .unwrap();
    let (rows, present) = (town.rows().await, town.wrapped().await);
    let there = common::folder("upgraded");
    let file = there.join("keys.db");
    version_three(&folder.join("new.db"), &file, &rows);

    town.table = SqliteKeyTable::open(&file).unwrap();
    assert_eq!(town.rows().await, rows);
    assert_eq!(town.wrapped().await, present);
    let counted = count(&there, &present);
    assert!(present.iter().all(|one| counted.get(one) == Some(&1)));
    let db = Connection::open(&file).unwrap();
    let owed: i64 = db
        .query_row("SELECT count(*) FROM scrub", [], |row| row.get(0))
        .unwrap();
    assert_eq!(owed, 0);
}

/// A file as version 3 wrote it, with the same heads and keys.
fn version_three(new: &Path, file: &Path, rows: &BTreeMap<TenantId, KeyRows>) {
    let db = Connection::open(file).unwrap();
    for statements in [
        include_str!("../src/key_table.sql"),
        include_str!("../src/key_table_former.sql"),
        include_str!("../src/key_table_scrub.sql"),
        "INSERT INTO migration VALUES (3, 'kta-storage 0.1.0')",
    ] {
        db.execute_batch(statements).unwrap();
    }
    db.execute("ATTACH ?1 AS new", [new.to_string_lossy()])
        .unwrap();
    db.execute_batch(
        "INSERT INTO head SELECT * FROM new.head;
         CREATE TEMP TABLE bodies AS SELECT firm, subject, former FROM new.person;",
    )
    .unwrap();
    for (tenant, rows) in rows {
        let firm: i64 = db
            .query_row(
                "SELECT no FROM head WHERE tenant = ?1",
                [tenant.as_bytes()],
                |row| row.get(0),
            )
            .unwrap();
        for row in rows.nodes.values() {
            let place = (row.node.level, row.node.index);
            let values = params![
                firm,
                place.0,
                place.1,
                row.version as i64,
                row.wrapped.as_bytes()
            ];
            db.execute("INSERT INTO node VALUES (?1, ?2, ?3, ?4, ?5)", values)
                .unwrap();
        }
        for row in rows.subjects.values() {
            let kept = row.kept().map(|(_, wrapped)| wrapped.as_bytes());
            let key = row.key.as_bytes();
            db.execute(
                "INSERT INTO subject VALUES (?1, ?2, ?3, ?4, ?5, ?6,
                     (SELECT former FROM bodies WHERE firm = ?1 AND subject = ?2), ?7)",
                params![
                    firm,
                    row.subject.as_bytes(),
                    row.slot,
                    row.generation,
                    key,
                    row.wrapped.as_bytes(),
                    kept
                ],
            )
            .unwrap();
        }
    }
    db.pragma_update(None, "application_id", i32::from_be_bytes(*b"KTAk"))
        .unwrap();
    db.pragma_update(None, "user_version", 3).unwrap();
}

/// How often each of these stands in the files of a folder.
fn count(folder: &Path, wanted: &HashSet<[u8; 16]>) -> HashMap<[u8; 16], usize> {
    // Most windows are turned away by their last two bytes.
    let end = |one: &[u8]| usize::from(u16::from_be_bytes([one[14], one[15]]));
    let mut ends = vec![false; 1 << 16];
    wanted.iter().for_each(|one| ends[end(one)] = true);
    let mut counted = HashMap::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap();
        for window in bytes.windows(16).filter(|window| ends[end(window)]) {
            let window: [u8; 16] = window.try_into().unwrap();
            if wanted.contains(&window) {
                *counted.entry(window).or_insert(0) += 1;
            }
        }
    }
    counted
}

fn tail(wrapped: &[u8]) -> [u8; 16] {
    *wrapped.last_chunk().unwrap()
}
