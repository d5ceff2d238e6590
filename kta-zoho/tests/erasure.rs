//! Erasing a client's record, and looking for what is left.

// A failing unwrap is a failing test.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Office, number};
use kta_core::id::IdempotencyKey;
use kta_core::pii::Locator;
use kta_core::policy::Act;
use kta_core::ports::{Erase as _, Erased, Probe};
use kta_core::{Code, Result};
use kta_zoho::emulator::Failure;
use serde_json::json;

#[tokio::test]
async fn after_an_erasure_the_name_stands_only_where_no_call_reaches() {
    let office = Office::open().await;
    let locator = furnished(&office).await;
    let before = probe(&office, &locator).await;
    assert!(
        before
            .residues
            .iter()
            .any(|residue| residue.what.as_str() == "record" && residue.content)
    );
    let erased = erase(&office, Some(&locator)).await.unwrap();
    let steps: Vec<_> = erased.steps.iter().map(|step| step.as_str()).collect();
    assert_eq!(
        steps,
        [
            "notes.delete:2",
            "attachments.delete:1",
            "record.overwrite_name",
            "record.delete",
            "recycle_bin.delete"
        ]
    );
    assert!(erased.window.is_some());
    let held = office.emulator.inspect().holdings(number(&locator));
    assert_eq!((held.record, held.in_bin), (None, false));
    assert!(held.notes.is_empty() && held.attachments.is_empty() && held.related_in_bin.is_empty());
    for (_, text) in office.texts() {
        for place in office.emulator.inspect().places_of(&text) {
            let beyond = place.starts_with("timeline:") || place.starts_with("audit_log:");
            assert!(beyond, "{place}");
        }
    }
    let after = probe(&office, &locator).await;
    assert!(
        after.residues.iter().all(|residue| !residue.content),
        "{after:?}"
    );
    let left: Vec<_> = after
        .residues
        .iter()
        .map(|residue| residue.what.as_str())
        .collect();
    assert_eq!(left, ["deleted_list"], "a trace by id, without a name");
    assert!(
        after
            .asked
            .iter()
            .any(|asked| asked.as_str() == "timeline.get:no-record")
    );
}

#[tokio::test]
async fn erasing_never_reaches_for_more_than_its_own_ids() {
    let office = Office::open().await;
    let locator = furnished(&office).await;
    let spouse = office
        .enter_person(office.desk.spouse(), "a")
        .await
        .unwrap();
    let binned = office
        .enter_person(office.desk.children()[0], "a")
        .await
        .unwrap();
    office.emulator.inspect().delete_by_hand(number(&binned));
    erase(&office, Some(&locator)).await.unwrap();
    assert!(
        office
            .emulator
            .inspect()
            .holdings(number(&spouse))
            .record
            .is_some()
    );
    assert!(office.emulator.inspect().holdings(number(&binned)).in_bin);
    for asked in office.emulator.journal() {
        assert!(!asked.path.contains("actions/empty"), "{asked:?}");
        assert!(!asked.path.contains("mass_delete"), "{asked:?}");
        let of_bin = asked.path.contains("recycle_bin") && asked.method == "DELETE";
        assert!(!of_bin || asked.query.is_empty(), "{asked:?}");
    }
}

#[tokio::test]
async fn erasing_twice_is_no_error_and_of_the_same_kind() {
    let office = Office::open().await;
    let locator = furnished(&office).await;
    let first = erase(&office, Some(&locator)).await.unwrap();
    let second = erase(&office, Some(&locator)).await.unwrap();
    assert_eq!((first.method, first.window), (second.method, second.window));
    let never = erase(&office, None).await.unwrap();
    assert_eq!(
        never
            .steps
            .iter()
            .map(|step| step.as_str())
            .collect::<Vec<_>>(),
        ["record.absent"]
    );
}

#[tokio::test]
async fn a_copy_that_was_made_but_not_registered_is_found_by_our_key() {
    let office = Office::open().await;
    let locator = furnished(&office).await;
    erase(&office, None).await.unwrap();
    assert!(
        office
            .emulator
            .inspect()
            .holdings(number(&locator))
            .record
            .is_none()
    );
    assert!(!office.emulator.inspect().holdings(number(&locator)).in_bin);
}

#[tokio::test]
async fn a_record_that_somebody_deleted_by_hand_goes_with_its_notes_and_attachments() {
    let office = Office::open().await;
    let locator = furnished(&office).await;
    office.emulator.inspect().delete_by_hand(number(&locator));
    let seen = probe(&office, &locator).await;
    let bin = seen
        .residues
        .iter()
        .find(|residue| residue.what.as_str() == "recycle_bin")
        .unwrap();
    assert!(bin.content && bin.until.is_some());
    assert!(
        seen.residues
            .iter()
            .any(|residue| residue.what.as_str() == "notes")
    );
    assert!(
        seen.residues
            .iter()
            .any(|residue| residue.what.as_str() == "timeline")
    );
    erase(&office, Some(&locator)).await.unwrap();
    let held = office.emulator.inspect().holdings(number(&locator));
    assert!(
        held.record.is_none()
            && !held.in_bin
            && held.notes.is_empty()
            && held.attachments.is_empty()
    );
    assert!(
        probe(&office, &locator)
            .await
            .residues
            .iter()
            .all(|residue| !residue.content)
    );
}

