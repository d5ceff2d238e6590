//! Access decisions by Cedar: grants that let in, bars that no grant overrides.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::str::FromStr as _;

use cedar_policy::{
    Authorizer, Context, Decision as CedarDecision, Entities, Entity, EntityId, EntityTypeName,
    EntityUid, PolicySet, Request, RestrictedExpression, Schema, ValidationMode, Validator,
};
use kta_core::audit::Label;
use kta_core::id::{ActorId, Digest, SubjectId};
use kta_core::pii::{Category, Matter, Party};
use kta_core::policy::{
    AccessRequest, Act, Actor, Decision, Obligation, Policy, Reason, Role, Verdict,
};
use kta_core::{Code, Fault, FaultKind, Port, Result};

/// The policy that ships, or one that a firm writes over the same schema.
///
/// Grants are indexed by role, because Cedar's cost is linear in the policies it is given; bars
/// are evaluated always, all of them. Any evaluation error is a no.
#[derive(Debug)]
pub struct CedarPolicy {
    grants: BTreeMap<String, PolicySet>,
    bars: PolicySet,
    rules: Vec<Bar>,
    digest: Digest,
    authorizer: Authorizer,
    names: Names,
}

#[derive(Debug)]
struct Bar {
    policy: String,
    order: String,
    code: Code,
    reason: Reason,
}

#[derive(Debug)]
struct Names {
    actor: EntityTypeName,
    person: EntityTypeName,
    matter: EntityTypeName,
    data: EntityTypeName,
    action: EntityTypeName,
}

impl CedarPolicy {
    /// The longest text that is read, in bytes.
    pub const LONGEST: usize = 256 << 10;
    /// The deepest brackets that are read; those in strings and comments count too. Over some
    /// thousands of them Cedar's parser takes a minute to say that something is missing.
    pub const DEEPEST: usize = 32;

    /// The policy that ships with this crate.
    ///
    /// # Errors
    /// As [`new`](Self::new), for a crate that was changed.
    pub fn shipped() -> Result<Self> {
        Self::new(
            include_str!("../policies/schema.cedarschema"),
            include_str!("../policies/grants.cedar"),
            include_str!("../policies/bars.cedar"),
        )
    }

    /// A policy from its three texts. Every policy is validated strictly against the schema.
    ///
    /// # Errors
    /// [`FaultKind::Misconfigured`] for texts that are longer than [`LONGEST`](Self::LONGEST), nested
    /// deeper than [`DEEPEST`](Self::DEEPEST) or do not parse, policies that do not validate, a
    /// grant without `@role`, a bar without `@id`, `@order`, `@code` and `@text`, a grant among
    /// the bars or a bar among the grants.
    pub fn new(schema: &str, grants: &str, bars: &str) -> Result<Self> {
        [schema, grants, bars]
            .into_iter()
            .try_for_each(within_bounds)?;
        let digest = [schema, grants, bars]
            .map(|text| Digest::of(text.as_bytes()).to_string())
            .join("\n");
        let schema = Schema::from_cedarschema_str(schema)
            .map_err(|_| wrong("the schema does not parse"))?
            .0;
        let validator = Validator::new(schema);
        let valid = |text: &str| -> Result<PolicySet> {
            let set = PolicySet::from_str(text).map_err(|_| wrong("a policy does not parse"))?;
            let checked = validator.validate(&set, ValidationMode::Strict);
            if checked.validation_passed() {
                Ok(set)
            } else {
                Err(wrong("a policy does not validate"))
            }
        };
        let mut by_role: BTreeMap<String, PolicySet> = BTreeMap::new();
        for policy in valid(grants)?.policies() {
            if policy.effect() != cedar_policy::Effect::Permit {
                return Err(wrong("a bar among the grants"));
            }
            let role = policy
                .annotation("role")
                .ok_or_else(|| wrong("a grant without a role"))?;
            let set = by_role.entry(role.to_owned()).or_default();
            set.add(policy.clone())
                .map_err(|_| wrong("two grants of one id"))?;
        }
        let mut bar_set = PolicySet::new();
        let mut rules = Vec::new();
        for policy in valid(bars)?.policies() {
            if policy.effect() != cedar_policy::Effect::Forbid {
                return Err(wrong("a grant among the bars"));
            }
            rules.push(Bar::read(policy)?);
            bar_set
                .add(policy.clone())
                .map_err(|_| wrong("two bars of one id"))?;
        }
        rules.sort_by(|one, other| one.order.cmp(&other.order));
        let everything = cedar_policy::Policy::from_str("permit(principal, action, resource);");
        let everything = everything.map_err(|_| wrong("a policy does not parse"))?;
        bar_set
            .add(everything.new_id(cedar_policy::PolicyId::new("not-barred")))
            .map_err(|_| wrong("two bars of one id"))?;
        Ok(Self {
            grants: by_role,
            bars: bar_set,
            rules,
            digest: Digest::of(digest.as_bytes()),
            authorizer: Authorizer::new(),
            names: Names::new()?,
        })
    }

