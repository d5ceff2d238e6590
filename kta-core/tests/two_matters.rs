//! Somebody with two matters: disposing of one takes nothing of the other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

#[allow(dead_code, reason = "the tests of the whole road use the rest")]
mod road;

use kta_core::audit::{Label, SignedNote};
use kta_core::id::{RecordId, SubjectId};
use kta_core::memory::{FaultPlan, MemoryPorts, Strike};
use kta_core::pii::{Category, MatterState, PlacementState, RecordKey};
use kta_core::pipeline::dispose::{Disposed, Issued};
use kta_core::pipeline::{House, manage};
use kta_core::policy::{Act, Purpose, Role, Scope};
use kta_core::ports::Store as _;
use kta_core::ports::store::{PlacementQuery, Register, SheetQuery};
use kta_core::retention::{Certificate, CertificateState, KeyKept};
use kta_core::{Code, Error};

use road::Cast;

#[tokio::test]
async fn the_key_of_somebody_with_another_matter_goes_with_the_last_one() {
    let (ports, first) = road::ports(21).await;
    let house = ports.open().await.unwrap();
    let second = road::second_matter(&ports, &house, &first).await;
    let filed = road::until_transmitted(&ports, &house, &second).await;
    drop(filed.unwrap());
    let [parent, spouse, child, ..] = first.people;

    let disposed = road::drive(&ports, &house, &first).await.unwrap();
    gone(&ports, &house, &first).await;
    for both in [parent, spouse, first.people[4]] {
        keeps(&disposed, both);
        assert_eq!(key_code(&house, both).await, None);
    }
    let only_first = certificate(&disposed, child);
    assert_eq!(only_first.key_kept, None);
    assert_eq!(only_first.keys.len(), 1);
    assert_eq!(key_code(&house, child).await, Some(Code::CryErased));
    // What the second matter has is whole: the record opens and no copy was touched.
    assert_eq!(family_name(&house, &second, parent).await, "Qzxcanary");
    let query = PlacementQuery::in_matter(house.tenant(), second.matter);
    let copies = ports.store.placements(&query).await.unwrap();
    let stands = |state| matches!(state, PlacementState::Present | PlacementState::Disclosed);
    assert!(copies.len() > 20 && copies.iter().all(|copy| stands(copy.state)));

    let disposed = road::drive(&ports, &house, &second).await.unwrap();
    gone(&ports, &house, &second).await;
    for person in second.people {
        let certificate = certificate(&disposed, person);
        assert_eq!(certificate.key_kept, None);
        assert_eq!(certificate.keys.len(), 1);
        assert_eq!(key_code(&house, person).await, Some(Code::CryErased));
    }
    let again = road::reimport(&ports, &house, &first).await.unwrap_err();
    assert_eq!(code(&again), Code::SupListed);
}

#[tokio::test]
async fn somebody_with_another_matter_is_not_put_on_the_suppression_ledger() {
    let (ports, first) = road::ports(22).await;
    let house = ports.open().await.unwrap();
    let second = road::second_matter(&ports, &house, &first).await;
    let disposed = road::drive(&ports, &house, &first).await.unwrap();
    // The second matter has no copy yet; that it was opened is enough.
    keeps(&disposed, first.people[0]);
    let ledger = SheetQuery::all(house.tenant(), Register::Suppressions);
    let listed = ports.store.sheets(&ledger).await.unwrap();
    // One passport of each child of the first matter.
    assert_eq!(listed.len(), 2);
    // Parents and employer can still be served.
    house.sealer.keys().enroll(second.people[0]).await.unwrap();
}

#[tokio::test]
async fn somebody_known_under_two_ids_is_served_in_the_other_matter() {
    let (ports, first) = road::ports(27).await;
    let house = ports.open().await.unwrap();
    let second = road::second_matter(&ports, &house, &first).await;
    let attorney = road::session(&house, Role::Attorney, Purpose::Representation);
    for child in [2, 3] {
        let (one, other) = (first.people[child], second.people[child]);
        let told = manage::same_person(&house, &attorney, one, other).await;
        told.unwrap();
    }
    road::drive(&ports, &house, &first).await.unwrap();
    let ledger = SheetQuery::all(house.tenant(), Register::Suppressions);
    assert_eq!(ports.store.sheets(&ledger).await.unwrap(), []);
    // Their passports come in again, for the matter that is open.
    road::until_verified(&ports, &house, &second).await.unwrap();
    road::drive(&ports, &house, &second).await.unwrap();
    // With the last matter they are listed, as they were known in either.
    assert_eq!(ports.store.sheets(&ledger).await.unwrap().len(), 4);
    let again = road::reimport(&ports, &house, &first).await.unwrap_err();
    assert_eq!(code(&again), Code::SupListed);
}

