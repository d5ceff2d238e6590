use super::*;

/// The promise of the room: neither the table as it was before, nor the records, nor the
/// custodian as it is after, together open an erased person; everybody else opens.
#[tokio::test]
async fn a_backup_of_the_key_table_cannot_bring_an_erased_person_back() {
    let firm = Firm::new(4);
    let keys = firm.open().await.unwrap();
    keys.enroll_all(&people(12)).await.unwrap();
    let mut sealed = Vec::new();
    for subject in people(12) {
        sealed.push((subject, firm.seal(&keys, subject).await));
    }
    let backup = firm.table.copied();
    let held = keys.subject_key(person(5)).await.unwrap();

    let evidence = keys.erase(&[person(5)], now()).await.unwrap();
    assert_eq!(evidence[0].claim(), EraseClaim::Effective);
    assert_eq!(evidence[0].key, held.fingerprint());

    // With the table as it is: refused as a lawful state; nobody else is touched.
    for fresh in [keys, firm.open().await.unwrap()] {
        for (subject, sealed) in &sealed {
            let outcome = firm.opens(&fresh, *subject, sealed).await;
            if *subject == person(5) {
                assert_eq!(code(outcome), Some(Code::CryErased));
            } else {
                outcome.unwrap();
            }
        }
        assert_eq!(code(fresh.enroll(person(5)).await), Some(Code::CryErased));
    }

    // With the backup put back: it does not even open.
    let restored = firm
        .open_on(Arc::new(firm.kms.clone()), Arc::new(backup.clone()))
        .await;
    assert_eq!(kind(restored), Some(FaultKind::Corrupt));

    // With single rows of the backup put beside the keys of today: the person's wrapped key
    // under the branch key of then, the branch key of then under everything above it of today.
    let then = backup
        .read(firm.tenant, &[Wanted::Subject(person(5))])
        .await
        .unwrap();
    let today = firm.open().await.unwrap();
    let head = today.head().await.unwrap();
    let neighbours = firm
        .table
        .read(firm.tenant, &[Wanted::Subject(person(4))])
        .await
        .unwrap();
    let row = &then.subjects[&person(5)];
    let low = NodeId::above(row.slot, head.fan_out)[1];
    assert_eq!(
        neighbours.nodes.keys().last(),
        Some(&low),
        "person 4 stands beside person 5"
    );
    let slot = neighbours.subjects[&person(4)].slot;
    let branch = today.branch_key(&head, &neighbours, slot).await.unwrap();
    assert!(tree::open_leaf(firm.tenant, &branch, row).is_err());
    for (node, old) in &then.nodes {
        let above = match node.level {
            1 => today.epoch_key(&head.epoch).await.unwrap(),
            _ => {
                let epoch = today.epoch_key(&head.epoch).await.unwrap();
                let top = NodeId::above(slot, head.fan_out)[0];
                let row = &neighbours.nodes[&top];
                Arc::new(Prk::extract(
                    &tree::open_node(firm.tenant, &epoch, row).unwrap(),
                ))
            }
        };
        assert!(tree::open_node(firm.tenant, &above, old).is_err());
    }
    // And the custodian gives the epoch key of then to nobody.
    let old_epoch = then.head.unwrap().epoch;
    let context = Place::Epoch(old_epoch.number).context(firm.tenant);
    let answer = firm
        .kms
        .unwrap(&old_epoch.kek, &old_epoch.wrapped, &context)
        .await;
    assert_eq!(code(answer), Some(Code::CryErased));
}

