//! Retention labels.
//!
//! The tenant's names of labels may hold blanks, a [`Label`] of ours may not: `7_years` here is
//! `7 years` there.

use crate::{READ, SharePoint, WRITE, admitted};
use async_trait::async_trait;
use kta_core::audit::Label;
use kta_core::id::SubjectId;
use kta_core::pii::Locator;
use kta_core::policy::Permit;
use kta_core::ports::Labels;
use kta_core::{Code, FaultKind, Port, Result};
use kta_http::{Call, Request};
use serde::Deserialize;
use serde_json::json;

#[async_trait]
impl Labels for SharePoint {
    async fn label(
        &self,
        subject: SubjectId,
        locator: &Locator,
        label: Option<&Label>,
        permit: &Permit<'_>,
    ) -> Result<()> {
        admitted(permit, WRITE, subject)?;
        self.behind_no_wall(LABEL, locator, permit).await?;
        match label {
            Some(label) => self.apply_label(LABEL, locator.as_str(), label).await,
            None => self.clear_label(locator.as_str()).await,
        }
    }

    async fn labelled(
        &self,
        subject: SubjectId,
        locator: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Option<Label>> {
        admitted(permit, READ, subject)?;
        self.behind_no_wall(LABELLED, locator, permit).await?;
        let applied = self.applied(LABELLED, locator.as_str()).await?;
        let name = applied
            .and_then(|applied| applied.name)
            .filter(|name| !name.is_empty());
        match name {
            None => Ok(None),
            Some(name) => Label::new(name.replace(' ', "_")).map(Some).map_err(|_| {
                LABELLED
                    .fault(FaultKind::Protocol)
                    .because("not a label")
                    .into()
            }),
        }
    }
}

impl SharePoint {
    /// Sets a label unless it is set.
    pub(crate) async fn apply_label(&self, call: Call, id: &str, label: &Label) -> Result<()> {
        let name = label.as_str().replace('_', " ");
        let present = self
            .applied(call, id)
            .await?
            .and_then(|applied| applied.name);
        if present.as_deref() == Some(name.as_str()) {
            return Ok(());
        }
        let url = self.graph.url(&self.by_id(id, &["retentionLabel"]))?;
        let body = json!({ "name": name });
        let make = || Ok(Request::patch(call, url.clone()).json(&body).repeatable());
        let answer = self.graph.ask(make).await?;
        match answer.status {
            200 | 201 => Ok(()),
            400 => {
                let fault = call.fault(FaultKind::Misconfigured).with_status(400);
                Err(fault
                    .because("the tenant has no such retention label")
                    .into())
            }
            _ => Err(answer.unexpected(call)),
        }
    }

    async fn clear_label(&self, id: &str) -> Result<()> {
        let url = self.graph.url(&self.by_id(id, &["retentionLabel"]))?;
        let answer = self
            .graph
            .ask(|| Ok(Request::delete(LABEL, url.clone())))
            .await?;
        match answer.status {
            200 | 204 | 404 => Ok(()),
            // A record label is not removed by an application: the record is held.
            403 => Err(Code::DstHold.into()),
            _ => Err(answer.unexpected(LABEL)),
        }
    }

    /// Whether the item's label stands in the way of deletion.
    pub(crate) async fn forbidden_by_label(&self, call: Call, id: &str) -> Result<bool> {
        let settings = self
            .applied(call, id)
            .await?
            .and_then(|applied| applied.retention_settings);
        Ok(settings.is_some_and(|settings| settings.is_delete_allowed == Some(false)))
    }

    async fn applied(&self, call: Call, id: &str) -> Result<Option<Applied>> {
        let url = self.graph.url(&self.by_id(id, &["retentionLabel"]))?;
        self.graph.find(call, url).await
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Applied {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    retention_settings: Option<Settings>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    #[serde(default)]
    is_delete_allowed: Option<bool>,
}

const LABEL: Call = Call::new(Port::Documents, "label");
const LABELLED: Call = Call::new(Port::Documents, "labelled");
