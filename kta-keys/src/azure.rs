//! Azure Key Vault: RSA keys that wrap, and disabled keys with tags as register.

mod config;
mod login;
mod wire;
mod wrapped;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kta_core::crypto::{SecretKey, wrap};
use kta_core::id::TenantId;
use kta_core::ports::kms::WrappedKey;
use kta_core::time::{Entropy, Timestamp};
use kta_core::{Code, Error, FaultKind, Result};
use kta_http::{Call, HttpClient, Method, Request, Retry, TokenCache};
use zeroize::Zeroizing;

use crate::remote::{self, Answer, Bound, Custodian, Custody, Found, Prefix, Tombstone};
use wire::{Bundle, Deleted, Listed, NewAttributes, NewKey, Opened, Said, Sealed, Wrapping};
use wrapped::Wrapped;

pub use config::AzureConfig;

/// KEKs as RSA keys of an Azure key vault (REST version 7.4, `RSA-OAEP-256`). Destruction is
/// scheduled for the end of the vault's retention, or immediate where the adapter may
/// [purge](AzureConfig::purging).
///
/// RSA binds no context, so what the vault wraps is a fresh random key each time, and that key
/// seals the secret with the context as associated data, in the format of
/// [`kta_core::crypto::wrap`]. The secret itself never goes to Azure.
///
/// A purged key is forgotten, name and all. So each KEK has an entry that outlives it: a disabled
/// key `<kek>-entry` that nobody can use, one version from its making, another from its
/// destruction, whose tags say when. Azure knows no "only if absent": of several destructions
/// the first counts, and `destroy` waits a moment to see which that was.
///
/// What Azure does not tell are backups (`keys/backup`): each can be restored, even after a
/// purge. Allow it to nobody, or declare them
/// ([`Hierarchy::declare_copy`](kta_core::crypto::Hierarchy::declare_copy)).
#[derive(Debug)]
pub struct AzureKeyVault {
    config: AzureConfig,
    http: HttpClient,
    tokens: TokenCache,
    retry: Retry,
    entropy: Arc<dyn Entropy>,
}

impl AzureKeyVault {
    /// The custodian at `config`. Nothing is sent yet. `entropy` draws the keys that the vault
    /// wraps.
    ///
    /// # Errors
    /// `Misconfigured` when a given root is no certificate or the tenant no path segment.
    pub fn new(config: AzureConfig, entropy: Arc<dyn Entropy>) -> Result<Self> {
        let http = config
            .connection
            .open([config.vault.clone(), config.login.clone()])?;
        let source = login::ClientCredentials {
            http: http.clone(),
            url: config
                .login
                .url([config.tenant.as_str(), "oauth2", "v2.0", "token"])?,
            client_id: config.client_id.clone(),
            secret: config.secret.clone(),
            scope: config.scope.clone(),
        };
        let retry = config.connection.retry(entropy.clone());
        Ok(Self {
            tokens: TokenCache::new(source, login::CALL),
            config,
            http,
            retry,
            entropy,
        })
    }

    async fn ask(
        &self,
        call: Call,
        method: Method,
        path: &[&str],
        body: Option<&[u8]>,
    ) -> Result<Answer> {
        let url = self.config.vault.url(path)?;
        self.retry
            .repeatable(|| async {
                let mut request = Request::new(call, method.clone(), url.clone())
                    .query("api-version", API_VERSION)
                    .repeatable();
                if let Some(body) = body {
                    request = request.bytes(body.to_vec(), "application/json");
                }
                let reply = self.http.send_as(request, &self.tokens).await?;
                match reply.status() {
                    200..=299 | 400 | 403 | 404 | 409 => {}
                    _ => return Err(reply.fault().into()),
                }
                let answer = Answer::of(call, reply).await?;
                if answer.status == 403 {
                    let why = match code(&answer).as_str() {
                        "KeyDisabled" => remote::DISABLED,
                        _ => "the vault does not allow this to this application",
                    };
                    return Err(remote::unusable(call, why));
                }
                Ok(answer)
            })
            .await
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        call: Call,
        path: &[&str],
    ) -> Result<Option<T>> {
        let answer = self.ask(call, Method::GET, path, None).await?;
        match answer.status {
            404 => Ok(None),
            200 => answer.json().map(Some),
            _ => Err(answer.unexpected()),
        }
    }

    async fn key(&self, call: Call, name: &str) -> Result<Option<Bundle>> {
        self.get(call, &["keys", name]).await
    }

    async fn deleted(&self, call: Call, name: &str) -> Result<Option<Deleted>> {
        self.get(call, &["deletedkeys", name]).await
    }

