mod crash;
mod custodian;
mod erasing;
mod index;
mod memory;
mod people;
mod subjects;
mod turning;

use super::*;
use crate::crypto::context::SealContext;
use crate::crypto::shred::EraseClaim;
use crate::crypto::testing::Counted;
use crate::crypto::{Envelope, IndexPlan, index::Normal};
use crate::id::{MatterId, RecordId};
use crate::memory::{MemoryKeyTable, MemoryKms};
use crate::ports::key_table::CopiedKey;
use crate::ports::kms::WrappedKey;

/// Custodian, table and people of one invented firm, with a fan-out so small that a dozen people
/// make a tree.
struct Firm {
    tenant: TenantId,
    kms: MemoryKms,
    table: MemoryKeyTable,
    entropy: Arc<dyn Entropy>,
}

impl Firm {
    fn new(seed: u64) -> Self {
        let entropy: Arc<dyn Entropy> = Arc::new(Counted::new(seed));
        Self {
            tenant: TenantId::from_bytes([1; 16]),
            kms: MemoryKms::new(entropy.clone()),
            table: MemoryKeyTable::new(),
            entropy,
        }
    }

    async fn open(&self) -> Result<Hierarchy> {
        self.open_on(Arc::new(self.kms.clone()), Arc::new(self.table.clone()))
            .await
    }

    async fn open_on(&self, kms: Arc<dyn Kms>, table: Arc<dyn KeyTable>) -> Result<Hierarchy> {
        let entropy = self.entropy.clone();
        Hierarchy::open_with_fan_out(self.tenant, kms, table, entropy, now(), 3).await
    }

    fn place(&self, subject: SubjectId) -> SealContext<'static> {
        SealContext {
            tenant: self.tenant,
            subject,
            matter: Some(MatterId::from_bytes([3; 16])),
            record: RecordId::from_bytes([4; 16]),
            field: "name",
            revision: 1,
        }
    }

    async fn seal(&self, keys: &Hierarchy, subject: SubjectId) -> Envelope {
        let place = self.place(subject);
        let key = keys
            .subject_key(subject)
            .await
            .unwrap()
            .record_key(place.record);
        key.seal(&place, subject.as_bytes(), &*self.entropy)
            .unwrap()
    }

    async fn opens(&self, keys: &Hierarchy, subject: SubjectId, sealed: &Envelope) -> Result<()> {
        let place = self.place(subject);
        let key = keys.subject_key(subject).await?.record_key(place.record);
        assert_eq!(**key.open(&place, sealed)?, *subject.as_bytes());
        Ok(())
    }
}

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

/// When a key that was rotated at [`now`] may end.
fn later() -> Timestamp {
    now() + Hierarchy::HELD
}

fn person(number: u8) -> SubjectId {
    SubjectId::from_bytes([number; 16])
}

fn people(many: u8) -> Vec<SubjectId> {
    (1..=many).map(person).collect()
}

fn code<T: fmt::Debug>(outcome: Result<T>) -> Option<Code> {
    outcome.unwrap_err().refusal().map(|refusal| refusal.code())
}

fn kind<T: fmt::Debug>(outcome: Result<T>) -> Option<FaultKind> {
    outcome.unwrap_err().fault().map(Fault::kind)
}
