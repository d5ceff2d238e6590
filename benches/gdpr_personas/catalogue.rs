//! The classes as the house knows them: what each says, which of a set of purposes are in force,
//! and which were superseded. The store's registers of classes and successions say the same.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use kta_core::audit::Label;
use kta_core::id::Digest;
use kta_core::policy::{LawfulBasis, Origin, PolicyClass, Purpose, SpecialGround};
use kta_core::ports::store::Change;

use crate::generate::{Meta, Set, USES};

#[derive(Default)]
pub(crate) struct Catalogue {
    metas: HashMap<Digest, Meta>,
    classes: HashMap<Meta, Digest>,
    in_force: BTreeMap<u8, BTreeSet<Digest>>,
    superseded: HashSet<Digest>,
}

impl Catalogue {
    /// The class that says this, in force; the changes that make it so are added.
    pub(crate) fn put_in_force(&mut self, meta: Meta, changes: &mut Vec<Change>) -> Digest {
        let id = match self.classes.get(&meta) {
            Some(id) => *id,
            None => {
                let class = meta.class();
                let id = class.id();
                assert_eq!(Meta::read(&class), meta, "a class says what it was made of");
                self.classes.insert(meta, id);
                self.metas.insert(id, meta);
                changes.push(Change::Intern(class));
                id
            }
        };
        if self.superseded.remove(&id) {
            changes.push(Change::Reinstate(id));
        }
        self.in_force.entry(meta.purposes).or_default().insert(id);
        id
    }

    /// Gives each class of a set of purposes a successor that has one field set; gives the bytes
    /// of those that were superseded.
    pub(crate) fn supersede(
        &mut self,
        purposes: u8,
        set: Set,
        second: u32,
        changes: &mut Vec<Change>,
    ) -> Vec<u8> {
        let mut superseded = Vec::new();
        for from in self.in_force(purposes) {
            let meta = self.metas[&from].with(set, second);
            let to = meta.class();
            if to.id() == from {
                continue;
            }
            self.put_in_force(meta, changes);
            changes.push(Change::Supersede { from, to });
            superseded.extend_from_slice(from.as_bytes());
            self.superseded.insert(from);
            self.in_force.entry(purposes).or_default().remove(&from);
        }
        superseded
    }

    pub(crate) fn in_force(&self, purposes: u8) -> Vec<Digest> {
        self.in_force
            .get(&purposes)
            .into_iter()
            .flatten()
            .copied()
            .collect()
    }

    /// Those whose time is over; they are taken for empty from now on.
    pub(crate) fn take_over(&mut self, second: u32) -> Vec<Digest> {
        let mut over = Vec::new();
        for classes in self.in_force.values_mut() {
            classes.retain(|id| {
                let stays = self.metas[id].until > second;
                if !stays {
                    over.push(*id);
                }
                stays
            });
        }
        over
    }

    /// How many are in force, and how many there ever were.
    pub(crate) fn count(&self) -> [usize; 2] {
        let in_force = self.in_force.values().map(BTreeSet::len).sum();
        [in_force, self.metas.len()]
    }
}

impl Meta {
    /// The class that says all this: decision as lawful basis; lists of access, recipients and
    /// the objection's number as labels of sharing; source as origin with ground; category and
    /// end as retention class.
    fn class(self) -> PolicyClass {
        let basis = [LawfulBasis::Consent, LawfulBasis::Contract][usize::from(self.decision)];
        let source = usize::from(self.source);
        let label = |text: String| Label::new(text).unwrap();
        PolicyClass {
            purposes: self
                .set()
                .into_iter()
                .map(|purpose| (purpose, basis))
                .collect(),
            ground: GROUNDS[source / ORIGINS.len()],
            origin: ORIGINS[source % ORIGINS.len()],
            retention: label(format!("CAT.{}.{}", self.category, self.until)),
            sharing: BTreeSet::from([
                label(format!("access.{}", self.access)),
                label(format!("objection.{}", self.objection)),
                label(format!("recipient.{}", self.shared)),
            ]),
            objections: self.objected().into_iter().collect(),
        }
    }

    /// What a class says, as the workload has it.
    pub(crate) fn read(class: &PolicyClass) -> Self {
        let uses = class
            .purposes
            .keys()
            .filter_map(|purpose| USES.iter().position(|of| of == purpose));
        let bits: u8 = uses.map(|at| 1 << at).sum();
        let kept = class.purposes.contains_key(&Purpose::Retention);
        let number = |head: &str| {
            let mut tails = class
                .sharing
                .iter()
                .filter_map(|label| label.as_str().strip_prefix(head));
            tails.next().unwrap().parse().unwrap()
        };
        let mut retention = class.retention.as_str().split('.').skip(1);
        let category = retention.next().unwrap().parse().unwrap();
        let origin = ORIGINS.iter().position(|of| *of == class.origin).unwrap();
        let ground = GROUNDS.iter().position(|of| *of == class.ground).unwrap();
        let basis = class.purposes.values().next().unwrap();
        Self {
            purposes: bits - 1 + if kept { 15 } else { 0 },
            until: retention.next().unwrap().parse().unwrap(),
            objection: number("objection."),
            decision: u8::from(*basis == LawfulBasis::Contract),
            access: number("access."),
            shared: number("recipient."),
            source: (ground * ORIGINS.len() + origin) as u8,
            category,
        }
    }
}

/// Every purpose, with a basis: what each record allows is its class's to say.
pub(crate) fn purposes() -> BTreeMap<Purpose, LawfulBasis> {
    let all = USES.iter().chain(Purpose::LEGAL);
    all.map(|purpose| (*purpose, LawfulBasis::Contract))
        .collect()
}

const ORIGINS: [Origin; 3] = [Origin::Direct, Origin::Eea, Origin::ThirdParty];

const GROUNDS: [Option<SpecialGround>; 4] = [
    None,
    Some(SpecialGround::AuthorisedByLaw),
    Some(SpecialGround::ExplicitConsent),
    Some(SpecialGround::LegalClaims),
];
