//! Every request that the adapter can send, and every reply of the emulator to it, is what the
//! vendor's OpenAPI documents say. They are not ours to carry along: without `KTA_API_SPECS`
//! there is nothing to hold it against, and the test says so.

// A failing unwrap is a failing test.
#![allow(clippy::unwrap_used)]

mod common;

use common::spec::Spec;
use common::{CANARY, Office, number};
use kta_core::audit::Label;
use kta_core::id::{IdempotencyKey, RecordId};
use kta_core::memory::MemoryScanner;
use kta_core::pii::{Category, Content, FieldName, Fields, MediaType, Pii};
use kta_core::policy::Act;
use kta_core::ports::{
    AccessReview as _, AuditFeed as _, ChangeFeed as _, Crm as _, CrmRecord, Cursor, Erase as _,
};
use kta_zoho::emulator::EmulatorOptions;
use kta_zoho::{Amendment, Contents, Known, Subscription};

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
    beyond_the_ports(&office).await;
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

/// Everything else that the adapter can be asked.
async fn beyond_the_ports(office: &Office) {
    let crm = &office.crm;
    let subject = office.desk.children()[0];
    let matter = office.desk.matter();
    let locator = office.enter_person(subject, "beyond").await.unwrap();
    let firm = office.firm_permit(Act::Review).await;
    let managing = office.firm_permit(Act::Manage).await;
    let amending = office.permit_for(subject, Act::Amend).await;
    let moving = office.permit_for(subject, Act::Transfer).await;
    let searching = office.permit(Act::Search).await;
    for contents in [Contents::Index, Contents::Mapped] {
        let mut load = crm.load(None, contents, &firm).await.unwrap();
        let page = load.page(100, &firm).await.unwrap();
        assert!(!page.more);
        crm.changes(Some(&page.next), 2_000, &firm).await.unwrap();
    }
    let gone = Cursor("b1/2026-01-02T03:04:05+00:00/1/5843104000000413002/0".to_owned());
    let mut load = crm.load(Some(&gone), Contents::Index, &firm).await.unwrap();
    load.page(1, &firm).await.unwrap();
    let known = Known {
        record: office.record_id(office.desk.stranger()),
        locator: locator.clone(),
        subject,
        matter,
        owner: None,
        modified: office.desk.now(),
    };
    crm.reconcile([known], None, &firm).await.unwrap();
    crm.access(&firm).await.unwrap();
    let shared = office.emulator.inspect();
    for how in ["", "read_only"] {
        if !how.is_empty() {
            assert!(shared.share_record(number(&locator), 1, how));
        }
        crm.shares(core::slice::from_ref(&locator), &firm)
            .await
            .unwrap();
    }
    let token = "spec-token-0123456789";
    let bell = Subscription::new(7_001, "https://firm.example.com/bell", token.into()).unwrap();
    crm.subscribe(&bell, &managing).await.unwrap();
    crm.subscribed_until(&bell, &managing).await.unwrap();
    crm.unsubscribe(&bell, &managing).await.unwrap();
    crm.unsubscribe(&bell, &managing).await.unwrap();
    let record = |number: u32| CrmRecord {
        record: RecordId::derived(&[b"spec", &number.to_be_bytes()]),
        ..office.record(subject)
    };
    let mut records: Vec<CrmRecord> = (0..3).map(record).collect();
    records[1]
        .fields
        .insert(FieldName::fixed("birth_date"), Pii::new("never".to_owned()));
    let entering = office.permit_for(subject, Act::Enter).await;
    let key = IdempotencyKey::derived("spec many", &[]);
    for _ in 0..2 {
        crm.enter_many(&records, key, &entering).await.unwrap();
    }
    crm.enter_many(&[record(3)], key, &entering).await.unwrap();
    let first = crm.list(None, 1, &moving).await.unwrap();
    crm.list(first.next.as_ref(), 1, &moving).await.unwrap();
    crm.list(Some(&first.next.unwrap()), 2, &moving)
        .await
        .unwrap_err();
    crm.of_matter(matter, &searching).await.unwrap();
    let value = Pii::new("O'Nobody".to_owned());
    let field = FieldName::fixed("family_name");
    crm.find_by(&field, &value, &searching).await.unwrap();
    let tags = [Label::fixed("spec")];
    crm.tag(subject, &locator, &tags, &amending).await.unwrap();
    crm.untag(subject, &locator, &tags, &amending)
        .await
        .unwrap();
    crm.tags(subject, &locator, &amending).await.unwrap();
    let reason = Label::fixed("hold");
    crm.lock(subject, &locator, &reason, &amending)
        .await
        .unwrap();
    let at = office.fetch_of(subject, &locator).await.unwrap().modified;
    let mut fields = Fields::new();
    fields.insert(
        FieldName::fixed("occupation"),
        Pii::new("Taster".to_owned()),
    );
    crm.amend(subject, &locator, at, &fields, &amending)
        .await
        .unwrap_err();
    crm.unlock(subject, &locator, &amending).await.unwrap();
    crm.amend(subject, &locator, at, &fields, &amending)
        .await
        .unwrap();
    crm.amend(subject, &locator, at, &fields, &amending)
        .await
        .unwrap_err();
    let content = Content::of("text", MediaType::text());
    let attached = crm
        .attach(subject, &locator, content, Category::Case, key, &amending)
        .await
        .unwrap();
    crm.attachments(subject, &locator, &amending).await.unwrap();
    drop(
        crm.attachment(subject, &locator, &attached, &amending)
            .await
            .unwrap(),
    );
    crm.attachment(subject, &locator, &locator, &amending)
        .await
        .err()
        .unwrap();
    office
        .emulator
        .inspect()
        .note_by_hand(number(&locator), "call", "text")
        .unwrap();
    let (case, said) = (Category::Case, Pii::new("said".to_owned()));
    let note = crm
        .write_note(subject, &locator, &said, case, key, &amending)
        .await
        .unwrap();
    crm.amend_note(subject, &locator, &note, &said, case, &amending)
        .await
        .unwrap();
    crm.notes(subject, &locator, &amending).await.unwrap();
    crm.remove_note(subject, &locator, &note, &amending)
        .await
        .unwrap();
    let amendment = Amendment {
        subject,
        locator: locator.clone(),
        expected: office.fetch_of(subject, &locator).await.unwrap().modified,
        fields,
    };
    crm.amend_many(&[amendment], &amending).await.unwrap();
    let scanner = MemoryScanner::new();
    let reviewed = office.record(subject);
    crm.fetch_many(&[(subject, locator.clone())], &moving)
        .await
        .unwrap();
    crm.compare(&reviewed, &locator, &scanner, &[], &moving)
        .await
        .unwrap();
    crm.revoke(&managing).await.unwrap();
}
