//! Branch keys: where they stand, how they are wrapped, and how the tree grows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::super::derive::{Prk, push};
use super::super::index::{IndexKey, IndexPlan};
use super::super::keys::SubjectKey;
use super::super::secret::SecretKey;
use super::super::wrap::{unwrap_under, wrap_under};
use super::{Hierarchy, corrupt};
use crate::error::{Error, Fault, FaultKind, Port, Result};
use crate::id::{Digest, SubjectId, TenantId};
use crate::ports::key_table::{
    EpochRow, FormerKey, FormerState, IndexKeyRow, KeyHead, KeyRows, NodeId, NodeRow, SubjectRow,
};
use crate::ports::kms::WrappedKey;
use crate::refusal::Code;

/// What a wrapped key is and where it stands: the context it is bound to.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// An epoch key, at the custodian.
    Epoch(u64),
    /// A branch key, drawn in an epoch.
    Branch(NodeId, u64),
    /// An index key, and for how many rows it is.
    Index(u32, u64),
    /// A person's key.
    Subject {
        subject: SubjectId,
        slot: u32,
        generation: u32,
        key: Digest,
    },
}

impl Place {
    pub(super) fn context(self, tenant: TenantId) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        let label: &[u8] = match self {
            Self::Epoch(_) => b"kta1 epoch",
            Self::Branch(..) => b"kta1 branch",
            Self::Index(..) => b"kta1 index",
            Self::Subject { .. } => b"kta1 subject",
        };
        push(&mut bytes, label);
        push(&mut bytes, tenant.as_bytes());
        match self {
            Self::Epoch(number) => bytes.extend_from_slice(&number.to_be_bytes()),
            Self::Branch(node, version) => {
                bytes.push(node.level);
                bytes.extend_from_slice(&node.index.to_be_bytes());
                bytes.extend_from_slice(&version.to_be_bytes());
            }
            Self::Index(epoch, rows) => {
                bytes.extend_from_slice(&epoch.to_be_bytes());
                // An index of the usual size was once the only one.
                if rows != IndexPlan::USUAL_ROWS {
                    bytes.extend_from_slice(&rows.to_be_bytes());
                }
            }
            Self::Subject {
                subject,
                slot,
                generation,
                key,
            } => {
                push(&mut bytes, subject.as_bytes());
                bytes.extend_from_slice(&slot.to_be_bytes());
                bytes.extend_from_slice(&generation.to_be_bytes());
                bytes.extend_from_slice(key.as_bytes());
            }
        }
        bytes
    }

    fn of(row: &SubjectRow) -> Self {
        Self::Subject {
            subject: row.subject,
            slot: row.slot,
            generation: row.generation,
            key: row.key,
        }
    }

    /// Where a former key stands: where it stood when it was the person's only one.
    fn of_former(row: &SubjectRow, former: &FormerKey) -> Self {
        Self::Subject {
            subject: row.subject,
            slot: row.slot,
            generation: former.generation,
            key: former.key,
        }
    }
}

/// Unwrapped keys of the present epoch. An entry counts only while the table still has the very
/// wrapped bytes it came from; dropping it wipes it.
#[derive(Default)]
pub(super) struct Cache {
    /// No key of an epoch before this one is kept.
    first: u64,
    epoch: Option<(EpochRow, Arc<Prk>)>,
    nodes: HashMap<NodeId, (WrappedKey, Arc<Prk>)>,
}

impl Cache {
    pub(super) fn wipe(&mut self) {
        *self = Self {
            first: self.first,
            ..Self::default()
        };
    }

    /// Wipes what is of an epoch before this one, and keeps nothing of one any more.
    pub(super) fn only(&mut self, epoch: u64) {
        if self.first < epoch {
            self.first = epoch;
            self.wipe();
        }
    }

    /// Keeps the key of an epoch; whatever was kept is of another, or of another copy of this one.
    pub(super) fn keep(&mut self, epoch: &EpochRow, key: &Arc<Prk>) {
        if self.first <= epoch.number {
            *self = Self {
                first: self.first,
                epoch: Some((epoch.clone(), Arc::clone(key))),
                nodes: HashMap::new(),
            };
        }
    }

    /// Keeps the key of a branch beside that of its epoch.
    pub(super) fn keep_node(&mut self, epoch: &EpochRow, row: &NodeRow, key: &Arc<Prk>) {
        if self.epoch.as_ref().is_none_or(|(kept, _)| kept != epoch) {
            return;
        }
        if self.nodes.len() >= CACHED_NODES {
            self.nodes.clear();
        }
        self.nodes
            .insert(row.node, (row.wrapped.clone(), Arc::clone(key)));
    }
}

