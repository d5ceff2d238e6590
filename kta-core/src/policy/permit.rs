//! One admission, which ports and the sealer ask.

use core::fmt;
use std::collections::BTreeSet;

use crate::audit::{Event, Outcome};
use crate::error::Result;
use crate::id::{ActorId, Digest, MatterId, PermitId, SubjectId, TenantId};
use crate::pii::Category;
use crate::policy::request::Act;
use crate::policy::session::Session;
use crate::policy::{LawfulBasis, Role, Scope};
use crate::ports::store::Durability;
use crate::refusal::{Code, Refusal};
use crate::time::Timestamp;

/// One admission: who may do which act over which scope, until when.
///
/// It is made by [`Session::permit`] only, cannot be copied, has no public field to widen, and
/// cannot outlive its session. Ports take it as their last argument and check it with
/// [`require`](Permit::require).
///
/// ```compile_fail,E0599
/// fn copy<'p>(permit: &'p kta_core::policy::Permit<'p>) -> kta_core::policy::Permit<'p> {
///     permit.clone()
/// }
/// ```
#[must_use = "a permit that nobody uses was logged for nothing"]
pub struct Permit<'s> {
    pub(super) id: PermitId,
    pub(super) session: &'s Session<'s>,
    pub(super) act: Act,
    pub(super) scope: Scope,
    pub(super) basis: Option<LawfulBasis>,
    pub(super) until: Timestamp,
    pub(super) durable: bool,
}

impl Permit<'_> {
    /// The permit's id, as the log has it.
    #[must_use]
    pub const fn id(&self) -> PermitId {
        self.id
    }

    /// The firm.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.session.gate.tenant
    }

    /// Who was admitted.
    #[must_use]
    pub const fn actor(&self) -> ActorId {
        self.session.actor
    }

    /// In which role.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.session.role
    }

    /// What for.
    #[must_use]
    pub const fn act(&self) -> Act {
        self.act
    }

    /// The matter of its scope.
    #[must_use]
    pub const fn matter(&self) -> Option<MatterId> {
        self.scope.matter
    }

    /// When it ends.
    #[must_use]
    pub const fn until(&self) -> Timestamp {
        self.until
    }

    /// Whether it covers one of `acts` on this person's data of this category, now.
    ///
    /// # Errors
    /// [`Code::AclDeny`] when it does not, or has ended; [`Code::DstHold`] when it is one to
    /// destroy and a hold was placed over the person or the matter since.
    pub fn require(
        &self,
        acts: &[Act],
        subject: SubjectId,
        category: Category,
    ) -> Result<(), Refusal> {
        let covers = acts.contains(&self.act)
            && self.scope.subjects.contains(&subject)
            && self.scope.categories.contains(&category)
            && self.session.gate.now() <= self.until;
        if !covers {
            return Err(Refusal::new(Code::AclDeny).about("permit", self.id));
        }
        if self.act == Act::Destroy {
            // A hold may have been placed since the permit was given out.
            self.unheld(subject, self.scope.reached(subject).as_ref())?;
        }
        Ok(())
    }

    /// Whether nothing of this person is held, in any matter and under any id; for what cannot be
    /// told by matter, and for acts that take something away without being a destruction.
    ///
    /// # Errors
    /// [`Code::DstHold`] when something is.
    pub fn require_unheld(&self, subject: SubjectId) -> Result<(), Refusal> {
        self.unheld(subject, None)
    }

    fn unheld(
        &self,
        subject: SubjectId,
        matters: Option<&BTreeSet<MatterId>>,
    ) -> Result<(), Refusal> {
        match self.session.gate.hold_over(subject, matters) {
            Some(hold) => Err(Refusal::new(Code::DstHold)
                .about("permit", self.id)
                .about("hold", hold)),
            None => Ok(()),
        }
    }

    /// Whether it is for one of `acts` and has not ended, where no person is concerned.
    ///
    /// # Errors
    /// [`Code::AclDeny`] when it is not.
    pub fn require_act(&self, acts: &[Act]) -> Result<(), Refusal> {
        let covers = acts.contains(&self.act) && self.session.gate.now() <= self.until;
        if covers {
            Ok(())
        } else {
            Err(Refusal::new(Code::AclDeny).about("permit", self.id))
        }
    }

    /// Whether the class that governs some data admits the purpose of the session; a no is logged,
    /// with what `name` says of the data.
    ///
    /// # Errors
    /// [`Code::PrcPurpose`] when the class does not have the purpose, is not known, or there is
    /// none; [`Code::PrcRestricted`] when the person objected to it; faults of the store.
    pub(crate) async fn require_purpose(
        &self,
        class: Option<Digest>,
        name: impl FnOnce(Event) -> Event,
    ) -> Result<()> {
        let session = self.session;
        if session.purpose.is_legal() {
            return Ok(());
        }
        let known = match class {
            Some(class) => session.gate.class(class).await?,
            None => None,
        };
        let verdict = known.map_or(Err(Code::PrcPurpose), |class| class.admits(session.purpose));
        let Err(code) = verdict else { return Ok(()) };
        let mut event = name(self.event(self.act, Outcome::Refused).refused(code));
        let mut refusal = Refusal::new(code);
        if let Some(class) = class {
            event = event.with("class", class);
            refusal = refusal.about("class", class);
        }
        // As durable as an opening would be: nothing was seen.
        self.log_opening(vec![event]).await?;
        Err(refusal.into())
    }

    /// An event under this permit, for the log.
    #[must_use]
    pub fn event(&self, act: Act, outcome: Outcome) -> Event {
        let mut event = self
            .session
            .event(act, outcome)
            .in_matter(self.scope.matter);
        event.permit = Some(self.id);
        event.basis = self.basis;
        event
    }

    /// Logs that a value was opened under this permit: on disk before the value is seen where
    /// the policy or the category wants that, within the store's bounded lag otherwise.
    ///
    /// # Errors
    /// [`Code::AudDown`] when the log cannot be written.
    pub(crate) async fn log_opening(&self, events: Vec<Event>) -> Result<()> {
        let durability = if self.durable {
            Durability::Durable
        } else {
            Durability::Bounded
        };
        self.session.gate.log(events, durability).await
    }

    /// Logs the opening of a declared set: always on disk before the first value is seen.
    ///
    /// # Errors
    /// [`Code::AudDown`] when the log cannot be written.
    pub(crate) async fn log_opening_of_set(&self, event: Event) -> Result<()> {
        let gate = self.session.gate;
        gate.log(vec![event], Durability::Durable).await
    }

    /// The present instant, as the gate sees it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.session.gate.now()
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("id", &self.id)
            .field("act", &self.act)
            .finish_non_exhaustive()
    }
}
