//! The tree of keys of one tenant, from the custodian down to the people.

/// Repeats what lost a race, a bounded number of times.
macro_rules! retried {
    ($attempt:expr) => {{
        let mut left = $crate::crypto::hierarchy::ATTEMPTS;
        loop {
            left -= 1;
            // The block keeps a `?` of the attempt inside the attempt.
            let outcome: Result<_> = async { $attempt }.await;
            match outcome {
                Err(Error::Broken(fault)) if left > 0 && fault.kind() == FaultKind::Conflict => {}
                outcome => break outcome,
            }
        }
    }};
}

/// Reads and acts; again from the beginning when the epoch was turned meanwhile, because then
/// what failed to unwrap was a mixture of two epochs.
macro_rules! reread {
    ($keys:ident, $wanted:expr, |$head:ident, $rows:ident| $act:expr) => {
        retried!({
            let (head, rows) = $keys.rows($wanted).await?;
            let (epoch, $head, $rows) = (head.epoch.number, head, rows);
            let outcome: Result<_> = async { $act }.await;
            $keys.unless_turned(epoch, outcome).await
        })
    };
}

mod census;
mod evidence;
mod kept;
mod rotate;
mod tree;
mod turn;

pub use census::KeyHolder;
pub use rotate::{SubjectRotation, Turned};

use core::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::derive::Prk;
use super::index::{IndexKey, IndexPlan};
use super::keys::SubjectKey;
use super::secret::SecretKey;
use crate::audit::Label;
use crate::error::{Error, Fault, FaultKind, Port, Result};
use crate::id::{IdempotencyKey, SubjectId, TenantId};
use crate::ports::key_table::{
    EpochRow, KeyChange, KeyCopy, KeyHead, KeyRows, KeyTable, NodeId, Wanted,
};
use crate::ports::kms::{KekState, Kms};
use crate::refusal::Code;
use crate::time::{Entropy, Timestamp};
use kept::Kept;
use tree::{Cache, Place};

/// The keys of one tenant: gives each person a key, hands it out, and destroys it.
///
/// All durable state is in the [`KeyTable`] and at the [`Kms`]; a `Hierarchy` keeps the
/// unwrapped epoch and branch keys of the present epoch, so that handing out a person's key
/// costs one read of the table and no call to the custodian. For the [`Sealer`](crate::policy::Sealer)
/// it also keeps the keys of people, at one revision of the table only: before each use it asks
/// the table for its revision, and any change of it, in any process, wipes them all.
/// Several hierarchies, in several processes, may work on one table.
///
/// ```
/// # use std::sync::Arc;
/// # use kta_core::{Code, crypto::Hierarchy, id::{SubjectId, TenantId}, time::{Entropy, Timestamp}};
/// # use kta_core::memory::{MemoryKeyTable, MemoryKms};
/// # async fn lesson(entropy: Arc<dyn Entropy>, now: Timestamp) -> kta_core::Result<()> {
/// let tenant = TenantId::random(&*entropy);
/// let kms = Arc::new(MemoryKms::new(entropy.clone()));
/// let table = Arc::new(MemoryKeyTable::new());
/// let keys = Hierarchy::open(tenant, kms, table, entropy.clone(), now).await?;
///
/// let subject = SubjectId::random(&*entropy);
/// keys.enroll(subject).await?;
/// let key = keys.subject_key(subject).await?;
/// assert_eq!(key.subject(), subject);
///
/// let evidence = keys.erase(&[subject], now).await?;
/// evidence[0].proven().expect("no copies of keys were declared");
/// let gone = keys.subject_key(subject).await.unwrap_err();
/// assert_eq!(gone.refusal().map(|refusal| refusal.code()), Some(Code::CryErased));
/// # Ok(())
/// # }
/// ```
pub struct Hierarchy {
    tenant: TenantId,
    kms: Arc<dyn Kms>,
    table: Arc<dyn KeyTable>,
    entropy: Arc<dyn Entropy>,
    cache: Mutex<Cache>,
    kept: Kept,
}

impl Hierarchy {
    /// Opens the tenant's keys, making the first epoch if there is none, and finishes the
    /// destruction of keys that a crash or an unreachable custodian left owed. What the custodian
    /// still does not destroy stays [owed](Self::owed) and keeps nobody from the keys that are
    /// there.
    ///
    /// # Errors
    /// `Corrupt` when the table's epoch is already destroyed, so that the table must be an old
    /// copy put back: restore the newest. Refusals and faults of custodian and table.
    pub async fn open(
        tenant: TenantId,
        kms: Arc<dyn Kms>,
        table: Arc<dyn KeyTable>,
        entropy: Arc<dyn Entropy>,
        now: Timestamp,
    ) -> Result<Self> {
        Self::open_with_fan_out(tenant, kms, table, entropy, now, FAN_OUT).await
    }

