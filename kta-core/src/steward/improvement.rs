//! Step 15: measures computed from the audit log, and changes that are closed only after their
//! effect was checked by a measure.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::audit::{Entry, Label, Outcome, Safe};
use crate::error::Result;
use crate::id::ActorId;
use crate::pipeline::House;
use crate::policy::{Act, Scope, Session};
use crate::ports::store::{ChangeSet, Expected, Register};
use crate::refusal::{Code, Refusal};
use crate::steward::shelf;

/// A number about the house, with the query it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Measure {
    name: Label,
    source: String,
    value: u64,
}

impl Measure {
    /// A measure from its parts.
    ///
    /// # Errors
    /// [`Code::ImpSource`] when the source is blank.
    pub fn new(name: Label, source: impl Into<String>, value: u64) -> Result<Self, Refusal> {
        let source = source.into();
        if source.trim().is_empty() {
            return Err(Refusal::new(Code::ImpSource).about("measure", name));
        }
        Ok(Self {
            name,
            source,
            value,
        })
    }

    /// What is measured, for example `refusals.SHR-EXPIRY`.
    #[must_use]
    pub const fn name(&self) -> &Label {
        &self.name
    }

    /// The query that gives the value again from the raw evidence.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The value: a count.
    #[must_use]
    pub const fn value(&self) -> u64 {
        self.value
    }
}

/// The measures of the whole log as it is now; see [`Tally`].
///
/// # Errors
/// [`Code::AudChain`] for an entry that cannot be read, [`Code::AudTrunc`] when the log ends
/// before its size; faults of the ledger.
pub async fn measure(house: &House) -> Result<Vec<Measure>> {
    let mut tally = Tally::default();
    let size = house.doors.ledger.size(house.tenant()).await?;
    while tally.entries < size {
        let page = house
            .doors
            .ledger
            .entries(house.tenant(), tally.entries, PAGE)
            .await?;
        if page.is_empty() {
            return Err(Refusal::new(Code::AudTrunc)
                .about("entry", tally.entries)
                .into());
        }
        for bytes in page {
            if tally.entries == size {
                break; // written since; the next measuring counts it
            }
            let entry = Entry::parse(&bytes)
                .map_err(|code| Refusal::new(code).about("entry", tally.entries))?;
            tally.add(&entry);
        }
    }
    Ok(tally.measures())
}

/// Counts entries of the log, one by one: from the ledger or from an export, the same entries
/// give the same [`measures`](Self::measures).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    entries: u64,
    admissions: u64,
    openings: u64,
    refusals: BTreeMap<Code, u64>,
    reported: BTreeSet<Label>,
    closed: BTreeSet<Label>,
}

impl Tally {
    /// Counts one entry.
    pub fn add(&mut self, entry: &Entry) {
        let event = &entry.event;
        self.entries += 1;
        self.admissions += u64::from(event.outcome == Outcome::Admitted);
        if event.outcome == Outcome::Refused
            && let Some(code) = event.code
        {
            *self.refusals.entry(code).or_default() += 1;
        }
        self.openings += u64::from((event.act, event.outcome) == (Act::Open, Outcome::Done));
        if let Some(Safe::Word(incident)) = event.facts.get(&INCIDENT) {
            match (event.act, event.outcome) {
                (Act::Close, Outcome::Done) => drop(self.closed.insert(incident.clone())),
                // Somebody reported it, or a rule of the intake did by refusing a delivery.
                (Act::Report, Outcome::Done) | (Act::Receive, Outcome::Refused) => {
                    self.reported.insert(incident.clone());
                }
                _ => {}
            }
        }
    }

    /// The measures of what was counted: entries, admissions, openings of values, incidents
    /// open and closed, and refusals by code, codes that did not occur left out.
    #[must_use]
    pub fn measures(&self) -> Vec<Measure> {
        let measure = |name, source: &str, value| Measure {
            name,
            source: source.to_owned(),
            value,
        };
        let open = self.reported.difference(&self.closed).count() as u64;
        let mut measures = vec![
            measure(
                Label::fixed("entries"),
                "audit: count of entries",
                self.entries,
            ),
            measure(
                Label::fixed("admissions"),
                "audit: count of entries where outcome=admitted",
                self.admissions,
            ),
            measure(
                Label::fixed("openings"),
                "audit: count of entries where act=open and outcome=done",
                self.openings,
            ),
            measure(
                Label::fixed("incidents.open"),
                "audit: distinct facts.incident where act=report and outcome=done or act=receive \
                 and outcome=refused, without those where act=close and outcome=done",
                open,
            ),
            measure(
                Label::fixed("incidents.closed"),
                "audit: distinct facts.incident where act=close and outcome=done",
                self.closed.len() as u64,
            ),
        ];
        measures.extend(self.refusals.iter().map(|(code, count)| {
            let source = format!("audit: count of entries where outcome=refused and code={code}");
            measure(
                shelf::name(format_args!("refusals.{code}")),
                &source,
                *count,
            )
        }));
        measures
    }
}