#[tokio::test]
async fn no_wrapped_key_of_an_erased_person_or_its_branches_is_left_in_the_table() {
    let firm = Firm::new(5);
    let keys = firm.open().await.unwrap();
    keys.enroll_all(&people(12)).await.unwrap();
    let wanted = [Wanted::Subject(person(5))];
    let then = firm.table.read(firm.tenant, &wanted).await.unwrap();
    keys.erase(&[person(5)], now()).await.unwrap();
    let now = format!("{:?}", firm.table);
    assert!(
        now.contains("WrappedKey(98 bytes)"),
        "Debug shows no bytes, so look at them"
    );
    let everything: Vec<_> = (0..3)
        .flat_map(|level| (0..9).map(move |index| Wanted::Children(NodeId { level, index })))
        .collect();
    let rows = firm.table.read(firm.tenant, &everything).await.unwrap();
    assert_eq!(rows.subjects.len(), 11);
    let old: Vec<&WrappedKey> = then
        .nodes
        .values()
        .map(|row| &row.wrapped)
        .chain(then.subjects.values().map(|row| &row.wrapped))
        .collect();
    assert_eq!(old.len(), 3);
    let left = rows.nodes.values().map(|row| &row.wrapped);
    let left = left.chain(rows.subjects.values().map(|row| &row.wrapped));
    assert!(!left.into_iter().any(|wrapped| old.contains(&wrapped)));
}

#[tokio::test]
async fn many_people_share_one_turn_of_the_epoch() {
    let firm = Firm::new(6);
    let keys = firm.open().await.unwrap();
    keys.enroll_all(&people(20)).await.unwrap();
    let family = [person(2), person(3), person(17), person(2)];
    let evidence = keys.erase(&family, now()).await.unwrap();
    assert_eq!(
        evidence.iter().map(|one| one.subject).collect::<Vec<_>>(),
        family
    );
    assert!(
        evidence
            .iter()
            .all(|one| (one.epoch_before, one.epoch_after) == (1, 2))
    );
    assert_eq!(keys.head().await.unwrap().epoch.number, 2);
    assert_eq!(
        keys.erase(&family, now()).await.unwrap(),
        evidence,
        "again: the same evidence"
    );
    assert_eq!(keys.head().await.unwrap().epoch.number, 2);
    assert_eq!(firm.kms.active().len(), 1);
}

#[tokio::test]
async fn a_stranger_in_a_batch_stops_it_before_any_effect() {
    let firm = Firm::new(7);
    let keys = firm.open().await.unwrap();
    keys.enroll(person(1)).await.unwrap();
    assert_eq!(
        code(keys.erase(&[person(1), person(9)], now()).await),
        Some(Code::CryKey)
    );
    assert!(keys.subject_key(person(1)).await.is_ok());
    assert_eq!(keys.head().await.unwrap().epoch.number, 1);
}

#[tokio::test]
async fn another_process_sees_an_erasure_at_once() {
    let firm = Firm::new(8);
    let (here, there) = (firm.open().await.unwrap(), firm.open().await.unwrap());
    here.enroll_all(&people(5)).await.unwrap();
    assert!(
        there.subject_key(person(1)).await.is_ok(),
        "and its cache is warm"
    );
    here.erase(&[person(1)], now()).await.unwrap();
    assert_eq!(
        code(there.subject_key(person(1)).await),
        Some(Code::CryErased)
    );
    assert!(there.subject_key(person(2)).await.is_ok());
    there.enroll(person(6)).await.unwrap();
    assert_eq!(
        here.subject_key(person(6)).await.unwrap().fingerprint(),
        there.subject_key(person(6)).await.unwrap().fingerprint()
    );
}

