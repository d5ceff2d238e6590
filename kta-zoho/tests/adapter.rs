//! The adapter against the emulator: what is written, what is asked, and what happens when the
//! other side fails.

// A failing unwrap is a failing test.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{CANARY, Office};
use kta_core::error::FaultKind;
use kta_core::id::IdempotencyKey;
use kta_core::pii::{Fields, Schema};
use kta_core::policy::{Act, LawfulBasis};
use kta_core::ports::{AccessReview as _, AuditFeed as _, ChangeFeed as _, Crm as _};
use kta_core::{Code, Error};
use kta_zoho::emulator::{EmulatorOptions, Failure};

#[tokio::test]
async fn what_was_entered_is_what_is_fetched_and_nothing_personal_stands_in_an_address() {
    let office = Office::open().await;
    let locator = office.enter("a").await.unwrap();
    let fetched = office.fetch(&locator).await.unwrap();
    let permit = office.permit(Act::Transfer).await;
    for (name, text) in office.texts() {
        let there = fetched
            .fields
            .field(name)
            .map(|value| value.expose(&permit).as_str());
        assert_eq!(there, Some(text.as_str()), "{name}");
    }
    assert_eq!(fetched.fields.len(), office.texts().len());
    assert_eq!(fetched.basis, Some(LawfulBasis::Contract));
    assert!(!fetched.stopped && fetched.unmapped.is_empty());
    assert_eq!(office.emulator.inspect().automations_run(), 0);
    let asked = format!("{:?}", office.emulator.journal());
    for (name, text) in office.texts() {
        assert!(
            !asked.contains(&text),
            "{name} stands in an address or header"
        );
    }
}

#[tokio::test]
async fn entering_again_is_one_record_and_undoes_no_amendment() {
    let office = Office::open().await;
    let first = office.enter("a").await.unwrap();
    let fetched = office.fetch(&first).await.unwrap();
    office
        .amend(&first, fetched.modified, "email", "later@example.org")
        .await
        .unwrap();
    let same_key = office.enter("a").await.unwrap();
    let other_key = office.enter("b").await.unwrap();
    assert_eq!((&same_key, &other_key), (&first, &first));
    assert_eq!(office.emulator.inspect().ids("Contacts").len(), 1);
    let permit = office.permit(Act::Transfer).await;
    let fetched = office.fetch(&first).await.unwrap();
    assert_eq!(
        fetched.fields.field("email").unwrap().expose(&permit),
        "later@example.org"
    );
}

#[tokio::test]
async fn a_family_that_shares_one_address_stays_four_records() {
    let office = Office::open().await;
    for subject in [office.desk.beneficiary(), office.desk.spouse()]
        .into_iter()
        .chain(office.desk.children())
    {
        office.enter_person(subject, "a").await.unwrap();
    }
    assert_eq!(office.emulator.inspect().ids("Contacts").len(), 4);
}

#[tokio::test]
async fn a_field_that_is_not_on_the_map_is_refused_before_anything_is_sent() {
    let office = Office::open().await;
    let mut record = office.record(office.desk.beneficiary());
    let schema = Schema::person();
    record
        .fields
        .set(&schema, "medical_note", CANARY.to_owned())
        .unwrap();
    let permit = office.permit(Act::Enter).await;
    let refused = office.crm.enter(&record, key("a"), &permit).await;
    assert_eq!(code(refused), Code::SynUnmapped);
    assert!(office.emulator.journal().is_empty());
}

#[tokio::test]
async fn a_permit_that_does_not_cover_the_person_or_the_act_is_refused_before_anything_is_sent() {
    let office = Office::open().await;
    let spouse = office.record(office.desk.spouse());
    let permit = office.permit(Act::Enter).await;
    assert_eq!(
        code(office.crm.enter(&spouse, key("a"), &permit).await),
        Code::AclDeny
    );
    let own = office.record(office.desk.beneficiary());
    let permit = office.permit(Act::Scan).await;
    assert_eq!(
        code(office.crm.enter(&own, key("a"), &permit).await),
        Code::AclDeny
    );
    assert!(office.emulator.journal().is_empty());
}

#[tokio::test]
async fn a_locator_of_somebody_else_opens_nothing() {
    let office = Office::open().await;
    let spouses = office
        .enter_person(office.desk.spouse(), "a")
        .await
        .unwrap();
    assert_eq!(code(office.fetch(&spouses).await), Code::AclDeny);
    for stranger in [
        "5",
        "../org",
        "5843104000000413002/../../org",
        "99999999999999999999",
    ] {
        let locator = kta_core::pii::Locator::new(stranger).unwrap();
        assert_eq!(
            kind(office.fetch(&locator).await),
            FaultKind::NotFound,
            "{stranger}"
        );
    }
}

