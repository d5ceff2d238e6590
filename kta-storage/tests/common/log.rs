//! Entries, and whether two say the same of a log.

use kta_core::conformance::store::Samples;
use kta_core::ports::store::{ChangeSet, Ledger};

/// A change set with so many entries about several people.
pub fn said(rows: &Samples, many: usize, now: i64) -> ChangeSet {
    let event =
        |number: usize| rows.event((!number.is_multiple_of(4)).then_some(number as u8 % 50));
    (0..many).map(event).fold(rows.set(now), ChangeSet::event)
}

/// One says of the log what the other does, whoever asks for what part of it.
pub async fn agree(one: &impl Ledger, other: &impl Ledger, rows: &Samples) {
    let size = other.size(rows.tenant).await.unwrap();
    assert_eq!(one.size(rows.tenant).await.unwrap(), size);
    for (from, limit) in [
        (0, usize::MAX),
        (0, 1),
        (1, 64),
        (size / 2, 1),
        (size / 3, 200),
        (size - 1, 9),
        (size, 9),
        (u64::MAX, 9),
        (3, 0),
    ] {
        let entries = one.entries(rows.tenant, from, limit).await.unwrap();
        assert_eq!(
            entries,
            other.entries(rows.tenant, from, limit).await.unwrap(),
            "{from} {limit}"
        );
    }
}
