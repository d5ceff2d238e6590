//! The kit of [`Crm`].

use std::sync::Arc;

use async_trait::async_trait;

use super::marks::{assert_unmarked, effect, ordinary, person, same, wrong_permits_are_refused};
use super::{Desk, cancelled, code, fault};
use crate::error::Result;
use crate::id::{RecordId, SubjectId};
use crate::pii::{FieldName, Fields, Locator, Pii};
use crate::policy::{Act, LawfulBasis, Purpose, Role};
use crate::ports::crm::{Crm, CrmRecord, Fetched};
use crate::{Code, FaultKind};

conformance_cases! {$
    /// The contract of [`Crm`](crate::ports::Crm) as tests; `fresh` gives a
    /// [`CrmBench`](crate::conformance::crm::CrmBench). See [`conformance`](crate::conformance).
    crm_conformance = crm:
    the_same_key_twice_is_one_record,
    the_same_record_under_two_keys_is_one_record,
    of_concurrent_enters_of_one_record_one_is_left,
    what_was_entered_is_what_is_fetched_in_any_script,
    locate_finds_by_our_own_key_and_nothing_for_a_stranger,
    amend_names_the_instant_it_expects_else_it_is_a_conflict,
    an_unmapped_field_is_refused_before_anything_is_sent,
    a_withheld_field_is_refused_and_never_read_as_empty,
    a_permit_that_does_not_cover_the_person_is_refused,
    a_record_is_not_read_under_another_persons_name,
    what_is_not_there_is_not_found,
    a_cancelled_enter_is_whole_or_nothing,
    errors_and_debug_hold_no_value,
}

/// An empty CRM, and the hands of somebody who sits at it.
#[async_trait]
pub trait CrmBench: Send + Sync {
    /// The port, opened anew each time where the adapter keeps anything in memory.
    async fn crm(&self) -> Arc<dyn Crm>;

    /// How many records the CRM has by its own account, once it has settled.
    async fn count(&self) -> usize;

    /// Makes the CRM withhold this field from the house, as its administrator can.
    async fn withhold(&self, field: &FieldName);
}

/// The same idempotency key twice is one record.
pub async fn the_same_key_twice_is_one_record(bench: &dyn CrmBench) {
    let desk = Desk::new("crm");
    let first = enter(bench, &desk, &client(&desk, 1), 1).await.unwrap();
    let again = enter(bench, &desk, &client(&desk, 1), 1).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(bench.count().await, 1);
}

/// The same record under two keys is one record.
pub async fn the_same_record_under_two_keys_is_one_record(bench: &dyn CrmBench) {
    let desk = Desk::new("crm");
    let first = enter(bench, &desk, &client(&desk, 1), 1).await.unwrap();
    let again = enter(bench, &desk, &client(&desk, 1), 2).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(bench.count().await, 1);
}

/// Of concurrent enters of one record one is left, and both know it.
pub async fn of_concurrent_enters_of_one_record_one_is_left(bench: &dyn CrmBench) {
    let desk = Desk::new("crm");
    let (one, two) = (client(&desk, 1), client(&desk, 1));
    let both =
        futures_util::future::join(enter(bench, &desk, &one, 1), enter(bench, &desk, &two, 2));
    let won: Vec<Locator> = match both.await {
        (Ok(one), Ok(two)) => vec![one, two],
        (Ok(one), Err(lost)) | (Err(lost), Ok(one)) => {
            assert!(
                lost.fault().is_some_and(|fault| fault.is_transient()),
                "{lost}"
            );
            vec![one]
        }
        (Err(lost), Err(_)) => panic!("nobody won: {lost}"),
    };
    assert!(won.iter().all(|locator| *locator == won[0]));
    assert_eq!(bench.count().await, 1);
    assert!(same(
        &fetch(bench, &desk, desk.beneficiary(), &won[0])
            .await
            .unwrap()
            .fields,
        &one.fields
    ));
}

