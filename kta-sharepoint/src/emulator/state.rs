//! What the emulated tenant remembers: sites, libraries, items, versions, bins, held copies, sessions.

use super::clock::Clock;
use super::faults::{Exchange, Scripted};
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
    /// Object ids of people, by address.
    pub(crate) people: BTreeMap<String, String>,
    pub(crate) outbox: Vec<(String, Value)>,
    pub(crate) faults: Vec<Scripted>,
    pub(crate) journal: Vec<Exchange>,
    /// Counts every change; an item's place in the delta feed.
    pub(crate) sequence: u64,
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
    pub(crate) token_seconds: i64,
    pub(crate) certificate_only_rest: bool,
    pub(crate) anonymous_links: bool,
    pub(crate) page_size: usize,
    pub(crate) quota: u64,
    pub(crate) bin_delete_moves_to_second_stage: bool,
}

pub(crate) struct Site {
    pub(crate) id: String,
    pub(crate) hostname: String,
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) permissions: Vec<Value>,
}

/// A document library: the drive of Graph, the list of SharePoint.
pub(crate) struct Drive {
    pub(crate) id: String,
    pub(crate) list: String,
    pub(crate) title: String,
    pub(crate) root: String,
    pub(crate) created: DateTime<Utc>,
    pub(crate) columns: Vec<Value>,
    pub(crate) versioning: bool,
    pub(crate) version_limit: usize,
    pub(crate) next_list_item: u32,
}

#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) id: String,
    pub(crate) drive: String,
    pub(crate) unique_id: String,
    pub(crate) list_item: u32,
    pub(crate) parent: Option<String>,
    pub(crate) name: String,
    pub(crate) mime: String,
    /// Oldest first, the current one last; `None` for a folder.
    pub(crate) versions: Option<Vec<Version>>,
    pub(crate) created: DateTime<Utc>,
    pub(crate) modified: DateTime<Utc>,
    pub(crate) e: u32,
    pub(crate) c: u32,
    pub(crate) sequence: u64,
    pub(crate) fields: Map<String, Value>,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) inherits: bool,
    pub(crate) label: Option<Label>,
    pub(crate) locked: bool,
}

#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) bytes: Bytes,
    pub(crate) hash: String,
    pub(crate) at: DateTime<Utc>,
}

#[derive(Clone)]
pub(crate) struct Permission {
    pub(crate) id: String,
    pub(crate) roles: Vec<String>,
    pub(crate) link: Option<Link>,
    pub(crate) people: Vec<Identity>,
    pub(crate) invited: Option<String>,
    pub(crate) expires: Option<DateTime<Utc>>,
}

#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) kind: String,
    pub(crate) scope: String,
    pub(crate) url: String,
    pub(crate) prevents_download: bool,
}

#[derive(Clone, PartialEq)]
pub(crate) enum Identity {
    Group(String),
    User { id: String, email: String },
}

#[derive(Clone)]
pub(crate) struct Label {
    pub(crate) name: String,
    pub(crate) at: DateTime<Utc>,
    pub(crate) locked: bool,
}

#[derive(Clone)]
pub(crate) struct LabelRule {
    pub(crate) behavior: String,
    pub(crate) delete_allowed: bool,
}

impl LabelRule {
    pub(crate) fn retains(&self) -> bool {
        self.behavior.starts_with("retain")
    }
}

/// What the delta feed still says of an item that is gone.
pub(crate) struct Grave {
    pub(crate) drive: String,
    pub(crate) parent: Option<String>,
    pub(crate) sequence: u64,
}

/// One entry of the recycle bin: a deleted subtree, its top first.
#[derive(Clone)]
pub(crate) struct Binned {
    pub(crate) id: String,
    pub(crate) stage: u8,
    pub(crate) items: Vec<Item>,
    pub(crate) directory: String,
    pub(crate) at: DateTime<Utc>,
}

/// A copy in the Preservation Hold library.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) item: String,
    pub(crate) name: String,
    pub(crate) version: Version,
}

/// Whether a retention hold covers the site, and since when it no longer does.
pub(crate) enum Hold {
    Off,
    On,
    Released(DateTime<Utc>),
}

