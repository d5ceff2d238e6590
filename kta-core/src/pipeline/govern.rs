//! Under every stage: under which policy class data is, a change of law or purpose, and by which
//! schedules retention is judged.
//!
//! A record names the class it was put under, and the store what governs that class now, so a new
//! law or purpose touches a few classes however many records there are. What persons objected to
//! stays: their classes are superseded along with the one that they differ from by nothing else.

use std::collections::BTreeSet;

use crate::audit::{Label, Outcome};
use crate::error::{Fault, FaultKind, Port, Result};
use crate::id::Digest;
use crate::pipeline::house::{House, file_new, file_over, read};
use crate::policy::{Act, PolicyClass, Scope, Session, Succession};
use crate::ports::store::{Change, ChangeSet, Register, Sheet, SheetQuery};
use crate::refusal::{Code, Refusal};

/// Lets `to` govern all that the class `from` governs, and what is yet to be written under it;
/// the same for every class that differs from `from` by objections alone. Gives how many classes
/// were superseded. Doing it again changes nothing.
///
/// # Errors
/// [`Code::RetUnclassed`] for a class that is not known, and for a successor whose retention class
/// has no schedule in this house: what it governs could never be judged. [`Code::PolSign`] for one
/// with another retention class, which takes two: [`supersede_retention`]. [`Code::PrcRestricted`]
/// for a successor with other objections than `from`: they are the persons' own, see
/// [`rights`](super::rights). [`FaultKind::Conflict`] when another
/// class superseded one of them already; refusals of the gate; faults of the store.
pub async fn supersede(
    house: &House,
    session: &Session<'_>,
    from: Digest,
    to: PolicyClass,
) -> Result<usize> {
    replace(house, session, from, to, false).await
}

async fn replace(
    house: &House,
    session: &Session<'_>,
    from: Digest,
    to: PolicyClass,
    by_two: bool,
) -> Result<usize> {
    let scope = Scope::firm().about("class", from);
    let permit = session.permit(Act::Manage, scope.clone()).await?;
    let known = house.gate.class(from).await?;
    let refusal = match &known {
        None => Some(Refusal::new(Code::RetUnclassed).about("class", from)),
        Some(known) if known.objections != to.objections => {
            Some(Refusal::new(Code::PrcRestricted).about("class", from))
        }
        Some(known) if known.retention != to.retention && !by_two => {
            let refusal = Refusal::new(Code::PolSign).about("class", from);
            Some(refusal.about("retention", to.retention.clone()))
        }
        Some(_) if !house.schedules.contains_key(&to.retention) => {
            Some(Refusal::new(Code::RetUnclassed).about("class", to.retention.clone()))
        }
        Some(_) => None,
    };
    if let Some(refusal) = refusal {
        session.log_refusal(Act::Manage, &scope, &refusal).await?;
        return Err(refusal.into());
    }
    let known = known.as_deref().map(without_objections);
    let all = SheetQuery::all(house.tenant(), Register::Classes);
    let mut change = ChangeSet::new(house.tenant(), house.gate.now());
    for sheet in house.doors.store.sheets(&all).await? {
        let class: PolicyClass = read(&sheet)?;
        if Some(without_objections(&class)) != known {
            continue;
        }
        let successor = PolicyClass {
            objections: class.objections.clone(),
            ..to.clone()
        };
        change = change.with(Change::Supersede {
            from: class.id(),
            to: successor,
        });
    }
    let superseded = change.changes.len();
    let event = permit
        .event(Act::Manage, Outcome::Done)
        .with("change", "supersede")
        .with("class", from)
        .with("by", to.id())
        .with("classes", superseded);
    house.doors.store.commit(change.event(event)).await?;
    Ok(superseded)
}

/// As [`supersede`], where the successor has another retention class: two people, because a class
/// that is kept for less time is an early destruction.
///
/// # Errors
/// As [`supersede`]; [`Code::DspSelf`] when `other` is the same person.
pub async fn supersede_retention(
    house: &House,
    session: &Session<'_>,
    other: &Session<'_>,
    from: Digest,
    to: PolicyClass,
) -> Result<usize> {
    let scope = Scope::firm().about("class", from).about("by", to.id());
    let scope = scope.other_than(session.actor());
    let _second = other.permit(Act::Approve, scope).await?;
    replace(house, session, from, to, true).await
}

