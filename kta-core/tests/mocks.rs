//! The gate and the sealer over doubles: answers that no strict port gives, and what was asked
//! at all, in which order.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use kta_core::audit::{Label, Outcome};
use kta_core::conformance::Desk;
use kta_core::crypto::Hierarchy;
use kta_core::id::{ActorId, Digest, RecordId, SubjectId, TenantId};
use kta_core::memory::{ManualClock, MemoryKeyTable, MemoryKms, SeededEntropy};
use kta_core::mocks::{MockPolicy, MockStore, Sequence};
use kta_core::pii::{Category, Fields, Record, RecordKey, Schema};
use kta_core::policy::{
    Act, Decision, Form, Gate, Permit, Policy, Purpose, Reason, Role, Scope, Sealer, Verdict,
};
use kta_core::ports::{Committed, Durability, Store};
use kta_core::{Code, Error, Fault, FaultKind, Port, Result};

#[tokio::test]
async fn a_yes_that_cannot_be_logged_gives_no_permit() {
    // Nobody knows whether the entry was written: for the gate that is not written.
    for kind in [
        FaultKind::Unavailable,
        FaultKind::OutcomeUnknown,
        FaultKind::Conflict,
    ] {
        let (mut policy, mut store, mut order) =
            (MockPolicy::new(), MockStore::new(), Sequence::new());
        policy
            .expect_decide()
            .withf(|request| request.act == Act::Open && request.object.subject == Some(person()))
            .times(1)
            .in_sequence(&mut order)
            .returning(|_| says(Verdict::Permit));
        store
            .expect_commit()
            .withf(|change| {
                change.durability == Durability::Durable
                    && change.changes.is_empty()
                    && matches!(&change.events[..], [one] if one.outcome == Outcome::Admitted)
            })
            .times(1)
            .in_sequence(&mut order)
            .returning(move |_| Err(broken(kind)));
        assert_eq!(
            code(ask(policy, store, Act::Open).await),
            Code::AudDown,
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn a_no_that_cannot_be_logged_says_so_and_not_why() {
    let (mut policy, mut store) = (MockPolicy::new(), MockStore::new());
    policy
        .expect_decide()
        .returning(|_| says(Verdict::Deny(Code::AclDeny)));
    store
        .expect_commit()
        .withf(|change| change.events[0].outcome == Outcome::Refused)
        .times(1)
        .returning(|_| Err(broken(FaultKind::Unavailable)));
    assert_eq!(code(ask(policy, store, Act::Open).await), Code::AudDown);
}

#[tokio::test]
async fn where_the_holds_cannot_be_read_the_policy_is_not_asked() {
    let (mut policy, mut store) = (MockPolicy::new(), MockStore::new());
    policy.expect_decide().never();
    store.expect_commit().never();
    store
        .expect_holds()
        .withf(|query| (query.subject, query.matter) == (None, None) && query.active)
        .times(1)
        .returning(|_| Err(broken(FaultKind::Unavailable)));
    let outcome = ask(policy, store, Act::Destroy).await;
    assert!(matches!(outcome, Err(Error::Broken(fault)) if fault.kind() == FaultKind::Unavailable));
}

#[tokio::test]
async fn an_opening_that_cannot_be_logged_shows_no_value() {
    let (mut policy, mut store, mut order) = (MockPolicy::new(), MockStore::new(), Sequence::new());
    policy.expect_decide().returning(|_| says(Verdict::Permit));
    store
        .expect_commit()
        .times(1)
        .in_sequence(&mut order)
        .returning(|_| {
            Ok(Committed {
                first: Some(0),
                entries: 1,
            })
        });
    store
        .expect_commit()
        .withf(|change| change.events.iter().all(|event| event.act == Act::Open))
        .times(1)
        .in_sequence(&mut order)
        .returning(|_| Err(broken(FaultKind::Unavailable)));
    let gate = gate(policy, store);
    let session = gate.session(worker(), Role::Paralegal, Purpose::Compliance);
    let scope = Scope::of(person(), Category::Identity);
    let permit = session.permit(Act::Amend, scope).await.unwrap();

    let sealer = sealer().await;
    let record = sealed(&sealer, &permit).await;
    assert_eq!(code(sealer.open(&record, &permit).await), Code::AudDown);
}

#[tokio::test]
async fn what_is_logged_is_opened_though_the_permit_ends_meanwhile() {
    let (mut policy, mut store, mut order) = (MockPolicy::new(), MockStore::new(), Sequence::new());
    let clock = ManualClock::at(Desk::opening_hour());
    policy.expect_decide().returning(|_| says(Verdict::Permit));
    let logged = || {
        Ok(Committed {
            first: Some(0),
            entries: 1,
        })
    };
    let admitted = store.expect_commit().times(1).in_sequence(&mut order);
    admitted.returning(move |_| logged());
    let slow = clock.clone();
    let opened = store.expect_commit().times(1).in_sequence(&mut order);
    opened.returning(move |change| {
        assert_eq!(change.events.len(), 1);
        slow.advance(chrono::TimeDelta::days(1));
        logged()
    });
    let gate = gate_at(policy, store, clock);
    let session = gate.session(worker(), Role::Paralegal, Purpose::Compliance);
    let scope = Scope::of(person(), Category::Identity);
    let permit = session.permit(Act::Amend, scope).await.unwrap();

    let sealer = sealer().await;
    let record = sealed(&sealer, &permit).await;
    let open = sealer.open_covered(&record, &permit).await.unwrap();
    assert_eq!(open.len(), 1);
    // By now it has ended, opens nothing and logs nothing.
    let closed = sealer.open_covered(&record, &permit).await.unwrap();
    assert!(closed.is_empty());
}

/// A record of the person.
async fn sealed(sealer: &Sealer, permit: &Permit<'_>) -> Record {
    let (schema, mut fields) = (Schema::person(), Fields::new());
    let name = "Canaria".to_owned();
    fields.set(&schema, "family_name", name).unwrap();
    let form = Form {
        key: RecordKey {
            tenant: firm(),
            subject: person(),
            record: RecordId::derived(&[b"record"]),
        },
        matter: None,
        schema: &schema,
        class: Digest::of(b"class"),
        revision: 1,
        minor: false,
    };
    sealer.seal(form, &fields, permit).await.unwrap()
}

/// Asks a gate over these for a permit; gives what it is for.
async fn ask(policy: MockPolicy, store: MockStore, act: Act) -> Result<Act> {
    let gate = gate(policy, store);
    let session = gate.session(worker(), Role::Paralegal, Purpose::Representation);
    let permit = session
        .permit(act, Scope::of(person(), Category::Identity))
        .await;
    permit.as_ref().map(Permit::act).map_err(Error::clone)
}

fn gate(policy: impl Policy + 'static, store: impl Store + 'static) -> Gate {
    gate_at(policy, store, ManualClock::at(Desk::opening_hour()))
}

fn gate_at(policy: impl Policy + 'static, store: impl Store + 'static, clock: ManualClock) -> Gate {
    let entropy = SeededEntropy::new(5);
    Gate::new(
        firm(),
        Arc::new(policy),
        Arc::new(store),
        Arc::new(clock),
        Arc::new(entropy),
    )
}

/// With a key for the person.
async fn sealer() -> Sealer {
    let entropy = Arc::new(SeededEntropy::new(6));
    let kms = Arc::new(MemoryKms::new(entropy.clone()));
    let table = Arc::new(MemoryKeyTable::new());
    let keys = Hierarchy::open(firm(), kms, table, entropy.clone(), Desk::opening_hour()).await;
    let keys = keys.unwrap();
    keys.enroll(person()).await.unwrap();
    Sealer::new(Arc::new(keys), entropy)
}

fn says(verdict: Verdict) -> Decision {
    let reason = Reason {
        rule: Label::fixed("double"),
        text: "as the test says".to_owned(),
    };
    Decision {
        verdict,
        reasons: vec![reason],
        obligations: Vec::new(),
        policy: Digest::of(b"double"),
    }
}

fn broken(kind: FaultKind) -> Error {
    Fault::new(kind, Port::Store, "commit").into()
}

#[track_caller]
fn code<T: core::fmt::Debug>(outcome: Result<T>) -> Code {
    match outcome {
        Err(Error::Refused(refusal)) => refusal.code(),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn firm() -> TenantId {
    TenantId::derived(&[b"firm"])
}

fn person() -> SubjectId {
    SubjectId::derived(&[b"person"])
}

fn worker() -> ActorId {
    ActorId::derived(&[b"worker"])
}
