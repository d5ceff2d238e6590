//! What has been done of a destruction, one sheet for each thing done, so that a step costs the
//! same whether the matter has ten copies or ten thousand.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::approval::Proposal;
use super::frozen;
use crate::audit::{Event, Label};
use crate::crypto::KeyErased;
use crate::error::Result;
use crate::id::{MatterId, PlacementId, SubjectId};
use crate::pii::Placement;
use crate::pipeline::house::{House, file, file_new, file_over, label, read};
use crate::ports::erase::{Erased, Probe};
use crate::ports::store::{Change, ChangeSet, PlacementQuery, Register, Sheet};
use crate::refusal::{Code, Refusal};
use crate::retention::{Evaluation, KeyKept};

/// What has been done of a destruction; nothing in it is ever taken back.
#[derive(Debug, Default)]
pub(super) struct Journal {
    copies: Vec<PlacementId>,
    pub(super) evaluations: BTreeMap<SubjectId, Evaluation>,
    /// What two people approved; `None` where an older version began.
    pub(super) proposal: Option<Proposal>,
    pub(super) erased: BTreeMap<PlacementId, Erased>,
    pub(super) kept: BTreeMap<SubjectId, KeyKept>,
    /// `None` until the keys were dealt with.
    pub(super) keys: Option<Vec<KeyErased>>,
    /// What the custodian said of the keys when its waiting period was over.
    pub(super) ended: Option<Vec<KeyErased>>,
    pub(super) probes: BTreeMap<PlacementId, Probe>,
}

/// One sheet of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Noted {
    /// Everything was checked; from now on these copies are destroyed.
    Begun {
        copies: Vec<PlacementId>,
        evaluations: BTreeMap<SubjectId, Evaluation>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proposal: Option<Proposal>,
    },
    /// Whether the matter is closed to new copies: it is before the approved set is counted for
    /// the last time, and again open when nothing is begun after all.
    Closing { closed: bool },
    /// A copy was erased by its system.
    Erased(PlacementId, Erased),
    /// Whose keys stay, and why: decided anew before each attempt to destroy the others.
    Kept(BTreeMap<SubjectId, KeyKept>),
    /// The keys of everybody else in the matter are destroyed.
    Keys(Vec<KeyErased>),
    /// The custodian of the keys was asked again, and none is left waiting.
    Ended(Vec<KeyErased>),
    /// A place was looked at afterwards.
    Probed(PlacementId, Probe),
}

impl Journal {
    /// Whether a destruction of the matter was begun.
    pub(super) async fn is_open(house: &House, matter: MatterId) -> Result<bool> {
        let begun = begun_id(matter);
        let begun = house.filed::<Noted>(Register::Dispositions, &begun);
        Ok(begun.await?.is_some())
    }

    /// The journal of a matter, where it was begun.
    pub(super) async fn read(house: &House, matter: MatterId) -> Result<Option<Self>> {
        let sheets = house
            .filed_in::<Noted>(Register::Dispositions, matter)
            .await?;
        let begun = sheets
            .iter()
            .any(|noted| matches!(noted, Noted::Begun { .. }));
        let mut journal = Self::default();
        sheets.into_iter().for_each(|noted| journal.take(noted));
        Ok(begun.then_some(journal))
    }

    /// Whether the matter is closed to new copies: its destruction is about to begin, or has begun.
    pub(super) async fn is_closed(house: &House, matter: MatterId) -> Result<bool> {
        let sheets = house
            .filed_in::<Noted>(Register::Dispositions, matter)
            .await?;
        let closes =
            |noted: &Noted| matches!(noted, Noted::Begun { .. } | Noted::Closing { closed: true });
        Ok(sheets.iter().any(closes))
    }

    /// Closes the matter to new copies, and gives what belongs [`beside`](Self::open) the begin,
    /// which then fails when the matter was opened again meanwhile.
    pub(super) async fn close(house: &House, matter: MatterId) -> Result<Change> {
        let closed = Noted::Closing { closed: true };
        let standing = Self::closing(house, matter).await?;
        if let Some((sheet, true)) = &standing {
            return file_over(sheet, &closed);
        }
        let (register, name) = (Register::Dispositions, closed.name(matter));
        let filed = match standing {
            Some((sheet, _)) => file_over(&sheet, &closed)?,
            None => file_new(register, name, None, Some(matter), &closed)?,
        };
        let change = ChangeSet::new(house.tenant(), house.gate.now()).with(filed);
        house.doors.store.commit(change).await?;
        match Self::closing(house, matter).await? {
            Some((sheet, true)) => file_over(&sheet, &closed),
            // Opened again in this moment by somebody who was refused.
            _ => Err(Refusal::new(Code::DspChanged)
                .about("matter", matter)
                .into()),
        }
    }

