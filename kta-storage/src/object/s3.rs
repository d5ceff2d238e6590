//! S3 and what speaks its protocol.

use core::fmt;
use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use kta_core::audit::Label;
use kta_core::time::Timestamp;
use kta_core::{FaultKind, Result};
use md5::{Digest as _, Md5};
use object_store::aws::{
    AmazonS3, AmazonS3Builder, AwsAuthorizer, AwsCredentialProvider, S3ConditionalPut,
};
use object_store::multipart::MultipartStore as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion};

use super::cloud::{Cloud, Kept, Lock, Part, Upload};
use super::config::S3Config;
use super::wire::{Answer, Wire, misconfigured, patiently, request, retries, told};
use super::xml::{Item, items, leaf};

pub(super) struct S3 {
    wire: Wire,
    store: AmazonS3,
    credentials: AwsCredentialProvider,
    region: String,
    bucket: String,
    completes_conditionally: bool,
}

impl S3 {
    /// Connects, and tries whether the server keeps conditions.
    pub(super) async fn connect(config: &S3Config) -> Result<Self> {
        let wire = Wire::to(&config.endpoint)?;
        let store = AmazonS3Builder::new()
            .with_region(&config.region)
            .with_bucket_name(&config.bucket)
            .with_endpoint(config.endpoint.trim_end_matches('/'))
            .with_virtual_hosted_style_request(false)
            .with_credentials(config.credentials.clone())
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_retry(retries())
            // Whom it may reach unencrypted, the connector decides.
            .with_allow_http(true)
            .with_http_connector(wire.connector())
            .build()
            .map_err(|_| misconfigured("the bucket's settings do not fit together"))?;
        let mut s3 = Self {
            wire,
            store,
            credentials: config.credentials.clone(),
            region: config.region.clone(),
            bucket: config.bucket.clone(),
            completes_conditionally: false,
        };
        s3.try_conditions().await?;
        Ok(s3)
    }

    /// A server that ignores a condition would bring back what was erased meanwhile; so the
    /// conditions are tried on an object that is not there.
    async fn try_conditions(&mut self) -> Result<()> {
        let path = Path::from(CHECKED);
        let nowhere = UpdateVersion {
            e_tag: Some(NO_TAG.to_owned()),
            version: None,
        };
        let options = PutOptions::from(PutMode::Update(nowhere));
        match self.store.put_opts(&path, "x".into(), options).await {
            Err(object_store::Error::Precondition { .. }) => {}
            Ok(_) => {
                self.clear(CHECKED).await?;
                return Err(misconfigured("the server ignores If-Match"));
            }
            Err(error) => match told("configure", &error) {
                kta_core::Error::Broken(fault) if fault.kind() == FaultKind::Unsupported => {
                    return Err(misconfigured("the server does not know If-Match"));
                }
                error => return Err(error),
            },
        }
        let upload = self.begin(CHECKED).await?;
        let part = self.put_part(&upload, 0, Bytes::from_static(b"x")).await?;
        match self.complete(&upload, &[part], Some(NO_TAG)).await {
            Ok(()) => self.clear(CHECKED).await,
            Err(error) => {
                let kind = error.fault().map(kta_core::Fault::kind);
                self.completes_conditionally =
                    matches!(kind, Some(FaultKind::Conflict | FaultKind::NotFound));
                self.abandon(&upload).await
            }
        }
    }

    async fn clear(&self, path: &str) -> Result<()> {
        for kept in self.kept(path).await? {
            self.remove(path, &kept).await?;
        }
        Ok(())
    }

    async fn send(
        &self,
        operation: &'static str,
        (method, path): (Method, &str),
        query: &[(&str, &str)],
        (headers, body): (&[(&str, &str)], String),
    ) -> Result<Answer> {
        let place = [self.bucket.as_str(), path];
        let place = if path.is_empty() { &place[..1] } else { &place };
        let url = self.wire.url(place, query);
        let once = async || {
            let mut request = request(method.clone(), &url, headers, body.clone())?;
            let credential = self.credentials.get_credential().await;
            let credential = credential.map_err(|error| told(operation, &error))?;
            AwsAuthorizer::new(&credential, "s3", &self.region)
                .try_authorize(&mut request, None)
                .map_err(|_| misconfigured("the request cannot be signed"))?;
            self.wire.send(operation, request).await
        };
        // A completion that succeeded unheard would find its condition broken.
        if method == Method::POST {
            once().await
        } else {
            patiently(once).await
        }
    }

