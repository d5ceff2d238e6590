//! The keyring's file: what stands in it, and how it is bound together.
//!
//! ```text
//!  root key ── Argon2id(passphrase, salt) or key file; never stored
//!    ├─ wraps, over the header ──► ring key ── wraps each KEK and signing key, by name
//!    └─ wraps, over the body ────► seal: nothing in the file can be changed, added or left out
//!
//!  recovery key ── in shares on paper; never stored
//!    └─ wraps the root key, where a recovery was set up
//! ```
//!
//! What the seal cannot show is that the *whole* file is an older one: compare
//! [`LocalKeyring::revision`](crate::LocalKeyring::revision) with what the audit log last saw.

use std::collections::{BTreeMap, BTreeSet};

use base64::engine::general_purpose::STANDARD;
use kta_core::FaultKind;
use kta_core::Result;
use kta_core::audit::Label;
use kta_core::crypto::{SecretKey, wrap};
use kta_core::id::TenantId;
use kta_core::ports::kms::{KekDestroyed, KekId, WrappedKey};
use kta_core::time::Entropy;
use serde::{Deserialize, Serialize};

use crate::recovery::ShareSet;
use crate::replace::fault;
use crate::unlock::{Cost, Unlock};

/// The file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ring {
    header: Header,
    pub(crate) body: Body,
    seal: WrappedKey,
}

/// What is needed to open it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    #[serde(with = "encoded")]
    ring: Vec<u8>,
    lock: Lock,
    key: WrappedKey,
}

/// How the root key comes to be.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Lock {
    /// From a passphrase.
    Argon2id {
        /// What a guess costs.
        cost: Cost,
        /// 16 random bytes.
        #[serde(with = "encoded")]
        salt: Vec<u8>,
    },
    /// From a file of its own.
    KeyFile,
}

/// What it holds.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    /// Counts the writes.
    pub(crate) revision: u64,
    pub(crate) keks: BTreeMap<KekId, Entry>,
    pub(crate) signers: BTreeMap<String, WrappedKey>,
    /// Declared copies of this file that still exist, each with the KEKs in it.
    pub(crate) copies: Copies,
    /// What the present recovery key opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) recovery: Option<Recovery>,
    /// Recovery keys whose shares still exist, each with the declared copies of this file that
    /// they open.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) shares: BTreeMap<ShareSet, Copies>,
}

/// Who holds copies of the file, and which KEKs were active in them.
pub(crate) type Copies = BTreeMap<Label, BTreeSet<KekId>>;

/// The root key, wrapped by a recovery key.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recovery {
    pub(crate) set: ShareSet,
    root: WrappedKey,
}

/// A KEK, or what is left of it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Entry {
    Active {
        tenant: TenantId,
        wrapped: WrappedKey,
    },
    Destroyed(KekDestroyed),
}

/// The keys that open a ring while it is in use.
pub(crate) struct Keys {
    root: SecretKey,
    ring: SecretKey,
    id: Vec<u8>,
}

impl Ring {
    /// A new, empty ring.
    pub(crate) fn create(unlock: &Unlock, entropy: &dyn Entropy) -> Result<(Self, Keys)> {
        let (lock, root) = unlock.create(entropy)?;
        let mut id = vec![0; 16];
        entropy.fill(&mut id);
        let key = SecretKey::random(entropy);
        let wrapped = wrap::wrap(&root, &key, &about_header(&id, &lock)?, entropy)?;
        let header = Header {
            format: FORMAT.to_owned(),
            ring: id.clone(),
            lock,
            key: wrapped,
        };
        let keys = Keys {
            root,
            ring: key,
            id,
        };
        let body = Body::default();
        let seal = keys.seal(&body, entropy)?;
        Ok((Self { header, body, seal }, keys))
    }

    /// Reads a ring's file.
    pub(crate) fn read(bytes: &[u8], unlock: &Unlock) -> Result<(Self, Keys)> {
        Self::read_by(bytes, |ring| unlock.open(&ring.header.lock))
    }

    /// The same, with a recovery key.
    pub(crate) fn recover(bytes: &[u8], key: &SecretKey) -> Result<(Self, Keys)> {
        Self::read_by(bytes, |ring| {
            let foreign = || {
                fault(FaultKind::Misconfigured)
                    .because("the recovery key does not open this keyring")
            };
            let recovery = ring.body.recovery.as_ref().ok_or_else(foreign)?;
            let about = about_recovery(&ring.header.ring, recovery.set);
            wrap::unwrap(key, &recovery.root, &about).map_err(|_| foreign().into())
        })
    }

    fn read_by(
        bytes: &[u8],
        root: impl FnOnce(&Self) -> Result<SecretKey>,
    ) -> Result<(Self, Keys)> {
        let foreign = || fault(FaultKind::Corrupt).because("not a keyring of this house");
        let ring: Self = serde_json::from_slice(bytes).map_err(|_| foreign())?;
        // One state has one file: whatever would not be written so was not written by us.
        if ring.header.format != FORMAT || ring.header.ring.len() != 16 || ring.written()? != bytes
        {
            return Err(foreign().into());
        }
        let root = root(&ring)?;
        let id = ring.header.ring.clone();
        let about = about_header(&id, &ring.header.lock)?;
        let key = wrap::unwrap(&root, &ring.header.key, &about).map_err(|_| {
            fault(FaultKind::Misconfigured)
                .because("the passphrase or key file does not open this keyring")
        })?;
        let keys = Keys {
            root,
            ring: key,
            id,
        };
        let altered = || fault(FaultKind::Corrupt).because("the keyring was altered");
        let about = keys.about_body(&ring.body)?;
        let sealed = wrap::unwrap(&keys.root, &ring.seal, &about).map_err(|_| altered())?;
        if sealed == keys.ring {
            Ok((ring, keys))
        } else {
            Err(altered().into())
        }
    }

