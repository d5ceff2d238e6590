//! What the emulated tenant remembers: sites, libraries, items, versions, bins, held copies, sessions.

use super::clock::Clock;
use super::faults::{Exchange, Scripted};
use super::ids::Ids;
pub(crate) use super::model::*;
use super::reply::Refused;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The whole tenant. One lock guards it; every request is one synchronous turn under that lock.
pub(crate) struct State {
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) settings: Settings,
    pub(crate) site: Site,
    pub(crate) drives: BTreeMap<String, Drive>,
    pub(crate) items: BTreeMap<String, Item>,
    pub(crate) graves: BTreeMap<String, Grave>,
    pub(crate) bin: Vec<Binned>,
    pub(crate) held: Vec<Held>,
    pub(crate) hold: Hold,
    pub(crate) uploads: BTreeMap<String, Upload>,
    pub(crate) tokens: BTreeMap<String, Token>,
    pub(crate) labels: BTreeMap<String, LabelRule>,
    pub(crate) subscriptions: BTreeMap<String, Subscription>,
    pub(crate) one_subscription_each: bool,
    /// Object ids of people, by address.
    pub(crate) people: BTreeMap<String, String>,
    pub(crate) mail: super::mail::Mailbox,
    /// Messages handed to `sendMail`.
    pub(crate) sent: Vec<Value>,
    pub(crate) directory: super::directory::Directory,
    pub(crate) audit: super::audit::AuditLog,
    pub(crate) recorded: Vec<super::faults::Recorded>,
    /// Applications that reach the site by its grants alone: `Sites.Selected`.
    pub(crate) selected: BTreeSet<String>,
    /// Further applications, with the first one's secret.
    pub(crate) applications: BTreeSet<String>,
    /// Certificates that sign assertions, in DER.
    pub(crate) certificates: Vec<Vec<u8>>,
    pub(crate) signer: super::rich::Signer,
    pub(crate) outbox: Vec<(String, Value)>,
    pub(crate) faults: Vec<Scripted>,
    pub(crate) journal: Vec<Exchange>,
    /// Counts every change; an item's place in the delta feed.
    pub(crate) sequence: u64,
    /// When each of the changes was.
    pub(crate) changed: Vec<(u64, DateTime<Utc>)>,
    /// Delta tokens of another era are answered with 410.
    pub(crate) delta_era: u64,
}

/// Where the three hosts are and how the tenant behaves.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) graph: String,
    pub(crate) login: String,
    pub(crate) sharepoint: String,
    pub(crate) tenant: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) destroyer_id: String,
    pub(crate) token_seconds: i64,
    pub(crate) certificate_only_rest: bool,
    pub(crate) anonymous_links: bool,
    pub(crate) page_size: usize,
    pub(crate) quota: u64,
    pub(crate) record: bool,
    pub(crate) lag: TimeDelta,
    pub(crate) bin_delete_moves_to_second_stage: bool,
}

impl State {
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(crate) fn drive(&self, id: &str) -> Result<&Drive, Refused> {
        self.drives.get(id).ok_or_else(Refused::not_found)
    }

    pub(crate) fn item(&self, id: &str) -> Result<&Item, Refused> {
        self.items.get(id).ok_or_else(Refused::not_found)
    }

    pub(crate) fn item_mut(&mut self, id: &str) -> Result<&mut Item, Refused> {
        self.items.get_mut(id).ok_or_else(Refused::not_found)
    }

    /// Counts one more change, and when it was.
    pub(crate) fn count(&mut self) {
        self.sequence += 1;
        let now = self.now();
        self.changed.push((self.sequence, now));
    }

    /// The last change that listings show already.
    pub(crate) fn visible(&self) -> u64 {
        let shown = self.now() - self.settings.lag;
        let late = self.changed.partition_point(|(_, at)| *at <= shown);
        let earlier = self.changed.get(late).map(|(number, _)| number - 1);
        earlier.unwrap_or(self.sequence)
    }

    /// Marks an item as changed: its eTag, its place in the delta feed, its library's subscribers.
    pub(crate) fn touch(&mut self, id: &str) {
        self.count();
        let (now, sequence) = (self.now(), self.sequence);
        let Some(item) = self.items.get_mut(id) else {
            return;
        };
        item.e += 1;
        item.modified = now;
        item.sequence = sequence;
        let drive = item.drive.clone();
        self.notify(&drive);
    }

