//! Under every stage: opening matters, listing actors, building walls, placing holds. Each is
//! recorded before it has effect.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use serde::de::DeserializeOwned;

use crate::audit::{Label, Outcome};
use crate::error::{Error, Fault, FaultKind, Port, Result};
use crate::id::{ActorId, HoldId, MatterId, SubjectId};
use crate::pii::{Category, Matter, MatterState, Party, Subject};
use crate::pipeline::dispose::require_untouched;
use crate::pipeline::house::{House, file_new, file_over, label, read};
use crate::pipeline::look;
use crate::policy::{Act, Actor, Directory, Scope, Session};
use crate::ports::store::{Change, ChangeSet, HoldQuery, Register, Sheet, SheetQuery};
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
            Act::Enlist,
            Outcome::Done,
        );
        change = change
            .with(file_new(
                Register::Actors,
                label(actor.id),
                None,
                None,
                actor,
            )?)
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
/// what was spent of the budgets: everything on it since their longest window began. A house that
/// did not wake knows nobody, and lets nobody in.
///
/// # Errors
/// As [`refresh`]; [`Code::AudChain`] for what is no log.
pub async fn wake(house: &House) -> Result<()> {
    refresh(house).await?;
    let budgets = house.gate.budgets();
    let since = house.gate.now() - budgets.reach();
    look::since(house, since, |entries| budgets.recall(entries)).await
}

/// Reads the directory again, with the active holds: what other processes of the firm changed
/// since (an actor revoked, a wall, a restriction, an alias) binds this house from then on.
///
/// Each house decides by the directory that it read last. Where a firm has several at work, each
/// calls this on a timer, and the time between two calls is how long a wall that was built in one
/// may not be known to another.
///
/// # Errors
/// Faults of the store; [`FaultKind::Conflict`] when this house changes the directory so often that
/// it cannot be read in between: call again.
pub async fn refresh(house: &House) -> Result<()> {
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        // What this house itself changes while the registers are read must not be undone by them.
        let revision = house.gate.directory_revision();
        let filed = Directory::filed(&*house.doors.store, house.tenant()).await?;
        let replace = |directory: &mut Directory| *directory = filed;
        if house.gate.amend_directory_at(revision, replace).is_some() {
            return house.gate.read_holds().await;
        }
        if left == 0 {
            let fault = Fault::new(FaultKind::Conflict, Port::Store, "refresh");
            return Err(fault
                .because("the directory is changed all the time")
                .into());
        }
    }
}

/// Puts an actor on the access list, or replaces what it says. Nobody lists themselves.
///
/// # Errors
/// [`Code::AclDeny`] for one's own entry; refusals of the gate, faults of the store:
/// [`FaultKind::Conflict`] when somebody else changes the entry at the same time.
pub async fn list_actor(house: &House, session: &Session<'_>, actor: Actor) -> Result<()> {
    let scope = Scope::firm().about("listed", actor.id);
    let permit = session.permit(Act::Enlist, scope.clone()).await?;
    if actor.id == session.actor() {
        let refusal = Refusal::new(Code::AclDeny).about("listed", actor.id);
        session.log_refusal(Act::Enlist, &scope, &refusal).await?;
        return Err(refusal.into());
    }
    let event = permit
        .event(Act::Enlist, Outcome::Done)
        .with("listed", actor.id);
    let filed = match house.sheet(Register::Actors, label(actor.id)).await? {
        Some(sheet) => file_over(&sheet, &actor)?,
        None => file_new(Register::Actors, label(actor.id), None, None, &actor)?,
    };
    let change = ChangeSet::new(house.tenant(), house.gate.now())
        .with(filed)
        .event(event);
    house.doors.store.commit(change).await?;
    let id = label(actor.id);
    know_from(house, Register::Actors, id, actor, Directory::list).await
}

/// Opens a matter, with a person's key for every party. Opening it again, exactly as it is on file,
/// changes nothing.
///
/// # Errors
/// [`Code::AclDeny`] for a matter that is there and says something else: it is changed by
/// [`amend_matter`] alone, and whoever may not know of it learns no more than that. Refusals of the
/// gate, faults of the store; [`Code::SupListed`] when a party was erased.
pub async fn open_matter(
    house: &House,
    session: &Session<'_>,
    matter: Matter,
    minors: &[SubjectId],
) -> Result<()> {
    let scope = Scope::firm().about("matter", matter.id);
    let permit = session.permit(Act::Manage, scope.clone()).await?;
    let mut change = ChangeSet::new(house.tenant(), house.gate.now());
    match house.sheet(Register::Matters, label(matter.id)).await? {
        None => {
            let (register, id) = (Register::Matters, matter.id);
            change = change.with(file_new(register, label(id), None, Some(id), &matter)?);
        }
        Some(sheet) if read::<Matter>(&sheet)? == matter => {}
        Some(_) => {
            let refusal = Refusal::new(Code::AclDeny).about("matter", matter.id);
            session.log_refusal(Act::Manage, &scope, &refusal).await?;
            return Err(refusal.into());
        }
    }
    for id in matter.parties.keys() {
        enroll(house, *id).await?;
        change = change.with(enter_person(house, *id, &matter, minors.contains(id)).await?);
    }
    let event = permit
        .event(Act::Manage, Outcome::Done)
        .in_matter(matter.id)
        .with("parties", matter.parties.len());
    house.doors.store.commit(change.event(event)).await?;
    know(house, matter).await
}

/// A person's key.
async fn enroll(house: &House, id: SubjectId) -> Result<()> {
    let enrolled = house.sealer.keys().enroll(id).await;
    enrolled.map(drop).map_err(|error| match error.refusal() {
        Some(refusal) if refusal.code() == Code::CryErased => {
            Refusal::new(Code::SupListed).about("subject", id).into()
        }
        _ => error,
    })
}