    /// The policy's identity: every decision and audit entry cites it.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    fn try_decide(&self, request: &AccessRequest<'_>) -> Option<Decision> {
        let reach = reach(request);
        let (cedar, entities) = self.names.ask(request, reach)?;
        let bars = self.authorizer.is_authorized(&cedar, &self.bars, &entities);
        if bars.diagnostics().errors().next().is_some() {
            return None;
        }
        let mut broken: Vec<(&str, Code, Reason)> = Vec::new();
        if bars.decision() == CedarDecision::Deny {
            let ids: HashSet<String> = bars
                .diagnostics()
                .reason()
                .map(ToString::to_string)
                .collect();
            let said = self.rules.iter().filter(|rule| ids.contains(&rule.policy));
            broken.extend(said.map(|rule| (rule.order.as_str(), rule.code, rule.reason.clone())));
        }
        let granted = match self.grants.get(request.role.as_str()) {
            Some(grants) => {
                let answer = self.authorizer.is_authorized(&cedar, grants, &entities);
                if answer.diagnostics().errors().next().is_some() {
                    return None;
                }
                answer.decision() == CedarDecision::Allow
            }
            None => false,
        };
        if !granted {
            let text = "the role does not include this act".to_owned();
            broken.push((
                "04",
                Code::AclDeny,
                Reason {
                    rule: Label::fixed("acl.role"),
                    text,
                },
            ));
            broken.sort_by(|one, other| one.0.cmp(other.0));
        }
        let decision = |verdict, reasons, obligations| Decision {
            verdict,
            reasons,
            obligations,
            policy: self.digest,
        };
        if let Some((_, code, _)) = broken.first() {
            let code = *code;
            let reasons = broken.into_iter().map(|(_, _, reason)| reason).collect();
            return Some(decision(Verdict::Deny(code), reasons, Vec::new()));
        }
        let glass = request.context.break_glass.is_some();
        let mut obligations = Vec::new();
        if glass || reach == "special" || request.act == Act::Export {
            obligations.push(Obligation::DurableOpening);
        }
        if glass {
            obligations.push(Obligation::Review);
        }
        let reason = Reason {
            rule: Label::fixed("acl.role"),
            text: format!("{} may {}", request.role.as_str(), request.act),
        };
        Some(decision(Verdict::Permit, vec![reason], obligations))
    }
}

impl Policy for CedarPolicy {
    fn decide(&self, request: &AccessRequest<'_>) -> Decision {
        self.try_decide(request).unwrap_or_else(|| Decision {
            verdict: Verdict::Deny(Code::AclDeny),
            reasons: vec![Reason {
                rule: Label::fixed("engine.error"),
                text: "the policy could not be evaluated, which is a no".to_owned(),
            }],
            obligations: Vec::new(),
            policy: self.digest,
        })
    }
}

