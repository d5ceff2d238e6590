//! Fresh keys for everybody: nothing lost, nothing left, whatever dies when.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod beside;
#[path = "../custodian/mod.rs"]
#[allow(dead_code, reason = "the tests of certificates use the rest")]
mod custodian;
mod evidence;
mod firm;
#[allow(dead_code, reason = "the tests of the whole road use the rest")]
#[path = "../road/mod.rs"]
mod road;

use kta_core::Code;
use kta_core::audit::Label;
use kta_core::crypto::{EraseClaim, Hierarchy};
use kta_core::id::{RecordId, SubjectId};
use kta_core::memory::{FaultPlan, Strike};
use kta_core::pii::PlacementState;
use kta_core::pipeline::rekey::{Stage, Why, rekey, under_way};
use kta_core::policy::{Act, Purpose, Role, Scope};
use kta_core::ports::store::{Change, ChangeSet, Expected};

use firm::*;
use road::session;

#[tokio::test]
async fn everything_is_sealed_anew_and_the_former_keys_end() {
    let (ports, cast) = filled(1).await;
    let house = ports.open().await.unwrap();
    kta_core::pipeline::manage::wake(&house).await.unwrap();
    let before = sealed(&house, &cast).await;

    let mut told = Vec::new();
    let ciso = session(&house, Role::Ciso, Purpose::Compliance);
    let waiting = rekey(&house, &ciso, &mut |step| told.push(step.clone()))
        .await
        .unwrap();
    let Stage::Waiting { until } = waiting.stage else {
        panic!("{waiting:?}");
    };
    assert_eq!(until, house.gate.now() + Hierarchy::HELD);
    assert_eq!(waiting.people, cast.people.len() as u64);
    // Waiting or not, everybody reads, and a record is found by either index key.
    everything_opens(&house, &cast).await;
    assert_eq!(rekey(&house, &ciso, &mut |_| ()).await.unwrap(), waiting);

    ports.clock.set(until);
    let draining = rekey(&house, &ciso, &mut |step| told.push(step.clone()))
        .await
        .unwrap();
    let Stage::Draining { until } = draining.stage else {
        panic!("{draining:?}");
    };
    // Who read a record before it was sealed anew, opens it.
    let paralegal = session(&house, Role::Paralegal, Purpose::Representation);
    for old in &before {
        let scope = whole(old.key.subject, &cast);
        let permit = paralegal.permit(Act::Open, scope).await.unwrap();
        house.sealer.open(old, &permit).await.unwrap();
    }
    ports.clock.set(until);
    let done = rekey(&house, &ciso, &mut |step| told.push(step.clone()))
        .await
        .unwrap();
    assert_eq!((done.again, done.claim), (0, Some(EraseClaim::Effective)));
    let log = log(&house).await;
    for fact in [
        "\"kek\"",
        "\"ended\"",
        "\"method\":\"immediate\"",
        "\"resealed\"",
    ] {
        assert!(log.contains(fact), "{fact}");
    }
    assert_eq!(done.stage, Stage::Done);
    assert_eq!((done.records, done.contents), (5, 5));
    assert!(
        told.windows(2)
            .all(|pair| pair[0].records <= pair[1].records)
    );
    assert_eq!(under_way(&house).await.unwrap(), None);

    everything_opens(&house, &cast).await;
    assert_eq!(house.sealer.keys().index_epochs().await.unwrap(), [2]);
    let after = sealed(&house, &cast).await;
    for (old, new) in before.iter().zip(&after) {
        assert_eq!(generations(new), [2]);
        assert_eq!(new.revision, old.revision + 1);
        // What a backup of the records still has, opens no more.
        let permit = session(&house, Role::Paralegal, Purpose::Representation);
        let permit = permit
            .permit(Act::Open, whole(old.key.subject, &cast))
            .await
            .unwrap();
        let refused = house.sealer.open(old, &permit).await.unwrap_err();
        assert_eq!(
            refused.refusal().map(kta_core::Refusal::code),
            Some(Code::CryKey)
        );
    }
    // And once more, with other keys.
    let next = to_the_end(&ports, &house).await;
    assert_eq!((next.number, next.index.as_slice()), (2, &[2][..]));
    everything_opens(&house, &cast).await;
}

#[tokio::test]
async fn a_death_at_any_step_loses_nothing_and_the_next_call_goes_on() {
    let (ports, _) = filled(2).await;
    let plan = FaultPlan::none();
    let house = ports.open_under(&plan).await.unwrap();
    kta_core::pipeline::manage::wake(&house).await.unwrap();
    to_the_end(&ports, &house).await;
    let calls = plan.calls();
    assert!(calls > 50, "{calls}");
    for strike in [Strike::DeadBefore, Strike::DeadAfter] {
        for call in 0..calls {
            let (ports, cast) = filled(2).await;
            let plan = FaultPlan::at(call, strike);
            if let Ok(house) = ports.open_under(&plan).await
                && kta_core::pipeline::manage::wake(&house).await.is_ok()
            {
                let ciso = session(&house, Role::Ciso, Purpose::Compliance);
                for _ in 0..3 {
                    if rekey(&house, &ciso, &mut |_| ()).await.is_err() {
                        break;
                    }
                    ports.clock.set(house.gate.now() + Hierarchy::HELD);
                }
            }
            plan.heal();
            let house = ports.open().await.unwrap();
            kta_core::pipeline::manage::wake(&house).await.unwrap();
            everything_opens(&house, &cast).await;
            let done = to_the_end(&ports, &house).await;
            assert_eq!(done.stage, Stage::Done, "call {call} {strike:?}");
            everything_opens(&house, &cast).await;
            assert_eq!(house.sealer.keys().index_epochs().await.unwrap().len(), 1);
        }
    }
}

