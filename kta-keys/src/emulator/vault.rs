//! HashiCorp Vault and OpenBao: transit, KV version 2, AppRole.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::faults::{Exchange, Failure};
use super::serve::{Call, Reply, Server, World};
use super::{Clock, Material, hex};

/// A loopback Vault with the engines `transit` and `secret` (KV version 2) and the auth method
/// `approle`. Its root token may do everything, so `encrypt` makes missing keys, as Vault does.
#[derive(Debug)]
pub struct VaultEmulator(Server<Vault>);

impl VaultEmulator {
    /// Starts on the loopback interface.
    ///
    /// # Errors
    /// What the operating system says when a port cannot be opened.
    pub async fn start() -> std::io::Result<Self> {
        Server::start(|_| Vault::default()).await.map(Self)
    }

    /// The address: scheme, host and port.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// A token that is good until [`end_tokens`](Self::end_tokens).
    #[must_use]
    pub fn root_token(&self) -> &'static str {
        ROOT_TOKEN
    }

    /// The role of AppRole and its secret.
    #[must_use]
    pub fn role(&self) -> (&'static str, &'static str) {
        (ROLE, ROLE_SECRET)
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

    /// Seals or unseals the vault.
    pub fn seal(&self, sealed: bool) {
        self.0.world().sealed = sealed;
    }

    /// Ends every token that AppRole gave.
    pub fn end_tokens(&self) {
        self.0.world().tokens.clear();
    }

    /// From now on `associated_data` is ignored, as servers did before they knew it.
    pub fn ignore_associated_data(&self) {
        self.0.world().ignores_associated_data = true;
    }

    /// The names of the keys there are.
    #[must_use]
    pub fn keys(&self) -> BTreeSet<String> {
        self.0.world().keys.keys().cloned().collect()
    }

    /// Mounts another transit engine, which is empty.
    pub fn mount_transit(&self, mount: &str) {
        self.0.world().empty = Some(mount.to_owned());
    }

    /// An administrator deletes a key behind the adapter's back.
    pub fn remove_key(&self, name: &str) {
        self.0.world().keys.remove(name);
    }

    /// An administrator writes an entry of the register, given as JSON.
    pub fn enter(&self, name: &str, entry: &str) {
        let entry = serde_json::from_str(entry).unwrap_or_default();
        let mut vault = self.0.world();
        vault
            .register
            .entry(name.to_owned())
            .or_default()
            .push(entry);
    }

    /// An administrator adds a version to a key and disallows decrypting with those before.
    pub fn retire(&self, name: &str) {
        if let Some(key) = self.0.world().keys.get_mut(name) {
            key.versions.push((Material::fresh(), 0));
            key.min_decryption_version = key.versions.len();
        }
    }

    /// An administrator makes a key exportable and allows plain backups of it.
    pub fn let_out(&self, name: &str) {
        if let Some(key) = self.0.world().keys.get_mut(name) {
            (key.exportable, key.allow_plaintext_backup) = (true, true);
        }
    }
}

#[derive(Default)]
struct Vault {
    clock: Clock,
    sealed: bool,
    ignores_associated_data: bool,
    tokens: BTreeSet<String>,
    keys: BTreeMap<String, Key>,
    register: BTreeMap<String, Vec<Value>>,
    /// A transit engine without keys.
    empty: Option<String>,
}

struct Key {
    versions: Vec<(Material, i64)>,
    deletion_allowed: bool,
    exportable: bool,
    allow_plaintext_backup: bool,
    derived: bool,
    min_decryption_version: usize,
}

impl World for Vault {
    fn operation(&self, call: &Call) -> String {
        format!("{} {}", call.method, call.path)
    }

    fn turn(&mut self, call: &Call) -> Reply {
        self.answer(call).unwrap_or_else(|refused| refused)
    }

    fn failed(&self, failure: &Failure) -> Reply {
        match failure {
            Failure::ExpiredToken => errors(403, "permission denied"),
            Failure::Throttled(after) => {
                let reply = errors(429, "request path \"*\": rate limit quota exceeded");
                match after {
                    Some(seconds) => reply.with("retry-after", seconds.to_string()),
                    None => reply,
                }
            }
            _ => errors(503, "Vault is sealed"),
        }
    }
}