    /// The same with another fan-out for a tenant that is new: children a branch has, from 2 to
    /// 256. A tree holds its cube in people, ever; an erasure re-wraps up to three times its
    /// number of keys.
    ///
    /// # Errors
    /// As [`open`](Self::open), and `Misconfigured` for a fan-out out of range.
    pub async fn open_with_fan_out(
        tenant: TenantId,
        kms: Arc<dyn Kms>,
        table: Arc<dyn KeyTable>,
        entropy: Arc<dyn Entropy>,
        now: Timestamp,
        fan_out: u16,
    ) -> Result<Self> {
        if !(2..=FAN_OUT).contains(&fan_out) {
            let fault = Fault::new(FaultKind::Misconfigured, Port::KeyTable, "open");
            return Err(fault
                .because("the fan-out of the key tree is 2 to 256")
                .into());
        }
        let keys = Self {
            tenant,
            kms,
            table,
            entropy,
            cache: Mutex::default(),
            kept: Kept::default(),
        };
        let head = keys.found(fan_out).await?;
        if let KekState::Destroyed(_) = keys.kms.state(&head.epoch.kek).await? {
            // Unless somebody else turned the epoch just now, this table is an old one.
            if keys.head().await?.epoch.kek == head.epoch.kek {
                let fault = Fault::new(FaultKind::Corrupt, Port::KeyTable, "open");
                return Err(fault
                    .because("this key table is older than the last erasure")
                    .into());
            }
        }
        keys.settle_some(now).await?;
        Ok(keys)
    }

    /// How many KEKs of former epochs the custodian has not destroyed yet, though it was asked to.
    /// As long as it is not 0, no erasure gives evidence: watch it.
    ///
    /// # Errors
    /// Faults of the ports.
    pub async fn owed(&self) -> Result<usize> {
        self.head().await.map(|head| head.retired.len())
    }

    /// The firm.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Gives a person a key. Nothing happens when the person has one.
    ///
    /// # Errors
    /// [`Code::CryErased`] for a person whose key was destroyed: such a person comes back, if at
    /// all, under another id. `Unsupported` when the tree is full. Faults of the ports.
    pub async fn enroll(&self, subject: SubjectId) -> Result<()> {
        self.enroll_all(&[subject]).await
    }

    /// Gives several people keys in one commit; all or none.
    ///
    /// # Errors
    /// As [`enroll`](Self::enroll).
    pub async fn enroll_all(&self, subjects: &[SubjectId]) -> Result<()> {
        retried!(self.try_enroll(subjects).await)
    }

    /// The person's key; while it is being [rotated](Self::rotate_subjects), with the one before
    /// it.
    ///
    /// # Errors
    /// [`Code::CryErased`] when it was destroyed, [`Code::CryKey`] when the person never had
    /// one. Faults of the ports; `Corrupt` when table and custodian do not fit together.
    pub async fn subject_key(&self, subject: SubjectId) -> Result<SubjectKey> {
        self.read_key(subject).await.map(|(_, key)| key)
    }

    /// The person's key, and the revision of the table that has it.
    async fn read_key(&self, subject: SubjectId) -> Result<(u64, SubjectKey)> {
        reread!(self, &[Wanted::Subject(subject)], |head, rows| {
            if rows.erased.contains_key(&subject) {
                return Err(Code::CryErased.into());
            }
            let row = rows.subjects.get(&subject).ok_or(Code::CryKey)?;
            let branch = self.branch_key(&head, &rows, row.slot).await?;
            let secret = tree::open_leaf(self.tenant, &branch, row)?;
            let key = SubjectKey::new(self.tenant, subject, row.generation, &secret);
            let Some((former, secret)) = tree::open_former(self.tenant, &branch, row)? else {
                return Ok((head.revision, key));
            };
            let former = SubjectKey::new(self.tenant, subject, former.generation, &secret);
            Ok((head.revision, key.beside(former)))
        })
    }

    /// The newest index key: the one under which entries are written.
    ///
    /// # Errors
    /// Faults of the ports.
    pub async fn index_key(&self) -> Result<IndexKey> {
        self.read_index_key().await.map(|(_, key)| key)
    }

