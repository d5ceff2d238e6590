//! What somebody may know of: lists, counts, searches, exports and the view of the log are made
//! of nothing else.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use crate::audit::{Entry, Event, Safe};
use crate::id::{ActorId, MatterId, SubjectId};
use crate::policy::{Directory, Session};
use crate::refusal::Code;
use crate::time::Timestamp;

/// What one actor must not know of: the matters behind a wall, and the people in them.
///
/// A permit says no to what is named. Whoever makes a list names nothing, so the list would tell:
/// by a row, by a count, by a gap. What goes through a sight first has no such row, its length is
/// the count, and what is behind a wall is told from what does not exist by nothing.
///
/// It is taken from the directory as it is now; take one for each list.
///
/// ```
/// # use kta_core::conformance::Desk;
/// # use kta_core::policy::Role;
/// let desk = Desk::new("sight");
/// let session = desk.session(Role::Paralegal);
/// let sight = session.sight();
/// let rows = [desk.matter(), desk.other_matter()];
/// assert_eq!(sight.only(rows, |row| (Some(*row), None)).len(), 2);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Sight {
    actor: Option<ActorId>,
    matters: BTreeSet<MatterId>,
    people: BTreeSet<SubjectId>,
    /// The same ids as the log writes them among its facts.
    words: BTreeSet<String>,
}

impl Session<'_> {
    /// What this session's actor may know of, whatever the role: a wall stands before the person.
    #[must_use]
    pub fn sight(&self) -> Arc<Sight> {
        self.gate().sight(self.actor())
    }
}

impl Sight {
    fn of(directory: &Directory, actor: ActorId) -> Self {
        let walled = directory
            .matters
            .values()
            .filter(|matter| matter.walled.contains(&actor));
        let mut sight = Self {
            actor: Some(actor),
            ..Self::default()
        };
        for matter in walled {
            sight.words.insert(matter.id.to_string());
            sight.matters.insert(matter.id);
            for person in matter.parties.keys().flat_map(|id| directory.known_as(*id)) {
                sight.words.insert(person.to_string());
                sight.people.insert(person);
            }
        }
        sight
    }

    /// The matters that are behind walls.
    pub(super) fn walled(&self) -> impl Iterator<Item = MatterId> + use<'_> {
        self.matters.iter().copied()
    }

    /// Whether the actor may know of what stands in this matter and is about this person. A
    /// person who also has a matter on this side of the wall is seen in that matter only.
    #[must_use]
    pub fn admits(&self, matter: Option<MatterId>, subject: Option<SubjectId>) -> bool {
        match (matter, subject) {
            (Some(matter), _) => !self.matters.contains(&matter),
            (None, Some(subject)) => !self.people.contains(&subject),
            (None, None) => true,
        }
    }

    /// What of these the actor may know of, by the matter and the person that each is about. How
    /// many there are is its length.
    pub fn only<T>(
        &self,
        all: impl IntoIterator<Item = T>,
        about: impl Fn(&T) -> (Option<MatterId>, Option<SubjectId>),
    ) -> Vec<T> {
        let seen = |one: &T| {
            let (matter, subject) = about(one);
            self.admits(matter, subject)
        };
        all.into_iter().filter(seen).collect()
    }

    /// The view of the log: what happened and when, without the places in the log, whose gaps
    /// would tell. What somebody did is no secret from that person and is seen, a refusal as one
    /// about what does not exist.
    pub fn log(&self, entries: impl IntoIterator<Item = Entry>) -> Vec<(Timestamp, Event)> {
        let entries = entries.into_iter();
        let seen = entries.filter_map(|entry| Some((entry.at, self.event(entry.event)?)));
        seen.collect()
    }

    /// The event as the actor may see it, if at all.
    fn event(&self, mut event: Event) -> Option<Event> {
        let own = self.actor == Some(event.actor);
        if own && event.code == Some(Code::AclDeny) {
            event.policy = None;
            event.basis = None;
            event.reasons.clear();
            return Some(event);
        }
        let named = |fact: &Safe| match fact {
            Safe::Word(word) => self.words.contains(word.as_str()),
            Safe::Count(_) => false,
        };
        let hidden = !self.admits(event.matter, event.subject) || event.facts.values().any(named);
        (own || !hidden).then_some(event)
    }
}

/// The sights of one revision of the directory: to look through every matter for walls at each
/// request would take the longer the more matters there are.
#[derive(Debug, Default)]
pub(super) struct Sights(RwLock<(u64, HashMap<ActorId, Arc<Sight>>)>);

impl Sights {
    /// How many are kept: more people than a firm has at work between two changes of its directory.
    const MOST: usize = 4096;

    /// What this actor must not know of by this directory.
    pub(super) fn of(&self, directory: &Directory, revision: u64, actor: ActorId) -> Arc<Sight> {
        {
            let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if kept.0 == revision
                && let Some(sight) = kept.1.get(&actor)
            {
                return Arc::clone(sight);
            }
        }
        let sight = Arc::new(Sight::of(directory, actor));
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if kept.0 != revision || kept.1.len() >= Self::MOST {
            kept.0 = revision;
            kept.1.clear();
        }
        kept.1.insert(actor, Arc::clone(&sight));
        sight
    }
}

#[cfg(test)]
mod tests {
    use core::task::{Context, Poll, Waker};

