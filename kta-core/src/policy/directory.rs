//! The directory: the facts about actors, matters and persons that decisions rest on.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::id::{ActorId, MatterId, SubjectId};
use crate::pii::Matter;
use crate::policy::actor::Actor;

/// Who is who, as the access list and the matter register say. Plain data; the gate reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// The actors on the access list.
    pub actors: BTreeMap<ActorId, Actor>,
    /// The matters.
    pub matters: BTreeMap<MatterId, Matter>,
    /// Persons whose processing is restricted (GDPR article 18).
    #[serde(default)]
    pub restricted: BTreeSet<SubjectId>,
}

impl Directory {
    /// Puts an actor on the access list, or replaces what it says of that actor.
    pub fn list(&mut self, actor: Actor) {
        self.actors.insert(actor.id, actor);
    }

    /// Puts a matter on the register, or replaces what it says of that matter.
    pub fn file(&mut self, matter: Matter) {
        self.matters.insert(matter.id, matter);
    }
}
