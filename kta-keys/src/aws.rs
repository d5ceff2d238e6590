//! AWS Key Management Service, with Systems Manager parameters as register.

mod config;
mod identity;
pub(crate) mod sigv4;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kta_core::crypto::SecretKey;
use kta_core::id::{Digest, TenantId};
use kta_core::time::{Clock, Entropy, Timestamp};
use kta_core::{Code, Error, FaultKind, Result};
use kta_http::{Call, Credential, HttpClient, Request, Retry, Url};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::remote::{self, Answer, Bound, Custodian, Custody, Found, Prefix, Tombstone};
use sigv4::Signing;
use wire::{
    CreateKey, Decrypt, Decrypted, Described, Encrypt, Encrypted, GetParameters, OneKey,
    Parameters, PutParameter, Said, ScheduleKeyDeletion, Tag,
};

pub use config::AwsConfig;
pub use identity::{AwsCredentials, AwsIdentity};

/// KEKs as symmetric keys of AWS KMS (`SYMMETRIC_DEFAULT`, origin `AWS_KMS`, one region).
/// Destruction is scheduled: AWS refuses the key at once and deletes it after the waiting period.
///
/// AWS forgets a key, its aliases and tags at the end of that period, and `CreateKey` knows no
/// idempotency. So each KEK has two parameters in Systems Manager, written once and never
/// again: `/<prefix>/<kek>/key` with the key's id and `/<prefix>/<kek>/destroyed`. An alias would
/// not do: anybody with `kms:UpdateAlias` could point it elsewhere.
///
/// So each turn of the epoch takes two parameters, for ever: one for the new KEK, one for the
/// tombstone of the old. AWS has room for 10 000 standard and 100 000 advanced parameters in an
/// account and region. The adapter asks for `Intelligent-Tiering`, which makes advanced ones,
/// that cost money, when the standard ones are used up. In a full account nothing is made and
/// nothing destroyed: both are `Misconfigured` faults that say so.
///
/// A key made while the process was killed, or whose making was not answered, has no parameter
/// and stays behind, unused; its tag `kta-kek` tells what it was made for.
#[derive(Debug)]
pub struct AwsKms {
    config: AwsConfig,
    http: HttpClient,
    clock: Arc<dyn Clock>,
    retry: Retry,
}

impl AwsKms {
    /// The custodian at `config`. Nothing is sent yet. `clock` dates signatures (AWS takes five
    /// minutes of difference), `entropy` spreads repeated attempts.
    ///
    /// # Errors
    /// `Misconfigured` when a given root is no certificate.
    pub fn new(
        config: AwsConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let http = config
            .connection
            .open([config.kms.clone(), config.ssm.clone()])?;
        let retry = config.connection.retry(entropy);
        Ok(Self {
            config,
            http,
            clock,
            retry,
        })
    }

    async fn kms(&self, call: Call, action: &str, body: &impl Serialize) -> Result<Told> {
        let target = format!("TrentService.{action}");
        self.ask(call, "kms", &target, &remote::body(body)).await
    }

    async fn ssm(&self, call: Call, action: &str, body: &impl Serialize) -> Result<Told> {
        let target = format!("AmazonSSM.{action}");
        self.ask(call, "ssm", &target, &remote::body(body)).await
    }

    async fn ask(&self, call: Call, service: &str, target: &str, body: &[u8]) -> Result<Told> {
        self.retry
            .repeatable(|| async {
                let told = self.send(call, service, target, body, false).await?;
                let told = match &told {
                    Told::Error(code, _) if EXPIRED.contains(&code.as_str()) => {
                        self.send(call, service, target, body, true).await?
                    }
                    _ => told,
                };
                match told {
                    Told::Error(code, answer) => common(call, code, answer),
                    answered => Ok(answered),
                }
            })
            .await
    }

