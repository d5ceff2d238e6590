//! The gate: nobody gets a permit before the decision is durably on the log.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use chrono::TimeDelta;

use crate::audit::{Event, Label};
use crate::error::{Error, Result};
use crate::id::{ActorId, Digest, HoldId, MatterId, SubjectId, TenantId};
use crate::policy::decisions::Decisions;
use crate::policy::session::Session;
use crate::policy::sight::Sights;
use crate::policy::{Budgets, Directory, Policy, PolicyClass, Purpose, Role, Sight};
use crate::ports::store::{ChangeSet, Durability, HoldQuery, Register, SheetQuery, Store};
use crate::refusal::Code;
use crate::retention::Hold;
use crate::time::{Clock, Entropy, Timestamp};

/// The only maker of permits.
///
/// ```text
///   AccessRequest ──► Policy::decide ──► audit entry durable ──► Permit
///                          │ deny                │ cannot be written
///                          ▼                     ▼
///               refusal, itself audited      AUD-DOWN: nothing happens
/// ```
pub struct Gate {
    pub(super) tenant: TenantId,
    pub(super) policy: Arc<dyn Policy>,
    store: Arc<dyn Store>,
    directory: RwLock<Revised>,
    /// What those who stand behind walls may know of.
    pub(super) sights: Sights,
    /// Decisions that hold still.
    pub(super) decisions: Decisions,
    /// Policy classes that were looked up; what a digest names never changes.
    classes: RwLock<BTreeMap<Digest, Arc<PolicyClass>>>,
    /// The active holds, as they were last read or placed: what permits that were given out
    /// earlier are held against.
    holds: RwLock<Holds>,
    /// How many readings of the holds began.
    readings: AtomicU64,
    clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) budgets: Budgets,
}

/// The active holds, and which of the readings found them.
#[derive(Default)]
struct Holds {
    reading: u64,
    active: Vec<Hold>,
}

impl Gate {
    /// How long a permit lasts when nothing shorter was asked for.
    pub const PERMIT_LIFE: TimeDelta = TimeDelta::minutes(15);