    /// The ring under a new root key and a new ring key, one revision on. No recovery key opens
    /// it until a new one is set up.
    pub(crate) fn relocked(
        &self,
        keys: &Keys,
        unlock: &Unlock,
        entropy: &dyn Entropy,
    ) -> Result<(Self, Keys)> {
        let (mut fresh, new) = Self::create(unlock, entropy)?;
        let rewrap = |wrapped: &mut WrappedKey, name: &Name<'_>| -> Result<()> {
            *wrapped = new.wrap(&keys.unwrap(wrapped, name)?, name, entropy)?;
            Ok(())
        };
        let mut body = self.body.clone();
        for (kek, entry) in &mut body.keks {
            if let Entry::Active { tenant, wrapped } = entry {
                let tenant = *tenant;
                rewrap(wrapped, &Name::Kek { kek, tenant })?;
            }
        }
        for (name, wrapped) in &mut body.signers {
            rewrap(wrapped, &Name::Signer(name))?;
        }
        body.recovery = None;
        fresh.body.revision = self.body.revision;
        Ok((fresh.next(body, &new, entropy)?, new))
    }

    /// The file's bytes.
    pub(crate) fn written(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|_| unwritable())?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The ring with this body, one revision on.
    pub(crate) fn next(&self, mut body: Body, keys: &Keys, entropy: &dyn Entropy) -> Result<Self> {
        body.revision = self.body.revision + 1;
        let seal = keys.seal(&body, entropy)?;
        Ok(Self {
            header: self.header.clone(),
            body,
            seal,
        })
    }
}

impl Keys {
    /// Wraps a key that stands in the ring under this name.
    pub(crate) fn wrap(
        &self,
        secret: &SecretKey,
        name: &Name<'_>,
        entropy: &dyn Entropy,
    ) -> Result<WrappedKey> {
        wrap::wrap(&self.ring, secret, &name.context(&self.id), entropy)
    }

    /// Unwraps a key that stands in the ring under this name.
    pub(crate) fn unwrap(&self, wrapped: &WrappedKey, name: &Name<'_>) -> Result<SecretKey> {
        wrap::unwrap(&self.ring, wrapped, &name.context(&self.id)).map_err(|_| {
            fault(FaultKind::Corrupt)
                .because("the keyring was altered")
                .into()
        })
    }

    /// The root key, wrapped by this recovery key.
    pub(crate) fn escrowed(&self, key: &SecretKey, entropy: &dyn Entropy) -> Result<Recovery> {
        let set = ShareSet::of(key);
        let root = wrap::wrap(key, &self.root, &about_recovery(&self.id, set), entropy)?;
        Ok(Recovery { set, root })
    }

    /// A seal over the body: the ring key, wrapped by the root with the body as its context.
    fn seal(&self, body: &Body, entropy: &dyn Entropy) -> Result<WrappedKey> {
        wrap::wrap(&self.root, &self.ring, &self.about_body(body)?, entropy)
    }

    fn about_body(&self, body: &Body) -> Result<Vec<u8>> {
        let body = serde_json::to_vec(body).map_err(|_| unwritable())?;
        Ok(joined(&[b"kta-keyring/1 body", &self.id, &body]))
    }
}

/// What a wrapped key in the ring is.
pub(crate) enum Name<'a> {
    Kek { kek: &'a KekId, tenant: TenantId },
    Signer(&'a str),
}

impl Name<'_> {
    fn context(&self, ring: &[u8]) -> Vec<u8> {
        match self {
            Self::Kek { kek, tenant } => joined(&[
                b"kta-keyring/1 kek",
                ring,
                kek.as_str().as_bytes(),
                tenant.as_bytes(),
            ]),
            Self::Signer(name) => joined(&[b"kta-keyring/1 signer", ring, name.as_bytes()]),
        }
    }
}

fn about_header(id: &[u8], lock: &Lock) -> Result<Vec<u8>> {
    let lock = serde_json::to_vec(lock).map_err(|_| unwritable())?;
    Ok(joined(&[b"kta-keyring/1 header", id, &lock]))
}

fn about_recovery(id: &[u8], set: ShareSet) -> Vec<u8> {
    joined(&[b"kta-keyring/1 recovery", id, set.as_bytes()])
}

/// The parts, each behind its length, so that no two lists of parts give the same bytes.
pub(crate) fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part);
    }
    all
}

fn unwritable() -> kta_core::Fault {
    fault(FaultKind::Corrupt).because("the keyring has no written form")
}

/// Bytes as base64 text.
mod encoded {
    use base64::Engine as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::STANDARD;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD
            .decode(text)
            .map_err(|_| serde::de::Error::custom("not base64"))
    }
}

const FORMAT: &str = "kta-keyring/1";
