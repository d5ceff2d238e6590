//! Azure Blob Storage.

use core::fmt;
use std::collections::BTreeMap;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use http::{Method, StatusCode};
use kta_core::Result;
use kta_core::audit::Label;
use kta_core::time::Timestamp;
use md5::Md5;
use object_store::azure::{
    AzureAuthorizer, AzureCredentialProvider, MicrosoftAzure, MicrosoftAzureBuilder,
};
use object_store::client::HttpRequestBody;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use sha2::{Digest as _, Sha256};

use super::cloud::{Cloud, Kept, Lock, Part, Upload};
use super::config::AzureConfig;
use super::wire::{Answer, Wire, misconfigured, patiently, request, retries, told};
use super::xml::{Item, items, leaf};

pub(super) struct Azure {
    wire: Wire,
    store: MicrosoftAzure,
    credentials: AzureCredentialProvider,
    account: String,
    container: String,
}

impl Azure {
    /// Connects, and looks whether the container is there.
    pub(super) async fn connect(config: &AzureConfig) -> Result<Self> {
        let wire = Wire::to(&config.endpoint)?;
        let store = MicrosoftAzureBuilder::new()
            .with_account(&config.account)
            .with_container_name(&config.container)
            .with_endpoint(config.endpoint.trim_end_matches('/').to_owned())
            .with_credentials(config.credentials.clone())
            .with_retry(retries())
            // Whom it may reach unencrypted, the connector decides.
            .with_allow_http(true)
            .with_http_connector(wire.connector())
            .build()
            .map_err(|_| misconfigured("the container's settings do not fit together"))?;
        let azure = Self {
            wire,
            store,
            credentials: config.credentials.clone(),
            account: config.account.clone(),
            container: config.container.clone(),
        };
        let query = [
            ("restype", "container"),
            ("comp", "list"),
            ("maxresults", "1"),
        ];
        let answer = azure.send("configure", (Method::GET, ""), &query, &[], Bytes::new());
        match answer.await? {
            answer if answer.status == StatusCode::NOT_FOUND => {
                Err(misconfigured("there is no such container"))
            }
            answer => answer.ok().map(|_| azure),
        }
    }

    async fn send(
        &self,
        operation: &'static str,
        (method, path): (Method, &str),
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer> {
        let place = [self.container.as_str(), path];
        let place = if path.is_empty() { &place[..1] } else { &place };
        let length = body.len().to_string();
        let mut headers = headers.to_vec();
        if method == Method::PUT {
            headers.push(("content-length", &length));
        }
        let url = self.wire.url(place, query);
        let once = async || {
            let body = HttpRequestBody::from(body.clone());
            let mut request = request(method.clone(), &url, &headers, body)?;
            let credential = self.credentials.get_credential().await;
            let credential = credential.map_err(|error| told(operation, &error))?;
            AzureAuthorizer::new(&credential, &self.account)
                .try_authorize(&mut request)
                .map_err(|_| misconfigured("the request cannot be signed"))?;
            self.wire.send(operation, request).await
        };
        // A write under a condition that succeeded unheard would find its condition broken.
        if headers.iter().any(|(name, _)| name.starts_with("if-")) {
            once().await
        } else {
            patiently(once).await
        }
    }

    async fn is_there(&self, path: &str) -> Result<bool> {
        match self.store.head(&Path::from(path)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(told("contains", &error)),
        }
    }
}

#[async_trait]
impl Cloud for Azure {
    fn store(&self) -> &dyn ObjectStore {
        &self.store
    }

    fn completes_conditionally(&self) -> bool {
        true
    }

    /// A block is named by its place and the SHA-256 of its content: two writers of one blob can
    /// not put their bytes under one name, and what is there is known again without a journal.
    fn name(&self, number: usize, bytes: &[u8]) -> String {
        let mut name = u32::try_from(number)
            .unwrap_or(u32::MAX)
            .to_be_bytes()
            .to_vec();
        name.extend_from_slice(&Sha256::digest(bytes));
        BASE64_STANDARD.encode(name)
    }

    /// Azure has no upload of a name of its own: a blob has blocks that are not in it.
    async fn unfinished(&self, path: Option<&str>) -> Result<Vec<Upload>> {
        let Some(path) = path else {
            // It drops them by itself, a week after the last one came.
            return Ok(Vec::new());
        };
        let upload = self.begin(path).await?;
        let blocks = self.parts(&upload).await?;
        Ok(if blocks.is_empty() {
            Vec::new()
        } else {
            vec![upload]
        })
    }

