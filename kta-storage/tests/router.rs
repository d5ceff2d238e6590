//! Several stores behind one: where firms are, where they stay, and what is refused. The
//! contract of the ports over a router is in `conformance.rs`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use kta_core::audit::Label;
use kta_core::conformance::store::Samples;
use kta_core::id::TenantId;
use kta_core::pii::placement::CopyOf;
use kta_core::ports::store::{Change, ChangeSet, Expected, JobState, Register, SheetQuery};
use kta_core::ports::{Jobs as _, Ledger as _, Store as _};
use kta_core::{Error, Fault, FaultKind};
use kta_storage::{Router, ShardMap, SqliteStore};

const NAMES: [Label; 3] = [
    Label::fixed("one"),
    Label::fixed("two"),
    Label::fixed("three"),
];

#[tokio::test]
async fn a_new_shard_moves_no_firm() {
    let file = common::folder("map").join("shards");
    let mut map = ShardMap::over(NAMES).unwrap();
    map.save(&file).unwrap();
    let firms: Vec<_> = (0..500).map(firm).collect();
    let homes: Vec<_> = firms
        .iter()
        .map(|firm| map.shard_of(*firm).unwrap().clone())
        .collect();
    map.add(Label::fixed("four")).unwrap();
    map.save(&file).unwrap();
    let read = ShardMap::read(&file).unwrap();
    assert_eq!((read.revision(), read.shards().count()), (2, 4));
    for (firm, home) in firms.iter().zip(&homes) {
        assert_eq!(read.shard_of(*firm).unwrap(), home);
    }
    for name in NAMES {
        assert!(homes.contains(&name), "nobody in {name}");
    }
}

#[tokio::test]
async fn a_firm_whose_shard_is_not_here_is_refused() {
    let map = ShardMap::over(NAMES).unwrap();
    let router = Router::open(map, [shard(0).await]).await.unwrap();
    let (here, elsewhere) = (home_of(&router, 0), home_of(&router, 1));
    router.size(here).await.unwrap();
    let rows = Samples { tenant: elsewhere };
    let set = rows.set(0).event(rows.event(None));
    let refused = [
        router.commit(set).await.map(drop),
        router.size(elsewhere).await.map(drop),
        router.jobs(elsewhere, None).await.map(drop),
        router.record(&rows.key(1, 1)).await.map(drop),
    ];
    for outcome in refused {
        assert_eq!(kind(outcome), FaultKind::Misconfigured);
    }
}

#[tokio::test]
async fn a_store_that_is_another_shard_or_none_is_refused() {
    let map = ShardMap::over(NAMES).unwrap();
    let [(one, first), (two, second), _] = shards().await;
    let swapped = [(one.clone(), second.clone()), (two.clone(), first.clone())];
    let empty = SqliteStore::open(common::folder("routed").join("firm.db")).unwrap();
    let unknown = Label::fixed("four");
    Router::mark(&unknown, &empty).await.unwrap();
    let bare = SqliteStore::open(common::folder("routed").join("firm.db")).unwrap();
    let twice = [(one.clone(), first.clone()), (one.clone(), first.clone())];
    for stores in [
        swapped.to_vec(),
        vec![(unknown, empty)],
        vec![(one.clone(), bare)],
        twice.to_vec(),
    ] {
        let opened = Router::open(map.clone(), stores).await;
        assert_eq!(kind(opened), FaultKind::Misconfigured);
    }
    assert_eq!(
        kind(Router::mark(&two, &first).await),
        FaultKind::Misconfigured
    );
    Router::mark(&one, &first).await.unwrap();
    Router::open(map, [(one, first), (two, second)])
        .await
        .unwrap();
}

