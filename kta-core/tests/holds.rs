//! Legal holds: no sequence of calls destroys what is held, by whatever path.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(dead_code, reason = "each test binary uses a part of the road")]

mod road;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::TimeDelta;
use kta_core::Code;
use kta_core::audit::Label;
use kta_core::error::Error;
use kta_core::id::{HoldId, IdempotencyKey, MatterId, PlacementId, SubjectId};
use kta_core::memory::{ManualClock, MemoryPorts};
use kta_core::pii::Placement;
use kta_core::pipeline::{House, manage, receive, retain};
use kta_core::policy::{Act, Purpose, Role, Scope};
use kta_core::ports::blobs::BlobId;
use kta_core::ports::store::{
    Change, ChangeSet, HoldQuery, PlacementQuery, RecordBy, RecordQuery, Store as _,
};
use kta_core::retention::{Hold, Watch};
use kta_core::time::Timestamp;

use road::Cast;

/// A family whose destruction two people approved, and a second matter of the same parents.
struct World {
    ports: MemoryPorts,
    house: House,
    first: Cast,
    second: Cast,
    chance: u64,
    refused: u32,
    destroyed: u32,
}

impl World {
    async fn new(seed: u64) -> Self {
        let (ports, first) = road::ports(seed).await;
        let house = ports.open().await.unwrap();
        let second = road::second_matter(&ports, &house, &first).await;
        road::until_approved(&ports, &house, &first).await.unwrap();
        Self {
            ports,
            house,
            first,
            second,
            chance: seed,
            refused: 0,
            destroyed: 0,
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.chance = self
            .chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33) as usize % end
    }

    /// One step, any of those that place or release a hold or take something away.
    async fn step(&mut self) {
        match self.below(12) {
            0 => drop(self.hold(&[], Some(self.first.matter)).await),
            1 => {
                let person = self.person();
                drop(self.hold(&[person], None).await);
            }
            2 => drop(self.hold(&[], Some(self.second.matter)).await),
            3 | 4 => self.release().await,
            5 => {
                let outcome = road::drive(&self.ports, &self.house, &self.first).await;
                self.note(outcome.map(drop));
            }
            6 => self.erase_one().await,
            7 => self.remove_blob().await,
            8 => self.remove_document().await,
            9 => self.remove_record().await,
            10 => {
                let attorney = road::session(&self.house, Role::Attorney, Purpose::Representation);
                let (one, other) = (self.first.people[2], self.second.people[2]);
                manage::same_person(&self.house, &attorney, one, other)
                    .await
                    .unwrap();
            }
            _ => {
                let destroyer =
                    road::session(&self.house, Role::ServiceDestroy, Purpose::Disposition);
                let delivery = self.first.deliveries[0];
                let outcome = receive::discard(&self.house, &destroyer, delivery).await;
                self.note(outcome);
            }
        }
    }

    /// Erases one copy at its system's own door, under a permit within its matter, within another
    /// one, or within none; now and then a hold comes after the permit.
    async fn erase_one(&mut self) {
        let all = self.placements().await;
        let placement = all[self.below(all.len())].clone();
        let within = match self.below(3) {
            0 => None,
            1 => Some(self.second.matter),
            _ => placement.matter,
        };
        let late = self.below(3) == 0;
        let destroyer = road::session(&self.house, Role::ServiceDestroy, Purpose::Disposition);
        let scope = Scope::of(placement.subject, placement.category).in_matter(within);
        let permit = match destroyer.permit(Act::Destroy, scope).await {
            Ok(permit) => permit,
            Err(error) => {
                self.refused += u32::from(is_hold(&error));
                return;
            }
        };
        if late {
            hold(&self.house, &[], Some(self.first.matter)).await;
        }
        let key = IdempotencyKey::derived("test", &[placement.id.as_bytes()]);
        let eraser = self.house.eraser(&placement.system).unwrap();
        let outcome = eraser.erase(&placement, key, &permit).await.map(drop);
        assert!(!late || outcome.is_err(), "a permit outlived a hold");
        assert!(
            within != Some(self.second.matter) || outcome.is_err(),
            "a permit for one matter destroyed in another"
        );
        drop(permit);
        self.note(outcome);
    }

