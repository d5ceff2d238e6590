//! What comes between the begin of a destruction and its certificate, and what may not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

#[allow(dead_code, reason = "the tests of the whole road use the rest")]
mod road;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::TimeDelta;
use kta_core::audit::Label;
use kta_core::error::{Fault, FaultKind, Port};
use kta_core::id::{Digest, IdempotencyKey, SubjectId};
use kta_core::memory::{FaultPlan, MemoryCrm, MemoryPorts, Strike};
use kta_core::pii::{MatterState, Party, Placement, PlacementState, System};
use kta_core::pipeline::dispose::{self, Disposed};
use kta_core::pipeline::retain::{self, Nexus, Retained};
use kta_core::pipeline::transmit::{Disclosure, Filing, transmit};
use kta_core::pipeline::{House, collaborate, enter, manage, store};
use kta_core::policy::{Permit, Purpose, Role};
use kta_core::ports::key_table::{CopiedKey, KeyCopy};
use kta_core::ports::store::{PlacementQuery, Register, SheetQuery};
use kta_core::ports::{Erase, Erased, Ledger as _, Probe, Residue};
use kta_core::{Code, Error};

use road::Cast;

#[tokio::test]
async fn nothing_is_proposed_anew_once_a_destruction_has_begun() {
    let (ports, cast) = road::ports(61).await;
    let house = ports.open().await.unwrap();
    road::until_approved(&ports, &house, &cast).await.unwrap();
    let retained = retained(&house, &cast).await;
    let set = proposed(&house, &retained).await.unwrap().set();
    die_among_the_probes(&ports, &cast, 61).await;

    let refused = proposed(&house, &retained).await.unwrap_err();
    assert_eq!(code(&refused), Code::PrcTransition);
    let begun = dispose::begun(&house, cast.matter).await.unwrap().unwrap();
    let disposed = road::execute(&house, &cast, begun).await.unwrap();
    approved_by_two(&disposed, set);
}

#[tokio::test]
async fn a_final_certificate_names_the_approvals_of_the_interim_one() {
    let (mut ports, cast) = road::ports(62).await;
    ports.crm = Arc::new(MemoryCrm::new().keeping(TimeDelta::days(30)));
    let house = ports.open().await.unwrap();
    let approved = road::until_approved(&ports, &house, &cast).await.unwrap();
    let retained = retained(&house, &cast).await;
    let set = proposed(&house, &retained).await.unwrap().set();
    let disposed = road::execute(&house, &cast, approved).await.unwrap();
    assert!(disposed.interim_until().is_some());

    let refused = proposed(&house, &retained).await.unwrap_err();
    assert_eq!(code(&refused), Code::PrcTransition);
    ports.clock.advance(TimeDelta::days(31));
    let ended = road::finalise(&house, disposed).await.unwrap();
    assert_eq!(ended.interim_until(), None);
    approved_by_two(&ended, set);
}

#[tokio::test]
async fn what_two_make_final_is_certified_once() {
    let (mut ports, cast) = road::ports(63).await;
    ports.crm = Arc::new(MemoryCrm::new().keeping(TimeDelta::days(30)));
    let house = ports.open().await.unwrap();
    let one = road::drive(&ports, &house, &cast).await.unwrap();
    let other = road::drive(&ports, &house, &cast).await.unwrap();
    ports.clock.advance(TimeDelta::days(31));
    let first = road::finalise(&house, one).await.unwrap();
    ports.clock.advance(TimeDelta::days(1));
    let second = road::finalise(&house, other).await.unwrap();
    assert_eq!(second.interim_until(), None);
    assert_eq!(notes(&first), notes(&second));
    let filed = dispose::disposed(&house, cast.matter).await.unwrap();
    assert_eq!(notes(&first), notes(&filed.unwrap()));
}