/// What was entered is what is fetched, field by field, in any script.
pub async fn what_was_entered_is_what_is_fetched_in_any_script(bench: &dyn CrmBench) {
    let desk = Desk::new("crm");
    let [one, two] = desk.children();
    let people = [
        (desk.beneficiary(), "Ñandú-O'Ł\u{301}ka"),
        (desk.spouse(), "דוגמה עצמה"),
        (one, "مثال 例子 见本"),
        (two, "Пример Ỹž 𠜎"),
    ];
    let mut entered = Vec::new();
    for (number, (subject, script)) in (1_u8..).zip(people) {
        let entry = CrmRecord {
            fields: person(script, number),
            ..of(&desk, subject, number)
        };
        let locator = enter(bench, &desk, &entry, number).await.unwrap();
        entered.push((entry, locator));
    }
    assert_eq!(bench.count().await, 4);
    for (entry, locator) in entered {
        let fetched = fetch(bench, &desk, entry.subject, &locator).await.unwrap();
        assert!(
            same(&fetched.fields, &entry.fields),
            "a field came back as something else"
        );
        assert_eq!(fetched.locator, locator);
        assert_eq!(fetched.basis, Some(LawfulBasis::Contract));
        assert!(!fetched.stopped && fetched.unmapped.is_empty());
    }
}

/// `locate` finds by our own key, never by name or e-mail, and finds nothing for a stranger.
pub async fn locate_finds_by_our_own_key_and_nothing_for_a_stranger(bench: &dyn CrmBench) {
    let desk = Desk::new("crm");
    let entry = client(&desk, 1);
    let locator = enter(bench, &desk, &entry, 1).await.unwrap();
    let session = desk.session(Role::Paralegal);
    let permit = session
        .permit(Act::Search, ordinary(&desk, desk.beneficiary()))
        .await
        .unwrap();
    let crm = bench.crm().await;
    assert_eq!(
        crm.locate(entry.record, &permit).await.unwrap(),
        Some(locator)
    );
    // Another record of somebody with the same names and address is not found by those.
    let stranger = client(&desk, 2).record;
    assert_eq!(crm.locate(stranger, &permit).await.unwrap(), None);
}

/// `amend` names the `modified` it expects; if somebody was faster it is a conflict.
pub async fn amend_names_the_instant_it_expects_else_it_is_a_conflict(bench: &dyn CrmBench) {
    let desk = Desk::new("crm");
    let entry = client(&desk, 1);
    let locator = enter(bench, &desk, &entry, 1).await.unwrap();
    let before = fetch(bench, &desk, entry.subject, &locator)
        .await
        .unwrap()
        .modified;
    let session = desk.session(Role::Paralegal);
    let permit = session
        .permit(Act::Amend, ordinary(&desk, entry.subject))
        .await
        .unwrap();
    let crm = bench.crm().await;
    let faster = one("occupation", "the faster one");
    let after = crm
        .amend(entry.subject, &locator, before, &faster, &permit)
        .await
        .unwrap();
    assert!(after > before);
    let slower = one("occupation", "the slower one");
    let lost = crm
        .amend(entry.subject, &locator, before, &slower, &permit)
        .await;
    assert_eq!(fault(lost), FaultKind::Conflict);
    let fetched = fetch(bench, &desk, entry.subject, &locator).await.unwrap();
    assert_eq!(fetched.modified, after);
    let mut expected = entry.fields;
    expected.insert(
        FieldName::fixed("occupation"),
        Pii::new("the faster one".to_owned()),
    );
    assert!(
        same(&fetched.fields, &expected),
        "only the amended field changed"
    );
    let after_that = crm
        .amend(entry.subject, &locator, after, &slower, &permit)
        .await
        .unwrap();
    assert!(after_that > after);
}

