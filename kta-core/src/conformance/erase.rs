//! The kit of [`Erase`].

use std::sync::Arc;

use async_trait::async_trait;

use super::marks::{MARK, assert_unmarked, effect, ended_permits_are_refused};
use super::{Desk, cancelled, code};
use crate::Code;
use crate::audit::Label;
use crate::error::Result;
use crate::id::{PlacementId, SubjectId};
use crate::pii::placement::CopyOf;
use crate::pii::{Category, Locator, Placement, PlacementKind, PlacementState, System};
use crate::policy::{Act, Role, Scope};
use crate::ports::erase::{Erase, Erased, Probe, Residue};

conformance_cases! {$
    /// The contract of [`Erase`](crate::ports::Erase) as tests; `fresh` gives an
    /// [`EraseBench`](crate::conformance::erase::EraseBench). See
    /// [`conformance`](crate::conformance).
    erase_conformance = erase:
    before_an_erase_probe_finds_the_copy,
    erase_takes_away_the_copy_with_everything_beneath_it,
    erase_takes_away_nothing_of_anybody_else,
    erasing_twice_is_no_error_and_gives_the_same_kind_of_answer,
    a_residue_that_the_provider_keeps_is_reported_with_its_time,
    a_probe_says_what_it_asked_and_digests_the_answers,
    what_a_legal_hold_covers_is_not_erased_under_whatever_permit,
    only_a_permit_to_destroy_erases_and_only_one_to_probe_probes,
    a_placement_of_another_system_is_not_touched,
    concurrent_erasures_end_as_one_does,
    a_cancelled_erasure_is_carried_to_its_end_by_the_next,
    answers_and_errors_hold_nothing_of_the_copy,
}

/// A system in which copies can be made.
#[async_trait]
pub trait EraseBench: Send + Sync {
    /// The port, opened anew each time where the adapter keeps anything in memory.
    async fn eraser(&self) -> Arc<dyn Erase>;

    /// Makes a copy of this person's data that holds `marked`, with everything beneath it that
    /// the system can have (versions, notes, attachments, shares), and says where it is; with
    /// [`placement`] that is one expression. Each call makes another copy.
    async fn copy(&self, desk: &Desk, subject: SubjectId, marked: &str) -> Placement;
}

/// The placement of a copy in the desk's family matter.
#[must_use]
pub fn placement(
    desk: &Desk,
    subject: SubjectId,
    (system, kind): (System, PlacementKind),
    (of, category): (CopyOf, Category),
    locator: Locator,
) -> Placement {
    Placement {
        tenant: desk.tenant(),
        id: PlacementId::derived(&[subject.as_bytes(), locator.as_str().as_bytes()]),
        subject,
        matter: Some(desk.matter()),
        system,
        kind,
        of,
        category,
        locator: Some(locator),
        state: PlacementState::Present,
        since: desk.now(),
    }
}

/// Before an erase `probe` finds the copy.
pub async fn before_an_erase_probe_finds_the_copy(bench: &dyn EraseBench) {
    let desk = Desk::new("erase");
    let copy = bench.copy(&desk, desk.beneficiary(), MARK).await;
    assert_eq!(copy.system, bench.eraser().await.system());
    assert!(is_there(bench, &desk, &copy).await);
    assert!(
        is_there(bench, &desk, &copy).await,
        "looking changes nothing"
    );
}

/// `erase` takes away the one placement it is given, with everything beneath it.
pub async fn erase_takes_away_the_copy_with_everything_beneath_it(bench: &dyn EraseBench) {
    let desk = Desk::new("erase");
    let copy = bench.copy(&desk, desk.beneficiary(), MARK).await;
    let erased = erase(bench, &desk, &copy, 1).await.unwrap();
    assert!(!erased.steps.is_empty(), "says what it did");
    let left = unexplained(&probe(bench, &desk, &copy).await.unwrap());
    assert_eq!(left, []);
}

/// `erase` takes away nothing of anybody else, and no other copy of the same person.
pub async fn erase_takes_away_nothing_of_anybody_else(bench: &dyn EraseBench) {
    let desk = Desk::new("erase");
    let gone = bench.copy(&desk, desk.beneficiary(), MARK).await;
    let same_person = bench.copy(&desk, desk.beneficiary(), MARK).await;
    let somebody_else = bench.copy(&desk, desk.spouse(), MARK).await;
    erase(bench, &desk, &gone, 1).await.unwrap();
    assert!(!is_there(bench, &desk, &gone).await);
    assert!(is_there(bench, &desk, &same_person).await);
    assert!(is_there(bench, &desk, &somebody_else).await);
}

