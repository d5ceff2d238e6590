//! Steps 13 and 14, exit and destruction: a journalled saga over every known copy.
//!
//! ```text
//! propose ─► two approvals ─► execute: holds and pack again
//!   (frozen set)                │  erase each copy in its system ── journal
//!                               │  destroy the persons' keys       ── journal
//!                               │  probe each place afresh         ── journal
//!                               ▼
//!                   certificate: interim while a provider's window runs, else final
//! ```
//!
//! Killed anywhere and called again, it goes on where the journal ends. A certificate is built
//! from journalled observations only, and filed in the same commit as its audit entry: once.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::audit::{Label, Outcome};
use crate::crypto::KeyErased;
use crate::error::Result;
use crate::id::{ActorId, CertificateId, Digest, IdempotencyKey, MatterId, PlacementId, SubjectId};
use crate::pii::{Category, MatterState, Placement, PlacementState};
use crate::pipeline::house::{House, file, label};
use crate::pipeline::manage;
use crate::pipeline::receipt::Receipt;
use crate::pipeline::retain::{Nexus, Retained, reconsider};
use crate::pipeline::{suppress, verify};
use crate::policy::{Act, Scope, Session};
use crate::ports::erase::{Erased, Probe};
use crate::ports::store::{Change, ChangeSet, PlacementQuery, Register};
use crate::refusal::{Code, Refusal};
use crate::retention::{Certificate, CertificateState, CopyOutcome, Evaluation};
use crate::time::Timestamp;

/// The standard that the certificates speak of.
pub const STANDARD: &str = "NIST SP 800-88r2";

/// A proposed destruction: a frozen set of copies that awaits two approvals.
#[derive(Debug)]
pub struct Proposed(Proposal);

/// A destruction with its first approval.
#[derive(Debug)]
pub struct ApprovedOnce(Proposal);

/// A destruction that two people approved.
#[derive(Debug)]
pub struct Approved(Proposal);

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proposal {
    matter: MatterId,
    set: Digest,
    copies: usize,
    proposer: (ActorId, NaiveDate),
    first: Option<(ActorId, NaiveDate)>,
    second: Option<(ActorId, NaiveDate)>,
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

/// Receipt of the last stage: certificates of destruction, one for each person.
#[derive(Debug)]
pub struct Disposed {
    matter: MatterId,
    certificates: Vec<Issued>,
}

impl Receipt for Disposed {
    const STAGE: Label = Label::fixed("disposed");
}

impl Disposed {
    /// The matter.
    #[must_use]
    pub const fn matter(&self) -> MatterId {
        self.matter
    }

    /// The certificates.
    #[must_use]
    pub fn certificates(&self) -> &[Issued] {
        &self.certificates
    }

    /// Until when the last provider's window runs, if one runs.
    #[must_use]
    pub fn interim_until(&self) -> Option<Timestamp> {
        self.certificates
            .iter()
            .filter_map(|issued| match issued.certificate.state {
                CertificateState::Interim { until } => Some(until),
                CertificateState::Final => None,
            })
            .max()
    }
}

/// A certificate and its signed form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// What it says.
    pub certificate: Certificate,
    /// The C2SP signed note over its text.
    pub note: String,
}

/// What has been done of a destruction; nothing in it is ever taken back.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    copies: Vec<PlacementId>,
    evaluations: BTreeMap<SubjectId, Evaluation>,
    erased: BTreeMap<PlacementId, Erased>,
    keys: Vec<KeyErased>,
    probes: BTreeMap<PlacementId, Probe>,
}

/// The certificates of a matter that was destroyed in an earlier run.
///
/// # Errors
/// Faults of the store.
pub async fn disposed(house: &House, matter: MatterId) -> Result<Option<Disposed>> {
    let issued = house
        .filed_in::<Issued>(Register::Certificates, matter)
        .await?;
    Ok((!issued.is_empty()).then(|| Disposed {
        matter,
        certificates: latest(issued),
    }))
}

