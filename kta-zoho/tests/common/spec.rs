//! The vendor's OpenAPI documents, and whether an exchange is what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kta_zoho::emulator::Taped;
use serde_json::{Map, Value, json};

/// The documents, merged into one.
pub(crate) struct Spec {
    root: Value,
    compiled: std::cell::RefCell<BTreeMap<String, jsonschema::Validator>>,
}

impl Spec {
    /// The document in the folder that `KTA_API_SPECS` names; `None` when it names none.
    pub(crate) fn named() -> Option<Self> {
        let folder = std::env::var_os("KTA_API_SPECS")?;
        let path = Path::new(&folder).join("zoho-v8.json");
        let text = std::fs::read(&path).expect("KTA_API_SPECS names a folder without zoho-v8.json");
        Some(Self {
            root: serde_json::from_slice(&text).expect("zoho-v8.json is JSON"),
            compiled: std::cell::RefCell::default(),
        })
    }

    /// What the documents do not allow in these exchanges, each with the operation it is about.
    pub(crate) fn flaws(&self, exchanges: &[Taped]) -> BTreeSet<String> {
        let mut flaws = BTreeSet::new();
        for taped in exchanges {
            let exchange = &taped.exchange;
            if OURS.iter().any(|own| exchange.path.ends_with(own)) {
                continue;
            }
            let Some((template, operation)) = self.operation(&exchange.method, &exchange.path)
            else {
                flaws.insert(format!(
                    "{} {}: no such call",
                    exchange.method, exchange.path
                ));
                continue;
            };
            let name = format!("{} {template}", exchange.method);
            let mut found = Vec::new();
            self.parameters(&template, operation, taped, &mut found);
            self.request(&name, operation, taped, &mut found);
            if !taped.scripted {
                self.reply(&name, operation, taped, &mut found);
            }
            flaws.extend(found.into_iter().map(|flaw| format!("{name}: {flaw}")));
        }
        flaws
    }

    /// What the documents do not allow in the replies to these exchanges.
    pub(crate) fn reply_flaws(&self, exchanges: &[Taped]) -> BTreeSet<String> {
        let mut flaws = BTreeSet::new();
        for taped in exchanges.iter().filter(|taped| !taped.scripted) {
            let exchange = &taped.exchange;
            let Some((template, operation)) = self.operation(&exchange.method, &exchange.path)
            else {
                continue;
            };
            let mut found = Vec::new();
            let name = format!("{} {template}", exchange.method);
            self.reply(&name, operation, taped, &mut found);
            flaws.extend(found.into_iter().map(|flaw| format!("{name}: {flaw}")));
        }
        flaws
    }

    /// The operations that these exchanges used, as `METHOD template`.
    pub(crate) fn used(&self, exchanges: &[Taped]) -> BTreeSet<String> {
        exchanges
            .iter()
            .filter_map(|taped| {
                let exchange = &taped.exchange;
                let (template, _) = self.operation(&exchange.method, &exchange.path)?;
                Some(format!("{} {template}", exchange.method))
            })
            .collect()
    }

