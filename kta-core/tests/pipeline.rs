//! The whole road in memory: end to end, and killed at every step.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

#[allow(dead_code, reason = "the tests of two matters use the rest")]
mod road;

use kta_core::Code;
use kta_core::memory::{FaultPlan, Letter, MemoryPorts, Strike};
use kta_core::pii::{Category, PlacementState};
use kta_core::pipeline::receive::{self, Reception};
use kta_core::pipeline::{House, dispose};
use kta_core::policy::{Act, Purpose, Role, Scope};
use kta_core::ports::intake::{ChannelFacts, IntakeChannel};
use kta_core::ports::store::{PlacementQuery, Register, SheetQuery};
use kta_core::ports::{Ledger as _, Store as _};
use kta_core::retention::CertificateState;
use kta_core::steward::incident;

use road::{drive, end_state, ports};

#[tokio::test]
async fn a_familys_data_travels_the_whole_road_and_is_provably_gone() {
    let (ports, cast) = ports(1).await;
    let house = ports.open().await.unwrap();
    let disposed = drive(&ports, &house, &cast).await.unwrap();
    assert_eq!(disposed.certificates().len(), 5);
    for issued in disposed.certificates() {
        assert_eq!(issued.certificate.state, CertificateState::Final);
        assert!(!issued.certificate.keys.is_empty());
    }
    let query = PlacementQuery::in_matter(house.tenant(), cast.matter);
    for placement in ports.store.placements(&query).await.unwrap() {
        let gone = matches!(placement.state, PlacementState::Absent { .. });
        assert!(gone, "{placement:?}");
    }
    assert!(
        ports.crm.is_empty() && ports.library.names().is_empty() && ports.blobs.stored().is_empty()
    );
    let erased = house.sealer.keys().subject_key(cast.people[0]).await;
    assert_eq!(
        erased.err().unwrap().refusal().unwrap().code(),
        Code::CryErased
    );
}

#[tokio::test]
async fn no_value_of_the_family_stands_in_log_register_debug_or_error() {
    let (ports, cast) = ports(2).await;
    let house = ports.open().await.unwrap();
    let disposed = drive(&ports, &house, &cast).await.unwrap();
    let mut seen = format!("{house:?}{disposed:?}{ports:?}");
    let size = ports.store.size(house.tenant()).await.unwrap();
    for entry in ports
        .store
        .entries(house.tenant(), 0, size as usize)
        .await
        .unwrap()
    {
        seen.push_str(&String::from_utf8(entry).unwrap());
    }
    for register in [
        Register::Receipts,
        Register::Documents,
        Register::Certificates,
        Register::Disclosures,
        Register::Subjects,
        Register::Matters,
    ] {
        for sheet in ports
            .store
            .sheets(&SheetQuery::all(house.tenant(), register))
            .await
            .unwrap()
        {
            seen.push_str(&String::from_utf8(sheet.body).unwrap());
        }
    }
    seen.push_str(&ports.library.names().join("\n"));
    assert!(seen.len() > 10_000);
    for canary in road::CANARIES {
        assert!(!seen.contains(canary), "a personal value leaked");
    }
}

#[tokio::test]
async fn killed_before_any_step_and_started_again_the_end_is_the_same() {
    killed_at_every_step(Strike::DeadBefore).await;
}

#[tokio::test]
async fn killed_after_any_step_and_started_again_the_end_is_the_same() {
    killed_at_every_step(Strike::DeadAfter).await;
}

#[tokio::test]
async fn a_call_that_fails_at_any_step_is_made_again() {
    failed_at_every_step(Strike::Before).await;
}

#[tokio::test]
async fn a_lost_answer_at_any_step_doubles_nothing() {
    failed_at_every_step(Strike::After).await;
}

