//! What a custodian says when it destroys a KEK, and for whom else that counts.

use core::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::crypto::shred::EarlierKek;
use crate::id::IdempotencyKey;
use crate::ports::kms::{KekDestroyed, KekDestruction, KekId, WrappedKey};

/// A custodian that knows of copies, waits before it deletes, or does not answer.
#[derive(Clone, Debug)]
struct Wary {
    kms: MemoryKms,
    manner: Arc<Mutex<Manner>>,
    answers: Arc<Mutex<Vec<KekDestroyed>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Manner {
    copies: u32,
    days: Option<u64>,
    away: bool,
    /// Goes away after so many destructions.
    left: Option<u32>,
}

impl Wary {
    fn of(firm: &Firm) -> Self {
        Self {
            kms: firm.kms.clone(),
            manner: Arc::default(),
            answers: Arc::default(),
        }
    }

    /// How it destroys from now on.
    fn destroys(&self, copies: u32, days: Option<u64>) {
        *self.manner.lock().unwrap() = Manner {
            copies,
            days,
            ..Manner::default()
        };
    }

    fn goes_away(&self) {
        self.manner.lock().unwrap().away = true;
    }

    fn destroys_only(&self, many: u32) {
        self.destroys(0, None);
        self.manner.lock().unwrap().left = Some(many);
    }
}

#[async_trait]
impl Kms for Wary {
    async fn create(&self, tenant: TenantId, key: IdempotencyKey) -> Result<KekId> {
        self.kms.create(tenant, key).await
    }

    async fn wrap(&self, kek: &KekId, secret: &SecretKey, context: &[u8]) -> Result<WrappedKey> {
        self.kms.wrap(kek, secret, context).await
    }

    async fn unwrap(&self, kek: &KekId, wrapped: &WrappedKey, context: &[u8]) -> Result<SecretKey> {
        self.kms.unwrap(kek, wrapped, context).await
    }

    async fn destroy(&self, kek: &KekId, at: Timestamp) -> Result<KekDestroyed> {
        let manner = {
            let mut manner = self.manner.lock().unwrap();
            match &mut manner.left {
                Some(0) => manner.away = true,
                Some(left) => *left -= 1,
                None => {}
            }
            *manner
        };
        if manner.away {
            return Err(Fault::new(FaultKind::Unavailable, Port::Kms, "destroy").into());
        }
        let answer = self.kms.destroy(kek, at).await?;
        let mut answers = self.answers.lock().unwrap();
        if let Some(first) = answers.iter().find(|first| first.kek == *kek) {
            return Ok(first.clone());
        }
        let method = manner.days.map_or(KekDestruction::Immediate, |days| {
            let until = at + DAY * u32::try_from(days).unwrap();
            KekDestruction::Scheduled { until }
        });
        let first = KekDestroyed {
            method,
            copies: manner.copies,
            ..answer
        };
        answers.push(first.clone());
        Ok(first)
    }

    async fn state(&self, kek: &KekId) -> Result<KekState> {
        let answers = self.answers.lock().unwrap().clone();
        match answers.into_iter().find(|answer| answer.kek == *kek) {
            Some(answer) => Ok(KekState::Destroyed(answer)),
            None => self.kms.state(kek).await,
        }
    }
}

#[tokio::test]
async fn a_copy_that_the_custodian_told_of_stands_against_everybody_whom_it_reaches() {
    let (keys, custodian) = scene(50).await;
    let before = keys.erase(&[person(1)], now()).await.unwrap();
    assert_eq!(before[0].proven(), Ok(()));

    // Nobody is erased in the turn that ends the copied KEK.
    custodian.destroys(2, None);
    let copied = keys.head().await.unwrap().epoch.kek;
    keys.rotate(now()).await.unwrap();
    custodian.destroys(0, None);
    keys.enroll(person(9)).await.unwrap();
    keys.rotate_subjects(&[person(4)], now()).await.unwrap();
    let told = keys.copies().await.unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0].of, &told[0].holder),
        (&CopiedKey::Epoch(copied), &Hierarchy::CUSTODIAN)
    );

    // Their epoch's KEK has no copy; that of the epoch before opens them all the same: person 9
    // came later, but below a branch that is in the older table.
    let reached = keys.erase(&[person(2), person(9)], now()).await.unwrap();
    for evidence in &reached {
        assert_eq!((evidence.kek.copies, evidence.copies), (0, 1));
        assert_eq!(evidence.proven(), Err(Code::DstCeInvalid));
    }
    let ended = keys.finish_subjects(&[person(4)], 0, later()).await;
    assert_eq!(ended.unwrap()[0].proven(), Err(Code::DstCeInvalid));
    assert_eq!(
        keys.erase(&[person(1)], now()).await.unwrap(),
        before,
        "gone before that epoch"
    );

    // Once the copy is destroyed, so are they.
    let holder = Hierarchy::CUSTODIAN;
    assert_eq!(keys.copies_destroyed(&holder, later()).await, Ok(1));
    assert_eq!(keys.copies_destroyed(&holder, later()).await, Ok(0));
    let proven = keys.erase(&[person(2), person(9)], now()).await.unwrap();
    assert!(proven.iter().all(|one| one.proven() == Ok(())));
    let ended = keys.finish_subjects(&[person(4)], 0, later()).await;
    assert_eq!(ended.unwrap()[0].proven(), Ok(()));
}

