//! Records in numbers, marks, attachments, choices and subforms.

// A failing unwrap is a failing test.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{CANARY, Office, number};
use futures_util::StreamExt as _;
use kta_core::audit::Label;
use kta_core::id::{IdempotencyKey, RecordId};
use kta_core::pii::{Category, Content, FieldName, MediaType, Pii};
use kta_core::policy::{Act, Permit, Role, Scope};
use kta_core::ports::{Crm as _, CrmRecord};
use kta_core::{Code, FaultKind};
use kta_zoho::emulator::{EmulatorOptions, Failure};
use kta_zoho::{FieldMap, MappedField, ValueForm, rows_text};

#[tokio::test]
async fn a_hundred_and_twenty_records_are_entered_in_two_writes_and_entering_again_writes_nothing()
{
    let office = Office::open().await;
    let records: Vec<CrmRecord> = (0..120_u32).map(|one| numbered(&office, one)).collect();
    let permit = office.permit(Act::Enter).await;
    let first = office
        .crm
        .enter_many(&records, key("many"), &permit)
        .await
        .unwrap();
    let ids: BTreeSet<String> = first
        .iter()
        .map(|outcome| outcome.as_ref().unwrap().as_str().to_owned())
        .collect();
    assert_eq!(ids.len(), 120);
    let writes = || {
        let all = office.emulator.journal();
        all.iter()
            .filter(|one| one.path.ends_with("/upsert"))
            .count()
    };
    assert_eq!(writes(), 2);
    let again = office
        .crm
        .enter_many(&records, key("many"), &permit)
        .await
        .unwrap();
    assert_eq!(again, first);
    assert_eq!(writes(), 2);
    assert_eq!(office.emulator.inspect().automations_run(), 0);
}

#[tokio::test]
async fn what_fails_for_one_row_does_not_touch_the_others_and_a_lost_answer_doubles_nothing() {
    let office = Office::open().await;
    let mut records: Vec<CrmRecord> = (0..5_u32).map(|one| numbered(&office, one)).collect();
    // No such date, and nobody before the CRM said so.
    records[2].fields.insert(
        FieldName::fixed("birth_date"),
        Pii::new("yesterday".to_owned()),
    );
    office.emulator.faults().next(
        2,
        "POST",
        "/crm/v8/Contacts/upsert",
        Failure::DropAfterEffect,
    );
    let permit = office.permit(Act::Enter).await;
    let outcomes = office
        .crm
        .enter_many(&records, key("some"), &permit)
        .await
        .unwrap();
    let good: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(good, [true, true, false, true, true]);
    assert_eq!(office.emulator.inspect().ids("Contacts").len(), 4);
    // All rows failed is an answer for each row too.
    let bad = [records.swap_remove(2)];
    let outcomes = office
        .crm
        .enter_many(&bad, key("bad"), &permit)
        .await
        .unwrap();
    assert!(outcomes[0].is_err());
    // A record that is somebody else's stays theirs.
    let mut stolen = numbered(&office, 0);
    stolen.matter = office.desk.other_matter();
    let refused = office
        .crm
        .enter_many(&[stolen], key("stolen"), &permit)
        .await
        .unwrap_err();
    assert_eq!(refused.refusal().unwrap().code(), Code::AclDeny);
}