impl Bar {
    fn read(policy: &cedar_policy::Policy) -> Result<Self> {
        let note = |name| {
            policy
                .annotation(name)
                .ok_or_else(|| wrong("a bar without its annotations"))
        };
        let rule = Label::new(note("id")?).map_err(|_| wrong("a bar's id is no label"))?;
        Ok(Self {
            policy: policy.id().to_string(),
            order: note("order")?.to_owned(),
            code: note("code")?
                .parse()
                .map_err(|_| wrong("a bar's code is unknown"))?,
            reason: Reason {
                rule,
                text: note("text")?.to_owned(),
            },
        })
    }
}

fn within_bounds(text: &str) -> Result<()> {
    if text.len() > CedarPolicy::LONGEST {
        return Err(wrong("a text is too long"));
    }
    let mut depth = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > CedarPolicy::DEEPEST {
            return Err(wrong("a text is too deeply nested"));
        }
    }
    Ok(())
}

impl Names {
    fn new() -> Result<Self> {
        let name =
            |text| EntityTypeName::from_str(text).map_err(|_| wrong("a type name does not parse"));
        Ok(Self {
            actor: name("Actor")?,
            person: name("Person")?,
            matter: name("Matter")?,
            data: name("Data")?,
            action: name("Action")?,
        })
    }

    /// The request and its entities, built from the facts of the request alone. The schema was
    /// checked once over the policies; what is built here has its types by construction.
    fn ask(&self, request: &AccessRequest<'_>, reach: &'static str) -> Option<(Request, Entities)> {
        let actor = self.actor(request.actor.id);
        let data = uid(&self.data, "it");
        let mut entities = vec![
            Entity::new(
                actor.clone(),
                self.actor_facts(request.actor),
                HashSet::new(),
            )
            .ok()?,
        ];
        let mut facts = HashMap::from([
            (
                "reach".to_owned(),
                RestrictedExpression::new_string(reach.to_owned()),
            ),
            (
                "category".to_owned(),
                RestrictedExpression::new_string(request.object.category.as_str().to_owned()),
            ),
            (
                "restricted".to_owned(),
                RestrictedExpression::new_bool(request.object.restricted),
            ),
            (
                "held".to_owned(),
                RestrictedExpression::new_bool(request.object.held),
            ),
        ]);
        if let Some(subject) = request.object.subject {
            facts.insert(
                "subject".to_owned(),
                RestrictedExpression::new_entity_uid(self.person(subject)),
            );
        }
        if let Some(matter) = request.object.matter {
            let id = uid(&self.matter, &matter.id.to_string());
            facts.insert(
                "matter".to_owned(),
                RestrictedExpression::new_entity_uid(id.clone()),
            );
            entities.push(Entity::new(id, self.matter_facts(matter), HashSet::new()).ok()?);
        }
        entities.push(Entity::new(data.clone(), facts, HashSet::new()).ok()?);
        let entities = Entities::from_entities(entities, None).ok()?;
        let action = uid(&self.action, request.act.as_str());
        let request = Request::new(actor, action, data, self.circumstances(request)?, None).ok()?;
        Some((request, entities))
    }

    fn circumstances(&self, request: &AccessRequest<'_>) -> Option<Context> {
        let mut pairs = vec![
            (
                "role".to_owned(),
                RestrictedExpression::new_string(request.role.as_str().to_owned()),
            ),
            (
                "purpose".to_owned(),
                RestrictedExpression::new_string(request.purpose.as_str().to_owned()),
            ),
            (
                "today".to_owned(),
                RestrictedExpression::new_long(day(request.context.now.date_naive())),
            ),
            (
                "now".to_owned(),
                RestrictedExpression::new_long(request.context.now.timestamp_millis()),
            ),
        ];
        if let Some(basis) = request.basis {
            pairs.push((
                "basis".to_owned(),
                RestrictedExpression::new_string(basis.as_str().to_owned()),
            ));
        }
        if let Some(glass) = request.context.break_glass {
            pairs.push((
                "glass_until".to_owned(),
                RestrictedExpression::new_long(glass.until.timestamp_millis()),
            ));
        }
        if let Some(other) = request.context.other_than {
            pairs.push((
                "other_than".to_owned(),
                RestrictedExpression::new_entity_uid(self.actor(other)),
            ));
        }
        Context::from_pairs(pairs).ok()
    }

