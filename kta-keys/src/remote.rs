//! What the custodians behind a network have in common: the contract of `Kms`, written once.
//!
//! Each of them forgets a key that it deleted, name and all. So beside the keys stands a
//! *register* in the same custodian (a KV entry, a parameter, a disabled key with tags): which
//! KEKs were made, and a *tombstone* for each that was destroyed. The tombstone is laid first;
//! from then on no handle uses the key, even where the custodian still would; then the key is
//! deleted; and `destroy` answers only what the custodian says of the key afterwards.
//!
//! A registered key without a tombstone that the custodian does not have was not deleted by
//! `destroy`. It may live all the same, where a wrong address or engine does not show it. So that
//! is a fault, and no tombstone is laid. An administrator who deleted the key, and knows it, lays
//! the tombstone by hand, with the instant of the deletion and the number of copies that are left;
//! from then on `destroy` answers:
//!
//! | custodian | where | what |
//! |---|---|---|
//! | Vault | next version of the KV entry `<kek>` | `{"kek":"destroyed","at":"2026-01-31T12:00:00Z","copies":0}`, the number as a number |
//! | AWS | parameter `/<prefix>/<kek>/destroyed`, type `String` | `{"at":"2026-01-31T12:00:00Z","copies":0}` |
//! | Azure | next version of the key `<kek>-entry`, type `EC`, disabled | tags `kta-at=2026-01-31T12:00:00Z`, `kta-copies=0` |
//!
//! ```text
//! create   register? ──no──► make key ──► register it, once
//! wrap     register, no tombstone ──► encrypt ──► still no tombstone
//! unwrap   register, no tombstone ──► decrypt
//! destroy  look for copies ──► lay the tombstone, once ──► delete ──► look what is left
//! ```

use core::fmt;
use std::time::Duration;