/// What new people need, and their keys.
#[derive(Default)]
pub(super) struct Planted {
    pub(super) nodes: Vec<NodeRow>,
    pub(super) subjects: Vec<SubjectRow>,
    pub(super) keys: Vec<Arc<SubjectKey>>,
}

impl Hierarchy {
    /// The key of an epoch, from the cache or from the custodian.
    pub(super) async fn epoch_key(&self, epoch: &EpochRow) -> Result<Arc<Prk>> {
        if let Some((cached, key)) = &self.cached().epoch
            && cached == epoch
        {
            return Ok(Arc::clone(key));
        }
        let context = Place::Epoch(epoch.number).context(self.tenant);
        let secret = self.kms.unwrap(&epoch.kek, &epoch.wrapped, &context).await;
        let key = Arc::new(Prk::extract(&secret.map_err(custodian)?));
        self.cached().keep(epoch, &key);
        Ok(key)
    }

    /// The key of the lowest branch above a slot.
    pub(super) async fn branch_key(
        &self,
        head: &KeyHead,
        rows: &KeyRows,
        slot: u32,
    ) -> Result<Arc<Prk>> {
        let mut key = self.epoch_key(&head.epoch).await?;
        for node in NodeId::above(slot, head.fan_out) {
            let row = rows.nodes.get(&node).ok_or_else(|| corrupt("read"))?;
            key = self.node_key(&head.epoch, &key, row)?;
        }
        Ok(key)
    }

    fn node_key(&self, epoch: &EpochRow, parent: &Prk, row: &NodeRow) -> Result<Arc<Prk>> {
        if let Some((wrapped, key)) = self.cached().nodes.get(&row.node)
            && *wrapped == row.wrapped
        {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(Prk::extract(&open_node(self.tenant, parent, row)?));
        self.cached().keep_node(epoch, row, &key);
        Ok(key)
    }

    /// Rows for new people at new slots, with the branches above them that are missing.
    pub(super) async fn plant(
        &self,
        head: &KeyHead,
        rows: KeyRows,
        people: impl Iterator<Item = (SubjectId, u32)>,
    ) -> Result<Planted> {
        let epoch = self.epoch_key(&head.epoch).await?;
        let mut keys = BTreeMap::from([(NodeId::ROOT, epoch)]);
        let mut planted = Planted::default();
        for (subject, slot) in people {
            let mut parent = NodeId::ROOT;
            for node in NodeId::above(slot, head.fan_out) {
                if !keys.contains_key(&node) {
                    let above = &keys[&parent];
                    let key = if let Some(row) = rows.nodes.get(&node) {
                        self.node_key(&head.epoch, above, row)?
                    } else {
                        let secret = SecretKey::random(&*self.entropy);
                        let row = self.wrap_node(above, node, head.epoch.number, &secret)?;
                        planted.nodes.push(row);
                        Arc::new(Prk::extract(&secret))
                    };
                    keys.insert(node, key);
                }
                parent = node;
            }
            let secret = SecretKey::random(&*self.entropy);
            let key = SubjectKey::new(self.tenant, subject, FIRST, &secret);
            let wrapped = WrappedKey::from_bytes(Vec::new());
            let row = SubjectRow {
                subject,
                slot,
                generation: FIRST,
                key: key.fingerprint(),
                wrapped,
                former: None,
            };
            let row = self.wrap_leaf(&keys[&parent], row, &secret)?;
            planted.subjects.push(row);
            planted.keys.push(Arc::new(key));
        }
        Ok(planted)
    }

    pub(super) fn wrap_node(
        &self,
        parent: &Prk,
        node: NodeId,
        version: u64,
        secret: &SecretKey,
    ) -> Result<NodeRow> {
        let context = Place::Branch(node, version).context(self.tenant);
        let wrapped = wrap_under(parent, secret, context, &*self.entropy)?;
        Ok(NodeRow {
            node,
            version,
            wrapped,
        })
    }

    /// The same row with the key wrapped anew.
    pub(super) fn wrap_leaf(
        &self,
        parent: &Prk,
        row: SubjectRow,
        secret: &SecretKey,
    ) -> Result<SubjectRow> {
        let context = Place::of(&row).context(self.tenant);
        let wrapped = wrap_under(parent, secret, context, &*self.entropy)?;
        Ok(SubjectRow { wrapped, ..row })
    }

    /// A former key wrapped anew.
    pub(super) fn wrap_former(
        &self,
        parent: &Prk,
        row: &SubjectRow,
        former: &FormerKey,
        secret: &SecretKey,
    ) -> Result<FormerKey> {
        let context = Place::of_former(row, former).context(self.tenant);
        let wrapped = wrap_under(parent, secret, context, &*self.entropy)?;
        Ok(FormerKey {
            state: FormerState::Kept(wrapped),
            ..former.clone()
        })
    }

    pub(super) fn wrap_index(
        &self,
        epoch_key: &Prk,
        (epoch, rows): (u32, u64),
        secret: &SecretKey,
    ) -> Result<IndexKeyRow> {
        let context = Place::Index(epoch, rows).context(self.tenant);
        let wrapped = wrap_under(epoch_key, secret, context, &*self.entropy)?;
        Ok(IndexKeyRow {
            epoch,
            rows,
            wrapped,
        })
    }

    pub(super) async fn index_key_in(&self, head: &KeyHead, epoch: u32) -> Result<IndexKey> {
        let row = head
            .index
            .iter()
            .find(|row| row.epoch == epoch)
            .ok_or(Code::CryKey)?;
        let above = self.epoch_key(&head.epoch).await?;
        let secret = open_index(self.tenant, &above, row)?;
        Ok(IndexKey::new(self.tenant, epoch, &secret).planned_for(row.rows))
    }
}

pub(super) fn open_node(tenant: TenantId, parent: &Prk, row: &NodeRow) -> Result<SecretKey> {
    let context = Place::Branch(row.node, row.version).context(tenant);
    unwrap_under(parent, &row.wrapped, context).map_err(|_| corrupt("read"))
}

pub(super) fn open_leaf(tenant: TenantId, parent: &Prk, row: &SubjectRow) -> Result<SecretKey> {
    let context = Place::of(row).context(tenant);
    unwrap_under(parent, &row.wrapped, context).map_err(|_| corrupt("read"))
}

/// The former key of a row, while it is kept.
pub(super) fn open_former(
    tenant: TenantId,
    parent: &Prk,
    row: &SubjectRow,
) -> Result<Option<(FormerKey, SecretKey)>> {
    let Some((former, wrapped)) = row.kept() else {
        return Ok(None);
    };
    let context = Place::of_former(row, former).context(tenant);
    let secret = unwrap_under(parent, wrapped, context).map_err(|_| corrupt("read"))?;
    Ok(Some((former.clone(), secret)))
}

pub(super) fn open_index(tenant: TenantId, parent: &Prk, row: &IndexKeyRow) -> Result<SecretKey> {
    let context = Place::Index(row.epoch, row.rows).context(tenant);
    unwrap_under(parent, &row.wrapped, context).map_err(|_| corrupt("read"))
}

/// A custodian that refuses the active epoch's key is no answer about any one person.
fn custodian(error: Error) -> Error {
    match error.refusal().map(crate::refusal::Refusal::code) {
        Some(Code::CryErased) => Fault::new(FaultKind::Corrupt, Port::KeyTable, "read")
            .because("the custodian has destroyed the key of this epoch")
            .into(),
        Some(_) => corrupt("read"),
        None => error,
    }
}

/// The generation of a person's first key.
const FIRST: u32 = 1;
/// Branch keys kept unwrapped; they reach a million people at a fan-out of 256.
const CACHED_NODES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::testing::hex;

