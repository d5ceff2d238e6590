//! Under every stage: fresh keys for everybody, while the house works.
//!
//! ```text
//!   Turning ──▶ Waiting ──▶ Sealing ──▶ Ending ──▶ Done
//!   a fresh key  until no    every       former keys and index keys
//!   a person, a  writer can  record and  destroyed, with a turn of
//!   fresh index  hold an old content     the epoch
//!   key          one         sealed anew
//! ```
//!
//! Readers notice nothing: until the end a value opens with whichever of the person's two keys
//! sealed it. Writers seal with the fresh key from the first step on. By the time sealing anew
//! begins, nobody can hold a former key any more, so that one pass meets all that was sealed
//! under one.
//!
//! The work goes branch by branch of the key tree. How far it is, is committed together with
//! what was sealed, so that it may be killed at any instruction and called again, in this
//! process or another.

use serde::{Deserialize, Serialize};

use crate::audit::{Label, Outcome};
use crate::crypto::{Hierarchy, KeyHolder};
use crate::error::{Error, FaultKind, Result};
use crate::id::SubjectId;
use crate::pii::placement::CopyOf;
use crate::pii::{Placement, PlacementState, Schema};
use crate::pipeline::house::{House, file};
use crate::pipeline::receive;
use crate::policy::{Act, ContentPlace, Permit, Scope, Session};
use crate::ports::BlobId;
use crate::ports::store::{
    Change, ChangeSet, Expected, PlacementQuery, RecordBy, RecordQuery, Register, SheetQuery,
};
use crate::refusal::{Code, Refusal};
use crate::time::Timestamp;

/// A rotation of everybody's keys, under way or done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rekeying {
    /// Counted from 1 in this house.
    pub number: u32,
    /// When it began.
    #[serde(with = "crate::text::instant")]
    pub begun: Timestamp,
    /// How far it is.
    pub stage: Stage,
    /// The index epochs that end with it.
    pub index: Vec<u32>,
    /// People who got a fresh key.
    pub people: u64,
    /// Records sealed anew.
    pub records: u64,
    /// Documents' contents sealed anew.
    pub contents: u64,
}

/// How far a rotation is. A branch is the next one to work on, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// People are given fresh keys.
    Turning {
        /// Where it goes on.
        branch: u32,
    },
    /// Whoever was handed a former key may still hold it.
    Waiting {
        /// Until when.
        #[serde(with = "crate::text::instant")]
        until: Timestamp,
    },
    /// Records and contents are sealed anew.
    Sealing {
        /// Where it goes on.
        branch: u32,
    },
    /// Former keys are destroyed.
    Ending {
        /// Where it goes on.
        branch: u32,
    },
    /// All of it is done.
    Done,
}

/// The rotation that is under way, if one is.
///
/// # Errors
/// Faults of the store.
pub async fn under_way(house: &House) -> Result<Option<Rekeying>> {
    Ok(last(house)
        .await?
        .filter(|rekeying| rekeying.stage != Stage::Done))
}

/// Gives everybody a fresh key, and the blind index one, or goes on where an earlier call left
/// off. It goes as far as it can now and answers where that is: at [`Stage::Waiting`] call again
/// when the time has come. `progress` is told after every branch.
///
/// What it does not reach: copies outside the house's store and blobs, which are not sealed
/// under these keys, and backups, which the destruction of the former keys makes unreadable
/// where they lie: take a new one afterwards.
///
/// # Errors
/// Refusals of the gate; [`Code::SynUnmapped`] for records of a schema that is not known here;
/// [`Code::CrySwap`] for a record that is not what was sealed. Faults of the ports: calling again
/// goes on.
pub async fn rekey(
    house: &House,
    session: &Session<'_>,
    progress: &mut (dyn FnMut(&Rekeying) + Send),
) -> Result<Rekeying> {
    let mut rekeying = match under_way(house).await? {
        Some(rekeying) => rekeying,
        None => begin(house, session).await?,
    };
    loop {
        progress(&rekeying);
        match rekeying.stage {
            Stage::Done => return Ok(rekeying),
            Stage::Waiting { until } if house.gate.now() < until => return Ok(rekeying),
            _ => {}
        }
        rekeying = step(house, session, rekeying).await?;
    }
}

async fn begin(house: &House, session: &Session<'_>) -> Result<Rekeying> {
    let number = last(house)
        .await?
        .map_or(0, |last| last.number)
        .saturating_add(1);
    let permit = session
        .permit(
            Act::Rekey,
            Scope::firm().about("rekeying", u64::from(number)),
        )
        .await?;
    let rekeying = Rekeying {
        number,
        begun: house.gate.now(),
        stage: Stage::Turning { branch: 0 },
        index: house.sealer.keys().index_epochs().await?,
        people: 0,
        records: 0,
        contents: 0,
    };
    commit(house, &permit, &rekeying, Vec::new()).await?;
    Ok(rekeying)
}