use async_trait::async_trait;
use kta_core::crypto::SecretKey;
use kta_core::id::{Digest, IdempotencyKey, TenantId};
use kta_core::ports::kms::{KekDestroyed, KekDestruction, KekId, KekState, WrappedKey};
use kta_core::time::{Entropy, Timestamp};
use kta_core::{Code, Error, FaultKind, Port, Result};
use kta_http::{Call, HttpClient, Limits, Origin, Reply, Retry, Roots, TransportPolicy};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The port over a [`Custodian`]. (A blanket implementation may not be written here: neither the
/// port nor every type with that trait is ours.)
macro_rules! kms {
    ($custodian:ty) => {
        #[::async_trait::async_trait]
        impl ::kta_core::ports::kms::Kms for $custodian {
            async fn create(
                &self,
                tenant: ::kta_core::id::TenantId,
                key: ::kta_core::id::IdempotencyKey,
            ) -> ::kta_core::Result<::kta_core::ports::kms::KekId> {
                $crate::remote::create(self, tenant, key).await
            }

            async fn wrap(
                &self,
                kek: &::kta_core::ports::kms::KekId,
                secret: &::kta_core::crypto::SecretKey,
                context: &[u8],
            ) -> ::kta_core::Result<::kta_core::ports::kms::WrappedKey> {
                $crate::remote::wrap(self, kek, secret, context).await
            }

            async fn unwrap(
                &self,
                kek: &::kta_core::ports::kms::KekId,
                wrapped: &::kta_core::ports::kms::WrappedKey,
                context: &[u8],
            ) -> ::kta_core::Result<::kta_core::crypto::SecretKey> {
                $crate::remote::unwrap(self, kek, wrapped, context).await
            }

            async fn destroy(
                &self,
                kek: &::kta_core::ports::kms::KekId,
                at: ::kta_core::time::Timestamp,
            ) -> ::kta_core::Result<::kta_core::ports::kms::KekDestroyed> {
                $crate::remote::destroy(self, kek, at).await
            }

            async fn state(
                &self,
                kek: &::kta_core::ports::kms::KekId,
            ) -> ::kta_core::Result<::kta_core::ports::kms::KekState> {
                $crate::remote::state(self, kek).await
            }
        }
    };
}

pub(crate) use kms;

/// How a custodian is reached: whom to trust, how long to wait, how often to try again.
#[derive(Clone, Debug)]
pub struct Connection {
    roots: Roots,
    limits: Limits,
    attempts: u32,
    first: Duration,
    longest: Duration,
}

impl Default for Connection {
    /// The machine's roots; an answer within 10 seconds; four attempts, waits around a quarter
    /// of a second and doubling, none above 5 seconds.
    fn default() -> Self {
        Self {
            roots: Roots::System,
            limits: Limits {
                idle: Duration::from_secs(10),
                total: Duration::from_secs(20),
                ..Limits::default()
            },
            attempts: 4,
            first: Duration::from_millis(250),
            longest: Duration::from_secs(5),
        }
    }
}

impl Connection {
    /// The same trusting these certificate authorities.
    #[must_use]
    pub fn trusting(mut self, roots: Roots) -> Self {
        self.roots = roots;
        self
    }

    /// The same with these limits of time and size.
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same with this many attempts (at least one) and waits between them from around
    /// `first` to `longest`. What the custodian asks to wait beyond that ends the attempts.
    #[must_use]
    pub fn retrying(mut self, attempts: u32, first: Duration, longest: Duration) -> Self {
        self.attempts = attempts;
        self.first = first;
        self.longest = longest;
        self
    }

    pub(crate) fn open(&self, to: impl IntoIterator<Item = Origin>) -> Result<HttpClient> {
        let policy = TransportPolicy::to(to)
            .trusting(self.roots.clone())
            .within(self.limits);
        HttpClient::new(policy, Port::Kms)
    }

    pub(crate) fn retry(&self, entropy: Arc<dyn Entropy>) -> Retry {
        Retry::new(entropy)
            .attempts(self.attempts)
            .waits(self.first, self.longest)
    }
}

/// One vendor's protocol, below the contract.
#[async_trait]
pub(crate) trait Custodian: fmt::Debug + Send + Sync {
    /// What the names of this firm's keys begin with.
    fn prefix(&self) -> &Prefix;

    /// What the register says of `name`.
    async fn find(&self, call: Call, name: &str) -> Result<Found>;

    /// Makes the key called `name` and registers it. Repeatable; of concurrent calls one makes.
    async fn make(&self, call: Call, name: &str, tenant: TenantId) -> Result<()>;

    /// Encrypts under the key, bound to `bound`.
    async fn encrypt(
        &self,
        call: Call,
        key: &str,
        secret: &SecretKey,
        bound: &Bound,
    ) -> Result<Vec<u8>>;

    /// Decrypts; `CRY-KEY` when key, bytes and `bound` do not belong together.
    async fn decrypt(
        &self,
        call: Call,
        key: &str,
        bytes: &[u8],
        bound: &Bound,
    ) -> Result<SecretKey>;

    /// What the custodian has of the key now.
    async fn custody(&self, call: Call, key: &str) -> Result<Custody>;

    /// Lays the tombstone unless there is one; gives the one that lies there.
    async fn bury(
        &self,
        call: Call,
        name: &str,
        key: &str,
        tombstone: Tombstone,
    ) -> Result<Tombstone>;

    /// Deletes the key, as far and as soon as the custodian lets us. Repeatable.
    async fn delete(&self, call: Call, key: &str) -> Result<()>;
}

/// What the register says of a name. `key` is the custodian's own name of the key.
#[derive(Debug)]
pub(crate) enum Found {
    Buried { key: String, tombstone: Tombstone },
    Key { key: String },
    Nothing,
}

/// What a custodian has of a key.
#[derive(Debug)]
pub(crate) enum Custody {
    Gone,
    Held { copies: u32 },
    Pending { until: Timestamp, copies: u32 },
}

/// That a KEK was destroyed, as it stands in the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tombstone {
    pub(crate) at: Timestamp,
    pub(crate) copies: u32,
}

/// What a wrapped secret is bound to: the digest of KEK and context. The context itself never
/// leaves, since custodians log such things.
pub(crate) struct Bound([u8; 32]);

