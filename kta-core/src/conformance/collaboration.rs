//! The kit of [`Collaboration`].

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{SubsecRound as _, TimeDelta};

use super::documents::{LibraryBench, put};
use super::marks::{MARK, assert_unmarked, effect, ordinary, wrong_permits_are_refused};
use super::papers::{content, document};
use super::{Desk, cancelled, code};
use crate::Code;
use crate::error::{Fault, Result};
use crate::id::GrantId;
use crate::pii::Locator;
use crate::policy::{Act, Role};
use crate::ports::collaboration::{Collaboration, Grant, GrantRequest, Recipient, SharedRole};
use crate::time::Timestamp;

conformance_cases! {$
    /// The contract of [`Collaboration`](crate::ports::Collaboration) as tests; `fresh` gives a
    /// [`CollaborationBench`](crate::conformance::collaboration::CollaborationBench). See
    /// [`conformance`](crate::conformance).
    collaboration_conformance = collaboration:
    a_grant_is_bound_to_its_recipient_and_ends_at_its_expiry,
    a_grant_that_has_ended_is_not_listed,
    a_grant_that_would_have_ended_is_refused,
    the_same_key_twice_is_one_grant,
    of_concurrent_grants_under_one_key_one_is_left,
    grants_lists_ways_in_that_we_did_not_make,
    a_revoked_grant_is_not_listed_and_revoking_again_is_no_error,
    a_permit_that_does_not_cover_the_person_is_refused,
    a_cancelled_grant_is_whole_or_nothing,
    errors_and_debug_hold_no_address,
}

/// A library whose documents can be shared.
#[async_trait]
pub trait CollaborationBench: LibraryBench {
    /// The port, opened anew each time where the adapter keeps anything in memory.
    async fn collaboration(&self) -> Arc<dyn Collaboration>;

    /// The present instant by the library's own clock.
    fn now(&self) -> Timestamp;

    /// Makes a link to the document that lets anybody in who has it, as a visitor of the
    /// library might.
    async fn link(&self, document: &Locator);
}

/// A grant is bound to its recipient and ends at its expiry; both are read back from the system.
pub async fn a_grant_is_bound_to_its_recipient_and_ends_at_its_expiry(
    bench: &dyn CollaborationBench,
) {
    let desk = Desk::new("collaboration");
    let at = stored(bench, &desk, 1).await;
    let before = listed(bench, &desk, &at).await.unwrap();
    let end = end(bench, &desk);
    let one = share(bench, &desk, &request(&desk, &at, 1, end), 1)
        .await
        .unwrap();
    let two = share(bench, &desk, &request(&desk, &at, 2, end), 2)
        .await
        .unwrap();
    assert_ne!(one.locator, two.locator);
    let now = listed(bench, &desk, &at).await.unwrap();
    assert_eq!(now.len(), before.len() + 2);
    for grant in [one, two] {
        assert!(now.contains(&grant), "what was answered is what is listed");
        assert!(!grant.anonymous && !grant.inherited);
        assert_eq!(grant.role, SharedRole::View);
        assert_eq!(grant.expires, Some(end));
    }
}

/// A grant whose time is over is no way in.
pub async fn a_grant_that_has_ended_is_not_listed(bench: &dyn CollaborationBench) {
    let desk = Desk::new("collaboration");
    let at = stored(bench, &desk, 1).await;
    let end = end(bench, &desk);
    let grant = share(bench, &desk, &request(&desk, &at, 1, end), 1)
        .await
        .unwrap();
    desk.clock().set(end + TimeDelta::seconds(1));
    let now = listed(bench, &desk, &at).await.unwrap();
    assert!(now.iter().all(|listed| listed.locator != grant.locator));
}

/// A grant that would have ended already is refused with `SHR-EXPIRY`.
pub async fn a_grant_that_would_have_ended_is_refused(bench: &dyn CollaborationBench) {
    let desk = Desk::new("collaboration");
    let at = stored(bench, &desk, 1).await;
    let before = listed(bench, &desk, &at).await.unwrap();
    let past = desk.now().min(bench.now()) - TimeDelta::seconds(1);
    assert_eq!(
        code(share(bench, &desk, &request(&desk, &at, 1, past), 1).await),
        Code::ShrExpiry
    );
    assert_eq!(listed(bench, &desk, &at).await.unwrap(), before);
}