/// One branch, or one change of stage.
async fn step(house: &House, session: &Session<'_>, rekeying: Rekeying) -> Result<Rekeying> {
    let scope = Scope::firm().about("rekeying", u64::from(rekeying.number));
    let permit = session.permit(Act::Rekey, scope).await?;
    match rekeying.stage {
        Stage::Turning { branch } => turn(house, &permit, rekeying, branch).await,
        Stage::Waiting { .. } => {
            let stage = Stage::Sealing { branch: 0 };
            moved(house, &permit, Rekeying { stage, ..rekeying }).await
        }
        Stage::Sealing { branch } => seal(house, &permit, rekeying, branch).await,
        Stage::Ending { branch } => end(house, &permit, rekeying, branch).await,
        Stage::Done => Ok(rekeying),
    }
}

async fn turn(
    house: &House,
    permit: &Permit<'_>,
    mut rekeying: Rekeying,
    branch: u32,
) -> Result<Rekeying> {
    let keys = house.sealer.keys();
    if let Some(newest) = rekeying.index.last() {
        keys.rotate_index_past(*newest).await?;
    }
    let Some(holders) = keys.holders_below(branch).await? else {
        let until = house.gate.now() + Hierarchy::HELD;
        rekeying.stage = Stage::Waiting { until };
        return moved(house, permit, rekeying).await;
    };
    let people = subjects(holders.iter().filter(|holder| holder.rotation.is_none()));
    rekeying.people += holders.len() as u64;
    rekeying.stage = Stage::Turning { branch: branch + 1 };
    match keys.rotate_subjects(&people, house.gate.now()).await {
        // Somebody was erased in between: the branch is looked at again.
        Err(error) if is_erased(&error) => {
            rekeying.people -= holders.len() as u64;
            rekeying.stage = Stage::Turning { branch };
            Ok(rekeying)
        }
        outcome => {
            outcome?;
            moved(house, permit, rekeying).await
        }
    }
}

async fn seal(
    house: &House,
    permit: &Permit<'_>,
    rekeying: Rekeying,
    branch: u32,
) -> Result<Rekeying> {
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        match try_seal(house, permit, rekeying.clone(), branch).await {
            // Somebody wrote a record, or was erased, meanwhile.
            Err(error) if left > 0 && (is_conflict(&error) || is_erased(&error)) => {}
            outcome => return outcome,
        }
    }
}

async fn try_seal(
    house: &House,
    permit: &Permit<'_>,
    mut rekeying: Rekeying,
    branch: u32,
) -> Result<Rekeying> {
    let keys = house.sealer.keys();
    let Some(holders) = keys.holders_below(branch).await? else {
        rekeying.stage = Stage::Ending { branch: 0 };
        return moved(house, permit, rekeying).await;
    };
    let index = keys.index_key().await?;
    let mut changes = Vec::new();
    for holder in holders {
        let person = keys.subject_key(holder.subject).await?;
        let mut after = None;
        loop {
            let query = RecordQuery {
                tenant: house.tenant(),
                by: RecordBy::Subject(holder.subject),
                after,
                limit: BATCH,
            };
            let found = house.doors.store.records(&query).await?;
            for record in &found {
                let schema = schema(&record.schema)?;
                let (sealed, index) = house
                    .sealer
                    .reseal(record, &person, &index, &schema, permit)?;
                changes.push(Change::PutRecord {
                    record: sealed,
                    index,
                    expected: Expected::Revision(record.revision),
                });
            }
            rekeying.records += found.len() as u64;
            if changes.len() >= BATCH {
                // How far it is stays as it was: should this be all, the branch is done again.
                let mut change = ChangeSet::new(house.tenant(), house.gate.now());
                change.changes = std::mem::take(&mut changes);
                house.doors.store.commit(change).await?;
            }
            if found.len() < BATCH {
                break;
            }
            after = found.last().map(|record| record.key.record);
        }
        rekeying.contents += contents(house, &person, permit).await?;
    }
    rekeying.stage = Stage::Sealing { branch: branch + 1 };
    commit(house, permit, &rekeying, changes).await?;
    Ok(rekeying)
}

