//! Files of the library: find, store, read, remove.

use crate::upload::Slot;
use crate::{READ, SharePoint, WRITE, admitted, names};
use async_trait::async_trait;
use kta_core::audit::Label;
use kta_core::id::{DocumentId, IdempotencyKey, MatterId, SubjectId};
use kta_core::pii::{Content, Document, Locator, System};
use kta_core::policy::Permit;
use kta_core::ports::{Documents, StoredDocument, Version};
use kta_core::{Code, Error, FaultKind, Port, Refusal, Result};
use kta_http::{Call, Request, Url};
use serde::Deserialize;

#[async_trait]
impl Documents for SharePoint {
    fn system(&self) -> System {
        crate::SYSTEM
    }

    async fn put(
        &self,
        document: &Document,
        label: Option<&Label>,
        content: Content,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<StoredDocument> {
        permit.require(WRITE, document.subject, document.classification.category)?;
        if document.classification.category.is_special() && label.is_none() {
            return Err(Code::DocLabel.into());
        }
        if content.digest() != document.digest || content.length() != document.length {
            let fault = PUT.fault(FaultKind::Corrupt);
            return Err(fault.because("the content is not the document's").into());
        }
        let path = self.path(document.matter, document.id);
        if let Some(id) = self.recent.find(key)
            && let Some(item) = self.item(PUT, &id).await?
        {
            return self.stored(PUT, item, label).await;
        }
        let slot = match self.item_at(PUT, &path).await? {
            Some(item) => Slot::Version(item),
            None => Slot::New(path),
        };
        let media = content.media().clone();
        let sent = self.upload(slot, content, permit).await?;
        if !sent.proven
            && let Err(error) = self.prove(document, &media, &sent.item, permit).await
        {
            if sent.created {
                self.discard(&sent.item).await;
            }
            return Err(error);
        }
        self.recent.remember(key, &sent.item.id);
        self.stored(PUT, sent.item, label).await
    }

    async fn locate(
        &self,
        matter: MatterId,
        document: DocumentId,
        permit: &Permit<'_>,
    ) -> Result<Option<StoredDocument>> {
        permit.require_act(READ)?;
        inside(matter, permit)?;
        match self.item_at(LOCATE, &self.path(matter, document)).await? {
            Some(item) => self.stored(LOCATE, item, None).await.map(Some),
            None => Ok(None),
        }
    }

    async fn content(
        &self,
        document: &Document,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Content> {
        permit.require(READ, document.subject, document.classification.category)?;
        inside(document.matter, permit)?;
        // Before a byte of somebody else's is on its way.
        let item = self.item(CONTENT, locator.as_str()).await?;
        let item = item.ok_or_else(|| CONTENT.fault(FaultKind::NotFound))?;
        match names::document(&item.name) {
            Some(named) if named == document.id && item.matter() == Some(document.matter) => {}
            None if item.matter() == Some(document.matter) => {
                let fault = CONTENT.fault(FaultKind::Protocol);
                return Err(fault.because("the file has no name of ours").into());
            }
            _ => return Err(denied(permit)),
        }
        let url = self
            .graph
            .url(&self.by_id(locator.as_str(), &["content"]))?;
        let stream = self.graph.download(CONTENT, url, document.length).await?;
        Ok(Content::new(
            document.length,
            document.digest,
            document.media.clone(),
            stream,
        ))
    }

    async fn versions(
        &self,
        subject: SubjectId,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Vec<Version>> {
        admitted(permit, READ, subject)?;
        self.behind_no_wall(VERSIONS, locator, permit).await?;
        self.list_versions(VERSIONS, locator.as_str()).await
    }

    async fn remove(
        &self,
        subject: SubjectId,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<()> {
        admitted(permit, crate::REMOVE, subject)?;
        permit.require_unheld(subject)?;
        self.behind_no_wall(REMOVE, locator, permit).await?;
        let url = self.graph.url(&self.by_id(locator.as_str(), &[]))?;
        let answer = self
            .graph
            .ask(|| Ok(Request::delete(REMOVE, url.clone())))
            .await?;
        match answer.status {
            200 | 204 | 404 => Ok(()),
            403 if self.forbidden_by_label(REMOVE, locator.as_str()).await? => {
                Err(Code::DstHold.into())
            }
            _ => Err(answer.unexpected(REMOVE)),
        }
    }
}

impl SharePoint {
    /// That the file is in the folder of the permit's matter, where the permit has one. A file that is not
    /// there is behind no wall.
    ///
    /// # Errors
    /// `ACL-DENY`; faults.
    pub(crate) async fn behind_no_wall(
        &self,
        call: Call,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<()> {
        if permit.matter().is_none() {
            return Ok(());
        }
        match self.item(call, locator.as_str()).await? {
            Some(item) if item.matter() != permit.matter() => Err(denied(permit)),
            _ => Ok(()),
        }
    }

    /// An item by its id.
    pub(crate) async fn item(&self, call: Call, id: &str) -> Result<Option<Item>> {
        self.graph
            .find(call, selected(self.graph.url(&self.by_id(id, &[]))?))
            .await
    }

    /// An item by its path below the library's root.
    pub(crate) async fn item_at(&self, call: Call, path: &[String]) -> Result<Option<Item>> {
        self.graph
            .find(call, selected(self.graph.url(&self.by_path(path, None))?))
            .await
    }

    /// Folder and file name of a document, below the library's root.
    pub(crate) fn path(&self, matter: MatterId, document: DocumentId) -> Vec<String> {
        let inside = [names::folder(matter), names::file(document)];
        self.folder.names().iter().cloned().chain(inside).collect()
    }

    /// `drives/{d}/items/{i}/…`
    pub(crate) fn by_id(&self, id: &str, tail: &[&str]) -> Vec<String> {
        let head = ["drives", &self.drive, "items", id];
        head.iter()
            .chain(tail)
            .map(|part| (*part).to_owned())
            .collect()
    }

    /// `drives/{d}/root:/a/b:/…`
    pub(crate) fn by_path(&self, path: &[String], tail: Option<&str>) -> Vec<String> {
        let mut parts = vec!["drives".to_owned(), self.drive.clone(), "root:".to_owned()];
        parts.extend_from_slice(path);
        if let Some(last) = parts.last_mut().filter(|_| !path.is_empty()) {
            last.push(':');
        }
        parts.extend(tail.map(str::to_owned));
        parts
    }

    /// What the port says of an item, after its label is as wanted.
    async fn stored(
        &self,
        call: Call,
        item: Item,
        label: Option<&Label>,
    ) -> Result<StoredDocument> {
        if let Some(label) = label {
            self.apply_label(call, &item.id, label).await?;
        }
        let versions = self.list_versions(call, &item.id).await?;
        let version = versions.into_iter().next().map(|version| version.id);
        let version = version.ok_or_else(|| {
            call.fault(FaultKind::Protocol)
                .because("a file without a version")
        })?;
        Ok(StoredDocument {
            locator: item.locator(call)?,
            version,
            length: item.size,
        })
    }

    /// Takes away a file that was made just now and holds the wrong bytes.
    async fn discard(&self, item: &Item) {
        // The error that led here is what the caller hears; a file left over is found by name.
        let Ok(url) = self.graph.url(&self.by_id(&item.id, &["permanentDelete"])) else {
            return;
        };
        let make = || Ok(Request::post(PUT, url.clone()).repeatable());
        let ended = self.graph.ask(make).await;
        if ended.is_ok_and(|answer| matches!(answer.status, 200 | 204 | 404)) {
            return;
        }
        // An application with `Sites.Selected` has the recycle bin at most.
        if let Ok(url) = self.graph.url(&self.by_id(&item.id, &[])) {
            let make = || Ok(Request::delete(PUT, url.clone()));
            let _ = self.graph.ask(make).await;
        }
    }

    /// Reads back what was stored, where the library's own hash did not settle it. The content's
    /// SHA-256 is checked as it passes.
    async fn prove(
        &self,
        document: &Document,
        media: &kta_core::pii::MediaType,
        item: &Item,
        permit: &Permit<'_>,
    ) -> Result<()> {
        let url = self.graph.url(&self.by_id(&item.id, &["content"]))?;
        let stream = self.graph.download(PUT, url, document.length).await?;
        let back = Content::new(document.length, document.digest, media.clone(), stream);
        let mut stream = back.into_stream(permit);
        while let Some(chunk) = futures_util::StreamExt::next(&mut stream).await {
            chunk?;
        }
        Ok(())
    }
}

/// That the permit is not one for another matter.
fn inside(matter: MatterId, permit: &Permit<'_>) -> Result<()> {
    match permit.matter() {
        Some(other) if other != matter => Err(denied(permit)),
        _ => Ok(()),
    }
}

fn denied(permit: &Permit<'_>) -> Error {
    let refusal = Refusal::new(Code::AclDeny);
    refusal.about("permit", permit.id()).into()
}

/// A driveItem, as far as this adapter looks at it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Item {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) e_tag: Option<String>,
    #[serde(default)]
    pub(crate) file: Option<FileFacet>,
    #[serde(default)]
    pub(crate) folder: Option<serde_json::Value>,
    #[serde(default)]
    pub(crate) deleted: Option<serde_json::Value>,
    #[serde(default)]
    parent_reference: Option<Parent>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Parent {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    path: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct FileFacet {
    #[serde(default)]
    pub(crate) hashes: Option<Hashes>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hashes {
    #[serde(default)]
    pub(crate) quick_xor_hash: Option<String>,
}

impl Item {
    /// The library's own hash of the current content, where it gives one.
    pub(crate) fn hash(&self) -> Option<&str> {
        self.file
            .as_ref()?
            .hashes
            .as_ref()?
            .quick_xor_hash
            .as_deref()
    }

    /// The id of the folder it is in; the root has none.
    pub(crate) fn parent_id(&self) -> Option<&str> {
        self.parent_reference.as_ref()?.id.as_deref()
    }

    /// The matter in whose folder it lies directly, when it was asked for with its parent.
    pub(crate) fn matter(&self) -> Option<MatterId> {
        let path = self.parent_reference.as_ref()?.path.as_deref()?;
        // A folder's name of ours has nothing that a path would write in another way.
        names::matter(path.rsplit('/').next()?)
    }

    pub(crate) fn locator(&self, call: Call) -> Result<Locator> {
        Locator::new(self.id.as_str())
            .map_err(|_| call.fault(FaultKind::Protocol).because("not an id").into())
    }
}

fn selected(mut url: Url) -> Url {
    url.query_pairs_mut()
        .append_pair("$select", "id,name,size,eTag,file,folder,parentReference");
    url
}

pub(crate) const PUT: Call = Call::new(Port::Documents, "put");
const CONTENT: Call = Call::new(Port::Documents, "content");
const LOCATE: Call = Call::new(Port::Documents, "locate");
const REMOVE: Call = Call::new(Port::Documents, "remove");
const VERSIONS: Call = Call::new(Port::Documents, "versions");