    async fn send(
        &self,
        call: Call,
        service: &str,
        target: &str,
        body: &[u8],
        refused: bool,
    ) -> Result<Told> {
        let origin = if service == "kms" {
            &self.config.kms
        } else {
            &self.config.ssm
        };
        let credentials = self.config.identity.credentials(refused).await?;
        let url = origin.url([""])?;
        let (at, host) = (self.clock.now(), host(&url));
        let stamp = sigv4::stamp(at);
        let mut headers = vec![
            ("content-type", MEDIA),
            ("host", host.as_str()),
            ("x-amz-date", stamp.as_str()),
        ];
        let session = credentials.session.as_ref();
        if let Some(session) = session {
            headers.push((
                "x-amz-security-token",
                secrecy::ExposeSecret::expose_secret(session),
            ));
        }
        headers.push(("x-amz-target", target));
        let signing = Signing {
            method: "POST",
            path: "/",
            query: "",
            headers: &headers,
            body,
            region: &self.config.region,
            service,
            at,
        };
        let signature = signing.authorization(&credentials.id, &credentials.secret);
        let mut request = Request::post(call, url)
            .bytes(body.to_vec(), MEDIA)
            .header("x-amz-date", &stamp)
            .header("x-amz-target", target)
            .credential(&Credential::aws(signature.into()))
            .repeatable();
        if let Some(session) = session {
            request = request.secret_header("x-amz-security-token", session);
        }
        let reply = self.http.send(request).await?;
        if reply.status() == 400 || reply.is_success() || reply.status() == 403 {
            let answer = Answer::of(call, reply).await?;
            if answer.is_success() {
                return Ok(Told::Answer(answer));
            }
            let said: Option<Said> = serde_json::from_slice(answer.body()).ok();
            let code = said.map(|said| said.code).unwrap_or_default();
            let code = code.rsplit('#').next().unwrap_or_default().to_owned();
            return Ok(Told::Error(code, answer));
        }
        Err(reply.fault().into())
    }

    fn parameter(&self, name: &str, what: &str) -> String {
        format!("/{}/{name}/{what}", self.config.prefix.as_str())
    }

    /// Writes a parameter that is not there yet. Whether it was not.
    async fn enter(&self, call: Call, name: String, value: String) -> Result<bool> {
        let put = PutParameter {
            name,
            value,
            r#type: "String",
            tier: "Intelligent-Tiering",
            overwrite: false,
        };
        match self.ssm(call, "PutParameter", &put).await? {
            Told::Answer(_) => Ok(true),
            Told::Error(code, _) if code == "ParameterAlreadyExists" => Ok(false),
            Told::Error(_, answer) => Err(answer.unexpected()),
        }
    }

    async fn schedule(&self, call: Call, key: &str) -> Result<()> {
        let schedule = ScheduleKeyDeletion {
            key_id: key,
            pending_window_in_days: self.config.days,
        };
        match self.kms(call, "ScheduleKeyDeletion", &schedule).await? {
            Told::Answer(_) => Ok(()),
            // Scheduled before, or gone already.
            Told::Error(code, _) if code == INVALID_STATE || code == NOT_FOUND => Ok(()),
            Told::Error(_, answer) => Err(answer.unexpected()),
        }
    }

    /// Waits until the key is to be seen: KMS is eventually consistent.
    async fn seen(&self, call: Call, key: &str) -> Result<()> {
        for wait in SETTLE {
            if !matches!(self.custody(call, key).await?, Custody::Gone) {
                return Ok(());
            }
            tokio::time::sleep(wait).await;
        }
        let fault = call.fault(FaultKind::Unavailable);
        Err(fault.because("the new key is not to be seen yet").into())
    }
}

remote::kms!(AwsKms);

#[async_trait]
impl Custodian for AwsKms {
    fn prefix(&self) -> &Prefix {
        &self.config.prefix
    }

    async fn find(&self, call: Call, name: &str) -> Result<Found> {
        let (made, destroyed) = (
            self.parameter(name, "key"),
            self.parameter(name, "destroyed"),
        );
        let both = GetParameters {
            names: [&made, &destroyed],
        };
        let told = self.ssm(call, "GetParameters", &both).await?;
        let read: Parameters = told.answer()?.json()?;
        let value = |name: &str| {
            let found = read.parameters.iter().find(|each| each.name == name);
            found.map(|found| found.value.clone())
        };
        let corrupt = || {
            call.fault(FaultKind::Corrupt)
                .because("the register does not hold what was written")
        };
        let Some(key) = value(&made) else {
            return match value(&destroyed) {
                None => Ok(Found::Nothing),
                Some(_) => Err(corrupt().into()),
            };
        };
        Ok(match value(&destroyed) {
            None => Found::Key { key },
            Some(text) => Found::Buried {
                key,
                tombstone: serde_json::from_str(&text).map_err(|_| corrupt())?,
            },
        })
    }