    #[test]
    fn the_plan_of_an_index_is_part_of_the_place_of_its_key() {
        let tenant = TenantId::from_bytes([1; 16]);
        let context = |rows| Place::Index(1, rows).context(tenant);
        assert_ne!(context(IndexPlan::USUAL_ROWS), context(1 << 20));
        assert_ne!(context(1 << 21), context(1 << 20));
    }

    #[test]
    fn places_are_written_as_the_page_of_the_format_says() {
        let tenant = TenantId::from_bytes([1; 16]);
        let subject = SubjectId::from_bytes([2; 16]);
        let secret = SecretKey::from_bytes([0x42; 32]);
        let node = NodeId { level: 2, index: 9 };
        let places = [
            ("an epoch key", Place::Epoch(3)),
            ("a branch key", Place::Branch(node, 3)),
            ("an index key", Place::Index(1, IndexPlan::USUAL_ROWS)),
            (
                "a person's key",
                Place::Subject {
                    subject,
                    slot: 17,
                    generation: 1,
                    key: SubjectKey::new(tenant, subject, 1, &secret).fingerprint(),
                },
            ),
        ];
        let known = include_str!("../../../vectors/sealing.json");
        let known: serde_json::Value = serde_json::from_str(known).unwrap();
        for (name, place) in places {
            let mut cases = known["cases"].as_array().unwrap().iter();
            let case = cases.find(|case| case["format"] == "wrapped" && case["name"] == name);
            assert_eq!(
                case.unwrap()["context"],
                hex(&place.context(tenant)),
                "{name}"
            );
        }
    }
}