    async fn remove_blob(&mut self) {
        let blobs = self.ports.blobs.stored();
        if blobs.is_empty() {
            return;
        }
        let id: BlobId = blobs[self.below(blobs.len())].0;
        let within = [None, Some(self.first.matter), Some(self.second.matter)];
        let within = within[self.below(3)];
        let destroyer = road::session(&self.house, Role::ServiceDestroy, Purpose::Disposition);
        let category = kta_core::pii::Category::Identity;
        let scope = Scope::of(id.subject, category).in_matter(within);
        let Ok(permit) = destroyer.permit(Act::Destroy, scope).await else {
            self.refused += 1;
            return;
        };
        let outcome = self.house.doors.blobs.remove(&id, &permit).await;
        drop(permit);
        self.note(outcome);
    }

    /// Takes a file out of the library the ordinary way, which is no destruction by name.
    async fn remove_document(&mut self) {
        let library = self.house.doors.documents.clone();
        let mut files = self.placements().await;
        files.retain(|placement| {
            placement.system.as_str().contains("library") && placement.locator.is_some()
        });
        if files.is_empty() {
            return;
        }
        let file = files[self.below(files.len())].clone();
        let attorney = road::session(&self.house, Role::Attorney, Purpose::Representation);
        let scope = Scope::of(file.subject, file.category).in_matter(file.matter);
        let Ok(permit) = attorney.permit(Act::Amend, scope).await else {
            return;
        };
        let locator = file.locator.unwrap();
        let outcome = library.remove(file.subject, &locator, &permit).await;
        drop(permit);
        self.note(outcome);
    }

    async fn remove_record(&mut self) {
        let query = RecordQuery::all(self.house.tenant(), RecordBy::Matter(self.first.matter));
        let records = self.ports.store.records(&query).await.unwrap();
        if records.is_empty() {
            return;
        }
        let key = records[self.below(records.len())].key;
        let change = ChangeSet::new(self.house.tenant(), self.house.gate.now());
        let change = change.with(Change::RemoveRecord(key));
        let outcome = self.ports.store.commit(change).await;
        self.note(outcome.map(drop));
    }

    fn note(&mut self, outcome: Result<(), Error>) {
        match outcome {
            Ok(()) => self.destroyed += 1,
            Err(error) => {
                assert!(error.refusal().is_some(), "{error}");
                self.refused += u32::from(is_hold(&error));
            }
        }
    }

    fn person(&mut self) -> SubjectId {
        let place = self.below(6);
        // The last is a child under the id that the second matter has.
        self.first
            .people
            .get(place)
            .copied()
            .unwrap_or(self.second.people[2])
    }

    async fn hold(&self, people: &[SubjectId], matter: Option<MatterId>) -> Hold {
        hold(&self.house, people, matter).await
    }

    async fn release(&mut self) {
        let holds = active(&self.house).await;
        if holds.is_empty() {
            return;
        }
        let id = holds[self.below(holds.len())].id;
        let counsel = road::session(&self.house, Role::LegalHold, Purpose::Compliance);
        manage::release_hold(&self.house, &counsel, id)
            .await
            .unwrap();
    }

    async fn placements(&self) -> Vec<Placement> {
        let query = PlacementQuery::in_matter(self.house.tenant(), self.first.matter);
        self.ports.store.placements(&query).await.unwrap()
    }