    /// Opens the matter to new copies again, when its destruction was refused.
    pub(super) async fn reopen(house: &House, matter: MatterId) -> Result<()> {
        let Some((sheet, true)) = Self::closing(house, matter).await? else {
            return Ok(());
        };
        let opened = file_over(&sheet, &Noted::Closing { closed: false })?;
        let change = ChangeSet::new(house.tenant(), house.gate.now()).with(opened);
        house.doors.store.commit(change).await.map(drop)
    }

    async fn closing(house: &House, matter: MatterId) -> Result<Option<(Sheet, bool)>> {
        let sheet = house.sheet(Register::Dispositions, closing_id(matter));
        let Some(sheet) = sheet.await? else {
            return Ok(None);
        };
        let closed = matches!(read(&sheet)?, Noted::Closing { closed: true });
        Ok(Some((sheet, closed)))
    }

    /// Opens the journal: once, and only as long as nobody has written over what `beside` replaces.
    pub(super) async fn open(
        house: &House,
        matter: MatterId,
        begun: Noted,
        beside: Vec<Change>,
        event: Event,
    ) -> Result<Self> {
        let (register, name) = (Register::Dispositions, begun.name(matter));
        let mut change = ChangeSet::new(house.tenant(), house.gate.now())
            .with(file_new(register, name, None, Some(matter), &begun)?)
            .event(event);
        change.changes.extend(beside);
        house.doors.store.commit(change).await?;
        let mut journal = Self::default();
        journal.take(begun);
        Ok(journal)
    }

    /// Writes down what was done, together with the state of the copy and the audit entries.
    pub(super) async fn note(
        &mut self,
        house: &House,
        matter: MatterId,
        noted: Noted,
        copy: Option<Placement>,
        events: Vec<Event>,
    ) -> Result<()> {
        let sheet = file(
            Register::Dispositions,
            noted.name(matter),
            None,
            Some(matter),
            &noted,
        )?;
        let mut change = ChangeSet::new(house.tenant(), house.gate.now()).with(sheet);
        change.changes.extend(copy.map(Change::PutPlacement));
        if let Noted::Erased(copy, _) = &noted
            && self.probes.contains_key(copy)
        {
            // What was seen before the copy was erased again is no evidence.
            let probed = probed_id(*copy);
            change = change.with(Change::RemoveSheet(Register::Dispositions, probed));
        }
        change.events = events;
        house.doors.store.commit(change).await?;
        self.take(noted);
        Ok(())
    }

    /// Refuses when a copy of the matter is there, or may be, that this destruction is not about.
    pub(super) async fn require_all(&self, house: &House, matter: MatterId) -> Result<()> {
        let ours: BTreeSet<_> = self.copies.iter().collect();
        let standing = frozen(house, matter).await?;
        match standing.iter().find(|copy| !ours.contains(&copy.id)) {
            None => Ok(()),
            Some(other) => Err(Refusal::new(Code::DspChanged)
                .about("placement", other.id)
                .into()),
        }
    }

    /// The copies that this destruction is about, as the register has them now.
    pub(super) async fn placements(
        &self,
        house: &House,
        matter: MatterId,
    ) -> Result<Vec<Placement>> {
        let query = PlacementQuery::in_matter(house.tenant(), matter);
        let mut all = house.doors.store.placements(&query).await?;
        let ours: BTreeSet<_> = self.copies.iter().collect();
        all.retain(|placement| ours.contains(&placement.id));
        Ok(all)
    }

    fn take(&mut self, noted: Noted) {
        match noted {
            Noted::Begun {
                copies,
                evaluations,
                proposal,
            } => {
                (self.copies, self.evaluations) = (copies, evaluations);
                self.proposal = proposal;
            }
            Noted::Closing { .. } => {}
            Noted::Erased(copy, erased) => {
                self.probes.remove(&copy);
                self.erased.insert(copy, erased);
            }
            Noted::Kept(kept) => self.kept = kept,
            Noted::Keys(keys) => self.keys = Some(keys),
            Noted::Ended(keys) => self.ended = Some(keys),
            Noted::Probed(copy, probe) => drop(self.probes.insert(copy, probe)),
        }
    }
}

impl Noted {
    /// One name for one thing done: to do it again writes the same sheet.
    fn name(&self, matter: MatterId) -> Label {
        match self {
            Self::Begun { .. } => begun_id(matter),
            Self::Closing { .. } => closing_id(matter),
            Self::Erased(copy, _) => label(format_args!("erased:{copy}")),
            Self::Kept(_) => label(format_args!("kept:{matter}")),
            Self::Keys(_) => label(format_args!("keys:{matter}")),
            Self::Ended(_) => label(format_args!("ended:{matter}")),
            Self::Probed(copy, _) => probed_id(*copy),
        }
    }
}

fn probed_id(copy: PlacementId) -> Label {
    label(format_args!("probed:{copy}"))
}

fn begun_id(matter: MatterId) -> Label {
    label(format_args!("journal:{matter}"))
}

fn closing_id(matter: MatterId) -> Label {
    label(format_args!("closing:{matter}"))
}
