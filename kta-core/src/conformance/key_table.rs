//! The kit of [`KeyTable`].

use super::{cancelled, code, fault};
use crate::audit::Label;
use crate::id::{Digest, SubjectId, TenantId};
use crate::ports::key_table::{
    CopiedKey, EpochRow, FormerDropped, FormerKey, FormerState, IndexKeyRow, KekWaiting, KeyChange,
    KeyCopy, KeyHead, KeyRows, KeyTable, NodeId, NodeRow, SubjectRow, Tombstone, Wanted,
};
use crate::ports::kms::{KekDestroyed, KekDestruction, KekId, WrappedKey};
use crate::time::Timestamp;
use crate::{Code, FaultKind};

conformance_cases! {$
    /// The contract of [`KeyTable`](crate::ports::key_table::KeyTable) as tests: see
    /// [`conformance`](crate::conformance).
    key_table_conformance = key_table:
    an_unknown_tenant_has_nothing,
    what_was_committed_is_read,
    a_commit_replaces_rows_of_the_same_place,
    the_revision_grows_by_one_with_each_commit,
    a_stale_revision_is_a_conflict_without_effect,
    a_tenant_is_founded_once,
    of_concurrent_commits_one_wins,
    a_subject_comes_with_the_branches_above_it,
    children_are_exactly_those_of_the_node,
    tenants_are_kept_apart,
    a_tombstone_removes_the_row_and_stays,
    an_erased_person_gets_no_row_again,
    a_former_key_is_kept_then_dropped_and_goes_with_the_person,
    evidence_reaches_every_tombstone_of_its_kek,
    copies_are_listed_and_updated,
    a_cancelled_commit_is_whole_or_nothing,
    debug_holds_no_wrapped_bytes,
}

/// An unknown tenant reads as no head and no rows.
pub async fn an_unknown_tenant_has_nothing(port: &dyn KeyTable) {
    let wanted = [Wanted::Subject(person(1)), Wanted::Children(NodeId::ROOT)];
    assert_eq!(
        port.read(TENANT, &wanted).await.unwrap(),
        KeyRows::default()
    );
    assert_eq!(port.copies(TENANT).await.unwrap(), []);
    assert_eq!(port.revision(TENANT).await.unwrap(), None);
}

/// What a commit wrote is read back as it was, with the revision set.
pub async fn what_was_committed_is_read(port: &dyn KeyTable) {
    let change = founded();
    port.commit(change.clone()).await.unwrap();
    let rows = all(port, TENANT).await;
    assert_eq!(
        rows.head,
        Some(KeyHead {
            revision: rows.head.as_ref().unwrap().revision,
            ..change.head
        })
    );
    assert_eq!(rows.nodes.into_values().collect::<Vec<_>>(), change.nodes);
    let mut subjects = change.subjects;
    subjects.sort_by_key(|row| row.subject);
    assert_eq!(rows.subjects.into_values().collect::<Vec<_>>(), subjects);
}

/// Rows of the same place or person are replaced; the others stay.
pub async fn a_commit_replaces_rows_of_the_same_place(port: &dyn KeyTable) {
    let first = founded();
    port.commit(first.clone()).await.unwrap();
    let mut change = next(port).await;
    let node = NodeRow {
        version: 2,
        wrapped: wrapped("node again"),
        ..first.nodes[0].clone()
    };
    let row = SubjectRow {
        wrapped: wrapped("row again"),
        ..first.subjects[0].clone()
    };
    (change.nodes, change.subjects) = (vec![node.clone()], vec![row.clone()]);
    change.head.epoch = epoch(2);
    port.commit(change).await.unwrap();
    let rows = all(port, TENANT).await;
    assert_eq!(rows.head.unwrap().epoch, epoch(2));
    assert_eq!(rows.nodes[&node.node], node);
    assert_eq!(rows.nodes.len(), first.nodes.len());
    assert_eq!(rows.subjects[&row.subject], row);
    assert_eq!(rows.subjects.len(), first.subjects.len());
}

