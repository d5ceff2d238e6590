//! A decision that is given again is the one that would be made: random questions to a gate that
//! keeps decisions, while its directory, its clock and its policy change, against a gate that was
//! opened for the one question.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod requests;

use core::task::{Context, Poll, Waker};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use chrono::TimeDelta;
use kta_core::id::{Digest, MatterId, TenantId};
use kta_core::memory::{ManualClock, MemoryStore, SeededEntropy};
use kta_core::pii::Category;
use kta_core::policy::{AccessRequest, Act, Decision, Gate, Policy, Purpose, Role, Scope, Verdict};
use kta_core::time::{Clock as _, Timestamp};
use kta_policy::CedarPolicy;

use requests::{Case, Dice, person};

const SCHEMA: &str = include_str!("../policies/schema.cedarschema");
const GRANTS: &str = include_str!("../policies/grants.cedar");
const BARS: &str = include_str!("../policies/bars.cedar");

/// A firm's own bars, which read the minute and the age of a station's report.
const HOURS: &str = r#"
@id("firm.hours") @order("50") @code("ACL-DENY") @text("from six to eighteen")
forbid(principal, action == Action::"open", resource)
unless { context.minute >= 360 && context.minute < 1080 };
@id("firm.seen") @order("51") @code("ACL-DENY") @text("seen within the hour")
forbid(principal, action == Action::"amend", resource)
unless { context has seen_ago && context.seen_ago <= 3600000 };
"#;

/// A policy that is replaced at once, and counts how often it is asked.
#[derive(Debug)]
struct Switch(RwLock<Arc<CedarPolicy>>, AtomicUsize);

impl Switch {
    fn policy(&self) -> Arc<CedarPolicy> {
        Arc::clone(&self.0.read().unwrap())
    }
}

impl Policy for Switch {
    fn decide(&self, request: &AccessRequest<'_>) -> Decision {
        self.decide_until(request).0
    }

    fn version(&self) -> Option<Digest> {
        self.policy().version()
    }

    fn decide_until(&self, request: &AccessRequest<'_>) -> (Decision, Option<Timestamp>) {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.policy().decide_until(request)
    }
}

fn gate(policy: Arc<dyn Policy>, clock: &ManualClock) -> Gate {
    let (store, entropy) = (MemoryStore::new(), SeededEntropy::new(1));
    let tenant = TenantId::derived(&[b"firm"]);
    Gate::new(
        tenant,
        policy,
        Arc::new(store),
        Arc::new(clock.clone()),
        Arc::new(entropy),
    )
}

