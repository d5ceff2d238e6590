//! What an application may do with `Sites.Selected`: as much as it was granted, and the adapter says so.
#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/house.rs"]
mod house;

use house::{House, bytes, config, connect, fault, permit};
use kta_core::FaultKind;
use kta_core::ports::{Documents, Erase};

#[tokio::test]
async fn a_site_that_was_not_granted_is_told_as_such_before_anything_is_asked_of_it() {
    let house = House::open().await;
    let client = house.emulator.client_id();
    house.emulator.select_sites(client);
    let asked = house.emulator.journal().len();
    let refused = connect(&house.emulator, &house.desk, config(&house.emulator)).await;
    let refused = refused.unwrap_err();
    let refused = refused.fault().unwrap();
    assert_eq!(refused.kind(), FaultKind::Misconfigured);
    assert!(refused.to_string().contains("not granted"), "{refused}");
    let beyond = house.emulator.journal().split_off(asked);
    let beyond = beyond.iter().filter(|each| each.host != "login");
    assert_eq!(beyond.count(), 1, "one question, one answer");

    // Granted to somebody else it is still not granted to this one.
    house.emulator.grant_site("another", "fullcontrol");
    let refused = connect(&house.emulator, &house.desk, config(&house.emulator)).await;
    assert_eq!(fault(refused), FaultKind::Misconfigured);
}

#[tokio::test]
async fn who_may_read_the_site_reads_it_and_writes_nothing() {
    let house = House::open().await;
    let session = house.worker();
    let permit = permit!(house, session, Store);
    let document = house.document("d", b"one");
    let stored = house.put(&document, b"one", "k", &permit).await.unwrap();

    let client = house.emulator.client_id();
    house.emulator.select_sites(client);
    house.emulator.grant_site(client, "read");
    let reader = connect(&house.emulator, &house.desk, config(&house.emulator)).await;
    let reader = reader.unwrap();
    let subject = document.subject;
    let versions = reader.versions(subject, &stored.locator, &permit).await;
    assert_eq!(versions.unwrap().len(), 1);
    for content in [b"two".to_vec(), bytes(5 << 20)] {
        let other = house.document("e", &content);
        let content = house::content(&content);
        let refused = reader
            .put(&other, None, content, house::key("k2"), &permit)
            .await;
        assert_eq!(fault(refused), FaultKind::Misconfigured);
    }
    let refused = reader.remove(subject, &stored.locator, &permit).await;
    assert_eq!(fault(refused), FaultKind::Misconfigured);
    assert_eq!(house.files().len(), 1);
}

#[tokio::test]
async fn with_write_for_the_worker_and_full_control_for_the_destroyer_a_file_lives_and_ends() {
    let house = House::open().await;
    let emulator = &house.emulator;
    for (client, role) in [
        (emulator.client_id(), "write"),
        (emulator.destroyer_id(), "fullcontrol"),
    ] {
        emulator.select_sites(client);
        emulator.grant_site(client, role);
    }
    let session = house.worker();
    let permit = permit!(house, session, Store);
    let document = house.document("d", b"one");
    let stored = house.put(&document, b"one", "k", &permit).await.unwrap();
    let placement = house.placement(&document, Some(&stored.locator));

    // Nobody has the right over every site that permanent deletion wants: the bin is emptied of the file.
    let erased = house.erase(&placement).await.unwrap();
    let steps: Vec<&str> = erased.steps.iter().map(|step| step.as_str()).collect();
    assert_eq!(steps[1..], ["file.delete", "recycle_bin.delete"]);
    assert_eq!(erased.window, None);
    let probe = house.probe(&placement).await;
    assert!(probe.is_clean(), "{probe:?}");
    assert!(emulator.holdings(stored.locator.as_str()).is_empty());
}

#[tokio::test]
async fn a_working_application_that_was_taken_over_ends_nothing() {
    let house = House::open().await;
    let emulator = &house.emulator;
    emulator.select_sites(emulator.client_id());
    emulator.grant_site(emulator.client_id(), "write");
    let session = house.worker();
    let permit = permit!(house, session, Store);
    let document = house.document("d", b"one");
    let stored = house.put(&document, b"one", "k", &permit).await.unwrap();
    let placement = house.placement(&document, Some(&stored.locator));
    let own = kta_sharepoint::Config::new(
        emulator.graph_url(),
        emulator.login_url(),
        emulator.tenant(),
        emulator.client_id(),
        house::secret(emulator),
        emulator.site(),
    );
    let own = own.unwrap().destroying_as_itself();
    let own = connect(emulator, &house.desk, own).await.unwrap();
    let destroyer = house.destroyer();
    let destroy = permit!(house, destroyer, Destroy);
    let refused = own.erase(&placement, house::key("e"), &destroy).await;
    assert_eq!(fault(refused), FaultKind::Misconfigured);
    let left = emulator.holdings(stored.locator.as_str());
    assert!(!left.is_empty(), "the bin still has it: {left:?}");
}
