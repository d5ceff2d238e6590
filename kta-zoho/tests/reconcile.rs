//! Both sides of a window, notifications, and a record against its review.

// A failing unwrap is a failing test.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use common::{CANARY, Office, number};
use kta_core::audit::Label;
use kta_core::id::{RecordId, SubjectId};
use kta_core::memory::MemoryScanner;
use kta_core::pii::Locator;
use kta_core::policy::Act;
use kta_core::ports::ChangeFeed as _;
use kta_core::time::Timestamp;
use kta_core::{Code, Refusal};
use kta_zoho::emulator::EmulatorOptions;
use kta_zoho::{Doorbell, Heard, Known, Reconciliation, Subscription};
use serde_json::json;

#[tokio::test]
async fn both_sides_of_a_window_have_one_root_until_something_moves() {
    let (office, mut known) = entered().await;
    let whole = reconcile(&office, &known).await;
    assert!(whole.holds() && whole.behind.is_empty() && whole.unknown.is_empty());
    assert_eq!((whole.ours.count, whole.theirs.count), (4, 4));
    // A change shows in the root, and says which record is behind.
    office.emulator.clock().advance(Duration::from_secs(5));
    office.by_hand(&known[0].locator, "Occupation", "another");
    let changed = reconcile(&office, &known).await;
    assert!(!changed.holds() && changed.findings.is_empty());
    assert_eq!(changed.behind, [known[0].locator.clone()]);
    // What we do not know is told, and so is what was entered past us.
    let forgotten = known.pop().unwrap();
    let fields = json!({"Last_Name": CANARY});
    let inspect = office.emulator.inspect();
    inspect.plant("Contacts", fields.as_object().unwrap().clone());
    let less = reconcile(&office, &known).await;
    assert_eq!(less.unknown, [forgotten.locator]);
    assert_eq!(less.unkeyed, 1);
    assert!(!format!("{less:?}").contains(CANARY));
}

#[tokio::test]
async fn a_merge_is_seen_as_vanished_and_a_deletion_as_a_deletion() {
    let (office, known) = entered().await;
    let inspect = office.emulator.inspect();
    assert!(inspect.merge_away(number(&known[1].locator)));
    assert!(inspect.delete_by_hand(number(&known[2].locator)));
    let found = reconcile(&office, &known).await;
    assert_eq!(codes(&found), [Code::CrmVanished]);
    let fact = &found.findings[0].facts()[0];
    assert_eq!((fact.0, fact.1.clone()), ("record", known[1].record.into()));
    assert_eq!(found.deleted, [known[2].locator.clone()]);
}

#[tokio::test]
async fn a_record_under_another_person_matter_or_owner_is_seen() {
    let (office, mut known) = entered().await;
    let other = SubjectId::derived(&[b"somebody else"]).to_string();
    office.by_hand(&known[0].locator, "Subject_Key", &other);
    office.by_hand(&known[1].locator, "Matter_Key", "");
    assert!(
        office
            .emulator
            .inspect()
            .give_to(number(&known[2].locator), 2)
    );
    let owner = office.emulator.inspect().users()[0].id.to_string();
    for one in &mut known {
        one.owner = Locator::new(&owner).ok();
    }
    office.by_hand(&known[3].locator, "Data_Processing_Basis", "Pending");
    let found = reconcile(&office, &known).await;
    let mut seen = codes(&found);
    seen.sort_unstable();
    let moved = Code::SynReparent;
    assert_eq!(seen, [Code::CrmNoBasis, moved, moved, moved]);
}

