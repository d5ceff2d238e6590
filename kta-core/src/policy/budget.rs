//! How many people's data somebody may be let to within a window: what takes a little every day
//! is stopped like what takes all at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;

use crate::audit::{Entry, Event, Label, Outcome, Safe};
use crate::id::{ActorId, SubjectId};
use crate::policy::Role;
use crate::policy::request::Act;
use crate::time::Timestamp;

/// At most this many different people within this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How far back is counted.
    pub window: TimeDelta,
    /// How many people. From four fifths of them on each further one is an alarm on the log.
    pub people: usize,
}

/// The budgets of the firm's roles, and what was spent of them.
///
/// The same person again costs nothing, so that working a matter costs its people once a window.
/// What one process remembers is not what another does: a house that
/// [wakes](crate::pipeline::manage::wake) [recalls](Self::recall) from the log what was spent; one
/// that has several workers at the same time lets each spend the whole of it.
#[derive(Debug, Default)]
pub struct Budgets {
    rows: BTreeMap<Role, Vec<Budget>>,
    /// By actor and role, when each person was last let to.
    spent: Mutex<HashMap<(ActorId, Role), HashMap<SubjectId, Timestamp>>>,
}

/// What spending came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spent {
    /// There is enough left.
    Enough,
    /// Little is left of this budget.
    Near(Budget),
    /// This budget does not have it; nothing was spent.
    Over(Budget),
}

impl Budgets {
    /// The acts by which people's data is seen or leaves the house.
    pub const SPENDING: &'static [Act] = &[
        Act::Export,
        Act::Open,
        Act::Process,
        Act::Share,
        Act::Transmit,
    ];

    /// These budgets, of which nothing was spent. A role without one is not limited.
    #[must_use]
    pub fn new(rows: impl IntoIterator<Item = (Role, Budget)>) -> Self {
        let mut budgets = Self::default();
        for (role, budget) in rows {
            budgets.rows.entry(role).or_default().push(budget);
        }
        budgets
    }

    /// The budgets of a house that was given no others: what a day's and a month's work in a busy
    /// firm comes to, for the people who open data. Services have none; what they may touch is a
    /// receipt's matter.
    #[must_use]
    pub fn usual() -> Self {
        let rows = [
            (Role::Attorney, 300, 1_500),
            (Role::Dpo, 300, 1_500),
            (Role::Intake, 300, 1_500),
            (Role::Paralegal, 150, 750),
            (Role::Petitioner, 50, 200),
            (Role::Subject, 20, 20),
        ];
        let rows = rows.into_iter().flat_map(|(role, day, month)| {
            [(1, day), (30, month)].map(|(days, people)| {
                let window = TimeDelta::days(days);
                (role, Budget { window, people })
            })
        });
        Self::new(rows)
    }

    /// No budget for anybody: for measuring, and for houses that count elsewhere.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// How far back the longest window reaches.
    pub(crate) fn reach(&self) -> TimeDelta {
        let all = self.rows.values().flatten().map(|budget| budget.window);
        all.max().unwrap_or(TimeDelta::zero())
    }

    /// Spends again what these entries of the log say was spent. A bulk act counts as many people
    /// as it declared, each of them new.
    pub fn recall(&self, entries: impl IntoIterator<Item = Entry>) {
        for Entry { at, event, .. } in entries {
            let (Some(role), Outcome::Admitted) = (event.role, event.outcome) else {
                continue;
            };
            if Self::SPENDING.contains(&event.act) && self.rows.contains_key(&role) {
                self.put(event.actor, role, declared(&event), at);
            }
        }
    }

    /// Spends for these people, unless a budget does not have it.
    pub(super) fn spend(
        &self,
        actor: ActorId,
        role: Role,
        people: &[SubjectId],
        now: Timestamp,
    ) -> Spent {
        let Some(budgets) = self.rows.get(&role) else {
            return Spent::Enough;
        };
        let mut near = None;
        {
            let spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
            let known = spent.get(&(actor, role));
            for budget in budgets {
                let within = |at: &&Timestamp| now - **at < budget.window;
                let recent = |person| known.and_then(|known| known.get(person)).filter(within);
                let new = people
                    .iter()
                    .filter(|person| recent(person).is_none())
                    .count();
                let old = known.map_or(0, |known| known.values().filter(within).count());
                if new > 0 && old + new > budget.people {
                    return Spent::Over(*budget);
                }
                if new > 0 && (old + new) * 5 >= budget.people * 4 {
                    near = Some(*budget);
                }
            }
        }
        self.put(actor, role, people.iter().copied(), now);
        near.map_or(Spent::Enough, Spent::Near)
    }

    /// Remembers these people, and forgets whom no window reaches any more.
    pub(super) fn put(
        &self,
        actor: ActorId,
        role: Role,
        people: impl IntoIterator<Item = SubjectId>,
        at: Timestamp,
    ) {
        let budgets = self.rows.get(&role).into_iter().flatten();
        let longest = budgets.map(|budget| budget.window).max();
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let known = spent.entry((actor, role)).or_default();
        known.retain(|_, last| longest.is_some_and(|window| at - *last < window));
        for person in people {
            let last = known.entry(person).or_insert(at);
            *last = at.max(*last);
        }
    }
}

