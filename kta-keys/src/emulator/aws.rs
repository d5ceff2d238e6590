//! AWS KMS and the parameters of Systems Manager: JSON 1.1 under Signature Version 4.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{NaiveDateTime, TimeDelta};
use kta_core::time::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::faults::{Exchange, Failure};
use super::serve::{Call, Reply, Server, World};
use super::{Clock, Material, hex};
use crate::aws::sigv4::Signing;

/// A loopback region of AWS with one account and one access key. Every signature is computed
/// again from what arrived.
#[derive(Debug)]
pub struct AwsEmulator(Server<Region>);

impl AwsEmulator {
    /// Starts on the loopback interface.
    ///
    /// # Errors
    /// What the operating system says when a port cannot be opened.
    pub async fn start() -> std::io::Result<Self> {
        Server::start(|_| Region::default()).await.map(Self)
    }

    /// The endpoint of all services: scheme, host and port.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// The region that signatures must name.
    #[must_use]
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// Access key and secret.
    #[must_use]
    pub fn access_key(&self) -> (&'static str, &'static str) {
        (ACCESS_KEY, SECRET)
    }

    /// The next `times` requests whose target (`TrentService.Decrypt`) contains `part` fail like
    /// this.
    pub fn fail(&self, times: u32, part: &str, failure: Failure) {
        self.0.fail(times, part, failure);
    }

    /// Every request so far.
    #[must_use]
    pub fn journal(&self) -> Vec<Exchange> {
        self.0.journal()
    }

    /// Moves the region's clock.
    pub fn advance(&self, by: TimeDelta) {
        let mut region = self.0.world();
        region.clock.0 += by;
    }

    /// How many keys there are, those pending deletion among them.
    #[must_use]
    pub fn keys(&self) -> usize {
        let mut region = self.0.world();
        region.sweep();
        region.keys.len()
    }

    /// The key that was made for this KEK, by its tag.
    #[must_use]
    pub fn key_of(&self, kek: &str) -> Option<String> {
        let region = self.0.world();
        let mut keys = region.keys.iter();
        keys.find(|(_, key)| key.tag == kek)
            .map(|(id, _)| id.clone())
    }

    /// An administrator disables or enables a key.
    pub fn enable(&self, key: &str, enabled: bool) {
        if let Some(key) = self.0.world().keys.get_mut(key) {
            key.enabled = enabled;
        }
    }

    /// An administrator schedules a deletion, or takes it back (the key is disabled then).
    pub fn schedule(&self, key: &str, scheduled: bool) {
        let mut region = self.0.world();
        let until = region.clock.now() + TimeDelta::days(7);
        if let Some(key) = region.keys.get_mut(key) {
            (key.deletion, key.enabled) = (scheduled.then_some(until), false);
        }
    }

    /// An administrator deleted a key, and its waiting period is over.
    pub fn remove_key(&self, key: &str) {
        self.0.world().keys.remove(key);
    }

    /// The next `looks` at a key do not find it: KMS is eventually consistent.
    pub fn hide(&self, key: &str, looks: u32) {
        if let Some(key) = self.0.world().keys.get_mut(key) {
            key.hidden = looks;
        }
    }

    /// An administrator writes a parameter.
    pub fn enter(&self, name: &str, value: &str) {
        let mut region = self.0.world();
        region.parameters.insert(name.to_owned(), value.to_owned());
    }

    /// The account has no room for another key, for another parameter, or has again.
    pub fn fill(&self, keys: bool, parameters: bool) {
        let mut region = self.0.world();
        (region.no_more_keys, region.no_more_parameters) = (keys, parameters);
    }

    /// The key gets replicas in other regions.
    pub fn replicate(&self, key: &str, replicas: usize) {
        if let Some(key) = self.0.world().keys.get_mut(key) {
            key.replicas = replicas;
        }
    }
}

#[derive(Default)]
struct Region {
    clock: Clock,
    keys: BTreeMap<String, Key>,
    parameters: BTreeMap<String, String>,
    no_more_keys: bool,
    no_more_parameters: bool,
}

struct Key {
    material: Material,
    created: Timestamp,
    enabled: bool,
    deletion: Option<Timestamp>,
    replicas: usize,
    hidden: u32,
    tag: String,
}