/// Counted by the evidence of whoever was erased with it and on the list of copies, it is one copy.
#[tokio::test]
async fn a_copy_that_the_custodian_told_of_counts_until_it_is_declared_destroyed() {
    let (keys, custodian) = scene(53).await;
    custodian.destroys(1, None);
    let told = keys.erase(&[person(1)], now()).await.unwrap();
    assert_eq!(told[0].kek.copies, 1);
    assert_eq!(told[0].proven(), Err(Code::DstCeInvalid));
    let holder = Hierarchy::CUSTODIAN;
    assert_eq!(keys.copies_destroyed(&holder, later()).await, Ok(1));
    let proven = keys.erase(&[person(1)], now()).await.unwrap();
    assert_eq!(proven[0].proven(), Ok(()));
}

#[tokio::test]
async fn the_copies_of_another_holder_stay_when_those_of_the_custodian_are_gone() {
    let (keys, custodian) = scene(51).await;
    let kek = keys.head().await.unwrap().epoch.kek;
    let escrow = crate::audit::Label::fixed("escrow");
    let copy = KeyCopy {
        of: CopiedKey::Epoch(kek),
        epoch: None,
        holder: escrow.clone(),
        since: now(),
        destroyed: None,
    };
    keys.declare_copy(copy).await.unwrap();
    custodian.destroys(1, None);
    keys.rotate(now()).await.unwrap();
    custodian.destroys(0, None);
    let copies = async || keys.erase(&[person(1)], now()).await.unwrap()[0].copies;
    assert_eq!(copies().await, 2);
    keys.copies_destroyed(&Hierarchy::CUSTODIAN, now())
        .await
        .unwrap();
    assert_eq!(copies().await, 1);
    keys.copies_destroyed(&escrow, now()).await.unwrap();
    assert_eq!(copies().await, 0);
}

#[tokio::test]
async fn an_erasure_is_effective_when_the_last_kek_that_reached_the_person_is_gone() {
    let (keys, custodian) = scene(52).await;
    let long = keys.head().await.unwrap().epoch.kek;
    let earlier = Some(EarlierKek {
        kek: long,
        until: day(30),
    });
    custodian.destroys(0, Some(30));
    keys.rotate(now()).await.unwrap();
    custodian.destroys(0, Some(7));
    keys.rotate_subjects(&[person(4)], now()).await.unwrap();
    let first = keys.erase(&[person(1)], now()).await.unwrap();
    let own = KekDestruction::Scheduled { until: day(7) };
    assert_eq!(first[0].kek.method, own);
    assert_eq!(first[0].earlier, earlier);
    assert_eq!(first[0].claim(), EraseClaim::EffectiveFrom(day(30)));
    let ended = keys.finish_subjects(&[person(4)], 0, day(1)).await.unwrap();
    assert_eq!(ended[0].claim(), EraseClaim::EffectiveFrom(day(30)));
    // Even one that is destroyed at once.
    custodian.destroys(0, None);
    let second = keys.erase(&[person(2)], day(2)).await.unwrap();
    assert_eq!(second[0].claim(), EraseClaim::EffectiveFrom(day(30)));

    // From here on its own waits longer.
    custodian.destroys(0, Some(7));
    let third = keys.erase(&[person(3)], day(25)).await.unwrap();
    assert_eq!(third[0].earlier, None);
    assert_eq!(third[0].claim(), EraseClaim::EffectiveFrom(day(32)));
    custodian.destroys(0, None);
    let fourth = keys.erase(&[person(5)], day(40)).await.unwrap();
    assert_eq!(fourth[0].claim(), EraseClaim::Effective);

    // And what was answered once is answered again.
    let again = keys.erase(&people(3), day(99)).await.unwrap();
    assert_eq!(again, [first, second, third].concat());
}

