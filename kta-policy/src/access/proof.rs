//! Proofs for all requests, by the solver cvc5.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr as _;

use cedar_policy::{Authorizer, Decision as CedarDecision, PolicySet, RequestEnv, Schema};
use cedar_policy_symcc::solver::LocalSolver;
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicy, CompiledPolicySet, Env};
use kta_core::audit::Label;
use kta_core::policy::{Act, Role};
use kta_core::{Fault, FaultKind, Port, Result};

use super::{CedarPolicy, parsed_schema, slot, wrong};

/// Asks the solver cvc5, a program of its own, about all requests that the schema allows: any
/// actor, any matter, any data, any circumstances, and not those only that somebody thought of.
///
/// What is proved is the Cedar text. That the programs which decide mean the same is tested.
/// A question that the solver does not answer in time is a fault, never a yes.
#[derive(Clone, Debug)]
pub struct Prover {
    solver: PathBuf,
}

/// What must hold of every policy of the house.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Property {
    /// No policy can be an error, so that no bar is ever skipped.
    NeverErrors,
    /// Nobody who is walled off from a matter is admitted to anything in it, emergency or not.
    Walls,
    /// Nobody on the staff opens a person's data more than thirty days after the end of the
    /// training, nor special categories a day after it, nor anything without training.
    Training,
    /// What a legal hold covers is not destroyed, nor is its destruction approved.
    Holds,
    /// No role both approves and executes a destruction.
    TwoRoles,
    /// Nobody is admitted who is not on the access list in the role.
    Listed,
    /// A client is admitted to nobody else's data, and a petitioner to the petition side only.
    Parties,
}

impl Property {
    /// Every property.
    pub const ALL: [Self; 7] = [
        Self::Holds,
        Self::Listed,
        Self::NeverErrors,
        Self::Parties,
        Self::Training,
        Self::TwoRoles,
        Self::Walls,
    ];
}

/// A request that shows that something does not hold. It is made up by the solver, and Cedar's
/// own evaluator was asked whether it shows that indeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample {
    /// What does not hold.
    pub property: Property,
    /// The policy that does not, where it is one.
    pub policy: Option<String>,
    /// The request and its entities as Cedar writes them.
    pub request: String,
}

/// What a change of policy changes, over all requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What is admitted after the change and was not before.
    pub wider: Vec<Shift>,
    /// What was admitted before the change and is not after.
    pub narrower: Vec<Shift>,
}

/// One role and act in which something changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    /// The role.
    pub role: Role,
    /// The act.
    pub act: Act,
    /// A request that is answered differently, as Cedar writes it.
    pub sample: String,
}

/// Rules that do nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Idle {
    /// Rules that match no request at all.
    pub impossible: Vec<String>,
    /// Rules without which every request is answered the same.
    pub shadowed: Vec<String>,
}

impl Prover {
    /// A prover that asks `cvc5`, as the path of the environment finds it.
    ///
    /// # Errors
    /// [`FaultKind::Misconfigured`] when there is no such program.
    pub fn new() -> Result<Self> {
        Self::with("cvc5")
    }

    /// A prover that asks this program.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with(solver: impl Into<PathBuf>) -> Result<Self> {
        let solver = solver.into();
        let mut probe = std::process::Command::new(&solver);
        let probe = probe.arg("--version").output();
        match probe {
            Ok(said) if said.status.success() => Ok(Self { solver }),
            _ => Err(wrong("the solver cvc5 is missing")),
        }
    }

    /// The first of these properties that does not hold of the policy, with a request that shows
    /// it; nothing when all are proved.
    ///
    /// # Errors
    /// [`FaultKind::Misconfigured`] when the solver cannot be asked or does not answer.
    pub fn refute(
        &self,
        policy: &CedarPolicy,
        properties: &[Property],
    ) -> Result<Option<Counterexample>> {
        let whole = Whole::of(policy)?;
        self.ask(async |asking| {
            for property in properties {
                let found = match property {
                    Property::NeverErrors => asking.errors(&whole).await?,
                    Property::TwoRoles => asking.one_role_does_both(&whole).await?,
                    _ => {
                        let bad = violation(*property);
                        asking.admits(&whole, Act::ALL, *property, &bad).await?
                    }
                };
                if found.is_some() {
                    return Ok(found);
                }
            }
            Ok(None)
        })
    }

    /// What changes between two policies over one schema: by role and act, wider and narrower.
    ///
    /// # Errors
    /// [`FaultKind::Misconfigured`] for policies over different schemas, and when the solver
    /// cannot be asked or does not answer.
    pub fn difference(&self, before: &CedarPolicy, after: &CedarPolicy) -> Result<Difference> {
        if before.schema != after.schema {
            return Err(wrong("two policies over different schemas"));
        }
        let (before, after) = (Whole::of(before)?, Whole::of(after)?);
        self.ask(async |asking| {
            Ok(Difference {
                wider: asking.gains(&before, &after).await?,
                narrower: asking.gains(&after, &before).await?,
            })
        })
    }

    /// Which of these rules, by their `@id`, do nothing in the policy.
    ///
    /// # Errors
    /// [`FaultKind::Misconfigured`] when the solver cannot be asked or does not answer.
    pub fn idle(&self, policy: &CedarPolicy, rules: &BTreeSet<Label>) -> Result<Idle> {
        let whole = Whole::of(policy)?;
        self.ask(async |asking| asking.idle(&whole, rules).await)
    }

    /// Asks on a thread of its own, so that it may be called from anywhere.
    fn ask<T: Send>(
        &self,
        question: impl AsyncFnOnce(&mut Asking) -> Result<T> + Send,
    ) -> Result<T> {
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                runtime.map_err(|_| unanswered())?.block_on(async {
                    let mut command = tokio::process::Command::new(&self.solver);
                    command.args(["--lang", "smt", LIMIT]).kill_on_drop(true);
                    let solver =
                        LocalSolver::from_command(&mut command).map_err(|_| unanswered())?;
                    let compiler = CedarSymCompiler::new(solver).map_err(|_| unanswered())?;
                    question(&mut Asking { compiler }).await
                })
            });
            asked.join().unwrap_or_else(|_| Err(unanswered()))
        })
    }
}

