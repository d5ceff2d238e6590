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

use crate::recovery::{Share, ShareSet};
use crate::replace::{Replaceable, fault};
use crate::ring::{Body, Copies, Entry, Keys, Name, Ring};
use crate::unlock::Unlock;

/// A [`Kms`] in one file, for a firm on one machine. Clones are handles to the same keyring;
/// a second opening of the file, by this or another process, is refused while one lives.
///
/// KEKs are in memory, unsealed, while the keyring is open. `create` and `destroy` write the
/// file and wait for the disk (milliseconds); `wrap` and `unwrap` touch no disk.
///
/// A destroyed KEK is wiped from memory and gone from the file, and the file's former content
/// is overwritten. When that fails, `destroy` is told as `OutcomeUnknown` and gives no evidence
/// until it is done; so is every other change that was written while former content may be left.
/// The change holds: the keyring in memory is the written one, and the next change or opening
/// removes what is left.
///
/// Whoever holds an older *copy* of the file and the passphrase still has it:
/// declare such copies with [`declare_copy`](LocalKeyring::declare_copy), and the evidence of
/// `destroy` counts them. Should the passphrase be lost, shares of a recovery key open the file:
/// [`escrow`](LocalKeyring::escrow).
#[derive(Clone)]
pub struct LocalKeyring(Arc<Inner>);

struct Inner {
    file: Replaceable,
    entropy: Arc<dyn Entropy>,
    state: Mutex<State>,
}

struct State {
    ring: Ring,
    keys: Keys,
    keks: BTreeMap<KekId, SecretKey>,
}

impl LocalKeyring {
    /// Makes a new keyring. Stretching the passphrase takes about a tenth of a second of
    /// computing: do not call it on a thread that serves others.
    ///
    /// # Errors
    /// `Misconfigured` when there is a file already, or the former content of one;
    /// `Unavailable` when another process holds it or the disk does not take it;
    /// `OutcomeUnknown` when it is written, but perhaps not lastingly: [`open`](Self::open) it.
    pub fn create(path: &Path, unlock: &Unlock, entropy: Arc<dyn Entropy>) -> Result<Self> {
        Self::make(Replaceable::take(path, &*entropy)?, unlock, entropy)
    }

    /// Opens a keyring. It takes as long as [`create`](Self::create).
    ///
    /// # Errors
    /// `NotFound` without a file; `Corrupt` for a file that is not a keyring or was altered;
    /// `Misconfigured` for the wrong passphrase or key file, for one stretched less than
    /// `unlock` wants, for a file that others can read, and for one that is missing while its
    /// former content is there, which is not touched; `Unavailable` while another process holds
    /// it.
    pub fn open(path: &Path, unlock: &Unlock, entropy: Arc<dyn Entropy>) -> Result<Self> {
        let file = Replaceable::take(path, &*entropy)?;
        let (ring, keys) = Ring::read(&file.read()?, unlock)?;
        Self::with(file, ring, keys, entropy)
    }

