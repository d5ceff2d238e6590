//! An invented firm: staff, matters, policies, and requests drawn at random.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use chrono::{Days, TimeDelta};
use kta_core::audit::Label;
use kta_core::id::{ActorId, MatterId, SubjectId, TenantId};
use kta_core::memory::{ManualClock, MemoryStore, SeededEntropy};
use kta_core::pii::{Category, Matter, MatterState, Party};
use kta_core::policy::{
    AccessContext, AccessRequest, Act, Actor, BreakGlass, Directory, Emergency, Gate, LawfulBasis,
    Object, Policy, Purpose, Role, Scope, Session, SpecialGround,
};
use kta_core::time::Timestamp;

pub(crate) const SCHEMA: &str = include_str!("../../kta-policy/policies/schema.cedarschema");
const GRANTS: &str = include_str!("../../kta-policy/policies/grants.cedar");
const BARS: &str = include_str!("../../kta-policy/policies/bars.cedar");

/// Staff and matters.
pub(crate) struct Firm {
    pub(crate) directory: Directory,
    actors: Vec<ActorId>,
    matters: Vec<MatterId>,
    now: Timestamp,
}

/// What one request is about; the rest of it stands in the directory.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    actor: ActorId,
    role: Role,
    act: Act,
    matter: Option<MatterId>,
    subject: Option<SubjectId>,
    category: Category,
    held: bool,
    purpose: Purpose,
    context: AccessContext,
}

impl Firm {
    pub(crate) fn new(staff: usize, matters: usize) -> Self {
        let now: Timestamp = "2026-11-23T09:00:00Z".parse().unwrap();
        let mut draw = Draw(1);
        let mut directory = Directory::default();
        let actors: Vec<_> = (0..staff)
            .map(|who| ActorId::derived(&[b"staff", &who.to_be_bytes()]))
            .collect();
        for id in &actors {
            let mut actor = Actor::new(*id, draw.role());
            actor.trained_until = (draw.below(10) > 0)
                .then(|| now.date_naive() + Days::new(20) - Days::new(draw.below(60) as u64));
            for _ in 0..draw.below(3) {
                actor.titles.insert(title(draw.below(TITLES)));
            }
            directory.list(actor);
        }
        let ids: Vec<_> = (0..matters)
            .map(|number| MatterId::derived(&[b"matter", &number.to_be_bytes()]))
            .collect();
        for (number, id) in ids.iter().enumerate() {
            let mut team = BTreeMap::new();
            for _ in 0..6 {
                let member = actors[draw.below(staff)];
                team.insert(member, *directory.actors[&member].roles.first().unwrap());
            }
            let parties = (0..3).map(|who| {
                let party = [Party::Beneficiary, Party::Petitioner, Party::Spouse][who];
                (person(number, who), party)
            });
            directory.file(Matter {
                tenant: TenantId::derived(&[b"an invented firm"]),
                id: *id,
                kind: Label::fixed("us.h1b"),
                state: MatterState::Drafting,
                team,
                parties: parties.collect(),
                walled: (0..4).map(|_| actors[draw.below(staff)]).collect(),
                purposes: [(Purpose::Representation, LawfulBasis::Contract)].into(),
                ground: (draw.below(3) > 0).then_some(SpecialGround::LegalClaims),
                triggers: BTreeMap::new(),
                open_points: BTreeSet::new(),
                originals_held: 0,
            });
        }
        Self {
            directory,
            actors,
            matters: ids,
            now,
        }
    }

    /// Half of the requests are what people do all day: open something in a matter of theirs.
    pub(crate) fn cases(&self, count: usize, seed: u64) -> Vec<Case> {
        let mut draw = Draw(seed);
        (0..count).map(|_| self.case(&mut draw)).collect()
    }

    fn case(&self, draw: &mut Draw) -> Case {
        let number = draw.below(self.matters.len());
        let id = self.matters[number];
        let team = &self.directory.matters[&id].team;
        let daily = draw.below(2) == 0;
        let actor = if daily {
            *team.keys().nth(draw.below(team.len())).unwrap()
        } else {
            self.actors[draw.below(self.actors.len())]
        };
        let glass = draw.below(50) == 0;
        Case {
            actor,
            role: *self.directory.actors[&actor].roles.first().unwrap(),
            act: if daily {
                Act::Open
            } else {
                Act::ALL[draw.below(Act::ALL.len())]
            },
            matter: (daily || draw.below(5) > 0).then_some(id),
            subject: (daily || draw.below(5) > 0).then(|| person(number, draw.below(3))),
            category: Category::ALL[draw.below(if daily { 7 } else { 9 })],
            held: draw.below(8) == 0,
            purpose: [Purpose::Representation, Purpose::Compliance]
                [usize::from(!daily && draw.below(3) == 0)],
            context: AccessContext {
                break_glass: glass.then(|| BreakGlass {
                    until: self.now + TimeDelta::minutes(draw.below(300) as i64),
                    reason: Emergency::Deadline,
                }),
                other_than: (draw.below(8) == 0).then_some(actor),
                ..AccessContext::at(self.now)
            },
        }
    }

