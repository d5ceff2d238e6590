//! The local keyring: a custodian in one file.

use core::fmt;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ed25519_dalek::SigningKey;
use kta_core::audit::{Label, LocalSigner};
use kta_core::crypto::{SecretKey, wrap};
use kta_core::id::{IdempotencyKey, TenantId};
use kta_core::ports::kms::{KekDestroyed, KekDestruction, KekId, KekState, Kms, WrappedKey};
use kta_core::time::{Entropy, Timestamp};
use kta_core::{Code, Error, FaultKind, Result};

use crate::replace::{Replaceable, fault};
use crate::ring::{Body, Entry, Keys, Name, Ring};
use crate::unlock::Unlock;

/// A [`Kms`] in one file, for a firm on one machine. Clones are handles to the same keyring;
/// a second opening of the file, by this or another process, is refused while one lives.
///
/// KEKs are in memory, unsealed, while the keyring is open. `create` and `destroy` write the
/// file and wait for the disk (milliseconds); `wrap` and `unwrap` touch no disk.
///
/// A destroyed KEK is wiped from memory and gone from the file, and the file's former content
/// is overwritten. Whoever holds an older *copy* of the file and the passphrase still has it:
/// declare such copies with [`declare_copy`](LocalKeyring::declare_copy), and the evidence of
/// `destroy` counts them.
#[derive(Clone)]
pub struct LocalKeyring(Arc<Inner>);

struct Inner {
    file: Replaceable,
    keys: Keys,
    entropy: Arc<dyn Entropy>,
    state: Mutex<State>,
}

struct State {
    ring: Ring,
    keks: BTreeMap<KekId, SecretKey>,
}

impl LocalKeyring {
    /// Makes a new keyring. Stretching the passphrase takes about a tenth of a second of
    /// computing: do not call it on a thread that serves others.
    ///
    /// # Errors
    /// `Misconfigured` when there is a file already, `Unavailable` when another process holds
    /// it or the disk does not take it.
    pub fn create(path: &Path, unlock: &Unlock, entropy: Arc<dyn Entropy>) -> Result<Self> {
        Self::make(Replaceable::take(path, &*entropy)?, unlock, entropy)
    }

    /// Opens a keyring. It takes as long as [`create`](Self::create).
    ///
    /// # Errors
    /// `NotFound` without a file; `Corrupt` for a file that is not a keyring or was altered;
    /// `Misconfigured` for the wrong passphrase or key file, for one stretched less than
    /// `unlock` wants, and for a file that others can read; `Unavailable` while another process
    /// holds it.
    pub fn open(path: &Path, unlock: &Unlock, entropy: Arc<dyn Entropy>) -> Result<Self> {
        let file = Replaceable::take(path, &*entropy)?;
        let (ring, keys) = Ring::read(&file.read()?, unlock)?;
        let mut keks = BTreeMap::new();
        for (kek, entry) in &ring.body.keks {
            if let Entry::Active { tenant, wrapped } = entry {
                keks.insert(
                    kek.clone(),
                    keys.unwrap(
                        wrapped,
                        &Name::Kek {
                            kek,
                            tenant: *tenant,
                        },
                    )?,
                );
            }
        }
        Ok(Self(Arc::new(Inner {
            file,
            keys,
            entropy,
            state: Mutex::new(State { ring, keks }),
        })))
    }

    /// Opens the keyring, or makes it when there is none.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create).
    pub fn open_or_create(path: &Path, unlock: &Unlock, entropy: Arc<dyn Entropy>) -> Result<Self> {
        if path.symlink_metadata().is_ok() {
            Self::open(path, unlock, entropy)
        } else {
            Self::create(path, unlock, entropy)
        }
    }

    /// The signing key of this name, drawn when it is asked for the first time. For a log the
    /// name is the origin of its checkpoints.
    ///
    /// # Errors
    /// `Misconfigured` when the name is none for a signed note; faults of the file.
    pub fn signer(&self, name: &str) -> Result<LocalSigner> {
        let misnamed = || fault(FaultKind::Misconfigured).because("not a name for a signing key");
        let signer = |seed: &SecretKey| {
            LocalSigner::new(name, SigningKey::from_bytes(seed.expose()))
                .map_err(|_| Error::from(misnamed()))
        };
        let mut state = self.state();
        if let Some(wrapped) = state.ring.body.signers.get(name) {
            return signer(&self.0.keys.unwrap(wrapped, &Name::Signer(name))?);
        }
        let seed = SecretKey::random(&*self.0.entropy);
        let made = signer(&seed)?;
        let wrapped = self
            .0
            .keys
            .wrap(&seed, &Name::Signer(name), &*self.0.entropy)?;
        self.change(&mut state, |body| {
            body.signers.insert(name.to_owned(), wrapped);
        })?;
        Ok(made)
    }

    /// Declares that a copy of the file was made as it is now, and who holds it: a backup, an
    /// export. Until [`copy_destroyed`](Self::copy_destroyed), destroying a KEK in it proves
    /// nothing, and the evidence says so.
    ///
    /// # Errors
    /// Faults of the file.
    pub fn declare_copy(&self, holder: Label) -> Result<()> {
        let mut state = self.state();
        let active: Vec<_> = state.keks.keys().cloned().collect();
        self.change(&mut state, |body| {
            body.copies.entry(holder).or_default().extend(active)
        })
    }

