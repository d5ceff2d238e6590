//! Entries that are committed together stand together, and nobody reads what was put among them.

use kta_core::FaultKind;
use kta_core::conformance::store::Samples;
use kta_core::memory::MemoryStore;
use kta_core::ports::store::{Durability, Ledger as _, Store as _};
use kta_storage::{PgOwner, PgStore};
use tokio_postgres::Client;

use crate::common::cluster::{Cluster, admin};
use crate::common::log::{agree, said};
use crate::walls::{as_firm, hex};

#[tokio::test]
async fn entries_are_what_they_were_whatever_row_they_stand_in() {
    let (cluster, rows) = (Cluster::shared(), Samples::of("pages of the log"));
    let store = PgStore::open(&cluster.options("kta_app", "kta"))
        .await
        .unwrap();
    let model = MemoryStore::new();
    let mut now = 0;
    for many in [1, 2, 60, 127, 128, 700, 1] {
        now += 10;
        for durability in [Durability::Durable, Durability::Bounded] {
            let mut set = said(&rows, many, now);
            set.durability = durability;
            model.commit(set.clone()).await.unwrap();
            store.commit(set).await.unwrap();
        }
        agree(&store, &model, &rows).await;
    }
    let client = admin(&cluster.url("kta_app", "kta")).await;
    as_firm(&client, &rows).await;
    let (many, longest) = counted(&client).await;
    assert!(
        many < 120,
        "{many} rows of {}",
        store.size(rows.tenant).await.unwrap()
    );
    // Longer ones would be put aside by the server, in pieces.
    assert!((1_500..=1_900).contains(&longest), "{longest}");
}

/// Version 4 had a row for each entry.
#[tokio::test]
async fn tables_of_version_4_keep_their_log() {
    let cluster = Cluster::shared();
    let base = format!("version_4_{}", std::process::id());
    cluster.database(&base);
    let rows = Samples::of("version 4");
    let canonical = |seq: u64| {
        let event = rows.event(Some(seq as u8 % 7));
        event.into_entry(seq, rows.set(0).at).canonical()
    };
    let mut expected: Vec<_> = (0..300).map(canonical).collect();
    let superuser = cluster.admin(&base).await;
    let firm = format!(
        "INSERT INTO kta.firm (tenant, size, last_at) VALUES ('{}', 300, {})",
        hex(&rows),
        rows.set(0).at.timestamp_millis()
    );
    superuser.batch_execute(&firm).await.unwrap();
    for (seq, entry) in (0_i64..).zip(&expected) {
        let sql = format!("INSERT INTO kta.entry VALUES ('{}', $1, $2)", hex(&rows));
        superuser.execute(&sql, &[&seq, entry]).await.unwrap();
    }
    let back = "DELETE FROM kta.migration WHERE version = 5";
    superuser.batch_execute(back).await.unwrap();
    let options = cluster.options("kta_app", &base);
    assert!(PgStore::open(&options).await.is_err(), "of another version");
    let owner = PgOwner::new(&cluster.options("kta_owner", &base)).unwrap();
    owner.migrate("kta_app").await.unwrap();

    let store = PgStore::open(&options).await.unwrap();
    for more in [0, 1, 30, 1] {
        let fresh = expected.len() as u64..expected.len() as u64 + more;
        let events = fresh.clone().map(|seq| rows.event(Some(seq as u8 % 7)));
        expected.extend(fresh.map(canonical));
        let set = events.fold(rows.set(0), kta_core::ports::ChangeSet::event);
        if more > 0 {
            store.commit(set).await.unwrap();
        }
        let log = store.entries(rows.tenant, 0, usize::MAX).await.unwrap();
        assert_eq!(log, expected);
        for from in [0, 1, 150, 299, 300, 305] {
            let one = store.entries(rows.tenant, from as u64, 1).await.unwrap();
            assert_eq!(
                one.as_slice(),
                expected.get(from..=from).unwrap_or_default()
            );
        }
    }
}

/// The application may add to the log. What it added amid a page is not there for whoever reads
/// the page's entry, and neither is it read in its place.
#[tokio::test]
async fn a_row_that_was_added_amid_a_page_is_found_out() {
    let cluster = Cluster::shared();
    let store = PgStore::open(&cluster.options("kta_app", "kta"))
        .await
        .unwrap();
    let client = admin(&cluster.url("kta_app", "kta")).await;
    for (name, places) in [
        ("amid", [50_u64, 51]),
        ("at the end", [249, 250]),
        ("behind", [252, 251]),
    ] {
        let rows = Samples::of(&format!("forged {name}"));
        for now in 0..2 {
            store.commit(said(&rows, 125, now)).await.unwrap();
        }
        let first = store.entries(rows.tenant, 0, 3).await.unwrap();
        for place in places {
            as_firm(&client, &rows).await;
            let forged = rows.event(Some(9)).into_entry(place, rows.set(1).at);
            let sql = format!("INSERT INTO kta.entry VALUES ('{}', $1, $2)", hex(&rows));
            let place = place.cast_signed();
            client
                .execute(&sql, &[&place, &forged.canonical()])
                .await
                .unwrap();
            client.batch_execute("COMMIT").await.unwrap();
        }
        for place in places {
            let read = store.entries(rows.tenant, place, 1).await;
            let whole = store.entries(rows.tenant, 0, usize::MAX).await;
            for outcome in [read, whole] {
                let kind = outcome.unwrap_err().fault().map(kta_core::Fault::kind);
                assert_eq!(kind, Some(FaultKind::Corrupt), "{name} {place}");
            }
        }
        // What is too far away to be covered is read.
        assert_eq!(store.entries(rows.tenant, 0, 3).await.unwrap(), first);
        if name != "amid" {
            let next = store.commit(said(&rows, 1, 2)).await.unwrap_err();
            assert_eq!(
                next.fault().map(kta_core::Fault::kind),
                Some(FaultKind::Corrupt)
            );
        }
    }
}

/// Nobody may take a hole in the log for its end.
#[tokio::test]
async fn a_log_that_lost_its_middle_does_not_end_there() {
    let cluster = Cluster::shared();
    let base = format!("hole_{}", std::process::id());
    cluster.database(&base);
    let rows = Samples::of("a hole");
    let store = PgStore::open(&cluster.options("kta_app", &base))
        .await
        .unwrap();
    for now in 0..6 {
        store.commit(said(&rows, 100, now)).await.unwrap();
    }
    let hole = "DELETE FROM kta.entry WHERE seq BETWEEN 200 AND 499";
    let superuser = cluster.admin(&base).await;
    assert!(superuser.execute(hole, &[]).await.unwrap() > 0);
    for (from, limit) in [
        (200, 50),
        (250, 10),
        (150, 100),
        (0, usize::MAX),
        (450, 100),
    ] {
        let read = store.entries(rows.tenant, from, limit).await;
        let kind = read.unwrap_err().fault().map(kta_core::Fault::kind);
        assert_eq!(kind, Some(FaultKind::Corrupt), "{from} {limit}");
    }
    assert_eq!(
        store.entries(rows.tenant, 100, 100).await.unwrap().len(),
        100
    );
    assert!(store.entries(rows.tenant, 600, 9).await.unwrap().is_empty());
}

async fn counted(client: &Client) -> (i64, i32) {
    let sql = "SELECT count(*), max(length(bytes)) FROM kta.entry";
    let row = client.query_one(sql, &[]).await.unwrap();
    client.batch_execute("COMMIT").await.unwrap();
    (row.get(0), row.get(1))
}
