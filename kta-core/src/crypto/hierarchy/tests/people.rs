use super::*;

#[tokio::test]
async fn enrolling_twice_changes_nothing() {
    let firm = Firm::new(1);
    let keys = firm.open().await.unwrap();
    keys.enroll(person(1)).await.unwrap();
    let first = keys.subject_key(person(1)).await.unwrap().fingerprint();
    let revision = keys.head().await.unwrap().revision;
    keys.enroll_all(&[person(1), person(1)]).await.unwrap();
    assert_eq!(keys.head().await.unwrap().revision, revision);
    assert_eq!(
        keys.subject_key(person(1)).await.unwrap().fingerprint(),
        first
    );
    assert_eq!(
        firm.open()
            .await
            .unwrap()
            .subject_key(person(1))
            .await
            .unwrap()
            .fingerprint(),
        first
    );
}

#[tokio::test]
async fn every_person_has_a_key_of_its_own_and_a_stranger_none() {
    let firm = Firm::new(2);
    let keys = firm.open().await.unwrap();
    keys.enroll_all(&people(20)).await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for subject in people(20) {
        assert!(seen.insert(keys.subject_key(subject).await.unwrap().fingerprint()));
    }
    assert_eq!(code(keys.subject_key(person(99)).await), Some(Code::CryKey));
}

#[tokio::test]
async fn a_full_tree_says_so_and_changes_nothing() {
    let firm = Firm::new(3);
    let keys = firm.open().await.unwrap();
    keys.enroll_all(&people(27)).await.unwrap();
    assert_eq!(
        kind(keys.enroll(person(28)).await),
        Some(FaultKind::Unsupported)
    );
    assert_eq!(code(keys.subject_key(person(28)).await), Some(Code::CryKey));
}

#[tokio::test]
async fn rows_exchanged_between_people_are_found() {
    let firm = Firm::new(12);
    let keys = firm.open().await.unwrap();
    keys.enroll_all(&people(3)).await.unwrap();
    let wanted = [Wanted::Subject(person(1)), Wanted::Subject(person(2))];
    let rows = firm.table.read(firm.tenant, &wanted).await.unwrap();
    let head = rows.head.unwrap();
    let (one, two) = (&rows.subjects[&person(1)], &rows.subjects[&person(2)]);
    let mut change = KeyChange::of(firm.tenant, Some(head.revision), head);
    let forged = WrappedKey::clone(&two.wrapped);
    change.subjects.push(crate::ports::key_table::SubjectRow {
        wrapped: forged,
        ..one.clone()
    });
    firm.table.commit(change).await.unwrap();
    assert_eq!(
        kind(keys.subject_key(person(1)).await),
        Some(FaultKind::Corrupt)
    );
    assert!(keys.subject_key(person(2)).await.is_ok());
}

#[tokio::test]
async fn errors_and_debug_hold_no_key() {
    let firm = Firm::new(13);
    let keys = firm.open().await.unwrap();
    keys.enroll(person(1)).await.unwrap();
    let shown = format!(
        "{keys:?} {:?} {:?} {:?}",
        firm.kms,
        firm.table,
        keys.head().await.unwrap()
    );
    assert!(shown.contains("WrappedKey(98 bytes)") && !shown.contains("SecretBox"));
}

/// Work on any runtime: the futures may move between threads.
#[test]
fn the_futures_are_send() {
    fn assert_send<T: Send>(_: &T) {}
    fn check(keys: &Hierarchy) {
        assert_send(&keys.enroll(person(1)));
        assert_send(&keys.subject_key(person(1)));
        assert_send(&keys.index_key());
        assert_send(&keys.erase(&[], now()));
        assert_send(&keys.rotate(now()));
        assert_send(&keys.retire_index(1, now()));
        assert_send(&keys.rotate_subjects(&[], now()));
        assert_send(&keys.finish_subjects(&[], 0, now()));
    }
    let _ = check;
}