    /// Everything of the family that is there, whether a hold covers it, and whose keys are.
    async fn state(&self) -> (BTreeMap<PlacementId, bool>, BTreeMap<SubjectId, bool>) {
        let holds = active(&self.house).await;
        let known_as = |subject| self.house.gate.directory(|all| all.known_as(subject));
        let prober = road::session(&self.house, Role::ServiceDestroy, Purpose::Disposition);
        let mut copies = BTreeMap::new();
        for copy in self.placements().await {
            let scope = Scope::of(copy.subject, copy.category).in_matter(copy.matter);
            let permit = prober.permit(Act::Probe, scope).await.unwrap();
            let eraser = self.house.eraser(&copy.system).unwrap();
            let probe = eraser.probe(&copy, &permit).await.unwrap();
            if probe
                .residues
                .iter()
                .any(|left| left.content && left.until.is_none())
            {
                let ids = known_as(copy.subject);
                let held = holds.iter().any(|hold| {
                    !hold.subjects.is_disjoint(&ids)
                        || copy
                            .matter
                            .is_some_and(|matter| hold.matters.contains(&matter))
                });
                copies.insert(copy.id, held);
            }
        }
        let mut keys = BTreeMap::new();
        for person in self.first.people {
            if !self.house.sealer.keys().is_erased(person).await.unwrap() {
                let ids = known_as(person);
                // A hold on a matter holds the people in it, under whatever id they stand there.
                let matters: BTreeSet<_> = self
                    .house
                    .gate
                    .directory(|all| all.matters_of(person).collect());
                let held = holds.iter().any(|hold| {
                    !hold.subjects.is_disjoint(&ids) || !hold.matters.is_disjoint(&matters)
                });
                keys.insert(person, held);
            }
        }
        (copies, keys)
    }
}

#[tokio::test]
async fn no_sequence_of_calls_destroys_what_is_held() {
    let (mut refused, mut destroyed, mut gone) = (0, 0, 0);
    for seed in 0..SEQUENCES {
        let mut world = World::new(100 + seed).await;
        let (mut copies, mut keys) = world.state().await;
        for step in 0..STEPS {
            world.step().await;
            let (now, keys_now) = world.state().await;
            for (copy, _) in copies.iter().filter(|(_, held)| **held) {
                assert!(
                    now.contains_key(copy),
                    "seed {seed}, step {step}: a held copy is gone"
                );
            }
            for (person, _) in keys.iter().filter(|(_, held)| **held) {
                assert!(
                    keys_now.contains_key(person),
                    "seed {seed}, step {step}: a held key"
                );
            }
            gone += copies.len().saturating_sub(now.len());
            (copies, keys) = (now, keys_now);
        }
        refused += world.refused;
        destroyed += world.destroyed;
    }
    // Holds stood in the way, and what was not held did go.
    assert!(
        refused > 15 && destroyed > 15 && gone > 30,
        "{refused} {destroyed} {gone}"
    );
}

#[tokio::test]
async fn a_hold_on_one_id_of_a_person_covers_the_others_also_those_learned_later() {
    let world = World::new(7).await;
    let (child, again) = (world.first.people[2], world.second.people[2]);
    let placed = world.hold(&[again], None).await;
    // Until somebody says so these are two children.
    assert_eq!(placed.subjects, BTreeSet::from([again]));
    let attorney = road::session(&world.house, Role::Attorney, Purpose::Representation);
    manage::same_person(&world.house, &attorney, child, again)
        .await
        .unwrap();
    let holds = active(&world.house).await;
    assert!(
        holds
            .iter()
            .any(|hold| hold.subjects == BTreeSet::from([child]) && hold.reason == placed.reason)
    );
    let refused = road::drive(&world.ports, &world.house, &world.first)
        .await
        .unwrap_err();
    assert_eq!(code(&refused), Code::DstHold);
    // A later hold on one names both, and a restart forgets nothing.
    let placed = world.hold(&[child], None).await;
    assert_eq!(placed.subjects, BTreeSet::from([child, again]));
    let house = world.ports.open().await.unwrap();
    manage::wake(&house).await.unwrap();
    assert_eq!(
        house.gate.directory(|all| all.known_as(again)),
        BTreeSet::from([child, again])
    );
    let nobody = manage::same_person(
        &world.house,
        &attorney,
        child,
        SubjectId::derived(&[b"nobody"]),
    );
    assert_eq!(code(&nobody.await.unwrap_err()), Code::AclDeny);
}

