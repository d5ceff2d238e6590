//! The saga: erase each copy, destroy the keys, probe each place, each step journalled.

use std::collections::BTreeMap;

use super::approval::{self, Approved, Proposal, eligible, set_of};
use super::elsewhere::{Elsewhere, stands};
use super::journal::{Journal, Noted};
use super::{Disposed, certificate, destruction_scope, disposed, frozen};
use crate::audit::Outcome;
use crate::crypto::EraseClaim;
use crate::error::Result;
use crate::id::{IdempotencyKey, MatterId, SubjectId};
use crate::pii::{Category, Matter, Placement, PlacementState};
use crate::pipeline::house::{House, file_over};
use crate::pipeline::manage;
use crate::pipeline::retain::{Nexus, Retained, reconsider};
use crate::policy::{Act, Purpose, Role, Scope, Session};
use crate::ports::erase::{Probe, Residue};
use crate::refusal::{Code, Refusal};
use crate::retention::KeyKept;
use crate::time::Timestamp;

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

/// Probes again and asks the custodian of the keys again, after the windows of both have ended,
/// and replaces interim certificates by final ones. Those that somebody else made final meanwhile
/// are given as they are.
///
/// # Errors
/// [`Code::DstResidue`] while a window still runs or content is still found, which
/// [`erase_again`] takes away;
/// [`Code::DstCeInvalid`] when the deletion of a key was cancelled at its custodian or a copy of a
/// key came to light: logged, and the certificates stay interim; faults.
pub async fn finalise(house: &House, prober: &Session<'_>, disposed: Disposed) -> Result<Disposed> {
    // As they are on file by now: somebody else may have called, too.
    let on_file = super::disposed(house, disposed.matter()).await?;
    let disposed = on_file.unwrap_or(disposed);
    let Some(until) = disposed.interim_until() else {
        return Ok(disposed);
    };
    let matter = manage::matter(house, disposed.matter())?;
    let outcome = close(house, prober, &disposed, until).await;
    if let Err(error) = &outcome
        && let Some(refusal) = error.refusal()
    {
        prober
            .log_refusal(Act::Certify, &destruction_scope(&matter), refusal)
            .await?;
    }
    outcome
}

/// Erases what stands again after the interim certificates, put back from a bin or a backup while a
/// window ran, and says how many copies that were. What a provider's window explains is left to
/// the provider. Afterwards [`finalise`] finds the places empty.
///
/// # Errors
/// [`Code::DstHold`] when a hold was placed meanwhile; other refusals of the gate, all logged;
/// faults, after which the same call goes on.
pub async fn erase_again(
    house: &House,
    executor: &Session<'_>,
    prober: &Session<'_>,
    disposed: &Disposed,
) -> Result<usize> {
    let matter = manage::matter(house, disposed.matter())?;
    let outcome = take_away_again(house, executor, prober, &matter).await;
    if let Err(error) = &outcome
        && let Some(refusal) = error.refusal()
    {
        executor
            .log_refusal(Act::Destroy, &destruction_scope(&matter), refusal)
            .await?;
    }
    outcome
}

async fn take_away_again(
    house: &House,
    executor: &Session<'_>,
    prober: &Session<'_>,
    matter: &Matter,
) -> Result<usize> {
    let mut journal = Journal::read(house, matter.id).await?.unwrap_or_default();
    let mut again = 0;
    for placement in journal.placements(house, matter.id).await? {
        let seen = probe(house, prober, &placement).await?;
        if unexplained(&seen).is_some() {
            erase(house, executor, &mut journal, &placement, matter).await?;
            again += 1;
        }
    }
    Ok(again)
}