    /// The newest index key, and the revision of the table that has it.
    async fn read_index_key(&self) -> Result<(u64, IndexKey)> {
        reread!(self, &[], |head, _rows| {
            let newest = head.index.last().ok_or_else(|| corrupt("index"))?.epoch;
            let key = self.index_key_in(&head, newest).await?;
            Ok((head.revision, key))
        })
    }

    /// The index key of one index epoch, to find entries written in it.
    ///
    /// # Errors
    /// [`Code::CryKey`] when there is no such key, or not any more. Faults of the ports.
    pub async fn index_key_of(&self, epoch: u32) -> Result<IndexKey> {
        if epoch == MARKS {
            return Err(Code::CryKey.into());
        }
        reread!(self, &[], |head, _rows| {
            self.index_key_in(&head, epoch).await
        })
    }

    /// The key of [marks](IndexKey::mark), apart from the index epochs and never changed: a mark
    /// must be the same for as long as it is kept.
    ///
    /// # Errors
    /// Faults of the ports.
    pub async fn mark_key(&self) -> Result<IndexKey> {
        reread!(self, &[], |head, _rows| {
            self.index_key_in(&head, MARKS).await
        })
    }

    /// The number of the present epoch: how often the tenant's keys were turned, and one.
    ///
    /// # Errors
    /// Faults of the ports.
    pub async fn epoch(&self) -> Result<u64> {
        self.head().await.map(|head| head.epoch.number)
    }

    /// Declares a copy of a key outside custodian and table, or updates what is known of it.
    /// As long as one stands, an erasure that it reaches proves nothing (`DST-CE-INVALID`).
    ///
    /// # Errors
    /// Faults of the ports.
    pub async fn declare_copy(&self, copy: KeyCopy) -> Result<()> {
        retried!({
            let head = self.head().await?;
            let mut change = KeyChange::of(self.tenant, Some(head.revision), head);
            change.copies.push(copy.clone());
            self.table.commit(change).await.map(|_| ())
        })
    }

    /// The declared copies of keys, destroyed or not, with those that the custodian told of
    /// ([`CUSTODIAN`](Self::CUSTODIAN)).
    ///
    /// # Errors
    /// Faults of the ports.
    pub async fn copies(&self) -> Result<Vec<KeyCopy>> {
        self.table.copies(self.tenant).await
    }

    /// Declares that every copy with this holder is destroyed, and answers how many that were.
    /// For copies that the custodian told of, say so at the custodian too, where it wants that.
    ///
    /// # Errors
    /// Faults of the ports.
    pub async fn copies_destroyed(&self, holder: &Label, at: Timestamp) -> Result<usize> {
        retried!({
            // The head first: a copy that is declared after it makes the commit a conflict.
            let head = self.head().await?;
            let mut change = KeyChange::of(self.tenant, Some(head.revision), head);
            change.copies = self.copies().await?;
            change
                .copies
                .retain(|copy| copy.destroyed.is_none() && copy.holder == *holder);
            let many = change.copies.len();
            for copy in &mut change.copies {
                copy.destroyed = Some(at);
            }
            if many > 0 {
                self.table.commit(change).await?;
            }
            Ok(many)
        })
    }

    /// Drops every cached key. Call it on a timer: a custodian's administrator who disables a
    /// key takes effect here at the latest then.
    pub fn forget(&self) {
        self.cached().wipe();
        self.kept.forget();
    }

    /// Drops every cached key that was read before the table was as `head` has it, and sees to it
    /// that none comes back from a call that is still under way.
    fn forget_before(&self, head: &KeyHead) {
        self.cached().only(head.epoch.number);
        self.kept.only(head.revision);
    }

    async fn head(&self) -> Result<KeyHead> {
        self.rows(&[]).await.map(|(head, _)| head)
    }

    /// The head, after making the first epoch when there is none.
    async fn found(&self, fan_out: u16) -> Result<KeyHead> {
        retried!({
            if let Some(head) = self.table.read(self.tenant, &[]).await?.head {
                return Ok(head);
            }
            let (epoch, prk) = self.fresh_epoch(1).await?;
            let mut index = Vec::new();
            for number in [MARKS, 1] {
                let secret = SecretKey::random(&*self.entropy);
                index.push(self.wrap_index(&prk, (number, IndexPlan::USUAL_ROWS), &secret)?);
            }
            let head = KeyHead {
                revision: 0,
                fan_out,
                next_slot: 0,
                epoch,
                index,
                retired: Vec::new(),
                waiting: Vec::new(),
            };
            self.table
                .commit(KeyChange::of(self.tenant, None, head))
                .await?;
            self.head().await
        })
    }