impl Vault {
    fn answer(&mut self, call: &Call) -> Result<Reply, Reply> {
        let path = call.path.strip_prefix("/v1/").unwrap_or_default();
        let parts: Vec<&str> = path.split('/').collect();
        if self.sealed {
            return Err(errors(503, "Vault is sealed"));
        }
        if parts == ["auth", "approle", "login"] {
            return self.login(&call.json());
        }
        let bearer = call.header("authorization").strip_prefix("Bearer ");
        let token = match call.header("x-vault-token") {
            "" => bearer.unwrap_or_default(),
            token => token,
        };
        if token != ROOT_TOKEN && !self.tokens.contains(token) {
            return Err(errors(403, "permission denied"));
        }
        let body = call.json();
        let write = matches!(call.method.as_str(), "POST" | "PUT");
        match (call.method.as_str(), parts.as_slice()) {
            ("GET", ["auth", "token", "lookup-self"]) => Ok(data(json!({ "id": token }))),
            ("GET", [mount, "keys", _]) if self.empty.as_deref() == Some(mount) => Err(nothing()),
            ("GET", ["transit", "keys", name]) => self.read_key(name),
            (_, ["transit", "keys", name]) if write => self.make_key(name, &body),
            ("DELETE", ["transit", "keys", name]) => self.delete_key(name),
            (_, ["transit", "keys", name, "config"]) if write => self.configure(name, &body),
            (_, ["transit", "keys", name, "rotate"]) if write => self.rotate(name),
            (_, ["transit", "encrypt", name]) if write => self.encrypt(name, &body),
            (_, ["transit", "decrypt", name]) if write => self.decrypt(name, &body),
            ("GET", ["secret", "data", rest @ ..]) => self.read_entry(&rest.join("/")),
            (_, ["secret", "data", rest @ ..]) if write => self.write_entry(&rest.join("/"), &body),
            (_, ["transit" | "secret", ..]) => Err(errors(405, "unsupported operation")),
            _ => Err(errors(404, "no handler for route")),
        }
    }

    fn login(&mut self, body: &Value) -> Result<Reply, Reply> {
        if body["role_id"] != ROLE || body["secret_id"] != ROLE_SECRET {
            return Err(errors(400, "invalid role or secret ID"));
        }
        let token = format!("hvs.{}", hex(48));
        self.tokens.insert(token.clone());
        Ok(Reply::json(
            200,
            json!({ "auth": { "client_token": token, "lease_duration": 3600, "renewable": true } }),
        ))
    }

    fn fresh(&self, body: &Value) -> Key {
        let flag = |name: &str| body[name].as_bool().unwrap_or(false);
        Key {
            versions: vec![(Material::fresh(), self.clock.now().timestamp())],
            deletion_allowed: false,
            exportable: flag("exportable"),
            allow_plaintext_backup: flag("allow_plaintext_backup"),
            derived: flag("derived"),
            min_decryption_version: 1,
        }
    }

    fn make_key(&mut self, name: &str, body: &Value) -> Result<Reply, Reply> {
        if !matches!(body["type"].as_str(), None | Some(KEY_TYPE)) {
            return Err(errors(400, "unknown key type"));
        }
        let fresh = self.fresh(body);
        self.keys.entry(name.to_owned()).or_insert(fresh);
        self.read_key(name)
    }

    fn read_key(&self, name: &str) -> Result<Reply, Reply> {
        let key = self.keys.get(name).ok_or_else(nothing)?;
        let versions = key.versions.iter().enumerate();
        let versions: BTreeMap<String, i64> = versions
            .map(|(index, (_, created))| ((index + 1).to_string(), *created))
            .collect();
        Ok(data(json!({
            "name": name,
            "type": KEY_TYPE,
            "derived": key.derived,
            "deletion_allowed": key.deletion_allowed,
            "exportable": key.exportable,
            "allow_plaintext_backup": key.allow_plaintext_backup,
            "imported_key": false,
            "latest_version": key.versions.len(),
            "min_available_version": 0,
            "min_decryption_version": key.min_decryption_version,
            "min_encryption_version": 0,
            "keys": versions,
            "supports_encryption": true,
            "supports_decryption": true,
            "supports_derivation": true,
            "supports_signing": false,
        })))
    }

    fn delete_key(&mut self, name: &str) -> Result<Reply, Reply> {
        let key = self.keys.get(name);
        let key = key.ok_or_else(|| errors(400, "could not delete key; not found"))?;
        if !key.deletion_allowed {
            let said =
                format!("error deleting policy {name}: deletion is not allowed for this key");
            return Err(errors(400, &said));
        }
        self.keys.remove(name);
        Ok(Reply::empty(204))
    }

    fn configure(&mut self, name: &str, body: &Value) -> Result<Reply, Reply> {
        let missing = || errors(400, &format!("no existing key named {name} could be found"));
        let key = self.keys.get_mut(name).ok_or_else(missing)?;
        if let Some(allowed) = body["deletion_allowed"].as_bool() {
            key.deletion_allowed = allowed;
        }
        if let Some(version) = body["min_decryption_version"].as_u64() {
            let version = usize::try_from(version).unwrap_or(usize::MAX).max(1);
            if version > key.versions.len() {
                return Err(errors(
                    400,
                    "cannot set min decryption version above the latest",
                ));
            }
            key.min_decryption_version = version;
        }
        // Neither can be taken back once it was set.
        key.exportable |= body["exportable"] == true;
        key.allow_plaintext_backup |= body["allow_plaintext_backup"] == true;
        self.read_key(name)
    }