#[tokio::test]
async fn a_hold_stops_permits_that_were_given_out_before_it() {
    let world = World::new(8).await;
    let placement = world.placements().await.remove(0);
    let destroyer = road::session(&world.house, Role::ServiceDestroy, Purpose::Disposition);
    let scope = Scope::of(placement.subject, placement.category).in_matter(placement.matter);
    let permit = destroyer.permit(Act::Destroy, scope).await.unwrap();
    let hold = world.hold(&[], placement.matter).await;
    let eraser = world.house.eraser(&placement.system).unwrap();
    let key = IdempotencyKey::derived("test", &[placement.id.as_bytes()]);
    let refused = eraser.erase(&placement, key, &permit).await.unwrap_err();
    assert_eq!(code(&refused), Code::DstHold);
    let counsel = road::session(&world.house, Role::LegalHold, Purpose::Compliance);
    manage::release_hold(&world.house, &counsel, hold.id)
        .await
        .unwrap();
    eraser.erase(&placement, key, &permit).await.unwrap();
}

#[tokio::test]
async fn a_hold_is_never_dated_back_altered_or_released_twice() {
    let world = World::new(9).await;
    let now = world.house.gate.now();
    let hold = Hold {
        tenant: world.house.tenant(),
        id: HoldId::derived(&[b"back-dated"]),
        subjects: BTreeSet::from([world.first.people[0]]),
        matters: BTreeSet::new(),
        reason: Label::fixed("litigation.back-dated"),
        placed_by: world.first.actor(Role::LegalHold),
        placed_at: now - TimeDelta::days(400),
        released: None,
    };
    let place = |hold: &Hold, at: Timestamp| {
        world
            .ports
            .store
            .commit(ChangeSet::new(hold.tenant, at).with(Change::PlaceHold(hold.clone())))
    };
    place(&hold, now - TimeDelta::days(400)).await.unwrap();
    assert!(
        active(&world.house).await[0].placed_at >= now,
        "the store dates it"
    );
    assert!(place(&hold, now).await.is_err(), "placed once");
    let counsel = road::session(&world.house, Role::LegalHold, Purpose::Compliance);
    manage::release_hold(&world.house, &counsel, hold.id)
        .await
        .unwrap();
    assert!(
        place(&hold, now).await.is_err(),
        "not placed again under the same id"
    );
    assert_eq!(
        code(
            &manage::release_hold(&world.house, &counsel, hold.id)
                .await
                .unwrap_err()
        ),
        Code::AclDeny
    );
    let all = HoldQuery {
        tenant: hold.tenant,
        subject: None,
        matter: None,
        active: false,
    };
    let kept = world.ports.store.holds(&all).await.unwrap();
    assert!(
        kept.len() == 1 && kept[0].released.is_some(),
        "a released hold stays on record"
    );
}

#[tokio::test]
async fn only_counsel_places_and_releases_and_who_destroys_never_does() {
    let world = World::new(10).await;
    for role in [
        Role::Records,
        Role::ServiceDestroy,
        Role::Sysadmin,
        Role::Paralegal,
    ] {
        let other = road::session(&world.house, role, Purpose::Compliance);
        let reason = Label::fixed("litigation.other");
        let placed =
            manage::place_hold(&world.house, &other, &[], Some(world.first.matter), reason);
        assert!(placed.await.is_err(), "{role:?}");
    }
    let hold = world.hold(&[], Some(world.first.matter)).await;
    for role in [
        Role::Records,
        Role::ServiceDestroy,
        Role::Dpo,
        Role::Sysadmin,
    ] {
        let other = road::session(&world.house, role, Purpose::Compliance);
        assert!(
            manage::release_hold(&world.house, &other, hold.id)
                .await
                .is_err(),
            "{role:?}"
        );
    }
}