    async fn make(&self, call: Call, name: &str, _tenant: TenantId) -> Result<()> {
        let create = CreateKey {
            description: "key-encryption key of KTA",
            key_spec: "SYMMETRIC_DEFAULT",
            key_usage: "ENCRYPT_DECRYPT",
            origin: "AWS_KMS",
            multi_region: false,
            tags: [Tag {
                tag_key: "kta-kek",
                tag_value: name,
            }],
        };
        let told = self.kms(call, "CreateKey", &create).await?;
        let made: Described = told.answer()?.json()?;
        let key = made.key_metadata.key_id;
        self.seen(call, &key).await?;
        let parameter = self.parameter(name, "key");
        let refused = match self.enter(call, parameter, key.clone()).await {
            Ok(true) => return Ok(()),
            Ok(false) => None,
            Err(error) if is_misconfigured(&error) => Some(error),
            Err(error) => return Err(error),
        };
        let registered = match self.find(call, name).await? {
            Found::Key { key } | Found::Buried { key, .. } => Some(key),
            Found::Nothing => None,
        };
        match (registered, refused) {
            // An earlier attempt, whose answer was lost, had entered it.
            (Some(registered), _) if registered == key => Ok(()),
            // Somebody was faster: theirs is the KEK, and ours never wrapped anything.
            (Some(_), _) => self.schedule(call, &key).await,
            // The register takes no entry: unless it goes, each attempt leaves a key.
            (None, Some(refused)) => self.schedule(call, &key).await.and(Err(refused)),
            // It has one that does not show yet, and that may be ours.
            (None, None) => Err(call
                .fault(FaultKind::Unavailable)
                .because("the register's entry is not to be seen yet")
                .into()),
        }
    }

    async fn encrypt(
        &self,
        call: Call,
        key: &str,
        secret: &SecretKey,
        bound: &Bound,
    ) -> Result<Vec<u8>> {
        let plaintext = Zeroizing::new(STANDARD.encode(secret.expose()));
        let encrypt = Encrypt {
            key_id: key,
            plaintext: &plaintext,
            encryption_context: context(bound),
        };
        let told = self.kms(call, "Encrypt", &encrypt).await?;
        let sealed: Encrypted = told.used(call)?.json()?;
        let blob = STANDARD.decode(sealed.ciphertext_blob);
        let blob = blob.map_err(|_| call.fault(FaultKind::Protocol))?;
        Ok([MAGIC, &check(&blob), &blob].concat())
    }

    async fn decrypt(
        &self,
        call: Call,
        key: &str,
        bytes: &[u8],
        bound: &Bound,
    ) -> Result<SecretKey> {
        let blob = whole(bytes).ok_or(Code::CryKey)?;
        let decrypt = Decrypt {
            key_id: key,
            ciphertext_blob: STANDARD.encode(blob),
            encryption_context: context(bound),
        };
        let told = self.kms(call, "Decrypt", &decrypt).await?;
        let answer = told.used(call)?;
        let opened: Decrypted<'_> =
            serde_json::from_slice(answer.body()).map_err(|_| answer.unexpected())?;
        // An ARN ends with the key's id.
        if opened.key_id.rsplit('/').next() != Some(key) {
            return Err(Code::CryKey.into());
        }
        Ok(remote::secret(&STANDARD, opened.plaintext).ok_or(Code::CryKey)?)
    }

    async fn custody(&self, call: Call, key: &str) -> Result<Custody> {
        let described = match self
            .kms(call, "DescribeKey", &OneKey { key_id: key })
            .await?
        {
            Told::Error(code, _) if code == NOT_FOUND => return Ok(Custody::Gone),
            told => told.answer()?.json::<Described>()?,
        };
        let key = described.key_metadata;
        let copies = key.copies();
        Ok(match key.key_state.as_str() {
            "PendingDeletion" => Custody::Pending {
                until: key
                    .deletion_date
                    .and_then(seconds)
                    .ok_or_else(|| call.fault(FaultKind::Protocol))?,
                copies,
            },
            // No date before the last replica is gone: the longest there can be from now.
            "PendingReplicaDeletion" => Custody::Pending {
                until: self.clock.now() + chrono::TimeDelta::days(30),
                copies,
            },
            _ => Custody::Held { copies },
        })
    }

    async fn bury(
        &self,
        call: Call,
        name: &str,
        _key: &str,
        tombstone: Tombstone,
    ) -> Result<Tombstone> {
        let text = String::from_utf8_lossy(&remote::body(&tombstone)).into_owned();
        if self
            .enter(call, self.parameter(name, "destroyed"), text)
            .await?
        {
            return Ok(tombstone);
        }
        match self.find(call, name).await? {
            Found::Buried { tombstone, .. } => Ok(tombstone),
            Found::Key { .. } | Found::Nothing => Err(call.fault(FaultKind::Conflict).into()),
        }
    }

