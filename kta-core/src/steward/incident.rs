//! Step 11: the incident, with its several times. A report is never refused.

use serde::{Deserialize, Serialize};

use crate::id::{ActorId, DeliveryId, IncidentId, MatterId};
use crate::refusal::{Code, Refusal};
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

/// A correction of a past time, kept beside what it corrects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amendment {
    /// Who corrected.
    pub by: ActorId,
    /// When.
    pub at: Timestamp,
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

    /// Sets the time of awareness; a later change of it is an amendment that shows what it was.
    ///
    /// # Errors
    /// [`Code::IncTimes`] when it lies before the detection.
    pub fn become_aware(&mut self, aware: Timestamp, by: ActorId, now: Timestamp) -> Result<(), Refusal> {
        if aware < self.detected {
            return Err(Refusal::new(Code::IncTimes).about("incident", self.id));
        }
        if self.aware.is_some() {
            self.amendments.push(Amendment { by, at: now, was: self.aware });
        }
        self.aware = Some(aware);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn seventy_two_hours_are_elapsed_time_over_a_clock_change() {
        let id = IncidentId::derived(&[b"x"]);
        let aware = at("2026-03-27T21:00:00Z"); // 22:00 in Berlin, before the clocks change
        let mut incident = Incident::open(id, IncidentKind::Reported, aware);
        incident.become_aware(aware, ActorId::derived(&[b"d"]), aware).unwrap();
        // 23:00 in Berlin after they have changed.
        assert_eq!(incident.authority_deadline(), Some(at("2026-03-30T21:00:00Z")));
    }

    #[test]
    fn a_past_time_changes_only_by_amendment() {
        let now = at("2026-03-27T21:00:00Z");
        let by = ActorId::derived(&[b"d"]);
        let mut incident = Incident::open(IncidentId::derived(&[b"x"]), IncidentKind::Reported, now);
        assert_eq!(incident.close(now).unwrap_err().code(), Code::IncClock);
        assert_eq!(
            incident.become_aware(at("2026-03-01T00:00:00Z"), by, now).unwrap_err().code(),
            Code::IncTimes
        );
        incident.become_aware(now, by, now).unwrap();
        incident.become_aware(at("2026-03-28T00:00:00Z"), by, now).unwrap();
        assert_eq!(incident.amendments[0].was, Some(now));
        incident.close(now).unwrap();
    }
}