/// Puts the schedules of this house in force, by two people: from now on retention is judged by
/// them, here and in every house of the firm that has the same ones, and by no others. The first
/// that a firm ever judges by need nobody. Doing it again changes nothing.
///
/// What a revision demands besides (a forecast, a waiting period, the brake) stands where
/// revisions are made; whoever asks for this has it in hand.
///
/// # Errors
/// [`Code::DspSelf`] when `other` is the same person; refusals of the gate; faults of the store.
pub async fn enact(house: &House, session: &Session<'_>, other: &Session<'_>) -> Result<Digest> {
    let now = schedules(house)?;
    let scope = Scope::firm().about("schedules", now);
    let permit = session.permit(Act::Manage, scope.clone()).await?;
    let scope = scope.other_than(session.actor());
    let _second = other.permit(Act::Approve, scope).await?;
    let sheet = in_force(house).await?;
    let before = sheet.as_ref().map(read::<Digest>).transpose()?;
    if before == Some(now) {
        return Ok(now);
    }
    let mut event = permit
        .event(Act::Manage, Outcome::Done)
        .with("change", "schedules")
        .with("schedules", now)
        .with("approved_by", other.actor());
    if let Some(before) = before {
        event = event.with("before", before);
    }
    let filed = match &sheet {
        Some(sheet) => file_over(sheet, &now)?,
        None => first(now)?,
    };
    let change = ChangeSet::new(house.tenant(), house.gate.now());
    let change = change.with(filed).event(event);
    house.doors.store.commit(change).await?;
    Ok(now)
}

/// Refuses to judge by schedules that nobody put in force; the first ones come in force by being
/// used.
pub(crate) async fn require_enacted(house: &House) -> Result<()> {
    let now = schedules(house)?;
    let Some(sheet) = in_force(house).await? else {
        // Whoever enacted others meanwhile is not undone: that is a conflict, and the next call
        // finds what is in force.
        let change = ChangeSet::new(house.tenant(), house.gate.now()).with(first(now)?);
        return house.doors.store.commit(change).await.map(drop);
    };
    let enacted = read::<Digest>(&sheet)?;
    if enacted == now {
        return Ok(());
    }
    Err(Refusal::new(Code::RetPack)
        .about("in_force", enacted)
        .about("schedules", now)
        .into())
}

/// The sheet that names the schedules in force, once there are any.
async fn in_force(house: &House) -> Result<Option<Sheet>> {
    house.sheet(Register::Receipts, SCHEDULES).await
}

/// Names the first schedules in force.
fn first(schedules: Digest) -> Result<Change> {
    file_new(Register::Receipts, SCHEDULES, None, None, &schedules)
}

/// SHA-256 of the schedules of a house.
fn schedules(house: &House) -> Result<Digest> {
    let written = serde_json::to_vec(&house.schedules).map_err(|_| {
        Fault::new(FaultKind::Corrupt, Port::Store, "name the schedules")
            .because("they cannot be written down")
    })?;
    Ok(Digest::of(&written))
}

/// The sheet that names the schedules in force.
const SCHEDULES: Label = Label::fixed("schedules");

/// What governs today what is put under `class` today.
///
/// # Errors
/// [`Code::RetUnclassed`] when it is not known; faults of the store.
pub async fn governing(house: &House, class: &PolicyClass) -> Result<PolicyClass> {
    let id = class.id();
    let all = SheetQuery::all(house.tenant(), Register::Successions);
    let sheets = house.doors.store.sheets(&all).await?;
    let successions: Vec<Succession> = sheets.iter().map(read).collect::<Result<_>>()?;
    let now = successions.iter().map(|it| it.at).max();
    let Some(now) = now else {
        return Ok(class.clone());
    };
    match Succession::governing(&successions, id, now, now) {
        governs if governs == id => Ok(class.clone()),
        governs => match house.gate.class(governs).await? {
            Some(class) => Ok((*class).clone()),
            None => Err(Refusal::new(Code::RetUnclassed)
                .about("class", governs)
                .into()),
        },
    }
}

fn without_objections(class: &PolicyClass) -> PolicyClass {
    PolicyClass {
        objections: BTreeSet::new(),
        ..class.clone()
    }
}
