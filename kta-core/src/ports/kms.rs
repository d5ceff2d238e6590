//! The custodian of root and epoch keys.

use core::fmt;
use core::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::audit::{BadLabel, Label, Safe};
use crate::crypto::SecretKey;
use crate::error::Result;
use crate::id::{IdempotencyKey, TenantId};
use crate::time::Timestamp;

/// Holds key-encryption keys (KEKs), wraps and unwraps small secrets under them, and destroys
/// them for good. A key-encryption key itself never leaves it.
///
/// Adapters live in `kta-keys`; [`MemoryKms`](crate::memory::MemoryKms) is the strict one for
/// tests. How a person is made unreadable rests on `destroy`: see [`crate::crypto`].
///
/// # Behavior
/// - `create` draws a fresh KEK; the same idempotency key again gives the same KEK, even when
///   that KEK was destroyed since; another idempotency key or tenant gives another KEK.
/// - `unwrap` gives back what `wrap` took, for the same KEK and the same context only.
/// - Wrapping one secret twice gives two different results.
/// - Another KEK, another context or changed bytes are refused with
///   [`Code::CryKey`](crate::refusal::Code::CryKey), always the same answer.
/// - A KEK that was never created is refused with `CRY-KEY` by every operation.
/// - `destroy` makes every later `wrap` and `unwrap` under the KEK refuse with
///   [`Code::CryErased`](crate::refusal::Code::CryErased), at once, even where the custodian
///   keeps the key for a waiting period. So it is in every other handle to the same custodian:
///   the kit has one handle, and where there can be a second an adapter's own tests check it.
/// - `destroy` is repeatable: it answers the evidence of the first time, except that a
///   scheduled destruction whose time has come may answer as immediate.
/// - Destroying one KEK leaves every other usable.
/// - `state` says what `destroy` did; a KEK is active until then.
/// - Neither errors nor `Debug` contain a secret or a context.
#[async_trait]
pub trait Kms: fmt::Debug + Send + Sync {
    /// Creates a key-encryption key for `tenant`.
    ///
    /// # Errors
    /// A fault when the custodian cannot be reached or refuses its caller.
    async fn create(&self, tenant: TenantId, key: IdempotencyKey) -> Result<KekId>;

    /// Wraps `secret` under `kek`, bound to `context`.
    ///
    /// # Errors
    /// `CRY-KEY` for an unknown KEK, `CRY-ERASED` for a destroyed one; faults as above.
    async fn wrap(&self, kek: &KekId, secret: &SecretKey, context: &[u8]) -> Result<WrappedKey>;

    /// Unwraps what [`wrap`](Kms::wrap) made with the same context.
    ///
    /// # Errors
    /// `CRY-KEY` for an unknown KEK or when KEK, context and bytes do not belong together,
    /// `CRY-ERASED` for a destroyed KEK; faults as above.
    async fn unwrap(&self, kek: &KekId, wrapped: &WrappedKey, context: &[u8]) -> Result<SecretKey>;

    /// Destroys `kek`; `at` is the present time and stands in the evidence.
    ///
    /// # Errors
    /// `CRY-KEY` for an unknown KEK; faults as above. It may be called again after any fault.
    async fn destroy(&self, kek: &KekId, at: Timestamp) -> Result<KekDestroyed>;

    /// What has become of `kek`.
    ///
    /// # Errors
    /// `CRY-KEY` for an unknown KEK; faults as above.
    async fn state(&self, kek: &KekId) -> Result<KekState>;
}

/// The name of a key-encryption key at its custodian: an ARN, a path with a version, a PKCS#11
/// label. A [`Label`], so that it may stand in evidence, audit entries and logs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KekId(Label);

impl KekId {
    /// The KEK of this name.
    ///
    /// # Errors
    /// [`BadLabel`] when the name is empty, longer than 96 characters or has a character that
    /// labels do not have.
    pub fn new(name: impl Into<String>) -> Result<Self, BadLabel> {
        Label::new(name).map(Self)
    }

    /// The name as a label, for the log.
    #[must_use]
    pub const fn as_label(&self) -> &Label {
        &self.0
    }

    /// The custodian's name for it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for KekId {
    type Err = BadLabel;
    fn from_str(text: &str) -> Result<Self, BadLabel> {
        Self::new(text)
    }
}

impl From<KekId> for Safe {
    fn from(kek: KekId) -> Self {
        Self::Word(kek.0)
    }
}

/// A key that is wrapped under another: useless without that other one, so it may be stored.
/// It is text (base64) in serialised forms.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WrappedKey(#[serde(with = "crate::text::base64")] Vec<u8>);

impl WrappedKey {
    /// Wrapped bytes as a custodian or a key table gave them.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The wrapped bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKey({} bytes)", self.0.len())
    }
}

/// What has become of a key-encryption key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KekState {
    /// It wraps and unwraps.
    Active,
    /// It does neither any more.
    Destroyed(KekDestroyed),
}

/// A custodian's answer that a key-encryption key is destroyed: evidence for a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KekDestroyed {
    /// Which one.
    pub kek: KekId,
    /// When it was destroyed, or its destruction scheduled, for the first time.
    #[serde(with = "crate::text::instant")]
    pub at: Timestamp,
    /// Whether it is gone, or when it will be.
    pub method: KekDestruction,
    /// Copies of the KEK outside the custodian (exports, escrow, backups of its store) that it
    /// knows of and cannot call destroyed. Any makes the erase prove nothing: `DST-CE-INVALID`.
    pub copies: u32,
}

/// Whether a destroyed key-encryption key is gone already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KekDestruction {
    /// The custodian no longer has the key.
    Immediate,
    /// The custodian refuses to use the key, and deletes it at the end of a waiting period
    /// during which an administrator could bring it back. A certificate is interim until then.
    Scheduled {
        /// When the waiting period ends.
        #[serde(with = "crate::text::instant")]
        until: Timestamp,
    },
}
