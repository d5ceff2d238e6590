//! No room, and no writing.

use std::process::Command;

use kta_core::FaultKind;
use kta_core::conformance::Desk;
use kta_core::pii::Category;
use kta_core::policy::{Act, Purpose, Role};
use kta_core::ports::{Ledger as _, Store as _};
use kta_storage::{AnchorFile, SqliteStore};

use crate::common;
use crate::tools::{
    FILE, apart, append, fault, fill, gate, is_apart, mount, names, put, record, rows, text, umount,
};

#[test]
fn on_a_full_disk_nothing_is_half_written_and_no_permit_is_given() {
    apart("room::in_a_disk_of_three_megabytes", &[]);
}

#[tokio::test]
#[ignore = "the test above runs it in a namespace of its own"]
async fn in_a_disk_of_three_megabytes() {
    if !is_apart() {
        return;
    }
    let disk = common::folder("full-disk");
    mount(&["-t", "tmpfs", "-o", "size=3m", "none", text(&disk)]);
    let store = SqliteStore::open(disk.join("firm.db")).unwrap();
    fill(&store, 20).await;
    // Something else takes the room.
    let others = disk.join("others");
    while append(&others, &[7; 4096]).is_ok() {}

    let rows = rows();
    let mut kept = 20;
    let full = loop {
        match put(&store, kept + 1).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 200, "the disk never fills");
    };
    let fault = fault(full);
    assert_eq!(
        (fault.kind(), fault.detail()),
        (FaultKind::Unavailable, Some("the disk is full"))
    );
    // It stops safe: what is there is read, nothing is permitted that cannot be logged.
    assert_eq!(store.size(rows.tenant).await.unwrap(), u64::from(kept));
    assert_eq!(
        store.record(&rows.key(1, kept)).await.unwrap(),
        Some(record(kept))
    );
    assert!(
        store
            .record(&rows.key(1, kept + 1))
            .await
            .unwrap()
            .is_none()
    );
    let (gate, desk) = (gate(&store), Desk::of(rows.tenant));
    let actor = desk.actor(Role::Paralegal);
    let session = gate.session(actor, Role::Paralegal, Purpose::Representation);
    let scope = || desk.scope(desk.beneficiary(), Category::Identity);
    for _ in 0..3 {
        assert!(session.permit(Act::Open, scope()).await.is_err());
    }
    assert_eq!(store.size(rows.tenant).await.unwrap(), u64::from(kept));
    let copy = disk.join("copy.db");
    let error = store.back_up(&copy).await.unwrap_err();
    assert_eq!(self::fault(error).detail(), Some("the disk is full"));
    let copies = names(&disk)
        .into_iter()
        .filter(|name| name.starts_with("copy"));
    assert_eq!(copies.count(), 0, "no half copy");
    let anchor = AnchorFile::at(disk.join("firm.anchor"));
    let log = anchor
        .open_log(&store, rows.tenant, "full.example", None)
        .await
        .unwrap();
    // Filled up to the last byte, so that not even an anchor fits.
    while append(&others, &[7]).is_ok() {}
    let outcome = anchor.advance(log.anchor());
    assert!(outcome.is_err() || anchor.known().unwrap() == Some(log.anchor()));

    // Room again: the same handle goes on.
    std::fs::remove_file(&others).unwrap();
    put(&store, kept + 1).await.unwrap();
    let _logged = session.permit(Act::Open, scope()).await.unwrap();
    store.back_up(&copy).await.unwrap();
    anchor.advance(log.anchor()).unwrap();
    store.check().await.unwrap();
    drop(store);
    let store = SqliteStore::open(disk.join("firm.db")).unwrap();
    assert_eq!(store.size(rows.tenant).await.unwrap(), u64::from(kept) + 2);
}

