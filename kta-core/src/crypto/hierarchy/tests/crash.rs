use super::*;
use crate::memory::{FaultPlan, Flaky, Strike};

/// What may be interrupted: each is begun on a firm of twelve, and begun again until it is done.
#[derive(Clone, Copy, Debug)]
enum Scene {
    Erase,
    EraseHalfway,
    FinishSubjects,
    Found,
    Index,
    Rotate,
    RotateSubjects,
}

impl Scene {
    const ALL: [Self; 7] = [
        Self::Erase,
        Self::EraseHalfway,
        Self::FinishSubjects,
        Self::Found,
        Self::Index,
        Self::Rotate,
        Self::RotateSubjects,
    ];

    /// The state before; nothing fails yet.
    async fn prepare(self, firm: &Firm) -> Vec<(SubjectId, Envelope)> {
        if let Self::Found = self {
            return Vec::new();
        }
        let keys = firm.open().await.unwrap();
        keys.enroll_all(&people(12)).await.unwrap();
        let mut sealed = Vec::new();
        for subject in people(12) {
            sealed.push((subject, firm.seal(&keys, subject).await));
        }
        if let Self::EraseHalfway | Self::FinishSubjects = self {
            keys.rotate_subjects(&PAIR, now()).await.unwrap();
        }
        sealed
    }

    async fn play(self, keys: &Hierarchy) -> Result<()> {
        match self {
            Self::Erase | Self::EraseHalfway => {
                let evidence = keys.erase(&PAIR, now()).await?;
                for one in evidence {
                    assert_eq!(one.claim(), EraseClaim::Effective);
                    assert_eq!((one.epoch_before, one.epoch_after), (1, 2));
                    assert_eq!(one.former.is_some(), matches!(self, Self::EraseHalfway));
                }
            }
            Self::FinishSubjects => {
                let ended = keys.finish_subjects(&PAIR, 0, later()).await?;
                for one in ended {
                    assert_eq!((one.generation, one.claim()), (1, EraseClaim::Effective));
                    assert_eq!((one.dropped.epoch_before, one.dropped.epoch_after), (1, 2));
                }
            }
            Self::Found => keys.enroll_all(&people(12)).await?,
            Self::Index => {
                assert_eq!(keys.rotate_index_past(1).await?, 2);
                keys.retire_index(1, now()).await?;
            }
            Self::Rotate => assert_eq!(keys.rotate_past(1, now()).await?.epoch, 2),
            Self::RotateSubjects => {
                let rotating = keys.rotate_subjects(&PAIR, now()).await?;
                let states = rotating.iter().map(|one| (one.generation, one.former));
                assert_eq!(states.collect::<Vec<_>>(), [(2, 1), (2, 1)]);
            }
        }
        Ok(())
    }

    /// The end, which is the same however it was reached.
    async fn check(self, firm: &Firm, sealed: &[(SubjectId, Envelope)]) {
        let keys = firm.open().await.unwrap();
        let head = keys.head().await.unwrap();
        let turns = !matches!(self, Self::Found | Self::RotateSubjects);
        assert_eq!(head.epoch.number, 1 + u64::from(turns), "{self:?}");
        assert_eq!(head.next_slot, 12);
        assert!(head.retired.is_empty());
        assert_eq!(
            firm.kms.active(),
            [head.epoch.kek],
            "no custodian's key is orphaned"
        );
        let index = keys.index_epochs().await.unwrap();
        let expected = if let Self::Index = self { 2 } else { 1 };
        assert_eq!(index, [expected]);
        for (subject, sealed) in sealed {
            let outcome = firm.opens(&keys, *subject, sealed).await;
            match self {
                Self::Erase | Self::EraseHalfway if PAIR.contains(subject) => {
                    assert_eq!(code(outcome), Some(Code::CryErased));
                }
                Self::FinishSubjects if PAIR.contains(subject) => {
                    assert_eq!(code(outcome), Some(Code::CryKey));
                    assert_eq!(firm.seal(&keys, *subject).await.generation(), 2);
                }
                _ => outcome.unwrap(),
            }
        }
    }
}

/// Every port call of every scene fails in every way, the process starts again, and the end is
/// the same.
#[tokio::test]
async fn dying_at_any_call_and_starting_again_reaches_the_same_end() {
    for scene in Scene::ALL {
        let mut struck = 0;
        for strike in Strike::ALL {
            for call in 0.. {
                let firm = Firm::new(14);
                let sealed = scene.prepare(&firm).await;
                let plan = FaultPlan::at(call, strike);
                let kms = Arc::new(Flaky::of(firm.kms.clone(), &plan));
                let table = Arc::new(Flaky::of(firm.table.clone(), &plan));
                // It may even succeed: what fails once is tried again here and there.
                if let Ok(keys) = firm.open_on(kms, table).await {
                    let _ = scene.play(&keys).await;
                }
                let alive = firm.open().await.unwrap();
                scene.play(&alive).await.unwrap();
                scene.check(&firm, &sealed).await;
                if plan.struck().is_none() {
                    break;
                }
                struck += 1;
            }
        }
        assert!(struck > 20, "{scene:?}: {struck} calls failed");
    }
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

const PAIR: [SubjectId; 2] = [
    SubjectId::from_bytes([5; 16]),
    SubjectId::from_bytes([6; 16]),
];
