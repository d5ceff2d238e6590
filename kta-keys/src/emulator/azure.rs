//! Azure Key Vault, keys only, REST version 7.4, and the token endpoint of its login host.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use kta_core::time::Timestamp;
use serde_json::{Value, json};

use super::faults::{Exchange, Failure};
use super::serve::{Call, Reply, Server, World};
use super::{Clock, Material, hex};

/// A loopback key vault with soft delete, and the login host at the same address.
#[derive(Debug)]
pub struct AzureEmulator(Server<Vault>);

/// How the emulated vault is set up.
#[derive(Clone, Copy, Debug)]
pub struct AzureOptions {
    /// Days between deletion and purge, 7 to 90.
    pub retention_days: i64,
    /// Whether nobody may purge before.
    pub purge_protection: bool,
    /// How many times a deleted or purged key is looked at before the change shows.
    pub lag: u32,
}

impl Default for AzureOptions {
    fn default() -> Self {
        Self {
            retention_days: 90,
            purge_protection: false,
            lag: 1,
        }
    }
}

impl AzureEmulator {
    /// Starts on the loopback interface.
    ///
    /// # Errors
    /// What the operating system says when a port cannot be opened.
    pub async fn start(options: AzureOptions) -> std::io::Result<Self> {
        let server = Server::start(|address| Vault {
            address,
            options,
            clock: Clock::default(),
            tokens: Vec::new(),
            keys: BTreeMap::new(),
            deleted: BTreeMap::new(),
            purging: BTreeMap::new(),
        });
        server.await.map(Self)
    }

    /// The address of vault and login host: scheme, host and port.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// Tenant, application and its secret.
    #[must_use]
    pub fn application(&self) -> (&'static str, &'static str, &'static str) {
        (TENANT, CLIENT, SECRET)
    }

    /// The scope that a token for this vault has.
    #[must_use]
    pub fn scope(&self) -> &'static str {
        SCOPE
    }

    /// The next `times` requests whose method and path contain `part` fail like this.
    pub fn fail(&self, times: u32, part: &str, failure: Failure) {
        self.0.fail(times, part, failure);
    }

    /// Every request so far.
    #[must_use]
    pub fn journal(&self) -> Vec<Exchange> {
        self.0.journal()
    }

    /// Moves the vault's clock.
    pub fn advance(&self, by: TimeDelta) {
        let mut vault = self.0.world();
        vault.clock.0 += by;
    }

    /// Ends every token given so far.
    pub fn end_tokens(&self) {
        self.0.world().tokens.clear();
    }

    /// An administrator disables or enables every version of a key.
    pub fn enable(&self, name: &str, enabled: bool) {
        let mut vault = self.0.world();
        for version in vault.keys.get_mut(name).into_iter().flatten() {
            version.enabled = enabled;
        }
    }

    /// An administrator deletes a key, or brings a deleted one back.
    pub fn delete(&self, name: &str, deleted: bool) {
        let mut vault = self.0.world();
        if deleted {
            let _ = vault.delete(name);
        } else if let Some(gone) = vault.deleted.remove(name) {
            vault.keys.insert(name.to_owned(), gone.versions);
        }
    }

    /// An administrator deletes a key and purges it.
    pub fn remove(&self, name: &str) {
        let mut vault = self.0.world();
        vault.keys.remove(name);
        vault.deleted.remove(name);
    }

    /// An administrator adds a version to an entry of the register.
    pub fn enter(&self, name: &str, tags: &[(&str, &str)]) {
        let tags: BTreeMap<_, _> = tags.iter().copied().collect();
        let entry = json!({ "kty": "EC", "attributes": { "enabled": false }, "tags": tags });
        let _ = self.0.world().create(name, &entry);
    }

    /// The key gets a new version, as a rotation policy does it.
    pub fn rotate(&self, name: &str) {
        let mut vault = self.0.world();
        let _ = vault.create(name, &json!({ "kty": "RSA" }));
    }

    /// The key becomes exportable.
    pub fn let_out(&self, name: &str) {
        let mut vault = self.0.world();
        for version in vault.keys.get_mut(name).into_iter().flatten() {
            version.exportable = true;
        }
    }
}

