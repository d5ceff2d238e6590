use super::*;

#[tokio::test]
async fn index_keys_survive_turns_and_end_when_retired() {
    let firm = Firm::new(10);
    let keys = firm.open().await.unwrap();
    keys.enroll(person(1)).await.unwrap();
    let plan = IndexPlan::new("email", 1 << 40, 1 << 40).unwrap();
    let value = Normal::email("testa@example.org").unwrap();
    let first = keys.index_key().await.unwrap().tag(&plan, &value);
    keys.erase(&[person(1)], now()).await.unwrap();
    keys.rotate(now()).await.unwrap();
    assert_eq!(keys.index_key().await.unwrap().tag(&plan, &value), first);

    assert_eq!(keys.rotate_index().await.unwrap(), 2);
    let second = keys.index_key().await.unwrap();
    assert_eq!(second.epoch(), 2);
    assert_ne!(
        second.tag(&plan, &value).as_bytes()[5..],
        first.as_bytes()[5..]
    );
    assert_eq!(
        keys.index_key_of(1).await.unwrap().tag(&plan, &value),
        first
    );
    assert_eq!(
        kind(keys.retire_index(2, now()).await),
        Some(FaultKind::Unsupported)
    );
    keys.retire_index(1, now()).await.unwrap();
    assert_eq!(code(keys.index_key_of(1).await), Some(Code::CryKey));
    assert_eq!(keys.index_epochs().await.unwrap(), [2]);
    let before = keys.epoch().await.unwrap();
    keys.retire_index(1, now()).await.unwrap();
    assert_eq!(keys.epoch().await.unwrap(), before, "it is gone already");
    assert_eq!(code(keys.retire_index(3, now()).await), Some(Code::CryKey));
    assert!(keys.index_key_of(2).await.is_ok());
}

#[tokio::test]
async fn the_key_of_marks_is_apart_and_never_changes() {
    let firm = Firm::new(16);
    let keys = firm.open().await.unwrap();
    keys.enroll(person(1)).await.unwrap();
    let value = Normal::email("testa@example.org").unwrap();
    let mark = keys.mark_key().await.unwrap().mark("email", &value);
    assert_ne!(keys.index_key().await.unwrap().mark("email", &value), mark);
    assert_eq!(code(keys.index_key_of(0).await), Some(Code::CryKey));
    assert_eq!(code(keys.retire_index(0, now()).await), Some(Code::CryKey));
    keys.erase(&[person(1)], now()).await.unwrap();
    keys.rotate_index().await.unwrap();
    keys.retire_index(1, now()).await.unwrap();
    assert_eq!(keys.mark_key().await.unwrap().mark("email", &value), mark);
}

#[tokio::test]
async fn an_index_key_keeps_the_plan_it_was_made_for() {
    let firm = Firm::new(18);
    let keys = firm.open().await.unwrap();
    let bits = |key: &crate::crypto::IndexKey| {
        let plan = IndexPlan::new("email", 1 << 40, key.rows()).unwrap();
        key.tag(&plan, &Normal::email("testa@example.org").unwrap())
            .as_bytes()[4]
    };
    assert_eq!(bits(&keys.index_key().await.unwrap()), 15);
    for _ in 0..2 {
        // Whoever says it twice has one.
        assert_eq!(keys.plan_index(1 << 20).await.unwrap(), 2);
    }
    keys.enroll(person(1)).await.unwrap();
    keys.rotate(now()).await.unwrap();
    let keys = firm.open().await.unwrap();
    assert_eq!(bits(&keys.index_key().await.unwrap()), 19);
    assert_eq!(bits(&keys.index_key_of(1).await.unwrap()), 15);
    assert_eq!(keys.rotate_index().await.unwrap(), 3);
    assert_eq!(bits(&keys.index_key().await.unwrap()), 19);
    assert_eq!(
        kind(keys.plan_index(3).await),
        Some(FaultKind::Misconfigured)
    );
    assert_eq!(keys.index_epochs().await.unwrap(), [1, 2, 3]);
}

#[tokio::test]
async fn a_job_that_runs_twice_makes_one_index_key() {
    let firm = Firm::new(17);
    let keys = firm.open().await.unwrap();
    assert_eq!(keys.rotate_index_past(1).await.unwrap(), 2);
    assert_eq!(keys.rotate_index_past(1).await.unwrap(), 2);
    assert_eq!(keys.index_epochs().await.unwrap(), [1, 2]);
}