    async fn new_key(&self, call: Call, name: &str, key: &NewKey<'_>) -> Result<()> {
        let path = ["keys", name, "create"];
        let answer = self
            .ask(call, Method::POST, &path, Some(&remote::body(key)))
            .await?;
        match answer.status {
            200..=299 => Ok(()),
            409 => {
                let fault = match code(&answer).as_str() {
                    // Until somebody recovers or purges that key.
                    "ObjectIsDeletedButRecoverable" => call
                        .fault(FaultKind::Misconfigured)
                        .because("a deleted key has this name"),
                    _ => call.fault(FaultKind::Conflict),
                };
                Err(fault.with_status(409).into())
            }
            _ => Err(answer.unexpected()),
        }
    }

    /// The register's entry: nothing, made, or the first tombstone.
    async fn entry(&self, call: Call, name: &str) -> Result<Option<Option<Tombstone>>> {
        let entry = entry(name);
        let listed: Option<Listed> = self.get(call, &["keys", &entry, "versions"]).await?;
        let mut all = listed.map(|listed| listed.value).unwrap_or_default();
        if all.is_empty() {
            return Ok(None);
        }
        all.retain(|item| item.tags.contains_key(AT));
        all.sort_by(|one, other| {
            (one.attributes.created, &one.kid).cmp(&(other.attributes.created, &other.kid))
        });
        let Some(first) = all.first() else {
            return Ok(Some(None));
        };
        let at = first.tags.get(AT).and_then(|at| at.parse().ok());
        let copies = first.tags.get(COPIES).and_then(|n| n.parse().ok());
        match (at, copies) {
            (Some(at), Some(copies)) => Ok(Some(Some(Tombstone { at, copies }))),
            _ => Err(Error::from(
                call.fault(FaultKind::Corrupt)
                    .because("the register does not hold what was written"),
            )),
        }
    }

    /// Adds a version to the register's entry.
    async fn enter(
        &self,
        call: Call,
        name: &str,
        tags: BTreeMap<&'static str, String>,
    ) -> Result<()> {
        let key = NewKey {
            kty: "EC",
            key_size: None,
            key_ops: &["verify"],
            attributes: NewAttributes { enabled: false },
            tags,
        };
        self.new_key(call, &entry(name), &key).await
    }

    /// Asks until `done`, as often as a deletion or purge of Azure may take.
    async fn settled(
        &self,
        call: Call,
        name: &str,
        done: impl Fn(&Option<Deleted>) -> bool + Send + Sync,
    ) -> Result<Option<Deleted>> {
        for _ in 0..SETTLE {
            let deleted = self.deleted(call, name).await?;
            if done(&deleted) {
                return Ok(deleted);
            }
            tokio::time::sleep(self.config.settle).await;
        }
        let fault = call.fault(FaultKind::Unavailable);
        Err(fault.because("the vault is still at it").into())
    }
}

remote::kms!(AzureKeyVault);

#[async_trait]
impl Custodian for AzureKeyVault {
    fn prefix(&self) -> &Prefix {
        &self.config.prefix
    }

    async fn find(&self, call: Call, name: &str) -> Result<Found> {
        let key = name.to_owned();
        Ok(match self.entry(call, name).await? {
            None => Found::Nothing,
            Some(None) => Found::Key { key },
            Some(Some(tombstone)) => Found::Buried { key, tombstone },
        })
    }

    async fn make(&self, call: Call, name: &str, _tenant: TenantId) -> Result<()> {
        // Made twice at once it has two versions; what was wrapped names the one it needs.
        let key = NewKey {
            kty: self.config.kty,
            key_size: Some(3072),
            key_ops: &["wrapKey", "unwrapKey"],
            attributes: NewAttributes { enabled: true },
            tags: BTreeMap::from([(KEK, name.to_owned())]),
        };
        if self.key(call, name).await?.is_none() {
            self.new_key(call, name, &key).await?;
        }
        let tags = BTreeMap::from([(KEK, name.to_owned())]);
        self.enter(call, name, tags).await
    }

    async fn encrypt(
        &self,
        call: Call,
        key: &str,
        secret: &SecretKey,
        bound: &Bound,
    ) -> Result<Vec<u8>> {
        let bundle = self
            .key(call, key)
            .await?
            .ok_or_else(|| remote::lost(call))?;
        // The vault itself lets a disabled key wrap; only unwrapping is refused.
        if !bundle.attributes.enabled {
            return Err(remote::unusable(call, remote::DISABLED));
        }
        let version = bundle
            .version()
            .ok_or_else(|| call.fault(FaultKind::Protocol))?;
        let carrier = SecretKey::random(&*self.entropy);
        let value = Zeroizing::new(URL_SAFE_NO_PAD.encode(carrier.expose()));
        let body = remote::body(&Wrapping {
            alg: ALGORITHM,
            value: &value,
        });
        let path = ["keys", key, version, "wrapkey"];
        let answer = self.ask(call, Method::POST, &path, Some(&body)).await?;
        if answer.status == 404 {
            return Err(remote::lost(call));
        }
        if !answer.is_success() {
            return Err(answer.unexpected());
        }
        let result: Sealed = answer.json()?;
        let carried = URL_SAFE_NO_PAD
            .decode(result.value)
            .map_err(|_| answer.unexpected())?;
        let sealed = wrap::wrap(&carrier, secret, bound.as_bytes(), &*self.entropy)?;
        Wrapped {
            version,
            carried: &carried,
            sealed: sealed.as_bytes(),
        }
        .write()
        .ok_or_else(|| answer.unexpected())
    }