    async fn try_enroll(&self, subjects: &[SubjectId]) -> Result<()> {
        let wanted: Vec<_> = subjects.iter().copied().map(Wanted::Subject).collect();
        let known = self.table.read(self.tenant, &wanted).await?;
        let mut head = known.head.ok_or_else(|| corrupt("enroll"))?;
        if !known.erased.is_empty() {
            return Err(Code::CryErased.into());
        }
        let mut missing: Vec<_> = subjects.to_vec();
        missing.retain(|subject| !known.subjects.contains_key(subject));
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        let first = head.next_slot;
        let many = u32::try_from(missing.len()).ok();
        let end = many.and_then(|many| first.checked_add(many));
        let end = end.filter(|end| u64::from(*end) <= u64::from(head.fan_out).pow(3));
        let end = end.ok_or_else(|| {
            Fault::new(FaultKind::Unsupported, Port::KeyTable, "enroll")
                .because("the tenant's key tree is full")
        })?;
        let mut branches: Vec<_> = (first..end)
            .flat_map(|slot| NodeId::above(slot, head.fan_out))
            .collect();
        branches.sort_unstable();
        branches.dedup();
        let wanted: Vec<_> = branches.iter().copied().map(Wanted::Node).collect();
        let rows = self.table.read(self.tenant, &wanted).await?;
        if rows.head.as_ref().map(|now| now.revision) != Some(head.revision) {
            return Err(conflict("enroll"));
        }

        let planted = self
            .plant(&head, rows, missing.into_iter().zip(first..end))
            .await;
        let planted = self.unless_turned(head.epoch.number, planted).await?;
        let expected = head.revision;
        head.next_slot = end;
        let mut change = KeyChange::of(self.tenant, Some(expected), head);
        (change.nodes, change.subjects) = (planted.nodes, planted.subjects);
        let revision = self.table.commit(change).await?;
        self.kept.grow(expected, revision, planted.keys);
        Ok(())
    }

    async fn rows(&self, wanted: &[Wanted]) -> Result<(KeyHead, KeyRows)> {
        let mut rows = self.table.read(self.tenant, wanted).await?;
        let head = rows.head.take().ok_or_else(|| corrupt("read"))?;
        Ok((head, rows))
    }

    /// A failure is a lost race when the epoch was turned meanwhile.
    async fn unless_turned<T>(&self, epoch: u64, outcome: Result<T>) -> Result<T> {
        match outcome {
            Err(_) if self.head().await?.epoch.number != epoch => Err(conflict("read")),
            outcome => outcome,
        }
    }

    fn cached(&self) -> MutexGuard<'_, Cache> {
        // A cache entry is written in one step, so a poisoned cache is whole.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fresh epoch: a KEK that is the same however often the same epoch is begun, and a new
    /// epoch key under it.
    async fn fresh_epoch(&self, number: u64) -> Result<(EpochRow, Prk)> {
        let parts: [&[u8]; 2] = [self.tenant.as_bytes(), &number.to_be_bytes()];
        let effect = IdempotencyKey::derived("kta-epoch-kek", &parts);
        let kek = self.kms.create(self.tenant, effect).await?;
        let secret = SecretKey::random(&*self.entropy);
        let context = Place::Epoch(number).context(self.tenant);
        let wrapped = self.kms.wrap(&kek, &secret, &context).await?;
        Ok((
            EpochRow {
                number,
                kek,
                wrapped,
            },
            Prk::extract(&secret),
        ))
    }
}

impl fmt::Debug for Hierarchy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hierarchy({})", self.tenant)
    }
}

fn corrupt(operation: &'static str) -> Error {
    Fault::new(FaultKind::Corrupt, Port::KeyTable, operation)
        .because("the rows of the key table do not fit together")
        .into()
}

fn conflict(operation: &'static str) -> Error {
    Fault::new(FaultKind::Conflict, Port::KeyTable, operation).into()
}

/// The index epoch of marks.
const MARKS: u32 = 0;
/// Children a branch has, unless the tenant was founded otherwise.
const FAN_OUT: u16 = 256;
/// How often a lost race is run again.
const ATTEMPTS: u32 = 64;

#[cfg(test)]
mod tests;
