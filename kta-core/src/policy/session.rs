//! A session: one actor at work. What is asked for in it, and what comes of the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::audit::{Event, Label, Outcome};
use crate::error::{Error, Result};
use crate::id::{ActorId, Digest, PermitId, SubjectId};
use crate::policy::budget::Spent;
use crate::policy::decisions::Asked;
use crate::policy::gate::{Gate, Revised};
use crate::policy::request::{
    AccessContext, AccessRequest, Act, BreakGlass, Emergency, Object, Station,
};
use crate::policy::{
    Budgets, Decision, Glass, LawfulBasis, Obligation, Permit, Purpose, Role, Scope, Verdict,
};
use crate::ports::store::{Change, ChangeSet, Durability, Expected, Register, Sheet};
use crate::refusal::{Code, Refusal};
use crate::time::Timestamp;

/// One actor at work, in one role and for one purpose.
///
/// A permit borrows from its session and so dies with it:
///
/// ```compile_fail,E0515
/// use kta_core::policy::{Act, Gate, Permit, Purpose, Role, Scope};
/// async fn smuggle(gate: &Gate, who: kta_core::id::ActorId) -> Permit<'_> {
///     let session = gate.session(who, Role::Paralegal, Purpose::Representation);
///     session.permit(Act::Open, Scope::firm()).await.unwrap()
/// }
/// ```
#[derive(Debug)]
pub struct Session<'g> {
    pub(super) gate: &'g Gate,
    pub(super) actor: ActorId,
    pub(super) role: Role,
    pub(super) purpose: Purpose,
    component: Label,
    break_glass: Option<BreakGlass>,
    station: Option<Station>,
}

impl<'g> Session<'g> {
    pub(super) const fn at(gate: &'g Gate, actor: ActorId, role: Role, purpose: Purpose) -> Self {
        Self {
            gate,
            actor,
            role,
            purpose,
            component: Label::fixed("house"),
            break_glass: None,
            station: None,
        }
    }

    /// The same session through this component of the house, for the log.
    #[must_use]
    pub fn through(mut self, component: Label) -> Self {
        self.component = component;
        self
    }

    /// The same session as an emergency access until `until`, for this reason.
    #[must_use]
    pub const fn break_glass(mut self, until: Timestamp, reason: Emergency) -> Self {
        self.break_glass = Some(BreakGlass { until, reason });
        self
    }

    /// The same session from this station.
    #[must_use]
    pub const fn from_station(mut self, station: Station) -> Self {
        self.station = Some(station);
        self
    }

    /// Who is at work.
    #[must_use]
    pub const fn actor(&self) -> ActorId {
        self.actor
    }

