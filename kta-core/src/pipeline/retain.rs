//! Step 8, retention: for every person of a closed matter, the explained decision on how long
//! and what then.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike as _, Months, NaiveDate, TimeDelta};
use serde::{Deserialize, Serialize};

use crate::audit::{Entry, Label, Outcome};
use crate::error::Result;
use crate::id::{MatterId, SubjectId};
use crate::pii::{Category, Matter, MatterState, Party};
use crate::pipeline::dispose::elsewhere::Elsewhere;
use crate::pipeline::house::{House, file, label};
use crate::pipeline::process::require_state;
use crate::pipeline::receipt::Receipt;
use crate::pipeline::rights;
use crate::pipeline::transmit::Transmitted;
use crate::pipeline::verify::reviewed;
use crate::pipeline::{govern, manage};
use crate::policy::{Act, Scope, Session};
use crate::ports::store::{ChangeSet, HoldQuery, Register};
use crate::refusal::{Code, Refusal};
use crate::retention::{Evaluation, Facts, evaluate};
use crate::time::Timestamp;

/// Receipt of the ninth stage: the retention of every person's file is decided, as of a day.
#[derive(Debug)]
pub struct Retained(Data);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    matter: MatterId,
    on: NaiveDate,
    evaluations: BTreeMap<SubjectId, Evaluation>,
}

impl Receipt for Retained {
    const STAGE: Label = Label::fixed("retained");
}

impl Retained {
    /// The matter.
    #[must_use]
    pub const fn matter(&self) -> MatterId {
        self.0.matter
    }

    /// The day of the evaluation.
    #[must_use]
    pub const fn on(&self) -> NaiveDate {
        self.0.on
    }

    /// The explained decision for each person.
    #[must_use]
    pub const fn evaluations(&self) -> &BTreeMap<SubjectId, Evaluation> {
        &self.0.evaluations
    }

    /// The first day on which nothing stands against destroying the whole matter, as far as it
    /// can be known today.
    #[must_use]
    pub fn until(&self) -> Option<NaiveDate> {
        self.0
            .evaluations
            .values()
            .map(|evaluation| evaluation.floor)
            .collect::<Option<Vec<_>>>()?
            .into_iter()
            .max()
    }
}

/// What the law attaches to, besides dates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nexus {
    /// Regimes, for example `IL`, `GDPR`.
    pub regimes: BTreeSet<Label>,
    /// Whether the engagement makes the firm custodian of the employer's files.
    pub custodian: bool,
}

/// Evaluates retention for a matter that has been filed and closed.
///
/// # Errors
/// [`Code::PrcTransition`] while the matter is open; [`Code::RetUnclassed`] when no schedule
/// covers its class, or the class of a record is not known; [`Code::SynSkew`] when the house has a
/// watch and it does not believe the clock; [`Code::RetPack`] when the house has other schedules
/// than those in force ([`enact`](super::govern::enact)); refusals of the gate; faults of the ports.
pub async fn retain(
    house: &House,
    session: &Session<'_>,
    transmitted: Transmitted,
    nexus: &Nexus,
) -> Result<Retained> {
    reconsider(house, session, transmitted.matter(), nexus).await
}

/// Evaluates a closed matter again, as every nightly run does: trigger dates, holds and packs
/// may have changed. Whose file is to be kept beyond its maximum is restricted at once (GDPR
/// article 18), unless the firm still works for the person in another matter.
///
/// # Errors
/// As [`retain`].
pub async fn reconsider(
    house: &House,
    session: &Session<'_>,
    id: MatterId,
    nexus: &Nexus,
) -> Result<Retained> {
    require_seen(session, id)?;
    require_state(house, id, &[MatterState::Closed, MatterState::Archived])?;
    believe_clock(house, session, id).await?;
    govern::require_enacted(house).await?;
    let matter = manage::matter(house, id)?;
    let on = over_everywhere(house.gate.now());
    let mut evaluations = BTreeMap::new();
    for (subject, (class, facts)) in known(house, session, &matter, nexus, on).await? {
        let schedule = house
            .schedules
            .get(&class)
            .ok_or_else(|| Refusal::new(Code::RetUnclassed).about("class", class.clone()))?;
        evaluations.insert(subject, evaluate(schedule, &facts)?);
    }
    let data = Data {
        matter: id,
        on,
        evaluations,
    };
    let mut change = ChangeSet::new(house.tenant(), house.gate.now());
    for (subject, evaluation) in &data.evaluations {
        let mut event = session
            .event(Act::Retain, Outcome::Done)
            .of_subject(*subject)
            .in_matter(id)
            .with("class", evaluation.class.clone())
            .with("outcome", outcome_word(evaluation));
        if let Some(floor) = evaluation.floor {
            event = event.with("keep_until", floor);
        }
        if let crate::retention::Outcome::KeepRestricted { ceiling, .. } = evaluation.outcome {
            // The conflict that the privacy officer signs off.
            event = event.with("conflict_since", ceiling);
        }
        change = change.event(event);
    }
    for (subject, evaluation) in &data.evaluations {
        let conflict = matches!(
            evaluation.outcome,
            crate::retention::Outcome::KeepRestricted { .. }
        );
        if conflict && !is_at_work_on(house, *subject) {
            rights::restrict_beyond_ceiling(house, session, *subject).await?;
        }
    }
    let name = label(format_args!("retained:{id}"));
    let change = change.with(file(Register::Receipts, name, None, Some(id), &data)?);
    house.doors.store.commit(change).await?;
    Ok(Retained(data))
}

