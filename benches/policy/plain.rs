//! Plain Cedar: every policy in one set, every actor and matter in one resident store of entities.

use std::collections::{HashMap, HashSet};
use std::str::FromStr as _;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    PolicySet, Request, RestrictedExpression as Value, Schema,
};
use chrono::{Datelike as _, NaiveDate, Timelike as _};
use kta_core::pii::{Category, Party};
use kta_core::policy::{AccessRequest, Directory, Role};

/// Everything loaded once.
pub(crate) struct Plain {
    policies: PolicySet,
    resident: Entities,
    authorizer: Authorizer,
}

impl Plain {
    pub(crate) fn new(schema: &str, grants: &str, bars: &str, directory: &Directory) -> Self {
        let (schema, _) = Schema::from_cedarschema_str(schema).unwrap();
        let actors = directory.actors.values().map(|actor| {
            let mut facts = HashMap::from([
                (
                    "roles".into(),
                    Value::new_set(actor.roles.iter().map(|role| text(role.as_str()))),
                ),
                (
                    "titles".into(),
                    Value::new_set(actor.titles.iter().map(|title| text(title.as_str()))),
                ),
                ("revoked".into(), Value::new_bool(actor.revoked)),
            ]);
            facts.extend(
                actor
                    .subject
                    .map(|subject| ("subject".into(), named("Person", &subject))),
            );
            facts.extend(
                actor
                    .party
                    .map(|party| ("party".into(), text(party.as_str()))),
            );
            Entity::new(uid("Actor", &actor.id), facts, HashSet::new()).unwrap()
        });
        let matters = directory.matters.values().map(|matter| {
            let team = |role: Role| {
                let members = matter
                    .team
                    .iter()
                    .filter(move |(_, member)| **member == role);
                Value::new_set(members.map(|(actor, _)| named("Actor", actor)))
            };
            let people = |side: Option<Party>| {
                let of = matter
                    .parties
                    .iter()
                    .filter(move |(_, party)| side.is_none_or(|side| side == **party));
                Value::new_set(of.map(|(subject, _)| named("Person", subject)))
            };
            let walled = matter.walled.iter().map(|actor| named("Actor", actor));
            let facts = HashMap::from([
                ("walled".into(), Value::new_set(walled)),
                ("attorneys".into(), team(Role::Attorney)),
                ("paralegals".into(), team(Role::Paralegal)),
                ("petitioners".into(), team(Role::Petitioner)),
                ("parties".into(), people(None)),
                ("petition_side".into(), people(Some(Party::Petitioner))),
                ("ground".into(), Value::new_bool(matter.ground.is_some())),
            ]);
            Entity::new(uid("Matter", &matter.id), facts, HashSet::new()).unwrap()
        });
        let resident = Entities::from_entities(actors.chain(matters), Some(&schema)).unwrap();
        Self {
            policies: PolicySet::from_str(&format!("{grants}\n{bars}")).unwrap(),
            resident,
            authorizer: Authorizer::new(),
        }
    }

    /// Without the actions, which the schema brings.
    pub(crate) fn entities(&self) -> usize {
        let all = self.resident.iter();
        all.filter(|entity| entity.uid().type_name().to_string() != "Action")
            .count()
    }

    pub(crate) fn policies(&self) -> usize {
        self.policies.num_of_policies()
    }

    /// The request with all the resident entities, or with those alone that it names. What is
    /// asked about, which is another thing in each request, is handed over with them, and that is
    /// not part of what is timed.
    pub(crate) fn ask(&self, request: &AccessRequest<'_>, whole: bool) -> (Request, Entities) {
        let object = &request.object;
        let mut facts = HashMap::from([
            ("reach".into(), text(reach(request))),
            ("category".into(), text(object.category.as_str())),
            ("restricted".into(), Value::new_bool(object.restricted)),
            ("held".into(), Value::new_bool(object.held)),
        ]);
        facts.extend(
            object
                .matter
                .map(|matter| ("matter".into(), named("Matter", &matter.id))),
        );
        facts.extend(
            object
                .subject
                .map(|subject| ("subject".into(), named("Person", &subject))),
        );
        let data = Entity::new(uid("Data", &"it"), facts, HashSet::new()).unwrap();
        let entities = if whole {
            self.resident.clone().upsert_entities([data], None)
        } else {
            let matter = object.matter.map(|matter| uid("Matter", &matter.id));
            let named = [Some(uid("Actor", &request.actor.id)), matter];
            let named = named
                .iter()
                .flatten()
                .map(|id| self.resident.get(id).unwrap().clone());
            Entities::from_entities(named.chain([data]), None)
        };
        let entities = entities.unwrap();
        let now = request.context.now;
        let days = |date: NaiveDate| (now.date_naive() - date).num_days();
        let mut context = vec![
            ("role".to_owned(), text(request.role.as_str())),
            ("purpose".to_owned(), text(request.purpose.as_str())),
            (
                "today".to_owned(),
                Value::new_long(days(NaiveDate::default())),
            ),
            (
                "minute".to_owned(),
                Value::new_long(i64::from(now.hour() * 60 + now.minute())),
            ),
            (
                "weekday".to_owned(),
                Value::new_long(i64::from(now.weekday().number_from_monday())),
            ),
        ];
        context.extend(
            request
                .basis
                .map(|basis| ("basis".into(), text(basis.as_str()))),
        );
        context.extend(
            request
                .actor
                .trained_until
                .map(|day| ("untrained".into(), Value::new_long(days(day)))),
        );
        context.extend(request.context.break_glass.map(|glass| {
            (
                "glass_left".into(),
                Value::new_long((glass.until - now).num_milliseconds()),
            )
        }));
        context.extend(
            request
                .context
                .other_than
                .map(|other| ("other_than".into(), named("Actor", &other))),
        );
        let asked = Request::new(
            uid("Actor", &request.actor.id),
            uid("Action", &request.act),
            uid("Data", &"it"),
            Context::from_pairs(context).unwrap(),
            None,
        );
        (asked.unwrap(), entities)
    }

    /// Whether it is admitted.
    pub(crate) fn decide(&self, (request, entities): &(Request, Entities)) -> bool {
        let answer = self
            .authorizer
            .is_authorized(request, &self.policies, entities);
        answer.decision() == Decision::Allow && answer.diagnostics().errors().next().is_none()
    }
}

fn reach(request: &AccessRequest<'_>) -> &'static str {
    match (request.object.category, request.object.subject) {
        (category, _) if category.is_special() => "special",
        (Category::FirmRecord | Category::PublicFile, None) => "firm",
        _ => "personal",
    }
}

fn uid(kind: &str, id: &dyn std::fmt::Display) -> EntityUid {
    let kind = EntityTypeName::from_str(kind).unwrap();
    EntityUid::from_type_name_and_id(kind, EntityId::new(id.to_string()))
}

fn named(kind: &str, id: &dyn std::fmt::Display) -> Value {
    Value::new_entity_uid(uid(kind, id))
}

fn text(word: &str) -> Value {
    Value::new_string(word.to_owned())
}
