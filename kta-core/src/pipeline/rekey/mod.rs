//! Under every stage: fresh keys for everybody, while the house works.
//!
//! ```text
//!             ┌──────────── something is left under a former key ───────────┐
//!             ▼                                                             │
//! Turning ─▶ Waiting ──▶ Sealing ──▶ Draining ──▶ Ending ──▶ Done           │
//! a fresh     no writer   records     no reader    what is left is counted, ┘
//! key each,   holds a     and         holds what   then former keys and index
//! and index   former one  contents    was sealed   keys are destroyed, with
//! key                     anew        before       a turn of the epoch
//! ```
//!
//! Until the end a value opens with whichever of the person's two keys sealed it, and writers
//! seal with the fresh one from the first step on. Nobody is meant to hold a key, or a record
//! that was read, for longer than [`Hierarchy::HELD`]; no commit enforces it, so that before a
//! former key ends, everything that the person has is looked through for what still names it.
//! Where something does, it is sealed anew, and the waiting begins again.
//!
//! What cannot be read (altered, lost, of a schema that is not known here) does not stop the
//! others: it is an [`Exception`], its person's former key stays, and while it is a record the
//! older index keys stay too. The next rotation tries again.
//!
//! The work goes branch by branch of the key tree, and person by person where it is long. How
//! far it is, is committed together with what was sealed, expecting the sheet as it was read: it
//! may be killed at any instruction and called again, here or elsewhere, and of two workers one
//! makes each step. Each such commit has an event with a digest over what it sealed anew: record,
//! revision before, revision after. For the record's header vouches for its revision only, and
//! one that was put back whole would be sealed anew as if it were the present one; the log of the
//! writes before tells.

mod exception;
mod people;

use serde::{Deserialize, Serialize};

pub use exception::{Exception, Why};

use crate::audit::{Event, Label, Outcome};
use crate::crypto::{EraseClaim, Hierarchy};
use crate::error::{Error, Fault, FaultKind, Port, Result};
use crate::id::{Digest, SubjectId};
use crate::pii::placement::CopyOf;
use crate::pipeline::house::{House, file};
use crate::policy::{Act, Permit, Scope, Session};
use crate::ports::store::{Change, ChangeSet, Expected, Register, SheetQuery};
use crate::refusal::Code;
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
    /// How often something was left under a former key when those were to end.
    pub again: u32,
    /// People who got a fresh key.
    pub people: u64,
    /// Records sealed anew.
    pub records: u64,
    /// Documents' contents sealed anew.
    pub contents: u64,
    /// What could not be sealed anew.
    pub exceptions: Vec<Exception>,
    /// The least that may be claimed of any former key that ended; absent while none has.
    pub claim: Option<EraseClaim>,
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
        /// The last person of the branch who is done.
        after: Option<SubjectId>,
    },
    /// Whoever read something sealed before may still have to open it.
    Draining {
        /// Until when.
        #[serde(with = "crate::text::instant")]
        until: Timestamp,
    },
    /// Former keys are destroyed.
    Ending {
        /// Where it goes on.
        branch: u32,
        /// When that began.
        #[serde(with = "crate::text::instant")]
        since: Timestamp,
        /// From when on what was left over in the branches before can be sealed and ended.
        late: Option<Timestamp>,
    },
    /// All of it is done.
    Done,
}

/// The rotation that is under way, if one is.
///
/// # Errors
/// Faults of the store.
pub async fn under_way(house: &House) -> Result<Option<Rekeying>> {
    let last = last(house).await?.map(|filed| filed.rekeying);
    Ok(last.filter(|rekeying| rekeying.stage != Stage::Done))
}