    async fn decrypt(
        &self,
        call: Call,
        key: &str,
        bytes: &[u8],
        bound: &Bound,
    ) -> Result<SecretKey> {
        let wrapped = Wrapped::read(bytes).ok_or(Code::CryKey)?;
        let value = URL_SAFE_NO_PAD.encode(wrapped.carried);
        let body = remote::body(&Wrapping {
            alg: ALGORITHM,
            value: &value,
        });
        let path = ["keys", key, wrapped.version, "unwrapkey"];
        let answer = self.ask(call, Method::POST, &path, Some(&body)).await?;
        match answer.status {
            200 => {}
            400 => return Err(Code::CryKey.into()),
            // No such version, or no such key any more.
            404 => {
                return Err(match self.key(call, key).await? {
                    Some(_) => Code::CryKey.into(),
                    None => remote::lost(call),
                });
            }
            _ => return Err(answer.unexpected()),
        }
        let opened: Opened<'_> =
            serde_json::from_slice(answer.body()).map_err(|_| answer.unexpected())?;
        let carrier = remote::secret(&URL_SAFE_NO_PAD, opened.value).ok_or(Code::CryKey)?;
        let sealed = WrappedKey::from_bytes(wrapped.sealed.to_vec());
        wrap::unwrap(&carrier, &sealed, bound.as_bytes()).map_err(|error| match error {
            Error::Refused(_) => Code::CryKey.into(),
            fault => fault,
        })
    }

    async fn custody(&self, call: Call, key: &str) -> Result<Custody> {
        // Between the two lists a key is in neither for a moment; only staying away is gone.
        for look in 0..LOOKS {
            if look > 0 {
                tokio::time::sleep(self.config.settle).await;
            }
            if let Some(deleted) = self.deleted(call, key).await? {
                return Ok(Custody::Pending {
                    until: Timestamp::from_timestamp(deleted.scheduled_purge_date, 0)
                        .ok_or_else(|| call.fault(FaultKind::Protocol))?,
                    copies: u32::from(deleted.attributes.exportable),
                });
            }
            if let Some(bundle) = self.key(call, key).await? {
                return Ok(Custody::Held {
                    copies: u32::from(bundle.attributes.exportable),
                });
            }
        }
        Ok(Custody::Gone)
    }

    async fn bury(
        &self,
        call: Call,
        name: &str,
        _key: &str,
        tombstone: Tombstone,
    ) -> Result<Tombstone> {
        let tags = BTreeMap::from([
            (AT, remote::instant(tombstone.at)),
            (COPIES, tombstone.copies.to_string()),
        ]);
        self.enter(call, name, tags).await?;
        // Azure dates versions by the second. Once that is over, all who came in it are seen by
        // all of them, and nobody can come before them any more.
        tokio::time::sleep(2 * self.config.settle).await;
        let entry = self.entry(call, name).await?.flatten();
        Ok(entry.ok_or_else(|| call.fault(FaultKind::Conflict))?)
    }

    async fn delete(&self, call: Call, key: &str) -> Result<()> {
        let path = ["keys", key];
        let answer = self.ask(call, Method::DELETE, &path, None).await?;
        match answer.status {
            200..=299 | 409 => {
                self.settled(call, key, Option::is_some).await?;
            }
            404 => {}
            _ => return Err(answer.unexpected()),
        }
        if !self.config.purge {
            return Ok(());
        }
        let Some(deleted) = self.deleted(call, key).await? else {
            return Ok(());
        };
        // `Recoverable` without it means that the vault is protected against purging.
        if deleted.attributes.recovery_level.contains("Purgeable") {
            let path = ["deletedkeys", key];
            let answer = self.ask(call, Method::DELETE, &path, None).await?;
            if !answer.is_success() && answer.status != 404 {
                return Err(answer.unexpected());
            }
            self.settled(call, key, Option::is_none).await?;
        }
        Ok(())
    }
}

/// The name of the register's entry for a KEK.
fn entry(name: &str) -> String {
    format!("{name}-entry")
}

/// The innermost code of an error body.
fn code(answer: &Answer) -> String {
    let said: Option<Said> = serde_json::from_slice(answer.body()).ok();
    said.map(|said| said.error.innermost()).unwrap_or_default()
}

const API_VERSION: &str = "7.4";
/// The tags of the register.
const KEK: &str = "kta-kek";
const AT: &str = "kta-at";
const COPIES: &str = "kta-copies";
const ALGORITHM: &str = "RSA-OAEP-256";
/// How often to look whether a deletion or purge went through.
const SETTLE: u32 = 10;
/// How often a key must be found in neither list to count as gone.
const LOOKS: u32 = 2;
