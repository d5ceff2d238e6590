//! The shipped policy and the plain-Rust reference answer every request alike.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(
    clippy::filter_map_bool_then,
    reason = "the dice are needed in both halves"
)]

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Days, TimeDelta};
use kta_core::audit::Label;
use kta_core::id::{ActorId, MatterId, SubjectId, TenantId};
use kta_core::memory::{RulesPolicy, SeededEntropy};
use kta_core::pii::{Category, Matter, MatterState, Party};
use kta_core::policy::{
    AccessContext, AccessRequest, Act, Actor, BreakGlass, Device, Emergency, LawfulBasis, Object,
    Policy, Purpose, Role, SpecialGround, Station, Verdict,
};
use kta_core::time::{Entropy, Timestamp};
use kta_policy::CedarPolicy;

const REQUESTS: usize = 100_000;

#[test]
fn a_hundred_thousand_random_requests_are_answered_alike() {
    let cedar = CedarPolicy::shipped().unwrap();
    let rules = RulesPolicy::new();
    let mut dice = Dice(SeededEntropy::new(7), Vec::new());
    let mut admitted = 0;
    let mut codes = BTreeSet::new();
    for number in 0..REQUESTS {
        let case = Case::draw(&mut dice);
        let request = case.request();
        let (ours, reference) = (cedar.decide(&request), rules.decide(&request));
        // Cedar's own evaluator is asked one time in five: it takes most of this test.
        if number % 5 == 0 {
            assert_eq!(ours, cedar.decide_by_cedar(&request), "request {number}");
        }
        assert_eq!(
            ours.verdict, reference.verdict,
            "request {number}: {request:?}"
        );
        assert_eq!(ours.obligations, reference.obligations, "request {number}");
        let ids = |decision: &kta_core::policy::Decision| {
            decision
                .reasons
                .iter()
                .map(|reason| reason.rule.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&ours), ids(&reference), "request {number}");
        match ours.verdict {
            Verdict::Permit => admitted += 1,
            Verdict::Deny(code) => drop(codes.insert(code)),
        }
    }
    // The draw must reach both answers and every code, or the agreement says little.
    assert!(admitted > REQUESTS / 200, "{admitted} admitted");
    assert_eq!(codes.len(), 8, "{codes:?}");
}

#[test]
fn adding_a_wall_never_increases_anybodys_access() {
    let cedar = CedarPolicy::shipped().unwrap();
    let mut dice = Dice(SeededEntropy::new(11), Vec::new());
    for _ in 0..5_000 {
        let mut case = Case::draw(&mut dice);
        let before = cedar.decide(&case.request()).verdict;
        if let Some(matter) = &mut case.matter {
            matter.walled.insert(person_actor(dice.below(6)));
        }
        let after = cedar.decide(&case.request()).verdict;
        assert!(before == Verdict::Permit || after != Verdict::Permit);
    }
}

#[test]
fn a_policy_that_does_not_validate_is_not_loaded() {
    let schema = include_str!("../policies/schema.cedarschema");
    let grants = include_str!("../policies/grants.cedar");
    let bars = include_str!("../policies/bars.cedar");
    assert!(CedarPolicy::new(schema, grants, bars).is_ok());
    for (schema, grants, bars) in [
        ("garbage", grants, bars),
        (schema, "garbage", bars),
        (
            schema,
            grants,
            "forbid(principal, action, resource) when { principal.unknown };",
        ),
        (schema, grants, "forbid(principal, action, resource);"),
        (schema, bars, bars),
        (schema, grants, grants),
        // An attribute that may be absent, asked for without `has`: an error at run time.
        (
            schema,
            grants,
            "@id(\"x\")@order(\"1\")@code(\"ACL-DENY\")@text(\"x\")forbid(principal, action, resource) when { principal.trained_until < 1 };",
        ),
    ] {
        let fault = CedarPolicy::new(schema, grants, bars).unwrap_err();
        assert!(fault.fault().is_some(), "{fault}");
    }
}

struct Dice(SeededEntropy, Vec<u8>);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        if self.1.is_empty() {
            self.1 = vec![0; 4096];
            self.0.fill(&mut self.1);
        }
        usize::from(self.1.pop().unwrap()) % limit
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let limit = from.len();
        from[self.below(limit)]
    }
}

