//! What Graph does not show: the two stages of the recycle bin, the Preservation Hold library, and
//! whether the library keeps versions. All through SharePoint REST of the site.

use crate::client::Client;
use crate::{SharePoint, names};
use chrono::{DateTime, Utc};
use kta_core::id::{DocumentId, MatterId};
use kta_core::{Error, FaultKind, Result};
use kta_http::{Call, Request};
use serde::Deserialize;

/// SharePoint REST of one site.
#[derive(Clone, Debug)]
pub(crate) struct Rest {
    pub(crate) client: Client,
}

/// One entry of the recycle bin.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Entry {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) leaf_name: String,
    /// The folder it was in, from the site on: `sites/x/Shared Documents/a`.
    #[serde(default)]
    pub(crate) dir_name: String,
    #[serde(default)]
    pub(crate) item_state: u8,
    #[serde(default)]
    pub(crate) deleted_date: Option<DateTime<Utc>>,
}

/// What an entry of the recycle bin can have to do with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Its file, by its name.
    File,
    /// The folder of its matter, in which it may be.
    Folder,
    /// Something out of the folder of its matter that has no name of ours: perhaps its file, renamed.
    Unattributed,
}

impl Rest {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Whether a library keeps versions.
    pub(crate) async fn keeps_versions(&self, call: Call, title: &str) -> Result<bool> {
        let list = format!("GetByTitle('{}')", quoted(title));
        let url = self.client.url(&["web", "lists", &list])?;
        let settings: Option<Settings> = self.client.find(call, url).await.map_err(closed)?;
        let settings = settings.ok_or_else(|| {
            call.fault(FaultKind::Misconfigured)
                .because("SharePoint REST knows no such library")
        })?;
        Ok(settings.enable_versioning)
    }

    /// The entries of both stages that are `wanted`.
    pub(crate) async fn entries(
        &self,
        call: Call,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Vec<Entry>> {
        let mut found: Vec<Entry> = Vec::new();
        for (scope, filter) in [("web", None), ("site", Some("ItemState eq 2"))] {
            let mut url = self.client.url(&[scope, "RecycleBin"])?;
            if let Some(filter) = filter {
                url.query_pairs_mut().append_pair("$filter", filter);
            }
            let entries: Option<Vec<Entry>> =
                self.client.list(call, url, MOST).await.map_err(closed)?;
            let entries = entries.ok_or_else(|| {
                call.fault(FaultKind::Misconfigured)
                    .because("SharePoint REST shows no recycle bin")
            })?;
            for entry in entries {
                let known = found.iter().any(|each| each.id == entry.id);
                if !known && wanted(&entry) {
                    found.push(entry);
                }
            }
        }
        Ok(found)
    }

    /// Ends one entry of the recycle bin; one that is gone is no error.
    pub(crate) async fn end(&self, call: Call, entry: &Entry) -> Result<()> {
        self.act(call, entry, "DeleteObject()").await
    }

    /// Brings one entry of the recycle bin back to where it was.
    pub(crate) async fn restore(&self, call: Call, entry: &Entry) -> Result<()> {
        self.act(call, entry, "restore()").await
    }

    /// Either, which done a second time finds no entry any more.
    async fn act(&self, call: Call, entry: &Entry, action: &str) -> Result<()> {
        let scope = if entry.item_state == 2 { "site" } else { "web" };
        let one = format!("RecycleBin('{}')", quoted(&entry.id));
        let url = self.client.url(&[scope, &one, action])?;
        let make = || {
            let request = Request::post(call, url.clone()).repeatable();
            Ok(request.header("accept", "application/json;odata=nometadata"))
        };
        let answer = self.client.ask(make).await?;
        match answer.status {
            200 | 204 | 404 => Ok(()),
            _ => Err(closed(answer.unexpected(call))),
        }
    }

    /// Sign-in names of those in a group of the site; `None` when there is no such group.
    pub(crate) async fn site_group(&self, call: Call, id: &str) -> Result<Option<Vec<String>>> {
        let one = format!("GetById({id})");
        if !id.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(call
                .fault(FaultKind::Protocol)
                .because("not a group's number")
                .into());
        }
        let mut url = self.client.url(&["web", "sitegroups", &one, "users"])?;
        url.query_pairs_mut().append_pair("$select", "LoginName");
        let users: Option<Vec<SiteUser>> =
            self.client.list(call, url, MOST).await.map_err(closed)?;
        Ok(users.map(|users| users.into_iter().map(|user| user.login_name).collect()))
    }

    /// How many copies of a file the Preservation Hold library keeps. Their names begin with the
    /// file's; a site that was never under a hold has no such library.
    pub(crate) async fn held(&self, call: Call, stem: &str) -> Result<usize> {
        let list = "GetByTitle('Preservation Hold Library')";
        let mut url = self.client.url(&["web", "lists", list, "items"])?;
        url.query_pairs_mut()
            .append_pair("$select", "FileLeafRef")
            .append_pair(
                "$filter",
                &format!("startswith(FileLeafRef,'{}')", quoted(stem)),
            );
        let items: Option<Vec<HeldItem>> =
            self.client.list(call, url, MOST).await.map_err(closed)?;
        let of_ours = |item: &&HeldItem| item.file_leaf_ref.starts_with(stem);
        Ok(items.iter().flatten().filter(of_ours).count())
    }
}

impl Entry {
    /// What this entry can have to do with a document of a matter; `None` for nothing.
    pub(crate) fn of(&self, document: DocumentId, matter: Option<MatterId>) -> Option<Found> {
        if self.leaf_name == names::file(document) {
            return Some(Found::File);
        }
        let folder = names::folder(matter?);
        if self.leaf_name == folder {
            return Some(Found::Folder);
        }
        // The bin does not tell an item's id, so a file that was renamed before cannot be told from another.
        let inside = self.dir_name.split('/').any(|name| name == folder);
        (inside && names::document(&self.leaf_name).is_none()).then_some(Found::Unattributed)
    }
}

impl SharePoint {
    /// SharePoint REST, unless the firm does without.
    pub(crate) fn rest(&self) -> Option<&Rest> {
        self.rest.as_ref()
    }

    /// SharePoint REST as whoever destroys.
    pub(crate) fn destroying_rest(&self) -> Option<&Rest> {
        self.destroyer.as_ref()?.1.as_ref()
    }
}

/// A 401 or 403 here has one usual reason, worth saying.
pub(crate) fn closed(error: Error) -> Error {
    match error.fault() {
        Some(fault) if fault.kind() == FaultKind::Misconfigured && fault.status().is_some() => {
            fault
                .because("SharePoint REST wants a certificate and full control of the site")
                .into()
        }
        _ => error,
    }
}

/// A single quote inside an OData string is doubled.
fn quoted(text: &str) -> String {
    text.replace('\'', "''")
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Settings {
    enable_versioning: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SiteUser {
    login_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HeldItem {
    #[serde(default)]
    file_leaf_ref: String,
}

/// A bin longer than this cannot be read in one go; the probe says so rather than miss something.
const MOST: usize = 200_000;
