//! The initial load by bulk read, and the change feed behind it.

// A failing unwrap is a failing test.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use common::{CANARY, Office};
use kta_core::pii::Category;
use kta_core::policy::{Act, Permit, Role, Scope};
use kta_core::ports::{ChangeFeed as _, Cursor};
use kta_core::{Code, FaultKind};
use kta_zoho::emulator::{EmulatorOptions, Failure};
use kta_zoho::{Contents, LoadPage, Loaded, Sign};
use serde_json::json;

#[tokio::test]
async fn every_record_is_loaded_once_and_changes_made_meanwhile_are_told_behind_it() {
    let office = small_files(3).await;
    let planted = plant(&office, 8);
    let permit = office.firm_permit(Act::Review).await;
    let mut load = office
        .crm
        .load(None, Contents::Index, &permit)
        .await
        .unwrap();
    let first = load.page(2, &permit).await.unwrap();
    assert_eq!((first.records.len(), first.more), (2, true));
    // While the load runs: one changed, one entered, one deleted.
    let changed = planted[0];
    assert!(
        office.emulator.inspect().edit_by_hand(
            changed,
            [("Occupation".to_owned(), "another".into())]
                .into_iter()
                .collect()
        )
    );
    let new = office.enter("meanwhile").await.unwrap();
    let mut told = ids(&first.records);
    let next = loop {
        let page = load.page(2, &permit).await.unwrap();
        told.extend(ids(&page.records));
        if !page.more {
            break page.next;
        }
    };
    let unique: BTreeSet<&String> = told.iter().collect();
    assert_eq!(unique.len(), told.len());
    assert!(planted.iter().all(|id| unique.contains(&id.to_string())));
    let page = office.crm.changes(Some(&next), 100, &permit).await.unwrap();
    let behind: BTreeSet<String> = page
        .changes
        .iter()
        .map(|change| change.locator.as_str().to_owned())
        .collect();
    assert!(behind.contains(&changed.to_string()) && behind.contains(new.as_str()));
    // A load is no place for the feed to go on from, nor the other way round.
    assert!(
        office
            .crm
            .changes(Some(&first.next), 10, &permit)
            .await
            .is_err()
    );
    assert!(
        office
            .crm
            .load(Some(&next), Contents::Index, &permit)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_load_goes_on_from_any_of_its_cursors_in_another_process() {
    let office = small_files(3).await;
    let planted = plant(&office, 8);
    let permit = office.firm_permit(Act::Review).await;
    for size in [1, 2, 3, 100] {
        let mut told = Vec::new();
        let mut cursor: Option<Cursor> = None;
        loop {
            let crm = office.crm.clone();
            let mut load = crm
                .load(cursor.as_ref(), Contents::Index, &permit)
                .await
                .unwrap();
            let page: LoadPage = load.page(size, &permit).await.unwrap();
            told.extend(ids(&page.records));
            if !page.more {
                break;
            }
            cursor = Some(page.next);
            // Ten downloads of one result a minute are all there are.
            office
                .emulator
                .clock()
                .advance(std::time::Duration::from_secs(30));
        }
        let expected: Vec<String> = planted.iter().map(u64::to_string).collect();
        assert_eq!(told, expected, "{size}");
    }
}

#[tokio::test]
async fn a_result_that_is_not_kept_any_more_is_ordered_anew() {
    let office = small_files(100).await;
    let planted = plant(&office, 4);
    let permit = office.firm_permit(Act::Review).await;
    let mut load = office
        .crm
        .load(None, Contents::Index, &permit)
        .await
        .unwrap();
    let page = load.page(1, &permit).await.unwrap();
    office
        .emulator
        .clock()
        .advance(std::time::Duration::from_secs(90_000));
    let mut load = office
        .crm
        .load(Some(&page.next), Contents::Index, &permit)
        .await
        .unwrap();
    let page = load.page(100, &permit).await.unwrap();
    assert_eq!((page.records.len(), page.more), (planted.len(), false));
}

#[tokio::test]
async fn a_download_that_breaks_loses_and_doubles_nothing() {
    let office = small_files(1_000).await;
    let planted = plant(&office, 300);
    let permit = office.firm_permit(Act::Review).await;
    let result = "/crm/bulk/v8/read/";
    for failure in [
        Failure::TruncatedBody,
        Failure::DropAfterEffect,
        Failure::DropBeforeEffect,
        Failure::ServerError,
        Failure::TooManyRequests,
        Failure::WrongContentType,
        Failure::InvalidToken,
    ] {
        office
            .emulator
            .clock()
            .advance(std::time::Duration::from_secs(61));
        let mut load = office
            .crm
            .load(None, Contents::Index, &permit)
            .await
            .unwrap();
        // The state is asked for twice before the file is fetched.
        office
            .emulator
            .faults()
            .after(2, 1, "GET", result, failure.clone());
        let mut told = Vec::new();
        loop {
            let page = load.page(100, &permit).await.unwrap();
            told.extend(ids(&page.records));
            if !page.more {
                break;
            }
        }
        assert_eq!(office.emulator.faults().pending(), 0, "{failure:?}");
        let expected: Vec<String> = planted.iter().map(u64::to_string).collect();
        assert_eq!(told, expected, "{failure:?}");
        assert_ne!(office.crm.alarm(), Some(Sign::Revoked));
    }
}

#[tokio::test]
async fn a_load_brings_only_what_the_permit_covers() {
    let office = small_files(100).await;
    office.enter("load").await.unwrap();
    let other = office.desk.petitioner();
    office.enter_person(other, "load").await.unwrap();
    let session = office.desk.session(Role::ServiceSync);
    let scope = Scope::over([office.desk.beneficiary()], [Category::Identity]);
    let permit: Permit<'_> = session
        .permit(Act::Transfer, scope.in_matter(office.desk.matter()))
        .await
        .unwrap();
    let mut load = office
        .crm
        .load(None, Contents::Mapped, &permit)
        .await
        .unwrap();
    let page = load.page(100, &permit).await.unwrap();
    assert_eq!(page.records.len(), 2);
    for loaded in &page.records {
        let name = loaded.fields.field("family_name");
        if loaded.subject == Some(office.desk.beneficiary()) {
            assert_eq!(name.unwrap().expose(&permit), "Exemplárová-Sample");
            let given = loaded.fields.field("given_names").unwrap();
            assert_eq!(given.expose(&permit), "Ναταλία דוגמה");
            // The telephone is case data, which this permit leaves out.
            assert!(loaded.fields.field("phone").is_none());
        } else {
            assert!(loaded.fields.is_empty());
        }
    }
    assert!(!format!("{page:?}").contains("Sample"));
    let wrong = office.permit(Act::Enter).await;
    let refused = office
        .crm
        .load(None, Contents::Index, &wrong)
        .await
        .unwrap_err();
    assert_eq!(refused.refusal().unwrap().code(), Code::AclDeny);
}

#[tokio::test]
async fn a_withheld_field_stops_a_load_before_anything_is_fetched() {
    let office = small_files(100).await;
    office
        .emulator
        .inspect()
        .restrict_field("Contacts", "Passport_Number");
    let permit = office.firm_permit(Act::Review).await;
    let refused = office
        .crm
        .load(None, Contents::Mapped, &permit)
        .await
        .unwrap_err();
    assert_eq!(refused.refusal().unwrap().code(), Code::CrmFieldRestricted);
}

#[tokio::test]
async fn a_load_of_any_size_takes_one_job_and_spends_what_it_costs() {
    let office = Office::open().await;
    let inspect = office.emulator.inspect();
    for number in 0..20_000_u32 {
        let fields = json!({"Last_Name": CANARY, "KTA_Key": format!("{number:032x}")});
        inspect
            .plant("Contacts", fields.as_object().unwrap().clone())
            .unwrap();
    }
    let permit = office.firm_permit(Act::Review).await;
    let before = office.emulator.requests();
    let mut load = office
        .crm
        .load(None, Contents::Index, &permit)
        .await
        .unwrap();
    let mut told = 0;
    loop {
        let page = load.page(1_000, &permit).await.unwrap();
        told += page.records.len();
        if !page.more {
            break;
        }
    }
    assert_eq!(told, 20_000);
    // Token, fields, job, two looks, result.
    assert_eq!(office.emulator.requests() - before, 6);
    assert_eq!(office.crm.credits().spent, 1 + 50 + 2 + 1);
}

#[tokio::test]
async fn a_spent_budget_asks_nothing_more_of_the_vendor() {
    let office = Office::with_config(EmulatorOptions::default(), |config| config.credits(60)).await;
    plant(&office, 2);
    let permit = office.firm_permit(Act::Review).await;
    let mut load = office
        .crm
        .load(None, Contents::Index, &permit)
        .await
        .unwrap();
    load.page(10, &permit).await.unwrap();
    let before = office.emulator.requests();
    let mut again = office
        .crm
        .load(None, Contents::Index, &permit)
        .await
        .unwrap();
    let refused = again.page(10, &permit).await.unwrap_err();
    let kind = refused.fault().unwrap().kind();
    assert!(matches!(
        kind,
        FaultKind::Throttled {
            retry_after: Some(_)
        }
    ));
    assert_eq!(office.emulator.requests() - before, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_a_time_are_kept_below_the_limit_and_backed_off_above_it() {
    for (ours, refusals) in [(3, false), (6, true)] {
        let options = EmulatorOptions {
            concurrency: Some(3),
            ..EmulatorOptions::default()
        };
        let office = Office::with_config(options, |config| config.concurrency(ours)).await;
        let permit = std::sync::Arc::new(office.firm_permit(Act::Review).await);
        let calls = (0..30).map(|_| {
            let (crm, permit) = (office.crm.clone(), std::sync::Arc::clone(&permit));
            tokio::spawn(async move { crm.shape(&permit).await })
        });
        let mut good = 0;
        for call in calls.collect::<Vec<_>>() {
            match call.await.unwrap() {
                Ok(_) => good += 1,
                // Handed on when four attempts were refused: to come back later.
                Err(error) => assert!(error.fault().unwrap().is_transient(), "{error}"),
            }
        }
        let journal = office.emulator.journal();
        let refused = journal.iter().any(|one| one.status == Some(429));
        assert_eq!(refused, refusals);
        assert!(good >= if refusals { 10 } else { 30 }, "{good} of 30");
    }
}

#[tokio::test]
async fn what_the_vendor_says_is_left_is_heard_and_a_spent_day_is_throttling() {
    let office = Office::with(EmulatorOptions {
        credits: Some(10),
        ..EmulatorOptions::default()
    })
    .await;
    let permit = office.firm_permit(Act::Review).await;
    for _ in 0..4 {
        office.crm.shape(&permit).await.unwrap();
    }
    assert_eq!(office.crm.credits().left, None);
    for _ in 0..5 {
        office.crm.shape(&permit).await.unwrap();
    }
    assert_eq!(office.crm.credits().left, Some(1));
    office.crm.shape(&permit).await.unwrap();
    let spent = office.crm.shape(&permit).await.unwrap_err();
    assert!(spent.fault().unwrap().is_transient());
}

#[tokio::test]
async fn a_job_that_failed_is_ordered_anew() {
    let office = small_files(3).await;
    let planted = plant(&office, 5);
    let permit = office.firm_permit(Act::Review).await;
    let inspect = office.emulator.inspect();
    let mut load = office
        .crm
        .load(None, Contents::Index, &permit)
        .await
        .unwrap();
    // One is made good on the way.
    inspect.fail_jobs(1);
    let first = load.page(3, &permit).await.unwrap();
    assert_eq!(first.records.len(), 3);
    // The end of the first file.
    let turn = load.page(3, &permit).await.unwrap();
    assert!(turn.records.is_empty() && turn.more);
    // More than one call makes good: told as what may pass, and the next call begins anew.
    inspect.fail_jobs(6);
    let failed = load.page(3, &permit).await.unwrap_err();
    assert!(failed.fault().unwrap().is_transient());
    let second = load.page(3, &permit).await.unwrap();
    let mut told = ids(&first.records);
    told.extend(ids(&second.records));
    let told: BTreeSet<String> = told.into_iter().collect();
    assert!(planted.iter().all(|id| told.contains(&id.to_string())));

    let mut again = office
        .crm
        .load(Some(&turn.next), Contents::Index, &permit)
        .await
        .unwrap();
    inspect.fail_jobs(1);
    let page = again.page(3, &permit).await.unwrap();
    assert_eq!(ids(&page.records), ids(&second.records));
}

async fn small_files(rows: usize) -> Office {
    Office::with(EmulatorOptions {
        bulk_rows: rows,
        tokens_in_ten_minutes: 1_000,
        ..EmulatorOptions::default()
    })
    .await
}

fn plant(office: &Office, count: u32) -> Vec<u64> {
    let inspect = office.emulator.inspect();
    let one = |number| {
        let fields = json!({"Last_Name": "Sample, \"S\"\r\n", "KTA_Key": format!("{number:032x}")});
        inspect.plant("Contacts", fields.as_object().unwrap().clone())
    };
    (0..count).map(|number| one(number).unwrap()).collect()
}

fn ids(records: &[Loaded]) -> Vec<String> {
    records
        .iter()
        .map(|loaded| loaded.locator.as_str().to_owned())
        .collect()
}
