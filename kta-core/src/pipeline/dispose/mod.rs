//! Steps 13 and 14, exit and destruction: a journalled saga over every known copy.
//!
//! ```text
//! propose ─► two approvals ─► execute: holds and pack again
//!   (frozen set)                │  erase each copy in its system ── journal
//!                               │  destroy the persons' keys       ── journal
//!                               │    (of those without another matter)
//!                               │  probe each place afresh         ── journal
//!                               ▼
//!                   certificate: interim while a window of a provider or of the keys'
//!                                custodian runs, else final
//! ```
//!
//! Killed anywhere and called again, it goes on where the journal ends. A certificate is built
//! from journalled observations only, and filed in the same commit as its audit entry: once.

mod approval;
mod certificate;
pub(in crate::pipeline) mod elsewhere;
mod journal;
mod saga;

use serde::{Deserialize, Serialize};

use self::journal::Journal;
use crate::audit::Label;
use crate::error::Result;
use crate::id::MatterId;
use crate::pii::{Category, Matter, MatterState, Placement, PlacementState};
use crate::pipeline::house::House;
use crate::pipeline::receipt::Receipt;
use crate::policy::Scope;
use crate::ports::store::{PlacementQuery, Register};
use crate::refusal::{Code, Refusal};
use crate::retention::{Certificate, CertificateState};
use crate::time::Timestamp;

pub use approval::{Approved, ApprovedOnce, Proposed, approve, approve_second, begun, propose};
pub use certificate::STANDARD;
pub use saga::{erase_again, execute, finalise};

/// Receipt of the last stage: certificates of destruction, one for each person.
#[derive(Debug)]
pub struct Disposed {
    matter: MatterId,
    certificates: Vec<Issued>,
}

impl Receipt for Disposed {
    const STAGE: Label = Label::fixed("disposed");
}

impl Disposed {
    /// The matter.
    #[must_use]
    pub const fn matter(&self) -> MatterId {
        self.matter
    }

    /// The certificates.
    #[must_use]
    pub fn certificates(&self) -> &[Issued] {
        &self.certificates
    }

    /// Until when the last window of a provider or a custodian runs, if one runs.
    #[must_use]
    pub fn interim_until(&self) -> Option<Timestamp> {
        self.certificates
            .iter()
            .filter_map(|issued| match issued.certificate.state {
                CertificateState::Interim { until } => Some(until),
                CertificateState::Final => None,
            })
            .max()
    }
}

/// A certificate and its signed form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// What it says.
    pub certificate: Certificate,
    /// The C2SP signed note over its text.
    pub note: String,
}

/// The certificates of a matter that was destroyed in an earlier run.
///
/// # Errors
/// Faults of the store.
pub async fn disposed(house: &House, matter: MatterId) -> Result<Option<Disposed>> {
    let issued = house
        .filed_in::<Issued>(Register::Certificates, matter)
        .await?;
    Ok((!issued.is_empty()).then(|| Disposed {
        matter,
        certificates: certificate::latest(issued),
    }))
}

/// Refuses what would come into a matter whose destruction has begun or is done. Who makes a copy
/// asks before announcing it, so that nothing is, and again after: a destruction counts what is
/// announced when the matter takes no more.
///
/// # Errors
/// [`Code::PrcTransition`]; faults of the store.
pub(in crate::pipeline) async fn require_untouched(house: &House, matter: MatterId) -> Result<()> {
    let destroyed = house.gate.directory(|directory| {
        let known = directory.matters.get(&matter);
        known.is_some_and(|known| known.state == MatterState::Destroyed)
    });
    if destroyed || Journal::is_closed(house, matter).await? {
        return Err(Refusal::new(Code::PrcTransition)
            .about("matter", matter)
            .about("destruction", "begun")
            .into());
    }
    Ok(())
}

/// Every copy of the matter that is, or may be, there.
async fn frozen(house: &House, matter: MatterId) -> Result<Vec<Placement>> {
    let placements = house
        .doors
        .store
        .placements(&PlacementQuery::in_matter(house.tenant(), matter))
        .await?;
    let gone = |state| {
        matches!(
            state,
            PlacementState::Absent { .. } | PlacementState::Withdrawn { .. }
        )
    };
    Ok(placements
        .into_iter()
        .filter(|placement| !gone(placement.state))
        .collect())
}

fn destruction_scope(matter: &Matter) -> Scope {
    Scope::over(matter.parties.keys().copied(), [Category::Identity]).in_matter(matter.id)
}
