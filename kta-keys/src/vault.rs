//! HashiCorp Vault and OpenBao: the transit engine, with a KV version 2 engine as register.

mod login;

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kta_core::crypto::SecretKey;
use kta_core::id::TenantId;
use kta_core::time::Entropy;
use kta_core::{Code, Error, FaultKind, Port, Result};
use kta_http::{Call, HttpClient, Method, Origin, Request, Retry, TokenCache};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::remote::{
    self, Answer, Bound, Connection, Custodian, Custody, Found, Prefix, Tombstone,
};

pub use login::VaultAuth;

/// KEKs as `aes256-gcm96` keys of a transit engine. Destruction is immediate.
///
/// A deleted key of Vault is forgotten, name and all, and a later `encrypt` may even make
/// another of that name. So each KEK has an entry in a KV version 2 engine, written with
/// check-and-set, that outlives it: give the adapter no right to delete there.
///
/// What Vault cannot know are its own snapshots: one taken before a destruction holds the key.
/// Declare them ([`Hierarchy::declare_copy`](kta_core::crypto::Hierarchy::declare_copy)).
#[derive(Debug)]
pub struct VaultTransit {
    config: VaultConfig,
    http: HttpClient,
    tokens: TokenCache,
    retry: Retry,
}

/// Where the Vault is, and as whom.
///
/// The token's policy, for the default engines and prefix (`update` without `create` on
/// `encrypt`, so that a missing key is never made in passing):
///
/// ```text
/// path "transit/keys/kta-*"        { capabilities = ["create", "update", "read", "delete"] }
/// path "transit/keys/kta-*/config" { capabilities = ["create", "update"] }
/// path "transit/encrypt/kta-*"     { capabilities = ["update"] }
/// path "transit/decrypt/kta-*"     { capabilities = ["update"] }
/// path "secret/data/kta-*"         { capabilities = ["create", "update", "read"] }
/// ```
#[derive(Clone, Debug)]
pub struct VaultConfig {
    address: Origin,
    auth: VaultAuth,
    namespace: Option<String>,
    transit: String,
    register: String,
    prefix: Prefix,
    connection: Connection,
}

impl VaultConfig {
    /// The engines `transit` and `secret` of the Vault at `address` (scheme, host and port; of
    /// a cluster the active node or its load balancer), keys named `kta-…`.
    ///
    /// # Errors
    /// What [`Origin::parse`] refuses.
    pub fn new(address: &str, auth: VaultAuth) -> Result<Self> {
        Ok(Self {
            address: Origin::parse(address, Port::Kms)?,
            auth,
            namespace: None,
            transit: "transit".to_owned(),
            register: "secret".to_owned(),
            prefix: Prefix::new("kta")?,
            connection: Connection::default(),
        })
    }

    /// The same with these engines: the mounts of transit and of KV version 2.
    #[must_use]
    pub fn engines(mut self, transit: impl Into<String>, register: impl Into<String>) -> Self {
        self.transit = transit.into();
        self.register = register.into();
        self
    }

    /// The same in this namespace (Vault Enterprise, OpenBao 2.3 and later).
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// The same with keys whose names begin like this.
    ///
    /// # Errors
    /// `Misconfigured` for anything but 1 to 40 lower-case letters, digits and inner hyphens.
    pub fn prefix(mut self, prefix: &str) -> Result<Self> {
        self.prefix = Prefix::new(prefix)?;
        Ok(self)
    }

    /// The same reached like this.
    #[must_use]
    pub fn over(mut self, connection: Connection) -> Self {
        self.connection = connection;
        self
    }
}

impl VaultTransit {
    /// The custodian at `config`. Nothing is sent yet. `entropy` spreads repeated attempts.
    ///
    /// # Errors
    /// `Misconfigured` when a given root is no certificate.
    pub fn new(config: VaultConfig, entropy: Arc<dyn Entropy>) -> Result<Self> {
        let http = config.connection.open([config.address.clone()])?;
        let tokens = login::tokens(&config.auth, &http, &config.address, &config.namespace)?;
        let retry = config.connection.retry(entropy);
        Ok(Self {
            config,
            http,
            tokens,
            retry,
        })
    }

    async fn ask(&self, call: Call, what: Ask<'_>) -> Result<Answer> {
        self.retry
            .repeatable(|| async {
                let token = self.tokens.token().await?;
                let refused = self.send(call, &what, token.credential()).await;
                if !self.config.auth.renews() || !is_forbidden(&refused) {
                    return refused;
                }
                // Vault says 403 to a token that ended and to one that may not; a new one tells.
                self.tokens.refused(&token).await;
                let token = self.tokens.token().await?;
                self.send(call, &what, token.credential()).await
            })
            .await
    }

