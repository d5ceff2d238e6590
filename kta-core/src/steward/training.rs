//! Step 9: who completed which training when, and what follows for access: the policy reads
//! [`Actor::trained_until`], which only a completion moves on.

use std::collections::BTreeMap;

use chrono::{Months, NaiveDate};
use serde::{Deserialize, Serialize};

use crate::audit::{Label, Outcome};
use crate::error::Result;
use crate::id::{ActorId, Digest};
use crate::pipeline::House;
use crate::policy::{Act, Actor, Role, Scope, Session};
use crate::ports::store::{ChangeSet, Expected, Register};
use crate::refusal::{Code, Refusal};
use crate::steward::shelf;

/// That somebody completed a module of the required training. Whoever runs the module decides
/// what passes; only what passed is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// Whose training it counts for.
    pub actor: ActorId,
    /// The module, with its version, for example `privacy.basics:3`.
    pub module: Label,
    /// Who was signed in when it was completed.
    pub completed_by: ActorId,
    /// The day, in UTC.
    pub on: NaiveDate,
    /// The score, in percent.
    pub score: u8,
}

/// Records a completion: on the training register and, as the actor's new last day of valid
/// training, on the access list, together. The validity runs through the day `valid_months`
/// after the completion (at most [`LONGEST_VALIDITY`]) and never shortens a longer one. The same
/// completion again is recorded once.
///
/// # Errors
/// [`Code::TrnIdentity`] when somebody else completed it; [`Code::TrnBackdate`] when it lies in
/// the future or before the newest completion of this module by this actor; [`Code::AclDeny`]
/// for an actor who is not on the access list; refusals of the gate; a conflict when somebody
/// changed the same sheets meanwhile; faults of the store. Refusals are logged.
pub async fn record(
    house: &House,
    session: &Session<'_>,
    completion: Completion,
    valid_months: u32,
) -> Result<Actor> {
    let scope = Scope::firm()
        .about("trained", completion.actor)
        .about("module", completion.module.clone());
    let permit = session.permit(Act::Train, scope.clone()).await?;
    if completion.completed_by != completion.actor {
        return Err(shelf::refuse(session, Act::Train, &scope, Code::TrnIdentity).await);
    }
    let listing = shelf::name(completion.actor);
    let Some((mut actor, listed)) = shelf::find::<Actor>(house, Register::Actors, &listing).await?
    else {
        return Err(shelf::refuse(session, Act::Train, &scope, Code::AclDeny).await);
    };
    let sheet = sheet_of(completion.actor, &completion.module);
    let (mut history, filed) = shelf::find::<Vec<Completion>>(house, Register::Training, &sheet)
        .await?
        .unwrap_or((Vec::new(), Expected::Absent));
    let now = house.gate.now();
    let newest = history.last().map(|last| last.on);
    if completion.on > now.date_naive() || newest.is_some_and(|newest| completion.on < newest) {
        let refusal = Refusal::new(Code::TrnBackdate).about("on", completion.on);
        return Err(shelf::refuse(session, Act::Train, &scope, refusal).await);
    }
    let until = valid_until(completion.on, valid_months);
    let event = permit
        .event(Act::Train, Outcome::Done)
        .with("trained", completion.actor)
        .with("module", completion.module.clone())
        .with("on", completion.on)
        .with("score", u64::from(completion.score))
        .with("until", until);
    actor.trained_until = actor.trained_until.max(Some(until));
    if history.last() != Some(&completion) {
        history.push(completion);
    }
    let change = ChangeSet::new(house.tenant(), now)
        .with(shelf::file(
            Register::Training,
            sheet,
            None,
            &history,
            filed,
        )?)
        .with(shelf::file(
            Register::Actors,
            listing,
            None,
            &actor,
            listed,
        )?)
        .event(event);
    house.doors.store.commit(change).await?;
    house.gate.amend_directory(|directory| {
        // The training only: a revocation that came meanwhile stays.
        let known = directory
            .actors
            .entry(actor.id)
            .or_insert_with(|| actor.clone());
        known.trained_until = actor.trained_until;
    });
    Ok(actor)
}

/// How many actors of each role are validly trained today, and how many there are. Counted are
/// those on the access list whom the firm trains: not the revoked, services or outside parties.
#[must_use]
pub fn coverage(house: &House) -> BTreeMap<Role, (usize, usize)> {
    let today = house.gate.now().date_naive();
    let mut coverage = BTreeMap::new();
    house.gate.directory(|directory| {
        for actor in directory.actors.values().filter(|actor| !actor.revoked) {
            let valid = actor.trained_until.is_some_and(|until| today <= until);
            for role in actor
                .roles
                .iter()
                .copied()
                .filter(|role| is_trained_by_the_firm(*role))
            {
                let (trained, total): &mut (usize, usize) = coverage.entry(role).or_default();
                *trained += usize::from(valid);
                *total += 1;
            }
        }
    });
    coverage
}

