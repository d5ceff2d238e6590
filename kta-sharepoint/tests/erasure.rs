//! The end of a file: what is left is nothing, or is told.
#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/certificate.rs"]
mod certificate;
#[path = "support/house.rs"]
mod house;
#[path = "support/mod.rs"]
mod support;

use chrono::TimeDelta;
use house::{House, code, config, connect, fault, key, permit};
use kta_core::id::GrantId;
use kta_core::pii::{Document, Locator};
use kta_core::policy::Act;
use kta_core::ports::{Collaboration, Documents, Erase, GrantRequest, Recipient, SharedRole};
use kta_core::{Code, FaultKind};
use kta_sharepoint::AppCredential;
use kta_sharepoint::emulator::{Fault, Options};
use serde_json::json;
use support::graph;

const CANARY: &[u8] = b"CANARY-Testa-Probst-passport";
/// The name that a colleague gives a file.
const BY_HAND: &str = "CANARY-Testa-Probst-passport.bin";

/// A file with two versions and a share.
async fn lived_in(house: &House) -> (Document, Locator) {
    let worker = house.worker();
    let storing = permit!(house, worker, Store);
    let first = house.document("end", CANARY);
    house.put(&first, CANARY, "1", &storing).await.unwrap();
    let later = house.document("end", b"CANARY-Testa-Probst-later");
    let stored = house
        .put(&later, b"CANARY-Testa-Probst-later", "2", &storing)
        .await
        .unwrap();
    let sharing = permit!(house, worker, Share);
    let wish = GrantRequest {
        id: GrantId::derived(&[b"end"]),
        subject: later.subject,
        document: stored.locator.clone(),
        recipient: Recipient::new("CANARY-Testa-Probst@partner.example".to_owned()).unwrap(),
        role: SharedRole::View,
        expires: house.desk.now() + TimeDelta::days(10),
    };
    house
        .library
        .grant(&wish, key("3"), &sharing)
        .await
        .unwrap();
    (later, stored.locator)
}

fn gone(house: &House, at: &Locator) {
    assert!(house.emulator.holdings(at.as_str()).is_empty());
    for needle in [&b"CANARY-Testa"[..], b"canary-testa"] {
        assert_eq!(house.emulator.places_of(needle), Vec::<String>::new());
    }
}

#[tokio::test]
async fn erasure_takes_file_versions_and_shares_and_the_probe_sees_nothing() {
    let house = House::open().await;
    let (document, at) = lived_in(&house).await;
    let placement = house.placement(&document, Some(&at));
    let before = house.probe(&placement).await;
    assert!(!before.is_clean() && before.residues[0].content && before.residues[0].until.is_none());
    let erased = house.erase(&placement).await.unwrap();
    assert_eq!(erased.window, None);
    gone(&house, &at);
    let after = house.probe(&placement).await;
    assert!(after.is_clean(), "{after:?}");
    assert_ne!(before.evidence, after.evidence);
    let asked: Vec<&str> = after.asked.iter().map(|label| label.as_str()).collect();
    assert_eq!(
        asked,
        [
            "file.by_id",
            "file.by_path",
            "recycle_bin.list",
            "hold_library.list"
        ]
    );
    let again = house.erase(&placement).await.unwrap();
    assert_eq!(again.method, erased.method);
    house.assert_unseen("CANARY");
}

