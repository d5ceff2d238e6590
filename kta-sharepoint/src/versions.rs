//! Versions of a file. Every one of them is a copy.

use crate::SharePoint;
use chrono::{DateTime, Utc};
use kta_core::audit::Label;
use kta_core::ports::Version;
use kta_core::{FaultKind, Result};
use kta_http::Call;
use serde::Deserialize;

impl SharePoint {
    /// The versions of an item, newest first.
    pub(crate) async fn list_versions(&self, call: Call, id: &str) -> Result<Vec<Version>> {
        let url = self.graph.url(&self.by_id(id, &["versions"]))?;
        let listed: Option<Vec<Listed>> = self.graph.list(call, url, MOST).await?;
        let listed = listed.ok_or_else(|| call.fault(FaultKind::NotFound))?;
        listed
            .into_iter()
            .map(|version| version.read(call))
            .collect()
    }
}

/// The versions in an answer of Graph that lists them all.
pub(crate) fn read(call: Call, answer: serde_json::Value) -> Result<Vec<Version>> {
    let page: Page = serde_json::from_value(answer).map_err(|_| {
        call.fault(FaultKind::Protocol)
            .because("not a list of versions")
    })?;
    let listed = page.value.into_iter();
    listed.map(|version| version.read(call)).collect()
}

#[derive(Deserialize)]
struct Page {
    value: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    id: String,
    #[serde(default)]
    size: u64,
    last_modified_date_time: DateTime<Utc>,
}

impl Listed {
    fn read(self, call: Call) -> Result<Version> {
        let id = Label::new(self.id).map_err(|_| {
            call.fault(FaultKind::Protocol)
                .because("not a version's name")
        })?;
        Ok(Version {
            id,
            at: self.last_modified_date_time,
            length: self.size,
        })
    }
}

/// SharePoint keeps at most 50 000 major versions of a file.
const MOST: usize = 50_000;
