//! Documents in the library: what is put comes back, nothing is doubled, nothing leaks.
#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/house.rs"]
mod house;

use futures_util::StreamExt;
use house::{House, broken, bytes, code, config, connect, content, fault, key, permit};
use kta_core::pii::{Category, Classification};
use kta_core::pipeline::store::SPECIAL_LABEL;
use kta_core::policy::{Act, Scope};
use kta_core::ports::{Documents, Inventory, Labels};
use kta_core::{Code, FaultKind};
use kta_sharepoint::emulator::Fault;

/// Two whole fragments and a bit.
const LARGE: usize = 2 * 16 * 327_680 + 12_345;

async fn drain(content: kta_core::pii::Content, permit: &kta_core::policy::Permit<'_>) -> Vec<u8> {
    let mut stream = content.into_stream(permit);
    let mut all = Vec::new();
    while let Some(chunk) = stream.next().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    all
}

#[tokio::test]
async fn what_was_put_comes_back_byte_for_byte_whatever_its_size() {
    let house = House::open().await;
    let worker = house.worker();
    let permit = permit!(house, worker, Store);
    for (name, length) in [
        ("empty", 0),
        ("small", 5),
        ("edge", 4 << 20),
        ("large", LARGE),
    ] {
        let bytes = bytes(length);
        let document = house.document(name, &bytes);
        let stored = house.put(&document, &bytes, name, &permit).await.unwrap();
        assert_eq!(
            (stored.length, stored.version.as_str()),
            (length as u64, "1.0"),
            "{name}"
        );
        let back = house
            .library
            .content(&document, &stored.locator, &permit)
            .await
            .unwrap();
        assert!(drain(back, &permit).await == bytes, "{name}");
        let found = house
            .library
            .locate(document.matter, document.id, &permit)
            .await
            .unwrap();
        assert_eq!(found, Some(stored));
    }
}

#[tokio::test]
async fn the_same_put_again_is_one_file_with_one_version_even_from_another_process() {
    let house = House::open().await;
    let worker = house.worker();
    let permit = permit!(house, worker, Store);
    let elsewhere = connect(&house.emulator, &house.desk, config(&house.emulator))
        .await
        .unwrap();
    for length in [1000, LARGE] {
        let bytes = bytes(length);
        let document = house.document(&length.to_string(), &bytes);
        let put = async |library: &kta_sharepoint::SharePoint| {
            library
                .put(&document, None, content(&bytes), key("same"), &permit)
                .await
                .unwrap()
        };
        let first = put(&house.library).await;
        // A key of another document is not in the way; this one's own repeats are found.
        let document_again = put(&elsewhere).await;
        assert_eq!(first, document_again);
        let versions = house
            .library
            .versions(document.subject, &first.locator, &permit)
            .await
            .unwrap();
        assert_eq!(versions.len(), 1);
    }
}

#[tokio::test]
async fn another_content_is_a_new_version_and_the_old_one_stays_listed() {
    let house = House::open().await;
    let worker = house.worker();
    let permit = permit!(house, worker, Store);
    let (one, two, three) = (bytes(10), bytes(2000), bytes(LARGE));
    let mut last = None;
    for (n, bytes) in [&one, &two, &three].into_iter().enumerate() {
        let document = house.document("v", bytes);
        let name = n.to_string();
        last = Some(house.put(&document, bytes, &name, &permit).await.unwrap());
    }
    let stored = last.unwrap();
    assert_eq!(stored.version.as_str(), "3.0");
    let subject = house.desk.beneficiary();
    let versions = house
        .library
        .versions(subject, &stored.locator, &permit)
        .await
        .unwrap();
    let listed: Vec<(&str, u64)> = versions.iter().map(|v| (v.id.as_str(), v.length)).collect();
    assert_eq!(listed, [("3.0", LARGE as u64), ("2.0", 2000), ("1.0", 10)]);
}

#[tokio::test]
async fn a_stream_that_breaks_off_leaves_no_file_and_no_bytes_waiting() {
    let house = House::open().await;
    let worker = house.worker();
    let permit = permit!(house, worker, Store);
    for (length, good) in [(3000, 1000), (LARGE, 7 << 20), (LARGE, LARGE)] {
        let bytes = bytes(length);
        let document = house.document("broken", &bytes);
        let put = house
            .library
            .put(&document, None, broken(&bytes, good), key("b"), &permit);
        assert_eq!(fault(put.await), FaultKind::Unavailable);
        assert!(house.files().is_empty());
        assert!(house.emulator.places_of(&bytes[..100]).is_empty());
    }
    let bytes = bytes(LARGE);
    let mut lying = house.document("lying", &bytes);
    lying.digest = kta_core::id::Digest::of(b"another");
    let promise = kta_core::pii::Content::new(
        lying.length,
        lying.digest,
        lying.media.clone(),
        content(&bytes).into_stream(&permit),
    );
    let put = house
        .library
        .put(&lying, None, promise, key("l"), &permit)
        .await;
    assert_eq!(fault(put), FaultKind::Corrupt);
    assert!(house.files().is_empty());
}