/// A destruction that was begun in an earlier run and must be finished.
///
/// # Errors
/// Faults of the store.
pub async fn begun(house: &House, matter: MatterId) -> Result<Option<Approved>> {
    let journal = house
        .filed::<Journal>(Register::Dispositions, &journal_id(matter))
        .await?;
    let proposal = house
        .filed::<Proposal>(Register::Approvals, &proposal_id(matter))
        .await?;
    Ok(journal.and(proposal).map(Approved))
}

/// Proposes to destroy everything of a matter whose time is over.
///
/// # Errors
/// What stands against it ([`Evaluation::require_eligible`]: [`Code::DstHold`],
/// [`Code::RetNoTrigger`], …), [`Code::DspOriginal`], [`Code::DspOpen`], [`Code::DstUnmapped`]:
/// each logged; refusals of the gate; faults.
pub async fn propose(
    house: &House,
    session: &Session<'_>,
    retained: &Retained,
) -> Result<Proposed> {
    let id = proposal_id(retained.matter());
    if let Some(proposal) = house.filed::<Proposal>(Register::Approvals, &id).await?
        && proposal.set == set_of(&frozen(house, retained.matter()).await?)
    {
        return Ok(Proposed(proposal));
    }
    let matter = manage::matter(house, retained.matter())?;
    let scope = destruction_scope(&matter);
    let checked = eligible(house, retained, &matter).await;
    if let Err(error) = checked {
        if let Some(refusal) = error.refusal() {
            session.log_refusal(Act::Propose, &scope, refusal).await?;
        }
        return Err(error);
    }
    let permit = session.permit(Act::Propose, scope).await?;
    let copies = frozen(house, matter.id).await?;
    let proposal = Proposal {
        matter: matter.id,
        set: set_of(&copies),
        copies: copies.len(),
        proposer: (session.actor(), house.gate.now().date_naive()),
        first: None,
        second: None,
    };
    let event = permit
        .event(Act::Propose, Outcome::Done)
        .with("set", proposal.set)
        .with("copies", proposal.copies);
    save(house, &proposal, event).await?;
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
        let day = sign_off(house, session, &proposal, &[proposal.proposer.0]).await?;
        proposal.first = Some((session.actor(), day));
        record_approval(house, session, &proposal, "first").await?;
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
        let day = sign_off(house, session, &proposal, &before).await?;
        proposal.second = Some((session.actor(), day));
        record_approval(house, session, &proposal, "second").await?;
    }
    Ok(Approved(proposal))
}

/// Erases every copy, destroys the keys, probes every place, and certifies what was observed.
///
/// # Errors
/// [`Code::DstHold`] when a hold was placed meanwhile, [`Code::DspChanged`] when the set is not
/// the approved one, [`Code::DstResidue`] when a probe finds content that no provider's window
/// explains, [`Code::DstCeInvalid`] when a copy of a key stands: logged, and nothing certified;
/// faults, after which the same call goes on.
pub async fn execute(
    house: &House,
    executor: &Session<'_>,
    prober: &Session<'_>,
    approved: Approved,
    nexus: &Nexus,
) -> Result<Disposed> {
    let proposal = approved.0;
    if let Some(disposed) = disposed(house, proposal.matter).await? {
        return Ok(disposed);
    }
    let outcome = carry_out(house, executor, prober, &proposal, nexus).await;
    if let Err(error) = &outcome
        && let Some(refusal) = error.refusal()
    {
        let matter = manage::matter(house, proposal.matter)?;
        executor
            .log_refusal(Act::Destroy, &destruction_scope(&matter), refusal)
            .await?;
    }
    outcome
}

