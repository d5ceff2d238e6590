use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::crypto::context::SealContext;
use crate::crypto::shred::{EraseClaim, KeyErased};
use crate::crypto::testing::Counted;
use crate::crypto::{Envelope, IndexPlan, index::Normal};
use crate::id::{MatterId, RecordId};
use crate::memory::{MemoryKeyTable, MemoryKms};
use crate::ports::key_table::CopiedKey;
use crate::ports::kms::{KekDestroyed, KekId, WrappedKey};

/// Custodian, table and people of one invented firm, with a fan-out so small that a dozen people
/// make a tree.
struct Firm {
    tenant: TenantId,
    kms: MemoryKms,
    table: MemoryKeyTable,
    entropy: Arc<dyn Entropy>,
}

impl Firm {
    fn new(seed: u64) -> Self {
        let entropy: Arc<dyn Entropy> = Arc::new(Counted::new(seed));
        Self {
            tenant: TenantId::from_bytes([1; 16]),
            kms: MemoryKms::new(entropy.clone()),
            table: MemoryKeyTable::new(),
            entropy,
        }
    }

    async fn open(&self) -> Result<Hierarchy> {
        self.open_on(Arc::new(self.kms.clone()), Arc::new(self.table.clone()))
            .await
    }

    async fn open_on(&self, kms: Arc<dyn Kms>, table: Arc<dyn KeyTable>) -> Result<Hierarchy> {
        let entropy = self.entropy.clone();
        Hierarchy::open_with_fan_out(self.tenant, kms, table, entropy, now(), 3).await
    }

    fn place(&self, subject: SubjectId) -> SealContext<'static> {
        SealContext {
            tenant: self.tenant,
            subject,
            matter: Some(MatterId::from_bytes([3; 16])),
            record: RecordId::from_bytes([4; 16]),
            field: "name",
            revision: 1,
        }
    }

    async fn seal(&self, keys: &Hierarchy, subject: SubjectId) -> Envelope {
        let place = self.place(subject);
        let key = keys
            .subject_key(subject)
            .await
            .unwrap()
            .record_key(place.record);
        key.seal(&place, subject.as_bytes(), &*self.entropy)
            .unwrap()
    }

    async fn opens(&self, keys: &Hierarchy, subject: SubjectId, sealed: &Envelope) -> Result<()> {
        let place = self.place(subject);
        let key = keys.subject_key(subject).await?.record_key(place.record);
        assert_eq!(**key.open(&place, sealed)?, *subject.as_bytes());
        Ok(())
    }
}

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn person(number: u8) -> SubjectId {
    SubjectId::from_bytes([number; 16])
}

fn people(many: u8) -> Vec<SubjectId> {
    (1..=many).map(person).collect()
}

fn code<T: fmt::Debug>(outcome: Result<T>) -> Option<Code> {
    outcome.unwrap_err().refusal().map(|refusal| refusal.code())
}

fn kind<T: fmt::Debug>(outcome: Result<T>) -> Option<FaultKind> {
    outcome.unwrap_err().fault().map(Fault::kind)
}

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
        now.contains("WrappedKey(110 bytes)"),
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
        holder: crate::audit::Label::fixed("recovery-share"),
        since: now(),
        destroyed: None,
    };
    keys.declare_copy(copy).await.unwrap();
    let evidence = keys.erase(&[person(3)], now()).await.unwrap();
    assert_eq!(evidence[0].claim(), EraseClaim::Invalid);
}

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
    assert_eq!(code(keys.retire_index(1, now()).await), Some(Code::CryKey));
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
    assert!(shown.contains("WrappedKey(110 bytes)") && !shown.contains("SecretBox"));
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
    }
    let _ = check;
}

/// Both ports, dying at one call: before its effect, or after it.
#[derive(Debug)]
struct Dying<P> {
    port: P,
    calls: Arc<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    made: AtomicUsize,
    dies_at: usize,
    after_effect: bool,
}

impl Calls {
    fn died(operation: &'static str) -> Error {
        Fault::new(FaultKind::Unavailable, Port::Kms, operation).into()
    }
}

impl<P> Dying<P> {
    async fn call<T>(&self, name: &'static str, act: impl Future<Output = Result<T>>) -> Result<T> {
        let call = self.calls.made.fetch_add(1, Ordering::SeqCst);
        // Once dead it stays dead, as a killed process does.
        if call > self.calls.dies_at || (call == self.calls.dies_at && !self.calls.after_effect) {
            return Err(Calls::died(name));
        }
        let outcome = act.await;
        if call == self.calls.dies_at {
            Err(Calls::died(name))
        } else {
            outcome
        }
    }
}

