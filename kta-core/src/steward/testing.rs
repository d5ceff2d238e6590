//! A founded house for the wing's tests: one actor in every role, invented, in memory.

use crate::audit::Entry;
use crate::id::ActorId;
use crate::memory::MemoryPorts;
use crate::pipeline::{House, manage};
use crate::policy::{Actor, Purpose, Role, Session};
use crate::ports::Ledger as _;

pub(super) async fn founded(seed: u64) -> (MemoryPorts, House) {
    let ports = MemoryPorts::new(seed, "2026-11-22T09:00:00Z".parse().unwrap());
    let house = ports.open().await.unwrap();
    let actors = Role::ALL
        .iter()
        .map(|role| Actor::new(actor(*role), *role))
        .collect();
    manage::found(&house, actor(Role::Ciso), actors)
        .await
        .unwrap();
    (ports, house)
}

pub(super) fn actor(role: Role) -> ActorId {
    ActorId::derived(&[role.as_str().as_bytes()])
}

pub(super) fn session(house: &House, role: Role) -> Session<'_> {
    house.session(actor(role), role, Purpose::Compliance)
}

pub(super) async fn entries(ports: &MemoryPorts, house: &House) -> Vec<Entry> {
    let all = ports
        .store
        .entries(house.tenant(), 0, usize::MAX)
        .await
        .unwrap();
    all.iter()
        .map(|bytes| Entry::parse(bytes).unwrap())
        .collect()
}
