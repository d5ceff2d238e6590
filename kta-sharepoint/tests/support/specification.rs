//! An OpenAPI 3.1 document, and exchanges held against it.

use jsonschema::{Draft, Validator};
use kta_sharepoint::emulator::Recorded;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

pub(crate) struct Specification {
    document: Value,
    /// Paths, those with the most said in words first.
    templates: Vec<String>,
    validators: RefCell<BTreeMap<String, Rc<Validator>>>,
}

#[derive(Default)]
pub(crate) struct Report {
    pub(crate) held: usize,
    pub(crate) operations: BTreeSet<String>,
    pub(crate) outside: BTreeSet<String>,
    pub(crate) flaws: Vec<String>,
}

impl Specification {
    /// The document in the folder that `KTA_API_SPECS` names, from here or from the repository's root.
    pub(crate) fn named_by_environment() -> Option<Self> {
        let named = PathBuf::from(std::env::var_os("KTA_API_SPECS")?);
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let found = [named.clone(), root.join(&named)]
            .into_iter()
            .map(|folder| folder.join("graph-v1.json"))
            .find(|file| file.exists())?;
        let text = std::fs::read_to_string(found).unwrap();
        let document: Value = serde_json::from_str(&text).expect("the specification is JSON");
        let mut templates: Vec<String> = document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        let words = |path: &String| {
            path.split(['{', '}'])
                .step_by(2)
                .map(str::len)
                .sum::<usize>()
        };
        templates.sort_by_key(|path| std::cmp::Reverse(words(path)));
        Some(Self {
            document,
            templates,
            validators: RefCell::default(),
        })
    }

    pub(crate) fn hold(&self, exchanges: &[Recorded]) -> Report {
        let mut report = Report::default();
        for exchange in exchanges {
            self.exchange(exchange, &mut report);
            if exchange.target.starts_with("/v1.0/$batch") || exchange.target.contains("%24batch") {
                for inner in batched(exchange) {
                    self.exchange(&inner, &mut report);
                }
            }
        }
        report
    }

    fn exchange(&self, exchange: &Recorded, report: &mut Report) {
        let (path, query) = exchange
            .target
            .split_once('?')
            .unwrap_or((&exchange.target, ""));
        let path = percent_decode_str(path).decode_utf8().unwrap();
        // SharePoint REST and pre-signed downloads have no published specification.
        if path.contains("/_api/") || path.starts_with("/download/") || path.contains("/discovery/")
        {
            return;
        }
        // A request that a test made wrong on purpose is known by the refusal.
        let wrong_on_purpose = exchange.status == 400;
        let method = exchange.method.to_lowercase();
        let found = self.templates.iter().find(|template| {
            matches(template, &path)
                && self.document["paths"][template.as_str()]
                    .get(&method)
                    .is_some()
        });
        let Some(template) = found else {
            report.outside.insert(format!("{method} {path}"));
            return;
        };
        let name = format!("{method} {template}");
        let operation = &self.document["paths"][template.as_str()][&method];
        report.held += 1;
        report.operations.insert(name.clone());
        let mut flaw = |text: String| {
            report
                .flaws
                .push(format!("{name} -> {}: {text}", exchange.status))
        };
        if !wrong_on_purpose {
            self.request(&name, operation, exchange, query, &mut flaw);
        }
        self.reply(&name, operation, exchange, &mut flaw);
    }

