//! The arrows of the floor plan, read from `cargo metadata`: who may know whom, and what the
//! core may never contain.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Every crate of the house and whom it may know (normal dependencies).
const ARROWS: &[(&str, &[&str])] = &[
    ("kta-core", &[]),
    ("kta-policy", &["kta-core"]),
    ("kta-storage", &["kta-core"]),
    ("kta-dlp", &["kta-core"]),
    ("kta-http", &["kta-core"]),
    ("kta-zoho", &["kta-core", "kta-http"]),
    ("kta-sharepoint", &["kta-core", "kta-http"]),
    ("kta-intake", &["kta-core", "kta-http"]),
    ("kta-agency", &["kta-core", "kta-http"]),
    ("kta-keys", &["kta-core", "kta-http"]),
];

/// What a crate without network, runtime, environment or wall clock does not contain.
const NOT_IN_CORE: &[&str] = &[
    "async-std",
    "axum",
    "getrandom",
    "h2",
    "hyper",
    "mio",
    "native-tls",
    "openssl",
    "rand",
    "reqwest",
    "rusqlite",
    "rustls",
    "smol",
    "socket2",
    "tokio",
    "ureq",
];

#[test]
fn every_crate_knows_only_whom_the_plan_allows() {
    let metadata = metadata();
    let direct = direct(&metadata);
    for (name, allowed) in ARROWS {
        let known: BTreeSet<_> = direct[*name]
            .iter()
            .filter(|dep| dep.starts_with("kta-"))
            .cloned()
            .collect();
        let allowed: BTreeSet<_> = allowed.iter().map(|name| (*name).to_owned()).collect();
        assert!(
            known.is_subset(&allowed),
            "{name} knows {known:?}, the plan allows {allowed:?}"
        );
    }
    let crates: BTreeSet<_> = direct
        .keys()
        .filter(|name| name.starts_with("kta-"))
        .cloned()
        .collect();
    let planned: BTreeSet<_> = ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        crates, planned,
        "a crate without a place in the plan, or a place without a crate"
    );
}

#[test]
fn the_core_contains_no_network_runtime_or_random_source() {
    let metadata = metadata();
    let reached = reached_from(&metadata, "kta-core");
    let found: Vec<_> = NOT_IN_CORE
        .iter()
        .filter(|name| reached.contains(**name))
        .collect();
    assert!(found.is_empty(), "kta-core reaches {found:?}");
    assert!(
        reached.contains("aes-gcm-siv"),
        "the walk over the dependencies found nothing"
    );
}

#[test]
fn the_core_has_one_generation_of_each_cryptographic_crate() {
    let metadata = metadata();
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for id in reached_ids(&metadata, "kta-core") {
        let package = package(&metadata, &id);
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        versions
            .entry(text("name"))
            .or_default()
            .insert(text("version"));
    }
    for name in [
        "aead", "aes", "cipher", "digest", "hkdf", "hmac", "polyval", "sha2", "zeroize",
    ] {
        assert_eq!(versions[name].len(), 1, "{name}: {:?}", versions[name]);
    }
}

#[test]
fn unsafe_code_is_forbidden_in_every_crate() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().unwrap() {
        let Some(manifest) = package["manifest_path"].as_str() else {
            continue;
        };
        if package["source"].is_null() {
            let text = std::fs::read_to_string(manifest).unwrap();
            assert!(
                text.contains("[lints]\nworkspace = true"),
                "{manifest} does not inherit the lints"
            );
        }
    }
    let root = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    assert!(root.contains("unsafe_code = \"forbid\""));
}

#[test]
fn the_core_reads_no_environment_file_or_clock() {
    let mut sources = Vec::new();
    collect(
        concat!(env!("CARGO_MANIFEST_DIR"), "/kta-core/src").as_ref(),
        &mut sources,
    );
    assert!(sources.len() > 50);
    for path in sources {
        // Modules of these names are declared under `cfg(test)`.
        if path.ends_with("testing.rs") || path.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default();
        let code: String = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        for forbidden in [
            "Utc::now",
            "SystemTime::now",
            "Instant::now",
            "std::env::",
            "std::fs::",
            "std::net::",
        ] {
            assert!(
                !code.contains(forbidden),
                "{} uses {forbidden}",
                path.display()
            );
        }
    }
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata failed");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn package<'m>(metadata: &'m Value, id: &str) -> &'m Value {
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|package| package["id"] == id)
        .unwrap()
}

fn id_of(metadata: &Value, name: &str) -> String {
    let packages = metadata["packages"].as_array().unwrap();
    let found = packages
        .iter()
        .find(|package| package["name"] == name && package["source"].is_null());
    found.unwrap()["id"].as_str().unwrap().to_owned()
}

/// Names of the direct normal dependencies of every crate of the workspace.
fn direct(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let members: Vec<_> = metadata["workspace_members"]
        .as_array()
        .unwrap()
        .iter()
        .collect();
    let mut direct = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        if members.contains(&&package["id"]) {
            let dependencies = package["dependencies"].as_array().unwrap();
            let normal = dependencies
                .iter()
                .filter(|dependency| dependency["kind"].is_null());
            let names = normal
                .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
                .collect();
            direct.insert(package["name"].as_str().unwrap().to_owned(), names);
        }
    }
    direct
}

/// Ids of everything that a crate reaches through normal dependencies.
fn reached_ids(metadata: &Value, name: &str) -> BTreeSet<String> {
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let mut reached = BTreeSet::new();
    let mut waiting = vec![id_of(metadata, name)];
    while let Some(id) = waiting.pop() {
        let node = nodes.iter().find(|node| node["id"] == id.as_str()).unwrap();
        for dependency in node["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            // Dependencies for other platforms are resolved too; what counts is this one.
            let normal = kinds
                .iter()
                .any(|kind| kind["kind"].is_null() && !elsewhere(&kind["target"]));
            let id = dependency["pkg"].as_str().unwrap().to_owned();
            if normal && reached.insert(id.clone()) {
                waiting.push(id);
            }
        }
    }
    reached
}

fn elsewhere(target: &Value) -> bool {
    target
        .as_str()
        .is_some_and(|target| target.contains("wasm") || target.contains("windows"))
}

fn reached_from(metadata: &Value, name: &str) -> BTreeSet<String> {
    let ids = reached_ids(metadata, name);
    ids.iter()
        .map(|id| package(metadata, id)["name"].as_str().unwrap().to_owned())
        .collect()
}

fn collect(folder: &std::path::Path, sources: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
}