#[tokio::test]
async fn one_firms_set_never_spans_shards() {
    let stores = shards().await;
    let map = ShardMap::over(NAMES).unwrap();
    let router = Router::open(map, stores.clone()).await.unwrap();
    let (ours, theirs) = (home_of(&router, 0), home_of(&router, 1));
    let (rows, others) = (Samples { tenant: ours }, Samples { tenant: theirs });
    let foreign = [
        rows.set(0)
            .with(Change::Enqueue(rows.job(1, 0)))
            .with(Change::PutPlacement(others.placement(1, 1, "kta-store"))),
        rows.set(0)
            .event(rows.event(None))
            .event(others.event(None)),
        rows.set(0).with(Change::PutRecord {
            record: others.record(1, 1, 1),
            index: Vec::new(),
            expected: Expected::Absent,
        }),
    ];
    for set in foreign {
        assert_eq!(kind(router.commit(set).await), FaultKind::Protocol);
    }
    for (_, store) in &stores {
        for tenant in [ours, theirs] {
            assert_eq!(store.size(tenant).await.unwrap(), 0);
            assert_eq!(store.jobs(tenant, None).await.unwrap(), []);
            let rows = Samples { tenant };
            assert_eq!(store.record(&rows.key(1, 1)).await.unwrap(), None);
        }
    }
    // And what is one firm's is in one shard, whole.
    router.commit(life(&rows)).await.unwrap();
    let sizes = [&stores[0].1, &stores[1].1, &stores[2].1];
    let mut found = Vec::new();
    for store in sizes {
        found.push(store.size(ours).await.unwrap());
    }
    assert_eq!(found, [2, 0, 0]);
    let all = router.jobs(ours, Some(JobState::Waiting)).await.unwrap();
    assert_eq!(all.len(), 1);
}

