//! Under every stage: opening matters, listing actors, building walls, placing holds. Each is
//! recorded before it has effect.

use std::collections::BTreeSet;

use chrono::NaiveDate;

use crate::audit::{Label, Outcome};
use crate::error::Result;
use crate::id::{ActorId, HoldId, MatterId, SubjectId};
use crate::pii::{Category, Matter, MatterState, Party, Subject};
use crate::pipeline::house::{House, file, file_over, label, read};
use crate::pipeline::look;
use crate::policy::{Act, Actor, Directory, Scope, Session};
use crate::ports::store::{Change, ChangeSet, HoldQuery, Register, SheetQuery};
use crate::refusal::{Code, Refusal};
use crate::retention::Hold;

/// Puts the first actors on the access list of a house that has none: the founding act, made by
/// whoever holds the keys. Afterwards only [`list_actor`] changes the list.
///
/// # Errors
/// [`Code::AclDeny`] when the list is not empty; faults of the store.
pub async fn found(house: &House, by: ActorId, actors: Vec<Actor>) -> Result<()> {
    let listed = house
        .doors
        .store
        .sheets(&SheetQuery::all(house.tenant(), Register::Actors))
        .await?;
    if !listed.is_empty() {
        return Err(Code::AclDeny.into());
    }
    let component = Label::fixed("founding");
    let mut change = ChangeSet::new(house.tenant(), house.gate.now());
    for actor in &actors {
        let event = crate::audit::Event::new(
            house.tenant(),
            by,
            component.clone(),
            Act::Manage,
            Outcome::Done,
        );
        change = change
            .with(file(Register::Actors, label(actor.id), None, None, actor)?)
            .event(
                event
                    .with("listed", actor.id)
                    .with("roles", actor.roles.len()),
            );
    }
    house.doors.store.commit(change).await?;
    house
        .gate
        .amend_directory(|directory| actors.into_iter().for_each(|actor| directory.list(actor)));
    Ok(())
}

/// Reads the directory back from the registers, for a house that starts again, and from the log
/// what was spent of the budgets: everything on it since their longest window began.
///
/// # Errors
/// Faults of the store; [`Code::AudChain`] for what is no log.
pub async fn wake(house: &House) -> Result<()> {
    let mut directory = Directory::default();
    for sheet in house
        .doors
        .store
        .sheets(&SheetQuery::all(house.tenant(), Register::Actors))
        .await?
    {
        if let Some(actor) = house.filed::<Actor>(Register::Actors, &sheet.id).await? {
            directory.list(actor);
        }
    }
    for sheet in house
        .doors
        .store
        .sheets(&SheetQuery::all(house.tenant(), Register::Matters))
        .await?
    {
        if let Some(matter) = house.filed::<Matter>(Register::Matters, &sheet.id).await? {
            directory.file(matter);
        }
    }
    for sheet in house
        .doors
        .store
        .sheets(&SheetQuery::all(house.tenant(), Register::Subjects))
        .await?
    {
        if let Some(subject) = house
            .filed::<Subject>(Register::Subjects, &sheet.id)
            .await?
        {
            if subject.restricted {
                directory.restricted.insert(subject.id);
            }
            if !subject.aliases.is_empty() {
                directory.aliases.insert(subject.id, subject.aliases);
            }
        }
    }
    house.gate.amend_directory(|current| *current = directory);
    let budgets = house.gate.budgets();
    let since = house.gate.now() - budgets.reach();
    look::since(house, since, |entries| budgets.recall(entries)).await?;
    house.gate.read_holds().await
}

/// Puts an actor on the access list, or replaces what it says.
///
/// # Errors
/// Refusals of the gate, faults of the store.
pub async fn list_actor(house: &House, session: &Session<'_>, actor: Actor) -> Result<()> {
    let permit = session
        .permit(Act::Manage, Scope::firm().about("listed", actor.id))
        .await?;
    let event = permit
        .event(Act::Manage, Outcome::Done)
        .with("listed", actor.id);
    let change = ChangeSet::new(house.tenant(), house.gate.now())
        .with(file(Register::Actors, label(actor.id), None, None, &actor)?)
        .event(event);
    house.doors.store.commit(change).await?;
    house
        .gate
        .amend_directory(|directory| directory.list(actor));
    Ok(())
}

/// Opens a matter, with a person's key for every party.
///
/// # Errors
/// Refusals of the gate, faults of the store; [`Code::SupListed`] when a party was erased.
pub async fn open_matter(
    house: &House,
    session: &Session<'_>,
    matter: Matter,
    minors: &[SubjectId],
) -> Result<()> {
    let permit = session
        .permit(Act::Manage, Scope::firm().about("matter", matter.id))
        .await?;
    let mut change = ChangeSet::new(house.tenant(), house.gate.now()).with(file(
        Register::Matters,
        label(matter.id),
        None,
        Some(matter.id),
        &matter,
    )?);
    for id in matter.parties.keys() {
        house
            .sealer
            .keys()
            .enroll(*id)
            .await
            .map_err(|error| match error.refusal() {
                Some(refusal) if refusal.code() == Code::CryErased => {
                    Refusal::new(Code::SupListed).about("subject", *id).into()
                }
                _ => error,
            })?;
        change = change.with(enter_person(house, *id, &matter, minors.contains(id)).await?);
    }
    let event = permit
        .event(Act::Manage, Outcome::Done)
        .in_matter(matter.id)
        .with("parties", matter.parties.len());
    house.doors.store.commit(change.event(event)).await?;
    house
        .gate
        .amend_directory(|directory| directory.file(matter));
    Ok(())
}