    async fn send(
        &self,
        call: Call,
        what: &Ask<'_>,
        credential: &kta_http::Credential,
    ) -> Result<Answer> {
        let mounted = |mount: &str, rest: &[&str]| {
            let segments = core::iter::once("v1").chain(mount.split('/'));
            self.config
                .address
                .url(segments.chain(rest.iter().copied()))
        };
        let url = match what.engine {
            Engine::Register => mounted(&self.config.register, what.path)?,
            Engine::Transit => mounted(&self.config.transit, what.path)?,
        };
        let mut request = Request::new(call, what.method.clone(), url)
            .header("x-vault-request", "true")
            .credential(credential)
            .repeatable();
        if let Some(namespace) = &self.config.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        if let Some(body) = what.body {
            request = request.bytes(body.to_vec(), "application/json");
        }
        let reply = self.http.send(request).await?;
        let fault =
            |kind, why| Error::from(call.fault(kind).with_status(reply.status()).because(why));
        match reply.status() {
            200..=299 | 400 | 404 => Answer::of(call, reply).await,
            307 | 308 | 472 | 473 => Err(fault(FaultKind::Unavailable, "a standby node answered")),
            403 => Err(fault(
                FaultKind::Misconfigured,
                "the token does not allow this",
            )),
            503 => Err(fault(
                FaultKind::Unavailable,
                "the vault is sealed or in maintenance",
            )),
            _ => Err(reply.fault().into()),
        }
    }

    /// The register's entry and its version for check-and-set.
    async fn entry(&self, call: Call, name: &str) -> Result<Option<(Entry, u64)>> {
        let path = ["data", name];
        let answer = self.ask(call, Ask::get(Engine::Register, &path)).await?;
        if answer.status == 404 {
            self.mounted(&answer)?;
            let read: Option<Reading<Kept<Option<Entry>>>> = answer.json().ok();
            return match read {
                Some(Reading { data: Some(_) }) => Err(Error::from(
                    call.fault(FaultKind::Corrupt)
                        .because("somebody deleted an entry of the register"),
                )),
                _ => Ok(None),
            };
        }
        if !answer.is_success() {
            return Err(answer.unexpected());
        }
        let read: Reading<Kept<Entry>> = answer.json()?;
        let kept = read.data.ok_or_else(|| answer.unexpected())?;
        Ok(Some((kept.data, kept.metadata.version)))
    }

    /// Writes an entry if the present version is `version` (0: none). Whether it was.
    async fn enter(&self, call: Call, name: &str, entry: &Entry, version: u64) -> Result<bool> {
        let body = remote::body(&Entering {
            options: Options { cas: version },
            data: entry,
        });
        let path = ["data", name];
        let answer = self
            .ask(call, Ask::post(Engine::Register, &path, &body))
            .await?;
        match answer.status {
            200..=299 => Ok(true),
            400 if errors(&answer).contains("check-and-set") => Ok(false),
            _ => {
                self.mounted(&answer)?;
                Err(answer.unexpected())
            }
        }
    }

    async fn key(&self, call: Call, name: &str) -> Result<Option<TransitKey>> {
        let path = ["keys", name];
        let answer = self.ask(call, Ask::get(Engine::Transit, &path)).await?;
        match answer.status {
            404 => self.mounted(&answer).map(|()| None),
            200 => {
                let read: Reading<TransitKey> = answer.json()?;
                Ok(Some(read.data.ok_or_else(|| answer.unexpected())?))
            }
            _ => Err(answer.unexpected()),
        }
    }

    /// A 404 of a path that exists; a missing engine also answers 404, and is no answer.
    fn mounted(&self, answer: &Answer) -> Result<()> {
        if errors(answer).contains("no handler for route") {
            let fault = Call::new(Port::Kms, "address").fault(FaultKind::Misconfigured);
            return Err(fault.because("no such engine in this vault").into());
        }
        Ok(())
    }

    /// A server too old for `associated_data` passes over the word, and binds nothing.
    async fn binds(&self, call: Call, name: &str) -> Result<()> {
        let probe = SecretKey::from_bytes([0; SecretKey::LENGTH]);
        let one = Bound::new(name, b"one");
        let sealed = self.encrypt(call, name, &probe, &one).await?;
        let other = Bound::new(name, b"other");
        match self.decrypt(call, name, &sealed, &other).await {
            Err(Error::Refused(_)) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(remote::unusable(
                call,
                "this server does not bind associated data",
            )),
        }
    }
}

