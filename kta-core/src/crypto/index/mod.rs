//! Exact-match search without keeping what is searched for: a keyed, truncated blind index.
//!
//! An entry is the first few bits of an HMAC-SHA256 over the [normal form](Normal) of a value,
//! under a key derived from the tenant's index key for that field. Without the key an entry says
//! nothing about the value. With the rows alone one still sees *that* two entries are equal:
//! truncation makes several values share each entry, so that equal entries do not mean equal
//! values, and rows found must be checked by opening them. The [`IndexPlan`] chooses the length
//! so that two to four rows share an entry, says what leaks, and refuses fields of which there
//! are too few values: counting alone would tell them.
//!
//! Entries belong to a person's records and go with them. What stays true after an erasure:
//! somebody who has an old copy of the entries *and* the live index key can test whether a
//! guessed value was among them. Ending an index epoch
//! ([`Hierarchy::retire_index`](super::Hierarchy::retire_index)) closes that.
//!
//! ```
//! use kta_core::crypto::{IndexKey, IndexPlan, SecretKey, index::Normal};
//! use kta_core::id::TenantId;
//! # let tenant = TenantId::derived(&[b"invented"]);
//! # let secret = SecretKey::from_bytes([7; 32]);
//! let key = IndexKey::new(tenant, 1, &secret); // from Hierarchy::index_key
//! let plan = IndexPlan::new("email", 1 << 40, 50_000).expect("there are many addresses");
//! let one = Normal::email("Testa@Example.org ").expect("an address");
//! let other = Normal::email("testa@example.org").expect("an address");
//! assert_eq!(key.tag(&plan, &one), key.tag(&plan, &other));
//! assert_eq!(plan.bits(), 14);
//! ```

mod ids;
mod names;
mod normal;
mod plan;

pub use names::NameForms;
pub use normal::{Normal, NotNormal};
pub use plan::{IndexPlan, IndexRefused};

use core::fmt;

use serde::{Deserialize, Serialize};

use super::derive::{Prk, hmac, push};
use super::secret::SecretKey;
use crate::id::{Digest, TenantId};

/// A tenant's index key of one index epoch.
/// [`Hierarchy::index_key`](super::Hierarchy::index_key) hands it out.
pub struct IndexKey {
    tenant: TenantId,
    epoch: u32,
    rows: u64,
    prk: Prk,
}

impl IndexKey {
    /// The index key with these bytes, for an index of the usual size.
    #[must_use]
    pub fn new(tenant: TenantId, epoch: u32, key: &SecretKey) -> Self {
        Self {
            tenant,
            epoch,
            rows: IndexPlan::USUAL_ROWS,
            prk: Prk::extract(key),
        }
    }

    /// The same for an index of this many rows.
    #[must_use]
    pub const fn planned_for(mut self, rows: u64) -> Self {
        self.rows = rows;
        self
    }

    /// For how many rows its entries are planned.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// The index epoch, counted from 1.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The entry of a value.
    #[must_use]
    pub fn tag(&self, plan: &IndexPlan, value: &Normal) -> IndexTag {
        let mut info = Vec::with_capacity(64 + plan.field().len());
        info.extend_from_slice(b"kta1 index field");
        push(&mut info, self.tenant.as_bytes());
        push(&mut info, plan.field().as_bytes());
        let key = self.prk.expand(&[&info]);
        let mac = hmac(&*key, &[value.as_bytes()]);
        let bits = usize::from(plan.bits());
        let mut bytes = Vec::with_capacity(5 + bits.div_ceil(8));
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.push(plan.bits());
        bytes.extend_from_slice(&mac[..bits.div_ceil(8)]);
        if let (Some(last), rest @ 1..) = (bytes.last_mut(), bits % 8) {
            *last &= 0xFF << (8 - rest);
        }
        IndexTag(bytes)
    }

    /// The keyed mark of a value that identifies a person by itself: a whole MAC, not cut
    /// short, because a mark decides and is not checked by opening anything. Marks use labels of
    /// their own, so that no entry of the index is part of one.
    #[must_use]
    pub fn mark(&self, field: &str, value: &Normal) -> Digest {
        let mut info = Vec::with_capacity(64 + field.len());
        info.extend_from_slice(b"kta1 suppression mark");
        push(&mut info, self.tenant.as_bytes());
        push(&mut info, field.as_bytes());
        let key = self.prk.expand(&[&info]);
        Digest::from_bytes(hmac(&*key, &[value.as_bytes()]))
    }
}