impl World for Region {
    fn operation(&self, call: &Call) -> String {
        call.header("x-amz-target").to_owned()
    }

    fn turn(&mut self, call: &Call) -> Reply {
        self.sweep();
        self.answer(call).unwrap_or_else(|refused| refused)
    }

    fn failed(&self, failure: &Failure) -> Reply {
        match failure {
            Failure::ExpiredToken => error("ExpiredTokenException"),
            Failure::Throttled(_) => error("ThrottlingException"),
            _ => Reply {
                status: 503,
                ..error("ServiceUnavailable")
            },
        }
    }
}

impl Region {
    fn sweep(&mut self) {
        let now = self.clock.now();
        self.keys
            .retain(|_, key| key.deletion.is_none_or(|at| at > now));
    }

    fn answer(&mut self, call: &Call) -> Result<Reply, Reply> {
        if (call.method.as_str(), call.path.as_str()) != ("POST", "/") {
            return Err(error("UnknownOperationException"));
        }
        let target = call.header("x-amz-target").to_owned();
        let (service, action) = match target.split_once('.') {
            Some(("TrentService", action)) => ("kms", action),
            Some(("AmazonSSM", action)) => ("ssm", action),
            _ => return Err(error("UnknownOperationException")),
        };
        self.admit(call, service)?;
        let body = call.json();
        let body = body
            .is_object()
            .then_some(&body)
            .ok_or_else(|| error("SerializationException"))?;
        let reply = match (service, action) {
            ("kms", "CreateKey") => self.create(body)?,
            ("kms", "DescribeKey") => self.look(&id(body))?,
            ("kms", "Encrypt") => self.encrypt(body)?,
            ("kms", "Decrypt") => self.decrypt(body)?,
            ("kms", "ScheduleKeyDeletion") => self.schedule(body)?,
            ("kms", "CancelKeyDeletion") => self.cancel(body)?,
            ("kms", "DisableKey") => self.enable(body, false)?,
            ("kms", "EnableKey") => self.enable(body, true)?,
            ("ssm", "PutParameter") => self.put(body)?,
            ("ssm", "GetParameters") => self.get(body),
            _ => return Err(error("UnknownOperationException")),
        };
        Ok(Reply::json(200, reply))
    }

