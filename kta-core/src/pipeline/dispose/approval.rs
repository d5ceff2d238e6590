//! Who agreed: a frozen set of copies, its proposer, and two approvals by others.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::elsewhere::scope_with_keys;
use super::journal::Journal;
use super::{destruction_scope, frozen};
use crate::audit::{Event, Label, Outcome};
use crate::error::Result;
use crate::id::{ActorId, Digest, MatterId};
use crate::pii::{Matter, Placement};
use crate::pipeline::house::{House, file_new, file_over, label, read};
use crate::pipeline::manage;
use crate::pipeline::retain::Retained;
use crate::policy::{Act, Session};
use crate::ports::store::{ChangeSet, Register, Sheet};
use crate::refusal::{Code, Refusal};

/// A proposed destruction: a frozen set of copies that awaits two approvals.
#[derive(Debug)]
pub struct Proposed(Proposal);

/// A destruction with its first approval.
#[derive(Debug)]
pub struct ApprovedOnce(Proposal);

/// A destruction that two people approved.
#[derive(Debug)]
pub struct Approved(pub(super) Proposal);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Proposal {
    pub(super) matter: MatterId,
    pub(super) set: Digest,
    copies: usize,
    pub(super) proposer: (ActorId, NaiveDate),
    pub(super) first: Option<(ActorId, NaiveDate)>,
    pub(super) second: Option<(ActorId, NaiveDate)>,
}

impl Proposal {
    /// Whether two people approved it.
    pub(super) const fn is_approved(&self) -> bool {
        self.first.is_some() && self.second.is_some()
    }
}

impl Proposed {
    /// Digest of the frozen set.
    #[must_use]
    pub const fn set(&self) -> Digest {
        self.0.set
    }

    /// How many copies the set has.
    #[must_use]
    pub const fn copies(&self) -> usize {
        self.0.copies
    }
}

/// A destruction that was begun in an earlier run and must be finished.
///
/// # Errors
/// [`Code::DspChanged`] for one that no two people approved; faults of the store.
pub async fn begun(house: &House, matter: MatterId) -> Result<Option<Approved>> {
    if !Journal::is_open(house, matter).await? {
        return Ok(None);
    }
    let journal = Journal::read(house, matter).await?.unwrap_or_default();
    binding(house, &journal, matter)
        .await
        .map(Approved)
        .map(Some)
}

/// Proposes to destroy everything of a matter whose time is over. A proposal of the same set that
/// stands already is given again.
///
/// # Errors
/// Refusals of the gate, which is asked each time; [`Code::PrcTransition`] for a matter whose
/// destruction has begun, which [`begun`] finishes; what stands against it
/// ([`Evaluation::require_eligible`](crate::retention::Evaluation::require_eligible):
/// [`Code::DstHold`], [`Code::RetNoTrigger`], …), [`Code::DspOriginal`], [`Code::DspOpen`],
/// [`Code::DstUnmapped`]: each logged; faults.
pub async fn propose(
    house: &House,
    session: &Session<'_>,
    retained: &Retained,
) -> Result<Proposed> {
    let matter = manage::matter(house, retained.matter())?;
    let scope = destruction_scope(&matter);
    // First of all: nobody learns what stands against it who may not propose.
    let permit = session.permit(Act::Propose, scope.clone()).await?;
    let on_file = on_file(house, matter.id).await?;
    let free = async {
        // After the proposal was read: a destruction that begins in between writes over it too.
        require_not_begun(house, matter.id).await?;
        eligible(house, retained, &matter).await
    };
    if let Err(error) = free.await {
        if let Some(refusal) = error.refusal() {
            session.log_refusal(Act::Propose, &scope, refusal).await?;
        }
        return Err(error);
    }
    let copies = frozen(house, matter.id).await?;
    let set = set_of(&matter, &copies);
    let over = match on_file {
        Some((_, standing)) if standing.set == set => return Ok(Proposed(standing)),
        other => other.map(|(sheet, _)| sheet),
    };
    let proposal = Proposal {
        matter: matter.id,
        set,
        copies: copies.len(),
        proposer: (session.actor(), house.gate.now().date_naive()),
        first: None,
        second: None,
    };
    let event = permit
        .event(Act::Propose, Outcome::Done)
        .with("set", proposal.set)
        .with("copies", proposal.copies);
    save(house, over.as_ref(), &proposal, event).await?;
    Ok(Proposed(proposal))
}

/// The first approval, by somebody else than the proposer.
///
/// # Errors
/// [`Code::DspSelf`], [`Code::DstHold`], [`Code::DspChanged`]; refusals of the gate; faults.
pub async fn approve(
    house: &House,
    session: &Session<'_>,
    proposed: Proposed,
) -> Result<ApprovedOnce> {
    let mut proposal = proposed.0;
    if proposal.first.is_none() {
        let (over, day) = sign_off(house, session, &proposal, &[proposal.proposer.0]).await?;
        proposal.first = Some((session.actor(), day));
        record_approval(house, session, &over, &proposal, "first").await?;
    }
    Ok(ApprovedOnce(proposal))
}

/// The second approval, by somebody else than both before.
///
/// # Errors
/// As [`approve`].
pub async fn approve_second(
    house: &House,
    session: &Session<'_>,
    once: ApprovedOnce,
) -> Result<Approved> {
    let mut proposal = once.0;
    if proposal.second.is_none() {
        let before: Vec<_> = [Some(proposal.proposer), proposal.first]
            .into_iter()
            .flatten()
            .map(|(who, _)| who)
            .collect();
        let (over, day) = sign_off(house, session, &proposal, &before).await?;
        proposal.second = Some((session.actor(), day));
        record_approval(house, session, &over, &proposal, "second").await?;
    }
    Ok(Approved(proposal))
}

