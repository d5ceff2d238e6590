//! One person among many made unreadable, against deleting the rows.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use kta_core::crypto::Hierarchy;
use kta_core::id::{SubjectId, TenantId};
use kta_core::time::{Entropy, Timestamp};
use kta_keys::{LocalKeyring, OsEntropy, Unlock};
use kta_storage::SqliteKeyTable;
use rusqlite::{Connection, params};

use crate::figures::{Figures, median, sized, target};

/// Our part is the whole of it as the process sees it: the tree's path re-keyed, the table's
/// commit on disk, the old key-encryption key out of the local keyring's file. The peer deletes
/// the person's rows with `secure_delete` and vacuums, which is what it takes until no page of
/// the file holds them; it does not reach any backup, and ours does.
pub(crate) fn measure(figures: &mut Figures) {
    let people = sized(1_000_000, 50_000);
    let rounds = sized(7, 5);
    let folder = tempfile::tempdir_in(target()).unwrap();
    let runtime = crate::runtime();
    let now: Timestamp = "2026-11-22T09:00:00Z".parse().unwrap();
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    println!("  giving {people} people keys");
    let keys = runtime.block_on(async {
        let key_file = folder.path().join("unlock");
        std::fs::write(&key_file, [7; 32]).unwrap();
        restrict(&key_file);
        let unlock = Unlock::key_file(&key_file);
        let ring = LocalKeyring::create(&folder.path().join("keyring"), &unlock, entropy.clone());
        let table = SqliteKeyTable::open(folder.path().join("keys.db")).unwrap();
        let (kms, table) = (Arc::new(ring.unwrap()), Arc::new(table));
        let keys = Hierarchy::open(tenant(), kms, table, entropy, now)
            .await
            .unwrap();
        let all: Vec<_> = (0..people).map(subject).collect();
        for some in all.chunks(65_536) {
            keys.enroll_all(some).await.unwrap();
        }
        keys
    });
    println!("  filling the peer with their rows");
    let mut peer = Peer::fill(&folder.path().join("peer.db"), people);

    let (mut light, mut heavy, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        light.push(seconds(|| {
            erase(&runtime, &keys, subject(round * 2 + HEAVY), now)
        }));
        heavy.push(seconds(|| erase(&runtime, &keys, subject(round), now)));
        if round < sized(3, 2) {
            deleted.push(seconds(|| peer.delete(subject(round))));
        }
    }
    let (light, heavy, deleted) = (median(light), median(heavy), median(deleted));
    figures.at_most(
        &format!("erasure of one person among {people}"),
        heavy * 1e3,
        "ms",
        50.0,
    );
    figures.at_least(
        &format!("deleting the rows and VACUUM ÷ erasure, {people} people"),
        deleted / heavy,
        "times",
        100.0,
    );
    figures.at_most(
        "erasure of a person with 1,000 records ÷ with one",
        heavy / light,
        "times",
        1.5,
    );
}

/// Rows in plain SQLite: a kilobyte a record, one record a person, but the first few have many.
struct Peer(Connection);

impl Peer {
    fn fill(path: &Path, people: usize) -> Self {
        let mut database = Connection::open(path).unwrap();
        database
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;
                 CREATE TABLE records (subject BLOB NOT NULL, number INTEGER NOT NULL,
                     body BLOB NOT NULL, PRIMARY KEY (subject, number)) WITHOUT ROWID;",
            )
            .unwrap();
        let mut body = vec![0; 1000];
        OsEntropy.fill(&mut body);
        let transaction = database.transaction().unwrap();
        {
            let mut insert = transaction
                .prepare("INSERT INTO records VALUES (?1, ?2, ?3)")
                .unwrap();
            let mut ids: Vec<_> = (0..people).map(|who| (subject(who), who)).collect();
            ids.sort_unstable();
            for (id, who) in ids {
                let records = if who < HEAVY { 1000 } else { 1 };
                for number in 0..records {
                    insert
                        .execute(params![id.as_bytes(), number, body])
                        .unwrap();
                }
            }
        }
        transaction.commit().unwrap();
        Self(database)
    }

    fn delete(&mut self, person: SubjectId) {
        let gone = self.0.execute(
            "DELETE FROM records WHERE subject = ?1",
            [person.as_bytes()],
        );
        assert_eq!(gone.unwrap(), 1000);
        self.0
            .execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")
            .unwrap();
    }
}

fn erase(runtime: &tokio::runtime::Runtime, keys: &Hierarchy, who: SubjectId, now: Timestamp) {
    let evidence = runtime.block_on(keys.erase(&[who], now)).unwrap();
    evidence[0].proven().unwrap();
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

#[cfg(unix)]
pub(crate) fn restrict(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[cfg(not(unix))]
pub(crate) fn restrict(_: &Path) {}

fn tenant() -> TenantId {
    TenantId::derived(&[b"a firm"])
}

fn subject(number: usize) -> SubjectId {
    SubjectId::derived(&[b"person", &number.to_be_bytes()])
}

/// How many people have a thousand records each.
const HEAVY: usize = 8;
