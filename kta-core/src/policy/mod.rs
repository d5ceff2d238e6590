//! May I? The question ([`AccessRequest`]), who answers it ([`Policy`]), and the gate that lets
//! nobody through before the answer is durably on the log ([`Gate`], [`Permit`]).

mod actor;
mod budget;
mod class;
mod decision;
mod decisions;
mod directory;
mod gate;
mod glass;
mod permit;
mod purpose;
mod request;
mod scope;
mod sealer;
mod session;
mod sight;

pub use actor::{Actor, Role};
pub use budget::{Budget, Budgets};
pub use class::{Origin, PolicyClass, Succession};
pub use decision::{Decision, Obligation, Reason, Verdict};
pub use directory::Directory;
pub use gate::Gate;
pub use glass::{Glass, GlassFinding, GlassReview};
pub use permit::Permit;
pub use purpose::{LawfulBasis, Purpose, SpecialGround};
pub use request::{
    AccessContext, AccessRequest, Act, BreakGlass, Device, Emergency, Object, Station,
};
pub use scope::Scope;
pub use sealer::{ContentPlace, Form, Grain, Sealer};
pub use session::Session;
pub use sight::Sight;

use crate::id::Digest;
use crate::time::Timestamp;

/// Answers access requests.
///
/// # Behavior
/// - Pure: the same request gives the same decision, and nothing outside changes.
/// - Deny is a value with reasons, never an error. Whatever the engine cannot evaluate is a
///   deny.
/// - A wall beats every grant.
/// - The decision names the policy version that made it.
/// - Whatever says when a decision could change says it no later than it does.
pub trait Policy: core::fmt::Debug + Send + Sync {
    /// Decides one request.
    fn decide(&self, request: &AccessRequest<'_>) -> Decision;

    /// The version that decides now, which the decisions name; `None` for an engine whose
    /// decisions nobody may keep, each of which is asked for anew.
    fn version(&self) -> Option<Digest> {
        None
    }

    /// Decides one request, and says before which instant the same request (at whatever time) has
    /// the same answer by the same version; `None` where that cannot be said.
    fn decide_until(&self, request: &AccessRequest<'_>) -> (Decision, Option<Timestamp>) {
        (self.decide(request), None)
    }
}
