//! Decisions that were made a moment ago and are the same still.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::id::{ActorId, Digest, MatterId, SubjectId};
use crate::pii::Category;
use crate::policy::request::{Act, BreakGlass, Station};
use crate::policy::{Decision, Purpose, Role};
use crate::time::Timestamp;

/// All that a decision depends on besides the policy, the directory and the hour. Actor, matter,
/// restriction and lawful basis follow from these ids and the directory as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) actor: ActorId,
    pub(super) role: Role,
    pub(super) act: Act,
    pub(super) matter: Option<MatterId>,
    pub(super) subject: Option<SubjectId>,
    pub(super) category: Category,
    pub(super) purpose: Purpose,
    pub(super) held: bool,
    pub(super) other_than: Option<ActorId>,
    pub(super) station: Option<Station>,
}

impl Asked {
    /// Whether the question may be answered from memory at all: an emergency, an export and a
    /// destruction are decided each time.
    pub(super) const fn may_be_kept(&self, glass: Option<BreakGlass>) -> bool {
        glass.is_none() && !matches!(self.act, Act::Destroy | Act::Export)
    }
}

/// Answers of one policy over one state of the directory; a change of either forgets them all.
///
/// An answer is given again from the instant at which it was made until the first one at which
/// the clock alone could change it, as the policy that gave it says.
#[derive(Debug, Default)]
pub(super) struct Decisions(RwLock<Answers>);

#[derive(Debug, Default)]
struct Answers {
    of: Option<(u64, Digest)>,
    by: HashMap<Asked, (Timestamp, Timestamp, Arc<Decision>)>,
}

impl Decisions {
    /// The most answers that are kept: some megabytes.
    const MOST: usize = 16 * 1024;

    /// The answer of this policy over this revision of the directory, if it holds at `now`.
    pub(super) fn find(
        &self,
        of: (u64, Digest),
        asked: &Asked,
        now: Timestamp,
    ) -> Option<Arc<Decision>> {
        let answers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if answers.of != Some(of) {
            return None;
        }
        let (from, until, decision) = answers.by.get(asked)?;
        (*from <= now && now < *until).then(|| Arc::clone(decision))
    }

    /// Keeps an answer that holds from `now` until `until`. One of another policy than `of` names
    /// is none of its answers: the policy changed on the way.
    pub(super) fn keep(
        &self,
        of: (u64, Digest),
        asked: Asked,
        (now, until): (Timestamp, Timestamp),
        decision: &Arc<Decision>,
    ) {
        if decision.policy != of.1 {
            return;
        }
        let mut answers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if answers.of != Some(of) || answers.by.len() >= Self::MOST {
            answers.by.clear();
            answers.of = Some(of);
        }
        answers.by.insert(asked, (now, until, Arc::clone(decision)));
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::policy::{Emergency, Verdict};

    fn asked(act: Act) -> Asked {
        Asked {
            actor: ActorId::derived(&[b"somebody"]),
            role: Role::Attorney,
            act,
            matter: None,
            subject: None,
            category: Category::Identity,
            purpose: Purpose::Representation,
            held: false,
            other_than: None,
            station: None,
        }
    }

    #[test]
    fn an_answer_is_kept_for_its_time_its_policy_and_its_directory_only() {
        let (now, decisions) = (Timestamp::UNIX_EPOCH, Decisions::default());
        let (until, policy) = (now + TimeDelta::minutes(1), Digest::of(b"policy"));
        let answer = Arc::new(Decision {
            verdict: Verdict::Permit,
            reasons: Vec::new(),
            obligations: Vec::new(),
            policy,
        });
        let question = asked(Act::Open);
        let find = |of, at| decisions.find(of, &question, at).is_some();
        decisions.keep((1, Digest::of(b"other")), question, (now, until), &answer);
        assert!(!find((1, Digest::of(b"other")), now), "another policy's");
        decisions.keep((1, policy), question, (now, until), &answer);
        assert!(find((1, policy), now) && find((1, policy), until - TimeDelta::milliseconds(1)));
        assert!(!find((1, policy), until), "its time is over");
        assert!(
            !find((1, policy), now - TimeDelta::milliseconds(1)),
            "not yet"
        );
        assert!(!find((2, policy), now), "the directory changed");
        let other = Asked {
            subject: Some(SubjectId::derived(&[b"somebody else"])),
            ..question
        };
        assert!(decisions.find((1, policy), &other, now).is_none());
    }

    #[test]
    fn an_emergency_an_export_and_a_destruction_are_decided_each_time() {
        let glass = BreakGlass {
            until: Timestamp::UNIX_EPOCH,
            reason: Emergency::Danger,
        };
        assert!(asked(Act::Open).may_be_kept(None));
        assert!(!asked(Act::Open).may_be_kept(Some(glass)));
        assert!(!asked(Act::Export).may_be_kept(None));
        assert!(!asked(Act::Destroy).may_be_kept(None));
    }
}