    fn request(
        &self,
        name: &str,
        operation: &Value,
        exchange: &Recorded,
        query: &str,
        flaw: &mut impl FnMut(String),
    ) {
        let header = |wanted: &str| {
            exchange
                .headers
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.as_str())
        };
        if operation.get("x-forbid-authorization").is_some() && header("authorization").is_some() {
            flaw("a token is sent along".to_owned());
        }
        let public = operation["security"].as_array().is_some_and(Vec::is_empty);
        if !public && header("authorization").is_none() {
            flaw("no token is sent".to_owned());
        }
        let rules = operation["x-rules"].as_array().into_iter().flatten();
        for rule in rules.filter_map(Value::as_str) {
            let range = header("content-range").is_some_and(|range| range.starts_with("bytes "));
            match rule {
                "content-range" if exchange.method == "PUT" && !range => {
                    flaw("no Content-Range".to_owned());
                }
                "content-length" if header("content-length").is_none() => {
                    flaw("no Content-Length".to_owned());
                }
                _ => {}
            }
        }
        for (at, parameter) in operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
        {
            let wanted = parameter["name"].as_str().unwrap();
            let given = match parameter["in"].as_str() {
                Some("header") => header(&wanted.to_lowercase()).map(str::to_owned),
                Some("query") => url::form_urlencoded::parse(query.as_bytes())
                    .find(|(name, _)| name == wanted)
                    .map(|(_, value)| value.into_owned()),
                _ => continue,
            };
            match given {
                Some(given) => {
                    let key = format!("{name} parameter {at}");
                    self.hold_value(&key, &parameter["schema"], &json!(given), flaw);
                }
                None if parameter["required"] == true => flaw(format!("{wanted} is missing")),
                None => {}
            }
        }
        let Some(body) = operation.get("requestBody") else {
            if !exchange.body.is_empty() {
                flaw("a body where none belongs".to_owned());
            }
            return;
        };
        if exchange.body.is_empty() {
            if body["required"] == true && exchange.method != "PUT" {
                flaw("the body is missing".to_owned());
            }
            return;
        }
        let kind = header("content-type").unwrap_or_default();
        let Some((media, schema)) = content(body, kind) else {
            flaw(format!("a body of kind {kind:?}"));
            return;
        };
        let value = match media {
            "application/json" => {
                let value = serde_json::from_slice(&exchange.body);
                let mut value: Value = value.unwrap_or(Value::Null);
                // The test's own listener speaks plain http on this machine, as no real one may.
                for key in ["notificationUrl", "lifecycleNotificationUrl"] {
                    if let Some(url) = value[key]
                        .as_str()
                        .and_then(|url| url.strip_prefix("http://127.0.0.1"))
                    {
                        value[key] = json!(format!("https://127.0.0.1{url}"));
                    }
                }
                value
            }
            "application/x-www-form-urlencoded" => form(&exchange.body),
            _ => return,
        };
        self.hold_value(&format!("{name} request {media}"), schema, &value, flaw);
    }

    fn reply(
        &self,
        name: &str,
        operation: &Value,
        exchange: &Recorded,
        flaw: &mut impl FnMut(String),
    ) {
        let status = exchange.status.to_string();
        let family = format!("{}XX", &status[..1]);
        let responses = &operation["responses"];
        let known = responses.get(&status).or_else(|| responses.get(&family));
        let Some(response) = known else {
            flaw("a status that is not foreseen".to_owned());
            return;
        };
        let kind = exchange
            .reply_headers
            .iter()
            .find(|(name, _)| name == "content-type")
            .map_or("", |(_, kind)| kind.as_str());
        let Some((media, schema)) = content(response, kind) else {
            let told = response.get("content").is_some();
            // Of a message's MIME the specification says no more than that it comes.
            let raw = name.ends_with("/$value") && !kind.contains("json");
            if told || !(exchange.reply.is_empty() || raw) {
                flaw(format!(
                    "a reply of kind {kind:?}, {} bytes",
                    exchange.reply.len()
                ));
            }
            return;
        };
        if media == "application/json" {
            let value = serde_json::from_slice(&exchange.reply);
            let value = value.unwrap_or_else(|_| json!("not JSON"));
            let key = format!(
                "{name} reply {}",
                if known == responses.get(&status) {
                    &status
                } else {
                    &family
                }
            );
            self.hold_value(&key, schema, &value, flaw);
        }
    }

    fn hold_value(&self, key: &str, schema: &Value, value: &Value, flaw: &mut impl FnMut(String)) {
        let mut validators = self.validators.borrow_mut();
        let validator = validators.entry(key.to_owned()).or_insert_with(|| {
            let whole = json!({ "allOf": [schema], "components": self.document["components"] });
            let built = jsonschema::options()
                .with_draft(Draft::Draft202012)
                .should_validate_formats(true)
                .build(&whole);
            Rc::new(built.expect("the specification's schemas are schemas"))
        });
        for error in validator.iter_errors(value).take(3) {
            flaw(format!("{key} at {}: {error:.300}", error.instance_path()));
        }
    }
}

/// The media type and schema for content of this kind.
fn content<'s>(of: &'s Value, kind: &str) -> Option<(&'s str, &'s Value)> {
    let known = of.get("content")?.as_object()?;
    let plain = kind.split(';').next().unwrap_or_default().trim();
    let found = known
        .get_key_value(plain)
        .or_else(|| known.get_key_value("*/*"));
    found.map(|(media, content)| (media.as_str(), &content["schema"]))
}

fn form(body: &[u8]) -> Value {
    let pairs = url::form_urlencoded::parse(body);
    Value::Object(
        pairs
            .map(|(name, value)| (name.into_owned(), value.into()))
            .collect::<Map<_, _>>(),
    )
}

/// The exchanges inside a batch, as if each had been sent alone.
fn batched(outer: &Recorded) -> Vec<Recorded> {
    let read = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap_or(Value::Null) };
    let (request, reply) = (read(&outer.body), read(&outer.reply));
    let replies = reply["responses"].as_array().cloned().unwrap_or_default();
    let each = request["requests"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| {
            let answer = replies.iter().find(|answer| answer["id"] == one["id"])?;
            Some(Recorded {
                host: outer.host,
                method: one["method"].as_str()?.to_owned(),
                target: format!("/v1.0{}", one["url"].as_str()?),
                headers: outer.headers.clone(),
                body: Default::default(),
                status: answer["status"].as_u64()? as u16,
                reply_headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                reply: answer["body"].to_string().into(),
            })
        });
    each.collect()
}

/// Whether a path fits a template, whose parameters stand for one segment or for several.
fn matches(template: &str, path: &str) -> bool {
    let Some((before, rest)) = template.split_once('{') else {
        return template == path;
    };
    let Some(path) = path.strip_prefix(before) else {
        return false;
    };
    let (name, after) = rest.split_once('}').expect("a parameter ends");
    let several = matches!(name, "path" | "session");
    let ends = (1..=path.len()).filter(|end| path.is_char_boundary(*end));
    let fits = |end: &usize| several || !path[..*end].contains('/');
    ends.take_while(fits)
        .any(|end| matches(after, &path[end..]))
}