/// The same idempotency key twice is one grant, after a restart too.
pub async fn the_same_key_twice_is_one_grant(bench: &dyn CollaborationBench) {
    let desk = Desk::new("collaboration");
    let at = stored(bench, &desk, 1).await;
    let before = listed(bench, &desk, &at).await.unwrap().len();
    let wanted = request(&desk, &at, 1, end(bench, &desk));
    let first = share(bench, &desk, &wanted, 1).await.unwrap();
    let again = share(bench, &desk, &wanted, 1).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(listed(bench, &desk, &at).await.unwrap().len(), before + 1);
}

/// Of concurrent grants under one key one is left, and both know it.
pub async fn of_concurrent_grants_under_one_key_one_is_left(bench: &dyn CollaborationBench) {
    let desk = Desk::new("collaboration");
    let at = stored(bench, &desk, 1).await;
    let before = listed(bench, &desk, &at).await.unwrap().len();
    let wanted = request(&desk, &at, 1, end(bench, &desk));
    let attempt = || share(bench, &desk, &wanted, 1);
    let won: Vec<Grant> = match futures_util::future::join(attempt(), attempt()).await {
        (Ok(one), Ok(two)) => vec![one, two],
        (Ok(one), Err(lost)) | (Err(lost), Ok(one)) => {
            assert!(lost.fault().is_some_and(Fault::is_transient), "{lost}");
            vec![one]
        }
        (Err(lost), Err(_)) => panic!("nobody won: {lost}"),
    };
    assert!(won.iter().all(|grant| grant.locator == won[0].locator));
    assert_eq!(listed(bench, &desk, &at).await.unwrap().len(), before + 1);
}

/// `grants` lists every effective way in, those not made by us too.
pub async fn grants_lists_ways_in_that_we_did_not_make(bench: &dyn CollaborationBench) {
    let desk = Desk::new("collaboration");
    let (at, other) = (stored(bench, &desk, 1).await, stored(bench, &desk, 2).await);
    share(bench, &desk, &request(&desk, &at, 1, end(bench, &desk)), 3)
        .await
        .unwrap();
    bench.link(&at).await;
    let now = listed(bench, &desk, &at).await.unwrap();
    assert_eq!(now.iter().filter(|grant| grant.anonymous).count(), 1);
    assert!(
        now.iter()
            .any(|grant| !grant.anonymous && grant.expires.is_some())
    );
    let elsewhere = listed(bench, &desk, &other).await.unwrap();
    assert!(elsewhere.iter().all(|grant| !grant.anonymous));
    let link = now.iter().find(|grant| grant.anonymous).unwrap();
    revoke(bench, &desk, &at, &link.locator).await.unwrap();
    assert!(
        listed(bench, &desk, &at)
            .await
            .unwrap()
            .iter()
            .all(|grant| !grant.anonymous)
    );
}

/// A revoked grant is not listed; revoking it again is no error.
pub async fn a_revoked_grant_is_not_listed_and_revoking_again_is_no_error(
    bench: &dyn CollaborationBench,
) {
    let desk = Desk::new("collaboration");
    let at = stored(bench, &desk, 1).await;
    let end = end(bench, &desk);
    let gone = share(bench, &desk, &request(&desk, &at, 1, end), 1)
        .await
        .unwrap();
    let stays = share(bench, &desk, &request(&desk, &at, 2, end), 2)
        .await
        .unwrap();
    for _ in 0..2 {
        revoke(bench, &desk, &at, &gone.locator).await.unwrap();
        let now = listed(bench, &desk, &at).await.unwrap();
        assert!(now.iter().all(|grant| grant.locator != gone.locator));
        assert!(now.contains(&stays));
    }
}

/// A permit that does not cover the person is refused.
pub async fn a_permit_that_does_not_cover_the_person_is_refused(bench: &dyn CollaborationBench) {
    let desk = Desk::new("collaboration");
    let at = stored(bench, &desk, 1).await;
    let port = bench.collaboration().await;
    let before = listed(bench, &desk, &at).await.unwrap();
    let (end, subject) = (end(bench, &desk), desk.beneficiary());
    let by = |act| (Role::Paralegal, act);
    let wanted = request(&desk, &at, 1, end);
    wrong_permits_are_refused(
        &desk,
        subject,
        by(Act::Share),
        by(Act::Open),
        async |permit| port.grant(&wanted, effect(&desk, 1), permit).await,
    )
    .await;
    assert_eq!(listed(bench, &desk, &at).await.unwrap(), before);
    let made = share(bench, &desk, &wanted, 1).await.unwrap();
    let entering = (Role::ServiceSync, Act::Enter);
    wrong_permits_are_refused(&desk, subject, by(Act::Review), entering, async |permit| {
        port.grants(subject, &at, permit).await
    })
    .await;
    wrong_permits_are_refused(
        &desk,
        subject,
        by(Act::Revoke),
        by(Act::Open),
        async |permit| port.revoke(subject, &at, &made.locator, permit).await,
    )
    .await;
    assert!(listed(bench, &desk, &at).await.unwrap().contains(&made));
}