    async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer> {
        let nothing: (&[(&str, &str)], String) = (&[], String::new());
        self.send("list", (Method::GET, path), query, nothing).await
    }
}

#[async_trait]
impl Cloud for S3 {
    fn store(&self) -> &dyn ObjectStore {
        &self.store
    }

    fn completes_conditionally(&self) -> bool {
        self.completes_conditionally
    }

    /// The entity tag of a part is its MD5, but for buckets that encrypt with keys of a KMS: there
    /// no part is known again, and a cut upload begins anew. It is compared with what we sent
    /// ourselves; the register's SHA-256 is what proves the whole.
    fn name(&self, _: usize, bytes: &[u8]) -> String {
        let digest: [u8; 16] = Md5::digest(bytes).into();
        crate::blobs::hex(&digest)
    }

    async fn unfinished(&self, path: Option<&str>) -> Result<Vec<Upload>> {
        let (mut all, mut key, mut id) = (Vec::new(), String::new(), String::new());
        loop {
            let mut query = vec![("uploads", "")];
            query.extend(path.map(|path| ("prefix", path)));
            if !key.is_empty() {
                query.extend([("key-marker", key.as_str()), ("upload-id-marker", &id)]);
            }
            let answer = self.ask("", &query).await?.ok()?;
            for item in items(&answer.body, &["Upload"])? {
                let (Some(found), Some(id)) = (item.text("Key"), item.text("UploadId")) else {
                    continue;
                };
                if path.is_none_or(|path| path == found) {
                    all.push(Upload {
                        path: found.to_owned(),
                        id: id.to_owned(),
                        begun: item.text("Initiated").and_then(instant),
                    });
                }
            }
            let next = leaf(&answer.body, "NextKeyMarker").unwrap_or_default();
            if !truncated(&answer) || next.is_empty() || all.len() >= MOST {
                all.sort_by_key(|upload| core::cmp::Reverse(upload.begun));
                return Ok(all);
            }
            key = next;
            id = leaf(&answer.body, "NextUploadIdMarker").unwrap_or_default();
        }
    }

    async fn parts(&self, upload: &Upload) -> Result<BTreeMap<usize, Part>> {
        let (mut all, mut after) = (BTreeMap::new(), String::from("0"));
        loop {
            let query = [
                ("uploadId", upload.id.as_str()),
                ("part-number-marker", &after),
            ];
            let answer = self.ask(&upload.path, &query).await?.ok()?;
            let before = all.len();
            all.extend(items(&answer.body, &["Part"])?.iter().filter_map(part));
            let next = leaf(&answer.body, "NextPartNumberMarker").unwrap_or_default();
            if !truncated(&answer) || next.is_empty() || all.len() == before {
                return Ok(all);
            }
            after = next;
        }
    }

    async fn begin(&self, path: &str) -> Result<Upload> {
        let id = self.store.create_multipart(&Path::from(path)).await;
        Ok(Upload {
            path: path.to_owned(),
            id: id.map_err(|error| told("put", &error))?,
            begun: None,
        })
    }

    async fn put_part(&self, upload: &Upload, number: usize, bytes: Bytes) -> Result<Part> {
        let (length, path) = (bytes.len() as u64, Path::from(upload.path.as_str()));
        let part = self.store.put_part(&path, &upload.id, number, bytes.into());
        let part = part.await.map_err(|error| told("put", &error))?;
        Ok(Part {
            name: unquoted(&part.content_id).to_owned(),
            length,
        })
    }