#[tokio::test]
async fn a_disk_that_fails_in_the_middle_of_a_write_loses_nothing_acknowledged() {
    // Beyond this length of a file writes fail, as they do on a disk that breaks.
    for blocks in [1250, 1450, 2600] {
        let file = common::folder("limit").join("firm.db");
        let limit = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        let output = Command::new("sh")
            .args(["-c", &limit, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args([
                "room::in_a_file_that_may_not_grow",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env(FILE, &file)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{told}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let number = |what: &str| -> u8 {
            let rest = told.split_once(what).unwrap().1;
            rest.split_whitespace().next().unwrap().parse().unwrap()
        };
        let (kept, unknown) = (number("kept "), number("unknown "));
        assert!(kept > 3, "{told}");
        let store = SqliteStore::open(&file).unwrap();
        store.check().await.unwrap();
        let size = store.size(rows().tenant).await.unwrap();
        assert!(
            (u64::from(kept)..=u64::from(kept + unknown)).contains(&size),
            "{size}: {told}"
        );
        for number in 1..=kept {
            assert!(
                store
                    .record(&rows().key(1, number))
                    .await
                    .unwrap()
                    .is_some()
            );
        }
    }
}

#[tokio::test]
#[ignore = "the test above runs it under a limit"]
async fn in_a_file_that_may_not_grow() {
    let Ok(file) = std::env::var(FILE) else {
        return;
    };
    let store = SqliteStore::open(file).unwrap();
    let (mut kept, mut failed, mut unknown) = (0, 0, 0);
    while failed < 5 {
        assert!(kept < 200, "the limit does not bind");
        // The store may say that it wants to be opened again; it never says what is not so.
        match put(&store, kept + 1).await {
            Ok(()) => {
                assert_eq!(failed, 0, "numbers are taken in order");
                kept += 1;
            }
            Err(error) => {
                let fault = fault(error);
                unknown += u8::from(fault.kind() == FaultKind::OutcomeUnknown);
                assert!(
                    matches!(
                        fault.kind(),
                        FaultKind::Unavailable | FaultKind::OutcomeUnknown
                    ),
                    "{fault}"
                );
                failed += 1;
            }
        }
    }
    println!("kept {kept} unknown {unknown} .");
}

#[test]
fn a_store_that_cannot_be_written_is_refused_and_left_as_it_was() {
    apart("room::in_a_disk_that_becomes_read_only", &[]);
}

#[tokio::test]
#[ignore = "the test above runs it in a namespace of its own"]
async fn in_a_disk_that_becomes_read_only() {
    if !is_apart() {
        return;
    }
    let disk = common::folder("read-only");
    mount(&["-t", "tmpfs", "-o", "size=8m", "none", text(&disk)]);
    let file = disk.join("firm.db");
    let store = SqliteStore::open(&file).unwrap();
    fill(&store, 5).await;
    let anchor = AnchorFile::at(disk.join("firm.anchor"));
    let log = anchor
        .open_log(&store, rows().tenant, "ro.example", None)
        .await
        .unwrap();
    drop(store);
    let before = std::fs::read(&file).unwrap();

    // The whole disk.
    mount(&["-o", "remount,bind,ro", text(&disk)]);
    let error = SqliteStore::open(&file).unwrap_err();
    assert_eq!(fault(error).kind(), FaultKind::Misconfigured);
    assert!(anchor.advance(log.anchor()).is_err());
    let error = SqliteStore::open(disk.join("other.db")).unwrap_err();
    assert_eq!(fault(error).kind(), FaultKind::Misconfigured);
    mount(&["-o", "remount,bind,rw", text(&disk)]);

    // The file alone.
    mount(&["--bind", text(&file), text(&file)]);
    mount(&["-o", "remount,bind,ro", text(&file)]);
    let error = SqliteStore::open(&file).unwrap_err();
    assert_eq!(fault(error).kind(), FaultKind::Misconfigured);
    umount(&file);

    assert_eq!(std::fs::read(&file).unwrap(), before);
    let store = SqliteStore::open(&file).unwrap();
    assert_eq!(store.size(rows().tenant).await.unwrap(), 5);
    put(&store, 6).await.unwrap();
}