/// A policy as Cedar alone would take it: grants and bars in one set.
struct Whole<'p> {
    policy: &'p CedarPolicy,
    schema: Schema,
    set: PolicySet,
    worlds: Vec<(Act, RequestEnv)>,
}

impl<'p> Whole<'p> {
    fn of(policy: &'p CedarPolicy) -> Result<Self> {
        let schema = parsed_schema(&policy.schema)?;
        let mut worlds: Vec<_> = schema
            .request_envs()
            .filter_map(|world| {
                let name = world.action().id().unescaped();
                let act = Act::ALL.iter().find(|act| act.as_str() == name)?;
                Some((*act, world.clone()))
            })
            .collect();
        worlds.sort_by_key(|(act, _)| *act);
        if worlds.len() != Act::ALL.len() {
            return Err(wrong("the schema does not have each act once"));
        }
        let bars = policy.bars.iter().map(|bar| &bar.source);
        let grants = policy.grants.iter().map(|grant| &grant.source);
        Ok(Self {
            set: numbered(bars.chain(grants))?,
            policy,
            schema,
            worlds,
        })
    }

    fn compile(&self, set: &PolicySet, world: &RequestEnv) -> Result<CompiledPolicySet> {
        CompiledPolicySet::compile(set, world, &self.schema).map_err(|_| unanswered())
    }

    /// The grants and bars that concern this role and act. None of the others can match there,
    /// nor be an error.
    fn slice(&self, role: Role, act: Act) -> Slice<'p> {
        let slot = &self.policy.index[slot(role, act)];
        Slice {
            grants: slot
                .grants
                .iter()
                .map(|at| &self.policy.grants[*at].source)
                .collect(),
            bars: slot
                .bars
                .iter()
                .map(|at| &self.policy.bars[*at].source)
                .collect(),
        }
    }
}

/// What concerns one role and act.
struct Slice<'p> {
    grants: Vec<&'p cedar_policy::Policy>,
    bars: Vec<&'p cedar_policy::Policy>,
}

impl Slice<'_> {
    /// Whether this cannot admit what `other` does not: it grants nothing that the other does
    /// not, and every bar of the other's stands.
    fn is_plainly_within(&self, other: &Self) -> bool {
        let has = |all: &[&cedar_policy::Policy], one: &cedar_policy::Policy| {
            all.iter().any(|policy| policy.to_cedar() == one.to_cedar())
        };
        self.grants.iter().all(|grant| has(&other.grants, grant))
            && other.bars.iter().all(|bar| has(&self.bars, bar))
    }

    /// The set, and that it is asked in this role only.
    fn in_role(&self, role: Role, without: Option<&cedar_policy::Policy>) -> Result<PolicySet> {
        let limit = format!(
            "forbid(principal, action, resource) unless {{ context.role == {:?} }};",
            role.as_str()
        );
        let limit = cedar_policy::Policy::parse(None, limit);
        let limit = limit.map_err(|_| wrong("a policy does not parse"))?;
        let all = self.grants.iter().chain(&self.bars).copied();
        let all = all.filter(|policy| {
            without.is_none_or(|without| {
                without.id() != policy.id() || without.effect() != policy.effect()
            })
        });
        numbered(all.chain([&limit]))
    }
}

