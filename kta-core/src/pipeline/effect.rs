//! Effects outside the house: announced before, confirmed after, found again in between.
//!
//! ```text
//!   commit: placement Intended + job + entry "intended"
//!        │   (a crash here: the next run does the effect)
//!   effect under the idempotency key
//!        │   (a crash here: the next run repeats it under the same key, which is one effect)
//!   commit: placement Present + job done + entry "done"
//! ```

use crate::audit::{Label, Outcome};
use crate::error::{Error, Result};
use crate::id::{IdempotencyKey, MatterId, PlacementId, SubjectId};
use crate::pii::placement::CopyOf;
use crate::pii::{Category, Locator, Placement, PlacementKind, PlacementState, System};
use crate::pipeline::dispose::require_untouched;
use crate::pipeline::house::House;
use crate::policy::{Act, Permit};
use crate::ports::store::{Change, ChangeSet, Job, JobState, PlacementQuery, Settled};
use crate::refusal::{Code, Refusal};

/// A copy that is about to be made somewhere.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub(crate) subject: SubjectId,
    pub(crate) matter: Option<MatterId>,
    pub(crate) system: System,
    pub(crate) kind: PlacementKind,
    pub(crate) of: CopyOf,
    pub(crate) category: Category,
}

impl Copy {
    /// The copy's id: the same copy has the same id in every run.
    fn id(&self) -> PlacementId {
        let of = match &self.of {
            CopyOf::Document(document) => *document.as_bytes(),
            CopyOf::Record(record) => *record.as_bytes(),
        };
        let kind = self.kind.as_str().as_bytes();
        PlacementId::derived(&[
            self.subject.as_bytes(),
            self.system.as_str().as_bytes(),
            kind,
            &of,
        ])
    }

    /// The name of the effect that makes the copy.
    pub(crate) fn key(&self, step: &'static str) -> IdempotencyKey {
        IdempotencyKey::derived(step, &[self.id().as_bytes()])
    }

    /// The registered copy in a given state.
    pub(crate) fn placed(
        &self,
        house: &House,
        state: PlacementState,
        locator: Option<Locator>,
    ) -> Placement {
        Placement {
            tenant: house.tenant(),
            id: self.id(),
            subject: self.subject,
            matter: self.matter,
            system: self.system.clone(),
            kind: self.kind,
            of: self.of,
            category: self.category,
            locator,
            state,
            since: house.gate.now(),
        }
    }
}

