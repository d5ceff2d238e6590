//! Under every stage: looking. Lists, counts, searches, what is handed out about a person, and
//! the view of the log.
//!
//! ```text
//!   question ──► permit, logged ──► what there is ──► what a wall hides is taken out ──► answer
//! ```
//!
//! Each of these asks the sight of its session by itself, so that nobody can forget to. To whoever
//! stands before a wall the answer is that of a house in which the matter and its people do not
//! exist: the same rows, the same count, the same refusal, and in the log as far as that person
//! sees it the same entry. The log itself says the truth, for those who may know it.
//!
//! What takes longer when something is hidden is the reading of a row that is thrown away; the
//! judging of rows is filled up, so that few are judged as long as none. Before the answer stands
//! the durable entry in the log, many times slower than either. The bench `policy` measures both.

use std::collections::BTreeMap;

use crate::audit::{Entry, Event, Label, Outcome};
use crate::error::{Error, Result};
use crate::id::{MatterId, RecordId, SubjectId};
use crate::pii::{
    Category, FieldName, Fields, Matter, MatterState, Party, Pii, Placement, RecordKey, Schema,
};
use crate::pipeline::house::{House, label};
use crate::policy::{Act, Permit, Role, Scope, Session};
use crate::ports::store::{
    ChangeSet, Durability, HoldQuery, PlacementQuery, RecordBy, RecordQuery, Register, SheetQuery,
};
use crate::refusal::{Code, Refusal};
use crate::retention::Hold;
use crate::time::Timestamp;

/// A matter in a list: what somebody who may look for it may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glimpse {
    /// The matter.
    pub id: MatterId,
    /// Its kind.
    pub kind: Label,
    /// Where it stands.
    pub state: MatterState,
}

/// How much there is of what somebody may look for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Matters, by where they stand.
    pub matters: BTreeMap<MatterState, usize>,
    /// Different people in them.
    pub people: usize,
}

/// A record that a search found. That it matches is checked by opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The record.
    pub record: RecordId,
    /// The person it is about.
    pub subject: SubjectId,
    /// The matter it belongs to.
    pub matter: Option<MatterId>,
}

/// What is handed out about a person: the records, opened, and where every copy is.
#[derive(Debug)]
pub struct Dossier {
    /// The records with what the categories that were asked for let through.
    pub records: Vec<(RecordKey, Option<MatterId>, Fields)>,
    /// The copies that the house knows of.
    pub placements: Vec<Placement>,
}

/// Which part of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Of this matter only.
    pub matter: Option<MatterId>,
    /// Of this person only.
    pub subject: Option<SubjectId>,
    /// From this instant on.
    pub from: Timestamp,
    /// Up to this one, itself not in it.
    pub to: Timestamp,
    /// About as many events: those of one instant are not torn apart.
    pub limit: usize,
}

/// The matters that the session's actor may look for, in the order of their ids.
///
/// # Errors
/// Refusals of the gate.
pub async fn matters(house: &House, session: &Session<'_>) -> Result<Vec<Glimpse>> {
    let permit = asked(session, "matters").await?;
    let found = visible(house, session, |matter| Glimpse {
        id: matter.id,
        kind: matter.kind.clone(),
        state: matter.state,
    });
    told(house, &permit, found.len()).await?;
    Ok(found)
}

/// How many matters and people the session's actor may look for.
///
/// # Errors
/// Refusals of the gate.
pub async fn count(house: &House, session: &Session<'_>) -> Result<Count> {
    let permit = asked(session, "count").await?;
    let rows = visible(house, session, |matter| {
        (
            matter.state,
            matter.parties.keys().copied().collect::<Vec<_>>(),
        )
    });
    let mut count = Count::default();
    let mut people = std::collections::BTreeSet::new();
    for (state, parties) in rows {
        *count.matters.entry(state).or_default() += 1;
        people.extend(parties);
    }
    count.people = people.len();
    told(house, &permit, count.matters.values().sum()).await?;
    Ok(count)
}

