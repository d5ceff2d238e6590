//! Whether two shards keep the same of a firm.

use kta_core::audit::Label;
use kta_core::id::TenantId;
use kta_core::pii::Placement;
use kta_core::pii::placement::CopyOf;
use kta_core::ports::store::{
    HoldQuery, Jobs, Ledger, PlacementQuery, Register, SheetQuery, Store,
};
use kta_core::{Fault, FaultKind, Port, Result};

use super::Router;

/// That a firm's new shard has everything its old one has; only
/// [`Router::agree`] makes it.
#[derive(Debug)]
#[must_use = "it ends the move: ShardMap::end_move"]
pub struct Agreed {
    pub(super) tenant: TenantId,
    pub(super) from: Label,
    pub(super) to: Label,
}

impl<S: Store + Jobs + Ledger> Router<S> {
    /// Reads everything that both shards have of a firm that is being moved, and compares it: the
    /// log byte for byte, placements and the records they name, holds, sheets and jobs. Entries of the blind index that lead nowhere do not show here; a search
    /// checks what it finds.
    ///
    /// It takes as long as reading everything twice does, in bounded memory but for the jobs.
    ///
    /// # Errors
    /// [`Corrupt`](FaultKind::Corrupt) when they differ, [`Conflict`](FaultKind::Conflict) for a
    /// firm that is not being moved; faults of the stores.
    pub async fn agree(&self, tenant: TenantId) -> Result<Agreed> {
        let (from, to) = self.map().moving(tenant)?;
        let (old, new) = (self.store_named(from)?, self.store_named(to)?);
        same_log(tenant, old, new).await?;
        same_copies(tenant, old, new).await?;
        for register in REGISTERS {
            same_register(tenant, register, old, new).await?;
        }
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
        Ok(Agreed {
            tenant,
            from: from.clone(),
            to: to.clone(),
        })
    }
}

async fn same_log(tenant: TenantId, old: &impl Ledger, new: &impl Ledger) -> Result<()> {
    let mut from = 0;
    loop {
        let entries = old.entries(tenant, from, PAGE).await?;
        same(&entries, &new.entries(tenant, from, PAGE).await?)?;
        if entries.is_empty() {
            return Ok(());
        }
        from += entries.len() as u64;
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
    }
}

fn same<T: PartialEq>(old: &T, new: &T) -> Result<()> {
    if old == new {
        return Ok(());
    }
    Err(Fault::new(FaultKind::Corrupt, Port::Store, "agree")
        .because("the two shards do not have the same of this firm")
        .into())
}

/// What is read at a time.
const PAGE: usize = 1024;

const REGISTERS: [Register; 18] = [
    Register::Actors,
    Register::Approvals,
    Register::Certificates,
    Register::Checkpoints,
    Register::Classes,
    Register::Disclosures,
    Register::Dispositions,
    Register::Documents,
    Register::Findings,
    Register::Grants,
    Register::Improvements,
    Register::Incidents,
    Register::Matters,
    Register::Receipts,
    Register::Rotations,
    Register::Subjects,
    Register::Suppressions,
    Register::Training,
];