    /// A gate for one firm.
    #[must_use]
    pub fn new(
        tenant: TenantId,
        policy: Arc<dyn Policy>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            tenant,
            policy,
            store,
            directory: RwLock::default(),
            sights: Sights::default(),
            decisions: Decisions::default(),
            classes: RwLock::default(),
            holds: RwLock::default(),
            readings: AtomicU64::new(0),
            clock,
            entropy,
            budgets: Budgets::usual(),
        }
    }

    /// The same gate with these budgets instead of the [usual](Budgets::usual) ones. What they do not
    /// have is refused as `bdg.window` and an alarm on the log, and so is the last fifth of them;
    /// an emergency is let through, and spends.
    #[must_use]
    pub fn with_budgets(mut self, budgets: Budgets) -> Self {
        self.budgets = budgets;
        self
    }

    /// How many people's data each role may be let to, and what was spent of it.
    #[must_use]
    pub const fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    /// The firm whose data this gate guards.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The present instant, as the gate sees it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The version of the policy that decides now, where it says one.
    #[must_use]
    pub fn policy_version(&self) -> Option<Digest> {
        self.policy.version()
    }

    /// Reads the directory.
    pub fn directory<R>(&self, read: impl FnOnce(&Directory) -> R) -> R {
        self.revised(|kept| read(&kept.directory))
    }

    pub(super) fn revised<R>(&self, read: impl FnOnce(&Revised) -> R) -> R {
        read(
            &self
                .directory
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    /// What an actor must not know of, by the directory as it is now.
    pub(super) fn sight(&self, actor: ActorId) -> Arc<Sight> {
        self.revised(|kept| self.sights.of(&kept.directory, kept.revision, actor))
    }

    /// Changes the directory. Whoever calls this has recorded the change first; the pipeline
    /// does so through [`manage`](crate::pipeline::manage).
    pub fn amend_directory<R>(&self, amend: impl FnOnce(&mut Directory) -> R) -> R {
        let mut kept = self.kept();
        // First: what panics half way has changed something, too.
        kept.revision += 1;
        amend(&mut kept.directory)
    }

    /// A number that every change of the directory raises.
    pub(crate) fn directory_revision(&self) -> u64 {
        self.revised(|kept| kept.revision)
    }

    /// As [`amend_directory`](Self::amend_directory), unless the directory was changed since it had
    /// this revision.
    pub(crate) fn amend_directory_at<R>(
        &self,
        revision: u64,
        amend: impl FnOnce(&mut Directory) -> R,
    ) -> Option<R> {
        let mut kept = self.kept();
        if kept.revision != revision {
            return None;
        }
        kept.revision += 1;
        Some(amend(&mut kept.directory))
    }

    fn kept(&self) -> std::sync::RwLockWriteGuard<'_, Revised> {
        self.directory
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The interned policy class of this name; `None` when there is none, or when what is stored
    /// under the name is something else.
    ///
    /// # Errors
    /// Faults of the store.
    pub async fn class(&self, id: Digest) -> Result<Option<Arc<PolicyClass>>> {
        let poisoned = std::sync::PoisonError::into_inner;
        if let Some(class) = self.classes.read().unwrap_or_else(poisoned).get(&id) {
            return Ok(Some(Arc::clone(class)));
        }
        let Ok(name) = Label::new(id.to_string()) else {
            return Ok(None);
        };
        let query = SheetQuery::named(self.tenant, Register::Classes, name);
        let sheets = self.store.sheets(&query).await?;
        let read = sheets
            .first()
            .and_then(|sheet| serde_json::from_slice::<PolicyClass>(&sheet.body).ok())
            .filter(|class| class.id() == id);
        let Some(class) = read.map(Arc::new) else {
            return Ok(None);
        };
        let mut classes = self
            .classes
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if classes.len() >= Self::CLASSES {
            classes.clear();
        }
        classes.insert(id, Arc::clone(&class));
        Ok(Some(class))
    }

    /// Reads the active holds, and holds from now on every permit against them that was given out
    /// before. Whoever places a hold calls this, and so does every request to destroy something.
    ///
    /// # Errors
    /// Faults of the store.
    pub async fn read_holds(&self) -> Result<()> {
        let all = HoldQuery {
            tenant: self.tenant,
            subject: None,
            matter: None,
            active: true,
        };
        let reading = self.readings.fetch_add(1, Ordering::Relaxed) + 1;
        let active = self.store.holds(&all).await?;
        let mut holds = self
            .holds
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // One that began earlier may not know of a hold that a later one found.
        if reading > holds.reading {
            *holds = Holds { reading, active };
        }
        Ok(())
    }

    /// The hold that covers what is kept of this person in these matters, by the person under
    /// any id or by one of the matters; in all of the person's matters where none are named.
    pub(super) fn hold_over(
        &self,
        subject: SubjectId,
        matters: Option<&BTreeSet<MatterId>>,
    ) -> Option<HoldId> {
        let holds = self
            .holds
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if holds.active.is_empty() {
            return None;
        }
        let (ids, all) = self.directory(|directory| {
            let all = matters
                .is_none()
                .then(|| directory.matters_of(subject).collect());
            (directory.known_as(subject), all)
        });
        let all: BTreeSet<MatterId> = all.unwrap_or_default();
        let matters = matters.unwrap_or(&all);
        let covers = |hold: &&Hold| {
            hold.released.is_none()
                && (!hold.subjects.is_disjoint(&ids) || !hold.matters.is_disjoint(matters))
        };
        holds.active.iter().find(covers).map(|hold| hold.id)
    }

    /// How many classes are kept in memory: far more than a firm has.
    const CLASSES: usize = 16 * 1024;

    /// Opens a session: one actor, in one role, for one purpose. Permits cannot outlive it.
    #[must_use]
    pub fn session(&self, actor: ActorId, role: Role, purpose: Purpose) -> Session<'_> {
        Session::at(self, actor, role, purpose)
    }

    /// Writes audit entries that belong to no change of data.
    ///
    /// # Errors
    /// [`Code::AudDown`] when the log cannot be written.
    pub async fn log(&self, events: Vec<Event>, durability: Durability) -> Result<()> {
        let mut change = ChangeSet::new(self.tenant, self.now());
        change.events = events;
        change.durability = durability;
        self.commit(change).await
    }

    pub(super) async fn commit(&self, change: ChangeSet) -> Result<()> {
        self.store
            .commit(change)
            .await
            .map(drop)
            .map_err(|_| Error::from(Code::AudDown))
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

/// The directory, and how often it was changed: what was concluded from it is good for this
/// revision only.
#[derive(Debug, Default)]
pub(super) struct Revised {
    pub(super) directory: Directory,
    pub(super) revision: u64,
}

#[cfg(test)]
mod tests;