/// The people of a matter, and on which side each stands.
///
/// # Errors
/// [`Code::AclDeny`] alike for a matter that is not there, one behind a wall and one that the
/// actor may not look for; other refusals of the gate.
pub async fn people(
    house: &House,
    session: &Session<'_>,
    matter: MatterId,
) -> Result<BTreeMap<SubjectId, Party>> {
    let scope = Scope::firm().in_matter(matter).about("list", "people");
    let permit = session.permit(Act::Search, scope).await?;
    let found = house.gate.directory(|all| {
        all.matters
            .get(&matter)
            .map(|matter| matter.parties.clone())
    });
    let found = found.unwrap_or_default();
    told(house, &permit, found.len()).await?;
    Ok(found)
}

/// The legal holds, those that were released among them. Of a hold that also covers what is
/// behind a wall, the rest; of one that covers nothing else, nothing.
///
/// # Errors
/// Refusals of the gate; faults of the store.
pub async fn holds(house: &House, session: &Session<'_>) -> Result<Vec<Hold>> {
    let permit = asked(session, "holds").await?;
    let query = HoldQuery {
        tenant: house.tenant(),
        subject: None,
        matter: None,
        active: false,
    };
    let sight = session.sight();
    let mut found = house.doors.store.holds(&query).await?;
    found.retain_mut(|hold| {
        hold.subjects
            .retain(|subject| sight.admits(None, Some(*subject)));
        hold.matters
            .retain(|matter| sight.admits(Some(*matter), None));
        !hold.subjects.is_empty() || !hold.matters.is_empty()
    });
    told(house, &permit, found.len()).await?;
    Ok(found)
}

/// Looks for records by the value of an indexed field, within a matter or in all; at most
/// [`MOST_HITS`]. A name is found however it was written. A hit that the policy would not admit
/// to be looked for is none.
///
/// # Errors
/// [`Code::AclDeny`] as [`people`]; [`Unsupported`](crate::FaultKind::Unsupported) for a field
/// without an index and a value without a normal form; other refusals of the gate; faults of the
/// ports.
pub async fn search(
    house: &House,
    session: &Session<'_>,
    within: Option<MatterId>,
    (schema, field): (&Schema, &FieldName),
    value: &Pii<String>,
) -> Result<Vec<Hit>> {
    let category = schema
        .field(field)
        .map_or(Category::Identity, |spec| spec.classification.category);
    let scope = Scope::over([], [category])
        .in_matter(within)
        .about("field", field.label().clone());
    let permit = session.permit(Act::Search, scope).await?;
    let tags = house.sealer.search_tags(schema, field, value).await?;
    let mut hits: Vec<Hit> = Vec::new();
    let mut judged = 0;
    let may = |matter: Option<MatterId>, subject| {
        let scope = Scope::of(subject, category).in_matter(matter);
        session.would_admit(Act::Search, &scope)
    };
    let sight = session.sight();
    'tags: for tag in tags {
        let mut after = None;
        loop {
            let by = RecordBy::Tag(field.clone(), tag.clone());
            let query = RecordQuery::all(house.tenant(), by).page(after, PAGE);
            let found = house.doors.store.records(&query).await?;
            for record in &found {
                let hit = Hit {
                    record: record.key.record,
                    subject: record.key.subject,
                    matter: record.matter,
                };
                // What is behind a wall is not judged, and so leaves its place to a decoy.
                if sight.admits(hit.matter, Some(hit.subject)) {
                    judged += 1;
                    let seen = may(hit.matter, hit.subject)
                        && within.is_none_or(|within| hit.matter == Some(within));
                    if seen && !hits.contains(&hit) {
                        hits.push(hit);
                    }
                }
                if hits.len() == MOST_HITS {
                    break 'tags;
                }
            }
            if found.len() < PAGE {
                break;
            }
            after = found.last().map(|record| record.key.record);
        }
    }
    for decoy in judged..FEW {
        // Nobody has these ids. The answer is thrown away; that it was asked for is what counts.
        let nobody = SubjectId::derived(&[b"decoy", &decoy.to_be_bytes()]);
        core::hint::black_box(may(within, nobody));
    }
    told(house, &permit, hits.len()).await?;
    Ok(hits)
}