    async fn parts(&self, upload: &Upload) -> Result<BTreeMap<usize, Part>> {
        let query = [("comp", "blocklist"), ("blocklisttype", "uncommitted")];
        let place = (Method::GET, upload.path.as_str());
        let answer = self.send("list", place, &query, &[], Bytes::new()).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(BTreeMap::new());
        }
        let blocks = items(&answer.ok()?.body, &["Block"])?;
        // Blocks that others named are blocks too: they count, behind ours.
        let part = |(index, block): (usize, &Item)| {
            let name = block.text("Name")?.to_owned();
            let place = BASE64_STANDARD
                .decode(&name)
                .ok()
                .filter(|name| name.len() == 36);
            let place = place.and_then(|name| Some(u32::from_be_bytes(*name.first_chunk()?)));
            let place = place.map_or(MOST_BLOCKS + index, |place| place as usize);
            let length = block.text("Size")?.parse().ok()?;
            Some((place, Part { name, length }))
        };
        Ok(blocks.iter().enumerate().filter_map(part).collect())
    }

    async fn begin(&self, path: &str) -> Result<Upload> {
        Ok(Upload {
            path: path.to_owned(),
            id: String::new(),
            begun: None,
        })
    }

    async fn put_part(&self, upload: &Upload, number: usize, bytes: Bytes) -> Result<Part> {
        let part = Part {
            name: self.name(number, &bytes),
            length: bytes.len() as u64,
        };
        let query = [("comp", "block"), ("blockid", part.name.as_str())];
        let md5 = BASE64_STANDARD.encode(Md5::digest(&bytes));
        let place = (Method::PUT, upload.path.as_str());
        let headers = [("content-md5", md5.as_str())];
        let answer = self.send("put", place, &query, &headers, bytes).await?;
        answer.ok()?;
        Ok(part)
    }

    async fn complete(&self, upload: &Upload, parts: &[Part], over: Option<&str>) -> Result<()> {
        let blocks: String = parts
            .iter()
            .map(|part| format!("<Latest>{}</Latest>", part.name))
            .collect();
        let body =
            format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{blocks}</BlockList>");
        let mut headers = vec![("content-type", "application/xml")];
        headers.extend(over.map(|tag| ("if-match", tag)));
        let place = (Method::PUT, upload.path.as_str());
        let answer = self.send(
            "put",
            place,
            &[("comp", "blocklist")],
            &headers,
            body.into(),
        );
        let answer = answer.await?;
        if answer.status == StatusCode::BAD_REQUEST
            && leaf(&answer.body, "Code").is_some_and(|code| code == "InvalidBlockList")
        {
            // Another writer of the same blob was faster, and its success dropped our blocks.
            let fault =
                kta_core::Fault::new(kta_core::FaultKind::Conflict, kta_core::Port::Blobs, "put");
            return Err(fault.into());
        }
        answer.ok().map(drop)
    }

    /// The only way to drop blocks is to commit a list without them: an empty blob, only where there
    /// is none, which is then deleted. Where there is a blob they go with its next write, or in a week.
    async fn abandon(&self, upload: &Upload) -> Result<()> {
        if self.is_there(&upload.path).await? {
            return Ok(());
        }
        let headers = [("if-none-match", "*")];
        let place = (Method::PUT, upload.path.as_str());
        let query = [("comp", "blocklist")];
        let empty = Bytes::from_static(b"<BlockList></BlockList>");
        let answer = self.send("remove", place, &query, &headers, empty).await?;
        if [StatusCode::CONFLICT, StatusCode::PRECONDITION_FAILED].contains(&answer.status) {
            return Ok(());
        }
        let tag = answer.header("etag").unwrap_or_default().to_owned();
        answer.ok()?;
        let place = (Method::DELETE, upload.path.as_str());
        let headers = [("if-match", tag.as_str())];
        let answer = self
            .send("remove", place, &[], &headers, Bytes::new())
            .await?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED => Ok(()),
            _ => answer.ok().map(drop),
        }
    }

    async fn kept(&self, path: &str) -> Result<Vec<Kept>> {
        let query = [
            ("restype", "container"),
            ("comp", "list"),
            ("prefix", path),
            ("include", "snapshots,versions,deleted"),
        ];
        let answer = self.send("list", (Method::GET, ""), &query, &[], Bytes::new());
        let answer = answer.await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(misconfigured("there is no such container"));
        }
        kept(&answer.ok()?.body, path, Utc::now())
    }

    async fn remove(&self, path: &str, kept: &Kept) -> Result<()> {
        let version: Vec<_> = kept
            .id
            .iter()
            .map(|id| ("versionid", id.as_str()))
            .collect();
        let (query, headers): (&[_], &[_]) = match kept.what.as_str() {
            "snapshot" => (&[("snapshot", kept.id.as_deref().unwrap_or_default())], &[]),
            "version" => (&version, &[]),
            _ => (&[], &[("x-ms-delete-snapshots", "include")]),
        };
        let answer = self.send(
            "remove",
            (Method::DELETE, path),
            query,
            headers,
            Bytes::new(),
        );
        let answer = answer.await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        answer.ok().map(drop)
    }

    async fn hide(&self, _: &str) -> Result<()> {
        // What is locked here cannot be hidden either.
        Ok(())
    }

    async fn lock(&self, path: &str, kept: &Kept) -> Result<Option<Lock>> {
        if let Some(until) = kept.until {
            return Ok(Some(Lock::Until(until)));
        }
        let name = if kept.what.as_str() == "snapshot" {
            "snapshot"
        } else {
            "versionid"
        };
        let query: Vec<_> = kept.id.iter().map(|id| (name, id.as_str())).collect();
        let answer = self.send("lock", (Method::HEAD, path), &query, &[], Bytes::new());
        let answer = answer.await?;
        if answer.header("x-ms-legal-hold") == Some("true") {
            return Ok(Some(Lock::Held));
        }
        let until = answer.header("x-ms-immutability-policy-until-date");
        Ok(until.and_then(instant).map(Lock::Until))
    }
}

impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Azure")
    }
}

fn kept(list: &[u8], path: &str, now: Timestamp) -> Result<Vec<Kept>> {
    let blobs = items(list, &["Blob"])?;
    let blobs = blobs.iter().filter(|blob| blob.text("Name") == Some(path));
    let all = blobs.map(|blob| {
        let snapshot = blob.text("Snapshot").filter(|text| !text.is_empty());
        let current = blob.text("IsCurrentVersion") == Some("true");
        let version = blob.text("VersionId").filter(|_| !current);
        let what = if blob.text("Deleted") == Some("true") {
            "deleted"
        } else if snapshot.is_some() {
            "snapshot"
        } else if version.is_some() {
            "version"
        } else {
            "blob"
        };
        let days = blob.text("RemainingRetentionDays");
        let days = days.and_then(|days| days.parse::<u16>().ok()).unwrap_or(0);
        Kept {
            what: Label::fixed(what),
            id: snapshot.or(version).map(str::to_owned),
            content: blob.text("Content-Length") != Some("0"),
            // Days are given whole, so one more is safe.
            until: (what == "deleted").then(|| now + TimeDelta::days(i64::from(days) + 1)),
        }
    });
    Ok(all.collect())
}

/// RFC 1123, as in HTTP.
fn instant(text: &str) -> Option<Timestamp> {
    let read = chrono::DateTime::parse_from_rfc2822(text);
    read.ok().map(|at| at.to_utc())
}

/// No blob has more.
const MOST_BLOCKS: usize = 50_000;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Azurite keeps neither versions nor deleted blobs, so this list is written after the
    /// documentation of List Blobs.
    #[test]
    fn versions_snapshots_and_what_can_be_brought_back_are_told_apart() {
        let list = br#"<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>
            <Blob><Name>a</Name><VersionId>v3</VersionId><IsCurrentVersion>true</IsCurrentVersion>
              <Properties><Content-Length>9</Content-Length></Properties></Blob>
            <Blob><Name>a</Name><VersionId>v2</VersionId>
              <Properties><Content-Length>0</Content-Length></Properties></Blob>
            <Blob><Name>a</Name><Snapshot>s1</Snapshot>
              <Properties><Content-Length>9</Content-Length></Properties></Blob>
            <Blob><Name>a</Name><Deleted>true</Deleted><VersionId>v1</VersionId><Properties>
              <Content-Length>9</Content-Length><RemainingRetentionDays>6</RemainingRetentionDays>
              </Properties></Blob>
            <Blob><Name>ab</Name></Blob></Blobs><NextMarker/></EnumerationResults>"#;
        let now = Timestamp::default();
        let all = kept(list, "a", now).unwrap();
        let told: Vec<_> = all
            .iter()
            .map(|kept| (kept.what.as_str(), kept.id.as_deref(), kept.content))
            .collect();
        assert_eq!(
            told,
            [
                ("blob", None, true),
                ("version", Some("v2"), false),
                ("snapshot", Some("s1"), true),
                ("deleted", Some("v1"), true),
            ]
        );
        assert_eq!(all[3].until, Some(now + TimeDelta::days(7)));
    }
}
