//! Step 11: the incident, with its several times. A report is never refused.

use serde::{Deserialize, Serialize};

use crate::audit::{Event, Label, Outcome};
use crate::error::Result;
use crate::id::{ActorId, DeliveryId, IncidentId, MatterId};
use crate::pipeline::House;
use crate::policy::{Act, Scope, Session};
use crate::ports::store::{ChangeSet, Expected, Register};
use crate::refusal::{Code, Refusal};
use crate::steward::shelf;
use crate::time::Timestamp;

/// An incident, a candidate for one, or a near miss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// The incident.
    pub id: IncidentId,
    /// What it looks like.
    pub kind: IncidentKind,
    /// When it happened, as far as known.
    pub occurred: Option<Timestamp>,
    /// When somebody or something noticed.
    pub detected: Timestamp,
    /// When the firm became aware in the sense of the breach clocks.
    pub aware: Option<Timestamp>,
    /// When it was closed.
    pub closed: Option<Timestamp>,
    /// The delivery it is about.
    pub delivery: Option<DeliveryId>,
    /// The matter it is about.
    pub matter: Option<MatterId>,
    /// Who reported it; absent for a rule or an anonymous report.
    pub reporter: Option<ActorId>,
    /// Changes of times after the fact, never in place.
    pub amendments: Vec<Amendment>,
}

/// What an incident looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IncidentKind {
    /// Content arrived over a channel that anybody could read.
    InsecureChannel,
    /// Data of a stranger arrived or was put into the wrong file.
    Misdirected,
    /// Somebody reported something.
    Reported,
    /// A message pretends to come from a client.
    Spoofing,
    /// Somebody asked for what they may not have.
    UnauthorisedRequest,
}

impl IncidentKind {
    /// The kind as the registers and the log write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InsecureChannel => "insecure_channel",
            Self::Misdirected => "misdirected",
            Self::Reported => "reported",
            Self::Spoofing => "spoofing",
            Self::UnauthorisedRequest => "unauthorised_request",
        }
    }
}

/// A correction of a past time, kept beside what it corrects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amendment {
    /// Who corrected.
    pub by: ActorId,
    /// When.
    pub at: Timestamp,
    /// Why, in a word of the firm's own.
    pub reason: Label,
    /// The time of awareness as it was.
    pub was: Option<Timestamp>,
}

impl Incident {
    /// Opens an incident noticed now.
    #[must_use]
    pub const fn open(id: IncidentId, kind: IncidentKind, now: Timestamp) -> Self {
        Self {
            id,
            kind,
            occurred: None,
            detected: now,
            aware: None,
            closed: None,
            delivery: None,
            matter: None,
            reporter: None,
            amendments: Vec::new(),
        }
    }

    /// The same about this delivery.
    #[must_use]
    pub const fn about_delivery(mut self, delivery: DeliveryId) -> Self {
        self.delivery = Some(delivery);
        self
    }

    /// The same about this matter.
    #[must_use]
    pub const fn about_matter(mut self, matter: MatterId) -> Self {
        self.matter = Some(matter);
        self
    }

    /// Sets the time of awareness, once.
    ///
    /// # Errors
    /// [`Code::IncTimes`] when it lies before the detection; [`Code::IncAmend`] when another time
    /// stands already: that one is [amended](Self::amend_awareness).
    pub fn become_aware(&mut self, aware: Timestamp) -> Result<(), Refusal> {
        if aware < self.detected {
            return Err(Refusal::new(Code::IncTimes).about("incident", self.id));
        }
        if self.aware.is_some_and(|known| known != aware) {
            return Err(Refusal::new(Code::IncAmend).about("incident", self.id));
        }
        self.aware = Some(aware);
        Ok(())
    }