    /// The request, with the facts looked up as the gate does.
    pub(crate) fn request(&self, case: &Case) -> AccessRequest<'_> {
        let matter = case.matter.map(|id| &self.directory.matters[&id]);
        AccessRequest {
            actor: &self.directory.actors[&case.actor],
            role: case.role,
            act: case.act,
            object: Object {
                matter,
                subject: case.subject,
                category: case.category,
                restricted: false,
                held: case.held,
            },
            purpose: case.purpose,
            basis: matter.and_then(|matter| matter.purposes.get(&case.purpose).copied()),
            context: case.context,
        }
    }

    /// A gate that decides by this policy over this directory.
    pub(crate) fn gate(&self, policy: Arc<dyn Policy>) -> Gate {
        let gate = Gate::new(
            TenantId::derived(&[b"an invented firm"]),
            policy,
            Arc::new(MemoryStore::new()),
            Arc::new(ManualClock::at(self.now)),
            Arc::new(SeededEntropy::new(1)),
        );
        gate.amend_directory(|directory| *directory = self.directory.clone());
        gate
    }

    /// The case as a session asks it.
    pub(crate) fn question<'g>(&self, gate: &'g Gate, case: &Case) -> (Session<'g>, Act, Scope) {
        let scope = Scope::over(case.subject, [case.category]).in_matter(case.matter);
        let scope = match case.context.other_than {
            Some(other) => scope.other_than(other),
            None => scope,
        };
        (
            gate.session(case.actor, case.role, case.purpose),
            case.act,
            scope,
        )
    }
}

impl Case {
    /// Whether both engines decide it: emergencies, exports and destructions.
    pub(crate) fn is_grave(&self) -> bool {
        self.context.break_glass.is_some() || matches!(self.act, Act::Destroy | Act::Export)
    }
}

/// The texts of the house's policies and as many of the firm's as make `count`: three grants to
/// one bar, each for a title within a role and some acts.
pub(crate) fn texts(count: usize) -> (String, String) {
    let (mut grants, mut bars) = (GRANTS.to_owned(), BARS.to_owned());
    let house = [(&grants, "\npermit("), (&bars, "\nforbid(")];
    let house: usize = house
        .iter()
        .map(|(text, word)| text.matches(word).count())
        .sum();
    let mut draw = Draw(3);
    for number in house..count {
        let (role, title) = (draw.role().as_str(), title(draw.below(TITLES)));
        let act = Act::ALL[draw.below(Act::ALL.len())];
        let category = Category::ALL[draw.below(9)].as_str();
        // Writing to a string cannot fail.
        if number % 4 > 0 {
            let other = Act::ALL[draw.below(Act::ALL.len())];
            let _ = writeln!(
                grants,
                "@id(\"firm.{number}\") @role(\"{role}\") permit(principal, action in [Action::\"{act}\", Action::\"{other}\"], resource) when {{ context.role == \"{role}\" && principal.titles.contains(\"{title}\") && resource.category == \"{category}\" }};"
            );
        } else {
            let _ = writeln!(
                bars,
                "@id(\"firm.{number}\") @order(\"50\") @code(\"ACL-DENY\") @text(\"not with this title\") forbid(principal, action == Action::\"{act}\", resource) when {{ context.role == \"{role}\" && principal.titles.contains(\"{title}\") }} unless {{ resource.category == \"{category}\" || context.weekday <= 5 }};"
            );
        }
    }
    (grants, bars)
}

/// Draws that are the same in every run (Marsaglia's xorshift).
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }

    /// Most of a firm's staff work on matters.
    fn role(&mut self) -> Role {
        match self.below(10) {
            0..4 => Role::Paralegal,
            4..7 => Role::Attorney,
            _ => Role::ALL[self.below(Role::ALL.len())],
        }
    }
}

fn person(matter: usize, who: usize) -> SubjectId {
    SubjectId::derived(&[b"person", &matter.to_be_bytes(), &who.to_be_bytes()])
}

fn title(number: usize) -> Label {
    Label::new(format!("title-{number}")).unwrap()
}

/// How many titles the firm has.
const TITLES: usize = 40;