#[tokio::test]
async fn many_are_fetched_as_each_would_be_and_what_is_wrong_with_one_stands_in_its_place() {
    let office = Office::open().await;
    let [one, two] = office.desk.children();
    let mut wanted = Vec::new();
    for subject in [one, two] {
        wanted.push((
            subject,
            office.enter_person(subject, "fetch").await.unwrap(),
        ));
    }
    let inspect = office.emulator.inspect();
    office.by_hand(&wanted[0].1, "Description", CANARY);
    assert!(inspect.stop_processing(number(&wanted[1].1)));
    // Somebody else's under this name, and one that is gone.
    wanted.push((one, wanted[1].1.clone()));
    let gone = office.enter("fetch").await.unwrap();
    assert!(inspect.delete_by_hand(number(&gone)));
    wanted.push((office.desk.beneficiary(), gone));
    let subjects = [one, two, office.desk.beneficiary()];
    let scope = Scope::over(subjects, [Category::Identity, Category::Case]);
    let session = office.desk.session(Role::ServiceSync);
    let permit: Permit<'_> = session
        .permit(Act::Transfer, scope.in_matter(office.desk.matter()))
        .await
        .unwrap();
    let before = office.emulator.requests();
    let fetched = office.crm.fetch_many(&wanted, &permit).await.unwrap();
    // The list, and whether its empty fields are withheld.
    assert_eq!(office.emulator.requests() - before, 2);
    for (place, (subject, at)) in wanted.iter().enumerate().take(2) {
        let alone = office.crm.fetch(*subject, at, &permit).await.unwrap();
        let many = fetched[place].as_ref().unwrap();
        assert_eq!(
            (many.modified, many.stopped),
            (alone.modified, alone.stopped)
        );
        assert_eq!(
            (many.basis, many.fields.len()),
            (alone.basis, alone.fields.len())
        );
        assert_eq!(many.unmapped.len(), alone.unmapped.len());
        for (name, value) in alone.fields.iter() {
            let same = many.fields.field(name.as_str()).unwrap();
            assert_eq!(same.expose(&permit), value.expose(&permit));
        }
    }
    let stranger = fetched[2].as_ref().unwrap_err();
    assert_eq!(stranger.refusal().unwrap().code(), Code::AclDeny);
    let gone = fetched[3].as_ref().unwrap_err();
    assert_eq!(gone.fault().unwrap().kind(), FaultKind::NotFound);
    // A field that is withheld stops all of them.
    inspect.restrict_field("Contacts", "Email");
    let refused = office.crm.fetch_many(&wanted, &permit).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().code(), Code::CrmFieldRestricted);
}

