//! Labels on files, and walking through all of them.

use async_trait::async_trait;

use super::{MemoryLibrary, READING, State, WRITING, admitted};
use crate::audit::Label;
use crate::error::Result;
use crate::id::SubjectId;
use crate::pii::Locator;
use crate::policy::{Act, Permit};
use crate::ports::documents::{InventoryItem, InventoryPage};
use crate::ports::{Cursor, Inventory, Labels};
use crate::refusal::Code;

#[async_trait]
impl Labels for MemoryLibrary {
    async fn label(
        &self,
        subject: SubjectId,
        at: &Locator,
        label: Option<&Label>,
        permit: &Permit<'_>,
    ) -> Result<()> {
        admitted(WRITING, subject, permit)?;
        let mut state = self.locked();
        let special = state.file(subject, at, permit)?.category.is_special();
        if special && label.is_none() {
            return Err(Code::DocLabel.into());
        }
        if let Some(file) = state.files.get_mut(at) {
            file.label = label.cloned();
        }
        Ok(())
    }

    async fn labelled(
        &self,
        subject: SubjectId,
        at: &Locator,
        permit: &Permit<'_>,
    ) -> Result<Option<Label>> {
        admitted(READING, subject, permit)?;
        Ok(self.locked().file(subject, at, permit)?.label.clone())
    }
}

#[async_trait]
impl Inventory for MemoryLibrary {
    async fn inventory(
        &self,
        cursor: Option<&Cursor>,
        permit: &Permit<'_>,
    ) -> Result<InventoryPage> {
        permit.require_act(LISTING)?;
        let state = self.locked();
        let known = cursor.and_then(|cursor| state.place(cursor));
        let begin = known.unwrap_or(0);
        let page: Vec<&Locator> = state.log.iter().skip(begin).take(PAGE).collect();
        let end = begin + page.len();
        let items = page.iter().map(|at| match state.files.get(*at) {
            Some(file) => InventoryItem {
                locator: (*at).clone(),
                document: Some(file.document),
                length: file.versions.last().map(|kept| kept.version.length),
                hash: file.versions.last().map(|kept| kept.digest),
                deleted: false,
            },
            None => InventoryItem {
                locator: (*at).clone(),
                document: None,
                length: None,
                hash: None,
                deleted: true,
            },
        });
        Ok(InventoryPage {
            items: items.collect(),
            next: Cursor(format!("m1/{}/{end}", state.epoch)),
            more: end < state.log.len(),
            restarted: cursor.is_some() && known.is_none(),
        })
    }
}

impl State {
    /// The place in the log that a cursor of this epoch names.
    fn place(&self, cursor: &Cursor) -> Option<usize> {
        let (epoch, place) = cursor.0.strip_prefix("m1/")?.split_once('/')?;
        let place = place.parse().ok()?;
        (epoch.parse() == Ok(self.epoch) && place <= self.log.len()).then_some(place)
    }
}

/// Items on a page of the inventory; few, so that nobody can do with one page.
const PAGE: usize = 3;
const LISTING: &[Act] = &[
    Act::Probe,
    Act::Process,
    Act::Retain,
    Act::Review,
    Act::Search,
    Act::Transfer,
];