#[async_trait]
impl<P: Kms> Kms for Dying<P> {
    async fn create(&self, tenant: TenantId, key: IdempotencyKey) -> Result<KekId> {
        self.call("create", self.port.create(tenant, key)).await
    }
    async fn wrap(&self, kek: &KekId, secret: &SecretKey, context: &[u8]) -> Result<WrappedKey> {
        self.call("wrap", self.port.wrap(kek, secret, context))
            .await
    }
    async fn unwrap(&self, kek: &KekId, wrapped: &WrappedKey, context: &[u8]) -> Result<SecretKey> {
        self.call("unwrap", self.port.unwrap(kek, wrapped, context))
            .await
    }
    async fn destroy(&self, kek: &KekId, at: Timestamp) -> Result<KekDestroyed> {
        self.call("destroy", self.port.destroy(kek, at)).await
    }
    async fn state(&self, kek: &KekId) -> Result<KekState> {
        self.call("state", self.port.state(kek)).await
    }
}

#[async_trait]
impl<P: KeyTable> KeyTable for Dying<P> {
    async fn read(&self, tenant: TenantId, wanted: &[Wanted]) -> Result<KeyRows> {
        self.call("read", self.port.read(tenant, wanted)).await
    }
    async fn commit(&self, change: KeyChange) -> Result<u64> {
        self.call("commit", self.port.commit(change)).await
    }
    async fn copies(&self, tenant: TenantId) -> Result<Vec<KeyCopy>> {
        self.call("copies", self.port.copies(tenant)).await
    }
}

/// Found a firm, enrol, erase two people; a run of this in which a port dies.
async fn life(firm: &Firm, calls: Arc<Calls>) -> Result<Vec<KeyErased>> {
    let kms = Arc::new(Dying {
        port: firm.kms.clone(),
        calls: calls.clone(),
    });
    let table = Arc::new(Dying {
        port: firm.table.clone(),
        calls,
    });
    let keys = firm.open_on(kms, table).await?;
    match keys.enroll_all(&people(12)).await {
        // A run before this one came further.
        Err(error)
            if error
                .refusal()
                .is_some_and(|refusal| refusal.code() == Code::CryErased) => {}
        outcome => outcome?,
    }
    keys.erase(&[person(5), person(6)], now()).await
}

#[tokio::test]
async fn dying_at_any_call_and_starting_again_reaches_the_same_end() {
    let mut deaths = 0;
    for after_effect in [false, true] {
        for dies_at in 0.. {
            let firm = Firm::new(14);
            let calls = Arc::new(Calls {
                dies_at,
                after_effect,
                ..Calls::default()
            });
            let outcome = life(&firm, calls.clone()).await;
            let died = calls.made.load(Ordering::SeqCst) > dies_at;
            assert_eq!(outcome.is_err(), died, "call {dies_at}");
            deaths += usize::from(died);

            let alive = Arc::new(Calls {
                dies_at: usize::MAX,
                ..Calls::default()
            });
            let evidence = life(&firm, alive).await.unwrap();
            assert!(
                evidence
                    .iter()
                    .all(|one| one.claim() == EraseClaim::Effective)
            );
            assert!(
                evidence
                    .iter()
                    .all(|one| (one.epoch_before, one.epoch_after) == (1, 2))
            );
            let keys = firm.open().await.unwrap();
            let head = keys.head().await.unwrap();
            assert_eq!(
                (head.epoch.number, head.next_slot),
                (2, 12),
                "call {dies_at}"
            );
            assert!(head.retired.is_empty());
            assert_eq!(
                firm.kms.active(),
                [head.epoch.kek],
                "no custodian's key is orphaned"
            );
            for subject in people(12) {
                let outcome = keys.subject_key(subject).await;
                let erased = [person(5), person(6)].contains(&subject);
                assert_eq!(outcome.is_err(), erased);
            }
            if !died {
                break;
            }
        }
    }
    assert!(deaths > 30, "{deaths} deaths");
}

#[tokio::test]
async fn concurrent_workers_lose_nothing() {
    let firm = Firm::new(15);
    let keys = Arc::new(firm.open().await.unwrap());
    let mut work = Vec::new();
    for number in 1..=20 {
        let keys = if number % 2 == 0 {
            keys.clone()
        } else {
            Arc::new(firm.open().await.unwrap())
        };
        work.push(tokio::spawn(async move {
            keys.enroll(person(number)).await?;
            tokio::task::yield_now().await;
            if number % 5 == 0 {
                keys.erase(&[person(number)], now()).await?;
            }
            Ok::<_, Error>(())
        }));
    }
    for handle in work {
        handle.await.unwrap().unwrap();
    }
    for subject in people(20) {
        let erased = subject.as_bytes()[0].is_multiple_of(5);
        assert_eq!(keys.subject_key(subject).await.is_err(), erased);
    }
    assert_eq!(firm.kms.active().len(), 1);
}
