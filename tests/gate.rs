//! The gate keeps its order: first the log, then the permit.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use chrono::TimeDelta;
use kta_core::Code;
use kta_core::audit::{Entry, Outcome};
use kta_core::conformance::Desk;
use kta_core::memory::{FaultPlan, Flaky, RulesPolicy, SeededEntropy, Strike};
use kta_core::pii::Category;
use kta_core::policy::{Act, Gate, Purpose, Role};
use kta_core::ports::Ledger as _;

#[tokio::test]
async fn where_the_log_cannot_be_written_there_is_no_permit() {
    for strike in Strike::ALL {
        let desk = Desk::new("down");
        let gate = over_a_log_that_fails(&desk, strike);
        let paralegal = desk.actor(Role::Paralegal);
        let session = gate.session(paralegal, Role::Paralegal, Purpose::Representation);
        let scope = || desk.scope(desk.beneficiary(), Category::Identity);
        let refused = session.permit(Act::Open, scope()).await.err().unwrap();
        assert_eq!(
            refused.refusal().unwrap().code(),
            Code::AudDown,
            "{strike:?}"
        );
        let again = session.permit(Act::Open, scope()).await;
        let dead = matches!(strike, Strike::DeadBefore | Strike::DeadAfter);
        assert_eq!(
            again.is_err(),
            dead,
            "{strike:?}: the log is back, the gate is not"
        );
    }
}

#[tokio::test]
async fn the_admission_is_on_the_log_when_the_permit_is_in_hand() {
    let desk = Desk::new("order");
    let session = desk.session(Role::Paralegal);
    let scope = desk.scope(desk.beneficiary(), Category::Identity);
    let permit = session.permit(Act::Open, scope).await.unwrap();
    let last = entries(&desk).await.pop().unwrap().event;
    assert_eq!((last.outcome, last.act), (Outcome::Admitted, Act::Open));
    assert_eq!(last.permit, Some(permit.id()));
    assert_eq!(last.subject, Some(desk.beneficiary()));
}

#[tokio::test]
async fn what_is_forbidden_and_what_does_not_exist_get_one_answer_and_an_entry_each() {
    let desk = Desk::new("alike");
    let session = desk.session(Role::Sysadmin);
    let forbidden = desk.scope(desk.beneficiary(), Category::Identity);
    let nowhere = kta_core::id::MatterId::derived(&[b"no such matter"]);
    let unknown = desk
        .scope(desk.beneficiary(), Category::Identity)
        .in_matter(nowhere);
    let mut answers = Vec::new();
    for scope in [forbidden, unknown] {
        let before = entries(&desk).await.len();
        answers.push(
            session
                .permit(Act::Open, scope)
                .await
                .err()
                .unwrap()
                .to_string(),
        );
        let entries = entries(&desk).await;
        assert_eq!(entries.len(), before + 1);
        assert_eq!(entries[before].event.outcome, Outcome::Refused);
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn a_permit_ends_and_covers_one_act_one_category_and_its_own_people() {
    let desk = Desk::new("scope");
    let session = desk.session(Role::Paralegal);
    let (who, other) = (desk.beneficiary(), desk.spouse());
    let permit = session
        .permit(Act::Open, desk.scope(who, Category::Identity))
        .await
        .unwrap();
    assert!(
        permit
            .require(&[Act::Open], who, Category::Identity)
            .is_ok()
    );
    assert!(
        permit
            .require(&[Act::Amend], who, Category::Identity)
            .is_err()
    );
    assert!(permit.require(&[Act::Open], who, Category::Case).is_err());
    assert!(
        permit
            .require(&[Act::Open], other, Category::Identity)
            .is_err()
    );
    desk.clock()
        .advance(Gate::PERMIT_LIFE + TimeDelta::seconds(1));
    assert!(
        permit
            .require(&[Act::Open], who, Category::Identity)
            .is_err()
    );
}

/// The desk's own gate, over a store whose first call fails.
fn over_a_log_that_fails(desk: &Desk, strike: Strike) -> Gate {
    let store = Flaky::of(desk.store().clone(), &FaultPlan::at(0, strike));
    let gate = Gate::new(
        desk.tenant(),
        Arc::new(RulesPolicy::new()),
        Arc::new(store),
        Arc::new(desk.clock().clone()),
        Arc::new(SeededEntropy::new(1)),
    );
    let directory = desk.gate().directory(Clone::clone);
    gate.amend_directory(|own| *own = directory);
    gate
}

async fn entries(desk: &Desk) -> Vec<Entry> {
    let bytes = desk.store().entries(desk.tenant(), 0, 1_000).await.unwrap();
    bytes
        .iter()
        .map(|entry| Entry::parse(entry).unwrap())
        .collect()
}
