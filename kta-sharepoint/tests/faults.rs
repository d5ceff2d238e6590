//! What a bad day does to the adapter: every fault, at every call, ends in a typed answer and in nothing
//! doubled.
#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/house.rs"]
mod house;
#[path = "support/mod.rs"]
mod support;

use futures_util::TryStreamExt as _;
use house::{House, bytes, config, connect, permit};
use kta_core::ports::{Documents, Inventory};
use kta_core::{Code, Error, FaultKind};
use kta_http::Limits;
use kta_sharepoint::emulator::Fault;
use std::time::{Duration, Instant};

/// What may be left of a call that failed: nothing but these words.
fn is_typed(error: &Error) -> bool {
    match error {
        Error::Refused(refusal) => matches!(refusal.code(), Code::NetRedirect | Code::NetHost),
        Error::Broken(fault) => matches!(
            fault.kind(),
            FaultKind::Corrupt
                | FaultKind::Misconfigured
                | FaultKind::NotFound
                | FaultKind::OutcomeUnknown
                | FaultKind::Protocol
                | FaultKind::Throttled { .. }
                | FaultKind::Timeout
                | FaultKind::Unavailable
        ),
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_at_every_call_is_survived_or_typed_and_doubles_nothing() {
    let faults = [
        Fault::DropAfterEffect,
        Fault::DropBeforeEffect,
        Fault::TruncatedBody,
        Fault::WrongType,
        Fault::status(401),
        Fault::status(403),
        Fault::status(502),
        Fault::throttled(0),
        Fault::Redirect("https://elsewhere.example/x".to_owned()),
    ];
    let calls = [
        ("*", "/*/oauth2/"),
        ("PUT", "*/content"),
        ("GET", "*/content"),
        ("GET", "/download/"),
        ("GET", "*/versions"),
        ("GET", "*/root:"),
        ("GET", "*/root/delta"),
    ];
    let mut tasks = Vec::new();
    for (method, path) in calls {
        let faults = faults.clone();
        tasks.push(tokio::spawn(async move {
            for fault in faults {
                let house = House::open().await;
                let session = house.worker();
                let permit = permit!(house, session, Store);
                let document = house.document("d", b"invented");
                house.emulator.fail(1, method, path, fault.clone());
                let first = house.put(&document, b"invented", "k", &permit).await;
                let read = async |stored: &kta_core::ports::StoredDocument| {
                    let content = house
                        .library
                        .content(&document, &stored.locator, &permit)
                        .await?;
                    let chunks: Vec<bytes::Bytes> =
                        content.into_stream(&permit).try_collect().await?;
                    kta_core::Result::Ok(chunks.concat())
                };
                if let Err(error) = &first {
                    assert!(is_typed(error), "{fault:?} at {path}: {error:?}");
                }
                let stored = match first {
                    Ok(stored) => stored,
                    Err(_) => house
                        .put(&document, b"invented", "k", &permit)
                        .await
                        .unwrap(),
                };
                let back = match read(&stored).await {
                    Ok(back) => back,
                    Err(error) => {
                        assert!(is_typed(&error), "{fault:?} at {path}: {error:?}");
                        read(&stored).await.unwrap()
                    }
                };
                assert_eq!(back, b"invented", "{fault:?} at {path}");
                if let Err(error) = house.library.inventory(None, &permit).await {
                    assert!(is_typed(&error), "{fault:?} at {path}: {error:?}");
                    house.library.inventory(None, &permit).await.unwrap();
                }
                let versions = house
                    .library
                    .versions(document.subject, &stored.locator, &permit)
                    .await;
                assert_eq!(versions.unwrap().len(), 1, "{fault:?} at {path}");
                assert_eq!(house.files().len(), 1, "{fault:?} at {path}");
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_drips_is_given_up_in_time() {
    let house = House::open().await;
    let session = house.worker();
    let permit = permit!(house, session, Store);
    let document = house.document("d", &bytes(200_000));
    let stored = house
        .put(&document, &bytes(200_000), "k", &permit)
        .await
        .unwrap();
    let hasty = Limits {
        total: Duration::from_millis(700),
        ..Limits::default()
    };
    let hasty = config(&house.emulator).within(hasty);
    let library = connect(&house.emulator, &house.desk, hasty).await.unwrap();
    house.emulator.fail(
        50,
        "GET",
        "/download/",
        Fault::Drip(Duration::from_millis(100)),
    );
    let start = Instant::now();
    let slow = async {
        let content = library.content(&document, &stored.locator, &permit).await?;
        let chunks: Vec<bytes::Bytes> = content.into_stream(&permit).try_collect().await?;
        kta_core::Result::Ok(chunks.concat())
    };
    let error = slow.await.unwrap_err();
    assert!(is_typed(&error), "{error:?}");
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    house.emulator.heal();
}