#[tokio::test]
async fn a_field_that_the_crm_withholds_is_refused_and_never_read_as_empty() {
    let office = Office::open().await;
    let locator = office.enter("a").await.unwrap();
    office.fetch(&locator).await.unwrap();
    office
        .emulator
        .inspect()
        .restrict_field("Contacts", "Passport_Number");
    let error = office.fetch(&locator).await.unwrap_err();
    assert_eq!(
        error.to_string().split(':').next(),
        Some("CRM-FIELD-RESTRICTED")
    );
    assert!(
        error.to_string().contains("field Passport_Number"),
        "{error}"
    );
    office
        .emulator
        .inspect()
        .release_field("Contacts", "Passport_Number");
    office.fetch(&locator).await.unwrap();
}

#[tokio::test]
async fn what_somebody_wrote_into_an_unmapped_field_comes_back_for_the_leak_check() {
    let office = Office::open().await;
    let locator = office.enter("a").await.unwrap();
    office.by_hand(&locator, "Description", CANARY);
    let fetched = office.fetch(&locator).await.unwrap();
    let permit = office.permit(Act::Transfer).await;
    assert_eq!(fetched.unmapped.len(), 1);
    assert_eq!(
        fetched
            .unmapped
            .field("description")
            .unwrap()
            .expose(&permit),
        CANARY
    );
    assert!(!format!("{fetched:?}").contains(CANARY));
}

#[tokio::test]
async fn stopped_processing_and_a_moved_record_are_seen() {
    let office = Office::open().await;
    let locator = office.enter("a").await.unwrap();
    office
        .emulator
        .inspect()
        .stop_processing(locator.as_str().parse().unwrap());
    assert!(office.fetch(&locator).await.unwrap().stopped);
    let other = office.desk.other_matter().to_string();
    office.by_hand(&locator, "Matter_Key", &other);
    assert_eq!(code(office.fetch(&locator).await), Code::SynReparent);
}