/// Probes again after the providers' windows have ended, and replaces interim certificates by
/// final ones.
///
/// # Errors
/// [`Code::DstResidue`] while a window still runs or content is still found; faults.
pub async fn finalise(house: &House, prober: &Session<'_>, disposed: Disposed) -> Result<Disposed> {
    let Some(until) = disposed.interim_until() else {
        return Ok(disposed);
    };
    if until > house.gate.now() {
        let refusal = Refusal::new(Code::DstResidue)
            .about("matter", disposed.matter)
            .about("until", until);
        return Err(refusal.into());
    }
    let id = journal_id(disposed.matter);
    let mut journal = house
        .filed::<Journal>(Register::Dispositions, &id)
        .await?
        .unwrap_or_default();
    let matter = manage::matter(house, disposed.matter)?;
    let proposal = house
        .filed::<Proposal>(Register::Approvals, &proposal_id(matter.id))
        .await?;
    let proposal =
        proposal.ok_or_else(|| Refusal::new(Code::DspChanged).about("matter", matter.id))?;
    for placement in placements(house, &journal.copies, matter.id).await? {
        let probe = probe(house, prober, &placement).await?;
        let still = probe
            .residues
            .iter()
            .any(|residue| residue.content || residue.until.is_some_and(|until| until > probe.at));
        if still {
            return Err(Refusal::new(Code::DstResidue)
                .about("placement", placement.id)
                .into());
        }
        let absent = Placement {
            state: PlacementState::Absent { at: probe.at },
            ..placement
        };
        journal.probes.insert(absent.id, probe);
        write(
            house,
            &journal,
            &id,
            matter.id,
            vec![Change::PutPlacement(absent)],
            Vec::new(),
        )
        .await?;
    }
    certify(house, prober, &proposal, &journal, true).await
}

async fn carry_out(
    house: &House,
    executor: &Session<'_>,
    prober: &Session<'_>,
    proposal: &Proposal,
    nexus: &Nexus,
) -> Result<Disposed> {
    let matter = manage::matter(house, proposal.matter)?;
    let id = journal_id(matter.id);
    let mut journal = match house.filed::<Journal>(Register::Dispositions, &id).await? {
        Some(journal) => journal,
        None => begin(house, executor, proposal, nexus, &id).await?,
    };
    let copies = placements(house, &journal.copies, matter.id).await?;
    for placement in &copies {
        if journal.erased.contains_key(&placement.id) {
            continue;
        }
        // A permit for every copy: the gate looks for holds again each time.
        let scope = Scope::of(placement.subject, placement.category).in_matter(matter.id);
        let permit = executor
            .permit(Act::Destroy, scope.about("placement", placement.id))
            .await?;
        let key = IdempotencyKey::derived("erase", &[placement.id.as_bytes()]);
        let erased = house
            .eraser(&placement.system)?
            .erase(placement, key, &permit)
            .await?;
        let event = permit
            .event(Act::Destroy, Outcome::Done)
            .of_subject(placement.subject)
            .with("placement", placement.id)
            .with("system", placement.system.clone());
        let until = erased.window.unwrap_or_else(|| house.gate.now());
        let erasing = Placement {
            state: PlacementState::Erasing { until },
            ..placement.clone()
        };
        journal.erased.insert(placement.id, erased);
        write(
            house,
            &journal,
            &id,
            matter.id,
            vec![Change::PutPlacement(erasing)],
            vec![event],
        )
        .await?;
    }
    if journal.keys.is_empty() {
        let subjects: Vec<SubjectId> = matter.parties.keys().copied().collect();
        let scope =
            Scope::over(subjects.iter().copied(), [Category::Identity]).in_matter(matter.id);
        let permit = executor
            .permit(Act::Destroy, scope.about("what", "keys"))
            .await?;
        journal.keys = house.sealer.keys().erase(&subjects, permit.now()).await?;
        let events = journal.keys.iter().map(|key| {
            let event = permit
                .event(Act::Destroy, Outcome::Done)
                .of_subject(key.subject);
            event
                .with("what", "key")
                .with("key", key.key)
                .with("kek", key.kek.kek.as_label().clone())
        });
        let events = events.collect();
        write(house, &journal, &id, matter.id, Vec::new(), events).await?;
    }
    for key in &journal.keys {
        key.proven()?;
    }
    for placement in &copies {
        if journal.probes.contains_key(&placement.id) {
            continue;
        }
        let probe = probe(house, prober, placement).await?;
        let unexplained = probe
            .residues
            .iter()
            .find(|residue| residue.content && residue.until.is_none());
        if let Some(residue) = unexplained {
            let refusal = Refusal::new(Code::DstResidue).about("placement", placement.id);
            return Err(refusal.about("residue", residue.what.clone()).into());
        }
        let until = probe
            .residues
            .iter()
            .filter_map(|residue| residue.until)
            .max();
        let until = until
            .into_iter()
            .chain(
                journal
                    .erased
                    .get(&placement.id)
                    .and_then(|erased| erased.window),
            )
            .max();
        let state = match until.filter(|until| *until > probe.at) {
            Some(until) => PlacementState::Erasing { until },
            None => PlacementState::Absent { at: probe.at },
        };
        journal.probes.insert(placement.id, probe);
        let change = Change::PutPlacement(Placement {
            state,
            ..placement.clone()
        });
        write(house, &journal, &id, matter.id, vec![change], Vec::new()).await?;
    }
    certify(house, prober, proposal, &journal, false).await
}