/// A change that is to make the house better: what an incident or a finding led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Its name.
    pub id: Label,
    /// Who answers for it.
    pub owner: ActorId,
    /// By when.
    pub due: NaiveDate,
    /// On which day its effect was checked.
    pub effect_checked: Option<NaiveDate>,
    /// On which day it was closed.
    pub closed: Option<NaiveDate>,
}

impl Change {
    /// A change that is open and unchecked.
    #[must_use]
    pub const fn new(id: Label, owner: ActorId, due: NaiveDate) -> Self {
        Self {
            id,
            owner,
            due,
            effect_checked: None,
            closed: None,
        }
    }

    /// Whether it is open after its day.
    #[must_use]
    pub fn is_overdue(&self, today: NaiveDate) -> bool {
        self.closed.is_none() && today > self.due
    }

    /// Closes the change; a closed one stays as it was closed.
    ///
    /// # Errors
    /// [`Code::ImpEffect`] when its effect was not checked.
    pub fn close(&mut self, on: NaiveDate) -> Result<(), Refusal> {
        if self.effect_checked.is_none() {
            return Err(Refusal::new(Code::ImpEffect).about("change", self.id.clone()));
        }
        self.closed.get_or_insert(on);
        Ok(())
    }
}

/// Opens a change.
///
/// # Errors
/// Refusals of the gate; a conflict when there is a change of this name; faults of the store.
pub async fn open_change(
    house: &House,
    session: &Session<'_>,
    id: Label,
    owner: ActorId,
    due: NaiveDate,
) -> Result<Change> {
    let change = Change::new(id, owner, due);
    let scope = Scope::firm().about("change", change.id.clone());
    let permit = session.permit(Act::Improve, scope).await?;
    let event = permit
        .event(Act::Improve, Outcome::Done)
        .with("change", change.id.clone())
        .with("owner", owner)
        .with("due", due);
    let name = change.id.clone();
    let filing = shelf::file(
        Register::Improvements,
        name,
        None,
        &change,
        Expected::Absent,
    )?;
    let changes = ChangeSet::new(house.tenant(), house.gate.now())
        .with(filing)
        .event(event);
    house.doors.store.commit(changes).await?;
    Ok(change)
}

/// Notes that the effect of a change was checked today, by this measure; the log says what it
/// was.
///
/// # Errors
/// [`Code::AclDeny`] for a change that is not there; refusals of the gate; a conflict when
/// somebody changed it meanwhile; faults of the store.
pub async fn check_effect(
    house: &House,
    session: &Session<'_>,
    id: &Label,
    by: &Measure,
) -> Result<Change> {
    let facts = [
        ("measure", by.name.clone().into()),
        ("value", by.value.into()),
    ];
    amend(house, session, id, facts.into(), |change, today| {
        change.effect_checked = Some(today);
        Ok(())
    })
    .await
}

/// Closes a change.
///
/// # Errors
/// [`Code::ImpEffect`] when its effect was not checked; otherwise as [`check_effect`]. Refusals
/// are logged.
pub async fn close_change(house: &House, session: &Session<'_>, id: &Label) -> Result<Change> {
    let facts = vec![("state", "closed".into())];
    amend(house, session, id, facts, Change::close).await
}