#[tokio::test]
async fn a_file_that_was_removed_before_is_fetched_from_both_stages_of_the_bin() {
    for (second, moves) in [(false, false), (true, false), (false, true)] {
        let mut options = Options::default();
        options.bin_delete_moves_to_second_stage = moves;
        let house = House::with(options).await;
        let (document, at) = lived_in(&house).await;
        let worker = house.worker();
        let storing = permit!(house, worker, Store);
        house
            .library
            .remove(document.subject, &at, &storing)
            .await
            .unwrap();
        // Somebody else's file lies in the same bin.
        let other = house.document("other", b"somebody else");
        let kept = house
            .put(&other, b"somebody else", "o", &storing)
            .await
            .unwrap();
        house
            .library
            .remove(other.subject, &kept.locator, &storing)
            .await
            .unwrap();
        if second {
            let token = support::rest_token(&house.emulator).await;
            let listed = support::rest(&house.emulator, &token, "GET", "web/RecycleBin")
                .await
                .json();
            let entry = listed["value"][0]["Id"].as_str().unwrap().to_owned();
            let path = format!("web/RecycleBin('{entry}')/MoveToSecondStage()");
            support::rest(&house.emulator, &token, "POST", &path).await;
        }
        let placement = house.placement(&document, Some(&at));
        let before = house.probe(&placement).await;
        let what = if second {
            "recycle_bin.second_stage"
        } else {
            "recycle_bin"
        };
        assert_eq!(before.residues.len(), 1);
        assert_eq!(before.residues[0].what.as_str(), what);
        let until = before.residues[0].until.unwrap() - house.desk.now();
        assert!((92..=93).contains(&until.num_days()), "{until}");
        house.erase(&placement).await.unwrap();
        gone(&house, &at);
        assert!(house.probe(&placement).await.is_clean());
        assert!(
            !house.emulator.holdings(kept.locator.as_str()).is_empty(),
            "not ours to end"
        );
        let journal = house.emulator.journal();
        assert!(
            !journal
                .iter()
                .any(|each| each.target.to_lowercase().contains("deleteall"))
        );
    }
}

#[tokio::test]
async fn an_erasure_killed_at_any_request_and_begun_again_ends_the_same() {
    for path in [
        "/v1.0/*/permissions/",
        "/v1.0/*/permanentDelete",
        "/sites/*/RecycleBin",
    ] {
        for cut in [Fault::DropBeforeEffect, Fault::DropAfterEffect] {
            let house = House::open().await;
            let (document, at) = lived_in(&house).await;
            let placement = house.placement(&document, Some(&at));
            // More often than the adapter itself tries.
            house.emulator.fail(5, "*", path, cut.clone());
            let first = house.erase(&placement).await;
            house.emulator.heal();
            if first.is_err() {
                house.erase(&placement).await.unwrap();
            }
            gone(&house, &at);
        }
    }
}

#[tokio::test]
async fn a_copy_in_the_hold_library_is_an_interim_residue_until_the_provider_lets_go() {
    let house = House::open().await;
    let (document, at) = lived_in(&house).await;
    house.emulator.set_hold(true);
    let placement = house.placement(&document, Some(&at));
    house.erase(&placement).await.unwrap();
    let held = house.probe(&placement).await;
    assert_eq!(held.residues.len(), 1);
    assert_eq!(held.residues[0].what.as_str(), "hold_library");
    assert!(held.residues[0].content);
    assert_eq!(
        held.residues[0].until,
        Some(house.desk.now() + TimeDelta::days(130))
    );
    house.emulator.set_hold(false);
    let advance = |days| {
        house.desk.clock().advance(TimeDelta::days(days));
        house.emulator.advance(TimeDelta::days(days));
    };
    advance(38);
    assert_eq!(
        house.probe(&placement).await.residues[0].what.as_str(),
        "recycle_bin.second_stage"
    );
    advance(93);
    assert!(house.probe(&placement).await.is_clean());
    gone(&house, &at);
}

#[tokio::test]
async fn a_label_that_forbids_deletion_stops_the_erasure_and_nothing_is_taken() {
    let house = House::open().await;
    let (document, at) = lived_in(&house).await;
    let path = format!(
        "/drives/{}/items/{}/retentionLabel",
        house.emulator.drive(),
        at.as_str()
    );
    let label = json!({ "name": "Client record" });
    assert_eq!(
        graph(&house.emulator, "PATCH", &path, &label).await.status,
        201
    );
    let placement = house.placement(&document, Some(&at));
    assert_eq!(code(house.erase(&placement).await), Code::DstHold);
    let held = house.emulator.holdings(at.as_str());
    assert_eq!((held.versions.len(), held.shares.len()), (1, 1));
    let worker = house.worker();
    let storing = permit!(house, worker, Store);
    let removed = house.library.remove(document.subject, &at, &storing).await;
    assert_eq!(code(removed), Code::DstHold);
}

#[tokio::test]
async fn a_placement_without_an_id_is_erased_by_its_name() {
    let house = House::open().await;
    let (document, at) = lived_in(&house).await;
    let placement = house.placement(&document, None);
    house.erase(&placement).await.unwrap();
    gone(&house, &at);
}

