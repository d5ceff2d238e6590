//! Under every stage: under which policy class data is, and a change of law or purpose.
//!
//! A record names the class it was put under, and the store what governs that class now, so a new
//! law or purpose touches a few classes however many records there are. What persons objected to
//! stays: their classes are superseded along with the one that they differ from by nothing else.

use std::collections::BTreeSet;

use crate::audit::Outcome;
use crate::error::Result;
use crate::id::Digest;
use crate::pipeline::house::{House, read};
use crate::policy::{Act, PolicyClass, Scope, Session, Succession};
use crate::ports::store::{Change, ChangeSet, Register, SheetQuery};
use crate::refusal::{Code, Refusal};

/// Lets `to` govern all that the class `from` governs, and what is yet to be written under it;
/// the same for every class that differs from `from` by objections alone. Gives how many classes
/// were superseded. Doing it again changes nothing.
///
/// # Errors
/// [`Code::RetUnclassed`] for a class that is not known, and for a successor whose retention class
/// has no schedule in this house: what it governs could never be judged. [`Code::PrcRestricted`]
/// for a successor with other objections than `from`: they are the persons' own, see
/// [`rights`](super::rights). [`FaultKind::Conflict`](crate::FaultKind::Conflict) when another
/// class superseded one of them already; refusals of the gate; faults of the store.
pub async fn supersede(
    house: &House,
    session: &Session<'_>,
    from: Digest,
    to: PolicyClass,
) -> Result<usize> {
    let scope = Scope::firm().about("class", from);
    let permit = session.permit(Act::Manage, scope.clone()).await?;
    let known = house.gate.class(from).await?;
    let refusal = match &known {
        None => Some(Refusal::new(Code::RetUnclassed).about("class", from)),
        Some(known) if known.objections != to.objections => {
            Some(Refusal::new(Code::PrcRestricted).about("class", from))
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
