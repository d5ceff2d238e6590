//! The kit of [`AccessReview`].

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::Desk;
use super::marks::{assert_unmarked, ended_permits_are_refused};
use crate::error::Result;
use crate::pii::Locator;
use crate::policy::{Act, Role, Scope};
use crate::ports::crm::{AccessReview, CrmUser};

conformance_cases! {$
    /// The contract of [`AccessReview`](crate::ports::AccessReview) as tests; `fresh` gives an
    /// [`AccessReviewBench`](crate::conformance::access_review::AccessReviewBench). See
    /// [`conformance`](crate::conformance).
    access_review_conformance = access_review:
    every_active_user_is_listed_once_and_nobody_else,
    what_the_system_does_not_tell_is_unknown_and_never_assumed,
    only_a_permit_to_review_lists_users,
    a_listing_names_nobody,
}

/// A CRM with users: an administrator, another person, an integration and somebody inactive at
/// least, whose names and addresses hold `Qzxmark` where the bench can choose them.
#[async_trait]
pub trait AccessReviewBench: Send + Sync {
    /// The port.
    async fn review(&self) -> Arc<dyn AccessReview>;

    /// Every user by the CRM's own account, the active and the others.
    async fn known(&self) -> Vec<KnownUser>;
}

/// What is true of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownUser {
    /// The CRM's id.
    pub locator: Locator,
    /// Whether the account is active.
    pub active: bool,
    /// Whether it administers the CRM.
    pub administrator: bool,
    /// Whether it is an identity of an integration.
    pub integration: bool,
    /// Whether a second factor is on; `None` when this port has no way to tell.
    pub second_factor: Option<bool>,
}

/// Every active user is listed once, with role as far as the system tells, and nobody else is.
pub async fn every_active_user_is_listed_once_and_nobody_else(bench: &dyn AccessReviewBench) {
    let listed = listed(bench).await.unwrap();
    let known = bench.known().await;
    assert!(
        known.iter().any(|user| !user.active),
        "the bench lacks somebody inactive"
    );
    assert!(
        known.iter().any(|user| user.active && user.administrator),
        "the bench lacks an administrator"
    );
    let told: BTreeMap<_, _> = listed
        .iter()
        .map(|user| (user.locator.clone(), (user.administrator, user.integration)))
        .collect();
    assert_eq!(told.len(), listed.len(), "somebody is listed twice");
    let truth: BTreeMap<_, _> = known
        .into_iter()
        .filter(|user| user.active)
        .map(|user| (user.locator, (user.administrator, user.integration)))
        .collect();
    assert_eq!(told, truth);
}

/// Second-factor state is told as far as the system tells; unknown is `None`, never assumed.
pub async fn what_the_system_does_not_tell_is_unknown_and_never_assumed(
    bench: &dyn AccessReviewBench,
) {
    let listed = listed(bench).await.unwrap();
    assert!(!listed.is_empty());
    let known = bench.known().await;
    for user in listed {
        let truth = known
            .iter()
            .find(|known| known.locator == user.locator)
            .unwrap();
        assert_eq!(
            user.second_factor, truth.second_factor,
            "{:?}",
            user.locator
        );
    }
}

/// Only a permit to review lists users, and only while it lasts.
pub async fn only_a_permit_to_review_lists_users(bench: &dyn AccessReviewBench) {
    let desk = Desk::new("access review");
    let port = bench.review().await;
    let (review, open) = ((Role::Ciso, Act::Review), (Role::Ciso, Act::Open));
    ended_permits_are_refused(&desk, Scope::firm(), review, open, async |permit| {
        port.users(permit).await
    })
    .await;
}

/// A listing tells ids and flags, and names nobody.
pub async fn a_listing_names_nobody(bench: &dyn AccessReviewBench) {
    let port = bench.review().await;
    let shown = format!("{port:?} {:?}", listed(bench).await.unwrap());
    assert_unmarked(&shown);
    assert!(!shown.contains('@'), "an address is shown");
}

async fn listed(bench: &dyn AccessReviewBench) -> Result<Vec<CrmUser>> {
    let desk = Desk::new("access review");
    let session = desk.session(Role::Ciso);
    let permit = session.permit(Act::Review, Scope::firm()).await?;
    bench.review().await.users(&permit).await
}
