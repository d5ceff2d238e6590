//! The directory: the facts about actors, matters and persons that decisions rest on.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Fault, FaultKind, Port, Result};
use crate::id::{ActorId, MatterId, SubjectId, TenantId};
use crate::pii::{Matter, Subject};
use crate::policy::actor::Actor;
use crate::ports::Store;
use crate::ports::store::{Register, Sheet, SheetQuery};

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
    /// For a person whom the firm knows under several ids, the other ones.
    #[serde(default)]
    pub aliases: BTreeMap<SubjectId, BTreeSet<SubjectId>>,
}

impl Directory {
    /// The directory of a firm as its registers have it now.
    ///
    /// # Errors
    /// Faults of the store; [`FaultKind::Corrupt`] for a sheet that cannot be read.
    pub async fn filed(store: &dyn Store, tenant: TenantId) -> Result<Self> {
        let all = async |register| store.sheets(&SheetQuery::all(tenant, register)).await;
        let mut directory = Self::default();
        for sheet in all(Register::Actors).await? {
            directory.list(read(&sheet)?);
        }
        for sheet in all(Register::Matters).await? {
            directory.file(read(&sheet)?);
        }
        for sheet in all(Register::Subjects).await? {
            let subject: Subject = read(&sheet)?;
            if subject.restricted {
                directory.restricted.insert(subject.id);
            }
            if !subject.aliases.is_empty() {
                directory.aliases.insert(subject.id, subject.aliases);
            }
        }
        Ok(directory)
    }

    /// Puts an actor on the access list, or replaces what it says of that actor.
    pub fn list(&mut self, actor: Actor) {
        self.actors.insert(actor.id, actor);
    }

    /// Puts a matter on the register, or replaces what it says of that matter.
    pub fn file(&mut self, matter: Matter) {
        self.matters.insert(matter.id, matter);
    }

    /// Every id under which the firm knows the person, this one among them.
    #[must_use]
    pub fn known_as(&self, subject: SubjectId) -> BTreeSet<SubjectId> {
        let others = self.aliases.get(&subject).into_iter().flatten();
        others.copied().chain([subject]).collect()
    }

    /// Every matter in which the person stands, under whatever id.
    pub fn matters_of(&self, subject: SubjectId) -> impl Iterator<Item = MatterId> {
        let ids = self.known_as(subject);
        let stands = move |matter: &&Matter| ids.iter().any(|id| matter.parties.contains_key(id));
        self.matters.values().filter(stands).map(|matter| matter.id)
    }
}

fn read<T: DeserializeOwned>(sheet: &Sheet) -> Result<T> {
    serde_json::from_slice(&sheet.body)
        .map_err(|_| Fault::new(FaultKind::Corrupt, Port::Store, "read a register").into())
}