    /// Whether the signature is the one this request must have.
    fn admit(&self, call: &Call, service: &str) -> Result<(), Reply> {
        let malformed = || error("IncompleteSignature");
        let given = call.header("authorization");
        let given = given
            .strip_prefix("AWS4-HMAC-SHA256 ")
            .ok_or_else(|| error("MissingAuthenticationToken"))?;
        let part = |name: &str| {
            let mut parts = given.split(',').map(str::trim);
            parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        let names: Vec<&str> = part("SignedHeaders")
            .ok_or_else(malformed)?
            .split(';')
            .collect();
        for needed in ["host", "x-amz-date", "x-amz-target"] {
            if !names.contains(&needed) {
                return Err(malformed());
            }
        }
        let at = NaiveDateTime::parse_from_str(call.header("x-amz-date"), "%Y%m%dT%H%M%SZ")
            .map_err(|_| malformed())?
            .and_utc();
        if (self.clock.now() - at).abs() > TimeDelta::minutes(5) {
            return Err(error("RequestTimeTooSkewed"));
        }
        let key = part("Credential").and_then(|scope| scope.split('/').next());
        if key != Some(ACCESS_KEY) {
            return Err(error("UnrecognizedClientException"));
        }
        let headers: Vec<_> = names
            .iter()
            .map(|name| (*name, call.header(name)))
            .collect();
        let signing = Signing {
            method: &call.method,
            path: &call.path,
            query: &call.query,
            headers: &headers,
            body: &call.body,
            region: REGION,
            service,
            at,
        };
        let expected = signing.authorization(ACCESS_KEY, &SecretString::from(SECRET));
        let part_of = |text: &str| text.rsplit("Signature=").next().map(str::to_owned);
        if part_of(given) != part_of(&expected) || !given.contains(&format!("/{service}/")) {
            return Err(error("InvalidSignatureException"));
        }
        Ok(())
    }

    fn create(&mut self, body: &Value) -> Result<Value, Reply> {
        let wanted = |name: &str, only: &str| body[name].is_null() || body[name] == only;
        if !wanted("KeySpec", "SYMMETRIC_DEFAULT")
            || !wanted("KeyUsage", "ENCRYPT_DECRYPT")
            || !wanted("Origin", "AWS_KMS")
        {
            return Err(error("UnsupportedOperationException"));
        }
        if self.no_more_keys {
            return Err(error("LimitExceededException"));
        }
        let hex = hex(32);
        let id = format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        );
        let key = Key {
            material: Material::fresh(),
            created: self.clock.now(),
            enabled: true,
            deletion: None,
            replicas: 0,
            hidden: 0,
            tag: body["Tags"][0]["TagValue"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        };
        self.keys.insert(id.clone(), key);
        self.described(&id)
    }

    fn look(&mut self, id: &str) -> Result<Value, Reply> {
        let key = self.keys.get_mut(id).ok_or_else(not_found)?;
        if key.hidden > 0 {
            key.hidden -= 1;
            return Err(not_found());
        }
        self.described(id)
    }

    fn described(&self, id: &str) -> Result<Value, Reply> {
        let key = self.keys.get(id).ok_or_else(not_found)?;
        let mut about = json!({
            "AWSAccountId": ACCOUNT,
            "Arn": arn(id),
            "CreationDate": seconds(key.created),
            "Description": "",
            "Enabled": key.enabled && key.deletion.is_none(),
            "KeyId": id,
            "KeyManager": "CUSTOMER",
            "KeySpec": "SYMMETRIC_DEFAULT",
            "KeyState": key.state(),
            "KeyUsage": "ENCRYPT_DECRYPT",
            "MultiRegion": key.replicas > 0,
            "Origin": "AWS_KMS",
        });
        if let Some(until) = key.deletion {
            about["DeletionDate"] = seconds(until);
        }
        if key.replicas > 0 {
            let replicas: Vec<_> = (0..key.replicas)
                .map(|number| json!({ "Arn": arn(id), "Region": format!("eu-test-{number}") }))
                .collect();
            about["MultiRegionConfiguration"] = json!({
                "MultiRegionKeyType": "PRIMARY",
                "PrimaryKey": { "Arn": arn(id), "Region": REGION },
                "ReplicaKeys": replicas,
            });
        }
        Ok(json!({ "KeyMetadata": about }))
    }

    fn usable(&self, id: &str) -> Result<&Key, Reply> {
        let key = self.keys.get(id).ok_or_else(not_found)?;
        match key.state() {
            "Enabled" => Ok(key),
            "Disabled" => Err(error("DisabledException")),
            _ => Err(error("KMSInvalidStateException")),
        }
    }

    fn encrypt(&mut self, body: &Value) -> Result<Value, Reply> {
        let id = id(body);
        let key = self.usable(&id)?;
        let plain = blob(body, "Plaintext")?;
        if plain.is_empty() || plain.len() > 4096 {
            return Err(error("ValidationException"));
        }
        let sealed = key.material.seal(&plain, &context(body));
        let sealed = sealed.ok_or_else(|| error("ValidationException"))?;
        let sealed = [id.as_bytes(), &sealed].concat();
        Ok(json!({
            "CiphertextBlob": STANDARD.encode(sealed),
            "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
            "KeyId": arn(&id),
        }))
    }

    fn decrypt(&mut self, body: &Value) -> Result<Value, Reply> {
        let invalid = || error("InvalidCiphertextException");
        let sealed = blob(body, "CiphertextBlob")?;
        let (of, sealed) = sealed.split_at_checked(ID).ok_or_else(invalid)?;
        let of = std::str::from_utf8(of).map_err(|_| invalid())?;
        if !body["KeyId"].is_null() {
            self.usable(&id(body))?;
            if id(body) != of {
                return Err(error("IncorrectKeyException"));
            }
        }
        let key = self.usable(of)?;
        let opened = key
            .material
            .open(sealed, &context(body))
            .ok_or_else(invalid)?;
        Ok(json!({
            "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
            "KeyId": arn(of),
            "Plaintext": STANDARD.encode(opened),
        }))
    }

    fn schedule(&mut self, body: &Value) -> Result<Value, Reply> {
        let days = body["PendingWindowInDays"].as_i64().unwrap_or(30);
        if !(7..=30).contains(&days) {
            return Err(error("ValidationException"));
        }
        let until = self.clock.now() + TimeDelta::days(days);
        let id = id(body);
        let key = self.keys.get_mut(&id).ok_or_else(not_found)?;
        if key.deletion.is_some() {
            return Err(error("KMSInvalidStateException"));
        }
        key.deletion = Some(until);
        Ok(json!({
            "DeletionDate": seconds(until),
            "KeyId": arn(&id),
            "KeyState": "PendingDeletion",
            "PendingWindowInDays": days,
        }))
    }

    fn cancel(&mut self, body: &Value) -> Result<Value, Reply> {
        let id = id(body);
        let key = self.keys.get_mut(&id).ok_or_else(not_found)?;
        if key.deletion.take().is_none() {
            return Err(error("KMSInvalidStateException"));
        }
        key.enabled = false;
        Ok(json!({ "KeyId": arn(&id) }))
    }

    fn enable(&mut self, body: &Value, enabled: bool) -> Result<Value, Reply> {
        let key = self.keys.get_mut(&id(body)).ok_or_else(not_found)?;
        if key.deletion.is_some() {
            return Err(error("KMSInvalidStateException"));
        }
        key.enabled = enabled;
        Ok(json!({}))
    }

    fn put(&mut self, body: &Value) -> Result<Value, Reply> {
        let (Some(name), Some(value)) = (body["Name"].as_str(), body["Value"].as_str()) else {
            return Err(error("ValidationException"));
        };
        if !name.starts_with('/') || value.is_empty() || value.len() > 4096 {
            return Err(error("ValidationException"));
        }
        let tier = &body["Tier"];
        let tiers = ["Standard", "Advanced", "Intelligent-Tiering"];
        if !tier.is_null() && !tiers.iter().any(|known| tier == known) {
            return Err(error("ValidationException"));
        }
        if self.parameters.contains_key(name) && body["Overwrite"] != true {
            return Err(error("ParameterAlreadyExists"));
        }
        if self.no_more_parameters && !self.parameters.contains_key(name) {
            return Err(error("ParameterLimitExceeded"));
        }
        self.parameters.insert(name.to_owned(), value.to_owned());
        Ok(json!({ "Version": 1, "Tier": "Standard" }))
    }

    fn get(&self, body: &Value) -> Value {
        let names = body["Names"].as_array().cloned().unwrap_or_default();
        let (mut found, mut invalid) = (Vec::new(), Vec::new());
        for name in names {
            match name.as_str().and_then(|name| self.parameters.get(name)) {
                Some(value) => found.push(json!({
                    "Name": name, "Value": value, "Type": "String", "Version": 1,
                })),
                None => invalid.push(name),
            }
        }
        json!({ "Parameters": found, "InvalidParameters": invalid })
    }
}

impl Key {
    fn state(&self) -> &'static str {
        match (self.deletion, self.enabled) {
            (Some(_), _) => "PendingDeletion",
            (None, true) => "Enabled",
            (None, false) => "Disabled",
        }
    }
}

