//! Under every stage: what a person may demand of the use of data (GDPR articles 18 and 21).
//!
//! ```text
//!   restriction ──► the person's sheet ──► every permit: the law's own purposes only
//!   objection ────► the person's sheet ──► the classes of records that are yet to be written
//!             └───► the classes of the records that are there
//! ```
//!
//! Access, rectification and erasure have stages of their own.

use std::collections::BTreeMap;

use crate::audit::{Event, Outcome};
use crate::error::{Error, FaultKind, Result};
use crate::id::{Digest, SubjectId};
use crate::pii::Subject;
use crate::pipeline::govern;
use crate::pipeline::house::{House, file_over, label, read};
use crate::policy::{Act, Directory, Permit, PolicyClass, Purpose, Scope, Session};
use crate::ports::store::{Change, ChangeSet, RecordBy, RecordQuery, Register, Sheet};
use crate::refusal::{Code, Refusal};

/// Restricts the processing of a person's data, or lifts the restriction: while it stands, only
/// the law's own purposes are permitted. Doing it again changes nothing.
///
/// # Errors
/// [`Code::AclDeny`] for a person who is not known; refusals of the gate; faults of the store.
pub async fn restrict(
    house: &House,
    session: &Session<'_>,
    subject: SubjectId,
    restricted: bool,
) -> Result<()> {
    let permit = permit(session, subject).await?;
    let word = if restricted { "restrict" } else { "lift" };
    let event = permit.event(Act::Manage, Outcome::Done);
    amend(house, event.with("change", word), subject, |person| {
        core::mem::replace(&mut person.restricted, restricted) != restricted
    })
    .await?;
    know(house, subject).await
}

/// Restricts a person whose file the law at once demands to be kept and forbids to be used: what
/// [`retain`](super::retain) found, no demand of the person's. Only somebody's decision lifts it.
pub(crate) async fn restrict_beyond_ceiling(
    house: &House,
    session: &Session<'_>,
    subject: SubjectId,
) -> Result<()> {
    let event = session.event(Act::Retain, Outcome::Done);
    amend(house, event.with("change", "restrict"), subject, |person| {
        !core::mem::replace(&mut person.restricted, true)
    })
    .await?;
    know(house, subject).await
}

/// Has the directory say what the person's sheet says, which of two changes at once neither caller
/// knows. Until that is read, the person is restricted.
async fn know(house: &House, subject: SubjectId) -> Result<()> {
    house.gate.amend_directory(|directory| {
        directory.restricted.insert(subject);
    });
    loop {
        let revision = house.gate.directory_revision();
        let person = known(house, subject).await?;
        if person.is_none_or(|(_, person)| person.restricted) {
            return Ok(());
        }
        let lift = |directory: &mut Directory| {
            directory.restricted.remove(&subject);
        };
        if house.gate.amend_directory_at(revision, lift).is_some() {
            return Ok(());
        }
    }
}

/// Notes a person's objection to a purpose, and puts the person's records under classes that say
/// so: none of them opens for that purpose from then on. Gives how many records were moved. Killed
/// on the way, it is called again and goes on.
///
/// # Errors
/// [`Code::PrcPurpose`] for a purpose that the law itself gives, against which no objection stands;
/// [`Code::AclDeny`] for a person who is not known; refusals of the gate; faults of the store.
pub async fn object(
    house: &House,
    session: &Session<'_>,
    subject: SubjectId,
    purpose: Purpose,
) -> Result<u64> {
    let permit = permit(session, subject).await?;
    if purpose.is_legal() {
        let refusal = Refusal::new(Code::PrcPurpose).about("purpose", purpose.as_str());
        let scope = scope(subject);
        session.log_refusal(Act::Manage, &scope, &refusal).await?;
        return Err(refusal.into());
    }
    let event = permit.event(Act::Manage, Outcome::Done);
    let event = event
        .with("change", "object")
        .with("purpose", purpose.as_str());
    amend(house, event, subject, |person| {
        person.objections.insert(purpose)
    })
    .await?;
    move_records(house, &permit, subject, |class| {
        class.objections.insert(purpose);
    })
    .await
}

/// Takes an objection back, as [`object`] noted it.
///
/// # Errors
/// As [`object`], but for the purpose.
pub async fn withdraw(
    house: &House,
    session: &Session<'_>,
    subject: SubjectId,
    purpose: Purpose,
) -> Result<u64> {
    let permit = permit(session, subject).await?;
    let event = permit.event(Act::Manage, Outcome::Done);
    let event = event
        .with("change", "withdraw")
        .with("purpose", purpose.as_str());
    amend(house, event, subject, |person| {
        person.objections.remove(&purpose)
    })
    .await?;
    move_records(house, &permit, subject, |class| {
        class.objections.remove(&purpose);
    })
    .await
}

