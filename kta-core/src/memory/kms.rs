//! A custodian in memory.

use core::fmt;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::crypto::{SecretKey, wrap};
use crate::error::{Error, Result};
use crate::id::{IdempotencyKey, TenantId};
use crate::ports::kms::{KekDestroyed, KekDestruction, KekId, KekState, Kms, WrappedKey};
use crate::refusal::Code;
use crate::time::{Entropy, Timestamp};

/// A [`Kms`] in memory, for tests and examples: strict, forgetful, and no custodian of anything.
///
/// A destroyed key is wiped and never unwraps again; context and KEK are checked by the same
/// cipher that seals records. Clones are handles to one custodian.
#[derive(Clone)]
pub struct MemoryKms {
    entropy: Arc<dyn Entropy>,
    keks: Arc<Mutex<BTreeMap<KekId, Kek>>>,
}

struct Kek {
    key: Option<SecretKey>,
    destroyed: Option<KekDestroyed>,
}

impl MemoryKms {
    /// An empty custodian that draws its keys from `entropy`.
    #[must_use]
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self {
            entropy,
            keks: Arc::default(),
        }
    }

    /// The KEKs that still wrap and unwrap.
    #[must_use]
    pub fn active(&self) -> Vec<KekId> {
        let keks = self.locked();
        keks.iter()
            .filter(|(_, kek)| kek.key.is_some())
            .map(|(id, _)| id.clone())
            .collect()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<KekId, Kek>> {
        // No code panics between two changes of one entry, so a poisoned map is whole.
        self.keks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_key<T>(&self, kek: &KekId, act: impl FnOnce(&SecretKey) -> Result<T>) -> Result<T> {
        let keks = self.locked();
        let kek = keks.get(kek).ok_or(Code::CryKey)?;
        act(kek.key.as_ref().ok_or(Code::CryErased)?)
    }
}

#[async_trait]
impl Kms for MemoryKms {
    async fn create(&self, tenant: TenantId, key: IdempotencyKey) -> Result<KekId> {
        let name = IdempotencyKey::derived("memory-kek", &[tenant.as_bytes(), key.as_bytes()]);
        // Proof: `idk_` and hexadecimal digits are label characters, 36 of them.
        let kek = KekId::new(name.to_string()).expect("an idempotency key is a label");
        self.locked().entry(kek.clone()).or_insert_with(|| Kek {
            key: Some(SecretKey::random(&*self.entropy)),
            destroyed: None,
        });
        Ok(kek)
    }

    async fn wrap(&self, kek: &KekId, secret: &SecretKey, context: &[u8]) -> Result<WrappedKey> {
        self.with_key(kek, |key| wrap::wrap(key, secret, context, &*self.entropy))
    }

    async fn unwrap(&self, kek: &KekId, wrapped: &WrappedKey, context: &[u8]) -> Result<SecretKey> {
        self.with_key(kek, |key| {
            wrap::unwrap(key, wrapped, context).map_err(|_| Error::from(Code::CryKey))
        })
    }

    async fn destroy(&self, kek: &KekId, at: Timestamp) -> Result<KekDestroyed> {
        let mut keks = self.locked();
        let entry = keks.get_mut(kek).ok_or(Code::CryKey)?;
        entry.key = None;
        let evidence = entry.destroyed.get_or_insert_with(|| KekDestroyed {
            kek: kek.clone(),
            at,
            method: KekDestruction::Immediate,
            copies: 0,
        });
        Ok(evidence.clone())
    }

    async fn state(&self, kek: &KekId) -> Result<KekState> {
        let keks = self.locked();
        let entry = keks.get(kek).ok_or(Code::CryKey)?;
        Ok(entry
            .destroyed
            .clone()
            .map_or(KekState::Active, KekState::Destroyed))
    }
}

impl fmt::Debug for MemoryKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryKms({} keys)", self.locked().len())
    }
}
