//! That a hold which was read once is not forgotten by who began to read before.

use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::*;
use crate::memory::{ManualClock, MemoryStore, RulesPolicy, SeededEntropy};
use crate::pii::{Placement, Record, RecordKey};
use crate::ports::store::{Change, Committed, PlacementQuery, RecordQuery, Sheet};

/// A store whose first reading of the holds gives what it found only when it is let go.
#[derive(Debug)]
struct Slow {
    inner: MemoryStore,
    first: AtomicBool,
    found: Notify,
    go: Notify,
}

#[async_trait]
impl Store for Slow {
    async fn commit(&self, change: ChangeSet) -> Result<Committed> {
        self.inner.commit(change).await
    }

    async fn record(&self, key: &RecordKey) -> Result<Option<Record>> {
        self.inner.record(key).await
    }

    async fn records(&self, query: &RecordQuery) -> Result<Vec<Record>> {
        self.inner.records(query).await
    }

    async fn placements(&self, query: &PlacementQuery) -> Result<Vec<Placement>> {
        self.inner.placements(query).await
    }

    async fn holds(&self, query: &HoldQuery) -> Result<Vec<Hold>> {
        let holds = self.inner.holds(query).await;
        if self.first.swap(false, Ordering::SeqCst) {
            self.found.notify_one();
            self.go.notified().await;
        }
        holds
    }

    async fn sheets(&self, query: &SheetQuery) -> Result<Vec<Sheet>> {
        self.inner.sheets(query).await
    }
}

#[tokio::test]
async fn an_older_reading_does_not_forget_a_hold() {
    let tenant = TenantId::derived(&[b"a firm"]);
    let subject = SubjectId::derived(&[b"somebody"]);
    let now = Timestamp::UNIX_EPOCH;
    let slow = Arc::new(Slow {
        inner: MemoryStore::new(),
        first: true.into(),
        found: Notify::new(),
        go: Notify::new(),
    });
    let gate = Arc::new(Gate::new(
        tenant,
        Arc::new(RulesPolicy::new()),
        Arc::clone(&slow) as _,
        Arc::new(ManualClock::at(now)),
        Arc::new(SeededEntropy::new(1)),
    ));
    let before = Arc::clone(&gate);
    let older = tokio::spawn(async move { before.read_holds().await });
    slow.found.notified().await;

    let hold = Hold {
        tenant,
        id: HoldId::derived(&[b"a hold"]),
        subjects: [subject].into(),
        matters: BTreeSet::new(),
        reason: Label::fixed("litigation.2026-01"),
        placed_by: ActorId::derived(&[b"counsel"]),
        placed_at: now,
        released: None,
    };
    let place = ChangeSet::new(tenant, now).with(Change::PlaceHold(hold.clone()));
    slow.commit(place).await.unwrap();
    gate.read_holds().await.unwrap();
    slow.go.notify_one();
    older.await.unwrap().unwrap();
    assert_eq!(gate.hold_over(subject, None), Some(hold.id));
}
