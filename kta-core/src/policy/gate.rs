//! The gate: nobody gets a permit before the decision is durably on the log.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};

use chrono::TimeDelta;

use crate::audit::{Event, Label, Outcome, Safe};
use crate::error::{Error, Result};
use crate::id::{ActorId, Digest, HoldId, MatterId, PermitId, SubjectId, TenantId};
use crate::pii::{Category, Record};
use crate::policy::budget::Spent;
use crate::policy::request::{
    AccessContext, AccessRequest, Act, BreakGlass, Emergency, Object, Station,
};
use crate::policy::{
    Budgets, Decision, Directory, LawfulBasis, Obligation, Policy, PolicyClass, Purpose, Role,
    Verdict,
};
use crate::ports::store::{ChangeSet, Durability, HoldQuery, Register, SheetQuery, Store};
use crate::refusal::{Code, Refusal};
use crate::retention::Hold;
use crate::time::{Clock, Entropy, Timestamp};

/// The only maker of permits.
///
/// ```text
///   AccessRequest ──► Policy::decide ──► audit entry durable ──► Permit
///                          │ deny                │ cannot be written
///                          ▼                     ▼
///               refusal, itself audited      AUD-DOWN: nothing happens
/// ```
pub struct Gate {
    tenant: TenantId,
    policy: Arc<dyn Policy>,
    store: Arc<dyn Store>,
    directory: RwLock<Directory>,
    /// Policy classes that were looked up; what a digest names never changes.
    classes: RwLock<BTreeMap<Digest, Arc<PolicyClass>>>,
    /// The active holds, as they were last read or placed: what permits that were given out
    /// earlier are held against.
    holds: RwLock<Vec<Hold>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    budgets: Budgets,
}

impl Gate {
    /// How long a permit lasts when nothing shorter was asked for.
    pub const PERMIT_LIFE: TimeDelta = TimeDelta::minutes(15);