struct Vault {
    address: SocketAddr,
    options: AzureOptions,
    clock: Clock,
    tokens: Vec<String>,
    keys: BTreeMap<String, Vec<Version>>,
    deleted: BTreeMap<String, Deleted>,
    /// Purged keys that still show, and for how many looks.
    purging: BTreeMap<String, u32>,
}

struct Version {
    id: String,
    material: Material,
    kty: String,
    created: Timestamp,
    enabled: bool,
    exportable: bool,
    tags: Value,
}

struct Deleted {
    versions: Vec<Version>,
    at: Timestamp,
    until: Timestamp,
    hidden: u32,
}

impl World for Vault {
    fn operation(&self, call: &Call) -> String {
        format!("{} {}", call.method, call.path)
    }

    fn turn(&mut self, call: &Call) -> Reply {
        let now = self.clock.now();
        self.deleted.retain(|_, gone| gone.until > now);
        self.answer(call).unwrap_or_else(|refused| refused)
    }

    fn failed(&self, failure: &Failure) -> Reply {
        match failure {
            Failure::ExpiredToken => unauthorized(),
            Failure::Throttled(after) => {
                let reply = error(429, "Throttled", None);
                match after {
                    Some(seconds) => reply.with("retry-after", seconds.to_string()),
                    None => reply,
                }
            }
            _ => error(503, "ServiceUnavailable", None),
        }
    }
}

impl Vault {
    fn answer(&mut self, call: &Call) -> Result<Reply, Reply> {
        let parts: Vec<&str> = call.path.trim_start_matches('/').split('/').collect();
        if parts == [TENANT, "oauth2", "v2.0", "token"] {
            return self.token(&String::from_utf8_lossy(&call.body));
        }
        let token = call.header("authorization").strip_prefix("Bearer ");
        if !token.is_some_and(|token| self.tokens.iter().any(|known| known == token)) {
            return Err(unauthorized());
        }
        if !call.query.split('&').any(|pair| pair == "api-version=7.4") {
            return Err(error(400, "BadParameter", None));
        }
        let body = call.json();
        match (call.method.as_str(), parts.as_slice()) {
            ("POST", ["keys", name, "create"]) => self.create(name, &body),
            ("GET", ["keys", name, "versions"]) => self.versions(name),
            ("GET", ["keys", name]) => {
                let version = self.latest(name)?;
                Ok(Reply::json(200, self.bundle(name, version)))
            }
            ("DELETE", ["keys", name]) => self.delete(name),
            ("POST", ["keys", name, version, "wrapkey"]) => self.wrap(name, version, &body),
            ("POST", ["keys", name, version, "unwrapkey"]) => self.unwrap(name, version, &body),
            ("GET", ["deletedkeys", name]) => self.read_deleted(name),
            ("DELETE", ["deletedkeys", name]) => self.purge(name),
            _ => Err(error(404, "NotFound", None)),
        }
    }

    fn token(&mut self, form: &str) -> Result<Reply, Reply> {
        let encoded = SCOPE.replace(':', "%3A").replace('/', "%2F");
        let wanted = [
            "grant_type=client_credentials".to_owned(),
            format!("client_id={CLIENT}"),
            format!("client_secret={SECRET}"),
            format!("scope={encoded}"),
        ];
        if !wanted
            .iter()
            .all(|pair| form.split('&').any(|given| given == pair))
        {
            return Err(Reply::json(401, json!({ "error": "invalid_client" })));
        }
        let token = format!("emulated.{}", hex(48));
        self.tokens.push(token.clone());
        Ok(Reply::json(
            200,
            json!({ "token_type": "Bearer", "expires_in": 3599, "access_token": token }),
        ))
    }

