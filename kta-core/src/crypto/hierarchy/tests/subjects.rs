use super::*;
use crate::crypto::RecordKey;
use crate::ports::key_table::FormerState;

impl Firm {
    async fn record_key(&self, keys: &Hierarchy, subject: SubjectId) -> RecordKey {
        let record = self.place(subject).record;
        keys.subject_key(subject).await.unwrap().record_key(record)
    }

    /// The person's value sealed anew, as whoever keeps the records would.
    async fn reseal(&self, keys: &Hierarchy, subject: SubjectId, sealed: &Envelope) -> Envelope {
        let key = self.record_key(keys, subject).await;
        let fresh = key.reseal(&self.place(subject), sealed, &*self.entropy);
        fresh.unwrap().expect("the former key sealed it")
    }

    /// A firm of twelve in which the key of person 5 is being rotated.
    async fn rotating(seed: u64) -> (Self, Hierarchy, Envelope) {
        let firm = Self::new(seed);
        let keys = firm.open().await.unwrap();
        keys.enroll_all(&people(12)).await.unwrap();
        let sealed = firm.seal(&keys, person(5)).await;
        keys.rotate_subjects(&[person(5)], now()).await.unwrap();
        (firm, keys, sealed)
    }
}

#[tokio::test]
async fn a_persons_key_moves_on_and_what_was_sealed_stays_readable_until_it_moved() {
    let (firm, keys, sealed) = Firm::rotating(20).await;
    let there = firm.open().await.unwrap();
    firm.opens(&keys, person(5), &sealed).await.unwrap();
    firm.opens(&there, person(5), &sealed).await.unwrap();
    assert_eq!(firm.seal(&there, person(5)).await.generation(), 2);
    let state = keys.subject_rotation(person(5)).await.unwrap().unwrap();
    assert_eq!((state.generation, state.former, state.since), (2, 1, now()));

    let fresh = firm.reseal(&keys, person(5), &sealed).await;
    let ended = keys
        .finish_subjects(&[person(5)], 0, later())
        .await
        .unwrap();
    assert_eq!(
        (ended[0].generation, ended[0].claim()),
        (1, EraseClaim::Effective)
    );
    assert_eq!(
        (ended[0].dropped.epoch_before, ended[0].dropped.epoch_after),
        (1, 2)
    );
    for keys in [&keys, &there] {
        firm.opens(keys, person(5), &fresh).await.unwrap();
        let outcome = firm.opens(keys, person(5), &sealed).await;
        assert_eq!(code(outcome), Some(Code::CryKey));
    }
    assert_eq!(keys.subject_rotation(person(5)).await, Ok(None));
    let again = keys
        .finish_subjects(&[person(5)], 0, later())
        .await
        .unwrap();
    assert_eq!(again, ended, "again: the same evidence");
    assert_eq!(keys.epoch().await.unwrap(), 2);
    let text = serde_json::to_string(&ended[0]).unwrap();
    assert_eq!(
        serde_json::from_str::<crate::crypto::GenerationEnded>(&text).unwrap(),
        ended[0]
    );
}

#[tokio::test]
async fn rotating_again_before_the_end_changes_nothing_and_after_it_begins_anew() {
    let (firm, keys, _) = Firm::rotating(21).await;
    let revision = keys.head().await.unwrap().revision;
    let again = keys.rotate_subjects(&[person(5)], later()).await.unwrap();
    assert_eq!((again[0].generation, again[0].since), (2, now()));
    assert_eq!(keys.head().await.unwrap().revision, revision);
    let first = keys
        .finish_subjects(&[person(5)], 0, later())
        .await
        .unwrap();
    let next = keys.rotate_subjects(&[person(5)], later()).await.unwrap();
    assert_eq!((next[0].generation, next[0].former), (3, 2));
    let end = later() + Hierarchy::HELD;
    let second = keys.finish_subjects(&[person(5)], 0, end).await.unwrap();
    assert_ne!(first[0].key, second[0].key);
    assert_eq!(second[0].generation, 2);
    assert_eq!(firm.kms.active().len(), 1);
}

#[tokio::test]
async fn ending_too_early_or_with_values_left_is_refused_without_effect() {
    let (firm, keys, sealed) = Firm::rotating(22).await;
    let early = later() - core::time::Duration::from_millis(1);
    for (left, at) in [(1, later()), (0, early)] {
        let outcome = keys.finish_subjects(&[person(5)], left, at).await;
        assert_eq!(kind(outcome), Some(FaultKind::Unsupported));
    }
    firm.opens(&keys, person(5), &sealed).await.unwrap();
    assert_eq!(keys.epoch().await.unwrap(), 1);
}

#[tokio::test]
async fn a_stranger_or_an_erased_person_in_a_batch_stops_it_before_any_effect() {
    let (_firm, keys, _) = Firm::rotating(23).await;
    keys.erase(&[person(6)], now()).await.unwrap();
    for (other, expected) in [(99, Code::CryKey), (6, Code::CryErased)] {
        let batch = [person(7), person(other)];
        let outcome = keys.rotate_subjects(&batch, now()).await;
        assert_eq!(code(outcome), Some(expected));
        let outcome = keys
            .finish_subjects(&[person(5), person(other)], 0, later())
            .await;
        assert_eq!(code(outcome), Some(expected));
        assert_eq!(
            code(keys.subject_rotation(person(other)).await),
            Some(expected)
        );
    }
    assert_eq!(keys.subject_rotation(person(7)).await, Ok(None));
    assert!(keys.subject_rotation(person(5)).await.unwrap().is_some());
    let never = keys.finish_subjects(&[person(7)], 0, later()).await;
    assert_eq!(code(never), Some(Code::CryKey));
}