/// Makes a copy outside: announces it, runs `make` under its key, confirms it. A copy that is
/// confirmed already is not made again; a lawful no is announced as such and takes the
/// announcement back.
///
/// # Errors
/// What `make` gives; [`Code::DstUnmapped`] when nobody could ever erase the copy again;
/// [`Code::PrcTransition`] for a matter whose destruction has begun or is done.
pub(crate) async fn place<F>(
    house: &House,
    copy: &Copy,
    act: Act,
    step: &'static str,
    permit: &Permit<'_>,
    make: impl FnOnce(IdempotencyKey) -> F,
) -> Result<Locator>
where
    F: Future<Output = Result<Locator>>,
{
    house.eraser(&copy.system)?;
    let key = copy.key(step);
    if let Some(placement) = known(house, copy).await? {
        match (placement.state, placement.locator) {
            (PlacementState::Present | PlacementState::Disclosed, Some(locator)) => {
                return Ok(locator);
            }
            (PlacementState::Absent { .. } | PlacementState::Erasing { .. }, _) => {
                return Err(Code::SupListed.into());
            }
            _ => {}
        }
    }
    if let Some(matter) = copy.matter {
        require_untouched(house, matter).await?;
    }
    let event = |outcome| {
        permit
            .event(act, outcome)
            .of_subject(copy.subject)
            .with("placement", copy.id())
            .with("system", copy.system.clone())
            .with("category", copy.category.as_str())
    };
    let job = Job {
        id: key.job(),
        kind: Label::fixed(step),
        subject: Some(copy.subject),
        matter: copy.matter,
        due: house.gate.now(),
        attempts: 0,
        state: JobState::Waiting,
        lease: 0,
        leased_until: None,
        reason: None,
        payload: format!("\"{}\"", copy.id()).into_bytes(),
    };
    let announce = ChangeSet::new(house.tenant(), house.gate.now())
        .with(Change::PutPlacement(copy.placed(
            house,
            PlacementState::Intended,
            None,
        )))
        .with(Change::Enqueue(job))
        .event(event(Outcome::Intended));
    house.doors.store.commit(announce).await?;
    // A destruction that began meanwhile has counted this copy, or is seen here.
    let untouched = match copy.matter {
        Some(matter) => require_untouched(house, matter).await,
        None => Ok(()),
    };
    let made = match untouched {
        Ok(()) => make(key).await,
        Err(error) => Err(error),
    };
    let done = |outcome| Change::Settle {
        job: key.job(),
        lease: None,
        outcome,
    };
    match made {
        Ok(locator) => {
            let state = match copy.kind {
                PlacementKind::Recipient => PlacementState::Disclosed,
                _ => PlacementState::Present,
            };
            let confirm = ChangeSet::new(house.tenant(), house.gate.now())
                .with(Change::PutPlacement(copy.placed(
                    house,
                    state,
                    Some(locator.clone()),
                )))
                .with(done(Settled::Done))
                .event(event(Outcome::Done));
            house.doors.store.commit(confirm).await?;
            Ok(locator)
        }
        Err(Error::Refused(refusal)) => {
            // Refused means: certainly no copy. The announcement is taken back with its reason.
            let withdrawn = PlacementState::Withdrawn {
                at: house.gate.now(),
            };
            let retract = ChangeSet::new(house.tenant(), house.gate.now())
                .with(Change::PutPlacement(copy.placed(house, withdrawn, None)))
                .with(done(Settled::Dead(Some(refusal.code()))))
                .event(event(Outcome::Refused).refused(refusal.code()));
            house.doors.store.commit(retract).await?;
            Err(refusal.into())
        }
        // Broken means: perhaps a copy. It stays announced, and the next run finds out.
        Err(error) => Err(error),
    }
}

/// Takes a copy away again and registers it as absent after a clean probe. A copy that was never
/// made, or is gone already, is left alone.
///
/// # Errors
/// [`Code::DstResidue`] when the probe still finds content.
pub(crate) async fn unplace(
    house: &House,
    placement: Placement,
    permit: &Permit<'_>,
    probing: &Permit<'_>,
) -> Result<()> {
    if matches!(
        placement.state,
        PlacementState::Absent { .. } | PlacementState::Withdrawn { .. }
    ) {
        return Ok(());
    }
    let eraser = house.eraser(&placement.system)?;
    let key = IdempotencyKey::derived("erase", &[placement.id.as_bytes()]);
    eraser.erase(&placement, key, permit).await?;
    let probe = eraser.probe(&placement, probing).await?;
    if probe.residues.iter().any(|residue| residue.content) {
        return Err(Refusal::new(Code::DstResidue)
            .about("placement", placement.id)
            .into());
    }
    let absent = PlacementState::Absent { at: probe.at };
    let event = permit
        .event(Act::Destroy, Outcome::Done)
        .of_subject(placement.subject)
        .with("placement", placement.id)
        .with("system", placement.system.clone());
    let change = ChangeSet::new(house.tenant(), house.gate.now())
        .with(Change::PutPlacement(Placement {
            state: absent,
            since: house.gate.now(),
            ..placement
        }))
        .event(event);
    house.doors.store.commit(change).await.map(drop)
}

/// What the register says of this copy.
pub(crate) async fn known(house: &House, copy: &Copy) -> Result<Option<Placement>> {
    let query = PlacementQuery {
        system: Some(copy.system.clone()),
        ..PlacementQuery::of(house.tenant(), copy.subject)
    };
    let placements = house.doors.store.placements(&query).await?;
    Ok(placements
        .into_iter()
        .find(|placement| placement.id == copy.id()))
}