/// Checks everything once more and opens the journal over the approved set.
async fn begin(
    house: &House,
    executor: &Session<'_>,
    proposal: &Proposal,
    nexus: &Nexus,
    id: &Label,
) -> Result<Journal> {
    let matter = manage::matter(house, proposal.matter)?;
    let permit = executor
        .permit(Act::Destroy, destruction_scope(&matter))
        .await?;
    let retained = reconsider_as(house, executor, &matter, nexus).await?;
    eligible(house, &retained, &matter).await?;
    let copies = frozen(house, matter.id).await?;
    if set_of(&copies) != proposal.set {
        return Err(Refusal::new(Code::DspChanged)
            .about("matter", matter.id)
            .into());
    }
    let journal = Journal {
        copies: copies.iter().map(|placement| placement.id).collect(),
        evaluations: retained.evaluations().clone(),
        ..Journal::default()
    };
    let event = permit
        .event(Act::Destroy, Outcome::Intended)
        .with("set", proposal.set);
    write(house, &journal, id, matter.id, Vec::new(), vec![event]).await?;
    Ok(journal)
}

/// Retention is evaluated by its own service identity, whoever executes.
async fn reconsider_as(
    house: &House,
    executor: &Session<'_>,
    matter: &crate::pii::Matter,
    nexus: &Nexus,
) -> Result<Retained> {
    let service = house.gate.directory(|directory| {
        directory
            .actors
            .values()
            .find(|actor| {
                actor.roles.contains(&crate::policy::Role::ServiceRetention) && !actor.revoked
            })
            .map(|actor| actor.id)
    });
    let service = service.unwrap_or_else(|| executor.actor());
    let session = house.session(
        service,
        crate::policy::Role::ServiceRetention,
        crate::policy::Purpose::Retention,
    );
    reconsider(house, &session, matter.id, nexus).await
}

async fn probe(house: &House, prober: &Session<'_>, placement: &Placement) -> Result<Probe> {
    let scope = Scope::of(placement.subject, placement.category).in_matter(placement.matter);
    let permit = prober
        .permit(Act::Probe, scope.about("placement", placement.id))
        .await?;
    house
        .eraser(&placement.system)?
        .probe(placement, &permit)
        .await
}