    /// The most particular template that fits: the one with the fewest holes.
    fn operation(&self, method: &str, path: &str) -> Option<(String, &Value)> {
        let given: Vec<&str> = path.split('/').collect();
        let method = method.to_ascii_lowercase();
        let paths = self.root["paths"].as_object().expect("paths");
        let fitting = paths.iter().filter(|(template, item)| {
            let wanted: Vec<&str> = template.split('/').collect();
            wanted.len() == given.len()
                && item.get(&method).is_some()
                && wanted
                    .iter()
                    .zip(&given)
                    .all(|(wanted, given)| wanted.starts_with('{') || wanted == given)
        });
        let (template, item) = fitting.min_by_key(|(template, _)| template.matches('{').count())?;
        Some((template.clone(), &item[&method]))
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(pointer) => self
                .root
                .pointer(pointer.trim_start_matches('#'))
                .expect("a reference of the document leads somewhere"),
            None => value,
        }
    }

    fn parameters(
        &self,
        template: &str,
        operation: &Value,
        taped: &Taped,
        flaws: &mut Vec<String>,
    ) {
        let shared = &self.root["paths"][template]["parameters"];
        let lists = [shared, &operation["parameters"]];
        let declared: Vec<&Value> = lists
            .iter()
            .filter_map(|list| list.as_array())
            .flatten()
            .map(|one| self.resolve(one))
            .collect();
        let query = pairs(&taped.exchange.query);
        for (name, text) in &query {
            let known = declared
                .iter()
                .find(|one| one["in"] == "query" && one["name"] == name.as_str());
            match known {
                Some(known) => self.parameter(template, known, text, flaws),
                None => flaws.push(format!("query parameter {name} is not declared")),
            }
        }
        for one in declared.iter().filter(|one| one["required"] == true) {
            let name = one["name"].as_str().unwrap_or_default();
            let given = match one["in"].as_str() {
                Some("query") => query.iter().any(|(given, _)| given == name),
                Some("header") => header(taped, name).is_some(),
                _ => true,
            };
            if !given {
                flaws.push(format!("parameter {name} is required"));
            }
        }
        for one in declared.iter().filter(|one| one["in"] == "header") {
            let name = one["name"].as_str().unwrap_or_default();
            if let Some(text) = header(taped, name) {
                self.parameter(template, one, text, flaws);
            }
        }
    }

    fn parameter(&self, template: &str, declared: &Value, text: &str, flaws: &mut Vec<String>) {
        let name = declared["name"].as_str().unwrap_or_default();
        let schema = self.resolve(&declared["schema"]);
        let value = match schema["type"].as_str() {
            Some("integer" | "number") => text.parse::<i64>().map_or(json!(text), Value::from),
            Some("boolean") => text.parse::<bool>().map_or(json!(text), Value::from),
            Some("array") => text.split(',').collect(),
            _ => json!(text),
        };
        self.check(&format!("{template}?{name}"), schema, &value, flaws);
    }

    fn request(&self, name: &str, operation: &Value, taped: &Taped, flaws: &mut Vec<String>) {
        let body = self.resolve(&operation["requestBody"]);
        let content = &body["content"];
        if content.get("multipart/form-data").is_some() {
            let media = header(taped, "content-type").unwrap_or_default();
            if !media.starts_with("multipart/form-data") {
                flaws.push("the body is not multipart".to_owned());
            }
            return;
        }
        if let Some(form) = content.get("application/x-www-form-urlencoded") {
            let text = String::from_utf8_lossy(&taped.sent);
            let form_sent: Map<String, Value> = pairs(&text)
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect();
            if !form_sent.is_empty() {
                self.check(
                    &format!("{name} form"),
                    &form["schema"],
                    &form_sent.into(),
                    flaws,
                );
            }
            return;
        }
        match content.get("application/json") {
            Some(json) if !taped.sent.is_empty() => match serde_json::from_slice(&taped.sent) {
                Ok(sent) => self.check(&format!("{name} request"), &json["schema"], &sent, flaws),
                Err(_) => flaws.push("the body is not JSON".to_owned()),
            },
            Some(_) if body["required"] == true => flaws.push("a body is required".to_owned()),
            Some(_) => {}
            None if taped.sent.is_empty() => {}
            None => flaws.push("no body is declared".to_owned()),
        }
    }

    fn reply(&self, name: &str, operation: &Value, taped: &Taped, flaws: &mut Vec<String>) {
        let status = taped.exchange.status.unwrap_or_default().to_string();
        let Some(reply) = operation["responses"].get(&status) else {
            // What may answer any call stands in few of the documents.
            if !["401", "429"].contains(&status.as_str()) {
                flaws.push(format!("status {status} is not declared"));
            }
            return;
        };
        let content = &self.resolve(reply)["content"];
        match content.get("application/json") {
            Some(json) => match serde_json::from_slice(&taped.replied) {
                Ok(body) => {
                    self.check(&format!("{name} {status}"), &json["schema"], &body, flaws);
                }
                Err(_) => flaws.push(format!("the reply {status} is not JSON")),
            },
            None if status == "204" && !taped.replied.is_empty() => {
                flaws.push("204 with a body".to_owned());
            }
            None => {}
        }
    }

    fn check(&self, place: &str, schema: &Value, value: &Value, flaws: &mut Vec<String>) {
        let mut compiled = self.compiled.borrow_mut();
        let validator = compiled.entry(place.to_owned()).or_insert_with(|| {
            let root = json!({"components": self.root["components"], "allOf": [schema]});
            jsonschema::validator_for(&root).expect("a schema of the document compiles")
        });
        for error in validator.iter_errors(value).take(3) {
            flaws.push(format!("{place}: at {}: {error}", error.instance_path()));
        }
    }
}

fn header<'a>(taped: &'a Taped, name: &str) -> Option<&'a str> {
    let headers = taped.exchange.headers.iter();
    let mut found = headers.filter(|(given, _)| given.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.as_str())
}

fn pairs(text: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

/// Addresses that no document has: the files behind download links, and what is only in the
/// vendor's guide.
const OURS: [&str; 3] = ["/file", "/token/revoke", "/settings/related_lists"];