#[tokio::test]
async fn a_former_key_goes_along_when_the_tree_above_it_turns() {
    let (firm, keys, sealed) = Firm::rotating(24).await;
    keys.rotate(now()).await.unwrap();
    firm.opens(&keys, person(5), &sealed).await.unwrap();
    // Person 4 stands beside person 5, below the same branch.
    keys.erase(&[person(4)], now()).await.unwrap();
    firm.opens(&keys, person(5), &sealed).await.unwrap();
    let fresh = firm.open().await.unwrap();
    firm.opens(&fresh, person(5), &sealed).await.unwrap();
}

#[tokio::test]
async fn many_people_end_their_former_keys_in_one_turn() {
    let firm = Firm::new(25);
    let keys = firm.open().await.unwrap();
    keys.enroll_all(&people(20)).await.unwrap();
    let rotating = keys.rotate_subjects(&people(20), now()).await.unwrap();
    assert!(
        rotating
            .iter()
            .all(|one| (one.generation, one.former) == (2, 1))
    );
    let order = [person(7), person(3), person(20)];
    let ended = keys.finish_subjects(&order, 0, later()).await.unwrap();
    assert_eq!(
        ended.iter().map(|one| one.subject).collect::<Vec<_>>(),
        order
    );
    assert_eq!(keys.epoch().await.unwrap(), 2);
    assert!(keys.subject_rotation(person(8)).await.unwrap().is_some());
}

#[tokio::test]
async fn erasing_someone_whose_key_is_being_rotated_takes_both_keys() {
    let (firm, keys, sealed) = Firm::rotating(26).await;
    let fresh = firm.reseal(&keys, person(5), &sealed).await;
    let backup = firm.table.copied();
    let held = keys.subject_key(person(5)).await.unwrap();
    let evidence = keys.erase(&[person(5)], now()).await.unwrap();
    assert_eq!(evidence[0].claim(), EraseClaim::Effective);
    assert_eq!(evidence[0].key, held.fingerprint());
    assert_eq!(
        evidence[0].former,
        held.former().map(SubjectKey::fingerprint)
    );
    assert!(evidence[0].former.is_some());
    for sealed in [&sealed, &fresh] {
        let outcome = firm.opens(&keys, person(5), sealed).await;
        assert_eq!(code(outcome), Some(Code::CryErased));
    }
    let restored = firm
        .open_on(Arc::new(firm.kms.clone()), Arc::new(backup))
        .await;
    assert_eq!(kind(restored), Some(FaultKind::Corrupt));
    let finish = keys.finish_subjects(&[person(5)], 0, later()).await;
    assert_eq!(code(finish), Some(Code::CryErased));
}

/// As for a person: neither the table as it was, nor its rows beside the keys of today, bring a
/// generation back that has ended.
#[tokio::test]
async fn a_backup_of_the_key_table_cannot_bring_an_ended_generation_back() {
    let (firm, keys, _) = Firm::rotating(27).await;
    let backup = firm.table.copied();
    let wanted = [Wanted::Subject(person(5))];
    let then = backup.read(firm.tenant, &wanted).await.unwrap();
    keys.finish_subjects(&[person(5)], 0, later())
        .await
        .unwrap();
    let restored = firm
        .open_on(Arc::new(firm.kms.clone()), Arc::new(backup))
        .await;
    assert_eq!(kind(restored), Some(FaultKind::Corrupt));

    let now = firm.table.read(firm.tenant, &wanted).await.unwrap();
    let (old, new) = (&then.subjects[&person(5)], &now.subjects[&person(5)]);
    let dropped = new.former.as_ref().map(|former| &former.state);
    assert!(matches!(dropped, Some(FormerState::Dropped(_))));
    let head = keys.head().await.unwrap();
    let branch = keys.branch_key(&head, &now, new.slot).await.unwrap();
    assert!(tree::open_leaf(firm.tenant, &branch, new).is_ok());
    assert!(tree::open_former(firm.tenant, &branch, old).is_err());
    let (_, wrapped) = old.kept().unwrap();
    let shown = format!("{:?}", now);
    assert!(shown.contains("WrappedKey(98 bytes)"), "{shown}");
    assert_ne!(&new.wrapped, wrapped);
}

#[tokio::test]
async fn a_declared_copy_makes_the_end_of_a_generation_prove_nothing() {
    let (_firm, keys, _) = Firm::rotating(28).await;
    let copy = KeyCopy {
        of: CopiedKey::Subject(person(5)),
        epoch: None,
        holder: crate::audit::Label::fixed("escrow"),
        since: now(),
        destroyed: None,
    };
    keys.declare_copy(copy).await.unwrap();
    let ended = keys
        .finish_subjects(&[person(5)], 0, later())
        .await
        .unwrap();
    assert_eq!(ended[0].proven(), Err(Code::DstCeInvalid));
}