#[tokio::test]
async fn two_who_certify_at_the_same_moment_sign_a_serial_once() {
    let (mut ports, cast) = road::ports(64).await;
    ports.crm = Arc::new(MemoryCrm::new().keeping(TimeDelta::days(30)));
    let house = ports.open().await.unwrap();
    let one = road::drive(&ports, &house, &cast).await.unwrap();
    let other = road::drive(&ports, &house, &cast).await.unwrap();
    ports.clock.advance(TimeDelta::days(31));
    // The other certifies while the first looks at a place.
    let mut slow = ports.open().await.unwrap();
    manage::wake(&slow).await.unwrap();
    let meddler = Meddler::among(&mut slow);
    *meddler.other.lock().unwrap() = Some((house, other));
    ports.clock.advance(TimeDelta::days(1));
    let ended = road::finalise(&slow, one).await.unwrap();
    assert!(meddler.other.lock().unwrap().is_none());
    let log = ports.store.size(slow.tenant()).await.unwrap();
    let filed = dispose::disposed(&slow, cast.matter).await.unwrap();
    assert_eq!(notes(&ended), notes(&filed.unwrap()));
    let entries = ports
        .store
        .entries(slow.tenant(), 0, log as usize)
        .await
        .unwrap();
    let is_final = |entry: &Vec<u8>| {
        let text = String::from_utf8_lossy(entry);
        text.contains("certificate") && text.contains("\"final\"")
    };
    let certified = entries.iter().filter(|entry| is_final(entry)).count();
    assert_eq!(certified, notes(&ended).len(), "each is anchored once");
}

#[tokio::test]
async fn nothing_is_entered_into_a_matter_whose_destruction_has_begun() {
    let (ports, cast) = road::ports(65).await;
    let house = ports.open().await.unwrap();
    let verified = road::until_verified(&ports, &house, &cast).await.unwrap();
    begin(&ports, &house, &cast).await;

    let paralegal = road::session(&house, Role::Paralegal, Purpose::Representation);
    let refused = enter::enter(&house, &paralegal, verified).await;
    assert_eq!(code(&refused.unwrap_err()), Code::PrcTransition);
    assert!(ports.crm.is_empty());
    let disposed = road::drive(&ports, &house, &cast).await.unwrap();
    assert_eq!(disposed.interim_until(), None);
    gone(&house, &cast).await;
}

#[tokio::test]
async fn what_another_house_began_to_destroy_is_not_filed_here() {
    let (ports, cast) = road::ports(75).await;
    let house = ports.open().await.unwrap();
    let paralegal = road::session(&house, Role::Paralegal, Purpose::Representation);
    let processed = road::until_processed(&ports, &house, &cast).await.unwrap();
    let stored = store::store(&house, &paralegal, processed).await.unwrap();
    let shared = collaborate::collaborate(&house, stored).await.unwrap();
    let other = ports.open().await.unwrap();
    manage::wake(&other).await.unwrap();
    begin(&ports, &other, &cast).await;
    // What this house knows of the matter is what it read before.
    let state = house
        .gate
        .directory(|known| known.matters[&cast.matter].state);
    assert!(!matches!(
        state,
        MatterState::Closed | MatterState::Destroyed
    ));

    let before = placements(&house, &cast).await;
    let document = shared.stored().documents().next().unwrap().id;
    let filing = Filing {
        agency: Label::fixed("us.uscis"),
        form: Label::fixed("i-129"),
        edition: "2025-01-20".parse().unwrap(),
        documents: vec![document],
        authority: Some(Digest::of(b"G-28, signed")),
    };
    let filer = road::session(&house, Role::Attorney, Purpose::Filing);
    let refused = transmit(&house, &filer, shared, filing).await.unwrap_err();
    begun_is_said(&refused);
    let filed: Vec<Disclosure> = house
        .filed_in(Register::Disclosures, cast.matter)
        .await
        .unwrap();
    assert!(filed.is_empty());

    assert_eq!(placements(&house, &cast).await, before);
    let disposed = road::drive(&ports, &other, &cast).await.unwrap();
    assert_eq!(disposed.interim_until(), None);
    gone(&other, &cast).await;
}

/// Closes the matter and begins to destroy it, which stops when nothing is erased yet.
async fn begin(ports: &MemoryPorts, house: &House, cast: &Cast) {
    let attorney = road::session(house, Role::Attorney, Purpose::Representation);
    let day = "2026-12-31".parse().unwrap();
    let closed = manage::close_matter(house, &attorney, cast.matter, day).await;
    closed.unwrap();
    ports.clock.set("2045-01-02T09:00:00Z".parse().unwrap());
    let retained = retained(house, cast).await;
    let approved = road::approved(house, &retained).await.unwrap();
    let mut broken = ports.open().await.unwrap();
    manage::wake(&broken).await.unwrap();
    let meddling = Meddler::among(&mut broken);
    meddling.broken.store(true, Ordering::Relaxed);
    drop(road::execute(&broken, cast, approved).await.unwrap_err());
    assert!(dispose::begun(house, cast.matter).await.unwrap().is_some());
}