    fn notify(&mut self, drive: &str) {
        let now = self.now();
        for subscription in self.subscriptions.values() {
            if subscription.drive == drive && subscription.expires > now {
                let body = subscription.notification(&self.settings.tenant);
                self.outbox.push((subscription.url.clone(), body));
            }
        }
    }

    pub(crate) fn children(&self, id: &str) -> Vec<&Item> {
        let mut found: Vec<&Item> = self
            .items
            .values()
            .filter(|item| item.parent.as_deref() == Some(id))
            .collect();
        found.sort_by_key(|item| item.name.to_lowercase());
        found
    }

    pub(crate) fn child(&self, parent: &str, name: &str) -> Option<&Item> {
        let name = name.to_lowercase();
        self.items
            .values()
            .find(|item| item.parent.as_deref() == Some(parent) && item.name.to_lowercase() == name)
    }

    /// The item's folders from the library's root down to its parent, root first.
    pub(crate) fn ancestors(&self, id: &str) -> Vec<String> {
        let mut path = Vec::new();
        let mut next = self.items.get(id).and_then(|item| item.parent.clone());
        while let Some(parent) = next {
            next = self.items.get(&parent).and_then(|item| item.parent.clone());
            path.push(parent);
        }
        path.reverse();
        path
    }

    /// The item and everything under it, the item first.
    pub(crate) fn subtree(&self, id: &str) -> Vec<String> {
        let mut found = vec![id.to_owned()];
        let mut at = 0;
        while let Some(parent) = found.get(at).cloned() {
            found.extend(
                self.children(&parent)
                    .into_iter()
                    .map(|item| item.id.clone()),
            );
            at += 1;
        }
        found
    }

    /// Adds a file or folder under `parent`.
    pub(crate) fn add(
        &mut self,
        drive: &str,
        parent: Option<String>,
        name: &str,
        bytes: Option<Bytes>,
    ) -> String {
        let now = self.now();
        let id = self.ids.item();
        self.count();
        let list_item = self.drives.get_mut(drive).map_or(0, |drive| {
            drive.next_list_item += 1;
            drive.next_list_item
        });
        let item = Item {
            id: id.clone(),
            drive: drive.to_owned(),
            unique_id: self.ids.guid(),
            list_item,
            parent,
            name: name.to_owned(),
            mime: "application/octet-stream".to_owned(),
            versions: bytes.map(|bytes| vec![Version::new(1, bytes, now)]),
            created: now,
            modified: now,
            e: 1,
            c: 1,
            sequence: self.sequence,
            fields: Map::new(),
            permissions: Vec::new(),
            inherits: true,
            label: None,
            locked: false,
            checked_out: None,
        };
        let file = item.versions.is_some();
        self.items.insert(id.clone(), item);
        if file {
            self.log("FileUploaded", &id);
        }
        self.notify(drive);
        id
    }

    /// Gives a file new content: a new version, or in place where versioning is off.
    pub(crate) fn overwrite(&mut self, id: &str, bytes: Bytes) -> Result<(), Refused> {
        let now = self.now();
        let holding = matches!(self.hold, Hold::On);
        let (versioning, limit) = {
            let drive = self.drive(&self.item(id)?.drive.clone())?;
            (drive.versioning, drive.version_limit)
        };
        let item = self.item_mut(id)?;
        let Some(versions) = item.versions.as_mut() else {
            return Err(Refused::conflict());
        };
        let major = versions.last().map_or(1, |v| v.major + 1);
        let mut dropped = Vec::new();
        if !versioning {
            dropped.append(versions);
        }
        versions.push(Version::new(major, bytes, now));
        while versions.len() > limit.max(1) {
            dropped.push(versions.remove(0));
        }
        item.c += 1;
        let (item_id, name) = (item.id.clone(), item.name.clone());
        if holding {
            let held = dropped.into_iter().map(|version| Held {
                item: item_id.clone(),
                name: name.clone(),
                version,
            });
            self.held.extend(held);
        }
        self.touch(id);
        self.log("FileModified", id);
        Ok(())
    }

