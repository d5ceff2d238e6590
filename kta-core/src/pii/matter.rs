//! The matter: the firm's unit of work, its parties, its team and its state.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::audit::Label;
use crate::error::Result;
use crate::id::{ActorId, MatterId, SubjectId, TenantId};
use crate::pii::subject::Party;
use crate::policy::{LawfulBasis, Purpose, Role, SpecialGround};
use crate::refusal::{Code, Refusal};

/// A matter. Ids, dates and codes only; names stand in sealed records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matter {
    /// The firm.
    pub tenant: TenantId,
    /// The matter.
    pub id: MatterId,
    /// The kind of case, for example `us.h1b`; names its completeness profile.
    pub kind: Label,
    /// Where the matter stands.
    pub state: MatterState,
    /// Who works on it, and as what.
    pub team: BTreeMap<ActorId, Role>,
    /// Whose data it holds, and on which side each stands.
    pub parties: BTreeMap<SubjectId, Party>,
    /// Who is behind an ethical wall from it. Beats every grant.
    #[serde(default)]
    pub walled: BTreeSet<ActorId>,
    /// For which purposes its data may be used, each with its lawful basis.
    pub purposes: BTreeMap<Purpose, LawfulBasis>,
    /// The recorded ground for special-category data, if there is one.
    #[serde(default)]
    pub ground: Option<SpecialGround>,
    /// Dates that start retention periods, by trigger name (`matter_closed`, `hire_date`, …).
    #[serde(default)]
    pub triggers: BTreeMap<Label, NaiveDate>,
    /// Deadlines, appeals or fee disputes that forbid closing and destruction.
    #[serde(default)]
    pub open_points: BTreeSet<Label>,
    /// Originals of the client that are still in the firm's custody.
    #[serde(default)]
    pub originals_held: u32,
}

impl Matter {
    /// Moves the matter to `next`.
    ///
    /// # Errors
    /// [`Code::PrcTransition`] when the table has no such step.
    pub fn advance(&mut self, next: MatterState) -> Result<()> {
        if self.state.may_become(next) {
            self.state = next;
            Ok(())
        } else {
            Err(Refusal::new(Code::PrcTransition)
                .about("matter", self.id)
                .about("from", self.state.as_str())
                .about("to", next.as_str())
                .into())
        }
    }

    /// Puts `actor` behind a wall from this matter.
    ///
    /// # Errors
    /// [`Code::AclOrphan`] when the matter would be left without an attorney.
    pub fn wall_off(&mut self, actor: ActorId) -> Result<()> {
        let lead_remains = self.team.iter().any(|(member, role)| {
            *role == Role::Attorney && *member != actor && !self.walled.contains(member)
        });
        if !lead_remains {
            return Err(Refusal::new(Code::AclOrphan)
                .about("matter", self.id)
                .into());
        }
        self.walled.insert(actor);
        Ok(())
    }
}

/// Where a matter stands; the steps between are one closed table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatterState {
    /// Data is coming in.
    Intake,
    /// Completeness and accuracy are being checked.
    Review,
    /// Forms are being prepared.
    Drafting,
    /// The client is signing.
    ClientSign,
    /// The package went to the agency.
    Filed,
    /// The agency asked for more evidence.
    Rfe,
    /// The agency decided.
    Decided,
    /// The engagement ended; retention periods run.
    Closed,
    /// Kept sealed.
    Archived,
    /// Provably gone.
    Destroyed,
}

impl MatterState {
    /// Every state, in the order of a matter's life.
    pub const ALL: [Self; 10] = [
        Self::Intake,
        Self::Review,
        Self::Drafting,
        Self::ClientSign,
        Self::Filed,
        Self::Rfe,
        Self::Decided,
        Self::Closed,
        Self::Archived,
        Self::Destroyed,
    ];

    /// The name as procedures write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Review => "review",
            Self::Drafting => "drafting",
            Self::ClientSign => "client_sign",
            Self::Filed => "filed",
            Self::Rfe => "rfe",
            Self::Decided => "decided",
            Self::Closed => "closed",
            Self::Archived => "archived",
            Self::Destroyed => "destroyed",
        }
    }

    /// Whether the table has the step from here to `next`. A matter may be closed early from
    /// any open state (the client withdraws); nothing leaves `Destroyed`.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        use MatterState::{
            Archived, ClientSign, Closed, Decided, Destroyed, Drafting, Filed, Intake, Review, Rfe,
        };
        matches!(
            (self, next),
            (Intake, Review)
                | (Review, Intake | Drafting)
                | (Drafting, Review | ClientSign)
                | (ClientSign, Drafting | Filed)
                | (Filed, Rfe | Decided)
                | (Rfe, Filed | Decided)
                | (Decided, Drafting)
                | (
                    Intake | Review | Drafting | ClientSign | Filed | Rfe | Decided,
                    Closed
                )
                | (Closed, Archived | Destroyed)
                | (Archived, Destroyed)
        )
    }
}
