//! What people do with a file beside storing and reading it: check it out, look at an earlier version, bring
//! one back, take one away, read a part, and say in columns what it is.

use crate::batch::{Part, batch};
use crate::client::Answer;
use crate::recycle_bin::Rest;
use crate::{READ, REMOVE, SharePoint, WRITE, admitted};
use kta_core::audit::Label;
use kta_core::id::SubjectId;
use kta_core::pii::{Content, ContentStream, Document, Locator};
use kta_core::policy::Permit;
use kta_core::ports::Version;
use kta_core::{Code, FaultKind, Port, Result};
use kta_http::{Call, Request};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::Range;

/// Which earlier versions to take away. The current one stays whatever is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// All of them.
    All,
    /// This one.
    One(Label),
}

impl SharePoint {
    /// Takes a file for oneself: nobody else changes it until it is checked in.
    ///
    /// # Errors
    /// `ACL-DENY` without a permit to store or process; a `Conflict` fault when somebody else has it.
    pub async fn check_out(
        &self,
        subject: SubjectId,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<()> {
        admitted(permit, WRITE, subject)?;
        self.act(CHECK_OUT, locator, "checkout", None).await
    }

    /// Gives a file back as a new version. `why` stands in the library's history; it is a word, so that
    /// nothing of the case gets there.
    ///
    /// # Errors
    /// As [`check_out`](Self::check_out).
    pub async fn check_in(
        &self,
        subject: SubjectId,
        locator: &Locator,
        why: &Label,
        permit: &Permit<'_>,
    ) -> Result<()> {
        admitted(permit, WRITE, subject)?;
        let body = json!({ "comment": why.as_str(), "checkInAs": "published" });
        self.act(CHECK_OUT, locator, "checkin", Some(&body)).await
    }

    /// Gives a file back as it was before it was checked out.
    ///
    /// # Errors
    /// As [`check_out`](Self::check_out).
    pub async fn discard_check_out(
        &self,
        subject: SubjectId,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<()> {
        admitted(permit, WRITE, subject)?;
        self.act(CHECK_OUT, locator, "discardCheckout", None).await
    }

    /// The content of one version. `document` describes that version: its digest and length are checked.
    ///
    /// # Errors
    /// `ACL-DENY`; `NotFound` for no such file or version.
    pub async fn version_content(
        &self,
        document: &Document,
        locator: &Locator,
        version: &Label,
        permit: &Permit<'_>,
    ) -> Result<Content> {
        permit.require(READ, document.subject, document.classification.category)?;
        let versions = self.list_versions(VERSION, locator.as_str()).await?;
        // The library gives the current version's content with the item only.
        let tail: &[&str] = match versions.iter().position(|each| each.id == *version) {
            None => return Err(VERSION.fault(FaultKind::NotFound).into()),
            Some(0) => &["content"],
            Some(_) => &["versions", version.as_str(), "content"],
        };
        let url = self.graph.url(&self.by_id(locator.as_str(), tail))?;
        let stream = self.graph.download(VERSION, url, document.length).await?;
        let media = document.media.clone();
        Ok(Content::new(
            document.length,
            document.digest,
            media,
            stream,
        ))
    }

    /// Makes an earlier version the current one again, as a new version; gives it.
    ///
    /// # Errors
    /// `ACL-DENY`; `NotFound`; a `Conflict` fault when the file is checked out or locked. Made twice it is
    /// two versions, so a lost answer is `OutcomeUnknown`: look at the versions first.
    pub async fn restore_version(
        &self,
        subject: SubjectId,
        locator: &Locator,
        version: &Label,
        permit: &Permit<'_>,
    ) -> Result<Version> {
        admitted(permit, WRITE, subject)?;
        let tail = ["versions", version.as_str(), "restoreVersion"];
        let url = self.graph.url(&self.by_id(locator.as_str(), &tail))?;
        let answer = self
            .graph
            .ask(|| Ok(Request::post(VERSION, url.clone())))
            .await?;
        if !matches!(answer.status, 200 | 204) {
            return Err(answer.unexpected(VERSION));
        }
        let versions = self.list_versions(VERSION, locator.as_str()).await?;
        let newest = versions.into_iter().next();
        Ok(newest.ok_or_else(|| VERSION.fault(FaultKind::NotFound))?)
    }

    /// Takes earlier versions away for good. Graph has no way to; SharePoint REST has. One that is gone is
    /// no error.
    ///
    /// # Errors
    /// `ACL-DENY` without a permit to amend, destroy, process or store; `DST-HOLD` under a legal hold and
    /// when a label forbids it; `Unsupported` without SharePoint REST, when destruction is off, and for the
    /// current version.
    pub async fn remove_versions(
        &self,
        subject: SubjectId,
        locator: &Locator,
        which: &Earlier,
        permit: &Permit<'_>,
    ) -> Result<()> {
        admitted(permit, REMOVE, subject)?;
        permit.require_unheld(subject)?;
        let unsupported = |text| VERSION.fault(FaultKind::Unsupported).because(text);
        let rest = self.destroying_rest().ok_or_else(|| {
            unsupported("destruction, or the SharePoint REST it needs, is switched off")
        })?;
        let versions = self.list_versions(VERSION, locator.as_str()).await?;
        let action = match which {
            Earlier::All => "DeleteAll()".to_owned(),
            Earlier::One(version) => match versions.iter().position(|each| each.id == *version) {
                None => return Ok(()),
                Some(0) => return Err(unsupported("the current version is not removed").into()),
                Some(_) => format!("DeleteByID({})", number(version)?),
            },
        };
        let unique = self.unique_id(locator).await?;
        match rest.end_versions(VERSION, &unique, &action).await? {
            200 | 204 | 404 => Ok(()),
            403 | 423 if self.forbidden_by_label(VERSION, locator.as_str()).await? => {
                Err(Code::DstHold.into())
            }
            status => Err(crate::error::unexpected(VERSION, status, "")),
        }
    }

    /// A part of the current content. Nothing proves a part: who needs proof reads the whole.
    ///
    /// # Errors
    /// `ACL-DENY`; `NotFound`; a `Protocol` fault for a range that the content does not have.
    pub async fn range(
        &self,
        document: &Document,
        locator: &Locator,
        range: Range<u64>,
        permit: &Permit<'_>,
    ) -> Result<ContentStream> {
        permit.require(READ, document.subject, document.classification.category)?;
        let inside = range.start < range.end && range.end <= document.length;
        if !inside {
            let fault = RANGE.fault(FaultKind::Protocol);
            return Err(fault.because("not a range of this content").into());
        }
        let url = self
            .graph
            .url(&self.by_id(locator.as_str(), &["content"]))?;
        self.graph.download_part(RANGE, url, range).await
    }

    /// Says in the library's columns what a file is. Values are words and ids: columns are listed, searched
    /// and exported by whoever sees the library.
    ///
    /// # Errors
    /// `ACL-DENY`; a `Misconfigured` fault when the library has no such column.
    pub async fn describe(
        &self,
        subject: SubjectId,
        locator: &Locator,
        columns: &BTreeMap<Label, Label>,
        permit: &Permit<'_>,
    ) -> Result<()> {
        admitted(permit, WRITE, subject)?;
        let url = self
            .graph
            .url(&self.by_id(locator.as_str(), &["listItem", "fields"]))?;
        let body = fields(columns);
        let make = || {
            let request = Request::patch(DESCRIBE, url.clone());
            Ok(request.json(&body).repeatable())
        };
        set(&self.graph.ask(make).await?)
    }

    /// The same for many files in few requests: what became of each, in their order. What was throttled or
    /// met trouble of the server's is asked again, the others are not.
    ///
    /// # Errors
    /// `ACL-DENY` before anything is sent; a fault when nothing more was heard, and then it is safe to ask
    /// again for all.
    pub async fn describe_all(
        &self,
        subject: SubjectId,
        files: &[(Locator, BTreeMap<Label, Label>)],
        permit: &Permit<'_>,
    ) -> Result<Vec<Result<()>>> {
        admitted(permit, WRITE, subject)?;
        let part = |(file, columns): &(Locator, BTreeMap<Label, Label>)| {
            let path = self.by_id(file.as_str(), &["listItem", "fields"]);
            Part::patch(path, Value::Object(fields(columns)))
        };
        let parts: Vec<Part> = files.iter().map(part).collect();
        let answers = batch(&self.graph, DESCRIBE, &parts).await?;
        Ok(answers.iter().map(set).collect())
    }

    /// The columns of a file that hold words.
    ///
    /// # Errors
    /// `ACL-DENY`; `NotFound`; faults.
    pub async fn described(
        &self,
        subject: SubjectId,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<BTreeMap<Label, Label>> {
        admitted(permit, READ, subject)?;
        let url = self
            .graph
            .url(&self.by_id(locator.as_str(), &["listItem", "fields"]))?;
        let fields: Option<Map<String, Value>> = self.graph.find(DESCRIBE, url).await?;
        let fields = fields.ok_or_else(|| DESCRIBE.fault(FaultKind::NotFound))?;
        let word = |(name, value): (String, Value)| {
            let value = Label::new(value.as_str()?).ok()?;
            Some((Label::new(name).ok()?, value))
        };
        Ok(fields.into_iter().filter_map(word).collect())
    }

    async fn act(
        &self,
        call: Call,
        locator: &Locator,
        action: &str,
        body: Option<&Value>,
    ) -> Result<()> {
        let url = self.graph.url(&self.by_id(locator.as_str(), &[action]))?;
        let make = || {
            let request = Request::post(call, url.clone()).repeatable();
            Ok(match body {
                Some(body) => request.json(body),
                None => request,
            })
        };
        let answer = self.graph.ask(make).await?;
        match answer.status {
            200 | 204 => Ok(()),
            _ => Err(answer.unexpected(call)),
        }
    }

    async fn unique_id(&self, locator: &Locator) -> Result<String> {
        let mut url = self.graph.url(&self.by_id(locator.as_str(), &[]))?;
        url.query_pairs_mut()
            .append_pair("$select", "id,sharepointIds");
        let found: Option<Identified> = self.graph.find(VERSION, url).await?;
        let ids = found.and_then(|found| found.sharepoint_ids);
        let id = ids.and_then(|ids| ids.list_item_unique_id);
        Ok(id.ok_or_else(|| VERSION.fault(FaultKind::NotFound))?)
    }
}

impl Rest {
    /// Ends versions of a file; gives the status.
    async fn end_versions(&self, call: Call, unique: &str, action: &str) -> Result<u16> {
        let file = format!("GetFileById('{}')", unique.replace('\'', "''"));
        let url = self.client.url(&["web", &file, "versions", action])?;
        let make = || {
            let request = Request::post(call, url.clone()).repeatable();
            Ok(request.header("accept", "application/json;odata=nometadata"))
        };
        Ok(self.client.ask(make).await?.status)
    }
}

fn fields(columns: &BTreeMap<Label, Label>) -> Map<String, Value> {
    let field = |(name, value): (&Label, &Label)| (name.to_string(), Value::from(value.as_str()));
    columns.iter().map(field).collect()
}

/// Whether columns were set.
fn set(answer: &Answer) -> Result<()> {
    match answer.status {
        200 => Ok(()),
        400 => {
            let fault = DESCRIBE.fault(FaultKind::Misconfigured).with_status(400);
            Err(fault.because("the library has no such column").into())
        }
        _ => Err(answer.unexpected(DESCRIBE)),
    }
}

/// SharePoint numbers version m.n as 512·m + n.
fn number(version: &Label) -> Result<u32> {
    let parts = version.as_str().split_once('.');
    let read = parts.and_then(|(major, minor)| {
        let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
        major.checked_mul(512)?.checked_add(minor)
    });
    Ok(read.ok_or_else(|| {
        VERSION
            .fault(FaultKind::Protocol)
            .because("not a version's name")
    })?)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identified {
    #[serde(default)]
    sharepoint_ids: Option<Ids>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ids {
    #[serde(default)]
    list_item_unique_id: Option<String>,
}

const CHECK_OUT: Call = Call::new(Port::Documents, "check out");
const DESCRIBE: Call = Call::new(Port::Documents, "describe");
const RANGE: Call = Call::new(Port::Documents, "range");
const VERSION: Call = Call::new(Port::Documents, "version");