impl fmt::Debug for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexKey(epoch {}, ..)", self.epoch)
    }
}

/// An entry of the blind index: four bytes of index epoch, one byte that counts the bits, then
/// the bits, filled up with zeros. Compare and look up the bytes as they are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IndexTag(#[serde(with = "crate::text::base64")] Vec<u8>);

impl IndexTag {
    /// An entry as it was stored.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for IndexTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexTag({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn key() -> IndexKey {
        IndexKey::new(
            TenantId::from_bytes([1; 16]),
            3,
            &SecretKey::from_bytes([7; 32]),
        )
    }

    fn email(number: u32) -> Normal {
        Normal::email(&format!("testa.{number}@example.org")).unwrap()
    }

    #[test]
    fn an_entry_depends_on_key_field_and_value() {
        let plan = IndexPlan::new("email", 1 << 40, 1 << 40).unwrap();
        let tag = key().tag(&plan, &email(1));
        assert_eq!(tag, key().tag(&plan, &email(1)));
        assert_ne!(tag, key().tag(&plan, &email(2)));
        let other = IndexPlan::new("email.second", 1 << 40, 1 << 40).unwrap();
        assert_ne!(tag, key().tag(&other, &email(1)));
        let secret = SecretKey::from_bytes([7; 32]);
        let later = IndexKey::new(TenantId::from_bytes([1; 16]), 4, &secret);
        assert_ne!(tag, later.tag(&plan, &email(1)));
        let firm = IndexKey::new(TenantId::from_bytes([2; 16]), 3, &secret);
        assert_ne!(tag, firm.tag(&plan, &email(1)));
    }

    #[test]
    fn entries_are_cut_to_the_planned_bits() {
        for rows in [4_u64, 100, 1000, 50_000, 1 << 20, u64::MAX] {
            let plan = IndexPlan::new("email", u64::MAX, rows).unwrap();
            let tag = key().tag(&plan, &email(1));
            let bits = usize::from(plan.bits());
            assert_eq!(tag.as_bytes().len(), 5 + bits.div_ceil(8));
            let unused = bits.div_ceil(8) * 8 - bits;
            let last = *tag.as_bytes().last().unwrap();
            assert!(last.trailing_zeros() as usize >= unused);
        }
    }

    #[test]
    fn a_few_rows_share_each_entry_as_planned() {
        const ROWS: u32 = 20_000;
        let plan = IndexPlan::new("email", 1 << 40, u64::from(ROWS)).unwrap();
        let mut shared = HashMap::new();
        for number in 0..ROWS {
            *shared
                .entry(key().tag(&plan, &email(number)))
                .or_insert(0_u32) += 1;
        }
        let found: f64 = shared.values().map(|rows| f64::from(rows * rows)).sum();
        let found = found / f64::from(ROWS);
        // A row's entry is shared with itself and, on average, with the planned number more.
        assert!((found - 1.0 - plan.shared_by()).abs() < 0.3, "{found}");
    }

    #[test]
    fn a_mark_is_whole_and_no_entry_is_part_of_it() {
        let value = Normal::email("testa@example.org").unwrap();
        let mark = key().mark("email", &value);
        assert_eq!(mark.as_bytes().len(), 32);
        assert_ne!(mark, key().mark("email.second", &value));
        let plan = IndexPlan::new("email", u64::MAX, u64::MAX).unwrap();
        let tag = key().tag(&plan, &value);
        assert_ne!(tag.as_bytes()[5..12], mark.as_bytes()[..7]);
    }

    #[test]
    fn debug_tells_no_value() {
        let plan = IndexPlan::new("email", 1 << 40, 50_000).unwrap();
        let value = Normal::email("canary@example.org").unwrap();
        let shown = format!("{value:?} {:?} {:?}", key(), key().tag(&plan, &value));
        assert!(!shown.contains("canary"));
    }
}
