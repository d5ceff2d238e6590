//! The policy in force, and its replacement while the house is at work.

use std::sync::{Arc, PoisonError, RwLock};

use kta_core::audit::Outcome;
use kta_core::id::Digest;
use kta_core::policy::{AccessRequest, Act, Decision, Policy, Scope, Session};
use kta_core::ports::store::Durability;
use kta_core::time::Timestamp;
use kta_core::{Code, Refusal, Result};

use super::CedarPolicy;

/// A change that was analysed and proved, has no flaw and that the required two people signed.
#[derive(Debug)]
pub struct SignedChange {
    before: Digest,
    after: CedarPolicy,
}

impl SignedChange {
    pub(super) const fn new(before: Digest, after: CedarPolicy) -> Self {
        Self { before, after }
    }

    /// The policy as the change makes it.
    #[must_use]
    pub const fn policy(&self) -> &CedarPolicy {
        &self.after
    }
}

/// The policy in force, which a signed change replaces while the house is at work.
#[derive(Debug)]
pub struct InForce(RwLock<Arc<CedarPolicy>>);

impl InForce {
    /// This policy in force.
    #[must_use]
    pub fn new(policy: CedarPolicy) -> Self {
        Self(RwLock::new(Arc::new(policy)))
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<CedarPolicy> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a signed change in force: every decision from now on is made by it and cites it. That
    /// it is about to be is durably on the log first, with the digests before and after, which are
    /// given back.
    ///
    /// # Errors
    /// [`Code::PolSign`], on the log too, when another policy is in force than the one the change
    /// was analysed against, or the session's gate decides by another policy than this; refusals
    /// of the gate; [`Code::AudDown`] when the log cannot be written, and nothing is in force.
    pub async fn activate(
        &self,
        session: &Session<'_>,
        change: SignedChange,
    ) -> Result<(Digest, Digest)> {
        let (before, after) = (change.before, change.after.digest());
        let scope = Scope::firm()
            .about("change", "policy")
            .about("before", before)
            .about("after", after);
        let permit = session.permit(Act::Manage, scope.clone()).await?;
        let ours = session.gate().policy_version();
        let outcome = if ours == Some(self.policy().digest()) {
            let event = permit
                .event(Act::Manage, Outcome::Done)
                .with("change", "policy")
                .with("before", before)
                .with("after", after);
            // Two at once: the one that comes second finds another policy, and that is logged.
            if self.policy().digest() == before {
                session.gate().log(vec![event], Durability::Durable).await?;
            }
            self.replace(change)
        } else {
            Err(Refusal::new(Code::PolSign).about("flaw", "not-the-policy-of-this-gate"))
        };
        if let Err(refusal) = outcome {
            session.log_refusal(Act::Manage, &scope, &refusal).await?;
            return Err(refusal.into());
        }
        Ok((before, after))
    }

    fn replace(&self, change: SignedChange) -> core::result::Result<(), Refusal> {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if current.digest() != change.before {
            return Err(
                Refusal::new(Code::PolSign).about("flaw", "analysed-against-another-policy")
            );
        }
        *current = Arc::new(change.after);
        Ok(())
    }
}

impl Policy for InForce {
    fn decide(&self, request: &AccessRequest<'_>) -> Decision {
        self.policy().decide(request)
    }

    fn version(&self) -> Option<Digest> {
        Some(self.policy().digest())
    }

    fn decide_until(&self, request: &AccessRequest<'_>) -> (Decision, Option<Timestamp>) {
        self.policy().decide_until(request)
    }
}