    /// Opens a keyring whose passphrase or key file is lost, with the shares of its recovery key,
    /// and locks it anew with `unlock`. From then on the shares open older copies of the file,
    /// but not this one: set up a new recovery with [`escrow`](Self::escrow).
    ///
    /// A KEK that was destroyed stays destroyed: it is not in the file.
    ///
    /// # Errors
    /// Those of [`Share::combine`]; `Misconfigured` when the recovery key is another one; those
    /// of [`open`](Self::open); `OutcomeUnknown` when the file is locked anew, but former content
    /// may be left: [`open`](Self::open) it with `unlock`, which removes that.
    pub fn recover(
        path: &Path,
        shares: &[Share],
        unlock: &Unlock,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let key = Share::combine(shares)?;
        let file = Replaceable::take(path, &*entropy)?;
        let (ring, keys) = Ring::recover(&file.read()?, &key)?;
        let (ring, keys) = ring.relocked(&keys, unlock, &*entropy)?;
        file.write(&ring.written()?, &*entropy)??;
        Self::with(file, ring, keys, entropy)
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
            return signer(&state.keys.unwrap(wrapped, &Name::Signer(name))?);
        }
        let seed = SecretKey::random(&*self.0.entropy);
        let made = signer(&seed)?;
        let wrapped = state
            .keys
            .wrap(&seed, &Name::Signer(name), &*self.0.entropy)?;
        self.change(&mut state, |body| {
            body.signers.insert(name.to_owned(), wrapped);
        })??;
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
            if let Some(recovery) = &body.recovery {
                let opened = body.shares.entry(recovery.set).or_default();
                opened
                    .entry(holder.clone())
                    .or_default()
                    .extend(active.iter().cloned());
            }
            body.copies.entry(holder).or_default().extend(active);
        })?
    }

    /// Declares that all copies with this holder are destroyed.
    ///
    /// KEKs that are destroyed from now on do not count them. For those that were destroyed
    /// before, tell the hierarchies of keys too:
    /// [`copies_destroyed`](kta_core::crypto::Hierarchy::copies_destroyed).
    ///
    /// # Errors
    /// Faults of the file.
    pub fn copy_destroyed(&self, holder: &Label) -> Result<()> {
        self.change(&mut self.state(), |body| {
            body.copies.remove(holder);
            for opened in body.shares.values_mut() {
                opened.remove(holder);
            }
        })?
    }

    /// Draws a recovery key, keeps the root key wrapped under it in the file, and gives the
    /// recovery key in `shares` shares, of which any `threshold` open this file should its
    /// passphrase or key file be lost. It replaces the recovery key before.
    ///
    /// The shares are no copy of a KEK: one that was destroyed is not in the file they open. But
    /// they open every copy of the file that was made since, as the passphrase does, and that for
    /// as long as `threshold` of them exist, whatever became of the passphrase. So the evidence
    /// of `destroy` counts them, one more, for a KEK in a declared copy of the file that they
    /// open; see [`shares_destroyed`](Self::shares_destroyed).
    ///
    /// # Errors
    /// Those of [`Share::split`]; faults of the file. After `OutcomeUnknown` the file has a set of
    /// shares that nobody was given: set up another, and declare that one destroyed.
    pub fn escrow(&self, threshold: u8, shares: u8) -> Result<Vec<Share>> {
        let key = SecretKey::random(&*self.0.entropy);
        let shares = Share::split(&key, threshold, shares, &*self.0.entropy)?;
        let mut state = self.state();
        let recovery = state.keys.escrowed(&key, &*self.0.entropy)?;
        self.change(&mut state, |body| {
            body.shares.entry(recovery.set).or_default();
            body.recovery = Some(recovery);
        })??;
        Ok(shares)
    }

    /// Which shares open the file as it is now, if there are any.
    #[must_use]
    pub fn recovery(&self) -> Option<ShareSet> {
        let state = self.state();
        state
            .ring
            .body
            .recovery
            .as_ref()
            .map(|recovery| recovery.set)
    }

    /// Which sets of shares still exist, as far as was declared: the present one, and those from
    /// before that open older copies of the file.
    #[must_use]
    pub fn shares(&self) -> Vec<ShareSet> {
        self.state().ring.body.shares.keys().copied().collect()
    }

    /// Declares that so many shares of the set are destroyed that the rest is of no use. If it is
    /// the present set, the file opens by no share any more.
    ///
    /// # Errors
    /// Faults of the file.
    pub fn shares_destroyed(&self, set: ShareSet) -> Result<()> {
        self.change(&mut self.state(), |body| {
            body.shares.remove(&set);
            body.recovery.take_if(|recovery| recovery.set == set);
        })?
    }

    /// Locks the keyring with another passphrase or key file, under new root and ring keys. The
    /// one before opens older copies of the file only, and so do shares of a recovery key: set
    /// up a new one. It takes as long as [`create`](Self::create).
    ///
    /// # Errors
    /// Those of [`create`](Self::create). After `OutcomeUnknown` it is locked anew, but the file
    /// under the former lock may be left.
    pub fn relock(&self, unlock: &Unlock) -> Result<()> {
        let mut state = self.state();
        let (ring, keys) = state.ring.relocked(&state.keys, unlock, &*self.0.entropy)?;
        let finished = self.0.file.write(&ring.written()?, &*self.0.entropy)?;
        (state.ring, state.keys) = (ring, keys);
        finished
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
        file.write(&ring.written()?, &*entropy)??;
        Self::with(file, ring, keys, entropy)
    }

    fn with(file: Replaceable, ring: Ring, keys: Keys, entropy: Arc<dyn Entropy>) -> Result<Self> {
        let mut keks = BTreeMap::new();
        for (kek, entry) in &ring.body.keks {
            if let Entry::Active { tenant, wrapped } = entry {
                let tenant = *tenant;
                let key = keys.unwrap(wrapped, &Name::Kek { kek, tenant })?;
                keks.insert(kek.clone(), key);
            }
        }
        let state = Mutex::new(State { ring, keys, keks });
        Ok(Self(Arc::new(Inner {
            file,
            entropy,
            state,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Memory changes after the disk did, in steps that cannot panic: a poisoned state is whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the file, and memory when the file is the new one. The errors are those of
    /// [`Replaceable::write`]: after the outer one nothing has changed, after the inner one all.
    fn change(&self, state: &mut State, amend: impl FnOnce(&mut Body)) -> Result<Result<()>> {
        let mut body = state.ring.body.clone();
        amend(&mut body);
        let next = state.ring.next(body, &state.keys, &*self.0.entropy)?;
        let finished = self.0.file.write(&next.written()?, &*self.0.entropy)?;
        state.ring = next;
        Ok(finished)
    }

    /// The evidence, once no former content with the KEK in it is left.
    fn proven(&self, evidence: &KekDestroyed) -> Result<KekDestroyed> {
        self.0.file.sweep(&*self.0.entropy)?;
        Ok(evidence.clone())
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
                state
                    .keys
                    .wrap(&secret, &Name::Kek { kek: &kek, tenant }, &*self.0.entropy)?;
            let finished = self.change(&mut state, |body| {
                body.keks
                    .insert(kek.clone(), Entry::Active { tenant, wrapped });
            })?;
            state.keks.insert(kek.clone(), secret);
            finished?;
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
        let body = &state.ring.body;
        if let Entry::Destroyed(evidence) = body.keks.get(kek).ok_or(Code::CryKey)? {
            return self.proven(evidence);
        }
        let in_any = |copies: &Copies| copies.values().any(|keks| keks.contains(kek));
        let files = body.copies.values().filter(|keks| keks.contains(kek));
        let holders = files.count() + body.shares.values().filter(|it| in_any(it)).count();
        let evidence = KekDestroyed {
            kek: kek.clone(),
            // As precise as the file: the answer is the same after reopening.
            at: Timestamp::from_timestamp_millis(at.timestamp_millis()).unwrap_or(at),
            method: KekDestruction::Immediate,
            copies: u32::try_from(holders).unwrap_or(u32::MAX),
        };
        let finished = self.change(&mut state, |body| {
            body.keks
                .insert(kek.clone(), Entry::Destroyed(evidence.clone()));
        })?;
        state.keks.remove(kek);
        finished.map(|()| evidence)
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
            Entry::Destroyed(evidence) => self.proven(evidence).map(KekState::Destroyed),
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
