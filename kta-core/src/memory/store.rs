//! The firm's own memory, in memory.

mod firm;

use core::fmt;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::error::{Fault, FaultKind, Port, Result};
use crate::id::{JobId, SubjectId, TenantId};
use crate::pii::{Placement, Record, RecordKey};
use crate::ports::store::{
    ChangeSet, Committed, HoldQuery, Job, JobState, Jobs, Ledger, PlacementQuery, RecordBy,
    RecordQuery, Sheet, SheetQuery, Store,
};
use crate::retention::Hold;
use crate::time::Timestamp;
use firm::{Firm, RecordRow};

/// A [`Store`] with its [`Jobs`] and [`Ledger`] in memory, for tests, examples and the quick
/// start: it keeps every rule of the contract and nothing on disk. Clones are handles to one
/// store; [`copied`](Self::copied) is a backup or a thief's copy.
///
/// Queries walk over all rows of the firm: it is not made for many.
#[derive(Clone, Default)]
pub struct MemoryStore {
    firms: Arc<Mutex<BTreeMap<TenantId, Firm>>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A store of its own with the same rows, as they are now.
    #[must_use]
    pub fn copied(&self) -> Self {
        Self {
            firms: Arc::new(Mutex::new(self.locked().clone())),
        }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<TenantId, Firm>> {
        // A change set that fails is undone before the lock is given back, and nothing panics
        // between two changes, so a poisoned map is whole.
        self.firms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<R: Default>(&self, tenant: TenantId, read: impl FnOnce(&Firm) -> R) -> R {
        self.locked().get(&tenant).map(read).unwrap_or_default()
    }

    /// Takes away the index tags of a record and leaves the record, for
    /// [`Erase`](crate::ports::Erase) of an index entry.
    pub(super) fn drop_tags(&self, key: &RecordKey, entry: ChangeSet) -> Result<Committed> {
        entry.check()?;
        let mut firms = self.locked();
        let firm = firms.entry(key.tenant).or_default();
        firm.forget_tags(key, entry)
    }

    /// Whether a record is there, and how many index tags lead to it.
    pub(super) fn traces(&self, key: &RecordKey) -> (bool, usize) {
        self.read(key.tenant, |firm| {
            firm.records
                .get(&(key.record, key.subject))
                .map_or((false, 0), |row| (true, row.tags.len()))
        })
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, change: ChangeSet) -> Result<Committed> {
        change.check()?;
        let mut firms = self.locked();
        firms.entry(change.tenant).or_default().commit(change)
    }

    async fn record(&self, key: &RecordKey) -> Result<Option<Record>> {
        Ok(self.read(key.tenant, |firm| {
            firm.records
                .get(&(key.record, key.subject))
                .map(|row| firm.told(row))
        }))
    }

    async fn records(&self, query: &RecordQuery) -> Result<Vec<Record>> {
        let found = |firm: &Firm, row: &RecordRow| match &query.by {
            RecordBy::Class(class) => firm.classes.governing(row.class) == *class,
            RecordBy::Matter(matter) => row.record.matter == Some(*matter),
            RecordBy::Purpose(purpose) => firm
                .class(firm.classes.governing(row.class))
                .is_some_and(|class| class.admitted().any(|admitted| admitted == *purpose)),
            RecordBy::Subject(subject) => row.record.key.subject == *subject,
            RecordBy::Tag(field, tag) => row.tags.contains(&(field.clone(), tag.clone())),
        };
        let admitted = |firm: &Firm, row: &RecordRow| {
            query.purpose.is_none_or(|purpose| {
                purpose.is_legal()
                    || firm
                        .class(firm.classes.governing(row.class))
                        .is_some_and(|class| class.admits(purpose).is_ok())
            })
        };
        Ok(self.read(query.tenant, |firm| {
            let rows = firm
                .records
                .iter()
                .filter(|((id, _), _)| Some(*id) > query.after);
            let rows = rows.map(|(_, row)| row);
            rows.filter(|row| found(firm, row) && admitted(firm, row))
                .take(query.limit)
                .map(|row| firm.told(row))
                .collect()
        }))
    }

    async fn placements(&self, query: &PlacementQuery) -> Result<Vec<Placement>> {
        let found = |placement: &&Placement| {
            query
                .subject
                .is_none_or(|subject| placement.subject == subject)
                && query
                    .matter
                    .is_none_or(|matter| placement.matter == Some(matter))
                && query
                    .system
                    .as_ref()
                    .is_none_or(|system| placement.system == *system)
                && Some(placement.id) > query.after
        };
        Ok(self.read(query.tenant, |firm| {
            firm.placements
                .values()
                .filter(found)
                .take(query.limit)
                .cloned()
                .collect()
        }))
    }

    async fn holds(&self, query: &HoldQuery) -> Result<Vec<Hold>> {
        Ok(self.read(query.tenant, |firm| {
            firm.holds
                .values()
                .filter(|hold| query.matches(hold))
                .cloned()
                .collect()
        }))
    }

    async fn sheets(&self, query: &SheetQuery) -> Result<Vec<Sheet>> {
        let found = |sheet: &&Sheet| {
            sheet.register == query.register
                && query.id.as_ref().is_none_or(|id| sheet.id == *id)
                && query
                    .subject
                    .is_none_or(|subject| sheet.subject == Some(subject))
                && query
                    .matter
                    .is_none_or(|matter| sheet.matter == Some(matter))
                && query.after.as_ref().is_none_or(|after| sheet.id > *after)
        };
        Ok(self.read(query.tenant, |firm| {
            firm.sheets
                .values()
                .filter(found)
                .take(query.limit)
                .cloned()
                .collect()
        }))
    }
}

#[async_trait]
impl Jobs for MemoryStore {
    async fn lease(
        &self,
        tenant: TenantId,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Job>> {
        if until <= now {
            let fault = Fault::new(FaultKind::Protocol, Port::Jobs, "lease");
            return Err(fault.because("a lease that ends before it begins").into());
        }
        let mut firms = self.locked();
        let Some(firm) = firms.get_mut(&tenant) else {
            return Ok(Vec::new());
        };
        let mut ready: Vec<(Timestamp, JobId)> = firm
            .jobs
            .values()
            .filter(|job| job.ready().is_some_and(|ready| ready <= now))
            .map(|job| (job.due, job.id))
            .collect();
        ready.sort_unstable();
        ready.truncate(limit);
        let mut leased = Vec::with_capacity(ready.len());
        for (_, id) in ready {
            if let Some(job) = firm.jobs.get_mut(&id) {
                job.lease_until(until);
                leased.push(job.clone());
            }
        }
        Ok(leased)
    }

    async fn jobs(&self, tenant: TenantId, state: Option<JobState>) -> Result<Vec<Job>> {
        let found = |job: &&Job| state.is_none_or(|state| job.state == state);
        Ok(self.read(tenant, |firm| {
            firm.jobs.values().filter(found).cloned().collect()
        }))
    }
}

#[async_trait]
impl Ledger for MemoryStore {
    async fn size(&self, tenant: TenantId) -> Result<u64> {
        Ok(self.read(tenant, |firm| firm.entries.len() as u64))
    }

    async fn entries(&self, tenant: TenantId, from: u64, limit: usize) -> Result<Vec<Vec<u8>>> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        Ok(self.read(tenant, |firm| {
            firm.entries
                .iter()
                .skip(from)
                .take(limit)
                .map(|entry| entry.bytes.clone())
                .collect()
        }))
    }

    async fn trail(
        &self,
        tenant: TenantId,
        subject: SubjectId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<u64>> {
        Ok(self.read(tenant, |firm| {
            let numbered = (0_u64..).zip(&firm.entries);
            numbered
                .filter(|(_, entry)| entry.at >= from && entry.at <= to)
                .filter(|(_, entry)| entry.names.contains(&subject))
                .map(|(number, _)| number)
                .collect()
        }))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStore({} firms)", self.locked().len())
    }
}