impl Bound {
    pub(crate) fn new(name: &str, context: &[u8]) -> Self {
        let parts = [&b"kta/kek-context/1"[..], name.as_bytes(), context];
        Self(*joined(&parts).as_bytes())
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What the names of a firm's keys begin with: 1 to 40 lower-case letters, digits and inner
/// hyphens, which is what all custodians take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(String);

impl Prefix {
    pub(crate) fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=40).contains(&text.len())
            && text.bytes().all(plain)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if fits {
            Ok(Self(text))
        } else {
            let fault = Call::new(Port::Kms, "configure").fault(FaultKind::Misconfigured);
            Err(fault.because("not a prefix for the names of keys").into())
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the KEK for this tenant and idempotency key: the same for ever.
    fn name(&self, tenant: TenantId, key: IdempotencyKey) -> String {
        let digest = joined(&[b"kta/kek-name/1", tenant.as_bytes(), key.as_bytes()]).to_string();
        format!("{}-{}", self.0, &digest[..NAME_DIGITS])
    }

    /// Whether this adapter could have given this name; others never reach an address.
    fn gave(&self, name: &str) -> bool {
        let digits = name
            .strip_prefix(&self.0)
            .and_then(|rest| rest.strip_prefix('-'));
        digits.is_some_and(|digits| {
            digits.len() == NAME_DIGITS
                && digits
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        })
    }
}

pub(crate) async fn create(
    custodian: &impl Custodian,
    tenant: TenantId,
    key: IdempotencyKey,
) -> Result<KekId> {
    let call = Call::new(Port::Kms, "create");
    let name = custodian.prefix().name(tenant, key);
    if let Found::Nothing = custodian.find(call, &name).await? {
        custodian.make(call, &name, tenant).await?;
    }
    KekId::new(name).map_err(|_| call.fault(FaultKind::Protocol).into())
}

pub(crate) async fn wrap(
    custodian: &impl Custodian,
    kek: &KekId,
    secret: &SecretKey,
    context: &[u8],
) -> Result<WrappedKey> {
    let call = Call::new(Port::Kms, "wrap");
    let key = usable(find(custodian, call, kek).await?)?;
    let bound = Bound::new(kek.as_str(), context);
    let wrapped = custodian.encrypt(call, &key, secret, &bound).await?;
    // Some custodians make a missing key anew when asked to encrypt. What was wrapped beside a
    // destruction is not handed out, and such a key goes too.
    match find(custodian, call, kek).await? {
        Found::Buried { key, .. } => {
            custodian.delete(call, &key).await?;
            Err(Code::CryErased.into())
        }
        found => usable(found).map(|_| WrappedKey::from_bytes(wrapped)),
    }
}

pub(crate) async fn unwrap(
    custodian: &impl Custodian,
    kek: &KekId,
    wrapped: &WrappedKey,
    context: &[u8],
) -> Result<SecretKey> {
    let call = Call::new(Port::Kms, "unwrap");
    let key = usable(find(custodian, call, kek).await?)?;
    if wrapped.as_bytes().is_empty() || wrapped.as_bytes().len() > LONGEST_WRAPPED {
        return Err(Code::CryKey.into());
    }
    let bound = Bound::new(kek.as_str(), context);
    custodian
        .decrypt(call, &key, wrapped.as_bytes(), &bound)
        .await
}

pub(crate) async fn destroy(
    custodian: &impl Custodian,
    kek: &KekId,
    at: Timestamp,
) -> Result<KekDestroyed> {
    let call = Call::new(Port::Kms, "destroy");
    let (key, tombstone) = match find(custodian, call, kek).await? {
        Found::Nothing => return Err(Code::CryKey.into()),
        Found::Buried { key, tombstone } => (key, tombstone),
        Found::Key { key } => {
            let tombstone = match custodian.custody(call, &key).await? {
                Custody::Held { copies } | Custody::Pending { copies, .. } => {
                    let tombstone = Tombstone { at, copies };
                    custodian.bury(call, kek.as_str(), &key, tombstone).await?
                }
                // A deletion by `destroy` comes after a tombstone, which another may just have
                // laid. Without one, who knows where the key is?
                Custody::Gone => match find(custodian, call, kek).await? {
                    Found::Buried { tombstone, .. } => tombstone,
                    Found::Key { .. } | Found::Nothing => return Err(lost(call)),
                },
            };
            (key, tombstone)
        }
    };
    custodian.delete(call, &key).await?;
    match evidence(kek, tombstone, &custodian.custody(call, &key).await?) {
        Some(evidence) => Ok(evidence),
        None => Err(call
            .fault(FaultKind::Unavailable)
            .because("the custodian still holds the key")
            .into()),
    }
}

pub(crate) async fn state(custodian: &impl Custodian, kek: &KekId) -> Result<KekState> {
    let call = Call::new(Port::Kms, "state");
    match find(custodian, call, kek).await? {
        Found::Nothing => Err(Code::CryKey.into()),
        Found::Key { .. } => Ok(KekState::Active),
        Found::Buried { key, tombstone } => {
            let custody = custodian.custody(call, &key).await?;
            // A tombstone over a living key: `destroy` was cut off, or an administrator brought
            // the key back. Nobody may hold that for destroyed.
            Ok(evidence(kek, tombstone, &custody).map_or(KekState::Active, KekState::Destroyed))
        }
    }
}

/// An answer with a body in memory, wiped when dropped.
pub(crate) struct Answer {
    call: Call,
    pub(crate) status: u16,
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    pub(crate) async fn of(call: Call, reply: Reply) -> Result<Self> {
        let status = reply.status();
        let body = reply.bytes(LONGEST_BODY).await?;
        Ok(Self { call, status, body })
    }

    pub(crate) const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body in the form expected of a success.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|_| self.unexpected())
    }

