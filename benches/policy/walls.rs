//! Whether the time of an answer tells what is behind a wall from what does not exist.
//!
//! Both questions are put in turn, in an order drawn anew for each pair, and each answer is timed.
//! Whoever wants to tell them apart picks a threshold of time, and the best that any threshold can
//! do is the largest distance between the two distributions (Kolmogorov–Smirnov), in percent: 0 is
//! guessing, 100 is knowing. The same distance between two things that do not exist says how much
//! of it is chance. The store is in memory and no disk is waited for, which is where a difference
//! shows most: over a real one the durable entry before each answer takes milliseconds.

use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::time::Instant;

use kta_core::audit::Label;
use kta_core::id::{ActorId, Digest, MatterId, RecordId, SubjectId};
use kta_core::memory::MemoryPorts;
use kta_core::pii::{
    Category, FieldName, Fields, Matter, MatterState, Party, Pii, RecordKey, Schema,
};
use kta_core::pipeline::{House, look, manage};
use kta_core::policy::{Act, Actor, Form, LawfulBasis, Purpose, Role, Scope, Session};
use kta_core::ports::store::{Change, ChangeSet, Expected};

use crate::figures::{Figures, quantile, sized};

pub(crate) fn measure(figures: &mut Figures) {
    let office = Office::open();
    let (here, nowhere) = (office.walled, MatterId::derived(&[b"nowhere"]));
    let (client, nobody) = (office.client, SubjectId::derived(&[b"nobody"]));
    let session = office.session();
    let people = |matter| {
        drop(black_box(now(look::people(
            &office.house,
            &session,
            matter,
        ))))
    };
    let search = |number: &str| {
        let (schema, field) = (Schema::person(), FieldName::fixed("passport_number"));
        let typed = Pii::new(number.to_owned());
        let found = look::search(&office.house, &session, None, (&schema, &field), &typed);
        assert!(now(found).unwrap().is_empty());
    };
    let export = |subject| {
        let all = look::export(
            &office.house,
            &session,
            subject,
            None,
            &[Category::Identity],
        );
        assert!(now(all).is_err());
    };
    let list = || drop(black_box(now(look::matters(&office.house, &session))));
    list();
    let elsewhere = MatterId::derived(&[b"elsewhere"]);
    told(
        figures,
        "the people of a matter",
        || people(here),
        || people(nowhere),
        || people(elsewhere),
    );
    told(
        figures,
        "a search by passport number",
        || search("XQ9900001"),
        || search("XQ9900002"),
        || search("XQ9900003"),
    );
    let stranger = SubjectId::derived(&[b"stranger"]);
    told(
        figures,
        "an export",
        || export(client),
        || export(nobody),
        || export(stranger),
    );
}

/// How far the times of two questions are apart, and those of two about nothing.
fn told(figures: &mut Figures, what: &str, hidden: impl Fn(), absent: impl Fn(), other: impl Fn()) {
    let rounds = sized(6_000, 1_500);
    let mut times: [Vec<f64>; 3] = Default::default();
    let mut order = 0_u64;
    for _ in 0..rounds {
        order = order
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let first = (order >> 33) as usize;
        for turn in 0..3 {
            let which = (first + turn) % 3;
            let start = Instant::now();
            match which {
                0 => hidden(),
                1 => absent(),
                _ => other(),
            }
            times[which].push(start.elapsed().as_secs_f64());
        }
    }
    let apart = distance(&times[0], &times[1]) * 100.0;
    let chance = distance(&times[1], &times[2]) * 100.0;
    let [hidden, absent, _] = &mut times;
    let (hidden, absent) = (quantile(hidden, 0.5) * 1e6, quantile(absent, 0.5) * 1e6);
    figures.remark(format!(
        "{what}: {hidden:.1} µs behind the wall, {absent:.1} µs where there is nothing (medians of {rounds}); the best threshold tells them apart by {apart:.1} %, two nothings by {chance:.1} %"
    ));
    figures.at_most(
        &format!("{what}: behind a wall against nothing there, difference of medians"),
        (hidden - absent).abs(),
        "µs",
        50.0,
    );
}

