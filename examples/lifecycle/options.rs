//! The command line of the main job.

use std::path::PathBuf;

/// Where to work, and which outside services to use instead of the emulators.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) out: PathBuf,
    pub(crate) zoho: Option<Zoho>,
    pub(crate) graph: Option<Graph>,
}

/// A Zoho organisation.
#[derive(Debug)]
pub(crate) struct Zoho {
    pub(crate) api: String,
    pub(crate) accounts: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) refresh_token: String,
}

/// A Microsoft 365 tenant.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) graph: String,
    pub(crate) login: String,
    pub(crate) tenant: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) site: String,
    /// The application that destroys, and its secret; without it the working one does.
    pub(crate) destroyer: Option<(String, String)>,
}

pub(crate) const USAGE: &str = "lifecycle [--out DIR]
  [--zoho-url URL --zoho-accounts-url URL --zoho-client-id ID --zoho-client-secret SECRET --zoho-refresh-token TOKEN]
  [--graph-url URL --login-url URL --graph-tenant ID --graph-client-id ID --graph-client-secret SECRET --graph-site ID
   [--graph-destroyer-id ID --graph-destroyer-secret SECRET]]
URLs are scheme, host and port; plain http goes to loopback only. Without them emulators are started.";

impl Options {
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, &'static str> {
        let mut given = std::collections::BTreeMap::new();
        let mut arguments = arguments.peekable();
        while let Some(name) = arguments.next() {
            let name = name
                .strip_prefix("--")
                .ok_or("an argument that is no option")?
                .to_owned();
            if !KNOWN.contains(&name.as_str()) {
                return Err("an unknown option");
            }
            let value = arguments.next().ok_or("an option without its value")?;
            if given.insert(name, value).is_some() {
                return Err("an option given twice");
            }
        }
        let out = given
            .remove("out")
            .map_or_else(|| PathBuf::from("target/lifecycle"), PathBuf::from);
        let mut group = |names: &[&str]| -> Result<Option<Vec<String>>, &'static str> {
            let values: Vec<_> = names
                .iter()
                .filter_map(|name| given.remove(*name))
                .collect();
            match values.len() {
                0 => Ok(None),
                n if n == names.len() => Ok(Some(values)),
                _ => Err("some options of an outside service are missing"),
            }
        };
        let zoho = group(&KNOWN[1..6])?.map(|v| Zoho {
            api: v[0].clone(),
            accounts: v[1].clone(),
            client_id: v[2].clone(),
            client_secret: v[3].clone(),
            refresh_token: v[4].clone(),
        });
        let destroyer = group(&KNOWN[12..14])?.map(|v| (v[0].clone(), v[1].clone()));
        let graph = group(&KNOWN[6..12])?;
        if destroyer.is_some() && graph.is_none() {
            return Err("an application that destroys, and no tenant");
        }
        let graph = graph.map(|v| Graph {
            graph: v[0].clone(),
            login: v[1].clone(),
            tenant: v[2].clone(),
            client_id: v[3].clone(),
            client_secret: v[4].clone(),
            site: v[5].clone(),
            destroyer,
        });
        Ok(Self { out, zoho, graph })
    }
}

const KNOWN: [&str; 14] = [
    "out",
    "zoho-url",
    "zoho-accounts-url",
    "zoho-client-id",
    "zoho-client-secret",
    "zoho-refresh-token",
    "graph-url",
    "login-url",
    "graph-tenant",
    "graph-client-id",
    "graph-client-secret",
    "graph-site",
    "graph-destroyer-id",
    "graph-destroyer-secret",
];