#[tokio::test]
async fn a_firm_is_served_by_its_new_shard_only_when_both_agree() {
    let file = common::folder("map").join("shards");
    let stores = shards().await;
    let mut map = ShardMap::over(NAMES).unwrap();
    map.save(&file).unwrap();
    let router = Router::open(map.clone(), stores.clone()).await.unwrap();
    let rows = Samples {
        tenant: home_of(&router, 0),
    };
    router.commit(life(&rows)).await.unwrap();

    map.begin_move(rows.tenant, NAMES[1].clone()).unwrap();
    map.save(&file).unwrap();
    let router = Router::open(map.clone(), stores.clone()).await.unwrap();
    assert_eq!(
        kind(router.size(rows.tenant).await),
        FaultKind::Unavailable,
        "a firm under way"
    );
    let bystander = home_of_other(&router, rows.tenant);
    router.size(bystander).await.unwrap();

    // Nothing was copied yet, then half of it, then something more than there was.
    assert_eq!(kind(router.agree(rows.tenant).await), FaultKind::Corrupt);
    let (old, new) = (&stores[0].1, &stores[1].1);
    let mut half = life(&rows);
    let record = half.changes.remove(0);
    new.commit(half).await.unwrap();
    assert_eq!(kind(router.agree(rows.tenant).await), FaultKind::Corrupt);
    new.commit(rows.set(0).with(record)).await.unwrap();
    let agreed = router.agree(rows.tenant).await.unwrap();
    let more = Change::File {
        sheet: rows.sheet(Register::Training, 9, 1),
        expected: Expected::Absent,
    };
    new.commit(rows.set(0).with(more)).await.unwrap();
    assert_eq!(kind(router.agree(rows.tenant).await), FaultKind::Corrupt);

    map.end_move(agreed).unwrap();
    map.save(&file).unwrap();
    let map = ShardMap::read(&file).unwrap();
    let router = Router::open(map.clone(), stores.clone()).await.unwrap();
    assert_eq!(map.shard_of(rows.tenant).unwrap(), &NAMES[1]);
    let further = rows.set(1).event(rows.event(None));
    router.commit(further).await.unwrap();
    assert_eq!(new.size(rows.tenant).await.unwrap(), 3);
    assert_eq!(old.size(rows.tenant).await.unwrap(), 2);
    let query = SheetQuery::all(rows.tenant, Register::Training);
    assert_eq!(router.sheets(&query).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_copy_that_lacks_anything_is_refused() {
    let mut agreed = Vec::new();
    for lost in [
        "DELETE FROM sheet WHERE register = 'successions'",
        "DELETE FROM sheet WHERE register = 'receipts' AND firm = :firm",
        "UPDATE trail_young SET bytes = substr(bytes, 33)",
        "DELETE FROM tag",
        "UPDATE record SET tags = x'0100' WHERE record = x'01010101010101010101010101010101'",
        "DELETE FROM class WHERE id NOT IN (SELECT governing FROM reign)",
        "UPDATE class SET admits = 0",
        // Of somebody whom the log names, of a class that is interned, of neither.
        "DELETE FROM record WHERE record = x'02020202020202020202020202020202'",
        "DELETE FROM record WHERE record = x'03030303030303030303030303030303'",
        "DELETE FROM record WHERE record = x'04040404040404040404040404040404'",
        "DELETE FROM placement",
        "UPDATE hold SET body = CAST(replace(body, '2026-01', '2026-02') AS BLOB)",
        "DELETE FROM job",
    ] {
        let stores = shards().await;
        let mut map = ShardMap::over(NAMES).unwrap();
        let tenant = (0..).map(firm).find(|tenant| {
            let home = map.shard_of(*tenant);
            home.ok() == Some(&NAMES[0])
        });
        let rows = Samples {
            tenant: tenant.unwrap(),
        };
        let (class, of_law) = (rows.class_of(1), rows.class_of(2));
        let whole = life(&rows)
            .with(rows.put_under(&of_law, 1, 2, 1, Expected::Absent))
            .with(Change::Intern(class.clone()))
            .with(rows.put_under(&class, 3, 3, 1, Expected::Absent))
            .with(rows.put_under(&rows.class_of(9), 4, 4, 1, Expected::Absent))
            .with(Change::Intern(rows.class_of(5)))
            .with(Change::Supersede {
                from: rows.class_of(5).id(),
                to: rows.class_of(6),
            });
        for (_, store) in &stores[..2] {
            store.commit(whole.clone()).await.unwrap();
        }
        map.begin_move(rows.tenant, NAMES[1].clone()).unwrap();
        let router = Router::open(map, stores.clone()).await.unwrap();
        drop(router.agree(rows.tenant).await.unwrap());
        let file = rusqlite::Connection::open(stores[1].1.path()).unwrap();
        let lost = lost.replace(":firm", "(SELECT no FROM firm WHERE size > 0)");
        assert!(file.execute(&lost, []).unwrap() > 0, "{lost}");
        match router.agree(rows.tenant).await {
            Ok(_) => agreed.push(lost),
            refused => assert_eq!(kind(refused), FaultKind::Corrupt),
        }
    }
    assert!(agreed.is_empty(), "{agreed:#?}");
}

#[tokio::test]
async fn a_move_that_was_given_up_or_begun_anew_is_not_ended_by_an_old_comparison() {
    let stores = shards().await;
    let mut map = ShardMap::over(NAMES).unwrap();
    let tenant = firm(1);
    let home = map.shard_of(tenant).unwrap().clone();
    let others: Vec<_> = NAMES.into_iter().filter(|name| *name != home).collect();
    assert_eq!(
        kind(map.begin_move(tenant, home.clone())),
        FaultKind::Misconfigured
    );
    map.begin_move(tenant, others[0].clone()).unwrap();
    assert_eq!(
        kind(map.begin_move(tenant, others[1].clone())),
        FaultKind::Unavailable
    );
    // A firm that has not begun agrees at once: so it is founded where one likes.
    let router = Router::open(map.clone(), stores.clone()).await.unwrap();
    let agreed = router.agree(tenant).await.unwrap();
    map.give_up_move(tenant).unwrap();
    assert_eq!(map.shard_of(tenant).unwrap(), &home);
    map.begin_move(tenant, others[1].clone()).unwrap();
    assert_eq!(kind(map.end_move(agreed)), FaultKind::Conflict);

    // Nor when it is begun anew between the same two: meanwhile the firm was at work.
    let router = Router::open(map.clone(), stores.clone()).await.unwrap();
    let agreed = router.agree(tenant).await.unwrap();
    map.give_up_move(tenant).unwrap();
    map.begin_move(tenant, others[1].clone()).unwrap();
    assert_eq!(kind(map.end_move(agreed)), FaultKind::Conflict);
    let router = Router::open(map.clone(), stores).await.unwrap();
    let agreed = router.agree(tenant).await.unwrap();
    map.end_move(agreed).unwrap();
    assert_eq!(map.shard_of(tenant).unwrap(), &others[1]);
}

#[test]
fn of_two_who_save_the_map_one_is_refused_and_a_damaged_file_is_no_map() {
    let file = common::folder("map").join("shards");
    let missing = ShardMap::read(&file);
    assert_eq!(kind(missing), FaultKind::NotFound);
    let mut map = ShardMap::over(NAMES).unwrap();
    map.save(&file).unwrap();
    let (mut mine, mut yours) = (ShardMap::read(&file).unwrap(), map);
    mine.add(Label::fixed("four")).unwrap();
    yours.add(Label::fixed("five")).unwrap();
    mine.save(&file).unwrap();
    assert_eq!(kind(yours.save(&file)), FaultKind::Conflict);
    assert_eq!(ShardMap::read(&file).unwrap(), mine);

    let whole = std::fs::read_to_string(&file).unwrap();
    for damaged in [
        String::new(),
        whole[..whole.len() / 2].to_owned(),
        whole.replacen("\"two\"", "\"six\"", 4),
        whole.replacen("\"one\",", "", 2),
        whole.replace("kta-shards/1", "kta-shards/2"),
    ] {
        assert_ne!(damaged, whole);
        std::fs::write(&file, damaged).unwrap();
        assert_eq!(kind(ShardMap::read(&file)), FaultKind::Corrupt);
    }
    let twice = [Label::fixed("one"), Label::fixed("one")];
    assert_eq!(kind(ShardMap::over(twice)), FaultKind::Misconfigured);
    assert_eq!(kind(ShardMap::over([])), FaultKind::Misconfigured);
}

/// A record with its tags, a placement of it, a hold, a job, a sheet and two entries.
fn life(rows: &Samples) -> ChangeSet {
    let mut copy = rows.placement(1, 1, "kta-store");
    copy.of = CopyOf::Record(rows.key(1, 1).record);
    rows.set(0)
        .with(Change::PutRecord {
            record: rows.record(1, 1, 1),
            index: vec![rows.tag(1)],
            expected: Expected::Absent,
        })
        .with(Change::PutPlacement(copy))
        .with(Change::PlaceHold(rows.hold(1, Some(1), None)))
        .with(Change::Enqueue(rows.job(1, 0)))
        .with(Change::File {
            sheet: rows.sheet(Register::Receipts, 1, 1),
            expected: Expected::Absent,
        })
        .event(rows.event(Some(1)))
        .event(rows.event(None))
}

async fn shards() -> [(Label, SqliteStore); 3] {
    [shard(0).await, shard(1).await, shard(2).await]
}

async fn shard(number: usize) -> (Label, SqliteStore) {
    let store = SqliteStore::open(common::folder("routed").join("firm.db")).unwrap();
    Router::mark(&NAMES[number], &store).await.unwrap();
    (NAMES[number].clone(), store)
}

fn firm(number: u32) -> TenantId {
    TenantId::derived(&[b"an invented firm", &number.to_be_bytes()])
}

/// A firm that lives in this shard.
fn home_of<S: kta_core::ports::Store>(router: &Router<S>, shard: usize) -> TenantId {
    let lives = |tenant: &TenantId| router.map().shard_of(*tenant).ok() == Some(&NAMES[shard]);
    (0..).map(firm).find(lives).unwrap()
}

/// Another firm of any shard.
fn home_of_other<S: kta_core::ports::Store>(router: &Router<S>, tenant: TenantId) -> TenantId {
    let lives = |other: &TenantId| *other != tenant && router.store_of(*other).is_ok();
    (0..).map(firm).find(lives).unwrap()
}

fn kind<T>(outcome: Result<T, Error>) -> FaultKind {
    let error = outcome.err().expect("it is refused");
    error.fault().map(Fault::kind).expect("a fault")
}