    /// In which role.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// For which purpose.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The gate of this session.
    #[must_use]
    pub const fn gate(&self) -> &'g Gate {
        self.gate
    }

    /// An event by this actor in this role, for the log.
    #[must_use]
    pub fn event(&self, act: Act, outcome: Outcome) -> Event {
        let component = self.component.clone();
        let mut event = Event::new(self.gate.tenant, self.actor, component, act, outcome);
        event.role = Some(self.role);
        event.purpose = Some(self.purpose);
        event
    }

    /// What the policy says of this request, without asking to be admitted: for explanations
    /// and previews. Not logged, opens nothing. Of a matter behind a wall it says what it says of
    /// one that does not exist.
    ///
    /// # Errors
    /// A fault when the holds cannot be read.
    pub async fn explain(&self, act: Act, scope: &Scope) -> Result<Vec<Decision>> {
        let held = self.held(act, scope).await?;
        let (decisions, _) = self.decide(act, scope, &held);
        let sight = self.sight();
        let hidden = match scope.matter {
            Some(named) => !sight.admits(Some(named), None),
            None => scope
                .subjects
                .iter()
                .any(|one| !sight.admits(None, Some(*one))),
        };
        if hidden {
            return Ok(vec![nothing_there(); decisions.len()]);
        }
        let own = |decision: Arc<Decision>| {
            Arc::try_unwrap(decision).unwrap_or_else(|kept| (*kept).clone())
        };
        Ok(decisions.into_iter().map(own).collect())
    }

    /// Whether the policy would admit this, for lists: what it would not is not in them. Not
    /// logged, opens nothing.
    pub(crate) fn would_admit(&self, act: Act, scope: &Scope) -> bool {
        let (decisions, _) = self.decide(act, scope, &BTreeMap::new());
        let mut all = decisions.iter();
        all.all(|decision| decision.verdict == Verdict::Permit)
    }

    /// Asks to be admitted to `act` over `scope`.
    ///
    /// # Errors
    /// The refusal that the policy gives, logged; [`Code::AclDeny`] alike for what is forbidden
    /// and what does not exist; [`Code::AudDown`] when the decision cannot be logged.
    pub async fn permit(&self, act: Act, scope: Scope) -> Result<Permit<'_>> {
        let held = self.held(act, &scope).await?;
        let (decisions, basis) = self.decide(act, &scope, &held);
        let denied = decisions
            .iter()
            .find_map(|decision| match decision.verdict {
                Verdict::Deny(code) => Some((code, decision)),
                Verdict::Permit => None,
            });
        let mut event = scope.describe(self.event(act, Outcome::Admitted));
        event.basis = basis;
        if let Some(emergency) = self.break_glass {
            event = event.with("emergency", emergency.reason.as_str());
        }
        if let Some((code, decision)) = denied {
            let mut event = event.refused(code);
            event.policy = Some(decision.policy);
            event.reasons = decision
                .reasons
                .iter()
                .map(|reason| reason.rule.clone())
                .collect();
            self.gate.log(vec![event], Durability::Durable).await?;
            return Err(Refusal::new(code).about("act", act.as_str()).into());
        }
        if Budgets::SPENDING.contains(&act) {
            let people: Vec<_> = scope.subjects.iter().copied().collect();
            let budgets = &self.gate.budgets;
            match budgets.spend(self.actor, self.role, &people, self.gate.now()) {
                Spent::Enough => {}
                Spent::Near(_) => event = event.with("budget", "near"),
                Spent::Over(_) if self.break_glass.is_some() => {
                    budgets.put(self.actor, self.role, people, self.gate.now());
                    event = event.with("budget", "over");
                }
                Spent::Over(budget) => {
                    let mut event = event.refused(Code::AclDeny).with("budget", "over");
                    event.policy = decisions.first().map(|decision| decision.policy);
                    event.reasons = vec![Label::fixed("bdg.window")];
                    self.gate.log(vec![event], Durability::Durable).await?;
                    return Err(Refusal::new(Code::AclDeny)
                        .about("act", act.as_str())
                        .about("budget", budget.people)
                        .into());
                }
            }
        }
        let permit = Permit {
            id: PermitId::random(&*self.gate.entropy),
            session: self,
            act,
            basis,
            until: self
                .break_glass
                .map_or(self.gate.now() + Gate::PERMIT_LIFE, |emergency| {
                    emergency.until
                }),
            durable: self.break_glass.is_some()
                || decisions
                    .iter()
                    .any(|d| d.obligations.contains(&Obligation::DurableOpening))
                || scope
                    .categories
                    .iter()
                    .any(|category| category.is_special()),
            scope,
        };
        event.permit = Some(permit.id);
        event.policy = decisions.first().map(|decision| decision.policy);
        let rules: BTreeSet<_> = decisions
            .iter()
            .flat_map(|d| d.reasons.iter().map(|reason| reason.rule.clone()))
            .collect();
        event.reasons = rules.into_iter().collect();
        let review = decisions
            .iter()
            .any(|d| d.obligations.contains(&Obligation::Review));
        if review || self.break_glass.is_some() {
            event = event.with("review", "owed");
        }
        let now = self.gate.now();
        let mut change = ChangeSet::new(self.gate.tenant, now).event(event);
        if let Some(emergency) = self.break_glass {
            change = change.with(self.owe(&permit, emergency, now)?);
        }
        self.gate.commit(change).await?;
        Ok(permit)
    }

    /// The sheet of an emergency access, which stays until somebody else has reviewed it.
    fn owe(&self, permit: &Permit<'_>, emergency: BreakGlass, now: Timestamp) -> Result<Change> {
        let subjects = &permit.scope.subjects;
        let one = (subjects.len() == 1).then(|| subjects.first().copied());
        let glass = Glass {
            permit: permit.id,
            actor: self.actor,
            role: self.role,
            emergency: emergency.reason,
            act: permit.act,
            matter: permit.scope.matter,
            subject: one.flatten(),
            people: subjects.len() as u64,
            at: now,
            until: emergency.until,
            review: None,
        };
        let sheet = Sheet {
            register: Register::Findings,
            id: glass.name(),
            subject: glass.subject,
            matter: glass.matter,
            revision: 1,
            body: serde_json::to_vec(&glass).map_err(|_| Error::from(Code::AudDown))?,
        };
        Ok(Change::File {
            sheet,
            expected: Expected::Absent,
        })
    }

    /// Logs a lawful no that a stage gave, so that every refusal is on the log.
    ///
    /// # Errors
    /// [`Code::AudDown`] when the log cannot be written.
    pub async fn log_refusal(&self, act: Act, scope: &Scope, refusal: &Refusal) -> Result<()> {
        let mut event = scope
            .describe(self.event(act, Outcome::Refused))
            .refused(refusal.code());
        for (what, fact) in refusal.facts() {
            event = event.with(what, fact.clone());
        }
        self.gate.log(vec![event], Durability::Durable).await
    }

    async fn held(&self, act: Act, scope: &Scope) -> Result<BTreeMap<SubjectId, bool>> {
        let mut held = BTreeMap::new();
        if matches!(act, Act::Destroy | Act::Approve | Act::Propose) {
            self.gate.read_holds().await?;
            for subject in &scope.subjects {
                let over = self
                    .gate
                    .hold_over(*subject, scope.reached(*subject).as_ref());
                held.insert(*subject, over.is_some());
            }
        }
        Ok(held)
    }

    /// One decision for every pair of person and category in the scope.
    fn decide(
        &self,
        act: Act,
        scope: &Scope,
        held: &BTreeMap<SubjectId, bool>,
    ) -> (Vec<Arc<Decision>>, Option<LawfulBasis>) {
        let now = self.gate.now();
        let version = self.gate.policy.version();
        self.gate.revised(|kept| {
            let matter = scope.matter.and_then(|id| kept.directory.matters.get(&id));
            let basis = matter
                .and_then(|matter| matter.purposes.get(&self.purpose))
                .copied();
            let mut decisions = Vec::with_capacity(scope.subjects.len() * scope.categories.len());
            let mut ask = |subject: Option<SubjectId>| {
                for category in &scope.categories {
                    if scope.matter.is_some() && matter.is_none() {
                        // A matter that does not exist is answered like one that is forbidden.
                        decisions.push(Arc::new(nothing_there()));
                        continue;
                    }
                    let asked = Asked {
                        actor: self.actor,
                        role: self.role,
                        act,
                        matter: scope.matter,
                        subject,
                        category: *category,
                        purpose: self.purpose,
                        held: subject.is_some_and(|id| held.get(&id).copied().unwrap_or(false)),
                        other_than: scope.other_than,
                        station: self.station,
                    };
                    let known = version.filter(|_| asked.may_be_kept(self.break_glass));
                    let of = known.map(|version| (kept.revision, version));
                    let found = of.and_then(|of| self.gate.decisions.find(of, &asked, now));
                    decisions.push(found.unwrap_or_else(|| self.ask(kept, asked, of, basis, now)));
                }
            };
            if scope.subjects.is_empty() {
                ask(None);
            } else {
                scope
                    .subjects
                    .iter()
                    .for_each(|subject| ask(Some(*subject)));
            }
            (decisions, basis)
        })
    }

    /// Asks the policy itself, and keeps what it says for as long as it says.
    fn ask(
        &self,
        kept: &Revised,
        asked: Asked,
        of: Option<(u64, Digest)>,
        basis: Option<LawfulBasis>,
        now: Timestamp,
    ) -> Arc<Decision> {
        let directory = &kept.directory;
        let unlisted;
        let actor = match directory.actors.get(&self.actor) {
            Some(actor) => actor,
            None => {
                unlisted = crate::policy::Actor {
                    revoked: true,
                    ..crate::policy::Actor::new(self.actor, self.role)
                };
                &unlisted
            }
        };
        let named = asked.matter.and_then(|id| directory.matters.get(&id));
        // Of somebody who is no party of the matter that is named, or where none is, a wall before
        // a matter that the person is a party of stands all the same: the question is asked in
        // that matter.
        let strange = asked
            .subject
            .filter(|subject| named.is_none_or(|matter| !matter.parties.contains_key(subject)));
        let walled = strange.and_then(|subject| {
            let sight = self.gate.sights.of(directory, kept.revision, self.actor);
            if sight.admits(None, Some(subject)) {
                return None;
            }
            let ids = directory.known_as(subject);
            let mut walled = sight.walled().filter_map(|id| directory.matters.get(&id));
            walled.find(|matter| ids.iter().any(|id| matter.parties.contains_key(id)))
        });
        let subject = asked.subject;
        let request = AccessRequest {
            actor,
            role: self.role,
            act: asked.act,
            object: Object {
                matter: walled.or(named),
                subject,
                category: asked.category,
                restricted: subject.is_some_and(|id| directory.restricted.contains(&id)),
                held: asked.held,
            },
            purpose: self.purpose,
            basis,
            context: AccessContext {
                now,
                break_glass: self.break_glass,
                other_than: asked.other_than,
                station: self.station,
            },
        };
        let Some(of) = of else {
            return Arc::new(self.gate.policy.decide(&request));
        };
        let (decision, until) = self.gate.policy.decide_until(&request);
        let decision = Arc::new(decision);
        if let Some(until) = until {
            let decisions = &self.gate.decisions;
            decisions.keep(of, asked, (now, until), &decision);
        }
        decision
    }
}

/// The answer about what does not exist, and to whoever must not know that it does.
fn nothing_there() -> Decision {
    Decision {
        verdict: Verdict::Deny(Code::AclDeny),
        reasons: Vec::new(),
        obligations: Vec::new(),
        policy: Digest::of(b""),
    }
}