    /// A gate for one firm.
    #[must_use]
    pub fn new(
        tenant: TenantId,
        policy: Arc<dyn Policy>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            tenant,
            policy,
            store,
            directory: RwLock::default(),
            classes: RwLock::default(),
            holds: RwLock::default(),
            clock,
            entropy,
            budgets: Budgets::default(),
        }
    }

    /// The same gate, which lets nobody to more people than these budgets have. What they do not
    /// have is refused as `bdg.window` and an alarm on the log, and so is the last fifth of them;
    /// an emergency is let through, and spends.
    #[must_use]
    pub fn with_budgets(mut self, budgets: Budgets) -> Self {
        self.budgets = budgets;
        self
    }

    /// The firm whose data this gate guards.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The present instant, as the gate sees it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Reads the directory.
    pub fn directory<R>(&self, read: impl FnOnce(&Directory) -> R) -> R {
        read(
            &self
                .directory
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    /// Changes the directory. Whoever calls this has recorded the change first; the pipeline
    /// does so through [`manage`](crate::pipeline::manage).
    pub fn amend_directory<R>(&self, amend: impl FnOnce(&mut Directory) -> R) -> R {
        amend(
            &mut self
                .directory
                .write()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    /// The interned policy class of this name; `None` when there is none, or when what is stored
    /// under the name is something else.
    ///
    /// # Errors
    /// Faults of the store.
    pub async fn class(&self, id: Digest) -> Result<Option<Arc<PolicyClass>>> {
        let poisoned = std::sync::PoisonError::into_inner;
        if let Some(class) = self.classes.read().unwrap_or_else(poisoned).get(&id) {
            return Ok(Some(Arc::clone(class)));
        }
        let Ok(name) = Label::new(id.to_string()) else {
            return Ok(None);
        };
        let query = SheetQuery::named(self.tenant, Register::Classes, name);
        let sheets = self.store.sheets(&query).await?;
        let read = sheets
            .first()
            .and_then(|sheet| serde_json::from_slice::<PolicyClass>(&sheet.body).ok())
            .filter(|class| class.id() == id);
        let Some(class) = read.map(Arc::new) else {
            return Ok(None);
        };
        let mut classes = self
            .classes
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if classes.len() >= Self::CLASSES {
            classes.clear();
        }
        classes.insert(id, Arc::clone(&class));
        Ok(Some(class))
    }

    /// Reads the active holds, and holds from now on every permit against them that was given out
    /// before. Whoever places a hold calls this, and so does every request to destroy something.
    ///
    /// # Errors
    /// Faults of the store.
    pub async fn read_holds(&self) -> Result<()> {
        let all = HoldQuery {
            tenant: self.tenant,
            subject: None,
            matter: None,
            active: true,
        };
        let holds = self.store.holds(&all).await?;
        *self
            .holds
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = holds;
        Ok(())
    }

    /// The hold that covers what is kept of this person in these matters, by the person under
    /// any id or by one of the matters; in all of the person's matters where none are named.
    fn hold_over(
        &self,
        subject: SubjectId,
        matters: Option<&BTreeSet<MatterId>>,
    ) -> Option<HoldId> {
        let holds = self
            .holds
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if holds.is_empty() {
            return None;
        }
        let (ids, all) = self.directory(|directory| {
            let all = matters
                .is_none()
                .then(|| directory.matters_of(subject).collect());
            (directory.known_as(subject), all)
        });
        let all: BTreeSet<MatterId> = all.unwrap_or_default();
        let matters = matters.unwrap_or(&all);
        let covers = |hold: &&Hold| {
            hold.released.is_none()
                && (!hold.subjects.is_disjoint(&ids) || !hold.matters.is_disjoint(matters))
        };
        holds.iter().find(covers).map(|hold| hold.id)
    }

    /// How many classes are kept in memory: far more than a firm has.
    const CLASSES: usize = 16 * 1024;

    /// Opens a session: one actor, in one role, for one purpose. Permits cannot outlive it.
    #[must_use]
    pub fn session(&self, actor: ActorId, role: Role, purpose: Purpose) -> Session<'_> {
        Session {
            gate: self,
            actor,
            role,
            purpose,
            component: Label::fixed("house"),
            break_glass: None,
            station: None,
        }
    }

    /// Writes audit entries that belong to no change of data.
    ///
    /// # Errors
    /// [`Code::AudDown`] when the log cannot be written.
    pub async fn log(&self, events: Vec<Event>, durability: Durability) -> Result<()> {
        let mut change = ChangeSet::new(self.tenant, self.now());
        change.events = events;
        change.durability = durability;
        self.store
            .commit(change)
            .await
            .map(drop)
            .map_err(|_| Error::from(Code::AudDown))
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

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
    gate: &'g Gate,
    actor: ActorId,
    role: Role,
    purpose: Purpose,
    component: Label,
    break_glass: Option<BreakGlass>,
    station: Option<Station>,
}

impl<'g> Session<'g> {
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
        let (mut decisions, _) = self.decide(act, scope, held);
        let hidden = self.gate.directory(|directory| {
            let matters = directory.matters.values();
            let mut walled = matters.filter(|matter| matter.walled.contains(&self.actor));
            walled.any(|matter| match scope.matter {
                Some(named) => named == matter.id,
                None => scope
                    .subjects
                    .iter()
                    .any(|one| matter.parties.contains_key(one)),
            })
        });
        if hidden {
            decisions.fill(nothing_there());
        }
        Ok(decisions)
    }

    /// Asks to be admitted to `act` over `scope`.
    ///
    /// # Errors
    /// The refusal that the policy gives, logged; [`Code::AclDeny`] alike for what is forbidden
    /// and what does not exist; [`Code::AudDown`] when the decision cannot be logged.
    pub async fn permit(&self, act: Act, scope: Scope) -> Result<Permit<'_>> {
        let held = self.held(act, &scope).await?;
        let (decisions, basis) = self.decide(act, &scope, held);
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
        if decisions
            .iter()
            .any(|d| d.obligations.contains(&Obligation::Review))
        {
            event = event.with("review", "owed");
        }
        self.gate.log(vec![event], Durability::Durable).await?;
        Ok(permit)
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
        held: BTreeMap<SubjectId, bool>,
    ) -> (Vec<Decision>, Option<LawfulBasis>) {
        let context = AccessContext {
            now: self.gate.now(),
            break_glass: self.break_glass,
            other_than: scope.other_than,
            station: self.station,
        };
        self.gate.directory(|directory| {
            let unlisted = crate::policy::Actor {
                revoked: true,
                ..crate::policy::Actor::new(self.actor, self.role)
            };
            let actor = directory.actors.get(&self.actor).unwrap_or(&unlisted);
            let matter = scope.matter.and_then(|id| directory.matters.get(&id));
            let basis = matter
                .and_then(|matter| matter.purposes.get(&self.purpose))
                .copied();
            // Of somebody who is no party of the matter that is named, or where none is, a wall
            // before a matter that the person is a party of stands all the same: the question is
            // asked in that matter.
            let strange = |subject: &SubjectId| {
                matter.is_none_or(|matter| !matter.parties.contains_key(subject))
            };
            let walled: Vec<_> = if scope.subjects.iter().any(strange) {
                let matters = directory.matters.values();
                matters
                    .filter(|matter| matter.walled.contains(&self.actor))
                    .collect()
            } else {
                Vec::new()
            };
            let ask = |subject: Option<SubjectId>, category| {
                if scope.matter.is_some() && matter.is_none() {
                    // A matter that does not exist is answered like one that is forbidden.
                    return nothing_there();
                }
                let subject_of = |walled: &&&crate::pii::Matter| {
                    subject.is_some_and(|one| strange(&one) && walled.parties.contains_key(&one))
                };
                let matter = walled.iter().find(subject_of).copied().or(matter);
                self.gate.policy.decide(&AccessRequest {
                    actor,
                    role: self.role,
                    act,
                    object: Object {
                        matter,
                        subject,
                        category,
                        restricted: subject.is_some_and(|id| directory.restricted.contains(&id)),
                        held: subject.is_some_and(|id| held.get(&id).copied().unwrap_or(false)),
                    },
                    purpose: self.purpose,
                    basis,
                    context,
                })
            };
            let subjects: Vec<_> = if scope.subjects.is_empty() {
                vec![None]
            } else {
                scope.subjects.iter().copied().map(Some).collect()
            };
            let decisions = subjects
                .iter()
                .flat_map(|subject| {
                    scope
                        .categories
                        .iter()
                        .map(|category| ask(*subject, *category))
                })
                .collect();
            (decisions, basis)
        })
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

/// Over what somebody wants to act: persons, categories, and the matter they stand in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    matter: Option<MatterId>,
    subjects: BTreeSet<SubjectId>,
    categories: BTreeSet<Category>,
    other_than: Option<ActorId>,
    held_through: BTreeMap<SubjectId, BTreeSet<MatterId>>,
    facts: Vec<(&'static str, Safe)>,
}

impl Scope {
    /// The firm's own affairs: no person's data.
    #[must_use]
    pub fn firm() -> Self {
        Self {
            matter: None,
            subjects: BTreeSet::new(),
            categories: BTreeSet::from([Category::FirmRecord]),
            other_than: None,
            held_through: BTreeMap::new(),
            facts: Vec::new(),
        }
    }

    /// One person's data of one category.
    #[must_use]
    pub fn of(subject: SubjectId, category: Category) -> Self {
        Self {
            subjects: BTreeSet::from([subject]),
            categories: BTreeSet::from([category]),
            ..Self::firm()
        }
    }

    /// Several persons' data of several categories: every person with every category.
    #[must_use]
    pub fn over(
        subjects: impl IntoIterator<Item = SubjectId>,
        categories: impl IntoIterator<Item = Category>,
    ) -> Self {
        Self {
            subjects: subjects.into_iter().collect(),
            categories: categories.into_iter().collect(),
            ..Self::firm()
        }
    }

    /// The same within this matter.
    #[must_use]
    pub fn in_matter(mut self, matter: impl Into<Option<MatterId>>) -> Self {
        self.matter = matter.into();
        self
    }

    /// The matters whose holds stand against destroying what the scope covers of this person; all
    /// of the person's where it names none.
    fn reached(&self, subject: SubjectId) -> Option<BTreeSet<MatterId>> {
        let others = self.held_through.get(&subject).into_iter().flatten();
        let matter = self.matter?;
        Some(others.copied().chain([matter]).collect())
    }

    /// The same, where it also touches what `subject` has in these matters: a legal hold on one of
    /// them stands against destruction as a hold on the person does.
    #[must_use]
    pub fn held_through(
        mut self,
        subject: SubjectId,
        matters: impl IntoIterator<Item = MatterId>,
    ) -> Self {
        self.held_through
            .entry(subject)
            .or_default()
            .extend(matters);
        self
    }

    /// The same, by somebody other than `actor`.
    #[must_use]
    pub fn other_than(mut self, actor: ActorId) -> Self {
        self.other_than = Some(actor);
        self
    }

    /// The same with a fact for the log, such as the document it is about.
    #[must_use]
    pub fn about(mut self, what: &'static str, fact: impl Into<Safe>) -> Self {
        self.facts.push((what, fact.into()));
        self
    }

    fn describe(&self, event: Event) -> Event {
        let one = (self.subjects.len() == 1)
            .then(|| self.subjects.first().copied())
            .flatten();
        let mut event = event.of_subject(one).in_matter(self.matter);
        if self.subjects.len() > 1 {
            let mut bytes = Vec::with_capacity(self.subjects.len() * 16);
            self.subjects
                .iter()
                .for_each(|subject| bytes.extend_from_slice(subject.as_bytes()));
            event = event
                .with("subjects", self.subjects.len())
                .with("set", Digest::of(&bytes));
        }
        let names: Vec<_> = self
            .categories
            .iter()
            .map(|category| category.as_str())
            .collect();
        if let Ok(names) = Label::new(names.join("+")) {
            event = event.with("categories", names);
        }
        self.facts
            .iter()
            .fold(event, |event, (what, fact)| event.with(what, fact.clone()))
    }
}

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
    id: PermitId,
    session: &'s Session<'s>,
    act: Act,
    scope: Scope,
    basis: Option<LawfulBasis>,
    until: Timestamp,
    durable: bool,
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

    /// Whether what governs a record of this person admits the purpose of the session; a no is
    /// logged.
    ///
    /// # Errors
    /// [`Code::PrcPurpose`] when the class does not have the purpose, or is not known;
    /// [`Code::PrcRestricted`] when the person objected to it; faults of the store.
    pub(crate) async fn require_purpose(&self, record: &Record) -> Result<()> {
        let session = self.session;
        if session.purpose.is_legal() {
            return Ok(());
        }
        let class = session.gate.class(record.class).await?;
        let verdict = class.map_or(Err(Code::PrcPurpose), |class| class.admits(session.purpose));
        let Err(code) = verdict else { return Ok(()) };
        let event = self
            .event(self.act, Outcome::Refused)
            .of_subject(record.key.subject)
            .refused(code)
            .with("record", record.key.record)
            .with("class", record.class);
        // As durable as an opening would be: nothing was seen.
        self.log_opening(vec![event]).await?;
        Err(Refusal::new(code).about("class", record.class).into())
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
