//! Ports that fail where a test wants them to.

use core::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::audit::Label;
use crate::crypto::SecretKey;
use crate::error::{Error, Fault, FaultKind, Port, Result};
use crate::id::{
    DeliveryId, Digest, DocumentId, IdempotencyKey, MatterId, RecordId, SubjectId, TenantId,
};
use crate::pii::{
    Content, ContentStream, Document, Fields, Locator, Placement, Record, RecordKey, System,
};
use crate::policy::Permit;
use crate::ports::channel::{Channel, Package, Submission};
use crate::ports::collaboration::{Collaboration, Grant, GrantRequest};
use crate::ports::crm::{Crm, CrmRecord, Fetched};
use crate::ports::documents::{Documents, StoredDocument, Version};
use crate::ports::intake::{Delivery, Intake};
use crate::ports::key_table::{KeyChange, KeyCopy, KeyRows, KeyTable, Wanted};
use crate::ports::kms::{KekDestroyed, KekId, KekState, Kms, WrappedKey};
use crate::ports::store::{
    ChangeSet, Committed, HoldQuery, Job, JobState, Jobs, Ledger, PlacementQuery, RecordQuery,
    Sheet, SheetQuery, Store,
};
use crate::ports::{BlobId, Blobs, Erase, Erased, Probe};
use crate::retention::Hold;
use crate::time::Timestamp;

/// What goes wrong at the call that the plan names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strike {
    /// The call never reaches the port: [`Unavailable`](FaultKind::Unavailable).
    Before,
    /// The call has its effect, and its answer is lost: [`OutcomeUnknown`](FaultKind::OutcomeUnknown).
    After,
    /// The process dies before the call: it and every later call is `Unavailable`, until
    /// [`FaultPlan::heal`].
    DeadBefore,
    /// The process dies after the effect of the call: every later call is `Unavailable`, until
    /// [`FaultPlan::heal`].
    DeadAfter,
}

impl Strike {
    /// Every way to fail.
    pub const ALL: [Self; 4] = [Self::Before, Self::After, Self::DeadBefore, Self::DeadAfter];

    const fn is_death(self) -> bool {
        matches!(self, Self::DeadBefore | Self::DeadAfter)
    }

    const fn lets_through(self) -> bool {
        matches!(self, Self::After | Self::DeadAfter)
    }
}

/// Counts the calls of every port that shares it and fails one of them.
///
/// To find a stage's weak step, run it once under [`none`](Self::none), ask how many
/// [`calls`](Self::calls) it made, and run it again for each of them and each [`Strike`].
///
/// ```
/// use kta_core::memory::{FaultPlan, Flaky, MemoryStore, Strike};
/// use kta_core::id::TenantId;
/// use kta_core::ports::{ChangeSet, Ledger, Store};
/// # fn block<F: Future>(f: F) -> F::Output {
/// #     let mut f = std::pin::pin!(f);
/// #     let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
/// #     loop { if let std::task::Poll::Ready(out) = f.as_mut().poll(&mut cx) { return out; } }
/// # }
/// # block(async {
/// let plan = FaultPlan::at(0, Strike::Before);
/// let store = Flaky::of(MemoryStore::new(), &plan);
/// let tenant = TenantId::derived(&[b"invented"]);
/// let empty = || ChangeSet::new(tenant, kta_core::time::Timestamp::UNIX_EPOCH);
/// assert!(store.commit(empty()).await.is_err());
/// assert!(store.commit(empty()).await.is_ok());
/// assert_eq!(plan.calls(), 2);
/// # });
/// ```
#[derive(Debug)]
pub struct FaultPlan {
    calls: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    planned: Option<(u64, Strike)>,
    struck: Option<(Port, &'static str)>,
    dead: bool,
}

impl FaultPlan {
    /// Nothing fails; calls are counted.
    #[must_use]
    pub fn none() -> Arc<Self> {
        Arc::new(Self {
            calls: AtomicU64::new(0),
            state: Mutex::default(),
        })
    }