/// A commit raises the revision by one, whatever it changes, and answers it.
pub async fn the_revision_grows_by_one_with_each_commit(port: &dyn KeyTable) {
    let first = port.commit(founded()).await.unwrap();
    for step in 1..=3 {
        let answered = port.commit(next(port).await).await.unwrap();
        assert_eq!(answered, first + step);
        // Asked twice: what is kept of the first answer must not outlive a commit.
        for _ in 0..2 {
            assert_eq!(port.revision(TENANT).await.unwrap(), Some(answered));
        }
        assert_eq!(head(port).await.revision, answered);
    }
}

/// A commit that expects another revision is a conflict and changes nothing.
pub async fn a_stale_revision_is_a_conflict_without_effect(port: &dyn KeyTable) {
    port.commit(founded()).await.unwrap();
    let stale = next(port).await;
    port.commit(stale.clone()).await.unwrap();
    let before = all(port, TENANT).await;
    for expected in [stale.expected, stale.expected.map(|revision| revision + 7)] {
        let mut change = KeyChange {
            expected,
            ..stale.clone()
        };
        change.nodes.push(branch(2, 7));
        change.erased.push(tombstone(1, 1));
        change
            .copies
            .push(copy(CopiedKey::Subject(person(1)), "escrow"));
        assert_eq!(fault(port.commit(change).await), FaultKind::Conflict);
    }
    assert_eq!(all(port, TENANT).await, before);
    assert_eq!(port.copies(TENANT).await.unwrap(), []);
}

/// `expected: None` founds a tenant, and is a conflict for one that exists.
pub async fn a_tenant_is_founded_once(port: &dyn KeyTable) {
    let mut early = founded();
    early.expected = Some(1);
    assert_eq!(fault(port.commit(early).await), FaultKind::Conflict);
    port.commit(founded()).await.unwrap();
    assert_eq!(fault(port.commit(founded()).await), FaultKind::Conflict);
}

/// Of two concurrent commits that expect the same revision exactly one succeeds.
pub async fn of_concurrent_commits_one_wins(port: &dyn KeyTable) {
    port.commit(founded()).await.unwrap();
    let base = next(port).await;
    let attempt = |slot| {
        let mut change = base.clone();
        change.subjects.push(subject(40 + slot as u8, slot));
        port.commit(change)
    };
    let (one, two) = futures_util::future::join(attempt(30), attempt(31)).await;
    let lost = if one.is_ok() { two } else { one };
    assert_eq!(fault(lost), FaultKind::Conflict);
    let wanted = [Wanted::Subject(person(70)), Wanted::Subject(person(71))];
    assert_eq!(port.read(TENANT, &wanted).await.unwrap().subjects.len(), 1);
}

/// `Wanted::Subject` gives the person's row and every branch above it, and no others.
pub async fn a_subject_comes_with_the_branches_above_it(port: &dyn KeyTable) {
    port.commit(founded()).await.unwrap();
    for number in [1, 5, 20] {
        let rows = port
            .read(TENANT, &[Wanted::Subject(person(number))])
            .await
            .unwrap();
        let row = &rows.subjects[&person(number)];
        assert_eq!(rows.subjects.len(), 1);
        let above: Vec<_> = rows.nodes.into_keys().collect();
        assert_eq!(above, NodeId::above(row.slot, FAN_OUT));
    }
    let rows = port
        .read(TENANT, &[Wanted::Subject(person(99))])
        .await
        .unwrap();
    assert!(rows.subjects.is_empty() && rows.erased.is_empty() && rows.nodes.is_empty());
    let [top, low] = NodeId::above(0, FAN_OUT);
    let rows = port
        .read(
            TENANT,
            &[Wanted::Node(low), Wanted::Node(branch(2, 77).node)],
        )
        .await;
    assert_eq!(rows.unwrap().nodes.into_keys().collect::<Vec<_>>(), [low]);
    let rows = port
        .read(TENANT, &[Wanted::Node(top), Wanted::Node(top)])
        .await
        .unwrap();
    assert_eq!(rows.nodes.len(), 1);
}