remote::kms!(VaultTransit);

#[async_trait]
impl Custodian for VaultTransit {
    fn prefix(&self) -> &Prefix {
        &self.config.prefix
    }

    async fn find(&self, call: Call, name: &str) -> Result<Found> {
        let key = name.to_owned();
        Ok(match self.entry(call, name).await? {
            None => Found::Nothing,
            Some((Entry::Made, _)) => Found::Key { key },
            Some((Entry::Destroyed(tombstone), _)) => Found::Buried { key, tombstone },
        })
    }

    async fn make(&self, call: Call, name: &str, _tenant: TenantId) -> Result<()> {
        let body = remote::body(&NewKey {
            r#type: KEY_TYPE,
            derived: false,
            exportable: false,
            allow_plaintext_backup: false,
        });
        let path = ["keys", name];
        let answer = self
            .ask(call, Ask::post(Engine::Transit, &path, &body))
            .await?;
        if !answer.is_success() {
            self.mounted(&answer)?;
            return Err(answer.unexpected());
        }
        // A key of this name from before stays as it is, so what there is now is looked at.
        let key = self
            .key(call, name)
            .await?
            .ok_or_else(|| remote::lost(call))?;
        if key.r#type != KEY_TYPE || key.derived {
            return Err(remote::unusable(
                call,
                "a key of this name is of another type",
            ));
        }
        self.binds(call, name).await?;
        if self.enter(call, name, &Entry::Made, 0).await? {
            return Ok(());
        }
        // Somebody was faster; if it was even destroyed since, the key made here must go.
        match self.find(call, name).await? {
            Found::Buried { key, .. } => self.delete(call, &key).await,
            Found::Key { .. } | Found::Nothing => Ok(()),
        }
    }

    async fn encrypt(
        &self,
        call: Call,
        key: &str,
        secret: &SecretKey,
        bound: &Bound,
    ) -> Result<Vec<u8>> {
        // Where the token may create, Vault would make a missing key anew, and what was wrapped
        // under the lost one would look altered.
        if self.key(call, key).await?.is_none() {
            return Err(remote::lost(call));
        }
        let plaintext = Zeroizing::new(STANDARD.encode(secret.expose()));
        let associated_data = STANDARD.encode(bound.as_bytes());
        let body = remote::body(&Encrypt {
            plaintext: &plaintext,
            associated_data: &associated_data,
        });
        let path = ["encrypt", key];
        let answer = self
            .ask(call, Ask::post(Engine::Transit, &path, &body))
            .await?;
        if !answer.is_success() {
            return Err(self.refusal(call, &answer));
        }
        let read: Reading<Ciphertext> = answer.json()?;
        let sealed = read.data.ok_or_else(|| answer.unexpected())?;
        Ok(sealed.ciphertext.into_bytes())
    }

    async fn decrypt(
        &self,
        call: Call,
        key: &str,
        bytes: &[u8],
        bound: &Bound,
    ) -> Result<SecretKey> {
        let ciphertext = core::str::from_utf8(bytes).map_err(|_| Code::CryKey)?;
        let associated_data = STANDARD.encode(bound.as_bytes());
        let body = remote::body(&Decrypt {
            ciphertext,
            associated_data: &associated_data,
        });
        let path = ["decrypt", key];
        let answer = self
            .ask(call, Ask::post(Engine::Transit, &path, &body))
            .await?;
        if !answer.is_success() {
            return Err(self.refusal(call, &answer));
        }
        let read: Reading<Plaintext<'_>> =
            serde_json::from_slice(answer.body()).map_err(|_| answer.unexpected())?;
        let opened = read.data.ok_or_else(|| answer.unexpected())?;
        Ok(remote::secret(&STANDARD, opened.plaintext).ok_or(Code::CryKey)?)
    }

    async fn custody(&self, call: Call, key: &str) -> Result<Custody> {
        Ok(match self.key(call, key).await? {
            None => Custody::Gone,
            Some(key) => Custody::Held {
                copies: u32::from(key.exportable)
                    + u32::from(key.allow_plaintext_backup)
                    + u32::from(key.imported_key),
            },
        })
    }

    async fn bury(
        &self,
        call: Call,
        name: &str,
        _key: &str,
        tombstone: Tombstone,
    ) -> Result<Tombstone> {
        for _ in 0..RACES {
            match self.entry(call, name).await? {
                None => return Err(Code::CryKey.into()),
                Some((Entry::Destroyed(first), _)) => return Ok(first),
                Some((Entry::Made, version)) => {
                    let entry = Entry::Destroyed(tombstone);
                    if self.enter(call, name, &entry, version).await? {
                        return Ok(tombstone);
                    }
                }
            }
        }
        Err(call.fault(FaultKind::Conflict).into())
    }

    async fn delete(&self, call: Call, key: &str) -> Result<()> {
        if self.key(call, key).await?.is_none() {
            return Ok(());
        }
        let body = remote::body(&KeyConfig {
            deletion_allowed: true,
        });
        // Another worker may be a step ahead: what is gone by now answers 400 or 404, and what
        // is still there afterwards is for the caller to see.
        let path = ["keys", key, "config"];
        self.ask(call, Ask::post(Engine::Transit, &path, &body))
            .await?;
        let path = ["keys", key];
        self.ask(call, Ask::delete(Engine::Transit, &path)).await?;
        Ok(())
    }
}