#[tokio::test]
async fn keks_that_are_settled_together_are_told_apart() {
    let (keys, custodian) = scene(53).await;
    let long = keys.head().await.unwrap().epoch.kek;
    custodian.destroys(0, Some(30));
    custodian.goes_away();
    assert_eq!(
        kind(keys.erase(&[person(1)], now()).await),
        Some(FaultKind::Unavailable)
    );
    assert_eq!(
        kind(keys.erase(&[person(2)], now()).await),
        Some(FaultKind::Unavailable)
    );
    assert_eq!(keys.head().await.unwrap().retired.len(), 2);
    // An administrator deletes the first one by hand, with a wait of his own.
    custodian.destroys(3, Some(30));
    custodian.destroy(&long, now()).await.unwrap();
    custodian.destroys(0, Some(7));
    let evidence = keys.erase(&people(2), now()).await.unwrap();
    assert_eq!((evidence[0].kek.copies, &evidence[0].earlier), (3, &None));
    assert_eq!((evidence[1].kek.copies, evidence[1].copies), (0, 1));
    let until = evidence[1].earlier.as_ref().map(|kek| kek.until);
    assert_eq!(until, Some(day(30)));
}

#[tokio::test]
async fn a_kek_that_cannot_be_destroyed_stops_evidence_and_nobody_who_reads() {
    let firm = Firm::new(56);
    let custodian = Wary::of(&firm);
    let open = async || {
        let table = Arc::new(firm.table.clone());
        firm.open_on(Arc::new(custodian.clone()), table).await
    };
    let keys = open().await.unwrap();
    keys.enroll_all(&people(4)).await.unwrap();
    assert_eq!(keys.owed().await, Ok(0));
    custodian.goes_away();
    let erased = keys.erase(&[person(1)], now()).await;
    assert_eq!(kind(erased), Some(FaultKind::Unavailable));
    drop(keys);

    let keys = open().await.unwrap();
    assert_eq!(keys.owed().await, Ok(1));
    assert!(keys.subject_key(person(2)).await.is_ok());
    assert_eq!(
        code(keys.subject_key(person(1)).await),
        Some(Code::CryErased)
    );
    let again = keys.erase(&[person(1)], now()).await;
    assert_eq!(kind(again), Some(FaultKind::Unavailable), "no evidence yet");
    custodian.destroys(0, None);
    assert!(keys.erase(&[person(1)], now()).await.is_ok());
    assert_eq!(keys.owed().await, Ok(0));
}

#[tokio::test]
async fn what_is_destroyed_before_the_custodian_fails_is_settled() {
    let (keys, custodian) = scene(57).await;
    custodian.goes_away();
    for number in [1, 2, 3] {
        let erased = keys.erase(&[person(number)], now()).await;
        assert_eq!(kind(erased), Some(FaultKind::Unavailable));
    }
    assert_eq!(keys.owed().await, Ok(3));
    custodian.destroys_only(2);
    let settled = keys.settle(now()).await;
    assert_eq!(kind(settled), Some(FaultKind::Unavailable));
    assert_eq!(keys.owed().await, Ok(1));
    custodian.destroys(0, None);
    let evidence = keys.erase(&people(3), now()).await.unwrap();
    assert!(evidence.iter().all(|each| each.proven().is_ok()));
    let keks: std::collections::BTreeSet<_> = evidence.iter().map(|it| &it.kek.kek).collect();
    assert_eq!(keks.len(), 3);
}

#[tokio::test]
async fn what_is_kept_of_waiting_periods_does_not_grow_with_the_epochs() {
    let (keys, custodian) = scene(54).await;
    for round in 0..12 {
        custodian.destroys(0, Some(if round == 3 { 30 } else { 7 }));
        keys.rotate(day(3 * round)).await.unwrap();
    }
    let waiting = keys.head().await.unwrap().waiting;
    let epochs: Vec<_> = waiting.iter().map(|it| (it.epoch, it.through)).collect();
    // The long one began on day 9 and ends on day 39; the twelfth ends on day 40.
    assert_eq!(epochs, [(4, 11), (12, 12)]);
}

async fn scene(seed: u64) -> (Hierarchy, Wary) {
    let firm = Firm::new(seed);
    let custodian = Wary::of(&firm);
    let table = Arc::new(firm.table.clone());
    let keys = firm.open_on(Arc::new(custodian.clone()), table).await;
    let keys = keys.unwrap();
    keys.enroll_all(&people(8)).await.unwrap();
    (keys, custodian)
}

fn day(number: u32) -> Timestamp {
    now() + DAY * number
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