/// A field that is not on the map is refused with `SYN-UNMAPPED` before anything is sent.
pub async fn an_unmapped_field_is_refused_before_anything_is_sent(bench: &dyn CrmBench) {
    let desk = Desk::new("crm");
    let mut entry = client(&desk, 1);
    entry
        .fields
        .insert(UNMAPPED, Pii::new("anything".to_owned()));
    assert_eq!(
        code(enter(bench, &desk, &entry, 1).await),
        Code::SynUnmapped
    );
    assert_eq!(bench.count().await, 0);
    let entry = client(&desk, 1);
    let locator = enter(bench, &desk, &entry, 1).await.unwrap();
    let before = fetch(bench, &desk, entry.subject, &locator).await.unwrap();
    let session = desk.session(Role::Paralegal);
    let permit = session
        .permit(Act::Amend, ordinary(&desk, entry.subject))
        .await
        .unwrap();
    let mut fields = one("occupation", "another one");
    fields.insert(UNMAPPED, Pii::new("anything".to_owned()));
    let crm = bench.crm().await;
    let refused = crm
        .amend(entry.subject, &locator, before.modified, &fields, &permit)
        .await;
    assert_eq!(code(refused), Code::SynUnmapped);
    let after = fetch(bench, &desk, entry.subject, &locator).await.unwrap();
    assert!(after.modified == before.modified && same(&after.fields, &before.fields));
}

/// A field that the CRM withholds is refused with `CRM-FIELD-RESTRICTED`, never read as empty.
pub async fn a_withheld_field_is_refused_and_never_read_as_empty(bench: &dyn CrmBench) {
    let desk = Desk::new("crm");
    let entry = client(&desk, 1);
    let locator = enter(bench, &desk, &entry, 1).await.unwrap();
    assert!(fetch(bench, &desk, entry.subject, &locator).await.is_ok());
    bench.withhold(&FieldName::fixed("passport_number")).await;
    let fetched = fetch(bench, &desk, entry.subject, &locator).await;
    assert_eq!(code(fetched), Code::CrmFieldRestricted);
}

/// A permit that does not cover the person is refused.
pub async fn a_permit_that_does_not_cover_the_person_is_refused(bench: &dyn CrmBench) {
    let desk = Desk::new("crm");
    let crm = bench.crm().await;
    let (entry, subject) = (client(&desk, 1), desk.beneficiary());
    let (sync, reader) = (Role::ServiceSync, Role::Paralegal);
    wrong_permits_are_refused(
        &desk,
        subject,
        (sync, Act::Enter),
        (reader, Act::Open),
        async |permit| crm.enter(&entry, effect(&desk, 1), permit).await,
    )
    .await;
    assert_eq!(bench.count().await, 0);
    let locator = enter(bench, &desk, &entry, 1).await.unwrap();
    let destroyer = Role::ServiceDestroy;
    wrong_permits_are_refused(
        &desk,
        subject,
        (sync, Act::Transfer),
        (destroyer, Act::Destroy),
        async |permit| crm.fetch(subject, &locator, permit).await,
    )
    .await;
    let before = fetch(bench, &desk, subject, &locator).await.unwrap();
    let fields = one("occupation", "another one");
    wrong_permits_are_refused(
        &desk,
        subject,
        (reader, Act::Amend),
        (reader, Act::Open),
        async |permit| {
            crm.amend(subject, &locator, before.modified, &fields, permit)
                .await
        },
    )
    .await;
    let after = fetch(bench, &desk, subject, &locator).await.unwrap();
    assert!(after.modified == before.modified && same(&after.fields, &before.fields));
}

/// A permit over one person does not open the record of another who is named in its place.
pub async fn a_record_is_not_read_under_another_persons_name(bench: &dyn CrmBench) {
    let desk = Desk::new("crm");
    let locator = enter(bench, &desk, &client(&desk, 1), 1).await.unwrap();
    let outcome = fetch(bench, &desk, desk.spouse(), &locator).await;
    assert!(
        outcome.is_err(),
        "the beneficiary's record was read as the spouse's"
    );
    let session = desk.session(Role::Paralegal);
    let permit = session
        .permit(Act::Amend, ordinary(&desk, desk.spouse()))
        .await
        .unwrap();
    let before = fetch(bench, &desk, desk.beneficiary(), &locator)
        .await
        .unwrap();
    let crm = bench.crm().await;
    let fields = one("occupation", "another one");
    assert!(
        crm.amend(desk.spouse(), &locator, before.modified, &fields, &permit)
            .await
            .is_err()
    );
    let after = fetch(bench, &desk, desk.beneficiary(), &locator)
        .await
        .unwrap();
    assert!(same(&after.fields, &before.fields));
}