    async fn delete(&self, call: Call, key: &str) -> Result<()> {
        match self.custody(call, key).await? {
            Custody::Pending { .. } => Ok(()),
            // Gone may be a key that does not show just now: KMS is eventually consistent.
            Custody::Gone | Custody::Held { .. } => self.schedule(call, key).await,
        }
    }
}

/// An answer, or an error with the code AWS gives it.
enum Told {
    Answer(Answer),
    Error(String, Answer),
}

impl Told {
    fn answer(self) -> Result<Answer> {
        match self {
            Self::Answer(answer) => Ok(answer),
            Self::Error(_, answer) => Err(answer.unexpected()),
        }
    }

    /// The answer to a use of a key.
    fn used(self, call: Call) -> Result<Answer> {
        match self {
            Self::Answer(answer) => Ok(answer),
            Self::Error(code, answer) => Err(match code.as_str() {
                "DisabledException" => remote::unusable(call, remote::DISABLED),
                "IncorrectKeyException" | "InvalidCiphertextException" => Code::CryKey.into(),
                INVALID_STATE => remote::unusable(call, remote::PENDING),
                NOT_FOUND => remote::lost(call),
                _ => answer.unexpected(),
            }),
        }
    }
}

/// The errors that mean the same whatever was asked.
fn common(call: Call, code: String, answer: Answer) -> Result<Told> {
    let fault = |kind, why| {
        let fault = call.fault(kind).with_status(answer.status);
        Err(Error::from(fault.because(why)))
    };
    match code.as_str() {
        "AccessDeniedException" => fault(
            FaultKind::Misconfigured,
            "AWS does not allow this to this identity",
        ),
        "IncompleteSignature"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => fault(
            FaultKind::Misconfigured,
            "AWS does not know this access key",
        ),
        code if EXPIRED.contains(&code) => {
            fault(FaultKind::Misconfigured, "the credentials have expired")
        }
        "RequestTimeTooSkewed" => fault(FaultKind::Misconfigured, "this machine's clock is wrong"),
        // Quotas of the account: waiting makes no room.
        "LimitExceededException" => fault(
            FaultKind::Misconfigured,
            "the account has no room for another key",
        ),
        "ParameterLimitExceeded" => fault(
            FaultKind::Misconfigured,
            "the account has no room for another parameter",
        ),
        "RequestLimitExceeded" | "ThrottlingException" | "TooManyUpdates" => fault(
            FaultKind::Throttled { retry_after: None },
            "AWS is throttling",
        ),
        "DependencyTimeoutException"
        | "InternalServerError"
        | "KMSInternalException"
        | "KeyUnavailableException"
        | "ServiceUnavailable" => fault(
            FaultKind::Unavailable,
            "the service says that it is not serving",
        ),
        _ => Ok(Told::Error(code, answer)),
    }
}

fn is_misconfigured(error: &Error) -> bool {
    let fault = error.fault();
    fault.is_some_and(|fault| fault.kind() == FaultKind::Misconfigured)
}

/// The blob of what was wrapped, if it is as it was. AWS says "access denied" of a blob in which
/// the key's id was changed, and that must not be taken for a missing right, nor the other way
/// round; whether anybody may open it, AWS decides.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let (check_of, blob) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
    (check(blob) == *check_of).then_some(blob)
}

fn check(blob: &[u8]) -> [u8; 8] {
    let mut check = [0; 8];
    check.copy_from_slice(&Digest::of(blob).as_bytes()[..8]);
    check
}

fn context(bound: &Bound) -> BTreeMap<&'static str, String> {
    BTreeMap::from([("kta", STANDARD.encode(bound.as_bytes()))])
}

/// The `Host` header of this address.
fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

fn seconds(since: f64) -> Option<Timestamp> {
    // Milliseconds of dates below the year 10 000 are exact in 53 bits.
    let milliseconds = (since * 1000.0).round();
    (milliseconds.abs() < 9.0e15)
        .then(|| Timestamp::from_timestamp_millis(milliseconds as i64))
        .flatten()
}

/// Before the blob: a name and version of this form, and eight bytes of the blob's digest.
const MAGIC: &[u8] = b"kta-kms\x01";
const MEDIA: &str = "application/x-amz-json-1.1";
const NOT_FOUND: &str = "NotFoundException";
const INVALID_STATE: &str = "KMSInvalidStateException";
const EXPIRED: [&str; 3] = ["ExpiredToken", "ExpiredTokenException", "RequestExpired"];
const SETTLE: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