    use super::*;
    use crate::audit::Outcome;
    use crate::conformance::Desk;
    use crate::pii::Category;
    use crate::policy::{Act, Purpose, Role, Scope};
    use crate::refusal::Refusal;

    /// The stores here answer at once.
    fn now<F: Future>(future: F) -> F::Output {
        match core::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(out) => out,
            Poll::Pending => panic!("a memory store never waits"),
        }
    }

    fn walled(desk: &Desk, role: Role) -> MatterId {
        let (matter, actor) = (desk.matter(), desk.actor(role));
        desk.gate().amend_directory(|directory| {
            let matter = directory.matters.get_mut(&matter).unwrap();
            matter.walled.insert(actor);
        });
        matter
    }

    #[test]
    fn a_list_and_its_count_are_as_if_the_walled_matter_did_not_exist() {
        let desk = Desk::new("list");
        let gone = walled(&desk, Role::Paralegal);
        let rows = [
            (Some(gone), Some(desk.beneficiary())),
            (None, Some(desk.beneficiary())),
            (Some(desk.other_matter()), Some(desk.stranger())),
            (None, Some(desk.stranger())),
            (None, None),
        ];
        let without = &rows[2..];
        for (role, seen) in [(Role::Paralegal, without), (Role::Attorney, &rows)] {
            let session = desk.session(role);
            assert_eq!(session.sight().only(rows, |row| *row), seen, "{role:?}");
        }
        // Somebody who is also a party on this side is seen on this side.
        let both = desk.other_matter();
        let session = desk.session(Role::Paralegal);
        assert!(session.sight().admits(Some(both), Some(desk.beneficiary())));
    }

    #[test]
    fn the_view_of_the_log_has_neither_the_walled_matter_nor_a_gap_where_it_was() {
        let desk = Desk::new("log");
        let (matter, other) = (desk.matter(), desk.other_matter());
        let attorney = desk.session(Role::Attorney);
        let event = || attorney.event(Act::Open, Outcome::Admitted);
        let client = desk.beneficiary();
        let events = [
            event().in_matter(matter).of_subject(client),
            event().with("matter", matter),
            event().with("matter", other),
            event().with("subject", client),
            event().of_subject(client),
        ];
        walled(&desk, Role::Auditor);
        let entries = || {
            let numbered = events.iter().cloned().zip(0..);
            numbered.map(|(event, seq)| event.into_entry(seq, desk.now()))
        };
        let auditor = desk.session(Role::Auditor);
        let view = auditor.sight().log(entries());
        assert_eq!((entries().count(), view.len()), (5, 1));
        let text = serde_json::to_string(&view.iter().map(|(_, event)| event).collect::<Vec<_>>())
            .unwrap();
        assert!(text.contains(&other.to_string()));
        assert!(
            !text.contains(&matter.to_string()) && !text.contains(&desk.beneficiary().to_string())
        );
        let ciso = desk.session(Role::Ciso);
        assert_eq!(ciso.sight().log(entries()).len(), 5);
    }

    #[test]
    fn a_wall_is_not_walked_around_by_leaving_the_matter_unnamed() {
        let desk = Desk::new("around");
        let session = desk.session_for(Role::Dpo, Purpose::Compliance);
        let scope = |subject| Scope::of(subject, Category::Identity);
        let ask = |act, subject| {
            let outcome = now(session.permit(act, scope(subject)));
            outcome
                .err()
                .map(|error| error.refusal().map(Refusal::code))
        };
        // A rights request: the officer opens and exports outside any matter.
        for act in [Act::Open, Act::Export] {
            assert_eq!(ask(act, desk.beneficiary()), None);
        }
        walled(&desk, Role::Dpo);
        for act in [Act::Open, Act::Export, Act::Search] {
            assert_eq!(
                ask(act, desk.beneficiary()),
                Some(Some(Code::AclDeny)),
                "{act}"
            );
        }
        assert_eq!(ask(Act::Open, desk.stranger()), None);
    }

    #[test]
    fn a_wall_is_not_walked_around_by_naming_another_matter() {
        let desk = Desk::new("another");
        let session = desk.session(Role::Intake);
        let ask = || {
            let scope = Scope::of(desk.beneficiary(), Category::Identity);
            let outcome = now(session.permit(Act::Search, scope.in_matter(desk.other_matter())));
            outcome
                .err()
                .map(|error| error.refusal().map(Refusal::code))
        };
        assert_eq!(ask(), None);
        walled(&desk, Role::Intake);
        assert_eq!(ask(), Some(Some(Code::AclDeny)));
    }

    #[test]
    fn an_explanation_tells_a_walled_person_what_it_tells_of_a_matter_that_is_not_there() {
        let desk = Desk::new("explain");
        let matter = walled(&desk, Role::Paralegal);
        let session = desk.session(Role::Paralegal);
        let explain = |matter| {
            let scope = Scope::of(desk.beneficiary(), Category::Case).in_matter(matter);
            now(session.explain(Act::Open, &scope)).unwrap()
        };
        let nowhere = MatterId::derived(&[b"no such matter"]);
        assert_eq!(explain(matter), explain(nowhere));
        let said = |matter| {
            let scope = Scope::of(desk.beneficiary(), Category::Case).in_matter(matter);
            now(session.permit(Act::Open, scope))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(said(matter), said(nowhere));
    }
}