/// The longest validity of a completion, in months.
pub const LONGEST_VALIDITY: u32 = 60;

const fn is_trained_by_the_firm(role: Role) -> bool {
    !role.is_service() && !matches!(role, Role::Subject | Role::Petitioner)
}

fn valid_until(on: NaiveDate, months: u32) -> NaiveDate {
    // Past the end of the calendar nothing is added.
    on.checked_add_months(Months::new(months.min(LONGEST_VALIDITY)))
        .unwrap_or(on)
}

/// The sheet of one actor's completions of one module; both names together may be longer than a
/// label, so it is named by their digest.
fn sheet_of(actor: ActorId, module: &Label) -> Label {
    shelf::name(Digest::of(format!("{actor}/{module}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::manage;
    use crate::steward::testing::{actor, entries, founded, session};

    fn completion(on: &str) -> Completion {
        Completion {
            actor: actor(Role::Paralegal),
            module: Label::fixed("privacy.basics:1"),
            completed_by: actor(Role::Paralegal),
            on: on.parse().unwrap(),
            score: 90,
        }
    }

    #[tokio::test]
    async fn a_completion_moves_the_training_on_and_outlives_a_restart() {
        let (ports, house) = founded(61).await;
        let officer = session(&house, Role::Dpo);
        assert_eq!(coverage(&house)[&Role::Paralegal], (0, 1));
        let trained = record(&house, &officer, completion("2026-11-22"), 12)
            .await
            .unwrap();
        assert_eq!(trained.trained_until, Some("2027-11-22".parse().unwrap()));
        assert_eq!(coverage(&house)[&Role::Paralegal], (1, 1));
        assert!(!coverage(&house).contains_key(&Role::ServiceSync));

        let again = ports.open().await.unwrap();
        manage::wake(&again).await.unwrap();
        ports.clock.set("2027-11-22T23:59:59Z".parse().unwrap());
        assert_eq!(
            coverage(&again)[&Role::Paralegal],
            (1, 1),
            "the last day counts"
        );
        ports.clock.set("2027-11-23T00:00:00Z".parse().unwrap());
        assert_eq!(coverage(&again)[&Role::Paralegal], (0, 1));
    }

    #[tokio::test]
    async fn a_completion_is_neither_dated_back_nor_forward_nor_somebody_elses() {
        let (ports, house) = founded(62).await;
        let officer = session(&house, Role::Dpo);
        record(&house, &officer, completion("2026-11-20"), 12)
            .await
            .unwrap();
        let before = house.gate.directory(Clone::clone);
        let proxy = Completion {
            completed_by: actor(Role::Intake),
            ..completion("2026-11-22")
        };
        let stranger = ActorId::derived(&[b"not on the list"]);
        let unlisted = Completion {
            actor: stranger,
            completed_by: stranger,
            ..completion("2026-11-22")
        };
        for (wrong, code) in [
            (completion("2026-11-19"), Code::TrnBackdate),
            (completion("2026-11-23"), Code::TrnBackdate),
            (proxy, Code::TrnIdentity),
            (unlisted, Code::AclDeny),
        ] {
            let error = record(&house, &officer, wrong, 12).await.unwrap_err();
            assert_eq!(error.refusal().unwrap().code(), code);
            assert_eq!(
                entries(&ports, &house).await.last().unwrap().event.code,
                Some(code)
            );
        }
        assert_eq!(house.gate.directory(Clone::clone), before);
        record(&house, &officer, completion("2026-11-22"), 12)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn the_same_completion_twice_is_one_and_a_shorter_validity_takes_nothing() {
        let (_, house) = founded(63).await;
        let officer = session(&house, Role::Dpo);
        let first = record(&house, &officer, completion("2026-11-22"), 12)
            .await
            .unwrap();
        assert_eq!(
            record(&house, &officer, completion("2026-11-22"), 1)
                .await
                .unwrap(),
            first
        );
        let sheet = sheet_of(first.id, &Label::fixed("privacy.basics:1"));
        let kept: Vec<Completion> = house
            .filed(Register::Training, &sheet)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(kept, [completion("2026-11-22")]);
    }

    #[tokio::test]
    async fn who_may_not_train_records_nothing() {
        let (_, house) = founded(64).await;
        let clerk = session(&house, Role::Paralegal);
        let error = record(&house, &clerk, completion("2026-11-22"), 12)
            .await
            .unwrap_err();
        assert_eq!(error.refusal().unwrap().code(), Code::AclDeny);
        assert_eq!(coverage(&house)[&Role::Paralegal], (0, 1));
    }
}