#[tokio::test]
async fn a_caller_that_goes_away_in_the_middle_leaves_no_half_file() {
    let house = House::open().await;
    let worker = house.worker();
    let permit = permit!(house, worker, Store);
    let bytes = bytes(LARGE);
    let document = house.document("gone", &bytes);
    house.emulator.fail(
        1,
        "PUT",
        "/upload/",
        Fault::Stall(std::time::Duration::from_secs(30)),
    );
    let put = house.put(&document, &bytes, "g", &permit);
    assert!(
        tokio::time::timeout(std::time::Duration::from_millis(700), put)
            .await
            .is_err()
    );
    assert!(house.files().is_empty());
    house.emulator.heal();
    let put = house.put(&document, &bytes, "g", &permit).await;
    assert_eq!(put.unwrap().version.as_str(), "1.0");
}

#[tokio::test]
async fn the_name_in_the_library_and_every_address_tell_nothing() {
    let house = House::open().await;
    let worker = house.worker();
    let permit = permit!(house, worker, Store);
    let canary = b"CANARY Testa Probst 1987-06-05";
    let document = house.document("CANARY-name", canary);
    house.put(&document, canary, "c", &permit).await.unwrap();
    house.assert_unseen("CANARY");
    house.assert_unseen(house.emulator.client_secret());
    house.assert_unseen(&document.subject.to_string());
    let shown = format!("{:?}", house.library);
    assert!(!shown.contains(house.emulator.client_secret()), "{shown}");
}

#[tokio::test]
async fn special_categories_need_a_label_and_get_it() {
    let house = House::open().await;
    let worker = house.worker();
    let permit = permit!(house, worker, Store);
    let mut document = house.document("special", b"invented finding");
    document.classification = Classification::of(Category::Special);
    let put = async |label| {
        let content = content(b"invented finding");
        house
            .library
            .put(&document, label, content, key("s"), &permit)
            .await
    };
    assert_eq!(code(put(None).await), Code::DocLabel);
    assert!(house.files().is_empty());
    let stored = put(Some(&SPECIAL_LABEL)).await.unwrap();
    let label = house
        .library
        .labelled(document.subject, &stored.locator, &permit)
        .await
        .unwrap();
    assert_eq!(label.as_ref(), Some(&SPECIAL_LABEL));
    let unknown = kta_core::audit::Label::fixed("No_such_label");
    let set = house
        .library
        .label(document.subject, &stored.locator, Some(&unknown), &permit)
        .await;
    assert_eq!(fault(set), FaultKind::Misconfigured);
}

#[tokio::test]
async fn what_was_removed_is_not_found_and_removing_again_is_no_error() {
    let house = House::open().await;
    let worker = house.worker();
    let permit = permit!(house, worker, Store);
    let document = house.document("r", b"bytes");
    let stored = house.put(&document, b"bytes", "r", &permit).await.unwrap();
    for _ in 0..2 {
        house
            .library
            .remove(document.subject, &stored.locator, &permit)
            .await
            .unwrap();
    }
    assert_eq!(
        house
            .library
            .locate(document.matter, document.id, &permit)
            .await
            .unwrap(),
        None
    );
    let content_of = house
        .library
        .content(&document, &stored.locator, &permit)
        .await;
    assert_eq!(fault(content_of), FaultKind::NotFound);
    let again = house.put(&document, b"bytes", "r", &permit).await;
    assert_ne!(
        again.unwrap().locator,
        stored.locator,
        "a key's file that is gone is made again"
    );
}

#[tokio::test]
async fn a_permit_that_does_not_cover_the_person_or_the_act_is_refused() {
    let house = House::open().await;
    let worker = house.worker();
    let document = house.document("p", b"bytes");
    let other = worker
        .permit(Act::Store, house.desk.whole(house.desk.spouse()))
        .await
        .unwrap();
    let sharing = permit!(house, worker, Share);
    for permit in [&other, &sharing] {
        let put = house.put(&document, b"bytes", "p", permit).await;
        assert_eq!(code(put), Code::AclDeny);
    }
    let right = permit!(house, worker, Store);
    let stored = house.put(&document, b"bytes", "p", &right).await.unwrap();
    let subject = document.subject;
    assert_eq!(
        code(
            house
                .library
                .versions(subject, &stored.locator, &other)
                .await
        ),
        Code::AclDeny
    );
    assert_eq!(
        code(house.library.remove(subject, &stored.locator, &other).await),
        Code::AclDeny
    );
    let read = house
        .library
        .content(&document, &stored.locator, &other)
        .await;
    assert_eq!(code(read), Code::AclDeny);
}