/// The sheet of a party. Of somebody who is known from another matter it stays, with what the
/// person demanded.
async fn enter_person(
    house: &House,
    id: SubjectId,
    matter: &Matter,
    minor: bool,
) -> Result<Change> {
    if let Some(sheet) = house.sheet(Register::Subjects, label(id)).await? {
        let known: Subject = read(&sheet)?;
        return file_over(&sheet, &Subject { minor, ..known });
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
    file_new(register, label(id), Some(id), matter, &person)
}

/// Changes a matter: moves it on, notes a trigger, builds a wall. `amend` is called on the matter as
/// it is on file, and again when somebody else changed it meanwhile, so that no change is lost. Who
/// becomes a party gets a person's key.
///
/// # Errors
/// Refusals of the gate and of `amend`; [`Code::AclDeny`] for a matter that is not there;
/// [`Code::PrcTransition`] when parties change whose matter's destruction has begun or is done;
/// [`Code::SupListed`] for a party who was erased.
pub async fn amend_matter(
    house: &House,
    session: &Session<'_>,
    id: MatterId,
    what: &'static str,
    amend: impl Fn(&mut Matter) -> Result<()>,
) -> Result<Matter> {
    let scope = Scope::firm().in_matter(id).about("change", what);
    let permit = session.permit(Act::Manage, scope.clone()).await?;
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        let (sheet, mut matter) = matter_on_file(house, id).await?;
        let before = matter.parties.clone();
        let amended = async {
            amend(&mut matter)?;
            added(house, &before, &matter).await
        };
        let people = amended.await;
        if let Err(error) = &people
            && let Some(refusal) = error.refusal()
        {
            session.log_refusal(Act::Manage, &scope, refusal).await?;
        }
        let people = people?;
        let event = permit
            .event(Act::Manage, Outcome::Done)
            .with("change", what)
            .with("state", matter.state.as_str());
        let change = ChangeSet::new(house.tenant(), house.gate.now())
            .with(file_over(&sheet, &matter)?)
            .event(event);
        let change = people.into_iter().fold(change, ChangeSet::with);
        match house.doors.store.commit(change).await {
            Err(Error::Broken(fault)) if fault.kind() == FaultKind::Conflict && left > 0 => {}
            outcome => {
                outcome?;
                know(house, matter.clone()).await?;
                return Ok(matter);
            }
        }
    }
}

/// The sheets of those who became parties by a change of the matter and are not known yet.
async fn added(
    house: &House,
    before: &BTreeMap<SubjectId, Party>,
    matter: &Matter,
) -> Result<Vec<Change>> {
    let mut people = Vec::new();
    if matter.parties == *before {
        return Ok(people);
    }
    // After the matter was read: a destruction that begins in between writes over it too.
    require_untouched(house, matter.id).await?;
    for (id, party) in &matter.parties {
        if before.contains_key(id) {
            continue;
        }
        enroll(house, *id).await?;
        if house.sheet(Register::Subjects, label(id)).await?.is_none() {
            let minor = *party == Party::Child;
            people.push(enter_person(house, *id, matter, minor).await?);
        }
    }
    Ok(people)
}

/// A matter with its sheet, as it is on file.
pub(crate) async fn matter_on_file(house: &House, id: MatterId) -> Result<(Sheet, Matter)> {
    let sheet = house.sheet(Register::Matters, label(id)).await?;
    let sheet = sheet.ok_or_else(|| Refusal::new(Code::AclDeny).about("matter", id))?;
    let matter = read(&sheet)?;
    Ok((sheet, matter))
}

/// Brings a matter into the directory as it is on file by now.
pub(crate) async fn know(house: &House, matter: Matter) -> Result<()> {
    let id = label(matter.id);
    know_from(house, Register::Matters, id, matter, Directory::file).await
}

/// Brings what was just written into the directory as it is on file by now: of two changes at once
/// the later one may be told of first. Where it cannot be read again it is told as it was written.
async fn know_from<T: Clone + DeserializeOwned>(
    house: &House,
    register: Register,
    id: Label,
    written: T,
    tell: impl Fn(&mut Directory, T),
) -> Result<()> {
    loop {
        let revision = house.gate.directory_revision();
        let now = match house.sheet(register, id.clone()).await {
            Ok(Some(sheet)) => read(&sheet)?,
            Ok(None) => written.clone(),
            Err(error) => {
                house.gate.amend_directory(|all| tell(all, written));
                return Err(error);
            }
        };
        // Every turn that fails is another change that was told of.
        if house
            .gate
            .amend_directory_at(revision, |all| tell(all, now))
            .is_some()
        {
            return Ok(());
        }
    }
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
/// [`Code::AclDeny`] for an id that nobody has; refusals of the gate, faults of the store:
/// [`FaultKind::Conflict`] when something else is noted of one of them at the same time.
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
        let Some(sheet) = house.sheet(Register::Subjects, label(id)).await? else {
            return Err(Code::AclDeny.into());
        };
        let mut subject: Subject = read(&sheet)?;
        subject.aliases = ids.iter().copied().filter(|alias| alias != id).collect();
        change = change.with(file_over(&sheet, &subject)?);
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

/// How often something that somebody else changes is read again.
const ATTEMPTS: u32 = 16;

/// The categories of ordinary case work, special ones aside.
pub(crate) const ORDINARY: [Category; 4] = [
    Category::Identity,
    Category::Case,
    Category::CaseRef,
    Category::EmployerRecord,
];