async fn close(
    house: &House,
    prober: &Session<'_>,
    disposed: &Disposed,
    until: Timestamp,
) -> Result<Disposed> {
    let matter = disposed.matter();
    if until > house.gate.now() {
        let refusal = Refusal::new(Code::DstResidue)
            .about("matter", matter)
            .about("until", until);
        return Err(refusal.into());
    }
    let mut journal = Journal::read(house, matter).await?.unwrap_or_default();
    let proposal = approval::binding(house, &journal, matter).await?;
    ask_custodian(house, &mut journal, matter).await?;
    for placement in journal.placements(house, matter).await? {
        let erased = journal.erased.get(&placement.id);
        if let Some(until) = erased.and_then(|erased| erased.window)
            && until > house.gate.now()
        {
            return Err(Refusal::new(Code::DstResidue)
                .about("placement", placement.id)
                .about("until", until)
                .into());
        }
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
        let noted = Noted::Probed(absent.id, probe);
        journal
            .note(house, matter, noted, Some(absent), Vec::new())
            .await?;
    }
    certificate::certify(house, prober, &proposal, &journal, disposed.certificates()).await
}

/// Notes that the custodian still calls every key destroyed, and that none waits any more.
async fn ask_custodian(house: &House, journal: &mut Journal, matter: MatterId) -> Result<()> {
    let people: Vec<_> = journal
        .keys
        .iter()
        .flatten()
        .map(|key| key.subject)
        .collect();
    let keys = house.sealer.keys().evidence_now(&people).await?;
    for key in &keys {
        key.proven()?;
        if let EraseClaim::EffectiveFrom(until) = key.claim()
            && until > house.gate.now()
        {
            return Err(Refusal::new(Code::DstResidue)
                .about("subject", key.subject)
                .about("until", until)
                .into());
        }
    }
    journal
        .note(house, matter, Noted::Ended(keys), None, Vec::new())
        .await
}

async fn carry_out(
    house: &House,
    executor: &Session<'_>,
    prober: &Session<'_>,
    proposal: &Proposal,
    nexus: &Nexus,
) -> Result<Disposed> {
    let matter = manage::matter(house, proposal.matter)?;
    let mut journal = match Journal::read(house, matter.id).await? {
        Some(journal) => journal,
        None => begin(house, executor, proposal, nexus).await?,
    };
    let proposal = &approval::binding(house, &journal, matter.id).await?;
    let copies = journal.placements(house, matter.id).await?;
    for placement in &copies {
        // One that was confirmed after it was erased stands again.
        if !journal.erased.contains_key(&placement.id) || stands(placement.state) {
            erase(house, executor, &mut journal, placement, &matter).await?;
        }
    }
    if journal.keys.is_none() {
        destroy_keys(house, executor, &mut journal, &matter).await?;
    } else {
        ask_after_copies(house, &mut journal, matter.id).await?;
    }
    for key in journal.keys.iter().flatten() {
        key.proven()?;
    }
    journal.require_all(house, matter.id).await?;
    for placement in copies {
        if !journal.probes.contains_key(&placement.id) {
            look_again(house, executor, prober, &mut journal, placement, &matter).await?;
        }
    }
    certificate::certify(house, prober, proposal, &journal, &[]).await
}

/// Checks everything once more and opens the journal over the approved set.
async fn begin(
    house: &House,
    executor: &Session<'_>,
    proposal: &Proposal,
    nexus: &Nexus,
) -> Result<Journal> {
    let outcome = close_and_begin(house, executor, proposal, nexus).await;
    if let Err(error) = &outcome
        && error.refusal().is_some()
    {
        Journal::reopen(house, proposal.matter).await?;
    }
    outcome
}

