//! Over whom a change is looked at: people of the directory, with what stands in their matters.

use std::collections::{BTreeMap, BTreeSet};

use kta_core::id::{ActorId, MatterId, SubjectId};
use kta_core::pii::{Category, Matter};
use kta_core::policy::{
    AccessContext, AccessRequest, Act, Actor, Directory, Object, Policy as _, Purpose, Role,
    Verdict,
};
use kta_core::time::Timestamp;

use super::CedarPolicy;
use super::change::{Analysis, Effect, Sample};

/// The people and matters over which a change is looked at.
pub(super) struct Population<'d> {
    pub(super) directory: &'d Directory,
    pub(super) now: Timestamp,
}

impl Population<'_> {
    /// Who gains and who loses what.
    pub(super) fn effects(&self, before: &CedarPolicy, after: &CedarPolicy) -> Vec<Effect> {
        let mut effects = Vec::new();
        for actor in self.directory.actors.values().take(Analysis::PEOPLE) {
            let mut found: BTreeMap<(Role, Act, bool), (usize, Sample)> = BTreeMap::new();
            self.cases(actor, |request| {
                let admits =
                    |policy: &CedarPolicy| policy.decide(request).verdict == Verdict::Permit;
                let (old, new) = (admits(before), admits(after));
                if old != new {
                    let sample = Sample {
                        matter: request.object.matter.map(|matter| matter.id),
                        category: request.object.category,
                        purpose: request.purpose,
                    };
                    let key = (request.role, request.act, new);
                    found.entry(key).or_insert((0, sample)).0 += 1;
                }
            });
            effects.extend(
                found
                    .into_iter()
                    .map(|((role, act, gains), (cases, sample))| Effect {
                        actor: actor.id,
                        role,
                        act,
                        gains,
                        cases,
                        sample,
                    }),
            );
        }
        effects
    }

    /// Whoever would cross a wall: everybody behind one, with everything that is in the matter.
    pub(super) fn weakened(&self, after: &CedarPolicy) -> Vec<(ActorId, MatterId)> {
        let mut weakened = BTreeSet::new();
        for matter in self.directory.matters.values() {
            let walled = matter.walled.iter();
            for actor in walled.filter_map(|actor| self.directory.actors.get(actor)) {
                self.within(actor, Some(matter), &mut |request| {
                    if after.decide(request).verdict == Verdict::Permit {
                        weakened.insert((actor.id, matter.id));
                    }
                });
            }
        }
        weakened.into_iter().collect()
    }

    /// The firm's own affairs, and data in two matters of the actor's and in one of others.
    fn cases(&self, actor: &Actor, mut look: impl FnMut(&AccessRequest<'_>)) {
        let concerns = |matter: &&Matter| {
            let own = actor
                .subject
                .is_some_and(|own| matter.parties.contains_key(&own));
            own || matter.team.contains_key(&actor.id)
        };
        let matters = || self.directory.matters.values();
        let chosen = matters().filter(concerns).take(2);
        let others = matters().filter(|matter| !concerns(matter)).take(1);
        for matter in chosen.chain(others).map(Some).chain([None]) {
            self.within(actor, matter, &mut look);
        }
    }

    fn within(
        &self,
        actor: &Actor,
        matter: Option<&Matter>,
        look: &mut dyn FnMut(&AccessRequest<'_>),
    ) {
        let mut subjects: Vec<Option<SubjectId>> = vec![None];
        if let Some(matter) = matter {
            let sides: BTreeMap<_, _> = matter
                .parties
                .iter()
                .map(|(subject, party)| (party, *subject))
                .collect();
            subjects.extend(sides.into_values().map(Some));
        }
        for role in &actor.roles {
            for subject in &subjects {
                for category in Category::ALL {
                    for purpose in [Purpose::Compliance, Purpose::Representation] {
                        let basis =
                            matter.and_then(|matter| matter.purposes.get(&purpose).copied());
                        for act in Act::ALL {
                            look(&AccessRequest {
                                actor,
                                role: *role,
                                act: *act,
                                object: Object {
                                    matter,
                                    subject: *subject,
                                    category,
                                    restricted: subject
                                        .is_some_and(|id| self.directory.restricted.contains(&id)),
                                    held: false,
                                },
                                purpose,
                                basis,
                                context: AccessContext::at(self.now),
                            });
                        }
                    }
                }
            }
        }
    }
}