/// The class under which a person's new record is put, and what has to be committed with the
/// record: the class, and that nobody amended what the person objects to meanwhile.
pub(crate) async fn class_for(
    house: &House,
    class: &PolicyClass,
    subject: SubjectId,
) -> Result<(Digest, Vec<Change>)> {
    let Some((sheet, person)) = known(house, subject).await? else {
        return Ok((class.id(), Vec::new()));
    };
    // Unchanged, but counted: an objection that comes now does not pass unseen.
    let guard = file_over(&sheet, &person)?;
    if person.objections.is_empty() {
        return Ok((class.id(), vec![guard]));
    }
    let mut class = govern::governing(house, class).await?;
    class.objections.extend(&person.objections);
    Ok((class.id(), vec![guard, Change::Intern(class)]))
}

/// The class that governs now what a person has under `class` without a record of it; interned
/// here when nobody needed it before.
pub(crate) async fn class_now(
    house: &House,
    class: &PolicyClass,
    subject: SubjectId,
) -> Result<Digest> {
    let mut class = govern::governing(house, class).await?;
    if let Some((_, person)) = known(house, subject).await? {
        class.objections.extend(&person.objections);
    }
    let id = class.id();
    if house.gate.class(id).await?.is_none() {
        let change = ChangeSet::new(house.tenant(), house.gate.now());
        let change = change.with(Change::Intern(class));
        house.doors.store.commit(change).await?;
    }
    Ok(id)
}

/// Of a person behind a wall what is said of somebody who is not known.
async fn permit<'s>(session: &'s Session<'_>, subject: SubjectId) -> Result<Permit<'s>> {
    let permit = session.permit(Act::Manage, scope(subject)).await?;
    if session.sight().admits(None, Some(subject)) {
        Ok(permit)
    } else {
        Err(unknown(subject))
    }
}

fn unknown(subject: SubjectId) -> Error {
    Refusal::new(Code::AclDeny).about("subject", subject).into()
}

fn scope(subject: SubjectId) -> Scope {
    Scope::firm().about("subject", subject)
}

/// The person's sheet; `None` for somebody of whom there is none.
async fn known(house: &House, subject: SubjectId) -> Result<Option<(Sheet, Subject)>> {
    let sheet = house.sheet(Register::Subjects, label(subject)).await?;
    sheet
        .map(|sheet| Ok((sheet.clone(), read(&sheet)?)))
        .transpose()
}

/// Changes what is noted of a person, whoever else does at the same time.
async fn amend(
    house: &House,
    event: Event,
    subject: SubjectId,
    amend: impl Fn(&mut Subject) -> bool,
) -> Result<()> {
    let event = event.of_subject(subject);
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        let Some((sheet, mut person)) = known(house, subject).await? else {
            return Err(unknown(subject));
        };
        if !amend(&mut person) {
            return Ok(());
        }
        let change = ChangeSet::new(house.tenant(), house.gate.now())
            .with(file_over(&sheet, &person)?)
            .event(event.clone());
        match house.doors.store.commit(change).await {
            Err(error) if is_conflict(&error) && left > 0 => {}
            outcome => return outcome.map(drop),
        }
    }
}

/// Moves the person's records from the class that governs each to what `amend` makes of it.
async fn move_records(
    house: &House,
    permit: &Permit<'_>,
    subject: SubjectId,
    amend: impl Fn(&mut PolicyClass),
) -> Result<u64> {
    let (mut moved, mut after, mut left) = (0, None, ATTEMPTS);
    loop {
        let query = RecordQuery::all(house.tenant(), RecordBy::Subject(subject)).page(after, PAGE);
        let found = house.doors.store.records(&query).await?;
        let mut classes = BTreeMap::new();
        let mut change = ChangeSet::new(house.tenant(), house.gate.now());
        let mut here = 0;
        for record in &found {
            // What is under a class that nobody knows opens for the law's purposes alone.
            let Some(class) = house.gate.class(record.class).await? else {
                continue;
            };
            let mut amended = (*class).clone();
            amend(&mut amended);
            if amended == *class {
                continue;
            }
            let to = amended.id();
            if classes.insert(to, ()).is_none() {
                change = change.with(Change::Intern(amended));
            }
            change = change.with(Change::Reclass {
                key: record.key,
                from: record.class,
                to,
            });
            here += 1;
        }
        if here > 0 {
            let event = permit
                .event(Act::Manage, Outcome::Done)
                .of_subject(subject)
                .with("change", "reclass")
                .with("records", here);
            match house.doors.store.commit(change.event(event)).await {
                // A record went, or another class governs it since it was read.
                Err(error) if (is_conflict(&error) || is_absent(&error)) && left > 0 => {
                    left -= 1;
                    continue;
                }
                outcome => drop(outcome?),
            }
            moved += here;
        }
        if found.len() < PAGE {
            return Ok(moved);
        }
        after = found.last().map(|record| record.key.record);
    }
}

fn is_conflict(error: &Error) -> bool {
    let fault = error.fault();
    fault.is_some_and(|fault| fault.kind() == FaultKind::Conflict)
}

fn is_absent(error: &Error) -> bool {
    let fault = error.fault();
    fault.is_some_and(|fault| fault.kind() == FaultKind::NotFound)
}

/// How often something that changes under our hands is read again.
const ATTEMPTS: u32 = 16;

/// Records that are read together.
const PAGE: usize = 64;
