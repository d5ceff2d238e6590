//! Requests drawn at random, for the tests that hold two answers against each other.

#![allow(dead_code, reason = "each test uses what it needs")]
#![allow(
    clippy::filter_map_bool_then,
    reason = "the dice are needed in both halves"
)]

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Days, TimeDelta};
use kta_core::audit::Label;
use kta_core::id::{ActorId, MatterId, SubjectId, TenantId};
use kta_core::memory::SeededEntropy;
use kta_core::pii::{Category, Matter, MatterState, Party};
use kta_core::policy::{
    AccessContext, AccessRequest, Act, Actor, BreakGlass, Device, Emergency, LawfulBasis, Object,
    Purpose, Role, SpecialGround, Station,
};
use kta_core::time::{Entropy, Timestamp};

/// A source of draws that is the same in every run.
pub(crate) struct Dice(SeededEntropy, Vec<u8>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed), Vec::new())
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        if self.1.is_empty() {
            self.1 = vec![0; 4096];
            self.0.fill(&mut self.1);
        }
        usize::from(self.1.pop().unwrap()) % limit
    }

    pub(crate) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let limit = from.len();
        from[self.below(limit)]
    }
}

/// One request with all that it borrows.
pub(crate) struct Case {
    pub(crate) actor: Actor,
    pub(crate) role: Role,
    pub(crate) act: Act,
    pub(crate) matter: Option<Matter>,
    pub(crate) subject: Option<SubjectId>,
    pub(crate) category: Category,
    pub(crate) restricted: bool,
    pub(crate) held: bool,
    pub(crate) purpose: Purpose,
    pub(crate) basis: Option<LawfulBasis>,
    pub(crate) context: AccessContext,
}

impl Case {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
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

    pub(crate) fn request(&self) -> AccessRequest<'_> {
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

pub(crate) fn person_actor(number: usize) -> ActorId {
    ActorId::derived(&[b"actor", &[number as u8]])
}

pub(crate) fn person(number: usize) -> SubjectId {
    SubjectId::derived(&[b"person", &[number as u8]])
}
