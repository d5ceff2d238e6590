//! A share is one recipient's, and lets him in as long as it stands.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "the tests of the whole road use the rest")]
mod road;

use chrono::TimeDelta;
use kta_core::pipeline::collaborate::{Shared, SharedGrant, Wish};
use kta_core::pipeline::{House, collaborate, store};
use kta_core::policy::{Act, Purpose, Role, Scope};
use kta_core::ports::Collaboration as _;
use kta_core::ports::collaboration::Recipient;

use road::{ports, session};

async fn share(house: &House, shared: &mut Shared, address: &str) -> SharedGrant {
    let attorney = session(house, Role::Attorney, Purpose::Representation);
    let wish = Wish {
        recipient: Recipient::new(address.to_owned()).unwrap(),
        expires: Some(house.gate.now() + TimeDelta::days(30)),
        ..road::letter_to_employer(shared).unwrap()
    };
    collaborate::share(house, &attorney, shared, wish)
        .await
        .unwrap()
}

#[tokio::test]
async fn everybody_has_a_share_of_his_own_and_one_that_ended_is_made_anew() {
    let (ports, cast) = ports(61).await;
    let house = ports.open().await.unwrap();
    let processed = road::until_processed(&ports, &house, &cast).await.unwrap();
    let paralegal = session(&house, Role::Paralegal, Purpose::Representation);
    let attorney = session(&house, Role::Attorney, Purpose::Representation);
    let stored = store::store(&house, &paralegal, processed).await.unwrap();
    let mut shared = collaborate::collaborate(&house, stored).await.unwrap();

    let first = share(&house, &mut shared, "hr@example.com").await;
    let second = share(&house, &mut shared, "counsel@example.com").await;
    assert_ne!((first.id, &first.locator), (second.id, &second.locator));
    // The same recipient, however written, has it already.
    assert_eq!(share(&house, &mut shared, "HR@Example.com").await, first);
    assert_eq!(shared.grants(), [first.clone(), second.clone()]);

    let (document, at) = shared.stored().document(first.document).unwrap();
    let (subject, at) = (document.subject, at.clone());
    let scope = Scope::of(subject, document.classification.category).in_matter(document.matter);
    let listed = async || {
        let permit = attorney.permit(Act::Share, scope.clone()).await.unwrap();
        let grants = ports.library.grants(subject, &at, &permit).await.unwrap();
        let mut locators: Vec<_> = grants.into_iter().map(|grant| grant.locator).collect();
        locators.sort();
        locators
    };
    let sorted = |of: [&SharedGrant; 2]| {
        let mut locators = of.map(|grant| grant.locator.clone()).to_vec();
        locators.sort();
        locators
    };
    assert_eq!(listed().await, sorted([&first, &second]));

    // Somebody takes it back in the library.
    let permit = attorney.permit(Act::Revoke, scope.clone()).await.unwrap();
    let library = &ports.library;
    library
        .revoke(subject, &at, &first.locator, &permit)
        .await
        .unwrap();
    let again = share(&house, &mut shared, "hr@example.com").await;
    assert_ne!(again.id, first.id);
    assert_eq!(listed().await, sorted([&again, &second]));

    // And everything ends by itself; the register that is read anew knows what came before.
    ports.clock.advance(TimeDelta::days(31));
    let stored = store::store(
        &house,
        &paralegal,
        road::until_processed(&ports, &house, &cast).await.unwrap(),
    );
    let mut shared = collaborate::collaborate(&house, stored.await.unwrap())
        .await
        .unwrap();
    let third = share(&house, &mut shared, "hr@example.com").await;
    assert!(![first.id, second.id, again.id].contains(&third.id));
    assert_eq!(listed().await, [third.locator]);
}