/// Seals anew what the blobs hold of a person, one after the other.
async fn contents(
    house: &House,
    person: &crate::crypto::SubjectKey,
    permit: &Permit<'_>,
) -> Result<u64> {
    let query = PlacementQuery::of(house.tenant(), person.subject());
    let mut count = 0;
    for placement in house.doors.store.placements(&query).await? {
        let CopyOf::Document(document) = placement.of else {
            continue;
        };
        if placement.system != Placement::BLOBS
            || !matches!(placement.state, PlacementState::Present)
        {
            continue;
        }
        let id = BlobId {
            tenant: house.tenant(),
            subject: placement.subject,
            document,
        };
        let place = ContentPlace {
            subject: placement.subject,
            matter: placement.matter,
            document,
            category: placement.category,
        };
        let stored = house.doors.blobs.stream(&id, permit).await?;
        let sealed = house
            .sealer
            .reseal_content(&place, person, stored, permit)?;
        house.doors.blobs.put(&id, sealed, permit).await?;
        count += 1;
    }
    Ok(count)
}

/// Destroys former keys, many branches under one turn of the epoch; the index keys last.
async fn end(
    house: &House,
    permit: &Permit<'_>,
    mut rekeying: Rekeying,
    branch: u32,
) -> Result<Rekeying> {
    let keys = house.sealer.keys();
    let mut people = Vec::new();
    let mut next = branch;
    while next < branch.saturating_add(TOGETHER) {
        let Some(holders) = keys.holders_below(next).await? else {
            break;
        };
        people.extend(subjects(
            holders.iter().filter(|holder| holder.rotation.is_some()),
        ));
        next += 1;
    }
    if next > branch {
        if !people.is_empty() {
            match keys.finish_subjects(&people, 0, house.gate.now()).await {
                Err(error) if is_erased(&error) => return Ok(rekeying),
                outcome => outcome.map(drop)?,
            }
        }
        rekeying.stage = Stage::Ending { branch: next };
        return moved(house, permit, rekeying).await;
    }
    for epoch in &rekeying.index {
        keys.retire_index(*epoch, house.gate.now()).await?;
    }
    rekeying.stage = Stage::Done;
    moved(house, permit, rekeying).await
}

async fn moved(house: &House, permit: &Permit<'_>, rekeying: Rekeying) -> Result<Rekeying> {
    commit(house, permit, &rekeying, Vec::new()).await?;
    Ok(rekeying)
}

async fn commit(
    house: &House,
    permit: &Permit<'_>,
    rekeying: &Rekeying,
    changes: Vec<Change>,
) -> Result<()> {
    let event = permit
        .event(Act::Rekey, Outcome::Done)
        .with("rekeying", u64::from(rekeying.number))
        .with("stage", rekeying.stage.word())
        .with("people", rekeying.people)
        .with("records", rekeying.records)
        .with("contents", rekeying.contents);
    let mut change = ChangeSet::new(house.tenant(), house.gate.now()).event(event);
    change.changes = changes;
    let id = sheet(rekeying.number);
    let change = change.with(file(Register::Rotations, id, None, None, rekeying)?);
    house.doors.store.commit(change).await.map(drop)
}

async fn last(house: &House) -> Result<Option<Rekeying>> {
    let query = SheetQuery::all(house.tenant(), Register::Rotations);
    let sheets = house.doors.store.sheets(&query).await?;
    match sheets
        .iter()
        .max_by(|one, other| one.id.as_str().cmp(other.id.as_str()))
    {
        Some(sheet) => house.filed(Register::Rotations, &sheet.id).await,
        None => Ok(None),
    }
}

/// The sheet's name: numbers in the order of names.
fn sheet(number: u32) -> Label {
    crate::pipeline::house::label(format_args!("rekeying-{number:010}"))
}

fn schema(name: &Label) -> Result<Schema> {
    if *name == receive::SCHEMA {
        // Its fields differ from message to message, and no index is kept of any.
        return Ok(Schema {
            name: receive::SCHEMA,
            fields: Vec::new(),
        });
    }
    let person = Some(Schema::person()).filter(|schema| schema.name == *name);
    person.ok_or_else(|| {
        Refusal::new(Code::SynUnmapped)
            .about("schema", name.clone())
            .into()
    })
}

fn subjects<'h>(holders: impl Iterator<Item = &'h KeyHolder>) -> Vec<SubjectId> {
    holders.map(|holder| holder.subject).collect()
}

fn is_conflict(error: &Error) -> bool {
    error
        .fault()
        .is_some_and(|fault| fault.kind() == FaultKind::Conflict)
}

fn is_erased(error: &Error) -> bool {
    error
        .refusal()
        .is_some_and(|refusal| refusal.code() == Code::CryErased)
}

impl Stage {
    /// The stage's word in the log.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Turning { .. } => "turning",
            Self::Waiting { .. } => "waiting",
            Self::Sealing { .. } => "sealing",
            Self::Ending { .. } => "ending",
            Self::Done => "done",
        }
    }
}

/// Records that are read and written together.
const BATCH: usize = 1000;
/// Branches whose people's former keys end under one turn of the epoch.
const TOGETHER: u32 = 64;
/// How often a branch is done again when somebody wrote meanwhile.
const ATTEMPTS: u32 = 16;
