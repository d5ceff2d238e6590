//! What is left of keys in the process after the work with them, and in its next life.

use std::collections::HashSet;

use super::*;
use crate::crypto::derive::FIELD;
use crate::crypto::testing::Masked;

/// The whole of the process's own memory is looked through for the person's key: while somebody
/// holds it, it is found; after the erasure it is not. What such a look cannot show is said at
/// [`Masked::found`].
#[tokio::test]
async fn an_erased_persons_key_is_nowhere_in_the_memory_of_the_process() {
    let firm = Firm::new(4_711);
    let keys = firm.open().await.unwrap();
    keys.enroll_all(&people(5)).await.unwrap();
    let sealed = firm.seal(&keys, person(5)).await;
    let wanted = [Wanted::Subject(person(5))];
    let rows = firm.table.read(firm.tenant, &wanted).await.unwrap();
    let row = &rows.subjects[&person(5)];
    let branch = keys.branch_key(rows.head.as_ref().unwrap(), &rows, row.slot);
    let branch = branch.await.unwrap();
    let held = tree::open_leaf(firm.tenant, &branch, row).unwrap();
    let wanted = Masked::of(held.expose());
    let Some(while_held) = wanted.found() else {
        println!("skipped: this system does not let a process read its own memory as a file");
        return;
    };
    assert!(while_held >= 2, "both halves of what is held: {while_held}");
    drop(held);
    drop(branch);
    firm.opens(&keys, person(5), &sealed).await.unwrap();
    drop(keys.kept_key(person(5)).await.unwrap());
    keys.erase(&[person(5)], now()).await.unwrap();
    assert_eq!(wanted.found(), Some(0));
}

/// All durable state is the key table and the custodian. Two machines start from one copy of the
/// table, each with the random source of its own system.
#[tokio::test]
async fn a_snapshot_restored_twice_and_written_to_again_repeats_no_key_and_nonce() {
    let firm = Firm::new(40);
    let keys = firm.open().await.unwrap();
    keys.enroll_all(&people(3)).await.unwrap();
    let (mut pairs, mut nonces) = (HashSet::new(), HashSet::new());
    for seed in [41, 42] {
        let machine = Firm {
            tenant: firm.tenant,
            kms: firm.kms.clone(),
            table: firm.table.copied(),
            entropy: Arc::new(Counted::new(seed)),
        };
        let keys = machine.open().await.unwrap();
        for subject in people(3) {
            let place = machine.place(subject);
            let key = keys.subject_key(subject).await.unwrap();
            let key = key.record_key(place.record);
            for _ in 0..100 {
                let sealed = key.seal(&place, b"the same value", &*machine.entropy);
                let sealed = sealed.unwrap().into_bytes();
                let nonce: [u8; 12] = sealed[6..18].try_into().unwrap();
                assert!(
                    pairs.insert((*key.prk.expand(&[FIELD.key]), nonce)),
                    "a field"
                );
            }
        }
        // A new person takes the same place in the same tree on both.
        keys.enroll(person(9)).await.unwrap();
        let wanted = [Wanted::Subject(person(9))];
        let rows = machine.table.read(machine.tenant, &wanted).await.unwrap();
        let row = &rows.subjects[&person(9)];
        assert!(
            nonces.insert(row.wrapped.as_bytes()[6..18].to_vec()),
            "a wrapped key"
        );
        for row in rows.nodes.values().filter(|row| row.node.index > 0) {
            assert!(
                nonces.insert(row.wrapped.as_bytes()[6..18].to_vec()),
                "a branch key"
            );
        }
    }
    assert_eq!(pairs.len(), 600);
}
