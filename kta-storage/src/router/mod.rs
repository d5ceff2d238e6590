//! Several stores behind one, each with its own firms.

mod map;
mod moving;

use core::fmt;
use std::collections::BTreeMap;

use async_trait::async_trait;
use kta_core::audit::Label;
use kta_core::id::{IdempotencyKey, SubjectId, TenantId};
use kta_core::pii::{Placement, Record, RecordKey, System};
use kta_core::policy::Permit;
use kta_core::ports::Erase;
use kta_core::ports::erase::{Erased, Probe};
use kta_core::ports::store::{
    Change, ChangeSet, Committed, Expected, HoldQuery, Job, JobState, Jobs, Ledger, PlacementQuery,
    RecordQuery, Register, Sheet, SheetQuery, Store,
};
use kta_core::retention::Hold;
use kta_core::time::Timestamp;
use kta_core::{Fault, FaultKind, Port, Result};

pub use map::ShardMap;
pub use moving::{Agreed, Shard};

/// One [`Store`] with its [`Jobs`] and [`Ledger`] over several, each of which keeps the firms
/// that the [`ShardMap`] gives it.
///
/// ```text
///   firm ──► one of 1,024 slots, by hash ──► the shard that the map names for the slot
///     └────► the shard that the map names for the firm, where it was moved by itself
/// ```
///
/// A firm lives wholly in one shard, and a change set has one firm: so each commit is one
/// transaction of one store, and nothing here has to be atomic across two.
///
/// It refuses what it cannot place: a firm whose shard this process was given no store for, a
/// firm that is being moved, and, when it is opened, a store that does not
/// [say](Self::mark) that it is the shard it is taken for. A wrong store would look to a firm
/// like an empty one, and its log would begin anew.
///
/// # To add a shard
/// [`ShardMap::add`], [`mark`](Self::mark), [`save`](ShardMap::save), and start the processes
/// with the new map and the new store. No firm has moved: the new shard has no slot and no firm.
///
/// # To move a firm there
/// Also a firm that has not begun yet, to found it on the shard of one's choice.
///
/// 1. [`ShardMap::begin_move`], [`save`](ShardMap::save), and every process is started with that
///    map: from then on none of them reads or writes for the firm
///    ([`Unavailable`](FaultKind::Unavailable)).
/// 2. Copy the firm's rows from the one database to the other with its own tools, as a role that
///    may (on PostgreSQL `COPY (SELECT … WHERE tenant = …)` for each table).
/// 3. [`agree`](Self::agree) reads everything on both sides and compares it.
/// 4. What it gives lets [`ShardMap::end_move`] name the new shard. Save, start the processes.
/// 5. Remove the firm's rows from the old shard, and mind that its backups still have them.
///
/// Step 2 is not done here: which rows there are is each database's own affair, and a copy under
/// way is what its tools are good at.
pub struct Router<S> {
    map: ShardMap,
    stores: BTreeMap<Label, S>,
}

impl<S: Store> Router<S> {
    /// Routes by `map` to `stores`, which may be some of the map's shards only: a firm of
    /// another one is refused.
    ///
    /// # Errors
    /// [`Misconfigured`](FaultKind::Misconfigured) for a shard that the map does not have, one
    /// that is named twice, and a store that is not marked as the shard it is given for. Faults
    /// of the stores.
    pub async fn open(map: ShardMap, stores: impl IntoIterator<Item = (Label, S)>) -> Result<Self> {
        let mut known = BTreeMap::new();
        for (shard, store) in stores {
            if !map.has(&shard) {
                return Err(misconfigured("a store for a shard that is not on the map").into());
            }
            match marked(&store).await? {
                Some(sheet) if sheet.body == body(&shard) => {}
                Some(_) => return Err(misconfigured("the store is another shard").into()),
                None => return Err(misconfigured("the store is not marked as a shard").into()),
            }
            if known.insert(shard, store).is_some() {
                return Err(misconfigured("two stores for one shard").into());
            }
        }
        Ok(Self { map, stores: known })
    }

    /// Writes into a store which shard it is. Once, when the shard is made; again is no error.
    ///
    /// # Errors
    /// [`Misconfigured`](FaultKind::Misconfigured) when it is another shard already. Faults of
    /// the store.
    pub async fn mark(shard: &Label, store: &S) -> Result<()> {
        if let Some(sheet) = marked(store).await? {
            return if sheet.body == body(shard) {
                Ok(())
            } else {
                Err(misconfigured("the store is another shard").into())
            };
        }
        let sheet = Sheet {
            register: Register::Receipts,
            id: SHARD,
            subject: None,
            matter: None,
            revision: 1,
            body: body(shard),
        };
        let expected = Expected::Absent;
        let set = ChangeSet::new(house(), Timestamp::UNIX_EPOCH);
        let set = set.with(Change::File { sheet, expected });
        store.commit(set).await.map(drop)
    }