    /// The call number `call`, from 0 on, fails in this way; it happens once.
    #[must_use]
    pub fn at(call: u64, strike: Strike) -> Arc<Self> {
        let state = State {
            planned: Some((call, strike)),
            ..State::default()
        };
        Arc::new(Self {
            calls: AtomicU64::new(0),
            state: Mutex::new(state),
        })
    }

    /// How many calls were made.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// The call that failed, if it did.
    #[must_use]
    pub fn struck(&self) -> Option<(Port, &'static str)> {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .struck
    }

    /// The process was started again: nothing is planned any more.
    pub fn heal(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.dead = false;
        state.planned = None;
    }

    /// Counts a call and says what becomes of it.
    fn turn(&self, port: Port, operation: &'static str) -> Turn {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let down = Fault::new(FaultKind::Unavailable, port, operation).because("planned fault");
        if state.dead {
            return Turn::Fail(down.into());
        }
        let Some((_, strike)) = state.planned.filter(|(planned, _)| *planned == call) else {
            return Turn::Pass;
        };
        state.struck = Some((port, operation));
        state.dead = strike.is_death();
        if strike.lets_through() {
            let lost = Fault::new(FaultKind::OutcomeUnknown, port, operation);
            Turn::Lose(lost.because("planned fault").into())
        } else {
            Turn::Fail(down.into())
        }
    }
}

enum Turn {
    Fail(Error),
    Lose(Error),
    Pass,
}

/// A port that fails as its [`FaultPlan`] says and is `P` otherwise.
///
/// It is every port that `P` is, of those that leave the process. A call of a fault that
/// happens [after](Strike::After) the effect gives `P`'s own error where `P` fails by itself.
pub struct Flaky<P: ?Sized> {
    plan: Arc<FaultPlan>,
    port: Arc<P>,
}

impl<P> Flaky<P> {
    /// A port of its own under `plan`.
    #[must_use]
    pub fn of(port: P, plan: &Arc<FaultPlan>) -> Self {
        Self::new(Arc::new(port), plan)
    }
}

impl<P: ?Sized> Flaky<P> {
    /// `port`, which may be a `dyn` port, under `plan`.
    #[must_use]
    pub fn new(port: Arc<P>, plan: &Arc<FaultPlan>) -> Self {
        Self {
            plan: Arc::clone(plan),
            port,
        }
    }

    async fn call<T>(
        &self,
        port: Port,
        operation: &'static str,
        effect: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match self.plan.turn(port, operation) {
            Turn::Fail(error) => Err(error),
            Turn::Lose(error) => effect.await.and(Err(error)),
            Turn::Pass => effect.await,
        }
    }
}

impl<P: ?Sized> Clone for Flaky<P> {
    fn clone(&self) -> Self {
        Self {
            plan: Arc::clone(&self.plan),
            port: Arc::clone(&self.port),
        }
    }
}

impl<P: fmt::Debug + ?Sized> fmt::Debug for Flaky<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flaky({:?})", &self.port)
    }
}

/// Passes each method on through [`Flaky::call`]; methods that do not leave the process, on
/// without counting.
macro_rules! flaky {
    ($(
        $port:ident {
            $(here fn $plain:ident() -> $name:ty;)*
            $(fn $method:ident($($arg:ident: $kind:ty),* $(,)?) -> $out:ty;)*
        }
    )*) => {$(
        #[async_trait]
        impl<P: $port + ?Sized> $port for Flaky<P> {
            $(fn $plain(&self) -> $name { self.port.$plain() })*
            $(
                async fn $method(&self, $($arg: $kind),*) -> Result<$out> {
                    self.call(Port::$port, stringify!($method), self.port.$method($($arg),*)).await
                }
            )*
        }
    )*};
}