/// The proposal of a matter with its sheet, as far as it is approved.
pub(super) async fn on_file(house: &House, matter: MatterId) -> Result<Option<(Sheet, Proposal)>> {
    let sheet = house
        .sheet(Register::Approvals, proposal_id(matter))
        .await?;
    sheet
        .map(|sheet| read(&sheet).map(|proposal| (sheet, proposal)))
        .transpose()
}

/// What a destruction that has begun carries out: the proposal that its journal opened with,
/// whatever was filed since. A journal of an older version does not say; there it is the one on
/// file, if two people approved it.
pub(super) async fn binding(
    house: &House,
    journal: &Journal,
    matter: MatterId,
) -> Result<Proposal> {
    let bound = match &journal.proposal {
        Some(proposal) => Some(proposal.clone()),
        None => on_file(house, matter).await?.map(|(_, proposal)| proposal),
    };
    bound.filter(Proposal::is_approved).ok_or_else(|| {
        Refusal::new(Code::DspChanged)
            .about("matter", matter)
            .into()
    })
}

async fn require_not_begun(house: &House, matter: MatterId) -> Result<()> {
    if Journal::is_open(house, matter).await? {
        return Err(Refusal::new(Code::PrcTransition)
            .about("matter", matter)
            .about("destruction", "begun")
            .into());
    }
    Ok(())
}

/// Nothing may stand against any person of the matter, or of whom it has copies.
pub(super) async fn eligible(house: &House, retained: &Retained, matter: &Matter) -> Result<()> {
    if matter.originals_held > 0 {
        return Err(Refusal::new(Code::DspOriginal)
            .about("originals", u64::from(matter.originals_held))
            .into());
    }
    if !matter.open_points.is_empty() {
        return Err(Refusal::new(Code::DspOpen)
            .about("open", matter.open_points.len())
            .into());
    }
    for subject in matter.parties.keys() {
        let evaluation = retained.evaluations().get(subject);
        let evaluation = evaluation
            .ok_or_else(|| Refusal::new(Code::RetUnclassed).about("subject", *subject))?;
        evaluation.require_eligible()?;
    }
    for placement in frozen(house, matter.id).await? {
        house.eraser(&placement.system)?;
        // Copies of somebody who is no party any more go by nobody's evaluation.
        if !matter.parties.contains_key(&placement.subject) {
            return Err(Refusal::new(Code::RetUnclassed)
                .about("subject", placement.subject)
                .into());
        }
    }
    Ok(())
}

/// The set's identity: whose keys may go, and which copies, where. A party or a copy that came after
/// the proposal changes it.
pub(super) fn set_of(matter: &Matter, copies: &[Placement]) -> Digest {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&(matter.parties.len() as u64).to_be_bytes());
    for subject in matter.parties.keys() {
        bytes.extend_from_slice(subject.as_bytes());
    }
    for copy in copies {
        bytes.extend_from_slice(copy.id.as_bytes());
        let locator = copy.locator.as_ref().map_or("", |locator| locator.as_str());
        for part in [copy.system.as_str(), locator] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    Digest::of(&bytes)
}

async fn sign_off(
    house: &House,
    session: &Session<'_>,
    proposal: &Proposal,
    before: &[ActorId],
) -> Result<(Sheet, NaiveDate)> {
    let matter = manage::matter(house, proposal.matter)?;
    let scope = scope_with_keys(house, &matter).await?;
    let scope = scope.about("set", proposal.set);
    let refuse = async |refusal: Refusal| -> Result<_> {
        session
            .log_refusal(Act::Approve, &destruction_scope(&matter), &refusal)
            .await?;
        Err(refusal.into())
    };
    if before.contains(&session.actor()) {
        return refuse(Refusal::new(Code::DspSelf).about("actor", session.actor())).await;
    }
    let other = before.last().copied().unwrap_or(proposal.proposer.0);
    session
        .permit(Act::Approve, scope.other_than(other))
        .await?
        .require_act(&[Act::Approve])?;
    if set_of(&matter, &frozen(house, matter.id).await?) != proposal.set {
        return refuse(Refusal::new(Code::DspChanged).about("matter", matter.id)).await;
    }
    match on_file(house, matter.id).await? {
        Some((sheet, standing)) if standing == *proposal => {
            Ok((sheet, house.gate.now().date_naive()))
        }
        // Another proposal stands, or somebody else approved this one meanwhile.
        _ => refuse(Refusal::new(Code::DspChanged).about("matter", matter.id)).await,
    }
}

async fn record_approval(
    house: &House,
    session: &Session<'_>,
    over: &Sheet,
    proposal: &Proposal,
    which: &'static str,
) -> Result<()> {
    let event = session
        .event(Act::Approve, Outcome::Done)
        .in_matter(proposal.matter)
        .with("set", proposal.set)
        .with("approval", which);
    save(house, Some(over), proposal, event).await
}

async fn save(
    house: &House,
    over: Option<&Sheet>,
    proposal: &Proposal,
    event: Event,
) -> Result<()> {
    let (id, matter) = (proposal_id(proposal.matter), Some(proposal.matter));
    let filed = match over {
        Some(sheet) => file_over(sheet, proposal)?,
        None => file_new(Register::Approvals, id, None, matter, proposal)?,
    };
    let change = ChangeSet::new(house.tenant(), house.gate.now())
        .with(filed)
        .event(event.in_matter(proposal.matter));
    house.doors.store.commit(change).await.map(drop)
}

fn proposal_id(matter: MatterId) -> Label {
    label(format_args!("disposition:{matter}"))
}
