//! The stores of this crate and the one in memory give the same answers to the same random
//! history.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use kta_core::Error;
use kta_core::conformance::store::{Firm, Samples};
use kta_core::crypto::IndexTag;
use kta_core::memory::MemoryStore;
use kta_core::policy::Purpose;
use kta_core::ports::store::{
    Change, Durability, Expected, HoldQuery, Job, PlacementQuery, RecordBy, RecordQuery, Register,
    Settled, SheetQuery,
};
use kta_core::time::Timestamp;
use kta_core::{Code, pii::FieldName};
use kta_storage::SqliteStore;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn both_stores_answer_alike(history in prop::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let rows = Samples::of("agreement");
            let memory = MemoryStore::new();
            let folder = common::folder("agreement");
            let sqlite = SqliteStore::open(folder.join("firm.db")).unwrap();
            for step in history {
                let (one, other) = (play(&memory, &rows, &step).await, play(&sqlite, &rows, &step).await);
                prop_assert_eq!(one, other, "{:?}", step);
                prop_assert_eq!(state(&memory, &rows).await, state(&sqlite, &rows).await, "{:?}", step);
            }
            drop(sqlite);
            // And the same again after the file was closed and opened.
            let sqlite = SqliteStore::open(folder.join("firm.db")).unwrap();
            prop_assert_eq!(state(&memory, &rows).await, state(&sqlite, &rows).await);
            std::fs::remove_dir_all(folder).unwrap();
            Ok(())
        })?;
    }
}

#[cfg(feature = "postgres")]
proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_store_on_a_server_answers_like_the_one_in_memory(history in prop::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rows = Samples::of("agreement");
            let memory = MemoryStore::new();
            let server = common::cluster::Cluster::shared().by_socket("kta_app", "kta");
            let server = kta_storage::PgStore::open(&server).await.unwrap();
            for step in history {
                let (one, other) = (play(&memory, &rows, &step).await, play(&server, &rows, &step).await);
                prop_assert_eq!(one, other, "{:?}", step);
            }
            prop_assert_eq!(state(&memory, &rows).await, state(&server, &rows).await);
            Ok(())
        })?;
    }
}

#[derive(Clone, Debug)]
enum Step {
    Commit {
        at: i64,
        ops: Vec<Op>,
        events: Vec<Option<u8>>,
    },
    Lease {
        now: i64,
        length: i64,
        limit: usize,
    },
}

#[derive(Clone, Debug)]
enum Op {
    Enqueue(u8, i64),
    File(u8, u64, Want),
    Intern(u8),
    Place(u8, u8),
    PlaceHold(u8, Option<u8>, Option<u8>),
    Put(u8, u8, u64, Vec<u8>, Want),
    PutUnder(u8, u8, u8),
    Reclass(u8, u8, u8, u8),
    Reinstate(u8),
    Release(u8),
    Remove(u8, u8),
    RemoveSheet(u8),
    Settle(u8, Option<u64>, u8),
    Supersede(u8, u8),
}

#[derive(Clone, Copy, Debug)]
enum Want {
    Absent,
    Any,
    Before,
}

