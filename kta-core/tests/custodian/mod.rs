//! A custodian that deletes keys at the end of a waiting period, as the clouds do.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::TimeDelta;
use kta_core::Result;
use kta_core::crypto::{Hierarchy, SecretKey};
use kta_core::id::{IdempotencyKey, TenantId};
use kta_core::memory::{ManualClock, MemoryKeyTable, MemoryKms, MemoryPorts, SeededEntropy};
use kta_core::pipeline::House;
use kta_core::policy::Sealer;
use kta_core::ports::kms::{KekDestroyed, KekDestruction, KekId, KekState, Kms, WrappedKey};
use kta_core::time::{Clock as _, Timestamp};

use crate::road::{Cast, ports};

/// A house whose keys are with a custodian that waits.
pub(crate) async fn waiting(seed: u64) -> (MemoryPorts, Cast, House, Arc<Waiting>) {
    let (ports, cast) = ports(seed).await;
    let mut house = ports.open().await.unwrap();
    let entropy = Arc::new(SeededEntropy::new(seed + 1000));
    let kms = Arc::new(Waiting {
        within: MemoryKms::new(Arc::clone(&entropy) as _),
        clock: ports.clock.clone(),
        days: AtomicI64::new(30),
        cancelled: AtomicBool::new(false),
        deleted: AtomicBool::new(false),
        asked: Mutex::new(0),
    });
    let table = Arc::new(MemoryKeyTable::new());
    let now = ports.clock.now();
    let custodian = Arc::clone(&kms);
    let entropy = entropy as Arc<dyn kta_core::time::Entropy>;
    let keys = Hierarchy::open(house.tenant(), kms, table, Arc::clone(&entropy), now).await;
    house.sealer = Sealer::new(Arc::new(keys.unwrap()), entropy);
    (ports, cast, house, custodian)
}

#[derive(Debug)]
pub(crate) struct Waiting {
    within: MemoryKms,
    clock: ManualClock,
    /// How long it waits.
    pub(crate) days: AtomicI64,
    /// Whether an administrator brought the keys back.
    pub(crate) cancelled: AtomicBool,
    /// Whether it says that a key is gone when its time is over.
    pub(crate) deleted: AtomicBool,
    /// How often it was asked for a key that it had destroyed.
    asked: Mutex<u32>,
}

impl Waiting {
    pub(crate) fn asked(&self) -> u32 {
        *self.asked.lock().unwrap()
    }

    fn scheduled(&self, mut evidence: KekDestroyed) -> KekDestroyed {
        let until: Timestamp = evidence.at + TimeDelta::days(self.days.load(Ordering::Relaxed));
        if !(self.deleted.load(Ordering::Relaxed) && until <= self.clock.now()) {
            evidence.method = KekDestruction::Scheduled { until };
        }
        evidence
    }
}

#[async_trait]
impl Kms for Waiting {
    async fn create(&self, tenant: TenantId, key: IdempotencyKey) -> Result<KekId> {
        self.within.create(tenant, key).await
    }

    async fn wrap(&self, kek: &KekId, secret: &SecretKey, context: &[u8]) -> Result<WrappedKey> {
        self.within.wrap(kek, secret, context).await
    }

    async fn unwrap(&self, kek: &KekId, wrapped: &WrappedKey, context: &[u8]) -> Result<SecretKey> {
        self.within.unwrap(kek, wrapped, context).await
    }

    async fn destroy(&self, kek: &KekId, at: Timestamp) -> Result<KekDestroyed> {
        self.within
            .destroy(kek, at)
            .await
            .map(|evidence| self.scheduled(evidence))
    }

    async fn state(&self, kek: &KekId) -> Result<KekState> {
        let KekState::Destroyed(evidence) = self.within.state(kek).await? else {
            return Ok(KekState::Active);
        };
        *self.asked.lock().unwrap() += 1;
        if self.cancelled.load(Ordering::Relaxed) {
            return Ok(KekState::Active);
        }
        Ok(KekState::Destroyed(self.scheduled(evidence)))
    }
}