/// The set is counted when the matter takes no copies any more. Whoever makes one asks after
/// announcing it whether the matter is closed, so that each copy is either counted here or not
/// made.
async fn close_and_begin(
    house: &House,
    executor: &Session<'_>,
    proposal: &Proposal,
    nexus: &Nexus,
) -> Result<Journal> {
    let matter = manage::matter(house, proposal.matter)?;
    let permit = executor
        .permit(Act::Destroy, destruction_scope(&matter))
        .await?;
    let retained = reconsider_as(house, executor, &matter, nexus).await?;
    let closing = Journal::close(house, matter.id).await?;
    // No party comes or goes from here on: whoever changes the matter writes over the same sheet.
    let (sheet, matter) = manage::matter_on_file(house, matter.id).await?;
    eligible(house, &retained, &matter).await?;
    let copies = frozen(house, matter.id).await?;
    let changed = || Refusal::new(Code::DspChanged).about("matter", matter.id);
    if set_of(&matter, &copies) != proposal.set {
        return Err(changed().into());
    }
    // What was approved is what is on file, and stays it until the journal is open.
    let on_file = approval::on_file(house, matter.id).await?;
    let (approvals, _) = on_file
        .filter(|(_, standing)| standing == proposal && standing.is_approved())
        .ok_or_else(changed)?;
    let begun = Noted::Begun {
        copies: copies.iter().map(|placement| placement.id).collect(),
        evaluations: retained.evaluations().clone(),
        proposal: Some(proposal.clone()),
    };
    let event = permit
        .event(Act::Destroy, Outcome::Intended)
        .with("set", proposal.set);
    let beside = vec![
        file_over(&approvals, proposal)?,
        file_over(&sheet, &matter)?,
        closing,
    ];
    Journal::open(house, matter.id, begun, beside, event).await
}

async fn erase(
    house: &House,
    executor: &Session<'_>,
    journal: &mut Journal,
    placement: &Placement,
    matter: &Matter,
) -> Result<()> {
    // A permit for every copy: the gate looks for holds again each time.
    let scope = Scope::of(placement.subject, placement.category).in_matter(matter.id);
    let permit = executor
        .permit(Act::Destroy, scope.about("placement", placement.id))
        .await?;
    let before = journal.erased.get(&placement.id);
    let key = match before {
        None => IdempotencyKey::derived("erase", &[placement.id.as_bytes()]),
        // Another effect under another permit: what came back since is to go, too.
        Some(_) => IdempotencyKey::derived(
            "erase-again",
            &[placement.id.as_bytes(), permit.id().as_bytes()],
        ),
    };
    let mut erased = house
        .eraser(&placement.system)?
        .erase(placement, key, &permit)
        .await?;
    // What the first time left with the provider is there until then all the same.
    erased.window = erased.window.max(before.and_then(|before| before.window));
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
    let noted = Noted::Erased(placement.id, erased);
    journal
        .note(house, matter.id, noted, Some(erasing), vec![event])
        .await
}

async fn destroy_keys(
    house: &House,
    executor: &Session<'_>,
    journal: &mut Journal,
    matter: &Matter,
) -> Result<()> {
    let subjects = spare_keys(house, executor, journal, matter).await?;
    if subjects.is_empty() {
        let noted = Noted::Keys(Vec::new());
        return journal
            .note(house, matter.id, noted, None, Vec::new())
            .await;
    }
    let mut scope =
        Scope::over(subjects.keys().copied(), [Category::Identity]).in_matter(matter.id);
    for (subject, elsewhere) in &subjects {
        scope = scope.held_through(*subject, elsewhere.matters().iter().copied());
    }
    let permit = executor
        .permit(Act::Destroy, scope.about("what", "keys"))
        .await?;
    let subjects: Vec<_> = subjects.into_keys().collect();
    for subject in &subjects {
        permit.require(&[Act::Destroy], *subject, Category::Identity)?;
    }
    let keys = house.sealer.keys().erase(&subjects, permit.now()).await?;
    let events = keys.iter().map(|key| {
        let event = permit
            .event(Act::Destroy, Outcome::Done)
            .of_subject(key.subject);
        event
            .with("what", "key")
            .with("key", key.key)
            .with("kek", key.kek.kek.as_label().clone())
    });
    let events = events.collect();
    journal
        .note(house, matter.id, Noted::Keys(keys), None, events)
        .await
}

/// Where a copy of a key stood when it was asked before, it may have been declared destroyed since.
async fn ask_after_copies(house: &House, journal: &mut Journal, matter: MatterId) -> Result<()> {
    let keys = journal.keys.as_deref().unwrap_or_default();
    if keys.iter().all(|key| key.proven().is_ok()) {
        return Ok(());
    }
    let people: Vec<_> = keys.iter().map(|key| key.subject).collect();
    let keys = house.sealer.keys().evidence_now(&people).await?;
    journal
        .note(house, matter, Noted::Keys(keys), None, Vec::new())
        .await
}

