//! Which shard keeps which firm: a table, not a formula.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use kta_core::audit::Label;
use kta_core::id::TenantId;
use kta_core::{Fault, FaultKind, Port, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::misconfigured;
use super::moving::{Agreed, Move};

/// Which shard keeps which firm, kept in a file.
///
/// A firm's id is hashed to one of [`SLOTS`](Self::SLOTS) slots, for ever, and the map says in
/// so many words which shard has the slot. Rendezvous or jump hashing would need no table, but
/// would move a share of the firms the moment a shard is named; here nothing moves that the map
/// does not say, and a map is small (under 20 KB) and easy to compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardMap {
    form: Label,
    revision: u64,
    shards: BTreeSet<Label>,
    slots: Vec<Label>,
    firms: BTreeMap<TenantId, Place>,
    /// How many moves were begun.
    #[serde(default)]
    moves: u64,
}

/// Where a firm is that was moved by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Place {
    At(Label),
    Moving {
        from: Label,
        to: Label,
        /// Which of the map's moves this is.
        #[serde(default)]
        number: u64,
    },
}

impl ShardMap {
    /// Into how many slots firms are hashed; never changes.
    pub const SLOTS: usize = 1024;

    /// A new map, which deals the slots to these shards evenly. Not saved yet.
    ///
    /// # Errors
    /// [`Misconfigured`](FaultKind::Misconfigured) for no shard, one named twice, and more shards
    /// than slots.
    pub fn over(shards: impl IntoIterator<Item = Label>) -> Result<Self> {
        let dealt: Vec<_> = shards.into_iter().collect();
        let shards: BTreeSet<_> = dealt.iter().cloned().collect();
        if shards.is_empty() || shards.len() != dealt.len() || dealt.len() > Self::SLOTS {
            return Err(misconfigured("a map wants one to 1024 shards of different names").into());
        }
        let slots = dealt.iter().cycle().take(Self::SLOTS).cloned().collect();
        Ok(Self {
            form: FORM,
            revision: 0,
            shards,
            slots,
            firms: BTreeMap::new(),
            moves: 0,
        })
    }

    /// Names a further shard. It gets no slot, and no firm moves.
    ///
    /// # Errors
    /// [`Misconfigured`](FaultKind::Misconfigured) for a shard that is there already.
    pub fn add(&mut self, shard: Label) -> Result<()> {
        if self.shards.insert(shard) {
            Ok(())
        } else {
            Err(misconfigured("the map has this shard already").into())
        }
    }

    /// The shard that keeps this firm.
    ///
    /// # Errors
    /// [`Unavailable`](FaultKind::Unavailable) while the firm is being moved.
    pub fn shard_of(&self, tenant: TenantId) -> Result<&Label> {
        match self.firms.get(&tenant) {
            Some(Place::At(shard)) => Ok(shard),
            Some(Place::Moving { .. }) => {
                Err(Fault::new(FaultKind::Unavailable, Port::Store, "route")
                    .because("this firm is being moved to another shard")
                    .into())
            }
            // `slot` is below SLOTS, and `whole` has seen to it that there are as many.
            None => Ok(&self.slots[slot(tenant)]),
        }
    }

    /// Takes a firm out of service, to move it to another shard.
    ///
    /// # Errors
    /// [`Misconfigured`](FaultKind::Misconfigured) for a shard that is not on the map or has the
    /// firm already; as [`shard_of`](Self::shard_of).
    pub fn begin_move(&mut self, tenant: TenantId, to: Label) -> Result<()> {
        let from = self.shard_of(tenant)?.clone();
        if from == to || !self.has(&to) {
            return Err(misconfigured("not a shard that this firm can move to").into());
        }
        self.moves += 1;
        let number = self.moves;
        self.firms
            .insert(tenant, Place::Moving { from, to, number });
        Ok(())
    }

    /// Puts a firm back into service at its new shard, which was found to
    /// [agree](super::Router::agree) with the old one.
    ///
    /// # Errors
    /// [`Conflict`](FaultKind::Conflict) when it is not on this move any more.
    pub fn end_move(&mut self, agreed: Agreed) -> Result<()> {
        let Agreed { tenant, moving } = agreed;
        if self.moving(tenant).ok().as_ref() != Some(&moving) {
            return Err(conflict("the firm is not on this move"));
        }
        self.firms.insert(tenant, Place::At(moving.to));
        Ok(())
    }

    /// Gives up a move: the firm is served where it was.
    ///
    /// # Errors
    /// [`Conflict`](FaultKind::Conflict) when it is not being moved.
    pub fn give_up_move(&mut self, tenant: TenantId) -> Result<()> {
        let home = Place::At(self.moving(tenant)?.from);
        self.firms.insert(tenant, home);
        Ok(())
    }

