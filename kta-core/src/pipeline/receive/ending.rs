//! The end of a quarantine: what was held at the door is made unreadable there and inside.

use super::{Data, QUARANTINE, Received, again, effect, envelope_copy};
use crate::audit::Outcome;
use crate::error::Result;
use crate::id::DeliveryId;
use crate::pipeline::house::{House, file_over, label, read};
use crate::policy::{Act, Permit, Scope, Session};
use crate::ports::store::{ChangeSet, Register};
use crate::refusal::Code;

/// Ends a quarantine without release: what was held is made unreadable, at the door and inside.
/// The receipt with its digests stays as evidence.
///
/// # Errors
/// Refusals of the gate, faults of the ports.
pub async fn discard(house: &House, destroyer: &Session<'_>, delivery: DeliveryId) -> Result<()> {
    let Some(data) = house
        .filed::<Data>(Register::Receipts, &label(delivery))
        .await?
    else {
        return Err(Code::AclDeny.into());
    };
    end_all(house, destroyer, &[&data]).await
}

/// Ends the quarantines of deliveries whose content was released.
pub(crate) async fn end(
    house: &House,
    destroyer: &Session<'_>,
    received: &[Received],
) -> Result<()> {
    let all: Vec<_> = received.iter().map(|received| &received.0).collect();
    end_all(house, destroyer, &all).await
}

/// The copies first, then the keys of all the stand-ins in one turn of the epoch: a turn costs a
/// key at the custodian, however many people it drops.
async fn end_all(house: &House, destroyer: &Session<'_>, all: &[&Data]) -> Result<()> {
    let mut permits = Vec::with_capacity(all.len());
    for data in all {
        permits.push(without_copies(house, destroyer, data).await?);
    }
    if permits.is_empty() {
        return Ok(());
    }
    for (data, permit) in all.iter().zip(&permits) {
        permit.require_unheld(data.quarantine)?;
    }
    let gone: Vec<_> = all.iter().map(|data| data.quarantine).collect();
    let keys = house.sealer.keys();
    keys.erase(&gone, house.gate.now()).await?;
    let mut change = ChangeSet::new(house.tenant(), house.gate.now());
    for (data, permit) in all.iter().zip(&permits) {
        let event = permit
            .event(Act::Destroy, Outcome::Done)
            .of_subject(data.quarantine)
            .with("delivery", data.delivery)
            .with("what", "quarantine");
        change = change.event(event);
    }
    house.doors.store.commit(change).await.map(drop)
}

/// Removes every copy of a delivery; gives the permit under which its key goes.
async fn without_copies<'s>(
    house: &House,
    destroyer: &'s Session<'_>,
    data: &Data,
) -> Result<Permit<'s>> {
    let scope = || Scope::of(data.quarantine, QUARANTINE).about("delivery", data.delivery);
    let permit = destroyer.permit(Act::Destroy, scope()).await?;
    let probing = destroyer.permit(Act::Probe, scope()).await?;
    begin(house, data, &permit).await?;
    let envelope = envelope_copy(data).of;
    let mut copies = again::copies(house, data).await?;
    copies.sort_by_key(|copy| copy.of == envelope);
    for copy in copies {
        effect::unplace(house, copy, &permit, &probing).await?;
    }
    Ok(permit)
}

/// Notes the end on the receipt before anything is erased, so that a copy which arrives meanwhile
/// is either erased with the others or taken in anew, never lost with them.
async fn begin(house: &House, data: &Data, permit: &Permit<'_>) -> Result<()> {
    let Some(sheet) = house
        .sheet(Register::Receipts, label(data.delivery))
        .await?
    else {
        return Ok(());
    };
    let data: Data = read(&sheet)?;
    if data.ended {
        return Ok(());
    }
    let ended = Data {
        ended: true,
        ..data
    };
    let event = permit
        .event(Act::Destroy, Outcome::Intended)
        .of_subject(ended.quarantine)
        .with("delivery", ended.delivery)
        .with("what", "quarantine");
    let change = ChangeSet::new(house.tenant(), house.gate.now())
        .with(file_over(&sheet, &ended)?)
        .event(event);
    house.doors.store.commit(change).await.map(drop)
}