/// The sheet of a party. Of somebody who is known from another matter it stays, with what the
/// person demanded.
async fn enter_person(
    house: &House,
    id: SubjectId,
    matter: &Matter,
    minor: bool,
) -> Result<Change> {
    let query = SheetQuery::named(house.tenant(), Register::Subjects, label(id));
    if let Some(sheet) = house.doors.store.sheets(&query).await?.first() {
        let known: Subject = read(sheet)?;
        return file_over(sheet, &Subject { minor, ..known });
    }
    let person = Subject {
        tenant: house.tenant(),
        id,
        minor,
        restricted: false,
        objections: BTreeSet::new(),
        aliases: known_as(house, id),
    };
    let (register, matter) = (Register::Subjects, Some(matter.id));
    file(register, label(id), Some(id), matter, &person)
}

/// Changes a matter: moves it on, notes a trigger, builds a wall.
///
/// # Errors
/// Refusals of the gate and of `amend`; [`Code::AclDeny`] for a matter that is not there.
pub async fn amend_matter(
    house: &House,
    session: &Session<'_>,
    id: MatterId,
    what: &'static str,
    amend: impl FnOnce(&mut Matter) -> Result<()>,
) -> Result<Matter> {
    let scope = Scope::firm().in_matter(id).about("change", what);
    let permit = session.permit(Act::Manage, scope.clone()).await?;
    let mut matter = matter(house, id)?;
    if let Err(error) = amend(&mut matter) {
        if let Some(refusal) = error.refusal() {
            session.log_refusal(Act::Manage, &scope, refusal).await?;
        }
        return Err(error);
    }
    let event = permit
        .event(Act::Manage, Outcome::Done)
        .with("change", what)
        .with("state", matter.state.as_str());
    let change = ChangeSet::new(house.tenant(), house.gate.now())
        .with(file(Register::Matters, label(id), None, Some(id), &matter)?)
        .event(event);
    house.doors.store.commit(change).await?;
    house
        .gate
        .amend_directory(|directory| directory.file(matter.clone()));
    Ok(matter)
}

/// Closes a matter: the trigger from which retention periods run.
///
/// # Errors
/// [`Code::ExtOpen`] while a deadline or a dispute is open; refusals of the gate.
pub async fn close_matter(
    house: &House,
    session: &Session<'_>,
    id: MatterId,
    on: NaiveDate,
) -> Result<Matter> {
    amend_matter(house, session, id, "close", |matter| {
        if !matter.open_points.is_empty() {
            return Err(Refusal::new(Code::ExtOpen)
                .about("open", matter.open_points.len())
                .into());
        }
        if matter.originals_held > 0 {
            return Err(Refusal::new(Code::DspOriginal)
                .about("originals", u64::from(matter.originals_held))
                .into());
        }
        matter.advance(MatterState::Closed)?;
        matter.triggers.insert(Label::fixed("matter_closed"), on);
        Ok(())
    })
    .await
}

/// Records that the firm knows one person under two ids. From now on a hold on either covers both:
/// one that stands already is followed by a hold on the ids it did not name, of the same reason,
/// which is released for itself. There is no way back: a mistake is mended by people.
///
/// # Errors
/// [`Code::AclDeny`] for an id that nobody has; refusals of the gate, faults of the store.
pub async fn same_person(
    house: &House,
    session: &Session<'_>,
    one: SubjectId,
    other: SubjectId,
) -> Result<()> {
    let permit = session
        .permit(Act::Manage, Scope::firm().about("alias", other))
        .await?;
    let sight = session.sight();
    if [one, other].iter().any(|id| !sight.admits(None, Some(*id))) {
        return Err(Code::AclDeny.into());
    }
    let mut ids = known_as(house, one);
    ids.extend(known_as(house, other));
    ids.extend([one, other]);
    let mut change = ChangeSet::new(house.tenant(), house.gate.now());
    for id in &ids {
        let query = SheetQuery::named(house.tenant(), Register::Subjects, label(id));
        let sheets = house.doors.store.sheets(&query).await?;
        let filed = house
            .filed::<Subject>(Register::Subjects, &label(id))
            .await?;
        let (Some(sheet), Some(mut subject)) = (sheets.first(), filed) else {
            return Err(Code::AclDeny.into());
        };
        subject.aliases = ids.iter().copied().filter(|alias| alias != id).collect();
        let matter = sheet.matter;
        change = change.with(file(
            Register::Subjects,
            label(id),
            Some(*id),
            matter,
            &subject,
        )?);
    }
    let mut event = permit
        .event(Act::Manage, Outcome::Done)
        .of_subject(one)
        .with("alias", other)
        .with("ids", ids.len());
    let query = HoldQuery {
        tenant: house.tenant(),
        subject: None,
        matter: None,
        active: true,
    };
    let mut following = 0_usize;
    for hold in house.doors.store.holds(&query).await? {
        let missing: BTreeSet<_> = ids.difference(&hold.subjects).copied().collect();
        if !hold.subjects.is_disjoint(&ids) && !missing.is_empty() {
            following += 1;
            change = change.with(Change::PlaceHold(Hold {
                id: HoldId::random(&*house.doors.entropy),
                subjects: missing,
                matters: BTreeSet::new(),
                placed_by: session.actor(),
                placed_at: house.gate.now(),
                ..hold
            }));
        }
    }
    if following > 0 {
        event = event.with("holds", following);
    }
    house.doors.store.commit(change.event(event)).await?;
    house.gate.amend_directory(|directory| {
        for id in &ids {
            let others = ids.iter().copied().filter(|alias| alias != id);
            directory.aliases.insert(*id, others.collect());
        }
    });
    house.gate.read_holds().await
}