    fn create(&mut self, name: &str, body: &Value) -> Result<Reply, Reply> {
        if self.deleted.contains_key(name) {
            let inner = Some("ObjectIsDeletedButRecoverable");
            return Err(error(409, "Conflict", inner));
        }
        let kty = body["kty"].as_str().unwrap_or_default();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let tags = body["tags"].as_object().into_iter().flatten();
        if !["EC", "RSA", "RSA-HSM"].contains(&kty)
            || !name.bytes().all(fits)
            || !(1..=127).contains(&name.len())
            || tags.clone().count() > 15
            || tags
                .into_iter()
                .any(|(_, value)| value.as_str().is_none_or(|value| value.len() > 256))
        {
            return Err(error(400, "BadParameter", None));
        }
        let version = Version {
            id: hex(32),
            material: Material::fresh(),
            kty: kty.to_owned(),
            // Azure shows whole seconds.
            created: self.clock.now(),
            enabled: body["attributes"]["enabled"].as_bool().unwrap_or(true),
            exportable: body["attributes"]["exportable"] == true,
            tags: body["tags"].clone(),
        };
        let versions = self.keys.entry(name.to_owned()).or_default();
        versions.push(version);
        let version = self.latest(name)?;
        Ok(Reply::json(200, self.bundle(name, version)))
    }

    fn latest(&self, name: &str) -> Result<&Version, Reply> {
        let versions = self.keys.get(name);
        versions.and_then(|all| all.last()).ok_or_else(not_found)
    }

    fn version(&self, name: &str, id: &str) -> Result<&Version, Reply> {
        let versions = self.keys.get(name).ok_or_else(not_found)?;
        let mut versions = versions.iter();
        versions
            .find(|version| version.id == id)
            .ok_or_else(not_found)
    }

    fn versions(&self, name: &str) -> Result<Reply, Reply> {
        let items: Vec<_> = self
            .keys
            .get(name)
            .into_iter()
            .flatten()
            .map(|version| {
                json!({ "kid": self.kid(name, &version.id), "tags": version.tags,
                    "attributes": self.attributes(version) })
            })
            .collect();
        Ok(Reply::json(
            200,
            json!({ "value": items, "nextLink": null }),
        ))
    }

    fn delete(&mut self, name: &str) -> Result<Reply, Reply> {
        let versions = self.keys.remove(name).ok_or_else(not_found)?;
        let at = self.clock.now();
        let gone = Deleted {
            versions,
            at,
            until: at + TimeDelta::days(self.options.retention_days),
            hidden: self.options.lag,
        };
        self.deleted.insert(name.to_owned(), gone);
        self.deleted_bundle(name).ok_or_else(not_found)
    }

    fn read_deleted(&mut self, name: &str) -> Result<Reply, Reply> {
        if let Some(left) = self.purging.get_mut(name) {
            if *left > 0 {
                *left -= 1;
                let until = self.clock.now().timestamp();
                return Ok(Reply::json(
                    200,
                    json!({ "scheduledPurgeDate": until,
                        "attributes": { "enabled": true, "recoveryLevel": "Purgeable" } }),
                ));
            }
            self.purging.remove(name);
        }
        let gone = self.deleted.get_mut(name).ok_or_else(not_found)?;
        if gone.hidden > 0 {
            gone.hidden -= 1;
            return Err(not_found());
        }
        self.deleted_bundle(name).ok_or_else(not_found)
    }

    fn purge(&mut self, name: &str) -> Result<Reply, Reply> {
        if !self.deleted.contains_key(name) {
            return Err(not_found());
        }
        if self.options.purge_protection {
            return Err(error(403, "Forbidden", None));
        }
        self.deleted.remove(name);
        self.purging.insert(name.to_owned(), self.options.lag);
        Ok(Reply::empty(204))
    }