struct Case {
    actor: Actor,
    role: Role,
    act: Act,
    matter: Option<Matter>,
    subject: Option<SubjectId>,
    category: Category,
    restricted: bool,
    held: bool,
    purpose: Purpose,
    basis: Option<LawfulBasis>,
    context: AccessContext,
}

impl Case {
    fn draw(dice: &mut Dice) -> Self {
        let now: Timestamp = "2026-11-22T09:00:00Z".parse().unwrap();
        let role = dice.pick(&Role::ALL);
        let mut actor = Actor::new(
            person_actor(dice.below(6)),
            if dice.one_in(12) { Role::Auditor } else { role },
        );
        let trained = now.date_naive() + Days::new(5) - Days::new(dice.below(60) as u64);
        actor.trained_until = (!dice.one_in(10)).then_some(trained);
        actor.subject = dice.one_in(2).then(|| person(dice.below(5)));
        actor.party = dice
            .one_in(2)
            .then(|| dice.pick(&[Party::Petitioner, Party::Spouse]));
        actor.revoked = dice.one_in(20);
        let purposes = [
            Purpose::Compliance,
            Purpose::Disposition,
            Purpose::Filing,
            Purpose::Marketing,
            Purpose::Representation,
            Purpose::Retention,
            Purpose::Security,
        ];
        Self {
            role,
            act: dice.pick(Act::ALL),
            matter: (!dice.one_in(5)).then(|| matter(dice)),
            subject: (!dice.one_in(5)).then(|| person(dice.below(5))),
            category: dice.pick(&Category::ALL),
            restricted: dice.one_in(8),
            held: dice.one_in(8),
            purpose: dice.pick(&purposes),
            basis: (!dice.one_in(4)).then_some(LawfulBasis::Contract),
            context: AccessContext {
                now,
                break_glass: dice.one_in(10).then(|| BreakGlass {
                    until: now + TimeDelta::minutes(dice.below(255) as i64 * 2 - 60),
                    reason: dice.pick(&Emergency::ALL),
                }),
                other_than: dice.one_in(4).then(|| person_actor(dice.below(6))),
                station: dice.one_in(2).then(|| Station {
                    device: dice.pick(&[Device::Managed, Device::Noncompliant, Device::Private]),
                    country: dice.one_in(2).then_some(*b"IL"),
                    seen: now - TimeDelta::minutes(dice.below(255) as i64),
                }),
            },
            actor,
        }
    }

    fn request(&self) -> AccessRequest<'_> {
        AccessRequest {
            actor: &self.actor,
            role: self.role,
            act: self.act,
            object: Object {
                matter: self.matter.as_ref(),
                subject: self.subject,
                category: self.category,
                restricted: self.restricted,
                held: self.held,
            },
            purpose: self.purpose,
            basis: self.basis,
            context: self.context,
        }
    }
}

fn matter(dice: &mut Dice) -> Matter {
    let roles = [Role::Attorney, Role::Paralegal, Role::Petitioner];
    let parties = [
        Party::Beneficiary,
        Party::Petitioner,
        Party::Spouse,
        Party::Child,
    ];
    Matter {
        tenant: TenantId::derived(&[b"firm"]),
        id: MatterId::derived(&[b"matter"]),
        kind: Label::fixed("us.h1b"),
        state: MatterState::Review,
        team: (0..6)
            .filter_map(|who| (!dice.one_in(3)).then(|| (person_actor(who), dice.pick(&roles))))
            .collect(),
        parties: (0..5)
            .filter_map(|who| (!dice.one_in(4)).then(|| (person(who), dice.pick(&parties))))
            .collect(),
        walled: (0..6)
            .filter_map(|who| dice.one_in(12).then(|| person_actor(who)))
            .collect(),
        purposes: BTreeMap::new(),
        ground: (!dice.one_in(3)).then_some(SpecialGround::LegalClaims),
        triggers: BTreeMap::new(),
        open_points: BTreeSet::new(),
        originals_held: 0,
    }
}

fn person_actor(number: usize) -> ActorId {
    ActorId::derived(&[b"actor", &[number as u8]])
}

fn person(number: usize) -> SubjectId {
    SubjectId::derived(&[b"person", &[number as u8]])
}