/// Everything that the house has of a person, opened, to be handed out: in one matter, or in all
/// of them where the actor stands before no wall to any.
///
/// # Errors
/// [`Code::AclDeny`] alike for a person who is not known and one behind a wall; other refusals of
/// the gate and of opening; faults of the ports.
pub async fn export(
    house: &House,
    session: &Session<'_>,
    subject: SubjectId,
    within: Option<MatterId>,
    categories: &[Category],
) -> Result<Dossier> {
    let scope = Scope::over([subject], categories.iter().copied()).in_matter(within);
    let query = SheetQuery::named(house.tenant(), Register::Subjects, label(subject));
    let known = house.doors.store.sheets(&query).await?;
    if known.is_empty() {
        // In the words in which the gate refuses what is behind a wall.
        let refusal = Refusal::new(Code::AclDeny);
        session.log_refusal(Act::Export, &scope, &refusal).await?;
        return Err(refusal.about("act", Act::Export.as_str()).into());
    }
    let permit = session.permit(Act::Export, scope).await?;
    let sight = session.sight();
    let here = |matter: Option<MatterId>| {
        within.is_none_or(|within| matter == Some(within)) && sight.admits(matter, Some(subject))
    };
    let all = RecordQuery::all(house.tenant(), RecordBy::Subject(subject));
    let mut records = Vec::new();
    for record in house.doors.store.records(&all).await? {
        if here(record.matter) {
            let fields = house.sealer.open_covered(&record, &permit).await?;
            records.push((record.key, record.matter, fields));
        }
    }
    let all = PlacementQuery::of(house.tenant(), subject);
    let mut placements = house.doors.store.placements(&all).await?;
    placements.retain(|copy| here(copy.matter) && categories.contains(&copy.category));
    told(house, &permit, records.len() + placements.len()).await?;
    Ok(Dossier {
        records,
        placements,
    })
}

/// The log as the session's actor may see it: what happened and when, in order. To go on, ask
/// again from a millisecond after the last instant.
///
/// # Errors
/// [`Code::AclDeny`] for roles that do not read the log, and alike for a matter that is not there
/// and one behind a wall; other refusals of the gate; faults of the store;
/// [`Code::AudChain`] for what is no log.
pub async fn log(
    house: &House,
    session: &Session<'_>,
    view: &View,
) -> Result<Vec<(Timestamp, Event)>> {
    let mut scope = Scope::firm().in_matter(view.matter).about("list", "log");
    if let Some(subject) = view.subject {
        scope = scope.about("person", subject);
    }
    if !READERS.contains(&session.role()) {
        let refusal = Refusal::new(Code::AclDeny);
        session.log_refusal(Act::Open, &scope, &refusal).await?;
        return Err(refusal.about("act", Act::Open.as_str()).into());
    }
    let permit = session.permit(Act::Open, scope).await?;
    let sight = session.sight();
    let limit = view.limit.min(MOST_EVENTS);
    let mut seen: Vec<(Timestamp, Event)> = Vec::new();
    let mut places = Places::of(house, view).await?;
    while let Some(entries) = places.next(house).await? {
        let mut ended = false;
        for (at, event) in sight.log(entries) {
            ended = at >= view.to
                || (seen.len() >= limit && seen.last().is_none_or(|(last, _)| *last != at));
            if ended {
                break;
            }
            let about = view
                .matter
                .is_none_or(|matter| event.matter == Some(matter));
            if at >= view.from && about {
                seen.push((at, event));
            }
        }
        if ended {
            break;
        }
    }
    told(house, &permit, seen.len()).await?;
    Ok(seen)
}

