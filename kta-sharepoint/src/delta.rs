//! What is in the library, step by step, through Graph's delta.

use crate::items::Item;
use crate::{READ, SharePoint, names};
use async_trait::async_trait;
use kta_core::policy::Permit;
use kta_core::ports::{Cursor, Inventory, InventoryItem, InventoryPage};
use kta_core::{FaultKind, Port, Result};
use kta_http::{Call, Request, Url};
use serde::Deserialize;

#[async_trait]
impl Inventory for SharePoint {
    async fn inventory(
        &self,
        cursor: Option<&Cursor>,
        permit: &Permit<'_>,
    ) -> Result<InventoryPage> {
        permit.require_act(READ)?;
        let first = self.graph.url(&["drives", &self.drive, "root", "delta"])?;
        let url = match cursor {
            Some(cursor) => self.page_url(&cursor.0)?,
            None => first.clone(),
        };
        let (answer, restarted) = match self.page(&url).await? {
            Some(answer) => (answer, false),
            None => {
                let answer = self.page(&first).await?;
                let gone = INVENTORY.fault(FaultKind::Protocol).with_status(410);
                (
                    answer.ok_or_else(|| gone.because("even a new start is refused"))?,
                    true,
                )
            }
        };
        let (next, more) = match (answer.next, answer.delta) {
            (Some(next), _) => (next, true),
            (None, Some(delta)) => (delta, false),
            (None, None) => {
                let fault = INVENTORY.fault(FaultKind::Protocol);
                return Err(fault.because("a page without a continuation").into());
            }
        };
        // Checked now, so that a cursor never leads off the host later.
        self.page_url(&next)?;
        let files = answer.value.iter().filter(|item| item.folder.is_none());
        let items = files.map(listed).collect::<Result<_>>()?;
        Ok(InventoryPage {
            items,
            next: Cursor(next),
            more,
            restarted,
        })
    }
}

impl SharePoint {
    /// One page; `None` when the cursor is too old (410).
    async fn page(&self, url: &Url) -> Result<Option<DeltaPage>> {
        let make = || {
            let request = Request::get(INVENTORY, url.clone());
            Ok(request.header("prefer", "deltaExcludeParent"))
        };
        let answer = self.graph.ask(make).await?;
        match (answer.status, answer.code.as_str()) {
            (200, _) => answer.parse(INVENTORY).map(Some),
            (410, _) | (400, "syncStateNotFound" | "resyncRequired") => Ok(None),
            _ => Err(answer.unexpected(INVENTORY)),
        }
    }

    /// A continuation address. Graph writes its place in the feed as the query `token=…`; the same
    /// place may be written `delta(token='…')`, and so no parameter named like a credential is sent.
    pub(crate) fn page_url(&self, text: &str) -> Result<Url> {
        let url = self.graph.own_url(INVENTORY, text)?;
        let token = url
            .query_pairs()
            .find(|(name, _)| name == "token")
            .map(|(_, v)| v.into_owned());
        let Some(token) = token else { return Ok(url) };
        let others: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(name, _)| name != "token")
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        let call = format!("delta(token='{}')", token.replace('\'', "''"));
        let mut named = self.graph.url(&["drives", &self.drive, "root", &call])?;
        if !others.is_empty() {
            named.query_pairs_mut().extend_pairs(others);
        }
        Ok(named)
    }
}

fn listed(item: &Item) -> Result<InventoryItem> {
    let deleted = item.deleted.is_some();
    Ok(InventoryItem {
        locator: item.locator(INVENTORY)?,
        document: names::document(&item.name),
        length: (!deleted).then_some(item.size),
        // quickXorHash has 160 bits and is no digest.
        hash: None,
        deleted,
    })
}

#[derive(Deserialize)]
struct DeltaPage {
    #[serde(default)]
    value: Vec<Item>,
    #[serde(default, rename = "@odata.nextLink")]
    next: Option<String>,
    #[serde(default, rename = "@odata.deltaLink")]
    delta: Option<String>,
}

const INVENTORY: Call = Call::new(Port::Documents, "inventory");
