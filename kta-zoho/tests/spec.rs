//! Every request that the adapter can send, and every reply of the emulator to it, is what the
//! vendor's OpenAPI documents say. They are not ours to carry along: without `KTA_API_SPECS`
//! there is nothing to hold it against, and the test says so.

// A failing unwrap is a failing test.
#![allow(clippy::unwrap_used)]

mod common;

use common::spec::Spec;
use common::{CANARY, Office, number};
use kta_core::id::IdempotencyKey;
use kta_core::policy::Act;
use kta_core::ports::{AccessReview as _, AuditFeed as _, ChangeFeed as _, Crm as _, Erase as _};
use kta_zoho::emulator::EmulatorOptions;

#[tokio::test]
async fn every_request_of_the_adapter_and_every_reply_of_the_emulator_is_as_the_vendor_documents_it()
 {
    let Some(spec) = Spec::named() else {
        println!("skipped: KTA_API_SPECS names no folder with the vendor's documents");
        return;
    };
    let office = Office::with(EmulatorOptions {
        tape: true,
        ..EmulatorOptions::default()
    })
    .await;
    ports(&office).await;
    let taped = office.emulator.taped();
    let flaws = spec.flaws(&taped);
    println!(
        "{} exchanges, {} calls",
        taped.len(),
        spec.used(&taped).len()
    );
    assert!(flaws.is_empty(), "{flaws:#?}");
}

/// Everything that the ports can be asked.
async fn ports(office: &Office) {
    let locator = office.enter("spec").await.unwrap();
    office.enter("spec again").await.unwrap();
    let fetched = office.fetch(&locator).await.unwrap();
    office
        .amend(&locator, fetched.modified, "occupation", "Taster")
        .await
        .unwrap();
    let inspect = office.emulator.inspect();
    inspect
        .note_by_hand(number(&locator), CANARY, CANARY)
        .unwrap();
    inspect
        .attach_by_hand(number(&locator), "letter.txt", b"text")
        .unwrap();
    let permit = office.permit(Act::Search).await;
    let record = office.record_id(office.desk.beneficiary());
    office.crm.locate(record, &permit).await.unwrap();
    let feeding = office.firm_permit(Act::Review).await;
    let page = office.crm.changes(None, 10, &feeding).await.unwrap();
    office
        .crm
        .changes(Some(&page.next), 10, &feeding)
        .await
        .unwrap();
    office.crm.users(&feeding).await.unwrap();
    let (from, to) = office.around_now();
    office.crm.rows(from, to, &feeding).await.unwrap();
    let placement = office.placement(office.desk.beneficiary(), Some(&locator));
    let probing = office.permit(Act::Probe).await;
    office.crm.probe(&placement, &probing).await.unwrap();
    let destroying = office.permit(Act::Destroy).await;
    let key = IdempotencyKey::derived("spec erase", &[]);
    office
        .crm
        .erase(&placement, key, &destroying)
        .await
        .unwrap();
    office
        .crm
        .erase(&placement, key, &destroying)
        .await
        .unwrap();
    office.crm.probe(&placement, &probing).await.unwrap();
    // One that somebody deleted by hand is restored first.
    let spouse = office.desk.petitioner();
    let locator = office.enter_person(spouse, "spec").await.unwrap();
    assert!(office.emulator.inspect().delete_by_hand(number(&locator)));
    let placement = office.placement(spouse, Some(&locator));
    let probing = office.permit_for(spouse, Act::Probe).await;
    office.crm.probe(&placement, &probing).await.unwrap();
    let destroying = office.permit_for(spouse, Act::Destroy).await;
    office
        .crm
        .erase(&placement, key, &destroying)
        .await
        .unwrap();
}