/// One conversation with the solver.
struct Asking {
    compiler: CedarSymCompiler<LocalSolver>,
}

impl Asking {
    async fn errors(&mut self, whole: &Whole<'_>) -> Result<Option<Counterexample>> {
        for policy in whole.set.policies() {
            for (_, world) in &whole.worlds {
                let compiled = CompiledPolicy::compile(policy, world, &whole.schema)
                    .map_err(|_| unanswered())?;
                let never = self.compiler.check_never_errors_opt(&compiled).await;
                if never.map_err(|_| unanswered())? {
                    continue;
                }
                let shown = self
                    .compiler
                    .check_never_errors_with_counterexample_opt(&compiled)
                    .await;
                let shown = shown.map_err(|_| unanswered())?.ok_or_else(unanswered)?;
                let alone = numbered([policy])?;
                let said = Authorizer::new().is_authorized(&shown.request, &alone, &shown.entities);
                if said.diagnostics().errors().next().is_none() {
                    return Err(unanswered());
                }
                return Ok(Some(Counterexample {
                    property: Property::NeverErrors,
                    policy: policy.annotation("id").map(str::to_owned),
                    request: shown.to_string(),
                }));
            }
        }
        Ok(None)
    }

    /// A request that the policy admits and that `bad` describes.
    async fn admits(
        &mut self,
        whole: &Whole<'_>,
        acts: &[Act],
        property: Property,
        bad: &str,
    ) -> Result<Option<Counterexample>> {
        let bad = PolicySet::from_str(bad).map_err(|_| wrong("a property does not parse"))?;
        let worlds = whole.worlds.iter().filter(|(act, _)| acts.contains(act));
        for (_, world) in worlds {
            if let Some(shown) = self.both(whole, &whole.set, &bad, world).await? {
                return Ok(Some(Counterexample {
                    property,
                    policy: None,
                    request: shown.to_string(),
                }));
            }
        }
        Ok(None)
    }

    async fn both(
        &mut self,
        whole: &Whole<'_>,
        one: &PolicySet,
        other: &PolicySet,
        world: &RequestEnv,
    ) -> Result<Option<Env>> {
        let compiled = (whole.compile(one, world)?, whole.compile(other, world)?);
        let shown = self
            .compiler
            .check_disjoint_with_counterexample_opt(&compiled.0, &compiled.1)
            .await
            .map_err(|_| unanswered())?;
        match shown {
            Some(shown) if allows(one, &shown) && allows(other, &shown) => Ok(Some(shown)),
            // What the solver shows must be so.
            Some(_) => Err(unanswered()),
            None => Ok(None),
        }
    }