/// `Wanted::Children` gives exactly the rows whose parent is the node.
pub async fn children_are_exactly_those_of_the_node(port: &dyn KeyTable) {
    let change = founded();
    port.commit(change.clone()).await.unwrap();
    for node in change
        .nodes
        .iter()
        .map(|row| row.node)
        .chain([NodeId::ROOT])
    {
        let rows = port.read(TENANT, &[Wanted::Children(node)]).await.unwrap();
        let (first, last) = node.children(FAN_OUT);
        let below = |index: u32| (first..=last).contains(&index);
        let branches = change.nodes.iter().map(|row| row.node);
        let branches = branches.filter(|one| one.level == node.level + 1 && below(one.index));
        assert_eq!(
            rows.nodes.into_keys().collect::<Vec<_>>(),
            branches.collect::<Vec<_>>()
        );
        let lowest = node.level == NodeId::LOWEST;
        let mut subjects: Vec<_> = change
            .subjects
            .iter()
            .filter(|row| lowest && below(row.slot))
            .map(|row| row.subject)
            .collect();
        subjects.sort_unstable();
        assert_eq!(rows.subjects.into_keys().collect::<Vec<_>>(), subjects);
    }
}

/// One tenant's rows, revisions and copies never show in another's.
pub async fn tenants_are_kept_apart(port: &dyn KeyTable) {
    port.commit(founded()).await.unwrap();
    let before = all(port, TENANT).await;
    let mut change = KeyChange {
        tenant: OTHER_TENANT,
        ..founded()
    };
    change.subjects.truncate(1);
    change.subjects[0].wrapped = wrapped("of the other firm");
    change
        .copies
        .push(copy(CopiedKey::Subject(person(1)), "escrow"));
    port.commit(change).await.unwrap();
    assert_eq!(all(port, TENANT).await, before);
    assert_eq!(all(port, OTHER_TENANT).await.subjects.len(), 1);
    assert_eq!(port.copies(TENANT).await.unwrap(), []);
    assert_eq!(port.copies(OTHER_TENANT).await.unwrap().len(), 1);
}

/// A tombstone removes the person's row, is read in its place, and outlives later commits.
pub async fn a_tombstone_removes_the_row_and_stays(port: &dyn KeyTable) {
    port.commit(founded()).await.unwrap();
    let mut change = next(port).await;
    change.erased = vec![tombstone(5, 1)];
    port.commit(change).await.unwrap();
    port.commit(next(port).await).await.unwrap();
    let wanted = [Wanted::Subject(person(5)), Wanted::Subject(person(6))];
    let rows = port.read(TENANT, &wanted).await.unwrap();
    assert_eq!(
        rows.erased.into_values().collect::<Vec<_>>(),
        [tombstone(5, 1)]
    );
    assert_eq!(rows.subjects.into_keys().collect::<Vec<_>>(), [person(6)]);
    let rows = all(port, TENANT).await;
    assert!(
        !rows.subjects.contains_key(&person(5)),
        "not among any node's children either"
    );
}

/// A row for an erased person is refused with `CRY-ERASED`, and nothing of that commit happens.
pub async fn an_erased_person_gets_no_row_again(port: &dyn KeyTable) {
    port.commit(founded()).await.unwrap();
    let mut change = next(port).await;
    change.erased = vec![tombstone(5, 1)];
    port.commit(change).await.unwrap();
    let before = all(port, TENANT).await;
    let mut change = next(port).await;
    change.subjects = vec![subject(60, 30), subject(5, 31)];
    change.nodes = vec![branch(1, 9)];
    assert_eq!(code(port.commit(change).await), Code::CryErased);
    assert_eq!(all(port, TENANT).await, before);
    let rows = port
        .read(TENANT, &[Wanted::Subject(person(60))])
        .await
        .unwrap();
    assert!(rows.subjects.is_empty());
}

/// A row keeps a former key, and then what is known of its end; both go with the person.
pub async fn a_former_key_is_kept_then_dropped_and_goes_with_the_person(port: &dyn KeyTable) {
    port.commit(founded()).await.unwrap();
    let former = |state| FormerKey {
        generation: 1,
        key: Digest::of(b"former"),
        since: at(4),
        state,
    };
    let dropped = FormerDropped {
        branch: NodeId { level: 2, index: 5 },
        epoch_before: 1,
        epoch_after: 2,
        at: at(5),
        kek: epoch(1).kek,
    };
    let low = NodeId::above(subject(5, 15).slot, FAN_OUT)[1];
    for state in [
        FormerState::Kept(wrapped("former")),
        FormerState::Kept(wrapped("former, again")),
        FormerState::Dropped(dropped),
    ] {
        let row = SubjectRow {
            generation: 2,
            former: Some(former(state)),
            ..subject(5, 15)
        };
        let mut change = next(port).await;
        change.subjects = vec![row.clone()];
        port.commit(change).await.unwrap();
        for wanted in [Wanted::Subject(person(5)), Wanted::Children(low)] {
            let rows = port.read(TENANT, &[wanted]).await.unwrap();
            assert_eq!(rows.subjects[&person(5)], row);
        }
    }
    let mut change = next(port).await;
    change.subjects = vec![subject(5, 15)];
    port.commit(change).await.unwrap();
    let rows = all(port, TENANT).await;
    assert_eq!(rows.subjects[&person(5)].former, None);
    let mut change = next(port).await;
    change.erased = vec![tombstone(5, 1)];
    port.commit(change).await.unwrap();
    assert!(!all(port, TENANT).await.subjects.contains_key(&person(5)));
}

