//! What happened to the inbox since a cursor, through Graph's delta: arrivals, and whatever left it
//! without having been acknowledged.

use super::{IMMUTABLE, Mailbox};
use crate::client::json_get;
use kta_core::pii::Locator;
use kta_core::policy::{Act, Permit};
use kta_core::ports::Cursor;
use kta_core::{FaultKind, Port, Result};
use kta_http::{Call, Url};
use serde::Deserialize;

/// A step through the inbox's changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailChanges {
    /// Messages in the inbox that are new or changed.
    pub arrived: Vec<Locator>,
    /// Messages that left the inbox and are not in the folder for what was processed: moved or deleted
    /// by hand. What the log does not have of these was lost by somebody, not by this channel.
    pub astray: Vec<Locator>,
    /// Messages that left the inbox as acknowledged ones do.
    pub processed: Vec<Locator>,
    /// Where to go on.
    pub next: Cursor,
    /// Whether there is more now.
    pub more: bool,
    /// Whether the mailbox made us start over: departures before now are then not told.
    pub restarted: bool,
}

impl Mailbox {
    /// The next step after `cursor`; from the beginning without one.
    ///
    /// A notification is a reason to look here, and so is the passing of time: whatever a subscription
    /// missed is in the next step.
    ///
    /// # Errors
    /// `ACL-DENY` without a permit to receive; `NET-HOST` for a cursor of another host; faults.
    pub async fn changes(
        &self,
        cursor: Option<&Cursor>,
        permit: &Permit<'_>,
    ) -> Result<MailChanges> {
        permit.require_act(&[Act::Receive])?;
        let mut first = self.url(&["mailFolders", "inbox", "messages", "delta"])?;
        first.query_pairs_mut().append_pair("$select", "id");
        let url = match cursor {
            Some(cursor) => self.graph.own_url(CHANGES, &cursor.0)?,
            None => first.clone(),
        };
        let (page, restarted) = match self.page(&url).await? {
            Some(page) => (page, false),
            None => {
                let page = self.page(&first).await?;
                let gone = CHANGES.fault(FaultKind::Protocol).with_status(410);
                let page = page.ok_or_else(|| gone.because("even a new start is refused"))?;
                (page, true)
            }
        };
        let (next, more) = match (page.next, page.delta) {
            (Some(next), _) => (next, true),
            (None, Some(delta)) => (delta, false),
            (None, None) => {
                let fault = CHANGES.fault(FaultKind::Protocol);
                return Err(fault.because("a page without a continuation").into());
            }
        };
        self.graph.own_url(CHANGES, &next)?;
        let mut changes = MailChanges {
            arrived: Vec::new(),
            astray: Vec::new(),
            processed: Vec::new(),
            next: Cursor(next),
            more,
            restarted,
        };
        for each in page.value {
            let locator = Locator::new(each.id.as_str())
                .map_err(|_| CHANGES.fault(FaultKind::Protocol).because("not an id"))?;
            if each.removed.is_none() {
                changes.arrived.push(locator);
            } else if self.folder_of(CHANGES, &each.id).await?.as_ref() == Some(&self.processed) {
                changes.processed.push(locator);
            } else {
                changes.astray.push(locator);
            }
        }
        Ok(changes)
    }

    /// One page; `None` when the cursor is too old.
    async fn page(&self, url: &Url) -> Result<Option<Page>> {
        let make = || Ok(json_get(CHANGES, url.clone()).header("prefer", IMMUTABLE));
        let answer = self.graph.ask(make).await?;
        match answer.status {
            200 => answer.parse(CHANGES).map(Some),
            410 => Ok(None),
            _ => Err(answer.unexpected(CHANGES)),
        }
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    value: Vec<Entry>,
    #[serde(default, rename = "@odata.nextLink")]
    next: Option<String>,
    #[serde(default, rename = "@odata.deltaLink")]
    delta: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    #[serde(default, rename = "@removed")]
    removed: Option<serde_json::Value>,
}

const CHANGES: Call = Call::new(Port::Intake, "changes");