    /// Declares that all copies with this holder are destroyed.
    ///
    /// # Errors
    /// Faults of the file.
    pub fn copy_destroyed(&self, holder: &Label) -> Result<()> {
        self.change(&mut self.state(), |body| {
            body.copies.remove(holder);
        })
    }

    /// How often the file was written: never lower than before, unless somebody put an older
    /// file back. Anchor it in the audit log and compare at start.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.state().ring.body.revision
    }

    fn make(file: Replaceable, unlock: &Unlock, entropy: Arc<dyn Entropy>) -> Result<Self> {
        if file.exists() {
            return Err(fault(FaultKind::Misconfigured)
                .because("there is a file already")
                .into());
        }
        let (ring, keys) = Ring::create(unlock, &*entropy)?;
        file.write(&ring.written()?, &*entropy)?;
        let state = Mutex::new(State {
            ring,
            keks: BTreeMap::new(),
        });
        Ok(Self(Arc::new(Inner {
            file,
            keys,
            entropy,
            state,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Memory changes after the disk did, in steps that cannot panic: a poisoned state is whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the file, and memory only when that succeeded.
    fn change(&self, state: &mut State, amend: impl FnOnce(&mut Body)) -> Result<()> {
        let mut body = state.ring.body.clone();
        amend(&mut body);
        let next = state.ring.next(body, &self.0.keys, &*self.0.entropy)?;
        self.0.file.write(&next.written()?, &*self.0.entropy)?;
        state.ring = next;
        Ok(())
    }

    fn with_key<T>(&self, kek: &KekId, act: impl FnOnce(&SecretKey) -> Result<T>) -> Result<T> {
        let state = self.state();
        match (state.keks.get(kek), state.ring.body.keks.get(kek)) {
            (Some(key), _) => act(key),
            (None, Some(_)) => Err(Code::CryErased.into()),
            (None, None) => Err(Code::CryKey.into()),
        }
    }
}

#[async_trait]
impl Kms for LocalKeyring {
    async fn create(&self, tenant: TenantId, key: IdempotencyKey) -> Result<KekId> {
        let name = IdempotencyKey::derived("local-kek", &[tenant.as_bytes(), key.as_bytes()]);
        let name = name.to_string().replacen("idk", "kek", 1);
        let kek = KekId::new(name).map_err(|_| fault(FaultKind::Misconfigured))?;
        let mut state = self.state();
        if !state.ring.body.keks.contains_key(&kek) {
            let secret = SecretKey::random(&*self.0.entropy);
            let wrapped =
                self.0
                    .keys
                    .wrap(&secret, &Name::Kek { kek: &kek, tenant }, &*self.0.entropy)?;
            self.change(&mut state, |body| {
                body.keks
                    .insert(kek.clone(), Entry::Active { tenant, wrapped });
            })?;
            state.keks.insert(kek.clone(), secret);
        }
        Ok(kek)
    }

    async fn wrap(&self, kek: &KekId, secret: &SecretKey, context: &[u8]) -> Result<WrappedKey> {
        self.with_key(kek, |key| {
            wrap::wrap(key, secret, context, &*self.0.entropy)
        })
    }

    async fn unwrap(&self, kek: &KekId, wrapped: &WrappedKey, context: &[u8]) -> Result<SecretKey> {
        self.with_key(kek, |key| {
            wrap::unwrap(key, wrapped, context).map_err(|_| Code::CryKey.into())
        })
    }

    async fn destroy(&self, kek: &KekId, at: Timestamp) -> Result<KekDestroyed> {
        let mut state = self.state();
        if let Entry::Destroyed(evidence) = state.ring.body.keks.get(kek).ok_or(Code::CryKey)? {
            return Ok(evidence.clone());
        }
        let holders = state
            .ring
            .body
            .copies
            .values()
            .filter(|keks| keks.contains(kek))
            .count();
        let evidence = KekDestroyed {
            kek: kek.clone(),
            at,
            method: KekDestruction::Immediate,
            copies: u32::try_from(holders).unwrap_or(u32::MAX),
        };
        self.change(&mut state, |body| {
            body.keks
                .insert(kek.clone(), Entry::Destroyed(evidence.clone()));
        })?;
        state.keks.remove(kek);
        Ok(evidence)
    }

    async fn state(&self, kek: &KekId) -> Result<KekState> {
        match LocalKeyring::state(self)
            .ring
            .body
            .keks
            .get(kek)
            .ok_or(Code::CryKey)?
        {
            Entry::Active { .. } => Ok(KekState::Active),
            Entry::Destroyed(evidence) => Ok(KekState::Destroyed(evidence.clone())),
        }
    }
}

impl fmt::Debug for LocalKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("LocalKeyring")
            .field("revision", &state.ring.body.revision)
            .field("active", &state.keks.len())
            .finish_non_exhaustive()
    }
}
