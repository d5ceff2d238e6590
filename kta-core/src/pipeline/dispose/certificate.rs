//! The certificate: built from what the journal has observed, and from nothing else.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;

use super::approval::Proposal;
use super::elsewhere::{Elsewhere, stands};
use super::journal::Journal;
use super::{Disposed, Issued, destruction_scope};
use crate::audit::{Label, Outcome};
use crate::crypto::{EraseClaim, KeyErased};
use crate::error::{Error, FaultKind, Result};
use crate::id::{ActorId, CertificateId, SubjectId};
use crate::pii::{MatterState, PlacementKind};
use crate::pipeline::house::{House, file_new, file_over, label};
use crate::pipeline::{manage, suppress, verify};
use crate::policy::{Act, Session};
use crate::ports::store::{ChangeSet, Register};
use crate::refusal::{Code, Refusal};
use crate::retention::{Certificate, CertificateState, CopyOutcome, KeyKept};
use crate::time::Timestamp;

/// The standard that the certificates speak of.
pub const STANDARD: &str = "NIST SP 800-88r2";

/// One certificate for each person, filed together with the entries that anchor them, the
/// suppression marks and the matter's last state. With the certificates given `before`, those
/// that are interim are replaced by final ones; one that is final already stands. A serial is
/// given once: of two who certify at once the second gets what the first has filed.
pub(super) async fn certify(
    house: &House,
    session: &Session<'_>,
    proposal: &Proposal,
    journal: &Journal,
    before: &[Issued],
) -> Result<Disposed> {
    let matter = manage::matter(house, proposal.matter)?;
    let scope = destruction_scope(&matter);
    let permit = session.permit(Act::Certify, scope).await?;
    journal.require_all(house, matter.id).await?;
    let now = house.gate.now();
    let mut marks = verify::marks_of(house, matter.id).await?;
    // Whoever has another matter, under whatever id, is no stranger to be kept out; with the last
    // matter come the marks of all.
    for subject in journal.evaluations.keys() {
        let elsewhere = Elsewhere::of(house, *subject, matter.id).await?;
        if journal.kept.contains_key(subject) || elsewhere.is_served() {
            marks.remove(subject);
            continue;
        }
        let ids = house
            .gate
            .directory(|directory| directory.known_as(*subject));
        for other in elsewhere.matters() {
            let mut theirs = verify::marks_of(house, *other).await?;
            let all = marks.entry(*subject).or_default();
            all.extend(ids.iter().filter_map(|id| theirs.remove(id)).flatten());
        }
    }
    for all in marks.values_mut() {
        all.sort();
        all.dedup();
    }
    let places = journal.placements(house, matter.id).await?;
    // Confirmed by a late worker after it was probed.
    if let Some(again) = places.iter().find(|placement| stands(placement.state)) {
        return Err(Refusal::new(Code::DstResidue)
            .about("placement", again.id)
            .into());
    }
    let mut change = ChangeSet::new(house.tenant(), now);
    let mut certificates = Vec::new();
    let finally = !before.is_empty();
    for (subject, authority) in &journal.evaluations {
        let standing = before.iter().find(|issued| {
            let certificate = &issued.certificate;
            certificate.subject == *subject && certificate.state == CertificateState::Final
        });
        if let Some(standing) = standing {
            certificates.push(standing.clone());
            continue;
        }
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
        let keys = if finally { &journal.ended } else { &None };
        let keys = keys.as_ref().or(journal.keys.as_ref());
        let keys = keys.into_iter().flatten();
        let keys: Vec<_> = keys
            .filter(|key| key.subject == *subject)
            .cloned()
            .collect();
        let until = if finally {
            None
        } else {
            window(&copies, &keys, now)
        };
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
            authority: authority.clone(),
            set: proposal.set,
            approvals: approvals(proposal),
            exceptions: exceptions(&copies, journal.kept.get(subject)),
            copies,
            keys,
            key_kept: journal.kept.get(subject).cloned(),
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
            .with(file_new(
                Register::Certificates,
                name,
                Some(*subject),
                Some(matter.id),
                &issued,
            )?)
            .event(event);
        certificates.push(issued);
    }
    let (sheet, mut now_on_file) = manage::matter_on_file(house, matter.id).await?;
    if now_on_file.state != MatterState::Destroyed {
        now_on_file.advance(MatterState::Destroyed)?;
        change = change.with(file_over(&sheet, &now_on_file)?);
    }
    let disposed = match house.doors.store.commit(change).await {
        Ok(_) => Disposed {
            matter: matter.id,
            certificates,
        },
        // Somebody else may have certified meanwhile: then those are the certificates.
        Err(Error::Broken(fault)) if fault.kind() == FaultKind::Conflict => {
            super::disposed(house, matter.id)
                .await?
                .filter(|theirs| !finally || theirs.interim_until().is_none())
                .ok_or(fault)?
        }
        Err(error) => return Err(error),
    };
    manage::know(house, now_on_file).await?;
    Ok(disposed)
}

/// Until when a system may still have a copy, or a custodian could still bring a key back.
fn window(copies: &[CopyOutcome], keys: &[KeyErased], now: Timestamp) -> Option<Timestamp> {
    let residues = copies.iter().flat_map(|copy| {
        copy.probe
            .residues
            .iter()
            .filter_map(|residue| residue.until)
    });
    let windows = copies.iter().filter_map(|copy| copy.erased.window);
    let waiting = keys.iter().filter_map(|key| match key.claim() {
        EraseClaim::EffectiveFrom(until) => Some(until),
        EraseClaim::Effective | EraseClaim::Invalid => None,
    });
    let all = residues.chain(windows).chain(waiting);
    all.filter(|until| *until > now).max()
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

/// What remains to be said besides the copies: traces without content, recipients outside, a key
/// that stays.
fn exceptions(copies: &[CopyOutcome], kept: Option<&KeyKept>) -> Vec<Label> {
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
        .filter(|copy| copy.kind == PlacementKind::Recipient)
        .map(|copy| label(format_args!("recipient:{}", copy.system)));
    let keys = kept.map(|kept| label(format_args!("key-kept:{}", kept.reason)));
    traces
        .chain(recipients)
        .chain(keys)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// The newest certificate of each person: final before interim.
pub(super) fn latest(issued: Vec<Issued>) -> Vec<Issued> {
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