flaky! {
    Blobs {
        fn put(id: &BlobId, sealed: ContentStream, permit: &Permit<'_>) -> (u64, Digest);
        fn replace(id: &BlobId, sealed: ContentStream, permit: &Permit<'_>) -> (u64, Digest);
        fn stream(id: &BlobId, permit: &Permit<'_>) -> ContentStream;
        fn remove(id: &BlobId, permit: &Permit<'_>) -> ();
        fn contains(id: &BlobId) -> bool;
    }
    Channel {
        here fn name() -> Label;
        fn submit(package: &Package, parts: Vec<Content>, key: IdempotencyKey, permit: &Permit<'_>) -> Submission;
        fn find(key: IdempotencyKey, permit: &Permit<'_>) -> Option<Submission>;
    }
    Collaboration {
        fn grant(request: &GrantRequest, key: IdempotencyKey, permit: &Permit<'_>) -> Grant;
        fn grants(subject: SubjectId, locator: &Locator, permit: &Permit<'_>) -> Vec<Grant>;
        fn revoke(subject: SubjectId, locator: &Locator, grant: &Locator, permit: &Permit<'_>) -> ();
    }
    Crm {
        here fn system() -> System;
        fn enter(record: &CrmRecord, key: IdempotencyKey, permit: &Permit<'_>) -> Locator;
        fn locate(record: RecordId, permit: &Permit<'_>) -> Option<Locator>;
        fn fetch(subject: SubjectId, locator: &Locator, permit: &Permit<'_>) -> Fetched;
        fn amend(subject: SubjectId, locator: &Locator, expected: Timestamp, fields: &Fields, permit: &Permit<'_>) -> Timestamp;
    }
    Documents {
        here fn system() -> System;
        fn put(document: &Document, label: Option<&Label>, content: Content, key: IdempotencyKey, permit: &Permit<'_>) -> StoredDocument;
        fn locate(matter: MatterId, document: DocumentId, permit: &Permit<'_>) -> Option<StoredDocument>;
        fn content(document: &Document, locator: &Locator, permit: &Permit<'_>) -> Content;
        fn versions(subject: SubjectId, locator: &Locator, permit: &Permit<'_>) -> Vec<Version>;
        fn remove(subject: SubjectId, locator: &Locator, permit: &Permit<'_>) -> ();
    }
    Erase {
        here fn system() -> System;
        fn erase(placement: &Placement, key: IdempotencyKey, permit: &Permit<'_>) -> Erased;
        fn probe(placement: &Placement, permit: &Permit<'_>) -> Probe;
    }
    Intake {
        here fn channel() -> Label;
        fn oldest(permit: &Permit<'_>) -> Option<Delivery>;
        fn acknowledge(delivery: DeliveryId, permit: &Permit<'_>) -> ();
    }
    Jobs {
        fn lease(tenant: TenantId, now: Timestamp, until: Timestamp, limit: usize) -> Vec<Job>;
        fn jobs(tenant: TenantId, state: Option<JobState>) -> Vec<Job>;
    }
    KeyTable {
        fn read(tenant: TenantId, wanted: &[Wanted]) -> KeyRows;
        fn commit(change: KeyChange) -> u64;
        fn copies(tenant: TenantId) -> Vec<KeyCopy>;
    }
    Kms {
        fn create(tenant: TenantId, key: IdempotencyKey) -> KekId;
        fn wrap(kek: &KekId, secret: &SecretKey, context: &[u8]) -> WrappedKey;
        fn unwrap(kek: &KekId, wrapped: &WrappedKey, context: &[u8]) -> SecretKey;
        fn destroy(kek: &KekId, at: Timestamp) -> KekDestroyed;
        fn state(kek: &KekId) -> KekState;
    }
    Ledger {
        fn size(tenant: TenantId) -> u64;
        fn entries(tenant: TenantId, from: u64, limit: usize) -> Vec<Vec<u8>>;
        fn trail(tenant: TenantId, subject: SubjectId, from: Timestamp, to: Timestamp) -> Vec<u64>;
    }
    Store {
        fn commit(change: ChangeSet) -> Committed;
        fn record(key: &RecordKey) -> Option<Record>;
        fn records(query: &RecordQuery) -> Vec<Record>;
        fn placements(query: &PlacementQuery) -> Vec<Placement>;
        fn holds(query: &HoldQuery) -> Vec<Hold>;
        fn sheets(query: &SheetQuery) -> Vec<Sheet>;
    }
}