fn begun_is_said(refused: &Error) {
    assert_eq!(code(refused), Code::PrcTransition);
    assert!(refused.to_string().contains("destruction"), "{refused}");
}

/// Every copy that the matter has, in whatever state.
async fn placements(house: &House, cast: &Cast) -> Vec<Placement> {
    let query = PlacementQuery::in_matter(house.tenant(), cast.matter);
    house.doors.store.placements(&query).await.unwrap()
}

#[tokio::test]
async fn a_copy_that_came_back_before_it_was_probed_is_erased_again() {
    let (ports, cast) = road::ports(66).await;
    let house = ports.open().await.unwrap();
    let approved = road::until_approved(&ports, &house, &cast).await.unwrap();
    let mut meddled = ports.open().await.unwrap();
    manage::wake(&meddled).await.unwrap();
    let meddling = Meddler::among(&mut meddled);
    *meddling.back.lock().unwrap() = Some(house.doors.crm.system());
    meddling.returning.store(3, Ordering::Relaxed);
    // It comes back once more than it is erased in one run.
    let refused = road::execute(&meddled, &cast, approved).await.unwrap_err();
    assert_eq!(code(&refused), Code::DstResidue);
    let erased = meddling.erased.load(Ordering::Relaxed);
    let disposed = road::drive(&ports, &meddled, &cast).await.unwrap();
    assert_eq!(disposed.interim_until(), None);
    assert!(meddling.erased.load(Ordering::Relaxed) > erased);
    gone(&house, &cast).await;
}

#[tokio::test]
async fn a_copy_restored_while_a_window_runs_is_erased_again_and_the_certificate_final() {
    let (mut ports, cast) = road::ports(71).await;
    ports.crm = Arc::new(MemoryCrm::new().keeping(TimeDelta::days(30)));
    let house = ports.open().await.unwrap();
    let disposed = road::drive(&ports, &house, &cast).await.unwrap();
    ports.clock.advance(TimeDelta::days(31));
    let mut meddled = ports.open().await.unwrap();
    manage::wake(&meddled).await.unwrap();
    let meddling = Meddler::among(&mut meddled);
    *meddling.back.lock().unwrap() = Some(house.doors.crm.system());
    meddling.returning.store(2, Ordering::Relaxed);
    let refused = road::finalise(&meddled, disposed).await.unwrap_err();
    assert_eq!(code(&refused), Code::DstResidue);

    let disposed = dispose::disposed(&meddled, cast.matter).await.unwrap();
    let disposed = disposed.unwrap();
    assert_eq!(erase_again(&meddled, &disposed).await, 1);
    assert_eq!(erase_again(&meddled, &disposed).await, 0);
    assert_eq!(meddling.erased.load(Ordering::Relaxed), 1);
    let ended = road::finalise(&meddled, disposed).await.unwrap();
    assert_eq!(ended.interim_until(), None);
    gone(&house, &cast).await;
}

async fn erase_again(house: &House, disposed: &Disposed) -> usize {
    let destroyer = road::session(house, Role::ServiceDestroy, Purpose::Disposition);
    let prober = road::session(house, Role::Records, Purpose::Disposition);
    let again = dispose::erase_again(house, &destroyer, &prober, disposed).await;
    again.unwrap()
}

#[tokio::test]
async fn a_key_copy_that_was_declared_destroyed_blocks_no_longer() {
    let (ports, cast) = road::ports(67).await;
    let house = ports.open().await.unwrap();
    let approved = road::until_approved(&ports, &house, &cast).await.unwrap();
    let holder = Label::fixed("notary");
    let copy = KeyCopy {
        of: CopiedKey::Subject(cast.people[0]),
        epoch: None,
        holder: holder.clone(),
        since: house.gate.now(),
        destroyed: None,
    };
    house.sealer.keys().declare_copy(copy).await.unwrap();
    let refused = road::execute(&house, &cast, approved).await.unwrap_err();
    assert_eq!(code(&refused), Code::DstCeInvalid);
    let refused = road::drive(&ports, &house, &cast).await.unwrap_err();
    assert_eq!(code(&refused), Code::DstCeInvalid);
    let gone_at = house.gate.now();
    let many = house.sealer.keys().copies_destroyed(&holder, gone_at).await;
    assert_eq!(many.unwrap(), 1);
    let disposed = road::drive(&ports, &house, &cast).await.unwrap();
    assert_eq!(disposed.interim_until(), None);
    for issued in disposed.certificates() {
        assert!(
            issued
                .certificate
                .keys
                .iter()
                .all(|key| key.proven().is_ok())
        );
    }
}