impl VaultTransit {
    /// What a refused `encrypt` or `decrypt` means. Vault has words only, no codes.
    fn refusal(&self, call: Call, answer: &Answer) -> Error {
        let said = errors(answer);
        let belongs_not = ["invalid ciphertext", "message authentication failed"];
        if let Err(error) = self.mounted(answer) {
            error
        } else if belongs_not.iter().any(|words| said.contains(words)) {
            Code::CryKey.into()
        } else if said.contains("disallowed by policy") {
            remote::unusable(call, remote::DISABLED)
        } else if said.contains("key not found") {
            remote::lost(call)
        } else {
            answer.unexpected()
        }
    }
}

fn is_forbidden(outcome: &Result<Answer>) -> bool {
    let fault = outcome.as_ref().err().and_then(Error::fault);
    fault.is_some_and(|fault| fault.status() == Some(403))
}

/// The words of an error body, to be looked through and not shown.
fn errors(answer: &Answer) -> String {
    let said: Option<Said> = serde_json::from_slice(answer.body()).ok();
    said.map(|said| said.errors.join("\n")).unwrap_or_default()
}

struct Ask<'a> {
    engine: Engine,
    method: Method,
    path: &'a [&'a str],
    body: Option<&'a [u8]>,
}

impl<'a> Ask<'a> {
    const fn get(engine: Engine, path: &'a [&'a str]) -> Self {
        Self::new(engine, Method::GET, path, None)
    }

    const fn post(engine: Engine, path: &'a [&'a str], body: &'a [u8]) -> Self {
        Self::new(engine, Method::POST, path, Some(body))
    }

    const fn delete(engine: Engine, path: &'a [&'a str]) -> Self {
        Self::new(engine, Method::DELETE, path, None)
    }

    const fn new(
        engine: Engine,
        method: Method,
        path: &'a [&'a str],
        body: Option<&'a [u8]>,
    ) -> Self {
        Self {
            engine,
            method,
            path,
            body,
        }
    }
}

#[derive(Clone, Copy)]
enum Engine {
    Register,
    Transit,
}

/// An entry of the register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kek")]
enum Entry {
    Made,
    Destroyed(Tombstone),
}

#[derive(Deserialize)]
struct Reading<T> {
    data: Option<T>,
}

#[derive(Deserialize)]
struct Kept<T> {
    data: T,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
}

#[derive(Serialize)]
struct Entering<'a> {
    options: Options,
    data: &'a Entry,
}

#[derive(Serialize)]
struct Options {
    cas: u64,
}

#[derive(Serialize)]
struct NewKey {
    r#type: &'static str,
    derived: bool,
    exportable: bool,
    allow_plaintext_backup: bool,
}

#[derive(Serialize)]
struct KeyConfig {
    deletion_allowed: bool,
}

#[derive(Deserialize)]
struct TransitKey {
    r#type: String,
    derived: bool,
    exportable: bool,
    allow_plaintext_backup: bool,
    #[serde(default)]
    imported_key: bool,
}

#[derive(Serialize)]
struct Encrypt<'a> {
    plaintext: &'a str,
    associated_data: &'a str,
}

#[derive(Deserialize)]
struct Ciphertext {
    ciphertext: String,
}

#[derive(Serialize)]
struct Decrypt<'a> {
    ciphertext: &'a str,
    associated_data: &'a str,
}

#[derive(Deserialize)]
struct Plaintext<'a> {
    plaintext: &'a str,
}

#[derive(Deserialize)]
struct Said {
    errors: Vec<String>,
}

const KEY_TYPE: &str = "aes256-gcm96";
/// How often check-and-set may lose before it is the caller's turn to try again.
const RACES: usize = 4;