/// One certificate for each person, filed together with the entries that anchor them, the
/// suppression marks and the matter's last state.
async fn certify(
    house: &House,
    session: &Session<'_>,
    proposal: &Proposal,
    journal: &Journal,
    finally: bool,
) -> Result<Disposed> {
    let matter = manage::matter(house, proposal.matter)?;
    let scope = destruction_scope(&matter);
    let permit = session.permit(Act::Certify, scope).await?;
    let now = house.gate.now();
    let marks = verify::marks_of(house, matter.id).await?;
    let places = placements(house, &journal.copies, matter.id).await?;
    let mut change = ChangeSet::new(house.tenant(), now);
    let mut certificates = Vec::new();
    for subject in matter.parties.keys() {
        let Some(authority) = journal.evaluations.get(subject).cloned() else {
            return Err(Refusal::new(Code::DspChanged)
                .about("subject", *subject)
                .into());
        };
        let copies: Vec<CopyOutcome> = places
            .iter()
            .filter(|placement| placement.subject == *subject)
            .filter_map(|placement| {
                Some(CopyOutcome {
                    placement: placement.id,
                    system: placement.system.clone(),
                    kind: placement.kind,
                    locator: placement.locator.clone(),
                    erased: journal.erased.get(&placement.id)?.clone(),
                    probe: journal.probes.get(&placement.id)?.clone(),
                })
            })
            .collect();
        let until = if finally { None } else { window(&copies, now) };
        let state = until.map_or(CertificateState::Final, |until| CertificateState::Interim {
            until,
        });
        let kind: &[u8] = if until.is_some() {
            b"interim"
        } else {
            b"final"
        };
        let certificate = Certificate {
            id: CertificateId::derived(&[
                subject.as_bytes(),
                matter.id.as_bytes(),
                proposal.set.as_bytes(),
                kind,
            ]),
            tenant: house.tenant(),
            subject: *subject,
            matter: matter.id,
            state,
            at: chrono::SubsecRound::trunc_subsecs(now, 3),
            standard: STANDARD.to_owned(),
            tool: format!("kta-core {}", env!("CARGO_PKG_VERSION")),
            authority,
            set: proposal.set,
            approvals: approvals(proposal),
            exceptions: exceptions(&copies),
            copies,
            keys: journal
                .keys
                .iter()
                .filter(|key| key.subject == *subject)
                .cloned()
                .collect(),
            log: house.doors.signer.name().to_owned(),
        };
        let note = crate::audit::SignedNote::sign(certificate.text(), &*house.doors.signer)?;
        let event = permit
            .event(Act::Certify, Outcome::Done)
            .of_subject(*subject)
            .with("certificate", certificate.id)
            .with("digest", certificate.digest())
            .with("state", if until.is_some() { "interim" } else { "final" });
        for listing in suppress::list(
            marks.get(subject).map_or(&[][..], Vec::as_slice),
            certificate.id,
        )? {
            change = change.with(listing);
        }
        let issued = Issued {
            certificate,
            note: note.to_string(),
        };
        let name = label(issued.certificate.id);
        change = change
            .with(file(
                Register::Certificates,
                name,
                Some(*subject),
                Some(matter.id),
                &issued,
            )?)
            .event(event);
        certificates.push(issued);
    }
    let mut matter = matter;
    if matter.state != MatterState::Destroyed {
        matter.advance(MatterState::Destroyed)?;
    }
    change = change.with(file(
        Register::Matters,
        label(matter.id),
        None,
        Some(matter.id),
        &matter,
    )?);
    house.doors.store.commit(change).await?;
    let id = matter.id;
    house
        .gate
        .amend_directory(|directory| directory.file(matter));
    Ok(Disposed {
        matter: id,
        certificates,
    })
}

fn window(copies: &[CopyOutcome], now: Timestamp) -> Option<Timestamp> {
    let residues = copies.iter().flat_map(|copy| {
        copy.probe
            .residues
            .iter()
            .filter_map(|residue| residue.until)
    });
    let windows = copies.iter().filter_map(|copy| copy.erased.window);
    residues.chain(windows).filter(|until| *until > now).max()
}

fn approvals(proposal: &Proposal) -> BTreeMap<Label, (ActorId, NaiveDate)> {
    let mut approvals = BTreeMap::from([(Label::fixed("proposed"), proposal.proposer)]);
    for (name, approval) in [("first", proposal.first), ("second", proposal.second)] {
        if let Some(approval) = approval {
            approvals.insert(Label::fixed(name), approval);
        }
    }
    approvals
}