#[tokio::test]
async fn whoever_was_faster_wins_and_the_slower_is_told() {
    let office = Office::open().await;
    let locator = office.enter("a").await.unwrap();
    let seen = office.fetch(&locator).await.unwrap().modified;
    let first = office
        .amend(&locator, seen, "email", "first@example.org")
        .await
        .unwrap();
    assert!(first > seen);
    let second = office
        .amend(&locator, seen, "email", "second@example.org")
        .await;
    assert_eq!(kind(second), FaultKind::Conflict);
    office
        .amend(&locator, first, "email", "third@example.org")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_lost_answer_to_an_amendment_is_not_taken_for_somebody_elses() {
    let office = Office::open().await;
    let locator = office.enter("a").await.unwrap();
    let seen = office.fetch(&locator).await.unwrap().modified;
    office
        .emulator
        .faults()
        .next(1, "PUT", "/crm/v8/Contacts/", Failure::DropAfterEffect);
    office.emulator.clock().advance(Duration::from_secs(5));
    let amended = office
        .amend(&locator, seen, "email", "later@example.org")
        .await
        .unwrap();
    assert_eq!(office.fetch(&locator).await.unwrap().modified, amended);
}

#[tokio::test]
async fn a_lost_answer_to_an_entry_doubles_nothing() {
    for failure in [
        Failure::DropAfterEffect,
        Failure::TruncatedBody,
        Failure::DropBeforeEffect,
        Failure::ServerError,
    ] {
        let office = Office::open().await;
        office
            .emulator
            .faults()
            .next(2, "POST", "/crm/v8/Contacts/upsert", failure.clone());
        let locator = office.enter("a").await.unwrap();
        assert_eq!(
            office.emulator.inspect().ids("Contacts").len(),
            1,
            "{failure:?}"
        );
        assert_eq!(office.enter("a").await.unwrap(), locator);
    }
}

#[tokio::test]
async fn an_expired_token_is_replaced_once_and_a_missing_scope_is_not_a_reason_for_another() {
    for failure in [Failure::InvalidToken, Failure::AuthenticationFailure] {
        let office = Office::open().await;
        office.emulator.faults().next(1, "*", "/crm/v8", failure);
        office.enter("a").await.unwrap();
        assert_eq!(office.emulator.inspect().tokens_handed_out(), 2);
    }
    let office = Office::open().await;
    office.enter("a").await.unwrap();
    office.emulator.clock().advance(Duration::from_secs(4_000));
    office.enter("a").await.unwrap();
    assert_eq!(office.emulator.inspect().tokens_handed_out(), 2);
    office
        .emulator
        .faults()
        .next(1, "*", "/crm/v8", Failure::ScopeMismatch);
    assert_eq!(kind(office.enter("a").await), FaultKind::Misconfigured);
    assert_eq!(office.emulator.inspect().tokens_handed_out(), 2);
    office
        .emulator
        .faults()
        .next(9, "*", "/crm/v8", Failure::InvalidToken);
    assert_eq!(kind(office.enter("a").await), FaultKind::Misconfigured);
    assert_eq!(office.emulator.inspect().tokens_handed_out(), 3);
}

#[tokio::test]
async fn throttling_is_waited_for_and_then_handed_on() {
    let office = Office::open().await;
    office
        .emulator
        .faults()
        .next(2, "*", "/crm/v8", Failure::TooManyRequests);
    office.enter("a").await.unwrap();
    office
        .emulator
        .faults()
        .next(20, "*", "/crm/v8", Failure::TooManyRequests);
    let error = office.enter("a").await.unwrap_err();
    assert!(
        matches!(error.fault().unwrap().kind(), FaultKind::Throttled { .. }),
        "{error}"
    );
    assert!(error.fault().unwrap().is_transient());
}

#[tokio::test]
async fn a_page_that_is_not_the_vendors_is_a_protocol_fault_and_a_redirect_is_not_followed() {
    let office = Office::open().await;
    office
        .emulator
        .faults()
        .next(1, "*", "/crm/v8", Failure::WrongContentType);
    assert_eq!(kind(office.enter("a").await), FaultKind::Protocol);
    office.emulator.faults().next(
        1,
        "*",
        "/crm/v8",
        Failure::Redirect("https://192.0.2.1/".into()),
    );
    assert_eq!(code(office.enter("a").await), Code::NetRedirect);
}

#[tokio::test]
async fn errors_are_read_in_both_shapes() {
    for bare_errors in [false, true] {
        let office = Office::with(EmulatorOptions {
            bare_errors,
            ..EmulatorOptions::default()
        })
        .await;
        let mut record = office.record(office.desk.beneficiary());
        record.fields = Fields::new();
        record
            .fields
            .set(&Schema::person(), "email", "a@example.org".into())
            .unwrap();
        let permit = office.permit(Act::Enter).await;
        assert_eq!(
            code(office.crm.enter(&record, key("a"), &permit).await),
            Code::RevIncomplete
        );
        let locator = office.enter("a").await.unwrap();
        let seen = office.fetch(&locator).await.unwrap().modified;
        office.emulator.clock().advance(Duration::from_secs(5));
        office.by_hand(&locator, "Description", "changed meanwhile");
        let late = office
            .amend(&locator, seen, "email", "late@example.org")
            .await;
        assert_eq!(kind(late), FaultKind::Conflict);
    }
}

#[tokio::test]
async fn a_token_for_another_host_is_refused_and_nothing_goes_there() {
    let options = EmulatorOptions {
        api_domain: Some("https://www.zohoapis.example.com".into()),
        ..EmulatorOptions::default()
    };
    let office = Office::with(options).await;
    assert_eq!(code(office.enter("a").await), Code::NetHost);
    assert!(
        office
            .emulator
            .journal()
            .iter()
            .all(|asked| asked.path == "/oauth/v2/token")
    );
}

#[tokio::test]
async fn wrong_credentials_are_a_configuration_fault_although_the_answer_says_200() {
    let office = Office::open().await;
    let stranger = office.adapter_as("1000.somebody-elses");
    let permit = office.permit(Act::Enter).await;
    let refused = stranger
        .locate(office.record_id(office.desk.beneficiary()), &permit)
        .await;
    assert_eq!(kind(refused), FaultKind::Misconfigured);
}

#[tokio::test]
async fn no_error_tells_a_value_or_a_secret() {
    let office = Office::open().await;
    let locator = office.enter("a").await.unwrap();
    let failures = [
        Failure::ServerError,
        Failure::TooManyRequests,
        Failure::InvalidToken,
        Failure::TruncatedBody,
        Failure::WrongContentType,
        Failure::DropAfterEffect,
        Failure::Redirect(format!("https://example.org/{CANARY}")),
    ];
    let mut said = format!("{:?}", office.crm);
    for failure in failures {
        office.emulator.faults().next(50, "*", "/crm/v8", failure);
        let error = office.fetch(&locator).await.unwrap_err();
        said.push_str(&format!("{error} {error:?}"));
        office.emulator.faults().clear();
    }
    for secret in [
        CANARY,
        office.emulator.client_secret(),
        office.emulator.refresh_token(),
        "1000.",
    ] {
        assert!(!said.contains(secret), "{secret}");
    }
    for (_, text) in office.texts() {
        assert!(!said.contains(&text));
    }
}

#[tokio::test]
async fn the_change_feed_tells_every_change_and_deletion_whatever_the_page_size() {
    let office = Office::open().await;
    let mut entered = Vec::new();
    for subject in [office.desk.beneficiary(), office.desk.spouse()]
        .into_iter()
        .chain(office.desk.children())
    {
        entered.push(office.enter_person(subject, "a").await.unwrap());
    }
    let permit = office.firm_permit(Act::Transfer).await;
    for limit in [1, 2, 3, 100] {
        let (mut cursor, mut seen, mut rounds) = (None, Vec::new(), 0);
        loop {
            let page = office
                .crm
                .changes(cursor.as_ref(), limit, &permit)
                .await
                .unwrap();
            seen.extend(page.changes.iter().map(|change| change.locator.clone()));
            cursor = Some(page.next);
            rounds += 1;
            assert!(rounds < 200, "the feed does not end");
            if !page.more {
                break;
            }
        }
        assert!(
            entered.iter().all(|locator| seen.contains(locator)),
            "limit {limit}"
        );
        office.emulator.clock().advance(Duration::from_secs(2));
        office.by_hand(&entered[0], "Description", &format!("changed {limit}"));
        let page = office
            .crm
            .changes(cursor.as_ref(), 100, &permit)
            .await
            .unwrap();
        assert!(
            page.changes
                .iter()
                .any(|c| c.locator == entered[0] && !c.deleted)
        );
        assert!(page.changes.iter().all(|c| c.deleted || c.record.is_some()));
    }
    office
        .emulator
        .inspect()
        .delete_by_hand(entered[1].as_str().parse().unwrap());
    let page = office.crm.changes(None, 100, &permit).await.unwrap();
    assert!(
        page.changes
            .iter()
            .any(|c| c.locator == entered[1] && c.deleted)
    );
    assert!(page.changes.is_sorted_by_key(|change| change.at));
}

#[tokio::test]
async fn the_access_review_lists_active_users_and_assumes_nothing() {
    let office = Office::open().await;
    let permit = office.firm_permit(Act::Review).await;
    let users = office.crm.users(&permit).await.unwrap();
    assert_eq!(users.len(), 3);
    assert!(users.iter().all(|user| user.second_factor.is_none()));
    assert_eq!(users.iter().filter(|user| user.integration).count(), 1);
    assert_eq!(users.iter().filter(|user| user.administrator).count(), 1);
    office
        .emulator
        .inspect()
        .deactivate_user(users[2].locator.as_str().parse().unwrap());
    assert_eq!(office.crm.users(&permit).await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_vendors_log_gives_the_same_rows_twice_and_no_name() {
    let office = Office::open().await;
    let locator = office.enter("a").await.unwrap();
    let permit = office.firm_permit(Act::Review).await;
    let (from, to) = office.around_now();
    let rows = office.crm.rows(from, to, &permit).await.unwrap();
    assert_eq!(rows, office.crm.rows(from, to, &permit).await.unwrap());
    assert!(rows.iter().any(|row| row.on.as_ref() == Some(&locator)));
    assert!(rows.is_sorted_by_key(|row| row.at));
    let said = format!("{rows:?}");
    assert!(office.texts().iter().all(|(_, text)| !said.contains(text)));
    assert!(
        office
            .crm
            .rows(to, to + chrono::TimeDelta::days(1), &permit)
            .await
            .unwrap()
            .is_empty()
    );
}

fn key(step: &str) -> IdempotencyKey {
    IdempotencyKey::derived(step, &[])
}

#[track_caller]
fn code<T: std::fmt::Debug>(outcome: Result<T, Error>) -> Code {
    outcome.unwrap_err().refusal().expect("a refusal").code()
}

#[track_caller]
fn kind<T: std::fmt::Debug>(outcome: Result<T, Error>) -> FaultKind {
    outcome.unwrap_err().fault().expect("a fault").kind()
}