    /// Corrects the time of awareness; who did, why, and what it was stay beside it.
    ///
    /// # Errors
    /// [`Code::IncTimes`] when it lies before the detection or after `now`; [`Code::IncAmend`]
    /// when there is no time yet that could be corrected.
    pub fn amend_awareness(
        &mut self,
        aware: Timestamp,
        reason: Label,
        by: ActorId,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if aware < self.detected || aware > now {
            return Err(Refusal::new(Code::IncTimes).about("incident", self.id));
        }
        if self.aware.is_none() {
            return Err(Refusal::new(Code::IncAmend).about("incident", self.id));
        }
        if self.aware != Some(aware) {
            self.amendments.push(Amendment {
                by,
                at: now,
                reason,
                was: self.aware.replace(aware),
            });
        }
        Ok(())
    }

    /// When the supervisory authority must have been told: 72 hours after awareness, counted
    /// as elapsed time (GDPR article 33(1)).
    #[must_use]
    pub fn authority_deadline(&self) -> Option<Timestamp> {
        self.aware.map(|aware| aware + chrono::TimeDelta::hours(72))
    }

    /// Closes the incident.
    ///
    /// # Errors
    /// [`Code::IncClock`] while it was never decided whether and when the firm was aware: the
    /// mandatory clocks cannot be answered without.
    pub fn close(&mut self, now: Timestamp) -> Result<(), Refusal> {
        if self.aware.is_none() {
            return Err(Refusal::new(Code::IncClock).about("incident", self.id));
        }
        self.closed = Some(now);
        Ok(())
    }
}

/// Takes a report in. It needs no permit and no listed reporter, names nobody when `reporter` is
/// absent, and takes a matter that nobody knows as it is: a report is never refused.
///
/// # Errors
/// Faults of the store.
pub async fn report(
    house: &House,
    reporter: Option<ActorId>,
    kind: IncidentKind,
    matter: Option<MatterId>,
) -> Result<Incident> {
    let now = house.gate.now();
    let id = IncidentId::random(&*house.doors.entropy);
    let incident = Incident {
        matter,
        reporter,
        ..Incident::open(id, kind, now)
    };
    let by = reporter.unwrap_or_else(anonymous);
    let event = Event::new(
        house.tenant(),
        by,
        Label::fixed("report"),
        Act::Report,
        Outcome::Done,
    )
    .in_matter(matter)
    .with("incident", id)
    .with("kind", kind.as_str());
    let change = ChangeSet::new(house.tenant(), now)
        .with(shelf::file(
            Register::Incidents,
            shelf::name(id),
            matter,
            &incident,
            Expected::Absent,
        )?)
        .event(event);
    house.doors.store.commit(change).await?;
    Ok(incident)
}

/// Notes that the firm is aware of an incident from now on: the breach clocks start. Where it
/// already was aware the earlier time stands, so that nobody moves a deadline by asking twice.
///
/// # Errors
/// [`Code::AclDeny`] for an incident that is not there; [`Code::IncTimes`] when it was detected
/// after now; refusals of the gate; a conflict when somebody changed it meanwhile; faults of the
/// store. Refusals are logged.
pub async fn aware(house: &House, session: &Session<'_>, id: IncidentId) -> Result<Incident> {
    amend(
        house,
        session,
        id,
        Act::Report,
        "aware",
        |incident, now| match incident.aware {
            Some(_) => Ok(()),
            None => incident.become_aware(now),
        },
    )
    .await
}

/// Corrects the time from which the firm was aware of an incident, and with it its deadlines; the
/// earlier time, who corrected it and why stay on the register.
///
/// # Errors
/// [`Code::IncAmend`] while no awareness was noted; [`Code::IncTimes`] for a time before the
/// detection or in the future; otherwise as [`aware`].
pub async fn correct(
    house: &House,
    session: &Session<'_>,
    id: IncidentId,
    aware: Timestamp,
    reason: Label,
) -> Result<Incident> {
    let by = session.actor();
    amend(house, session, id, Act::Report, "amend", |incident, now| {
        incident.amend_awareness(aware, reason, by, now)
    })
    .await
}

