//! What arrives again: the same bytes of the same sender have the same delivery id.

use super::{Data, QUARANTINE, envelope_copy};
use crate::audit::{Label, Outcome};
use crate::error::Result;
use crate::id::{DeliveryId, RecordId};
use crate::pii::placement::CopyOf;
use crate::pii::{Locator, Placement, PlacementKind, PlacementState};
use crate::pipeline::effect::Copy;
use crate::pipeline::house::{House, file_over, label, read};
use crate::policy::{Act, Scope, Session};
use crate::ports::store::{Change, ChangeSet, PlacementQuery, Register, Sheet};

/// What the registers know of a delivery that a channel gives.
pub(super) enum Standing {
    /// Another copy of it is in quarantine.
    Another(Sheet, Data),
    /// This very copy was taken in; only the acknowledgement is missing.
    Copy(Data),
    /// Nothing stands under this id.
    New(DeliveryId),
}

/// Where a delivery stands. The receipt of a quarantine that has ended is evidence and stays as
/// it is, so what arrives after that is counted on to an id of its own.
pub(super) async fn standing(
    house: &House,
    arrived: DeliveryId,
    at: &(Label, Locator),
) -> Result<Standing> {
    let (mut id, mut count) = (arrived, 0_u64);
    loop {
        let Some(sheet) = house.sheet(Register::Receipts, label(id)).await? else {
            return Ok(Standing::New(id));
        };
        let data: Data = read(&sheet)?;
        let copies = copies(house, &data).await?;
        if copies.iter().any(|copy| is_at(copy, at)) {
            return Ok(Standing::Copy(data));
        }
        if !has_ended(&data, &copies) {
            return Ok(Standing::Another(sheet, data));
        }
        count += 1;
        id = DeliveryId::derived(&[b"again", arrived.as_bytes(), &count.to_be_bytes()]);
    }
}

/// Registers one more copy at the channel, over the receipt as it was read: a quarantine that
/// ends meanwhile makes it a conflict, and the next run finds it ended.
pub(super) async fn register(
    house: &House,
    session: &Session<'_>,
    (sheet, data): (&Sheet, &Data),
    (channel, locator): &(Label, Locator),
) -> Result<()> {
    let scope = Scope::of(data.quarantine, QUARANTINE).about("delivery", data.delivery);
    let permit = session.permit(Act::Receive, scope).await?;
    let of = [
        b"mailbox",
        data.delivery.as_bytes().as_slice(),
        locator.as_str().as_bytes(),
    ];
    let copy = Copy {
        subject: data.quarantine,
        matter: None,
        system: channel.clone(),
        kind: PlacementKind::MailboxItem,
        of: CopyOf::Record(RecordId::derived(&of)),
        category: QUARANTINE,
    };
    let placed = copy.placed(house, PlacementState::Present, Some(locator.clone()));
    let mut event = permit
        .event(Act::Receive, Outcome::Done)
        .of_subject(data.quarantine)
        .with("delivery", data.delivery)
        .with("channel", channel.clone())
        .with("placement", placed.id)
        .with("what", "another-copy");
    if let Some(code) = data.held {
        event = event.refused(code);
    }
    let change = ChangeSet::new(house.tenant(), house.gate.now())
        .with(Change::PutPlacement(placed))
        .with(file_over(sheet, data)?)
        .event(event);
    house.doors.store.commit(change).await.map(drop)
}

/// Every copy of a quarantine, as registered.
pub(super) async fn copies(house: &House, data: &Data) -> Result<Vec<Placement>> {
    let query = PlacementQuery::of(house.tenant(), data.quarantine);
    house.doors.store.placements(&query).await
}

/// Receipts of older versions do not say that their quarantine ended; the message's own record
/// went last.
fn has_ended(data: &Data, copies: &[Placement]) -> bool {
    let envelope = envelope_copy(data).of;
    let gone = |copy: &Placement| {
        copy.of == envelope && matches!(copy.state, PlacementState::Absent { .. })
    };
    data.ended || copies.iter().any(gone)
}

fn is_at(copy: &Placement, (channel, locator): &(Label, Locator)) -> bool {
    copy.system == *channel && copy.locator.as_ref() == Some(locator)
}