/// The loop over steps: the process dies at every single call of the whole road, is started
/// again, and reaches the same end.
async fn killed_at_every_step(strike: Strike) {
    let (calls, expected) = undisturbed(3).await;
    for call in 0..calls {
        let (ports, cast) = ports(3).await;
        let plan = FaultPlan::at(call, strike);
        if let Ok(house) = ports.open_under(&plan).await {
            let died = drive(&ports, &house, &cast).await;
            assert!(died.is_err(), "call {call} {strike:?} was survived unseen");
        }
        assert!(plan.struck().is_some(), "call {call} was left out");
        plan.heal();
        let house = restart(&ports).await;
        let disposed = drive(&ports, &house, &cast).await;
        let disposed = disposed.unwrap_or_else(|error| panic!("call {call} {strike:?}: {error}"));
        assert_eq!(disposed.certificates().len(), 5, "call {call} {strike:?}");
        assert_eq!(
            end_state(&ports, &house, &cast).await,
            expected,
            "call {call} {strike:?}"
        );
    }
}

/// The same without the process dying: a call fails once, or its answer is lost.
async fn failed_at_every_step(strike: Strike) {
    let (calls, expected) = undisturbed(4).await;
    for call in 0..calls {
        let (ports, cast) = ports(4).await;
        let plan = FaultPlan::at(call, strike);
        let mut last = None;
        for _ in 0..3 {
            let Ok(house) = ports.open_under(&plan).await else {
                continue;
            };
            kta_core::pipeline::manage::wake(&house).await.ok();
            if drive(&ports, &house, &cast).await.is_ok() {
                last = Some(end_state(&ports, &house, &cast).await);
                break;
            }
        }
        assert!(plan.struck().is_some(), "call {call} was left out");
        assert_eq!(
            last.as_ref(),
            Some(&expected),
            "call {call} {strike:?} at {:?}",
            plan.struck()
        );
    }
}

/// How many calls the road makes when nothing happens, and where it ends.
async fn undisturbed(seed: u64) -> (u64, Vec<String>) {
    let (ports, cast) = ports(seed).await;
    let plan = FaultPlan::none();
    let house = ports.open_under(&plan).await.unwrap();
    drive(&ports, &house, &cast).await.unwrap();
    let calls = plan.calls();
    assert!(calls > 200, "{calls} calls");
    (calls, end_state(&ports, &house, &cast).await)
}

#[tokio::test]
async fn a_hold_placed_after_the_approvals_stops_the_destruction() {
    let (ports, cast) = ports(5).await;
    let house = ports.open().await.unwrap();
    let approved = road::until_approved(&ports, &house, &cast).await.unwrap();
    let counsel = house.session(
        cast.actor(Role::LegalHold),
        Role::LegalHold,
        Purpose::Compliance,
    );
    let reason = kta_core::audit::Label::fixed("litigation.test");
    kta_core::pipeline::manage::place_hold(&house, &counsel, &cast.people[..1], None, reason)
        .await
        .unwrap();
    let refused = road::execute(&house, &cast, approved).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().code(), Code::DstHold);
    assert!(
        !ports.crm.is_empty(),
        "something was destroyed under a hold"
    );
    assert!(
        house
            .sealer
            .keys()
            .subject_key(cast.people[0])
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_proposal_that_stands_is_given_to_those_only_who_may_propose() {
    let (ports, cast) = ports(9).await;
    let house = ports.open().await.unwrap();
    road::until_approved(&ports, &house, &cast).await.unwrap();
    let service = road::session(&house, Role::ServiceRetention, Purpose::Retention);
    let nexus = kta_core::pipeline::retain::Nexus::default();
    let retained = kta_core::pipeline::retain::reconsider(&house, &service, cast.matter, &nexus);
    let retained = retained.await.unwrap();
    let before = ports.store.size(house.tenant()).await.unwrap();
    let paralegal = road::session(&house, Role::Paralegal, Purpose::Disposition);
    let refused = dispose::propose(&house, &paralegal, &retained).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.refusal().unwrap().code(), Code::AclDeny);
    let records = road::session(&house, Role::Records, Purpose::Disposition);
    let standing = dispose::propose(&house, &records, &retained).await.unwrap();
    assert!(standing.copies() > 0);
    let asked = ports.store.size(house.tenant()).await.unwrap() - before;
    assert_eq!(asked, 2, "the refusal and the admission are on the log");
}