#[tokio::test]
async fn a_clock_that_jumped_stops_destruction_until_a_person_confirms_it() {
    let (ports, cast) = road::ports(11).await;
    let mut house = ports.open().await.unwrap();
    house.watch = Some(Watch::default());
    // The road sets the clock nineteen years ahead before it evaluates.
    let refused = road::until_approved(&ports, &house, &cast)
        .await
        .unwrap_err();
    assert_eq!(code(&refused), Code::SynSkew);
    // Ordinary work at the wrong time does not make the clock right.
    let service = road::session(&house, Role::ServiceRetention, Purpose::Retention);
    let nexus = retain::Nexus::default();
    let again = retain::reconsider(&house, &service, cast.matter, &nexus).await;
    assert_eq!(code(&again.unwrap_err()), Code::SynSkew);
    // Somebody may not confirm what other clocks contradict.
    let other = ManualClock::at("2026-12-31T09:00:00Z".parse().unwrap());
    let watch = Watch {
        others: vec![Arc::new(other.clone())],
        ..Watch::default()
    };
    house.watch = Some(watch);
    let ciso = road::session(&house, Role::Ciso, Purpose::Compliance);
    assert_eq!(
        code(&retain::confirm_clock(&house, &ciso).await.unwrap_err()),
        Code::SynSkew
    );
    other.set(house.gate.now());
    retain::confirm_clock(&house, &ciso).await.unwrap();
    let service = road::session(&house, Role::ServiceRetention, Purpose::Retention);
    retain::reconsider(&house, &service, cast.matter, &nexus)
        .await
        .unwrap();
    // Back again is wrong, too.
    ports.clock.advance(-TimeDelta::days(1));
    other.set(house.gate.now());
    let back = retain::reconsider(&house, &service, cast.matter, &nexus).await;
    assert_eq!(code(&back.unwrap_err()), Code::SynSkew);
}

#[tokio::test]
async fn the_population_says_who_is_a_child_and_when_it_comes_of_age() {
    let (ports, cast) = road::ports(12).await;
    let house = ports.open().await.unwrap();
    road::until_transmitted(&ports, &house, &cast)
        .await
        .unwrap();
    let service = road::session(&house, Role::ServiceRetention, Purpose::Retention);
    let known = retain::population(&house, &service, cast.matter, &retain::Nexus::default())
        .await
        .unwrap();
    let (class, child) = &known[&cast.people[2]];
    assert_eq!(class.as_str(), "CASE.FILE");
    assert!(child.nexus.contains(&Label::fixed("party.child")));
    assert!(child.triggers.contains_key(&Label::fixed("majority")));
    let (_, parent) = &known[&cast.people[0]];
    assert!(!parent.nexus.contains(&Label::fixed("party.child")));
    assert!(!parent.triggers.contains_key(&Label::fixed("majority")));
}

async fn hold(house: &House, people: &[SubjectId], matter: Option<MatterId>) -> Hold {
    let counsel = road::session(house, Role::LegalHold, Purpose::Compliance);
    let reason = Label::fixed("litigation.test");
    manage::place_hold(house, &counsel, people, matter, reason)
        .await
        .unwrap()
}

async fn active(house: &House) -> Vec<Hold> {
    let query = HoldQuery {
        tenant: house.tenant(),
        subject: None,
        matter: None,
        active: true,
    };
    house.doors.store.holds(&query).await.unwrap()
}

fn is_hold(error: &Error) -> bool {
    matches!(
        error.refusal().map(kta_core::Refusal::code),
        Some(Code::DstHold | Code::DspHold)
    )
}

fn code(error: &Error) -> Code {
    error.refusal().expect("a refusal").code()
}

const SEQUENCES: u64 = 120;
const STEPS: u32 = 14;