#[tokio::test]
async fn somebody_elses_record_is_not_erased_whatever_the_placement_says() {
    let office = Office::open().await;
    let spouses = office
        .enter_person(office.desk.spouse(), "a")
        .await
        .unwrap();
    let refused = erase(&office, Some(&spouses)).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().code(), Code::AclDeny);
    assert!(
        office
            .emulator
            .inspect()
            .holdings(number(&spouses))
            .record
            .is_some()
    );
}

#[tokio::test]
async fn a_permit_for_another_act_or_person_erases_and_probes_nothing() {
    let office = Office::open().await;
    let locator = furnished(&office).await;
    office.emulator.clear_journal();
    let placement = office.placement(office.desk.beneficiary(), Some(&locator));
    let key = IdempotencyKey::derived("erase", &[]);
    let probing = office.permit(Act::Probe).await;
    let of_another = office.permit_for(office.desk.spouse(), Act::Destroy).await;
    for permit in [&probing, &of_another] {
        let refused = office.crm.erase(&placement, key, permit).await.unwrap_err();
        assert_eq!(refused.refusal().unwrap().code(), Code::AclDeny);
    }
    let destroying = office.permit(Act::Destroy).await;
    assert!(
        office
            .crm
            .probe(&placement, &destroying)
            .await
            .unwrap_err()
            .refusal()
            .is_some()
    );
    assert!(office.emulator.journal().is_empty());
}

#[tokio::test]
async fn an_erasure_broken_off_at_any_step_goes_on_to_the_same_end() {
    let whole = Office::open().await;
    let locator = furnished(&whole).await;
    whole.emulator.clear_journal();
    erase(&whole, Some(&locator)).await.unwrap();
    let steps = u32::try_from(whole.emulator.journal().len()).unwrap();
    assert!(steps > 15, "{steps} requests");
    for failure in [Failure::ScopeMismatch, Failure::DropAfterEffect] {
        for step in 0..steps {
            let office = Office::open().await;
            let locator = furnished(&office).await;
            // A missing scope ends the attempt before its effect; enough lost answers in a row
            // end it after.
            office
                .emulator
                .faults()
                .after(step, 4, "*", "/crm/v8", failure.clone());
            assert!(
                erase(&office, Some(&locator)).await.is_err(),
                "{failure:?} at {step}"
            );
            office.emulator.faults().clear();
            erase(&office, Some(&locator)).await.unwrap();
            let held = office.emulator.inspect().holdings(number(&locator));
            assert!(
                held.record.is_none() && !held.in_bin,
                "{failure:?} at {step}"
            );
            assert!(
                held.notes.is_empty() && held.attachments.is_empty(),
                "{failure:?} at {step}"
            );
            assert!(held.related_in_bin.is_empty(), "{failure:?} at {step}");
            let after = probe(&office, &locator).await;
            assert!(
                after.residues.iter().all(|residue| !residue.content),
                "{failure:?} at {step}"
            );
        }
    }
}

#[tokio::test]
async fn what_somebody_deleted_from_under_a_record_is_told_until_the_bin_lets_go() {
    let office = Office::open().await;
    let locator = furnished(&office).await;
    let held = office.emulator.inspect().holdings(number(&locator));
    assert!(
        office
            .emulator
            .inspect()
            .delete_by_hand(held.attachments[0])
    );
    erase(&office, Some(&locator)).await.unwrap();
    let after = probe(&office, &locator).await;
    let told = after
        .residues
        .iter()
        .find(|residue| residue.what.as_str() == "recycle_bin.unattributed")
        .unwrap();
    assert!(told.content && told.until.is_some());
    // The bin does not say whose it is, so it is nobody's to purge.
    let held = office.emulator.inspect().holdings(number(&locator));
    assert_eq!(held.related_in_bin.len(), 1);

    // What was deleted after the record was is not this record's.
    let office = Office::open().await;
    let locator = furnished(&office).await;
    erase(&office, Some(&locator)).await.unwrap();
    let later = office.emulator.clock().now() + 60;
    office.emulator.pass_until(later);
    let spouse = office
        .enter_person(office.desk.spouse(), "a")
        .await
        .unwrap();
    let inspect = office.emulator.inspect();
    let theirs = inspect
        .note_by_hand(number(&spouse), "Call", "theirs")
        .unwrap();
    assert!(inspect.delete_by_hand(theirs));
    let after = probe(&office, &locator).await;
    assert!(after.residues.iter().all(|residue| !residue.content));
}