async fn amend(
    house: &House,
    session: &Session<'_>,
    id: &Label,
    facts: Vec<(&'static str, Safe)>,
    amend: impl FnOnce(&mut Change, NaiveDate) -> Result<(), Refusal>,
) -> Result<Change> {
    let scope = Scope::firm().about("change", id.clone());
    let permit = session.permit(Act::Improve, scope.clone()).await?;
    let found = shelf::find::<Change>(house, Register::Improvements, id).await?;
    let Some((mut change, revision)) = found else {
        return Err(shelf::refuse(session, Act::Improve, &scope, Code::AclDeny).await);
    };
    let now = house.gate.now();
    if let Err(refusal) = amend(&mut change, now.date_naive()) {
        return Err(shelf::refuse(session, Act::Improve, &scope, refusal).await);
    }
    let event = permit
        .event(Act::Improve, Outcome::Done)
        .with("change", id.clone());
    let event = facts
        .into_iter()
        .fold(event, |event, (what, fact)| event.with(what, fact));
    let filing = shelf::file(Register::Improvements, id.clone(), None, &change, revision)?;
    let changes = ChangeSet::new(house.tenant(), now)
        .with(filing)
        .event(event);
    house.doors.store.commit(changes).await?;
    Ok(change)
}

/// Entries read at once.
const PAGE: usize = 512;

static INCIDENT: Label = Label::fixed("incident");

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::memory::MemoryPorts;
    use crate::policy::Role;
    use crate::ports::Ledger as _;
    use crate::steward::incident::{self, IncidentKind};
    use crate::steward::testing::{actor, entries, founded, session};

    /// Two reports, one closed; refusals of two kinds; more entries than one page holds.
    async fn busy(seed: u64) -> (MemoryPorts, House) {
        let (ports, house) = founded(seed).await;
        let (officer, clerk) = (session(&house, Role::Dpo), session(&house, Role::Intake));
        let one = incident::report(&house, None, IncidentKind::Reported, None)
            .await
            .unwrap()
            .id;
        incident::report(&house, None, IncidentKind::Spoofing, None)
            .await
            .unwrap();
        incident::close(&house, &officer, one).await.unwrap_err();
        incident::aware(&house, &officer, one).await.unwrap();
        incident::close(&house, &clerk, one).await.unwrap_err();
        incident::close(&house, &officer, one).await.unwrap();
        for _ in 0..PAGE {
            session(&house, Role::Auditor)
                .permit(Act::Open, Scope::firm())
                .await
                .map(drop)
                .unwrap();
        }
        (ports, house)
    }

    fn value(measures: &[Measure], name: &str) -> u64 {
        measures
            .iter()
            .find(|measure| measure.name.as_str() == name)
            .unwrap()
            .value
    }

    #[tokio::test]
    async fn the_same_entries_give_the_same_measures_by_whatever_reading() {
        let (ports, house) = busy(91).await;
        let measures = measure(&house).await.unwrap();
        assert_eq!(measure(&house).await.unwrap(), measures);
        let mut tally = Tally::default();
        entries(&ports, &house)
            .await
            .iter()
            .for_each(|entry| tally.add(entry));
        assert_eq!(tally.measures(), measures);
        assert!(measures.iter().all(|measure| !measure.source.is_empty()));

        // A second opinion: the raw lines, read without this crate's types.
        let raw = ports
            .store
            .entries(house.tenant(), 0, usize::MAX)
            .await
            .unwrap();
        let raw: Vec<Value> = raw
            .iter()
            .map(|bytes| serde_json::from_slice(bytes).unwrap())
            .collect();
        let count =
            |key: &str, word: &str| raw.iter().filter(|line| line[key] == word).count() as u64;
        assert!(raw.len() > PAGE);
        assert_eq!(value(&measures, "entries"), raw.len() as u64);
        assert_eq!(value(&measures, "admissions"), count("outcome", "admitted"));
        assert_eq!(
            value(&measures, "refusals.INC-CLOCK"),
            count("code", "INC-CLOCK")
        );
        assert_eq!(
            value(&measures, "refusals.ACL-DENY"),
            count("code", "ACL-DENY")
        );
        assert_eq!(value(&measures, "refusals.ACL-DENY"), 1);
        assert_eq!(value(&measures, "incidents.open"), 1);
        assert_eq!(value(&measures, "incidents.closed"), 1);
        assert_eq!(
            value(&measures, "openings"),
            0,
            "an admission opens nothing by itself"
        );
    }

    #[test]
    fn a_measure_without_a_source_is_refused() {
        for blank in ["", " \n"] {
            let refused = Measure::new(Label::fixed("trust"), blank, 100).unwrap_err();
            assert_eq!(refused.code(), Code::ImpSource);
        }
    }

    #[tokio::test]
    async fn a_change_closes_only_after_its_effect_was_checked() {
        let (ports, house) = founded(92).await;
        let officer = session(&house, Role::Dpo);
        let (id, owner) = (Label::fixed("shorter-shares"), actor(Role::Attorney));
        let due = "2026-11-30".parse().unwrap();
        let open = open_change(&house, &officer, id.clone(), owner, due)
            .await
            .unwrap();
        assert!(!open.is_overdue(due) && open.is_overdue(due.succ_opt().unwrap()));
        assert!(
            open_change(&house, &officer, id.clone(), owner, due)
                .await
                .is_err()
        );
        let early = close_change(&house, &officer, &id).await.unwrap_err();
        assert_eq!(early.refusal().unwrap().code(), Code::ImpEffect);
        let logged = entries(&ports, &house).await.pop().unwrap().event;
        assert_eq!(logged.code, Some(Code::ImpEffect));
        let measures = measure(&house).await.unwrap();
        check_effect(&house, &officer, &id, &measures[0])
            .await
            .unwrap();
        let closed = close_change(&house, &officer, &id).await.unwrap();
        assert!(closed.closed.is_some() && !closed.is_overdue("2030-01-01".parse().unwrap()));
        let kept = house.filed(Register::Improvements, &id).await.unwrap();
        assert_eq!(kept, Some(closed));
        let unknown = close_change(&house, &officer, &Label::fixed("unknown"))
            .await
            .unwrap_err();
        assert_eq!(unknown.refusal().unwrap().code(), Code::AclDeny);
    }
}