    async fn one_role_does_both(&mut self, whole: &Whole<'_>) -> Result<Option<Counterexample>> {
        let mut approving = BTreeSet::new();
        let words: Vec<_> = Role::ALL.map(|role| format!("{:?}", role.as_str())).into();
        for act in [Act::Approve, Act::Destroy] {
            // Nobody does either in a role that the house does not know.
            let unknown = format!(
                "permit(principal, action == Action::\"{act}\", resource) unless {{ [{}].contains(context.role) }};",
                words.join(", ")
            );
            if let Some(found) = self
                .admits(whole, &[act], Property::TwoRoles, &unknown)
                .await?
            {
                return Ok(Some(found));
            }
            for role in Role::ALL {
                let by = format!(
                    "permit(principal, action == Action::\"{act}\", resource) when {{ context.role == {:?} }};",
                    role.as_str()
                );
                let Some(found) = self.admits(whole, &[act], Property::TwoRoles, &by).await? else {
                    continue;
                };
                if act == Act::Approve {
                    approving.insert(role);
                } else if approving.contains(&role) {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// By role and act, what `after` admits and `before` does not.
    async fn gains(&mut self, before: &Whole<'_>, after: &Whole<'_>) -> Result<Vec<Shift>> {
        let mut shifts = Vec::new();
        for (act, world) in &after.worlds {
            for role in Role::ALL {
                let (old, new) = (before.slice(role, *act), after.slice(role, *act));
                if new.is_plainly_within(&old) {
                    continue;
                }
                let sets = (old.in_role(role, None)?, new.in_role(role, None)?);
                let compiled = (
                    before.compile(&sets.0, world)?,
                    after.compile(&sets.1, world)?,
                );
                let shown = self
                    .compiler
                    .check_implies_with_counterexample_opt(&compiled.1, &compiled.0)
                    .await
                    .map_err(|_| unanswered())?;
                let Some(shown) = shown else { continue };
                // What the solver shows must be so, and over the whole policies.
                if !allows(&after.set, &shown) || allows(&before.set, &shown) {
                    return Err(unanswered());
                }
                shifts.push(Shift {
                    role,
                    act: *act,
                    sample: shown.to_string(),
                });
            }
        }
        Ok(shifts)
    }

    async fn idle(&mut self, whole: &Whole<'_>, rules: &BTreeSet<Label>) -> Result<Idle> {
        let mut idle = Idle::default();
        let grants = whole.policy.grants.iter().map(|grant| &grant.source);
        let bars = whole.policy.bars.iter().map(|bar| &bar.source);
        for policy in bars.chain(grants) {
            let id = policy.annotation("id").unwrap_or_default();
            if !rules.iter().any(|rule| rule.as_str() == id) {
                continue;
            }
            if !self.can_match(whole, policy).await? {
                idle.impossible.push(id.to_owned());
            } else if !self.matters(whole, policy).await? {
                idle.shadowed.push(id.to_owned());
            }
        }
        Ok(idle)
    }

    async fn can_match(
        &mut self,
        whole: &Whole<'_>,
        policy: &cedar_policy::Policy,
    ) -> Result<bool> {
        for (_, world) in &whole.worlds {
            let compiled =
                CompiledPolicy::compile(policy, world, &whole.schema).map_err(|_| unanswered())?;
            let never = self.compiler.check_never_matches_opt(&compiled).await;
            if !never.map_err(|_| unanswered())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether any request would be answered otherwise without this policy.
    async fn matters(&mut self, whole: &Whole<'_>, policy: &cedar_policy::Policy) -> Result<bool> {
        for (act, world) in &whole.worlds {
            for role in Role::ALL {
                let slice = whole.slice(role, *act);
                let mut all = slice.grants.iter().chain(&slice.bars);
                let concerns =
                    all.any(|one| one.id() == policy.id() && one.effect() == policy.effect());
                if !concerns || slice.grants.is_empty() {
                    continue;
                }
                let sets = (
                    slice.in_role(role, None)?,
                    slice.in_role(role, Some(policy))?,
                );
                let compiled = (
                    whole.compile(&sets.0, world)?,
                    whole.compile(&sets.1, world)?,
                );
                let same = self
                    .compiler
                    .check_equivalent_opt(&compiled.0, &compiled.1)
                    .await;
                if !same.map_err(|_| unanswered())? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// The requests that a property says are never admitted, as a policy that admits just these.
fn violation(property: Property) -> String {
    let staff = "!(context.role like \"service:*\") && context.role != \"subject\" && context.role != \"petitioner\"";
    match property {
        Property::Walls => "permit(principal, action, resource)
            when { resource has matter && resource.matter.walled.contains(principal) };"
            .to_owned(),
        Property::Training => format!(
            "permit(principal, action == Action::\"open\", resource)
            when {{ resource.reach != \"firm\" && {staff} }}
            unless {{ context has untrained && context.untrained <= 30 }};
            permit(principal, action, resource)
            when {{ resource.reach == \"special\" && {staff} }}
            unless {{ context has untrained && context.untrained <= 0 }};"
        ),
        Property::Holds => "permit(principal, action in [Action::\"approve\", Action::\"destroy\"], resource)
            when { resource.held };"
            .to_owned(),
        Property::Listed => "permit(principal, action, resource)
            when { principal.revoked || !principal.roles.contains(context.role) };"
            .to_owned(),
        Property::Parties => "permit(principal, action, resource)
            when { context.role == \"subject\" && resource.reach != \"firm\" }
            unless { resource has subject && principal has subject && resource.subject == principal.subject };
            permit(principal, action, resource)
            when { context.role == \"petitioner\" && resource.reach != \"firm\" }
            unless { resource has matter && resource has subject && resource.matter.petition_side.contains(resource.subject) };"
            .to_owned(),
        Property::NeverErrors | Property::TwoRoles => String::new(),
    }
}

fn allows(set: &PolicySet, shown: &Env) -> bool {
    let said = Authorizer::new().is_authorized(&shown.request, set, &shown.entities);
    said.decision() == CedarDecision::Allow
}

/// The policies under ids that are each their own.
fn numbered<'p>(policies: impl IntoIterator<Item = &'p cedar_policy::Policy>) -> Result<PolicySet> {
    let policies = policies.into_iter().enumerate();
    let renamed = policies
        .map(|(number, policy)| policy.new_id(cedar_policy::PolicyId::new(format!("p{number}"))));
    PolicySet::from_policies(renamed).map_err(|_| wrong("two policies of one id"))
}

fn unanswered() -> kta_core::Error {
    Fault::new(FaultKind::Misconfigured, Port::Policy, "prove")
        .because("the solver did not answer")
        .into()
}

/// No question takes longer than this, in milliseconds.
const LIMIT: &str = "--tlimit-per=20000";