#[tokio::test]
async fn a_delivery_that_was_refused_as_forged_is_an_incident_until_it_is_closed() {
    let (ports, cast) = ports(10).await;
    let house = ports.open().await.unwrap();
    road::found(&house, &cast).await.unwrap();
    let clerk = road::session(&house, Role::Intake, Purpose::Representation);
    for _ in &cast.deliveries {
        let received = receive::receive(&house, &clerk, &*ports.intake).await;
        assert!(matches!(received.unwrap(), Reception::Received(_)));
    }
    let forged = ChannelFacts {
        channel: IntakeChannel::WebForm,
        encrypted_in_transit: true,
        sender_vouched: Some(false),
        encrypted_content: false,
        remarks: Vec::new(),
    };
    let now = house.gate.now();
    let letter = Letter::new(now, "noa@qzx-canary.example").with("body", "send money");
    ports.intake.push(letter.by(forged));
    let received = receive::receive(&house, &clerk, &*ports.intake).await;
    let Reception::Refused { refusal, .. } = received.unwrap() else {
        panic!("a forged letter came in");
    };
    assert_eq!(refusal.code(), Code::IntSpoof);
    let incidents = SheetQuery::all(house.tenant(), Register::Incidents);
    let sheets = ports.store.sheets(&incidents).await.unwrap();
    let [sheet] = &sheets[..] else {
        panic!("one letter is one incident");
    };
    let id = sheet.id.as_str().parse().unwrap();
    assert_eq!(incidents_counted(&house).await, (1, 0));
    let officer = road::session(&house, Role::Dpo, Purpose::Compliance);
    incident::aware(&house, &officer, id).await.unwrap();
    incident::close(&house, &officer, id).await.unwrap();
    assert_eq!(incidents_counted(&house).await, (0, 1));
}

/// Open and closed incidents, as the log has them.
async fn incidents_counted(house: &House) -> (u64, u64) {
    let measures = kta_core::steward::improvement::measure(house).await;
    let measures = measures.unwrap();
    let of = |name: &str| {
        let found = measures.iter().find(|m| m.name().as_str() == name);
        found.unwrap().value()
    };
    (of("incidents.open"), of("incidents.closed"))
}

#[tokio::test]
async fn a_copy_made_after_the_approvals_stops_the_destruction() {
    let (ports, cast) = ports(6).await;
    let house = ports.open().await.unwrap();
    let approved = road::until_approved(&ports, &house, &cast).await.unwrap();
    let query = PlacementQuery::in_matter(house.tenant(), cast.matter);
    let mut copy = ports.store.placements(&query).await.unwrap().remove(0);
    copy.id = kta_core::id::PlacementId::derived(&[b"another copy"]);
    let change = kta_core::ports::ChangeSet::new(house.tenant(), house.gate.now());
    ports
        .store
        .commit(change.with(kta_core::ports::Change::PutPlacement(copy)))
        .await
        .unwrap();
    let refused = road::execute(&house, &cast, approved).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().code(), Code::DspChanged);
}

#[tokio::test]
async fn an_erased_person_does_not_come_back() {
    let (ports, cast) = ports(7).await;
    let house = ports.open().await.unwrap();
    drive(&ports, &house, &cast).await.unwrap();
    let again = road::reimport(&ports, &house, &cast).await.unwrap_err();
    assert_eq!(again.refusal().unwrap().code(), Code::SupListed);
}

#[tokio::test]
async fn a_walled_actor_and_a_stranger_to_the_matter_get_the_same_no() {
    let (ports, cast) = ports(8).await;
    let house = ports.open().await.unwrap();
    road::found(&house, &cast).await.unwrap();
    let session = house.session(
        cast.actor(Role::Sysadmin),
        Role::Sysadmin,
        Purpose::Representation,
    );
    let hidden = session
        .permit(
            Act::Open,
            Scope::of(cast.people[0], Category::Identity).in_matter(cast.matter),
        )
        .await;
    let nothing = kta_core::id::MatterId::derived(&[b"no such matter"]);
    let missing = session
        .permit(
            Act::Open,
            Scope::of(cast.people[0], Category::Identity).in_matter(nothing),
        )
        .await;
    assert_eq!(
        hidden.unwrap_err().to_string(),
        missing.unwrap_err().to_string()
    );
}

async fn restart(ports: &MemoryPorts) -> kta_core::pipeline::House {
    let house = ports.open().await.unwrap();
    kta_core::pipeline::manage::wake(&house).await.unwrap();
    house
}