/// The last day that has begun everywhere on earth (UTC-12 is the last to begin it). Packs follow the
/// calendars of several countries, and a record those of several packs: by this day nothing is
/// ever eligible before its day has come where its law, the firm and the client are, and all of it
/// at most 26 hours later.
fn over_everywhere(now: Timestamp) -> NaiveDate {
    (now - TimeDelta::hours(12)).date_naive()
}

/// Says of a matter behind a wall what is said of one that is not there.
fn require_seen(session: &Session<'_>, id: MatterId) -> Result<()> {
    if session.sight().admits(Some(id), None) {
        Ok(())
    } else {
        Err(Code::AclDeny.into())
    }
}

/// Whether the firm works for this person still, in a matter under whatever id: a restriction of the
/// person would stop that, too. It comes when the last of these matters has been closed and is
/// evaluated; until then the outcome stands on the log with its conflict.
fn is_at_work_on(house: &House, subject: SubjectId) -> bool {
    let done = [
        MatterState::Closed,
        MatterState::Archived,
        MatterState::Destroyed,
    ];
    house.gate.directory(|directory| {
        let mut matters = directory.matters_of(subject);
        matters.any(|id| {
            let matter = directory.matters.get(&id);
            matter.is_some_and(|matter| !done.contains(&matter.state))
        })
    })
}

/// Says that the clock is right, by a person who looked: after the house was silent for long, or
/// its clock was wrong. Where other clocks are watched they must agree all the same.
///
/// # Errors
/// [`Code::SynSkew`] when another clock contradicts; refusals of the gate, faults of the store.
pub async fn confirm_clock(house: &House, session: &Session<'_>) -> Result<()> {
    let scope = Scope::firm().about("change", "clock");
    let permit = session.permit(Act::Manage, scope).await?;
    let now = house.gate.now();
    if let Some(watch) = &house.watch {
        watch.agree(now)?;
    }
    let event = permit.event(Act::Manage, Outcome::Done);
    let change = ChangeSet::new(house.tenant(), now)
        .with(file(Register::Receipts, CLOCK, None, None, &now)?)
        .event(event.with("change", "clock").with("now", now));
    house.doors.store.commit(change).await.map(drop)
}

/// Refuses to go on by a clock that the watch does not believe; what it believes it remembers.
/// A log of which no instant was believed yet is believed from its first entry on.
async fn believe_clock(house: &House, session: &Session<'_>, id: MatterId) -> Result<()> {
    let Some(watch) = &house.watch else {
        return Ok(());
    };
    let now = house.gate.now();
    let believed = house.filed::<Timestamp>(Register::Receipts, &CLOCK).await?;
    let last = match believed {
        Some(last) => last,
        None => first_entry(house).await?.unwrap_or(now),
    };
    if let Err(refusal) = watch.believe(now, last) {
        let scope = Scope::firm().in_matter(id);
        session.log_refusal(Act::Retain, &scope, &refusal).await?;
        return Err(refusal.into());
    }
    if now > last {
        let change = ChangeSet::new(house.tenant(), now);
        let change = change.with(file(Register::Receipts, CLOCK, None, None, &now)?);
        house.doors.store.commit(change).await?;
    }
    Ok(())
}

async fn first_entry(house: &House) -> Result<Option<Timestamp>> {
    let entries = house.doors.ledger.entries(house.tenant(), 0, 1).await?;
    let first = entries.first().map(|bytes| Entry::parse(bytes)).transpose();
    Ok(first?.map(|entry| entry.at))
}

/// The sheet that holds the last instant at which the clock was believed.
const CLOCK: Label = Label::fixed("clock");

/// What is known of each person's file in a matter, with its retention class: what a simulation of
/// other schedules runs over. It says of each on which side of the matter the person stands
/// (`party.child`).
///
/// # Errors
/// [`Code::AclDeny`] for a matter that is not there, [`Code::RetUnclassed`] for a record whose
/// class is not known; refusals of the gate; faults of the ports.
pub async fn population(
    house: &House,
    session: &Session<'_>,
    id: MatterId,
    nexus: &Nexus,
) -> Result<BTreeMap<SubjectId, (Label, Facts)>> {
    require_seen(session, id)?;
    let matter = manage::matter(house, id)?;
    let on = over_everywhere(house.gate.now());
    known(house, session, &matter, nexus, on).await
}

