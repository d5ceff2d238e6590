//! What a decision may look at, taken from the request once: the same for both engines.

use std::collections::{HashMap, HashSet};
use std::str::FromStr as _;

use chrono::{Datelike as _, Timelike as _};
use kta_core::Result;
use kta_core::id::{ActorId, SubjectId};
use kta_core::pii::{Category, Matter, Party};
use kta_core::policy::{AccessRequest, Actor, Role};

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression,
};

use super::wrong;

/// The facts of one request. Differences of times are taken here, where they cannot overflow, so
/// that no policy has to subtract.
#[derive(Debug)]
pub(super) struct Facts<'r> {
    pub(super) request: &'r AccessRequest<'r>,
    pub(super) reach: &'static str,
    /// Days since 1970-01-01.
    pub(super) today: i64,
    /// Minute of the day.
    pub(super) minute: i64,
    /// 1 is Monday.
    pub(super) weekday: i64,
    /// Days since the last day of valid training.
    pub(super) untrained: Option<i64>,
    /// Milliseconds that are left of an emergency access.
    pub(super) glass_left: Option<i64>,
    /// Milliseconds since the station was seen.
    pub(super) seen_ago: Option<i64>,
}

impl<'r> Facts<'r> {
    pub(super) fn of(request: &'r AccessRequest<'r>) -> Self {
        let context = &request.context;
        let now = context.now;
        let today = now.date_naive();
        let since = |date: chrono::NaiveDate| today.signed_duration_since(date).num_days();
        Self {
            request,
            reach: reach(request),
            today: since(chrono::NaiveDate::default()),
            minute: i64::from(now.hour() * 60 + now.minute()),
            weekday: i64::from(now.weekday().number_from_monday()),
            untrained: request.actor.trained_until.map(since),
            glass_left: context
                .break_glass
                .map(|glass| (glass.until - now).num_milliseconds()),
            seen_ago: context
                .station
                .map(|station| (now - station.seen).num_milliseconds()),
        }
    }

    /// The two letters of the country.
    pub(super) fn country(&self) -> Option<&str> {
        let country = self.request.context.station.as_ref()?.country.as_ref()?;
        core::str::from_utf8(country).ok()
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

/// The names by which Cedar is asked.
#[derive(Debug)]
pub(super) struct Names {
    actor: EntityTypeName,
    person: EntityTypeName,
    matter: EntityTypeName,
    data: EntityTypeName,
    action: EntityTypeName,
}

impl Names {
    pub(super) fn new() -> Result<Self> {
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

    /// The request and its entities, built from the facts alone. The schema was checked once over
    /// the policies; what is built here has its types by construction.
    pub(super) fn ask(&self, facts: &Facts<'_>) -> Option<(Request, Entities)> {
        let request = facts.request;
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
        let mut about = HashMap::from([
            ("reach".to_owned(), text(facts.reach)),
            (
                "category".to_owned(),
                text(request.object.category.as_str()),
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
            about.insert(
                "subject".to_owned(),
                RestrictedExpression::new_entity_uid(self.person(subject)),
            );
        }
        if let Some(matter) = request.object.matter {
            let id = uid(&self.matter, &matter.id.to_string());
            about.insert(
                "matter".to_owned(),
                RestrictedExpression::new_entity_uid(id.clone()),
            );
            entities.push(Entity::new(id, self.matter_facts(matter), HashSet::new()).ok()?);
        }
        entities.push(Entity::new(data.clone(), about, HashSet::new()).ok()?);
        let entities = Entities::from_entities(entities, None).ok()?;
        let action = uid(&self.action, request.act.as_str());
        let request = Request::new(actor, action, data, self.circumstances(facts)?, None).ok()?;
        Some((request, entities))
    }

    fn circumstances(&self, facts: &Facts<'_>) -> Option<Context> {
        let request = facts.request;
        let station = request.context.station;
        let words = [
            ("role", Some(request.role.as_str())),
            ("purpose", Some(request.purpose.as_str())),
            ("basis", request.basis.map(|basis| basis.as_str())),
            (
                "glass_reason",
                request
                    .context
                    .break_glass
                    .map(|glass| glass.reason.as_str()),
            ),
            ("device", station.map(|station| station.device.as_str())),
            ("country", facts.country()),
        ];
        let numbers = [
            ("today", Some(facts.today)),
            ("minute", Some(facts.minute)),
            ("weekday", Some(facts.weekday)),
            ("untrained", facts.untrained),
            ("glass_left", facts.glass_left),
            ("seen_ago", facts.seen_ago),
        ];
        let words = words
            .into_iter()
            .filter_map(|(name, word)| Some((name.to_owned(), text(word?))));
        let numbers = numbers.into_iter().filter_map(|(name, number)| {
            Some((name.to_owned(), RestrictedExpression::new_long(number?)))
        });
        let other = request.context.other_than.map(|other| {
            let other = RestrictedExpression::new_entity_uid(self.actor(other));
            ("other_than".to_owned(), other)
        });
        Context::from_pairs(words.chain(numbers).chain(other)).ok()
    }

    fn actor_facts(&self, actor: &Actor) -> HashMap<String, RestrictedExpression> {
        let roles = actor.roles.iter().map(|role| text(role.as_str()));
        let titles = actor.titles.iter().map(|title| text(title.as_str()));
        let mut facts = HashMap::from([
            ("roles".to_owned(), RestrictedExpression::new_set(roles)),
            ("titles".to_owned(), RestrictedExpression::new_set(titles)),
            (
                "revoked".to_owned(),
                RestrictedExpression::new_bool(actor.revoked),
            ),
        ]);
        if let Some(subject) = actor.subject {
            facts.insert(
                "subject".to_owned(),
                RestrictedExpression::new_entity_uid(self.person(subject)),
            );
        }
        if let Some(party) = actor.party {
            facts.insert("party".to_owned(), text(party.as_str()));
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

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn text(word: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(word.to_owned())
}