    /// How often the map was saved.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Its shards, in the order of their names.
    pub fn shards(&self) -> impl Iterator<Item = &Label> {
        self.shards.iter()
    }

    /// Reads a map.
    ///
    /// # Errors
    /// [`NotFound`](FaultKind::NotFound) without a file, [`Corrupt`](FaultKind::Corrupt) for one
    /// that is no map or not a whole one, [`Misconfigured`](FaultKind::Misconfigured) when it
    /// cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Fault::new(FaultKind::NotFound, Port::Store, "route"),
            _ => misconfigured("the map of shards cannot be read"),
        })?;
        let map: Option<Self> = serde_json::from_slice(&bytes).ok();
        let map = map.filter(Self::is_whole).ok_or_else(|| {
            Fault::new(FaultKind::Corrupt, Port::Store, "route").because("not a map of shards")
        })?;
        Ok(map)
    }

    /// Writes the map, whole or not at all, and on disk when this returns.
    ///
    /// # Errors
    /// [`Conflict`](FaultKind::Conflict) when the file is not the one that this map was read
    /// from: somebody else saved it. [`Unavailable`](FaultKind::Unavailable) when it cannot be
    /// written.
    pub fn save(&mut self, path: &Path) -> Result<()> {
        let unavailable = |_| {
            Fault::new(FaultKind::Unavailable, Port::Store, "route")
                .because("the map of shards cannot be written")
        };
        let beside = |end: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(end);
            std::path::PathBuf::from(name)
        };
        let turn = File::create(beside(".lock")).map_err(unavailable)?;
        turn.lock().map_err(unavailable)?;
        let present = match Self::read(path) {
            Ok(map) => map.revision,
            Err(error) if error.fault().map(Fault::kind) == Some(FaultKind::NotFound) => 0,
            Err(error) => return Err(error),
        };
        if present != self.revision {
            return Err(conflict("somebody else saved the map of shards"));
        }
        let mut next = self.clone();
        next.revision += 1;
        // Labels, ids and numbers: all of them are JSON.
        let text = serde_json::to_vec(&next).unwrap_or_default();
        let fresh = beside(".new");
        let written = File::create(&fresh).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&fresh, path)?;
            match path.parent().filter(|folder| *folder != Path::new("")) {
                Some(folder) => File::open(folder)?.sync_all(),
                None => File::open(".")?.sync_all(),
            }
        });
        written.map_err(unavailable)?;
        *self = next;
        Ok(())
    }

    pub(super) fn has(&self, shard: &Label) -> bool {
        self.shards.contains(shard)
    }

    /// How a firm is being moved.
    pub(super) fn moving(&self, tenant: TenantId) -> Result<Move> {
        match self.firms.get(&tenant) {
            Some(Place::Moving { from, to, number }) => Ok(Move {
                from: from.clone(),
                to: to.clone(),
                number: *number,
            }),
            _ => Err(conflict("the firm is not being moved")),
        }
    }

    fn is_whole(&self) -> bool {
        let named = |place: &Place| match place {
            Place::At(shard) => self.has(shard),
            Place::Moving { from, to, .. } => self.has(from) && self.has(to),
        };
        self.form == FORM
            && self.slots.len() == Self::SLOTS
            && self.slots.iter().all(|shard| self.has(shard))
            && self.firms.values().all(named)
    }
}

/// The slot of a firm. Part of the written form: another hash would lose every firm.
fn slot(tenant: TenantId) -> usize {
    let mut hash = Sha256::new();
    hash.update(b"kta/shard/1");
    hash.update(tenant.as_bytes());
    let digest = hash.finalize();
    usize::from(u16::from_be_bytes([digest[0], digest[1]])) % ShardMap::SLOTS
}

fn conflict(detail: &'static str) -> kta_core::Error {
    Fault::new(FaultKind::Conflict, Port::Store, "route")
        .because(detail)
        .into()
}

const FORM: Label = Label::fixed("kta-shards/1");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_firm_stays_in_its_slot_for_ever() {
        // Written down once; whoever changes the hash loses every firm.
        let slots = [0_u8, 1, 255].map(|byte| slot(TenantId::from_bytes([byte; 16])));
        assert_eq!(slots, KNOWN);
    }

    #[test]
    fn slots_are_dealt_evenly_and_firms_with_them() {
        let names = ["a", "b", "c"].map(Label::fixed);
        let map = ShardMap::over(names.clone()).unwrap();
        let mut firms = BTreeMap::new();
        for number in 0..3000_u32 {
            let tenant = TenantId::derived(&[&number.to_be_bytes()]);
            *firms
                .entry(map.shard_of(tenant).unwrap().clone())
                .or_insert(0) += 1;
        }
        assert_eq!(firms.len(), 3);
        assert!(
            firms.values().all(|many| (850..1150).contains(many)),
            "{firms:?}"
        );
    }

    const KNOWN: [usize; 3] = [213, 27, 323];
}