#[tokio::test]
async fn a_list_goes_past_two_thousand_records_by_its_tokens() {
    let office = Office::open().await;
    let inspect = office.emulator.inspect();
    for number in 0..2_300_u32 {
        let fields = serde_json::json!({"Last_Name": CANARY, "KTA_Key": format!("{number:032x}")});
        inspect
            .plant("Contacts", fields.as_object().unwrap().clone())
            .unwrap();
    }
    office.enter("list").await.unwrap();
    let permit = office.permit(Act::Transfer).await;
    let (mut token, mut ids) = (None, BTreeSet::new());
    let mut named = 0;
    loop {
        let page = office.crm.list(token.as_ref(), 200, &permit).await.unwrap();
        named += page
            .records
            .iter()
            .filter(|one| !one.fields.is_empty())
            .count();
        ids.extend(
            page.records
                .iter()
                .map(|one| one.locator.as_str().to_owned()),
        );
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    // All are listed; only the person that the permit covers has fields.
    assert_eq!((ids.len(), named), (2_301, 1));
    for asked in office.emulator.journal() {
        assert!(!asked.query.contains(CANARY));
    }
}

#[tokio::test]
async fn a_matter_is_searched_by_its_key_and_a_value_only_in_the_body_of_a_query() {
    let office = Office::open().await;
    office.enter("search").await.unwrap();
    let spouse = office.desk.spouse();
    let theirs = office.enter_person(spouse, "search").await.unwrap();
    let permit = office.permit(Act::Search).await;
    let found = office
        .crm
        .of_matter(office.desk.matter(), &permit)
        .await
        .unwrap();
    assert_eq!(found.len(), 2);
    let other = office
        .crm
        .of_matter(office.desk.other_matter(), &permit)
        .await
        .unwrap_err();
    assert_eq!(other.refusal().unwrap().code(), Code::AclDeny);

    let nasty = r"O'Example\' or id > '0";
    office.by_hand(&theirs, "Place_of_Birth", nasty);
    let field = FieldName::fixed("birth_place");
    let find = async |text: &str| {
        let value = Pii::new(text.to_owned());
        office.crm.find_by(&field, &value, &permit).await
    };
    assert_eq!(find(nasty).await.unwrap(), [theirs]);
    // The CRM compares without case; who somebody is does not.
    assert!(find("MUSTERSTADT").await.unwrap().is_empty());
    assert_eq!(find("Musterstadt").await.unwrap().len(), 1);
    assert_eq!(find("' or id > '0").await.unwrap(), []);
    let unfit = find("a\nb").await.unwrap_err();
    assert_eq!(unfit.fault().unwrap().kind(), FaultKind::Misconfigured);
    let unknown = FieldName::fixed("medical_note");
    let refused = office
        .crm
        .find_by(&unknown, &Pii::new(CANARY.to_owned()), &permit)
        .await;
    assert_eq!(
        refused.unwrap_err().refusal().unwrap().code(),
        Code::SynUnmapped
    );
    for asked in office.emulator.journal() {
        assert!(!asked.query.contains("Example") && !asked.query.contains("Musterstadt"));
    }
}

#[tokio::test]
async fn a_lock_keeps_everybody_off_until_it_is_taken_off_and_tags_are_labels() {
    let office = Office::open().await;
    let locator = office.enter("lock").await.unwrap();
    let (subject, permit) = (office.desk.beneficiary(), office.permit(Act::Amend).await);
    let reason = Label::fixed("legal-hold");
    let lock = office
        .crm
        .lock(subject, &locator, &reason, &permit)
        .await
        .unwrap();
    assert_eq!(lock.reason, Some(reason.clone()));
    assert_eq!(
        office
            .crm
            .lock(subject, &locator, &reason, &permit)
            .await
            .unwrap(),
        lock
    );
    let modified = office.fetch(&locator).await.unwrap().modified;
    let refused = office
        .amend(&locator, modified, "occupation", "x")
        .await
        .unwrap_err();
    assert_eq!(refused.refusal().unwrap().code(), Code::SynLocked);
    // Nor is it erased under a hold.
    let destroying = office.permit(Act::Destroy).await;
    let placement = office.placement(subject, Some(&locator));
    let erased = kta_core::ports::Erase::erase(&office.crm, &placement, key("held"), &destroying);
    assert_eq!(
        erased.await.unwrap_err().refusal().unwrap().code(),
        Code::SynLocked
    );
    let inspect = office.emulator.inspect();
    assert!(inspect.holdings(number(&locator)).record.is_some());
    office.crm.unlock(subject, &locator, &permit).await.unwrap();
    office.crm.unlock(subject, &locator, &permit).await.unwrap();
    assert_eq!(
        office
            .crm
            .lock_of(subject, &locator, &permit)
            .await
            .unwrap(),
        None
    );
    office
        .amend(&locator, modified, "occupation", "x")
        .await
        .unwrap();

    let tags = [Label::fixed("intake"), Label::fixed("h1b")];
    office
        .crm
        .tag(subject, &locator, &tags, &permit)
        .await
        .unwrap();
    office
        .crm
        .tag(subject, &locator, &tags, &permit)
        .await
        .unwrap();
    office
        .crm
        .untag(subject, &locator, &tags[..1], &permit)
        .await
        .unwrap();
    assert_eq!(
        office.crm.tags(subject, &locator, &permit).await.unwrap(),
        [tags[1].clone()]
    );
    // Somebody else's record is nobody's to mark.
    let other = office.desk.spouse();
    let refused = office
        .crm
        .tag(other, &locator, &tags, &permit)
        .await
        .unwrap_err();
    assert_eq!(refused.refusal().unwrap().code(), Code::AclDeny);
}

#[tokio::test]
async fn content_is_attached_once_streamed_back_whole_and_special_content_is_refused() {
    let office = Office::open().await;
    let locator = office.enter("attach").await.unwrap();
    let (subject, permit) = (office.desk.beneficiary(), office.permit(Act::Amend).await);
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let attach = async |key| {
        let content = Content::of(bytes.clone(), MediaType::pdf());
        office
            .crm
            .attach(subject, &locator, content, Category::Case, key, &permit)
            .await
    };
    office
        .emulator
        .faults()
        .next(1, "POST", "/crm/v8/Contacts/", Failure::DropAfterEffect);
    let lost = attach(key("one")).await.unwrap_err();
    assert_eq!(lost.fault().unwrap().kind(), FaultKind::OutcomeUnknown);
    let attached = attach(key("one")).await.unwrap();
    assert_eq!(attach(key("one")).await.unwrap(), attached);
    let list = office
        .crm
        .attachments(subject, &locator, &permit)
        .await
        .unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].size, list[0].link), (3_000_000, false));
    let mut stream = office
        .crm
        .attachment(subject, &locator, &attached, &permit)
        .await
        .unwrap();
    let mut back = Vec::new();
    while let Some(piece) = stream.next().await {
        back.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(back, bytes);
    let scope = Scope::over([subject], [Category::Special]).in_matter(office.desk.matter());
    let session = office.desk.session(Role::Attorney);
    let special: Permit<'_> = session.permit(Act::Amend, scope).await.unwrap();
    let content = Content::of(CANARY, MediaType::text());
    let refused = office
        .crm
        .attach(
            subject,
            &locator,
            content,
            Category::Special,
            key("two"),
            &special,
        )
        .await
        .unwrap_err();
    assert_eq!(refused.refusal().unwrap().code(), Code::CrmWrongStore);
}

