//! What opens a keyring: a passphrase, or a key in a file of its own.

use core::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use kta_core::crypto::SecretKey;
use kta_core::time::Entropy;
use kta_core::{FaultKind, Result};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::replace::{self, fault, io};
use crate::ring::Lock;

/// What opens a keyring.
///
/// A passphrase that a person knows protects the file wherever it is copied to, as far as it is
/// hard to guess. A key file protects it only where the two are kept apart: a credential handed
/// over by the service manager, a removable disk, a memory file system filled at start.
pub struct Unlock(Kind);

enum Kind {
    KeyFile(PathBuf),
    Passphrase {
        passphrase: SecretString,
        cost: Cost,
    },
}

impl Unlock {
    /// A passphrase, stretched by Argon2id at [`Cost::RFC_9106`].
    #[must_use]
    pub const fn passphrase(passphrase: SecretString) -> Self {
        Self(Kind::Passphrase {
            passphrase,
            cost: Cost::RFC_9106,
        })
    }

    /// A file of exactly 32 random bytes that only its owner can read. Creating a keyring
    /// creates the key file if it is not there.
    #[must_use]
    pub fn key_file(path: impl Into<PathBuf>) -> Self {
        Self(Kind::KeyFile(path.into()))
    }

    /// The same passphrase at another cost. Keyrings made cheaper than this do not open.
    #[must_use]
    pub fn at_cost(mut self, wanted: Cost) -> Self {
        if let Kind::Passphrase { cost, .. } = &mut self.0 {
            *cost = wanted;
        }
        self
    }

    /// The root key of a new keyring, and what its file says about how to get it again.
    pub(crate) fn create(&self, entropy: &dyn Entropy) -> Result<(Lock, SecretKey)> {
        match &self.0 {
            Kind::KeyFile(path) => {
                if !path.exists() {
                    create_key_file(path, entropy)?;
                }
                Ok((Lock::KeyFile, read_key_file(path)?))
            }
            Kind::Passphrase { passphrase, cost } => {
                let mut salt = [0; 16];
                entropy.fill(&mut salt);
                Ok((
                    Lock::Argon2id {
                        cost: *cost,
                        salt: salt.to_vec(),
                    },
                    cost.stretch(passphrase, &salt)?,
                ))
            }
        }
    }

    /// The root key of a keyring whose file says this.
    pub(crate) fn open(&self, lock: &Lock) -> Result<SecretKey> {
        match (&self.0, lock) {
            (Kind::KeyFile(path), Lock::KeyFile) => read_key_file(path),
            (
                Kind::Passphrase {
                    passphrase,
                    cost: least,
                },
                Lock::Argon2id { cost, salt },
            ) => {
                if !cost.is_bounded() || salt.len() != 16 {
                    return Err(fault(FaultKind::Corrupt)
                        .because("not a keyring of this house")
                        .into());
                }
                if !cost.is_at_least(*least) {
                    let weak = "the keyring's passphrase is stretched too little";
                    return Err(fault(FaultKind::Misconfigured).because(weak).into());
                }
                cost.stretch(passphrase, salt)
            }
            _ => Err(fault(FaultKind::Misconfigured)
                .because("the keyring opens by the other kind of secret")
                .into()),
        }
    }
}

impl fmt::Debug for Unlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::KeyFile(_) => "Unlock(key file)",
            Kind::Passphrase { .. } => "Unlock(passphrase)",
        })
    }
}

/// What one guess of a passphrase costs: the parameters of Argon2id (RFC 9106).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    /// 64 MiB, three passes, four lanes: the second recommended option of RFC 9106, section 4,
    /// for machines that cannot spare 2 GiB. About a tenth of a second.
    pub const RFC_9106: Self = Self {
        memory_kib: 64 * 1024,
        passes: 3,
        lanes: 4,
    };

    /// **For tests only: guessing is all but free.**
    pub const FOR_TESTS_ONLY: Self = Self {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
    };

    /// A higher cost, for machines with more memory.
    ///
    /// # Errors
    /// A `Misconfigured` fault below [`RFC_9106`](Self::RFC_9106) in memory or passes, or above
    /// 4 GiB, 64 passes or 64 lanes.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self> {
        let cost = Self {
            memory_kib,
            passes,
            lanes,
        };
        if cost.is_at_least(Self::RFC_9106) && cost.is_bounded() {
            Ok(cost)
        } else {
            Err(fault(FaultKind::Misconfigured)
                .because("not a cost for a passphrase")
                .into())
        }
    }

    const fn is_at_least(self, least: Self) -> bool {
        self.memory_kib >= least.memory_kib && self.passes >= least.passes
    }

    /// A file from elsewhere must not be able to ask for all memory or all day.
    const fn is_bounded(self) -> bool {
        self.memory_kib <= 4 << 20
            && self.passes >= 1
            && self.passes <= 64
            && self.lanes >= 1
            && self.lanes <= 64
            && self.memory_kib >= 8 * self.lanes
    }

    fn stretch(self, passphrase: &SecretString, salt: &[u8]) -> Result<SecretKey> {
        let misconfigured =
            || fault(FaultKind::Misconfigured).because("not a cost for a passphrase");
        let params = Params::new(
            self.memory_kib,
            self.passes,
            self.lanes,
            Some(SecretKey::LENGTH),
        )
        .map_err(|_| misconfigured())?;
        let mut key = Zeroizing::new([0; SecretKey::LENGTH]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.expose_secret().as_bytes(), salt, &mut *key)
            .map_err(|_| misconfigured())?;
        Ok(SecretKey::from_bytes(*key))
    }
}

fn create_key_file(path: &Path, entropy: &dyn Entropy) -> Result<()> {
    let key = SecretKey::random(entropy);
    let mut file = replace::private(OpenOptions::new().write(true).create_new(true))
        .open(path)
        .map_err(io)?;
    file.write_all(key.expose())
        .and_then(|()| file.sync_all())
        .map_err(io)?;
    replace::sync_folder(path)
}

fn read_key_file(path: &Path) -> Result<SecretKey> {
    let mut file = File::open(path).map_err(io)?;
    replace::check_private(&file)?;
    let mut bytes = Zeroizing::new([0; SecretKey::LENGTH + 1]);
    let mut length = 0;
    while length < bytes.len() {
        match file.read(&mut bytes[length..]).map_err(io)? {
            0 => break,
            read => length += read,
        }
    }
    SecretKey::from_slice(&bytes[..length]).ok_or_else(|| {
        fault(FaultKind::Misconfigured)
            .because("not a key file")
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9106's own test vector uses a secret and associated data, which we do not; this one
    /// is from the reference implementation's tests: version 0x13, m = 2^8 KiB, t = 2, p = 1.
    #[test]
    fn argon2id_agrees_with_the_reference_implementation() {
        let cost = Cost {
            memory_kib: 256,
            passes: 2,
            lanes: 1,
        };
        let key = cost
            .stretch(&SecretString::from("password"), b"somesalt")
            .unwrap();
        let hex: String = key
            .expose()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hex,
            "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"
        );
    }

    #[test]
    fn weak_or_boundless_costs_are_refused() {
        assert!(Cost::new(64 * 1024, 3, 1).is_ok());
        for (memory, passes, lanes) in [
            (1024, 3, 4),
            (64 * 1024, 2, 4),
            (u32::MAX, 3, 4),
            (64 * 1024, 65, 4),
            (64 * 1024, 3, 65),
        ] {
            assert!(Cost::new(memory, passes, lanes).is_err());
        }
        assert!(
            !Cost {
                memory_kib: 8,
                passes: 1,
                lanes: 2
            }
            .is_bounded()
        );
    }
}