/// What remains to be said besides the copies: traces without content, recipients outside.
fn exceptions(copies: &[CopyOutcome]) -> Vec<Label> {
    let traces = copies.iter().flat_map(|copy| {
        let traces = copy
            .probe
            .residues
            .iter()
            .filter(|residue| !residue.content);
        traces.map(|residue| label(format_args!("{}:{}", copy.system, residue.what)))
    });
    let recipients = copies
        .iter()
        .filter(|copy| copy.kind == crate::pii::PlacementKind::Recipient)
        .map(|copy| label(format_args!("recipient:{}", copy.system)));
    traces
        .chain(recipients)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

async fn sign_off(
    house: &House,
    session: &Session<'_>,
    proposal: &Proposal,
    before: &[ActorId],
) -> Result<NaiveDate> {
    let matter = manage::matter(house, proposal.matter)?;
    let scope = destruction_scope(&matter).about("set", proposal.set);
    let refuse = async |refusal: Refusal| -> Result<NaiveDate> {
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
    if set_of(&frozen(house, matter.id).await?) != proposal.set {
        return refuse(Refusal::new(Code::DspChanged).about("matter", matter.id)).await;
    }
    Ok(house.gate.now().date_naive())
}

async fn record_approval(
    house: &House,
    session: &Session<'_>,
    proposal: &Proposal,
    which: &'static str,
) -> Result<()> {
    let event = session
        .event(Act::Approve, Outcome::Done)
        .in_matter(proposal.matter)
        .with("set", proposal.set)
        .with("approval", which);
    save(house, proposal, event).await
}

async fn save(house: &House, proposal: &Proposal, event: crate::audit::Event) -> Result<()> {
    let change = ChangeSet::new(house.tenant(), house.gate.now())
        .with(file(
            Register::Approvals,
            proposal_id(proposal.matter),
            None,
            Some(proposal.matter),
            proposal,
        )?)
        .event(event.in_matter(proposal.matter));
    house.doors.store.commit(change).await.map(drop)
}

async fn write(
    house: &House,
    journal: &Journal,
    id: &Label,
    matter: MatterId,
    changes: Vec<Change>,
    events: Vec<crate::audit::Event>,
) -> Result<()> {
    let mut change = ChangeSet::new(house.tenant(), house.gate.now());
    change.changes = changes;
    change.events = events;
    let change = change.with(file(
        Register::Dispositions,
        id.clone(),
        None,
        Some(matter),
        journal,
    )?);
    house.doors.store.commit(change).await.map(drop)
}

/// Nothing may stand against any person of the matter.
async fn eligible(house: &House, retained: &Retained, matter: &crate::pii::Matter) -> Result<()> {
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
    }
    Ok(())
}

/// Every copy of the matter that is, or may be, there.
async fn frozen(house: &House, matter: MatterId) -> Result<Vec<Placement>> {
    let placements = house
        .doors
        .store
        .placements(&PlacementQuery::in_matter(house.tenant(), matter))
        .await?;
    let gone = |state| {
        matches!(
            state,
            PlacementState::Absent { .. } | PlacementState::Withdrawn { .. }
        )
    };
    Ok(placements
        .into_iter()
        .filter(|placement| !gone(placement.state))
        .collect())
}

async fn placements(
    house: &House,
    ids: &[PlacementId],
    matter: MatterId,
) -> Result<Vec<Placement>> {
    let all = house
        .doors
        .store
        .placements(&PlacementQuery::in_matter(house.tenant(), matter))
        .await?;
    Ok(all
        .into_iter()
        .filter(|placement| ids.contains(&placement.id))
        .collect())
}

/// The set's identity: which copies, where. A copy made after the proposal changes it.
fn set_of(copies: &[Placement]) -> Digest {
    let mut bytes = Vec::new();
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

fn destruction_scope(matter: &crate::pii::Matter) -> Scope {
    Scope::over(matter.parties.keys().copied(), [Category::Identity]).in_matter(matter.id)
}

/// The newest certificate of each person: final before interim.
fn latest(issued: Vec<Issued>) -> Vec<Issued> {
    let mut newest: BTreeMap<SubjectId, Issued> = BTreeMap::new();
    for issued in issued {
        let subject = issued.certificate.subject;
        let is_final = issued.certificate.state == CertificateState::Final;
        if is_final || !newest.contains_key(&subject) {
            newest.insert(subject, issued);
        }
    }
    newest.into_values().collect()
}

fn proposal_id(matter: MatterId) -> Label {
    label(format_args!("disposition:{matter}"))
}

fn journal_id(matter: MatterId) -> Label {
    label(format_args!("journal:{matter}"))
}