/// A caller that goes away in the middle leaves a whole grant or none; the next one finds that.
pub async fn a_cancelled_grant_is_whole_or_nothing(bench: &dyn CollaborationBench) {
    let desk = Desk::new("collaboration");
    let at = stored(bench, &desk, 1).await;
    let before = listed(bench, &desk, &at).await.unwrap().len();
    let wanted = request(&desk, &at, 1, end(bench, &desk));
    cancelled(share(bench, &desk, &wanted, 1));
    assert!(listed(bench, &desk, &at).await.unwrap().len() <= before + 1);
    let grant = share(bench, &desk, &wanted, 1).await.unwrap();
    let now = listed(bench, &desk, &at).await.unwrap();
    assert_eq!(now.len(), before + 1);
    assert!(now.contains(&grant));
}

/// Errors and `Debug` contain no address.
pub async fn errors_and_debug_hold_no_address(bench: &dyn CollaborationBench) {
    let desk = Desk::new("collaboration");
    let at = stored(bench, &desk, 1).await;
    let port = bench.collaboration().await;
    let wanted = request(&desk, &at, 1, end(bench, &desk));
    let grant = share(bench, &desk, &wanted, 1).await.unwrap();
    let all = listed(bench, &desk, &at).await.unwrap();
    assert_unmarked(&format!("{port:?} {wanted:?} {grant:?} {all:?}"));
    let nowhere = Locator::new("NOWHERE0000000000000000000000000").unwrap();
    let refused = share(
        bench,
        &desk,
        &request(&desk, &nowhere, 2, end(bench, &desk)),
        2,
    )
    .await
    .unwrap_err();
    assert_unmarked(&format!("{refused:?} {refused}"));
}

async fn stored(bench: &dyn CollaborationBench, desk: &Desk, number: u8) -> Locator {
    let bytes = content(2_000, number);
    put(
        bench,
        desk,
        &document(desk, number, &bytes),
        &bytes,
        100 + number,
    )
    .await
    .unwrap()
    .locator
}

async fn share(
    bench: &dyn CollaborationBench,
    desk: &Desk,
    wanted: &GrantRequest,
    key: u8,
) -> Result<Grant> {
    let session = desk.session(Role::Paralegal);
    let permit = session
        .permit(Act::Share, ordinary(desk, desk.beneficiary()))
        .await?;
    bench
        .collaboration()
        .await
        .grant(wanted, effect(desk, key), &permit)
        .await
}

async fn listed(bench: &dyn CollaborationBench, desk: &Desk, at: &Locator) -> Result<Vec<Grant>> {
    let session = desk.session(Role::Paralegal);
    let permit = session
        .permit(Act::Review, ordinary(desk, desk.beneficiary()))
        .await?;
    bench
        .collaboration()
        .await
        .grants(desk.beneficiary(), at, &permit)
        .await
}

async fn revoke(
    bench: &dyn CollaborationBench,
    desk: &Desk,
    at: &Locator,
    grant: &Locator,
) -> Result<()> {
    let session = desk.session(Role::Paralegal);
    let permit = session
        .permit(Act::Revoke, ordinary(desk, desk.beneficiary()))
        .await?;
    bench
        .collaboration()
        .await
        .revoke(desk.beneficiary(), at, grant, &permit)
        .await
}

fn request(desk: &Desk, at: &Locator, number: u8, expires: Timestamp) -> GrantRequest {
    GrantRequest {
        id: GrantId::derived(&[at.as_str().as_bytes(), &[number]]),
        subject: desk.beneficiary(),
        document: at.clone(),
        recipient: Recipient::new(format!("{MARK}{number}@partner.example")).unwrap(),
        role: SharedRole::View,
        expires,
    }
}

/// Some days ahead by both clocks, to the second, which is as fine as libraries keep it.
fn end(bench: &dyn CollaborationBench, desk: &Desk) -> Timestamp {
    (desk.now().max(bench.now()) + TimeDelta::days(14)).trunc_subsecs(0)
}