#[test]
fn a_kept_decision_is_the_one_that_would_be_made() {
    let mut dice = Dice::new(77);
    let shipped = Arc::new(CedarPolicy::shipped().unwrap());
    let hours = CedarPolicy::new(SCHEMA, GRANTS, &[BARS, HOURS].concat()).unwrap();
    let policies = [shipped.clone(), Arc::new(hours)];
    let switch = Arc::new(Switch(RwLock::new(shipped), AtomicUsize::new(0)));
    let clock = ManualClock::at("2026-11-22T09:00:00Z".parse().unwrap());
    let keeping = gate(switch.clone(), &clock);
    let mut pool = Vec::new();
    while pool.len() < 60 {
        let case = Case::draw(&mut dice);
        pool.push(asked_daily(&mut dice, case));
    }
    let (mut questions, mut admitted, mut changed) = (0, 0, 0);
    for _ in 0..STEPS {
        match dice.below(12) {
            0 => {
                changed += 1;
                let case = Case::draw(&mut dice);
                keeping.amend_directory(|directory| {
                    directory.list(case.actor.clone());
                    if let Some(mut matter) = case.matter {
                        matter.id = matters()[dice.below(2)];
                        directory.file(matter);
                    }
                    if case.restricted {
                        directory.restricted.extend(case.subject);
                    } else {
                        directory.restricted.clear();
                    }
                });
            }
            1 => {
                let steps = [
                    TimeDelta::milliseconds(1),
                    TimeDelta::seconds(59),
                    TimeDelta::hours(5),
                    TimeDelta::hours(23),
                    -TimeDelta::hours(7),
                ];
                clock.advance(dice.pick(&steps));
            }
            2 if dice.one_in(4) => {
                let other = policies[dice.below(2)].clone();
                *switch.0.write().unwrap() = other;
            }
            _ => {}
        }
        // Questions come again and again, over all that changed since; each is asked twice.
        let (at, drawn) = (dice.below(pool.len()), Case::draw(&mut dice));
        if dice.one_in(20) {
            pool[at] = asked_daily(&mut dice, drawn);
        }
        let case = &pool[at];
        let roles = keeping.directory(|all| all.actors.get(&case.actor.id).cloned());
        let role = roles.and_then(|actor| actor.roles.first().copied());
        let role = role.unwrap_or(case.role);
        let fresh = gate(switch.policy(), &clock);
        fresh.amend_directory(|directory| *directory = keeping.directory(Clone::clone));
        let within = [None, Some(matters()[0]), Some(matters()[1])];
        let scope = Scope::over(case.subject, [case.category]).in_matter(within[at % 3]);
        let scope = match case.context.other_than {
            Some(other) => scope.other_than(other),
            None => scope,
        };
        let ask = |gate: &Gate| {
            let mut session = gate.session(case.actor.id, role, case.purpose);
            if let Some(station) = case.context.station {
                session = session.from_station(station);
            }
            if let Some(glass) = case.context.break_glass {
                session = session.break_glass(glass.until, glass.reason);
            }
            at_once(session.explain(case.act, &scope)).unwrap()
        };
        let expected = ask(&fresh);
        for _ in 0..2 {
            questions += 1;
            assert_eq!(ask(&keeping), expected, "{:?} {:?}", case.act, clock.now());
        }
        admitted += usize::from(expected[0].verdict == Verdict::Permit);
    }
    let asked = switch.1.load(Ordering::Relaxed);
    // Answers of both kinds, changes in between, and many answers that were given again.
    assert!(
        admitted > 50 && changed > 100 && asked * 10 < questions * 6,
        "{admitted} {changed} {asked} of {questions}"
    );
}

#[test]
fn an_export_and_an_emergency_are_decided_each_time() {
    let policy = Arc::new(CedarPolicy::shipped().unwrap());
    let switch = Arc::new(Switch(RwLock::new(policy), AtomicUsize::new(0)));
    let clock = ManualClock::at("2026-11-22T09:00:00Z".parse().unwrap());
    let gate = gate(switch.clone(), &clock);
    let session = || {
        let actor = kta_core::id::ActorId::derived(&[b"somebody"]);
        gate.session(actor, Role::Attorney, Purpose::Representation)
    };
    let scope = Scope::of(person(0), Category::Identity);
    let glass = session().break_glass(clock.now(), kta_core::policy::Emergency::Danger);
    for (session, act, times) in [
        (session(), Act::Open, 1),
        (session(), Act::Export, 3),
        (glass, Act::Open, 3),
    ] {
        let before = switch.1.load(Ordering::Relaxed);
        for _ in 0..3 {
            drop(at_once(session.explain(act, &scope)).unwrap());
        }
        // What is not kept is asked for without `decide_until` and counted all the same.
        assert_eq!(switch.1.load(Ordering::Relaxed) - before, times, "{act}");
    }
}

/// Half of the questions are what people ask all day, of categories and in purposes that are theirs.
fn asked_daily(dice: &mut Dice, case: Case) -> Case {
    if dice.one_in(2) {
        return case;
    }
    Case {
        act: dice.pick(&[Act::Open, Act::Search, Act::Amend, Act::Report]),
        category: dice.pick(&[Category::Identity, Category::FirmRecord]),
        purpose: dice.pick(&[Purpose::Compliance, Purpose::Representation]),
        ..case
    }
}

fn matters() -> [MatterId; 2] {
    [MatterId::derived(&[b"one"]), MatterId::derived(&[b"other"])]
}

/// The stores here answer at once.
fn at_once<F: Future>(future: F) -> F::Output {
    match core::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(out) => out,
        Poll::Pending => panic!("a memory store never waits"),
    }
}

const STEPS: usize = 2_000;