    fn wrap(&mut self, name: &str, version: &str, body: &Value) -> Result<Reply, Reply> {
        // A disabled key wraps, as at Azure.
        let key = self.version(name, version)?;
        let value = self.value(key, body)?;
        let room = MODULUS - 12 - 16;
        if value.len() > OAEP_ROOM {
            return Err(error(400, "BadParameter", None));
        }
        let mut block = vec![0; room];
        block[..2].copy_from_slice(&(value.len() as u16).to_be_bytes());
        block[2..2 + value.len()].copy_from_slice(&value);
        let sealed = key.material.seal(&block, b"RSA-OAEP-256");
        let sealed = sealed.ok_or_else(|| error(400, "BadParameter", None))?;
        Ok(Reply::json(
            200,
            json!({ "kid": self.kid(name, version), "value": URL_SAFE_NO_PAD.encode(sealed) }),
        ))
    }

    fn unwrap(&mut self, name: &str, version: &str, body: &Value) -> Result<Reply, Reply> {
        let key = self.version(name, version)?;
        if !key.enabled {
            return Err(error(403, "Forbidden", Some("KeyDisabled")));
        }
        let bad = || error(400, "BadParameter", None);
        let value = self.value(key, body)?;
        let block = key.material.open(&value, b"RSA-OAEP-256").ok_or_else(bad)?;
        let length = usize::from(u16::from_be_bytes([block[0], block[1]]));
        let value = URL_SAFE_NO_PAD.encode(&block[2..2 + length]);
        Ok(Reply::json(
            200,
            json!({ "kid": self.kid(name, version), "value": value }),
        ))
    }

    fn value(&self, key: &Version, body: &Value) -> Result<Vec<u8>, Reply> {
        let bad = || error(400, "BadParameter", None);
        if body["alg"] != "RSA-OAEP-256" || !key.kty.starts_with("RSA") {
            return Err(bad());
        }
        let text = body["value"].as_str().unwrap_or_default();
        URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())
    }

    fn bundle(&self, name: &str, version: &Version) -> Value {
        json!({
            "key": { "kid": self.kid(name, &version.id), "kty": version.kty,
                "key_ops": ["wrapKey", "unwrapKey"] },
            "attributes": self.attributes(version),
            "tags": version.tags,
        })
    }

    fn deleted_bundle(&self, name: &str) -> Option<Reply> {
        let gone = self.deleted.get(name)?;
        let mut bundle = self.bundle(name, gone.versions.last()?);
        bundle["recoveryId"] = json!(format!("http://{}/deletedkeys/{name}", self.address));
        bundle["deletedDate"] = json!(gone.at.timestamp());
        bundle["scheduledPurgeDate"] = json!(gone.until.timestamp());
        Some(Reply::json(200, bundle))
    }

    fn attributes(&self, version: &Version) -> Value {
        let level = if self.options.purge_protection {
            "Recoverable"
        } else {
            "Recoverable+Purgeable"
        };
        json!({
            "enabled": version.enabled,
            "created": version.created.timestamp(),
            "updated": version.created.timestamp(),
            "exportable": version.exportable,
            "recoveryLevel": level,
            "recoverableDays": self.options.retention_days,
        })
    }

    fn kid(&self, name: &str, version: &str) -> String {
        format!("http://{}/keys/{name}/{version}", self.address)
    }
}

fn error(status: u16, code: &str, inner: Option<&str>) -> Reply {
    let mut error = json!({ "code": code, "message": "emulated" });
    if let Some(inner) = inner {
        error["innererror"] = json!({ "code": inner });
    }
    Reply::json(status, json!({ "error": error }))
}

fn not_found() -> Reply {
    error(404, "KeyNotFound", None)
}

fn unauthorized() -> Reply {
    let challenge =
        "Bearer authorization=\"https://login.example/\", resource=\"https://vault.azure.net\"";
    error(401, "Unauthorized", None).with("www-authenticate", challenge.to_owned())
}

const TENANT: &str = "00000000-0000-0000-0000-0000000000e0";
const CLIENT: &str = "emulated-client";
const SECRET: &str = "emulated-client-secret";
const SCOPE: &str = "https://vault.azure.net/.default";
/// Bytes of an RSA modulus of 3072 bits, and what OAEP with SHA-256 leaves of it.
const MODULUS: usize = 384;
const OAEP_ROOM: usize = MODULUS - 66;