/// Leaves out whoever has another matter that needs the key, and notes why. The rest are those
/// whose keys go.
async fn spare_keys(
    house: &House,
    executor: &Session<'_>,
    journal: &mut Journal,
    matter: &Matter,
) -> Result<BTreeMap<SubjectId, Elsewhere>> {
    let mut going = BTreeMap::new();
    let mut kept = BTreeMap::new();
    for subject in journal.evaluations.keys() {
        let elsewhere = Elsewhere::of(house, *subject, matter.id).await?;
        // A key that an earlier attempt destroyed cannot stay, whatever came since.
        if elsewhere.keeps_key() && !house.sealer.keys().is_erased(*subject).await? {
            let stays = KeyKept {
                reason: KeyKept::OTHER_MATTERS,
                matters: u32::try_from(elsewhere.needing()).unwrap_or(u32::MAX),
                at: chrono::SubsecRound::trunc_subsecs(house.gate.now(), 3),
            };
            kept.insert(*subject, stays);
        } else {
            going.insert(*subject, elsewhere);
        }
    }
    if kept != journal.kept {
        let events = kept.iter().map(|(subject, stays)| {
            let event = executor.event(Act::Retain, Outcome::Done);
            let event = event.of_subject(*subject).in_matter(matter.id);
            event
                .with("what", "key")
                .with("reason", stays.reason.clone())
                .with("matters", u64::from(stays.matters))
        });
        let events = events.collect();
        journal
            .note(house, matter.id, Noted::Kept(kept), None, events)
            .await?;
    }
    Ok(going)
}

/// Probes a place independently of what its system said when it erased. What stands there after
/// all is erased once more and looked for again.
async fn look_again(
    house: &House,
    executor: &Session<'_>,
    prober: &Session<'_>,
    journal: &mut Journal,
    placement: Placement,
    matter: &Matter,
) -> Result<()> {
    let mut seen = probe(house, prober, &placement).await?;
    if unexplained(&seen).is_some() {
        erase(house, executor, journal, &placement, matter).await?;
        seen = probe(house, prober, &placement).await?;
    }
    let probe = seen;
    if let Some(residue) = unexplained(&probe) {
        let refusal = Refusal::new(Code::DstResidue).about("placement", placement.id);
        return Err(refusal.about("residue", residue.what.clone()).into());
    }
    let windows = probe.residues.iter().filter_map(|residue| residue.until);
    let erased = journal.erased.get(&placement.id);
    let until = windows.chain(erased.and_then(|erased| erased.window)).max();
    let state = state_at(probe.at, until);
    let noted = Noted::Probed(placement.id, probe);
    let seen = Placement { state, ..placement };
    journal
        .note(house, matter.id, noted, Some(seen), Vec::new())
        .await
}

/// What no window of a provider explains.
fn unexplained(probe: &Probe) -> Option<&Residue> {
    let mut residues = probe.residues.iter();
    residues.find(|residue| residue.content && residue.until.is_none_or(|until| until <= probe.at))
}

fn state_at(at: Timestamp, until: Option<Timestamp>) -> PlacementState {
    match until.filter(|until| *until > at) {
        Some(until) => PlacementState::Erasing { until },
        None => PlacementState::Absent { at },
    }
}

/// Retention is evaluated by its own service identity, whoever executes.
async fn reconsider_as(
    house: &House,
    executor: &Session<'_>,
    matter: &Matter,
    nexus: &Nexus,
) -> Result<Retained> {
    let service = house.gate.directory(|directory| {
        directory
            .actors
            .values()
            .find(|actor| actor.roles.contains(&Role::ServiceRetention) && !actor.revoked)
            .map(|actor| actor.id)
    });
    let service = service.unwrap_or_else(|| executor.actor());
    let session = house.session(service, Role::ServiceRetention, Purpose::Retention);
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