    async fn complete(&self, upload: &Upload, parts: &[Part], over: Option<&str>) -> Result<()> {
        let parts: String = (1..)
            .zip(parts)
            .map(|(number, part)| {
                let name = &part.name;
                format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{name}\"</ETag></Part>")
            })
            .collect();
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let mut headers = vec![("content-type", "application/xml")];
        headers.extend(over.map(|tag| ("if-match", tag)));
        let place = (Method::POST, upload.path.as_str());
        let query = [("uploadId", upload.id.as_str())];
        let answer = self.send("put", place, &query, (&headers, body)).await?;
        answer.ok().map(drop)
    }

    async fn abandon(&self, upload: &Upload) -> Result<()> {
        let path = Path::from(upload.path.as_str());
        match self.store.abort_multipart(&path, &upload.id).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(told("remove", &error)),
        }
    }

    async fn kept(&self, path: &str) -> Result<Vec<Kept>> {
        let answer = self.ask("", &[("versions", ""), ("prefix", path)]).await?;
        if answer.status == http::StatusCode::NOT_IMPLEMENTED {
            // A server that has no versions keeps none; what it has is the object.
            return match self.store.head(&Path::from(path)).await {
                Ok(head) => Ok(vec![Kept {
                    what: Label::fixed("blob"),
                    id: None,
                    content: head.size > 0,
                    until: None,
                }]),
                Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
                Err(error) => Err(told("list", &error)),
            };
        }
        if answer.status == http::StatusCode::NOT_FOUND {
            return Err(misconfigured("there is no such bucket"));
        }
        let items = items(&answer.ok()?.body, &["Version", "DeleteMarker"])?;
        let items = items.iter().filter(|item| item.text("Key") == Some(path));
        Ok(items.map(kept).collect())
    }

    async fn remove(&self, path: &str, kept: &Kept) -> Result<()> {
        let query: Vec<_> = kept
            .id
            .iter()
            .map(|id| ("versionId", id.as_str()))
            .collect();
        let nothing: (&[(&str, &str)], String) = (&[], String::new());
        let answer = self.send("remove", (Method::DELETE, path), &query, nothing);
        let answer = answer.await?;
        if answer.status == http::StatusCode::NOT_FOUND {
            return Ok(());
        }
        answer.ok().map(drop)
    }

    async fn hide(&self, path: &str) -> Result<()> {
        let nothing: (&[(&str, &str)], String) = (&[], String::new());
        let answer = self.send("remove", (Method::DELETE, path), &[], nothing);
        answer.await?.ok().map(drop)
    }

    async fn lock(&self, path: &str, kept: &Kept) -> Result<Option<Lock>> {
        let version = kept.id.iter().map(|id| ("versionId", id.as_str()));
        let query: Vec<_> = version.collect();
        let nothing: (&[(&str, &str)], String) = (&[], String::new());
        let answer = self.send("lock", (Method::HEAD, path), &query, nothing);
        let answer = answer.await?;
        if answer.header("x-amz-object-lock-legal-hold") == Some("ON") {
            return Ok(Some(Lock::Held));
        }
        let until = answer.header("x-amz-object-lock-retain-until-date");
        Ok(until.and_then(instant).map(Lock::Until))
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("S3")
    }
}

fn part(item: &Item) -> Option<(usize, Part)> {
    let number: usize = item.text("PartNumber")?.parse().ok()?;
    let part = Part {
        name: unquoted(item.text("ETag")?).to_owned(),
        length: item.text("Size")?.parse().ok()?,
    };
    Some((number.checked_sub(1)?, part))
}

fn kept(item: &Item) -> Kept {
    let latest = item.text("IsLatest") == Some("true");
    let (what, content) = match item.name.as_str() {
        "DeleteMarker" => ("delete_marker", false),
        _ if latest => ("blob", item.text("Size") != Some("0")),
        _ => ("version", item.text("Size") != Some("0")),
    };
    Kept {
        what: Label::fixed(what),
        id: item.text("VersionId").map(str::to_owned),
        content,
        until: None,
    }
}

fn truncated(answer: &Answer) -> bool {
    leaf(&answer.body, "IsTruncated").is_some_and(|text| text == "true")
}

fn unquoted(tag: &str) -> &str {
    tag.trim_matches('"')
}

fn instant(text: &str) -> Option<Timestamp> {
    let read = chrono::DateTime::parse_from_rfc3339(text);
    read.ok().map(|at| at.to_utc())
}

/// Where conditions are tried: no id, so no blob.
const CHECKED: &str = "kta/conditions";

/// The tag of no object.
const NO_TAG: &str = "\"00000000000000000000000000000000\"";

/// As many unfinished uploads are looked at in one call.
const MOST: usize = 10_000;