/// Hands the log since an instant to `each`, page by page.
pub(super) async fn since(
    house: &House,
    from: Timestamp,
    mut each: impl FnMut(Vec<Entry>),
) -> Result<()> {
    let mut places = Places::since(house, from).await?;
    while let Some(entries) = places.next(house).await? {
        each(entries);
    }
    Ok(())
}

/// Where in the log to read: from a place on, or at the places that name a person.
enum Places {
    From(u64),
    At(std::vec::IntoIter<u64>),
}

impl Places {
    async fn of(house: &House, view: &View) -> Result<Self> {
        let ledger = &house.doors.ledger;
        if let Some(subject) = view.subject {
            let trail = ledger.trail(house.tenant(), subject, view.from, view.to);
            return Ok(Self::At(trail.await?.into_iter()));
        }
        Self::since(house, view.from).await
    }

    async fn since(house: &House, from: Timestamp) -> Result<Self> {
        let ledger = &house.doors.ledger;
        // No entry is older than the one before it.
        let (mut low, mut high) = (0, ledger.size(house.tenant()).await?);
        while low < high {
            let middle = low + (high - low) / 2;
            let found = ledger.entries(house.tenant(), middle, 1).await?;
            let before = match found.first() {
                Some(bytes) => Entry::parse(bytes)?.at < from,
                None => false,
            };
            if before {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(Self::From(low))
    }

    async fn next(&mut self, house: &House) -> Result<Option<Vec<Entry>>> {
        let ledger = &house.doors.ledger;
        let found = match self {
            Self::From(place) => {
                let found = ledger.entries(house.tenant(), *place, PAGE).await?;
                *place += found.len() as u64;
                found
            }
            Self::At(places) => match places.next() {
                Some(place) => ledger.entries(house.tenant(), place, 1).await?,
                None => Vec::new(),
            },
        };
        if found.is_empty() {
            return Ok(None);
        }
        let entries = found.iter().map(|bytes| Entry::parse(bytes));
        let entries: core::result::Result<Vec<_>, Code> = entries.collect();
        entries.map(Some).map_err(Error::from)
    }
}

async fn asked<'s>(session: &'s Session<'_>, list: &'static str) -> Result<Permit<'s>> {
    let scope = Scope::firm().about("list", list);
    session.permit(Act::Search, scope).await
}

/// What `of` makes of each matter that the policy would admit to be looked for. A wall is a no.
fn visible<T>(house: &House, session: &Session<'_>, of: impl Fn(&Matter) -> T) -> Vec<T> {
    let ids: Vec<_> = house
        .gate
        .directory(|directory| directory.matters.keys().copied().collect());
    let may = |id: &MatterId| session.would_admit(Act::Search, &Scope::firm().in_matter(*id));
    let ids: Vec<_> = ids.into_iter().filter(may).collect();
    house.gate.directory(|directory| {
        let matters = ids.iter().filter_map(|id| directory.matters.get(id));
        matters.map(of).collect()
    })
}

/// Notes how much was told. What was hidden is not counted: who reads the log may be behind the
/// same wall.
async fn told(house: &House, permit: &Permit<'_>, rows: usize) -> Result<()> {
    let event = permit.event(permit.act(), Outcome::Done);
    let mut change = ChangeSet::new(house.tenant(), house.gate.now());
    change.durability = Durability::Bounded;
    let change = change.event(event.with("rows", rows));
    house.doors.store.commit(change).await.map(drop)
}

/// The most that a search finds: who finds more asks more narrowly.
pub const MOST_HITS: usize = 256;

/// The most events, about, that one view of the log has.
pub const MOST_EVENTS: usize = 1024;

/// Who reads the log of the house. Those who work on a matter are in it, and ask these.
const READERS: [Role; 3] = [Role::Auditor, Role::Ciso, Role::Dpo];

/// Records and entries that are read together.
const PAGE: usize = 128;

/// As many rows are judged in any case.
const FEW: usize = 8;