    fn rotate(&mut self, name: &str) -> Result<Reply, Reply> {
        let now = self.clock.now().timestamp();
        let key = self.keys.get_mut(name).ok_or_else(nothing)?;
        key.versions.push((Material::fresh(), now));
        self.read_key(name)
    }

    fn encrypt(&mut self, name: &str, body: &Value) -> Result<Reply, Reply> {
        let plain = decoded(body, "plaintext")?;
        let associated = self.associated(body)?;
        let fresh = self.fresh(&Value::Null);
        let key = self.keys.entry(name.to_owned()).or_insert(fresh);
        let version = key.versions.len();
        let sealed = key.versions[version - 1].0.seal(&plain, &associated);
        let sealed = STANDARD.encode(sealed.ok_or_else(|| errors(400, "too large"))?);
        Ok(data(json!({
            "ciphertext": format!("vault:v{version}:{sealed}"),
            "key_version": version,
        })))
    }

    fn decrypt(&mut self, name: &str, body: &Value) -> Result<Reply, Reply> {
        let text = body["ciphertext"].as_str().unwrap_or_default();
        let associated = self.associated(body)?;
        let missing = || errors(400, "encryption key not found");
        let key = self.keys.get(name).ok_or_else(missing)?;
        let text = text
            .strip_prefix("vault:v")
            .ok_or_else(|| errors(400, "invalid ciphertext: no prefix"))?;
        let (version, text) = text
            .split_once(':')
            .ok_or_else(|| errors(400, "invalid ciphertext: wrong number of fields"))?;
        let version: usize = version.parse().map_err(|_| {
            errors(
                400,
                "invalid ciphertext: version number could not be decoded",
            )
        })?;
        if version > key.versions.len() || version == 0 {
            return Err(errors(400, "invalid ciphertext: version is too new"));
        }
        if version < key.min_decryption_version {
            let said = "ciphertext or signature version is disallowed by policy (too old)";
            return Err(errors(400, said));
        }
        let sealed = STANDARD
            .decode(text)
            .map_err(|_| errors(400, "invalid ciphertext: could not decode base64"))?;
        let opened = key.versions[version - 1].0.open(&sealed, &associated);
        let opened = opened.ok_or_else(|| errors(400, "cipher: message authentication failed"))?;
        Ok(data(json!({ "plaintext": STANDARD.encode(opened) })))
    }

    fn associated(&self, body: &Value) -> Result<Vec<u8>, Reply> {
        if self.ignores_associated_data || body["associated_data"].is_null() {
            return Ok(Vec::new());
        }
        decoded(body, "associated_data")
    }

    fn read_entry(&self, path: &str) -> Result<Reply, Reply> {
        let versions = self.register.get(path).ok_or_else(nothing)?;
        let last = versions.last().ok_or_else(nothing)?;
        Ok(data(
            json!({ "data": last, "metadata": { "version": versions.len() } }),
        ))
    }

    fn write_entry(&mut self, path: &str, body: &Value) -> Result<Reply, Reply> {
        if !body["data"].is_object() {
            return Err(errors(400, "no data provided"));
        }
        let versions = self.register.entry(path.to_owned()).or_default();
        if let Some(cas) = body["options"]["cas"].as_u64()
            && cas != versions.len() as u64
        {
            let said = "check-and-set parameter did not match the current version";
            return Err(errors(400, said));
        }
        versions.push(body["data"].clone());
        Ok(data(json!({ "version": versions.len() })))
    }
}

fn decoded(body: &Value, name: &str) -> Result<Vec<u8>, Reply> {
    let text = body[name].as_str().unwrap_or_default();
    STANDARD
        .decode(text)
        .map_err(|_| errors(400, &format!("failed to base64-decode {name}")))
}

fn data(data: Value) -> Reply {
    Reply::json(
        200,
        json!({ "request_id": hex(32), "lease_id": "", "renewable": false,
            "lease_duration": 0, "data": data, "warnings": null }),
    )
}

fn errors(status: u16, said: &str) -> Reply {
    Reply::json(status, json!({ "errors": [said] }))
}

fn nothing() -> Reply {
    Reply::json(404, json!({ "errors": [] }))
}

const ROOT_TOKEN: &str = "hvs.emulated-root-token";
const ROLE: &str = "emulated-role";
const ROLE_SECRET: &str = "emulated-role-secret";
const KEY_TYPE: &str = "aes256-gcm96";