#[tokio::test]
async fn copies_of_somebody_who_is_no_party_any_more_are_not_proposed_unjudged() {
    let (ports, cast) = road::ports(68).await;
    let house = ports.open().await.unwrap();
    let approved = road::until_approved(&ports, &house, &cast).await.unwrap();
    let child = cast.people[2];
    parties(&house, &cast, |parties| {
        parties.retain(|id, _| *id != child)
    })
    .await
    .unwrap();
    let retained = retained(&house, &cast).await;
    let refused = proposed(&house, &retained).await.unwrap_err();
    assert_eq!(code(&refused), Code::RetUnclassed);
    let refused = road::execute(&house, &cast, approved).await.unwrap_err();
    assert_eq!(code(&refused), Code::RetUnclassed);
    assert_eq!(noted(&house, "erased:").await, 0);
}

#[tokio::test]
async fn a_party_that_came_after_the_approvals_stops_the_destruction() {
    let (ports, cast) = road::ports(69).await;
    let house = ports.open().await.unwrap();
    let approved = road::until_approved(&ports, &house, &cast).await.unwrap();
    let late = SubjectId::derived(&[b"a late party"]);
    let added = parties(&house, &cast, |parties| {
        parties.insert(late, Party::Child);
    });
    added.await.unwrap();
    let refused = road::execute(&house, &cast, approved).await.unwrap_err();
    assert_eq!(code(&refused), Code::DspChanged);
    // Approved as it is now, it goes, with the key that the late party was given.
    let disposed = road::drive(&ports, &house, &cast).await.unwrap();
    assert_eq!(disposed.certificates().len(), 6);
    assert!(house.sealer.keys().is_erased(late).await.unwrap());
}

#[tokio::test]
async fn the_parties_stay_once_a_destruction_has_begun() {
    let (ports, cast) = road::ports(70).await;
    let house = ports.open().await.unwrap();
    let approved = road::until_approved(&ports, &house, &cast).await.unwrap();
    let mut broken = ports.open().await.unwrap();
    manage::wake(&broken).await.unwrap();
    let meddling = Meddler::among(&mut broken);
    meddling.broken.store(true, Ordering::Relaxed);
    drop(road::execute(&broken, &cast, approved).await.unwrap_err());
    let child = cast.people[2];
    let refused = parties(&house, &cast, |parties| {
        parties.retain(|id, _| *id != child)
    })
    .await;
    assert_eq!(code(&refused.unwrap_err()), Code::PrcTransition);
    let disposed = road::drive(&ports, &house, &cast).await.unwrap();
    assert_eq!(disposed.certificates().len(), 5);
}

async fn parties(
    house: &House,
    cast: &Cast,
    change: impl Fn(&mut BTreeMap<SubjectId, Party>),
) -> kta_core::Result<()> {
    let attorney = road::session(house, Role::Attorney, Purpose::Representation);
    let amended = manage::amend_matter(house, &attorney, cast.matter, "parties", |matter| {
        change(&mut matter.parties);
        Ok(())
    });
    amended.await.map(drop)
}

/// Kills a destruction among its last probes, before there is a certificate.
async fn die_among_the_probes(ports: &MemoryPorts, cast: &Cast, seed: u64) {
    let (twin, same) = road::ports(seed).await;
    let house = twin.open().await.unwrap();
    let approved = road::until_approved(&twin, &house, &same).await.unwrap();
    let plan = FaultPlan::none();
    let undisturbed = twin.open_under(&plan).await.unwrap();
    manage::wake(&undisturbed).await.unwrap();
    road::execute(&undisturbed, &same, approved).await.unwrap();

    let house = ports.open().await.unwrap();
    manage::wake(&house).await.unwrap();
    let approved = road::until_approved(ports, &house, cast).await.unwrap();
    let plan = FaultPlan::at(plan.calls() - 60, Strike::DeadBefore);
    let dying = ports.open_under(&plan).await.unwrap();
    manage::wake(&dying).await.unwrap();
    drop(road::execute(&dying, cast, approved).await.unwrap_err());
    plan.heal();
    assert!(noted(&house, "probed:").await > 0);
    assert!(
        dispose::disposed(&house, cast.matter)
            .await
            .unwrap()
            .is_none()
    );
}