/// The largest distance between two distributions.
fn distance(one: &[f64], other: &[f64]) -> f64 {
    let sorted = |times: &[f64]| {
        let mut times = times.to_vec();
        times.sort_by(f64::total_cmp);
        times
    };
    let (one, other) = (sorted(one), sorted(other));
    let share =
        |all: &[f64], at: f64| all.partition_point(|time| *time <= at) as f64 / all.len() as f64;
    let all = one.iter().chain(&other);
    all.map(|at| (share(&one, *at) - share(&other, *at)).abs())
        .fold(0.0, f64::max)
}

/// A firm of some thousand matters, one of them behind a wall.
struct Office {
    house: House,
    walled: MatterId,
    client: SubjectId,
}

impl Office {
    fn open() -> Self {
        let ports = MemoryPorts::new(5, "2026-11-23T09:00:00Z".parse().unwrap());
        let house = now(ports.open()).unwrap();
        let (attorney, officer) = (actor("attorney"), actor("officer"));
        let trained = |id, role| Actor::new(id, role).trained_until("2099-01-01".parse().unwrap());
        let staff = vec![
            trained(attorney, Role::Attorney),
            trained(officer, Role::Dpo),
        ];
        now(manage::found(&house, attorney, staff)).unwrap();
        let client = SubjectId::derived(&[b"client"]);
        let matter = |number: usize, walled| Matter {
            tenant: house.tenant(),
            id: MatterId::derived(&[b"matter", &number.to_be_bytes()]),
            kind: Label::fixed("us.h1b"),
            state: MatterState::Drafting,
            team: BTreeMap::from([(attorney, Role::Attorney)]),
            parties: BTreeMap::from([(
                if number == 0 {
                    client
                } else {
                    SubjectId::derived(&[&number.to_be_bytes()])
                },
                Party::Beneficiary,
            )]),
            walled,
            purposes: BTreeMap::from([(Purpose::Representation, LawfulBasis::Contract)]),
            ground: None,
            triggers: BTreeMap::new(),
            open_points: BTreeSet::new(),
            originals_held: 0,
        };
        let session = house.session(attorney, Role::Attorney, Purpose::Representation);
        let walled = matter(0, BTreeSet::from([officer]));
        let id = walled.id;
        now(manage::open_matter(&house, &session, walled, &[])).unwrap();
        house.gate.amend_directory(|directory| {
            (1..sized(4_000, 1_000))
                .for_each(|number| directory.file(matter(number, BTreeSet::new())));
        });
        let (schema, mut fields) = (Schema::person(), Fields::new());
        fields
            .set(&schema, "passport_number", "XQ9900001".to_owned())
            .unwrap();
        let scope = Scope::of(client, Category::Identity).in_matter(id);
        let permit = now(session.permit(Act::Enter, scope)).unwrap();
        let form = Form {
            key: RecordKey {
                tenant: house.tenant(),
                subject: client,
                record: RecordId::derived(&[b"record"]),
            },
            matter: Some(id),
            schema: &schema,
            class: Digest::of(b"class"),
            revision: 1,
            minor: false,
        };
        let record = now(house.sealer.seal(form, &fields, &permit)).unwrap();
        let index = now(house.sealer.tags(&schema, &fields)).unwrap();
        let change = ChangeSet::new(house.tenant(), house.gate.now()).with(Change::PutRecord {
            record,
            index,
            expected: Expected::Absent,
        });
        now(house.doors.store.commit(change)).unwrap();
        drop(permit);
        Self {
            walled: id,
            client,
            house,
        }
    }

    fn session(&self) -> Session<'_> {
        self.house
            .session(actor("officer"), Role::Dpo, Purpose::Compliance)
    }
}

fn actor(who: &str) -> ActorId {
    ActorId::derived(&[who.as_bytes()])
}

/// The stores here answer at once.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(out) => out,
        Poll::Pending => panic!("a memory store never waits"),
    }
}