/// The person of an event, or as many as it declared under one digest.
fn declared(event: &Event) -> Vec<SubjectId> {
    let fact = |name| event.facts.get(&Label::fixed(name));
    match (event.subject, fact("subjects"), fact("set")) {
        (Some(subject), _, _) => vec![subject],
        (None, Some(Safe::Count(count)), Some(Safe::Word(set))) => (0..*count)
            .map(|number| SubjectId::derived(&[set.as_str().as_bytes(), &number.to_be_bytes()]))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use core::task::{Context, Poll, Waker};
    use std::sync::Arc;

    use super::*;
    use crate::Code;
    use crate::conformance::Desk;
    use crate::id::TenantId;
    use crate::memory::{RulesPolicy, SeededEntropy};
    use crate::pii::Category;
    use crate::policy::{Emergency, Gate, Purpose, Session};
    use crate::ports::Ledger as _;
    use crate::refusal::Refusal;

    const DAY: Budget = Budget {
        window: TimeDelta::days(1),
        people: 60,
    };
    const MONTH: Budget = Budget {
        window: TimeDelta::days(30),
        people: 200,
    };

    fn person(number: usize) -> SubjectId {
        SubjectId::derived(&[&number.to_be_bytes()])
    }

    fn start() -> Timestamp {
        Desk::opening_hour()
    }

    /// Thirty days of work: on each day these people, one after another.
    fn replay(budgets: &Budgets, day: impl Fn(usize) -> Vec<usize>) -> (usize, usize, usize) {
        let actor = ActorId::derived(&[b"somebody"]);
        let (mut let_to, mut alarms, mut refused) = (0, 0, 0);
        let mut first_alarm = 0;
        for number in 0..30 {
            let now = start() + TimeDelta::days(number as i64);
            for who in day(number) {
                match budgets.spend(actor, Role::Paralegal, &[person(who)], now) {
                    Spent::Enough => let_to += 1,
                    Spent::Near(_) => {
                        let_to += 1;
                        alarms += 1;
                        first_alarm = if first_alarm == 0 {
                            let_to
                        } else {
                            first_alarm
                        };
                    }
                    Spent::Over(_) => refused += 1,
                }
            }
        }
        (first_alarm, alarms, refused)
    }

    #[test]
    fn a_little_every_day_is_stopped_and_ordinary_work_never_is() {
        let budgets = || Budgets::new([(Role::Paralegal, DAY), (Role::Paralegal, MONTH)]);
        // Forty matters of three people, twenty-five people a day, again and again.
        let work = |day: usize| (0..25).map(|who| (day * 7 + who * 4) % 120).collect();
        assert_eq!(replay(&budgets(), work), (0, 0, 0));
        // Somebody who leaves takes fifteen people a day that are new every day.
        let leaving = |day: usize| (0..15).map(|who| day * 15 + who).collect();
        let (alarm, alarms, refused) = replay(&budgets(), leaving);
        assert_eq!((alarm, alarms, refused), (160, 41, 30 * 15 - 200));
        // And all at once.
        let grab = |day: usize| {
            if day == 3 {
                (0..500).collect()
            } else {
                Vec::new()
            }
        };
        let (alarm, _, refused) = replay(&budgets(), grab);
        assert_eq!((alarm, refused), (48, 440));
    }

    #[test]
    fn what_was_spent_is_recalled_from_the_log() {
        let actor = ActorId::derived(&[b"somebody"]);
        let event = || {
            let tenant = TenantId::derived(&[b"an invented firm"]);
            let component = Label::fixed("house");
            let mut event = Event::new(tenant, actor, component, Act::Open, Outcome::Admitted);
            event.role = Some(Role::Paralegal);
            event
        };
        let bulk = event()
            .with("subjects", 150_usize)
            .with("set", crate::id::Digest::of(b"set"));
        let refused = Event {
            outcome: Outcome::Refused,
            ..bulk.clone()
        };
        let log = (0..49)
            .map(|who| event().of_subject(person(who)))
            .chain([bulk, refused]);
        let log = log
            .zip(0..)
            .map(|(event, seq)| event.into_entry(seq, start()));
        let budgets = Budgets::new([(Role::Paralegal, MONTH)]);
        budgets.recall(log);
        let spend = |who, day| {
            let now = start() + TimeDelta::days(day);
            budgets.spend(actor, Role::Paralegal, &[person(who)], now)
        };
        assert_eq!(spend(0, 1), Spent::Enough, "the same person again");
        assert_eq!(spend(500, 1), Spent::Near(MONTH));
        assert_eq!(spend(501, 1), Spent::Over(MONTH));
        // When the window has passed, it is forgotten.
        assert_eq!(spend(501, 30), Spent::Enough);
    }

    #[test]
    fn a_gate_that_was_given_no_budgets_has_the_usual_ones() {
        let desk = Desk::new("usual");
        assert_eq!(desk.gate().budgets().reach(), TimeDelta::days(30));
        let budgets = Budgets::usual();
        let actor = desk.actor(Role::Paralegal);
        let all: Vec<_> = (0..151).map(person).collect();
        let spend = |people: &[SubjectId]| budgets.spend(actor, Role::Paralegal, people, start());
        assert!(matches!(spend(&all), Spent::Over(_)));
        assert!(matches!(spend(&all[..150]), Spent::Near(_)));
        assert_eq!(budgets.reach(), TimeDelta::days(30));
        let service = budgets.spend(actor, Role::ServiceSync, &all, start());
        assert_eq!(service, Spent::Enough);
    }

    #[test]
    fn the_gate_refuses_and_logs_what_no_budget_has_but_an_emergency_is_let_through() {
        let desk = Desk::new("budget");
        let one = Budget {
            window: TimeDelta::days(1),
            people: 1,
        };
        let gate = Gate::new(
            desk.tenant(),
            Arc::new(RulesPolicy::new()),
            Arc::new(desk.store().clone()),
            Arc::new(desk.clock().clone()),
            Arc::new(SeededEntropy::new(1)),
        );
        let gate = gate.with_budgets(Budgets::new([(Role::Attorney, one)]));
        gate.amend_directory(|directory| *directory = desk.gate().directory(Clone::clone));
        let session = |role| gate.session(desk.actor(role), role, Purpose::Representation);
        let ask = |session: &Session<'_>, subject| {
            let scope = desk.scope(subject, Category::Case);
            let outcome = now(session.permit(Act::Open, scope));
            outcome
                .err()
                .map(|error| error.refusal().map(Refusal::code))
        };
        let attorney = session(Role::Attorney);
        assert_eq!(ask(&attorney, desk.beneficiary()), None);
        assert_eq!(ask(&attorney, desk.beneficiary()), None);
        assert_eq!(ask(&attorney, desk.spouse()), Some(Some(Code::AclDeny)));
        let until = desk.now() + TimeDelta::hours(1);
        let emergency = session(Role::Attorney).break_glass(until, Emergency::Danger);
        assert_eq!(ask(&emergency, desk.spouse()), None);
        let paralegal = session(Role::Paralegal);
        assert_eq!(
            ask(&paralegal, desk.spouse()),
            None,
            "no budget for the role"
        );
        let log = now(desk.store().entries(desk.tenant(), 0, 100)).unwrap();
        let log = log.iter().map(|entry| Entry::parse(entry).unwrap().event);
        let said = |event: &Event| {
            let word = event.facts.get(&Label::fixed("budget")).cloned();
            (
                event.outcome,
                word,
                event
                    .reasons
                    .iter()
                    .any(|rule| rule.as_str() == "bdg.window"),
            )
        };
        let word = |word| Some(Safe::from(word));
        let said: Vec<_> = log.map(|event| said(&event)).collect();
        assert_eq!(
            said,
            [
                (Outcome::Admitted, word("near"), false),
                (Outcome::Admitted, None, false),
                (Outcome::Refused, word("over"), true),
                (Outcome::Admitted, word("over"), false),
                (Outcome::Admitted, None, false),
            ]
        );
    }

    /// The stores here answer at once.
    fn now<F: Future>(future: F) -> F::Output {
        match core::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(out) => out,
            Poll::Pending => panic!("a memory store never waits"),
        }
    }
}