    /// The map by which it routes.
    #[must_use]
    pub const fn map(&self) -> &ShardMap {
        &self.map
    }

    /// The store that keeps this firm.
    ///
    /// # Errors
    /// [`Unavailable`](FaultKind::Unavailable) while the firm is being moved,
    /// [`Misconfigured`](FaultKind::Misconfigured) when its shard is not here.
    pub fn store_of(&self, tenant: TenantId) -> Result<&S> {
        self.store_named(self.map.shard_of(tenant)?)
    }

    fn store_named(&self, shard: &Label) -> Result<&S> {
        let store = self.stores.get(shard);
        store.ok_or_else(|| misconfigured("no store here for the shard of this firm").into())
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("shards", &self.stores.keys().collect::<Vec<_>>())
            .field("revision", &self.map.revision())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<S: Store> Store for Router<S> {
    async fn commit(&self, change: ChangeSet) -> Result<Committed> {
        self.store_of(change.tenant)?.commit(change).await
    }

    async fn record(&self, key: &RecordKey) -> Result<Option<Record>> {
        self.store_of(key.tenant)?.record(key).await
    }

    async fn records(&self, query: &RecordQuery) -> Result<Vec<Record>> {
        self.store_of(query.tenant)?.records(query).await
    }

    async fn placements(&self, query: &PlacementQuery) -> Result<Vec<Placement>> {
        self.store_of(query.tenant)?.placements(query).await
    }

    async fn holds(&self, query: &HoldQuery) -> Result<Vec<Hold>> {
        self.store_of(query.tenant)?.holds(query).await
    }

    async fn sheets(&self, query: &SheetQuery) -> Result<Vec<Sheet>> {
        self.store_of(query.tenant)?.sheets(query).await
    }
}

#[async_trait]
impl<S: Store + Jobs> Jobs for Router<S> {
    async fn lease(
        &self,
        tenant: TenantId,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Job>> {
        let store = self.store_of(tenant)?;
        store.lease(tenant, now, until, limit).await
    }

    async fn jobs(&self, tenant: TenantId, state: Option<JobState>) -> Result<Vec<Job>> {
        self.store_of(tenant)?.jobs(tenant, state).await
    }
}

#[async_trait]
impl<S: Store + Ledger> Ledger for Router<S> {
    async fn size(&self, tenant: TenantId) -> Result<u64> {
        self.store_of(tenant)?.size(tenant).await
    }

    async fn entries(&self, tenant: TenantId, from: u64, limit: usize) -> Result<Vec<Vec<u8>>> {
        self.store_of(tenant)?.entries(tenant, from, limit).await
    }

    async fn trail(
        &self,
        tenant: TenantId,
        subject: SubjectId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<u64>> {
        let store = self.store_of(tenant)?;
        store.trail(tenant, subject, from, to).await
    }
}

/// Erases in the shard of the placement's firm.
#[async_trait]
impl<S: Store + Erase> Erase for Router<S> {
    fn system(&self) -> System {
        Placement::STORE
    }

    async fn erase(
        &self,
        placement: &Placement,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Erased> {
        let store = self.store_of(placement.tenant)?;
        store.erase(placement, key, permit).await
    }

    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> Result<Probe> {
        let store = self.store_of(placement.tenant)?;
        store.probe(placement, permit).await
    }
}

/// What a store says about which shard it is.
async fn marked(store: &impl Store) -> Result<Option<Sheet>> {
    let query = SheetQuery::named(house(), Register::Receipts, SHARD);
    Ok(store.sheets(&query).await?.pop())
}

/// Under this id, which no firm has, a store keeps what it is.
fn house() -> TenantId {
    TenantId::derived(&[b"kta-storage", b"shard"])
}

fn body(shard: &Label) -> Vec<u8> {
    // A label has no character that JSON would escape.
    format!("\"{shard}\"").into_bytes()
}

const SHARD: Label = Label::fixed("shard");

const fn misconfigured(detail: &'static str) -> Fault {
    Fault::new(FaultKind::Misconfigured, Port::Store, "route").because(detail)
}