#[tokio::test]
async fn throttling_and_server_errors_are_waited_out() {
    let house = House::open().await;
    let worker = house.worker();
    let permit = permit!(house, worker, Store);
    let bytes = bytes(LARGE);
    let document = house.document("t", &bytes);
    house
        .emulator
        .fail(1, "GET", "/v1.0/drives/", Fault::throttled(0));
    house.emulator.fail(
        1,
        "POST",
        "/v1.0/*/createUploadSession",
        Fault::throttled(1),
    );
    house
        .emulator
        .fail(1, "PUT", "/upload/", Fault::throttled(1));
    house
        .emulator
        .fail(1, "PUT", "/upload/", Fault::status(503));
    house
        .emulator
        .fail(1, "GET", "/v1.0/*/versions", Fault::TruncatedBody);
    let stored = house.put(&document, &bytes, "t", &permit).await.unwrap();
    assert_eq!(
        house
            .emulator
            .holdings(stored.locator.as_str())
            .current
            .as_deref(),
        Some(&bytes[..])
    );
    house
        .emulator
        .fail(9, "GET", "/v1.0/drives/", Fault::throttled(3600));
    let later = house
        .library
        .locate(document.matter, document.id, &permit)
        .await;
    assert!(matches!(
        fault(later),
        FaultKind::Throttled {
            retry_after: Some(_)
        }
    ));
}

#[tokio::test]
async fn a_lost_connection_at_any_fragment_is_resumed_and_nothing_is_doubled() {
    let bytes = bytes(LARGE);
    for when in [
        Fault::DropBeforeEffect,
        Fault::DropAfterEffect,
        Fault::TruncatedBody,
    ] {
        for nth in 0..3u64 {
            let house = House::open().await;
            let worker = house.worker();
            let permit = permit!(house, worker, Store);
            let document = house.document("cut", &bytes);
            for _ in 0..nth {
                // A stall of nothing counts a request without touching it.
                let pass = Fault::Stall(std::time::Duration::ZERO);
                house.emulator.fail(1, "PUT", "/upload/", pass);
            }
            house.emulator.fail(1, "PUT", "/upload/", when.clone());
            let put = house.put(&document, &bytes, "cut", &permit);
            let stored = put
                .await
                .unwrap_or_else(|e| panic!("{when:?} at {nth}: {e}"));
            assert_eq!(stored.version.as_str(), "1.0", "{when:?} at {nth}");
            let held = house.emulator.holdings(stored.locator.as_str());
            assert!(
                held.current.as_deref() == Some(&bytes[..]),
                "{when:?} at {nth}"
            );
            assert_eq!(house.files().len(), 1);
        }
    }
}

#[tokio::test]
async fn an_answer_lost_after_the_effect_doubles_neither_file_nor_version() {
    let house = House::open().await;
    let worker = house.worker();
    let permit = permit!(house, worker, Store);
    let mut locator = None;
    for (n, bytes) in [bytes(100), bytes(200), bytes(300)].iter().enumerate() {
        let document = house.document("lost", bytes);
        house
            .emulator
            .fail(1, "PUT", "/v1.0/*/content", Fault::DropAfterEffect);
        let name = n.to_string();
        let put = house.put(&document, bytes, &name, &permit);
        locator = Some(put.await.unwrap().locator);
    }
    let held = house.emulator.holdings(locator.unwrap().as_str());
    assert_eq!((held.versions.len(), house.files().len()), (2, 1));
}

#[tokio::test]
async fn of_two_different_contents_at_once_one_wins_and_the_other_is_told() {
    let house = House::open().await;
    let worker = house.worker();
    let permit = permit!(house, worker, Store);
    let (one, two) = (bytes(100), bytes(200));
    let (first, second) = (house.document("race", &one), house.document("race", &two));
    // Both look, find nothing, and write.
    house.emulator.fail(
        2,
        "PUT",
        "/v1.0/",
        Fault::Stall(std::time::Duration::from_millis(300)),
    );
    let (a, b) = tokio::join!(
        house.put(&first, &one, "1", &permit),
        house.put(&second, &two, "2", &permit),
    );
    let lost = match (a, b) {
        (Ok(_), lost) | (lost, Ok(_)) => lost,
        _ => panic!("nobody won"),
    };
    assert_eq!(fault(lost), FaultKind::Conflict);
    assert_eq!(house.files().len(), 1);
}