/// A custodian's answer is added to every tombstone that names its KEK, and to no other.
pub async fn evidence_reaches_every_tombstone_of_its_kek(port: &dyn KeyTable) {
    port.commit(founded()).await.unwrap();
    let mut change = next(port).await;
    change.erased = vec![tombstone(5, 1), tombstone(6, 1)];
    port.commit(change).await.unwrap();
    let mut change = next(port).await;
    change.erased = vec![tombstone(7, 2)];
    change.destroyed = vec![destroyed(1)];
    port.commit(change).await.unwrap();
    let wanted = [5, 6, 7].map(|number| Wanted::Subject(person(number)));
    let rows = port.read(TENANT, &wanted).await.unwrap();
    for number in [5, 6] {
        assert_eq!(
            rows.erased[&person(number)].kek_destroyed,
            Some(destroyed(1))
        );
    }
    assert_eq!(rows.erased[&person(7)].kek_destroyed, None);
}

/// `copies` lists every declared copy; declaring one again updates it.
pub async fn copies_are_listed_and_updated(port: &dyn KeyTable) {
    port.commit(founded()).await.unwrap();
    let person_copy = copy(CopiedKey::Subject(person(1)), "escrow");
    let epoch_copy = copy(CopiedKey::Epoch(epoch(1).kek), "escrow");
    let second = copy(CopiedKey::Subject(person(1)), "export");
    let mut change = next(port).await;
    change.copies = vec![person_copy.clone(), epoch_copy.clone(), second.clone()];
    port.commit(change).await.unwrap();
    let gone = KeyCopy {
        destroyed: Some(at(9)),
        ..person_copy
    };
    let mut change = next(port).await;
    change.copies = vec![gone.clone()];
    port.commit(change).await.unwrap();
    let copies = port.copies(TENANT).await.unwrap();
    assert_eq!(copies.len(), 3);
    for expected in [gone, epoch_copy, second] {
        assert!(copies.contains(&expected), "{expected:?}");
    }
}

/// A commit whose caller went away took effect wholly or not at all.
pub async fn a_cancelled_commit_is_whole_or_nothing(port: &dyn KeyTable) {
    port.commit(founded()).await.unwrap();
    let before = all(port, TENANT).await;
    let mut change = next(port).await;
    change.erased = vec![tombstone(5, 1)];
    change.nodes = vec![branch(2, 8)];
    let expected = change.expected;
    cancelled(port.commit(change));
    // Whatever is still under way ends before this commit does, or after it as a conflict.
    let again = port
        .commit(KeyChange {
            expected,
            ..next(port).await
        })
        .await;
    let after = all(port, TENANT).await;
    let erased = !after.subjects.contains_key(&person(5));
    assert_eq!(
        after.nodes.len() > before.nodes.len(),
        erased,
        "half a commit"
    );
    assert!(again.is_ok() != erased, "one of the two won");
}

/// `Debug` of the table holds no wrapped bytes.
pub async fn debug_holds_no_wrapped_bytes(port: &dyn KeyTable) {
    port.commit(founded()).await.unwrap();
    let rows = all(port, TENANT).await;
    let conflict = port.commit(founded()).await.unwrap_err();
    let shown = format!("{port:?} {rows:?} {conflict:?} {conflict}");
    for marked in ["MARKED", "4d41524b", "77, 65, 82, 75", "TUFSS0VE"] {
        assert!(!shown.contains(marked), "{marked} is shown");
    }
}