/// Gives everybody a fresh key, and the blind index one, or goes on where an earlier call left
/// off. It goes as far as it can now and answers where that is: at [`Stage::Waiting`] and
/// [`Stage::Draining`] call again when the time has come. `progress` is told at every step.
///
/// What it does not reach: copies outside the house's store and blobs, which are not sealed
/// under these keys, and backups. The end of a former key makes those unreadable as far as
/// [`Rekeying::claim`] goes: not while a declared copy of a key stands, and not before the
/// custodian's waiting period is over. Take a new backup afterwards.
///
/// # Errors
/// Refusals of the gate. [`Code::CrySwap`] and its like only when there are more than a thousand
/// [exceptions](Exception) already. Faults of the ports: calling again goes on.
pub async fn rekey(
    house: &House,
    session: &Session<'_>,
    progress: &mut (dyn FnMut(&Rekeying) + Send),
) -> Result<Rekeying> {
    let mut filed = match last(house).await? {
        Some(filed) if filed.rekeying.stage != Stage::Done => filed,
        last => begin(house, session, last).await?,
    };
    loop {
        progress(&filed.rekeying);
        match filed.rekeying.stage {
            Stage::Done => return Ok(filed.rekeying),
            Stage::Waiting { until } | Stage::Draining { until } if house.gate.now() < until => {
                return Ok(filed.rekeying);
            }
            _ => filed = step(house, session, filed).await?,
        }
    }
}

/// A rotation as its sheet has it.
#[derive(Clone)]
struct Filed {
    rekeying: Rekeying,
    /// The sheet's revision; 0 before there is one.
    revision: u64,
}

async fn begin(house: &House, session: &Session<'_>, last: Option<Filed>) -> Result<Filed> {
    let number = last.map_or(0, |last| last.rekeying.number);
    let rekeying = Rekeying {
        number: number.saturating_add(1),
        begun: house.gate.now(),
        stage: Stage::Turning { branch: 0 },
        index: house.sealer.keys().index_epochs().await?,
        again: 0,
        people: 0,
        records: 0,
        contents: 0,
        exceptions: Vec::new(),
        claim: None,
    };
    let filed = Filed {
        rekeying,
        revision: 0,
    };
    let mut work = Work::on(house, session, filed).await?;
    match work.commit().await {
        // Somebody else began one just now.
        Err(error) if is_conflict(&error) => reread(house).await,
        outcome => outcome.map(|()| work.filed),
    }
}