#[tokio::test]
async fn a_marker_in_a_name_ends_no_record_in_the_bin() {
    let office = Office::open().await;
    let locator = furnished(&office).await;
    let spouse = office
        .enter_person(office.desk.spouse(), "a")
        .await
        .unwrap();
    office.emulator.inspect().delete_by_hand(number(&spouse));
    office.by_hand(
        &locator,
        "Last_Name",
        &format!("Erased {}", spouse.as_str()),
    );
    erase(&office, Some(&locator)).await.unwrap();
    assert!(office.emulator.inspect().holdings(number(&spouse)).in_bin);
}

#[tokio::test]
async fn one_key_in_two_records_is_erased_from_both_wherever_it_is_broken_off() {
    let whole = Office::open().await;
    let (first, _) = entered_twice(&whole).await;
    whole.emulator.clear_journal();
    erase(&whole, Some(&first)).await.unwrap();
    let steps = u32::try_from(whole.emulator.journal().len()).unwrap();
    for failure in [Failure::ScopeMismatch, Failure::DropAfterEffect] {
        for step in 0..steps {
            let office = Office::open().await;
            let (first, second) = entered_twice(&office).await;
            office
                .emulator
                .faults()
                .after(step, 4, "*", "/crm/v8", failure.clone());
            assert!(erase(&office, Some(&first)).await.is_err());
            office.emulator.faults().clear();
            erase(&office, Some(&first)).await.unwrap();
            for one in [&first, &second] {
                let held = office.emulator.inspect().holdings(number(one));
                assert!(
                    held.record.is_none() && !held.in_bin,
                    "{failure:?} at {step}"
                );
                assert!(held.related_in_bin.is_empty(), "{failure:?} at {step}");
            }
            let after = probe(&office, &first).await;
            assert!(after.residues.iter().all(|residue| !residue.content));
        }
    }
}

#[tokio::test]
async fn two_live_records_with_one_key_are_both_seen_and_both_erased() {
    let office = Office::open().await;
    let locator = furnished(&office).await;
    let inspect = office.emulator.inspect();
    let held = inspect.holdings(number(&locator)).record.unwrap();
    let twin = inspect.plant("Contacts", held.as_object().unwrap().clone());
    let twin = twin.unwrap();
    erase(&office, Some(&locator)).await.unwrap();
    assert!(inspect.holdings(number(&locator)).record.is_none());
    assert!(inspect.holdings(twin).record.is_none() && !inspect.holdings(twin).in_bin);

    // And by whoever probes, also when the one registered is gone.
    let office = Office::open().await;
    let locator = furnished(&office).await;
    let inspect = office.emulator.inspect();
    let held = inspect.holdings(number(&locator)).record.unwrap();
    for _ in 0..2 {
        inspect.plant("Contacts", held.as_object().unwrap().clone());
    }
    let left = probe(&office, &locator).await.residues;
    assert!(left.iter().any(|residue| residue.what.as_str() == "record"));
}

/// A record that somebody deleted by hand, and the one that was entered in its place.
async fn entered_twice(office: &Office) -> (Locator, Locator) {
    let first = furnished(office).await;
    office.emulator.inspect().delete_by_hand(number(&first));
    let second = office.enter("b").await.unwrap();
    assert_ne!(first, second);
    (first, second)
}

/// A record with two notes and an attachment, all with the person's name in them.
async fn furnished(office: &Office) -> Locator {
    let locator = office.enter("a").await.unwrap();
    let inspect = office.emulator.inspect();
    let name = office.texts()[0].1.clone();
    for title in ["Call", &name] {
        assert!(
            inspect
                .note_by_hand(number(&locator), title, &format!("about {name}"))
                .is_some()
        );
    }
    let file = format!("letter of {name}.txt");
    assert!(
        inspect
            .attach_by_hand(number(&locator), &file, name.as_bytes())
            .is_some()
    );
    inspect.edit_by_hand(
        number(&locator),
        [("Description".to_owned(), json!("nothing"))]
            .into_iter()
            .collect(),
    );
    locator
}

async fn erase(office: &Office, locator: Option<&Locator>) -> Result<Erased> {
    let permit = office.permit(Act::Destroy).await;
    let key = IdempotencyKey::derived("erase", &[]);
    office
        .crm
        .erase(
            &office.placement(office.desk.beneficiary(), locator),
            key,
            &permit,
        )
        .await
}

async fn probe(office: &Office, locator: &Locator) -> Probe {
    let permit = office.permit(Act::Probe).await;
    let placement = office.placement(office.desk.beneficiary(), Some(locator));
    office.crm.probe(&placement, &permit).await.unwrap()
}