#[tokio::test]
async fn an_id_that_names_another_file_is_not_followed() {
    let house = House::open().await;
    let (document, _) = lived_in(&house).await;
    let ready = Locator::new(house.emulator.item()).unwrap();
    let placement = house.placement(&document, Some(&ready));
    let erased = house.erase(&placement).await;
    assert_eq!(fault(erased), FaultKind::Protocol);
    assert!(
        house
            .emulator
            .holdings(house.emulator.item())
            .current
            .is_some()
    );
}

#[tokio::test]
async fn a_file_that_somebody_renamed_is_erased_with_the_name_that_they_gave_it() {
    // Past the bin, or through it, and killed wherever a file is given its name again or deleted.
    for selected in [false, true] {
        for cut in [None, Some("PATCH"), Some("DELETE")] {
            let house = House::open().await;
            let (document, at) = lived_in(&house).await;
            by_hand(&house, "PATCH", &at, &json!({ "name": BY_HAND })).await;
            if selected {
                let destroyer = house.emulator.destroyer_id();
                house.emulator.select_sites(destroyer);
                house.emulator.grant_site(destroyer, "fullcontrol");
            }
            let placement = house.placement(&document, Some(&at));
            assert!(!house.probe(&placement).await.is_clean());
            if let Some(method) = cut {
                let lost = Fault::DropAfterEffect;
                house.emulator.fail(5, method, "/v1.0/*/items/", lost);
                let _ = house.erase(&placement).await;
                house.emulator.heal();
            }
            let erased = house.erase(&placement).await.unwrap();
            assert_eq!(erased.window, None);
            gone(&house, &at);
            assert!(house.probe(&placement).await.is_clean());
            house.assert_unseen("CANARY");
        }
    }
}

#[tokio::test]
async fn a_renamed_file_goes_also_when_another_one_has_taken_its_name() {
    let house = House::open().await;
    let (document, at) = lived_in(&house).await;
    by_hand(&house, "PATCH", &at, &json!({ "name": BY_HAND })).await;
    let worker = house.worker();
    let storing = permit!(house, worker, Store);
    let again = house.document("end", CANARY);
    let stored = house.put(&again, CANARY, "again", &storing).await.unwrap();
    assert_ne!(stored.locator, at);
    house
        .erase(&house.placement(&document, Some(&at)))
        .await
        .unwrap();
    gone(&house, &at);
    gone(&house, &stored.locator);
}

#[tokio::test]
async fn what_left_the_matters_folder_under_another_name_is_told_and_left_to_a_person() {
    let house = House::open().await;
    let (document, at) = lived_in(&house).await;
    let worker = house.worker();
    let storing = permit!(house, worker, Store);
    let beside = house.document("beside", b"another document of the matter");
    let kept = house
        .put(&beside, b"another document of the matter", "b", &storing)
        .await
        .unwrap();
    by_hand(&house, "PATCH", &at, &json!({ "name": BY_HAND })).await;
    by_hand(&house, "DELETE", &at, &serde_json::Value::Null).await;
    by_hand(&house, "DELETE", &kept.locator, &serde_json::Value::Null).await;
    let placement = house.placement(&document, Some(&at));
    let erased = house.erase(&placement).await.unwrap();
    let window = erased.window.unwrap() - house.desk.now();
    assert!((92..=93).contains(&window.num_days()), "{window}");
    let probe = house.probe(&placement).await;
    // The other document has its own name in the bin, so it cannot be this one.
    assert_eq!(probe.residues.len(), 1, "{probe:?}");
    assert_eq!(probe.residues[0].what.as_str(), "recycle_bin.unattributed");
    assert!(probe.residues[0].content && probe.residues[0].until.is_some());
    assert!(!format!("{probe:?}{erased:?}").contains("CANARY"));
    assert!(!house.emulator.holdings(at.as_str()).is_empty());
    house.desk.clock().advance(TimeDelta::days(94));
    house.emulator.advance(TimeDelta::days(94));
    assert!(house.probe(&placement).await.is_clean());
    gone(&house, &at);
}