/// The id in a request, given bare or as an ARN.
fn id(body: &Value) -> String {
    let given = body["KeyId"].as_str().unwrap_or_default();
    given.rsplit('/').next().unwrap_or_default().to_owned()
}

fn arn(id: &str) -> String {
    format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/{id}")
}

/// The encryption context in one order.
fn context(body: &Value) -> Vec<u8> {
    let pairs = body["EncryptionContext"].as_object();
    let pairs: BTreeMap<_, _> = pairs.into_iter().flatten().collect();
    json!(pairs).to_string().into_bytes()
}

fn blob(body: &Value, name: &str) -> Result<Vec<u8>, Reply> {
    let text = body[name].as_str().unwrap_or_default();
    STANDARD
        .decode(text)
        .map_err(|_| error("SerializationException"))
}

fn seconds(at: Timestamp) -> Value {
    json!(at.timestamp_millis() as f64 / 1000.0)
}

fn error(code: &str) -> Reply {
    Reply::json(400, json!({ "__type": code, "message": "emulated" }))
}

fn not_found() -> Reply {
    error("NotFoundException")
}

const REGION: &str = "eu-test-1";
const ACCOUNT: &str = "111122223333";
const ACCESS_KEY: &str = "AKIAEMULATED";
const SECRET: &str = "emulated-secret-access-key";
/// Characters of a key's id.
const ID: usize = 36;
