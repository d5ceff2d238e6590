//! The kit of [`Erase`](crate::ports::Erase) for systems with a recycle bin.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::Desk;
use super::erase::{EraseBench, erase, probe};
use super::marks::MARK;
use crate::audit::Label;
use crate::pii::Placement;
use crate::ports::erase::Probe;

conformance_cases! {$
    /// What [`Erase`](crate::ports::Erase) owes where a system has a recycle bin; `fresh` gives a
    /// [`DiscardBench`](crate::conformance::discard::DiscardBench). Beside `erase_conformance!`,
    /// not instead of it.
    discard_conformance = discard:
    a_copy_that_was_thrown_away_is_found_by_the_probe,
    a_copy_that_was_thrown_away_is_erased_like_any_other,
    erasing_what_was_thrown_away_leaves_the_bin_of_others_alone,
}

/// A system in which somebody can throw a copy away the ordinary way.
#[async_trait]
pub trait DiscardBench: EraseBench {
    /// Throws the copy away by hand, so that it lies in the recycle bin.
    async fn discard(&self, desk: &Desk, copy: &Placement);
}

/// A copy that somebody threw away lies in the bin, and the probe finds it there.
pub async fn a_copy_that_was_thrown_away_is_found_by_the_probe(bench: &dyn DiscardBench) {
    let desk = Desk::new("discard");
    let copy = bench.copy(&desk, desk.beneficiary(), MARK).await;
    bench.discard(&desk, &copy).await;
    assert!(!content(&probe(bench, &desk, &copy).await.unwrap()).is_empty());
}

/// A copy that somebody threw away is erased as thoroughly as one that nobody did.
pub async fn a_copy_that_was_thrown_away_is_erased_like_any_other(bench: &dyn DiscardBench) {
    let desk = Desk::new("discard");
    let thrown = bench.copy(&desk, desk.beneficiary(), MARK).await;
    let other = bench.copy(&desk, desk.beneficiary(), MARK).await;
    bench.discard(&desk, &thrown).await;
    erase(bench, &desk, &thrown, 1).await.unwrap();
    erase(bench, &desk, &other, 2).await.unwrap();
    let left = content(&probe(bench, &desk, &thrown).await.unwrap());
    assert_eq!(left, content(&probe(bench, &desk, &other).await.unwrap()));
    assert!(
        left.iter().all(|what| !what.as_str().contains("bin")),
        "it is still in the bin"
    );
}

/// Erasing one thrown-away copy leaves what else lies in the bin.
pub async fn erasing_what_was_thrown_away_leaves_the_bin_of_others_alone(bench: &dyn DiscardBench) {
    let desk = Desk::new("discard");
    let mine = bench.copy(&desk, desk.beneficiary(), MARK).await;
    let theirs = bench.copy(&desk, desk.spouse(), MARK).await;
    bench.discard(&desk, &mine).await;
    bench.discard(&desk, &theirs).await;
    let before = content(&probe(bench, &desk, &theirs).await.unwrap());
    erase(bench, &desk, &mine, 1).await.unwrap();
    assert_eq!(
        content(&probe(bench, &desk, &theirs).await.unwrap()),
        before
    );
    assert!(!before.is_empty());
}

/// What holds content.
fn content(probe: &Probe) -> BTreeSet<Label> {
    probe
        .residues
        .iter()
        .filter(|residue| residue.content)
        .map(|residue| residue.what.clone())
        .collect()
}
