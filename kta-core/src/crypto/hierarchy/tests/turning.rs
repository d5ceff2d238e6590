use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

#[tokio::test]
async fn a_rotated_epoch_changes_nobodys_key() {
    let firm = Firm::new(11);
    let keys = firm.open().await.unwrap();
    keys.enroll_all(&people(9)).await.unwrap();
    let sealed = firm.seal(&keys, person(9)).await;
    keys.rotate(now()).await.unwrap();
    firm.opens(&keys, person(9), &sealed).await.unwrap();
    assert_eq!(keys.head().await.unwrap().epoch.number, 2);
    assert_eq!(firm.kms.active().len(), 1);
}

#[tokio::test]
async fn a_job_that_runs_twice_turns_the_epoch_once() {
    let firm = Firm::new(18);
    let keys = firm.open().await.unwrap();
    keys.enroll_all(&people(9)).await.unwrap();
    let turned = keys.rotate_past(1, now()).await.unwrap();
    // Three branches below the root, at a fan-out of 3 one of them is used; two index keys.
    assert_eq!((turned.epoch, turned.rewrapped), (2, 3));
    let again = keys.rotate_past(1, now()).await.unwrap();
    assert_eq!((again.epoch, again.rewrapped), (2, 0));
    assert_eq!(firm.kms.active().len(), 1);
}

/// Readers in threads of their own, with caches of their own, while everything turns that can.
#[test]
fn people_open_while_every_kind_of_key_turns() {
    let firm = Firm::new(19);
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    };
    let all = people(12);
    let work = runtime();
    let keys = work.block_on(firm.open()).unwrap();
    work.block_on(keys.enroll_all(&all)).unwrap();
    let sealed: Vec<_> = all
        .iter()
        .map(|subject| (*subject, work.block_on(firm.seal(&keys, *subject))))
        .collect();
    let (over, opened) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                let runtime = runtime();
                let keys = runtime.block_on(firm.open()).unwrap();
                while !over.load(Ordering::Relaxed) {
                    for (subject, sealed) in &sealed {
                        runtime
                            .block_on(firm.opens(&keys, *subject, sealed))
                            .unwrap();
                        opened.fetch_add(1, Ordering::Relaxed);
                    }
                    runtime.block_on(keys.index_key()).unwrap();
                }
            });
        }
        // A thread that panics must not leave the others running.
        let turned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            work.block_on(async {
                keys.rotate_subjects(&all, now()).await.unwrap();
                for round in 1..=20 {
                    keys.rotate(now()).await.unwrap();
                    let index = keys.rotate_index().await.unwrap();
                    keys.retire_index(index - 1, now()).await.unwrap();
                    keys.rotate_subjects(&all[..3], now()).await.unwrap();
                    // Not before the readers have had a turn.
                    while opened.load(Ordering::Relaxed) < round * 24 {
                        std::thread::yield_now();
                    }
                }
            });
        }));
        over.store(true, Ordering::Relaxed);
        turned.unwrap();
    });
    assert_eq!(work.block_on(keys.epoch()).unwrap(), 41);
    assert_eq!(firm.kms.active().len(), 1);
}