pub(crate) struct Upload {
    pub(crate) drive: String,
    pub(crate) parent: String,
    pub(crate) name: String,
    pub(crate) target: Option<String>,
    pub(crate) conflict: Conflict,
    pub(crate) received: Vec<u8>,
    pub(crate) total: Option<u64>,
    pub(crate) expires: DateTime<Utc>,
    pub(crate) deferred: bool,
    pub(crate) done: Option<(String, u16)>,
}

pub(crate) struct Token {
    pub(crate) audience: Audience,
    pub(crate) expires: DateTime<Utc>,
    pub(crate) by_certificate: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    Graph,
    SharePoint,
}

#[derive(Clone)]
pub(crate) struct Subscription {
    pub(crate) id: String,
    pub(crate) body: Map<String, Value>,
    pub(crate) url: String,
    pub(crate) drive: String,
    pub(crate) expires: DateTime<Utc>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conflict {
    Fail,
    Rename,
    Replace,
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

    /// Marks an item as changed: its eTag, its place in the delta feed, its library's subscribers.
    pub(crate) fn touch(&mut self, id: &str) {
        self.sequence += 1;
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
        self.sequence += 1;
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
        };
        self.items.insert(id.clone(), item);
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
        Ok(())
    }

    /// Takes a subtree out of the library; the caller decides whether it goes to the bin.
    pub(crate) fn take(&mut self, id: &str) -> Vec<Item> {
        let mut taken = Vec::new();
        for each in self.subtree(id) {
            let Some(item) = self.items.remove(&each) else {
                continue;
            };
            self.sequence += 1;
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

impl Item {
    pub(crate) fn is_folder(&self) -> bool {
        self.versions.is_none()
    }

    pub(crate) fn current(&self) -> Option<&Version> {
        self.versions.as_ref().and_then(|versions| versions.last())
    }

    pub(crate) fn size(&self) -> u64 {
        self.current()
            .map_or(0, |version| version.bytes.len() as u64)
    }

    pub(crate) fn etag(&self) -> String {
        format!("\"{{{}}},{}\"", self.unique_id.to_uppercase(), self.e)
    }

    pub(crate) fn ctag(&self) -> String {
        format!("\"c:{{{}}},{}\"", self.unique_id.to_uppercase(), self.c)
    }
}

impl Version {
    pub(crate) fn new(major: u32, bytes: Bytes, at: DateTime<Utc>) -> Self {
        let hash = crate::QuickXor::of(&bytes);
        Self {
            major,
            bytes,
            hash,
            at,
        }
    }
}

impl Identity {
    pub(crate) fn email(&self) -> Option<&str> {
        match self {
            Self::Group(_) => None,
            Self::User { email, .. } => Some(email),
        }
    }
}

/// Identifiers that look like the vendor's and repeat nowhere.
pub(crate) struct Ids {
    state: u64,
}

impl Ids {
    /// Starts from the process's own hash seed: different in every run, and no secret.
    pub(crate) fn new() -> Self {
        use std::hash::{BuildHasher, Hasher, RandomState};
        Self {
            state: RandomState::new().build_hasher().finish(),
        }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn guid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        )
    }

    pub(crate) fn item(&mut self) -> String {
        format!(
            "01{}",
            self.letters(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 32)
        )
    }

    pub(crate) fn drive(&mut self) -> String {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        format!("b!{}", self.letters(letters, 64))
    }

    pub(crate) fn secret(&mut self, prefix: &str) -> String {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        format!("{prefix}{}", self.letters(letters, 43))
    }

    fn letters(&mut self, alphabet: &[u8], count: usize) -> String {
        let each = |n: u64| alphabet[(n % alphabet.len() as u64) as usize] as char;
        (0..count).map(|_| each(self.next())).collect()
    }
}

/// Days an item stays in the two stages of the recycle bin together.
pub(crate) const BIN_DAYS: i64 = 93;
/// Days until a released hold's copies leave the Preservation Hold library, at worst.
const HOLD_CLEANUP_DAYS: i64 = 37;