#[tokio::test]
async fn the_token_goes_to_graph_alone_and_redirects_to_listed_hosts_alone() {
    let house = House::open().await;
    let worker = house.worker();
    let permit = permit!(house, worker, Store);
    let bytes = bytes(LARGE);
    let document = house.document("h", &bytes);
    let stored = house.put(&document, &bytes, "h", &permit).await.unwrap();
    let back = house
        .library
        .content(&document, &stored.locator, &permit)
        .await
        .unwrap();
    drain(back, &permit).await;
    let journal = house.emulator.journal();
    let bare = journal.iter().filter(|each| {
        each.target.starts_with("/upload/") || each.target.starts_with("/download/")
    });
    let bare: Vec<bool> = bare.map(|each| each.authorized).collect();
    assert!(
        bare.len() >= 4 && bare.iter().all(|authorized| !authorized),
        "{bare:?}"
    );

    let elsewhere = Fault::Redirect("http://127.0.0.1:9/steal".to_owned());
    house.emulator.fail(1, "GET", "/v1.0/*/content", elsewhere);
    let read = house
        .library
        .content(&document, &stored.locator, &permit)
        .await;
    assert_eq!(code(read), Code::NetRedirect);
}

#[tokio::test]
async fn an_expired_token_is_renewed_once_and_the_call_goes_on() {
    let house = House::open().await;
    let worker = house.worker();
    let permit = permit!(house, worker, Store);
    let document = house.document("e", b"bytes");
    house.emulator.expire_tokens();
    house.put(&document, b"bytes", "e", &permit).await.unwrap();
    let asked = |journal: Vec<kta_sharepoint::emulator::Exchange>| {
        journal.iter().filter(|each| each.host == "login").count()
    };
    assert_eq!(
        asked(house.emulator.journal()),
        3,
        "two resources at first, then one renewal"
    );
}

#[tokio::test]
async fn a_library_without_versions_is_refused() {
    let house = House::open().await;
    house.emulator.set_versioning(house.emulator.drive(), false);
    let connected = connect(&house.emulator, &house.desk, config(&house.emulator)).await;
    assert_eq!(code(connected), Code::DocNover);
}

#[tokio::test]
async fn a_wrong_secret_or_site_is_said_at_once_and_without_the_secret() {
    let house = House::open().await;
    let emulator = &house.emulator;
    let with = |secret: &str, site: &str| {
        let credential = kta_sharepoint::AppCredential::secret(secret.to_owned().into());
        kta_sharepoint::Config::new(
            emulator.graph_url(),
            emulator.login_url(),
            emulator.tenant(),
            emulator.client_id(),
            credential,
            site,
        )
        .unwrap()
    };
    let wrong = connect(
        emulator,
        &house.desk,
        with("CANARY-secret", emulator.site()),
    )
    .await;
    let told = format!("{wrong:?}");
    assert!(!told.contains("CANARY"), "{told}");
    assert_eq!(fault(wrong), FaultKind::Misconfigured);
    let nowhere = connect(
        emulator,
        &house.desk,
        with(emulator.client_secret(), "no,such,site"),
    )
    .await;
    assert_eq!(fault(nowhere), FaultKind::NotFound);
}

#[tokio::test]
async fn the_inventory_tells_strange_files_from_its_own_and_follows_no_cursor_elsewhere() {
    let house = House::open().await;
    let worker = house.worker();
    let permit = permit!(house, worker, Store);
    let document = house.document("own", b"bytes");
    house
        .put(&document, b"bytes", "own", &permit)
        .await
        .unwrap();
    let looking = worker.permit(Act::Search, Scope::firm()).await.unwrap();
    let page = house.library.inventory(None, &looking).await.unwrap();
    let mut documents: Vec<_> = page.items.iter().map(|item| item.document).collect();
    documents.sort();
    assert_eq!(
        documents,
        [None, Some(document.id)],
        "the ready-made file and ours"
    );
    for stray in [
        "https://graph.example.test/v1.0/delta".to_owned(),
        format!("{}/x", house.emulator.sharepoint_url()),
    ] {
        let stray = kta_core::ports::Cursor(stray);
        let page = house.library.inventory(Some(&stray), &looking).await;
        assert_eq!(code(page), Code::NetHost);
    }
}