/// A locator that the CRM does not have is not found.
pub async fn what_is_not_there_is_not_found(bench: &dyn CrmBench) {
    let desk = Desk::new("crm");
    let nowhere = Locator::new("9999999999999999999").unwrap();
    let fetched = fetch(bench, &desk, desk.beneficiary(), &nowhere).await;
    assert_eq!(fault(fetched), FaultKind::NotFound);
}

/// A caller that goes away in the middle leaves a whole record or none; the next one finds that.
pub async fn a_cancelled_enter_is_whole_or_nothing(bench: &dyn CrmBench) {
    let desk = Desk::new("crm");
    let entry = client(&desk, 1);
    cancelled(enter(bench, &desk, &entry, 1));
    assert!(bench.count().await <= 1);
    let locator = enter(bench, &desk, &entry, 1).await.unwrap();
    assert_eq!(bench.count().await, 1);
    assert!(same(
        &fetch(bench, &desk, entry.subject, &locator)
            .await
            .unwrap()
            .fields,
        &entry.fields
    ));
}

/// Errors and `Debug` contain no value of the record.
pub async fn errors_and_debug_hold_no_value(bench: &dyn CrmBench) {
    let desk = Desk::new("crm");
    let crm = bench.crm().await;
    let mut entry = client(&desk, 1);
    let locator = enter(bench, &desk, &entry, 1).await.unwrap();
    let fetched = fetch(bench, &desk, entry.subject, &locator).await.unwrap();
    assert_unmarked(&format!("{crm:?} {entry:?} {locator:?} {fetched:?}"));
    entry
        .fields
        .insert(UNMAPPED, Pii::new(super::marks::MARK.to_owned()));
    let refused = enter(bench, &desk, &entry, 2).await.unwrap_err();
    let elsewhere = fetch(bench, &desk, desk.spouse(), &locator)
        .await
        .unwrap_err();
    assert_unmarked(&format!("{refused:?} {refused} {elsewhere:?} {elsewhere}"));
}

async fn enter(bench: &dyn CrmBench, desk: &Desk, entry: &CrmRecord, key: u8) -> Result<Locator> {
    let session = desk.session(Role::ServiceSync);
    let permit = session
        .permit(Act::Enter, ordinary(desk, entry.subject))
        .await?;
    bench
        .crm()
        .await
        .enter(entry, effect(desk, key), &permit)
        .await
}

async fn fetch(
    bench: &dyn CrmBench,
    desk: &Desk,
    subject: SubjectId,
    at: &Locator,
) -> Result<Fetched> {
    let session = desk.session(Role::ServiceSync);
    let permit = session
        .permit(Act::Transfer, ordinary(desk, subject))
        .await?;
    bench.crm().await.fetch(subject, at, &permit).await
}

fn client(desk: &Desk, number: u8) -> CrmRecord {
    of(desk, desk.beneficiary(), number)
}

/// A record of a person; records of other numbers have other keys and the same values.
pub(crate) fn of(desk: &Desk, subject: SubjectId, number: u8) -> CrmRecord {
    CrmRecord {
        record: RecordId::derived(&[subject.as_bytes(), &[number]]),
        subject,
        matter: if subject == desk.stranger() {
            desk.other_matter()
        } else {
            desk.matter()
        },
        purpose: Purpose::Representation,
        basis: LawfulBasis::Contract,
        fields: person("Example", 7),
    }
}

fn one(name: &'static str, value: &str) -> Fields {
    [(FieldName::fixed(name), Pii::new(value.to_owned()))]
        .into_iter()
        .collect()
}

const UNMAPPED: FieldName = FieldName::fixed("on_nobodys_map");