    /// Takes a subtree out of the library; the caller decides whether it goes to the bin.
    pub(crate) fn take(&mut self, id: &str) -> Vec<Item> {
        let mut taken = Vec::new();
        for each in self.subtree(id) {
            self.log("FileDeleted", &each);
            let Some(item) = self.items.remove(&each) else {
                continue;
            };
            self.count();
            let grave = Grave {
                drive: item.drive.clone(),
                parent: item.parent.clone(),
                sequence: self.sequence,
            };
            self.graves.insert(each, grave);
            let retained = item
                .label
                .as_ref()
                .and_then(|label| self.labels.get(&label.name));
            if matches!(self.hold, Hold::On) || retained.is_some_and(|rule| rule.retains()) {
                self.preserve(&item);
            }
            self.notify(&item.drive);
            taken.push(item);
        }
        taken
    }

    /// Copies every version of an item into the Preservation Hold library.
    pub(crate) fn preserve(&mut self, item: &Item) {
        for version in item.versions.iter().flatten() {
            self.held.push(Held {
                item: item.id.clone(),
                name: item.name.clone(),
                version: version.clone(),
            });
        }
    }

    /// Lets time do its work: bins empty, holds drain, sessions and tokens end.
    pub(crate) fn sweep(&mut self) {
        let now = self.now();
        self.bin
            .retain(|entry| now - entry.at < TimeDelta::days(BIN_DAYS));
        if let Hold::Released(at) = self.hold {
            let cleaned = at + TimeDelta::days(HOLD_CLEANUP_DAYS);
            if now >= cleaned {
                self.hold = Hold::Off;
                let held = std::mem::take(&mut self.held);
                if now < cleaned + TimeDelta::days(BIN_DAYS) {
                    for copy in held {
                        self.bin_held(copy, cleaned);
                    }
                }
            }
        }
        self.mail.sweep(now);
        self.sweep_audit();
        self.uploads.retain(|_, upload| upload.expires > now);
        self.tokens
            .retain(|_, token| token.expires > now - TimeDelta::days(1));
        self.subscriptions
            .retain(|_, subscription| subscription.expires > now);
    }

    fn bin_held(&mut self, copy: Held, at: DateTime<Utc>) {
        let id = self.ids.guid();
        let item = Item {
            id: copy.item,
            drive: String::new(),
            unique_id: self.ids.guid(),
            list_item: 0,
            parent: None,
            name: copy.name,
            mime: String::new(),
            versions: Some(vec![copy.version]),
            created: at,
            modified: at,
            e: 1,
            c: 1,
            sequence: 0,
            fields: Map::new(),
            permissions: Vec::new(),
            inherits: true,
            label: None,
            locked: false,
            checked_out: None,
        };
        let directory = format!(
            "{}/PreservationHoldLibrary",
            self.site.path.trim_start_matches('/')
        );
        self.bin.push(Binned {
            id,
            stage: 2,
            items: vec![item],
            directory,
            at,
        });
    }

    /// Bytes held anywhere, which is what a quota counts.
    pub(crate) fn stored(&self) -> u64 {
        let of = |item: &Item| {
            item.versions
                .iter()
                .flatten()
                .map(|v| v.bytes.len() as u64)
                .sum::<u64>()
        };
        let live: u64 = self.items.values().map(of).sum();
        let binned: u64 = self.bin.iter().flat_map(|entry| &entry.items).map(of).sum();
        let held: u64 = self
            .held
            .iter()
            .map(|copy| copy.version.bytes.len() as u64)
            .sum();
        let pending: u64 = self
            .uploads
            .values()
            .map(|upload| upload.received.len() as u64)
            .sum();
        live + binned + held + pending
    }

    /// The directory of an item as the recycle bin writes it: `sites/x/Shared Documents/a`.
    pub(crate) fn directory(&self, id: &str) -> String {
        let mut parts = vec![self.site.path.trim_start_matches('/').to_owned()];
        if let Some(drive) = self
            .items
            .get(id)
            .and_then(|item| self.drives.get(&item.drive))
        {
            parts.push(drive.title.clone());
        }
        let names = self.ancestors(id).into_iter().skip(1);
        parts.extend(names.filter_map(|each| self.items.get(&each).map(|item| item.name.clone())));
        parts.join("/")
    }

    /// Names taken in a folder, lower case: what `rename` has to avoid.
    pub(crate) fn taken_names(&self, parent: &str) -> BTreeSet<String> {
        self.children(parent)
            .into_iter()
            .map(|item| item.name.to_lowercase())
            .collect()
    }
}

/// Days an item stays in the two stages of the recycle bin together.
pub(crate) const BIN_DAYS: i64 = 93;
/// Days until a released hold's copies leave the Preservation Hold library, at worst.
const HOLD_CLEANUP_DAYS: i64 = 37;
