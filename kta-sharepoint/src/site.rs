//! One document library, connected.

use crate::client::{Client, is_loopback};
use crate::config::{Cloud, Config, Destroyer};
use crate::names::Folder;
use crate::recycle_bin::Rest;
use kta_core::id::IdempotencyKey;
use kta_core::time::{Clock, Entropy};
use kta_core::{Code, Error, FaultKind, Port, Result};
use kta_http::{Call, Origin, Url};
use serde::Deserialize;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// One document library of one SharePoint site. It implements the ports
/// [`Documents`](kta_core::ports::Documents), [`Labels`](kta_core::ports::Labels),
/// [`Inventory`](kta_core::ports::Inventory), [`Collaboration`](kta_core::ports::Collaboration) and
/// [`Erase`](kta_core::ports::Erase). Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct SharePoint {
    pub(crate) graph: Client,
    pub(crate) rest: Option<Rest>,
    /// Graph and SharePoint REST as whoever destroys; `None` when nobody does.
    pub(crate) destroyer: Option<(Client, Option<Rest>)>,
    pub(crate) site: String,
    pub(crate) drive: String,
    pub(crate) folder: Folder,
    pub(crate) recent: Arc<Recent>,
}

impl SharePoint {
    /// Finds the site and its library and checks that the library can keep what it is given.
    ///
    /// The clock and the randomness serve signed assertions and the spreading of repetitions.
    ///
    /// # Errors
    /// - `SHR-LOCATION` when the drive is a person's own and no document library;
    /// - `DOC-NOVER` when the library keeps no versions;
    /// - `NET-HOST` when the site says it lives outside SharePoint's domains;
    /// - a `Misconfigured` fault for a wrong tenant, application, site or library, for a site that is not
    ///   granted to an application with `Sites.Selected`, for an application that is to destroy and is the
    ///   working one, or when SharePoint REST does not admit the application (see
    ///   [`Config::without_rest`]);
    /// - `NotFound` when there is no such site or library.
    pub async fn connect(
        config: Config,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let first = Client::graph(&config, clock.clone(), entropy.clone())?;
        let missing = |what| CONNECT.fault(FaultKind::NotFound).because(what);
        let mut url = first.url(&["sites", &config.site])?;
        url.query_pairs_mut().append_pair("$select", "id,webUrl");
        let site: Option<Site> = first.find(CONNECT, url).await.map_err(ungranted)?;
        let site = site.ok_or_else(|| missing("there is no such site"))?;
        let mut url = match &config.library {
            Some(drive) => first.url(&["drives", drive])?,
            None => first.url(&["sites", &config.site, "drive"])?,
        };
        url.query_pairs_mut()
            .append_pair("$select", "id,name,driveType");
        let drive: Option<Drive> = first.find(CONNECT, url).await.map_err(ungranted)?;
        let drive = drive.ok_or_else(|| missing("there is no such library"))?;

        if drive.drive_type.as_deref() != Some("documentLibrary") {
            // A person's own drive leaves with the person, and is shared as that person likes.
            return Err(Code::ShrLocation.into());
        }
        let (sharepoint, path) = home(&config, &site.web_url)?;
        let graph = first.and(&config, sharepoint.clone())?;
        let rest = if config.rest {
            let client = Client::rest(
                &config,
                sharepoint.clone(),
                &path,
                clock.clone(),
                entropy.clone(),
            )?;
            let rest = Rest::new(client);
            if !rest.keeps_versions(CONNECT, &drive.name).await? {
                return Err(Code::DocNover.into());
            }
            Some(rest)
        } else {
            None
        };
        let destroyer = match &config.destroyer {
            Destroyer::Off => None,
            Destroyer::Same => Some((graph.clone(), rest.clone())),
            Destroyer::Own(client_id, _) if *client_id == config.client_id => {
                let fault = CONNECT.fault(FaultKind::Misconfigured);
                return Err(fault
                    .because("the application that destroys is the working one")
                    .into());
            }
            Destroyer::Own(client_id, credential) => {
                let mut own = config.clone();
                own.client_id.clone_from(client_id);
                own.credential = credential.clone();
                let graph = Client::graph(&own, clock.clone(), entropy.clone())?;
                let graph = graph.and(&own, sharepoint.clone())?;
                let rest = match &rest {
                    Some(_) => Some(Client::rest(&own, sharepoint, &path, clock, entropy)?),
                    None => None,
                };
                Some((graph, rest.map(Rest::new)))
            }
        };
        let recent = Arc::new(Recent::default());
        Ok(Self {
            graph,
            rest,
            destroyer,
            site: config.site,
            drive: drive.id,
            folder: config.folder,
            recent,
        })
    }
}

impl fmt::Debug for SharePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharePoint")
            .field("drive", &self.drive)
            .finish_non_exhaustive()
    }
}

/// A 403 at the site or its library has one usual reason, worth saying.
fn ungranted(error: Error) -> Error {
    match error.fault() {
        Some(fault) if fault.status() == Some(403) => fault
            .because("the site is not granted to this application")
            .into(),
        _ => error,
    }
}

/// Where the site lives: the host that serves downloads, upload sessions and REST.
///
/// Graph tells it, and tokens and content go there, so it is not believed blindly.
fn home(config: &Config, web_url: &str) -> Result<(Origin, Vec<String>)> {
    let protocol = || {
        CONNECT
            .fault(FaultKind::Protocol)
            .because("the site has no address")
    };
    let url = Url::parse(web_url).map_err(|_| protocol())?;
    let origin = Origin::parse(&url.origin().ascii_serialization(), Port::Documents)?;
    let host = url.host_str().unwrap_or_default();
    let cloud = Cloud::of(&config.graph, &config.login);
    let vendors = cloud.is_some_and(|cloud| {
        let (_, _, domains) = cloud.hosts();
        url.scheme() == "https" && domains.iter().any(|domain| host.ends_with(domain))
    });
    let emulated = is_loopback(&config.graph) && is_loopback(&origin);
    if !vendors && !emulated {
        return Err(Code::NetHost.into());
    }
    let path = url
        .path_segments()
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty());
    let decode = |part: &str| {
        percent_encoding::percent_decode_str(part)
            .decode_utf8()
            .map(|text| text.into_owned())
    };
    let path: Result<Vec<String>, _> = path.map(decode).collect();
    Ok((origin, path.map_err(|_| protocol())?))
}

/// Which item each of the last keys led to, within this process. Across processes the library itself
/// tells: content it already has makes no version.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<VecDeque<(IdempotencyKey, String)>>);

impl Recent {
    pub(crate) fn find(&self, key: IdempotencyKey) -> Option<String> {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, item)| item.clone())
    }

    pub(crate) fn remember(&self, key: IdempotencyKey, item: &str) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= REMEMBERED {
            recent.pop_front();
        }
        recent.push_back((key, item.to_owned()));
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Site {
    web_url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Drive {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    drive_type: Option<String>,
}

const CONNECT: Call = Call::new(Port::Documents, "connect");
const REMEMBERED: usize = 1024;