fn step() -> impl Strategy<Value = Step> {
    let events = prop::collection::vec(prop::option::of(0_u8..3), 0..3);
    prop_oneof![
        6 => (-50_i64..200, prop::collection::vec(op(), 0..4), events)
            .prop_map(|(at, ops, events)| Step::Commit { at, ops, events }),
        1 => (0_i64..90, -1_i64..60, 0_usize..4)
            .prop_map(|(now, length, limit)| Step::Lease { now, length, limit }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let want = || prop_oneof![Just(Want::Absent), Just(Want::Any), Just(Want::Before)];
    prop_oneof![
        (0_u8..4, 0_i64..60).prop_map(|(job, due)| Op::Enqueue(job, due)),
        (0_u8..4, 1_u64..4, want())
            .prop_map(|(sheet, revision, want)| Op::File(sheet, revision, want)),
        (0_u8..4).prop_map(Op::Intern),
        (0_u8..3, 0_u8..4, 0_u8..4)
            .prop_map(|(subject, record, class)| Op::PutUnder(subject, record, class)),
        (0_u8..3, 0_u8..4, 0_u8..4, 0_u8..4)
            .prop_map(|(subject, record, from, to)| Op::Reclass(subject, record, from, to)),
        (0_u8..4).prop_map(Op::Reinstate),
        (0_u8..4, 0_u8..4).prop_map(|(from, to)| Op::Supersede(from, to)),
        (0_u8..3, 0_u8..4).prop_map(|(subject, id)| Op::Place(subject, id)),
        (
            0_u8..3,
            prop::option::of(0_u8..3),
            prop::option::of(0_u8..3)
        )
            .prop_map(|(id, subject, matter)| Op::PlaceHold(id, subject, matter)),
        (
            0_u8..3,
            0_u8..4,
            1_u64..4,
            prop::collection::vec(0_u8..3, 0..3),
            want()
        )
            .prop_map(|(subject, record, revision, tags, want)| Op::Put(
                subject, record, revision, tags, want
            )),
        (0_u8..3).prop_map(Op::Release),
        (0_u8..3, 0_u8..4).prop_map(|(subject, record)| Op::Remove(subject, record)),
        (0_u8..4).prop_map(Op::RemoveSheet),
        (0_u8..4, prop::option::of(0_u64..3), 0_u8..4)
            .prop_map(|(job, lease, how)| Op::Settle(job, lease, how)),
    ]
}

impl Op {
    fn change(&self, rows: &Samples) -> Change {
        let expected = |want, revision: u64| match want {
            Want::Absent => Expected::Absent,
            Want::Any => Expected::Any,
            Want::Before => Expected::Revision(revision - 1),
        };
        match self {
            Self::Enqueue(job, due) => Change::Enqueue(rows.job(*job, *due)),
            Self::File(sheet, revision, want) => Change::File {
                sheet: rows.sheet(Register::Receipts, *sheet, *revision),
                expected: expected(*want, *revision),
            },
            Self::Intern(class) => Change::Intern(rows.class_of(*class)),
            Self::Place(subject, id) => {
                Change::PutPlacement(rows.placement(*subject, *id, "kta-store"))
            }
            Self::PlaceHold(id, subject, matter) => {
                Change::PlaceHold(rows.hold(*id, *subject, *matter))
            }
            Self::Put(subject, record, revision, tags, want) => rows.put(
                *subject,
                *record,
                *revision,
                tags,
                expected(*want, *revision),
            ),
            Self::PutUnder(subject, record, class) => {
                let class = rows.class_of(*class);
                rows.put_under(&class, *subject, *record, 1, Expected::Any)
            }
            Self::Reclass(subject, record, from, to) => Change::Reclass {
                key: rows.key(*subject, *record),
                from: rows.class_of(*from).id(),
                to: rows.class_of(*to).id(),
            },
            Self::Reinstate(class) => Change::Reinstate(rows.class_of(*class).id()),
            Self::Release(id) => Change::ReleaseHold {
                hold: rows.hold(*id, None, None).id,
                by: rows.actor(),
            },
            Self::Remove(subject, record) => Change::RemoveRecord(rows.key(*subject, *record)),
            Self::RemoveSheet(sheet) => Change::RemoveSheet(
                Register::Receipts,
                rows.sheet(Register::Receipts, *sheet, 1).id,
            ),
            Self::Settle(job, lease, how) => {
                let outcome = match how {
                    0 => Settled::Done,
                    1 => Settled::Dead(None),
                    2 => Settled::Dead(Some(Code::DstHold)),
                    _ => Settled::Retry(rows.set(20_000).at),
                };
                Change::Settle {
                    job: rows.job(*job, 0).id,
                    lease: *lease,
                    outcome,
                }
            }
            Self::Supersede(from, to) => Change::Supersede {
                from: rows.class_of(*from).id(),
                to: rows.class_of(*to),
            },
        }
    }
}

async fn play(store: &dyn Firm, rows: &Samples, step: &Step) -> String {
    let said = match step {
        Step::Commit { at, ops, events } => {
            let mut set = rows.set(*at);
            set.durability = Durability::Bounded;
            set.changes = ops.iter().map(|op| op.change(rows)).collect();
            set.events = events.iter().map(|subject| rows.event(*subject)).collect();
            match store.commit(set).await {
                Ok(mut done) => {
                    // Events alone may be numbered later; nobody else writes, so these are the last.
                    let size = store.size(rows.tenant).await.unwrap();
                    done.first.get_or_insert(size - done.entries);
                    Ok(format!("{done:?}"))
                }
                Err(error) => Err(error),
            }
        }
        Step::Lease { now, length, limit } => {
            let (now, until) = (second(rows, *now), second(rows, now + length));
            store
                .lease(rows.tenant, now, until, *limit)
                .await
                .map(|jobs| format!("{jobs:?}"))
        }
    };
    match said {
        Ok(said) => said,
        // Which words a fault has is each adapter's own; which kind it is, is the contract's.
        Err(Error::Broken(fault)) => format!("{:?} at {}", fault.kind(), fault.port()),
        Err(error) => error.to_string(),
    }
}

/// Everything that can be asked.
async fn state(store: &dyn Firm, rows: &Samples) -> String {
    let tenant = rows.tenant;
    let mut said = String::new();
    let mut by = Vec::new();
    for number in 0..3 {
        by.push(RecordBy::Subject(rows.subject(number)));
        by.push(RecordBy::Matter(rows.matter(number)));
        let (field, tag): (FieldName, IndexTag) = rows.tag(number);
        by.push(RecordBy::Tag(field, tag));
    }
    for number in 0..4 {
        by.push(RecordBy::Class(rows.class_of(number).id()));
    }
    by.push(RecordBy::Purpose(Purpose::Filing));
    by.push(RecordBy::Purpose(Purpose::Representation));
    for by in by {
        for query in [
            RecordQuery::all(tenant, by.clone()),
            RecordQuery::all(tenant, by.clone()).page(Some(rows.key(0, 1).record), 2),
            RecordQuery::all(tenant, by).for_purpose(Purpose::Filing),
        ] {
            said += &format!("{:?}\n", store.records(&query).await.unwrap());
        }
    }
    for subject in 0..3 {
        for record in 0..4 {
            said += &format!(
                "{:?}\n",
                store.record(&rows.key(subject, record)).await.unwrap()
            );
        }
        let of = PlacementQuery::of(tenant, rows.subject(subject));
        said += &format!("{:?}\n", store.placements(&of).await.unwrap());
        let covering =
            HoldQuery::covering(tenant, rows.subject(subject), Some(rows.matter(subject)));
        said += &format!("{:?}\n", store.holds(&covering).await.unwrap());
        let (from, to) = (rows.set(0).at, rows.set(150).at);
        said += &format!(
            "{:?}\n",
            store
                .trail(tenant, rows.subject(subject), from, to)
                .await
                .unwrap()
        );
        let sheets = SheetQuery {
            subject: Some(rows.subject(subject)),
            ..SheetQuery::all(tenant, Register::Receipts)
        };
        said += &format!("{:?}\n", store.sheets(&sheets).await.unwrap());
    }
    let holds = HoldQuery {
        tenant,
        subject: None,
        matter: None,
        active: false,
    };
    said += &format!("{:?}\n", store.holds(&holds).await.unwrap());
    for register in [Register::Classes, Register::Successions] {
        let sheets = SheetQuery::all(tenant, register);
        said += &format!("{:?}\n", store.sheets(&sheets).await.unwrap());
    }
    let jobs: Vec<Job> = store.jobs(tenant, None).await.unwrap();
    said += &format!("{jobs:?}\n{}\n", store.size(tenant).await.unwrap());
    for entry in store.entries(tenant, 0, usize::MAX).await.unwrap() {
        said += &String::from_utf8(entry).unwrap();
    }
    said
}

fn second(rows: &Samples, number: i64) -> Timestamp {
    rows.set(number * 1000).at
}