/// Erasing twice is no error and gives the same kind of answer.
pub async fn erasing_twice_is_no_error_and_gives_the_same_kind_of_answer(bench: &dyn EraseBench) {
    let desk = Desk::new("erase");
    let copy = bench.copy(&desk, desk.beneficiary(), MARK).await;
    let first = erase(bench, &desk, &copy, 1).await.unwrap();
    for key in [1, 2] {
        let again = erase(bench, &desk, &copy, key).await.unwrap();
        assert_eq!(again.method, first.method);
        assert_eq!(again.window.is_some(), first.window.is_some());
    }
    assert!(!is_there(bench, &desk, &copy).await);
}

/// A residue that the provider keeps for a time is reported with that time.
pub async fn a_residue_that_the_provider_keeps_is_reported_with_its_time(bench: &dyn EraseBench) {
    let desk = Desk::new("erase");
    let copy = bench.copy(&desk, desk.beneficiary(), MARK).await;
    let erased = erase(bench, &desk, &copy, 1).await.unwrap();
    let seen = probe(bench, &desk, &copy).await.unwrap();
    let kept: Vec<&Residue> = seen
        .residues
        .iter()
        .filter(|residue| residue.content)
        .collect();
    assert!(
        kept.iter().all(|residue| residue.until.is_some()),
        "{kept:?}"
    );
    if let Some(until) = kept.iter().filter_map(|residue| residue.until).max() {
        assert!(until > seen.at, "a window that has ended is no explanation");
        assert!(
            erased.window.is_some(),
            "the erasure announces the window that the probe sees"
        );
    }
}

/// A probe says by which questions it looked, and its evidence depends on the answers.
pub async fn a_probe_says_what_it_asked_and_digests_the_answers(bench: &dyn EraseBench) {
    let desk = Desk::new("erase");
    let copy = bench.copy(&desk, desk.beneficiary(), MARK).await;
    let before = probe(bench, &desk, &copy).await.unwrap();
    erase(bench, &desk, &copy, 1).await.unwrap();
    let after = probe(bench, &desk, &copy).await.unwrap();
    assert!(!before.asked.is_empty() && !after.asked.is_empty());
    assert_ne!(before.evidence, after.evidence);
}

/// What a legal hold covers is not erased, under whatever permit: no new one is given out, and none
/// that was given out before is good any more.
pub async fn what_a_legal_hold_covers_is_not_erased_under_whatever_permit(bench: &dyn EraseBench) {
    let desk = Desk::new("erase");
    let copy = bench.copy(&desk, desk.beneficiary(), MARK).await;
    let port = bench.eraser().await;
    let session = desk.session(Role::ServiceDestroy);
    let early = session.permit(Act::Destroy, scope(&copy)).await.unwrap();
    let hold = desk.hold(copy.subject).await.unwrap();
    let refused = port.erase(&copy, effect(&desk, 1), &early).await;
    assert_eq!(code(refused), Code::DstHold);
    let late = session.permit(Act::Destroy, scope(&copy)).await;
    assert_eq!(code(late), Code::DstHold);
    desk.release(hold).await.unwrap();
    assert!(is_there(bench, &desk, &copy).await);
    port.erase(&copy, effect(&desk, 1), &early).await.unwrap();
    assert!(!is_there(bench, &desk, &copy).await);
}

/// Erasing and probing want permits for `Destroy` and `Probe` over the person; anything else is
/// refused and changes nothing.
pub async fn only_a_permit_to_destroy_erases_and_only_one_to_probe_probes(bench: &dyn EraseBench) {
    let desk = Desk::new("erase");
    let copy = bench.copy(&desk, desk.beneficiary(), MARK).await;
    let port = bench.eraser().await;
    let (destroy, look) = (
        (Role::ServiceDestroy, Act::Destroy),
        (Role::ServiceDestroy, Act::Probe),
    );
    let somebody_else = || desk.scope(desk.spouse(), copy.category);
    let session = desk.session(Role::ServiceDestroy);
    let permit = session.permit(Act::Destroy, somebody_else()).await.unwrap();
    assert_eq!(
        code(port.erase(&copy, effect(&desk, 1), &permit).await),
        Code::AclDeny
    );
    let permit = session.permit(Act::Probe, somebody_else()).await.unwrap();
    assert_eq!(code(port.probe(&copy, &permit).await), Code::AclDeny);
    ended_permits_are_refused(&desk, scope(&copy), destroy, look, async |permit| {
        port.erase(&copy, effect(&desk, 1), permit).await
    })
    .await;
    ended_permits_are_refused(&desk, scope(&copy), look, destroy, async |permit| {
        port.probe(&copy, permit).await
    })
    .await;
    // Another firm that holds the same id has no say over this copy.
    let other = Desk::new("another firm");
    let session = other.session(Role::ServiceDestroy);
    let foreign = || Scope::of(copy.subject, copy.category);
    let permit = session.permit(Act::Destroy, foreign()).await.unwrap();
    assert_eq!(
        code(port.erase(&copy, effect(&desk, 1), &permit).await),
        Code::AclDeny
    );
    let permit = session.permit(Act::Probe, foreign()).await.unwrap();
    assert_eq!(code(port.probe(&copy, &permit).await), Code::AclDeny);
    assert!(is_there(bench, &desk, &copy).await);
}