#[tokio::test]
async fn a_hold_on_the_other_matter_only_stops_the_keys_destruction() {
    let (ports, first) = road::ports(23).await;
    let house = ports.open().await.unwrap();
    let second = road::second_matter(&ports, &house, &first).await;
    let attorney = road::session(&house, Role::Attorney, Purpose::Representation);
    // Nothing of the second matter needs the keys, as far as it is known.
    let ended = manage::amend_matter(&house, &attorney, second.matter, "end", |matter| {
        matter.advance(MatterState::Closed)?;
        matter.advance(MatterState::Destroyed)
    });
    ended.await.unwrap();
    let approved = road::until_approved(&ports, &house, &first).await.unwrap();
    let hold = hold(&house, &second).await;
    let refused = road::execute(&house, &first, approved).await.unwrap_err();
    assert_eq!(code(&refused), Code::DstHold);
    assert_eq!(key_code(&house, first.people[0]).await, None);
    assert!(!ports.crm.is_empty());
    // Gone on with, it stops again.
    let refused = road::drive(&ports, &house, &first).await.unwrap_err();
    assert_eq!(code(&refused), Code::DstHold);
    let counsel = road::session(&house, Role::LegalHold, Purpose::Compliance);
    manage::release_hold(&house, &counsel, hold).await.unwrap();
    let disposed = road::drive(&ports, &house, &first).await.unwrap();
    assert_eq!(certificate(&disposed, first.people[0]).keys.len(), 1);
}

#[tokio::test]
async fn a_hold_on_the_other_matter_lets_copies_go_whose_key_stays() {
    let (ports, first) = road::ports(24).await;
    let house = ports.open().await.unwrap();
    let second = road::second_matter(&ports, &house, &first).await;
    drop(road::until_transmitted(&ports, &house, &second).await);
    hold(&house, &second).await;
    let disposed = road::drive(&ports, &house, &first).await.unwrap();
    keeps(&disposed, first.people[0]);
    let name = family_name(&house, &second, first.people[0]).await;
    assert_eq!(name, "Qzxcanary");
}

#[tokio::test]
async fn a_hold_on_the_other_matter_that_comes_amid_the_saga_stops_the_keys_destruction() {
    let (mut struck, mut amid) = (0, 0);
    for back in 1..40 {
        let (ports, first) = road::ports(25).await;
        let house = ports.open().await.unwrap();
        let second = road::second_matter(&ports, &house, &first).await;
        let attorney = road::session(&house, Role::Attorney, Purpose::Representation);
        let ended = manage::amend_matter(&house, &attorney, second.matter, "end", |matter| {
            matter.advance(MatterState::Closed)?;
            matter.advance(MatterState::Destroyed)
        });
        ended.await.unwrap();
        road::until_approved(&ports, &house, &first).await.unwrap();
        let plan = FaultPlan::at(back * 20, Strike::DeadBefore);
        let Ok(dying) = ports.open_under(&plan).await else {
            continue;
        };
        if manage::wake(&dying).await.is_err() {
            continue;
        }
        let died = road::drive(&ports, &dying, &first).await;
        plan.heal();
        let erased = key_code(&house, first.people[0]).await.is_some();
        if died.is_ok() || erased {
            break;
        }
        hold(&house, &second).await;
        let refused = road::drive(&ports, &house, &first).await.unwrap_err();
        assert_eq!(code(&refused), Code::DstHold);
        assert_eq!(key_code(&house, first.people[0]).await, None);
        struck += 1;
        amid += u32::from(ports.crm.is_empty());
    }
    assert!(
        amid > 0 && struck > amid,
        "{struck} times, {amid} of them after copies had gone"
    );
}