/// A tenant with 20 people under a fan-out of 3.
fn founded() -> KeyChange {
    let head = KeyHead {
        revision: 0,
        fan_out: FAN_OUT,
        next_slot: 20,
        epoch: epoch(1),
        index: vec![IndexKeyRow {
            rows: 1 << 20,
            epoch: 1,
            wrapped: wrapped("index"),
        }],
        retired: vec![KekId::new("kek-0").unwrap()],
        waiting: vec![KekWaiting {
            kek: KekId::new("kek-before").unwrap(),
            epoch: 0,
            through: 1,
            until: at(8),
        }],
    };
    let mut change = KeyChange::of(TENANT, None, head);
    change.nodes = (0..3).map(|index| branch(1, index)).collect();
    change.nodes.extend((0..7).map(|index| branch(2, index)));
    // Ids and slots run in opposite directions, so that one order is not taken for the other.
    change.subjects = (1..=20)
        .map(|number| subject(number, 20 - u32::from(number)))
        .collect();
    change
}

/// A change of nothing for the present revision.
async fn next(port: &dyn KeyTable) -> KeyChange {
    let head = head(port).await;
    KeyChange::of(TENANT, Some(head.revision), head)
}

async fn head(port: &dyn KeyTable) -> KeyHead {
    port.read(TENANT, &[]).await.unwrap().head.unwrap()
}

/// Every row of the founded tree.
async fn all(port: &dyn KeyTable, tenant: TenantId) -> KeyRows {
    let parents = (0..3).flat_map(|level| (0..9).map(move |index| NodeId { level, index }));
    let wanted: Vec<_> = parents
        .filter(|node| node.level > 0 || node.index == 0)
        .map(Wanted::Children)
        .chain((1..=20).map(|number| Wanted::Subject(person(number))))
        .collect();
    port.read(tenant, &wanted).await.unwrap()
}

fn person(number: u8) -> SubjectId {
    SubjectId::from_bytes([number; 16])
}

fn subject(number: u8, slot: u32) -> SubjectRow {
    SubjectRow {
        subject: person(number),
        slot,
        generation: 1,
        key: Digest::of(&[number]),
        wrapped: wrapped("subject"),
        former: None,
    }
}

fn branch(level: u8, index: u32) -> NodeRow {
    NodeRow {
        node: NodeId { level, index },
        version: 1,
        wrapped: wrapped("branch"),
    }
}

fn epoch(number: u64) -> EpochRow {
    let kek = KekId::new(format!("kek-{number}")).unwrap();
    EpochRow {
        number,
        kek,
        wrapped: wrapped("epoch"),
    }
}

fn tombstone(number: u8, epoch_before: u64) -> Tombstone {
    Tombstone {
        subject: person(number),
        key: Digest::of(&[number]),
        former: number.is_multiple_of(2).then(|| Digest::of(b"former")),
        branch: NodeId { level: 2, index: 5 },
        epoch_before,
        epoch_after: epoch_before + 1,
        at: at(5),
        kek: epoch(epoch_before).kek,
        kek_destroyed: None,
    }
}

fn destroyed(number: u64) -> KekDestroyed {
    let method = KekDestruction::Scheduled { until: at(100) };
    KekDestroyed {
        kek: epoch(number).kek,
        at: at(6),
        method,
        copies: 0,
    }
}

fn copy(of: CopiedKey, holder: &str) -> KeyCopy {
    KeyCopy {
        epoch: matches!(of, CopiedKey::Epoch(_)).then_some(1),
        of,
        holder: Label::new(holder).unwrap(),
        since: at(1),
        destroyed: None,
    }
}

fn wrapped(what: &str) -> WrappedKey {
    WrappedKey::from_bytes(format!("MARKED wrapped bytes: {what}").into_bytes())
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + chrono::TimeDelta::milliseconds(seconds * 1000 + 123)
}

const FAN_OUT: u16 = 3;
const TENANT: TenantId = TenantId::from_bytes([0xC0; 16]);
const OTHER_TENANT: TenantId = TenantId::from_bytes([0xC1; 16]);

#[cfg(test)]
mod tests {
    use crate::memory::MemoryKeyTable;

    async fn fresh() -> MemoryKeyTable {
        MemoryKeyTable::new()
    }

    key_table_conformance!(
        #[tokio::test]
        fresh
    );
}
