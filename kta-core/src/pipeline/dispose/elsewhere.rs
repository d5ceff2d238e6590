//! Where else a person is. A person has one key for all matters: it may go with the last of them
//! only.

use std::collections::BTreeSet;

use super::destruction_scope;
use super::journal::Journal;
use crate::error::Result;
use crate::id::{MatterId, SubjectId};
use crate::pii::{Matter, MatterState, PlacementState};
use crate::pipeline::house::House;
use crate::policy::Scope;
use crate::ports::store::PlacementQuery;

/// The matters of a person besides one of them.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Elsewhere {
    matters: BTreeSet<MatterId>,
    needing: BTreeSet<Option<MatterId>>,
    served: bool,
}

impl Elsewhere {
    /// Where else `subject` is than in `matter`, at this moment: by the register of copies, and by
    /// the directory for a matter that has none yet.
    ///
    /// Two matters of one person may be destroyed at the same time. Each erases its copies before
    /// it asks, so that the one that asks last finds nothing that needs the key.
    pub(in crate::pipeline) async fn of(
        house: &House,
        subject: SubjectId,
        matter: MatterId,
    ) -> Result<Self> {
        let mut elsewhere = Self::default();
        let query = PlacementQuery::of(house.tenant(), subject);
        for placement in house.doors.store.placements(&query).await? {
            if placement.matter == Some(matter) {
                continue;
            }
            elsewhere.matters.extend(placement.matter);
            if stands(placement.state) {
                elsewhere.needing.insert(placement.matter);
            }
        }
        let listed: Vec<_> = house.gate.directory(|directory| {
            // Where the person stands under another id another key is needed, but a hold there is
            // one on the person.
            elsewhere.matters.extend(
                directory
                    .matters_of(subject)
                    .filter(|other| *other != matter),
            );
            let ids = directory.known_as(subject);
            let all = directory.matters.values();
            all.filter(|other| other.id != matter)
                .filter(|other| ids.iter().any(|id| other.parties.contains_key(id)))
                .map(|other| (other.id, other.state, other.parties.contains_key(&subject)))
                .collect()
        });
        for (other, state, by_this_id) in listed {
            // Once its own destruction has begun, its copies alone tell whether it needs the key.
            if state != MatterState::Destroyed && !Journal::is_open(house, other).await? {
                elsewhere.served = true;
                if by_this_id {
                    elsewhere.needing.insert(Some(other));
                }
            }
        }
        Ok(elsewhere)
    }

    /// Every other matter of the person, also those whose copies are gone.
    pub(in crate::pipeline) const fn matters(&self) -> &BTreeSet<MatterId> {
        &self.matters
    }

    /// Whether the firm has a matter of the person, under whatever id, that is not being destroyed.
    pub(super) const fn is_served(&self) -> bool {
        self.served
    }

    /// In how many other matters the key is still needed; copies of no matter count as one.
    pub(super) fn needing(&self) -> usize {
        self.needing.len()
    }

    /// Whether the key stays when this matter goes.
    pub(in crate::pipeline) fn keeps_key(&self) -> bool {
        !self.needing.is_empty()
    }
}

/// The scope of a matter's destruction, with the holds over every matter of those whose key goes.
pub(super) async fn scope_with_keys(house: &House, matter: &Matter) -> Result<Scope> {
    let mut scope = destruction_scope(matter);
    for subject in matter.parties.keys() {
        let elsewhere = Elsewhere::of(house, *subject, matter.id).await?;
        if !elsewhere.keeps_key() {
            scope = scope.held_through(*subject, elsewhere.matters);
        }
    }
    Ok(scope)
}

/// Whether there may be something at the place that the key opens.
pub(super) const fn stands(state: PlacementState) -> bool {
    match state {
        PlacementState::Intended | PlacementState::Present | PlacementState::Disclosed => true,
        // Its system has erased it already.
        PlacementState::Erasing { .. }
        | PlacementState::Absent { .. }
        | PlacementState::Withdrawn { .. } => false,
    }
}