#[tokio::test]
async fn only_the_security_officer_rekeys_and_sees_nothing_by_it() {
    let (ports, cast) = filled(4).await;
    let house = ports.open().await.unwrap();
    kta_core::pipeline::manage::wake(&house).await.unwrap();
    for role in [
        Role::Attorney,
        Role::Sysadmin,
        Role::Records,
        Role::ServiceRetention,
    ] {
        let session = session(&house, role, Purpose::Compliance);
        let refused = rekey(&house, &session, &mut |_| ()).await.unwrap_err();
        assert!(refused.refusal().is_some(), "{role:?}");
    }
    let ciso = session(&house, Role::Ciso, Purpose::Compliance);
    let permit = ciso.permit(Act::Rekey, Scope::firm()).await.unwrap();
    for record in sealed(&house, &cast).await {
        let refused = house.sealer.open(&record, &permit).await.unwrap_err();
        assert_eq!(
            refused.refusal().map(kta_core::Refusal::code),
            Some(Code::AclDeny)
        );
    }
}

#[tokio::test]
async fn what_cannot_be_read_keeps_its_key_and_stops_nobody_else() {
    let (ports, cast) = filled(7).await;
    let house = ports.open().await.unwrap();
    kta_core::pipeline::manage::wake(&house).await.unwrap();
    let [altered, lost, unmapped, erased, sound] = cast.people;
    let records = sealed(&house, &cast).await;
    let mut broken = records[0].clone();
    broken.header[20] ^= 1;
    put(&house, broken, Expected::Any).await;
    let mut strange = records[2].clone();
    strange.schema = Label::fixed("strange");
    put(&house, strange, Expected::Any).await;
    let destroyer = session(&house, Role::ServiceDestroy, Purpose::Retention);
    let mut bytes = None;
    for subject in [lost, erased] {
        let id = blob(&house, subject);
        let kept = ports
            .blobs
            .stored()
            .into_iter()
            .find(|(kept, _)| *kept == id);
        bytes = bytes.or(kept.map(|(_, bytes)| bytes));
        let permit = destroyer.permit(Act::Destroy, whole(subject, &cast)).await;
        house
            .doors
            .blobs
            .remove(&id, &permit.unwrap())
            .await
            .unwrap();
    }
    let mut gone = placed(&house, erased, &cast);
    gone.state = PlacementState::Absent {
        at: house.gate.now(),
    };
    let change = Change::PutPlacement(gone);
    let set = ChangeSet::new(house.tenant(), house.gate.now()).with(change);
    house.doors.store.commit(set).await.unwrap();

    let done = to_the_end(&ports, &house).await;
    let mut noted: Vec<_> = done.exceptions.iter().map(|e| (e.subject, e.why)).collect();
    noted.sort_unstable_by_key(|(subject, _)| *subject);
    let mut expected = [
        (altered, Why::Altered),
        (lost, Why::Lost),
        (unmapped, Why::Unmapped),
    ];
    expected.sort_unstable_by_key(|(subject, _)| *subject);
    assert_eq!(noted, expected);
    let keys = house.sealer.keys();
    for subject in cast.people {
        let kept = keys.subject_rotation(subject).await.unwrap().is_some();
        assert_eq!(kept, subject != erased && subject != sound);
    }
    assert_eq!(keys.index_epochs().await.unwrap(), [1, 2]);
    assert!(log(&house).await.contains("\"exception\":\"lost\""));
    assert!(
        !house
            .doors
            .blobs
            .contains(&blob(&house, erased))
            .await
            .unwrap()
    );

    // What comes back opens, and the next rotation seals it anew.
    let paralegal = session(&house, Role::Paralegal, Purpose::Representation);
    let permit = paralegal
        .permit(Act::Store, whole(lost, &cast))
        .await
        .unwrap();
    let back = Box::pin(futures_util::stream::iter([Ok(bytes.unwrap())]));
    house
        .doors
        .blobs
        .put(&blob(&house, lost), back, &permit)
        .await
        .unwrap();
    let next = to_the_end(&ports, &house).await;
    assert!(next.exceptions.iter().all(|noted| noted.subject != lost));
    assert_eq!(keys.subject_rotation(lost).await.unwrap(), None);
}

/// More records than go into one commit.
const MANY: u64 = 2100;

#[tokio::test]
async fn many_records_and_many_branches_are_all_met() {
    let (ports, cast) = filled_over(9, 8).await;
    let house = ports.open().await.unwrap();
    kta_core::pipeline::manage::wake(&house).await.unwrap();
    let subject = cast.people[1];
    fill(&house, &cast, MANY).await;
    let others: Vec<_> = (0..300_u16)
        .map(|who| SubjectId::derived(&[b"other", &who.to_be_bytes()]))
        .collect();
    let keys = house.sealer.keys();
    keys.enroll_all(&others).await.unwrap();
    let epoch = keys.epoch().await.unwrap();
    let done = to_the_end(&ports, &house).await;
    assert_eq!((done.records, done.people), (MANY + 5, 305));
    // Two turns for more than thirty-two branches, and one for the index key.
    assert_eq!(keys.epoch().await.unwrap(), epoch + 3);
    for number in 0..MANY {
        let mut key = record_key(&house, subject);
        key.record = RecordId::derived(&[b"many", &number.to_be_bytes()]);
        let record = house.doors.store.record(&key).await.unwrap().unwrap();
        assert_eq!((generations(&record), record.revision), (vec![2], 2));
    }
    everything_opens(&house, &cast).await;
}