#[tokio::test]
async fn choices_and_rows_of_a_subform_come_back_as_they_were_entered_and_amended() {
    let mut lines = FieldMap::person().fields().to_vec();
    lines.push(MappedField {
        field: FieldName::fixed("languages"),
        api_name: "Languages".to_owned(),
        category: Category::Case,
        form: ValueForm::Choices,
    });
    lines.push(MappedField {
        field: FieldName::fixed("dependents"),
        api_name: "Dependents".to_owned(),
        category: Category::Identity,
        form: ValueForm::Rows,
    });
    let map = FieldMap::new(lines).unwrap();
    let office =
        Office::with_config(EmulatorOptions::default(), |config| config.mapping(map)).await;
    let child = |name: &str| {
        let cells = [("Child_Name", name), ("Birth", "2020-02-03")];
        let cells = cells.map(|(name, text)| (name.to_owned(), text.to_owned()));
        BTreeMap::from(cells)
    };
    let rows = rows_text(&[child("Testa דוגמה"), child("Testo")]);
    let mut record = office.record(office.desk.beneficiary());
    let (languages, dependents) = (
        FieldName::fixed("languages"),
        FieldName::fixed("dependents"),
    );
    record
        .fields
        .insert(languages.clone(), Pii::new("Hebrew;Ελληνικά".to_owned()));
    record
        .fields
        .insert(dependents.clone(), Pii::new(rows.clone()));
    let permit = office.permit(Act::Enter).await;
    let locator = office
        .crm
        .enter(&record, key("rows"), &permit)
        .await
        .unwrap();
    let reading = office.permit(Act::Transfer).await;
    let shown = async |name: &str| {
        let fetched = office.fetch(&locator).await.unwrap();
        let value = fetched
            .fields
            .field(name)
            .map(|value| value.expose(&reading).clone());
        (value, fetched.modified)
    };
    assert_eq!(shown("dependents").await.0, Some(rows));
    let (choices, modified) = shown("languages").await;
    assert_eq!(choices.as_deref(), Some("Hebrew;Ελληνικά"));
    // Amended, the rows are those that are named, and no other.
    let fewer = rows_text(&[child("Testo")]);
    let mut fields = kta_core::pii::Fields::new();
    fields.insert(dependents, Pii::new(fewer.clone()));
    let amending = office.permit(Act::Amend).await;
    office
        .crm
        .amend(
            office.desk.beneficiary(),
            &locator,
            modified,
            &fields,
            &amending,
        )
        .await
        .unwrap();
    assert_eq!(shown("dependents").await.0, Some(fewer));
}

fn numbered(office: &Office, one: u32) -> CrmRecord {
    CrmRecord {
        record: RecordId::derived(&[b"many", &one.to_be_bytes()]),
        ..office.record(office.desk.beneficiary())
    }
}

fn key(step: &str) -> IdempotencyKey {
    IdempotencyKey::derived(step, &[])
}
