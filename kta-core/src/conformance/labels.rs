//! The kit of [`Labels`].

use std::sync::Arc;

use async_trait::async_trait;

use super::documents::{LibraryBench, put};
use super::marks::{ordinary, wrong_permits_are_refused};
use super::papers::{content, document};
use super::{Desk, cancelled};
use crate::audit::Label;
use crate::error::Result;
use crate::pii::Locator;
use crate::policy::{Act, Role};
use crate::ports::documents::Labels;

conformance_cases! {$
    /// The contract of [`Labels`](crate::ports::Labels) as tests; `fresh` gives a
    /// [`LabelsBench`](crate::conformance::labels::LabelsBench). See
    /// [`conformance`](crate::conformance).
    labels_conformance = labels:
    a_label_that_was_set_is_read_back,
    clearing_a_label_leaves_none,
    setting_and_clearing_twice_is_no_error,
    a_label_is_of_one_document_only,
    a_document_that_is_not_there_has_no_label_to_set,
    a_permit_that_does_not_cover_the_person_is_refused,
    a_cancelled_label_is_set_or_not,
}

/// A library whose documents can be labelled.
#[async_trait]
pub trait LabelsBench: LibraryBench {
    /// The port, opened anew each time where the adapter keeps anything in memory.
    async fn labels(&self) -> Arc<dyn Labels>;
}

/// A label that was set is read back.
pub async fn a_label_that_was_set_is_read_back(bench: &dyn LabelsBench) {
    let desk = Desk::new("labels");
    let at = stored(bench, &desk, 1).await;
    assert_eq!(labelled(bench, &desk, &at).await.unwrap(), None);
    let label = bench.label();
    set(bench, &desk, &at, Some(&label)).await.unwrap();
    assert_eq!(labelled(bench, &desk, &at).await.unwrap(), Some(label));
}

/// Clearing a label leaves none.
pub async fn clearing_a_label_leaves_none(bench: &dyn LabelsBench) {
    let desk = Desk::new("labels");
    let at = stored(bench, &desk, 1).await;
    set(bench, &desk, &at, Some(&bench.label())).await.unwrap();
    set(bench, &desk, &at, None).await.unwrap();
    assert_eq!(labelled(bench, &desk, &at).await.unwrap(), None);
}

/// Setting a label that is set, or clearing one that is not there, is no error.
pub async fn setting_and_clearing_twice_is_no_error(bench: &dyn LabelsBench) {
    let desk = Desk::new("labels");
    let at = stored(bench, &desk, 1).await;
    let label = bench.label();
    for wanted in [None, Some(&label), Some(&label), None, None] {
        set(bench, &desk, &at, wanted).await.unwrap();
        assert_eq!(labelled(bench, &desk, &at).await.unwrap().as_ref(), wanted);
    }
}

/// A label is of one document only.
pub async fn a_label_is_of_one_document_only(bench: &dyn LabelsBench) {
    let desk = Desk::new("labels");
    let (at, other) = (stored(bench, &desk, 1).await, stored(bench, &desk, 2).await);
    set(bench, &desk, &at, Some(&bench.label())).await.unwrap();
    assert_eq!(labelled(bench, &desk, &other).await.unwrap(), None);
}

/// A label cannot be set on a document that is not there.
pub async fn a_document_that_is_not_there_has_no_label_to_set(bench: &dyn LabelsBench) {
    let desk = Desk::new("labels");
    let nowhere = Locator::new("NOWHERE0000000000000000000000000").unwrap();
    assert!(
        set(bench, &desk, &nowhere, Some(&bench.label()))
            .await
            .is_err()
    );
}

/// A permit that does not cover the person is refused.
pub async fn a_permit_that_does_not_cover_the_person_is_refused(bench: &dyn LabelsBench) {
    let desk = Desk::new("labels");
    let at = stored(bench, &desk, 1).await;
    let port = bench.labels().await;
    let (subject, label) = (desk.beneficiary(), bench.label());
    let (store, open) = (
        (Role::ServiceSync, Act::Store),
        (Role::Paralegal, Act::Open),
    );
    wrong_permits_are_refused(&desk, subject, store, open, async |permit| {
        port.label(subject, &at, Some(&label), permit).await
    })
    .await;
    assert_eq!(labelled(bench, &desk, &at).await.unwrap(), None);
    let enter = (Role::ServiceSync, Act::Enter);
    wrong_permits_are_refused(&desk, subject, open, enter, async |permit| {
        port.labelled(subject, &at, permit).await
    })
    .await;
}

/// A caller that goes away in the middle leaves the label set or not; the next one sets it.
pub async fn a_cancelled_label_is_set_or_not(bench: &dyn LabelsBench) {
    let desk = Desk::new("labels");
    let at = stored(bench, &desk, 1).await;
    let label = bench.label();
    cancelled(set(bench, &desk, &at, Some(&label)));
    let now = labelled(bench, &desk, &at).await.unwrap();
    assert!(now.is_none() || now.as_ref() == Some(&label));
    set(bench, &desk, &at, Some(&label)).await.unwrap();
    assert_eq!(labelled(bench, &desk, &at).await.unwrap(), Some(label));
}

async fn stored(bench: &dyn LabelsBench, desk: &Desk, number: u8) -> Locator {
    let bytes = content(2_000, number);
    put(bench, desk, &document(desk, number, &bytes), &bytes, number)
        .await
        .unwrap()
        .locator
}

async fn set(
    bench: &dyn LabelsBench,
    desk: &Desk,
    at: &Locator,
    label: Option<&Label>,
) -> Result<()> {
    let session = desk.session(Role::ServiceSync);
    let permit = session
        .permit(Act::Store, ordinary(desk, desk.beneficiary()))
        .await?;
    bench
        .labels()
        .await
        .label(desk.beneficiary(), at, label, &permit)
        .await
}

async fn labelled(bench: &dyn LabelsBench, desk: &Desk, at: &Locator) -> Result<Option<Label>> {
    let session = desk.session(Role::Paralegal);
    let permit = session
        .permit(Act::Open, ordinary(desk, desk.beneficiary()))
        .await?;
    bench
        .labels()
        .await
        .labelled(desk.beneficiary(), at, &permit)
        .await
}