/// How many sheets of the journals begin with this word.
async fn noted(house: &House, word: &str) -> usize {
    let query = SheetQuery::all(house.tenant(), Register::Dispositions);
    let sheets = house.doors.store.sheets(&query).await.unwrap();
    let named = sheets.iter().filter(|it| it.id.as_str().starts_with(word));
    named.count()
}

/// Every certificate is over the set that two people approved, and names them.
fn approved_by_two(disposed: &Disposed, set: Digest) {
    assert_eq!(disposed.certificates().len(), 5);
    for issued in disposed.certificates() {
        assert_eq!(issued.certificate.set, set);
        let names: Vec<_> = issued
            .certificate
            .approvals
            .keys()
            .map(Label::as_str)
            .collect();
        assert_eq!(names, ["first", "proposed", "second"]);
    }
}

/// What was signed.
fn notes(disposed: &Disposed) -> Vec<String> {
    let mut notes: Vec<_> = disposed
        .certificates()
        .iter()
        .map(|one| one.note.clone())
        .collect();
    notes.sort();
    notes
}

/// Every copy of the matter was observed absent.
async fn gone(house: &House, cast: &Cast) {
    let query = PlacementQuery::in_matter(house.tenant(), cast.matter);
    let copies = house.doors.store.placements(&query).await.unwrap();
    for copy in copies {
        let gone = matches!(
            copy.state,
            PlacementState::Absent { .. } | PlacementState::Withdrawn { .. }
        );
        assert!(gone, "{copy:?}");
    }
}

/// What happens to the systems of a house behind its back.
#[derive(Debug, Default)]
struct Meddling {
    /// Nothing can be erased.
    broken: AtomicBool,
    /// The system in which erased copies come back, and how often they still do.
    back: Mutex<Option<System>>,
    returning: AtomicUsize,
    /// How often something was erased.
    erased: AtomicUsize,
    /// Who certifies while somebody else looks.
    other: Mutex<Option<(House, Disposed)>>,
}

#[derive(Debug)]
struct Meddler {
    within: Arc<dyn Erase>,
    meddling: Arc<Meddling>,
}

impl Meddler {
    fn among(house: &mut House) -> Arc<Meddling> {
        let meddling = Arc::new(Meddling::default());
        for eraser in &mut house.doors.erasers {
            *eraser = Arc::new(Self {
                within: Arc::clone(eraser),
                meddling: Arc::clone(&meddling),
            });
        }
        meddling
    }

    fn comes_back(&self) -> bool {
        let at = self.meddling.back.lock().unwrap().clone();
        at.as_ref() == Some(&self.system()) && self.meddling.returning.load(Ordering::Relaxed) > 0
    }
}

#[async_trait]
impl Erase for Meddler {
    fn system(&self) -> System {
        self.within.system()
    }

    async fn erase(
        &self,
        placement: &Placement,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> kta_core::Result<Erased> {
        if self.meddling.broken.load(Ordering::Relaxed) {
            return Err(Fault::new(FaultKind::Unavailable, Port::Erase, "erase").into());
        }
        self.meddling.erased.fetch_add(1, Ordering::Relaxed);
        self.within.erase(placement, key, permit).await
    }

    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> kta_core::Result<Probe> {
        let other = self.meddling.other.lock().unwrap().take();
        if let Some((house, disposed)) = other {
            let ended = road::finalise(&house, disposed).await.unwrap();
            assert_eq!(ended.interim_until(), None);
        }
        let mut probe = self.within.probe(placement, permit).await?;
        if self.comes_back() {
            self.meddling.returning.fetch_sub(1, Ordering::Relaxed);
            probe.residues.push(Residue {
                what: Label::fixed("restored"),
                until: None,
                content: true,
            });
        }
        Ok(probe)
    }
}

async fn retained(house: &House, cast: &Cast) -> Retained {
    let service = road::session(house, Role::ServiceRetention, Purpose::Retention);
    let nexus = Nexus::default();
    let retained = retain::reconsider(house, &service, cast.matter, &nexus);
    retained.await.unwrap()
}

async fn proposed(house: &House, retained: &Retained) -> kta_core::Result<dispose::Proposed> {
    let records = road::session(house, Role::Records, Purpose::Disposition);
    dispose::propose(house, &records, retained).await
}

fn code(error: &Error) -> Code {
    error.refusal().expect("a refusal").code()
}