#[tokio::test]
async fn a_declared_copy_makes_the_evidence_prove_nothing_until_it_is_destroyed() {
    let firm = Firm::new(9);
    let keys = firm.open().await.unwrap();
    keys.enroll_all(&people(3)).await.unwrap();
    let mut copy = KeyCopy {
        of: CopiedKey::Subject(person(1)),
        epoch: None,
        holder: crate::audit::Label::fixed("escrow"),
        since: now(),
        destroyed: None,
    };
    keys.declare_copy(copy.clone()).await.unwrap();
    let evidence = keys.erase(&[person(1), person(2)], now()).await.unwrap();
    assert_eq!(evidence[0].proven(), Err(Code::DstCeInvalid));
    assert_eq!(evidence[1].proven(), Ok(()));
    copy.destroyed = Some(now());
    keys.declare_copy(copy).await.unwrap();
    assert_eq!(
        keys.erase(&[person(1)], now()).await.unwrap()[0].proven(),
        Ok(())
    );

    let kek = keys.head().await.unwrap().epoch.kek;
    let copy = KeyCopy {
        of: CopiedKey::Epoch(kek),
        epoch: None,
        holder: crate::audit::Label::fixed("recovery-share"),
        since: now(),
        destroyed: None,
    };
    keys.declare_copy(copy).await.unwrap();
    let evidence = keys.erase(&[person(3)], now()).await.unwrap();
    assert_eq!(evidence[0].claim(), EraseClaim::Invalid);
}

/// What was answered counts, not what is asked next: nobody asks anything between the erasure and
/// the look.
#[tokio::test]
async fn an_erasure_that_somebody_else_did_leaves_no_kept_key_when_it_is_answered() {
    let firm = Firm::new(78);
    let (here, there) = (firm.open().await.unwrap(), firm.open().await.unwrap());
    here.enroll_all(&people(4)).await.unwrap();
    let kept = here.kept_key(person(2)).await.unwrap();
    let epoch = {
        let head = here.head().await.unwrap();
        here.epoch_key(&head.epoch).await.unwrap()
    };
    let holders = || (Arc::strong_count(&kept), Arc::strong_count(&epoch));
    assert_eq!(holders(), (2, 2));
    there.erase(&[person(2)], now()).await.unwrap();
    assert_eq!(holders(), (2, 2), "nobody told it yet");
    here.erase(&[person(2)], now()).await.unwrap();
    assert_eq!(holders(), (1, 1));
}

#[tokio::test]
async fn a_call_under_way_does_not_keep_the_key_of_a_former_epoch() {
    let firm = Firm::new(79);
    let keys = firm.open().await.unwrap();
    keys.enroll_all(&people(4)).await.unwrap();
    let wanted = [Wanted::Subject(person(2))];
    let (head, rows) = keys.rows(&wanted).await.unwrap();
    let slot = rows.subjects[&person(2)].slot;
    keys.rotate(now()).await.unwrap();
    // What the custodian answered a moment before it destroyed the KEK.
    let other = Arc::new(crate::crypto::derive::Prk::extract(&SecretKey::from_bytes(
        [7; 32],
    )));
    keys.cached().keep(&head.epoch, &other);
    keys.cached()
        .keep_node(&head.epoch, &rows.nodes[&NodeId::above(slot, 3)[0]], &other);
    assert_eq!(Arc::strong_count(&other), 1);
}

#[tokio::test]
async fn a_kept_key_ends_with_its_person_wherever_the_erasure_is_done() {
    let firm = Firm::new(77);
    let (here, there) = (firm.open().await.unwrap(), firm.open().await.unwrap());
    here.enroll_all(&people(4)).await.unwrap();
    for keys in [&here, &there] {
        for subject in people(4) {
            let kept = keys.kept_key(subject).await.unwrap();
            assert!(std::sync::Arc::ptr_eq(
                &kept,
                &keys.kept_key(subject).await.unwrap()
            ));
            let read = keys.subject_key(subject).await.unwrap();
            assert_eq!(kept.fingerprint(), read.fingerprint());
        }
    }
    let held = there.kept_key(person(2)).await.unwrap();
    here.erase(&[person(2)], now()).await.unwrap();
    for keys in [&here, &there] {
        let gone = keys.kept_key(person(2)).await.map(|_| ());
        assert_eq!(code(gone), Some(Code::CryErased));
        assert!(keys.kept_key(person(1)).await.is_ok());
    }
    assert_eq!(
        std::sync::Arc::strong_count(&held),
        1,
        "wiped where it was kept"
    );
}
