//! A broken glass: what stays on the register until somebody else has looked at it.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::audit::Label;
use crate::id::{ActorId, MatterId, PermitId, SubjectId};
use crate::policy::{Act, Emergency, Role};
use crate::time::Timestamp;

/// An emergency access that was admitted, and the review that it owes. It is on the register in
/// the same change set as its entry in the log: there is no admission without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Glass {
    /// The permit that was given out.
    pub permit: PermitId,
    /// Who broke the glass.
    pub actor: ActorId,
    /// In which role.
    pub role: Role,
    /// Why.
    pub emergency: Emergency,
    /// For which act.
    pub act: Act,
    /// In which matter.
    pub matter: Option<MatterId>,
    /// Over whose data, where it was one person's.
    pub subject: Option<SubjectId>,
    /// How many persons the scope had.
    pub people: u64,
    /// When.
    #[serde(with = "crate::text::instant")]
    pub at: Timestamp,
    /// When the access ends.
    #[serde(with = "crate::text::instant")]
    pub until: Timestamp,
    /// The review, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<GlassReview>,
}

/// What somebody other than who broke the glass found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlassReview {
    /// Who reviewed.
    pub by: ActorId,
    /// In which role.
    pub role: Role,
    /// When.
    #[serde(with = "crate::text::instant")]
    pub at: Timestamp,
    /// What was found.
    pub finding: GlassFinding,
}

/// Whether there was an emergency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GlassFinding {
    /// There was, and the access kept to it.
    Justified,
    /// There was none, or the access went further: an incident is to be reported.
    Unjustified,
}

impl GlassFinding {
    /// The name as the audit log writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Justified => "justified",
            Self::Unjustified => "unjustified",
        }
    }
}

impl Glass {
    /// Within what time a review is owed: three days, a weekend among them.
    pub const REVIEW_WITHIN: TimeDelta = TimeDelta::days(3);

    /// Whether the review is owed and should have been there by `now`.
    #[must_use]
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.review.is_none() && now - self.at > Self::REVIEW_WITHIN
    }

    /// How the names of these sheets begin.
    pub(crate) const SHELF: &'static str = "glass/";

    /// The name of its sheet: in the order of time, and findable by the permit.
    pub(crate) fn name(&self) -> Label {
        let name = format!(
            "{}{}/{}",
            Self::SHELF,
            crate::time::text(self.at),
            self.permit
        );
        // An instant and an id are label characters, and short.
        Label::new(name).unwrap_or(const { Label::fixed("-") })
    }
}