/// Places a legal hold, over the persons named under every id they have. The store dates it, and
/// no permit that was given out before is good for what it covers. Of persons behind a wall the
/// answer names no other id than the one that was named.
///
/// # Errors
/// Refusals of the gate, faults of the store.
pub async fn place_hold(
    house: &House,
    session: &Session<'_>,
    subjects: &[SubjectId],
    matter: Option<MatterId>,
    reason: Label,
) -> Result<Hold> {
    let permit = session
        .permit(Act::Hold, Scope::firm().in_matter(matter))
        .await?;
    let hold = Hold {
        tenant: house.tenant(),
        id: HoldId::random(&*house.doors.entropy),
        subjects: subjects
            .iter()
            .flat_map(|subject| known_as(house, *subject).into_iter().chain([*subject]))
            .collect(),
        matters: matter.into_iter().collect(),
        reason,
        placed_by: session.actor(),
        placed_at: house.gate.now(),
        released: None,
    };
    let event = permit
        .event(Act::Hold, Outcome::Done)
        .with("hold", hold.id)
        .with("reason", hold.reason.clone());
    let change = ChangeSet::new(house.tenant(), house.gate.now())
        .with(Change::PlaceHold(hold.clone()))
        .event(event);
    house.doors.store.commit(change).await?;
    house.gate.read_holds().await?;
    let sight = session.sight();
    let mut told = hold;
    told.subjects
        .retain(|id| subjects.contains(id) || sight.admits(None, Some(*id)));
    Ok(told)
}

/// Releases a legal hold.
///
/// # Errors
/// [`Code::AclDeny`] for a hold that is not there, was released, or covers what is behind a wall;
/// refusals of the gate.
pub async fn release_hold(house: &House, session: &Session<'_>, hold: HoldId) -> Result<()> {
    let permit = session
        .permit(Act::Unhold, Scope::firm().about("hold", hold))
        .await?;
    let query = HoldQuery {
        tenant: house.tenant(),
        subject: None,
        matter: None,
        active: true,
    };
    let sight = session.sight();
    let is_seen = |active: &Hold| {
        let mut matters = active.matters.iter();
        let mut people = active.subjects.iter();
        matters.all(|matter| sight.admits(Some(*matter), None))
            && people.all(|subject| sight.admits(None, Some(*subject)))
    };
    let holds = house.doors.store.holds(&query).await?;
    // One that also covers what is behind a wall is for somebody else to release.
    if !holds
        .iter()
        .any(|active| active.id == hold && is_seen(active))
    {
        return Err(Code::AclDeny.into());
    }
    let event = permit.event(Act::Unhold, Outcome::Done).with("hold", hold);
    let change = ChangeSet::new(house.tenant(), house.gate.now())
        .with(Change::ReleaseHold {
            hold,
            by: session.actor(),
        })
        .event(event);
    house.doors.store.commit(change).await?;
    house.gate.read_holds().await
}

/// The other ids of a person.
fn known_as(house: &House, subject: SubjectId) -> BTreeSet<SubjectId> {
    let mut ids = house
        .gate
        .directory(|directory| directory.known_as(subject));
    ids.remove(&subject);
    ids
}

/// The matter, as the directory has it.
pub(crate) fn matter(house: &House, id: MatterId) -> Result<Matter> {
    house
        .gate
        .directory(|directory| directory.matters.get(&id).cloned())
        .ok_or_else(|| Code::AclDeny.into())
}

/// The side on which a person stands in a matter.
pub(crate) fn party(matter: &Matter, subject: SubjectId) -> Result<Party, Refusal> {
    let found = matter.parties.get(&subject).copied();
    found.ok_or_else(|| {
        Refusal::new(Code::RevWrongPerson)
            .about("subject", subject)
            .about("matter", matter.id)
    })
}

/// The categories of ordinary case work, special ones aside.
pub(crate) const ORDINARY: [Category; 4] = [
    Category::Identity,
    Category::Case,
    Category::CaseRef,
    Category::EmployerRecord,
];
