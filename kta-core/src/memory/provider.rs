//! What the provider of an in-memory system keeps of what was erased from it.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use crate::audit::Label;
use crate::ports::Residue;
use crate::time::Timestamp;

/// Backups in which what was erased stays for a while, where nobody can reach it; none unless a
/// window is set.
#[derive(Debug)]
pub(super) struct Backups<Id> {
    pub(super) window: TimeDelta,
    until: BTreeMap<Id, Timestamp>,
}

impl<Id: Copy + Ord> Backups<Id> {
    /// Erased from the system now, so kept here from now on.
    pub(super) fn keep(&mut self, id: Id, now: Timestamp) {
        if self.window > TimeDelta::zero() {
            self.until.insert(id, now + self.window);
        }
    }

    /// Until when it is kept, or was.
    pub(super) fn until(&self, id: Id) -> Option<Timestamp> {
        self.until.get(&id).copied()
    }

    /// What is left of it now.
    pub(super) fn left(&self, id: Id, now: Timestamp) -> Option<Residue> {
        let until = self.until(id).filter(|until| *until > now)?;
        Some(residue("provider_backup", Some(until)))
    }
}

impl<Id> Default for Backups<Id> {
    fn default() -> Self {
        Self {
            window: TimeDelta::zero(),
            until: BTreeMap::new(),
        }
    }
}

/// Content of the person that is left.
pub(super) fn residue(what: &'static str, until: Option<Timestamp>) -> Residue {
    Residue {
        what: Label::fixed(what),
        until,
        content: true,
    }
}