    /// What an answer means for which nobody has a better word.
    pub(crate) fn unexpected(&self) -> Error {
        let fault = self.call.fault(FaultKind::Protocol);
        fault.with_status(self.status).into()
    }
}

/// The JSON of a body that may hold a secret: no growing, so no copies left behind.
pub(crate) fn body(value: &impl Serialize) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    // Writing into memory does not fail, and the bodies of this crate have plain fields.
    if serde_json::to_writer(&mut *bytes, value).is_err() {
        bytes.clear();
    }
    bytes
}

/// The 32 bytes of a base64 text (alphabet of `engine`), without a copy left behind.
pub(crate) fn secret(engine: &impl base64::Engine, text: &str) -> Option<SecretKey> {
    let mut bytes = Zeroizing::new([0; 66]);
    let length = engine.decode_slice(text, &mut *bytes).ok()?;
    SecretKey::from_slice(&bytes[..length])
}

/// A key that the custodian has but does not let us use.
pub(crate) fn unusable(call: Call, why: &'static str) -> Error {
    call.fault(FaultKind::Misconfigured).because(why).into()
}

/// A key that is registered, not destroyed, and not there.
pub(crate) fn lost(call: Call) -> Error {
    call.fault(FaultKind::NotFound)
        .because("the key is gone from the custodian, and not by destroy")
        .into()
}

pub(crate) const DISABLED: &str = "the key is disabled at the custodian";
pub(crate) const PENDING: &str = "the key is pending deletion, and not by destroy";

/// As the register writes an instant: nothing lost.
pub(crate) fn instant(at: Timestamp) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

async fn find(custodian: &impl Custodian, call: Call, kek: &KekId) -> Result<Found> {
    if custodian.prefix().gave(kek.as_str()) {
        custodian.find(call, kek.as_str()).await
    } else {
        Ok(Found::Nothing)
    }
}

fn usable(found: Found) -> Result<String> {
    match found {
        Found::Buried { .. } => Err(Code::CryErased.into()),
        Found::Key { key } => Ok(key),
        Found::Nothing => Err(Code::CryKey.into()),
    }
}

fn evidence(kek: &KekId, tombstone: Tombstone, custody: &Custody) -> Option<KekDestroyed> {
    let method = match *custody {
        Custody::Gone => KekDestruction::Immediate,
        Custody::Held { .. } => return None,
        Custody::Pending { until, .. } => KekDestruction::Scheduled { until },
    };
    Some(KekDestroyed {
        kek: kek.clone(),
        at: tombstone.at,
        method,
        copies: tombstone.copies,
    })
}

/// The digest of parts with their lengths.
fn joined(parts: &[&[u8]]) -> Digest {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part);
    }
    Digest::of(&all)
}

/// 128 bits, so that no two KEKs ever share a name.
const NAME_DIGITS: usize = 32;
/// More than any custodian's wrapping of 32 bytes takes.
const LONGEST_WRAPPED: usize = 4096;
const LONGEST_BODY: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_for_ever_and_tells_nothing() {
        let prefix = Prefix::new("firm").unwrap();
        let tenant = TenantId::from_bytes([7; 16]);
        let name = prefix.name(tenant, IdempotencyKey::derived("test", &[b"1"]));
        assert_eq!(name, "firm-d8e0e94ccdec9818feae813018e726ab");
        assert!(prefix.gave(&name));
        for other in [
            "firm-",
            "firm-../../../../../../sys/seal/a/b/c/d",
            "other-00000000000000000000000000000000",
            "firm-0000000000000000000000000000000G",
            "firm-000000000000000000000000000000000",
        ] {
            assert!(!prefix.gave(other), "{other}");
        }
    }

    #[test]
    fn a_prefix_fits_every_custodian() {
        for bad in ["", "-a", "a-", "A", "a_b", "a/b", &"a".repeat(41)] {
            assert!(Prefix::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_secret_is_bound_to_differs_by_kek_and_context() {
        let bound = |name: &str, context: &[u8]| *Bound::new(name, context).as_bytes();
        assert_ne!(bound("a", b"bc"), bound("ab", b"c"));
        assert_ne!(bound("a", b""), bound("a", b"\0"));
    }
}
