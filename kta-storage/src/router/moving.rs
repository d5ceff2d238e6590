//! Whether two shards keep the same of a firm.

use std::collections::HashSet;

use async_trait::async_trait;
use kta_core::audit::{Entry, Label};
use kta_core::id::{Digest, SubjectId, TenantId};
use kta_core::pii::Placement;
use kta_core::pii::placement::CopyOf;
use kta_core::ports::store::{
    HoldQuery, Jobs, Ledger, PlacementQuery, RecordBy, RecordQuery, Register, SheetQuery, Store,
};
use kta_core::time::Timestamp;
use kta_core::{Fault, FaultKind, Port, Result};

use super::Router;

/// That a firm's new shard has everything its old one has; only
/// [`Router::agree`] makes it.
#[derive(Debug)]
#[must_use = "it ends the move: ShardMap::end_move"]
pub struct Agreed {
    pub(super) tenant: TenantId,
    pub(super) moving: Move,
}

/// One move of a firm; the number tells it from another between the same shards.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) from: Label,
    pub(super) to: Label,
    pub(super) number: u64,
}

/// A store that firms can be moved to and from.
#[async_trait]
pub trait Shard: Store + Jobs + Ledger {
    /// A digest over what the store keeps of a firm and acts by, but its ports do not list: under
    /// which tags of the blind index each record is found, whoever it is about; and what governs,
    /// and admits, what will be written under each class. Two stores of one kind that keep the
    /// same give the same. `None` from a store that cannot tell.
    ///
    /// It is as sensitive as what it is made of, and not to be kept.
    ///
    /// # Errors
    /// Faults of the store.
    async fn unlisted(&self, tenant: TenantId) -> Result<Option<Digest>>;
}

impl<S: Shard> Router<S> {
    /// Reads everything that both shards have of a firm that is being moved, and compares it: the
    /// log byte for byte, placements, records, holds, sheets of every register and jobs; of each
    /// person whom the log names, the trail; and, where the store tells, what it
    /// [does not list](Shard::unlisted). Entries of the blind index that lead nowhere do not show
    /// here; a search checks what it finds.
    ///
    /// A store that does not tell is compared by what its ports list: records by placement, by
    /// interned class and by each person whom the log names; not the blind index, nor what governs
    /// a class without records.
    ///
    /// It takes as long as reading everything several times does, in bounded memory but for the
    /// jobs and the ids of the persons whom the log names.
    ///
    /// # Errors
    /// [`Corrupt`](FaultKind::Corrupt) when they differ, [`Conflict`](FaultKind::Conflict) for a
    /// firm that is not being moved; faults of the stores.
    pub async fn agree(&self, tenant: TenantId) -> Result<Agreed> {
        let moving = self.map().moving(tenant)?;
        let (old, new) = (
            self.store_named(&moving.from)?,
            self.store_named(&moving.to)?,
        );
        same_log(tenant, old, new).await?;
        same_copies(tenant, old, new).await?;
        for register in Register::ALL {
            same_register(tenant, register, old, new).await?;
        }
        same(&old.unlisted(tenant).await?, &new.unlisted(tenant).await?)?;
        let holds = HoldQuery {
            tenant,
            subject: None,
            matter: None,
            active: false,
        };
        same(&old.holds(&holds).await?, &new.holds(&holds).await?)?;
        same(
            &old.jobs(tenant, None).await?,
            &new.jobs(tenant, None).await?,
        )?;
        Ok(Agreed { tenant, moving })
    }
}

/// The log, and what is kept of everybody whom it names.
async fn same_log(tenant: TenantId, old: &impl Shard, new: &impl Shard) -> Result<()> {
    let (mut from, mut seen) = (0, HashSet::new());
    loop {
        let entries = old.entries(tenant, from, PAGE).await?;
        same(&entries, &new.entries(tenant, from, PAGE).await?)?;
        if entries.is_empty() {
            return Ok(());
        }
        from += entries.len() as u64;
        for entry in &entries {
            for person in Entry::parse(entry)?.event.names() {
                if seen.insert(person) {
                    same_person(tenant, person, old, new).await?;
                }
            }
        }
    }
}

async fn same_person(
    tenant: TenantId,
    person: SubjectId,
    old: &impl Shard,
    new: &impl Shard,
) -> Result<()> {
    let (first, last) = (Timestamp::MIN_UTC, Timestamp::MAX_UTC);
    same(
        &old.trail(tenant, person, first, last).await?,
        &new.trail(tenant, person, first, last).await?,
    )?;
    same_records(tenant, RecordBy::Subject(person), old, new).await
}

async fn same_records(
    tenant: TenantId,
    by: RecordBy,
    old: &impl Store,
    new: &impl Store,
) -> Result<()> {
    let mut query = RecordQuery::all(tenant, by).page(None, PAGE);
    loop {
        let page = old.records(&query).await?;
        same(&page, &new.records(&query).await?)?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        query.after = Some(last.key.record);
    }
}

async fn same_copies(tenant: TenantId, old: &impl Store, new: &impl Store) -> Result<()> {
    let mut query = PlacementQuery {
        tenant,
        subject: None,
        matter: None,
        system: None,
        after: None,
        limit: PAGE,
    };
    loop {
        let page = old.placements(&query).await?;
        same(&page, &new.placements(&query).await?)?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        query.after = Some(last.id);
        for copy in &page {
            same_record(copy, old, new).await?;
        }
    }
}

async fn same_record(copy: &Placement, old: &impl Store, new: &impl Store) -> Result<()> {
    if !matches!(copy.of, CopyOf::Record(_)) {
        return Ok(());
    }
    let key = copy.stored_record()?;
    same(&old.record(&key).await?, &new.record(&key).await?)
}

async fn same_register(
    tenant: TenantId,
    register: Register,
    old: &impl Store,
    new: &impl Store,
) -> Result<()> {
    let mut query = SheetQuery::all(tenant, register);
    query.limit = PAGE;
    loop {
        let page = old.sheets(&query).await?;
        same(&page, &new.sheets(&query).await?)?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        query.after = Some(last.id.clone());
        if register == Register::Classes {
            for class in &page {
                let class = class.id.as_str().parse();
                let class = class.map_err(|_| corrupt("a class whose name is no digest"))?;
                same_records(tenant, RecordBy::Class(class), old, new).await?;
            }
        }
    }
}

fn same<T: PartialEq>(old: &T, new: &T) -> Result<()> {
    if old == new {
        return Ok(());
    }
    Err(corrupt("the two shards do not have the same of this firm").into())
}

const fn corrupt(detail: &'static str) -> Fault {
    Fault::new(FaultKind::Corrupt, Port::Store, "agree").because(detail)
}

/// What is read at a time.
const PAGE: usize = 1024;
