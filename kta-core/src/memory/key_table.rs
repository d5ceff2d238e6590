//! A key table in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::error::{Fault, FaultKind, Port, Result};
use crate::id::{SubjectId, TenantId};
use crate::ports::key_table::{
    KeyChange, KeyCopy, KeyHead, KeyRows, KeyTable, NodeId, NodeRow, SubjectRow, Tombstone, Wanted,
};
use crate::refusal::Code;

/// A [`KeyTable`] in memory, for tests and examples. Clones are handles to one table;
/// [`copied`](MemoryKeyTable::copied) is a thief's or a backup's copy of all its rows.
#[derive(Clone, Debug, Default)]
pub struct MemoryKeyTable {
    tenants: Arc<Mutex<BTreeMap<TenantId, Rows>>>,
}

#[derive(Clone, Debug)]
struct Rows {
    head: KeyHead,
    nodes: BTreeMap<NodeId, NodeRow>,
    subjects: BTreeMap<SubjectId, SubjectRow>,
    slots: BTreeMap<u32, SubjectId>,
    erased: BTreeMap<SubjectId, Tombstone>,
    copies: Vec<KeyCopy>,
}

impl MemoryKeyTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A table of its own with the same rows, as they are now.
    #[must_use]
    pub fn copied(&self) -> Self {
        Self {
            tenants: Arc::new(Mutex::new(self.locked().clone())),
        }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<TenantId, Rows>> {
        // Nothing panics between the first and the last change of a commit, so it is whole.
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl KeyTable for MemoryKeyTable {
    async fn read(&self, tenant: TenantId, wanted: &[Wanted]) -> Result<KeyRows> {
        let tenants = self.locked();
        let Some(rows) = tenants.get(&tenant) else {
            return Ok(KeyRows::default());
        };
        let mut found = KeyRows {
            head: Some(rows.head.clone()),
            ..KeyRows::default()
        };
        for wanted in wanted {
            match wanted {
                Wanted::Children(node) => rows.children(*node, &mut found),
                Wanted::Node(node) => rows.node(*node, &mut found),
                Wanted::Subject(subject) => rows.subject(subject, &mut found),
            }
        }
        Ok(found)
    }

    async fn commit(&self, change: KeyChange) -> Result<u64> {
        let mut tenants = self.locked();
        let present = tenants.get(&change.tenant);
        if present.map(|rows| rows.head.revision) != change.expected {
            return Err(Fault::new(FaultKind::Conflict, Port::KeyTable, "commit").into());
        }
        let gone = |subject| {
            present.is_some_and(|rows| rows.erased.contains_key(subject))
                || change
                    .erased
                    .iter()
                    .any(|tombstone| tombstone.subject == *subject)
        };
        if change.subjects.iter().any(|row| gone(&row.subject)) {
            return Err(Code::CryErased.into());
        }
        // Nothing below fails, so the change takes effect as a whole.
        let rows = tenants
            .entry(change.tenant)
            .or_insert_with(|| Rows::new(change.head.clone()));
        rows.apply(change);
        Ok(rows.head.revision)
    }

    async fn copies(&self, tenant: TenantId) -> Result<Vec<KeyCopy>> {
        Ok(self
            .locked()
            .get(&tenant)
            .map(|rows| rows.copies.clone())
            .unwrap_or_default())
    }
}

impl Rows {
    fn new(head: KeyHead) -> Self {
        Self {
            head: KeyHead {
                revision: 0,
                ..head
            },
            nodes: BTreeMap::new(),
            subjects: BTreeMap::new(),
            slots: BTreeMap::new(),
            erased: BTreeMap::new(),
            copies: Vec::new(),
        }
    }

    fn apply(&mut self, change: KeyChange) {
        self.head = KeyHead {
            revision: self.head.revision + 1,
            ..change.head
        };
        self.nodes
            .extend(change.nodes.into_iter().map(|row| (row.node, row)));
        for tombstone in change.erased {
            if let Some(row) = self.subjects.remove(&tombstone.subject) {
                self.slots.remove(&row.slot);
            }
            self.erased.entry(tombstone.subject).or_insert(tombstone);
        }
        for row in change.subjects {
            self.slots.insert(row.slot, row.subject);
            self.subjects.insert(row.subject, row);
        }
        for evidence in change.destroyed {
            for tombstone in self
                .erased
                .values_mut()
                .filter(|row| row.kek == evidence.kek)
            {
                tombstone.kek_destroyed = Some(evidence.clone());
            }
        }
        for copy in change.copies {
            self.copies
                .retain(|known| (&known.of, &known.holder) != (&copy.of, &copy.holder));
            self.copies.push(copy);
        }
    }

    fn node(&self, node: NodeId, found: &mut KeyRows) {
        if let Some(row) = self.nodes.get(&node) {
            found.nodes.insert(node, row.clone());
        }
    }

    fn subject(&self, subject: &SubjectId, found: &mut KeyRows) {
        if let Some(tombstone) = self.erased.get(subject) {
            found.erased.insert(*subject, tombstone.clone());
        }
        if let Some(row) = self.subjects.get(subject) {
            found.subjects.insert(*subject, row.clone());
            for node in NodeId::above(row.slot, self.head.fan_out) {
                self.node(node, found);
            }
        }
    }

    fn children(&self, parent: NodeId, found: &mut KeyRows) {
        let (first, last) = parent.children(self.head.fan_out);
        if parent.level < NodeId::LOWEST {
            let level = parent.level + 1;
            let range = NodeId {
                level,
                index: first,
            }..=NodeId { level, index: last };
            found.nodes.extend(
                self.nodes
                    .range(range)
                    .map(|(node, row)| (*node, row.clone())),
            );
        } else {
            for (_, subject) in self.slots.range(first..=last) {
                found.subjects.extend(
                    self.subjects
                        .get(subject)
                        .map(|row| (*subject, row.clone())),
                );
            }
        }
    }
}