/// Some branches, or one change of stage; or what another worker made of it meanwhile.
async fn step(house: &House, session: &Session<'_>, filed: Filed) -> Result<Filed> {
    let (mut left, mut together) = (ATTEMPTS, TOGETHER);
    loop {
        left -= 1;
        let mut work = Work::on(house, session, filed.clone()).await?;
        work.together = together;
        // The less is written together, the less somebody else can have changed of it.
        together = (together / 2).max(LEAST_TOGETHER);
        match work.step().await {
            Ok(()) => return Ok(work.filed),
            // Somebody wrote a record, was erased, or works on the rotation too.
            Err(error) if is_conflict(&error) || is_erased(&error) => {
                let now = reread(house).await?;
                let seen = (filed.rekeying.number, filed.revision);
                if (now.rekeying.number, now.revision) != seen {
                    return Ok(now);
                }
                if left == 0 {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// One worker at one step.
struct Work<'a> {
    house: &'a House,
    session: &'a Session<'a>,
    permit: Permit<'a>,
    filed: Filed,
    /// How many records are written together.
    together: usize,
    /// What waits for the next commit, and how many sealed bytes that is.
    changes: Vec<Change>,
    bytes: usize,
    events: Vec<Event>,
    /// Record, revision before and revision after of each record in `changes`.
    resealed: Vec<u8>,
    committed: Timestamp,
}

impl<'a> Work<'a> {
    async fn on(house: &'a House, session: &'a Session<'a>, filed: Filed) -> Result<Self> {
        Ok(Self {
            permit: admitted(session, filed.rekeying.number).await?,
            house,
            session,
            filed,
            together: TOGETHER,
            changes: Vec::new(),
            bytes: 0,
            events: Vec::new(),
            resealed: Vec::new(),
            committed: house.gate.now(),
        })
    }

    async fn step(&mut self) -> Result<()> {
        match self.filed.rekeying.stage {
            Stage::Turning { branch } => self.turn(branch).await,
            Stage::Waiting { .. } => {
                let (branch, after) = (0, None);
                self.moved(Stage::Sealing { branch, after }).await
            }
            Stage::Sealing { branch, after } => self.seal(branch, after).await,
            Stage::Draining { .. } => {
                let since = self.house.gate.now();
                let (branch, late) = (0, None);
                self.moved(Stage::Ending {
                    branch,
                    since,
                    late,
                })
                .await
            }
            Stage::Ending {
                branch,
                since,
                late,
            } => self.end(branch, since, late).await,
            Stage::Done => Ok(()),
        }
    }

    async fn turn(&mut self, branch: u32) -> Result<()> {
        let (keys, now) = (self.house.sealer.keys(), self.house.gate.now());
        if let Some(newest) = self.filed.rekeying.index.last() {
            keys.rotate_index_past(*newest).await?;
        }
        let Some(holders) = keys.holders_below(branch).await? else {
            let until = now + Hierarchy::HELD;
            return self.moved(Stage::Waiting { until }).await;
        };
        let people: Vec<_> = holders.iter().map(|holder| holder.subject).collect();
        let turned = keys.rotate_subjects(&people, now).await?;
        let begun = self.filed.rekeying.begun;
        let fresh = turned.iter().filter(|turned| turned.since >= begun);
        self.filed.rekeying.people += fresh.count() as u64;
        self.moved(Stage::Turning { branch: branch + 1 }).await
    }

    /// Seals branches until there is enough for a commit, so that a small branch costs none of
    /// its own.
    async fn seal(&mut self, branch: u32, after: Option<SubjectId>) -> Result<()> {
        let keys = self.house.sealer.keys();
        let index = keys.index_key().await?;
        let (mut branch, mut after) = (branch, after);
        while let Some(holders) = keys.holders_below(branch).await? {
            for holder in holders {
                if after.is_some_and(|after| holder.subject <= after) {
                    continue;
                }
                self.seal_person(&holder, &index).await?;
                let after = Some(holder.subject);
                self.filed.rekeying.stage = Stage::Sealing { branch, after };
                if self.is_due() {
                    self.commit().await?;
                }
            }
            (branch, after) = (branch + 1, None);
            self.filed.rekeying.stage = Stage::Sealing { branch, after };
            if self.changes.len() >= self.together / 2 || self.is_due() {
                return self.commit().await;
            }
        }
        let until = self.house.gate.now() + Hierarchy::HELD;
        self.moved(Stage::Draining { until }).await
    }

    /// Whether what waits for the next commit is much, or waits long.
    fn is_due(&self) -> bool {
        self.is_much() || self.house.gate.now() - self.committed >= UNTOLD
    }

    fn is_much(&self) -> bool {
        self.changes.len() >= self.together || self.bytes >= MOST
    }

    /// Destroys former keys, many branches under one turn of the epoch; the index keys last.
    async fn end(&mut self, branch: u32, since: Timestamp, late: Option<Timestamp>) -> Result<()> {
        let keys = self.house.sealer.keys();
        let (mut people, mut late, mut next) = (Vec::new(), late, branch);
        while next < branch.saturating_add(BRANCHES) {
            let Some(holders) = keys.holders_below(next).await? else {
                break;
            };
            for holder in holders {
                let Some(rotation) = holder.rotation else {
                    // One that ended here when this step was made before, and was not told.
                    people.extend(
                        holder
                            .ended
                            .filter(|at| *at >= since)
                            .map(|_| holder.subject),
                    );
                    continue;
                };
                if self.is_excepted(holder.subject) {
                    continue;
                }
                let now = self.house.gate.now();
                let ripe = rotation.since + Hierarchy::HELD;
                if now < ripe {
                    late = late.max(Some(ripe));
                } else if self.left(&rotation).await? > 0 {
                    late = late.max(Some(now));
                } else {
                    people.push(holder.subject);
                }
            }
            next += 1;
        }
        if !people.is_empty() {
            // Of whom anything was left is not among them.
            let ended = keys
                .finish_subjects(&people, 0, self.house.gate.now())
                .await?;
            self.tell(&ended, since);
        }
        if next > branch {
            let branch = next;
            return self
                .moved(Stage::Ending {
                    branch,
                    since,
                    late,
                })
                .await;
        }
        if let Some(until) = late {
            self.filed.rekeying.again = self.filed.rekeying.again.saturating_add(1);
            return self.moved(Stage::Waiting { until }).await;
        }
        let exceptions = &self.filed.rekeying.exceptions;
        if !exceptions
            .iter()
            .any(|kept| matches!(kept.of, CopyOf::Record(_)))
        {
            for epoch in &self.filed.rekeying.index {
                keys.retire_index(*epoch, self.house.gate.now()).await?;
            }
        }
        self.moved(Stage::Done).await
    }

    async fn moved(&mut self, stage: Stage) -> Result<()> {
        self.filed.rekeying.stage = stage;
        self.commit().await
    }

    /// Commits what waits, with how far it is. A conflict when another worker was here.
    async fn commit(&mut self) -> Result<()> {
        self.renew().await?;
        let Filed { rekeying, revision } = &self.filed;
        let mut event = self
            .permit
            .event(Act::Rekey, Outcome::Done)
            .with("rekeying", u64::from(rekeying.number))
            .with("stage", rekeying.stage.word())
            .with("people", rekeying.people)
            .with("records", rekeying.records)
            .with("contents", rekeying.contents)
            .with("exceptions", rekeying.exceptions.len());
        if !self.resealed.is_empty() {
            event = event.with("resealed", Digest::of(&self.resealed));
        }
        let mut change = ChangeSet::new(self.house.tenant(), self.house.gate.now()).event(event);
        change.events.append(&mut self.events);
        change.changes = core::mem::take(&mut self.changes);
        let id = sheet(rekeying.number);
        if let Change::File { mut sheet, .. } = file(Register::Rotations, id, None, None, rekeying)?
        {
            sheet.revision = revision + 1;
            let expected = match revision {
                0 => Expected::Absent,
                revision => Expected::Revision(*revision),
            };
            change.changes.push(Change::File { sheet, expected });
        }
        self.house.doors.store.commit(change).await?;
        self.filed.revision += 1;
        self.resealed.clear();
        self.bytes = 0;
        self.committed = self.house.gate.now();
        Ok(())
    }

    /// Asks for a new permit when the present one would not last for what comes next.
    async fn renew(&mut self) -> Result<()> {
        if self.house.gate.now() + RENEWAL >= self.permit.until() {
            self.permit = admitted(self.session, self.filed.rekeying.number).await?;
        }
        Ok(())
    }
}

async fn admitted<'a>(session: &'a Session<'a>, number: u32) -> Result<Permit<'a>> {
    let scope = Scope::firm().about("rekeying", u64::from(number));
    session.permit(Act::Rekey, scope).await
}

async fn last(house: &House) -> Result<Option<Filed>> {
    let query = SheetQuery::all(house.tenant(), Register::Rotations);
    let sheets = house.doors.store.sheets(&query).await?;
    let last = sheets
        .iter()
        .max_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
    let Some(sheet) = last else {
        return Ok(None);
    };
    Ok(Some(Filed {
        rekeying: serde_json::from_slice(&sheet.body).map_err(|_| corrupt())?,
        revision: sheet.revision,
    }))
}

async fn reread(house: &House) -> Result<Filed> {
    last(house).await?.ok_or_else(corrupt)
}

/// The sheet's name: numbers in the order of names.
fn sheet(number: u32) -> Label {
    crate::pipeline::house::label(format_args!("rekeying-{number:010}"))
}

fn corrupt() -> Error {
    Fault::new(FaultKind::Corrupt, Port::Store, "read a rotation").into()
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
            Self::Draining { .. } => "draining",
            Self::Ending { .. } => "ending",
            Self::Done => "done",
        }
    }
}

/// Records that are written together.
const TOGETHER: usize = 2048;
/// Sealed bytes that are much, whatever the number of records.
const MOST: usize = 16 << 20;
/// Records that are written together when somebody keeps writing some of them.
const LEAST_TOGETHER: usize = 64;
/// Branches whose people's former keys end under one turn of the epoch.
const BRANCHES: u32 = 32;
/// How often a step is made again when somebody wrote meanwhile.
const ATTEMPTS: u32 = 16;
/// How long work may go on without a commit that says how far it is.
const UNTOLD: chrono::TimeDelta = chrono::TimeDelta::minutes(1);
/// How long a permit must last when something is begun under it.
const RENEWAL: chrono::TimeDelta = chrono::TimeDelta::minutes(10);