/// A placement of another system is an error, even where the locator exists here.
pub async fn a_placement_of_another_system_is_not_touched(bench: &dyn EraseBench) {
    let desk = Desk::new("erase");
    let copy = bench.copy(&desk, desk.beneficiary(), MARK).await;
    let elsewhere = Placement {
        system: Label::fixed("elsewhere"),
        ..copy.clone()
    };
    assert!(erase(bench, &desk, &elsewhere, 1).await.is_err());
    assert!(probe(bench, &desk, &elsewhere).await.is_err());
    assert!(is_there(bench, &desk, &copy).await);
}

/// Two workers that erase the same copy at once end as one does.
pub async fn concurrent_erasures_end_as_one_does(bench: &dyn EraseBench) {
    let desk = Desk::new("erase");
    let copy = bench.copy(&desk, desk.beneficiary(), MARK).await;
    let attempt = || erase(bench, &desk, &copy, 1);
    let (one, two) = futures_util::future::join(attempt(), attempt()).await;
    for lost in [one.as_ref(), two.as_ref()]
        .into_iter()
        .filter_map(Result::err)
    {
        assert!(
            lost.fault().is_some_and(crate::Fault::is_transient),
            "{lost}"
        );
    }
    if one.is_err() && two.is_err() {
        erase(bench, &desk, &copy, 1).await.unwrap();
    }
    assert!(!is_there(bench, &desk, &copy).await);
}

/// A caller that goes away in the middle leaves an erasure that the next one carries to its end.
pub async fn a_cancelled_erasure_is_carried_to_its_end_by_the_next(bench: &dyn EraseBench) {
    let desk = Desk::new("erase");
    let copy = bench.copy(&desk, desk.beneficiary(), MARK).await;
    cancelled(erase(bench, &desk, &copy, 1));
    probe(bench, &desk, &copy).await.unwrap();
    erase(bench, &desk, &copy, 1).await.unwrap();
    assert!(!is_there(bench, &desk, &copy).await);
}

/// Answers, errors and `Debug` contain nothing of the copy.
pub async fn answers_and_errors_hold_nothing_of_the_copy(bench: &dyn EraseBench) {
    let desk = Desk::new("erase");
    let copy = bench.copy(&desk, desk.beneficiary(), MARK).await;
    let port = bench.eraser().await;
    let before = probe(bench, &desk, &copy).await.unwrap();
    let erased = erase(bench, &desk, &copy, 1).await.unwrap();
    let after = probe(bench, &desk, &copy).await.unwrap();
    assert_unmarked(&format!(
        "{port:?} {copy:?} {before:?} {erased:?} {after:?}"
    ));
    let elsewhere = Placement {
        system: Label::fixed("elsewhere"),
        ..copy
    };
    let error = erase(bench, &desk, &elsewhere, 2).await.unwrap_err();
    assert_unmarked(&format!("{error:?} {error}"));
}

pub(crate) async fn erase(
    bench: &(impl EraseBench + ?Sized),
    desk: &Desk,
    copy: &Placement,
    key: u8,
) -> Result<Erased> {
    let session = desk.session(Role::ServiceDestroy);
    let permit = session.permit(Act::Destroy, scope(copy)).await?;
    bench
        .eraser()
        .await
        .erase(copy, effect(desk, key), &permit)
        .await
}

pub(crate) async fn probe(
    bench: &(impl EraseBench + ?Sized),
    desk: &Desk,
    copy: &Placement,
) -> Result<Probe> {
    let session = desk.session(Role::ServiceDestroy);
    let permit = session.permit(Act::Probe, scope(copy)).await?;
    bench.eraser().await.probe(copy, &permit).await
}

async fn is_there(bench: &dyn EraseBench, desk: &Desk, copy: &Placement) -> bool {
    !unexplained(&probe(bench, desk, copy).await.unwrap()).is_empty()
}

/// What holds content and is not explained by a provider's window.
fn unexplained(probe: &Probe) -> Vec<Residue> {
    probe
        .residues
        .iter()
        .filter(|residue| residue.content && residue.until.is_none())
        .cloned()
        .collect()
}

fn scope(copy: &Placement) -> Scope {
    Scope::of(copy.subject, copy.category).in_matter(copy.matter)
}
