//! May I? The question ([`AccessRequest`]), who answers it ([`Policy`]), and the gate that lets
//! nobody through before the answer is durably on the log ([`Gate`], [`Permit`]).

mod actor;
mod budget;
mod class;
mod decision;
mod directory;
mod gate;
mod purpose;
mod request;
mod sealer;
mod sight;

pub use actor::{Actor, Role};
pub use budget::{Budget, Budgets};
pub use class::{Origin, PolicyClass, Succession};
pub use decision::{Decision, Obligation, Reason, Verdict};
pub use directory::Directory;
pub use gate::{Gate, Permit, Scope, Session};
pub use purpose::{LawfulBasis, Purpose, SpecialGround};
pub use request::{
    AccessContext, AccessRequest, Act, BreakGlass, Device, Emergency, Object, Station,
};
pub use sealer::{ContentPlace, Form, Sealer};
pub use sight::Sight;

/// Answers access requests.
///
/// # Behavior
/// - Pure: the same request gives the same decision, and nothing outside changes.
/// - Deny is a value with reasons, never an error. Whatever the engine cannot evaluate is a
///   deny.
/// - A wall beats every grant.
/// - The decision names the policy version that made it.
pub trait Policy: core::fmt::Debug + Send + Sync {
    /// Decides one request.
    fn decide(&self, request: &AccessRequest<'_>) -> Decision;
}
