//! Erasing a person's rows under permits of a desk, and looking for what is left.

use kta_core::conformance::Desk;
use kta_core::conformance::store::Samples;
use kta_core::id::{IdempotencyKey, PlacementId, RecordId};
use kta_core::pii::placement::CopyOf;
use kta_core::pii::{Category, Placement, PlacementKind, PlacementState, Record};
use kta_core::policy::{Act, Role};
use kta_core::ports::store::{Change, ChangeSet, Expected};
use kta_core::ports::{Erase, Erased, Probe, Store};

/// Writes a record with two index tags.
pub async fn put(store: &dyn Store, desk: &Desk, record: &Record) {
    let rows = Samples {
        tenant: desk.tenant(),
    };
    let put = Change::PutRecord {
        record: record.clone(),
        index: vec![rows.tag(1), rows.tag(2)],
        expected: Expected::Absent,
    };
    store
        .commit(ChangeSet::new(desk.tenant(), desk.now()).with(put))
        .await
        .unwrap();
}

pub async fn erase(eraser: &dyn Erase, desk: &Desk, copy: &Placement) -> kta_core::Result<Erased> {
    let session = desk.session(Role::ServiceDestroy);
    let scope = desk.scope(desk.beneficiary(), Category::Case);
    let permit = session.permit(Act::Destroy, scope).await.unwrap();
    let key = IdempotencyKey::derived("erase", &[copy.id.as_bytes()]);
    eraser.erase(copy, key, &permit).await
}

pub async fn probe(eraser: &dyn Erase, desk: &Desk, copy: &Placement) -> Probe {
    let session = desk.session(Role::ServiceDestroy);
    let scope = desk.scope(desk.beneficiary(), Category::Case);
    let permit = session.permit(Act::Probe, scope).await.unwrap();
    eraser.probe(copy, &permit).await.unwrap()
}

/// What a probe saw, in the order of the words.
pub fn found(probe: &Probe) -> Vec<&str> {
    let mut what: Vec<_> = probe
        .residues
        .iter()
        .map(|residue| residue.what.as_str())
        .collect();
    what.sort_unstable();
    what
}

/// A copy of a record of the beneficiary's in the store.
pub fn placement(desk: &Desk, kind: PlacementKind, record: RecordId) -> Placement {
    Placement {
        tenant: desk.tenant(),
        id: PlacementId::derived(&[record.as_bytes()]),
        subject: desk.beneficiary(),
        matter: Some(desk.matter()),
        system: Placement::STORE,
        kind,
        of: CopyOf::Record(record),
        category: Category::Case,
        locator: None,
        state: PlacementState::Present,
        since: desk.now(),
    }
}