#[tokio::test]
async fn a_withheld_field_and_a_changed_one_are_found_before_anything_is_believed() {
    let (office, known) = entered().await;
    let permit = office.firm_permit(Act::Review).await;
    let before = office.crm.shape(&permit).await.unwrap();
    let text = serde_json::to_string(&before).unwrap();
    // The passport's field was longer once, and a telephone was a text.
    let altered = text
        .replace(
            r#""Passport_Number":{"kind":"text","length":60"#,
            r#""Passport_Number":{"kind":"text","length":90"#,
        )
        .replace(r#""Phone":{"kind":"phone""#, r#""Phone":{"kind":"text""#);
    let altered = serde_json::from_str(&altered).unwrap();
    let found = office
        .crm
        .reconcile(known.clone(), Some(&altered), &permit)
        .await
        .unwrap();
    assert_eq!(codes(&found), [Code::SynSchema, Code::SynSchema]);
    office
        .emulator
        .inspect()
        .restrict_field("Contacts", "Email");
    let found = office
        .crm
        .reconcile(known, Some(&before), &permit)
        .await
        .unwrap();
    assert_eq!(codes(&found), [Code::CrmFieldRestricted]);
    assert_eq!(found.ours, found.theirs);
}

#[tokio::test]
async fn forty_thousand_records_are_reconciled_by_one_job_and_a_look_at_each_hundred() {
    let office = Office::open().await;
    let inspect = office.emulator.inspect();
    let (subject, matter) = (office.desk.beneficiary(), office.desk.matter());
    let now = Timestamp::from_timestamp(office.emulator.clock().now(), 0).unwrap();
    let mut known = Vec::new();
    for number in 0..36_000_u32 {
        let record = RecordId::derived(&[&number.to_be_bytes()]);
        let fields = json!({
            "Last_Name": "Sample", "KTA_Key": record.to_string(),
            "Subject_Key": subject.to_string(), "Matter_Key": matter.to_string(),
            "Data_Processing_Basis": "Contract",
        });
        let id = inspect
            .plant("Contacts", fields.as_object().unwrap().clone())
            .unwrap();
        known.push(Known {
            record,
            locator: Locator::new(id.to_string()).unwrap(),
            subject,
            matter,
            owner: None,
            modified: now,
        });
    }
    let before = office.emulator.requests();
    let found = reconcile(&office, &known).await;
    assert_eq!(found.ours.count, 36_000);
    assert_eq!(found.ours.count, found.theirs.count);
    assert!(found.findings.is_empty());
    // Token, fields twice, job, two looks, result; and whose processing is stopped.
    assert!(office.emulator.requests() - before <= 8 + 360);
}

#[tokio::test]
async fn a_channel_lives_a_week_is_renewed_in_time_and_its_bell_is_only_a_hint() {
    let office = Office::open().await;
    let permit = office.firm_permit(Act::Manage).await;
    let token = "bell-canary-0123456789";
    let address = "https://firm.example.com/crm-bell";
    let subscription = Subscription::new(1_000_000_068_001, address, token.into()).unwrap();
    // The desk's clock and the emulator's are not the same: both begin at one instant here.
    office
        .emulator
        .clock()
        .freeze_at(office.desk.now().timestamp());
    let now = office.desk.now();
    let ends = office.crm.subscribe(&subscription, &permit).await.unwrap();
    assert_eq!(ends - now, TimeDelta::days(7));
    assert!(!Subscription::is_due(ends, now + TimeDelta::days(4)));
    assert!(Subscription::is_due(ends, now + TimeDelta::days(5)));
    let until = office
        .crm
        .subscribed_until(&subscription, &permit)
        .await
        .unwrap();
    assert_eq!(until, Some(ends));
    // Renewed it is still one channel.
    office.crm.subscribe(&subscription, &permit).await.unwrap();

    let bell = Doorbell::new(&subscription, TimeDelta::seconds(10));
    let locator = office.enter("bell").await.unwrap();
    let message = office
        .emulator
        .inspect()
        .notification(1_000_000_068_001, number(&locator), "insert")
        .unwrap();
    let sent = Timestamp::from_timestamp(office.emulator.clock().now(), 0).unwrap();
    assert_eq!(bell.hear(&message, sent), Ok(Heard::Rang));
    assert!(bell.due(sent) && !bell.due(sent + TimeDelta::minutes(1)));
    // A thousand replays and as many forgeries cost no call at all.
    let before = office.emulator.requests();
    let forged = String::from_utf8(message.clone())
        .unwrap()
        .replace(token, "bell-canary-9876543210");
    for _ in 0..1_000 {
        assert_eq!(bell.hear(&message, sent), Ok(Heard::Replayed));
        let refused = bell.hear(forged.as_bytes(), sent).unwrap_err();
        assert_eq!(refused.code(), Code::AclDeny);
        assert!(!bell.due(sent + TimeDelta::minutes(1)));
    }
    assert_eq!(office.emulator.requests(), before);
    assert!(!format!("{bell:?} {subscription:?}").contains("canary"));

    // A week later it has ended without a word; a hundred changes meanwhile are found by asking.
    office
        .emulator
        .clock()
        .advance(Duration::from_secs(8 * 86_400));
    assert_eq!(
        office
            .crm
            .subscribed_until(&subscription, &permit)
            .await
            .unwrap(),
        None
    );
    let reviewing = office.firm_permit(Act::Review).await;
    let page = office.crm.changes(None, 1_000, &reviewing).await.unwrap();
    let inspect = office.emulator.inspect();
    for number in 0..100_u32 {
        let fields = json!({"Last_Name": "Sample", "KTA_Key": format!("{number:032x}")});
        inspect
            .plant("Contacts", fields.as_object().unwrap().clone())
            .unwrap();
    }
    assert_eq!(
        inspect.notification(1_000_000_068_001, number(&locator), "insert"),
        None
    );
    let page = office
        .crm
        .changes(Some(&page.next), 1_000, &reviewing)
        .await
        .unwrap();
    assert!(page.changes.len() >= 100);
    office
        .crm
        .unsubscribe(&subscription, &permit)
        .await
        .unwrap();
    office
        .crm
        .unsubscribe(&subscription, &permit)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_record_is_held_against_its_review_field_by_field_and_every_difference_is_told() {
    let office = Office::open().await;
    let locator = office.enter("review").await.unwrap();
    let reviewed = office.record(office.desk.beneficiary());
    let permit = office.permit(Act::Transfer).await;
    let compare = async |special: &[Label]| {
        let scanner = MemoryScanner::new();
        let found = office
            .crm
            .compare(&reviewed, &locator, &scanner, special, &permit)
            .await;
        found.unwrap()
    };
    assert!(compare(&[]).await.is_empty());

    office.by_hand(&locator, "Occupation", CANARY);
    office.by_hand(&locator, "Alien_Number", "A012345678");
    office.by_hand(&locator, "Data_Processing_Basis", "Consent");
    office.by_hand(
        &locator,
        "Description",
        "her number is A012345678, says ZZCANARYVALUE",
    );
    let inspect = office.emulator.inspect();
    inspect
        .note_by_hand(number(&locator), "call", "write to family@example.org")
        .unwrap();
    inspect
        .attach_by_hand(number(&locator), "letter.txt", b"diagnosis for A012345678")
        .unwrap();
    inspect
        .attach_by_hand(number(&locator), "scan.bin", &[0, 159, 146, 150])
        .unwrap();
    let found = compare(&[]).await;
    let mut seen: BTreeMap<Code, usize> = BTreeMap::new();
    for finding in found.findings() {
        *seen.entry(finding.code()).or_default() += 1;
    }
    // Occupation, an A-number that was not reviewed, and the basis.
    assert_eq!(seen.get(&Code::RevInconsistent), Some(&3));
    // The free text and the note.
    assert_eq!(seen.get(&Code::CrmLeakField), Some(&2));
    assert_eq!(seen.get(&Code::DlpOpaque), Some(&1));
    assert_eq!(seen.get(&Code::CrmWrongStore), None);
    assert!(!format!("{found:?}").contains("CANARY"));
    // Where an A-number says that content is special, it is in the wrong place three times.
    let special = [Label::fixed("US_A_NUMBER")];
    let wrong = |found: &[Refusal]| {
        let of = found.iter().filter(|one| one.code() == Code::CrmWrongStore);
        of.count()
    };
    assert_eq!(wrong(compare(&special).await.findings()), 2);

    office.by_hand(&locator, "Data_Processing_Basis", "Pending");
    assert!(inspect.stop_processing(number(&locator)));
    let codes: Vec<Code> = compare(&[])
        .await
        .findings()
        .iter()
        .map(Refusal::code)
        .collect();
    assert!(codes.contains(&Code::CrmNoBasis) && codes.contains(&Code::SynLocked));
}

async fn entered() -> (Office, Vec<Known>) {
    let office = Office::with(EmulatorOptions::default()).await;
    let [one, two] = office.desk.children();
    let mut known = Vec::new();
    for subject in [office.desk.beneficiary(), office.desk.spouse(), one, two] {
        let locator = office.enter_person(subject, "reconcile").await.unwrap();
        let permit = office.permit_for(subject, Act::Transfer).await;
        let fetched = kta_core::ports::Crm::fetch(&office.crm, subject, &locator, &permit)
            .await
            .unwrap();
        known.push(Known {
            record: office.record_id(subject),
            locator,
            subject,
            matter: office.desk.matter(),
            owner: None,
            modified: fetched.modified,
        });
    }
    (office, known)
}

async fn reconcile(office: &Office, known: &[Known]) -> Reconciliation {
    let permit = office.firm_permit(Act::Review).await;
    office
        .crm
        .reconcile(known.to_vec(), None, &permit)
        .await
        .unwrap()
}

fn codes(found: &Reconciliation) -> Vec<Code> {
    found.findings.iter().map(Refusal::code).collect()
}