#[tokio::test]
async fn an_id_in_the_matters_folder_that_has_another_documents_name_is_not_followed() {
    let house = House::open().await;
    let (document, _) = lived_in(&house).await;
    let worker = house.worker();
    let storing = permit!(house, worker, Store);
    let beside = house.document("beside", b"another");
    let other = house.put(&beside, b"another", "b", &storing).await.unwrap();
    let placement = house.placement(&document, Some(&other.locator));
    assert_eq!(fault(house.erase(&placement).await), FaultKind::Protocol);
    let held = house.emulator.holdings(other.locator.as_str());
    assert!(held.current.is_some());
}

/// What a colleague does to a file in the browser.
async fn by_hand(house: &House, method: &str, at: &Locator, body: &serde_json::Value) {
    let path = format!("/drives/{}/items/{}", house.emulator.drive(), at.as_str());
    let answer = graph(&house.emulator, method, &path, body).await;
    assert!(matches!(answer.status, 200 | 204), "{}", answer.status);
}

#[tokio::test]
async fn erasing_and_probing_want_their_own_permits() {
    let house = House::open().await;
    let (document, at) = lived_in(&house).await;
    let placement = house.placement(&document, Some(&at));
    let destroyer = house.destroyer();
    let (destroying, probing) = (
        permit!(house, destroyer, Destroy),
        permit!(house, destroyer, Probe),
    );
    assert_eq!(
        code(house.library.erase(&placement, key("e"), &probing).await),
        Code::AclDeny
    );
    assert_eq!(
        code(house.library.probe(&placement, &destroying).await),
        Code::AclDeny
    );
    let other = destroyer
        .permit(Act::Destroy, house.desk.whole(house.desk.spouse()))
        .await
        .unwrap();
    assert_eq!(
        code(house.library.erase(&placement, key("e"), &other).await),
        Code::AclDeny
    );
    assert!(house.emulator.holdings(at.as_str()).current.is_some());
}

#[tokio::test]
async fn a_deleted_matter_folder_is_told_as_a_residue_and_left_to_a_person() {
    let house = House::open().await;
    let (document, at) = lived_in(&house).await;
    let path = format!(
        "/drives/{}/root:/{}",
        house.emulator.drive(),
        document.matter
    );
    let deleted = graph(&house.emulator, "DELETE", &path, &serde_json::Value::Null).await;
    assert_eq!(deleted.status, 204);
    let placement = house.placement(&document, Some(&at));
    house.erase(&placement).await.unwrap();
    let probe = house.probe(&placement).await;
    assert_eq!(probe.residues[0].what.as_str(), "recycle_bin.folder");
}

#[tokio::test]
async fn where_rest_wants_a_certificate_a_secret_is_refused_loudly_or_done_without() {
    let mut options = Options::default();
    options.certificate_only_rest = true;
    let emulator = kta_sharepoint::emulator::Emulator::start(options)
        .await
        .unwrap();
    let desk = kta_core::conformance::Desk::new("certificate");
    emulator.set_now(desk.now());
    let refused = connect(&emulator, &desk, config(&emulator)).await;
    assert_eq!(fault(refused), FaultKind::Misconfigured);

    let library = connect(&emulator, &desk, config(&emulator).without_rest())
        .await
        .unwrap();
    let house = House {
        emulator,
        desk,
        library,
    };
    let (document, at) = lived_in(&house).await;
    let placement = house.placement(&document, Some(&at));
    house.erase(&placement).await.unwrap();
    gone(&house, &at);
    let probe = house.probe(&placement).await;
    assert!(probe.is_clean());
    assert_eq!(probe.asked.last().unwrap().as_str(), "recycle_bin.unasked");

    let ((key, der), (stranger, _)) = (certificate::certificate(), certificate::certificate());
    house.emulator.register_certificate(&der);
    for (key, admitted) in [(key, true), (stranger, false)] {
        let by_certificate = kta_sharepoint::Config::new(
            house.emulator.graph_url(),
            house.emulator.login_url(),
            house.emulator.tenant(),
            house.emulator.client_id(),
            AppCredential::certificate(key, der.clone()),
            house.emulator.site(),
        );
        let connected = connect(&house.emulator, &house.desk, by_certificate.unwrap()).await;
        assert_eq!(connected.is_ok(), admitted, "the signature is what counts");
    }
}