async fn known(
    house: &House,
    session: &Session<'_>,
    matter: &Matter,
    nexus: &Nexus,
    on: NaiveDate,
) -> Result<BTreeMap<SubjectId, (Label, Facts)>> {
    let mut all = BTreeMap::new();
    for (subject, party) in &matter.parties {
        let scope = Scope::of(*subject, Category::Identity).in_matter(matter.id);
        let permit = session.permit(Act::Retain, scope).await?;
        let mut facts = facts(house, matter, *subject, nexus, on).await?;
        facts
            .nexus
            .insert(label(format_args!("party.{}", party.as_str())));
        if *party == Party::Child
            && let Some(majority) = majority(house, matter, *subject, &permit).await?
        {
            facts.triggers.insert(Label::fixed("majority"), majority);
        }
        let class = retention_class(house, matter, *subject).await?;
        all.insert(*subject, (class, facts));
    }
    Ok(all)
}

/// The retention class by which a person's file in a matter is judged: that of the policy class
/// which governs the reviewed record now, or the ordinary one where nothing was reviewed.
///
/// # Errors
/// [`Code::RetUnclassed`] for a record whose class is not known; faults of the store.
async fn retention_class(house: &House, matter: &Matter, subject: SubjectId) -> Result<Label> {
    let Some(record) = house
        .doors
        .store
        .record(&reviewed(house, matter.id, subject))
        .await?
    else {
        return Ok(Label::fixed("CASE.FILE"));
    };
    match house.gate.class(record.class).await? {
        Some(class) => Ok(class.retention.clone()),
        None => Err(Refusal::new(Code::RetUnclassed)
            .about("record", record.key.record)
            .into()),
    }
}

async fn facts(
    house: &House,
    matter: &Matter,
    subject: SubjectId,
    nexus: &Nexus,
    on: NaiveDate,
) -> Result<Facts> {
    let mut matters = BTreeSet::from([matter.id]);
    let elsewhere = Elsewhere::of(house, subject, matter.id).await?;
    if !elsewhere.keeps_key() {
        // With this matter the person's key would go, and with the key what a hold on another
        // matter covers.
        matters.extend(elsewhere.matters());
    }
    let mut holds = BTreeSet::new();
    for known_as in house
        .gate
        .directory(|directory| directory.known_as(subject))
    {
        for covered in &matters {
            let query = HoldQuery::covering(house.tenant(), known_as, Some(*covered));
            let found = house.doors.store.holds(&query).await?;
            holds.extend(found.into_iter().map(|hold| hold.id));
        }
    }
    Ok(Facts {
        today: on,
        triggers: matter.triggers.clone(),
        open: matter.open_points.clone(),
        nexus: nexus.regimes.clone(),
        holds: holds.into_iter().collect(),
        custodian: nexus.custodian,
    })
}

/// The day from which a minor's period runs: the first of January after the eighteenth
/// birthday. The birthday itself would tell the birth date to whoever reads the log or the
/// certificate; rounding up keeps the file a little longer and tells the year only.
async fn majority(
    house: &House,
    matter: &Matter,
    subject: SubjectId,
    permit: &crate::policy::Permit<'_>,
) -> Result<Option<NaiveDate>> {
    let Some(record) = house
        .doors
        .store
        .record(&reviewed(house, matter.id, subject))
        .await?
    else {
        return Ok(None);
    };
    let fields = house.sealer.open_covered(&record, permit).await?;
    let birth = fields
        .field("birth_date")
        .and_then(|value| value.expose(permit).parse::<NaiveDate>().ok());
    let eighteen = birth.and_then(|birth| birth.checked_add_months(Months::new(18 * 12)));
    Ok(eighteen.and_then(|day| NaiveDate::from_ymd_opt(day.year() + 1, 1, 1)))
}

fn outcome_word(evaluation: &Evaluation) -> &'static str {
    use crate::retention::Outcome as O;
    match evaluation.outcome {
        O::Eligible { .. } => "eligible",
        O::Held(_) => "held",
        O::Keep { .. } => "keep",
        O::KeepRestricted { .. } => "keep-restricted",
        O::NotComputable { .. } => "not-computable",
        O::OfferTransfer => "offer-transfer",
        O::Undetermined { .. } => "undetermined",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_counts_when_it_has_begun_everywhere() {
        for (now, expected) in [
            // New Year in Jerusalem and in New York, and still the old one in Honolulu.
            ("2033-01-01T00:00:00+02:00", "2032-12-31"),
            ("2033-01-01T00:00:00-05:00", "2032-12-31"),
            ("2033-01-01T11:59:59Z", "2032-12-31"),
            ("2033-01-01T00:00:00-12:00", "2033-01-01"),
        ] {
            let now: Timestamp = now.parse().unwrap();
            assert_eq!(over_everywhere(now).to_string(), expected, "{now}");
        }
    }
}