    fn actor_facts(&self, actor: &Actor) -> HashMap<String, RestrictedExpression> {
        let roles = actor
            .roles
            .iter()
            .map(|role| RestrictedExpression::new_string(role.as_str().to_owned()));
        let mut facts = HashMap::from([
            ("roles".to_owned(), RestrictedExpression::new_set(roles)),
            (
                "revoked".to_owned(),
                RestrictedExpression::new_bool(actor.revoked),
            ),
        ]);
        if let Some(until) = actor.trained_until {
            facts.insert(
                "trained_until".to_owned(),
                RestrictedExpression::new_long(day(until)),
            );
        }
        if let Some(subject) = actor.subject {
            facts.insert(
                "subject".to_owned(),
                RestrictedExpression::new_entity_uid(self.person(subject)),
            );
        }
        if let Some(party) = actor.party {
            facts.insert(
                "party".to_owned(),
                RestrictedExpression::new_string(party.as_str().to_owned()),
            );
        }
        facts
    }

    fn matter_facts(&self, matter: &Matter) -> HashMap<String, RestrictedExpression> {
        let people =
            |wanted: &dyn Fn(Party) -> bool| {
                let wanted = matter.parties.iter().filter(|(_, party)| wanted(**party));
                RestrictedExpression::new_set(wanted.map(|(subject, _)| {
                    RestrictedExpression::new_entity_uid(self.person(*subject))
                }))
            };
        let team = |role: Role| {
            let members = matter
                .team
                .iter()
                .filter(move |(_, member)| **member == role);
            RestrictedExpression::new_set(
                members.map(|(actor, _)| RestrictedExpression::new_entity_uid(self.actor(*actor))),
            )
        };
        let walled = matter
            .walled
            .iter()
            .map(|actor| RestrictedExpression::new_entity_uid(self.actor(*actor)));
        HashMap::from([
            ("walled".to_owned(), RestrictedExpression::new_set(walled)),
            ("attorneys".to_owned(), team(Role::Attorney)),
            ("paralegals".to_owned(), team(Role::Paralegal)),
            ("petitioners".to_owned(), team(Role::Petitioner)),
            ("parties".to_owned(), people(&|_| true)),
            (
                "petition_side".to_owned(),
                people(&|party| party == Party::Petitioner),
            ),
            (
                "ground".to_owned(),
                RestrictedExpression::new_bool(matter.ground.is_some()),
            ),
        ])
    }

    fn actor(&self, id: ActorId) -> EntityUid {
        uid(&self.actor, &id.to_string())
    }

    fn person(&self, id: SubjectId) -> EntityUid {
        uid(&self.person, &id.to_string())
    }
}

/// How far into persons' lives a request reaches.
fn reach(request: &AccessRequest<'_>) -> &'static str {
    match (request.object.category, request.object.subject) {
        (category, _) if category.is_special() => "special",
        (Category::FirmRecord | Category::PublicFile, None) => "firm",
        _ => "personal",
    }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

/// Days since 1970-01-01.
fn day(date: chrono::NaiveDate) -> i64 {
    date.signed_duration_since(chrono::NaiveDate::default())
        .num_days()
}

fn wrong(why: &'static str) -> kta_core::Error {
    Fault::new(FaultKind::Misconfigured, Port::Policy, "load the policy")
        .because(why)
        .into()
}