#[tokio::test]
async fn killed_amid_the_saga_and_started_again_the_same_keys_stay() {
    let mut killed = 0;
    for call in (0..).step_by(4) {
        let (ports, first) = road::ports(26).await;
        let house = ports.open().await.unwrap();
        road::second_matter(&ports, &house, &first).await;
        let approved = road::until_approved(&ports, &house, &first).await.unwrap();
        let strike = if call % 8 == 0 {
            Strike::DeadBefore
        } else {
            Strike::DeadAfter
        };
        let plan = FaultPlan::at(call, strike);
        if let Ok(dying) = ports.open_under(&plan).await
            && manage::wake(&dying).await.is_ok()
        {
            drop(road::execute(&dying, &first, approved).await);
        }
        if plan.struck().is_none() {
            break;
        }
        plan.heal();
        let house = ports.open().await.unwrap();
        manage::wake(&house).await.unwrap();
        let disposed = road::drive(&ports, &house, &first).await.unwrap();
        keeps(&disposed, first.people[0]);
        assert_eq!(certificate(&disposed, first.people[2]).keys.len(), 1);
        gone(&ports, &house, &first).await;
        killed += 1;
    }
    assert!(killed > 30, "killed {killed} times");
}

/// The certificate says that the key stays and why, and claims nothing of it.
fn keeps(disposed: &Disposed, person: SubjectId) {
    let certificate = certificate(disposed, person);
    let kept = certificate.key_kept.as_ref().expect("why the key stays");
    assert_eq!((&kept.reason, kept.matters), (&KeyKept::OTHER_MATTERS, 1));
    assert!(certificate.keys.is_empty());
    let exceptions = certificate.exceptions.iter().map(Label::as_str);
    assert!(
        exceptions
            .into_iter()
            .any(|what| what == "key-kept:other-matters")
    );
    assert_eq!(certificate.state, CertificateState::Final);
    let text = certificate.text();
    assert_eq!(
        serde_json::from_str::<Certificate>(&text).unwrap(),
        *certificate
    );
}

fn certificate(disposed: &Disposed, person: SubjectId) -> &Certificate {
    let issued: &Issued = disposed
        .certificates()
        .iter()
        .find(|issued| issued.certificate.subject == person)
        .expect("a certificate for everybody");
    let note = SignedNote::parse(issued.note.as_bytes()).unwrap();
    assert_eq!(note.text(), issued.certificate.text());
    &issued.certificate
}

/// Every copy of the matter was observed absent.
async fn gone(ports: &MemoryPorts, house: &House, cast: &Cast) {
    let query = PlacementQuery::in_matter(house.tenant(), cast.matter);
    let copies = ports.store.placements(&query).await.unwrap();
    assert!(copies.len() > 20);
    for copy in copies {
        let absent = matches!(copy.state, PlacementState::Absent { .. });
        assert!(absent, "{copy:?}");
    }
    let reviewed = reviewed(house, cast, cast.people[0]);
    assert!(ports.store.record(&reviewed).await.unwrap().is_none());
}

fn reviewed(house: &House, cast: &Cast, person: SubjectId) -> RecordKey {
    RecordKey {
        tenant: house.tenant(),
        subject: person,
        record: RecordId::derived(&[b"reviewed", cast.matter.as_bytes(), person.as_bytes()]),
    }
}

async fn family_name(house: &House, cast: &Cast, person: SubjectId) -> String {
    let key = reviewed(house, cast, person);
    let record = house.doors.store.record(&key).await.unwrap().unwrap();
    let attorney = road::session(house, Role::Attorney, Purpose::Representation);
    let scope = Scope::of(person, Category::Identity).in_matter(cast.matter);
    let permit = attorney.permit(Act::Open, scope).await.unwrap();
    let fields = house.sealer.open_covered(&record, &permit).await.unwrap();
    let name = fields.field("family_name").unwrap();
    name.expose(&permit).to_owned()
}

async fn hold(house: &House, cast: &Cast) -> kta_core::id::HoldId {
    let counsel = road::session(house, Role::LegalHold, Purpose::Compliance);
    let reason = Label::fixed("litigation.test");
    let placed = manage::place_hold(house, &counsel, &[], Some(cast.matter), reason).await;
    placed.unwrap().id
}

/// Why somebody's key is not handed out, if it is not.
async fn key_code(house: &House, person: SubjectId) -> Option<Code> {
    let key = house.sealer.keys().subject_key(person).await;
    key.err().map(|error| code(&error))
}

fn code(error: &Error) -> Code {
    error.refusal().expect("a refusal").code()
}