/// Closes an incident; a closed one stays as it was closed.
///
/// # Errors
/// [`Code::IncClock`] while the firm's awareness is undecided; otherwise as [`aware`].
pub async fn close(house: &House, session: &Session<'_>, id: IncidentId) -> Result<Incident> {
    amend(
        house,
        session,
        id,
        Act::Close,
        "close",
        |incident, now| match incident.closed {
            Some(_) => Ok(()),
            None => incident.close(now),
        },
    )
    .await
}

/// The actor under whom the log has anonymous reports; it is nobody.
#[must_use]
pub fn anonymous() -> ActorId {
    ActorId::derived(&[b"anonymous report"])
}

async fn amend(
    house: &House,
    session: &Session<'_>,
    id: IncidentId,
    act: Act,
    what: &'static str,
    amend: impl FnOnce(&mut Incident, Timestamp) -> Result<(), Refusal>,
) -> Result<Incident> {
    let scope = Scope::firm().about("incident", id);
    let permit = session.permit(act, scope.clone()).await?;
    let name = shelf::name(id);
    let found = shelf::find::<Incident>(house, Register::Incidents, &name).await?;
    let Some((mut incident, revision)) = found else {
        return Err(shelf::refuse(session, act, &scope, Code::AclDeny).await);
    };
    let (before, now) = (incident.clone(), house.gate.now());
    if let Err(refusal) = amend(&mut incident, now) {
        return Err(shelf::refuse(session, act, &scope, refusal).await);
    }
    if incident == before {
        return Ok(incident);
    }
    let event = permit
        .event(act, Outcome::Done)
        .in_matter(incident.matter)
        .with("incident", id)
        .with("change", what);
    let change = ChangeSet::new(house.tenant(), now)
        .with(shelf::file(
            Register::Incidents,
            name,
            incident.matter,
            &incident,
            revision,
        )?)
        .event(event);
    house.doors.store.commit(change).await?;
    Ok(incident)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Role;
    use crate::steward::testing::{actor, entries, founded, session};

    #[tokio::test]
    async fn a_report_is_never_refused_and_an_anonymous_one_names_nobody() {
        let (ports, house) = founded(71).await;
        let stranger = ActorId::derived(&[b"not on the list"]);
        let nowhere = MatterId::derived(&[b"no such matter"]);
        for kind in [
            IncidentKind::InsecureChannel,
            IncidentKind::Misdirected,
            IncidentKind::Reported,
            IncidentKind::Spoofing,
            IncidentKind::UnauthorisedRequest,
        ] {
            for reporter in [None, Some(stranger), Some(actor(Role::Sysadmin))] {
                for matter in [None, Some(nowhere)] {
                    let incident = report(&house, reporter, kind, matter).await.unwrap();
                    let kept = house
                        .filed(Register::Incidents, &shelf::name(incident.id))
                        .await;
                    assert_eq!(kept.unwrap(), Some(incident));
                    let entry = entries(&ports, &house).await.pop().unwrap();
                    assert_eq!(entry.event.actor, reporter.unwrap_or_else(anonymous));
                }
            }
            assert_eq!(
                serde_json::to_value(kind).unwrap(),
                serde_json::Value::from(kind.as_str())
            );
        }
    }

    #[tokio::test]
    async fn an_incident_closes_after_awareness_and_the_first_awareness_stands() {
        let (ports, house) = founded(72).await;
        let (officer, clerk) = (session(&house, Role::Dpo), session(&house, Role::Paralegal));
        let id = report(&house, None, IncidentKind::Reported, None)
            .await
            .unwrap()
            .id;
        let code = |error: crate::Error| error.refusal().unwrap().code();
        assert_eq!(
            code(close(&house, &officer, id).await.unwrap_err()),
            Code::IncClock
        );
        assert_eq!(
            entries(&ports, &house).await.last().unwrap().event.code,
            Some(Code::IncClock)
        );
        let noticed = aware(&house, &officer, id).await.unwrap();
        ports.clock.advance(chrono::TimeDelta::hours(5));
        assert_eq!(aware(&house, &officer, id).await.unwrap(), noticed);
        assert_eq!(
            code(close(&house, &clerk, id).await.unwrap_err()),
            Code::AclDeny
        );
        let closed = close(&house, &officer, id).await.unwrap();
        assert_eq!(closed.closed, Some(house.gate.now()));
        ports.clock.advance(chrono::TimeDelta::hours(1));
        assert_eq!(close(&house, &officer, id).await.unwrap(), closed);
        let unknown = IncidentId::derived(&[b"unknown"]);
        assert_eq!(
            code(aware(&house, &officer, unknown).await.unwrap_err()),
            Code::AclDeny
        );
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn seventy_two_hours_are_elapsed_time_over_a_clock_change() {
        let id = IncidentId::derived(&[b"x"]);
        let aware = at("2026-03-27T21:00:00Z"); // 22:00 in Berlin, before the clocks change
        let mut incident = Incident::open(id, IncidentKind::Reported, aware);
        incident.become_aware(aware).unwrap();
        // 23:00 in Berlin after they have changed.
        assert_eq!(
            incident.authority_deadline(),
            Some(at("2026-03-30T21:00:00Z"))
        );
    }

    #[test]
    fn a_past_time_changes_only_by_amendment() {
        let now = at("2026-03-27T21:00:00Z");
        let by = ActorId::derived(&[b"d"]);
        let mut incident =
            Incident::open(IncidentId::derived(&[b"x"]), IncidentKind::Reported, now);
        assert_eq!(incident.close(now).unwrap_err().code(), Code::IncClock);
        assert_eq!(
            incident
                .become_aware(at("2026-03-01T00:00:00Z"))
                .unwrap_err()
                .code(),
            Code::IncTimes
        );
        let (later, reason) = (at("2026-03-28T00:00:00Z"), Label::fixed("shift-log"));
        let amend =
            |incident: &mut Incident, to| incident.amend_awareness(to, reason.clone(), by, later);
        let early = amend(&mut incident, now).unwrap_err();
        assert_eq!(early.code(), Code::IncAmend);
        incident.become_aware(now).unwrap();
        incident.become_aware(now).unwrap();
        let in_place = incident.become_aware(later).unwrap_err();
        assert_eq!(in_place.code(), Code::IncAmend);
        let future = amend(&mut incident, at("2026-03-28T00:00:01Z")).unwrap_err();
        assert_eq!(future.code(), Code::IncTimes);
        amend(&mut incident, later).unwrap();
        amend(&mut incident, later).unwrap();
        let [amendment] = &incident.amendments[..] else {
            panic!("one correction is one amendment");
        };
        assert_eq!((amendment.was, incident.aware), (Some(now), Some(later)));
        incident.close(now).unwrap();
    }

    #[tokio::test]
    async fn a_corrected_awareness_moves_the_deadline_and_shows_what_it_was() {
        let (ports, house) = founded(73).await;
        let officer = session(&house, Role::Dpo);
        let reported = report(&house, None, IncidentKind::Reported, None);
        let id = reported.await.unwrap().id;
        let reason = || Label::fixed("shift-log");
        let earlier = house.gate.now();
        let early = correct(&house, &officer, id, earlier, reason()).await;
        let code = |error: crate::Error| error.refusal().unwrap().code();
        assert_eq!(code(early.unwrap_err()), Code::IncAmend);
        ports.clock.advance(chrono::TimeDelta::hours(5));
        let noticed = aware(&house, &officer, id).await.unwrap();
        let corrected = correct(&house, &officer, id, earlier, reason())
            .await
            .unwrap();
        assert_eq!(corrected.amendments[0].was, noticed.aware);
        let moved = noticed.authority_deadline().unwrap() - corrected.authority_deadline().unwrap();
        assert_eq!(moved, chrono::TimeDelta::hours(5));
        let kept = house.filed(Register::Incidents, &shelf::name(id)).await;
        assert_eq!(kept.unwrap(), Some(corrected));
        let event = entries(&ports, &house).await.pop().unwrap().event;
        assert_eq!(event.facts[&Label::fixed("change")].to_string(), "amend");
    }
}
